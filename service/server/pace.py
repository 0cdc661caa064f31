"""Long answers made in pieces, so that other calls of the worker go on meanwhile."""

from __future__ import annotations

import asyncio
import time

PIECE_S = 0.005  # how long one call may keep the event loop: about the time of a few saves


class Pace:
    """Lets others run whenever one call has had the event loop for long enough."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def step(self) -> None:
        """Call this between pieces of work; a cancelled call ends here."""
        if time.perf_counter() - self._since > PIECE_S:
            await asyncio.sleep(0)
            self._since = time.perf_counter()
