"""Columns as they travel: what a name means, what a type may be, streams of strangers."""

from __future__ import annotations

from random import Random
from typing import Any

import pyarrow as pa
import pytest

from namesake import v1
from service.core._columns import Target
from service.errors import InvalidArgument
from service.transfer.arrow import (
    COLUMNS_LIMIT,
    encode_batch,
    path_of,
    read_stream,
    target_of,
    targets_of,
)

LIMIT = 1 << 24
ROWS = 5_000
MUTATED = 3_000


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("id", Target("id")),
        ("email", Target("email")),
        ("mobile_phone", Target("phone", "mobile")),
        ("do_not_email", Target("do_not_email")),
        ("identity:erp", Target("identity", "erp")),
        ("identity:erp:02", Target("identity", "erp")),
        ("custom:age", Target("custom", "age")),
        ("custom:since:date", Target("custom_date", "since")),
        ("consent:sms", Target("consent", "sms")),
        ("contact:last_name", Target("last_name", "", 1)),
        ("contact:1:last_name", Target("last_name", "", 1)),
        ("contact:12:fax_phone", Target("phone", "fax", 12)),
        ("contact:do_not_call", Target("do_not_call", "", 1)),
        *(
            (name, None)
            for name in (
                "", "emails", "E-Mail", "mobile_email_phone", "identity:", "identity:Erp",
                "custom:Age", "custom:age:month", "consent:fax", "consent:", "contact:0:last_name",
                "contact:100:last_name", "contact:gender", "contact:1:", "user_account", "etag",
                "custom", "identity", "consent", "custom_date",
            )
        ),
    ],
)  # fmt: skip
def test_a_name_says_what_a_column_is_for(name: str, target: Target | None) -> None:
    """Names are exact here: to guess is the business of whoever reads a file."""
    assert target_of(name) == target


def test_fields_are_named_as_in_other_errors() -> None:
    """By their path in the customer."""
    assert path_of(Target("custom_date", "since")) == "customer.custom_fields.since"
    assert path_of(Target("birth_date")) == "customer.birth_date"


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ([("shoe_size", pa.string())], "shoe_size"),
        ([("id", pa.string()), ("last_name", pa.int64())], "last_name"),
        ([("last_name", pa.list_(pa.string()))], "last_name"),
        ([("email", pa.list_(pa.int64()))], "email"),
        ([("email", pa.list_(pa.list_(pa.string())))], "email"),
        ([("email", pa.dictionary(pa.int32(), pa.string()))], "email"),
        ([("email", pa.binary())], "email"),
        ([("email", pa.string_view())], "email"),
        ([("do_not_call", pa.string())], "do_not_call"),
        ([("do_not_call", pa.int64())], "do_not_call"),
        ([("birth_date", pa.timestamp("s"))], "birth_date"),
        ([("birth_date", pa.date64())], "birth_date"),
        ([("custom:age", pa.int32())], "custom:age"),
        ([("custom:age", pa.list_(pa.string()))], "custom:age"),
        ([("custom:d:date", pa.date32())], "custom:d:date"),
        ([("kind", pa.string()), ("kind", pa.string())], "kind"),
        ([("custom:a", pa.string()), ("custom:a:date", pa.string())], "custom:a"),
        ([("contact:title", pa.string()), ("contact:1:title", pa.string())], "contact:1:title"),
        ([("x" * 1_000, pa.string())], "x" * 80),
    ],
)
def test_a_schema_that_cannot_be_taken_names_the_column(
    fields: list[tuple[str, Any]], at_fault: str
) -> None:
    """Whatever its rows are."""
    with pytest.raises(InvalidArgument) as refused:
        targets_of(pa.schema(fields))
    assert refused.value.field.startswith(f"arrow.{at_fault}")


def test_lists_may_have_columns_of_one_name() -> None:
    """And a column that has nothing in any row has no type."""
    schema = pa.schema([("email", pa.string()), ("email", pa.string()), ("city", pa.null())])
    assert targets_of(schema) == [Target("email"), Target("email"), None]


def test_there_are_not_too_many_columns() -> None:
    """A bit of each row could else become many bytes."""
    fields = [(f"custom:a{place}", pa.bool_()) for place in range(COLUMNS_LIMIT + 1)]
    with pytest.raises(InvalidArgument):
        targets_of(pa.schema(fields))


# Streams


def batch_of(count: int, lead: str = "p") -> Any:
    """Return people with something of every type."""
    names = [f"{lead}{number}" for number in range(count)]
    return pa.RecordBatch.from_pydict(
        {
            "id": names,
            "last_name": pa.array(names, pa.large_string()),
            "email": pa.array([[f"{name}@x.org", None] for name in names], pa.list_(pa.string())),
            "do_not_call": [number % 2 == 0 for number in range(count)],
            "custom:age": pa.array(range(count), pa.int64()),
            "birth_date": pa.array([None] * count, pa.date32()),
            "city": pa.nulls(count),
        }
    )


def stream_of(*batches: Any, compression: str | None = None, schema: Any = None) -> bytes:
    """Return batches as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, schema or batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def people_of(stream: bytes) -> list[v1.Customer]:
    """Read a stream and encode it, as a server does."""
    encoded = encode_batch(read_stream(stream, rows=ROWS), limit=LIMIT, number=1)
    assert encoded.refused == ()
    return list(v1.ImportBatch.FromString(encoded.batch).customers)


@pytest.mark.parametrize("sizes", [(3,), (2, 0, 5), (0,), (0, 0), ()])
def test_the_batches_of_a_stream_are_one(sizes: tuple[int, ...]) -> None:
    """Also slices, whose buffers begin before them, and no batch at all."""
    whole = batch_of(20)
    batches, at = [], 5
    for size in sizes:
        batches.append(whole.slice(at, size))
        at += size
    found = people_of(stream_of(*batches, schema=whole.schema))
    assert [one.id for one in found] == [f"p{number}" for number in range(5, at)]
    assert all(len(one.emails) == 1 for one in found)


def test_a_stream_has_as_many_rows_as_a_batch_may() -> None:
    """Together."""
    with pytest.raises(InvalidArgument, match="11 rows, at most 10"):
        read_stream(stream_of(batch_of(6), batch_of(5)), rows=10)


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_what_is_compressed_is_refused_before_it_is_opened(compression: str) -> None:
    """Some kilobytes could be gigabytes."""
    stream = stream_of(batch_of(500), compression=compression)
    with pytest.raises(InvalidArgument, match="compressed"):
        read_stream(stream, rows=ROWS)


def test_dictionaries_are_refused() -> None:
    """One text could stand in every row of a batch, a thousand times."""
    batch = pa.RecordBatch.from_arrays([pa.array(["x"] * 9).dictionary_encode()], ["last_name"])
    with pytest.raises(InvalidArgument):
        read_stream(stream_of(batch), rows=ROWS)


@pytest.mark.parametrize("stream", [b"", b"\0", b"ARROW1\0\0", b"\xff" * 64, bytes(1_000)])
def test_what_is_no_stream_is_refused(stream: bytes) -> None:
    """With nothing of it in the error."""
    with pytest.raises(InvalidArgument):
        read_stream(stream, rows=ROWS)


def test_a_damaged_stream_is_refused_or_read_and_does_no_harm() -> None:
    """Bits and numbers changed at random, and the end cut off: an error of ours, or rows."""
    rng = Random(7)
    whole = stream_of(batch_of(40), batch_of(7))
    refused = 0
    for _ in range(MUTATED):
        damaged = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(len(damaged))
            if rng.random() < 0.5:
                damaged[place] ^= 1 << rng.randrange(8)
            else:
                number = rng.choice((0, 1, -1, 1 << 31, 1 << 40, rng.randrange(1 << 16)))
                place &= ~7
                damaged[place : place + 8] = (number & (1 << 64) - 1).to_bytes(8, "little")
        if rng.random() < 0.1:
            del damaged[rng.randrange(len(damaged)) :]
        try:
            encode_batch(read_stream(bytes(damaged), rows=ROWS), limit=LIMIT)
        except InvalidArgument:
            refused += 1
    assert 0 < refused < MUTATED
