"""Long work of an account: begun, followed, cancelled, remembered.

An operation is a row of the index: what it is, how far it is, what came of it. It is there before
whoever began it hears of it, and it ends with one commit that also writes what it came to. The
work itself is a coroutine of the worker that took the call; every other worker sees the row.

Who cancels only notes the wish in the row; the worker that does the work looks for it every
second. That this worker is alive shows by a lock on a file of the account's folder, which the
system lets go of when the process ends, however it ends: an operation that nobody holds is
`INTERRUPTED`, and the first worker that looks says so.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import tempfile
import time
import traceback
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import structlog

from service.errors import (
    Cancelled,
    FormatMismatch,
    Interrupted,
    InvalidArgument,
    LimitExceeded,
    NamesakeError,
    NotFound,
    OperationUnderWay,
    ShuttingDown,
    StorageFault,
)
from service.identity.results import ResultFiles
from service.index import Decision, Index, Mutation, PutOperation, Reads, View
from service.index.store import fault_of
from service.settings import Settings

log = structlog.get_logger("namesake")

PREFIX = "operations/"
ATTEND_S = 1.0  # between two notes of the progress, and looks for a wish to cancel
WAIT_S = 0.1  # between two looks of somebody who waits
NAME_LIMIT_CHARS = 100

_VERSION = b"\x01"
_LOCKS = "operations"  # the folder of the locks, in the account's
_LOCK = ".lock"

Value = str | int | float | bool
Facts = Mapping[str, Value]
Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an operation came to nothing, as `NamesakeError` says it: the reason is stable."""

    reason: str
    message: str
    details: Mapping[str, str] = field(default_factory=dict)
    field: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """A piece of long work, as it is stored. Times are microseconds since the epoch."""

    name: str  # operations/<kind>-<UUIDv7>
    kind: str
    actor: str
    start_us: int
    parameters: Facts = field(default_factory=dict)
    step: str = ""  # what is done at the moment
    share: float = 0.0  # of the step that is done, 0 to 1
    counts: Mapping[str, int] = field(default_factory=dict)
    cancel_requested: bool = False
    end_us: int = 0  # 0: under way
    result: Facts | None = None  # of one that succeeded
    failure: Failure | None = None

    @property
    def done(self) -> bool:
        """It succeeded or failed, and changes no more."""
        return self.end_us != 0


class Done(NamedTuple):
    """What work came to.

    `decide` says what else is written in the commit that ends it; `then` is done after that, as
    far as the server lives.
    """

    result: Facts
    decide: Callable[[View], Sequence[Mutation]] = lambda _view: ()
    then: Callable[[], Coroutine[Any, Any, None]] | None = None


class Progress:
    """How far work is: told by the work, written down by `Operations`."""

    def __init__(self) -> None:
        self.step, self.share = "", 0.0
        self.counts: dict[str, int] = {}

    def tell(self, step: str, share: float, **counts: int) -> None:
        """Say what is done at the moment, which share of it is done, and what was counted."""
        self.step, self.share = step, min(max(share, 0.0), 1.0)
        self.counts.update(counts)

    def seen(self, operation: Operation) -> Operation:
        """Return the operation as far as it is now."""
        return replace(operation, step=self.step, share=self.share, counts=dict(self.counts))


Work = Callable[[Operation, Progress], Coroutine[Any, Any, Done]]
Noted = Callable[[Operation], Sequence[Mutation]]


class Operations:
    """The long work of one account. Several processes may have one for the same folder."""

    def __init__(self, index: Index, settings: Settings) -> None:
        self.results = ResultFiles(index.folder)
        self._index = index
        self._locks = index.folder / _LOCKS
        self._settings = settings
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    # What callers ask for

    async def start(
        self,
        kind: str,
        parameters: Facts,
        actor: str,
        work: Work,
        only_one: type[NamesakeError] | None = None,
        noted: Noted = lambda _operation: (),
    ) -> Operation:
        """Begin work and return its operation, which is durable then.

        `work` is called with the operation and its progress, and is cancelled like any coroutine;
        it must let go of all that it holds then. With `only_one` a second of the kind is refused
        by that error. `noted` says what else is written in the commit that begins it. Raises
        LimitExceeded where as many as may be are under way.
        """
        await self.recover()
        # Not ended by a caller who leaves: what is written down must be done too.
        decide = partial(self._decide_start, only_one, noted)
        begin = asyncio.create_task(self._begin(kind, parameters, actor, work, decide))
        begin.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(begin)

    async def _begin(
        self,
        kind: str,
        parameters: Facts,
        actor: str,
        work: Work,
        decide: Callable[[Operation, View], Decision[Operation]],
    ) -> Operation:
        if self._closing:
            raise ShuttingDown("the server is stopping; begin again later or at another worker")
        name = f"{PREFIX}{kind}-{uuid7()}"
        lock = Lock(self._locks, name)
        try:
            first = Operation(name, kind, actor, 0, parameters)
            operation = await self._submit(partial(decide, first))
        except BaseException:
            lock.release()
            raise
        task = asyncio.create_task(self._run(operation, work, lock))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return operation

    def get(self, name: str) -> Operation:
        """Return an operation; raise NotFound."""
        with self._index.snapshot() as snapshot:
            return _read(snapshot, name)

    def find(self, name: str) -> Operation | None:
        """Return an operation, None if there is none of this name."""
        with suppress(NotFound):
            return self.get(name)
        return None

    def page(self, after: str, limit: int) -> list[Operation]:
        """Return up to `limit` operations by name, those above `after`: by kind, oldest first."""
        if after and not _is_name(after):
            raise InvalidArgument("not a token of this listing", field="page_token")
        with self._index.snapshot() as snapshot:
            return list(_every(snapshot, after, limit))

    async def cancel(self, name: str) -> None:
        """Ask for an end; it comes within a second or so. One that is done stays as it is."""
        await self._submit(partial(_decide_cancel, name))

    async def delete(self, name: str) -> None:
        """Forget an operation that is done; raise OperationUnderWay or NotFound."""
        await self._submit(partial(_decide_delete, name))
        self._drop_forgotten()

    async def wait(self, name: str, timeout_s: float, stopping: asyncio.Event) -> Operation:
        """Return an operation when it is done, or as it is after `timeout_s`.

        Whichever worker does it. Raises NotFound, and ShuttingDown once `stopping` is set.
        """
        end_s = time.monotonic() + timeout_s
        while True:
            operation = self.get(name)
            left_s = end_s - time.monotonic()
            if operation.done or left_s <= 0:
                return operation
            with suppress(TimeoutError):
                async with asyncio.timeout(min(WAIT_S, left_s)):
                    await stopping.wait()
            if stopping.is_set():
                raise ShuttingDown("the server is stopping; wait at another worker or later")

    async def recover(self) -> int:
        """Let what no living process does be INTERRUPTED; return how many those were."""
        with self._index.snapshot() as snapshot:
            left = [one.name for one in _every(snapshot) if not one.done]
        dead = [name for name in left if not Lock.is_held(self._locks, name)]
        ended = 0
        for name in dead:
            ended += await self._submit(partial(self._decide_end, name, None, INTERRUPTED, None))
            (self._locks / _file(name)).unlink(missing_ok=True)
        if ended:
            log.warning("operations_interrupted", operations=ended)
        self._drop_forgotten()
        return ended

    def _drop_forgotten(self) -> None:
        """Remove the results of operations that are forgotten, by whichever worker."""
        try:
            # Before the operations are read: a file is younger than its operation.
            files = set(self.results.names())
            with self._index.snapshot() as snapshot:
                known = {self.results.name_of(one.name) for one in _every(snapshot)}
            self.results.drop(files - known)
        except (OSError, NamesakeError) as error:  # the next look finds them again
            log.warning("results_not_removed", fault=type(error).__name__)

    async def close(self) -> None:
        """End the work of this process: it is INTERRUPTED."""
        self._closing = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # The work

    async def _run(self, operation: Operation, work: Work, lock: Lock) -> None:
        """Do the work and write down how it ended, whatever happens."""
        progress = Progress()
        task = asyncio.create_task(work(operation, progress))
        try:
            try:
                await self._attend(operation.name, task, progress)
            except asyncio.CancelledError:  # by `close`
                await _stop(task)
                ended: _Ended = (None, INTERRUPTED) if _is_broken_off(task) else _ended(task)
            else:
                await _stop(task)
                ended = _ended(task)
            await self._end(operation.name, progress, *ended)
        finally:
            lock.release()

    async def _attend(self, name: str, task: asyncio.Task[Done], progress: Progress) -> None:
        """Return when the work is done or somebody wants it cancelled; note its progress."""
        noted: tuple[object, ...] = ()
        while True:
            await asyncio.wait({task}, timeout=ATTEND_S)
            if task.done():
                return
            now = (progress.step, progress.share, dict(progress.counts))
            try:
                if now != noted:
                    operation = await self._submit(partial(_decide_note, name, progress))
                    noted = now
                else:
                    operation = self.get(name)
            except NamesakeError as error:  # a full disk, say: the work itself may go on
                log.warning("operation_not_noted", operation=name, reason=error.reason)
                continue
            if operation.cancel_requested:
                return

    async def _end(
        self, name: str, progress: Progress, done: Done | None, failure: Failure | None
    ) -> None:
        """Write down how it ended: as long as it takes, but not while the server stops."""
        while True:
            try:
                await self._submit(partial(self._decide_end, name, done, failure, progress))
            except NotFound:
                return
            except NamesakeError as error:
                log.warning("operation_not_ended", operation=name, reason=error.reason)
                if self._closing:  # the next start finds that nobody does it
                    return
                await asyncio.sleep(ATTEND_S)
            except Exception as error:  # noqa: BLE001  a bug in what the work wants written
                log.error("operation_not_ended", operation=name, error=type(error).__name__)
                if done is None:
                    return
                done, failure = None, _UNEXPECTED
            else:
                break
        self._drop_forgotten()
        if done is not None and done.then is not None:
            try:
                await done.then()
            except NamesakeError as error:
                log.warning("operation_not_tidied", operation=name, reason=error.reason)

    async def _submit(self, decide: Callable[[View], Decision[Outcome]]) -> Outcome:
        (outcome,) = await self._index.submit([decide])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    # Decisions

    def _decide_start(
        self, only_one: type[NamesakeError] | None, noted: Noted, first: Operation, view: View
    ) -> Decision[Operation]:
        under_way = [one for one in _every(view) if not one.done]
        same = next((one for one in under_way if one.kind == first.kind), None)
        if same is not None and only_one is not None:
            raise only_one(
                f"{same.name} is under way; wait for it or cancel it", operation=same.name
            )
        limit = self._settings.concurrent_operations
        if len(under_way) >= limit:
            raise LimitExceeded(f"{limit} operations are under way; wait for one or cancel it")
        operation = replace(first, start_us=view.now_us)
        return Decision(operation, (_put(operation), *noted(operation)))

    def _decide_end(
        self,
        name: str,
        done: Done | None,
        failure: Failure | None,
        progress: Progress | None,
        view: View,
    ) -> Decision[bool]:
        """End an operation and forget the oldest that are done, beyond those that are kept."""
        operation = _read(view, name)
        if operation.done:
            return Decision(False)
        if progress is not None:
            operation = progress.seen(operation)
        mutations: list[Mutation] = []
        if done is not None:
            operation = replace(operation, result=done.result, share=1.0)
            mutations += done.decide(view)
        else:
            operation = replace(operation, failure=failure or _UNEXPECTED)
        mutations.append(_put(replace(operation, end_us=view.now_us)))
        old = sorted((one for one in _every(view) if one.done), key=lambda one: one.end_us)
        over = len(old) + 1 - self._settings.operations_kept
        mutations += [PutOperation(one.name, None) for one in old[: max(0, over)]]
        return Decision(True, mutations)


_Ended = tuple[Done | None, Failure | None]

INTERRUPTED = Failure(Interrupted.reason, "the server stopped in the middle; start it again")
_UNEXPECTED = Failure(NamesakeError.reason, "an unexpected fault; see the log")


async def whole(step: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Return what a step comes to that is done whole or not at all, cancelled meanwhile or not.

    It may be durable when the cancellation comes: work that is this one step was done then.
    """
    task = asyncio.create_task(step)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})
    return task.result()


async def _stop(task: asyncio.Task[Done]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _is_broken_off(task: asyncio.Task[Done]) -> bool:
    """Tell whether work ended because it was told to, or in trouble as the server stopped."""
    return task.cancelled() or task.exception() is not None


def _ended(task: asyncio.Task[Done]) -> _Ended:
    """Return what work came to, or why it did not."""
    if task.cancelled():
        return None, Failure(Cancelled.reason, "cancelled")
    error = task.exception()
    if error is None:
        return task.result(), None
    if isinstance(error, NamesakeError):
        return None, Failure(error.reason, error.message, error.details, error.field)
    # Its text may hold customer data.
    places = [f"{f.filename}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)[-5:]]
    log.error("operation_failed", error=type(error).__name__, at=places)
    return None, _UNEXPECTED


def _decide_note(name: str, progress: Progress, view: View) -> Decision[Operation]:
    operation = progress.seen(_read(view, name))
    return Decision(operation, () if operation.done else (_put(operation),))


def _decide_cancel(name: str, view: View) -> Decision[None]:
    operation = _read(view, name)
    if operation.done or operation.cancel_requested:
        return Decision(None)
    return Decision(None, (_put(replace(operation, cancel_requested=True)),))


def _decide_delete(name: str, view: View) -> Decision[None]:
    if not _read(view, name).done:
        raise OperationUnderWay("it is under way: cancel it first", field="name")
    return Decision(None, (PutOperation(name, None),))


# What is stored


def _every(reads: Reads, after: str = "", limit: int = 1_000_000) -> Iterator[Operation]:
    # Their number is bounded: `concurrent_operations` and `operations_kept`.
    return (_decode(state) for _, state in reads.operations(PREFIX, after, limit))


def _read(reads: Reads, name: str) -> Operation:
    state = reads.operation(name) if _is_name(name) else None
    if state is None:
        raise NotFound("there is no such operation", field="name")
    return _decode(state)


def _is_name(text: str) -> bool:
    return text.startswith(PREFIX) and len(text) <= NAME_LIMIT_CHARS


def _put(operation: Operation) -> PutOperation:
    encoded = json.dumps(asdict(operation), separators=(",", ":"))
    return PutOperation(operation.name, _VERSION + encoded.encode())


def _decode(state: bytes) -> Operation:
    if state[:1] != _VERSION:
        raise FormatMismatch("An operation was stored by another release: run that one")
    try:
        stored = json.loads(state[1:])
        failure = stored.pop("failure")
        return Operation(**stored, failure=failure and Failure(**failure))
    except (ValueError, TypeError, KeyError) as error:
        raise StorageFault("A value of operations is damaged") from error


def uuid7() -> str:
    """Return an id that nobody else gives, later ones behind earlier ones (RFC 9562, 5.7)."""
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0b11 << 62) | 0b10 << 62
    return str(uuid.UUID(int=value))


# Who is alive


def _file(name: str) -> str:
    return name.removeprefix(PREFIX) + _LOCK


class Lock:
    """A locked file that says: the process that does this work lives."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / _file(name)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            self._descriptor, temporary = tempfile.mkstemp(dir=folder)
            # Under its name it appears locked: nobody can take it for that of a dead process.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            Path(temporary).replace(self._path)
        except OSError as error:
            raise fault_of(error) from error

    def release(self) -> None:
        """Remove it; twice does no harm."""
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1

    @staticmethod
    def sweep(folder: Path) -> None:
        """Remove what dead processes left; for names that are never used again."""
        for path in folder.glob(f"*{_LOCK}"):
            if not Lock.is_held(folder, path.name.removesuffix(_LOCK)):
                path.unlink(missing_ok=True)

    @staticmethod
    def is_held(folder: Path, name: str) -> bool:
        """Tell whether a living process holds it."""
        try:
            descriptor = os.open(folder / _file(name), os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            # Shared: of two who look at once, neither takes the other for the holder.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False
