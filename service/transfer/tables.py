"""Tables of any size, as columns: blocks of a CSV, JSONL or Parquet file as Arrow string arrays.

What `files` reads row by row is here read by Arrow, many rows at once, wherever Arrow reads the
same: rows of another length than the header and rows of empty cells are left to `files`, with the
block that has them. Memory is bounded by a block of `BLOCK_ROWS` rows or
`BLOCK_CHARS` characters, for Parquet by a page of each column beside it.

Cells are texts whatever their type in the file was: an absent one is "", a number has all its
digits and no exponent, a date is YYYY-MM-DD, a list is written as `words.parts` reads it.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
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
from service.transfer import files, words
from service.transfer.files import CsvReader, Source, rows_of

BLOCK_ROWS = 100_000  # a kernel is busy for a tenth of a second; a dozen columns take some 20 MB
BLOCK_CHARS = BLOCK_ROWS // files.BLOCK_LINES * files.BLOCK_CHARS
HEADER_LINES = 1_000  # of JSONL, in which a key that most objects lack still appears
NUMBER_LIMIT_DIGITS = 400  # the largest double has 309; "1e999999999" would fill the memory
BUFFER_BYTES = 1 << 20  # else Arrow holds a whole row group of each column

Kind = Literal["csv", "jsonl", "parquet"]
Array = Any  # pyarrow.StringArray without nulls; pyarrow has no types

_ENDINGS: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@dataclass(frozen=True, slots=True)
class Block:
    """Some consecutive rows of a table, in the columns that were asked for."""

    first: int  # number of the first row from 1, counted as `files.Record` does
    count: int
    position: int  # bytes of the file that are read, of `Table.size_bytes`
    columns: dict[int, Array]  # by their place in the header

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


class Table(ABC):
    """An open file: its header, and its rows once, in blocks. `close` it, or use `with`."""

    kind: Kind
    path: str
    header: tuple[str, ...]
    size_bytes: int  # 0 where it is not known: a pipe
    rows: int | None = None  # known beforehand in Parquet alone

    def blocks(self, columns: Sequence[int]) -> Iterator[Block]:
        """Yield the rows, of each the cells of `columns`: places in the header, at least one.

        `InvalidArgument` names the file, and the line or column at fault.
        """
        if not columns:
            raise ValueError("need a column")
        first = 1
        with _named(self.path):
            for arrays in self._arrays(columns):
                if count := len(arrays[0]):
                    columns_of = dict(zip(columns, arrays, strict=True))
                    yield Block(first, count, self._position(first + count - 1), columns_of)
                    first += count

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _arrays(self, columns: Sequence[int]) -> Iterator[list[Array]]:
        """Yield arrays of one length for the columns, in their order."""

    @abstractmethod
    def _position(self, rows: int) -> int:
        """Return the bytes that are read when `rows` rows are."""


def open_table(
    path: str, *, kind: Kind | None = None, delimiter: str | None = None, encoding: str = "utf-8"
) -> Table:
    """Open a file, by default of the kind that its ending says, CSV for any other ending.

    The delimiter of CSV is found in its header unless given. "-" is standard input (no Parquet).
    """
    kind = kind or _ENDINGS.get(Path(path).suffix.lower(), "csv")
    if kind == "parquet":
        return _Parquet(path)
    source = Source(path)
    try:
        with _named(path):
            lines = source.lines(encoding)
            if kind == "jsonl":
                return _Jsonl(path, source, lines)
            return _Csv(path, source, lines, delimiter)
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
        self, path: str, source: Source, lines: Iterator[str], delimiter: str | None
    ) -> None:
        super().__init__(path, source)
        self._reader = CsvReader(lines, delimiter=delimiter)
        self.header = self._reader.header

    def _arrays(self, columns: Sequence[int]) -> Iterator[list[Array]]:
        blocks = self._reader.blocks()
        while some := list(islice(blocks, BLOCK_ROWS // files.BLOCK_LINES)):
            before, text = some[0].before, "".join(block.text for block in some)
            delimiter, size = self._reader.delimiter, len(self.header)
            arrays = _by_arrow(text, delimiter, size, columns)
            yield arrays or _by_rows(text, delimiter, size, columns, before)


def _by_arrow(text: str, delimiter: str, size: int, columns: Sequence[int]) -> list[Array] | None:
    """Read rows of `size` cells, or return None where Arrow would not read what `rows_of` does.

    Arrow is lenient with quotation marks, but `CsvReader.blocks` has refused what is not strict.
    """
    # Lines' ends around: rows are found between two of them, and Arrow takes no cell's beginning
    # for a byte order mark. Nothing but a lone surrogate, of a rare encoding, is replaced.
    content = f"\n{text}\n".encode("utf-8", "replace")
    quoted = b'"' in content
    if not delimiter.isascii() or _has_empty_row(content, delimiter, size, quoted):
        return None
    names = [str(column) for column in range(size)]
    wanted = [names[column] for column in columns]
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(content),
            pa_csv.ReadOptions(use_threads=False, block_size=len(content) + 1, column_names=names),
            pa_csv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if quoted else False,
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


def _has_empty_row(content: bytes, delimiter: str, size: int, quoted: bool) -> bool:
    """Say whether a row has only empty cells (or seems so); Arrow skips only empty lines."""
    if quoted and b'""' in content:
        cells = re.escape(delimiter).encode()
        return bool(re.search(rb'[\r\n][%b"]+[\r\n]' % cells, content))
    cells = delimiter.encode() * (size - 1)
    return bool(cells) and any(
        before + cells + after in content for before in (b"\n", b"\r") for after in (b"\n", b"\r")
    )


def _by_rows(
    text: str, delimiter: str, size: int, columns: Sequence[int], before: int
) -> list[Array]:
    """Read rows as `files` does; they may be shorter than the header, and longer by empty cells."""
    number = before

    def counted() -> Iterator[str]:
        nonlocal number
        for line in StringIO(text, newline=""):
            number += 1
            yield line

    rows = []
    for _, cells in rows_of(counted(), delimiter, before):
        if any(cells[size:]):
            raise InvalidArgument(
                f"Line {number}: {len(cells)} cells under {size} headers: "
                "is there a delimiter without quotation marks?"
            )
        if any(cells):
            rows.append(cells + [""] * (size - len(cells)))
    return [_strings([cells[column] for cells in rows]) for column in columns]


def _strings(texts: list[str]) -> Array:
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:  # a lone surrogate: "\ud800" in JSON
        return pa.array([text.encode("utf-8", "replace").decode() for text in texts], pa.string())


class _Object(NamedTuple):
    """An object of JSONL, where it stands and how long it is."""

    line: int
    chars: int
    members: dict[str, Any]


class _Jsonl(_Lines):
    kind = "jsonl"

    def __init__(self, path: str, source: Source, lines: Iterator[str]) -> None:
        super().__init__(path, source)
        self._objects = _objects(lines)
        self._ahead = list(islice(self._objects, HEADER_LINES))
        if not self._ahead:
            raise InvalidArgument("The file has no objects")
        self.header = tuple(dict.fromkeys(key for found in self._ahead for key in found.members))

    def _arrays(self, columns: Sequence[int]) -> Iterator[list[Array]]:
        keys = [self.header[column] for column in columns]
        cells: list[list[str]] = [[] for _ in keys]
        chars = 0
        for found in chain(self._ahead, self._objects):
            for key, texts in zip(keys, cells, strict=True):
                value = found.members.get(key, "")
                texts.append(value if type(value) is str else _of_json(value, found.line, key))
            chars += found.chars
            if len(cells[0]) >= BLOCK_ROWS or chars >= BLOCK_CHARS:
                yield [_strings(texts) for texts in cells]
                cells, chars = [[] for _ in keys], 0
        yield [_strings(texts) for texts in cells]


def _objects(lines: Iterator[str]) -> Iterator[_Object]:
    """Yield the objects of the lines that are not blank; numbers in them become texts."""
    decode = json.JSONDecoder(
        parse_int=str, parse_float=_digits, parse_constant=lambda _: ""
    ).decode
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            members = decode(line)
        except (ValueError, RecursionError):
            raise InvalidArgument(f"Line {number} is no JSON") from None
        if not isinstance(members, dict):
            raise InvalidArgument(f"Line {number} is no JSON object")
        yield _Object(number, len(line), members)


def _of_json(value: object, line: int, key: str) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case list():
            return _listed(_of_json(part, line, key) for part in value)
        case _:
            raise InvalidArgument(f"Line {line}: {key!r} is an object, which has no text")


def _listed(values: Iterable[str]) -> str:
    return words.listed((value for value in values if value), words.parts)


def _digits(text: str) -> str:
    """Return a decimal number without exponent and without a fraction of zeros; "" for NaN."""
    number = Decimal(text)
    if not number.is_finite():
        return ""
    if abs(number.adjusted()) > NUMBER_LIMIT_DIGITS:
        return text
    written = format(number, "f")
    return written.rstrip("0").rstrip(".") if "." in written else written


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

    def _arrays(self, columns: Sequence[int]) -> Iterator[list[Array]]:
        names = [self.header[column] for column in columns]
        try:
            for batch in self._file.iter_batches(BLOCK_ROWS, columns=names, use_threads=False):
                yield [_checked(batch.column(name), name) for name in names]
        except (OSError, pa.ArrowException):
            # The reason that Arrow gives may have cells in it.
            raise InvalidArgument("The Parquet file is damaged, or of an unknown kind") from None


def _checked(column: Any, name: str) -> Array:
    """Return a column of a Parquet file as texts; the file may lie about its UTF-8."""
    try:
        column.validate(full=True)
        return _as_texts(column)
    except pa.ArrowException:
        raise InvalidArgument(
            f"Column {name!r} ({column.type}) has cells that are no text"
        ) from None


def _as_texts(column: Any) -> Array:
    """Return any array that is no structure as texts; `ArrowException` where it has none."""
    types, of = pa.types, column.type
    if types.is_dictionary(of):
        return _as_texts(column.dictionary_decode())
    if types.is_list(of) or types.is_large_list(of) or types.is_fixed_size_list(of):
        return _lists_as_texts(column)
    if types.is_timestamp(of) and of.tz:
        column = pc.local_timestamp(column)  # midnight is there, where the date was written
    texts = column.cast(pa.string())
    if types.is_floating(of) or types.is_decimal(of):
        texts = _each_distinct(texts, _digits)
    return texts.fill_null("")


def _lists_as_texts(column: Any) -> Array:
    values = iter(_as_texts(column.flatten()).to_pylist())
    counts = pc.list_value_length(column).fill_null(0).to_pylist()
    return _strings([_listed(islice(values, count)) for count in counts])


def _each_distinct(texts: Any, change: Callable[[str], str]) -> Any:
    encoded = texts.dictionary_encode()
    changed = [change(text) for text in encoded.dictionary.to_pylist()]
    return pa.array(changed, pa.string()).take(encoded.indices)
