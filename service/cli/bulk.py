"""The command that imports files."""

from __future__ import annotations

import hashlib
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import grpc
import typer

from namesake import v1
from service.cli import lines
from service.cli.batches import BLOCK_ROWS, Batch, of_customers, of_table
from service.cli.bulk_change import YesOption
from service.cli.cards import RegionOption
from service.cli.failures import Failures
from service.cli.importing import ImportJob
from service.cli.link import REFUSED, ROWS_FAILED, Link, complain, remote
from service.cli.mappings import DATE_ORDERS, DateOrder, MapOption, Mapped
from service.errors import InvalidArgument
from service.transfer.dialects import encoding_of
from service.transfer.files import STANDARD_STREAM, Source, records
from service.transfer.mapping import NOTHING_SAID, Choices
from service.transfer.reading import Reader
from service.transfer.tables import Kind, Table, kind_of, open_table

TITLE_LIMIT_CHARS = 200  # the server's


class Format(StrEnum):
    """What a file is written in."""

    CSV = "csv"
    JSONL = "jsonl"
    CUSTOMERS = "customers"
    XLSX = "xlsx"
    PARQUET = "parquet"


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


_KINDS: dict[Format, Kind] = {
    Format.CSV: "csv",
    Format.JSONL: "jsonl",
    Format.XLSX: "xlsx",
    Format.PARQUET: "parquet",
}

FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="By default by the file's ending; customers: JSONL as `namesake export` writes it.",
    ),
]


@remote
def import_file(
    link: Link,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="CSV, JSONL, XLSX or Parquet; - for stdin.")
    ],
    file_format: FormatOption = None,
    mapping: MapOption = None,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="For rows that do not say; repeatable."),
    ] = None,
    saved: Annotated[
        str, typer.Option("--mapping", metavar="NAME", help="Read columns as it was saved.")
    ] = "",
    save_mapping: Annotated[
        str, typer.Option(metavar="NAME", help="Save how columns are read, for such files.")
    ] = "",
    sheet: Annotated[str, typer.Option(help="Of XLSX; by default the first.")] = "",
    delimiter: Annotated[str, typer.Option(help="By default found in the file.")] = "",
    quote: Annotated[str, typer.Option(help="By default found in the file.")] = "",
    encoding: Annotated[str, typer.Option(help="By default found in the file.")] = "",
    dates: Annotated[
        DateOrder | None,
        typer.Option(help="How to read 03/04/1990; by default as its column's other dates."),
    ] = None,
    date_format: Annotated[
        list[str] | None,
        typer.Option(metavar="FORMAT", help="As %d.%m.%Y, of strptime; repeatable."),
    ] = None,
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
            metavar="OUT", help="Write rows that failed, with why, to correct and import."
        ),
    ] = "",
    yes: YesOption = False,
) -> None:
    """Stream a file into the account; exit status 3 where rows failed.

    Shows what each column is taken for, and asks before it begins if there is somebody to ask.
    Ended in the middle, the same command goes on where it stopped; see `namesake jobs`.

    Examples:
      namesake import people.xlsx --map 'Kd-Nr=id' --map 'Karte=identity:loyalty' --region DE
      namesake import people.csv --dry-run --failures failed.csv
      namesake import fair.csv --set source=fair --save-mapping fair --yes
    """
    said = Choices.of_options(
        mapping or (),
        assign or (),
        date_order=DATE_ORDERS[dates],
        date_formats=date_format or (),
        default_region=region,
    )
    settings = v1.ImportSettings(
        match_order=[v1.MatchBy.Value(f"MATCH_BY_{by.name}") for by in match_order or ()],
        create_all=create_all,
        source=source,
        tags=tag or (),
        campaign=campaign,
        groups=group or (),
        dry_run=dry_run,
    )
    # Defaults are left out: the name of the job is made of the settings.
    if on_match is not OnMatch.UPDATE:
        settings.on_match = v1.OnMatch.Value(f"ON_MATCH_{on_match.name}")
    if on_conflict is not OnConflict.FIRST:
        settings.on_conflict = v1.OnConflict.Value(f"ON_CONFLICT_{on_conflict.name}")
    if failures and _are_same(file, failures):
        raise InvalidArgument("is the file to import", field="--failures")
    way = _Way(file_format, sheet, delimiter, quote, encoding, saved)
    with _opened(file, way, said) as opened:
        settings.default_region = opened.region
        content = _Content.of(file)
        settings.job_id = job_id or content.job_id(settings, opened.reading)
        # Neither is of the job's name: a file is the same under another one.
        settings.title, settings.total_rows = _title(file), opened.rows
        job = ImportJob(link, settings, Failures(failures, opened.header))
        if opened.mapped:
            may_ask = not yes and file != STANDARD_STREAM
            _confirm(link, settings, opened.mapped, content, may_ask=may_ask)
            if save_mapping:
                opened.mapped.save(save_mapping)
        elif save_mapping:
            raise InvalidArgument("the file has no columns", field="--save-mapping")
        job.run(opened.batches, opened.size)
    job.summarise()
    if job.failed:
        raise typer.Exit(ROWS_FAILED)


def _title(file: str) -> str:
    name = "standard input" if file == STANDARD_STREAM else Path(file).name
    text = name.encode(errors="replace").decode()  # names of files need not be text
    return text[:TITLE_LIMIT_CHARS]


def _are_same(file: str, other: str) -> bool:
    """Say whether `other`, by whatever name, is the file that is read."""
    if not Path(other).is_file() or (file != STANDARD_STREAM and not Path(file).exists()):
        return False
    read = os.fstat(0) if file == STANDARD_STREAM else Path(file).stat()
    return os.path.samestat(read, Path(other).stat())


@dataclass(frozen=True, slots=True)
class _Way:
    """How a file is to be opened; what is "" is found out."""

    format: Format | None
    sheet: str
    delimiter: str
    quote: str
    encoding: str
    saved: str  # the mapping's name

    def kind(self, file: str) -> Kind | None:
        """Return the kind of the table, None if the file is said to have customers."""
        if self.format is Format.CUSTOMERS:
            return None
        return _KINDS[self.format] if self.format else kind_of(file)


@dataclass(frozen=True, slots=True)
class _Opened:
    """An open file."""

    batches: Iterator[Batch]
    size: int  # in bytes, 0 if it is not known
    rows: int  # 0 if they are not known
    header: Sequence[str] | None  # of a table
    region: str
    reading: tuple[object, ...]  # all that decides what rows become, but for the file
    mapped: Mapped | None = None


@contextmanager
def _opened(file: str, way: _Way, said: Choices) -> Iterator[_Opened]:
    with ExitStack() as stack:
        kind, source = way.kind(file), None
        if kind is None or kind == "jsonl":
            source = stack.enter_context(closing(Source(file)))
            if kind is None:  # a pipe may be quiet, so nothing is looked at beforehand
                yield _customers(source, way.encoding or "utf-8", said.default_region)
                return
            encoding = way.encoding or encoding_of(source)
            if _has_customers(source, encoding, way, said):
                yield _customers(source, encoding, said.default_region)
                return
        table = open_table(
            file,
            kind=kind,
            delimiter=way.delimiter,
            encoding=way.encoding,
            quote=way.quote,
            sheet=way.sheet,
            lenient=True,
            block_rows=BLOCK_ROWS,
            source=source,
        )
        yield _columns(stack.enter_context(table), Mapped(table, said, way.saved))


def _has_customers(source: Source, encoding: str, way: _Way, said: Choices) -> bool:
    """Say whether lines of JSON are customers; whoever speaks of columns means that there are."""
    speaks_of_columns = way.saved or replace(said, default_region="") != NOTHING_SAID
    return not speaks_of_columns and lines.are_customers(source, encoding)


def _customers(source: Source, encoding: str, region: str) -> _Opened:
    parsed = lines.customers(records(source.lines(encoding)))
    batches = of_customers(parsed, lambda: source.position)
    return _Opened(batches, source.size, 0, None, region, ("customers", encoding))


def _columns(table: Table, mapped: Mapped) -> _Opened:
    mapping = mapped.mapping
    written_as = (table.kind, table.dialect, table.sheet)
    meant = (mapping.fields, mapping.orders, mapping.date_formats, mapping.constants)
    return _Opened(
        of_table(table, Reader(mapping)),
        table.size_bytes,
        table.rows or 0,
        table.header,
        mapping.default_region,
        (*written_as, *meant),
        mapped,
    )


@dataclass(frozen=True, slots=True)
class _Content:
    """What is known of a file's bytes; nothing of a pipe, which is read only once."""

    digest: bytes = b""
    lines: int = 0

    @classmethod
    def of(cls, file: str) -> _Content:
        """Read a file through."""
        if file == STANDARD_STREAM or not Path(file).is_file():
            return cls()
        digest, count = hashlib.sha256(), 0
        try:
            with Path(file).open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
                    count += chunk.count(b"\n")
        except OSError as error:
            raise InvalidArgument(f"Cannot open {file}: {error.strerror}") from None
        return cls(digest.digest(), count)

    def job_id(self, settings: v1.ImportSettings, reading: tuple[object, ...]) -> str:
        """Name a job by the file's content and all that decides what its rows become.

        So the same command resumes, and another reading of the same file is another job.
        """
        if not self.digest:
            return f"stdin-{uuid.uuid4().hex}"
        digest = hashlib.sha256(self.digest)
        digest.update(repr(reading).encode())
        digest.update(settings.SerializeToString(deterministic=True))
        return f"file-{digest.hexdigest()[:40]}"


def _confirm(
    link: Link, settings: v1.ImportSettings, mapped: Mapped, content: _Content, *, may_ask: bool
) -> None:
    """Show how columns are read; ask, where there is somebody who has not agreed to it before."""
    asks = may_ask and sys.stdin.isatty() and not settings.dry_run
    asks = asks and not _is_begun(link, settings.job_id)
    if asks or ((sys.stderr.isatty() or settings.dry_run) and not link.as_json):
        mapped.show(settings.title)
    mapped.warn()
    rows = mapped.rows(content.lines)
    if asks and not typer.confirm(f"Import {rows} like this?", default=True, err=True):
        complain("nothing is imported")
        raise typer.Exit(REFUSED)


def _is_begun(link: Link, job_id: str) -> bool:
    """Say whether something of a job is durable: then it is gone on with."""
    stub = v1.TransferServiceStub(link.channel)
    try:
        answer = link.call(stub.GetImport, v1.GetImportRequest(job_id=job_id))
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return False
        raise
    return bool(answer.job.durable_batch)
