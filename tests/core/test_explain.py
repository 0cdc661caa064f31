"""Explanations: they add up to what the kernel weighs, and say in words what was found."""

from __future__ import annotations

from functools import cache
from itertools import islice

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.worlds import WORLDS, rows
from service.core import _match as k
from service.core._features import Packed, weigh
from service.core._match import FIELDS
from service.core.explain import IN_WORDS, SENTENCES, Explanation, explain_all
from service.core.linkage import link
from service.core.match import CLASSES, DEFAULTS, Model
from tests.core.oracle_match import Person, from_rows, packed

Vectors = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]

ANNA = Person(
    first="Anna", last="Quenneville", gender=2, birth=(1980, 5, 17),
    emails=("annaq@a.example",), phones=("+442079460018",), street="elm road 7", city="york",
    postcode="yo1",
)  # fmt: skip


def vectors(
    people: Packed, ones: npt.NDArray[np.uint32], others: npt.NDArray[np.uint32]
) -> Vectors:
    levels, rarities = (
        np.frombuffer(part, np.uint8).reshape(-1, FIELDS)
        for part in k.vectors(people, ones, others)
    )
    return levels, rarities


@cache
def world(name: str) -> tuple[Packed, Model]:
    """Return records of a made-up world, weighed, and the model that was learnt from them."""
    _, found = zip(*islice(rows(WORLDS[name], 4), 3_000), strict=True)
    people = packed(from_rows(found))
    return people, link(people).model


def explained(one: Person, other: Person, *more: Person) -> Explanation:
    people = packed([one, other, *more])
    weigh(people)
    levels, rarities = vectors(people, np.zeros(1, np.uint32), np.ones(1, np.uint32))
    (made,) = explain_all(Model.default(len(people)).evidence(), levels[:1], rarities[:1])
    return made


def words(explanation: Explanation) -> dict[str, str]:
    return {one.field: one.words for one in explanation.contributions}


# Sums


@pytest.mark.parametrize("name", ["mixed", "families", "namesakes"])
def test_contributions_add_up_to_the_weight_of_the_kernel(name: str) -> None:
    people, learnt = world(name)
    ones, others = np.random.default_rng(1).integers(0, len(people), (2, 2_000), np.uint32)
    others[::2] = (ones[::2] + 1) % len(people)
    for model in (learnt, Model.default(len(people))):
        weights = np.empty(len(ones), np.float32)
        k.weigh_pairs(people, model.weights(), ones, others, weights)
        made = explain_all(model.evidence(), *vectors(people, ones, others))
        assert [one.weight_bits for one in made] == pytest.approx(weights.tolist(), abs=1e-3)
        for one in made:
            total = one.prior_bits + sum(found.bits for found in one.contributions)
            assert total == one.weight_bits


def test_the_class_with_the_least_weight_is_named() -> None:
    people, model = world("families")
    ones, others = np.random.default_rng(2).integers(0, len(people), (2, 200), np.uint32)
    levels, rarities = vectors(people, ones, others)
    bits, rare, priors = model.evidence()
    for pair, made in enumerate(explain_all(model.evidence(), levels, rarities)):
        totals = [
            priors[other]
            + sum(
                bits[other, field, level] + rare[other, field, level] * rarities[pair, field] / 8
                for field, level in enumerate(levels[pair])
            )
            for other in range(len(priors))
        ]
        assert made.against == CLASSES[1 + int(np.argmin(totals))]
        assert made.weight_bits == pytest.approx(min(totals))


def test_one_pair_is_explained_as_among_others() -> None:
    people, model = world("mixed")
    every = np.arange(len(people), dtype=np.uint32)
    levels, rarities = vectors(people, every[:-1], every[1:])
    among = explain_all(model.evidence(), levels, rarities)
    for pair in range(0, len(levels), 100):
        rows = slice(pair, pair + 1)
        assert explain_all(model.evidence(), levels[rows], rarities[rows]) == [among[pair]]


def test_no_pairs_have_no_explanations() -> None:
    none = np.empty((0, FIELDS), np.uint8)
    assert explain_all(Model.default(0).evidence(), none, none) == []


def test_the_probability_is_one_for_ever_so_much_evidence() -> None:
    same = explained(ANNA, ANNA)
    assert 0.9999 < same.probability <= 1.0
    apart = explained(ANNA, Person(first="Bo", last="Li", birth=(1930, 1, 3), phones=("+4711",)))
    assert 0.0 < apart.probability < 1e-6
    assert apart.weight_bits < 0 < same.weight_bits


# Words


def test_every_level_has_a_sentence_of_its_own() -> None:
    for field, levels in DEFAULTS.items():
        assert len(SENTENCES[field]) == len(levels), field
    every = [sentence for sentences in SENTENCES.values() for sentence in sentences]
    assert len(set(every)) == len(every)
    assert set(IN_WORDS) == set(CLASSES[1:])


def test_sentences_say_what_was_found_and_no_value() -> None:
    found = explained(
        ANNA,
        Person(
            first="Ana", last="Quenneville", gender=2, birth=(1980, 5, 19),
            emails=("annaq@b.example",), phones=("+442079460019",), street="elm road 9",
            postcode="yo2",
        ),
    )  # fmt: skip
    said = words(found)
    assert said["first name"] in {
        "one first name is a form of the other", "the first name differs by a typo",
    }  # fmt: skip
    assert said["birth date"] == "the birth date differs in one digit"
    assert said["phone"] == "the phone differs in one digit"
    assert said["street"] == "the same street, another number"
    assert said["gender"] == "the same gender"
    assert {one.field: one.level for one in found.contributions}["place"] == (
        "a digit of the postcode apart"
    )
    assert not {"middle name", "company", "column 1"} & said.keys()  # absent: nothing is said
    text = " ".join(said.values()).lower()
    assert not any(value in text for value in ("quenneville", "elm", "annaq", "1980", "yo1"))


def test_rare_and_common_names_are_told_apart() -> None:
    crowd = [Person(first="Anna", last=f"Name{number}") for number in range(200)]
    said = words(explained(ANNA, ANNA, *crowd))
    assert said["first name"].startswith("the same common first name (most records have it)")
    assert said["last name"].startswith("the same last name")
    many = [Person(first=f"Name{number}", last=f"Other{number}") for number in range(4_000)]
    said = words(explained(ANNA, ANNA, *many))
    assert said["last name"].startswith("the same rare last name (about 1 record in ")
    assert said["birth date"] == "the same birth date"


def test_what_a_household_shares_is_said_to_be_so() -> None:
    home = Person(
        last="Quenneville", phones=("+442079460018",), street="elm road 7", postcode="yo1"
    )
    one, other = (
        Person(first, "", home.last, gender, birth, (), home.phones, home.street, "", home.postcode)
        for first, gender, birth in (("Anna", 2, (1980, 5, 17)), ("Peter", 1, (1951, 11, 2)))
    )
    found = explained(one, other)
    assert (found.against, found.against_in_words) == ("household", "two people of one household")
    assert found.weight_bits < 0
    assert words(found)["phone"].endswith("as in any household")
    assert [said.field for said in found.speaking_against][:2] == ["birth date", "first name"]


def test_what_speaks_for_and_against_goes_by_strength() -> None:
    people, model = world("mixed")
    every = np.arange(len(people), dtype=np.uint32)
    for made in explain_all(model.evidence(), *vectors(people, every[:-1], every[1:]))[:200]:
        ahead = [said.bits for said in made.speaking_for]
        behind = [said.bits for said in made.speaking_against]
        assert ahead == sorted(ahead, reverse=True)
        assert behind == sorted(behind)
        assert all(bits > 0 for bits in ahead)
        assert all(bits < 0 for bits in behind)
