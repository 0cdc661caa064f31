"""The shared cache as callers see it: answers with it, without it, and once it is back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from namesake import v1
from tests.conftest import StartServer, wait_until
from tests.redis_server import RedisServer
from tests.server.client import Client, person
from tests.server.test_operation import connected, verdict

# Looking a name up may take as long as it likes; a Redis that hangs may not.
PATIENT = {"NAMESAKE_DNS_DEADLINE_MS": "15000", "NAMESAKE_REDIS_DEADLINE_MS": "1000"}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server of this test's own."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.kill()


def stored(client: Client) -> bool:
    """Say whether the worker has passed on all that it found."""
    return client.stats().counters["dns_unwritten"] == 0


def available(client: Client) -> bool:
    """Say whether the worker has the shared cache."""
    return client.stats().counters["dns_shared_available"] == 1


def reason(client: Client, email: str) -> v1.Reason.ValueType:
    """Save a new customer with an address; return the reason of its finding."""
    return client.save(person(email)).customer.emails[0].finding.reason


def test_verdicts_travel_and_stay_when_redis_freezes(
    start_server: StartServer, redis: RedisServer, knot_address: str
) -> None:
    """A server without any DNS knows what the other found; what Redis says late is not mistaken."""
    asking = start_server("--redis", redis.url, "--dns-server", knot_address, **PATIENT)
    soon = {"NAMESAKE_REDIS_PAUSE_S": "1", "NAMESAKE_DNS_UNKNOWN_TTL_S": "0"}
    deaf = start_server("--redis", redis.url, **PATIENT, **soon)
    with connected(asking) as one, connected(deaf) as other:
        assert verdict(one, "a@mail.example") == v1.REASON_ACCEPTED
        assert verdict(one, "a@null.example") == v1.REASON_NULL_MX
        assert verdict(one, "a@nodata.example") == v1.REASON_NO_MAIL_SERVER
        assert verdict(one, "a@implicit4.example") == v1.REASON_ACCEPTED
        wait_until(lambda: stored(one))
        assert verdict(other, "b@mail.example") == v1.REASON_ACCEPTED
        assert reason(other, "b@null.example") == v1.REASON_NULL_MX
        assert other.stats().counters["dns_shared_hits"] == 2
        redis.freeze()
        assert verdict(other, "c@mail.example") == v1.REASON_ACCEPTED
        assert reason(other, "c@null.example") == v1.REASON_NULL_MX
        assert verdict(other, "c@nodata.example") == v1.REASON_MAIL_SERVER_UNKNOWN
        assert not available(other)
        redis.thaw()  # and it answers what it was asked then
        wait_until(lambda: verdict(other, "d@implicit4.example") == v1.REASON_ACCEPTED)
        wait_until(lambda: verdict(other, "d@nodata.example") == v1.REASON_NO_MAIL_SERVER)


def test_a_frozen_redis_delays_nobody_and_is_shown(
    start_server: StartServer, redis: RedisServer, knot_address: str
) -> None:
    """The DNS decides meanwhile, statistics and log say it, and health stays as it is."""
    flags = ("--redis", redis.url, "--dns-server", knot_address)
    server = start_server(*flags, NAMESAKE_REDIS_PAUSE_S="1", **PATIENT)
    with connected(server) as client:
        assert verdict(client, "a@mail.example") == v1.REASON_ACCEPTED
        assert available(client)
        redis.freeze()
        assert verdict(client, "a@null.example") == v1.REASON_NULL_MX
        assert reason(client, "a@nodata.example") == v1.REASON_NO_MAIL_SERVER
        assert reason(client, "a@mail.example") == v1.REASON_ACCEPTED
        assert verdict(client, "a@nowhere.mail.example") == v1.REASON_DOMAIN_NOT_FOUND
        assert not available(client)
        health = health_pb2_grpc.HealthStub(client.channel)
        checked = client.call(health.Check, health_pb2.HealthCheckRequest())
        assert checked.status == health_pb2.HealthCheckResponse.SERVING
        redis.thaw()
        # It is asked for what this server does not know, after the pause.
        names = (f"n{number}.mail.example" for number in range(10_000))
        wait_until(lambda: bool(verdict(client, f"a@{next(names)}")) and available(client))
        wait_until(lambda: stored(client))
        redis.freeze()
    assert server.stop() == 0  # with connections that nobody answers
    assert server.log().count("shared_verdicts_lost") == 1
    assert server.log().count("shared_verdicts_back") == 1
    assert ".example" not in server.log()


def test_a_server_starts_while_redis_is_frozen(
    start_server: StartServer, redis: RedisServer, knot_address: str
) -> None:
    """A cache that does not answer is none, from the first call on."""
    redis.freeze()
    server = start_server("--redis", redis.url, "--dns-server", knot_address, **PATIENT)
    with connected(server) as client:
        assert reason(client, "a@mail.example") == v1.REASON_ACCEPTED
        assert verdict(client, "a@null.example") == v1.REASON_NULL_MX
        assert not available(client)
