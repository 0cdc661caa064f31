"""What is kept of merges: the bonds of a survivor with its members, and each merge for itself."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from struct import Struct, error
from typing import NamedTuple

from service.errors import FormatMismatch, StorageFault
from service.index import Reads

_VERSION = 1
_HEAD = Struct(">BI")


class Member(NamedTuple):
    """A customer that was merged into another."""

    row: int
    id: str


@dataclass(frozen=True, slots=True)
class Bond:
    """One merge into a survivor, with what it takes to take it back: see `core.model.Step`.

    `members` are those that were not given back.
    """

    base: bytes
    members: tuple[Member, ...]
    choices: tuple[tuple[str, str], ...] = ()
    numbers: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """Return what is stored of it."""
        numbers = [(*key, number) for key, number in self.numbers.items()]
        head = json.dumps([self.members, self.choices, numbers]).encode()
        return _HEAD.pack(_VERSION, len(head)) + head + self.base


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why the account's policy merged: by which run, how sure, and what spoke for it."""

    run: str
    probability: float
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MergeRecord:
    """A merge that was done, for ever: ids and words, no values of cards.

    The words go with the first of its customers that is deleted.
    """

    survivor: str
    members: tuple[str, ...]
    actor: str
    time_us: int
    reason: str = ""
    run: str = ""
    probability: float = 0.0
    evidence: tuple[str, ...] = ()
    undone: tuple[str, ...] = field(default=())

    def wordless(self) -> MergeRecord:
        """Return it without the words, which may say something of a customer that is deleted."""
        return replace(self, reason="", evidence=())

    def encoded(self) -> bytes:
        """Return what is stored of it."""
        return bytes([_VERSION]) + json.dumps(asdict(self)).encode()


def record_of(reads: Reads, row: int) -> bytes:
    """Return the record of a live or merged customer."""
    record = reads.record(row)
    if record is None:
        merged = reads.merged(row)
        if merged is None:
            raise StorageFault("A member of a merge is not there")
        record = merged.record
    return record


def bonds_of(reads: Reads, row: int) -> dict[int, Bond]:
    """Return the merges into a survivor by their sequences, in order; those that have members."""
    return {
        sequence: _bond(reads.bond(row, sequence), set(rows))
        for sequence, rows in reads.merges_into(row)
    }


def _bond(stored: bytes | None, rows: Collection[int]) -> Bond:
    """Read a bond as far as it is of some rows."""
    if stored is None:
        raise StorageFault("A survivor has no bond with its members")
    _check_version(stored, "bonds")
    try:
        _, size = _HEAD.unpack_from(stored)
        end = _HEAD.size + size
        members, choices, numbers = json.loads(stored[_HEAD.size : end])
        return Bond(
            stored[end:],
            tuple(Member(row, id) for row, id in members if row in rows),
            tuple((name, id) for name, id in choices),
            {(id, number): now for id, number, now in numbers},
        )
    except (ValueError, TypeError, error) as fault:
        raise StorageFault("A value of bonds is damaged") from fault


def merge_record(stored: bytes) -> MergeRecord:
    """Read a merge; raise FormatMismatch or StorageFault."""
    _check_version(stored, "merges")
    try:
        values = json.loads(stored[1:])
        lists: Sequence[str] = ("members", "evidence", "undone")
        return MergeRecord(**values | {name: tuple(values[name]) for name in lists})
    except (ValueError, TypeError, KeyError) as fault:
        raise StorageFault("A value of merges is damaged") from fault


def _check_version(stored: bytes, table: str) -> None:
    if stored[:1] != bytes([_VERSION]):
        raise FormatMismatch(f"A value of {table} was stored by another release: run that one")
