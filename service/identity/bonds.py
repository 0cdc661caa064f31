"""What is kept of merges: the bond of a survivor with its members, and each merge for itself."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from struct import Struct, error
from typing import NamedTuple

from service.core.model import Step
from service.errors import FormatMismatch, StorageFault
from service.index import Reads

_VERSION = 1
_HEAD = Struct(">BI")


class Member(NamedTuple):
    """A customer that was merged into another."""

    row: int
    id: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One merge into a survivor, as far as its members were not given back."""

    members: tuple[Member, ...]
    choices: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Bond:
    """A survivor with members: the card that it would have without them, and the merges so far."""

    own: bytes
    stages: tuple[Stage, ...] = ()

    @property
    def members(self) -> list[Member]:
        """All members, in order."""
        return [member for stage in self.stages for member in stage.members]

    def steps(self, reads: Reads, instead: Mapping[int, bytes] | None = None) -> list[Step]:
        """Return the merges with the members' cards: as they are stored, or those of `instead`."""
        given = instead or {}
        return [
            Step(
                tuple((id, given.get(row) or record_of(reads, row)) for row, id in stage.members),
                stage.choices,
            )
            for stage in self.stages
        ]

    def without(self, rows: Collection[int]) -> Bond:
        """Return the bond without some members."""
        stages = (
            replace(stage, members=tuple(one for one in stage.members if one.row not in rows))
            for stage in self.stages
        )
        return replace(self, stages=tuple(stage for stage in stages if stage.members))

    def encoded(self) -> bytes | None:
        """Return what is stored of it; None where there is no member left."""
        if not self.stages:
            return None
        stages = json.dumps([[stage.members, stage.choices] for stage in self.stages]).encode()
        return _HEAD.pack(_VERSION, len(stages)) + stages + self.own


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


def bond_of(reads: Reads, row: int) -> Bond | None:
    """Return a survivor's bond, None for a customer without members."""
    stored = reads.bond(row)
    if stored is None:
        return None
    _check_version(stored, "bonds")
    try:
        _, size = _HEAD.unpack_from(stored)
        end = _HEAD.size + size
        stages = tuple(
            Stage(
                tuple(Member(*member) for member in members),
                tuple((name, id) for name, id in choices),
            )
            for members, choices in json.loads(stored[_HEAD.size : end])
        )
    except (ValueError, TypeError, error) as fault:
        raise StorageFault("A value of bonds is damaged") from fault
    return Bond(stored[end:], stages)


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
