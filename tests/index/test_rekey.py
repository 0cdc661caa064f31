"""An index whose match keys follow older rules is brought to today's when it is opened."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import lmdb
import pytest

from service.core.model import Channel
from service.errors import FormatMismatch
from service.index import Fault, Index, Kind, RunKind, layout
from service.index import opened as read_by_nobody
from tests.index.cards import (
    SETTINGS,
    TINY,
    JsonCodec,
    Person,
    features_of,
    opened,
    read,
    remove,
    save_all,
    submit_one,
)

PEOPLE = [
    Person("a", ("a.b+x@x.org", "a.b@x.org"), ("+5215512345678",), (("crm", "1"),)),
    Person("b", ("ab@x.org",), ("+525512345678",)),
    Person("c", (f"{'l.' * 200}x+tag@{'d' * 60}.{'e' * 60}.org",)),  # keys that are hashed
]


def tagless(channel: Channel, normal: str) -> str:
    """Rules of another release: tags do not count, dots and Mexico's 1 do."""
    if channel is Channel.PHONE:
        return normal
    local, _, domain = normal.rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"


def reopen(folder: Path) -> Index:
    """Open with the other rules."""
    return Index.open(folder, SETTINGS, tagless, shape=TINY)


def faults(index: Index) -> list[Fault]:
    """Verify."""
    return [step for step in index.verify(JsonCodec()) if isinstance(step, Fault)]


async def test_keys_of_other_rules_are_made_anew_once(tmp_path: Path) -> None:
    """Afterwards duplicates by the new rules are found and the index is sound."""
    async with opened(tmp_path) as index:
        assert index.follow_rules(JsonCodec(), "1") == 0  # nobody there yet
        await save_all(index, PEOPLE)
        assert index.follow_rules(JsonCodec(), "1") == 0
    index = reopen(tmp_path)
    assert faults(index)
    assert index.follow_rules(JsonCodec(), "2") == len(PEOPLE)
    assert faults(index) == []
    with index.snapshot() as snapshot:
        assert snapshot.match_rules == "2"
        assert snapshot.rows(Kind.EMAIL_MATCH, "a.b@x.org") == [1]
        assert snapshot.rows(Kind.EMAIL_MATCH, "ab@x.org") == []
        assert snapshot.rows(Kind.PHONE_MATCH, "+525512345678") == []
        assert snapshot.rows(Kind.EMAIL, "ab@x.org") == [2]
        assert snapshot.rows(Kind.OTHER, "crm\x001") == [1]
    await index.close()
    index = reopen(tmp_path)
    assert index.follow_rules(JsonCodec(), "2") == 0
    await index.close()


async def test_what_stands_in_runs_is_made_anew_too(tmp_path: Path) -> None:
    """All of it, with what was saved, taken away and put back since; again as runs."""
    crowd = [Person(f"p{n}", (f"p.{n}+t@x.org",), note=f"N{n}") for n in range(300)]
    async with opened(tmp_path) as index:
        index.follow_rules(JsonCodec(), "1")
        await save_all(index, [*PEOPLE, *crowd[:200]], bulk=True)
        await save_all(index, crowd[200:])
        await save_all(index, [Person("p1", ("other@x.org",)), Person("a")])
        await submit_one(index, remove(index, "p2"))
        await save_all(index, PEOPLE[:1])
        assert faults(index) == []
    index = reopen(tmp_path)
    assert {fault.table for fault in faults(index)} == {"identities"}
    assert index.follow_rules(JsonCodec(), "2") == len(PEOPLE) + len(crowd) - 1
    assert faults(index) == []
    with index.snapshot() as snapshot:
        assert snapshot.rows(Kind.EMAIL_MATCH, "a.b@x.org") == [1]
        assert snapshot.rows(Kind.EMAIL_MATCH, "p.7@x.org") == [11]
        assert snapshot.rows(Kind.OTHER, "crm\x001") == [1]
        for kind, table in ((RunKind.IDENTITIES, "identities"), (RunKind.BLOCKS, "blocks")):
            assert snapshot.runs(kind).entries == snapshot.entries(table) > 0
        assert snapshot.entries("retired") == 0
    await index.close()


async def test_an_index_of_format_2_is_brought_to_todays(tmp_path: Path) -> None:
    """Its entries stay where they are; from then on there may be runs."""
    async with opened(tmp_path) as index:
        index.follow_rules(JsonCodec(), "1")
        await save_all(index, PEOPLE)
    with (
        lmdb.open(os.fspath(tmp_path), max_dbs=layout.MAX_TABLES, map_size=1 << 30) as env,
        env.begin(write=True) as txn,
    ):
        for name in NEW_IN_3:
            txn.drop(env.open_db(name.encode(), txn=txn), delete=True)
        meta = env.open_db(b"meta", txn=txn)
        assert txn.delete(layout.META_HASH_SECRET, db=meta)
        txn.put(layout.META_FORMAT, layout.encode_format(2), db=meta)
        before = list(txn.cursor(env.open_db(b"identities", txn=txn)))
    async with opened(tmp_path) as index:
        assert index.follow_rules(JsonCodec(), "1") == 0
        assert faults(index) == []
        with index.snapshot() as snapshot, snapshot.cursor("identities") as cursor:
            assert list(cursor) == before
            assert len(snapshot.hash_secret) == 16
        await save_all(index, [Person("d", ("a.b@x.org",))], bulk=True)
        assert faults(index) == []
        with index.snapshot() as snapshot:
            assert snapshot.rows(Kind.EMAIL, "a.b@x.org") == [1, 4]
            secret = snapshot.hash_secret
    assert stored_format(tmp_path) == layout.encode_format()
    async with opened(tmp_path) as index:
        with index.snapshot() as snapshot:
            assert snapshot.hash_secret == secret


async def test_an_index_of_format_3_is_brought_to_todays(tmp_path: Path) -> None:
    """What runs are hashed with stays, and customers are merged, linked to and followed."""
    async with opened(tmp_path) as index:
        index.follow_rules(JsonCodec(), "1")
        await save_all(index, PEOPLE, bulk=True)
        with index.snapshot() as snapshot:
            secret = snapshot.hash_secret
    with (
        lmdb.open(os.fspath(tmp_path), max_dbs=layout.MAX_TABLES, map_size=1 << 30) as env,
        env.begin(write=True) as txn,
    ):
        for name in NEW_IN_4:
            txn.drop(env.open_db(name.encode(), txn=txn, create=False), delete=True)
        meta = env.open_db(b"meta", txn=txn)
        txn.put(layout.META_FORMAT, layout.encode_format(3), db=meta)
    async with opened(tmp_path) as index:
        assert index.follow_rules(JsonCodec(), "1") == 0
        assert faults(index) == []
        with index.snapshot() as snapshot:
            assert snapshot.hash_secret == secret
            assert snapshot.customer_count == len(PEOPLE)
            assert (list(snapshot.merges()), snapshot.consumers()) == ([], [])
            assert (snapshot.tree(1), snapshot.timeline.counts([1]).total()) == ([1], 0)
    assert stored_format(tmp_path) == layout.encode_format()


async def test_an_index_from_before_rules_had_a_name_is_keyed_anew(tmp_path: Path) -> None:
    """Its keys may follow any."""
    async with opened(tmp_path) as index:
        await save_all(index, PEOPLE)
    index = reopen(tmp_path)
    assert index.follow_rules(JsonCodec(), "2") == len(PEOPLE)
    assert faults(index) == []
    await index.close()


DYING = """
import os, signal, sys
from pathlib import Path
from tests.index import test_rekey
from tests.index.cards import JsonCodec

class Dying(JsonCodec):
    count = 0
    def held(self, record):
        Dying.count += 1
        if Dying.count == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().held(record)

test_rekey.reopen(Path(sys.argv[1])).follow_rules(Dying(), "2")
"""


async def test_a_crash_on_the_way_leaves_all_to_be_done(tmp_path: Path) -> None:
    """The old keys and the old version stand, and the next start does the whole."""
    async with opened(tmp_path) as index:
        index.follow_rules(JsonCodec(), "1")
        await save_all(index, PEOPLE)
    command = [sys.executable, "-c", DYING, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    died = await asyncio.to_thread(subprocess.run, command, env=environment, check=False)
    assert died.returncode == -signal.SIGKILL
    async with opened(tmp_path) as index:
        with index.snapshot() as snapshot:
            assert snapshot.match_rules == "1"
        assert faults(index) == []
    index = reopen(tmp_path)
    assert index.follow_rules(JsonCodec(), "2") == len(PEOPLE)
    assert faults(index) == []
    await index.close()


class Backwards(JsonCodec):
    """Compares by rules of another release: names from right to left."""

    def features(self, records: Sequence[bytes]) -> list[bytes]:
        """Return other features than the codec of the other tests."""
        people = [read(record) for record in records]
        turned = [Person(one.id[::-1] + "x", one.emails, note=one.note) for one in people]
        return [features_of(one.record) for one in turned]


async def test_features_and_blocks_of_other_rules_are_made_anew(tmp_path: Path) -> None:
    """All of them, in one go with the match keys; those of before are gone."""
    async with opened(tmp_path) as index:
        index.follow_rules(JsonCodec(), "1")
        await save_all(index, PEOPLE)
        assert {f.table for f in index.verify(Backwards()) if isinstance(f, Fault)} == {
            "features", "blocks",
        }  # fmt: skip
        assert index.follow_rules(Backwards(), "2") == len(PEOPLE)
        assert [step for step in index.verify(Backwards()) if isinstance(step, Fault)] == []
        with index.snapshot() as snapshot:
            made = Backwards().features([one.record for one in PEOPLE])
            assert dict(snapshot.features()) == dict(enumerate(made, 1))
        assert index.follow_rules(JsonCodec(), "3") == len(PEOPLE)
        assert faults(index) == []


async def test_a_record_that_gives_nothing_to_compare_is_passed_over(tmp_path: Path) -> None:
    """It has no features and no blocks; the others have theirs."""

    class Partly(JsonCodec):
        def features(self, records: Sequence[bytes]) -> list[bytes]:
            made = super().features(records)
            return [b"" if read(r).id == "b" else f for r, f in zip(records, made, strict=True)]

    async with opened(tmp_path) as index:
        await save_all(index, PEOPLE)
        assert index.follow_rules(Partly(), "1") == len(PEOPLE)
        with index.snapshot() as snapshot:
            assert [row for row, _ in snapshot.features()] == [1, 3]
        assert [step for step in index.verify(Partly()) if isinstance(step, Fault)] == []


NEW_IN_4 = (
    "merged", "members", "bonds", "merges", "restored", "consumers", "older", "items", "item_ids",
    "timeline", "item_counts", "item_points", "pins", "leaving",
)  # fmt: skip
NEW_IN_3 = ("runs", "retired", "waiting", *NEW_IN_4)
NEW_IN_2 = ("features", "blocks", "distinct", "groups", "models", *NEW_IN_3)


def make_old(folder: Path, format_: int = 1, *, drop: bool = True) -> None:
    """Leave of an index what a release of an older format had."""
    with (
        lmdb.open(os.fspath(folder), max_dbs=layout.MAX_TABLES, map_size=1 << 30) as env,
        env.begin(write=True) as txn,
    ):
        for name in NEW_IN_2 if drop else ():
            txn.drop(env.open_db(name.encode(), txn=txn), delete=True)
        meta = env.open_db(b"meta", txn=txn)
        txn.put(layout.META_FORMAT, layout.encode_format(format_), db=meta)


def stored_format(folder: Path) -> bytes | None:
    """Return what the file says of its format."""
    with (
        lmdb.open(os.fspath(folder), max_dbs=layout.MAX_TABLES, map_size=1 << 30) as env,
        env.begin() as txn,
    ):
        stored: bytes | None = txn.get(layout.META_FORMAT, db=env.open_db(b"meta", txn=txn))
        return stored


async def test_an_index_of_format_1_is_migrated(tmp_path: Path) -> None:
    """It opens, whatever stops it before its features are made, and has them afterwards."""
    async with opened(tmp_path) as index:
        index.follow_rules(JsonCodec(), "old")
        await save_all(index, PEOPLE)
    make_old(tmp_path)
    async with opened(tmp_path) as index:
        with index.snapshot() as snapshot:
            assert snapshot.customer_count == len(PEOPLE)
            assert (list(snapshot.features()), snapshot.model()) == ([], None)
            assert (snapshot.distinct_of(1), snapshot.groups(1)) == ([], [])
        assert {fault.table for fault in faults(index)} == {"features", "blocks"}
    assert stored_format(tmp_path) == layout.encode_format()
    async with opened(tmp_path) as index:  # a first start that ended before the features
        assert index.follow_rules(JsonCodec(), "new") == len(PEOPLE)
        assert faults(index) == []
        with index.snapshot() as snapshot:
            expected = [(row, features_of(one.record)) for row, one in enumerate(PEOPLE, 1)]
            assert list(snapshot.features()) == expected
        await save_all(index, [Person("d", note="Ada"), Person("a", note="Ida")])
        assert faults(index) == []
        assert index.follow_rules(JsonCodec(), "new") == 0


async def test_an_index_of_format_1_is_read_by_commands_too(tmp_path: Path) -> None:
    """Which serve nobody, and make nothing anew."""
    async with opened(tmp_path) as index:
        index.follow_rules(JsonCodec(), "old")
        await save_all(index, PEOPLE)
    make_old(tmp_path)
    with read_by_nobody(tmp_path, SETTINGS) as snapshot:
        assert snapshot.customer_count == len(PEOPLE)
    async with opened(tmp_path) as index:
        assert index.follow_rules(JsonCodec(), "new") == len(PEOPLE)
        assert faults(index) == []


@pytest.mark.parametrize(
    ("format_", "advice"), [(layout.FORMAT_VERSION + 1, "newer release"), (0, "export it")]
)
async def test_an_index_of_any_other_format_is_refused(
    tmp_path: Path, format_: int, advice: str
) -> None:
    """And left as it is."""
    async with opened(tmp_path) as index:
        await save_all(index, PEOPLE)
    make_old(tmp_path, format_, drop=False)
    with pytest.raises(FormatMismatch, match=advice):
        reopen(tmp_path)
    assert stored_format(tmp_path) == layout.encode_format(format_)


@pytest.mark.parametrize("people", [0, 3_000])
async def test_any_number_of_customers(tmp_path: Path, people: int) -> None:
    """The map grows where it must."""
    small = SETTINGS.model_copy(update={"map_size": 1 << 20})
    async with opened(tmp_path, small) as index:
        index.follow_rules(JsonCodec(), "1")
        everybody = [Person(f"p{number}", (f"p.{number}+t@x.org",)) for number in range(people)]
        await save_all(index, everybody)
    index = Index.open(tmp_path, small, tagless)
    assert index.follow_rules(JsonCodec(), "2") == people
    assert faults(index) == []
    await index.close()
