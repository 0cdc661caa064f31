"""Names a second, from columns of text to records, against plain Python; and what keys are worth.

`python -m benchmarks --only names` runs it alone. What is measured, over five mixes of made-up
people (`demo.people`, duplicates with their typos included):

- kernel: `split_names` or `full_names` of `service.core._names`, 4,000 names at a time: folded,
  titles apart, tokens flagged, name classes, two phonetic keys, sorted, hashed, three columns and
  the records written;
- fold: NFKC, `str.casefold`, `anyascii`, split at what is no letter, sorted: the least that a
  pipeline of the libraries does, without titles, flags, classes and keys;
- fold and sound: the same, and the compiled Double Metaphone of the package `doublemetaphone` for
  each token;
- oracle: all that the kernel does, in Python (`tests/core/oracle_names.py`; the caches that it has
  for single words are emptied before each turn).

They take turns in one process, several times over, because a shared machine drifts: rates are
medians, per second of processor time on one thread; a ratio is the median of those within a turn.
The kernel's tables of characters are made before. Left out: making `Texts` of a list of `str`
(some 40 ns a text; of Arrow buffers, next to nothing), and taking the results out into Python.

The second table compares phonetic keys. Found: of two spellings of a name, how many share a key,
over `name_variants.txt` (our own list: the rules were tuned with it in sight, so that it flatters
them) and over the names of `demo.names` in their own script and in Latin letters (not made for
this; without Chinese and Japanese, where the two have different readings). Collisions: of a
thousand pairs of different names of `demo.names` in Latin letters, how many share one.

What profiles showed (perf, November 2026, mixed columns, some 370 to 450 ns a name): two fifths go
to the phonetic keys, where every letter is a few branches that cannot be foretold; a quarter to
reading and folding characters, a seventh to looking words up, the rest to flags, sorting and
writing. Comparing the spelling of a rule byte by byte instead of with `memcmp` made the whole 13 %
faster, stepping over vowels within a word without looking at rules another 8 %; an index of the
rules by two letters gained no more than that. A hundred thousand names at once are slower than
4,000 (the records leave the cache). Cyrillic costs more than Latin: two look-ups a letter, and
longer tokens.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from statistics import median
from time import process_time

from anyascii import anyascii
from doublemetaphone import doublemetaphone

from benchmarks.report import Report, Table, Target
from demo.names import COUNTRIES
from demo.people import Person, people
from service.core._names import full_names, split_names
from service.core._text import Texts
from tests.core import oracle_names

VARIANTS = Path(__file__).with_name("name_variants.txt")
KERNEL_PER_S = 1_500_000
BATCH = 4_000
OTHER_READINGS = {"CN", "JP"}
_WORDS = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Plan:
    """How many people are made up, how many of them the slow ones are given, how often."""

    people: int
    slow: int
    turns: int


FULL = Plan(people=120_000, slow=10_000, turns=7)
QUICK = Plan(people=20_000, slow=2_000, turns=3)


@dataclass(slots=True)
class Runs:
    """Names a second of one contender, turn by turn."""

    rates: list[float] = field(default_factory=list)

    def add(self, run: Callable[[], object], count: int) -> None:
        """Run it once more."""
        started = process_time()
        run()
        self.rates.append(count / (process_time() - started))


def measure(plan: Plan, tell: Callable[[str], None]) -> Report:
    """Make people up, let the contenders take turns, compare the keys."""
    persons = [person for person in people(plan.people, seed=21) if not person.company]
    mixes: dict[str, Names] = {
        "columns, 16 countries": _columns(persons),
        "whole, 16 countries": [_whole(person) for person in persons],
        "whole, Latin": [_whole(person) for person in _of(persons, "US GB DE FR ES IT BR MX PL")],
        "whole, Cyrillic": [_whole(person) for person in _of(persons, "RU UA")],
        "whole, decomposed": [unicodedata.normalize("NFD", _whole(one)) for one in persons],
    }
    found: dict[tuple[str, str], Runs] = {}
    for turn in range(plan.turns):
        tell(f"names, turn {turn + 1} of {plan.turns}")
        for mix, names in mixes.items():
            for contender, run, count in _contenders(names, plan):
                found.setdefault((mix, contender), Runs()).add(run, count)
    return Report((_rates(found), _keys()), tuple(_targets(found)))


Parts = tuple[str, str, str]
Names = Sequence[str] | Sequence[Parts]


def _columns(persons: Sequence[Person]) -> list[Parts]:
    return [(person.first_name, person.middle_name, person.last_name) for person in persons]


def _whole(person: Person) -> str:
    parts = (person.title, person.first_name, person.middle_name, person.last_name)
    return " ".join(part for part in parts if part)


def _of(persons: Sequence[Person], countries: str) -> list[Person]:
    return [person for person in persons if person.country.code in countries.split()]


def _contenders(names: Names, plan: Plan) -> list[tuple[str, Callable[[], object], int]]:
    slow = names[: plan.slow]
    joined = [name if isinstance(name, str) else " ".join(name) for name in slow]
    return [
        ("kernel", _kernel(names), len(names)),
        ("fold", lambda: [_fold(name) for name in joined], len(joined)),
        ("fold and sound", lambda: [_fold_and_sound(name) for name in joined], len(joined)),
        ("oracle", lambda: _oracle(slow), len(joined)),
    ]


def _kernel(names: Names) -> Callable[[], object]:
    batches = [_batch(names[start : start + BATCH]) for start in range(0, len(names), BATCH)]

    def run() -> None:
        for columns in batches:
            if len(columns) == 1:
                full_names(columns[0])
            else:
                split_names(*columns)

    run()
    return run


def _batch(names: Names) -> list[Texts]:
    rows = [(name,) if isinstance(name, str) else name for name in names]
    return [Texts.of(column) for column in zip(*rows, strict=True)]


def _fold(name: str) -> list[str]:
    latin = anyascii(unicodedata.normalize("NFKC", name).casefold()).lower()
    return sorted(_WORDS.findall(latin.replace("'", "")))


def _fold_and_sound(name: str) -> list[tuple[str, str]]:
    return [doublemetaphone(word) for word in _fold(name)]


def _oracle(names: Names) -> None:
    oracle_names.forget()
    for name in names:
        if isinstance(name, str):
            oracle_names.full_name(name)
        else:
            oracle_names.split_name(*name)


def _rates(found: dict[tuple[str, str], Runs]) -> Table:
    return Table(
        "Names",
        "Per second of processor time, one thread. Times: how often the kernel's rate is this one, "
        "the median over the turns.",
        ("contender", "mix", "names/s", "times"),
        tuple(
            (contender, mix, f"{median(runs.rates):,.0f}", f"{_times(found, mix, contender):,.1f}")
            for (mix, contender), runs in found.items()
        ),
    )


def _times(found: dict[tuple[str, str], Runs], mix: str, contender: str) -> float:
    pairs = zip(found[mix, "kernel"].rates, found[mix, contender].rates, strict=True)
    return median(rate / other for rate, other in pairs)


def _targets(found: dict[tuple[str, str], Runs]) -> list[Target]:
    mixes = {mix for mix, _ in found if "16 countries" in mix}
    rates = {mix: median(found[mix, "kernel"].rates) for mix in sorted(mixes)}
    aim = f"≥ {KERNEL_PER_S:,}/s"
    return [
        Target(f"names a core, {mix}", aim, f"{rate:,.0f}/s", rate >= KERNEL_PER_S)
        for mix, rate in rates.items()
    ]


# Phonetic keys

Keys = Callable[[str], set[str]]


def _keys() -> Table:
    variants = [
        (first, other)
        for line in VARIANTS.read_text().splitlines()
        if not line.startswith("#")
        for first, *others in [line.split()]
        for other in others
    ]
    names = [
        name
        for country in COUNTRIES
        if country.code not in OTHER_READINGS
        for name in (*country.female, *country.male, *country.last)
    ]
    scripts = [(native, latin) for native, latin in names if native != latin]
    different = sorted({latin for _, latin in names})
    contenders: dict[str, Keys] = {"kernel": _own_keys, "Double Metaphone": _double_metaphone}
    return Table(
        "Phonetic keys",
        "Found: pairs of spellings that share a key. Collisions: pairs of different names that do.",
        ("keys", "variants found", "scripts found", "collisions in 1,000 pairs", "keys a name"),
        tuple(
            (
                contender,
                f"{_found(variants, keys)} of {len(variants)}",
                f"{_found(scripts, keys)} of {len(scripts)}",
                f"{1_000 * _found([*combinations(different, 2)], keys) / _pairs(different):.2f}",
                f"{sum(len(keys(name)) for name in different) / len(different):.2f}",
            )
            for contender, keys in contenders.items()
        ),
    )


def _found(pairs: Sequence[tuple[str, str]], keys: Keys) -> int:
    of = {name: keys(name) for pair in pairs for name in pair}
    return sum(not of[one].isdisjoint(of[other]) for one, other in pairs)


def _pairs(names: Sequence[str]) -> int:
    return len(names) * (len(names) - 1) // 2


def _own_keys(name: str) -> set[str]:
    token = full_names(Texts.of([name.replace(" ", "")]))[0].tokens[0]
    return {token.sound, token.other} - {""}


def _double_metaphone(name: str) -> set[str]:
    return set(doublemetaphone("".join(_fold(name)))) - {""}
