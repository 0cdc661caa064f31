"""Findings: precedence, flags, suggestions, evidence, phones."""

from __future__ import annotations

from importlib.resources import files

import dnslib
import pytest
from disposable_email_domains import blocklist

from service.core._emails import EmailParser
from service.core._text import Texts
from service.core.model import Channel, Checked, Flag, Lookup, PhoneType, Point, Reason, Verdict
from service.validation.lists import is_disposable, role_names, traits
from service.validation.validator import Validator
from tests.dns_servers import FaultyDns, Reply, failure, mx
from tests.validation.conftest import Running


async def check(validator: Validator, *values: str, lookup: Lookup = Lookup.WAIT) -> list[Checked]:
    points = [Point(Channel.EMAIL, value) for value in values]
    return await validator.check(points, default_region="US", lookup=lookup)


PRECEDENCE = [
    # address, rcode of DNS ("" for a mail server), what is told
    ("a@mailinator.com", "", Verdict.RISKY, Reason.DISPOSABLE),
    ("a@mailinator.com", "SERVFAIL", Verdict.RISKY, Reason.DISPOSABLE),
    ("a@mailinator.com", "NXDOMAIN", Verdict.INVALID, Reason.DOMAIN_NOT_FOUND),
    ('"a b"@mailinator.com', "", Verdict.RISKY, Reason.DISPOSABLE),
    ('"a b"@shop.example', "", Verdict.RISKY, Reason.UNUSUAL_SYNTAX),
    ('"a b"@shop.example', "SERVFAIL", Verdict.RISKY, Reason.UNUSUAL_SYNTAX),
    ('"a b"@shop.example', "NXDOMAIN", Verdict.INVALID, Reason.DOMAIN_NOT_FOUND),
    ('"a b"@shop.test', "", Verdict.INVALID, Reason.SPECIAL_USE_DOMAIN),
    ("a@shop.example", "SERVFAIL", Verdict.UNKNOWN, Reason.MAIL_SERVER_UNKNOWN),
    ("a@shop.example", "", Verdict.VALID, Reason.ACCEPTED),
    ("a b@shop.example", "", Verdict.INVALID, Reason.EMAIL_SYNTAX),
]


@pytest.mark.parametrize(("address", "rcode", "verdict", "reason"), PRECEDENCE)
async def test_the_gravest_reason_is_told(
    running: Running, address: str, rcode: str, verdict: Verdict, reason: Reason
) -> None:
    script = failure(rcode) if rcode else mx("mx.host.example.")
    async with FaultyDns(script) as dns, running(dns.address) as validator:
        (checked,) = await check(validator, address)
    assert (checked.finding.verdict, checked.finding.reason) == (verdict, reason)


async def test_a_domain_that_mails_through_a_throw_away_provider_is_disposable(
    running: Running,
) -> None:
    async with (
        FaultyDns(mx("mx1.mailinator.com.")) as dns,
        running(dns.address) as validator,
    ):
        own, relay = await check(validator, "a@shop.example", "a@duck.com")
    assert own.finding.reason is Reason.DISPOSABLE
    assert own.finding.source.startswith("disposable-email-domains ")
    assert own.finding.mx_hosts == ("mx1.mailinator.com",)
    assert relay.finding.reason is Reason.ACCEPTED
    assert relay.finding.flags == (Flag.PRIVACY_RELAY,)


async def test_flags_stand_beside_the_verdict(running: Running) -> None:
    async with FaultyDns(mx("mx.host.example.")) as dns, running(dns.address) as validator:
        checked = await check(
            validator, "Info+shop@gmail.com", "no.reply@shop.example", "anna@shop.example"
        )
    assert [one.finding.flags for one in checked] == [
        (Flag.ROLE_ACCOUNT, Flag.FREE_PROVIDER),
        (Flag.ROLE_ACCOUNT,),
        (),
    ]


async def test_slips_are_suggested_but_working_domains_left_alone(running: Running) -> None:
    squatted = {"gmial.com", "gmai.com", "webb.de"}

    def script(query: dnslib.DNSRecord) -> Reply:
        known = str(query.q.qname).rstrip(".").lower() in squatted
        return (mx("mx.host.example.") if known else failure("NXDOMAIN"))(query)

    async with FaultyDns(script) as dns, running(dns.address) as validator:
        names = ("gmial.com", "webb.de", "wbe.de", "hotmial.con", "shop.example", "gmail.com")
        checked = await check(validator, *(f"a@{name}" for name in names))
    suggested = [one.finding.suggested_domain for one in checked]
    assert suggested == ["gmail.com", "", "web.de", "hotmail.com", "", ""]


@pytest.mark.parametrize(
    "relay",
    ["duck.com", "mozmail.com", "privaterelay.appleid.com", "me.anonaddy.com", "simplelogin.com"],
)
def test_relays_are_never_disposable(relay: str) -> None:
    assert not is_disposable(relay)
    assert traits(relay).flags == (Flag.PRIVACY_RELAY,)


def test_disposable_domains_are_found_below_the_registrable_domain() -> None:
    assert "mailinator.com" in blocklist
    assert is_disposable("deep.below.mailinator.com")
    assert not is_disposable("notmailinator.example")


@pytest.mark.parametrize("name", ["privacy_relays", "free_providers", "popular_domains"])
def test_lists_hold_domains_in_normal_form_once(name: str) -> None:
    text = (files("service.validation") / f"{name}.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    domains = [line.removeprefix("* ") for line in lines]
    found = EmailParser(()).parse(Texts.of([f"a@{domain}" for domain in domains]))
    assert [form.domain for form in found.forms()] == domains
    assert len(set(domains)) == len(domains)
    assert not any(map(is_disposable, domains))


@pytest.mark.parametrize("local", ["info", "SALES", "no-reply", "noreply", "no_reply", "kontakt"])
def test_role_accounts_are_known_in_their_spellings(local: str) -> None:
    addresses = [f"{written}@x.example" for written in (local, f"{local}+tag", f"anna.{local}")]
    assert list(EmailParser(role_names()).parse(Texts.of(addresses)).role) == [1, 1, 0]


async def test_phones_are_judged_by_the_numbering_plan(running: Running) -> None:
    points = [
        Point(Channel.PHONE, "(415) 555-2671"),
        Point(Channel.PHONE, "030 901820 ext. 7", "DE"),
        Point(Channel.PHONE, "+1 999 999 9999"),
        Point(Channel.PHONE, "call me"),
        Point(Channel.EMAIL, "anna@shop.example"),
        Point(Channel.PHONE, "+800 1234 5678"),
    ]
    async with FaultyDns(mx("mx.example.")) as dns, running(dns.address) as validator:
        us, berlin, unassigned, words, email, world = await validator.check(
            points, default_region="US", lookup=Lookup.WAIT
        )
    assert (us.normal, us.region, us.phone_type) == (
        "+14155552671",
        "US",
        PhoneType.FIXED_LINE_OR_MOBILE,
    )
    assert (berlin.normal, berlin.extension, berlin.region) == ("+4930901820", "7", "DE")
    assert (unassigned.normal, unassigned.finding.reason, unassigned.finding.verdict) == (
        "+19999999999",
        Reason.PHONE_NOT_ASSIGNED,
        Verdict.INVALID,
    )
    assert (words.normal, words.finding.reason) == ("", Reason.PHONE_FORMAT)
    assert email.channel is Channel.EMAIL
    assert (world.region, world.phone_type) == ("001", PhoneType.TOLL_FREE)
    assert us.finding.source.startswith("phonenumbers ")


async def test_nothing_to_check_is_no_work(running: Running) -> None:
    async with FaultyDns(mx()) as dns, running(dns.address) as validator:
        assert await check(validator) == []
