"""Which customers a CustomerFilter means, told from their records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from namesake import v1
from service.errors import InvalidArgument
from service.server.rules import check_added
from service.server.wire import microseconds
from service.settings import Settings

_WORDS = ("tags", "sources", "campaigns", "groups")
_VERDICTS = {"email_verdicts": "emails", "phone_verdicts": "phones"}


class Filter:
    """A checked filter. It has no state, so any thread may ask it."""

    def __init__(self, asked: v1.CustomerFilter) -> None:
        self._words = [
            (name, frozenset(getattr(asked, name))) for name in _WORDS if getattr(asked, name)
        ]
        self._verdicts = [
            (points, frozenset(getattr(asked, name)))
            for name, points in _VERDICTS.items()
            if getattr(asked, name)
        ]
        self._plain = [
            (name, getattr(asked, name)) for name in ("kind", "state") if getattr(asked, name)
        ]
        self._since_us = microseconds(asked.updated_since)

    def matches(self, records: Sequence[bytes]) -> list[bool]:
        """Tell of each record whether it matches everything that is set."""
        return [self._means(v1.Customer.FromString(record)) for record in records]

    def _means(self, customer: v1.Customer) -> bool:
        return (
            microseconds(customer.update_time) >= self._since_us
            and all(getattr(customer, name) == value for name, value in self._plain)
            and all(not words.isdisjoint(getattr(customer, name)) for name, words in self._words)
            and all(
                any(point.finding.verdict in verdicts for point in getattr(customer, points))
                for points, verdicts in self._verdicts
            )
        )


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
    return Filter(asked) if asked.ListFields() else None


def _check_enum(values: Iterable[int], kind: Any, field: str) -> None:
    known = kind.values()
    if any(value not in known for value in values):
        raise InvalidArgument("not a value of this enum", field=field)
