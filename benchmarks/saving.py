"""Single saves beside bulk work: as many as they can alone, and at a steady pace during an import.

The DNS answers from loopback, and every domain is in the cache before anything is timed, as it is
in a CRM that is at work: an imported e-mail is VALID at once, and a saved one too.

- alone: callers of SaveCustomer as fast as answers come, which is how a CRM without an import
  brings its customers in;
- quiet: saves of new customers at a steady pace, nothing else to do;
- during an import: the same pace while one stream imports new customers as fast as it can, from a
  process of its own; and while another gives some of these another stage. Latency counts from the
  intended time of each call. All calls of short runs are taken together, but for those of the last
  run, during which the import ended.

Server, import and saves share the cores: on two of them a save also waits for the processor.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks import processes, streams
from benchmarks.load import Call, Load, closed_loop, open_loop
from benchmarks.rpc import CALLS_S, DNS_TTL_S, METHODS, Saves, warm_dns
from tests.dns_servers import FaultyDns, mx

CALLERS = 64
WARM_UP_S = 0.3


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rows: int  # of the import; saves have other customers
    changed: int  # rows of an import that changes these
    calls_s: float  # the steady pace
    run_s: float
    alone_s: float


@dataclass(frozen=True, slots=True)
class Saving:
    """What was seen."""

    alone: Load
    quiet: Load
    during: Load
    imported: float  # rows a second, meanwhile
    during_changes: Load
    changed: float


async def measure(folder: Path, plan: Plan, tell: Callable[[str], None]) -> Saving:
    """Save alone, then quietly, then during an import."""
    file = folder / "batches"
    streams.write(file, plan.rows)
    saves = Saves()
    async with _serving(folder / "saving") as (address, call):
        tell(f"saves of {CALLERS} callers")
        requests = saves.prepare(int(CALLS_S * (plan.alone_s + WARM_UP_S)))
        alone = await closed_loop(call, requests, CALLERS, plan.alone_s, WARM_UP_S)
    async with _serving(folder / "beside") as (address, call):
        paced = _Paced(call, saves, plan)
        await paced.run()  # what is needed only once
        tell(f"{plan.calls_s:g} saves a second")
        quiet = [await paced.run() for _ in range(int(plan.alone_s / plan.run_s) + 1)]
        tell(f"the same while {plan.rows:,} rows are imported")
        during, seconds = await _during(address, file, paced)
        tell(f"the same while {plan.changed:,} of them are changed")
        streams.write(file, plan.changed, streams.changes_message)
        changing, changing_s = await _during(address, file, paced, "changes")
    file.unlink()
    return Saving(
        alone,
        _together(quiet),
        _together(during),
        plan.rows / seconds,
        _together(changing),
        plan.changed / changing_s,
    )


@asynccontextmanager
async def _serving(data: Path) -> AsyncIterator[tuple[str, Call]]:
    """Serve a new folder; yield the address and the call that saves."""
    async with AsyncExitStack() as stack:
        dns = await stack.enter_async_context(FaultyDns(mx("mx.host.example", ttl=DNS_TTL_S)))
        server = stack.enter_context(processes.namesake(data, "--dns-server", dns.address))
        await warm_dns(stack, server)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address))
        yield server.address, channel.unary_unary(METHODS["save"], None, None)


@dataclass(frozen=True, slots=True)
class _Paced:
    """Saves at a steady pace."""

    call: Call
    saves: Saves
    plan: Plan

    async def run(self) -> Load:
        """Save for a while."""
        plan = self.plan
        requests = self.saves.prepare(int(plan.calls_s * plan.run_s) + 1)
        return await open_loop(self.call, requests, plan.calls_s, plan.run_s, 0)


async def _during(
    address: str, file: Path, paced: _Paced, job_id: str = streams.JOB_ID
) -> tuple[list[Load], float]:
    """Save as long as an import runs in another process; return its seconds too."""
    command = [sys.executable, "-m", "benchmarks.streams", address, str(file), "--job-id", job_id]
    importer = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert importer.stdout is not None
    await importer.stdout.readline()
    ended = asyncio.create_task(importer.stdout.readline())
    loads = []
    while not ended.done():
        loads.append(await paced.run())
    await importer.wait()
    if len(loads) == 1:
        raise RuntimeError("the import ended too soon")
    return loads[:-1], float(await ended)


def _together(loads: Sequence[Load]) -> Load:
    """Return all calls of several runs."""
    latencies_s = [latency_s for load in loads for latency_s in load.latencies_s]
    sent = sum(load.sent for load in loads)
    return Load(sum(load.seconds for load in loads), latencies_s, sent)
