"""Customers as Arrow columns, as they travel: `ImportArrowBatch` in transfer_service.proto.

A column's name says what it is for (`target_of`), its type how that is written. `encode` makes the
encoded rows of an import of them, by a kernel that reads Arrow's buffers as they are.

A stream may come from a stranger: `read_stream` refuses what it need not have, so that a small one
cannot become a large one in memory, and the kernel checks every offset.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from service.core._columns import CHANNELS, CONTACT_FIELDS, FIELDS, KINDS, Cells, Target, encode
from service.errors import InvalidArgument

RecordBatch = Any  # pyarrow.RecordBatch; pyarrow has no types
Type = Any
Kind = Literal["flag", "integer", "number", "days"]

COLUMNS_LIMIT = 1_000  # more than a customer may have of everything

_IDENTITY = re.compile(r"identity:([a-z][a-z0-9_.-]{0,62})(?::\d{1,3})?", re.ASCII)
_CUSTOM = re.compile(r"custom:([a-z][a-z0-9_]{0,62})(:date)?")
_CONTACT = re.compile(r"contact:(?:([1-9]\d?):)?([a-z_]+)", re.ASCII)
_POINT = re.compile(rf"(?:({'|'.join(KINDS[1:])})_)?(email|phone)")
_WITH_ARGUMENT = frozenset(["email", "phone", "identity", "consent", "custom", "custom_date"])
_PLAIN = FIELDS.keys() - _WITH_ARGUMENT
_PLAIN_OF_CONTACT = CONTACT_FIELDS.keys() - _WITH_ARGUMENT
_WORDS = frozenset(["tags", "sources", "campaigns", "groups"])
_SEVERAL = _WORDS | {"email", "phone", "street", "identity"}  # lists, and more than one column
_FLAGS = frozenset(["do_not_email", "do_not_call", "consent"])
_VALUES: dict[Type, Kind] = {
    pa.bool_(): "flag",
    pa.int64(): "integer",
    pa.float64(): "number",
    pa.date32(): "days",
}
_PATHS = {
    "street": "addresses[0].lines",
    "city": "addresses[0].city",
    "postcode": "addresses[0].postcode",
    "area": "addresses[0].administrative_area",
    "country": "addresses[0].country",
    "email": "emails",
    "phone": "phones",
    "identity": "identities",
    "do_not_email": "preferences.do_not_email",
    "do_not_call": "preferences.do_not_call",
    "consent": "preferences.channels",
}
_SHOWN_CHARS = 80  # of a column's name in an error


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is no customer: its place, the path of the field at fault and why."""

    place: int
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """An encoded `ImportBatch`, and the rows that are not in it, in their order."""

    batch: bytes
    refused: tuple[Refused, ...]


def target_of(name: str) -> Target | None:
    """Return what a column of this name is for, None if there is no such column."""
    if name in _PLAIN:
        return Target(name)
    if found := _POINT.fullmatch(name):
        return Target(found[2], found[1] or "")
    if found := _IDENTITY.fullmatch(name):
        return Target("identity", found[1])
    if found := _CUSTOM.fullmatch(name):
        return Target("custom_date" if found[2] else "custom", found[1])
    if found := _CONTACT.fullmatch(name):
        return _target_of_contact(int(found[1] or 1), found[2])
    kind, _, channel = name.partition(":")
    return Target("consent", channel) if kind == "consent" and channel in CHANNELS[1:] else None


def _target_of_contact(contact: int, name: str) -> Target | None:
    if name in _PLAIN_OF_CONTACT:
        return Target(name, "", contact)
    found = _POINT.fullmatch(name)
    return Target(found[2], found[1] or "", contact) if found else None


def path_of(target: Target) -> str:
    """Return the path of a field as errors name it."""
    if target.field in ("custom", "custom_date"):
        return f"customer.custom_fields.{target.argument}"
    return f"customer.{_PATHS.get(target.field, target.field)}"


def targets_of(schema: Any) -> list[Target | None]:
    """Return what each column is for, None of one that is empty throughout.

    Raises `InvalidArgument` that names the first column which cannot be taken.
    """
    if len(schema) > COLUMNS_LIMIT:
        raise InvalidArgument(f"{len(schema)} columns, at most {COLUMNS_LIMIT} are taken")
    seen: set[Target] = set()
    targets: list[Target | None] = []
    for column in schema:
        target = target_of(column.name)
        if target is None:
            raise _fault(column.name, "there is no such column")
        if not pa.types.is_null(column.type) and not _is_taken(target, column.type):
            raise _fault(column.name, f"is not taken as {_shown(column.type)}")
        single = target._replace(field="custom") if target.field == "custom_date" else target
        if single in seen and target.field not in _SEVERAL:
            raise _fault(column.name, "there are two of this column")
        seen.add(single)
        targets.append(None if pa.types.is_null(column.type) else target)
    return targets


def _is_taken(target: Target, type: Type) -> bool:
    if target.field in _FLAGS:
        return bool(pa.types.is_boolean(type))
    if _is_text(type):
        return True
    if target.field in _SEVERAL:
        return _is_list(type) and _is_text(type.value_type)
    if target.field == "birth_date":
        return bool(pa.types.is_date32(type))
    return target.field == "custom" and type in _VALUES


def _is_text(type: Type) -> bool:
    return bool(pa.types.is_string(type) or pa.types.is_large_string(type))


def _is_list(type: Type) -> bool:
    return bool(pa.types.is_list(type) or pa.types.is_large_list(type))


def _shown(type: Type) -> str:
    return str(type)[:_SHOWN_CHARS]  # a structure's has the names of all that is in it


def _fault(name: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, field=f"arrow.{name[:_SHOWN_CHARS]}")


def encode_batch(batch: RecordBatch, *, limit: int, number: int = 0) -> Encoded:
    """Encode the rows of a record batch, as an `ImportBatch` of this number, 0 for none.

    Raises `InvalidArgument` where a column cannot be taken, its buffers do not hold what they
    should, or the rows have more than `limit` bytes.
    """
    targets = targets_of(batch.schema)
    columns = [
        (target, _cells(batch.column(place), batch.schema[place].name))
        for place, target in enumerate(targets)
        if target is not None
    ]
    try:
        encoded, refused = encode(columns, batch.num_rows, limit=limit, number=number)
    except OverflowError:
        raise InvalidArgument(
            f"the rows have more than {limit} bytes: send fewer at once", field="arrow"
        ) from None
    faults = (Refused(row, path_of(columns[place][0]), why) for row, place, why in refused)
    return Encoded(encoded, tuple(faults))


def _cells(array: Any, name: str) -> Cells:
    try:
        return _list_cells(array) if _is_list(array.type) else _single_cells(array)
    except ValueError:
        raise _fault(name, "the buffers do not hold the column") from None


def _single_cells(array: Any) -> Cells:
    buffers, first, count = array.buffers(), array.offset, len(array)
    if kind := _VALUES.get(array.type):
        return Cells.of_values(kind, buffers[1] or b"", first, count, validity=buffers[0])
    validity, offsets, content = buffers
    wide = pa.types.is_large_string(array.type)
    if not count:  # Arrow may leave out the offsets of nothing
        return Cells.of_texts(bytes(8), b"", 0, 0, wide=wide)
    return Cells.of_texts(offsets, content or b"", first, count, validity=validity, wide=wide)


def _list_cells(array: Any) -> Cells:
    validity, offsets, *_ = array.buffers()
    wide, count = pa.types.is_large_list(array.type), len(array)
    entries = _single_cells(array.values)
    if not count:
        return Cells.of_lists(entries, bytes(8), 0, 0, wide=wide)
    return Cells.of_lists(entries, offsets, array.offset, count, validity=validity, wide=wide)


def write_stream(batch: RecordBatch) -> bytes:
    """Return a record batch as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def read_stream(stream: bytes, *, rows: int) -> RecordBatch:
    """Return the rows of an Arrow IPC stream as one record batch.

    Raises `InvalidArgument` where it is none, has more than `rows` rows, or columns that
    `encode_batch` does not take. What is compressed or has dictionaries is refused: the size of
    the stream says what it takes in memory.
    """
    try:
        for message in _messages(stream):
            if message.type == "record batch" and _is_compressed(memoryview(message.metadata)):
                raise InvalidArgument("compressed buffers are not taken", field="arrow")
            if message.type not in ("schema", "record batch"):
                raise InvalidArgument("dictionaries are not taken", field="arrow")
        with pa.ipc.open_stream(stream) as reader:
            targets_of(reader.schema)
            return _one_batch(reader, rows)
    except (pa.ArrowException, OSError, struct.error, UnicodeDecodeError, OverflowError):
        # The reason that Arrow gives may have cells in it.
        raise InvalidArgument("not an Arrow IPC stream, or a damaged one", field="arrow") from None


def _messages(stream: bytes) -> Iterator[Any]:
    reader = pa.ipc.MessageReader.open_stream(stream)
    try:
        while True:
            yield reader.read_next_message()
    except StopIteration:
        return


def _is_compressed(metadata: memoryview) -> bool:
    """Say whether the metadata of a record batch name a compression.

    They are a FlatBuffer, of which Arrow shows nothing: a table `Message`, whose third field is a
    table `RecordBatch`, whose fourth one is there where buffers are compressed.
    https://github.com/apache/arrow/blob/main/format/Message.fbs
    """
    message = _u32(metadata, 0)
    place = message + _field_at(metadata, message, 2)
    return bool(_field_at(metadata, place + _u32(metadata, place), 3))


def _field_at(metadata: memoryview, table: int, number: int) -> int:
    """Return where in a table a field is, 0 if it is not there."""
    layout = table - int(struct.unpack_from("<i", metadata, table)[0])
    (size,) = struct.unpack_from("<H", metadata, layout)
    if 4 + 2 * number >= size:
        return 0
    return int(struct.unpack_from("<H", metadata, layout + 4 + 2 * number)[0])


def _u32(metadata: memoryview, place: int) -> int:
    return int(struct.unpack_from("<I", metadata, place)[0])


def _one_batch(reader: Any, rows: int) -> RecordBatch:
    batches, count = [], 0
    for batch in reader:
        count += batch.num_rows
        if count > rows:
            raise InvalidArgument(f"{count} rows, at most {rows} are taken", field="arrow")
        batch.validate()
        batches.append(batch)
    if len(batches) == 1:
        return batches[0]
    for batch in batches:  # copied by Arrow, which trusts the offsets
        batch.validate(full=True)
    table = pa.Table.from_batches(batches, reader.schema).combine_chunks()
    return next(iter(table.to_batches()), pa.RecordBatch.from_pylist([], reader.schema))
