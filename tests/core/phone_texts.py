"""Texts that are, nearly are, or are not phone numbers, with default regions, at random.

Valid numbers come out of the kernel's own tables (each walk of the automaton that ends at a type is
one), prefixes, extensions and phone-contexts out of the library's patterns. The same seed makes the
same texts of the same tables.
"""

from __future__ import annotations

import json
import struct
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata, phonenumberutil

from service.core import build_phones

LONGEST = 17  # digits of a national number
TYPES_MASK = 0xFFE  # the bits of all types, 0 (not valid) left out

Question = tuple[str, str]  # a text and its default region
Sample = Callable[[Random], str]


class Automaton:
    """The automaton of the tables, walked at random."""

    def __init__(self, path: Path = build_phones.TARGET) -> None:
        content = path.read_bytes()
        (size,) = struct.unpack_from("=I", content)
        header = json.loads(content[4 : 4 + size])
        self._labels = _section(content, header, "labels", 4 + size)
        self._moves = _section(content, header, "moves", 4 + size)
        self.roots: dict[int, int] = {row[0]: row[7] for row in header["countries"]}
        self.regions: list[str] = header["regions"]
        # For each number of digits to come: the types that a node can still reach, as bits.
        self._types = [array("H", (1 << (label & 0xF) for label in self._labels))]
        for _ in range(LONGEST):
            before = self._types[-1]
            reached = array("H", bytes(2 * len(self._labels)))
            for node in range(len(self._labels)):
                for end in self._moves[10 * node : 10 * node + 10]:
                    reached[node] |= before[end]
            self._types.append(reached)
        self._choices: dict[tuple[int, int, int], list[int]] = {}

    def lengths(self, country_code: int) -> list[int]:
        """Return how many digits valid national numbers have."""
        root = self.roots[country_code]
        return [size for size in range(LONGEST + 1) if self._types[size][root] & TYPES_MASK]

    def types(self, country_code: int, size: int) -> list[int]:
        """Return the types of valid national numbers of so many digits."""
        mask = self._types[size][self.roots[country_code]]
        return [kind for kind in range(1, 12) if mask >> kind & 1]

    def number(self, random: Random, country_code: int, size: int, kind: int) -> str:
        """Return a valid national number."""
        node, digits = self.roots[country_code], []
        for left in range(size - 1, -1, -1):
            choices = self._choices.get((left, node, kind))
            if choices is None:
                choices = self._choices[left, node, kind] = self._digits(left, node, kind)
            digit = choices[int(random.random() * len(choices))]
            digits.append("0123456789"[digit])
            node = self._moves[10 * node + digit]
        return "".join(digits)

    def _digits(self, left: int, node: int, kind: int) -> list[int]:
        """Return the digits after which a number of a type is reached by so many more."""
        reach = self._types[left]
        return [i for i in range(10) if reach[self._moves[10 * node + i]] >> kind & 1]


def _section(content: bytes, header: dict[str, Any], name: str, base: int) -> array[int]:
    place, size = header["sections"][name]
    return array("H", content[base + place : base + place + size])


# Samples of regular expressions

DIGITS = [
    "".join(chr(code) for code in range(zero, zero + 10))
    for zero in range(0x110000)
    if unicodedata.decimal(chr(zero), -1) == 0
]
_FAMILIAR = [one for one in DIGITS if one[0] in "0٠۰०০０"]
# What `re` takes for these letters when it ignores their case, and what `upper` makes of others.
_LOOKALIKES = {
    "s": "\u017fS", "k": "\u212aK", "i": "\u0130\u0131I", "x": "\uff58\u0425", "\u00f3": "\u00d3",
    "\u043e": "\u041e", "\uff45": "\uff25",
}  # fmt: skip


def sampler(pattern: str, *, any_case: bool = False) -> Sample:
    """Return what makes texts that match a pattern; with digits of any script, mostly ASCII."""
    return _sequence(_parser.parse(pattern), any_case)


def _sequence(tree: Iterable[Any], any_case: bool) -> Sample:
    parts = [_node(kind, value, any_case) for kind, value in tree]
    return lambda random: "".join([part(random) for part in parts])


def _node(kind: object, value: Any, any_case: bool) -> Sample:
    if kind is op.SUBPATTERN:
        return _sequence(value[3], any_case)
    if kind is op.BRANCH:
        branches = [_sequence(branch, any_case) for branch in value[1]]
        return lambda random: random.choice(branches)(random)
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
        least, most, tree = value
        inner = _sequence(tree, any_case)
        bound = min(int(most), least + 5)
        return lambda random: "".join([inner(random) for _ in range(random.randint(least, bound))])
    if kind is op.AT:
        return lambda random: ""
    characters = _characters(kind, value)
    if any_case:
        characters = [*characters * 4, *(c.swapcase() for c in characters), *_alike(characters)]
    if "٠" in characters:  # \d
        return lambda random: random.choice(
            random.choice(DIGITS if random.random() < 0.03 else DIGITS[:1])
        )
    return lambda random: random.choice(characters)


def _alike(characters: Sequence[str]) -> Iterator[str]:
    for one in characters:
        yield from _LOOKALIKES.get(one, "")


def _characters(kind: object, value: Any) -> list[str]:
    if kind is op.LITERAL:
        return [chr(value)]
    assert kind is op.IN, kind
    found: list[str] = []
    for part, what in value:
        if part is op.LITERAL:
            found.append(chr(what))
        elif part is op.RANGE:
            found += map(chr, range(what[0], what[1] + 1))
        else:
            assert what is op.CATEGORY_DIGIT, what
            found += "".join(DIGITS)
    return found


# Texts

_UNKNOWN_REGIONS = ("", "ZZ", "001", "XX", "EU")
_SEPARATORS = (
    *" ", "  ", "-", ".", "/", "(", ")", " (", ") ", "-.", "[", "]", "~", "x", "*", "\u00a0",
    "\u00ad", "\u200b", "\u2060", "\u3000", "\u2010", "\u2015", "\u2212", "\u30fc", "\uff0d",
    "\uff0e", "\uff0f", "\uff08", "\uff09", "\uff3b", "\uff3d", "\u2053", "\u223c", "\uff5e",
)  # fmt: skip
_BEFORE = (
    "tel:", "Tel.: ", "TEL:+", "phone ", "(", " ", "\t", "\n", "+", "++", "＋", "-", "~", "№ ", "x",
    "mobile: (", "\ud800", "٠", "0", "00", "a1 ", "_", "#", "²", "Ⅷ ", "☎ ", "e\u0301", "\0",
)  # fmt: skip
_AFTER = (
    " ", "\n", "\r\n", ".", ")", "_", "__", "#", "##", "\udfff", "²", "½", " (home)", " a", "abc",
    " or so", " / x", "/x12", "\\ x3", "/ X4", "//x", "/  x 5", "; call", "\u2028", "\0", "x", "xx",
    " home", "\n\n", "…", "٤", "*", "~", "\x85", "-", " - ", ";", ",", ";ext", "e", "доб", "/xx",
)  # fmt: skip
_TAILS = (
    ";isub=12345", ";isub=", ";ISUB=1", ";ext=1;isub=2", ";isub=1;ext=2", ";phone-context=",
    ";phone-context=+", ";phone-context=example.com", ";phone-context=+1;x=y", ";phone-context=a b",
    ";phone-context=1.com", ";phone-context=com.", ";phone-context=+1-2", ";phone-context=٣.а",
    ";phone-context=+44;phone-context=+1", ";postd=pp22", ";Phone-Context=+1", ";phone-context=-a",
    ";phone-context=a\n", ";phone-context=+1\n", ";phone-context=+", ";phone-context=a--b.c-",
    ";phone-context=\ud800", ";isub=1;phone-context=+49", ";phone-context=+3(9)tel:",
    ";phone-context=b;tel:123", ";phone-context=+0", ";phone-context=+999", ";phone-context=K",
)  # fmt: skip
_JUNK = (
    "0123456789" * 3
    + "+++\uff0b()-./ \t\n;:=,#*~x" * 2
    + "abcdefxyzABCXTN_²½٠٥۹०９ｘｅ＃～óдоб\u0301\u017f\u0131\u0130\u212a\u00a0\ud800\udc00"
    + "\U0001f4de\U00016ac0\U0001d7ce\0\x7f\u0660\u1e9e\ufeff"
)
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ODD_LETTERS = "\u017f\u0131\u0130\u212a\u00e9\u00df"


class Texts:
    """Questions without end, from one seed."""

    def __init__(self, seed: int, automaton: Automaton | None = None) -> None:
        self._random = Random(seed)
        self._automaton = automaton or Automaton()
        self._countries = sorted(COUNTRY_CODE_TO_REGION_CODE)
        self._lengths = {code: self._automaton.lengths(code) for code in self._countries}
        self._regions = [one for one in self._automaton.regions if one]
        self._plans = {code: _plans(code) for code in self._countries}
        self._prefixes: dict[str, Sample] = {}
        parsing = phonenumberutil._EXTN_PATTERNS_FOR_PARSING
        self._extension = sampler(parsing, any_case=True)
        self._viable = sampler(phonenumberutil._VALID_PHONE_NUMBER, any_case=True)
        self._contexts = [
            sampler(phonenumberutil._RFC3966_GLOBAL_NUMBER_DIGITS),
            sampler(phonenumberutil._RFC3966_DOMAINNAME, any_case=True),
        ]
        self._recent: list[str] = ["+1 650 253 0000"]

    def questions(self, count: int) -> list[Question]:
        """Return so many questions: every text with the region it is written for, and another."""
        found: list[Question] = []
        while len(found) < count:
            text, region = self._question()
            found += (text, region), (text, self._random.choice(self._regions))
        return found[:count]

    def national(self) -> tuple[int, str]:
        """Return a country code and a valid national number, or a near miss."""
        random = self._random
        country_code = random.choice(self._countries)
        size = random.choice(self._lengths[country_code])
        kind = random.choice(self._automaton.types(country_code, size))
        national = self._automaton.number(random, country_code, size, kind)
        chance = random.random()
        if chance < 0.3:
            at = random.randrange(len(national))
            if chance < 0.1:
                national = national[:at] + random.choice("0123456789") + national[at:]
            elif chance < 0.2:
                national = national[:at] + random.choice("0123456789") + national[at + 1 :]
            elif chance < 0.27:
                national = national[:at] + national[at + 1 :]
            else:
                national = national[: random.randrange(1, 4)] + national
        return country_code, national

    def _question(self) -> Question:
        random = self._random
        chance = random.random()
        if chance < 0.72:
            country_code, national = self.national()
            text, region = self._written(country_code, national)
        elif chance < 0.80:
            text, region = self._viable(random), random.choice(self._regions)
        elif chance < 0.92:
            text, region = random.choice(self._recent), random.choice(self._regions)
            text = self._mutated(text)
        elif chance < 0.98:
            size = random.randint(0, 24)
            text, region = "".join(random.choices(_JUNK, k=size)), random.choice(self._regions)
        else:
            text, region = self._long()
        if random.random() < 0.25:
            text = self._spoilt(text)
        if random.random() < 0.05:
            text = self._mutated(text)
        if random.random() < 0.06:
            region = random.choice(_UNKNOWN_REGIONS)
        if len(self._recent) < 500:
            self._recent.append(text)
        else:
            self._recent[random.randrange(500)] = text
        return text, region

    def _written(self, country_code: int, national: str) -> Question:
        """Write a number in one of the ways to write it."""
        random = self._random
        region, plan = random.choice(self._plans[country_code])
        chance = random.random()
        if chance < 0.35:
            plus = random.choice(("+", "+", "+", "+", "＋", "++", "+ ", "(+", "+(", "+0", "+00"))
            text = f"{plus}{country_code}{random.choice(('', '', ' ', '-', '(0)', ' 0'))}{national}"
            if random.random() < 0.8:
                region = random.choice(self._regions)
        elif chance < 0.50:
            text = self._prefix(plan.national_prefix_for_parsing) + national
        elif chance < 0.60:
            text = (plan.national_prefix or "") + national
        elif chance < 0.75:
            region, home = random.choice(random.choice([*self._plans.values()]))
            text = f"{self._prefix(home.international_prefix)}{country_code}{national}"
        elif chance < 0.80:
            text = f"{country_code}{self._prefix(plan.national_prefix_for_parsing)}{national}"
        elif chance < 0.85:
            text = f"{country_code}{national}"
        else:
            text = national
        if random.random() < 0.7:
            text = self._separated(text)
        if random.random() < 0.05:
            text = self._vanity(text)
        if random.random() < 0.06:
            text = self._other_digits(text)
        if random.random() < 0.2:
            text += self._extension(random)
        return text, region

    def _prefix(self, pattern: str | None) -> str:
        if not pattern:
            return ""
        if pattern not in self._prefixes:
            self._prefixes[pattern] = sampler(pattern)
        return self._prefixes[pattern](self._random)

    def _separated(self, text: str) -> str:
        random = self._random
        separator = random.choice(_SEPARATORS) if random.random() < 0.3 else random.choice(" -.")
        groups, at = [], 0
        while at < len(text):
            size = random.randint(1, 5)
            groups.append(text[at : at + size])
            at += size
        if random.random() < 0.1:
            return "".join(one + random.choice(_SEPARATORS) for one in groups)
        if random.random() < 0.1 and len(groups) > 1:
            return f"{groups[0]} ({groups[1]}) {separator.join(groups[2:])}"
        return separator.join(groups)

    def _vanity(self, text: str) -> str:
        random = self._random
        size = random.randint(1, 8)
        letters = random.choices(_LETTERS, k=size)
        if random.random() < 0.2:
            letters[random.randrange(size)] = random.choice(_ODD_LETTERS)
        cut = random.choice((0, size))
        return text[: len(text) - cut] + "".join(letters)

    def _other_digits(self, text: str) -> str:
        random = self._random
        digits = random.choice(_FAMILIAR if random.random() < 0.7 else DIGITS)
        share = random.choice((1.0, 1.0, 0.5, 0.1))
        return "".join(
            digits[int(one)] if "0" <= one <= "9" and random.random() < share else one
            for one in text
        )

    def _spoilt(self, text: str) -> str:
        """Put something around a text."""
        random = self._random
        chance = random.random()
        if chance < 0.3:
            text = random.choice(_BEFORE) + text
        elif chance < 0.6:
            text += random.choice(_AFTER)
        elif chance < 0.7:
            text = random.choice(_BEFORE) + text + random.choice(_AFTER)
        elif chance < 0.8:
            text += random.choice(("/x", " / x", "/", "\\x", " or ", ", ", "; ", "\n")) + (
                random.choice(self._recent)
            )
        elif chance < 0.9:
            text += f";phone-context={random.choice(self._contexts)(random)}"
            if random.random() < 0.3:
                text += random.choice((";", ";ext=1", ";isub=1", ";x=y"))
            if random.random() < 0.3:
                text = f"tel:{text}"
        else:
            text = random.choice(("", "tel:", "junk tel:")) + text + random.choice(_TAILS)
        return text

    def _mutated(self, text: str) -> str:
        """Change some characters."""
        random = self._random
        characters = list(text)
        for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
            at = random.randint(0, len(characters))
            chance = random.random()
            if chance < 0.4:
                characters.insert(at, random.choice(_JUNK))
            elif chance < 0.6:
                del characters[at : at + random.randint(1, 2)]
            elif chance < 0.8:
                characters[at : at + 1] = random.choice(_JUNK)
            elif chance < 0.9:
                end = at + random.randint(1, 6)
                characters[at:at] = characters[at:end]
            elif chance < 0.95:
                other = random.choice(self._recent)
                characters[at:] = other[random.randint(0, len(other)) :]
            else:
                characters.insert(at, self._extension(random))
        return "".join(characters)

    def _long(self) -> Question:
        """Return a text of about as many characters as are looked at."""
        random = self._random
        country_code, national = self.national()
        text, region = self._written(country_code, national)
        size = random.choice((20, 30, 100, 247, 248, 249, 250, 250, 251, 252, 260, 1100))
        filling = random.choice("0 -x٠1\ud800a,;+☎/")
        missing = max(0, size - len(text))
        at = random.choice((0, len(text), random.randint(0, len(text))))
        return text[:at] + filling * missing + text[at:], region


def _plans(country_code: int) -> list[tuple[str, PhoneMetadata]]:
    regions = COUNTRY_CODE_TO_REGION_CODE[country_code]
    found = [
        (region, PhoneMetadata.metadata_for_region_or_calling_code(country_code, region))
        for region in regions
    ]
    return [(region, plan) for region, plan in found if plan is not None]
