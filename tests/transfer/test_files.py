"""Files of any size, a row at a time."""

from __future__ import annotations

import csv
import io
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidArgument
from service.transfer import files
from service.transfer.files import (
    LINE_LIMIT_CHARS,
    CsvReader,
    CsvWriter,
    Record,
    Source,
    private,
    records,
    rows_of,
    rows_text,
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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le"])
def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes("\ufeffid\n1\n".encode(encoding.removesuffix("-sig")))
    assert _read(path, encoding) == (("id",), [Record(1, ("1",))])


def test_utf_16_without_a_mark_is_a_refusal(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(b"id\n1\n")
    with pytest.raises(InvalidArgument, match="BOM"):
        _read(path, "utf-16")


def test_a_quotation_mark_that_does_not_close_swallows_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    for rows in ('1,A\n2,"B\n3,C\n', '1,A\n2,"B\n3,"C"\n'):
        path.write_text(f"id,name\n{rows}")
        with pytest.raises(InvalidArgument, match="Line 3"):
            _read(path)
    path.write_text('id,name\n1,a "b" c\n2,5"\n3,"a ""b"" c"\n')
    assert [row.cells[1] for row in _read(path)[1]] == ['a "b" c', '5"', 'a "b" c']


def _lines(text: str) -> io.StringIO:
    return io.StringIO(text, newline="")


def _standard(text: str) -> list[list[str]] | None:
    """Return the rows that `csv` reads, without empty ones; None where it refuses."""
    try:
        return [row for row in csv.reader(_lines(text), strict=True) if any(row)]
    except csv.Error:
        return None


_TEXTS = st.lists(st.sampled_from(["a", "é,", ",", '"', '""', "\r\n", "\n", "\r", '"b, c",']))


@given(_TEXTS.map("".join))
def test_rows_are_those_of_the_standard_library(text: str) -> None:
    try:
        rows = list(rows_of(_lines(text), ","))
    except InvalidArgument:
        assert _standard(text) is None
        return
    assert [cells for _, cells in rows if any(cells)] == _standard(text)
    assert all(not own or own.split(",") == cells for own, cells in rows)


@given(_TEXTS.map("".join), st.integers(1, 3), st.integers(1, 9))
def test_blocks_are_whole_rows(text: str, lines: int, chars: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(files, "BLOCK_LINES", lines)
        patched.setattr(files, "BLOCK_CHARS", chars)
        try:
            blocks = list(CsvReader(_lines("id\n" + text), delimiter=",").blocks())
        except InvalidArgument:
            assert _standard(text) is None
            return
    assert "".join(block.text for block in blocks) == text
    before = 1
    for block in blocks:
        assert block.before == before
        before += sum(1 for _ in _lines(block.text))
    apart = [rows_of(_lines(block.text), ",", block.before) for block in blocks]
    assert [cells for rows in apart for _, cells in rows if any(cells)] == _standard(text)
    plain = [block for block in blocks if '"' not in block.text]
    assert all(sum(1 for _ in _lines(block.text)) <= lines for block in plain)


@pytest.mark.parametrize(
    ("text", "line"), [('a\nb\n"c', 3), ('"a\nb"\n\n"c\n', 4), ('x"y\n"z"z\n', 2), ('"', 1)]
)
def test_a_fault_names_the_line_where_its_row_begins(text: str, line: int) -> None:
    with pytest.raises(InvalidArgument, match=f"Line {line + 7}:"):
        list(rows_of(_lines(text), ",", 7))


def test_a_row_of_many_lines_is_as_long_as_a_line_may_be() -> None:
    """Its cells may all be closed and short: the file would be one row, held as a whole."""
    taken = 0

    def lines() -> Iterator[str]:
        nonlocal taken
        yield from ("a,b\n", "1,2\n", '"x\n')
        while taken < 2 * LINE_LIMIT_CHARS:
            taken += len('","x\n')
            yield '","x\n'

    for read in (list, lambda reader: list(reader.blocks())):
        taken = 0
        with pytest.raises(InvalidArgument, match="Line 3: the row is longer"):
            read(CsvReader(lines()))
        assert taken < 1.1 * LINE_LIMIT_CHARS
    rows = ['1,"x\n', 'y"\n'] * (LINE_LIMIT_CHARS // 4)  # each of them short
    assert sum(1 for _ in CsvReader(iter(["a,b\n", *rows]))) == len(rows) // 2


def test_a_source_is_closed_while_somebody_waits_for_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with os.fdopen(os.open(pipe, os.O_RDWR), "wb", buffering=0) as sender:
        source = Source(str(pipe))

        def read() -> None:
            with suppress(ValueError):  # it was closed
                list(source.lines())

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        reader.join(0.2)
        assert reader.is_alive()
        closer = threading.Thread(target=source.close, daemon=True)
        closer.start()
        closer.join(5)
        assert not closer.is_alive()
        sender.write(b"\n")
        reader.join(5)


@pytest.mark.parametrize("delimiter", [";;", "", '"', "\n"])
def test_a_delimiter_is_one_character(delimiter: str) -> None:
    with pytest.raises(InvalidArgument, match="one character"):
        CsvWriter(io.BytesIO(), ("id",), delimiter=delimiter)
    if delimiter:  # none is found in the header
        with pytest.raises(InvalidArgument, match="one character"):
            CsvReader(iter(["id\n"]), delimiter=delimiter)


def test_a_carriage_return_ends_no_row() -> None:
    stream = io.BytesIO()
    writer = CsvWriter(stream, ("id", "comment"))
    writer.write(("1", "a\rb"))
    writer.detach()
    assert stream.getvalue() == b'id,comment\n1,"a\rb"\n'


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


def test_the_name_of_a_whole_file_is_durable_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    fsync = os.fsync

    def noted(handle: int) -> None:
        synced.append(os.path.samestat(os.fstat(handle), tmp_path.stat()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    with whole(str(tmp_path / "out.csv")) as stream:
        stream.write(b"id\n")
    assert synced == [False, True]


def test_a_private_file_is_for_its_owner_and_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "failed.csv"
    for text in (b"older", b"new"):
        with private(str(path)) as stream:
            assert path.stat().st_mode & 0o077 == 0
            stream.write(text)
        assert path.read_bytes() == text
        path.chmod(0o644)
    mode = Path("/dev/null").stat().st_mode
    with private("/dev/null") as stream:
        stream.write(b"gone")
    assert Path("/dev/null").stat().st_mode == mode


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


@given(
    st.lists(
        st.lists(st.text(st.sampled_from("ab,;\"'\r\n\t é"), max_size=4), min_size=1, max_size=4)
    ),
    st.sampled_from(",;\t"),
)
def test_rows_are_the_text_that_the_writer_writes(rows: list[list[str]], delimiter: str) -> None:
    """The quick way and the csv module's, on cells that need quoting and cells that do not."""
    stream = io.BytesIO()
    writer = CsvWriter(stream, (), delimiter=delimiter)
    for row in rows:
        writer.write(row)
    writer.detach()
    assert rows_text(rows, delimiter).encode() == stream.getvalue()
