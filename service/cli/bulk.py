"""The command that imports files."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.json_format import Parse, ParseError

from namesake import v1
from service.cli.cards import RegionOption
from service.cli.convert import to_customer
from service.cli.importing import Failures, ImportJob
from service.cli.link import ROWS_FAILED, Link, complain, remote
from service.cli.outbox import cut
from service.errors import InvalidArgument
from service.transfer import words
from service.transfer.columns import Columns
from service.transfer.files import (
    STANDARD_STREAM,
    CsvReader,
    Record,
    Source,
    records,
)
from service.transfer.rows import RowRefused

TITLE_LIMIT_CHARS = 200  # the server's


class Format(StrEnum):
    """What a file is written in."""

    CSV = "csv"
    JSONL = "jsonl"


class MatchBy(StrEnum):
    """By what an imported row finds the customer that it updates."""

    CUSTOMER_ID = "customer-id"
    IDENTITY = "identity"
    MOBILE = "mobile"
    PHONE = "phone"
    EMAIL = "email"


class OnMatch(StrEnum):
    """What happens to the customer that an imported row finds."""

    UPDATE = "update"
    FILL = "fill"
    SKIP = "skip"


class OnConflict(StrEnum):
    """What happens to an imported row that may mean several customers."""

    FIRST = "first"
    REFUSE = "refuse"


class DateOrder(StrEnum):
    """How to read 03/04/1990."""

    DAY_FIRST = "dmy"
    MONTH_FIRST = "mdy"


DATE_ORDERS: dict[DateOrder | None, words.DateOrder] = {
    None: "",
    DateOrder.DAY_FIRST: "dmy",
    DateOrder.MONTH_FIRST: "mdy",
}

FormatOption = Annotated[
    Format | None, typer.Option("--format", help="By default by the file's ending.")
]
MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="COLUMN=FIELD", help="Name a column's field, or - to ignore it."),
]


@remote
def import_file(
    link: Link,
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV or JSONL; - for stdin.")],
    file_format: FormatOption = None,
    mapping: MapOption = None,
    delimiter: Annotated[str, typer.Option(help="By default found in the header.")] = "",
    encoding: Annotated[str, typer.Option(help="Of the file.")] = "utf-8",
    dates: Annotated[DateOrder | None, typer.Option(help="How to read 03/04/1990.")] = None,
    job_id: Annotated[
        str, typer.Option(help="Names the import; by default made of the file and the options.")
    ] = "",
    match_order: Annotated[
        list[MatchBy] | None,
        typer.Option(
            metavar="BY",
            help="customer-id, identity, mobile, phone or email; repeatable, in order.",
        ),
    ] = None,
    create_all: Annotated[
        bool, typer.Option("--create-all", help="Match by customer id alone, create the others.")
    ] = False,
    on_match: Annotated[
        OnMatch, typer.Option(help="What to do with a customer that is there already.")
    ] = OnMatch.UPDATE,
    on_conflict: Annotated[
        OnConflict, typer.Option(help="What to do with a row that may mean several customers.")
    ] = OnConflict.FIRST,
    source: Annotated[str, typer.Option(help="Source to add to every row.")] = "",
    tag: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="Tag to add; repeatable.")
    ] = None,
    campaign: Annotated[str, typer.Option(help="Campaign to add to every row.")] = "",
    group: Annotated[
        list[str] | None, typer.Option(metavar="GROUP", help="Group to add; repeatable.")
    ] = None,
    region: RegionOption = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, match and count; store nothing.")
    ] = False,
    failures: Annotated[
        str,
        typer.Option(
            metavar="OUT.CSV", help="Write rows that failed, with why, to correct and import."
        ),
    ] = "",
) -> None:
    """Stream a file into the account; exit status 3 where rows failed.

    Ended in the middle, the same command goes on where it stopped; see `namesake jobs`. JSONL has
    one Customer per line, as `namesake export` writes it.

    Examples:
      namesake import people.csv --map 'Kd-Nr=id' --map 'Karte=identity:loyalty' --region DE
      namesake import people.csv --dry-run --failures failed.csv
    """
    settings = v1.ImportSettings(
        match_order=[v1.MatchBy.Value(f"MATCH_BY_{by.name}") for by in match_order or ()],
        create_all=create_all,
        source=source,
        tags=tag or (),
        campaign=campaign,
        groups=group or (),
        default_region=region,
        dry_run=dry_run,
    )
    # Defaults are left out: the name of the job is made of the settings.
    if on_match is not OnMatch.UPDATE:
        settings.on_match = v1.OnMatch.Value(f"ON_MATCH_{on_match.name}")
    if on_conflict is not OnConflict.FIRST:
        settings.on_conflict = v1.OnConflict.Value(f"ON_CONFLICT_{on_conflict.name}")
    date_order = DATE_ORDERS[dates]
    reading = (file_format, tuple(mapping or ()), delimiter, encoding, date_order)
    settings.job_id = job_id or _job_id(file, settings, reading)
    settings.title = _title(file)
    origin = Source(file)
    try:
        if failures and origin.reads(failures):
            raise InvalidArgument("is the file to import", field="--failures")
        lines = origin.lines(encoding)
        if (file_format or _format(file)) is Format.JSONL:
            parsed = _json_customers(records(lines))
            header: Sequence[str] = ("line",)
        else:
            table = CsvReader(lines, delimiter=delimiter or None)
            header = table.header
            known = Columns.of(header, mapping or (), words.Dates(date_order))
            _warn_unrecognised(known)
            parsed = _table_customers(table, known)
        job = ImportJob(link, settings, Failures(failures, header))
        job.run(cut(parsed), origin)
    finally:
        origin.close()
    job.summarise()
    if job.failed:
        raise typer.Exit(ROWS_FAILED)


def _format(file: str) -> Format:
    ending = Path(file).suffix.lower()
    return Format.JSONL if ending in (".jsonl", ".ndjson", ".json") else Format.CSV


def _title(file: str) -> str:
    name = "standard input" if file == STANDARD_STREAM else Path(file).name
    text = name.encode(errors="replace").decode()  # names of files need not be text
    return text[:TITLE_LIMIT_CHARS]


def _warn_unrecognised(known: Columns) -> None:
    if known.unrecognised:
        names = ", ".join(repr(name) for name in known.unrecognised)
        complain(f"columns left out: {names}")


def _job_id(file: str, settings: v1.ImportSettings, reading: tuple[object, ...]) -> str:
    """Name a job by the file's content and all that decides what its rows become.

    So the same command resumes, and another reading of the same file is another job.
    """
    if file == STANDARD_STREAM or not Path(file).is_file():  # a pipe is read only once
        return f"stdin-{uuid.uuid4().hex}"
    digest = hashlib.sha256(repr(reading).encode())
    digest.update(settings.SerializeToString(deterministic=True))
    try:
        with Path(file).open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise InvalidArgument(f"Cannot open {file}: {error.strerror}") from None
    return f"file-{digest.hexdigest()[:40]}"


_Parsed = tuple[Record, v1.Customer | RowRefused]


def _table_customers(table: Iterable[Record], known: Columns) -> Iterator[_Parsed]:
    for record in table:
        try:
            yield record, to_customer(known.row(record.cells))
        except RowRefused as refused:
            yield record, refused


def _json_customers(lines: Iterable[Record]) -> Iterator[_Parsed]:
    for record in lines:
        try:
            customer = Parse(record.cells[0], v1.Customer())
        except ParseError as error:
            yield record, RowRefused(f"Not a Customer in JSON: {error}")
        else:
            customer.ClearField("etag")  # it was the exporting server's
            yield record, customer
