"""Load on one unary method from one process over one connection, with requests encoded before.

Closed loop: each of N callers sends its next request when it has the answer, which finds the
highest rate. Open loop: requests are sent at fixed times whether or not answers came, and latency
counts from the intended time, so that a stall is felt by all who would have called during it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter

Call = Callable[[bytes], Awaitable[object]]

START_S = 0.05


@dataclass(slots=True)
class Load:
    """What one run saw. The warm-up is in `sent` and nowhere else."""

    seconds: float
    latencies_s: list[float] = field(default_factory=list)
    sent: int = 0

    @property
    def rate(self) -> float:
        """Calls a second that were answered."""
        return len(self.latencies_s) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Return the latency that so many calls in a hundred did not exceed."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1e3


async def closed_loop(
    call: Call, requests: Iterator[bytes], callers: int, seconds: float, warm_up_s: float
) -> Load:
    """Call as fast as answers come; raise RuntimeError where the requests do not last."""
    load = Load(seconds)
    counts_from = perf_counter() + warm_up_s
    ends = counts_from + seconds

    async def caller() -> None:
        while (began := perf_counter()) < ends:
            if (request := next(requests, None)) is None:
                raise RuntimeError("too few requests were prepared")
            await call(request)
            done = perf_counter()
            load.sent += 1
            if counts_from <= done < ends:
                load.latencies_s.append(done - began)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return load


async def open_loop(
    call: Call, requests: Iterator[bytes], rate: float, seconds: float, warm_up_s: float
) -> Load:
    """Call at a steady pace; the loop's own lateness (up to 1 ms) counts as latency."""
    load = Load(seconds)
    start = perf_counter() + START_S
    tasks = []

    async def caller(request: bytes, intended: float) -> None:
        await call(request)
        if intended >= start + warm_up_s:
            load.latencies_s.append(perf_counter() - intended)

    for request in islice(requests, int(rate * (warm_up_s + seconds))):
        intended = start + load.sent / rate
        if (early_s := intended - perf_counter()) > 0:
            await asyncio.sleep(early_s)
        load.sent += 1
        tasks.append(asyncio.create_task(caller(request, intended)))
    await asyncio.gather(*tasks)
    return load
