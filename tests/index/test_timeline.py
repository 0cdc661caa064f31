"""Timelines agree with plain lists after any sequence of writes, in any order of rows."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from service.core.model import Channel
from service.errors import InvalidArgument
from service.index import (
    Decision,
    DropItems,
    DropLeaving,
    Index,
    Item,
    Mutation,
    Place,
    PutItems,
    PutPin,
    Timeline,
    Wanted,
    items,
    layout,
    point_of,
    sharing_keys,
)
from service.index.timeline import DROP_STEP
from tests.index.cards import (
    JsonCodec,
    Person,
    bounds,
    faults,
    match_key,
    open_index,
    opened,
    remove,
    save,
    save_all,
    submit_one,
)
from tests.index.test_rekey import reopen, tagless
from tests.index.test_verify import Damage, Raw

CUSTOMERS = [f"c{number}" for number in range(1, 5)]  # whose rows are 1 to 4
ROWS = range(1, 5)
IDS = [f"i{number}" for number in range(12)]
NOTE, TASK, ORDER = 1, 5, 7
EMAILS = ["a.b@x.org", "ab@x.org", "c@y.org"]
PHONES = ["+5215512345678", "+525512345678"]
TIMES = [-(1 << 60), -5, -1, 0, 1, 2, 2_000_000, 1 << 60]
ORDERS = Wanted(frozenset({ORDER}))
ALL = Wanted(with_closed=True)
FEW = bounds(item_drop_rows=2)


@dataclass(frozen=True)
class Linked:
    """An item of the model."""

    number: int
    item: Item

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.item.time_us, self.number)


def points(emails: Sequence[str], phones: Sequence[str]) -> tuple[items.ItemPoint, ...]:
    """Return points by the rules of these tests."""
    return (
        *(point_of(Channel.EMAIL, email, match_key) for email in emails),
        *(point_of(Channel.PHONE, phone, match_key) for phone in phones),
    )


def some(values: list[str]) -> st.SearchStrategy[list[str]]:
    """At most one of them, as an order has."""
    return st.lists(st.sampled_from(values), max_size=1)


@st.composite
def given_items(draw: st.DrawFn) -> Item:
    """Any item of a customer, live or not."""
    row = draw(st.sampled_from(ROWS))
    return Item(
        draw(st.sampled_from(IDS)),
        row,
        f"c{row}",
        draw(st.sampled_from([NOTE, TASK, ORDER])),
        draw(st.sampled_from(TIMES)),
        draw(st.booleans()),
        points(draw(some(EMAILS)), draw(some(PHONES))),
        draw(st.binary(max_size=4)),
    )


BATCHES = st.lists(given_items(), min_size=1, max_size=8, unique_by=lambda item: item.id)
WANTED = st.builds(
    Wanted,
    kinds=st.sets(st.sampled_from([NOTE, TASK, ORDER, 9])).map(frozenset),
    from_us=st.none() | st.sampled_from(TIMES),
    to_us=st.none() | st.sampled_from(TIMES),
    with_closed=st.booleans(),
)
TREES = st.lists(st.sampled_from(ROWS), unique=True, min_size=1).filter(bool)


class AgainstLists(RuleBasedStateMachine):
    """The model: which customers live, items by id, what was pinned."""

    @initialize()
    def start(self) -> None:
        """Open a folder with four customers."""
        self.folder = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.index = open_index(self.folder, FEW)
        self.loop.run_until_complete(save_all(self.index, [Person(id) for id in CUSTOMERS]))
        self.live = set(ROWS)
        self.items: dict[str, Linked] = {}
        self.left: dict[str, Linked] = {}  # of deleted customers
        self.pins: dict[int, int] = {}
        self.next_number = 1

    def teardown(self) -> None:
        """Verify what is left."""
        if not hasattr(self, "index"):
            return
        try:
            assert faults(self.index) == []
        finally:
            self.loop.run_until_complete(self.index.close())
            self.loop.close()
            shutil.rmtree(self.folder)

    def write(self, *mutations: Mutation, dry_run: bool = False) -> bool:
        """Write, or be refused."""
        decisions = [lambda _: Decision(None, mutations)]
        submitted = self.index.submit(decisions, dry_run=dry_run)
        (outcome,) = self.loop.run_until_complete(submitted)
        assert outcome is None or isinstance(outcome, InvalidArgument)
        return outcome is None

    @contextmanager
    def timeline(self) -> Iterator[Timeline]:
        """Read."""
        with self.index.snapshot() as snapshot:
            yield snapshot.timeline

    @rule(batch=BATCHES)
    def put(self, batch: list[Item]) -> None:
        """New ones are behind all others in number; one that is there keeps its number."""
        written = self.write(PutItems(batch))
        assert written == all(item.row in self.live for item in batch)
        for item in batch if written else ():
            known = self.items.get(item.id) or self.left.pop(item.id, None)
            self.items[item.id] = Linked(self.next_number if known is None else known.number, item)
            self.next_number += known is None

    @rule(batch=BATCHES)
    def try_to_put(self, batch: list[Item]) -> None:
        """A dry run leaves nothing behind."""
        self.write(PutItems(batch), dry_run=True)

    @rule(ids=st.lists(st.sampled_from(IDS), max_size=4), unknown=st.integers(0, 99))
    def drop(self, ids: list[str], unknown: int) -> None:
        """Those that are there go; naming one twice, or none, is no error."""
        numbers = [self.items[id].number for id in ids if id in self.items]
        assert self.write(DropItems([*numbers, self.next_number + unknown]))
        for id in ids:
            self.items.pop(id, None)

    @rule(row=st.sampled_from(ROWS), id=st.none() | st.sampled_from(IDS))
    def pin(self, row: int, id: str | None) -> None:
        """Anything that is there, or nothing."""
        number = 0 if id is None or id not in self.items else self.items[id].number
        if self.write(PutPin(row, number)):
            self.pins[row] = number
        else:
            assert row not in self.live

    @rule(row=st.sampled_from(ROWS))
    def delete(self, row: int) -> None:
        """With a customer goes all that is linked to it, items as many as a commit may drop."""
        if row in self.live and len(self.live) > 1:
            done = submit_one(self.index, remove(self.index, f"c{row}"))
            self.loop.run_until_complete(done)
            self.live.remove(row)
            self.pins.pop(row, None)
            gone = {id: one for id, one in self.items.items() if one.item.row == row}
            self.items = {id: one for id, one in self.items.items() if id not in gone}
            if len(gone) > FEW.item_drop_rows:
                self.left |= gone

    @rule(limit=st.integers(1, 4))
    def sweep(self, limit: int) -> None:
        """What was left goes, by rows, lanes and places."""
        assert self.write(DropLeaving(limit))

        def entry(id: str) -> bytes:
            return items.entry_of(self.left[id].number, self.left[id].item)

        for id in sorted(self.left, key=entry)[:limit]:
            del self.left[id]

    @rule()
    def reopen(self) -> None:
        """Nothing is lost by a restart."""
        self.loop.run_until_complete(self.index.close())
        self.index = open_index(self.folder, FEW)

    def of(self, rows: Sequence[int], wanted: Wanted = ALL) -> list[Linked]:
        """Return the items of rows that are wanted, newest first."""
        found = [
            one
            for one in self.items.values()
            if one.item.row in rows
            and (not one.item.closed or wanted.with_closed)
            and (not wanted.kinds or one.item.kind in wanted.kinds)
            and (wanted.from_us is None or one.item.time_us >= wanted.from_us)
            and (wanted.to_us is None or one.item.time_us < wanted.to_us)
        ]
        return sorted(found, key=lambda one: one.place, reverse=True)

    @rule(rows=TREES, wanted=WANTED, page=st.integers(1, 5))
    def list_(self, rows: list[int], wanted: Wanted, page: int) -> None:
        """Page by page, each item once, whatever the order of the tree."""
        rows = [row for row in rows if row in self.live]
        found: list[Linked] = []
        after: Place | None = None
        with self.timeline() as timeline:
            while part := list(islice(timeline.listed(rows, wanted, after), page)):
                found += [Linked(place.number, item) for place, item in part]
                after = part[-1][0]
                assert len(found) <= len(self.items)  # else there would be no end
        assert found == self.of(rows, wanted)

    @rule(rows=TREES)
    def pinned(self, rows: list[int]) -> None:
        """What the first row says of which somebody did, of notes of the tree or of none."""
        rows = [row for row in rows if row in self.live]
        notes = {one.number: one.item for one in self.of(rows) if one.item.kind == NOTE}
        said = [self.pins[row] for row in rows if row in self.pins]
        counting = [number for number in said if number in notes or not number]
        expected = (counting[0], notes[counting[0]]) if any(counting[:1]) else None
        with self.timeline() as timeline:
            assert timeline.pinned(rows, NOTE) == expected

    @invariant()
    def found_by_points(self) -> None:
        """By normal form and match key, newest first, each once."""
        if not hasattr(self, "index"):
            return
        with self.timeline() as timeline:
            for channel, values in ((Channel.EMAIL, EMAILS), (Channel.PHONE, PHONES)):
                for value in values:
                    key = match_key(channel, value)
                    expected = [
                        (one.place, one.item.row)
                        for one in self.of(ROWS)
                        if any(p.channel is channel and p.match == key for p in one.item.points)
                    ]
                    found = timeline.sharing(sharing_keys(channel, value, key))
                    assert [one for one in found if not timeline.is_leaving(one[1])] == expected

    @invariant()
    def counted(self) -> None:
        """By kind, of any tree; ids lead to their items, and nothing else is stored."""
        if not hasattr(self, "index"):
            return
        with self.timeline() as timeline:
            for rows in ([1], [2, 3], list(ROWS)):
                rows = [row for row in rows if row in self.live]
                expected = Counter(one.item.kind for one in self.of(rows))
                assert timeline.counts(rows) == expected
            for id in IDS:
                known = self.items.get(id)
                assert timeline.number_of(id) == (None if known is None else known.number)
            assert timeline.next_number == self.next_number
        with self.index.snapshot() as snapshot:
            for table in ("items", "item_ids", "timeline"):
                assert snapshot.stored(table) == len(self.items) + len(self.left)
            assert snapshot.stored("pins") == len(self.pins)


TestAgainstLists = AgainstLists.TestCase
TestAgainstLists.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


async def write(index: Index, *mutations: Mutation) -> None:
    """Write; raise what was refused."""
    (outcome,) = await index.submit([lambda _: Decision(None, mutations)])
    if outcome is not None:
        raise outcome


def note(id: str, row: int = 1, time_us: int = 0, kind: int = NOTE) -> Item:
    """Return an item of a customer."""
    return Item(id, row, f"c{row}", kind, time_us)


async def test_items_of_one_group_see_each_other(tmp_path: Path) -> None:
    """Decisions of one commit: added, replaced, deleted, and the customer created just before."""
    async with opened(tmp_path) as index:
        decisions = [
            save(index, Person("c1")),
            lambda _: Decision(None, [PutItems([note("a"), note("b")])]),
            lambda _: Decision(None, [PutItems([note("a", time_us=9)]), DropItems([2])]),
            lambda view: Decision(view.timeline.counts([1])),
        ]
        *_, counts = await index.submit(decisions)
        assert counts == {NOTE: 1}
        with index.snapshot() as snapshot:
            assert list(snapshot.timeline.listed([1], ALL)) == [(Place(9, 1), note("a", 1, 9))]
        assert faults(index) == []


async def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    """Before anything of the decision is put."""
    async with opened(tmp_path) as index:
        await save_all(index, [Person("c1")])
        with pytest.raises(InvalidArgument):
            await write(index, PutItems([note("a"), note("b", row=2)]))
        with pytest.raises(InvalidArgument):
            await write(index, PutPin(2, 0))
        with index.snapshot() as snapshot:
            assert snapshot.stored("items") == 0
    for fault in ({"id": ""}, {"id": "x" * 512}, {"kind": 0}, {"kind": 128}, {"time_us": 1 << 63}):
        with pytest.raises(InvalidArgument):
            replace(note("a"), **fault)
    with pytest.raises(InvalidArgument):
        PutItems([note("a"), note("a", time_us=1)])


async def test_a_pin_is_that_of_the_first_row_that_said_something(tmp_path: Path) -> None:
    """Of a merged tree; it counts while its item is a note of that tree."""
    async with opened(tmp_path) as index:
        await save_all(index, [Person(id) for id in CUSTOMERS])
        await write(index, PutItems([note("a", 1), note("b", 2), note("c", 3)]), PutPin(2, 2))

        def pinned(*rows: int) -> str | None:
            with index.snapshot() as snapshot:
                found = snapshot.timeline.pinned(rows, NOTE)
            return None if found is None else found[1].id

        assert [pinned(1), pinned(2), pinned(1, 2), pinned(2, 1)] == [None, "b", "b", "b"]
        await write(index, PutPin(1, 1))
        assert [pinned(1, 2), pinned(2, 1), pinned(3, 2, 1)] == ["a", "b", "b"]
        await write(index, PutPin(1, 0))
        assert [pinned(1, 2), pinned(2, 1)] == [None, "b"]
        await write(index, PutPin(1, 3), PutPin(3, 0))  # of somebody else, who says none
        assert [pinned(1, 2), pinned(1, 3, 2)] == ["b", "c"]
        await write(index, DropItems([3]))
        assert [pinned(1, 2), pinned(1, 3, 2)] == ["b", None]
        await write(index, PutPin(1, 2))  # of its member, which is then given back
        assert [pinned(1, 2), pinned(1), pinned(2)] == ["b", None, "b"]
        await write(index, PutItems([note("b", 3)]))
        assert [pinned(2), pinned(2, 3), pinned(1, 3)] == [None, "b", "b"]
        await write(index, PutItems([note("b", 3, kind=TASK)]))
        assert pinned(2, 3) is None
        await write(index, DropItems([2]), PutItems([note("d", 2)]))
        assert [pinned(2), pinned(2, 3)] == [None, None]
        assert faults(index) == []


async def test_more_items_than_are_deleted_at_once(tmp_path: Path) -> None:
    """Go with their customer, in one transaction, and no other."""
    count = DROP_STEP + 5
    async with opened(tmp_path, bounds(item_drop_rows=count)) as index:
        await save_all(index, [Person("c1"), Person("c2")])
        many = [replace(note(f"i{n}", time_us=n % 97), points=points(EMAILS[:1], ())) for n in
                range(count)]  # fmt: skip
        await write(index, PutItems(many), PutItems([note("other", row=2)]), PutPin(1, 7))
        assert faults(index) == []
        await submit_one(index, remove(index, "c1"))
        assert faults(index) == []
        with index.snapshot() as snapshot:
            for table in ("items", "item_ids", "timeline", "item_counts"):
                assert snapshot.stored(table) == 1
            for table in ("item_points", "pins"):
                assert snapshot.stored(table) == 0


async def test_a_commit_drops_so_many_items_of_all_its_deletions(tmp_path: Path) -> None:
    """Those of further customers are left, with word of it and no pins, until they are swept."""
    async with opened(tmp_path, FEW) as index:
        await save_all(index, [Person(id) for id in CUSTOMERS])
        many = [note(f"{row}-{n}", row) for row in (1, 2, 3, 4) for n in range(2)]
        await write(index, PutItems(many[:-1]), *(PutPin(row, 1) for row in ROWS))
        await index.submit([remove(index, id) for id in CUSTOMERS])
        assert faults(index) == []

        def left() -> list[int]:
            with index.snapshot() as snapshot:
                return [snapshot.stored(table) for table in ("leaving", "items", "pins")]

        assert left() == [3, 5, 0]
        await write(index, DropLeaving(3))
        assert left() == [2, 2, 0]
        await write(index, DropLeaving(9))
        assert left() == [0, 0, 0]
        assert faults(index) == []


async def test_match_keys_of_items_follow_the_rules(tmp_path: Path) -> None:
    """Made anew with those of customers."""
    async with opened(tmp_path) as index:
        index.follow_rules(JsonCodec(), "1")
        await save_all(index, [Person("c1")])
        orders = [
            replace(note(f"i{n}", kind=ORDER), points=points([email], PHONES[:1]))
            for n, email in enumerate(("a.b+x@x.org", "ab+y@x.org", "long." * 50 + "@x.org"))
        ]
        await write(index, PutItems([*orders, note("plain")]))
        assert faults(index) == []
    index = reopen(tmp_path)
    assert {fault.table for fault in faults(index)} == {"items"}
    index.follow_rules(JsonCodec(), "2")
    assert faults(index) == []
    with index.snapshot() as snapshot:
        keys = sharing_keys(Channel.EMAIL, "a.b@x.org", tagless(Channel.EMAIL, "a.b@x.org"))
        assert [place.number for place, _ in snapshot.timeline.sharing(keys)] == [1]
    await index.close()


# Items: 1 "a", a closed task of row 1; 2 "b", an order of row 2 with an e-mail.
TASK_A = Item("a", 1, "c1", TASK, 5, closed=True)
ORDER_B = Item("b", 2, "c2", ORDER, 5, points=points(EMAILS[:1], ()))
ONE, TWO = layout.pack_u64(1), layout.pack_u64(2)
KEY, PACKED = min(items.points_of(2, ORDER_B))
LANE = items.pack_lane(2, ORDER)


def put_item(raw: Raw, item: Item, number: bytes = TWO) -> None:
    """Replace an item alone."""
    raw.put("items", number, items.encode_item(item))


DAMAGES: dict[str, tuple[Damage, str]] = {
    "item unreadable": (lambda raw: raw.put("items", ONE, b"\x01"), "items"),
    "item of another version": (lambda raw: raw.put("items", ONE, b"\x07"), "items"),
    "item cut": (
        lambda raw: raw.put("items", TWO, items.encode_item(ORDER_B)[:-9]), "items"),
    "item lost": (lambda raw: raw.delete("items", ONE), "item_ids"),
    "item of nobody": (lambda raw: put_item(raw, replace(ORDER_B, customer_id="gone")), "items"),
    "item of a row that its customer never had": (
        lambda raw: put_item(raw, replace(ORDER_B, row=1)), "items"),
    "item beyond the counter": (
        lambda raw: put_item(raw, replace(TASK_A, id="z"), layout.pack_u64(9)), "meta"),
    "item of another time": (lambda raw: put_item(raw, replace(ORDER_B, time_us=6)), "timeline"),
    "match key of other rules": (
        lambda raw: put_item(raw, replace(ORDER_B, points=(items.ItemPoint(
            Channel.EMAIL, "a.b@x.org", "A.B@x.org"),))), "items"),
    "id lost": (lambda raw: raw.delete("item_ids", b"a"), "item_ids"),
    "id of another item": (lambda raw: raw.put("item_ids", b"a", TWO), "item_ids"),
    "id too many": (lambda raw: raw.put("item_ids", b"z", TWO), "item_ids"),
    "place lost": (lambda raw: raw.delete("timeline", items.entry_of(1, TASK_A)), "timeline"),
    "place too many": (
        lambda raw: raw.put("timeline", items.entry_of(1, replace(TASK_A, closed=False)), b""),
        "timeline"),
    "place cut": (lambda raw: raw.put("timeline", b"\0\1", b""), "timeline"),
    "count wrong": (lambda raw: raw.put("item_counts", LANE, TWO), "item_counts"),
    "count lost": (lambda raw: raw.delete("item_counts", LANE), "item_counts"),
    "count of nothing": (
        lambda raw: raw.put("item_counts", items.pack_lane(1, NOTE), ONE), "item_counts"),
    "point lost": (lambda raw: raw.delete("item_points", KEY, PACKED), "item_points"),
    "point too many": (
        lambda raw: raw.put("item_points", b"\x01z", PACKED), "item_points"),
    "items to go of a live customer": (
        lambda raw: raw.put("leaving", ONE, b""), "leaving"),
    "items left without word": (lambda raw: raw.delete("leaving", layout.pack_u64(4)), "items"),
    "pin of no item": (lambda raw: raw.put("pins", ONE, layout.pack_u64(5)), "pins"),
    "pin of no row": (lambda raw: raw.put("pins", layout.pack_u64(9), ONE), "pins"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
async def test_damage_is_found(tmp_path: Path, name: str) -> None:
    """Each kind of damage yields a fault in the sub-database that it concerns."""
    async with opened(tmp_path, bounds(item_drop_rows=1)) as index:
        await save_all(index, [Person(id) for id in ("c1", "c2", "gone", "c4")])
        await submit_one(index, remove(index, "gone"))
        await write(index, PutItems([TASK_A, ORDER_B]), PutPin(1, 1))
        await write(index, PutItems([note("left", 4), note("too", 4)]))
        await submit_one(index, remove(index, "c4"))
        assert faults(index) == []
    damage, table = DAMAGES[name]
    raw = Raw(tmp_path)
    damage(raw)
    raw.close()
    async with opened(tmp_path) as index:
        assert table in {fault.table for fault in faults(index)}
