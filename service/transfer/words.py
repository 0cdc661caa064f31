"""Readings of single cells: dates, words, lists and full names, as people write them."""

from __future__ import annotations

import csv
import re
import unicodedata
from calendar import monthrange
from collections.abc import Iterable
from typing import Literal

from service.transfer.rows import PartialDate

DateOrder = Literal["", "dmy", "mdy"]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MIDNIGHT = re.compile(r"[T ]0?0:00(:00(\.0+)?)?(Z|\+00:?00)?$")
_YEAR_FIRST = re.compile(r"(\d{4})([-/.]?)(\d{1,2})\2(\d{1,2})")
_YEAR_LAST = re.compile(r"(\d{1,2})([-/. ])(\d{1,2})\2(\d{4})")
_NO_YEAR = re.compile(r"--(\d\d)-(\d\d)")
_DAY_NAME_YEAR = re.compile(r"(\d{1,2})[ -]([a-z]{3,9})\.?[ ,-]+(\d{4})")
_NAME_DAY_YEAR = re.compile(r"([a-z]{3,9})\.? (\d{1,2}),? (\d{4})")

_PARTICLES = frozenset(
    [
        "van",
        "von",
        "der",
        "den",
        "de",
        "del",
        "della",
        "da",
        "dos",
        "das",
        "di",
        "du",
        "la",
        "le",
        "bin",
        "ibn",
        "al",
        "el",
        "ter",
        "zu",
        "zum",
    ]
)
_PATRONYMIC = re.compile(r"(вич|вна|ична|инична|evich|ovich|evna|ovna)$", re.IGNORECASE)
_FAMILY_FIRST = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def plain(text: str) -> str:
    """Fold case, marks and punctuation away, so that "E-Mail" and "e mail" are one word."""
    decomposed = unicodedata.normalize("NFKD", text.strip().casefold())
    bare = "".join(c for c in decomposed if not unicodedata.combining(c))
    return re.sub(r"[^\w:]+", "_", bare).strip("_")


def _words(text: str) -> frozenset[str]:
    return frozenset(plain(word) for word in text.split())


_GENDERS = {
    "female": _words("f female w woman weiblich frau ж жен женский femme feminin mujer femenino"),
    "male": _words("m male man mannlich herr м муж мужской h homme masculin hombre masculino"),
    "other": _words("o x d other divers diverse non-binary autre otro другой"),
}
_TRUE = _words("1 true yes y x ja oui si да")
_FALSE = _words("0 false no n nein non нет")


def gender(text: str) -> str | None:
    """Return "female", "male" or "other"; None where the word is not known."""
    word = plain(text)
    return next((gender for gender, known in _GENDERS.items() if word in known), None)


def flag(text: str) -> bool | None:
    """Read yes or no in some languages; None where the word is not known."""
    word = plain(text)
    return True if word in _TRUE else False if word in _FALSE else None


def date(text: str, order: DateOrder = "") -> PartialDate | None:
    """Read a date; None where it is none, or may be two (03/04/1990 without an `order`)."""
    text = _MIDNIGHT.sub("", text.strip()).casefold()
    if re.fullmatch(r"[12]\d{3}", text):
        return PartialDate(int(text))
    if found := _NO_YEAR.fullmatch(text):
        return _real(0, int(found[1]), int(found[2]))
    if found := _YEAR_FIRST.fullmatch(text):
        return _real(int(found[1]), int(found[3]), int(found[4]))
    if found := _YEAR_LAST.fullmatch(text):
        # A date with dots is written day first wherever dots are in use.
        order = order or ("dmy" if found[2] == "." else "")
        return _ordered(int(found[1]), int(found[3]), int(found[4]), order)
    if found := _DAY_NAME_YEAR.fullmatch(text):
        return _real(int(found[3]), _month(found[2]), int(found[1]))
    if found := _NAME_DAY_YEAR.fullmatch(text):
        return _real(int(found[3]), _month(found[1]), int(found[2]))
    return None


def _ordered(one: int, two: int, year: int, order: DateOrder) -> PartialDate | None:
    if order == "mdy":
        return _real(year, one, two)
    if order == "dmy":
        return _real(year, two, one)
    readings = {_real(year, one, two), _real(year, two, one)} - {None}
    return readings.pop() if len(readings) == 1 else None


def _month(name: str) -> int:
    return _MONTHS.index(name[:3]) + 1 if name[:3] in _MONTHS else 0


def _real(year: int, month: int, day: int) -> PartialDate | None:
    # 2000 stands for the year that is not known, so that 29 February is a birthday.
    if not 1 <= month <= 12 or not 1 <= day <= monthrange(year or 2000, month)[1]:
        return None
    return PartialDate(year, month, day)


def parts(text: str) -> tuple[str, ...]:
    """Split a list in one cell at ";", or else at ","; quotation marks protect either."""
    cells = csv.reader(
        [text.replace("\n", " ")], delimiter=";" if ";" in text else ",", skipinitialspace=True
    )
    return tuple(cell.strip() for cell in next(cells, []) if cell.strip())


def joined(values: Iterable[str]) -> str:
    """Write a list so that `parts` reads it back."""
    return "; ".join(
        '"' + value.replace('"', '""') + '"' if re.search(r'[",;\n]', value) else value
        for value in values
    )


def addresses(text: str) -> tuple[str, ...]:
    """Split e-mail addresses at ";" or ","; a quoted local part may contain either.

    A ";" at the end says that commas belong to the addresses: broken ones are kept as they are.
    """
    separators = ";\\n" if text.rstrip().endswith(";") else ";,\\n"
    pieces = re.findall(rf'(?:"[^"]*"|[^{separators}"]|")+', text)
    return tuple(piece.strip() for piece in pieces if piece.strip())


def numbers(text: str) -> tuple[str, ...]:
    """Split phone numbers at ";", or at a "," before a whole number (not an extension).

    A ";" at the end says that commas belong to the numbers.
    """
    comma = "" if text.rstrip().endswith(";") else r"|,(?=(?:[^\d,;]*\d){7})"
    pieces = re.split(rf"[;\n]{comma}", text)
    return tuple(piece.strip() for piece in pieces if piece.strip())


def points(values: Iterable[str]) -> str:
    """Write e-mails or phones so that `addresses` or `numbers` reads them back."""
    text = "; ".join(values)
    return f"{text};" if "," in text else text


def full_name(text: str) -> tuple[str, str, str]:
    """Split a full name into first, middle and last.

    "Last, First Middle"; family name first in Chinese, Japanese and Korean script; Russian names
    by their patronymic; particles ("van der") belong to the last name. Otherwise the last word is
    the last name, which is wrong for some people: separate columns are better.
    """
    head, comma, tail = text.partition(",")
    if comma:
        first, *middle = tail.split() or [""]
        return first, " ".join(middle), head.strip()
    words = text.split()
    if len(words) < 2:
        return "", "", text.strip()
    if _FAMILY_FIRST.search(text):
        return " ".join(words[1:]), "", words[0]
    if len(words) == 3 and _PATRONYMIC.search(words[2]):
        return words[1], words[2], words[0]
    return _western(words)


def _western(words: list[str]) -> tuple[str, str, str]:
    last = len(words) - 1
    while last > 1 and words[last - 1].casefold() in _PARTICLES:
        last -= 1
    return words[0], " ".join(words[1:last]), " ".join(words[last:])
