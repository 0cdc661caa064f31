"""The made-up worlds are what they say: repeatable, with their truth, rates as stated."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from dataclasses import replace
from functools import cache
from itertools import islice, pairwise
from pathlib import Path

import phonenumbers
import pytest

from benchmarks import worlds
from benchmarks.worlds import COLUMNS, SPARSE_COLUMNS, WORLDS, Population, Row, World, rows

ROWS = 6_000
Seen = list[tuple[str, Row]]


def drawn(world: World, count: int = ROWS) -> Seen:
    return list(islice(rows(world, 5), count))


@cache
def seen(world: str) -> Seen:
    return drawn(WORLDS[world])


def written(folder: Path, world: str, count: int, seed: int) -> tuple[Path, Path]:
    folder.mkdir()
    people, truth = folder / "people.csv", folder / "truth.csv"
    worlds.write(WORLDS[world], count, seed, people, truth)
    return people, truth


def table(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def share(world_rows: Seen, column: str) -> float:
    """Return how many rows have nothing in a column."""
    return sum(not row[column] for _, row in world_rows) / len(world_rows)


def test_the_same_seed_gives_the_same_file_and_another_another(tmp_path: Path) -> None:
    first, again, other = (
        written(tmp_path / name, "mixed", 400, seed)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert first[0].read_bytes() != other[0].read_bytes()


def test_a_larger_file_has_all_rows_of_a_smaller_one_in_another_order(tmp_path: Path) -> None:
    small, large = (table(written(tmp_path / str(n), "dirty", n, 3)[0]) for n in (300, 700))

    def cells(row: Row) -> tuple[str, ...]:
        return tuple(row[column] for column in COLUMNS[1:])

    assert not Counter(map(cells, small)) - Counter(map(cells, large))
    assert [cells(row) for row in small] != [cells(row) for row in large[:300]]


@pytest.mark.parametrize("world", WORLDS)
def test_the_truth_has_every_record_once_and_in_order(world: str, tmp_path: Path) -> None:
    people, truth = written(tmp_path / "files", world, 500, 9)
    ids = [row["id"] for row in table(people)]
    assert len(set(ids)) == 500
    assert [row["record"] for row in table(truth)] == ids
    assert all(row["cluster"] for row in table(truth))
    columns = SPARSE_COLUMNS if world == "sparse" else COLUMNS
    assert tuple(table(people)[0]) == columns


def test_rows_of_one_person_are_not_side_by_side(tmp_path: Path) -> None:
    clusters = [row["cluster"] for row in table(written(tmp_path / "files", "mixed", 3_000, 2)[1])]
    neighbours = sum(one == other for one, other in pairwise(clusters))
    repeated = len(clusters) - len(set(clusters))
    assert neighbours < repeated / 20


@pytest.mark.parametrize("world", WORLDS)
def test_people_are_seen_one_to_six_times_as_often_as_stated(world: str) -> None:
    times = Counter(Counter(cluster for cluster, _ in seen(world)).values())
    people, stated = sum(times.values()), WORLDS[world].repeats
    assert max(times) <= len(stated) == 6
    for count, weight in enumerate(stated, 1):
        assert times[count] / people == pytest.approx(weight / sum(stated), abs=0.02)
    several = sum(count * number for count, number in times.items() if count > 1)
    assert 0.25 < several / ROWS < 0.42


@pytest.mark.parametrize("world", ["mixed", "clean", "dirty", "held_1", "held_2"])
def test_cells_are_left_out_as_often_as_stated(world: str) -> None:
    found = seen(world)
    for column in ("birth_date", "street", "city", "postcode", "country", "gender"):
        assert share(found, column) == pytest.approx(WORLDS[world].missing[column], abs=0.03)


def test_a_row_without_birth_date_can_be_reached_unless_the_person_cannot() -> None:
    mixed = seen("mixed")
    unreachable = [row for _, row in mixed if not row["email"] and not row["phone"]]
    assert sum(not row["birth_date"] for row in unreachable) < len(mixed) / 200


NOTHING_WRONG = World(
    "nothing goes wrong", missing={}, typo=0, digit=0, nickname=0, initial=0, swapped=0, script=0,
    joined=0, upper=0, blanks=0, month_first=0, year_only=0, no_date=0, wrong_gender=0,
    placeholder=0, tagged=0,
)  # fmt: skip
SLIPS = [
    (replace(NOTHING_WRONG, no_date=0.3), "birth_date", r"(19(00|01|70))-01-01"),
    (replace(NOTHING_WRONG, year_only=0.3), "birth_date", r"\d{4}-01-01"),
    (replace(NOTHING_WRONG, initial=0.3), "first_name", r"\w\.?"),
    (replace(NOTHING_WRONG, blanks=0.3), "first_name", r".* "),
    (replace(NOTHING_WRONG, upper=0.3), "street", r"[^a-zа-яіїєα-ωά-ώß]*"),
    (replace(NOTHING_WRONG, tagged=0.3), "email", r".*\+(news|shop|1)@.*|..\..*@gmail.com"),
    (replace(NOTHING_WRONG, placeholder=0.3), "phone", r"n/a|0000000000|\+1 555 555 5555|\d+"),
]


@pytest.mark.parametrize(("clumsy", "column", "pattern"), SLIPS)
def test_slips_are_as_often_as_stated(clumsy: World, column: str, pattern: str) -> None:
    """Where but one thing goes wrong, cells show that one, at its rate."""

    def shown(world: World) -> float:
        cells = [row[column] for _, row in drawn(world, 3_000) if row[column]]
        return sum(re.fullmatch(pattern, cell) is not None for cell in cells) / len(cells)

    calm = shown(NOTHING_WRONG)
    assert (shown(clumsy) - calm) / (1 - calm) == pytest.approx(0.3, abs=0.06)


def test_names_are_as_frequent_as_in_a_census() -> None:
    """Some names are everybody's, most are rare: thousands of last names, hundreds of first."""
    found = [row for _, row in drawn(WORLDS["mixed"], 20_000) if row["country"] == "US"]
    last = Counter(row["last_name"] for row in found)
    assert 0.005 < last.most_common(1)[0][1] / len(found) < 0.03
    assert len(last) > 1_000
    assert len({row["first_name"] for row in found}) > 250
    assert sum(count for name, count in last.items() if count == 1) / len(found) > 0.15


def test_phones_are_numbers_of_their_country() -> None:
    numbers = [(row["phone"], row["country"]) for _, row in seen("mixed") if row["phone"]]
    numbers = [(phone, country) for phone, country in numbers if country][:1_500]

    def is_valid(phone: str, country: str) -> bool:
        try:
            return phonenumbers.is_valid_number(phonenumbers.parse(phone, country))
        except phonenumbers.NumberParseException:
            return False

    assert sum(is_valid(*number) for number in numbers) > 0.97 * len(numbers)


def test_strangers_do_not_have_one_private_email_or_mobile() -> None:
    owners: dict[str, str] = {}
    for home in islice(Population(WORLDS["mixed"], 8).homes(), 8_000):
        for person in home:
            for point in {*person.emails, *person.mobiles} - {""}:
                assert owners.setdefault(point, person.id) == person.id


def test_families_share_landlines_addresses_and_sometimes_the_name() -> None:
    homes = list(islice(Population(WORLDS["families"], 8).homes(), 3_000))
    families = [home for home in homes if len(home) > 1]
    assert len(families) / len(homes) == pytest.approx(WORLDS["families"].families, abs=0.05)
    shared = sum(len({person.homes[0].landline for person in home}) == 1 for home in families)
    assert shared / len(families) > 0.8  # but for children who moved out
    juniors = [
        home for home in families
        if len({(person.first, person.last[1]) for person in home}) < len(home)
    ]  # fmt: skip
    assert len(juniors) / len(families) == pytest.approx(WORLDS["families"].juniors, abs=0.05)
    for father, son, *_ in juniors:
        assert son.birth[0] - father.birth[0] >= 14
    births = [[person.birth for person in home] for home in families]
    assert any(len(set(dates)) < len(dates) for dates in births)  # twins


def test_namesakes_live_in_one_city_and_are_strangers() -> None:
    found = defaultdict(set)
    for home in islice(Population(WORLDS["namesakes"], 8).homes(), 6_000):
        for person in home:
            found[person.first, person.last[1], person.homes[1].city].add(person.id)
    sharing = sum(len(people) for people in found.values() if len(people) > 1)
    assert sharing / sum(map(len, found.values())) > 0.2


def test_colleagues_share_a_switchboard() -> None:
    people = [
        person for home in islice(Population(WORLDS["mixed"], 8).homes(), 4_000) for person in home
    ]
    staff = Counter(person.company.switchboard for person in people if person.company)
    assert len(staff) > 50
    assert staff.most_common(1)[0][1] > 10


def test_no_world_for_tuning_is_as_one_that_is_held_back() -> None:
    """Countries, ways to write dates and phones, and rates are others."""
    held = [WORLDS[name] for name in ("held_1", "held_2")]
    open_worlds = [world for name, world in WORLDS.items() if not name.startswith("held_")]
    for world in held:
        assert world.countries
        assert len(world.sources) > 1
        for other in open_worlds:
            assert world.phones != other.phones
            assert world.typo != other.typo
            assert world.missing != other.missing
