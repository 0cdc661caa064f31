"""Import and export, also when something dies in the middle."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from demo.people import people, write_csv, write_jsonl
from tests.cli.conftest import COMMAND, Namesake, run, running
from tests.conftest import Server, StartServer, wait_until

ROWS = 6_000


def _people(path: Path, rows: int, seed: int = 3) -> Path:
    write = write_jsonl if path.suffix == ".jsonl" else write_csv
    with path.open("w", newline="") as stream:
        write(people(rows, seed), stream)
    return path


def _nameless(rows: int, seed: int = 3) -> int:
    return sum(not person.company and not person.last_name for person in people(rows, seed))


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_table_is_imported_with_its_failures(namesake: Namesake, tmp_path: Path) -> None:
    key = uuid.uuid4().hex[:8]
    source, failed = tmp_path / "people.csv", tmp_path / "failed.csv"
    source.write_text(
        "Nr,Vorname,Nachname,Geburtsdatum,E-Mail,Handy,Karte,Schuh\n"
        f"{key}-1,Ada,Lovelace,10.12.1815,{key}@example.org,+49 151 23456789,{key},42\n"
        f"{key}-2,No,,,,,,\n"
        f"{key}-3,Bad,Date,03/04/1990,,,,\n"
        f"{key}-4,Ada,Lovelace,,{key.upper()}@EXAMPLE.ORG; null,,,\n"
    )
    options = (
        "import", str(source), "--map", "Nr=id", "--map", "Karte=identity:loyalty", "--json",
        "--failures", str(failed), "--source", "fair", "--tag", "a", "--tag", "b",
        "--campaign", "spring", "--group", "g", "--create-all",
    )  # fmt: skip
    done = namesake(*options)
    assert done.status == 3, done.err
    assert "'Schuh'" in done.err
    (summary,) = done.lines
    counts = {"rows": 3, "created": 2, "updated": 0, "unchanged": 0, "failed": 1, "skipped": 0}
    assert summary["counts"] == counts
    assert summary["refused"] == 1
    assert {f["verdict"] for f in summary["findings"] if f["channel"] == "PHONE"} == {"VALID"}
    rows = _table(failed)
    assert sorted((row["Nr"], row["failure_row"], row["failure_reason"]) for row in rows) == [
        (f"{key}-2", "2", "INVALID_ARGUMENT"),
        (f"{key}-3", "3", "ROW_FORMAT"),
    ]
    (card,) = namesake("get", f"{key}-1", "--json").lines
    assert card["sources"] == ["fair"]
    assert card["tags"] == ["a", "b"]
    assert (card["campaigns"], card["groups"]) == (["spring"], ["g"])
    assert card["identities"] == [{"type": "loyalty", "value": key}]

    again = namesake(*options)
    assert (again.status, again.lines[0]["counts"]) == (3, summary["counts"])
    assert len(_table(failed)) == 2
    other = namesake(*options[:-1])  # without --create-all it is another job
    assert other.lines[0]["counts"]["unchanged"] == 2


def test_a_dry_run_counts_and_stores_nothing(namesake: Namesake, tmp_path: Path) -> None:
    key = uuid.uuid4().hex[:8]
    source = tmp_path / "people.csv"
    source.write_text(f"id,last name\n{key}-1,Lovelace\n")
    for _ in range(2):
        done = namesake("import", str(source), "--dry-run", "--json")
        assert (done.status, done.lines[0]["counts"]["created"]) == (0, 1)
    assert namesake("get", f"{key}-1").status == 1


def test_a_match_order_is_followed(namesake: Namesake, tmp_path: Path) -> None:
    key = uuid.uuid4().hex[:8]
    assert namesake("save", "--id", key, "--last-name", "A", "--email", f"{key}@x.org").status == 0
    source = tmp_path / "people.csv"
    source.write_text(f"last name,email,city\nB,{key}@x.org,Paris\n")
    by_phone = namesake("import", str(source), "--match-order", "phone", "--json", "--dry-run")
    assert by_phone.lines[0]["counts"]["created"] == 1
    by_email = namesake("import", str(source), "--match-order", "email", "--json")
    assert by_email.lines[0]["counts"]["updated"] == 1
    (card,) = namesake("get", key, "--json").lines
    assert (card["lastName"], card["addresses"][0]["city"]) == ("B", "Paris")


def test_lines_that_are_no_customer_fail_alone(namesake: Namesake) -> None:
    key = uuid.uuid4().hex[:8]
    lines = [{"id": f"{key}-1", "lastName": "A"}, {"shoe": 42}, {"id": f"{key}-2", "lastName": "B"}]
    stdin = "\n".join([*map(json.dumps, lines), "not json"])
    done = namesake("import", "-", "--format", "jsonl", "--json", stdin=stdin)
    assert done.status == 3
    assert (done.lines[0]["counts"]["created"], done.lines[0]["refused"]) == (2, 2)
    assert [failure["row"] for failure in done.lines[0]["failures"]] == ["2", "4"]


@pytest.mark.parametrize(
    ("content", "options", "status", "message"),
    [
        (b"shoe\n42\n", [], 1, "No column is recognised"),
        (b"id,last name\n1,A\n", ["--map", "x=id"], 2, "no column"),
        (b"id,last name\n1,A\n", ["--region", "Narnia"], 2, "region"),
        (b"id,last name\n1,A\n", ["--region", "uk"], 2, "did you mean GB?"),
        (b"id,last name\n1,A\n", ["--delimiter", ";;"], 2, "one character"),
        (b"id,last name\n1,A\n", ["--encoding", "utf-16"], 1, "BOM"),
        (b'id,last name\n1,"A\n2,B\n', [], 1, "Line 2"),
        (b"id,last name\n1,A\n", ["--job-id", "not a job"], 1, "job_id"),
        (b"id,last name\n1,A\n\xff,B\n", ["--encoding", "utf-8"], 1, "encoding"),
        (b"id,last name\n1,A\n", ["--failures", "/no/such/file"], 2, "Cannot write"),
        (None, [], 1, "Cannot open"),
    ],
)
def test_what_cannot_be_imported_says_why(
    namesake: Namesake,
    tmp_path: Path,
    content: bytes | None,
    options: list[str],
    status: int,
    message: str,
) -> None:
    source = tmp_path / "people.csv"
    if content is not None:
        source.write_bytes(content)
    done = namesake("import", str(source), *options)
    assert done.status == status, done.err
    assert message in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_an_export_is_imported_unchanged(server: Server, tmp_path: Path, ending: str) -> None:
    source, copy = _people(tmp_path / "people.jsonl", 600), tmp_path / f"copy.{ending}"
    stored = 600 - _nameless(600)
    assert run("import", str(source), "--create-all", server=server.address).status == 3
    done = run("export", str(copy), "--json", server=server.address)
    assert done.lines[0]["customers"] == stored
    again = run("import", str(copy), "--json", server=server.address)
    assert again.lines[0]["counts"]["unchanged"] == stored
    assert again.status == 0


def test_an_export_has_the_fields_asked_for(namesake: Namesake, tmp_path: Path) -> None:
    key = uuid.uuid4().hex[:8]
    save = ("save", "--id", key, "--last-name", "A", "--email", f"{key}@x.org", "--title", "Dr")
    assert namesake(*save).status == 0
    done = namesake("export", "-", "--format", "csv", "--fields", "id,emails,title")
    header, *rows = csv.reader(done.out.splitlines())
    assert {"id", "email", "title"} <= set(header)
    assert not {"last_name", "phone", "kind"} & set(header)
    (own,) = [row for row in rows if row[0] == key]
    assert dict(zip(header, own, strict=True))["email"] == f"{key}@x.org"
    assert namesake("export", str(tmp_path / "x.csv"), "--fields", "shoe").status == 1
    assert not list(tmp_path.iterdir())


def test_failures_do_not_go_into_the_file_that_is_imported(
    namesake: Namesake, tmp_path: Path
) -> None:
    source, link = tmp_path / "people.csv", tmp_path / "link.csv"
    source.write_text("id,last name\n1,\n")
    link.symlink_to(source)
    for name in (str(source), "-"):
        with source.open("rb") as stream:
            done = subprocess.run(
                [*COMMAND, "import", name, "--failures", str(link)], stdin=stream,
                capture_output=True, timeout=60, check=False,
            )  # fmt: skip
        assert done.returncode == 2, name
        assert b"--failures" in done.stderr
    assert source.read_text() == "id,last name\n1,\n"
    failed = tmp_path / "failed.csv"
    assert namesake("import", str(source), "--failures", str(failed)).status == 3
    assert failed.stat().st_mode & 0o077 == 0


def test_a_region_and_an_ending_may_be_written_small_or_large(
    namesake: Namesake, tmp_path: Path
) -> None:
    key = uuid.uuid4().hex[:8]
    source = tmp_path / "PEOPLE.JSONL"
    card = {"id": key, "lastName": "A", "phones": [{"value": "030 123456"}]}
    source.write_text(json.dumps(card))
    assert namesake("import", str(source), "--region", "de").status == 0
    (stored,) = namesake("get", key, "--json").lines
    assert stored["phones"][0]["normal"] == "+4930123456"


def test_a_number_beyond_64_bits_and_a_list_of_lines_fail_no_import(namesake: Namesake) -> None:
    key = uuid.uuid4().hex[:8]
    table = f'id,last name,custom:age:integer,tags\n{key}-1,A,{1 << 63},\n{key}-2,B,7,"a\rb"\n'
    done = namesake("import", "-", "--json", stdin=table)
    assert (done.status, done.lines[0]["counts"]["created"], done.lines[0]["refused"]) == (3, 1, 1)
    assert namesake("get", f"{key}-2", "--json").lines[0]["tags"] == ["a", "b"]


def test_what_a_table_can_hold_is_imported_elsewhere(
    namesake: Namesake, start_server: StartServer, tmp_path: Path
) -> None:
    """Partly known dates, broken values with separators, a second identity of one type."""
    key = uuid.uuid4().hex[:8]
    card = {
        "id": key,
        "lastName": "A",
        "birthDate": {"month": 5},
        "comment": " two\rlines\n",
        "emails": [{"value": "a;b@x.org"}, {"value": '"'}],
        "identities": [{"type": "loyalty", "value": value} for value in ("2", "1")],
        "tags": ["a; b", "c\nd"],
        "customFields": {"since": {"date": {"year": 1990, "month": 5}}},
    }
    assert namesake("save", "--json-input", "-", stdin=json.dumps(card)).status == 0
    table, other = tmp_path / "copy.csv", start_server()
    assert namesake("export", str(table)).status == 0
    done = run("import", str(table), "--create-all", server=other.address)
    assert done.status == 0, done.err
    (stored,) = namesake("get", key, "--json").lines
    (copied,) = run("get", key, "--json", server=other.address).lines
    for email in (*stored["emails"], *copied["emails"]):
        del email["finding"]  # of its server, with the time
    assert {name: copied[name] for name in card} == {name: stored[name] for name in card}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("pipe", "kind"), [("-", "customers"), ("-", "csv"), ("/dev/stdin", "jsonl")]
)
def test_an_import_is_interrupted_while_its_input_is_quiet(
    shared: Server, pipe: str, kind: str, number: signal.Signals
) -> None:
    with running("import", pipe, "--format", kind, server=shared.address) as process:
        assert process.stdin is not None
        process.stdin.write(b'{"lastName": "A"}\n')
        process.stdin.flush()
        time.sleep(2)  # it is connected and waits for more
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(10) not in (0, -signal.SIGABRT)


def test_a_pipe_is_a_file_that_is_read_once(namesake: Namesake) -> None:
    done = namesake("import", "/dev/stdin", "--json", stdin="last name\nLovelace\n")
    assert (done.status, done.lines[0]["counts"]["created"]) == (0, 1)


def test_an_export_that_is_ended_leaves_nothing(server: Server, tmp_path: Path) -> None:
    source = _people(tmp_path / "people.jsonl", ROWS)
    run("import", str(source), "--create-all", server=server.address)
    folder = tmp_path / "out"
    folder.mkdir()
    with running("export", str(folder / "out.jsonl"), server=server.address) as process:
        wait_until(lambda: any(folder.iterdir()))
        process.send_signal(signal.SIGSTOP)  # or it might be done
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        assert process.wait(10) != 0
    assert list(folder.iterdir()) == []


def _counts(address: str) -> dict[str, Any]:
    done = run("export", "-", "--format", "csv", "--fields", "id", server=address)
    ids = Counter(row["id"] for row in csv.DictReader(done.out.splitlines()))
    return {"customers": len(ids), "most": max(ids.values(), default=0)}


def _rows_stored(address: str) -> int:
    done = run("stats", "--json", server=address)
    return int(done.lines[0].get("customers", 0)) if done.status == 0 else 0


def _import_process(server: Server, source: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "NAMESAKE_SERVER": server.address}
    process = subprocess.Popen(
        [*COMMAND, "import", str(source), "--create-all", "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while _rows_stored(server.address) < 1_000:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    return process


def test_an_import_survives_the_servers_death(server: Server, tmp_path: Path) -> None:
    source = _people(tmp_path / "people.csv", ROWS)
    process = _import_process(server, source)
    server.kill()
    server.start()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    summary = json.loads(out)
    failed = _nameless(ROWS)
    assert summary["counts"]["rows"] == ROWS
    assert summary["counts"]["created"] == ROWS - failed
    assert _counts(server.address) == {"customers": ROWS - failed, "most": 1}
    assert run("verify", server=server.address).status == 0


def test_an_import_that_was_killed_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    source = _people(tmp_path / "people.csv", ROWS)
    process = _import_process(server, source)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    again = run("import", str(source), "--create-all", "--json", server=server.address)
    assert again.status == 3, again.err
    assert again.lines[0]["counts"]["rows"] == ROWS
    assert again.lines[0]["counts"]["created"] == ROWS - _nameless(ROWS)
    assert len(again.lines[0]["failures"]) <= 10
    assert _counts(server.address) == {"customers": ROWS - _nameless(ROWS), "most": 1}


def test_a_reader_that_goes_away_is_no_traceback(server: Server, tmp_path: Path) -> None:
    source = _people(tmp_path / "people.jsonl", 2_000)
    run("import", str(source), "--create-all", server=server.address)
    environment = {**os.environ, "NAMESAKE_SERVER": server.address}
    command = f"{COMMAND[0]} -m service export - --format jsonl | head -1"
    done = subprocess.run(
        command, shell=True, env=environment, capture_output=True, timeout=60, check=False
    )
    assert done.stdout.startswith(b'{"id"')
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
