"""Caching, single flight, deadlines and bounds of domain look-ups."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.core.model import Channel, Lookup, Point, Reason
from service.errors import InvalidArgument, StorageFault
from service.validation.validator import Validator
from service.validation.verdicts import DomainVerdict, StoredVerdicts, decode, encode, now_us
from tests.dns_servers import FaultyDns, failure, mx, silence
from tests.redis_server import RedisServer
from tests.validation.conftest import Running

PATIENCE_S = 30.0


async def reason_of(
    validator: Validator, domain: str = "shop.example", lookup: Lookup = Lookup.WAIT
) -> Reason:
    point = Point(Channel.EMAIL, f"anna@{domain}")
    (checked,) = await validator.check([point], default_region="US", lookup=lookup)
    return checked.finding.reason


async def until(condition: Callable[[], bool]) -> None:
    """Poll: the conditions are counters, which nobody announces."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_concurrent_checks_of_a_domain_share_one_lookup(running: Running) -> None:
    async with FaultyDns(mx("mx.example.")) as dns, running(dns.address) as validator:
        dns.gate.clear()
        checks = [asyncio.create_task(reason_of(validator)) for _ in range(50)]
        await until(lambda: dns.asked["MX"] >= 1)
        dns.gate.set()
        assert set(await asyncio.gather(*checks)) == {Reason.ACCEPTED}
        assert validator.stats().lookups == 1


async def test_a_batch_resolves_each_domain_once(running: Running) -> None:
    points = [Point(Channel.EMAIL, f"u{n}@d{n % 20}.example") for n in range(400)]
    async with FaultyDns(mx("mx.example.")) as dns, running(dns.address) as validator:
        checked = await validator.check(points, default_region="US", lookup=Lookup.WAIT)
        again = await validator.check(points, default_region="US", lookup=Lookup.WAIT)
        stats = validator.stats()
    assert {one.finding.reason for one in checked} == {Reason.ACCEPTED}
    assert [one.normal for one in checked] == [point.value for point in points]
    assert again == checked
    assert (stats.lookups, stats.memory_hits, stats.in_flight) == (20, 20, 0)


async def test_lookups_under_way_are_bounded(running: Running) -> None:
    points = [Point(Channel.EMAIL, f"anna@d{n}.example") for n in range(10)]
    async with (
        FaultyDns(mx("mx.example.")) as dns,
        running(dns.address, dns_concurrency=3) as validator,
    ):
        dns.gate.clear()
        check = asyncio.create_task(
            validator.check(points, default_region="US", lookup=Lookup.WAIT)
        )
        await until(lambda: validator.stats().lookups == 3)
        await asyncio.sleep(0.1)
        assert validator.stats().lookups == 3
        assert validator.stats().in_flight == 10
        dns.gate.set()
        checked = await check
    assert {one.finding.reason for one in checked} == {Reason.ACCEPTED}


async def test_a_full_queue_says_unknown_at_once(running: Running) -> None:
    points = [Point(Channel.EMAIL, f"anna@d{n}.example") for n in range(10)]
    async with (
        FaultyDns(mx("mx.example.")) as dns,
        running(dns.address, dns_concurrency=2, dns_waiting_domains=3) as validator,
    ):
        dns.gate.clear()
        check = asyncio.create_task(
            validator.check(points, default_region="US", lookup=Lookup.WAIT)
        )
        await until(lambda: validator.stats().refused == 5)
        late = await reason_of(validator, "late.example")
        dns.gate.set()
        checked = await check
        # What was refused is not held against the domain.
        afterwards = await reason_of(validator, "late.example")
    reasons = [one.finding.reason for one in checked]
    assert reasons.count(Reason.ACCEPTED) == 5
    assert reasons.count(Reason.MAIL_SERVER_UNKNOWN) == 5
    assert late is Reason.MAIL_SERVER_UNKNOWN
    assert afterwards is Reason.ACCEPTED


async def test_a_silent_server_costs_the_deadline_once_and_a_late_answer_counts(
    running: Running,
) -> None:
    async with (
        FaultyDns(mx("mx.example.")) as dns,
        running(dns.address, dns_deadline_ms=100) as validator,
    ):
        dns.gate.clear()
        async with asyncio.timeout(PATIENCE_S):
            assert await reason_of(validator) is Reason.MAIL_SERVER_UNKNOWN
        assert validator.stats().in_flight == 1
        # The second caller does not wait: it is answered without the event loop turning.
        second = reason_of(validator)
        with pytest.raises(StopIteration) as returned:
            second.send(None)
        assert returned.value.value is Reason.MAIL_SERVER_UNKNOWN
        dns.gate.set()
        await until(lambda: validator.stats().in_flight == 0)
        assert await reason_of(validator) is Reason.ACCEPTED
        assert validator.stats().lookups == 1


async def test_resolve_waits_where_a_check_gave_up(running: Running) -> None:
    async with (
        FaultyDns(mx("mx.example.")) as dns,
        running(dns.address, dns_deadline_ms=50) as validator,
    ):
        dns.gate.clear()
        assert await reason_of(validator) is Reason.MAIL_SERVER_UNKNOWN
        settling = asyncio.create_task(validator.resolve(["shop.example"]))
        await asyncio.sleep(0.2)
        assert not settling.done()
        dns.gate.set()
        assert (await settling)["shop.example"].reason is Reason.ACCEPTED


async def test_a_lookup_without_answer_ends_by_itself(running: Running) -> None:
    async with (
        FaultyDns(silence) as dns,
        running(dns.address, dns_lookup_s=1, dns_unknown_ttl_s=60) as validator,
    ):
        async with asyncio.timeout(PATIENCE_S):
            verdicts = await validator.resolve(["shop.example"])
        assert verdicts["shop.example"].reason is Reason.MAIL_SERVER_UNKNOWN
        assert await reason_of(validator) is Reason.MAIL_SERVER_UNKNOWN
        assert await reason_of(validator, lookup=Lookup.DEFER) is Reason.PENDING
        stats = validator.stats()
    assert (stats.lookups, stats.unknowns, stats.in_flight) == (1, 1, 0)


async def test_an_unknown_is_asked_again_after_its_time(running: Running) -> None:
    async with (
        FaultyDns(failure("SERVFAIL")) as dns,
        running(dns.address, dns_unknown_ttl_s=1) as validator,
    ):
        assert await reason_of(validator) is Reason.MAIL_SERVER_UNKNOWN
        dns.script = mx("mx.example.")
        assert await reason_of(validator) is Reason.MAIL_SERVER_UNKNOWN
        await asyncio.sleep(1.1)
        assert await reason_of(validator) is Reason.ACCEPTED


async def test_ttls_are_kept_within_their_bounds(running: Running) -> None:
    held_s = []
    for ttl, bounds in ((5, {"dns_ttl_min_s": 60}), (9_999, {"dns_ttl_max_s": 120}), (90, {})):
        async with FaultyDns(mx("mx.example.", ttl=ttl)) as dns:
            domain = f"ttl{ttl}.example"
            async with running(dns.address, **bounds) as validator:
                verdict = (await validator.resolve([domain]))[domain]
        held_s.append((verdict.holds_until_us - verdict.checked_us) // 1_000_000)
    assert held_s == [60, 120, 90]


async def test_a_stale_positive_is_served_while_it_is_refreshed(running: Running) -> None:
    async with (
        FaultyDns(mx("old.example.", ttl=1)) as dns,
        running(dns.address, dns_ttl_min_s=0, dns_negative_ttl_s=60) as validator,
    ):
        assert await reason_of(validator) is Reason.ACCEPTED
        dns.script = mx(".")
        await asyncio.sleep(1.2)
        dns.gate.clear()
        assert await reason_of(validator) is Reason.ACCEPTED
        await until(lambda: validator.stats().lookups == 2)
        dns.gate.set()
        await until(lambda: validator.stats().in_flight == 0)
        assert await reason_of(validator) is Reason.NULL_MX
        assert validator.stats().stale_served == 1


async def test_a_positive_outlives_its_ttl_while_dns_is_down(running: Running) -> None:
    async with (
        FaultyDns(mx("mx.example.", ttl=1)) as dns,
        running(dns.address, dns_ttl_min_s=0, dns_stale_s=60, dns_unknown_ttl_s=60) as validator,
    ):
        assert await reason_of(validator) is Reason.ACCEPTED
        dns.script = failure("SERVFAIL")
        await asyncio.sleep(1.2)
        for _ in range(5):
            assert await reason_of(validator) is Reason.ACCEPTED
            await until(lambda: validator.stats().in_flight == 0)
        # The first refresh failed; the next waits for dns_unknown_ttl_s.
        assert validator.stats().lookups == 2


async def test_beyond_the_stale_time_an_outage_is_unknown(running: Running) -> None:
    async with (
        FaultyDns(mx("mx.example.", ttl=1)) as dns,
        running(dns.address, dns_ttl_min_s=0, dns_stale_s=0) as validator,
    ):
        assert await reason_of(validator) is Reason.ACCEPTED
        dns.script = failure("SERVFAIL")
        await asyncio.sleep(1.2)
        assert await reason_of(validator) is Reason.MAIL_SERVER_UNKNOWN


async def test_a_negative_is_forgotten_after_its_time_whatever_c_ares_keeps(
    running: Running,
) -> None:
    async with (
        FaultyDns(mx()) as dns,
        running(dns.address, dns_negative_ttl_s=1, dns_channel_life_s=1) as validator,
    ):
        assert await reason_of(validator) is Reason.NO_MAIL_SERVER
        dns.script = mx("mx.example.")
        assert await reason_of(validator) is Reason.NO_MAIL_SERVER
        await asyncio.sleep(1.2)
        assert await reason_of(validator) is Reason.ACCEPTED


async def test_lookups_under_way_survive_a_new_channel(running: Running) -> None:
    async with (
        FaultyDns(mx("mx.example.")) as dns,
        running(dns.address, dns_channel_life_s=1) as validator,
    ):
        dns.gate.clear()
        slow = asyncio.create_task(reason_of(validator, "slow.example"))
        await until(lambda: dns.asked["MX"] >= 1)
        await asyncio.sleep(1.1)
        quick = asyncio.create_task(reason_of(validator, "quick.example"))
        await until(lambda: validator.stats().lookups == 2)
        dns.gate.set()
        assert await slow is Reason.ACCEPTED
        assert await quick is Reason.ACCEPTED


async def test_memory_is_bounded_and_the_disk_remembers(running: Running) -> None:
    domains = [f"d{n}.example" for n in range(40)]
    async with (
        FaultyDns(mx("mx.example.")) as dns,
        running(dns.address, dns_cache_domains=10) as validator,
    ):
        await validator.resolve(domains)
        assert validator.stats().in_memory == 10
        await until(lambda: validator.stats().unwritten == 0)
        points = [Point(Channel.EMAIL, f"anna@{domain}") for domain in domains]
        checked = await validator.check(points, default_region="US", lookup=Lookup.WAIT)
        assert validator.stats().lookups == 40
    assert {one.finding.reason for one in checked} == {Reason.ACCEPTED}


async def test_verdicts_survive_a_restart(running: Running) -> None:
    async with FaultyDns(mx("mx.example.")) as dns:
        async with running(dns.address) as validator:
            first = await validator.resolve(["shop.example"])
        async with running(dns.address) as validator:
            assert await validator.resolve(["shop.example"]) == first
            assert await reason_of(validator, lookup=Lookup.DEFER) is Reason.ACCEPTED
            stats = validator.stats()
    assert (stats.lookups, stats.stored_hits) == (0, 1)


async def test_an_unknown_does_not_survive_a_restart(running: Running) -> None:
    async with FaultyDns(failure("SERVFAIL")) as dns:
        async with running(dns.address) as validator:
            assert await reason_of(validator) is Reason.MAIL_SERVER_UNKNOWN
        dns.script = mx("mx.example.")
        async with running(dns.address) as validator:
            assert await reason_of(validator) is Reason.ACCEPTED


async def test_closing_ends_lookups_under_way(running: Running) -> None:
    async with FaultyDns(silence) as dns:
        async with running(dns.address, dns_concurrency=2) as validator:
            checks = [asyncio.create_task(reason_of(validator, f"d{n}.example")) for n in range(8)]
            await until(lambda: validator.stats().in_flight == 8)
            async with asyncio.timeout(PATIENCE_S):
                await validator.close()
        assert set(await asyncio.gather(*checks)) == {Reason.MAIL_SERVER_UNKNOWN}


async def test_bad_server_addresses_are_told(running: Running, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument) as told:
        async with running("not an address"):
            pass
    assert told.value.field == "dns_servers"
    # Nothing stays open: LMDB opens a file once in a process.
    StoredVerdicts(tmp_path / "data" / "verdicts", limit_domains=10).close()


async def test_a_bad_redis_url_is_told_before_anything_is_opened(
    running: Running, tmp_path: Path
) -> None:
    with pytest.raises(InvalidArgument) as told:
        async with running("127.0.0.1", redis="foo://user:secret@bar"):
            pass
    assert told.value.field == "redis"
    assert "secret" not in told.value.message
    assert not (tmp_path / "data").exists()


# On disk


DNS_REASONS = (Reason.ACCEPTED, Reason.DOMAIN_NOT_FOUND, Reason.NO_MAIL_SERVER, Reason.NULL_MX)


def verdict_at(checked_us: int) -> DomainVerdict:
    return DomainVerdict(Reason.ACCEPTED, checked_us, checked_us + 1_000, ("mx.example",))


def test_a_stored_verdict_reads_back_and_other_formats_do_not() -> None:
    verdict = DomainVerdict(Reason.ACCEPTED, 1, 2, ("a.example", "b.example"))
    assert decode(encode(verdict)) == verdict
    assert decode(encode(DomainVerdict(Reason.NULL_MX, 1, 2))) == DomainVerdict(
        Reason.NULL_MX, 1, 2
    )
    stored = encode(verdict)
    assert decode(b"\xff" + stored[1:]) is None
    assert decode(stored[:1] + b"\xff" + stored[2:]) is None
    assert decode(stored[:-1] + b"\xff") is None
    assert decode(b"") is None
    for reason in Reason:
        said = decode(encode(DomainVerdict(reason, 1, 2)))
        assert (said is not None) == (reason in DNS_REASONS), reason


def test_the_disk_keeps_the_newest_verdicts(tmp_path: Path) -> None:
    stored = StoredVerdicts(tmp_path / "verdicts", limit_domains=100)
    for start in range(0, 300, 50):
        stored.put({f"d{n}.example": verdict_at(n) for n in range(start, start + 50)})
        # Renewed each time, so it is never among the oldest.
        stored.put({"kept.example": verdict_at(start + 50)})
    found = stored.get([f"d{n}.example" for n in range(300)] + ["kept.example"])
    stored.close()
    assert "kept.example" in found
    assert {f"d{n}.example" for n in range(250, 300)} <= found.keys()
    assert 80 <= len(found) <= 100


def test_the_disk_keeps_the_newer_of_two_verdicts(tmp_path: Path) -> None:
    now = now_us()
    old, new = verdict_at(now - 1_000), verdict_at(now)
    ahead = verdict_at(now + 3_600_000_000)  # of a clock that was wrong
    stored = StoredVerdicts(tmp_path / "verdicts", limit_domains=10)
    stored.put({"kept.example": new, "corrected.example": ahead})
    stored.put({"kept.example": old, "corrected.example": new})
    found = stored.get(["kept.example", "corrected.example"])
    stored.close()
    assert found == {"kept.example": new, "corrected.example": new}


def test_processes_share_the_verdicts_on_disk(tmp_path: Path) -> None:
    folder = tmp_path / "verdicts"
    stored = StoredVerdicts(folder, limit_domains=1_000)
    program = (
        "import sys; from pathlib import Path; from tests.validation.test_domains import *;"
        "s = StoredVerdicts(Path(sys.argv[1]), 1000); s.put({'child.example': verdict_at(7)})"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True, timeout=60)
    found = stored.get(["child.example", "nobody.example"])
    stored.close()
    assert found == {"child.example": verdict_at(7)}


def test_a_file_that_is_no_cache_is_told(tmp_path: Path) -> None:
    (tmp_path / "verdicts").mkdir()
    (tmp_path / "verdicts" / "data.mdb").write_bytes(b"no database" * 1_000)
    with pytest.raises(StorageFault, match="may be deleted"):
        StoredVerdicts(tmp_path / "verdicts", limit_domains=10)
    with pytest.raises(StorageFault, match="Not a directory"):
        StoredVerdicts(tmp_path / "verdicts" / "data.mdb" / "below", limit_domains=10)


# In Redis


async def test_machines_share_verdicts_through_redis(
    running: Running, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with FaultyDns(mx("mx.example.")) as dns:
        async with running(dns.address, redis=redis_server.url) as one:
            assert await reason_of(one) is Reason.ACCEPTED
            await until(lambda: one.stats().unwritten == 0)
        elsewhere = tmp_path / "elsewhere"
        async with running(dns.address, redis=redis_server.url, data=elsewhere) as other:
            assert await reason_of(other) is Reason.ACCEPTED
            assert (other.stats().lookups, other.stats().shared_hits) == (0, 1)
        # What Redis told is on this machine's disk as well.
        async with running(dns.address, data=elsewhere) as other:
            assert await reason_of(other) is Reason.ACCEPTED
            assert (other.stats().lookups, other.stats().stored_hits) == (0, 1)


async def test_the_service_goes_on_without_redis_and_finds_it_again(
    running: Running, redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        FaultyDns(mx("mx.example.")) as dns,
        running(dns.address, redis=redis_server.url, redis_pause_s=1) as validator,
    ):
        assert await reason_of(validator, "before.example") is Reason.ACCEPTED
        assert validator.stats().shared_available
        redis_server.kill()
        for n in range(5):
            assert await reason_of(validator, f"during{n}.example") is Reason.ACCEPTED
        assert not validator.stats().shared_available
        redis_server.start()
        await asyncio.sleep(1.1)
        assert await reason_of(validator, "after.example") is Reason.ACCEPTED
        assert validator.stats().shared_available
    told = capsys.readouterr().out
    assert told.count("shared_verdicts_lost") == 1
    assert told.count("shared_verdicts_back") == 1
    assert ".example" not in told


async def test_a_redis_that_hangs_is_left_alone(
    running: Running, redis_server: RedisServer
) -> None:
    async with (
        FaultyDns(mx("mx.example.")) as dns,
        running(
            dns.address, redis=redis_server.url, redis_deadline_ms=100, redis_pause_s=600
        ) as validator,
    ):
        assert await reason_of(validator, "before.example") is Reason.ACCEPTED
        await until(lambda: validator.stats().unwritten == 0)
        redis_server.freeze()
        try:
            async with asyncio.timeout(PATIENCE_S):
                for n in range(20):
                    assert await reason_of(validator, f"d{n}.example") is Reason.ACCEPTED
        finally:
            redis_server.thaw()
        assert not validator.stats().shared_available
