"""Finds the records of one person in a whole file: blocks, training, scores, clusters.

Everything is in memory: the packed features (200 to 300 bytes a record), their blocking keys
(112 bytes) and the pairs above the threshold. The kernels do the work without the GIL, on all
cores; here is the order of it.

The same records give the same clusters in whatever order they come: they are put into one order,
that of their content, before anything is drawn, cut or joined.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, pairwise
from math import log2
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from service.core import _match
from service.core._features import Packed, weigh_value, weighed
from service.core._match import BINS, FIELDS, Blocks, Search, Weights
from service.core.match import Labels, Model, Sample, Training, train
from service.errors import InvalidArgument

WINDOW: Final = 8  # neighbours that are compared in what is left of a block after it was split
SPLIT_LEAST: Final = 1.1  # blocks of a large one that a second key makes, on average
TRAINED_PAIRS: Final = 150_000  # about; more move no probability by a hundredth
TRAINED_RECORDS: Final = 50_000  # so many are enough for that: a record has some three candidates
RANDOM_PAIRS: Final = 500_000  # u down to some millionths
EVIDENCE_BITS: Final = (-4.0, 12.0)  # what one pair may say for or against joining two groups
COMPARED_MEMBERS: Final = 12  # of each group
CHUNK_ENTRIES: Final = 50_000  # of a family of blocks, compared at a time

Rows = npt.NDArray[np.uint32]
Entries = npt.NDArray[np.uint64]
Sides = npt.NDArray[np.uint8]
Tell = Callable[[str, float], None]  # what is done, and which share of it


@dataclass(slots=True)
class Kind:
    """What one kind of blocking keys gave."""

    name: str
    blocks: int = 0
    large_blocks: int = 0  # over the limit of the kind, split by second keys
    compared_pairs: int = 0  # that no kind before it had
    matching_pairs: int = 0


@dataclass(slots=True)
class Counts:
    """What was done."""

    records: int = 0
    placeholder_dates: int = 0  # birth dates that were taken for none: far too many share them
    refused_joins: int = 0  # pairs that matched, of groups that do not
    kinds: list[Kind] = field(default_factory=list)
    #: Compared pairs by match weight, a bit each: the first is of all below `LEAST_BIN` + 1, and
    #: of those that were seen to be no match before all of their fields were compared.
    weights: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    @property
    def compared_pairs(self) -> int:
        """Return how many pairs were compared."""
        return sum(kind.compared_pairs for kind in self.kinds)

    @property
    def large_blocks(self) -> int:
        """Return how many blocks were too large, and split."""
        return sum(kind.large_blocks for kind in self.kinds)


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
    order: npt.NDArray[np.int64]  # the row that each record of `packed` had: it was reordered
    counts: Counts = field(default_factory=Counts)


def link(
    packed: Packed,
    *,
    model: Model | None = None,
    threshold: float = 0.5,
    ties: npt.NDArray[np.uint64] | None = None,
    sides: Sides | None = None,
    distinct: Sequence[tuple[int, int]] = (),
    tell: Tell = lambda _what, _share: None,
    counts: Counts | None = None,
) -> Linked:
    """Group the records of `packed`, which is weighed and put into another order by this.

    Without `model` one is learnt from the records. `threshold` is the probability from which two
    records are taken for one person. `ties` tells records of equal content apart, by a hash of
    their ids say, where clusters have to be the same in any order of the rows.

    With `sides`, the number of a file for each row, only pairs across files are compared and
    joined. `distinct` are pairs of rows that are not one person, whoever is like both of them.
    `counts` is kept up meanwhile, for those that `tell` tells.
    """
    if not 0.0 < threshold < 1.0:
        raise InvalidArgument("is above 0 and below 1", field="threshold")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = Counts() if counts is None else counts
        order = _begin(packed, ties, pool, counts)
        sides = None if sides is None else np.ascontiguousarray(sides, np.uint8)[order]
        run = _Run(packed, pool, sides, tell)
        learnt = model or _learn(run)[0]
        weights = learnt.weights()
        bits = log2(threshold / (1.0 - threshold))
        pairs = _score(run, weights, bits, counts)
    tell("clustering", 0.0)
    labels, counts.refused_joins = _match.cluster(
        packed, weights, pairs.ones, pairs.others, pairs.bits, bits, *EVIDENCE_BITS, bits,
        COMPARED_MEMBERS, sides, *_apart(order, distinct),
    )  # fmt: skip
    rows = order.astype(np.uint32)
    placed = np.empty(len(packed), np.uint32)
    placed[order] = rows[np.frombuffer(labels, np.uint32)]
    tell("clustering", 1.0)
    return Linked(
        placed, Pairs(rows[pairs.ones], rows[pairs.others], pairs.bits), learnt, order, counts
    )


@dataclass(frozen=True, slots=True)
class Judgement:
    """A pair of rows of which it is known whether both are the same."""

    one: int
    other: int
    same: bool


def learn(
    packed: Packed,
    judgements: Sequence[Judgement] = (),
    tell: Tell = lambda _what, _share: None,
) -> tuple[Model, Training]:
    """Learn a model from the records of `packed`, which is weighed and put into another order."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        order = _begin(packed, None, pool, Counts())
        run = _Run(packed, pool, None, tell)
        return _learn(run, _labels(packed, judgements, order))


def _labels(
    packed: Packed, judgements: Sequence[Judgement], order: npt.NDArray[np.int64]
) -> Labels | None:
    if not judgements:
        return None
    place = _places(order)
    ones = place[[judgement.one for judgement in judgements]]
    others = place[[judgement.other for judgement in judgements]]
    levels, rarities = _match.vectors(packed, ones, others)
    return Labels(
        np.frombuffer(levels, np.uint8).reshape(-1, FIELDS),
        np.frombuffer(rarities, np.uint8).reshape(-1, FIELDS),
        np.array([judgement.same for judgement in judgements]),
    )


def _begin(
    packed: Packed, ties: npt.NDArray[np.uint64] | None, pool: ThreadPoolExecutor, counts: Counts
) -> npt.NDArray[np.int64]:
    """Put the records in order and weigh them; return the row that each one had."""
    order = _put_in_order(packed, ties)
    counts.records = len(packed)
    counts.placeholder_dates = sum(pool.map(partial(weigh_value, packed), range(weighed(packed))))
    return order


def _put_in_order(packed: Packed, ties: npt.NDArray[np.uint64] | None) -> npt.NDArray[np.int64]:
    """Sort the records by content; return the row that each one had."""
    hashes = np.empty(len(packed), np.uint64)
    packed.hashes(hashes)
    keys = (hashes,) if ties is None else (ties, hashes)
    order = np.lexsort(keys).astype(np.int64)
    packed.reorder(order)
    return order


def _apart(
    order: npt.NDArray[np.int64], distinct: Sequence[tuple[int, int]]
) -> tuple[npt.NDArray[np.int64] | None, Rows | None]:
    """Return the rows that each one must not be with, and where they begin, in the new order."""
    if not distinct:
        return None, None
    ones, others = _places(order)[np.array(distinct)].T
    ones, others = np.concatenate((ones, others)), np.concatenate((others, ones))
    starts = np.concatenate(([0], np.cumsum(np.bincount(ones, minlength=len(order)))))
    return starts.astype(np.int64), others[np.argsort(ones, kind="stable")]


def _places(order: npt.NDArray[np.int64]) -> Rows:
    """Return where each row is now."""
    place = np.empty(len(order), np.uint32)
    place[order] = np.arange(len(order), dtype=np.uint32)
    return place


@dataclass(frozen=True, slots=True)
class _Family:
    """The entries of one kind of blocks, and those of the large ones."""

    small: Entries
    large: Entries
    blocks: int
    large_blocks: int


class _Found(NamedTuple):
    """What `Search.compare` returns."""

    ones: bytes
    others: bytes
    bits: bytes
    vectors: bytes
    compared: int
    weights: bytes


@dataclass(frozen=True, slots=True)
class _Run:
    packed: Packed
    pool: ThreadPoolExecutor
    sides: Sides | None
    tell: Tell

    def search(
        self, weights: Weights | None, least_bits: float, sample: int, what: str
    ) -> Iterator[tuple[Kind, _Found]]:
        """Compare the pairs of all blocks, family after family; yield what the kernel returns.

        Of `sample` blocks one is taken.
        """
        blocks = Blocks(self.packed, self.pool.map)
        search = Search(self.packed, blocks, weights, least_bits, self.sides)
        families = _match.FAMILIES
        following = self.pool.submit(_family, blocks, *families[0][1:], sample)
        for number, (name, first, width, limit) in enumerate(families):
            self.tell(what, number / len(families))
            family = following.result()
            if number + 1 < len(families):
                following = self.pool.submit(_family, blocks, *families[number + 1][1:], sample)
            kind = Kind(name, family.blocks, family.large_blocks)
            compare = partial(self._compare, search, first, limit)
            # The pairs of large blocks may be met again by other keys: not all are compared here.
            blocks.forget(family.large, first, width)
            parts = [compare(family.small, 0)]
            parts += [compare(split, WINDOW) for split in self._split(family)]
            for found in chain(*parts):
                yield kind, found
        self.tell(what, 1.0)

    def _split(self, family: _Family) -> Iterable[Entries]:
        """Return the entries of large blocks by a second key each."""
        if not family.large_blocks:
            return ()
        return self.pool.map(
            partial(_by_second_key, self.packed, family), range(_match.SECOND_KEYS)
        )

    def _compare(
        self, search: Search, first: int, limit: int, entries: Entries, window: int
    ) -> Iterator[_Found]:
        count = 1 + len(entries) // CHUNK_ENTRIES
        cuts = np.linspace(0, len(entries), count + 1).astype(int).tolist()
        under_way = [
            self.pool.submit(search.compare, entries, begin, end, first, limit, window)
            for begin, end in pairwise(cuts)
        ]
        return (_Found(*done.result()) for done in under_way)


def _family(blocks: Blocks, first: int, width: int, limit: int, sample: int) -> _Family:
    entries = np.frombuffer(bytearray(blocks.entries(first, width, sample)), np.uint64)
    entries.sort()
    used, large, count, large_count = _match.sort_out(entries, limit)
    return _Family(entries[:used], entries[used : used + large].copy(), count, large_count)


def _by_second_key(packed: Packed, family: _Family, second: int) -> Entries:
    """Return the entries of large blocks, split, or none where the key splits nothing."""
    split = np.empty(len(family.large), np.uint64)
    _match.split(packed, family.large, second, split)
    split.sort()
    split = split[np.searchsorted(split, np.uint64(1 << 32)) :]
    keys = split >> np.uint64(32)
    if np.count_nonzero(keys[1:] != keys[:-1]) <= SPLIT_LEAST * family.large_blocks:
        return split[:0]
    return split


def _learn(run: _Run, labels: Labels | None = None) -> tuple[Model, Training]:
    """Train on the records themselves."""
    records = len(run.packed)
    prior = Model.default(records)
    if records < 2:
        return prior, Training(converged=True)
    random_levels = _random_levels(run)
    share = max(1, records // TRAINED_RECORDS)
    found = [part.vectors for _, part in run.search(None, 0.0, share, "learning")]
    vectors = np.frombuffer(b"".join(found), np.uint8).reshape(-1, 2, FIELDS)
    step = max(1, len(vectors) // TRAINED_PAIRS)
    vectors = vectors[::step]
    sample = Sample(vectors[:, 0], vectors[:, 1], float(share * step))
    return train(prior, sample, random_levels, records, labels=labels)


def _random_levels(run: _Run) -> npt.NDArray[np.uint8]:
    """Return the levels of pairs drawn at random."""
    draw = np.random.default_rng(0)
    ones, others = draw.integers(0, len(run.packed), (2, RANDOM_PAIRS), np.uint32)
    differ = ones != others
    if run.sides is not None:
        differ &= run.sides[ones] != run.sides[others]
    halves = [np.array_split(rows[differ], os.cpu_count() or 1) for rows in (ones, others)]
    made = run.pool.map(partial(_match.vectors, run.packed), *halves)
    return np.frombuffer(b"".join(levels for levels, _ in made), np.uint8).reshape(-1, FIELDS)


def _score(run: _Run, weights: Weights, least_bits: float, counts: Counts) -> Pairs:
    """Return the pairs of at least `least_bits`, each once."""
    parts: list[_Found] = []
    for kind, found in run.search(weights, least_bits, 1, "comparing"):
        if kind not in counts.kinds[-1:]:
            counts.kinds.append(kind)
        kind.compared_pairs += found.compared
        kind.matching_pairs += len(found.bits) // 4
        counts.weights += np.frombuffer(found.weights, np.int64)
        parts.append(found)
    ones, others = (
        np.frombuffer(b"".join(rows), np.uint32)
        for rows in ([part.ones for part in parts], [part.others for part in parts])
    )
    bits = np.frombuffer(b"".join(part.bits for part in parts), np.float32)
    _, once = np.unique(ones.astype(np.uint64) << np.uint64(32) | others, return_index=True)
    order = once[np.lexsort((others[once], ones[once], -bits[once]))]
    return Pairs(ones[order], others[order], bits[order])
