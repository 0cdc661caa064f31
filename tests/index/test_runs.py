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

Env = lmdb.Environment
Pair = tuple[int, int]

#: Many levels and groups after some hundred entries, and merges that go on for long.
TINY = Shape(chunk_entries=4, chunk_bits=1, growth=3, pace=3, step_entries=0)
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
    tables = [env.open_db(name, txn=txn) for name in (b"meta", b"runs", b"retired")]
    return Runs(Calls(txn), *tables, kind)


def packed(pairs: Sequence[Pair]) -> memoryview:
    """Return pairs as runs take them."""
    return memoryview(array("Q", [word for pair in pairs for word in pair]))


class Oracle:
    """The pairs that runs should have, and where keys are taken from: all of 64 bits, some twice."""

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
