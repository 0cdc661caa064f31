"""XLSX in: both readers say the same, in bounded memory, and what may do harm is refused."""

from __future__ import annotations

import datetime
import io
import re
import tracemalloc
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
import rustpy_xlsxwriter as xlsx
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidArgument
from service.transfer import sheets
from service.transfer.sheets import Row, Sheet
from service.transfer.tables import open_table

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
FORMATS = ("General", "0.00", "[h]:mm:ss", "yyyy-mm-dd", "h:mm AM/PM", 'dd/mm/yy "s"', "[Red]0;-0")
BUILT_IN = (0, 1, 9, 14, 18, 20, 22, 45, 46, 47, 49)
DATE = len(BUILT_IN) + FORMATS.index("yyyy-mm-dd")


def _parts(
    rows: str, strings: str | None = None, properties: str = "", names: Sequence[str] = ("People",)
) -> dict[str, str]:
    """Return the parts of a file with a sheet of these rows."""
    codes = (code.replace('"', "&quot;") for code in FORMATS)
    formats = "".join(
        f'<numFmt numFmtId="{164 + i}" formatCode="{c}"/>' for i, c in enumerate(codes)
    )
    styles = "".join(f'<xf numFmtId="{i}"/>' for i in (*BUILT_IN, *range(164, 164 + len(FORMATS))))
    listed = "".join(
        f'<sheet name="{name}" sheetId="{i}" r:id="rId{i}"/>' for i, name in enumerate(names, 1)
    )
    relations = "".join(
        f'<Relationship Id="rId{i}" Type="{OFFICE}/worksheet" Target="worksheets/sheet{i}.xml"/>'
        for i in range(1, len(names) + 1)
    )
    relations += f'<Relationship Id="s" Type="{OFFICE}/styles" Target="/xl/styles.xml"/>'
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/'
        'content-types"><Default Extension="xml" ContentType="application/xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}"><Relationship Id="rId1" '
        f'Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}">{properties}'
        f"<sheets>{listed}</sheets></workbook>",
        "xl/styles.xml": f'<styleSheet xmlns="{MAIN}"><numFmts>{formats}</numFmts>'
        f'<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs>{styles}</cellXfs></styleSheet>',
    }
    if strings is not None:
        relations += (
            f'<Relationship Id="t" Type="{OFFICE}/sharedStrings" Target="sharedStrings.xml"/>'
        )
        parts["xl/sharedStrings.xml"] = f'<sst xmlns="{MAIN}">{strings}</sst>'
    parts["xl/_rels/workbook.xml.rels"] = (
        f'<Relationships xmlns="{PACKAGE}">{relations}</Relationships>'
    )
    for i in range(1, len(names) + 1):
        parts[f"xl/worksheets/sheet{i}.xml"] = (
            f'<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData></worksheet>'
        )
    return parts


def _file(folder: Path, parts: dict[str, str]) -> Path:
    path = folder / "people.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def _row(*cells: str) -> str:
    return f"<row>{''.join(cells)}</row>"


def _typed(kind: str, value: str, style: int = 0) -> str:
    return f'<c t="{kind}" s="{style}"><v>{value}</v></c>'


def _by(path: Path, reader: str, name: str = "") -> list[Row]:
    """Return the rows as one of the readers has them, without empty cells at their ends."""
    sheet = Sheet(str(path), name)
    try:
        rows: list[Row] = list(getattr(sheet, reader)())
    finally:
        sheet.close()
    for row in rows:
        while row.cells and not row.cells[-1]:
            row.cells.pop()
    return [row for row in rows if row.cells]


def _cells(path: Path) -> list[str]:
    """Return the only row, on which both readers agree."""
    (row,) = _by(path, "_held")
    assert [row] == _by(path, "pieces")
    return row.cells


def _refusal(path: Path) -> str:
    with pytest.raises(InvalidArgument) as refused:
        _by(path, "rows")
    return refused.value.message


# What cells say


def test_a_phone_that_is_a_number_has_all_its_digits(tmp_path: Path) -> None:
    numbers = ("79161234567", "7.9161234567E10", "9007199254740992", "1.5", "-0.0", "1e-7", "1e21")
    path = _file(tmp_path, _parts(_row(*(_typed("n", number) for number in numbers))))
    assert _cells(path) == [
        "79161234567", "79161234567", "9007199254740992", "1.5", "0", "0.0000001", "1" + "0" * 21
    ]  # fmt: skip


def test_what_a_double_cannot_keep_is_lost(tmp_path: Path) -> None:
    """Whole numbers are exact up to 2**53, which is why longer ones are to be texts."""
    path = _file(tmp_path, _parts(_row(_typed("n", "9007199254740993"), _typed("str", "9" * 20))))
    assert _cells(path) == ["9007199254740992", "9" * 20]


def test_cells_of_every_type_are_texts(tmp_path: Path) -> None:
    rows = _row(
        _typed("b", "1"), _typed("b", "0"), _typed("e", "#N/A"), _typed("str", " a "),
        _typed("d", "2020-01-02T03:04:05"), _typed("d", "2020-01-02"), "<c><f>1+1</f><v>2</v></c>",
        '<c t="inlineStr"><is><r><t>a</t></r><r><t> b</t></r></is></c>', _typed("s", "0"), "<c/>",
        _typed("s", "1"), _typed("s", "2"), _typed("s", "3"), "<c><v>text</v></c>",
    )  # fmt: skip
    strings = (
        '<si><t> trimmed </t></si><si><t xml:space="preserve"> kept </t></si><si/>'
        "<si><r><t>漢字</t></r><rPh><t>かんじ</t></rPh><r><t>_x000D__x263A__x005F_x0041_</t></r></si>"
    )
    assert _cells(_file(tmp_path, _parts(rows, strings))) == [
        "true", "false", "", " a ", "2020-01-02 03:04:05", "2020-01-02", "2", "ab", "trimmed", "",
        " kept ", "", "漢字\r_x263A__x0041_", "text",
    ]  # fmt: skip


SERIALS = (0, 0.25, 1, 59, 60, 61, 1.5, 32998, 43832.25, 43832.12783564815, 2958465, 43832.99999999)


@pytest.mark.parametrize("properties", ["", '<workbookPr date1904="1"/>'])
@pytest.mark.parametrize("style", range(len(BUILT_IN) + len(FORMATS)))
def test_both_readers_take_the_same_numbers_for_dates(
    tmp_path: Path, style: int, properties: str
) -> None:
    serials = [serial for serial in SERIALS if not properties or serial < 2_900_000]
    row = _row(*(_typed("n", str(serial), style) for serial in serials))
    assert len(_cells(_file(tmp_path, _parts(row, properties=properties)))) == len(serials)


def test_a_date_has_a_time_only_where_there_is_one(tmp_path: Path) -> None:
    row = _row(*(_typed("n", text, DATE) for text in ("32998", "43832.25", "0.5", "61", "-1")))
    assert _cells(_file(tmp_path, _parts(row))) == [
        "1990-05-05", "2020-01-02 06:00:00", "12:00:00", "1900-03-01", "00:00:00"
    ]  # fmt: skip
    row = _row(_typed("n", "1.5", len(BUILT_IN) + FORMATS.index("[h]:mm:ss")))
    assert _cells(_file(tmp_path, _parts(row))) == ["36:00:00"]


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 60), 1 << 60),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=9),
    st.dates(datetime.date(1900, 3, 1)),
    st.datetimes(datetime.datetime(1900, 3, 1), datetime.datetime(9999, 1, 1)).map(
        lambda moment: moment.replace(microsecond=0)
    ),
)


@settings(deadline=None)
@given(
    rows=st.lists(st.lists(_VALUES, min_size=3, max_size=3), min_size=1, max_size=8),
    dedupe=st.booleans(),
)
def test_both_readers_say_the_same_of_any_cell(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[Any]], dedupe: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.xlsx"
    records = [dict(zip("abc", row, strict=True)) for row in rows]
    xlsx.write_worksheet(records, str(path), dedupe_strings=dedupe)
    assert _by(path, "_held_first") == _by(path, "pieces")


def test_a_phone_in_a_cell_that_shows_dates_is_a_phone(tmp_path: Path) -> None:
    """Of twelve digits: too late a date for calamine, which ends the thread."""
    rows = '<row r="1"><c r="A1"><v>1</v></c></row>' + "".join(
        f'<row r="{n}"><c r="A{n}" s="{DATE}"><v>42079400000{n}</v></c></row>' for n in (2, 3)
    )
    path = _file(tmp_path, _parts(rows))
    assert [row.cells[0] for row in _by(path, "rows")] == ["1", "420794000002", "420794000003"]


def test_a_table_may_begin_anywhere(tmp_path: Path) -> None:
    rows = (
        '<row r="3"><c r="C3" t="str"><v> id </v></c><c r="E3" t="str"><v>name</v></c></row>'
        '<row r="5"><c r="C5"><v>1</v></c><c r="D5"><v>2</v></c></row>'
        '<row r="9"><c r="E9" t="str"><v>Ann</v></c></row><row r="10"/>'
    )
    path = _file(tmp_path, _parts(rows))
    assert _by(path, "_held") == _by(path, "pieces")
    with open_table(str(path)) as table:
        assert table.header == ("id", "", "name")
        (block,) = table.blocks([0, 1, 2])
        assert (block.first, block.count, block.position) == (1, 2, path.stat().st_size)
        assert block.joined([0, 1, 2]).to_pylist() == ["1 2 ", "  Ann"]


def test_parts_may_have_other_names(tmp_path: Path) -> None:
    """Their names are in the file; calamine knows the usual ones."""
    parts = _parts('<row r="1"><c r="A1" t="s"><v>0</v></c></row>', "<si><t>a</t></si>")
    relations = parts["xl/_rels/workbook.xml.rels"]
    moved = {**parts, "xl/texts/Shared.xml": parts["xl/sharedStrings.xml"]}
    moved["xl/_rels/workbook.xml.rels"] = relations.replace("sharedStrings.xml", "texts/shared.xml")
    del moved["xl/sharedStrings.xml"]
    for one in (parts, moved):
        assert [row.cells for row in _by(_file(tmp_path, one), "rows")] == [["a"]]


def test_a_sheet_is_chosen_by_name(tmp_path: Path) -> None:
    path = _file(tmp_path, _parts(_row(_typed("str", "id")), names=("One", "Two")))
    with open_table(str(path)) as table:
        assert (table.sheet, table.sheets) == ("One", ("One", "Two"))
    with open_table(str(path), sheet="Two") as table:
        assert table.sheet == "Two"
    with pytest.raises(InvalidArgument, match="no sheet 'Three'"):
        open_table(str(path), sheet="Three")


def test_elements_may_have_a_prefix(tmp_path: Path) -> None:
    parts = _parts("")
    parts["xl/worksheets/sheet1.xml"] = (
        f'<x:worksheet xmlns:x="{MAIN}"><x:sheetData><x:row><x:c t="str"><x:v>a</x:v></x:c>'
        "</x:row></x:sheetData></x:worksheet>"
    )
    assert _cells(_file(tmp_path, parts)) == ["a"]


# Which reader


def _reader_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return which reader is taken."""
    taken: list[str] = []
    for reader in ("_held", "pieces"):

        def noted(_: Sheet, name: str = reader) -> Iterator[Row]:
            taken.append(name)
            return iter(())

        monkeypatch.setattr(sheets.Sheet, reader, noted)
    _by(path, "rows")
    monkeypatch.undo()
    return taken[0]


def _placed(*places: str) -> str:
    return "".join(
        f'<row r="{place.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")}"><c r="{place}"><v>1</v></c></row>'
        for place in places
    )


def test_ordinary_sheets_are_held_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two cells at the corners calamine would make seventeen thousand million."""
    near, far = _parts(_placed("A1", "Z99")), _parts(_placed("A1", "XFD1048576"))
    assert _reader_of(_file(tmp_path, near), monkeypatch) == "_held"
    assert _reader_of(_file(tmp_path, far), monkeypatch) == "pieces"
    assert [len(row.cells) for row in _by(_file(tmp_path, far), "rows")] == [1, 1 << 14]
    nowhere = _parts(_row(_typed("n", "1")))
    assert _reader_of(_file(tmp_path, nowhere), monkeypatch) == "pieces"
    monkeypatch.setattr(sheets, "HELD_BYTES", 1_000)
    assert _reader_of(_file(tmp_path, near), monkeypatch) == "pieces"


def _many(path: Path, rows: int) -> None:
    batch = pa.record_batch(
        {f"column {i}": [f"{i} {n:09}" for n in range(10_000)] for i in range(4)}
    )
    batches = iter([batch] * (rows // 10_000))
    xlsx.write_worksheet(pa.RecordBatchReader.from_batches(batch.schema, batches), str(path))


def test_the_streaming_reader_does_not_hold_the_sheet(tmp_path: Path) -> None:
    """Thrice the rows take no more memory; their XML alone would be some 20 MB."""
    peaks = []
    for rows in (20_000, 60_000):
        _many(tmp_path / "many.xlsx", rows)
        sheet = Sheet(str(tmp_path / "many.xlsx"))
        tracemalloc.start()
        assert sum(1 for _ in sheet.pieces()) == rows + 1
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        sheet.close()
    assert max(peaks) < 2 << 20


def test_shared_texts_are_not_held_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "STRINGS_CACHED", 100)
    count = 20_000
    strings = "".join(f"<si><t>{'x' * 200}{n}</t></si>" for n in range(count))
    rows = "".join(_row(_typed("s", str(count - 1 - n))) for n in range(count))
    sheet = Sheet(str(_file(tmp_path, _parts(rows, strings))))
    tracemalloc.start()
    found = [int(row.cells[0][200:]) for row in sheet.pieces()]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    sheet.close()
    assert found == list(reversed(range(count)))
    assert peak < 3 << 20


# Harm


def test_a_document_type_is_refused_in_every_part(tmp_path: Path) -> None:
    entity = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>'
    parts = _parts(_placed("A1") + _row('<c t="s"><v>0</v></c>'), "<si><t>a</t></si>")
    for name in parts:
        if name != "[Content_Types].xml":
            path = _file(tmp_path, {**parts, name: entity + parts[name]})
            assert "damaged" in _refusal(path)


def _claimed(path: Path, part: str, size: int) -> None:
    """Let the archive say another size of a part than it has, in both places."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(part)
    own, said = info.file_size.to_bytes(4, "little"), size.to_bytes(4, "little")
    name = part.encode()
    for at in (content.index(name), content.rindex(name)):
        place = content.rindex(own, 0, at)
        content[place : place + 4] = said
    path.write_bytes(content)


def test_a_part_that_is_longer_than_it_says_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calamine would go on reading: a small file may become thousands of megabytes."""
    rows = _placed(*(f"A{n}" for n in range(1, 2_000)))
    path = _file(tmp_path, _parts(rows))
    _claimed(path, "xl/worksheets/sheet1.xml", 500)
    assert "damaged" in _refusal(path)
    monkeypatch.setattr(sheets, "HELD_BYTES", 0)
    assert "damaged" in _refusal(path)


@pytest.mark.parametrize(
    "row",
    [
        _row(f'<c t="str"><v>{"x" * 2_000_000}</v></c>'),
        f'<row><c t="{"x" * 4_000_000}"/></row>',
        _row('<c r="XFE1"><v>1</v></c>'),
        _row('<c r="1A"><v>1</v></c>'),
        _row('<c s="x"><v>1</v></c>'),
        _row(_typed("s", "7")),
        _row(_typed("s", "-1")),
        _row(_typed("b", "2")),
        _row(_typed("q", "1")),
        "<row><c><v>1</v></row>",
    ],
)
def test_what_no_program_writes_is_refused_in_bounded_memory(tmp_path: Path, row: str) -> None:
    _refusal(_file(tmp_path, _parts(row, "<si><t>a</t></si>")))


@settings(deadline=None, max_examples=300)
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255), is_held=st.booleans())
def test_a_damaged_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int, is_held: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    rows = _placed("A1", "B2") if is_held else _row(_typed("s", "0"), _typed("n", "5", DATE))
    path = _file(folder, _parts(rows, "<si><t>a</t></si>"))
    content = bytearray(path.read_bytes())
    content[place % len(content)] = byte
    path.write_bytes(content)
    with suppress(InvalidArgument), open_table(str(path)) as table:
        for _ in table.blocks([0]):
            pass


_METHODS = (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_PIECES = (
    "", "x", "-1", "1e999", "9" * 5_000, "A0", "ZZZZ1", "rId9", "/", "<", "<c", "</c>",
    "&#0;", "\0", "é", '"', '="', "<!DOCTYPE x>", '<?xml version="1.0" encoding="shift_jis"?>',
)  # fmt: skip
_SPOTS = (r' [\w:]+="[^"]*"', r'(?<==")[^"]*', r"(?<=>)[^<]*", r"<[^>]*>")  # attributes, … tags


def _rewritten(xml: str, dice: Random) -> str:
    """Return XML of which something is left out, twice there, or another."""
    found = list(re.finditer(dice.choice(_SPOTS), xml))
    if not found:
        return xml + dice.choice(_PIECES)
    spot = dice.choice(found)
    put = dice.choice(("", spot[0] * 2, dice.choice(_PIECES)))
    return xml[: spot.start()] + put + xml[spot.end() :]


def _packed(parts: dict[str, str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return made.getvalue()


def _damage(parts: dict[str, str], dice: Random) -> bytes:
    """Return a file that was cut off, has other bytes, lacks a part, or has one with other XML."""
    match dice.randrange(4):
        case 0:
            whole = _packed(parts)
            return whole[: dice.randrange(len(whole))]
        case 1:
            other = bytearray(_packed(parts, dice.choice(_METHODS)))
            for _ in range(dice.choice((1, 2, 20))):
                other[dice.randrange(len(other))] = dice.randrange(256)
            return bytes(other)
        case 2:
            left = dice.sample(list(parts), len(parts) - dice.choice((1, 2)))
            return _packed({name: parts[name] for name in left})
        case _:
            name = dice.choice(list(parts))
            return _packed({**parts, name: _rewritten(parts[name], dice)})


def _read(path: Path, content: bytes) -> bool:
    """Read a file by both readers; say whether one refused it. Nothing else may be raised."""
    path.write_bytes(content)
    try:
        with open_table(str(path)) as table:
            for _ in table.blocks(range(len(table.header))):
                pass
        _by(path, "rows")
    except InvalidArgument:
        return True
    return False


def test_whatever_is_damaged_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever library finds it, and of whatever kind its own error is."""
    dice, refused = Random(20_261_130), 0
    rows = '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>' + (
        f'<row r="2"><c r="A2" s="{DATE}"><v>5</v></c><c r="B2" t="b"><v>1</v></c></row>'
    )
    strings = "<si><t>a</t></si><si><r><t>b</t></r></si>"
    sound = _parts(rows, strings, '<workbookPr date1904="0"/>', ("One", "Two"))
    path = tmp_path / "people.xlsx"
    assert not _read(path, _packed(sound))
    for number in range(1_000):
        monkeypatch.setattr(sheets, "HELD_BYTES", 1 << 20 if number % 2 else 0)
        refused += _read(path, _damage(sound, dice))
    assert 300 < refused < 950


def test_a_fault_of_ours_is_no_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or nobody would ever hear of it."""

    def broken(_: float) -> str:
        raise ValueError("a fault")

    monkeypatch.setattr(sheets, "_number", broken)
    for rows in (_placed("A1"), _row(_typed("n", "1"))):
        with pytest.raises(ValueError, match="a fault"):
            _by(_file(tmp_path, _parts(rows)), "rows")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_parts_are_stored_or_deflated(tmp_path: Path, method: int) -> None:
    """No program packs them otherwise, and other libraries fail in their own ways."""
    path = tmp_path / "people.xlsx"
    parts = _parts(_placed("A1"))
    assert not _read(path, _packed(parts, zipfile.ZIP_STORED))
    assert _read(path, _packed(parts, method))


@pytest.mark.parametrize(
    ("offset", "value"), [(6, 130), (8, 1), (8, 32), (8, 64), (10, 99)],
    ids=["version", "encrypted", "patch", "strongly encrypted", "compression"],
)  # fmt: skip
def test_what_no_library_unpacks_is_refused(tmp_path: Path, offset: int, value: int) -> None:
    parts = _parts(_placed("A1"))
    first = {"_rels/.rels": parts.pop("_rels/.rels"), **parts}
    content = bytearray(_packed(first))
    content[content.index(b"PK\1\2") + offset] = value
    assert _read(tmp_path / "people.xlsx", bytes(content))


@pytest.mark.parametrize("encoding", ["shift_jis", "nonsense", "hex"])
def test_other_encodings_than_unicode_are_refused(tmp_path: Path, encoding: str) -> None:
    parts = _parts(_row(_typed("n", "1")))
    for name, content in parts.items():
        if name != "[Content_Types].xml":
            declared = f'<?xml version="1.0" encoding="{encoding}"?>{content}'
            assert "damaged" in _refusal(_file(tmp_path, {**parts, name: declared}))


def test_a_time_span_beyond_all_bounds_is_a_number(tmp_path: Path) -> None:
    style = len(BUILT_IN) + FORMATS.index("[h]:mm:ss")
    path = _file(tmp_path, _parts(_row(_typed("n", "1e301", style))))
    (row,) = _by(path, "rows")
    assert row.cells == ["1" + "0" * 301]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "damaged"),
        (b"\xd0\xcf\x11\xe0" * 1_000, "password"),  # Excel 97, or an encrypted file
        (b"id,name\n", "damaged"),
    ],
)
def test_what_is_no_xlsx_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "people.xlsx"
    path.write_bytes(content)
    with pytest.raises(InvalidArgument, match=reason) as refused:
        open_table(str(path))
    assert str(path) in refused.value.message


def test_an_empty_sheet_has_no_header(tmp_path: Path) -> None:
    for rows in ("", _row("<c/>"), _row(_typed("str", " "))):
        with pytest.raises(InvalidArgument, match="no header"):
            open_table(str(_file(tmp_path, _parts(rows))))


def test_a_cell_without_a_header_is_told(tmp_path: Path) -> None:
    rows = '<row r="1"><c r="B1" t="str"><v>id</v></c></row>' + _placed("B2", "C4", "B5")
    path = _file(tmp_path, _parts(rows))
    with (
        pytest.raises(InvalidArgument, match="Row 4: a cell has no header"),
        open_table(str(path)) as table,
    ):
        list(table.blocks([0]))
    with open_table(str(path), lenient=True) as table:
        (block,) = table.blocks([0])
        assert block.columns[0].to_pylist() == ["1", "", "1"]
        assert block.faults == {2: "Row 4: a cell has no header"}
