"""Whether the timelines say exactly what their items say: the part of `verify` about items."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeVar

from service.errors import FormatMismatch, StorageFault
from service.index import items, layout
from service.index.items import Item
from service.index.layout import MatchKey
from service.index.store import Snapshot, State
from service.index.verify import Fault, Progress, walk

T = TypeVar("T")

OWNER_CACHE = 10_000  # customers whose items were met last
_OWNED = frozenset({State.LIVE, State.MERGED})


def verify_items(snapshot: Snapshot, match_key: MatchKey) -> Iterator[Progress | Fault]:
    """Yield progress, and a Fault for each disagreement about items.

    - Each item's id leads to it; it has its place in the timeline of its row, and the entries of
      its e-mail and phone by today's rules; there are no other ids, places and entries.
    - Its customer is there, or merged, and had that row; or is deleted, and the row is leaving.
    - As many are counted in each lane of a row as stand there.
    - Pins are of rows that were given, and numbers lie within the counter.
    """
    walks = _ItemWalks(snapshot, match_key)
    yield from walk(snapshot, "items", walks.item)
    if snapshot.stored("item_ids") != walks.items:
        yield from walk(snapshot, "item_ids", walks.id)
    yield from walk(snapshot, "timeline", walks.place)
    yield from walks.end_of_lane()
    if snapshot.stored("item_counts") != walks.lanes:
        yield from walk(snapshot, "item_counts", walks.count)
    if snapshot.stored("item_points") != walks.wanted_points:
        yield from walk(snapshot, "item_points", walks.point)
    yield from walk(snapshot, "pins", walks.pin)
    yield from walk(snapshot, "leaving", walks.leaving)


class _ItemWalks:
    """What is looked at of each entry, and what must add up over all of them."""

    def __init__(self, snapshot: Snapshot, match_key: MatchKey) -> None:
        self._snapshot = snapshot
        self._match_key = match_key
        self._reads = snapshot.timeline
        self._next_row = snapshot.counters.next_row
        self._next_number = self._reads.next_number
        self._ids = snapshot.cursor("item_ids")
        self._timeline = snapshot.cursor("timeline")
        self._points = snapshot.cursor("item_points")
        self._counts = snapshot.cursor("item_counts")
        self._owner = lru_cache(OWNER_CACHE)(self._read_owner)
        self._lane: tuple[bytes, int] = b"", 0
        self.items = 0
        self.lanes = 0
        self.wanted_points = 0

    def item(self, key: bytes, stored: bytes) -> Iterator[Fault]:
        """An item can be read, is somebody's, and has all its entries."""
        self.items += 1
        number = layout.unpack_u64(key)
        item = _readable(items.decode_item, stored)
        if item is None:
            yield Fault("items", "the item cannot be read")
            return
        if not 0 < number < self._next_number:
            yield Fault("meta", "the counter of items is behind them", item.row)
        if self._owner(item.customer_id) != item.row and not self._reads.is_leaving(item.row):
            yield Fault("items", "the item is of a customer that is not there", item.row)
        if self._ids.get(item.id.encode()) != key:
            yield Fault("item_ids", "the item's id does not lead to it", item.row)
        if not self._timeline.set_key(items.entry_of(number, item)):
            yield Fault("timeline", "the item has no place", item.row)
        for channel, normal, match in item.points:
            if match != self._match_key(channel, normal):
                yield Fault("items", "a match key follows other rules", item.row)
        for entry in items.points_of(number, item):
            self.wanted_points += 1
            if not self._points.set_key_dup(*entry):
                yield Fault("item_points", "an entry of the item is missing", item.row)

    def _read_owner(self, customer_id: str) -> int:
        """Return the row of a customer that is there or merged, 0 for any other."""
        try:
            state = self._snapshot.find(customer_id).state
        except StorageFault:
            return 0
        return self._snapshot.row_of(customer_id) or 0 if state in _OWNED else 0

    def id(self, key: bytes, stored: bytes) -> Iterator[Fault]:
        """An id is that of the item it leads to."""
        item = self._item_at(stored)
        if item is None or item.id.encode() != key:
            yield Fault("item_ids", "an id leads to no item of its own")

    def place(self, key: bytes, _stored: bytes) -> Iterator[Fault]:
        """A place is that of its item, and is counted."""
        lane = key[: items.LANE_BYTES]
        if lane != self._lane[0]:
            yield from self.end_of_lane()
            self._lane = lane, 0
            self.lanes += 1
        self._lane = lane, self._lane[1] + 1
        place = _readable(items.unpack_entry, key)
        if place is None:
            yield Fault("timeline", "the key of a place cannot be read")
            return
        row, _, (_, number) = place
        item = self._item_at(layout.pack_u64(number))
        if item is None or items.entry_of(number, item) != key:
            yield Fault("timeline", "a place is of no such item", row)

    def end_of_lane(self) -> Iterator[Fault]:
        """As many were counted in the last lane as stood there."""
        lane, stood = self._lane
        if lane and self._counts.get(lane) != layout.pack_u64(stood):
            yield Fault("item_counts", "not as many are counted as there are", _row_of(lane))

    def count(self, key: bytes, _stored: bytes) -> Iterator[Fault]:
        """A count is of a lane that has items; asked only where some is not."""
        with self._snapshot.cursor("timeline") as cursor:
            if not cursor.set_range(key) or not cursor.key().startswith(key):
                yield Fault("item_counts", "items are counted that are not there", _row_of(key))

    def point(self, key: bytes, packed: bytes) -> Iterator[Fault]:
        """An entry is one that its item asks for."""
        found = _readable(items.unpack_point, packed)
        number, row = (0, 0) if found is None else (found[0].number, found[1])
        item = self._item_at(layout.pack_u64(number))
        if item is None or (key, packed) not in items.points_of(number, item):
            yield Fault("item_points", "an entry is of no item that asks for it", row)

    def pin(self, key: bytes, stored: bytes) -> Iterator[Fault]:
        """A pin is of a row and a number that were given. Its item may be gone since."""
        row = layout.unpack_u64(key)
        if not 0 < row < self._next_row or layout.unpack_u64(stored) >= self._next_number:
            yield Fault("pins", "a pin is ahead of the counters", row)

    def leaving(self, key: bytes, _stored: bytes) -> Iterator[Fault]:
        """What is to go is of nobody any more."""
        row = layout.unpack_u64(key)
        if not 0 < row < self._next_row or self._is_there(row):
            yield Fault("leaving", "items are to go that no deleted customer left", row)

    def _is_there(self, row: int) -> bool:
        try:
            return self._snapshot.live_row(row) > 0
        except (FormatMismatch, StorageFault):
            return True

    def _item_at(self, number: bytes) -> Item | None:
        with self._snapshot.cursor("items") as cursor:
            stored = cursor.get(number)
        return None if stored is None else _readable(items.decode_item, stored)


def _row_of(lane: bytes) -> int:
    return layout.unpack_u64(lane[:8])


def _readable(decode: Callable[[bytes], T], stored: bytes) -> T | None:
    """Decode a key or value, None where it is damaged."""
    try:
        return decode(stored)
    except (FormatMismatch, StorageFault, struct.error):
        return None
