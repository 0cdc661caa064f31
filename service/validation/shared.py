"""Redis: DNS verdicts that machines share, and the client for whoever else asks it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.errors import InvalidArgument
from service.validation.verdicts import Access, DomainVerdict, decode, encode, now_us

_CONNECTIONS: Final = 16  # to Redis; a batch is one request
_SLICE_DOMAINS: Final = 100  # written to Redis at a time: some 5 ms


def redis_client(url: str, deadline_s: float) -> redis.asyncio.Redis:
    """Return a client that connects within `deadline_s`, once it is asked something.

    How long an answer may take is the caller's to say, with `asyncio.timeout`: the client would
    use `asyncio.wait_for`, which before Python 3.12 loses a cancellation that comes together with
    what it waits for. A task that is told to end would go on.

    Raises InvalidArgument for a bad `url`.
    """
    try:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            socket_timeout=None,
            socket_connect_timeout=deadline_s,
            retry=Retry(NoBackoff(), 0),
            max_connections=_CONNECTIONS,
            timeout=deadline_s,
        )
    except ValueError:
        # Without the fault's text: it may quote the URL with its password.
        raise InvalidArgument(
            "expected redis://, rediss:// or unix://, with a port in digits", field="redis"
        ) from None
    return redis.asyncio.Redis.from_pool(pool)


class SharedVerdicts:
    """Verdicts in Redis. A fault or a slow answer leaves it alone for a while; nobody fails."""

    _PREFIX = "namesake:verdict:"

    def __init__(self, url: str, *, deadline_ms: int, pause_s: int, stale_s: int) -> None:
        """Connect lazily: nothing is asked before the first `get` or `put`.

        Raises InvalidArgument for a bad `url`.
        """
        deadline_s = deadline_ms / 1_000
        self._deadline_s = deadline_s
        self._pause_s = pause_s
        self._stale_s = stale_s
        self._quiet_until_s = 0.0  # monotonic
        self._reads = Access("shared_verdicts")
        self._writes = Access("shared_verdict_writes")
        self._client = redis_client(url, deadline_s)

    @property
    def available(self) -> bool:
        """Whether the last read succeeded."""
        return self._reads.available

    async def get(self, domains: Sequence[str]) -> dict[str, DomainVerdict]:
        """Return the verdicts there are, none while Redis is lost; within the deadline."""
        if time.monotonic() < self._quiet_until_s:
            return {}
        keys = [self._PREFIX + domain for domain in domains]
        try:
            # One deadline for connecting and answering.
            async with self._within_deadline():
                stored = await self._client.mget(keys)
        except (RedisError, OSError, TimeoutError) as fault:
            self._quiet_until_s = time.monotonic() + self._pause_s
            self._reads.lost(fault)
            return {}
        self._reads.found()
        pairs = zip(domains, stored, strict=True)
        decoded = ((domain, decode(value)) for domain, value in pairs if isinstance(value, bytes))
        return {domain: verdict for domain, verdict in decoded if verdict is not None}

    async def put(self, verdicts: Mapping[str, DomainVerdict]) -> None:
        """Share `verdicts` for as long as somebody may use them; a no-op while Redis is lost.

        What cannot be written in time is not shared, which keeps nobody from reading.
        """
        domains = list(verdicts)
        for start in range(0, len(domains), _SLICE_DOMAINS):
            if time.monotonic() < self._quiet_until_s:
                return
            part = {domain: verdicts[domain] for domain in domains[start : start + _SLICE_DOMAINS]}
            try:
                async with self._within_deadline():
                    await self._pipeline(part).execute()
            except (RedisError, OSError, TimeoutError) as fault:
                self._writes.lost(fault)
                return
            self._writes.found()

    def _pipeline(self, verdicts: Mapping[str, DomainVerdict]) -> redis.asyncio.client.Pipeline:
        now = now_us()
        pipeline = self._client.pipeline(transaction=False)
        for domain, verdict in verdicts.items():
            kept_us = verdict.holds_until_us - now
            if verdict.positive:
                kept_us += self._stale_s * 1_000_000
            if kept_us >= 1_000:
                pipeline.set(self._PREFIX + domain, encode(verdict), px=kept_us // 1_000)
        return pipeline

    async def close(self) -> None:
        """Close the connections."""
        with suppress(RedisError, OSError):
            await self._client.aclose()

    def _within_deadline(self) -> asyncio.Timeout:
        return asyncio.timeout(self._deadline_s)
