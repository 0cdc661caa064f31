"""`namesake check`: validity of values and lists, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from service.cli import show
from service.cli.cards import RegionOption
from service.cli.link import USAGE, JsonOption, complain, reported
from service.cli.list_files import Way, opened, written
from service.cli.lists import (
    Done,
    Layout,
    ListChecker,
    checked_by_processes,
    checked_here,
)
from service.core.model import MESSAGES, Channel, Checked, Finding, Lookup, Point, Reason
from service.settings import Settings
from service.transfer.files import STANDARD_STREAM, Block
from service.transfer.tables import Kind

LIST_DNS_DEADLINE_MS = 5_000  # nobody waits at a form: better a slow answer than UNKNOWN

DnsServerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--dns-server",
        metavar="HOST",
        help="host or host:port; repeatable; by default the system's.",
    ),
]


class ListFormat(StrEnum):
    """What a list is written in."""

    CSV = "csv"
    JSONL = "jsonl"
    XLSX = "xlsx"
    PARQUET = "parquet"


_KINDS: dict[ListFormat, Kind] = {
    ListFormat.CSV: "csv",
    ListFormat.JSONL: "jsonl",
    ListFormat.XLSX: "xlsx",
    ListFormat.PARQUET: "parquet",
}


def check(
    values: Annotated[
        list[str] | None, typer.Argument(metavar="[VALUE...]", help="E-mails (an @) and phones.")
    ] = None,
    source: Annotated[
        str,
        typer.Option("--input", metavar="FILE", help="CSV, JSONL, XLSX or Parquet; - for stdin."),
    ] = "",
    output: Annotated[
        str,
        typer.Option(
            "--output", metavar="OUT", help="Of the kind that its ending says; - for CSV to stdout."
        ),
    ] = "",
    file_format: Annotated[
        ListFormat | None,
        typer.Option("--format", help="Of the input; by default by the file's ending."),
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="COLUMN=FIELD", help="Column of email, phone or country."),
    ] = None,
    sheet: Annotated[str, typer.Option(help="Of XLSX; by default the first.")] = "",
    delimiter: Annotated[str, typer.Option(help="By default found in the file.")] = "",
    quote: Annotated[str, typer.Option(help="By default found in the file.")] = "",
    encoding: Annotated[str, typer.Option(help="By default found in the file.")] = "",
    region: RegionOption = "",
    no_dns: Annotated[bool, typer.Option("--no-dns", help="Syntax and lists only.")] = False,
    dns_server: DnsServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether e-mails and phones are valid, and why not; needs no server.

    A list keeps its columns and gets email_verdict, email_reason, email_normal, phone_verdict,
    phone_reason, phone_e164, phone_region and phone_type. A column `country` says where phones
    without a country code are. Of lists that are not CSV all cells become texts.

    Examples:
      namesake check ada@gmial.com '+44 20 7946 0018'
      namesake check --input people.csv --output checked.csv --map Mail=email --region DE
      namesake check --input people.xlsx --sheet Fair --output checked.xlsx --no-dns
    """
    # DNS verdicts of a check by hand are kept while it runs, and leave no folder behind.
    with reported(), TemporaryDirectory(prefix="namesake-check-") as folder:
        if bool(values) == bool(source) or bool(source) != bool(output):
            raise typer.BadParameter("give either values, or --input with --output")
        given: dict[str, Any] = {"data": Path(folder)}
        if dns_server:
            given["dns_servers"] = tuple(dns_server)
        if region:
            given["default_region"] = region
        if source:
            given["dns_deadline_ms"] = LIST_DNS_DEADLINE_MS
        settings = settings_of(given)
        lookup = Lookup.SKIP if no_dns else Lookup.WAIT
        if source:
            kind = _KINDS[file_format] if file_format else None
            way = Way(kind, sheet, delimiter, quote, encoding)
            files = _Files(source, way, output, tuple(mapping or ()), as_json)
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
            _remark(result.finding),
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


def _remark(finding: Finding) -> str:
    message = "" if finding.reason is Reason.ACCEPTED else MESSAGES[finding.reason]
    flags = (flag.name for flag in finding.flags)
    return show.remark(message, finding.detail, finding.suggested_domain, flags)


def _type(result: Checked) -> str:
    return result.phone_type.name if result.phone_type else ""


@dataclass(frozen=True, slots=True)
class _Files:
    """What a list check reads and writes."""

    source: str
    way: Way
    output: str
    mapping: tuple[str, ...]
    as_json: bool


async def _check_list(settings: Settings, lookup: Lookup, files: _Files) -> None:
    with opened(files.source, files.way) as found:
        layout = Layout.of(
            found.header,
            files.mapping,
            delimiter=found.delimiter,
            quote=found.quote,
            region=settings.default_region,
        )
        with written(files.output, layout) as write, show.progress("checking") as bar:
            task = bar.add_task("", total=found.size_bytes or None, done=0)
            rows = 0
            async for done in _checked_blocks(settings, lookup, layout, found.blocks):
                write(done)
                rows += done.rows
                bar.update(task, completed=found.position(), done=rows)
    if files.as_json and files.output != STANDARD_STREAM:
        show.json_line({"file": files.output, "rows": rows})
    else:
        typer.echo(f"{rows:,} rows checked", err=True)


async def _checked_blocks(
    settings: Settings, lookup: Lookup, layout: Layout, blocks: Iterator[Block]
) -> AsyncIterator[Done]:
    """Check the rows of a list, on all cores where that is what bounds it."""
    first = list(islice(blocks, 2))
    if lookup is Lookup.SKIP and len(first) == 2:  # else it is done before others have started
        for done in checked_by_processes(settings, layout, chain(first, blocks)):
            yield done
        return
    validator = _validator(settings)
    await validator.start()
    try:
        checker = ListChecker(validator, layout, lookup)
        async for done in checked_here(checker, chain(first, blocks)):
            yield done
    finally:
        await validator.close()
