"""Kill -9 at any moment: what was acknowledged is there, and the index is sound.

`NAMESAKE_TEST_CRASH_ROUNDS` sets the number of rounds.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from service.index import RunKind, State
from tests.index.cards import Person, faults, opened, read, save, submit_one
from tests.index.crash_writer import version_of

ROUNDS = int(os.environ.get("NAMESAKE_TEST_CRASH_ROUNDS", "12"))


def write_until_killed(folder: Path, names: list[str], dice: random.Random) -> dict[str, int]:
    """Run one writer process per name, kill them, return id → acknowledged version."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.index.crash_writer",
             str(folder), name, str(dice.randrange(1 << 30))],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]  # fmt: skip
    lines = [first_line(writer) for writer in writers]  # all are at work
    time.sleep(dice.random() * 0.3)
    for writer in writers:
        writer.kill()
    for writer in writers:
        rest, _ = writer.communicate()
        lines += rest.splitlines(keepends=True)
    acknowledged = {}
    for line in lines:
        if line.endswith("\n"):  # the last one may be cut
            id, version = line.split()
            acknowledged[id] = int(version)
    return acknowledged


def first_line(writer: subprocess.Popen[str]) -> str:
    """Wait for the first acknowledgement."""
    assert writer.stdout is not None
    return writer.stdout.readline()


async def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Rounds of writers, every other with two at once, over one growing folder."""
    dice = random.Random(20_260_101)
    acknowledged: dict[str, int] = {}
    under_way = 0
    for number in range(ROUNDS):
        names = ["a", "b"] if number % 2 else [f"solo{number % 4}"]
        acknowledged |= write_until_killed(tmp_path, names, dice)
        async with opened(tmp_path) as index:
            assert faults(index) == []
            with index.snapshot() as snapshot:
                for id, version in acknowledged.items():
                    found = snapshot.find(id)
                    if version == 0 or found.state is State.DELETED:
                        # A deletion may have been durable and its acknowledgement cut off.
                        assert found.state is State.DELETED
                        continue
                    record = snapshot.record(found.row)
                    assert record is not None
                    assert version_of(read(record)) >= version
            await submit_one(index, save(index, Person(f"between-{number}")))
            with index.snapshot() as snapshot:
                under_way += bool(snapshot.runs(RunKind.BLOCKS).manifest.merges)
    assert len(acknowledged) > 10
    assert under_way > ROUNDS // 3  # merges were interrupted
