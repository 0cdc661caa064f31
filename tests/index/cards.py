"""A small customer for index tests: JSON records, match-key rules of two lines, saving by id."""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

from namesake import v1
from service.core.model import Channel, Held, Identity
from service.core.prepare import features
from service.errors import Deleted, NotFound
from service.index import (
    Absorb,
    ChangeKind,
    Decide,
    Decision,
    Delete,
    Fault,
    Index,
    Put,
    PutBond,
    PutEntries,
    PutRows,
    Release,
    RunKind,
    Shape,
    Snapshot,
    State,
    View,
    layout,
    wall_clock_us,
)
from service.index.runs import entries_of, identity_entry
from service.index.store import Clock
from service.settings import Settings


def bounds(**changed: int) -> Settings:
    """Return defaults with a 1 GiB map and some bounds changed."""
    return Settings.model_validate({"map_size": 1 << 30} | changed)


SETTINGS = bounds()

#: Sorted runs with many levels and groups after some hundred entries, whose merges go on for long.
TINY = Shape(chunk_entries=4, chunk_bits=1, growth=3, pace=3, step_entries=0)


def match_key(channel: Channel, normal: str) -> str:
    """Dots of an e-mail's local part do not count, nor does Mexico's old mobile 1."""
    if channel is Channel.PHONE:
        return "+52" + normal[4:] if normal.startswith("+521") else normal
    local, _, domain = normal.rpartition("@")
    return f"{local.replace('.', '')}@{domain}"


@dataclass(frozen=True)
class Person:
    """What a test says of a customer."""

    id: str
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    pending: tuple[str, ...] = ()
    note: str = ""

    @property
    def record(self) -> bytes:
        """The stored record."""
        return json.dumps(asdict(self)).encode()

    @property
    def held(self) -> Held:
        """What the index keeps of it."""
        points = [(Channel.EMAIL, email) for email in self.emails]
        points += [(Channel.PHONE, phone) for phone in self.phones]
        identities = tuple(Identity(kind, value) for kind, value in self.others)
        return Held(self.id, "", tuple(points), identities, self.pending)


def read(record: bytes) -> Person:
    """Read a record back."""
    stored = json.loads(record)
    return Person(
        stored["id"],
        tuple(stored["emails"]),
        tuple(stored["phones"]),
        tuple((kind, value) for kind, value in stored["others"]),
        tuple(stored["pending"]),
        stored["note"],
    )


class JsonCodec:
    """The part of a codec that the index needs."""

    def held(self, record: bytes) -> Held:
        """Read back what the index keeps of a record."""
        return read(record).held

    def features(self, records: Sequence[bytes]) -> list[bytes]:
        """Return what is compared of each record, packed; b"" of one that cannot be read."""
        return [features_of(record) for record in records]


def features_of(record: bytes) -> bytes:
    """Return what is compared of a record: the points, the id as the name, the note as a street."""
    try:
        person = read(record)
    except ValueError:
        return b""
    card = v1.Customer(first_name=person.note, last_name=person.id)
    for email in person.emails:
        card.emails.add(normal=email)
    for phone in person.phones:
        card.phones.add(normal=phone)
    return features([card.SerializeToString()])[0]


@dataclass(frozen=True)
class Saved:
    """Outcome of a save."""

    row: int
    sequence: int
    time_us: int


def open_index(
    folder: Path,
    settings: Settings = SETTINGS,
    clock: Clock | None = None,
    shape: Shape = TINY,
) -> Index:
    """Open with this module's rules."""
    return Index.open(folder, settings, match_key, clock or wall_clock_us, shape)


@asynccontextmanager
async def opened(
    folder: Path, settings: Settings = SETTINGS, clock: Clock | None = None
) -> AsyncIterator[Index]:
    """Open and close again."""
    index = open_index(folder, settings, clock)
    try:
        yield index
    finally:
        await index.close()


class OneRow:
    """Stands in for an `Intake`, which reads encoded customers: a row of these records."""

    count = 1

    def __init__(self, index: Index, person: Person) -> None:
        self._person = person
        self._entries = index.entries_of(person.held)
        self._secret = index.hash_secret

    def create(
        self, calls: Any, tables: Any, first: int, end: int, row: int, sequence: int, now_us: int,
        actor: bytes, *_: bytes,
    ) -> int:  # fmt: skip
        """Put the row."""
        assert (first, end) == (0, 1)
        self._row = row
        id, features = self._person.id.encode(), features_of(self._person.record)
        at, change = layout.pack_u64(row), layout.pack_u64(sequence)
        event = layout.encode_event(ChangeKind.CREATED, row, now_us, actor, id)
        entry = layout.encode_history(ChangeKind.CREATED, now_us, actor, b"", b"")
        for table, key, value in (
            (tables.ids, id, at),
            (tables.customers, at, self._person.record),
            (tables.features, at, layout.encode_features(features)),
            (tables.changes, change, event),
            (tables.history, at + change, entry),
        ):
            calls.put(table, key, value)
        if awaited := [(domain.encode(), row) for domain in sorted(self._entries.pending)]:
            calls.put(tables.waiting, at, layout.encode_waiting(awaited))
        return 1

    def entries(self) -> tuple[bytes, bytes]:
        """Return its entries for runs."""
        row, features = self._row, features_of(self._person.record)
        identities = [identity_entry(key, self._secret, row) for key in self._entries.keys]
        blocks = [layout.block_pair(*pair) for pair in layout.block_entries(features, row)]
        return _packed(identities), _packed(blocks)


def _packed(entries: Sequence[tuple[int, int]]) -> bytes:
    return array("Q", chain.from_iterable(entries)).tobytes()


def save(
    index: Index, person: Person, actor: str = "", reason: str = "", *, bulk: bool = False
) -> Decide[Saved]:
    """Create the customer, as one of many or not, or replace the one of this id."""
    new = index.entries_of(person.held)

    def decide(view: View) -> Decision[Saved]:
        found = view.find(person.id)
        outcome = Saved(found.row or view.next_row, view.next_sequence, view.now_us)
        if found.state is State.DELETED:
            raise Deleted("gone")
        if found.state is State.MISSING and bulk:
            row = cast(Any, OneRow(index, person))
            return Decision(outcome, (PutRows(row, 0, 1, b"", actor), PutEntries(row)))
        if found.state is State.MISSING:
            put = Put(
                None, person.id, person.record, new, actor=actor, reason=reason,
                features=features_of(person.record),
            )  # fmt: skip
            return Decision(outcome, (put,))
        stored = view.record(found.row)
        assert stored is not None
        old = index.entries_of(read(stored).held)
        put = Put(
            found.row, found.id, person.record, new, old,
            ChangeKind.UPDATED, b"diff", actor, reason, features_of(person.record),
        )  # fmt: skip
        return Decision(outcome, (put,))

    return decide


def remove(index: Index, id: str, actor: str = "", reason: str = "") -> Decide[Saved]:
    """Delete the customer of this id."""

    def decide(view: View) -> Decision[Saved]:
        row = view.row_of(id)
        stored = None if row is None else view.record(row)
        if row is None or stored is None:
            raise NotFound("no such customer")
        outcome = Saved(row, view.next_sequence, view.now_us)
        old = index.entries_of(read(stored).held)
        return Decision(outcome, (Delete(row, id, old, actor, reason),))

    return decide


async def submit_one(index: Index, decide: Decide[Saved]) -> Saved:
    """Submit one decision; raise what it raised."""
    (outcome,) = await index.submit([decide])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def save_all(index: Index, people: Sequence[Person], *, bulk: bool = False) -> list[Saved]:
    """Save in one submission; raise what the first bad one raised."""
    saved: list[Saved] = []
    for outcome in await index.submit([save(index, person, bulk=bulk) for person in people]):
        if isinstance(outcome, Exception):
            raise outcome
        saved.append(outcome)
    return saved


def faults(index: Index) -> list[Fault]:
    """Verify and return the faults alone."""
    return [step for step in index.verify(JsonCodec()) if isinstance(step, Fault)]


def all_blocks(snapshot: Snapshot) -> list[tuple[bytes, bytes]]:
    """Return the entries of all blocks, those of sorted runs too."""
    runs = snapshot.runs(RunKind.BLOCKS)
    pairs = [pair for chunk in runs.chunks() for pair in entries_of(chunk)]
    in_runs = [
        (first.to_bytes(8, sys.byteorder), layout.pack_u64(tail))
        for first, tail in pairs
        if not runs.is_retired(first, tail)
    ]
    with snapshot.cursor("blocks") as cursor:
        return sorted([*cursor.iternext(), *in_runs])


def merge(index: Index, id: str, survivor: str) -> Decide[None]:
    """Let a customer be part of another, whose card stays as it is."""

    def decide(view: View) -> Decision[None]:
        row, other = view.find(id).row, view.find(survivor).row
        stored, card = view.record(row), view.record(other)
        assert stored is not None
        assert card is not None
        old, entries = index.entries_of(read(stored).held), index.entries_of(read(card).held)
        put = Put(other, survivor, card, entries, entries, ChangeKind.MERGED)
        absorb = Absorb(row, id, old, other, survivor, view.next_sequence, 0)
        return Decision(None, (put, absorb, PutBond(other, view.next_sequence, b"bond")))

    return decide


def release(index: Index, id: str, survivor: str) -> Decide[None]:
    """Give the one member of a customer back, as it was."""

    def decide(view: View) -> Decision[None]:
        row, other = view.row_of(id), view.find(survivor).row
        assert row is not None
        merged, card = view.merged(row), view.record(other)
        assert merged is not None
        assert card is not None
        entries = index.entries_of(read(card).held)
        put = Put(other, survivor, card, entries, entries, ChangeKind.UNMERGED)
        own = index.entries_of(read(merged.record).held)
        back = Release(row, id, merged.record, own, features_of(merged.record))
        return Decision(None, (put, PutBond(other, merged.sequence, None), back))

    return decide
