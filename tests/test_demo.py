"""The demo ends well, or says why not, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import INTERRUPTIBLE

COMMAND = (sys.executable, "-m", "demo.run", "--rows", "600")


def _environment(folder: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder), **more}


def test_the_demo_shows_everything_and_cleans_up(tmp_path: Path) -> None:
    done = subprocess.run(
        COMMAND,
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = ("rows a second", "PENDING", "PHONE_FORMAT", "Exact duplicates", "match key", "scan")
    for part in shown:
        assert part in done.stdout
    assert "Does not match the international phone number format" in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_the_demo_stays_up_when_asked_to_and_ends_with_an_interrupt(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*INTERRUPTIBLE, *COMMAND],
        env=_environment(tmp_path, KEEP="1"),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "export NAMESAKE_SERVER=" in line:
            break
    address = line.strip().rpartition("=")[2]
    stats = subprocess.run(
        [sys.executable, "-m", "service", "stats", "--server", address], check=False, timeout=60
    )
    assert stats.returncode == 0
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_dies_fails_the_demo_with_its_log(tmp_path: Path) -> None:
    broken = _environment(tmp_path, NAMESAKE_DNS_DEADLINE_MS="soon")
    done = subprocess.run(
        COMMAND, env=broken, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "The demo failed" in done.stdout
    assert "dns_deadline_ms" in done.stdout
    assert list(tmp_path.iterdir()) == []
