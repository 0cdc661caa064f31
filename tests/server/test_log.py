"""The log of a server process whose own code fails where nobody waits for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

# A server that stops itself once it serves and something in it has gone wrong.
FAILING = """
import asyncio, gc, os, signal, sys
from service.server.accounts import read_accounts
from service.server.app import configure_log, serve
from service.settings import Settings

def ready(port):
    loop = asyncio.get_running_loop()
    loop.call_later(0.1, gc.collect)

    async def fail(address):
        raise ValueError(address)

    {fault}
    loop.call_later(0.2, os.kill, os.getpid(), signal.SIGTERM)

settings = Settings(data=sys.argv[1], address="127.0.0.1:0", dns_servers=("127.0.0.1:9",))
configure_log()
sys.exit(asyncio.run(serve(settings, read_accounts(settings), 0, ready)))
"""
FAULTS = {
    "a task that nobody awaits": "loop.create_task(fail('xqz@x.example'))",
    "a call of the loop": "loop.call_soon(int, 'xqz@x.example')",
    "a task that is lost": "loop.create_task(asyncio.Event().wait())",
}

LOGGING = """
from service.server.app import configure_log, log
configure_log()
log.info("first", text="x" * 1_000)
log.info("second")
"""


@pytest.mark.parametrize("fault", FAULTS)
def test_what_nobody_waits_for_is_logged_like_the_rest(tmp_path: Path, fault: str) -> None:
    """As JSON, one line each, with where it was and without what it said; the server goes on."""
    program = FAILING.format(fault=FAULTS[fault])
    process = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "data")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    entries = {entry["event"]: entry for entry in map(json.loads, process.stderr.splitlines())}
    assert set(entries) == {"serving", "loop_fault", "draining", "stopped"}
    told = entries["loop_fault"]
    assert told["level"] == "error"
    assert told.get("error") == "ValueError" or "destroyed" in told["message"]
    assert "xqz" not in process.stderr


def test_a_line_is_written_in_one_piece() -> None:
    """So that the lines of several workers, which share a log, do not run into each other."""
    reading, writing = os.pipe2(os.O_DIRECT)  # of which each read returns one write
    with subprocess.Popen([sys.executable, "-c", LOGGING], stderr=writing):
        os.close(writing)
        written = list(iter(partial(os.read, reading, 4_096), b""))
    os.close(reading)
    assert [line[-1:] for line in written] == [b"\n", b"\n"]
    assert [json.loads(line)["event"] for line in written] == ["first", "second"]
