"""`namesake check`: validity of values and lists, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from service.cli import show
from service.cli.cards import RegionOption
from service.cli.link import USAGE, JsonOption, complain, reported
from service.cli.lists import (
    Done,
    Layout,
    ListChecker,
    checked_by_processes,
    checked_here,
)
from service.core.model import MESSAGES, Channel, Checked, Finding, Lookup, Point, Reason
from service.settings import Settings
from service.transfer.dialects import open_csv
from service.transfer.files import CsvReader, Source, rows_text, whole

LIST_DNS_DEADLINE_MS = 5_000  # nobody waits at a form: better a slow answer than UNKNOWN

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
    delimiter: Annotated[str, typer.Option(help="By default found in the input.")] = "",
    encoding: Annotated[str, typer.Option(help="By default found in the input.")] = "",
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
            given["default_region"] = region
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
    output: str
    mapping: tuple[str, ...]
    delimiter: str
    encoding: str
    as_json: bool


async def _check_list(settings: Settings, lookup: Lookup, files: _Files) -> None:
    origin = Source(files.source)
    try:
        table, _ = open_csv(origin, encoding=files.encoding, delimiter=files.delimiter, quote='"')
        region = settings.default_region
        layout = Layout.of(table.header, files.mapping, table.delimiter, region)
        with whole(files.output) as stream, show.progress("checking") as bar:
            task = bar.add_task("", total=origin.size or None, done=0)
            stream.write(rows_text([layout.names], layout.delimiter).encode())
            rows = 0
            async for done in _checked_blocks(settings, lookup, layout, table):
                stream.write(done.text)
                rows += done.rows
                bar.update(task, completed=origin.position, done=rows)
    finally:
        origin.close()
    if files.as_json and files.output != "-":
        show.json_line({"file": files.output, "rows": rows})
    else:
        typer.echo(f"{rows:,} rows checked", err=True)


async def _checked_blocks(
    settings: Settings, lookup: Lookup, layout: Layout, table: CsvReader
) -> AsyncIterator[Done]:
    """Check the rows of a table, on all cores where that is what bounds it."""
    blocks = table.blocks()
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
