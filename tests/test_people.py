"""The made-up customers of the demo are what the demo says they are."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections import Counter
from itertools import islice

import phonenumbers
import pytest

from demo.people import CSV_HEADER, Person, people, to_cells, to_customer, write_csv
from namesake import v1
from service.transfer.columns import Columns

ROWS = 4_000


@pytest.fixture(scope="module")
def rows() -> list[Person]:
    return list(people(ROWS, seed=11))


def test_the_same_seed_gives_the_same_people_and_a_larger_size_goes_on(rows: list[Person]) -> None:
    assert list(people(300, seed=11)) == rows[:300]
    assert list(islice(people(10**12, seed=11), 300)) == rows[:300]
    assert list(people(300, seed=12)) != rows[:300]


def test_ids_are_unique_and_entities_come_in_order(rows: list[Person]) -> None:
    assert len({row.id for row in rows}) == ROWS
    first_seen = [row.entity for row in rows if not row.duplicate]
    assert first_seen == list(range(len(first_seen)))
    seen = set()
    for row in rows:
        assert row.duplicate == (row.entity in seen)
        seen.add(row.entity)


def test_shares_are_as_documented(rows: list[Person]) -> None:
    assert 0.10 < sum(row.duplicate for row in rows) / ROWS < 0.14
    assert 0.04 < sum(row.broken for row in rows) / ROWS < 0.08
    nameless = sum(not row.company and not row.last_name for row in rows)
    assert 0.003 < nameless / ROWS < 0.015
    assert 0.07 < sum(row.company for row in rows) / ROWS < 0.13


def test_duplicates_share_a_contact_point_with_their_entity(rows: list[Person]) -> None:
    originals = {row.entity: row for row in rows if not row.duplicate}
    duplicates = [row for row in rows if row.duplicate and not originals[row.entity].broken]
    assert len(duplicates) > 300
    reachable = [
        row for row in duplicates if originals[row.entity].emails or originals[row.entity].phones
    ]
    assert all(_keys(row) & _keys(originals[row.entity]) for row in reachable)
    renamed = sum(row.last_name != originals[row.entity].last_name for row in duplicates)
    assert renamed > len(duplicates) / 4


def _keys(row: Person) -> set[str]:
    """Return slow, obvious match keys."""
    keys = set()
    for email in row.emails:
        local, _, domain = email.value.strip().casefold().partition("@")
        keys.add(f"{local.partition('+')[0].replace('.', '')}@{domain}")
    for phone in row.phones:
        number = phonenumbers.parse(phone.value, "US")
        keys.add(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    return keys


def test_households_share_a_phone_among_different_people(rows: list[Person]) -> None:
    homes: dict[str, set[int]] = {}
    for row in rows:
        for phone in row.phones:
            if not row.broken:
                number = phonenumbers.parse(phone.value, "US")
                key = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
                homes.setdefault(key, set()).add(row.entity)
    assert sum(len(entities) > 1 for entities in homes.values()) > 50


def test_phones_that_are_not_broken_are_valid_for_a_new_account(rows: list[Person]) -> None:
    for row in rows:
        for phone in () if row.broken else row.phones:
            assert phonenumbers.is_valid_number(phonenumbers.parse(phone.value, "US")), phone


def test_phones_as_dialled_at_home_are_valid_with_the_country() -> None:
    rows = [row for row in people(1_500, seed=11, local=True) if not row.broken]
    phones = [(phone.value, row.country.code) for row in rows for phone in row.phones]
    for value, country in phones:
        assert phonenumbers.is_valid_number(phonenumbers.parse(value, country)), (value, country)
    abroad = [value for value, country in phones if country != "US"]
    assert sum(value[0] not in "+t" for value in abroad) > len(abroad) / 3


def test_there_are_many_countries_scripts_and_domains(rows: list[Person]) -> None:
    countries = Counter(row.country.code for row in rows)
    assert len(countries) >= 14
    assert min(countries.values()) > 20
    letters = "".join(row.first_name + row.last_name for row in rows)
    scripts = Counter(unicodedata.name(c).split()[0] for c in set(letters) if c.isalpha())
    assert {"LATIN", "CYRILLIC", "GREEK", "CJK", "HIRAGANA", "DEVANAGARI", "ARABIC"} <= set(scripts)
    assert any("WITH DIAERESIS" in unicodedata.name(c) for c in set(letters))
    domains = {email.value.rpartition("@")[2] for row in rows for email in row.emails}
    assert len(domains) > 500


def test_broken_values_are_of_many_kinds(rows: list[Person]) -> None:
    values = [p.value for row in rows if row.broken for p in (*row.emails, *row.phones)]
    assert "null" in values
    assert any(value.endswith(",") for value in values)
    assert any(".." in value for value in values)
    assert any("gmial.com" in value for value in values)
    assert any("mailinator.com" in value for value in values)
    assert any("CALL" in value for value in values)


def test_a_row_becomes_a_customer(rows: list[Person]) -> None:
    for row in rows[:500]:
        customer = to_customer(row)
        assert customer.id == row.id
        assert [email.value for email in customer.emails] == [email.value for email in row.emails]
        company = customer.kind == v1.CUSTOMER_KIND_COMPANY
        assert company == bool(customer.contacts) or row.duplicate
        assert len(customer.contacts) <= 3


def test_the_csv_is_recognised_by_the_import(rows: list[Person]) -> None:
    text = io.StringIO()
    write_csv(iter(rows[:200]), text)
    header, *cells = csv.reader(io.StringIO(text.getvalue()))
    known = Columns.of(header)
    assert not known.unrecognised
    assert tuple(header) == CSV_HEADER
    for row, line in zip(rows, cells, strict=False):
        assert tuple(line) == to_cells(row)
        read = known.row(line)
        assert (read.id, read.last_name) == (row.id, row.last_name)
        assert read.country == row.country.code
