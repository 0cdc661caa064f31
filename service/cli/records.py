"""The records of files, packed for comparison by columns, and what was found of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer

from service.cli import show
from service.cli.bulk import DATE_ORDERS, DateOrder
from service.core import _names, _phones
from service.core._emails import EmailParser
from service.core._features import EXTRAS, POINTS, Packed, pack
from service.core._text import Column, Texts
from service.core.linkage import Linked, link
from service.core.match import Model
from service.errors import InvalidArgument
from service.transfer import fields
from service.transfer.files import whole
from service.transfer.tables import Block, Table, texts_of

BYTES_PER_RECORD = 650  # of memory at the peak: features, blocking keys and sorted entries
BYTES_AT_LEAST = 250 << 20
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
        with show.progress("reading") as bar:
            task = bar.add_task("", total=table.size_bytes or None, done=0)
            for block in table.blocks(columns):
                if block.first == 1:
                    _forewarn(table, block)
                before = len(self.packed)
                self._add(_Cells(block, places), births)
                ids = places.get("id")
                self._ids.append(
                    block.joined(ids) if ids else range(before + 1, before + block.count + 1)
                )
                bar.update(task, completed=block.position, done=len(self.packed))

    def names(self) -> list[str]:
        """Return what each record is called: its id, or else its number in all files."""
        names: list[str] = []
        for part in self._ids:
            names += map(str, part) if isinstance(part, range) else part.to_pylist()
        return [name or str(number) for number, name in enumerate(names, 1)]

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
            [self._emails.parse(texts).keys for texts in cells.several("email")],
            self._phones(cells),
            [cells.folded(field) for field in ("street", "city", "postcode", "company")],
            [cells.folded(field) for field in extras],
            bytes(field.startswith("text:") for field in extras),
        )

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

    def folded(self, field: str) -> Column:
        """Return a field in folded words; postcodes without what people part them by."""
        if field == "postcode" and field in self.places:
            written = self.block.joined(self.places[field])
            return _names.fold(texts_of(pc.replace_substring_regex(written, r"[\s-]+", "")))
        return _names.fold(self.texts(field))


def _forewarn(table: Table, block: Block) -> None:
    """Say how much memory a large file will take, before it does."""
    rows = table.rows
    if rows is None and block.position and table.size_bytes:
        rows = round(table.size_bytes * block.count / block.position)
    needed = BYTES_AT_LEAST + BYTES_PER_RECORD * (rows or 0)
    if rows and needed > TOLD_BYTES:
        typer.echo(f"about {rows:,} records; {needed / 1e9:.1f} GB of memory", err=True)


def linked_by(
    records: Records, names: Sequence[str], model: Model | None, threshold: float
) -> Linked:
    """Find who is who, and show how far that is."""
    # Records of equal content are told apart by name, so that the order of rows decides nothing.
    ties = np.fromiter((crc32(name.encode()) for name in names), np.uint64, len(names))
    with show.progress("matching", "steps") as bar:
        task = bar.add_task("", total=3, done=0)
        steps = ("learning", "comparing", "clustering")

        def tell(what: str, share: float) -> None:
            bar.update(task, completed=steps.index(what) + share, done=steps.index(what))

        return link(records.packed, model=model, threshold=threshold, ties=ties, tell=tell)


def write_pairs(path: str, names: Sequence[str], linked: Linked) -> None:
    """Write the pairs that match, best first."""
    every = pa.array(names, pa.string())
    found = linked.pairs
    bits = found.bits.astype(np.float64)
    table = pa.table(
        {
            "record": every.take(pa.array(found.ones)),
            "other": every.take(pa.array(found.others)),
            "weight": pa.array(found.bits),
            "probability": pa.array(1.0 / (1.0 + np.exp2(-bits))),
        }
    )
    with whole(path) as stream:
        pq.write_table(table, stream)
