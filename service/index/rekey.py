"""Match keys, features and blocks made anew, where those stored follow other rules than today's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import lmdb
import structlog

from service.index import layout
from service.index.layout import MatchKey
from service.index.store import Reads, Store, Tables, fault_of
from service.index.verify import RecordReader

_log = structlog.get_logger(__name__)

BATCH_ROWS = 1_000  # whose features are made together


def rekey(store: Store, codec: RecordReader, match_key: MatchKey, rules: str) -> int:
    """Let the index follow the rules called `rules`; return how many customers were keyed anew.

    Match keys, features and blocks: all that is made of records by rules that releases change.

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
        _forget(txn, tables)
        customers = 0
        with (
            txn.cursor(tables.identities) as identities,
            txn.cursor(tables.features) as compared,
            txn.cursor(tables.blocks) as blocks,
        ):
            for batch in _batches(reads.customers()):
                customers += len(batch)
                features = codec.features([record for _, record in batch])
                entries: list[tuple[bytes, bytes]] = []
                for (row, record), packed in zip(batch, features, strict=True):
                    stored_row = layout.pack_u64(row)
                    if packed:
                        compared.put(stored_row, layout.encode_features(packed), append=True)
                        entries += layout.block_entries(packed, row)
                    for key in _keys(codec, match_key, row, record):
                        identities.put(key, stored_row)
                entries.sort()
                blocks.putmulti(entries)
        txn.put(layout.META_MATCH_RULES, rules.encode(), db=tables.meta)
    return customers


def _forget(txn: lmdb.Transaction[bytes], tables: Tables) -> None:
    """Take away all that follows the rules."""
    txn.drop(tables.features, delete=False)
    txn.drop(tables.blocks, delete=False)
    with txn.cursor(tables.identities) as cursor:
        for prefix in layout.MATCH_PREFIXES:
            cursor.set_range(prefix)
            while cursor.key().startswith(prefix):
                cursor.delete(dupdata=True)  # and stand on the next key, or on nothing: b""


def _batches(customers: Iterator[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    while batch := list(islice(customers, BATCH_ROWS)):
        yield batch


def _keys(codec: RecordReader, match_key: MatchKey, row: int, record: bytes) -> Iterable[bytes]:
    """Return the identities keys of a record that follow the rules."""
    try:
        keys = layout.keys_of(codec.held(record), match_key)
    except Exception as error:  # noqa: BLE001  the codec's own; `verify` names the row
        _log.error("record_unreadable", row=row, fault=type(error).__name__)
        return ()
    return [key for key in keys if key[:1] in layout.MATCH_PREFIXES]
