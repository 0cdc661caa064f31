"""Fuzzes the walker over encoded customers: `python -m tests.fuzz.fuzz_wire --minutes 10`.

An input is a stored customer, more or less (see `harness`): what is compared of it is read out, and
it is walked as the one row of an import.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Final

from google.protobuf.message import DecodeError

from namesake import v1
from service.core import _wire
from service.core._text import Texts
from service.core.model import Card
from service.settings import Settings
from tests.fuzz import harness, records

POINTS: Final = 4  # of each kind that are compared

_SETTINGS: Final = Settings()
_LIMITS: Final = _wire.Limits(
    customer_limit=_SETTINGS.customer_limit,
    text_limit_chars=_SETTINGS.text_limit_chars,
    points_limit=_SETTINGS.points_limit,
    list_limit=_SETTINGS.list_limit,
)
_EXTRA: Final = _wire.Extra(tags=["t"])


WORDS: Final = (
    *(one.SerializeToString() for one in (records.card().emails[0], records.card().phones[0])),
    *(one.SerializeToString() for one in records.card().addresses),
    records.card().birth_date.SerializeToString(),
    *records.PIECES,
)


def first_inputs(seed: int) -> Iterable[bytes]:
    """Return a whole customer, its fields alone, a company, and nothing."""
    whole = records.card()
    company = v1.Customer(kind=v1.CUSTOMER_KIND_COMPANY, company_name="ACME", first_name="x")
    return [b"", whole.SerializeToString(), *records.alone(whole), company.SerializeToString()]


def run(inputs: Sequence[bytes]) -> Sequence[tuple[object, ...]]:
    """Read what is compared of customers, and walk each as a row."""
    columns = _wire.Columns(inputs)
    births, broken = array("I", bytes(columns.births)), set(columns.broken)
    return [
        (
            row in broken,
            *(_text(column, row) for column in _single(columns)),
            births[row],
            columns.genders[row],
            _points(columns.emails, row),
            _points(columns.phones, row),
            _walked(given),
        )
        for row, given in enumerate(inputs)
    ]


def _single(columns: _wire.Columns) -> tuple[Texts, ...]:
    names = (columns.first, columns.middle, columns.last, columns.company)
    return (*names, columns.street, columns.city, columns.postcode)


def _points(columns: Sequence[Texts], row: int) -> tuple[str, ...]:
    texts = [_text(column, row) for column in columns]
    return tuple(text for text in texts if text)


def _text(column: Texts, row: int) -> str:
    try:
        return column[row]
    except UnicodeDecodeError:
        return "\0"  # the walker does not look: names fold it, and no card that was saved has it


def _walked(given: bytes) -> str:
    batch = v1.ImportBatch(number=1).SerializeToString()
    size, encoded = len(given), bytearray()
    while size > 0x7F:
        encoded.append(size & 0x7F | 0x80)
        size >>= 7
    row = b"\x12" + bytes([*encoded, size]) + given
    (card,) = _wire.walk(batch + row, _LIMITS, _EXTRA)
    return repr(card._replace(draft=None)) if isinstance(card, Card) else "left"


def difference(given: bytes) -> str:
    """Compare with what protobuf reads, where both read it; groups are left to protobuf."""
    try:
        card = v1.Customer.FromString(given)
    except DecodeError:
        return ""
    ((broken, *found, _),) = run([given])
    date = card.birth_date
    if date.year not in range(10_000) or date.month not in range(13) or date.day not in range(32):
        return ""  # no such card is ever stored
    wanted = [*_names(card), *_address(card), *_facts(card)]
    return "" if broken or found == wanted else f"found  {found}\n  wanted {wanted}"


def _names(card: v1.Customer) -> list[str]:
    if card.kind == v1.CUSTOMER_KIND_COMPANY:
        return ["", "", "", card.company_name]
    return [card.first_name, card.middle_name, card.last_name, card.company_name]


def _address(card: v1.Customer) -> list[str]:
    primary = [one for one in card.addresses if one.primary] or list(card.addresses)
    if not primary:
        return ["", "", ""]
    return [" ".join(primary[0].lines[:5]), primary[0].city, primary[0].postcode]


def _facts(card: v1.Customer) -> list[object]:
    date, company = card.birth_date, card.kind == v1.CUSTOMER_KIND_COMPANY
    birth = (date.year << 9 | date.month << 5 | date.day) if date.year else 0
    gender = {v1.GENDER_FEMALE: 2, v1.GENDER_MALE: 1}.get(card.gender, 0)
    points = [
        tuple([one.normal for one in points if one.normal][:POINTS])
        for points in (card.emails, card.phones)
    ]
    return [0 if company else birth, 0 if company else gender, *points]


if __name__ == "__main__":
    harness.main(harness.Fuzzed("wire", WORDS, 2_000, first_inputs, run, difference))
