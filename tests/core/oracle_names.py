"""What the name kernel must say, slowly and plainly: whole strings, dicts and no tables of its own.

The lists of words, endings and sounds are read as the kernel reads them; what is done with them is
written a second time.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

from anyascii import anyascii

from service.core import name_tables as tables
from service.core._names import (
    CHARACTERS,
    CUT,
    FIRST,
    INITIAL,
    INVERTED,
    LAST,
    MIDDLE,
    PARTICLE,
    PATRONYMIC,
    SOUNDS,
    SUFFIXED,
    TITLED,
    TOKENS,
    WORD_BYTES,
    WORDS,
    Name,
    Token,
)

FULL = 0
VOWELS = set("aeiouy")


@dataclass(slots=True)
class Word:
    """A word of a text: its Latin letters, and what stood around them."""

    text: str
    weight: int  # cased letters; an uncased one or a digit counts for four
    dotted: bool
    glue: str  # separators before it
    part: int
    field: int
    mark: int = 0
    title: tables.Word | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """Latin letters of one character, or a separator."""

    text: str
    weight: int = 0
    is_separator: bool = False


def full_name(text: str) -> Name:
    """Take a whole name apart."""
    return _describe({FULL: text})


def split_name(first: str, middle: str, last: str) -> Name:
    """Take a name apart that comes in columns."""
    return _describe({FIRST: first, MIDDLE: middle, LAST: last})


def _letters(text: str) -> Iterator[Letter]:
    normal = unicodedata.normalize("NFKC", text.translate(tables.TYPED_AS_ACCENTS))
    return (letter for letter in map(_letter, normal) if letter.text)


@cache
def _letter(character: str) -> Letter:
    category = unicodedata.category(character)
    if category[0] in "LMN":
        latin = anyascii(character.casefold()).lower()
        letters = "".join(c for c in latin if c.isascii() and c.isalnum())
        # A few letters look like digits and are written so: Ƨ.
        cased = letters[:1].isalpha() and character.lower() != character.upper()
        return Letter(letters, 0 if category[0] == "M" else 1 if cased else 4)
    if category == "Pd":
        return Letter("-", is_separator=True)
    if category == "Cf" or character in tables.APOSTROPHES:
        return Letter("")
    plain = anyascii(character)
    return Letter(plain if plain in {",", "."} else " ", is_separator=True)


def _words(text: str, field: int) -> tuple[list[Word], bool]:
    """Return the words of a text, and whether something of it was left out."""
    words: list[Word] = []
    is_cut = len(text) > CHARACTERS
    part, glue = 0, " "
    for is_separator, run in groupby(_letters(text[:CHARACTERS]), lambda one: one.is_separator):
        letters = list(run)
        joined = "".join(one.text for one in letters)
        if is_separator:
            if words and len(words) <= WORDS:
                words[-1].dotted = joined.startswith(".")
            part += joined.count(",")
            glue = joined
        else:
            weight = sum(one.weight for one in letters)
            is_cut |= len(joined) > WORD_BYTES
            words.append(Word(joined[:WORD_BYTES], weight, False, glue, part, field))
    return words[:WORDS], is_cut or len(words) > WORDS


def _describe(texts: dict[int, str]) -> Name:
    words: list[Word] = []
    flags = 0
    for field, text in texts.items():
        found, is_cut = _words(text, field)
        words += found
        flags |= CUT if is_cut else 0
    _set_titles_apart(words)
    apart = [word for word in words if word.mark]
    generation = gender = 0
    for word in apart:
        assert word.title is not None
        if word.mark == tables.HONORIFIC:
            flags |= TITLED
            gender |= word.title.gender
        else:
            flags |= SUFFIXED
            generation = max(generation, word.title.generation)
    names = [word for word in words if not word.mark]
    if FULL in texts:
        family = [word for word in names if word.part == 0]
        given = [word for word in names if word.part]
        if family and given:
            flags |= INVERTED
            names = given + family
            for word in names:
                word.field = FIRST if word.part else LAST
    flags |= CUT if len(names) > TOKENS else 0
    patronymics = _patronymics(names)
    tokens = tuple(_token(names, i, patronymics) for i in range(min(len(names), TOKENS)))
    for i, sex in patronymics.items():
        if i < TOKENS:
            gender |= sex
    order = tuple(sorted(range(len(tokens)), key=lambda i: tokens[i].text))
    given_order = [token.text for token in tokens]
    ordered = [tokens[i].text for i in order]
    return Name(
        tokens,
        flags,
        generation,
        gender,
        order,
        _hash(given_order),
        _hash(ordered),
        " ".join(given_order),
        " ".join(ordered),
        " ".join(word.text for word in apart),
    )


def _hash(words: Sequence[str]) -> int:
    """FNV-1a over the words' FNV-1a."""
    return _fnv(_fnv(word.encode()) for word in words) if words else 0


def _fnv(values: Iterable[int]) -> int:
    value = 0xCBF29CE484222325
    for one in values:
        value = (value ^ one) * 0x100000001B3 % 2**64
    return value


# Titles


def _set_titles_apart(words: list[Word]) -> None:
    for field in (FULL, FIRST, MIDDLE, LAST):
        of_field = [word for word in words if word.field == field]
        has_name = False
        for _, run in groupby(of_field, lambda word: word.part):
            part = list(run)
            while count := _title(part, tables.HONORIFIC):
                part = part[count:]
            while count := _title(part if has_name else part[1:], tables.SUFFIX):
                part = part[:-count]
            has_name |= bool(part)
        others = [word for word in words if word.field in {MIDDLE, LAST}]
        # A field of nothing but titles keeps them, but for a first name that a family name follows.
        if all(word.mark for word in of_field) and not (field == FIRST and others):
            for word in of_field:
                word.mark = 0


def _title(part: list[Word], kind: int) -> int:
    for count in range(min(4, len(part)), 0, -1):
        title = part[:count] if kind == tables.HONORIFIC else part[-count:]
        if not all(_is_glue(word.glue) for word in title[1:]):
            continue
        listed = tables.WORDS.get(".".join(word.text for word in title).encode())
        if listed is None or not listed.kinds & kind:
            continue
        if listed.dotted & kind and not (count == 1 and title[0].dotted):
            continue
        for word in title:
            word.mark, word.title = kind, listed
        return count
    return 0


def _is_glue(separators: str) -> bool:
    return len(separators) <= 2 and set(separators) <= {".", "-"}


# Tokens


def _token(names: list[Word], index: int, patronymics: dict[int, int]) -> Token:
    word = names[index]
    listed = tables.WORDS.get(word.text.encode())
    flags = word.field | _kind(names, index) | (PATRONYMIC if index in patronymics else 0)
    sound, other = sounds(word.text)
    return Token(word.text, flags, tuple(listed.names) if listed else (), sound, other)


def _kind(names: list[Word], index: int) -> int:
    word = names[index]
    before = names[index - 1] if index else None
    after = names[index + 1] if index + 1 < len(names) else None
    listed = tables.WORDS.get(word.text.encode())
    if listed and listed.kinds & tables.PARTICLE:
        leads = after is not None and (after.field, after.part) == (word.field, word.part)
        is_first = before is None or before.field != word.field
        may_be = word.field == LAST or (not is_first and len(word.text) > 1)
        if leads and may_be and not (len(word.text) == 1 and word.dotted):
            return PARTICLE
    is_short = word.weight == 1 or (1 < word.weight <= 3 and word.dotted)
    return INITIAL if is_short else 0


def _patronymics(names: list[Word]) -> dict[int, int]:
    """Return the patronymics among the tokens, and the gender that each tells."""
    found: dict[int, int] = {}
    for index, word in enumerate(names):
        place = sum(other.field == word.field for other in names[:index])
        gender = _patronymic_gender(word.text)
        if not gender or _kind(names, index) or word.field == LAST:
            continue
        if word.field == MIDDLE or (word.field == FIRST and place):
            found[index] = gender
        # "Roman Abramovich" has no father's name, "Anna Petrovna" has no surname.
        may_be = gender == tables.FEMALE or len(names) >= 3
        if word.field == FULL and place and not found and may_be:
            found[index] = gender
    return found


@cache
def _patronymic_gender(text: str) -> int:
    for ending in tables.ENDINGS:
        end = ending.text.decode()
        is_one = text == end or (ending.stem and text.endswith(end))
        if is_one and len(text) >= len(end) + ending.stem:
            return ending.gender
    return 0


# Sounds


@cache
def sounds(text: str) -> tuple[str, str]:
    """Return the phonetic keys of a folded word; the second is empty if it is the same."""
    heard: list[str] = []
    other: list[str] = []
    at = 0
    while at < len(text):
        rule = next((rule for rule in tables.SOUNDS if _fits(rule, text, at)), None)
        heard.append(rule.key if rule else "")
        other.append(rule.other if rule else "")
        at += len(rule.spelling) if rule else 1
    first, second = _joined(heard), _joined(other)
    return first, second if second != first else ""


def _fits(rule: tables.Sound, text: str, at: int) -> bool:
    spelling = rule.spelling.decode()
    if not text.startswith(spelling, at):
        return False
    before, after = text[:at], text[at + len(spelling) :]
    contexts_before = {"*": True, "^": not before, "V": before != "" and before[-1] in VOWELS}
    contexts_after = {
        "*": True,
        "$": not after,
        "E": after[:1] in {"e", "i", "y"},
        "V": after[:1] in VOWELS,
        "C": after[:1] not in VOWELS,
    }
    return contexts_before[rule.before] and contexts_after[rule.after]


def _joined(heard: list[str]) -> str:
    """Join what is heard at each place; the same sound in neighbouring places is one."""
    key = ""
    for before, now in zip(["", *heard], heard, strict=False):
        key += now[1:] if before and now[:1] == before[-1:] else now
    return key[:SOUNDS]


def forget() -> None:
    """Empty the caches of single words, which real data fill less than tests do."""
    for cached in (_letter, _patronymic_gender, sounds):
        cached.cache_clear()
