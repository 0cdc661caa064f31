"""Rows a second from files to columns and back, against the libraries that read and write alone.

    python -m benchmarks --only files

What is measured: a table of customers in twelve columns, three of them lists, a number, a date and
a flag; written by `service.transfer.writers`, read by `service.transfer.tables` as columns of
texts, with all that a file of people needs: what it is written in is found, rows that are odd are
seen, lists become cells and are quoted. The library alone (pyarrow for CSV, JSONL and Parquet;
calamine and rustpy-xlsxwriter for XLSX) reads or writes a file of the same texts and has none of
this to do; pyarrow writes no JSONL, there it is the standard library. XLSX is also read piece by
piece, as sheets are that calamine would hold in too much memory.

Times are of this process's processor, all its threads; ours and theirs take turns, and a ratio is
the median of those of a turn. The tables are in the page cache.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq
import rustpy_xlsxwriter as xlsx
from python_calamine import load_workbook

from benchmarks.report import Report, Table
from service.transfer.sheets import Sheet
from service.transfer.tables import open_table
from service.transfer.writers import writing

BATCH_ROWS = 1_000  # of an export's stream
LISTS = ("email", "phone", "tags")


@dataclass(frozen=True, slots=True)
class Plan:
    """How many rows, and how often."""

    rows: int
    sheet_rows: int
    turns: int


FULL = Plan(rows=200_000, sheet_rows=30_000, turns=3)
QUICK = Plan(rows=20_000, sheet_rows=5_000, turns=1)


def measure(folder: Path, plan: Plan, tell: Callable[[str], None]) -> Report:
    """Write and read every kind of file; report."""
    rows: list[tuple[str, ...]] = []
    for kind in ("csv", "jsonl", "parquet", "xlsx"):
        count = plan.sheet_rows if kind == "xlsx" else plan.rows
        batches, flat = _batches(count), _flat(count)
        path, bare = folder / f"people.{kind}", folder / f"bare.{kind}"
        tell(f"files, {kind}")
        turns = [
            (
                _taken(lambda: _write(path, batches)),  # noqa: B023
                _taken(lambda: _WRITERS[kind](bare, flat)),  # noqa: B023
                _taken(lambda: _read(path, count)),  # noqa: B023
                _taken(lambda: _READERS[kind](bare)),  # noqa: B023
            )
            for _ in range(plan.turns)
        ]
        rows.append(_row(f"{kind}, written", count, [turn[:2] for turn in turns]))
        rows.append(_row(f"{kind}, read", count, [turn[2:] for turn in turns]))
        if kind == "xlsx":
            pieces = [(_taken(lambda: _stream(path)), turn[3]) for turn in turns]  # noqa: B023
            rows.append(_row("xlsx, read piece by piece", count, pieces))
    table = Table(
        f"Files of {plan.rows:,} rows (XLSX: {plan.sheet_rows:,})",
        "Twelve columns; time of the processor. The library alone does not look for encoding, "
        "delimiter and odd rows, and writes texts instead of lists.",
        ("what", "rows/s", "library alone", "of it"),
        tuple(rows),
    )
    return Report((table,), ())


def _row(what: str, count: int, turns: Sequence[Sequence[float]]) -> tuple[str, ...]:
    ours, theirs = (median(times) for times in zip(*turns, strict=True))
    share = median(bare / own for own, bare in turns)
    return what, f"{count / ours:,.0f}", f"{count / theirs:,.0f}", f"{share:.0%}"


def _taken(run: Callable[[], None]) -> float:
    began = process_time()
    run()
    return process_time() - began


def _batches(count: int) -> list[Any]:
    table = _table(count)
    return list(table.to_batches(BATCH_ROWS))


def _flat(count: int) -> Any:
    """Return the same with texts where we have lists."""
    table = _table(count)
    for name in LISTS:
        joined = pa.compute.binary_join(table[name].combine_chunks(), "; ")
        table = table.set_column(table.schema.get_field_index(name), name, joined)
    return table


def _table(count: int) -> Any:
    numbers = range(count)
    born = datetime.date(1950, 1, 1)
    return pa.table(
        {
            "id": [f"C{n:08}" for n in numbers],
            "first_name": [("Anna", "José", "Иван", "Zoé", "Li")[n % 5] for n in numbers],
            "last_name": [f"Müller-{n % 9_973}" for n in numbers],
            "birth_date": [born + datetime.timedelta(n % 20_000) for n in numbers],
            "email": [[f"person{n}@example.org"] for n in numbers],
            "phone": [[f"+49309018{n:05}", f"+4915112{n:06}"][: 1 + n % 2] for n in numbers],
            "city": [("Köln", "São Paulo", "Казань", "Lyon")[n % 4] for n in numbers],
            "postcode": [f"{n % 99_999:05}" for n in numbers],
            "country": [("DE", "BR", "RU", "FR")[n % 4] for n in numbers],
            "tags": [["vip", "b2b"][: n % 3] for n in numbers],
            "do_not_call": [n % 7 == 0 for n in numbers],
            "custom:visits:integer": list(numbers),
        }
    )


def _write(path: Path, batches: Sequence[Any]) -> None:
    with writing(str(path), batches[0].schema) as writer:
        for batch in batches:
            writer.write(batch)


def _read(path: Path, count: int) -> None:
    with open_table(str(path)) as table:
        read = sum(block.count for block in table.blocks(range(len(table.header))))
    if read != count:
        raise RuntimeError(f"{read} rows of {count} were read of {path.name}")


def _stream(path: Path) -> None:
    sheet = Sheet(str(path))
    for _ in sheet.pieces():
        pass
    sheet.close()


def _write_json(path: Path, table: Any) -> None:
    with path.open("w") as stream:
        for batch in table.to_batches(BATCH_ROWS):
            stream.writelines(
                json.dumps(row, default=str, ensure_ascii=False) + "\n" for row in batch.to_pylist()
            )


def _read_sheet(path: Path) -> None:
    for _ in load_workbook(str(path)).get_sheet_by_index(0).iter_rows():
        pass


def _nothing(_: object) -> None:
    """What a library returned is not looked at."""


_WRITERS: dict[str, Callable[[Path, Any], None]] = {
    "csv": lambda path, table: _nothing(pa_csv.write_csv(table, path)),
    "jsonl": _write_json,
    "parquet": lambda path, table: _nothing(pq.write_table(table, path, compression="zstd")),
    "xlsx": lambda path, table: xlsx.write_worksheet(table, str(path)),
}
_READERS: dict[str, Callable[[Path], None]] = {
    "csv": lambda path: _nothing(pa_csv.read_csv(path)),
    "jsonl": lambda path: _nothing(pa_json.read_json(path)),
    "parquet": lambda path: _nothing(pq.read_table(path)),
    "xlsx": _read_sheet,
}
