"""Customers in bulk, out: one snapshot, by filter, by field, as rows or as Arrow."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import Any

import grpc
import lmdb
import pyarrow as pa
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from demo.people import people as demo_people
from demo.people import to_customer
from namesake import v1
from tests.conftest import StartServer
from tests.server.client import Client, person, refusal
from tests.server.test_transfer import people

INVALID = grpc.StatusCode.INVALID_ARGUMENT
ARROW = v1.EXPORT_FORM_ARROW
ROWS = 2_500


def exported(answers: list[v1.ExportCustomersResponse]) -> list[v1.Customer]:
    """Return all customers of an export."""
    return [customer for answer in answers for customer in answer.customers]


def rows_of(answers: list[v1.ExportCustomersResponse]) -> list[dict[str, Any]]:
    """Return the customers of an export as Arrow, in the columns that their message has."""
    rows: list[dict[str, Any]] = []
    for answer in answers:
        assert not answer.customers
        if answer.arrow:
            table = pa.ipc.open_stream(answer.arrow).read_all()
            table.validate(full=True)
            assert table.num_rows == answer.rows
            rows += table.to_pylist()
        else:
            assert answer.rows == 0
    return rows


def ids_of(answers: list[v1.ExportCustomersResponse]) -> list[str]:
    """Return the ids of an export of either form, in order."""
    customers = [customer.id for customer in exported(answers)]
    return customers or [row["id"] for row in rows_of(answers)]


def test_an_export_is_one_snapshot_while_saves_go_on(client: Client) -> None:
    """What is changed, added or deleted meanwhile is not in it, and the feed completes it."""
    client.import_all("job", people(2_500))
    stream = client.call(client.transfer.ExportCustomers, v1.ExportCustomersRequest())
    answers = [next(stream)]
    client.save(person(id="late"))
    client.delete("p2499")
    client.update(v1.Customer(id="p2400", stage="late"), "stage")
    answers += stream
    customers = exported(answers)
    assert [customer.id for customer in customers] == [f"p{number}" for number in range(2_500)]
    assert {customer.stage for customer in customers} == {""}
    assert {(answer.sequence, answer.total) for answer in answers} == {(2_500, 2_500)}
    later = [change.change.customer_id for change in client.feed(answers[-1].sequence)]
    assert later == ["late", "p2499", "p2400"]


def test_an_export_goes_on_after_any_message(client: Client) -> None:
    """Each resume token leaves exactly what had not been sent."""
    client.import_all("job", people(2_500))
    whole = client.export()
    assert len(whole) > 2
    for index, answer in enumerate(whole):
        rest = exported(client.export(after=answer.resume_token))
        assert [c.id for c in rest] == [c.id for c in exported(whole[index + 1 :])]


def test_exported_cards_are_those_that_reads_show(client: Client) -> None:
    """Without what is left out of exports: display forms and messages."""
    stored = client.save(person("a@x.example", "+442079460018", tags=["t"])).customer
    (card,) = exported(client.export())
    for email in stored.emails:
        email.finding.ClearField("message")
    for phone in stored.phones:
        phone.finding.ClearField("message")
        for name in ("time_zones", "national", "international", "tel_uri"):
            phone.ClearField(name)
    assert card == stored


def test_fields_are_chosen(client: Client) -> None:
    """Only those named are sent; unknown names are refused."""
    client.save(person("a@x.example", id="c", first_name="Ada", tags=["t"]))
    (card,) = exported(client.export(fields=FieldMask(paths=["id", "emails"])))
    assert {descriptor.name for descriptor, _ in card.ListFields()} == {"id", "emails"}
    (card,) = exported(client.export(fields=FieldMask()))
    assert card.first_name == "Ada"
    for path in ("nonsense", "emails.value", ""):
        refused = refusal(partial(client.export, fields=FieldMask(paths=[path])))
        assert refused.short == (INVALID, "INVALID_ARGUMENT", "fields.paths[0]")


def test_only_active_customers_if_asked(client: Client) -> None:
    """The total still counts all."""
    client.save(person(id="a"))
    client.save(person(id="b", state=v1.CUSTOMER_STATE_ARCHIVED))
    answers = client.export(active_only=True)
    assert [customer.id for customer in exported(answers)] == ["a"]
    assert answers[0].total == 2
    assert len(exported(client.export())) == 2
    chosen = client.export(active_only=True, fields=FieldMask(paths=["id"]))
    assert exported(chosen) == [v1.Customer(id="a")]


def test_an_empty_account_exports_one_empty_message(client: Client) -> None:
    """Which says where the feed stands."""
    (answer,) = client.export()
    assert (len(answer.customers), answer.total, answer.sequence) == (0, 0, 0)
    assert len(client.export(after=answer.resume_token)) == 1


def test_invented_resume_tokens_are_refused(shared: Client) -> None:
    """Also those of other listings."""
    for token in ("x", "AQAAAAAAAAAB"):
        refused = refusal(partial(shared.export, after=token))
        assert refused.short == (INVALID, "INVALID_ARGUMENT", "after")


@pytest.mark.parametrize("form", [v1.EXPORT_FORM_ROWS, ARROW])
@pytest.mark.parametrize("filtered", [False, True])
def test_a_reader_that_stalls_is_ended_and_goes_on_exactly(
    start_server: StartServer, form: v1.ExportForm.ValueType, filtered: bool
) -> None:
    """Its snapshot is released with READER_STALLED, and its token brings the rest."""
    server = start_server(NAMESAKE_STREAM_STALL_S="1")
    with server.channel() as channel:
        client = Client(channel)
        ids = store_large(client, 400)
        terms: dict[str, Any] = {"form": form}
        if filtered:
            terms["filter"] = v1.CustomerFilter(groups=["most"])
            ids = [id for place, id in enumerate(ids) if place % 10]
        stream = client.call(client.transfer.ExportCustomers, v1.ExportCustomersRequest(**terms))
        answers = [next(stream)]
        time.sleep(3)  # longer than the server waits
        refused = refusal(lambda: answers.extend(stream))
        assert (refused.code, refused.reason) == (
            grpc.StatusCode.DEADLINE_EXCEEDED, "READER_STALLED",
        )  # fmt: skip
        assert 0 < len(ids_of(answers)) < len(ids)
        rest = client.export(after=answers[-1].resume_token, **terms)
        assert ids_of(answers) + ids_of(rest) == ids
        assert refused.metadata["resume_token"]


def store_large(client: Client, count: int) -> list[str]:
    """Store customers of nearly the largest size; return their ids.

    400 are more than gRPC takes in on behalf of a reader that does not read: up to 16 MB.
    """
    rows = [
        person(
            id=f"c{number}",
            tags=[f"{number}-{part}" + "é" * 4_900 for part in range(6)],
            groups=["most"] * (number % 10 != 0),
        )
        for number in range(count)
    ]
    client.import_all("large", *(rows[start : start + 50] for start in range(0, count, 50)))
    return [row.id for row in rows]


def test_a_damaged_customer_is_said(start_server: StartServer) -> None:
    """And does not vanish from an export, nor end it as if it were whole."""
    server = start_server()
    with server.channel() as channel:
        Client(channel).import_all("job", people(3))
    assert server.stop() == 0
    with lmdb.open(str(server.data / "default"), max_dbs=64) as environment:
        table = environment.open_db(b"customers")
        with environment.begin(write=True) as txn:
            txn.put((2).to_bytes(8), b"\x0a\x7f", db=table)
    with start_server(data=server.data).channel() as channel:
        client = Client(channel)
        for terms in ({"form": ARROW}, {"active_only": True}, {"fields": FieldMask(paths=["id"])}):
            refused = refusal(partial(client.export, **terms))
            assert (refused.code, refused.reason) == (
                grpc.StatusCode.INTERNAL, "STORAGE_FAULT",
            )  # fmt: skip
            assert "verify" in refused.message


# Filters.

FILTERS: dict[str, v1.CustomerFilter] = {
    "tags": v1.CustomerFilter(tags=["t1", "t2"]),
    "sources": v1.CustomerFilter(sources=["s1"]),
    "campaigns": v1.CustomerFilter(campaigns=["c1", "nobody's"]),
    "groups": v1.CustomerFilter(groups=["g1"]),
    "kind": v1.CustomerFilter(kind=v1.CUSTOMER_KIND_COMPANY),
    "state": v1.CustomerFilter(state=v1.CUSTOMER_STATE_ARCHIVED),
    "email": v1.CustomerFilter(email_verdicts=[v1.VERDICT_INVALID]),
    "phone": v1.CustomerFilter(phone_verdicts=[v1.VERDICT_VALID, v1.VERDICT_RISKY]),
    "several": v1.CustomerFilter(tags=["t1"], phone_verdicts=[v1.VERDICT_VALID]),
    "nobody": v1.CustomerFilter(tags=["nobody's"]),
    "all": v1.CustomerFilter(),
}
MEANT = {
    "tags": ["a", "b"],
    "sources": ["b"],
    "campaigns": ["c"],
    "groups": ["c"],
    "kind": ["d"],
    "state": ["e"],
    "email": ["c"],
    "phone": ["a", "e"],
    "several": ["a"],
    "nobody": [],
    "all": ["a", "b", "c", "d", "e"],
}


@pytest.fixture
def five(client: Client) -> Client:
    """An account with a customer or two for each filter."""
    rows = [
        person("a@x.example", "+442079460018", id="a", tags=["t0", "t1"]),
        person("b@x.example", id="b", tags=["t2"], sources=["s1", "s2"]),
        person("broken@", "nonsense", id="c", campaigns=["c1"], groups=["g0", "g1"]),
        v1.Customer(id="d", kind=v1.CUSTOMER_KIND_COMPANY, company_name="D", tags=["t"]),
        person("+447911123456", id="e", state=v1.CUSTOMER_STATE_ARCHIVED),
    ]
    client.import_all("five", rows)
    return client


@pytest.mark.parametrize("form", [v1.EXPORT_FORM_UNSPECIFIED, v1.EXPORT_FORM_ROWS, ARROW])
def test_a_filter_leaves_out_the_others(five: Client, form: v1.ExportForm.ValueType) -> None:
    """Whatever it asks for, in each form; the total counts all."""
    for name, given in FILTERS.items():
        answers = five.export(filter=given, form=form)
        assert ids_of(answers) == MEANT[name], name
        assert {answer.total for answer in answers} == {5}
        assert sum(answer.rows for answer in answers) == len(MEANT[name])
        assert answers[-1].looked_at == 5


def test_what_was_written_since_a_time(five: Client) -> None:
    """At that time or later: what an export brings that follows another."""
    time.sleep(0.01)
    five.update(v1.Customer(id="b", stage="late"), "stage")
    late = five.get("b").update_time
    later = Timestamp()
    later.FromMicroseconds(late.ToMicroseconds() + 1)
    for since, meant in ((late, ["b"]), (later, []), (Timestamp(), MEANT["all"])):
        answers = five.export(filter=v1.CustomerFilter(updated_since=since))
        assert ids_of(answers) == meant


def test_active_customers_of_a_filter(five: Client) -> None:
    """`active_only` is one condition more; it cannot ask for what the filter excludes."""
    phones = v1.CustomerFilter(phone_verdicts=[v1.VERDICT_VALID])
    assert ids_of(five.export(active_only=True, filter=phones)) == ["a"]
    refused = refusal(lambda: five.export(active_only=True, filter=FILTERS["state"]))
    assert refused.short == (INVALID, "INVALID_ARGUMENT", "active_only")


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"filter": v1.CustomerFilter(tags=["a", ""])}, "filter.tags"),
        ({"filter": v1.CustomerFilter(groups=["g"] * 201)}, "filter.groups"),
        ({"filter": v1.CustomerFilter(sources=["x" * 10_001])}, "filter.sources[0]"),
        ({"filter": v1.CustomerFilter(kind=7)}, "filter.kind"),  # type: ignore[arg-type]
        ({"filter": v1.CustomerFilter(state=-1)}, "filter.state"),  # type: ignore[arg-type]
        (
            {
                "filter": v1.CustomerFilter(
                    email_verdicts=[v1.VERDICT_VALID, v1.VERDICT_UNSPECIFIED]
                )
            },
            "filter.email_verdicts",
        ),
        ({"filter": v1.CustomerFilter(phone_verdicts=[9])}, "filter.phone_verdicts"),  # type: ignore[list-item]
        (
            {"filter": v1.CustomerFilter(updated_since=Timestamp(nanos=-1))},
            "filter.updated_since",
        ),
        (
            {"filter": v1.CustomerFilter(updated_since=Timestamp(seconds=1 << 40))},
            "filter.updated_since",
        ),
        ({"form": 9}, "form"),
    ],
)
def test_what_means_nothing_is_refused_by_its_field(
    shared: Client, terms: dict[str, Any], field: str
) -> None:
    """Numbers that no enum has, words that nobody has, times that are none."""
    refused = refusal(partial(shared.export, **terms))
    assert refused.short == (INVALID, "INVALID_ARGUMENT", field)


@pytest.mark.parametrize("form", [v1.EXPORT_FORM_ROWS, ARROW])
def test_batches_that_match_nobody_move_the_token(
    start_server: StartServer, form: v1.ExportForm.ValueType
) -> None:
    """However rare those are who match, a broken export goes on near where it was."""
    server = start_server(NAMESAKE_EXPORT_BATCH_ROWS="100", NAMESAKE_SCAN_LIMIT_ROWS="200")
    with server.channel() as channel:
        client = Client(channel)
        rows = people(ROWS)
        rows[1_234].tags.append("rare")
        client.import_all("job", rows)
        given = v1.CustomerFilter(tags=["rare"])
        answers = client.export(filter=given, form=form)
        assert ids_of(answers) == ["p1234"]
        assert len(answers) > 10
        looked_at = [answer.looked_at for answer in answers]
        assert looked_at == sorted(set(looked_at))
        assert looked_at[-1] == ROWS
        for index, answer in enumerate(answers):
            rest = client.export(filter=given, form=form, after=answer.resume_token)
            assert ids_of(rest) == ids_of(answers[index + 1 :])
            assert rest[-1].looked_at == ROWS - answer.looked_at


# Arrow.


def test_arrow_has_what_the_rows_have(client: Client) -> None:
    """The same people as columns: texts as given, lists as lists, times in UTC."""
    given = [to_customer(one) for one in demo_people(ROWS, seed=12)]
    given[0].custom_fields["size"].integer = 42
    client.import_all("job", *(given[start : start + 500] for start in range(0, ROWS, 500)))
    answers = client.export(form=ARROW)
    customers = exported(client.export())
    rows = rows_of(answers)
    assert len(answers) > 2
    assert sum(answer.rows for answer in answers) == len(rows) == len(customers)
    for customer, row in zip(customers, rows, strict=True):
        assert row["id"] == customer.id
        assert row["last_name"] == (customer.last_name or None)
        assert row["state"] == "active"
        assert row["create_time"].replace(tzinfo=None) == customer.create_time.ToDatetime()
        emails = [one.value for one in customer.emails if not one.kind]
        assert row["email"] == emails
        held = row.get("identity:loyalty") or []
        assert held == [one.value for one in customer.identities if one.type == "loyalty"]
    assert next(row["custom:size"] for row in rows if "custom:size" in row) == 42


def test_arrow_has_the_chosen_columns(five: Client) -> None:
    """Those of the fields that are named."""
    (answer,) = five.export(form=ARROW, fields=FieldMask(paths=["id", "emails", "tags"]))
    table = pa.ipc.open_stream(answer.arrow).read_all()
    assert table.schema.names == ["id", "email", "tags"]
    assert table["tags"].to_pylist() == [["t0", "t1"], ["t2"], [], ["t"], []]


def test_an_empty_account_has_no_arrow(client: Client) -> None:
    """One message that says where the feed stands."""
    (answer,) = client.export(form=ARROW)
    assert (answer.arrow, answer.rows, answer.total) == (b"", 0, 0)


def _wide(count: int) -> Iterable[v1.Customer]:
    for number in range(count):
        customer = person(id=f"w{number}")
        for place in range(150):
            customer.custom_fields[f"f{number}_{place}"].integer = place
        yield customer


def test_customers_with_columns_of_their_own_come_in_smaller_messages(client: Client) -> None:
    """Each within what clients take, with a token of its own: none is lost or doubled."""
    client.import_all("job", list(_wide(300)))
    answers = client.export(form=ARROW)
    assert len(answers) > 3
    assert ids_of(answers) == [f"w{number}" for number in range(300)]
    assert [answer.looked_at for answer in answers][-1] == 300
    for index, answer in enumerate(answers):
        assert answer.looked_at == sum(one.rows for one in answers[: index + 1])
    for index in (0, len(answers) // 2):
        rest = client.export(form=ARROW, after=answers[index].resume_token)
        assert ids_of(rest) == ids_of(answers[index + 1 :])
