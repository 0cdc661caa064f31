"""Types of the compiled `_select`."""

from collections.abc import Iterable, Sequence
from typing import final

TAGS: dict[str, dict[int, str]]

@final
class Filter:
    """Which customers are meant: those that match everything that is set.

    Of words and verdicts, one of those given is enough. `kind` and `state` are 0 for any.
    """

    def __init__(
        self,
        *,
        tags: Iterable[str] = (),
        sources: Iterable[str] = (),
        campaigns: Iterable[str] = (),
        groups: Iterable[str] = (),
        updated_since_us: int | None = None,
        kind: int = 0,
        state: int = 0,
        email_verdicts: Iterable[int] = (),
        phone_verdicts: Iterable[int] = (),
    ) -> None: ...
    def matches(self, records: Sequence[bytes]) -> list[bool]:
        """Say of each of some encoded customers whether it is meant.

        Raises `ValueError` where a record is no message.
        """

@final
class Fields:
    """Which top-level fields of customers are shown, by their numbers; none means all."""

    def __init__(self, numbers: Iterable[int] = ()) -> None: ...
    def framed(self, records: Sequence[bytes], number: int) -> bytes:
        """Return encoded customers as entries of a repeated field: what is shown of each.

        `number` is the field's in the message around them. Raises `ValueError` where a record is
        no message.
        """
