"""The commands and their help."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import typer

from service.cli import bulk, cards, checking, dedupe, matching, operating

app = typer.Typer(
    name="namesake",
    help="The customer-identity authority for CRMs.\n\n"
    "Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 rows failed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _help(command: Callable[..., None]) -> str:
    # Click's mark for a paragraph whose lines stay as they are.
    return (inspect.getdoc(command) or "").replace("Examples:\n", "\b\nExamples:\n")


_COMMANDS: dict[str, Callable[..., None]] = {
    "serve": operating.serve,
    "check": checking.check,
    "import": bulk.import_file,
    "export": bulk.export_file,
    "save": cards.save,
    "get": cards.get,
    "resolve": cards.resolve,
    "duplicates": cards.duplicates,
    "explain": matching.explain,
    "distinct": matching.distinct,
    "history": cards.history,
    "watch": cards.watch,
    "delete": cards.delete,
    "stats": operating.stats,
    "backup": operating.backup,
    "verify": operating.verify,
    "dedupe": dedupe.dedupe,
    "evaluate": dedupe.evaluate,
}
for name, command in _COMMANDS.items():
    app.command(name, help=_help(command))(command)
