"""Long work: followed, cancelled, interrupted, remembered, by whichever worker is asked."""

from __future__ import annotations

import base64
import os
import signal
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc

from namesake import v1
from tests.conftest import Server, StartServer, wait_until
from tests.server.client import Client, person, refusal
from tests.server.long_work import (
    CANCELLED,
    INTERRUPTED,
    Work,
    failure,
    held,
    is_gone,
    processes,
)

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


@pytest.fixture
def work(own: Client) -> Work:
    """Operations of a server that only this test has, with a few customers."""
    fill(own)
    return Work(own)


def fill(client: Client) -> None:
    """Save some customers."""
    for number in range(4):
        client.save(person(f"p{number % 2}@x.example", last_name=f"Name{number % 2}"))


def left_over(folder: Path) -> set[str]:
    """Return what is in an account's folder besides the index."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    return found - {"data.mdb", "lock.mdb", "operations"}


def test_an_operation_is_told_while_it_runs_and_remembered_when_it_is_done(
    own: Client, server: Server, work: Work
) -> None:
    """Get, list and wait say the same of it; what it holds goes with it."""
    with held(server, work) as (name, _):
        under_way = work.get(name)
        metadata = v1.ScanMetadata()
        assert under_way.metadata.Unpack(metadata)
        assert not under_way.done
        assert metadata.HasField("start_time")
        assert not metadata.HasField("end_time")
        assert [one.name for one in work.page().operations] == [name]
        assert not work.wait(name, Duration()).done  # as it is when the time is up
        own.save(person(id="meanwhile"))
    done = work.wait(name)
    assert done.done
    assert done.metadata.Unpack(metadata)
    assert (metadata.step, metadata.share) == ("writing", 1.0)
    assert metadata.customers in (4, 5)  # it may have been held before it read any
    assert metadata.start_time.ToNanoseconds() < metadata.end_time.ToNanoseconds()
    assert work.get(name) == done
    assert list(work.page().operations) == [done]
    assert left_over(server.data / "default") == set()


def test_a_cancelled_operation_ends_with_its_process(
    own: Client, server: Server, work: Work
) -> None:
    """Even if that does nothing any more; another may begin then."""
    with held(server, work) as (name, pid):
        work.cancel(name)
        assert failure(work.wait(name)) == CANCELLED
        wait_until(lambda: is_gone(pid))
    assert left_over(server.data / "default") == set()
    work.cancel(name)  # what is done stays as it is
    assert failure(work.get(name)) == CANCELLED
    assert work.scanned().customers == 4
    assert own.faults() == []


def test_what_is_done_can_be_deleted(server: Server, work: Work) -> None:
    """What is under way has to be cancelled first."""
    with held(server, work) as (name, _):
        refused = refusal(lambda: work.delete(name))
        assert refused.short == (
            grpc.StatusCode.FAILED_PRECONDITION, "OPERATION_UNDER_WAY", "name"
        )  # fmt: skip
    work.wait(name)
    work.delete(name)
    for call in (work.get, work.wait, work.cancel, work.delete):
        assert refusal(lambda: call(name)).short == (NOT_FOUND, "NOT_FOUND", "name")  # noqa: B023
    assert not work.page().operations
    assert work.groups()  # of the scan, which was not undone


def test_few_are_let_in_at_once(server: Server, work: Work) -> None:
    """The next one, when one of them has ended."""
    with held(server, work, "train") as (first, _), held(server, work, "train"):
        refused = refusal(work.train)
        assert (refused.code, refused.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED"
        )  # fmt: skip
        work.cancel(first)
        work.wait(first)
        assert work.trained().customers == 4


def test_the_oldest_that_are_done_are_forgotten(start_server: StartServer) -> None:
    """As many as the settings say remain, and are listed by page."""
    server = start_server(NAMESAKE_OPERATIONS_KEPT="3")
    with server.channel() as channel:
        work = Work(Client(channel))
        names = [work.wait(work.train()).name for _ in range(5)]
        assert [one.name for one in work.page().operations] == names[-3:]
        first = work.page(page_size=2)
        assert [one.name for one in first.operations] == names[-3:-1]
        rest = work.page(page_size=2, page_token=first.next_page_token)
        assert [one.name for one in rest.operations] == names[-1:]
        assert not rest.next_page_token


def test_a_killed_server_finds_its_work_interrupted(server: Server) -> None:
    """The process that did it is gone, nothing is left of it, and it can begin anew."""
    with server.channel() as channel:
        fill(Client(channel))
        with held(server, Work(Client(channel))) as (name, pid):
            server.kill()
        wait_until(lambda: is_gone(pid))
    server.start()
    with server.channel() as channel:
        work = Work(Client(channel))
        assert failure(work.get(name)) == INTERRUPTED
        assert left_over(server.data / "default") == set()
        assert work.scanned().customers == 4
        assert Client(channel).faults() == []


def test_a_stopping_server_interrupts_its_work(server: Server) -> None:
    """At once, whoever waits for it is told, and the exit status is that of an orderly end."""
    with server.channel() as channel:
        fill(Client(channel))
        work = Work(Client(channel))
        with held(server, work) as (name, pid):
            assert server.process is not None
            waiting = work.waiting(name)
            server.process.terminate()
            assert waiting.exception().code() == grpc.StatusCode.UNAVAILABLE
            assert server.stop() == 0
            assert is_gone(pid)
    server.start()
    with server.channel() as channel:
        assert failure(Work(Client(channel)).get(name)) == INTERRUPTED


def test_any_worker_can_be_asked(two_workers: Server, both: tuple[Client, Client]) -> None:
    """One does the work; the other knows of it, refuses a second scan, waits, and cancels."""
    mine, theirs = map(Work, both)
    fill(both[0])
    with held(two_workers, mine) as (name, pid):
        assert not theirs.get(name).done
        assert refusal(theirs.scan).reason == "SCAN_UNDER_WAY"
        theirs.cancel(name)
        assert failure(theirs.wait(name)) == CANCELLED
        wait_until(lambda: is_gone(pid))
    assert mine.get(name) == theirs.get(name)
    assert theirs.scanned().customers == 4
    assert mine.grouped() == theirs.grouped()


def test_a_killed_worker_leaves_its_work_interrupted(
    two_workers: Server, both: tuple[Client, Client]
) -> None:
    """The others say so when somebody begins anew, if not the one that takes its place before."""
    mine, theirs = map(Work, both)
    fill(both[0])
    with held(two_workers, mine) as (name, pid):
        (worker,) = (one for one in two_workers.workers() if pid in _children(one))
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: is_gone(pid))
    assert theirs.scanned().customers == 4
    assert failure(theirs.get(name)) == INTERRUPTED


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_accounts_do_not_see_each_other(
    fresh_tokens: tuple[Server, list[str]],
) -> None:
    """Neither by name nor in a list."""
    server, tokens = fresh_tokens
    with server.channel() as channel:
        mine, theirs = (
            Work(Client(channel, ("authorization", f"Bearer {tokens.pop()}"))) for _ in range(2)
        )
        name = mine.train()
        mine.wait(name)
        for call in (theirs.get, theirs.wait, theirs.cancel, theirs.delete):
            assert refusal(lambda: call(name)).code is NOT_FOUND  # noqa: B023
        assert not theirs.page().operations
        stranger = Work(Client(channel))
        assert refusal(lambda: stranger.get(name)).reason == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    "name",
    [
        "", "operations", "operations/", "operations/scan-", "import/job", "scans", "a\0b",
        "operations/\0", "operations/" + "x" * 5_000, "operations/" + "\U0001f600" * 89,
    ],
)  # fmt: skip
def test_names_that_nobody_has(shared: Client, name: str) -> None:
    """However long or odd."""
    work = Work(shared)
    for call in (work.get, work.wait, work.cancel, work.delete):
        assert refusal(lambda: call(name)).short == (NOT_FOUND, "NOT_FOUND", "name")  # noqa: B023


def forged(after: str) -> str:
    """Return a page token that this server never gave out."""
    packed = bytes([8]) + bytes(8) + after.encode()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"name": "operation"}, "name"),
        ({"filter": "done=true"}, "filter"),
        ({"page_size": -1}, "page_size"),
        ({"page_token": "nonsense"}, "page_token"),
        ({"page_token": forged("import/")}, "page_token"),
        ({"page_token": forged("operations/" + "x" * 600)}, "page_token"),
    ],
)
def test_lists_that_nobody_can_have(shared: Client, terms: dict[str, object], field: str) -> None:
    """Each is refused by its field."""
    assert refusal(lambda: Work(shared).page(**terms)).short == (
        INVALID, "INVALID_ARGUMENT", field
    )  # fmt: skip


def test_time_does_not_run_backwards(shared: Client) -> None:
    """Nor for who waits; and a long wish is cut, not refused."""
    work = Work(shared)
    name = work.train(dry_run=True)
    refused = refusal(lambda: work.wait(name, Duration(seconds=-1)))
    assert refused.short == (INVALID, "INVALID_ARGUMENT", "timeout")
    assert work.wait(name, Duration(seconds=1 << 33)).done


def test_it_is_one_of_the_services(shared: Client) -> None:
    """The health service knows it."""
    health = health_pb2_grpc.HealthStub(shared.channel)
    request = health_pb2.HealthCheckRequest(service="google.longrunning.Operations")
    assert health.Check(request).status == health_pb2.HealthCheckResponse.SERVING


def test_no_process_remains(server: Server, work: Work) -> None:
    """Of work that is done."""
    work.scanned()
    work.trained()
    wait_until(lambda: not processes(server))
