"""The matching model: what each level of agreement says of two records, and how that is learnt.

After Fellegi and Sunter (1969): a pair of records is compared field by field, each comparison ends
in a level, and the levels' probabilities in pairs of the same person (m) and in other pairs (u)
give weights in bits that add up to the match weight. Three things are particular:

- Other pairs are of four classes, each with its own u: *strangers*; people of one *household*, who
  share a home, a phone and a family name; *namesakes*, who share a name and little else; and
  *relatives* of one name and home, father and son. A pair's weight is the least of the four: what
  strangers would hardly share, a household shares every day.
- Sharing a rare value says more than sharing a common one (Winkler 2000): among strangers the u of
  an equal name, date, address or contact point is the share of the records that have it.
- m, the classes' sizes and what households share are learnt without labels, by expectation and
  maximisation over candidate pairs (Winkler 1988); u of strangers from pairs drawn at random. The
  defaults are the prior of both, and what an untrained account works with.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from service.core import _match as k
from service.core._features import RARITY_UNITS
from service.core._match import FIELDS, LEVELS, Weights
from service.errors import InvalidArgument

FORMAT: Final = 1  # of a model's file

SAME, STRANGERS, HOUSEHOLD, NAMESAKES, RELATIVES = range(5)
CLASSES: Final = ("same", "strangers", "household", "namesakes", "relatives")

#: The fields in the order of the kernel, and their levels from 1 on; 0 is "absent in one of both".
#: Probabilities are of the same person, strangers, and a household.
DEFAULTS: Final[dict[str, tuple[tuple[str, float, float, float], ...]]] = {
    "first name": (
        ("different", 0.015, 0.9, 0.86),
        ("similar", 0.01, 0.04, 0.05),
        ("sounds the same", 0.015, 0.01, 0.015),
        ("same initial", 0.05, 0.045, 0.05),
        ("a typo apart", 0.11, 0.006, 0.006),
        ("a short form", 0.08, 0.004, 0.005),
        ("the same", 0.72, 0.006, 0.014),
    ),
    "last name": (
        ("different", 0.03, 0.96, 0.15),
        ("similar", 0.01, 0.025, 0.01),
        ("sounds the same", 0.015, 0.006, 0.01),
        ("the same in part", 0.02, 0.003, 0.02),
        ("a typo apart", 0.1, 0.003, 0.08),
        ("a form of it", 0.005, 0.0005, 0.005),
        ("the same", 0.82, 0.002, 0.725),
    ),
    "middle name": (
        ("different", 0.04, 0.85, 0.7),
        ("similar", 0.01, 0.03, 0.03),
        ("sounds the same", 0.01, 0.01, 0.01),
        ("same initial", 0.25, 0.07, 0.07),
        ("a typo apart", 0.08, 0.005, 0.01),
        ("a short form", 0.03, 0.005, 0.01),
        ("the same", 0.58, 0.03, 0.17),
    ),
    # Of strangers whose names agree, in whichever order.
    "order of names": (("straight", 0.97, 0.7, 0.97), ("swapped", 0.03, 0.3, 0.03)),
    "gender": (("different", 0.02, 0.5, 0.6), ("the same", 0.98, 0.5, 0.4)),
    "generation": (("different", 0.02, 0.5, 0.9), ("the same", 0.98, 0.5, 0.1)),
    "birth date": (
        ("different", 0.005, 0.98, 0.97),
        ("year the same, more not known", 0.03, 0.006, 0.01),
        ("day and month the same", 0.005, 0.0027, 0.004),
        ("year and month or day the same", 0.01, 0.0022, 0.004),
        ("a digit apart", 0.04, 0.0012, 0.002),
        ("day and month swapped", 0.02, 0.00003, 0.00005),
        ("the same", 0.89, 0.00005, 0.005),
    ),
    "e-mail": (
        ("different", 0.30, 0.9995, 0.85),
        ("other digits", 0.02, 0.0001, 0.01),
        ("a name at another domain", 0.05, 0.0001, 0.01),
        ("the same local part", 0.03, 0.00001, 0.01),
        ("a typo apart", 0.05, 0.0001, 0.01),
        ("the same", 0.55, 0.00001, 0.11),
    ),
    "phone": (
        ("different", 0.35, 0.9999, 0.5),
        ("the same last digits", 0.01, 0.00001, 0.005),
        ("a digit apart", 0.05, 0.00001, 0.01),
        ("the same", 0.59, 0.00001, 0.485),
    ),
    "street": (
        ("different", 0.25, 0.96, 0.15),
        ("the same number", 0.02, 0.02, 0.02),
        ("another number", 0.05, 0.018, 0.05),
        ("written another way", 0.15, 0.0002, 0.15),
        ("the same", 0.53, 0.0001, 0.63),
    ),
    "place": (
        ("different", 0.15, 0.95, 0.08),
        ("postcodes begin the same", 0.02, 0.01, 0.02),
        ("the same city", 0.08, 0.03, 0.08),
        ("a digit of the postcode apart", 0.05, 0.001, 0.05),
        ("the same postcode", 0.70, 0.001, 0.77),
    ),
    "company": (
        ("different", 0.3, 0.98, 0.9),
        ("the same in part", 0.05, 0.015, 0.02),
        ("similar", 0.1, 0.002, 0.01),
        ("the same", 0.55, 0.0005, 0.07),
    ),
    "year in the e-mail": (("different", 0.3, 0.98, 0.95), ("of birth", 0.7, 0.02, 0.05)),
    **{
        f"column {number + 1}": (
            ("different", 0.08, 0.97, 0.7),
            ("the same in part", 0.02, 0.015, 0.05),
            ("similar", 0.05, 0.01, 0.05),
            ("the same", 0.85, 0.005, 0.2),
        )
        for number in range(FIELDS - k.F_EXTRA)
    },
}
NAMES: Final = tuple(DEFAULTS)

_EXTRAS = range(k.F_EXTRA, FIELDS)
#: Levels whose u among strangers is the share of the records with that value.
RARE: Final = frozenset(
    {
        (k.F_FIRST, k.N_SAME), (k.F_LAST, k.N_SAME), (k.F_BIRTH, k.B_SAME), (k.F_EMAIL, k.E_SAME),
        (k.F_EMAIL, k.E_LOCAL), (k.F_PHONE, k.P_SAME), (k.F_STREET, k.S_SAME),
        (k.F_PLACE, k.L_SAME), (k.F_PLACE, k.L_CITY), (k.F_COMPANY, k.C_SAME),
        *product(_EXTRAS, (k.C_SAME,)),
    }
)  # fmt: skip
_BY_NAME = (k.F_FIRST, k.F_LAST, k.F_ORDER)  # of which namesakes are namesakes
_SHARED = (k.F_LAST, k.F_BIRTH, k.F_EMAIL, k.F_PHONE, k.F_STREET, k.F_PLACE)  # by a household
#: u that follows from names that agree, and would be missed among pairs drawn at random.
_FLOORS = {
    (k.F_EMAIL, k.E_DIGITS): 0.02,
    (k.F_EMAIL, k.E_NAMED): 0.02,
    (k.F_EMAIL, k.E_NEAR): 2e-4,
    (k.F_PHONE, k.P_NEAR): 3e-6,
}
_LEARNT = {SAME: tuple(range(FIELDS)), HOUSEHOLD: _SHARED, NAMESAKES: (k.F_PLACE,)}
_STRENGTH_PAIRS = {SAME: 30.0, STRANGERS: 20.0, HOUSEHOLD: 200.0, NAMESAKES: 200.0}  # of the prior
_FEWEST = 1e-5  # no level is impossible
_ENOUGH_PAIRS = 100  # drawn at random that have a field, for its u to be learnt
_LABEL_WEIGHT = 10.0  # candidates that a labelled pair counts for: it is sure, and hard
_ROUNDS = 100
_STILL = 1e-4  # the largest change of an m at which the learning has converged

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]


class Evidence(NamedTuple):
    """What levels say for the same person, in bits, against each other class: a pair adds it up."""

    bits: Floats  # by class, field and level
    rare: npt.NDArray[np.bool_]  # where the rarity of the value is added
    priors: Floats  # by class: how many more pairs are of the same person


@dataclass(frozen=True, slots=True)
class Model:
    """Probabilities of levels by class, field and level, and the share of each class in all pairs.

    `tables` has shape (5, FIELDS, LEVELS), its level 0 is 1; `shares` has shape (5,).
    """

    tables: Floats
    shares: Floats

    @classmethod
    def default(cls, records: int) -> Model:
        """Return what is known before anything is learnt: half of the records have a double."""
        few = 1.0 / max(records, 100)
        tables = np.stack([_default(place) for place in (0, 1, 2, 1, 2)])
        tables[NAMESAKES, k.F_PLACE, 1:6] = 0.5, 0.02, 0.38, 0.02, 0.08
        shares = np.array([few, 1.0, 0.5 * few, 0.3 * few, 0.02 * few])
        return cls(_derived(tables), shares)

    def weights(self) -> Weights:
        """Return the model for the kernel."""
        bits, rare, priors = self.evidence()
        return Weights(bits.tolist(), rare.astype(int).tolist(), priors.tolist())

    def evidence(self) -> Evidence:
        """Return what levels say in bits."""
        logs = np.log2(self.tables)
        rare = np.stack([_rare(other) for other in range(1, len(CLASSES))])
        bits = logs[SAME] - np.where(rare, 0.0, logs[1:])
        bits[:, :, 0] = 0.0
        return Evidence(bits, rare, np.log2(self.shares[SAME] / self.shares[1:]))

    def to_json(self) -> str:
        """Return the model as the text of a small file that people can read."""
        levels = {
            name: {
                level[0]: {
                    c: float(f"{self.tables[i, field, number]:.6g}") for i, c in enumerate(CLASSES)
                }
                for number, level in enumerate(DEFAULTS[name], 1)
            }
            for field, name in enumerate(NAMES)
        }
        shares = {c: float(f"{self.shares[i]:.6g}") for i, c in enumerate(CLASSES)}
        return json.dumps({"format": FORMAT, "shares": shares, "fields": levels}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Model:
        """Read what `to_json` wrote; `InvalidArgument` says what is missing or wrong."""
        try:
            given: dict[str, Any] = json.loads(text)
            if given["format"] != FORMAT:
                raise InvalidArgument(f"The model's format {given['format']} is not {FORMAT}")
            tables = np.ones((len(CLASSES), FIELDS, LEVELS))
            for field, name in enumerate(NAMES):
                for number, level in enumerate(DEFAULTS[name], 1):
                    for i, c in enumerate(CLASSES):
                        tables[i, field, number] = _number(given["fields"][name][level[0]][c])
            shares = np.array([_number(given["shares"][c]) for c in CLASSES])
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise InvalidArgument(f"Not a model: {type(error).__name__}") from None
        except KeyError as error:
            raise InvalidArgument(f"Not a model: {error} is missing") from None
        if not (np.all((tables > 0) & (tables <= 1)) and np.all((shares > 0) & (shares <= 1))):
            raise InvalidArgument("Not a model: a probability is not above 0 and at most 1")
        return cls(tables, shares)


@dataclass(frozen=True, slots=True)
class Sample:
    """Levels and rarities of pairs, shape (pairs, FIELDS) both; each stands for `scale` pairs."""

    levels: Bytes
    rarities: Bytes
    scale: float


@dataclass(frozen=True, slots=True)
class Labels:
    """Pairs that somebody judged: levels and rarities as in `Sample`, and who is the same."""

    levels: Bytes
    rarities: Bytes
    same: npt.NDArray[np.bool_]  # of shape (pairs,)


@dataclass(frozen=True, slots=True)
class Training:
    """How the learning went."""

    rounds: int = 0
    converged: bool = False  # the last round changed less than _STILL
    last_change: float = 0.0  # the largest of an m in the last round
    expected_pairs: float = 0.0  # of the same person
    pairs: int = 0  # candidates that were learnt from


def train(
    model: Model,
    candidates: Sample,
    random_levels: Bytes,
    records: int,
    tell: Callable[[str], None] = lambda _: None,
    labels: Labels | None = None,
) -> tuple[Model, Training]:
    """Learn from candidate pairs and from pairs drawn at random, and from labelled ones.

    `model` is the prior. `tell` hears how each round went. Labelled pairs say nothing of how many
    pairs are the same, for nobody drew them at random; of m and of what households share they say
    as much as `_LABEL_WEIGHT` candidates each.
    """
    all_pairs = records * (records - 1) / 2
    tables, shares = model.tables.copy(), model.shares.copy()
    tables[STRANGERS] = _strangers(tables[STRANGERS], random_levels)
    tables = _derived(tables)
    prior = tables.copy()
    patterns, judged = _Patterns(candidates), _Judged(labels)
    training = Training(pairs=len(candidates.levels))
    for number in range(_ROUNDS):
        posteriors = patterns.posteriors(tables, shares)
        known = judged.counts(tables, shares)
        totals = posteriors.sum(axis=1) * candidates.scale
        shares = np.maximum(totals, 1.0) / all_pairs
        shares[STRANGERS] = 1.0
        before = tables[SAME].copy()
        for learner, learnt in _LEARNT.items():
            for field in (patterns.fields | judged.fields).intersection(learnt):
                levels = patterns.levels[:, field]
                counts = np.bincount(levels, posteriors[learner], LEVELS) + known[learner, field]
                tables[learner, field] = _share(counts, prior[learner, field], field, learner)
        tables = _derived(tables)
        change = float(np.abs(tables[SAME] - before).max())
        tell(f"round {number + 1}: {totals[SAME]:,.0f} pairs of one person, change {change:.5f}")
        training = replace(
            training,
            rounds=number + 1,
            converged=change < _STILL,
            last_change=change,
            expected_pairs=float(totals[SAME]),
        )
        if training.converged:
            break
    return Model(tables, shares), training


def _number(given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise TypeError("not a number")
    return float(given)


def _default(place: int) -> Floats:
    table = np.ones((FIELDS, LEVELS))
    for field, levels in enumerate(DEFAULTS.values()):
        table[field, 1 : 1 + len(levels)] = [level[1 + place] for level in levels]
    return table


def _derived(tables: Floats) -> Floats:
    """Return the tables with what follows for namesakes and relatives from the other classes."""
    made = tables.copy()
    place = made[NAMESAKES, k.F_PLACE].copy()
    made[NAMESAKES] = made[STRANGERS]
    made[NAMESAKES, k.F_PLACE] = place
    made[NAMESAKES, k.F_EMAIL, 1:7] = 0.85, 0.1, 0.04, 0.005, 0.005, 0.00001
    made[NAMESAKES, k.F_MIDDLE, 1:8] = 0.75, 0.05, 0.02, 0.1, 0.01, 0.01, 0.06
    made[RELATIVES] = made[HOUSEHOLD]
    for other in (NAMESAKES, RELATIVES):
        made[other, k.F_GENDER, 1:3] = 0.05, 0.95
        for field in _BY_NAME:
            made[other, field] = made[SAME, field]
    return made


def _rare(other: int) -> npt.NDArray[np.bool_]:
    """Return which levels have the share of the records with the value for u, in a class."""
    made = np.zeros((FIELDS, LEVELS), bool)
    if other in (STRANGERS, NAMESAKES):
        for field, level in RARE:
            made[field, level] = other == STRANGERS or field not in (*_BY_NAME, k.F_PLACE)
    if other == NAMESAKES:
        made[k.F_EMAIL, k.E_LOCAL] = False
    return made


def _strangers(table: Floats, random_levels: Bytes) -> Floats:
    made = table.copy()
    for field in range(FIELDS):
        counts = np.bincount(random_levels[:, field], minlength=LEVELS).astype(float)
        if counts[1:].sum() >= _ENOUGH_PAIRS and field != k.F_ORDER:
            made[field] = _share(counts, table[field], field, STRANGERS)
    for (field, level), floor in _FLOORS.items():
        made[field, level] = max(made[field, level], floor)
    return made


def _share(counts: Floats, prior: Floats, field: int, learner: int) -> Floats:
    """Return how often each level is, with the prior as so many pairs more."""
    levels = slice(1, 1 + len(DEFAULTS[NAMES[field]]))
    strength = _STRENGTH_PAIRS[learner]
    made = np.ones(LEVELS)
    found = counts[levels] + strength * prior[levels]
    found /= found.sum()
    if learner != STRANGERS:
        found = np.maximum(found, _FEWEST)
        found /= found.sum()
    made[levels] = found
    return made


class _Patterns:
    """The candidate pairs by the levels that they have: there are far fewer patterns than pairs."""

    def __init__(self, sample: Sample) -> None:
        whole = np.ascontiguousarray(sample.levels).view(f"V{FIELDS}").ravel()
        _, first, self._pattern = np.unique(whole, return_index=True, return_inverse=True)
        self.levels = sample.levels[first]
        self.fields = {field for field in range(FIELDS) if self.levels[:, field].any()}
        # What the rarity of a value says does not change while the rest is learnt.
        rarities = sample.rarities / -float(RARITY_UNITS)
        every = np.arange(FIELDS)
        self._rare = np.zeros((len(CLASSES), len(whole)))
        for c in range(1, len(CLASSES)):
            self._rare[c] = np.where(_rare(c)[every, sample.levels], rarities, 0.0).sum(axis=1)

    def posteriors(self, tables: Floats, shares: Floats) -> Floats:
        """Return the expected number of pairs of each class for each pattern."""
        logs = np.log2(tables)
        logs[:, :, 0] = 0.0
        bits = self._rare.copy()
        for c in range(len(CLASSES)):
            known = np.where(_rare(c), 0.0, logs[c])
            of_pattern = known[np.arange(FIELDS), self.levels].sum(axis=1) + np.log2(shares[c])
            bits[c] += of_pattern[self._pattern]
        bits -= bits.max(axis=0)
        posteriors = np.exp2(bits)
        posteriors /= posteriors.sum(axis=0)
        return np.stack(
            [np.bincount(self._pattern, of_class, len(self.levels)) for of_class in posteriors]
        )


class _Judged:
    """The labelled pairs: what is the same stays so; what is not is of one of the other classes."""

    def __init__(self, labels: Labels | None) -> None:
        if labels is None:
            none = np.zeros((0, FIELDS), np.uint8)
            labels = Labels(none, none, np.zeros(0, bool))
        same = labels.same
        self._same = labels.levels[same]
        self._others = _Patterns(Sample(labels.levels[~same], labels.rarities[~same], 1.0))
        self.fields = {field for field in range(FIELDS) if labels.levels[:, field].any()}

    def counts(self, tables: Floats, shares: Floats) -> Floats:
        """Return how often each level is in each class, shape (5, FIELDS, LEVELS)."""
        impossible = shares.copy()
        impossible[SAME] = np.finfo(float).tiny
        posteriors = self._others.posteriors(tables, impossible)
        posteriors[SAME] = 0.0
        made = np.zeros((len(CLASSES), FIELDS, LEVELS))
        for field in self.fields:
            made[SAME, field] = np.bincount(self._same[:, field], minlength=LEVELS)
            levels = self._others.levels[:, field]
            for other in range(1, len(CLASSES)):
                made[other, field] = np.bincount(levels, posteriors[other], LEVELS)
        return made * _LABEL_WEIGHT
