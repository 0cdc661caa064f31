"""Backups and verifications at once: how many are let in, and what becomes of their readers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import grpc

from namesake import v1
from tests.conftest import Server, StartServer, wait_until
from tests.server.client import Client, Refusal, person, refusal
from tests.server.test_backup import back_up, reader_table, snapshots, store_large
from tests.server.test_operation import UNAVAILABLE, connected

LIMIT = 4  # as set by default
REFUSED = (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")


def begun(client: Client) -> tuple[int, Iterator[v1.BackUpResponse]]:
    """Begin a backup and stop reading it; return about how many bytes are left, and them."""
    stream = back_up(client)
    total = next(stream).total_bytes
    return total - len(next(stream).chunk), stream


def verify(client: Client) -> Iterator[v1.VerifyResponse]:
    """Open a verification."""
    answers: Iterator[v1.VerifyResponse] = client.call(client.admin.Verify, v1.VerifyRequest())
    return answers


def test_backups_beyond_the_limit_are_refused_and_hold_up_nobody(
    start_server: StartServer,
) -> None:
    """Those that were let in are whole, however long their readers waited for each other."""
    with connected(start_server()) as client:
        store_large(client)
        streams = [begun(client) for _ in range(LIMIT)]
        for scan in (back_up, verify):
            refused = refusal(lambda: list(scan(client)))  # noqa: B023
            assert (refused.code, refused.reason) == REFUSED
        client.save(person(id="meanwhile"))
        for rest, stream in streams:
            assert sum(len(answer.chunk) for answer in stream) >= 0.9 * rest
        assert client.faults() == []


def test_as_many_backups_as_the_operator_likes(start_server: StartServer) -> None:
    """More of them than the threads that a process has for everything else."""
    many = min(32, (os.cpu_count() or 1) + 4) + 4  # see ThreadPoolExecutor
    with connected(start_server(NAMESAKE_CONCURRENT_SCANS=str(many + 1))) as client:
        store_large(client)
        streams = [begun(client) for _ in range(many)]
        assert client.faults() == []
        for rest, stream in reversed(streams):
            assert sum(len(answer.chunk) for answer in stream) >= 0.9 * rest


def test_readers_that_stall_do_not_keep_others_out(start_server: StartServer) -> None:
    """Their places are free again although they are still there."""
    with connected(start_server(NAMESAKE_STREAM_STALL_S="1")) as client:
        store_large(client)
        streams = [begun(client)[1] for _ in range(LIMIT)]
        wait_until(lambda: all_places_are_free(client))
        for stream in streams:
            assert refusal(lambda: list(stream)).reason == "READER_STALLED"  # noqa: B023


def all_places_are_free(client: Client) -> bool:
    """Try as many backups as are let in; tell whether they were."""
    tried = [back_up(client) for _ in range(LIMIT)]
    try:
        return all(next(stream).total_bytes for stream in tried)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017
        return False
    finally:
        for stream in tried:
            stream.cancel()


def can_verify(client: Client) -> bool:
    """Try a verification; tell whether it was let in."""
    try:
        return list(verify(client))[-1].done
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017
        return False


def test_readers_that_leave_give_their_places_back_and_spoil_no_log(
    start_server: StartServer,
) -> None:
    """The log remains one JSON object a line: no traceback of what was cut off."""
    server = start_server()
    with connected(server) as client, reader_table(server) as table:
        store_large(client)
        for _ in range(2):
            for _, stream in [begun(client) for _ in range(LIMIT)]:
                stream.cancel()  # type: ignore[attr-defined]
            wait_until(lambda: snapshots(table) == 0)
            wait_until(lambda: can_verify(client))
    assert server.stop() == 0
    assert [json.loads(line)["event"] for line in server.log().splitlines()] == [
        "serving", "draining", "stopped",
    ]  # fmt: skip


def test_a_backup_is_told_that_the_server_stops(start_server: StartServer) -> None:
    """With a reason, and without waiting for a reader that is slow to take it all."""
    server = start_server()
    with connected(server) as client:
        store_large(client)
        _, stream = begun(client)
        refused = stopped(server, stream)
        assert (refused.code, refused.reason) == (UNAVAILABLE, "SHUTTING_DOWN")
        assert server.stop(timeout_s=15) == 0


def test_a_verification_is_told_that_the_server_stops(start_server: StartServer) -> None:
    """With a reason, before it comes to its end."""
    server = start_server()
    with connected(server) as client:
        rows = [person(f"p{n}@x.example", f"+44161{n:07}") for n in range(40_000)]
        client.import_all("job", *(rows[n : n + 5_000] for n in range(0, len(rows), 5_000)))
        stream = verify(client)
        next(stream)
        refused = stopped(server, stream)
        assert (refused.code, refused.reason) == (UNAVAILABLE, "SHUTTING_DOWN")
        assert server.stop(timeout_s=15) == 0


def stopped(server: Server, stream: Iterator[object]) -> Refusal:
    """End the server; return what a stream says that is under way."""
    assert server.process is not None
    server.process.terminate()
    return refusal(lambda: list(stream))
