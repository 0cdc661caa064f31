"""`namesake check`: validity without a server."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from service.transfer.tables import open_table
from service.transfer.writers import writing
from tests.cli.conftest import COMMAND, Namesake, run, running
from tests.conftest import INTERRUPTIBLE, wait_until

ADDED = (
    "email_verdict", "email_reason", "email_normal", "phone_verdict", "phone_reason", "phone_e164",
    "phone_region", "phone_type",
)  # fmt: skip


def test_values_are_checked_by_their_look(offline: Namesake) -> None:
    done = offline(
        "check", "ada@Example.COM", "a..b@example.com", "020 7946 0018", "12",
        "--no-dns", "--region", "gb", "--json",
    )  # fmt: skip
    assert done.status == 0
    facts = [(line["channel"], line["verdict"], line["normal"]) for line in done.lines]
    assert facts == [
        ("EMAIL", "VALID", "ada@example.com"),
        ("EMAIL", "INVALID", ""),
        ("PHONE", "VALID", "+442079460018"),
        ("PHONE", "INVALID", ""),
    ]
    assert done.lines[3]["message"] == "Does not match the international phone number format"


def test_without_dns_nothing_is_invalid(offline: Namesake) -> None:
    done = offline("check", "ada@example.com", "--dns-server", "127.0.0.1:9", "--json")
    assert (done.status, done.lines[0]["verdict"]) == (0, "UNKNOWN")


def test_a_check_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = (*COMMAND, "check", "ada@example.com", "--dns-server", "127.0.0.1:9")
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []


def test_a_list_keeps_its_columns_and_gets_verdicts(offline: Namesake, tmp_path: Path) -> None:
    source, output = tmp_path / "people.csv", tmp_path / "checked.csv"
    source.write_text(
        "Nr;E-Mail;Telefon;Land;Notiz\n"
        "1;Ada@Example.com;030 123456;Germany;\n"
        "2;null;020 7946 0018;GB;'x'\n"
        "3;;;;\n"
        "4;a@x.org;123\n",
        encoding="utf-8-sig",
    )
    done = offline("check", "--input", str(source), "--output", str(output), "--no-dns")
    assert done.status == 0
    assert done.out == ""
    with output.open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter=";"))
    assert tuple(rows[0]) == ("Nr", "E-Mail", "Telefon", "Land", "Notiz", *ADDED)
    assert [row["Nr"] for row in rows] == ["1", "2", "3", "4"]
    assert rows[0]["email_normal"] == "Ada@example.com"
    assert (rows[0]["phone_e164"], rows[0]["phone_region"]) == ("+4930123456", "DE")
    assert (rows[1]["email_verdict"], rows[1]["email_reason"]) == ("INVALID", "EMAIL_SYNTAX")
    assert (rows[1]["phone_verdict"], rows[1]["phone_type"]) == ("VALID", "FIXED_LINE")
    assert all(rows[2][name] == "" for name in ADDED)
    assert rows[3]["phone_reason"] == "PHONE_FORMAT"


def test_what_is_said_of_e_mails_is_no_e_mail(offline: Namesake) -> None:
    """A contact's is one; whether to write to it is not."""
    text = "no email,newsletter,Contact email,Fax\nyes,no,ada@example.com,12\n"
    done = offline("check", "--input", "-", "--output", "-", "--no-dns", stdin=text)
    (row,) = csv.DictReader(done.out.splitlines())
    assert (row["email_normal"], row["phone_verdict"]) == ("ada@example.com", "")


def test_a_checked_list_is_checked_again_in_place(offline: Namesake) -> None:
    once = offline("check", "--input", "-", "--output", "-", "--no-dns", stdin="email\na@x.org\n")
    twice = offline("check", "--input", "-", "--output", "-", "--no-dns", stdin=once.out)
    assert once.status == 0
    assert twice.out == once.out


def test_columns_are_named_and_a_row_with_too_many_cells_loses_none(offline: Namesake) -> None:
    table = "contact,other\na@x.org,b@x.org,extra\n"
    done = offline(
        "check", "--input", "-", "--output", "-", "--no-dns", "--map", "other=email", stdin=table
    )
    (row,) = list(csv.reader(io.StringIO(done.out)))[1:]
    assert row[:5] == ["a@x.org", "b@x.org", "VALID", "NOT_LOOKED_UP", "b@x.org"]
    assert row[-1] == "extra"


@pytest.mark.parametrize(
    ("arguments", "stdin", "status", "message"),
    [
        (["check"], "", 2, "give either values"),
        (["check", "--input", "-"], "", 2, "give either values"),
        (["check", "--input", "/no/such", "--output", "-"], "", 1, "Cannot open"),
        (["check", "--input", "-", "--output", "-"], "shoe\n42\n", 1, "--map"),
        (["check", "--input", "-", "--output", "-", "--map", "x=email"], "a\n", 2, "no column"),
        (["check", "--input", "-", "--output", "-", "--map", "a=id"], "a\n", 2, "no field"),
        (["check", "--input", "-", "--output", "-"], "", 1, "no header"),
        (["check", "x@y.org", "--region", "Narnia"], "", 2, "region"),
        (["check", "--input", "-", "--output", "-", "--delimiter", ";;"], "a\n", 2, "one char"),
        (["check", "--input", "-", "--output", "-", "--encoding", "utf-16"], "a\n", 1, "BOM"),
        (["check", "--input", "-", "--output", "/dev/full"], "email\n", 1, "No space left"),
    ],
)
def test_wrong_use_says_what_is_wrong(
    offline: Namesake, arguments: list[str], stdin: str, status: int, message: str
) -> None:
    done = offline(*arguments, stdin=stdin)
    assert done.status == status, done.err
    assert message in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_check_that_is_ended_leaves_no_output(tmp_path: Path, number: signal.Signals) -> None:
    """Nothing is looked up and nothing waited for: it stops all the same."""
    folder, source = tmp_path / "out", tmp_path / "people.csv"
    folder.mkdir()
    source.write_text("email\n" + "".join(f"a{n}@x.org\n" for n in range(100_000)))
    files = ("--input", str(source), "--output", str(folder / "out.csv"))
    with running("check", *files, "--no-dns") as process:
        wait_until(lambda: any(folder.iterdir()))
        process.send_signal(number)
        assert process.wait(20) not in (0, -number)
    assert list(folder.iterdir()) == []


def test_a_check_of_a_quiet_pipe_is_ended_at_once() -> None:
    with running("check", "--input", "-", "--output", "-", "--no-dns") as process:
        time.sleep(2)  # it waits for the header
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(10) != 0


def test_a_byte_order_mark_does_not_go_into_the_table(offline: Namesake) -> None:
    done = offline(
        "check", "--input", "-", "--output", "-", "--no-dns", "--encoding", "utf-8",
        stdin="\ufeffemail\na@x.org\n",
    )  # fmt: skip
    assert done.out.startswith("email,")


def test_a_check_that_fails_leaves_no_output(offline: Namesake, tmp_path: Path) -> None:
    source, output = tmp_path / "bad.csv", tmp_path / "out.csv"
    source.write_bytes(b"email\na@x.org\n\xff\xfe@x.org\n")
    done = offline(
        "check", "--input", str(source), "--output", str(output), "--no-dns", "--encoding", "utf-8"
    )
    assert done.status == 1
    assert "encoding" in done.err
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("seconds", [0.3, 0.6, 0.9, 1.2, 1.8])
def test_an_interrupt_of_all_processes_is_told_once(tmp_path: Path, seconds: float) -> None:
    """^C at a terminal reaches the processes of the check too, at whatever stage they are."""
    source = tmp_path / "people.csv"
    source.write_bytes(b"email\n" + b"a@x.org\n" * 4_000_000)  # more than is read meanwhile
    process = subprocess.Popen(
        [
            *INTERRUPTIBLE,
            *COMMAND,
            "check",
            "--no-dns",
            "--input",
            str(source),
            "--output",
            str(tmp_path / "out"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode != 0
    # The first may be met while it is still importing; the others never are.
    assert "multiprocessing" not in told
    assert told.count("Traceback") <= 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seconds", [0, 0.05, 0.2, 0.6])
def test_a_process_of_a_check_that_is_killed_is_told(tmp_path: Path, seconds: float) -> None:
    """In one line, at whatever stage it and the others are."""
    with _checking(tmp_path) as process:
        time.sleep(seconds)
        os.kill(_pool(process.pid)[0], signal.SIGKILL)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 1
    assert [b"A process of the check was killed" in line for line in told.splitlines()] == [True]


def test_the_processes_of_a_check_end_with_the_first(tmp_path: Path) -> None:
    with _checking(tmp_path) as process:
        children = _pool(process.pid)
        process.kill()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


@contextmanager
def _checking(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Check a long list; goes on once a process of it was begun."""
    source = folder / "people.csv"
    source.write_text("email\n" + "".join(f"a{n}@x.org\n" for n in range(400_000)))
    files = ("--input", str(source), "--output", str(folder / "out"))
    with running("check", *files, "--no-dns") as process:
        wait_until(lambda: len(_pool(process.pid)) > 0)
        yield process


def _pool(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def test_a_long_list_is_checked_by_several_processes_in_its_order(
    offline: Namesake, tmp_path: Path
) -> None:
    """As its parts are by one: every row once, in place, odd ones too."""
    header = "n,email,phone,country\n"
    odd = ('"a,b",x@y.org,,\n', "short,a@b.org\n", 'long,,12,GB,"more\ncells",x\n', '"q""q",,,\n')
    rows = [
        odd[n % 4] if n % 50 == 0 else f"{n},anna{n}@example{n % 7}.com,020 7946 {n % 9999:04},GB\n"
        for n in range(12_000)
    ]
    whole, parts = tmp_path / "whole.csv", []
    whole.write_text(header + "".join(rows))
    done = offline("check", "--input", str(whole), "--output", "-", "--no-dns")
    assert done.status == 0, done.err
    for start in range(0, len(rows), 4_000):
        part = tmp_path / "part.csv"
        part.write_text(header + "".join(rows[start : start + 4_000]))
        parts.append(offline("check", "--input", str(part), "--output", "-", "--no-dns").out)
    (head, first), *others = (part.split("\n", 1) for part in parts)
    assert done.out == f"{head}\n" + first + "".join(rest for _, rest in others)
    assert len(list(csv.reader(io.StringIO(done.out)))) == 12_001


# Lists of other kinds

LIST = {
    "Nr": ["1", "2", "3", "4"],
    "E-Mail": ["Ada@Example.com", "null", "", 'a "b"@x.org'],
    "Telefon": ["030 123456", "020 7946 0018", "", "0123"],
    "Land": ["Germany", "GB", "", ""],
    "Notiz": ["", "a;b, c", "two\nlines", "007"],
}


def _write(path: Path, columns: dict[str, list[str]]) -> Path:
    batch = pa.record_batch(columns)
    with writing(str(path), batch.schema) as writer:
        writer.write(batch)
    return path


def _read(path: Path) -> dict[str, list[str]]:
    with open_table(str(path)) as table:
        (block,) = table.blocks(range(len(table.header)))
        cells = (block.columns[place].to_pylist() for place in range(len(table.header)))
        return dict(zip(table.header, cells, strict=True))


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return what comes of LIST as CSV."""
    folder = tmp_path_factory.mktemp("checked")
    source, output = _write(folder / "list.csv", LIST), folder / "checked.csv"
    done = run("check", "--input", str(source), "--output", str(output), "--no-dns")
    assert done.status == 0, done.err
    return _read(output)


@pytest.mark.parametrize(
    ("before", "after"),
    [("jsonl", "csv"), ("xlsx", "parquet"), ("parquet", "xlsx"), ("csv", "jsonl"), ("xlsx", "csv")],
)
def test_a_list_of_any_kind_is_checked_as_csv_is(
    offline: Namesake, checked: dict[str, list[str]], tmp_path: Path, before: str, after: str
) -> None:
    """And keeps all its cells."""
    source, output = _write(tmp_path / f"list.{before}", LIST), tmp_path / f"out.{after}"
    done = offline("check", "--input", str(source), "--output", str(output), "--no-dns", "--json")
    assert done.lines == [{"file": str(output), "rows": 4}], done.err
    assert _read(output) == checked
    assert {name: checked[name] for name in LIST} == LIST


def test_a_list_in_an_old_encoding_with_apostrophes_is_read(
    offline: Namesake, tmp_path: Path
) -> None:
    """What is found in the file; what is written is usual CSV, with the same delimiter."""
    source, output = tmp_path / "list.txt", tmp_path / "out.csv"
    rows = ("'Имя'|'E-Mail'", "'Анна'|'anna@x.org'", "'5\" труба'|'b@x.org'", '5" |c@x.org')
    source.write_bytes("\n".join(rows).encode("windows-1251"))
    done = offline("check", "--input", str(source), "--output", str(output), "--no-dns")
    assert done.status == 0, done.err
    with output.open(newline="", encoding="utf-8") as stream:
        found = list(csv.DictReader(stream, delimiter="|"))
    assert [row["Имя"] for row in found] == ["Анна", '5" труба', '5" ']
    assert [row["email_normal"] for row in found] == ["anna@x.org", "b@x.org", "c@x.org"]


def test_a_list_is_read_as_one_says(offline: Namesake, tmp_path: Path) -> None:
    """Its encoding and marks, its sheet, and its format where no ending says it."""
    table = "#E-Mail#;#x#\n#ä@x.org#;#1#\n".encode("utf-16-le")
    options = ("--encoding", "utf-16-le", "--quote", "#", "--delimiter", ";", "--no-dns")
    done = offline("check", "--input", "-", "--output", "-", *options, stdin=table)
    (row,) = csv.DictReader(done.out.splitlines(), delimiter=";")
    assert (row["E-Mail"], row["x"]) == ("ä@x.org", "1")

    path = _write(tmp_path / "list.xlsx", LIST)
    sheet = ("check", "--input", str(path), "--output", "-", "--no-dns", "--sheet")
    assert len(offline(*sheet, "Customers").out.splitlines()) == 6  # a cell has two lines
    refused = offline(*sheet, "Others")
    assert (refused.status, "no sheet 'Others'" in refused.err) == (2, True)

    stdin = ("check", "--input", "-", "--output", "-", "--no-dns", "--format", "jsonl")
    (row,) = csv.DictReader(offline(*stdin, stdin='{"email": "a@x.org", "n": 1}').out.splitlines())
    assert (row["n"], row["email_reason"]) == ("1", "NOT_LOOKED_UP")


def test_a_long_list_of_another_kind_is_checked_by_several_processes_in_its_order(
    offline: Namesake, tmp_path: Path
) -> None:
    rows = {"email": [f"a{n}@x.org" for n in range(12_000)]}
    source, output = _write(tmp_path / "list.jsonl", rows), tmp_path / "out.parquet"
    done = offline("check", "--input", str(source), "--output", str(output), "--no-dns")
    assert done.status == 0, done.err
    assert _read(output)["email_normal"] == rows["email"]


@pytest.mark.parametrize(
    ("name", "content", "output", "message"),
    [
        ("a.csv", b"email,x,x\na@x.org,1,2\n", "o.parquet", "two columns 'x'"),
        ("a.csv", b"email\na@x.org\nb@x.org,1\n", "o.jsonl", "Row 2 has more cells"),
        ("a.jsonl", b'{"email": "a"}\n{"email": {}}\n', "o.csv", "Line 2: 'email' is an object"),
        ("a.jsonl", b'{"email": "a"}\n[]\n', "o.xlsx", "Line 2 is no JSON object"),
        ("a.xlsx", b"PK", "o.csv", "damaged"),
        ("a.parquet", b"PAR1", "o.csv", "Cannot open"),
    ],
)
def test_a_list_that_cannot_be_kept_whole_is_refused(
    offline: Namesake, tmp_path: Path, name: str, content: bytes, output: str, message: str
) -> None:
    """By the row at fault, and nothing is left of what was written."""
    source = tmp_path / name
    source.write_bytes(content)
    done = offline("check", "--input", str(source), "--output", str(tmp_path / output), "--no-dns")
    assert done.status == 1
    assert message in done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == [source]
