"""Files of any size, one row at a time: CSV and line-wise text in, whole files out.

Memory is bounded by the longest line, which has a limit. A file that is written appears under
its name only when it is complete.
"""

from __future__ import annotations

import csv
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

from service.errors import InvalidArgument

LINE_LIMIT_CHARS = 1 << 20  # a customer has at most 64 KiB; a longer line is another kind of file
DELIMITERS = ",;\t|"
STANDARD_STREAM = "-"


@dataclass(frozen=True, slots=True)
class Record:
    """One data row: its number from 1 (a header is not counted) and its cells."""

    number: int
    cells: tuple[str, ...]


class Source:
    """A file to read, or standard input for "-", that knows how far it was read."""

    def __init__(self, path: str) -> None:
        self._raw: BinaryIO
        if path == STANDARD_STREAM:
            self._raw = sys.stdin.buffer
            self.size = 0
        else:
            self._raw = _open(path)
            self.size = os.fstat(self._raw.fileno()).st_size

    @property
    def position(self) -> int:
        """Bytes read so far; 0 where the file cannot say."""
        try:
            return self._raw.tell() if self.size else 0
        except (OSError, ValueError):
            return 0

    def lines(self, encoding: str = "utf-8-sig") -> Iterator[str]:
        """Yield the lines with their ends; refuses what is not text in `encoding`."""
        try:
            text = io.TextIOWrapper(self._raw, encoding=encoding, newline="")
        except LookupError:
            raise InvalidArgument(f"There is no encoding {encoding!r}") from None
        number = 0
        try:
            while line := text.readline(LINE_LIMIT_CHARS + 1):
                number += 1
                if len(line) > LINE_LIMIT_CHARS:
                    raise InvalidArgument(f"Line {number} is longer than {LINE_LIMIT_CHARS}")
                yield line
        except UnicodeDecodeError as error:
            raise InvalidArgument(
                f"Not {encoding} text near line {number + 1} ({error.reason}); "
                "name the file's encoding"
            ) from None

    def close(self) -> None:
        """Close the file; standard input stays as it is."""
        if self._raw is not sys.stdin.buffer:
            self._raw.close()


class CsvReader:
    """The header and the rows of a delimited text; the delimiter is found in the header."""

    def __init__(self, lines: Iterator[str], *, delimiter: str | None = None) -> None:
        self._lines = lines
        first = next(lines, "")
        if not first.strip():
            raise InvalidArgument("The file has no header line")
        self.delimiter = delimiter or sniff(first)
        self._rows = csv.reader(self._chain(first), delimiter=self.delimiter)
        self.header = tuple(name.strip() for name in self._next() or ())

    def __iter__(self) -> Iterator[Record]:
        number = 0
        while (cells := self._next()) is not None:
            if any(cells):  # spreadsheets leave empty lines at the end
                number += 1
                yield Record(number, tuple(cells))

    def _chain(self, first: str) -> Iterator[str]:
        yield first
        yield from self._lines

    def _next(self) -> list[str] | None:
        try:
            return next(self._rows, None)
        except csv.Error as error:
            # Mostly a quotation mark that never closes: the rest of the file would be one cell.
            raise InvalidArgument(f"Line {self._rows.line_num}: {error}") from None


def sniff(header: str) -> str:
    """Return the delimiter that splits the header line most often, by default a comma."""
    unquoted = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=unquoted.count)


def records(lines: Iterator[str]) -> Iterator[Record]:
    """Number the lines that are not blank, each one cell: JSONL."""
    number = 0
    for line in lines:
        if text := line.strip():
            number += 1
            yield Record(number, (text,))


@contextmanager
def whole(path: str) -> Iterator[BinaryIO]:
    """Open `path` for writing: it appears, durable, when the block ends, or not at all.

    "-" is standard output. Readable by the owner alone: these files hold customers.
    """
    if path == STANDARD_STREAM:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif Path(path).exists() and not Path(path).is_file():  # /dev/null, a named pipe
        with _open(path, "wb") as device:
            yield device
    else:
        yield from _renamed(Path(path))


def _renamed(target: Path) -> Iterator[BinaryIO]:
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise InvalidArgument(f"Cannot write {target}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise


class CsvWriter:
    """Writes rows as UTF-8 CSV; the standard dialect, lines end in a bare newline."""

    def __init__(self, stream: BinaryIO, header: Sequence[str], *, delimiter: str = ",") -> None:
        self._text: TextIO = io.TextIOWrapper(
            stream, encoding="utf-8", newline="", write_through=False
        )
        self._csv = csv.writer(self._text, delimiter=delimiter, lineterminator="\n")
        if header:
            self._csv.writerow(header)

    def write(self, cells: Sequence[str]) -> None:
        """Append one row."""
        self._csv.writerow(cells)

    def flush(self) -> None:
        """Hand everything so far to the system."""
        self._text.flush()

    def detach(self) -> None:
        """Flush, and leave the binary stream open for whoever opened it."""
        self._text.flush()
        self._text.detach()  # type: ignore[attr-defined]


def _open(path: str, mode: str = "rb") -> BinaryIO:
    try:
        return Path(path).open(mode)  # type: ignore[return-value]
    except OSError as error:
        raise InvalidArgument(f"Cannot open {path}: {error.strerror}") from None
