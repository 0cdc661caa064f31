"""AdminService: statistics, backup and verification."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.metadata import version
from typing import TypeVar, cast

from namesake import v1
from service.errors import LimitExceeded, ReaderStalled, ShuttingDown
from service.index import Fault, Index, Progress
from service.index.layout import FORMAT_VERSION
from service.server import wire
from service.server.edge import Context, caller
from service.settings import Settings
from service.validation.validator import Validator

CHUNK_BYTES = 1 << 20
FAULTS_LIMIT = 1_000

Scan = TypeVar("Scan", "_Copy", "_Walk")


class AdminService(v1.AdminServiceServicer):
    """See admin_service.proto.

    Backups and verifications, here called scans, have threads of their own, as many as are let in:
    a copy blocks its thread for as long as its reader pleases, and a thread that others wait for
    would be gone.
    """

    def __init__(self, validator: Validator, settings: Settings, stopping: asyncio.Event) -> None:
        self._validator = validator
        self._settings = settings
        self._stopping = stopping
        self._threads = ThreadPoolExecutor(settings.concurrent_scans, "scan")
        self._scans: set[_Copy | _Walk] = set()
        self._started_us = time.time_ns() // 1_000

    async def close(self) -> None:
        """End the scans that still run, and their threads: then the index may be closed."""
        for scan in list(self._scans):
            self._end(scan)
        await asyncio.to_thread(self._threads.shutdown)

    async def GetStats(  # noqa: N802
        self, request: v1.GetStatsRequest, context: Context
    ) -> v1.GetStatsResponse:
        """Measure the account's index and this process's caches."""
        account = caller().account
        with account.index.snapshot() as snapshot:
            stats = snapshot.stats()
            answer = v1.GetStatsResponse(
                account=account.name,
                customers=snapshot.customer_count,
                sequence=snapshot.sequence,
                pending_emails=snapshot.entries("pending"),
                file_bytes=stats.file_bytes,
                map_bytes=stats.map_bytes,
                counters=self._counters(),
                start_time=wire.timestamp(self._started_us),
                version=version("namesake-crm"),
                format_version=FORMAT_VERSION,
            )
        for name, table in stats.tables.items():
            answer.tables.add(name=name, entries=table.entries, bytes=table.bytes)
        return answer

    def _counters(self) -> dict[str, int]:
        return {f"dns_{name}": int(one) for name, one in asdict(self._validator.stats()).items()}

    async def BackUp(  # noqa: N802
        self, request: v1.BackUpRequest, context: Context
    ) -> AsyncIterator[v1.BackUpResponse]:
        """Stream a copy of the index file."""
        index = caller().account.index
        with self._let_in(lambda: _Copy(index, self._threads, self._stopping)) as copy:
            with index.snapshot() as snapshot:
                total = snapshot.stats().file_bytes
            yield v1.BackUpResponse(total_bytes=total)
            while chunk := await copy.read():
                with self._until_taken(copy):
                    yield v1.BackUpResponse(chunk=chunk)
            await copy.finish()

    async def Verify(  # noqa: N802
        self, request: v1.VerifyRequest, context: Context
    ) -> AsyncIterator[v1.VerifyResponse]:
        """Compare the index with the records."""
        index, codec = caller().account.index, wire.Records(self._settings)
        with self._let_in(lambda: _Walk(index.verify(codec), self._threads)) as walk:
            answer = v1.VerifyResponse()
            faults = 0
            while (step := await walk.step()) is not None:
                if isinstance(step, Progress):
                    answer.table, answer.checked, answer.total = step.table, step.done, step.total
                    answer.fault_count = faults
                    with self._until_taken(walk):
                        yield answer
                    answer = v1.VerifyResponse()
                    continue
                faults += 1
                if faults <= FAULTS_LIMIT:
                    answer.faults.append(_fault(step))
        answer.fault_count = faults
        answer.done = True
        yield answer

    @contextmanager
    def _let_in(self, begin: Callable[[], Scan]) -> Iterator[Scan]:
        """Begin a scan, or refuse it where enough are under way."""
        limit = self._settings.concurrent_scans
        if len(self._scans) >= limit:
            raise LimitExceeded(f"{limit} backups and verifications are under way; try again later")
        scan = begin()
        self._scans.add(scan)
        try:
            yield scan
        finally:
            self._end(scan)

    def _end(self, scan: _Copy | _Walk) -> None:
        scan.close()
        self._scans.discard(scan)

    @contextmanager
    def _until_taken(self, scan: _Copy | _Walk) -> Iterator[None]:
        """Give the reader only so long to take what stands inside, then say whether to go on.

        LMDB reuses no page that a scan may still see: a reader that stays away ends its own.
        """
        limit_s = self._settings.stream_stall_s
        timer = asyncio.get_running_loop().call_later(limit_s, self._end, scan)
        try:
            yield
        finally:
            timer.cancel()
        if scan not in self._scans:
            raise ReaderStalled(f"nothing was taken for {limit_s} s; begin again")
        if self._stopping.is_set():
            raise _stopped()


def _stopped() -> ShuttingDown:
    return ShuttingDown("the server is stopping; begin again later or at another worker")


def _fault(fault: Fault) -> v1.VerifyFault:
    return v1.VerifyFault(
        table=fault.table, row=fault.row, sequence=fault.sequence, message=fault.what
    )


class _Copy:
    """A copy of the index that a thread writes into a pipe and the event loop reads."""

    def __init__(self, index: Index, threads: Executor, stopping: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = stopping
        self._source, sink = os.pipe()
        os.set_blocking(self._source, False)
        self._written = self._loop.run_in_executor(threads, _copy_into, index, sink)

    async def read(self) -> bytes:
        """Return the next bytes, b"" at the end."""
        while True:
            try:
                return os.read(self._source, CHUNK_BYTES)
            except BlockingIOError:
                await self._readable()

    async def _readable(self) -> None:
        """Wait until there is something, which a large copy that is being made takes a while."""
        readable = asyncio.Event()
        self._loop.add_reader(self._source, readable.set)
        ends = [asyncio.ensure_future(one.wait()) for one in (readable, self._stopping)]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._loop.remove_reader(self._source)
            for end in ends:
                end.cancel()
        if not readable.is_set():
            raise _stopped()

    async def finish(self) -> None:
        """Wait for the copy's end; raise what it raised."""
        await self._written

    def close(self) -> None:
        """Close our end, which ends a copy that is still being written; twice does no harm."""
        if self._source >= 0:
            self._loop.remove_reader(self._source)
            os.close(self._source)
            self._source = -1
            # That a copy failed which was cut off is no news: nobody need be told.
            self._written.add_done_callback(lambda copy: copy.cancelled() or copy.exception())


def _copy_into(index: Index, sink: int) -> None:
    try:
        index.hot_copy(sink)
    finally:
        os.close(sink)


class _Walk:
    """A verification whose steps run in threads: each is some milliseconds of pure Python."""

    def __init__(self, steps: Iterator[Progress | Fault], threads: Executor) -> None:
        self._steps = cast("Generator[Progress | Fault, None, None]", steps)
        self._threads = threads

    async def step(self) -> Progress | Fault | None:
        """Return what comes next, None at the end."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, next, self._steps, None)

    def close(self) -> None:
        """Let go of the snapshot; twice does no harm."""
        # A step that is still running in its thread lets go of it at its own end.
        with suppress(ValueError):
            self._steps.close()
