"""Who is the same person: `namesake dedupe` beside its peers, and the look-up on a save.

    python -m benchmarks --only matching
    python -m benchmarks.matching --rows 10000000   # one size alone, ours alone

What is measured: files of made-up people of two worlds (`benchmarks.worlds`), and FEBRL 1 to 4,
from the file to the clusters: seconds of the clock, the peak of memory, and how well the clusters
agree with the truth. The aims are those of files of which a careful Splink finds F1 0.93 at a
million rows: that is `usual`. `mixed` is harder. Ours are run as users run them, as a command of
its own, trained on the file and untrained. The peers are set up in `benchmarks.matching_peers`;
Splink's seconds are those of reading, normalising, training, predicting and clustering, without the
search for the threshold that suits the truth best. GoldenMatch is run on one smaller file alone.

Look-ups are `Matcher.similar` against a stored account, in process: the rows of customers drawn at
random are looked up one after the other, with the bounds of a save and with those of
ListDuplicates. Each latency is of one call, on a machine that others share.

What a profile showed (November 2026) of a look-up among a million: two thirds are calls of LMDB,
eight for the points and blocks of a customer and one for each candidate's features, of which there
are five on average; comparing them takes a microsecond. In a server each of these calls could lose
the GIL to the writer, which made a save that read sixty candidates of a common name half as fast:
hence the smaller blocks of a save, and `index/_lmdb.pyx`, which keeps the GIL.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from time import perf_counter

from benchmarks import matching_peers, worlds
from benchmarks.report import Report, Table, Target
from namesake import v1
from service.core.evaluation import Agreement, b_cubed, pairwise
from service.core.model import Lookup
from service.core.prepare import match_key
from service.identity.matching import Matcher, Subject
from service.identity.registry import Registry, Terms
from service.index import Index
from service.server import wire
from service.settings import Settings
from service.validation.validator import Validator

SEED = 1
WORLDS = ("usual", "mixed")
LOOK_UPS = 2_000
SAVED_ROWS = 4_000  # cards of a batch
LIMIT_S = 3_600.0

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    small: int  # rows
    large: int
    stored: int  # customers that look-ups are among


FULL = Plan(100_000, 1_000_000, 1_000_000)
QUICK = Plan(20_000, 100_000, 50_000)


@dataclass(frozen=True, slots=True)
class Run:
    """What one matcher made of one file."""

    what: str
    file: str
    rows: int
    seconds: float
    peak_mib: float
    pairs: Agreement
    records: Agreement  # B-cubed


def measure(folder: Path, plan: Plan, say: Say) -> Report:
    """Run everything."""
    runs: list[Run] = []
    for rows in (plan.small, plan.large):
        for world in WORLDS:
            say(f"making {rows:,} people of the world {world}")
            people, truth = make_world(folder, world, rows)
            say(f"dedupe of {rows:,} rows")
            runs.append(dedupe("namesake", world, people, truth))
            runs.append(dedupe("namesake, untrained", world, people, truth, "--untrained"))
            if rows == plan.small or world == WORLDS[0]:
                say(f"Splink with {rows:,} rows")
                runs.append(of_peer("splink", world, people, truth))
        if rows == plan.small:
            say("GoldenMatch")
            runs.append(of_peer("goldenmatch", world, people, truth))
    for number in (1, 2, 3, 4):
        file = f"FEBRL {number}"
        say(file)
        people, truth = folder / f"febrl{number}.csv", folder / f"febrl{number}.truth.csv"
        matching_peers.write_febrl(number, people, truth)
        runs.append(dedupe("namesake", file, people, truth))
        runs.append(dedupe("namesake, untrained", file, people, truth, "--untrained"))
        runs.append(of_peer("splink", file, people, truth))
    say(f"look-ups among {plan.stored:,} customers")
    people, _ = make_world(folder, WORLDS[0], plan.stored)
    latencies = asyncio.run(look_ups(folder / "account", people))
    return Report(
        (_table(runs), _look_up_table(latencies, plan)), tuple(_targets(runs, latencies, plan))
    )


def make_world(folder: Path, world: str, rows: int) -> tuple[Path, Path]:
    """Write people and truth, unless they are there."""
    people, truth = folder / f"{world}{rows}.csv", folder / f"{world}{rows}.truth.csv"
    if not truth.exists():
        command = [sys.executable, "-m", "benchmarks.worlds", "--rows", str(rows)]
        command += ["--world", world, "--seed", str(SEED)]
        command += ["--output", str(people), "--truth", str(truth)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return people, truth


# A process between: the memory of who starts a command counts as the command's.
_MEASURE = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


def dedupe(what: str, file: str, people: Path, truth: Path, *options: str) -> Run:
    """Run the command, and judge what it wrote."""
    output = people.with_suffix(".clusters.csv")
    command = [sys.executable, "-m", "service", "dedupe", str(people), "--output", str(output)]
    started = perf_counter()
    measured = subprocess.run(
        [sys.executable, "-c", _MEASURE, *command, *options], stdout=subprocess.PIPE, check=True
    )
    seconds = perf_counter() - started
    found, right = _clusters(output), _clusters(truth)
    ours, theirs = [found[record] for record in right], list(right.values())
    pairs, records = pairwise(ours, theirs), b_cubed(ours, theirs)
    return Run(what, file, len(right), seconds, int(measured.stdout) / 1024, pairs, records)


def _clusters(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8", newline="") as stream:
        return {row[0]: row[1] for row in islice(csv.reader(stream), 1, None)}


def of_peer(peer: str, file: str, people: Path, truth: Path) -> Run:
    """Run a peer over the same file."""
    result = matching_peers.run(peer, people, truth, None, LIMIT_S)
    seconds = sum(result.seconds.values())
    return Run(peer, file, result.rows, seconds, result.peak_mib, result.pairs, result.records)


async def look_ups(folder: Path, people: Path) -> dict[str, list[float]]:
    """Store the people; return the sorted seconds of looking some of them up, by the bounds."""
    settings = Settings()
    index = Index.open(folder, settings, match_key)
    records = wire.Records(settings)
    validator = Validator(settings)
    registry = Registry(index, validator, records, settings)
    terms = Terms("benchmark", "US", Lookup.SKIP)
    with people.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream)
        while batch := [_card(row) for row in islice(rows, SAVED_ROWS)]:
            cards = [wire.card(one, settings) for one in batch]
            for saved in await registry.save(cards, terms):
                if isinstance(saved, Exception):
                    raise saved
    matcher, found = Matcher(settings), {}
    with index.snapshot() as snapshot:
        drawn = Random(SEED).sample(range(1, snapshot.counters.next_row), LOOK_UPS)
        subjects = [
            Subject(
                snapshot.features_of(row) or b"", records.held(snapshot.record(row) or b""), row
            )
            for row in drawn
        ]
        bounds = {
            "a save": (settings.match_save_candidates, settings.match_save_block_rows),
            "ListDuplicates": (settings.match_candidates, settings.match_block_rows),
        }
        for what, (candidates, block_rows) in bounds.items():
            seconds = []
            for subject in subjects:
                started = perf_counter()
                matcher.similar(
                    snapshot, subject, limit=5, candidates=candidates, block_rows=block_rows
                )
                seconds.append(perf_counter() - started)
            found[what] = sorted(seconds)
    await index.close()
    return found


_GENDERS = {"male": v1.GENDER_MALE, "female": v1.GENDER_FEMALE}


def _card(row: dict[str, str]) -> v1.Customer:
    """Return a row of a world as a card, without what no card may have."""
    card = v1.Customer(
        id=row["id"],
        first_name=row["first_name"],
        middle_name=row["middle_name"],
        last_name=row["last_name"].strip() or "-",
        gender=_GENDERS.get(row["gender"].lower(), v1.GENDER_UNSPECIFIED),
        company_name=row["company"],
    )
    year, _, rest = row["birth_date"].partition("-")
    if len(year) == 4 and len(rest) == 5:
        card.birth_date.year = int(year)
        card.birth_date.month, card.birth_date.day = map(int, rest.split("-"))
    if row["email"]:
        card.emails.add(value=row["email"])
    if row["phone"]:
        card.phones.add(value=row["phone"])
    address = card.addresses.add(city=row["city"], postcode=row["postcode"], country=row["country"])
    if row["street"]:
        address.lines.append(row["street"])
    return card


def _table(runs: Sequence[Run]) -> Table:
    return Table(
        "Matching",
        "Worlds of `benchmarks.worlds`, seed 1, and FEBRL 1 to 4; the peers' thresholds are those "
        "that suit the truth best, ours is 0.5. By pairs, and B-cubed by records.",
        ("matcher", "file", "rows", "seconds", "peak MiB", "precision", "recall", "F1", "B³ F1"),
        tuple(map(_row, runs)),
    )


def _row(run: Run) -> tuple[str, ...]:
    return (
        run.what,
        run.file,
        f"{run.rows:,}",
        f"{run.seconds:.1f}",
        f"{run.peak_mib:,.0f}",
        f"{run.pairs.precision:.4f}",
        f"{run.pairs.recall:.4f}",
        f"{run.pairs.f1:.4f}",
        f"{run.records.f1:.4f}",
    )


def _look_up_table(latencies: dict[str, list[float]], plan: Plan) -> Table:
    return Table(
        f"Looking one customer up among {plan.stored:,}",
        f"{LOOK_UPS:,} customers drawn at random, in process, ms.",
        ("bounds of", "p50", "p99", "highest"),
        tuple(
            (what, *(f"{1e3 * seconds[at]:.2f}" for at in (LOOK_UPS // 2, _p99(), -1)))
            for what, seconds in latencies.items()
        ),
    )


def _p99() -> int:
    return LOOK_UPS * 99 // 100


def _targets(
    runs: Sequence[Run], latencies: dict[str, list[float]], plan: Plan
) -> Iterator[Target]:
    of = {(run.what, run.file, run.rows): run for run in runs}
    small, large, peer = [
        of[what, WORLDS[0], rows]
        for what, rows in (
            ("namesake", plan.small),
            ("namesake", plan.large),
            ("splink", plan.large),
        )
    ]
    share = large.seconds / peer.seconds
    yield Target("dedupe, large file", "≤ 20% of Splink", f"{share:.0%}", share <= 0.2)
    peak = large.peak_mib / 1024
    yield Target("its memory", "< 3 GiB", f"{peak:.2f} GiB", peak < 3)
    for run, f1 in ((large, 0.97), (small, 0.98)):
        what = f"F1 of {run.rows:,} rows"
        yield Target(what, f"≥ {f1}", f"{run.pairs.f1:.4f}", run.pairs.f1 >= f1)
    precision = large.pairs.precision
    yield Target("precision, large file", "≥ 0.98", f"{precision:.4f}", precision >= 0.98)
    for run in runs:
        if run.what == "namesake" and run.file in ("FEBRL 3", "FEBRL 4"):
            yield Target(f"F1, {run.file}", "≥ 0.998", f"{run.pairs.f1:.4f}", run.pairs.f1 >= 0.998)
    p99_ms = 1e3 * latencies["ListDuplicates"][_p99()]
    yield Target(f"look-up among {plan.stored:,}, p99", "< 3 ms", f"{p99_ms:.2f} ms", p99_ms < 3)


def main() -> None:
    """Run ours on a made-up file and on one with a tenth of its rows, and compare the times."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.matching", description=main.__doc__)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--world", choices=worlds.WORLDS, default=WORLDS[0])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="namesake-bench-") as temporary:
        runs = [
            dedupe("namesake", options.world, *make_world(Path(temporary), options.world, rows))
            for rows in (options.rows // 10, options.rows)
        ]
    for run in runs:
        print(*_row(run))
    print(f"{runs[1].seconds / runs[0].seconds:.1f} times as long for ten times the rows")


if __name__ == "__main__":
    main()
