"""The files of a list check: blocks of text are read of any kind, and written as any.

CSV is read and written as it stands, by the block. A file of another kind is put into the same
text on its way in, and taken out of it on its way out, so that there is one way to check a list.
Memory is bounded by some blocks, beside what `transfer.tables` and `transfer.writers` say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import BinaryIO

import pyarrow as pa

from service.cli.lists import Done, Layout
from service.errors import InvalidArgument
from service.transfer.dialects import open_csv
from service.transfer.files import BLOCK_LINES, Block, Source, rows_of, rows_text, whole
from service.transfer.tables import Kind, Table, kind_of, open_table
from service.transfer.writers import Writer, writing

Write = Callable[[Done], None]


@dataclass(frozen=True, slots=True)
class ListFile:
    """An open list: its header, its rows as text in some dialect, and how far it is read."""

    header: tuple[str, ...]
    delimiter: str
    quote: str
    size_bytes: int  # 0 where it is not known
    position: Callable[[], int]
    blocks: Iterator[Block]


@dataclass(frozen=True, slots=True)
class Way:
    """How a list is to be opened; what is "" is found out."""

    kind: Kind | None  # None: by the file's ending
    sheet: str
    delimiter: str
    quote: str
    encoding: str


@contextmanager
def opened(path: str, way: Way) -> Iterator[ListFile]:
    """Open a list."""
    kind = way.kind or kind_of(path)
    if kind == "csv":
        with closing(Source(path)) as source:
            reader, dialect = open_csv(
                source, encoding=way.encoding, delimiter=way.delimiter, quote=way.quote
            )
            yield ListFile(
                reader.header,
                dialect.delimiter,
                dialect.quote,
                source.size,
                lambda: source.position,
                reader.blocks(),
            )
    else:
        table = open_table(
            path, kind=kind, encoding=way.encoding, sheet=way.sheet, block_rows=BLOCK_LINES
        )
        with table:
            text = _Text(table)
            yield ListFile(
                table.header, text.delimiter, text.quote, table.size_bytes, text.position,
                text.blocks(),
            )  # fmt: skip


class _Text:
    """A table as blocks of CSV."""

    delimiter, quote = ",", '"'

    def __init__(self, table: Table) -> None:
        self._table = table
        self._position = 0

    def position(self) -> int:
        """Return how many bytes of the file are read."""
        return self._position

    def blocks(self) -> Iterator[Block]:
        """Yield the rows, all cells of each."""
        for block in self._table.blocks(range(len(self._table.header))):
            self._position = block.position
            columns = (column.to_pylist() for column in block.columns.values())
            text = rows_text(zip(*columns, strict=True), self.delimiter)
            yield Block(block.first, text)


@contextmanager
def written(path: str, layout: Layout) -> Iterator[Write]:
    """Write what was checked to a file of the kind that its ending says; "-" is standard output.

    It appears under its name when it is whole, or not at all.
    """
    kind = kind_of(path)
    if kind == "csv":
        with whole(path) as stream:
            stream.write(rows_text([layout.names], layout.delimiter).encode())
            yield lambda done: _write_text(stream, done)
    else:
        _expect_names(layout.names)
        schema = pa.schema([(name, pa.string()) for name in layout.names])
        with writing(path, schema, kind=kind) as writer:
            yield lambda done: _write_rows(writer, layout, done)


def _write_text(stream: BinaryIO, done: Done) -> None:
    stream.write(done.text)


def _write_rows(writer: Writer, layout: Layout, done: Done) -> None:
    names = layout.names
    rows = [
        cells for _, cells in rows_of(StringIO(done.text.decode(), newline=""), layout.delimiter)
    ]
    for place, cells in enumerate(rows, writer.rows + 1):
        if len(cells) > len(names):
            raise InvalidArgument(
                f"Row {place} has more cells than there are headers; they can be kept in CSV alone"
            )
    columns = [pa.array(texts, pa.string()) for texts in zip(*rows, strict=True)]
    if rows:
        writer.write(pa.record_batch(columns, list(names)))


def _expect_names(names: Sequence[str]) -> None:
    """Refuse names that stand twice: of columns with one name only CSV keeps both."""
    seen = set[str]()
    for name in names:
        if name in seen:
            raise InvalidArgument(f"There are two columns {name!r}; write CSV")
        seen.add(name)
