"""How import goes on as the folder grows: one stream of up to ten million rows, window by window.

    python -m benchmarks --only growth --growth-rows 10000000 --plot benchmarks/growth.png

What is measured: one ImportCustomers stream of new customers into a fresh folder, each matched by
phone and e-mail before it is created, DNS deferred and out of reach, as in `benchmarks.transfer`.
The rate of a window of rows is that between the acknowledgements of its first and its last batch.
At the end of each: the file's bytes for each row, and the server's own memory (RssAnon).

The batches stand in a file before the server starts (`benchmarks.streams.write`, on all cores), so
that the client reads and sends, and encodes nothing. The file is in the page cache, or is read from
the disk while the import writes to it; ten million rows are 0.8 GB.

Beside it, up to `RAW_ROWS`: bare py-lmdb with the entries of the same customers (`benchmarks.raw`),
and PostgreSQL with COPY of 1,000 rows at a time (`benchmarks.postgres`), each into one file that
grows. Beyond that only ours goes on.

`--plot` draws the rates and the bytes over the rows, with matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import postgres, processes, raw, sizes, streams
from benchmarks.processes import Serving
from benchmarks.report import Report, Table, Target
from namesake import v1

RAW_ROWS = 1_000_000
WINDOW_ROWS = 100_000  # or a tenth of all rows, if that is less
SHOWN = 10  # lines of the table; the plot has every window

SHARE_OF_FIRST = 0.75  # of the slowest tenth, of the first window: flat within 25 %


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rows: int
    plot: Path | None = None

    @property
    def window_rows(self) -> int:
        """Rows of a window: whole batches, and whole groups of raw."""
        groups = min(WINDOW_ROWS, self.rows // SHOWN) // raw.GROUP_ROWS
        return max(1, groups) * raw.GROUP_ROWS


FULL = Plan(rows=1_000_000)
QUICK = Plan(rows=80_000)


@dataclass(frozen=True, slots=True)
class Mark:
    """The end of a window."""

    rows: int
    seconds: float
    stored: int  # bytes of the file
    own_mib: float


@dataclass(slots=True)
class _Marks:
    """Takes a mark at the end of each window of an import under way."""

    data: Path
    server: Serving
    window_rows: int
    taken: list[Mark] = field(default_factory=list)

    def see(self, seconds: float, answer: v1.ImportCustomersResponse) -> None:
        """Look at an acknowledgement."""
        if answer.counts.rows < self.window_rows * (len(self.taken) + 1):
            return
        stored, own_mib = sizes.index_bytes(self.data), self.server.memory_mib("RssAnon")
        self.taken.append(Mark(answer.counts.rows, seconds, stored, own_mib))


@dataclass(frozen=True, slots=True)
class Growth:
    """What was seen, window by window; the peers have fewer or none."""

    window_rows: int
    marks: Sequence[Mark]
    raw: Sequence[float]  # rows a second
    copies: Sequence[float]

    def rates(self) -> list[float]:
        """Return the rows a second of each window."""
        ends = [Mark(0, 0.0, 0, 0.0), *self.marks]
        return [
            (mark.rows - before.rows) / (mark.seconds - before.seconds)
            for before, mark in zip(ends, self.marks, strict=False)
        ]


async def measure(folder: Path, plan: Plan, tell: Callable[[str], None]) -> Report:
    """Import, let the peers do the same, report."""
    batches, data = folder / "batches", folder / "data"
    tell(f"encoding {plan.rows:,} customers")
    streams.write(batches, plan.rows)
    tell(f"importing {plan.rows:,} customers")
    with processes.namesake(data) as server:
        marks = _Marks(data, server, plan.window_rows)
        imported = await streams.import_batches(
            server.address, streams.read(batches), seen=marks.see
        )
    batches.unlink()
    if imported.counts.created != plan.rows:
        raise RuntimeError("not every row was created: this measures something else")
    rows = min(plan.rows, RAW_ROWS)
    tell(f"the same {rows:,} with bare py-lmdb")
    bare = raw.write(folder / "raw", raw.groups(data / sizes.ACCOUNT, rows))
    tell("and with PostgreSQL")
    growth = Growth(
        window_rows=plan.window_rows,
        marks=marks.taken,
        raw=_raw_rates(bare, plan.window_rows),
        copies=_copies(folder, plan.window_rows, rows),
    )
    if plan.plot is not None:
        plot(growth, plan.plot)
    return _report(growth, plan)


def _raw_rates(bare: raw.Written, window_rows: int) -> list[float]:
    groups = window_rows // raw.GROUP_ROWS
    count = bare.rows // window_rows
    return [bare.rate(window * groups, (window + 1) * groups) for window in range(count)]


def _copies(folder: Path, window_rows: int, rows: int) -> list[float]:
    """Copy window after window into one table; return their rows a second."""
    script, rates = folder / "window.sql", []
    with postgres.cluster() as cluster:
        if cluster is None:
            return []
        cluster.begin()
        for first in range(0, rows - window_rows + 1, window_rows):
            postgres.write_script(script, range(first, first + window_rows))
            rates.append(window_rows / cluster.run(script))
    return rates


# Report


def _report(growth: Growth, plan: Plan) -> Report:
    step = max(1, len(growth.marks) // SHOWN)
    tenths = range(0, len(growth.marks) - step + 1, step)
    ours = [_mean(growth.rates()[start : start + step]) for start in tenths]
    table = Table(
        f"Growth: one import of {plan.rows:,} rows",
        "Rows a second of the rows before each line; the file's bytes for each row, and the "
        "server's own memory, there. Raw: the same customers as entries of B-trees with bare "
        f"py-lmdb, 4,000 rows a commit; PostgreSQL: COPY of 1,000 rows a commit, three unique "
        f"indexes; both up to {RAW_ROWS:,} rows.",
        ("rows", "import", "raw", "of raw", "PostgreSQL", "bytes/row", "memory"),
        tuple(_line(growth, start, step, rate) for start, rate in zip(tenths, ours, strict=True)),
    )
    flatness = min(ours) / growth.rates()[0]
    targets = [
        Target(
            f"the slowest tenth of {plan.rows:,} rows",
            f"≥ {SHARE_OF_FIRST:.0%} of the first {growth.window_rows:,}",
            f"{flatness:.0%}",
            flatness >= SHARE_OF_FIRST,
        )
    ]
    return Report((table,), tuple(targets))


def _line(growth: Growth, start: int, step: int, rate: float) -> tuple[str, ...]:
    mark = growth.marks[start + step - 1]
    bare, copies = (_mean(rates[start : start + step]) for rates in (growth.raw, growth.copies))
    return (
        f"{mark.rows:,}",
        f"{rate:,.0f}",
        f"{bare:,.0f}" if bare else "",
        f"{rate / bare:.0%}" if bare else "",
        f"{copies:,.0f}" if copies else _absent(growth),
        f"{mark.stored / mark.rows:,.0f}",
        f"{mark.own_mib:.0f} MiB",
    )


def _absent(growth: Growth) -> str:
    return "" if growth.copies else postgres.NOT_HAD


def _mean(rates: Sequence[float]) -> float:
    """Return the rate of windows of one size together, 0 of none."""
    return len(rates) / sum(1 / rate for rate in rates) if rates else 0.0


def plot(growth: Growth, file: Path) -> None:
    """Draw rates and bytes over the rows."""
    import matplotlib as mpl  # a second, of those who draw alone

    mpl.use("agg")
    from matplotlib import pyplot

    figure, (rates, stored) = pyplot.subplots(
        2, 1, figsize=(8, 7), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    rows = [mark.rows for mark in growth.marks]
    rates.plot(rows, growth.rates(), label="Namesake, ImportCustomers", marker=".")
    peers = (
        (growth.raw, "bare py-lmdb, the same entries in B-trees"),
        (growth.copies, "PostgreSQL, COPY, three unique indexes"),
    )
    for peer, label in peers:
        if peer:
            rates.plot(rows[: len(peer)], peer, label=label, marker=".")
    rates.set(xscale="log", ylim=(0, None), ylabel="rows a second")
    rates.set_title("One import as the folder grows, window by window")
    rates.legend()
    stored.plot(rows, [mark.stored / mark.rows for mark in growth.marks], marker=".")
    stored.set(ylabel="bytes a row", xlabel="rows so far")
    stored.set_ylim(0, 1.1 * stored.get_ylim()[1])
    for axes in (rates, stored):
        axes.grid(which="both", alpha=0.3)
        axes.yaxis.set_major_formatter("{x:,.0f}")
    stored.xaxis.set_major_formatter("{x:,.0f}")
    stored.xaxis.set_minor_formatter("")
    figure.savefig(file, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
