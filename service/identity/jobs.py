"""Import jobs of an account: begun, resumed, ended, remembered.

A job is a row of the index, written in the transaction of each of its batches: how far it is, and
what became of its rows. Those that failed are kept beside it, so that a client which lost an
answer still learns of them.

Whoever opens a stream writes the stream's number into the job, and a batch of any other stream is
refused: a client that comes back after a broken connection takes over from its own half-dead
stream, in whichever worker, and no row is applied by two. That a stream is alive shows by a lock
on a file of its number, which the system lets go of when the process ends, however it ends: a job
whose stream nobody holds is PAUSED.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import partial
from typing import NamedTuple, NoReturn, TypeVar

import structlog

from service.core.model import Outcome
from service.errors import (
    FormatMismatch,
    ImportCancelled,
    ImportDone,
    ImportTakenOver,
    IndexBusy,
    InvalidArgument,
    LimitExceeded,
    NamesakeError,
    NotFound,
    StorageFault,
)
from service.identity import due
from service.identity.operations import Lock
from service.index import Decision, Index, Mutation, PutOperation, Reads, View
from service.settings import Settings

log = structlog.get_logger("namesake")

ID_LIMIT_CHARS = 64
WATCH_S = 1.0  # between two looks of a stream whether its job is still its own
DROP_STEP_BATCHES = 20  # whose failures are dropped in one commit: each may have some thousand
READ_STEP_BATCHES = 8  # whose failures are read at once

_JOBS = "import/"
_FAILURES = "import-failures/"
_LOCKS = "imports"  # the folder of the locks, in the account's

T = TypeVar("T")


class State(IntEnum):
    """Where a job stands. RUNNING is never stored: it shows by the stream's lock."""

    RUNNING = 1
    PAUSED = 2
    DONE = 3
    CANCELLED = 4


class RowFailure(NamedTuple):
    """Why a row was not stored; `customers` are ids, where the error names some."""

    row: int
    field: str
    reason: str
    message: str
    customers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """An import and how far it got. Times are microseconds since the epoch, 0 if not known.

    `settings` are opaque; jobs of older releases have none. Reasons are those of `service.errors`,
    so their number is bounded.
    """

    id: str
    state: State = State.PAUSED
    batch: int = 0
    part: int = 0  # rows of the next batch that are durable already
    rows: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    skipped: int = 0
    failures_kept: int = 0
    stream: int = 0  # that may add batches; 0: any
    begin_us: int = 0
    change_us: int = 0
    actor: str = ""
    settings: bytes = b""
    reasons: Mapping[str, int] = field(default_factory=dict)

    def check_stream(self, stream: int) -> None:
        """Raise what ends a stream that may not add batches any more."""
        if self.state is State.CANCELLED:
            raise ImportCancelled("the import was cancelled")
        if self.state is State.PAUSED and self.stream != stream:
            raise ImportTakenOver("a newer stream of this import goes on with it")

    def awaits(self, number: int, stream: int) -> bool:
        """Tell whether a stream's batch is to be applied; False if it is durable already.

        Raises what ends the stream.
        """
        self.check_stream(stream)
        if number <= self.batch:
            return False
        if self.state is State.DONE:
            raise ImportDone("the import is done; another one needs another job_id")
        if number > self.batch + 1:
            raise InvalidArgument(
                f"batch {self.batch + 1} is next, not {number}", field="batch.number"
            )
        return True

    def with_part(
        self, tally: Counter[Outcome], failures: Sequence[RowFailure], end: int, now_us: int
    ) -> Job:
        """Return the job after some rows of its next batch, up to the place `end`; 0: all."""
        failed = len(failures)
        reasons = Counter(self.reasons)
        reasons.update(failure.reason for failure in failures)
        return replace(
            self,
            batch=self.batch + (end == 0),
            part=end,
            rows=self.rows + tally.total() + failed,
            created=self.created + tally[Outcome.CREATED],
            updated=self.updated + tally[Outcome.UPDATED],
            unchanged=self.unchanged + tally[Outcome.UNCHANGED],
            skipped=self.skipped + tally[Outcome.SKIPPED],
            failed=self.failed + failed,
            reasons=reasons,
            change_us=now_us,
        )


class Stream:
    """One stream of a job: it alone may add batches, until a newer one takes over."""

    def __init__(self, jobs: Jobs, job: Job, number: int, lock: Lock) -> None:
        self.job = job  # as it was when the stream was opened
        self.number = number
        self._jobs = jobs
        self._lock = lock

    async def watch(self) -> NoReturn:
        """Wait until the stream may not add batches any more; raise why."""
        while True:
            await asyncio.sleep(WATCH_S)
            with suppress(IndexBusy, LimitExceeded):  # its batches are checked in any case
                self._jobs.get(self.job.id).check_stream(self.number)

    async def end(self) -> None:
        """Note that every row was sent: the job is DONE."""
        await self._jobs.end(self.job.id, self.number)

    def close(self) -> None:
        """Let go of the job."""
        self._lock.release()


class Jobs:
    """The import jobs of one account. Several processes may have them for the same folder."""

    def __init__(self, index: Index, settings: Settings) -> None:
        self._index = index
        self._locks = index.folder / _LOCKS
        self._kept = settings.imports_kept
        self._paused_us = settings.import_paused_s * 1_000_000
        self._tidying: asyncio.Task[None] | None = None
        self._untidy = False  # a job began since the last look for old ones

    async def open(
        self, job_id: str, settings: bytes, actor: str, differs: Callable[[bytes], str]
    ) -> Stream:
        """Begin a job or go on with it: from now on this stream alone adds batches.

        `differs` names the setting that makes other rows of the file than the job's own settings
        did, "" if there is none; that is refused once a batch is durable. Raises ImportCancelled
        or InvalidArgument. A job that is DONE is opened as it is, and takes no more batches.
        """
        number = int.from_bytes(os.urandom(8)) | 1  # 0 is nobody's
        lock = Lock(self._locks, _lock_name(number))
        try:
            now = Job(job_id, stream=number, actor=actor, settings=settings)
            job, is_new = await self._submit(partial(_decide_open, now, differs))
        except BaseException:
            lock.release()
            raise
        if is_new:
            self._begin_to_tidy()
        return Stream(self, job, number, lock)

    async def end(self, job_id: str, stream: int) -> None:
        """Let a job be DONE; raise what ends a stream that may not say so."""
        await self._submit(partial(_decide_end, job_id, stream))

    async def cancel(self, job_id: str) -> Job:
        """Let a job be CANCELLED, unless it is done; return it. Raises NotFound."""
        return await self._submit(partial(_decide_cancel, job_id))

    def get(self, job_id: str) -> Job:
        """Return a job as it is stored; raise NotFound."""
        with self._index.snapshot() as snapshot:
            return _existing(snapshot, job_id)

    def page(self, after: str, limit: int) -> list[Job]:
        """Return up to `limit` jobs by id, those above `after`."""
        if len(after) > ID_LIMIT_CHARS:
            raise InvalidArgument("not a token of this listing", field="page_token")
        with self._index.snapshot() as snapshot:
            return _every(snapshot, after, limit)

    def failures(self, job_id: str, after_row: int, limit: int) -> list[RowFailure]:
        """Return up to `limit` of a job's failures that are kept, by row, those above `after_row`.

        Raises NotFound.
        """
        with self._index.snapshot() as snapshot:
            _existing(snapshot, job_id)
            return kept_failures(snapshot, job_id, after_row, limit)

    def state_of(self, job: Job) -> State:
        """Tell where a job stands; RUNNING while a stream is under way in whichever worker."""
        if job.state is State.PAUSED and Lock.is_held(self._locks, _lock_name(job.stream)):
            return State.RUNNING
        return job.state

    def recover(self) -> None:
        """Remove the locks of streams whose process died."""
        Lock.sweep(self._locks)

    async def close(self) -> None:
        """Stop forgetting old jobs; the next one that begins goes on with it."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.wait({self._tidying})

    def _begin_to_tidy(self) -> None:
        self._untidy = True
        if self._tidying is None or self._tidying.done():
            self._tidying = asyncio.create_task(self._tidy())

    async def _tidy(self) -> None:
        """Forget the oldest jobs that nobody will go on with, beyond those that are kept."""
        try:
            while self._untidy:
                self._untidy = False
                with self._index.snapshot() as snapshot:
                    over = [job for job in _every(snapshot) if self._is_over(job)]
                over.sort(key=lambda job: job.change_us)
                for job in over[: max(0, len(over) - self._kept)]:
                    while await self._submit(partial(_decide_drop, job)):
                        pass
        except NamesakeError as error:  # a full disk, say: it is tried again with the next job
            log.warning("imports_not_tidied", reason=error.reason)

    def _is_over(self, job: Job) -> bool:
        """Tell whether a job has its end, or nobody is likely to go on with it."""
        if job.state is not State.PAUSED:
            return True
        is_old = time.time_ns() // 1_000 - job.change_us > self._paused_us
        return (is_old or not job.rows) and self.state_of(job) is not State.RUNNING

    async def _submit(self, decide: Callable[[View], Decision[T]]) -> T:
        (outcome,) = await self._index.submit([decide])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


# Decisions


def _decide_open(
    now: Job, differs: Callable[[bytes], str], view: View
) -> Decision[tuple[Job, bool]]:
    """Write the stream's number into the job; tell whether the job is new."""
    job = find(view, now.id)
    if job is None:
        job = replace(now, begin_us=view.now_us, change_us=view.now_us)
        return Decision((job, True), (_put(job),))
    if job.state is State.CANCELLED:
        job.check_stream(now.stream)
    if job.batch and job.settings and (name := differs(job.settings)):
        raise InvalidArgument(
            "is not as the import was begun with; another import needs another job_id",
            field=f"settings.{name}",
        )
    if job.state is State.DONE:
        return Decision((job, False))
    # Of a job that an older release began nobody knows who it was.
    job = replace(job, stream=now.stream, settings=now.settings, actor=job.actor or now.actor)
    return Decision((job, False), (_put(job),))


def _decide_end(job_id: str, stream: int, view: View) -> Decision[None]:
    job = _existing(view, job_id)
    job.check_stream(stream)
    if job.state is State.DONE:
        return Decision(None)
    done = replace(job, state=State.DONE, change_us=view.now_us)
    return Decision(None, (_put(done), *due.import_over(view, job_id)))


def _decide_cancel(job_id: str, view: View) -> Decision[Job]:
    job = _existing(view, job_id)
    if job.state is not State.PAUSED:
        return Decision(job)
    job = replace(job, state=State.CANCELLED, change_us=view.now_us)
    return Decision(job, (_put(job),))


def _decide_drop(job: Job, view: View) -> Decision[bool]:
    """Drop some of what is kept of a job, at last the job; tell whether there is more to drop.

    A few batches to a commit: there may be a million failures. A job that somebody went on with
    meanwhile stays.
    """
    if find(view, job.id) != job:
        return Decision(False)
    batches = view.operations(_failures_of(job.id), "", DROP_STEP_BATCHES)
    batches += view.operations(due.spans_of(job.id), "", DROP_STEP_BATCHES)
    drops: list[Mutation] = [PutOperation(key, None) for key, _ in batches]
    more = len(batches) >= DROP_STEP_BATCHES
    if not more:
        drops.append(PutOperation(_JOBS + job.id, None))
    return Decision(more, drops)


def batch_puts(
    before: Job, after: Job, failures: Sequence[RowFailure], limit: int
) -> tuple[Job, tuple[Mutation, ...]]:
    """Return the job after a batch and what to put of it, in the transaction of its rows.

    At most `limit` failures of a job are kept; those beyond are only counted.
    """
    kept = failures[: max(0, limit - before.failures_kept)]
    if not kept:
        return after, (_put(after),)
    after = replace(after, failures_kept=before.failures_kept + len(kept))
    # Under its last row, so that those after a row are found without knowing its batch.
    key = _failures_key(after.id, after.rows)
    return after, (_put(after), PutOperation(key, _encode_failures(kept)))


def failure_of(row: int, error: Exception) -> RowFailure:
    """Return what is told of a row that raised `error`."""
    if not isinstance(error, NamesakeError):
        return RowFailure(row, "", NamesakeError.reason, "an unexpected fault")
    named = error.details.get("customers", "")
    customers = tuple(named.split(",")) if named else ()
    if survivor := error.details.get("survivor"):
        customers = (survivor,)
    return RowFailure(row, error.field, error.reason, error.message, customers)


# What is stored


def find(reads: Reads, job_id: str) -> Job | None:
    """Return a job, None if there is none of this id."""
    stored = reads.operation(_JOBS + job_id)
    return None if stored is None else decode(job_id, stored)


def kept_failures(reads: Reads, job_id: str, after_row: int, limit: int) -> list[RowFailure]:
    """Return up to `limit` of a job's failures that are kept, by row, those above `after_row`."""
    found: list[RowFailure] = []
    key = _failures_key(job_id, after_row)
    while len(found) < limit:
        batches = reads.operations(_failures_of(job_id), key, READ_STEP_BATCHES)
        if not batches:
            break
        for _, stored in batches:
            found += (one for one in _decode_failures(stored) if one.row > after_row)
        key = batches[-1][0]
    return found[:limit]


def _existing(reads: Reads, job_id: str) -> Job:
    job = find(reads, job_id) if 0 < len(job_id) <= ID_LIMIT_CHARS else None
    if job is None:
        raise NotFound("there is no such import", field="job_id")
    return job


def _every(reads: Reads, after: str = "", limit: int = 1_000_000) -> list[Job]:
    found = reads.operations(_JOBS, _JOBS + after if after else "", limit)
    return [decode(key.removeprefix(_JOBS), stored) for key, stored in found]


def _failures_of(job_id: str) -> str:
    return f"{_FAILURES}{job_id}/"


def _failures_key(job_id: str, row: int) -> str:
    return f"{_failures_of(job_id)}{row:016x}"


def _lock_name(stream: int) -> str:
    return f"{stream:016x}"


# Version 1 has the batch and the first five counts alone.
_V1 = struct.Struct(">B6Q")
# Version, state; batch, part, seven counts, stream, two times; sizes of actor and settings.
_V2 = struct.Struct(">BB12QHI")


def _put(job: Job) -> PutOperation:
    return PutOperation(_JOBS + job.id, encode(job))


def encode(job: Job) -> bytes:
    """Return the stored form of a job, whose id is its key: head, actor, settings, reasons."""
    actor = job.actor.encode()
    head = _V2.pack(
        2,
        job.state,
        job.batch,
        job.part,
        job.rows,
        job.created,
        job.updated,
        job.unchanged,
        job.failed,
        job.skipped,
        job.failures_kept,
        job.stream,
        job.begin_us,
        job.change_us,
        len(actor),
        len(job.settings),
    )
    return b"".join((head, actor, job.settings, json.dumps(dict(job.reasons)).encode()))


def decode(job_id: str, stored: bytes) -> Job:
    """Read a job; raise FormatMismatch or StorageFault."""
    try:
        match stored[:1]:
            case b"\x01":
                _, batch, *counts = _V1.unpack(stored)
                return Job(job_id, State.PAUSED, batch, 0, *counts)
            case b"\x02":
                _, state, *numbers, actor_size, settings_size = _V2.unpack_from(stored)
                settings_at = _V2.size + actor_size
                reasons_at = settings_at + settings_size
                actor, settings = stored[_V2.size : settings_at], stored[settings_at:reasons_at]
                reasons = json.loads(stored[reasons_at:])
                job = Job(job_id, State(state), *numbers)
                return replace(job, actor=actor.decode(), settings=settings, reasons=reasons)
    except (struct.error, ValueError) as error:
        raise StorageFault("An import job in operations is damaged") from error
    raise FormatMismatch("An import job was stored by another release: run that one")


_FAILURES_VERSION = b"\x01"


def _encode_failures(failures: Sequence[RowFailure]) -> bytes:
    return _FAILURES_VERSION + json.dumps(failures, separators=(",", ":")).encode()


def _decode_failures(stored: bytes) -> list[RowFailure]:
    if stored[:1] != _FAILURES_VERSION:
        raise FormatMismatch("Failures of an import were stored by another release: run that one")
    try:
        return [
            RowFailure(row, at, reason, message, tuple(customers))
            for row, at, reason, message, customers in json.loads(stored[1:])
        ]
    except (ValueError, TypeError) as error:
        raise StorageFault("Failures of an import in operations are damaged") from error
