"""Fuzzes the kernel that makes tables: `python -m tests.fuzz.fuzz_tabulate --minutes 10`.

An input is a byte that chooses the fields, and a stored customer, more or less (see `harness`).
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from namesake import v1
from service.core._tabulate import tabulate
from tests.fuzz import harness, records

FEW_CELLS: Final = 500  # a dozen rows to a table

_CHOSEN: Final[tuple[tuple[int, ...], ...]] = ((), (1, 5, 6, 18, 20), (22, 28), (23, 24, 27, 12))
_CUSTOM_FIELDS: Final = v1.Customer.CUSTOM_FIELDS_FIELD_NUMBER
WORDS: Final = (
    *records.alone(records.stored()),
    *(value.SerializeToString() for value in records.stored().custom_fields.values()),
    records.stored().update_time.SerializeToString(),
    records.stored().birth_date.SerializeToString(),
    *(one.SerializeToString() for one in records.stored().addresses),
    *records.PIECES,
)

Cell = tuple[str, str, str]  # name and shape of the column, and what is there
Described = tuple[str, str, int, tuple[bytes | None, ...]]


def first_inputs(seed: int) -> Iterable[bytes]:
    """Return a whole customer with every choice of fields, its fields alone, and nothing."""
    whole = records.stored()
    yield b""
    for choice in range(len(_CHOSEN)):
        yield bytes([choice]) + whole.SerializeToString()
        yield from (bytes([choice]) + record for record in records.alone(whole))


def run(inputs: Sequence[bytes]) -> Sequence[object]:
    """Tabulate each record alone; where there are several, those that are whole together."""
    found = [_alone(*_taken(given)) for given in inputs]
    whole = defaultdict[int, list[int]](list)
    for place, given in enumerate(inputs):
        if len(inputs) > 1 and found[place] is not None:
            whole[_taken(given)[0]].append(place)
    for choice, places in whole.items():
        left = [_taken(inputs[place])[1] for place in places]
        rows: list[list[Cell]] = []
        while left:
            count, columns = tabulate(left, _CHOSEN[choice], FEW_CELLS)
            rows += _rows(count, columns)
            left = left[count:]
        for place, row in zip(places, rows, strict=True):
            found[place] = row
    return found


def _taken(given: bytes) -> tuple[int, bytes]:
    return given[0] % len(_CHOSEN) if given else 0, given[1:]


def _alone(choice: int, record: bytes) -> list[Cell] | None:
    """Return what a record has in its columns, None where it is broken."""
    try:
        count, columns = tabulate([record], _CHOSEN[choice])
    except ValueError:
        return None
    (row,) = _rows(count, columns)
    return row


def _rows(count: int, columns: Sequence[Described]) -> list[list[Cell]]:
    """Return the cells of each row in which there is something."""
    rows: list[list[Cell]] = [[] for _ in range(count)]
    for name, shape, nulls, buffers in columns:
        cells = _texts_of(count, buffers) if shape == "texts" else _cells(count, shape, buffers)
        empty = 0
        for row, cell in zip(rows, cells, strict=True):
            if cell is None:
                empty += 1
            elif cell != "[]":
                row.append((name, shape, cell))
        if empty != nulls:
            raise AssertionError(f"{name} has {empty} nulls and says {nulls}")
    return [sorted(row) for row in rows]


def _texts_of(count: int, buffers: Sequence[bytes | None]) -> Iterator[str]:
    outer, inner, content = buffers
    assert outer is not None
    assert inner is not None
    begins = struct.unpack(f"<{count + 1}i", outer)
    texts = list(_between(begins[-1], inner, content))
    for begin, end in pairwise(begins):
        yield repr(texts[begin:end])


def _between(count: int, offsets: bytes, content: bytes | None) -> Iterator[bytes]:
    ends = struct.unpack(f"<{count + 1}i", offsets)
    if ends[-1] != len(content or b""):
        raise AssertionError("the texts do not end where their content does")
    for begin, end in pairwise(ends):
        yield (content or b"")[begin:end]


def _cells(count: int, shape: str, buffers: Sequence[bytes | None]) -> Iterator[str | None]:
    validity, *values = buffers
    content = values[-1] or b""
    for row in range(count):
        if validity is not None and not _bit(validity, row):
            yield None
        elif shape == "text":
            begin, end = struct.unpack_from("<2i", values[0] or b"", 4 * row)
            yield repr(content[begin:end])
        elif shape == "flag":
            yield str(_bit(content, row))
        else:
            yield content[8 * row : 8 * row + 8].hex()


def _bit(bits: bytes, place: int) -> bool:
    return bool(bits[place >> 3] >> (place & 7) & 1)


def difference(given: bytes) -> str:
    """Compare with what the same customer gives as protobuf writes it.

    That this is right is held in `tests.transfer.test_exported`. Custom fields are compared only
    where there is nothing to merge in them: a record has each once.
    """
    choice, record = _taken(given)
    found = _alone(choice, record)
    try:
        customer = v1.Customer.FromString(record)
    except DecodeError:
        return ""
    customer.DiscardUnknownFields()
    written = customer.SerializeToString()
    wanted = _alone(choice, written)
    if found is None:
        return ""
    if wanted is None:
        return f"{written!r} is refused"
    if _entries(record) != _entries(written):
        found, wanted = (
            [cell for cell in row if cell[0][:7] != "custom:"] for row in (found, wanted)
        )
    return "" if found == wanted else f"{record!r}\n  found  {found}\n  wanted {wanted}"


def _without_custom(row: list[Cell]) -> list[Cell]:
    return [cell for cell in row if not cell[0].startswith("custom:")]


def _entries(record: bytes) -> list[object]:
    fields = UnknownFieldSet(Empty.FromString(record))
    found = (fields[place] for place in range(len(fields)))
    return sorted(field.data for field in found if field.field_number == _CUSTOM_FIELDS)


if __name__ == "__main__":
    harness.main(harness.Fuzzed("tabulate", WORDS, 2_000, first_inputs, run, difference))
