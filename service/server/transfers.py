"""TransferService: customers in bulk, in and out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import TypeVar, cast

from namesake import v1
from service.core.model import Channel, Lookup
from service.errors import InvalidArgument
from service.identity.batches import Batch, Found
from service.identity.jobs import Job, Stream
from service.identity.registry import (
    MatchBy,
    OnConflict,
    OnMatch,
    Registry,
    Terms,
)
from service.server import wire
from service.server.bulk import BulkMethods
from service.server.edge import Context, caller, decode_with
from service.server.exports import ExportMethods
from service.server.jobs import (
    ImportJobs,
    check_title,
    counts,
    difference,
    encoded,
    failure_message,
)
from service.server.rules import check_once, check_region
from service.settings import Settings

BATCHES_UNDER_WAY = 5  # some are committed together while the next ones are checked

_JOB_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MATCH_ORDER = (
    MatchBy.CUSTOMER_ID,
    MatchBy.IDENTITY,
    MatchBy.MOBILE,
    MatchBy.PHONE,
    MatchBy.EMAIL,
)

Choice = TypeVar("Choice", bound=IntEnum)


@dataclass(frozen=True, slots=True)
class _Import:
    """One import stream: its settings and whom it writes to. A trial has no job to stream to."""

    registry: Registry
    job_id: str
    rows: wire.Rows
    terms: Terms
    stream: Stream | None


class TransferService(  # type: ignore[misc]  # exports yield bytes
    ImportJobs, ExportMethods, BulkMethods, v1.TransferServiceServicer
):
    """See transfer_service.proto."""

    def __init__(self, settings: Settings, stopping: asyncio.Event) -> None:
        super().__init__(settings)
        self._stopping = stopping

    async def ImportCustomers(  # type: ignore[override]  # noqa: N802
        self, request_iterator: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[v1.ImportCustomersResponse]:
        """Save batch after batch, from encoded requests; acknowledge each when it is durable."""
        run = await self._begin(request_iterator)
        try:
            async with aclosing(self._import(run, request_iterator)) as answers:
                async for answer in answers:
                    yield answer
        finally:
            if run.stream is not None:
                run.stream.close()

    async def _import(
        self, run: _Import, requests: AsyncIterator[bytes]
    ) -> AsyncGenerator[v1.ImportCustomersResponse, None]:
        job = Job(run.job_id) if run.stream is None else run.stream.job
        index = caller().account.index
        yield v1.ImportCustomersResponse(durable_batch=job.batch, counts=counts(job))
        under_way: asyncio.Queue[asyncio.Task[Batch] | None] = asyncio.Queue(BATCHES_UNDER_WAY)
        started: set[asyncio.Task[Batch]] = set()
        reader = asyncio.create_task(self._read(run, requests, under_way, started))
        watch = _watch(run.stream, reader)
        try:
            while (task := await under_way.get()) is not None:
                batch = await task
                job = _added(job, batch.job) if run.terms.dry_run else batch.job
                with index.snapshot() as snapshot:
                    sequence = snapshot.sequence
                yield _progress(job, batch, sequence)  # a client may be long in taking it
            if watch.done():
                await watch
            if await reader and run.stream is not None:
                await run.stream.end()
        finally:
            watch.cancel()
            reader.cancel()
            while not under_way.empty():  # or it would wait to say that nothing more comes
                under_way.get_nowait()
            await asyncio.gather(watch, reader, *started, return_exceptions=True)

    async def _begin(self, requests: AsyncIterator[bytes]) -> _Import:
        first = decode_with(v1.ImportCustomersRequest.FromString, await anext(aiter(requests), b""))
        if first.WhichOneof("message") != "settings":
            raise InvalidArgument("the first message has the settings", field="settings")
        settings = first.settings
        if not _JOB_ID.fullmatch(settings.job_id):
            raise InvalidArgument("required: 1 to 64 of [A-Za-z0-9_.-]", field="settings.job_id")
        check_region(settings.default_region, "settings.default_region")
        check_title(settings.title)
        who = caller()
        terms = Terms(
            actor=who.actor,
            region=settings.default_region or who.account.default_region,
            lookup=Lookup.DEFER,
            match_order=_match_order(settings),
            on_match=_choice(OnMatch, settings.on_match, "on_match"),
            on_conflict=_choice(OnConflict, settings.on_conflict, "on_conflict"),
            dry_run=settings.dry_run,
        )
        rows = wire.Rows(settings, self._settings)
        stored = encoded(settings, self._settings.customer_limit)
        stream = None
        if not settings.dry_run:
            differs = partial(difference, settings)
            stream = await who.account.imports.open(settings.job_id, stored, who.actor, differs)
        return _Import(who.account.registry, settings.job_id, rows, terms, stream)

    async def _read(
        self,
        run: _Import,
        requests: AsyncIterator[bytes],
        under_way: asyncio.Queue[asyncio.Task[Batch] | None],
        started: set[asyncio.Task[Batch]],
    ) -> bool:
        """Check batches as they arrive and queue their commits; None ends the queue.

        Returns whether the caller said that this was all.
        """
        try:
            async for request in requests:
                if wire.is_end(request):
                    return True
                task = await self._start_batch(run, request)
                started.add(task)
                task.add_done_callback(started.discard)
                await under_way.put(task)
            return False
        finally:
            await under_way.put(None)

    async def _start_batch(self, run: _Import, request: bytes) -> asyncio.Task[Batch]:
        incoming = await asyncio.to_thread(run.rows.read, request)
        if not incoming.number:
            raise InvalidArgument("batches are numbered from 1", field="batch.number")
        stream = 0 if run.stream is None else run.stream.number
        return await run.registry.import_batch(run.job_id, incoming, run.terms, stream)


def _match_order(settings: v1.ImportSettings) -> tuple[MatchBy, ...]:
    if settings.create_all:
        if settings.match_order:
            raise InvalidArgument(
                "nothing is matched with create_all", field="settings.match_order"
            )
        return (MatchBy.CUSTOMER_ID,)
    check_once(settings.match_order, "settings.match_order")
    order: Iterable[int] = settings.match_order or _MATCH_ORDER
    try:
        return tuple(MatchBy(by) for by in order)
    except ValueError as error:
        raise InvalidArgument("not a way to match", field="settings.match_order") from error


def _choice(kind: type[Choice], given: int, name: str) -> Choice:
    """Return a choice of the settings; the first is the default."""
    try:
        return kind(given or 1)
    except ValueError as error:
        raise InvalidArgument("not one of its values", field=f"settings.{name}") from error


def _watch(stream: Stream | None, reader: asyncio.Task[bool]) -> asyncio.Task[None]:
    """Read no more requests from where the stream may not add batches any more."""

    async def watch() -> None:
        if stream is not None:
            await stream.watch()

    watching = asyncio.create_task(watch())
    if stream is not None:
        watching.add_done_callback(lambda _: reader.cancel())
    return watching


def _added(one: Job, other: Job) -> Job:
    # A dry run stores no progress, so each of its batches counts itself alone.
    return Job(
        one.id,
        batch=other.batch,
        rows=one.rows + other.rows,
        created=one.created + other.created,
        updated=one.updated + other.updated,
        unchanged=one.unchanged + other.unchanged,
        failed=one.failed + other.failed,
        skipped=one.skipped + other.skipped,
    )


def _progress(job: Job, batch: Batch, sequence: int) -> v1.ImportCustomersResponse:
    # Of a trial the job counts one batch alone, its rows are numbered through.
    before = job.rows - batch.job.rows
    return v1.ImportCustomersResponse(
        durable_batch=job.batch,
        sequence=sequence,
        counts=counts(job),
        failures=[failure_message(one._replace(row=before + one.row)) for one in batch.failures],
        findings=_findings(batch.findings),
    )


def _findings(found: Found) -> list[v1.FindingCount]:
    channels = {Channel.EMAIL: v1.CHANNEL_EMAIL, Channel.PHONE: v1.CHANNEL_CALL}
    return [
        v1.FindingCount(
            channel=channels[channel],
            verdict=cast(v1.Verdict.ValueType, verdict),
            reason=cast(v1.Reason.ValueType, reason),
            count=count,
        )
        for (channel, verdict, reason), count in sorted(found.items())
    ]
