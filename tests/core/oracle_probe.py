"""What looking one record up must do, slowly and plainly: what is compared, and who shares keys."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from namesake import v1
from service.core import _names
from service.core._features import POINTS
from service.core._names import Name, Token
from tests.core.oracle_match import Person, names_of

LINES = 5  # of an address
REGION = 3  # letters or digits that a postcode begins with
PHONE_TAIL = 5  # digits


@dataclass(frozen=True, slots=True)
class Cells:
    """What is compared of one customer, as it is written there."""

    first: str = ""
    middle: str = ""
    last: str = ""
    company: str = ""
    street: str = ""
    city: str = ""
    postcode: str = ""
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    birth: int = 0
    gender: int = 0


_GENDERS = {v1.GENDER_MALE: 1, v1.GENDER_FEMALE: 2}


def cells(customer: v1.Customer) -> Cells:
    """Read a message."""
    homes = [*filter(lambda one: one.primary, customer.addresses), *customer.addresses]
    home = homes[0] if homes else v1.PostalAddress()
    place = (" ".join(home.lines[:LINES]), home.city, home.postcode)
    points = (_normals(customer.emails), _normals(customer.phones))
    if customer.kind == v1.CUSTOMER_KIND_COMPANY:
        return Cells("", "", "", customer.company_name, *place, *points)
    date = customer.birth_date
    return Cells(
        customer.first_name,
        customer.middle_name,
        customer.last_name,
        customer.company_name,
        *place,
        *points,
        date.year << 9 | date.month << 5 | date.day if date.year else 0,
        _GENDERS.get(customer.gender, 0),
    )


def _normals(points: Collection[v1.EmailAddress] | Collection[v1.PhoneNumber]) -> tuple[str, ...]:
    return tuple(point.normal for point in points if point.normal)[:POINTS]


def has_possible_date(customer: v1.Customer) -> bool:
    """Tell whether the birth date is one that there can be, in its parts."""
    date = customer.birth_date
    return 0 <= date.year <= 9_999 and 0 <= date.month <= 12 and 0 <= date.day <= 31


# Blocks

Keys = Iterator[tuple[str, object]]


def shared(one: Person, other: Person) -> list[str]:
    """Return in what two records agree, of all that must lead from one to the other."""
    a, b = names_of([one, other])
    return sorted(what for what, _ in {*_keys(one, a)} & {*_keys(other, b)})


def _keys(one: Person, name: Name) -> Keys:
    first, last = word(name, _names.FIRST), word(name, _names.LAST)
    place = one.postcode or one.city
    region = one.postcode[:REGION] if len(one.postcode) >= REGION else place
    if last:
        yield from _of_last_name(one, last, first, place)
    if first and one.birth[0]:
        yield "birth date and first name's sound", (one.birth, _sound(first))
    if first and last and region:
        yield "sounds and region", (frozenset({_sound(first), _sound(last)}), region)
    if first and last and first.text != last.text:
        yield "names in either order", frozenset({first.text, last.text})
    if first and one.city:
        yield "first name's sound and city", (_sound(first), one.city)
    if one.birth[0] and one.birth[2]:
        yield "birth date", one.birth
    if one.street:
        yield "street", one.street
    if one.emails:
        yield "local part", one.emails[0].partition("@")[0]
    if one.company:
        yield "company", (bool(first or last), one.company)
        if not (first or last) and region:
            longest = max(one.company.split(), key=len)
            yield "longest word of a company and region", (longest, region)


def _of_last_name(one: Person, last: Token, first: Token | None, place: str) -> Keys:
    if one.birth[0]:
        yield "birth date and last name's sound", (one.birth, _sound(last))
        initial = first.text[0] if first else ""
        yield "year, last name's sound and initial", (one.birth[0], _sound(last), initial)
    if one.postcode:
        yield "last name's sound and postcode", (_sound(last), one.postcode)
    if one.city:
        yield "last name's sound and city", (_sound(last), one.city)
    for phone in one.phones:
        yield "last name's sound and end of the phone", (_sound(last), phone[-PHONE_TAIL:])


def word(name: Name, role: int) -> Token | None:
    """Return the first word of a role."""
    for token in name.tokens:
        if token.flags & _names.ROLE == role and not token.flags & _names.PARTICLE:
            return token
    return None


def _sound(token: Token) -> tuple[bool, str]:
    return (True, token.sound) if token.sound else (False, token.text)
