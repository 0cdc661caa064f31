"""Which customers a CustomerFilter means: filters of the API, checked and compiled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from namesake import v1
from service.core._select import Filter
from service.errors import InvalidArgument
from service.server.rules import check_added
from service.settings import Settings

_WORDS = ("tags", "sources", "campaigns", "groups")
_VERDICTS = ("email_verdicts", "phone_verdicts")
_SECONDS = range(-62_135_596_800, 253_402_300_800)  # years 1 to 9999: what a Timestamp may hold
_NANOS = range(1_000_000_000)


def filter_of(asked: v1.CustomerFilter, settings: Settings, at: str) -> Filter | None:
    """Return a filter, None where nothing is set, which means all.

    Raises `InvalidArgument` with the path of what cannot be asked for.
    """
    check_added({name: getattr(asked, name) for name in _WORDS}, settings, at)
    _check_enum((asked.kind,), v1.CustomerKind, f"{at}.kind")
    _check_enum((asked.state,), v1.CustomerState, f"{at}.state")
    for name in _VERDICTS:
        verdicts = getattr(asked, name)
        if v1.VERDICT_UNSPECIFIED in verdicts:
            raise InvalidArgument("an entry is not said", field=f"{at}.{name}")
        _check_enum(verdicts, v1.Verdict, f"{at}.{name}")
    since_us = _since_us(asked, f"{at}.updated_since")
    if not asked.ListFields():
        return None
    return Filter(
        **{name: getattr(asked, name) for name in (*_WORDS, *_VERDICTS)},
        kind=asked.kind,
        state=asked.state,
        updated_since_us=since_us,
    )


def _check_enum(values: Iterable[int], kind: Any, field: str) -> None:
    known = kind.values()
    if any(value not in known for value in values):
        raise InvalidArgument("not a value of this enum", field=field)


def _since_us(asked: v1.CustomerFilter, field: str) -> int | None:
    if not asked.HasField("updated_since"):
        return None
    time = asked.updated_since
    if time.seconds not in _SECONDS or time.nanos not in _NANOS:
        raise InvalidArgument("not a point in time", field=field)
    # Customers are written at whole microseconds: one within the given microsecond is before it.
    return time.seconds * 1_000_000 + -(-time.nanos // 1_000)
