"""Settling verdicts: imports leave e-mails PENDING, and the background looks their domains up.

Each waiting domain is looked up once, whatever the number of rows that wait for it; then its rows
are rewritten with the finding, as changes of kind VERDICT. What waits is in the index, so that a
restart goes on where it was. A domain that cannot be looked up keeps waiting, and so does a row
that cannot be rewritten; neither holds up others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog

from service.core.model import Codec, Finding
from service.identity.registry import Registry
from service.index import ChangeKind, Decision, Index, SortWaiting, View
from service.settings import Settings
from service.validation.validator import Validator

log = structlog.get_logger("namesake")

ACTOR = "namesake"


class Settler:
    """The background task of one account, in one process of those that share it."""

    def __init__(
        self,
        index: Index,
        validator: Validator,
        registry: Registry,
        codec: Codec,
        settings: Settings,
    ) -> None:
        self._index = index
        self._validator = validator
        self._registry = registry
        self._codec = codec
        self._settings = settings
        self._task: asyncio.Task[None] | None = None
        self._after = ""  # the last domain that was looked up in this round

    def start(self) -> None:
        """Begin to settle."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; what waits is settled after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause_s = self._settings.settle_pause_s
        while True:
            try:
                settled, waiting = await self.round()
            except Exception as error:  # noqa: BLE001  a full disk, say, or a bug: try again later
                log.warning("settle_failed", fault=type(error).__name__)
                settled, waiting = 0, 1
            # Nothing to do or nothing to be had: wait, longer each time that DNS stays away.
            is_stuck = waiting > 0 and settled == 0
            longest_s = self._settings.settle_pause_limit_s
            pause_s = min(pause_s * 2, longest_s) if is_stuck else self._settings.settle_pause_s
            await asyncio.sleep(pause_s)

    async def round(self) -> tuple[int, int]:
        """Look every waiting domain up once; return how many were settled, and how many wait.

        Stops at the first batch of which none could be looked up, for the DNS is away then; the
        next round goes on behind it, so that domains nobody answers for, or that fail for another
        reason, hold up no others.
        """
        settled = waiting = 0
        await self._sort()
        while domains := self._waiting():
            self._after = domains[-1]
            verdicts = await self._validator.resolve(domains)
            known = {name: verdict for name, verdict in verdicts.items() if verdict.known}
            waiting += len(domains)
            for domain, verdict in known.items():
                finding = self._validator.domain_finding(domain, verdict)
                settled += await self._settle(domain, finding)
            if not known:
                return settled, waiting - settled
        self._after = ""
        return settled, waiting - settled

    async def _sort(self) -> None:
        """Let what batches left waiting, as of now, be found by domain."""
        with self._index.snapshot() as snapshot:
            left = snapshot.stored("waiting")
        sort = partial(_sort, self._settings.settle_sort_bytes)
        while left > 0:
            (done,) = await self._index.submit([sort], bulk=True)
            if isinstance(done, Exception):
                raise done
            if not done:  # what a save or a deletion touched was sorted with it
                return
            left -= done

    def _waiting(self) -> list[str]:
        with self._index.snapshot() as snapshot:
            return snapshot.pending_domains(self._after, self._settings.settle_batch_domains)

    async def _settle(self, domain: str, finding: Finding) -> bool:
        """Rewrite the rows that wait for a domain; tell whether none waits any more."""
        after_row = 0
        failures: list[Exception] = []
        while rows := self._rows(domain, after_row):
            decisions = [partial(self._decide, row, domain, finding) for row in rows]
            results = await self._index.submit(decisions)
            failures += [result for result in results if isinstance(result, Exception)]
            after_row = rows[-1]
        if failures:
            fault = type(failures[0]).__name__
            log.warning("settle_rows_failed", rows=len(failures), fault=fault)
        return not self._rows(domain, 0)

    def _rows(self, domain: str, after_row: int) -> Sequence[int]:
        with self._index.snapshot() as snapshot:
            return snapshot.pending_rows(domain, after_row, self._settings.settle_batch_rows)

    def _decide(self, row: int, domain: str, finding: Finding, view: View) -> Decision[None]:
        old = view.record(row)
        held = None if old is None else self._codec.held(old)
        if old is None or held is None or domain not in held.pending:
            return Decision(None)  # changed or deleted since the snapshot
        sealed = self._codec.settle(old, domain, finding)
        diff = self._codec.diff(old, sealed.body)
        put = self._registry.rewrite(view, row, old, held, sealed, ChangeKind.VERDICT, diff, ACTOR)
        return Decision(None, (put,))


def _sort(limit_bytes: int, view: View) -> Decision[int]:
    waiting = view.waiting(limit_bytes)
    return Decision(len(waiting), (SortWaiting(waiting),))
