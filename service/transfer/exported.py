"""Stored customers as Arrow: what an export streams and files are written from.

Columns are in the order of `columns.table`, after the usual ones the times: each of the usual ones
always, others where a customer of the table has something in them. A text, number or date that is
not there is null, a list empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

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

# What a name says where a column has no type: in a file of texts.
_TYPE_WORDS: dict[Any, str] = {
    pa.int64(): ":integer",
    pa.float64(): ":number",
    pa.bool_(): ":flag",
}


def arrow_table(
    records: Sequence[bytes], fields: Iterable[int] = (), cells_limit: int = CELLS_LIMIT
) -> Table:
    """Return the first of some encoded customers, at least one, as a record batch.

    All of them unless there are too many cells. `fields` are the numbers of the top-level fields
    that are shown, all if none.
    """
    count, described = tabulate(records, fields, cells_limit)
    alike = Counter(_without_type(name) for name, *_ in described)
    arrays = {
        _name(name, alike): _array(shape, count, nulls, buffers)
        for name, shape, nulls, buffers in described
    }
    return _batch(arrays, count)


def _without_type(name: str) -> str:
    """Return the name of a custom field's column without the field's type."""
    return ":".join(name.split(":")[:2]) if name.startswith("custom:") else name


def _name(name: str, alike: Mapping[str, int]) -> str:
    """Return a column's name, without a type that the column's own type says.

    But where customers have a custom field in several types: names are there once.
    """
    bare = _without_type(name)
    return bare if alike[bare] == 1 and not name.endswith(":date") else name


def _batch(arrays: Mapping[str, Any], count: int) -> Table:
    names = ordered(arrays)
    if not names:  # there are customers all the same
        return pa.RecordBatch.from_struct_array(
            pa.StructArray.from_buffers(pa.struct([]), count, [None])
        )
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


# For files, which know their columns beforehand.


def for_file(table: Table, *, with_times: bool) -> Table:
    """Return a table as files have it: what a column is for is said by its name alone.

    Custom fields have their type there: custom:NAME:integer. Each identity has a column of its own,
    as identities are compared byte by byte, and a cell with several could not be taken apart again:
    the second of a type is in identity:TYPE:02, and so on. Times become texts; they are of no use
    to who imports a file.
    """
    arrays: dict[str, Any] = {}
    for name, column in zip(table.schema.names, table.columns, strict=True):
        if name in TIMES:
            if with_times:
                arrays[name] = _written(column)
        elif name.startswith("identity:"):
            for place in range(pc.max(pc.list_value_length(column)).as_py() or 0):
                one = pc.list_slice(column, place, place + 1, return_fixed_size_list=True)
                arrays[f"{name}:{place + 1:02}" if place else name] = one.flatten()
        elif name.startswith("custom:") and column.type in _TYPE_WORDS:
            arrays[_without_type(name) + _TYPE_WORDS[column.type]] = column
        else:
            arrays[name] = column
    return _batch(arrays, table.num_rows)


def _written(times: Any) -> Any:
    """Return points in time as RFC 3339 has them."""
    texts = times.cast(pa.timestamp("us")).cast(pa.utf8())
    return pc.binary_join_element_wise(pc.replace_substring(texts, " ", "T"), "Z", "")


def schema_of(types: Mapping[str, Any]) -> Any:
    """Return the schema of a file with columns of these names and types."""
    return pa.schema([(name, types[name]) for name in ordered(types)])
