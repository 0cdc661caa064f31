"""Which columns of a table matching reads, and the cells that it wants as numbers.

Headers are recognised as `columns` does for an import; several columns of e-mails or of phones
go to one field. Cells are read by distinct value: a column has few dates, genders and countries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgument
from service.transfer import columns, words
from service.transfer.countries import country_code
from service.transfer.rows import KINDS, PartialDate
from service.transfer.tables import Array
from service.transfer.words import DateOrder

MATCHING_FIELDS = (
    "id", "first_name", "middle_name", "last_name", "full_name", "gender", "birth_date", "email",
    "phone", "street", "city", "postcode", "country", "company",
)  # fmt: skip
SEVERAL = frozenset(["email", "phone", "street"])  # may come from several columns
CLEAR_SHARE = 0.9  # of dates with a day beyond 12: the others have their day and month swapped
DATES_CACHED = 1 << 16  # more than a century and a half of days; some 20 MB

_MAPPED = re.compile(r"(exact|text):[a-z][a-z0-9_]{0,62}")  # of these, too, several columns
_MEANT = {"company_name": "company"} | {
    f"{kind}_{channel}": channel for kind in KINDS for channel in ("email", "phone")
}
#: Headers of numbers that a state gives to one person.
_NATIONAL_IDS = frozenset(
    words.plain(name)
    for name in """
    national id; national id number; national identity number; identity number; id number
    identity card number; id card; ssn; soc sec id; social security; social security number
    social security no; social insurance number; sin; nino; national insurance number; nhs number
    passport; passport number; passport no; tax id; tax number; tax identification number; tin
    cpf; curp; rfc; dni; nif; nie; nin; cuil; cedula; aadhaar; aadhaar number; pan; pesel; inn
    snils; инн; снилс; паспорт; codice fiscale; numero de securite sociale; steuer id
    steuerliche identifikationsnummer; sozialversicherungsnummer; ausweisnummer; personalausweis
    reisepass; bsn; personnummer; medicare; medicare number; medicare no
    """.replace("\n", ";").split(";")
)
NATIONAL_ID = "exact:national_id"
_GENDERS = {"male": 1, "female": 2}  # ISO/IEC 5218


def matching_fields(header: Sequence[str], options: Iterable[str] = ()) -> dict[str, list[int]]:
    """Return the columns of each field, as places in the header.

    `options` are `COLUMN=FIELD`: one of `MATCHING_FIELDS`, `exact:NAME` (equal or not),
    `text:NAME` (similar or not), or "-" for a column to leave out. Numbers of passports and the
    like are recognised as `NATIONAL_ID`. Columns that are neither mapped nor recognised are left
    out.
    """
    overrides = columns.parse_overrides(options, known=is_field)
    fields = columns.settled(columns.fields_of(header, overrides, recognise))
    columns.refuse_clashes(header, fields, several=_may_be_several)
    found: dict[str, list[int]] = {}
    for column, field in enumerate(fields):
        if field:
            found.setdefault(field, []).append(column)
    if found.keys() == {"id"}:
        raise InvalidArgument("Nothing to match by but an id; name columns with --map COLUMN=FIELD")
    return found


def is_field(name: str) -> bool:
    """Say whether a column may be mapped to `name`."""
    return name in MATCHING_FIELDS or bool(_MAPPED.fullmatch(name))


def recognise(header: str) -> str:
    """Return the field that a header names, "" if it names none."""
    field = columns.recognise(header)
    field = _MEANT.get(field, field)
    if field in MATCHING_FIELDS:
        return field
    return NATIONAL_ID if words.plain(header) in _NATIONAL_IDS else ""


def _may_be_several(field: str) -> bool:
    return field in SEVERAL or bool(_MAPPED.fullmatch(field))


class BirthDates:
    """Reads the dates of one column, block after block, as `year << 9 | month << 5 | day` (u32).

    0 is none, a part that is 0 is not known. Whether 03/04/1990 is in March or in April is seen
    from the column's other dates so far; while those do not tell, only the year is taken.
    """

    def __init__(self, order: DateOrder = "") -> None:
        self._given: DateOrder = order
        self._day_first = self._month_first = 0  # dates that can be read in one order alone

    @property
    def order(self) -> DateOrder:
        """The order of day and month that was given or seen, "" if neither."""
        if self._given:
            return self._given
        needed = CLEAR_SHARE * max(self._day_first + self._month_first, 1)
        return "dmy" if self._day_first >= needed else "mdy" if self._month_first >= needed else ""

    def read(self, column: Array) -> npt.NDArray[np.uint32]:
        """Read a block's column."""
        encoded = column.dictionary_encode()
        readings = [_readings(text) for text in encoded.dictionary.to_pylist()]
        self._day_first += sum(1 for read in readings if read.day_first and not read.month_first)
        self._month_first += sum(1 for read in readings if read.month_first and not read.day_first)
        order, given = self.order, bool(self._given)
        return _spread(encoded, [read.packed(order, given) for read in readings], np.uint32)


class _Readings(NamedTuple):
    """What a text is as a date in either order, packed, and without knowing the order."""

    sure: int
    day_first: int
    month_first: int

    def packed(self, order: DateOrder, given: bool) -> int:
        """Return the date; an order that was given goes before what the text alone says."""
        ordered = {"dmy": self.day_first, "mdy": self.month_first, "": 0}[order]
        either = ordered if given else 0
        return either or self.sure or ordered or self.day_first >> 9 << 9


@lru_cache(DATES_CACHED)
def _readings(text: str) -> _Readings:
    orders: tuple[DateOrder, ...] = ("", "dmy", "mdy")
    return _Readings(*(_packed(words.date(text, order)) for order in orders))


def _packed(date: PartialDate | None) -> int:
    return date.year << 9 | date.month << 5 | date.day if date else 0


def genders(column: Array) -> npt.NDArray[np.uint8]:
    """Read genders: 1 male, 2 female (ISO/IEC 5218), 0 any other or none."""
    return _each(column, lambda text: _GENDERS.get(words.gender(text) or "", 0), np.uint8)


def countries(column: Array) -> npt.NDArray[np.bytes_]:
    """Read countries as their two letters (ISO 3166-1 alpha-2), b"" where there is none."""
    return _each(column, lambda text: country_code(text).encode(), "S2")


def _each(column: Array, read: Callable[[str], object], kind: npt.DTypeLike) -> npt.NDArray[Any]:
    encoded = column.dictionary_encode()
    return _spread(encoded, [read(text) for text in encoded.dictionary.to_pylist()], kind)


def _spread(encoded: Any, values: Sequence[object], kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return for each row the value of its text in the array's dictionary."""
    spread: npt.NDArray[Any] = np.array(values, kind)[encoded.indices.to_numpy()]
    return spread
