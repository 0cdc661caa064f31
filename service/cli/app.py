"""The commands and their help.

The module of a command is loaded when it is asked for: most need no Arrow, whose loading takes as
long as all the rest.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command


@dataclass(frozen=True, slots=True)
class _Family:
    """Commands that share a first word, and what that does alone, if anything."""

    about: str
    commands: Mapping[str, str | _Family]
    alone: str = ""


#: Each command with its module and function.
_NAMESAKE = _Family(
    "The customer-identity authority for CRMs.\n\n"
    "Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 rows failed.",
    {
        "serve": "operating.serve",
        "check": "checking.check",
        "import": "bulk.import_file",
        "export": "exporting.export_file",
        "bulk-update": "bulk_change.bulk_update",
        "bulk-delete": "bulk_change.bulk_delete",
        "save": "cards.save",
        "get": "cards.get",
        "resolve": "cards.resolve",
        "duplicates": "cards.duplicates",
        "explain": "matching.explain",
        "distinct": "matching.distinct",
        "merge": "merging.merge",
        "unmerge": "merging.unmerge",
        "merges": "merges.merges",
        "redirects": "merges.redirects",
        "undo-merges": "merges.undo_merges",
        "merge-policy": "merges.merge_policy",
        "history": "cards.history",
        "delete": "cards.delete",
        "stats": "operating.stats",
        "backup": "operating.backup",
        "verify": "operating.verify",
        "compact": "operating.compact",
        "scan": "scanning.scan",
        "groups": "scanning.groups",
        "train": "scanning.train",
        "dedupe": "dedupe.dedupe",
        "evaluate": "dedupe.evaluate",
        "model": _Family(
            "The matching model of the account: export, import, reset.",
            {
                "export": "scanning.export_model",
                "import": "scanning.import_model",
                "reset": "scanning.reset_model",
            },
        ),
        "jobs": _Family(
            "Imports: list, show, failures, cancel.",
            {
                "list": "jobs.list_jobs",
                "show": "jobs.show_job",
                "failures": "jobs.list_failures",
                "cancel": "jobs.cancel_job",
            },
        ),
        "mappings": _Family(
            "How columns of files are read, as it was saved: list, show, delete.",
            {
                "list": "mappings.list_mappings",
                "show": "mappings.show_mapping",
                "delete": "mappings.delete_mapping",
            },
        ),
        "changes": _Family(
            "",
            {
                "consumers": "changes.list_consumers",
                "forget": "changes.forget_consumer",
            },
            alone="changes.changes",
        ),
        "timeline": _Family(
            "What is linked to customers: notes, calls, tasks, orders, events …",
            {
                "add": "timeline.add",
                "list": "timeline.list_items",
                "show": "timeline.show_item",
                "pin": "timeline.pin",
                "count": "timeline.count",
                "delete": "timeline.delete",
            },
        ),
        "operations": _Family(
            "Long work: scans, trainings, merges, changes to many.",
            {
                "list": "following.list_operations",
                "show": "following.show_operation",
                "wait": "following.wait_operation",
                "cancel": "following.cancel_operation",
                "delete": "following.delete_operation",
                "results": "bulk_change.bulk_results",
            },
        ),
    },
)


class _Commands(Mapping[str, TyperCommand | TyperGroup]):
    """The commands of a family by their names."""

    def __init__(self, family: _Family) -> None:
        self._of = family.commands

    def __getitem__(self, name: str) -> TyperCommand | TyperGroup:
        what = self._of[name]
        return _group(name, what) if isinstance(what, _Family) else _command(name, what)

    def __iter__(self) -> Iterator[str]:
        return iter(self._of)

    def __len__(self) -> int:
        return len(self._of)


def _command(name: str, what: str) -> TyperCommand:
    module, _, function_name = what.partition(".")
    function: Callable[..., None] = getattr(import_module(f"service.cli.{module}"), function_name)
    # Click's mark for a paragraph whose lines stay as they are.
    about = (inspect.getdoc(function) or "").replace("Examples:\n", "\b\nExamples:\n")
    one = typer.Typer(add_completion=False, rich_markup_mode=None)
    one.command(name, help=about)(function)
    return cast(TyperCommand, get_command(one))


def _group(name: str, family: _Family) -> TyperGroup:
    alone = _command(name, family.alone) if family.alone else None
    return TyperGroup(
        name=name,
        help=family.about if alone is None else alone.help,
        commands=cast(Any, _Commands(family)),
        callback=alone and alone.callback,
        params=alone and alone.params,
        invoke_without_command=alone is not None,
        no_args_is_help=alone is None,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


app = _group("namesake", _NAMESAKE)
