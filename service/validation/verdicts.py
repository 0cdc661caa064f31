"""DNS verdicts on mail domains, and where they outlive the process.

`StoredVerdicts` is an LMDB environment of its own, shared by the worker processes of one data
folder; `shared.SharedVerdicts` is Redis, shared by machines. Both are caches: losing them costs
look-ups, never an answer.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lmdb
import structlog

from service.core.model import Reason
from service.errors import StorageFault

_log = structlog.get_logger(__name__)

HOSTS_KEPT: Final = 2  # MX hosts shown as evidence
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
