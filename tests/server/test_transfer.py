"""Customers in bulk: import streams that resume, exports of one snapshot."""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from namesake import v1
from tests.conftest import StartServer, wait_until
from tests.dns_servers import failure, mx
from tests.server.client import Client, numbered, opening, person, refusal
from tests.server.conftest import RunDns

INVALID = grpc.StatusCode.INVALID_ARGUMENT
QUICK_SETTLING = {"NAMESAKE_SETTLE_PAUSE_S": "0.1", "NAMESAKE_SETTLE_PAUSE_LIMIT_S": "0.2"}


def people(count: int, prefix: str = "p", **fields: Any) -> list[v1.Customer]:
    """Return customers who share nothing."""
    return [
        person(f"{prefix}{number}@x.example", id=f"{prefix}{number}", **fields)
        for number in range(count)
    ]


def counts(answer: v1.ImportCustomersResponse) -> tuple[int, int, int, int, int]:
    """Return rows, created, updated, unchanged, failed."""
    one = answer.counts
    return one.rows, one.created, one.updated, one.unchanged, one.failed


class Stream:
    """An import stream that a test writes message by message."""

    def __init__(self, client: Client, job_id: str, **settings: Any) -> None:
        self._requests: queue.Queue[v1.ImportCustomersRequest | None] = queue.Queue()
        self._requests.put(opening(job_id, **settings))
        self.call: Any = client.call(client.transfer.ImportCustomers, self._sent())
        self.answers: Iterator[v1.ImportCustomersResponse] = iter(self.call)
        self.first = next(self.answers)

    def _sent(self) -> Iterator[v1.ImportCustomersRequest]:
        return iter(self._requests.get, None)

    def send(self, number: int, customers: list[v1.Customer]) -> None:
        """Send one batch."""
        (request,) = numbered([customers], number)
        self._requests.put(request)

    def end(self) -> list[v1.ImportCustomersResponse]:
        """Say that this was all; return the answers that were not read."""
        self._requests.put(v1.ImportCustomersRequest(end=v1.ImportEnd()))
        return self.close()

    def close(self) -> list[v1.ImportCustomersResponse]:
        """Say that no more comes; return the answers that were not read."""
        self._requests.put(None)
        return list(self.answers)

    def break_off(self) -> None:
        """End the stream as a lost connection does."""
        self.call.cancel()
        self._requests.put(None)


# Import


def test_batches_are_acknowledged_in_order_with_counts_so_far(client: Client) -> None:
    """The first response says where the job stands; each later one that its batch is durable."""
    batches = [people(3, "a"), people(2, "b"), [], people(3, "a")]
    answers = client.import_all("job", *batches)
    assert [answer.durable_batch for answer in answers] == [0, 1, 2, 3, 4]
    assert [counts(answer) for answer in answers] == [
        (0, 0, 0, 0, 0), (3, 3, 0, 0, 0), (5, 5, 0, 0, 0), (5, 5, 0, 0, 0), (8, 5, 0, 3, 0),
    ]  # fmt: skip
    sequences = [answer.sequence for answer in answers[1:]]
    assert sequences == sorted(sequences)
    assert sequences[0] >= 3
    assert sequences[1:] == [5, 5, 5]
    assert client.stats().customers == 5
    assert client.faults() == []


def test_each_acknowledgement_comes_without_waiting_for_the_next_batch(client: Client) -> None:
    """A caller may wait for one before it sends the next, and what it names is readable."""
    stream = Stream(client, "job")
    for number in range(1, 4):
        stream.send(number, people(2, f"n{number}-"))
        answer = next(stream.answers)
        assert answer.durable_batch == number
        assert client.get(f"n{number}-1").id == f"n{number}-1"
    assert stream.close() == []


def test_a_bad_row_is_an_item_and_does_not_end_the_stream(client: Client) -> None:
    """With its number in the job, its field and reason; rows around it are stored."""
    client.save(person(id="gone"))
    client.delete("gone")
    broken = person("x@x.example")
    broken.emails[0].value = ""
    batches = [
        [*people(2, "a"), person(last_name="", id="nameless")],
        [broken, person(id="gone"), *people(1, "b")],
    ]
    _, first, second = client.import_all("job", *batches)
    told = [(f.row, f.field, f.reason) for answer in (first, second) for f in answer.failures]
    assert told == [
        (3, "customer.last_name", "INVALID_ARGUMENT"),
        (4, "customer.emails[0].value", "INVALID_ARGUMENT"),
        (5, "customer.id", "CUSTOMER_DELETED"),
    ]
    assert all(failure.message for failure in [*first.failures, *second.failures])
    assert counts(second) == (6, 3, 0, 0, 3)
    assert client.stats().customers == 3


def test_findings_are_counted_per_batch(client: Client) -> None:
    """By channel, verdict and reason; domains nobody knows yet are PENDING."""
    batch = [
        person("a@x.example", "b@x.example", "+442079460018"), person("broken@", "nonsense"),
        person("info@y.test"), person("c@y.example", "a@x.example"),
    ]  # fmt: skip
    _, answer = client.import_all("job", batch)
    found = {(f.channel, f.verdict, f.reason): f.count for f in answer.findings}
    mail, call = v1.CHANNEL_EMAIL, v1.CHANNEL_CALL
    assert found == {
        (mail, v1.VERDICT_UNKNOWN, v1.REASON_PENDING): 4,
        (mail, v1.VERDICT_INVALID, v1.REASON_EMAIL_SYNTAX): 1,
        (mail, v1.VERDICT_INVALID, v1.REASON_SPECIAL_USE_DOMAIN): 1,
        (call, v1.VERDICT_VALID, v1.REASON_ACCEPTED): 1,
        (call, v1.VERDICT_INVALID, v1.REASON_PHONE_FORMAT): 1,
    }
    assert client.stats().pending_emails == 2  # once per customer and domain


def test_a_broken_stream_goes_on_with_exact_counts(client: Client) -> None:
    """Opened again with its id, the job says what is durable; batches sent again count once."""
    batches = [people(4, f"b{number}-") for number in range(6)]
    stream = Stream(client, "job")
    for number in (1, 2):
        stream.send(number, batches[number - 1])
    answer = next(stream.answers)
    assert answer.durable_batch == 1
    stream.break_off()
    again = Stream(client, "job")
    durable = again.first.durable_batch
    assert durable in (1, 2)
    assert counts(again.first) == (4 * durable, 4 * durable, 0, 0, 0)
    for number, batch in enumerate(batches, 1):  # from the start: a caller that kept no account
        again.send(number, batch)
    answers = again.close()
    assert counts(answers[-1]) == (24, 24, 0, 0, 0)
    assert answers[-1].durable_batch == 6
    assert client.stats().customers == client.stats().sequence == 24
    assert client.faults() == []


def test_a_finished_job_sent_again_changes_nothing(client: Client) -> None:
    """Not even what was changed since by hand."""
    first = client.import_all("job", people(3))
    client.update(v1.Customer(id="p1", stage="won"), "stage")
    again = client.import_all("job", people(3))
    assert counts(again[0]) == counts(again[1]) == counts(first[1])
    assert client.get("p1").stage == "won"


def test_jobs_do_not_meet(client: Client) -> None:
    """Each id has its own progress."""
    client.import_all("one", people(1, "a"), people(1, "b"))
    assert Stream(client, "two").first.durable_batch == 0
    assert Stream(client, "one").first.durable_batch == 2


def test_a_missing_batch_is_refused_after_the_good_ones(client: Client) -> None:
    """What came before the gap is durable and acknowledged; nothing after it is stored."""
    requests = [opening("job"), *numbered([people(2, "a")]), *numbered([people(2, "c")], 3)]
    stream = client.import_stream(requests)
    assert [next(stream).durable_batch, next(stream).durable_batch] == [0, 1]
    assert refusal(lambda: next(stream)).short == (INVALID, "INVALID_ARGUMENT", "batch.number")
    assert client.stats().customers == 2


def batch(number: int, size: int = 1) -> v1.ImportCustomersRequest:
    """Return a batch of equal rows."""
    customers = [v1.Customer(last_name="A")] * size
    return v1.ImportCustomersRequest(batch=v1.ImportBatch(number=number, customers=customers))


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([], "settings"),
        ([batch(1)], "settings"),
        ([v1.ImportCustomersRequest()], "settings"),
        ([opening("")], "settings.job_id"),
        ([opening("a b")], "settings.job_id"),
        ([opening("x" * 65)], "settings.job_id"),
        ([opening("j", default_region="uk")], "settings.default_region"),
        ([opening("j", match_order=[0])], "settings.match_order"),
        ([opening("j", match_order=[9])], "settings.match_order"),
        ([opening("j", match_order=[1], create_all=True)], "settings.match_order"),
        ([opening("j"), opening("j")], "settings"),
        ([opening("j"), v1.ImportCustomersRequest()], "settings"),
        ([opening("j"), batch(0)], "batch.number"),
        ([opening("j"), batch(2)], "batch.number"),
        ([opening("j"), batch(1, 5_001)], "batch.customers"),
    ],
)
def test_bad_streams_are_refused_by_their_field(
    shared: Client, requests: list[v1.ImportCustomersRequest], field: str
) -> None:
    """Faults of the stream itself end it."""
    refused = refusal(lambda: list(shared.import_stream(requests)))
    assert refused.short == (INVALID, "INVALID_ARGUMENT", field)


def test_the_largest_batch_is_one_commit(client: Client) -> None:
    """5,000 rows, of which the feed has one change each."""
    _, answer = client.import_all("job", people(5_000))
    assert counts(answer) == (5_000, 5_000, 0, 0, 0)
    assert answer.sequence == 5_000


def test_a_dry_run_counts_but_stores_nothing(client: Client) -> None:
    """Matches among stored customers and within a batch are counted; no job is begun."""
    client.import_all("real", people(2))
    before = client.stats()
    batches = [
        [*people(2), person("new@x.example"), person("new@x.example"), person(last_name="")],
        [person("p1@x.example", stage="won")],
    ]
    _, first, second = client.import_all("dry", *batches, dry_run=True)
    assert counts(first) == (5, 1, 0, 3, 1)
    assert [failure.row for failure in first.failures] == [5]
    assert counts(second) == (6, 1, 1, 3, 1)
    after = client.stats()
    assert (after.customers, after.sequence) == (before.customers, before.sequence)
    assert Stream(client, "dry").first.durable_batch == 0
    assert client.get("p1").stage == ""


# Matching

ROW = {
    v1.MATCH_BY_IDENTITY: "by-identity",
    v1.MATCH_BY_MOBILE: "by-mobile",
    v1.MATCH_BY_PHONE: "by-phone",
    v1.MATCH_BY_EMAIL: "by-email",
}


def matched_card() -> v1.Customer:
    """Return a row that somebody else matches in each way."""
    card = person("a@x.example", "+442079460018", "+447911123456", stage="imported")
    card.identities.add(type="erp", value="7")
    return card


@pytest.fixture
def matched(client: Client) -> Client:
    """An account where each way of matching finds somebody else."""
    client.save(person("+442079460018", id="by-phone"))
    client.save(person("+447911123456", id="by-mobile"))
    client.save(person("a@x.example", id="by-email"))
    client.save(person(id="by-identity", identities=[v1.Identity(type="erp", value="7")]))
    return client


def test_the_first_way_that_finds_somebody_decides(matched: Client) -> None:
    """In the order asked for; all others are left alone."""
    ways = list(ROW)
    for number in range(len(ways)):
        order = [v1.MATCH_BY_CUSTOMER_ID, *ways[number:], *ways[:number]]
        answer = matched.import_all(f"job{number}", [matched_card()], match_order=order)[-1]
        assert counts(answer)[:2] == (1, 0)
        changed = ROW[ways[number]]
        assert matched.get(changed).stage == "imported"
        assert {matched.get(id).stage for id in ROW.values() if id != changed} <= {"", "done"}
        matched.update(v1.Customer(id=changed, stage="done"), "stage")
        for id, points in (("by-phone", ["+442079460018"]), ("by-mobile", ["+447911123456"])):
            matched.save(person(*points, id=id, stage="done"))
        matched.save(person("a@x.example", id="by-email", stage="done"))
        erp = [v1.Identity(type="erp", value="7")]
        matched.save(person(id="by-identity", identities=erp, stage="done"))


def test_by_default_identities_come_before_phones_and_those_before_emails(
    matched: Client,
) -> None:
    """Customer id, identity, mobile, phone, e-mail."""
    card = matched_card()
    for number, id in enumerate(ROW.values()):
        matched.import_all(f"job{number}", [card])
        assert matched.get(id).stage == "imported", id
        matched.delete(id)


def test_an_id_in_the_row_is_the_authority(matched: Client) -> None:
    """A known id is updated whoever else matches; an unknown one is somebody new."""
    known, new = matched_card(), matched_card()
    known.id, new.id = "by-email", "new"
    answer = matched.import_all("job", [known, new])[-1]
    assert counts(answer) == (2, 1, 1, 0, 0)
    assert matched.get("by-email").stage == matched.get("new").stage == "imported"


def test_match_keys_alone_match_nobody(client: Client) -> None:
    """Imports match by normal form: a sub-address may be another person."""
    client.save(person("ada@gmail.com"))
    _, answer = client.import_all("job", [person("ada+x@gmail.com")])
    assert counts(answer) == (1, 1, 0, 0, 0)


def test_of_several_the_oldest_is_matched(client: Client) -> None:
    """One key, three customers: the first of them is updated."""
    for id in ("z", "y", "x"):
        client.save(person("a@x.example", id=id))
    client.import_all("job", [person("a@x.example", stage="s")])
    assert [client.get(id).stage for id in ("z", "y", "x")] == ["s", "", ""]


def test_rows_of_one_batch_match_each_other(client: Client) -> None:
    """The second row of the same e-mail updates what the first created."""
    rows = [person("a@x.example", stage="1"), person("a@x.example", "+442079460018", stage="2")]
    _, answer = client.import_all("job", rows)
    assert counts(answer) == (2, 1, 1, 0, 0)
    (id,) = client.holders("email", "a@x.example")
    assert client.get(id).stage == "2"
    assert len(client.get(id).phones) == 1


def test_create_all_matches_by_id_only(matched: Client) -> None:
    """Every other row is new."""
    known = matched_card()
    known.id = "by-email"
    answer = matched.import_all("job", [matched_card(), known], create_all=True)[-1]
    assert counts(answer) == (2, 1, 1, 0, 0)


def test_a_match_overlays_the_stored_card(client: Client) -> None:
    """What the row says wins, what it does not say stays, lists are united."""
    stored = person("a@x.example", id="c", first_name="Ada", stage="old", tags=["a"])
    stored.preferences.do_not_email = True
    client.save(stored)
    row = person("a@x.example", "+442079460018", id="c", stage="new", tags=["b"])
    row.preferences.do_not_call = True
    client.import_all("job", [row])
    card = client.get("c")
    assert (card.first_name, card.stage, list(card.tags)) == ("Ada", "new", ["a", "b"])
    assert (len(card.emails), len(card.phones)) == (1, 1)
    assert card.preferences.do_not_email
    assert card.preferences.do_not_call


def test_settings_are_added_to_every_row(client: Client) -> None:
    """Source, campaign, tags and groups once each; phones in the import's region; the actor."""
    rows = [person("030 123456", id="a", tags=["own", "t"]), person(id="b")]
    client.acting("importer").import_all(
        "job", rows, source="fair", campaign="spring", tags=["t", "u"], groups=["g"],
        default_region="DE",
    )  # fmt: skip
    one, two = client.get("a"), client.get("b")
    assert list(one.tags) == ["own", "t", "u"]
    assert list(two.tags) == ["t", "u"]
    for card in (one, two):
        assert (list(card.sources), list(card.campaigns)) == (["fair"], ["spring"])
        assert list(card.groups) == ["g"]
    assert one.phones[0].normal == "+4930123456"
    assert client.history("a")[0].actor == "importer"


# Settling what is pending


def reasons(client: Client) -> Counter[str]:
    """Count the reasons of all stored e-mails."""
    return Counter(
        v1.Reason.Name(email.finding.reason)
        for answer in client.export()
        for customer in answer.customers
        for email in customer.emails
    )


def test_pending_findings_are_settled_when_dns_answers(
    start_server: StartServer, knot_address: str
) -> None:
    """In the background, as changes of the feed, one look-up per domain."""
    server = start_server("--dns-server", knot_address, **QUICK_SETTLING)
    with server.channel() as channel:
        client = Client(channel)
        rows = [person(f"p{number}@mail.example", id=f"p{number}") for number in range(20)]
        rows.append(person("info@mail.example", "a@null.example", id="two"))
        _, answer = client.import_all("job", rows)
        assert {finding.reason for finding in answer.findings} == {v1.REASON_PENDING}
        wait_until(lambda: client.stats().pending_emails == 0)
        assert reasons(client) == {"REASON_ACCEPTED": 21, "REASON_NULL_MX": 1}
        changes = client.feed(kinds=[v1.CHANGE_KIND_VERDICT])
        assert {change.change.customer_id for change in changes} == {row.id for row in rows}
        assert all(list(change.change.fields.paths) == ["emails"] for change in changes)
        assert {change.change.actor for change in changes} == {"namesake"}
        info = client.get("two").emails[0].finding
        assert list(info.flags) == [v1.EMAIL_FLAG_ROLE_ACCOUNT]
        assert client.stats().counters["dns_lookups"] == 2
        assert client.faults() == []
        first = client.history("two")[-1].after.emails[0].finding
        assert first.reason == v1.REASON_PENDING


def test_what_dns_could_not_say_is_settled_when_it_can(
    start_server: StartServer, faulty_dns: RunDns
) -> None:
    """A failing name server leaves UNKNOWN, never INVALID; once it answers, VALID follows."""
    dns = faulty_dns(failure("SERVFAIL"))
    server = start_server(
        "--dns-server", dns.address, NAMESAKE_DNS_UNKNOWN_TTL_S="0", **QUICK_SETTLING
    )
    with server.channel() as channel:
        client = Client(channel)
        client.import_all("job", [person("a@mail.example")])
        client.save(person("b@mail.example"))
        wait_until(lambda: dns.asked["MX"] >= 3)
        assert reasons(client).keys() <= {"REASON_PENDING", "REASON_MAIL_SERVER_UNKNOWN"}
        dns.script = mx("mx.example")
        wait_until(lambda: client.stats().pending_emails == 0)
        assert reasons(client) == {"REASON_ACCEPTED": 2}


def test_what_was_pending_is_settled_after_a_restart(
    start_server: StartServer, knot_address: str
) -> None:
    """What waits is durable; the next process finds and settles it."""
    without_dns = start_server()
    with without_dns.channel() as channel:
        Client(channel).import_all("job", [person("a@mail.example")])
    assert without_dns.stop() == 0
    server = start_server("--dns-server", knot_address, data=without_dns.data, **QUICK_SETTLING)
    with server.channel() as channel:
        client = Client(channel)
        wait_until(lambda: reasons(client) == {"REASON_ACCEPTED": 1})
