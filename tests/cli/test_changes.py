"""The change feed on the command line."""

from __future__ import annotations

import json
from typing import IO, Any

import pytest

from tests.cli.conftest import Namesake, run, running
from tests.conftest import Server, StartServer, wait_until


def save(server: Server, *ids: str) -> None:
    for id in ids:
        done = run("save", "--last-name", "Lovelace", "--id", id, server=server.address)
        assert done.status == 0, done.err


def followed(output: IO[bytes] | None, count: int) -> list[str]:
    """Return the ids of so many changes as they are written."""
    assert output is not None
    return [json.loads(output.readline())["change"]["customerId"] for _ in range(count)]


def ids(server: Server, *arguments: str) -> list[str]:
    done = run("changes", "--until-now", "--json", *arguments, server=server.address)
    assert done.status == 0, done.err
    return [line["change"]["customerId"] for line in done.lines]


def consumers(server: Server) -> list[dict[str, Any]]:
    return run("changes", "consumers", "--json", server=server.address).lines


def test_a_consumer_gets_what_it_has_not_written_yet(server: Server) -> None:
    save(server, "a", "b")
    assert ids(server, "--consumer", "crm") == ["a", "b"]
    assert ids(server, "--consumer", "crm") == []
    save(server, "c")
    assert ids(server, "--consumer", "crm", "--kinds", "deleted") == []
    assert [(one["name"], one["sequence"]) for one in consumers(server)] == [("crm", "3")]
    assert ids(server, "--consumer", "crm", "--after", "1") == ["b", "c"]
    assert ids(server, "--kinds", "created, updated") == ["a", "b", "c"]
    assert ids(server) == ["a", "b", "c"]


def test_consumers_are_listed_and_forgotten(server: Server) -> None:
    save(server, "a")
    assert ids(server, "--consumer", "crm") == ["a"]
    shown = run("changes", "consumers", server=server.address)
    assert "the feed has 1 to 1" in shown.out
    assert "crm" in shown.out
    done = run("changes", "forget", "crm", server=server.address)
    assert (done.status, done.out) == (0, "forgotten: crm\n")
    assert consumers(server) == []
    done = run("changes", "forget", "crm", server=server.address)
    assert done.status == 1
    assert "NOT_FOUND" in done.err


def test_following_survives_a_restart_of_the_server(server: Server) -> None:
    """Each change is written once, as it happens, and acknowledged when it is written."""
    save(server, "a")
    following = ("changes", "--consumer", "crm", "--json")
    with running(*following, server=server.address) as process:
        assert followed(process.stdout, 1) == ["a"]
        save(server, "b")
        assert followed(process.stdout, 1) == ["b"]
        server.kill()
        server.start()
        save(server, "c", "d")
        assert followed(process.stdout, 2) == ["c", "d"]
        assert process.poll() is None
    assert ids(server, "--consumer", "crm") in ([], ["d"], ["c", "d"])  # it was killed, too
    assert ids(server, "--consumer", "crm") == []


def test_who_fell_behind_is_told_what_to_do(start_server: StartServer) -> None:
    server = start_server(NAMESAKE_CHANGES_KEPT_S="1", NAMESAKE_CHANGES_LOOK_S="0.05")
    save(server, "a")
    assert ids(server, "--consumer", "crm") == ["a"]
    save(server, "b", "c", "d")
    wait_until(lambda: "lost" in run("changes", "consumers", server=server.address).out)
    done = run("changes", "--consumer", "crm", "--until-now", server=server.address)
    assert done.status == 1
    assert "SEQUENCE_UNAVAILABLE consumer:" in done.err
    assert "ExportCustomers" in done.err


@pytest.mark.parametrize(
    "arguments",
    [("--kinds", "created,nonsense"), ("--after", "-1"), ("consumers", "more"), ("nonsense",)],
)
def test_wrong_usage_is_told(offline: Namesake, arguments: tuple[str, ...]) -> None:
    done = offline("changes", *arguments)
    assert (done.status, done.out) == (2, "")


def test_a_reader_that_leaves_ends_it_quietly(server: Server) -> None:
    """As `| head` does."""
    save(server, "a", "b")
    with running("changes", "--json", server=server.address) as process:
        assert process.stdout is not None
        assert followed(process.stdout, 2) == ["a", "b"]
        process.stdout.close()
        save(server, "c")
        assert process.wait(30) == 1
        assert process.stderr is not None
        assert process.stderr.read() == b""


@pytest.mark.parametrize("command", ["consumers", "forget"])
def test_every_command_has_help_with_an_example(offline: Namesake, command: str) -> None:
    done = offline("changes", command, "--help")
    assert done.status == 0
    assert f"\n    namesake changes {command}" in done.out
