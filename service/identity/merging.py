"""Merging customers, and giving them back.

What it comes to is worked out on a snapshot; the decision, on the writer thread, only makes sure
that nobody changed anything in between, else all is done again. A merge is one transaction: nothing
that is linked to a member is moved (see `Reads.tree`), so it takes as long as its cards do.

An unmerge may concern survivors that were merged themselves: each is worked out anew, from the
one that loses members up to the live one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, islice
from typing import NamedTuple, TypeVar

from service.core.model import (
    Action,
    Clash,
    Codec,
    Held,
    Leaving,
    Outcome,
    Parted,
    Sealed,
    Step,
    Survivorship,
    United,
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
    bonds_of,
    merge_record,
    record_of,
)
from service.identity.registry import Registry, etag_of, live
from service.index import (
    Absorb,
    ChangeKind,
    Decision,
    Index,
    MergedRow,
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

UNBOUNDED = 1 << 62  # nobody knows how many merges were before
TRIES = 10  # of a merge that others change the customers of meanwhile
NAMED = 5  # elements that a refusal names
TOLD_APART_SHOWN = 100  # pairs of a preview; a thousand members may have half a million
BY_PERSON = Evidence("", 0.0)


T = TypeVar("T")


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

    def request(self, kind: str) -> str:
        """Return what a request is remembered by; one of another kind with its id is another."""
        return self.request_id and f"{kind}\0{self.request_id}"


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
    sealed: Sealed  # the survivor's card
    released: Mapping[int, Looked]
    cards: Mapping[int, Sealed | None]  # of who is released: None: as it was
    parted: Mapping[int, Parted]
    bonds: Sequence[PutBond]
    seen: Mapping[int, bytes]  # row → its record, as it was looked at

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

    async def preview(self, plan: Plan) -> Preview:
        """Say what a merge would come to, and all that stands in its way."""
        self.check(plan)
        return await self._worked_out(partial(self._preview, plan), len(plan.customers))

    def _preview(self, plan: Plan, reads: Reads) -> Preview:
        customers, obstacles = self._look(plan, reads)
        if len(customers) < len(plan.customers):
            return Preview(customers, None, tuple(obstacles))
        obstacles += islice(_told_apart(customers, reads), TOLD_APART_SHOWN)
        sealed: Sealed | None = None
        try:
            sealed = self._unite(customers, plan).sealed
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
        prepare, decide = partial(self._prepare, plan), partial(self._decide, why)
        return await self._try(why.request("merge"), prepare, decide, len(plan.customers))

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
            field = f"plan.members[{number - 1}]." if number else "plan.priority_"
            try:
                customers.append(self._looked(reads, id, etag, field))
            except NamesakeError as error:
                obstacles.append(Obstacle(error, (id,)))
        return tuple(customers), obstacles

    def _looked(self, reads: Reads, id: str, etag: str, field: str) -> Looked:
        found = live(reads.find(id), f"{field}id")
        if found is None:
            raise NotFound("there is no customer with this id", field=f"{field}id")
        record = record_of(reads, found.row)
        held = self._codec.held(record)
        if etag and etag != held.etag:
            raise StaleEtag("the customer changed since it was read", field=f"{field}etag")
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

    def _unite(self, customers: Sequence[Looked], plan: Plan) -> United:
        survivor, *members = customers
        cards = tuple((one.id, one.record) for one in members)
        try:
            return self._rules.unite(survivor.id, Step(survivor.record, cards, plan.choices))
        except IdentityExclusive as error:
            obstacle = next(self._exclusive(customers))
            raise obstacle.error from error

    def _prepare(self, plan: Plan, reads: Reads) -> Prepared:
        customers, obstacles = self._look(plan, reads)
        for obstacle in obstacles or _told_apart(customers, reads):
            raise obstacle.error
        survivor, *members = customers
        sealed, numbers = self._unite(customers, plan)
        named = tuple(Member(one.row, one.id) for one in members)
        bond = Bond(survivor.record, named, plan.choices, numbers)
        return Prepared(customers, sealed, bond)

    def _decide(self, why: Why, merge: Prepared, view: View) -> Decision[Done | None]:
        """Merge, unless somebody changed something since: then None."""
        for one in merge.customers:
            if view.record(one.row) != one.record:
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
        bond = PutBond(survivor.row, sequence, merge.bond.encoded())
        noted = PutMerge(sequence, record.encoded())
        return Decision(Done(survivor.row, sequence), (put, *absorbed, bond, noted))

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

    async def preview_unmerge(self, ids: Sequence[str], actions: Mapping[str, Action]) -> Parting:
        """Say what an unmerge would come to; what nobody chose is among its clashes."""
        self._check_ids(ids)
        return await self._worked_out(partial(self._part, ids, actions), UNBOUNDED)

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

        if mark_distinct and len(ids) > (limit := self._settings.unmerge_distinct):
            raise InvalidArgument(f"at most {limit} ids are marked", field="mark_distinct")
        decide = partial(self._decide_unmerge, why, mark_distinct)
        return await self._try(why.request("unmerge"), prepare, decide, UNBOUNDED)

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
        walk.part()
        return Parting(
            Looked(row, held.id, record, held),
            self._sealed(walk.parted[row]),
            released,
            {row: self._given_back(walk, one) for row, one in released.items()},
            walk.parted,
            walk.bonds,
            walk.seen,
        )

    def _sealed(self, parted: Parted) -> Sealed:
        """Seal a card; one that is as it was stored keeps no rules of today."""
        return (self._codec.as_it_was if parted.is_stored else self._rules.seal)(parted.body)

    def _given_back(self, walk: _Walk, one: Looked) -> Sealed | None:
        if one.id in walk.given:
            return self._rules.seal(walk.given[one.id])
        parted = walk.parted.get(one.row)
        return None if parted is None else self._sealed(parted)

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
        put = self._rewritten(survivor, parting.sealed, ChangeKind.UNMERGED, ids, why, view)
        mutations: list[Mutation] = [put, *parting.bonds]
        for row, parted in parting.parted.items():
            if row != survivor.row and row not in parting.released:
                old = record_of(view, row)
                stamped = self._stamped(old, parted.body, sequence, view)
                diff = self._codec.note_members(self._codec.diff(old, parted.body), ids)
                mutations.append(
                    PutMergedRecord(row, stamped, sequence, diff, why.actor, why.reason)
                )
        for number, (row, one) in enumerate(parting.released.items(), sequence + 1):
            mutations.append(self._release(one, parting.cards[row], number, why, view))
        if mark_distinct:
            mutations += _told_apart_now(parting, why, view)
        mutations += self._undone(parting, view)
        return Decision(Done(survivor.row, sequence), mutations)

    def _release(
        self, one: Looked, card: Sealed | None, sequence: int, why: Why, view: View
    ) -> Release:
        sealed = card or self._codec.as_it_was(one.record)
        features = sealed.features
        assert features is not None, "cards are sealed with their features"
        return Release(
            one.row, one.id, self._stamped(one.record, sealed.body, sequence, view),
            self._index.entries_of(sealed.held), features,
            self._codec.diff(one.record, sealed.body), why.actor, why.reason,
        )  # fmt: skip

    def _stamped(self, old: bytes, body: bytes, sequence: int, view: View) -> bytes:
        return self._codec.stamp(
            body,
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
        request: str,
        prepare: Callable[[Reads], Prepared] | Callable[[Reads], Parting],
        decide: Callable[..., Decision[Done | None]],
        customers: int,
    ) -> Done:
        """Work out and decide, anew as long as others change the customers in between.

        Of a request that was done before only its outcome is said. It is looked for in the snapshot
        that the work is of: a request may be sent again while it is being done.
        """

        def work(reads: Reads) -> Done | Prepared | Parting:
            return _past(request, reads) or prepare(reads)

        for _ in range(TRIES):
            prepared = await self._worked_out(work, customers)
            if isinstance(prepared, Done):
                return prepared
            (done,) = await self._index.submit([partial(_decided_once, request, decide, prepared)])
            if isinstance(done, Exception):
                raise done
            if done is not None:
                return done
        raise StaleEtag("the customers are being changed: try again")

    async def _worked_out(self, work: Callable[[Reads], T], customers: int) -> T:
        """Work something out on a snapshot: of many customers, beside the event loop."""

        def out() -> T:
            with self._index.snapshot() as snapshot:
                return work(snapshot)

        is_much = customers > self._settings.merge_at_once
        return await asyncio.to_thread(out) if is_much else out()


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
        self._known: dict[int, MergedRow | None] = {}
        self._read: dict[int, dict[int, Bond]] = {}
        self._paths = {row: self._path(row) for row in released}
        self.parted: dict[int, Parted] = {}
        self.bonds: list[PutBond] = []
        self.given: dict[str, bytes] = {}
        self.seen = {row: _seen(reads, row) for row in released}

    def _path(self, row: int) -> list[MergedRow]:
        """Return how a customer was merged, and its survivor, and so on."""
        path = []
        while (merged := self._merged(row)) is not None:
            path.append(merged)
            row = merged.survivor
        return path

    def _merged(self, row: int) -> MergedRow | None:
        if row not in self._known:
            self._known[row] = self._reads.merged(row)
        return self._known[row]

    def _bonds(self, row: int) -> dict[int, Bond]:
        if row not in self._read:
            self._read[row] = bonds_of(self._reads, row)
        return self._read[row]

    def part(self) -> None:
        """Work out the survivors' cards, each after those of its members."""
        heights = {
            merged.survivor: len(path) - place
            for path in self._paths.values()
            for place, merged in enumerate(path)
        }
        for row in sorted(heights, key=heights.__getitem__, reverse=True):
            self._part(row)

    def _part(self, row: int) -> None:
        bonds, record = self._bonds(row), record_of(self._reads, row)
        self.seen[row] = _seen(self._reads, row)
        steps, left = [], []
        for bond in bonds.values():
            cards = tuple((one.id, record_of(self._reads, one.row)) for one in bond.members)
            steps.append(Step(bond.base, cards, bond.choices, bond.numbers))
            stay = [one for one in bond.members if one.row not in self._released]
            left.append([(one.id, self._card(one)) for one in stay])
        id = self._codec.held(record).id
        leaving = partial(self._leaving, row)
        parted = self._rules.part(id, steps, left, record, leaving, self._actions)
        self.parted[row] = parted
        self.given |= parted.given
        remain = iter(parted.steps)
        for (sequence, bond), members in zip(bonds.items(), left, strict=True):
            new: bytes | None = None
            if members:
                step, ids = next(remain), {id for id, _ in members}
                who = tuple(one for one in bond.members if one.id in ids)
                new = Bond(step.base, who, step.choices, step.numbers).encoded()
            if new != self._reads.bond(row, sequence):
                self.bonds.append(PutBond(row, sequence, new))

    def _card(self, member: Member | Looked) -> bytes:
        parted = self.parted.get(member.row)
        return record_of(self._reads, member.row) if parted is None else parted.body

    def _leaving(self, row: int) -> list[Leaving]:
        """Return who leaves a survivor, or members of it: the deepest first."""
        found = []
        for one, path in self._paths.items():
            survivors = [merged.survivor for merged in path]
            if row in survivors:
                place = survivors.index(row)
                order = -place, path[place].sequence, path[place].place
                found.append((order, one, path[: place + 1]))
        found.sort(key=lambda one: one[0])
        return [
            Leaving(
                self._released[one].id,
                self.given.get(self._released[one].id) or self._card(self._released[one]),
                self._numbers(one, path),
            )
            for _, one, path in found
        ]

    def _numbers(self, row: int, path: Sequence[MergedRow]) -> dict[str, str]:
        """Return the numbers of a customer's contacts, by those that a survivor gave them."""
        numbers: dict[str, str] | None = None
        for merged in path:
            bond = self._bonds(merged.survivor)[merged.sequence]
            id = next(one.id for one in bond.members if one.row == row)
            here = {number: now for (who, number), now in bond.numbers.items() if who == id}
            if numbers is None:
                numbers = here
            else:
                numbers = {number: here[n] for number, n in numbers.items() if n in here}
            row = merged.survivor
        return {now: number for number, now in (numbers or {}).items()}


def _seen(reads: Reads, row: int) -> bytes:
    """Return what an unmerge is worked out from; a row that became something else differs."""
    record, merged = reads.record(row), reads.merged(row)
    if record is not None:
        return b"live" + record
    return b"" if merged is None else repr(merged).encode()


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


def _told_apart_now(parting: Parting, why: Why, view: View) -> Iterator[PutDistinct]:
    """Mark those who are given back, two by two, and each with whom it was merged into."""
    released, pairs = parting.released, set(combinations(sorted(parting.released), 2))
    for row in released:
        merged = view.merged(row)
        while merged is not None and merged.survivor in released:
            merged = view.merged(merged.survivor)
        assert merged is not None, "seen as it was looked at"
        pairs.add((row, merged.survivor))
    marked = {row: {mark.other for mark in view.marks(row)} for row in released}
    for row, other in sorted(pairs):
        if other not in marked[row]:
            yield PutDistinct(row, other, why.actor, why.reason or "unmerged")


def _past(request: str, reads: Reads) -> Done | None:
    """Return what came of the same request before."""
    past = reads.request(request)
    return None if past is None else Done(past.row, past.sequence)


def _decided_once(
    request: str,
    decide: Callable[..., Decision[Done | None]],
    prepared: Prepared | Parting,
    view: View,
) -> Decision[Done | None]:
    """Decide, unless the request was done meanwhile, and remember what came of it."""
    if past := _past(request, view):
        return Decision(past)
    done, mutations = decide(prepared, view)
    if done is None or not request:
        return Decision(done, mutations)
    remembered = PutRequest(request, done.row, done.sequence, int(Outcome.UPDATED))
    return Decision(done, (*mutations, remembered))
