"""`namesake check --input` over a large file, against reading and writing it with `csv` alone.

    python -m benchmarks --only lists

Seven columns in, fifteen out; e-mails at 50,000 domains, numbers of twelve countries as people
there write them, one row in fifty with a cell in quotation marks; no DNS. The command is run as a
user runs it, and its time is the clock's, start-up included. The memory is that of all its
processes together, each shared page counted once (PSS), looked at every tenth of a second. The
limit is what one process needs that does nothing but read the rows and write them with eight cells
more: below it nobody comes with that module, however quick the checks are.

What profiles showed (November 2026): of a row's 6 µs of processor time its way to another process
took 3 when rows travelled as lists, and takes next to nothing as text of whole rows, which the
first process cuts off behind a line (0.45) and the others take apart (1.4, a split of most lines
in place of `csv`, twice that). The kernels need 0.5; what is made of their answers as text 1.5; the
lists of throw-away domains 0.6 at 0.3 µs a domain, where remembering each domain's traits, slips
included, took 12 for a new one. The garbage collector took a third of all before it was stopped:
it walked the batches' lists and found nothing.
"""

from __future__ import annotations

import csv
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.report import Report, Table, Target

SECONDS = 6.0  # for a million rows on two cores
MEMORY_MB = 300.0
DOMAINS = 50_000
PHONES = (
    ("GB", "020 7946 {:04}"), ("US", "(415) 555-{:04}"), ("DE", "030 9018{:04}"),
    ("FR", "01 42 68 {:04}"), ("UA", "044 123 {:04}"), ("RU", "8 (495) 123-{:04}"),
    ("ES", "+34 91 123 {:04}"), ("IN", "+91 98765 4{:04}"), ("BR", "(11) 98765-{:04}"),
    ("JP", "03-1234-{:04}"), ("PL", "22 123 {:04}"), ("IT", "06 698 {:05}"),
)  # fmt: skip
PROVIDERS = ("gmail.com", "yahoo.com", "mail.ru", "gmx.de", "hotmail.com", "orange.fr")
BARE = """
import csv, sys
with open(sys.argv[1], newline="") as source, open(sys.argv[2], "w", newline="") as target:
    writer = csv.writer(target, lineterminator="\\n")
    added = ["VALID", "ACCEPTED", "a@b.example", "VALID", "ACCEPTED", "+442079460000", "GB", "VOIP"]
    writer.writerows([*row, *added] for row in csv.reader(source))
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long the list is, and how often it is checked."""

    rows: int
    turns: int


FULL = Plan(rows=1_000_000, turns=3)
QUICK = Plan(rows=100_000, turns=1)


def measure(folder: Path, plan: Plan, tell: Callable[[str], None]) -> Report:
    """Write a list, check it, copy it; report."""
    source, checked, copied = folder / "people.csv", folder / "checked.csv", folder / "copied.csv"
    _write(source, plan.rows)
    seconds, bare, memory = [], [], []
    for turn in range(plan.turns):
        tell(f"lists, turn {turn + 1} of {plan.turns}")
        command = ("-m", "service", "check", "--no-dns", "--input", str(source))
        taken, used = _run(*command, "--output", str(checked))
        seconds.append(taken)
        memory.append(used)
        bare.append(_run("-c", BARE, str(source), str(copied))[0])
    with checked.open(newline="") as stream:
        count = sum(1 for _ in csv.reader(stream)) - 1
    if count != plan.rows:
        raise RuntimeError(f"{count} rows of {plan.rows} were written")
    taken, limit, used = median(seconds), median(bare), max(memory)
    table = Table(
        f"Checking a list of {plan.rows:,} rows",
        "E-mail and phone of each row, file to file, without DNS; medians of the turns, seconds of "
        "the clock. csv: one process that reads the rows and writes them with eight cells more.",
        ("what", "seconds", "rows/s", "csv", "memory, MB"),
        (
            ("check --input", f"{taken:.1f}", f"{plan.rows / taken:,.0f}", f"{taken / limit:.1f} ×",
             f"{used:.0f}"),
            ("csv", f"{limit:.1f}", f"{plan.rows / limit:,.0f}", "1.0 ×", ""),
        ),
    )  # fmt: skip
    allowed = SECONDS * plan.rows / FULL.rows
    targets = (
        Target(
            f"check of {plan.rows:,} rows", f"< {allowed:g} s", f"{taken:.1f} s", taken < allowed
        ),
        Target("its memory", f"< {MEMORY_MB:.0f} MB", f"{used:.0f} MB", used < MEMORY_MB),
    )
    return Report((table,), targets)


def _write(path: Path, rows: int) -> None:
    chance = random.Random(1)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "first_name", "last_name", "email", "phone", "country", "note"])
        for number in range(rows):
            country, form = chance.choice(PHONES)
            domain = chance.choice(PROVIDERS)
            if chance.random() < 0.6:
                domain = f"firm{chance.randrange(DOMAINS)}.com"
            email = f"anna.petrova{number}@{domain}" if chance.random() < 0.96 else f"anna{number}@"
            last = f"Petrova, {number}" if number % 50 == 0 else "Petrova"
            phone = form.format(chance.randrange(10_000))
            writer.writerow([number, "Anna", last, email, phone, country, "met at the fair"])


def _run(*arguments: str) -> tuple[float, float]:
    """Run Python; return the clock's seconds and the most megabytes of all its processes."""
    started, most = perf_counter(), 0.0
    process = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.DEVNULL)
    while process.poll() is None:
        most = max(most, sum(map(_memory_mb, _family(process.pid))))
        time.sleep(0.1)
    if process.returncode:
        raise RuntimeError(f"it ended with status {process.returncode}")
    return perf_counter() - started, most


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(one for child in children for one in _family(int(child)))]


def _memory_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0.0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")) / 1e6
