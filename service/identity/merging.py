"""Merging customers, and giving them back.

What it comes to is worked out on a snapshot; the decision, on the writer thread, only makes sure
that nobody changed anything in between, else all is done again. A merge is one transaction: nothing
that is linked to a member is moved (see `Reads.tree`), so it takes as long as its cards do.

An unmerge may concern survivors that were merged themselves: each is worked out anew, from the
one that loses members up to the live one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from service.core.model import (
    Action,
    Clash,
    Codec,
    Held,
    Outcome,
    Parted,
    Sealed,
    Step,
    Survivorship,
)
from service.errors import (
    IdentityExclusive,
    InvalidArgument,
    MergeConflict,
    NamesakeError,
    NotFound,
    NotMerged,
    StaleEtag,
    UnmergeConflict,
)
from service.identity.bonds import (
    Bond,
    Evidence,
    Member,
    MergeRecord,
    Stage,
    bond_of,
    merge_record,
    record_of,
)
from service.identity.registry import Registry, etag_of, live
from service.index import (
    Absorb,
    ChangeKind,
    Decision,
    Index,
    Mutation,
    PutBond,
    PutDistinct,
    PutMerge,
    PutMergedRecord,
    PutRequest,
    Reads,
    Release,
    State,
    View,
)
from service.settings import Settings

TRIES = 10  # of a merge that others change the customers of meanwhile
NAMED = 5  # elements that a refusal names
BY_PERSON = Evidence("", 0.0)


class Asked(NamedTuple):
    """A customer that is to be merged; the etag may be empty."""

    id: str
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be merged: the first remains. Choices as (field, id of whose value stands)."""

    customers: tuple[Asked, ...]
    choices: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Why:
    """Who merges or unmerges, and why."""

    actor: str
    reason: str = ""
    request_id: str = ""
    evidence: Evidence = BY_PERSON


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What stands in the way of a merge, as the error that it would be, and whom it concerns."""

    error: NamesakeError
    ids: tuple[str, ...]


class Looked(NamedTuple):
    """A customer as it was looked at."""

    row: int
    id: str
    record: bytes
    held: Held


@dataclass(frozen=True, slots=True)
class Prepared:
    """A merge worked out: its customers, the survivor first, its card and its bond."""

    customers: tuple[Looked, ...]
    sealed: Sealed
    bond: Bond
    seen: Mapping[int, bytes | None]  # row → its bond, as it was looked at


@dataclass(frozen=True, slots=True)
class Preview:
    """What a merge would come to. `sealed` is None where that is left open."""

    customers: tuple[Looked, ...]
    sealed: Sealed | None
    obstacles: tuple[Obstacle, ...]


class Done(NamedTuple):
    """A merge or unmerge that was done: the survivor's row, and the change's sequence."""

    row: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Parting:
    """An unmerge worked out. Survivors with their cards as parted, from the deepest to the live."""

    survivor: Looked
    released: Mapping[int, Looked]
    cards: Mapping[int, Sealed | None]  # of who is released: None: as it was
    parted: Mapping[int, Parted]
    bonds: Mapping[int, Bond]
    seen: Mapping[int, tuple[bytes, bytes | None]]  # row → its record and bond, as looked at

    @property
    def clashes(self) -> list[Clash]:
        """What somebody has to choose."""
        return [clash for parted in self.parted.values() for clash in parted.clashes]


class Merger:
    """Merges and unmerges customers of one account."""

    def __init__(
        self,
        index: Index,
        codec: Codec,
        rules: Survivorship,
        registry: Registry,
        settings: Settings,
    ) -> None:
        self._index = index
        self._codec = codec
        self._rules = rules
        self._registry = registry
        self._settings = settings

    # Merging

    def preview(self, plan: Plan) -> Preview:
        """Say what a merge would come to, and all that stands in its way."""
        self.check(plan)
        with self._index.snapshot() as snapshot:
            customers, obstacles = self._look(plan, snapshot)
            if len(customers) < len(plan.customers):
                return Preview(customers, None, tuple(obstacles))
            obstacles += _told_apart(customers, snapshot)
            sealed: Sealed | None = None
            try:
                sealed = self._unite(customers, plan)
            except MergeConflict:
                obstacles += self._exclusive(customers)
            except InvalidArgument as error:
                obstacles.append(Obstacle(error, tuple(one.id for one in customers)))
        return Preview(customers, sealed, tuple(obstacles))

    async def merge(self, plan: Plan, why: Why) -> Done:
        """Merge, whole or not at all.

        Raises NotFound, Deleted, Merged, StaleEtag, MergeConflict, or InvalidArgument where the
        plan, or the survivor's card, breaks a rule.
        """
        self.check(plan)
        with self._index.snapshot() as snapshot:
            past = snapshot.request(why.request_id)
        if past is not None:
            return Done(past.row, past.sequence)
        return await self._try(partial(self._prepare, plan), partial(self._decide, why))

    def check(self, plan: Plan) -> None:
        """Raise InvalidArgument where a plan makes no sense, whoever its customers are."""
        limit = self._settings.merge_members
        if not 2 <= len(plan.customers) <= limit + 1:
            raise InvalidArgument(f"1 to {limit} members", field="plan.members")
        ids = [one.id for one in plan.customers]
        if not all(ids):
            raise InvalidArgument("every customer has an id", field="plan")
        if len(set(ids)) < len(ids):
            raise InvalidArgument("names a customer twice", field="plan.members")
        for number, (_, id) in enumerate(plan.choices):
            if id not in ids:
                raise InvalidArgument(
                    "not a customer of the plan", field=f"plan.choices[{number}].customer_id"
                )

    def _look(self, plan: Plan, reads: Reads) -> tuple[tuple[Looked, ...], list[Obstacle]]:
        """Read the customers that are there, and say of the others why they are not."""
        customers, obstacles = [], []
        for number, (id, etag) in enumerate(plan.customers):
            field = f"plan.members[{number - 1}]" if number else "plan.priority"
            try:
                customers.append(self._looked(reads, id, etag, field))
            except NamesakeError as error:
                obstacles.append(Obstacle(error, (id,)))
        return tuple(customers), obstacles

    def _looked(self, reads: Reads, id: str, etag: str, field: str) -> Looked:
        found = live(reads.find(id), f"{field}.id")
        if found is None:
            raise NotFound("there is no customer with this id", field=f"{field}.id")
        record = record_of(reads, found.row)
        held = self._codec.held(record)
        if etag and etag != held.etag:
            raise StaleEtag("the customer changed since it was read", field=f"{field}.etag")
        return Looked(found.row, id, record, held)

    def _exclusive(self, customers: Sequence[Looked]) -> Iterator[Obstacle]:
        """Say who has different values of a type of which a customer has one."""
        for type in sorted(self._settings.exclusive_identity_types):
            holders: dict[str, str] = {}
            for one in customers:
                for identity in one.held.identities:
                    if identity.type == type:
                        holders.setdefault(identity.value, one.id)
            if len(holders) > 1:
                ids = tuple(dict.fromkeys(holders.values()))
                yield Obstacle(
                    MergeConflict(
                        "these customers have different values of an exclusive identity type",
                        field="plan.members",
                        type=type,
                        customers=",".join(ids[:NAMED]),
                    ),
                    ids,
                )

    def _unite(self, customers: Sequence[Looked], plan: Plan) -> Sealed:
        survivor, *members = customers
        step = Step(tuple((one.id, one.record) for one in members), plan.choices)
        try:
            return self._rules.unite(survivor.id, survivor.record, [step])
        except IdentityExclusive as error:
            obstacle = next(self._exclusive(customers))
            raise obstacle.error from error

    def _prepare(self, plan: Plan, reads: Reads) -> Prepared:
        customers, obstacles = self._look(plan, reads)
        for obstacle in obstacles or _told_apart(customers, reads):
            raise obstacle.error
        survivor, *members = customers
        before = bond_of(reads, survivor.row)
        own, stages = survivor.record, tuple[Stage, ...]()
        if before is not None:
            stages = before.stages
            own = self._rules.own_now(survivor.id, before.own, before.steps(reads), survivor.record)
        stage = Stage(tuple(Member(one.row, one.id) for one in members), plan.choices)
        bond = Bond(own, (*stages, stage))
        seen = {one.row: reads.bond(one.row) for one in customers}
        return Prepared(customers, self._unite(customers, plan), bond, seen)

    def _decide(self, why: Why, merge: Prepared, view: View) -> Decision[Done | None]:
        """Merge, unless somebody changed something since: then None."""
        past = view.request(why.request_id)
        if past is not None:
            return Decision(Done(past.row, past.sequence))
        for one in merge.customers:
            if view.record(one.row) != one.record or view.bond(one.row) != merge.seen[one.row]:
                return Decision(None)
        for obstacle in _told_apart(merge.customers, view):
            raise obstacle.error
        survivor, *members = merge.customers
        sequence, ids = view.next_sequence, tuple(one.id for one in members)
        put = self._rewritten(survivor, merge.sealed, ChangeKind.MERGED, ids, why, view)
        record = MergeRecord(
            survivor.id, ids, why.actor, view.now_us, why.reason,
            why.evidence.run, why.evidence.probability, why.evidence.words,
        )  # fmt: skip
        absorbed = (
            Absorb(
                one.row, one.id, self._index.entries_of(one.held), survivor.row, survivor.id,
                sequence, place, why.actor,
            )
            for place, one in enumerate(members)
        )  # fmt: skip
        done = Done(survivor.row, sequence)
        bond = PutBond(survivor.row, merge.bond.encoded())
        noted = PutMerge(sequence, record.encoded())
        return Decision(done, (put, *absorbed, bond, noted, *_remember(why, done)))

    def _rewritten(
        self,
        survivor: Looked,
        sealed: Sealed,
        kind: ChangeKind,
        ids: Sequence[str],
        why: Why,
        view: View,
    ) -> Mutation:
        diff = self._codec.note_members(self._codec.diff(survivor.record, sealed.body), ids)
        put = self._registry.rewrite(
            view, survivor.row, survivor.record, survivor.held, sealed, kind, diff, why.actor
        )
        return replace(put, reason=why.reason)

    # Unmerging

    def preview_unmerge(self, ids: Sequence[str], actions: Mapping[str, Action]) -> Parting:
        """Say what an unmerge would come to; what nobody chose is among its clashes."""
        self._check_ids(ids)
        with self._index.snapshot() as snapshot:
            return self._part(ids, actions, snapshot)

    async def unmerge(
        self,
        ids: Sequence[str],
        actions: Mapping[str, Action],
        etag: str,
        why: Why,
        *,
        mark_distinct: bool = False,
    ) -> Done:
        """Give members back, whole or not at all.

        Raises NotFound, Deleted, NotMerged, StaleEtag, UnmergeConflict, or InvalidArgument where
        the ids are not of one survivor or a card breaks a rule.
        """
        self._check_ids(ids)

        def prepare(reads: Reads) -> Parting:
            parting = self._part(ids, actions, reads)
            if etag and etag != parting.survivor.held.etag:
                raise StaleEtag("the customer changed since it was read", field="etag")
            if clashes := parting.clashes:
                raise UnmergeConflict(
                    "something of a member was edited since the merge: choose what happens to it",
                    field="choices",
                    count=str(len(clashes)),
                    fields=",".join(dict.fromkeys(c.element.partition("[")[0] for c in clashes)),
                )
            return parting

        return await self._try(prepare, partial(self._decide_unmerge, why, mark_distinct))

    def _check_ids(self, ids: Sequence[str]) -> None:
        limit = self._settings.merge_members
        if not 0 < len(ids) <= limit:
            raise InvalidArgument(f"1 to {limit} ids", field="ids")
        if len(set(ids)) < len(ids):
            raise InvalidArgument("names a customer twice", field="ids")

    def _part(self, ids: Sequence[str], actions: Mapping[str, Action], reads: Reads) -> Parting:
        released: dict[int, Looked] = {}
        for number, id in enumerate(ids):
            one = self._merged(reads, id, f"ids[{number}]")
            released[one.row] = one
        top = {reads.live_row(row) for row in released}
        if len(top) > 1:
            raise InvalidArgument("these customers are not of one survivor", field="ids")
        (row,) = top
        record = record_of(reads, row)
        held = self._codec.held(record)
        walk = _Walk(reads, self._rules, self._codec, released, actions)
        walk.part(row)
        cards = {row: walk.given.get(row) or walk.sealed(row) for row in released}
        return Parting(
            Looked(row, held.id, record, held), released, cards, walk.parted, walk.bonds, walk.seen
        )

    def _merged(self, reads: Reads, id: str, field: str) -> Looked:
        row = reads.row_of(id)
        merged = None if row is None else reads.merged(row)
        if row is None or merged is None:
            if row is None or reads.find(id).state is State.MISSING:
                raise NotFound("there is no customer with this id", field=field)
            live(reads.find(id), field)  # raises where it was deleted
            raise NotMerged("the customer is not merged", field=field)
        return Looked(row, id, merged.record, self._codec.held(merged.record))

    def _decide_unmerge(
        self, why: Why, mark_distinct: bool, parting: Parting, view: View
    ) -> Decision[Done | None]:
        """Give back, unless somebody changed something since: then None."""
        if any(_seen(view, row) != seen for row, seen in parting.seen.items()):
            return Decision(None)
        survivor, sequence = parting.survivor, view.next_sequence
        ids = [one.id for one in parting.released.values()]
        sealed = parting.parted[survivor.row].sealed
        put = self._rewritten(survivor, sealed, ChangeKind.UNMERGED, ids, why, view)
        mutations: list[Mutation] = [put]
        for row, parted in parting.parted.items():
            mutations.append(PutBond(row, replace(parting.bonds[row], own=parted.own).encoded()))
            if row != survivor.row and row not in parting.released:
                old = record_of(view, row)
                stamped = self._stamped(old, parted.sealed, sequence, view)
                diff = self._codec.note_members(self._codec.diff(old, parted.sealed.body), ids)
                mutations.append(
                    PutMergedRecord(row, stamped, sequence, diff, why.actor, why.reason)
                )
        for number, (row, one) in enumerate(parting.released.items(), sequence + 1):
            mutations.append(self._release(one, parting.cards[row], number, why, view))
            if mark_distinct and not view.is_distinct(survivor.row, row):
                reason = why.reason or "unmerged"
                mutations.append(PutDistinct(survivor.row, row, why.actor, reason))
        mutations += self._undone(parting, view)
        return Decision(Done(survivor.row, sequence), mutations)

    def _release(
        self, one: Looked, card: Sealed | None, sequence: int, why: Why, view: View
    ) -> Release:
        sealed = card or self._codec.as_it_was(one.record)
        features = sealed.features
        assert features is not None, "cards are sealed with their features"
        return Release(
            one.row, one.id, self._stamped(one.record, sealed, sequence, view),
            self._index.entries_of(sealed.held), features,
            self._codec.diff(one.record, sealed.body), why.actor, why.reason,
        )  # fmt: skip

    def _stamped(self, old: bytes, sealed: Sealed, sequence: int, view: View) -> bytes:
        return self._codec.stamp(
            sealed.body,
            id=self._codec.held(old).id,
            etag=etag_of(sequence),
            created_us=self._codec.created_us(old),
            updated_us=view.now_us,
        )

    def _undone(self, parting: Parting, view: View) -> Iterator[Mutation]:
        """Note with each merge which of its members were given back."""
        by_merge: dict[int, list[str]] = {}
        for row, one in parting.released.items():
            merged = view.merged(row)
            assert merged is not None, "seen as it was looked at"
            by_merge.setdefault(merged.sequence, []).append(one.id)
        for sequence, ids in by_merge.items():
            stored = view.merge(sequence)
            if stored is not None:
                record = merge_record(stored)
                undone = replace(record, undone=(*record.undone, *ids))
                yield PutMerge(sequence, undone.encoded())

    async def _try(
        self,
        prepare: Callable[[Reads], Prepared] | Callable[[Reads], Parting],
        decide: Callable[..., Decision[Done | None]],
    ) -> Done:
        """Work out and decide, anew as long as others change the customers in between."""
        for _ in range(TRIES):
            with self._index.snapshot() as snapshot:
                prepared = prepare(snapshot)
            (done,) = await self._index.submit([partial(decide, prepared)])
            if isinstance(done, Exception):
                raise done
            if done is not None:
                return done
        raise StaleEtag("the customers are being changed: try again")


class _Walk:
    """The cards of survivors that lose members, from the deepest up to the live one."""

    def __init__(
        self,
        reads: Reads,
        rules: Survivorship,
        codec: Codec,
        released: Mapping[int, Looked],
        actions: Mapping[str, Action],
    ) -> None:
        self._reads = reads
        self._rules = rules
        self._codec = codec
        self._released = released
        self._actions = actions
        self._concerned = self._up_from(released)
        self.parted: dict[int, Parted] = {}
        self.bonds: dict[int, Bond] = {}
        self.given: dict[int, Sealed] = {}
        self.seen: dict[int, tuple[bytes, bytes | None]] = {
            row: _seen(reads, row) for row in released
        }

    def _up_from(self, rows: Mapping[int, Looked]) -> set[int]:
        """Return the survivors of some rows, and theirs, up to the live one."""
        concerned = set()
        for row in rows:
            while (merged := self._reads.merged(row)) is not None:
                row = merged.survivor
                concerned.add(row)
        return concerned

    def part(self, row: int) -> None:
        """Work out a survivor's card, those of its members that lose members first."""
        bond, record = bond_of(self._reads, row), record_of(self._reads, row)
        assert bond is not None, "a survivor has a bond"
        self.seen[row] = _seen(self._reads, row)
        for member in bond.members:
            if member.row in self._concerned:
                self.part(member.row)
        changed = {
            member: self.parted[member.row].sealed.body
            for member in bond.members
            if member.row in self.parted
        }
        left = bond.without(self._released)
        held = self._codec.held(record)
        instead = {member.row: body for member, body in changed.items()}
        parted = self._rules.part(
            held.id, bond.own, bond.steps(self._reads), left.steps(self._reads, instead), record,
            {member.id: body for member, body in changed.items()}, self._actions,
        )  # fmt: skip
        self.parted[row], self.bonds[row] = parted, left
        rows = {member.id: member.row for member in bond.members}
        self.given |= {rows[id]: sealed for id, sealed in parted.given.items()}

    def sealed(self, row: int) -> Sealed | None:
        """Return the card of who lost members; None of anybody else."""
        parted = self.parted.get(row)
        return None if parted is None else parted.sealed


def _seen(reads: Reads, row: int) -> tuple[bytes, bytes | None]:
    """Return what an unmerge is worked out from; a row that became something else differs."""
    record, merged = reads.record(row), reads.merged(row)
    if record is not None:
        return b"live" + record, reads.bond(row)
    return b"" if merged is None else repr(merged).encode(), reads.bond(row)


def _told_apart(customers: Sequence[Looked], reads: Reads) -> Iterator[Obstacle]:
    """Say which of the customers, or of any that were merged into them, are marked as distinct."""
    by_row = {row: one for one in customers for row in reads.tree(one.row)}
    for row, one in by_row.items():
        for mark in reads.marks(row, after=row):
            other = by_row.get(mark.other)
            if other is not None and other is not one:
                yield Obstacle(
                    MergeConflict(
                        "two of these customers are marked as distinct",
                        field="plan.members",
                        customers=f"{one.id},{other.id}",
                    ),
                    (one.id, other.id),
                )


def _remember(why: Why, done: Done) -> tuple[Mutation, ...]:
    if not why.request_id:
        return ()
    return (PutRequest(why.request_id, done.row, done.sequence, int(Outcome.UPDATED)),)
