"""Where the feed begins, what is kept of what it dropped, and its consumers, as they are stored."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from service.core.model import Held
from service.errors import InvalidArgument
from service.index import (
    Consumer,
    Decision,
    DropConsumer,
    Fault,
    Index,
    Mutation,
    PutConsumer,
    TrimChanges,
    layout,
)
from service.index.layout import pack_u64
from tests.index.cards import (
    JsonCodec,
    Person,
    faults,
    opened,
    remove,
    save,
    save_all,
    submit_one,
)
from tests.index.test_verify import Raw


async def put(index: Index, *mutations: Mutation) -> None:
    """Write mutations in one commit."""
    (outcome,) = await index.submit([lambda _: Decision(None, mutations)])
    assert outcome is None


class Etagged(JsonCodec):
    """A codec of records whose note is their etag."""

    def held(self, record: bytes) -> Held:
        """Read back what the index keeps of a record."""
        held = super().held(record)
        return held._replace(etag=record.decode().rpartition('"note": "')[2].rstrip('"}'))


async def test_consumers_are_put_listed_and_dropped(tmp_path: Path) -> None:
    """By name; a name that LMDB would not take is refused before it is put."""
    async with opened(tmp_path, clock=lambda: 77) as index:
        await save_all(index, [Person("a"), Person("b")])
        await put(index, PutConsumer("b", 1), PutConsumer("a", 0), PutConsumer("b", 2))
        with index.snapshot() as snapshot:
            assert snapshot.consumers() == [Consumer("a", 0, 77), Consumer("b", 2, 77)]
            assert snapshot.consumer("b") == Consumer("b", 2, 77)
            assert snapshot.consumer("c") is snapshot.consumer("") is None
            assert snapshot.consumer_count == 2
        assert faults(index) == []
        await put(index, DropConsumer("b"), DropConsumer("nobody"))
        with index.snapshot() as snapshot:
            assert [one.name for one in snapshot.consumers()] == ["a"]
        for name in ("", "x" * 600):
            with pytest.raises(InvalidArgument):
                PutConsumer(name, 0)


@pytest.mark.parametrize("seed", range(5))
async def test_changes_and_what_is_kept_of_older_ones_are_one_list(
    tmp_path: Path, seed: int
) -> None:
    """However the feed was cut: all writings that were kept, in order, both ways, by any steps."""
    pick, wanted, first = Random(seed), list[tuple[int, int]](), 1
    async with opened(tmp_path) as index:
        for step in range(60):
            saved = await submit_one(index, save(index, Person(f"p{pick.randrange(20)}")))
            wanted.append((saved.sequence, saved.row))
            if pick.random() < 0.2 and saved.sequence > first:
                first = pick.randint(first, saved.sequence)
                dropped = [one for one in wanted if one[0] < first]
                stale = pick.sample(dropped, len(dropped) // 3)
                with index.snapshot() as snapshot:
                    there = snapshot.older()
                    begin = snapshot.first_sequence
                new = [one for one in dropped if one not in stale and one[0] >= begin]
                gone = [one[0] for one in stale if one in there]
                await put(index, TrimChanges(first, new, gone))
                wanted = [one for one in wanted if one not in stale]
            after, limit = pick.randint(0, step + 1), pick.randint(1, 9)
            with index.snapshot() as snapshot:
                assert snapshot.first_sequence == first
                ahead = [one for one in wanted if one[0] > after]
                assert snapshot.writings(after, limit) == ahead[:limit]
                behind = [one for one in wanted if one[0] < after][::-1]
                assert snapshot.writings_before(after, limit) == behind[:limit]
                assert snapshot.writings_before() == wanted[::-1]
                events = snapshot.changes()
                assert [one.sequence for one in events] == [*range(first, saved.sequence + 1)]
        assert faults(index) == []


async def test_an_event_that_stays_is_no_older_one() -> None:
    """Nor is what was never there."""
    with pytest.raises(InvalidArgument):
        TrimChanges(5, [(5, 1)])


async def test_a_cut_feed_is_sound_and_goes_on(tmp_path: Path) -> None:
    """With the histories of the living, and of the deleted what tells of that."""
    async with opened(tmp_path) as index:
        await save_all(index, [Person("a", note="4"), Person("b", note="2"), Person("gone")])
        await submit_one(index, save(index, Person("a", note="4")))
        await submit_one(index, remove(index, "gone"))
        await put(index, TrimChanges(5, [(2, 2), (4, 1)]))
        await save_all(index, [Person("c", note="6")])
        with index.snapshot() as snapshot:
            assert [one.sequence for one in snapshot.changes()] == [5, 6]
            assert snapshot.writings() == [(2, 2), (4, 1), (5, 3), (6, 4)]
            assert [one.sequence for one in snapshot.history(1)] == [4, 1]
            entries, size = snapshot.changes_size
            assert (entries, size) == (2, 4_096)
        assert [step for step in index.verify(Etagged()) if isinstance(step, Fault)] == []
        await put(index, TrimChanges(6, [], [2]))  # as if it had been stale
        found = [step for step in index.verify(Etagged()) if isinstance(step, Fault)]
        assert [(one.table, one.row, one.sequence) for one in found] == [("older", 2, 2)]
        assert faults(index) == []  # a codec without etags cannot tell


async def test_a_folder_of_before_gets_what_it_lacks(tmp_path: Path) -> None:
    """One of a release that knew neither consumers nor a cut feed; its feed is whole."""
    async with opened(tmp_path) as index:
        await save_all(index, [Person("a"), Person("b")])
    raw = Raw(tmp_path)
    for name in (b"older", b"consumers"):
        raw.txn.drop(raw.env.open_db(name, txn=raw.txn))
    raw.close()
    async with opened(tmp_path) as index:
        with index.snapshot() as snapshot:
            assert (snapshot.first_sequence, snapshot.writings()) == (1, [(1, 1), (2, 2)])
        await put(index, PutConsumer("crm", 2), TrimChanges(2, [(1, 1)]))
        assert faults(index) == []


DAMAGES = {
    "older one of an event that is there": (b"older", pack_u64(5), pack_u64(1), "older"),
    "older one of no row": (b"older", pack_u64(1), pack_u64(99), "older"),
    "consumer ahead": (b"consumers", b"x", layout.encode_consumer(99, 1), "consumers"),
    "consumer unreadable": (b"consumers", b"x", b"\1", "consumers"),
    "history left behind": (
        b"history", layout.pack_history_key(3, 3),
        layout.encode_history(1, 0, b"", b"", b""), "history"),
    "history unreadable": (b"history", layout.pack_history_key(3, 3), b"\7", "history"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
async def test_damage_of_a_cut_feed_is_found(tmp_path: Path, name: str) -> None:
    """Beside what is found of a whole one."""
    async with opened(tmp_path) as index:
        await save_all(index, [Person("a"), Person("b"), Person("gone")])
        await submit_one(index, remove(index, "gone"))
        await save_all(index, [Person("d")])
        await put(index, TrimChanges(5, [(1, 1), (2, 2)]))
        assert faults(index) == []
    table, key, stored, named = DAMAGES[name]
    raw = Raw(tmp_path)
    raw.put(table.decode(), key, stored)
    raw.close()
    async with opened(tmp_path) as index:
        assert {fault.table for fault in faults(index)} == {named}
