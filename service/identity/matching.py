"""Who looks like a customer: candidates by blocking keys, scores by the account's model, why.

`Matcher.similar` is the whole story: find the rows that share an e-mail, a phone or a blocking key
with the subject; keep the bounded number that share most; read their packed features; compare. What
the model is, and how rare values are in the account, is read when the stored model changes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from service.core import _probe
from service.core._match import FIELDS, Weights, compare_with
from service.core._probe import Frequencies, block_keys, is_company
from service.core.explain import Explanation, explain_all
from service.core.match import Evidence, Model
from service.core.model import Channel, Held
from service.core.prepare import match_key
from service.index import Reads
from service.settings import Settings

POINT_KEYS = 4  # blocking keys that a shared e-mail or phone counts as, when candidates are ranked


class Action(IntEnum):
    """What to do about a pair."""

    SAME = 1
    REVIEW = 2
    DIFFERENT = 3


@dataclass(frozen=True, slots=True)
class Subject:
    """A customer to compare: packed features, what it holds, and its row (0: not stored)."""

    features: bytes
    held: Held
    row: int = 0


class Score(NamedTuple):
    """Match weight in bits, and the probability that it stands for."""

    weight: float
    probability: float
    action: Action
    is_distinct: bool = False


@dataclass(frozen=True, slots=True)
class Similar:
    """A stored customer that looks like the subject, and why."""

    row: int
    score: Score
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class Found:
    """Those who look like the subject, best first."""

    similar: tuple[Similar, ...] = ()
    compared: int = 0  # candidates
    split_blocks: int = 0  # keys that more have than are looked at


@dataclass(slots=True)
class _Candidates:
    """Rows that share keys with a subject, and how many rows have each of its points."""

    keys: Counter[int]
    split_blocks: int
    email_holders: list[int]
    phone_holders: list[int]


@dataclass(frozen=True, slots=True)
class Rules:
    """What one state of the account is compared by."""

    evidence: Evidence
    weights: Weights
    frequencies: Frequencies


class Matcher:
    """Compares the customers of one account. Of one thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rules: Rules | None = None
        self._rules_of: tuple[int, int] | None = None

    def rules(self, reads: Reads) -> Rules:
        """Return the account's model and frequencies, read anew where they changed."""
        # The default depends on how many there are: on the power of two, so that it stays a while.
        state = (reads.model_version, reads.customer_count.bit_length())
        if self._rules is None or state != self._rules_of:
            stored = reads.model()
            if stored is None or not stored.text:
                model = Model.default(1 << state[1])
            else:
                model = Model.from_json(stored.text)
            self._rules = Rules(model.evidence(), model.weights(), Frequencies(reads.frequencies()))
            self._rules_of = state
        return self._rules

    def similar(
        self,
        reads: Reads,
        subject: Subject,
        *,
        limit: int,
        candidates: int,
        least_probability: float | None = None,
    ) -> Found:
        """Return up to `limit` stored customers that look like the subject, best first.

        At most `candidates` are compared: those that share most keys. Of a person no company is
        similar, nor the other way round; nor is whoever is marked as distinct.
        """
        if not subject.features:
            return Found()
        rules = self.rules(reads)
        least = self._settings.match_review_probability
        least = least if least_probability is None else least_probability
        found = self._candidates(reads, subject)
        keys = found.keys
        keys.pop(subject.row, None)
        if subject.row and keys:
            for pair in reads.distinct_of(subject.row):
                keys.pop(pair.other, None)
        # Ties go to the older one, so that the answer does not depend on chance.
        ranked = sorted(keys, key=lambda row: (-keys[row], row))[:candidates]
        company = is_company(subject.features)
        rows, features = [], []
        for row, packed in reads.features_at(ranked):
            if is_company(packed) == company:
                rows.append(row)
                features.append(packed)
        if not rows:
            return Found((), 0, found.split_blocks)
        bits, levels, rarities = compare_with(
            self._weighed(reads, subject, found, rules), features, rules.weights
        )
        shown = [
            place
            for place in sorted(range(len(rows)), key=lambda place: (-bits[place], rows[place]))
            if probability_of(bits[place]) >= least
        ][:limit]
        explained = _explained(rules.evidence, levels, rarities, shown)
        similar = tuple(
            Similar(rows[place], self.score(bits[place]), explanation)
            for place, explanation in zip(shown, explained, strict=True)
        )
        return Found(similar, len(rows), found.split_blocks)

    def scores(self, reads: Reads, pairs: Sequence[tuple[Subject, Subject]]) -> list[Score]:
        """Return the score of each pair."""
        return [self.explained(reads, *pair, explain=False)[0] for pair in pairs]

    def explained(
        self, reads: Reads, left: Subject, right: Subject, *, explain: bool = True
    ) -> tuple[Score, Explanation | None]:
        """Return the score of one pair, and what it is made of if asked.

        A pair that is marked as distinct, or of a person and a company, is DIFFERENT whatever its
        weight. Without features (a stored customer that cannot be read) nothing speaks for it.
        """
        rules = self.rules(reads)
        distinct = bool(left.row and right.row and reads.is_distinct(left.row, right.row))
        if not left.features or not right.features:
            return Score(0.0, 0.0, Action.DIFFERENT, distinct), None
        probe = self._weighed(reads, left, self._candidates(reads, left, points_only=True), rules)
        bits, levels, rarities = compare_with(probe, [right.features], rules.weights)
        score = self.score(bits[0])
        if distinct or is_company(left.features) != is_company(right.features):
            score = score._replace(action=Action.DIFFERENT, is_distinct=distinct)
        if not explain:
            return score, None
        (explanation,) = _explained(rules.evidence, levels, rarities, [0])
        return score, explanation

    def score(self, bits: float) -> Score:
        """Return the score of a match weight."""
        probability = probability_of(bits)
        return Score(bits, probability, self.action(probability))

    def action(self, probability: float) -> Action:
        """Return what to do about a pair of a probability."""
        if probability >= self._settings.match_same_probability:
            return Action.SAME
        if probability >= self._settings.match_review_probability:
            return Action.REVIEW
        return Action.DIFFERENT

    def _candidates(
        self, reads: Reads, subject: Subject, *, points_only: bool = False
    ) -> _Candidates:
        """Find the rows that share a point or a blocking key, the subject's own among them."""
        limit = self._settings.match_block_rows
        found = _Candidates(Counter(), 0, [], [])
        own = 0 if subject.row else 1
        emails, phones = _probe.sizes(subject.features)
        held = subject.held
        for channel, normal in dict.fromkeys(held.normals[: held.own]):
            holders, most = (
                (found.email_holders, emails)
                if channel is Channel.EMAIL
                else (found.phone_holders, phones)
            )
            if len(holders) == most:
                continue
            key = match_key(channel, normal)
            rows = reads.sharing(channel, normal, key, 0, limit + 1)
            if len(rows) > limit:
                # Its blocking keys lead to those of them that share more.
                found.split_blocks += 1
                most_counted = self._settings.count_limit_rows
                holders.append(own + reads.count_sharing(channel, normal, key, most_counted))
                continue
            holders.append(own + len(rows))
            for row in rows:
                found.keys[row] += POINT_KEYS
        if not points_only:
            for block in reads.blocks(block_keys(subject.features), limit):
                found.split_blocks += block.size > limit
                found.keys.update(block.rows)
        return found

    def _weighed(self, reads: Reads, subject: Subject, found: _Candidates, rules: Rules) -> bytes:
        """Return the subject's features with how rare its values are in the account."""
        return rules.frequencies.weighed(
            subject.features, found.email_holders, found.phone_holders, reads.customer_count
        )


def probability_of(bits: float) -> float:
    """Return the probability that a match weight stands for."""
    return 1.0 / (1.0 + math.exp2(min(-bits, 1_000.0)))


def _explained(
    evidence: Evidence, levels: bytes, rarities: bytes, places: Iterable[int]
) -> list[Explanation]:
    chosen = list(places)
    if not chosen:
        return []
    return explain_all(
        evidence,
        np.frombuffer(levels, np.uint8).reshape(-1, FIELDS)[chosen],
        np.frombuffer(rarities, np.uint8).reshape(-1, FIELDS)[chosen],
    )
