"""Linking whole files: who is one is found, in any order of the rows, and learnt without labels."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Sequence
from functools import cache
from itertools import combinations, islice, product
from random import Random

import numpy as np
import pytest

from benchmarks.worlds import WORLDS, rows
from service.core import _match as k
from service.core import match
from service.core._match import FIELDS, LEVELS
from service.core.evaluation import pairwise
from service.core.linkage import Linked, link
from service.core.match import CLASSES, DEFAULTS, NAMES, Model, Sample
from service.errors import InvalidArgument
from tests.core.oracle_match import Person, from_rows, packed

ROWS = 5_000
Groups = set[frozenset[int]]


@cache
def world(name: str, count: int = ROWS) -> tuple[tuple[Person, ...], tuple[str, ...]]:
    """Return people, and who they are."""
    who, found = zip(*islice(rows(WORLDS[name], 7), count), strict=True)
    return tuple(from_rows(found)), who


@cache
def linked(name: str, threshold: float = 0.5) -> Linked:
    return link(packed(world(name)[0]), threshold=threshold)


def groups(labels: Sequence[Hashable], ids: Sequence[int]) -> Groups:
    """Return which of `ids` share a label."""
    made = defaultdict(set)
    for label, one in zip(labels, ids, strict=True):
        made[label].add(one)
    return {frozenset(group) for group in made.values()}


# Files


@pytest.mark.parametrize(("name", "least"), [("mixed", 0.95), ("clean", 0.98)])
def test_people_are_found_in_a_file_without_labels(name: str, least: float) -> None:
    agreement = pairwise(linked(name).labels.tolist(), world(name)[1])
    assert agreement.f1 >= least, agreement


def test_clusters_are_the_same_in_any_order_of_the_rows() -> None:
    people = world("families", 2_000)[0]
    people += people[:100]  # rows of equal content, told apart by their ids alone
    ids = list(range(len(people)))
    found = []
    for seed in range(3):
        Random(seed).shuffle(ids)
        ties = np.array(ids, np.uint64)
        result = link(packed([people[one] for one in ids]), ties=ties)
        found.append((groups(result.labels.tolist(), ids), result.model.to_json()))
    assert found[0] == found[1] == found[2]


def test_labels_are_rows_of_their_groups_and_pairs_are_of_the_rows_given() -> None:
    result = linked("clean")
    assert (result.labels[result.labels] == result.labels).all()
    pairs = result.pairs
    assert (pairs.ones != pairs.others).all()
    assert (np.diff(pairs.bits) <= 0).all()
    assert (pairs.bits >= 0).all()
    same = world("clean")[1]
    true = sum(same[a] == same[b] for a, b in zip(pairs.ones, pairs.others, strict=True))
    assert true > 0.9 * len(pairs.ones)


def test_a_higher_threshold_finds_fewer() -> None:
    results = [linked("mixed", threshold) for threshold in (0.01, 0.5, 0.99)]
    found = [{*zip(r.pairs.ones.tolist(), r.pairs.others.tolist(), strict=True)} for r in results]
    assert found[0] > found[1] > found[2]
    recalls = [pairwise(r.labels.tolist(), world("mixed")[1]).recall for r in results]
    assert recalls == sorted(recalls, reverse=True)
    assert recalls[0] > recalls[2]


def test_an_untrained_model_knows_fifty_rows() -> None:
    people, who = world("clean", 50)
    agreement = pairwise(link(packed(people), model=Model.default(50)).labels.tolist(), who)
    assert len({*who}) < 50
    assert agreement.precision == 1
    assert agreement.recall >= 0.7


@pytest.mark.parametrize("count", [0, 1])
def test_a_file_without_pairs_has_none(count: int) -> None:
    result = link(packed([Person("Ada", last="King")] * count))
    assert result.labels.tolist() == list(range(count))
    assert len(result.pairs.ones) == 0
    assert result.counts.records == count


def test_records_without_anything_stay_apart() -> None:
    assert len({*link(packed([Person()] * 200)).labels.tolist()}) == 200


def test_an_address_of_everybody_joins_nobody() -> None:
    firsts = ("Ada", "Bob", "Carl", "Dora", "Emil", "Fay", "Gus", "Hal", "Ida")
    lasts = ("Archer", "Brooks", "Cooper", "Dawson", "Ellery", "Fuller", "Graham", "Hobson")
    people = [
        Person(first, last=last, emails=("office@a.example",))
        for first, last in product(firsts, lasts)
    ]
    result = link(packed(people), model=Model.default(len(people)))
    assert len({*result.labels.tolist()}) == len(people)
    assert result.counts.large_blocks


def test_what_was_done_is_counted_by_kind() -> None:
    counts = linked("mixed").counts
    assert [kind.name for kind in counts.kinds] == [family[0] for family in k.FAMILIES]
    assert counts.weights.sum() == counts.compared_pairs
    matching = counts.weights[-k.LEAST_BIN :].sum()
    assert matching == sum(kind.matching_pairs for kind in counts.kinds)
    assert 0 < matching < counts.compared_pairs


def test_two_files_are_joined_across() -> None:
    """Rows of one file are not compared; one of the other may bring two of them together."""
    people, who = world("clean", 2_000)
    sides = np.array([row % 2 for row in range(len(people))], np.uint8)
    result = link(packed(people), sides=sides)
    assert (sides[result.pairs.ones] != sides[result.pairs.others]).all()
    across = {
        (one, other)
        for one, other in combinations(range(len(who)), 2)
        if who[one] == who[other] and one % 2 != other % 2
    }
    labels = result.labels.tolist()
    found = sum(labels[one] == labels[other] for one, other in across)
    assert found > 0.95 * len(across)


def test_who_is_known_to_be_another_stays_apart() -> None:
    """Also where a third record is like both."""
    people = [Person("Ada", last="King", birth=(1980, 2, 3), emails=("ada@a.eu",))] * 4
    model = Model.default(100)
    assert {*link(packed(people), model=model).labels.tolist()} == {0}
    distinct = [(3, 1), (0, 2)]
    labels = link(packed(people), model=model, distinct=distinct).labels.tolist()
    assert labels[3] != labels[1]
    assert labels[0] != labels[2]
    assert len({*labels}) == 2


# Models


def test_a_model_is_read_as_it_was_written() -> None:
    learnt = linked("clean").model
    text = learnt.to_json()
    read = Model.from_json(text)
    assert read.to_json() == text
    assert np.allclose(read.tables, learnt.tables, rtol=1e-5)
    assert np.allclose(read.shares, learnt.shares, rtol=1e-5)


def changed(*path: str, value: object) -> str:
    """Return the text of a model with something else in one place, or without it."""
    model = json.loads(Model.default(100).to_json())
    place = model
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(model)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Not a model"),
        ("[]", "Not a model"),
        ("{}", "'format' is missing"),
        (changed("format", value=2), "format 2 is not 1"),
        (changed("fields", "phone", value=None), "'phone' is missing"),
        (changed("fields", "phone", "the same", "household", value=None), "'household' is missing"),
        (changed("shares", "relatives", value=None), "'relatives' is missing"),
        (changed("fields", "phone", "the same", "same", value=0), "not above 0"),
        (changed("fields", "phone", "the same", "same", value=1.5), "not above 0 and at most 1"),
        (changed("fields", "phone", "the same", "same", value=float("nan")), "not above 0"),
        (changed("fields", "phone", "the same", "same", value="often"), "Not a model"),
        (changed("shares", value=[0.5] * 5), "Not a model"),
    ],
)
def test_what_is_no_model_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        Model.from_json(text)


# Learning

PLANTED_SAME = 0.2  # of the candidate pairs
DRAWN = 40_000
SIMULATED = (k.F_FIRST, k.F_LAST, k.F_BIRTH, k.F_EMAIL, k.F_PLACE)


def test_training_finds_what_was_planted() -> None:
    """Pairs are drawn from tables that are not those of the prior; each field apart."""
    rng = np.random.default_rng(1)
    tables = {field: _planted(field, rng) for field in SIMULATED}
    is_same = rng.random(DRAWN) < PLANTED_SAME
    levels, strangers = (np.zeros((DRAWN, FIELDS), np.uint8) for _ in range(2))
    for field, (m, u) in tables.items():
        levels[is_same, field] = rng.choice(LEVELS, is_same.sum(), p=m)
        levels[~is_same, field] = rng.choice(LEVELS, (~is_same).sum(), p=u)
        strangers[:, field] = rng.choice(LEVELS, DRAWN, p=u)
    # Rarity says of an equal value what u says of its level.
    rarities = np.zeros_like(levels)
    for field, level in match.RARE:
        if field in tables:
            bits = -8 * np.log2(tables[field][1][level])
            rarities[levels[:, field] == level, field] = int(bits)
    records = 100_000
    learnt, _ = match.train(
        Model.default(records), Sample(levels, rarities, 1.0), strangers, records
    )
    for field, (m, u) in tables.items():
        for who, planted in ((match.SAME, m), (match.STRANGERS, u)):
            has = planted > 0
            assert np.abs(learnt.tables[who, field] - planted)[has].max() < 0.03, NAMES[field]
    found = learnt.shares[match.SAME] * records * (records - 1) / 2
    assert found == pytest.approx(DRAWN * PLANTED_SAME, rel=0.05)


def _planted(
    field: int, rng: np.random.Generator
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float64]], ...]:
    """Return m and u of a field: people agree in 70 to 90 of 100 pairs, strangers hardly."""
    count = len(DEFAULTS[NAMES[field]])
    made = []
    for most in (count, 1):
        table = np.zeros(LEVELS)
        share = rng.uniform(0.7, 0.9) if most == count else 0.97
        table[1 : 1 + count] = rng.dirichlet(np.full(count, 5.0)) * (1 - share)
        table[most] += share
        made.append(table)
    return tuple(made)


def test_probabilities_of_each_class_add_up() -> None:
    learnt = linked("mixed").model
    for field, levels in enumerate(DEFAULTS.values()):
        for number, who in enumerate(CLASSES):
            if number in (match.SAME, match.STRANGERS, match.HOUSEHOLD):
                total = learnt.tables[number, field, 1 : 1 + len(levels)].sum()
                assert total == pytest.approx(1, abs=0.05), (NAMES[field], who)
