"""Verdicts on mail domains: from memory, from the caches behind it, or from DNS.

One look-up per domain is ever under way; callers wait for it together, each no longer than its
own deadline. What a look-up brings later is there for the next caller. Lists and imports (bulk)
leave a part of the look-ups, under way and queued, to those who save a card.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from service.errors import InvalidArgument
from service.settings import Settings
from service.validation.resolver import Resolver, unknown
from service.validation.verdicts import DomainVerdict, StoredVerdicts, now_us

if TYPE_CHECKING:
    from service.validation.shared import SharedVerdicts

_log = structlog.get_logger(__name__)

_WRITE_DELAY_S: Final = 0.2  # verdicts gather this long before one commit stores them


@dataclass(frozen=True, slots=True)
class DomainStats:
    """Counts since the start of this process; the last four are of this moment."""

    lookups: int = 0
    memory_hits: int = 0
    stored_hits: int = 0
    shared_hits: int = 0
    stale_served: int = 0
    unknowns: int = 0
    refused: int = 0  # look-ups not begun because the queue was full
    in_flight: int = 0
    in_memory: int = 0
    unwritten: int = 0
    shared_available: bool = False


class _Entry:
    """A verdict in memory and the time from which DNS may be asked again."""

    __slots__ = ("ask_after_us", "verdict")

    def __init__(self, verdict: DomainVerdict, ask_after_us: int) -> None:
        self.verdict = verdict
        self.ask_after_us = ask_after_us


class Domains:
    """The domain verdicts of one process. Use from one event loop."""

    def __init__(self, settings: Settings) -> None:
        """Open the caches; needs a running event loop. Raises StorageFault, InvalidArgument."""
        self._settings = settings
        self._stale_us = settings.dns_stale_s * 1_000_000
        self._shared = _shared_verdicts(settings)
        self._stored = StoredVerdicts(settings.data / "verdicts", settings.dns_stored_domains)
        try:
            self._resolver = Resolver(settings)
        except InvalidArgument:
            self._stored.close()
            raise
        self._memory: OrderedDict[str, _Entry] = OrderedDict()
        self._flights: dict[str, asyncio.Task[DomainVerdict]] = {}
        self._slots = asyncio.Semaphore(settings.dns_concurrency)
        self._bulk_concurrency = max(1, int(settings.dns_concurrency * settings.dns_bulk_share))
        self._bulk_slots = asyncio.Semaphore(self._bulk_concurrency)
        self._unwritten: dict[str, DomainVerdict] = {}
        self._unshared: dict[str, DomainVerdict] = {}
        self._writing: asyncio.Task[None] | None = None
        self._counts: Counter[str] = Counter()

    async def known(self, domains: Collection[str]) -> dict[str, DomainVerdict]:
        """Return the usable verdicts that any cache holds, without waiting for DNS.

        Stale positives are refreshed behind the caller's back, unless DNS has much to do.
        """
        found = await self._cached(domains)
        now = now_us()
        for domain, verdict in found.items():
            if len(self._flights) > self._bound(bulk=True) // 2:
                break
            if self._due(domain, verdict, now):
                self._flight(domain, bulk=True)
        return found

    async def find(self, domains: Collection[str], deadline_s: float) -> dict[str, DomainVerdict]:
        """Return a verdict for each of `domains` within about `deadline_s` for all of them.

        Stale positives are served at once and refreshed behind the caller's back. What is not
        answered in time is MAIL_SERVER_UNKNOWN, and stays so for `dns_unknown_ttl_s` or until
        the look-up brings more.
        """
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + deadline_s
        found = await self._cached(domains)
        now = now_us()
        missing = [domain for domain in domains if domain not in found]
        stale = [domain for domain, verdict in found.items() if self._due(domain, verdict, now)]
        bulk = len(missing) > self._settings.dns_interactive_domains
        flights = {}
        for domain in missing:
            if (flight := self._flight(domain, bulk=bulk)) is None:
                found[domain] = unknown(self._settings)
            else:
                flights[domain] = flight
        for domain in stale:
            self._flight(domain, bulk=True)
        if flights:
            await asyncio.wait(flights.values(), timeout=max(ends_s - loop.time(), 0))
            for domain, flight in flights.items():
                found[domain] = flight.result() if flight.done() else self._give_up(domain)
        return found

    async def resolve(self, domains: Sequence[str]) -> dict[str, DomainVerdict]:
        """Return a verdict for each of `domains`, waiting as long as the look-ups take."""
        answers: dict[str, DomainVerdict] = {}
        distinct = list(dict.fromkeys(domains))
        step = self._bulk_concurrency
        for start in range(0, len(distinct), step):
            answers |= await self._resolve(distinct[start : start + step])
        return answers

    def stats(self) -> DomainStats:
        """Return a snapshot of the counters."""
        return DomainStats(
            **self._counts,
            in_flight=len(self._flights),
            in_memory=len(self._memory),
            unwritten=len(self._unwritten),
            shared_available=self._shared is not None and self._shared.available,
        )

    async def close(self) -> None:
        """End the look-ups, store what is not yet stored, close the caches."""
        await self._resolver.close()
        if self._flights:
            await asyncio.wait(self._flights.values())
        while self._writing is not None:
            await asyncio.wait([self._writing])
        self._stored.close()
        if self._shared is not None:
            await self._shared.close()

    # Caches

    async def _cached(self, domains: Collection[str]) -> dict[str, DomainVerdict]:
        """Return the usable verdicts that any cache holds."""
        now = now_us()
        found = self._remembered(domains, now)
        if len(found) < len(domains):
            missing = [domain for domain in domains if domain not in found]
            found |= await self._recalled(missing, now)
        return found

    def _remembered(self, domains: Iterable[str], now: int) -> dict[str, DomainVerdict]:
        """Return what memory holds; a verdict that failed of late counts as an answer."""
        found = {}
        stale = 0
        for domain in domains:
            entry = self._memory.get(domain)
            if entry is None or not entry.verdict.usable(now, self._stale_us):
                continue
            self._memory.move_to_end(domain)
            stale += entry.verdict.holds_until_us <= now
            found[domain] = entry.verdict
        self._counts.update(memory_hits=len(found), stale_served=stale)
        return found

    async def _recalled(self, domains: Sequence[str], now: int) -> dict[str, DomainVerdict]:
        """Return what disk and Redis hold, and remember it."""
        stored = self._stored.get(domains)
        found = {domain: v for domain, v in stored.items() if v.usable(now, self._stale_us)}
        shared = {}
        if self._shared is not None:
            # A stale verdict on this disk may be a fresh one elsewhere.
            wanted = [d for d in domains if d not in found or found[d].holds_until_us <= now]
            heard = await self._shared.get(wanted) if wanted else {}
            shared = {
                domain: v
                for domain, v in heard.items()
                if v.usable(now, self._stale_us)
                and (domain not in found or found[domain].checked_us < v.checked_us)
            }
        self._counts.update(
            stored_hits=len(found.keys() - shared.keys()),
            shared_hits=len(shared),
            stale_served=sum(v.holds_until_us <= now for v in (found | shared).values()),
        )
        self._write_later(shared)
        found |= shared
        for domain, verdict in found.items():
            held = self._answer(domain)
            if held is None or held.checked_us <= verdict.checked_us:
                self._remember(domain, verdict, verdict.holds_until_us)
            else:  # a look-up ended while Redis was asked
                found[domain] = held
        return found

    def _answer(self, domain: str) -> DomainVerdict | None:
        """Return what memory holds of a domain, if that is a usable answer of DNS."""
        entry = self._memory.get(domain)
        if entry is None or not entry.verdict.known:
            return None
        return entry.verdict if entry.verdict.usable(now_us(), self._stale_us) else None

    def _due(self, domain: str, verdict: DomainVerdict, now: int) -> bool:
        """Tell whether DNS is to be asked again about a verdict that is still served."""
        entry = self._memory.get(domain)  # gone already where a batch exceeds the memory
        return (verdict.holds_until_us if entry is None else entry.ask_after_us) <= now

    def _remember(self, domain: str, verdict: DomainVerdict, ask_after_us: int) -> None:
        self._memory[domain] = _Entry(verdict, ask_after_us)
        self._memory.move_to_end(domain)
        if len(self._memory) > self._settings.dns_cache_domains:
            self._memory.popitem(last=False)

    # Look-ups

    def _flight(self, domain: str, *, bulk: bool) -> asyncio.Task[DomainVerdict] | None:
        """Return the domain's look-up, begun now if need be, or None where the queue is full."""
        flight = self._flights.get(domain)
        if flight is None:
            if len(self._flights) >= self._bound(bulk=bulk):
                self._counts.update(refused=1)
                return None
            flight = asyncio.create_task(self._look_up(domain, bulk=bulk))
            self._flights[domain] = flight
        return flight

    def _bound(self, *, bulk: bool) -> int:
        """Return how many look-ups there may be, under way and queued, for one more to begin."""
        bound = self._settings.dns_waiting_domains + self._settings.dns_concurrency
        return max(1, int(bound * self._settings.dns_bulk_share)) if bulk else bound

    async def _look_up(self, domain: str, *, bulk: bool) -> DomainVerdict:
        # The first of two, so that what waits for it holds no slot meanwhile.
        part: AbstractAsyncContextManager[None] = self._bulk_slots if bulk else nullcontext()
        try:
            async with part, self._slots:
                self._counts.update(lookups=1)
                verdict = await self._resolver.lookup(domain)
        except Exception as fault:  # noqa: BLE001  one domain's look-up must not fail a batch
            _log.error("lookup_failed", fault=type(fault).__name__)
            verdict = unknown(self._settings)
        finally:
            del self._flights[domain]
        return self._keep(domain, verdict)

    def _keep(self, domain: str, verdict: DomainVerdict) -> DomainVerdict:
        """Remember what a look-up brought and return what to tell the waiting."""
        if verdict.known:
            self._remember(domain, verdict, verdict.holds_until_us)
            if self._shared is not None:
                self._unshared[domain] = verdict
            self._write_later({domain: verdict})
            return verdict
        self._counts.update(unknowns=1)
        return self._unanswered(domain, verdict)

    def _give_up(self, domain: str) -> DomainVerdict:
        """Let the look-up go on, and the next callers not wait for it as well."""
        return self._unanswered(domain, unknown(self._settings))

    def _unanswered(self, domain: str, verdict: DomainVerdict) -> DomainVerdict:
        """Return the answer there is, stale or of another process, or remember that none came."""
        told = self._answer(domain) or verdict
        # Where DNS is down, a stale answer is not to be refreshed at every call.
        self._remember(domain, told, max(told.holds_until_us, verdict.holds_until_us))
        return told

    async def _resolve(self, domains: Sequence[str]) -> dict[str, DomainVerdict]:
        found = await self._cached(domains)
        now = now_us()
        flights = {}
        for domain in domains:
            held = found.get(domain)
            # Somebody's missed deadline is no answer while the look-up goes on.
            is_decided = held is not None and (held.known or domain not in self._flights)
            if held is not None and is_decided and not self._due(domain, held, now):
                continue
            if (flight := self._flight(domain, bulk=True)) is not None:
                flights[domain] = flight
            else:
                found.setdefault(domain, unknown(self._settings))
        if flights:
            await asyncio.wait(flights.values())
        for domain, flight in flights.items():
            verdict = flight.result()
            found[domain] = verdict if verdict.known else found.get(domain, verdict)
        return found

    # Write-behind

    def _write_later(self, verdicts: Mapping[str, DomainVerdict]) -> None:
        self._unwritten.update(verdicts)
        if self._unwritten and self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """Store what gathered, in one commit per round, off the event loop.

        Shared is only what this process looked up: what it heard from Redis is there already.
        """
        try:
            while self._unwritten:
                await asyncio.sleep(_WRITE_DELAY_S)
                batch, unshared, self._unshared = dict(self._unwritten), self._unshared, {}
                await asyncio.to_thread(self._stored.put, batch)
                if self._shared is not None:
                    await self._shared.put(unshared)
                for domain, verdict in batch.items():
                    if self._unwritten[domain] is verdict:
                        del self._unwritten[domain]
        finally:
            self._writing = None


def _shared_verdicts(settings: Settings) -> SharedVerdicts | None:
    if settings.redis is None:
        return None
    from service.validation.shared import SharedVerdicts  # its client loads slowly

    return SharedVerdicts(
        settings.redis,
        deadline_ms=settings.redis_deadline_ms,
        pause_s=settings.redis_pause_s,
        stale_s=settings.dns_stale_s,
    )
