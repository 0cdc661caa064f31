"""Whether the account's policy merges a group of customers that look the same.

A group has all who are surely the same as anybody in it, so that it is the same one whoever of it
is looked at. It is merged whole or left to a person: where any two of it are less sure than the
policy wants, marked as distinct or archived, where it is too large, or where one was given back by
an unmerge before, for somebody knew better.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from service.core.explain import Explanation
from service.core.model import Codec
from service.identity.matching import Action, Matcher, Score, Subject
from service.identity.merging import Asked
from service.identity.policy import Policy
from service.index import Reads
from service.settings import Settings

WORDS = 6  # of either kind, of the weakest link
PIECE_S = 0.005  # how long a large group may keep the event loop
PAIR = 2  # customers without whom there is no group


class Outcome(StrEnum):
    """What came of a look at a customer or a group."""

    MERGED = "merged"
    ALONE = "alone"  # nobody is like it
    OFF = "off"  # the policy does not want it any more
    # Left to a person, or to a scan:
    LARGE = "large"  # more than the policy merges at once
    UNSURE = "unsure"  # some two of the group
    DISTINCT = "distinct"
    ARCHIVED = "archived"
    GIVEN_BACK = "given_back"
    CONFLICT = "conflict"  # MergeConflict, or the card would break a rule
    CHANGED = "changed"  # by others in between, time and again
    CROWDED = "crowded"  # the queue was full: left to a scan
    FAILED = "failed"  # storage, or a bug; see the log


LEFT = frozenset(
    {
        Outcome.LARGE, Outcome.UNSURE, Outcome.DISTINCT, Outcome.ARCHIVED, Outcome.GIVEN_BACK,
        Outcome.CONFLICT, Outcome.CHANGED, Outcome.FAILED,
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

    async def like(self, row: int, reads: Reads, policy: Policy) -> Collection[int]:
        """Return the group of a customer, or no more of it than shows that it is too large."""
        return await self._closed((row,), reads, policy)

    async def together(self, rows: Sequence[int], reads: Reads, policy: Policy) -> Collection[int]:
        """Return the group of the customers that the rows of a scan belong to now."""
        live = {reads.live_row(row) for row in rows} - {0}
        return live if len(live) < PAIR else await self._closed(live, reads, policy)

    async def _closed(self, rows: Collection[int], reads: Reads, policy: Policy) -> set[int]:
        """Return some customers, those who are surely the same, those who these are, and so on."""
        group, left, pace = set(rows), deque(rows), _Pace()
        while left and len(group) <= policy.group_limit:
            new = self._alike(left.popleft(), reads, policy) - group
            group |= new
            left += sorted(new)
            await pace.keep()
        return group

    def _alike(self, row: int, reads: Reads, policy: Policy) -> set[int]:
        """Return those who are surely the same as a customer, also who is marked as distinct.

        For where one is told from another of a group, all of it is left.
        """
        subject = self._subject(reads, row)
        if subject is None:
            return set()
        found = self._matcher.similar(
            reads,
            subject,
            limit=policy.group_limit,
            candidates=self._settings.match_candidates,
            block_rows=self._settings.match_block_rows,
            least_probability=policy.least_probability,
            with_distinct=True,
        )
        return {one.row for one in found.similar}

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
        belonging = await _belonging(reads, rows)
        if await _is_told_apart(reads, belonging):
            return Outcome.DISTINCT
        weakest = await self._weakest(reads, subjects, policy.least_probability)
        if weakest is None:
            return Outcome.UNSURE
        if any(self._is_archived(reads.record(row) or b"") for row in rows):
            return Outcome.ARCHIVED
        if await _was_given_back(reads, belonging):
            return Outcome.GIVEN_BACK
        score, explanation = self._matcher.explained(reads, *weakest, distinct=False)
        asked = tuple(Asked(one.held.id, one.held.etag) for one in subjects)
        return Group(asked, score.probability, _words(explanation))

    async def _weakest(
        self, reads: Reads, subjects: Sequence[Subject], least: float
    ) -> tuple[Subject, Subject] | None:
        """Return the least sure pair of a group, None where that is less than the policy wants."""
        found: list[tuple[float, tuple[Subject, Subject]]] = []
        pace = _Pace()
        for pair in combinations(subjects, 2):
            score, _ = self._matcher.explained(reads, *pair, explain=False, distinct=False)
            if not _is_sure(score, least):
                return None
            found.append((score.weight, pair))
            await pace.keep()
        return min(found, key=lambda one: one[0])[1]


class _Pace:
    """Lets others have the event loop once it was kept for a while."""

    def __init__(self) -> None:
        self._since_s = time.perf_counter()

    async def keep(self) -> None:
        """Call it after each of many short steps."""
        if time.perf_counter() - self._since_s > PIECE_S:
            await asyncio.sleep(0)
            self._since_s = time.perf_counter()


def _is_sure(score: Score, least: float) -> bool:
    return score.probability >= least and score.action is not Action.DIFFERENT


def _words(explanation: Explanation | None) -> tuple[str, ...]:
    """Return what speaks for a pair and then what speaks against it, in words without values."""
    if explanation is None:
        return ()
    shown = explanation.speaking_for[:WORDS] + explanation.speaking_against[:WORDS]
    return tuple(one.words for one in shown)


async def _belonging(reads: Reads, rows: Sequence[int]) -> dict[int, int]:
    """Return all rows of the customers' trees, each with its customer's."""
    belonging: dict[int, int] = {}
    pace = _Pace()
    for row in rows:
        left = [row]
        while left:
            belonging[left[-1]] = row
            left += reads.members(left.pop())
            await pace.keep()
    return belonging


async def _is_told_apart(reads: Reads, belonging: Mapping[int, int]) -> bool:
    """Tell whether somebody marked two of the customers, or any of their trees, as distinct."""
    rows = sorted(belonging)
    pace = _Pace()
    for row, customer in belonging.items():
        if any(belonging[other] != customer for other in reads.marked_among(row, rows)):
            return True
        await pace.keep()
    return False


async def _was_given_back(reads: Reads, belonging: Mapping[int, int]) -> bool:
    """Tell whether somebody unmerged a customer, or any that belongs to it now."""
    pace = _Pace()
    for row in belonging:
        if reads.was_restored(row):
            return True
        await pace.keep()
    return False
