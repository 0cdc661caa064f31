"""Finds the records of one person in a whole file: blocks, training, scores, clusters.

Everything is in memory: the packed features (200 to 300 bytes a record), their blocking keys
(112 bytes) and the pairs above the threshold. The kernels do the work without the GIL, on all
cores; here is the order of it.

The same records give the same clusters in whatever order they come: they are put into one order,
that of their content, before anything is drawn, cut or joined.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import log2
from typing import Final

import numpy as np
import numpy.typing as npt

from service.core import _match
from service.core._features import Packed, weigh
from service.core._match import FIELDS, Blocks, Weights
from service.core.match import Model, Sample, train
from service.errors import InvalidArgument

BLOCK_LIMIT: Final = 60  # records of which all pairs are compared: 1,770
WINDOW: Final = 8  # neighbours that are compared in what is left of a block after it was split
TRAINED_PAIRS: Final = 150_000  # about; more move no probability by a hundredth
RANDOM_PAIRS: Final = 500_000  # u down to some millionths
EVIDENCE_BITS: Final = (-6.0, 12.0)  # what one pair may say for or against joining two groups
COMPARED_MEMBERS: Final = 12  # of each group
CHUNKS: Final = 16  # of a family of blocks, for each core

Rows = npt.NDArray[np.uint32]
Entries = npt.NDArray[np.uint64]
Tell = Callable[[str, float], None]  # what is done, and which share of it


@dataclass(slots=True)
class Counts:
    """What was done."""

    records: int = 0
    placeholder_dates: int = 0  # birth dates that were taken for none: far too many share them
    compared_pairs: int = 0
    large_blocks: int = 0  # blocks over BLOCK_LIMIT, split by second keys
    refused_joins: int = 0  # pairs that matched, of groups that do not


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of rows and their match weights in bits, best first."""

    ones: Rows
    others: Rows
    bits: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Linked:
    """What was found. `labels` has a number for each row: rows of one person share it."""

    labels: Rows
    pairs: Pairs
    model: Model
    counts: Counts = field(default_factory=Counts)


def link(
    packed: Packed,
    *,
    model: Model | None = None,
    threshold: float = 0.5,
    ties: npt.NDArray[np.uint64] | None = None,
    tell: Tell = lambda _what, _share: None,
) -> Linked:
    """Group the records of `packed`, which is weighed and put into another order by this.

    Without `model` one is learnt from the records. `threshold` is the probability from which two
    records are taken for one person. `ties` tells records of equal content apart, by a hash of
    their ids say, where clusters have to be the same in any order of the rows.
    """
    if not 0.0 < threshold < 1.0:
        raise InvalidArgument("is above 0 and below 1", field="threshold")
    order = _put_in_order(packed, ties)
    counts = Counts(records=len(packed), placeholder_dates=weigh(packed))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        run = _Run(packed, pool, counts, tell)
        learnt = model or _learn(run)
        weights = learnt.weights()
        bits = log2(threshold / (1.0 - threshold))
        pairs = _score(run, weights, bits)
    tell("clustering", 0.0)
    labels, counts.refused_joins = _match.cluster(
        packed, weights, pairs.ones, pairs.others, pairs.bits, bits, *EVIDENCE_BITS, bits,
        COMPARED_MEMBERS,
    )  # fmt: skip
    placed = np.empty(len(packed), np.uint32)
    placed[order] = order.astype(np.uint32)[np.frombuffer(labels, np.uint32)]
    rows = order.astype(np.uint32)
    tell("clustering", 1.0)
    return Linked(placed, Pairs(rows[pairs.ones], rows[pairs.others], pairs.bits), learnt, counts)


def _put_in_order(packed: Packed, ties: npt.NDArray[np.uint64] | None) -> npt.NDArray[np.int64]:
    """Sort the records by content; return the row that each one had."""
    hashes = np.empty(len(packed), np.uint64)
    packed.hashes(hashes)
    keys = (hashes,) if ties is None else (ties, hashes)
    order = np.lexsort(keys).astype(np.int64)
    packed.reorder(order)
    return order


@dataclass(slots=True)
class _Run:
    packed: Packed
    pool: ThreadPoolExecutor
    counts: Counts
    tell: Tell

    def blocks(
        self, weights: Weights | None, least_bits: float, sample: int, what: str
    ) -> Iterator[tuple[bytes, bytes, bytes, bytes, int]]:
        """Compare the pairs of all blocks, family after family; yield what the kernel returns."""
        blocks = Blocks(self.packed)
        for number, (first, width) in enumerate(_match.FAMILIES):
            self.tell(what, number / len(_match.FAMILIES))
            entries = np.sort(np.frombuffer(blocks.entries(first, width), np.uint64))
            entries, large = _by_size(entries)
            options = (blocks, weights, first, least_bits, sample)
            yield from self._compare(entries, 0, *options)
            if len(large):
                # Their pairs may be met again by other keys: not all are compared here.
                blocks.forget(large, first, width)
                if weights is not None:
                    self.counts.large_blocks += len(np.unique(large >> np.uint64(32)))
                for second in range(_match.SECOND_KEYS):
                    split = np.empty(len(large), np.uint64)
                    _match.split(self.packed, large, second, split)
                    split = np.sort(split[split >> np.uint64(32) != 0])
                    yield from self._compare(split, WINDOW, *options)
        self.tell(what, 1.0)

    def _compare(
        self, entries: Entries, window: int, blocks: Blocks, weights: Weights | None, first: int,
        least_bits: float, sample: int,
    ) -> Iterator[tuple[bytes, bytes, bytes, bytes, int]]:  # fmt: skip
        if len(entries) < 2:
            return
        count = min(CHUNKS * (os.cpu_count() or 1), 1 + len(entries) // 10_000)
        cuts = np.linspace(0, len(entries), count + 1).astype(int)
        under_way = [
            self.pool.submit(
                _match.compare_blocks, self.packed, blocks, weights, entries, begin, end, first,
                BLOCK_LIMIT, window, least_bits, sample,
            )
            for begin, end in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)
        ]  # fmt: skip
        for done in under_way:
            yield done.result()


def _by_size(entries: Entries) -> tuple[Entries, Entries]:
    """Return the entries of blocks that have pairs, and of those that have too many."""
    if not len(entries):
        return entries, entries
    keys = entries >> np.uint64(32)
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    sizes = np.diff(np.append(starts, len(entries)))
    size = np.repeat(sizes, sizes)
    return entries[(size > 1) & (size <= BLOCK_LIMIT)], entries[size > BLOCK_LIMIT]


def _learn(run: _Run) -> Model:
    """Train on the records themselves."""
    records = len(run.packed)
    prior = Model.default(records)
    if records < 2:
        return prior
    draw = np.random.default_rng(0)
    ones, others = draw.integers(0, records, (2, RANDOM_PAIRS), np.uint32)
    differ = ones != others
    random_levels, _ = _match.vectors(run.packed, ones[differ], others[differ])
    share = max(1, records // 50_000)  # a record has some three candidates
    found = [part[3] for part in run.blocks(None, 0.0, share, "learning")]
    vectors = np.frombuffer(b"".join(found), np.uint8).reshape(-1, 2, FIELDS)
    step = max(1, len(vectors) // TRAINED_PAIRS)
    vectors = vectors[::step]
    sample = Sample(vectors[:, 0], vectors[:, 1], float(share * step))
    levels = np.frombuffer(random_levels, np.uint8).reshape(-1, FIELDS)
    return train(prior, sample, levels, records)


def _score(run: _Run, weights: Weights, least_bits: float) -> Pairs:
    """Return the pairs of at least `least_bits`, each once."""
    parts = []
    for found_ones, found_others, found_bits, _, compared in run.blocks(
        weights, least_bits, 1, "comparing"
    ):
        run.counts.compared_pairs += compared
        parts.append((found_ones, found_others, found_bits))
    ones = np.frombuffer(b"".join(part[0] for part in parts), np.uint32)
    others = np.frombuffer(b"".join(part[1] for part in parts), np.uint32)
    bits = np.frombuffer(b"".join(part[2] for part in parts), np.float32)
    _, once = np.unique(ones.astype(np.uint64) << np.uint64(32) | others, return_index=True)
    order = once[np.lexsort((others[once], ones[once], -bits[once]))]
    return Pairs(ones[order], others[order], bits[order])
