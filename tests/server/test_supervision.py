"""Workers that keep dying: the supervisor gives up, ends the others and says why."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Server, StartServer, wait_until
from tests.server.client import Client, person
from tests.server.test_operation import Tls, connected, ended, starts

GIVEN_UP_S = 60.0


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """A certificate whose key a test may take away."""
    return Tls(tmp_path)


def events(log: str) -> list[dict[str, object]]:
    """Return the entries of a log, each of which is a JSON object."""
    return [json.loads(line) for line in log.splitlines()]


def named(log: str, event: str) -> list[dict[str, object]]:
    """Return a log's entries of one kind."""
    return [entry for entry in events(log) if entry["event"] == event]


def kill_a_worker(server: Server) -> None:
    """Kill the worker that was started first of those that live."""
    os.kill(server.workers()[0], signal.SIGKILL)


def test_four_deaths_are_survived_and_the_fifth_is_not(start_server: StartServer) -> None:
    """Whichever workers die; the one that is left writes what it has and ends."""
    server = start_server("--workers", "2")
    for death in range(1, 5):
        kill_a_worker(server)
        wait_until(lambda: len(named(server.log(), "worker_died")) == death)  # noqa: B023
        wait_until(lambda: len(server.workers()) == 2)
    starts(server, 2)
    with connected(server) as client:
        client.save(person(id="x"))
    left = server.workers()
    kill_a_worker(server)
    assert server.process is not None
    assert server.process.wait(GIVEN_UP_S) == 1
    (said,) = named(server.log(), "giving_up")
    assert (said["deaths"], said["level"]) == (5, "error")
    assert len(named(server.log(), "stopped")) == 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in left)
    with connected(start_server(data=server.data)) as client:
        assert client.get("x").id == "x"


def test_a_worker_that_cannot_start_again_ends_the_service(
    start_server: StartServer, tls: Tls
) -> None:
    """With exit status 1 and the reason of each attempt; once that is gone, all is there."""
    flags = ("--workers", "2", "--tls-cert", str(tls.certificate), "--tls-key", str(tls.key))
    server = start_server(*flags)
    with tls.channel(server.address) as channel:
        Client(channel).save(person(id="x"))
    pids = server.workers()
    away = tls.key.rename(tls.key.with_name("away.pem"))
    kill_a_worker(server)
    assert server.process is not None
    assert server.process.wait(GIVEN_UP_S) == 1
    failures = named(server.log(), "worker_failed")
    assert len(failures) == 4  # the fifth death was the first: it was killed
    assert all(str(tls.key) in str(failure["message"]) for failure in failures)
    assert len(named(server.log(), "giving_up")) == 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    away.rename(tls.key)
    again = start_server(*flags, data=server.data)
    with tls.channel(again.address) as channel:
        assert Client(channel).get("x").id == "x"
    assert again.stop() == 0


def test_a_service_that_cannot_start_all_its_workers_does_not_serve(tmp_path: Path) -> None:
    """It is not announced, says which worker failed and why, and leaves no worker behind."""
    with second_port_taken() as (first, taken):
        # It waits for the end of standard output, which a worker left behind would hold open.
        process = ended(
            tmp_path, "--address", "127.0.0.1:0", "--workers", "2", "--metrics-address", first
        )
    assert (process.returncode, process.stdout) == (1, "")
    (failure,) = named(process.stderr, "worker_failed")
    assert failure["worker"] == 1
    assert f"cannot listen on {taken}" in str(failure["message"])
    assert len(named(process.stderr, "stopped")) == 1


@contextmanager
def second_port_taken() -> Iterator[tuple[str, str]]:
    """Yield a free address and the one behind it, on which somebody listens."""
    for _ in range(50):
        with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as free:
            port = taken.getsockname()[1]
            try:
                free.bind(("127.0.0.1", port - 1))
            except OSError:
                continue
            free.close()
            yield f"127.0.0.1:{port - 1}", f"127.0.0.1:{port}"
            return
    raise RuntimeError("no two ports in a row")
