"""Types of the compiled `_wire`."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import final

from service.core._text import Texts
from service.core.model import Card, Checked, Finding, Sealed

FIELDS: dict[str, dict[int, tuple[str, int, bool, int | str]]]
SHAPES: dict[str, int]

@final
class Limits:
    """The bounds of `Settings` that a row must keep."""

    def __init__(
        self,
        *,
        customer_limit: int,
        text_limit_chars: int,
        points_limit: int,
        list_limit: int,
        exclusive_identity_types: Collection[str] = (),
    ) -> None: ...

@final
class Extra:
    """What an import adds to every row: words that follow the row's own."""

    def __init__(
        self,
        *,
        tags: Iterable[str] = (),
        sources: Iterable[str] = (),
        campaigns: Iterable[str] = (),
        groups: Iterable[str] = (),
    ) -> None: ...

@final
class Draft:
    """A row that was taken: spans of its batch, which it keeps alive."""

    def seal(self, checked: list[Checked], encode_finding: Callable[[Finding], bytes]) -> Sealed:
        """Encode the row's body with normal forms and findings: one `Checked` per point.

        `encode_finding` gives the encoded message of a `Finding`.
        """

@final
class Columns:
    """What is compared of customers, as columns."""

    count: int
    first: Texts
    middle: Texts
    last: Texts
    company: Texts
    street: Texts
    city: Texts
    postcode: Texts
    emails: list[Texts]
    phones: list[Texts]
    broken: list[int]
    births: bytearray
    genders: bytearray

    def __init__(self, records: Sequence[bytes]) -> None: ...

def batch_of(request: bytes) -> bytes | None:
    """Return the encoded batch that an encoded request consists of, None if it is another.

    Another has settings, or its batch in parts: a request that protobuf has to read.
    """

def outline(batch: bytes) -> tuple[int, int]:
    """Return the number of an encoded batch and how many rows it has.

    Raises `ValueError` where the framing of the rows is broken.
    """

def walk(batch: bytes, limits: Limits, extra: Extra) -> list[Card | bytes]:
    """Return the card of each row of an encoded batch, or the row as it is if it is not ordinary.

    A card's draft is a `Draft`. Raises `ValueError` where the framing of the rows is broken.
    """
