"""Merging by machine: what the account's policy merges after a save, an import and a scan.

Customers that look the same are a group (`judging`); its oldest remains. A save leaves its row to a
bounded queue of its worker. Imports and scans leave word in their own transactions (`due`), and one
worker begins an operation for each, one after the other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice

import structlog

from service.errors import (
    Cancelled,
    Deleted,
    InvalidArgument,
    LimitExceeded,
    MergeConflict,
    Merged,
    NamesakeError,
    NotFound,
    OperationUnderWay,
    ShuttingDown,
    StaleEtag,
)
from service.identity.bonds import Evidence
from service.identity.due import AFTER_IMPORT, Due, every_due, spans
from service.identity.judging import LEFT, Group, Judge, Outcome
from service.identity.matching import Found
from service.identity.merging import Merger, Plan, Why
from service.identity.minute import Minute
from service.identity.operations import INTERRUPTED, Done, Operation, Operations, Progress, Work
from service.identity.policy import Policy, policy_of
from service.identity.scans import chosen, groups
from service.index import Decision, Index, Mutation, PutOperation, Reads, View
from service.settings import Settings

log = structlog.get_logger("namesake")

ACTOR = "namesake policy"
REASON = "any two of them are as sure as the account's policy asks"
POLICY_LIFE_S = 1.0  # how long saves may not notice another policy
LOOK_S = 1.0  # between looks whether a merge may be done within the minute
SCAN_STEP_GROUPS = 100
REST_S = 0.005  # at most, after a look
TRIES = 5  # of a look whose customers others change meanwhile, or that storage fails
PAUSE_S = 0.1  # after the first of them, twice as long after each further one: 3 s in all
AGAIN_S = 60.0  # before an operation that failed is begun again, twice as long each time,
DOUBLED = 6  # up to an hour


_Rows = Callable[[Reads, Policy], Awaitable[Collection[int]]]
_IsOn = Callable[[Policy], bool]


class MachineMerger:
    """Follows the policy of one account, in one worker process."""

    def __init__(
        self,
        index: Index,
        merger: Merger,
        judge: Judge,
        operations: Operations,
        settings: Settings,
        note: Callable[[Outcome], object],
    ) -> None:
        self._index = index
        self._merger = merger
        self._judge = judge
        self._operations = operations
        self._settings = settings
        self._note = note
        self._minute = Minute(index.folder)
        self._policy, self._fresh_until_s = Policy(), 0.0
        self._waiting: dict[int, None] = {}  # rows, in the order in which they were saved
        self._looking: asyncio.Task[None] | None = None
        self._attending: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to attend to what imports and scans leave: in one process of the account's."""
        self._attending = asyncio.create_task(self._attend())

    async def close(self) -> None:
        """Stop. Rows that wait are left to a scan; operations go on after the next start."""
        tasks = [task for task in (self._looking, self._attending) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # After a save

    def saved(self, reads: Reads, row: int, found: Found) -> None:
        """Look at a customer that was saved, soon, if the policy says so; `found` looks like it."""
        policy = self._in_force(reads)
        if not policy.on_save or not found.similar:
            return
        if found.similar[0].score.probability < policy.least_probability:
            return
        if row not in self._waiting and len(self._waiting) >= self._settings.merge_queue_rows:
            self._note(Outcome.CROWDED)
            return
        self._waiting[row] = None
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_at_waiting())

    def _in_force(self, reads: Reads) -> Policy:
        now_s = time.monotonic()
        if now_s >= self._fresh_until_s:
            self._policy, self._fresh_until_s = policy_of(reads), now_s + POLICY_LIFE_S
        return self._policy

    async def _look_at_waiting(self) -> None:
        while self._waiting:
            row = next(iter(self._waiting))
            del self._waiting[row]  # a save from now on makes it wait again
            run = f"save-{datetime.now(UTC):%Y-%m-%d}"
            await self._look(partial(self._judge.like, row), run, _on_save)

    # After an import and a scan

    async def _attend(self) -> None:
        while True:
            try:
                await self._begin_due()
            except NamesakeError as error:
                log.warning("merges_not_begun", reason=error.reason)
            except Exception as error:  # noqa: BLE001  a bug; try again later
                log.error("merges_not_begun", fault=type(error).__name__)
            await asyncio.sleep(self._settings.merge_look_s)

    async def _begin_due(self) -> None:
        """Begin the operation of what is due, unless one is under way; forget what is done."""
        with self._index.snapshot() as snapshot:
            every = every_due(snapshot)
        if every:
            await self._operations.recover()  # one that nobody does would be waited for for ever
        begun = [self._operations.find(due.operation) for due in every]
        if any(operation is not None and not operation.done for operation in begun):
            return
        for due, before in zip(every, begun, strict=True):
            if due.operation and (before is None or _is_over(before)):
                await self._submit(due.drop())
            elif before is None or not _is_early(before, due.failed):
                await self._begin(due, before)
                return

    async def _begin(self, due: Due, before: Operation | None) -> None:
        """Begin an operation, and note in the same commit that it is the one."""
        failed = due.failed + (before is not None and before.failure != INTERRUPTED)

        def noted(operation: Operation) -> tuple[Mutation, ...]:
            return (replace(due, operation=operation.name, failed=failed).put(),)

        work, facts = self._work_of(due), {"run": due.run}
        with suppress(LimitExceeded, OperationUnderWay, ShuttingDown):  # later, then
            await self._operations.start(due.kind, facts, ACTOR, work, OperationUnderWay, noted)

    def _work_of(self, due: Due) -> Work:
        work = self._after_import if due.kind == AFTER_IMPORT else self._after_scan
        return partial(work, due)

    async def _after_import(self, due: Due, _operation: Operation, progress: Progress) -> Done:
        """Look at each customer that an import created; what is done is forgotten as it goes."""
        tally = _Tally(due.run, progress)
        with self._index.snapshot() as snapshot:
            left = list(spans(snapshot, due.of))
        total = sum(end - first for _, first, end in left)
        for key, first, end in left:
            for row in range(first, end):
                outcome = await self._look(partial(self._judge.like, row), due.run, _on_import)
                tally.add(outcome, (tally.looked_at + 1) / total)
                if outcome is Outcome.OFF:
                    return tally.done()
            await self._submit(PutOperation(key, None))
        return tally.done()

    async def _after_scan(self, due: Due, _operation: Operation, progress: Progress) -> Done:
        """Look at each group of a scan, the surest first, as long as no later scan is done."""
        tally = _Tally(due.run, progress)
        rank = 0
        while True:
            with self._index.snapshot() as snapshot:
                least = policy_of(snapshot).least_probability
                try:
                    scan = chosen(snapshot, due.of)
                except NotFound:
                    return tally.done()
                step = list(islice(groups(snapshot, scan, rank, least, 1.0), SCAN_STEP_GROUPS))
            if not step:
                return tally.done()
            for group in step:
                outcome = await self._look_at_group(group.rows, due.run)
                rank = group.rank
                tally.add(outcome, rank / scan.groups)
                if outcome is Outcome.OFF:
                    return tally.done()

    async def _look_at_group(self, rows: Sequence[int], run: str) -> Outcome:
        # Too large a group is stored in parts, each of at least half as many as a part may have.
        if len(rows) >= self._settings.scan_group_rows // 2:
            self._note(Outcome.LARGE)
            return Outcome.LARGE
        return await self._look(partial(self._judge.together, rows), run, _on_scan)

    async def _submit(self, put: PutOperation) -> None:
        (outcome,) = await self._index.submit([partial(_decide, put)])
        if isinstance(outcome, Exception):
            raise outcome

    # A group

    async def _look(self, rows_of: _Rows, run: str, is_on: _IsOn) -> Outcome:
        """Merge a group if the policy wants it; count what came of it, whatever that is."""
        since_s = time.perf_counter()
        outcome = await self._try(rows_of, run, is_on)
        self._note(outcome)
        # Card saves have the event loop for as long as this had it.
        await asyncio.sleep(min(time.perf_counter() - since_s, REST_S))
        return outcome

    async def _try(self, rows_of: _Rows, run: str, is_on: _IsOn) -> Outcome:
        """Look again, after a pause, where others were faster or storage failed."""
        outcome, fault = Outcome.CHANGED, ""
        for number in range(TRIES):
            try:
                outcome = await self._settle(rows_of, run, is_on)
            except NamesakeError as error:  # a full disk, say
                outcome, fault = Outcome.FAILED, error.reason
            except Exception as error:  # noqa: BLE001  a bug must not stop all that comes after
                log.error("machine_merge_failed", fault=type(error).__name__)
                return Outcome.FAILED
            if outcome not in (Outcome.CHANGED, Outcome.FAILED):
                return outcome
            await asyncio.sleep(PAUSE_S * 2**number)
        if outcome is Outcome.FAILED:
            log.warning("machine_merge_failed", reason=fault)
        return outcome

    async def _settle(self, rows_of: _Rows, run: str, is_on: _IsOn) -> Outcome:
        while True:
            with self._index.snapshot() as snapshot:
                policy = policy_of(snapshot)
                if not is_on(policy):
                    return Outcome.OFF
                rows = sorted(await rows_of(snapshot, policy))
                judged = await self._judge.judge(snapshot, rows, policy)
            if isinstance(judged, Outcome):
                return judged
            async with self._minute.turn():
                with self._index.snapshot() as snapshot:
                    wait_s = self._minute.wait_s(snapshot, policy.merges_a_minute)
                if not wait_s:
                    return await self._merge(judged, run)
            await asyncio.sleep(min(wait_s, LOOK_S))  # and judge again: cards may have changed

    async def _merge(self, group: Group, run: str) -> Outcome:
        why = Why(ACTOR, REASON, evidence=Evidence(run, group.probability, group.words))
        try:
            await self._merger.merge(Plan(group.customers), why)
        except (MergeConflict, InvalidArgument):
            return Outcome.CONFLICT
        except (StaleEtag, Merged, Deleted, NotFound):
            return Outcome.CHANGED
        return Outcome.MERGED


class _Tally:
    """What an operation has come to so far."""

    def __init__(self, run: str, progress: Progress) -> None:
        self.looked_at = 0
        self._run = run
        self._merges = self._left = 0
        self._progress = progress

    def add(self, outcome: Outcome, share: float) -> None:
        """Count one more look."""
        self.looked_at += 1
        self._merges += outcome is Outcome.MERGED
        self._left += outcome in LEFT
        self._progress.tell("merging", share, merges=self._merges)

    def done(self) -> Done:
        """Return the result of the operation."""
        return Done(
            {
                "run": self._run,
                "looked_at": self.looked_at,
                "merges": self._merges,
                "left": self._left,
            }
        )


def _is_over(operation: Operation) -> bool:
    """Tell whether an operation that is done is not to be begun again."""
    failure = operation.failure
    return failure is None or failure.reason == Cancelled.reason or operation.cancel_requested


def _is_early(operation: Operation, failed: int) -> bool:
    """Tell whether it is too early to begin anew what failed, the more so the more often it did."""
    if operation.failure == INTERRUPTED:
        return False
    age_s = time.time() - operation.end_us / 1e6
    return 0.0 <= age_s < AGAIN_S * 2.0 ** min(failed, DOUBLED)


def _on_save(policy: Policy) -> bool:
    return policy.on_save


def _on_import(policy: Policy) -> bool:
    return policy.on_import


def _on_scan(policy: Policy) -> bool:
    return policy.on_scan


def _decide(put: PutOperation, _view: View) -> Decision[None]:
    return Decision(None, (put,))
