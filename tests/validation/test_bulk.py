"""Lists and imports beside people who save a card, and faults that are not the domain's."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiodns
import dnslib
import pycares
import pytest

from service.core.model import Channel, Lookup, Point, Reason
from service.validation.resolver import Resolver
from service.validation.verdicts import DomainVerdict
from tests.dns_servers import FaultyDns, Reply, mx
from tests.validation.conftest import Running
from tests.validation.test_domains import reason_of, until


async def test_a_list_with_silent_domains_starves_no_save(running: Running) -> None:
    answer = mx("mx.example.")

    def script(query: dnslib.DNSRecord) -> Reply:
        return None if str(query.q.qname).startswith("silent") else answer(query)

    points = [Point(Channel.EMAIL, f"a@silent{n}.example") for n in range(100)]
    async with (
        FaultyDns(script) as dns,
        running(
            dns.address, dns_concurrency=4, dns_waiting_domains=36, dns_deadline_ms=3_000
        ) as validator,
    ):
        bulk = asyncio.create_task(validator.check(points, default_region="US", lookup=Lookup.WAIT))
        await until(lambda: validator.stats().lookups == 3)
        # Three quarters, of what is under way and of what may be.
        assert validator.stats().in_flight == 30
        for number in range(3):
            assert await reason_of(validator, f"good{number}.example") is Reason.ACCEPTED
        settling = asyncio.create_task(validator.resolve(["settled.example"]))
        await asyncio.sleep(0.1)
        assert validator.stats().lookups == 6
        assert {one.finding.reason for one in await bulk} == {Reason.MAIL_SERVER_UNKNOWN}
        assert (await settling)["settled.example"].reason is Reason.MAIL_SERVER_UNKNOWN


async def test_a_failing_look_up_is_one_domain_s(
    running: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lookup = Resolver.lookup

    async def flawed(resolver: Resolver, domain: str) -> DomainVerdict:
        if domain.startswith("odd"):
            raise RuntimeError(f"a bug with {domain}")
        return await lookup(resolver, domain)

    monkeypatch.setattr(Resolver, "lookup", flawed)
    points = [Point(Channel.EMAIL, "a@odd.example"), Point(Channel.EMAIL, "a@shop.example")]
    async with FaultyDns(mx("mx.example.")) as dns, running(dns.address) as validator:
        checked = await validator.check(points, default_region="US", lookup=Lookup.WAIT)
        verdicts = await validator.resolve(["odder.example", "other.example"])
        assert validator.stats().in_flight == 0
    assert [one.finding.reason for one in checked] == [Reason.MAIL_SERVER_UNKNOWN, Reason.ACCEPTED]
    assert [verdict.reason for verdict in verdicts.values()] == [
        Reason.MAIL_SERVER_UNKNOWN, Reason.ACCEPTED,
    ]  # fmt: skip
    log = capsys.readouterr().out
    assert log.count("lookup_failed") == 2
    assert ".example" not in log


async def test_a_channel_that_cannot_be_renewed_is_kept(
    running: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(**options: Any) -> aiodns.DNSResolver:
        raise pycares.AresError("no more of anything")

    async with (
        FaultyDns(mx("mx.example.")) as dns,
        running(dns.address, dns_channel_life_s=1) as validator,
    ):
        monkeypatch.setattr(aiodns, "DNSResolver", refused)
        await asyncio.sleep(1.1)
        for number in range(3):
            assert await reason_of(validator, f"d{number}.example") is Reason.ACCEPTED
    # It is tried again after a pause, not at every look-up.
    assert capsys.readouterr().out.count("dns_channel_not_renewed") == 1


async def test_without_the_disk_checks_go_on(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    async with FaultyDns(mx("mx.example.")) as dns, running(dns.address) as validator:
        assert validator._domains is not None
        validator._domains._stored._environment.close()
        for number in range(3):
            assert await reason_of(validator, f"d{number}.example") is Reason.ACCEPTED
            await until(lambda: validator.stats().unwritten == 0)
        assert await reason_of(validator, "d4.example", Lookup.DEFER) is Reason.PENDING
    log = capsys.readouterr().out
    assert log.count("stored_verdicts_lost") == log.count("stored_verdict_writes_lost") == 1


LARGE_CACHE = """
import sys
from pathlib import Path
from service.core.model import Reason
from service.validation.verdicts import DomainVerdict, StoredVerdicts

hosts = (f"{'m' * 200}.example", f"{'k' * 200}.example")
names = (f"{'d' * 50}.{'e' * 50}.n{number}.example" for number in range(60_000))
stored = StoredVerdicts(Path(sys.argv[1]), 1_000_000)
stored.put({name: DomainVerdict(Reason.ACCEPTED, 1, 2, hosts) for name in names})
assert stored.get([f"{'d' * 50}.{'e' * 50}.n59999.example"])
"""


async def test_processes_with_other_bounds_share_the_disk(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        FaultyDns(mx("mx.example.")) as dns,
        running(dns.address, dns_stored_domains=1_000) as validator,
    ):
        assert await reason_of(validator, "one.example") is Reason.ACCEPTED
        command = [sys.executable, "-c", LARGE_CACHE, str(tmp_path / "data" / "verdicts")]
        await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)
        assert await reason_of(validator, "two.example") is Reason.ACCEPTED
        await until(lambda: validator.stats().unwritten == 0)
    assert "lost" not in capsys.readouterr().out
