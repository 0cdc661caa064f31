"""Rows of made-up worlds (`benchmarks.worlds`) as cards, as an import of the file makes them."""

from __future__ import annotations

from benchmarks.worlds import Row
from namesake import v1
from service.transfer import words

_GENDERS = {"female": v1.GENDER_FEMALE, "male": v1.GENDER_MALE}


def card_of(row: Row, id: str = "") -> v1.Customer:
    """Return the row as a private customer; a person without a last name has a dash for it."""
    card = v1.Customer(
        id=id,
        first_name=row["first_name"],
        middle_name=row.get("middle_name", ""),
        last_name=row["last_name"] or "-",
        company_name=row.get("company", ""),
    )
    if gender := _GENDERS.get(words.gender(row.get("gender", "")) or ""):
        card.gender = gender
    if born := words.date(row["birth_date"]):
        card.birth_date.CopyFrom(v1.Date(year=born.year, month=born.month, day=born.day))
    if row.get("email"):
        card.emails.add(value=row["email"])
    if row.get("phone"):
        card.phones.add(value=row["phone"])
    home = v1.PostalAddress(
        lines=[row["street"]] if row.get("street") else [],
        city=row.get("city", ""),
        postcode=row["postcode"],
        country=row.get("country", ""),
    )
    if home.ByteSize():
        card.addresses.append(home)
    return card
