"""Merges a second against the raw writes, and what a million linked items make of one merge.

    python -m benchmarks --only merging

What is measured: MergeCustomers of two customers with ten notes each, over gRPC, durable, by one
caller and by 64; then UnmergeCustomers of the same. The two of a pair have an e-mail and a phone
each of their own, so that a merge takes points over and puts all entries of the survivor anew.

Raw: bare py-lmdb with the very pairs that the merges of 64 callers put and deleted, found by
comparing the file before and after, in durable transactions of 64 merges and of one: what disk and
B-trees take for it, without reading, deciding and gRPC.

One merge: of two customers of whom one has all the items, and of two with ten; each is done several
times, and undone in between. A merge moves no item, so the times ought to be alike.

Found on the event loop (`python -m cProfile -o FILE -m service serve` under 64 callers, beside
other work, hence shares): of what MergeCustomers takes there, some 30 % unite the cards and seal
the result, 20 % make the answer, 15 % look for marks between the two trees, 10 % read the
customers; the rest is spread thin. The decision on the writer thread and gRPC come beside it, all
under one GIL: 64 callers are bound by that, one by its commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import grpc
import lmdb

from benchmarks import cards, processes, sizes
from benchmarks.report import Report, Table
from namesake import v1
from service.index import layout
from service.settings import Settings

CALLERS = 64
ITEMS_EACH = 10
BATCH = 1_000
MANY, FEW = 1_000_000, 20_000
ADD, MERGE, UNMERGE = (
    f"/namesake.v1.{name}"
    for name in ("TimelineService/AddItems", "MergeService/MergeCustomers",
                 "MergeService/UnmergeCustomers")
)  # fmt: skip

State = dict[str, set[tuple[bytes, bytes]]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    pairs: int
    items: int  # of one customer
    turns: int


FULL = Plan(pairs=4_000, items=MANY, turns=9)
QUICK = Plan(pairs=200, items=FEW, turns=3)


async def measure(folder: Path, plan: Plan, tell: Callable[[str], None]) -> Report:
    """Merge and unmerge pairs, write the same raw, merge one with all the items."""
    data = folder / "data"
    async with AsyncExitStack() as stack:
        server = stack.enter_context(processes.namesake(data))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address))
        calls = _Calls(channel)
        tell(f"{2 * plan.pairs:,} customers with {ITEMS_EACH} items each")
        await calls.make_pairs(plan.pairs)
        alone = plan.pairs // 10
        tell("merges")
        one = await calls.rate(calls.merge, range(alone), 1)
        before = _state(data / sizes.ACCOUNT)
        many = await calls.rate(calls.merge, range(alone, plan.pairs), CALLERS)
        after = _state(data / sizes.ACCOUNT)
        tell("unmerges")
        back_one = await calls.rate(calls.unmerge, range(alone), 1)
        back = await calls.rate(calls.unmerge, range(alone, plan.pairs), CALLERS)
        tell(f"a customer with {plan.items:,} items")
        await calls.add_items([_id(0, 1)] * plan.items, plan.items)
        large = await calls.turns(0, plan.turns)
        small = await calls.turns(1, plan.turns)
    tell("the same with bare py-lmdb")
    merges = plan.pairs - alone
    raw = {
        size: merges / _raw(folder / f"raw{size}", before, after, max(1, merges // size))
        for size in (CALLERS, 1)
    }
    return Report((_rates(one, many, back_one, back, raw), _one(plan, large, small)), ())


class _Calls:
    """The server's methods, on encoded requests."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._add = channel.unary_unary(ADD, None, None)
        self._merge = channel.unary_unary(MERGE, None, None)
        self._unmerge = channel.unary_unary(UNMERGE, None, None)
        self._customers = v1.TransferServiceStub(channel)

    async def make_pairs(self, pairs: int) -> None:
        """Import the customers, and give them their items."""
        people = []
        for number in range(2 * pairs):
            person = cards.customer(number)
            person.id = _id(*divmod(number, 2))
            people.append(person)
        requests = [v1.ImportCustomersRequest(settings=v1.ImportSettings(job_id="pairs"))]
        for number, start in enumerate(range(0, len(people), BATCH), 1):
            batch = v1.ImportBatch(number=number, customers=people[start : start + BATCH])
            requests.append(v1.ImportCustomersRequest(batch=batch))
        requests.append(v1.ImportCustomersRequest(end=v1.ImportEnd()))
        async for answer in self._customers.ImportCustomers(iter(requests)):
            counts = answer.counts
        if counts.created != len(people):
            raise RuntimeError("not every row was created: this measures something else")
        await self.add_items([one.id for one in people for _ in range(ITEMS_EACH)], 0)

    async def add_items(self, owners: Sequence[str], seed: int) -> None:
        """Add a note for each owner."""
        for start in range(0, len(owners), BATCH):
            request = v1.AddItemsRequest()
            for number, owner in enumerate(owners[start : start + BATCH], start):
                item = request.items.add(
                    id=f"{seed}-{number}", customer_id=owner, kind=v1.ITEM_KIND_NOTE
                )
                item.text, item.time.seconds = "what there is to say about it", number
            answer = v1.AddItemsResponse.FromString(await self._add(request.SerializeToString()))
            if any(result.reason for result in answer.results):
                raise RuntimeError("not every item was added: this measures something else")

    async def merge(self, pair: int) -> None:
        """Merge a pair."""
        plan = v1.MergePlan(priority_id=_id(pair, 0), members=[v1.MergeMember(id=_id(pair, 1))])
        await self._merge(v1.MergeCustomersRequest(plan=plan).SerializeToString())

    async def unmerge(self, pair: int) -> None:
        """Take it back."""
        await self._unmerge(v1.UnmergeCustomersRequest(ids=[_id(pair, 1)]).SerializeToString())

    async def rate(
        self, call: Callable[[int], Awaitable[None]], pairs: Sequence[int], callers: int
    ) -> float:
        """Return how many a second were answered, each pair once."""
        left = iter(pairs)

        async def caller() -> None:
            for pair in left:
                await call(pair)

        started = perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        return len(pairs) / (perf_counter() - started)

    async def turns(self, pair: int, turns: int) -> tuple[float, float]:
        """Return the milliseconds of a merge and of its unmerge, medians."""
        merges: list[float] = []
        unmerges: list[float] = []
        for _ in range(turns):
            for call, times in ((self.merge, merges), (self.unmerge, unmerges)):
                started = perf_counter()
                await call(pair)
                times.append((perf_counter() - started) * 1e3)
        return median(merges), median(unmerges)


def _id(pair: int, which: int) -> str:
    return f"p{pair}-{which}"


def _state(folder: Path) -> State:
    """Return all pairs of a file that a server has open."""
    with (
        lmdb.open(str(folder), max_dbs=layout.MAX_TABLES, readonly=True) as env,
        env.begin() as txn,
    ):
        return {
            name: set(txn.cursor(env.open_db(name.encode(), txn=txn, create=False)))
            for name in layout.TABLES
        }


def _raw(folder: Path, before: State, after: State, transactions: int) -> float:
    """Put and delete what differs in so many durable transactions; return the seconds."""
    with lmdb.open(
        str(folder), map_size=Settings().map_size, max_dbs=layout.MAX_TABLES, readahead=False
    ) as env:
        tables = {
            name: env.open_db(name.encode(), dupsort=several, dupfixed=several)
            for name, several in layout.TABLES.items()
        }
        with env.begin(write=True) as txn:
            for name, pairs in before.items():
                txn.cursor(tables[name]).putmulti(sorted(pairs))
        deletes = {name: sorted(before[name] - after[name]) for name in tables}
        puts = {name: sorted(after[name] - before[name]) for name in tables}
        started = perf_counter()
        for number in range(transactions):
            with env.begin(write=True) as txn:
                for name, table in tables.items():
                    for key, value in _share(deletes[name], number, transactions):
                        several = layout.TABLES[name]
                        txn.delete(key, value if several else b"", db=table)
                    for key, value in _share(puts[name], number, transactions):
                        txn.put(key, value, db=table)
        return perf_counter() - started


def _share(
    pairs: Sequence[tuple[bytes, bytes]], number: int, shares: int
) -> Iterator[tuple[bytes, bytes]]:
    yield from pairs[len(pairs) * number // shares : len(pairs) * (number + 1) // shares]


def _rates(one: float, many: float, back_one: float, back: float, raw: dict[int, float]) -> Table:
    def row(what: str, callers: int, rate: float) -> tuple[str, ...]:
        return what, str(callers), f"{rate:,.0f}", f"{rate / raw[callers]:.0%}"

    return Table(
        f"Merges of two customers with {ITEMS_EACH} items each",
        "Calls a second over one connection, each durable; of raw: of bare py-lmdb with the pairs "
        f"that the merges put and deleted, {CALLERS} merges a commit, or one.",
        ("what", "callers", "calls/s", "of raw"),
        (
            ("raw writes", "1", f"{raw[1]:,.0f}", "100%"),
            row("merge", 1, one),
            row("unmerge", 1, back_one),
            ("raw writes", str(CALLERS), f"{raw[CALLERS]:,.0f}", "100%"),
            row("merge", CALLERS, many),
            row("unmerge", CALLERS, back),
        ),
    )


def _one(plan: Plan, large: tuple[float, float], small: tuple[float, float]) -> Table:
    def row(items: int, times: tuple[float, float]) -> tuple[str, ...]:
        return f"{items:,}", *(f"{ms:.2f}" for ms in times)

    return Table(
        "One merge",
        f"Milliseconds of a call, medians of {plan.turns}.",
        ("items of the member", "merge", "unmerge"),
        (row(plan.items + ITEMS_EACH, large), row(ITEMS_EACH, small)),
    )
