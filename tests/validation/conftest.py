"""Servers and settings of the validation tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from service.validation.validator import Validator
from tests.dns_servers import knot
from tests.redis_server import RedisServer

Running = Callable[..., AbstractAsyncContextManager[Validator]]


@pytest.fixture(scope="session")
def knot_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a knotd that serves `tests.dns_servers.ZONES`."""
    with knot(tmp_path_factory.mktemp("knot")) as address:
        yield address


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Yield a running redis-server."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def running(tmp_path: Path) -> Running:
    """Return a context manager of started validators: it takes a DNS address and settings.

    The deadline is generous, so that a slow machine does not turn answers into UNKNOWN.
    """

    @asynccontextmanager
    async def run(address: str, **changes: Any) -> AsyncIterator[Validator]:
        values: dict[str, Any] = {
            "data": tmp_path / "data",
            "dns_servers": (address,),
            "dns_deadline_ms": 15_000,
            "dns_lookup_s": 15,
            "redis_deadline_ms": 2_000,
        }
        validator = Validator(Settings(**(values | changes)))
        await validator.start()
        try:
            yield validator
        finally:
            await validator.close()

    return run
