"""Taking back all that one run of the account's policy merged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import islice

from service.errors import (
    Deleted,
    IdentityExclusive,
    InvalidArgument,
    NotFound,
    NotMerged,
    StaleEtag,
    StorageFault,
    UnmergeConflict,
)
from service.identity.bonds import MergeRecord, merge_record
from service.identity.merging import Merger, Why
from service.identity.operations import Done, Operation, Progress
from service.index import Index, Reads

LOOK_MERGES = 1_000  # of a snapshot and a turn in the event loop


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

    async def check(self) -> None:
        """Raise NotFound where no merge is of this run."""
        async with aclosing(self._merges()) as merges:
            async for _ in merges:
                return
        raise NotFound("no merge is of this run", field="run")

    async def work(self, _operation: Operation, progress: Progress) -> Done:
        """Take back merge after merge, newest first."""
        counts = {"undone": 0, "undone_before": 0, "conflicts": 0}
        merges = [sequence async for sequence in self._merges()]
        for number, sequence in enumerate(merges):
            counts[await self._undo(sequence)] += 1
            progress.tell("unmerging", (number + 1) / len(merges), merges=counts["undone"])
        return Done(counts)

    async def _undo(self, sequence: int) -> str:
        while left := self._left(sequence):
            try:
                await self._merger.unmerge(
                    left, {}, "", self._why, mark_distinct=self._mark_distinct
                )
            except (UnmergeConflict, InvalidArgument, IdentityExclusive, StaleEtag):
                return "conflicts"
            except (Deleted, NotFound, NotMerged):
                continue  # one of them was given back or deleted just now: look again
            return "undone"
        return "undone_before"

    def _left(self, sequence: int) -> list[str]:
        """Return whom a merge still holds."""
        with self._index.snapshot() as snapshot:
            record = _record(snapshot, sequence)
            return [
                id
                for id in record.members
                if id not in record.undone and snapshot.merged(snapshot.row_of(id) or 0)
            ]

    async def _merges(self) -> AsyncGenerator[int, None]:
        """Iterate the sequences of the run's merges, newest first; others have their turns."""
        before = 0
        while True:
            with self._index.snapshot() as snapshot:
                merges = snapshot.merges(before) if before else snapshot.merges()
                looked = list(islice(merges, LOOK_MERGES))
            for sequence, stored in looked:
                if merge_record(stored).run == self._run:
                    yield sequence
            if len(looked) < LOOK_MERGES:
                return
            before, _ = looked[-1]
            await asyncio.sleep(0)


def _record(reads: Reads, sequence: int) -> MergeRecord:
    stored = reads.merge(sequence)
    if stored is None:
        raise StorageFault("A merge is not there")
    return merge_record(stored)
