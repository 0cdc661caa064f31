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
from service.errors import StorageFault

_log = structlog.get_logger(__name__)

HOSTS_KEPT: Final = 2  # MX hosts shown as evidence
_CONNECTIONS: Final = 16  # to Redis; a batch is one request
_FORMAT: Final = 1
_HEAD: Final = struct.Struct(">BBQQ")  # format, reason, checked_us, holds_until_us
_TIME: Final = struct.Struct(">Q")
_DISK_BYTES_PER_DOMAIN: Final = 2_048  # virtual: two longest hosts, their index entry, page slack


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


def now_us() -> int:
    """Return microseconds since the Unix epoch."""
    return time.time_ns() // 1_000


def encode(verdict: DomainVerdict) -> bytes:
    """Return the stored form of a verdict."""
    head = _HEAD.pack(_FORMAT, verdict.reason, verdict.checked_us, verdict.holds_until_us)
    # c-ares escapes control characters in names, so no host contains a line feed.
    return head + "\n".join(verdict.mx_hosts).encode()


def decode(stored: bytes) -> DomainVerdict | None:
    """Read a stored verdict; None where another release or somebody else wrote it."""
    if len(stored) < _HEAD.size:
        return None
    version, reason, checked_us, holds_until_us = _HEAD.unpack_from(stored)
    if version != _FORMAT:
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
    """

    def __init__(self, folder: Path, limit_domains: int) -> None:
        """Open or create the environment. Call after any fork. Raises StorageFault."""
        self._limit_domains = limit_domains
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._environment = lmdb.open(
                str(folder),
                map_size=(16 << 20) + limit_domains * _DISK_BYTES_PER_DOMAIN,
                max_dbs=2,
                metasync=False,
                readahead=False,
            )
            # A worker that was killed leaves its reader slot, and pages that nobody may reuse.
            self._environment.reader_check()
            self._by_domain = self._environment.open_db(b"verdicts")
            self._by_time = self._environment.open_db(b"times")
        except (lmdb.Error, OSError) as fault:
            raise StorageFault(
                "the cache of DNS verdicts cannot be opened; it may be deleted", folder=folder.name
            ) from fault

    def get(self, domains: Iterable[str]) -> dict[str, DomainVerdict]:
        """Return the verdicts there are, stale ones included."""
        found = {}
        with self._environment.begin(db=self._by_domain) as txn:
            for domain in domains:
                stored = txn.get(domain.encode())
                if stored is not None and (verdict := decode(stored)) is not None:
                    found[domain] = verdict
        return found

    def put(self, verdicts: Mapping[str, DomainVerdict]) -> None:
        """Store `verdicts` in one commit and drop the oldest beyond the limit."""
        try:
            self._put(verdicts)
        except lmdb.MapFullError:
            # Only extreme names get here; an empty cache is better than one that takes no more.
            with self._environment.begin(write=True) as txn:
                txn.drop(self._by_domain, delete=False)
                txn.drop(self._by_time, delete=False)

    def close(self) -> None:
        """Release the environment."""
        self._environment.close()

    def _put(self, verdicts: Mapping[str, DomainVerdict]) -> None:
        with self._environment.begin(write=True) as txn:
            for domain, verdict in verdicts.items():
                key = domain.encode()
                if (old := txn.get(key, db=self._by_domain)) is not None:
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
    checked_us = _HEAD.unpack_from(stored)[2] if len(stored) >= _HEAD.size else 0
    return _TIME.pack(checked_us) + key


class SharedVerdicts:
    """Verdicts in Redis. A fault or a slow answer leaves it alone for a while; nobody fails."""

    _PREFIX = "namesake:verdict:"

    def __init__(self, url: str, *, deadline_ms: int, pause_s: int, stale_s: int) -> None:
        """Connect lazily: nothing is asked before the first `get` or `put`."""
        deadline_s = deadline_ms / 1_000
        self._deadline_s = deadline_s
        self._pause_s = pause_s
        self._stale_s = stale_s
        self._quiet_until_s = 0.0  # monotonic
        self.available = True
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            socket_timeout=deadline_s,
            socket_connect_timeout=deadline_s,
            retry=Retry(NoBackoff(), 0),
            max_connections=_CONNECTIONS,
            timeout=deadline_s,
        )
        self._client = redis.asyncio.Redis.from_pool(pool)

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
            self._lost(fault)
            return {}
        self._found()
        pairs = zip(domains, stored, strict=True)
        decoded = ((domain, decode(value)) for domain, value in pairs if isinstance(value, bytes))
        return {domain: verdict for domain, verdict in decoded if verdict is not None}

    async def put(self, verdicts: Mapping[str, DomainVerdict]) -> None:
        """Share `verdicts` for as long as somebody may use them; a no-op while Redis is lost."""
        if time.monotonic() < self._quiet_until_s:
            return
        now = now_us()
        pipeline = self._client.pipeline(transaction=False)
        for domain, verdict in verdicts.items():
            kept_us = verdict.holds_until_us - now
            if verdict.positive:
                kept_us += self._stale_s * 1_000_000
            if kept_us >= 1_000:
                pipeline.set(self._PREFIX + domain, encode(verdict), px=kept_us // 1_000)
        try:
            async with self._within_deadline():
                await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as fault:
            self._lost(fault)
        else:
            self._found()

    async def close(self) -> None:
        """Close the connections."""
        with suppress(RedisError, OSError):
            await self._client.aclose()

    def _within_deadline(self) -> asyncio.Timeout:
        return asyncio.timeout(self._deadline_s)

    def _lost(self, fault: Exception) -> None:
        self._quiet_until_s = time.monotonic() + self._pause_s
        if self.available:
            self.available = False
            # Not the fault's text: it may quote the URL with its password.
            _log.warning("shared_verdicts_lost", fault=type(fault).__name__)

    def _found(self) -> None:
        if not self.available:
            self.available = True
            _log.info("shared_verdicts_back")
