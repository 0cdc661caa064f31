"""The rules that a customer message must keep, with the path of the field that breaks one.

Written out by hand rather than as protovalidate options: they run for every row of an import,
where a walk of direct attribute reads costs a few microseconds and a rule engine would have to
parse the message a second time in its own runtime.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from google.protobuf.message import Message

from namesake import v1
from service.core.regions import region_fault
from service.errors import IdentityExclusive, InvalidArgument
from service.settings import Settings

ID_LIMIT_CHARS = 128
ID_LIMIT_BYTES = 400  # an id is an index key, and LMDB's keys end at 511 bytes
VALUE_LIMIT_CHARS = 1_000
IDENTITY_LIMIT_CHARS = 400
ADDRESS_LINES_LIMIT = 5
RESERVED_TYPES = frozenset({"email", "phone", "customer"})

# Fields that a client may name in a mask: all but those that the server sets.
OUTPUT_ONLY = frozenset({"id", "etag", "create_time", "update_time"})
MASKABLE = frozenset(f.name for f in v1.Customer.DESCRIPTOR.fields) - OUTPUT_ONLY

# What the server adds to a contact point.
_ADDED = (
    "normal", "finding", "extension", "region", "type",
    "time_zones", "national", "international", "tel_uri",
)  # fmt: skip
_TYPE = re.compile(r"[a-z][a-z0-9_.-]{0,62}")
_CUSTOM = re.compile(r"[a-z][a-z0-9_]{0,62}")
_REGION = re.compile(r"[A-Z]{2}")
_LISTS = ("addresses", "contacts", "tags", "sources", "campaigns", "groups", "custom_fields")


def check_id(id: str, field: str) -> None:
    """Refuse an id that is too long for a key or that no log or URL could show."""
    if len(id) > ID_LIMIT_CHARS or len(id.encode()) > ID_LIMIT_BYTES:
        raise InvalidArgument(
            f"an id has at most {ID_LIMIT_CHARS} characters and {ID_LIMIT_BYTES} bytes", field=field
        )
    if id and (not id.isprintable() or id != id.strip()):
        raise InvalidArgument(
            "an id has printable characters only and no space around it", field=field
        )


def check_batch(items: Sequence[object], limit: int, field: str) -> None:
    """Refuse a batch over its bound."""
    if len(items) > limit:
        raise InvalidArgument(f"{len(items)} entries, at most {limit} are taken", field=field)


def check_region(region: str, field: str) -> None:
    """Refuse what is neither empty nor a region that has phone numbers."""
    if region and (fault := region_fault(region)):
        raise InvalidArgument(fault, field=field)


def check_country(country: str, field: str) -> None:
    """Refuse what is neither empty nor written as an ISO 3166-1 alpha-2 code."""
    if country and not _REGION.fullmatch(country):
        raise InvalidArgument("a country is two capital letters (ISO 3166-1 alpha-2)", field=field)


def check_identity(type: str, value: str, field: str) -> None:
    """Refuse an identity whose type or value cannot be one."""
    if not _TYPE.fullmatch(type):
        raise InvalidArgument("an identity type is [a-z][a-z0-9_.-]{0,62}", field=f"{field}.type")
    if not value or len(value) > IDENTITY_LIMIT_CHARS:
        raise InvalidArgument(
            f"an identity has 1 to {IDENTITY_LIMIT_CHARS} characters", field=f"{field}.value"
        )


def check_shape(customer: v1.Customer, settings: Settings, at: str = "customer") -> None:
    """Check every field that is there; whether required ones are, `check_whole` says.

    Raises `InvalidArgument` for the first field that breaks a rule.
    """
    size = customer.ByteSize()
    if size > settings.customer_limit:
        size = _given_size(customer)
    if size > settings.customer_limit:
        raise InvalidArgument(
            f"the card has {size} bytes, at most {settings.customer_limit} are taken", field=at
        )
    _fields(customer, at, _CUSTOMER_CHECKS)
    _texts(customer, size, settings, at)


def _given_size(customer: v1.Customer) -> int:
    """Return the bytes of a card without what the server adds to it."""
    given = v1.Customer()
    given.CopyFrom(customer)
    owners: list[v1.Customer | v1.Contact] = [given, *given.contacts]
    for owner in owners:
        for point in (*owner.emails, *owner.phones):
            for name in _ADDED:
                if name in point.DESCRIPTOR.fields_by_name:
                    point.ClearField(cast(Any, name))
    return given.ByteSize()


def _fields(message: Message, at: str, checks: Mapping[str, Callable[..., None]]) -> None:
    # Only what is set is listed: a card leaves most of its fields empty.
    for descriptor, value in message.ListFields():
        check = checks.get(descriptor.name)
        if check is not None:
            check(value, f"{at}.{descriptor.name}")


def check_whole(customer: v1.Customer, settings: Settings, at: str = "customer") -> None:
    """Check what only a whole card can break: required fields, primaries, counts."""
    if customer.kind == v1.CUSTOMER_KIND_COMPANY:
        if not customer.company_name.strip():
            raise InvalidArgument("required for a company", field=f"{at}.company_name")
    elif not customer.last_name.strip():
        raise InvalidArgument("required for a person", field=f"{at}.last_name")
    if customer.contacts:
        _whole_contacts(customer, at)
    # An entry takes two bytes at least, so that a small card cannot have too many of anything.
    if customer.ByteSize() > 2 * min(settings.points_limit, settings.list_limit):
        check_counts(customer, settings, at)
    if settings.exclusive_identity_types:
        _exclusive(customer, settings.exclusive_identity_types, at)


def check_counts(customer: v1.Customer, settings: Settings, at: str = "customer") -> None:
    """Refuse a card with more entries than one may have."""
    points = len(customer.emails) + len(customer.phones)
    points += sum(len(c.emails) + len(c.phones) for c in customer.contacts)
    _bound(points, settings.points_limit, "contact points", at)
    _bound(len(customer.identities), settings.points_limit, "identities", f"{at}.identities")
    for name in _LISTS:
        _bound(len(getattr(customer, name)), settings.list_limit, "entries", f"{at}.{name}")


def check_mask(paths: Sequence[str], field: str) -> None:
    """Refuse an empty mask, and names that are not client-set top-level fields of Customer."""
    if not paths:
        raise InvalidArgument("required: the names of the fields to change", field=field)
    for index, path in enumerate(paths):
        if path not in MASKABLE:
            raise InvalidArgument(
                "names a field that Customer has not, or that cannot be set",
                field=f"{field}.paths[{index}]",
            )
    check_once(paths, f"{field}.paths")


def check_once(values: Sequence[object], field: str) -> None:
    """Refuse a list that names something twice, which also bounds it."""
    if len(set(values)) < len(values):
        raise InvalidArgument("names something twice", field=field)


def check_added(words: Mapping[str, Sequence[str]], settings: Settings, at: str) -> None:
    """Check lists of words that are added to every row of an import."""
    for name, values in words.items():
        _bound(len(values), settings.list_limit, "entries", f"{at}.{name}")
        _words(values, f"{at}.{name}")
        for index, value in enumerate(values):
            check_text(value, settings.text_limit_chars, f"{at}.{name}[{index}]")


def _bound(count: int, limit: int, what: str, field: str) -> None:
    if count > limit:
        raise InvalidArgument(f"{count} {what}, at most {limit} are taken", field=field)


def _whole_contacts(customer: v1.Customer, at: str) -> None:
    primaries = 0
    ids = set()
    for index, contact in enumerate(customer.contacts):
        field = f"{at}.contacts[{index}]"
        if not contact.last_name.strip():
            raise InvalidArgument("required for a contact", field=f"{field}.last_name")
        primaries += contact.primary
        if contact.id and contact.id in ids:
            raise InvalidArgument("another contact has this id", field=f"{field}.id")
        ids.add(contact.id)
        if contact.primary and customer.kind == v1.CUSTOMER_KIND_COMPANY:
            raise InvalidArgument(
                "only a private customer has a primary contact", field=f"{field}.primary"
            )
    if primaries > 1:
        raise InvalidArgument("at most one contact is primary", field=f"{at}.contacts")


def _exclusive(customer: v1.Customer, exclusive: frozenset[str], at: str) -> None:
    held: dict[str, str] = {}
    for index, identity in enumerate(customer.identities):
        if identity.type in exclusive and held.setdefault(identity.type, identity.value) != (
            identity.value
        ):
            raise IdentityExclusive(
                "a customer holds at most one value of this identity type",
                field=f"{at}.identities[{index}]",
                type=identity.type,
            )


def _points(points: Sequence[v1.EmailAddress | v1.PhoneNumber], field: str) -> None:
    primaries = 0
    for index, point in enumerate(points):
        if not 0 < len(point.value) <= VALUE_LIMIT_CHARS:
            raise InvalidArgument(
                f"a contact point has 1 to {VALUE_LIMIT_CHARS} characters",
                field=f"{field}[{index}].value",
            )
        if point.kind or point.verification:
            _enums(point, ("kind", "verification"), f"{field}[{index}]")
        primaries += point.primary
    if primaries > 1:
        raise InvalidArgument("at most one is primary", field=field)


def _contacts(contacts: Sequence[v1.Contact], field: str) -> None:
    for index, contact in enumerate(contacts):
        _fields(contact, f"{field}[{index}]", _CONTACT_CHECKS)


def _addresses(addresses: Sequence[v1.PostalAddress], field: str) -> None:
    if sum(address.primary for address in addresses) > 1:
        raise InvalidArgument("at most one is primary", field=field)
    for index, address in enumerate(addresses):
        at = f"{field}[{index}]"
        _enums(address, ("kind",), at)
        _bound(len(address.lines), ADDRESS_LINES_LIMIT, "lines", f"{at}.lines")
        check_country(address.country, f"{at}.country")


def _identities(identities: Sequence[v1.Identity], field: str) -> None:
    for index, identity in enumerate(identities):
        at = f"{field}[{index}]"
        check_identity(identity.type, identity.value, at)
        if identity.type in RESERVED_TYPES:
            raise InvalidArgument(
                "e-mails, phones and the customer id are identities by themselves",
                field=f"{at}.type",
            )


def _preferences(preferences: v1.Preferences, field: str) -> None:
    _enums(preferences, ("preferred_contact",), field)
    seen = set()
    for index, preference in enumerate(preferences.channels):
        at = f"{field}.channels[{index}]"
        _enums(preference, ("channel", "consent"), at)
        if preference.channel == v1.CHANNEL_UNSPECIFIED:
            raise InvalidArgument("required", field=f"{at}.channel")
        if preference.channel in seen:
            raise InvalidArgument("another preference has this channel", field=f"{at}.channel")
        seen.add(preference.channel)


def check_values(values: Mapping[str, v1.CustomValue], field: str) -> None:
    """Refuse values under names that cannot be one, or that say nothing."""
    for name, value in values.items():
        if not _CUSTOM.fullmatch(name):
            raise InvalidArgument("a name is [a-z][a-z0-9_]{0,62}", field=field)
        which = value.WhichOneof("value")
        if which is None:
            raise InvalidArgument("has no value", field=f"{field}.{name}")
        if which == "number" and not abs(value.number) < float("inf"):
            raise InvalidArgument("NaN and infinities are not taken", field=f"{field}.{name}")
        if which == "date":
            _date(value.date, f"{field}.{name}.date")


def _date(date: v1.Date, field: str) -> None:
    good = 0 <= date.year <= 9999 and 0 <= date.month <= 12 and (date.month or not date.day)
    if good and date.day:
        # A day without its year is looked at in a leap year: 29 February is somebody's birthday.
        good = 1 <= date.day <= calendar.monthrange(date.year or 2000, date.month)[1]
    if not good or not (date.year or date.month):
        raise InvalidArgument("not a date of the calendar", field=field)


def _words(words: Sequence[str], field: str) -> None:
    if "" in words:
        raise InvalidArgument("an entry is empty", field=field)


def enum_check(kind: Any) -> Callable[[int, str], None]:
    """Return a check that refuses what is no value of an enum."""
    numbers = frozenset(kind.values())

    def check(value: int, field: str) -> None:
        if value not in numbers:
            raise InvalidArgument("not a value of this enum", field=field)

    return check


_CUSTOMER_CHECKS: dict[str, Callable[..., None]] = {
    "id": check_id,
    "kind": enum_check(v1.CustomerKind),
    "state": enum_check(v1.CustomerState),
    "gender": enum_check(v1.Gender),
    "birth_date": _date,
    "emails": _points,
    "phones": _points,
    "addresses": _addresses,
    "contacts": _contacts,
    "identities": _identities,
    "preferences": _preferences,
    "tags": _words,
    "sources": _words,
    "campaigns": _words,
    "groups": _words,
    "custom_fields": check_values,
}
_CONTACT_CHECKS: dict[str, Callable[..., None]] = {
    "emails": _points,
    "phones": _points,
    "preferences": _preferences,
}


def _enums(message: Message, names: Iterable[str], at: str) -> None:
    for name in names:
        value = getattr(message, name)
        if value and value not in _NUMBERS[message.DESCRIPTOR.full_name, name]:
            raise InvalidArgument("not a value of this enum", field=f"{at}.{name}")


def _enum_numbers(*types: type[Message]) -> dict[tuple[str, str], frozenset[int]]:
    return {
        (type_.DESCRIPTOR.full_name, field.name): frozenset(field.enum_type.values_by_number)
        for type_ in types
        for field in type_.DESCRIPTOR.fields
        if field.enum_type is not None
    }


_NUMBERS = _enum_numbers(
    v1.Customer, v1.EmailAddress, v1.PhoneNumber, v1.PostalAddress, v1.Preferences,
    v1.ChannelPreference,
)  # fmt: skip


def _texts(customer: v1.Customer, size: int, settings: Settings, at: str) -> None:
    # Looking at every text costs more than all else; both faults show in the bytes first.
    if size > settings.text_limit_chars or b"\0" in customer.SerializePartialToString():
        check_texts(customer, settings.text_limit_chars, at)


def check_texts(message: Message, limit: int, at: str) -> None:
    """Refuse any text of a message that is over the limit or has a NUL."""
    for descriptor, value in message.ListFields():
        field = f"{at}.{descriptor.name}" if at else descriptor.name
        if descriptor.message_type and descriptor.message_type.GetOptions().map_entry:
            named = [(f"{field}.{name}", item) for name, item in value.items()]
        elif descriptor.is_repeated:
            named = [(f"{field}[{index}]", item) for index, item in enumerate(value)]
        else:
            named = [(field, value)]
        for path, item in named:
            if isinstance(item, Message):
                check_texts(item, limit, path)
            elif isinstance(item, str):
                check_text(item, limit, path)


def check_text(text: str, limit: int, field: str) -> None:
    """Refuse a text over its limit or with a NUL."""
    if len(text) > limit:
        raise InvalidArgument(f"{len(text)} characters, at most {limit} are taken", field=field)
    if "\0" in text:
        raise InvalidArgument("contains a NUL character", field=field)
