"""`namesake dedupe` and `namesake evaluate`: files in, clusters out, no server."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.worlds import WORLDS, write
from service.cli.dedupe import cluster_names
from tests.cli.conftest import Namesake

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
    files = (str(people), str(parquet), str(lines))
    done = offline("dedupe", *files, "--output", "-", "--region", "DE")
    # A file without ids has its records numbered, the files before it included.
    found = _clusters(done.out)
    assert (found["6"], found["12"], found["10"]) == ("6", "6", "7")
    assert done.err.startswith("7 records")


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


def test_clusters_are_called_by_their_least_record() -> None:
    assert cluster_names(["10", "9", "b", "a"], [0, 0, 2, 2]) == ["9", "9", "a", "a"]


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
