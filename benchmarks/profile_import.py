"""Where the time of an import goes: Registry and Index in one process, without gRPC.

    python -m benchmarks.profile_import --rows 20000

Three runs on fresh folders: one bare, for rows a second and the processor time of each thread; one
with the event loop under cProfile (decoding, rules, normal forms, findings, encoding); one with
the writer thread under it (decisions and LMDB). cProfile makes Python calls several times slower
and leaves compiled ones as they are: trust its order and call counts, and the bare run for time.
The DNS is not asked: every domain is PENDING, as in a first import.

What it shows (November 2026) is little: nearly all of the time is within compiled modules, where
cProfile does not look. What perf sees there stands in `benchmarks.transfer`.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cards import import_messages
from namesake import v1
from service.core.model import Lookup
from service.core.prepare import match_key
from service.identity.batches import Batch
from service.identity.registry import MatchBy, Registry, Terms
from service.index import Index
from service.server.transfers import BATCHES_UNDER_WAY
from service.server.wire import Records, Rows
from service.settings import Settings
from service.validation.validator import Validator

MATCH_ORDER = (MatchBy.IDENTITY, MatchBy.MOBILE, MatchBy.PHONE, MatchBy.EMAIL)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one import: of the clock, of the loop's thread, of all other threads."""

    clock_s: float
    loop_s: float
    others_s: float


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile_import")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--top", type=int, default=25, help="functions to print of each thread")
    parser.add_argument("--sort", default="tottime", help="tottime, cumtime, ncalls …")
    parser.add_argument("--create-all", action="store_true", help="do not match rows")
    options = parser.parse_args()
    messages = import_messages(0, options.rows)
    terms = Terms(
        actor="profile",
        region="US",
        lookup=Lookup.DEFER,
        match_order=(MatchBy.CUSTOMER_ID,) if options.create_all else MATCH_ORDER,
    )
    _import(messages[:2], terms)  # tables of phone numbers are loaded on first use
    bare = _import(messages, terms)
    _print_timing(bare, options.rows)
    loop = cProfile.Profile()
    _import(messages, terms, loop=loop)
    _print_profile("event loop", loop, options.sort, options.top)
    writer = cProfile.Profile()
    _import(messages, terms, writer=writer)
    _print_profile("writer thread", writer, options.sort, options.top)


def _import(
    messages: Sequence[bytes],
    terms: Terms,
    loop: cProfile.Profile | None = None,
    writer: cProfile.Profile | None = None,
) -> Timing:
    """Import into a fresh folder, with one of the threads under a profiler."""
    with tempfile.TemporaryDirectory(prefix="namesake-profile-") as folder:
        settings = Settings(data=Path(folder), dns_servers=("127.0.0.1:9",))
        return asyncio.run(_run(messages, terms, settings, loop, writer))


async def _run(
    messages: Sequence[bytes],
    terms: Terms,
    settings: Settings,
    loop: cProfile.Profile | None,
    writer: cProfile.Profile | None,
) -> Timing:
    validator = Validator(settings)
    await validator.start()
    if writer is not None:
        # The hook's first call, in the thread that starts next, makes way for the profiler.
        threading.setprofile(lambda *_: writer.enable())
    index = Index.open(settings.data / "profile", settings, match_key)
    threading.setprofile(None)
    registry = Registry(index, validator, Records(settings), settings)
    started = time.perf_counter(), time.thread_time(), time.process_time()
    if loop is not None:
        loop.enable()
    await _feed(registry, messages, terms, settings)
    if loop is not None:
        loop.disable()
    clock_s, loop_s, process_s = (
        now - then
        for now, then in zip(
            (time.perf_counter(), time.thread_time(), time.process_time()), started, strict=True
        )
    )
    await index.close()
    await validator.close()
    return Timing(clock_s, loop_s, process_s - loop_s)


async def _feed(
    registry: Registry, messages: Sequence[bytes], terms: Terms, settings: Settings
) -> None:
    """Do what the import stream does: check a batch while those before it are committed."""
    rows = Rows(v1.ImportSettings(), settings)
    under_way: deque[asyncio.Task[Batch]] = deque()
    for message in messages:
        under_way.append(await registry.import_batch("profile", rows.read(message), terms))
        await asyncio.sleep(0)  # the task hands its batch to the writer
        if len(under_way) > BATCHES_UNDER_WAY:
            _confirm(await under_way.popleft())
    for task in under_way:
        _confirm(await task)


def _confirm(batch: Batch) -> None:
    if batch.failures:
        raise RuntimeError("a row was refused: this measures nothing")


def _print_timing(timing: Timing, rows: int) -> None:
    def each(seconds: float) -> str:
        return f"{seconds / rows * 1e6:.1f} µs a row"

    print(f"{rows / timing.clock_s:,.0f} rows/s ({each(timing.clock_s)}), without a profiler")
    print(f"  event loop {each(timing.loop_s)}, writer thread {each(timing.others_s)} of processor")


def _print_profile(title: str, profile: cProfile.Profile, sort: str, top: int) -> None:
    print(f"\n== {title}, under cProfile ==")
    profile.create_stats()
    pstats.Stats(profile, stream=sys.stdout).strip_dirs().sort_stats(sort).print_stats(top)


if __name__ == "__main__":
    main()
