"""The change feed as a Redis stream, for consumers that want one.

The id of an entry is `<sequence>-0`, and where the stream ends is where the relay goes on. What it
adds is added whole, and only if the stream still ends where it did: a Redis that refuses something
in the middle (it is out of memory, say), and a stream that was deleted, leave no gap.

A stream may be of another folder, or of this one before a backup was restored. So the relay goes on
only behind an entry that is the feed's event of that sequence.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from itertools import chain
from typing import Any

import redis.asyncio
import structlog
from redis.exceptions import RedisError, ResponseError

from service.index import Change, ChangeKind, Index
from service.server.changes import encoded
from service.server.pace import Pace
from service.settings import Settings

log = structlog.get_logger("namesake")

STEP_EVENTS = 200  # sent together
ANSWER_S = 10.0  # a stream on a busy Redis takes its time, and nobody waits for it

# KEYS: the stream. ARGV: its last id, about how many entries stay, and entries of 13 words each
# (id, six names, six values). Returns what the last id was: if another, nothing was added. A script
# that has begun to write is not refused any more.
ADD = """
local last = '0-0'
if redis.call('EXISTS', KEYS[1]) == 1 then
    local info = redis.call('XINFO', 'STREAM', KEYS[1])
    for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' then last = info[i + 1] end
    end
end
if last == ARGV[1] then
    for i = 3, #ARGV, 13 do
        redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], unpack(ARGV, i, i + 12))
    end
end
return last
"""


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
        self._add = client.register_script(ADD)
        self._fault = ""  # what is wrong, so that it is logged once
        self._own = 0  # sequence of the newest entry that is known to be this feed's

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
        """Pass on what comes after the end of the stream, for as long as it ends where it should.

        While there is nothing to pass on, the stream is looked at now and then: it may be gone.
        """
        after, last_entry = await self._end()
        if fault := self._fault_of(after, last_entry):
            self._note(fault, until="the stream is deleted")
            return
        looked_s = 0.0
        while True:
            with self._index.snapshot() as snapshot:
                events = snapshot.changes(after, STEP_EVENTS)
                changes = await encoded(snapshot, events, Pace())
            if events and events[0].sequence > after + 1:  # dropped before they were passed on
                log.warning("relay_gap", after=after, first=events[0].sequence)
            if events or time.monotonic() - looked_s > self._pause_s:
                if not await self._send(after, events, changes):
                    log.warning("relay_moved", after=after)  # begin anew with what is there now
                    return
                looked_s = time.monotonic()
                self._own = after = events[-1].sequence if events else after
                self._note("")
            else:
                await asyncio.sleep(self._poll_s)

    async def _end(self) -> tuple[int, dict[bytes, bytes]]:
        """Return the sequence of the stream's last entry and its fields; 0 where none ever was.

        No fields of an entry that is gone.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                info: dict[str, Any] = await self._client.xinfo_stream(self._key)
        except ResponseError as error:
            if "no such key" in str(error):
                return 0, {}
            raise
        last: bytes = info["last-generated-id"]
        entry = info["last-entry"]
        return int(last.partition(b"-")[0]), {} if entry is None else entry[1]

    def _fault_of(self, after: int, last_entry: dict[bytes, bytes]) -> str:
        """Say why the feed does not go on behind an entry, "" if it does."""
        if after in (0, self._own):
            return ""
        with self._index.snapshot() as snapshot:
            if after > snapshot.sequence:
                return "ahead"
            event = next(iter(snapshot.changes(after - 1, 1)), None)
        if event is None or event.sequence != after or not last_entry:
            return "gone"  # one of the two, so that nobody can tell
        mine = {name.encode(): str(value).encode() for name, value in _named(event).items()}
        return "" if all(last_entry.get(name) == value for name, value in mine.items()) else "other"

    async def _send(self, after: int, events: list[Change], changes: list[bytes]) -> bool:
        """Add entries behind that of a sequence; False if the stream ends elsewhere."""
        words: list[Any] = [f"{after}-0", self._limit]
        for event, change in zip(events, changes, strict=True):
            words.append(f"{event.sequence}-0")
            words += chain.from_iterable({**_named(event), "change": change}.items())
        async with asyncio.timeout(ANSWER_S):
            last: bytes = await self._add(keys=[self._key], args=words)
        return last == f"{after}-0".encode()

    def _note(self, fault: str, **more: str) -> None:
        """Log what is wrong once, and that it is over."""
        if fault and fault != self._fault:
            log.warning("relay_lost", fault=fault, **more)
        elif self._fault and not fault:
            log.info("relay_back")
        self._fault = fault


def _named(event: Change) -> dict[str, Any]:
    """Return what an entry says of an event beside the change, which may lose card data later."""
    return {
        "sequence": event.sequence,
        "kind": ChangeKind(event.kind).name,
        "customer_id": event.id,
        "time": event.time_us,
        "actor": event.actor,
    }
