"""How well a clustering of records agrees with the truth, by pairs and by records.

A clustering is a sequence of labels, one a record: records with equal labels are held for one
entity. Two clusterings are aligned, the n-th label of both is of the n-th record. Everything
follows from how many records have each pair of labels, so that time and memory grow with the
number of records, and not with that of pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Agreement:
    """Precision and recall of a clustering, each between 0 and 1."""

    precision: float  # of what was held to be one, how much is
    recall: float  # of what is one, how much was found

    @property
    def f1(self) -> float:
        """Return the harmonic mean of the two, 0 if both are 0."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def pairwise(found: Sequence[Hashable], truth: Sequence[Hashable]) -> Agreement:
    """Judge pairs of records: a pair is found if both have one label in `found`.

    Precision is 1 if no pair was found, recall is 1 if there is none to find. A cluster of n
    records weighs n (n - 1) / 2, so that one large wrong cluster outweighs much else.

    Source: the pair counts behind the index of Rand (1971), "Objective criteria for the evaluation
    of clustering methods", Journal of the American Statistical Association 66.
    """
    shared = _pairs(_contingency(found, truth).values())
    return Agreement(
        _share(shared, _pairs(Counter(found).values())),
        _share(shared, _pairs(Counter(truth).values())),
    )


def b_cubed(found: Sequence[Hashable], truth: Sequence[Hashable]) -> Agreement:
    """Judge records: of those in its cluster, how many are truly with it, itself included.

    Precision is the mean of that over all records; recall is the same with found and truth
    exchanged; both are 1 if there are no records. Records weigh alike, alone or in any cluster.

    Source: Bagga and Baldwin (1998), "Algorithms for scoring coreference chains", with the equal
    weights that they propose for information retrieval.
    """
    both, ours, theirs = _contingency(found, truth), Counter(found), Counter(truth)
    # Of `count` records with a pair of labels, each has all `count` as its true companions.
    precise = sum(count * count / ours[label] for (label, _), count in both.items())
    complete = sum(count * count / theirs[label] for (_, label), count in both.items())
    return Agreement(_share(precise, len(found)), _share(complete, len(found)))


def _contingency(
    found: Sequence[Hashable], truth: Sequence[Hashable]
) -> Counter[tuple[Hashable, Hashable]]:
    """Count the records of each pair of labels."""
    if len(found) != len(truth):
        raise ValueError("need one label per record in both clusterings")
    return Counter(zip(found, truth, strict=True))


def _pairs(sizes: Iterable[int]) -> int:
    return sum(size * (size - 1) // 2 for size in sizes)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 1.0
