"""A process to be killed: saves and deletes at random and prints what was acknowledged.

`python -m tests.index.crash_writer FOLDER NAME SEED`; lines are `id version`, version 0 for gone.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from service.index import Index, State
from tests.index.cards import Person, opened, read, remove, save

IDS = 40


async def write_at_random(index: Index, dice: random.Random, ids: list[str]) -> None:
    """Submit batches and print each item that came back.

    New ones come with companions, many and in bulk, so that runs are added and merged throughout.
    """
    versions = await versions_so_far(index, ids)
    while ids:
        batch = dice.sample(ids, min(len(ids), dice.randint(1, 5)))
        decisions = []
        for id in batch:
            versions[id] += 1
            emails = (f"{dice.randrange(20)}@x.org", f"a.{dice.randrange(20)}@x.org")
            person = Person(id, emails, note=str(versions[id]) + "." * dice.randrange(3_000))
            gone = dice.random() < 0.002
            bulk = dice.random() < 0.5  # a new customer's entries then stand in a sorted run
            decisions.append(remove(index, id) if gone else save(index, person, bulk=bulk))
            if gone:
                versions[id] = 0
                ids.remove(id)
        crowd = [Person(f"{dice.getrandbits(64):x}", (f"{dice.random()}@y.org",)) for _ in batch]
        decisions += [save(index, person, bulk=True) for person in crowd]
        outcomes = await index.submit(decisions)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        for id in batch:
            print(id, versions[id], flush=True)


async def versions_so_far(index: Index, ids: list[str]) -> dict[str, int]:
    """Read where a killed predecessor left off, forgetting ids it deleted."""
    versions = {}
    with index.snapshot() as snapshot:
        for id in list(ids):
            found = snapshot.find(id)
            record = snapshot.record(found.row)
            if found.state is State.DELETED:
                ids.remove(id)
            versions[id] = 0 if record is None else version_of(read(record))
    return versions


def version_of(person: Person) -> int:
    """Read the version that a note starts with."""
    return int(person.note.rstrip("."))


async def main(folder: Path, name: str, seed: int) -> None:
    """Write in several tasks until killed, holding a snapshot that nobody will close."""
    async with opened(folder) as index:
        dice = random.Random(seed)
        held = index.snapshot()
        ids = [f"{name}-{number}" for number in range(IDS)]
        await asyncio.gather(
            *(write_at_random(index, dice, ids[part::4]) for part in range(4)),
        )
        held.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
