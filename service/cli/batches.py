"""Batches of an import: what is sent of a file, and the rows of the file behind it.

A file is always cut at the same places, as a resumed job counts on it. What a batch says is made
when it is sent, so that a resumed job passes quickly over those that are durable. A table's rows
stay where its blocks have them: a row is put together only if it failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from namesake import v1
from service.transfer.arrow import RecordBatch, write_stream
from service.transfer.files import Record
from service.transfer.reading import Read, Reader
from service.transfer.rows import RowRefused
from service.transfer.tables import Block, Table

BATCH_ROWS = 1_000
BATCH_BYTES = 4 << 20  # a quarter of what a message may hold
# Of a table, read at once: as long as it takes, the server has batches that are on their way.
BLOCK_ROWS = 10_000

Refused = tuple[Record, RowRefused]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some consecutive rows of a file: those that are sent, and those that could not be read."""

    number: int
    first_row: int  # the job's number of the first row that is sent, from 1
    count: int  # of the rows that are sent
    position: int  # how much of the file was read by its end
    message: Callable[[], v1.ImportCustomersRequest]
    origin: Callable[[int], Record]  # the file's row behind the one that is sent in a place
    refused: tuple[Refused, ...] = ()  # in the order of the file


def of_table(table: Table, reader: Reader) -> Iterator[Batch]:
    """Yield the batches of a table: columns. Its blocks are to have `BLOCK_ROWS` rows."""
    every = range(len(table.header))
    number = first_row = 1
    for block in table.blocks(every, frozenset(every) - set(reader.places)):
        part = _Part(block, _without_faults(reader.read(block), block))
        for batch in part.batches(number, first_row):
            yield batch
            number, first_row = batch.number + 1, batch.first_row + batch.count


def _without_faults(read: Read, block: Block) -> Read:
    """Leave out rows that could not be meant, whatever their cells say."""
    if not block.faults:
        return read
    kept = np.isin(read.numbers, list(block.faults), invert=True)
    return Read(read.batch.filter(pa.array(kept)), read.numbers[kept], read.refusals)


class _Part:
    """A block of a table in the making of its batches."""

    def __init__(self, block: Block, read: Read) -> None:
        self._block = block
        self._rows = read.batch
        self._numbers = read.numbers
        self._refused = _refused(block, read)

    def batches(self, number: int, first_row: int) -> Iterator[Batch]:
        """Yield the batches, the first with this number and row."""
        taken = 0  # of the rows that are not sent
        slices = list(_slices(self._rows)) or [(0, 0)]
        for begin, count in slices:
            last = (begin, count) == slices[-1]
            until = self._block.first + self._block.count if last else self._number(begin + count)
            refused = []
            for one in self._refused[taken:]:
                if one[0] >= until:
                    break
                refused.append((self._record(one[0]), one[1]))
            taken += len(refused)
            yield self._batch(number, first_row, begin, count, tuple(refused))
            number, first_row = number + 1, first_row + count

    def _batch(
        self, number: int, first_row: int, begin: int, count: int, refused: tuple[Refused, ...]
    ) -> Batch:
        return Batch(
            number,
            first_row,
            count,
            self._block.position,
            lambda: _columns_message(number, self._rows.slice(begin, count)),
            lambda place: self._record(self._number(begin + place)),
            refused,
        )

    def _number(self, place: int) -> int:
        return int(self._numbers[place])

    def _record(self, number: int) -> Record:
        place, columns = number - self._block.first, self._block.columns
        return Record(number, tuple(columns[i][place].as_py() for i in range(len(columns))))


def _slices(rows: RecordBatch) -> Iterator[tuple[int, int]]:
    """Yield where the batches of a block begin, and how many rows they have."""
    begin = 0
    while begin < rows.num_rows:
        count = min(BATCH_ROWS, rows.num_rows - begin)
        while count > 1 and rows.slice(begin, count).nbytes > BATCH_BYTES:
            count //= 2
        yield begin, count
        begin += count


def _refused(block: Block, read: Read) -> list[tuple[int, RowRefused]]:
    """Return the rows that are not sent, by number; of several reasons the first."""
    found: dict[int, RowRefused] = {}
    for one in read.refusals:
        found.setdefault(one.number, RowRefused(one.message, field=one.column))
    found |= {number: RowRefused(message) for number, message in block.faults.items()}
    return sorted(found.items(), key=lambda pair: pair[0])


def _columns_message(number: int, rows: RecordBatch) -> v1.ImportCustomersRequest:
    if not rows.num_rows:
        return v1.ImportCustomersRequest(batch=v1.ImportBatch(number=number))
    stream = write_stream(rows)
    return v1.ImportCustomersRequest(arrow=v1.ImportArrowBatch(number=number, stream=stream))


@dataclass(slots=True)
class _Lines:
    """A batch of messages in the making."""

    number: int
    first_row: int
    bytes: int = 0
    customers: list[v1.Customer] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def has_room(self, size: int) -> bool:
        """Say whether another row fits, of which `size` bytes are sent."""
        rows = max(len(self.customers), len(self.refused)) + 1
        return rows <= BATCH_ROWS and (not self.customers or self.bytes + size <= BATCH_BYTES)

    def batch(self, position: int) -> Batch:
        """Return the batch, which is whole."""
        content = v1.ImportBatch(number=self.number, customers=self.customers)
        return Batch(
            self.number,
            self.first_row,
            len(self.customers),
            position,
            lambda: v1.ImportCustomersRequest(batch=content),
            self.records.__getitem__,
            tuple(self.refused),
        )

    def following(self) -> _Lines:
        """Return the next batch, still empty."""
        return _Lines(self.number + 1, self.first_row + len(self.customers))


Parsed = tuple[Record, v1.Customer | RowRefused]


def of_customers(parsed: Iterator[Parsed], position: Callable[[], int]) -> Iterator[Batch]:
    """Yield the batches of lines, each a customer or why it is none."""
    lines = _Lines(1, 1)
    for record, customer in parsed:
        size = 0 if isinstance(customer, RowRefused) else customer.ByteSize()
        if not lines.has_room(size):
            yield lines.batch(position())
            lines = lines.following()
        if isinstance(customer, RowRefused):
            lines.refused.append((record, customer))
        else:
            lines.customers.append(customer)
            lines.records.append(record)
            lines.bytes += size
    if lines.customers or lines.refused:
        yield lines.batch(position())
