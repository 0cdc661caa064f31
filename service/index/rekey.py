"""Match keys, features and blocks made anew, where those stored follow other rules than today's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice

import lmdb
import structlog

from service.errors import FormatMismatch, StorageFault
from service.index import items, layout
from service.index.layout import MatchKey, RunKind
from service.index.runs import Shape, identity_entry
from service.index.store import Reads, Store, Tables, fault_of
from service.index.verify import RecordReader

_log = structlog.get_logger(__name__)

BATCH_ROWS = 1_000  # whose features are made together
BATCH_ENTRIES = 100_000  # put together: some tens of megabytes while they wait


def rekey(store: Store, codec: RecordReader, match_key: MatchKey, rules: str) -> int:
    """Let the index follow the rules called `rules`; return how many customers were keyed anew.

    Match keys, features and blocks: all that is made of records by rules that releases change.
    Where there are sorted runs, all identities, and again as runs. Match keys of items too.

    One transaction: a crash leaves the old keys and the old version, and other workers wait and
    then find it done. Raises StorageFull or StorageFault.
    """
    while True:
        try:
            return _rekey(store, codec, match_key, rules)
        except lmdb.MapFullError as error:
            if not store.grow_map():
                raise fault_of(error) from error
        except lmdb.MapResizedError as error:
            if not store.follow_map():
                raise fault_of(error) from error
        except lmdb.Error as error:
            raise fault_of(error) from error


def _rekey(store: Store, codec: RecordReader, match_key: MatchKey, rules: str) -> int:
    tables = store.tables
    with store.env.begin(write=True) as txn:
        reads = Reads(txn, tables, 0, 0)
        if reads.match_rules == rules:
            return 0
        in_runs = txn.stat(tables.runs)["entries"] > 0
        _forget(txn, tables, in_runs)
        target = _InRuns(reads, store.shape) if in_runs else _InTrees(txn, tables)
        customers = 0
        with txn.cursor(tables.features) as compared:
            for batch in _batches(reads.customers()):
                customers += len(batch)
                features = codec.features([record for _, record in batch])
                for (row, record), packed in zip(batch, features, strict=True):
                    if packed:
                        stored = layout.encode_features(packed)
                        compared.put(layout.pack_u64(row), stored, append=True)
                        target.blocks += layout.block_entries(packed, row)
                    for key in _keys(codec, match_key, row, record):
                        if in_runs or key[:1] in layout.MATCH_PREFIXES:
                            target.identities.append((key, row))
                target.put(BATCH_ENTRIES)
            target.put(0)
        _rekey_items(txn, tables, match_key)
        txn.put(layout.META_MATCH_RULES, rules.encode(), db=tables.meta)
    return customers


def _rekey_items(txn: lmdb.Transaction[bytes], tables: Tables, match_key: MatchKey) -> None:
    """Let the entries of items' e-mails and phones follow the rules."""
    numbers = _found_by_points(txn, tables)
    entries: list[tuple[bytes, bytes]] = []
    with txn.cursor(tables.items) as cursor, txn.cursor(tables.item_points) as points:
        for number in numbers:
            if not cursor.set_key(layout.pack_u64(number)):
                continue  # which `verify` tells
            try:
                item = items.decode_item(cursor.value())
            except (FormatMismatch, StorageFault) as error:
                _log.error("item_unreadable", number=number, fault=type(error).__name__)
                continue
            anew = tuple(items.point_of(c, normal, match_key) for c, normal, _ in item.points)
            if anew != item.points:
                item = replace(item, points=anew)
                cursor.put(layout.pack_u64(number), items.encode_item(item))
            entries += items.points_of(number, item)
            if len(entries) > BATCH_ENTRIES:
                points.putmulti(sorted(entries))
                entries.clear()
        points.putmulti(sorted(entries))


def _found_by_points(txn: lmdb.Transaction[bytes], tables: Tables) -> list[int]:
    """Take away all entries of items' points; return the numbers of the items, ascending."""
    numbers = array("Q")
    with txn.cursor(tables.item_points) as cursor:
        for key, packed in cursor:
            if key[:1] not in layout.MATCH_PREFIXES:  # each point has its normal form's as well
                numbers.append(items.unpack_point(packed)[0].number)
    txn.drop(tables.item_points, delete=False)
    return sorted(set(numbers))


class _Target(ABC):
    """What waits to be put, and where it goes."""

    def __init__(self) -> None:
        self.blocks: list[tuple[bytes, bytes]] = []
        self.identities: list[tuple[bytes, int]] = []

    def put(self, more_than: int) -> None:
        """Put what waits where that is more than so many entries."""
        if len(self.blocks) + len(self.identities) > more_than:
            self._put()
            self.blocks.clear()
            self.identities.clear()

    @abstractmethod
    def _put(self) -> None:
        """Put all that waits."""


class _InTrees(_Target):
    """Into the B-trees, in their order."""

    def __init__(self, txn: lmdb.Transaction[bytes], tables: Tables) -> None:
        super().__init__()
        self._txn = txn
        self._tables = tables

    def _put(self) -> None:
        self.blocks.sort()
        self.identities.sort()
        with self._txn.cursor(self._tables.blocks) as cursor:
            cursor.putmulti(self.blocks)
        with self._txn.cursor(self._tables.identities) as cursor:
            cursor.putmulti([(key, layout.pack_u64(row)) for key, row in self.identities])


class _InRuns(_Target):
    """Into sorted runs, as a bulk import does."""

    def __init__(self, reads: Reads, shape: Shape) -> None:
        super().__init__()
        self._reads = reads
        self._shape = shape

    def _put(self) -> None:
        secret = self._reads.hash_secret
        blocks = [layout.block_pair(*entry) for entry in self.blocks]
        identities = [identity_entry(key, secret, row) for key, row in self.identities]
        for kind, entries in ((RunKind.BLOCKS, blocks), (RunKind.IDENTITIES, identities)):
            runs = self._reads.runs(kind)
            runs.add(memoryview(array("Q", chain.from_iterable(entries))), self._shape)
            runs.put_manifest()


def _forget(txn: lmdb.Transaction[bytes], tables: Tables, in_runs: bool) -> None:
    """Take away all that follows the rules.

    Entries of runs do not tell whether theirs was a match key: with them all identities go.
    """
    txn.drop(tables.features, delete=False)
    txn.drop(tables.blocks, delete=False)
    if in_runs:
        for table in (tables.identities, tables.runs, tables.retired):
            txn.drop(table, delete=False)
        for key in layout.META_RUNS.values():
            txn.delete(key, db=tables.meta)
        return
    with txn.cursor(tables.identities) as cursor:
        for prefix in layout.MATCH_PREFIXES:
            cursor.set_range(prefix)
            while cursor.key().startswith(prefix):
                cursor.delete(dupdata=True)  # and stand on the next key, or on nothing: b""


def _batches(customers: Iterator[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    while batch := list(islice(customers, BATCH_ROWS)):
        yield batch


def _keys(codec: RecordReader, match_key: MatchKey, row: int, record: bytes) -> Iterable[bytes]:
    """Return the identities keys of a record."""
    try:
        return layout.keys_of(codec.held(record), match_key)
    except Exception as error:  # noqa: BLE001  the codec's own; `verify` names the row
        _log.error("record_unreadable", row=row, fault=type(error).__name__)
        return ()
