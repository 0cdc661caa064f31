"""A full map and a full disk: writes are refused, reads go on, writes resume."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lmdb
import pytest

from service.errors import IndexBusy, StorageFull
from tests.index.cards import Person, bounds, faults, opened, save_all

SMALL_MAP = bounds(map_size=1 << 20)
BIG_NOTE = "n" * 20_000


async def test_a_full_map_grows(tmp_path: Path) -> None:
    """Without open snapshots the map is replaced by a larger one, unseen by callers."""
    async with opened(tmp_path, SMALL_MAP) as index:
        people = [Person(f"p{n}", note=BIG_NOTE) for n in range(300)]
        assert [saved.row for saved in await save_all(index, people)] == list(range(1, 301))
        with index.snapshot() as snapshot:
            assert snapshot.stats().map_bytes > SMALL_MAP.map_size
            assert snapshot.customer_count == 300
        assert faults(index) == []


async def test_a_full_map_waits_for_snapshots(tmp_path: Path) -> None:
    """While a snapshot is open the map stays; writes are refused until it closes."""
    async with opened(tmp_path, SMALL_MAP) as index:
        await save_all(index, [Person("small")])
        with index.snapshot() as snapshot:
            people = [Person(f"p{n}", note=BIG_NOTE) for n in range(100)]
            with pytest.raises(StorageFull, match="NAMESAKE_MAP_SIZE"):
                await save_all(index, people)
            assert snapshot.record(1) == Person("small").record
            with index.snapshot() as another:
                assert another.customer_count == 1
        assert len(await save_all(index, people)) == 100
        assert faults(index) == []


async def test_a_full_map_grows_between_two_readers(tmp_path: Path) -> None:
    """Where one follows upon the other, the second gives way."""
    async with opened(tmp_path, SMALL_MAP) as index:

        async def read() -> None:
            while not saving.done():
                with index.snapshot():
                    await asyncio.sleep(0.02)

        for step in range(5):
            people = [Person(f"p{step}-{n}", note=BIG_NOTE) for n in range(100 << step)]
            saving = asyncio.ensure_future(save_all(index, people))
            await read()
            assert len(await saving) == 100 << step


OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from tests.index.cards import Person, bounds, opened, save_all

async def main():
    async with opened(Path(sys.argv[1]), bounds(map_size=1 << 20)) as index:
        await save_all(index, [Person(f"q{n}", note="n" * 20_000) for n in range(300)])

asyncio.run(main())
"""


@pytest.mark.parametrize("reader_first", [True, False])
async def test_a_map_grown_elsewhere_is_followed(tmp_path: Path, reader_first: bool) -> None:
    """Another process outgrew this one's map; reads and writes here go on."""
    async with opened(tmp_path, SMALL_MAP) as index:
        await save_all(index, [Person("a")])
        outgrow(tmp_path)
        if reader_first:
            with index.snapshot() as snapshot:
                assert snapshot.customer_count == 301
        await save_all(index, [Person("b")])
        with index.snapshot() as snapshot:
            assert snapshot.customer_count == 302
        assert faults(index) == []


def outgrow(folder: Path) -> None:
    """Let another process outgrow the map."""
    command = [sys.executable, "-c", OTHER_PROCESS, str(folder)]
    subprocess.run(command, check=True, timeout=60)


async def test_a_map_grown_elsewhere_waits_for_snapshots(tmp_path: Path) -> None:
    """While one is open here calls are told to try again, and find all when it has ended."""
    async with opened(tmp_path, SMALL_MAP) as index:
        await save_all(index, [Person("a")])
        with index.snapshot() as held:
            outgrow(tmp_path)
            for _ in range(2):
                with pytest.raises(IndexBusy, match="NAMESAKE_MAP_SIZE"):
                    index.snapshot()
                with pytest.raises(IndexBusy, match="NAMESAKE_MAP_SIZE"):
                    await save_all(index, [Person("b")])
            assert (held.customer_count, held.record(1)) == (1, Person("a").record)
        with index.snapshot() as snapshot:
            assert snapshot.customer_count == 301
        await save_all(index, [Person("b")])
        assert faults(index) == []


async def test_a_worker_starts_while_another_outgrows_the_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The map grew between opening the file and the first transaction."""
    async with opened(tmp_path, SMALL_MAP):
        pass
    lmdb_open = lmdb.open

    def overtaken(*arguments: Any, **options: Any) -> lmdb.Environment:
        environment = lmdb_open(*arguments, **options)
        outgrow(tmp_path)
        return environment

    monkeypatch.setattr(lmdb, "open", overtaken)
    async with opened(tmp_path, SMALL_MAP) as index:
        with index.snapshot() as snapshot:
            assert snapshot.customer_count == 300


async def test_a_killed_probe_of_the_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tells a full disk from a failing one has no name at any moment."""
    seen: list[set[str]] = []
    async with opened(tmp_path) as index:
        monkeypatch.setattr(
            os, "fsync", lambda _: seen.append({entry.name for entry in tmp_path.iterdir()})
        )
        assert not index._store.space_is_short()
    assert seen == [{"data.mdb", "lock.mdb"}]


# The limit makes the kernel refuse to extend files: what a full disk does, for one process. Odd
# sizes make writes fall short in the middle, which LMDB reports as EIO.
FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from service.errors import StorageFull
from tests.index.cards import Person, faults, opened, save_all

async def main():
    async with opened(Path(sys.argv[1])) as index:
        await save_all(index, [Person("first", ("a@x.org",))])
        size = (Path(sys.argv[1]) / "data.mdb").stat().st_size
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        people = [Person(f"p{n}", (f"{n}@x.org",), note="n" * 3_000) for n in range(300)]
        for room in (0, 4_096, 5_000, 65_536, 100_001):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, hard))
            for _ in range(2):
                try:
                    await save_all(index, people)
                except StorageFull as error:
                    assert "disk" in error.message, error.message
                else:
                    raise AssertionError("the limit did not hold")
                with index.snapshot() as snapshot:
                    assert (snapshot.customer_count, snapshot.sequence) == (1, 1)
                    assert snapshot.record(1) is not None
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await save_all(index, people)
        with index.snapshot() as snapshot:
            assert snapshot.sequence == 301
        assert faults(index) == []
        assert {file.name for file in Path(sys.argv[1]).iterdir()} == {"data.mdb", "lock.mdb"}

asyncio.run(main())
print("sound")
"""


def test_a_full_disk_refuses_writes_only(tmp_path: Path) -> None:
    """Reads go on, and writes resume when there is space."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    *log, last = done.stdout.splitlines()
    assert last == "sound"
    # What is logged is the change, not every refusal.
    assert ["commit_failed" in line and "STORAGE_FULL" in line for line in log] == [True, False]
    assert "commits_succeed_again" in log[1]
