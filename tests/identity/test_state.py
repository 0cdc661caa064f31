"""Random saves, imports, merges, unmerges, marks, deletions and crashes, against plain Python.

`Model` says what has to come of each step, its refusals too; after each step the index is asked for
all of it. A crash is what another process would find of the file: a copy of it, opened anew.
Edits are of things whose owner is certain; `test_merging` has those where somebody has to choose.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest

from namesake import v1
from service.core.model import Channel, Lookup
from service.core.prepare import match_key
from service.errors import (
    Deleted,
    MergeConflict,
    Merged,
    NamesakeError,
    NotFound,
    NotMerged,
    StaleEtag,
)
from service.identity import distinct
from service.identity.merging import Asked, Plan, Why
from service.identity.registry import MatchBy, Terms
from service.index import ChangeKind, Snapshot, State
from service.server import wire
from tests.conftest import SEEDS
from tests.identity.test_merging import Merging, merging

STEPS = 120
CUSTOMERS = 14
VERIFY_EVERY = 15
EMAILS = [f"{name}@x.example" for name in ("ada", "bob", "carl", "dora")]
PHONES = ["+442079460018", "+447400123456", "+493090182000"]
IMPORT = Terms("importer", "GB", Lookup.DEFER, match_order=(MatchBy.CUSTOMER_ID,))
MISSING = "nobody"


@dataclass
class Said:
    """What a card says: lists as their members, a comment, at most a passport."""

    name: str
    comment: str = ""
    emails: list[str] = field(default_factory=list)
    phones: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    passports: list[str] = field(default_factory=list)

    def filled(self, other: Said) -> Said:
        """Return this card with its blanks filled from another, and the lists of both."""
        return Said(
            self.name, self.comment or other.comment, *map(_united, self._lists, other._lists)
        )

    @property
    def _lists(self) -> tuple[list[str], ...]:
        return self.emails, self.phones, self.tags, self.passports

    def card(self, id: str, etag: str = "") -> v1.Customer:
        """Return it as a caller would send it."""
        return v1.Customer(
            id=id, etag=etag, last_name=self.name, comment=self.comment, tags=self.tags,
            emails=[v1.EmailAddress(value=one) for one in self.emails],
            phones=[v1.PhoneNumber(value=one) for one in self.phones],
            identities=[v1.Identity(type="passport", value=one) for one in self.passports],
        )  # fmt: skip

    @property
    def substance(self) -> tuple[object, ...]:
        """What is compared."""
        return self.name, self.comment, *(tuple(sorted(one)) for one in self._lists)


def _united(one: list[str], other: list[str]) -> list[str]:
    return list(dict.fromkeys((*one, *other)))


def said_of(record: bytes) -> Said:
    """Read a stored card."""
    card = v1.Customer.FromString(record)
    return Said(
        card.last_name, card.comment, [one.normal for one in card.emails],
        [one.normal for one in card.phones], list(card.tags),
        [one.value for one in card.identities],
    )  # fmt: skip


@dataclass
class Node:
    """A customer: its own card, who was merged into it in order, and into whom it was merged."""

    own: Said
    members: list[str] = field(default_factory=list)
    survivor: str = ""


class Model:
    """What the account has to be."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.tombstones: set[str] = set()
        self.marks: set[frozenset[str]] = set()
        self.feed: list[tuple[ChangeKind, str]] = []
        self.histories: dict[str, list[ChangeKind]] = {}
        self.named: dict[int, tuple[str, ...]] = {}  # sequence of a merge or unmerge → whom

    # What can be read

    @property
    def live(self) -> list[str]:
        """Ids of live customers."""
        return [id for id, node in self.nodes.items() if not node.survivor]

    @property
    def merged(self) -> list[str]:
        """Ids of merged customers."""
        return [id for id, node in self.nodes.items() if node.survivor]

    def top(self, id: str) -> str:
        """Return the live customer that an id leads to."""
        while survivor := self.nodes[id].survivor:
            id = survivor
        return id

    def tree(self, id: str) -> list[str]:
        """Return a customer and those that were merged into it."""
        return [id, *(one for member in self.nodes[id].members for one in self.tree(member))]

    def card(self, id: str) -> Said:
        """Return a survivor's card: its own, filled from its members in order."""
        node = self.nodes[id]
        said = replace(node.own)
        for member in node.members:
            said = said.filled(self.card(member))
        return said

    def between(self, one: str, other: str) -> list[frozenset[str]]:
        """Return the marks between two customers and all that they are."""
        pairs = map(frozenset, product(self.tree(one), self.tree(other)))
        return [pair for pair in pairs if pair in self.marks]

    def refusal(self, id: str) -> type[NamesakeError] | None:
        """Return how a call that wants a live customer is refused."""
        if id in self.tombstones:
            return Deleted
        if id not in self.nodes:
            return NotFound
        return Merged if self.nodes[id].survivor else None

    # What happens

    def note(self, kind: ChangeKind, id: str, *also: str) -> int:
        """Note a change, in the histories of others too; return its sequence."""
        self.feed.append((kind, id))
        for one in (id, *also):
            self.histories.setdefault(one, []).append(kind)
        return len(self.feed)

    def save(self, id: str, own: Said) -> None:
        """Create or change."""
        kind = ChangeKind.UPDATED if id in self.nodes else ChangeKind.CREATED
        self.nodes.setdefault(id, Node(own)).own = own
        self.note(kind, id)

    def stands_against(self, ids: list[str]) -> type[NamesakeError] | None:
        """Return how a merge is refused."""
        for id in ids:
            if refusal := self.refusal(id):
                return refusal
        if any(self.between(*pair) for pair in combinations(ids, 2)):
            return MergeConflict
        passports = {one for id in ids for one in self.card(id).passports}
        return MergeConflict if len(passports) > 1 else None

    def merge(self, survivor: str, *members: str) -> None:
        """Merge."""
        sequence = self.note(ChangeKind.MERGED, survivor, *members)
        self.named[sequence] = members
        self.nodes[survivor].members += members
        for member in members:
            self.nodes[member].survivor = survivor

    def unmerge(self, ids: list[str]) -> None:
        """Give back, in the order in which they are named."""
        top = self.top(ids[0])
        above = {one for id in ids for one in self._above(id)}.difference(ids, [top])
        sequence = self.note(ChangeKind.UNMERGED, top, *above)
        self.named[sequence] = tuple(ids)
        for id in ids:
            self.nodes[self.nodes[id].survivor].members.remove(id)
            self.nodes[id].survivor = ""
            self.note(ChangeKind.RESTORED, id)

    def _above(self, id: str) -> Iterator[str]:
        while id := self.nodes[id].survivor:
            yield id

    def delete(self, id: str) -> None:
        """Delete a customer and all that it is."""
        for one in self.tree(id):
            del self.nodes[one]
            self.tombstones.add(one)
            self.marks = {mark for mark in self.marks if one not in mark}
            del self.histories[one]
        self.note(ChangeKind.DELETED, id)


class Machine:
    """Does things at random to an account and to its model."""

    def __init__(self, one: Merging, dice: random.Random) -> None:
        self.one = one
        self.model = Model()
        self._dice = dice
        self._step = 0
        self._jobs = 0

    async def step(self) -> None:
        """Do something."""
        self._step += 1
        many = [self._merge] * 4 + [self._unmerge] * 4 + [self._edit] * 4
        await self._dice.choice([*many, self._create, self._import, self._delete, self._mark,
                                 self._unmark, self._refused])()  # fmt: skip

    def _some(self, ids: Iterable[str], least: int, most: int) -> list[str]:
        given = [*ids]
        count = min(len(given), self._dice.randint(least, most))
        return self._dice.sample(given, count) if count >= least else []

    def _new(self) -> Said:
        pick = self._dice
        return Said(
            f"L{self._step}", pick.choice(["", f"c{self._step}"]),
            pick.sample(EMAILS, pick.randint(0, 2)), pick.sample(PHONES, pick.randint(0, 2)),
            pick.sample("abc", pick.randint(0, 2)),
            [pick.choice("12")] if pick.random() < 0.15 else [],
        )  # fmt: skip

    async def _expect(self, what: Callable[[], Any], error: type[NamesakeError] | None) -> bool:
        """Do something that is refused so, or not at all; return whether it was done."""
        if error is None:
            await what()
            return True
        with pytest.raises(error):
            await what()
        return False

    async def _create(self) -> None:
        if len(self.model.nodes) < CUSTOMERS:
            id, own = f"n{self._step}", self._new()
            await self.one.save(own.card(id))
            self.model.save(id, own)

    async def _edit(self) -> None:
        """Add to a card, change a comment that is its own, take something of its own away."""
        for id in self._some(self.model.live, 1, 1):
            own, now = self.model.nodes[id].own, self.model.card(id)
            new = f"s{self._step}"
            gone = [tag for tag in own.tags if tag.startswith("s")]  # no other has such a one
            for said in (own, now):
                said.tags = [*(tag for tag in said.tags if tag not in gone), new]
            if own.comment or not now.comment:
                own.comment = now.comment = new
            email = self._dice.choice(EMAILS)
            if email not in now.emails:
                own.emails, now.emails = [*own.emails, email], [*now.emails, email]
            etag = self.one.card(id).etag
            await self.one.save(now.card(id, self._dice.choice(["", etag])))
            self.model.save(id, own)

    async def _import(self) -> None:
        """New customers, changes of known ones, and rows that are refused; in the bulk line."""
        self._jobs += 1
        rows, failing, saved = [], 0, []
        for number in range(self._dice.randint(1, 3)):
            if len(self.model.nodes) + number < CUSTOMERS:
                id, own = f"i{self._step}-{number}", self._new()
                rows.append(own.card(id))
                saved.append((id, own))
        for id in self._some([*self.model.nodes, *self.model.tombstones], 0, 3):
            if self.model.refusal(id):
                failing += 1
                rows.append(Said("X").card(id))
                continue
            own = self.model.nodes[id].own
            rows.append(Said(own.name, tags=[f"j{self._step}"]).card(id))
            saved.append((id, own.filled(Said("", tags=[f"j{self._step}"]))))
        request = v1.ImportCustomersRequest(batch=v1.ImportBatch(number=1, customers=rows))
        reader = wire.Rows(v1.ImportSettings(), self.one.home.settings)
        incoming = reader.read(request.SerializeToString())
        task = await self.one.home.registry.import_batch(f"job{self._jobs}", incoming, IMPORT)
        assert len((await task).failures) == failing
        for id, own in saved:
            self.model.save(id, own)

    async def _delete(self) -> None:
        if len(self.model.nodes) > 4:
            for id in self._some([*self.model.nodes, *self.model.tombstones], 1, 1):
                delete = partial(self.one.home.registry.delete, id, "", "asked", "steward")
                if await self._expect(delete, self.model.refusal(id)):
                    self.model.delete(id)

    async def _merge(self) -> None:
        ids = self._some(self.model.live, 2, 4)
        if self._dice.random() < 0.1:
            ids += self._some([MISSING, *self.model.merged, *self.model.tombstones], 1, 1)
        if len(ids) < 2:
            return
        merge = self.one.merger.merge
        why = Why("steward", "same", f"r{self._step}" if self._dice.random() < 0.2 else "")
        plan = Plan(tuple(Asked(id) for id in ids))
        if await self._expect(partial(merge, plan, why), self.model.stands_against(ids)):
            self.model.merge(*ids)
            if why.request_id:  # said again, it is done once
                assert (await merge(plan, why)).sequence == len(self.model.feed)

    async def _unmerge(self) -> None:
        for id in self._some(self.model.merged, 1, 1):
            top = self.model.top(id)
            ids = self._some((one for one in self.model.merged if self.model.top(one) == top), 1, 3)
            await self.one.unmerge(*ids)
            self.model.unmerge(ids)

    async def _mark(self) -> None:
        ids = self._some(self.model.live, 2, 3)
        if len(ids) == 2 or (ids and self._dice.random() < 0.3):
            new = [frozenset(p) for p in combinations(ids, 2) if not self.model.between(*p)]
            marked = await distinct.mark(self.one.home.index, ids, "told apart", "steward")
            assert marked == len(new)
            self.model.marks.update(new)

    async def _unmark(self) -> None:
        pairs = [p for p in combinations(self.model.live, 2) if self.model.between(*p)]
        for pair in self._dice.sample(pairs, min(1, len(pairs))):
            assert await distinct.unmark(self.one.home.index, pair) == 1
            self.model.marks.difference_update(self.model.between(*pair))

    async def _refused(self) -> None:
        """What is refused changes nothing."""
        for id in self._some(self.model.live, 1, 1):
            stale = Said("X").card(id, "1" if self.one.card(id).etag != "1" else "2")
            with pytest.raises(StaleEtag):
                await self._save(stale)
            with pytest.raises(NotMerged):
                await self.one.unmerge(id)
        for id in self._some([*self.model.merged, *self.model.tombstones], 1, 1):
            with pytest.raises(self.model.refusal(id) or AssertionError):
                await self._save(Said("X").card(id))

    async def _save(self, card: v1.Customer) -> None:
        terms = Terms("editor", "GB", Lookup.DEFER)
        (result,) = await self.one.home.registry.save(
            [wire.card(card, self.one.home.settings)], terms
        )
        if isinstance(result, Exception):
            raise result

    # Comparing

    def check(self) -> None:
        """Ask for all that can be read."""
        with self.one.home.index.snapshot() as snapshot:
            self._check_cards(snapshot)
            self._check_marks(snapshot)
            self._check_histories(snapshot)

    def _check_cards(self, snapshot: Snapshot) -> None:
        model = self.model
        stored = {}
        for _, record in snapshot.customers():
            stored[v1.Customer.FromString(record).id] = said_of(record)
        assert {id: said.substance for id, said in stored.items()} == {
            id: model.card(id).substance for id in model.live
        }
        for id, node in model.nodes.items():
            found = snapshot.find(id)
            assert (found.state, found.id) == (
                State.MERGED if node.survivor else State.LIVE, model.top(id),
            )  # fmt: skip
        for id in model.tombstones:
            assert snapshot.find(id).state is State.DELETED
        for channel, values in ((Channel.EMAIL, EMAILS), (Channel.PHONE, PHONES)):
            for value in values:
                rows = snapshot.sharing(channel, value, match_key(channel, value))
                having = {
                    snapshot.row_of(id) for id, said in stored.items()
                    if value in (*said.emails, *said.phones)
                }  # fmt: skip
                assert {*rows} == having

    def _check_marks(self, snapshot: Snapshot) -> None:
        model = self.model
        for id in model.live:
            row = snapshot.row_of(id)
            assert row is not None
            others = {snapshot.row_of(o) for o in model.live if o != id and model.between(id, o)}
            assert {mark.other for mark in snapshot.distinct_of(row)} == others
            assert [snapshot.row_of(one) for one in model.tree(id)] == snapshot.tree(row)

    def _check_histories(self, snapshot: Snapshot) -> None:
        model = self.model
        changes = snapshot.changes(0, 100_000)
        assert [(change.kind, change.id) for change in changes] == model.feed
        assert [change.sequence for change in changes] == [*range(1, len(changes) + 1)]
        for id in (*model.nodes, *model.tombstones):
            row = snapshot.row_of(id)
            assert row is not None
            entries = snapshot.history(row, limit=10_000)
            assert [one.kind for one in entries[::-1]] == model.histories.get(id, [])
            for entry in entries:
                if entry.sequence in model.named and model.feed[entry.sequence - 1][1] == id:
                    diff = v1.Change.FromString(entry.diff)
                    assert tuple(diff.merged_ids) == model.named[entry.sequence]


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_any_history_is_as_the_model_says(seed: int, tmp_path: Path) -> None:
    """Step by step, through crashes; at the end all are given back."""
    dice = random.Random(9_000 + seed)
    async with AsyncExitStack() as stack:
        exclusive = {"exclusive_identity_types": "passport"}
        folder = tmp_path / "0"
        one = await stack.enter_async_context(merging(folder, **exclusive))
        machine = Machine(one, dice)
        for number in range(1, STEPS + 1):
            await machine.step()
            machine.check()
            if number % VERIFY_EVERY == 0:
                machine.one.verify()
            if dice.random() < 0.02:
                folder = crashed(folder, tmp_path / str(number))
                machine.one = await stack.enter_async_context(merging(folder, **exclusive))
                machine.check()
        while merged := machine.model.merged:
            await machine.one.unmerge(id := dice.choice(merged))
            machine.model.unmerge([id])
        machine.check()
        machine.one.verify()


def crashed(folder: Path, to: Path) -> Path:
    """Return a folder that has what a process that is killed now leaves behind."""
    (to / "account").mkdir(parents=True)
    shutil.copy(folder / "account" / "data.mdb", to / "account" / "data.mdb")
    return to
