"""Servers and callers that tests of this folder share."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import pytest

from tests.conftest import Server, StartServer
from tests.dns_servers import FaultyDns, Script, knot
from tests.server.client import Client

ACCOUNTS = 500  # more than there are tests that want one


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for stories that do not look at the whole account."""
    server = Server(tmp_path_factory.mktemp("shared") / "data").start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def shared(shared_server: Server) -> Iterator[Client]:
    """A caller of the shared server."""
    with shared_server.channel() as channel:
        yield Client(channel)


@pytest.fixture(scope="session")
def fresh_tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, list[str]]]:
    """A server of many empty accounts, and the tokens of those that nobody has used."""
    folder = tmp_path_factory.mktemp("accounts")
    tokens = [f"token{number}" for number in range(ACCOUNTS)]
    digests = [hashlib.sha256(token.encode()).hexdigest() for token in tokens]
    tables = [f'[a{number}.tokens]\ntest = "{digest}"' for number, digest in enumerate(digests)]
    (folder / "accounts.toml").write_text("\n".join(tables))
    flags = ("--accounts", str(folder / "accounts.toml"))
    # Each account maps as much address space, of which there are 128 TiB.
    settings = {"NAMESAKE_MAP_SIZE": str(1 << 30)}
    server = Server(folder / "data", flags, settings).start()
    yield server, tokens
    server.kill()


@pytest.fixture
def client(fresh_tokens: tuple[Server, list[str]]) -> Iterator[Client]:
    """A caller with an account that only this test has."""
    server, tokens = fresh_tokens
    with server.channel() as channel:
        yield Client(channel, ("authorization", f"Bearer {tokens.pop()}"))


@pytest.fixture
def own(server: Server) -> Iterator[Client]:
    """A caller of a server that only this test has."""
    with server.channel() as channel:
        yield Client(channel)


@pytest.fixture
def two_workers(start_server: StartServer) -> Server:
    """A server of two worker processes."""
    return start_server("--workers", "2")


@pytest.fixture
def both(two_workers: Server) -> Iterator[tuple[Client, Client]]:
    """Callers of two different workers of one server."""
    channels = [two_workers.channel()]
    first = Client(channels[0])
    worker = first.stats().start_time
    while True:  # the system spreads connections over them
        channels.append(
            grpc.insecure_channel(two_workers.address, [("grpc.use_local_subchannel_pool", 1)])
        )
        second = Client(channels[-1])
        if second.stats().start_time != worker:
            break
    yield first, second
    for channel in channels:
        channel.close()


@pytest.fixture(scope="session")
def knot_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a knotd that serves `tests.dns_servers.ZONES`."""
    with knot(tmp_path_factory.mktemp("knot")) as address:
        yield address


RunDns = Callable[[Script], "FaultyDns"]


@pytest.fixture
def faulty_dns() -> Iterator[RunDns]:
    """Run DNS servers that answer by script; setting `script` changes what they say."""
    with _loop_in_thread() as loop:
        running: list[FaultyDns] = []

        def run(script: Script) -> FaultyDns:
            async def enter() -> FaultyDns:
                return await FaultyDns(script).__aenter__()

            running.append(asyncio.run_coroutine_threadsafe(enter(), loop).result(10))
            return running[-1]

        yield run
        for dns in running:
            asyncio.run_coroutine_threadsafe(dns.__aexit__(None, None, None), loop).result(10)


@contextmanager
def _loop_in_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()
