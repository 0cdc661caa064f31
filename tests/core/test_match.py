"""The matching kernel: levels, weights, blocks and clusters are those of plain Python."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import combinations, islice, pairwise
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from benchmarks.worlds import WORLDS, rows
from service.core import _match as k
from service.core import _names
from service.core._features import (
    RARITY_UNITS,
    SCRIPT_HAN,
    Packed,
    keys_for_people,
    pack,
    scripts_of,
    weigh,
)
from service.core._match import FIELDS, LEVELS, OTHERS, Blocks, Search, Weights
from service.core._text import Texts
from service.core.match import Model
from tests.core import oracle_match as oracle
from tests.core.oracle_match import Person, packed

many = settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
Vectors = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
Pairs = npt.NDArray[np.uint32]
ALL = 1_000_000  # records of a block: none is too large
ANY_BITS = -1e9  # a weight that every pair has


def vectors(people: Packed, ones: Sequence[int], others: Sequence[int]) -> Vectors:
    """Return levels and rarities, a row for each pair."""
    both = k.vectors(people, np.array(ones, np.uint32), np.array(others, np.uint32))
    levels, rarities = (np.frombuffer(part, np.uint8).reshape(-1, FIELDS) for part in both)
    return levels, rarities


def level(one: Person, other: Person, which: int) -> int:
    """Return the level of one field."""
    return int(vectors(packed([one, other]), [0], [1])[0][0, which])


# People

WORDS = st.text("abeiklmnors ", max_size=12)
GIVEN = st.one_of(
    WORDS,
    st.sampled_from(
        ["William", "Bill", "Will J.", "W.", "Chr.", "Chr", "José María", "Maria", "Александр",
         "Sasha", "Ann-Marie", "Anna", "Jo", "Jon", "John", "Wm.", "Wm"]
    ),
)  # fmt: skip
FAMILY = st.one_of(
    WORDS,
    st.sampled_from(
        ["Smith", "Smyth", "García López", "López", "van der Berg", "Berg Jr.", "Müller", "Bill",
         "Mueller", "O'Neil III", "Иванов", "Ivanov", "García-Pérez", "Maria", "John"]
    ),
)  # fmt: skip
DATES = st.one_of(
    st.just(oracle.NOWHEN),
    st.tuples(st.integers(1950, 1953), st.integers(0, 12), st.just(0)),
    st.tuples(st.sampled_from([1950, 1951, 1977]), st.integers(1, 12), st.integers(1, 12)),
)
LOCALS = st.one_of(
    st.text("ab.1", min_size=1, max_size=9),
    st.sampled_from(["annasmith", "anna.smith7", "anna.smith77", "wsmith", "billgarcia"]),
)
EMAILS = st.builds("{}@{}".format, LOCALS, st.sampled_from(["a.example", "b.example"]))
PHONES = st.one_of(
    st.text("0123", min_size=6, max_size=9).map(lambda tail: f"+4420{tail}"),
    st.sampled_from(["+442079460018", "+442079460081", "+442079460019", "+12079460018"]),
)
STREETS = st.one_of(
    st.text("ab1 ", max_size=16),
    st.sampled_from(
        ["12 high street", "12 high st", "14 high street", "12 mill lane", "hauptstr 5"]
    ),
)
PEOPLE = st.builds(
    Person,
    first=GIVEN,
    middle=st.one_of(st.just(""), GIVEN),
    last=FAMILY,
    gender=st.integers(0, 2),
    birth=DATES,
    emails=st.lists(EMAILS, max_size=3).map(tuple),
    phones=st.lists(PHONES, max_size=3).map(tuple),
    street=STREETS,
    city=st.one_of(st.text("ab", max_size=5), st.sampled_from(["rome", "rom", "roma", "oslo"])),
    postcode=st.one_of(st.text("12", max_size=5), st.sampled_from(["sw1a1aa", "sw1a2aa"])),
    company=st.sampled_from(["", "acme", "acme ltd", "acme tools ltd", "blue sea foods"]),
    extras=st.tuples(*2 * [st.sampled_from(["", "gold", "gold card", "golf card", "x"])]),
)
PARTS = tuple(Person.__dataclass_fields__)


@st.composite
def pairs_of_people(draw: st.DrawFn) -> tuple[Person, Person]:
    """Two people, of whom the second has some of the first."""
    one, other = draw(PEOPLE), draw(PEOPLE)
    shared = draw(st.sets(st.sampled_from(PARTS)))
    return one, replace(other, **{part: getattr(one, part) for part in shared})


@cache
def of_world(world: str, count: int) -> tuple[Person, ...]:
    """Return people as a file has them."""
    return tuple(oracle.from_rows([row for _, row in islice(rows(WORLDS[world], 3), count)]))


def close_pairs(people: Sequence[Person], seed: int) -> list[tuple[int, int]]:
    """Draw pairs at random, and all that share something."""
    rng = Random(seed)
    by_value = defaultdict(list)
    for row, one in enumerate(people):
        for part in PARTS:
            if part not in ("gender", "extras", "middle") and getattr(one, part):
                by_value[part, getattr(one, part)].append(row)
    close = [pair for alike in by_value.values() for pair in combinations(alike[:8], 2)]
    drawn = [(rng.randrange(len(people)), rng.randrange(len(people))) for _ in range(1_000)]
    return drawn + rng.sample(close, min(len(close), 2_000))


# Levels


@many
@given(pairs_of_people())
@example((Person("José María", last="Paz"), Person("José J.", last="Paz")))
@example((Person("Smith", last="Bill"), Person("Bill", last="Smyth")))
@example((Person(last="Paz Paz"), Person(last="Paz Luz")))
@example((Person("Chr.", last="Paz"), Person("Chr", last="Paz")))
@example((Person(city="rome"), Person(city="rom")))
@example((Person(phones=("+4907079460018",)), Person(phones=("+1207079460018",))))
def test_any_two_people_have_the_levels_of_the_oracle(pair: tuple[Person, Person]) -> None:
    found, _ = vectors(packed(pair, b"\1\0"), [0, 1], [1, 0])
    assert found[0].tolist() == oracle.levels(*pair, b"\1\0")
    assert found[1].tolist() == found[0].tolist()


@pytest.mark.parametrize("world", ["mixed", "dirty", "families", "held_2"])
def test_people_of_a_world_have_the_levels_of_the_oracle(world: str) -> None:
    people = of_world(world, 1_000)
    pairs = close_pairs(people, 1)
    found, _ = vectors(packed(people), *zip(*pairs, strict=True))
    for (one, other), levels in zip(pairs, found.tolist(), strict=True):
        assert levels == oracle.levels(people[one], people[other]), (people[one], people[other])


@pytest.mark.parametrize("edits", [1, 2, 3])
def test_what_was_mistyped_has_the_levels_of_the_oracle(edits: int) -> None:
    # What is hopeless is seen before letters are compared: near it, all must be as it was.
    rng = Random(edits)
    people = of_world("mixed", 1_000)
    mistyped = [_mistyped(one, edits, rng) for one in people]
    count = len(people)
    found, _ = vectors(packed([*people, *mistyped]), range(count), range(count, 2 * count))
    for one, other, levels in zip(people, mistyped, found.tolist(), strict=True):
        assert levels == oracle.levels(one, other), (one, other)


def _mistyped(one: Person, edits: int, rng: Random) -> Person:
    def edited(text: str, letters: str) -> str:
        for _ in range(edits):
            at, letter = rng.randrange(len(text) + 1), rng.choice([*letters, ""])
            text = text[:at] + letter + text[at + rng.randrange(2) :]
        return " ".join(text.split())

    return replace(
        one,
        first=edited(one.first, "aeinor"),
        last=edited(one.last, "aeinor"),
        emails=tuple(edited(email, "aeinor1.") for email in one.emails),
        phones=tuple(f"+{edited(phone[1:], '0123456789')}" for phone in one.phones),
        street=edited(one.street, "aeinor 12"),
        postcode=edited(one.postcode, "123ab").replace(" ", ""),
    )


def test_a_name_in_one_column_is_compared_as_one_in_three() -> None:
    whole, apart = Packed(), [Person("Ada", "Maria", "King"), Person("Ada", "Maria", "Byron")]
    nothing = [oracle.column_of(["", ""])] * 4
    texts = Texts.of([f"{one.first} {one.middle} {one.last}" for one in apart])
    none = np.zeros(2, np.uint32), np.zeros(2, np.uint8)
    pack(whole, _names.full_names(texts), *none, [], [], nothing, [], b"")
    assert np.array_equal(vectors(whole, [0], [1]), vectors(packed(apart), [0], [1]))


STORIES = [
    (Person("William"), Person("Bill"), k.F_FIRST, "N_ALIAS"),
    (Person("J."), Person("Jane"), k.F_FIRST, "N_INITIAL"),
    (Person(last="Miller"), Person(last="Muller"), k.F_LAST, "N_TYPO"),
    (Person("Ada", last="King"), Person("King", last="Ada"), k.F_LAST, "N_SAME"),
    (Person(birth=(1980, 3, 4)), Person(birth=(1980, 4, 3)), k.F_BIRTH, "B_SWAPPED"),
    (Person(birth=(1980, 1, 1)), Person(birth=(1980, 7, 30)), k.F_BIRTH, "B_YEAR"),
    (Person(emails=("zo.e@a.eu",)), Person(emails=("zo.e@b.eu",)), k.F_EMAIL, "E_LOCAL"),
    (Person(phones=("+442079460018",)), Person(phones=("+442079460081",)), k.F_PHONE, "P_NEAR"),
    (Person(street="12 high street"), Person(street="12 high st"), k.F_STREET, "S_NEAR"),
    (Person(postcode="12345"), Person(postcode="12346"), k.F_PLACE, "L_NEAR"),
    (Person("Harry"), Person("Larry"), k.F_FIRST, "N_SIMILAR"),
    (Person("Harry"), Person("Hary"), k.F_FIRST, "N_TYPO"),
    (Person(last="Morel"), Person(last="Roux", emails=("j.morel@a.eu",)), k.F_LAST, "N_INITIAL"),
    (Person("Miki"), Person(emails=("miki7@a.eu",)), k.F_FIRST, "N_ALIAS"),
    (Person(birth=(1974, 5, 6)), Person(emails=("ann74@a.eu",)), k.F_YEAR, "SAME"),
    (Person(birth=(1974, 5, 6)), Person(emails=("ann1975@a.eu",)), k.F_YEAR, "DIFFERENT"),
    (Person(birth=(1974, 5, 6)), Person(emails=("ann749@a.eu",)), k.F_YEAR, "ABSENT"),
    (Person(street="plot 2 lake colony"), Person(street="plot 2 hill colony"), k.F_STREET,
     "S_NUMBER"),
    (Person(street="2 lake road apt 7"), Person(street="2 lake rd"), k.F_STREET, "S_STREET"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "which", "expected"), STORIES)
def test_what_is_written_otherwise_is_known(
    one: Person, other: Person, which: int, expected: str
) -> None:
    assert level(one, other, which) == getattr(k, expected)


def test_how_han_characters_are_read_is_a_guess() -> None:
    """They are read as Chinese; that a Japanese name is another in Latin letters says nothing."""
    people = [Person("智代", last="小林"), Person("Tomoyo", last="Kobayashi")]
    scripts = np.zeros(2, np.uint8)
    for part in ("first", "last"):
        scripts_of(Texts.of([getattr(one, part) for one in people]), scripts)
    assert scripts.tolist() == [SCRIPT_HAN, 0]
    nothing = [oracle.column_of(["", ""])] * 4
    none = np.zeros(2, np.uint32), np.zeros(2, np.uint8)
    made = Packed()
    pack(made, oracle.names_of(people), *none, [], [], nothing, [], b"", scripts)
    found, _ = vectors(made, [0], [1])
    assert found[0, [k.F_FIRST, k.F_LAST]].tolist() == [k.ABSENT, k.ABSENT]
    assert level(people[0], people[1], k.F_FIRST) == k.DIFFERENT


def test_a_hyphen_of_a_name_begins_no_tag() -> None:
    normals = ["ada-king@yahoo.com", "ada.king+x@gmail.com", "ada@yahoo.com", ""]
    keys = ["ada@yahoo.com", "adaking@gmail.com", "ada@yahoo.com", ""]
    made = keys_for_people(oracle.column_of(keys), oracle.column_of(normals))
    assert [made[row] for row in range(4)] == [normals[0], *keys[1:]]


# Rarity


@pytest.mark.parametrize("world", ["mixed", "namesakes"])
def test_values_weigh_what_their_number_says(world: str) -> None:
    people = of_world(world, 4_000)  # with more values than the first table of them has room for
    made = packed(people)
    weigh(made)
    row = list(range(len(people)))
    levels, found = vectors(made, row, row)
    expected = {
        k.F_BIRTH: oracle.rarities_of([one.birth for one in people], oracle.USUAL["birth"]),
        k.F_COMPANY: oracle.rarities_of([one.company for one in people], oracle.USUAL["company"]),
        k.F_PHONE: _of_points([one.phones for one in people]),
        k.F_EMAIL: _of_points([one.emails for one in people]),
    }
    for which, rarities in expected.items():
        shown = np.where(levels[:, which] > 0, rarities, 0)
        assert found[:, which].tolist() == shown.tolist()


def _of_points(points: Sequence[tuple[str, ...]]) -> list[int]:
    counts = Counter(point for several in points for point in several)
    usual = oracle.USUAL["point"]
    return [oracle.rarity(len(points), counts[few[0]], usual) if few else 0 for few in points]


def test_a_pair_weighs_the_same_in_both_directions() -> None:
    people = [*of_world("families", 800)]
    rng = Random(2)
    for row in range(0, 800, 5):  # with further points, in another order, or moved away
        near = people[row - 1]
        points = [*people[row].emails, *near.emails], [*people[row].phones, *near.phones]
        people[row] = replace(people[row], emails=tuple(points[0]), phones=tuple(points[1]))
        people.append(replace(people[row], emails=tuple(points[0][::-1]), city="elsewhere"))
        people.append(replace(people[row], phones=tuple(points[1][::-1]), postcode=f"{row}"))
    rng.shuffle(people)
    made = packed(people)
    weigh(made)
    ones, others = zip(*close_pairs(people, 2), strict=True)
    for there, back in zip(vectors(made, ones, others), vectors(made, others, ones), strict=True):
        assert np.array_equal(there, back)


def test_a_date_that_everybody_has_is_none() -> None:
    people = [Person("Ada", birth=(1900, 1, 1))] * 200 + [Person("Ada", birth=(1980, 2, 3))] * 2
    made = packed(people)
    assert weigh(made) == 200
    found, _ = vectors(made, [0, 200], [1, 201])
    assert found[:, k.F_BIRTH].tolist() == [k.ABSENT, k.B_SAME]


# Weights


PRIORS = np.array([0.0, -1.0, 2.0, 0.5])


def some_weights(seed: int) -> tuple[Weights, npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return weights in quarters of bits, whose sums are exact, with their tables."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(-40, 40, (OTHERS, FIELDS, LEVELS)) / 4
    bits[:, :, 0] = 0
    rare = rng.random((OTHERS, FIELDS, LEVELS)) < 0.4
    return Weights(bits.tolist(), rare.astype(int).tolist(), PRIORS.tolist()), bits, rare


def test_a_weight_is_the_least_sum_of_the_four_classes() -> None:
    people = of_world("mixed", 600)
    made = packed(people)
    weigh(made)
    ones, others = (np.array(rows, np.uint32) for rows in zip(*close_pairs(people, 4), strict=True))
    weights, bits, rare = some_weights(1)
    found = np.empty(len(ones), np.float32)
    k.weigh_pairs(made, weights, ones, others, found)
    field = np.arange(FIELDS)
    for levels, rarities, weight in zip(
        *vectors(made, ones.tolist(), others.tolist()), found.tolist(), strict=True
    ):
        said = bits[:, field, levels] + rare[:, field, levels] * rarities / RARITY_UNITS
        assert weight == min(said.sum(axis=1) + PRIORS)


def test_what_is_not_compared_to_the_end_weighs_too_little() -> None:
    """Whatever the weights: pairs are given up only if they cannot reach the bound."""
    people = of_world("families", 400)
    made = packed(people)
    weigh(made)
    blocks = Blocks(made)
    for seed in range(4):
        weights, *_ = some_weights(seed)
        for keep in (-5.0, 0.0, 12.0):
            for family in k.FAMILIES[:6]:
                entries = entries_of(blocks, family)
                found, expected = (
                    Search(made, blocks, weights, bits).compare(
                        entries, 0, len(entries), family[1], ALL, 0
                    )
                    for bits in (keep, ANY_BITS)
                )
                bits = np.frombuffer(expected[2], np.float32)
                assert np.array_equal(
                    np.sort(np.frombuffer(found[2], np.float32)), np.sort(bits[bits >= keep])
                )


# Blocks

Entries = npt.NDArray[np.uint64]


def entries_of(blocks: Blocks, family: tuple[str, int, int, int]) -> Entries:
    return np.sort(np.frombuffer(blocks.entries(*family[1:3]), np.uint64))


def compare(
    made: Packed, blocks: Blocks, entries: Entries, first: int, cuts: Sequence[int],
    limit: int = ALL, window: int = 0,
) -> list[tuple[int, int]]:  # fmt: skip
    """Return the pairs that are compared, cut into pieces of work."""
    search = Search(made, blocks, Model.default(100).weights(), ANY_BITS)
    found = []
    for begin, end in pairwise(cuts):
        ones, others, bits, _, compared, histogram = search.compare(
            entries, begin, end, first, limit, window
        )
        assert np.frombuffer(histogram, np.int64).sum() == compared
        pairs = list(
            zip(*(np.frombuffer(part, np.uint32).tolist() for part in (ones, others)), strict=True)
        )
        assert len(pairs) == compared == len(bits) // 4
        found += pairs
    return found


def sharing(entries: Entries) -> set[tuple[int, int]]:
    """Return all pairs of rows under one key."""
    rows_of = defaultdict(set)
    for entry in entries.tolist():
        rows_of[entry >> 32].add(entry & 0xFFFFFFFF)
    return {pair for rows in rows_of.values() for pair in combinations(sorted(rows), 2)}


def test_keys_are_made_in_parts() -> None:
    """Of more rows than one part has; several at once as well."""
    people = of_world("mixed", 700)
    few, many = Blocks(packed(people)), packed(people * 30)
    with ThreadPoolExecutor(2) as pool:
        made = (Blocks(many), Blocks(many, pool.map))
    for family in k.FAMILIES:
        rows = np.arange(0, len(many), len(people), dtype=np.uint64)
        expected = np.sort((entries_of(few, family) + rows[:, None]).ravel())
        for blocks in made:
            assert np.array_equal(entries_of(blocks, family), expected)


@pytest.mark.parametrize("world", ["families", "dirty"])
def test_all_pairs_that_share_a_key_are_compared_once(world: str) -> None:
    people = of_world(world, 500)
    made = packed(people)
    weigh(made)
    blocks = Blocks(made)
    met: set[tuple[int, int]] = set()
    for family in k.FAMILIES:
        entries = entries_of(blocks, family)
        cuts = np.linspace(0, len(entries), 8).astype(int).tolist()
        found = compare(made, blocks, entries, family[1], cuts)
        expected = sharing(entries) - met
        assert set(found) == expected
        assert len(found) == len(expected)
        met |= expected
    assert len(met) > 200


def test_people_meet_by_any_of_their_points() -> None:
    people = [
        Person(emails=("a@a.eu", "b@a.eu"), phones=("+4420", "+4421")),
        Person(emails=("c@a.eu", "a@a.eu")),
        Person(phones=("+4422", "+4423", "+4420")),
        Person(emails=("d@a.eu",), phones=("+4424",)),
    ]
    made = packed(people)
    blocks = Blocks(made)
    emails, phones = (entries_of(blocks, family) for family in k.FAMILIES[:2])
    assert sharing(emails) == {(0, 1)}
    assert sharing(phones) == {(0, 2)}


def test_a_block_over_the_limit_waits_for_its_second_keys() -> None:
    people = [
        Person("Ada", birth=(1950 + row % 3, 5, 6), emails=("all@a.eu",)) for row in range(30)
    ]
    made = packed(people)
    weigh(made)
    blocks = Blocks(made)
    family = k.FAMILIES[0]
    entries = entries_of(blocks, family)
    cuts = [0, len(entries)]
    assert compare(made, blocks, entries, 0, cuts, limit=29) == []
    out = np.empty(len(entries), np.uint64)
    k.split(made, entries, 0, out)
    out = np.sort(out)
    same_year = {pair for pair in combinations(range(30), 2) if (pair[1] - pair[0]) % 3 == 0}
    assert set(compare(made, blocks, out, 0, cuts, limit=10)) == same_year
    near = {(one, other) for one, other in same_year if other - one <= 2 * 3}
    assert set(compare(made, blocks, out, 0, cuts, limit=9, window=2)) == near


def test_what_has_no_second_value_leaves_the_split() -> None:
    made = packed([Person("Ada", emails=("all@a.eu",))] * 3)
    entries = entries_of(Blocks(made), k.FAMILIES[0])
    out = np.empty(3, np.uint64)
    k.split(made, entries, 0, out)
    assert (out >> np.uint64(32)).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="one place for each entry"):
        k.split(made, entries, 0, out[:2])


def test_pairs_of_a_forgotten_block_may_meet_later() -> None:
    made = packed([Person("Ada", emails=("all@a.eu",), phones=("+4420",))] * 3)
    blocks = Blocks(made)
    emails, phones = k.FAMILIES[:2]
    entries = entries_of(blocks, phones)
    assert compare(made, blocks, entries, phones[1], [0, 3]) == []
    blocks.forget(entries_of(blocks, emails), *emails[1:3])
    assert len(entries_of(blocks, emails)) == 0
    assert compare(made, blocks, entries, phones[1], [0, 3]) == [(0, 1), (0, 2), (1, 2)]


# Clusters


def clusters(
    weights: npt.NDArray[np.float32], pairs: Sequence[tuple[int, int]], scores: Sequence[float],
    threshold: float, bounds: tuple[float, float], needed: float, most: int,
) -> tuple[list[int], int]:  # fmt: skip
    """Join groups that are lists; `weights` has a row and a column for each record."""
    group = [[row] for row in range(len(weights))]
    refused = 0
    for (one, other), score in zip(pairs, scores, strict=True):
        a, b = sorted((group[one], group[other]), key=lambda rows: rows[0])
        if score < threshold or a is b:
            continue
        between = np.clip(weights[np.ix_(a[:most], b[:most])], *bounds)
        if len(a) + len(b) > 2 and between.mean() < needed:
            refused += 1
            continue
        a.extend(b)
        for row in b:
            group[row] = a
    return [rows[0] for rows in group], refused


@pytest.mark.parametrize("most", [1, 2, 12])
@pytest.mark.parametrize("seed", range(8))
def test_groups_are_joined_as_the_oracle_joins_them(seed: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    people = of_world("families", 60)
    made = packed(people)
    weights, *_ = some_weights(seed)
    every = np.indices((60, 60), np.uint32).reshape(2, -1)
    table = np.empty(3600, np.float32)
    k.weigh_pairs(made, weights, every[0].copy(), every[1].copy(), table)
    pairs = rng.permutation(np.array([*combinations(range(60), 2)], np.uint32))[:200]
    scores = np.sort(rng.normal(1, 4, 200).astype(np.float32))[::-1].copy()
    options = 0.5, (-6.0, 12.0), 0.5, most
    labels, refused = k.cluster(
        made, weights, pairs[:, 0].copy(), pairs[:, 1].copy(), scores, 0.5, -6.0, 12.0, 0.5, most
    )
    expected = clusters(table.reshape(60, 60), pairs.tolist(), scores.tolist(), *options)
    assert (np.frombuffer(labels, np.uint32).tolist(), refused) == expected
    assert refused


def test_pairs_of_one_side_are_not_compared() -> None:
    made = packed([Person("Ada", emails=("all@a.eu",))] * 4)
    blocks = Blocks(made)
    entries = entries_of(blocks, k.FAMILIES[0])
    sides = np.array([0, 1, 1, 0], np.uint8)
    search = Search(made, blocks, Model.default(100).weights(), ANY_BITS, sides)
    ones, others, *_ = search.compare(entries, 0, 4, 0, ALL, 0)
    pairs = zip(np.frombuffer(ones, np.uint32), np.frombuffer(others, np.uint32), strict=True)
    assert {*pairs} == {(0, 1), (0, 2), (1, 3), (2, 3)}


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 6))
def test_blocks_are_sorted_out_by_their_size(keys: list[int], limit: int) -> None:
    entries = np.sort(np.array([key << 32 | row for row, key in enumerate(keys)], np.uint64))
    sizes = Counter(keys)
    small = [entry for entry in entries.tolist() if 1 < sizes[entry >> 32] <= limit]
    large = [entry for entry in entries.tolist() if sizes[entry >> 32] > limit]
    used, behind, blocks, large_blocks = k.sort_out(entries, limit)
    assert entries[:used].tolist() == small
    assert entries[used : used + behind].tolist() == large
    assert blocks == sum(1 < size <= limit for size in sizes.values())
    assert large_blocks == sum(size > limit for size in sizes.values())


def test_rows_that_there_are_not_are_refused() -> None:
    nobody = packed([])
    rows, none = np.array([0, 1], np.uint32), np.zeros(0, np.uint32)
    with pytest.raises(ValueError, match="both sides"):
        k.vectors(nobody, rows, none)
    with pytest.raises(IndexError):
        k.vectors(nobody, rows, rows)
