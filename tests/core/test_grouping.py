"""Groups of a scan: the weakest link against an oracle that tries every weight."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.core.grouping import groups
from service.core.linkage import Linked, Pairs
from service.core.match import Model

MODEL = Model.default(2)
WEIGHTS = st.floats(-5, 40, width=32)


def components(rows: list[int], pairs: dict[tuple[int, int], float]) -> list[set[int]]:
    """Return what hangs together, the slow way."""
    parts = [{row} for row in rows]
    for one, other in pairs:
        left = next(part for part in parts if one in part)
        right = next(part for part in parts if other in part)
        if left is not right:
            parts.remove(right)
            left |= right
    return parts


def weakest_link(rows: list[int], pairs: dict[tuple[int, int], float]) -> float:
    """Return the largest weight at which the pairs of at least that hold all rows together."""
    return max(
        limit
        for limit in pairs.values()
        if len(components(rows, {p: w for p, w in pairs.items() if w >= limit})) == 1
    )


@st.composite
def linkages(draw: st.DrawFn) -> tuple[Linked, dict[tuple[int, int], float]]:
    """Draw pairs, and groups in which they hang together."""
    count = draw(st.integers(0, 12))
    every = list(combinations(range(count), 2))
    chosen = draw(st.lists(st.sampled_from(every), unique=True, max_size=30)) if every else []
    pairs = {pair: draw(WEIGHTS) for pair in chosen}
    inside = {pair: w for pair, w in pairs.items() if draw(st.booleans())}
    labels = np.arange(count, dtype=np.uint32)
    for part in components(list(range(count)), inside):
        labels[list(part)] = min(part)
    best = sorted(pairs, key=lambda pair: (-pairs[pair], pair))
    ones, others = (np.array([pair[side] for pair in best], np.uint32) for side in (0, 1))
    bits = np.array([pairs[pair] for pair in best], np.float32)
    return Linked(labels, Pairs(ones, others, bits), MODEL, np.arange(count)), pairs


@given(linkages())
def test_each_group_comes_with_its_weakest_link(
    drawn: tuple[Linked, dict[tuple[int, int], float]],
) -> None:
    """Surest first, rows ascending, none but those of two and more."""
    linked, pairs = drawn
    found = list(groups(linked, most_rows=100))
    labels = linked.labels.tolist()
    assert sorted(rows for _, rows in found) == sorted(
        rows
        for label in set(labels)
        if len(rows := [row for row, of in enumerate(labels) if of == label]) > 1
    )
    for bits, rows in found:
        of_group = {pair: w for pair, w in pairs.items() if set(pair) <= set(rows)}
        assert bits == weakest_link(rows, of_group)
    assert found == sorted(found, key=lambda group: (-group[0], group[1][0]))


def test_a_large_group_comes_in_parts() -> None:
    """None of a single row."""
    ones = np.zeros(10, np.uint32)
    pairs = Pairs(ones, np.arange(1, 11, dtype=np.uint32), np.full(10, 5, np.float32))
    linked = Linked(np.zeros(11, np.uint32), pairs, MODEL, np.arange(11))
    found = [rows for _, rows in groups(linked, most_rows=4)]
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert [rows for _, rows in groups(linked, most_rows=10)] == [[*range(6)], [*range(6, 11)]]
