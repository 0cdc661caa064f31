"""What the metrics page says of calls that did not end well."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import pytest

from namesake import v1
from tests.conftest import StartServer, wait_until
from tests.dns_servers import free_port
from tests.server.client import person, refusal
from tests.server.conftest import RunDns
from tests.server.test_backup import back_up, store_large
from tests.server.test_drain import PATIENT, HeldDns, held, saving
from tests.server.test_operation import connected

__all__ = ["held"]  # a fixture

CUSTOMERS, ADMIN = "/namesake.v1.CustomerService", "/namesake.v1.AdminService"


@dataclass(frozen=True)
class Page:
    """A server's page of metrics."""

    address: str

    def value(self, series: str) -> float:
        """Return a number of the page, 0 where it is not there."""
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=10) as page:
            text = page.read().decode()
        found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
        return float(found.group(1)) if found else 0.0

    def ended(self, code: str, method: str) -> float:
        """Return how many calls of a method ended with a code."""
        return self.value(f'namesake_rpcs_total{{code="{code}",method="{method}"}}')

    def timed(self, method: str) -> float:
        """Return of how many calls of a method the duration is counted."""
        return self.value(f'namesake_rpc_seconds_count{{method="{method}"}}')


@pytest.fixture
def page() -> Page:
    """A page on a free port."""
    return Page(f"127.0.0.1:{free_port()}")


def test_unary_calls_that_were_given_up_are_counted_and_timed(
    start_server: StartServer, faulty_dns: RunDns, held: HeldDns, page: Page
) -> None:
    """By their callers or by their deadline: an outage shows in the durations."""
    dns = faulty_dns(held)
    flags = ("--dns-server", dns.address, "--metrics-address", page.address)
    method = f"{CUSTOMERS}/SaveCustomer"
    with connected(start_server(*flags, **PATIENT)) as client:
        saved = saving(client, person("ada@mail.example"))
        wait_until(lambda: dns.asked["MX"] > 0)
        saved.cancel()
        wait_until(lambda: page.ended("CANCELLED", method) == 1)
        request = v1.SaveCustomerRequest(customer=person("ada@mail.example"))
        late = refusal(lambda: client.customers.SaveCustomer(request, timeout=0.5))
        assert late.code == grpc.StatusCode.DEADLINE_EXCEEDED
        wait_until(lambda: page.ended("CANCELLED", method) == 2)
    assert page.timed(method) == 2
    assert page.ended("OK", method) == 0


def test_refused_calls_are_timed(start_server: StartServer, page: Page) -> None:
    """Like the others."""
    with connected(start_server("--metrics-address", page.address)) as client:
        refusal(lambda: client.get("nobody"))
        assert page.ended("NOT_FOUND", f"{CUSTOMERS}/GetCustomer") == 1
        assert page.timed(f"{CUSTOMERS}/GetCustomer") == 1


def test_streams_that_were_given_up_are_counted(start_server: StartServer, page: Page) -> None:
    """Whether the server was waiting for something to send, or for somebody to take it."""
    with connected(start_server("--metrics-address", page.address)) as client:
        store_large(client)
        watcher = client.watch(after_sequence=client.stats().sequence)
        next(watcher)
        watcher.cancel()
        wait_until(lambda: page.ended("CANCELLED", f"{CUSTOMERS}/WatchChanges") == 1)
        copy = back_up(client)
        next(copy)
        next(copy)
        copy.cancel()
        wait_until(lambda: page.ended("CANCELLED", f"{ADMIN}/BackUp") == 1)
        client.feed()
        assert page.ended("OK", f"{CUSTOMERS}/WatchChanges") == 1
        assert page.ended("CANCELLED", f"{CUSTOMERS}/WatchChanges") == 1


WATCHER = """
import sys, grpc
from namesake import v1
with grpc.insecure_channel(sys.argv[1]) as channel:
    for answer in v1.CustomerServiceStub(channel).WatchChanges(v1.WatchChangesRequest()):
        print("watching", flush=True)
"""


@contextmanager
def watching(address: str) -> Iterator[subprocess.Popen[str]]:
    """Run another process that watches changes."""
    words = [sys.executable, "-c", WATCHER, address]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "watching\n"
            yield process
        finally:
            process.kill()


def test_a_peer_that_vanished_loses_its_calls(start_server: StartServer, page: Page) -> None:
    """Although nobody closed the connection; one that is there and silent keeps its calls."""
    server = start_server("--metrics-address", page.address, NAMESAKE_KEEPALIVE_S="1")
    method = f"{CUSTOMERS}/WatchChanges"
    with connected(server) as client, watching(server.address) as watcher:
        silent = client.watch()
        next(silent)
        time.sleep(5)
        assert page.ended("CANCELLED", method) == 0
        watcher.send_signal(signal.SIGSTOP)  # its kernel goes on to acknowledge what arrives
        wait_until(lambda: page.ended("CANCELLED", method) == 1)
        client.save(person())
        assert next(silent).sequence == 1
