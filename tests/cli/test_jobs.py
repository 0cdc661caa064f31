"""Imports as the command line shows them, and goes on with them."""

from __future__ import annotations

import csv
import uuid
from pathlib import Path

from service.cli.batches import BATCH_ROWS
from tests.cli.conftest import Namesake, run, running
from tests.conftest import Server, StartServer, wait_until

Failed = list[tuple[str, str, str]]


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _people(path: Path, key: str, rows: int, nameless: int, undated: int) -> Failed:
    """Write people, of whom each `nameless`-th and `undated`-th fails; return who does and why."""
    failed: Failed = []
    lines = ["id,last name,birth date"]
    for number in range(1, rows + 1):
        name, date = f"Name{number}", "1990-01-01"
        if number % nameless == 0:
            name = ""
            failed.append((f"{key}-{number}", str(number), "INVALID_ARGUMENT"))
        elif number % undated == 0:
            date = "once upon a time"
            failed.append((f"{key}-{number}", str(number), "ROW_FORMAT"))
        lines.append(f"{key}-{number},{name},{date}")
    path.write_text("\n".join(lines) + "\n")
    return failed


def _told(path: Path) -> Failed:
    rows = _table(path)
    return [(row["id"], row["failure_row"], row["failure_reason"]) for row in rows]


def test_an_import_is_listed_shown_and_cancelled(namesake: Namesake, tmp_path: Path) -> None:
    key = uuid.uuid4().hex[:8]
    source, why = tmp_path / "spring fair.csv", tmp_path / "why.csv"
    _people(source, key, 8, nameless=4, undated=100)
    job = ("--job-id", key, "--tag", "fair", "--match-order", "email")
    assert namesake("import", str(source), *job).status == 3
    shown = namesake("jobs", "show", key)
    for said in ("spring fair.csv", "done", "fair", "email", "INVALID_ARGUMENT"):
        assert said in shown.out
    (own,) = [line for line in namesake("jobs", "list").out.splitlines() if key in line]
    assert "spring fair.csv" in own
    listed = namesake("jobs", "list", "--json").lines
    (own_job,) = [one for one in listed if one["settings"]["jobId"] == key]
    assert namesake("jobs", "show", key, "--json").lines == [own_job]
    assert (own_job["state"], own_job["counts"]["failed"]) == ("IMPORT_STATE_DONE", "2")
    assert "customer.last_name" in namesake("jobs", "failures", key).out
    rows = [line["row"] for line in namesake("jobs", "failures", key, "--json").lines]
    assert rows == ["4", "8"]
    assert namesake("jobs", "failures", key, "--output", str(why)).status == 0
    assert [row["row"] for row in _table(why)] == rows
    assert "done" in namesake("jobs", "cancel", key).out
    for command in ("show", "failures", "cancel"):
        refused = namesake("jobs", command, "nobody")
        assert (refused.status, "NOT_FOUND" in refused.err) == (1, True)


def test_a_cancelled_import_ends_the_command(shared: Server, namesake: Namesake) -> None:
    key = uuid.uuid4().hex[:8]
    with running(
        "import", "-", "--format", "customers", "--job-id", key, server=shared.address
    ) as process:
        wait_until(lambda: namesake("jobs", "show", key).status == 0)
        assert "running" in namesake("jobs", "show", key).out
        assert "cancelled" in namesake("jobs", "cancel", key).out
        assert process.wait(20) == 1
        assert process.stderr is not None
        assert b"IMPORT_CANCELLED" in process.stderr.read()


def test_failures_are_corrected_and_imported_again(namesake: Namesake, tmp_path: Path) -> None:
    key = uuid.uuid4().hex[:8]
    source, failed, still = (tmp_path / f"{name}.csv" for name in ("people", "failed", "still"))
    expected = _people(source, key, 12, nameless=4, undated=3)
    assert namesake("import", str(source), "--failures", str(failed)).status == 3
    assert _told(failed) == expected
    failed.write_text(failed.read_text().replace("once upon a time", "1 March 1990"))
    again = namesake("import", str(failed), "--failures", str(still), "--json")
    assert (again.status, again.err) == (3, "")  # no column is left out
    assert again.lines[0]["counts"]["created"] == 3
    assert _told(still) == [
        (f"{key}-4", "2", "INVALID_ARGUMENT"),
        (f"{key}-8", "4", "INVALID_ARGUMENT"),
        (f"{key}-12", "6", "INVALID_ARGUMENT"),
    ]
    assert list(_table(still)[0]) == list(_table(failed)[0])


def test_what_failed_in_runs_before_is_in_the_file_of_failures(
    namesake: Namesake, tmp_path: Path
) -> None:
    key = uuid.uuid4().hex[:8]
    source, failed = tmp_path / "people.csv", tmp_path / "failed.csv"
    expected = _people(source, key, 3 * BATCH_ROWS, nameless=7, undated=11)
    options = ("import", str(source), "--failures", str(failed), "--json")
    first = namesake(*options)
    assert first.lines[0]["counts"]["failed"] + first.lines[0]["refused"] == len(expected)
    assert _told(failed) == expected
    failed.unlink()
    again = namesake(*options)
    assert again.lines[0]["failures"] == first.lines[0]["failures"]
    assert _told(failed) == expected
    assert "Everything was imported before" in namesake("import", str(source)).out


def test_a_row_that_may_mean_several_is_refused_with_their_ids(
    namesake: Namesake, tmp_path: Path
) -> None:
    key = uuid.uuid4().hex[:8]
    for name in ("a", "b"):
        save = ("save", "--id", f"{key}{name}", "--last-name", "A", "--email", f"{key}@x.org")
        assert namesake(*save).status == 0
    source, failed = tmp_path / "people.csv", tmp_path / "failed.csv"
    source.write_text(f"last name,email\nB,{key}@x.org\n")
    refused = namesake("import", str(source), "--on-conflict", "refuse", "--failures", str(failed))
    assert refused.status == 3
    (row,) = _table(failed)
    assert row["failure_reason"] == "DUPLICATES_AMBIGUOUS"
    assert row["failure_customers"] == f"{key}a; {key}b"
    skipped = namesake("import", str(source), "--on-match", "skip", "--json")
    assert skipped.lines[0]["counts"]["skipped"] == 1


def test_failures_that_were_not_kept_are_told(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(NAMESAKE_IMPORT_FAILURES_KEPT="2")
    source = tmp_path / "people.csv"
    _people(source, "p", 10, nameless=2, undated=100)
    assert run("import", str(source), "--job-id", "j", server=server.address).status == 3
    again = run("import", str(source), "--job-id", "j", server=server.address)
    assert "Of 3 more" in again.out
    assert "of 2 of them" in run("jobs", "show", "j", server=server.address).out
