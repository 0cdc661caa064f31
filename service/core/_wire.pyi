"""Types of the compiled `_wire`."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, final

from service.core._emails import Emails
from service.core._features import Packed
from service.core._phones import Phones
from service.core._text import Texts
from service.core.model import Card, Checked, Finding, Held, Sealed

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
class Batch:
    """An encoded batch: its ordinary rows, and the places and bytes of the others.

    `emails` and `phones` have the contact points of the ordinary rows as columns, those of a row
    together, its own before its contacts'; `regions` the country of each phone, None where no row
    has any. Raises `ValueError` where the framing of the rows is broken.
    """

    count: int  # of all rows
    ordinary: int
    others: list[tuple[int, bytes]]
    emails: Texts
    phones: Texts
    regions: Texts | None

    def __init__(self, batch: bytes, limits: Limits, extra: Extra) -> None: ...
    def places(self) -> list[int]:
        """Return where in the batch each ordinary row is."""

    def card(self, index: int) -> Card:
        """Return the card of an ordinary row, for one who decides about it alone."""

@final
class Prepared:
    """The bodies of a batch's ordinary rows, and what the index keeps of them."""

    count: int
    batch: Batch
    features: Packed

    def __init__(
        self,
        batch: Batch,
        emails: Emails,
        phones: Phones,
        findings: list[bytes],
        email_findings: Any,
        phone_findings: Any,
        awaited: bytes,
        region_names: tuple[bytes, ...],
    ) -> None:
        """Write the bodies.

        `emails` and `phones` are what the parsers found of the batch's columns, `findings` the
        encoded ones, of which `email_findings` and `phone_findings` (int32) have the place for
        each point; `awaited` says by a byte for each finding whether it waits for the DNS.
        `region_names` are those that `phones.regions()` counts.
        """

    def body(self, index: int) -> bytes:
        """Return the body of a row."""

    def held(self, index: int) -> Held:
        """Return what a row holds, as `Draft.seal` says."""

    def assumed(self, index: int) -> tuple[str, ...]:
        """Return the fields that a row does not have and its body has."""

    def numbered(self, index: int) -> tuple[int, ...]:
        """Return the contacts of a row whose ids are the server's: all."""

    def columns(self) -> Columns:
        """Return what is compared of the rows."""

    def compare_by(self, features: Packed) -> None:
        """Take the packed features of the rows, made of `columns`."""

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

def adds_nothing(record: bytes, body: bytes) -> bool:
    """Tell whether a body is surely that of a record, but for what an import would not change."""

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
