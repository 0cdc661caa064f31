"""Asking somebody before something is done."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from service.cli.link import REFUSED, complain
from service.errors import InvalidArgument


def confirm(question: str, otherwise: str) -> None:
    """Ask on standard error; leave where the answer is no, or refuse where nobody can be asked."""
    check_terminal("--yes")
    if not typer.confirm(question, err=True):
        leave(otherwise)


def check_terminal(options: str) -> None:
    """Refuse where nobody can be asked."""
    if not sys.stdin.isatty():
        raise InvalidArgument(f"nobody can be asked here: needs {options}", field="--yes")


def leave(why: str) -> NoReturn:
    """End the command with a reason."""
    complain(why)
    raise typer.Exit(REFUSED)
