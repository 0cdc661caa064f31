"""Columns are read as rows are: what a file's columns become is what its rows would."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.people import people, write_csv
from namesake import v1
from service.cli.convert import to_customer
from service.errors import InvalidArgument
from service.transfer.arrow import encode_batch
from service.transfer.columns import Columns, refuse_clashes, settled
from service.transfer.mapping import Choices, ColumnMapping
from service.transfer.reading import Read, Reader
from service.transfer.rows import RowRefused
from service.transfer.tables import Block, open_table
from service.transfer.words import DateOrder, Dates

LIMIT = 1 << 24

many = settings(max_examples=300, deadline=None)


def block(rows: Sequence[Sequence[str]], first: int = 1) -> Block:
    """Return rows as a table gives them."""
    columns = [pa.array(list(cells), pa.string()) for cells in zip(*rows, strict=True)]
    return Block(first, len(rows), 0, dict(enumerate(columns)), {})


def read(mapping: ColumnMapping, rows: Sequence[Sequence[str]], first: int = 1) -> Read:
    """Read rows as columns."""
    return Reader(mapping).read(block(rows, first))


def customers(found: Read) -> list[v1.Customer]:
    """Return what was read as messages."""
    encoded = encode_batch(found.batch, limit=LIMIT)
    assert encoded.refused == ()
    return list(v1.ImportBatch.FromString(encoded.batch).customers)


def rows_of(mapping: ColumnMapping, rows: Iterable[Sequence[str]]) -> list[bytes | RowRefused]:
    """Read rows one by one, as an oracle: encoded customers, or why there is none."""
    known = Columns(mapping.header, mapping.fields, Dates(mapping.orders[0], mapping.date_formats))
    found: list[bytes | RowRefused] = []
    for cells in rows:
        try:
            found.append(to_customer(known.row(cells)).SerializeToString(deterministic=True))
        except RowRefused as refused:
            found.append(refused)
    return found


def framed(rows: Iterable[bytes]) -> bytes:
    """Return the rows of a batch."""
    batch = v1.ImportBatch(customers=[v1.Customer.FromString(row) for row in rows])
    return batch.SerializeToString(deterministic=True)


# Random tables

_space = st.sampled_from(["", "", "", " ", "\t", "\u00a0", "\n", "\u3000"])
_word = st.text(st.sampled_from("abзв王 .-'0\x1c\u2028"), max_size=6)
_list = st.text(st.sampled_from('ab1;,"\n\r @.'), max_size=12)
_number = st.text(st.sampled_from("+0123456789 ;,()/x"), max_size=18)
_DATES = [
    "1990-03-04", "4.3.1990", "3/4/1990", "13/4/1990", "0000-01-01", "1990", "--03-04", "-",
    "4 Mar 1990", "19900304", "04.03.90", "never", "1990-03-04T00:00:00Z", "9999-12-31", "0000",
    "2001-02-29",
]  # fmt: skip
_CELLS: dict[str, st.SearchStrategy[str]] = {
    "id": _word, "title": _word, "first_name": _word, "middle_name": _word, "last_name": _word,
    "full_name": st.sampled_from(["Ada King", "King, Ada B", "王 小明", "Ada van der Berg", "Ada"]),
    "kind": st.sampled_from(["person", "company", "Company", "dog"]),
    "state": st.sampled_from(["active", "archived", "asleep"]),
    "gender": st.sampled_from(["f", "Herr", "other", "unclear"]),
    "birth_date": st.sampled_from(_DATES),
    "company_name": _word, "comment": _list, "stage": _word, "owner": _word,
    "email": _list, "work_email": _list, "phone": _number, "mobile_phone": _number,
    "street": _list | _word, "city": _word, "postcode": _word, "area": _word,
    "country": st.sampled_from(["DE", "germany", "Atlantis", "gb"]),
    "tags": _list, "sources": _list, "campaigns": _list, "groups": _list,
    "do_not_email": st.sampled_from(["yes", "no", "0", "perhaps"]),
    "do_not_call": st.sampled_from(["да", "нет"]),
    "consent:sms": st.sampled_from(["yes", "no", "granted", "?"]),
    "consent:post": st.sampled_from(["opt-out", "ja"]),
    "identity:loyalty": _word, "identity:loyalty:02": _word, "identity:erp": _list,
    "custom:b": _list, "custom:a:text": _word,
    "custom:n:integer": st.sampled_from(["1", "-7", " 12 ", "1_0", "x", str(1 << 63), "0"]),
    "custom:m:number": st.sampled_from(["1.5", "-0", "1e400", "nan", "x"]),
    "custom:f:flag": st.sampled_from(["yes", "no", "x"]),
    "custom:d:date": st.sampled_from(_DATES),
    "contact:last_name": _word, "contact:2:full_name": st.sampled_from(["Ada King", "King"]),
    "contact:position": _word, "contact:email": _list, "contact:2:work_phone": _number,
    "contact:2:do_not_call": st.sampled_from(["yes", "no", "x"]),
}  # fmt: skip


@st.composite
def _tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    fields = draw(st.lists(st.sampled_from(sorted(_CELLS)), min_size=1, max_size=8))
    count = draw(st.integers(1, 5))
    texts = [st.just("") | _CELLS[field] for field in fields]
    cells = st.tuples(*(st.tuples(_space, text, _space).map("".join) for text in texts))
    rows = draw(st.lists(cells.map(list), min_size=count, max_size=count))
    return fields, rows


@many
@given(_tables(), st.sampled_from(("", "dmy", "mdy")), st.sampled_from([(), ("%d.%m.%y",)]))
def test_columns_give_what_rows_give(
    table: tuple[list[str], list[list[str]]], order: DateOrder, formats: tuple[str, ...]
) -> None:
    """The same bytes in the same order; the same cells refused, for the same reasons."""
    fields, rows = table
    header = [f"column {place}" for place in range(len(fields))]
    try:
        refuse_clashes(header, fields)
    except InvalidArgument:
        return
    mapping = ColumnMapping(
        tuple(header), settled(tuple(fields)), (order,) * len(fields), date_formats=formats
    )
    if not any(mapping.fields):
        return
    expected = rows_of(mapping, rows)
    found = read(mapping, rows, first=11)
    good = [(11 + place, row) for place, row in enumerate(expected) if isinstance(row, bytes)]
    bad = {
        11 + place: (row.field, row.message)
        for place, row in enumerate(expected)
        if isinstance(row, RowRefused)
    }
    assert found.numbers.tolist() == [number for number, _ in good]
    firsts = {one.number: (one.column, one.message) for one in reversed(found.refusals)}
    assert firsts == bad
    assert encode_batch(found.batch, limit=LIMIT).batch == framed(row for _, row in good)


# By example


def test_every_cell_that_cannot_be_read_is_named() -> None:
    """With the row's number in the file and the column's own name; the others are read."""
    mapping = ColumnMapping.of(("Name", "Geschlecht", "Land", "id"))
    rows = [
        ("Ada King", "?", "Atlantis", "1"),
        ("Bob King", "m", "DE", "2"),
        ("Eve King", "f", "Nowhere", "3"),
    ]
    found = read(mapping, rows, first=101)
    assert [(one.number, one.column) for one in found.refusals] == [
        (101, "Geschlecht"), (101, "Land"), (103, "Land"),
    ]  # fmt: skip
    assert all(cell not in one.message for one in found.refusals for cell in ("?", "Atlantis"))
    assert found.numbers.tolist() == [102]
    assert [one.id for one in customers(found)] == ["2"]


def test_a_block_of_refused_rows_alone_is_an_empty_batch() -> None:
    """There is nothing to send, and everything to tell."""
    found = read(ColumnMapping.of(("last name", "country")), [("King", "Atlantis")] * 3)
    assert customers(found) == []
    assert len(found.refusals) == 3


def test_points_stay_in_the_order_of_the_columns_and_of_their_cells() -> None:
    """Of several columns, and of several in one cell."""
    header = ("email", "work email", "email 2", "name")
    rows = [
        ("a@x.org; b@x.org", "c@x.org", "d@x.org", "K"),
        ("", "e@x.org", "f@x.org,g@x.org", "L"),
    ]
    found = customers(read(ColumnMapping.of(header), rows))
    assert [[email.value[0] for email in one.emails] for one in found] == [
        list("abcd"),
        list("efg"),
    ]


def test_constants_fill_what_rows_do_not_say_and_add_to_lists() -> None:
    """A row's own country goes before the constant; its tags stay."""
    said = Choices.of_options(
        constants=[
            "country=Germany", "tags=vip; new", "custom:wave:integer=3", "do_not_call=yes",
            "kind=person", "contact:last_name=King",
        ]
    )  # fmt: skip
    mapping = ColumnMapping.of(("last name", "Land", "tags", "do not call"), said=said)
    rows = [("Ada", "FR", "old", "no"), ("Bob", "", "", "")]
    ada, bob = customers(read(mapping, rows))
    assert (ada.addresses[0].country, bob.addresses[0].country) == ("FR", "DE")
    assert (list(ada.tags), list(bob.tags)) == (["old", "vip", "new"], ["vip", "new"])
    assert (ada.preferences.do_not_call, bob.preferences.do_not_call) == (False, True)
    assert ada.custom_fields["wave"].integer == bob.custom_fields["wave"].integer == 3
    assert ada.kind == bob.kind == v1.CUSTOMER_KIND_PERSON
    assert ada.contacts[0].last_name == "King"


def test_a_constant_that_cannot_be_read_is_the_callers_fault() -> None:
    """It is said before a row is read."""
    said = Choices.of_options(constants=["country=Atlantis"])
    with pytest.raises(InvalidArgument) as refused:
        Reader(ColumnMapping.of(("last name",), said=said))
    assert refused.value.field == "--set"


def test_dates_are_read_in_the_order_that_the_column_shows() -> None:
    """The 13th of one row says what 03/04 is in the others."""
    rows = [("King", "03/04/1990"), ("Lovelace", "13/04/1990")]
    mapping = ColumnMapping.of(("last name", "birth date"), rows)
    found = [one.birth_date for one in customers(read(mapping, rows))]
    assert [(date.month, date.day) for date in found] == [(4, 3), (4, 13)]


def test_dates_of_a_format_that_was_said_are_read_by_it() -> None:
    """With two digits of the year, of which nobody is born in a year that is to come."""
    said = Choices.of_options(date_formats=["%d.%m.%y"])
    rows = [("King", "04.03.90"), ("Lovelace", "04.03.68"), ("Byron", "1990-01-02")]
    mapping = ColumnMapping.of(("last name", "birth date"), said=said)
    found = [one.birth_date for one in customers(read(mapping, rows))]
    assert [(d.year, d.month, d.day) for d in found] == [(1990, 3, 4), (1968, 3, 4), (1990, 1, 2)]


def test_a_file_is_read_from_its_bytes_to_its_customers(tmp_path: Path) -> None:
    """In blocks of which the rows go on to be counted."""
    path = tmp_path / "people.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        write_csv(people(400, seed=9), stream)
    with path.open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    mapping = ColumnMapping.of(header, rows[:100])
    assert mapping.unrecognised == ()
    assert not any(one.warning for one in mapping.suggestions)
    expected = rows_of(mapping, rows)
    reader = Reader(mapping)
    with open_table(str(path)) as table:
        found = [reader.read(block) for block in table.blocks(reader.places)]
    encoded = b"".join(encode_batch(one.batch, limit=LIMIT).batch for one in found)
    assert encoded == framed(row for row in expected if isinstance(row, bytes))
    assert sum(len(one.numbers) for one in found) == len(rows)
