"""Tables of any size, as columns: blocks of a CSV, JSONL, XLSX or Parquet file as Arrow strings.

What `files` reads row by row is here read by Arrow, many rows at once, wherever Arrow reads the
same: rows of another length than the header and rows of empty cells are left to `files`, with the
block that has them. Memory is bounded by a block of `BLOCK_ROWS` rows or
`BLOCK_CHARS` characters, or fewer as `open_table` is told, for XLSX as `sheets` says. For Parquet
it is by the rows alone, whatever their cells have, and by a page of each column beside them.

Cells are texts whatever their type in the file was: an absent one is "", a number has all its
digits and no exponent, a date is YYYY-MM-DD, a list is written as `words.parts` reads it.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from service.core._text import Texts
from service.errors import InvalidArgument
from service.transfer import columns as columns_of
from service.transfer import dialects, files, words
from service.transfer.dialects import Dialect
from service.transfer.files import STANDARD_STREAM, Source, rows_of
from service.transfer.sheets import Sheet

BLOCK_ROWS = 100_000  # a kernel is busy for a tenth of a second; a dozen columns take some 20 MB
BLOCK_CHARS = BLOCK_ROWS // files.BLOCK_LINES * files.BLOCK_CHARS
NOTHING_BESIDE: frozenset[int] = frozenset()
PREVIEW_ROWS = 10
HEADER_LINES = 1_000  # of JSONL, in which a key that most objects lack still appears
BUFFER_BYTES = 1 << 20  # else Arrow holds a whole row group of each column

Kind = Literal["csv", "jsonl", "xlsx", "parquet"]
Array = Any  # pyarrow.StringArray without nulls; pyarrow has no types
_Arrays = tuple[list[Array], dict[int, str]]  # of some columns, and faults by place in the block

_HEADERS_CACHED = 1 << 10
_BREAKS = (
    b';,"\r\n\x1c\x1d\x1e\x1f'  # where `words` splits a cell, and blanks that Arrow has none of
)

_ENDINGS: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
}


@dataclass(frozen=True, slots=True)
class Block:
    """Some consecutive rows of a table, in the columns that were asked for."""

    first: int  # number of the first row from 1, counted as `files.Record` does
    count: int
    position: int  # bytes of the file that are read, of `Table.size_bytes`
    columns: dict[int, Array]  # by their place in the header
    faults: dict[int, str]  # what is wrong with rows, by number; only of a `lenient` table

    def texts(self, column: int) -> Texts:
        """Return a column for the kernels, not copied."""
        return texts_of(self.columns[column])

    def joined(self, columns: Sequence[int]) -> Array:
        """Return the cells of some columns as one, a blank between: the lines of a street."""
        arrays = [self.columns[column] for column in columns]
        return arrays[0] if len(arrays) == 1 else pc.binary_join_element_wise(*arrays, " ")


def texts_of(array: Array) -> Texts:
    """Return an Arrow string array without nulls for the kernels, not copied."""
    if not len(array):
        return Texts.of(())
    _, offsets, content = array.buffers()
    return Texts.view(offsets, b"" if content is None else content, array.offset, len(array))


@dataclass(frozen=True, slots=True)
class Preview:
    """How a table begins, and how it is read."""

    kind: Kind
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]  # each as wide as the header
    dialect: Dialect | None  # of CSV and JSONL
    sheet: str  # of XLSX
    sheets: tuple[str, ...]


class Table(ABC):
    """An open file: its header, and its rows once, in blocks. `close` it, or use `with`."""

    kind: Kind
    path: str
    header: tuple[str, ...]
    size_bytes: int  # 0 where it is not known: a pipe
    rows: int | None = None  # known beforehand in Parquet alone
    dialect: Dialect | None = None
    sheet = ""
    sheets: tuple[str, ...] = ()
    lenient = False  # a row that cannot be meant is no refusal but one of `Block.faults`
    block_rows = BLOCK_ROWS

    @property
    def block_chars(self) -> int:
        """Characters after which a block ends although it has fewer rows."""
        return BLOCK_CHARS * self.block_rows // BLOCK_ROWS

    def blocks(
        self, columns: Sequence[int], beside: frozenset[int] = NOTHING_BESIDE
    ) -> Iterator[Block]:
        """Yield the rows, of each the cells of `columns`: places in the header, at least one.

        Of columns that are `beside`, a cell that has no text is "" and no fault. Blocks end with
        the same rows whatever columns are read. `InvalidArgument` names the file, and the line or
        column at fault.
        """
        if not columns:
            raise ValueError("need a column")
        first = 1
        with _named(self.path):
            for arrays, faults in self._arrays(columns, beside):
                if count := len(arrays[0]):
                    found = dict(zip(columns, arrays, strict=True))
                    position = self._position(first + count - 1)
                    numbered = {first + place: fault for place, fault in faults.items()}
                    yield Block(first, count, position, found, numbered)
                    first += count

    def preview(self, rows: int = PREVIEW_ROWS) -> Preview:
        """Return how the table begins; to be called before `blocks`, which yields all the same."""
        with _named(self.path):
            begin = tuple(islice(self._begin(rows), rows))
        return Preview(self.kind, self.header, begin, self.dialect, self.sheet, self.sheets)

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def _refuse(self, message: str, faults: dict[int, str], place: int) -> None:
        """Refuse a row, or note it where the table is lenient."""
        if not self.lenient:
            raise InvalidArgument(message)
        faults[place] = message

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _arrays(self, columns: Sequence[int], beside: frozenset[int]) -> Iterator[_Arrays]:
        """Yield arrays of one length for the columns, in their order, and faults by place."""

    @abstractmethod
    def _begin(self, rows: int) -> Iterator[tuple[str, ...]]:
        """Yield at least the first rows, if there are as many, and keep them."""

    @abstractmethod
    def _position(self, rows: int) -> int:
        """Return the bytes that are read when `rows` rows are."""


def kind_of(path: str) -> Kind:
    """Return the kind that a file's ending says, CSV for any other ending."""
    return _ENDINGS.get(Path(path).suffix.lower(), "csv")


def open_table(
    path: str,
    *,
    kind: Kind | None = None,
    delimiter: str | None = None,
    encoding: str = "",
    quote: str = "",
    sheet: str = "",
    lenient: bool = False,
    block_rows: int | None = None,
    source: Source | None = None,
) -> Table:
    """Open a file, by default of the kind that its ending says, CSV for any other ending.

    The encoding of CSV and JSONL, the delimiter and quotation mark of CSV are found unless given,
    and said in `dialect`. Of XLSX the first sheet is read, or the one that is named. "-" is
    standard input (CSV and JSONL). `lenient`: rows that cannot be meant are told with their block,
    and do not end the reading; their cells are what could be read. `source` is the file of a CSV or
    JSONL that is open already, and closed with the table.
    """
    kind = kind or kind_of(path)
    if kind in ("xlsx", "parquet"):
        if path == STANDARD_STREAM:
            raise InvalidArgument(f"{kind.upper()} cannot be read from standard input; name a file")
        opened: Table = _Parquet(path) if kind == "parquet" else _Xlsx(path, sheet)
    else:
        opened = _open_text(path, source, kind, encoding, delimiter or "", quote)
    opened.lenient, opened.block_rows = lenient, block_rows or BLOCK_ROWS
    return opened


def _open_text(
    path: str, source: Source | None, kind: Kind, encoding: str, delimiter: str, quote: str
) -> Table:
    source = source or Source(path)
    try:
        with _named(path):
            if kind == "jsonl":
                return _Jsonl(path, source, encoding or dialects.encoding_of(source))
            return _Csv(path, source, encoding, delimiter, quote)
    except BaseException:
        source.close()
        raise


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Put the file's name before what is wrong with it."""
    try:
        yield
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {error.message}", field=error.field) from None


class _Lines(Table):
    """A file of text."""

    def __init__(self, path: str, source: Source) -> None:
        self.path, self.size_bytes, self._source = path, source.size, source

    def close(self) -> None:
        self._source.close()

    def _position(self, rows: int) -> int:
        return self._source.position or self.size_bytes  # 0: at its end the file closes itself


class _Csv(_Lines):
    kind = "csv"

    def __init__(
        self, path: str, source: Source, encoding: str, delimiter: str, quote: str
    ) -> None:
        super().__init__(path, source)
        self._reader, self.dialect = dialects.open_csv(
            source, encoding=encoding, delimiter=delimiter, quote=quote
        )
        self.header = self._reader.header
        self._blocks = self._reader.blocks()

    def _arrays(self, columns: Sequence[int], beside: frozenset[int]) -> Iterator[_Arrays]:
        while some := list(islice(self._blocks, max(1, self.block_rows // files.BLOCK_LINES))):
            before, text = some[0].before, "".join(block.text for block in some)
            yield self._by_arrow(text, columns) or self._by_rows(text, columns, before)

    def _begin(self, rows: int) -> Iterator[tuple[str, ...]]:
        columns, kept, found = range(len(self.header)), list[files.Block](), list[tuple[str, ...]]()
        for block in self._blocks:
            kept.append(block)
            arrays, _ = self._by_rows(block.text, columns, block.before)
            found += zip(*(array.to_pylist() for array in arrays), strict=True)
            if len(found) >= rows:
                break
        self._blocks = chain(kept, self._blocks)
        return iter(found)

    def _by_arrow(self, text: str, columns: Sequence[int]) -> _Arrays | None:
        delimiter, quote = self._reader.delimiter, self._reader.quote
        arrays = _by_arrow(text, delimiter, quote, len(self.header), columns)
        return (arrays, {}) if arrays else None

    def _by_rows(self, text: str, columns: Sequence[int], before: int) -> _Arrays:
        """Read rows as `files` does; they may be shorter than the header, longer by empty cells."""
        number, size = before, len(self.header)
        faults: dict[int, str] = {}
        rows: list[list[str]] = []

        def counted() -> Iterator[str]:
            nonlocal number
            for line in StringIO(text, newline=""):
                number += 1
                yield line

        for _, cells in rows_of(counted(), self._reader.delimiter, before, self._reader.quote):
            if any(cells[size:]):
                fault = f"{len(cells)} cells under {size} headers: "
                fault += "is there a delimiter without quotation marks?"
                self._refuse(f"Line {number}: {fault}", faults, len(rows))
            if any(cells):
                rows.append(cells + [""] * (size - len(cells)))
        return [_strings([cells[column] for cells in rows]) for column in columns], faults


def _by_arrow(
    text: str, delimiter: str, quote: str, size: int, columns: Sequence[int]
) -> list[Array] | None:
    """Read rows of `size` cells, or return None where Arrow would not read what `rows_of` does.

    Arrow is lenient with quotation marks, but `CsvReader.blocks` has refused what is not strict.
    """
    # Lines' ends around: rows are found between two of them, and Arrow takes no cell's beginning
    # for a byte order mark. Nothing but a lone surrogate, of a rare encoding, is replaced.
    content = f"\n{text}\n".encode("utf-8", "replace")
    if not delimiter.isascii() or not quote.isascii():
        return None
    mark = quote.encode()
    quoted = mark in content
    if _has_empty_row(content, delimiter, mark if quoted else b"", size):
        return None
    names = [str(column) for column in range(size)]
    wanted = [names[column] for column in columns]
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(content),
            pa_csv.ReadOptions(use_threads=False, block_size=len(content) + 1, column_names=names),
            pa_csv.ParseOptions(
                delimiter=delimiter,
                quote_char=quote if quoted else False,
                newlines_in_values=quoted,
            ),
            pa_csv.ConvertOptions(
                check_utf8=False,
                column_types=dict.fromkeys(wanted, pa.string()),
                include_columns=wanted,
            ),
        )
    except pa.ArrowInvalid:  # a row that is longer or shorter, or nothing but empty lines
        return None
    return [column.combine_chunks() for column in table.columns]


def _has_empty_row(content: bytes, delimiter: str, quote: bytes, size: int) -> bool:
    """Say whether a row has only empty cells (or seems so); Arrow skips only empty lines."""
    if quote and 2 * quote in content:
        cells = re.escape(delimiter.encode() + quote)
        return bool(re.search(rb"[\r\n][%b]+[\r\n]" % cells, content))
    cells = delimiter.encode() * (size - 1)
    return bool(cells) and any(
        before + cells + after in content for before in (b"\n", b"\r") for after in (b"\n", b"\r")
    )


def _strings(texts: list[str]) -> Array:
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:  # a lone surrogate: "\ud800" in JSON
        return pa.array([text.encode("utf-8", "replace").decode() for text in texts], pa.string())


class _Object(NamedTuple):
    """An object of JSONL, where it stands and how long it is; `fault` if it is none."""

    line: int
    chars: int
    members: dict[str, Any]
    fault: str = ""


class _Jsonl(_Lines):
    kind = "jsonl"

    def __init__(self, path: str, source: Source, encoding: str) -> None:
        super().__init__(path, source)
        self.dialect = Dialect(encoding)
        self._objects = _objects(source.lines(encoding))
        self._ahead = list(islice(self._objects, HEADER_LINES))
        self.header = tuple(dict.fromkeys(key for found in self._ahead for key in found.members))
        self._known = frozenset(self.header)
        if not self.header:
            fault = next((found.fault for found in self._ahead if found.fault), "")
            raise InvalidArgument(fault or "The file has no objects")

    def _arrays(self, columns: Sequence[int], beside: frozenset[int]) -> Iterator[_Arrays]:
        keys = [self.header[column] for column in columns]
        kept = {self.header[column] for column in beside}
        cells, faults, chars = [list[str]() for _ in keys], dict[int, str](), 0
        for found in chain(self._ahead, self._objects):
            self._add(found, keys, cells, faults, kept)
            chars += found.chars
            if len(cells[0]) >= self.block_rows or chars >= self.block_chars:
                yield [_strings(texts) for texts in cells], faults
                cells, faults, chars = [[] for _ in keys], {}, 0
        yield [_strings(texts) for texts in cells], faults

    def _add(
        self,
        found: _Object,
        keys: list[str],
        cells: list[list[str]],
        faults: dict[int, str],
        beside: Container[str],
    ) -> None:
        place = len(cells[0])
        if found.fault:
            self._refuse(found.fault, faults, place)
        if not found.members.keys() <= self._known:  # whose values would be lost
            new = next(key for key in found.members if key not in self._known)
            fault = f"Line {found.line}: {new!r} is a key that none of the first objects has"
            self._refuse(fault, faults, place)
        for key, texts in zip(keys, cells, strict=True):
            value = found.members.get(key, "")
            try:
                texts.append(value if type(value) is str else _of_json(value, found.line, key))
            except InvalidArgument as error:
                if key not in beside:
                    self._refuse(error.message, faults, place)
                texts.append("")

    def _begin(self, rows: int) -> Iterator[tuple[str, ...]]:
        cells, faults = [list[str]() for _ in self.header], dict[int, str]()
        for found in self._ahead[:rows]:
            self._add(found, list(self.header), cells, faults, self.header)
        return iter(zip(*(_strings(texts).to_pylist() for texts in cells), strict=True))


def _objects(lines: Iterator[str]) -> Iterator[_Object]:
    """Yield the objects of the lines that are not blank; numbers in them become texts."""
    decode = json.JSONDecoder(
        parse_int=str, parse_float=words.digits, parse_constant=lambda _: ""
    ).decode
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            members = decode(line)
        except (ValueError, RecursionError):
            yield _Object(number, len(line), {}, f"Line {number} is no JSON")
            continue
        if isinstance(members, dict):
            yield _Object(number, len(line), members)
        else:
            yield _Object(number, len(line), {}, f"Line {number} is no JSON object")


def _of_json(value: object, line: int, key: str) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case list():
            return _listed(key, (_of_json(part, line, key) for part in value))
        case _:
            raise InvalidArgument(f"Line {line}: {key!r} is an object, which has no text")


def _listed(header: str, values: Iterable[str]) -> str:
    return columns_of.joined(_field(header), (value for value in values if value))


@lru_cache(_HEADERS_CACHED)
def _field(header: str) -> str:
    return columns_of.recognise(header)


class _Xlsx(Table):
    kind = "xlsx"

    def __init__(self, path: str, sheet: str) -> None:
        self.path = path
        with _named(path):
            self._sheet = Sheet(path, sheet)
        try:
            with _named(path):
                self.size_bytes = Path(path).stat().st_size
                self.sheet, self.sheets = self._sheet.name, self._sheet.names
                self._rows = self._sheet.rows()
                header = next(self._rows, None)
                if header is None:
                    raise InvalidArgument("The sheet has no header row")
                # Tables may begin to the right of column A; beyond the header are no columns.
                named = [place for place, name in enumerate(header.cells) if name.strip()]
                if not named:
                    raise InvalidArgument("The sheet has no header row")
        except BaseException:
            self.close()
            raise
        self._first, self._end = named[0], named[-1] + 1
        self.header = tuple(name.strip() for name in header.cells[self._first : self._end])

    def close(self) -> None:
        self._sheet.close()

    def _position(self, rows: int) -> int:
        return round(self.size_bytes * self._sheet.share)

    def _arrays(self, columns: Sequence[int], beside: frozenset[int]) -> Iterator[_Arrays]:
        places = [self._first + column for column in columns]
        rows, faults, chars = list[list[str]](), dict[int, str](), 0
        for row in self._rows:
            cells = row.cells
            if any(cells[: self._first]) or any(cells[self._end :]):
                self._refuse(f"Row {row.number}: a cell has no header", faults, len(rows))
            cells += [""] * (self._end - len(cells))
            rows.append([cells[place] for place in places])
            chars += sum(map(len, cells)) + len(cells)
            if len(rows) >= self.block_rows or chars >= self.block_chars:
                yield [_strings(list(texts)) for texts in zip(*rows, strict=True)], faults
                rows, faults, chars = [], {}, 0
        if rows:
            yield [_strings(list(texts)) for texts in zip(*rows, strict=True)], faults

    def _begin(self, rows: int) -> Iterator[tuple[str, ...]]:
        ahead = list(islice(self._rows, rows))
        self._rows = chain(ahead, self._rows)
        for row in ahead:
            cells = row.cells[self._first : self._end]
            yield (*cells, *[""] * (len(self.header) - len(cells)))


class _Parquet(Table):
    kind = "parquet"

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self.size_bytes = Path(path).stat().st_size
            self._file = pq.ParquetFile(path, buffer_size=BUFFER_BYTES)
        except (OSError, pa.ArrowException) as error:
            reason = getattr(error, "strerror", None) or "not a Parquet file, or a damaged one"
            raise InvalidArgument(f"Cannot open {path}: {reason}") from None
        self.rows = self._file.metadata.num_rows
        self.header = tuple(self._file.schema_arrow.names)
        name, count = Counter(self.header).most_common(1)[0] if self.header else ("", 0)
        if count > 1:
            self.close()
            raise InvalidArgument(f"{path}: There are two columns {name!r}")

    def close(self) -> None:
        self._file.close()

    def _position(self, rows: int) -> int:
        return self.size_bytes * rows // self.rows if self.rows else 0

    def _arrays(self, columns: Sequence[int], beside: frozenset[int]) -> Iterator[_Arrays]:
        return self._read(columns, self.block_rows, {self.header[column] for column in beside})

    def _read(self, columns: Sequence[int], rows: int, beside: Container[str]) -> Iterator[_Arrays]:
        names = [self.header[column] for column in columns]
        try:
            for batch in self._file.iter_batches(rows, columns=names, use_threads=False):
                yield [_cells_of(batch.column(name), name, beside) for name in names], {}
        except (OSError, pa.ArrowException):
            # The reason that Arrow gives may have cells in it.
            raise InvalidArgument("The Parquet file is damaged, or of an unknown kind") from None

    def _begin(self, rows: int) -> Iterator[tuple[str, ...]]:
        for arrays, _ in self._read(range(len(self.header)), rows, self.header):
            yield from zip(*(array.to_pylist() for array in arrays), strict=True)


def _cells_of(column: Any, name: str, beside: Container[str]) -> Array:
    try:
        return _checked(column, name)
    except InvalidArgument:
        if name not in beside:
            raise
        return pa.repeat("", len(column))


def _checked(column: Any, name: str) -> Array:
    """Return a column of a Parquet file as texts; the file may lie about its UTF-8."""
    try:
        column.validate(full=True)
        return as_texts(column, name)
    except pa.ArrowException:
        raise InvalidArgument(
            f"Column {name!r} ({column.type}) has cells that are no text"
        ) from None


def as_texts(column: Any, name: str = "") -> Array:
    """Return any array that is no structure as texts; `ArrowException` where it has none.

    What is not there, and a number that is none, is "". A list is written as a column of this
    `name` is read.
    """
    types, of = pa.types, column.type
    if types.is_dictionary(of):
        return as_texts(column.dictionary_decode())
    if types.is_list(of) or types.is_large_list(of) or types.is_fixed_size_list(of):
        return _lists_as_texts(column, name)
    if types.is_timestamp(of) and of.tz:
        column = pc.local_timestamp(column)  # midnight is there, where the date was written
    texts = column.cast(pa.string())
    if types.is_floating(of) or types.is_decimal(of):
        texts = _each_distinct(texts, words.digits)
    return texts.fill_null("")


def _lists_as_texts(column: Any, name: str) -> Array:
    values, counts = as_texts(column.flatten()), pc.list_value_length(column).fill_null(0)
    if _are_bare(values):
        separator = columns_of.separator(_field(name))
        return pc.binary_join(lists_of(values, counts), separator).fill_null("")
    texts = iter(values.to_pylist())
    return _strings([_listed(name, islice(texts, count)) for count in counts.to_pylist()])


def _are_bare(values: Array) -> bool:
    """Say whether texts stand in a list as they are: the usual case, which needs no Python."""
    if contains(values, _BREAKS):
        return False
    bare = pc.and_(pc.not_equal(values, ""), pc.equal(values, pc.utf8_trim_whitespace(values)))
    return bool(pc.all(bare, min_count=0).as_py())


def lists_of(values: Array, counts: Any) -> Any:
    """Return lists of so many of the values each."""
    ends = pc.cumulative_sum(counts).cast(pa.int32())
    return pa.ListArray.from_arrays(pa.concat_arrays([pa.array([0], pa.int32()), ends]), values)


def contains(texts: Array, characters: bytes) -> bool:
    """Say whether any of some ASCII characters is in a column."""
    content = content_of(texts)
    return len(content.translate(None, characters)) < len(content)


def content_of(texts: Array) -> bytes:
    """Return all the texts of an array, one after another."""
    _, offsets, content = texts.buffers()
    if content is None or not len(texts):
        return b""
    at = memoryview(offsets).cast("i")
    begin, end = at[texts.offset], at[texts.offset + len(texts)]
    return memoryview(content)[begin:end].tobytes()


def _each_distinct(texts: Any, change: Callable[[str], str]) -> Any:
    encoded = texts.dictionary_encode()
    changed = [change(text) for text in encoded.dictionary.to_pylist()]
    return pa.array(changed, pa.string()).take(encoded.indices)
