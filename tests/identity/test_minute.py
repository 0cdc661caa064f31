"""How many merges of the policy are counted in a minute."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

import pytest

from service.identity.bonds import MergeRecord
from service.identity.minute import MINUTE_S, Minute
from service.index import Decision, Index, PutMerge, View
from tests.identity.test_batches import home


def _put(sequence: int, record: MergeRecord, _view: View) -> Decision[None]:
    return Decision(None, (PutMerge(sequence, record.encoded()),))


async def note(index: Index, sequence: int, age_s: float, run: str = "run") -> None:
    """Store a merge that was done so long ago."""
    time_us = int((time.time() - age_s) * 1e6)
    record = MergeRecord("survivor", ("member",), "actor", time_us, run=run)
    (outcome,) = await index.submit([partial(_put, sequence, record)])
    assert outcome is None


async def test_what_the_policy_merged_in_the_last_minute_counts(tmp_path: Path) -> None:
    """Not what a person merged, nor what is older; of a clock that ran ahead from now on."""
    async with home(tmp_path) as one:
        index, minute = one.index, Minute(one.index.folder)

        def wait_s(limit: int) -> float:
            with index.snapshot() as snapshot:
                return minute.wait_s(snapshot, limit)

        assert wait_s(1) == 0.0
        for sequence, age_s in enumerate((500, 70, 50, 20, -3_600), 1):
            await note(index, sequence, age_s)
        await note(index, 6, 0, run="")
        assert wait_s(4) == 0.0
        for limit, left_s in ((3, 10), (2, 40), (1, 60)):
            assert wait_s(limit) == pytest.approx(left_s, abs=2)
        await note(index, 7, 0)
        assert wait_s(4) == pytest.approx(10, abs=2)
        assert wait_s(1) == pytest.approx(MINUTE_S, abs=2)


async def test_one_at_a_time_has_its_turn(tmp_path: Path) -> None:
    """Of one process or of several; who is cancelled lets go of it."""
    under_way = most = 0

    async def merge(minute: Minute) -> None:
        nonlocal under_way, most
        async with minute.turn():
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            under_way -= 1

    one, other = Minute(tmp_path), Minute(tmp_path)
    await asyncio.gather(*(merge(minute) for minute in (one, other) * 5))
    assert most == 1

    async def stay() -> None:
        async with one.turn():
            await asyncio.sleep(60)

    staying = asyncio.create_task(stay())
    await asyncio.sleep(0.05)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(merge(other), 0.1)
    staying.cancel()
    await asyncio.wait({staying})
    await asyncio.wait_for(merge(other), 5)
