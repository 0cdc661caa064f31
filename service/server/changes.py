"""Events as the wire has them: encoded `Change` messages, joined with history and records.

Little is parsed: encodings of one message that follow each other merge, and so an event is its
stored difference, what the feed knows of it, and the times of the card.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from heapq import merge
from itertools import groupby, islice, takewhile
from typing import cast

from namesake import v1
from service.identity.bonds import merge_record
from service.identity.registry import etag_of
from service.index import Change, ChangeKind, HistoryEntry, Reads
from service.server import wire
from service.server.pages import POSITION_LIMIT

STEP_ENTRIES = 100  # of a history, read at once

WHOLE = frozenset({ChangeKind.CREATED, ChangeKind.RESTORED})  # kinds that have the whole card
_SEQUENCE = v1.Change.DESCRIPTOR.fields_by_name["sequence"].number
_ID = v1.Change.DESCRIPTOR.fields_by_name["customer_id"].number
_AFTER = v1.Change.DESCRIPTOR.fields_by_name["after"].number
_ETAG = v1.Customer.DESCRIPTOR.fields_by_name["etag"].number


def encoded(reads: Reads, events: Sequence[Change]) -> list[bytes]:
    """Return events of the feed with what their customers' histories say.

    Of a customer that was deleted since nothing is left but the event itself.
    """
    created = [event for event in events if event.kind in WHOLE]
    changed = [event for event in events if event.kind not in WHOLE]
    records = iter(reads.records_at([event.row for event in created]))
    entries = iter(reads.entries_at([(event.row, event.sequence) for event in changed]))
    return [
        _whole(reads, event, next(records))
        if event.kind in WHOLE
        else _changed(reads, event, next(entries))
        for event in events
    ]


def _whole(reads: Reads, event: Change, record: bytes | None) -> bytes:
    """Encode a creation, or a return, with the card as it was; mostly that is the record."""
    head = _head(event, "")
    if record is None or not record.endswith(_stamp(event)):
        card = card_at(reads, event.row, event.sequence)
        return head if card is None else head + _after(card.SerializeToString())
    return head + _after(record)


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


def card_at(reads: Reads, row: int, sequence: int) -> v1.Customer | None:
    """Return a customer as it was after a change: today's, with the later ones taken back.

    None if it was deleted since. Times of findings are today's: differences do not have them.
    """
    record = reads.record(row)
    if record is None:
        merged = reads.merged(row)
        if merged is None:
            return None
        record = merged.record
    card = v1.Customer.FromString(record)
    if int(card.etag, 16) <= sequence:
        return card
    for _, entry in _before(reads, row, POSITION_LIMIT):
        if entry.sequence <= sequence:
            card.etag = etag_of(entry.sequence)
            card.update_time.CopyFrom(wire.timestamp(entry.time_us))
            break
        wire.take_back(card, entry.diff)
    return card


def history_of(
    reads: Reads, row: int, before_sequence: int, limit: int
) -> Iterator[tuple[int, HistoryEntry]]:
    """Yield up to `limit` (row, entry) of a customer and of all its members, newest first.

    A merge or unmerge is in the histories of all whom it concerns: the survivor's is given.
    """
    histories = (_before(reads, one, before_sequence) for one in reads.tree(row))
    yield from islice(_once(reads, merge(*histories, key=_newest)), limit)


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


def _before(reads: Reads, row: int, sequence: int) -> Iterator[tuple[int, HistoryEntry]]:
    while entries := reads.history(row, sequence, STEP_ENTRIES):
        yield from ((row, entry) for entry in entries)
        sequence = entries[-1].sequence


def member_ids(reads: Reads, row: int) -> dict[int, str]:
    """Return the ids of all members of a customer, and of theirs, by row."""
    _, *members = reads.tree(row)
    merged = {one: reads.merged(one) for one in members}
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
