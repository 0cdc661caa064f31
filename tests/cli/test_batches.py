"""Batches of an import: where a file is cut, and the rows behind what is sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from namesake import v1
from service.cli import batches
from service.cli.batches import BATCH_BYTES, BATCH_ROWS, BLOCK_ROWS, Batch, Parsed
from service.transfer.arrow import read_stream
from service.transfer.files import BLOCK_LINES, Record
from service.transfer.mapping import ColumnMapping
from service.transfer.reading import Reader
from service.transfer.rows import RowRefused
from service.transfer.tables import open_table


def _parsed(count: int, refused: frozenset[int] = frozenset()) -> Iterator[Parsed]:
    for number in range(1, count + 1):
        record = Record(number, ("x",))
        if number in refused:
            yield record, RowRefused("bad")
        else:
            yield record, v1.Customer(id=str(number))


def _of_lines(rows: Iterator[Parsed]) -> list[Batch]:
    return list(batches.of_customers(rows, lambda: 0))


def _of_table(path: Path, block_rows: int = BLOCK_ROWS) -> list[Batch]:
    with open_table(str(path), lenient=True, block_rows=block_rows) as table:
        return list(batches.of_table(table, Reader(ColumnMapping.of(table.header))))


def _ids(batch: Batch) -> list[str]:
    message = batch.message()
    if message.WhichOneof("message") == "batch":
        assert message.batch.number == batch.number
        return [customer.id for customer in message.batch.customers]
    assert message.arrow.number == batch.number
    ids: list[str] = read_stream(message.arrow.stream, rows=BATCH_ROWS).column("id").to_pylist()
    return ids


def test_lines_are_cut_at_the_same_places_whatever_is_refused_between_them() -> None:
    cut = _of_lines(_parsed(2 * BATCH_ROWS + 5, frozenset({1, 2, BATCH_ROWS})))
    assert [batch.number for batch in cut] == [1, 2, 3]
    assert [batch.count for batch in cut] == [BATCH_ROWS, BATCH_ROWS, 2]
    assert [batch.first_row for batch in cut] == [1, BATCH_ROWS + 1, 2 * BATCH_ROWS + 1]
    assert sum(len(batch.refused) for batch in cut) == 3
    for batch in cut:
        numbers = [str(batch.origin(place).number) for place in range(batch.count)]
        assert _ids(batch) == numbers


def test_lines_that_are_all_refused_are_cut_too() -> None:
    everybody = frozenset(range(1, 2 * BATCH_ROWS + 2))
    cut = _of_lines(_parsed(2 * BATCH_ROWS + 1, everybody))
    assert [len(batch.refused) for batch in cut] == [BATCH_ROWS, BATCH_ROWS, 1]
    assert not any(batch.count for batch in cut)


def test_a_batch_of_lines_is_bounded_in_bytes() -> None:
    big = v1.Customer(comment="x" * (BATCH_BYTES // 3))
    cut = _of_lines((Record(n, ("x",)), big) for n in range(7))
    assert [batch.count for batch in cut] == [2, 2, 2, 1]


def test_a_batch_of_columns_is_bounded_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    big = "x" * (BATCH_BYTES // 6)
    path.write_text("".join(f'{{"id": "{n}", "comment": "{big}"}}\n' for n in range(8)))
    cut = _of_table(path)
    assert max(len(batch.message().arrow.stream) for batch in cut) < BATCH_BYTES + 2_000
    assert [id for batch in cut for id in _ids(batch)] == [str(n) for n in range(8)]


@given(
    bad=st.sets(st.integers(1, 2 * BLOCK_LINES + 700), max_size=30),
    torn=st.sets(st.integers(1, 2 * BLOCK_LINES + 700), max_size=3),
)
def test_every_row_of_a_table_is_in_one_batch_sent_or_refused(
    tmp_path_factory: pytest.TempPathFactory, bad: set[int], torn: set[int]
) -> None:
    count = 2 * BLOCK_LINES + 700
    path = tmp_path_factory.mktemp("table") / "people.csv"
    lines = [
        f"{n},{'never' if n in bad else '1990-05-12'},shoe{',x' if n in torn else ''}"
        for n in range(1, count + 1)
    ]
    path.write_text("\n".join(["id,birth date,other", *lines]))
    cut = _of_table(path, BLOCK_LINES)
    assert [batch.number for batch in cut] == list(range(1, len(cut) + 1))
    row, last = 1, 0
    for batch in cut:
        assert batch.first_row == row
        row += batch.count
        origins = [batch.origin(place) for place in range(batch.count)]
        assert _ids(batch) == [record.cells[0] for record in origins]
        refused = [record for record, _ in batch.refused]
        numbers = sorted(record.number for record in (*origins, *refused))
        assert numbers == list(range(last + 1, last + 1 + len(numbers)))
        last += len(numbers)
        for record in (*origins, *refused):
            assert record.cells[0] == str(record.number)
            assert record.cells[2] == "shoe"  # also of a column that is not imported
    assert last == count
    assert {record.number for batch in cut for record, _ in batch.refused} == bad | torn


def test_a_block_of_which_nothing_can_be_read_is_a_batch_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("id,birth date\n1,never\n2,never\n")
    (batch,) = _of_table(path)
    assert (batch.count, _ids(batch), len(batch.refused)) == (0, [], 2)
    assert batch.refused[0][1].field == "birth date"


def test_a_column_beside_that_has_no_text_is_no_fault(tmp_path: Path) -> None:
    """It is not imported; only a file of failures would show it."""
    lines, table = tmp_path / "people.jsonl", tmp_path / "people.parquet"
    lines.write_text('{"id": "1", "extra": {"a": 1}}\n{"id": "2", "extra": "text"}\n')
    pq.write_table(pa.table({"id": ["1", "2"], "extra": [{"a": 1}, {"a": 2}]}), table)
    for path, extra in ((lines, ["", "text"]), (table, ["", ""])):
        (batch,) = _of_table(path)
        assert (_ids(batch), batch.refused) == (["1", "2"], ())
        assert [batch.origin(place).cells[1] for place in range(2)] == extra
