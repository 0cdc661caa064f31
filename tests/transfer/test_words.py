"""Readings of single cells."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.transfer import words
from service.transfer.countries import country_code
from service.transfer.rows import PartialDate


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1990-05-12", PartialDate(1990, 5, 12)),
        ("1990-5-2", PartialDate(1990, 5, 2)),
        ("19900512", PartialDate(1990, 5, 12)),
        ("1990/05/12", PartialDate(1990, 5, 12)),
        ("1990-05-12T00:00:00Z", PartialDate(1990, 5, 12)),
        ("1990-05-12 00:00", PartialDate(1990, 5, 12)),
        ("12.05.1990", PartialDate(1990, 5, 12)),
        ("31/12/1990", PartialDate(1990, 12, 31)),
        ("12/31/1990", PartialDate(1990, 12, 31)),
        ("05/05/1990", PartialDate(1990, 5, 5)),
        ("12 May 1990", PartialDate(1990, 5, 12)),
        ("May 12, 1990", PartialDate(1990, 5, 12)),
        ("1990", PartialDate(1990)),
        ("1990-05", PartialDate(1990, 5)),
        ("0999", PartialDate(999)),
        ("--05", PartialDate(0, 5)),
        ("--02-29", PartialDate(0, 2, 29)),
        ("2000-02-29", PartialDate(2000, 2, 29)),
    ],
)
def test_a_date_is_read_as_people_write_it(text: str, expected: PartialDate) -> None:
    assert words.date(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "03/04/1990", "3-4-1990", "1990-13-01", "31.02.1990", "1999-02-29", "90-05-12", "today",
        "0", "0000", "1990-13", "1990-00", "--13", "-", "-1990", "202411", "2024111", "1990.0512",
    ],
)  # fmt: skip
def test_a_date_that_is_none_or_may_be_two_is_refused(text: str) -> None:
    assert words.date(text) is None


def test_an_order_settles_an_ambiguous_date() -> None:
    assert words.date("03/04/1990", "dmy") == PartialDate(1990, 4, 3)
    assert words.date("03/04/1990", "mdy") == PartialDate(1990, 3, 4)
    assert words.date("13/04/1990", "mdy") is None


@given(st.dates(), st.sampled_from(["ymd", "ym", "y", "md", "m"]))
def test_a_written_date_reads_back(day: datetime.date, known: str) -> None:
    parts = {"y": day.year, "m": day.month, "d": day.day}
    date = PartialDate(*(part if name in known else 0 for name, part in parts.items()))
    assert words.date(str(date)) == date


@given(st.lists(st.text(st.sampled_from('a1@ ,;"\n\r') | st.characters(codec="utf-8"), min_size=1)))
def test_a_written_list_reads_back(values: list[str]) -> None:
    for split in (words.parts, words.addresses, words.numbers):
        assert split(words.listed(values, split)) == tuple(values)


def test_lists_are_split_where_lines_end_and_quotation_marks_protect() -> None:
    assert words.parts("vip, b2b") == ("vip", "b2b")
    assert words.parts("vip; a, b") == ("vip", "a, b")
    assert words.parts("vip\rb2b\r\nnew") == ("vip", "b2b", "new")
    assert words.parts('5" pipe; 3" pipe') == ('5" pipe', '3" pipe')
    assert words.parts('"a; b";c; "say ""hi"""; ""') == ("a; b", "c", 'say "hi"')
    assert words.parts('"never closed; b') == ('"never closed', "b")


def test_people_write_lists_without_quotation_marks() -> None:
    """Only what would be read as something else is quoted."""
    numbers = ("+44 20 7946 0018, ext. 12", "020 7946 0019")
    assert words.listed(numbers, words.numbers) == "; ".join(numbers)
    assert words.listed(("a@x.org", "a;b@x.org"), words.addresses) == 'a@x.org; "a;b@x.org"'


def test_lists_of_contact_points_are_split_only_where_a_point_ends() -> None:
    assert words.addresses("a@x.org; b@x.org,c@x.org\nd@x.org") == (
        "a@x.org", "b@x.org", "c@x.org", "d@x.org",
    )  # fmt: skip
    assert words.addresses('"a,b"@x.org') == ('"a,b"@x.org',)
    assert words.addresses('a"@x.org') == ('a"@x.org',)
    assert words.numbers("+44 20 7946 0018, ext. 12; 020 7946 0019") == (
        "+44 20 7946 0018, ext. 12", "020 7946 0019",
    )  # fmt: skip
    assert words.addresses('"a,b"@x.org, "a;b@x.org"') == ('"a,b"@x.org', "a;b@x.org")
    assert words.addresses('"Lovelace, Ada" <a@x.org>') == ('"Lovelace, Ada" <a@x.org>',)
    assert words.numbers("020 7946 0018, 020 7946 0019") == ("020 7946 0018", "020 7946 0019")


@pytest.mark.parametrize(
    ("name", "first", "middle", "last"),
    [
        ("Ada Lovelace", "Ada", "", "Lovelace"),
        ("Lovelace, Augusta Ada", "Augusta", "Ada", "Lovelace"),
        ("Ludwig Mies van der Rohe", "Ludwig", "Mies", "van der Rohe"),
        ("田中 太郎", "太郎", "", "田中"),
        ("Иванов Иван Иванович", "Иван", "Иванович", "Иванов"),
        ("Анна Петровна Иванова", "Анна", "Петровна", "Иванова"),
        ("Cher", "", "", "Cher"),
    ],
)
def test_a_full_name_is_split(name: str, first: str, middle: str, last: str) -> None:
    assert words.full_name(name) == (first, middle, last)


def test_genders_and_flags_are_read_in_some_languages() -> None:
    assert [words.gender(w) for w in ("F", "weiblich", "Мужской", "homme", "divers", "?")] == [
        "female", "female", "male", "male", "other", None,
    ]  # fmt: skip
    assert [words.flag(w) for w in ("Yes", "ja", "0", "Нет", "perhaps")] == [
        True, True, False, False, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("GB", "GB"),
        (" de ", "DE"),
        ("United Kingdom", "GB"),
        ("the netherlands", "NL"),
        ("Cote d'Ivoire", "CI"),
        ("USA", "US"),
        ("Atlantis", ""),
        ("XX", ""),
        ("", ""),
    ],
)
def test_countries_are_known_by_code_and_english_name(text: str, code: str) -> None:
    assert country_code(text) == code
