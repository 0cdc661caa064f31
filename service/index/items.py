"""Stored bytes of what is linked to customers, as `layout` has those of customers.

| sub-database | key → value |
|---|---|
| items | number → item |
| item_ids | item id → number |
| timeline | row, lane, time, number → nothing; newest first |
| item_counts | row, lane → how many stand there |
| item_points | identities key of an item's e-mail or phone → time, number, row; newest first |
| pins | row → number of the pinned item, 0 where somebody said that there is none |
| leaving | row of a deleted customer whose items are still to go → nothing |

The row is that of the customer to whom the item was added, whatever was merged since. A lane is a
kind, or those of a kind that are closed: lists read only the lanes that they show. A number is
never used again, so that a pin may outlive its item.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct, error
from typing import NamedTuple

from service.core.model import Channel
from service.errors import FormatMismatch, InvalidArgument, StorageFault
from service.index import layout
from service.index.layout import MATCH, NORMAL, MatchKey

META_NEXT_ITEM = b"next_item"
KIND_MAX = 127
_CLOSED = 0x80
_TIME_MAX = (1 << 63) - 1
_NUMBER_MAX = (1 << 64) - 1


class ItemPoint(NamedTuple):
    """An e-mail or phone that an item is found by: its normal form and its match key."""

    channel: Channel
    normal: str
    match: str


@dataclass(frozen=True, slots=True)
class Item:
    """One item as the index knows it. Raises InvalidArgument where something does not fit.

    `kind` (1 to 127) and `body` are the caller's; `closed` ones are apart in lists.
    """

    id: str
    row: int
    customer_id: str  # which the row had when the item was added
    kind: int
    time_us: int
    closed: bool = False
    points: tuple[ItemPoint, ...] = ()
    body: bytes = b""

    def __post_init__(self) -> None:
        """Refuse here, inside the decision, what would fail in the middle of a group."""
        layout.bounded_key(self.id, "The id of an item")
        layout.bounded_key(self.customer_id, "The customer id")
        if not 0 < self.kind <= KIND_MAX:
            raise InvalidArgument(f"The kind of an item is 1 to {KIND_MAX}")
        if not -_TIME_MAX <= self.time_us <= _TIME_MAX:
            raise InvalidArgument("The time of an item does not fit")

    @property
    def lane(self) -> int:
        """Where among the items of its row it stands."""
        return lane_of(self.kind, closed=self.closed)


class Place(NamedTuple):
    """Where an item stands in the order of lists: newest first, of the same time the last added."""

    time_us: int
    number: int


def lane_of(kind: int, *, closed: bool) -> int:
    """Return the lane of a kind."""
    return kind | _CLOSED if closed else kind


def kind_of(lane: int) -> int:
    """Return the kind of a lane."""
    return lane & ~_CLOSED


def is_closed(lane: int) -> bool:
    """Tell whether a lane is one of closed items."""
    return lane & _CLOSED != 0


# Keys

_LANE = Struct(">QB")
_PLACE = Struct(">QQ")
_ENTRY = Struct(">QBQQ")
_POINT = Struct(">QQQ")
LANE_BYTES = _LANE.size
pack_lane = _LANE.pack  # (row, lane)


def unpack_lane(key: bytes) -> tuple[int, int]:
    """Return (row, lane)."""
    row, lane = _LANE.unpack(key)
    return row, lane


def pack_place(place: Place) -> bytes:
    """Return what sorts items newest first: the end of a timeline key."""
    return _PLACE.pack(_TIME_MAX - place.time_us, _NUMBER_MAX - place.number)


def unpack_place(packed: bytes) -> Place:
    """Read what `pack_place` packed."""
    time, number = _PLACE.unpack(packed)
    return Place(_TIME_MAX - time, _NUMBER_MAX - number)


def pack_time(time_us: int) -> bytes:
    """Return the end of a timeline key that comes before all items of a time and of older ones."""
    return layout.pack_u64(_TIME_MAX - time_us)


def entry_of(number: int, item: Item) -> bytes:
    """Return the timeline key of an item."""
    return _ENTRY.pack(item.row, item.lane, _TIME_MAX - item.time_us, _NUMBER_MAX - number)


def unpack_entry(key: bytes) -> tuple[int, int, Place]:
    """Return (row, lane, place)."""
    row, lane, time, number = _ENTRY.unpack(key)
    return row, lane, Place(_TIME_MAX - time, _NUMBER_MAX - number)


def keys_of(point: ItemPoint) -> tuple[bytes, ...]:
    """Return the keys under which a point's item stands: as `layout.keys_of`."""
    normal = layout.identity_key(NORMAL[point.channel], point.normal)
    if point.match == point.normal:
        return (normal,)
    return normal, layout.identity_key(MATCH[point.channel], point.match)


def points_of(number: int, item: Item) -> set[tuple[bytes, bytes]]:
    """Return the entries that `item_points` has of an item."""
    if not item.points:
        return set()
    packed = _POINT.pack(_TIME_MAX - item.time_us, _NUMBER_MAX - number, item.row)
    return {(key, packed) for point in item.points for key in keys_of(point)}


def unpack_point(packed: bytes) -> tuple[Place, int]:
    """Return (place, row)."""
    time, number, row = _POINT.unpack(packed)
    return Place(_TIME_MAX - time, _NUMBER_MAX - number), row


def point_of(channel: Channel, normal: str, match_key: MatchKey) -> ItemPoint:
    """Return a point by the rules of match keys."""
    return ItemPoint(channel, normal, match_key(channel, normal))


# Values

_ITEM = Struct(">BBqQHHB")  # version, lane, time, row, sizes of the ids, points
_POINT_SIZES = Struct(">BHH")
_VERSION = 1


def encode_item(item: Item) -> bytes:
    """Return the stored form of an item, whose number is its key."""
    id, customer_id = item.id.encode(), item.customer_id.encode()
    parts = [
        _ITEM.pack(
            _VERSION, item.lane, item.time_us, item.row, len(id), len(customer_id),
            len(item.points),
        ),
        id,
        customer_id,
    ]  # fmt: skip
    for channel, normal, match in item.points:
        texts = normal.encode(), match.encode()
        parts += (_POINT_SIZES.pack(channel, *map(len, texts)), *texts)
    parts.append(item.body)
    return b"".join(parts)


def decode_item(stored: bytes) -> Item:
    """Read an item; raise FormatMismatch or StorageFault."""
    if stored[:1] != bytes([_VERSION]):
        version = stored[0] if stored else "none"
        raise FormatMismatch(
            f"A value of items has version {version}, this release reads {_VERSION}: "
            "run the release that wrote it"
        )
    try:
        _, lane, time_us, row, id_size, customer_size, count = _ITEM.unpack_from(stored)
        at = _ITEM.size
        id, at = _text(stored, at, id_size)
        customer_id, at = _text(stored, at, customer_size)
        points = []
        for _ in range(count):
            channel, normal_size, match_size = _POINT_SIZES.unpack_from(stored, at)
            normal, at = _text(stored, at + _POINT_SIZES.size, normal_size)
            match, at = _text(stored, at, match_size)
            points.append(ItemPoint(Channel(channel), normal, match))
        kind, closed = kind_of(lane), is_closed(lane)
        return Item(id, row, customer_id, kind, time_us, closed, tuple(points), stored[at:])
    except (error, ValueError, InvalidArgument) as fault:
        raise StorageFault("A value of items is damaged") from fault


def _text(stored: bytes, at: int, size: int) -> tuple[str, int]:
    """Return the text at a place, and the place after it."""
    end = at + size
    if end > len(stored):
        raise ValueError("cut short")
    return stored[at:end].decode(), end
