"""Events a second from the change feed, to one consumer and to eight, and how soon they come.

    python -m benchmarks --only feed

What is measured: WatchChanges with `until_now`, over everything that a folder's feed has, from the
call until the stream ends. Of customers of `benchmarks.cards`, which were imported with create_all:

- creations: the event and the card, which the record has as it is.
- updates: the same customers after one field of all was set (UpdateCustomers): what the history
  says of it, that is the field's values, and etag and time of the card.
- creations, changed since: the card as it was, with that update taken back.
- left out: a feed of deletions alone, of which there are none: what it costs to pass over events.

Consumers share this process, each with a connection of its own, and take the encoded messages; one
run parses them too. Eight make the server do everything eight times over. Events a second are of
all consumers together.

The delay is from the answer to a save until the event is at a consumer that follows. A watcher
looks for what is new every `watch_poll_ms`, because other workers tell it nothing, so about half of
that is to be expected. Saves come one after the other, with pauses of no common measure with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.field_mask_pb2 import FieldMask

from benchmarks import cards, processes, streams
from benchmarks.processes import Serving
from benchmarks.report import Report, Table
from namesake import v1

METHOD = "/namesake.v1.CustomerService/WatchChanges"
CREATED, UPDATED, DELETED = v1.CHANGE_KIND_CREATED, v1.CHANGE_KIND_UPDATED, v1.CHANGE_KIND_DELETED
MANY = 8
PAUSES_S = (0.013, 0.029, 0.047, 0.071)
LIMIT = [("grpc.max_receive_message_length", 16 << 20)]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    customers: int
    turns: int
    saves: int


FULL = Plan(customers=200_000, turns=3, saves=200)
QUICK = Plan(customers=10_000, turns=1, saves=20)


@dataclass(frozen=True, slots=True)
class Run:
    """One feed as all its consumers took it."""

    events_s: float
    server_us: float  # of the processor, for each event that a consumer was sent or spared
    mb_s: float


async def measure(folder: Path, plan: Plan, tell: Callable[[str], None]) -> Report:
    """Import, watch, update, watch again; report."""
    file = folder / "batches"
    streams.write(file, plan.customers)
    with processes.namesake(folder / "data") as serving:
        await streams.import_all(serving.address, streams.read(file), create_all=True)
        tell("creations")
        rows = [await _row("creations", serving, plan, CREATED)]
        tell("updates of all customers")
        await _update_all(serving.address)
        for name, kind in (
            ("updates", UPDATED),
            ("creations, changed since", CREATED),
            ("left out", DELETED),
        ):
            tell(name)
            rows.append(await _row(name, serving, plan, kind))
        tell("delays")
        delays = await _delays(serving.address, plan.saves)
    return Report((_rates(plan, rows), _soon(delays)), ())


def _rates(plan: Plan, rows: list[tuple[str, ...]]) -> Table:
    return Table(
        f"Feed, {plan.customers:,} customers",
        f"Events a second, medians of {plan.turns}; µs of the server's processor for each, and MB "
        f"a second, with {MANY} consumers.",
        ("feed", "1 consumer", "1, parsed", f"{MANY} consumers", "µs/event", "MB/s"),
        tuple(rows),
    )


def _soon(delays: list[float]) -> Table:
    ordered = sorted(delays)
    shown = (0.5, 0.9, 0.99)
    row = tuple(f"{ordered[int(share * (len(ordered) - 1))] * 1_000:.1f}" for share in shown)
    return Table(
        "Feed, delay of an event behind the answer to its save",
        f"{len(delays)} saves; ms.",
        ("", "p50", "p90", "p99"),
        (("one worker", *row),),
    )


async def _row(
    name: str, serving: Serving, plan: Plan, kind: v1.ChangeKind.ValueType
) -> tuple[str, ...]:
    one = [await _run(serving, plan, kind, 1) for _ in range(plan.turns)]
    parsed = [await _run(serving, plan, kind, 1, parsed=True) for _ in range(plan.turns)]
    many = [await _run(serving, plan, kind, MANY) for _ in range(plan.turns)]
    rates = (f"{median(run.events_s for run in runs):,.0f}" for runs in (one, parsed, many))
    costs = (median(run.server_us for run in many), median(run.mb_s for run in many))
    return (name, *rates, f"{costs[0]:.2f}", f"{costs[1]:,.0f}")


async def _run(
    serving: Serving,
    plan: Plan,
    kind: v1.ChangeKind.ValueType,
    consumers: int,
    *,
    parsed: bool = False,
) -> Run:
    """Let consumers take the events of a kind; raise RuntimeError if one is missing."""
    began, used_s = perf_counter(), serving.processor_s()
    taken = await asyncio.gather(
        *(_take(serving.address, kind, parsed=parsed) for _ in range(consumers))
    )
    seconds, used_s = perf_counter() - began, serving.processor_s() - used_s
    expected = 0 if kind == DELETED else plan.customers
    if parsed and any(events != expected for events, _ in taken):
        raise RuntimeError("not every event came: this measures something else")
    # Of what is left out, as many are passed over as there are events in the feed.
    events = consumers * (expected or 2 * plan.customers)
    size = sum(size for _, size in taken)
    return Run(events / seconds, used_s / events * 1e6, size / seconds / 1e6)


async def _take(address: str, kind: v1.ChangeKind.ValueType, *, parsed: bool) -> tuple[int, int]:
    """Return how many events there were, if they are parsed, and their bytes."""
    events = size = 0
    request = v1.WatchChangesRequest(until_now=True, kinds=[kind]).SerializeToString()
    async with grpc.aio.insecure_channel(address, options=LIMIT) as channel:
        async for message in channel.unary_stream(METHOD, None, None)(request):
            size += len(message)
            if parsed:
                events += len(v1.WatchChangesResponse.FromString(message).changes)
    return events, size


async def _update_all(address: str) -> None:
    """Set a field of all customers."""
    async with grpc.aio.insecure_channel(address) as channel:
        everybody = v1.CustomerSelection(filter=v1.CustomerFilter())
        change = v1.CustomerChange(set=FieldMask(paths=["stage"]), values=v1.Customer(stage="won"))
        operation = await v1.TransferServiceStub(channel).UpdateCustomers(
            v1.UpdateCustomersRequest(selection=everybody, change=change)
        )
        operations = operations_pb2_grpc.OperationsStub(channel)
        while not operation.done:
            request = operations_pb2.WaitOperationRequest(name=operation.name)
            operation = await operations.WaitOperation(request)


async def _delays(address: str, saves: int) -> list[float]:
    """Save one after the other; return the seconds from each answer to its event."""
    arrived: dict[int, float] = {}
    async with grpc.aio.insecure_channel(address) as channel:
        stub = v1.CustomerServiceStub(channel)
        last = (await stub.ListConsumers(v1.ListConsumersRequest())).last_sequence
        follower = asyncio.create_task(_follow(stub, last, saves, arrived))
        answered: dict[int, float] = {}
        for number in range(saves):
            card = cards.customer(1_000_000 + number)
            saved = await stub.SaveCustomer(v1.SaveCustomerRequest(customer=card))
            answered[saved.sequence] = perf_counter()
            await asyncio.sleep(PAUSES_S[number % len(PAUSES_S)])
        await asyncio.wait_for(follower, 10)
    # The event may be sent before the answer is.
    return [max(0.0, arrived[sequence] - at) for sequence, at in answered.items()]


async def _follow(
    stub: v1.CustomerServiceAsyncStub, after: int, count: int, arrived: dict[int, float]
) -> None:
    async for message in stub.WatchChanges(v1.WatchChangesRequest(after_sequence=after)):
        for watched in message.changes:
            arrived[watched.change.sequence] = perf_counter()
        if len(arrived) == count:
            return
