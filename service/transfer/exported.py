"""Stored customers as Arrow: what an export streams and files are written from.

Columns are in the order of `columns.table`, after the usual ones the times: each of the usual ones
always, others where a customer of the table has something in them. A text, number or date that is
not there is null, a list empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from service.core._tabulate import tabulate
from service.transfer import columns

TIMES = ("create_time", "update_time")

# Cells of one table, counted also where they are empty. Customers without a field in common have
# columns of their own each, in which all the others take place too: with this many a message stays
# below what clients take.
CELLS_LIMIT = 100_000

_OFFSET_BYTES = 4

Table = Any  # pyarrow.RecordBatch; pyarrow has no types

_TYPES: dict[str, Any] = {
    "text": pa.utf8(),
    "texts": pa.list_(pa.utf8()),
    "integer": pa.int64(),
    "number": pa.float64(),
    "flag": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
}


def arrow_table(
    records: Sequence[bytes], fields: Iterable[int] = (), cells_limit: int = CELLS_LIMIT
) -> Table:
    """Return the first of some encoded customers, at least one, as a record batch.

    All of them unless there are too many cells. `fields` are the numbers of the top-level fields
    that are shown, all if none.
    """
    count, described = tabulate(records, fields, cells_limit)
    arrays = {
        name: _array(shape, count, nulls, buffers) for name, shape, nulls, buffers in described
    }
    names = ordered(arrays)
    return pa.RecordBatch.from_arrays([arrays[name] for name in names], names)


def ordered(names: Iterable[str]) -> list[str]:
    """Return the names of columns in the order in which tables have them."""
    given = set(names)
    usual = columns.table(())
    order = (*usual, *TIMES, *sorted(given.difference(usual, TIMES)))
    return [name for name in order if name in given]


def _array(shape: str, count: int, nulls: int, buffers: Sequence[bytes | None]) -> Any:
    held: list[Any] = [None if one is None else pa.py_buffer(one) for one in buffers]
    if shape != "texts":
        return pa.Array.from_buffers(_TYPES[shape], count, held, nulls)
    rows, *items = held
    item_count = len(items[0]) // _OFFSET_BYTES - 1
    texts = pa.Array.from_buffers(pa.utf8(), item_count, [None, *items], 0)
    return pa.Array.from_buffers(_TYPES[shape], count, [None, rows], 0, children=[texts])


def arrow_stream(table: Table) -> bytes:
    """Return a record batch as a whole Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_batch(table)
    return bytes(sink.getvalue())


def read_stream(stream: bytes) -> Table:
    """Return the record batch of a stream that `arrow_stream` made."""
    with pa.ipc.open_stream(stream) as reader:
        return reader.read_next_batch()
