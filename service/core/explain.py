"""Why two records are one person, or not: the match weight taken apart, in plain words.

The weight of a pair is the least of those that it has against strangers, a household, namesakes and
relatives (`match`). An explanation is of that one: it says against whom it was weighed, how many
bits each field has brought, and the fact behind them in words that a steward can check. No values
are in it: "the same rare last name", not which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.core import _match as k
from service.core._features import RARITY_UNITS
from service.core._match import FIELDS
from service.core.match import CLASSES, DEFAULTS, NAMES, RARE, STRANGERS, Bytes, Evidence, Floats

RARE_BITS: Final = 10.0  # from which a value is called rare: 1 record in 1,000 has it
COMMON_BITS: Final = 7.0  # below which it is called common: 1 in 128
NOTHING_BITS: Final = 0.5  # what says less speaks neither for nor against
SHARED_BITS: Final = 3.0  # more against strangers than against the nearest class: they share it

#: What a class of others is called.
IN_WORDS: Final = {
    "strangers": "two strangers",
    "household": "two people of one household",
    "namesakes": "two people of one name",
    "relatives": "father and son of one name",
}
_AS_WELL = ("", ", as in any household", ", as with any namesakes", ", as with father and son")
_UNLIKE = (
    "",
    *(f", which speaks against {who}" for who in ("a household", "namesakes", "father and son")),
)


def _of_name(name: str, fourth: str, form: str) -> tuple[str, ...]:
    return (
        f"the {name} differs", f"the {name} is similar", f"the {name} sounds the same", fourth,
        f"the {name} differs by a typo", form, f"the same {{}}{name}",
    )  # fmt: skip


def _of_text(name: str) -> tuple[str, ...]:
    return (
        f"{name} differs", f"{name} is the same in part", f"{name} is similar",
        f"the same {{}}{name.removeprefix('the ')}",
    )  # fmt: skip


#: A sentence for each level of each field, from 1 on; {} is where "rare " or "common " goes.
SENTENCES: Final[dict[str, tuple[str, ...]]] = {
    "first name": _of_name(
        "first name", "the first name has the same initial", "one first name is a form of the other"
    ),
    "last name": _of_name(
        "last name", "the last name is the same in part", "one last name is a form of the other"
    ),
    "middle name": _of_name(
        "middle name",
        "the middle name has the same initial",
        "one middle name is a form of the other",
    ),
    "order of names": (
        "first and last name stand in the same order",
        "first and last name are swapped",
    ),
    "gender": ("the gender differs", "the same gender"),
    "generation": (
        "the generation (Jr., Sr., III) differs",
        "the same generation (Jr., Sr., III)",
    ),
    "birth date": (
        "the birth date differs",
        "the same year of birth, of one record no more is known",
        "the same day and month of birth in another year",
        "the birth date differs in the day or in the month",
        "the birth date differs in one digit",
        "day and month of the birth date are swapped",
        "the same birth date",
    ),
    "e-mail": (
        "the e-mail differs",
        "the e-mail differs in digits only",
        "the e-mail has the same name at another domain",
        "the e-mail is the same before the @, at another domain",
        "the e-mail differs by a typo",
        "the same {}e-mail",
    ),
    "year in the e-mail": (
        "the year in one e-mail is not that of the other's birth",
        "the year in one e-mail is that of the other's birth",
    ),
    "phone": (
        "the phone differs",
        "the phone ends in the same digits",
        "the phone differs in one digit",
        "the same {}phone",
    ),
    "street": (
        "the street differs",
        "the same number in another street",
        "the same street, another number",
        "the same street and number, written another way",
        "the same street and number",
    ),
    "place": (
        "the place differs",
        "the postcode begins the same",
        "the same {}city",
        "the postcode differs in one digit",
        "the same {}postcode",
    ),
    "company": _of_text("the company"),
    **{name: _of_text(name) for name in NAMES[k.F_EXTRA :]},
}
# Of these a shared value is rare throughout; that it is not is worth saying.
_POINTS: Final = {(k.F_EMAIL, k.E_SAME), (k.F_PHONE, k.P_SAME)}
# Rarities that are not the share of all records: of a street in its postcode, for one.
_UNSAID: Final = {(k.F_BIRTH, k.B_SAME), (k.F_STREET, k.S_SAME), (k.F_EMAIL, k.E_LOCAL)}


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one field says: above 0 for the same person, below 0 against."""

    field: str
    level: str
    bits: float
    words: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A match weight, and what it is made of: `prior_bits` and the contributions add up to it.

    Fields that one of both records lacks contribute nothing, and are left out.
    """

    weight_bits: float
    probability: float
    against: str  # the class that the pair is nearest to, if it is not the same person
    prior_bits: float  # before any field: pairs of one person to pairs of that class
    contributions: tuple[Contribution, ...]  # in the order of the fields

    @property
    def against_in_words(self) -> str:
        """Say who the two would be if they are not one person."""
        return IN_WORDS[self.against]

    @property
    def prior_in_words(self) -> str:
        """Say what `prior_bits` are."""
        many = _two_digits(2.0 ** min(abs(self.prior_bits), 60.0))
        if many == "1":
            return f"there are about as many pairs of one person as of {self.against_in_words}"
        if self.prior_bits < 0:
            return f"for each pair of one person there are about {many} of {self.against_in_words}"
        return f"for each pair of {self.against_in_words} there are about {many} of one person"

    @property
    def speaking_for(self) -> list[Contribution]:
        """Return what speaks for one person, the strongest first."""
        found = [one for one in self.contributions if one.bits >= NOTHING_BITS]
        return sorted(found, key=lambda one: -one.bits)

    @property
    def speaking_against(self) -> list[Contribution]:
        """Return what speaks against it, the strongest first."""
        found = [one for one in self.contributions if one.bits <= -NOTHING_BITS]
        return sorted(found, key=lambda one: one.bits)


def explain_some(
    evidence: Evidence, levels: bytes, rarities: bytes, chosen: Sequence[int]
) -> list[Explanation]:
    """Explain the chosen ones of pairs, as `_match.compare_with` gives them."""
    if not chosen:
        return []
    shape = (-1, FIELDS)
    return explain_all(
        evidence,
        np.frombuffer(levels, np.uint8).reshape(shape)[chosen],
        np.frombuffer(rarities, np.uint8).reshape(shape)[chosen],
    )


def explain_all(evidence: Evidence, levels: Bytes, rarities: Bytes) -> list[Explanation]:
    """Explain pairs by a model's evidence and what `_match.vectors` says: a row of FIELDS each."""
    every = np.arange(FIELDS)
    bits = evidence.bits[:, every, levels]
    bits += np.where(evidence.rare[:, every, levels], rarities / float(RARITY_UNITS), 0.0)
    nearest = (bits.sum(axis=2) + evidence.priors[:, None]).argmin(axis=0)
    strangers = bits[STRANGERS - 1]
    made = []
    for pair, other in enumerate(nearest.tolist()):
        prior = float(evidence.priors[other])
        found = tuple(
            _contributions(levels[pair], rarities[pair], bits[other, pair], strangers[pair], other)
        )
        weight = prior + sum(one.bits for one in found)
        probability = 1.0 / (1.0 + 2.0 ** min(-weight, 1000.0))
        made.append(Explanation(weight, probability, CLASSES[1 + other], prior, found))
    return made


def _contributions(
    levels: Bytes, rarities: Bytes, bits: Floats, strangers: Floats, other: int
) -> Iterator[Contribution]:
    for field in np.flatnonzero(levels).tolist():
        level, own = int(levels[field]), float(bits[field])
        words = _words(field, level, int(rarities[field]) / RARITY_UNITS)
        if words.startswith("the same") and strangers[field] - SHARED_BITS >= own < SHARED_BITS:
            words += _AS_WELL[other]
        elif strangers[field] < -NOTHING_BITS and own > NOTHING_BITS:
            words += _UNLIKE[other]
        name = NAMES[field]
        yield Contribution(name, DEFAULTS[name][level - 1][0], own, words)


def _words(field: int, level: int, rarity_bits: float) -> str:
    """Return the sentence of a level, with how rare the value is where that tells something."""
    sentence = SENTENCES[NAMES[field]][level - 1]
    adjective = ""
    if (field, level) in RARE - _UNSAID:
        is_point = (field, level) in _POINTS
        if rarity_bits < COMMON_BITS:
            adjective = "much-used " if is_point else "common "
        elif rarity_bits >= RARE_BITS and not is_point:
            adjective = "rare "
    words = sentence.format(adjective)
    return f"{words} ({_share(2.0**rarity_bits)})" if adjective else words


def _share(records: float) -> str:
    """Say that of so many records one has a value."""
    return "most records have it" if records < 1.5 else f"about 1 record in {_two_digits(records)}"


def _two_digits(number: float) -> str:
    """Return a number of at least 1 in two digits that count."""
    whole = round(number)
    return f"{round(whole, min(2 - len(str(whole)), 0)):,}"
