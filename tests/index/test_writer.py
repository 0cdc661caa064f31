"""The writer: groups, isolation, time, bounds, cancellation, shutdown, several processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest

from service.errors import InvalidArgument, ShuttingDown
from service.index import (
    ChangeKind,
    Decide,
    Decision,
    Entries,
    Index,
    Put,
    PutOperation,
    PutRequest,
    SortWaiting,
    View,
)
from tests.index.cards import (
    Person,
    Saved,
    bounds,
    faults,
    opened,
    read,
    remove,
    save,
    save_all,
    submit_one,
)


class SteppedClock:
    """A clock that tests move, also backwards. Each transaction asks once, as does a snapshot."""

    def __init__(self, now_us: int) -> None:
        self.now_us = now_us
        self.asked = 0

    def __call__(self) -> int:
        self.asked += 1
        return self.now_us


def nothing(view: View) -> Decision[int]:
    """Read only."""
    return Decision(view.next_row)


async def test_one_failure_disturbs_no_other(tmp_path: Path) -> None:
    """A decision that raises, and ones with unfit mutations, cost nobody else anything."""

    def broken(view: View) -> Decision[Saved]:
        raise KeyError("a bug")

    def no_decision(view: View) -> Decision[Saved]:
        return None  # type: ignore[return-value]

    def taken(view: View) -> Decision[Saved]:
        first = Put(None, "never", b"{}", Entries())
        return Decision(Saved(0, 0, 0), (first, Put(None, "a", b"{}", Entries())))

    def twice(view: View) -> Decision[Saved]:
        put = Put(None, "twin", b"{}", Entries())
        return Decision(Saved(0, 0, 0), (put, put))

    def nobody(view: View) -> Decision[Saved]:
        put = Put(77, "a", b"{}", Entries(), kind=ChangeKind.UPDATED)
        return Decision(Saved(0, 0, 0), (put,))

    def endless(view: View) -> Decision[Saved]:
        return Decision(Saved(0, 0, 0), (Put(None, "x" * 512, b"{}", Entries()),))

    def unkind(view: View) -> Decision[Saved]:
        return Decision(Saved(0, 0, 0), (PutRequest("r", 0, 0, 256),))

    async with opened(tmp_path) as index:
        a, b = Person("a", ("a@x.org",)), Person("b", ("b@x.org",))
        outcomes = await index.submit([
            save(index, a), broken, no_decision, taken, twice, nobody, endless, unkind,
            save(index, b),
        ])  # fmt: skip
        kinds = [type(outcome) for outcome in outcomes]
        assert kinds == [
            Saved, KeyError, AttributeError, InvalidArgument, InvalidArgument, InvalidArgument,
            InvalidArgument, InvalidArgument, Saved,
        ]  # fmt: skip
        with index.snapshot() as snapshot:
            assert [read(record) for _, record in snapshot.customers()] == [a, b]
            assert snapshot.sequence == 2
            assert snapshot.row_of("never") is snapshot.row_of("twin") is None
        assert faults(index) == []


class BadEntries(Entries):
    """What no use case makes: it fails while it is put."""

    @property
    def keys(self) -> frozenset[bytes]:
        raise InvalidArgument("not these", field="emails", limit="9")


async def test_a_failing_group_tells_all_and_is_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing of it is written, each caller gets the whole error, and the log the change."""

    def bad(view: View) -> Decision[None]:
        return Decision(None, (Put(None, "bad", b"{}", BadEntries()),))

    async with opened(tmp_path) as index:
        for _ in range(3):
            told = await asyncio.gather(
                index.submit([save(index, Person("a"))]), index.submit([bad]),
                return_exceptions=True,
            )  # fmt: skip
            assert told[0] is not told[1]
            for error in told:
                assert isinstance(error, InvalidArgument)
                assert (error.message, error.field, error.details) == (
                    "not these", "emails", {"limit": "9"},
                )  # fmt: skip
        await save_all(index, [Person("b")])
        with index.snapshot() as snapshot:
            assert [read(record).id for _, record in snapshot.customers()] == ["b"]
        assert faults(index) == []
    log = capsys.readouterr().out
    assert log.count("commit_failed") == log.count("commits_succeed_again") == 1
    assert "not these" not in log


async def test_a_submission_sees_itself_and_is_one_transaction(tmp_path: Path) -> None:
    """Items see those before them, and share the time of their commit."""
    async with opened(tmp_path, bounds(group_limit_items=2)) as index:
        people = [Person("same", note=str(number)) for number in range(5)]
        saved = await save_all(index, people)
        assert [(s.row, s.sequence) for s in saved] == [(1, n) for n in range(1, 6)]
        assert len({s.time_us for s in saved}) == 1
        with index.snapshot() as snapshot:
            kinds = [entry.kind for entry in snapshot.history(1)]
        assert kinds == [ChangeKind.UPDATED] * 4 + [ChangeKind.CREATED]


async def test_a_commit_after_one_of_several_waits_for_more(tmp_path: Path) -> None:
    """Where several save at once; a single saver waits for nobody."""
    async with opened(tmp_path, bounds(group_wait_us=100_000, group_enough_items=2)) as index:
        go_on = threading.Event()

        def blocked(view: View) -> Decision[int]:
            go_on.wait()
            return nothing(view)

        async def saved(name: str, after_s: float = 0.0) -> int:
            await asyncio.sleep(after_s)
            return (await submit_one(index, save(index, Person(name)))).time_us

        holding = asyncio.create_task(index.submit([blocked]))
        together = asyncio.gather(saved("a"), saved("b"))
        await asyncio.sleep(0.05)
        go_on.set()
        await holding
        first, second = await together
        assert first == second
        third, fourth = await asyncio.gather(saved("c"), saved("d", 0.02))
        assert second < third == fourth  # enough are there: it waits no longer
        fifth = await saved("e")  # the last that waits, in vain
        sixth, seventh = await asyncio.gather(saved("f"), saved("g", 0.05))
        assert fifth < sixth < seventh


async def test_time_never_steps_back(tmp_path: Path) -> None:
    """Each commit is later than the one before, whatever the clock does, also after a restart."""
    clock = SteppedClock(5_000)
    async with opened(tmp_path, clock=clock) as index:
        first = await submit_one(index, save(index, Person("a")))
        second = await submit_one(index, save(index, Person("b")))
        clock.now_us = 10
        third = await submit_one(index, save(index, Person("c")))
    async with opened(tmp_path, clock=clock) as index:
        fourth = await submit_one(index, save(index, Person("d")))
        times = [saved.time_us for saved in (first, second, third, fourth)]
        assert times == [5_000, 5_001, 5_002, 5_003]
        assert faults(index) == []


async def test_groups_and_queue_are_bounded(tmp_path: Path) -> None:
    """Submissions are grouped up to the limit, and held back behind a full queue, in order."""
    seen: list[tuple[int, int]] = []
    entered, gate = threading.Event(), threading.Event()

    def block(view: View) -> Decision[None]:
        entered.set()
        assert gate.wait(30)
        return Decision(None)

    def note(number: int) -> Callable[[View], Decision[None]]:
        def decide(view: View) -> Decision[None]:
            seen.append((number, view.now_us))
            return Decision(None, (PutOperation("k", b""),))

        return decide

    async with opened(tmp_path, bounds(group_limit_items=4, write_queue_items=6)) as index:
        first = asyncio.ensure_future(index.submit([block]))
        await asyncio.to_thread(entered.wait, 30)
        waiting = [asyncio.ensure_future(index.submit([note(n)] * 2)) for n in range(6)]
        await asyncio.sleep(0)
        assert index.queued_items == 6
        waiting[1].cancel()
        waiting[4].cancel()
        await asyncio.sleep(0)
        gate.set()
        await first
        await asyncio.gather(*waiting, return_exceptions=True)
        assert index.queued_items == 0
    assert [number for number, _ in seen] == [0, 0, 2, 2, 3, 3, 5, 5]
    times = [time_us for _, time_us in seen]
    assert max(times.count(time_us) for time_us in times) <= 4


async def test_a_submission_larger_than_the_queue_passes(tmp_path: Path) -> None:
    """The bound holds callers back; it does not lock a big one out."""
    async with opened(tmp_path, bounds(group_limit_items=2, write_queue_items=3)) as index:
        several = [index.submit([nothing] * 10) for _ in range(3)]
        assert [len(outcomes) for outcomes in await asyncio.gather(*several)] == [10, 10, 10]


async def test_close_finishes_what_waits_and_refuses_the_rest(tmp_path: Path) -> None:
    """Everything submitted before close is written; later calls are told to go elsewhere."""
    async with opened(tmp_path, bounds(group_limit_items=1)) as index:
        waiting = [
            asyncio.ensure_future(index.submit([save(index, Person(f"p{n}"))])) for n in range(20)
        ]
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(index.close())
        await asyncio.sleep(0)
        with pytest.raises(ShuttingDown):
            await index.submit([nothing])
        await asyncio.gather(*waiting)
        await closing
    async with opened(tmp_path) as index:
        with index.snapshot() as snapshot:
            assert snapshot.customer_count == 20


async def test_callers_may_go_away(tmp_path: Path) -> None:
    """Cancelled callers and a closed event loop do not harm the thread."""
    async with opened(tmp_path) as index:

        def elsewhere() -> None:
            loop = asyncio.new_event_loop()
            task = loop.create_task(index.submit([save(index, Person("gone"))]))
            loop.call_soon(loop.stop)
            loop.run_forever()
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
            loop.close()

        await asyncio.to_thread(elsewhere)
        tasks = [asyncio.ensure_future(index.submit([nothing])) for _ in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(answer in ([1], [2]) for answer in answers[1::2])
        assert await index.submit([]) == []
        await submit_one(index, save(index, Person("here")))
        assert faults(index) == []


async def test_nothing_is_begun_for_callers_that_left(tmp_path: Path) -> None:
    """A group of which every caller went away takes no transaction."""
    clock = SteppedClock(1)
    entered, gate = threading.Event(), threading.Event()

    def block(view: View) -> Decision[None]:
        entered.set()
        assert gate.wait(30)
        return Decision(None)

    async with opened(tmp_path, clock=clock) as index:
        first = asyncio.ensure_future(index.submit([block]))
        await asyncio.to_thread(entered.wait, 30)
        late = [asyncio.ensure_future(index.submit([nothing])) for _ in range(3)]
        await asyncio.sleep(0)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        gate.set()
        await first
    assert clock.asked == 1


async def test_deletion_leaves_the_deletion(tmp_path: Path) -> None:
    """Of a deleted customer the id, and who deleted it and why, are all that is left."""
    async with opened(tmp_path) as index:
        person = Person("a", ("a@x.org",), pending=("x.org",))
        await save_all(index, [person, Person("b"), Person("a", note="again"), person])
        await submit_one(index, remove(index, "a", "ann", "asked to"))
        with index.snapshot() as snapshot:
            (entry,) = snapshot.history(1)
            assert (entry.kind, entry.actor, entry.reason, entry.diff) == (
                ChangeKind.DELETED, "ann", "asked to", b"",
            )  # fmt: skip
            assert snapshot.pending_domains() == []
            assert snapshot.entries("identities") == 0
            (change,) = snapshot.changes_before(limit=1)
            assert (change.kind, change.row, change.id) == (ChangeKind.DELETED, 1, "a")
            assert (change.actor, change.time_us) == ("ann", entry.time_us)
        assert faults(index) == []


async def test_request_ids_are_forgotten_in_time(tmp_path: Path) -> None:
    """Look-ups forget at once; the writer's steps empty the table while others are put."""
    clock = SteppedClock(1_000_000)

    def put_requests(first: int, count: int) -> Callable[[View], Decision[None]]:
        requests = tuple(PutRequest(f"r{n}", 0, 0, 1) for n in range(first, first + count))
        return lambda _: Decision(None, requests)

    async with opened(tmp_path, bounds(request_memory_s=10), clock) as index:
        await index.submit([put_requests(0, 500)])
        with index.snapshot() as snapshot:
            remembered = snapshot.request("r7")
            assert remembered is not None
            assert (remembered.kind, remembered.time_us) == (1, 1_000_000)
        clock.now_us += 10_000_000
        with index.snapshot() as snapshot:
            assert snapshot.request("r7") is None
            assert snapshot.request("") is None
        await index.submit([put_requests(1_000, 5)])
        with index.snapshot() as snapshot:
            assert 505 - 21 <= snapshot.entries("requests") < 505
            assert snapshot.request("r1004") is not None
        for _ in range(40):
            await index.submit([lambda _: Decision(None, (PutOperation("k", b""),))])
        with index.snapshot() as snapshot:
            assert snapshot.entries("requests") == 5
        assert faults(index) == []


async def test_a_clock_that_ran_ahead_is_forgotten(tmp_path: Path) -> None:
    """Request ids live by the clock as it is, though the times of commits never step back."""
    year_us = 365 * 86_400_000_000
    clock = SteppedClock(2 * year_us)

    def request(id: str) -> Callable[[View], Decision[None]]:
        return lambda _: Decision(None, (PutRequest(id, 0, 0, 1),))

    async with opened(tmp_path, bounds(request_memory_s=10), clock) as index:
        await save_all(index, [Person("a")])
        await index.submit([request("ahead")])
        clock.now_us = year_us
        for number in range(50):
            clock.now_us += 60_000_000
            await index.submit([request(f"r{number}")])
        with index.snapshot() as snapshot:
            assert snapshot.request("ahead") is snapshot.request("r0") is None
            assert snapshot.request("r49") is not None
            assert snapshot.entries("requests") == 1


async def test_a_damaged_request_is_purged(tmp_path: Path) -> None:
    """It costs its own request_id, and no other's commit."""
    async with opened(tmp_path) as index:
        await index.submit([lambda _: Decision(None, (PutRequest("good", 0, 0, 3),))])
    with (
        lmdb.open(str(tmp_path), max_dbs=32, map_size=1 << 30) as env,
        env.begin(write=True) as txn,
    ):
        requests = env.open_db(b"requests", txn=txn)
        txn.put(b"cut", b"\x01", db=requests)
        txn.put(b"newer", b"\x63" * 40, db=requests)
    async with opened(tmp_path) as index:
        await save_all(index, [Person("a")])
        with index.snapshot() as snapshot:
            assert snapshot.request("good") is not None
            assert snapshot.entries("requests") == 1
        assert faults(index) == []


OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from tests.index.cards import Person, opened, save_all

async def main():
    async with opened(Path(sys.argv[1])) as index:
        for number in range(int(sys.argv[3])):
            await save_all(index, [Person(f"{sys.argv[2]}-{number}", ("shared@x.org",))])

asyncio.run(main())
"""


async def test_processes_share_one_folder(tmp_path: Path) -> None:
    """Another process's commits are seen at once, and counters never collide."""
    async with opened(tmp_path) as index:
        command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path)]
        others = [subprocess.Popen([*command, name, "60"]) for name in ("b", "c")]  # noqa: ASYNC220
        for number in range(60):
            await save_all(index, [Person(f"a-{number}", ("shared@x.org",))])
        for other in others:
            assert await asyncio.to_thread(other.wait, 60) == 0
        with index.snapshot() as snapshot:
            assert snapshot.customer_count == snapshot.sequence == 180
            assert {read(record).id for _, record in snapshot.customers()} == {
                f"{name}-{number}" for name in "abc" for number in range(60)
            }
        assert faults(index) == []


async def test_what_batches_left_waiting_is_sorted(tmp_path: Path) -> None:
    """By a settler batch after batch, or when one of its customers is saved."""
    people = [
        Person("a", pending=("y.org", "x.org")),
        Person("b", pending=("x.org",)),
        Person("c"),
        Person("d", pending=("z.org",)),
    ]

    def left(index: Index) -> tuple[list[int], dict[str, list[int]], int]:
        with index.snapshot() as snapshot:
            domains = {name: snapshot.pending_rows(name) for name in snapshot.pending_domains()}
            return [*snapshot.waiting(1_000)], domains, snapshot.entries("pending")

    async with opened(tmp_path) as index:
        await save_all(index, people, bulk=True)
        assert left(index) == ([1, 2, 4], {}, 4)
        with index.snapshot() as snapshot:
            first = snapshot.waiting(1)
        assert list(first) == [1]
        await index.submit([lambda _: Decision(None, (SortWaiting(first),))])
        assert left(index) == ([2, 4], {"x.org": [1], "y.org": [1]}, 4)
        await submit_one(index, save(index, Person("b")))
        assert left(index) == ([4], {"x.org": [1], "y.org": [1]}, 3)
        await submit_one(index, save(index, Person("c", pending=("z.org",))))
        await submit_one(index, remove(index, "d"))
        assert left(index) == ([], {"x.org": [1], "y.org": [1], "z.org": [3]}, 3)
        assert faults(index) == []


class Parts:
    """Decisions that are taken a part to a transaction, and note in which."""

    def __init__(self, name: str, parts: int, log: list[tuple[str, int]]) -> None:
        self.name, self.parts, self.log, self.done = name, parts, log, 0

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Decide[int]]:
        yield self.decide

    def decide(self, view: View) -> Decision[int]:
        """Write a part."""
        self.done = int(view.operation(self.name) or b"0") + 1
        self.log.append((self.name, view.now_us))
        return Decision(self.done, (PutOperation(self.name, str(self.done).encode()),))

    def goes_on(self) -> bool:
        """Tell whether there are more."""
        return self.done < self.parts


async def test_parts_are_transactions_that_let_others_in_between(tmp_path: Path) -> None:
    """But for those that stand behind them in their line."""
    log: list[tuple[str, int]] = []
    first, second = Parts("first", 5, log), Parts("second", 2, log)
    async with opened(tmp_path) as index:
        bulk = [
            asyncio.create_task(index.submit(parts, bulk=True, goes_on=Parts.goes_on))
            for parts in (first, second)
        ]
        cards: list[Saved] = []
        while not bulk[0].done():
            cards.append(await submit_one(index, save(index, Person(f"p{len(cards)}"))))
        assert await asyncio.gather(*bulk) == [[5], [2]]
        assert [name for name, _ in log] == ["first"] * 5 + ["second"] * 2
        times = [time_us for _, time_us in log]
        assert len(set(times[:5])) == 5
        between = [card for card in cards if times[0] < card.time_us < times[4]]
        assert between
        assert faults(index) == []


async def test_parts_that_nobody_awaits_any_more_end(tmp_path: Path) -> None:
    """What is durable of them stays; those behind them go on."""
    log: list[tuple[str, int]] = []
    async with opened(tmp_path) as index:
        endless = Parts("endless", 1_000_000_000, log)
        task = asyncio.create_task(index.submit(endless, bulk=True, goes_on=Parts.goes_on))
        for number in range(3):
            await submit_one(index, save(index, Person(f"p{number}")))
        task.cancel()
        assert await index.submit(Parts("next", 1, log), bulk=True, goes_on=Parts.goes_on) == [1]
        with index.snapshot() as snapshot:
            assert snapshot.operation("endless") == str(endless.done).encode()
