"""The README's tour prints what the README says."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
from pathlib import Path

from tests.cli.conftest import COMMAND
from tests.conftest import Server

README = Path(__file__).parent.parent.parent / "README.md"
ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def test_the_tour_prints_what_it_says(server: Server) -> None:
    """From a terminal, against an empty folder; `...` is what it leaves out."""
    blocks = re.findall(r"^```\n(\$ .*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", "")
    steps = re.findall(r"^\$ namesake (.*)\n((?:[^$].*\n)+)", lines, re.MULTILINE)
    (serve, _), *steps = steps
    assert serve.startswith("serve")
    assert len(steps) > 7
    told = plain("".join(printed(command, server) for command, _ in steps))
    assert re.fullmatch(pattern(plain("".join(shown for _, shown in steps))), told), told


def printed(command: str, server: Server) -> str:
    """Run a command whose keyboard says yes; return what it prints."""
    keyboard, terminal = pty.openpty()
    try:
        os.write(keyboard, b"y\n")
        done = subprocess.run(
            [*COMMAND, *shlex.split(command)], stdin=terminal, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=120, check=True, text=True,
            env={**os.environ, "NAMESAKE_SERVER": server.address, "COLUMNS": "200"},
        )  # fmt: skip
    finally:
        os.close(keyboard)
        os.close(terminal)
    return done.stdout


def plain(text: str) -> str:
    """Return the words alone: no frames, and not what was typed."""
    return " ".join(re.sub("[┃│┏┓┡┩└┘━─╇┳┴]", " ", text).replace("[y/N]: y", "[y/N]:").split())


def pattern(shown: str) -> str:
    """Return what matches the text, with any new ids for its own, the same in each place."""
    names: dict[str, str] = {}

    def any_id(match: re.Match[str]) -> str:
        if (id := match[0]) in names:
            return f"(?P={names[id]})"
        names[id] = f"id{len(names)}"
        return f"(?P<{names[id]}>{ID})"

    escaped = re.escape(shown).replace(r"\.\.\.", ".*").replace(r"\-", "-")
    return re.sub(ID, any_id, escaped)
