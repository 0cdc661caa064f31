"""Merging and unmerging: random histories, exact in any order, and what edits come to."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from namesake import v1
from service.core.model import Action, Lookup, Outcome
from service.errors import (
    Deleted,
    InvalidArgument,
    MergeConflict,
    Merged,
    NotFound,
    NotMerged,
    StaleEtag,
    UnmergeConflict,
)
from service.identity import distinct
from service.identity.bonds import MergeRecord, merge_record
from service.identity.merging import Asked, Done, Merger, Plan, Why
from service.identity.operations import ATTEND_S, Operation, Operations, Progress
from service.identity.operations import Done as Ended
from service.identity.registry import Saved, Terms
from service.index import Decision, State, View
from service.index.layout import TABLES
from service.server import wire
from service.server.changes import history_page
from service.server.merges import merge_work
from service.server.pace import Pace
from service.server.pages import POSITION_LIMIT
from service.server.survivorship import Survivorship
from tests.conftest import SEEDS
from tests.identity.test_batches import Home, customer, home

STEPS = 30
TERMS = Terms("editor", "GB", Lookup.DEFER)
WHY = Why("steward", "the same person")


@dataclass(frozen=True, slots=True)
class Merging:
    """A folder with merging."""

    home: Home
    merger: Merger

    async def save(self, card: v1.Customer) -> v1.Customer:
        """Save a card; return it as it is stored."""
        (saved,) = await self.home.registry.save([wire.card(card, self.home.settings)], TERMS)
        assert isinstance(saved, Saved), saved
        return v1.Customer.FromString(saved.record)

    async def merge(self, *ids: str, choices: Sequence[tuple[str, str]] = ()) -> Done:
        """Merge customers into the first."""
        return await self.merger.merge(Plan(tuple(Asked(id) for id in ids), tuple(choices)), WHY)

    async def unmerge(self, *ids: str, **actions: Action) -> Done:
        """Give customers back."""
        return await self.merger.unmerge(ids, actions, "", WHY)

    def card(self, id: str) -> v1.Customer:
        """Return the live customer that an id leads to."""
        with self.home.index.snapshot() as snapshot:
            record = snapshot.record(snapshot.find(id).row)
        assert record is not None
        return v1.Customer.FromString(record)

    def body(self, id: str) -> bytes:
        """Return what a customer's card says, byte by byte, without etag and times."""
        with self.home.index.snapshot() as snapshot:
            found = snapshot.find(id)
            record = snapshot.record(found.row)
        assert found.id == id
        assert record is not None
        return wire.body_bytes(record)

    def live(self) -> list[str]:
        """Return the ids of live customers."""
        with self.home.index.snapshot() as snapshot:
            return [v1.Customer.FromString(record).id for _, record in snapshot.customers()]

    def leads_to(self, id: str) -> tuple[State, str]:
        """Return where an id leads."""
        with self.home.index.snapshot() as snapshot:
            found = snapshot.find(id)
        return found.state, found.id

    def verify(self) -> None:
        """The index is as its records say."""
        codec = wire.Records(self.home.settings)
        assert [step for step in self.home.index.verify(codec) if hasattr(step, "what")] == []


@asynccontextmanager
async def merging(folder: Path, **changed: Any) -> AsyncIterator[Merging]:
    """Open a folder."""
    async with home(folder, **changed) as one:
        codec = wire.Records(one.settings)
        rules = Survivorship(one.settings)
        yield Merging(one, Merger(one.index, codec, rules, one.registry, one.settings))


def random_card(draw: random.Random, number: int) -> v1.Customer:
    """Return a valid card with an id; cards have much in common."""
    while True:
        card = customer(draw)
        card.id, card.etag = f"c{number}", ""
        if card.last_name:
            return card


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_what_was_merged_in_any_order_comes_back_byte_by_byte(
    seed: int, tmp_path: Path
) -> None:
    """Merges of merges, some unmerged and merged again; at the end all are what they were."""
    draw = random.Random(seed)
    async with merging(tmp_path) as one:
        ids = [f"c{number}" for number in range(draw.choice([3, 8]))]
        for number in range(len(ids)):
            await one.save(random_card(draw, number))
        before = {id: one.body(id) for id in ids}
        for _ in range(STEPS):
            live = one.live()
            gone = [id for id in ids if id not in live]
            if gone and (len(live) < 2 or draw.random() < 0.4):
                leaving = draw.sample(gone, draw.randint(1, min(2, len(gone))))
                leaving = [id for id in leaving if one.leads_to(id) == one.leads_to(leaving[0])]
                await one.unmerge(*leaving)
            elif len(live) > 1:
                some = draw.sample(live, draw.randint(2, min(3, len(live))))
                fields = ("first_name", "emails", "tags", "birth_date", "custom_fields")
                choices = [(name, draw.choice(some)) for name in fields if draw.random() < 0.1]
                await one.merge(*some, choices=choices)
            for id in ids:
                state, leads = one.leads_to(id)
                assert state in (State.LIVE, State.MERGED)
                assert leads in one.live()
        one.verify()
        while gone := [id for id in ids if id not in one.live()]:
            await one.unmerge(draw.choice(gone))
        assert {id: one.body(id) for id in ids} == before
        one.verify()


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_what_was_added_since_stays_with_who_was_there(seed: int, tmp_path: Path) -> None:
    """Edits between random merges and unmerges; in the end each card has its own, and no other."""
    draw = random.Random(1_000 + seed)
    async with merging(tmp_path) as one:
        ids = [f"c{number}" for number in range(5)]
        for number in range(len(ids)):
            await one.save(random_card(draw, number))
        expected = {id: one.card(id) for id in ids}
        for step in range(STEPS):
            live = one.live()
            gone = [id for id in ids if id not in live]
            chance = draw.random()
            if chance < 0.4:
                id = draw.choice(live)
                for card in (card_now := one.card(id), expected[id]):
                    card.etag = ""
                    card.tags.append(f"t{step}")
                    card.emails.add(value=f"e{step}@x.example", normal=f"e{step}@x.example")
                await one.save(card_now)
            elif gone and chance < 0.7:
                await one.unmerge(draw.choice(gone))
            elif len(live) > 1:
                await one.merge(*draw.sample(live, 2))
            one.verify()
        while gone := [id for id in ids if id not in one.live()]:
            await one.unmerge(draw.choice(gone))
        for id in ids:
            assert said(one.card(id)) == said(expected[id])


def said(card: v1.Customer) -> bytes:
    """Return what a card says, whatever the DNS and the clock say."""
    for name in ("etag", "create_time", "update_time"):
        card.ClearField(name)
    for _, _, point in wire.points_of(card):
        point.ClearField("finding")
    card.tags.sort()
    card.emails.sort(key=lambda email: email.normal or email.value)
    for email in card.emails:
        email.verification = v1.VERIFICATION_UNSPECIFIED
    return card.SerializeToString(deterministic=True)


def ada(id: str, *emails: str, **more: Any) -> v1.Customer:
    """Return a card."""
    points = [v1.EmailAddress(value=email) for email in emails]
    return v1.Customer(id=id, last_name="Lovelace", emails=points, **more)


def normals(card: v1.Customer) -> list[str]:
    """Return its e-mails."""
    return [email.normal for email in card.emails]


async def test_the_priority_stands_and_blanks_are_filled_in_order(tmp_path: Path) -> None:
    """Lists are united, the same normal form once; the others become redirects at once."""
    async with merging(tmp_path) as one:
        await one.save(ada("a", "ada@x.example", comment="first", tags=["vip"]))
        await one.save(ada("b", "ada@X.example", "b@y.example", first_name="Ada", comment="b"))
        await one.save(
            ada("c", "c@x.example", first_name="Augusta", stage="won", tags=["vip", "c"])
        )
        done = await one.merge("a", "b", "c")
        card = one.card("b")
        assert (card.id, card.first_name, card.comment, card.stage) == ("a", "Ada", "first", "won")
        assert normals(card) == ["ada@x.example", "b@y.example", "c@x.example"]
        assert list(card.tags) == ["vip", "c"]
        assert card.etag == f"{done.sequence:x}"
        assert one.leads_to("c") == (State.MERGED, "a")
        with one.home.index.snapshot() as snapshot:
            assert snapshot.tree(1) == [1, 2, 3]
            assert [snapshot.live_row(row) for row in (1, 2, 3)] == [1, 1, 1]
            assert snapshot.customer_count == 1
        one.verify()


async def test_choices_override(tmp_path: Path) -> None:
    """Also for a value that is not there, and for a list."""
    async with merging(tmp_path) as one:
        await one.save(ada("a", "ada@x.example", first_name="Ada"))
        await one.save(ada("b", "b@x.example", stage="won"))
        await one.save(ada("c", first_name="Augusta"))
        choices = [("first_name", "c"), ("stage", "a"), ("emails", "b")]
        await one.merge("a", "b", "c", choices=choices)
        card = one.card("a")
        assert (card.first_name, card.stage, normals(card)) == ("Augusta", "", ["b@x.example"])
        await one.unmerge("c")
        assert one.card("a").first_name == "Ada"
        assert one.card("c").first_name == "Augusta"


@pytest.mark.parametrize(
    ("action", "kept", "given"),
    [
        (Action.KEEP, "Grace", "Augusta"),
        (Action.GIVE, "", "Grace"),
        (Action.RESTORE, "", "Augusta"),
    ],
)
async def test_an_edit_of_what_came_from_a_member_is_chosen(
    action: Action, kept: str, given: str, tmp_path: Path
) -> None:
    """Without a choice nothing is unmerged; own edits and additions stay."""
    async with merging(tmp_path) as one:
        await one.save(ada("a", "ada@x.example"))
        await one.save(ada("b", "b@x.example", first_name="Augusta"))
        await one.merge("a", "b")
        card = one.card("a")
        card.first_name, card.comment = "Grace", "met her"
        card.emails.add(value="new@x.example")
        await one.save(card)
        (clash,) = (await one.merger.preview_unmerge(["b"], {})).clashes
        assert (clash.element, clash.member) == ("first_name", "b")
        assert v1.Customer.FromString(clash.before) == v1.Customer(first_name="Augusta")
        assert v1.Customer.FromString(clash.after) == v1.Customer(first_name="Grace")
        with pytest.raises(UnmergeConflict):
            await one.unmerge("b")
        assert one.leads_to("b") == (State.MERGED, "a")
        await one.unmerge("b", first_name=action)
        assert (one.card("a").first_name, one.card("b").first_name) == (kept, given)
        assert one.card("a").comment == "met her"
        assert normals(one.card("a")) == ["ada@x.example", "new@x.example"]
        one.verify()


@pytest.mark.parametrize("action", Action)
async def test_so_is_what_was_taken_away(action: Action, tmp_path: Path) -> None:
    """The member has it again, unless its loss is given to it too."""
    async with merging(tmp_path) as one:
        await one.save(ada("a", "ada@x.example"))
        await one.save(ada("b", "b@x.example", "c@x.example"))
        await one.merge("a", "b")
        card = one.card("a")
        del card.emails[1]
        await one.save(card)
        await one.unmerge("b", **{"emails[b@x.example]": action})
        assert normals(one.card("a")) == ["ada@x.example"]
        had = ["c@x.example"] if action is Action.GIVE else ["b@x.example", "c@x.example"]
        assert normals(one.card("b")) == had


async def test_what_two_members_have_stays_while_one_is_there(tmp_path: Path) -> None:
    """Although it came from the one that left."""
    async with merging(tmp_path) as one:
        for id in "abc":
            await one.save(ada(id, *["same@x.example"] * (id != "a"), stage=id * (id != "a")))
        await one.merge("a", "b")
        await one.merge("a", "c")
        assert one.card("a").stage == "b"
        await one.unmerge("b")
        assert (one.card("a").stage, normals(one.card("a"))) == ("c", ["same@x.example"])
        await one.unmerge("c")
        assert (one.card("a").stage, normals(one.card("a"))) == ("", [])


async def test_a_member_of_a_member_is_given_back_through_both(tmp_path: Path) -> None:
    """What came from it leaves every survivor on the way; what is in between stays merged."""
    async with merging(tmp_path) as one:
        await one.save(ada("a"))
        await one.save(ada("b", first_name="Ada"))
        await one.save(ada("c", "c@x.example", stage="won"))
        await one.merge("b", "c")
        await one.merge("a", "b")
        assert (one.card("a").stage, normals(one.card("a"))) == ("won", ["c@x.example"])
        await one.unmerge("c")
        assert (one.card("a").stage, normals(one.card("a"))) == ("", [])
        assert one.card("a").first_name == "Ada"
        assert one.leads_to("b") == (State.MERGED, "a")
        await one.unmerge("b")
        assert one.card("b").stage == ""
        assert one.card("a").first_name == ""
        one.verify()


async def test_several_levels_at_once(tmp_path: Path) -> None:
    """Both come back as they were, the one in between without its member."""
    async with merging(tmp_path) as one:
        for id in "abcd":
            await one.save(ada(id, f"{id}@x.example", tags=[id]))
        before = {id: one.body(id) for id in "abcd"}
        await one.merge("c", "d")
        await one.merge("b", "c")
        await one.merge("a", "b")
        await one.unmerge("b", "d")
        assert {id: one.body(id) for id in "ad"} == {id: before[id] for id in "ad"}
        assert list(one.card("b").tags) == ["b", "c"]
        await one.unmerge("c")
        assert {id: one.body(id) for id in "abcd"} == before
        one.verify()


async def test_people_of_two_companies_with_the_same_number_stay_two(tmp_path: Path) -> None:
    """Contacts are numbered within their customer."""
    async with merging(tmp_path) as one:
        for id, name in (("a", "King"), ("b", "Noether"), ("c", "King")):
            card = v1.Customer(id=id, kind=v1.CUSTOMER_KIND_COMPANY, company_name=id)
            card.contacts.add(last_name=name)
            await one.save(card)
        await one.merge("a", "b", "c")
        assert [contact.last_name for contact in one.card("a").contacts] == ["King", "Noether"]


async def test_what_stands_against_a_merge_is_named_and_changes_nothing(tmp_path: Path) -> None:
    """Each by an error of its own; a preview names them all."""
    async with merging(tmp_path, exclusive_identity_types="passport") as one:
        for id in "abcde":
            await one.save(ada(id, identities=[v1.Identity(type="passport", value=id)][id > "b" :]))
        await one.merge("c", "d")
        await distinct.mark(one.home.index, ["a", "e"], "father and son", "steward")
        await one.home.registry.delete("e", "", "wanted it", "steward")
        await one.save(ada("f"))
        await distinct.mark(one.home.index, ["c", "f"], "sisters", "steward")
        await one.save(ada("g"))
        await one.merge("g", "f")
        before = {id: one.body(id) for id in "abcg"}
        for ids, error, names in (
            ("ab", MergeConflict, ""),
            ("cg", MergeConflict, "c,g"),  # f, which is g now, was told apart from c
            ("ad", Merged, ""),
            ("ae", Deleted, ""),
            ("az", NotFound, ""),
        ):
            with pytest.raises(error) as raised:
                await one.merge(*ids)
            assert names in raised.value.details.get("customers", "")
        with pytest.raises(StaleEtag):
            await one.merger.merge(Plan((Asked("a"), Asked("c", "1"))), WHY)
        for plan in (
            Plan((Asked("a"),)),
            Plan((Asked("a"), Asked("a"))),
            Plan((Asked("a"), Asked("c")), (("stage", "g"),)),
        ):
            with pytest.raises(InvalidArgument):
                await one.merger.merge(plan, WHY)
        preview = await one.merger.preview(Plan(tuple(Asked(id) for id in "adez")))
        assert [type(obstacle.error) for obstacle in preview.obstacles] == [
            Merged,
            Deleted,
            NotFound,
        ]
        preview = await one.merger.preview(Plan(tuple(Asked(id) for id in "abcg")))
        assert [obstacle.ids for obstacle in preview.obstacles] == [("c", "g"), ("a", "b")]
        assert {id: one.body(id) for id in "abcg"} == before
        one.verify()


async def test_a_preview_names_so_many_pairs(tmp_path: Path) -> None:
    """Of those marked as distinct; a merge of a thousand may have half a million."""
    async with merging(tmp_path) as one:
        ids = [f"c{number}" for number in range(16)]
        for id in ids:
            await one.save(ada(id))
        await distinct.mark(one.home.index, ids, "a family", "steward")
        preview = await one.merger.preview(Plan(tuple(Asked(id) for id in ids)))
        pairs = {obstacle.ids for obstacle in preview.obstacles}
        assert len(pairs) == len(preview.obstacles) == 100


async def test_distinct_pairs_go_with_their_members(tmp_path: Path) -> None:
    """They are the survivor's while it is merged, can be taken back there, and return with it."""
    async with merging(tmp_path) as one:
        for id in "abc":
            await one.save(ada(id))
        index = one.home.index
        await distinct.mark(index, ["b", "c"], "sisters", "steward")
        await one.merge("a", "b")
        with index.snapshot() as snapshot:
            assert [(mark.row, mark.other) for mark in snapshot.distinct_of(1)] == [(1, 3)]
            assert [(mark.row, mark.other) for mark in snapshot.distinct_of(3)] == [(3, 1)]
            assert snapshot.is_distinct(1, 3)
        await one.unmerge("b")
        with index.snapshot() as snapshot:
            assert not snapshot.is_distinct(1, 3)
            assert snapshot.is_distinct(2, 3)
        await one.merge("a", "b")
        assert await distinct.unmark(index, ["c", "a"]) == 1
        await one.merge("a", "c")
        await one.merger.unmerge(["c"], {}, "", WHY, mark_distinct=True)
        with pytest.raises(MergeConflict):
            await one.merge("a", "c")
        one.verify()


async def test_what_is_not_merged_is_not_given_back(tmp_path: Path) -> None:
    """Each refusal is its own."""
    async with merging(tmp_path) as one:
        for id in "abcde":
            await one.save(ada(id))
        await one.merge("a", "b")
        await one.merge("c", "d")
        await one.home.registry.delete("e", "", "wanted it", "steward")
        for ids, error in (
            ("a", NotMerged),
            ("z", NotFound),
            ("e", Deleted),
            ("bd", InvalidArgument),
            ("bb", InvalidArgument),
            ("", InvalidArgument),
        ):
            with pytest.raises(error):
                await one.unmerge(*ids)
        with pytest.raises(StaleEtag):
            await one.merger.unmerge(["b"], {}, "1", WHY)
        assert sorted(one.live()) == ["a", "c"]


async def test_of_merges_of_overlapping_customers_one_wins_whole(tmp_path: Path) -> None:
    """Whichever is first; the others are told that a customer is merged."""
    async with merging(tmp_path) as one:
        for number in range(9):
            await one.save(ada(f"c{number}", f"c{number}@x.example"))
        tasks = [one.merge("c0", f"c{n}", f"c{n + 1}") for n in range(1, 8)]
        tasks += [one.merge(f"c{n}", "c0") for n in range(1, 9)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} == {Done, Merged}
        assert len(one.live()) == 9 - sum(
            len(record.members) for record in merges(one) if not record.undone
        )
        one.verify()


async def test_a_request_is_done_once(tmp_path: Path) -> None:
    """A retry returns what the first try came to, also one that is sent meanwhile."""
    async with merging(tmp_path) as one:
        for id in "ab":
            await one.save(ada(id))
        plan, why = Plan((Asked("a"), Asked("b"))), Why("steward", request_id="r1")
        merged = await asyncio.gather(*(one.merger.merge(plan, why) for _ in range(3)))
        merged.append(await one.merger.merge(plan, why))
        given = await asyncio.gather(*(one.merger.unmerge(["b"], {}, "", why) for _ in range(3)))
        given.append(await one.merger.unmerge(["b"], {}, "", why))
        assert (len({*merged}), len({*given})) == (1, 1)
        assert merged[0].sequence < given[0].sequence


async def test_a_request_is_answered_after_a_merge(tmp_path: Path) -> None:
    """With whom it is now, as its id leads there; not where all of it was deleted."""
    terms = replace(TERMS, request_id="once")
    async with merging(tmp_path) as one:
        await one.save(ada("a"))
        registry, settings = one.home.registry, one.home.settings

        async def save() -> Saved | Exception:
            (saved,) = await registry.save([wire.card(ada("b"), settings)], terms)
            return saved

        first = await save()
        await one.merge("a", "b")
        again = await save()
        assert isinstance(first, Saved)
        assert isinstance(again, Saved)
        assert (again.outcome, again.sequence) == (Outcome.CREATED, first.sequence)
        assert v1.Customer.FromString(again.record) == one.card("a")
        card = wire.masked_card(v1.Customer(id="b", comment="x"), ["comment"], settings, "")
        assert (await registry.update(card, ["comment"], terms)) == again
        await registry.delete("a", "", "wanted it", "steward")
        assert isinstance(await save(), Deleted)


@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_a_merge_that_is_done_is_an_operation_that_is_done(how: str, tmp_path: Path) -> None:
    """Whoever wanted to end it while the writer had it already."""
    async with merging(tmp_path) as one:
        for id in "ab":
            await one.save(ada(id))
        operations = Operations(one.home.index, one.home.settings)
        begin, let_go = asyncio.Event(), threading.Event()

        async def work(operation: Operation, progress: Progress) -> Ended:
            progress.tell("merging", 0.0)
            await begin.wait()
            plan = Plan((Asked("a"), Asked("b")))
            return await merge_work(one.merger, plan, WHY)(operation, progress)

        def hold(_view: View) -> Decision[None]:
            assert let_go.wait(30)
            return Decision(None)

        name = (await operations.start("merge", {}, "steward", work)).name
        await asyncio.sleep(1.5 * ATTEND_S)  # its progress is noted: that waits for nobody then
        if how == "cancelled":
            await operations.cancel(name)
        held = asyncio.create_task(one.home.index.submit([hold]))
        begin.set()
        await asyncio.sleep(0.1)
        closing = asyncio.create_task(operations.close() if how == "closed" else asyncio.sleep(0))
        await asyncio.sleep(1.5 * ATTEND_S)
        let_go.set()
        await asyncio.gather(held, closing)
        ended = await operations.wait(name, 10.0, asyncio.Event())
        await operations.close()
        assert one.leads_to("b") == (State.MERGED, "a")
        assert ended.failure is None
        assert ended.result == {"sequence": 3}


async def test_the_history_of_a_survivor_has_each_change_as_it_was(tmp_path: Path) -> None:
    """Who was the survivor then may be the member of a member by now."""
    async with merging(tmp_path) as one:
        for id in "abcd":
            await one.save(ada(id, tags=[id]))
        merged = await one.merge("b", "c")
        await one.unmerge("c")
        await one.merge("a", "c")
        await one.merge("a", "b")
        assert (await told(one, "a"))[merged.sequence] == ("b", ["c"], ["tags"])
        await one.unmerge("b", "c")
        await one.merge("b", "c")
        await one.merge("a", "b")
        parted = await one.unmerge("c")  # by a, and by b, which is its member
        assert (await told(one, "a"))[parted.sequence] == ("a", ["c"], ["tags"])
        await one.unmerge("b")
        await one.merge("d", "b")
        await one.merge("d", "a")
        assert (await told(one, "d"))[parted.sequence] == ("a", ["c"], ["tags"])


async def told(one: Merging, id: str) -> dict[int, tuple[str, list[str], list[str]]]:
    """Return what a customer's history says of each change: whose, of whom, in which fields."""
    with one.home.index.snapshot() as snapshot:
        row = snapshot.find(id).row
        ids = {snapshot.row_of(one): one for one in "abcd"}
        found, _ = await history_page(snapshot, row, POSITION_LIMIT, 100, 1 << 20, Pace())
    changes = {entry.sequence: (row, v1.Change.FromString(entry.diff)) for row, entry in found}
    assert len(changes) == len(found)
    return {
        sequence: (ids[row], list(change.merged_ids), list(change.fields.paths))
        for sequence, (row, change) in changes.items()
    }


async def test_deleting_a_survivor_deletes_all_that_it_is(tmp_path: Path) -> None:
    """Members too, for ever; nothing of them is in the file but their ids."""
    async with merging(tmp_path) as one:
        for id in "abc":
            await one.save(ada(id, f"secret.{id}@x.example"))
        await one.merge("b", "c")
        await one.merge("a", "b")
        await one.home.registry.delete("a", "", "wanted it", "steward")
        for id in "abc":
            assert one.leads_to(id) == (State.DELETED, "")
        with one.home.index.snapshot() as snapshot:
            for table in ("customers", "merged", "members", "bonds", "identities", "features"):
                assert snapshot.entries(table) == 0
            for table in TABLES:
                with snapshot.cursor(table) as cursor:
                    assert not [value for _, value in cursor if b"secret" in value]
        with pytest.raises(Deleted):
            await one.unmerge("b")
        one.verify()


async def test_redirects_lead_through_any_number_of_merges(tmp_path: Path) -> None:
    """Also when each survivor is merged into the next."""
    async with merging(tmp_path) as one:
        for number in range(300):
            await one.save(ada(f"c{number}"))
        for number in range(299):
            await one.merge(f"c{number + 1}", f"c{number}")
        assert one.leads_to("c0") == (State.MERGED, "c299")
        with one.home.index.snapshot() as snapshot:
            assert snapshot.live_row(1) == 300
            assert snapshot.tree(300) == list(range(300, 0, -1))
        await one.unmerge("c0")
        assert one.live() == ["c0", "c299"]


def merges(one: Merging) -> list[MergeRecord]:
    """Return what is kept of merges, newest first."""
    with one.home.index.snapshot() as snapshot:
        return [merge_record(stored) for _, stored in snapshot.merges()]
