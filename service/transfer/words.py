"""Readings of single cells: dates, words, lists and full names, as people write them."""

from __future__ import annotations

import re
import unicodedata
from calendar import monthrange
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal, NamedTuple

from service.errors import InvalidArgument
from service.transfer.rows import PartialDate

DateOrder = Literal["", "dmy", "mdy"]


class Dates(NamedTuple):
    """How the dates of a column are written: the order of day and month, `strptime` formats."""

    order: DateOrder = ""
    formats: tuple[str, ...] = ()


NO_DATES = Dates()

NUMBER_LIMIT_DIGITS = 400  # the largest double has 309; "1e999999999" would fill the memory

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MIDNIGHT = re.compile(r"[T ]0?0:00(:00(\.0+)?)?(Z|\+00:?00)?$")
_WRITTEN = re.compile(r"(\d{4}|-)(?:-(\d\d)(?:-(\d\d))?)?")  # by PartialDate
_YEAR_FIRST = re.compile(r"(\d{4})(?:([-/.])(\d{1,2})\2(\d{1,2})|(\d\d)(\d\d))")
_YEAR_LAST = re.compile(r"(\d{1,2})([-/. ])(\d{1,2})\2(\d{4})")
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
    "female": _words(
        "f female w woman weiblich frau ж жен женский женщина femme feminin mujer femenino "
        "feminino mulher"
    ),
    "male": _words(
        "m male man mannlich herr м муж мужской мужчина h homme masculin hombre masculino homem"
    ),
    "other": _words("o x d other divers diverse non-binary autre otro другой"),
}
_TRUE = _words("1 true yes y x ja j oui si да sim s verdadero vrai wahr истина verdadeiro")
_FALSE = _words("0 false no n nein non нет nao falso faux falsch ложь")
_GRANTED = _TRUE | _words("granted opt-in optin agreed")
_DENIED = _FALSE | _words("denied opt-out optout refused")


def gender(text: str) -> str | None:
    """Return "female", "male" or "other"; None where the word is not known."""
    word = plain(text)
    return next((gender for gender, known in _GENDERS.items() if word in known), None)


def flag(text: str) -> bool | None:
    """Read yes or no in some languages; None where the word is not known."""
    word = plain(text)
    return True if word in _TRUE else False if word in _FALSE else None


def consent(text: str) -> bool | None:
    """Read whether somebody agreed; None where the word is not known."""
    word = plain(text)
    return True if word in _GRANTED else False if word in _DENIED else None


def date(text: str, order: DateOrder = "", formats: tuple[str, ...] = ()) -> PartialDate | None:
    """Read a date; None where it is none, or may be two (03/04/1990 without an `order`).

    `formats` are tried first: those of `datetime.strptime`.
    """
    for format in formats:
        if day := _formatted(text.strip(), format):
            return day
    text = _MIDNIGHT.sub("", text.strip()).casefold()
    if found := _WRITTEN.fullmatch(text):
        year = 0 if found[1] == "-" else int(found[1])
        return _real(year, *(int(part) for part in found.groups()[1:] if part))
    if found := _YEAR_FIRST.fullmatch(text):
        return _real(int(found[1]), int(found[3] or found[5]), int(found[4] or found[6]))
    if found := _YEAR_LAST.fullmatch(text):
        # A date with dots is written day first wherever dots are in use.
        order = order or ("dmy" if found[2] == "." else "")
        return _ordered(int(found[1]), int(found[3]), int(found[4]), order)
    if found := _DAY_NAME_YEAR.fullmatch(text):
        return _real(int(found[3]), _month(found[2]), int(found[1]))
    if found := _NAME_DAY_YEAR.fullmatch(text):
        return _real(int(found[3]), _month(found[1]), int(found[2]))
    return None


def _formatted(text: str, format: str) -> PartialDate | None:
    try:
        day = datetime.strptime(text, format).date()
    except ValueError:
        return None
    # Of two digits Python makes 1969 to 2068. Nobody is born in a year that is to come.
    later = "%y" in format and day.year > datetime.now(UTC).year
    return _real(day.year - 100 if later else day.year, day.month, day.day)


def check_format(format: str) -> None:
    """Refuse what is not a format of `datetime.strptime` for whole dates."""
    try:
        written = datetime(2001, 2, 3).strftime(format)
        read = datetime.strptime(written, format)
    except ValueError:
        read = None
    if read != datetime(2001, 2, 3):
        raise InvalidArgument(
            "is not a format of whole dates: write day, month and year as %d.%m.%Y",
            field="--date-format",
        )


def _ordered(one: int, two: int, year: int, order: DateOrder) -> PartialDate | None:
    if order == "mdy":
        return _real(year, one, two)
    if order == "dmy":
        return _real(year, two, one)
    readings = {_real(year, one, two), _real(year, two, one)} - {None}
    return readings.pop() if len(readings) == 1 else None


def _month(name: str) -> int:
    return _MONTHS.index(name[:3]) + 1 if name[:3] in _MONTHS else 0


def _real(year: int, month: int | None = None, day: int | None = None) -> PartialDate | None:
    """Return the date if the calendar has it; what is not given is not known."""
    if not year and month is None:
        return None
    if month is not None and not 1 <= month <= 12:
        return None
    # 2000 stands for the year that is not known, so that 29 February is a birthday.
    if day is not None and not 1 <= day <= monthrange(year or 2000, month or 1)[1]:
        return None
    return PartialDate(year, month or 0, day or 0)


def _pieces(inner: str) -> re.Pattern[str]:
    """Return what finds the pieces of a list; `inner` is a character that ends none.

    A quotation mark protects separators only where a piece begins with it: 5" is five inches.
    """
    return re.compile(rf'\s*"(?:[^"]|"")*"{inner}*|{inner}+')


_BY_SEMICOLON = _pieces(r"[^;\r\n]")
_BY_COMMA = _pieces(r"[^,\r\n]")
_ADDRESSES = _pieces(r"[^;,\r\n]")
_NUMBERS = _pieces(r"(?:[^;,\r\n]|,(?!(?:[^\d,;]*\d){7}))")
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')


def parts(text: str) -> tuple[str, ...]:
    """Split a list in one cell at ";", or else at ",", and where lines end."""
    return _split(_BY_SEMICOLON if ";" in text else _BY_COMMA, text)


def addresses(text: str) -> tuple[str, ...]:
    """Split e-mail addresses at ";" or ","; a quoted local part may contain either."""
    return _split(_ADDRESSES, text)


def numbers(text: str) -> tuple[str, ...]:
    """Split phone numbers at ";", or at a "," before a whole number (not an extension)."""
    return _split(_NUMBERS, text)


def _split(pieces: re.Pattern[str], text: str) -> tuple[str, ...]:
    values = [piece.strip() for piece in pieces.findall(text)]
    if '"' in text:
        values = [_bare(value) for value in values]
    return tuple([value for value in values if value])


def _bare(piece: str) -> str:
    """Undo the quotation of a whole piece; a quoted local part of an address is none."""
    quoted = _QUOTED.fullmatch(piece)
    return quoted[1].replace('""', '"') if quoted else piece


def listed(values: Iterable[str], split: Callable[[str], tuple[str, ...]]) -> str:
    """Write a list so that `split` (one of the above) reads it back, broken values too."""
    return "; ".join(
        value if split(value) == (value,) and not value.startswith('"') else _quoted(value)
        for value in values
    )


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def digits(text: str) -> str:
    """Return a decimal number without exponent and without a fraction of zeros; "" for NaN."""
    number = Decimal(text)
    if not number.is_finite():
        return ""
    if abs(number.adjusted()) > NUMBER_LIMIT_DIGITS:
        return text
    written = format(number, "f")
    return written.rstrip("0").rstrip(".") if "." in written else written


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
