"""Kill -9 of an import's server, of its worker and of its client: no row is lost or doubled.

`NAMESAKE_TEST_KILL_ROUNDS` sets the number of rounds, each of a server and a client that die.
"""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import grpc
import pytest

from namesake import v1
from tests.conftest import Server, StartServer, wait_until
from tests.server.client import Client, numbered, opening, person

ROUNDS = int(os.environ.get("NAMESAKE_TEST_KILL_ROUNDS", "2"))
ROWS = 12_000 * ROUNDS
BATCH_ROWS = 500
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Expected:
    """What is to come of a file."""

    created: int
    updated: int
    failed: list[tuple[str, str]]  # row and reason


def write(path: Path) -> Expected:
    """Write people: some without a name, some with a date that is none, some a second time."""
    lines = ["last name,email,stage,birth date"]
    failed: list[tuple[str, str]] = []
    known: set[int] = set()
    updated = 0
    for row in range(1, ROWS + 1):
        name, who, date = f"Name{row}", row, ""
        if row % 53 == 0:
            who = row - 1_500 if row % 2 else row - 1  # in a batch before, or in this one
        if row % 97 == 0:
            name = ""
            failed.append((str(row), "INVALID_ARGUMENT"))
        elif row % 101 == 0:
            date = "once"
            failed.append((str(row), "ROW_FORMAT"))
        else:
            updated += who in known
            known.add(who)
        lines.append(f"{name},p{who}@x.example,stage{row},{date}")
    path.write_text("\n".join(lines))
    return Expected(len(known), updated, failed)


class Importer:
    """A `namesake import` process."""

    def __init__(self, server: Server, source: Path, failures: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "service", "import", str(source), "--job-id", "job",
             "--failures", str(failures), "--json"],
            env={**os.environ, "NAMESAKE_SERVER": server.address},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._begun_rows = rows_of(server)

    def advance(self, server: Server, rows: int) -> None:
        """Wait until the job has so many rows, some of them by this process, or its end."""
        end_s = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            if rows_of(server) >= max(rows, self._begun_rows + 1):
                return
            assert time.monotonic() < end_s, "no progress"
            time.sleep(0.002)

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        self.process.communicate()


def worker_of(server: Server, client: Client) -> int:
    """Return which worker a client speaks with: the one without which it gets no answer."""
    for pid in server.workers():
        os.kill(pid, signal.SIGSTOP)
        fault = client.admin.GetStats.future(v1.GetStatsRequest(), timeout=1).exception()
        os.kill(pid, signal.SIGCONT)
        if fault is not None:
            return pid
    raise AssertionError("no worker answers")


def kill_worker(pid: int) -> None:
    """Kill one worker; until it is gone altogether it takes connections, and resets them."""
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists())


def rows_of(server: Server) -> int:
    """Return how many rows of the job are durable."""
    with server.channel() as channel:
        return sum(job.counts.rows for job in Client(channel).jobs())


def test_an_import_survives_the_death_of_either_side(
    start_server: StartServer, tmp_path: Path
) -> None:
    """Whoever died begins again; customers, counts and failures are as if nobody had.

    Batches are committed in parts, so that some are cut in the middle.
    """
    server = start_server(NAMESAKE_IMPORT_PART_ROWS="3")
    dice = random.Random(20_261_130)
    source, failures = tmp_path / "people.csv", tmp_path / "failed.csv"
    expected = write(source)
    victims = ["server", "client"] * ROUNDS
    dice.shuffle(victims)
    moments = sorted(dice.randrange(ROWS * 3 // 4) for _ in victims)
    importer = Importer(server, source, failures)
    struck = set()
    for victim, rows in zip(victims, moments, strict=True):
        importer.advance(server, rows)
        time.sleep(dice.random() / 20)
        if importer.process.poll() is None:
            struck.add(victim)
        if victim == "server":
            server.kill()
            server.start()
        else:
            importer.kill()
            importer = Importer(server, source, failures)
    assert struck == {"server", "client"}
    out, err = importer.process.communicate(timeout=PATIENCE_S)
    assert importer.process.returncode == 3, err
    check(server, expected, json.loads(out), failures)


def test_an_import_survives_the_death_of_its_workers(two_workers: Server, tmp_path: Path) -> None:
    """One after the other is killed: the client goes on with whichever is there."""
    source, failures = tmp_path / "people.csv", tmp_path / "failed.csv"
    expected = write(source)
    importer = Importer(two_workers, source, failures)
    for rows, pid in zip((ROWS // 5, ROWS // 2), two_workers.workers(), strict=True):
        importer.advance(two_workers, rows)
        assert importer.process.poll() is None
        kill_worker(pid)
    out, err = importer.process.communicate(timeout=PATIENCE_S)
    assert importer.process.returncode == 3, err
    check(two_workers, expected, json.loads(out), failures)


def test_another_worker_takes_over_the_job_of_a_killed_one(
    two_workers: Server, both: tuple[Client, Client]
) -> None:
    """It knows the job while it runs elsewhere, and goes on after the last durable batch."""
    mine, theirs = both
    batches = [
        [person(f"p{number}@x.example") for number in range(first, first + BATCH_ROWS)]
        for first in range(0, 5 * BATCH_ROWS, BATCH_ROWS)
    ]
    batches.append([person(f"p{number}@x.example", stage="won") for number in range(BATCH_ROWS)])
    given = SimpleQueue[v1.ImportCustomersRequest | None]()
    for request in (opening("job"), *numbered(batches[:2])):
        given.put(request)
    pid = worker_of(two_workers, mine)
    answers = mine.import_stream(iter(given.get, None))
    while next(answers).durable_batch < 2:
        pass
    assert theirs.job("job").state == v1.IMPORT_STATE_RUNNING
    given.put(next(numbered(batches[2:3], 3)))  # it may be durable when the worker dies
    kill_worker(pid)
    with pytest.raises(grpc.RpcError):
        list(answers)
    given.put(None)
    wait_until(lambda: theirs.job("job").state == v1.IMPORT_STATE_PAUSED)

    durable = theirs.job("job").durable_batch
    assert durable in (2, 3)
    rest = numbered(batches[durable:], durable + 1)
    end = v1.ImportCustomersRequest(end=v1.ImportEnd())
    told = list(theirs.import_stream([opening("job"), *rest, end]))
    assert (told[0].durable_batch, told[-1].durable_batch) == (durable, len(batches))
    job, stats = theirs.job("job"), theirs.stats()
    assert job.state == v1.IMPORT_STATE_DONE
    assert job.counts == v1.ImportCounts(
        rows=6 * BATCH_ROWS, created=5 * BATCH_ROWS, updated=BATCH_ROWS
    )
    assert (stats.customers, stats.sequence) == (5 * BATCH_ROWS, 6 * BATCH_ROWS)
    assert theirs.faults() == []


def check(server: Server, expected: Expected, summary: dict[str, object], failures: Path) -> None:
    """Compare the account, the job, what the command said and its file with what was expected."""
    with server.channel() as channel:
        client = Client(channel)
        job, stats = client.job("job"), client.stats()
        assert client.faults() == []
        kept = [(str(one.row), one.reason) for one in client.failures("job")]
    refused = [row for row, reason in expected.failed if reason == "ROW_FORMAT"]
    sent_bad = len(expected.failed) - len(refused)
    assert job.state == v1.IMPORT_STATE_DONE
    assert job.counts == v1.ImportCounts(
        rows=ROWS - len(refused), created=expected.created, updated=expected.updated,
        failed=sent_bad,
    )  # fmt: skip
    assert (stats.customers, stats.sequence) == (
        expected.created, expected.created + expected.updated
    )  # fmt: skip
    assert len(kept) == sent_bad
    assert summary["refused"] == len(refused)
    with failures.open(newline="") as stream:
        told = [(row["failure_row"], row["failure_reason"]) for row in csv.DictReader(stream)]
    assert told == expected.failed
