"""How far back the change feed goes: the oldest events leave it, by age and by size.

The newest one always stays, so the feed knows where it ends, and the history of customers keeps
everything. A commit drops some hundred events, in the line of the imports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from service.core.model import Codec
from service.index import Change, Decision, Index, Reads, TrimChanges, View
from service.settings import Settings

log = structlog.get_logger("namesake")


class Trimmer:
    """The background task of one account, in one process of those that share it."""

    def __init__(self, index: Index, codec: Codec, settings: Settings) -> None:
        self._index = index
        self._codec = codec
        self._settings = settings
        self._task: asyncio.Task[None] | None = None
        self._hand = 0  # up to here older changes were looked through for stale ones

    def start(self) -> None:
        """Begin, if there is a bound."""
        if self._settings.changes_kept_s or self._settings.changes_kept_bytes:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.round()
            except Exception as error:  # noqa: BLE001  a full disk, say, or a bug: try again later
                log.warning("trim_failed", fault=type(error).__name__)
            await asyncio.sleep(self._settings.changes_look_s)

    async def round(self) -> int:
        """Drop what is too old or too much; return how many events that were."""
        dropped = 0
        while self._is_due():
            (done,) = await self._index.submit([self._decide], bulk=True)
            if isinstance(done, Exception):
                raise done
            count, self._hand = done
            dropped += count
        return dropped

    def _is_due(self) -> bool:
        with self._index.snapshot() as snapshot:
            first = snapshot.changes(0, 2)  # and the last one stays
            return len(first) > 1 and self._count(snapshot, first) > 0

    def _decide(self, view: View) -> Decision[tuple[int, int]]:
        """Drop the first events; return how many, and where the hand is then."""
        events = view.changes(0, self._settings.changes_drop_rows + 1)
        count = min(self._count(view, events), len(events) - 1)
        if count <= 0:
            return Decision((0, self._hand))
        gone = events[:count]
        kept = [
            (event.sequence, event.row)
            for event in gone
            if self._is_last(view, event.sequence, event.row)
        ]
        # As many are looked at as may be put: so stale ones are never many more than the others.
        seen = view.older(self._hand, count)
        stale = [sequence for sequence, row in seen if not self._is_last(view, sequence, row)]
        hand = seen[-1][0] if len(seen) == count else 0
        return Decision((count, hand), (TrimChanges(events[count].sequence, kept, stale),))

    def _count(self, reads: Reads, events: Sequence[Change]) -> int:
        """Return how many of the first events are too old or too much, and perhaps more."""
        old = excess = 0
        if kept_s := self._settings.changes_kept_s:
            since_us = reads.wall_us - kept_s * 1_000_000
            old = sum(event.time_us < since_us for event in events)
        if kept := self._settings.changes_kept_bytes:
            entries, size = reads.changes_size
            excess = -(-entries * (size - kept) // size) if size > kept else 0
        return max(old, excess)

    def _is_last(self, view: View, sequence: int, row: int) -> bool:
        """Tell whether a change wrote the record of a live customer last.

        None did of one that is merged: who is given back is written by the unmerge.
        """
        record = view.record(row)
        return record is not None and self._codec.written_by(record) == sequence
