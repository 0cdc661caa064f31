"""The processes under measurement: starting them, and what the kernel says of them (Linux)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from tests.conftest import Server

_TICKS = os.sysconf("SC_CLK_TCK")


class Others:
    """How much of the machine went to processes that are not ours, since this was made.

    Ours are this one and its children that have ended.
    """

    def __init__(self) -> None:
        self._start_s = perf_counter()
        self._start_used_s = self._used_s()

    def share(self) -> float:
        """Return the share of all cores' time, the hypervisor's guests included."""
        cores_s = (perf_counter() - self._start_s) * (os.cpu_count() or 1)
        return max(0.0, (self._used_s() - self._start_used_s) / cores_s)

    def _used_s(self) -> float:
        # cpu: user, nice, system, idle, iowait, irq, softirq, steal …
        ticks = [int(text) for text in Path("/proc/stat").read_text().split()[1:9]]
        return (sum(ticks) - ticks[3] - ticks[4]) / _TICKS - sum(os.times()[:4])


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that answers at `address`."""

    address: str
    pid: int

    def processor_s(self) -> float:
        """Return the processor time that it has used, all threads, in steps of 10 ms."""
        # After the name in parentheses: state is field 3, utime 14, stime 15.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mib(self, name: str) -> float:
        """Return a line of /proc/…/status, as VmHWM (the peak of all) or RssAnon (its own)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
        return 0.0


@contextmanager
def namesake(data: Path, *flags: str) -> Iterator[Serving]:
    """Run the service with one worker over a folder, without DNS unless a flag says."""
    data.parent.mkdir(exist_ok=True)
    server = Server(data, flags).start()
    assert server.process is not None
    try:
        yield Serving(server.address, server.process.pid)
    finally:
        server.stop()


@contextmanager
def echo(folder: Path, answer: bytes) -> Iterator[Serving]:
    """Run the echo server, which answers everything with these bytes."""
    file = folder / "answer"
    file.write_bytes(answer)
    command = [sys.executable, "-m", "benchmarks.echo", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Serving(process.stdout.readline().split()[-1], process.pid)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
