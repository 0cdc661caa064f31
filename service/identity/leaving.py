"""Items that deleted customers left behind: dropped some thousand to a commit.

A customer with few items is deleted with them in one commit. One with a million would hold up all
saves for ten seconds: so its deletion takes all else, and what it leaves is found by nobody.
"""

from __future__ import annotations

import asyncio

import structlog

from service.index import Decision, DropLeaving, Index, View
from service.settings import Settings

log = structlog.get_logger("namesake")


class Sweeper:
    """The background task of one account, in one process of those that share it."""

    def __init__(self, index: Index, settings: Settings) -> None:
        self._index = index
        self._limit = settings.item_drop_rows
        self._look_s = settings.item_drop_look_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; the next start goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.round()
            except Exception as error:  # noqa: BLE001  a full disk, say, or a bug: try again later
                log.warning("sweep_failed", fault=type(error).__name__)
            await asyncio.sleep(self._look_s)

    async def round(self) -> None:
        """Drop what was left, in the line of the imports: card saves go before it."""
        while self._is_due():
            (fault,) = await self._index.submit([self._decide], bulk=True)
            if fault is not None:
                raise fault

    def _is_due(self) -> bool:
        with self._index.snapshot() as snapshot:
            return snapshot.timeline.is_anything_leaving

    def _decide(self, _view: View) -> Decision[None]:
        return Decision(None, (DropLeaving(self._limit),))
