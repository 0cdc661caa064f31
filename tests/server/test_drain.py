"""The end as others see it: a probe that watches health, and calls that are under way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import dnslib
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from namesake import v1
from tests.conftest import Server, StartServer, wait_until
from tests.dns_servers import Reply, mx
from tests.server.client import DEADLINE_S, Client, person, refusal
from tests.server.conftest import RunDns
from tests.server.test_operation import SERVICES, UNAVAILABLE, connected

# A save waits for the DNS longer than any of these tests.
PATIENT = {"NAMESAKE_DNS_DEADLINE_MS": "120000", "NAMESAKE_DNS_LOOKUP_S": "120"}
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass
class HeldDns:
    """A script of a DNS server that answers nothing before it is told to."""

    may_answer: threading.Event = field(default_factory=threading.Event)

    def __call__(self, query: dnslib.DNSRecord) -> Reply:
        """Answer, once that is allowed, that mail is taken."""
        self.may_answer.wait(2 * DEADLINE_S)
        return mx("mx.example.")(query)


@pytest.fixture
def held() -> Iterator[HeldDns]:
    """A script that holds no longer than the test."""
    script = HeldDns()
    yield script
    script.may_answer.set()


def saving(client: Client, customer: v1.Customer) -> Any:
    """Begin to save a card."""
    save: Any = client.customers.SaveCustomer
    return save.future(v1.SaveCustomerRequest(customer=customer), timeout=DEADLINE_S)


def refuses_newcomers(server: Server) -> bool:
    """Say whether a new connection gets no answer; each worker hears of the end at its own time."""
    with connected(server) as late:
        try:
            late.stats()
        except grpc.RpcError as error:
            return error.code() == UNAVAILABLE
    return False


@pytest.mark.parametrize("workers", ["1", "2"])
def test_health_says_not_serving_while_a_call_under_way_ends(
    start_server: StartServer, faulty_dns: RunDns, held: HeldDns, workers: str
) -> None:
    """Of the server and each service; newcomers are refused, the save is answered and kept."""
    dns = faulty_dns(held)
    server = start_server("--dns-server", dns.address, "--workers", workers, **PATIENT)
    with connected(server) as client:
        watch = health_pb2_grpc.HealthStub(client.channel).Watch
        watches = [
            watch(health_pb2.HealthCheckRequest(service=name), timeout=2 * DEADLINE_S)
            for name in ("", *SERVICES)
        ]
        assert [next(one).status for one in watches] == [SERVING] * len(watches)
        saved = saving(client, person("ada@mail.example", id="x"))
        wait_until(lambda: dns.asked["MX"] > 0)
        assert server.process is not None
        server.process.terminate()
        assert [next(one).status for one in watches] == [NOT_SERVING] * len(watches)
        wait_until(lambda: refuses_newcomers(server))
        assert not saved.done()
        held.may_answer.set()
        answer = saved.result()
        assert answer.customer.emails[0].finding.reason == v1.REASON_ACCEPTED
        for one in watches:
            one.cancel()
    assert server.process.wait(DEADLINE_S) == 0
    with connected(start_server(data=server.data)) as client:
        assert client.get("x").etag == answer.customer.etag
        assert client.stats().customers == 1
        assert client.faults() == []


def test_a_call_that_outlives_the_grace_is_ended(
    start_server: StartServer, faulty_dns: RunDns, held: HeldDns
) -> None:
    """So that the server ends although the DNS of the call never answers."""
    dns = faulty_dns(held)
    server = start_server("--dns-server", dns.address, NAMESAKE_DRAIN_S="1", **PATIENT)
    with connected(server) as client:
        saved = saving(client, person("ada@mail.example", id="x"))
        wait_until(lambda: dns.asked["MX"] > 0)
        assert server.stop() == 0
        error = saved.exception()
        assert isinstance(error, grpc.RpcError)
        assert error.code() == UNAVAILABLE
    with connected(start_server(data=server.data)) as client:
        assert client.stats().sequence == 0
        assert client.faults() == []


def test_idle_streams_do_not_hold_the_end_up(start_server: StartServer) -> None:
    """Neither a probe that watches health nor a list that is being cleaned."""
    server = start_server(NAMESAKE_DRAIN_S="600")
    done = threading.Event()

    def batches() -> Iterator[v1.StreamContactsRequest]:
        yield v1.StreamContactsRequest(contacts=[v1.ContactQuery(phone="+442079460018")])
        done.wait()

    with connected(server) as client:
        watched = health_pb2_grpc.HealthStub(client.channel).Watch(health_pb2.HealthCheckRequest())
        checked: Any = client.validation.StreamContacts(batches())
        next(watched)
        next(checked)
        try:
            assert server.stop() == 0
        finally:
            done.set()
        assert refusal(lambda: next(checked)).code == UNAVAILABLE
        assert next(watched).status == NOT_SERVING
