"""Backups: readers that stay or go away, and a restore that several workers serve."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import lmdb

from namesake import v1
from tests.conftest import Server, StartServer, wait_until
from tests.server.client import Client, person, refusal
from tests.server.test_operation import connected

LARGE_ROWS = 3_000  # of some 10 kB: far more than the transport takes ahead of its reader


def store_large(client: Client) -> None:
    """Fill the index with more than fits between a server and its reader."""
    rows = [person(id=f"c{number}", comment="x" * 9_900) for number in range(LARGE_ROWS)]
    client.import_all(
        "large", *(rows[start : start + 1_000] for start in range(0, len(rows), 1_000))
    )


def back_up(client: Client) -> Any:
    """Open a backup."""
    return client.call(client.admin.BackUp, v1.BackUpRequest())


@contextmanager
def reader_table(server: Server) -> Iterator[lmdb.Environment]:
    """Open the server's index as another process would, to look at who reads it."""
    folder = server.data / "default"
    with lmdb.open(str(folder), readonly=True, create=False, max_readers=4_096) as environment:
        yield environment


def snapshots(environment: lmdb.Environment) -> int:
    """Count the snapshots that somebody holds; a slot that waits for use has "-" in its place."""
    rows = [line.split() for line in environment.readers().splitlines()[1:]]
    return sum(len(row) == 3 and row[2] != "-" for row in rows)


def copying(server: Server) -> bool:
    """Tell whether a process of the server makes a copy, or has one to send."""
    assert server.process is not None
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    threads = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    pids = {pid for thread in (children, *threads) for pid in said(thread).split()}
    return any("copying" in said(Path(f"/proc/{pid}/cmdline")) for pid in pids)


def said(path: Path) -> str:
    """Return what is said of a process or thread, "" if it has ended."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_a_reader_that_stops_reading_a_backup_is_let_go(start_server: StartServer) -> None:
    """It holds no snapshot, and hears READER_STALLED; the next backup is whole."""
    server = start_server(NAMESAKE_STREAM_STALL_S="2")
    with connected(server) as client:
        store_large(client)
        with reader_table(server) as table:
            stream = back_up(client)
            total = next(stream).total_bytes
            taken = [next(stream).chunk]
            assert snapshots(table) == 0
            assert copying(server)
            wait_until(lambda: not copying(server))
        refused = refusal(lambda: taken.extend(answer.chunk for answer in stream))
        assert (refused.code, refused.reason) == (
            grpc.StatusCode.DEADLINE_EXCEEDED, "READER_STALLED",
        )  # fmt: skip
        assert sum(map(len, taken)) < total
        client.save(person(id="after"))
        whole = sum(len(answer.chunk) for answer in back_up(client))
        assert sum(map(len, taken)) < whole <= total
    assert server.stop() == 0
    assert "Traceback" not in server.log()


def test_a_reader_that_goes_away_is_let_go_at_once(start_server: StartServer) -> None:
    """Without waiting for the stall limit, and the server stops without waiting for it either."""
    server = start_server(NAMESAKE_STREAM_STALL_S="3600")
    with connected(server) as client:
        store_large(client)
        with reader_table(server) as table:
            for number in range(6):
                stream = back_up(client)
                next(stream)
                if number % 2:
                    next(stream)
                wait_until(lambda: copying(server))
                stream.cancel()
                wait_until(lambda: not copying(server) and snapshots(table) == 0)
        assert client.faults() == []
    assert server.stop(timeout_s=15) == 0  # the grace for running calls is 20 s
    assert "Traceback" not in server.log()


def test_a_backup_is_restored_and_served_by_several_workers(start_server: StartServer) -> None:
    """As the operators' manual says it: each worker has the rows of the backup and no later one."""
    server = start_server()
    with connected(server) as client:
        rows = [person(f"p{n}@x.example", "+442079460018", id=f"p{n}") for n in range(3_000)]
        client.import_all("job", rows)
        client.delete("p7")
        original = {c.id: c for answer in client.export() for c in answer.customers}
        copy = b"".join(answer.chunk for answer in back_up(client))
        client.save(person("later@x.example", id="later"))
        client.delete("p8")
    assert server.stop() == 0
    shutil.rmtree(server.data / "default")
    (server.data / "default").mkdir()
    (server.data / "default" / "data.mdb").write_bytes(copy)

    restored = start_server("--workers", "2", data=server.data)
    with each_worker(restored, 2) as workers:
        for client in workers:
            stored = {c.id: c for answer in client.export() for c in answer.customers}
            assert stored == original
            assert client.stats().sequence == 3_001
            assert client.faults() == []
            assert client.holders("email", "later@x.example") == []
            (job,) = client.import_all("job")
            assert (job.durable_batch, job.counts.created) == (1, 3_000)
        save_at_once(workers)
        for client in workers:
            assert client.stats().customers == len(original) + 2 * SAVES
            assert client.stats().sequence == 3_001 + 3 * SAVES
            assert client.faults() == []
        assert refusal(lambda: workers[1].save(person(id="p7"))).reason == "CUSTOMER_DELETED"
    assert restored.stop() == 0


SAVES = 50  # by each of two workers; as many more meet a restored customer


def save_at_once(workers: list[Client]) -> None:
    """Save new customers through both workers at a time, and have one attach to restored ones."""

    def save(number: int, client: Client) -> None:
        for n in range(SAVES):
            client.save(person(id=f"new{number}-{n}"))
            if number == 0:
                card = person(f"p{n + 10}@x.example", f"+44161496{n:04}")
                saved = client.save(card, on_duplicate=v1.ON_DUPLICATE_ATTACH)
                attached.append(saved.customer.id)

    attached: list[str] = []
    threads = [threading.Thread(target=save, args=given) for given in enumerate(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert attached == [f"p{n + 10}" for n in range(SAVES)]


@contextmanager
def each_worker(server: Server, count: int) -> Iterator[list[Client]]:
    """Yield a caller of each worker: a connection stays with the one that took it."""
    with ExitStack() as stack:
        found: dict[int, Client] = {}

        def connect() -> bool:
            client = stack.enter_context(connected(server))
            found.setdefault(client.stats().start_time.ToMicroseconds(), client)
            return len(found) == count

        wait_until(connect)
        yield list(found.values())


def test_backups_and_transactions_that_are_given_up_do_not_wait_for_each_other(
    start_server: StartServer,
) -> None:
    """Dry runs, unchanged cards and refusals, while copies begin and are cancelled."""
    server = start_server()
    with connected(server) as client:
        store_large(client)
        client.save(person("same@x.example", id="same"))
        for _ in range(30):
            streams = [back_up(client) for _ in range(3)]
            client.save(person("same@x.example", id="same"))
            client.save(person(), validate_only=True)
            rejected = {"on_duplicate": v1.ON_DUPLICATE_REJECT}
            assert refusal(lambda: client.save(person("same@x.example"), **rejected)).reason  # noqa: B023
            for stream in streams:
                stream.cancel()
        assert client.faults() == []
    assert server.stop() == 0
