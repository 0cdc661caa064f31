"""Kill -9 at any moment: what was acknowledged is there exactly once, and jobs go on.

`NAMESAKE_TEST_CRASH_ROUNDS` sets the number of rounds.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator

import grpc
import pytest

from namesake import v1
from tests.conftest import Server, StartServer
from tests.server.client import Client, numbered, opening, person

ROUNDS = int(os.environ.get("NAMESAKE_TEST_CRASH_ROUNDS", "3"))
BATCHES, BATCH_ROWS = 60, 50
SAVERS = 4
GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def cut_power(server: Server) -> None:
    """Kill the server, its supervisor first so that no worker is started again."""
    assert server.process is not None
    pids = [server.process.pid, *server.workers()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    server.process.wait()


class Saver(threading.Thread):
    """Saves new customers and notes which were acknowledged, until the server is gone."""

    def __init__(self, server: Server, name: str) -> None:
        super().__init__()
        self._server = server
        self._prefix = name
        self.acknowledged: dict[str, str] = {}  # id → stage
        self.sent = 0

    def run(self) -> None:
        """Create, then change every third one."""
        with self._server.channel() as channel:
            client = Client(channel)
            try:
                while True:
                    self._save(client)
            except grpc.RpcError as error:
                if error.code() not in GONE:
                    raise

    def _save(self, client: Client) -> None:
        id = f"{self._prefix}-{self.sent}"
        self.sent += 1
        client.save(person(f"{id}@x.example", id=id), request_id=f"r{id}")
        self.acknowledged[id] = ""
        if self.sent % 3 == 0:
            client.update(v1.Customer(id=id, stage="changed"), "stage")
            self.acknowledged[id] = "changed"


class Importer(threading.Thread):
    """Imports one job until it is done or the server is gone; notes what is acknowledged."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server
        self.last = v1.ImportCustomersResponse()

    def run(self) -> None:
        """Send what is not yet durable."""
        with self._server.channel() as channel:
            try:
                for answer in Client(channel).import_stream(job(self.last.durable_batch)):
                    self.last = answer
            except grpc.RpcError as error:
                if error.code() not in GONE:
                    raise


def job(after: int) -> Iterator[v1.ImportCustomersRequest]:
    """Yield the job's messages after a batch: rows that create, and one that fails per batch."""
    yield opening("job")
    for number in range(after + 1, BATCHES + 1):
        first = (number - 1) * BATCH_ROWS
        rows = [
            person(f"i{row}@x.example", id=f"i{row}") for row in range(first, first + BATCH_ROWS)
        ]
        rows[number % BATCH_ROWS].last_name = ""
        yield from numbered([rows], number)


@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_kill_9_loses_nothing_acknowledged(
    start_server: StartServer, flags: tuple[str, ...]
) -> None:
    """Rounds of an import and parallel saves over one folder, each ended by a kill."""
    dice = random.Random(20_260_101)
    server = start_server(*flags)
    savers: list[Saver] = []
    importer = Importer(server)
    for round in range(ROUNDS):
        acknowledged = importer.last
        importer = Importer(server)
        importer.last = acknowledged
        started = [Saver(server, f"s{round}-{number}") for number in range(SAVERS)]
        savers += started
        for thread in (importer, *started):
            thread.start()
        time.sleep(0.1 + dice.random() * 0.5)
        cut_power(server)
        for thread in (importer, *started):
            thread.join(30)
            assert not thread.is_alive()
        server.start()
        check_after_crash(server, savers, importer.last)
    assert sum(len(saver.acknowledged) for saver in savers) > 10
    finish(server, savers)


def check_after_crash(
    server: Server, savers: list[Saver], last: v1.ImportCustomersResponse
) -> None:
    """Everything acknowledged is there, once, and the index is sound."""
    with server.channel() as channel:
        client = Client(channel)
        assert client.faults() == []
        found = [card for answer in client.export() for card in answer.customers]
        stages = {card.id: card.stage for card in found}
        assert len(stages) == len(found)
        for saver in savers:
            for id, stage in saver.acknowledged.items():
                assert stages[id] in (stage, "changed")
        imported = {id for id in stages if id.startswith("i")}
        (standing,) = client.import_all("job")
        assert standing.durable_batch >= last.durable_batch
        assert imported == imported_ids(standing.durable_batch)
        assert standing.counts.created == len(imported)
        assert standing.counts.rows == standing.durable_batch * BATCH_ROWS
        sequences = [change.change.sequence for change in client.feed()]
        assert sequences == list(range(1, len(sequences) + 1))


def imported_ids(batches: int) -> set[str]:
    """Return the ids that so many batches create."""
    return {
        f"i{row}"
        for row in range(batches * BATCH_ROWS)
        if row % BATCH_ROWS != (row // BATCH_ROWS + 1) % BATCH_ROWS
    }


def finish(server: Server, savers: list[Saver]) -> None:
    """The job ends with exact counts, sent from its start; retried saves are the first ones."""
    with server.channel() as channel:
        client = Client(channel)
        *_, end = client.import_stream(job(0))
        assert (end.durable_batch, end.counts.rows) == (BATCHES, BATCHES * BATCH_ROWS)
        assert (end.counts.created, end.counts.failed) == (BATCHES * (BATCH_ROWS - 1), BATCHES)
        assert (end.counts.updated, end.counts.unchanged) == (0, 0)
        for saver in savers:
            for id in list(saver.acknowledged)[:3]:
                before = client.stats().sequence
                again = client.save(person(f"{id}@x.example", id=id), request_id=f"r{id}")
                assert again.outcome == v1.SAVE_OUTCOME_CREATED
                assert client.stats().sequence == before
        assert client.faults() == []
    assert server.stop() == 0
