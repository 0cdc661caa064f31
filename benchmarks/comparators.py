"""Pairs a second through the comparators of the matching kernel, against RapidFuzz.

    python -m benchmarks --only comparators

What is measured: names, streets, phone numbers, postcodes and birth dates of made-up people
(`demo.people`), folded; two mixes of pairs: `near`, where the second is a copy of the first with
one or two typos, and `other`, where it is somebody else's. Of a file's candidate pairs most are
the latter. One thread, columns in, an array out; `Texts` are made before, as a kernel has its
texts at hand. The peer is `rapidfuzz.process.cpdist` with one worker on lists of the same texts:

- names: `JaroWinkler.similarity`, and `OSA.distance` with the limit as cutoff: the same answers;
- streets: `fuzz.token_set_ratio`, which forgives order and missing words, but no typo;
- phone numbers, postcodes and dates (as YYYYMMDD): `OSA.distance` with cutoff 1, a part of what
  their levels ask for.

They take turns in one process, because a shared machine drifts: rates are medians, per second of
processor time; a ratio is the median of those within a turn. Each run follows one that is not
counted, over the same 5,000 pairs, so that the texts are in the cache: how they get there is not
the comparators' matter, and costs more than most of them. Run again and again over the same pairs
everything looks faster still, because the processor learns how each of their branches goes.

What profiles showed (perf, November 2026). Some 10 ns a pair are not the comparators': fetching two
texts and looking for letters beyond ASCII. What costs is not work but branches that cannot be
foretold. Texts of up to 16 letters held in a register, with the places of equal letters as bits,
made `edits` two to three times as fast as loops over letters. In `words` the same for blanks and
digits, and asking for the same first or last letter before anything else, made three words against
three others three times as fast. A quarter of `jaro_winkler` is its four divisions, which stay: the
answer is to be the very one that RapidFuzz gives.
"""

from __future__ import annotations

import random
import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from string import ascii_lowercase, digits
from time import process_time

from anyascii import anyascii
from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA, JaroWinkler

from benchmarks.report import Report, Table, Target
from demo.people import Person, people
from service.core import _compare as kernel
from service.core._text import Texts

RATIO = 2.0
SEED = 31
_WORDS = re.compile(r"[a-z0-9]+")
_DIGITS = re.compile(r"\D")

Work = Callable[[], object]
Columns = tuple[list[str], list[str]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How many pairs of each kind, how often."""

    pairs: int
    turns: int


FULL = Plan(pairs=5_000, turns=101)
QUICK = Plan(pairs=5_000, turns=15)


@dataclass(slots=True)
class Contest:
    """A comparator and its peer on the same pairs."""

    name: str
    mix: str
    pairs: int
    kernel: Work
    peer: Work
    rates: list[float] = field(default_factory=list)
    peer_rates: list[float] = field(default_factory=list)

    def turn(self) -> None:
        """Run both, once for the cache and once for the clock."""
        self.rates.append(self.pairs / _seconds(self.kernel))
        self.peer_rates.append(self.pairs / _seconds(self.peer))

    def times(self) -> float:
        """Return how often the kernel's rate is the peer's: the median over the turns."""
        return median(a / b for a, b in zip(self.rates, self.peer_rates, strict=True))


def measure(plan: Plan, tell: Callable[[str], None]) -> Report:
    """Make pairs up, let both take turns, report."""
    persons = [person for person in people(20_000, seed=SEED) if not person.company]
    contests = [
        contest
        for mix in ("near", "other")
        for contest in _contests(persons, plan.pairs, mix, random.Random(SEED))
    ]
    tell(f"comparators, {plan.turns} turns")
    for _ in range(plan.turns):
        for contest in contests:
            contest.turn()
    slowest = min(contests, key=Contest.times)
    rows = tuple(
        (
            contest.name,
            contest.mix,
            f"{median(contest.rates):,.0f}",
            f"{1e9 / median(contest.rates):,.0f}",
            f"{contest.times():.1f}",
        )
        for contest in contests
    )
    table = Table(
        "Comparators",
        "Per second of processor time, one thread; × cpdist: how often the rate is that of the "
        "nearest measure of RapidFuzz over the same pairs.",
        ("comparator", "pairs", "pairs/s", "ns each", "× cpdist"),
        rows,
    )
    met = slowest.times()
    aim = Target("every comparator", f"≥ {RATIO:g} × cpdist", f"{met:.1f} ×", met >= RATIO)
    return Report((table,), (aim,))


def _contests(
    persons: Sequence[Person], count: int, mix: str, chance: random.Random
) -> list[Contest]:
    """Return the contests over one mix of pairs."""
    names = [word for one in persons for word in _folded(" ".join(one.latin))]
    phones = [_DIGITS.sub("", point.value) for one in persons for point in one.phones]
    streets = [" ".join(_folded(one.street)) for one in persons]
    postcodes = ["".join(_folded(one.postcode)) for one in persons]
    births = ["{:04}{:02}{:02}".format(*one.birth_date) for one in persons if one.birth_date]

    def pairs(values: Sequence[str], letters: str) -> Columns:
        return _pairs([value for value in values if value], letters, count, mix, chance)

    words = pairs(names, ascii_lowercase)
    one_edit = partial(process.cpdist, scorer=OSA.distance, score_cutoff=1)
    contests = {
        "jaro_winkler": _texts(
            words, kernel.jaro_winklers, partial(process.cpdist, scorer=JaroWinkler.similarity)
        ),
        "edits, limit 1": _edits(words, 1),
        "edits, limit 2": _edits(words, 2),
        "words": _texts(
            pairs(streets, ascii_lowercase),
            kernel.word_similarities,
            partial(process.cpdist, scorer=fuzz.token_set_ratio),
        ),
        "numbers": _texts(pairs(phones, digits), kernel.number_levels, one_edit),
        "postcodes": _texts(pairs(postcodes, digits), kernel.postcode_levels, one_edit),
        "dates": _dates(pairs(births, "0123")),
    }
    return [Contest(name, mix, count, *works) for name, works in contests.items()]


def _texts(
    columns: Columns,
    compare: Callable[[Texts, Texts], object],
    peer: Callable[[list[str], list[str]], object],
) -> tuple[Work, Work]:
    return partial(compare, *map(Texts.of, columns)), partial(peer, *columns)


def _edits(columns: Columns, limit: int) -> tuple[Work, Work]:
    return _texts(
        columns,
        lambda a, b: kernel.edit_counts(a, b, limit),
        partial(process.cpdist, scorer=OSA.distance, score_cutoff=limit),
    )


def _dates(columns: Columns) -> tuple[Work, Work]:
    packed = (array("I", map(_packed, column)) for column in columns)
    peer = partial(process.cpdist, scorer=OSA.distance, score_cutoff=1)
    return partial(kernel.date_levels, *packed), partial(peer, *columns)


def _packed(written: str) -> int:
    day = int(written[6:8] or "0") % 32
    return int(written[:4]) << 9 | int(written[4:6] or "0") % 16 << 5 | day


def _pairs(
    values: Sequence[str], letters: str, count: int, mix: str, chance: random.Random
) -> Columns:
    ones = chance.choices(values, k=count)
    if mix == "other":
        return ones, chance.choices(values, k=count)
    return ones, [_mistyped(one, letters, chance) for one in ones]


def _mistyped(text: str, letters: str, chance: random.Random) -> str:
    """Return a copy with one typo, or with two in one case of four."""
    for _ in range(1 + (chance.random() < 0.25)):
        at, letter = chance.randrange(len(text)), chance.choice(letters)
        text = chance.choice(
            (
                text[:at] + letter + text[at:],
                text[:at] + (text[at + 1 :] or letter),
                text[:at] + letter + text[at + 1 :],
                text[:at] + text[at : at + 2][::-1] + text[at + 2 :],
            )
        )
    return text


def _folded(text: str) -> list[str]:
    return _WORDS.findall(anyascii(text).lower())


def _seconds(work: Work) -> float:
    work()
    started = process_time()
    work()
    return process_time() - started
