"""Bytes on disk for each customer, beside those of the CSV that says the same.

Plain customers are those of `benchmarks.cards`; rich ones are rows of the world `clean` of
`benchmarks.worlds` as a CRM has them: birth date, address, employer, and a second phone. Each is
imported once and without matching, read from its cells as the command line does; rows that would
be refused are in neither figure. The file of the index has record, history, feed, features, keys
and blocking keys, and pages that are free; PostgreSQL's has the columns and three indexes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from benchmarks import cards, processes, streams, worlds
from namesake import v1
from service.cli.convert import to_customer
from service.transfer.columns import Columns
from service.transfer.rows import RowRefused

ACCOUNT = "default"
PLAIN_COLUMNS = ("kind", "first_name", "last_name", "email", "mobile_phone")
SEED = 1

_RICH_COLUMNS = tuple(column for column in worlds.COLUMNS if column != "id")
_SECOND_PHONE = "mobile_phone"


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes for each of so many customers."""

    customers: int
    csv: float
    stored: float


def index_bytes(data: Path) -> int:
    """Return the size of the index in a server's folder."""
    return (data / ACCOUNT / "data.mdb").stat().st_size


def plain(data: Path, scratch: Path, rows: int) -> Size:
    """Return the size of an import of plain customers that a server had in a folder."""
    with scratch.open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(PLAIN_COLUMNS)
        for number in range(rows):
            one = cards.customer(number)
            point = one.emails[0].value, one.phones[0].value
            writer.writerow(("person", one.first_name, one.last_name, *point))
    return Size(rows, scratch.stat().st_size / rows, index_bytes(data) / rows)


async def rich(folder: Path, rows: int) -> Size:
    """Import rich customers into a fresh folder; return their size."""
    table, data = folder / "rich.csv", folder / "rich"
    messages = list(_messages(table, rows))
    with processes.namesake(data) as server:
        imported = await streams.import_batches(server.address, messages, create_all=True)
    customers = imported.counts.created
    return Size(customers, table.stat().st_size / customers, index_bytes(data) / customers)


def _messages(table: Path, rows: int) -> Iterator[bytes]:
    """Write rich customers as CSV, and yield them in batches."""
    header = (*_RICH_COLUMNS, _SECOND_PHONE)
    columns = Columns.of(header)
    with table.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        people = islice(_people(columns), rows)
        number = 0
        while some := list(islice(people, streams.BATCH_ROWS)):
            number += 1
            writer.writerows(cells for cells, _ in some)
            batch = v1.ImportBatch(number=number, customers=[customer for _, customer in some])
            yield v1.ImportCustomersRequest(batch=batch).SerializeToString()


def _people(columns: Columns) -> Iterator[tuple[list[str], v1.Customer]]:
    """Yield cells and what they say, of ever other people."""
    world = replace(worlds.WORLDS["clean"], repeats=(1.0,))
    for number, (_, row) in enumerate(worlds.rows(world, SEED)):
        cells = [*(row[column] for column in _RICH_COLUMNS), cards.phone(number)]
        try:
            yield cells, to_customer(columns.row(cells))
        except RowRefused:
            continue
