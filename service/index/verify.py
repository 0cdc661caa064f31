"""Whether the index says exactly what its records say.

Walks each sub-database with cursors, in memory that does not grow with the index. That a set holds
nothing beyond what the records ask for follows from counts: every entry asked for is there, and
there are as many as were asked for. Only where the counts differ is each entry traced back to its
record, to name the ones too many.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Protocol, TypeVar

from service.core.model import Held
from service.errors import FormatMismatch, StorageFault
from service.index import layout
from service.index.layout import ChangeKind, Entries, MatchKey, RunKind
from service.index.runs import ENTRY_BYTES, Runs, entries_of, identity_entry
from service.index.store import RUN_KINDS, Snapshot, State

T = TypeVar("T")

PROGRESS_STEP = 10_000
RECORD_CACHE = 1_024  # records held while entries are traced back
TABLE_OF = {kind: table for table, kind in RUN_KINDS.items()}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the walk of one sub-database is."""

    table: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Fault:
    """One disagreement. Names rows and sequences, never contents."""

    table: str
    what: str
    row: int = 0
    sequence: int = 0


class RecordReader(Protocol):
    """The part of `core.model.Codec` that verification needs."""

    def held(self, record: bytes) -> Held:
        """Read back what the index keeps of a record."""

    def features(self, records: Sequence[bytes]) -> list[bytes]:
        """Return what is compared of each record, packed; b"" for nothing."""


def verify(
    snapshot: Snapshot, codec: RecordReader, match_key: MatchKey
) -> Iterator[Progress | Fault]:
    """Yield progress, and a Fault for each disagreement: none means that the index is sound.

    - Each record's id leads to its row; its keys and pending domains have entries, and there are
      no other entries. So have its features, which are those of the record, and their blocks. An
      entry stands once, in its B-tree or in one sorted run.
    - Sorted runs are sorted, whole and known to their filters; what is retired stands in one.
    - Pairs that are distinct are of live customers, and stand under both of them.
    - Changes run without a gap from the first that is kept up to the counters, in time, and agree
      with the ids. What is kept of older ones leads to the customers that they wrote last.
    - Each change of a live customer and each deletion has its history entry, and each entry its
      change; of a deleted customer only the deletion is left.
    - A merged customer has a place among the members of its survivor and a redirect to it, and ends
      at a live customer; a survivor can give its members back. Whoever was ever given back is
      marked, and nobody else.
    - Redirects end at a live or deleted customer; remembered requests and consumers of the feed are
      within the counters.
    """
    walks = _Walks(snapshot, codec, match_key)
    yield from walks.manifests()
    yield from walks.over("customers", walks.customer)
    yield from walks.over_runs()
    yield from walks.over("retired", walks.retired_entry)
    yield from walks.end_of_retired()
    if walks.entries(RunKind.IDENTITIES) != walks.wanted_keys:
        yield from walks.over("identities", walks.identity_entry)
        yield from walks.run_entries(RunKind.IDENTITIES, walks.hashed_entry)
    if snapshot.entries("features") != walks.wanted_features:
        yield from walks.over("features", walks.features_entry)
    if walks.entries(RunKind.BLOCKS) != walks.wanted_blocks:
        yield from walks.over("blocks", walks.block_entry)
        yield from walks.run_entries(RunKind.BLOCKS, walks.block_pair)
    yield from walks.over("distinct", walks.distinct_entry)
    yield from walks.over("waiting", walks.waiting_batch)
    if snapshot.stored("pending") + walks.waiting != walks.wanted_domains:
        yield from walks.over("pending", walks.pending_entry)
        yield from walks.over("waiting", walks.waiting_entries)
    yield from walks.over("ids", walks.id)
    if walks.live_ids != snapshot.customer_count:
        yield from walks.over("ids", walks.id_of_record)
    yield from walks.over("changes", walks.change)
    yield from walks.end_of_changes()
    yield from walks.over("older", walks.older_change)
    yield from walks.over("consumers", walks.consumer)
    yield from walks.over("history", walks.history_entry)
    yield from walks.over("merged", walks.merged_row)
    yield from walks.over("members", walks.member)
    yield from walks.over("bonds", walks.bond)
    yield from walks.over("merges", walks.merge)
    yield from walks.over("restored", walks.restored_row)
    yield from walks.over("redirects", walks.redirect)
    yield from walks.over("requests", walks.request)


class _Walks:
    """What is looked at of each entry, and what must add up over all of them."""

    def __init__(self, snapshot: Snapshot, codec: RecordReader, match_key: MatchKey) -> None:
        self._snapshot = snapshot
        self._codec = codec
        self._match_key = match_key
        self._counters = snapshot.counters
        self._identities = snapshot.cursor("identities")
        self._pending = snapshot.cursor("pending")
        self._customers = snapshot.cursor("customers")
        self._changes = snapshot.cursor("changes")
        self._history = snapshot.cursor("history")
        self._redirects = snapshot.cursor("redirects")
        self._merged = snapshot.cursor("merged")
        self._members = snapshot.cursor("members")
        self._restored = snapshot.cursor("restored")
        self._blocks = snapshot.cursor("blocks")
        self._distinct = snapshot.cursor("distinct")
        self._older = snapshot.cursor("older")
        self._held_at = lru_cache(RECORD_CACHE)(self._read_held)
        self._first_sequence = snapshot.first_sequence
        self._next_sequence = self._first_sequence
        self._last_us = 0
        self.wanted_keys = 0
        self.wanted_domains = 0
        self.wanted_features = 0
        self.wanted_blocks = 0
        self.live_ids = 0
        self.waiting = 0
        self._batch: tuple[int, frozenset[tuple[bytes, bytes]]] = 0, frozenset()
        self._runs: dict[RunKind, Runs] = {}
        self._retired = dict.fromkeys(RunKind, 0)

    def over(
        self, table: str, check: Callable[[bytes, bytes], Iterator[Fault]]
    ) -> Iterator[Progress | Fault]:
        """Check each entry of a sub-database."""
        return walk(self._snapshot, table, check)

    # Sorted runs

    def manifests(self) -> Iterator[Fault]:
        """What there is of runs can be read; else all that stands in them counts as missing."""
        for kind in RunKind:
            try:
                runs = self._snapshot.runs(kind)
                if runs.any and kind is RunKind.IDENTITIES:
                    _ = self._snapshot.hash_secret
            except (FormatMismatch, StorageFault):
                yield Fault("meta", "what the index knows of its sorted runs cannot be read")
            else:
                self._runs |= {kind: runs} if runs.any else {}

    def entries(self, kind: RunKind) -> int:
        """Number of entries of a kind, in its B-tree and in runs."""
        runs = self._runs.get(kind)
        return self._snapshot.stored(TABLE_OF[kind]) + (0 if runs is None else runs.entries)

    def over_runs(self) -> Iterator[Progress | Fault]:
        """Each chunk is sorted, in its place and known to its filter, and all are there."""
        all_runs = [run for runs in self._runs.values() for run in runs.manifest.runs]
        done, total = 0, sum(run.entries for run in all_runs)
        for runs in self._runs.values():
            try:
                for chunk in runs.chunks():
                    before, done = done, done + len(chunk) // ENTRY_BYTES
                    if done // PROGRESS_STEP > before // PROGRESS_STEP:
                        yield Progress("runs", done, total)
            except StorageFault:
                yield Fault("runs", "a sorted run is damaged")
        yield Progress("runs", done, total)

    def retired_entry(self, key: bytes, _stored: bytes) -> Iterator[Fault]:
        """What is retired stands in one run."""
        kind, first, tail = _mark_of(key)
        runs = self._runs.get(kind) if kind else None
        if kind is None or runs is None or _places(runs, first, tail) != 1:
            yield Fault("retired", "an entry stands in no sorted run", tail & layout.ROW_MASK)
        if kind:
            self._retired[kind] += 1

    def end_of_retired(self) -> Iterator[Fault]:
        """There are as many as the index knows of."""
        for kind, runs in self._runs.items():
            if runs.manifest.retired != self._retired[kind]:
                yield Fault("retired", "not all entries are known, or too many")

    def run_entries(
        self, kind: RunKind, check: Callable[[int, int], Iterator[Fault]]
    ) -> Iterator[Fault]:
        """Check each live entry of a kind's runs, as far as they can be read."""
        runs = self._runs.get(kind)
        try:
            for chunk in () if runs is None else runs.chunks():
                for first, tail in entries_of(chunk):
                    if runs is not None and not runs.is_retired(first, tail):
                        yield from check(first, tail)
        except StorageFault:
            return  # which `over_runs` has said

    def _times(self, kind: RunKind, stands: bool, first: int, tail: int) -> int:
        """Return how often an entry stands, in the B-tree and in runs."""
        runs = self._runs.get(kind)
        if runs is None or runs.is_retired(first, tail):
            return int(stands)
        return stands + _places(runs, first, tail)

    def hashed_entry(self, first: int, tail: int) -> Iterator[Fault]:
        """An identities entry of a run is one that its record asks for."""
        row, secret = tail & layout.ROW_MASK, self._snapshot.hash_secret
        wanted = (identity_entry(key, secret, row) for key in self._entries_at(row).keys)
        if (first, tail) not in wanted:
            yield Fault("identities", "an entry has no record that asks for it", row)

    def block_pair(self, first: int, tail: int) -> Iterator[Fault]:
        """A block's entry of a run is one that its record asks for."""
        key = first.to_bytes(layout.BLOCK_KEY_BYTES, sys.byteorder)
        yield from self.block_entry(key, layout.pack_u64(tail))

    # Records against entries

    def customer(self, key: bytes, record: bytes) -> Iterator[Fault]:
        """A record's row, id and entries exist."""
        row = layout.unpack_u64(key)
        held = self._held(record)
        if not 0 < row < self._counters.next_row:
            yield Fault("meta", "the row counter is behind the records", row)
        if held is None:
            yield Fault("customers", "the record cannot be read", row)
            return
        if self._snapshot.row_of(held.id) != row:
            yield Fault("ids", "the record's id does not lead to its row", row)
        entries = layout.entries_of(held, self._match_key)
        self.wanted_keys += len(entries.keys)
        self.wanted_domains += len(entries.pending)
        for wanted in entries.keys:
            yield from self._identity(wanted, row)
        for domain in entries.pending:
            times = int(self._pending.set_key_dup(domain.encode(), key))
            times += (domain.encode(), key) in self._left_by_batch(row)
            yield from _once("pending", times, row)
        (features,) = self._codec.features([record])
        if features:
            yield from self._features(row, features)
        sequence = _written_by(held)
        is_dropped = 0 < sequence < self._first_sequence
        if is_dropped and self._older.get(layout.pack_u64(sequence)) != key:
            yield Fault("older", "the last change of a customer is missing", row, sequence)

    def _identity(self, wanted: bytes, row: int) -> Iterator[Fault]:
        """An identities entry of a record stands once."""
        times = int(self._identities.set_key_dup(wanted, layout.pack_u64(row)))
        if RunKind.IDENTITIES in self._runs:
            entry = identity_entry(wanted, self._snapshot.hash_secret, row)
            times = self._times(RunKind.IDENTITIES, times > 0, *entry)
        yield from _once("identities", times, row)

    def _features(self, row: int, features: bytes) -> Iterator[Fault]:
        """The features of a record are stored, and have their blocks."""
        self.wanted_features += 1
        if self._snapshot.features_of(row) != features:
            yield Fault("features", "the features are not the record's", row)
        for entry in layout.block_entries(features, row):
            self.wanted_blocks += 1
            times = int(self._blocks.set_key_dup(*entry))
            if RunKind.BLOCKS in self._runs:
                times = self._times(RunKind.BLOCKS, times > 0, *layout.block_pair(*entry))
            yield from _once("blocks", times, row)

    def features_entry(self, key: bytes, _stored: bytes) -> Iterator[Fault]:
        """Features are of a record that has such."""
        row = layout.unpack_u64(key)
        record = self._snapshot.record(row)
        if record is None or self._codec.features([record]) == [b""]:
            yield Fault("features", "an entry has no record that asks for it", row)

    def block_entry(self, key: bytes, stored: bytes) -> Iterator[Fault]:
        """An entry of a block is one that its record asks for."""
        row = layout.unpack_u64(stored) & layout.ROW_MASK
        record = self._snapshot.record(row)
        (features,) = [b""] if record is None else self._codec.features([record])
        if (key, stored) not in (layout.block_entries(features, row) if features else ()):
            yield Fault("blocks", "an entry has no record that asks for it", row)

    def distinct_entry(self, key: bytes, stored: bytes) -> Iterator[Fault]:
        """A pair is of live customers, can be read, and stands under both."""
        row, other = layout.unpack_row_pair(key)
        if _readable(partial(layout.decode_distinct, row), other, stored) is None:
            yield Fault("distinct", "the pair cannot be read", row)
        if self._distinct.get(layout.pack_row_pair(other, row)) != stored:
            yield Fault("distinct", "the pair does not stand under both", row)
        if row == other:
            yield Fault("distinct", "a customer is not distinct from itself", row)
        if not self._is_kept(row):
            yield Fault("distinct", "a pair is of a customer that is not there", row)

    def identity_entry(self, key: bytes, stored: bytes) -> Iterator[Fault]:
        """An identities entry is one that its record asks for."""
        row = layout.unpack_u64(stored)
        if key not in self._entries_at(row).keys:
            yield Fault("identities", "an entry has no record that asks for it", row)

    def pending_entry(self, key: bytes, stored: bytes) -> Iterator[Fault]:
        """A pending entry is one that its record asks for."""
        row = layout.unpack_u64(stored)
        if key not in {domain.encode() for domain in self._entries_at(row).pending}:
            yield Fault("pending", "an entry has no record that asks for it", row)

    def _left_by_batch(self, row: int) -> frozenset[tuple[bytes, bytes]]:
        """Return what the batch that a row may be of left waiting; rows come in order."""
        for first, stored in self._snapshot.waiting_at(row).items():
            if first != self._batch[0]:
                self._batch = first, frozenset(_waiting_of(stored))
            return self._batch[1]
        return frozenset()

    def waiting_batch(self, key: bytes, stored: bytes) -> Iterator[Fault]:
        """What a batch left is in order, under the first row that waits."""
        pairs = _waiting_of(stored)
        self.waiting += len(pairs)
        first = min((row for _, row in pairs), default=b"")
        if key != first or pairs != sorted(set(pairs)):
            yield Fault("waiting", "a batch is damaged", layout.unpack_u64(key))

    def waiting_entries(self, _key: bytes, stored: bytes) -> Iterator[Fault]:
        """What a batch left is what its records ask for."""
        for entry in _waiting_of(stored):
            yield from self.pending_entry(*entry)

    def id(self, _key: bytes, stored: bytes) -> Iterator[Fault]:
        """An id has a row that was given to somebody."""
        row = layout.unpack_u64(stored)
        self.live_ids += self._customers.set_key(stored)
        if not 0 < row < self._counters.next_row:
            yield Fault("ids", "an id has a row that was never given", row)

    def id_of_record(self, key: bytes, stored: bytes) -> Iterator[Fault]:
        """An id leads to no other customer's row; asked only when some id must."""
        row = layout.unpack_u64(stored)
        held = self._held_at(row)
        if held is not None and held.id.encode() != key:
            yield Fault("ids", "an id leads to another customer's row", row)

    # What happened

    def change(self, key: bytes, stored: bytes) -> Iterator[Fault]:
        """An event follows the one before it and agrees with the ids."""
        sequence = layout.unpack_u64(key)
        if sequence != self._next_sequence:
            yield Fault("changes", f"expected sequence {self._next_sequence}", 0, sequence)
        self._next_sequence = sequence + 1
        change = _readable(layout.decode_event, sequence, stored)
        if change is None:
            yield Fault("changes", "the event cannot be read", 0, sequence)
            return
        if self._snapshot.row_of(change.id) != change.row:
            yield Fault("changes", "the id does not lead to the row", change.row, sequence)
        if not self._last_us <= change.time_us <= self._counters.last_us:
            yield Fault("changes", "the time is out of order", change.row, sequence)
        self._last_us = change.time_us
        if not self._history.set_key(layout.pack_history_key(change.row, sequence)):
            deletion = change.kind is ChangeKind.DELETED
            if deletion or self._customers.set_key(layout.pack_u64(change.row)):
                yield Fault("history", "the entry of a change is missing", change.row, sequence)

    def end_of_changes(self) -> Iterator[Fault]:
        """The feed ends where the counter says."""
        if self._next_sequence != self._counters.next_sequence:
            yield Fault("meta", "the sequence counter is not the feed's", 0, self._next_sequence)

    def older_change(self, key: bytes, stored: bytes) -> Iterator[Fault]:
        """What is kept of a dropped event leads to a row."""
        sequence, row = layout.unpack_u64(key), layout.unpack_u64(stored)
        if sequence >= self._first_sequence:
            yield Fault("older", "the feed still has the event", row, sequence)
        if not 0 < row < self._counters.next_row:
            yield Fault("older", "there is no such row", row, sequence)

    def consumer(self, key: bytes, stored: bytes) -> Iterator[Fault]:
        """A consumer is not ahead of the feed."""
        try:
            sequence = layout.decode_consumer(key.decode(), stored).sequence
        except (FormatMismatch, StorageFault, UnicodeDecodeError):
            yield Fault("consumers", "a consumer cannot be read")
            return
        if sequence >= self._counters.next_sequence:
            yield Fault("consumers", "a consumer is ahead of the feed", 0, sequence)

    def history_entry(self, key: bytes, stored: bytes) -> Iterator[Fault]:
        """An entry tells of a change of its row, and a deletion left nothing else behind."""
        row, sequence = layout.unpack_history_key(key)
        entry = _readable(layout.decode_history, sequence, stored)
        event = self._changes.get(layout.pack_u64(sequence))
        change = None if event is None else _readable(layout.decode_event, sequence, event)
        if entry is None:
            yield Fault("history", "the entry cannot be read", row, sequence)
        elif change is None and sequence < self._first_sequence:
            if entry.kind is not ChangeKind.DELETED and not self._is_kept(row):
                yield Fault("history", "a deleted customer left an entry behind", row, sequence)
        elif (
            change is None
            or change.kind is not entry.kind
            or (change.row != row and entry.kind not in (ChangeKind.MERGED, ChangeKind.UNMERGED))
        ):
            yield Fault("history", "there is no such change of the row", row, sequence)
        elif entry.kind is not ChangeKind.DELETED and not self._is_kept(row):
            yield Fault("history", "a deleted customer left an entry behind", row, sequence)
        if entry is not None and entry.kind is ChangeKind.RESTORED:
            yield from self._marked(row, sequence)

    def _marked(self, row: int, sequence: int) -> Iterator[Fault]:
        """Whoever was given back is marked with the last time."""
        stored = self._restored.get(layout.pack_u64(row))
        if stored is None or stored < layout.pack_u64(sequence):
            yield Fault("restored", "a customer that was given back is not marked", row, sequence)

    def _is_kept(self, row: int) -> bool:
        """Tell whether a row is of a live or merged customer."""
        key = layout.pack_u64(row)
        return self._customers.set_key(key) or self._merged.set_key(key)

    # Merges

    def merged_row(self, key: bytes, stored: bytes) -> Iterator[Fault]:
        """A merged customer is a member of another, to which its id is a redirect."""
        row = layout.unpack_u64(key)
        merged = _readable(lambda _, stored: layout.decode_merged(stored), row, stored)
        held = None if merged is None else self._held(merged.record)
        if merged is None or held is None:
            yield Fault("merged", "the merged customer cannot be read", row)
            return
        if self._customers.set_key(key):
            yield Fault("merged", "the customer is live and merged", row)
        if self._snapshot.row_of(held.id) != row:
            yield Fault("ids", "the record's id does not lead to its row", row)
        place = layout.pack_member_key(merged.survivor, merged.sequence, merged.place)
        if self._members.get(place) != key:
            yield Fault("members", "a merged customer has no place at its survivor", row)
        survivor = self._redirects.get(held.id.encode(), b"").decode()
        if self._snapshot.row_of(survivor) != merged.survivor:
            yield Fault("redirects", "a merged customer's id does not lead to its survivor", row)
        if not self._ends(row):
            yield Fault("merged", "the customer was merged into nobody", row)

    def _ends(self, row: int) -> bool:
        try:
            return self._snapshot.live_row(row) > 0
        except (FormatMismatch, StorageFault):
            return False

    def member(self, key: bytes, stored: bytes) -> Iterator[Fault]:
        """A place is that of a merged customer, and its survivor has a bond of this merge."""
        row, (survivor, sequence, number) = layout.unpack_u64(stored), layout.unpack_member_key(key)
        merged = _readable(lambda _, s: layout.decode_merged(s), row, self._merged.get(stored, b""))
        if merged is None or _place(merged) != (survivor, sequence, number):
            yield Fault("members", "a member is not merged", row)
        if self._snapshot.bond(survivor, sequence) is None:
            yield Fault("bonds", "a survivor cannot give its members back", survivor, sequence)

    def bond(self, key: bytes, _stored: bytes) -> Iterator[Fault]:
        """A bond is of a merge that has members."""
        row, sequence = layout.unpack_bond_key(key)
        if not self._members.set_range(key) or not self._members.key().startswith(key):
            yield Fault("bonds", "a bond is of a merge without members", row, sequence)

    def merge(self, key: bytes, _stored: bytes) -> Iterator[Fault]:
        """A merge is one of the feed's changes."""
        if layout.unpack_u64(key) >= self._counters.next_sequence:
            yield Fault("merges", "a merge is ahead", 0, layout.unpack_u64(key))

    def restored_row(self, key: bytes, stored: bytes) -> Iterator[Fault]:
        """A mark is of the unmerge that gave the customer back."""
        entry = self._history.get(key + stored)
        restored = entry and _readable(layout.decode_history, 0, entry)
        if not restored or restored.kind is not ChangeKind.RESTORED:
            yield Fault("restored", "nobody gave this customer back", layout.unpack_u64(key))

    def redirect(self, key: bytes, _survivor: bytes) -> Iterator[Fault]:
        """A redirect starts at a merged id and leads to a customer, perhaps deleted since."""
        merged = key.decode()
        try:
            state = self._snapshot.find(merged).state
        except StorageFault:
            state = State.MISSING
        row = self._snapshot.row_of(merged) or 0
        if state is State.LIVE:
            yield Fault("redirects", "a live customer's id is redirected", row)
        elif state is State.MISSING:
            yield Fault("redirects", "the redirect ends at no customer", row)

    def request(self, _key: bytes, stored: bytes) -> Iterator[Fault]:
        """A remembered request lies within the counters."""
        try:
            remembered = layout.decode_request(stored)
        except (FormatMismatch, StorageFault):
            yield Fault("requests", "a remembered request cannot be read")
            return
        row, sequence = remembered.row, remembered.sequence
        if row >= self._counters.next_row or sequence >= self._counters.next_sequence:
            yield Fault("requests", "a remembered request is ahead", row, sequence)

    # Reading

    def _held(self, record: bytes) -> Held | None:
        try:
            return self._codec.held(record)
        except Exception:  # noqa: BLE001  a damaged record may break its codec in any way
            return None

    def _read_held(self, row: int) -> Held | None:
        record = self._snapshot.record(row)
        return None if record is None else self._held(record)

    def _entries_at(self, row: int) -> Entries:
        held = self._held_at(row)
        return Entries() if held is None else layout.entries_of(held, self._match_key)


def _written_by(held: Held) -> int:
    """Return the sequence of the change that wrote a record last, 0 where it does not say."""
    try:
        return int(held.etag or "0", 16)
    except ValueError:
        return 0


def walk(
    snapshot: Snapshot, table: str, check: Callable[[bytes, bytes], Iterator[Fault]]
) -> Iterator[Progress | Fault]:
    """Check each entry of a sub-database, with progress in between and at the end."""
    total, done = snapshot.stored(table), 0
    with snapshot.cursor(table) as cursor:
        for done, (key, stored) in enumerate(cursor.iternext(), 1):
            yield from check(key, stored)
            if done % PROGRESS_STEP == 0:
                yield Progress(table, done, total)
    yield Progress(table, done, total)


def _once(table: str, times: int, row: int) -> Iterator[Fault]:
    """An entry of a record stands once."""
    if times == 0:
        yield Fault(table, "an entry of the record is missing", row)
    elif times > 1:
        yield Fault(table, "an entry of the record stands twice", row)


def _places(runs: Runs, first: int, tail: int) -> int:
    """Return how many runs have an entry, 0 where the one that should is damaged."""
    try:
        return runs.holders(first, tail)
    except StorageFault:
        return 0


def _mark_of(key: bytes) -> tuple[RunKind | None, int, int]:
    """Read the key of a retired entry; no kind where it is damaged."""
    try:
        kind, first, tail = layout.unpack_retired(key)
        return RunKind(kind), first, tail
    except (ValueError, struct.error):
        return None, 0, 0


def _waiting_of(stored: bytes) -> list[tuple[bytes, bytes]]:
    """Return what a batch left waiting; nothing where that is damaged."""
    try:
        return layout.decode_waiting(stored)
    except (FormatMismatch, StorageFault):
        return []


def _place(merged: layout.MergedRow) -> tuple[int, int, int]:
    return merged.survivor, merged.sequence, merged.place


def _readable(decode: Callable[[int, bytes], T], sequence: int, stored: bytes) -> T | None:
    """Decode a value, None where it is damaged."""
    try:
        return decode(sequence, stored)
    except (FormatMismatch, StorageFault):
        return None
