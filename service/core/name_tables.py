"""The tables of the name kernel, as Python has them; `_names.pyx` makes C arrays of them.

Words come from the lists in `names/` and from the package `nicknames`, what becomes of a character
from `unicodedata` and `anyascii`. `VERSION` names them all: features made with other tables must
not be compared with these.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from itertools import chain
from pathlib import Path

from anyascii import anyascii
from nicknames import name_triplets

FORM = 1  # of what the kernel does with these tables: raise it with every change of that

_LISTS = Path(__file__).with_name("names")

HONORIFIC, SUFFIX, PARTICLE = 1, 2, 4  # kinds of a word
MALE, FEMALE = 1, 2
_GENDERS = {"": 0, "m": MALE, "f": FEMALE}

SEPARATORS = " ,.-"  # of words; a comma divides, a full stop or hyphen may hold an abbreviation
UNCASED = 0x80  # marks the first byte of a letter without case, or of a digit

_PLAIN = bytes(byte & 0x7F for byte in range(256)).lower()

# Signs that people type for an apostrophe, and that are dropped: O'Brien, O’Brien, O´Brien.
APOSTROPHES = frozenset("'`\u2018\u2019\u201b\u2032\u2035\u02b9\u055a\u05f3")
# The same, where NFKC would make a space of them: they are replaced before.
TYPED_AS_ACCENTS = dict.fromkeys((0xB4, 0x384, 0x1FBD, 0x1FBF, 0x1FFD, 0x1FFE), "'")


@dataclass(slots=True)
class Word:
    """What the lists say about a folded word; parts of an abbreviation are joined by full stops."""

    kinds: int = 0
    dotted: int = 0  # kinds that need a full stop after the word
    generation: int = 0
    gender: int = 0  # of an honorific
    names: list[int] = field(default_factory=list)  # classes of names, ascending


@dataclass(frozen=True, slots=True)
class Ending:
    """An ending of patronymics, or a whole one with `stem` 0."""

    text: bytes
    stem: int
    gender: int


@dataclass(frozen=True, slots=True)
class Sound:
    """A rule of the phonetic key; contexts are as in `names/sounds.txt`."""

    before: str
    spelling: bytes
    after: str
    key: str
    other: str


@cache
def fold_character(character: str) -> bytes:
    """Return what a character adds to a folded name, context apart.

    A cased letter begins with an upper-case byte, a letter without case and a digit with
    `UNCASED` set; their other bytes and marks are in lower case. Else a separator, or nothing.
    """
    normal = unicodedata.normalize("NFKC", character.translate(TYPED_AS_ACCENTS))
    return b"".join(map(_fold_normal, normal))


def _fold_normal(character: str) -> bytes:
    category = unicodedata.category(character)
    if category[0] in "LMN":
        latin = anyascii(character.casefold()).lower()
        letters = bytes(byte for byte in latin.encode() if chr(byte).isalnum())
        if not letters or category[0] == "M":
            return letters
        if letters[:1].isalpha() and character.lower() != character.upper():
            return letters[:1].upper() + letters[1:]
        return bytes([letters[0] | UNCASED]) + letters[1:]
    if category == "Cf" or character in APOSTROPHES:
        return b""
    if category == "Pd":
        return b"-"
    return anyascii(character).encode() if anyascii(character) in {",", "."} else b" "


def fold_words(text: str) -> list[str]:
    """Return the folded words of a text of these lists, those of an abbreviation as one."""
    folded = b"".join(map(fold_character, unicodedata.normalize("NFKC", text)))
    plain = folded.translate(_PLAIN).decode()
    return [re.sub(r"[.-]+", ".", word).strip(".") for word in plain.split() if word.strip(".-")]


# Characters

_COMPOSED = (range(0xC0, 0x3100), range(0x11000, 0x17000))  # others are not what pairs compose
_HANGUL_VOWELS = range(0x1161, 0x1176)
_HANGUL_FINALS = range(0x11A8, 0x11C3)


def _compositions() -> dict[tuple[int, int], int]:
    """Return what pairs of characters compose (Unicode Standard Annex #15), but for Hangul."""
    composed = {}
    for code in chain(*_COMPOSED):
        parts = unicodedata.decomposition(chr(code))
        if " " in parts and parts[0] != "<":
            first, second = (int(part, 16) for part in parts.split())
            if unicodedata.normalize("NFC", chr(first) + chr(second)) == chr(code):
                composed[first, second] = code
    return composed


COMPOSITIONS = _compositions()
_SECONDS = {second for _, second in COMPOSITIONS} | {*_HANGUL_VOWELS, *_HANGUL_FINALS}


@dataclass(frozen=True, slots=True)
class Character:
    """What the kernel must know of a character to normalise and fold it."""

    folded: bytes
    decomposed: str  # NFKD
    combining: int  # canonical combining class
    joins: bool  # NFKC may change it together with what is before it


def page(number: int) -> list[Character]:
    """Return the 256 characters from `number` × 256 on."""
    return [_character(chr(code)) for code in range(number * 256, number * 256 + 256)]


def _character(character: str) -> Character:
    decomposed = unicodedata.normalize("NFKD", character.translate(TYPED_AS_ACCENTS))
    joins = unicodedata.combining(decomposed[0]) != 0 or ord(decomposed[0]) in _SECONDS
    combining = unicodedata.combining(character)
    return Character(fold_character(character), decomposed, combining, joins)


# Words


def _lines(name: str) -> Iterator[str]:
    for line in (_LISTS / f"{name}.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line


def _add_titles(words: dict[bytes, Word], name: str, kind: int) -> None:
    for line in _lines(name):
        text, _, more = line.partition(" ")
        (folded,) = fold_words(text)
        word = words.setdefault(folded.encode(), Word())
        if text.endswith(".") and "." not in folded:
            word.dotted |= kind & ~word.kinds
        else:
            word.dotted &= ~kind
        word.kinds |= kind
        if kind == HONORIFIC:
            word.gender |= _GENDERS[more]
        else:
            word.generation = int(more or 0)


def _name_classes() -> Iterator[set[str]]:
    """Yield sets of names of which one person may bear any."""
    english: dict[str, set[str]] = {}
    for name, _, nickname in name_triplets():
        english.setdefault(name, {name}).add(nickname)
    for names in english.values():
        yield {_joined(name) for name in names}
    for language in ("en", "ru", "es", "de", "fr"):
        for line in _lines(f"nicknames_{language}"):
            listed = line.replace(":", " ").split()
            yield {spelling for name in listed for spelling in _spellings(name)}


@cache
def _joined(name: str) -> str:
    if name.isascii() and name.isalpha():
        return name.lower()
    return "".join(fold_words(name.replace("_", ""))).replace(".", "")


# Other romanisations than that of `anyascii`: ending or place, and what else is written for it.
_ROMANISATIONS = tuple(
    (re.compile(pattern), others)
    for pattern, others in (
        ("iy$", ("y", "i", "ii", "ij")),
        ("(?<=[ae])y$", ("i", "j")),
        ("ya$", ("ia", "ja")),
        ("yu", ("iu", "ju")),
        ("ks", ("x",)),
        ("^e", ("ye", "je")),
    )
)


def _spellings(name: str) -> set[str]:
    """Return a name folded, and if it is Cyrillic, as other romanisations have it."""
    spellings = {_joined(name)}
    if not "\u0400" <= name[0] <= "\u04ff":
        return spellings
    for pattern, others in _ROMANISATIONS:
        spellings |= {pattern.sub(other, one) for one in spellings for other in others}
    return spellings


def _words() -> dict[bytes, Word]:
    words: dict[bytes, Word] = {}
    _add_titles(words, "honorifics", HONORIFIC)
    _add_titles(words, "suffixes", SUFFIX)
    for line in _lines("particles"):
        for text in line.split():
            words.setdefault(_joined(text).encode(), Word()).kinds |= PARTICLE
    for number, names in enumerate(_name_classes()):
        for name in sorted(names):  # their order numbers the sets of stored records
            words.setdefault(name.encode(), Word()).names.append(number)
    return words


def _endings() -> list[Ending]:
    endings = []
    for line in _lines("patronymics"):
        text, *more = line.split()
        stem = int(more[0]) if text.startswith("-") else 0
        endings.append(Ending(text.strip("-").encode(), stem, _GENDERS[more[-1]]))
    return endings


def _sounds() -> list[Sound]:
    rules = []
    for line in _lines("sounds"):
        place, _, keys = line.partition(": ")
        before, spelling, after = place.split()
        key, *other = keys.replace("-", "").split(" ")
        rules.append(Sound(before, spelling.encode(), after, key, other[0] if other else key))
    return rules


WORDS = _words()
ENDINGS = _endings()
SOUNDS = _sounds()


def _version() -> str:
    """Return what the tables were made of, with the start of a digest of the lists."""
    digest = hashlib.sha256()
    for path in sorted(_LISTS.glob("*.txt")):
        digest.update(path.read_bytes())
    packages = f"anyascii {version('anyascii')}, nicknames {version('nicknames')}"
    lists = f"lists {digest.hexdigest()[:12]}"
    return f"names {FORM}, unicode {unicodedata.unidata_version}, {packages}, {lists}"


VERSION = _version()
