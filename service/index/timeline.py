"""Items linked to customers: reading and writing them within one transaction.

Rows are those that items were added to. Who reads for a survivor gives those of its whole tree
(`Reads.tree`), so that a merge moves nothing, and an unmerge gives back exactly.

Of a deleted customer with many items the row is `leaving`: nobody finds them any more, and they are
dropped some at a time.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import chain
from typing import TYPE_CHECKING

import lmdb

from service.errors import InvalidArgument, StorageFault
from service.index import items, layout
from service.index._lmdb import APPEND, Calls
from service.index.items import LANE_BYTES, Item, Place

if TYPE_CHECKING:
    from service.index.store import Tables

DROP_STEP = 10_000  # items that are read before they are deleted: some megabytes


@dataclass(frozen=True, slots=True)
class PutItems:
    """Add items to live customers, or replace those of the same ids, wherever they stand."""

    items: Sequence[Item]

    def __post_init__(self) -> None:
        """Refuse two of one id: of these one would replace the other."""
        if len({item.id for item in self.items}) < len(self.items):
            raise InvalidArgument("Two items have one id")


@dataclass(frozen=True, slots=True)
class DropItems:
    """Delete items by their numbers; those that are not there are no error."""

    numbers: Sequence[int]


@dataclass(frozen=True, slots=True)
class DropLeaving:
    """Delete items that deleted customers left behind, up to `limit`."""

    limit: int


@dataclass(frozen=True, slots=True)
class PutPin:
    """Pin an item to a live customer's timeline, 0 for none."""

    row: int
    number: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which items: of these kinds (all if empty), from a time and before another."""

    kinds: frozenset[int] = frozenset()
    from_us: int | None = None
    to_us: int | None = None
    with_closed: bool = False

    def takes(self, lane: int) -> bool:
        """Tell whether items of a lane are meant."""
        if items.is_closed(lane) and not self.with_closed:
            return False
        return not self.kinds or items.kind_of(lane) in self.kinds


class Timeline:
    """Reads items: `Reads.timeline`."""

    def __init__(self, txn: lmdb.Transaction[bytes], calls: Calls, tables: Tables) -> None:
        self._txn = txn
        self._calls = calls
        self._tables = tables

    @property
    def next_number(self) -> int:
        """The number that the next item gets."""
        stored = self._calls.get(self._tables.meta, items.META_NEXT_ITEM)
        return 1 if stored is None else layout.unpack_u64(stored)

    def number_of(self, id: str) -> int | None:
        """Return the number of the item that has an id, None where its customer is deleted."""
        number = self._number_of(id)
        if number is None or not self.is_anything_leaving:
            return number
        item = self.item(number)
        return number if item is None or not self.is_leaving(item.row) else None

    def _number_of(self, id: str) -> int | None:
        stored = self._calls.get(self._tables.item_ids, id.encode()) if id else None
        return None if stored is None else layout.unpack_u64(stored)

    @property
    def is_anything_leaving(self) -> bool:
        """Whether there are items of deleted customers."""
        return self._txn.stat(self._tables.leaving)["entries"] > 0

    def is_leaving(self, row: int) -> bool:
        """Tell whether a row is of a deleted customer whose items are still to go."""
        return self._calls.has(self._tables.leaving, layout.pack_u64(row))

    def item(self, number: int) -> Item | None:
        """Return an item; raise FormatMismatch or StorageFault for a damaged one."""
        stored = self._calls.get(self._tables.items, layout.pack_u64(number))
        return None if stored is None else items.decode_item(stored)

    def listed(
        self, rows: Iterable[int], wanted: Wanted, after: Place | None = None
    ) -> Iterator[tuple[Place, Item]]:
        """Iterate the items of rows, newest first, behind a place: reads no other."""
        start, end = _bounds(wanted, after)
        lanes = [
            self._places(items.pack_lane(row, lane), start, end)
            for row in rows
            for lane in self.lanes(row)
            if wanted.takes(lane)
        ]
        for packed in merge(*lanes):
            place = items.unpack_place(packed)
            yield place, self._known(place.number)

    def _places(self, lane: bytes, start: bytes, end: bytes) -> Iterator[bytes]:
        with self._txn.cursor(self._tables.timeline) as cursor:
            if cursor.set_range(lane + start):
                for key in cursor.iternext(values=False):
                    if not key.startswith(lane) or key[LANE_BYTES:] > end:
                        return
                    yield key[LANE_BYTES:]

    def _known(self, number: int) -> Item:
        item = self.item(number)
        if item is None:
            raise StorageFault("An item that the index names is not there: verify it")
        return item

    def lanes(self, row: int) -> dict[int, int]:
        """Return how many items of a row stand in each lane, ascending."""
        first, found = layout.pack_u64(row), {}
        with self._txn.cursor(self._tables.item_counts) as cursor:
            if cursor.set_range(first):
                for key, stored in cursor.iternext():
                    if not key.startswith(first):
                        break
                    found[items.unpack_lane(key)[1]] = layout.unpack_u64(stored)
        return found

    def counts(self, rows: Iterable[int]) -> Counter[int]:
        """Count the items of rows by kind, closed ones too."""
        counted: Counter[int] = Counter()
        for row in rows:
            for lane, count in self.lanes(row).items():
                counted[items.kind_of(lane)] += count
        return counted

    def pin(self, row: int) -> int | None:
        """Return the number that was pinned to a row, 0 for none, None if nobody ever said."""
        stored = self._calls.get(self._tables.pins, layout.pack_u64(row))
        return None if stored is None else layout.unpack_u64(stored)

    def pinned(self, rows: Sequence[int], kind: int) -> tuple[int, Item] | None:
        """Return the pinned item of a tree: what the first of its rows says that says anything.

        An item counts while it is there, of its kind, and one of theirs: it may have been moved,
        or given back by an unmerge. Who named one that does not count says nothing any more.
        """
        for number in map(self.pin, rows):
            if number == 0:
                return None
            item = None if number is None else self.item(number)
            if number and item is not None and item.kind == kind and item.row in rows:
                return number, item
        return None

    def sharing(self, keys: Iterable[bytes]) -> Iterator[tuple[Place, int]]:
        """Iterate the places and rows of the items under any of some identities keys, newest first.

        Whatever row they are of, a leaving one too; each once.
        """
        last = b""
        for packed in merge(*map(self._under, keys)):
            if packed != last:
                yield items.unpack_point(packed)
            last = packed

    def _under(self, key: bytes) -> Iterator[bytes]:
        with self._txn.cursor(self._tables.item_points) as cursor:
            if cursor.set_key(key):
                yield from cursor.iternext_dup()


def _bounds(wanted: Wanted, after: Place | None) -> tuple[bytes, bytes]:
    """Return between which ends of timeline keys the wanted items are, the last one included."""
    starts = [b""]
    if after is not None:
        starts.append(items.pack_place(after) + b"\0")
    if wanted.to_us is not None:
        starts.append(items.pack_time(wanted.to_us - 1))
    end = b"\xff" * 16
    if wanted.from_us is not None:
        end = items.pack_time(wanted.from_us) + b"\xff" * 8
    return max(starts), end


@dataclass(slots=True)
class _Entries:
    """What a batch puts, by sub-database, and how it changes the counts."""

    items: list[tuple[bytes, bytes]] = field(default_factory=list)
    new: list[tuple[bytes, bytes]] = field(default_factory=list)  # items behind all others
    ids: list[tuple[bytes, bytes]] = field(default_factory=list)
    places: list[tuple[bytes, bytes]] = field(default_factory=list)
    points: list[tuple[bytes, bytes]] = field(default_factory=list)
    counts: Counter[tuple[int, int]] = field(default_factory=Counter)


class TimelineWrites(Timeline):
    """Writes items too, in a write transaction."""

    def put(self, put: PutItems) -> None:
        """Put a batch, each sub-database in its order."""
        entries, first = _Entries(), self.next_number
        number = first
        for item in put.items:
            known = self._number_of(item.id)  # a leaving one, too: nobody else has its id
            if known is None:
                self._add(number, item, entries)
                number += 1
            else:
                self._replace(known, item, entries)
        self._put_all(entries)
        if number > first:
            packed = layout.pack_u64(number)
            self._calls.put(self._tables.meta, items.META_NEXT_ITEM, packed)

    def _add(self, number: int, item: Item, entries: _Entries) -> None:
        packed = layout.pack_u64(number)
        entries.new.append((packed, items.encode_item(item)))
        entries.ids.append((item.id.encode(), packed))
        entries.places.append((items.entry_of(number, item), b""))
        entries.points += items.points_of(number, item)
        entries.counts[item.row, item.lane] += 1

    def _replace(self, number: int, item: Item, entries: _Entries) -> None:
        old = self._known(number)
        entries.items.append((layout.pack_u64(number), items.encode_item(item)))
        before, after = items.entry_of(number, old), items.entry_of(number, item)
        if before != after:
            self._calls.delete(self._tables.timeline, before)
            entries.places.append((after, b""))
            entries.counts[old.row, old.lane] -= 1
            entries.counts[item.row, item.lane] += 1
        points_before, points_after = items.points_of(number, old), items.points_of(number, item)
        for key, packed in points_before - points_after:
            self._calls.delete(self._tables.item_points, key, packed)
        entries.points += points_after - points_before

    def _put_all(self, entries: _Entries) -> None:
        calls, tables = self._calls, self._tables
        if calls.put_all(tables.items, entries.new, APPEND) < len(entries.new):
            raise StorageFault("The counter is behind the items: verify the index")
        for table, pairs in (
            (tables.items, entries.items),
            (tables.item_ids, entries.ids),
            (tables.timeline, entries.places),
            (tables.item_points, entries.points),
        ):
            pairs.sort()
            calls.put_all(table, pairs)
        self._count(entries.counts)

    def _count(self, counts: Counter[tuple[int, int]]) -> None:
        """Add to the counts; one that comes to nothing goes."""
        calls, table = self._calls, self._tables.item_counts
        for row, lane in sorted(counts):
            key = items.pack_lane(row, lane)
            count = layout.unpack_u64(calls.get(table, key) or b"") + counts[row, lane]
            if count:
                calls.put(table, key, layout.pack_u64(count))
            else:
                calls.delete(table, key)

    def drop(self, numbers: Iterable[int]) -> None:
        """Delete items wherever they stand."""
        counts: Counter[tuple[int, int]] = Counter()
        there: list[int] = []
        for number in sorted({*numbers}):
            item = self.item(number)
            if item is not None:
                self._calls.delete(self._tables.timeline, items.entry_of(number, item))
                counts[item.row, item.lane] -= 1
                there.append(number)
        self._forget(there)
        self._count(counts)

    def drop_row(self, row: int) -> None:
        """Delete all items of a row, and what is pinned to it."""
        self._calls.delete(self._tables.pins, layout.pack_u64(row))
        while self._drop_first(row, DROP_STEP):
            pass

    def leave_row(self, row: int) -> None:
        """Delete what is pinned to a row, and let its items go later."""
        key = layout.pack_u64(row)
        self._calls.delete(self._tables.pins, key)
        if self.lanes(row):
            self._calls.put(self._tables.leaving, key, b"")

    def drop_leaving(self, limit: int) -> None:
        """Delete items of leaving rows, up to `limit`; a row that has no more leaves no word."""
        while limit:
            with self._txn.cursor(self._tables.leaving) as cursor:
                if not cursor.first():
                    return
                key = cursor.key()
            dropped = self._drop_first(layout.unpack_u64(key), limit)
            if dropped < limit:
                self._calls.delete(self._tables.leaving, key)
            limit -= dropped

    def _drop_first(self, row: int, limit: int) -> int:
        """Delete up to `limit` items of a row; return how many there were."""
        numbers, first = array("Q"), layout.pack_u64(row)
        counts: Counter[tuple[int, int]] = Counter()
        with self._txn.cursor(self._tables.timeline) as cursor:
            cursor.set_range(first)
            while len(numbers) < limit and cursor.key().startswith(first):
                _, lane, place = items.unpack_entry(cursor.key())
                numbers.append(place.number)
                counts[row, lane] -= 1
                cursor.delete()  # and stand on the next, or on nothing: b""
        self._forget(sorted(numbers))
        self._count(counts)
        return len(numbers)

    def _forget(self, numbers: Iterable[int]) -> None:
        """Delete all of items but their places, each sub-database in its order."""
        calls, tables = self._calls, self._tables
        dropped = [(number, self._known(number)) for number in numbers]
        for number, _ in dropped:
            calls.delete(tables.items, layout.pack_u64(number))
        for id in sorted(item.id.encode() for _, item in dropped):
            calls.delete(tables.item_ids, id)
        points = (items.points_of(number, item) for number, item in dropped if item.points)
        for key, packed in sorted(chain.from_iterable(points)):
            calls.delete(tables.item_points, key, packed)

    def put_pin(self, put: PutPin) -> None:
        """Put what is pinned to a row."""
        key = layout.pack_u64(put.row)
        self._calls.put(self._tables.pins, key, layout.pack_u64(put.number))
