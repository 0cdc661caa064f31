"""Rows of a sheet in an XLSX file, each cell as a text.

A sheet of ordinary size and shape is read by calamine, which holds all of it. Every other one is
read from the archive piece by piece, in bounded memory and at some half of the speed. Both say the
same of the same cells: a number has all its digits and no exponent, a date is YYYY-MM-DD (with a
time only where it has one), a boolean is true or false, an error is nothing.

A number of a spreadsheet is a double: whole ones beyond 2**53 (and in Excel all digits beyond the
fifteenth) were lost when they were typed in. Longer numbers are to be texts.
"""

from __future__ import annotations

import copy
import datetime
import posixpath
import re
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from math import isfinite
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final, Literal, NamedTuple
from xml.parsers import expat

from python_calamine import CalamineError, CalamineWorkbook

from service.errors import InvalidArgument
from service.transfer import words

HELD_BYTES = 64 << 20  # of XML, of which calamine makes cells that take some 150 MB
HELD_CELLS_PER_CELL = 8  # calamine holds the whole rectangle; a cell far away makes it huge
PART_BYTES = 64 << 20  # of the styles and other small parts; theirs are some kilobytes
CELL_CHARS = 1 << 20  # Excel's limit is 32,767; as long as a line of CSV may be
ROW_CELLS = 1 << 14  # columns that a sheet can have
MARKUP_BYTES = 1 << 20  # between two events of the parser: a tag is not longer
READ_BYTES = 1 << 16
STRINGS_CACHED = 1 << 14  # texts that many cells share: some megabytes

_DAY_MS = 86_400_000
_DAY_0 = datetime.datetime(1899, 12, 30)
_LAST_DAY = 2_958_465  # 9999-12-31
_NO_DAY = -96_439_000  # calamine's calendar begins thereabouts
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ESCAPED = re.compile("_x(00[0-9A-Fa-f]{2})_")  # how a control character is written
_LONGEST_CACHED = 256
_FILE_BYTES = 1 << 63  # a place beyond is in no file

Kind = Literal["number", "date", "duration"]
# ECMA-376 part 1, 18.8.30: built-in formats of dates and times; those of East Asia from 27 on.
_BUILT_IN: dict[int, Kind] = {
    **dict.fromkeys((*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)), "date"),
    46: "duration",
}
_LITERAL = re.compile(r'"[^"]*"|\\.|_.|\*.')
_ELAPSED = re.compile(r"\[(?:h+|m+|s+)\]", re.IGNORECASE)
_BRACKETS = re.compile(r"\[[^\]]*\]")
_OF_DATES = re.compile("[dmyhs]", re.IGNORECASE)


class Row(NamedTuple):
    """A row of a sheet: its number from 1, empty rows counted, and its cells from column A on."""

    number: int
    cells: list[str]


class Sheet:
    """One sheet of a file. `close` it when it is read."""

    def __init__(self, path: str, name: str = "") -> None:
        try:
            self._file: Final = Path(path).open("rb")  # noqa: SIM115
        except OSError as error:
            raise InvalidArgument(f"Cannot open {path}: {error.strerror}") from None
        try:
            with _sound():
                self._archive = _unzipped(self._file)
                self._book = _Book.of(self._archive)
            self.names = tuple(self._book.sheets)
            if name and name not in self.names:
                raise InvalidArgument(f"There is no sheet {name!r}", field="--sheet")
            if not self.names:
                raise InvalidArgument("The file has no sheet of cells")
            self.name = name or self.names[0]
            self._part = self._archive.getinfo(self._book.sheets[self.name])
        except BaseException:
            self.close()
            raise
        self.share = 0.0  # of the sheet that is read

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def rows(self) -> Iterator[Row]:
        """Yield the rows that are not empty."""
        with _sound():
            rows = self._held_first() if self._is_ordinary() else self.pieces()
            for row in rows:
                if any(row.cells):
                    yield row

    def _held_first(self) -> Iterator[Row]:
        """Yield the rows by calamine, and from one on that it fails at by ourselves."""
        done = 0
        try:
            for row in self._held():
                yield row
                done = row.number
        except BaseException as error:
            # A phone of twelve digits in a cell that shows dates is too late a date for it.
            if type(error).__name__ not in ("PanicException", "OverflowError"):
                raise
        else:
            return
        for row in self.pieces():
            if row.number > done:
                yield row

    def _is_ordinary(self) -> bool:
        """Say whether calamine may hold the sheet, by what the archive really has."""
        parts = [self._archive.getinfo(name) for name in self._book.parts(self.name)]
        if not self._book.is_usual or sum(part.file_size for part in parts) > HELD_BYTES:
            return False
        for part in parts:
            if part is not self._part:
                _whole(self._archive, part)
        return _is_dense(_whole(self._archive, self._part))

    def _held(self) -> Iterator[Row]:
        self._file.seek(0)
        with CalamineWorkbook.from_filelike(self._file) as book:
            sheet = book.get_sheet_by_name(self.name)
            before = [""] * (sheet.start[1] if sheet.start else 0)
            height = sheet.end[0] + 1 if sheet.end else 1
            for number, cells in enumerate(sheet.iter_rows(), 1):
                self.share = number / height
                yield Row(number, before + [text_of(cell) for cell in cells])

    def pieces(self) -> Iterator[Row]:
        """Yield the rows, empty ones too, piece by piece; `rows` chooses how it reads."""
        styles = _styles(self._archive, self._book.styles)
        with _Strings.of(self._archive, self._book.strings) as strings:
            parser = _CellParser(styles, strings.get, since_1904=self._book.since_1904)
            with _opened(self._archive, self._part) as part:
                for read in parser.feed(part):
                    self.share = read / max(self._part.file_size, 1)
                    yield from parser.taken()


@contextmanager
def _sound() -> Iterator[None]:
    """Make one refusal of what the libraries find damaged while they read; theirs may have cells.

    None of these is ever raised by our own code, whose faults shall be seen.
    """
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, expat.ExpatError, CalamineError):
        raise _damaged() from None


def _damaged() -> InvalidArgument:
    return InvalidArgument("The XLSX file is damaged, or of an unknown kind; or it has a password")


def _unzipped(file: IO[bytes]) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (NotImplementedError, UnicodeDecodeError):  # of a later version; names that are no text
        raise _damaged() from None


def _opened(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> IO[bytes]:
    # ECMA-376 part 2: parts are stored or deflated, and not encrypted.
    if part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or part.flag_bits & 1:
        raise _damaged()
    if not 0 <= part.header_offset < _FILE_BYTES:
        raise _damaged()
    try:
        return archive.open(part)
    except (NotImplementedError, UnicodeDecodeError):  # patches; a name that is no text
        raise _damaged() from None


def _whole(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> bytes:
    """Return a part, refused if it is longer than the archive says: calamine would not stop."""
    honest = copy.copy(part)
    honest.file_size = part.file_size + 1  # else reading stops there
    with _opened(archive, honest) as stream:
        content = stream.read()
    if len(content) != part.file_size or b"<!DOCTYPE" in content:
        raise _damaged()
    return content


def _is_dense(sheet: bytes) -> bool:
    """Say whether the cells fill a good part of the rectangle around them.

    Only of sheets as programs write them, where each row and cell says where it is.
    """
    columns = re.findall(rb'<c r="([A-Z]+)', sheet)
    rows = sheet.count(b'<row r="')
    first, last = sheet.find(b"<sheetData"), sheet.rfind(b"</sheetData>")
    cells = len(columns)
    if sheet.count(b"<c", first, last) != cells or sheet.count(b"<row", first, last) != rows:
        return False
    width = max(map(_column, set(columns)), default=0) + 1
    height = max(map(int, set(re.findall(rb'<c r="[A-Z]+(\d{1,9})', sheet))), default=0)
    return width <= ROW_CELLS and width * height <= HELD_CELLS_PER_CELL * (cells + ROW_CELLS)


@lru_cache(ROW_CELLS)
def _column(letters: bytes | str) -> int:
    """Return the place of a column from 0."""
    text = letters.decode() if isinstance(letters, bytes) else letters
    number = 0
    for letter in text[:4]:  # XFD is the last
        if letter not in _LETTERS:
            raise _damaged()
        number = number * 26 + _LETTERS.index(letter) + 1
    if not 0 < number <= ROW_CELLS:
        raise InvalidArgument(f"A sheet has {ROW_CELLS} columns at most")
    return number - 1


# What a cell says


def text_of(value: object) -> str:
    """Return a cell that calamine read as a text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _number(float(value))
    if isinstance(value, datetime.datetime):
        return _moment(value)
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, datetime.time):
        return _seconds(value.isoformat())
    if isinstance(value, datetime.timedelta):
        return _duration(round(value.total_seconds() * 1000))
    raise ValueError("a cell of an unknown kind")


def _number(value: float) -> str:
    """Return a number with all its digits: 79161234567.0 is a phone; "" for no number."""
    if -1e15 < value < 1e15 and value == (whole := int(value)):
        return str(whole)
    return words.digits(repr(value))


def _moment(value: datetime.datetime) -> str:
    if not (value.hour or value.minute or value.second or value.microsecond):
        return value.date().isoformat()
    return _seconds(value.isoformat(" "))


def _seconds(text: str) -> str:
    """Leave out zeros at the end of a fraction."""
    return text.rstrip("0") if "." in text else text


def _duration(ms: int) -> str:
    seconds, rest = divmod(abs(ms), 1000)
    fraction = f".{rest:03}".rstrip("0") if rest else ""
    sign = "-" if ms < 0 else ""
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}{fraction}"


def _of_serial(serial: float, kind: Kind, *, since_1904: bool) -> str:
    """Return a number that is shown as a date or time: days since the end of 1899, or of 1903."""
    if kind == "duration":
        return _duration(_ms(serial)) if isfinite(serial * _DAY_MS) else _number(serial)
    if serial < _NO_DAY:
        return _number(serial)
    if serial < 1:  # a time, and what Excel cannot show: calamine takes it for one too
        moment = datetime.datetime.min + datetime.timedelta(milliseconds=_ms(serial) % _DAY_MS)
        return _seconds(moment.time().isoformat())
    # Lotus took 1900 for a leap year, and Excel still does: up to there a day is missing.
    since = 1462 if since_1904 else 1 if serial < 60 else 0
    if serial + since >= _LAST_DAY + 1:
        return _number(serial)
    days, ms = divmod(_ms(serial), _DAY_MS)
    return _moment(_DAY_0 + datetime.timedelta(days + since, milliseconds=ms))


def _ms(serial: float) -> int:
    return round(serial * _DAY_MS)


def _kind_of(number: int, code: str) -> Kind:
    """Return what a number format shows."""
    if number in _BUILT_IN:
        return _BUILT_IN[number]
    bare = _LITERAL.sub("", code).partition(";")[0]
    if _ELAPSED.search(bare):
        return "duration"
    bare = _BRACKETS.sub("", bare)
    return "date" if bare.lower() != "general" and _OF_DATES.search(bare) else "number"


# The parts of the archive


class _Book(NamedTuple):
    """Where the parts of a file are."""

    sheets: dict[str, str]
    strings: str  # "" if there are none
    styles: str
    since_1904: bool
    is_usual: bool  # calamine knows just the usual names of the parts
    others: tuple[str, ...]

    @classmethod
    def of(cls, archive: zipfile.ZipFile) -> _Book:
        # Of what is named some may be missing, or spelt with other capitals.
        there = {name.lower(): name for name in archive.namelist()}
        roots = _relations(archive, "", there)
        book = next((path for kind, path in roots.values() if kind == "officeDocument"), "")
        relations = _relations(archive, book, there)
        sheets: dict[str, str] = {}
        since_1904 = False
        for tag, attributes in _elements(archive, book):
            if tag == "sheet":
                named = (value for name, value in attributes.items() if _local(name) == "id")
                kind, path = relations.get(next(named, ""), ("", ""))
                if kind == "worksheet":
                    sheets[_said(attributes, "name")] = path
            elif tag == "workbookPr":
                since_1904 = attributes.get("date1904", "") in ("1", "true")
        by_kind = dict(relations.values())
        strings, styles = by_kind.get("sharedStrings", ""), by_kind.get("styles", "")
        is_usual = (book, strings, styles) == (
            "xl/workbook.xml", there.get("xl/sharedstrings.xml", ""), there.get("xl/styles.xml", "")
        )  # fmt: skip
        others = (book, _relations_of(book), _relations_of(""))
        return cls(sheets, strings, styles, since_1904, is_usual, others)

    def parts(self, sheet: str) -> tuple[str, ...]:
        """Return what calamine reads of the archive for a sheet."""
        return tuple(filter(None, (self.sheets[sheet], self.strings, self.styles, *self.others)))


def _relations_of(part: str) -> str:
    folder, name = posixpath.split(part)
    return posixpath.join(folder, "_rels", f"{name}.rels")


def _relations(
    archive: zipfile.ZipFile, part: str, there: dict[str, str]
) -> dict[str, tuple[str, str]]:
    """Return by id the kind of each part that `part` names, and where it is."""
    folder = posixpath.dirname(part)
    found: dict[str, tuple[str, str]] = {}
    for tag, of in _elements(archive, _relations_of(part)):
        if tag == "Relationship" and of.get("TargetMode") != "External":
            target = posixpath.join("/", folder, _said(of, "Target"))
            target = posixpath.normpath(target).lstrip("/").lower()
            if target in there:
                found[_said(of, "Id")] = (posixpath.basename(_said(of, "Type")), there[target])
    return found


def _styles(archive: zipfile.ZipFile, part: str) -> list[Kind]:
    """Return what numbers of each style of cells show."""
    codes: dict[int, str] = {}
    kinds: list[Kind] = []
    inside = False
    for tag, attributes in _elements(archive, part) if part else ():
        if tag == "numFmt":
            number = _whole_number(_said(attributes, "numFmtId"))
            codes[number] = _said(attributes, "formatCode")
        elif tag == "xf" and inside:
            number = _whole_number(attributes.get("numFmtId", "0"))
            kinds.append(_kind_of(number, codes.get(number, "")))
        elif tag != "xf" and tag.startswith("cell"):  # cellStyleXfs, cellXfs, cellStyles
            inside = tag == "cellXfs"
    return kinds


def _said(attributes: dict[str, str], name: str) -> str:
    """Return an attribute that no element of its kind lacks."""
    if name not in attributes:
        raise _damaged()
    return attributes[name]


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise _damaged() from None


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _elements(archive: zipfile.ZipFile, part: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the elements of a small part, without namespaces."""
    found: list[tuple[str, dict[str, str]]] = []
    parser = _parser()
    parser.StartElementHandler = lambda name, attributes: found.append((_local(name), attributes))
    try:
        place = archive.getinfo(part)
    except KeyError:
        raise _damaged() from None
    with _opened(archive, place) as stream:
        for read in _fed(parser, stream):
            if read > PART_BYTES:
                raise _damaged()
            yield from found
            found.clear()


def _parser() -> expat.XMLParserType:
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.XmlDeclHandler = _refuse_encoding
    return parser


def _refuse_doctype(*_: object) -> None:
    """Without a document type there are no entities that could grow without end."""
    raise _damaged()


def _refuse_encoding(_version: str, encoding: str | None, _standalone: int) -> None:
    """Without other encodings none is looked up that there is not; ECMA-376 part 2, 8.1.4."""
    if encoding and encoding.lower() not in ("utf-8", "utf-16"):
        raise _damaged()


def _fed(parser: expat.XMLParserType, stream: IO[bytes]) -> Iterator[int]:
    """Feed a parser; yield how many bytes it has after each piece, and at the end."""
    read = 0
    while piece := stream.read(READ_BYTES):
        parser.Parse(piece)
        read += len(piece)
        if read - parser.CurrentByteIndex > MARKUP_BYTES:
            raise _damaged()
        yield read
    parser.Parse(b"", True)
    yield read


class _Text:
    """Collects the text of the elements that one is told of."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._chars = 0
        self._inside = False

    def begin(self) -> None:
        """Take the characters that follow."""
        self._inside = True

    def add(self, text: str) -> None:
        """Handle characters: they count between `begin` and `end`."""
        if self._inside:
            self._parts.append(text)
            self._chars += len(text)
            if self._chars > CELL_CHARS:
                raise InvalidArgument(f"A cell is longer than {CELL_CHARS}")

    def end(self) -> str:
        """Return the characters since `begin`."""
        parts, self._parts = self._parts, []
        self._inside, self._chars = False, 0
        return parts[0] if len(parts) == 1 else "".join(parts)


def _run(text: str, *, is_preserved: bool) -> str:
    """Return a run of a text as Excel shows it."""
    if not is_preserved:
        text = text.strip(" \t\r\n")
    return _unescaped(text)


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


class _Strings:
    """The texts that cells share, in temporary files: they may be more than the memory holds."""

    def __init__(self) -> None:
        self._texts, self._ends = TemporaryFile(), TemporaryFile()  # noqa: SIM115
        self._count = self._size = 0
        self._cache: dict[int, str] = {}

    @classmethod
    def of(cls, archive: zipfile.ZipFile, part: str) -> _Strings:
        strings = cls()
        if part:
            with _opened(archive, archive.getinfo(part)) as stream:
                strings._read(stream)
        return strings

    def __enter__(self) -> _Strings:
        return self

    def __exit__(self, *_: object) -> None:
        self._texts.close()
        self._ends.close()

    def get(self, index: int) -> str:
        """Return a text by its place."""
        text = self._cache.get(index)
        if text is None:
            text = self._stored(index)
            if len(self._cache) < STRINGS_CACHED and len(text) < _LONGEST_CACHED:
                self._cache[index] = text
        return text

    def _stored(self, index: int) -> str:
        if not 0 <= index < self._count:
            raise _damaged()
        self._ends.seek(8 * index)
        begin, end = array("Q", self._ends.read(16))
        self._texts.seek(begin)
        return self._texts.read(end - begin).decode()

    def _read(self, stream: IO[bytes]) -> None:
        text, runs = _Text(), list[str]()
        parser, phonetic, preserved = _parser(), 0, False

        def start(name: str, attributes: dict[str, str]) -> None:
            nonlocal phonetic, preserved
            tag = _local(name)
            if tag == "t" and not phonetic:
                preserved = attributes.get("xml:space") == "preserve"
                text.begin()
            elif tag == "rPh":  # how it is pronounced
                phonetic += 1

        def end(name: str) -> None:
            nonlocal phonetic
            tag = _local(name)
            if tag == "t" and not phonetic:
                runs.append(_run(text.end(), is_preserved=preserved))
            elif tag == "rPh":
                phonetic -= 1
            elif tag == "si":
                self._add("".join(runs))
                runs.clear()

        parser.StartElementHandler, parser.EndElementHandler = start, end
        parser.CharacterDataHandler = text.add
        self._ends.write(array("Q", [0]))
        for _ in _fed(parser, stream):
            pass

    def _add(self, text: str) -> None:
        self._size += self._texts.write(text.encode())
        self._count += 1
        self._ends.write(array("Q", [self._size]))


class _CellParser:
    """Takes rows out of the XML of a sheet as it comes."""

    def __init__(
        self, styles: list[Kind], string: Callable[[int], str], *, since_1904: bool
    ) -> None:
        self._styles, self._string, self._since_1904 = styles, string, since_1904
        self._rows: list[Row] = []
        self._number = 0
        self._cells: list[str] = []
        self._place = -1
        self._type = ""
        self._style = 0
        self._value = ""
        self._runs: list[str] = []
        self._phonetic = 0
        self._preserved = False
        self._text = _Text()

    def feed(self, stream: IO[bytes]) -> Iterator[int]:
        """Parse a sheet; yield now and then how many bytes are read, to take the rows."""
        parser = _parser()
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._text.add
        return _fed(parser, stream)

    def taken(self) -> list[Row]:
        """Return the rows that are complete, once."""
        rows, self._rows = self._rows, []
        return rows

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        tag = _local(name) if ":" in name else name
        if tag == "c":
            self._begin_cell(attributes)
        elif tag == "v":
            self._text.begin()
        elif tag == "t":
            if not self._phonetic:
                self._preserved = attributes.get("xml:space") == "preserve"
                self._text.begin()
        elif tag == "row":
            place = attributes.get("r")
            self._number = self._number + 1 if place is None else _whole_number(place)
            self._cells, self._place = [], -1
        elif tag == "rPh":
            self._phonetic += 1

    def _begin_cell(self, attributes: dict[str, str]) -> None:
        reference = attributes.get("r")
        if reference:
            self._place = _column(reference.rstrip("0123456789"))
        else:
            self._place += 1
        self._type = attributes.get("t", "")
        self._style = _whole_number(attributes.get("s", "0"))
        self._value = ""
        if self._runs:
            self._runs = []

    def _end(self, name: str) -> None:
        tag = _local(name) if ":" in name else name
        if tag == "v":
            self._value = self._text.end()
        elif tag == "c":
            self._put(self._cell())
        elif tag == "t":
            if not self._phonetic:
                self._runs.append(_run(self._text.end(), is_preserved=self._preserved))
        elif tag == "row":
            self._rows.append(Row(self._number, self._cells))
        elif tag == "rPh":
            self._phonetic -= 1

    def _put(self, text: str) -> None:
        missing = self._place + 1 - len(self._cells)
        if missing > 0:
            self._cells += [""] * missing
        self._cells[self._place] = text

    def _cell(self) -> str:
        kind, value = self._type, self._value
        if self._runs and kind in ("inlineStr", "str"):
            return self._runs[0] if len(self._runs) == 1 else "".join(self._runs)
        if kind == "str":
            return _unescaped(value)
        if not value or kind == "e":
            return ""
        if kind == "s":
            return self._string(_whole_number(value))
        if kind in ("", "n"):
            return self._numeric(value)
        if kind == "b" and value in ("0", "1", "false", "true"):
            return "true" if value in ("1", "true") else "false"
        if kind == "d":
            return _iso(value)
        raise _damaged()

    def _numeric(self, value: str) -> str:
        try:
            number = float(value)
        except ValueError:
            if self._type:
                raise _damaged() from None
            return value
        if not isfinite(number):
            return ""
        kind = self._styles[self._style] if self._style < len(self._styles) else "number"
        if kind == "number":
            return _number(number)
        return _of_serial(number, kind, since_1904=self._since_1904)


def _iso(text: str) -> str:
    """Return a date that was written as ISO 8601 has it in our way."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return text
    return text if moment.tzinfo else _moment(moment)
