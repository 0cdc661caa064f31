"""Scans, groups, trainings, models and operations from the command line."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Namesake, run, running
from tests.conftest import Server, wait_until
from tests.server.client import Client
from tests.server.long_work import Work, held
from tests.server.test_scan import account

TRUTH = {frozenset(f"p{n}-{copy}" for copy in range(1 + n % 3)) for n in range(30) if n % 3}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with an account of known people, which these tests do not change."""
    server = Server(tmp_path_factory.mktemp("shared") / "data").start()
    with server.channel() as channel:
        assert account(Client(channel)) == TRUTH
    yield server
    server.kill()


def groups_in(path: Path) -> set[frozenset[str]]:
    """Read a file of groups."""
    found: dict[str, set[str]] = {}
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            found.setdefault(row["group"], set()).add(row["id"])
    return {frozenset(ids) for ids in found.values()}


def test_a_scan_and_its_groups(namesake: Namesake, tmp_path: Path) -> None:
    """As a table, as JSON lines, and as a file."""
    scanned = namesake("scan")
    assert scanned.status == 0, scanned.err
    assert "done in" in scanned.out
    assert "grouped customers" in scanned.out
    (summary,) = namesake("scan", "--threshold", "0.5", "--json").lines
    assert summary["done"]
    assert summary["response"]["groups"] == str(len(TRUTH))
    table = namesake("groups")
    assert table.status == 0, table.err
    assert "p2-1" in table.out
    lines = namesake("groups", "--json").lines
    assert {frozenset(m["id"] for m in line["members"]) for line in lines} == TRUTH
    path = tmp_path / "groups.csv"
    written = namesake("groups", "--output", str(path))
    assert (written.status, written.out) == (0, "")
    assert written.err == f"{len(TRUTH)} groups of {sum(map(len, TRUTH))} customers\n"
    assert groups_in(path) == TRUTH
    sure, rest = tmp_path / "sure.csv", tmp_path / "rest.csv"
    middle = str(lines[5]["leastProbability"])
    assert namesake("groups", "--least", middle, "--output", str(sure)).status == 0
    assert namesake("groups", "--most", middle, "--output", str(rest)).status == 0
    assert groups_in(sure) | groups_in(rest) == TRUTH
    assert groups_in(sure) < TRUTH
    to_stdout = namesake("groups", "--output", "-")
    assert to_stdout.out.splitlines()[0] == "group,probability,action,id,name,state"


def test_a_model_is_learnt_saved_and_taken_back(namesake: Namesake, tmp_path: Path) -> None:
    """`dedupe` takes it too."""
    judged, model, copy = (tmp_path / name for name in ("judged.csv", "model.json", "copy.json"))
    judged.write_text("note,Right,left,same\nsure,p1-1,p1-0,yes\n,p3-0,p0-0,No\n")
    tried = namesake(
        "train", "--labels", str(judged), "--dry-run", "--save-model", str(model), "--json"
    )
    assert tried.status == 0, tried.err
    (summary,) = tried.lines
    assert summary["response"]["converged"]
    assert "inUse" not in summary["response"]
    assert json.loads(model.read_text())["format"] == 1
    assert "the default model" in namesake("model", "export", str(copy)).err
    assert copy.read_text() != model.read_text()
    assert namesake("model", "import", str(model)).out == f"{model} is in use\n"
    assert namesake("model", "export", "-").out == model.read_text()
    learnt = namesake("train")
    assert "converged" in learnt.out
    assert "in use" in learnt.out
    assert namesake("model", "reset").status == 0
    assert namesake("model", "export", "-").out == copy.read_text()
    people = tmp_path / "people.csv"
    people.write_text("id,last_name\n1,King\n2,King\n")
    deduped = run("dedupe", str(people), "--output", "-", "--model", str(model))
    assert deduped.status == 0, deduped.err


def test_operations_are_looked_after(namesake: Namesake, shared: Server) -> None:
    """From the beginning to the end, and after it."""
    with shared.channel() as channel, held(shared, Work(Client(channel))) as (name, _):
        begun = namesake("scan", "--no-wait")
        assert (begun.status, begun.err.split()[1]) == (1, "SCAN_UNDER_WAY")
        assert name in begun.err
        assert name in namesake("operations", "list").out
        shown = namesake("operations", "show", name)
        assert (shown.status, "done" in shown.out) == (0, False)
        early = namesake("operations", "delete", name)
        assert (early.status, "OPERATION_UNDER_WAY" in early.err) == (1, True)
        assert namesake("operations", "cancel", name).status == 0
        waited = namesake("operations", "wait", name)
        assert (waited.status, "failed: cancelled" in waited.out) == (1, True)
    assert namesake("operations", "delete", name.removeprefix("operations/")).status == 0
    assert name not in namesake("operations", "list").out
    gone = namesake("operations", "show", name)
    assert (gone.status, "NOT_FOUND" in gone.err) == (1, True)


def test_a_scan_goes_on_without_its_command(namesake: Namesake, shared: Server) -> None:
    """Begun and left, or left by ^C while it is waited for."""
    (begun,) = namesake("scan", "--no-wait", "--json").lines
    (done,) = namesake("operations", "wait", begun["name"], "--json").lines
    assert done["done"]
    assert "response" in done
    with shared.channel() as channel, held(shared, Work(Client(channel))) as (name, _):
        with running("operations", "wait", name, server=shared.address) as waiting:
            wait_until(lambda: is_connected(waiting.pid, shared.address))
            waiting.send_signal(signal.SIGINT)
            _, said = waiting.communicate(timeout=30)
        assert waiting.returncode not in (0, None)
        assert f"{name} goes on" in said.decode()
        assert name in namesake("operations", "list").out
    assert namesake("operations", "wait", name).status == 0


def is_connected(pid: int, address: str) -> bool:
    """Tell whether a process has a connection to a server."""
    port = f":{int(address.rpartition(':')[2]):04X}"
    tables = [Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6")]
    rows = [row.split() for table in tables for row in table.splitlines()[1:]]
    established = {f"socket:[{row[9]}]" for row in rows if row[2].endswith(port) and row[3] == "01"}
    handles = Path(f"/proc/{pid}/fd").iterdir()
    return any(handle.readlink().name in established for handle in handles if handle.is_symlink())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("left,right\na,b\n", "no column same"),
        ("left,right,same\na,b\n", "row 1 is too short"),
        ("left,right,same\na,b,perhaps\n", "row 1: same is yes or no"),
        ("left,right,same\np1-0,nobody,yes\n", "NOT_FOUND labels[0].right"),
    ],
)
def test_labels_that_are_none(namesake: Namesake, tmp_path: Path, text: str, said: str) -> None:
    """Say where it is wrong; nothing is begun."""
    path = tmp_path / "judged.csv"
    path.write_text(text)
    refused = namesake("train", "--labels", str(path))
    assert refused.status == 1
    assert said in refused.err


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"[1,2"])
def test_files_that_are_no_models(namesake: Namesake, tmp_path: Path, content: bytes) -> None:
    """Refused with what is wrong, and not read as a wish for the defaults."""
    path = tmp_path / "model.json"
    path.write_bytes(content)
    refused = namesake("model", "import", str(path))
    assert refused.status == 1
    assert refused.err.startswith("namesake: ")
    assert len(refused.err.splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    [
        ("scan",), ("groups",), ("train",), ("model", "export"), ("model", "import"),
        ("model", "reset"), ("operations", "list"), ("operations", "show"), ("operations", "wait"),
        ("operations", "cancel"), ("operations", "delete"),
    ],
)  # fmt: skip
def test_help_teaches_by_examples(offline: Namesake, command: tuple[str, ...]) -> None:
    """Each command's."""
    text = offline(*command, "--help").out
    assert "Examples:" in text
    assert f"namesake {' '.join(command)}" in text
