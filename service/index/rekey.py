"""Match keys made anew, where the index holds those of other rules than this release follows."""

from __future__ import annotations

import lmdb
import structlog

from service.index import layout
from service.index.layout import MatchKey
from service.index.store import Reads, Store, fault_of
from service.index.verify import RecordReader

_log = structlog.get_logger(__name__)


def rekey(store: Store, codec: RecordReader, match_key: MatchKey, rules: str) -> int:
    """Let the index follow the rules called `rules`; return how many customers were keyed anew.

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
        with txn.cursor(tables.identities) as cursor:
            for prefix in layout.MATCH_PREFIXES:
                cursor.set_range(prefix)
                while cursor.key().startswith(prefix):
                    cursor.delete(dupdata=True)  # and stand on the next key, or on nothing: b""
            customers = 0
            for row, record in reads.customers():
                customers += 1
                try:
                    keys = layout.keys_of(codec.held(record), match_key)
                except Exception as error:  # noqa: BLE001  the codec's own; `verify` names the row
                    _log.error("record_unreadable", row=row, fault=type(error).__name__)
                    continue
                for key in keys:
                    if key[:1] in layout.MATCH_PREFIXES:
                        cursor.put(key, layout.pack_u64(row))
        txn.put(layout.META_MATCH_RULES, rules.encode(), db=tables.meta)
    return customers
