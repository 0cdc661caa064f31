"""The table of commands: each is there, and loads what it needs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer.core import TyperGroup

from service.cli.app import app


def every(group: TyperGroup) -> Iterator[tuple[str, ...]]:
    """Yield the names of all commands, and load them."""
    for name, command in group.commands.items():
        yield (name,)
        assert command.help, name
        if isinstance(command, TyperGroup):
            yield from ((name, *more) for more in every(command))


def test_every_command_is_there_and_says_what_it_does() -> None:
    """Whatever its name in the table, there is a function behind it."""
    assert {("merge",), ("changes",), ("changes", "forget"), ("dedupe",)} <= set(every(app))


@pytest.mark.parametrize(("name", "needs_arrow"), [("merge", False), ("import", True)])
def test_arrow_is_loaded_for_those_who_need_it(name: str, needs_arrow: bool) -> None:
    """It takes as long as all the rest."""
    code = (
        f"import sys; from service.cli.app import app; app.commands[{name!r}]; "
        "print('pyarrow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(needs_arrow)
