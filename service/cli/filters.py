"""Options that say which customers a command means."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from namesake import v1
from service.errors import InvalidArgument


class Kind(StrEnum):
    """What a customer is."""

    PERSON = "person"
    COMPANY = "company"


class State(StrEnum):
    """Where a card stands."""

    ACTIVE = "active"
    ARCHIVED = "archived"


class Verdict(StrEnum):
    """What was found out about an e-mail or phone."""

    VALID = "valid"
    RISKY = "risky"
    INVALID = "invalid"
    UNKNOWN = "unknown"


def _words(of: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        metavar=of.upper(), help=f"Only with this {of}; repeatable, one is enough."
    )
    return option


TagsOption = Annotated[list[str] | None, _words("tag")]
SourcesOption = Annotated[list[str] | None, _words("source")]
CampaignsOption = Annotated[list[str] | None, _words("campaign")]
GroupsOption = Annotated[list[str] | None, _words("group")]
SinceOption = Annotated[
    str,
    typer.Option(
        "--updated-since",
        metavar="TIME",
        help="Only written at this time or later: 2026-01-31 or 2026-01-31T10:00:00Z (UTC).",
    ),
]
KindOption = Annotated[Kind | None, typer.Option(help="Only people, or only companies.")]
StateOption = Annotated[State | None, typer.Option(help="Only active ones, or only archived.")]
EmailVerdictsOption = Annotated[
    list[Verdict] | None,
    typer.Option("--email-verdict", help="Only with an e-mail of this verdict; repeatable."),
]
PhoneVerdictsOption = Annotated[
    list[Verdict] | None,
    typer.Option("--phone-verdict", help="Only with a phone of this verdict; repeatable."),
]


def customer_filter(
    *,
    tags: Iterable[str] | None = None,
    sources: Iterable[str] | None = None,
    campaigns: Iterable[str] | None = None,
    groups: Iterable[str] | None = None,
    updated_since: str = "",
    kind: Kind | None = None,
    state: State | None = None,
    email_verdicts: Iterable[Verdict] | None = None,
    phone_verdicts: Iterable[Verdict] | None = None,
) -> v1.CustomerFilter:
    """Return the filter that the options describe; without any it means all."""
    meant = v1.CustomerFilter(
        tags=tags or (),
        sources=sources or (),
        campaigns=campaigns or (),
        groups=groups or (),
        email_verdicts=_verdicts(email_verdicts),
        phone_verdicts=_verdicts(phone_verdicts),
    )
    if kind:
        meant.kind = v1.CustomerKind.Value(f"CUSTOMER_KIND_{kind.name}")
    if state:
        meant.state = v1.CustomerState.Value(f"CUSTOMER_STATE_{state.name}")
    if updated_since:
        meant.updated_since.FromDatetime(_time(updated_since))
    return meant


def _verdicts(given: Iterable[Verdict] | None) -> list[v1.Verdict.ValueType]:
    return [v1.Verdict.Value(f"VERDICT_{one.name}") for one in given or ()]


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(
            "write it as 2026-01-31 or 2026-01-31T10:00:00Z", field="--updated-since"
        ) from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
