"""Scans: all customers of an account in groups, each of one person or company.

A scan is long work. Its groups are written under its number, a few thousand rows to a commit, so
that card saves need not wait; the commit that ends it makes them the account's groups. Those of the
scan before are removed after that, and those of a scan that came to no end before the next one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from tempfile import TemporaryFile
from typing import BinaryIO

from service.errors import InvalidArgument, NotFound, ScanUnderWay, StorageFault
from service.identity import due
from service.identity.child import decode_group, parts, rows_in, run_apart
from service.identity.matching import probability_of
from service.identity.operations import Done, Operation, Operations, Progress
from service.index import (
    Decision,
    DropGroups,
    Index,
    Mutation,
    PutGroups,
    PutOperation,
    Reads,
    View,
)
from service.settings import Settings

KIND = "scan"
READ_STEP_GROUPS = 100

_KEY = "scans"  # in the table of operations, whose own names begin otherwise
_VERSION = b"\x01"


@dataclass(frozen=True, slots=True)
class Scan:
    """The scan whose groups are the account's. `number` 0: there is none."""

    number: int = 0
    operation: str = ""
    groups: int = 0
    #: Numbers of others whose groups are in the index, or may be, and have to go.
    stale: tuple[int, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Group:
    """Customers that a scan took for one."""

    rank: int  # from 1 on; 1 is the surest
    probability: float  # of the weakest link that holds it together
    rows: tuple[int, ...]  # ascending, which is oldest first


class Scans:
    """Begins scans of one account."""

    def __init__(self, index: Index, operations: Operations, settings: Settings) -> None:
        self._index = index
        self._operations = operations
        self._settings = settings

    async def start(self, least_probability: float, actor: str) -> Operation:
        """Begin to group all customers; raise InvalidArgument, ScanUnderWay or LimitExceeded.

        `least_probability` is that of two customers of a group; 0: the threshold for a review.
        """
        least = least_probability or self._settings.match_review_probability
        if not 0.0 < least < 1.0:
            raise InvalidArgument("is above 0 and below 1", field="least_probability")
        return await self._operations.start(
            KIND, {"least_probability": least}, actor, self._work, ScanUnderWay
        )

    async def _work(self, operation: Operation, progress: Progress) -> Done:
        number = operation.start_us  # no other operation of the account has it
        await self._drop_stale()
        with TemporaryFile(dir=self._index.folder) as scratch:
            result = await run_apart(
                KIND, operation.parameters, self._index.folder, self._settings, scratch,
                lambda said: progress.tell(said["step"], said["share"], **said["counts"]),
            )  # fmt: skip
            await self._submit(partial(_decide_stale, number))
            await self._write(number, scratch, int(result["groups"]), progress)
        scan = Scan(number, operation.name, int(result["groups"]))
        return Done(dict(result), partial(_adopt, scan), self._drop_stale)

    async def _write(self, number: int, scratch: BinaryIO, total: int, progress: Progress) -> None:
        rank = 1
        for chunk in self._chunks(scratch):
            progress.tell("writing", (rank - 1) / total)
            await self._submit(partial(_decide_write, PutGroups(number, rank, chunk)))
            rank += len(chunk)
        if rank - 1 != total:
            raise StorageFault("the file of a scan is cut short")

    def _chunks(self, scratch: BinaryIO) -> Iterator[list[bytes]]:
        chunk: list[bytes] = []
        rows = 0
        for group in parts(scratch):
            if chunk and rows + rows_in(group) > self._settings.scan_write_rows:
                yield chunk
                chunk, rows = [], 0
            chunk.append(group)
            rows += rows_in(group)
        if chunk:
            yield chunk

    async def _drop_stale(self) -> None:
        """Remove the groups of scans that are not the account's, a few to a commit."""
        groups_at_once = max(1, self._settings.scan_write_rows // 2)
        with self._index.snapshot() as snapshot:
            stale = current(snapshot).stale
        for number in stale:
            while await self._submit(partial(_decide_drop, number, groups_at_once)):
                pass

    async def _submit(self, decide: partial[Decision[bool]]) -> bool:
        (outcome,) = await self._index.submit([decide])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def current(reads: Reads) -> Scan:
    """Return the scan whose groups are the account's."""
    stored = reads.operation(_KEY)
    if stored is None:
        return Scan()
    try:
        known = json.loads(stored.removeprefix(_VERSION))
        return Scan(**{**known, "stale": tuple(known["stale"])})
    except (ValueError, TypeError, KeyError) as error:
        raise StorageFault("A value of operations is damaged") from error


def chosen(reads: Reads, operation: str) -> Scan:
    """Return the scan of an operation, by default the last that is done; raise NotFound."""
    scan = current(reads)
    if not scan.number or operation not in ("", scan.operation):
        raise NotFound(
            "there is no such scan, it is not done, or a later one took its place",
            field="operation",
        )
    return scan


def groups(reads: Reads, scan: Scan, after_rank: int, least: float, most: float) -> Iterator[Group]:
    """Yield the groups below a rank, surest first, whose probability is within both bounds."""
    rank = max(after_rank, _first_within(reads, scan, most))
    while found := reads.groups(scan.number, rank, READ_STEP_GROUPS):
        for rank, stored in found:
            group = _group(rank, stored)
            if group.probability < least:
                return
            yield group


def _first_within(reads: Reads, scan: Scan, most: float) -> int:
    """Return the rank before the first group of at most this probability: they only fall."""
    low, high = 0, scan.groups
    while low < high:
        middle = (low + high) // 2
        found = reads.groups(scan.number, middle, 1)
        if found and _group(*found[0]).probability > most:
            low = middle + 1
        else:
            high = middle
    return low


def still_together(reads: Reads, rows: Sequence[int]) -> list[int]:
    """Return the rows without those that somebody marked as distinct from an older one since."""
    apart: set[int] = set()
    for row in rows:
        if row not in apart:
            apart.update(pair.other for pair in reads.distinct_of(row, after=row))
    return [row for row in rows if row not in apart]


def _group(rank: int, stored: bytes) -> Group:
    bits, rows = decode_group(stored)
    return Group(rank, probability_of(bits), rows)


def _put(scan: Scan) -> PutOperation:
    return PutOperation(_KEY, _VERSION + json.dumps(asdict(scan)).encode())


def _adopt(scan: Scan, view: View) -> Sequence[Mutation]:
    """Make a scan's groups those of the account."""
    before = current(view)
    stale = {*before.stale, before.number} - {scan.number, 0}
    adopted = Scan(scan.number, scan.operation, scan.groups, tuple(sorted(stale)))
    return _put(adopted), *due.scan_over(view, scan.operation)


def _decide_stale(number: int, view: View) -> Decision[bool]:
    """Note that groups will be written that have to go again unless they are adopted."""
    scan = current(view)
    stale = tuple(sorted({*scan.stale, number}))
    return Decision(True, (_put(Scan(scan.number, scan.operation, scan.groups, stale)),))


def _decide_write(put: PutGroups, _view: View) -> Decision[bool]:
    return Decision(True, (put,))


def _decide_drop(number: int, limit: int, view: View) -> Decision[bool]:
    """Remove some groups; tell whether there may be more."""
    scan = current(view)
    if number not in scan.stale:
        return Decision(False)
    if view.groups(number, 0, 1):
        return Decision(True, (DropGroups(number, limit),))
    stale = tuple(one for one in scan.stale if one != number)
    return Decision(False, (_put(Scan(scan.number, scan.operation, scan.groups, stale)),))
