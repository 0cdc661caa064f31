"""The groups of records that linking found, and how sure each of them is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from service.core.linkage import Linked

_PAIR: Final = 2  # records of nearly every group

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def groups(linked: Linked, most_rows: int) -> Iterator[tuple[float, list[int]]]:
    """Yield the groups of two and more records, surest first: weakest link in bits, and rows.

    The weakest link is the weight down to which pairs have to be taken for the group to hang
    together. Rows ascend. A group of more than `most_rows` comes in parts of about equal size.
    """
    labels, group, sizes = np.unique(linked.labels, return_inverse=True, return_counts=True)
    if not len(labels):
        return
    members = np.argsort(group, kind="stable")
    ends = np.cumsum(sizes)
    weakest = _weakest_links(linked, group, sizes)
    several = np.flatnonzero(sizes >= _PAIR)
    first = members[ends[several] - sizes[several]]
    for number in several[np.lexsort((first, -weakest[several]))].tolist():
        rows = members[ends[number] - sizes[number] : ends[number]]
        for part in np.array_split(rows, -(-len(rows) // most_rows)):
            yield float(weakest[number]), part.tolist()


def _weakest_links(linked: Linked, group: Ints, sizes: Ints) -> Floats:
    """Return, for each group, the least weight of its maximum spanning tree."""
    ones, others, bits = linked.pairs.ones, linked.pairs.others, linked.pairs.bits
    inside = group[ones] == group[others]
    of_pair, bits = group[ones[inside]], bits[inside]
    weakest = np.zeros(len(sizes), np.float32)
    weakest[of_pair] = bits  # right where there is one pair only: in groups of two
    large = sizes[of_pair] > _PAIR
    parent: dict[int, int] = {}
    for one, other, number, weight in zip(
        ones[inside][large].tolist(),
        others[inside][large].tolist(),
        of_pair[large].tolist(),
        bits[large].tolist(),
        strict=True,
    ):  # best first, as Kruskal wants them
        left, right = _root(parent, one), _root(parent, other)
        if left != right:
            parent[left] = right
            weakest[number] = weight
    return weakest


def _root(parent: dict[int, int], row: int) -> int:
    while (above := parent.get(row, row)) != row:
        parent[row] = row = parent.get(above, above)
    return row
