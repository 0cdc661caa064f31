"""Whether the account's policy merges a group of customers that look the same.

It is merged whole or left to a person: where any two of it are less sure than the policy wants,
marked as distinct or archived, where it is too large, or where one was given back by an unmerge
before, for somebody knew better.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from service.core.explain import Explanation
from service.core.model import Codec
from service.identity.matching import Action, Matcher, Score, Subject
from service.identity.merging import Asked
from service.identity.policy import Policy
from service.index import ChangeKind, Reads
from service.settings import Settings

WORDS = 6  # of either kind, of the weakest link
PIECE_S = 0.005  # how long a large group may keep the event loop
HISTORY_STEP = 100
PAIR = 2  # customers without whom there is no group


class Outcome(StrEnum):
    """What came of a look at a customer or a group."""

    MERGED = "merged"
    ALONE = "alone"  # nobody is like it
    OFF = "off"  # the policy does not want it any more
    # Left to a person, but for the last two:
    LARGE = "large"  # more than the policy merges at once
    UNSURE = "unsure"  # some two of the group
    DISTINCT = "distinct"
    ARCHIVED = "archived"
    GIVEN_BACK = "given_back"
    CONFLICT = "conflict"  # MergeConflict, or the card would break a rule
    CHANGED = "changed"  # by somebody in between, whose save is looked at then
    CROWDED = "crowded"  # the queue was full: left to a scan
    FAILED = "failed"  # storage, or a bug; see the log


LEFT = frozenset(
    {
        Outcome.LARGE, Outcome.UNSURE, Outcome.DISTINCT, Outcome.ARCHIVED, Outcome.GIVEN_BACK,
        Outcome.CONFLICT, Outcome.CHANGED,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Group:
    """Customers to merge, the oldest first, and why."""

    customers: tuple[Asked, ...]
    probability: float  # of the weakest link
    words: tuple[str, ...]


class Judge:
    """Judges groups of one account. Of one thread."""

    def __init__(
        self,
        matcher: Matcher,
        codec: Codec,
        is_archived: Callable[[bytes], bool],
        settings: Settings,
    ) -> None:
        self._matcher = matcher
        self._codec = codec
        self._is_archived = is_archived
        self._settings = settings

    def like(self, row: int, reads: Reads, policy: Policy) -> Iterable[int]:
        """Return a row and those that are surely the same; no more than show that it is large."""
        subject = self._subject(reads, row)
        if subject is None:
            return ()
        found = self._matcher.similar(
            reads,
            subject,
            limit=policy.group_limit,
            candidates=self._settings.match_candidates,
            block_rows=self._settings.match_block_rows,
            least_probability=policy.least_probability,
        )
        return (row, *(one.row for one in found.similar))

    def together(self, rows: Sequence[int], reads: Reads, _policy: Policy) -> Iterable[int]:
        """Return the customers that the rows of a scan belong to now."""
        return {reads.live_row(row) for row in rows} - {0}

    def _subject(self, reads: Reads, row: int) -> Subject | None:
        record = reads.record(row)
        if record is None:
            return None
        return Subject(reads.features_of(row), self._codec.held(record), row)

    async def judge(self, reads: Reads, rows: Sequence[int], policy: Policy) -> Group | Outcome:
        """Return a group that the policy merges, or what came of it."""
        if len(rows) < PAIR:
            return Outcome.ALONE
        if len(rows) > policy.group_limit:
            return Outcome.LARGE
        subjects = [one for row in rows if (one := self._subject(reads, row)) is not None]
        if len(subjects) < len(rows):
            return Outcome.CHANGED
        weakest = await self._weakest(reads, subjects, policy.least_probability)
        if isinstance(weakest, Outcome):
            return weakest
        if any(self._is_archived(reads.record(row) or b"") for row in rows):
            return Outcome.ARCHIVED
        if any(_was_given_back(reads, row) for row in rows):
            return Outcome.GIVEN_BACK
        score, explanation = self._matcher.explained(reads, *weakest)
        asked = tuple(Asked(one.held.id, one.held.etag) for one in subjects)
        return Group(asked, score.probability, _words(explanation))

    async def _weakest(
        self, reads: Reads, subjects: Sequence[Subject], least: float
    ) -> tuple[Subject, Subject] | Outcome:
        """Return the least sure pair of a group; UNSURE or DISTINCT where one stands against it."""
        found: list[tuple[float, tuple[Subject, Subject]]] = []
        since_s = time.perf_counter()
        for left, right in combinations(subjects, 2):
            score, _ = self._matcher.explained(reads, left, right, explain=False)
            if not _is_sure(score, least):
                return Outcome.DISTINCT if score.is_distinct else Outcome.UNSURE
            found.append((score.weight, (left, right)))
            if time.perf_counter() - since_s > PIECE_S:
                await asyncio.sleep(0)
                since_s = time.perf_counter()
        return min(found, key=lambda one: one[0])[1]


def _is_sure(score: Score, least: float) -> bool:
    return score.probability >= least and score.action is not Action.DIFFERENT


def _words(explanation: Explanation | None) -> tuple[str, ...]:
    """Return what speaks for a pair and then what speaks against it, in words without values."""
    if explanation is None:
        return ()
    shown = explanation.speaking_for[:WORDS] + explanation.speaking_against[:WORDS]
    return tuple(one.words for one in shown)


def _was_given_back(reads: Reads, row: int) -> bool:
    """Tell whether somebody unmerged a customer, or any that belongs to it now."""
    for one in reads.tree(row):
        entries = reads.history(one, limit=HISTORY_STEP)
        while entries:
            if any(entry.kind is ChangeKind.RESTORED for entry in entries):
                return True
            entries = reads.history(one, entries[-1].sequence, HISTORY_STEP)
    return False
