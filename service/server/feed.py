"""The change feed: watching it, and its named consumers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from namesake import v1
from service.errors import InvalidArgument, ShuttingDown
from service.identity.consumers import check_kept
from service.index import Change, Index, Snapshot
from service.server import wire
from service.server.changes import encoded
from service.server.edge import Context, caller
from service.server.pace import Pace
from service.settings import Settings

STEP_EVENTS = 100  # read at once: their records and entries too
PAGE_EVENTS = 2_000  # of a message, those that are left out included

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_CHANGES = v1.WatchChangesResponse.DESCRIPTOR.fields_by_name["changes"].number
_CHANGE = v1.WatchedChange.DESCRIPTOR.fields_by_name["change"].number
_CUSTOMER = v1.WatchedChange.DESCRIPTOR.fields_by_name["customer"].number


class FeedMethods:
    """The part of CustomerService that is the feed's."""

    _settings: Settings
    _stopping: asyncio.Event

    async def WatchChanges(  # noqa: N802
        self, request: v1.WatchChangesRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """Stream every change after a sequence, and go on as changes happen."""
        index = caller().account.index
        wanted = _wanted(request, self._settings.page_limit_bytes)
        with index.snapshot() as snapshot:
            after, newest = _begin(snapshot, request), snapshot.sequence
        yield v1.WatchChangesResponse(sequence=after).SerializeToString()
        while not self._stopping.is_set():
            page = await _page(index, after, newest if request.until_now else None, wanted)
            if page.sequence > after:
                after = page.sequence
                yield page.message
            elif request.until_now:
                return
            else:
                await self._pause()
        raise ShuttingDown("the server is stopping; resume at another worker or later")

    async def _pause(self) -> None:
        # Other worker processes commit too, and tell nobody: look again after a moment.
        try:
            async with asyncio.timeout(self._settings.watch_poll_ms / 1_000):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def AcknowledgeChanges(  # noqa: N802
        self, request: v1.AcknowledgeChangesRequest, context: Context
    ) -> v1.AcknowledgeChangesResponse:
        """Store how far a consumer is."""
        _check_name(request.consumer, "consumer")
        consumers = caller().account.consumers
        await consumers.acknowledge(request.consumer, request.sequence, back=request.back)
        return v1.AcknowledgeChangesResponse()

    async def ListConsumers(  # noqa: N802
        self, request: v1.ListConsumersRequest, context: Context
    ) -> v1.ListConsumersResponse:
        """List the named consumers."""
        with caller().account.index.snapshot() as snapshot:
            first, last = snapshot.first_sequence, snapshot.sequence
            consumers = snapshot.consumers()
        answer = v1.ListConsumersResponse(first_sequence=first, last_sequence=last)
        for one in consumers:
            answer.consumers.add(
                name=one.name,
                sequence=one.sequence,
                time=wire.timestamp(one.time_us),
                behind=last - one.sequence,
                lost=one.sequence < first - 1,
            )
        return answer

    async def DeleteConsumer(  # noqa: N802
        self, request: v1.DeleteConsumerRequest, context: Context
    ) -> v1.DeleteConsumerResponse:
        """Forget a named consumer."""
        _check_name(request.name, "name")
        await caller().account.consumers.forget(request.name)
        return v1.DeleteConsumerResponse()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a watcher is sent of each event, and of which."""

    kinds: frozenset[int]  # all if empty
    with_customer: bool
    limit_bytes: int


class _Page(NamedTuple):
    """A message, and up to where it goes."""

    message: bytes
    sequence: int


def _wanted(request: v1.WatchChangesRequest, limit_bytes: int) -> _Wanted:
    for number, kind in enumerate(request.kinds):
        if kind not in v1.ChangeKind.values() or not kind:
            raise InvalidArgument("not a value of this enum", field=f"kinds[{number}]")
    return _Wanted(frozenset(request.kinds), request.include_customer, limit_bytes)


def _check_name(name: str, field: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidArgument("a consumer is named [a-z0-9][a-z0-9_.-]{0,62}", field=field)


def _begin(snapshot: Snapshot, request: v1.WatchChangesRequest) -> int:
    """Return after which sequence a stream begins, which the feed must have."""
    after, field = request.after_sequence, "after_sequence"
    if request.consumer:
        _check_name(request.consumer, "consumer")
        known = snapshot.consumer(request.consumer)
        if not after and known is not None:
            after, field = known.sequence, "consumer"
    check_kept(snapshot, after, field)
    return after


async def _page(index: Index, after: int, end: int | None, wanted: _Wanted) -> _Page:
    """Read on from a sequence, up to `end`, until a message is full or there is no more."""
    parts: list[bytes] = []
    size, start, pace = 0, after, Pace()
    with index.snapshot() as snapshot:
        check_kept(snapshot, after, "after_sequence")  # a reader may be left behind
        while size < wanted.limit_bytes and after - start < PAGE_EVENTS:
            events = snapshot.changes(after, STEP_EVENTS)
            if end is not None:
                events = [event for event in events if event.sequence <= end]
            if not events:
                break
            for sequence, change in await _watched(snapshot, events, wanted, pace):
                if size >= wanted.limit_bytes:
                    break  # the rest goes into the next message
                after = sequence
                parts.append(change)
                size += len(change)
            else:
                after = events[-1].sequence
            await pace.step()
    parts.append(v1.WatchChangesResponse(sequence=after).SerializeToString())
    return _Page(b"".join(parts), after)


async def _watched(
    snapshot: Snapshot, events: Sequence[Change], wanted: _Wanted, pace: Pace
) -> Iterator[tuple[int, bytes]]:
    """Return the sequence of each event that is wanted, and the event as a message has it."""
    if wanted.kinds:
        events = [event for event in events if int(event.kind) in wanted.kinds]
    changes = await encoded(snapshot, events, pace)
    records: Sequence[bytes | None] = [None] * len(events)
    if wanted.with_customer:
        records = snapshot.records_at([event.row for event in events])
    return (
        (event.sequence, _embedded(change, record))
        for event, change, record in zip(events, changes, records, strict=True)
    )


def _embedded(change: bytes, record: bytes | None) -> bytes:
    watched = wire.embedded(_CHANGE, change)
    if record is not None:
        watched += wire.embedded(_CUSTOMER, wire.dressed(record).SerializeToString())
    return wire.embedded(_CHANGES, watched)
