"""Columns are encoded as protobuf would encode the same customers, and no buffer does harm."""

from __future__ import annotations

import datetime
import struct
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from namesake import v1
from service.core._columns import (
    CHANNELS,
    CONTACT_FIELDS,
    FIELDS,
    KINDS,
    Cells,
    Target,
    encode,
)
from service.transfer.arrow import encode_batch, target_of

LIMIT = 1 << 24
EPOCH = datetime.date(1970, 1, 1)

many = settings(max_examples=300, deadline=None)

Cell = str | list[str | None] | bool | int | float | datetime.date | None


# The numbers of fields

_NAMES = {
    "email": "emails", "phone": "phones", "street": "lines", "area": "administrative_area",
    "identity": "identities", "consent": "channels", "custom": "custom_fields",
    "custom_date": "custom_fields",
}  # fmt: skip


def _hold(descriptor: Descriptor, fields: Mapping[str, tuple[int, int, int, Any]]) -> None:
    for name, (number, inside, _, words) in fields.items():
        field = descriptor.fields_by_number[number]
        if inside:
            assert field.message_type is not None
            field = field.message_type.fields_by_number[inside]
        assert field.name == _NAMES.get(name, name)
        if words:
            assert field.enum_type is not None
            found = {value.number: value.name.lower() for value in field.enum_type.values}
            for value, word in enumerate(words, 1):
                assert found.pop(value).endswith(f"_{word}")
            assert set(found) == {0}


def test_fields_are_those_of_the_descriptors() -> None:
    """By number, name and the words of their enums."""
    _hold(v1.Customer.DESCRIPTOR, FIELDS)
    _hold(v1.Contact.DESCRIPTOR, CONTACT_FIELDS)
    for words, enum, lead in (
        (KINDS, v1.ContactKind, "CONTACT_KIND_"),
        (CHANNELS, v1.Channel, "CHANNEL_"),
    ):
        names = [name.removeprefix(lead).lower() for name, _ in enum.items()]
        assert ["unspecified", *words[1:]] == names


def test_inner_messages_have_the_numbers_that_are_written() -> None:
    """Of what is not in the table: points, identities, dates, entries of a map."""
    numbers: list[tuple[Any, dict[str, int]]] = [
        (v1.EmailAddress, {"value": 1, "kind": 3}),
        (v1.PhoneNumber, {"value": 1, "kind": 3}),
        (v1.Identity, {"type": 1, "value": 2}),
        (v1.ChannelPreference, {"channel": 1, "consent": 2}),
        (v1.Date, {"year": 1, "month": 2, "day": 3}),
        (v1.CustomValue, {"text": 1, "integer": 2, "number": 3, "flag": 4, "date": 5}),
        (v1.ImportBatch, {"number": 1, "customers": 2}),
    ]
    for message, wanted in numbers:
        for name, number in wanted.items():
            assert message.DESCRIPTOR.fields_by_name[name].number == number
    assert (v1.CONSENT_GRANTED, v1.CONSENT_DENIED) == (1, 2)


# The oracle: one cell after another, into messages


def _date(text: str | datetime.date) -> v1.Date:
    if isinstance(text, datetime.date):
        return v1.Date(year=text.year, month=text.month, day=text.day)
    year, *rest = (
        text.removeprefix("--").split("-") if text[0] != "-" else ("0", *text[2:].split("-"))
    )
    return v1.Date(**dict(zip(("year", "month", "day"), map(int, (year, *rest)), strict=False)))


def _custom(value: Any, *, is_date: bool) -> v1.CustomValue:
    if is_date or isinstance(value, datetime.date):
        return v1.CustomValue(date=_date(value))
    kind = {str: "text", bool: "flag", int: "integer", float: "number"}[type(value)]
    return v1.CustomValue(**{kind: value})


def _add(customer: v1.Customer, column: str, value: Any) -> None:
    target = target_of(column)
    assert target is not None
    owner: Any = customer
    if target.contact:
        while len(customer.contacts) < target.contact:
            customer.contacts.add()
        owner = customer.contacts[target.contact - 1]
    name = target.field
    if name in ("email", "phone"):
        kind = v1.ContactKind.Value(f"CONTACT_KIND_{target.argument.upper() or 'UNSPECIFIED'}")
        getattr(owner, f"{name}s").add(value=value, kind=kind)
    elif name in ("street", "city", "postcode", "area", "country"):
        address = customer.addresses[0] if customer.addresses else customer.addresses.add()
        if name == "street":
            address.lines.append(value)
        else:
            setattr(address, _NAMES.get(name, name), value)
    elif name == "identity":
        customer.identities.add(type=target.argument, value=value)
    elif name == "consent":
        channel = v1.Channel.Value(f"CHANNEL_{target.argument.upper()}")
        consent = v1.CONSENT_GRANTED if value else v1.CONSENT_DENIED
        customer.preferences.channels.add(channel=channel, consent=consent)
    elif name in ("do_not_email", "do_not_call"):
        if value:
            setattr(owner.preferences, name, True)
    elif name in ("custom", "custom_date"):
        is_date = name == "custom_date"
        customer.custom_fields[target.argument].CopyFrom(_custom(value, is_date=is_date))
    elif name in ("tags", "sources", "campaigns", "groups"):
        getattr(customer, name).append(value)
    elif name == "birth_date":
        customer.birth_date.CopyFrom(_date(value))
    elif name in _WORDS:
        setattr(customer, name, (FIELDS[name][3] or ()).index(value) + 1)
    else:
        setattr(owner, name, value)


def customer_of(row: list[tuple[str, Cell]]) -> v1.Customer:
    """Return the customer of a row: columns in their order, each with its cell."""
    customer = v1.Customer()
    for column, cell in row:
        for value in cell if isinstance(cell, list) else [cell]:
            if value is not None and value != "":
                _add(customer, column, value)
    for place in reversed(range(len(customer.contacts))):
        if not customer.contacts[place].ByteSize():
            del customer.contacts[place]
    return customer


# Random columns

_text = (
    st.text(st.sampled_from("aзв王😀 \n"), max_size=5) | st.just("x" * 130) | st.just("y" * 17_000)
)
_written = st.sampled_from(["1990-03-04", "1990-02", "0001", "--02-29", "--12", "9999-12-31"])
_day = st.dates()
_TYPES: dict[str, Any] = {
    "text": (_text, [pa.string(), pa.large_string()]),
    "list": (
        st.lists(st.none() | _text, max_size=3),
        [pa.list_(pa.string()), pa.large_list(pa.large_string()), pa.list_(pa.large_string())],
    ),
    "flag": (st.booleans(), [pa.bool_()]),
    "integer": (st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-2, 200), [pa.int64()]),
    "number": (st.floats(allow_nan=False), [pa.float64()]),
    "day": (_day, [pa.date32()]),
    "written": (_written, [pa.string(), pa.large_string()]),
}
_COLUMNS = {
    **dict.fromkeys(("id", "title", "last_name", "comment", "city", "country"), ("text",)),
    **dict.fromkeys(("custom:b", "custom:a"), ("text", "flag", "integer", "number", "day")),
    **dict.fromkeys(("custom:d:date",), ("written",)),
    **dict.fromkeys(("email", "work_email", "mobile_phone", "street", "tags"), ("text", "list")),
    **dict.fromkeys(("groups", "identity:erp", "identity:erp:02"), ("text", "list")),
    **dict.fromkeys(("do_not_call", "consent:sms", "consent:email"), ("flag",)),
    **dict.fromkeys(("contact:last_name", "contact:3:position"), ("text",)),
    **dict.fromkeys(("contact:3:home_phone", "contact:email"), ("text", "list")),
    **dict.fromkeys(("contact:3:do_not_email", "contact:do_not_call"), ("flag",)),
    "birth_date": ("day", "written"),
}
_WORDS = {"kind": 2, "state": 2, "gender": 3}


@st.composite
def _tables(draw: st.DrawFn) -> tuple[Any, list[list[tuple[str, Cell]]]]:
    names = draw(st.lists(st.sampled_from([*sorted(_COLUMNS), *_WORDS]), unique=True, min_size=1))
    count, before = draw(st.integers(0, 4)), draw(st.integers(0, 9))
    arrays, columns = [], []
    for name in names:
        if name in _WORDS:
            cell, types = st.sampled_from(FIELDS[name][3] or ()), [pa.string()]
        else:
            cell, types = _TYPES[draw(st.sampled_from(_COLUMNS[name]))]
        size = before + count
        cells = draw(st.lists(st.none() | cell, min_size=size, max_size=size))
        array = pa.array(cells, draw(st.sampled_from(types)))
        arrays.append(array[before:])
        columns.append(cells[before:])
    batch = pa.RecordBatch.from_arrays(arrays, names)
    rows = [list(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]
    return batch, rows


@many
@given(_tables(), st.integers(0, 1 << 40))
def test_columns_are_encoded_as_messages_are(
    table: tuple[Any, list[list[tuple[str, Cell]]]], number: int
) -> None:
    """Byte by byte, whatever the types and wherever in its buffers a column begins."""
    batch, rows = table
    message = v1.ImportBatch(number=number, customers=[customer_of(row) for row in rows])
    encoded = encode_batch(batch, limit=LIMIT, number=number)
    assert encoded.refused == ()
    assert encoded.batch == message.SerializeToString(deterministic=True)


@many
@given(st.dates())
def test_every_day_is_the_day_that_it_is(day: datetime.date) -> None:
    """Days since 1970 are dates of the calendar from the year 1 to 9999."""
    batch = pa.RecordBatch.from_arrays([pa.array([day], pa.date32())], ["birth_date"])
    (customer,) = v1.ImportBatch.FromString(encode_batch(batch, limit=LIMIT).batch).customers
    assert customer.birth_date == _date(day)


# Rows that are refused


def _one(column: str, *cells: Any, type: Any = None) -> Any:
    names = [f"r{place}" for place in range(len(cells))]
    arrays = [pa.array(names), pa.array(cells, type or pa.string())]
    return pa.RecordBatch.from_arrays(arrays, ["id", column])


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("kind", "Person"),
        ("kind", "pers"),
        ("state", "activee"),
        ("gender", "fem"),
        *(
            (column, text)
            for column in ("birth_date", "custom:d:date")
            for text in (
                "0000", "199", "19900", "1990-", "1990-1", "1990-13", "1990-00", "1990-02-30",
                "1990-02-00", "1990-02-1", "1990-02-011", "--", "---", "--13", "--02-30", "-1990",
                "1990/02/01", "１９９０", "1990-0３", "x" * 500,
            )
        ),
    ],
)  # fmt: skip
def test_a_bad_cell_fails_its_row_alone(column: str, cell: str) -> None:
    """The rows around it are there, and the field is named."""
    encoded = encode_batch(_one(column, "", cell, None), limit=LIMIT)
    customers = v1.ImportBatch.FromString(encoded.batch).customers
    assert [one.id for one in customers] == ["r0", "r2"]
    (refused,) = encoded.refused
    field = column.removesuffix(":date").replace("custom:", "custom_fields.")
    assert (refused.place, refused.field) == (1, f"customer.{field}")
    assert cell not in refused.message


@pytest.mark.parametrize("days", [-719_163, 2_932_897, -(1 << 31), (1 << 31) - 1])
def test_a_day_outside_the_calendar_fails_its_row(days: int) -> None:
    """The year 0 and the year 10000 are none."""
    batch = _one("birth_date", 0, days, type=pa.int32())
    column = batch.column(1).cast(pa.date32())
    batch = pa.RecordBatch.from_arrays([batch.column(0), column], ["id", "birth_date"])
    assert [one.place for one in encode_batch(batch, limit=LIMIT).refused] == [1]


def test_many_rows_may_be_refused() -> None:
    """All of them, in their order."""
    encoded = encode_batch(_one("gender", *["?"] * 1_000), limit=LIMIT)
    assert encoded.batch == b""
    assert [one.place for one in encoded.refused] == list(range(1_000))


def test_what_is_larger_than_the_limit_is_refused() -> None:
    """However small it was as columns."""
    texts = Cells.of_texts(struct.pack("<1001i", *range(0, 100_100, 100)), b"x" * 100_000, 0, 1_000)
    columns = [(Target("title"), texts)]
    assert len(encode(columns, 1_000, limit=LIMIT)[0]) == 1_000 * 104
    with pytest.raises(OverflowError):
        encode(columns, 1_000, limit=100_000)


def test_texts_that_are_no_utf_8_are_left_to_whoever_reads_the_rows() -> None:
    """They are copied as they are; protobuf refuses the row."""
    texts = Cells.of_texts(struct.pack("<3i", 0, 2, 4), b"\xff\xfeok", 0, 2)
    encoded, refused = encode([(Target("title"), texts)], 2, limit=LIMIT)
    assert refused == []
    assert encoded == b"\x12\x04\x3a\x02\xff\xfe\x12\x04\x3a\x02ok"


# Buffers that lie

_TWO = struct.pack("<3i", 0, 1, 2)


@pytest.mark.parametrize(
    "lie",
    [
        lambda: Cells.of_texts(struct.pack("<3i", 0, 9, 2), b"ab", 0, 2),
        lambda: Cells.of_texts(struct.pack("<3i", 0, 2, 1), b"ab", 0, 2),
        lambda: Cells.of_texts(struct.pack("<3i", -1, 1, 2), b"ab", 0, 2),
        lambda: Cells.of_texts(struct.pack("<3q", 0, 1 << 40, 1 << 40), b"ab", 0, 2, wide=True),
        lambda: Cells.of_texts(_TWO, b"ab", 0, 3),
        lambda: Cells.of_texts(_TWO, b"ab", 1, 2),
        lambda: Cells.of_texts(_TWO, b"ab", -1, 2),
        lambda: Cells.of_texts(_TWO, b"ab", 0, -1),
        lambda: Cells.of_texts(_TWO, b"ab", (1 << 63) - 1, 2),
        lambda: Cells.of_texts(_TWO, b"ab", 0, 2, validity=b""),
        lambda: Cells.of_texts(_TWO[:-1], b"ab", 0, 2),
        lambda: Cells.of_texts(bytes(23), b"ab", 0, 2, wide=True),
        lambda: Cells.of_texts(b"", b"", 0, 0),
        lambda: Cells.of_values("flag", b"\1", 0, 9),
        lambda: Cells.of_values("flag", b"", 0, 1),
        lambda: Cells.of_values("integer", bytes(15), 0, 2),
        lambda: Cells.of_values("days", bytes(8), 1, 2),
        lambda: Cells.of_values("number", bytes(8), (1 << 61) - 1, 2),
        lambda: Cells.of_lists(Cells.of_texts(_TWO, b"ab", 0, 2), struct.pack("<2i", 0, 3), 0, 1),
        lambda: Cells.of_lists(Cells.of_texts(_TWO, b"ab", 0, 2), struct.pack("<2i", -1, 2), 0, 1),
        lambda: Cells.of_lists(Cells.of_texts(_TWO, b"ab", 0, 2), _TWO[:8], 0, 2),
        lambda: Cells.of_lists(
            Cells.of_texts(_TWO, b"ab", 0, 2), struct.pack("<3i", 0, 2, 1), 0, 2
        ),
        lambda: Cells.of_lists(Cells.of_values("flag", b"\1", 0, 1), _TWO, 0, 2),
    ],
)
def test_buffers_that_do_not_hold_a_column_are_refused(lie: Callable[[], Cells]) -> None:
    """Before anything is read where they point."""
    with pytest.raises(ValueError, match=r"."):
        lie()


def test_columns_that_do_not_fit_are_refused() -> None:
    """One of another length, and one that is written otherwise than its field."""
    texts, flags = Cells.of_texts(_TWO, b"ab", 0, 2), Cells.of_values("flag", b"\1", 0, 2)
    with pytest.raises(ValueError, match="one length"):
        encode([(Target("title"), texts)], 3, limit=LIMIT)
    with pytest.raises(ValueError, match="title"):
        encode([(Target("title"), flags)], 2, limit=LIMIT)
