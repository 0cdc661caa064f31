"""The demo: starts the service, imports made-up customers, and shows what it found out.

    python -m demo.run            # ends by itself, leaves nothing behind
    KEEP=1 python -m demo.run     # leaves the service up until Ctrl-C

The name server is a closed port of this machine, so no domain can be looked up: what the DNS
would decide is UNKNOWN, and nothing waits for it longer than the deadline.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import grpc
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from demo.people import Person, people, to_customer
from namesake import v1

BATCH_ROWS = 500
BATCHES_IN_FLIGHT = 6
COUNT_ROWS = 1_000  # ids in one request
SAMPLES = 3
GROUPS = 100  # that the samples are of
START_S = 30
STOP_S = 30
LOG_LINES = 30
COMMAND = (sys.executable, "-m", "service")  # the `namesake` command of this environment

console = Console() if sys.stdout.isatty() else Console(width=110)


@dataclass(slots=True)
class Imported:
    """What the import said, added up."""

    counts: v1.ImportCounts = field(default_factory=v1.ImportCounts)
    findings: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def main() -> int:
    """Run the demo and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo.run", description=main.__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="namesake-demo-") as folder:
        log = Path(folder) / "server.log"
        try:
            with _server(Path(folder), log) as (address, process):
                _show(address, options.rows, options.seed)
                if os.environ.get("KEEP") == "1":
                    _keep(address, process)
        except KeyboardInterrupt:
            return 130
        except (grpc.RpcError, RuntimeError, subprocess.CalledProcessError) as error:
            _complain(error, log)
            return 1
    return 0


@contextmanager
def _server(folder: Path, log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the service on free ports of this machine; stop it in order at the end."""
    address, nowhere = f"127.0.0.1:{_free_port()}", f"127.0.0.1:{_free_port()}"
    command = [*COMMAND, "serve", "--data", str(folder / "data"), "--address", address]
    command += ["--dns-server", nowhere]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_until_ready(address, process)
            yield address, process
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    with grpc.insecure_channel(address) as channel:
        ready = grpc.channel_ready_future(channel)
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"the service ended with status {process.returncode}")
            try:
                ready.result(timeout=0.2)
            except grpc.FutureTimeoutError:
                continue
            return
    raise RuntimeError(f"the service was not ready within {START_S} s")


def _show(address: str, rows: int, seed: int) -> None:
    console.rule("[bold]Namesake: one customer, one card")
    with console.status("making people up"):
        persons = list(people(rows, seed))
    with grpc.insecure_channel(address) as channel:
        imported = _import(channel, persons)
        _show_import(imported)
        _show_validity(imported, v1.CHANNEL_EMAIL, "E-mails")
        _show_validity(imported, v1.CHANNEL_CALL, "Phones")
        _show_duplicates(channel, persons)
    _show_live(address, _known(persons))
    _show_groups(address)


def _import(channel: grpc.Channel, persons: Sequence[Person]) -> Imported:
    """Stream everybody through the import; a few batches are on their way at any time."""
    batches = list(_batches(persons))
    window = threading.Semaphore(BATCHES_IN_FLIGHT)

    def requests() -> Iterator[v1.ImportCustomersRequest]:
        # Every row is created, so that duplicates are there to be found.
        settings = v1.ImportSettings(job_id="demo", create_all=True, source="demo import")
        yield v1.ImportCustomersRequest(settings=settings)
        for batch in batches:
            window.acquire()
            yield v1.ImportCustomersRequest(batch=batch)

    result = Imported()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("importing", total=len(persons))
        begun = time.monotonic()
        for response in v1.TransferServiceStub(channel).ImportCustomers(requests()):
            if response.durable_batch:
                window.release()
            _add(result, response)
            progress.update(task, completed=int(response.counts.rows))
        result.seconds = time.monotonic() - begun
    if result.counts.rows != len(persons):
        raise RuntimeError("the import ended before every row was stored")
    return result


def _batches(persons: Sequence[Person]) -> Iterator[v1.ImportBatch]:
    customers = map(to_customer, persons)
    number = 0
    while batch := list(islice(customers, BATCH_ROWS)):
        number += 1
        yield v1.ImportBatch(number=number, customers=batch)


def _add(result: Imported, response: v1.ImportCustomersResponse) -> None:
    result.counts.CopyFrom(response.counts)
    for found in response.findings:
        result.findings[found.channel, found.verdict, found.reason] += int(found.count)
    for failure in response.failures:
        result.failures[f"{failure.field}: {failure.message}"] += 1


def _show_import(result: Imported) -> None:
    table = _table("Imported, each batch durable before it was acknowledged")
    for name in ("rows", "created", "failed", "seconds", "rows a second"):
        table.add_column(name, justify="right")
    counts, pace = result.counts, result.counts.rows / result.seconds
    figures = [f"{figure:,}" for figure in (counts.rows, counts.created, counts.failed)]
    table.add_row(*figures, f"{result.seconds:.1f}", f"[bold green]{pace:,.0f}")
    console.print(table)
    for reason, count in result.failures.most_common(5):
        console.print(Text(f"  {count:,} rows failed: {reason}"))


def _show_validity(result: Imported, channel: int, title: str) -> None:
    found = [(key, count) for key, count in result.findings.most_common() if key[0] == channel]
    total = sum(count for _, count in found)
    table = _table(f"{title}: {total:,} checked")
    table.add_column("verdict")
    table.add_column("reason")
    table.add_column("count", justify="right")
    table.add_column("share", justify="right")
    for (_, verdict, reason), count in found:
        name = v1.Verdict.Name(v1.Verdict.ValueType(verdict)).removeprefix("VERDICT_")
        why = v1.Reason.Name(v1.Reason.ValueType(reason)).removeprefix("REASON_")
        table.add_row(_coloured(name), why, f"{count:,}", f"{count / total:.1%}")
    console.print(table)


def _coloured(verdict: str) -> Text:
    colours = {"VALID": "green", "RISKY": "yellow", "INVALID": "red", "UNKNOWN": "cyan"}
    return Text(verdict, style=colours.get(verdict, ""))


def _show_duplicates(channel: grpc.Channel, persons: Sequence[Person]) -> None:
    stub = v1.DuplicateServiceStub(channel)
    ids = iter([person.id for person in persons])
    shared: list[v1.DuplicateCount] = []
    begun = time.monotonic()
    while page := list(islice(ids, COUNT_ROWS)):
        response = stub.CountDuplicates(v1.CountDuplicatesRequest(ids=page))
        shared += [count for count in response.counts if count.count]
    seconds = time.monotonic() - begun
    console.print(
        Text(
            f"\nExact duplicates: {len(shared):,} of {len(persons):,} customers share an e-mail or "
            f"phone with somebody else (counted in {seconds:.1f} s)"
        )
    )
    table = _table("For instance")
    for name in ("customer", "name", "shares", "with", "name there"):
        table.add_column(name, overflow="fold")
    names = {person.id: _name(person) for person in persons}
    for count in shared[:: max(1, len(shared) // SAMPLES)][:SAMPLES]:
        request = v1.ListDuplicatesRequest(id=count.id)
        for group in stub.ListDuplicates(request).groups:
            for other in (one for one in group.customers if not one.current):
                cells = (count.id, names[count.id], other.shared, other.id, other.display_name)
                table.add_row(*map(Text, cells))
    console.print(table)


def _name(person: Person) -> str:
    names = (person.first_name, person.middle_name, person.last_name)
    return person.company_name if person.company else " ".join(name for name in names if name)


def _known(persons: Sequence[Person]) -> Person:
    """Return somebody whose gmail address and mobile phone are there to be met again."""
    for person in (*persons[len(persons) // 3 :], *persons):
        mail = person.emails[0].value if person.emails else ""
        whole = person.last_name and person.phones and not (person.broken or person.duplicate)
        if whole and mail.endswith("@gmail.com") and not person.company:
            return person
    raise RuntimeError("nobody among these rows suits the demo; take more rows")


def _show_live(address: str, person: Person) -> None:
    """Save and look somebody up with the command that people use."""
    local, _, domain = person.emails[0].value.partition("@")
    console.print()
    console.rule("A card is saved: who is it?")
    _run(
        address, "save", "--first-name", person.latin[0], "--last-name", person.latin[1],
        "--email", f"{local}+demo@{domain}", "--email", "jo@gmial.con",
        "--mobile", person.phones[0].value, "--phone", "0123",
    )  # fmt: skip
    console.rule("Whose number is it?")
    _run(address, "resolve", person.phones[0].value)


def _show_groups(address: str) -> None:
    """Find who is there several times, also where nothing is the same."""
    console.print()
    console.rule("Who is there several times?")
    _run(address, "train")
    _run(address, "scan")
    with grpc.insecure_channel(address) as channel:
        request = v1.ListDuplicateGroupsRequest(page_size=GROUPS)
        found = v1.DuplicateServiceStub(channel).ListDuplicateGroups(request).groups
    table = _table("For instance")
    for name in ("probability", "customer", "name"):
        table.add_column(name)
    for group in found[:: max(1, len(found) // SAMPLES)][:SAMPLES]:
        for number, member in enumerate(group.members):
            shown = "" if number else f"{group.least_probability:.4f}"
            table.add_row(*map(Text, (shown, member.id, member.display_name)))
    console.print(table)


def _run(address: str, *arguments: str) -> None:
    """Run a `namesake` command and show it with its output."""
    console.print(Text(f"$ namesake {shlex.join(arguments)}", style="bold"), soft_wrap=True)
    sys.stdout.flush()
    environment = {**os.environ, "NAMESAKE_SERVER": address}
    subprocess.run([*COMMAND, *arguments], env=environment, check=True)


def _keep(address: str, process: subprocess.Popen[bytes]) -> None:
    """Leave the service up until somebody ends it."""
    console.rule(f"The service stays up at {address}; Ctrl-C ends it")
    for line in (
        f"export NAMESAKE_SERVER={address}",
        "namesake stats",
        "namesake get C-0000002",
        "namesake duplicates C-0000002",
        "namesake history C-0000002",
        "namesake groups",
        "namesake changes",
        "namesake export customers.csv",
    ):
        console.print(Text(f"  {line}"))
    sys.stdout.flush()
    try:
        status = process.wait()
    except KeyboardInterrupt:
        return
    if status:
        raise RuntimeError(f"the service ended with status {status}")


def _complain(error: Exception, log: Path) -> None:
    reason = error.details() if isinstance(error, grpc.RpcError) else error
    console.print(Text(f"The demo failed: {reason}", style="bold red"))
    lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    for line in lines[-LOG_LINES:]:
        console.print(Text(f"  server: {line}"))


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold")


if __name__ == "__main__":
    sys.exit(main())
