"""DNS verdicts on mail domains, and where they outlive the process.

`StoredVerdicts` is an LMDB environment of its own, shared by the worker processes of one data
folder; `SharedVerdicts` is Redis, shared by machines. Both are caches: losing them costs
look-ups, never an answer.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lmdb
import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.core.model import Reason
from service.errors import InvalidArgument, StorageFault

_log = structlog.get_logger(__name__)

HOSTS_KEPT: Final = 2  # MX hosts shown as evidence
_CONNECTIONS: Final = 16  # to Redis; a batch is one request
_SLICE_DOMAINS: Final = 100  # written to Redis at a time: some 5 ms
_FORMAT: Final = 1
_HEAD: Final = struct.Struct(">BBQQ")  # format, reason, checked_us, holds_until_us
_TIME: Final = struct.Struct(">Q")
# Virtual. The same in every process whatever its settings, so that none outgrows another's map;
# ten million domains, the most that may be held, with the longest names and hosts fill half of it.
_MAP_BYTES: Final = 1 << 35
_CLOCK_SLACK_US: Final = 60_000_000  # by no more do the clocks of sound machines differ


@dataclass(frozen=True, slots=True)
class DomainVerdict:
    """What DNS says of a domain as a receiver of mail.

    `reason` is ACCEPTED, DOMAIN_NOT_FOUND, NO_MAIL_SERVER, NULL_MX or MAIL_SERVER_UNKNOWN.
    `mx_hosts` are the first two by preference; with an implicit MX, the domain itself.
    """

    reason: Reason
    checked_us: int
    holds_until_us: int
    mx_hosts: tuple[str, ...] = ()

    @property
    def positive(self) -> bool:
        """Whether the domain takes mail."""
        return self.reason is Reason.ACCEPTED

    @property
    def known(self) -> bool:
        """Whether DNS answered at all."""
        return self.reason is not Reason.MAIL_SERVER_UNKNOWN

    def usable(self, now: int, stale_us: int) -> bool:
        """Whether it holds, or is a positive whose time was up less than `stale_us` ago."""
        grace_us = stale_us if self.positive else 0
        return not _is_ahead(self.checked_us, now) and now < self.holds_until_us + grace_us


_ANSWERS: Final = frozenset(
    {Reason.ACCEPTED, Reason.DOMAIN_NOT_FOUND, Reason.NO_MAIL_SERVER, Reason.NULL_MX}
)


def now_us() -> int:
    """Return microseconds since the Unix epoch."""
    return time.time_ns() // 1_000


def _is_ahead(checked_us: int, now: int) -> bool:
    """Tell a verdict of a clock that ran ahead, which would hold until that time comes."""
    return checked_us > now + _CLOCK_SLACK_US


def encode(verdict: DomainVerdict) -> bytes:
    """Return the stored form of a verdict."""
    head = _HEAD.pack(_FORMAT, verdict.reason, verdict.checked_us, verdict.holds_until_us)
    # c-ares escapes control characters in names, so no host contains a line feed.
    return head + "\n".join(verdict.mx_hosts).encode()


def decode(stored: bytes) -> DomainVerdict | None:
    """Read a stored answer of DNS; None where another release or somebody else wrote it."""
    if len(stored) < _HEAD.size:
        return None
    version, reason, checked_us, holds_until_us = _HEAD.unpack_from(stored)
    if version != _FORMAT or reason not in _ANSWERS:
        return None
    try:
        hosts = stored[_HEAD.size :].decode()
        return DomainVerdict(
            Reason(reason), checked_us, holds_until_us, tuple(hosts.split("\n")) if hosts else ()
        )
    except ValueError:
        return None


class StoredVerdicts:
    """Verdicts on disk: domain → verdict, and a second index by time for eviction.

    A crash may lose the last commits (MDB_NOMETASYNC) but never the integrity of the file.
    Methods block; `put` waits for the writer lock of other processes and belongs in a thread.
    Once it is open a fault of the file costs look-ups, never an answer.
    """

    def __init__(self, folder: Path, limit_domains: int) -> None:
        """Open or create the environment. Call after any fork. Raises StorageFault."""
        self._limit_domains = limit_domains
        self._reads = Access("stored_verdicts")
        self._writes = Access("stored_verdict_writes")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._environment = lmdb.open(
                str(folder),
                map_size=_MAP_BYTES,
                max_dbs=2,
                metasync=False,
                readahead=False,
            )
            # A worker that was killed leaves its reader slot, and pages that nobody may reuse.
            self._environment.reader_check()
            self._by_domain = self._environment.open_db(b"verdicts")
            self._by_time = self._environment.open_db(b"times")
        except (lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.CorruptedError) as fault:
            raise StorageFault(
                "the cache of DNS verdicts cannot be read; it may be deleted", folder=folder.name
            ) from fault
        except (lmdb.Error, OSError) as fault:
            raise StorageFault(
                f"the cache of DNS verdicts cannot be opened: {fault}", folder=folder.name
            ) from fault

    def get(self, domains: Iterable[str]) -> dict[str, DomainVerdict]:
        """Return the verdicts there are, stale ones included."""
        try:
            found = self._get(domains)
        except lmdb.Error as fault:
            self._reads.lost(fault)
            return {}
        self._reads.found()
        return found

    def put(self, verdicts: Mapping[str, DomainVerdict]) -> None:
        """Store in one commit what is not older than stored; drop the oldest beyond the limit."""
        try:
            self._put(verdicts)
        except lmdb.Error as fault:
            self._writes.lost(fault)
        else:
            self._writes.found()

    def close(self) -> None:
        """Release the environment."""
        self._environment.close()

    def _get(self, domains: Iterable[str]) -> dict[str, DomainVerdict]:
        found = {}
        with self._environment.begin(db=self._by_domain) as txn:
            for domain in domains:
                stored = txn.get(domain.encode())
                if stored is not None and (verdict := decode(stored)) is not None:
                    found[domain] = verdict
        return found

    def _put(self, verdicts: Mapping[str, DomainVerdict]) -> None:
        now = now_us()
        with self._environment.begin(write=True) as txn:
            for domain, verdict in verdicts.items():
                key = domain.encode()
                if (old := txn.get(key, db=self._by_domain)) is not None:
                    stored_us = _checked_us(old)
                    if verdict.checked_us < stored_us and not _is_ahead(stored_us, now):
                        continue  # another process asked later
                    txn.delete(_time_key(key, old), db=self._by_time)
                new = encode(verdict)
                txn.put(key, new, db=self._by_domain)
                txn.put(_time_key(key, new), b"", db=self._by_time)
            excess = txn.stat(self._by_domain)["entries"] - self._limit_domains
            if excess > 0:
                self._evict(txn, excess)

    def _evict(self, txn: lmdb.Transaction, excess: int) -> None:
        # A tenth more than needed, so that a full cache does not evict at every commit.
        wanted = excess + self._limit_domains // 10
        with txn.cursor(db=self._by_time) as cursor:
            entry = cursor.first()
            while entry and wanted > 0:
                txn.delete(cursor.key()[_TIME.size :], db=self._by_domain)
                entry = cursor.delete()
                wanted -= 1


def _time_key(key: bytes, stored: bytes) -> bytes:
    """Return the eviction order of a stored verdict: when it was checked, then its domain."""
    return _TIME.pack(_checked_us(stored)) + key


def _checked_us(stored: bytes) -> int:
    checked_us: int = _HEAD.unpack_from(stored)[2] if len(stored) >= _HEAD.size else 0
    return checked_us


class Access:
    """Whether a cache can be reached, said in the log whenever that changes."""

    def __init__(self, what: str) -> None:
        """Name what is reached; the log says `<what>_lost` and `<what>_back`."""
        self._what = what
        self.available = True

    def lost(self, fault: Exception) -> None:
        """Note a fault."""
        if self.available:
            self.available = False
            # Not the fault's text: it may quote a URL with its password.
            _log.warning(f"{self._what}_lost", fault=type(fault).__name__)

    def found(self) -> None:
        """Note a success."""
        if not self.available:
            self.available = True
            _log.info(f"{self._what}_back")


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
        try:
            pool = redis.asyncio.BlockingConnectionPool.from_url(
                url,
                socket_timeout=deadline_s,
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
        self._client = redis.asyncio.Redis.from_pool(pool)

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
            # One deadline for connecting and answering: socket timeouts add up.
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
