"""The account's rules for merging by itself: what they are, and taking back what they merged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial

from service.errors import (
    FormatMismatch,
    InvalidArgument,
    NotFound,
    StorageFault,
    UnmergeConflict,
)
from service.identity.bonds import MergeRecord, merge_record
from service.identity.merging import Merger, Why
from service.identity.operations import Done, Operation, Progress
from service.index import Decision, Index, PutOperation, Reads, View

_KEY = "merge-policy"  # in the table of operations, whose own names begin otherwise
_VERSION = b"\x01"


@dataclass(frozen=True, slots=True)
class Policy:
    """When the account merges by itself. Off unless somebody says so."""

    on_save: bool = False
    on_import: bool = False
    on_scan: bool = False
    least_probability: float = 0.999
    group_limit: int = 5
    merges_a_minute: int = 100

    def checked(self) -> Policy:
        """Return it with defaults for what is 0; raise InvalidArgument."""
        usual = Policy()
        policy = replace(
            self,
            least_probability=self.least_probability or usual.least_probability,
            group_limit=self.group_limit or usual.group_limit,
            merges_a_minute=self.merges_a_minute or usual.merges_a_minute,
        )
        for name, low, high in (
            ("least_probability", 0.5, 1.0),
            ("group_limit", 2, 100),
            ("merges_a_minute", 1, 10_000),
        ):
            if not low <= getattr(policy, name) <= high:
                raise InvalidArgument(f"{low} to {high}", field=f"policy.{name}")
        return policy


def policy_of(reads: Reads) -> Policy:
    """Return the policy in force."""
    stored = reads.operation(_KEY)
    if stored is None:
        return Policy()
    if stored[:1] != _VERSION:
        raise FormatMismatch("The merge policy was stored by another release: run that one")
    try:
        return Policy(**json.loads(stored[1:]))
    except (ValueError, TypeError) as error:
        raise StorageFault("A value of operations is damaged") from error


async def set_policy(index: Index, policy: Policy) -> Policy:
    """Put a policy in force; return it with its defaults."""
    checked = policy.checked()
    put = PutOperation(_KEY, _VERSION + json.dumps(asdict(checked)).encode())
    (outcome,) = await index.submit([partial(_decide, put)])
    if isinstance(outcome, Exception):
        raise outcome
    return checked


def _decide(put: PutOperation, _view: View) -> Decision[None]:
    return Decision(None, (put,))


class Undoing:
    """Takes back all merges of one run: work for `Operations`."""

    def __init__(
        self, index: Index, merger: Merger, run: str, actor: str, *, mark_distinct: bool
    ) -> None:
        self._index = index
        self._merger = merger
        self._run = run
        self._why = Why(actor, "the run was undone")
        self._mark_distinct = mark_distinct

    def check(self) -> None:
        """Raise NotFound where no merge is of this run."""
        if next(self._merges(), None) is None:
            raise NotFound("no merge is of this run", field="run")

    async def work(self, _operation: Operation, progress: Progress) -> Done:
        """Take back merge after merge, newest first."""
        counts = {"undone": 0, "undone_before": 0, "conflicts": 0}
        merges = list(self._merges())
        for number, sequence in enumerate(merges):
            counts[await self._undo(sequence)] += 1
            progress.tell("unmerging", (number + 1) / len(merges), merges=counts["undone"])
        return Done(counts)

    async def _undo(self, sequence: int) -> str:
        with self._index.snapshot() as snapshot:
            record = _record(snapshot, sequence)
            left = [
                id
                for id in record.members
                if id not in record.undone and snapshot.merged(snapshot.row_of(id) or 0)
            ]
        if not left:
            return "undone_before"
        try:
            await self._merger.unmerge(left, {}, "", self._why, mark_distinct=self._mark_distinct)
        except (UnmergeConflict, InvalidArgument):
            return "conflicts"
        return "undone"

    def _merges(self) -> Iterator[int]:
        """Iterate the sequences of the run's merges, newest first, a step of them at a time."""
        with self._index.snapshot() as snapshot:
            for sequence, stored in snapshot.merges():
                if merge_record(stored).run == self._run:
                    yield sequence


def _record(reads: Reads, sequence: int) -> MergeRecord:
    stored = reads.merge(sequence)
    if stored is None:
        raise StorageFault("A merge is not there")
    return merge_record(stored)
