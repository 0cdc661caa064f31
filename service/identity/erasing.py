"""What a customer that is deleted left in the histories of others.

As long as it was part of a survivor, what happened to that one's card is told with what came from
it, and so it is of whom the survivor was merged into meanwhile. When it was given back, that
remained. It is taken out where neither card has it, the survivor's before the merge or that after
the unmerge: the history still leads from the one to the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from service.core.model import Codec
from service.identity.bonds import merge_record, record_of
from service.index import ChangeKind, HistoryEntry, PutDiff, Reads, View

STEP_ENTRIES = 100  # of a history, read at once
NEVER_US = 1 << 63


class Stay(NamedTuple):
    """From which change on a row was part of a survivor, and until when."""

    survivor: int  # row
    sequence: int
    began_us: int
    until_us: int


def erased(row: int, view: View, codec: Codec) -> list[PutDiff]:
    """Return what has to be rewritten when a customer, with all its members, is deleted."""
    if next(view.merges(), None) is None:
        return []
    view.flush()
    tree = view.tree(row)
    eraser = _Eraser(view, codec, frozenset(tree))
    for one in tree:
        eraser.forget(one)
    return [PutDiff(*place, diff) for place, diff in eraser.diffs.items()]


@dataclass(slots=True)
class _Eraser:
    """Collects what histories are to say; those of rows that go themselves stay as they are."""

    reads: Reads
    codec: Codec
    going: frozenset[int]
    diffs: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def forget(self, row: int) -> None:
        """Take out what a row left behind."""
        for stay in self._stays(row):
            if stay.survivor in self.going:
                continue  # and what that one carried is of its own card
            gone = self._card(row, stay.sequence)
            for each in {stay, *self._carried(stay)}:
                if each.survivor not in self.going:
                    self._erase(each, gone)

    def _stays(self, row: int) -> Iterator[Stay]:
        """Yield when a row was part of which survivor, newest first."""
        until_us = NEVER_US
        for entry in self._entries(row):
            if entry.kind is ChangeKind.RESTORED:
                until_us = entry.time_us
            elif entry.kind is ChangeKind.MERGED:
                survivor = self._survivor(entry.sequence)
                if survivor not in (row, 0):
                    yield Stay(survivor, entry.sequence, entry.time_us, until_us)

    def _survivor(self, sequence: int) -> int:
        stored = self.reads.merge(sequence)
        return 0 if stored is None else self.reads.row_of(merge_record(stored).survivor) or 0

    def _carried(self, stay: Stay) -> Iterator[Stay]:
        """Yield where a survivor took its members to while it had them."""
        for further in self._stays(stay.survivor):
            if further.sequence > stay.sequence and further.began_us <= stay.until_us:
                until = further._replace(until_us=min(further.until_us, stay.until_us))
                yield until
                yield from self._carried(until)

    def _erase(self, stay: Stay, gone: bytes) -> None:
        """Rewrite the history of a survivor from a merge to its end."""
        row = stay.survivor
        if not self._is_there(row):
            return
        entries = [
            entry
            for entry in self._entries(row)
            if entry.sequence >= stay.sequence and entry.time_us <= stay.until_us
        ]
        if not entries:
            return
        after = self._card(row, entries[0].sequence)
        before = self._card(row, entries[-1].sequence - 1)
        for entry in entries:
            place = row, entry.sequence
            diff = self.diffs.get(place, entry.diff)
            if diff:
                self.diffs[place] = self.codec.erased(diff, gone, (before, after))

    def _is_there(self, row: int) -> bool:
        return self.reads.record(row) is not None or self.reads.merged(row) is not None

    def _card(self, row: int, sequence: int) -> bytes:
        """Return what a row's card was after a change."""
        card = record_of(self.reads, row)
        for entry in self._entries(row):
            if entry.sequence <= sequence:
                break
            card = self.codec.taken_back(card, entry.diff)
        return card

    def _entries(self, row: int) -> Iterator[HistoryEntry]:
        """Yield a history, newest first."""
        entries: Sequence[HistoryEntry] = self.reads.history(row, limit=STEP_ENTRIES)
        while entries:
            yield from entries
            entries = self.reads.history(row, entries[-1].sequence, STEP_ENTRIES)
