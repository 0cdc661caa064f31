"""Labelled pairs in training, and pairs that no group may hold both of."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from service.core import _match as k
from service.core._match import FIELDS
from service.core.linkage import Counts, Judgement, learn, link
from service.core.match import SAME, Labels, Model, Sample, train
from service.errors import InvalidArgument
from tests.core.oracle_match import Person, packed
from tests.core.test_linkage import world

ROWS = 1_000


def levels_of(count: int, **levels: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Return pairs that all have these levels: FIRST=7 and so on."""
    made = np.zeros((count, FIELDS), np.uint8)
    for name, level in levels.items():
        made[:, getattr(k, f"F_{name}")] = level
    return made


def learnt(labels: Labels | None) -> Model:
    """Train on candidates of which half are sure to be the same, with labels or without."""
    same = levels_of(500, FIRST=k.N_SAME, LAST=k.N_SAME, BIRTH=k.B_SAME, EMAIL=k.E_SAME)
    strangers = levels_of(500, FIRST=1, LAST=1, BIRTH=1, EMAIL=1)
    levels = np.concatenate((same, strangers))
    sample = Sample(levels, np.full_like(levels, 80), 1.0)
    random = levels_of(2_000, FIRST=1, LAST=1, BIRTH=1, EMAIL=1)
    model, training = train(Model.default(ROWS), sample, random, ROWS, labels=labels)
    assert training.converged
    assert training.pairs == len(levels)
    assert training.rounds > 1
    assert 0 <= training.last_change < 1e-4
    assert training.expected_pairs == pytest.approx(500, rel=0.1)
    return model


def judged(same: bool, count: int = 40) -> Labels:
    """Return pairs of one name and birth date whose e-mails differ."""
    levels = levels_of(count, FIRST=k.N_SAME, LAST=k.N_SAME, BIRTH=k.B_SAME, EMAIL=1)
    return Labels(levels, np.full_like(levels, 80), np.full(count, same))


def test_what_is_labelled_the_same_moves_what_the_same_look_like() -> None:
    """Without moving how many there are."""
    plain, labelled = learnt(None), learnt(judged(same=True))
    differ = SAME, k.F_EMAIL, 1
    assert labelled.tables[differ] > plain.tables[differ]
    assert labelled.shares[SAME] == pytest.approx(plain.shares[SAME], rel=0.05)


def test_what_is_labelled_different_moves_the_others_alone() -> None:
    """A pair that nobody would have taken for others still teaches nothing of the same."""
    plain, labelled = learnt(None), learnt(judged(same=False))
    assert labelled.tables[SAME] == pytest.approx(plain.tables[SAME], rel=0.02)
    others = labelled.tables[1:] != pytest.approx(plain.tables[1:], rel=1e-6)
    assert others


def test_no_labels_are_like_none() -> None:
    """An empty list of them."""
    none = Labels(*(np.zeros((0, FIELDS), np.uint8),) * 2, np.zeros(0, bool))
    assert learnt(none).to_json() == learnt(None).to_json()


def test_labels_go_by_the_rows_that_were_given() -> None:
    """Although training puts the records into an order of its own."""
    people = world("clean", ROWS)[0]
    order = np.random.default_rng(1).permutation(ROWS)
    places = np.argsort(order)
    pairs = [(one, one + 1) for one in range(0, 60, 2)]
    first, _ = learn(packed(people), [Judgement(a, b, same=True) for a, b in pairs])
    judgements = [Judgement(int(places[a]), int(places[b]), same=True) for a, b in pairs]
    second, _ = learn(packed([people[one] for one in order]), judgements)
    assert first.to_json() == second.to_json()
    assert first.to_json() != learn(packed(people))[0].to_json()


def test_a_model_with_a_number_too_large_for_a_float_is_none() -> None:
    """It is refused as other texts are."""
    text = Model.default(2).to_json().replace("1.0", "1" + "0" * 400, 1)
    with pytest.raises(InvalidArgument):
        Model.from_json(text)


# Distinct


def alike(count: int) -> list[Person]:
    """Return records that are one person."""
    one = Person("Adaline", last="Lovelace", birth=(1815, 12, 10), emails=("ada@example.org",))
    return [one] * count


def test_distinct_rows_are_in_no_group_together_also_not_through_a_third() -> None:
    """Whatever speaks for it; the others stay together."""
    free = link(packed(alike(5)), model=Model.default(100))
    assert len({*free.labels.tolist()}) == 1
    for one, other in combinations(range(5), 2):
        labels = link(
            packed(alike(5)), model=Model.default(100), distinct=[(one, other)]
        ).labels.tolist()
        assert labels[one] != labels[other]
        assert len({*labels}) == 2


def test_distinct_pairs_split_nothing_else() -> None:
    """Of a whole file, against the groups without them."""
    people = world("clean", ROWS)[0]
    model = Model.default(ROWS)
    labels = link(packed(people), model=model).labels
    groups = {label: np.flatnonzero(labels == label).tolist() for label in set(labels.tolist())}
    large = [rows for rows in groups.values() if len(rows) > 1][:40]
    apart = [(rows[1], rows[0]) for rows in large]
    counts = Counts()
    parted = link(packed(people), model=model, distinct=apart, counts=counts).labels
    assert all(parted[one] != parted[other] for one, other in apart)
    touched = {row for rows in large for row in rows}
    untouched = [row for row in range(ROWS) if row not in touched]
    # A label is that of any of its records: what counts is who is with whom.
    _, before = np.unique(labels[untouched], return_inverse=True)
    _, after = np.unique(parted[untouched], return_inverse=True)
    assert len({*zip(before.tolist(), after.tolist(), strict=True)}) == before.max() + 1
    assert before.max() == after.max()
    assert counts.records == ROWS
    assert counts.refused_joins >= len(apart)
