"""Which column is which field, and what its cells say.

Headers are recognised in English, German, French, Spanish, Russian and Portuguese; whoever calls
may name the field of any column. A table that was exported is recognised whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.core._columns import CHANNELS
from service.core.model import Identity
from service.errors import InvalidArgument
from service.transfer import words
from service.transfer.countries import country_code
from service.transfer.headers import HEADERS
from service.transfer.rows import (
    KINDS,
    Consent,
    Contact,
    Custom,
    PartialDate,
    Reach,
    Row,
    RowRefused,
)
from service.transfer.words import NO_DATES, Dates, plain

IGNORED = "-"

# What a file of failures has beside the rows; left out where these are imported again.
FAILURE_COLUMNS = (
    "failure_row", "failure_field", "failure_reason", "failure_message", "failure_customers",
)  # fmt: skip

# E-mails and phones: channel and kind.
REACHES = {
    f"{prefix}{channel}": (channel, kind)
    for channel in ("email", "phone")
    for prefix, kind in (("", ""), *((f"{kind}_", kind) for kind in KINDS))
}
_TEXTS = frozenset(
    [
        "id",
        "title",
        "first_name",
        "middle_name",
        "last_name",
        "company_name",
        "stage",
        "owner",
        "city",
        "postcode",
        "area",
        "position",
    ]
)
_LISTS = frozenset(["tags", "sources", "campaigns", "groups"])
_SEVERAL = _LISTS | REACHES.keys() | {"street"}  # may come from several columns
_OF_CONTACT = REACHES.keys() | {
    "title", "first_name", "middle_name", "last_name", "full_name", "position", "do_not_email",
    "do_not_call",
}  # fmt: skip
FIELDS = tuple(dict.fromkeys((*(name for name in HEADERS if ":" not in name), *REACHES)))

# A customer's second identity of a type has a column of its own: identity:loyalty:02.
_IDENTITY = re.compile(r"identity:([a-z][a-z0-9_.-]{0,62})(?::\d{1,3})?")
_CUSTOM = re.compile(r"custom:([a-z][a-z0-9_]{0,62})(?::(text|integer|number|flag|date))?")
# A person at the customer; the second one's columns are contact:2:last_name and so on.
_CONTACT = re.compile(r"contact:(?:([1-9]\d?):)?([a-z_]+)", re.ASCII)
_CONSENT = re.compile(rf"consent:({'|'.join(CHANNELS[1:])})")
_BARE = re.compile(r'[^\s;,"](?:[^;,"\r\n]*[^\s;,"])?')  # needs no quotation marks in a list
_COUNTED = re.compile(r"_?\d{1,2}$")

_Values = dict[str, Any]  # fields of a `Row` or `Contact` in the making


def _aliases() -> dict[str, str]:
    named = {plain(field): field for field in FIELDS}
    for field, headers in HEADERS.items():
        named.update(dict.fromkeys(map(plain, headers.split(";")), field))
    return named | dict.fromkeys(FAILURE_COLUMNS, IGNORED)


_ALIASES = _aliases()


def recognise(header: str) -> str:
    """Return the field that a header names, "" if it names none.

    What a file of failures has beside the rows is `IGNORED`.
    """
    if _is_patterned(header):
        return header
    name = plain(header)
    if field := _ALIASES.get(name, ""):
        return field
    # "email2", "Phone 3", "address line 2": the same field again.
    field = _ALIASES.get(_COUNTED.sub("", name), "")
    return field if field in REACHES or field == "street" else ""


def _is_patterned(name: str) -> bool:
    if found := _CONTACT.fullmatch(name):
        return found[2] in _OF_CONTACT
    return any(pattern.fullmatch(name) for pattern in (_IDENTITY, _CUSTOM, _CONSENT))


def contact_of(field: str) -> tuple[int, str]:
    """Return which contact a field is of, from 1, and its field of it; 0 is the customer."""
    found = _CONTACT.fullmatch(field)
    return (int(found[1] or 1), found[2]) if found else (0, field)


def parse_overrides(options: Iterable[str], *, known: Callable[[str], bool]) -> dict[str, str]:
    """Read `COLUMN=FIELD` options; `known` says which fields there are."""
    overrides: dict[str, str] = {}
    for option in options:
        column, equals, field = option.rpartition("=")
        if not equals or not column:
            raise InvalidArgument(f"{option!r} is not COLUMN=FIELD", field="--map")
        if field != IGNORED and not known(field):
            raise InvalidArgument(f"There is no field {field!r}", field="--map")
        if column.casefold() in map(str.casefold, overrides):
            raise InvalidArgument(f"Column {column!r} is named twice", field="--map")
        overrides[column] = field
    return overrides


def is_field(name: str) -> bool:
    """Say whether a column may be mapped to `name`."""
    return name in FIELDS or _is_patterned(name)


def may_repeat(field: str) -> bool:
    """Say whether several columns may be of one field: lists, e-mails, phones, lines."""
    return contact_of(field)[1] in _SEVERAL


def fields_of(
    header: Sequence[str],
    overrides: Mapping[str, str],
    recognised: Callable[[str], str] = recognise,
) -> tuple[str, ...]:
    """Return each column's field, "" where a column means nothing."""
    folded = {column.casefold(): field for column, field in overrides.items()}
    missing = folded.keys() - {column.casefold() for column in header}
    if missing:
        raise InvalidArgument(f"The file has no column {min(missing)!r}", field="--map")
    found = (folded.get(column.casefold(), recognised(column)) for column in header)
    return tuple("" if field == IGNORED else field for field in found)


def settled(fields: tuple[str, ...]) -> tuple[str, ...]:
    """Return the fields with the meaning that they have beside the others.

    German and French lists head the last name with a bare "Name"; beside both names the full one
    says nothing more. Contacts need a name: without one, a contact's e-mail is the customer's own.
    """
    if "full_name" in fields and "first_name" in fields:
        meant = "" if "last_name" in fields else "last_name"
        fields = tuple(meant if field == "full_name" else field for field in fields)
    named = {contact_of(field)[0] for field in fields if field.endswith(("last_name", "full_name"))}
    return tuple(field if contact_of(field)[0] in named | {0} else _own(field) for field in fields)


def _own(field: str) -> str:
    """Return what a field of a contact without a name is of the customer, "" if it is nothing."""
    _, name = contact_of(field)
    return name if name in REACHES else ""


def refuse_clashes(
    header: Sequence[str],
    fields: Sequence[str],
    several: Callable[[str], bool] = may_repeat,
) -> None:
    """Refuse a header that means nothing, or a field twice which is not one of `several`."""
    if not any(fields):
        raise InvalidArgument("No column is recognised; name them with --map COLUMN=FIELD")
    seen: dict[str, str] = {}
    for column, field in zip(header, fields, strict=True):
        same = _singled(field)
        if same in seen and not several(field):
            raise InvalidArgument(
                f"Columns {seen[same]!r} and {column!r} both mean {field}; "
                f"leave one out with --map '{column}={IGNORED}'"
            )
        if field:
            seen[same] = column


def _singled(field: str) -> str:
    """Return one name for what may be written in several ways."""
    if custom := _CUSTOM.fullmatch(field):
        return f"custom:{custom[1]}"
    contact, name = contact_of(field)
    return f"contact:{contact}:{name}" if contact else field


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one file, ready to read its rows."""

    header: tuple[str, ...]
    fields: tuple[str, ...]
    dates: Dates = NO_DATES

    @classmethod
    def of(
        cls, header: Sequence[str], options: Iterable[str] = (), dates: Dates = NO_DATES
    ) -> Columns:
        """Recognise a header; `options` (`COLUMN=FIELD`) go before what is recognised."""
        fields = settled(fields_of(header, parse_overrides(options, known=is_field)))
        refuse_clashes(header, fields)
        return cls(tuple(header), fields, dates)

    @property
    def unrecognised(self) -> tuple[str, ...]:
        """Headers of columns that are left out."""
        return tuple(
            name
            for name, field in zip(self.header, self.fields, strict=True)
            if not field and recognise(name) != IGNORED
        )

    def row(self, cells: Sequence[str]) -> Row:
        """Read one row; `RowRefused` names the column at fault."""
        if any(cells[len(self.header) :]):
            raise RowRefused(
                f"{len(cells)} cells under {len(self.header)} headers: "
                "is there a delimiter without quotation marks?"
            )
        values: _Values = {}
        contacts: dict[int, _Values] = {}
        for name, field, cell in zip(self.header, self.fields, cells, strict=False):
            if field and (text := cell.strip()):
                number, own = contact_of(field)
                into = contacts.setdefault(number, {}) if number else values
                # What people wrote freely stays as it is.
                self._read(into, name, own, cell if field == "comment" else text)
        if "company_name" in values and not values.keys() & {"kind", "first_name", "last_name"}:
            values["kind"] = "company"
        people = (Contact(**found) for _, found in sorted(contacts.items()))
        return Row(**values, contacts=tuple(one for one in people if one != Contact()))

    def _read(self, values: _Values, header: str, field: str, text: str) -> None:
        try:
            for name, value in read_cell(field, text, self.dates):
                known = values.get(name)
                values[name] = known + value if isinstance(known, tuple) else value
        except ValueError as error:
            raise RowRefused(str(error), field=header) from None


def read_cell(field: str, text: str, dates: Dates = NO_DATES) -> Iterable[tuple[str, Any]]:
    """Return what one cell says of which fields of `Row` (or `Contact`).

    The text has no space around it, but for a comment. ValueError says what is wrong with it.
    Tuples add to those of other columns.
    """
    if field in REACHES:
        return [_reaches(*REACHES[field], text)]
    if field in _TEXTS:
        return [(field, text)]
    if field in _LISTS:
        return [(field, words.parts(text))]
    if field.startswith("identity:"):
        return [("identities", (Identity(field.split(":")[1], text),))]
    if field.startswith("consent:"):
        return [("consents", (Consent(field.split(":")[1], _consent(text)),))]
    if field.startswith("custom:"):
        return [("custom", (_custom(field, text, dates),))]
    if field == "full_name":
        parts = zip(("first_name", "middle_name", "last_name"), words.full_name(text), strict=True)
        return [(name, part) for name, part in parts if part]
    return [(field, _SPECIAL[field](text, dates))]


def _reaches(channel: str, kind: str, text: str) -> tuple[str, tuple[Reach, ...]]:
    split = words.addresses if channel == "email" else words.numbers
    return f"{channel}s", tuple(Reach(value, kind) for value in split(text))


def _custom(field: str, text: str, dates: Dates) -> Custom:
    found = _CUSTOM.fullmatch(field)
    if not found:
        raise ValueError(f"There is no field {field!r}")
    match found[2]:
        case "integer":
            return Custom(found[1], _integer(text))
        case "number":
            return Custom(found[1], _number(text))
        case "flag":
            return Custom(found[1], _flag(text))
        case "date":
            return Custom(found[1], _date(text, dates))
        case _:
            return Custom(found[1], text)


def _integer(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ValueError("Not a whole number") from None
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("Not a number of 64 bits")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("Not a number") from None


def _flag(text: str) -> bool:
    value = words.flag(text)
    if value is None:
        raise ValueError("Neither yes nor no")
    return value


def _consent(text: str) -> bool:
    value = words.consent(text)
    if value is None:
        raise ValueError("Neither granted nor denied: write yes or no")
    return value


def _date(text: str, dates: Dates) -> PartialDate:
    value = words.date(text, dates.order, dates.formats)
    if value is None:
        raise ValueError("Not a date, or one that can be read in two ways: write YYYY-MM-DD")
    return value


def _one_of(text: str, allowed: Sequence[str]) -> str:
    if plain(text) not in allowed:
        raise ValueError(f"None of {', '.join(allowed)}")
    return plain(text)


def _gender(text: str) -> str:
    gender = words.gender(text)
    if gender is None:
        raise ValueError("Not a gender that is known: write female, male or other")
    return gender


def _country(text: str) -> str:
    code = country_code(text)
    if not code:
        raise ValueError("Not a country: write the ISO 3166-1 alpha-2 code or the English name")
    return code


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


_SPECIAL: dict[str, Callable[[str, Dates], object]] = {
    "kind": lambda text, _: _one_of(text, ("person", "company")),
    "state": lambda text, _: _one_of(text, ("active", "archived")),
    "gender": lambda text, _: _gender(text),
    "birth_date": _date,
    "comment": lambda text, _: text,
    "street": lambda text, _: _lines(text),
    "country": lambda text, _: _country(text),
    "do_not_email": lambda text, _: _flag(text),
    "do_not_call": lambda text, _: _flag(text),
}


# Writing: these columns are in every exported table, so that its shape is known beforehand;
# kinds, identities and custom fields that no customer has get no column.
_ALWAYS = [
    "id",
    "kind",
    "state",
    "title",
    "first_name",
    "middle_name",
    "last_name",
    "gender",
    "birth_date",
    "company_name",
    "email",
    "phone",
    "mobile_phone",
    "street",
    "city",
    "postcode",
    "area",
    "country",
    "tags",
    "sources",
    "campaigns",
    "groups",
    "stage",
    "owner",
    "comment",
    "do_not_email",
    "do_not_call",
]


def table(extra: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of an exported table: the usual ones and `extra`, in a stable order."""
    return (*_ALWAYS, *sorted(extra))


def separator(field: str) -> str:
    """Return what stands between the values of a field in one cell."""
    return "\n" if field == "street" else "; "


def joined(field: str, values: Iterable[str]) -> str:
    """Write what a field has several of as one cell, so that `Columns.row` reads them back."""
    values = list(values)
    if field == "street" or all(map(_BARE.fullmatch, values)):
        return separator(field).join(values)
    channel = REACHES.get(field, ("", ""))[0]
    split = {"email": words.addresses, "phone": words.numbers}.get(channel, words.parts)
    return words.listed(values, split)
