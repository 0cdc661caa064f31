"""What the policy does where groups are chains, others are faster, or something fails."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from namesake import v1
from service.errors import IndexBusy, OperationUnderWay, StorageFull
from service.identity import distinct, machine
from service.identity.due import AFTER_IMPORT, Due, created, every_due, spans, spans_of
from service.identity.judging import Judge, Outcome
from service.identity.machine import MachineMerger
from service.identity.matching import Matcher
from service.identity.merging import Done, Merger, Plan, Why
from service.identity.operations import Done as Ended
from service.identity.operations import Operation, Operations, Progress
from service.identity.policy import Policy, set_policy
from service.index import Decision, Mutation, PutOperation, Snapshot, View
from service.server.survivorship import is_archived
from service.server.wire import Records
from tests.identity.test_merging import Merging, merges, merging
from tests.server.client import person
from tests.server.test_scan import card

LOOK_S = 0.05
JOB = "job"


@dataclass(frozen=True, slots=True)
class Account:
    """A folder with a machine that attends to it, and what its looks came to."""

    merging: Merging
    operations: Operations
    looks: Counter[Outcome]

    def read(self) -> Snapshot:
        """Open a snapshot."""
        return self.merging.home.index.snapshot()

    async def put(self, mutations_of: Callable[[View], Sequence[Mutation]]) -> None:
        """Write something."""

        def decide(view: View) -> Decision[None]:
            return Decision(None, mutations_of(view))

        assert await self.merging.home.index.submit([decide]) == [None]

    async def policy(self, **terms: Any) -> None:
        """Put a policy in force, for imports."""
        await set_policy(self.merging.home.index, Policy(on_import=True, **terms))

    async def imported(self, *cards: v1.Customer) -> None:
        """Save cards and say that an import created them."""
        with self.read() as snapshot:
            first = snapshot.counters.next_row
        for one in cards:
            await self.merging.save(one)
        await self.put(lambda view: (*created(view, JOB, first), Due(AFTER_IMPORT, JOB).put()))

    def merged(self) -> set[tuple[str, ...]]:
        """Return who was merged: the survivor, then the members."""
        return {(one.survivor, *one.members) for one in merges(self.merging)}

    def begun(self) -> list[Operation]:
        """Return the operations, oldest first."""
        return self.operations.page("", 100)

    def due(self) -> list[Due]:
        """Return what is left."""
        with self.read() as snapshot:
            return every_due(snapshot)

    async def done(self) -> Operation:
        """Wait until nothing is due; return the last operation."""
        await until(lambda: not self.due())
        with self.read() as snapshot:
            assert list(spans(snapshot, JOB)) == []
        return self.begun()[-1]


async def until(true: Callable[[], bool]) -> None:
    """Wait for something."""
    end_s = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end_s, "it did not come"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def attended(folder: Path, merger: type[Merger] = Merger) -> AsyncIterator[Account]:
    """Open a folder that a machine attends to."""
    async with merging(folder, merge_look_s=LOOK_S) as one:
        index, settings = one.home.index, one.home.settings
        kind = merger.__new__(merger)
        kind.__dict__.update(one.merger.__dict__)
        judge = Judge(Matcher(settings), Records(settings), is_archived, settings)
        account = Account(one, Operations(index, settings), Counter())

        def note(outcome: Outcome) -> None:
            account.looks[outcome] += 1

        attending = MachineMerger(index, kind, judge, account.operations, settings, note)
        attending.start()
        try:
            yield account
        finally:
            await attending.close()
            await account.operations.close()


# Groups


def chain() -> list[v1.Customer]:
    """Return two who are each surely the same as a third, and not as each other."""
    emails = [f"{name}@chain.example" for name in ("lovelace.ada", "countess")]
    phones = ["+442079460018", "+442079460777"]
    ends = [
        person(emails[number], phones[number], id=f"end{number}", first_name="Adaline")
        for number in range(2)
    ]
    return [*ends, person(*emails, *phones, id="middle", first_name="Adaline")]


@pytest.mark.parametrize(("limit", "outcome"), [(5, Outcome.UNSURE), (2, Outcome.LARGE)])
@pytest.mark.parametrize("order", [*permutations(range(3))])
async def test_a_chain_is_left_from_whichever_end_it_is_looked_at(
    tmp_path: Path, order: tuple[int, ...], limit: int, outcome: Outcome
) -> None:
    """None of its halves is merged, whoever is looked at first."""
    async with attended(tmp_path) as account:
        await account.policy(least_probability=0.99, group_limit=limit)
        cards = chain()
        await account.imported(*(cards[place] for place in order))
        assert (await account.done()).result == {
            "run": "import-job", "looked_at": 3, "merges": 0, "left": 3,
        }  # fmt: skip
        assert account.looks == {outcome: 3}


@pytest.mark.parametrize("pair", ["ab", "ac", "bc"])
async def test_a_mark_is_heeded_by_whoever_is_looked_at(tmp_path: Path, pair: str) -> None:
    """Also where the one who is looked at is marked, and a third is the same as both."""
    async with attended(tmp_path) as account:
        for id in "abc":
            await account.merging.save(card(1, id))
        await distinct.mark(account.merging.home.index, list(pair), "sisters", "steward")
        await account.policy()
        await account.put(
            lambda _: (PutOperation(f"{spans_of(JOB)}1", SPAN), Due(AFTER_IMPORT, JOB).put())
        )
        await account.done()
        assert account.looks == {Outcome.DISTINCT: 3}
        assert account.merged() == set()


SPAN = b"\x01" + (1).to_bytes(8) + (4).to_bytes(8)  # rows 1 to 3


async def test_marks_and_returns_of_members_count(tmp_path: Path) -> None:
    """Of members of members too, which are no customers any more."""
    async with attended(tmp_path) as account:
        one = account.merging
        for number, copies in enumerate(("ab", "cd")):
            for id in copies:
                await one.save(card(number, id))
        for id in ("m", "n", "o"):
            await one.save(card(20 + ord(id), id))
        await distinct.mark(one.home.index, ["m", "b"], "sisters", "steward")
        await one.merge("n", "m")
        await one.merge("a", "n")
        await one.merge("c", "o")
        await one.unmerge("o")
        await one.merge("c", "o")
        await account.policy(least_probability=0.5)
        await account.imported(card(0, "x"), card(1, "y"))
        await account.done()
        assert account.looks == {Outcome.DISTINCT: 1, Outcome.GIVEN_BACK: 1}


# Faults


class Failing(Merger):
    """A merger that fails, or that somebody is faster than, as often as it is told to."""

    faults: dict[str, list[Exception]]
    faster: dict[str, int]
    one: Merging

    async def merge(self, plan: Plan, why: Why) -> Done:
        """Merge, or not."""
        id = plan.customers[0].id
        if left := self.faults.get(id):
            raise left.pop()
        if self.faster.get(id, 0) > 0:
            self.faster[id] -= 1
            await self.one.save(card(int(id[1]), id, comment=f"{self.faster[id]}"))
        return await super().merge(plan, why)


def pairs(copy: str) -> list[v1.Customer]:
    """Return one copy of four people."""
    return [card(number, f"p{number}-{copy}") for number in range(4)]


async def test_a_fault_in_one_group_leaves_the_others_to_be_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Storage is tried again; what fails for good, or is a bug, is counted as left."""
    monkeypatch.setattr(machine, "PAUSE_S", 0.01)
    monkeypatch.setattr(Failing, "faster", {}, raising=False)
    faults: dict[str, list[Exception]] = {
        "p0-a": [StorageFull("full"), IndexBusy("busy")],
        "p1-a": [RuntimeError()],
        "p2-a": [StorageFull("full") for _ in range(100)],
    }
    monkeypatch.setattr(Failing, "faults", faults, raising=False)
    async with attended(tmp_path, Failing) as account:
        for one in pairs("a"):
            await account.merging.save(one)
        await account.policy()
        await account.imported(*pairs("b"))
        assert (await account.done()).result == {
            "run": "import-job", "looked_at": 4, "merges": 2, "left": 2,
        }  # fmt: skip
        assert account.merged() == {("p0-a", "p0-b"), ("p3-a", "p3-b")}
        assert account.looks == {Outcome.MERGED: 2, Outcome.FAILED: 2}


async def test_where_others_are_faster_it_is_judged_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As just after an import, whose verdicts are settled then; but not for ever."""
    monkeypatch.setattr(machine, "PAUSE_S", 0.01)
    monkeypatch.setattr(Failing, "faults", {}, raising=False)
    monkeypatch.setattr(Failing, "faster", {"p0-a": 2, "p1-a": 100}, raising=False)
    async with attended(tmp_path, Failing) as account:
        monkeypatch.setattr(Failing, "one", account.merging, raising=False)
        for one in pairs("a"):
            await account.merging.save(one)
        await account.policy()
        await account.imported(*pairs("b"))
        await account.done()
        assert account.looks == {Outcome.MERGED: 3, Outcome.CHANGED: 1}
        assert ("p0-a", "p0-b") in account.merged()


async def test_what_failed_is_begun_again_after_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time a longer one; nothing of it is forgotten meanwhile."""
    monkeypatch.setattr(machine, "AGAIN_S", 0.3)
    async with attended(tmp_path) as account:
        for one in pairs("a"):
            await account.merging.save(one)
        await account.policy()
        broken = f"{spans_of(JOB)}9"
        await account.put(lambda _: (PutOperation(broken, b"\x02"),))
        await account.imported(*pairs("b"))
        await until(lambda: len(account.begun()) == 3)
        await account.put(lambda _: (PutOperation(broken, None),))
        await account.done()
        begun = account.begun()
        assert [one.failure is None for one in begun] == [False, False, False, True]
        for before, after, pause_s in zip(begun, begun[1:], (0.3, 0.6, 1.2), strict=False):
            assert after.start_us - before.end_us >= pause_s * 1e6
        assert len(account.merged()) == 4


class Lost(Operations):
    """Operations whose ends are never written down."""

    async def _end(self, *_: Any) -> None:
        """Give up."""


async def test_an_operation_that_nobody_does_any_more_stops_nothing(tmp_path: Path) -> None:
    """Also where it is one of this very process."""
    async with attended(tmp_path) as account:
        for one in pairs("a"):
            await account.merging.save(one)
        await account.policy()
        home = account.merging.home

        async def work(_operation: Operation, _progress: Progress) -> Ended:
            return Ended({})

        lost = Lost(home.index, home.settings)
        operation = await lost.start(AFTER_IMPORT, {}, "somebody", work)
        await lost.close()
        assert not account.operations.get(operation.name).done
        await account.put(lambda _: (Due(AFTER_IMPORT, JOB, operation.name).put(),))
        await account.done()
        assert [one.failure is None for one in account.begun()] == [False, True]


async def test_of_what_is_due_one_operation_is_begun(tmp_path: Path) -> None:
    """The commit that begins it says so; a second is refused, and says nothing."""
    async with merging(tmp_path) as one:
        index = one.home.index
        operations = Operations(index, one.home.settings)
        goes_on = asyncio.Event()

        async def work(_operation: Operation, _progress: Progress) -> Ended:
            await goes_on.wait()
            return Ended({})

        def noted(operation: Operation) -> tuple[Mutation, ...]:
            return (Due(AFTER_IMPORT, JOB, operation.name).put(),)

        async def begin() -> Operation:
            return await operations.start(
                AFTER_IMPORT, {}, "somebody", work, OperationUnderWay, noted
            )

        began, refused = await asyncio.gather(begin(), begin(), return_exceptions=True)
        assert isinstance(began, Operation)
        assert isinstance(refused, OperationUnderWay)
        with index.snapshot() as snapshot:
            assert every_due(snapshot) == [Due(AFTER_IMPORT, JOB, began.name)]
        goes_on.set()
        await operations.close()
