"""Changes to many customers: updated in the same way, or deleted.

Customers are chosen once, by ids or by a filter over one snapshot; then they are changed a few to a
commit, so that card saves need not wait. What becomes of each is planned on a snapshot, beside the
calls that are served; its decision reads it again, and plans again if it changed since, so that the
change is made to what is there then. One that cannot be changed is a result with its reason and
holds up no other. What became of each is written to a file (`results`) as soon as it is durable.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeVar

from service.core.model import Codec, Sealed
from service.errors import (
    CountMismatch,
    Deleted,
    LimitExceeded,
    Merged,
    NamesakeError,
    NoLongerMatches,
    NotFound,
)
from service.identity.erasing import erased
from service.identity.operations import Done, Operation, Operations, Progress
from service.identity.registry import Registry
from service.identity.results import BulkOutcome, Result, ResultWriter
from service.index import (
    ChangeKind,
    Decide,
    Decision,
    Delete,
    Found,
    Index,
    Mutation,
    Snapshot,
    State,
    View,
)
from service.settings import Settings

UPDATE, DELETE = "bulk-update", "bulk-delete"
KINDS = frozenset({UPDATE, DELETE})
CHOOSE_STEP_ROWS = 200  # read before others run: about a millisecond with a filter
PLAN_PIECE_S = 0.001  # of planning before others run: about the time of a save

T = TypeVar("T")


class Filter(Protocol):
    """Says which customers are meant. It has no state: event loop and writer thread both ask."""

    def matches(self, records: Sequence[bytes]) -> Sequence[bool]:
        """Tell of each record whether it is meant."""


class Amendment(Protocol):
    """A change that is made to each of many customers."""

    def amended(self, record: bytes) -> Sealed:
        """Return what results of a record; raise `InvalidArgument` where it breaks a rule."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Customers with one of some ids; without ids those that match a filter, None for all."""

    ids: tuple[str, ...] | None = None
    filter: Filter | None = None


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The rows of customers that were found, and what is to be said of ids that found nobody."""

    rows: array[int]
    missing: list[Result] = field(default_factory=list)


class _Plan(NamedTuple):
    """What becomes of a customer, and what writes it."""

    result: Result
    mutations: Callable[[View], Sequence[Mutation]] = lambda _view: ()


_Planner = Callable[[int, bytes], _Plan]  # of a row and its record


class Bulk:
    """Changes many customers of one account."""

    def __init__(
        self,
        index: Index,
        operations: Operations,
        registry: Registry,
        codec: Codec,
        settings: Settings,
    ) -> None:
        self._index = index
        self._operations = operations
        self._registry = registry
        self._codec = codec
        self._settings = settings

    async def count(self, selection: Selection) -> int:
        """Return how many customers a selection finds; raise LimitExceeded for too many ids."""
        if selection.ids is None and selection.filter is None:
            with self._index.snapshot() as snapshot:
                return snapshot.customer_count
        return len((await self._choose(selection, Progress())).rows)

    async def update(
        self, selection: Selection, amendment: Amendment, actor: str, *, dry_run: bool
    ) -> Operation:
        """Begin to change customers; raise LimitExceeded. A dry run stores nothing but results."""
        self._check_ids(selection)

        async def work(operation: Operation, progress: Progress) -> Done:
            chosen = await self._choose(selection, progress)
            planner = partial(self._plan_update, amendment, actor)
            return await self._change(operation, chosen, planner, progress, dry_run=dry_run)

        return await self._operations.start(UPDATE, {"dry_run": dry_run}, actor, work)

    async def delete(self, selection: Selection, count: int, reason: str, actor: str) -> Operation:
        """Begin to delete customers with their histories, for ever.

        Raises CountMismatch where they are not as many as `count`, and LimitExceeded where that is
        more than may be deleted at once; nothing is begun then.
        """
        limit = self._settings.bulk_delete_rows
        if count > limit:
            raise LimitExceeded(f"at most {limit} customers are deleted at once", field="count")
        # Not a survivor by the id of a member: whoever deletes has to mean all that it is.
        chosen = await self._choose(selection, Progress(), follow=False)
        found = len(chosen.rows)
        if found != count:
            raise CountMismatch(
                f"{found} customers are meant, not {count}; nothing is deleted",
                field="count",
                customers=str(found),
            )
        planner = partial(self._plan_delete, selection.filter, reason, actor)

        async def work(operation: Operation, progress: Progress) -> Done:
            return await self._change(operation, chosen, planner, progress)

        return await self._operations.start(DELETE, {"count": count}, actor, work)

    # Choosing

    def _check_ids(self, selection: Selection) -> None:
        limit = self._settings.bulk_ids
        if selection.ids is not None and len(selection.ids) > limit:
            raise LimitExceeded(f"at most {limit} ids are taken at once", field="selection.ids.ids")

    async def _choose(
        self, selection: Selection, progress: Progress, *, follow: bool = True
    ) -> _Chosen:
        self._check_ids(selection)
        if selection.ids is not None:
            return await self._by_ids(selection.ids, progress, follow=follow)
        return _Chosen(await self._by_filter(selection.filter, progress))

    async def _by_ids(self, ids: Sequence[str], progress: Progress, *, follow: bool) -> _Chosen:
        rows: dict[int, None] = {}  # several ids may lead to one survivor
        missing: list[Result] = []
        with self._index.snapshot() as snapshot:
            for number, id in enumerate(ids):
                found = snapshot.find(id)
                if found.row and (follow or found.state is State.LIVE):
                    rows[found.row] = None
                else:
                    missing.append(Result.failed(id, _why_gone(found)))
                if number % CHOOSE_STEP_ROWS == 0:
                    progress.tell("choosing", number / len(ids))
                    await asyncio.sleep(0)
        return _Chosen(array("Q", rows), missing)

    async def _by_filter(self, filter: Filter | None, progress: Progress) -> array[int]:
        rows = array("Q")
        looked_at = 0
        with self._index.snapshot() as snapshot:
            total = snapshot.customer_count
            customers = snapshot.customers()
            while step := list(islice(customers, CHOOSE_STEP_ROWS)):
                found = [row for row, _ in step]
                if filter is not None:
                    matches = filter.matches([record for _, record in step])
                    found = [row for row, is_meant in zip(found, matches, strict=True) if is_meant]
                rows.extend(found)
                looked_at += len(step)
                progress.tell("choosing", looked_at / total)
                await asyncio.sleep(0)
        return rows

    # Changing

    async def _change(
        self,
        operation: Operation,
        chosen: _Chosen,
        planner: _Planner,
        progress: Progress,
        *,
        dry_run: bool = False,
    ) -> Done:
        """Change what was chosen, batch by batch; what is durable is told before anything else."""
        run = _Run(chosen, progress)
        at_once = self._settings.bulk_batch_rows
        with self._operations.results.create(operation.name) as results:
            for start in range(0, len(chosen.missing), at_once):
                run.note(chosen.missing[start : start + at_once], results)
                await asyncio.sleep(0)
            for start in range(0, len(chosen.rows), at_once):
                rows = chosen.rows[start : start + at_once]
                decisions = await self._planned(rows, planner)
                outcomes = self._index.submit(decisions, dry_run=dry_run)
                await _to_its_end(self._write(rows, outcomes, run, results))
            await asyncio.to_thread(results.sync)
        return Done(run.counts())

    async def _planned(self, rows: Sequence[int], planner: _Planner) -> list[Decide[Result | None]]:
        """Return a decision for each customer, with what becomes of it unless it changes."""
        decisions: list[Decide[Result | None]] = []
        since = time.perf_counter()
        with self._index.snapshot() as snapshot:
            for row in rows:
                record = snapshot.record(row)
                plan: _Plan | None = None
                if record is not None:
                    # What breaks here breaks in the decision again, and is its result.
                    with suppress(Exception):
                        plan = planner(row, record)
                decisions.append(partial(_decide, row, planner, record, plan))
                if time.perf_counter() - since > PLAN_PIECE_S:
                    await asyncio.sleep(0)
                    since = time.perf_counter()
        return decisions

    async def _write(
        self,
        rows: Sequence[int],
        outcomes: Awaitable[list[Result | Exception | None]],
        run: _Run,
        results: ResultWriter,
    ) -> None:
        """Wait until customers are changed and note what became of them."""
        run.note(
            [
                outcome if isinstance(outcome, Result) else self._unread(row, outcome)
                for row, outcome in zip(rows, await outcomes, strict=True)
            ],
            results,
        )

    def _unread(self, row: int, error: Exception | None) -> Result:
        """Return the result of a customer that is gone (None), or whose decision broke."""
        with self._index.snapshot() as snapshot:
            id = self._id_of(snapshot, row)
            return Result.failed(id, error or _why_gone(snapshot.find(id)))

    def _id_of(self, snapshot: Snapshot, row: int) -> str:
        """Return whose row it is: its record says so, or the feed of one that is gone.

        Where the feed does not go back so far any more, nobody knows: "".
        """
        record, merged = snapshot.record(row), snapshot.merged(row)
        if record is None and merged is not None:
            record = merged.record
        if record is not None:
            with suppress(Exception):  # a record that broke a decision may break this too
                return self._codec.held(record).id
        for last in snapshot.history(row, limit=1):  # of a deleted survivor's member there is none
            events = snapshot.changes(last.sequence - 1, 1)
            return events[0].id if events and events[0].sequence == last.sequence else ""
        return ""

    # Plans: made on the event loop, and on the writer thread of who changed meanwhile.

    def _plan_update(self, amendment: Amendment, actor: str, row: int, old: bytes) -> _Plan:
        held = self._codec.held(old)
        try:
            sealed = amendment.amended(old)
        except NamesakeError as error:
            return _Plan(Result.failed(held.id, error))
        diff = self._codec.diff(old, sealed.body)
        if not diff:
            return _Plan(Result(held.id, BulkOutcome.UNCHANGED))

        def rewritten(view: View) -> list[Mutation]:
            kind = ChangeKind.UPDATED
            return [self._registry.rewrite(view, row, old, held, sealed, kind, diff, actor)]

        return _Plan(Result(held.id, BulkOutcome.CHANGED), rewritten)

    def _plan_delete(
        self, filter: Filter | None, reason: str, actor: str, row: int, old: bytes
    ) -> _Plan:
        held = self._codec.held(old)
        if filter is not None and not filter.matches([old])[0]:  # it cannot be undone
            changed = NoLongerMatches("it changed since it was chosen and does not match any more")
            return _Plan(Result.failed(held.id, changed))
        entries = self._index.entries_of(held)
        delete = Delete(row, id=held.id, old=entries, actor=actor, reason=reason)
        return _Plan(
            Result(held.id, BulkOutcome.CHANGED),
            lambda view: [*erased(row, view, self._codec), delete],
        )


def _decide(
    row: int, planner: _Planner, planned_of: bytes | None, plan: _Plan | None, view: View
) -> Decision[Result | None]:
    """Do as planned if the record is the one that was; None: the customer is gone."""
    record = view.record(row)
    if record is None:
        return Decision(None)
    if plan is None or record != planned_of:
        plan = planner(row, record)
    return Decision(plan.result, plan.mutations(view))


class _Run:
    """How far a change is."""

    def __init__(self, chosen: _Chosen, progress: Progress) -> None:
        self._chosen = len(chosen.rows)
        self._total = self._chosen + len(chosen.missing)
        self._progress = progress
        self._tally = Counter[BulkOutcome]()
        self._tell()

    def note(self, results: Sequence[Result], file: ResultWriter) -> None:
        """Count results and write them down."""
        self._tally.update(result.outcome for result in results)
        self._tell()
        file.append(results)

    def counts(self) -> dict[str, int]:
        """Return what the work came to so far."""
        return {
            "chosen": self._chosen,
            "changed": self._tally[BulkOutcome.CHANGED],
            "unchanged": self._tally[BulkOutcome.UNCHANGED],
            "failed": self._tally[BulkOutcome.FAILED],
        }

    def _tell(self) -> None:
        done = self._tally.total()
        self._progress.tell("changing", done / max(1, self._total), **self.counts())


async def _to_its_end(step: Coroutine[Any, Any, T]) -> T:
    """Return what a step comes to; cancelled meanwhile, end only when it has: it may be durable."""
    task = asyncio.create_task(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        _ = task.cancelled() or task.exception()  # or asyncio would say that nobody asked for it
        raise


def _why_gone(found: Found) -> NamesakeError:
    match found.state:
        case State.DELETED:
            return Deleted("the customer was deleted; its id is never used again")
        case State.MERGED:
            return Merged("the customer was merged into another")
        case _:
            return NotFound("there is no customer with this id")
