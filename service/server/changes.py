"""Events as the wire has them: encoded `Change` messages, joined with history and records.

Little is parsed: encodings of one message that follow each other merge, and so an event is its
stored difference, what the feed knows of it, and the times of the card.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import merge
from itertools import chain, groupby, takewhile
from typing import cast

from namesake import v1
from service.identity.bonds import merge_record
from service.identity.registry import etag_of
from service.index import Change, ChangeKind, HistoryEntry, Reads
from service.server import wire
from service.server.pace import Pace
from service.server.pages import POSITION_LIMIT

STEP_ENTRIES = 100  # of a history, read at once

WHOLE = frozenset({ChangeKind.CREATED, ChangeKind.RESTORED})  # kinds that have the whole card
_SEQUENCE = v1.Change.DESCRIPTOR.fields_by_name["sequence"].number
_ID = v1.Change.DESCRIPTOR.fields_by_name["customer_id"].number
_AFTER = v1.Change.DESCRIPTOR.fields_by_name["after"].number
_ETAG = v1.Customer.DESCRIPTOR.fields_by_name["etag"].number


async def encoded(reads: Reads, events: Sequence[Change], pace: Pace) -> list[bytes]:
    """Return events of the feed with what their customers' histories say.

    Of a customer that was deleted since nothing is left but the event itself.
    """
    changed = [event for event in events if event.kind not in WHOLE]
    entries = iter(reads.entries_at([(event.row, event.sequence) for event in changed]))
    cards = await _cards(reads, [event for event in events if event.kind in WHOLE], pace)
    return [
        _head(event, "") + cards.get(event.sequence, b"")
        if event.kind in WHOLE
        else _changed(reads, event, next(entries))
        for event in events
    ]


async def _cards(reads: Reads, events: Sequence[Change], pace: Pace) -> dict[int, bytes]:
    """Encode the cards of creations and returns as they were, by sequence: mostly the record."""
    cards: dict[int, bytes] = {}
    places: list[tuple[int, int]] = []
    records = reads.records_at([event.row for event in events])
    for event, record in zip(events, records, strict=True):
        if record is not None and record.endswith(_stamp(event)):
            cards[event.sequence] = _after(record)
        else:
            places.append((event.row, event.sequence))
    for (_, sequence), card in (await cards_at(reads, places, pace)).items():
        cards[sequence] = _after(card.SerializeToString())
    return cards


def _stamp(event: Change) -> bytes:
    """Return the end of the record of a customer that was not changed since its creation."""
    etag, time_us = etag_of(event.sequence), event.time_us
    return wire.stamped(b"", event.id, etag, time_us, time_us)


def _changed(reads: Reads, event: Change, entry: HistoryEntry | None) -> bytes:
    if entry is None:
        return _concerned(reads, event).SerializeToString() + _head(event, "")
    head = entry.diff + _head(event, entry.reason)
    if event.kind is ChangeKind.DELETED:
        return head
    head += _after(wire.embedded(_ETAG, etag_of(event.sequence).encode()) + _updated(event.time_us))
    return head


def _concerned(reads: Reads, event: Change) -> v1.Change:
    """Say whom a merge or unmerge concerned, of a survivor that was deleted since: ids remain."""
    ids: Iterable[str] = ()
    match event.kind:
        case ChangeKind.MERGED:
            stored = reads.merge(event.sequence)
            ids = () if stored is None else merge_record(stored).members
        case ChangeKind.UNMERGED:
            ids = _restored(reads, event.sequence)
    return v1.Change(merged_ids=ids)


def _restored(reads: Reads, sequence: int) -> Iterator[str]:
    """Yield who was given back by an unmerge: what comes right after it says it."""
    while following := reads.changes(sequence, STEP_ENTRIES):
        restored = [*takewhile(lambda one: one.kind is ChangeKind.RESTORED, following)]
        yield from (one.id for one in restored)
        if len(restored) < len(following):
            return
        sequence = following[-1].sequence


def _head(event: Change, reason: str) -> bytes:
    own = wire.numbered(_SEQUENCE, event.sequence) + wire.embedded(_ID, event.id.encode())
    return own + _shared(event.kind, event.time_us, event.actor, reason)


@lru_cache(maxsize=64)
def _shared(kind: int, time_us: int, actor: str, reason: str) -> bytes:
    """Encode what the events of one commit, of an import say, have all the same."""
    shared = v1.Change(
        time=wire.timestamp(time_us),
        actor=actor,
        kind=cast(v1.ChangeKind.ValueType, kind),
        reason=reason,
    )
    return shared.SerializeToString()


@lru_cache(maxsize=64)
def _updated(time_us: int) -> bytes:
    return v1.Customer(update_time=wire.timestamp(time_us)).SerializeToString()


def _after(card: bytes) -> bytes:
    return wire.embedded(_AFTER, card)


async def cards_at(
    reads: Reads, places: Iterable[tuple[int, int]], pace: Pace
) -> dict[tuple[int, int], v1.Customer]:
    """Return customers as they were after changes, by (row, sequence).

    Today's, with the later changes taken back: each history is read once. None that was deleted
    since. Times of findings are today's: differences do not have them.
    """
    wanted: dict[int, list[int]] = {}
    for row, sequence in places:
        wanted.setdefault(row, []).append(sequence)
    cards: dict[tuple[int, int], v1.Customer] = {}
    for row, sequences in wanted.items():
        left = sorted(sequences)
        for state in _states(reads, row):
            while left and state.sequence <= left[-1]:
                cards[row, left.pop()] = state.card()
            if not left:
                break
            await pace.step()
    return cards


@dataclass(slots=True)
class _State:
    """A card on its way back: as it was after a change, until the next step."""

    today: v1.Customer
    sequence: int
    time_us: int | None = None  # None: nothing was taken back

    def card(self) -> v1.Customer:
        """Return a copy, with the etag and time of then."""
        card = v1.Customer()
        card.CopyFrom(self.today)
        if self.time_us is not None:
            card.etag = etag_of(self.sequence)
            card.update_time.CopyFrom(wire.timestamp(self.time_us))
        return card


def _states(reads: Reads, row: int) -> Iterator[_State]:
    """Yield what a customer was after each of its changes, newest first."""
    record, merged = reads.record(row), reads.merged(row)
    if record is None:
        if merged is None:
            return
        record = merged.record
    today = v1.Customer.FromString(record)
    yield _State(today, int(today.etag, 16))
    for _, entry in _before(reads, row, POSITION_LIMIT):
        yield _State(today, entry.sequence, entry.time_us)
        wire.take_back(today, entry.diff)


async def history_page(
    reads: Reads, row: int, before_sequence: int, rows: int, limit_bytes: int, pace: Pace
) -> tuple[list[tuple[int, HistoryEntry]], bool]:
    """Return (row, entry) of a customer and of all its members, newest first; are there more?

    A merge or unmerge is in the histories of all whom it concerns: the survivor's is given.
    """
    tree = reads.tree(row)
    step = max(1, STEP_ENTRIES // len(tree))  # of most members the page has nothing
    histories: list[Iterator[tuple[int, HistoryEntry]]] = []
    for one in tree:
        history = _before(reads, one, before_sequence, step)
        if newest := next(history, None):  # read here, in steps: `merge` would read all at once
            histories.append(chain((newest,), history))
        await pace.step()
    found: list[tuple[int, HistoryEntry]] = []
    size = 0
    for one, entry in _once(reads, merge(*histories, key=_newest)):
        if len(found) == rows or size >= limit_bytes:
            return found, True
        found.append((one, entry))
        size += len(entry.diff)
        await pace.step()
    return found, False


def _newest(item: tuple[int, HistoryEntry]) -> int:
    return -item[1].sequence


def _once(
    reads: Reads, entries: Iterator[tuple[int, HistoryEntry]]
) -> Iterator[tuple[int, HistoryEntry]]:
    for _, same in groupby(entries, _newest):
        first, *more = same
        yield first if not more else _survivors(reads, [first, *more])


def _survivors(reads: Reads, same: Sequence[tuple[int, HistoryEntry]]) -> tuple[int, HistoryEntry]:
    """Return which entry of one change is the survivor's, whoever is whose member by now.

    An absorbed one's has no difference. Of an unmerge through several customers all have one, and
    the survivor is the one that was no member then.
    """
    own = [(row, entry) for row, entry in same if entry.diff]
    if len(own) > 1:
        own = [(row, entry) for row, entry in own if not _was_merged(reads, row, entry.sequence)]
    return own[0] if own else same[0]


def _was_merged(reads: Reads, row: int, sequence: int) -> bool:
    """Tell whether a customer was part of another before a change: its history says so last."""
    for _, entry in _before(reads, row, sequence):
        if entry.kind is ChangeKind.MERGED and not entry.diff:
            return True
        if entry.kind is ChangeKind.RESTORED:
            return False
    return False


def _before(
    reads: Reads, row: int, sequence: int, step: int = STEP_ENTRIES
) -> Iterator[tuple[int, HistoryEntry]]:
    """Yield entries before a sequence, newest first; reads `step` of them, then ever more."""
    while entries := reads.history(row, sequence, step):
        yield from ((row, entry) for entry in entries)
        if len(entries) < step:
            return
        sequence, step = entries[-1].sequence, min(2 * step, STEP_ENTRIES)


def member_ids(reads: Reads, rows: Iterable[int]) -> dict[int, str]:
    """Return the ids of those of some rows that are merged, by row."""
    merged = {one: reads.merged(one) for one in rows}
    return {one: wire.id_of(found.record) for one, found in merged.items() if found is not None}


def write_change(change: v1.Change, entry: HistoryEntry, id: str) -> None:
    """Write an entry of a customer's history as the wire has it."""
    change.MergeFromString(entry.diff)
    change.sequence = entry.sequence
    change.time.CopyFrom(wire.timestamp(entry.time_us))
    change.actor = entry.actor
    change.customer_id = id
    change.kind = cast(v1.ChangeKind.ValueType, entry.kind)
    change.reason = entry.reason
