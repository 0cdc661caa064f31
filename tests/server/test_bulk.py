"""Changes to many customers: chosen, changed, deleted, counted, and what became of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from namesake import v1
from tests.conftest import Server, StartServer, wait_until
from tests.server.bulk_work import (
    EVERYBODY,
    REASON,
    BulkWork,
    by_filter,
    by_ids,
    clearing,
    crowd,
    setting,
)
from tests.server.client import Client, person, refusal
from tests.server.long_work import CANCELLED, INTERRUPTED, failure

INVALID = grpc.StatusCode.INVALID_ARGUMENT
ONE_AT_A_TIME = {"NAMESAKE_BULK_BATCH_ROWS": "1"}  # so that it takes a while


@pytest.fixture
def bulk(client: Client) -> BulkWork:
    """Changes to many of an account that only this test has."""
    return BulkWork(client)


def custom(**texts: str) -> dict[str, v1.CustomValue]:
    """Return custom fields of text."""
    return {name: v1.CustomValue(text=text) for name, text in texts.items()}


def texts_of(customer: v1.Customer) -> dict[str, str]:
    """Return custom fields of text by name."""
    return {name: value.text for name, value in customer.custom_fields.items()}


# Updates


def test_an_update_sets_clears_adds_and_takes_away(bulk: BulkWork, client: Client) -> None:
    """In this order: clear, set, take away, add; what is not named stays."""
    given = person(
        "ada@x.example", id="a", stage="new", owner="kim", title="Dr", tags=["old", "kept"],
        groups=["one", "two"], sources=["fair"], custom_fields=custom(vip="no", plan="b", x="1"),
    )  # fmt: skip
    before = client.save(given).customer
    client.save(person(id="untouched", stage="new"))
    change = v1.CustomerChange(
        set=FieldMask(paths=["stage", "custom_fields"]),
        values=v1.Customer(stage="won", title="Sir", custom_fields=custom(vip="yes", y="2")),
        clear=FieldMask(paths=["owner", "groups", "custom_fields.x", "custom_fields.nobody"]),
        add_tags=["new", "kept", "new"],
        remove_tags=["old", "never"],
        add_groups=["three"],
        add_campaigns=["spring"],
        remove_sources=["fair"],
    )
    assert bulk.done(bulk.update(by_ids("a"), change)) == (1, 1, 0, 0)
    after = client.get("a")
    assert (after.stage, after.owner, after.title) == ("won", "", "Dr")
    assert texts_of(after) == {"vip": "yes", "plan": "b", "y": "2"}
    words = (list(after.tags), list(after.groups), list(after.sources), list(after.campaigns))
    assert words == (["kept", "new"], ["three"], [], ["spring"])
    assert after.emails == before.emails
    assert after.etag != before.etag
    assert client.get("untouched").stage == "new"
    assert client.faults() == []


def test_an_update_is_a_change_like_any_other(bulk: BulkWork, client: Client) -> None:
    """In history and feed, with the actor; a new name is found, compared and blocked by."""
    client.save(person(id="a", last_name="Miller", stage="new"))
    newest = client.feed()[-1].change.sequence
    acting = BulkWork(client.acting("kim"))
    change = setting(stage="won", last_name="Zimmermann")
    assert acting.done(acting.update(by_ids("a"), change)) == (1, 1, 0, 0)
    (watched,) = client.feed(after=newest)
    (entry, _) = client.history("a")
    left = watched.change.after
    assert (left.etag, left.update_time) == (f"{entry.sequence:x}", entry.time)
    left.ClearField("etag")
    left.ClearField("update_time")
    assert watched.change == entry
    assert (entry.kind, entry.actor) == (v1.CHANGE_KIND_UPDATED, "kim")
    assert sorted(entry.fields.paths) == ["last_name", "stage"]
    assert (entry.before.stage, entry.after.stage) == ("new", "won")
    assert client.get("a").etag == f"{entry.sequence:x}"
    assert client.faults() == []


def test_what_already_is_so_is_unchanged(bulk: BulkWork, client: Client) -> None:
    """And gets no history."""
    client.save(person(id="a", stage="won", tags=["x"]))
    client.save(person(id="b", stage="won"))
    change = setting(stage="won")
    change.add_tags.append("x")
    name = bulk.update(EVERYBODY, change)
    assert bulk.done(name) == (2, 1, 1, 0)
    assert bulk.outcomes(name) == {"a": "UNCHANGED", "b": "CHANGED"}
    assert len(client.history("a")) == 1


def test_who_would_break_a_rule_fails_alone(bulk: BulkWork, client: Client) -> None:
    """The others are changed; the results say who, why and where."""
    client.save(person(id="person"))
    client.save(v1.Customer(id="firm", kind=v1.CUSTOMER_KIND_COMPANY, company_name="F", title="x"))
    full = [f"t{number}" for number in range(200)]
    client.save(person(id="full", tags=full))
    nameless = clearing("last_name", "title")
    name = bulk.update(EVERYBODY, nameless)
    assert bulk.done(name) == (3, 1, 0, 2)
    last_name = "INVALID_ARGUMENT customer.last_name"
    assert bulk.outcomes(name) == {"person": last_name, "firm": "CHANGED", "full": last_name}
    tagged = bulk.update(EVERYBODY, v1.CustomerChange(add_tags=["one more"]))
    bulk.done(tagged)
    assert bulk.outcomes(tagged)["full"] == "INVALID_ARGUMENT customer.tags"
    assert client.get("person").last_name
    assert client.faults() == []


def test_ids_that_find_nobody_are_results(bulk: BulkWork, client: Client) -> None:
    """Never used or deleted: each with its reason; the others are changed."""
    client.save(person(id="a"))
    client.save(person(id="gone"))
    client.delete("gone")
    name = bulk.update(by_ids("gone", "a", "nobody"), setting(stage="won"))
    assert bulk.done(name) == (1, 1, 0, 2)
    assert bulk.told(name) == (1, 1, 0, 2)
    assert [(one.customer_id, one.reason) for one in bulk.results(name)] == [
        ("gone", "CUSTOMER_DELETED"),
        ("nobody", "NOT_FOUND"),
        ("a", ""),
    ]
    assert bulk.count(by_ids("gone", "a", "nobody")) == 1


def test_a_dry_run_counts_and_stores_nothing(bulk: BulkWork, client: Client) -> None:
    """But has results."""
    client.save(person(id="a"))
    client.save(v1.Customer(id="firm", kind=v1.CUSTOMER_KIND_COMPANY, company_name="F"))
    before = client.stats().sequence
    change = clearing("company_name", add_tags=["x"])
    name = bulk.update(EVERYBODY, change, dry_run=True)
    assert bulk.done(name) == (2, 1, 0, 1)
    assert bulk.outcomes(name)["firm"] == "INVALID_ARGUMENT customer.company_name"
    assert (client.stats().sequence, list(client.get("a").tags)) == (before, [])


def test_cleared_kinds_and_states_are_the_defaults(bulk: BulkWork, client: Client) -> None:
    """As with UpdateCustomer: a card is never of no kind."""
    firm = v1.Customer(id="firm", kind=v1.CUSTOMER_KIND_COMPANY, company_name="F", last_name="L")
    firm.state = v1.CUSTOMER_STATE_ARCHIVED
    client.save(firm)
    bulk.done(bulk.update(EVERYBODY, clearing("kind", "state")))
    after = client.get("firm")
    assert (after.kind, after.state) == (v1.CUSTOMER_KIND_PERSON, v1.CUSTOMER_STATE_ACTIVE)


def test_ids_of_merged_customers_lead_to_the_survivor(client: Client) -> None:
    """Which is changed once, whatever number of ids leads to it, and is named by its own."""
    for id in ("merged", "survivor"):
        client.save(person(id=id))
    client.merge("survivor", "merged")
    bulk = BulkWork(client)
    both = by_ids("merged", "survivor")
    assert bulk.count(both) == 1
    name = bulk.update(both, setting(stage="won"))
    assert bulk.done(name) == (1, 1, 0, 0)
    assert bulk.outcomes(name) == {"survivor": "CHANGED"}


def test_a_survivor_is_not_deleted_by_the_id_of_a_member(client: Client) -> None:
    """Whoever deletes it has to name it."""
    for id in ("merged", "survivor", "other"):
        client.save(person(id=id))
    client.merge("survivor", "merged")
    bulk = BulkWork(client)
    name = bulk.delete(by_ids("merged", "other"), count=1)
    assert bulk.done(name) == (1, 1, 0, 1)
    assert bulk.outcomes(name) == {"other": "CHANGED", "merged": "CUSTOMER_MERGED"}
    assert client.get("merged").id == "survivor"


# Filters

VALID, RISKY, BROKEN = v1.VERDICT_VALID, v1.VERDICT_RISKY, v1.VERDICT_INVALID


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ({}, "abcd"),
        ({"tags": ["x"]}, "ab"),
        ({"tags": ["x", "y"]}, "abc"),
        ({"tags": ["x"], "groups": ["g"]}, "b"),
        ({"sources": ["fair"]}, "c"),
        ({"campaigns": ["spring"]}, "a"),
        ({"kind": v1.CUSTOMER_KIND_COMPANY}, "d"),
        ({"kind": v1.CUSTOMER_KIND_PERSON, "state": v1.CUSTOMER_STATE_ACTIVE}, "bc"),
        ({"state": v1.CUSTOMER_STATE_ARCHIVED}, "a"),
        ({"email_verdicts": [BROKEN]}, "b"),
        ({"email_verdicts": [BROKEN, v1.VERDICT_UNKNOWN]}, "ab"),
        ({"phone_verdicts": [VALID]}, "c"),
        ({"phone_verdicts": [RISKY]}, ""),
        ({"tags": ["nobody has it"]}, ""),
    ],
)
def test_filters(bulk: BulkWork, client: Client, asked: dict[str, Any], meant: str) -> None:
    """Everything that is set must be so, of several words one; contacts' e-mails do not count."""
    archived = v1.CUSTOMER_STATE_ARCHIVED
    client.save(
        person("a@x.example", id="a", tags=["x"], campaigns=["spring", "fall"], state=archived)
    )
    client.save(person("a@@x", id="b", tags=["w", "x"], groups=["g"]))
    client.save(person("+442079460018", id="c", tags=["y"], sources=["fair"]))
    somebody = v1.Contact(last_name="C", emails=[v1.EmailAddress(value="b@@x")])
    company = v1.CUSTOMER_KIND_COMPANY
    client.save(v1.Customer(id="d", kind=company, company_name="F", contacts=[somebody]))
    selection = by_filter(**asked)
    assert bulk.count(selection) == len(meant)
    name = bulk.update(selection, setting(stage="won"))
    assert bulk.done(name) == (len(meant), len(meant), 0, 0)
    assert "".join(one.customer_id for one in bulk.results(name)) == meant


def test_a_filter_by_time_of_change(bulk: BulkWork, client: Client) -> None:
    """From that moment on, which is in."""
    client.save(person(id="a"))
    at = client.save(person(id="b")).customer.update_time
    client.save(person(id="c"))
    assert bulk.count(by_filter(updated_since=at)) == 2
    later = Timestamp(seconds=at.seconds + 3_600)
    assert bulk.count(by_filter(updated_since=later)) == 0
    client.update(v1.Customer(id="a", stage="won"), "stage")
    assert bulk.count(by_filter(updated_since=at)) == 3


# Refusals


def paths(set: Sequence[str] = (), clear: Sequence[str] = ()) -> v1.CustomerChange:
    """Return a change by its masks, with values for all."""
    values = person(stage="won", custom_fields=custom(vip="yes"))
    return v1.CustomerChange(set=FieldMask(paths=set), clear=FieldMask(paths=clear), values=values)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (v1.CustomerChange(), "change"),
        (paths(set=["stage", "id"]), "change.set.paths[1]"),
        (paths(set=["etag"]), "change.set.paths[0]"),
        (paths(set=["update_time"]), "change.set.paths[0]"),
        (paths(set=["emails"]), "change.set.paths[0]"),
        (paths(set=["tags"]), "change.set.paths[0]"),
        (paths(set=["custom_fields.vip"]), "change.set.paths[0]"),
        (paths(set=["birth_date.year"]), "change.set.paths[0]"),
        (paths(set=["nonsense"]), "change.set.paths[0]"),
        (paths(set=["stage", "stage"]), "change.set.paths"),
        (paths(clear=["phones"]), "change.clear.paths[0]"),
        (paths(clear=["owner", "custom_fields.A"]), "change.clear.paths[1]"),
        (paths(clear=["owner", "owner"]), "change.clear.paths"),
        (paths(set=["stage"], clear=["stage"]), "change.clear.paths[0]"),
        (paths(set=["custom_fields"], clear=["custom_fields.vip"]), "change.clear.paths[0]"),
        (setting("custom_fields"), "change.values.custom_fields"),
        (setting(birth_date=v1.Date(month=13)), "change.values.birth_date"),
        (setting(kind=77), "change.values.kind"),
        (setting(comment="x" * 10_001), "change.values.comment"),
        (setting(custom_fields=custom(BAD="x")), "change.values.custom_fields"),
        (v1.CustomerChange(add_tags=[""]), "change.add_tags"),
        (v1.CustomerChange(add_groups=["x"] * 201), "change.add_groups"),
        (v1.CustomerChange(remove_sources=["\0"]), "change.remove_sources[0]"),
        (v1.CustomerChange(add_tags=["a", "b"], remove_tags=["b"]), "change.remove_tags"),
    ],
)
def test_changes_that_cannot_be(bulk: BulkWork, change: v1.CustomerChange, field: str) -> None:
    """Refused before anything begins, with the path of the entry."""
    refused = refusal(lambda: bulk.update(EVERYBODY, change))
    assert refused.short == (INVALID, "INVALID_ARGUMENT", field)
    assert not bulk.work.page().operations


@pytest.mark.parametrize(
    ("selection", "field"),
    [
        (v1.CustomerSelection(), "selection"),
        (by_ids(), "selection.ids.ids"),
        (by_ids("a", "a"), "selection.ids.ids"),
        (by_ids("a", ""), "selection.ids.ids[1]"),
        (by_ids("x" * 129), "selection.ids.ids[0]"),
        (by_filter(tags=[""]), "selection.filter.tags"),
        (by_filter(groups=["x"] * 201), "selection.filter.groups"),
        (by_filter(kind=77), "selection.filter.kind"),
        (by_filter(state=77), "selection.filter.state"),
        (by_filter(email_verdicts=[VALID, 0]), "selection.filter.email_verdicts"),
        (by_filter(phone_verdicts=[77]), "selection.filter.phone_verdicts"),
    ],
)
def test_selections_that_mean_nobody(
    bulk: BulkWork, selection: v1.CustomerSelection, field: str
) -> None:
    """Each method says so."""
    calls: list[Callable[[], object]] = [
        lambda: bulk.count(selection),
        lambda: bulk.update(selection, setting(stage="won")),
        lambda: bulk.delete(selection, 1),
    ]
    for call in calls:
        assert refusal(call).short == (INVALID, "INVALID_ARGUMENT", field)


# Deleting


def test_a_deletion_is_for_ever(bulk: BulkWork, client: Client) -> None:
    """With the history; the feed has who and why, and the ids are never used again."""
    for id in ("a", "b", "c"):
        client.save(person(f"{id}@x.example", id=id, tags=[] if id == "c" else ["x"]))
    name = bulk.delete(by_filter(tags=["x"]), 2, reason="  a list that we bought  ")
    assert bulk.done(name) == (2, 2, 0, 0)
    assert bulk.outcomes(name) == {"a": "CHANGED", "b": "CHANGED"}
    for id in ("a", "b"):
        assert refusal(partial(client.get, id)).reason == "NOT_FOUND"
        (entry,) = client.history(id)
        assert (entry.kind, entry.reason) == (v1.CHANGE_KIND_DELETED, "a list that we bought")
        again = refusal(partial(client.save, person(id=id)))
        assert again.reason == "CUSTOMER_DELETED"
    assert client.get("c")
    assert client.holders("email", "a@x.example") == []
    assert client.faults() == []


def test_a_wrong_number_deletes_nothing(bulk: BulkWork, client: Client) -> None:
    """The refusal has the right one; ids that find nobody do not count."""
    for id in ("a", "b"):
        client.save(person(id=id))
    for wrong in (1, 3):
        refused = refusal(partial(bulk.delete, EVERYBODY, wrong))
        assert refused.short == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "COUNT_MISMATCH",
            "count",
        )
        assert refused.metadata == {"customers": "2"}
        assert "2 customers" in refused.message
    assert refusal(lambda: bulk.delete(by_ids("a", "nobody"), 2)).reason == "COUNT_MISMATCH"
    assert client.stats().customers == 2
    assert not bulk.work.page().operations
    assert bulk.done(bulk.delete(by_ids("a", "nobody"), 1)) == (1, 1, 0, 1)


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"count": 0}, "count"),
        ({"count": 1, "reason": "too short"}, "reason"),
        ({"count": 1, "reason": "  spaces   "}, "reason"),
        ({"count": 1, "reason": "x" * 501}, "reason"),
        ({"count": 1, "reason": "a NUL \0 within"}, "reason"),
    ],
)
def test_a_deletion_says_how_many_and_why(
    bulk: BulkWork, client: Client, terms: dict[str, Any], field: str
) -> None:
    """Or is refused."""
    client.save(person(id="a"))
    assert refusal(lambda: bulk.delete(EVERYBODY, **terms)).short == (
        INVALID,
        "INVALID_ARGUMENT",
        field,
    )
    assert client.get("a")


def test_bounds(start_server: StartServer) -> None:
    """More ids than may be named, and more customers than may be deleted at once."""
    bounds = {"NAMESAKE_BULK_IDS": "2", "NAMESAKE_BULK_DELETE_ROWS": "1"}
    with start_server(**bounds).channel() as channel:
        client = Client(channel)
        bulk = BulkWork(client)
        for id in ("a", "b"):
            client.save(person(id=id))
        exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
        refused = refusal(lambda: bulk.delete(EVERYBODY, 2))
        assert refused.short == (exhausted, "LIMIT_EXCEEDED", "count")
        assert refusal(lambda: bulk.delete(EVERYBODY, 1)).reason == "COUNT_MISMATCH"
        three = by_ids("a", "b", "c")
        for call in (
            lambda: bulk.update(three, setting(stage="won")),
            lambda: bulk.delete(three, 1),
            lambda: bulk.count(three),
        ):
            refused = refusal(call)
            assert refused.short == (exhausted, "LIMIT_EXCEEDED", "selection.ids.ids")
        assert client.stats().customers == 2


# While it is under way


@pytest.fixture
def slow(start_server: StartServer) -> Server:
    """A server that changes one customer to a commit."""
    return start_server(**ONE_AT_A_TIME)


def test_who_changed_meanwhile_is_not_deleted_by_a_filter(slow: Server) -> None:
    """Each is looked at again in the transaction that would delete it."""
    with slow.channel() as channel:
        client = Client(channel)
        bulk = BulkWork(client)
        ids = crowd(client, 1_000, tags=["x"])
        name = bulk.delete(by_filter(tags=["x"]), len(ids))
        client.update(v1.Customer(id=ids[-1]), "tags")
        client.update(v1.Customer(id=ids[-2], stage="won"), "stage")
        client.delete(ids[-3])
        assert bulk.done(name) == (1_000, 998, 0, 2)
        failed = {id: why for id, why in bulk.outcomes(name).items() if why != "CHANGED"}
        assert failed == {ids[-1]: "NO_LONGER_MATCHES", ids[-3]: "CUSTOMER_DELETED"}
        assert [one.id for page in client.pages() for one in page] == [ids[-1]]
        assert client.faults() == []


def test_an_update_is_made_to_what_is_there_then(slow: Server) -> None:
    """A change that came in between is kept; saves do not wait for the end."""
    with slow.channel() as channel:
        client = Client(channel)
        bulk = BulkWork(client)
        ids = crowd(client, 1_000, tags=["x"])
        name = bulk.update(by_filter(tags=["x"]), v1.CustomerChange(add_tags=["y"]))
        client.update(v1.Customer(id=ids[-1], tags=["z"]), "tags")
        assert not bulk.work.get(name).done
        assert bulk.done(name) == (1_000, 1_000, 0, 0)
        assert list(client.get(ids[-1]).tags) == ["z", "y"]


def test_a_cancelled_change_stays_as_far_as_it_got(slow: Server) -> None:
    """The results and the counts say exactly how far."""
    with slow.channel() as channel:
        client = Client(channel)
        bulk = BulkWork(client)
        ids = crowd(client, 20_000)
        name = bulk.update(EVERYBODY, setting(stage="won"))
        wait_until(lambda: bool(bulk.results(name)))
        asked = time.monotonic()
        bulk.work.cancel(name)
        assert failure(bulk.work.wait(name)) == CANCELLED
        assert time.monotonic() - asked < 3.0
        outcomes = bulk.outcomes(name)
        assert 0 < len(outcomes) < len(ids)
        assert set(outcomes.values()) == {"CHANGED"}
        assert bulk.told(name) == (20_000, len(outcomes), 0, 0)
        assert won(client) == outcomes.keys()


def won(client: Client) -> set[str]:
    """Return the ids of the customers that a test's change has reached."""
    return {one.id for answer in client.export() for one in answer.customers if one.stage == "won"}


def test_a_stop_in_the_middle_interrupts_it(slow: Server) -> None:
    """Nothing is lost or told twice; the change can be begun again."""
    with slow.channel() as channel:
        client = Client(channel)
        bulk = BulkWork(client)
        crowd(client, 20_000)
        name = bulk.update(EVERYBODY, setting(stage="won"))
        wait_until(lambda: bool(bulk.results(name)))
    assert slow.stop() == 0
    slow.start()
    with slow.channel() as channel:
        client = Client(channel)
        bulk = BulkWork(client)
        assert failure(bulk.work.get(name)) == INTERRUPTED
        assert won(client) == bulk.outcomes(name).keys()


def test_a_power_cut_in_the_middle_interrupts_it(slow: Server) -> None:
    """Who has a result was changed; at most those of one commit were changed and have none."""
    with slow.channel() as channel:
        bulk = BulkWork(Client(channel))
        crowd(bulk.client, 20_000)
        name = bulk.update(EVERYBODY, setting(stage="won"))
        wait_until(lambda: len(bulk.results(name)) > 100)
    slow.kill()
    with next(results_of(slow)).open("ab") as stream:
        stream.write(b'[1,"c0')  # what a line looks like that was not finished
    slow.start()
    with slow.channel() as channel:
        client = Client(channel)
        bulk = BulkWork(client)
        assert failure(bulk.work.get(name)) == INTERRUPTED
        told = bulk.outcomes(name).keys()
        assert len(told) > 100
        assert told <= won(client)
        assert len(won(client) - told) <= 1
        again = bulk.update(EVERYBODY, setting(stage="won"))
        bulk.work.cancel(again)
        bulk.work.wait(again)
        assert client.faults() == []


# Results


def results_of(server: Server) -> Any:
    """Yield the files of results of the default account."""
    return (server.data / "default" / "results").iterdir()


def test_results_go_with_their_operation(own: Client, server: Server) -> None:
    """Owner-only files; forgotten by a delete, by the bound on those kept, or found at start."""
    bulk = BulkWork(own)
    own.save(person(id="a"))
    first = bulk.update(EVERYBODY, setting(stage="1"))
    second = bulk.update(EVERYBODY, setting(stage="2"))
    for name in (first, second):
        assert bulk.done(name) == (1, 1, 0, 0)
    folder = server.data / "default" / "results"
    assert {path.stat().st_mode & 0o777 for path in results_of(server)} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    bulk.work.delete(first)
    assert [path.name for path in results_of(server)] == [second.removeprefix("operations/")]
    refused = refusal(lambda: bulk.results(first))
    assert refused.short == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "operation")
    (folder / "bulk-update-of-nobody").write_text("")
    assert server.stop() == 0
    server.start()
    assert [path.name for path in results_of(server)] == [second.removeprefix("operations/")]


def test_without_room_for_results_nothing_is_changed(own: Client, server: Server) -> None:
    """The operation says so."""
    own.save(person(id="a"))
    (server.data / "default" / "results").write_text("in the way")
    bulk = BulkWork(own)
    name = bulk.update(EVERYBODY, setting(stage="won"))
    assert failure(bulk.work.wait(name))[1] == "STORAGE_FAULT"
    assert own.get("a").stage == ""


def test_the_oldest_results_go_when_their_operation_is_forgotten(
    start_server: StartServer,
) -> None:
    """As many are kept as operations are."""
    server = start_server(NAMESAKE_OPERATIONS_KEPT="2")
    with server.channel() as channel:
        bulk = BulkWork(Client(channel))
        bulk.client.save(person(id="a"))
        names = []
        for number in range(4):
            names.append(bulk.update(EVERYBODY, setting(stage=str(number))))
            bulk.done(names[-1])
        kept = {name.removeprefix("operations/") for name in names[-2:]}
        wait_until(lambda: {path.name for path in results_of(server)} == kept)


@pytest.mark.parametrize("name", ["", "operations/bulk-update-x", "operations/../data.mdb", "x"])
def test_names_of_no_change(bulk: BulkWork, name: str) -> None:
    """Are not found, whatever they look like."""
    refused = refusal(lambda: bulk.results(name))
    assert refused.short == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "operation")


def test_a_scan_has_no_such_results(bulk: BulkWork) -> None:
    """It is an operation of another kind."""
    name = bulk.work.scan()
    bulk.work.wait(name)
    assert refusal(lambda: bulk.results(name)).reason == "NOT_FOUND"


def test_many_results_come_in_messages_that_clients_take(own: Client) -> None:
    """In the order of the work."""
    bulk = BulkWork(own)
    ids = crowd(own, 2_500)
    name = bulk.update(EVERYBODY, setting(stage="won"))
    assert bulk.done(name) == (2_500, 2_500, 0, 0)
    request = v1.ReadBulkResultsRequest(operation=name)
    answers = list(own.call(own.transfer.ReadBulkResults, request))
    assert [len(answer.results) for answer in answers] == [1_000, 1_000, 500]
    assert [one.customer_id for answer in answers for one in answer.results] == ids
    assert own.faults() == []


def test_any_worker_tells(start_server: StartServer) -> None:
    """Progress, end and results, whoever does the work."""
    server = start_server("--workers", "2", **ONE_AT_A_TIME)
    options = [("grpc.use_local_subchannel_pool", 1)]
    names: list[str] = []
    stages = map(str, count())
    for _ in range(6):  # each on a connection of its own, which one worker or the other takes
        with grpc.insecure_channel(server.address, options) as channel:
            bulk = BulkWork(Client(channel))
            if not names:
                crowd(bulk.client, 50)
            names.append(bulk.update(EVERYBODY, setting(stage=next(stages))))
            assert bulk.done(names[-1]) == (50, 50, 0, 0)
            for name in names:
                assert len(bulk.results(name)) == 50
    files = {Path(path).name for path in results_of(server)}
    assert files == {name.removeprefix("operations/") for name in names}


def test_who_acts_and_why_is_told_by_the_reason(bulk: BulkWork, client: Client) -> None:
    """In the feed, of each customer."""
    client.save(person(id="a"))
    acting = BulkWork(client.acting("kim"))
    acting.done(acting.delete(EVERYBODY, 1))
    change = client.feed()[-1].change
    assert (change.actor, change.reason, change.customer_id) == ("kim", REASON, "a")
