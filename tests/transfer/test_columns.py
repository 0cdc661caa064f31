"""Which column is which field; rows out and in again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.model import Identity
from service.errors import InvalidArgument
from service.transfer import columns
from service.transfer.columns import Columns
from service.transfer.rows import KINDS, Custom, PartialDate, Reach, Row, RowRefused


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("E-Mail", "email"),
        ("email 2", "email"),
        ("Email_Address", "email"),
        ("Work phone", "work_phone"),
        ("Phone3", "phone"),
        ("Handynummer?", ""),
        ("Handy", "mobile_phone"),
        ("Straße", "street"),
        ("address line 2", "street"),
        ("Prénom", "first_name"),
        ("Téléphone", "phone"),
        ("Código Postal", "postcode"),
        ("Фамилия", "last_name"),
        ("Мобильный", "mobile_phone"),
        ("День рождения", "birth_date"),
        ("identity:loyalty", "identity:loyalty"),
        ("identity:Loyalty", ""),
        ("custom:age:integer", "custom:age:integer"),
        ("custom:age:month", ""),
        ("last name 2", ""),
        ("shoe size", ""),
    ],
)
def test_headers_are_recognised(header: str, field: str) -> None:
    assert columns.recognise(header) == field


def test_a_row_is_read() -> None:
    header = (
        "Kd-Nr", "Vorname", "Name", "Geschlecht", "Geburtsdatum", "E-Mail", "email2", "Telefon",
        "Handy", "PLZ", "Ort", "Land", "Tags", "identity:loyalty", "custom:age:integer", "Notiz",
    )  # fmt: skip
    known = Columns.of(header, ["Kd-Nr=id"])
    row = known.row(
        (
            "7", " Ada ", "Lovelace", "w", "10.12.1815", "a@x.org; b@x.org", "c@x.org",
            "030 123456", "0151 1234567", "10115", "Berlin", "Germany", "vip, b2b", "4711",
            "36", "",
        )
    )  # fmt: skip
    assert row == Row(
        id="7",
        first_name="Ada",
        last_name="Lovelace",
        gender="female",
        birth_date=PartialDate(1815, 12, 10),
        emails=(Reach("a@x.org"), Reach("b@x.org"), Reach("c@x.org")),
        phones=(Reach("030 123456"), Reach("0151 1234567", "mobile")),
        postcode="10115",
        city="Berlin",
        country="DE",
        tags=("vip", "b2b"),
        identities=(Identity("loyalty", "4711"),),
        custom=(Custom("age", 36),),
    )


def test_a_company_without_a_person_is_a_company() -> None:
    known = Columns.of(("company", "last name"))
    assert known.row(("Lovelace Ltd", "")).kind == "company"
    assert known.row(("Lovelace Ltd", "Lovelace")).kind == ""


def test_an_override_goes_before_what_is_recognised() -> None:
    known = Columns.of(("email", "Other"), ["email=-", "other=work_email"])
    assert known.row(("a@x.org", "b@x.org")) == Row(emails=(Reach("b@x.org", "work"),))
    assert known.unrecognised == ("email",)


@pytest.mark.parametrize(
    ("header", "options"),
    [
        (("id", "client id"), []),  # both mean the id
        (("shoe size",), []),  # nothing is recognised
        (("email",), ["mail=email"]),  # no such column
        (("email",), ["email=shoe"]),  # no such field
        (("email",), ["email"]),  # not COLUMN=FIELD
    ],
)
def test_a_header_that_cannot_be_meant_is_refused(header: list[str], options: list[str]) -> None:
    with pytest.raises(InvalidArgument):
        Columns.of(header, options)


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("birth date", "03/04/1990"),
        ("gender", "unclear"),
        ("country", "Atlantis"),
        ("kind", "dog"),
        ("do not call", "perhaps"),
        ("custom:age:integer", "old"),
    ],
)
def test_a_cell_that_cannot_be_read_fails_the_row_and_names_the_column(
    column: str, cell: str
) -> None:
    with pytest.raises(RowRefused) as refused:
        Columns.of(("last name", column)).row(("Lovelace", cell))
    assert refused.value.field == column
    assert cell not in refused.value.message


def test_a_row_with_too_many_cells_is_refused_and_with_too_few_is_not() -> None:
    known = Columns.of(("last name", "email"))
    with pytest.raises(RowRefused):
        known.row(("Lovelace", "a@x.org", "Ada"))
    assert known.row(("Lovelace", "a@x.org", "")).last_name == "Lovelace"
    assert known.row(("Lovelace",)) == Row(last_name="Lovelace")


_word = st.from_regex(r"[a-zA-Zа-яß\u4e00-\u4e10][a-z '/.:+-]{0,8}[a-z]", fullmatch=True)
_point = st.from_regex(r"[a-z0-9+][a-z0-9@., +]{0,12}[a-z0-9,]", fullmatch=True)
_texts = st.lists(_word, max_size=3, unique=True).map(tuple)
_dates = st.dates().map(lambda day: PartialDate(day.year, day.month, day.day)) | st.integers(
    1900, 2100
).map(PartialDate)
_reaches = st.lists(st.builds(Reach, _point, st.sampled_from(("", *KINDS))), max_size=4)
_custom = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True),
    _word
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | _dates,
    max_size=3,
)
_rows = st.builds(
    Row,
    id=_word,
    kind=st.sampled_from(("person", "company")),
    state=st.sampled_from(("active", "archived")),
    title=_word,
    first_name=_word,
    last_name=_word,
    gender=st.sampled_from(("", "female", "male", "other")),
    birth_date=st.none() | _dates,
    company_name=_word,
    comment=_word,
    # Columns are read from left to right, so points come back grouped by kind.
    emails=_reaches.map(tuple),
    phones=_reaches.map(tuple),
    street=_texts,
    city=_word,
    country=st.sampled_from(("", "GB", "DE")),
    tags=_texts,
    sources=_texts,
    groups=_texts,
    do_not_email=st.booleans(),
    identities=st.dictionaries(st.sampled_from(("loyalty", "erp")), _word).map(
        lambda pairs: tuple(Identity(*pair) for pair in sorted(pairs.items()))
    ),
    custom=_custom.map(lambda pairs: tuple(Custom(*pair) for pair in sorted(pairs.items()))),
)


@given(_rows)
def test_an_exported_row_reads_back(row: Row) -> None:
    names = columns.table(columns.present(row))
    again = Columns.of(names).row(columns.cells(row, names))
    for field in Row.__dataclass_fields__:
        given_value, read = getattr(row, field), getattr(again, field)
        if field in ("emails", "phones", "custom"):
            assert sorted(map(repr, read)) == sorted(map(repr, given_value))
        else:
            assert read == given_value
