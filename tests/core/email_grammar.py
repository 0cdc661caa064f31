"""Addresses by a grammar, valid and broken, and mutations of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from service.core.providers import PROVIDERS

LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
ALNUM: Final = LETTERS + LETTERS.upper() + "0123456789"
ATEXT: Final = ALNUM + "!#$%&'*+-/=?^_`{|}~"
# Specials and controls of ASCII: what is no atext.
NOT_ATEXT: Final = ' "(),.:;<>@[\\]' + "".join(map(chr, range(32))) + "\x7f"
# Composed and not, compatibility forms, signs that become ASCII, case traps, marks, invisible and
# bidirectional characters, private use, unassigned, surrogates, beyond the first plane.
UNICODE: Final = (
    "äßéÅñçøİıſKΣςǅŉ中日本語한글กखאب१٣"
    "ﬁ㎏①Ａｂ３＠﹫．。｡﹒⒈‥…；\u037e\u1fef\u2260≮"
    "\u0301\u0308\u0338\u0327\u20dd\u0341\u0e33\u094d"
    "\u00ad\u034f\u061c\u115f\u180e\u200b\u200c\u200d\u200e\u202e\u2060\u2066\ufeff\ufe0f"
    "\ue000\U000f0000\u0378\uffff\ud800\udbff\udc00\udfff\U0001f600\U00010400\U0001d400\U000e0041"
)
SPACES: Final = (
    " \t\n\x0b\x0c\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000"
)
NAMES: Final = (
    "info", "Sales", "POSTMASTER", "www", "webmaster", "abuse", "no-reply", "noReply", "contact",
    "anna.bell", "j.doe", "o'neil", "x", "a.b-c_d", "support", "helpdesk", "Ivan_Petrov",
)  # fmt: skip
TAGS: Final = ("+", "+tag", "+a+b", "-keyword", "-a-b", ".", "-", "_", "+.", "--")
TOPS: Final = ("com", "COM", "de", "co.uk", "info", "museum", "c", "c0m", "рф", "xn--p1ai", "xyz")
SPECIAL: Final = (
    "test", "invalid", "localhost", "local", "onion", "arpa", "in-addr.arpa", "TEST", "Local",
    "example", "ｔｅｓｔ", "lоcal", "testx", "xtest", "arpa0",
)  # fmt: skip
DOTS: Final = (".", ".", ".", ".", "。", "．", "｡", "..")
IDN: Final = (
    "пример", "münchen", "faß", "例え", "한국", "אב", "1א", "ΒΌΛΟΣ", "bücher", "ｅxample",
    "a\u0308b", "☃", "नी", "\u0301a", "a\u200db", "क\u094d\u200dष", "EXAMPLE", "١٢٣", "é́",
)  # fmt: skip
A_LABELS: Final = (
    "xn--e1afmkfd", "xn--p1ai", "XN--MNCHEN-3YA", "xn--fa-hia", "xn--", "xn---", "xn--a", "xn--a-",
    "xn--999999999", "xn--e1afmkfd0", "xn---bbk", "foo-xn--bar", "fooxn--bar", "xn--4dbc", "xn",
    "xn--xn--a", "xn--80ak6aa92e", "axn--b", "xn--ls8h", "xn--a-ecp",
)  # fmt: skip
# Much longer as U-labels in UTF-8, so that it is the normal form that becomes too long.
DENSE: Final = ("xn--fiqaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "中" * 40)
HYPHENS: Final = ("ab--cd", "a--b", "a---b", "--", "-a", "a-", "a-b", "12--34", "ab--", "x--n")
LITERALS: Final = (
    "[127.0.0.1]", "[IPv6:::1]", "[ipv6:2001:DB8::1]", "[IPv6:fe80::1%eth0]", "[1.2.3]", "[]", "[",
    "]", "[x-tag:a]", "[IPv6:zz]", "[256.1.1.1]", "1.2.3.4", "[a b]", "[IPv6:1:0:0:0:0:0:0:1]",
)  # fmt: skip
PROVIDER_DOMAINS: Final = tuple(domain for one in PROVIDERS for domain in one.domains)
ORDINARY_CHARS: Final = "abcd.-_@+1A"

T = TypeVar("T")


class Grammar:
    """An endless source of addresses; the same seed gives the same."""

    def __init__(self, seed: int) -> None:
        """Begin at `seed`."""
        self._chance = random.Random(seed)
        self._locals: tuple[Callable[[], str], ...] = (
            self._atoms, self._atoms, self._atoms, self._name, self._name, self._name, self._name,
            self._quoted, self._international, self._commented, self._broken_local,
        )  # fmt: skip
        self._domains: tuple[Callable[[], str], ...] = (
            self._host, self._host, self._host, self._host, self._provider, self._provider,
            self._special, self._literal, self._idn, self._a_label, self._hyphens,
            self._broken_domain,
        )  # fmt: skip

    def addresses(self, count: int) -> Iterator[str]:
        """Yield some."""
        for _ in range(count):
            yield self.address()

    def address(self) -> str:
        """Return one."""
        kind = self._chance.random()
        if kind < 0.05:
            value = self._long()
        elif kind < 0.10:
            value = self._junk()
        elif kind < 0.12:
            value = self._named()
        else:
            at = "@" if self._chance.random() < 0.97 else self._one(("", "@@", "＠", " @ ", "\\@"))
            value = self._one(self._locals)() + at + self._one(self._domains)()
        if self._chance.random() < 0.20:
            value = self._mutated(value)
        if self._chance.random() < 0.10:
            value = self._some(SPACES, 0, 2) + value + self._some(SPACES, 0, 2)
        return value

    def _one(self, choices: tuple[T, ...]) -> T:
        return choices[int(self._chance.random() * len(choices))]

    def _some(self, characters: str, least: int, most: int) -> str:
        return "".join(self._chance.choices(characters, k=self._chance.randint(least, most)))

    # Local parts

    def _atoms(self) -> str:
        return ".".join(self._some(ATEXT, 1, 8) for _ in range(self._chance.randint(1, 3)))

    def _name(self) -> str:
        name = self._one(NAMES)
        return name + self._one(TAGS) if self._chance.random() < 0.4 else name

    def _quoted(self) -> str:
        inside = self._one((ATEXT + ".", ATEXT + NOT_ATEXT, ATEXT + NOT_ATEXT + UNICODE))
        text = self._some(inside, 0, 8)
        if self._chance.random() < 0.7:
            text = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{text}"'

    def _international(self) -> str:
        return self._some(UNICODE + "abc." * 4, 1, 8)

    def _commented(self) -> str:
        comment = f"({self._some(ATEXT + ' ()', 0, 5)})"
        return self._one((comment + self._name(), self._name() + comment, f"A B <{self._name()}"))

    def _broken_local(self) -> str:
        return self._some(ATEXT + NOT_ATEXT * 2 + "..", 0, 6)

    # Domains

    def _host(self) -> str:
        labels = [self._some(ALNUM * 2 + "-", 1, 9) for _ in range(self._chance.randint(1, 3))]
        return ".".join(labels) + "." + self._one(TOPS)

    def _provider(self) -> str:
        domain = self._one(PROVIDER_DOMAINS)
        kind = self._chance.random()
        if kind < 0.2:
            domain = f"{self._some(ALNUM + '-.', 1, 5)}.{domain}"
        return domain.upper() if kind > 0.9 else domain

    def _special(self) -> str:
        labels = [self._one(SPECIAL)]
        for _ in range(self._chance.randint(0, 2)):
            other = self._one((*SPECIAL, *IDN, *A_LABELS, "foo", "a-b"))
            labels.insert(self._chance.randint(0, len(labels)), other)
        return self._one(DOTS).join(labels) + (self._chance.random() < 0.05) * "."

    def _literal(self) -> str:
        return self._one(LITERALS)

    def _idn(self) -> str:
        label = self._one(IDN)
        if self._chance.random() < 0.3:
            label = self._some(UNICODE + "abc", 1, 5)
        return label + self._one(DOTS) + self._one((*TOPS, *IDN))

    def _a_label(self) -> str:
        labels = [self._one(A_LABELS), self._one((*TOPS, *A_LABELS))]
        return ("foo." if self._chance.random() < 0.3 else "") + ".".join(labels)

    def _hyphens(self) -> str:
        return self._one(HYPHENS) + self._one((".", ".", "-", "")) + self._one((*TOPS, *HYPHENS))

    def _broken_domain(self) -> str:
        return self._some(ALNUM + ".-" * 8 + "_" + NOT_ATEXT, 0, 8)

    # Whole addresses

    def _long(self) -> str:
        """Return an address near one of the limits: of a label, a domain, the whole."""
        letter = self._one(("d", "D", "д", "１"))
        label = self._chance.choice((30, 61, 62, 63, 64, 65))
        local = self._chance.choice((1, 2, 63, 64, 65, 120, 190, 200, 248, 253, 254)) * self._one(
            ("l", "L", "ä", "中")
        )
        total = self._chance.choice((64, 127, 128, 129, 240, 252, 253, 254, 255, 256, 257, 260))
        if self._chance.random() < 0.1:
            total = self._chance.choice((990, 999, 1_000, 1_001, 2_000, 4_100))
        top = self._one(("com", "рф", "xn--p1ai", "test", *(f"{label}.de" for label in DENSE)))
        rest = max(total - len(local) - 1 - len(top) - 1, 1)
        labels = [letter * label] * (rest // (label + 1))
        if rest % (label + 1):
            labels.append(letter * (rest % (label + 1)))
        return f"{local}@{'.'.join(labels)}.{top}"

    def _named(self) -> str:
        """Return an address in angle brackets, after a display name."""
        name = self._one(
            ("", "Anna Bell", '"Bell, Anna" ', "A. Bell ", "Änna ", " ", "a\t", "a@b ")
        )
        inside = self._one(self._locals)() + "@" + self._one(self._domains)()
        return f"{name}<{inside}{self._one(('>', '>', '>', '>', '> ', '', '>>', '>x'))}"

    def _junk(self) -> str:
        pieces = (*NAMES, *SPECIAL, *IDN, *A_LABELS, *LITERALS, *HYPHENS, "@", "@", ".", ATEXT, "<")
        if self._chance.random() < 0.5:
            return "".join(self._one(pieces) for _ in range(self._chance.randint(0, 5)))
        return self._some(ATEXT + NOT_ATEXT + UNICODE + "@@@@@@@@", 0, 12)

    def _mutated(self, value: str) -> str:
        characters = list(value)
        for _ in range(self._chance.randint(1, 3)):
            at = self._chance.randint(0, len(characters))
            new = self._chance.choice((ORDINARY_CHARS, NOT_ATEXT, UNICODE, SPACES))
            match self._chance.randint(0, 3):
                case 0:
                    del characters[at : at + 1]
                case 1:
                    characters.insert(at, self._chance.choice(new))
                case 2:
                    characters[at : at + 1] = self._chance.choice(new)
                case 3:
                    characters[at:at] = characters[at : at + self._chance.randint(1, 3)]
        return "".join(characters)
