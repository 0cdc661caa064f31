"""The records of files, packed for comparison by columns, and what was found of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import typer

from service.cli import show
from service.cli.mappings import DATE_ORDERS, DateOrder
from service.core import _names, _phones
from service.core._emails import EmailParser
from service.core._features import EXTRAS, POINTS, Packed, keys_for_people, pack, scripts_of
from service.core._text import Column, Texts
from service.core.linkage import Linked, link
from service.core.match import Model
from service.errors import InvalidArgument
from service.transfer import fields
from service.transfer.tables import Array, Block, Table, texts_of

BYTES_PER_RECORD = 550  # of memory at the peak: features, blocking keys and sorted entries
BYTES_AT_LEAST = 250 << 20
BLOCKS_AHEAD = 2  # that are read and not packed yet
TOLD_BYTES = 1 << 30  # of memory, from which it is said before it is taken


class Records:
    """The records of all files, packed for comparison."""

    def __init__(self, region: str, dates: DateOrder | None) -> None:
        self.packed = Packed()
        self._region = _phones.region_id(region)
        self._dates = dates
        self._emails = EmailParser(frozenset())
        self._ids: list[Any] = []  # Arrow arrays, or ranges of row numbers
        self._extras: tuple[str, ...] | None = None

    def read(self, table: Table, mapping: Sequence[str]) -> None:
        """Add the records of a table."""
        places = fields.matching_fields(table.header, mapping)
        columns = sorted({column for found in places.values() for column in found})
        extras = tuple(field for field in places if ":" in field)
        if self._extras not in (None, extras) or len(extras) > EXTRAS:
            raise InvalidArgument(
                f"{table.path}: the same exact: and text: columns in all files, {EXTRAS} at most"
            )
        self._extras = extras
        births = fields.BirthDates(DATE_ORDERS[self._dates])
        ids, before = places.get("id"), len(self.packed)
        # A block is packed while the next one is read.
        with show.progress("reading") as bar, ThreadPoolExecutor(1) as packer:
            task = bar.add_task("", total=table.size_bytes or None, done=0)
            under_way: deque[Future[None]] = deque()
            for block in table.blocks(columns):
                if block.first == 1:
                    _forewarn(table, block)
                if len(under_way) == BLOCKS_AHEAD:
                    under_way.popleft().result()
                under_way.append(packer.submit(self._add, _Cells(block, places), births))
                first = before + block.first
                self._ids.append(block.joined(ids) if ids else range(first, first + block.count))
                bar.update(task, completed=block.position, done=first + block.count - 1)
            for packed in under_way:
                packed.result()

    def names(self) -> Array:
        """Return what each record is called: its id, or else its number in all files."""
        numbers = pa.array(np.arange(1, len(self.packed) + 1)).cast(pa.string())
        parts, first = [], 0
        for part in self._ids:
            own = numbers.slice(first, len(part))
            is_id = not isinstance(part, range)
            parts.append(pc.if_else(pc.equal(part, ""), own, part) if is_id else own)
            first += len(part)
        return pa.chunked_array(parts, pa.string()).combine_chunks()

    def _add(self, cells: _Cells, births: fields.BirthDates) -> None:
        count, block = cells.count, cells.block
        none32, none8 = np.zeros(count, np.uint32), np.zeros(count, np.uint8)
        born, gender = cells.places.get("birth_date"), cells.places.get("gender")
        extras = [field for field in cells.places if ":" in field]
        pack(
            self.packed,
            cells.names(),
            births.read(block.columns[born[0]]) if born else none32,
            fields.genders(block.columns[gender[0]]) if gender else none8,
            [self._email_keys(texts) for texts in cells.several("email")],
            self._phones(cells),
            [cells.folded(field) for field in ("street", "city", "postcode", "company")],
            [cells.folded(field) for field in extras],
            bytes(field.startswith("text:") for field in extras),
            cells.scripts(),
        )

    def _email_keys(self, texts: Texts) -> Column:
        parsed = self._emails.parse(texts)
        return keys_for_people(parsed.keys, parsed.normal)

    def _phones(self, cells: _Cells) -> list[Column]:
        regions = None
        if country := cells.places.get("country"):
            codes, number = np.unique(
                fields.countries(cells.block.columns[country[0]]), return_inverse=True
            )
            ids = _phones.region_ids(Texts.of([code.decode() for code in codes]))
            regions = np.frombuffer(ids, np.uint16)[number].tobytes()
        return [
            _phones.parse(texts, regions, self._region).keys() for texts in cells.several("phone")
        ]


class _Cells:
    """A block, by fields."""

    def __init__(self, block: Block, places: dict[str, list[int]]) -> None:
        self.block, self.places, self.count = block, places, block.count
        self._empty = Texts.of([""] * block.count)

    def texts(self, field: str) -> Texts:
        """Return a field of one column."""
        found = self.places.get(field)
        return texts_of(self.block.joined(found)) if found else self._empty

    def several(self, field: str) -> Iterator[Texts]:
        """Yield the columns of a field, as many as are compared."""
        for column in self.places.get(field, ())[:POINTS]:
            yield self.block.texts(column)

    def names(self) -> _names.Names:
        """Return the names; a whole name counts where there are no others."""
        if "full_name" in self.places and not {"first_name", "last_name"} & self.places.keys():
            return _names.full_names(self.texts("full_name"))
        return _names.split_names(
            self.texts("first_name"), self.texts("middle_name"), self.texts("last_name")
        )

    def scripts(self) -> npt.NDArray[np.uint8]:
        """Return in which script each name is written."""
        scripts = np.zeros(self.count, np.uint8)
        for field in ("full_name", "first_name", "last_name"):
            scripts_of(self.texts(field), scripts)
        return scripts

    def folded(self, field: str) -> Column:
        """Return a field in folded words; postcodes without what people part them by."""
        if field == "postcode" and field in self.places:
            written = self.block.joined(self.places[field])
            return _names.fold(texts_of(pc.replace_substring_regex(written, r"[\s-]+", "")))
        return _names.fold(self.texts(field))


@dataclass(frozen=True, slots=True)
class Found:
    """Records and their clusters; where two files are linked, row `second` begins the other."""

    names: Array
    labels: npt.NDArray[np.uint32]
    second: int | None = None

    @property
    def full_names(self) -> Array:
        """Return what records are called among those of all files: 1:ID and 2:ID of two."""
        if self.second is None:
            return self.names
        return pc.binary_join_element_wise(self.files.cast(pa.string()), self.names, ":")

    @property
    def files(self) -> Array:
        """Return the number of each record's file, of two that are linked."""
        first = len(self.labels) if self.second is None else self.second
        return pa.array(1 + (np.arange(len(self.labels)) >= first).astype(np.uint8))

    @property
    def in_first(self) -> tuple[int, int] | None:
        """Return how many records of a second file are in the first, and how many it has."""
        if self.second is None:
            return None
        first, rest = self.labels[: self.second], self.labels[self.second :]
        return int(np.isin(rest, first).sum()), len(rest)

    @property
    def clusters(self) -> int:
        """Return how many clusters there are."""
        return len(np.unique(self.labels))

    @property
    def repeated_ids(self) -> int:
        """Return how many records are called as one before them."""
        return len(self.names) - int(pc.count_distinct(self.full_names).as_py())


def cluster_names(found: Found) -> Array:
    """Return the name of each record's cluster: the least of its records, numbers by value.

    Records of a first file go before those of a second. Clusters that would have one name, as
    several records have one id, are told apart by ~2, ~3 and so on. Only those who share a cluster
    are sorted.
    """
    names, labels = found.full_names, found.labels
    shared = np.flatnonzero(np.bincount(labels, minlength=len(labels))[labels] > 1)
    some = names.take(pa.array(shared))
    files = pc.utf8_slice_codeunits(some, 0, 0 if found.second is None else 1)
    table = pa.table({"file": files, "length": pc.binary_length(some), "name": some})
    by_name = [(column, "ascending") for column in table.column_names]
    order = shared[pc.sort_indices(table, by_name).to_numpy()]
    least = np.arange(len(labels))
    members, first = np.unique(labels[order], return_index=True)
    least[members] = order[first]
    rows = np.arange(len(labels))
    rows[shared] = least[labels[shared]]
    called = names.take(pa.array(rows))
    if found.repeated_ids:
        called = _told_apart(called, labels)
    return called


def _told_apart(called: Array, labels: npt.NDArray[np.uint32]) -> Array:
    """Give clusters of one name names of their own."""
    _, first, cluster = np.unique(labels, return_index=True, return_inverse=True)
    in_turn = np.argsort(first)
    own = called.take(pa.array(first)).to_pylist()
    taken, times = set(own), Counter[str]()
    for number in in_turn.tolist():
        name = unlike = own[number]
        times[name] += 1
        while times[name] > 1 and (unlike := f"{name}~{times[name]}") in taken:
            times[name] += 1
        taken.add(unlike)
        own[number] = unlike
    return pa.array(own, pa.string()).take(pa.array(cluster))


def write_clusters(stream: BinaryIO, found: Found) -> None:
    """Write a CSV of records and their clusters, of two files with the number of the file."""
    columns = {"record": found.names, "cluster": cluster_names(found)}
    if found.second is not None:
        columns["file"] = found.files
    # What Arrow calls "needed" is around all texts, of headers too.
    is_special = pc.any(pc.match_substring_regex(found.names, '[",\r\n]')).as_py()
    options = pa_csv.WriteOptions(
        include_header=False, quoting_style="needed" if is_special else "none"
    )
    stream.write(",".join(columns).encode() + b"\n")
    pa_csv.write_csv(pa.table(columns), stream, options)


def _forewarn(table: Table, block: Block) -> None:
    """Say how much memory a large file will take, before it does."""
    rows = table.rows
    if rows is None and block.position and table.size_bytes:
        rows = round(table.size_bytes * block.count / block.position)
    needed = BYTES_AT_LEAST + BYTES_PER_RECORD * (rows or 0)
    if rows and needed > TOLD_BYTES:
        typer.echo(f"about {rows:,} records; {needed / 1e9:.1f} GB of memory", err=True)


def linked_by(
    records: Records,
    names: Array,
    model: Model | None,
    threshold: float,
    second: int | None = None,
) -> Linked:
    """Find who is who, and show how far that is; `second` is the first row of a second file."""
    sides = None if second is None else (np.arange(len(names)) >= second).astype(np.uint8)
    # Records of equal content are told apart by name, so that the order of rows decides nothing.
    texts = names.to_pylist()
    ties = np.fromiter((crc32(text.encode()) for text in texts), np.uint64, len(texts))
    del texts
    with show.progress("matching", "steps") as bar:
        task = bar.add_task("", total=3, done=0)
        steps = ("learning", "comparing", "clustering")

        def tell(what: str, share: float) -> None:
            bar.update(task, completed=steps.index(what) + share, done=steps.index(what))

        return link(
            records.packed, model=model, threshold=threshold, ties=ties, sides=sides, tell=tell
        )


def write_pairs(stream: BinaryIO, every: Array, linked: Linked) -> None:
    """Write the pairs that match, best first; `record` was read before `other`."""
    found = linked.pairs
    bits = found.bits.astype(np.float64)
    table = pa.table(
        {
            "record": every.take(pa.array(np.minimum(found.ones, found.others))),
            "other": every.take(pa.array(np.maximum(found.ones, found.others))),
            "weight": pa.array(found.bits),
            "probability": pa.array(1.0 / (1.0 + np.exp2(-bits))),
        }
    )
    pq.write_table(table, stream)
