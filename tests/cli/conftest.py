"""The real command, run as people run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import INTERRUPTIBLE, Server

COMMAND = (sys.executable, "-m", "service")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


def run(*arguments: str, server: str = "", stdin: str | bytes = "", **more: str) -> Outcome:
    """Run `namesake`; `more` goes to its environment."""
    environment = {**os.environ, **more}
    if server:
        environment["NAMESAKE_SERVER"] = server
    given = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [*COMMAND, *arguments], input=given, env=environment, capture_output=True, timeout=120,
        check=False,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


@contextmanager
def running(*arguments: str, server: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Run `namesake` as a terminal's foreground does, with a standard input that stays quiet."""
    environment = {**os.environ, "NAMESAKE_SERVER": server} if server else None
    process = subprocess.Popen(
        [*INTERRUPTIBLE, *COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


Namesake = Callable[..., Outcome]


@pytest.fixture
def offline() -> Namesake:
    """Run commands that need no server."""
    return run


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for a module's tests, which keep out of each other's way by their ids."""
    server = Server(tmp_path_factory.mktemp("shared") / "data").start()
    yield server
    server.kill()


@pytest.fixture
def namesake(shared: Server) -> Namesake:
    """Run commands against the module's server."""

    def command(*arguments: str, **more: Any) -> Outcome:
        return run(*arguments, server=shared.address, **more)

    return command
