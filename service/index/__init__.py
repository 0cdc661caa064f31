"""The index: customers, their identities and what changed, in one LMDB folder per account.

`layout` knows the stored bytes, `store` reads, `writer` takes decisions, `transaction` puts their
`mutations`, `verify` compares the two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from service.core.model import Held
from service.index import layout
from service.index._intake import Intake, id_key
from service.index.feed import DropConsumer, PutConsumer, TrimChanges
from service.index.items import Item, ItemPoint, Place, point_of
from service.index.layout import (
    NORMAL,
    Change,
    ChangeKind,
    Consumer,
    DistinctPair,
    Entries,
    HistoryEntry,
    Kind,
    MatchKey,
    MergedRow,
    Remembered,
    RunKind,
    StoredModel,
    identity_key,
    identity_text,
    keys_of,
    sharing_keys,
)
from service.index.mutations import (
    Absorb,
    Decision,
    Delete,
    DropDistinct,
    DropGroups,
    Mutation,
    Outcome,
    Put,
    PutBond,
    PutDistinct,
    PutEntries,
    PutGroups,
    PutMerge,
    PutMergedRecord,
    PutModel,
    PutOperation,
    PutRequest,
    PutRows,
    Release,
    Reword,
    SortWaiting,
)
from service.index.rekey import rekey
from service.index.runs import SHAPE, Shape
from service.index.store import (
    Block,
    Clock,
    Found,
    Reads,
    Snapshot,
    State,
    Stats,
    Store,
    TableStats,
)
from service.index.timeline import DropItems, DropLeaving, PutItems, PutPin, Timeline, Wanted
from service.index.transaction import Decide, View
from service.index.verify import Fault, Progress, RecordReader, verify
from service.index.verify_items import verify_items
from service.index.writer import Decisions, Writer, ends
from service.settings import Settings

__all__ = [
    "NORMAL",
    "Absorb",
    "Block",
    "Change",
    "ChangeKind",
    "Consumer",
    "Decide",
    "Decision",
    "Decisions",
    "Delete",
    "DistinctPair",
    "DropConsumer",
    "DropDistinct",
    "DropGroups",
    "DropItems",
    "DropLeaving",
    "Entries",
    "Fault",
    "Found",
    "HistoryEntry",
    "Index",
    "Intake",
    "Item",
    "ItemPoint",
    "Kind",
    "MergedRow",
    "Mutation",
    "Place",
    "Progress",
    "Put",
    "PutBond",
    "PutConsumer",
    "PutDistinct",
    "PutEntries",
    "PutGroups",
    "PutItems",
    "PutMerge",
    "PutMergedRecord",
    "PutModel",
    "PutOperation",
    "PutPin",
    "PutRequest",
    "PutRows",
    "Reads",
    "Release",
    "Remembered",
    "Reword",
    "RunKind",
    "Shape",
    "Snapshot",
    "SortWaiting",
    "State",
    "Stats",
    "StoredModel",
    "TableStats",
    "Timeline",
    "TrimChanges",
    "View",
    "Wanted",
    "id_key",
    "identity_key",
    "identity_text",
    "keys_of",
    "opened",
    "point_of",
    "sharing_keys",
]


def wall_clock_us() -> int:
    """Return microseconds since the Unix epoch."""
    return time.time_ns() // 1_000


@contextmanager
def opened(folder: Path, settings: Settings) -> Iterator[Snapshot]:
    """Read an account's newest commit in a process that serves nobody."""
    store = Store(folder, settings, wall_clock_us)
    try:
        with Snapshot(store) as snapshot:
            yield snapshot
    finally:
        store.close()


class Index:
    """One account's index, open in this process: `Index.open(folder, settings, match_key)`."""

    def __init__(self, folder: Path, store: Store, writer: Writer, match_key: MatchKey) -> None:
        self.folder = folder
        self._store = store
        self._writer = writer
        self._match_key = match_key

    @classmethod
    def open(
        cls,
        folder: Path,
        settings: Settings,
        match_key: MatchKey,
        clock: Clock = wall_clock_us,
        shape: Shape = SHAPE,
    ) -> Index:
        """Open the folder, creating it where it is missing; in each worker after it was started.

        Once per folder and process. Raises FormatMismatch, StorageFull or StorageFault.
        """
        store = Store(folder, settings, clock, shape)
        return cls(folder, store, Writer(store, settings), match_key)

    def follow_rules(self, codec: RecordReader, rules: str) -> int:
        """Make match keys, features and blocks anew unless they follow the rules called `rules`.

        Returns how many customers that were. Call it before the first save; see `rekey`.
        """
        return rekey(self._store, codec, self._match_key, rules)

    def snapshot(self) -> Snapshot:
        """Begin to read the newest commit; raise LimitExceeded, IndexBusy or StorageFault."""
        return Snapshot(self._store)

    async def submit(
        self,
        decisions: Decisions[Outcome],
        *,
        dry_run: bool = False,
        bulk: bool = False,
        goes_on: Callable[[Any], bool] = ends,
    ) -> list[Outcome | Exception]:
        """Decide and write; see `Writer.submit`."""
        return await self._writer.submit(decisions, dry_run=dry_run, bulk=bulk, goes_on=goes_on)

    @property
    def queued_items(self) -> int:
        """Decisions that wait for the writer, for metrics."""
        return self._writer.queued_items

    @cached_property
    def hash_secret(self) -> bytes:
        """What identities keys are hashed with where they stand in sorted runs."""
        with self.snapshot() as snapshot:
            return snapshot.hash_secret

    def entries_of(self, held: Held) -> Entries:
        """Return what the index holds of a record, for `Put` and `Delete`."""
        return layout.entries_of(held, self._match_key)

    def hot_copy(self, sink: int) -> None:
        """Copy to a file descriptor while serving; see `Store.hot_copy`."""
        self._store.hot_copy(sink)

    def verify(self, codec: RecordReader) -> Iterator[Progress | Fault]:
        """Compare the index with its records, on one snapshot; see `verify`."""
        with self.snapshot() as snapshot:
            yield from verify(snapshot, codec, self._match_key)
            yield from verify_items(snapshot, self._match_key)

    async def close(self) -> None:
        """Finish the writes that wait and close the files; open snapshots end."""
        await self._writer.close()
        self._store.close()
