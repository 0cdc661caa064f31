"""The index agrees with a dict after any sequence of writes, look-ups and restarts."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.core.model import Channel
from service.errors import Deleted, InvalidArgument, NotFound
from service.index import (
    ChangeKind,
    Decide,
    Decision,
    DropDistinct,
    DropGroups,
    Kind,
    Mutation,
    Put,
    PutDistinct,
    PutGroups,
    PutModel,
    PutOperation,
    SortWaiting,
    State,
    layout,
)
from tests.index.cards import (
    Person,
    Saved,
    all_blocks,
    faults,
    features_of,
    match_key,
    open_index,
    read,
    remove,
    save,
)

IDS = [f"id-{number}" for number in range(8)]
EMAILS = ["a.b@x.org", "ab@x.org", "a.b.@x.org", "c@y.org", "long" * 200 + "@y.org"]
PHONES = ["+5215512345678", "+525512345678", "+12025550123"]
OTHERS = [("crm", "1"), ("crm", "2"), ("chat", "1"), ("chat", "9" * 600)]
DOMAINS = ["x.org", "y.org"]
WORK = ["job/1", "job/2", "other"]
SCANS = [1, 2, 256]


def some(values: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    """A few distinct values."""
    return st.lists(st.sampled_from(values), unique=True, max_size=3).map(tuple)


PEOPLE = st.builds(
    Person,
    id=st.sampled_from(IDS),
    emails=some(EMAILS),
    phones=some(PHONES),
    others=st.lists(st.sampled_from(OTHERS), unique=True, max_size=2).map(tuple),
    pending=some(DOMAINS),
    note=st.text(max_size=5) | st.sampled_from(["Ada", "Ида", "1 High St"]),
)


class AgainstDict(RuleBasedStateMachine):
    """The model: rows of ids, people of rows, events, history, and what else is kept."""

    @initialize()
    def start(self) -> None:
        """Open an empty folder."""
        self.folder = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.index = open_index(self.folder)
        self.rows: dict[str, int] = {}
        self.people: dict[int, Person] = {}
        self.events: list[tuple[ChangeKind, int, str]] = []
        self.history: dict[int, list[int]] = {}
        self.work: dict[str, bytes] = {}
        self.distinct: dict[tuple[int, int], tuple[str, str]] = {}  # both ways: actor and reason
        self.models: list[tuple[str, bytes]] = []
        self.groups: dict[int, dict[int, bytes]] = {scan: {} for scan in SCANS}
        self.last_us = 0

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

    def submit(self, decisions: list[Decide[Saved]]) -> list[Saved | Exception]:
        """Write, whatever comes of it."""
        return self.loop.run_until_complete(self.index.submit(decisions))

    @rule(batch=st.lists(PEOPLE, min_size=1, max_size=5), bulk=st.booleans())
    def save(self, batch: list[Person], bulk: bool) -> None:
        """Create and update in one submission; an id that was deleted is refused.

        New ones stand in sorted runs, or in the B-trees: nobody sees which.
        """
        outcomes = self.submit([save(self.index, person, bulk=bulk) for person in batch])
        times = {outcome.time_us for outcome in outcomes if isinstance(outcome, Saved)}
        for person, outcome in zip(batch, outcomes, strict=True):
            row = self.rows.get(person.id)
            if row is not None and row not in self.people:
                assert isinstance(outcome, Deleted)
                continue
            assert isinstance(outcome, Saved)
            kind = ChangeKind.CREATED if row is None else ChangeKind.UPDATED
            row = self.rows.setdefault(person.id, len(self.rows) + 1)
            self.events.append((kind, row, person.id))
            assert (outcome.row, outcome.sequence) == (row, len(self.events))
            self.people[row] = person
            self.history.setdefault(row, []).append(outcome.sequence)
        if times:
            (time_us,) = times
            assert time_us > self.last_us
            self.last_us = time_us

    @rule(id=st.sampled_from(IDS))
    def remove(self, id: str) -> None:
        """Delete; only the deletion is left of the history."""
        (outcome,) = self.submit([remove(self.index, id, "someone", "asked")])
        row = self.rows.get(id)
        if row is None or row not in self.people:
            assert isinstance(outcome, NotFound)
            return
        assert isinstance(outcome, Saved)
        del self.people[row]
        self.distinct = {pair: why for pair, why in self.distinct.items() if row not in pair}
        self.events.append((ChangeKind.DELETED, row, id))
        self.history[row] = [outcome.sequence]
        self.last_us = outcome.time_us

    @rule(batch=st.lists(PEOPLE, min_size=1, max_size=5))
    def try_to_save(self, batch: list[Person]) -> None:
        """A dry run leaves nothing behind."""
        decisions = [save(self.index, person) for person in batch]
        self.loop.run_until_complete(self.index.submit(decisions, dry_run=True))

    @rule(id=st.sampled_from(IDS))
    def rewrite(self, id: str) -> None:
        """A record that is compared by what it was compared by before: its features stay."""
        row = self.rows.get(id, 0)
        if row not in self.people:
            return
        person = self.people[row]
        entries = self.index.entries_of(person.held)
        self.put(Put(row, id, person.record, entries, entries, ChangeKind.VERDICT))
        self.events.append((ChangeKind.VERDICT, row, id))
        self.history[row].append(len(self.events))

    def put(self, *mutations: Mutation) -> object:
        """Write what no other decision says."""
        submitted = self.index.submit([lambda _: Decision(None, mutations)])
        (outcome,) = self.loop.run_until_complete(submitted)
        return outcome

    @rule(
        pairs=st.lists(
            st.tuples(st.integers(1, 9), st.integers(1, 9)).filter(lambda pair: pair[0] != pair[1]),
            min_size=1,
            max_size=3,
        ),
        actor=st.text(max_size=3),
        reason=st.text(max_size=3),
    )
    def mark(self, pairs: list[tuple[int, int]], actor: str, reason: str) -> None:
        """Pairs stand under both, the last word counts; of those who are not there, none does."""
        outcome = self.put(*(PutDistinct(*pair, actor, reason) for pair in pairs))
        if all(row in self.people for pair in pairs for row in pair):
            assert outcome is None
            for row, other in pairs:
                self.distinct[row, other] = self.distinct[other, row] = (actor, reason)
        else:
            assert isinstance(outcome, InvalidArgument)

    @rule(row=st.integers(1, 9), other=st.integers(1, 9))
    def unmark(self, row: int, other: int) -> None:
        """Taking back what was never said is nothing."""
        assert self.put(DropDistinct(row, other)) is None
        self.distinct.pop((row, other), None)
        self.distinct.pop((other, row), None)

    @rule(limit=st.integers(1, 200))
    def sort_waiting(self, limit: int) -> None:
        """What batches left waiting, or the first of it, is found by domain."""
        with self.index.snapshot() as snapshot:
            waiting = snapshot.waiting(limit)
        assert self.put(SortWaiting(waiting)) is None

    @rule(text=st.text(max_size=5), frequencies=st.binary(max_size=5))
    def model(self, text: str, frequencies: bytes) -> None:
        """The last one is in use."""
        assert self.put(PutModel(text, frequencies, "trainer")) is None
        self.models.append((text, frequencies))

    @rule(scan=st.sampled_from(SCANS), groups=st.lists(st.binary(min_size=1), max_size=3))
    def add_groups(self, scan: int, groups: list[bytes]) -> None:
        """Behind those that the scan has."""
        first = max(self.groups[scan], default=0) + 1
        assert self.put(PutGroups(scan, first, groups)) is None
        self.groups[scan].update(enumerate(groups, first))

    @rule(scan=st.sampled_from(SCANS), limit=st.integers(1, 4))
    def drop_groups(self, scan: int, limit: int) -> None:
        """The lowest ranks first, of this scan alone."""
        assert self.put(DropGroups(scan, limit)) is None
        for rank in sorted(self.groups[scan])[:limit]:
            del self.groups[scan][rank]

    @rule(key=st.sampled_from(WORK), state=st.none() | st.binary())
    def operation(self, key: str, state: bytes | None) -> None:
        """Keep or forget a piece of work."""
        decision = Decision(None, (PutOperation(key, state),))
        self.loop.run_until_complete(self.index.submit([lambda _: decision]))
        if state is None:
            self.work.pop(key, None)
        else:
            self.work[key] = state

    @precondition(lambda self: bool(self.rows))
    @rule()
    def reopen(self) -> None:
        """Nothing is lost by a restart."""
        self.loop.run_until_complete(self.index.close())
        self.index = open_index(self.folder)

    @rule(id=st.sampled_from(IDS), email=st.sampled_from(EMAILS), phone=st.sampled_from(PHONES))
    def look_up(self, id: str, email: str, phone: str) -> None:
        """Ids, identities, sharers and pages of them."""
        with self.index.snapshot() as snapshot:
            row = self.rows.get(id)
            found = snapshot.find(id)
            if row is None:
                assert found.state is State.MISSING
            elif row in self.people:
                assert (found.state, found.row, found.id) == (State.LIVE, row, id)
                assert snapshot.record(row) == self.people[row].record
            else:
                assert found.state is State.DELETED
            for channel, kind, value in (
                (Channel.EMAIL, Kind.EMAIL, email), (Channel.PHONE, Kind.PHONE, phone),
            ):  # fmt: skip
                held = {r: p.emails + p.phones for r, p in sorted(self.people.items())}
                same = [r for r, values in held.items() if value in values]
                assert snapshot.rows(kind, value) == same
                assert snapshot.count(kind, value, 2) == min(2, len(same))
                key = match_key(channel, value)
                sharing = [
                    r for r, values in held.items() if any(match_key(channel, v) == key
                    for v in values if ("@" in v) == (channel is Channel.EMAIL))
                ]  # fmt: skip
                assert snapshot.sharing(channel, value, key) == sharing
                assert snapshot.count_sharing(channel, value, key, 3) == min(3, len(sharing))
                after = sharing[0] if sharing else 0
                assert snapshot.sharing(channel, value, key, after, 2) == sharing[1:3]

    @rule(limit=st.integers(1, 5), cut=st.integers(0, 20))
    def scan(self, limit: int, cut: int) -> None:
        """Pages of customers, changes and history, both ways."""
        with self.index.snapshot() as snapshot:
            rows = sorted(self.people)
            ahead = [row for row in rows if row > cut]
            assert [row for row, _ in snapshot.customers(cut, limit)] == ahead[:limit]
            found = list(zip(*snapshot.records(cut, limit, 1 << 20), strict=True))
            assert found == list(snapshot.customers(cut, limit))
            behind = [row for row in reversed(rows) if row < cut]
            assert [row for row, _ in snapshot.customers_before(cut, limit)] == behind[:limit]
            numbers = range(1, len(self.events) + 1)
            page = snapshot.changes(cut, limit)
            assert [c.sequence for c in page] == [n for n in numbers if n > cut][:limit]
            assert [(c.kind, c.row, c.id) for c in page] == self.events[cut : cut + limit]
            back = [c.sequence for c in snapshot.changes_before(cut, limit)]
            assert back == [n for n in reversed(numbers) if n < cut][:limit]
            for row, sequences in self.history.items():
                newest = [n for n in reversed(sequences) if n < cut]
                assert [h.sequence for h in snapshot.history(row, cut, limit)] == newest[:limit]

    @invariant()
    def compared(self) -> None:
        """Features and blocks are those that the records ask for, and no others."""
        if not hasattr(self, "index"):
            return
        expected = {row: features_of(one.record) for row, one in sorted(self.people.items())}
        asked = [
            entry for row, packed in expected.items() for entry in layout.block_entries(packed, row)
        ]
        with self.index.snapshot() as snapshot:
            assert dict(snapshot.features()) == expected
            assert snapshot.features_at([*expected, 99]) == [*expected.items()]
            assert all_blocks(snapshot) == sorted(asked)
            assert snapshot.entries("blocks") == len(asked)
            for key, entry in asked:
                (block,) = snapshot.blocks([(key, 0)], 100)
                assert layout.unpack_u64(entry) & layout.ROW_MASK in block.rows
                assert block.size == len(block.rows)

    @rule(row=st.integers(0, 9), limit=st.integers(1, 3))
    def told_apart(self, row: int, limit: int) -> None:
        """Pairs by row and all of them, page by page."""
        with self.index.snapshot() as snapshot:
            pairs = snapshot.distinct_of(row, row, limit)
            others = [other for one, other in sorted(self.distinct) if one == row]
            above = [other for other in others if other > row]
            assert [pair.other for pair in pairs] == above[:limit]
            assert [pair.other for pair in snapshot.distinct_of(row)] == others
            assert [(p.actor, p.reason) for p in pairs] == [
                self.distinct[row, other] for other in above[:limit]
            ]
            found, after = [], (0, 0)
            while page := snapshot.distinct_pairs(after, limit):
                found += page
                after = page[-1]
            assert found == [pair for pair in sorted(self.distinct) if pair[0] < pair[1]]
            for other in range(10):
                assert snapshot.is_distinct(row, other) == ((row, other) in self.distinct)

    @invariant()
    def learnt(self) -> None:
        """The model in use, with a version that tells it from all before it, and all groups."""
        if not hasattr(self, "index"):
            return
        with self.index.snapshot() as snapshot:
            stored = snapshot.model()
            if self.models:
                text, frequencies = self.models[-1]
                assert stored is not None
                assert (stored.text, stored.actor) == (text, "trainer")
                assert stored.version == snapshot.model_version == len(self.models)
                assert snapshot.frequencies() == frequencies
            else:
                assert stored is None
                assert (snapshot.model_version, snapshot.frequencies()) == (0, b"")
            for scan in SCANS:
                assert snapshot.groups(scan) == sorted(self.groups[scan].items())
                assert (
                    snapshot.groups(scan, 1, 2)
                    == [
                        (rank, group)
                        for rank, group in sorted(self.groups[scan].items())
                        if rank > 1
                    ][:2]
                )

    @invariant()
    def everything(self) -> None:
        """Counts, records, pending domains and operations."""
        if not hasattr(self, "index"):
            return
        with self.index.snapshot() as snapshot:
            assert snapshot.sequence == len(self.events)
            assert snapshot.customer_count == len(self.people)
            assert {row: read(record) for row, record in snapshot.customers()} == self.people
            waiting = {
                domain: [row for row, person in sorted(self.people.items())
                         if domain in person.pending]
                for domain in DOMAINS
            }  # fmt: skip
            assert snapshot.entries("pending") == sum(map(len, waiting.values()))
            for batch in snapshot.waiting(1 << 20).values():
                for name, row in layout.decode_waiting(batch):
                    waiting[name.decode()].remove(layout.unpack_u64(row))
            assert snapshot.pending_domains() == [d for d in DOMAINS if waiting[d]]
            for domain, rows in waiting.items():
                assert snapshot.pending_rows(domain) == rows
                assert snapshot.pending_rows(domain, 2, 1) == [r for r in rows if r > 2][:1]
            stored = {key: snapshot.operation(key) for key in WORK}
            assert stored == {key: self.work.get(key) for key in WORK}


TestAgainstDict = AgainstDict.TestCase
TestAgainstDict.settings = settings(
    max_examples=50,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
