"""Customers as rows of a table, one after the other: what exported columns are held against."""

from __future__ import annotations

from typing import Any

from namesake import v1
from service.core.model import Identity
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
