"""Taking back all that one run of the account's policy merged."""

from __future__ import annotations

from collections.abc import Iterator

from service.errors import InvalidArgument, NotFound, StorageFault, UnmergeConflict
from service.identity.bonds import MergeRecord, merge_record
from service.identity.merging import Merger, Why
from service.identity.operations import Done, Operation, Progress
from service.index import Index, Reads


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
