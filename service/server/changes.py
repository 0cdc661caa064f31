"""Events as the wire has them: encoded `Change` messages, joined with history and records.

Little is parsed: encodings of one message that follow each other merge, and so an event is its
stored difference, what the feed knows of it, and the times of the card.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import cast

from namesake import v1
from service.identity.registry import etag_of
from service.index import Change, ChangeKind, HistoryEntry, Reads
from service.server import wire

STEP_ENTRIES = 100  # of a history, read at once

_SEQUENCE = v1.Change.DESCRIPTOR.fields_by_name["sequence"].number
_ID = v1.Change.DESCRIPTOR.fields_by_name["customer_id"].number
_AFTER = v1.Change.DESCRIPTOR.fields_by_name["after"].number
_ETAG = v1.Customer.DESCRIPTOR.fields_by_name["etag"].number


def encoded(reads: Reads, events: Sequence[Change]) -> list[bytes]:
    """Return events of the feed with what their customers' histories say.

    Of a customer that was deleted since nothing is left but the event itself.
    """
    created = [event for event in events if event.kind is ChangeKind.CREATED]
    changed = [event for event in events if event.kind is not ChangeKind.CREATED]
    records = iter(reads.records_at([event.row for event in created]))
    entries = iter(reads.entries_at([(event.row, event.sequence) for event in changed]))
    return [
        _created(reads, event, next(records))
        if event.kind is ChangeKind.CREATED
        else _changed(reads, event, next(entries))
        for event in events
    ]


def _created(reads: Reads, event: Change, record: bytes | None) -> bytes:
    """Encode a creation with the card as it was; mostly that is the record as it is."""
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
        return _head(event, "")
    head = entry.diff + _head(event, entry.reason)
    if event.kind is ChangeKind.DELETED:
        return head
    head += _after(wire.embedded(_ETAG, etag_of(event.sequence).encode()) + _updated(event.time_us))
    if event.kind is ChangeKind.UNMERGED:
        head += _restored(reads, event.sequence, entry.diff)
    return head


def _restored(reads: Reads, sequence: int, diff: bytes) -> bytes:
    """Encode the cards that an unmerge gave back, as they were then."""
    rows = map(reads.row_of, v1.Change.FromString(diff).merged_ids)
    cards = [None if row is None else card_at(reads, row, sequence) for row in rows]
    return v1.Change(restored=[card or v1.Customer() for card in cards]).SerializeToString()


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
        return None
    card = v1.Customer.FromString(record)
    if int(card.etag, 16) <= sequence:
        return card
    for entry in _newest_first(reads, row):
        if entry.sequence <= sequence:
            card.etag = etag_of(entry.sequence)
            card.update_time.CopyFrom(wire.timestamp(entry.time_us))
            break
        wire.take_back(card, entry.diff)
    return card


def _newest_first(reads: Reads, row: int) -> Iterator[HistoryEntry]:
    entries = reads.history(row, limit=STEP_ENTRIES)
    while entries:
        yield from entries
        entries = reads.history(row, entries[-1].sequence, STEP_ENTRIES)


def write_change(change: v1.Change, entry: HistoryEntry, id: str) -> None:
    """Write an entry of a customer's history as the wire has it."""
    change.MergeFromString(entry.diff)
    change.sequence = entry.sequence
    change.time.CopyFrom(wire.timestamp(entry.time_us))
    change.actor = entry.actor
    change.customer_id = id
    change.kind = cast(v1.ChangeKind.ValueType, entry.kind)
    change.reason = entry.reason
