"""Verdicts on mail domains: from memory, from the caches behind it, or from DNS.

One look-up per domain is ever under way; callers wait for it together, each no longer than its
own deadline. What a look-up brings later is there for the next caller.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import lmdb
import structlog

from service.settings import Settings
from service.validation.resolver import Resolver, unknown
from service.validation.verdicts import DomainVerdict, SharedVerdicts, StoredVerdicts, now_us

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
        self._resolver = Resolver(settings)
        self._stored = StoredVerdicts(settings.data / "verdicts", settings.dns_stored_domains)
        self._shared = _shared_verdicts(settings)
        self._memory: OrderedDict[str, _Entry] = OrderedDict()
        self._flights: dict[str, asyncio.Task[DomainVerdict]] = {}
        self._slots = asyncio.Semaphore(settings.dns_concurrency)
        self._unwritten: dict[str, DomainVerdict] = {}
        self._writing: asyncio.Task[None] | None = None
        self._counts: Counter[str] = Counter()

    async def known(self, domains: Collection[str]) -> dict[str, DomainVerdict]:
        """Return the usable verdicts that any cache holds; DNS is not asked."""
        now = now_us()
        found = self._remembered(domains, now)
        if len(found) < len(domains):
            missing = [domain for domain in domains if domain not in found]
            found |= await self._recalled(missing, now)
        return found

    async def find(self, domains: Collection[str], deadline_s: float) -> dict[str, DomainVerdict]:
        """Return a verdict for each of `domains` within about `deadline_s` for all of them.

        Stale positives are served at once and refreshed behind the caller's back. What is not
        answered in time is MAIL_SERVER_UNKNOWN, and stays so for `dns_unknown_ttl_s` or until
        the look-up brings more.
        """
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + deadline_s
        found = await self.known(domains)
        now = now_us()
        flights = {}
        for domain in domains:
            if domain not in found:
                if (flight := self._flight(domain)) is None:
                    found[domain] = unknown(self._settings)
                else:
                    flights[domain] = flight
            elif self._due(domain, now):
                self._flight(domain)
        if flights:
            await asyncio.wait(flights.values(), timeout=max(ends_s - loop.time(), 0))
            for domain, flight in flights.items():
                found[domain] = flight.result() if flight.done() else self._give_up(domain)
        return found

    async def resolve(self, domains: Sequence[str]) -> dict[str, DomainVerdict]:
        """Return a verdict for each of `domains`, waiting as long as the look-ups take."""
        answers: dict[str, DomainVerdict] = {}
        distinct = list(dict.fromkeys(domains))
        step = self._settings.dns_concurrency
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

    def _remembered(self, domains: Iterable[str], now: int) -> dict[str, DomainVerdict]:
        """Return what memory holds; a verdict that failed of late counts as an answer."""
        found = {}
        stale = 0
        for domain in domains:
            entry = self._memory.get(domain)
            if entry is None or not self._usable(entry.verdict, now):
                continue
            self._memory.move_to_end(domain)
            stale += entry.verdict.holds_until_us <= now
            found[domain] = entry.verdict
        self._counts.update(memory_hits=len(found), stale_served=stale)
        return found

    async def _recalled(self, domains: Sequence[str], now: int) -> dict[str, DomainVerdict]:
        """Return what disk and Redis hold, and remember it."""
        stored = self._stored.get(domains)
        found = {domain: v for domain, v in stored.items() if self._usable(v, now)}
        shared = {}
        if self._shared is not None:
            # A stale verdict on this disk may be a fresh one elsewhere.
            wanted = [d for d in domains if d not in found or found[d].holds_until_us <= now]
            heard = await self._shared.get(wanted) if wanted else {}
            shared = {
                domain: v
                for domain, v in heard.items()
                if self._usable(v, now)
                and (domain not in found or found[domain].checked_us < v.checked_us)
            }
        self._counts.update(
            stored_hits=len(found.keys() - shared.keys()),
            shared_hits=len(shared),
            stale_served=sum(v.holds_until_us <= now for v in (found | shared).values()),
        )
        found |= shared
        for domain, verdict in found.items():
            self._remember(domain, verdict, verdict.holds_until_us)
        for domain, verdict in shared.items():
            self._write_later(domain, verdict)
        return found

    def _usable(self, verdict: DomainVerdict, now: int) -> bool:
        grace_us = self._stale_us if verdict.positive else 0
        return now < verdict.holds_until_us + grace_us

    def _due(self, domain: str, now: int) -> bool:
        entry = self._memory.get(domain)
        return entry is not None and entry.ask_after_us <= now

    def _remember(self, domain: str, verdict: DomainVerdict, ask_after_us: int) -> None:
        self._memory[domain] = _Entry(verdict, ask_after_us)
        self._memory.move_to_end(domain)
        if len(self._memory) > self._settings.dns_cache_domains:
            self._memory.popitem(last=False)

    # Look-ups

    def _flight(self, domain: str) -> asyncio.Task[DomainVerdict] | None:
        """Return the domain's look-up, begun now if need be, or None where the queue is full."""
        flight = self._flights.get(domain)
        if flight is None:
            bound = self._settings.dns_waiting_domains + self._settings.dns_concurrency
            if len(self._flights) >= bound:
                self._counts.update(refused=1)
                return None
            flight = asyncio.create_task(self._look_up(domain))
            self._flights[domain] = flight
        return flight

    async def _look_up(self, domain: str) -> DomainVerdict:
        try:
            async with self._slots:
                self._counts.update(lookups=1)
                verdict = await self._resolver.lookup(domain)
            return self._keep(domain, verdict)
        finally:
            del self._flights[domain]

    def _keep(self, domain: str, verdict: DomainVerdict) -> DomainVerdict:
        """Remember what a look-up brought and return what to tell the waiting."""
        if verdict.known:
            self._remember(domain, verdict, verdict.holds_until_us)
            self._write_later(domain, verdict)
            return verdict
        self._counts.update(unknowns=1)
        entry = self._memory.get(domain)
        if entry is not None and entry.verdict.positive and self._usable(entry.verdict, now_us()):
            # DNS is down: the stale positive stays, and is not refreshed at every call.
            entry.ask_after_us = verdict.holds_until_us
            return entry.verdict
        self._remember(domain, verdict, verdict.holds_until_us)
        return verdict

    def _give_up(self, domain: str) -> DomainVerdict:
        """Let the look-up go on, and the next callers not wait for it as well."""
        verdict = unknown(self._settings)
        self._remember(domain, verdict, verdict.holds_until_us)
        return verdict

    async def _resolve(self, domains: Sequence[str]) -> dict[str, DomainVerdict]:
        found = await self.known(domains)
        flights = {}
        for domain in domains:
            # Somebody's missed deadline is no answer while the look-up goes on.
            undecided = domain not in found or (not found[domain].known and domain in self._flights)
            if undecided:
                if (flight := self._flight(domain)) is None:
                    found[domain] = unknown(self._settings)
                else:
                    flights[domain] = flight
        if flights:
            await asyncio.wait(flights.values())
        return found | {domain: flight.result() for domain, flight in flights.items()}

    # Write-behind

    def _write_later(self, domain: str, verdict: DomainVerdict) -> None:
        self._unwritten[domain] = verdict
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """Store what gathered, in one commit per round, off the event loop."""
        try:
            while self._unwritten:
                await asyncio.sleep(_WRITE_DELAY_S)
                batch = dict(self._unwritten)
                try:
                    await asyncio.to_thread(self._stored.put, batch)
                except lmdb.Error as fault:
                    _log.warning("verdicts_not_stored", fault=type(fault).__name__)
                if self._shared is not None:
                    await self._shared.put(batch)
                for domain, verdict in batch.items():
                    if self._unwritten[domain] is verdict:
                        del self._unwritten[domain]
        finally:
            self._writing = None


def _shared_verdicts(settings: Settings) -> SharedVerdicts | None:
    if settings.redis is None:
        return None
    return SharedVerdicts(
        settings.redis,
        deadline_ms=settings.redis_deadline_ms,
        pause_s=settings.redis_pause_s,
        stale_s=settings.dns_stale_s,
    )
