"""Files of any size, a row at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import InvalidArgument
from service.transfer.files import (
    LINE_LIMIT_CHARS,
    CsvReader,
    CsvWriter,
    Record,
    Source,
    records,
    sniff,
    whole,
)


def _read(path: Path, encoding: str = "utf-8-sig") -> tuple[tuple[str, ...], list[Record]]:
    source = Source(str(path))
    try:
        reader = CsvReader(source.lines(encoding))
        return reader.header, list(reader)
    finally:
        source.close()


def test_a_spreadsheets_csv_is_read(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(
        '\ufeffid;"last name"\r\n1;"Müller; Ann"\r\n\r\n;\r\n2;"two\nlines"\r\n'.encode()
    )
    header, rows = _read(path)
    assert header == ("id", "last name")
    assert rows == [Record(1, ("1", "Müller; Ann")), Record(2, ("2", "two\nlines"))]


def test_another_encoding_is_read_when_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes("фамилия\nИванов\n".encode("cp1251"))
    assert _read(path, "cp1251")[1] == [Record(1, ("Иванов",))]
    with pytest.raises(InvalidArgument, match="encoding"):
        _read(path)
    with pytest.raises(InvalidArgument, match="no encoding"):
        _read(path, "cp9999")


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [
        ("a,b;c,d", ","),
        ("a;b;c", ";"),
        ("a\tb", "\t"),
        ("a|b", "|"),
        ('"x;y;z",b', ","),
        ("a", ","),
    ],
)
def test_the_delimiter_is_found_in_the_header(header: str, delimiter: str) -> None:
    assert sniff(header) == delimiter


def test_what_is_no_table_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(b"")
    with pytest.raises(InvalidArgument, match="no header"):
        _read(path)
    path.write_text('id,name\n1,"never closed\n' + "x,y\n" * 100_000)
    with pytest.raises(InvalidArgument, match="Line"):
        _read(path)
    path.write_text("id\n" + "x" * (LINE_LIMIT_CHARS + 1))
    with pytest.raises(InvalidArgument, match="longer"):
        _read(path)
    with pytest.raises(InvalidArgument, match="Cannot open"):
        Source(str(tmp_path / "missing.csv"))


def test_lines_of_jsonl_are_numbered_without_blank_ones() -> None:
    assert list(records(iter(["{}\n", "\n", '{"a": 1}']))) == [
        Record(1, ("{}",)),
        Record(2, ('{"a": 1}',)),
    ]


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with whole(str(path)) as stream:
        writer = CsvWriter(stream, ("id", "name"))
        writer.write(("1", 'a "quoted", one'))
        writer.detach()
        assert not path.exists()
    assert path.read_text() == 'id,name\n1,"a ""quoted"", one"\n'
    assert path.stat().st_mode & 0o077 == 0


def test_a_file_that_is_not_finished_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    with pytest.raises(TypeError), whole(str(path)) as stream:
        stream.writelines([b"half", None])  # type: ignore[list-item]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="Cannot write"), whole(str(tmp_path / "no" / "out")):
        pass


def test_a_device_is_written_to_and_not_replaced() -> None:
    with whole("/dev/null") as stream:
        stream.write(b"gone")
    assert Path("/dev/null").is_char_device()
