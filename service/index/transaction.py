"""One write transaction of the index: it runs decisions and applies their mutations.

Each decision reads what the ones before it put. What does not fit the state is refused while
nothing of its decision is put; changes and history of the whole group are put at its end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import cast

import lmdb

from service.errors import FormatMismatch, InvalidArgument, StorageFault
from service.index import layout
from service.index._intake import Intake, hashes_of
from service.index._lmdb import APPEND, NO_OVERWRITE, Calls
from service.index.feed import DropConsumer, PutConsumer, TrimChanges
from service.index.feed import write as write_feed
from service.index.layout import Buffer, ChangeKind, Entries, MergedRow, RunKind
from service.index.mutations import (
    NOTHING,
    Absorb,
    Decision,
    Delete,
    DropDistinct,
    DropGroups,
    Mutation,
    Outcome,
    Put,
    PutBond,
    PutDistinct,
    PutEntries,
    PutGroups,
    PutMerge,
    PutMergedRecord,
    PutModel,
    PutOperation,
    PutRequest,
    PutRows,
    Release,
    Reword,
    SortWaiting,
)
from service.index.runs import identity_entry
from service.index.store import Reads, Store
from service.index.timeline import DropItems, DropLeaving, PutItems, PutPin, TimelineWrites

ID_RANDOM_BYTES = 10  # of each UUID
PURGE_STEPS = 16  # request ids looked at per commit, beside one for each that the commit puts


class View(Reads):
    """What a decision may see: everything put so far, its own group included.

    Only changes and history end with the group before, unless a decision calls `flush`: they are
    put together at the end of each. `now_us` is the time of the whole commit, later than that of
    any commit before it.
    """

    def __init__(
        self, txn: lmdb.Transaction[bytes], store: Store, flush: Callable[[], None]
    ) -> None:
        super().__init__(txn, store.tables, store.clock(), store.memory_us)
        self.flush = flush
        counters = self.counters  # from the file: another process may have committed since
        self.next_row = counters.next_row
        self.next_sequence = counters.next_sequence
        self.now_us = max(self.wall_us, counters.last_us + 1)

    def stale(self, intake: Intake, asked: int, by_id: bool, others: Iterable[bytes]) -> list[int]:
        """Return which rows of a batch may not be new; `others` are keys of its other rows.

        See `Intake.stale`; identities keys, and `id_key` of customers' ids.
        """
        tables, secret = self._tables, self.hash_secret
        foreign = hashes_of(others, secret)
        return intake.stale(
            self._calls, tables.ids, tables.identities, self.held, asked, by_id, foreign
        )


Decide = Callable[[View], Decision[Outcome]]


class GroupTransaction:
    """One write transaction: runs decisions and applies their mutations."""

    def __init__(self, txn: lmdb.Transaction[bytes], store: Store) -> None:
        tables = store.tables
        self._txn = txn
        self._tables = tables
        self._shape = store.shape
        self._view = View(txn, store, self.flush)
        self._calls = Calls(txn)
        self._timeline = TimelineWrites(txn, self._calls, tables)
        self._changes: list[tuple[bytes, bytes]] = []  # put together: see `flush`
        self._history: list[tuple[bytes, bytes]] = []
        self._blocks: list[tuple[bytes, bytes]] = []
        self._requests_put = 0
        self._items_left = store.item_drop_rows  # that deletions may still drop in this commit
        self.dirty = False

    def run(self, decide: Decide[object]) -> object:
        """Return the outcome of one decision, or what it raised."""
        try:
            decision = decide(self._view)
            self._check(decision)
        except lmdb.Error:
            raise  # the file failed, not the decision
        except Exception as error:  # noqa: BLE001  it is this item's result
            return error
        for mutation in decision.mutations:
            self.dirty = True
            self._apply(mutation)
        return decision.outcome

    def _check(self, decision: Decision[object]) -> None:
        """Refuse what does not fit the state while nothing of the decision is put."""
        created: list[bytes] = []
        for mutation in decision.mutations:
            match mutation:
                case Put(row=None):
                    created.append(mutation.id.encode())
                case Put() | Delete() | Absorb():
                    if not self._holds(cast("int", mutation.row), mutation.id):
                        raise InvalidArgument("There is no such customer to change")
                case Release() | PutMergedRecord():
                    if self._view.merged(mutation.row) is None:
                        raise InvalidArgument("There is no such merged customer")
                case PutDistinct():
                    for row in (mutation.row, mutation.other):
                        if not self._view.live_row(row):
                            raise InvalidArgument("There is no such customer to tell apart")
                case PutItems():
                    self._check_live(item.row for item in mutation.items)
                case PutPin():
                    self._check_live([mutation.row])
        self._claim(created)

    def _check_live(self, rows: Iterable[int]) -> None:
        for row in set(rows):
            if not self._view.live_row(row):
                raise InvalidArgument("There is no such customer to link anything to")

    def _claim(self, created: list[bytes]) -> None:
        """Put the ids of new customers, or none of them: checks and puts in one step."""
        for number, id in enumerate(created):
            row = layout.pack_u64(self._view.next_row + number)
            if not self._calls.put(self._tables.ids, id, row, NO_OVERWRITE):
                for claimed in created[:number]:
                    self._calls.delete(self._tables.ids, claimed)
                raise InvalidArgument("The customer id is in use or was deleted")

    def _holds(self, row: int, id: str) -> bool:
        return self._view.row_of(id) == row and self._calls.has(
            self._tables.customers, layout.pack_u64(row)
        )

    def _apply(self, mutation: Mutation) -> None:
        match mutation:
            case Put():
                self._put(mutation)
            case PutRows():
                self._put_rows(mutation)
            case PutEntries():
                identities, blocks = mutation.intake.entries()
                self._add_run(RunKind.IDENTITIES, identities)
                self._add_run(RunKind.BLOCKS, blocks)
            case Delete():
                self._delete(mutation)
            case Reword():
                self._reword(mutation)
            case PutOperation():
                self._operation(mutation)
            case PutRequest():
                self._request(mutation)
            case Absorb():
                self._absorb(mutation)
            case Release():
                self._release(mutation)
            case PutMergedRecord():
                self._put_merged(mutation.row, self._merged(mutation.row), mutation.record)
                self._remember(
                    ChangeKind.UNMERGED, mutation.row, mutation.sequence, mutation.actor,
                    mutation.reason, mutation.diff,
                )  # fmt: skip
            case PutBond():
                self._bond(mutation)
            case PutMerge():
                key = layout.pack_u64(mutation.sequence)
                self._calls.put(self._tables.merges, key, mutation.state)
            case PutDistinct() | DropDistinct():
                self._distinct(mutation)
            case SortWaiting():
                self._sort_in(mutation.waiting)
            case PutModel():
                self._model(mutation)
            case PutGroups() | DropGroups():
                self._groups(mutation)
            case PutConsumer() | DropConsumer() | TrimChanges():
                wall_us = self._view.wall_us
                write_feed(mutation, self._txn, self._calls, self._tables, wall_us)
            case PutItems():
                self._timeline.put(mutation)
            case DropItems():
                self._timeline.drop(mutation.numbers)
            case DropLeaving():
                self._timeline.drop_leaving(mutation.limit)
            case PutPin():
                self._timeline.put_pin(mutation)

    def _put(self, put: Put) -> None:
        view = self._view
        new = put.row is None
        row = view.next_row if put.row is None else put.row
        stored_row = layout.pack_u64(row)
        if new:
            view.next_row = row + 1  # the row that its id was claimed for
        # A new row is the highest key: append skips the search and fills pages completely.
        flags = APPEND if new else 0
        self._appended(self._calls.put(self._tables.customers, stored_row, put.record, flags))
        self._enter(stored_row, put.old, put.new)
        if put.features is not None:
            self._compare_by(row, put.features, new)
        self._record(put.kind, row, put.id, put.actor, put.reason, put.diff)

    def _put_rows(self, put: PutRows) -> None:
        self.flush()  # the changes of the group so far come before these
        view = self._view
        count = put.intake.create(
            self._calls,
            self._tables,
            put.first,
            put.end,
            view.next_row,
            view.next_sequence,
            view.now_us,
            put.actor.encode(),
            put.times,
            os.urandom(ID_RANDOM_BYTES * (put.end - put.first)),
        )
        view.next_row += count
        view.next_sequence += count

    def _enter(self, stored_row: bytes, old: Entries, new: Entries) -> None:
        """Write the difference between what the index held of a row and is to hold."""
        calls, tables = self._calls, self._tables
        for key in old.keys - new.keys:
            if not calls.delete(tables.identities, key, stored_row):
                entry = identity_entry(key, self._view.hash_secret, layout.unpack_u64(stored_row))
                self._view.runs(RunKind.IDENTITIES).retire(*entry)
        calls.put_under(tables.identities, new.keys - old.keys, stored_row)
        for domain in old.pending - new.pending:
            if not calls.delete(tables.pending, domain.encode(), stored_row):
                self._sort_in(self._view.waiting_at(layout.unpack_u64(stored_row)))
                calls.delete(tables.pending, domain.encode(), stored_row)
        for domain in new.pending - old.pending:
            calls.put(tables.pending, domain.encode(), stored_row)

    def _sort_in(self, waiting: Mapping[int, bytes]) -> None:
        """Move what batches left waiting to `pending`."""
        pairs = [pair for stored in waiting.values() for pair in layout.decode_waiting(stored)]
        pairs.sort()
        self._calls.put_all(self._tables.pending, pairs)
        for row in waiting:
            self._calls.delete(self._tables.waiting, layout.pack_u64(row))

    def _add_run(self, kind: RunKind, entries: Buffer) -> None:
        """Put entries of new rows, pairs of native words in any order, as a sorted run.

        Merges that are due go on: see `Runs.add`.
        """
        self._view.runs(kind).add(entries, self._shape)

    def _compare_by(self, row: int, features: bytes, new: bool) -> None:
        """Put a row's features and the differences of its blocks; b"" for none."""
        stored_row, table = layout.pack_u64(row), self._tables.features
        # Of damaged ones nobody knows which entries they have: `verify` names them.
        old = b"" if new else self._view.features_of(row)
        if features and features == old:
            return
        before = layout.block_entries(old, row) if old else []
        after = layout.block_entries(features, row) if features else []
        if before:
            self._put_blocks()  # what is to go may not be there yet
            for key, entry in set(before).difference(after):
                if not self._calls.delete(self._tables.blocks, key, entry):
                    self._view.runs(RunKind.BLOCKS).retire(*layout.block_pair(key, entry))
            after = [entry for entry in after if entry not in before]
        elif after and not new:
            # What damaged features left in a run is not put a second time.
            runs = self._view.runs(RunKind.BLOCKS)
            after = [entry for entry in after if not runs.holds(*layout.block_pair(*entry))]
        self._blocks += after
        if features:
            flags = APPEND if new else 0
            self._calls.put(table, stored_row, layout.encode_features(features), flags)
        elif not new:
            self._calls.delete(table, stored_row)

    def _put_blocks(self) -> None:
        """Put the entries that wait, sorted: neighbours fall into one page."""
        self._blocks.sort()
        self._calls.put_all(self._tables.blocks, self._blocks)
        self._blocks.clear()

    def _record(self, kind: int, row: int, id: str, actor: str, reason: str, diff: bytes) -> None:
        """Note the event and the history entry of a change, under the next sequence."""
        view = self._view
        sequence = view.next_sequence
        view.next_sequence = sequence + 1
        event = layout.encode_event(kind, row, view.now_us, actor.encode(), id.encode())
        self._changes.append((layout.pack_u64(sequence), event))
        self._remember(kind, row, sequence, actor, reason, diff)

    def _remember(
        self, kind: int, row: int, sequence: int, actor: str, reason: str, diff: bytes
    ) -> None:
        """Note a history entry."""
        who, why = actor.encode(), reason.encode()
        entry = layout.encode_history(kind, self._view.now_us, who, why, diff)
        self._history.append((layout.pack_history_key(row, sequence), entry))

    def flush(self) -> None:
        """Put what was noted, in one call for each sub-database.

        No decision reads what the changes of its own group were.
        """
        added = self._calls.put_all(self._tables.changes, self._changes, APPEND)
        self._appended(added == len(self._changes))
        added = self._calls.put_all(self._tables.history, self._history, NO_OVERWRITE)
        self._appended(added == len(self._history))
        self._changes.clear()
        self._history.clear()
        self._put_blocks()
        for kind in RunKind:
            self._view.runs(kind).put_manifest()

    def _appended(self, done: bool) -> None:
        if not done:
            raise StorageFault("The counters are behind the index: verify it")

    def _delete(self, delete: Delete) -> None:
        self.flush()  # the history to delete may be of this very group
        stored_row = layout.pack_u64(delete.row)
        tree = self._view.tree(delete.row)
        self._calls.delete(self._tables.customers, stored_row)
        self._enter(stored_row, delete.old, NOTHING)
        self._compare_by(delete.row, b"", new=False)
        are_items_few = self._takes_items_of(tree)
        for row in tree:  # its members are deleted with it
            self._forget(row)
            if are_items_few:
                self._timeline.drop_row(row)
            else:
                self._timeline.leave_row(row)
        self._record(ChangeKind.DELETED, delete.row, delete.id, delete.actor, delete.reason, b"")

    def _takes_items_of(self, tree: Iterable[int]) -> bool:
        """Tell whether this commit has the time to drop a tree's items, and count them if so."""
        items = self._timeline.counts(tree).total()
        if items > self._items_left:
            return False
        self._items_left -= items
        return True

    def _forget(self, row: int) -> None:
        """Delete what is linked to a row, but for its items."""
        stored_row = layout.pack_u64(row)
        for mark in self._view.marks(row):
            self._distinct(DropDistinct(mark.row, mark.other))
        for table in (self._tables.merged, self._tables.restored):
            self._calls.delete(table, stored_row)
        for table in (self._tables.history, self._tables.members, self._tables.bonds):
            with self._txn.cursor(table) as cursor:
                cursor.set_range(stored_row)
                while cursor.key().startswith(stored_row):
                    cursor.delete()  # and stand on the next, or on nothing: b""

    def _reword(self, put: Reword) -> None:
        key = layout.pack_history_key(put.row, put.sequence)
        stored = self._calls.get(self._tables.history, key)
        assert stored is not None, "read before"
        entry = layout.decode_history(put.sequence, stored)
        who, why = entry.actor.encode(), put.reason.encode()
        stored = layout.encode_history(entry.kind, entry.time_us, who, why, put.diff)
        self._calls.put(self._tables.history, key, stored)

    def _absorb(self, one: Absorb) -> None:
        stored_row = layout.pack_u64(one.row)
        record = self._view.record(one.row)
        assert record is not None, "checked before"
        self._calls.delete(self._tables.customers, stored_row)
        self._enter(stored_row, one.old, NOTHING)
        self._compare_by(one.row, b"", new=False)
        merged = MergedRow(one.survivor, one.sequence, one.place, record)
        self._put_merged(one.row, merged, record)
        place = layout.pack_member_key(one.survivor, one.sequence, one.place)
        self._calls.put(self._tables.members, place, stored_row)
        self._calls.put(self._tables.redirects, one.id.encode(), one.survivor_id.encode())
        self._remember(ChangeKind.MERGED, one.row, one.sequence, one.actor, "", b"")

    def _release(self, one: Release) -> None:
        stored_row, merged = layout.pack_u64(one.row), self._merged(one.row)
        self._calls.put(self._tables.customers, stored_row, one.record)
        self._enter(stored_row, NOTHING, one.new)
        self._compare_by(one.row, one.features, new=False)
        place = layout.pack_member_key(merged.survivor, merged.sequence, merged.place)
        self._calls.delete(self._tables.members, place)
        self._calls.delete(self._tables.merged, stored_row)
        self._calls.delete(self._tables.redirects, one.id.encode())
        sequence = layout.pack_u64(self._view.next_sequence)
        self._calls.put(self._tables.restored, stored_row, sequence)
        self._record(ChangeKind.RESTORED, one.row, one.id, one.actor, one.reason, one.diff)

    def _merged(self, row: int) -> MergedRow:
        merged = self._view.merged(row)
        assert merged is not None, "checked before"
        return merged

    def _put_merged(self, row: int, merged: MergedRow, record: bytes) -> None:
        stored = layout.encode_merged(replace(merged, record=record))
        self._calls.put(self._tables.merged, layout.pack_u64(row), stored)

    def _bond(self, put: PutBond) -> None:
        key = layout.pack_bond_key(put.row, put.sequence)
        if put.state is None:
            self._calls.delete(self._tables.bonds, key)
        else:
            self._calls.put(self._tables.bonds, key, put.state)

    def _distinct(self, change: PutDistinct | DropDistinct) -> None:
        for one, other in ((change.row, change.other), (change.other, change.row)):
            key = layout.pack_row_pair(one, other)
            if isinstance(change, DropDistinct):
                self._calls.delete(self._tables.distinct, key)
                continue
            stored = layout.encode_distinct(
                self._view.now_us, change.actor.encode(), change.reason.encode()
            )
            self._calls.put(self._tables.distinct, key, stored)

    def _model(self, put: PutModel) -> None:
        version = self._view.model_version + 1
        stored = layout.encode_model(
            version, self._view.now_us, put.actor.encode(), put.text.encode()
        )
        self._calls.put(self._tables.models, layout.MODEL_KEY, stored)
        self._calls.put(self._tables.models, layout.FREQUENCIES_KEY, put.frequencies)

    def _groups(self, change: PutGroups | DropGroups) -> None:
        if isinstance(change, PutGroups):
            for rank, group in enumerate(change.groups, change.first_rank):
                key = layout.pack_group_key(change.scan, rank)
                self._calls.put(self._tables.groups, key, group)
            return
        for rank, _ in self._view.groups(change.scan, 0, change.limit):
            self._calls.delete(self._tables.groups, layout.pack_group_key(change.scan, rank))

    def _operation(self, put: PutOperation) -> None:
        if put.state is None:
            self._calls.delete(self._tables.operations, put.key.encode())
        else:
            self._calls.put(self._tables.operations, put.key.encode(), put.state)

    def _request(self, put: PutRequest) -> None:
        stored = layout.encode_request(put.kind, put.row, put.sequence, self._view.wall_us)
        self._calls.put(self._tables.requests, put.request_id.encode(), stored)
        self._requests_put += 1

    def put_counters(self) -> None:
        """Put where the next transaction, of whatever process, goes on."""
        view = self._view
        counters = layout.encode_counters(view.next_row, view.next_sequence, view.now_us)
        self._calls.put(self._tables.meta, layout.META_COUNTERS, counters)

    def purge_requests(self, start: bytes) -> bytes:
        """Forget request ids past their time or damaged; return where the next call goes on.

        Like the hand of a clock: each commit looks at as many ids as it put, and a few more, from
        where the last one stopped. So the table holds at most about twice the live ids, no commit
        stalls, and no index by time is needed. Look-ups ignore what is not yet purged.
        """
        steps = PURGE_STEPS + self._requests_put
        with self._txn.cursor(self._tables.requests) as cursor:
            cursor.set_range(start)
            while steps and cursor.key():
                steps -= 1
                if self._is_remembered(cursor.value()):
                    cursor.next()
                else:
                    cursor.delete()  # and stand on the next
            return cursor.key() or b"\0"

    def _is_remembered(self, stored: bytes) -> bool:
        try:
            return self._view.remembers(layout.decode_request(stored))
        except (FormatMismatch, StorageFault):
            return False
