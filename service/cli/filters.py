"""The options that choose customers, the same in every command that takes a filter."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from functools import wraps
from typing import Annotated, Any, cast

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from namesake import v1
from service.cli.cards import Kind
from service.cli.link import Link
from service.errors import InvalidArgument


class State(StrEnum):
    """Where a card stands."""

    ACTIVE = "active"
    ARCHIVED = "archived"


class Verdict(StrEnum):
    """What was found of an e-mail or phone."""

    VALID = "valid"
    RISKY = "risky"
    INVALID = "invalid"
    UNKNOWN = "unknown"


def _words(name: str) -> Any:
    return Annotated[
        list[str] | None,
        typer.Option(
            f"--{name}", metavar="WORD", help=f"Has this {name}; repeatable: one of them."
        ),
    ]


def _verdicts(name: str, what: str) -> Any:
    return Annotated[
        list[Verdict] | None,
        typer.Option(
            f"--{name}-verdict",
            metavar="VERDICT",
            help=f"Has {what} that is valid, risky, invalid or unknown; repeatable: one of them.",
        ),
    ]


#: Parameter → option. A command with `filtered` has them all.
_OPTIONS: dict[str, Any] = {
    "tag": _words("tag"),
    "source": _words("source"),
    "campaign": _words("campaign"),
    "group": _words("group"),
    "updated_since": Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Changed since 2026-11-30, or 2026-11-30T09:00."),
    ],
    "kind": Annotated[Kind | None, typer.Option(help="Only these.")],
    "state": Annotated[State | None, typer.Option(help="Only these.")],
    "email_verdict": _verdicts("email", "an e-mail"),
    "phone_verdict": _verdicts("phone", "a phone"),
}


def filtered(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a filter; it gets `chosen`, a v1.CustomerFilter, instead."""

    @wraps(function)
    def run(link: Link, **given: Any) -> None:
        options = {name: given.pop(name) for name in _OPTIONS}
        function(link, **given, chosen=_filter(**options))

    own = inspect.signature(function, eval_str=True).parameters.values()
    every = [parameter for parameter in own if parameter.name != "chosen"]
    every += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]
    # What `remote` reads the options from, in place of the signature of `run`.
    cast(Any, run).__signature__ = inspect.Signature(every)
    return run


def _filter(
    tag: list[str] | None,
    source: list[str] | None,
    campaign: list[str] | None,
    group: list[str] | None,
    updated_since: str | None,
    kind: Kind | None,
    state: State | None,
    email_verdict: list[Verdict] | None,
    phone_verdict: list[Verdict] | None,
) -> v1.CustomerFilter:
    return v1.CustomerFilter(
        tags=tag,
        sources=source,
        campaigns=campaign,
        groups=group,
        updated_since=moment(updated_since, "--updated-since") if updated_since else None,
        kind=v1.CustomerKind.Value(f"CUSTOMER_KIND_{kind.name if kind else 'UNSPECIFIED'}"),
        state=v1.CustomerState.Value(f"CUSTOMER_STATE_{state.name if state else 'UNSPECIFIED'}"),
        email_verdicts=[v1.Verdict.Value(f"VERDICT_{one.name}") for one in email_verdict or ()],
        phone_verdicts=[v1.Verdict.Value(f"VERDICT_{one.name}") for one in phone_verdict or ()],
    )


def moment(text: str, option: str) -> Timestamp:
    """Read a time; one without a zone is of this machine's."""
    try:
        read = datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise InvalidArgument(
            "is a date or time as 2026-11-30 or 2026-11-30T09:00", field=option
        ) from None
    time = Timestamp()
    time.FromDatetime(read)
    return time
