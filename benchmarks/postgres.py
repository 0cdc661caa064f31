"""PostgreSQL as what a user has otherwise: COPY into a table with three unique indexes.

A cluster of its own in a temporary folder, reached through a socket there, with room for a bulk
load (`_SETTINGS`) and otherwise as it comes: commits are durable. The table has the columns of
`benchmarks.cards`, whose phones are written in normal form for it; the id is drawn by the database.
Nothing is checked but that ids, e-mails and phones are unique; a row that is not would end the
COPY. There is no history, no feed of changes, no match key and nothing that finds similar people.

Where the server is not installed (`benchmarks/services.sh` installs it), or may not be started, the
tables say so.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks import cards

USER = "postgres"
NOT_HAD = "not to be had"  # in tables
BATCH_ROWS = 1_000
START_S = 30.0
COLUMNS = ("kind", "first_name", "last_name", "email", "phone")

_HOMES = "/usr/lib/postgresql"  # where Debian has the programs, by version
_SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "listen_addresses": "",
    "logging_collector": "off",
    "client_min_messages": "warning",
}
_TABLE = """
drop table if exists customers;
create table customers (
    id uuid primary key default gen_random_uuid(),
    kind text not null,
    first_name text not null,
    last_name text not null,
    email text not null unique,
    phone text not null unique
);
checkpoint;
"""
_COPY = f"copy customers ({', '.join(COLUMNS)}) from stdin (format csv)"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running server."""

    folder: Path
    programs: Path

    @contextmanager
    def running(self) -> Iterator[bool]:
        """Make the cluster and run its server; tell whether that went well.

        The server is a child of this process, so that its processor time counts as ours.
        """
        settings = {**_SETTINGS, "unix_socket_directories": str(self.folder)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        try:
            if os.geteuid() == 0:
                shutil.chown(self.folder, USER)
            made = self._begin("initdb", "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C")
            if made.wait():
                yield False
                return
            server = self._begin("postgres", *options)
        except OSError:
            yield False
            return
        try:
            yield self._waits_for(server)
        finally:
            self._begin("pg_ctl", "stop", "-w", "-m", "fast").wait()
            server.wait()

    def _waits_for(self, server: subprocess.Popen[bytes]) -> bool:
        """Wait until the server takes calls; False if it ends or does not come."""
        end = time.monotonic() + START_S
        while server.poll() is None and time.monotonic() < end:
            command = [str(self.programs / "pg_isready"), "-q", "-h", str(self.folder)]
            if not subprocess.run(command, check=False).returncode:
                return True
            time.sleep(0.1)
        return False

    def begin(self) -> None:
        """Make the table anew, empty."""
        self._run("-c", _TABLE)

    def copy(self, table: Path) -> float:
        """Copy a file of CSV in one command; return the seconds."""
        return self._run("-c", f"\\{_COPY.replace('stdin', repr(str(table)))}")

    def run(self, script: Path) -> float:
        """Run a script of commands, each a transaction of its own; return the seconds."""
        return self._run("-f", str(script))

    def copy_out(self, table: Path) -> float:
        """Copy all customers to a file of CSV; return the seconds."""
        return self._run("-c", f"\\copy customers to '{table}' (format csv)")

    def version(self) -> str:
        """Return the server's version, without who packed it."""
        return self._ask("show server_version").split()[0]

    def size(self) -> int:
        """Return the bytes of the table and its indexes."""
        return int(self._ask("select pg_total_relation_size('customers')"))

    def count(self) -> int:
        """Return how many customers there are."""
        return int(self._ask("select count(*) from customers"))

    def _begin(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a program of the server's, which refuses to run as root; say nothing of its own."""
        prefix = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
        return subprocess.Popen(
            [*prefix, str(self.programs / program), *arguments],
            cwd="/",  # which that user may see
            env={**os.environ, "PGDATA": str(self.folder / "data")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _run(self, *arguments: str) -> float:
        started = time.perf_counter()
        self._psql(*arguments)
        return time.perf_counter() - started

    def _ask(self, query: str) -> str:
        return self._psql("-A", "-t", "-c", query)

    def _psql(self, *arguments: str) -> str:
        command: list[str | Path] = [
            self.programs / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1",
            "-h", self.folder, "-U", USER, "-d", "postgres", *arguments,
        ]  # fmt: skip
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()


def write_table(file: Path, customers: range) -> None:
    """Write customers as CSV, for one command."""
    with file.open("w", encoding="utf-8") as table:
        table.writelines(map(_line, customers))


def write_script(file: Path, customers: range) -> None:
    """Write a script that copies customers batch by batch, each committed."""
    numbers = iter(customers)
    with file.open("w", encoding="utf-8") as script:
        while some := list(islice(numbers, BATCH_ROWS)):
            script.write(f"{_COPY};\n")
            script.writelines(map(_line, some))
            script.write("\\.\n")


def _line(number: int) -> str:
    one = cards.customer(number)
    phone = cards.phone(number).replace(" ", "")
    # None of these has a comma or a quote.
    return f"person,{one.first_name},{one.last_name},{one.emails[0].value},{phone}\n"


@contextmanager
def cluster() -> Iterator[Cluster | None]:
    """Run a cluster of its own; None where that cannot be had on this machine."""
    programs = _programs()
    if programs is None or (os.geteuid() == 0 and not _has_user()):
        yield None
        return
    # Not in the folder of the benchmarks, which is for its owner alone.
    with tempfile.TemporaryDirectory(prefix="namesake-postgres-") as temporary:
        made = Cluster(Path(temporary), programs)
        with made.running() as is_running:
            yield made if is_running else None


def _programs() -> Path | None:
    """Return the folder of the programs, of the newest version that is there."""
    homes = sorted(Path(_HOMES).glob("*/bin/initdb"), key=lambda path: path.parts[-3])
    if homes:
        return homes[-1].parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def _has_user() -> bool:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True
