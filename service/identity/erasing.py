"""What a customer that is deleted left with others.

As long as it was part of a survivor, what happened to that one's card is told with what came from
it, and so it is of whom the survivor was merged into meanwhile. When it was given back, that
remained. It is taken out where neither card has it, the survivor's before the merge or that after
the unmerge: the history still leads from the one to the other. Where others were part of it at the
time who are deleted too, it is the card before all and after all of them: what two of them had in
common neither leaves.

Why it was merged or given back was said in words, which may be about it: they go too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from service.core.model import Codec
from service.identity.bonds import merge_record, record_of
from service.index import ChangeKind, HistoryEntry, Mutation, PutMerge, Reads, Reword, State, View

STEP_ENTRIES = 100  # of a history, read at once
NEVER_US = 1 << 63


class Stay(NamedTuple):
    """From which change on a row was part of a survivor, and until when."""

    survivor: int  # row
    sequence: int
    began_us: int
    until_us: int


@dataclass(slots=True)
class _Span:
    """A time of a survivor's history in which customers were part of it, with their cards."""

    sequence: int
    began_us: int
    until_us: int
    gone: list[bytes] = field(default_factory=list)
    ends_us: set[int] = field(default_factory=set)  # of each who goes now


def erased(row: int, view: View, codec: Codec) -> list[Mutation]:
    """Return what has to be rewritten when a customer, with all its members, is deleted.

    What is read for it is bounded by the histories of those who are deleted, of the survivors that
    they were part of, and of all others who ever were part of these.
    """
    if next(view.merges(), None) is None:
        return []
    view.flush()
    tree = view.tree(row)
    eraser = _Eraser(view, codec, frozenset(tree))
    for one in tree:
        eraser.forget(one)
    eraser.erase()
    return eraser.mutations()


@dataclass(slots=True)
class _Eraser:
    """Collects what is to be put; histories of rows that go themselves stay as they are."""

    reads: Reads
    codec: Codec
    going: frozenset[int]
    _left: dict[int, list[_Span]] = field(default_factory=dict)  # survivor → what was left there
    _merges: dict[int, bytes] = field(default_factory=dict)
    _entries: dict[tuple[int, int], HistoryEntry] = field(default_factory=dict)
    _stays: dict[int, list[Stay]] = field(default_factory=dict)

    def mutations(self) -> list[Mutation]:
        """Return what is to be put."""
        entries = [
            Reword(row, entry.sequence, entry.diff, entry.reason)
            for (row, _), entry in self._entries.items()
        ]
        return [*entries, *(PutMerge(*merge) for merge in self._merges.items())]

    # Whom it concerns

    def forget(self, row: int) -> None:
        """Find what a row left behind, and take the words out of its merges."""
        for entry in self._history(row):
            if entry.kind is ChangeKind.MERGED:
                self._forget_words(entry.sequence)
            elif entry.kind is ChangeKind.UNMERGED:
                self._forget_release(row, entry)
        for stay in self._stays_of(row):
            gone = self._cards(row, stay)
            for each in self._carried(stay):
                if each.survivor not in self.going and self._is_there(each.survivor):
                    span = _Span(*each[1:], [*gone], {each.until_us})
                    self._left.setdefault(each.survivor, []).append(span)

    def _carried(self, stay: Stay) -> Iterable[Stay]:
        """Return a stay, and where the survivor took its members to while it had them."""
        found, left = {stay}, [stay]
        while left:
            one = left.pop()
            for further in self._stays_of(one.survivor):
                if further.sequence > one.sequence and further.began_us <= one.until_us:
                    until = further._replace(until_us=min(further.until_us, one.until_us))
                    if until not in found:
                        found.add(until)
                        left.append(until)
        return found

    def _stays_of(self, row: int) -> list[Stay]:
        if row not in self._stays:
            self._stays[row] = list(self._stays_in(row))
        return self._stays[row]

    def _stays_in(self, row: int) -> Iterator[Stay]:
        """Yield when a row was part of which survivor, newest first."""
        until_us = NEVER_US
        for entry in self._history(row):
            if entry.kind is ChangeKind.RESTORED:
                until_us = entry.time_us
            elif entry.kind is ChangeKind.MERGED:
                survivor = self._survivor(entry.sequence)
                if survivor not in (row, 0):
                    yield Stay(survivor, entry.sequence, entry.time_us, until_us)

    def _survivor(self, sequence: int) -> int:
        stored = self.reads.merge(sequence)
        return 0 if stored is None else self.reads.row_of(merge_record(stored).survivor) or 0

    def _is_there(self, row: int) -> bool:
        return self.reads.record(row) is not None or self.reads.merged(row) is not None

    # What was said of it

    def _forget_words(self, sequence: int) -> None:
        """Empty the words of a merge, in its record and in the survivor's history."""
        stored = self.reads.merge(sequence)
        if stored is None:
            return
        record = merge_record(stored)
        self._merges[sequence] = record.wordless().encoded()
        self._forget_reason(self.reads.row_of(record.survivor), sequence, sequence)

    def _forget_release(self, row: int, unmerged: HistoryEntry) -> None:
        """Empty the reason of an unmerge with all who were given back: one was given for all."""
        self._forget_reason(row, unmerged.sequence, unmerged.sequence)
        ids = self.codec.noted_members(unmerged.diff)
        last = unmerged.sequence + len(ids)  # they took the sequences that follow
        for id in ids:
            self._forget_reason(self.reads.row_of(id), unmerged.sequence + 1, last)

    def _forget_reason(self, row: int | None, first: int, last: int) -> None:
        """Empty the reason of the one change of a row that is among these."""
        if row is None or row in self.going or not self._is_there(row):
            return
        for entry in self.reads.history(row, last + 1, 1):
            if entry.sequence >= first:
                self._put(row, self._latest(row, entry)._replace(reason=""))

    def _latest(self, row: int, entry: HistoryEntry) -> HistoryEntry:
        return self._entries.get((row, entry.sequence), entry)

    def _put(self, row: int, entry: HistoryEntry) -> None:
        self._entries[row, entry.sequence] = entry

    # What it left

    def erase(self) -> None:
        """Rewrite the histories of survivors."""
        self._add_others()
        for row, left in self._left.items():
            self._erase(row, _united(left))

    def _add_others(self) -> None:
        """Find when customers were part of the survivors that are deleted already.

        Also as members of their members; each row is looked at once.
        """
        seen = set(self._left)
        left = [*seen]
        while left:
            one = left.pop()
            for stay in self._stays_at(one):
                for each in self._carried(stay):
                    if each.survivor in self._left:
                        self._left[each.survivor].append(_Span(*each[1:]))
            members = self._members_ever(one) - seen
            seen |= members
            left += members

    def _stays_at(self, row: int) -> Iterator[Stay]:
        """Yield when customers were merged into a survivor that are deleted."""
        until: dict[str, int] = {}
        for entry in self._history(row):
            if entry.kind is ChangeKind.UNMERGED:
                ids = self.codec.noted_members(entry.diff)
                gone = (id for id in ids if self.reads.find(id).state is State.DELETED)
                until |= dict.fromkeys(gone, entry.time_us)
            elif entry.kind is ChangeKind.MERGED:
                for id in self.codec.noted_members(entry.diff):
                    if id in until:
                        yield Stay(row, entry.sequence, entry.time_us, until.pop(id))

    def _members_ever(self, row: int) -> set[int]:
        """Return who was merged into a survivor, but for those who are deleted or go."""
        merges = (entry.diff for entry in self._history(row) if entry.kind is ChangeKind.MERGED)
        ids = (id for diff in merges for id in self.codec.noted_members(diff))
        rows = {self.reads.row_of(id) or 0 for id in ids} - self.going
        return {one for one in rows if self._is_there(one)}

    def _erase(self, row: int, spans: list[_Span]) -> None:
        """Rewrite a history at some times, of which none is in another; oldest first."""
        card, after, within = record_of(self.reads, row), b"", list[HistoryEntry]()
        for entry in self._history(row):
            while spans and entry.sequence < spans[-1].sequence:
                self._rewrite(row, spans.pop(), card, after, within)
                within = []
            if not spans:
                return
            if entry.time_us <= spans[-1].until_us:
                after = card if not within else after
                within.append(entry)
            card = self.codec.taken_back(card, entry.diff)

    def _rewrite(
        self, row: int, span: _Span, before: bytes, after: bytes, within: Sequence[HistoryEntry]
    ) -> None:
        """Rewrite what leads from one card to another."""
        if not span.gone or not within:
            return  # of those who are deleted already this is done
        forget = self.codec.forgetting(span.gone, before, after)
        for entry in within:
            latest = self._latest(row, entry)
            if entry.diff:
                self._put(row, latest._replace(diff=forget(entry.diff)))
            if entry.kind is ChangeKind.UNMERGED and entry.time_us in span.ends_us:
                self._forget_release(row, entry)

    def _cards(self, row: int, stay: Stay) -> list[bytes]:
        """Return what a row's card was in a stay: another where members of its own left."""
        card, found = record_of(self.reads, row), list[bytes]()
        for entry in self._history(row):
            if entry.time_us <= stay.until_us:
                found.append(card)
            if entry.sequence <= stay.sequence:
                break
            card = self.codec.taken_back(card, entry.diff)
        return found

    def _history(self, row: int) -> Iterator[HistoryEntry]:
        """Yield a history, newest first."""
        entries: Sequence[HistoryEntry] = self.reads.history(row, limit=STEP_ENTRIES)
        while entries:
            yield from entries
            entries = self.reads.history(row, entries[-1].sequence, STEP_ENTRIES)


def _united(spans: Iterable[_Span]) -> list[_Span]:
    """Return times of which none is in another, oldest first: those that meet are one."""
    found: list[_Span] = []
    for span in sorted(spans, key=lambda one: one.sequence):
        if found and span.began_us <= found[-1].until_us:
            found[-1].until_us = max(found[-1].until_us, span.until_us)
            found[-1].gone += span.gone
            found[-1].ends_us |= span.ends_us
        else:
            found.append(span)
    return found
