"""Asks DNS whether a domain takes mail, and says what the answer means.

Nothing is cached here but by c-ares itself; `domains.py` does that.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

import aiodns
import pycares
import structlog

from service.core.model import Reason
from service.errors import InvalidArgument
from service.settings import Settings
from service.validation.verdicts import HOSTS_KEPT, DomainVerdict, now_us

_log = structlog.get_logger(__name__)

# A channel that cannot be renewed is kept for so long, then it is tried again.
_RENEW_PAUSE_S: Final = 5
# Tries of one query, each waiting twice as long as the one before it.
_TRIES: Final = 4


class _UnansweredError(Exception):
    """Timeout, SERVFAIL, REFUSED, a broken answer: nothing is known of the domain."""


class _NoSuchDomainError(Exception):
    """NXDOMAIN."""


class Resolver:
    """One c-ares channel at a time, renewed on a timer.

    c-ares keeps NODATA up to an hour, whatever the SOA says, and pycares cannot switch that off:
    only a new channel forgets. Channels leak a little, so one process has one Resolver.
    """

    def __init__(self, settings: Settings) -> None:
        """Needs a running event loop. Raises InvalidArgument for a bad `dns_servers`."""
        self._settings = settings
        self._channel = self._open()
        self._retired: set[_Channel] = set()

    async def lookup(self, domain: str) -> DomainVerdict:
        """Return the verdict on an A-label domain; MAIL_SERVER_UNKNOWN after `dns_lookup_s`."""
        try:
            async with asyncio.timeout(self._settings.dns_lookup_s), self._borrowed() as channel:
                return await self._mail_hosts(channel, domain)
        except _NoSuchDomainError:
            return self._negative(Reason.DOMAIN_NOT_FOUND)
        except (_UnansweredError, TimeoutError):
            return unknown(self._settings)

    async def close(self) -> None:
        """End the look-ups under way and any begun later; they answer MAIL_SERVER_UNKNOWN."""
        self._channel.ends_s = math.inf
        for channel in {self._channel, *self._retired}:
            await channel.close()

    async def _mail_hosts(self, channel: _Channel, domain: str) -> DomainVerdict:
        answer = await channel.query(domain, "MX")
        offers = sorted(
            (record.data.priority, record.data.exchange.lower())
            for record in answer
            if isinstance(record.data, pycares.MXRecordData)
        )
        if not offers:
            return await self._implicit_host(channel, domain)
        # RFC 7505: a lone "." (c-ares: "") says that the domain never takes mail. Beside real
        # hosts it is a mistake, and mail goes to those.
        hosts = tuple(dict.fromkeys(host for _, host in offers if host not in ("", ".")))
        if not hosts:
            return self._negative(Reason.NULL_MX)
        return self._positive(hosts[:HOSTS_KEPT], answer)

    async def _implicit_host(self, channel: _Channel, domain: str) -> DomainVerdict:
        # RFC 5321 §5.1: without MX the host of that name is the mail server.
        answers = await asyncio.gather(
            channel.query(domain, "A"), channel.query(domain, "AAAA"), return_exceptions=True
        )
        heard = [answer for answer in answers if not isinstance(answer, BaseException)]
        for answer in heard:
            kinds = (pycares.ARecordData, pycares.AAAARecordData)
            if any(isinstance(record.data, kinds) for record in answer):
                return self._positive((domain,), answer)
        for fault in answers:
            if isinstance(fault, BaseException) and not isinstance(fault, _NoSuchDomainError):
                raise fault
        if not heard:
            raise _NoSuchDomainError
        return self._negative(Reason.NO_MAIL_SERVER)

    def _positive(
        self, hosts: tuple[str, ...], answer: Iterable[pycares.DNSRecord]
    ) -> DomainVerdict:
        shortest_s = min(record.ttl for record in answer)
        ttl_s = min(max(shortest_s, self._settings.dns_ttl_min_s), self._settings.dns_ttl_max_s)
        return _verdict(Reason.ACCEPTED, ttl_s, hosts)

    def _negative(self, reason: Reason) -> DomainVerdict:
        return _verdict(reason, self._settings.dns_negative_ttl_s)

    def _open(self) -> _Channel:
        try:
            resolver = aiodns.DNSResolver(
                nameservers=self._settings.dns_servers or None,
                # The first repeat comes soon enough for the caller to see its answer.
                timeout=max(self._settings.dns_deadline_ms / 2_000, 0.05),
                tries=_TRIES,
            )
        except (pycares.AresError, UnicodeError) as fault:
            raise InvalidArgument(
                "expected IP addresses, with or without a port", field="dns_servers"
            ) from fault
        return _Channel(resolver, time.monotonic() + self._settings.dns_channel_life_s)

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[_Channel]:
        """Lend the current channel; the last to return a replaced one closes it."""
        if time.monotonic() >= self._channel.ends_s:
            self._renew()
        channel = self._channel
        channel.borrowers += 1
        try:
            yield channel
        finally:
            channel.borrowers -= 1
            for idle in [old for old in self._retired if not old.borrowers]:
                self._retired.remove(idle)
                await idle.close()

    def _renew(self) -> None:
        old = self._channel
        try:
            self._channel = self._open()
        except (InvalidArgument, OSError) as fault:  # no file descriptors left, say
            _log.warning("dns_channel_not_renewed", fault=type(fault.__cause__ or fault).__name__)
            old.ends_s = time.monotonic() + _RENEW_PAUSE_S
        else:
            self._retired.add(old)


class _Channel:
    """A c-ares channel, when its life ends (monotonic seconds), and how many still use it."""

    __slots__ = ("_closed", "_resolver", "borrowers", "ends_s")

    def __init__(self, resolver: aiodns.DNSResolver, ends_s: float) -> None:
        self._resolver = resolver
        self._closed = False
        self.ends_s = ends_s
        self.borrowers = 0

    async def query(self, domain: str, kind: str) -> list[pycares.DNSRecord]:
        """Return the answer section, CNAMEs included, empty for NODATA.

        Raises _NoSuchDomainError or _UnansweredError.
        """
        if self._closed:
            raise _UnansweredError
        try:
            result = await self._resolver.query_dns(domain, kind)
        except aiodns.error.DNSError as fault:
            match fault.args[0]:
                case aiodns.error.ARES_ENODATA:
                    return []
                case aiodns.error.ARES_ENOTFOUND:
                    raise _NoSuchDomainError from None
            raise _UnansweredError from None
        return result.answer

    async def close(self) -> None:
        """Cancel the queries under way."""
        self._closed = True
        await self._resolver.close()


def unknown(settings: Settings) -> DomainVerdict:
    """Return the verdict of a look-up that brought nothing."""
    return _verdict(Reason.MAIL_SERVER_UNKNOWN, settings.dns_unknown_ttl_s)


def _verdict(reason: Reason, ttl_s: int, hosts: tuple[str, ...] = ()) -> DomainVerdict:
    now = now_us()
    return DomainVerdict(reason, now, now + ttl_s * 1_000_000, hosts)
