"""Tables as columns: CSV as `files` reads it, JSONL, Parquet; what cannot be meant is refused."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.core._text import Texts
from service.errors import InvalidArgument
from service.transfer import files, tables, words
from service.transfer.dialects import Dialect
from service.transfer.files import CsvReader
from service.transfer.rows import PartialDate
from service.transfer.tables import Table, open_table, texts_of
from service.transfer.writers import writing


def _table(path: Path, **options: Any) -> Table:
    return open_table(str(path), **options)


def _rows(path: Path, columns: Sequence[int] = (), **options: Any) -> list[tuple[str, ...]]:
    """Return the rows of a table as the kernels see them."""
    rows: list[tuple[str, ...]] = []
    with _table(path, **options) as table:
        wanted = columns or range(len(table.header))
        for block in table.blocks(wanted):
            assert block.first == len(rows) + 1
            rows += zip(*(_strings(block.texts(column)) for column in wanted), strict=True)
            assert len(rows) == block.first + block.count - 1
    return rows


def _strings(texts: Texts) -> list[str]:
    return [texts[i] for i in range(len(texts))]


def _csv(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "people.csv"
    path.write_bytes(text.encode(encoding))
    return path


def _parquet(tmp_path: Path, **columns: Any) -> Path:
    path = tmp_path / "people.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return path


def _refusal(path: Path, columns: Sequence[int] = (), **options: Any) -> str:
    with pytest.raises(InvalidArgument) as refused:
        _rows(path, columns, **options)
    assert str(path) in refused.value.message
    return refused.value.message


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make blocks end within a file of a few lines."""
    monkeypatch.setattr(tables, "BLOCK_ROWS", 2 * files.BLOCK_LINES)
    monkeypatch.setattr(tables, "BLOCK_CHARS", 1_000)


# CSV


def test_a_csv_is_read_in_the_columns_that_are_wanted(tmp_path: Path) -> None:
    path = _csv(tmp_path, "\ufeffid;name;city\r\n1;Müller, Ann;Köln\r\n2;;Bonn\r\n")
    with _table(path) as table:
        assert (table.kind, table.header, table.rows) == ("csv", ("id", "name", "city"), None)
        assert table.size_bytes == path.stat().st_size
        (block,) = table.blocks([2, 1])
        assert block.position == table.size_bytes
        assert _strings(block.texts(1)) == ["Müller, Ann", ""]
        assert _strings(block.texts(2)) == ["Köln", "Bonn"]
        assert block.joined([1, 2]).to_pylist() == ["Müller, Ann Köln", " Bonn"]
        assert _strings(texts_of(block.columns[1][1:])) == [""]


_CELLS = st.text(st.sampled_from('ab,"\r\n \ufeffé'), max_size=4)
_LINES = st.text(st.sampled_from('aé,,""\0\r\n \ufeff\x0b\u2028'), max_size=40)


def _by_csv_reader(text: str, size: int) -> list[tuple[str, ...]] | str:
    """Read the rows as an import does; a row that it would refuse gives "refused"."""
    try:
        records = list(CsvReader(iter(StringIO(text, newline=""))))
    except InvalidArgument:
        return "refused"
    if any(any(record.cells[size:]) for record in records):
        return "refused"
    return [(*r.cells[:size], *[""] * (size - len(r.cells))) for r in records]


def _by_table(path: Path) -> list[tuple[str, ...]] | str:
    try:
        return _rows(path, encoding="utf-8")  # with zeros it may look like UTF-16
    except InvalidArgument:
        return "refused"


@given(text=_LINES, size=st.integers(1, 3))
@example(text='"a""b",\n', size=2)
@example(text='"a"b,\n', size=2)
@example(text='a"b",\n', size=2)
@example(text='"a,"\n', size=1)
@example(text='"",""\n""\n,\n', size=2)
@example(text='""\n\n"""\n"\n', size=1)
@example(text="\ufeffa\n", size=1)
@example(text="a,\r\r\n,\rb,", size=2)
def test_any_csv_is_read_as_an_import_reads_it(
    tmp_path_factory: pytest.TempPathFactory, text: str, size: int
) -> None:
    """Arrow reads where it reads the same, and nowhere else."""
    text = ",".join(f"c{i}" for i in range(size)) + "\n" + text
    path = _csv(tmp_path_factory.getbasetemp(), text)
    assert _by_table(path) == _by_csv_reader(text, size)


@given(rows=st.lists(st.tuples(_CELLS, _CELLS), max_size=5), end=st.sampled_from(["\n", "\r\n"]))
def test_what_was_quoted_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], end: str
) -> None:
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
    path = _csv(tmp_path_factory.getbasetemp(), end.join(["one,two", *quoted, ""]))
    assert _rows(path) == [row for row in rows if any(row)]


def test_arrow_reads_plain_and_quoted_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow reading is for what is odd; a file as spreadsheets write it is not."""
    monkeypatch.delattr(tables._Csv, "_by_rows")
    text = 'id,name\r\n1,Ann\r\n\r\n2,"Lee, ""Bo"""\r\n3,""\r\n4,"two\r\nlines"\r\n'
    assert _rows(_csv(tmp_path, text)) == [
        ("1", "Ann"), ("2", 'Lee, "Bo"'), ("3", ""), ("4", "two\r\nlines"),
    ]  # fmt: skip


def test_words_that_mean_nothing_to_people_stay_words(tmp_path: Path) -> None:
    """There is a Mr Null, and his number begins with a zero."""
    path = _csv(tmp_path, "a,b\nNull,0049\nNA,1e5\n")
    assert _rows(path) == [("Null", "0049"), ("NA", "1e5")]


def test_rows_shorter_than_the_header_are_filled_and_empty_ones_left_out(tmp_path: Path) -> None:
    path = _csv(tmp_path, "a,b,c\n1\n,,\n\n2,3,4,,\n,,5\n")
    assert _rows(path) == [("1", "", ""), ("2", "3", "4"), ("", "", "5")]


def test_blocks_follow_each_other(tmp_path: Path, small_blocks: None) -> None:
    """A block ends where a row does, also within quotation marks; odd rows are in one block."""
    count = 5 * files.BLOCK_LINES
    lines = [f'{number},"a\nb"\n' for number in range(count)]
    lines[count // 2] = f"{count // 2}\n"
    expected = [(str(number), "a\nb") for number in range(count)]
    expected[count // 2] = (str(count // 2), "")
    path = _csv(tmp_path, "id,text\n" + "".join(lines))
    assert _rows(path) == expected
    with _table(path) as table:
        assert len(list(table.blocks([0]))) == 5


@pytest.mark.parametrize("encoding", ["cp1251", "utf-16"])
def test_another_encoding_is_read_when_it_is_named(tmp_path: Path, encoding: str) -> None:
    path = _csv(tmp_path, "фамилия\nИванов\n", encoding)
    assert _rows(path, encoding=encoding) == [("Иванов",)]
    assert "near line" in _refusal(path, encoding="utf-8")


def test_another_delimiter_is_taken_when_it_is_named(tmp_path: Path) -> None:
    path = _csv(tmp_path, "a,b§c\n1,2§3\n")
    assert _rows(path, delimiter="§") == [("1,2", "3")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a,b\n1,2\nsecret,4,5\n", "Line 3"),
        ('a,b\n"1\n2",2\nsecret,4,5\n', "Line 4"),
        ('a,b\n1,2\n"secret",3\n"4"secret,5\n', "Line 4"),
        ('a,b\n1,2\n3,"secret\n', "Line 3"),
        ("", "header"),
    ],
)
def test_a_fault_is_told_with_its_line_and_nothing_of_its_cells(
    tmp_path: Path, text: str, line: str
) -> None:
    message = _refusal(_csv(tmp_path, text))
    assert line in message
    assert "secret" not in message


def test_a_line_is_counted_over_blocks(tmp_path: Path, small_blocks: None) -> None:
    count = 3 * files.BLOCK_LINES
    path = _csv(tmp_path, "a,b\n" + "1,2\n" * count + "1,2,3\n")
    assert f"Line {count + 2}:" in _refusal(path)


# JSONL


def _jsonl(tmp_path: Path, *objects: object) -> Path:
    path = tmp_path / "people.jsonl"
    path.write_text("".join(f"{json.dumps(one)}\n" for one in objects))
    return path


def test_objects_are_rows(tmp_path: Path) -> None:
    path = _jsonl(
        tmp_path,
        {"id": 7, "name": "Ann", "active": True},
        {"name": None, "emails": ["a@x.org", "b;c@x.org", None]},
    )
    with _table(path) as table:
        assert table.kind == "jsonl"
        assert table.header == ("id", "name", "active", "emails")
    assert _rows(path) == [("7", "Ann", "true", ""), ("", "", "", 'a@x.org; "b;c@x.org"')]


def test_numbers_have_all_their_digits(tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    numbers = ["420794000000", "420794000000.0", "4.20794e+11", "1.50", "1" * 30, "1e-3", "NaN"]
    path.write_text("".join(f'{{"n": {number}}}\n\n' for number in numbers))
    phone = "420794000000"
    assert _rows(path) == [(text,) for text in (phone, phone, phone, "1.5", "1" * 30, "0.001", "")]
    path.write_text('{"n": 1e999999999}\n')
    assert _rows(path) == [("1e999999999",)]


def test_a_lone_surrogate_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    path.write_text('{"n": "a\\ud800"}\n')
    assert _rows(path) == [("a?",)]


def test_a_row_with_a_key_that_appears_late_is_refused(tmp_path: Path, small_blocks: None) -> None:
    """Or its value would be lost."""
    count = tables.HEADER_LINES
    path = _jsonl(tmp_path, *({"id": n} for n in range(count)), {"id": count, "late": 1})
    assert f"Line {count + 1}: 'late' is a key" in _refusal(path, [0])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"name": {"first": "secret"}}', "Line 3: 'name' is an object"),
        ('{"name": [{"first": "secret"}]}', "Line 3: 'name' is an object"),
        ('{"name": "secret"', "Line 3 is no JSON"),
        ('["secret"]', "Line 3 is no JSON object"),
        ("[" * 100_000, "Line 3 is no JSON"),
    ],
)
def test_what_is_no_row_is_refused_with_its_line(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "people.jsonl"
    path.write_text(f'{{"name": "Ann"}}\n\n{line}\n')
    message = _refusal(path, [0])
    assert reason in message
    assert "secret" not in message


def test_a_structure_in_another_column_is_no_fault(tmp_path: Path) -> None:
    path = _jsonl(tmp_path, {"id": 1, "history": {"seen": 1}})
    assert _rows(path, [0]) == [("1",)]


def test_a_file_without_objects_is_refused(tmp_path: Path) -> None:
    assert "no objects" in _refusal(_jsonl(tmp_path))


# Parquet


def test_a_parquet_file_says_its_rows_beforehand(tmp_path: Path) -> None:
    path = _parquet(tmp_path, id=[1, 2, 3, 4], name=["Ann", None, "", "Müller"])
    with _table(path) as table:
        assert (table.kind, table.header, table.rows) == ("parquet", ("id", "name"), 4)
        assert [block.position for block in table.blocks([0])][-1] == table.size_bytes
    assert _rows(path) == [("1", "Ann"), ("2", ""), ("3", ""), ("4", "Müller")]
    assert _rows(path, [1, 0])[0] == ("Ann", "1")


_PHONE = 420794000000
_MIDNIGHT = datetime.datetime(1990, 5, 12)


@pytest.mark.parametrize(
    ("values", "of", "texts"),
    [
        ([_PHONE, None], pa.int64(), [str(_PHONE), ""]),
        ([float(_PHONE), None, 0.1], pa.float64(), [str(_PHONE), "", "0.1"]),
        ([float("nan"), float("inf"), 1e20], pa.float64(), ["", "", "1" + "0" * 20]),
        ([0.1, 16777216.0], pa.float32(), ["0.1", "16777216"]),
        ([Decimal(_PHONE), Decimal("1.5")], pa.decimal128(20, 2), [str(_PHONE), "1.5"]),
        ([Decimal("1e-8"), Decimal(0)], pa.decimal128(20, 10), ["0.00000001", "0"]),
        (["a", None, "a"], pa.dictionary(pa.int32(), pa.string()), ["a", "", "a"]),
        ([7, None], pa.dictionary(pa.int8(), pa.int64()), ["7", ""]),
        (["a", None], pa.large_string(), ["a", ""]),
        (["a", None], pa.string_view(), ["a", ""]),
        (["é".encode(), None], pa.binary(), ["é", ""]),
        ([True, None], pa.bool_(), ["true", ""]),
        ([None, None], pa.null(), ["", ""]),
        ([_MIDNIGHT.date(), None], pa.date32(), ["1990-05-12", ""]),
        ([_MIDNIGHT.date(), None], pa.date64(), ["1990-05-12", ""]),
        ([["a", None, "b;c"], None, []], pa.list_(pa.string()), ['a; "b;c"', "", ""]),
        ([[_PHONE, 1]], pa.large_list(pa.float64()), [f"{_PHONE}; 1"]),
        ([["a", "b"], ["c", None]], pa.list_(pa.string(), 2), ["a; b", "c"]),
    ],
)
def test_cells_of_any_type_are_texts(
    tmp_path: Path, values: list[Any], of: Any, texts: list[str]
) -> None:
    path = _parquet(tmp_path, cells=pa.array(values, of))
    assert _rows(path) == [(text,) for text in texts]


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_a_moment_is_told_where_it_was_written(tmp_path: Path, zone: str | None) -> None:
    """A birthday at midnight in Berlin is not the day before."""
    cells = pa.array([_MIDNIGHT], pa.timestamp("us"))
    if zone:
        cells = pa.compute.assume_timezone(cells, zone)
    ((text,),) = _rows(_parquet(tmp_path, cells=cells))
    assert words.date(text) == PartialDate(1990, 5, 12)


def test_blocks_of_parquet_are_bounded(tmp_path: Path, small_blocks: None) -> None:
    count = 5 * files.BLOCK_LINES
    path = tmp_path / "people.parquet"
    pq.write_table(pa.table({"n": range(count)}), path, row_group_size=count)
    assert _rows(path) == [(str(n),) for n in range(count)]
    with _table(path) as table:
        assert max(block.count for block in table.blocks([0])) <= tables.BLOCK_ROWS


def test_a_column_with_a_dot_is_one(tmp_path: Path) -> None:
    path = _parquet(tmp_path, **{"a": ["1"], "a.b": ["2"], "c.d": ["3"]})
    assert _rows(path, [1, 2, 0]) == [("2", "3", "1")]


@pytest.mark.parametrize(
    ("array", "name"),
    [
        (pa.array([{"secret": 1}]), "'cells'"),
        (pa.array([[{"secret": 1}]]), "'cells'"),
        (pa.array([b"secret\xff"]), "'cells'"),
        (pa.array([b"secret\xff"]).view(pa.string()), "'cells'"),
    ],
)
def test_cells_that_are_no_text_are_refused(tmp_path: Path, array: Any, name: str) -> None:
    """Also bytes that a file calls a text: kernels trust their UTF-8."""
    path = _parquet(tmp_path, id=[1], cells=array)
    assert _rows(path, [0]) == [("1",)]
    message = _refusal(path, [1])
    assert name in message
    assert "\xff" not in message


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "people.parquet"
    pq.write_table(pa.table([["1"], ["2"]], names=["a", "a"]), path)
    assert "two columns 'a'" in _refusal(path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = _parquet(tmp_path, id=[str(n) for n in range(1_000)])
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    assert "Cannot open" in _refusal(path)
    path.write_bytes(content[:4] + b"\0" * 1_000 + content[1_004:])
    assert "damaged" in _refusal(path)


@pytest.mark.parametrize("name", ["none.csv", "none.jsonl", "none.parquet"])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    assert _refusal(tmp_path / name).endswith("No such file or directory")


def test_the_kind_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "people.txt"
    path.write_text('{"id": 1}\n')
    assert _rows(path, kind="jsonl") == [("1",)]


# How a table begins, and rows that cannot be meant


def _people(path: Path, count: int) -> Path:
    schema = pa.schema([("id", pa.string()), ("name", pa.string())])
    with writing(str(path), schema) as writer:
        writer.write(
            pa.record_batch([[str(n) for n in range(count)], ["Ann"] * count], schema=schema)
        )
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "xlsx", "parquet"])
@pytest.mark.parametrize("count", [1, 7, 20])
def test_a_preview_takes_nothing_away(tmp_path: Path, kind: str, count: int) -> None:
    path = _people(tmp_path / f"people.{kind}", count)
    with _table(path) as table:
        for rows in (3, 10):
            preview = table.preview(rows)
            assert preview.header == ("id", "name")
            assert preview.rows == tuple((str(n), "Ann") for n in range(min(rows, count)))
            assert (preview.kind, preview.dialect) == (kind, table.dialect)
        found = [row for block in table.blocks([0]) for row in block.columns[0].to_pylist()]
    assert found == [str(n) for n in range(count)]


def test_a_preview_tells_how_a_text_is_read(tmp_path: Path) -> None:
    with _table(_csv(tmp_path, "a;b\n1\n", "utf-16")) as table:
        preview = table.preview()
    assert (preview.dialect, preview.rows) == (Dialect("utf-16", ";", '"'), (("1", ""),))


def test_rows_that_cannot_be_meant_are_told_with_their_block(tmp_path: Path) -> None:
    """A lenient table goes on; numbers stay those of the rows."""
    path = _csv(tmp_path, "a,b\n1,2\n\n3,4,5\n,,6\n7,8\n")
    with _table(path, lenient=True) as table:
        (block,) = table.blocks([0, 1])
        assert block.columns[0].to_pylist() == ["1", "3", "", "7"]
        assert [(number, fault[:7]) for number, fault in block.faults.items()] == [
            (2, "Line 4:"), (3, "Line 5:")
        ]  # fmt: skip
        assert table.preview(1).rows == ()
    lines = ['{"a": 1, "b": 2}', "{", '{"a": {"x": "secret"}, "b": 3}', "[]", '{"a": 5}']
    path = tmp_path / "people.jsonl"
    path.write_text("\n".join(lines))
    with _table(path, lenient=True) as table:
        (block,) = table.blocks([0, 1])
        assert block.columns[0].to_pylist() == ["1", "", "", "", "5"]
        assert block.columns[1].to_pylist() == ["2", "", "3", "", ""]
        assert block.faults == {
            2: "Line 2 is no JSON",
            3: "Line 3: 'a' is an object, which has no text",
            4: "Line 4 is no JSON object",
        }


@pytest.mark.parametrize("kind", ["xlsx", "parquet"])
def test_what_is_read_in_any_order_is_no_pipe(kind: str) -> None:
    with pytest.raises(InvalidArgument, match="standard input"):
        open_table("-", kind=kind)  # type: ignore[arg-type]


def test_lists_are_written_as_their_column_is_read(tmp_path: Path) -> None:
    lists = {"street": ["1 Main St", "Flat 2"], "phone": ["020 7946 0018, ext. 12"], "x": ["a, b"]}
    expected = [("1 Main St\nFlat 2", "020 7946 0018, ext. 12", '"a, b"')]
    assert _rows(_jsonl(tmp_path, lists)) == expected
    assert _rows(_parquet(tmp_path, **{key: [value] for key, value in lists.items()})) == expected
