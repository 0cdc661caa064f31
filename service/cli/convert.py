"""Rows of a table to customers of the API."""

from __future__ import annotations

from namesake import v1
from service.transfer.rows import Consent, Contact, Custom, PartialDate, Reach, Row

_SAME = (
    "id", "title", "first_name", "middle_name", "last_name", "company_name", "comment", "stage",
    "owner", "tags", "sources", "campaigns", "groups",
)  # fmt: skip
_SAME_OF_CONTACT = ("title", "first_name", "middle_name", "last_name", "position")


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


def _name(prefix: str, word: str) -> str:
    return f"{prefix}_{word.upper() or 'UNSPECIFIED'}"


def _kind(reach: Reach) -> v1.ContactKind.ValueType:
    return v1.ContactKind.Value(_name("CONTACT_KIND", reach.kind))


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


def _address(row: Row) -> v1.PostalAddress | None:
    address = v1.PostalAddress(
        lines=row.street,
        city=row.city,
        postcode=row.postcode,
        administrative_area=row.area,
        country=row.country,
    )
    return address if address.ByteSize() else None


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
