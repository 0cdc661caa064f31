"""Which verdict counts where there are several: the newest answer of DNS that may still be used."""

from __future__ import annotations

import asyncio
from pathlib import Path

import dnslib

from service.core.model import Channel, Lookup, Point, Reason
from service.validation.shared import SharedVerdicts
from service.validation.verdicts import DomainVerdict, StoredVerdicts, now_us
from tests.dns_servers import FaultyDns, Reply, failure, mx
from tests.redis_server import RedisServer
from tests.validation.conftest import Running
from tests.validation.test_domains import reason_of, until

DAY_US = 86_400_000_000


def verdict(reason: Reason, age_us: int = 0, life_us: int = DAY_US) -> DomainVerdict:
    """Return a verdict of some time ago."""
    checked_us = now_us() - age_us
    return DomainVerdict(reason, checked_us, checked_us + life_us)


def on_disk(folder: Path, **verdicts: DomainVerdict) -> None:
    """Store verdicts as an earlier process did; `shop` stands for shop.example."""
    stored = StoredVerdicts(folder / "data" / "verdicts", limit_domains=100)
    stored.put({f"{name}.example": one for name, one in verdicts.items()})
    stored.close()


def stale() -> DomainVerdict:
    """A positive whose time is up, and that may be served while it is refreshed."""
    return verdict(Reason.ACCEPTED, age_us=2 * DAY_US)


async def test_an_import_refreshes_what_is_stale(running: Running, tmp_path: Path) -> None:
    on_disk(tmp_path, shop=stale())
    async with FaultyDns(mx(".")) as dns, running(dns.address) as validator:
        assert await reason_of(validator, lookup=Lookup.DEFER) is Reason.ACCEPTED
        await until(lambda: validator.stats().lookups == 1 and not validator.stats().in_flight)
        assert await reason_of(validator, lookup=Lookup.DEFER) is Reason.NULL_MX


async def test_an_import_refreshes_nothing_while_dns_is_busy(
    running: Running, tmp_path: Path
) -> None:
    on_disk(tmp_path, shop=stale())
    async with (
        FaultyDns(mx(".")) as dns,
        running(dns.address, dns_concurrency=1, dns_waiting_domains=9) as validator,
    ):
        dns.gate.clear()
        others = [asyncio.create_task(reason_of(validator, f"d{n}.example")) for n in range(4)]
        await until(lambda: validator.stats().in_flight == 4)
        assert await reason_of(validator, lookup=Lookup.DEFER) is Reason.ACCEPTED
        assert validator.stats().in_flight == 4
        dns.gate.set()
        await asyncio.gather(*others)


async def test_settling_does_not_rest_on_what_is_stale(running: Running, tmp_path: Path) -> None:
    on_disk(tmp_path, gone=stale(), kept=stale())

    def script(query: dnslib.DNSRecord) -> Reply:
        is_gone = str(query.q.qname).startswith("gone")
        return mx(".")(query) if is_gone else failure("SERVFAIL")(query)

    async with FaultyDns(script) as dns, running(dns.address) as validator:
        verdicts = await validator.resolve(["gone.example", "kept.example"])
    assert verdicts["gone.example"].reason is Reason.NULL_MX
    # Nothing better is known of it while DNS is down.
    assert verdicts["kept.example"].reason is Reason.ACCEPTED


async def test_what_memory_has_no_room_for_is_refreshed_too(
    running: Running, tmp_path: Path
) -> None:
    on_disk(tmp_path, one=stale(), two=stale())
    points = [Point(Channel.EMAIL, "a@one.example"), Point(Channel.EMAIL, "a@two.example")]
    async with FaultyDns(mx(".")) as dns, running(dns.address, dns_cache_domains=1) as validator:
        checked = await validator.check(points, default_region="US", lookup=Lookup.WAIT)
        await until(lambda: validator.stats().lookups == 2)
    assert {one.finding.reason for one in checked} == {Reason.ACCEPTED}


async def test_a_clock_that_ran_ahead_is_not_believed(running: Running, tmp_path: Path) -> None:
    on_disk(tmp_path, shop=verdict(Reason.DOMAIN_NOT_FOUND, age_us=-365 * DAY_US))
    async with FaultyDns(mx("mx.example.")) as dns:
        async with running(dns.address) as validator:
            assert await reason_of(validator) is Reason.ACCEPTED
        async with running(dns.address) as validator:
            assert await reason_of(validator) is Reason.ACCEPTED
            assert validator.stats().lookups == 0


async def test_a_missed_deadline_does_not_hide_what_another_process_found(
    running: Running,
) -> None:
    async with (
        FaultyDns(mx("mx.example.")) as dns,
        running(dns.address, dns_deadline_ms=300) as validator,
    ):
        dns.gate.clear()
        first = asyncio.create_task(reason_of(validator))
        await until(lambda: validator.stats().in_flight == 1)
        assert validator._domains is not None
        validator._domains._stored.put({"shop.example": verdict(Reason.ACCEPTED)})
        assert await reason_of(validator, lookup=Lookup.DEFER) is Reason.ACCEPTED
        assert await first is Reason.ACCEPTED
        assert await reason_of(validator, lookup=Lookup.DEFER) is Reason.ACCEPTED
        dns.gate.set()


async def test_a_slow_cache_does_not_hide_what_a_look_up_brought(
    running: Running, redis_server: RedisServer
) -> None:
    async with (
        FaultyDns(mx(".")) as dns,
        running(dns.address, redis=redis_server.url, redis_deadline_ms=1_000) as validator,
    ):
        dns.gate.clear()
        first = asyncio.create_task(reason_of(validator))
        await until(lambda: dns.asked["MX"] == 1)
        assert validator._domains is not None
        validator._domains._stored.put({"shop.example": stale()})
        redis_server.freeze()
        try:
            second = asyncio.create_task(reason_of(validator, lookup=Lookup.DEFER))
            await asyncio.sleep(0.1)
            dns.gate.set()
            assert await first is Reason.NULL_MX
            assert not second.done()
            assert await second is Reason.NULL_MX
        finally:
            redis_server.thaw()
        assert await reason_of(validator, lookup=Lookup.DEFER) is Reason.NULL_MX


# Redis


async def test_what_redis_told_is_not_told_back(
    running: Running, redis_server: RedisServer
) -> None:
    other = SharedVerdicts(redis_server.url, deadline_ms=5_000, pause_s=1, stale_s=0)
    async with (
        FaultyDns(mx("mx.example.")) as dns,
        running(dns.address, redis=redis_server.url) as validator,
    ):
        await other.put({"shop.example": verdict(Reason.DOMAIN_NOT_FOUND, age_us=1_000_000)})
        assert await reason_of(validator) is Reason.DOMAIN_NOT_FOUND
        newer = verdict(Reason.ACCEPTED)
        await other.put({"shop.example": newer})
        await until(lambda: validator.stats().unwritten == 0)
        assert await other.get(["shop.example"]) == {"shop.example": newer}
    await other.close()


async def test_a_write_that_fails_keeps_nobody_from_reading(redis_server: RedisServer) -> None:
    shared = SharedVerdicts(redis_server.url, deadline_ms=500, pause_s=600, stale_s=0)
    known = verdict(Reason.ACCEPTED)
    await shared.put({"shop.example": known})
    redis_server.freeze()
    await shared.put({"late.example": known})
    redis_server.thaw()
    assert await shared.get(["shop.example"]) == {"shop.example": known}
    assert shared.available
    await shared.close()


async def test_many_verdicts_are_shared_little_by_little(redis_server: RedisServer) -> None:
    many = {f"d{n}.example": verdict(Reason.ACCEPTED) for n in range(10_000)}
    shared = SharedVerdicts(redis_server.url, deadline_ms=2_000, pause_s=1, stale_s=0)
    writing = asyncio.create_task(shared.put(many))
    turns = 0
    while not writing.done():  # others get their turn between
        turns += 1
        await asyncio.sleep(0)
    assert turns > 100
    assert await shared.get(list(many)) == many
    await shared.close()


async def test_who_waits_for_redis_can_be_told_to_stop(redis_server: RedisServer) -> None:
    """At any turn of the loop: the client of Redis once lost a cancellation in some of them."""
    stopped = 0
    for turns in range(100):
        shared = SharedVerdicts(redis_server.url, deadline_ms=5_000, pause_s=1, stale_s=0)
        reading = asyncio.create_task(shared.get(["shop.example"]))
        for _ in range(turns):
            await asyncio.sleep(0)
        told = reading.cancel()
        await asyncio.wait({reading})
        assert reading.cancelled() == told, turns
        stopped += told
        await shared.close()
    assert stopped >= 5
