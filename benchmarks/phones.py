"""Phone numbers a second, from text in a file to columns, against the libraries of Python.

`python -m benchmarks --only phones` runs it alone. What is measured, over two mixes:

- kernel: `service.core._phones`: both files (numbers, default regions) read and split into lines,
  regions looked up, parsed, and the columns of normal forms (E.164), regions and types taken out;
- rphonenumbers: libphonenumber in Rust (the crate rlibphonenumber) behind the interface of
  `phonenumbers`: the same files, then parse, format_number (E.164), region_code_for_number and
  number_type, into lists;
- phonenumbers: the same calls; once with its pattern cache and once as it comes, where the patterns
  of many regions drive one another out of the cache of `re`.

The mixes: ten regions by weight, as a company has customers; and all 245 regions alike. No two
numbers are the same. Each is valid and of any type (a walk through the kernel's tables), written as
E.164 (2 of 5), in groups after the country code (1 of 4) or as at home (1 of 3, the region of the
number as default); one in 25 has an extension and one in 50 has lost a digit.

Every contender has a process of its own and one thread, the libraries the first of the numbers
only; each has seen every pattern once before it is timed. They take turns, several times over,
because a shared machine drifts: rates are medians, a ratio is the median of those within one turn.
A second is one of processor time, so that what others use of the machine counts little.
Memory is the peak of the process (VmHWM), Python and what it imported included; beside it the peak
before the numbers were read. The kernel's answers are first held against those of phonenumbers.

Left out: validity and possibility (the kernel finds them on the way; the libraries would need two
calls more), time zones, display forms.

What profiles showed (perf, November 2026, all 245 regions): the kernel is a third of it, some
100 ns a number; the rest is Python's: reading, and making and freeing two lists of `str`. Half of
the kernel is the walk through the automaton of types, which waits for the cache digit after digit
(another path for every number through 300 KB); then reading the text (a sixth), country code and
national prefix (a sixth), and copying out. -O3 is slower than -O2 (133 ns against 116).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberFormat

from benchmarks.phone_contenders import CONTENDERS, lines
from benchmarks.report import Report, Table, Target
from tests.core.agree_phones import differences
from tests.core.phone_texts import Automaton

KERNEL, RUST = "kernel", "rphonenumbers"
KERNEL_PER_S = 1_500_000
RUST_TIMES = 4.0
CHECKED = 2_000  # numbers of each mix on which kernel and library must agree
WARM_UP = 3_000  # enough to meet every region

CUSTOMERS = {
    "GB": 40, "US": 20, "DE": 10, "FR": 8, "ES": 5, "IT": 5, "PL": 4, "NL": 3, "IE": 3, "IN": 2,
}  # fmt: skip
MIXES = {
    "ten regions": CUSTOMERS,
    "all 245 regions": dict.fromkeys(sorted(phonenumbers.SUPPORTED_REGIONS), 1),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How many numbers each contender is given, and how often they take turns."""

    numbers: dict[str, int]
    turns: int


FULL = Plan(dict(zip(CONTENDERS, (500_000, 100_000, 20_000, 5_000), strict=True)), turns=5)
QUICK = Plan(dict(zip(CONTENDERS, (100_000, 20_000, 5_000, 2_000), strict=True)), turns=2)


@dataclass(slots=True)
class Runs:
    """What one contender did with one mix, over the turns."""

    rates: list[float] = field(default_factory=list)
    before_mib: float = 0.0
    peak_mib: float = 0.0

    def add(self, folder: Path, name: str, count: int) -> None:
        """Run it once more, in a new process."""
        command = [sys.executable, "-m", "benchmarks.phone_contenders", name, str(folder), "3"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        self.rates.append(count / median(found["seconds"]))
        self.before_mib = max(self.before_mib, found["before_mib"])
        self.peak_mib = max(self.peak_mib, found["peak_mib"])


def measure(folder: Path, plan: Plan, tell: Callable[[str], None]) -> Report:
    """Write the numbers, measure in turns, report."""
    found: dict[tuple[str, str], Runs] = {}
    for mix, weights in MIXES.items():
        tell(f"numbers of {mix}")
        _write(folder / mix, weights, plan)
        numbers, regions = lines(folder / mix / KERNEL)
        questions = [*zip(numbers[:CHECKED], regions, strict=False)]
        if faults := list(differences(questions)):
            raise RuntimeError(f"the kernel and the library do not agree: {faults[0]}")
    for turn in range(plan.turns):
        tell(f"phones, turn {turn + 1} of {plan.turns}")
        for mix in MIXES:
            for name in CONTENDERS:
                runs = found.setdefault((mix, name), Runs())
                runs.add(folder / mix / name, name, plan.numbers[name])
    return _report(found)


def _write(folder: Path, weights: dict[str, int], plan: Plan) -> None:
    """Write the files of each contender, and a first few of other numbers to warm up."""
    numbers = [*_numbers(weights, max(plan.numbers.values()), 1)]
    warm_up = [*_numbers(weights, WARM_UP, 2)]
    for name, count in plan.numbers.items():
        for place, chosen in ((folder / name, numbers[:count]), (folder / name / "first", warm_up)):
            place.mkdir(parents=True)
            (place / "numbers").write_text("\n".join(text for text, _ in chosen))
            (place / "regions").write_text("\n".join(region for _, region in chosen))


def _numbers(weights: dict[str, int], count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Return different numbers with their default regions."""
    random, automaton = Random(seed), Automaton()
    seen = set[str]()
    while len(seen) < count:
        (region,) = random.choices([*weights], [*weights.values()])
        country_code = phonenumbers.country_code_for_region(region)
        size = random.choice(automaton.lengths(country_code))
        kind = random.choice(automaton.types(country_code, size))
        text = _written(random, country_code, automaton.number(random, country_code, size, kind))
        if text not in seen:
            seen.add(text)
            yield text, region


def _written(random: Random, country_code: int, national: str) -> str:
    """Write a number as people do."""
    chance = random.random()
    if chance < 0.40:
        text = f"+{country_code}{national}"
    else:
        zeros = len(national) - len(national.lstrip("0"))
        number = PhoneNumber(
            country_code=country_code,
            national_number=int(national),
            italian_leading_zero=zeros > 0,
            number_of_leading_zeros=zeros,
        )
        form = PhoneNumberFormat.INTERNATIONAL if chance < 0.66 else PhoneNumberFormat.NATIONAL
        text = phonenumbers.format_number(number, form)
    if random.random() < 0.04:
        text += f"{random.choice((' ext. ', ' x', ';ext='))}{random.randrange(10, 10_000)}"
    if random.random() < 0.02:
        text = text[:-1]
    return text


def _report(found: dict[tuple[str, str], Runs]) -> Report:
    rows = [
        (
            name,
            mix,
            f"{median(runs.rates):,.0f}",
            f"{_times(found, mix, name):,.1f}",
            f"{runs.peak_mib:,.0f}",
            f"{runs.before_mib:,.0f}",
        )
        for (mix, name), runs in found.items()
    ]
    table = Table(
        "Phone numbers",
        "Text in a file to E.164, region and type; per second of processor time. Times: how often "
        "the kernel's rate is this one, the median over the turns. Memory in MiB: the peak of the "
        "process, and the peak before the numbers were read.",
        ("contender", "mix", "numbers/s", "times", "peak", "before"),
        tuple(rows),
    )
    return Report((table,), tuple(_targets(found)))


def _times(found: dict[tuple[str, str], Runs], mix: str, name: str) -> float:
    """Return how often the kernel's rate is that of a contender."""
    pairs = zip(found[mix, KERNEL].rates, found[mix, name].rates, strict=True)
    return median(rate / other for rate, other in pairs)


def _targets(found: dict[tuple[str, str], Runs]) -> Iterator[Target]:
    for mix in MIXES:
        rate, times = median(found[mix, KERNEL].rates), _times(found, mix, RUST)
        aim = f"≥ {KERNEL_PER_S:,}/s"
        yield Target(f"phones a core, {mix}", aim, f"{rate:,.0f}/s", rate >= KERNEL_PER_S)
        aim = f"≥ {RUST_TIMES:g} × {RUST}"
        yield Target(f"phones, {mix}", aim, f"{times:.1f} ×", times >= RUST_TIMES)
