"""The commands and their help."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import typer

from service.cli import (
    bulk,
    bulk_change,
    cards,
    changes,
    checking,
    dedupe,
    exporting,
    following,
    jobs,
    mappings,
    matching,
    merges,
    merging,
    operating,
    scanning,
    timeline,
)

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
    "export": exporting.export_file,
    "bulk-update": bulk_change.bulk_update,
    "bulk-delete": bulk_change.bulk_delete,
    "save": cards.save,
    "get": cards.get,
    "resolve": cards.resolve,
    "duplicates": cards.duplicates,
    "explain": matching.explain,
    "distinct": matching.distinct,
    "merge": merging.merge,
    "unmerge": merging.unmerge,
    "merges": merges.merges,
    "redirects": merges.redirects,
    "undo-merges": merges.undo_merges,
    "merge-policy": merges.merge_policy,
    "history": cards.history,
    "delete": cards.delete,
    "stats": operating.stats,
    "backup": operating.backup,
    "verify": operating.verify,
    "compact": operating.compact,
    "scan": scanning.scan,
    "groups": scanning.groups,
    "train": scanning.train,
    "dedupe": dedupe.dedupe,
    "evaluate": dedupe.evaluate,
}
_FAMILIES: dict[tuple[str, str], dict[str, Callable[..., None]]] = {
    ("model", "The matching model of the account: export, import, reset."): {
        "export": scanning.export_model,
        "import": scanning.import_model,
        "reset": scanning.reset_model,
    },
    ("jobs", "Imports: list, show, failures, cancel."): {
        "list": jobs.list_jobs,
        "show": jobs.show_job,
        "failures": jobs.list_failures,
        "cancel": jobs.cancel_job,
    },
    ("mappings", "How columns of files are read, as it was saved: list, show, delete."): {
        "list": mappings.list_mappings,
        "show": mappings.show_mapping,
        "delete": mappings.delete_mapping,
    },
    ("changes", _help(changes.changes)): {
        "consumers": changes.list_consumers,
        "forget": changes.forget_consumer,
    },
    ("timeline", "What is linked to customers: notes, calls, tasks, orders, events …"): {
        "add": timeline.add,
        "list": timeline.list_items,
        "show": timeline.show_item,
        "pin": timeline.pin,
        "count": timeline.count,
        "delete": timeline.delete,
    },
    ("operations", "Long work: scans, trainings, merges, changes to many."): {
        "list": following.list_operations,
        "show": following.show_operation,
        "wait": following.wait_operation,
        "cancel": following.cancel_operation,
        "delete": following.delete_operation,
        "results": bulk_change.bulk_results,
    },
}


#: Family → what it does without a command of its own.
_ALONE: dict[str, Callable[..., None]] = {"changes": changes.changes}


def _add(group: typer.Typer, commands: dict[str, Callable[..., None]]) -> None:
    for name, command in commands.items():
        group.command(name, help=_help(command))(command)


_add(app, _COMMANDS)
for (family, about), commands in _FAMILIES.items():
    alone = _ALONE.get(family)
    group = typer.Typer(
        no_args_is_help=alone is None,
        invoke_without_command=alone is not None,
        callback=alone,
        rich_markup_mode=None,
    )
    _add(group, commands)
    app.add_typer(group, name=family, help=about)
