"""Many customers changed and deleted from the command line."""

from __future__ import annotations

import csv
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from namesake import v1
from tests.cli.conftest import COMMAND, Namesake, Outcome, run, running
from tests.conftest import Server, StartServer, wait_until
from tests.server.bulk_work import BulkWork, crowd
from tests.server.client import Client, person, unique

REASON = ("--reason", "asked to be forgotten")


@pytest.fixture
def client(shared: Server) -> Iterator[Client]:
    """A caller of the module's server."""
    with shared.channel() as channel:
        yield Client(channel)


@pytest.fixture
def tag(client: Client) -> str:
    """A tag of three customers, a, b and a company, whose ids begin with it."""
    word = unique()
    client.save(person(id=f"{word}-a", tags=[word], stage="new", owner="kim"))
    client.save(person(id=f"{word}-b", tags=[word, "old"]))
    company = v1.Customer(id=f"{word}-c", kind=v1.CUSTOMER_KIND_COMPANY, company_name="F")
    company.tags.append(word)
    client.save(company)
    return word


def answered(server: Server, *arguments: str, answer: str) -> Outcome:
    """Run a command at a terminal where somebody types an answer."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "NAMESAKE_SERVER": server.address}
    with subprocess.Popen(
        [*COMMAND, *arguments], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment, text=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        out, err = process.communicate(timeout=60)
        os.close(ours)
    return Outcome(process.returncode, out, err)


def rows(path: Path) -> list[list[str]]:
    """Read a CSV."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def test_an_update_by_filter(namesake: Namesake, client: Client, tag: str, tmp_path: Path) -> None:
    """What will change is said first; what became of each is in a file."""
    path = tmp_path / "results.csv"
    done = namesake(
        "bulk-update", "--tag", tag, "--kind", "person", "--yes", "--results", str(path),
        "--set", "stage=won", "--set", "custom:vip:flag=yes", "--set", "birth_date=1990-03-04",
        "--set", "last_name=King", "--clear", "owner", "--add-tag", "x", "--remove-tag", "old",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert done.err.splitlines() == [
        "2 customers:",
        "  set stage: won",
        "  set birth_date: 1990-03-04",
        "  set last_name: King",
        "  set custom:vip: True",
        "  clear owner",
        "  take away tags: old",
        "  add tags: x",
    ]
    assert "done in" in done.out
    after = client.get(f"{tag}-a")
    assert (after.stage, after.owner, after.last_name) == ("won", "", "King")
    assert (after.custom_fields["vip"].flag, after.birth_date.month) == (True, 3)
    assert list(client.get(f"{tag}-b").tags) == [tag, "x"]
    assert rows(path) == [
        ["id", "outcome", "reason", "field", "message"],
        [f"{tag}-a", "changed", "", "", ""],
        [f"{tag}-b", "changed", "", "", ""],
    ]
    assert path.stat().st_mode & 0o777 == 0o600


def test_rows_that_fail_are_status_3(
    namesake: Namesake, client: Client, tag: str, tmp_path: Path
) -> None:
    """With the reason of each in the file; a dry run stores nothing and needs no --yes."""
    path = tmp_path / "results.csv"
    tried = namesake(
        "bulk-update", "--tag", tag, "--clear", "last_name", "--set", "stage=won", "--dry-run",
        "--results", str(path), "--json",
    )  # fmt: skip
    assert tried.status == 3, tried.err
    (operation,) = tried.lines
    summary = operation["response"]
    assert (summary["chosen"], summary["changed"], summary["failed"]) == ("3", "1", "2")
    assert [row[1:4] for row in rows(path)[1:]] == [
        ["failed", "INVALID_ARGUMENT", "customer.last_name"],
        ["failed", "INVALID_ARGUMENT", "customer.last_name"],
        ["changed", "", ""],
    ]
    assert client.get(f"{tag}-c").stage == ""


@pytest.mark.parametrize("layout", ["lines", "table", "stdin", "options"])
def test_ids_from_wherever_they_are(
    namesake: Namesake, client: Client, tag: str, tmp_path: Path, layout: str
) -> None:
    """A file of lines, a column of a table, standard input, options; the same twice is once."""
    ids = [f"{tag}-b", f"{tag}-a", f"{tag}-b", f"{tag}-nobody"]
    path = tmp_path / "ids"
    if layout == "table":
        path.write_text("name;ID;more\n" + "".join(f"x;{id};y\n" for id in ids))
    else:
        path.write_text("\n".join(ids) + "\n")
    chosen = ["--ids-from", "-" if layout == "stdin" else str(path)]
    if layout == "options":
        chosen = [word for id in ids for word in ("--id", id)]
    done = namesake(
        "bulk-update", *chosen, "--set", "stage=won", "--yes", stdin=path.read_bytes()
    )  # fmt: skip
    assert (done.status, done.err.splitlines()[0]) == (3, "2 customers of 3 ids:")
    stages = [client.get(f"{tag}-{letter}").stage for letter in "abc"]
    assert stages == ["won", "won", ""]


@pytest.mark.parametrize(("answer", "status", "stage"), [("y", 0, "won"), ("n", 1, "new")])
def test_it_asks_before_it_begins(
    shared: Server, client: Client, tag: str, answer: str, status: int, stage: str
) -> None:
    """At a terminal."""
    done = answered(
        shared, "bulk-update", "--tag", tag, "--set", "stage=won", answer=answer
    )  # fmt: skip
    assert done.status == status, done.err
    assert "3 customers:" in done.err
    assert "Change them? [y/N]" in done.err
    assert client.get(f"{tag}-a").stage == stage


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "stage=won", "--tag", "x"), "--yes: nobody can be asked here"),
        (("--set", "stage=won", "--yes"), "--id: say which customers by one of"),
        (("--set", "stage=won", "--all", "--tag", "x", "--yes"), "--all: say which"),
        (("--set", "stage", "--all", "--yes"), "--set: 'stage' is not FIELD=VALUE"),
        (("--set", "stage=", "--all", "--yes"), "--clear takes a value away"),
        (("--set", "email=a@b.c", "--all", "--yes"), "--set: 'email' cannot be set"),
        (("--set", "id=1", "--all", "--yes"), "--set: 'id' cannot be set"),
        (("--set", "custom:BAD=1", "--all", "--yes"), "--set: There is no field 'custom:BAD'"),
        (("--set", "custom:a:flag=perhaps", "--all", "--yes"), "--set: custom:a:flag: "),
        (("--set", "gender=?", "--all", "--yes"), "--set: gender: "),
        (("--set", "stage=a", "--set", "stage=b", "--all", "--yes"), "'stage' is set twice"),
        (
            ("--set", "custom:a=1", "--set", "custom:a:flag=1", "--all", "--yes"),
            "a custom field is set twice",
        ),
        (("--add-tag", "x", "--all", "--yes", "--no-wait", "--results", "r"), "--results: needs"),
        (("--add-tag", "x", "--all", "--yes", "--results", "-"), "--results: is a file"),
        (("--add-tag", "x", "--updated-since", "yesterday", "--yes"), "--updated-since: is a"),
    ],
)
def test_wrong_usage(
    namesake: Namesake, client: Client, arguments: tuple[str, ...], said: str
) -> None:
    """Is said in one line with status 2, and nothing begins."""
    client.save(person(tags=["x"]))
    before = client.stats().sequence
    refused = namesake("bulk-update", *arguments)
    assert refused.status == 2, refused.err
    assert said in refused.err.splitlines()[-1]
    assert client.stats().sequence == before


def test_the_server_refuses_what_is_no_change(namesake: Namesake) -> None:
    """With the path of the entry."""
    refused = namesake("bulk-update", "--all", "--yes", "--clear", "emails")
    assert (refused.status, "change.clear.paths[0]" in refused.err) == (1, True)
    refused = namesake("bulk-update", "--all", "--yes")
    assert (refused.status, "change: required" in refused.err) == (1, True)


def test_a_deletion_with_its_number(
    namesake: Namesake, client: Client, tag: str, tmp_path: Path
) -> None:
    """A wrong one deletes nothing; scripts need it."""
    without = namesake("bulk-delete", "--tag", tag, "--yes", *REASON)
    assert (without.status, "needs --count" in without.err) == (2, True)
    wrong = namesake("bulk-delete", "--tag", tag, "--yes", "--count", "2", *REASON)
    assert wrong.status == 1
    assert "COUNT_MISMATCH count: 3 customers are meant" in wrong.err
    short = namesake("bulk-delete", "--tag", tag, "--yes", "--count", "3", "--reason", "short")
    assert (short.status, "reason: required, 10 to 500" in short.err) == (1, True)
    assert len([id for letter in "abc" if (id := client.get(f"{tag}-{letter}").id)]) == 3
    path = tmp_path / "deleted.csv"
    done = namesake(
        "bulk-delete", "--tag", tag, "--yes", "--count", "3", *REASON, "--results", str(path)
    )
    assert (done.status, done.err) == (0, "")
    assert [row[:2] for row in rows(path)[1:]] == [[f"{tag}-{one}", "changed"] for one in "abc"]
    assert namesake("get", f"{tag}-a").status == 1


@pytest.mark.parametrize(
    ("given", "answer", "status"),
    [
        ((), "3", 0),
        ((), "y", 1),
        ((), "2", 1),
        (("--count", "3"), "y", 0),
        (("--count", "3"), "", 1),
    ],
)
def test_a_deletion_asks_for_the_number(
    shared: Server, client: Client, tag: str, given: tuple[str, ...], answer: str, status: int
) -> None:
    """To be typed, unless it was given: then for a yes."""
    done = answered(shared, "bulk-delete", "--tag", tag, *given, *REASON, answer=answer)
    assert done.status == status, done.err
    assert "3 customers:\n  delete them with their histories" in done.err
    left = client.call(
        client.customers.BatchGetCustomers, v1.BatchGetCustomersRequest(ids=[f"{tag}-a"])
    )
    assert left.results[0].HasField("customer") == bool(status)


def test_nobody_is_deleted_where_nobody_is_meant(shared: Server) -> None:
    """There is nothing to ask."""
    done = answered(shared, "bulk-delete", "--tag", unique(), *REASON, answer="0")
    assert (done.status, "nobody is meant" in done.err) == (1, True)


def test_a_change_left_to_the_server(namesake: Namesake, client: Client, tag: str) -> None:
    """Its results can be had later."""
    begun = namesake(
        "bulk-update", "--tag", tag, "--set", "stage=won", "--yes", "--no-wait", "--json"
    )
    (operation,) = begun.lines
    waited = namesake("operations", "wait", operation["name"])
    assert (waited.status, "changed" in waited.out) == (0, True)
    assert operation["name"] in namesake("operations", "list").out
    results = namesake("operations", "results", operation["name"])
    assert results.out.splitlines()[1:] == [f"{tag}-{letter},changed,,," for letter in "abc"]
    gone = namesake("operations", "results", "operations/bulk-update-of-nobody")
    assert (gone.status, "NOT_FOUND" in gone.err) == (1, True)


def test_an_interrupt_cancels(start_server: StartServer, tmp_path: Path) -> None:
    """^C ends the work; what was changed stays changed and is in the file."""
    server = start_server(NAMESAKE_BULK_BATCH_ROWS="1")
    path = tmp_path / "results.csv"
    with server.channel() as channel:
        crowd(Client(channel), 20_000)
    command = ("bulk-update", "--all", "--set", "stage=won", "--yes", "--results", str(path))
    with running(*command, server=server.address) as process, server.channel() as channel:
        bulk = BulkWork(Client(channel))
        wait_until(lambda: process.poll() is not None or bool(bulk.work.page().operations))
        (operation,) = bulk.work.page().operations
        wait_until(lambda: bool(bulk.results(operation.name)))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 1
        assert f"{operation.name} is cancelled; what was changed stays changed" in err.decode()
        assert "failed: cancelled" in out.decode()
        changed = [row[0] for row in rows(path)[1:]]
        assert 0 < len(changed) < 20_000
        assert changed == [result.customer_id for result in bulk.results(operation.name)]


@pytest.mark.parametrize(
    "command", [("bulk-update",), ("bulk-delete",), ("operations", "results")]
)  # fmt: skip
def test_help_teaches_by_examples(command: tuple[str, ...]) -> None:
    """Each command's."""
    text = run(*command, "--help").out
    assert "Examples:" in text
    assert f"namesake {' '.join(command)}" in text
