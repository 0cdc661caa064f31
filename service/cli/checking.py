"""`namesake check`: validity of values and lists, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from service.cli import show
from service.cli.cards import RegionOption
from service.cli.link import USAGE, JsonOption, complain, reported
from service.core.model import MESSAGES, Channel, Checked, Lookup, Point
from service.errors import InvalidArgument
from service.settings import Settings
from service.transfer import columns
from service.transfer.countries import country_code
from service.transfer.files import CsvReader, CsvWriter, Record, Source, whole

BATCH_ROWS = 1_000
LIST_DNS_DEADLINE_MS = 5_000  # nobody waits at a form: better a slow answer than UNKNOWN
WANTED = ("email", "phone", "country")
ADDED = (
    "email_verdict", "email_reason", "email_normal",
    "phone_verdict", "phone_reason", "phone_e164", "phone_region", "phone_type",
)  # fmt: skip

DnsServerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--dns-server",
        metavar="HOST",
        help="host or host:port; repeatable; by default the system's.",
    ),
]


def check(
    values: Annotated[
        list[str] | None, typer.Argument(metavar="[VALUE...]", help="E-mails (an @) and phones.")
    ] = None,
    source: Annotated[str, typer.Option("--input", help="CSV to check; - for stdin.")] = "",
    output: Annotated[str, typer.Option("--output", help="CSV to write; - for stdout.")] = "",
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="COLUMN=FIELD", help="Column of email, phone or country."),
    ] = None,
    delimiter: Annotated[str, typer.Option(help="By default found in the header.")] = "",
    encoding: Annotated[str, typer.Option(help="Of the input.")] = "utf-8-sig",
    region: RegionOption = "",
    no_dns: Annotated[bool, typer.Option("--no-dns", help="Syntax and lists only.")] = False,
    dns_server: DnsServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether e-mails and phones are valid, and why not; needs no server.

    A list keeps its columns and gets email_verdict, email_reason, email_normal, phone_verdict,
    phone_reason, phone_e164, phone_region and phone_type. A column `country` says where phones
    without a country code are.

    Examples:
      namesake check ada@gmial.com '+44 20 7946 0018'
      namesake check --input people.csv --output checked.csv --map Mail=email --region DE
    """
    # DNS verdicts of a check by hand are kept while it runs, and leave no folder behind.
    with reported(), TemporaryDirectory(prefix="namesake-check-") as folder:
        if bool(values) == bool(source) or bool(source) != bool(output):
            raise typer.BadParameter("give either values, or --input with --output")
        given: dict[str, Any] = {"data": Path(folder)}
        if dns_server:
            given["dns_servers"] = tuple(dns_server)
        if region:
            given["default_region"] = region.upper()
        if source:
            given["dns_deadline_ms"] = LIST_DNS_DEADLINE_MS
        settings = settings_of(given)
        lookup = Lookup.SKIP if no_dns else Lookup.WAIT
        if source:
            files = _Files(source, output, tuple(mapping or ()), delimiter, encoding, as_json)
            asyncio.run(_check_list(settings, lookup, files))
        else:
            checked = asyncio.run(_check_values(settings, lookup, values or []))
            _show(values or [], checked, as_json=as_json)


def settings_of(given: dict[str, Any]) -> Settings:
    """Return the settings with what was given on the command line, or say what is wrong."""
    try:
        return Settings(**given)
    except ValidationError as error:
        for fault in error.errors():
            name = ".".join(str(part) for part in fault["loc"])
            complain(f"setting {name}: {fault['msg']}")
        raise typer.Exit(USAGE) from None


async def _check_values(
    settings: Settings, lookup: Lookup, values: Sequence[str]
) -> Sequence[Checked]:
    validator = _validator(settings)
    await validator.start()
    try:
        points = [
            Point(Channel.EMAIL if "@" in value else Channel.PHONE, value) for value in values
        ]
        return await _checked(validator, points, settings, lookup)
    finally:
        await validator.close()


def _validator(settings: Settings) -> Any:
    # Loaded on use: every other command starts sooner without the server's modules.
    from service.server.app import build_validator

    return build_validator(settings)


async def _checked(
    validator: Any, points: Sequence[Point], settings: Settings, lookup: Lookup
) -> Sequence[Checked]:
    found: Sequence[Checked] = await validator.check(
        points, default_region=settings.default_region, lookup=lookup
    )
    return found


def _show(values: Sequence[str], checked: Sequence[Checked], *, as_json: bool) -> None:
    if as_json:
        for value, result in zip(values, checked, strict=True):
            show.json_line(_facts(value, result))
        return
    header = ("value", "verdict", "reason", "normal form", "region", "type", "remark")
    rows = [
        (
            value,
            result.finding.verdict.name,
            result.finding.reason.name,
            result.normal,
            result.region,
            _type(result),
            _remark(result),
        )
        for value, result in zip(values, checked, strict=True)
    ]
    show.table("", header, rows)


def _facts(value: str, result: Checked) -> dict[str, object]:
    finding = result.finding
    return {
        "value": value,
        "channel": result.channel.name,
        "verdict": finding.verdict.name,
        "reason": finding.reason.name,
        "message": MESSAGES[finding.reason],
        "detail": finding.detail,
        "normal": result.normal,
        "region": result.region,
        "type": _type(result),
        "extension": result.extension,
        "flags": [flag.name for flag in finding.flags],
        "suggestedDomain": finding.suggested_domain,
        "mxHosts": list(finding.mx_hosts),
        "source": finding.source,
    }


def _remark(result: Checked) -> str:
    finding = result.finding
    remarks = [MESSAGES[finding.reason], finding.detail]
    if finding.suggested_domain:
        remarks.append(f"did you mean {finding.suggested_domain}?")
    remarks += [flag.name.lower().replace("_", " ") for flag in finding.flags]
    return "; ".join(remark for remark in remarks if remark)


def _type(result: Checked) -> str:
    return result.phone_type.name if result.phone_type else ""


@dataclass(frozen=True, slots=True)
class _Files:
    """What a list check reads and writes."""

    source: str
    output: str
    mapping: tuple[str, ...]
    delimiter: str
    encoding: str
    as_json: bool


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a list has its columns, before and after the check; -1 for none."""

    header: tuple[str, ...]
    email: int
    phone: int
    country: int
    kept: tuple[int, ...]

    @classmethod
    def of(cls, header: tuple[str, ...], mapping: Sequence[str]) -> _Layout:
        """Find the columns by name; those that a check adds are replaced, not repeated."""
        overrides = columns.parse_overrides(mapping, known=WANTED.__contains__)
        fields = columns.fields_of(header, overrides, _wanted)
        email, phone, country = (_place(fields, overrides, header, field) for field in WANTED)
        if email < 0 and phone < 0:
            raise InvalidArgument(
                "No column of e-mails or phones; name one with --map COLUMN=email"
            )
        kept = tuple(i for i, name in enumerate(header) if name not in ADDED)
        return cls(header, email, phone, country, kept)

    def points(self, record: Record) -> tuple[Point | None, Point | None]:
        """Return the row's e-mail and phone, None where the cell is empty or missing."""
        email, phone = self._cell(record, self.email), self._cell(record, self.phone)
        region = country_code(self._cell(record, self.country)) if phone else ""
        return (
            Point(Channel.EMAIL, email) if email else None,
            Point(Channel.PHONE, phone, region) if phone else None,
        )

    def _cell(self, record: Record, column: int) -> str:
        return record.cells[column].strip() if 0 <= column < len(record.cells) else ""

    def row(self, record: Record, email: Checked | None, phone: Checked | None) -> tuple[str, ...]:
        """Return the row as it is written: its own cells, then what was found."""
        cells = record.cells
        own = (cells[i] if i < len(cells) else "" for i in self.kept)
        # Cells beyond the header go last, or they would move under the new columns.
        return (*own, *_verdicts(email, phone), *cells[len(self.header) :])


def _wanted(header: str) -> str:
    """Return which of the wanted fields a header names, "" if none."""
    field = columns.recognise(header)
    if field.endswith(("email", "phone")):
        return field.rpartition("_")[2] if field != "fax_phone" else ""
    return field if field in WANTED else ""


def _place(
    fields: Sequence[str], overrides: dict[str, str], header: Sequence[str], field: str
) -> int:
    """Return the column of a field: the one that was named, or else the first recognised."""
    named = {column.casefold() for column, mapped in overrides.items() if mapped == field}
    found = [i for i, recognised in enumerate(fields) if recognised == field]
    return next((i for i in found if header[i].casefold() in named), next(iter(found), -1))


def _verdicts(email: Checked | None, phone: Checked | None) -> tuple[str, ...]:
    mail = (email.finding.verdict.name, email.finding.reason.name, email.normal) if email else ()
    call = (
        (
            phone.finding.verdict.name,
            phone.finding.reason.name,
            phone.normal,
            phone.region,
            _type(phone),
        )
        if phone
        else ()
    )
    return (*(mail or ("",) * 3), *(call or ("",) * 5))


async def _check_list(settings: Settings, lookup: Lookup, files: _Files) -> None:
    origin = Source(files.source)
    validator = _validator(settings)
    await validator.start()
    try:
        table = CsvReader(origin.lines(files.encoding), delimiter=files.delimiter or None)
        layout = _Layout.of(table.header, files.mapping)
        with whole(files.output) as stream, show.progress("checking") as bar:
            task = bar.add_task("", total=origin.size or None, done=0)
            names = (*(table.header[i] for i in layout.kept), *ADDED)
            writer = CsvWriter(stream, names, delimiter=table.delimiter)
            done = 0
            for batch in _batches(table):
                await _check_batch(validator, settings, lookup, layout, batch, writer)
                done += len(batch)
                bar.update(task, completed=origin.position, done=done)
            writer.detach()
    finally:
        await validator.close()
        origin.close()
    if files.as_json and files.output != "-":
        show.json_line({"file": files.output, "rows": done})
    else:
        typer.echo(f"{done:,} rows checked", err=True)


async def _check_batch(
    validator: Any,
    settings: Settings,
    lookup: Lookup,
    layout: _Layout,
    batch: Sequence[Record],
    writer: CsvWriter,
) -> None:
    pairs = [layout.points(record) for record in batch]
    points = [point for pair in pairs for point in pair if point]
    found = iter(await _checked(validator, points, settings, lookup))
    for record, (email, phone) in zip(batch, pairs, strict=True):
        checked_email = next(found) if email else None
        checked_phone = next(found) if phone else None
        writer.write(layout.row(record, checked_email, checked_phone))


def _batches(table: Iterable[Record]) -> Iterator[list[Record]]:
    rows = iter(table)
    while batch := list(islice(rows, BATCH_ROWS)):
        yield batch
