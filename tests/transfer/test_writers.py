"""Tables out, and in again: what is written is read back as the same texts, whatever the kind."""

from __future__ import annotations

import csv
import datetime
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidArgument
from service.transfer import columns, writers
from service.transfer.files import CsvWriter
from service.transfer.sheets import Sheet
from service.transfer.tables import Kind, open_table
from service.transfer.writers import writing

KINDS: tuple[Kind, ...] = ("csv", "jsonl", "xlsx", "parquet")
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("comment", pa.string()),
        ("do_not_call", pa.bool_()),
        ("custom:visits:integer", pa.int64()),
        ("custom:score:number", pa.float64()),
        ("custom:since:date", pa.date32()),
        ("tags", pa.list_(pa.string())),
        ("phone", pa.list_(pa.string())),
        ("street", pa.list_(pa.string())),
    ]
)
_Row = tuple[Any, ...]


def _batch(rows: Sequence[_Row], schema: Any = SCHEMA) -> Any:
    cells = zip(*rows, strict=True) if rows else [[] for _ in schema]
    arrays = [pa.array(list(column), of.type) for column, of in zip(cells, schema, strict=True)]
    return pa.record_batch(arrays, schema=schema)


def _written(path: Path, batches: Sequence[Any], schema: Any = SCHEMA, **options: Any) -> Path:
    with writing(str(path), schema, **options) as writer:
        for batch in batches:
            writer.write(batch)
    return path


def _read(path: Path, **options: Any) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    with open_table(str(path), **options) as table:
        rows: list[tuple[str, ...]] = []
        for block in table.blocks(range(len(table.header))):
            rows += zip(*(block.columns[i].to_pylist() for i in sorted(block.columns)), strict=True)
        return table.header, rows


def _text(name: str, value: object) -> str:
    """Return what is read of a value, said anew."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return "" if value != value or abs(value) == float("inf") else _plain(value)
        case list():
            return columns.joined(name, [part for part in value if part])
        case _:
            return str(value)


def _plain(value: float) -> str:
    text = f"{pa.scalar(value, pa.float64()).cast(pa.string()).as_py()}"
    number = format(__import__("decimal").Decimal(text), "f")
    return number.rstrip("0").rstrip(".") if "." in number else number


def _texts(rows: Sequence[_Row], schema: Any = SCHEMA) -> list[tuple[str, ...]]:
    return [
        tuple(_text(of.name, cell) for of, cell in zip(schema, row, strict=True)) for row in rows
    ]


# Of texts that a sheet can have: U+FFFE and U+FFFF are no characters.
_TEXT = st.text(
    st.sampled_from("ab1+ ,;|\"'\n\r\t_x00A=é😀\0\x1f\x85\u2028\\") | st.characters(codec="utf-8"),
    max_size=9,
).filter(lambda text: not set(text) & {"\ufffe", "\uffff"})
_LINE = _TEXT.map(lambda text: " ".join(text.split()))
_ROWS = st.lists(
    st.tuples(
        st.uuids().map(str),
        st.none() | _TEXT,
        st.none() | st.booleans(),
        st.none() | st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-9, 99_999_999_999),
        st.none() | st.floats(allow_subnormal=False),
        st.none() | st.dates(),
        *[st.none() | st.lists(_LINE, max_size=3)] * 3,
    ),
    max_size=6,
)


@settings(deadline=None)
@given(rows=_ROWS, cut=st.integers(0, 6), kind=st.sampled_from(KINDS))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[_Row], cut: int, kind: Kind
) -> None:
    path = tmp_path_factory.getbasetemp() / f"written.{kind}"
    _written(path, [_batch(rows[:cut]), _batch(rows[cut:])])
    if not rows and kind == "jsonl":
        assert path.read_bytes() == b""
        return
    header, found = _read(path)
    assert header == tuple(SCHEMA.names)
    assert found == _texts(rows)


@given(rows=st.lists(st.tuples(_TEXT, _TEXT), max_size=6), delimiter=st.sampled_from(",;\t| §"))
def test_csv_is_what_the_writer_of_rows_writes(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], delimiter: str
) -> None:
    schema = pa.schema([("a", pa.string()), ("b", pa.string())])
    path = tmp_path_factory.getbasetemp() / "quoted.csv"
    _written(path, [_batch(rows, schema)], schema, delimiter=delimiter)
    stream = io.BytesIO()
    writer = CsvWriter(stream, ("a", "b"), delimiter=delimiter)
    for row in rows:
        writer.write(row)
    writer.detach()
    assert path.read_bytes() == stream.getvalue()


def test_an_empty_cell_alone_in_its_row_is_a_row(tmp_path: Path) -> None:
    schema = pa.schema([("a", pa.string())])
    path = _written(tmp_path / "one.csv", [_batch([("x",), ("",), (None,)], schema)], schema)
    assert path.read_text() == 'a\nx\n""\n""\n'
    assert list(csv.reader(io.StringIO(path.read_text()))) == [["a"], ["x"], [""], [""]]


@pytest.mark.parametrize("kind", KINDS)
def test_columns_that_a_batch_lacks_are_empty(tmp_path: Path, kind: Kind) -> None:
    schema = pa.schema([("id", pa.string()), ("email", pa.list_(pa.string())), ("n", pa.int64())])
    batches = [pa.record_batch({"n": [1]}), pa.record_batch({"id": ["b"], "email": [["x@y.org"]]})]
    path = _written(tmp_path / f"some.{kind}", batches, schema)
    assert _read(path) == (("id", "email", "n"), [("", "", "1"), ("b", "x@y.org", "")])


def test_a_column_that_the_file_has_not_is_a_fault_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no column 'b'"):
        _written(tmp_path / "f.csv", [pa.record_batch({"b": ["1"]})], pa.schema([("a", "string")]))
    with pytest.raises(ValueError, match="of type"):
        _written(tmp_path / "f.csv", [], pa.schema([("a", pa.timestamp("s"))]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_whole_or_not_there(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / f"people.{kind}"
    path.write_text("old")
    with pytest.raises(ValueError, match="no column"):
        _written(path, [_batch([("1", *[None] * 8)]), pa.record_batch({"other": ["1"]})])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_go_out_in_parts(tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than are kept, in one batch and in many."""
    monkeypatch.setattr(writers, "BATCH_ROWS", 100)
    schema = pa.schema([("id", pa.string()), ("n", pa.int64())])
    batch = _batch([(str(n), n) for n in range(1_050)], schema)
    batches = [batch, *(batch.slice(first, 30) for first in range(0, 1_050, 30))]
    path = _written(tmp_path / f"many.{kind}", batches, schema)
    assert _read(path)[1] == [(str(n), str(n)) for n in range(1_050)] * 2
    if kind == "parquet":
        assert pq.ParquetFile(path).metadata.num_row_groups > 10


def test_jsonl_has_types_and_every_key_in_its_first_line(tmp_path: Path) -> None:
    row: _Row = ("1", 'a "b"\n', True, 5, 1.5, datetime.date(1990, 5, 12), ["x", "y;z"], [], None)
    path = _written(tmp_path / "typed.jsonl", [_batch([("0", *[None] * 8), row])])
    first, second = map(json.loads, path.read_text().splitlines())
    assert first == {"id": "0"} | dict.fromkeys(SCHEMA.names[1:])
    assert second == {
        "id": "1", "comment": 'a "b"\n', "do_not_call": True, "custom:visits:integer": 5,
        "custom:score:number": 1.5, "custom:since:date": "1990-05-12", "tags": ["x", "y;z"],
    }  # fmt: skip


def test_a_sheet_has_texts_numbers_dates_and_truths(tmp_path: Path) -> None:
    row: _Row = (
        "007",
        "=1+1",
        True,
        79161234567,
        1.5,
        datetime.date(1990, 5, 12),
        [],
        ["+79161234567"],
        [],
    )
    path = _written(tmp_path / "typed.xlsx", [_batch([row])])
    calamine = pytest.importorskip("python_calamine")
    _, cells = calamine.load_workbook(str(path)).get_sheet_by_name("Customers").iter_rows()
    assert cells == [
        "007", "=1+1", True, 79161234567.0, 1.5, datetime.date(1990, 5, 12), "", "+79161234567", ""
    ]  # fmt: skip


def test_a_column_that_a_sheet_cannot_have_is_texts(tmp_path: Path) -> None:
    """Numbers beyond what a double keeps, and dates before Excel's first."""
    schema = pa.schema([("n", pa.int64()), ("d", pa.date32()), ("m", pa.int64())])
    rows = [
        (5, datetime.date(2000, 1, 1), 5),
        ((1 << 53) + 1, datetime.date(1899, 12, 31), 1 << 53),
    ]
    path = _written(tmp_path / "odd.xlsx", [_batch([row], schema) for row in rows], schema)
    assert _read(path)[1] == _texts(rows, schema)
    calamine = pytest.importorskip("python_calamine")
    _, *cells = calamine.load_workbook(str(path)).get_sheet_by_index(0).iter_rows()
    assert cells == [["5", "2000-01-01", 5.0], ["9007199254740993", "1899-12-31", float(1 << 53)]]


def test_what_a_sheet_has_no_room_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = pa.schema([("comment", pa.string())])
    for text in ("x" * 32_768, "😀" * 16_384):
        with pytest.raises(InvalidArgument, match="'comment' has a text longer") as refused:
            _written(tmp_path / "f.xlsx", [_batch([("ok",), (text,)], schema)], schema)
        assert text not in refused.value.message
    _written(tmp_path / "f.xlsx", [_batch([("x" * 32_767,), ("😀" * 16_383,)], schema)], schema)
    assert [len(row[0]) for row in _read(tmp_path / "f.xlsx")[1]] == [32_767, 16_383]
    monkeypatch.setattr(writers._Xlsx, "rows_limit", 3)
    with pytest.raises(InvalidArgument, match="rows at most"):
        _written(tmp_path / "g.xlsx", [_batch([("x",)] * 2, schema)] * 2, schema)
    wide = pa.schema([(f"c{n}", pa.string()) for n in range(16_385)])
    with pytest.raises(InvalidArgument, match="columns at most"):
        _written(tmp_path / "g.xlsx", [], wide)
    assert not (tmp_path / "g.xlsx").exists()


def test_the_sheet_has_the_name_that_was_given(tmp_path: Path) -> None:
    path = _written(tmp_path / "named.xlsx", [_batch([("1", *[None] * 8)])], sheet="Kunden")
    sheet = Sheet(str(path))
    assert sheet.names == ("Kunden",)
    sheet.close()
