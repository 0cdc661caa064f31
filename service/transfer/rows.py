"""One customer as a spreadsheet row has it, whatever the columns were called."""

from __future__ import annotations

from dataclasses import dataclass

from service.core.model import Identity
from service.errors import InvalidArgument

KINDS = ("mobile", "home", "work", "office", "fax", "other")


class RowRefused(InvalidArgument):
    """A row that cannot be read as a customer; `field` is the column's header."""

    reason = "ROW_FORMAT"


@dataclass(frozen=True, slots=True)
class PartialDate:
    """A date of which the year, the day, or month and day may be missing (0)."""

    year: int
    month: int = 0
    day: int = 0

    def __str__(self) -> str:
        year = f"{self.year:04}" if self.year else "-"  # ISO 8601 of old: --05-12, --05
        return "-".join((year, *(f"{part:02}" for part in (self.month, self.day) if part)))


@dataclass(frozen=True, slots=True)
class Reach:
    """An e-mail or phone as written, with its kind (one of `KINDS`, or "")."""

    value: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Custom:
    """The value of a custom field; its Python type is the field's type."""

    name: str
    value: str | int | float | bool | PartialDate


@dataclass(frozen=True, slots=True)
class Consent:
    """Whether a channel ("email", "sms", …) may be used."""

    channel: str
    granted: bool


@dataclass(frozen=True, slots=True)
class Contact:
    """A person at the customer."""

    title: str = ""
    first_name: str = ""
    middle_name: str = ""
    last_name: str = ""
    position: str = ""
    emails: tuple[Reach, ...] = ()
    phones: tuple[Reach, ...] = ()
    do_not_email: bool = False
    do_not_call: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A customer in columns. "" and () are "not given"; a row holds at most one address."""

    id: str = ""
    kind: str = ""  # "person" or "company"
    state: str = ""  # "active" or "archived"
    title: str = ""
    first_name: str = ""
    middle_name: str = ""
    last_name: str = ""
    gender: str = ""  # "female", "male" or "other"
    birth_date: PartialDate | None = None
    company_name: str = ""
    comment: str = ""
    stage: str = ""
    owner: str = ""
    emails: tuple[Reach, ...] = ()
    phones: tuple[Reach, ...] = ()
    street: tuple[str, ...] = ()
    city: str = ""
    postcode: str = ""
    area: str = ""
    country: str = ""  # ISO 3166-1 alpha-2
    tags: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    campaigns: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    do_not_email: bool = False
    do_not_call: bool = False
    identities: tuple[Identity, ...] = ()
    custom: tuple[Custom, ...] = ()
    consents: tuple[Consent, ...] = ()
    contacts: tuple[Contact, ...] = ()
