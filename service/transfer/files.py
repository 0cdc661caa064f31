"""Files of any size, one row at a time: CSV and line-wise text in, whole files out.

Memory is bounded by the longest line, which has a limit. A file that is written appears under
its name only when it is complete.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from operator import length_hint
from pathlib import Path
from secrets import token_hex
from stat import S_ISREG
from types import SimpleNamespace
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TextIO

from service.errors import InvalidArgument

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LINE_LIMIT_CHARS = 1 << 20  # a customer has at most 64 KiB; a longer line is another kind of file
SAMPLE_BYTES = 1 << 18  # some thousand rows say enough about a file's encoding and delimiter
BLOCK_LINES = 5_000  # a process is kept busy for some ten milliseconds
BLOCK_CHARS = 1 << 20  # fewer lines where they are long
DELIMITERS = ",;\t|"
BYTE_ORDER_MARK = "\ufeff"
STANDARD_STREAM = "-"

_CHECKED_BYTES = 1 << 20  # at once, where a whole file is looked through
_SEP = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # Excel's first line in some countries


@dataclass(frozen=True, slots=True)
class Record:
    """One data row: its number from 1 (a header is not counted) and its cells."""

    number: int
    cells: tuple[str, ...]


class Source:
    """A file to read, or standard input for "-", that knows how far it was read."""

    def __init__(self, path: str) -> None:
        # Without a buffer: while a thread waits for a pipe it would hold the buffer's lock, and
        # nobody could close the file, nor end the process.
        self._ahead = b""
        try:
            if path == STANDARD_STREAM:
                self._raw = io.FileIO(0, closefd=False)
                self.size = 0
            else:
                self._raw = io.FileIO(path)
                self.size = os.fstat(self._raw.fileno()).st_size
        except OSError as error:
            raise InvalidArgument(f"Cannot open {path}: {error.strerror}") from None

    @property
    def position(self) -> int:
        """Bytes read so far; 0 where the file cannot say."""
        try:
            return self._raw.tell() if self.size else 0
        except (OSError, ValueError):
            return 0

    def lines(self, encoding: str = "utf-8") -> Iterator[str]:
        """Yield the lines with their ends; refuses what is not text in `encoding`."""
        try:
            text = self._text(encoding)
        except LookupError:
            raise InvalidArgument(f"There is no encoding {encoding!r}") from None
        number = 0
        try:
            while line := text.readline(LINE_LIMIT_CHARS + 1):
                number += 1
                if len(line) > LINE_LIMIT_CHARS:
                    raise InvalidArgument(f"Line {number} is longer than {LINE_LIMIT_CHARS}")
                yield line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
        except UnicodeError as error:
            # The text of a UnicodeDecodeError has bytes of the file.
            reason = error.reason if isinstance(error, UnicodeDecodeError) else error
            raise InvalidArgument(
                f"Not {encoding} text near line {number + 1} ({reason}); name the file's encoding"
            ) from None

    def _text(self, encoding: str) -> TextIO:
        if self._ahead:
            joined = _Joined(self._ahead, self._raw)  # typeshed wants the name of a file
            return io.TextIOWrapper(joined, encoding, newline="")  # type: ignore[type-var]
        return io.TextIOWrapper(self._raw, encoding, newline="")

    def close(self) -> None:
        """Close the file, also while a thread waits for it; standard input stays as it is."""
        self._raw.close()

    def sample(self) -> bytes:
        """Return the first SAMPLE_BYTES of the file; `lines` begins with them all the same."""
        taken = bytearray(self._ahead)
        while len(taken) < SAMPLE_BYTES and (more := self._raw.read(SAMPLE_BYTES - len(taken))):
            taken += more
        if self._raw.seekable():
            self._raw.seek(0)
        else:
            self._ahead = bytes(taken)
        return bytes(taken)

    def other_than_utf8(self) -> bytes:
        """Return what follows where the file stops being UTF-8, at most SAMPLE_BYTES; b"" if it is.

        Of what can be read only once, as a pipe, just the beginning is looked at.
        """
        if not self._raw.seekable():
            return _other_than_utf8(iter((self.sample(), b"")), final=False)
        try:
            return _other_than_utf8(iter(lambda: self._raw.read(_CHECKED_BYTES) or b"", None))
        finally:
            self._raw.seek(0)


class _Joined(io.RawIOBase):
    """Bytes that were read from a file already, and then the file."""

    def __init__(self, ahead: bytes, raw: io.FileIO) -> None:
        self._ahead, self._raw = memoryview(ahead), raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        if not self._ahead:
            return self._raw.readinto(buffer)
        into = memoryview(buffer)
        count = min(len(into), len(self._ahead))
        into[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        return count

    def close(self) -> None:
        super().close()
        self._raw.close()


def _other_than_utf8(chunks: Iterator[bytes], *, final: bool = True) -> bytes:
    decoder = codecs.getincrementaldecoder("utf-8")()
    for chunk in chunks:
        pending = decoder.getstate()[0]
        if chunk.isascii() and chunk and not pending:
            continue
        try:
            decoder.decode(chunk, final=final and not chunk)
        except UnicodeDecodeError as error:
            return (pending + chunk)[error.start :][:SAMPLE_BYTES]
        if not chunk:
            break
    return b""


class Block(NamedTuple):
    """Text of whole rows, and how many lines of the file come before it."""

    before: int
    text: str


class CsvReader:
    """The header and the rows of a delimited text.

    The delimiter is the one that a first line "sep=;" names, or else found in the header. `quote`
    is the quotation mark.
    """

    def __init__(
        self, lines: Iterator[str], *, delimiter: str | None = None, quote: str = '"'
    ) -> None:
        first, self._taken = next(lines, ""), 0
        if named := delimiter_line(first):
            first, self._taken = next(lines, ""), 1
            delimiter = delimiter or named
        if not first.strip():
            raise InvalidArgument("The file has no header line")
        self.delimiter = check_delimiter(delimiter or sniff(first))
        self.quote = check_quote(quote, self.delimiter)
        before = self._taken
        self._lines = self._counted(chain((first,), lines))
        self._rows = rows_of(self._lines, self.delimiter, before, self.quote)
        self.header = tuple(name.strip() for name in next(self._rows)[1])

    def __iter__(self) -> Iterator[Record]:
        number = 0
        for _, cells in self._rows:
            if any(cells):  # spreadsheets leave empty lines at the end
                number += 1
                yield Record(number, tuple(cells))

    def blocks(self) -> Iterator[Block]:
        """Yield the rows as text, for others to take apart.

        A block ends with the row in which it has BLOCK_LINES lines or BLOCK_CHARS characters.
        """
        while True:
            before, lines, chars = self._taken, [], 0
            for line in self._lines:
                lines.append(line)
                chars += len(line)
                if len(lines) == BLOCK_LINES or chars >= BLOCK_CHARS:
                    break
            if not lines:
                return
            text = "".join(lines)
            if self.quote in text:
                text += self._rest_of_row(lines, before)
            yield Block(before, text)

    def _rest_of_row(self, lines: list[str], before: int) -> str:
        """Return what is missing of the row in which `lines` end, "" if it is whole."""
        given = iter(lines)
        rest: list[str] = []

        def more() -> Iterator[str]:
            for line in self._lines:
                rest.append(line)
                yield line

        for line in given:
            if self.quote in line:  # else it is a row of its own
                number = before + len(lines) - length_hint(given) - 1
                next(rows_of(chain((line,), given, more()), self.delimiter, number, self.quote))
        return "".join(rest)

    def _counted(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            self._taken += 1
            yield line


def _fed(starts: list[str], given: Iterator[str]) -> Iterator[str]:
    """Yield the lines of rows: the first of each from `starts`, the others from `given`.

    A row is as long as a line may be: quotation marks could make one of a whole file. No closure of
    `rows_of`: with the reader that would be a cycle, and these are many.
    """
    chars = 0
    while True:
        if starts:
            line, chars = starts.pop(), 0
        elif (more := next(given, None)) is None:
            return
        else:
            line = more
        chars += len(line)
        if chars > LINE_LIMIT_CHARS:
            raise csv.Error(f"the row is longer than {LINE_LIMIT_CHARS}")
        yield line


def rows_of(
    lines: Iterable[str], delimiter: str, before: int = 0, quote: str = '"'
) -> Iterator[tuple[str, list[str]]]:
    """Yield each row's text and cells; `before` counts the lines before these.

    The text is "" of rows with a quotation mark; those go through `csv`, which needs thrice the
    time of a split. An empty line is a row with one empty cell at most.
    """
    taken = 0
    starts: list[str] = []  # the line with which a row begins
    given = iter(lines)
    # Strict: a quotation mark that never closes would swallow rows up to the next one.
    quoted = csv.reader(_fed(starts, given), delimiter=delimiter, quotechar=quote, strict=True)
    for line in given:
        if quote not in line:
            taken += 1
            text = line.rstrip("\r\n")
            yield text, text.split(delimiter)
            continue
        starts.append(line)
        first = before + taken + quoted.line_num + 1
        try:
            cells = next(quoted)
        except csv.Error as error:
            raise InvalidArgument(
                f"Line {first}: {error}; is a quotation mark not closed, or not doubled?"
            ) from None
        yield "", cells


def check_delimiter(text: str) -> str:
    """Return what separates cells; refuses what cannot."""
    if len(text) != 1 or text in '"\r\n':
        raise InvalidArgument("is one character, no quotation mark", field="--delimiter")
    return text


def check_quote(text: str, delimiter: str) -> str:
    """Return a quotation mark; refuses what is none."""
    if len(text) != 1 or text in "\r\n" or text == delimiter:
        raise InvalidArgument("is one character, not the delimiter", field="--quote")
    return text


def delimiter_line(line: str) -> str:
    """Return the delimiter that a line "sep=;" names, "" if it is another line."""
    named = _SEP.fullmatch(line)
    return named[1] if named else ""


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
        with _device(path) as stream:
            yield stream
    else:
        yield from _renamed(Path(path))


def _renamed(target: Path) -> Iterator[BinaryIO]:
    # Its name is known before it is there: ^C may come at any moment.
    made = target.with_name(f".{target.name}.{token_hex(4)}")
    try:
        with _created(made, target) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        made.replace(target)
        _sync_folder(target.parent)
    except BaseException:
        made.unlink(missing_ok=True)
        raise


def _created(path: Path, target: Path) -> BinaryIO:
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        raise InvalidArgument(f"Cannot write {target}: {error.strerror}") from None


def _sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def private(path: str) -> BinaryIO:
    """Open a file that holds customers for writing: readable by the owner alone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    if S_ISREG(os.fstat(descriptor).st_mode):
        with suppress(PermissionError):  # somebody else's: as open as they made it
            os.fchmod(descriptor, 0o600)  # one that was there may be open to others
    return os.fdopen(descriptor, "wb")


def rows_text(rows: Iterable[Sequence[str]], delimiter: str) -> str:
    """Return rows as the text that `CsvWriter` writes of them, a few times quicker."""
    join = delimiter.join
    lines = []
    for row in rows:
        line = join(row)
        if (
            line.count(delimiter) >= len(row)
            or '"' in line
            or "\n" in line
            or "\r" in line
            or not line
        ):
            line = _quoted(row, delimiter)
        lines.append(line)
    lines.append("")
    return "\n".join(lines)


def _quoted(row: Sequence[str], delimiter: str) -> str:
    stream = io.BytesIO()
    writer = CsvWriter(stream, row, delimiter=delimiter)
    writer.detach()
    return stream.getvalue().decode()[:-1]


class CsvWriter:
    """Writes rows as UTF-8 CSV; the standard dialect, lines end in a bare newline."""

    def __init__(self, stream: BinaryIO, header: Sequence[str], *, delimiter: str = ",") -> None:
        check_delimiter(delimiter)
        self._text: TextIO = io.TextIOWrapper(
            stream, encoding="utf-8", newline="", write_through=False
        )
        # Cells are quoted where they contain a character of the line's end: both are needed there,
        # as a carriage return ends a line for whoever reads.
        write = self._text.write
        lines = SimpleNamespace(write=lambda line: write(line[:-2] + "\n"))
        self._csv = csv.writer(lines, delimiter=delimiter, lineterminator="\r\n")
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


def _device(path: str) -> BinaryIO:
    try:
        return Path(path).open("wb")
    except OSError as error:
        raise InvalidArgument(f"Cannot open {path}: {error.strerror}") from None
