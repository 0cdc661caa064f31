"""The change feed as a Redis stream, for consumers that want one.

The id of an entry is `<sequence>-0`: Redis takes none that is not above those it has, so that an
event cannot be there twice, and where the stream ends is where the relay goes on.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from service.errors import InvalidArgument
from service.index import Change, ChangeKind, Index
from service.server.changes import encoded
from service.server.pace import Pace
from service.settings import Settings

log = structlog.get_logger("namesake")

STEP_EVENTS = 200  # sent together
ANSWER_S = 10.0  # a stream on a busy Redis takes its time, and nobody waits for it


class Relay:
    """The background task of one account, in one process of those that share it."""

    def __init__(self, key: str, index: Index, client: redis.asyncio.Redis, settings: Settings):
        self._key = key
        self._index = index
        self._client = client
        self._limit = settings.changes_redis_limit
        self._poll_s = settings.watch_poll_ms / 1_000
        self._pause_s = settings.redis_pause_s
        self._task: asyncio.Task[None] | None = None
        self._fault = ""  # what is wrong, so that it is logged once

    def start(self) -> None:
        """Begin to pass events on."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; the next start goes on where the stream ends."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with suppress(RedisError, OSError):
            await self._client.aclose()

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except Exception as error:  # noqa: BLE001  Redis is away, or a bug: try again later
                self._note(type(error).__name__)  # not its text, which may quote the URL
            await asyncio.sleep(self._pause_s)

    async def _follow(self) -> None:
        """Pass on what comes after the end of the stream, for as long as Redis takes it."""
        after = await self._end()
        with self._index.snapshot() as snapshot:
            first, last = snapshot.first_sequence, snapshot.sequence
        if after > last:
            self._note("ahead")  # the stream of another folder, or of one that was restored
            return
        if after < first - 1:
            log.warning("relay_gap", after=after, first=first)  # dropped before it was passed on
        while True:
            with self._index.snapshot() as snapshot:
                events = snapshot.changes(after, STEP_EVENTS)
                changes = await encoded(snapshot, events, Pace())
            if events:
                await self._send(events, changes)
                after = events[-1].sequence
            else:
                await asyncio.sleep(self._poll_s)
            self._note("")

    async def _end(self) -> int:
        """Return the sequence of the stream's last entry, also of one that is gone; 0 if none."""
        try:
            info: dict[str, Any] = await self._client.xinfo_stream(self._key)
        except ResponseError as error:
            if "no such key" in str(error):
                return 0
            raise
        last: bytes = info["last-generated-id"]
        return int(last.partition(b"-")[0])

    async def _send(self, events: list[Change], changes: list[bytes]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for event, change in zip(events, changes, strict=True):
            fields = _fields(event, change)
            pipeline.xadd(self._key, fields, f"{event.sequence}-0", maxlen=self._limit)
        await pipeline.execute()

    def _note(self, fault: str) -> None:
        """Log what is wrong once, and that it is over."""
        if fault and fault != self._fault:
            log.warning("relay_lost", fault=fault)
        elif self._fault and not fault:
            log.info("relay_back")
        self._fault = fault


def _fields(event: Change, change: bytes) -> dict[Any, Any]:
    return {
        "sequence": event.sequence,
        "kind": ChangeKind(event.kind).name,
        "customer_id": event.id,
        "time": event.time_us,
        "actor": event.actor,
        "change": change,
    }


def relay_of(account: str, index: Index, settings: Settings) -> Relay | None:
    """Return the relay of an account, None where nobody wants one.

    Raises InvalidArgument where there is no Redis, or its URL is bad.
    """
    if settings.changes_redis_stream is None:
        return None
    if settings.redis is None:
        raise InvalidArgument("the stream of changes needs a Redis", field="redis")
    try:
        client = redis.asyncio.Redis.from_url(
            settings.redis,
            socket_timeout=ANSWER_S,
            socket_connect_timeout=ANSWER_S,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        # Without the fault's text: it may quote the URL with its password.
        raise InvalidArgument(
            "expected redis://, rediss:// or unix://, with a port in digits", field="redis"
        ) from None
    return Relay(f"{settings.changes_redis_stream}:{account}", index, client, settings)
