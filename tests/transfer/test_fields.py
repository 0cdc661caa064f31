"""Which columns matching reads, and dates, genders and countries as numbers."""

from __future__ import annotations

import datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidArgument
from service.transfer.fields import (
    MATCHING_FIELDS,
    NATIONAL_ID,
    BirthDates,
    countries,
    genders,
    matching_fields,
    recognise,
)


def _packed(year: int, month: int = 0, day: int = 0) -> int:
    return year << 9 | month << 5 | day


def _array(*texts: str) -> object:
    return pa.array(texts, pa.string())


FEBRL = (
    "rec_id", "given_name", "surname", "street_number", "address_1", "address_2", "suburb",
    "postcode", "state", "date_of_birth", "soc_sec_id",
)  # fmt: skip


def test_the_headers_of_a_known_data_set() -> None:
    assert matching_fields(FEBRL) == {
        "id": [0],
        "first_name": [1],
        "last_name": [2],
        "street": [3, 4, 5],
        "city": [6],
        "postcode": [7],
        "birth_date": [9],
        NATIONAL_ID: [10],
    }


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("E-Mail", "email"),
        ("email2", "email"),
        ("Work e-mail", ""),
        ("work_email", "email"),
        ("cell", "phone"),
        ("Handy", "phone"),
        ("dob", "birth_date"),
        ("zip", "postcode"),
        ("zip_code", "postcode"),
        ("Firma", "company"),
        ("company_name", "company"),
        ("sex", "gender"),
        ("ФИО", "full_name"),
        ("Prénom", "first_name"),
        ("Apellidos", "last_name"),
        ("Sobrenome", "last_name"),
        ("Data de Nascimento", "birth_date"),
        ("Endereço", "street"),
        ("Telemóvel", "phone"),
        ("CEP", "postcode"),
        ("soc_sec_id", NATIONAL_ID),
        ("SSN", NATIONAL_ID),
        ("Passport No.", NATIONAL_ID),
        ("ИНН", NATIONAL_ID),
        ("state", ""),
        ("do_not_email", ""),
        ("tags", ""),
        ("identity:loyalty", ""),
    ],
)
def test_headers_are_recognised(header: str, field: str) -> None:
    assert recognise(header) == field


@pytest.mark.parametrize("field", MATCHING_FIELDS)
def test_a_field_is_called_by_its_name(field: str) -> None:
    assert recognise(field) == field


def test_several_columns_are_one_field() -> None:
    header = ("Email", "email 2", "mobile", "Fax", "shoe size")
    assert matching_fields(header) == {"email": [0, 1], "phone": [2, 3]}


def test_a_bare_name_beside_a_first_name_is_the_last() -> None:
    assert matching_fields(("Vorname", "Name")) == {"first_name": [0], "last_name": [1]}
    assert matching_fields(("Name",)) == {"full_name": [0]}


def test_columns_are_mapped_and_left_out() -> None:
    header = ("first name", "Kd", "email", "soc_sec_id", "passport", "hobby")
    options = ["kd=id", "email=-", "soc_sec_id=exact:ssn", "passport=exact:ssn", "hobby=text:hobby"]
    assert matching_fields(header, options) == {
        "first_name": [0],
        "id": [1],
        "exact:ssn": [3, 4],
        "text:hobby": [5],
    }


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        (("email",), ["mail=email"], "no column 'mail'"),
        (("email",), ["email=shoe"], "no field 'shoe'"),
        (("email",), ["email=exact:"], "no field 'exact:'"),
        (("email",), ["email=tags"], "no field 'tags'"),
        (("email",), ["email"], "not COLUMN=FIELD"),
        (("email",), ["email=phone", "Email=email"], "'Email' is named twice"),
        (("city", "town"), [], "'city' and 'town' both mean city"),
        (("dob", "day"), ["day=birth_date"], "'dob' and 'day' both mean birth_date"),
        (("shoe size",), [], "No column is recognised"),
        (("id", "shoe size"), [], "Nothing to match by"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    header: tuple[str, ...], options: list[str], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        matching_fields(header, options)


@given(st.lists(st.dates(), max_size=5))
def test_dates_are_packed(dates: list[datetime.date]) -> None:
    read = BirthDates().read(_array(*(date.isoformat() for date in dates)))
    assert read.tolist() == [_packed(d.year, d.month, d.day) for d in dates]


def test_dates_in_any_form_are_read() -> None:
    read = BirthDates().read(
        _array(
            "19450623", "1990-05-12 00:00:00.000000", "12 May 1990", "1990", "1990-05", "--05-12",
            "", "soon", "31.02.1990",
        )
    )  # fmt: skip
    assert read.tolist() == [
        _packed(1945, 6, 23), _packed(1990, 5, 12), _packed(1990, 5, 12), _packed(1990),
        _packed(1990, 5), _packed(0, 5, 12), 0, 0, 0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("telling", "month", "day"), [("25/12/1990", 4, 3), ("12/25/1990", 3, 4), ("", 0, 0)]
)
def test_the_order_of_day_and_month_is_seen_from_the_column(
    telling: str, month: int, day: int
) -> None:
    """Without a date that tells, the year alone is certain."""
    dates = BirthDates()
    assert dates.read(_array("03/04/1990", telling))[0] == _packed(1990, month, day)
    assert dates.read(_array("03/04/1990"))[0] == _packed(1990, month, day)


def test_a_date_that_can_be_read_in_one_way_is() -> None:
    """Whatever the column's order: of a few persons somebody swapped day and month."""
    telling = [f"{day}/12/1990" for day in range(13, 32)]
    dates = BirthDates()
    read = dates.read(_array("12/25/1990", "05.06.1990", *telling))
    assert dates.order == "dmy"
    assert read[:2].tolist() == [_packed(1990, 12, 25), _packed(1990, 6, 5)]


def test_a_column_of_both_orders_is_of_neither() -> None:
    dates = BirthDates()
    read = dates.read(_array("25/12/1990", "12/25/1990", "03/04/1990"))
    assert dates.order == ""
    assert read[2] == _packed(1990)


def test_an_order_that_is_given_is_kept() -> None:
    dates = BirthDates("mdy")
    read = dates.read(_array("25/12/1990", "03/04/1990", "03.04.1990"))
    assert read.tolist() == [_packed(1990, 12, 25), _packed(1990, 3, 4), _packed(1990, 3, 4)]


def test_genders_are_numbers() -> None:
    assert genders(_array("F", "мужской", "divers", "", "Herr", "?")).tolist() == [2, 1, 0, 0, 1, 0]


def test_countries_are_two_letters() -> None:
    read = countries(_array("Germany", "uk", "", "Atlantis", "AT"))
    assert read.tolist() == [b"DE", b"GB", b"", b"", b"AT"]


def test_an_empty_block_is_read() -> None:
    assert BirthDates().read(_array()).tolist() == []
    assert genders(_array()).tolist() == []
    assert countries(_array()).tolist() == []
