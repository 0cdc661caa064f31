"""Files of every kind into an account: how columns are found, asked about, and what failed."""

from __future__ import annotations

import csv
import json
import os
import pty
import subprocess
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from service.transfer.tables import open_table
from service.transfer.writers import writing
from tests.cli.conftest import COMMAND, Namesake, Outcome, run
from tests.conftest import Server, StartServer

KINDS = ("csv", "jsonl", "xlsx", "parquet")


@pytest.fixture
def configured(shared: Server, tmp_path: Path) -> Namesake:
    """Run commands with a folder of saved mappings of their own."""

    def command(*arguments: str, **more: Any) -> Outcome:
        return run(
            *arguments, server=shared.address, XDG_CONFIG_HOME=str(tmp_path / "config"), **more
        )

    return command


def _write(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """Write a table of texts in the kind that its ending says."""
    table = pa.Table.from_pylist(list(rows))
    with writing(str(path), table.schema) as file:
        for batch in table.to_batches():
            file.write(batch)
    return path


def _texts(path: Path) -> list[dict[str, str]]:
    with open_table(str(path)) as table:
        return [
            dict(zip(table.header, row, strict=True))
            for block in table.blocks(range(len(table.header)))
            for row in zip(*(block.columns[i].to_pylist() for i in block.columns), strict=True)
        ]


def _cards(address: str) -> dict[str, Any]:
    """Return the cards of an account by id, without what its server says of them."""
    cards = {}
    for card in run("export", "-", "--format", "jsonl", server=address).lines:
        for name in ("etag", "createTime", "updateTime"):
            card.pop(name, None)
        for point in (*card.get("emails", ()), *card.get("phones", ())):
            del point["finding"]
        cards[card["id"]] = card
    return cards


def test_an_export_in_any_format_gives_another_account_the_same_cards(
    start_server: StartServer, tmp_path: Path
) -> None:
    one, other = start_server(), start_server()
    key = uuid.uuid4().hex[:8]
    cards: list[dict[str, Any]] = [
        {"id": f"{key}-{n}", "firstName": "Ada", "lastName": f"Łovelace {n}", "tags": ["a; b", "c"],
         "birthDate": {"year": 1990, "month": 5, "day": n % 28 + 1},
         "emails": [{"value": f"{n}@x.org"}], "phones": [{"value": f"+49 151 2345{n:04}"}],
         "addresses": [{"lines": ["Weg 1", "Hof"], "city": "Köln", "country": "DE"}],
         "identities": [{"type": "loyalty", "value": f"00{n}"}],
         "customFields": {"vip": {"flag": n % 2 == 0}, "visits": {"integer": str(n)}}}
        for n in range(40)
    ]  # fmt: skip
    cards.append({"id": key, "kind": "CUSTOMER_KIND_COMPANY", "companyName": "Łódź, Ltd"})
    lines = "\n".join(map(json.dumps, cards))
    assert run("import", "-", "--format", "jsonl", server=one.address, stdin=lines).status == 0
    expected = _cards(one.address)
    assert len(expected) == len(cards)
    outcome = "created"
    for kind in KINDS:
        path = tmp_path / f"people.{kind}"
        assert run("export", str(path), server=one.address).status == 0
        done = run("import", str(path), "--json", "--create-all", server=other.address)
        assert (done.status, done.err) == (0, ""), kind
        assert done.lines[0]["counts"][outcome] == len(cards), kind
        assert _cards(other.address) == expected, kind
        outcome = "unchanged"


@pytest.mark.parametrize("kind", KINDS)
def test_failed_rows_are_corrected_and_imported_again(
    namesake: Namesake, tmp_path: Path, kind: str
) -> None:
    """Both what the file says wrongly and what the server refuses; unknown columns are kept."""
    key = uuid.uuid4().hex[:8]
    rows = [
        {
            "Kundennr.": f"{key}-{n}",
            "Nachname": f"N{n}",
            "Geburtsdatum": "31.12.1990",
            "Schuh": "42",
        }
        for n in range(1, 9)
    ]
    rows[2]["Geburtsdatum"], rows[5]["Nachname"] = "never", ""
    source, failed = _write(tmp_path / f"people.{kind}", rows), tmp_path / "failed.csv"
    options = ("--failures", str(failed), "--map", "Kundennr.=id", "--json")
    done = namesake("import", str(source), *options)
    assert (done.status, done.lines[0]["refused"]) == (3, 1)
    assert done.lines[0]["counts"]["created"] == 6
    found = _texts(failed)
    assert [{name: row[name] for name in rows[0]} for row in found] == [rows[2], rows[5]]
    reasons = [(row["failure_row"], row["failure_reason"]) for row in found]
    assert reasons == [("3", "ROW_FORMAT"), ("6", "INVALID_ARGUMENT")]
    assert found[0]["failure_field"] == "Geburtsdatum"
    corrected = _write(
        tmp_path / f"corrected.{kind}",
        [row | {"Geburtsdatum": "1.1.1991", "Nachname": "Better"} for row in found],
    )
    again = namesake("import", str(corrected), "--map", "Kundennr.=id", "--json")
    assert (again.status, again.lines[0]["counts"]["created"]) == (0, 2), again.err
    (card,) = namesake("get", f"{key}-3", "--json").lines
    assert (card["lastName"], card["birthDate"]["year"]) == ("Better", 1991)


def test_failed_lines_of_customers_are_corrected_and_imported_again(
    namesake: Namesake, tmp_path: Path
) -> None:
    key = uuid.uuid4().hex[:8]
    source, failed = tmp_path / "people.jsonl", tmp_path / "failed.jsonl"
    lines = [{"id": f"{key}-1", "lastName": "A"}, {"id": f"{key}-2"}, {"id": f"{key}-3", "shoe": 1}]
    source.write_text("\n".join([*map(json.dumps, lines), "no json"]))
    wrong = namesake("import", str(source), "--failures", str(tmp_path / "failed.csv"))
    assert (wrong.status, "name it .jsonl" in wrong.err) == (2, True)
    done = namesake("import", str(source), "--failures", str(failed), "--json")
    assert (done.status, done.lines[0]["refused"]) == (3, 2)
    first, second, third = failed.read_text().splitlines()
    assert json.loads(first)["failure"]["row"] == "2"
    assert json.loads(second)["failure"]["reason"] == "ROW_FORMAT"
    assert third == "no json"
    better = [json.loads(first) | {"lastName": "B"}, json.loads(second) | {"lastName": "C"}]
    del better[1]["shoe"]
    failed.write_text("\n".join(map(json.dumps, better)))
    again = namesake("import", str(failed), "--json")
    assert (again.status, again.lines[0]["counts"]["created"]) == (0, 2), again.err


def test_columns_are_read_as_options_say(configured: Namesake, tmp_path: Path) -> None:
    key = uuid.uuid4().hex[:8]
    source = tmp_path / "people.csv"
    source.write_bytes(
        "Nummer;Nachname;Datum;Mail 1;Stadt;Schuh\n"
        f"{key}-1;Müller;03/04/1990;a{key}@x.org;Köln;42\n"
        f"{key}-2;Weiß;1990.04.05;b{key}@x.org;;43\n".encode("cp1252")
    )
    options = (
        "--map", "Nummer=id", "--map", "Datum=birth_date", "--dates", "mdy",
        "--date-format", "%Y.%d.%m", "--set", "city=Bonn", "--set", "tags=fair",
    )  # fmt: skip
    tried = configured("import", str(source), *options, "--dry-run")
    assert tried.status == 0, tried.err
    assert "columns left out: 'Schuh'" in tried.err
    for part in ("windows-1252", "semicolons", "birth_date (mdy)", "--map", "Müller", "every row"):
        assert part in tried.err
    assert configured("mappings", "list", "--json").lines == []
    done = configured("import", str(source), *options, "--save-mapping", "mine", "--json")
    assert (done.status, done.lines[0]["counts"]["created"]) == (0, 2), done.err
    one, two = (configured("get", f"{key}-{n}", "--json").lines[0] for n in (1, 2))
    assert (one["birthDate"], one["tags"]) == ({"year": 1990, "month": 3, "day": 4}, ["fair"])
    assert two["birthDate"] == {"year": 1990, "month": 5, "day": 4}
    assert [card["addresses"][0]["city"] for card in (one, two)] == ["Köln", "Bonn"]

    (saved,) = configured("mappings", "list", "--json").lines
    assert (saved["name"], saved["columns"]["Nummer"], saved["dateOrder"]) == ("mine", "id", "mdy")
    assert "birth_date" in configured("mappings", "show", "mine").out
    hinted = configured("import", str(source), "--dry-run", "--json")
    assert "a saved mapping fits: --mapping mine" in hinted.err
    again = configured("import", str(source), "--mapping", "mine", "--json")
    assert again.lines[0]["counts"]["rows"] == 2
    assert again.err == ""  # what was left out was left out on purpose
    assert again.lines[0]["jobId"] == done.lines[0]["jobId"]  # read alike, it is the same job
    assert configured("mappings", "delete", "mine").status == 0
    gone = configured("import", str(source), "--mapping", "mine")
    assert (gone.status, "no saved mapping" in gone.err) == (1, True)


def test_a_sheet_is_chosen_and_phones_that_are_numbers_keep_their_digits(
    namesake: Namesake, tmp_path: Path
) -> None:
    key = uuid.uuid4().hex[:8]
    source = tmp_path / "people.xlsx"
    table = pa.table({"last name": [key], "phone": [491512345678]})
    with writing(str(source), table.schema) as file:
        file.write(table.to_batches()[0])
    with open_table(str(source)) as opened:
        sheet = opened.sheet
    done = namesake("import", str(source), "--sheet", sheet, "--json", "--region", "DE")
    assert done.lines[0]["counts"]["created"] == 1
    assert namesake("resolve", "+491512345678").status == 0
    other = namesake("import", str(source), "--sheet", "Nobody")
    assert (other.status, "Nobody" in other.err) == (2, True)


@pytest.mark.parametrize(
    ("lines", "options"),
    [
        ('{"Nachname": "%s", "E-Mail": ["%s@x.org"]}', []),
        ('{"lastName": "%s", "email": "%s@x.org"}', []),
        ('{"lastName": "%s", "comment": "%s@x.org"}', ["--map", "comment=email"]),
    ],
)
def test_objects_whose_keys_are_columns_are_a_table(
    namesake: Namesake, lines: str, options: list[str]
) -> None:
    key = uuid.uuid4().hex[:8]
    done = namesake(
        "import", "-", "--format", "jsonl", "--json", *options, stdin=lines % (key, key)
    )
    assert (done.status, done.lines[0]["counts"]["created"]) == (0, 1), done.err
    assert namesake("resolve", f"{key}@x.org").status == 0


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--set", "id=7"], 2, "all rows may share"),
        (["--set", "birth_date=never"], 2, "Not a date"),
        (["--date-format", "%Y"], 2, "whole dates"),
        (["--mapping", "nobody"], 1, "no saved mapping"),
        (["--save-mapping", "no name"], 1, "a mapping's name"),
        (["--failures", "failed.xlsx"], 2, "name it .csv"),
        (["--quote", "ab"], 2, "one character"),
        (["--format", "parquet"], 1, "Parquet"),
        (["--format", "customers", "--save-mapping", "x"], 2, "no columns"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    configured: Namesake, tmp_path: Path, options: list[str], status: int, message: str
) -> None:
    source = tmp_path / "people.csv"
    source.write_text("id,last name\n1,A\n")
    done = configured("import", str(source), *options)
    assert (done.status, message in done.err) == (status, True), done.err
    assert "Traceback" not in done.err


def _at_terminal(server: Server, *arguments: str, answer: bytes) -> tuple[int, str]:
    """Run a command at a terminal, and answer its question; return all that it showed."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "NAMESAKE_SERVER": server.address, "COLUMNS": "120"}
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown, answered = b"", False
    try:
        while chunk := _read(ours):
            shown += chunk
            if b"like this?" in shown and not answered:
                os.write(ours, answer)
                answered = True
        return process.wait(60), shown.decode()
    finally:
        process.kill()
        os.close(ours)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # the other side is closed
        return b""


def test_whoever_sits_at_a_terminal_is_asked_once(shared: Server, tmp_path: Path) -> None:
    key = uuid.uuid4().hex[:8]
    source = tmp_path / "people.csv"
    source.write_text(f"id,last name,nothing\n{key},Lovelace,\n")
    at: Callable[..., tuple[int, str]] = lambda *more, answer: _at_terminal(  # noqa: E731
        shared, "import", str(source), *more, answer=answer
    )
    status, shown = at(answer=b"n\n")
    assert (status, "nothing is imported" in shown) == (1, True)
    assert "Import about 1 row like this?" in shown
    for part in ("last_name", "100%", "Lovelace", "commas"):
        assert part in shown
    assert run("get", key, server=shared.address).status == 1
    status, shown = at("--dry-run", answer=b"")
    assert (status, "like this?" in shown, "last_name" in shown) == (0, False, True)
    status, shown = at(answer=b"\n")
    assert (status, "Imported" in shown) == (0, True)
    status, shown = at(answer=b"")  # it was begun, so somebody agreed
    assert (status, "like this?" in shown, "imported before" in shown) == (0, False, True)
    status, shown = at("--yes", "--job-id", key, answer=b"")
    assert (status, "like this?" in shown) == (0, False)


def test_a_table_knows_its_rows_beforehand_where_the_file_says(
    namesake: Namesake, tmp_path: Path
) -> None:
    key = uuid.uuid4().hex[:8]
    source = _write(tmp_path / "people.parquet", [{"last name": f"{key} {n}"} for n in range(7)])
    assert namesake("import", str(source), "--job-id", key).status == 0
    (job,) = namesake("jobs", "show", key, "--json").lines
    assert (job["settings"]["totalRows"], job["settings"]["title"]) == ("7", "people.parquet")


def test_a_file_of_failures_is_written_anew_with_rows_of_all_runs(
    namesake: Namesake, tmp_path: Path
) -> None:
    """Also those that only the server knows, found in the columns by their place in the job."""
    key = uuid.uuid4().hex[:8]
    source, failed = tmp_path / "people.xlsx", tmp_path / "failed.csv"
    rows = [
        {"id": f"{key}-{n}", "last name": "" if n % 7 == 0 else "A", "birth date": ""}
        for n in range(1, 2_500)
    ]
    for row in rows[::11]:
        row["birth date"] = "once upon a time"
    expected = [row["id"] for row in rows if not row["last name"] or row["birth date"]]
    _write(source, rows)
    assert namesake("import", str(source)).status == 3
    assert namesake("import", str(source), "--failures", str(failed)).status == 3
    with failed.open(newline="") as stream:
        assert [row["id"] for row in csv.DictReader(stream)] == expected
