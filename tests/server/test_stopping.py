"""The end of the server, as seen by those who say nothing, and by workers that do not listen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from namesake import v1
from tests.conftest import NO_DNS, Server, StartServer, wait_until
from tests.server.client import Client, refusal
from tests.server.test_operation import UNAVAILABLE, connected
from tests.server.test_supervision import named

Open = Callable[[Client, Iterator[Any]], Iterator[Any]]


def importing(client: Client, idle: Iterator[Any]) -> Iterator[Any]:
    """Open an import and do not even send its settings."""
    return client.import_stream(idle)


def checking(client: Client, idle: Iterator[Any]) -> Iterator[Any]:
    """Open a stream of checks and send nothing."""
    answers: Iterator[Any] = client.call(client.validation.StreamContacts, idle)
    return answers


def checking_on(client: Client, idle: Iterator[Any]) -> Iterator[Any]:
    """Open a stream of checks, get one done, and send no more."""

    def requests() -> Iterator[v1.StreamContactsRequest]:
        yield v1.StreamContactsRequest(contacts=[v1.ContactQuery(phone="+442079460018")])
        yield from idle

    answers: Iterator[Any] = client.call(client.validation.StreamContacts, requests())
    assert len(next(answers).results) == 1
    return answers


def describing(client: Client, idle: Iterator[Any]) -> Iterator[Any]:
    """Ask the reflection service a question, and no more."""

    def requests() -> Iterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        yield from idle

    stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
    answers: Iterator[Any] = client.call(stub.ServerReflectionInfo, requests())
    assert next(answers).list_services_response.service
    return answers


def watching(client: Client, _idle: Iterator[Any]) -> Iterator[Any]:
    """Watch the health of a service that the server has."""
    return _watching(client, "namesake.v1.CustomerService")


def watching_nothing(client: Client, _idle: Iterator[Any]) -> Iterator[Any]:
    """Watch the health of a service that it has not."""
    return _watching(client, "nonsense")


def _watching(client: Client, service: str) -> Iterator[Any]:
    stub = health_pb2_grpc.HealthStub(client.channel)
    answers: Iterator[Any] = client.call(stub.Watch, health_pb2.HealthCheckRequest(service=service))
    next(answers)
    return answers


@pytest.mark.parametrize(
    "open_stream",
    [importing, checking, checking_on, describing, watching, watching_nothing],
)
def test_idle_streams_do_not_hold_the_server_up(
    start_server: StartServer, open_stream: Open
) -> None:
    """They are told with a reason that it stops, and the grace for running calls is not used up."""
    server = start_server(NAMESAKE_DRAIN_S="3600")
    done = threading.Event()

    def idle() -> Iterator[Any]:
        done.wait()
        yield from ()

    with connected(server) as client:
        stream = open_stream(client, idle())
        wait_until(lambda: client.stats().sequence == 0)  # the stream, begun before, is there too
        assert server.process is not None
        server.process.terminate()
        refused = refusal(lambda: list(stream))
        done.set()
        assert (refused.code, refused.reason) == (UNAVAILABLE, "SHUTTING_DOWN")
        assert server.stop(timeout_s=15) == 0


def test_a_worker_that_had_to_be_killed_is_told(start_server: StartServer) -> None:
    """By the exit status and the log: what it had accepted may not be written."""
    server = start_server("--workers", "2", NAMESAKE_DRAIN_S="0")
    stuck = server.workers()[1]
    os.kill(stuck, signal.SIGSTOP)
    assert server.stop() == 1
    assert [entry["worker"] for entry in named(server.log(), "worker_killed")] == [1]
    assert not Path(f"/proc/{stuck}").exists()


def test_a_server_that_is_stopped_while_it_starts_starts_no_more_workers(tmp_path: Path) -> None:
    """It ends as soon as the worker that was being started has."""
    flags = ("--data", str(tmp_path / "data"), "--address", "127.0.0.1:0", "--workers", "6")
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "serve", *flags, *NO_DNS],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    server = Server(tmp_path / "data", process=process)
    wait_until(lambda: bool(server.workers()))
    process.terminate()
    out, log = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert len(named(log, "serving")) <= 1
