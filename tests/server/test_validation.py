"""Checking contact points over the wire, against real name servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from namesake import v1
from tests.conftest import Server, StartServer
from tests.dns_servers import silence
from tests.server.client import Client, person, refusal
from tests.server.conftest import RunDns

# A deadline that a slow machine does not reach: here the answer is asked for, not the speed.
PATIENT = {"NAMESAKE_DNS_DEADLINE_MS": "15000", "NAMESAKE_DNS_LOOKUP_S": "15"}

VALID, RISKY = v1.VERDICT_VALID, v1.VERDICT_RISKY
UNKNOWN, INVALID = v1.VERDICT_UNKNOWN, v1.VERDICT_INVALID


@pytest.fixture(scope="module")
def checking(knot_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A caller of a server whose DNS is knot."""
    folder = tmp_path_factory.mktemp("checking") / "data"
    server = Server(folder, ("--dns-server", knot_address), dict(PATIENT)).start()
    with server.channel() as channel:
        yield Client(channel)
    server.kill()


def check(client: Client, *values: str, **terms: object) -> list[v1.ContactResult]:
    """Check values; what has an "@" is an e-mail."""
    request = v1.CheckContactsRequest(contacts=[query(value) for value in values], **terms)  # type: ignore[arg-type]
    return list(client.call(client.validation.CheckContacts, request).results)


def query(value: str) -> v1.ContactQuery:
    """Return one question."""
    return v1.ContactQuery(email=value) if "@" in value else v1.ContactQuery(phone=value)


EMAILS = {
    "a@mail.example": (VALID, v1.REASON_ACCEPTED),
    "a@implicit4.example": (VALID, v1.REASON_ACCEPTED),
    "a@implicit6.example": (VALID, v1.REASON_ACCEPTED),
    "a@www.chain.example": (VALID, v1.REASON_ACCEPTED),
    "a@mixed.example": (VALID, v1.REASON_ACCEPTED),
    "a@null.example": (INVALID, v1.REASON_NULL_MX),
    "a@nodata.example": (INVALID, v1.REASON_NO_MAIL_SERVER),
    "a@gone.mail.example": (INVALID, v1.REASON_DOMAIN_NOT_FOUND),
    "a@servfail.example": (UNKNOWN, v1.REASON_MAIL_SERVER_UNKNOWN),
    "a@refused.example": (UNKNOWN, v1.REASON_MAIL_SERVER_UNKNOWN),
    "a@b.test": (INVALID, v1.REASON_SPECIAL_USE_DOMAIN),
    "a@mailinator.com": (RISKY, v1.REASON_DISPOSABLE),
    '"a b"@mail.example': (RISKY, v1.REASON_UNUSUAL_SYNTAX),
    "a@[192.0.2.1]": (RISKY, v1.REASON_UNUSUAL_SYNTAX),
    "a..b@mail.example": (INVALID, v1.REASON_EMAIL_SYNTAX),
    "@": (INVALID, v1.REASON_EMAIL_SYNTAX),
}
PHONES = {
    "+442079460018": (VALID, v1.REASON_ACCEPTED),
    "+4412": (INVALID, v1.REASON_PHONE_FORMAT),
    "hello": (INVALID, v1.REASON_PHONE_FORMAT),
    "+12005550100": (INVALID, v1.REASON_PHONE_NOT_ASSIGNED),
}


def test_every_kind_of_value_has_its_verdict(checking: Client) -> None:
    """In one batch, in the order asked, with the reason in English."""
    results = check(checking, *EMAILS, *PHONES)
    found = [(result.finding.verdict, result.finding.reason) for result in results]
    assert dict(zip((*EMAILS, *PHONES), found, strict=True)) == EMAILS | PHONES
    assert all(result.finding.message for result in results)
    assert all(result.finding.check_time.seconds for result in results)


def test_a_finding_says_what_it_rests_on(checking: Client) -> None:
    """Mail servers by preference, how long the answer holds, flags, what was meant."""
    good, role, typo, broken = check(
        checking, "a@mail.example", "info@mail.example", "a@gmial.com", "a..b@mail.example"
    )
    assert good.normal == "a@mail.example"
    assert list(good.finding.mx_hosts) == ["mx1.host.example", "mx2.host.example"]
    assert good.finding.source == "DNS"
    holds_s = good.finding.expire_time.seconds - good.finding.check_time.seconds
    assert 0 < holds_s <= 301  # the zone's TTL is 300 s
    assert list(good.finding.flags) == []
    assert list(role.finding.flags) == [v1.EMAIL_FLAG_ROLE_ACCOUNT]
    assert typo.finding.suggested_domain == "gmail.com"
    assert broken.normal == ""
    assert broken.finding.detail


def test_phones_are_answered_with_all_their_forms(checking: Client) -> None:
    """By the query's region, else the request's, else the account's."""
    request = v1.CheckContactsRequest(
        contacts=[
            v1.ContactQuery(phone="020 7946 0018 x5", region="GB"),
            v1.ContactQuery(phone="030 123456"),
        ],
        default_region="DE",
    )
    british, german = checking.call(checking.validation.CheckContacts, request).results
    assert (british.normal, british.extension, british.region) == ("+442079460018", "5", "GB")
    assert british.phone_type == v1.PHONE_TYPE_FIXED_LINE
    assert british.tel_uri == "tel:+44-20-7946-0018;ext=5"
    assert list(british.time_zones) == ["Europe/London"]
    assert (german.normal, german.region) == ("+4930123456", "DE")
    assert (german.national, german.international) == ("030 123456", "+49 30 123456")
    (american,) = check(checking, "(202) 456-1111")
    assert american.normal == "+12024561111"


def test_the_caller_chooses_how_domains_are_looked_up(checking: Client) -> None:
    """SKIP asks nobody; DEFER uses what is known; WAIT, the default, asks."""
    before = checking.stats().counters["dns_lookups"]
    (skipped,) = check(checking, "a@bare.chain.example", lookup=v1.DNS_LOOKUP_SKIP)
    assert (skipped.finding.verdict, skipped.finding.reason) == (VALID, v1.REASON_NOT_LOOKED_UP)
    (deferred,) = check(checking, "a@bare.chain.example", lookup=v1.DNS_LOOKUP_DEFER)
    assert (deferred.finding.verdict, deferred.finding.reason) == (UNKNOWN, v1.REASON_PENDING)
    assert checking.stats().counters["dns_lookups"] == before
    (waited,) = check(checking, "a@bare.chain.example")
    assert waited.finding.reason == v1.REASON_NO_MAIL_SERVER
    (known,) = check(checking, "b@bare.chain.example", lookup=v1.DNS_LOOKUP_DEFER)
    assert known.finding == waited.finding
    assert checking.stats().counters["dns_lookups"] == before + 1


def test_a_saved_card_has_the_same_findings(checking: Client) -> None:
    """What a check says of a value, a save says of a contact point."""
    values = [*EMAILS, *PHONES]
    saved = checking.save(person(*values)).customer
    points: list[Any] = [*saved.emails, *saved.phones]
    found = {point.value: (point.finding.verdict, point.finding.reason) for point in points}
    assert found == EMAILS | PHONES


def test_nothing_is_stored_by_a_check(checking: Client) -> None:
    """Neither customers nor changes."""
    before = checking.stats()
    check(checking, "a@mail.example", "+442079460018")
    after = checking.stats()
    assert (after.customers, after.sequence) == (before.customers, before.sequence)


def test_a_stream_answers_each_batch_in_order(checking: Client) -> None:
    """Batches of any size, also an empty one, while others are under way."""
    batches = [[f"a{number}@mail.example" for number in range(size)] for size in (1, 0, 300, 2)]

    def requests() -> Iterator[v1.StreamContactsRequest]:
        for batch in batches:
            yield v1.StreamContactsRequest(contacts=[query(value) for value in batch])

    answers = list(checking.call(checking.validation.StreamContacts, requests()))
    assert [[result.normal for result in answer.results] for answer in answers] == batches
    verdicts = {result.finding.verdict for answer in answers for result in answer.results}
    assert verdicts == {VALID}


def test_a_bad_batch_ends_its_stream_after_the_good_ones(checking: Client) -> None:
    """What was answered stays answered; the status names the field."""
    good = v1.StreamContactsRequest(contacts=[query("+442079460018")])
    bad = v1.StreamContactsRequest(contacts=[v1.ContactQuery()])
    stream = checking.call(checking.validation.StreamContacts, iter([good, bad]))
    assert len(next(stream).results) == 1
    assert refusal(lambda: next(stream)).field == "contacts[0]"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (v1.CheckContactsRequest(contacts=[v1.ContactQuery(phone="1")] * 5_001), "contacts"),
        (v1.CheckContactsRequest(contacts=[v1.ContactQuery()]), "contacts[0]"),
        (
            v1.CheckContactsRequest(contacts=[v1.ContactQuery(email="x" * 1_001)]),
            "contacts[0].email",
        ),
        (
            v1.CheckContactsRequest(contacts=[v1.ContactQuery(phone="1" * 1_001)]),
            "contacts[0].phone",
        ),
        (
            v1.CheckContactsRequest(contacts=[v1.ContactQuery(phone="1", region="gb")]),
            "contacts[0].region",
        ),
        (v1.CheckContactsRequest(default_region="Germany"), "default_region"),
        (v1.CheckContactsRequest(lookup=9), "lookup"),  # type: ignore[arg-type]
    ],
)
def test_bad_requests_are_refused_by_their_field(
    shared: Client, request_: v1.CheckContactsRequest, field: str
) -> None:
    """Bounds and enums, before anything is looked up."""
    refused = refusal(lambda: shared.call(shared.validation.CheckContacts, request_))
    assert refused.short == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", field)


def test_the_largest_batch_is_checked(shared: Client) -> None:
    """5,000 values of 5 domains, which nobody can look up here."""
    results = check(shared, *(f"a{number}@d{number % 5}.example" for number in range(5_000)))
    assert len(results) == 5_000
    assert {result.finding.verdict for result in results} == {UNKNOWN}


def test_silent_dns_means_unknown_long_before_the_look_up_ends(
    start_server: StartServer, faulty_dns: RunDns
) -> None:
    """The server answers by its own deadline although no name server ever does.

    The call's deadline is a fifth of the look-up's: an answer that waited for the latter fails.
    """
    dns = faulty_dns(silence)
    server = start_server(
        "--dns-server", dns.address, NAMESAKE_DNS_DEADLINE_MS="100", NAMESAKE_DNS_LOOKUP_S="50"
    )
    with server.channel() as channel:
        client = Client(channel)
        request = v1.CheckContactsRequest(contacts=[query("a@mail.example"), query("+4412")])
        answer = client.validation.CheckContacts(request, timeout=10)
        assert [result.finding.verdict for result in answer.results] == [UNKNOWN, INVALID]
        save = v1.SaveCustomerRequest(customer=person("a@mail.example"))
        saved = client.customers.SaveCustomer(save, timeout=10)
        reason = saved.customer.emails[0].finding.reason
        assert reason == v1.REASON_MAIL_SERVER_UNKNOWN
    assert dns.asked["MX"] > 0
