"""TransferService: customers in bulk, in and out."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from namesake import v1
from service.core.model import Channel, Checked, Lookup
from service.errors import InvalidArgument, NamesakeError, ReaderStalled, ShuttingDown
from service.identity.registry import Batch, Job, MatchBy, Registry, Saved, Terms
from service.index import Snapshot
from service.server import wire
from service.server.bulk import BulkMethods
from service.server.edge import Context, caller, decode_with
from service.server.pace import Pace
from service.server.pages import decode_token, encode_token
from service.server.rules import check_once, check_region
from service.settings import Settings

BATCHES_UNDER_WAY = 2  # one being checked while the one before is committed

_EXPORT_TOKEN = 3
_JOB_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MATCH_ORDER = (
    MatchBy.CUSTOMER_ID,
    MatchBy.IDENTITY,
    MatchBy.MOBILE,
    MatchBy.PHONE,
    MatchBy.EMAIL,
)


@dataclass(frozen=True, slots=True)
class _Import:
    """One import stream: its settings and whom it writes to."""

    registry: Registry
    job_id: str
    rows: wire.Rows
    terms: Terms


class TransferService(BulkMethods, v1.TransferServiceServicer):
    """See transfer_service.proto."""

    def __init__(self, settings: Settings, stopping: asyncio.Event) -> None:
        self._settings = settings
        self._stopping = stopping

    async def ImportCustomers(  # type: ignore[override]  # noqa: N802
        self, request_iterator: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[v1.ImportCustomersResponse]:
        """Save batch after batch, from encoded requests; acknowledge each when it is durable."""
        run = await self._begin(request_iterator)
        job = Job() if run.terms.dry_run else run.registry.job(run.job_id)
        index = caller().account.index
        yield v1.ImportCustomersResponse(durable_batch=job.batch, counts=_counts(job))
        under_way: asyncio.Queue[asyncio.Task[Batch] | None] = asyncio.Queue(BATCHES_UNDER_WAY)
        started: set[asyncio.Task[Batch]] = set()
        reader = asyncio.create_task(self._read(run, request_iterator, under_way, started))
        try:
            while (task := await under_way.get()) is not None:
                batch = await task
                job = _added(job, batch.job) if run.terms.dry_run else batch.job
                with index.snapshot() as snapshot:
                    sequence = snapshot.sequence
                yield _progress(job, batch, sequence)  # a client may be long in taking it
            await reader
        finally:
            reader.cancel()
            while not under_way.empty():  # or it would wait to say that nothing more comes
                under_way.get_nowait()
            await asyncio.gather(reader, *started, return_exceptions=True)

    async def _begin(self, requests: AsyncIterator[bytes]) -> _Import:
        first = decode_with(v1.ImportCustomersRequest.FromString, await anext(aiter(requests), b""))
        if first.WhichOneof("message") != "settings":
            raise InvalidArgument("the first message has the settings", field="settings")
        settings = first.settings
        if not _JOB_ID.fullmatch(settings.job_id):
            raise InvalidArgument("required: 1 to 64 of [A-Za-z0-9_.-]", field="settings.job_id")
        check_region(settings.default_region, "settings.default_region")
        who = caller()
        terms = Terms(
            actor=who.actor,
            region=settings.default_region or who.account.default_region,
            lookup=Lookup.DEFER,
            match_order=_match_order(settings),
            dry_run=settings.dry_run,
        )
        rows = wire.Rows(settings, self._settings)
        return _Import(who.account.registry, settings.job_id, rows, terms)

    async def _read(
        self,
        run: _Import,
        requests: AsyncIterator[bytes],
        under_way: asyncio.Queue[asyncio.Task[Batch] | None],
        started: set[asyncio.Task[Batch]],
    ) -> None:
        """Check batches as they arrive and queue their commits; None ends the queue."""
        try:
            async for request in requests:
                task = await self._start_batch(run, request)
                started.add(task)
                task.add_done_callback(started.discard)
                await under_way.put(task)
        finally:
            await under_way.put(None)

    async def _start_batch(self, run: _Import, request: bytes) -> asyncio.Task[Batch]:
        number, cards = run.rows.read(request)
        if not number:
            raise InvalidArgument("batches are numbered from 1", field="batch.number")
        return await run.registry.import_batch(run.job_id, number, cards, run.terms)

    async def ExportCustomers(  # type: ignore[override]  # noqa: N802
        self, request: v1.ExportCustomersRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """Stream all customers of one snapshot, as the encoded response messages."""
        if request.HasField("fields"):
            wire.check_fields(request.fields.paths, "fields")
        after_row, _ = decode_token(request.after, _EXPORT_TOKEN, "after")
        with caller().account.index.snapshot() as snapshot:
            sequence, total = snapshot.sequence, snapshot.customer_count
            pace = Pace()
            for row, batch in self._batches(snapshot, after_row, request):
                await pace.step()
                token = encode_token(_EXPORT_TOKEN, row)
                # A reader that does not come back for more must not hold the snapshot for ever.
                stall = _Stall(snapshot, self._settings.stream_stall_s)
                yield wire.export_message(batch, token, sequence, total)
                if stall.is_over():
                    raise ReaderStalled(
                        f"nothing was taken for {self._settings.stream_stall_s} s; "
                        "go on with the resume token",
                        resume_token=token,
                    )
                if self._stopping.is_set():
                    raise ShuttingDown("the server is stopping; go on with the resume token")

    def _batches(
        self, snapshot: Snapshot, after_row: int, request: v1.ExportCustomersRequest
    ) -> Iterator[tuple[int, list[bytes]]]:
        """Yield (last row, encoded customers), bounded in rows looked at and bytes.

        Yields one at least; one of rows that are all left out is empty.
        """
        chosen = list(request.fields.paths)
        batch: list[bytes] = []
        size = looked_at = 0
        row = after_row
        for row, record in snapshot.customers(after_row):
            looked_at += 1
            shown = wire.exported(record, chosen, active_only=request.active_only)
            if shown is not None:
                batch.append(shown)
                size += len(shown)
            if (
                looked_at == self._settings.export_batch_rows
                or size >= self._settings.page_limit_bytes
            ):
                yield row, batch
                batch, size, looked_at = [], 0, 0
        if batch or row == after_row:
            yield row, batch


class _Stall:
    """Closes a snapshot if nobody says in time that the reader came back."""

    def __init__(self, snapshot: Snapshot, limit_s: float) -> None:
        self._snapshot = snapshot
        self._timer = asyncio.get_running_loop().call_later(limit_s, self._close)
        self._closed = False

    def _close(self) -> None:
        self._closed = True
        self._snapshot.close()

    def is_over(self) -> bool:
        """Stop the clock; tell whether it ran out."""
        self._timer.cancel()
        return self._closed


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


def _counts(job: Job) -> v1.ImportCounts:
    return v1.ImportCounts(
        rows=job.rows,
        created=job.created,
        updated=job.updated,
        unchanged=job.unchanged,
        failed=job.failed,
    )


def _added(one: Job, other: Job) -> Job:
    # A dry run stores no progress, so each of its batches counts itself alone.
    return Job(
        batch=other.batch,
        rows=one.rows + other.rows,
        created=one.created + other.created,
        updated=one.updated + other.updated,
        unchanged=one.unchanged + other.unchanged,
        failed=one.failed + other.failed,
    )


def _progress(job: Job, batch: Batch, sequence: int) -> v1.ImportCustomersResponse:
    first_row = job.rows - len(batch.results) + 1
    return v1.ImportCustomersResponse(
        durable_batch=job.batch,
        sequence=sequence,
        counts=_counts(job),
        failures=[
            _failure(first_row + index, result)
            for index, result in enumerate(batch.results)
            if not isinstance(result, Saved)
        ],
        findings=_findings(batch.checked),
    )


def _failure(row: int, error: object) -> v1.RowFailure:
    if isinstance(error, NamesakeError):
        return v1.RowFailure(row=row, field=error.field, reason=error.reason, message=error.message)
    return v1.RowFailure(row=row, reason=NamesakeError.reason, message="an unexpected fault")


def _findings(checked: Sequence[Checked]) -> list[v1.FindingCount]:
    tally = Counter((one.channel, one.finding.verdict, one.finding.reason) for one in checked)
    channels = {Channel.EMAIL: v1.CHANNEL_EMAIL, Channel.PHONE: v1.CHANNEL_CALL}
    return [
        v1.FindingCount(
            channel=channels[channel],
            verdict=cast(v1.Verdict.ValueType, verdict),
            reason=cast(v1.Reason.ValueType, reason),
            count=count,
        )
        for (channel, verdict, reason), count in sorted(tally.items())
    ]
