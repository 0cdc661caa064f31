"""What each DNS answer means for an address, against real servers."""

from __future__ import annotations

import dnslib
import pytest

from service.core.model import Channel, Checked, Lookup, Point, Reason, Verdict
from service.validation.validator import Validator
from tests.dns_servers import FaultyDns, Reply, Script, cut_short, failure, garbage, mx, silence
from tests.validation.conftest import Running


async def check(validator: Validator, *values: str, lookup: Lookup = Lookup.WAIT) -> list[Checked]:
    points = [Point(Channel.EMAIL, value) for value in values]
    return await validator.check(points, default_region="US", lookup=lookup)


POLICY = {
    "mail.example": (Verdict.VALID, Reason.ACCEPTED, ("mx1.host.example", "mx2.host.example")),
    "null.example": (Verdict.INVALID, Reason.NULL_MX, ()),
    "mixed.example": (Verdict.VALID, Reason.ACCEPTED, ("real.host.example",)),
    "implicit4.example": (Verdict.VALID, Reason.ACCEPTED, ("implicit4.example",)),
    "implicit6.example": (Verdict.VALID, Reason.ACCEPTED, ("implicit6.example",)),
    "nodata.example": (Verdict.INVALID, Reason.NO_MAIL_SERVER, ()),
    "missing.nodata.example": (Verdict.INVALID, Reason.DOMAIN_NOT_FOUND, ()),
    "www.chain.example": (Verdict.VALID, Reason.ACCEPTED, ("mx.chain.example",)),
    "bare.chain.example": (Verdict.INVALID, Reason.NO_MAIL_SERVER, ()),
    "dangling.chain.example": (Verdict.INVALID, Reason.DOMAIN_NOT_FOUND, ()),
    "servfail.example": (Verdict.UNKNOWN, Reason.MAIL_SERVER_UNKNOWN, ()),
    "refused.example": (Verdict.UNKNOWN, Reason.MAIL_SERVER_UNKNOWN, ()),
}


async def test_each_answer_of_a_real_server_has_its_reason(
    running: Running, knot_address: str
) -> None:
    async with running(knot_address) as validator:
        checked = await check(validator, *(f"anna@{domain}" for domain in POLICY))
    findings = [one.finding for one in checked]
    told = [(finding.verdict, finding.reason, finding.mx_hosts) for finding in findings]
    assert dict(zip(POLICY, told, strict=True)) == POLICY
    assert all(finding.holds_until_us > finding.checked_us for finding in findings)


@pytest.mark.parametrize(
    "script", [failure("SERVFAIL"), failure("REFUSED"), silence, garbage, cut_short]
)
async def test_a_server_at_fault_never_makes_an_address_invalid(
    running: Running, script: Script
) -> None:
    async with (
        FaultyDns(script) as dns,
        running(dns.address, dns_deadline_ms=500, dns_lookup_s=2) as validator,
    ):
        (checked,) = await check(validator, "anna@shop.example")
        settled = await validator.resolve(["other.example"])
    assert checked.finding.verdict is Verdict.UNKNOWN
    assert checked.finding.reason is Reason.MAIL_SERVER_UNKNOWN
    assert settled["other.example"].reason is Reason.MAIL_SERVER_UNKNOWN


async def test_no_mx_and_a_broken_answer_for_the_address_is_unknown(
    running: Running,
) -> None:
    def no_mx_and_broken_a(query: dnslib.DNSRecord) -> Reply:
        asked_mx = query.q.qtype == dnslib.QTYPE.MX
        return mx()(query) if asked_mx else failure("SERVFAIL")(query)

    async with (
        FaultyDns(no_mx_and_broken_a) as dns,
        running(dns.address) as validator,
    ):
        (checked,) = await check(validator, "anna@shop.example")
    assert checked.finding.reason is Reason.MAIL_SERVER_UNKNOWN


async def test_hosts_that_are_no_host_names_do_no_harm(running: Running) -> None:
    odd = (b"m\xffx", b"a b", b"x\ny", b"\x00", b"dot.inside")

    def script(query: dnslib.DNSRecord) -> Reply:
        reply = query.reply()
        for preference, label in enumerate(odd):
            record = dnslib.MX(dnslib.DNSLabel([label, b"example"]), preference)
            reply.add_answer(dnslib.RR(query.q.qname, query.q.qtype, rdata=record, ttl=300))
        return reply

    async with FaultyDns(script) as dns:
        async with running(dns.address) as validator:
            (checked,) = await check(validator, "anna@shop.example")
        async with running(dns.address) as validator:
            (again,) = await check(validator, "anna@shop.example")
    assert checked.finding.verdict in (Verdict.VALID, Verdict.UNKNOWN)
    assert again.finding.mx_hosts == checked.finding.mx_hosts


async def test_deferred_and_skipped_checks_ask_nobody(running: Running) -> None:
    async with FaultyDns(mx("mx.example.")) as dns, running(dns.address) as validator:
        (deferred,) = await check(validator, "anna@shop.example", lookup=Lookup.DEFER)
        (skipped,) = await check(validator, "anna@shop.example", lookup=Lookup.SKIP)
        assert not dns.asked
        await check(validator, "anna@shop.example")
        (known,) = await check(validator, "bob@shop.example", lookup=Lookup.DEFER)
    assert (deferred.finding.verdict, deferred.finding.reason) == (Verdict.UNKNOWN, Reason.PENDING)
    assert (skipped.finding.verdict, skipped.finding.reason) == (
        Verdict.VALID,
        Reason.NOT_LOOKED_UP,
    )
    assert known.finding.reason is Reason.ACCEPTED


async def test_address_literals_and_broken_addresses_ask_nobody(running: Running) -> None:
    values = ["anna@[192.0.2.1]", "anna@", "anna@shop.test", "anna@localhost", ""]
    async with FaultyDns(mx("mx.example.")) as dns, running(dns.address) as validator:
        checked = await check(validator, *values)
        assert not dns.asked
    assert [one.finding.reason for one in checked] == [
        Reason.UNUSUAL_SYNTAX,
        Reason.EMAIL_SYNTAX,
        Reason.SPECIAL_USE_DOMAIN,
        Reason.SPECIAL_USE_DOMAIN,
        Reason.EMAIL_SYNTAX,
    ]
    assert checked[0].finding.verdict is Verdict.RISKY
    assert checked[1].finding.detail
    assert checked[2].normal == "anna@shop.test"


async def test_a_deferred_domain_is_settled_into_the_finding_a_check_would_give(
    running: Running,
) -> None:
    async with FaultyDns(mx("mx.example.")) as dns, running(dns.address) as validator:
        await check(validator, "anna@shop.example", lookup=Lookup.DEFER)
        verdicts = await validator.resolve(["shop.example", "shop.example"])
        finding = validator.domain_finding("shop.example", verdicts["shop.example"])
        (checked,) = await check(validator, "anna@shop.example")
        assert dns.asked == {"MX": 1}
    assert finding == checked.finding
