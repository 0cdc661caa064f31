"""E-mail addresses a second through the compiled kernel, against `email-validator`.

    python -m benchmarks --only emails

What is measured: normal form, verdict, domain, match key and role of each address, from a list of
`str` to columns, on one core; the library alone (with the options of the kernel's oracle) in the
same run, on the same mix. The two take turns in short runs, because a shared machine drifts;
times are of this process's processor, which other processes move least; a ratio is the median of
the ratios within one turn.

The mix is made, not crawled: addresses as a customer list has them, 60 % at 30 providers, the rest
at 20,000 domains of which few are frequent; 1 % role names, 3 % tags, 3 % with white space around;
4 % broken in the commonest ways (no "@", no or a wrong top-level domain, two dots, commas, spaces
inside, several addresses in one cell, display names); 1 % at international domains, two in five of
them as A-labels; 0.1 % with a local part beyond ASCII; 0.02 % quoted.

What profiles showed (perf, November 2026). Of an ordinary address's 150 ns no part stands out: a
quarter is reading and writing its characters, a fifth hashing (the domain among those of the batch,
the local part among the role names; SipHash, because the input is anybody's) and a tenth finding
what was hashed, a tenth checking domains that are new in the batch, a tenth the first touch of the
columns' memory, a tenth copying. Of the mix, a quarter of the time is the library's: 0.17 % of the
addresses are left to it, at 25 µs each: those with a local part beyond ASCII, quoted, or after an
international display name. International domains are asked for once while remembered, the words
for a fault once per fault and set of characters: before that, the mix took 414 ns instead of 240.
One batch of a million is slower than a hundred of 10,000: its 20,000 domains no longer fit the
second-level cache. -O3 instead of -O2 gains nothing. A batch of one costs what its objects cost:
two columns, three arrays, a set of domains.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import process_time
from typing import Final
from unittest.mock import patch

import email_validator

from benchmarks.report import Report, Table, Target
from service.core import _emails, odd_emails
from service.core._emails import EmailParser
from service.core._text import Texts

RATE = 3_000_000
RATIO = 80
BATCH = 10_000
SEED = 20_261_122

ROLES: Final = ("info", "office", "sales", "support", "contact", "no-reply", "admin", "billing")
PROVIDERS: Final = (
    "gmail.com", "yahoo.com", "hotmail.com", "outlook.com", "icloud.com", "mail.ru", "yandex.ru",
    "gmx.de", "web.de", "t-online.de", "orange.fr", "free.fr", "libero.it", "aol.com", "live.com",
    "qq.com", "163.com", "naver.com", "uol.com.br", "wp.pl", "seznam.cz", "proton.me", "me.com",
    "googlemail.com", "yahoo.co.uk", "hotmail.fr", "comcast.net", "bk.ru", "ymail.com", "pm.me",
)  # fmt: skip
FIRST: Final = (
    "anna", "Ivan", "maria", "john", "li.wei", "Hans", "fatima", "jose", "olga",
    "p", "Michael", "sofia", "chen", "Elena", "david", "n", "lucas", "emma", "Yusuf", "katarzyna",
)  # fmt: skip
LAST: Final = (
    "bell", "Petrov", "garcia", "smith", "muller", "Rossi", "nguyen", "kim", "silva", "dupont",
    "Ivanova", "novak", "lopez", "jones", "schmidt", "yilmaz", "kowalski", "sato", "hansen", "x",
)  # fmt: skip
TOPS: Final = ("com", "de", "ru", "co.uk", "fr", "org", "net", "com.br", "it", "io", "pl", "es")
IDN: Final = ("münchen.de", "пример.рф", "例え.jp", "xn--mnchen-3ya.de", "xn--e1afmkfd.xn--p1ai")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    turns: int
    addresses: int
    asked: int  # of them, for the library
    ones: int  # batches of one


FULL = Plan(turns=9, addresses=1_000_000, asked=20_000, ones=50_000)
QUICK = Plan(turns=3, addresses=200_000, asked=5_000, ones=10_000)


class Mix:
    """Addresses as a list of customers has them."""

    def __init__(self, seed: int) -> None:
        """Begin at `seed`."""
        self._chance = random.Random(seed)
        self._domains = [
            f"{self._chance.choice(LAST).lower()}{number}.{self._chance.choice(TOPS)}"
            for number in range(20_000)
        ]

    def ordinary(self) -> str:
        """Return an ASCII dot-atom at an ASCII domain."""
        chance = self._chance
        local = chance.choice(FIRST) + chance.choice((".", "_", "", "-")) + chance.choice(LAST)
        if chance.random() < 0.4:
            local += str(chance.randint(1, 1999))
        if chance.random() < 0.03:
            local += chance.choice(("+news", "+shop", "+x1"))
        if chance.random() < 0.01:
            local = chance.choice(ROLES)
        if chance.random() < 0.6:
            return f"{local}@{chance.choice(PROVIDERS)}"
        # The square of an even chance: a few domains are frequent.
        return f"{local}@{self._domains[int(len(self._domains) * chance.random() ** 2)]}"

    def broken(self) -> str:
        """Return an address broken in one of the commonest ways."""
        value = self.ordinary()
        local, _, domain = value.partition("@")
        return self._chance.choice(
            (
                "", "n/a", local, domain, f"{local}@", f"@{domain}", f"{local}@{local.lower()}",
                f"{local}.@{domain}", f"{local}@{domain}.", f"{local}@{domain.replace('.', '..')}",
                f"{local} {value}", f"{value},", f"{value};{value}", f"{local}@@{domain}",
                f"{local}@{domain.replace('.', ',')}", f"{local}@192.0.2.1",
                f"{local}@{local}_x.de", f"{local} @{domain}", f"mailto:{value}",
                f"{local.title()} <{value}>",
            )
        )  # fmt: skip

    def international(self) -> str:
        """Return an address at an international domain."""
        return f"{self.ordinary().partition('@')[0]}@{self._chance.choice(IDN)}"

    def address(self) -> str:
        """Return one of any kind."""
        kind = self._chance.random()
        if kind < 0.04:
            value = self.broken()
        elif kind < 0.05:
            value = self.international()
        elif kind < 0.051:
            value = f"ö{self.ordinary()}"
        elif kind < 0.0512:
            value = f'"{self._chance.choice(FIRST)} x"@{self._chance.choice(PROVIDERS)}'
        else:
            value = self.ordinary()
        return f" {value}\u00a0" if self._chance.random() < 0.03 else value


def parse(parser: EmailParser, values: Sequence[str]) -> None:
    """Parse in batches, keeping nothing."""
    for start in range(0, len(values), BATCH):
        parser.parse(Texts.of(values[start : start + BATCH]))


def ask_library(values: Sequence[str]) -> None:
    """Ask the library for each address."""
    for value in values:
        try:
            email_validator.validate_email(
                value.strip(),
                check_deliverability=False,
                allow_quoted_local=True,
                allow_domain_literal=True,
            )
        except email_validator.EmailNotValidError:
            continue


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of some work."""
    started = process_time()
    work()
    return process_time() - started


@dataclass(slots=True)
class Runs:
    """The runs of one kind of work on `count` addresses."""

    name: str
    count: int
    work: Callable[[], object]
    times_s: list[float] = field(default_factory=list)

    def turn(self) -> None:
        """Run once."""
        self.times_s.append(seconds(self.work))

    def each_ns(self) -> float:
        """Return the median time per address."""
        return median(self.times_s) / self.count * 1e9

    def times(self, other: Runs) -> float:
        """Return how many times faster than another this is: the median over the turns."""
        pairs = zip(self.times_s, other.times_s, strict=True)
        return median((theirs / other.count) / (ours / self.count) for ours, theirs in pairs)


def measure(plan: Plan, tell: Callable[[str], None]) -> Report:
    """Measure all in turns, report."""
    tell(f"making {plan.addresses:,} addresses")
    mix = Mix(SEED)
    parser = EmailParser(ROLES)
    values = [mix.address() for _ in range(plan.addresses)]
    ordinary = [mix.ordinary() for _ in range(plan.addresses // 2)]
    broken = [mix.broken() for _ in range(plan.addresses // 10)]
    international = [mix.international() for _ in range(plan.addresses // 50)]
    grown = _grown_mib(parser, values)  # first: later, what was freed is there to be used again
    texts = Texts.of(values)
    library = Runs("email-validator, mix", plan.asked, lambda: ask_library(values[: plan.asked]))
    mixed = Runs("mix, from a list", len(values), lambda: parse(parser, values))
    ones = Runs("mix, batches of one", plan.ones, lambda: _ones(parser, values[: plan.ones]))
    runs = [
        library,
        mixed,
        Runs("mix, all in one batch", len(values), lambda: parser.parse(texts)),
        Runs("ordinary", len(ordinary), lambda: parse(parser, ordinary)),
        Runs("broken", len(broken), lambda: parse(parser, broken)),
        Runs("international domains", len(international), lambda: parse(parser, international)),
        ones,
    ]
    for number in range(plan.turns):
        tell(f"turn {number + 1} of {plan.turns}")
        for run in runs:
            run.turn()
    rows = tuple(
        (
            run.name,
            f"{1e9 / run.each_ns():,.0f}",
            f"{run.each_ns():,.0f}",
            f"{run.times(library):.1f}",
        )
        for run in runs
    )
    speed = Table(
        "E-mail addresses",
        "One core; medians over the turns, processor time. Batches of "
        f"{BATCH:,} of {plan.addresses:,} addresses; the library on the first {plan.asked:,}.",
        ("what", "addresses/s", "ns each", "× email-validator"),
        rows,
    )
    return Report((speed, _other(parser, values, grown)), _targets(mixed, library))


def _ones(parser: EmailParser, values: Sequence[str]) -> None:
    for value in values:
        parser.parse(Texts.of([value])).forms()


def _other(parser: EmailParser, values: list[str], grown_mib: float) -> Table:
    found = parser.parse(Texts.of(values))
    held = sum(len(column.data()) + len(column.offsets()) for column in (found.normal, found.keys))
    held += sum(part.itemsize * len(part) for part in (found.reason, found.domain_ids, found.role))
    rows = (
        ("left to the library", f"{_left(parser, values):.2%}"),
        ("broken", f"{len(found.details) / len(values):.2%}"),
        ("distinct domains", f"{len(found.domains):,}"),
        ("result per address, one batch", f"{held / len(values):.0f} bytes"),
        (f"memory above the list, batches of {BATCH:,}", f"{grown_mib:.1f} MiB"),
    )
    return Table("E-mail addresses: the mix", "", ("what", "measured"), rows)


def _left(parser: EmailParser, values: list[str]) -> float:
    """Return the share of the addresses of which the library is asked."""
    with patch.object(_emails, "look_into", wraps=odd_emails.look_into) as asked:
        parse(parser, values)
    return asked.call_count / len(values)


def _grown_mib(parser: EmailParser, values: list[str]) -> float:
    """Return by how much this process grows while it parses in batches, at most."""
    before = most = _resident_mib()
    for start in range(0, len(values), BATCH):
        found = parser.parse(Texts.of(values[start : start + BATCH]))
        most = max(most, _resident_mib())
        del found
    return most - before


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _targets(mixed: Runs, library: Runs) -> tuple[Target, ...]:
    rate, ratio = 1e9 / mixed.each_ns(), mixed.times(library)
    return (
        Target("e-mail addresses, mix", f"≥ {RATE:,}/s a core", f"{rate:,.0f}/s", rate >= RATE),
        Target(
            "e-mail addresses, mix", f"≥ {RATIO} × email-validator", f"{ratio:.0f} ×",
            ratio >= RATIO,
        ),
    )  # fmt: skip
