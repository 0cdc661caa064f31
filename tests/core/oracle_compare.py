"""What the comparators must say, slowly and plainly: RapidFuzz where it has the measure."""

from __future__ import annotations

from math import sqrt

from rapidfuzz.distance import OSA, JaroWinkler

from service.core import _compare as kernel

VOWELS = set("aeiou")
DIGITS = set("0123456789")
LATIN = set("abcdefghijklmnopqrstuvwxyz")
Date = tuple[int, int, int]


def jaro_winkler(a: str, b: str) -> float:
    """Return the similarity of what the kernel looks at."""
    return JaroWinkler.similarity(a[: kernel.LETTERS], b[: kernel.LETTERS])


def edits(a: str, b: str, limit: int) -> int:
    """Return the distance, or one more than the limit."""
    limit = max(0, min(limit, kernel.EDITS))
    return min(OSA.distance(a, b), limit + 1)


# Words


def words(a: str, b: str) -> float:
    """Pair the words, best pairs first."""
    ones, others = (_words(text) for text in (a, b))
    if not ones or not others:
        return 0.0
    # By words, then letters, then alphabet.
    if (len(others), len(b), b) < (len(ones), len(a), a):
        ones, others = others, ones
    whole = sqrt(len(ones) * len(others))
    found = {1.0: 0, 0.9: 0, 0.6: 0}
    for likeness in found:
        for one in list(ones):
            for other in others:
                if word_likeness(one, other) == likeness:
                    ones.remove(one)
                    others.remove(other)
                    found[likeness] += 1
                    break
    return sum(likeness * count for likeness, count in found.items()) / whole


def _words(text: str) -> list[str]:
    return [word for word in text.split(" ") if word][: kernel.COMPARED_WORDS]


def word_likeness(one: str, other: str) -> float:
    """Return the likeness of two words."""
    short, long = sorted((one, other), key=len)
    if one == other:
        return 1.0
    if DIGITS & {*one, *other}:
        return 0.0
    if len(short) == 1:
        return 0.6 if long.startswith(short) else 0.0
    if long.startswith(short) or contracts(short, long):
        return 0.9
    return 0.9 if len(short) >= 4 and OSA.distance(one, other) == 1 else 0.0


def contracts(short: str, long: str) -> bool:
    """Tell whether the short word is what is left of the long one without most of its letters."""
    left = iter(long)
    return (
        short[0] == long[0]
        and short[-1] == long[-1]
        and not VOWELS & {*short[1:]}
        and all(letter in left for letter in short)
    )


# Phone numbers and postcodes


def numbers(a: str, b: str) -> int:
    """Go through the levels, the best first."""
    if not a or not b:
        return kernel.NUMBER_ABSENT
    if a == b:
        return kernel.NUMBER_SAME
    if min(len(a), len(b)) >= kernel.ENDING:
        if OSA.distance(a, b) == 1:
            return kernel.NUMBER_EDIT
        if a[-kernel.ENDING :] == b[-kernel.ENDING :]:
            return kernel.NUMBER_ENDING
    return kernel.NUMBER_DIFFERENT


def postcodes(a: str, b: str) -> int:
    """Go through the levels, the best first."""
    if not a or not b:
        return kernel.POSTCODE_ABSENT
    if a == b:
        return kernel.POSTCODE_SAME
    if _share_area(a, b):
        return kernel.POSTCODE_AREA
    return kernel.POSTCODE_EDIT if OSA.distance(a, b) == 1 else kernel.POSTCODE_DIFFERENT


def _share_area(a: str, b: str) -> bool:
    if is_british(a) or is_british(b):
        return (a[:-3] if is_british(a) else a) == (b[:-3] if is_british(b) else b)
    return min(len(a), len(b)) >= kernel.AREA and a[: kernel.AREA] == b[: kernel.AREA]


def is_british(text: str) -> bool:
    """Tell whether a text is a whole postcode as in the United Kingdom: sw1a1aa."""
    ending = text[-3:]
    return (
        5 <= len(text) <= 7
        and text[0] in LATIN
        and ending[0] in DIGITS
        and ending[1] in LATIN
        and ending[2] in LATIN
    )


# Dates


def pack(date: Date) -> int:
    """Return a date as the kernel takes it."""
    year, month, day = date
    return year << 9 | month << 5 | day


def dates(a: Date, b: Date) -> int:
    """Go through the levels, the best first."""
    known = [one == other for one, other in zip(a, b, strict=True) if one and other]
    year, month, day = (one == other for one, other in zip(a, b, strict=True))
    if not known:
        return kernel.DATE_ABSENT
    if not all(a) or not all(b):
        if all(known):
            return kernel.DATE_COMPATIBLE
        return kernel.DATE_YEAR if year and a[0] else kernel.DATE_DIFFERENT
    if a == b:
        return kernel.DATE_SAME
    if a == (b[0], b[2], b[1]):
        return kernel.DATE_SWAPPED
    if _is_slip(*("{:04}{:02}{:02}".format(*date) for date in (a, b))):
        return kernel.DATE_TYPO
    shared = {
        (True, True, False): kernel.DATE_YEAR_MONTH,
        (True, False, True): kernel.DATE_YEAR_DAY,
        (False, True, True): kernel.DATE_MONTH_DAY,
        (True, False, False): kernel.DATE_YEAR,
    }
    return shared.get((year, month, day), kernel.DATE_DIFFERENT)


def _is_slip(a: str, b: str) -> bool:
    differ = [place for place in range(8) if a[place] != b[place]]
    if len(differ) == 2:
        first, second = differ
        return second == first + 1 and a[first] + a[second] == b[second] + b[first]
    return len(differ) == 1
