"""Bare py-lmdb with the customers of an import: what its user would put, without anything of ours.

For each row that an import created, the same record, features, id, change and history, and one
entry of a B-tree for each identity and each blocking key. These last two stand in sorted runs in
our own file, so they are made of the record again, by the functions that a single save uses. The
domains that are awaited are one value for a group, as they are one for a batch of ours.

A group of rows is put in one durable transaction: in each sub-database sorted by key, with one
`putmulti`, which appends where all its keys are behind those that are there. That is the fastest
way that py-lmdb has. Making the entries and sorting them is not timed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import lmdb

from service.core.prepare import match_key
from service.index import layout
from service.server.wire import Records
from service.settings import Settings

GROUP_ROWS = 4_000  # of a commit: four times what an import of ours commits at once

Entry = tuple[bytes, bytes]
Group = dict[str, list[Entry]]

# By row, of which a change has the number too as long as all rows are new.
_BY_ROW = ("customers", "features", "changes", "history")
_SEVERAL = ("identities", "blocks")
_TABLES = (*_BY_ROW, "ids", "waiting", *_SEVERAL)


@dataclass(slots=True)
class Written:
    """A file that raw groups were put into: seconds of each group so far."""

    groups_s: list[float] = field(default_factory=list)
    rows: int = 0
    entries: int = 0

    def rate(self, first: int, last: int) -> float:
        """Return the rows a second of the groups from `first` up to `last`, that one left out."""
        seconds = self.groups_s[first:last]
        return GROUP_ROWS * len(seconds) / sum(seconds)


def groups(index: Path, rows: int) -> Iterator[Group]:
    """Yield what to put, group by group, of the first rows of an index that nobody has open."""
    codec = Records(Settings())
    with _environment(index, readonly=True) as env, ExitStack() as stack:
        tables = {name: env.open_db(name.encode(), create=False) for name in _BY_ROW}
        txn = stack.enter_context(env.begin())
        cursors = [txn.cursor(table).iternext() for table in tables.values()]
        entries = islice(zip(*cursors, strict=True), rows)
        while some := list(islice(entries, GROUP_ROWS)):
            yield _group(some, codec)


def _group(rows: Sequence[tuple[Entry, ...]], codec: Records) -> Group:
    group: Group = {name: [] for name in _TABLES}
    awaited: list[tuple[bytes, int]] = []
    for entries in rows:
        for name, entry in zip(_BY_ROW, entries, strict=True):
            if entry[0][:8] != entries[0][0]:
                raise RuntimeError("not every row was created, and once: this measures something")
            group[name].append(entry)
        (row, record), (_, features), *_ = entries
        held = codec.held(record)
        made = layout.entries_of(held, match_key)
        group["ids"].append((held.id.encode(), row))
        group["identities"] += [(key, row) for key in made.keys]
        awaited += [(domain.encode(), layout.unpack_u64(row)) for domain in made.pending]
        packed = layout.decode_features(features)
        group["blocks"] += layout.block_entries(packed, layout.unpack_u64(row))
    if awaited:
        first = layout.pack_u64(min(row for _, row in awaited))
        group["waiting"].append((first, layout.encode_waiting(sorted(awaited))))
    for put in group.values():
        put.sort()
    return group


def write(folder: Path, source: Iterable[Group]) -> Written:
    """Put groups into a fresh environment, each durably."""
    written = Written()
    last = dict.fromkeys((*_BY_ROW, "ids", "waiting"), b"")
    with _environment(folder) as env:
        tables = {
            name: env.open_db(name.encode(), dupsort=several, dupfixed=several)
            for name, several in layout.TABLES.items()
            if name in _TABLES
        }
        for group in source:
            appends = {name for name in last if group[name] and group[name][0][0] > last[name]}
            started = time.perf_counter()
            with env.begin(write=True) as txn:
                for name, entries in group.items():
                    txn.cursor(tables[name]).putmulti(entries, append=name in appends)
            written.groups_s.append(time.perf_counter() - started)
            written.rows += len(group["customers"])
            written.entries += sum(map(len, group.values()))
            for name, key in last.items():
                last[name] = max([key, *(key for key, _ in group[name][-1:])])
        _check(env, tables, written.entries)
    return written


def _check(env: lmdb.Environment, tables: dict[str, lmdb._Database], entries: int) -> None:
    with env.begin() as txn:
        stored = sum(txn.stat(table)["entries"] for table in tables.values())
    if stored != entries:
        raise RuntimeError(f"{stored} entries are stored, not {entries}")


def read(index: Path) -> tuple[int, float]:
    """Read every customer's record through a cursor; return how many, and the seconds."""
    with _environment(index, readonly=True) as env:
        table = env.open_db(b"customers", create=False)
        with env.begin() as txn:
            started = time.perf_counter()
            count = sum(1 for _ in txn.cursor(table).iternext(keys=False, values=True))
            return count, time.perf_counter() - started


def commits(index: Path) -> int:
    """Return in how many transactions a file was written."""
    with _environment(index, readonly=True) as env:
        count: int = env.info()["last_txnid"] - 1  # the first one made the file
    return count


def _environment(folder: Path, *, readonly: bool = False) -> lmdb.Environment:
    """Open an environment as the service does."""
    return lmdb.open(
        str(folder),
        map_size=Settings().map_size,
        max_dbs=layout.MAX_TABLES,
        readahead=False,
        readonly=readonly,
    )
