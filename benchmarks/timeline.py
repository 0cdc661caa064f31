"""Timelines: items a second, pages of a customer with a tenth of all items, and nothing lost.

    python -m benchmarks --only timeline --timeline-items 10000000

What is measured: AddItems in batches of 1,000 over gRPC, some calls under way at once, into a fresh
folder, durable; items of all kinds at times in no order, one in ten of one customer, the others of
so many that each has a hundred or so. Two orders in three have an e-mail, half of those a phone.
The client makes its items before each batch, on the same cores. Then, by one caller: pages of 50 of
the large customer, the newest and from the middle, of all kinds and of one; and its deletion.

What is checked: every item of the large customer and of a sample of the others is listed, once, in
order; all kinds are counted; after the deletion the rest is there, and the index is sound.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from benchmarks import cards, processes, sizes
from benchmarks.report import Report, Table
from namesake import v1

FULL, QUICK = 200_000, 20_000
BATCH = 1_000
UNDER_WAY = 4
OF_LARGE = 10  # one item in so many is the large customer's
OF_OTHERS = 100  # items of each other customer, about
SAMPLE = 100  # of the other customers are checked
TURNS = 100
PAGE = 50
TIMEOUT_S = 3_600.0
LARGE = "large"

_SCATTER = 618_029  # a prime: n ↦ n·c mod N meets every number once, but for its multiples
_MIX = 2_654_435_761

Tell = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class World:
    """So many items: each number is always the same, and no two have one time."""

    items: int

    def owner(self, number: int) -> str:
        """Return whose an item is."""
        if number % OF_LARGE == 0:
            return LARGE
        return f"c{(number * _MIX & 0xFFFF_FFFF) // 7 % self.customers}"

    @property
    def customers(self) -> int:
        """How many other customers there are."""
        return max(1, self.items // OF_OTHERS)

    def kind(self, number: int) -> v1.ItemKind.ValueType:
        """Return the kind of an item."""
        kinds = v1.ItemKind.values()
        return kinds[1 + number // OF_LARGE * _MIX // 97 % (len(kinds) - 1)]

    def seconds(self, number: int) -> int:
        """Return when an item was."""
        return number * _SCATTER % self.items

    def item(self, number: int) -> v1.Item:
        """Return an item."""
        item = v1.Item(
            id=f"i{number}",
            customer_id=self.owner(number),
            kind=self.kind(number),
            subject=f"subject {number}",
            text="what there is to say about it, in a line",
            source="benchmark",
        )
        item.time.seconds = self.seconds(number)
        if item.kind == v1.ITEM_KIND_ORDER and number % 3:
            item.email = cards.email(number // 2)
            if number % 3 == 1:
                item.phone = cards.phone(number // 2)
        return item

    def expected(self) -> dict[str, list[int]]:
        """Return the items of the large customer and of the sampled ones, newest first."""
        wanted: dict[str, list[int]] = {LARGE: []}
        step = max(1, self.customers // SAMPLE)
        wanted |= {f"c{number}": [] for number in range(0, self.customers, step)}
        for number in range(self.items):
            if (owner := self.owner(number)) in wanted:
                wanted[owner].append(number)
        return {
            owner: sorted(numbers, key=self.seconds, reverse=True)
            for owner, numbers in wanted.items()
        }


def measure(folder: Path, items: int, tell: Tell) -> Report:
    """Add, look through, delete; raise where anything is lost."""
    world, data = World(items), folder / "data"
    with processes.namesake(data) as server, grpc.insecure_channel(server.address) as channel:
        _make_customers(channel, world.customers)
        empty = sizes.index_bytes(data)
        tell(f"adding {items:,} items")
        tenths = _add(v1.TimelineServiceStub(channel), world)
        stored = (sizes.index_bytes(data) - empty) / items
        tell("looking through them")
        expected = world.expected()
        _check(channel, world, expected)
        pages = _pages(v1.TimelineServiceStub(channel), world)
        tell(f"deleting {len(expected[LARGE]):,} of them with their customer")
        started = perf_counter()
        request = v1.DeleteCustomerRequest(id=LARGE, reason="measured")
        v1.CustomerServiceStub(channel).DeleteCustomer(request, timeout=TIMEOUT_S)
        deleted_s = perf_counter() - started
        _await_sweep(channel)
        swept_s = perf_counter() - started
        _check_rest(channel, items - len(expected[LARGE]))
    rows = [
        ("items a second, first tenth", f"{items / 10 / tenths[0]:,.0f}"),
        ("items a second, last tenth", f"{items / 10 / tenths[-1]:,.0f}"),
        ("items a second, all", f"{items / sum(tenths):,.0f}"),
        ("bytes an item", f"{stored:,.0f}"),
        *((name, f"{milliseconds:.2f} ms") for name, milliseconds in pages.items()),
        (f"deletion with {len(expected[LARGE]):,} items", f"{1_000 * deleted_s:.0f} ms"),
        ("until they are gone, too", f"{swept_s:.1f} s"),
    ]
    note = (
        f"AddItems of {BATCH:,}, {UNDER_WAY} under way; pages of {PAGE} of a customer with "
        f"{len(expected[LARGE]):,} items, median of {TURNS}. All items of that customer and of "
        f"{len(expected) - 1} others were listed and compared, and the index verified."
    )
    return Report(
        (Table(f"Timelines of {items:,} items", note, ("", "measured"), tuple(rows)),), ()
    )


def _make_customers(channel: grpc.Channel, count: int) -> None:
    names = [LARGE, *(f"c{number}" for number in range(count))]

    def messages() -> Iterator[v1.ImportCustomersRequest]:
        settings = v1.ImportSettings(job_id="benchmark", total_rows=len(names))
        yield v1.ImportCustomersRequest(settings=settings)
        for number, start in enumerate(range(0, len(names), BATCH), 1):
            customers = [v1.Customer(id=id, last_name=id) for id in names[start : start + BATCH]]
            batch = v1.ImportBatch(number=number, customers=customers)
            yield v1.ImportCustomersRequest(batch=batch)
        yield v1.ImportCustomersRequest(end=v1.ImportEnd())

    *_, last = v1.TransferServiceStub(channel).ImportCustomers(messages())
    if last.counts.created != len(names):
        raise RuntimeError("not every customer was created")


def _add(stub: v1.TimelineServiceStub, world: World) -> list[float]:
    """Add all items; return the seconds of each tenth."""
    under_way: deque[grpc.CallFuture[v1.AddItemsResponse]] = deque()
    tenths: list[float] = []
    started = perf_counter()
    for first in range(0, world.items, BATCH):
        numbers = range(first, min(first + BATCH, world.items))
        request = v1.AddItemsRequest(items=map(world.item, numbers))
        under_way.append(stub.AddItems.future(request, timeout=TIMEOUT_S))
        done = first + BATCH >= world.items * (len(tenths) + 1) // 10
        while under_way and (done or len(under_way) >= UNDER_WAY):
            answer = under_way.popleft().result()
            if any(result.reason for result in answer.results):
                raise RuntimeError("an item was refused")
        if done:
            tenths.append(perf_counter() - started)
            started = perf_counter()
    return tenths


def _check(channel: grpc.Channel, world: World, expected: dict[str, list[int]]) -> None:
    stub = v1.TimelineServiceStub(channel)
    for owner, numbers in expected.items():
        found = [item.id for item in _listed(stub, owner)]
        if found != [f"i{number}" for number in numbers]:
            raise RuntimeError("a list is not what was added")
        counted = stub.CountItems(v1.CountItemsRequest(customer_ids=[owner]), timeout=TIMEOUT_S)
        counts = {one.kind: one.count for one in counted.results[0].counts}
        if counts != Counter(map(world.kind, numbers)):
            raise RuntimeError("a count is not what was added")


def _listed(stub: v1.TimelineServiceStub, owner: str) -> Iterator[v1.Item]:
    request = v1.ListItemsRequest(customer_id=owner, with_completed=True, page_size=BATCH)
    while True:
        page = stub.ListItems(request, timeout=TIMEOUT_S)
        yield from page.items
        request.page_token = page.next_page_token
        if not request.page_token:
            return


def _pages(stub: v1.TimelineServiceStub, world: World) -> dict[str, float]:
    """Return the milliseconds of pages of the large customer."""
    middle = Timestamp(seconds=world.items // 2)
    asked = {
        "the newest page": v1.ListItemsRequest(),
        "a page from the middle": v1.ListItemsRequest(to_time=middle),
        "a page of orders from the middle": v1.ListItemsRequest(
            to_time=middle, kinds=[v1.ITEM_KIND_ORDER]
        ),
    }
    medians = {}
    for name, request in asked.items():
        request.customer_id, request.page_size = LARGE, PAGE
        seconds = []
        for _ in range(TURNS):
            started = perf_counter()
            stub.ListItems(request, timeout=TIMEOUT_S)
            seconds.append(perf_counter() - started)
        medians[name] = 1_000 * median(seconds)
    return medians


def _entries(channel: grpc.Channel, table: str) -> int:
    admin = v1.AdminServiceStub(channel)
    tables = admin.GetStats(v1.GetStatsRequest(), timeout=TIMEOUT_S).tables
    return {one.name: one.entries for one in tables}[table]


def _await_sweep(channel: grpc.Channel) -> None:
    """Wait until a deleted customer's items are gone as well."""
    while _entries(channel, "leaving"):
        sleep(0.1)


def _check_rest(channel: grpc.Channel, items: int) -> None:
    if _entries(channel, "items") != items:
        raise RuntimeError("not as many items are left as there should be")
    *_, last = v1.AdminServiceStub(channel).Verify(v1.VerifyRequest(), timeout=TIMEOUT_S)
    if not last.done or last.fault_count:
        raise RuntimeError("the index is not sound")
