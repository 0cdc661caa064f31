"""AdminService: statistics, backup and verification."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version

from namesake import v1
from service.errors import ReaderStalled
from service.index import Fault, Index, Progress
from service.index.layout import FORMAT_VERSION
from service.server import wire
from service.server.edge import Context, caller
from service.settings import Settings
from service.validation.validator import Validator

CHUNK_BYTES = 1 << 20
FAULTS_LIMIT = 1_000


class AdminService(v1.AdminServiceServicer):
    """See admin_service.proto."""

    def __init__(self, validator: Validator, settings: Settings) -> None:
        self._validator = validator
        self._settings = settings
        self._started_us = time.time_ns() // 1_000

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
        with index.snapshot() as snapshot:
            total = snapshot.stats().file_bytes
        yield v1.BackUpResponse(total_bytes=total)
        copy = _Copy(index, self._settings.stream_stall_s)
        try:
            while chunk := await copy.read():
                # LMDB copies from a snapshot; a reader that stays away must not hold it for ever.
                with copy.stall_limit():
                    yield v1.BackUpResponse(chunk=chunk)
        finally:
            copy.close_source()
        await copy.finish()

    async def Verify(  # noqa: N802
        self, request: v1.VerifyRequest, context: Context
    ) -> AsyncIterator[v1.VerifyResponse]:
        """Compare the index with the records."""
        steps = caller().account.index.verify(wire.Records(self._settings))
        answer = v1.VerifyResponse()
        faults = 0
        # Steps take milliseconds of pure Python each: off the loop, so that saves go on between.
        while (step := await asyncio.to_thread(next, steps, None)) is not None:
            if isinstance(step, Progress):
                answer.table, answer.checked, answer.total = step.table, step.done, step.total
                answer.fault_count = faults
                yield answer
                answer = v1.VerifyResponse()
                continue
            faults += 1
            if faults <= FAULTS_LIMIT:
                answer.faults.append(_fault(step))
        answer.fault_count = faults
        answer.done = True
        yield answer


def _fault(fault: Fault) -> v1.VerifyFault:
    return v1.VerifyFault(
        table=fault.table, row=fault.row, sequence=fault.sequence, message=fault.what
    )


class _Copy:
    """A copy of the index that runs in a thread and is read through a pipe."""

    def __init__(self, index: Index, stall_s: float) -> None:
        self._source, sink = os.pipe()
        self._stall_s = stall_s
        self._stalled = False
        self._task = asyncio.create_task(asyncio.to_thread(_copy_into, index, sink))

    async def read(self) -> bytes:
        """Return the next bytes, b"" at the end."""
        if self._stalled:
            raise ReaderStalled(f"nothing was taken for {self._stall_s} s; begin again")
        return await asyncio.to_thread(os.read, self._source, CHUNK_BYTES)

    @contextmanager
    def stall_limit(self) -> Iterator[None]:
        """Give the reader only so long for what stands inside."""
        timer = asyncio.get_running_loop().call_later(self._stall_s, self._stall)
        try:
            yield
        finally:
            timer.cancel()

    def _stall(self) -> None:
        self._stalled = True
        self.close_source()

    def close_source(self) -> None:
        """Close our end, which ends a copy that is still being written; twice does no harm."""
        if self._source >= 0:
            os.close(self._source)
            self._source = -1

    async def finish(self) -> None:
        """Wait for the copy's end; raise what it raised."""
        await self._task


def _copy_into(index: Index, sink: int) -> None:
    try:
        index.hot_copy(sink)
    finally:
        os.close(sink)
