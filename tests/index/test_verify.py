"""Verification finds every kind of damage, planted by writing behind the index's back."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from service.core.model import Held
from service.index import (
    ChangeKind,
    Decision,
    Progress,
    PutDistinct,
    PutRequest,
    RunKind,
    layout,
)
from service.index.layout import (
    Manifest,
    encode_distinct,
    pack_history_key,
    pack_row_pair,
    pack_u64,
)
from service.index.runs import identity_entry
from tests.index.cards import (
    JsonCodec,
    Person,
    faults,
    features_of,
    merge,
    opened,
    release,
    remove,
    save,
    save_all,
    submit_one,
)

Damage = Callable[["Raw"], None]


class Raw:
    """The stored bytes of one index, for writing what the writer never would."""

    def __init__(self, folder: Path) -> None:
        self.env = lmdb.open(os.fspath(folder), max_dbs=32, map_size=1 << 30)
        self.txn = self.env.begin(write=True)

    def put(self, table: str, key: bytes, stored: bytes) -> None:
        """Put one entry."""
        assert self.txn.put(key, stored, db=self.env.open_db(table.encode(), txn=self.txn))

    def delete(self, table: str, key: bytes, stored: bytes = b"") -> None:
        """Delete one entry, which must be there."""
        assert self.txn.delete(key, stored, self.env.open_db(table.encode(), txn=self.txn))

    def move(self, table: str, key: bytes, stored: bytes, instead: bytes) -> None:
        """Replace one value of a key."""
        self.delete(table, key, stored)
        self.put(table, key, instead)

    def chunks(self, kind: int) -> dict[bytes, bytes]:
        """Return the stored chunks, or filters, of a kind of runs."""
        table = self.env.open_db(b"runs", txn=self.txn)
        return {key: stored for key, stored in self.txn.cursor(table) if key[0] == kind}

    def entry(self, kind: RunKind, key: bytes) -> bytes:
        """Return the entry that an identities key has in a run, or a block's as it is."""
        if kind is RunKind.BLOCKS:
            return key
        meta = self.env.open_db(b"meta", txn=self.txn)
        secret = self.txn.get(layout.META_HASH_SECRET, db=meta)
        assert secret is not None
        return struct.pack("=2Q", *identity_entry(key, secret, ROW_OF_7))

    def without(self, kind: RunKind, key: bytes) -> None:
        """Take an entry out of its run."""
        self._replace(kind, key, lambda _: b"")

    def beside(self, kind: RunKind, key: bytes, turned: Callable[[int], int]) -> None:
        """Put an entry in order beside one that its run has, with another tail."""

        def two(entry: bytes) -> bytes:
            first, tail = struct.unpack("=2Q", entry)
            pairs = sorted([(first, tail), (first, turned(tail))])
            return b"".join(struct.pack("=2Q", *pair) for pair in pairs)

        number, _ = self._replace(kind, key, two)
        manifest = self.manifest(kind)
        runs = [replace(r, entries=r.entries + (r.number == number)) for r in manifest.runs]
        self.put_manifest(kind, replace(manifest, runs=tuple(runs)))

    def manifest(self, kind: RunKind) -> Manifest:
        """Return what there is of runs."""
        meta = self.env.open_db(b"meta", txn=self.txn)
        stored = self.txn.get(layout.META_RUNS[kind], db=meta)
        assert stored is not None
        return layout.decode_manifest(stored)

    def put_manifest(self, kind: RunKind, manifest: Manifest) -> None:
        """Replace it."""
        self.put("meta", layout.META_RUNS[kind], layout.encode_manifest(manifest))

    def _replace(
        self, kind: RunKind, key: bytes, change: Callable[[bytes], bytes]
    ) -> tuple[int, int]:
        """Change an entry where it stands; return the run and the chunk."""
        entry = self.entry(kind, key)
        chunks = self.chunks(kind)
        ((place, stored),) = [item for item in chunks.items() if entry in item[1]]
        self.put("runs", place, stored.replace(entry, change(entry)))
        return int.from_bytes(place[1:9], "big"), int.from_bytes(place[9:], "big")

    def turn(self, kind: RunKind) -> None:
        """Swap the entries of a chunk that has two."""
        place, stored = next(item for item in self.chunks(kind).items() if len(item[1]) == 32)
        self.put("runs", place, stored[16:] + stored[:16])

    def drop(self, kind: int) -> None:
        """Delete one value."""
        self.delete("runs", [*self.chunks(kind)][-1])

    def cut(self, kind: RunKind, size: int) -> None:
        """Shorten one that has something."""
        place, stored = next(item for item in self.chunks(kind).items() if item[1])
        self.put("runs", place, stored[:-size])

    def blank(self, kind: int) -> None:
        """Let a filter know of nothing."""
        for place, stored in self.chunks(kind).items():
            self.put("runs", place, bytes(len(stored)))

    def unmark(self) -> None:
        """Delete a mark."""
        with self.txn.cursor(self.env.open_db(b"retired", txn=self.txn)) as cursor:
            cursor.first()
            cursor.delete()

    def mark(self, kind: RunKind, key: bytes) -> None:
        """Retire an entry, and say so."""
        pair = struct.unpack("=2Q", self.entry(kind, key))
        self.put("retired", layout.pack_retired(kind, *pair), b"")
        manifest = self.manifest(kind)
        self.put_manifest(kind, replace(manifest, retired=manifest.retired + 1))

    def close(self) -> None:
        """Commit."""
        self.txn.commit()
        self.env.close()


EMAIL = layout.identity_key(layout.Kind.EMAIL, "a.b@x.org")
MATCH = layout.identity_key(layout.Kind.EMAIL_MATCH, "ab@x.org")


def event(kind: int, row: int, id: bytes, time_us: int = 0) -> bytes:
    """Encode an event."""
    return layout.encode_event(kind, row, time_us, b"", id)


def entry(kind: int) -> bytes:
    """Encode a history entry."""
    return layout.encode_history(kind, 0, b"", b"", b"")


A = Person("a", ("a.b@x.org",), pending=("x.org",), note="Ada")
B = Person("b", ("b@x.org",))
FEATURES = features_of(A.record)
BLOCK, *_ = layout.block_entries(FEATURES, 1)
SECOND, ROW = divmod(layout.unpack_u64(BLOCK[1]), 1 << layout.ROW_BITS)
ENTRY = layout.pack_block_entry
IDENTITIES, BLOCKS = RunKind.IDENTITIES, RunKind.BLOCKS
EMAIL_OF_7 = layout.identity_key(layout.Kind.EMAIL, "p.7@x.org")
ROW_OF_7 = 10
BLOCK_ENTRY = struct.pack("=2Q", *layout.block_pair(*BLOCK))


def tell_apart(raw: Raw, row: int, other: int, reason: bytes = b"") -> None:
    """Put one half of a pair."""
    raw.put("distinct", pack_row_pair(row, other), encode_distinct(1, b"", reason))


def tell_both_apart(raw: Raw, row: int, other: int) -> None:
    """Put a pair."""
    tell_apart(raw, row, other)
    tell_apart(raw, other, row)


# Rows: 1 "a" (with e-mail, match key and pending domain), 2 "b", 3 "gone" (deleted by sequence 5),
# 4 "d", who is distinct from "a".
DAMAGES: dict[str, tuple[Damage, str]] = {
    "normal form missing": (
        lambda raw: raw.delete("identities", EMAIL, pack_u64(1)), "identities"),
    "match key missing": (lambda raw: raw.delete("identities", MATCH, pack_u64(1)), "identities"),
    "identity too many": (lambda raw: raw.put("identities", EMAIL, pack_u64(2)), "identities"),
    "identity of nobody": (lambda raw: raw.put("identities", b"\x01z", pack_u64(9)), "identities"),
    "identity swapped": (
        lambda raw: raw.move("identities", EMAIL, pack_u64(1), pack_u64(2)), "identities"),
    "pending missing": (lambda raw: raw.delete("pending", b"x.org", pack_u64(1)), "pending"),
    "pending too many": (lambda raw: raw.put("pending", b"y.org", pack_u64(1)), "pending"),
    "record lost": (lambda raw: raw.delete("customers", pack_u64(1)), "identities"),
    "record unreadable": (lambda raw: raw.put("customers", pack_u64(1), b"{"), "customers"),
    "record of another id": (
        lambda raw: raw.put("customers", pack_u64(2), Person("c").record), "ids"),
    "record resurrected": (
        lambda raw: raw.put("customers", pack_u64(3), Person("other").record), "ids"),
    "record beyond the counter": (
        lambda raw: raw.put("customers", pack_u64(8), Person("h").record), "meta"),
    "id lost": (lambda raw: raw.delete("ids", b"b"), "ids"),
    "id of no row": (lambda raw: raw.put("ids", b"new", pack_u64(50)), "ids"),
    "two ids of one row": (lambda raw: raw.put("ids", b"twin", pack_u64(1)), "ids"),
    "gap in the feed": (lambda raw: raw.delete("changes", pack_u64(2)), "changes"),
    "feed cut short": (lambda raw: raw.delete("changes", pack_u64(5)), "meta"),
    "feed too long": (
        lambda raw: raw.put("changes", pack_u64(6), event(1, 1, b"a")), "meta"),
    "event unreadable": (lambda raw: raw.put("changes", pack_u64(2), b"\x01"), "changes"),
    "event of an unknown kind": (
        lambda raw: raw.put("changes", pack_u64(2), event(99, 2, b"b")), "changes"),
    "event of another row": (
        lambda raw: raw.put("changes", pack_u64(2), event(1, 1, b"b")), "changes"),
    "event out of time": (
        lambda raw: raw.put("changes", pack_u64(2), event(1, 2, b"b", 5)), "changes"),
    "history lost": (lambda raw: raw.delete("history", pack_history_key(1, 1)), "history"),
    "history of a deletion lost": (
        lambda raw: raw.delete("history", pack_history_key(3, 5)), "history"),
    "history of no change": (
        lambda raw: raw.put("history", pack_history_key(1, 40), entry(2)), "history"),
    "history of another row": (
        lambda raw: raw.put("history", pack_history_key(1, 2), entry(1)), "history"),
    "history of another kind": (
        lambda raw: raw.put("history", pack_history_key(1, 1), entry(2)), "history"),
    "history unreadable": (
        lambda raw: raw.put("history", pack_history_key(1, 1), b"\x07"), "history"),
    "history left behind": (
        lambda raw: raw.put("history", pack_history_key(3, 3), entry(ChangeKind.CREATED)),
        "history"),
    "redirect to nobody": (lambda raw: raw.put("redirects", b"gone", b"nobody"), "redirects"),
    "redirect in a circle": (lambda raw: raw.put("redirects", b"gone", b"gone"), "redirects"),
    "redirect of a live id": (lambda raw: raw.put("redirects", b"a", b"b"), "redirects"),
    "row counter behind": (
        lambda raw: raw.put("meta", b"counters", layout.encode_counters(2, 6, 1 << 60)), "meta"),
    "sequence counter behind": (
        lambda raw: raw.put("meta", b"counters", layout.encode_counters(5, 5, 1 << 60)), "meta"),
    "features missing": (lambda raw: raw.delete("features", pack_u64(1)), "features"),
    "features of another record": (
        lambda raw: raw.put("features", pack_u64(1), features_of(B.record)), "features"),
    "features cut": (lambda raw: raw.put("features", pack_u64(1), FEATURES[:-8]), "features"),
    "features of nobody": (lambda raw: raw.put("features", pack_u64(9), FEATURES), "features"),
    "features left behind": (lambda raw: raw.put("features", pack_u64(3), FEATURES), "features"),
    "block missing": (lambda raw: raw.delete("blocks", *BLOCK), "blocks"),
    "block too many": (lambda raw: raw.put("blocks", BLOCK[0], ENTRY(SECOND, 2)), "blocks"),
    "block of nobody": (lambda raw: raw.put("blocks", BLOCK[0], ENTRY(SECOND, 9)), "blocks"),
    "block left behind": (lambda raw: raw.put("blocks", BLOCK[0], ENTRY(SECOND, 3)), "blocks"),
    "block of no key": (lambda raw: raw.put("blocks", bytes(8), BLOCK[1]), "blocks"),
    "block under another second key": (
        lambda raw: raw.move("blocks", *BLOCK, ENTRY(SECOND ^ 1, ROW)), "blocks"),
    "block too many under a second key": (
        lambda raw: raw.put("blocks", BLOCK[0], ENTRY(SECOND ^ 1, ROW)), "blocks"),
    "pair one-sided": (lambda raw: tell_apart(raw, 1, 2), "distinct"),
    "pair of one": (lambda raw: tell_apart(raw, 1, 1), "distinct"),
    "half of a pair lost": (lambda raw: raw.delete("distinct", pack_row_pair(1, 4)), "distinct"),
    "pair of two reasons": (lambda raw: tell_apart(raw, 1, 4, b"why"), "distinct"),
    "pair of a deleted customer": (lambda raw: tell_both_apart(raw, 1, 3), "distinct"),
    "pair of nobody": (lambda raw: tell_both_apart(raw, 8, 9), "distinct"),
    "pair unreadable": (lambda raw: raw.put("distinct", pack_row_pair(1, 4), b"\x01"), "distinct"),
    "request ahead": (
        lambda raw: raw.put("requests", b"r", layout.encode_request(1, 1, 99, 1)), "requests"),
    "request unreadable": (lambda raw: raw.put("requests", b"r", b"\x01"), "requests"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
async def test_damage_is_found(tmp_path: Path, name: str) -> None:
    """Each kind of damage yields a fault in the sub-database that it concerns."""
    people = [A, B, Person("gone"), Person("d")]
    async with opened(tmp_path) as index:
        await save_all(index, people)
        await submit_one(index, remove(index, "gone"))
        known = PutRequest("ok", 1, 1, 1), PutDistinct(1, 4, "who", "no")
        await index.submit([lambda _: Decision(None, known)])
        assert faults(index) == []
    damage, table = DAMAGES[name]
    raw = Raw(tmp_path)
    damage(raw)
    raw.close()
    async with opened(tmp_path) as index:
        assert table in {fault.table for fault in faults(index)}


# Rows: 1 "a", 2 "b", which was given back by sequence 6 and again by 9, 3 "gone" (deleted).
RESTORED_DAMAGES: dict[str, Damage] = {
    "mark lost": lambda raw: raw.delete("restored", pack_u64(2)),
    "mark of an earlier time": lambda raw: raw.put("restored", pack_u64(2), pack_u64(6)),
    "mark of no entry": lambda raw: raw.put("restored", pack_u64(2), pack_u64(40)),
    "mark of another entry": lambda raw: raw.put("restored", pack_u64(1), pack_u64(1)),
    "mark left behind": lambda raw: raw.put("restored", pack_u64(3), pack_u64(3)),
    "mark cut": lambda raw: raw.put("restored", pack_u64(2), b"\x09"),
}


@pytest.mark.parametrize("name", RESTORED_DAMAGES)
async def test_a_wrong_mark_of_who_was_given_back_is_found(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path) as index:
        await save_all(index, [A, B, Person("gone")])
        for _ in range(2):
            assert await index.submit([merge(index, "b", "a")]) == [None]
            with index.snapshot() as snapshot:
                merged = snapshot.was_restored(2)
            assert await index.submit([release(index, "b", "a")]) == [None]
        await submit_one(index, remove(index, "gone"))
        with index.snapshot() as snapshot:
            assert merged, "also while it is merged again"
            assert [snapshot.was_restored(row) for row in (1, 2, 3)] == [False, True, False]
        assert faults(index) == []
    raw = Raw(tmp_path)
    RESTORED_DAMAGES[name](raw)
    raw.close()
    async with opened(tmp_path) as index:
        assert {fault.table for fault in faults(index)} == {"restored"}


async def test_who_was_given_back_is_forgotten_with_the_customer(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await save_all(index, [A, B])
        await index.submit([merge(index, "b", "a")])
        await index.submit([release(index, "b", "a")])
        await index.submit([merge(index, "b", "a")])
        await submit_one(index, remove(index, "a"))
        with index.snapshot() as snapshot:
            assert snapshot.entries("restored") == 0
        assert faults(index) == []


AWAITED = [(b"x.org", 1)]

# Rows: 1 "a", 2 "b" and 3 to 62, all in runs; "p9" was changed since, "p8" deleted.
RUN_DAMAGES: dict[str, tuple[Damage, str]] = {
    "identity missing": (lambda raw: raw.without(IDENTITIES, EMAIL_OF_7), "identities"),
    "block missing": (lambda raw: raw.without(BLOCKS, BLOCK_ENTRY), "blocks"),
    "identity too many": (
        lambda raw: raw.beside(IDENTITIES, EMAIL_OF_7, lambda tail: tail ^ 1), "identities"),
    "block of nobody": (
        lambda raw: raw.beside(BLOCKS, BLOCK_ENTRY, lambda tail: tail ^ 1 << 40), "blocks"),
    "identity twice": (
        lambda raw: raw.put("identities", EMAIL_OF_7, pack_u64(10)), "identities"),
    "block twice": (lambda raw: raw.put("blocks", *BLOCK), "blocks"),
    "out of order": (lambda raw: raw.turn(BLOCKS), "runs"),
    "an entry twice": (
        lambda raw: raw.beside(IDENTITIES, EMAIL_OF_7, lambda tail: tail), "runs"),
    "chunk lost": (lambda raw: raw.drop(BLOCKS), "runs"),
    "chunk cut": (lambda raw: raw.cut(IDENTITIES, 1), "runs"),
    "last entry of a chunk lost": (lambda raw: raw.cut(IDENTITIES, 16), "runs"),
    "filter lost": (lambda raw: raw.drop(BLOCKS | layout.RUN_FILTER), "runs"),
    "filter empty": (lambda raw: raw.blank(IDENTITIES | layout.RUN_FILTER), "runs"),
    "manifest noise": (lambda raw: raw.put("meta", b"runs_blocks", b"noise"), "meta"),
    "manifest lost": (lambda raw: raw.delete("meta", b"runs_identities"), "identities"),
    "secret lost": (lambda raw: raw.delete("meta", layout.META_HASH_SECRET), "meta"),
    "another secret": (
        lambda raw: raw.put("meta", layout.META_HASH_SECRET, bytes(16)), "identities"),
    "waiting lost": (lambda raw: raw.delete("waiting", pack_u64(1)), "pending"),
    "waiting cut": (
        lambda raw: raw.put("waiting", pack_u64(1), layout.encode_waiting(AWAITED)[:-1]),
        "waiting"),
    "waiting under another row": (
        lambda raw: raw.put("waiting", pack_u64(2), layout.encode_waiting(AWAITED)), "waiting"),
    "waiting too much": (
        lambda raw: raw.put("waiting", pack_u64(1), layout.encode_waiting([*AWAITED, *AWAITED])),
        "waiting"),
    "waiting of another version": (
        lambda raw: raw.put("waiting", pack_u64(1), b"\x07"), "waiting"),
    "waiting twice": (lambda raw: raw.put("pending", b"x.org", pack_u64(1)), "pending"),
    "mark lost": (lambda raw: raw.unmark(), "retired"),
    "mark of nothing": (
        lambda raw: raw.put("retired", layout.pack_retired(BLOCKS, 1, 1), b""), "retired"),
    "mark of no kind": (
        lambda raw: raw.put("retired", layout.pack_retired(9, 1, 1), b""), "retired"),
    "mark cut": (lambda raw: raw.put("retired", b"\x01abc", b""), "retired"),
    "mark too many": (lambda raw: raw.mark(IDENTITIES, EMAIL_OF_7), "identities"),
}  # fmt: skip


@pytest.mark.parametrize("name", RUN_DAMAGES)
async def test_damage_of_runs_is_found(tmp_path: Path, name: str) -> None:
    """In chunks, filters, manifest, secret and marks; each is named, and nothing breaks."""
    crowd = [Person(f"p{n}", (f"p.{n}@x.org",), note=f"N{n}") for n in range(60)]
    async with opened(tmp_path) as index:
        await save_all(index, [A, B, *crowd], bulk=True)
        await submit_one(index, save(index, replace(crowd[9], emails=("new@x.org",))))
        await submit_one(index, remove(index, "p8"))
        assert faults(index) == []
        with index.snapshot() as snapshot:
            assert snapshot.entries("retired") > 5
            assert any(snapshot.runs(kind).manifest.merges for kind in RunKind)
    damage, table = RUN_DAMAGES[name]
    raw = Raw(tmp_path)
    damage(raw)
    raw.close()
    async with opened(tmp_path) as index:
        assert table in {fault.table for fault in faults(index)}


async def test_progress_covers_every_sub_database(tmp_path: Path) -> None:
    """Each walk ends with its total; verification runs on one snapshot while writes go on."""
    async with opened(tmp_path) as index:
        await save_all(index, [Person(f"p{n}", (f"{n}@x.org",)) for n in range(50)])
        steps = index.verify(JsonCodec())
        first = next(steps)
        await submit_one(index, save(index, Person("later")))
        progress = [step for step in (first, *steps) if isinstance(step, Progress)]
        assert {step.table: step.total for step in progress if step.done == step.total} == {
            "customers": 50, "distinct": 0, "ids": 50, "changes": 50, "history": 50, "redirects": 0,
                "requests": 0, "retired": 0, "runs": 0, "waiting": 0,
                "merged": 0, "members": 0, "bonds": 0, "merges": 0, "older": 0, "consumers": 0,
                "restored": 0, "items": 0, "timeline": 0, "pins": 0, "leaving": 0,
        }  # fmt: skip
        await save_all(index, [Person(f"r{n}", (f"{n}@x.org",)) for n in range(50)], bulk=True)
        with index.snapshot() as snapshot:
            entries = sum(snapshot.runs(kind).entries for kind in RunKind)
        steps = index.verify(JsonCodec())
        in_runs = [step for step in steps if isinstance(step, Progress) and step.table == "runs"]
        assert in_runs[-1] == Progress("runs", entries, entries)


async def test_other_rules_of_comparison_show(tmp_path: Path) -> None:
    """Features that the codec of today would not make are named, with their row."""

    class Forgetful(JsonCodec):
        def features(self, records: Sequence[bytes]) -> list[bytes]:
            return [b"" for _ in records]

    async with opened(tmp_path) as index:
        await save_all(index, [A, B])
        found = [step for step in index.verify(Forgetful()) if not isinstance(step, Progress)]
        assert {(fault.table, fault.row) for fault in found} == {
            ("features", 1), ("features", 2), ("blocks", 1), ("blocks", 2),
        }  # fmt: skip


async def test_other_match_rules_show(tmp_path: Path) -> None:
    """An index whose match keys follow other rules than today's is not sound."""

    class ShoutingCodec(JsonCodec):
        def held(self, record: bytes) -> Held:
            held = super().held(record)
            normals = tuple((channel, text.upper()) for channel, text in held.normals)
            return held._replace(identities=(), normals=normals)

    async with opened(tmp_path) as index:
        await save_all(index, [Person("a", ("a@x.org",))])
        assert [step.table for step in index.verify(ShoutingCodec()) if not isinstance(
            step, Progress)] == ["identities"]  # fmt: skip


async def test_damaged_features_stop_nobody(tmp_path: Path) -> None:
    """Their record can be replaced and deleted, and others that are written with it."""
    async with opened(tmp_path) as index:
        await save_all(index, [A, B])
    raw = Raw(tmp_path)
    raw.put("features", pack_u64(1), FEATURES[:-8])
    raw.put("features", pack_u64(2), b"noise")
    raw.close()
    async with opened(tmp_path) as index:
        assert len(await save_all(index, [Person("c"), replace(A, note="Ida"), Person("d")])) == 3
        await submit_one(index, remove(index, "b"))
        with index.snapshot() as snapshot:
            assert snapshot.features_of(1) == features_of(replace(A, note="Ida").record)
            assert snapshot.features_of(2) == b""
        assert {fault.table for fault in faults(index)} <= {"blocks"}  # what nobody could name
