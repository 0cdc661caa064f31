"""`namesake export`: whom, what of them, into which file, and when something dies meanwhile."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from namesake import v1
from tests.cli.conftest import Outcome, run, running
from tests.conftest import Server, wait_until
from tests.server.client import Client, person
from tests.server.test_export import store_large


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a few customers who differ in what a filter asks for."""
    server = Server(tmp_path_factory.mktemp("stored") / "data").start()
    rich = person(
        "a@x.example", "+442079460018", id="a", tags=["vip", "new; old"], sources=["fair"]
    )
    rich.emails.add(value="work@x.example", kind=v1.CONTACT_KIND_WORK)
    rich.addresses.add(lines=["1 High St", "Flat 2"], city="London", country="GB")
    rich.identities.extend([v1.Identity(type="card", value=value) for value in ("1", "2")])
    rich.custom_fields["size"].integer = 42
    rich.custom_fields["since"].date.year = 1990
    rich.custom_fields["seen"].flag = True
    rows = [
        rich,
        person("broken@", id="b", groups=["g"]),
        v1.Customer(id="c", kind=v1.CUSTOMER_KIND_COMPANY, company_name="C", campaigns=["c1"]),
        person("+447911123456", id="d", state=v1.CUSTOMER_STATE_ARCHIVED, tags=["vip"]),
    ]
    with server.channel() as channel:
        Client(channel).import_all("stored", rows)
    yield server
    server.kill()


def _ids(done: Outcome) -> list[str]:
    assert done.status == 0, done.err
    return [row["id"] for row in csv.DictReader(done.out.splitlines())]


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        ((), "abcd"),
        (("--tag", "vip"), "ad"),
        (("--tag", "vip", "--active-only"), "a"),
        (("--tag", "nobody's", "--tag", "vip", "--state", "archived"), "d"),
        (("--source", "fair"), "a"),
        (("--group", "g"), "b"),
        (("--campaign", "c1"), "c"),
        (("--kind", "company"), "c"),
        (("--email-verdict", "invalid", "--email-verdict", "risky"), "b"),
        (("--phone-verdict", "valid"), "ad"),
        (("--updated-since", "2020-01-31"), "abcd"),
        (("--updated-since", "2100-01-31T10:00:00+02:00"), ""),
    ],
)
def test_options_say_who_is_exported(stored: Server, options: tuple[str, ...], meant: str) -> None:
    """Each condition, and several at once."""
    done = run("export", "-", "--fields", "id", *options, server=stored.address)
    assert _ids(done) == list(meant)
    assert f"{len(meant)} customers" in done.err


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--updated-since", "yesterday"), 2, "--updated-since"),
        (("--delimiter", "ab"), 2, "--delimiter"),
        (("--kind", "cat"), 2, "--kind"),
        (("--tag", ""), 1, "filter.tags"),
        (("--state", "archived", "--active-only"), 1, "active_only"),
        (("--fields", "contacts,etag"), 2, "--fields"),
    ],
)
def test_what_cannot_be_exported_says_why(
    stored: Server, tmp_path: Path, options: tuple[str, ...], status: int, message: str
) -> None:
    """And leaves no file."""
    done = run("export", str(tmp_path / "out.csv"), *options, server=stored.address)
    assert done.status == status, done.err
    assert message in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_said_at_once(stored: Server, tmp_path: Path) -> None:
    """Not after all customers have come."""
    for name in ("none/out.csv", "none/out.jsonl"):
        done = run("export", str(tmp_path / name), server=stored.address)
        assert (done.status, "Cannot write" in done.err) == (1, True)


def test_parquet_has_columns_of_their_types(stored: Server, tmp_path: Path) -> None:
    """Lists as lists, numbers as numbers; a column for each kind, identity and custom field."""
    file = tmp_path / "out.parquet"
    done = run("export", str(file), "--json", server=stored.address)
    assert done.lines[0]["customers"] == 4
    table = pq.read_table(file)
    rich, broken, company, _ = table.to_pylist()
    assert rich["tags"] == ["vip", "new; old"]
    assert rich["street"] == ["1 High St", "Flat 2"]
    assert (rich["email"], rich["work_email"]) == (["a@x.example"], ["work@x.example"])
    assert (rich["identity:card"], rich["identity:card:02"]) == ("1", "2")
    assert (rich["custom:size:integer"], rich["custom:seen:flag"]) == (42, True)
    assert rich["custom:since:date"] == "1990"
    assert (broken["city"], broken["custom:size:integer"]) == (None, None)
    assert (company["kind"], company["company_name"]) == ("company", "C")
    assert "create_time" not in table.schema.names
    assert file.stat().st_mode & 0o077 == 0


def test_a_table_has_its_usual_columns_without_a_customer(stored: Server) -> None:
    """A filter that nobody meets gives a header, not an empty file."""
    done = run("export", "-", "--tag", "nobody's", server=stored.address)
    assert done.out.startswith("id,kind,state,title,")
    assert len(done.out.splitlines()) == 1


def test_times_are_there_if_they_are_asked_for(stored: Server) -> None:
    """In a form that programs read."""
    done = run("export", "-", "--fields", "id,create_time", server=stored.address)
    header, first, *_ = csv.reader(done.out.splitlines())
    assert header == ["id", "create_time"]
    with stored.channel() as channel:
        created = Client(channel).get("a").create_time
    assert first[1].startswith(created.ToJsonString()[:19])


def _spooled(process_id: int) -> int:
    """Return the bytes that a process keeps in files without a name."""
    size = 0
    for descriptor in Path(f"/proc/{process_id}/fd").iterdir():
        try:
            if descriptor.readlink().name.endswith("(deleted)"):
                size += descriptor.stat().st_size
        except FileNotFoundError:
            continue
    return size


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_an_export_survives_the_servers_death(server: Server, tmp_path: Path, ending: str) -> None:
    """It goes on with the token that it has: no customer is lost or doubled."""
    with server.channel() as channel:
        ids = store_large(Client(channel), 400)
    folder = tmp_path / "out"
    folder.mkdir()
    file = folder / f"out.{ending}"
    with running("export", str(file), "--json", server=server.address) as process:

        def has_begun() -> bool:
            return _spooled(process.pid) > 0 or any(one.stat().st_size for one in folder.iterdir())

        wait_until(has_begun)
        process.send_signal(signal.SIGSTOP)  # or it might be done
        server.kill()
        server.start()
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert json.loads(out)["customers"] == len(ids)
    csv.field_size_limit(1 << 20)
    with file.open(newline="") as stream:
        if ending == "csv":
            assert [row["id"] for row in csv.DictReader(stream)] == ids
        else:
            assert [json.loads(line)["id"] for line in stream] == ids
    assert list(folder.iterdir()) == [file]
