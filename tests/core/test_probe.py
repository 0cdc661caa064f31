"""Looking one record up: what is compared, blocking keys, term frequencies, one against a few.

The oracles are protobuf for what is read, the path of files for what is compared, plain Python for
the keys, `collections.Counter` for the counts, and the kernel of pairs for the weights.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import pytest
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from benchmarks.worlds import WORLDS, Row, rows
from namesake import v1
from service.cli.records import Records
from service.core import _match as k
from service.core._emails import EmailParser
from service.core._features import Packed, pack, rarity_of, weigh
from service.core._names import FIRST, LAST, Name, split_names
from service.core._probe import Frequencies, block_keys, frequencies, is_company, sizes
from service.core._text import Texts
from service.core._wire import Columns
from service.core.match import Model
from service.core.prepare import features, prepare_phones
from service.transfer.tables import open_table
from tests.cards_of_rows import card_of
from tests.core import oracle_probe as oracle
from tests.core.oracle_match import Person, column_of, names_of, packed
from tests.core.oracle_probe import Cells
from tests.core.test_match import close_pairs, many, of_world, pairs_of_people, vectors
from tests.core.test_wire import customers, plain, varint

START_GROUP = 3  # the wire type

POINTS = 4  # e-mails, and phones, of a customer that are compared

# Each draws several whole customers: every field comes up some hundred times.
some = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# What is compared of a customer


def columns_of(records: Sequence[bytes]) -> list[Cells]:
    """Read encoded customers."""
    read = Columns(records)
    births = memoryview(read.births).cast("I")
    return [
        Cells(
            read.first[row],
            read.middle[row],
            read.last[row],
            read.company[row],
            read.street[row],
            read.city[row],
            read.postcode[row],
            tuple(column[row] for column in read.emails if column[row]),
            tuple(column[row] for column in read.phones if column[row]),
            births[row],
            read.genders[row],
        )
        for row in range(read.count)
    ]


homes = st.builds(
    v1.PostalAddress,
    primary=st.booleans(),
    lines=st.lists(plain, max_size=6),
    city=plain,
    postcode=plain,
)
emails = st.builds(v1.EmailAddress, value=plain, normal=plain)
phones = st.builds(v1.PhoneNumber, value=plain, normal=plain)


@st.composite
def living(draw: st.DrawFn) -> v1.Customer:
    """A customer of any kind, with addresses and more points than are compared."""
    drawn = v1.Customer()
    drawn.CopyFrom(draw(customers))
    drawn.middle_name = draw(plain)
    drawn.emails.extend(draw(st.lists(emails, max_size=6)))
    drawn.phones.extend(draw(st.lists(phones, max_size=6)))
    drawn.addresses.extend(draw(st.lists(homes, max_size=3)))
    return drawn


@some
@given(st.lists(living(), max_size=4))
def test_any_customers_are_read_as_protobuf_reads_them(drawn: list[v1.Customer]) -> None:
    """But for one with an impossible birth date, which is broken and has nothing."""
    records = [one.SerializeToString() for one in drawn]
    possible = [oracle.has_possible_date(one) for one in drawn]
    assert Columns(records).broken == [row for row, good in enumerate(possible) if not good]
    assert columns_of(records) == [
        oracle.cells(one) if good else Cells()
        for one, good in zip(drawn, possible, strict=True)
    ]  # fmt: skip


def fields_of(record: bytes) -> list[bytes]:
    """Take an encoding of fields of numbers and lengths apart."""
    parts, at = [], 0
    while at < len(record):
        start = at
        tag, at = _varint(record, at)
        value, at = _varint(record, at)
        at += value if tag & 7 == 2 else 0
        parts.append(record[start:at])
    return parts


def _varint(record: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (record[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not record[at - 1] & 0x80:
            return value, at


UNKNOWN = [
    b"\xf8\x3f\x05",  # field 1023, a number
    b"\xfa\x3f\x03abc",
    b"\xf9\x3f" + bytes(8),
    b"\xfd\x3f" + bytes(4),
]
SEVERAL = frozenset({"birth_date", "preferences", "create_time", "update_time"})  # are merged
TAGS = {
    varint(field.number << 3 | 2)
    for field in v1.Customer.DESCRIPTOR.fields
    if field.name in SEVERAL
}


@some
@given(living(), living(), st.randoms(use_true_random=False))
def test_fields_may_come_in_any_order_and_more_than_once(
    one: v1.Customer, other: v1.Customer, rng: Random
) -> None:
    """Of what can be there once the last counts; fields of a later release are passed over."""
    assert TAGS
    first, second = fields_of(one.SerializeToString()), fields_of(other.SerializeToString())
    parts = first + [part for part in second if not any(part.startswith(tag) for tag in TAGS)]
    parts += rng.choices(UNKNOWN, k=3)
    rng.shuffle(parts)
    record = b"".join(parts)
    expected = v1.Customer.FromString(record)
    read = columns_of([record])[0]
    assert read == (oracle.cells(expected) if oracle.has_possible_date(expected) else Cells())


@many
@given(st.binary(max_size=60))
@example(b"")
@example(b"\x0a")
@example(b"\x0a\x05ab")
@example(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
@example(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
@example(b"\xff" * 12)
@example(b"\x00\x00")
@example(b"[\\")
@example(b"\x92\x01\x02[\\")
def test_any_bytes_are_read_or_named_as_broken(noise: bytes) -> None:
    """Never more than they are, whatever lengths they claim; the records beside them are read."""
    good = v1.Customer(last_name="Doe").SerializeToString()
    read = Columns([good, noise, good])
    assert read.broken in ([], [1])
    assert [read.last[0], read.last[2]] == ["Doe", "Doe"]
    if 1 in read.broken:
        assert _is_broken(noise)
    made = features([good, noise, good])
    assert made[0] == made[2] == features([good])[0]
    assert (made[1] == b"") == (1 in read.broken)


def _is_broken(record: bytes) -> bool:
    """Tell whether protobuf refuses it, or it has a group, which no record of ours has."""
    try:
        return _has_group(v1.Customer.FromString(record))
    except DecodeError:
        return True


def _has_group(message: Message) -> bool:
    unknown = UnknownFieldSet(message)
    if any(unknown[place].wire_type == START_GROUP for place in range(len(unknown))):
        return True
    parts = [value for field, value in message.ListFields() if field.message_type]
    several = [part if hasattr(part, "__len__") else [part] for part in parts]
    return any(
        _has_group(one)
        for found in several
        for one in (found.values() if hasattr(found, "values") else found)
    )


def _full() -> v1.Customer:
    card = card_of(
        {
            "first_name": "Ада", "middle_name": "Maria", "last_name": "Ловлейс", "gender": "f",
            "birth_date": "1980-05-17", "email": "ada@x.example", "phone": "+442079460018",
            "street": "Höhe 5", "city": "Köln", "postcode": "SW1A 1AA", "country": "GB",
            "company": "Lovelace Ltd",
        }
    )  # fmt: skip
    card.emails[0].normal, card.phones[0].normal = card.emails[0].value, card.phones[0].value
    return card


def test_cut_records_are_read_as_protobuf_reads_them() -> None:
    """Every beginning of a record: the same fields, or broken in both."""
    record = _full().SerializeToString()
    for end in range(len(record)):
        expected = None
        try:
            expected = v1.Customer.FromString(record[:end])
        except DecodeError:
            assert Columns([record[:end]]).broken == [0]
            assert columns_of([record[:end]]) == [Cells()]
            assert features([record[:end]]) == [b""]
        else:
            assert columns_of([record[:end]]) == [oracle.cells(expected)]


def test_damaged_records_end_nothing() -> None:
    """Bytes changed at random, into texts that are no UTF-8 too: features or none, no exception."""
    rng = Random(1)
    good = _full().SerializeToString()
    (expected,) = features([good])
    for _ in range(5_000):
        damaged = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.choice((0, 0x80, 0xFF, rng.randrange(256)))
        made = features([good, bytes(damaged), good])
        assert made[0] == made[2] == expected
        if made[1]:
            block_keys(made[1])


def test_what_is_no_bytes_is_refused() -> None:
    """A batch is of encoded messages."""
    for wrong in ("text", None, 5, bytearray(b"")):
        with pytest.raises(TypeError):
            Columns([wrong])  # type: ignore[list-item]


# Features


@some
@given(st.lists(living().filter(oracle.has_possible_date), min_size=1, max_size=5))
def test_a_batch_gives_what_its_records_give_alone(drawn: list[v1.Customer]) -> None:
    """However many points the others have."""
    records = [one.SerializeToString() for one in drawn]
    made = features(records)
    assert made == [features([record])[0] for record in records]
    for one, packed_ in zip(drawn, made, strict=True):
        emails_, phones_ = sizes(packed_)
        assert emails_ <= min(POINTS, sum(bool(point.normal) for point in one.emails))
        assert phones_ <= min(POINTS, sum(bool(point.normal) for point in one.phones))
        assert not is_company(packed_) or one.company_name


def test_nothing_gives_nothing() -> None:
    """No records, and one without fields."""
    assert features([]) == []
    (empty,) = features([b""])
    assert block_keys(empty) == []
    assert sizes(empty) == (0, 0)
    assert not is_company(empty)


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (v1.Customer(kind=v1.CUSTOMER_KIND_COMPANY, company_name="Acme"), True),
        (v1.Customer(kind=v1.CUSTOMER_KIND_COMPANY, company_name="Acme", last_name="Doe"), True),
        (v1.Customer(company_name="Acme", last_name="Doe"), False),
        (v1.Customer(company_name="Acme", first_name="Jo"), False),
        (v1.Customer(last_name="Doe"), False),
        (v1.Customer(last_name="!!!"), False),
    ],
)
def test_a_company_has_a_companys_name_alone(card: v1.Customer, expected: bool) -> None:
    """A person whose name has no letters is none."""
    (made,) = features([card.SerializeToString()])
    assert is_company(made) == expected


def stored(card: v1.Customer) -> bytes:
    """Return a card as it is stored: with normal forms."""
    parser = EmailParser(frozenset())
    for email in card.emails:
        email.normal = parser.parse(Texts.of([email.value])).normal[0]
    region = card.addresses[0].country if card.addresses else ""
    for phone in card.phones:
        (form,) = prepare_phones([phone.value], [region], "US")
        phone.normal = form.normal
    return card.SerializeToString()


NO_NUMBER = "0000000000"  # its normal form, read again, is another


@pytest.mark.parametrize("world", ["mixed", "dirty", "families", "held_2", "sparse"])
def test_a_card_is_compared_by_what_its_row_in_a_file_is(world: str, tmp_path: Path) -> None:
    """`namesake dedupe` and the server see the same in the same values."""
    made_up = [
        row | {"last_name": row["last_name"] or "-"}
        for row in of_file(world, 1_500)
        if row.get("phone") != NO_NUMBER
    ]
    path = tmp_path / "people.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(made_up[0]))
        writer.writeheader()
        writer.writerows(made_up)
    records = Records("US", None)
    with open_table(str(path)) as table:
        records.read(table, [])
    cards = features([stored(card_of(row)) for row in made_up])
    differ = [row for n, row in enumerate(made_up) if records.packed[n] != cards[n]]
    assert differ == []


def of_file(world: str, count: int) -> list[Row]:
    """Return rows of a world."""
    return [row for _, row in islice(rows(WORLDS[world], 3), count)]


@pytest.mark.parametrize("written", ["SW1A 1AA", "sw1a-1aa", "SW1A\t1AA", "sw1a1aa", " SW1A - 1AA"])
def test_postcodes_are_one_word(written: str) -> None:
    """However people part them."""
    made = [v1.Customer(last_name="Doe") for _ in range(2)]
    made[0].addresses.add(postcode=written)
    made[1].addresses.add(postcode="SW1A1AA")
    one, other = features([card.SerializeToString() for card in made])
    assert one == other


# Blocking keys


def keys_of(person: Person) -> list[tuple[bytes, int]]:
    """Return the blocking keys of one person."""
    return block_keys(packed([person], b"\0\0"[: len(person.extras)])[0])


@many
@given(pairs_of_people())
@example((Person("Ann", last="Ann"), Person("Ann", last="Ann")))
@example((Person("Ann", last="Lee", street="1 a"), Person("Ann", last="Ray", street="1 a")))
@example((Person(company="acme ltd", street="1 a"), Person(company="acme ltd", street="1 a")))
def test_two_people_share_a_key_for_all_that_must_lead_to_each_other(
    pair: tuple[Person, Person],
) -> None:
    """As many keys as agreements that the oracle knows."""
    one, other = ({key for key, _ in keys_of(person)} for person in pair)
    assert len(one & other) == len(oracle.shared(*pair)), oracle.shared(*pair)


STORIES = [
    ("a typo in the last name", Person("Ann", last="Miller", birth=(1980, 5, 17)),
     Person("Ann", last="Millor", birth=(1980, 5, 17))),
    ("a nickname", Person("William", last="Paz", birth=(1980, 5, 17)),
     Person("Bill", last="Paz", birth=(1980, 5, 17))),
    ("names swapped", Person("Ada", last="King"), Person("King", last="Ada")),
    ("a date swapped", Person("Ada", last="King", birth=(1980, 3, 4)),
     Person("Ada", last="King", birth=(1980, 4, 3))),
    ("another script", Person("Ольга", last="Иванова", birth=(1980, 3, 4)),
     Person("Olga", last="Ivanova", birth=(1980, 3, 4))),
    ("married", Person("Ada", last="King", birth=(1980, 3, 4)),
     Person("Ada", last="Byron", birth=(1980, 3, 4))),
    ("another domain", Person(last="King", emails=("ada.k@a.example",)),
     Person(last="Byron", emails=("ada.k@b.example",))),
    ("a digit of the area code", Person("Ada", last="King", phones=("+442079460018",)),
     Person("Ida", last="King", phones=("+442179460018",))),
    ("at home", Person("Ada", last="King", street="1 high st", city="ayr"),
     Person("A.", last="Byron", street="1 high st", city="ayr")),
    ("a company", Person(company="acme", city="ayr"), Person(company="acme", city="rome")),
    ("a company's name cut", Person(company="kowalczyk ltd", postcode="12345"),
     Person(company="kowalczyk and sons", postcode="12399")),
]  # fmt: skip


@pytest.mark.parametrize(("what", "one", "other"), STORIES, ids=[story[0] for story in STORIES])
def test_who_is_written_otherwise_is_found(what: str, one: Person, other: Person) -> None:
    """Each by a key that both have."""
    assert {key for key, _ in keys_of(one)} & {key for key, _ in keys_of(other)}


@pytest.mark.parametrize("world", ["mixed", "dirty", "held_1", "held_2"])
def test_keys_are_few_and_each_stands_once(world: str) -> None:
    """Of eight bytes with a second key of two; the same whenever they are asked for."""
    made = packed(of_world(world, 1_000))
    for row in range(len(made)):
        keys = block_keys(made[row])
        assert keys == block_keys(bytes(bytearray(made[row])))
        assert len({key for key, _ in keys}) == len(keys) <= 16
        assert all(len(key) == 8 and 0 <= second < 1 << 16 for key, second in keys)


def test_the_second_key_parts_those_of_one_block() -> None:
    """Namesakes of one birth date stand apart from those of others, and 0 is for none at all."""
    people = [Person("Ada", last="King", birth=(1900 + n, 1, 2)) for n in range(50)]
    by_name = [dict(keys_of(one)) for one in [*people, Person("Ada", last="King")]]
    (shared,) = set.intersection(*(set(keys) for keys in by_name))
    seconds = [keys[shared] for keys in by_name]
    assert len(set(seconds[:-1])) > 45
    assert seconds[-1] == 0
    assert dict(keys_of(Person("Ada", last="King", birth=(1900, 1, 2))))[shared] == seconds[0]


def test_damaged_features_are_refused() -> None:
    """Cut, longer, of another layout, or none: by every function that takes them."""
    (good,) = features([_full().SerializeToString()])
    weights = Model.default(100).weights()
    other_layout = good[:2] + b"\xff\xff" + good[4:]
    for damaged in (b"", good[:1], good[:60], good[:-1], good + b"\0", other_layout):
        for function in (block_keys, is_company, sizes, Packed().add):
            with pytest.raises(ValueError, match="features"):
                function(damaged)
        with pytest.raises(ValueError, match="features"):
            Frequencies().weighed(damaged, [1], [1], 100)
        for pair in ((damaged, good), (good, damaged)):
            with pytest.raises(ValueError, match="features"):
                k.compare_with(pair[0], [pair[1]], weights)
    for function in (block_keys, is_company, sizes):
        with pytest.raises(TypeError):
            function(None)  # type: ignore[arg-type]


# Term frequencies

KINDS = 8  # of values, at most
FEWEST = 3  # records that have a value, for its count to be kept
SHARED = 2  # records that have whatever is shared


def holders(people: Sequence[Person], part: str) -> list[list[int]]:
    """Return how many have each point of each."""
    counts = Counter(value for one in people for value in set(getattr(one, part)))
    return [[counts[value] for value in getattr(one, part)] for one in people]


def weighed_by(known: Frequencies, people: Sequence[Person]) -> Packed:
    """Return people who are weighed one by one."""
    bare, made = packed(people), Packed()
    points = holders(people, "emails"), holders(people, "phones")
    for row, (emails_, phones_) in enumerate(zip(*points, strict=True)):
        made.add(known.weighed(bare[row], emails_, phones_, len(people)))
    return made


def values_of(people: Sequence[Person]) -> dict[int, list[object]]:
    """Return the values of the fields whose counts are kept, None where there is none."""
    names = names_of(people)
    return {
        k.F_FIRST: [_word(name, FIRST) for name in names],
        k.F_LAST: [_word(name, LAST) for name in names],
        k.F_BIRTH: [one.birth if one.birth[0] else None for one in people],
        k.F_COMPANY: [one.company or None for one in people],
        k.F_PLACE: [one.postcode or one.city or None for one in people],
    }


def _word(name: Name, role: int) -> str | None:
    token = oracle.word(name, role)
    return None if token is None else token.text


@pytest.mark.parametrize("world", ["mixed", "namesakes", "sparse"])
def test_a_probe_weighs_what_its_record_does_in_a_file(world: str) -> None:
    """The same rarity of whatever is frequent enough to be counted, and of all points."""
    people = of_world(world, 3_000)
    alone = weighed_by(Frequencies(frequencies(packed(people))), people)
    together = packed(people)
    weigh(together)
    row = list(range(len(people)))
    _, found = vectors(alone, row, row)
    _, expected = vectors(together, row, row)
    for field, values in values_of(people).items():
        counts = Counter(values)
        counted = [counts[value] >= FEWEST and value is not None for value in values]
        if field == k.F_BIRTH:  # what everybody has is taken away
            counted = [c and counts[v] <= 20 for c, v in zip(counted, values, strict=True)]
        if field == k.F_PLACE:
            counted = [c and bool(one.postcode) for c, one in zip(counted, people, strict=True)]
        assert sum(counted) > 100 or field in (k.F_COMPANY, k.F_BIRTH), field
        assert (found[counted, field] == expected[counted, field]).all(), field
    for field, part in ((k.F_EMAIL, "emails"), (k.F_PHONE, "phones")):
        held = np.array([bool(few) and few[0] >= SHARED for few in holders(people, part)])
        assert (found[held, field] == expected[held, field]).all(), field


def test_counts_are_those_of_a_counter() -> None:
    """Whatever two records or fewer have is as rare as what two have, who share it."""
    people = of_world("namesakes", 2_000)
    known = Frequencies(frequencies(packed(people)))
    values = values_of(people)[k.F_LAST]
    counts = Counter(value for value in values if value is not None)
    made = weighed_by(known, people)
    row = list(range(len(people)))
    levels, found = vectors(made, row, row)
    for value, level, rarity in zip(values, levels[:, 1], found[:, 1], strict=True):
        if level == k.N_SAME and value is not None:
            count = max(counts[value], SHARED)
            assert rarity == rarity_of(1, counts.total(), count)


def test_what_nobody_counted_is_as_rare_as_usual() -> None:
    """Where nothing is stored; what is new to an account is as rare as what two have."""
    person = Person("Ada", last="King", birth=(1980, 5, 17), emails=("a@b.c",), phones=("+4420",))
    (bare,) = [packed([person])[0]]
    nothing = Frequencies().weighed(bare, [1], [1], 0)
    assert nothing == Frequencies(b"").weighed(bare, [1], [1], 0)
    assert nothing != bare
    assert len(nothing) == len(bare)
    alone = Packed()
    alone.add(nothing)
    _, found = vectors(alone, [0], [0])
    assert found[0, k.F_LAST] == rarity_of(1, 0, 1)
    assert found[0, k.F_BIRTH] == rarity_of(2, 0, 1)
    others = [Person("Eve", last="Ray", birth=(1950, 1, 2))] * 1_000
    new = Frequencies(frequencies(packed(others))).weighed(bare, [1], [1], 1_000)
    alone = Packed()
    alone.add(new)
    _, found = vectors(alone, [0], [0])
    assert found[0, k.F_LAST] == rarity_of(1, 1_000, SHARED) > rarity_of(1, 1_000, 1_000)


def test_weighing_again_forgets_what_was_weighed() -> None:
    """Features that were weighed by other frequencies are features all the same."""
    people = of_world("mixed", 300)
    known = Frequencies(frequencies(packed(people)))
    bare = packed(people)
    for row, one in enumerate(people):
        points = [1] * len(one.emails), [2] * len(one.phones)
        usual = Frequencies().weighed(bare[row], *points, 1)
        assert known.weighed(usual, *points, 300) == known.weighed(bare[row], *points, 300)


def test_points_need_a_count_each() -> None:
    """As many as are compared, neither more nor fewer; what counts is had by two at least."""
    bare = packed([Person("Ada", emails=("a@b.c", "d@b.c"), phones=("+4420",))])[0]
    for counts in (([1], [1]), ([1, 1], []), ([1, 1, 1], [1]), ([1, 1], [1, 1])):
        with pytest.raises(ValueError, match="holders"):
            Frequencies().weighed(bare, *counts, 10)
    none = Frequencies().weighed(bare, [0, 0], [0], 10)
    assert none == Frequencies().weighed(bare, [2, 1], [2], 10)


def many_people(values: int, times: int) -> Packed:
    """Return people of so many cities, each of which has so many."""
    nobody = Texts.of([""] * values * times)
    cities = [f"c{number}" for number in range(values)] * times
    made, empty = Packed(), column_of([""] * values * times)
    none = np.zeros(values * times, np.uint32), np.zeros(values * times, np.uint8)
    places = [empty, column_of(cities), empty, empty]
    pack(made, split_names(nobody, nobody, nobody), *none, [], [], places, [], b"")
    return made


@pytest.mark.parametrize("values", [1, 2, 3, 1_001])
def test_what_is_kept_is_read_back_whatever_its_number(values: int) -> None:
    """Odd numbers of counts too, which end between two places."""
    made = many_people(values, 4)
    kept = frequencies(made)
    again = Frequencies(kept).weighed(made[0], [], [], 0)
    alone = Packed()
    alone.add(again)
    _, found = vectors(alone, [0], [0])
    assert found[0, k.F_PLACE] == rarity_of(5, 4 * values, 4)
    assert len(kept) <= KINDS * 24 + 12 * values + 4


def test_what_is_kept_has_a_bound() -> None:
    """The most frequent 65,536 values of a kind; the others are as rare as those left out."""
    made = many_people(70_000, 3)
    assert len(frequencies(made)) <= KINDS * (24 + 12 * 65_536 + 4)


# One against a few


@pytest.mark.parametrize("world", ["mixed", "families", "dirty", "held_2"])
def test_one_against_a_few_is_as_pair_by_pair(world: str) -> None:
    """Levels, rarities and weights are those of pairs."""
    people = of_world(world, 1_000)
    known = Frequencies(frequencies(packed(people)))
    bare, both = packed(people), weighed_by(known, people)
    weights = Model.default(len(people)).weights()
    pairs = close_pairs(people, 3)
    levels, rarities = vectors(both, *zip(*pairs, strict=True))
    expected = np.empty(len(pairs), np.float32)
    ones, others = (np.array(rows_, np.uint32) for rows_ in zip(*pairs, strict=True))
    k.weigh_pairs(both, weights, ones, others, expected)
    for number, (one, other) in enumerate(pairs):
        candidates = [known.headed(bare[other]), known.headed(bare[one])]
        bits, found, rare = k.compare_with(both[one], candidates, weights)
        assert (len(bits), len(found), len(rare)) == (2, 2 * k.FIELDS, 2 * k.FIELDS)
        assert found[: k.FIELDS] == levels[number].tobytes()
        assert rare[: k.FIELDS] == rarities[number].tobytes()
        assert bits[0] == expected[number]


def test_a_city_that_most_have_is_not_rare() -> None:
    """One city that most have, in two postcodes: it is no rare value that two people share."""
    people = [Person("Ann", last="Lee", city="rome", postcode=f"{n:05}") for n in range(500)]
    known = Frequencies(frequencies(packed(people)))
    probe = weighed_by(known, people)[0]
    other = known.headed(packed([Person("Bob", last="Ray", city="rome", postcode="99999")])[0])
    _, levels, rarities = k.compare_with(probe, [other], Model.default(500).weights())
    assert levels[k.F_PLACE] == k.L_CITY
    assert rarities[k.F_PLACE] == rarity_of(5, 500, 500)


def test_nobody_to_compare_with_is_no_fault() -> None:
    """An empty list gives empty answers; a candidate that is no bytes is refused."""
    probe = packed([Person("Ada")])[0]
    weights = Model.default(2).weights()
    bits, levels, rarities = k.compare_with(probe, [], weights)
    assert (list(bits), levels, rarities) == ([], b"", b"")
    with pytest.raises(TypeError):
        k.compare_with(probe, [None], weights)  # type: ignore[list-item]
