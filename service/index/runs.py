"""Sorted runs: where entries of bulk imports stand, beside the B-trees `identities` and `blocks`.

A bulk import puts a dozen entries a row at random places. In a B-tree each touches a page of its
own, and every commit writes all of them anew: the larger the index, the slower. So they are put as
immutable sorted runs, which are merged as they grow (a log-structured merge tree: O'Neil, Cheng,
Gawlick and O'Neil, 1996). Saves put into the B-trees; reads ask both. A pair stands in one place
only. One that is taken away from a run is marked as retired, until a merge drops both.

A merge goes on in steps, inside the transactions that add runs. The groups that are done are read
from its output and deleted from its inputs, the others are read from the inputs: so at each commit
every entry is in one place, and any process goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import lmdb

from service.errors import StorageFault
from service.index import layout
from service.index._lmdb import Calls
from service.index._runs import FILTER_BITS, LINE_BITS, Spans, SpanTable, identity_hash
from service.index.layout import ROW_BITS, ROW_MASK, Buffer, Manifest, Merge, Run, RunKind

FIRST_MAX = (1 << 64) - 1
ENTRY_BYTES = 16
SECRET_BYTES = 16

#: Number, bits, group bits, lines, and which keys of a run count: the first and the last.
Span = tuple[int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Shape:
    """How runs are laid out and merged; they can be read whatever it is.

    With these a hundred million entries make some twenty runs, and each was written five times.
    """

    chunk_entries: int = 4_096  # at most, on average: 64 KiB, of which a look-up reads some lines
    chunk_bits: int = 4  # 2 to this: chunks that are merged in one step and share a filter, 1 MiB
    growth: int = 8  # runs of a size class that are merged into one of the next; at most 16
    pace: int = 3  # merged of each class for each entry added: it ends before it is due again
    step_entries: int = 16_384  # merged of each class at least: small merges end at once

    def run(self, number: int, entries: int) -> Run:
        """Return a run that has room for so many entries, with none so far."""
        bits = 0
        while entries >> bits > self.chunk_entries:
            bits += 1
        group_bits = max(0, bits - self.chunk_bits)
        lines = -(-(entries >> group_bits) * FILTER_BITS // LINE_BITS)
        return Run(number, bits, group_bits, max(1, lines), 0)

    def size_class(self, entries: int) -> int:
        """Return the class of runs that one is merged with."""
        size_class = 0
        while entries > self.chunk_entries:
            entries //= self.growth
            size_class += 1
        return size_class


SHAPE = Shape()


class Runs:
    """The runs of one kind, within one transaction. `add`, `tend` and `retire` need a writing one.

    What they change is read from here at once, and by other transactions after `put_manifest`.
    Raises StorageFault or FormatMismatch where the file is damaged.
    """

    def __init__(
        self,
        calls: Calls,
        meta: lmdb._Database,
        runs: lmdb._Database,
        retired: lmdb._Database,
        kind: RunKind,
    ) -> None:
        self._calls = calls
        self._meta = meta
        self._runs = runs
        self._retired = retired
        self._kind = kind
        self._stored, table = _stored_runs(calls.get(meta, layout.META_RUNS[kind]))
        self._ask(self._stored, table)

    def _see(self, manifest: Manifest) -> None:
        self._ask(manifest, SpanTable(spans_of(manifest)))

    def _ask(self, manifest: Manifest, table: SpanTable) -> None:
        self.manifest = manifest
        self.any = bool(manifest.runs)
        self._asked = Spans(
            self._calls, self._runs, self._retired, self._kind, table, manifest.retired > 0
        )

    # Look-ups: a tail has 16 bits above the row

    @property
    def entries(self) -> int:
        """Number of live entries."""
        return sum(run.entries for run in self.manifest.runs) - self.manifest.retired

    def count(self, first: int, low: int = 0, high: int = FIRST_MAX) -> int:
        """Count the live entries of a key with tails from `low` to `high`."""
        return self._asked.count(first, low, high)

    def tails(self, first: int, low: int, high: int, limit: int) -> list[int]:
        """Return up to `limit` live tails of a key from `low` to `high`, ascending."""
        return self._asked.tails(first, low, high, limit)

    def rows(self, keys: Sequence[bytes], secret: bytes, after_row: int, limit: int) -> list[int]:
        """Return the distinct rows under any of some identities keys: `Reads.rows_under`."""
        return self._asked.rows(keys, secret, after_row, limit)

    def blocks(
        self, keys: Sequence[tuple[bytes, int]], sizes: Sequence[int], limit: int
    ) -> list[tuple[int, list[int]]]:
        """Return for each (blocking key, second key) how many entries there are, and which.

        `sizes` stand elsewhere. Of more than `limit` together those with that second key, if it is
        not 0; at most `limit`.
        """
        return self._asked.blocks(keys, sizes, limit)

    def held(self, keys: Buffer, count: int) -> bytearray:
        """Tell of many hashes at once whether a live entry has them: a byte each, 1 or 0."""
        return self._asked.held(keys, count)

    def holders(self, first: int, tail: int) -> int:
        """Count the runs that have an entry, retired or not: one, unless the index is damaged."""
        return self._asked.holders(first, tail)

    def is_retired(self, first: int, tail: int) -> bool:
        """Tell whether an entry is marked."""
        return self.manifest.retired > 0 and self._calls.has(
            self._retired, layout.pack_retired(self._kind, first, tail)
        )

    def holds(self, first: int, tail: int) -> bool:
        """Tell whether there is a live entry."""
        return self.any and self.count(first, tail, tail) > 0

    # Writing

    def add(self, entries: Buffer, shape: Shape = SHAPE) -> None:
        """Add entries, in any order, as a run; and go on with the merges that are due.

        None of them may stand anywhere yet, or be retired: they are of new rows.
        """
        size = memoryview(entries).nbytes // ENTRY_BYTES
        if not len(entries):
            return
        seen = self.manifest
        run = shape.run(seen.next_number, size)
        run = replace(run, entries=self._asked.write(_span(run), entries))
        self._see(replace(seen, next_number=run.number + 1, runs=(*seen.runs, run)))
        self.tend(size, shape)

    def tend(self, added: int, shape: Shape = SHAPE) -> None:
        """Begin merges that are due, and go on with each for so many entries as were added."""
        credit = max(added * shape.pace, shape.step_entries)
        tended: set[int] = set()
        while True:
            self._begin_merges(shape)
            due = [m for m in self.manifest.merges if m.output not in tended]
            if not due:
                return
            for merge in due:
                tended.add(merge.output)
                self._go_on(replace(merge, credit=merge.credit + credit))

    def _begin_merges(self, shape: Shape) -> None:
        """Merge the runs of each size class that has enough of them."""
        outputs = {merge.output for merge in self.manifest.merges}
        classes: dict[int, list[Run]] = {}
        for run in self.manifest.runs:
            if not run.into and run.number not in outputs:
                classes.setdefault(shape.size_class(run.entries), []).append(run)
        for size_class in sorted(classes):
            while len(classes[size_class]) >= shape.growth:
                inputs = classes[size_class][: shape.growth]
                del classes[size_class][: shape.growth]
                self._begin(inputs, shape)

    def _begin(self, inputs: Sequence[Run], shape: Shape) -> None:
        seen = self.manifest
        output = shape.run(seen.next_number, sum(run.entries for run in inputs))
        runs = [replace(r, into=output.number) if r in inputs else r for r in seen.runs]
        self.manifest = replace(
            seen,
            next_number=output.number + 1,
            runs=(*runs, output),
            merges=(*seen.merges, Merge(output.number)),
        )

    def _go_on(self, merge: Merge) -> None:
        """Merge group after group while there is credit."""
        runs = {run.number: run for run in self.manifest.runs}
        output = runs[merge.output]
        inputs = [run for run in self.manifest.runs if run.into == merge.output]
        retired, end = self.manifest.retired, 1 << output.group_bits
        while merge.done < end:
            left = sum(run.entries for run in inputs)
            cost = left // (end - merge.done)
            if cost > merge.credit:
                break
            consumed, written, dropped = self._asked.merge(
                [_span(run) for run in inputs], _span(output), merge.done
            )
            inputs = [
                replace(run, entries=run.entries - taken)
                for run, taken in zip(inputs, consumed, strict=True)
            ]
            output = replace(output, entries=output.entries + written)
            merge = replace(merge, done=merge.done + 1, credit=merge.credit - sum(consumed))
            retired -= dropped
        self._note(merge, output, inputs, retired, ended=merge.done == end)

    def _note(
        self, merge: Merge, output: Run, inputs: Sequence[Run], retired: int, *, ended: bool
    ) -> None:
        """Let the manifest say how far a merge is, or that it has ended."""
        if retired < 0 or any(run.entries < 0 or (ended and run.entries) for run in inputs):
            raise StorageFault("A sorted run of the index is damaged: verify it")
        now = {run.number: run for run in (*inputs, output)}
        runs = [now.get(run.number, run) for run in self.manifest.runs]
        merges = [m for m in self.manifest.merges if m.output != merge.output]
        if ended:
            runs = [run for run in runs if run.into != merge.output]
        else:
            merges.append(replace(merge, credit=max(merge.credit, 0)))
        self._see(replace(self.manifest, retired=retired, runs=tuple(runs), merges=tuple(merges)))

    def retire(self, first: int, tail: int) -> None:
        """Take an entry away; nothing happens where no run has it."""
        if not self.holds(first, tail):
            return
        self._calls.put(self._retired, layout.pack_retired(self._kind, first, tail), b"")
        seen = self.manifest
        self.manifest = replace(seen, retired=seen.retired + 1)
        if not seen.retired:
            self._see(self.manifest)  # look-ups ask for marks from now on

    def put_manifest(self) -> None:
        """Let later transactions see what was done."""
        if self.manifest is not self._stored:
            stored = layout.encode_manifest(self.manifest)
            self._calls.put(self._meta, layout.META_RUNS[self._kind], stored)
            self._stored = self.manifest

    # Verification

    def chunks(self) -> Iterator[bytes]:
        """Iterate the entries that count, retired ones included, a chunk at a time.

        Raises StorageFault at a damaged one, also where a run has not as many as it should.
        """
        for run, span in zip(self.manifest.runs, self.spans_of_runs(), strict=True):
            left = run.entries
            for chunk in range(1 << run.bits):
                entries = b"" if span is None else self._asked.chunk(span, chunk)
                left -= len(entries) // ENTRY_BYTES
                yield entries
            if left:
                raise StorageFault("A sorted run of the index has too few entries, or too many")

    def spans_of_runs(self) -> list[Span | None]:
        """Return which part of each run counts, None for none."""
        spans = {span[0]: span for span in spans_of(self.manifest)}
        return [spans.get(run.number) for run in self.manifest.runs]


@lru_cache(16)
def _stored_runs(stored: bytes | None) -> tuple[Manifest, SpanTable]:
    """Read a manifest that many transactions see."""
    manifest = Manifest() if stored is None else layout.decode_manifest(stored)
    return manifest, SpanTable(spans_of(manifest))


def spans_of(manifest: Manifest) -> list[Span]:
    """Return the runs and which part of each counts, without those of which none does."""
    outputs = {run.number: run for run in manifest.runs}
    borders = {
        merge.output: merge.done << (64 - outputs[merge.output].group_bits)
        for merge in manifest.merges
    }
    spans = []
    for run in manifest.runs:
        low = borders[run.into] if run.into else 0
        high = borders.get(run.number, FIRST_MAX + 1) - 1
        if low <= high:
            spans.append(_span(run, low, high))
    return spans


def _span(run: Run, low: int = 0, high: int = FIRST_MAX) -> Span:
    return run.number, run.bits, run.group_bits, run.lines, low, high


def entries_of(chunk: bytes) -> Iterator[tuple[int, int]]:
    """Iterate (first, tail) of a chunk."""
    words = memoryview(chunk).cast("Q")
    return zip(words[::2], words[1::2], strict=True)


def identity_range(key: bytes, secret: bytes, after_row: int = 0) -> tuple[int, int, int]:
    """Return `first`, and between which tails the rows of an identities key above one stand."""
    first, tail = identity_hash(key, secret)
    return first, tail << ROW_BITS | after_row + 1, tail << ROW_BITS | ROW_MASK


def identity_entry(key: bytes, secret: bytes, row: int) -> tuple[int, int]:
    """Return the entry of a row under an identities key."""
    first, tail = identity_hash(key, secret)
    return first, tail << ROW_BITS | row
