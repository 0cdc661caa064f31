"""Which column is which field; rows out and in again."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.model import Identity
from service.errors import InvalidArgument
from service.transfer import columns
from service.transfer.columns import Columns
from service.transfer.files import CsvReader, CsvWriter
from service.transfer.rows import KINDS, Custom, PartialDate, Reach, Row, RowRefused
from tests.rows_of_customers import cells, present


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("E-Mail", "email"),
        ("email 2", "email"),
        ("Email_Address", "email"),
        ("Work phone", "work_phone"),
        ("Phone3", "phone"),
        ("Handynummer?", "mobile_phone"),
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
        ("identity:loyalty:02", "identity:loyalty:02"),
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


def test_a_full_name_beside_both_names_is_left_out() -> None:
    known = Columns.of(("Name", "First Name", "Last Name"))
    assert known.row(("John Smith", "John", "Smith")) == Row(first_name="John", last_name="Smith")
    assert known.unrecognised == ("Name",)


def test_what_people_wrote_freely_stays_as_it_is() -> None:
    known = Columns.of(("last name", "comment"))
    assert known.row((" Lovelace ", " likes tea\n")).comment == " likes tea\n"
    assert known.row((" Lovelace ", " ")) == Row(last_name="Lovelace")


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
        ("custom:age:integer", str(1 << 63)),
        ("custom:age:integer", "9" * 5_000),
        ("custom:size:number", "large"),
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
_point = st.from_regex(r"[a-z0-9+][a-z0-9@.,;\"\n +]{0,12}[a-z0-9,;\"]", fullmatch=True)
_texts = st.lists(_word, max_size=3, unique=True).map(tuple)
_free = st.text(st.sampled_from('ab ,;"\r\n'), max_size=8).filter(lambda text: text.strip())
_tags = st.lists(_free, max_size=3, unique=True).map(tuple)
_dates = st.builds(
    lambda day, known: PartialDate(*(n if y else 0 for n, y in zip(day, known, strict=True))),
    st.dates().map(lambda day: (day.year, day.month, day.day)),
    st.sampled_from([(1, 1, 1), (1, 1, 0), (1, 0, 0), (0, 1, 1), (0, 1, 0)]),
)
_reaches = st.lists(st.builds(Reach, _point, st.sampled_from(("", *KINDS))), max_size=4)
_custom = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True),
    _word
    | st.integers(-(1 << 63), (1 << 63) - 1)
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
    comment=_free,
    # Columns are read from left to right, so points come back grouped by kind.
    emails=_reaches.map(tuple),
    phones=_reaches.map(tuple),
    street=_texts,
    city=_word,
    country=st.sampled_from(("", "GB", "DE")),
    tags=_tags,
    sources=_texts,
    groups=_texts,
    do_not_email=st.booleans(),
    identities=st.lists(st.builds(Identity, st.sampled_from(("erp", "loyalty")), _word)).map(
        lambda pairs: tuple(sorted(pairs, key=lambda pair: pair.type))
    ),
    custom=_custom.map(lambda pairs: tuple(Custom(*pair) for pair in sorted(pairs.items()))),
)


@given(_rows)
def test_an_exported_row_reads_back(row: Row) -> None:
    names = columns.table(present(row))
    stream = io.BytesIO()
    writer = CsvWriter(stream, names)
    writer.write(cells(row, names))
    writer.detach()
    table = CsvReader(io.StringIO(stream.getvalue().decode(), newline=""))
    (record,) = table
    again = Columns.of(table.header).row(record.cells)
    for field in Row.__dataclass_fields__:
        given_value, read = getattr(row, field), getattr(again, field)
        if field in ("emails", "phones", "custom"):
            assert sorted(map(repr, read)) == sorted(map(repr, given_value))
        else:
            assert read == given_value
