"""The one writer thread of a process: decisions in, durable group commits out.

An LMDB write transaction belongs to the thread that began it, and a commit costs the same for one
record as for thousands. So decisions queue up, and the thread runs as many as are waiting in one
transaction: each reads what the ones before it put, and decides, and its mutations are put. LMDB's
lock serialises the writer threads of several processes.

The thread shares the GIL with the event loop: a thread busy in Python keeps it for up to
`sys.getswitchinterval()` from one that has let go of it. Shortening that was tried: groups get
smaller, commits more, and 64 concurrent savers slower.
"""

from __future__ import annotations

import asyncio
import errno
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import lmdb
import structlog

from service.errors import NamesakeError, ShuttingDown, StorageFault
from service.index.mutations import Outcome
from service.index.store import Store, fault_of
from service.index.transaction import Decide, GroupTransaction
from service.settings import Settings

_log = structlog.get_logger(__name__)

READER_CHECK_S = 10  # a worker killed while others live holds freed pages back at most this long
CARDS_COME_S = 1.0  # since the last one: longer pauses are no steady saving


class Decisions(Protocol[Outcome]):
    """Decisions of one caller. Each is taken, and put, before the next is asked for."""

    def __len__(self) -> int:
        """Return how many they are, for the bounds of queue and group; about."""

    def __iter__(self) -> Iterator[Decide[Outcome]]:
        """Begin anew: a transaction may have to be run again."""


def ends(_decisions: object) -> bool:
    """Tell that decisions are all taken in one transaction: no others are to follow."""
    return False


@dataclass(slots=True)
class _Submission:
    """Decisions that one caller awaits, split between transactions only where they ask for it."""

    decisions: Decisions[object]
    future: asyncio.Future[list[object]]
    loop: asyncio.AbstractEventLoop = field(repr=False)
    dry_run: bool = False
    bulk: bool = False
    goes_on: Callable[[Decisions[object]], bool] = ends


_Answer = list[object] | NamesakeError
_Answered = tuple[_Submission, _Answer]


class _Line:
    """Submissions that wait for the thread, in order. Not guarded."""

    def __init__(self, limit_items: int) -> None:
        self.items = 0  # of those that are admitted
        self._limit_items = limit_items
        self._admitted: deque[_Submission] = deque()
        self._held_back: deque[_Submission] = deque()

    def __len__(self) -> int:
        return len(self._admitted)

    def add(self, submission: _Submission) -> None:
        """Take a submission, and admit what there is room for."""
        self._held_back.append(submission)
        self._admit()

    def put_back(self, submissions: Sequence[_Submission]) -> None:
        """Let submissions that were taken be the first ones again."""
        self._admitted.extendleft(reversed(submissions))
        self.items += sum(len(submission.decisions) for submission in submissions)

    def _admit(self) -> None:
        """Admit what was held back, in order, as far as the bound allows.

        A submission larger than the whole line is admitted to an empty one.
        """
        while self._held_back:
            size = len(self._held_back[0].decisions)
            if self._admitted and self.items + size > self._limit_items:
                return
            submission = self._held_back.popleft()
            if not submission.future.cancelled():
                self._admitted.append(submission)
                self.items += size

    def take(self, limit_items: int) -> list[_Submission]:
        """Take the submissions of one commit: one, and others up to a limit."""
        group: list[_Submission] = []
        items = 0
        while self._admitted:
            size = len(self._admitted[0].decisions)
            alone = self._admitted[0].dry_run or (group and group[0].dry_run)
            if group and (alone or items + size > limit_items):
                break
            group.append(self._admitted.popleft())
            items += size
            self.items -= size
        self._admit()
        return group


class Writer:
    """Lines and thread. Bounded: see `Settings.write_queue_items` and `group_limit_items`.

    Where several callers save at once, the next commit waits a moment (`group_wait_us`) for more
    of them: each commit costs as much as many saves do, in processor time too.

    Imports have a line of their own. Where both lines have something, they take turns: an import
    waits for the cards that came during its last commit. While cards come, its commits are short
    (`bulk_limit_items`), and the thread rests after each (`bulk_rest`): most cards then find it,
    and the processors, free.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._wait_s = settings.group_wait_us / 1_000_000
        self._enough_items = settings.group_enough_items
        self._wake = threading.Condition()  # guards what follows
        self._group_limit_items = settings.group_limit_items
        self._bulk_limit_items = settings.bulk_limit_items
        self._cards = _Line(settings.write_queue_items)
        self._bulk = _Line(settings.write_queue_items)
        self._rest = settings.bulk_rest
        self._is_bulks_turn = False
        self._cards_came_s = -math.inf  # when a card was taken last
        self._rests_until_s = -math.inf  # batches wait for so long
        self._is_idle = False  # whether the thread waits for a first submission
        self._is_busy = False  # whether the last commit was of several
        self._closing = False
        self._failing = ""  # why the last transaction failed, "" after one that did not
        self._purge_from = b"\0"
        self._next_reader_check_s = 0.0
        # A daemon, so that a crashing main thread ends the process; LMDB survives that.
        self._thread = threading.Thread(target=self._run, name="index-writer", daemon=True)
        self._thread.start()

    async def submit(
        self,
        decisions: Decisions[Outcome],
        *,
        dry_run: bool = False,
        bulk: bool = False,
        goes_on: Callable[[Any], bool] = ends,
    ) -> list[Outcome | Exception]:
        """Run decisions in one transaction and return their outcomes after the durable commit.

        With `bulk` they stand in the line of the imports. Where `goes_on` says so of them after
        they were taken, they are asked again in the next transaction of their line, before all
        that stand behind them; the outcomes are those of the last one.

        A dry run decides and puts like any other, in a transaction of its own that is then
        given up: its outcomes are those that a real one would have had.

        A decision that raises has the exception in its place of the list, and disturbs no other.
        The transaction may have to be run again (the map grew), so a decision must have no effect
        but its result. Where the queue is full the call waits; cancelled meanwhile, it is never
        written; cancelled later, it may be. Raises StorageFull, StorageFault (nothing of the
        submission was written), IndexBusy (neither, and a retry helps) or ShuttingDown.
        """
        if not len(decisions):
            return []
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[object]] = loop.create_future()
        submission = _Submission(
            cast("Decisions[object]", decisions), future, loop, dry_run, bulk, goes_on
        )
        with self._wake:
            if self._closing:
                raise ShuttingDown("The index is closing")
            (self._bulk if bulk else self._cards).add(submission)
            if self._is_idle or bulk or self._are_enough():
                self._wake.notify()
        return cast("list[Outcome | Exception]", await future)

    @property
    def queued_items(self) -> int:
        """Decisions admitted and not yet taken by the writer."""
        return self._cards.items + self._bulk.items

    async def close(self) -> None:
        """Refuse new submissions, finish those that wait, end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)

    def _are_enough(self) -> bool:
        return self._cards.items >= self._enough_items

    def _take(self) -> list[_Submission]:
        """Wait for submissions and take those of one commit; empty when all is done."""
        with self._wake:
            while not self._cards and (left_s := self._bulk_waits_s()) != 0:
                if self._closing and not self._bulk:
                    return []
                self._is_idle = True
                self._wake.wait(left_s)
                self._is_idle = False
            if self._is_busy and not (self._bulk or self._closing or self._are_enough()):
                self._wake.wait(self._wait_s)
            if self._cards and not (self._is_bulks_turn and self._bulk_waits_s() == 0):
                group = self._cards.take(self._group_limit_items)
                self._is_bulks_turn = True
                self._is_busy = len(group) > 1
                self._cards_came_s = time.monotonic()
                return group
            self._is_bulks_turn = False
            short = self._do_cards_come()
            return self._bulk.take(self._bulk_limit_items if short else self._group_limit_items)

    def _bulk_waits_s(self) -> float | None:
        """Return how long the line of imports has to wait: 0 for its turn, None if it is empty."""
        if not self._bulk:
            return None
        return 0.0 if self._closing else max(0.0, self._rests_until_s - time.monotonic())

    def _note_bulk(self, began_s: float) -> None:
        """Let the next batch wait for as long as this one took, if cards come meanwhile."""
        if self._do_cards_come():
            now_s = time.monotonic()
            self._rests_until_s = now_s + self._rest * (now_s - began_s)

    def _do_cards_come(self) -> bool:
        return time.monotonic() - self._cards_came_s < CARDS_COME_S

    def _run(self) -> None:
        while group := self._take():
            live = [submission for submission in group if not submission.future.cancelled()]
            if not live:
                continue
            began_s = time.monotonic()
            try:
                answers: Sequence[_Answer] = self._write(live)
                live = self._put_back(live, len(answers))
            except Exception as error:  # noqa: BLE001  whatever it is, callers must hear of it
                fault = self._fault(error)
                self._note(fault.reason, error)
                answers = [_again(fault, error) for _ in live]
            else:
                self._note("", None)
            _deliver(live, answers)
            if not self._is_bulks_turn:
                self._note_bulk(began_s)

    def _put_back(self, group: list[_Submission], taken: int) -> list[_Submission]:
        """Let those of a group wait again that were not taken to their end; return the others."""
        last = group[taken - 1]
        ended = taken - 1 if last.goes_on(last.decisions) else taken
        if group[ended:]:
            with self._wake:
                (self._bulk if last.bulk else self._cards).put_back(group[ended:])
        return group[:ended]

    # The transaction

    def _write(self, group: list[_Submission]) -> list[list[object]]:
        """Commit a group, making room in the map where that helps."""
        self._check_readers()
        while True:
            try:
                return self._attempt(group)
            except lmdb.MapFullError:
                if not self._store.grow_map():
                    raise
            except lmdb.MapResizedError:
                if not self._store.follow_map():
                    raise

    def _attempt(self, group: list[_Submission]) -> list[list[object]]:
        with self._store.env.begin(write=True) as txn:
            transaction = GroupTransaction(txn, self._store)
            answers: list[list[object]] = []
            for submission in group:
                answers.append([transaction.run(decide) for decide in submission.decisions])
                if submission.goes_on(submission.decisions):
                    break  # those behind it come after its end
            if not transaction.dirty:
                return answers  # an empty commit, which writes nothing and waits for nobody
            if group[0].dry_run:
                txn.abort()
                return answers
            transaction.flush()
            transaction.put_counters()
            purge_from = transaction.purge_requests(self._purge_from)
        self._purge_from = purge_from
        return answers

    def _check_readers(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_reader_check_s:
            self._next_reader_check_s = now_s + READER_CHECK_S
            self._store.env.reader_check()

    def _fault(self, error: Exception) -> NamesakeError:
        """Say what ended a transaction: a fault of the file, or of the code."""
        if isinstance(error, NamesakeError):
            return error
        if not isinstance(error, lmdb.Error | OSError):
            return StorageFault(f"The write was abandoned: {type(error).__name__}")
        short_write = isinstance(error, lmdb.Error) and error.code == errno.EIO
        if short_write and self._store.space_is_short():
            error = OSError(errno.ENOSPC, "short write")
        return fault_of(error)

    def _note(self, reason: str, error: Exception | None) -> None:
        """Log when transactions begin to fail, fail for another reason, or succeed again ("")."""
        if reason == self._failing:
            return
        self._failing = reason
        if reason:
            code = getattr(error, "errno", None) or getattr(error, "code", None)
            _log.error("commit_failed", reason=reason, fault=type(error).__name__, code=code)
        else:
            _log.info("commits_succeed_again")


def _again(fault: NamesakeError, cause: Exception) -> NamesakeError:
    """Return an instance per caller: a shared one would collect every caller's traceback."""
    copy = type(fault)(fault.message, field=fault.field, **fault.details)
    copy.__cause__ = cause
    return copy


def _deliver(group: Sequence[_Submission], answers: Sequence[_Answer]) -> None:
    """Complete the futures, waking each event loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Answered]] = {}
    for submission, answer in zip(group, answers, strict=False):  # the last may go on
        by_loop.setdefault(submission.loop, []).append((submission, answer))
    for loop, answered in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, answered)
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def _settle(answered: Sequence[_Answered]) -> None:
    for submission, answer in answered:
        if submission.future.done():  # cancelled
            continue
        if isinstance(answer, NamesakeError):
            submission.future.set_exception(answer)
        else:
            submission.future.set_result(answer)
