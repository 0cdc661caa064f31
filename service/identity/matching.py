"""Who looks like a customer: candidates by blocking keys, scores by the account's model, why.

`Matcher.similar` is the whole story: find the rows that share an e-mail, a phone or a blocking key
with the subject; keep the bounded number that share most; read their packed features; compare. What
the model is, and how rare values are in the account, is read when the stored model changes.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from service.core import _probe
from service.core._match import Weights, compare_with
from service.core._probe import Frequencies, block_keys, is_company
from service.core.explain import Explanation, explain_some
from service.core.match import Evidence, Model
from service.core.model import Channel, Held
from service.core.prepare import match_key
from service.identity.lookup import Sharing
from service.index import Reads
from service.settings import Settings

RULES_LIFE_S = 1.0  # how long a worker may not notice that another changed the model
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


@dataclass(frozen=True, slots=True)
class Rules:
    """What one state of the account is compared by."""

    evidence: Evidence
    weights: Weights
    frequencies: Frequencies
    records: int  # customers of the account


class _Candidates:
    """Rows that share keys with a subject, and how many rows have each of its points."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.keys: Counter[int] = Counter()  # of each row; the subject's own is among them
        self.split_blocks = 0
        self._holders: dict[tuple[Channel, str], int] = {}
        held = subject.held
        self._points = list(dict.fromkeys(held.normals[: held.own]))

    def look_points_up(self, reads: Reads, limit: int, count_limit: int) -> None:
        """Find who shares an e-mail or phone; of more than `limit` none is a candidate by it."""
        for channel, normal in self._points:
            key = match_key(channel, normal)
            rows = reads.sharing(channel, normal, key, 0, limit + 1)
            if len(rows) > limit:
                # Blocking keys lead to those of them that share more.
                self.split_blocks += 1
                count = reads.count_sharing(channel, normal, key, count_limit)
            else:
                # The subject too, which may not be stored, or not with this point.
                count = len(rows) + (self._subject.row not in rows)
                self._add(rows)
            self._holders[channel, normal] = count

    def take_points(self, shared: Sequence[Sharing]) -> None:
        """Take who shares them from groups that were found before."""
        for group in shared:
            if isinstance(group.query.what, Channel):
                self._holders[group.query.what, group.query.normal] = group.count + 1
                self.split_blocks += group.after_row != 0
                self._add(group.rows)

    def _add(self, rows: Iterable[int]) -> None:
        for row in rows:
            self.keys[row] += POINT_KEYS

    def look_blocks_up(self, reads: Reads, limit: int) -> None:
        """Find who shares a blocking key."""
        for block in reads.blocks(block_keys(self._subject.features), limit):
            self.split_blocks += block.size > limit
            self.keys.update(block.rows)

    def probe(self, rules: Rules) -> bytes:
        """Return the subject's features with how rare its values are in the account."""
        emails, phones = _probe.sizes(self._subject.features)
        return rules.frequencies.weighed(
            self._subject.features,
            self._of(Channel.EMAIL)[:emails],
            self._of(Channel.PHONE)[:phones],
            rules.records,
        )

    def _of(self, channel: Channel) -> list[int]:
        held = self._subject.held  # in which a number stands once for each of its extensions
        own = held.normals[: held.own]
        return [self._holders.get(point, 1) for point in own if point[0] is channel]


class Matcher:
    """Compares the customers of one account. Of one thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rules: Rules | None = None
        self._rules_of: tuple[int, int] | None = None
        self._fresh_until_s = 0.0

    def rules(self, reads: Reads) -> Rules:
        """Return the account's model and frequencies, looked for anew once a second."""
        now_s = time.monotonic()
        if self._rules is None or now_s >= self._fresh_until_s:
            self._fresh_until_s = now_s + RULES_LIFE_S
            # The default depends on how many there are: on the power of two, so that it stays.
            state = (reads.model_version, reads.customer_count.bit_length())
            if self._rules is None or state != self._rules_of:
                self._rules, self._rules_of = _read_rules(reads), state
        return self._rules

    def forget(self) -> None:
        """Look for the model anew at the next call: it was changed."""
        self._fresh_until_s = 0.0

    def similar(
        self,
        reads: Reads,
        subject: Subject,
        *,
        limit: int,
        candidates: int,
        block_rows: int,
        least_probability: float | None = None,
        shared: Sequence[Sharing] | None = None,
        with_distinct: bool = False,
    ) -> Found:
        """Return up to `limit` stored customers that look like the subject, best first.

        At most `candidates` are compared: those that share most keys. Of a key that more than
        `block_rows` have, those are candidates that share its second key too. `shared` are those
        who share the subject's points, where that was looked up before. Of a person no company is
        similar, nor the other way round; nor, unless asked for, is whoever is marked as distinct.
        """
        if not subject.features:
            return Found()
        rules = self.rules(reads)
        least = self._settings.match_review_probability
        least = least if least_probability is None else least_probability
        found = _Candidates(subject)
        if shared is None:
            found.look_points_up(reads, block_rows, self._settings.count_limit_rows)
        else:
            found.take_points(shared)
        found.look_blocks_up(reads, block_rows)
        keys = found.keys
        keys.pop(subject.row, None)
        if subject.row and keys and not with_distinct:
            for pair in reads.distinct_of(subject.row):
                keys.pop(pair.other, None)
        # Ties go to the older one, so that the answer does not depend on chance.
        ranked = sorted(keys, key=lambda row: (-keys[row], row))[:candidates]
        company = is_company(subject.features)
        rows, features = [], []
        for row, packed in reads.features_at(ranked):
            if packed and is_company(packed) == company:
                rows.append(row)
                features.append(rules.frequencies.headed(packed))
        if not rows:
            return Found((), 0, found.split_blocks)
        bits, levels, rarities = compare_with(found.probe(rules), features, rules.weights)
        shown = [
            place
            for place in sorted(range(len(rows)), key=lambda place: (-bits[place], rows[place]))
            if probability_of(bits[place]) >= least
        ][:limit]
        explained = explain_some(rules.evidence, levels, rarities, shown)
        similar = tuple(
            Similar(rows[place], self.score(bits[place]), explanation)
            for place, explanation in zip(shown, explained, strict=True)
        )
        return Found(similar, len(rows), found.split_blocks)

    def scores(self, reads: Reads, pairs: Sequence[tuple[Subject, Subject]]) -> list[Score]:
        """Return the score of each pair."""
        return [self.explained(reads, *pair, explain=False)[0] for pair in pairs]

    def explained(
        self,
        reads: Reads,
        left: Subject,
        right: Subject,
        *,
        explain: bool = True,
        distinct: bool | None = None,
    ) -> tuple[Score, Explanation | None]:
        """Return the score of one pair, and what it is made of if asked.

        A pair that is marked as distinct, or of a person and a company, is DIFFERENT whatever its
        weight; `distinct` says whether it is marked where that was looked up before. Without
        features (a stored customer that cannot be read) nothing speaks for it.
        """
        rules = self.rules(reads)
        if distinct is None:
            distinct = bool(left.row and right.row and reads.is_distinct(left.row, right.row))
        if not left.features or not right.features:
            return Score(0.0, 0.0, Action.DIFFERENT, distinct), None
        found = _Candidates(left)
        settings = self._settings
        found.look_points_up(reads, settings.match_block_rows, settings.count_limit_rows)
        probe = found.probe(rules)
        bits, levels, rarities = compare_with(
            probe, [rules.frequencies.headed(right.features)], rules.weights
        )
        score = self.score(bits[0])
        if distinct or is_company(left.features) != is_company(right.features):
            score = score._replace(action=Action.DIFFERENT, is_distinct=distinct)
        if not explain:
            return score, None
        (explanation,) = explain_some(rules.evidence, levels, rarities, [0])
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


def probability_of(bits: float) -> float:
    """Return the probability that a match weight stands for."""
    return 1.0 / (1.0 + math.exp2(min(-bits, 1_000.0)))


def _read_rules(reads: Reads) -> Rules:
    records, stored = reads.customer_count, reads.model()
    if stored is None or not stored.text:
        model = Model.default(1 << records.bit_length())
    else:
        model = Model.from_json(stored.text)
    frequencies = Frequencies(reads.frequencies())
    return Rules(model.evidence(), model.weights(), frequencies, records)
