"""What the cells of a column look like: e-mails, phones, dates, countries and more.

A look is a guess by form alone, over the few hundred rows of a preview. It suggests what a column
without a telling header is, and tells where a header and its cells do not fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from service.transfer import words
from service.transfer.countries import country_code
from service.transfer.words import DateOrder

Look = Literal[
    "e-mails",
    "phones",
    "dates",
    "birth dates",
    "genders",
    "countries",
    "postcodes",
    "yes or no",
    "companies",
    "URLs",
]

CELLS = 1_000  # that are looked at: more would not change the picture
CELL_CHARS = 1_000  # of each: longer ones are free text, whatever they begin with
CLEAR_SHARE = 0.9  # of the dates with a day beyond 12 have it in the same place

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]{2,}")
_PHONE = re.compile(r"(?:tel:|\+|00)?[\d\s()./-]{6,24}(?:(?:ext|x|#)[. ]?\d{1,6})?", re.IGNORECASE)
_POSTCODE = re.compile(
    r"\d{4,6}|\d{5}-\d{3,4}|\d{4} ?[A-Z]{2}|[A-Z]{1,2}-?\d{4,5}|\d{3} \d{2}"
    r"|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|[A-Z]\d[A-Z] ?\d[A-Z]\d",
    re.IGNORECASE,
)
_URL = re.compile(r"(?:https?://|www\.)[^\s/]+\S*", re.IGNORECASE)
_COMPANY = re.compile(
    r"(?:^|[\s,\"«(])(?:gmbh|ag|kg|ohg|ug|e\.\s?k\.|ltd|limited|inc|llc|llp|plc|corp|corporation"
    r"|co|company|group|holding|s\.?a\.?|s\.?a\.?s\.?|s\.?a\.?r\.?l\.?|sarl|sas|eurl|s\.?l\.?"
    r"|s\.?l\.?u\.?|s\.?r\.?l\.?|s\.?p\.?a\.?|ltda|eireli|b\.?v\.?|n\.?v\.?|a/s|aps|ab|oy|as|sp\."
    r"\s?z\s?o\.?o|s\.?r\.?o|ооо|оао|зао|пао|ао|ип|тов|пп)\.?(?=[\s,\"»)]|$)",
    re.IGNORECASE,
)
_PHONE_DIGITS = range(7, 16)  # E.164 has 15 at most; shorter ones are extensions
_YEAR_CHARS = 4  # a bare year is a number like any other
_GENDERS_KNOWN = 6  # that a column writes in as many ways
_BORN = range(1900, 2021)


@dataclass(frozen=True, slots=True)
class Content:
    """What the cells of a column look like."""

    cells: int = 0  # that are not empty, of those looked at
    shares: Mapping[Look, float] = field(default_factory=dict)
    order: DateOrder = ""  # of day and month in its dates, where they tell
    digits: bool = False  # most cells are digits alone: phones, postcodes, ids, anything

    def share(self, seen: Look) -> float:
        """Return which share of the cells looks so."""
        return self.shares.get(seen, 0.0)

    @property
    def clearest(self) -> Look | None:
        """Return what most of the cells look like; of several the most telling."""
        found = [seen for seen in _TELLING if self.share(seen)]
        if self.digits:
            found = [seen for seen in found if seen not in _OF_DIGITS]
        return max(found, key=self.share, default=None)


def look(cells: Iterable[str]) -> Content:
    """Look at the cells of a column."""
    texts = [text for cell in cells if (text := cell[:CELL_CHARS].strip())][:CELLS]
    if not texts:
        return Content()
    counts = {seen: sum(1 for text in texts if is_so(text)) for seen, is_so in _FORMS.items()}
    if len({words.plain(text) for text in texts}) > _GENDERS_KNOWN:
        counts["genders"] = counts["yes or no"] = 0
    shares = {seen: count / len(texts) for seen, count in counts.items() if count}
    order = _order(texts) if counts["dates"] else ""
    return Content(len(texts), shares, order, _are_digits(texts))


def _is_email(text: str) -> bool:
    return all(_EMAIL.fullmatch(one) for one in words.addresses(text))


def _is_phone(text: str) -> bool:
    return all(_is_number(one) for one in words.numbers(text)) and not _is_date(text)


def _is_number(text: str) -> bool:
    return bool(_PHONE.fullmatch(text)) and sum(c.isdigit() for c in text) in _PHONE_DIGITS


def _is_date(text: str) -> bool:
    if len(text) <= _YEAR_CHARS or text.isdigit():
        return False
    return any(words.date(text, order) for order in _ORDERS)


_ORDERS: tuple[DateOrder, ...] = ("dmy", "mdy")


def _is_birth_date(text: str) -> bool:
    if not _is_date(text):
        return False
    return any((found := words.date(text, order)) and found.year in _BORN for order in _ORDERS)


def _are_digits(texts: Iterable[str]) -> bool:
    digits = [text.isdigit() and not text.startswith("00") for text in texts]
    return sum(digits) > len(digits) / 2


def _order(texts: Iterable[str]) -> DateOrder:
    """Return the order of day and month that the dates with a day beyond 12 have."""
    day_first = month_first = 0
    for text in texts:
        dmy, mdy = (words.date(text, order) is not None for order in _ORDERS)
        day_first += dmy and not mdy
        month_first += mdy and not dmy
    needed = CLEAR_SHARE * max(day_first + month_first, 1)
    return "dmy" if day_first >= needed else "mdy" if month_first >= needed else ""


_FORMS: dict[Look, Callable[[str], bool]] = {
    "e-mails": _is_email,
    "phones": _is_phone,
    "dates": _is_date,
    "birth dates": _is_birth_date,
    "genders": lambda text: words.gender(text) is not None,
    "countries": lambda text: bool(country_code(text)),
    "postcodes": lambda text: bool(_POSTCODE.fullmatch(text)),
    "yes or no": lambda text: words.consent(text) is not None,
    "companies": lambda text: bool(_COMPANY.search(text)),
    "URLs": lambda text: bool(_URL.fullmatch(text)),
}
# The most telling first: a date of birth is a date, and postcodes may be numbers of any kind.
_TELLING: tuple[Look, ...] = (
    "e-mails", "URLs", "genders", "birth dates", "dates", "phones", "companies", "countries",
    "postcodes", "yes or no",
)  # fmt: skip
_OF_DIGITS = frozenset[Look](["phones", "postcodes"])
