"""When a broken stream is opened again, and when it is given up."""

from __future__ import annotations

import random
import time

import grpc

ATTEMPTS = 9  # without progress: about half a minute, enough for a server to be restarted
FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 8.0

# A server that went away, drains, is full or ended a reader that was too slow.
_PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    }
)


class Retry:
    """Waits longer after each failure; gives up after `ATTEMPTS` of them without progress."""

    def __init__(self) -> None:
        self._failures = 0
        self._reached = False

    def reached(self) -> None:
        """Note that the server answered: one that never did is not waited for."""
        self._reached = True

    def progressed(self) -> None:
        """Note that the stream got further: the next failure is a first one again."""
        self._reached = True
        self._failures = 0

    def wait_or_raise(self, error: grpc.RpcError) -> None:
        """Sleep before the next attempt, or raise `error` where another is of no use."""
        self._failures += 1
        if not self._reached or error.code() not in _PASSING or self._failures >= ATTEMPTS:
            raise error
        delay = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (self._failures - 1))
        time.sleep(delay * random.uniform(0.5, 1.0))
