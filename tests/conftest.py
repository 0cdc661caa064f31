"""A real server for tests: the operators' command, on a free port and a temporary folder."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from hypothesis import HealthCheck, settings

READY_S = 60.0

# Runs a command that an interrupt ends, also where whoever runs the tests has it ignored. A
# preexec_fn would do that between fork and exec, which is no place to be with the threads of gRPC.
INTERRUPTIBLE = ("env", "--default-signal=INT")

# How long an example takes says how much else the machine does. The gate draws the same ones each
# time, so that it fails for what was changed; `make nightly` draws others (--hypothesis-profile).
_SLOWLY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", _SLOWLY)
settings.register_profile("gate", _SLOWLY, derandomize=True)
settings.load_profile("gate")

# Random histories of each test that tells such. `make nightly` sets more.
SEEDS = int(os.environ.get("NAMESAKE_TEST_SEEDS", "24"))

SERVICE = Path(__file__).parent.parent / "service"


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to test something else than the sources say: an extension older than its module.

    Servers and commands, of which there are many hundreds, share what Python compiled.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for extension in SERVICE.glob("*/*.so"):
        name = extension.name.split(".")[0]
        kernel = extension.with_name(f"{name}.pyx")
        source = kernel if kernel.exists() else extension.with_name(f"{name}.py")
        if extension.stat().st_mtime < source.stat().st_mtime:
            pytest.exit(f"{source.name} is newer than what was compiled of it: run make test", 1)


@dataclass
class Server:
    """A `namesake serve` process. `address` is known after `start`; restart keeps the folder."""

    data: Path
    flags: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    address: str = ""
    process: subprocess.Popen[str] | None = None

    def start(self) -> Server:
        """Start and wait until it says that it serves."""
        # Port 9 (discard) of loopback answers nobody: the DNS is out of reach unless a test says.
        flags = self.flags if "--dns-server" in self.flags else (*self.flags, *NO_DNS)
        log = (self.data.parent / f"{self.data.name}.log").open("a")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve", "--data", str(self.data), *flags,
             "--address", self.address or "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=log, text=True,
            env={**os.environ, **self.environment},
        )  # fmt: skip
        log.close()
        self.address = self._announced()
        return self

    def _announced(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], READY_S)
        line = self.process.stdout.readline() if ready else ""
        assert line.startswith("namesake serves on "), f"not serving; log:\n{self.log()}"
        return line.split()[3]

    def log(self) -> str:
        """Return what the server logged."""
        return (self.data.parent / f"{self.data.name}.log").read_text()

    def channel(self) -> grpc.Channel:
        """Open a channel to it, with a connection of its own: of several workers, to any."""
        return grpc.insecure_channel(self.address, (("grpc.use_local_subchannel_pool", 1),))

    def stop(self, timeout_s: float = 40.0) -> int:
        """End it as an operator does; return its exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """End it as a power cut does, its workers too."""
        assert self.process is not None
        # The supervisor first, or it would start new workers.
        for pid in (self.process.pid, *self.workers()):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def workers(self) -> list[int]:
        """Return the process ids of its workers (none where it is the only one)."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [int(pid) for pid in children.read_text().split()]
        return [pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


NO_DNS = ("--dns-server", "127.0.0.1:9")

StartServer = Callable[..., Server]


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers with flags of a test's choice; all end with the test."""
    servers: list[Server] = []

    def start(*flags: str, data: Path | None = None, **environment: str) -> Server:
        server = Server(data or tmp_path / f"data{len(servers)}", flags, environment)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        if server.process is not None and server.process.poll() is None:
            server.kill()


@pytest.fixture
def server(start_server: StartServer) -> Server:
    """One server with one worker and no DNS."""
    return start_server()


def wait_until(what: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait for something that will come true; fail where it does not."""
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


__all__ = ["INTERRUPTIBLE", "NO_DNS", "SEEDS", "Server", "StartServer", "wait_until"]
