"""The change feed beside its events: how far back it goes, and how far its consumers are.

Events are dropped from the oldest on. Customers are listed by their last change, so where a dropped
event is that of a customer, `older` keeps its sequence and row. What stands there may be stale, as
in `changes`: whoever reads looks whether the record is of that sequence. The trimmer takes stale
ones out behind itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import lmdb

from service.errors import InvalidArgument
from service.index import layout
from service.index._lmdb import Calls
from service.index.layout import Change, Consumer, HistoryEntry

if TYPE_CHECKING:
    from service.index.store import Tables

_ANY_SIZE = 1 << 62  # bytes: the number of rows is the bound


@dataclass(frozen=True, slots=True)
class PutConsumer:
    """Note how far a named consumer of the feed is."""

    name: str
    sequence: int

    def __post_init__(self) -> None:
        """Refuse a name that LMDB would."""
        layout.bounded_key(self.name, "The consumer")


@dataclass(frozen=True, slots=True)
class DropConsumer:
    """Forget a named consumer."""

    name: str


@dataclass(frozen=True, slots=True)
class TrimChanges:
    """Drop the events before `end`, which is one that stays.

    `older` are (sequence, row) of those of them that wrote a record last, ascending, and above all
    that there are. `stale` are sequences that are to go from there.
    """

    end: int
    older: Sequence[tuple[int, int]] = ()
    stale: Sequence[int] = ()

    def __post_init__(self) -> None:
        """Refuse to note as dropped what stays."""
        if any(sequence >= self.end for sequence, _ in self.older):
            raise InvalidArgument("An event that stays is not an older one")


FeedMutation = PutConsumer | DropConsumer | TrimChanges


def write(
    mutation: FeedMutation,
    txn: lmdb.Transaction[bytes],
    calls: Calls,
    tables: Tables,
    wall_us: int,
) -> None:
    """Put a mutation in a write transaction."""
    match mutation:
        case PutConsumer():
            stored = layout.encode_consumer(mutation.sequence, wall_us)
            calls.put(tables.consumers, mutation.name.encode(), stored)
        case DropConsumer():
            calls.delete(tables.consumers, mutation.name.encode())
        case TrimChanges():
            end = layout.pack_u64(mutation.end)
            with txn.cursor(tables.changes) as cursor:
                cursor.first()
                while b"" < cursor.key() < end:
                    cursor.delete()  # and stand on the next
            for sequence in mutation.stale:
                calls.delete(tables.older, layout.pack_u64(sequence))
            for sequence, row in mutation.older:
                calls.put(tables.older, layout.pack_u64(sequence), layout.pack_u64(row))


class FeedReads:
    """The part of `Reads` that is the feed's."""

    _txn: lmdb.Transaction[bytes]
    _calls: Calls
    _tables: Tables

    def changes(self, after_sequence: int = 0, limit: int = 1_000) -> list[Change]:
        """Return up to `limit` events above `after_sequence`, oldest first."""
        found = self._calls.records(self._tables.changes, after_sequence, limit, _ANY_SIZE)
        return list(map(layout.decode_event, *found))

    def changes_before(
        self, before_sequence: int = layout.ROW_MAX, limit: int = 1_000
    ) -> list[Change]:
        """Return up to `limit` events below `before_sequence`, newest first."""
        with self._txn.cursor(self._tables.changes) as cursor:
            found = cursor.set_range(layout.pack_u64(before_sequence))
            if not (cursor.prev() if found else cursor.last()):
                return []
            return [
                layout.decode_event(layout.unpack_u64(key), stored)
                for key, stored in islice(cursor.iterprev(), limit)
            ]

    @property
    def first_sequence(self) -> int:
        """The oldest sequence that the feed still has; 1 while there is none."""
        with self._txn.cursor(self._tables.changes) as cursor:
            return layout.unpack_u64(cursor.key()) if cursor.first() else 1

    @property
    def changes_size(self) -> tuple[int, int]:
        """Number of events, and the bytes of the pages that they take."""
        stat = self._txn.stat(self._tables.changes)
        pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        return stat["entries"], pages * stat["psize"]

    def consumer(self, name: str) -> Consumer | None:
        """Return how far a named consumer is, None if there is none."""
        stored = self._calls.get(self._tables.consumers, name.encode()) if name else None
        return None if stored is None else layout.decode_consumer(name, stored)

    def consumers(self) -> list[Consumer]:
        """Return all consumers by name; they are few."""
        with self._txn.cursor(self._tables.consumers) as cursor:
            return [layout.decode_consumer(key.decode(), stored) for key, stored in cursor]

    @property
    def consumer_count(self) -> int:
        """Number of named consumers."""
        return self._txn.stat(self._tables.consumers)["entries"]

    def entries_at(self, places: Sequence[tuple[int, int]]) -> list[HistoryEntry | None]:
        """Return the history entries of (row, sequence), None where there is none, in order."""
        keys = [layout.pack_history_key(row, sequence) for row, sequence in places]
        found = self._calls.get_all(self._tables.history, keys)
        return [
            None if stored is None else layout.decode_history(sequence, stored)
            for (_, sequence), stored in zip(places, found, strict=True)
        ]

    def records_at(self, rows: Sequence[int]) -> list[bytes | None]:
        """Return the records of rows, None for one that is not live, in order."""
        return self._calls.get_all(self._tables.customers, map(layout.pack_u64, rows))

    def older(self, after_sequence: int = 0, limit: int = 1_000) -> list[tuple[int, int]]:
        """Return up to `limit` (sequence, row) of dropped events above `after_sequence`.

        Those that wrote a record last, and those that did once and do no more.
        """
        with self._txn.cursor(self._tables.older) as cursor:
            if not cursor.set_range(layout.pack_u64(after_sequence + 1)):
                return []
            return [
                (layout.unpack_u64(key), layout.unpack_u64(row))
                for key, row in islice(cursor.iternext(), limit)
            ]

    def writings(self, after_sequence: int = 0, limit: int = 1_000) -> list[tuple[int, int]]:
        """Return (sequence, row) of changes above `after_sequence`, also of dropped ones.

        Oldest first, up to `limit`. Of dropped ones not all: see `older`.
        """
        found = self.older(after_sequence, limit)
        if len(found) < limit:
            after = found[-1][0] if found else after_sequence
            found += _rows_of(self.changes(after, limit - len(found)))
        return found

    def writings_before(
        self, before_sequence: int = layout.ROW_MAX, limit: int = 1_000
    ) -> list[tuple[int, int]]:
        """Do as `writings` below `before_sequence`, newest first."""
        found = _rows_of(self.changes_before(before_sequence, limit))
        if len(found) < limit:
            before = found[-1][0] if found else before_sequence
            found += self._older_before(before, limit - len(found))
        return found

    def _older_before(self, before_sequence: int, limit: int) -> list[tuple[int, int]]:
        with self._txn.cursor(self._tables.older) as cursor:
            found = cursor.set_range(layout.pack_u64(before_sequence))
            if not (cursor.prev() if found else cursor.last()):
                return []
            return [
                (layout.unpack_u64(key), layout.unpack_u64(row))
                for key, row in islice(cursor.iterprev(), limit)
            ]


def _rows_of(changes: Sequence[Change]) -> list[tuple[int, int]]:
    return [(change.sequence, change.row) for change in changes]
