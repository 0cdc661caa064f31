"""Fuzzes the kernel that encodes columns: `python -m tests.fuzz.fuzz_columns --minutes 10`.

An input is the buffers of one column and what it is for, more or less (see `harness`): three bytes
that choose the field, the layout and the number of rows, then the buffers.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from google.protobuf.message import DecodeError

from namesake import v1
from service.core._columns import Cells, Target, encode
from tests.fuzz import harness

LIMIT: Final = 1 << 20  # bytes of a batch
ROWS: Final = 64
BROKEN: Final = "broken"

_TARGETS: Final = (
    Target("title"), Target("kind"), Target("gender"), Target("birth_date"),
    Target("email", "work"), Target("street"), Target("identity", "erp"), Target("tags"),
    Target("do_not_call"), Target("consent", "sms"), Target("custom", "a"),
    Target("custom_date", "a"), Target("last_name", "", 2), Target("phone", "", 2),
    Target("do_not_email", "", 2),
)  # fmt: skip
_VALUES: Final[tuple[Literal["flag", "integer", "number", "days"], ...]] = (
    "flag", "integer", "number", "days",
)  # fmt: skip
_LAYOUTS: Final = 8
WORDS: Final = (
    harness.PART, b"1990-03-04", b"--02-29", b"0000", b"person", b"female", b"\0\0\0\0",
    b"\1\0\0\0", b"\2\0\0\0", b"\xff\xff\xff\x7f", b"\1\0\0\0\0\0\0\0", b"\0\0\0\x80",
)  # fmt: skip


def first_inputs(seed: int) -> Iterable[bytes]:
    """Return a good column for every field in every layout."""
    near, far = struct.pack("<3i", 0, 6, 10), struct.pack("<3q", 0, 6, 10)
    texts = b"person1990"
    listed = struct.pack("<3i", 0, 1, 2)
    buffers = (
        (near, texts), (far, texts), (near, texts, b"\2"), (near, texts, listed),
        (b"\2",), (bytes(16),), (struct.pack("<2d", 1.5, -0.0),), (struct.pack("<2i", 0, -9),),
    )  # fmt: skip
    for target in range(len(_TARGETS)):
        for layout, parts in enumerate(buffers):
            yield bytes([target, layout, 2]) + harness.PART.join(parts)


def run(inputs: Sequence[bytes]) -> Sequence[object]:
    """Encode each column alone."""
    return [_encoded(given) for given in inputs]


def _encoded(given: bytes) -> object:
    target, layout, count, *parts = _taken(given)
    try:
        return encode([(target, _cells(layout, count, parts))], count, limit=LIMIT)
    except (ValueError, OverflowError):
        return BROKEN


def _taken(given: bytes) -> tuple[Target, int, int, bytes, bytes, bytes]:
    head = given[:3].ljust(3, b"\0")
    parts = [*given[3:].split(harness.PART, 2), b"", b""]
    place, layout, count = head[0] % len(_TARGETS), head[1] % _LAYOUTS, head[2] % ROWS
    return _TARGETS[place], layout, count, parts[0], parts[1], parts[2]


def _exact(content: bytes) -> memoryview:
    """Return a buffer in memory that ends where it does: see `harness.column`."""
    return memoryview(array("B", list(content)))


def _cells(layout: int, count: int, parts: Sequence[bytes]) -> Cells:
    one, two, three = (_exact(part) for part in parts)
    if layout >= _LAYOUTS - len(_VALUES):
        return Cells.of_values(_VALUES[layout - _LAYOUTS], one, 0, count, validity=two or None)
    if layout == 3:
        entries = Cells.of_texts(one, two, 0, max(len(one) // 4 - 1, 0))
        return Cells.of_lists(entries, three, 0, count)
    return Cells.of_texts(one, two, 0, count, validity=three or None, wide=layout == 1)


def difference(given: bytes) -> str:
    """Say where protobuf would have written otherwise what it reads, or reads fewer rows."""
    found = _encoded(given)
    if not isinstance(found, tuple):
        return ""
    encoded, refused = found
    try:
        batch = v1.ImportBatch.FromString(encoded)
    except DecodeError:
        return ""  # a text that is no UTF-8
    _, _, count, *_ = _taken(given)
    if len(batch.customers) + len(refused) != count:
        return f"{count} rows became {len(batch.customers)}, and {len(refused)} were refused"
    written = batch.SerializeToString(deterministic=True)
    return "" if written == encoded else f"found  {encoded!r}\n  wanted {written!r}"


if __name__ == "__main__":
    harness.main(harness.Fuzzed("columns", WORDS, 400, first_inputs, run, difference))
