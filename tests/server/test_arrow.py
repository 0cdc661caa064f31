"""An import of columns does what an import of rows does."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import grpc
import pyarrow as pa
import pytest

from demo.people import people, write_csv
from namesake import v1
from service.cli.convert import to_customer
from service.transfer.arrow import write_stream
from service.transfer.columns import Columns
from service.transfer.mapping import ColumnMapping
from service.transfer.reading import Reader
from service.transfer.rows import RowRefused
from service.transfer.tables import Block
from tests.conftest import StartServer
from tests.server.client import Client, numbered, opening, person, refusal, substance

NO_SETTLING = {"NAMESAKE_SETTLE_PAUSE_S": "900", "NAMESAKE_SETTLE_PAUSE_LIMIT_S": "900"}
INVALID = grpc.StatusCode.INVALID_ARGUMENT
PEOPLE = 700
BATCH = 150
MORE = ("contact person", "contact phone", "custom:age:integer", "consent:sms", "email 2", "area")


def table() -> tuple[list[str], list[list[str]]]:
    """Return made-up people with a contact and more; some come again, some break a rule."""
    text = io.StringIO()
    write_csv(people(PEOPLE, seed=3), text)
    header, *rows = csv.reader(io.StringIO(text.getvalue()))
    for number, row in enumerate(rows):
        row += [
            "Bob van Dyke" if number % 3 == 0 else "",
            "+44 20 7946 0018" if number % 6 == 0 else "",
            str(number) if number % 5 == 0 else "",
            "yes" if number % 7 == 0 else "",
            f"x{number % 50}@example.com; y{number}@example.org" if number % 4 == 0 else "",
            "Kent" if number % 9 == 0 else "",
        ]
    again = [[*rows[number][:-1], "Essex"] for number in range(0, 200, 3)]
    return [*header, *MORE], rows + again


def as_rows(header: list[str], rows: list[list[str]]) -> list[v1.Customer]:
    """Read a table row by row; those that cannot be read are left out."""
    known, customers = Columns.of(header), []
    for row in rows:
        try:
            customers.append(to_customer(known.row(row)))
        except RowRefused:
            continue
    return customers


def as_columns(header: list[str], rows: list[list[str]]) -> Any:
    """Read a table as columns."""
    cells = {place: pa.array(list(c)) for place, c in enumerate(zip(*rows, strict=True))}
    return Reader(ColumnMapping.of(header)).read(Block(1, len(rows), 0, cells, {})).batch


def arrow(batch: Any, number: int) -> v1.ImportCustomersRequest:
    """Return a batch of columns as a message."""
    stream = write_stream(batch)
    return v1.ImportCustomersRequest(arrow=v1.ImportArrowBatch(number=number, stream=stream))


def sliced(batch: Any) -> Iterator[v1.ImportCustomersRequest]:
    """Yield the batches of an import."""
    for number, at in enumerate(range(0, batch.num_rows, BATCH), 1):
        yield arrow(batch.slice(at, BATCH), number)


def stored(client: Client) -> list[tuple[object, ...]]:
    """Return all that an account holds, with its histories."""
    customers = [one for answer in client.export() for one in answer.customers]
    found: list[tuple[object, ...]] = []
    for one in customers:
        history = [
            (change.kind, change.sequence, tuple(change.fields.paths), change.reason,
             substance(change.before), substance(change.after))
            for change in client.history(one.id)
        ]  # fmt: skip
        found.append((one.id, one.etag, substance(one), history))
    return found


def test_the_same_people_as_rows_and_as_columns_are_stored_alike(
    start_server: StartServer,
) -> None:
    """Cards, histories, counts, failures, findings: there is one import, not two."""
    with start_server(**NO_SETTLING).channel() as one, start_server(**NO_SETTLING).channel() as two:
        _import_both_ways(Client(one), Client(two))


def _import_both_ways(client: Client, other: Client) -> None:
    header, rows = table()
    customers, batch = as_rows(header, rows), as_columns(header, rows)
    assert len(customers) == batch.num_rows > PEOPLE
    settings: dict[str, Any] = {"source": "fair", "tags": ["new"], "default_region": "GB"}
    batches = [customers[at : at + BATCH] for at in range(0, len(customers), BATCH)]
    by_row = client.import_all("job", *batches, **settings)
    by_column = list(other.import_stream([opening("job", **settings), *sliced(batch)]))
    for answer in (*by_row, *by_column):
        answer.ClearField("sequence")  # it may be that of the next batch already
    assert by_column == by_row
    assert by_row[-1].counts.updated > 0
    assert by_row[-1].counts.failed > 0
    assert stored(other) == stored(client)
    assert other.faults() == []


def test_a_cell_of_no_sense_fails_its_row_with_its_number(client: Client) -> None:
    """Rows before and after it are stored, also those of batches of messages."""
    batch = pa.RecordBatch.from_pydict(
        {
            "id": ["a", "b", "c", "d", "e"],
            "last_name": ["A", "B", "", "D", "E"],
            "gender": ["female", "?", "", "", "male"],
            "birth_date": ["1990", "", "", "1990-02-30", ""],
        }
    )
    (first,) = numbered([[person("x@x.example", id="x"), person(id="y")]])
    answers = list(client.import_stream([opening("job"), first, arrow(batch, 2)]))
    told = [(f.row, f.field, f.reason) for f in answers[2].failures]
    assert told == [
        (4, "customer.gender", "INVALID_ARGUMENT"),
        (5, "customer.last_name", "INVALID_ARGUMENT"),
        (6, "customer.birth_date", "INVALID_ARGUMENT"),
    ]
    assert [answer.durable_batch for answer in answers] == [0, 1, 2]
    assert (answers[2].counts.rows, answers[2].counts.failed) == (7, 3)
    assert client.get("e").gender == v1.GENDER_MALE


def test_invalid_utf_8_fails_its_row(client: Client) -> None:
    """As in a message that is no message."""
    texts = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(pa.array([0, 2, 4], pa.int32()).buffers()[1]),
                         pa.py_buffer(b"\xff\xfeok")],
    )  # fmt: skip
    batch = pa.RecordBatch.from_arrays([texts], ["last_name"])
    answers = list(client.import_stream([opening("job"), arrow(batch, 1)]))
    assert [(f.row, f.field) for f in answers[1].failures] == [(1, "customer")]
    assert answers[1].counts.created == 1


def test_a_batch_that_was_durable_is_not_applied_again(client: Client) -> None:
    """Columns have the numbers of their batches as rows do."""
    batch = pa.RecordBatch.from_pydict({"last_name": ["A", "B"]})
    list(client.import_stream([opening("job"), arrow(batch, 1)]))
    answers = list(client.import_stream([opening("job"), arrow(batch, 1), arrow(batch, 2)]))
    assert answers[-1].durable_batch == 2
    assert client.stats().customers == 4


@pytest.mark.parametrize(
    ("batch", "field"),
    [
        (pa.RecordBatch.from_pydict({"shoe size": ["42"]}), "arrow.shoe size"),
        (pa.RecordBatch.from_pydict({"last_name": [1]}), "arrow.last_name"),
        (pa.RecordBatch.from_pydict({"last_name": ["x"] * 5_001}), "arrow"),
        (pa.RecordBatch.from_pydict({"comment": pa.array([["x"] * 4] * 10)}), "arrow.comment"),
    ],
)
def test_columns_that_cannot_be_taken_end_the_stream(
    client: Client, batch: Any, field: str
) -> None:
    """With the name of the column; nothing of the batch is stored."""
    call = refusal(lambda: list(client.import_stream([opening("job"), arrow(batch, 1)])))
    assert call.short == (INVALID, "INVALID_ARGUMENT", field)
    assert client.stats().customers == 0


def test_what_is_no_stream_ends_the_stream_of_the_call(client: Client) -> None:
    """And a batch without a number."""
    broken = v1.ImportArrowBatch(number=1, stream=b"\xff" * 100)
    request = v1.ImportCustomersRequest(arrow=broken)
    call = refusal(lambda: list(client.import_stream([opening("job"), request])))
    assert call.short == (INVALID, "INVALID_ARGUMENT", "arrow")
    batch = pa.RecordBatch.from_pydict({"last_name": ["A"]})
    call = refusal(lambda: list(client.import_stream([opening("job"), arrow(batch, 0)])))
    assert call.short == (INVALID, "INVALID_ARGUMENT", "batch.number")
