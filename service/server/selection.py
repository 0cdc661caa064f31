"""Which customers a caller means: filters of the API, checked and compiled."""

from __future__ import annotations

from collections.abc import Sequence

from namesake import v1
from service.core._select import Filter
from service.errors import InvalidArgument
from service.server.rules import check_batch, check_text
from service.settings import Settings

_WORD_LISTS = ("tags", "sources", "campaigns", "groups")
_VERDICTS = frozenset(v1.Verdict.values()) - {v1.VERDICT_UNSPECIFIED}
_SECONDS = range(-62_135_596_800, 253_402_300_800)  # years 1 to 9999: what a Timestamp may hold
_NANOS = range(1_000_000_000)


def compiled(given: v1.CustomerFilter, settings: Settings, at: str = "filter") -> Filter:
    """Return a filter ready for use; refuse one that can mean nothing, by its field."""
    for name in _WORD_LISTS:
        _check_words(getattr(given, name), settings, f"{at}.{name}")
    if given.kind not in v1.CustomerKind.values():
        raise InvalidArgument("not a kind of customer", field=f"{at}.kind")
    if given.state not in v1.CustomerState.values():
        raise InvalidArgument("not a state of a customer", field=f"{at}.state")
    _check_verdicts(given.email_verdicts, f"{at}.email_verdicts")
    _check_verdicts(given.phone_verdicts, f"{at}.phone_verdicts")
    return Filter(
        **{name: getattr(given, name) for name in _WORD_LISTS},
        updated_since_us=_since_us(given, at),
        kind=given.kind,
        state=given.state,
        email_verdicts=given.email_verdicts,
        phone_verdicts=given.phone_verdicts,
    )


def _check_words(words: Sequence[str], settings: Settings, field: str) -> None:
    check_batch(words, settings.list_limit, field)
    for index, word in enumerate(words):
        if not word:
            raise InvalidArgument("nobody has an empty word", field=f"{field}[{index}]")
        check_text(word, settings.text_limit_chars, f"{field}[{index}]")


def _check_verdicts(verdicts: Sequence[int], field: str) -> None:
    for index, verdict in enumerate(verdicts):
        if verdict not in _VERDICTS:
            raise InvalidArgument("not a verdict", field=f"{field}[{index}]")


def _since_us(given: v1.CustomerFilter, at: str) -> int | None:
    if not given.HasField("updated_since"):
        return None
    time = given.updated_since
    if time.seconds not in _SECONDS or time.nanos not in _NANOS:
        raise InvalidArgument("not a point in time", field=f"{at}.updated_since")
    # Customers are written at whole microseconds: one within the given microsecond is before it.
    return time.seconds * 1_000_000 + -(-time.nanos // 1_000)
