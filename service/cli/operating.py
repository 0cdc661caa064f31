"""Commands for operators: serve, stats, backup, verify, compact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from namesake import v1
from service.cli import show
from service.cli.checking import DnsServerOption, settings_of
from service.cli.link import REFUSED, USAGE, JsonOption, Link, complain, remote, reported
from service.errors import InvalidArgument, NamesakeError
from service.transfer.files import STANDARD_STREAM, whole

DATA_FILE = "data.mdb"  # what a restored account folder has to hold
VERDICTS = "verdicts"  # the folder of a cache: no account has this name


def serve(
    data: Annotated[Path | None, typer.Option(help="Folder that holds everything.")] = None,
    address: Annotated[str | None, typer.Option(help="host:port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes over the folder.")] = None,
    default_region: Annotated[
        str | None, typer.Option(help="Country of phones without a country code.")
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option("--tls-cert", help="PEM chain; TLS is on when given.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM private key.")] = None,
    accounts: Annotated[Path | None, typer.Option(help="TOML of accounts and credentials.")] = None,
    redis: Annotated[str | None, typer.Option(help="redis:// URL of a shared DNS cache.")] = None,
    dns_server: DnsServerOption = None,
    metrics_address: Annotated[
        str | None, typer.Option(help="host:port of the Prometheus page.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the service until it is stopped (Ctrl-C or SIGTERM: it drains first).

    Every setting may also come from the environment (NAMESAKE_DATA, NAMESAKE_WORKERS …); further
    ones, such as limits and deadlines, only from there.

    Examples:
      namesake serve --data /var/lib/namesake --default-region DE
      namesake serve --address 0.0.0.0:7400 --tls-cert cert.pem --tls-key key.pem
          --accounts accounts.toml --workers 4
    """
    flags = {
        "data": data,
        "address": address,
        "workers": workers,
        "default_region": default_region,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
        "accounts": accounts,
        "redis": redis,
        "dns_servers": tuple(dns_server) if dns_server else None,
        "metrics_address": metrics_address,
    }
    settings = settings_of({name: value for name, value in flags.items() if value is not None})
    with reported():
        from service.server.app import run  # loaded here: no other command needs the server

        try:
            status = run(settings, as_json=as_json)
        except InvalidArgument as error:
            flag = {"dns_servers": "dns-server"}.get(error.field, error.field.replace("_", "-"))
            complain(f"--{flag}: {error.message}")
            raise typer.Exit(USAGE) from None
    raise typer.Exit(status)


@remote
def stats(link: Link) -> None:
    """Show how much is stored and how the caches do.

    Examples:
      namesake stats --json
    """
    response = link.call(v1.AdminServiceStub(link.channel).GetStats, v1.GetStatsRequest())
    if link.as_json:
        show.json_line(response)
        return
    facts = [
        ("account", response.account),
        ("customers", f"{response.customers:,}"),
        ("last change", f"{response.sequence:,}"),
        ("e-mails awaiting DNS", f"{response.pending_emails:,}"),
        ("file", f"{response.file_bytes:,} bytes"),
        ("release", f"{response.version} (format {response.format_version})"),
        ("since", response.start_time.ToDatetime().isoformat(" ", "seconds")),
    ]
    show.table("Account", ("", "value"), facts)
    tables = [(t.name, f"{t.entries:,}", f"{t.bytes:,}") for t in response.tables]
    show.table("Sub-databases", ("name", "entries", "bytes"), tables)
    counters = [(name, f"{response.counters[name]:,}") for name in sorted(response.counters)]
    if counters:
        show.table("Since the worker started", ("counter", "value"), counters)


@remote
def backup(
    link: Link,
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="File, or folder for a data.mdb.")
    ],
) -> None:
    """Copy the account's index while it is in use; the copy is consistent.

    It appears when it is whole. To restore, put it as data.mdb into an empty account folder.

    Examples:
      namesake backup /backups/namesake-$(date +%F).mdb
    """
    target = destination
    if Path(destination).is_dir():
        target = str(Path(destination) / DATA_FILE)
    stub = v1.AdminServiceStub(link.channel)
    written = 0
    with whole(target) as stream, show.progress("backing up", "bytes") as bar:
        task = bar.add_task("", total=None, done=0)
        for response in link.stream(stub.BackUp, v1.BackUpRequest()):
            stream.write(response.chunk)
            written += len(response.chunk)
            bar.update(task, completed=written, done=written)
            if response.total_bytes:
                bar.update(task, total=response.total_bytes)
        if not written:
            raise NamesakeError("The server sent no data")
    if link.as_json and target != STANDARD_STREAM:
        show.json_line({"file": target, "bytes": written})
    else:
        typer.echo(f"{target}: {written:,} bytes", err=True)


def compact(
    data: Annotated[Path | None, typer.Option(help="Folder that holds everything.")] = None,
    account: Annotated[str, typer.Option(help="Only this one's index.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Rewrite the index files of a stopped service without their free pages.

    What was deleted stays in free pages until they are used again: this makes it unreadable, and
    gives the room back. It takes room for a second file meanwhile; a crash leaves the file as it
    was. Backups have no free pages, with or without it.

    Examples:
      namesake compact --data /var/lib/namesake
    """
    folder = settings_of({"data": data} if data else {}).data
    with reported():
        from service.index.copying import compact as compacted

        found = sorted(file.parent for file in folder.glob(f"{account or '*'}/{DATA_FILE}"))
        indexes = [one for one in found if one.name != VERDICTS]
        if not indexes:
            raise NamesakeError(f"there is no index in {folder}")
        for one in indexes:
            before, after = compacted(one)
            if as_json:
                show.json_line({"account": one.name, "before_bytes": before, "bytes": after})
            else:
                typer.echo(f"{one.name}: {before:,} bytes, now {after:,}")


@remote
def verify(link: Link) -> None:
    """Compare the index with the records; exit status 1 where they differ.

    Examples:
      namesake verify
    """
    stub = v1.AdminServiceStub(link.channel)
    faults: list[v1.VerifyFault] = []
    entries: dict[str, int] = {}
    last = v1.VerifyResponse()
    with show.progress("verifying", "entries") as bar:
        task = bar.add_task("", total=None, done=0)
        for last in link.stream(stub.Verify, v1.VerifyRequest()):
            faults += last.faults
            if last.table:
                entries[last.table] = int(last.checked)
            done = sum(entries.values())
            bar.update(task, total=last.total or None, completed=last.checked, done=done)
    if not last.done:
        raise NamesakeError("The server ended the verification early")
    _show_faults(link, faults, int(last.fault_count), sum(entries.values()))
    if last.fault_count:
        raise typer.Exit(REFUSED)


def _show_faults(link: Link, faults: list[v1.VerifyFault], count: int, checked: int) -> None:
    if link.as_json:
        for fault in faults:
            show.json_line(fault)
        show.json_line({"checked": checked, "faults": count})
        return
    if faults:
        rows = [(f.table, str(f.row or ""), str(f.sequence or ""), f.message) for f in faults]
        show.table("Faults", ("table", "row", "change", "what is wrong"), rows)
    show.text(f"{checked:,} entries checked, {count:,} faults")
