"""The LMDB environment of one account, and reading it: snapshots, look-ups, scans.

Several worker processes open the same folder, each after it was forked or spawned: an LMDB
environment must not cross a fork. Everything returned is copied out of the map, so nothing a
caller keeps can change or vanish under it.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

import lmdb

from service.core.model import Channel
from service.errors import FormatMismatch, LimitExceeded, NamesakeError, StorageFault, StorageFull
from service.index import layout
from service.index.layout import Change, Counters, HistoryEntry, Kind, Remembered
from service.settings import Settings

Clock = Callable[[], int]  # microseconds since the Unix epoch

REDIRECT_STEPS = 1_000  # a longer chain of merges is a damaged one
GROW_WAIT_S = 0.5  # how long a full map waits for this process's snapshots to close
MAP_LIMIT = 1 << 46  # half of what user space of a 64-bit machine can address
PROBE_BYTES = 1 << 20


class State(Enum):
    """What became of a customer id."""

    LIVE = "live"
    MERGED = "merged"
    DELETED = "deleted"
    MISSING = "missing"  # never used


@dataclass(frozen=True, slots=True)
class Found:
    """Where an id leads. `row` and `id` are the live customer's (the survivor's when MERGED)."""

    state: State
    row: int = 0
    id: str = ""


@dataclass(frozen=True, slots=True)
class TableStats:
    """Size of one sub-database.

    `bytes` leaves out the sub-trees of keys that several hundred rows share.
    """

    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Stats:
    """Sizes of the environment as of one snapshot.

    `free_pages` are in no tree and will be reused; it includes the sub-trees that
    `TableStats.bytes` leaves out.
    """

    tables: dict[str, TableStats]
    file_bytes: int
    map_bytes: int
    page_bytes: int
    free_pages: int
    reader_slots: int  # most that were in use at once since the first process opened the folder


@dataclass(frozen=True, slots=True)
class Tables:
    """Handles of the sub-databases, named as in `layout.TABLES`."""

    meta: lmdb._Database
    ids: lmdb._Database
    customers: lmdb._Database
    identities: lmdb._Database
    redirects: lmdb._Database
    changes: lmdb._Database
    history: lmdb._Database
    operations: lmdb._Database
    requests: lmdb._Database
    pending: lmdb._Database


class Reads:
    """Look-ups and scans over one transaction, whoever owns it.

    Not for several threads at once. A damaged file raises `lmdb.Error` here; the owner of the
    transaction turns it into a StorageFault.
    """

    def __init__(
        self, txn: lmdb.Transaction[bytes], tables: Tables, now_us: int, memory_us: int
    ) -> None:
        self._txn = txn
        self._tables = tables
        self.memory_us = memory_us
        self._identities: lmdb.Cursor[bytes] | None = None
        self.now_us = now_us

    @property
    def counters(self) -> Counters:
        """Counters of the newest commit that this transaction sees."""
        return layout.decode_counters(self._txn.get(layout.META_COUNTERS, None, self._tables.meta))

    @property
    def customer_count(self) -> int:
        """Number of live customers."""
        return self._txn.stat(self._tables.customers)["entries"]

    @property
    def match_rules(self) -> str:
        """Version of the rules that the stored match keys follow; "" until somebody put one."""
        return (self._txn.get(layout.META_MATCH_RULES, b"", self._tables.meta)).decode()

    # One customer

    def row_of(self, id: str) -> int | None:
        """Return the row that an id was given, also when it was deleted or merged since."""
        stored = self._txn.get(id.encode(), None, self._tables.ids) if id else None
        return None if stored is None else layout.unpack_u64(stored)

    def record(self, row: int) -> bytes | None:
        """Return the record of a live customer."""
        return self._txn.get(layout.pack_u64(row), None, self._tables.customers)

    def find(self, id: str) -> Found:
        """Say where an id leads, following any number of merges.

        Raises StorageFault where redirects run in a circle or end at an id never used.
        """
        at, state = id, State.LIVE
        for _ in range(REDIRECT_STEPS):
            row = self.row_of(at)
            if row is None:
                break
            if self._has_record(row):
                return Found(state, row, at)
            survivor = self._txn.get(at.encode(), None, self._tables.redirects)
            if survivor is None:
                return Found(State.DELETED)
            at, state = survivor.decode(), State.MERGED
        if state is State.LIVE:
            return Found(State.MISSING)
        raise StorageFault("The redirects of a merged customer end nowhere", id=id)

    def _has_record(self, row: int) -> bool:
        return self._txn.cursor(self._tables.customers).set_key(layout.pack_u64(row))

    # Identities

    def rows(self, kind: Kind, text: str, after_row: int = 0, limit: int = 100) -> list[int]:
        """Return up to `limit` rows that hold an identity, ascending, above `after_row`."""
        return self.rows_under((layout.identity_key(kind, text),), after_row, limit)

    def count(self, kind: Kind, text: str, limit: int) -> int:
        """Count the rows that hold an identity, at most `limit`."""
        return min(limit, self._count_of(layout.identity_key(kind, text)))

    def sharing(
        self, channel: Channel, normal: str, key: str, after_row: int = 0, limit: int = 100
    ) -> list[int]:
        """Return the distinct rows that hold a normal form or its match key.

        Up to `limit`, ascending, above `after_row`; including the asking customer's own row.
        """
        return self.rows_under(layout.sharing_keys(channel, normal, key), after_row, limit)

    def count_sharing(self, channel: Channel, normal: str, key: str, limit: int) -> int:
        """Count what `sharing` would list, at most `limit`."""
        keys = [k for k in layout.sharing_keys(channel, normal, key) if self._count_of(k)]
        if len(keys) == 1:
            return min(limit, self._count_of(keys[0]))
        return len(self.rows_under(keys, 0, limit))

    def rows_under(self, keys: Sequence[bytes], after_row: int = 0, limit: int = 100) -> list[int]:
        """Return the distinct rows under any of some identities keys, as `sharing` does.

        For decisions: `sharing_keys` can be had before the transaction begins.
        """
        cursor = self._identities_cursor()
        set_key = cursor.set_key
        lists = [_duplicates(cursor, key, after_row, limit) for key in keys if set_key(key)]
        if len(lists) < 2:
            return lists[0] if lists else []
        return sorted(set().union(*lists))[:limit]

    def _identities_cursor(self) -> lmdb.Cursor[bytes]:
        if self._identities is None:
            self._identities = self._txn.cursor(self._tables.identities)
        return self._identities

    def _count_of(self, key: bytes) -> int:
        cursor = self._identities_cursor()
        return cursor.count() if cursor.set_key(key) else 0

    # Scans

    def customers(
        self, after_row: int = 0, limit: int | None = None
    ) -> Iterator[tuple[int, bytes]]:
        """Iterate (row, record) of live customers, ascending, above `after_row`."""
        with self._txn.cursor(self._tables.customers) as cursor:
            if cursor.set_range(layout.pack_u64(after_row + 1)):
                for key, record in islice(cursor.iternext(), limit):
                    yield layout.unpack_u64(key), record

    def customers_before(
        self, before_row: int = layout.ROW_MAX, limit: int | None = None
    ) -> Iterator[tuple[int, bytes]]:
        """Iterate (row, record) of live customers, descending, below `before_row`."""
        with self._txn.cursor(self._tables.customers) as cursor:
            if _seek_before(cursor, layout.pack_u64(before_row)):
                for key, record in islice(cursor.iterprev(), limit):
                    yield layout.unpack_u64(key), record

    def changes(self, after_sequence: int = 0, limit: int = 1_000) -> list[Change]:
        """Return up to `limit` events above `after_sequence`, oldest first."""
        with self._txn.cursor(self._tables.changes) as cursor:
            if not cursor.set_range(layout.pack_u64(after_sequence + 1)):
                return []
            return [
                layout.decode_event(layout.unpack_u64(key), stored)
                for key, stored in islice(cursor.iternext(), limit)
            ]

    def changes_before(
        self, before_sequence: int = layout.ROW_MAX, limit: int = 1_000
    ) -> list[Change]:
        """Return up to `limit` events below `before_sequence`, newest first."""
        with self._txn.cursor(self._tables.changes) as cursor:
            if not _seek_before(cursor, layout.pack_u64(before_sequence)):
                return []
            return [
                layout.decode_event(layout.unpack_u64(key), stored)
                for key, stored in islice(cursor.iterprev(), limit)
            ]

    def history(
        self, row: int, before_sequence: int = layout.ROW_MAX, limit: int = 100
    ) -> list[HistoryEntry]:
        """Return up to `limit` entries of a row below `before_sequence`, newest first.

        Of a deleted customer the entry of the deletion is all there is.
        """
        entries: list[HistoryEntry] = []
        with self._txn.cursor(self._tables.history) as cursor:
            if not _seek_before(cursor, layout.pack_history_key(row, before_sequence)):
                return entries
            for key, stored in islice(cursor.iterprev(), limit):
                at, sequence = layout.unpack_history_key(key)
                if at != row:
                    break
                entries.append(layout.decode_history(sequence, stored))
        return entries

    # What else is kept

    def operation(self, key: str) -> bytes | None:
        """Return the opaque state of a piece of long work."""
        return self._txn.get(key.encode(), None, self._tables.operations) if key else None

    def operations(
        self, prefix: str = "", after: str = "", limit: int = 100
    ) -> list[tuple[str, bytes]]:
        """Return up to `limit` (key, state) whose key starts with `prefix`, above `after`."""
        start = max(prefix.encode(), after.encode() + b"\0" if after else b"")
        found: list[tuple[str, bytes]] = []
        with self._txn.cursor(self._tables.operations) as cursor:
            if not cursor.set_range(start):
                return found
            for key, stored in islice(cursor.iternext(), limit):
                if not key.startswith(prefix.encode()):
                    break
                found.append((key.decode(), stored))
        return found

    def request(self, request_id: str) -> Remembered | None:
        """Return what a request_id led to, unless that is longer ago than the memory reaches."""
        if not request_id:
            return None
        stored = self._txn.get(request_id.encode(), None, self._tables.requests)
        if stored is None:
            return None
        remembered = layout.decode_request(stored)
        return remembered if remembered.time_us + self.memory_us > self.now_us else None

    def pending_domains(self, after: str = "", limit: int = 100) -> list[str]:
        """Return up to `limit` domains whose DNS verdict somebody awaits, in byte order."""
        with self._txn.cursor(self._tables.pending) as cursor:
            if not cursor.set_range(after.encode() + b"\0" if after else b""):
                return []
            return [key.decode() for key in islice(cursor.iternext_nodup(), limit)]

    def pending_rows(self, domain: str, after_row: int = 0, limit: int = 1_000) -> list[int]:
        """Return up to `limit` rows that await the verdict of `domain`, ascending."""
        key = domain.encode()
        with self._txn.cursor(self._tables.pending) as cursor:
            if not key or not cursor.set_key(key):
                return []
            return _duplicates(cursor, key, after_row, limit)


class Snapshot(Reads):
    """One consistent state of the index: `with index.snapshot() as snapshot: …`.

    Cheap to open. It may be held across awaits (an export), but as long as it is open LMDB reuses
    no page that was freed after it, so the file grows with every write; end stalled readers.
    Reads after the end raise StorageFault. `renew` moves it to the newest commit.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        super().__init__(store.begin_read(), store.tables, store.clock(), store.memory_us)
        self._open = True

    @property
    def sequence(self) -> int:
        """Sequence of the newest change that this snapshot sees, 0 before the first."""
        return self.counters.next_sequence - 1

    def entries(self, table: str) -> int:
        """Number of values in a sub-database."""
        return self._txn.stat(getattr(self._tables, table))["entries"]

    def cursor(self, table: str) -> lmdb.Cursor[bytes]:
        """Open a cursor over the stored bytes of a sub-database, for verification."""
        return self._txn.cursor(getattr(self._tables, table))

    def renew(self) -> None:
        """Let go of this state and see the newest commit instead.

        py-lmdb exposes neither reset nor renew; a new transaction costs it well under 1 µs.
        """
        self.close()
        self._txn = self._store.begin_read()
        self._identities = None
        self.now_us = self._store.clock()
        self._open = True

    def close(self) -> None:
        """Free the reader slot; closing again has no effect."""
        if self._open:
            self._open = False
            self._identities = None
            self._store.end_read(self._txn)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if isinstance(error, lmdb.Error):
            raise fault_of(error) from error

    def stats(self) -> Stats:
        """Measure every sub-database and the file."""
        tables, pages, page_bytes = {}, 0, 0
        for name in layout.TABLES:
            stat = self._txn.stat(getattr(self._tables, name))
            page_bytes = stat["psize"]
            own = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
            tables[name] = TableStats(stat["entries"], own * page_bytes)
            pages += own
        info = self._store.env.info()
        return Stats(
            tables=tables,
            file_bytes=self._store.data_file.stat().st_size,
            map_bytes=info["map_size"],
            page_bytes=page_bytes,
            # Two meta pages and the root of the main database stand outside the tables.
            free_pages=max(0, info["last_pgno"] + 1 - pages - 3),
            reader_slots=info["num_readers"],
        )


class Store:
    """One open environment: its format, its map, its readers.

    The map may be replaced (to grow) only while this process has no transaction open, because
    LMDB unmaps it; so every read transaction begins and ends here and is counted.
    """

    def __init__(self, folder: Path, settings: Settings, clock: Clock) -> None:
        """Open or create; raise FormatMismatch, StorageFull or StorageFault."""
        self.data_file = folder / "data.mdb"
        self.clock = clock
        self.memory_us = settings.request_memory_s * 1_000_000
        self._idle = threading.Condition()  # guards and announces _open_reads
        self._open_reads = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.env = lmdb.open(
                os.fspath(folder),
                map_size=settings.map_size,
                max_readers=settings.max_readers,
                max_dbs=layout.MAX_TABLES,
                mode=0o700,  # the files get it less the execute bits: customers are personal data
                readahead=False,  # point look-ups dominate; readahead evicts pages in use
            )
        except (lmdb.InvalidError, lmdb.VersionMismatchError) as error:
            raise FormatMismatch(
                "data.mdb in the folder is not an LMDB file that this release reads; "
                "choose another folder or restore a backup"
            ) from error
        except (lmdb.Error, OSError) as error:
            raise fault_of(error) from error
        try:
            self.tables = self._open_tables()
            self.env.reader_check()  # slots of killed processes would stop page reuse
        except BaseException as error:
            self.env.close()
            if isinstance(error, lmdb.Error):
                raise fault_of(error) from error
            raise

    def _open_tables(self) -> Tables:
        """Check the format, or write it into an empty file, and open every sub-database."""
        with self.env.begin(write=True) as txn:
            new = txn.stat()["entries"] == 0
            if not new:
                layout.check_format(self._stored_format(txn))
            handles = {
                name: self.env.open_db(name.encode(), txn=txn, dupsort=several, dupfixed=several)
                for name, several in layout.TABLES.items()
            }
            tables = Tables(**handles)
            if new:
                txn.put(layout.META_FORMAT, layout.encode_format(), db=tables.meta)
                txn.put(layout.META_COUNTERS, layout.encode_counters(1, 1, 0), db=tables.meta)
                txn.put(layout.META_CREATED, layout.pack_u64(self.clock()), db=tables.meta)
        return tables

    def _stored_format(self, txn: lmdb.Transaction[bytes]) -> bytes | None:
        try:
            meta = self.env.open_db(b"meta", txn=txn, create=False)
        except (lmdb.NotFoundError, lmdb.IncompatibleError):
            return None
        return txn.get(layout.META_FORMAT, None, meta)

    def begin_read(self) -> lmdb.Transaction[bytes]:
        """Begin a counted read transaction; raise LimitExceeded or StorageFault."""
        with self._idle:
            try:
                txn = self._begin_read()
            except lmdb.Error as error:
                raise fault_of(error) from error
            self._open_reads += 1
            return txn

    def _begin_read(self) -> lmdb.Transaction[bytes]:
        try:
            return self.env.begin()
        except lmdb.MapResizedError:
            return self._begin_resized()
        except lmdb.ReadersFullError:
            if self.env.reader_check() == 0:
                raise
            return self.env.begin()

    def _begin_resized(self) -> lmdb.Transaction[bytes]:
        """Begin after another process outgrew this one's map; the lock is held."""
        if self._open_reads:
            raise StorageFault(
                "Another worker grew the map, which this one can follow when its exports end; "
                "raise NAMESAKE_MAP_SIZE and restart to avoid that"
            )
        self.env.set_mapsize(0)
        return self.env.begin()

    def end_read(self, txn: lmdb.Transaction[bytes]) -> None:
        """End a counted read transaction."""
        with self._idle:
            txn.abort()
            self._open_reads -= 1
            if not self._open_reads:
                self._idle.notify_all()

    def grow_map(self) -> bool:
        """Double the map for a writer that has no transaction open; False where it cannot be."""
        size = self.env.info()["map_size"] * 2
        return size <= MAP_LIMIT and self._remap(size)

    def follow_map(self) -> bool:
        """Adopt the size that another process gave the map; False where it cannot be."""
        return self._remap(0)

    def _remap(self, size: int) -> bool:
        with self._idle:
            if not self._idle.wait_for(lambda: not self._open_reads, GROW_WAIT_S):
                return False
            self.env.set_mapsize(size)
            return True

    def hot_copy(self, target: int | Path) -> None:
        """Write a copy of one consistent state, while reads and writes go on.

        `target` is a file descriptor (a pipe will do) that receives the bytes of `data.mdb`, or a
        folder to create it in. Blocks without holding the GIL: call it in a thread. Like any
        snapshot it stops page reuse meanwhile. Raises StorageFull or StorageFault.
        """
        # Not compacted: the compacting copy of LMDB 0.9.36 crashes on a key with some hundred
        # fixed-size duplicates.
        hold = self.begin_read()  # counted, so that the map is not replaced under the copy
        try:
            if isinstance(target, int):
                self.env.copyfd(target)
                return
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.env.copy(os.fspath(target))
            _flush(target / "data.mdb")
            _flush(target)
        except (lmdb.Error, OSError) as error:
            raise fault_of(error) from error
        finally:
            self.end_read(hold)

    def space_is_short(self) -> bool:
        """Tell a full disk (quota, file size limit) from a failing one.

        LMDB reports a short write as EIO. The probe is sparse up to the size of the data file, so
        that it meets the same limits, and takes no more room than its last megabyte.
        """
        probe = self.data_file.with_name(f"space-probe-{os.getpid()}")
        try:
            with probe.open("wb") as file:
                file.seek(self.data_file.stat().st_size)
                file.write(bytes(PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            return error.errno in _FULL
        finally:
            probe.unlink(missing_ok=True)
        return False

    def close(self) -> None:
        """Close the environment; open snapshots end and raise when read."""
        self.env.close()


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def fault_of(error: lmdb.Error | OSError) -> NamesakeError:
    """Translate a storage error. LMDB's texts name calls and limits, never contents."""
    if isinstance(error, lmdb.MapFullError):
        return StorageFull(
            "The map is full and could not grow while snapshots are open: let exports end, or "
            "raise NAMESAKE_MAP_SIZE and restart"
        )
    if isinstance(error, lmdb.ReadersFullError):
        return LimitExceeded("Too many snapshots are open: raise NAMESAKE_MAX_READERS and restart")
    code = error.errno if isinstance(error, OSError) else error.code
    if code in _FULL:
        return StorageFull("The disk is full: writes are refused until there is space, reads go on")
    return StorageFault(f"The index could not be read or written: {error}")


def _duplicates(cursor: lmdb.Cursor[bytes], key: bytes, after_row: int, limit: int) -> list[int]:
    """Return rows of the key that the cursor stands on."""
    if after_row and not cursor.set_range_dup(key, layout.pack_u64(after_row + 1)):
        return []
    return [layout.unpack_u64(row) for row in islice(cursor.iternext_dup(), limit)]


def _seek_before(cursor: lmdb.Cursor[bytes], key: bytes) -> bool:
    """Stand on the last entry below `key`."""
    return cursor.prev() if cursor.set_range(key) else cursor.last()


def _flush(path: Path) -> None:
    """Make a file or a folder's entries durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
