"""Tables and targets, for the terminal and for RESULTS.md."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

RESULTS = Path(__file__).with_name("RESULTS.md")
_PACKAGES = (
    "grpcio", "lmdb", "protobuf", "pyarrow", "phonenumbers", "rphonenumbers", "email-validator",
    "anyascii",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a title; `note` says what is measured and what is left out."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Target:
    """What was aimed at, and what this run measured."""

    what: str
    aim: str
    measured: str
    is_met: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What one benchmark found."""

    tables: tuple[Table, ...]
    targets: tuple[Target, ...]


def show(reports: Sequence[Report], others: float) -> None:
    """Print all tables, the targets last."""
    console = Console() if sys.stdout.isatty() else Console(width=110)
    for table in _all_tables(reports):
        shown = RichTable(title=table.title, title_justify="left", caption=table.note)
        shown.caption_justify = "left"
        for index, column in enumerate(table.columns):
            shown.add_column(column, justify="right" if index else "left")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    console.print(f"Other processes took {others:.0%} of the processors' time meanwhile.")


def write(reports: Sequence[Report], command: str, seconds: float, others: float) -> None:
    """Write RESULTS.md."""
    parts = [
        "# Benchmark results",
        f"Written by `make bench` (`{command}`) on {datetime.date.today():%d %B %Y}, "
        f"in {seconds / 60:.1f} minutes. Ratios are of figures of the same run; figures by "
        "themselves belong to the machine. Of the processors' time meanwhile, "
        f"{others:.0%} went to processes that had nothing to do with it; the more, the less do "
        "latencies mean, above all the highest.",
        _machine(),
        *(_markdown(table) for table in _all_tables(reports)),
    ]
    RESULTS.write_text("\n\n".join(parts) + "\n")


def _all_tables(reports: Sequence[Report]) -> list[Table]:
    tables = [table for report in reports for table in report.tables]
    targets = [target for report in reports for target in report.targets]
    rows = tuple((t.what, t.aim, t.measured, "yes" if t.is_met else "no") for t in targets)
    return [*tables, Table("Targets", "", ("target", "aim", "measured", "met"), rows)]


def _machine() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"Machine: {_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB of memory; "
        f"{platform.system()} {platform.machine()}; Python {platform.python_version()}; "
        f"{packages}. Load generator and server share the cores."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def _markdown(table: Table) -> str:
    marks = ["---", *["---:"] * (len(table.columns) - 1)]
    lines = [f"| {' | '.join(row)} |" for row in (table.columns, marks, *table.rows)]
    body = "\n".join(lines)
    return f"## {table.title}\n\n" + (f"{table.note}\n\n" if table.note else "") + body
