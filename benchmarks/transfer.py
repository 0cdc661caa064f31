"""Import and export, in rows a second, against raw py-lmdb and against PostgreSQL.

What is measured, in rounds that do all of it in turn, with the same new customers of
`benchmarks.cards` (one e-mail, one phone; twelve countries; no ids):

- import: one ImportCustomers stream into a fresh folder, of encoded batches of 1,000 rows, as
  messages or as Arrow, sent as fast as the stream takes them, from the first message until the job
  is DONE. No domain is in the DNS cache and the DNS is out of reach, so that every e-mail is
  PENDING and the background asks in vain. By default each row is matched to the customers by phone
  and e-mail before it is created; `create_all` leaves that out.
- raw write: `benchmarks.raw`, the entries of the same customers with bare py-lmdb, a durable commit
  for every 4,000 rows. The service commits as many at most, and 1,000 while cards are saved. No
  decision, encoding or check.
- PostgreSQL: `benchmarks.postgres`, COPY of the same columns in one command, and of 1,000 rows at a
  time, each committed.
- single saves: `benchmarks.saving`, once: 64 callers of SaveCustomer, whose domains are known.
- export: one ExportCustomers stream, parsed in the client: of all customers as messages, as Arrow,
  of three fields alone, and of those that were written since about the middle of the import, which
  is half of them; and of those with an invalid phone, which is nobody. Rows that are looked at and
  not sent do not count as rows.
- raw read: the values of the sub-database of customers, through a cursor. PostgreSQL: COPY of all
  columns to a file.
- saves while an import runs: `benchmarks.saving`; size on disk: `benchmarks.sizes`.

Figures are medians over the rounds, ratios the medians of the ratios within a round. How the rates
go on as a folder grows is in `benchmarks.growth`. Left out: making and encoding the rows (done
before), updates, rows that fail, several streams. The peak of memory is the server's after an
import and exports: all of it (VmHWM, which counts pages of the mapped file that happen to be in
memory), and its own (RssAnon).

What perf showed of the server (November 2026, `perf record --call-graph dwarf`): a row costs 12 µs
of its processors, as a message or as Arrow, and 0.5 µs of the client's, so that an import is bound
by the two cores and not by the disk. Two fifths are the writer thread: a half of that puts rows (in
the order of their numbers) and makes sorted runs, with merges; a tenth asks who is there already;
a quarter is the commit, in the kernel. A third was the event loop, and half of that the validator,
which made a finding for every distinct domain of each batch; since then it does so once a second.
The last quarter, in two threads, encodes records with their findings and packs features.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import postgres, processes, raw, saving, sizes, streams
from benchmarks.load import Load
from benchmarks.report import Report, Table, Target
from namesake import v1

REPEATS = 3  # exports take a fraction of a second: the median of so many
SOME_FIELDS = ("id", "emails", "update_time")

IMPORT_ROWS_S = 80_000
RAW_SHARE = 0.8
EXPORT_ROWS_S = 300_000
SAVE_P99_MS = 20.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rows: int
    rounds: int
    rich_rows: int
    saving: saving.Plan


FULL = Plan(
    rows=100_000,
    rounds=3,
    rich_rows=40_000,
    saving=saving.Plan(rows=500_000, changed=20_000, calls_s=100, run_s=1.0, alone_s=4.0),
)
QUICK = Plan(
    rows=20_000,
    rounds=1,
    rich_rows=5_000,
    saving=saving.Plan(rows=100_000, changed=5_000, calls_s=50, run_s=0.3, alone_s=1.0),
)

_IMPORTS = (
    ("raw write", "raw_write"),
    ("import, rows", "rows"),
    ("import, Arrow", "arrow"),
    ("import, rows, create_all", "created"),
    ("PostgreSQL, one COPY", "copy"),
    ("PostgreSQL, COPY of 1,000 rows", "copies"),
)
_EXPORTS = (
    ("raw read", "raw_read"),
    ("export, rows", "export_rows"),
    ("export, Arrow", "export_arrow"),
    ("export, three fields", "export_fields"),
    ("export, half by time", "export_half"),
    ("export, nobody by verdict (looked at)", "export_none"),
    ("PostgreSQL, COPY to a file", "copy_out"),
)

Rates = dict[str, float]


@dataclass(frozen=True, slots=True)
class Round:
    """Everything of one round: rows a second, by what; 0 where PostgreSQL cannot be had."""

    rates: Rates
    commits: int
    peak_mib: float
    own_mib: float
    plain: sizes.Size
    postgres_bytes: float


@dataclass(frozen=True, slots=True)
class _Files:
    """What the imports of all rounds read."""

    rows: Path
    arrow: Path
    table: Path
    script: Path

    @classmethod
    def written(cls, folder: Path, rows: int) -> _Files:
        """Write them into a folder."""
        files = cls(*(folder / name for name in ("rows", "arrow", "table.csv", "table.sql")))
        streams.write(files.rows, rows)
        streams.write(files.arrow, rows, streams.arrow_message)
        postgres.write_table(files.table, range(rows))
        postgres.write_script(files.script, range(rows))
        return files


async def measure(folder: Path, plan: Plan, tell: Callable[[str], None]) -> Report:
    """Measure in rounds, then what needs no rounds; report."""
    tell(f"encoding {plan.rows:,} customers")
    files = _Files.written(folder, plan.rows)
    rounds = []
    with postgres.cluster() as cluster:
        if cluster is None:
            tell("PostgreSQL is not installed, or cannot be started: benchmarks/services.sh")
        for number in range(plan.rounds):
            tell(f"import and export, round {number + 1} of {plan.rounds}")
            place = folder / f"round{number}"
            place.mkdir()
            rounds.append(await _round(place, files, cluster, plan.rows))
    tell("rich customers")
    rich = await sizes.rich(folder, plan.rich_rows)
    saved = await saving.measure(folder, plan.saving, tell)
    return _report(rounds, rich, saved, plan)


async def _round(folder: Path, files: _Files, cluster: postgres.Cluster | None, rows: int) -> Round:
    rates: Rates = {}
    with processes.namesake(folder / "created") as server:
        imported = streams.import_all(server.address, streams.read(files.rows), create_all=True)
        rates["created"] = rows / await imported
    with processes.namesake(folder / "arrow") as server:
        rates["arrow"] = rows / await streams.import_all(server.address, streams.read(files.arrow))
    with processes.namesake(folder / "rows") as server:
        seconds, middle_us = await _import_rows(server.address, files.rows, rows)
        rates["rows"] = rows / seconds
        rates |= await _exports(server.address, rows, middle_us)
        peak_mib, own_mib = server.memory_mib("VmHWM"), server.memory_mib("RssAnon")
    index = folder / "rows" / sizes.ACCOUNT
    written = raw.write(folder / "raw", raw.groups(index, rows))
    rates["raw_write"] = written.rate(0, len(written.groups_s))
    rates["raw_read"] = median(_raw_read(index, rows) for _ in range(REPEATS))
    size = 0
    if cluster is not None:
        size = _postgres(cluster, files, rates, rows)
    return Round(
        rates=rates,
        commits=raw.commits(index),
        peak_mib=peak_mib,
        own_mib=own_mib,
        plain=sizes.plain(folder / "rows", folder / "plain.csv", rows),
        postgres_bytes=size / rows,
    )


async def _import_rows(address: str, file: Path, rows: int) -> tuple[float, int]:
    """Import; return the seconds, and the time when about half of the rows were durable."""
    middle_us = 0

    def seen(_: float, answer: v1.ImportCustomersResponse) -> None:
        nonlocal middle_us
        if not middle_us and answer.counts.rows >= rows // 2:
            middle_us = time.time_ns() // 1_000

    imported = await streams.import_batches(address, streams.read(file), seen=seen)
    if imported.counts.created != rows:
        raise RuntimeError("not every row was created: this measures something else")
    return imported.seconds, middle_us


async def _exports(address: str, rows: int, middle_us: int) -> Rates:
    """Export in every way; return the rows a second of each."""
    some, half, none = (v1.ExportCustomersRequest() for _ in range(3))
    some.fields.paths[:] = SOME_FIELDS
    half.filter.updated_since.FromMicroseconds(middle_us)
    none.filter.phone_verdicts[:] = [v1.VERDICT_INVALID]
    requests = {
        "export_rows": v1.ExportCustomersRequest(),
        "export_arrow": v1.ExportCustomersRequest(form=v1.EXPORT_FORM_ARROW),
        "export_fields": some,
        "export_half": half,
    }
    rates = {}
    for name, request in requests.items():
        runs = [await streams.export(address, request) for _ in range(REPEATS)]
        rates[name] = median(run.rows / run.seconds for run in runs)
        expected = range(1, rows) if request is half else range(rows, rows + 1)
        if runs[-1].rows not in expected or runs[-1].looked_at != rows:
            raise RuntimeError("not those customers were exported that are to be measured")
    runs = [await streams.export(address, none) for _ in range(REPEATS)]
    rates["export_none"] = median(run.looked_at / run.seconds for run in runs)
    return rates


def _raw_read(index: Path, rows: int) -> float:
    count, seconds = raw.read(index)
    assert count == rows
    return rows / seconds


def _postgres(cluster: postgres.Cluster, files: _Files, rates: Rates, rows: int) -> int:
    """Copy in both ways, and out; return the bytes of table and indexes."""
    cluster.begin()
    rates["copy"] = rows / cluster.copy(files.table)
    cluster.begin()
    rates["copies"] = rows / cluster.run(files.script)
    rates["copy_out"] = rows / cluster.copy_out(files.table.with_name("copied.csv"))
    if cluster.count() != rows:
        raise RuntimeError("PostgreSQL does not hold what was copied")
    return cluster.size()


# Report


@dataclass(frozen=True, slots=True)
class _Middles:
    """Medians over the rounds."""

    rounds: Sequence[Round]

    def rate(self, name: str) -> float:
        """Return the rows a second, 0 where there are none."""
        return median(one.rates.get(name, 0.0) for one in self.rounds)

    def share(self, name: str, of: str) -> float:
        """Return the ratio to another of the same round, 0 where one is missing."""
        pairs = [(one.rates.get(name, 0.0), one.rates.get(of, 0.0)) for one in self.rounds]
        return median(rate / other if other else 0.0 for rate, other in pairs)

    def of(self, take: Callable[[Round], float]) -> float:
        """Return anything else."""
        return median(map(take, self.rounds))


def _report(rounds: Sequence[Round], rich: sizes.Size, saved: saving.Saving, plan: Plan) -> Report:
    middles = _Middles(rounds)
    imports = Table(
        f"Import of {plan.rows:,} customers",
        "One stream, batches of 1,000, DNS deferred and out of reach. Raw: the same customers as "
        "keys and values of B-trees with bare py-lmdb, sorted, a durable commit for every 4,000 "
        "rows. PostgreSQL: five columns, three unique indexes, nothing checked. Single saves: "
        f"SaveCustomer of {saving.CALLERS} callers.",
        ("what", "rows/s", "of raw", "× COPY of 1,000 rows"),
        (*_rows(middles, _IMPORTS, "raw_write", "copies"), _saves_row(middles, saved)),
    )
    exports = Table(
        f"Export of {plan.rows:,} customers",
        "One stream of one snapshot, parsed in the client. Rows that are looked at and not sent do "
        "not count, but in the line of nobody.",
        ("what", "rows/s", "of raw", "× COPY to a file"),
        tuple(_rows(middles, _EXPORTS, "raw_read", "copy_out")),
    )
    tables = (imports, exports, _saves(saved, plan), _sizes(middles, rich), _facts(middles))
    return Report(tables, tuple(_targets(middles, saved)))


def _rows(
    middles: _Middles, shown: Sequence[tuple[str, str]], bare: str, peer: str
) -> Iterator[tuple[str, ...]]:
    for what, name in shown:
        if not (rate := middles.rate(name)):
            yield what, postgres.NOT_HAD, "", ""
            continue
        times = middles.share(name, peer)
        shown_times = f"{times:.2f}" if times else postgres.NOT_HAD
        yield what, f"{rate:,.0f}", f"{middles.share(name, bare):.1%}", shown_times


def _saves_row(middles: _Middles, saved: saving.Saving) -> tuple[str, ...]:
    rate, copies = saved.alone.rate, middles.rate("copies")
    times = f"{rate / copies:.2f}" if copies else postgres.NOT_HAD
    return "single saves", f"{rate:,.0f}", f"{rate / middles.rate('raw_write'):.1%}", times


def _saves(saved: saving.Saving, plan: Plan) -> Table:
    def row(what: str, load: Load) -> tuple[str, ...]:
        shown = (f"{load.percentile_ms(percent):.2f}" for percent in (50, 99, 99.9))
        return what, f"{len(load.latencies_s):,}", *shown

    return Table(
        f"Saves at {plan.saving.calls_s:g} a second while {plan.saving.rows:,} rows are imported",
        "Open loop, ms from the intended time of each call; server, import and saves share the "
        f"cores. The import made {saved.imported:,.0f} rows/s meanwhile, that of "
        f"{plan.saving.changed:,} rows which change customers {saved.changed:,.0f}.",
        ("when", "saves", "p50", "p99", "p99.9"),
        (
            row("nothing else", saved.quiet),
            row("during the import", saved.during),
            row("during an import of changes", saved.during_changes),
        ),
    )


def _sizes(middles: _Middles, rich: sizes.Size) -> Table:
    def row(what: str, customers: int, csv: float, stored: float) -> tuple[str, ...]:
        return what, f"{customers:,}", f"{csv:.0f}", f"{stored:.0f}", f"{stored / csv:.1f}"

    plain = middles.rounds[-1].plain
    rows = [
        row("plain", plain.customers, plain.csv, middles.of(lambda one: one.plain.stored)),
        row("rich", rich.customers, rich.csv, rich.stored),
    ]
    if size := middles.of(lambda one: one.postgres_bytes):
        rows.append(row("plain, PostgreSQL", plain.customers, plain.csv, size))
    return Table(
        "Size on disk for each customer",
        "Bytes, after one import: the CSV that says the same, and the file of the index with "
        "record, history, feed, features and all keys. Rich: birth date, address, employer, two "
        "phones. PostgreSQL: five columns and three indexes.",
        ("customers", "how many", "CSV", "stored", "times"),
        tuple(rows),
    )


def _facts(middles: _Middles) -> Table:
    return Table(
        "The server of the import of rows",
        "",
        ("fact", "value"),
        (
            ("durable commits", f"{middles.of(lambda one: one.commits):.0f}"),
            (
                "peak of resident memory, mapped file included",
                f"{middles.of(lambda one: one.peak_mib):.0f} MiB",
            ),
            (
                "resident memory of its own, at the end",
                f"{middles.of(lambda one: one.own_mib):.0f} MiB",
            ),
        ),
    )


def _targets(middles: _Middles, saved: saving.Saving) -> Iterator[Target]:
    for name, what in (("rows", "import of rows"), ("arrow", "import of Arrow")):
        rate, share = middles.rate(name), middles.share(name, "raw_write")
        aim = f"≥ {IMPORT_ROWS_S:,} rows/s"
        yield Target(what, aim, f"{rate:,.0f} rows/s", rate >= IMPORT_ROWS_S)
        aim = f"≥ {RAW_SHARE:.0%} of raw"
        yield Target(what, aim, f"{share:.0%}", share >= RAW_SHARE)
    for what, name in _EXPORTS:
        if name in ("export_rows", "export_arrow", "export_half"):
            rate, aim = middles.rate(name), f"≥ {EXPORT_ROWS_S:,} rows/s"
            yield Target(what, aim, f"{rate:,.0f} rows/s", rate >= EXPORT_ROWS_S)
    for what, load in (("", saved.during), (" of changes", saved.during_changes)):
        p99_ms = load.percentile_ms(99)
        yield Target(
            f"p99 of a save during an import{what}",
            f"< {SAVE_P99_MS:g} ms",
            f"{p99_ms:.2f} ms",
            p99_ms < SAVE_P99_MS,
        )
