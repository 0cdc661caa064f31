"""Agreement of clusterings: equal to a slow count over all pairs, and as by hand."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.evaluation import Agreement, b_cubed, pairwise

Labels = list[int]
labels = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=24)


def split(both: list[tuple[int, int]]) -> tuple[Labels, Labels]:
    return [found for found, _ in both], [truth for _, truth in both]


def slow_pairwise(found: Labels, truth: Labels) -> Agreement:
    """Look at every pair of records."""
    pairs = list(combinations(range(len(found)), 2))
    ours = {(a, b) for a, b in pairs if found[a] == found[b]}
    theirs = {(a, b) for a, b in pairs if truth[a] == truth[b]}
    right = len(ours & theirs)
    return Agreement(right / len(ours) if ours else 1.0, right / len(theirs) if theirs else 1.0)


def slow_b_cubed(found: Labels, truth: Labels) -> Agreement:
    """Look at the cluster of every record, record by record."""
    records = range(len(found))
    precision, recall = [], []
    for one in records:
        ours = {other for other in records if found[other] == found[one]}
        theirs = {other for other in records if truth[other] == truth[one]}
        precision.append(len(ours & theirs) / len(ours))
        recall.append(len(ours & theirs) / len(theirs))
    if not precision:
        return Agreement(1.0, 1.0)
    return Agreement(sum(precision) / len(found), sum(recall) / len(found))


def close(one: Agreement, other: Agreement) -> bool:
    return (one.precision, one.recall) == pytest.approx((other.precision, other.recall))


@given(labels)
def test_counts_agree_with_looking_at_every_pair(both: list[tuple[int, int]]) -> None:
    found, truth = split(both)
    assert close(pairwise(found, truth), slow_pairwise(found, truth))
    assert close(b_cubed(found, truth), slow_b_cubed(found, truth))


@given(labels)
def test_exchanging_the_clusterings_exchanges_precision_and_recall(
    both: list[tuple[int, int]],
) -> None:
    found, truth = split(both)
    for judge in (pairwise, b_cubed):
        there, back = judge(found, truth), judge(truth, found)
        assert close(there, Agreement(back.recall, back.precision))
        assert there.f1 == pytest.approx(back.f1)


@given(st.lists(st.integers(0, 5), max_size=24))
def test_the_truth_under_other_names_is_perfect(truth: Labels) -> None:
    renamed = [f"cluster {label}" for label in truth]
    for judge in (pairwise, b_cubed):
        assert close(judge(renamed, truth), Agreement(1.0, 1.0))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=24))
def test_leaving_all_apart_is_precise_and_joining_all_is_complete(truth: Labels) -> None:
    for judge in (pairwise, b_cubed):
        assert judge(range(len(truth)), truth).precision == 1.0
        assert judge([0] * len(truth), truth).recall == pytest.approx(1.0)


def test_the_example_of_bagga_and_baldwin() -> None:
    """Twelve mentions of three entities (5, 2 and 5); the second and third were joined."""
    truth = [1] * 5 + [2] * 2 + [3] * 5
    wrong_small = [1] * 5 + [2] * 2 + [2] * 5
    wrong_large = [1] * 5 + [2] * 2 + [1] * 5
    assert b_cubed(wrong_small, truth).precision == pytest.approx(16 / 21)
    assert b_cubed(wrong_large, truth).precision == pytest.approx(7 / 12)
    assert b_cubed(wrong_large, truth).recall == 1.0
    assert pairwise(wrong_large, truth).precision == pytest.approx(21 / 46)


def test_f1_is_the_harmonic_mean() -> None:
    assert Agreement(0.5, 1.0).f1 == pytest.approx(2 / 3)
    assert Agreement(0.0, 0.0).f1 == 0.0


def test_clusterings_of_different_lengths_are_refused() -> None:
    for judge in (pairwise, b_cubed):
        with pytest.raises(ValueError, match="one label per record"):
            judge([1, 2], [1])
