"""Unary calls a second, and how long they take, against a bare echo on the same server stack.

What is measured, each at 1 and at 64 callers, on a folder that begins empty and on one with
200,000 customers (imported with create_all):

- save: SaveCustomer of a new customer each time, with one e-mail at a domain in the DNS cache and
  one phone. Durable before the answer; the answer has findings, display forms and duplicates.
- check: CheckContacts of one e-mail (domain cached) and one phone.
- resolve: ResolveIdentities of an e-mail and a phone: of nobody on the empty folder, of a stored
  customer on the full one.
- echo: `benchmarks.echo`, with the messages of a save.

The four take turns in short runs, several times over, because a shared machine drifts. A ratio is
the median of the ratios within one turn. At half load the check is called at a steady pace, half
of its own highest rate, and latency counts from the intended time of each call.

Left out: TLS, credentials, several workers, several connections, the DNS itself (a server on
loopback answers once per domain before anything is timed), and parsing answers in the client.
The client costs a core, about as much per call as the echo server does; "server µs/call" is the
server's own processor time, which noise and the client move least.

What perf showed of saves at 64 callers on 200,000 customers (November 2026): a third of the time
of the server's processor is gRPC and the event loop, without any code of ours; an eighth checking
and sealing the card, a twelfth the look-up of duplicates and similar customers, and a fifth the
writer thread, of which two thirds are commits, in the kernel. Before `index/_lmdb.pyx` another
tenth went into taking and giving the GIL, and commits of three saves cost what was saved elsewhere:
hence `group_wait_us`.

What profiles showed earlier: a save with `validate_only` costs the server as much as a
durable one, so the disk is not what a save waits for. The largest single part is the phone's
display forms and time zones (`phone_display`: a third of `SaveCustomer` under cProfile, and most
of what a checked phone costs above a checked e-mail). A call that does nothing costs a quarter to
a third more than an echo: the interceptor, and the method around its empty loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from statistics import median

import grpc

from benchmarks import cards, echo, processes
from benchmarks.load import Call, Load, closed_loop, open_loop
from benchmarks.processes import Serving
from benchmarks.report import Report, Table, Target
from benchmarks.streams import import_all
from namesake import v1
from tests.dns_servers import FaultyDns, mx

CALLERS = (1, 64)
KINDS = ("echo", "save", "check", "resolve")
METHODS = {
    "echo": echo.METHOD,
    "save": "/namesake.v1.CustomerService/SaveCustomer",
    "check": "/namesake.v1.ValidationService/CheckContacts",
    "resolve": "/namesake.v1.CustomerService/ResolveIdentities",
}
PREPARED = 5_000  # different requests of those that may be repeated
CALLS_S = 8_000  # more than any server here answers: saves are prepared for this rate
FIRST_SAVED = 1_000_000
FIRST_NOBODY = 5_000_000
DNS_TTL_S = 86_400

SAVE_SHARE = 0.35
CHECK_P99_MS = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    customers: int
    turns: int
    seconds: float  # of each run, after the warm-up
    warm_up_s: float
    paced_turns: int
    paced_s: float


FULL = Plan(customers=200_000, turns=6, seconds=1.0, warm_up_s=0.3, paced_turns=10, paced_s=1.0)
QUICK = Plan(customers=10_000, turns=2, seconds=0.4, warm_up_s=0.15, paced_turns=4, paced_s=0.5)


class Saves:
    """Encoded saves of ever new customers, made before they are timed."""

    def __init__(self) -> None:
        self._next = FIRST_SAVED
        self._ready: list[bytes] = []

    def prepare(self, count: int) -> Iterator[bytes]:
        """Return requests, at least `count`; what is left over serves the next run."""
        missing = range(self._next, self._next + count - len(self._ready))
        self._next += len(missing)
        self._ready += map(save_request, missing)
        return self._taken()

    def _taken(self) -> Iterator[bytes]:
        while self._ready:
            yield self._ready.pop()


@dataclass(slots=True)
class Run:
    """One run of one method, with the processor time of its server."""

    load: Load
    server_us: float


@dataclass(slots=True)
class Bench:
    """One service on one folder beside the echo server, and the runs so far."""

    name: str
    calls: dict[str, Call]
    servers: dict[str, Serving]
    repeated: dict[str, Iterator[bytes]]
    saves: Saves = field(default_factory=Saves)
    runs: dict[tuple[str, int], list[Run]] = field(default_factory=dict)

    def requests(self, kind: str, count: int) -> Iterator[bytes]:
        """Return at least `count` requests; echoes are of the same messages as saves."""
        return self.saves.prepare(count) if kind == "save" else self.repeated[kind]

    async def turn(self, callers: int, plan: Plan) -> None:
        """Run every method once."""
        count = int(CALLS_S * (plan.seconds + plan.warm_up_s))
        for kind in KINDS:
            requests = self.requests(kind, count)
            server = self.servers[kind]
            before_s = server.processor_s()
            load = await closed_loop(
                self.calls[kind], requests, callers, plan.seconds, plan.warm_up_s
            )
            used_us = (server.processor_s() - before_s) / load.sent * 1e6
            self.runs.setdefault((kind, callers), []).append(Run(load, used_us))

    async def paced(self, kind: str, rate: float, plan: Plan) -> Load:
        """Run one method at a steady pace."""
        requests = self.requests(kind, int(rate * (plan.paced_s + plan.warm_up_s)) + 1)
        return await open_loop(self.calls[kind], requests, rate, plan.paced_s, plan.warm_up_s)

    def rate(self, kind: str, callers: int) -> float:
        """Return the median of the calls a second."""
        return median(run.load.rate for run in self.runs[kind, callers])

    def share(self, kind: str, callers: int) -> float:
        """Return the median of the ratios to the echo of the same turn."""
        pairs = zip(self.runs[kind, callers], self.runs["echo", callers], strict=True)
        return median(run.load.rate / bare.load.rate for run, bare in pairs)


def save_request(number: int) -> bytes:
    """Return an encoded save of a new customer."""
    return v1.SaveCustomerRequest(customer=cards.customer(number)).SerializeToString()


def check_request(number: int) -> bytes:
    """Return an encoded check of a customer's e-mail and phone."""
    queries = [
        v1.ContactQuery(email=cards.email(number)),
        v1.ContactQuery(phone=cards.phone(number)),
    ]
    return v1.CheckContactsRequest(contacts=queries).SerializeToString()


def resolve_request(number: int) -> bytes:
    """Return an encoded question for whom a customer's e-mail and phone belong to."""
    queries = [
        v1.IdentityQuery(type="email", value=cards.email(number)),
        v1.IdentityQuery(type="phone", value=cards.phone(number)),
    ]
    return v1.ResolveIdentitiesRequest(identities=queries).SerializeToString()


async def measure(folder: Path, plan: Plan, tell: Callable[[str], None]) -> Report:
    """Start everything, measure in turns, report."""
    async with AsyncExitStack() as stack:
        dns = await stack.enter_async_context(FaultyDns(mx("mx.host.example", ttl=DNS_TTL_S)))
        empty, full = [
            stack.enter_context(
                processes.namesake(folder / name, "--dns-server", dns.address)
            )
            for name in ("empty", "full")
        ]  # fmt: skip
        for server in (empty, full):
            await warm_dns(stack, server)
        tell(f"importing {plan.customers:,} customers")
        await import_all(full.address, cards.import_messages(0, plan.customers), create_all=True)
        answer = await _sample(stack, full)
        bare = stack.enter_context(processes.echo(folder, answer))
        benches = (
            await _bench(stack, "empty", empty, bare, FIRST_NOBODY),
            await _bench(stack, f"{plan.customers:,} customers", full, bare, 0),
        )
        for number in range(plan.turns):
            tell(f"calls, turn {number + 1} of {plan.turns}")
            for callers in CALLERS:
                for bench in benches:
                    await bench.turn(callers, plan)
        tell("calls at half load")
        paced = await _half_load(benches[-1], plan)
    return _report(benches, paced)


async def _channel(stack: AsyncExitStack, server: Serving) -> grpc.aio.Channel:
    return await stack.enter_async_context(grpc.aio.insecure_channel(server.address))


async def warm_dns(stack: AsyncExitStack, server: Serving) -> None:
    """Check every domain until its verdict is cached."""
    stub = v1.ValidationServiceStub(await _channel(stack, server))
    queries = [v1.ContactQuery(email=f"a@{domain}") for domain in cards.domains()]
    for _ in range(60):
        answer = await stub.CheckContacts(v1.CheckContactsRequest(contacts=queries))
        if all(one.finding.verdict == v1.VERDICT_VALID for one in answer.results):
            return
    raise RuntimeError("the domains' verdicts do not come in")


async def _sample(stack: AsyncExitStack, server: Serving) -> bytes:
    """Return an encoded answer of a save, for the echo server to give."""
    channel = await _channel(stack, server)
    answer = await channel.unary_unary(METHODS["save"], None, None)(save_request(FIRST_SAVED - 1))
    assert isinstance(answer, bytes)
    return answer


async def _bench(
    stack: AsyncExitStack, name: str, service: Serving, bare: Serving, first: int
) -> Bench:
    """Open one channel to each server; checks and questions are of customers from `first` on."""
    servers = {kind: bare if kind == "echo" else service for kind in KINDS}
    to_service, to_echo = await _channel(stack, service), await _channel(stack, bare)
    calls: dict[str, Call] = {
        # Neither a serialiser nor a parser: bytes go in and come out.
        kind: (to_echo if kind == "echo" else to_service).unary_unary(METHODS[kind], None, None)
        for kind in KINDS
    }
    numbers = [first + number * 7 % PREPARED for number in range(PREPARED)]
    repeated: dict[str, Iterator[bytes]] = {
        "echo": cycle([save_request(number) for number in numbers]),
        "check": cycle([check_request(number) for number in numbers]),
        "resolve": cycle([resolve_request(number) for number in numbers]),
    }
    bench = Bench(name, calls, servers, repeated)
    await _look(bench)
    return bench


async def _look(bench: Bench) -> None:
    """Call each method once and raise where the answer is not what is to be measured."""

    async def call(kind: str) -> bytes:
        answer = await bench.calls[kind](next(bench.requests(kind, 1)))
        assert isinstance(answer, bytes)
        return answer

    saved = v1.SaveCustomerResponse.FromString(await call("save"))
    checked = v1.CheckContactsResponse.FromString(await call("check")).results
    resolved = v1.ResolveIdentitiesResponse.FromString(await call("resolve")).results
    findings = [
        saved.customer.emails[0].finding,
        saved.customer.phones[0].finding,
        *(one.finding for one in checked),
    ]
    valid = all(finding.verdict == v1.VERDICT_VALID for finding in findings)
    found = [len(one.matches) for one in resolved]
    if not valid or saved.outcome != v1.SAVE_OUTCOME_CREATED or found not in ([0, 0], [1, 1]):
        raise RuntimeError("a call does not do what is to be measured")


@dataclass(frozen=True, slots=True)
class Paced:
    """The runs of one method at a steady pace."""

    kind: str
    rate: float
    loads: list[Load] = field(default_factory=list)

    def percentile_ms(self, percent: float) -> float:
        """Return the median of the runs' percentiles."""
        return median(load.percentile_ms(percent) for load in self.loads)


async def _half_load(bench: Bench, plan: Plan) -> list[Paced]:
    """Call the check at half of its highest rate, the echo at the same, the save at half its own.

    The echo shows what lateness the machine and the load generator add.
    """
    check_rate, save_rate = (bench.rate(kind, CALLERS[-1]) / 2 for kind in ("check", "save"))
    runs = [Paced("echo", check_rate), Paced("check", check_rate), Paced("save", save_rate)]
    for _ in range(plan.paced_turns):
        for run in runs:
            run.loads.append(await bench.paced(run.kind, run.rate, plan))
    return runs


def _report(benches: tuple[Bench, ...], paced: list[Paced]) -> Report:
    rows = [
        _row(bench, kind, callers)
        for callers in CALLERS
        for bench in benches
        for kind in KINDS
    ]  # fmt: skip
    calls = Table(
        "Unary calls",
        "Closed loop over one connection; medians over the turns; p50 and p99 in ms. A save is "
        "of a new customer with one e-mail and one phone, durable before it is answered.",
        ("call", "folder", "callers", "calls/s", "of echo", "p50", "p99", "server µs/call"),
        tuple(rows),
    )
    half = Table(
        f"At half load ({benches[-1].name})",
        "Open loop at a steady pace, ms from the intended time of each call. Check and save at "
        "half of their highest rate; echo, at the check's pace, shows what the machine and the "
        "load generator add. Medians of the percentiles of several runs.",
        ("call", "calls/s", "p50", "p99", "p99.9"),
        tuple(
            (run.kind, f"{run.rate:,.0f}", *(f"{run.percentile_ms(p):.2f}" for p in (50, 99, 99.9)))
            for run in paced
        ),
    )
    return Report((calls, half), _targets(benches, paced))


def _row(bench: Bench, kind: str, callers: int) -> tuple[str, ...]:
    runs = bench.runs[kind, callers]
    return (
        kind,
        bench.name,
        str(callers),
        f"{bench.rate(kind, callers):,.0f}",
        f"{bench.share(kind, callers):.0%}",
        f"{median(run.load.percentile_ms(50) for run in runs):.2f}",
        f"{median(run.load.percentile_ms(99) for run in runs):.2f}",
        f"{median(run.server_us for run in runs):.0f}",
    )


def _targets(benches: tuple[Bench, ...], paced: list[Paced]) -> tuple[Target, ...]:
    callers = CALLERS[-1]
    shares = tuple((bench.name, bench.share("save", callers)) for bench in benches)
    p99_ms = next(run.percentile_ms(99) for run in paced if run.kind == "check")
    saves = (
        Target(
            f"save at {callers} callers, {name}",
            f"≥ {SAVE_SHARE:.0%} of echo",
            f"{share:.0%}",
            share >= SAVE_SHARE,
        )
        for name, share in shares
    )
    return (
        *saves,
        Target(
            "p99 of a cached check at half load",
            f"< {CHECK_P99_MS:g} ms",
            f"{p99_ms:.2f} ms",
            p99_ms < CHECK_P99_MS,
        ),
    )
