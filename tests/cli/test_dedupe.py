"""`namesake dedupe` and `namesake evaluate`: files in, clusters out, no server."""

from __future__ import annotations

import csv
import io
import json
import signal
from datetime import date
from pathlib import Path
from random import Random
from time import monotonic, sleep

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.worlds import WORLDS, write
from service.cli.records import Found, cluster_names, write_clusters
from service.transfer.writers import writing
from tests.cli.conftest import Namesake, running

ROOT = Path(__file__).parent.parent.parent

PEOPLE = """\
id,Vorname,Nachname,Geburtsdatum,E-Mail,Telefon,PLZ,Ort
7,Anna,Weiß,1980-05-17,anna.weiss80@example.org,030 9018 1234,10115,Berlin
12,Ana,Weiss,1980-05-17,,+49 30 90181234,10115,Berlin
9,Peter,Lang,1975-01-30,peter@lang.example,0171 1234567,80331,München
31,Pete,Lang,1975-01-30,peter@lang.example,,80331,München
10,Yusuf,Demir,1990-11-02,y.demir@example.org,0151 23456789,50667,Köln
"""


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text(PEOPLE)
    return path


def _clusters(text: str) -> dict[str, str]:
    header, *rows = csv.reader(io.StringIO(text))
    assert header == ["record", "cluster"]
    return dict(rows)


def test_records_of_one_person_share_a_cluster(offline: Namesake, people: Path) -> None:
    done = offline("dedupe", str(people), "--output", "-", "--region", "DE")
    assert (done.status, "5 records, 3 clusters" in done.err) == (0, True)
    assert _clusters(done.out) == {"7": "7", "12": "7", "9": "9", "31": "9", "10": "10"}


def test_several_files_of_any_kind_are_one_list(
    offline: Namesake, people: Path, tmp_path: Path
) -> None:
    parquet, lines = tmp_path / "b.parquet", tmp_path / "c.jsonl"
    table = pa.table({"name": ["Weiß, Anna"], "dob": ["17.05.1980"], "zip": [10115]})
    pq.write_table(table, parquet)
    lines.write_text(json.dumps({"full_name": "Yusuf Demir", "email": "Y.Demir@example.org"}))
    sheet, old = tmp_path / "d.xlsx", tmp_path / "e.csv"
    with writing(str(sheet), pa.schema([("Telefon", pa.int64()), ("dob", pa.date32())])) as writer:
        writer.write(pa.record_batch({"Telefon": [4915123456789], "dob": [date(1990, 11, 2)]}))
    old.write_bytes("Name;Vorname;E-Mail\nWeiß;Anna;anna.weiss80@example.org\n".encode("cp1252"))
    files = (str(people), str(parquet), str(lines), str(sheet), str(old))
    done = offline("dedupe", *files, "--output", "-", "--region", "DE")
    # A file without ids has its records numbered, the files before it included.
    found = _clusters(done.out)
    assert (found["6"], found["12"], found["10"]) == ("6", "6", "7")
    assert found["9"] == "6"
    assert done.err.startswith("9 records")


def test_pairs_and_the_model_are_written(offline: Namesake, people: Path, tmp_path: Path) -> None:
    pairs, model = tmp_path / "pairs.parquet", tmp_path / "model.json"
    files = ("--output", str(tmp_path / "out.csv"), "--pairs", str(pairs))
    done = offline("dedupe", str(people), *files, "--region", "DE", "--save-model", str(model))
    assert done.status == 0, done.err
    rows = pq.read_table(pairs).to_pylist()
    assert {frozenset((row["record"], row["other"])) for row in rows} == {
        frozenset(("7", "12")),
        frozenset(("9", "31")),
    }
    assert all(row["weight"] > 0 and 0.5 < row["probability"] <= 1 for row in rows)
    again = offline("dedupe", str(people), "--output", "-", "--region", "DE", "--model", str(model))
    assert again.out == (tmp_path / "out.csv").read_text()


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("colour,size\nred,1\n", (), "--map"),
        ("id,email\n1,a@x.org\n", ("--map", "mail=email"), "mail"),
        ("id,email\n1,a@x.org\n", ("--map", "email=shoe"), "shoe"),
        ("id,email\n1,a@x.org\n", ("--model", "MODEL"), "Not a model"),
        ('id,email\n1,"a@x.org\n', (), "ine 2"),
    ],
)
def test_a_refusal_is_precise_and_leaves_no_file(
    offline: Namesake, tmp_path: Path, text: str, options: tuple[str, ...], told: str
) -> None:
    source, output, model = tmp_path / "a.csv", tmp_path / "out.csv", tmp_path / "model.json"
    source.write_text(text)
    model.write_text("{}")
    given = [str(model) if option == "MODEL" else option for option in options]
    done = offline("dedupe", str(source), "--output", str(output), *given)
    assert done.status in (1, 2)
    assert told in done.err
    assert "a@x.org" not in done.err
    assert not output.exists()


def test_the_order_of_rows_decides_nothing(offline: Namesake, tmp_path: Path) -> None:
    """Not even between records that say the same."""
    people, turned, truth = (tmp_path / name for name in ("a.csv", "b.csv", "truth.csv"))
    write(WORLDS["dirty"], 2_000, 3, people, truth)
    header, *rows = people.read_text().splitlines()
    rows += [f"again-{number},{row.partition(',')[2]}" for number, row in enumerate(rows[::7])]
    people.write_text("\n".join([header, *rows]) + "\n")
    turned.write_text("\n".join([header, *rows[::-1]]) + "\n")
    one, other = (offline("dedupe", str(path), "--output", "-").out for path in (people, turned))
    assert _clusters(one) == _clusters(other)
    assert len(_clusters(one)) == len(rows)


def test_an_empty_list_has_no_clusters(offline: Namesake, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("id,email\n")
    done = offline("dedupe", str(source), "--output", "-")
    assert (done.status, done.out) == (0, "record,cluster\n")


# Two files

FIRST = """\
id,first_name,last_name,birth_date,email,postcode
1,Anna,Weiß,1980-05-17,anna.weiss80@example.org,10115
2,Peter,Lang,1975-01-30,peter@lang.example,80331
3,Anna,Weiß,1980-05-17,anna.weiss80@example.org,10115
"""
SECOND = """\
id,first_name,last_name,birth_date,email,postcode
3,Peter,Lang,1975-01-30,peter@lang.example,80331
1,Yusuf,Demir,1990-11-02,y.demir@example.org,50667
4,Yusuf,Demir,1990-11-02,y.demir@example.org,50667
"""


@pytest.fixture
def two(tmp_path: Path) -> tuple[str, str]:
    """Files that number their rows alike, and have doubles within."""
    paths = (tmp_path / "first.csv", tmp_path / "second.csv")
    for path, text in zip(paths, (FIRST, SECOND), strict=True):
        path.write_text(text)
    return str(paths[0]), str(paths[1])


def test_two_files_are_linked_and_neither_is_compared_with_itself(
    offline: Namesake, two: tuple[str, str]
) -> None:
    done = offline("dedupe", two[0], "--link", two[1], "--output", "-")
    assert done.status == 0, done.err
    assert done.out.splitlines() == [
        "record,cluster,file",
        "1,1:1,1", "2,1:2,1", "3,1:3,1",
        "3,1:2,2", "1,2:1,2", "4,2:4,2",
    ]  # fmt: skip
    assert "1 of the 3 records of the second file are found" in done.err


def test_linked_files_are_reported_and_judged(
    offline: Namesake, two: tuple[str, str], tmp_path: Path
) -> None:
    output, pairs, page = (tmp_path / name for name in ("out.csv", "pairs.parquet", "page.html"))
    files = ("--output", str(output), "--pairs", str(pairs), "--report", str(page))
    done = offline("dedupe", two[0], "--link", two[1], *files, "--json")
    (told,) = done.lines
    assert (told["foundRecords"], told["secondRecords"], told["repeatedIds"]) == (1, 3, 0)
    (pair,) = pq.read_table(pairs).to_pylist()
    assert (pair["record"], pair["other"]) == ("2", "3")  # of the first file, of the second
    assert "1:2 and 2:3" in page.read_text()
    judged = offline("evaluate", str(output), str(output), "--json")
    assert [line["f1"] for line in judged.lines] == [1.0, 1.0]


def test_one_file_is_linked_to_one(offline: Namesake, two: tuple[str, str]) -> None:
    done = offline("dedupe", *two, "--link", two[1], "--output", "-")
    assert (done.status, "--link" in done.err) == (2, True)


# Outputs


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--output", "people.csv"), "--output: people.csv is an input already"),
        (("--output", "link.csv"), "an input"),
        (("--output", "o.csv", "--report", "folder/../o.csv"), "for --output"),
        (("--output", "o.csv", "--pairs", "link.csv"), "--pairs: link.csv is an input"),
        (("--output", "-", "--report", "-"), "--report: - is for --output"),
        (("--output", "-", "--json"), "--output: - is for --json"),
        (("--output", "o.csv", "--model", "m.json", "--save-model", "m.json"), "an input"),
        (("--output", "o.csv", "--link", "link.csv"), "link.csv is an input"),
        (("--output", "nowhere/o.csv"), "Cannot write nowhere/o.csv"),
        (("--output", "o.csv", "--report", "nowhere/r.html"), "Cannot write nowhere/r.html"),
        (("--output", "o.csv", "--pairs", "folder"), "Cannot open folder"),
    ],
)
def test_outputs_that_cannot_be_are_refused_before_the_work(
    offline: Namesake,
    people: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    told: str,
) -> None:
    folder = people.parent
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (folder / "link.csv").symlink_to(people)
    (folder / "m.json").write_text("{}")
    (folder / "folder").mkdir()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = offline("dedupe", "people.csv", *options)
    assert done.status in (1, 2)
    assert told in done.err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_leaves_no_file(tmp_path: Path, number: signal.Signals) -> None:
    names = {"--output": "o.csv", "--pairs": "p.parquet", "--report": "r.html", "--save-model": "m"}
    options = [part for option, name in names.items() for part in (option, str(tmp_path / name))]
    with running("dedupe", "-", *options) as process:
        assert process.stdin
        process.stdin.write(PEOPLE.encode())
        process.stdin.flush()
        deadline = monotonic() + 30
        while len(list(tmp_path.iterdir())) < len(names):  # under way, under other names
            assert monotonic() < deadline
            sleep(0.02)
        assert not {path.name for path in tmp_path.iterdir()} & {*names.values()}
        process.send_signal(number)
        assert process.wait(30) != 0
    assert list(tmp_path.iterdir()) == []


def test_a_fault_on_the_way_leaves_what_was_there(offline: Namesake, tmp_path: Path) -> None:
    source, output, page = (tmp_path / name for name in ("a.csv", "out.csv", "page.html"))
    source.write_text('id,email\n1,"a@x.org\n')
    output.write_text("before")
    done = offline("dedupe", str(source), "--output", str(output), "--report", str(page))
    assert done.status == 1
    assert output.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "out.csv"]


def test_ids_that_repeat_are_told_and_their_clusters_kept_apart(
    offline: Namesake, two: tuple[str, str]
) -> None:
    done = offline("dedupe", *two, "--output", "-")
    assert "2 records repeat the id of another" in done.err
    rows = [line.split(",") for line in done.out.splitlines()[1:]]
    assert [cluster for _, cluster in rows] == ["1", "2", "1", "2", "1~2", "1~2"]


def _found(names: list[str], labels: list[int], second: int | None = None) -> Found:
    return Found(pa.array(names, pa.string()), np.array(labels, np.uint32), second)


def _named(names: list[str], labels: list[int], second: int | None = None) -> list[str]:
    return [str(name) for name in cluster_names(_found(names, labels, second)).to_pylist()]


def test_clusters_are_called_by_their_least_record() -> None:
    assert _named(["10", "9", "b", "a"], [0, 0, 2, 2]) == ["9", "9", "a", "a"]
    assert _named([], []) == []


def test_clusters_are_called_by_a_record_of_the_first_of_two_files() -> None:
    linked = (["10", "7", "7", "2"], [0, 1, 0, 3], 2)
    assert _named(*linked) == ["1:10", "1:7", "1:10", "2:2"]
    assert _found(*linked).in_first == (1, 2)


def test_clusters_of_records_with_one_id_are_told_apart() -> None:
    assert _named(["7", "7", "7~2", "7", "9"], [0, 1, 2, 3, 1]) == ["7", "7~3", "7~2", "7~4", "7~3"]
    assert _named(["7", "7"], [0, 0]) == ["7", "7"]


def test_clusters_are_called_as_an_obvious_loop_would() -> None:
    draw = Random(4)
    for second in (None, 300):
        ids = draw.sample(range(10_000), 600)
        names = [f"{draw.choice(('', 'é', 'x,'))}{id}" for id in ids]
        labels = [draw.randrange(200) for _ in names]
        whole = names if second is None else [
            f"{1 + (row >= second)}:{name}" for row, name in enumerate(names)
        ]  # fmt: skip
        least: dict[int, tuple[str, int, str]] = {}
        for name, label in zip(whole, labels, strict=True):
            key = ("" if second is None else name[0], len(name.encode()), name)
            least[label] = min(least.get(label, key), key)
        assert _named(names, labels, second) == [least[label][2] for label in labels]


def test_clusters_are_written_as_csv() -> None:
    for names in (["10", "9"], ["x,y", 'a"b', ""]):
        found = _found(names, [0] * len(names), 1)
        stream = io.BytesIO()
        write_clusters(stream, found)
        rows = [*csv.reader(io.StringIO(stream.getvalue().decode()))]
        assert rows[0] == ["record", "cluster", "file"]
        assert [row[0] for row in rows[1:]] == names


def test_a_world_is_found_and_judged(offline: Namesake, tmp_path: Path) -> None:
    people, truth, output = (tmp_path / name for name in ("people.csv", "truth.csv", "out.csv"))
    write(WORLDS["clean"], 4_000, 5, people, truth)
    assert offline("dedupe", str(people), "--output", str(output)).status == 0
    judged = offline("evaluate", str(output), str(truth), "--json")
    by_pairs, by_records = judged.lines
    assert by_pairs["f1"] > 0.97
    assert by_records["f1"] > 0.98


def test_what_cannot_be_judged_is_refused(offline: Namesake, tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("record,cluster\na,1\nb,1\n")
    other.write_text("record,cluster\na,1\nc,1\n")
    done = offline("evaluate", str(one), str(other))
    assert "1 records have no cluster, 1 have no truth" in done.err
    other.write_text("id,cluster\na,1\n")
    assert "the first columns are not" in offline("evaluate", str(one), str(other)).err
    other.write_text("record,cluster\na,1\na,2\n")
    assert "row 2 repeats a record" in offline("evaluate", str(one), str(other)).err
    same = offline("evaluate", str(one), str(one), "--json")
    assert [line["f1"] for line in same.lines] == [1.0, 1.0]
