"""Sorted runs against a set of pairs: additions, merges, retired entries; damage."""

from __future__ import annotations

import random
import subprocess
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from service.errors import FormatMismatch, StorageFault
from service.index import layout
from service.index._lmdb import Calls
from service.index._runs import identity_hash
from service.index.layout import ROW_MASK, Manifest, Merge, Run, RunKind
from service.index.runs import FIRST_MAX, SHAPE, Runs, Shape, entries_of, identity_entry
from tests.index.cards import TINY

Env = lmdb.Environment
Pair = tuple[int, int]

SHAPES = [
    TINY,
    Shape(chunk_entries=1, chunk_bits=0, growth=2, pace=2, step_entries=0),
    Shape(chunk_entries=8, chunk_bits=3, growth=4, pace=4, step_entries=10),
    SHAPE,
]


@pytest.fixture
def env(tmp_path: Path) -> Iterator[Env]:
    """An empty environment."""
    with lmdb.open(str(tmp_path), max_dbs=3, map_size=1 << 28) as env:
        yield env


def runs_of(env: Env, txn: lmdb.Transaction[bytes], kind: RunKind = RunKind.BLOCKS) -> Runs:
    """Read the runs that a transaction sees."""
    meta, runs, retired = (env.open_db(name, txn=txn) for name in (b"meta", b"runs", b"retired"))
    return Runs(Calls(txn), meta, runs, retired, kind)


def packed(pairs: Sequence[Pair]) -> memoryview:
    """Return pairs as runs take them."""
    return memoryview(array("Q", [word for pair in pairs for word in pair]))


class Oracle:
    """The pairs that runs should have, and the keys that theirs are taken from: few, and many."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.live: set[Pair] = set()
        self.ever: set[Pair] = set()
        self.keys = [0, 1, FIRST_MAX, FIRST_MAX - 1, *(chance.getrandbits(64) for _ in range(300))]

    def new(self, count: int) -> list[Pair]:
        """Pairs that never were, a few of them several times over."""
        made: set[Pair] = set()
        for _ in range(count):
            key = self.chance.choice(self.keys[: self.chance.choice((2, 20, 304))])
            second = self.chance.choice((0, 1, 7, 0xFFFF))
            row = self.chance.choice((self.chance.randint(1, 9_999), ROW_MASK))
            made.add((key, second << 48 | row))
        made -= self.ever
        self.ever |= made
        self.live |= made
        pairs = [*made, *sorted(made)[:2]]
        self.chance.shuffle(pairs)
        return pairs

    def check(self, runs: Runs) -> None:
        """Compare every way to read."""
        assert runs.entries == len(self.live)
        stored = [pair for chunk in runs.chunks() for pair in entries_of(chunk)]
        assert len(stored) == len(set(stored))
        assert {pair for pair in stored if not runs.is_retired(*pair)} == self.live
        by_key: dict[int, list[int]] = {}
        for first, tail in sorted(self.live):
            by_key.setdefault(first, []).append(tail)
        for key in (*self.keys, 5, FIRST_MAX // 2):
            tails = by_key.get(key, [])
            low, high = sorted(self.chance.choice((0, 1 << 48, 7 << 48 | 50, FIRST_MAX))
                               for _ in range(2))  # fmt: skip
            limit = self.chance.choice((0, 1, 3, 1_000))
            between = [tail for tail in tails if low <= tail <= high]
            assert runs.count(key) == len(tails)
            assert runs.count(key, low, high) == len(between)
            assert runs.tails(key, low, high, limit) == between[:limit]
        self.check_held(runs)

    def check_held(self, runs: Runs) -> None:
        """Hashes that are there, and others, in batches below and above what keeps the GIL."""
        hashes = {(first, tail >> 48) for first, tail in self.live}
        asked = [(key, second) for key in self.keys for second in (0, 1, 2, 7, 0xFFFF)]
        for some in (asked, asked[:40], asked[:1], []):
            keys = packed([(key, second << 48) for key, second in some])
            held = runs.held(keys, len(some))
            assert [bool(one) for one in held] == [pair in hashes for pair in some]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_runs_agree_with_a_set(env: Env, shape: Shape, seed: int) -> None:
    """Whatever is added and taken away, in whatever transactions, some of them given up."""
    oracle = Oracle(random.Random(seed))
    chance = oracle.chance
    for number in range(30):
        before = oracle.live.copy(), oracle.ever.copy()
        with env.begin(write=True) as txn:
            runs = runs_of(env, txn)
            for _ in range(chance.randint(1, 3)):
                runs.add(packed(oracle.new(chance.choice((1, 3, 40)))), shape)
                for pair in chance.sample(sorted(oracle.live), min(len(oracle.live), 5)):
                    runs.retire(*pair)
                    runs.retire(*pair)
                    oracle.live.discard(pair)
                runs.retire(5, 1)  # which no run has
            if number % 5 == 0:
                oracle.check(runs)
            if number % 7 == 6:
                txn.abort()
                oracle.live, oracle.ever = before
            else:
                runs.put_manifest()
        with env.begin() as txn:
            oracle.check(runs_of(env, txn))


def grow(env: Env, commits: int, each: int, shape: Shape = TINY, seed: int = 1) -> list[Pair]:
    """Add runs of so many entries, one per commit; return the pairs."""
    chance = random.Random(seed)
    pairs: list[Pair] = []
    for _ in range(commits):
        new = [(chance.getrandbits(64), len(pairs) + number + 1) for number in range(each)]
        pairs += new
        with env.begin(write=True) as txn:
            runs = runs_of(env, txn)
            runs.add(packed(new), shape)
            runs.put_manifest()
    return pairs


def test_merges_go_on_from_commit_to_commit(env: Env) -> None:
    """Half done ones are read as whole ones are, and there are never many runs."""
    shape = replace(TINY, chunk_entries=2)
    pairs: list[Pair] = []
    under_way, most = 0, 0
    for number in range(150):
        pairs += grow(env, 1, 20, shape, seed=number)
        with env.begin() as txn:
            runs = runs_of(env, txn)
            under_way += any(merge.done for merge in runs.manifest.merges)
            most = max(most, sum(span is not None for span in runs.spans_of_runs()))
            assert runs.entries == len(pairs)
            for first, tail in random.Random(number).sample(pairs, 20):
                assert runs.tails(first, 0, FIRST_MAX, 9) == [tail]
    assert under_way > 10
    assert most < 40


def test_a_merge_takes_as_much_as_was_added(env: Env) -> None:
    """Small additions never wait for a merge of all, and in the end it is done."""
    shape = replace(TINY, chunk_entries=16)
    grow(env, 27, 100, shape)
    with env.begin(write=True) as txn:
        runs = runs_of(env, txn)
        output = max(run.into for run in runs.manifest.runs)
        group = shape.chunk_entries << shape.chunk_bits
        merged = [entries_in(runs, output)]
        commits = 0
        while output in {merge.output for merge in runs.manifest.merges}:
            runs.add(packed([(random.getrandbits(64), commits)]), shape)
            merged.append(entries_in(runs, output))
            assert merged[-1] - merged[-2] <= 2 * group  # one step
            assert merged[-1] - merged[0] <= (commits + 1) * shape.pace + 3 * group
            commits += 1
        assert commits > 100


def entries_in(runs: Runs, number: int) -> int:
    """Entries that a run has so far."""
    return next(run.entries for run in runs.manifest.runs if run.number == number)


def test_marks_are_forgotten_with_their_entries(env: Env) -> None:
    """Once all runs were merged nothing is left of what was retired."""
    pairs = grow(env, 20, 30)
    with env.begin(write=True) as txn:
        runs = runs_of(env, txn)
        for pair in pairs[::2]:
            runs.retire(*pair)
        runs.put_manifest()
        assert runs.manifest.retired == len(pairs) // 2
        assert runs.entries == len(pairs) // 2
    grow(env, 200, 30, seed=2)
    with env.begin() as txn:
        runs = runs_of(env, txn)
        assert runs.entries == len(pairs) // 2 + 6_000
        assert runs.manifest.retired < len(pairs) // 4
        assert txn.stat(env.open_db(b"retired", txn=txn))["entries"] == runs.manifest.retired
        assert not any(runs.count(*pair, pair[1]) for pair in pairs[::2])


def test_what_was_merged_leaves_the_file(env: Env) -> None:
    """Chunks and filters are those of the runs that there are."""
    grow(env, 100, 30)
    with env.begin() as txn:
        runs = runs_of(env, txn)
        known = {run.number for run in runs.manifest.runs}
        stored = {
            int.from_bytes(key[1:9], "big") for key, _ in txn.cursor(env.open_db(b"runs", txn=txn))
        }
        assert stored == known
        border = {merge.output: merge.done for merge in runs.manifest.merges}
        for run in runs.manifest.runs:
            prefix = bytes([RunKind.BLOCKS | layout.RUN_FILTER]) + run.number.to_bytes(8, "big")
            filters = sum(
                key.startswith(prefix) for key, _ in txn.cursor(env.open_db(b"runs", txn=txn))
            )
            assert filters == border.get(run.number, filters) > -1


def test_kinds_do_not_see_each_other(env: Env) -> None:
    """Nor do their marks."""
    with env.begin(write=True) as txn:
        blocks = runs_of(env, txn)
        identities = runs_of(env, txn, RunKind.IDENTITIES)
        blocks.add(packed([(1, 1), (2, 2)]), TINY)
        identities.add(packed([(1, 1), (3, 3)]), TINY)
        blocks.retire(1, 1)
        assert (blocks.count(1), blocks.count(2), blocks.count(3)) == (0, 1, 0)
        assert (identities.count(1), identities.count(2), identities.count(3)) == (1, 0, 1)


def test_another_process_reads_them(env: Env, tmp_path: Path) -> None:
    """As soon as they are committed, in the middle of merges."""
    pairs = grow(env, 40, 30)
    program = """
import sys
from pathlib import Path
import lmdb
from tests.index.test_runs import runs_of
with lmdb.open(sys.argv[1], max_dbs=3, map_size=1 << 28) as env, env.begin() as txn:
    runs = runs_of(env, txn)
    print(runs.entries, *(runs.count(int(word)) for word in sys.argv[2:]))
"""
    asked = [str(first) for first, _ in pairs[::100]]
    command = [sys.executable, "-c", program, str(tmp_path), *asked, "12345"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert told == [str(len(pairs)), *(["1"] * len(asked)), "0"]


def test_nothing_is_no_run(env: Env) -> None:
    """And what is no pair is refused."""
    with env.begin(write=True) as txn:
        runs = runs_of(env, txn)
        runs.add(b"")
        assert not runs.any
        runs.add(packed([(1, 1)]))
        for odd in (bytes(24), bytes(15)):
            with pytest.raises(ValueError, match="two words"):
                runs.add(odd)
        for count in (2, -1):
            with pytest.raises(ValueError, match="two words"):
                runs.held(bytes(16), count)


# Damage


def test_a_damaged_manifest_is_a_fault(env: Env) -> None:
    """Cut, longer, or with numbers that do not fit each other."""
    grow(env, 30, 30)
    with env.begin() as txn:
        manifest = runs_of(env, txn).manifest
    stored = layout.encode_manifest(manifest)
    assert layout.decode_manifest(stored) == manifest
    for place in range(len(stored)):
        turned = stored[:place] + bytes([stored[place] ^ 4]) + stored[place + 1 :]
        for damaged_bytes in (stored[:place], turned):
            with pytest.raises((StorageFault, FormatMismatch)):
                layout.decode_manifest(damaged_bytes)
    assert manifest.merges
    output = manifest.merges[0].output
    for damaged in (
        replace(manifest, next_number=1),
        replace(manifest, runs=tuple(r for r in manifest.runs if r.number != output)),
        replace(manifest, runs=manifest.runs + manifest.runs[:1]),
        replace(manifest, runs=(*manifest.runs, Run(9_999, 0, 0, 1, 5))),
        replace(manifest, merges=()),
        replace(manifest, merges=manifest.merges * 2),
        replace(manifest, merges=(*manifest.merges, Merge(7_777))),
        replace(manifest, merges=(Merge(output, 1 << 40),)),
        Manifest(2, 0, (Run(1, 33, 0, 1, 5),)),
        Manifest(2, 0, (Run(1, 0, 1, 1, 5),)),
        Manifest(2, 0, (Run(1, 0, 0, 0, 5),)),
        Manifest(2, 0, (Run(1, 0, 0, 1, 5, 1),), (Merge(1),)),
    ):
        with pytest.raises(StorageFault):
            layout.decode_manifest(layout.encode_manifest(damaged))
    with pytest.raises(FormatMismatch):
        layout.decode_manifest(b"\x02" + stored[1:])
    with pytest.raises(StorageFault):
        layout.decode_manifest(stored + b"\0")


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_damaged_the_process_goes_on(env: Env, seed: int) -> None:
    """A value of runs that is gone, cut, longer or noise: a fault, or what the others say."""
    pairs = grow(env, 25, 30, seed=seed)
    chance = random.Random(seed)
    with env.begin(write=True) as txn:
        table = env.open_db(b"runs", txn=txn)
        stored = list(txn.cursor(table))
        noisy = False
        for key, value in chance.sample(stored, chance.choice((1, 10, len(stored)))):
            noise = bytearray(value)
            for _ in range(chance.choice((1, 30))):
                if noise:
                    noise[chance.randrange(len(noise))] = chance.randrange(256)
            instead = chance.choice((
                None, b"", value[:-1], value[:-16], value + value, value + b"x", bytes(noise),
            ))  # fmt: skip
            noisy = noisy or instead not in (None, b"", value[:-1], value[:-16])
            txn.delete(key, db=table)
            if instead is not None:
                txn.put(key, instead, db=table)
    with env.begin(write=True) as txn:
        runs = runs_of(env, txn)
        for first, tail in chance.sample(pairs, 200):
            try:
                found = runs.tails(first, 0, FIRST_MAX, 5)
                assert noisy or found in ([], [tail])  # LMDB has no checksums: see `verify`
            except StorageFault:
                continue
        try:
            runs.held(packed(pairs), len(pairs))
            for number in range(40):
                runs.add(packed([(chance.getrandbits(64), number) for _ in range(30)]), TINY)
                runs.retire(*chance.choice(pairs))
        except StorageFault:
            return


@pytest.mark.parametrize("instead", [None, bytes(15), bytes(64)])
def test_a_chunk_that_is_gone_or_cut_is_a_fault(env: Env, instead: bytes | None) -> None:
    """Of a key that may be in it; so is a filter, of any key in its part."""
    shape = replace(TINY, growth=99)
    pairs = grow(env, 1, 200, shape)
    for kind in (RunKind.BLOCKS, RunKind.BLOCKS | layout.RUN_FILTER):
        with env.begin(write=True) as txn:
            table = env.open_db(b"runs", txn=txn)
            for key, _ in list(txn.cursor(table)):
                if key[0] == kind:
                    txn.delete(key, db=table)
                    if instead is not None:
                        txn.put(key, instead[:15] if kind == RunKind.BLOCKS else instead, db=table)
            runs = runs_of(env, txn)
            if instead is None or kind == RunKind.BLOCKS:
                with pytest.raises(StorageFault):
                    runs.count(pairs[0][0])
                with pytest.raises(StorageFault):
                    runs.held(packed(pairs), len(pairs))
            with pytest.raises(StorageFault):
                list(runs.chunks())
            txn.abort()


def test_hashes_are_cut_to_80_bits() -> None:
    """64 of the first word and 16 of the second, above the row."""
    secret = bytes(range(16))
    first, second = identity_hash(b"\x01a@x.org", secret)
    assert first >> 64 == second >> 16 == 0
    assert identity_entry(b"\x01a@x.org", secret, 7) == (first, second << 48 | 7)
    assert identity_hash(b"\x01a@x.org", bytes(16)) != (first, second)
    with pytest.raises(ValueError, match="16 bytes"):
        identity_hash(b"", b"short")
