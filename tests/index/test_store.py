"""Snapshots, long keys, redirects, formats, copies."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
import threading
from array import array
from itertools import combinations, permutations, product
from pathlib import Path

import lmdb
import pytest

from service.core._probe import block_keys
from service.core.model import Channel, Held, Identity
from service.errors import FormatMismatch, InvalidArgument, LimitExceeded, StorageFault
from service.index import (
    Block,
    Decision,
    Delete,
    Found,
    Index,
    Kind,
    PutDistinct,
    State,
    View,
    identity_key,
    keys_of,
    layout,
)
from service.index._runs import identity_hash
from tests.index.cards import (
    SETTINGS,
    Person,
    Saved,
    bounds,
    faults,
    match_key,
    merge,
    open_index,
    opened,
    read,
    remove,
    save,
    save_all,
    submit_one,
)


def raw(folder: Path) -> lmdb.Environment:
    """Open the file behind the index's back."""
    return lmdb.open(os.fspath(folder), max_dbs=32, map_size=1 << 30)


def test_keys_are_a_pure_function_of_what_is_held() -> None:
    """A match key stands beside its normal form only where they differ."""
    held = Held(
        "a", "",
        ((Channel.EMAIL, "a.b@x.org"), (Channel.EMAIL, "ab@x.org"), (Channel.PHONE, "+5215")),
        (Identity("crm", "7"),),
    )  # fmt: skip
    assert keys_of(held, match_key) == {
        b"\x01a.b@x.org", b"\x01ab@x.org", b"\x02ab@x.org", b"\x03+5215", b"\x04+525",
        b"\x05crm\x007",
    }  # fmt: skip
    with pytest.raises(InvalidArgument):
        keys_of(Held("a", "", (), (Identity("a\0b", "c"),)), match_key)


def test_long_keys_are_hashed_apart_from_plain_ones() -> None:
    """Up to 511 bytes stand as they are; beyond, a hash under a kind no plain key has."""
    plain = layout.identity_key(Kind.EMAIL, "x" * 510)
    hashed = layout.identity_key(Kind.EMAIL, "x" * 511)
    assert len(plain) == 511
    assert hashed[0] == Kind.EMAIL | 0x80
    assert len(hashed) == 33
    assert hashed != layout.identity_key(Kind.EMAIL, "x" * 510 + "y")
    assert hashed != layout.identity_key(Kind.PHONE, "x" * 511)


async def test_look_ups_of_absurd_length_find_nothing(tmp_path: Path) -> None:
    """What cannot be stored cannot be found, which is no fault."""
    async with opened(tmp_path) as index:
        await save_all(index, [Person("a", ("x" * 2_000,))])
        long = "x" * 2_000
        with index.snapshot() as snapshot:
            assert snapshot.find(long) == Found(State.MISSING)
            assert snapshot.find("") == Found(State.MISSING)
            assert snapshot.operation(long) is None
            assert snapshot.request(long) is None
            assert snapshot.pending_rows(long) == []
            assert snapshot.pending_domains(long) == []
            assert snapshot.rows(Kind.EMAIL, long) == [1]
            assert snapshot.rows(Kind.EMAIL, long, limit=0) == []
        assert faults(index) == []


async def test_a_key_of_many_rows_is_paged(tmp_path: Path) -> None:
    """Duplicates beyond one page of LMDB's keep their order, pages and counts."""
    async with opened(tmp_path) as index:
        people = [Person(f"p{n}", ("one@x.org",), pending=("x.org",)) for n in range(3_000)]
        await save_all(index, people)
        with index.snapshot() as snapshot:
            rows, after = [], 0
            while page := snapshot.sharing(Channel.EMAIL, "one@x.org", "one@x.org", after, 700):
                rows += page
                after = page[-1]
            assert rows == list(range(1, 3_001))
            assert snapshot.count(Kind.EMAIL, "one@x.org", 10_000) == 3_000
            assert snapshot.pending_rows("x.org", 2_998) == [2_999, 3_000]
        assert faults(index) == []


@pytest.mark.parametrize("in_bulk", [0, 1, 15, 41])
async def test_a_large_block_is_split_by_its_second_key(tmp_path: Path, in_bulk: int) -> None:
    """Up to the limit all rows of a block; beyond it those that share the second key, in order.

    Also where its first or all entries stand in sorted runs.
    """
    people = [Person(f"{name}-{n}", ("one@x.org",)) for n in range(20) for name in ("smith", "jo")]
    people.append(Person("smith", ("other@x.org",)))
    async with opened(tmp_path) as index:
        await save_all(index, people[:in_bulk], bulk=True)
        await save_all(index, people[in_bulk:])
        with index.snapshot() as snapshot:
            assert snapshot.entries("runs") > 0 or not in_bulk
            features = snapshot.features_of(1)
            assert features is not None
            keys = block_keys(features)
            found = dict(zip(keys, snapshot.blocks(keys, 40), strict=True))
            ((key, second),) = [one for one, block in found.items() if block.size == 40]
            assert sorted(found[key, second].rows) == list(range(1, 41))
            smiths = [row for row in range(1, 41) if row % 2]
            for limit, rows in ((39, smiths), (20, smiths), (7, smiths[:7]), (1, [1])):
                assert snapshot.blocks([(key, second)], limit) == [Block(40, rows)]
            assert snapshot.blocks([(key, second ^ 1)], 39) == [Block(40, [])]
            assert snapshot.blocks([(key, 0xFFFF)], 39)[0].size == 40
            assert snapshot.blocks([(bytes(8), 0), (b"\xff" * 8, 0xFFFF)], 5) == []
            assert snapshot.blocks([], 5) == []
        assert faults(index) == []


async def test_hashes_of_identities_are_asked_for_together(tmp_path: Path) -> None:
    """Those of live customers whose entries stand in runs; the B-trees are asked by key."""
    async with opened(tmp_path) as index:
        people = [Person(f"p{n}", (f"{n}@x.org",)) for n in range(300)]
        await save_all(index, people[:200], bulk=True)
        await save_all(index, [*people[200:], Person("p7", ("other@x.org",))])
        await submit_one(index, remove(index, "p8"))
        with index.snapshot() as snapshot:
            emails = [f"{n}@x.org" for n in range(400)]
            hashes = [
                identity_hash(identity_key(Kind.EMAIL, email), snapshot.hash_secret)
                for email in emails
            ]
            keys = array("Q", [w for first, tail in hashes for w in (first, tail << 48)])
            held = snapshot.held(memoryview(keys), len(emails))
            assert [n for n in range(400) if held[n]] == [n for n in range(200) if n not in (7, 8)]
            assert snapshot.held(memoryview(keys), 5) == held[:5]


async def test_what_stands_in_runs_is_found_by_the_next_decision(tmp_path: Path) -> None:
    """Of the same transaction, which may change and delete it."""
    async with opened(tmp_path) as index:
        decisions = [
            save(index, Person("a", ("a@x.org",)), bulk=True),
            save(index, Person("b", ("a@x.org",)), bulk=True),
            save(index, Person("a", ("b@x.org",)), bulk=True),
            remove(index, "b"),
            save(index, Person("c", ("b@x.org",)), bulk=True),
            save(index, Person("a", ("a@x.org",)), bulk=True),
        ]
        assert [type(outcome) for outcome in await index.submit(decisions)] == [Saved] * 6
        assert faults(index) == []
        with index.snapshot() as snapshot:
            assert snapshot.rows(Kind.EMAIL, "a@x.org") == [1]
            assert snapshot.rows(Kind.EMAIL, "b@x.org") == [3]
            assert snapshot.count(Kind.EMAIL, "a@x.org", 9) == 1


async def test_a_block_of_any_size_is_counted_and_split(tmp_path: Path) -> None:
    """More rows than 16 bits count, and second keys up to the last; 0 is none."""
    rows, seconds = 70_000, (1, 7, 0xFFFF)
    async with opened(tmp_path):
        pass
    with raw(tmp_path) as env, env.begin(write=True) as txn:
        table = env.open_db(b"blocks", txn=txn, dupsort=True, dupfixed=True)
        with txn.cursor(table) as cursor:
            entries = [layout.pack_block_entry(seconds[row % 3], row) for row in range(1, rows + 1)]
            cursor.putmulti([(b"the same", entry) for entry in sorted(entries)])
            cursor.put(b"the same\0", layout.pack_block_entry(7, 1))
    async with opened(tmp_path) as index:
        with index.snapshot() as snapshot:
            for place, second in enumerate(seconds):
                expected = [row for row in range(1, rows + 1) if row % 3 == place]
                assert snapshot.blocks([(b"the same", second)], 60) == [Block(rows, expected[:60])]
                assert snapshot.blocks([(b"the same", second)], rows - 1)[0].rows == expected
            assert snapshot.blocks([(b"the same", 0)], 60) == [Block(rows, [])]
            (whole,) = snapshot.blocks([(b"the same", 7)], rows)
            assert whole.size == len(whole.rows) == rows
            assert set(whole.rows) == set(range(1, rows + 1))


async def test_a_snapshot_stands_still(tmp_path: Path) -> None:
    """Whatever is written meanwhile, a snapshot sees its own state, and a new one the newest."""
    async with opened(tmp_path) as index:
        await save_all(index, [Person("a", note="old")])
        with index.snapshot() as snapshot:
            scan = snapshot.customers()
            for number in range(30):
                await save_all(index, [Person("a", note="new"), Person(f"b{number}")])
            assert [read(record).note for _, record in scan] == ["old"]
            assert (snapshot.sequence, snapshot.customer_count) == (1, 1)
            assert snapshot.record(1) == Person("a", note="old").record
        with index.snapshot() as snapshot:
            assert (snapshot.sequence, snapshot.customer_count) == (61, 31)
            assert snapshot.record(1) == Person("a", note="new").record


async def test_records_are_read_up_to_a_bound(tmp_path: Path) -> None:
    """Of rows, or of bytes; one at least, whatever its size."""
    async with opened(tmp_path) as index:
        await save_all(index, [Person(f"p{number}", note="x" * 9_000) for number in range(20)])
        with index.snapshot() as snapshot:
            every = list(snapshot.customers())
            size = len(every[0][1])
            for after, rows, size_limit, count in (
                (0, 100, 1 << 20, 20), (0, 7, 1 << 20, 7), (15, 100, 1 << 20, 5),
                (20, 100, 1 << 20, 0), (2**64 - 2, 100, 1 << 20, 0), (0, 0, 1 << 20, 0),
                (0, 100, 1, 1), (3, 100, size, 1), (3, 100, size + 1, 2), (3, 100, 3 * size, 3),
            ):  # fmt: skip
                found = snapshot.records(after, rows, size_limit)
                assert list(zip(*found, strict=True)) == every[after : after + count]
        with pytest.raises(StorageFault), snapshot:
            snapshot.records(0, 100, 1 << 20)


async def test_a_closed_snapshot_says_so(tmp_path: Path) -> None:
    """Reads after the end, or after the index closed, raise and do not crash."""
    async with opened(tmp_path) as index:
        await save_all(index, [Person("a"), Person("b")])
        with index.snapshot() as snapshot:
            scan = snapshot.customers()
            next(scan)
        with pytest.raises(StorageFault), snapshot:
            snapshot.record(1)
        with pytest.raises(StorageFault), snapshot:
            next(scan)
        late = index.snapshot()
    with pytest.raises(StorageFault), late:
        late.record(1)


@pytest.mark.parametrize("seed", range(10))
async def test_marks_between_trees_are_those_of_any_two_rows(tmp_path: Path, seed: int) -> None:
    """Of small trees and large ones, few marks and many, merged before or after."""
    draw = random.Random(seed)
    async with opened(tmp_path) as index:
        await save_all(index, [Person(f"p{n}") for n in range(40)])
        live = [f"p{n}" for n in range(40)]
        chance = draw.choice([0.01, 0.1, 0.6])
        marked = [pair for pair in combinations(range(1, 41), 2) if draw.random() < chance]
        marks = [PutDistinct(*pair) for pair in marked]
        assert await index.submit([lambda _: Decision(None, marks)]) == [None]
        while len(live) > draw.choice([2, 8, 30]):
            member = live.pop(draw.randrange(len(live)))
            assert await index.submit([merge(index, member, draw.choice(live))]) == [None]
        with index.snapshot() as snapshot:
            trees = {id: snapshot.tree(snapshot.find(id).row) for id in live}
            assert sum(map(len, trees.values())) == 40
            for left, right in permutations(live, 2):
                wanted = {tuple(sorted(p)) for p in product(trees[left], trees[right])}
                wanted &= set(marked)
                one, other = trees[left][0], trees[right][0]
                found = [tuple(sorted(pair)) for pair in snapshot.marks_between(one, other)]
                assert len(found) == len(set(found))
                assert set(found) == wanted
                assert snapshot.is_distinct(one, other) == bool(wanted)


async def test_redirects_are_followed(tmp_path: Path) -> None:
    """Any number of merges lead to the survivor; a circle is a fault, not a hang."""
    async with opened(tmp_path) as index:
        await save_all(index, [Person(f"p{n}") for n in range(12)])
        for number in range(10):
            assert await index.submit([merge(index, f"p{number}", f"p{number + 1}")]) == [None]
        with index.snapshot() as snapshot:
            assert snapshot.find("p0") == Found(State.MERGED, 11, "p10")
            assert snapshot.find("p9") == Found(State.MERGED, 11, "p10")
            assert snapshot.find("p10") == Found(State.LIVE, 11, "p10")
        assert faults(index) == []

        def delete_survivor(view: View) -> Decision[None]:
            return Decision(None, (Delete(11, "p10", index.entries_of(Person("p10").held)),))

        await index.submit([delete_survivor])
        with index.snapshot() as snapshot:
            assert snapshot.find("p0") == Found(State.DELETED)
        assert faults(index) == []
    with raw(tmp_path) as env, env.begin(write=True) as txn:
        txn.put(b"p10", b"p3", db=env.open_db(b"redirects", txn=txn))
    async with opened(tmp_path) as index:
        with index.snapshot() as snapshot, pytest.raises(StorageFault):
            snapshot.find("p0")
        assert {fault.table for fault in faults(index)} == {"redirects"}


async def test_other_formats_are_refused(tmp_path: Path) -> None:
    """A newer, older, foreign or damaged file is never read, and the error says what to do."""
    async with opened(tmp_path / "index") as index:
        await save_all(index, [Person("a")])
    for version, advice in ((layout.FORMAT_VERSION + 1, "newer release"), (0, "export it")):
        with raw(tmp_path / "index") as env, env.begin(write=True) as txn:
            meta = env.open_db(b"meta", txn=txn)
            txn.put(layout.META_FORMAT, layout.encode_format(version), db=meta)
        with pytest.raises(FormatMismatch, match=advice):
            open_index(tmp_path / "index")

    (tmp_path / "foreign").mkdir()
    with raw(tmp_path / "foreign") as env, env.begin(write=True) as txn:
        txn.put(b"some", b"thing")
    with pytest.raises(FormatMismatch, match="another folder"):
        open_index(tmp_path / "foreign")

    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "data.mdb").write_bytes(b"noise" * 4_000)
    with pytest.raises(FormatMismatch, match="another folder"):
        open_index(tmp_path / "noise")

    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageFault):
        open_index(tmp_path / "file")


async def test_an_unknown_value_version_is_refused(tmp_path: Path) -> None:
    """A value of a later release raises instead of being misread."""
    async with opened(tmp_path) as index:
        await save_all(index, [Person("a")])
    with raw(tmp_path) as env, env.begin(write=True) as txn:
        changes = env.open_db(b"changes", txn=txn)
        stored = txn.get(layout.pack_u64(1), db=changes)
        assert stored is not None
        txn.put(layout.pack_u64(1), b"\x02" + stored[1:], db=changes)
        txn.put(layout.pack_u64(2), stored[:5], db=changes)
    async with opened(tmp_path) as index:
        with index.snapshot() as snapshot, pytest.raises(FormatMismatch):
            snapshot.changes(0)
        with index.snapshot() as snapshot, pytest.raises(StorageFault):
            snapshot.changes(1)


async def test_files_are_private(tmp_path: Path) -> None:
    """Nobody but the owner may read customers, or see whose there are."""
    data = tmp_path / "of" / "ours"
    async with opened(data / "index"):
        for made in (data.parent, data, data / "index", data / "index" / "data.mdb"):
            assert made.stat().st_mode & 0o077 == 0


async def test_new_folders_and_files_are_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every folder that got an entry is flushed, and the one of the files after they are there."""
    flushed: list[tuple[Path, set[str]]] = []

    def fsync(descriptor: int) -> None:
        folder = Path(f"/proc/self/fd/{descriptor}").readlink()
        flushed.append((folder, {entry.name for entry in folder.iterdir()}))

    monkeypatch.setattr(os, "fsync", fsync)
    async with opened(tmp_path / "ours" / "index"):
        assert flushed == [
            (tmp_path, {"ours"}),
            (tmp_path / "ours", {"index"}),
            (tmp_path / "ours" / "index", {"data.mdb", "lock.mdb"}),
        ]


async def test_stats_count_every_sub_database(tmp_path: Path) -> None:
    """Entries and sizes, of the sub-databases and the file."""
    async with opened(tmp_path) as index:
        await save_all(index, [Person(f"p{n}", ("one@x.org", f"{n}@x.org")) for n in range(500)])
        with index.snapshot() as snapshot:
            stats = snapshot.stats()
        assert {name: stats.tables[name].entries for name in ("ids", "identities")} == {
            "ids": 500, "identities": 1_000,
        }  # fmt: skip
        assert set(stats.tables) == set(layout.TABLES)
        assert stats.map_bytes == SETTINGS.map_size
        assert stats.file_bytes >= sum(table.bytes for table in stats.tables.values())


async def test_hot_copies_are_sound(tmp_path: Path) -> None:
    """A copy taken while writing, through a pipe, opens and verifies clean."""
    async with opened(tmp_path / "index") as index:
        await save_all(index, [Person(f"p{n}", (f"{n}@x.org",)) for n in range(2_000)])
        done = asyncio.Event()

        async def keep_writing() -> int:
            count = 0
            while not done.is_set():
                await submit_one(index, save(index, Person(f"w{count}", ("w@x.org",))))
                count += 1
            return count

        writing = asyncio.ensure_future(keep_writing())
        await asyncio.to_thread(copy_through_pipe, index, tmp_path / "copy")
        done.set()
        assert await writing > 0
    async with opened(tmp_path / "copy") as copy:
        assert faults(copy) == []
        with copy.snapshot() as snapshot:
            assert snapshot.customer_count >= 2_000


async def test_a_copy_that_nobody_takes_says_so(tmp_path: Path) -> None:
    """The reader of the pipe went away."""
    async with opened(tmp_path) as index:
        source, sink = os.pipe()
        os.close(source)
        with pytest.raises(StorageFault):
            index.hot_copy(sink)
        os.close(sink)
        with index.snapshot() as snapshot:
            assert snapshot.customer_count == 0


def copy_through_pipe(index: Index, folder: Path) -> None:
    """Stream a copy as a backup would."""
    folder.mkdir()
    source, sink = os.pipe()

    def send() -> None:
        index.hot_copy(sink)
        os.close(sink)

    sender = threading.Thread(target=send)
    sender.start()
    with os.fdopen(source, "rb") as stream, (folder / "data.mdb").open("wb") as file:
        shutil.copyfileobj(stream, file)
    sender.join()


async def test_reader_slots_are_bounded(tmp_path: Path) -> None:
    """One snapshot too many is refused with the setting's name; closing one makes room."""
    async with opened(tmp_path, bounds(max_readers=126)) as index:
        snapshots = [index.snapshot() for _ in range(126)]
        with pytest.raises(LimitExceeded, match="NAMESAKE_MAX_READERS"):
            index.snapshot()
        snapshots.pop().close()
        with index.snapshot() as snapshot:
            assert snapshot.customer_count == 0
        for held in snapshots:
            held.close()


HOLDER = """
import sys
from pathlib import Path
from tests.index.cards import open_index

snapshot = open_index(Path(sys.argv[1])).snapshot()
print("held", flush=True)
sys.stdin.read()
"""


async def test_slots_of_killed_processes_are_freed(tmp_path: Path) -> None:
    """A snapshot that died with its process does not stop page reuse after the next open."""
    async with opened(tmp_path) as index:
        await save_all(index, [Person("a")])
        holder = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", HOLDER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert holder.stdout is not None
        await asyncio.to_thread(holder.stdout.readline)
        holder.kill()
        holder.communicate()
    async with opened(tmp_path) as index:
        for number in range(20):
            await save_all(index, [Person("a", note=str(number) + "n" * 20_000)])
        with index.snapshot() as snapshot:
            assert snapshot.stats().file_bytes < 10 * 20_000
