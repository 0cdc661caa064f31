"""The LMDB environment of one account, and reading it: snapshots, look-ups, scans.

Several worker processes open the same folder, each after it was forked or spawned: an LMDB
environment must not cross a fork. Everything returned is copied out of the map, so nothing a
caller keeps can change or vanish under it.
"""

from __future__ import annotations

import os
import tempfile
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import islice, takewhile
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import lmdb
import structlog

from service.core.model import Channel
from service.errors import (
    FormatMismatch,
    IndexBusy,
    LimitExceeded,
    NamesakeError,
    StorageFault,
    StorageFull,
)
from service.index import copying, layout
from service.index._lmdb import Calls
from service.index.copying import FULL, flush
from service.index.feed import FeedReads
from service.index.layout import (
    Buffer,
    Counters,
    DistinctPair,
    HistoryEntry,
    Kind,
    MergedRow,
    Remembered,
    RunKind,
    StoredModel,
)
from service.index.runs import SECRET_BYTES, SHAPE, Runs, Shape, identity_range
from service.index.timeline import Timeline
from service.settings import Settings

_log = structlog.get_logger(__name__)

Clock = Callable[[], int]  # microseconds since the Unix epoch

GROW_WAIT_S = 0.5  # how long a map to be replaced waits for this process's snapshots to close
MAP_LIMIT = 1 << 46  # half of what user space of a 64-bit machine can address
PROBE_BYTES = 1 << 20
CHAIN_CHECKED = 100  # merges in a row that are followed before a circle is thought of
RUN_KINDS = {"identities": RunKind.IDENTITIES, "blocks": RunKind.BLOCKS}


class State(Enum):
    """What became of a customer id."""

    LIVE = "live"
    MERGED = "merged"
    DELETED = "deleted"
    MISSING = "missing"  # never used


@dataclass(frozen=True, slots=True)
class Found:
    """Where an id leads. `row` and `id` are the live customer's (the survivor's when MERGED)."""

    state: State
    row: int = 0
    id: str = ""


@dataclass(frozen=True, slots=True)
class TableStats:
    """Size of one sub-database.

    `entries` are with those of sorted runs, whose bytes are those of `runs`. `bytes` leaves out the
    sub-trees of keys that several hundred rows share.
    """

    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Stats:
    """Sizes of the environment as of one snapshot."""

    tables: dict[str, TableStats]
    file_bytes: int
    map_bytes: int


@dataclass(frozen=True, slots=True)
class Tables:
    """Handles of the sub-databases, named as in `layout.TABLES`."""

    meta: lmdb._Database
    ids: lmdb._Database
    customers: lmdb._Database
    features: lmdb._Database
    identities: lmdb._Database
    blocks: lmdb._Database
    runs: lmdb._Database
    retired: lmdb._Database
    redirects: lmdb._Database
    merged: lmdb._Database
    members: lmdb._Database
    bonds: lmdb._Database
    merges: lmdb._Database
    restored: lmdb._Database
    distinct: lmdb._Database
    changes: lmdb._Database
    history: lmdb._Database
    operations: lmdb._Database
    requests: lmdb._Database
    pending: lmdb._Database
    waiting: lmdb._Database
    groups: lmdb._Database
    models: lmdb._Database
    consumers: lmdb._Database
    older: lmdb._Database
    items: lmdb._Database
    item_ids: lmdb._Database
    timeline: lmdb._Database
    item_counts: lmdb._Database
    item_points: lmdb._Database
    pins: lmdb._Database
    leaving: lmdb._Database


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that share a blocking key.

    `size` counts all; where that is over the bound, `rows` are those that share a second key too.
    """

    size: int
    rows: list[int]


class Reads(FeedReads):
    """Look-ups and scans over one transaction, whoever owns it.

    Not for several threads at once. A damaged file raises `lmdb.Error` here; the owner of the
    transaction turns it into a StorageFault. `wall_us` is the time at which it began.
    """

    def __init__(
        self, txn: lmdb.Transaction[bytes], tables: Tables, wall_us: int, memory_us: int
    ) -> None:
        self._txn = txn
        self._calls = Calls(txn)
        self._tables = tables
        self._memory_us = memory_us
        self._runs_of: dict[RunKind, Runs] = {}
        self._secret = b""
        self.wall_us = wall_us

    @property
    def timeline(self) -> Timeline:
        """The items that are linked to customers."""
        return Timeline(self._txn, self._calls, self._tables)

    def runs(self, kind: RunKind) -> Runs:
        """Return the sorted runs of a kind, of which a transaction reads once what there is."""
        runs = self._runs_of.get(kind)
        if runs is None:
            tables = self._tables
            runs = Runs(self._calls, tables.meta, tables.runs, tables.retired, kind)
            self._runs_of[kind] = runs
        return runs

    @property
    def hash_secret(self) -> bytes:
        """The secret that identities keys are hashed with in runs."""
        if not self._secret:
            self._secret = self._calls.get(self._tables.meta, layout.META_HASH_SECRET) or b""
            if len(self._secret) != SECRET_BYTES:
                raise StorageFault("The secret of the index is damaged")
        return self._secret

    @property
    def counters(self) -> Counters:
        """Counters of the newest commit that this transaction sees."""
        return layout.decode_counters(self._calls.get(self._tables.meta, layout.META_COUNTERS))

    @property
    def customer_count(self) -> int:
        """Number of live customers."""
        return self._txn.stat(self._tables.customers)["entries"]

    @property
    def match_rules(self) -> str:
        """Version of the rules that the stored match keys follow; "" until somebody put one."""
        return (self._calls.get(self._tables.meta, layout.META_MATCH_RULES) or b"").decode()

    # One customer

    def row_of(self, id: str) -> int | None:
        """Return the row that an id was given, also when it was deleted or merged since."""
        stored = self._calls.get(self._tables.ids, id.encode()) if id else None
        return None if stored is None else layout.unpack_u64(stored)

    def record(self, row: int) -> bytes | None:
        """Return the record of a live customer."""
        return self._calls.get(self._tables.customers, layout.pack_u64(row))

    def find(self, id: str) -> Found:
        """Say where an id leads, following any number of merges.

        Raises StorageFault where redirects run in a circle or end at an id never used.
        """
        at, state = id, State.LIVE
        steps = 0
        while (row := self.row_of(at)) is not None:
            if self._has_record(row):
                return Found(state, row, at)
            survivor = self._calls.get(self._tables.redirects, at.encode())
            if survivor is None:
                return Found(State.DELETED)
            at, state = survivor.decode(), State.MERGED
            steps += 1
            if steps > CHAIN_CHECKED and steps > self._txn.stat(self._tables.redirects)["entries"]:
                break  # in a circle
        if state is State.LIVE:
            return Found(State.MISSING)
        raise StorageFault("The redirects of a merged customer end nowhere", id=id)

    def redirects(self, after: str, limit: int) -> list[tuple[str, str]]:
        """Return up to `limit` (id, id that it was merged into), by id, above an id.

        Also those that lead to deleted customers.
        """
        with self._txn.cursor(self._tables.redirects) as cursor:
            if not cursor.set_range(after.encode() + b"\0"):
                return []
            found = islice(cursor.iternext(), limit)
            return [(id.decode(), into.decode()) for id, into in found]

    def _has_record(self, row: int) -> bool:
        return self._calls.has(self._tables.customers, layout.pack_u64(row))

    # Merges. The rows of a survivor and of its members, and of their members, are its tree.

    def merged(self, row: int) -> MergedRow | None:
        """Return what became of a row that was merged, None for any other."""
        stored = self._calls.get(self._tables.merged, layout.pack_u64(row))
        return None if stored is None else layout.decode_merged(stored)

    def members(self, row: int) -> list[int]:
        """Return the rows that were merged into a row, in order; without theirs."""
        return [layout.unpack_u64(stored) for _, stored in self._of(self._tables.members, row)]

    def merges_into(self, row: int) -> list[tuple[int, list[int]]]:
        """Return (sequence, rows) of the merges into a row that have members, in order."""
        into: dict[int, list[int]] = {}
        for key, stored in self._of(self._tables.members, row):
            _, sequence, _ = layout.unpack_member_key(key)
            into.setdefault(sequence, []).append(layout.unpack_u64(stored))
        return list(into.items())

    def _of(self, table: lmdb._Database, row: int) -> Iterator[tuple[bytes, bytes]]:
        """Iterate the entries whose keys begin with a row."""
        prefix = layout.pack_u64(row)
        with self._txn.cursor(table) as cursor:
            if cursor.set_range(prefix):
                yield from takewhile(lambda item: item[0].startswith(prefix), cursor.iternext())

    def tree(self, row: int) -> list[int]:
        """Return a row, those that were merged into it, each followed by its own members."""
        if not self._txn.stat(self._tables.members)["entries"]:
            return [row]
        rows, left = [], [row]
        while left:
            rows.append(left.pop())
            left += reversed(self.members(rows[-1]))
        return rows

    def live_row(self, row: int) -> int:
        """Return the row of the customer that a row belongs to after all merges; 0 for none."""
        steps = 0
        while not self._has_record(row):
            merged = self.merged(row)
            if merged is None:
                return 0
            row, steps = merged.survivor, steps + 1
            if steps > CHAIN_CHECKED and steps > self._txn.stat(self._tables.merged)["entries"]:
                raise StorageFault("Merged customers lead in a circle")
        return row

    def bond(self, row: int, sequence: int) -> bytes | None:
        """Return what is kept of a survivor to take one merge into it back; opaque."""
        return self._calls.get(self._tables.bonds, layout.pack_bond_key(row, sequence))

    def was_restored(self, row: int) -> bool:
        """Tell whether a row itself was ever given back by an unmerge; it may be merged again."""
        return self._calls.has(self._tables.restored, layout.pack_u64(row))

    def merge(self, sequence: int) -> bytes | None:
        """Return what is kept of a merge; opaque."""
        return self._calls.get(self._tables.merges, layout.pack_u64(sequence))

    def merges(self, before: int = layout.ROW_MAX) -> Iterator[tuple[int, bytes]]:
        """Iterate (sequence, what is kept) of merges, newest first, those before a sequence."""
        with self._txn.cursor(self._tables.merges) as cursor:
            if _seek_before(cursor, layout.pack_u64(before)):
                for key, stored in cursor.iterprev():
                    yield layout.unpack_u64(key), stored

    # Identities

    def rows(self, kind: Kind, text: str, after_row: int = 0, limit: int = 100) -> list[int]:
        """Return up to `limit` rows that hold an identity, ascending, above `after_row`."""
        return self.rows_under((layout.identity_key(kind, text),), after_row, limit)

    def count(self, kind: Kind, text: str, limit: int) -> int:
        """Count the rows that hold an identity, at most `limit`."""
        return min(limit, self._count_of(layout.identity_key(kind, text)))

    def sharing(
        self, channel: Channel, normal: str, key: str, after_row: int = 0, limit: int = 100
    ) -> list[int]:
        """Return the distinct rows that hold a normal form or its match key.

        Up to `limit`, ascending, above `after_row`; including the asking customer's own row.
        """
        return self.rows_under(layout.sharing_keys(channel, normal, key), after_row, limit)

    def count_sharing(self, channel: Channel, normal: str, key: str, limit: int) -> int:
        """Count what `sharing` would list, at most `limit`."""
        keys = [k for k in layout.sharing_keys(channel, normal, key) if self._count_of(k)]
        if len(keys) == 1:
            return min(limit, self._count_of(keys[0]))
        return len(self.rows_under(keys, 0, limit))

    def rows_under(self, keys: Sequence[bytes], after_row: int = 0, limit: int = 100) -> list[int]:
        """Return the distinct rows under any of some identities keys, as `sharing` does.

        For decisions: `sharing_keys` can be had before the transaction begins.
        """
        rows = self._calls.rows(self._tables.identities, keys, after_row, limit)
        runs = self.runs(RunKind.IDENTITIES)
        if not runs.any:
            return rows
        found = runs.rows(keys, self.hash_secret, after_row, limit)
        return sorted({*rows, *found})[:limit] if rows and found else rows or found

    def _count_of(self, key: bytes) -> int:
        count = self._calls.count(self._tables.identities, key)
        runs = self.runs(RunKind.IDENTITIES)
        return count + runs.count(*identity_range(key, self.hash_secret)) if runs.any else count

    def held(self, keys: Buffer, count: int) -> bytearray:
        """Tell of `count` hashes of identities keys whether a run has a live entry of them.

        Pairs of native words as `_runs.identity_entry` writes them for row 0; a byte each, 1 or 0.
        The B-tree is not asked.
        """
        return self.runs(RunKind.IDENTITIES).held(keys, count)

    # Matching

    def features_of(self, row: int) -> bytes:
        """Return what is compared of a live customer, packed; b"" for nothing, or damaged."""
        stored = self._calls.get(self._tables.features, layout.pack_u64(row))
        return layout.decode_features(stored or b"")

    def features_at(self, rows: Sequence[int]) -> list[tuple[int, bytes]]:
        """Return (row, packed features) of those rows that have any, in order."""
        found = self._calls.get_all(self._tables.features, map(layout.pack_u64, rows))
        return [
            (row, layout.decode_features(stored))
            for row, stored in zip(rows, found, strict=True)
            if stored is not None
        ]

    def features(self, after_row: int = 0, limit: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Iterate (row, packed features) of live customers, ascending, above `after_row`.

        Features are b"" where they are damaged.
        """
        with self._txn.cursor(self._tables.features) as cursor:
            if cursor.set_range(layout.pack_u64(after_row + 1)):
                for key, stored in islice(cursor.iternext(), limit):
                    yield layout.unpack_u64(key), layout.decode_features(stored)

    def blocks(self, keys: Iterable[tuple[bytes, int]], limit: int) -> list[Block]:
        """Return the rows under each blocking key, at most `limit` of each.

        A block with more is split: the rows whose second key is the given one too, none if it is
        0.
        """
        runs = self.runs(RunKind.BLOCKS)
        asked = [*keys]
        found = self._calls.entries(self._tables.blocks, asked, limit)
        if runs.any:
            in_runs = runs.blocks(asked, [size for size, _ in found], limit)
            found = [
                _united(*one, *other, second, limit) if other[0] else one
                for one, other, (_, second) in zip(found, in_runs, asked, strict=True)
            ]
        return [
            Block(size, [entry & layout.ROW_MASK for entry in entries])
            for size, entries in found
            if size
        ]

    def distinct_of(self, row: int, after: int = 0, limit: int | None = None) -> list[DistinctPair]:
        """Return who is marked as distinct from a customer, ascending, above `after`.

        A mark of a member is one of its survivor's, on either side.
        """
        if not self._txn.stat(self._tables.merged)["entries"]:
            return self.marks(row, after, limit)
        found: dict[int, DistinctPair] = {}
        for one in self.tree(row):
            for mark in self.marks(one):
                other = self.live_row(mark.other)
                if other > after and other != row:
                    found.setdefault(other, replace(mark, row=row, other=other))
        return [found[other] for other in sorted(found)][:limit]

    def is_distinct(self, row: int, other: int) -> bool:
        """Tell whether somebody marked two customers, or any of their trees, as distinct."""
        return next(self.marks_between(row, other), None) is not None

    def marks_between(self, row: int, other: int) -> Iterator[tuple[int, int]]:
        """Iterate the pairs of rows of two trees that are marked, one of either."""
        few, many = sorted((self.tree(row), self.tree(other)), key=len)
        many.sort()
        for one in few:
            for another in self.marked_among(one, many):
                yield one, another

    def marked_among(self, row: int, rows: Sequence[int]) -> Iterator[int]:
        """Iterate those of some rows, ascending, that a row itself is marked as distinct from.

        Its marks and the rows lead on in each other, so it takes no more steps than the shorter of
        both has.
        """
        place = 0
        with self._txn.cursor(self._tables.distinct) as cursor:
            while place < len(rows):
                if not cursor.set_range(layout.pack_row_pair(row, rows[place])):
                    return
                one, other = layout.unpack_row_pair(cursor.key())
                if one != row:
                    return
                place = bisect_left(rows, other, place)
                if place < len(rows) and rows[place] == other:
                    yield other
                    place += 1

    def marks(self, row: int, after: int = 0, limit: int | None = None) -> list[DistinctPair]:
        """Return the marks of one row itself, as they were put."""
        found: list[DistinctPair] = []
        with self._txn.cursor(self._tables.distinct) as cursor:
            if not cursor.set_range(layout.pack_row_pair(row, after + 1)):
                return found
            for key, stored in islice(cursor.iternext(), limit):
                one, other = layout.unpack_row_pair(key)
                if one != row:
                    break
                found.append(layout.decode_distinct(one, other, stored))
        return found

    def distinct_pairs(
        self, after: tuple[int, int] = (0, 0), limit: int = 1_000
    ) -> list[tuple[int, int]]:
        """Return up to `limit` pairs of rows that are marked as distinct, ascending, once each.

        As they were put: `live_row` says which customers they mean.
        """
        pairs: list[tuple[int, int]] = []
        with self._txn.cursor(self._tables.distinct) as cursor:
            row, other = after
            if not cursor.set_range(layout.pack_row_pair(row, other + 1)):
                return pairs
            for key in cursor.iternext(values=False):
                one, other = layout.unpack_row_pair(key)
                if one < other:
                    pairs.append((one, other))
                    if len(pairs) == limit:
                        break
        return pairs

    @property
    def model_version(self) -> int:
        """Version of the account's model, 0 for the release's own from the beginning on."""
        stored = self._calls.get(self._tables.models, layout.MODEL_KEY)
        return 0 if stored is None else layout.model_version(stored)

    def model(self) -> StoredModel | None:
        """Return the account's model, None if nobody ever put one."""
        stored = self._calls.get(self._tables.models, layout.MODEL_KEY)
        return None if stored is None else layout.decode_model(stored)

    def frequencies(self) -> bytes:
        """Return how often values occur in the account, as of the model; opaque."""
        return self._calls.get(self._tables.models, layout.FREQUENCIES_KEY) or b""

    def groups(self, scan: int, after_rank: int = 0, limit: int = 1_000) -> list[tuple[int, bytes]]:
        """Return up to `limit` (rank, group) of a scan above `after_rank`; the first rank is 1."""
        found: list[tuple[int, bytes]] = []
        with self._txn.cursor(self._tables.groups) as cursor:
            if not cursor.set_range(layout.pack_group_key(scan, after_rank + 1)):
                return found
            for key, group in islice(cursor.iternext(), limit):
                of, rank = layout.unpack_group_key(key)
                if of != scan:
                    break
                found.append((rank, group))
        return found

    # Scans

    def customers(
        self, after_row: int = 0, limit: int | None = None
    ) -> Iterator[tuple[int, bytes]]:
        """Iterate (row, record) of live customers, ascending, above `after_row`."""
        with self._txn.cursor(self._tables.customers) as cursor:
            if cursor.set_range(layout.pack_u64(after_row + 1)):
                for key, record in islice(cursor.iternext(), limit):
                    yield layout.unpack_u64(key), record

    def records(
        self, after_row: int, limit_rows: int, limit_bytes: int
    ) -> tuple[list[int], list[bytes]]:
        """Return live customers above `after_row`, ascending: their rows and their records.

        For whoever reads many: ends with the row with which there are `limit_rows`, or
        `limit_bytes` of records.
        """
        return self._calls.records(self._tables.customers, after_row, limit_rows, limit_bytes)

    def customers_before(
        self, before_row: int = layout.ROW_MAX, limit: int | None = None
    ) -> Iterator[tuple[int, bytes]]:
        """Iterate (row, record) of live customers, descending, below `before_row`."""
        with self._txn.cursor(self._tables.customers) as cursor:
            if _seek_before(cursor, layout.pack_u64(before_row)):
                for key, record in islice(cursor.iterprev(), limit):
                    yield layout.unpack_u64(key), record

    def history(
        self, row: int, before_sequence: int = layout.ROW_MAX, limit: int = 100
    ) -> list[HistoryEntry]:
        """Return up to `limit` entries of a row below `before_sequence`, newest first.

        Of a deleted customer the entry of the deletion is all there is.
        """
        entries: list[HistoryEntry] = []
        with self._txn.cursor(self._tables.history) as cursor:
            if not _seek_before(cursor, layout.pack_history_key(row, before_sequence)):
                return entries
            for key, stored in islice(cursor.iterprev(), limit):
                at, sequence = layout.unpack_history_key(key)
                if at != row:
                    break
                entries.append(layout.decode_history(sequence, stored))
        return entries

    # What else is kept

    def operation(self, key: str) -> bytes | None:
        """Return the opaque state of a piece of long work."""
        return self._calls.get(self._tables.operations, key.encode()) if key else None

    def operations(
        self, prefix: str, after: str = "", limit: int = 1_000
    ) -> list[tuple[str, bytes]]:
        """Return up to `limit` (key, state) of long work whose keys begin so, above `after`."""
        start, first = prefix.encode(), after.encode() + b"\0" if after else b""
        with self._txn.cursor(self._tables.operations) as cursor:
            if not cursor.set_range(max(start, first)):
                return []
            found = takewhile(lambda item: item[0].startswith(start), cursor.iternext())
            return [(key.decode(), state) for key, state in islice(found, limit)]

    def request(self, request_id: str) -> Remembered | None:
        """Return what a request_id led to, unless that is longer ago than the memory reaches."""
        if not request_id:
            return None
        stored = self._calls.get(self._tables.requests, request_id.encode())
        if stored is None:
            return None
        remembered = layout.decode_request(stored)
        return remembered if self.remembers(remembered) else None

    def remembers(self, request: Remembered) -> bool:
        """Tell whether the memory reaches a request.

        In both directions: one from a clock that ran ahead must not be remembered for longer.
        """
        return abs(self.wall_us - request.time_us) < self._memory_us

    # Awaited verdicts. What batches bring is in `waiting`, until it is sorted into `pending`.

    def waiting(self, limit_bytes: int, limit: int = 1_000) -> dict[int, bytes]:
        """Return the first values of `waiting` by their first rows, at least one if there is."""
        found = self._calls.records(self._tables.waiting, 0, limit, limit_bytes)
        return dict(zip(*found, strict=True))

    def waiting_at(self, row: int) -> dict[int, bytes]:
        """Return the value of `waiting` that has a row if any has it, by its first row."""
        with self._txn.cursor(self._tables.waiting) as cursor:
            if not _seek_before(cursor, layout.pack_u64(row + 1)):
                return {}
            return {layout.unpack_u64(cursor.key()): cursor.value()}

    def pending_domains(self, after: str = "", limit: int = 100) -> list[str]:
        """Return up to `limit` domains whose DNS verdict somebody awaits, in byte order."""
        with self._txn.cursor(self._tables.pending) as cursor:
            if not cursor.set_range(after.encode() + b"\0" if after else b""):
                return []
            return [key.decode() for key in islice(cursor.iternext_nodup(), limit)]

    def pending_rows(self, domain: str, after_row: int = 0, limit: int = 1_000) -> list[int]:
        """Return up to `limit` rows that await the verdict of `domain`, ascending."""
        key = domain.encode()
        return self._calls.rows(self._tables.pending, (key,), after_row, limit) if key else []


class Snapshot(Reads):
    """One consistent state of the index: `with index.snapshot() as snapshot: …`.

    Cheap to open. It may be held across awaits (an export), but as long as it is open LMDB reuses
    no page that was freed after it, so the file grows with every write; end stalled readers.
    Reads after the end raise StorageFault.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        super().__init__(store.begin_read(), store.tables, store.clock(), store.memory_us)
        self._open = True

    @property
    def sequence(self) -> int:
        """Sequence of the newest change that this snapshot sees, 0 before the first."""
        return self.counters.next_sequence - 1

    def entries(self, table: str) -> int:
        """Number of values in a sub-database, with those of its sorted runs or of `waiting`."""
        kind = RUN_KINDS.get(table)
        if table == "pending":
            with self.cursor("waiting") as cursor:
                batches = cursor.iternext(keys=False)
                return self.stored(table) + sum(map(layout.waiting_count, batches))
        return self.stored(table) + (0 if kind is None else self.runs(kind).entries)

    def stored(self, table: str) -> int:
        """Number of values in a sub-database itself."""
        return self._txn.stat(getattr(self._tables, table))["entries"]

    def cursor(self, table: str) -> lmdb.Cursor[bytes]:
        """Open a cursor over the stored bytes of a sub-database, for verification."""
        return self._txn.cursor(getattr(self._tables, table))

    def close(self) -> None:
        """Free the reader slot; closing again has no effect."""
        if self._open:
            self._open = False
            self._store.end_read(self._txn)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if isinstance(error, lmdb.Error):
            raise fault_of(error) from error

    def stats(self) -> Stats:
        """Measure every sub-database and the file."""
        tables = {}
        for name in layout.TABLES:
            stat = self._txn.stat(getattr(self._tables, name))
            pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
            tables[name] = TableStats(self.entries(name), pages * stat["psize"])
        file_bytes = self._store.data_file.stat().st_size
        return Stats(tables, file_bytes, self._store.env.info()["map_size"])


class Store:
    """One open environment: its format, its map, its readers.

    The map may be replaced (to grow) only while this process has no transaction open, because
    LMDB unmaps it; so every read transaction begins and ends here and is counted.
    """

    def __init__(
        self, folder: Path, settings: Settings, clock: Clock, shape: Shape = SHAPE
    ) -> None:
        """Open or create; raise FormatMismatch, StorageFull or StorageFault."""
        self.data_file = folder / "data.mdb"
        self.shape = shape  # of sorted runs that are written
        self.clock = clock
        self.memory_us = settings.request_memory_s * 1_000_000
        self.item_drop_rows = settings.item_drop_rows
        self._idle = threading.Condition()  # guards and announces _open_reads and the map
        self._open_reads = 0
        self._remapping = False
        try:
            _make(folder)
            self.env = lmdb.open(
                os.fspath(folder),
                map_size=settings.map_size,
                max_readers=settings.max_readers,
                max_dbs=layout.MAX_TABLES,
                mode=0o700,  # the files get it less the execute bits: customers are personal data
                readahead=False,  # point look-ups dominate; readahead evicts pages in use
            )
        except (lmdb.InvalidError, lmdb.VersionMismatchError) as error:
            raise FormatMismatch(
                "data.mdb in the folder is not an LMDB file that this release reads; "
                "choose another folder or restore a backup"
            ) from error
        except (lmdb.Error, OSError) as error:
            raise fault_of(error) from error
        try:
            self.tables = self._open_tables()
            flush(folder)  # LMDB flushes what is in its files, not that there are such files
            self.env.reader_check()  # slots of killed processes would stop page reuse
        except BaseException as error:
            self.env.close()
            if isinstance(error, lmdb.Error | OSError):
                raise fault_of(error) from error
            raise

    def _open_tables(self) -> Tables:
        """Check the format, or write it into an empty file, and open every sub-database."""
        while True:
            try:
                return self._try_open_tables()
            except lmdb.MapResizedError:  # another worker grew it since this one opened the file
                self.env.set_mapsize(0)

    def _try_open_tables(self) -> Tables:
        with self.env.begin(write=True) as txn:
            new = txn.stat()["entries"] == 0
            current = new or layout.check_format(self._stored_format(txn))
            handles = {
                name: self.env.open_db(name.encode(), txn=txn, dupsort=several, dupfixed=several)
                for name, several in layout.TABLES.items()
            }
            tables = Tables(**handles)
            if new or not current:
                txn.put(layout.META_FORMAT, layout.encode_format(), db=tables.meta)
                secret = os.urandom(SECRET_BYTES)
                txn.put(layout.META_HASH_SECRET, secret, overwrite=False, db=tables.meta)
            if new:
                txn.put(layout.META_COUNTERS, layout.encode_counters(1, 1, 0), db=tables.meta)
        return tables

    def _stored_format(self, txn: lmdb.Transaction[bytes]) -> bytes | None:
        try:
            meta = self.env.open_db(b"meta", txn=txn, create=False)
        except (lmdb.NotFoundError, lmdb.IncompatibleError):
            return None
        return txn.get(layout.META_FORMAT, None, meta)

    def begin_read(self) -> lmdb.Transaction[bytes]:
        """Begin a counted read transaction; raise LimitExceeded, IndexBusy or StorageFault."""
        with self._idle:
            if self._remapping and not self._open_reads:
                # Let the writer, which waits for this moment, replace the map. Later readers do
                # not give way: who closes the open reads runs, as a rule, in the thread that asks.
                self._idle.wait_for(lambda: not self._remapping, GROW_WAIT_S)
            try:
                txn = self._begin_read()
            except lmdb.Error as error:
                raise fault_of(error) from error
            self._open_reads += 1
            return txn

    def _begin_read(self) -> lmdb.Transaction[bytes]:
        try:
            return self.env.begin()
        except lmdb.MapResizedError:
            if self._open_reads:  # to wait for them would be of no use: see `begin_read`
                raise
            self._follow_as_reader()
            return self.env.begin()
        except lmdb.ReadersFullError:
            if self.env.reader_check() == 0:
                raise
            return self.env.begin()

    def _follow_as_reader(self) -> None:
        """Adopt the size that another process gave the map; the lock is held."""
        try:
            self.env.set_mapsize(0)
        except lmdb.Error:
            # The writer is about to begin: it meets the same error, and follows.
            self._idle.wait(GROW_WAIT_S)

    def end_read(self, txn: lmdb.Transaction[bytes]) -> None:
        """End a counted read transaction."""
        with self._idle:
            txn.abort()
            self._open_reads -= 1
            if not self._open_reads:
                self._idle.notify_all()

    def grow_map(self) -> bool:
        """Double the map for a writer that has no transaction open; False where it cannot be."""
        size = self.env.info()["map_size"] * 2
        return size <= MAP_LIMIT and self._remap(size)

    def follow_map(self) -> bool:
        """Adopt the size that another process gave the map; False where it cannot be."""
        return self._remap(0)

    def _remap(self, size: int) -> bool:
        with self._idle:
            self._remapping = True
            try:
                if not self._idle.wait_for(lambda: not self._open_reads, GROW_WAIT_S):
                    return False
                self.env.set_mapsize(size)
                return True
            finally:
                self._remapping = False
                self._idle.notify_all()

    def hot_copy(self, sink: int) -> None:
        """Write `data.mdb` as of one consistent state to a file descriptor, a pipe for instance.

        Reads and writes go on. Blocks: call it in a thread. Like any snapshot it stops page reuse
        while it is made, which ends before it is sent. Raises StorageFull or StorageFault.

        A process of its own copies. Within this one a write transaction that is given up would
        wait for the copy (py-lmdb waits for all calls of the environment), which waits for the
        lock that this transaction holds.
        """
        try:
            copying.run(self.data_file.parent, sink)
        finally:
            self.env.reader_check()  # of a copy that was killed

    def space_is_short(self) -> bool:
        """Tell a full disk (quota, file size limit) from a failing one.

        LMDB reports a short write as EIO. The probe is sparse up to the size of the data file, so
        that it meets the same limits, and takes no more room than its last megabyte. It has no
        name, so that a killed process leaves nothing behind.
        """
        try:
            with tempfile.TemporaryFile(dir=self.data_file.parent) as probe:
                probe.seek(self.data_file.stat().st_size)
                probe.write(bytes(PROBE_BYTES))
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as error:
            return error.errno in FULL
        return False

    def close(self) -> None:
        """Close the environment; open snapshots end and raise when read."""
        self.env.close()


def fault_of(error: lmdb.Error | OSError) -> NamesakeError:
    """Translate a storage error. LMDB's texts name calls and limits, never contents."""
    if isinstance(error, lmdb.PanicError):
        _end_process()
    if isinstance(error, lmdb.MapFullError):
        return StorageFull(
            "The map is full and could not grow while this worker has snapshots open (exports, "
            "backups, verifications): let them end, or raise NAMESAKE_MAP_SIZE and restart"
        )
    if isinstance(error, lmdb.MapResizedError):
        return IndexBusy(
            "Another worker grew the map, which this one follows once its snapshots (exports, "
            "backups, verifications) have ended: try again; a larger NAMESAKE_MAP_SIZE avoids that"
        )
    if isinstance(error, lmdb.ReadersFullError):
        return LimitExceeded("Too many snapshots are open: raise NAMESAKE_MAX_READERS and restart")
    code = error.errno if isinstance(error, OSError) else error.code
    if code in FULL:
        return StorageFull("The disk is full: writes are refused until there is space, reads go on")
    return StorageFault(f"The index could not be read or written: {error}")


def _end_process() -> NoReturn:
    """End this process, because LMDB failed to write a meta page and now refuses every call.

    The file is sound and holds all that was acknowledged, but only a new process can open it:
    the supervisor's, or that of whoever started this one.
    """
    _log.critical("index_panicked", status=os.EX_SOFTWARE)
    os._exit(os.EX_SOFTWARE)


def _united(
    size: int, entries: list[int], in_runs: int, others: list[int], second: int, limit: int
) -> tuple[int, list[int]]:
    """Unite what B-tree and runs have of a block; of one that is split now, less of the B-tree."""
    if size <= limit < size + in_runs:
        entries = [entry for entry in entries if second and entry >> layout.ROW_BITS == second]
    return size + in_runs, sorted(entries + others)[:limit]


def _seek_before(cursor: lmdb.Cursor[bytes], key: bytes) -> bool:
    """Stand on the last entry below `key`."""
    return cursor.prev() if cursor.set_range(key) else cursor.last()


def _make(folder: Path) -> None:
    """Create a folder where it is missing, and its parents, durably and for the owner alone."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        flush(folder.parent)
