"""How many merges the account's policy does in a minute, over all workers."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from service.identity.bonds import merge_record
from service.index import Reads

MINUTE_S = 60.0
TURN_S = 0.02  # between looks whether it is the own turn


class Minute:
    """The policy's merges of the last minute, in whichever worker, as far as they are known."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = 0  # the last merge that was looked at
        self._times_s: deque[float] = deque()  # on the monotonic clock, ascending

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until nobody else, in whichever worker, merges for the policy of this account.

        So none oversteps the limit of a minute because another does just then.
        """
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            while not _locked(descriptor):  # noqa: ASYNC110  another process tells nobody
                await asyncio.sleep(TURN_S)
            yield
        finally:
            os.close(descriptor)  # which lets go of the lock

    def wait_s(self, reads: Reads, limit: int) -> float:
        """Return how long to wait before the next merge, 0 if it may be done at once."""
        now_s = time.monotonic()
        self._look(reads, now_s)
        while self._times_s and self._times_s[0] <= now_s - MINUTE_S:
            self._times_s.popleft()
        over = len(self._times_s) - limit
        return 0.0 if over < 0 else self._times_s[over] + MINUTE_S - now_s

    def _look(self, reads: Reads, now_s: float) -> None:
        """Take note of merges that are new, back to a minute ago."""
        ages_s: list[float] = []
        first = self._seen
        for sequence, stored in reads.merges():
            if sequence <= first:
                break
            self._seen = max(self._seen, sequence)
            record = merge_record(stored)
            # Of a clock that ran ahead, a merge counts from when it was seen.
            age_s = max(0.0, time.time() - record.time_us / 1e6)
            if age_s >= MINUTE_S:
                break
            if record.run:
                ages_s.append(age_s)
        self._times_s.extend(now_s - age_s for age_s in reversed(ages_s))


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
