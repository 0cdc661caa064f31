"""Which customers a CustomerFilter means: filters of the API, checked and compiled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

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
    return first_us(asked.updated_since, field)


def first_us(time: Timestamp, field: str) -> int:
    """Return the first whole microsecond that is not before a time; refuse what is no time."""
    check_time(time, field)
    # What is stored has whole microseconds: what was within the given one is before it.
    return time.seconds * 1_000_000 + -(-time.nanos // 1_000)


def check_time(time: Timestamp, field: str) -> None:
    """Refuse what is no point in time."""
    if time.seconds not in _SECONDS or time.nanos not in _NANOS:
        raise InvalidArgument("not a point in time", field=field)
