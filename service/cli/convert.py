"""Rows of a table to customers of the API, and back."""

from __future__ import annotations

from typing import Any

from namesake import v1
from service.core.model import Identity
from service.transfer.rows import Consent, Contact, Custom, PartialDate, Reach, Row

_SAME = (
    "id", "title", "first_name", "middle_name", "last_name", "company_name", "comment", "stage",
    "owner", "tags", "sources", "campaigns", "groups",
)  # fmt: skip
_SAME_OF_CONTACT = ("title", "first_name", "middle_name", "last_name", "position")
_COLUMN_FIELDS = {
    **dict.fromkeys(("street", "city", "postcode", "area", "country"), "addresses"),
    **dict.fromkeys(("do_not_email", "do_not_call"), "preferences"),
}


def to_customer(row: Row) -> v1.Customer:
    """Return the customer that a row describes."""
    customer = v1.Customer(**{name: getattr(row, name) for name in _SAME})
    customer.kind = v1.CustomerKind.Value(_name("CUSTOMER_KIND", row.kind))
    customer.state = v1.CustomerState.Value(_name("CUSTOMER_STATE", row.state))
    customer.gender = v1.Gender.Value(_name("GENDER", row.gender))
    if row.birth_date:
        customer.birth_date.CopyFrom(_date(row.birth_date))
    for email in row.emails:
        customer.emails.add(value=email.value, kind=_kind(email))
    for phone in row.phones:
        customer.phones.add(value=phone.value, kind=_kind(phone))
    if address := _address(row):
        customer.addresses.append(address)
    for identity in row.identities:
        customer.identities.add(type=identity.type, value=identity.value)
    for custom in row.custom:
        customer.custom_fields[custom.name].CopyFrom(_custom_value(custom))
    for contact in row.contacts:
        customer.contacts.append(_contact(contact))
    preferences = v1.Preferences(
        do_not_email=row.do_not_email,
        do_not_call=row.do_not_call,
        channels=[_preference(consent) for consent in row.consents],
    )
    if preferences.ByteSize():
        customer.preferences.CopyFrom(preferences)
    return customer


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


def _name(prefix: str, word: str) -> str:
    return f"{prefix}_{word.upper() or 'UNSPECIFIED'}"


def _word(name: str, prefix: str) -> str:
    word = name.removeprefix(f"{prefix}_").lower()
    return "" if word == "unspecified" else word


def _kind(reach: Reach) -> v1.ContactKind.ValueType:
    return v1.ContactKind.Value(_name("CONTACT_KIND", reach.kind))


def _reach(point: v1.EmailAddress | v1.PhoneNumber) -> Reach:
    return Reach(point.value, _word(v1.ContactKind.Name(point.kind), "CONTACT_KIND"))


def _contact(contact: Contact) -> v1.Contact:
    made = v1.Contact(**{name: getattr(contact, name) for name in _SAME_OF_CONTACT})
    for email in contact.emails:
        made.emails.add(value=email.value, kind=_kind(email))
    for phone in contact.phones:
        made.phones.add(value=phone.value, kind=_kind(phone))
    if contact.do_not_email or contact.do_not_call:
        made.preferences.do_not_email = contact.do_not_email
        made.preferences.do_not_call = contact.do_not_call
    return made


def _preference(consent: Consent) -> v1.ChannelPreference:
    return v1.ChannelPreference(
        channel=v1.Channel.Value(_name("CHANNEL", consent.channel)),
        consent=v1.CONSENT_GRANTED if consent.granted else v1.CONSENT_DENIED,
    )


def _date(date: PartialDate) -> v1.Date:
    return v1.Date(year=date.year, month=date.month, day=date.day)


def _partial(date: v1.Date) -> PartialDate:
    return PartialDate(date.year, date.month, date.day)


def _address(row: Row) -> v1.PostalAddress | None:
    address = v1.PostalAddress(
        lines=row.street,
        city=row.city,
        postcode=row.postcode,
        administrative_area=row.area,
        country=row.country,
    )
    return address if address.ByteSize() else None


def _first_address(customer: v1.Customer) -> v1.PostalAddress:
    primary = (address for address in customer.addresses if address.primary)
    return next(primary, None) or next(iter(customer.addresses), None) or v1.PostalAddress()


def _custom_value(custom: Custom) -> v1.CustomValue:
    match custom.value:
        case bool():
            return v1.CustomValue(flag=custom.value)
        case int():
            return v1.CustomValue(integer=custom.value)
        case float():
            return v1.CustomValue(number=custom.value)
        case PartialDate():
            return v1.CustomValue(date=_date(custom.value))
        case _:
            return v1.CustomValue(text=custom.value)


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
