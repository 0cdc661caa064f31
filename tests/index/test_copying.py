"""Copies: what an index holds, and nothing that it held; compaction, alone and killed."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

import lmdb
import pytest

from service.errors import IndexBusy, StorageFault
from service.index import copying, layout
from tests.index.cards import Person, bounds, faults, opened, remove, save_all, submit_one

SECRET = "ludmila.zaitseva"
FILE = "data.mdb"


def pairs_of(file: Path) -> dict[bytes, list[tuple[bytes, bytes]]]:
    """Return all that a file holds, by sub-database."""
    with lmdb.open(str(file), subdir=False, lock=False, readonly=True, max_dbs=32) as env:
        with env.begin() as txn:
            names = [name for name, _ in txn.cursor()]
        tables = {name: env.open_db(name, create=False) for name in names}
        with env.begin() as txn:
            return {name: list(txn.cursor(table)) for name, table in tables.items()}


def copied(folder: Path, to: Path) -> Path:
    """Return a copy as a backup would have it."""
    with to.open("wb") as sink:
        copying.run(folder, sink.fileno())
    return to


@pytest.mark.parametrize("seed", range(3))
def test_a_copy_has_every_pair_of_every_kind(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys with a value, with a page of them, with a tree of them; values of many pages."""
    chance = random.Random(seed)
    folder = tmp_path / "own"
    kinds = [(False, False), (True, False), (True, True)]
    with lmdb.open(str(folder), max_dbs=32, map_size=1 << 28) as env:
        for number in range(9):
            several, fixed = kinds[number % 3]
            table = env.open_db(b"t%d" % number, dupsort=several, dupfixed=fixed)
            with env.begin(write=True) as txn:
                for _ in range(chance.choice((0, 1, 40, 2_000))):
                    key = chance.randbytes(chance.randint(1, 511))
                    size = 8 if several else chance.choice((0, 8, 100, 5_000, 100_000))
                    count = chance.choice((1, 1, 2, 200, 3_000)) if several else 1
                    for _ in range(count if chance.random() < 0.02 else 1):
                        txn.put(key, chance.randbytes(size), db=table)
    monkeypatch.setattr(copying, "STEP_BYTES", 10_000)  # for `compact`
    before = pairs_of(folder / FILE)
    assert pairs_of(copied(folder, tmp_path / "copy")) == before
    copying.compact(folder)
    assert pairs_of(folder / FILE) == before
    with lmdb.open(str(folder), max_dbs=32) as env:  # and it can be written to
        table = env.open_db(b"t2")
        with env.begin(write=True) as txn:
            assert txn.put(b"key", layout.pack_u64(1), db=table)


async def test_what_was_deleted_is_in_no_copy(tmp_path: Path) -> None:
    """Nor in the file, once it was compacted; its id is."""
    folder = tmp_path / "own"
    async with opened(folder) as index:
        await save_all(index, [Person(f"p{n}", (f"p{n}@x.org",)) for n in range(2_000)], bulk=True)
        gone = [
            Person(f"gone{n}", (f"{SECRET}{n}@x.org",), others=(("crm", SECRET),), note=SECRET)
            for n in range(50)
        ]
        await save_all(index, gone[:25])
        await save_all(index, gone[25:], bulk=True)
        for one in gone:
            await submit_one(index, remove(index, one.id))
        file = folder / FILE
        assert SECRET.encode() in file.read_bytes()  # in pages that are free
        source = copied(folder, tmp_path / "copy")
    assert pairs_of(source) == pairs_of(file)
    assert SECRET.encode() not in source.read_bytes()
    assert b"gone7" in source.read_bytes()
    before, after = copying.compact(folder)
    assert after < before
    assert after == file.stat().st_size
    assert SECRET.encode() not in file.read_bytes()
    async with opened(folder) as index:
        assert faults(index) == []
        await save_all(index, [Person("new")])


def filled(folder: Path, people: list[Person]) -> None:
    """Put people into an index, and close it."""

    async def fill() -> None:
        async with opened(folder, bounds()) as index:
            await save_all(index, people, bulk=True)

    asyncio.run(fill())


def files(folder: Path) -> list[str]:
    """Return the names of the files of a folder."""
    return sorted(file.name for file in folder.iterdir())


def test_a_file_that_is_in_use_is_not_compacted(tmp_path: Path) -> None:
    """By this process or another; nor is what is not there."""
    with pytest.raises(StorageFault):
        copying.compact(tmp_path)
    folder = tmp_path / "own"
    filled(folder, [Person("a")])
    code = f"import lmdb; e = lmdb.open({str(folder)!r}, max_dbs=32); print(1, flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    other.stdout.readline()
    with pytest.raises(IndexBusy):
        copying.compact(folder)
    other.communicate(b"\n")
    copying.compact(folder)


def test_a_compaction_that_is_killed_changes_nothing(tmp_path: Path) -> None:
    """At any moment; the next one takes away what it left."""
    folder, dice = tmp_path / "own", random.Random(7)
    filled(folder, [Person(f"p{n}", note="x" * 3_000) for n in range(3_000)])
    held = pairs_of(folder / FILE)
    code = (
        "import sys; from pathlib import Path; from service.index.copying import compact;"
        "print(1, flush=True); compact(Path(sys.argv[1]))"
    )
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(dice.random() * 0.1)
        process.kill()
        process.communicate()
        assert pairs_of(folder / FILE) == held
    copying.compact(folder)
    assert pairs_of(folder / FILE) == held
    assert files(folder) == [FILE, "lock.mdb"]


def test_a_copy_needs_room(tmp_path: Path) -> None:
    """Where there is none it says so, and leaves nothing behind."""
    folder = tmp_path / "own"
    filled(folder, [Person(f"p{n}", note="x" * 3_000) for n in range(1_000)])
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20));"
        "import os, sys; from pathlib import Path; from service.index import copying;"
        "from service.errors import StorageFull\n"
        "try: copying.run(Path(sys.argv[1]), os.open('/dev/null', os.O_WRONLY))\n"
        "except StorageFull: print('full')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "full\n"
    assert files(folder) == [FILE, "lock.mdb"]
