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
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

import lmdb
import structlog

from service.errors import (
    FormatMismatch,
    InvalidArgument,
    NamesakeError,
    ShuttingDown,
    StorageFault,
)
from service.index import layout
from service.index._intake import Intake, hashes_of
from service.index._lmdb import APPEND, NO_OVERWRITE, Calls
from service.index.feed import DropConsumer, FeedMutation, PutConsumer, TrimChanges
from service.index.feed import write as write_feed
from service.index.layout import Buffer, ChangeKind, Entries, MergedRow, RunKind
from service.index.runs import identity_entry
from service.index.store import Reads, Store, fault_of
from service.index.timeline import DropItems, PutItems, PutPin, TimelineWrites
from service.settings import Settings

_log = structlog.get_logger(__name__)

Outcome = TypeVar("Outcome", covariant=True)

READER_CHECK_S = 10  # a worker killed while others live holds freed pages back at most this long
CARDS_COME_S = 1.0  # since the last one: longer pauses are no steady saving
NOTHING = Entries()
REQUEST_KIND_MAX = 255  # it is stored in a byte
ID_RANDOM_BYTES = 10  # of each UUID
PURGE_STEPS = 16  # request ids looked at per commit, beside one for each that the commit puts


@dataclass(frozen=True, slots=True)
class Put:
    """Create a customer (`row` None) or replace its record; takes the next sequence.

    A creation gets `view.next_row`, rising with each creation of the decision. `old` is what the
    index holds of the stored record (`index.entries_of(codec.held(stored))`), so that only the
    differences are written. `features` are what is compared of the record, packed; None leaves
    those that are stored. Raises InvalidArgument where an id or text is over its
    limit.
    """

    row: int | None
    id: str
    record: bytes
    new: Entries
    old: Entries = NOTHING
    kind: ChangeKind = ChangeKind.CREATED
    diff: bytes = b""
    actor: str = ""
    reason: str = ""
    features: bytes | None = None

    def __post_init__(self) -> None:
        """Refuse here, inside the decision, what would fail in the middle of a group."""
        layout.bounded_key(self.id, "The customer id")
        layout.check_text(self.actor, "The actor")
        layout.check_text(self.reason, "The reason")
        for domain in self.new.pending:
            layout.bounded_key(domain, "A domain")
        if (self.row is None) != (self.kind is ChangeKind.CREATED):
            raise InvalidArgument("CREATED is the kind of a new row, and of no other")
        if self.kind is ChangeKind.DELETED:
            raise InvalidArgument("DELETED is the kind of a Delete")


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a customer: record, entries, items and all history; takes the next sequence.

    What remains is the deletion itself in the change feed and the history, with who and why, and
    the id, which is never used again.
    """

    row: int
    id: str
    old: Entries
    actor: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse texts over their limit."""
        layout.check_text(self.actor, "The actor")
        layout.check_text(self.reason, "The reason")


@dataclass(frozen=True, slots=True)
class PutDiff:
    """Replace the difference of a history entry that is there: what a deleted customer left in it.

    Found by a decision that called `View.flush` before it read histories.
    """

    row: int
    sequence: int
    diff: bytes


@dataclass(frozen=True, slots=True)
class PutOperation:
    """Keep the opaque state of a piece of long work, or forget it (None)."""

    key: str
    state: bytes | None

    def __post_init__(self) -> None:
        """Refuse a key that LMDB would."""
        layout.bounded_key(self.key, "The key of an operation")


@dataclass(frozen=True, slots=True)
class PutRequest:
    """Remember what a request_id led to. `kind` (0 to 255) is the caller's."""

    request_id: str
    row: int
    sequence: int
    kind: int

    def __post_init__(self) -> None:
        """Refuse an id that LMDB would, and a kind that does not fit."""
        layout.bounded_key(self.request_id, "The request_id")
        if not 0 <= self.kind <= REQUEST_KIND_MAX:
            raise InvalidArgument(f"The kind of a request is 0 to {REQUEST_KIND_MAX}")


@dataclass(frozen=True, slots=True)
class Absorb:
    """Let a live customer be part of another from now on: its id is a redirect, its record is kept.

    Belongs to the `Put` of kind MERGED of the survivor that takes `sequence`. What is linked to the
    row (history, marks, members of its own) stays there: see `Reads.tree`.
    """

    row: int
    id: str
    old: Entries
    survivor: int  # row
    survivor_id: str
    sequence: int
    place: int  # among the members of this merge
    actor: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """Give an absorbed customer back, with this record; takes the next sequence.

    Comes after the `Put` of kind UNMERGED of the survivor.
    """

    row: int
    id: str
    record: bytes
    new: Entries
    features: bytes
    diff: bytes = b""
    actor: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PutMergedRecord:
    """Change the record of a customer that stays merged: members of its own were given back.

    Belongs to the `Put` of kind UNMERGED of the survivor that takes `sequence`.
    """

    row: int
    record: bytes
    sequence: int
    diff: bytes
    actor: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PutBond:
    """Keep what it takes to give a survivor's members back; None where it has none any more."""

    row: int
    state: bytes | None


@dataclass(frozen=True, slots=True)
class PutMerge:
    """Keep what is known of a merge, by the sequence of its change."""

    sequence: int
    state: bytes


@dataclass(frozen=True, slots=True)
class PutDistinct:
    """Say of two live customers that they are not the same."""

    row: int
    other: int
    actor: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse texts over their limit."""
        layout.check_text(self.actor, "The actor")
        layout.check_text(self.reason, "The reason")
        if self.row == self.other:
            raise InvalidArgument("A customer is not distinct from itself")


@dataclass(frozen=True, slots=True)
class DropDistinct:
    """Take that back."""

    row: int
    other: int


@dataclass(frozen=True, slots=True)
class SortWaiting:
    """Move what batches left (`View.waiting`) to where it is found by domain."""

    waiting: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class PutModel:
    """Match with this model from now on; `text` "" is the release's own."""

    text: str
    frequencies: bytes
    actor: str = ""

    def __post_init__(self) -> None:
        """Refuse an actor over the limit."""
        layout.check_text(self.actor, "The actor")


@dataclass(frozen=True, slots=True)
class PutGroups:
    """Add groups of customers to what a scan found, their ranks rising from `first_rank`."""

    scan: int
    first_rank: int
    groups: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class DropGroups:
    """Forget up to `limit` groups of a scan, those of the lowest ranks."""

    scan: int
    limit: int


@dataclass(frozen=True, slots=True)
class PutRows:
    """Create those rows of a batch from `first` to before `end` that `View.stale` left out.

    Each as a `Put` would, but for the entries of identities and blocks, which a `PutEntries` puts
    for the whole batch in the same transaction. `times` are the encoded times of their records
    (`Codec.times`).
    """

    intake: Intake
    first: int
    end: int
    times: bytes
    actor: str = ""

    def __post_init__(self) -> None:
        """Refuse an actor over the limit."""
        layout.check_text(self.actor, "The actor")


@dataclass(frozen=True, slots=True)
class PutEntries:
    """Put the entries of all rows that were created of a batch."""

    intake: Intake


Mutation = (
    Put
    | PutRows
    | PutEntries
    | Delete
    | PutDiff
    | PutOperation
    | PutRequest
    | Absorb
    | Release
    | PutMergedRecord
    | PutBond
    | PutMerge
    | PutDistinct
    | DropDistinct
    | SortWaiting
    | PutModel
    | PutGroups
    | DropGroups
    | FeedMutation
    | PutItems
    | DropItems
    | PutPin
)


class Decision(NamedTuple, Generic[Outcome]):
    """What a decision came to: an outcome for its caller and what to write."""

    outcome: Outcome
    mutations: Sequence[Mutation] = ()


class View(Reads):
    """What a decision may see: everything put so far, its own group included.

    Only changes and history end with the group before, unless a decision calls `flush`: they are
    put together at the end of each. `now_us` is the time of the whole commit, later than that of
    any commit before it.
    """

    def __init__(
        self, txn: lmdb.Transaction[bytes], store: Store, flush: Callable[[], None]
    ) -> None:
        super().__init__(txn, store.tables, store.clock(), store.memory_us)
        self.flush = flush
        counters = self.counters  # from the file: another process may have committed since
        self.next_row = counters.next_row
        self.next_sequence = counters.next_sequence
        self.now_us = max(self.wall_us, counters.last_us + 1)

    def stale(self, intake: Intake, asked: int, by_id: bool, others: Iterable[bytes]) -> list[int]:
        """Return which rows of a batch may not be new; `others` are keys of its other rows.

        See `Intake.stale`; identities keys, and `id_key` of customers' ids.
        """
        tables, secret = self._tables, self.hash_secret
        foreign = hashes_of(others, secret)
        return intake.stale(
            self._calls, tables.ids, tables.identities, self.held, asked, by_id, foreign
        )


Decide = Callable[[View], Decision[Outcome]]


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
            transaction = _GroupTransaction(txn, self._store)
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


class _GroupTransaction:
    """One write transaction: runs decisions and applies their mutations."""

    def __init__(self, txn: lmdb.Transaction[bytes], store: Store) -> None:
        tables = store.tables
        self._txn = txn
        self._tables = tables
        self._shape = store.shape
        self._view = View(txn, store, self.flush)
        self._calls = Calls(txn)
        self._timeline = TimelineWrites(txn, self._calls, tables)
        self._changes: list[tuple[bytes, bytes]] = []  # put together: see `flush`
        self._history: list[tuple[bytes, bytes]] = []
        self._blocks: list[tuple[bytes, bytes]] = []
        self._requests_put = 0
        self.dirty = False

    def run(self, decide: Decide[object]) -> object:
        """Return the outcome of one decision, or what it raised."""
        try:
            decision = decide(self._view)
            self._check(decision)
        except lmdb.Error:
            raise  # the file failed, not the decision
        except Exception as error:  # noqa: BLE001  it is this item's result
            return error
        for mutation in decision.mutations:
            self.dirty = True
            self._apply(mutation)
        return decision.outcome

    def _check(self, decision: Decision[object]) -> None:
        """Refuse what does not fit the state while nothing of the decision is put."""
        created: list[bytes] = []
        for mutation in decision.mutations:
            match mutation:
                case Put(row=None):
                    created.append(mutation.id.encode())
                case Put() | Delete() | Absorb():
                    if not self._holds(cast("int", mutation.row), mutation.id):
                        raise InvalidArgument("There is no such customer to change")
                case Release() | PutMergedRecord():
                    if self._view.merged(mutation.row) is None:
                        raise InvalidArgument("There is no such merged customer")
                case PutDistinct():
                    for row in (mutation.row, mutation.other):
                        if not self._view.live_row(row):
                            raise InvalidArgument("There is no such customer to tell apart")
                case PutItems():
                    self._check_live(item.row for item in mutation.items)
                case PutPin():
                    self._check_live([mutation.row])
        self._claim(created)

    def _check_live(self, rows: Iterable[int]) -> None:
        for row in set(rows):
            if not self._view.live_row(row):
                raise InvalidArgument("There is no such customer to link anything to")

    def _claim(self, created: list[bytes]) -> None:
        """Put the ids of new customers, or none of them: checks and puts in one step."""
        for number, id in enumerate(created):
            row = layout.pack_u64(self._view.next_row + number)
            if not self._calls.put(self._tables.ids, id, row, NO_OVERWRITE):
                for claimed in created[:number]:
                    self._calls.delete(self._tables.ids, claimed)
                raise InvalidArgument("The customer id is in use or was deleted")

    def _holds(self, row: int, id: str) -> bool:
        return self._view.row_of(id) == row and self._calls.has(
            self._tables.customers, layout.pack_u64(row)
        )

    def _apply(self, mutation: Mutation) -> None:
        match mutation:
            case Put():
                self._put(mutation)
            case PutRows():
                self._put_rows(mutation)
            case PutEntries():
                identities, blocks = mutation.intake.entries()
                self._add_run(RunKind.IDENTITIES, identities)
                self._add_run(RunKind.BLOCKS, blocks)
            case Delete():
                self._delete(mutation)
            case PutDiff():
                self._put_diff(mutation)
            case PutOperation():
                self._operation(mutation)
            case PutRequest():
                self._request(mutation)
            case Absorb():
                self._absorb(mutation)
            case Release():
                self._release(mutation)
            case PutMergedRecord():
                self._put_merged(mutation.row, self._merged(mutation.row), mutation.record)
                self._remember(
                    ChangeKind.UNMERGED, mutation.row, mutation.sequence, mutation.actor,
                    mutation.reason, mutation.diff,
                )  # fmt: skip
            case PutBond():
                self._bond(mutation)
            case PutMerge():
                key = layout.pack_u64(mutation.sequence)
                self._calls.put(self._tables.merges, key, mutation.state)
            case PutDistinct() | DropDistinct():
                self._distinct(mutation)
            case SortWaiting():
                self._sort_in(mutation.waiting)
            case PutModel():
                self._model(mutation)
            case PutGroups() | DropGroups():
                self._groups(mutation)
            case PutConsumer() | DropConsumer() | TrimChanges():
                wall_us = self._view.wall_us
                write_feed(mutation, self._txn, self._calls, self._tables, wall_us)
            case PutItems():
                self._timeline.put(mutation)
            case DropItems():
                self._timeline.drop(mutation.numbers)
            case PutPin():
                self._timeline.put_pin(mutation)

    def _put(self, put: Put) -> None:
        view = self._view
        new = put.row is None
        row = view.next_row if put.row is None else put.row
        stored_row = layout.pack_u64(row)
        if new:
            view.next_row = row + 1  # the row that its id was claimed for
        # A new row is the highest key: append skips the search and fills pages completely.
        flags = APPEND if new else 0
        self._appended(self._calls.put(self._tables.customers, stored_row, put.record, flags))
        self._enter(stored_row, put.old, put.new)
        if put.features is not None:
            self._compare_by(row, put.features, new)
        self._record(put.kind, row, put.id, put.actor, put.reason, put.diff)

    def _put_rows(self, put: PutRows) -> None:
        self.flush()  # the changes of the group so far come before these
        view = self._view
        count = put.intake.create(
            self._calls,
            self._tables,
            put.first,
            put.end,
            view.next_row,
            view.next_sequence,
            view.now_us,
            put.actor.encode(),
            put.times,
            os.urandom(ID_RANDOM_BYTES * (put.end - put.first)),
        )
        view.next_row += count
        view.next_sequence += count

    def _enter(self, stored_row: bytes, old: Entries, new: Entries) -> None:
        """Write the difference between what the index held of a row and is to hold."""
        calls, tables = self._calls, self._tables
        for key in old.keys - new.keys:
            if not calls.delete(tables.identities, key, stored_row):
                entry = identity_entry(key, self._view.hash_secret, layout.unpack_u64(stored_row))
                self._view.runs(RunKind.IDENTITIES).retire(*entry)
        calls.put_under(tables.identities, new.keys - old.keys, stored_row)
        for domain in old.pending - new.pending:
            if not calls.delete(tables.pending, domain.encode(), stored_row):
                self._sort_in(self._view.waiting_at(layout.unpack_u64(stored_row)))
                calls.delete(tables.pending, domain.encode(), stored_row)
        for domain in new.pending - old.pending:
            calls.put(tables.pending, domain.encode(), stored_row)

    def _sort_in(self, waiting: Mapping[int, bytes]) -> None:
        """Move what batches left waiting to `pending`."""
        pairs = [pair for stored in waiting.values() for pair in layout.decode_waiting(stored)]
        pairs.sort()
        self._calls.put_all(self._tables.pending, pairs)
        for row in waiting:
            self._calls.delete(self._tables.waiting, layout.pack_u64(row))

    def _add_run(self, kind: RunKind, entries: Buffer) -> None:
        """Put entries of new rows, pairs of native words in any order, as a sorted run.

        Merges that are due go on: see `Runs.add`.
        """
        self._view.runs(kind).add(entries, self._shape)

    def _compare_by(self, row: int, features: bytes, new: bool) -> None:
        """Put a row's features and the differences of its blocks; b"" for none."""
        stored_row, table = layout.pack_u64(row), self._tables.features
        # Of damaged ones nobody knows which entries they have: `verify` names them.
        old = b"" if new else self._view.features_of(row)
        if features and features == old:
            return
        before = layout.block_entries(old, row) if old else []
        after = layout.block_entries(features, row) if features else []
        if before:
            self._put_blocks()  # what is to go may not be there yet
            for key, entry in set(before).difference(after):
                if not self._calls.delete(self._tables.blocks, key, entry):
                    self._view.runs(RunKind.BLOCKS).retire(*layout.block_pair(key, entry))
            after = [entry for entry in after if entry not in before]
        elif after and not new:
            # What damaged features left in a run is not put a second time.
            runs = self._view.runs(RunKind.BLOCKS)
            after = [entry for entry in after if not runs.holds(*layout.block_pair(*entry))]
        self._blocks += after
        if features:
            flags = APPEND if new else 0
            self._calls.put(table, stored_row, layout.encode_features(features), flags)
        elif not new:
            self._calls.delete(table, stored_row)

    def _put_blocks(self) -> None:
        """Put the entries that wait, sorted: neighbours fall into one page."""
        self._blocks.sort()
        self._calls.put_all(self._tables.blocks, self._blocks)
        self._blocks.clear()

    def _record(self, kind: int, row: int, id: str, actor: str, reason: str, diff: bytes) -> None:
        """Note the event and the history entry of a change, under the next sequence."""
        view = self._view
        sequence = view.next_sequence
        view.next_sequence = sequence + 1
        event = layout.encode_event(kind, row, view.now_us, actor.encode(), id.encode())
        self._changes.append((layout.pack_u64(sequence), event))
        self._remember(kind, row, sequence, actor, reason, diff)

    def _remember(
        self, kind: int, row: int, sequence: int, actor: str, reason: str, diff: bytes
    ) -> None:
        """Note a history entry."""
        who, why = actor.encode(), reason.encode()
        entry = layout.encode_history(kind, self._view.now_us, who, why, diff)
        self._history.append((layout.pack_history_key(row, sequence), entry))

    def flush(self) -> None:
        """Put what was noted, in one call for each sub-database.

        No decision reads what the changes of its own group were.
        """
        added = self._calls.put_all(self._tables.changes, self._changes, APPEND)
        self._appended(added == len(self._changes))
        added = self._calls.put_all(self._tables.history, self._history, NO_OVERWRITE)
        self._appended(added == len(self._history))
        self._changes.clear()
        self._history.clear()
        self._put_blocks()
        for kind in RunKind:
            self._view.runs(kind).put_manifest()

    def _appended(self, done: bool) -> None:
        if not done:
            raise StorageFault("The counters are behind the index: verify it")

    def _delete(self, delete: Delete) -> None:
        self.flush()  # the history to delete may be of this very group
        stored_row = layout.pack_u64(delete.row)
        tree = self._view.tree(delete.row)
        self._calls.delete(self._tables.customers, stored_row)
        self._enter(stored_row, delete.old, NOTHING)
        self._compare_by(delete.row, b"", new=False)
        for row in tree:  # its members are deleted with it
            self._forget(row)
        self._record(ChangeKind.DELETED, delete.row, delete.id, delete.actor, delete.reason, b"")

    def _forget(self, row: int) -> None:
        """Delete what is linked to a row."""
        stored_row = layout.pack_u64(row)
        for mark in self._view.marks(row):
            self._distinct(DropDistinct(mark.row, mark.other))
        self._timeline.drop_row(row)
        for table in (self._tables.merged, self._tables.bonds):
            self._calls.delete(table, stored_row)
        for table in (self._tables.history, self._tables.members):
            with self._txn.cursor(table) as cursor:
                cursor.set_range(stored_row)
                while cursor.key().startswith(stored_row):
                    cursor.delete()  # and stand on the next, or on nothing: b""

    def _put_diff(self, put: PutDiff) -> None:
        key = layout.pack_history_key(put.row, put.sequence)
        stored = self._calls.get(self._tables.history, key)
        assert stored is not None, "read before"
        entry = layout.decode_history(put.sequence, stored)
        stored = layout.encode_history(
            entry.kind, entry.time_us, entry.actor.encode(), entry.reason.encode(), put.diff
        )
        self._calls.put(self._tables.history, key, stored)

    def _absorb(self, one: Absorb) -> None:
        stored_row = layout.pack_u64(one.row)
        record = self._view.record(one.row)
        assert record is not None, "checked before"
        self._calls.delete(self._tables.customers, stored_row)
        self._enter(stored_row, one.old, NOTHING)
        self._compare_by(one.row, b"", new=False)
        merged = MergedRow(one.survivor, one.sequence, one.place, record)
        self._put_merged(one.row, merged, record)
        place = layout.pack_member_key(one.survivor, one.sequence, one.place)
        self._calls.put(self._tables.members, place, stored_row)
        self._calls.put(self._tables.redirects, one.id.encode(), one.survivor_id.encode())
        self._remember(ChangeKind.MERGED, one.row, one.sequence, one.actor, "", b"")

    def _release(self, one: Release) -> None:
        stored_row, merged = layout.pack_u64(one.row), self._merged(one.row)
        self._calls.put(self._tables.customers, stored_row, one.record)
        self._enter(stored_row, NOTHING, one.new)
        self._compare_by(one.row, one.features, new=False)
        place = layout.pack_member_key(merged.survivor, merged.sequence, merged.place)
        self._calls.delete(self._tables.members, place)
        self._calls.delete(self._tables.merged, stored_row)
        self._calls.delete(self._tables.redirects, one.id.encode())
        self._record(ChangeKind.RESTORED, one.row, one.id, one.actor, one.reason, one.diff)

    def _merged(self, row: int) -> MergedRow:
        merged = self._view.merged(row)
        assert merged is not None, "checked before"
        return merged

    def _put_merged(self, row: int, merged: MergedRow, record: bytes) -> None:
        stored = layout.encode_merged(replace(merged, record=record))
        self._calls.put(self._tables.merged, layout.pack_u64(row), stored)

    def _bond(self, put: PutBond) -> None:
        if put.state is None:
            self._calls.delete(self._tables.bonds, layout.pack_u64(put.row))
        else:
            self._calls.put(self._tables.bonds, layout.pack_u64(put.row), put.state)

    def _distinct(self, change: PutDistinct | DropDistinct) -> None:
        for one, other in ((change.row, change.other), (change.other, change.row)):
            key = layout.pack_row_pair(one, other)
            if isinstance(change, DropDistinct):
                self._calls.delete(self._tables.distinct, key)
                continue
            stored = layout.encode_distinct(
                self._view.now_us, change.actor.encode(), change.reason.encode()
            )
            self._calls.put(self._tables.distinct, key, stored)

    def _model(self, put: PutModel) -> None:
        version = self._view.model_version + 1
        stored = layout.encode_model(
            version, self._view.now_us, put.actor.encode(), put.text.encode()
        )
        self._calls.put(self._tables.models, layout.MODEL_KEY, stored)
        self._calls.put(self._tables.models, layout.FREQUENCIES_KEY, put.frequencies)

    def _groups(self, change: PutGroups | DropGroups) -> None:
        if isinstance(change, PutGroups):
            for rank, group in enumerate(change.groups, change.first_rank):
                key = layout.pack_group_key(change.scan, rank)
                self._calls.put(self._tables.groups, key, group)
            return
        for rank, _ in self._view.groups(change.scan, 0, change.limit):
            self._calls.delete(self._tables.groups, layout.pack_group_key(change.scan, rank))

    def _operation(self, put: PutOperation) -> None:
        if put.state is None:
            self._calls.delete(self._tables.operations, put.key.encode())
        else:
            self._calls.put(self._tables.operations, put.key.encode(), put.state)

    def _request(self, put: PutRequest) -> None:
        stored = layout.encode_request(put.kind, put.row, put.sequence, self._view.wall_us)
        self._calls.put(self._tables.requests, put.request_id.encode(), stored)
        self._requests_put += 1

    def put_counters(self) -> None:
        """Put where the next transaction, of whatever process, goes on."""
        view = self._view
        counters = layout.encode_counters(view.next_row, view.next_sequence, view.now_us)
        self._calls.put(self._tables.meta, layout.META_COUNTERS, counters)

    def purge_requests(self, start: bytes) -> bytes:
        """Forget request ids past their time or damaged; return where the next call goes on.

        Like the hand of a clock: each commit looks at as many ids as it put, and a few more, from
        where the last one stopped. So the table holds at most about twice the live ids, no commit
        stalls, and no index by time is needed. Look-ups ignore what is not yet purged.
        """
        steps = PURGE_STEPS + self._requests_put
        with self._txn.cursor(self._tables.requests) as cursor:
            cursor.set_range(start)
            while steps and cursor.key():
                steps -= 1
                if self._is_remembered(cursor.value()):
                    cursor.next()
                else:
                    cursor.delete()  # and stand on the next
            return cursor.key() or b"\0"

    def _is_remembered(self, stored: bytes) -> bool:
        try:
            return self._view.remembers(layout.decode_request(stored))
        except (FormatMismatch, StorageFault):
            return False


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
