"""Customers as rows of a table, one after the other: what exported columns are held against.

`cells` writes a row so that an import reads the same row back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from namesake import v1
from service.core.model import Identity
from service.transfer import columns
from service.transfer.columns import REACHES
from service.transfer.rows import Custom, PartialDate, Reach, Row

_SAME = (
    "id", "title", "first_name", "middle_name", "last_name", "company_name", "comment", "stage",
    "owner", "tags", "sources", "campaigns", "groups",
)  # fmt: skip
_COLUMN_FIELDS = {
    **dict.fromkeys(("street", "city", "postcode", "area", "country"), "addresses"),
    **dict.fromkeys(("do_not_email", "do_not_call"), "preferences"),
}


def to_row(customer: v1.Customer) -> Row:
    """Return a customer as a row; contacts, further addresses and consent have no columns."""
    address = _first_address(customer)
    return Row(
        **{name: _plain(getattr(customer, name)) for name in _SAME},
        kind=_word(v1.CustomerKind.Name(customer.kind), "CUSTOMER_KIND"),
        state=_word(v1.CustomerState.Name(customer.state), "CUSTOMER_STATE"),
        gender=_word(v1.Gender.Name(customer.gender), "GENDER"),
        birth_date=_partial(customer.birth_date) if customer.HasField("birth_date") else None,
        emails=tuple(_reach(email) for email in customer.emails),
        phones=tuple(_reach(phone) for phone in customer.phones),
        street=tuple(address.lines),
        city=address.city,
        postcode=address.postcode,
        area=address.administrative_area,
        country=address.country,
        do_not_email=customer.preferences.do_not_email,
        do_not_call=customer.preferences.do_not_call,
        identities=tuple(Identity(i.type, i.value) for i in customer.identities),
        custom=tuple(
            Custom(name, value)
            for name in sorted(customer.custom_fields)
            if (value := _python(customer.custom_fields[name])) is not None
        ),
    )


def customer_field(column: str) -> str:
    """Return the top-level field of Customer that a column of an exported table shows."""
    if column in _COLUMN_FIELDS:
        return _COLUMN_FIELDS[column]
    if column.startswith(("identity:", "custom:")):
        return "identities" if column.startswith("identity:") else "custom_fields"
    return f"{column.rpartition('_')[2]}s" if column.endswith(("email", "phone")) else column


def _word(name: str, prefix: str) -> str:
    word = name.removeprefix(f"{prefix}_").lower()
    return "" if word == "unspecified" else word


def _reach(point: v1.EmailAddress | v1.PhoneNumber) -> Reach:
    return Reach(point.value, _word(v1.ContactKind.Name(point.kind), "CONTACT_KIND"))


def _partial(date: v1.Date) -> PartialDate:
    return PartialDate(date.year, date.month, date.day)


def _first_address(customer: v1.Customer) -> v1.PostalAddress:
    primary = (address for address in customer.addresses if address.primary)
    return next(primary, None) or next(iter(customer.addresses), None) or v1.PostalAddress()


def _python(value: v1.CustomValue) -> str | int | float | bool | PartialDate | None:
    """Return a custom value; times and lists become text, as a table has no type for them."""
    match value.WhichOneof("value"):
        case "date":
            return _partial(value.date)
        case "time":
            return value.time.ToJsonString()
        case "texts":
            return "; ".join(value.texts.values)
        case None:
            return None
        case kind:
            plain: str | int | float | bool = getattr(value, kind)
            return plain


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else tuple(value)


def present(row: Row) -> set[str]:
    """Return the fields of a row beyond those that every exported table has."""
    found = {reach_field("email", reach) for reach in row.emails}
    found |= {reach_field("phone", reach) for reach in row.phones}
    found |= _identities(row).keys()
    found |= {custom_field(custom) for custom in row.custom}
    return found.difference(columns.table(()))


def cells(row: Row, names: Iterable[str]) -> tuple[str, ...]:
    """Write a row so that `Columns.row` reads the same row back."""
    return tuple(_cell(row, field) for field in names)


def _cell(row: Row, field: str) -> str:
    if field in REACHES:
        channel, _ = REACHES[field]
        reaches = row.emails if channel == "email" else row.phones
        return columns.joined(field, (r.value for r in reaches if reach_field(channel, r) == field))
    if field.startswith("identity:"):
        return _identities(row).get(field, "")
    if field.startswith("custom:"):
        return next((_text(c.value) for c in row.custom if custom_field(c) == field), "")
    value = getattr(row, field)
    return columns.joined(field, value) if isinstance(value, tuple) else _text(value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def reach_field(channel: str, reach: Reach) -> str:
    """Return the column of an e-mail or phone."""
    return f"{reach.kind}_{channel}" if reach.kind else channel


def _identities(row: Row) -> dict[str, str]:
    """Return the identities by column. One cell cannot hold two: values are taken byte by byte."""
    values: dict[str, str] = {}
    held: Counter[str] = Counter()
    for identity in row.identities:
        held[identity.type] += 1
        count = held[identity.type]
        place = f":{count:02}" if count > 1 else ""
        values[f"identity:{identity.type}{place}"] = identity.value
    return values


def custom_field(custom: Custom) -> str:
    """Return the column of a custom field."""
    match custom.value:
        case bool():
            kind = ":flag"
        case int():
            kind = ":integer"
        case float():
            kind = ":number"
        case PartialDate():
            kind = ":date"
        case _:
            kind = ""
    return f"custom:{custom.name}{kind}"
