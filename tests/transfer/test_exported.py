"""Customers as Arrow columns; the oracle is the row that a message gives, cell by cell."""

from __future__ import annotations

from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.people import people, to_customer
from namesake import v1
from service.core._tabulate import tabulate
from service.transfer import columns
from service.transfer.exported import (
    TIMES,
    arrow_stream,
    arrow_table,
    for_file,
    ordered,
    read_stream,
    schema_of,
)
from service.transfer.rows import Row
from tests.core.stored import mutated, records
from tests.rows_of_customers import custom_field, customer_field, present, reach_field, to_row

many = settings(max_examples=60, deadline=None)
TYPE_WORDS = {pa.int64(): ":integer", pa.float64(): ":number", pa.bool_(): ":flag"}
TIME = pa.timestamp("us", tz="UTC")
NUMBERS = {field.name: field.number for field in v1.Customer.DESCRIPTOR.fields}


def cell(customer: v1.Customer, row: Row, column: str, type: Any = None) -> Any:
    """Return what a customer has in a column."""
    sought = (column, column + TYPE_WORDS.get(type, ""))
    if column in TIMES:
        time = getattr(customer, column)
        return time.ToMicroseconds() if customer.HasField(column) else None  # type: ignore[arg-type]
    if column.startswith("identity:"):
        return [one.value for one in row.identities if f"identity:{one.type}" == column]
    if column.startswith("custom:"):
        found = [one.value for one in row.custom if custom_field(one) in sought]
        value = found[0] if found else None
        return str(value) if column.endswith(":date") and found else value
    if column.endswith(("email", "phone")) and column != "do_not_email":
        channel = column[-5:]
        reaches = row.emails if channel == "email" else row.phones
        return [one.value for one in reaches if reach_field(channel, one) == column]
    value = getattr(row, column)
    if isinstance(value, tuple):
        return list(value)
    if column == "birth_date":
        return None if value is None else str(value)
    return value if isinstance(value, bool) else value or None


def as_lists(table: Any) -> dict[str, list[Any]]:
    """Return a table's columns, times as microseconds."""
    table.validate(full=True)
    return {
        name: (column.cast(pa.int64()) if column.type == TIME else column).to_pylist()
        for name, column in zip(table.schema.names, table.columns, strict=True)
    }


def expected_names(rows: list[Row]) -> list[str]:
    """Return which columns a table of such rows has."""
    extra = set().union(*(present(row) for row in rows))
    bare = {
        ":".join(name.split(":")[:2]) if name.startswith("identity:") else name for name in extra
    }
    for name in [name for name in bare if name.endswith((":integer", ":number", ":flag"))]:
        base = name.rpartition(":")[0]
        if sum(one == base or one.startswith(f"{base}:") for one in bare) == 1:
            bare = (bare - {name}) | {base}
    usual = columns.table(())
    return [*usual, *TIMES, *sorted(bare.difference(usual))]


@many
@given(st.lists(records, min_size=1, max_size=20))
def test_columns_say_what_the_rows_of_messages_say(drawn: list[bytes]) -> None:
    """Every cell of every column, and no other columns."""
    customers = [v1.Customer.FromString(record) for record in drawn]
    rows = [to_row(customer) for customer in customers]
    table = arrow_table(drawn)
    assert table.schema.names == expected_names(rows)
    assert as_lists(table) == {
        name: [
            cell(customer, row, name, type) for customer, row in zip(customers, rows, strict=True)
        ]
        for name, type in zip(table.schema.names, table.schema.types, strict=True)
    }


def test_a_batch_of_people_is_a_table() -> None:
    """As many as a message has, without the GIL."""
    customers = [to_customer(person) for person in people(1_000, seed=11)]
    table = arrow_table([customer.SerializeToString() for customer in customers])
    rows = [to_row(customer) for customer in customers]
    assert table.num_rows == 1_000
    assert as_lists(table)["email"] == [
        cell(customer, row, "email") for customer, row in zip(customers, rows, strict=True)
    ]
    assert table.schema.field("email").type == pa.list_(pa.utf8())
    assert table.schema.field("create_time").type == pa.timestamp("us", tz="UTC")


@many
@given(
    st.lists(records, min_size=1, max_size=8),
    st.lists(st.sampled_from(sorted(NUMBERS)), min_size=1, max_size=4),
)
def test_columns_of_fields_that_are_not_chosen_are_left_out(
    drawn: list[bytes], fields: list[str]
) -> None:
    """The others are as in a table of all fields."""
    whole, chosen = arrow_table(drawn), arrow_table(drawn, [NUMBERS[name] for name in fields])
    names = [name for name in whole.schema.names if customer_field(name) in fields]
    assert chosen.schema.names == names
    assert as_lists(chosen) == {name: as_lists(whole)[name] for name in names}


@many
@given(st.lists(records, min_size=1, max_size=20), st.integers(1, 600))
def test_a_table_ends_where_it_has_many_cells(drawn: list[bytes], cells_limit: int) -> None:
    """Tables one after the other have all customers; each ends with the row that fills it."""
    whole = as_lists(for_file(arrow_table(drawn), with_times=True))
    left, parts = drawn, []
    while left:
        table = arrow_table(left, cells_limit=cells_limit)
        # Some of what is counted becomes a part of one column, so there are half of them at least.
        assert table.num_rows == len(left) or 2 * table.num_rows * table.num_columns >= cells_limit
        if table.num_rows > 1:  # The last row may have brought columns.
            before = arrow_table(left[: table.num_rows - 1])
            assert before.num_rows * before.num_columns < cells_limit
        parts.append(as_lists(for_file(table, with_times=True)))
        left = left[table.num_rows :]
    empty: dict[str, Any] = {
        name: [] if values and isinstance(values[0], list) else None
        for name, values in whole.items()
    }
    assert whole == {
        name: [value for part in parts for value in part.get(name, [empty[name]] * len(part["id"]))]
        for name in whole
    }


def test_customers_without_a_field_in_common_do_not_fill_the_memory() -> None:
    """A thousand with a hundred of their own each would be a hundred million cells."""
    made = []
    for number in range(1_000):
        customer = v1.Customer(last_name="x")
        for place in range(100):
            customer.custom_fields[f"f{number}_{place}"].integer = place
        made.append(customer.SerializeToString())
    table = arrow_table(made)
    assert 1 < table.num_rows < 1_000
    assert len(arrow_stream(table)) < 4 << 20


def test_nobody_gives_a_table_without_rows() -> None:
    """With the usual columns."""
    table = arrow_table([])
    assert table.num_rows == 0
    assert table.schema.names == [*columns.table(()), *TIMES]
    table.validate(full=True)


def test_a_stream_gives_its_table_back() -> None:
    """As one that any Arrow library reads."""
    table = arrow_table([to_customer(person).SerializeToString() for person in people(50, seed=2)])
    assert read_stream(arrow_stream(table)).equals(table)
    assert pa.ipc.open_stream(arrow_stream(table)).read_all().num_rows == 50


def test_columns_are_ordered_as_in_every_table() -> None:
    """The usual ones, the times, the rest by name."""
    names = ["custom:b", "update_time", "identity:a", "last_name", "id", "fax_phone"]
    assert ordered(names) == [
        "id", "last_name", "update_time", "custom:b", "fax_phone", "identity:a",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "inner",
    [b"\x92\x01\x02\x0a\x05", b"\xa2\x01\x01\x80", b"\xb2\x01\x02\x12\x09", b"\xba\x01\x01\x08",
     b"\xe2\x01\x02\x0a\x05", b"\xe2\x01\x04\x12\x02\x2a\x05", b"\x62\x01\x08", b"\x2a\x01\x08"],
)  # fmt: skip
def test_a_broken_record_is_said(inner: bytes) -> None:
    """In whatever message of it."""
    for around in (0, 40):
        with pytest.raises(ValueError, match="no customer message"):
            tabulate([b""] * around + [inner])


def test_broken_bytes_never_lead_outside() -> None:
    """Read to their end, or refused; what is read is a table that Arrow finds whole."""
    rng = Random(3)
    good = [to_customer(person).SerializeToString() for person in people(200, seed=9)]
    read = 0
    for _ in range(4_000):
        try:
            count, described = tabulate([mutated(rng.choice(good), rng)])
        except (ValueError, UnicodeDecodeError):
            continue
        read += 1
        assert count == 1
        assert len(described) >= 29
    assert read > 100


def test_names_say_a_type_where_customers_differ() -> None:
    """Columns are there once; in files each says its type."""
    one, other = v1.Customer(), v1.Customer()
    one.custom_fields["x"].integer = 1
    one.custom_fields["y"].flag = True
    other.custom_fields["x"].text = "1"
    other.custom_fields["z"].date.year = 1990
    table = arrow_table([one.SerializeToString(), other.SerializeToString()])
    assert table.schema.names[-4:] == ["custom:x", "custom:x:integer", "custom:y", "custom:z:date"]
    assert table.schema.field("custom:x").type == pa.utf8()
    assert table.schema.field("custom:y").type == pa.bool_()
    assert for_file(table, with_times=False).schema.names[-4:] == [
        "custom:x", "custom:x:integer", "custom:y:flag", "custom:z:date",
    ]  # fmt: skip


def test_files_have_a_column_for_each_identity() -> None:
    """And times as texts, where they are wanted."""
    one, other = v1.Customer(id="a"), v1.Customer(id="b")
    one.identities.extend([v1.Identity(type="card", value=value) for value in ("2", "1; 3")])
    one.create_time.FromMicroseconds(1_700_000_000_000_001)
    other.identities.add(type="card", value="4")
    table = arrow_table([one.SerializeToString(), other.SerializeToString()])
    plain = for_file(table, with_times=False)
    assert plain.schema.names == [*columns.table(()), "identity:card", "identity:card:02"]
    assert plain["identity:card"].to_pylist() == ["2", "4"]
    assert plain["identity:card:02"].to_pylist() == ["1; 3", None]
    timed = for_file(table, with_times=True)
    assert timed["create_time"].to_pylist() == ["2023-11-14T22:13:20.000001Z", None]
    types = dict(zip(timed.schema.names, timed.schema.types, strict=True))
    assert schema_of(types).names == timed.schema.names
