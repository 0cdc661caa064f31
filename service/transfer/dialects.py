"""What a file of text is written in, seen from its bytes: encoding, delimiter, quotation mark.

The encoding is the one that a byte order mark names; UTF-8 if the whole file is that; UTF-16 or 32
by where its zeros are; else the one of some old ones in which the words look like words. Libraries
that guess among all encodings there are take "São Paulo" for Romanian: a list of customers has few
words, so we choose among few encodings, and prefer the one that Windows writes in most countries.
"""

from __future__ import annotations

import codecs
import csv
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from service.errors import InvalidArgument
from service.transfer.files import (
    DELIMITERS,
    CsvReader,
    Source,
    check_delimiter,
    check_quote,
    delimiter_line,
)

SAMPLE_LINES = 200  # that are taken apart with each delimiter
MIXED_COST = 3  # of a sign or a strange letter within a word, in letters that are as they should be
ZEROS_SHARE = 0.05  # of the bytes at one place in two or four: delimiters and line ends are ASCII

_MARKS = (  # the longer first: UTF-32's begins as UTF-16's does
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CYRILLIC, _RARE_CYRILLIC = "оеаинтсрвлкмдпуяыьі", "збгчйхжшюцщэфъёїєґў"
_GREEK, _RARE_GREEK = "αοιετσνηυρπκμλςάόίέ", "βγδζθξφχψωήύώϊϋΐΰ"
# Encoding: letters beyond ASCII that are usual where it is in use, and those that are rarer.
# Before others that fit as well go those that come first.
_OLD = (
    ("windows-1252", "äöüßéèêëàâçîïôûñáíóúãõåæœ", "øùìòýÿðþšž"),
    ("windows-1251", _CYRILLIC, _RARE_CYRILLIC),
    ("windows-1250", "ąćęłńóśźżáčďéěíňřšťúůýžäöüőűâîăşţ", "ôľĺŕßëđ"),
    ("windows-1254", "çğıöşüâîûé", ""),
    ("windows-1253", _GREEK, _RARE_GREEK),
    ("koi8-r", _CYRILLIC, _RARE_CYRILLIC),
    ("cp866", _CYRILLIC, _RARE_CYRILLIC),
    ("mac-roman", "äöüßéèêëàâçîïôûñáíóúãõåæœ", "øùìòÿ"),
    ("cp850", "äöüßéèêëàâçîïôûñáíóúãõåæ", "øùìòýÿðþ"),
)
_SIGNS = frozenset("€£§°ºª№«»„“”‘’–—…·¿¡®©™\xa0\xad")  # that people write beside words
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a text is read; of JSONL the encoding alone counts."""

    encoding: str
    delimiter: str = ""
    quote: str = ""


def encoding_of(source: Source) -> str:
    """Return the encoding of a file; refuses one that cannot be told."""
    sample = source.sample()
    for mark, encoding in _MARKS:
        if sample.startswith(mark):
            return encoding
    if b"\0" in sample and (wide := _wide(sample)):
        return wide
    odd = source.other_than_utf8()
    return _old(odd) if odd else "utf-8"


def _wide(sample: bytes) -> str:
    """Return the encoding of two or four bytes a character that zeros show, "" if none."""
    zeros = [sample[place::4].count(0) / (len(sample) / 4) for place in range(4)]
    most = [share > ZEROS_SHARE for share in zeros]
    shapes = {
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
    }
    return shapes.get((most[0], most[1], most[2], most[3]), "")


def _old(sample: bytes) -> str:
    """Return the encoding of one byte a character in which a text looks most like one."""
    scores = [(_likeness(sample, *of), -place) for place, of in enumerate(_OLD)]
    best, place = max(scores)
    if best <= 0:
        raise InvalidArgument(
            "The encoding is neither UTF-8 nor one that can be guessed; name the file's encoding"
        )
    return _OLD[-place][0]


def _likeness(sample: bytes, encoding: str, usual: str, rare: str) -> float:
    """Return how many letters beyond ASCII are usual, less those that are not."""
    try:
        text = unicodedata.normalize("NFC", sample.decode(encoding))
    except UnicodeDecodeError:
        return float("-inf")
    score = 0.0
    for letter in text:
        if not letter.isascii() and not letter.isalpha() and letter not in _SIGNS:
            score -= MIXED_COST
    for word in set(_WORD.findall(text)):
        if not word.isascii():
            score += _likeness_of_word(word, usual, rare)
    return score


def _likeness_of_word(word: str, usual: str, rare: str) -> float:
    score = 0.0
    for place, letter in enumerate(word.lower(), 1):
        if not letter.isascii():
            is_last = place == len(word)  # città, Nicolò, Forlì
            score += 1 if letter in usual else (1 if is_last else 0.25) if letter in rare else -1
    # Latin words have some letters of ASCII; Cyrillic and Greek ones have none.
    of_ascii = sum(letter.isascii() for letter in word)
    if of_ascii if usual in (_CYRILLIC, _GREEK) else 2 * of_ascii < len(word) > 2:
        score -= MIXED_COST
    cased = word.replace("ß", "")  # which is written among capitals too
    if not cased.isupper() and any(letter.isupper() for letter in cased[1:]):
        score -= MIXED_COST
    return score


def open_csv(
    source: Source, *, encoding: str = "", delimiter: str = "", quote: str = ""
) -> tuple[CsvReader, Dialect]:
    """Open a delimited text; what is not given is found in it."""
    if delimiter:
        check_delimiter(delimiter)
    if quote:
        check_quote(quote, delimiter)
    encoding = encoding or encoding_of(source)
    found_delimiter, found_quote = ("", "")
    if not delimiter or not quote:
        found_delimiter, found_quote = _found(_begin(source, encoding), delimiter, quote)
    reader = CsvReader(
        source.lines(encoding),
        delimiter=delimiter or found_delimiter or None,
        quote=quote or found_quote or '"',
    )
    return reader, Dialect(encoding, reader.delimiter, reader.quote)


def _begin(source: Source, encoding: str) -> list[str]:
    """Return the first lines that are whole."""
    try:
        text = codecs.getincrementaldecoder(encoding)("replace").decode(source.sample())
    except (LookupError, UnicodeError):
        return []  # it is refused where the file is read
    lines = text.removeprefix("\ufeff").splitlines()
    return [line for line in (lines[:-1] or lines)[:SAMPLE_LINES] if line.strip()]


def _found(lines: list[str], delimiter: str, quote: str) -> tuple[str, str]:
    """Return the delimiter and the quotation mark of a text, "" where nothing says."""
    if not lines:
        return "", quote
    if named := delimiter_line(lines[0]):  # it goes before all that the rows say
        return "", quote or _quote(lines[1:], delimiter or named)
    marks = [quote] if quote else ['"', "'"]
    delimiters = [delimiter] if delimiter else list(DELIMITERS)
    fits = {one: max(_fit(lines, one, mark) for mark in marks) for one in delimiters}
    best = max(fits, key=lambda one: fits[one])
    found = best if delimiter or fits[best] else ""
    return found, quote or _quote(lines, found)


def _fit(lines: list[str], delimiter: str, quote: str) -> float:
    """Return how well a delimiter makes a table of lines: columns, and rows that have as many."""
    try:
        rows = list(csv.reader(_ended(lines), delimiter=delimiter, quotechar=quote))
    except csv.Error:
        return 0.0
    width = len(rows[0])
    if width == 1:
        return 0.0
    agreeing = sum(1.0 if len(row) == width else 0.5 * (1 < len(row) < width) for row in rows)
    return agreeing / len(rows) * (1 - 1 / width)


def _ended(lines: list[str]) -> Iterator[str]:
    return (f"{line}\n" for line in lines)


def _quote(lines: list[str], delimiter: str) -> str:
    """Return an apostrophe only where it is surely the quotation mark.

    One that is taken for a quotation mark wrongly makes a file unreadable; the other way round a
    cell has apostrophes around it, which is seen.
    """
    cell = re.escape(delimiter) if delimiter else "$"
    begun = re.compile(f"(?:^|{cell})'")
    whole = re.compile(f"(?:^|{cell})'(?:[^']|'')*'(?={cell}|$)")
    begins = [len(begun.findall(line)) for line in lines]
    closes = [len(whole.findall(line)) for line in lines]
    if re.search(f'(?:^|{cell})"', "\n".join(lines), re.MULTILINE) or begins != closes:
        return '"'
    return "'" if 2 * sum(map(bool, closes)) > len(lines) else '"'
