"""Commands for single customers and for operators, against a real server."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from pathlib import Path
from typing import Any

import lmdb
import pytest

from tests.cli.conftest import COMMAND, Namesake
from tests.conftest import Server


def _unique() -> str:
    return uuid.uuid4().hex[:12]


def _save(namesake: Namesake, *options: str, last: str = "Lovelace") -> dict[str, Any]:
    done = namesake("save", "--last-name", last, *options, "--json")
    assert done.status == 0, done.err
    saved: dict[str, Any] = done.lines[0]
    return saved


def test_a_card_is_saved_and_read_back(namesake: Namesake) -> None:
    key = _unique()
    saved = _save(
        namesake, "--id", key, "--first-name", "Ada", "--gender", "female",
        "--birth-date", "1815-12-10", "--email", f"{key}@example.org", "--mobile", "+4915123456789",
        "--identity", f"loyalty={key}", "--tag", "vip", "--source", "web",
    )  # fmt: skip
    assert saved["outcome"] == "SAVE_OUTCOME_CREATED"
    (card,) = namesake("get", key, "--json").lines
    assert card == saved["customer"]
    assert card["birthDate"] == {"year": 1815, "month": 12, "day": 10}
    assert card["phones"][0]["normal"] == "+4915123456789"
    assert card["phones"][0]["kind"] == "CONTACT_KIND_MOBILE"
    assert card["emails"][0]["finding"]["verdict"]
    assert card["identities"] == [{"type": "loyalty", "value": key}]


def test_people_see_findings_and_duplicates(namesake: Namesake) -> None:
    key = _unique()
    _save(namesake, "--id", key, "--first-name", "Ada", "--email", f"{key}@gmail.com")
    done = namesake(
        "save", "--last-name", "Byron", "--email", f"{key}+x@gmail.com", "--phone", "12"
    )
    assert done.status == 0
    assert "Does not match the international phone number format" in done.out
    assert key in done.out
    assert "match key" in done.out


def test_control_characters_do_not_reach_the_terminal(namesake: Namesake) -> None:
    key = _unique()
    _save(namesake, "--id", key, last="Love\x1b[31mlace")
    done = namesake("get", key)
    assert done.status == 0
    assert "\x1b" not in done.out
    assert "\N{REPLACEMENT CHARACTER}[31m" in done.out


def test_only_given_changes_nothing_else(namesake: Namesake) -> None:
    key = _unique()
    _save(namesake, "--id", key, "--first-name", "Ada", "--email", f"{key}@example.org")
    done = namesake("save", "--id", key, "--only-given", "--comment", "likes tea", "--json")
    assert done.status == 0, done.err
    card = done.lines[0]["customer"]
    assert (card["comment"], card["firstName"]) == ("likes tea", "Ada")
    assert card["emails"][0]["value"] == f"{key}@example.org"
    assert namesake("save", "--only-given", "--comment", "x").status == 2


def test_what_get_writes_save_reads(namesake: Namesake, tmp_path: Path) -> None:
    key = _unique()
    _save(namesake, "--id", key, "--first-name", "Ada", "--email", f"{key}@example.org")
    written = namesake("get", key, "--json").out
    assert (
        namesake("save", "--json-input", "-", "--json", stdin=written).lines[0]["outcome"]
        == "SAVE_OUTCOME_UNCHANGED"
    )
    path = tmp_path / "card.json"
    path.write_text(json.dumps({**json.loads(written), "stage": "won"}))
    assert (
        namesake("save", "--json-input", str(path), "--json").lines[0]["customer"]["stage"] == "won"
    )
    # The file still has the etag of before.
    stale = namesake("save", "--json-input", str(path))
    assert stale.status == 1
    assert "ETAG_MISMATCH" in stale.err
    assert namesake("save", "--json-input", "-", stdin='{"shoe": 42}').status == 2


def test_what_get_writes_save_changes_field_by_field(namesake: Namesake) -> None:
    key = _unique()
    _save(namesake, "--id", key, "--company", "Lovelace Ltd", "--email", f"{key}@example.org")
    options = ("save", "--json-input", "-", "--only-given", "--json")
    unchanged = namesake(*options, stdin=namesake("get", key, "--json").out)
    assert unchanged.status == 0, unchanged.err
    assert unchanged.lines[0]["outcome"] == "SAVE_OUTCOME_UNCHANGED"
    company = namesake(*options, stdin=json.dumps({"id": key, "kind": "CUSTOMER_KIND_COMPANY"}))
    assert company.lines[0]["customer"]["kind"] == "CUSTOMER_KIND_COMPANY"
    card = namesake("save", "--id", key, "--only-given", "--comment", "x", "--json").lines[0]
    assert card["customer"]["kind"] == "CUSTOMER_KIND_COMPANY"
    person = namesake("save", "--id", key, "--only-given", "--kind", "person", "--json").lines[0]
    assert person["customer"]["kind"] == "CUSTOMER_KIND_PERSON"


@pytest.mark.parametrize(
    "options",
    [
        ("--only-given", "--id", "x", "--on-duplicate", "reject"),
        ("--json-input", "-", "--last-name", "Byron"),
        ("--json-input", "-", "--id", "x"),
        ("--json-input", "-", "--kind", "person"),
    ],
)
def test_no_option_is_passed_over(offline: Namesake, options: tuple[str, ...]) -> None:
    done = offline("save", *options, stdin="{}")
    assert done.status == 2
    assert "give the fields either" in done.err or "takes no --on-duplicate" in done.err


def test_a_dry_run_stores_nothing(namesake: Namesake) -> None:
    key = _unique()
    _save(namesake, "--id", key, "--dry-run")
    assert namesake("get", key).status == 1


def test_on_duplicate_reject_and_attach(namesake: Namesake) -> None:
    key = _unique()
    _save(namesake, "--id", key, "--email", f"{key}@example.org")
    options = ("save", "--last-name", "Byron", "--email", f"{key}@example.org", "--on-duplicate")
    rejected = namesake(*options, "reject")
    assert rejected.status == 1
    assert rejected.err.startswith("namesake: DUPLICATE_FOUND")
    attached = namesake(*options, "attach", "--title", "Dr", "--json")
    assert attached.lines[0]["customer"]["id"] == key
    assert attached.lines[0]["customer"]["title"] == "Dr"
    assert attached.lines[0]["customer"]["lastName"] == "Lovelace"


def test_values_are_resolved_by_their_look(namesake: Namesake) -> None:
    key = _unique()
    phone = f"+4915{int(key, 16) % 10**9:09}"
    key = f"c{key}"  # of digits alone it would look like a phone
    _save(
        namesake, "--id", key, "--email", f"{key}@example.org", "--phone", phone,
        "--identity", f"loyalty={key}",
    )  # fmt: skip
    done = namesake("resolve", f"{key}@EXAMPLE.org", phone, key, "--json")
    assert [line["identity"]["type"] for line in done.lines] == ["email", "phone", "customer"]
    assert [line["matches"][0]["customerId"] for line in done.lines] == [key] * 3
    (typed,) = namesake("resolve", "--type", "loyalty", key, "--json").lines
    assert typed["matches"] == [{"customerId": key, "sameNormal": True}]
    assert "nobody" in namesake("resolve", f"not-{key}@example.org").out


def test_more_values_are_resolved_than_one_request_takes(namesake: Namesake) -> None:
    key = _unique()
    _save(namesake, "--id", key)
    done = namesake("resolve", *(f"{key}{n}" for n in range(5_000)), key, "--json")
    assert done.status == 0, done.err
    assert len(done.lines) == 5_001
    assert done.lines[-1]["matches"][0]["customerId"] == key


def test_a_date_is_shown_as_far_as_it_is_known(namesake: Namesake) -> None:
    key = _unique()
    _save(namesake, "--id", key, "--birth-date", "--05-12")
    assert " --05-12 " in namesake("get", key).out
    _save(namesake, "--id", key, "--birth-date", "1990-05")
    assert " 1990-05 " in namesake("get", key).out


def test_a_company_is_called_by_its_name(namesake: Namesake) -> None:
    """In its card as among duplicates; a person who works for one is not."""
    company, person, email = _unique(), _unique(), f"{_unique()}@example.org"
    options = ("--company", "Byron Ltd", "--email", email)
    _save(namesake, "--id", company, "--kind", "company", *options)
    _save(namesake, "--id", person, *options)
    (group,) = namesake("duplicates", "--email", email, "--json").lines
    names = {other["id"]: other["displayName"] for other in group["customers"]}
    assert names == {company: "Byron Ltd", person: "Lovelace"}
    for id, name in names.items():
        assert namesake("get", id).out.splitlines()[0].strip() == name


def test_duplicates_of_a_customer_and_of_values(namesake: Namesake) -> None:
    key = _unique()
    one = _save(namesake, "--email", f"{key}@example.org")["customer"]["id"]
    two = _save(namesake, "--email", f"{key}@example.org")["customer"]["id"]
    group, similar = namesake("duplicates", one, "--json").lines
    assert similar["similar"]["id"] == two
    assert {other["id"] for other in group["customers"]} == {one, two}
    assert group["count"] == 1
    (group,) = namesake("duplicates", "--email", f"{key}@example.org", "--json").lines
    assert {other["id"] for other in group["customers"]} == {one, two}
    assert "Nobody" in namesake("duplicates", "--email", f"x{key}@example.org").out
    assert namesake("duplicates").status == 2
    assert namesake("duplicates", one, "--phone", "1").status == 2


def test_history_and_feed_tell_what_happened(namesake: Namesake) -> None:
    key = _unique()
    before = _save(namesake, "--id", _unique())["sequence"]
    _save(namesake, "--id", key)
    _save(namesake, "--id", key, "--title", "Dr")
    shown = namesake("changes", "--after", str(before), "--until-now").out
    assert "title: (empty) → Dr" in shown
    assert "title: (empty) → Dr" in namesake("history", key).out
    assert namesake("delete", key, "--reason", "a test").status == 0
    (deleted,) = namesake("history", key, "--json").lines
    assert (deleted["kind"], deleted["reason"]) == ("CHANGE_KIND_DELETED", "a test")
    done = namesake("changes", "--after", str(before), "--until-now", "--json")
    changes = [line["change"] for line in done.lines]
    ours = [change["kind"] for change in changes if change["customerId"] == key]
    assert ours == ["CHANGE_KIND_CREATED", "CHANGE_KIND_UPDATED", "CHANGE_KIND_DELETED"]
    sequences = [int(change["sequence"]) for change in changes]
    assert sequences == list(range(int(before) + 1, int(before) + 1 + len(sequences)))
    assert namesake("changes", "--after", "999999999", "--until-now").status == 1


def test_refusals_are_one_line_with_reason_and_field(namesake: Namesake) -> None:
    done = namesake("save", "--first-name", "Ada")
    assert done.status == 1
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("namesake: INVALID_ARGUMENT customer.last_name:")
    assert namesake("get", "nobody").status == 1
    assert namesake("delete", "nobody", "--reason", "a test").status == 1
    assert namesake("save", "--last-name", "A", "--birth-date", "03/04/1990").status == 2
    assert namesake("save", "--last-name", "A", "--identity", "loyalty").status == 2


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("save", "--last-name", "\udcff"), 1),
        (("get", "nobody", "--token", "tök"), 2),
        (("changes", "--after", "99999999999999999999"), 2),
        (("export", "-", "--format", "csv", "--delimiter", ""), 2),
        (("export", "-", "--format", "csv", "--delimiter", "ab"), 2),
        (("export", "/dev/full"), 1),
        (("backup", "/dev/full"), 1),
    ],
)
def test_what_cannot_be_done_is_no_traceback(
    namesake: Namesake, arguments: tuple[str, ...], status: int
) -> None:
    _save(namesake)
    done = namesake(*arguments)
    assert (done.status, done.out) == (status, "")
    assert "Traceback" not in done.err
    assert done.err.count("namesake: ") == (status == 1 or arguments[0] != "changes")


@pytest.mark.parametrize(
    "command",
    ["get KEY", "get KEY --json", "export -", "export - --format jsonl", "backup -", "stats"],
)
def test_an_output_that_is_full_is_one_line(
    namesake: Namesake, shared: Server, command: str
) -> None:
    key = _unique()
    _save(namesake, "--id", key)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, *command.replace("KEY", key).split()], stdout=full, stderr=subprocess.PIPE,
            env={**os.environ, "NAMESAKE_SERVER": shared.address}, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, b"namesake: No space left on device\n")


def test_a_server_that_is_not_there(offline: Namesake) -> None:
    done = offline("stats", server="127.0.0.1:1")
    assert done.status == 1
    assert "namesake serve --address 127.0.0.1:1" in done.err
    assert len(done.err.splitlines()) == 1


def test_stats_verify_and_a_backup_that_opens(namesake: Namesake, tmp_path: Path) -> None:
    _save(namesake)
    (stats,) = namesake("stats", "--json").lines
    assert int(stats["customers"]) > 0
    assert "customers" in namesake("stats").out
    (verified,) = namesake("verify", "--json").lines
    assert verified["faults"] == 0
    assert verified["checked"] > 0
    done = namesake("backup", str(tmp_path), "--json")
    assert done.status == 0, done.err
    copy = tmp_path / "data.mdb"
    assert [*tmp_path.iterdir()] == [copy]
    assert done.lines == [{"file": str(copy), "bytes": copy.stat().st_size}]
    with lmdb.open(str(copy), subdir=False, readonly=True, lock=False, max_dbs=32) as copied:
        assert copied.stat()["entries"] > 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--address", "0.0.0.0:0"],
        ["serve", "--address", "nowhere"],
        ["serve", "--workers", "0"],
        ["serve", "--default-region", "Germany"],
    ],
)
def test_what_must_not_be_served_is_refused(
    offline: Namesake, tmp_path: Path, arguments: list[str]
) -> None:
    done = offline(*arguments, "--data", str(tmp_path / "data"))
    assert done.status == 2, done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "command",
    [
        "serve", "check", "import", "export", "save", "get", "resolve", "duplicates", "history",
        "changes", "delete", "stats", "backup", "verify", "compact",
    ],
)  # fmt: skip
def test_every_command_has_help_with_an_example(offline: Namesake, command: str) -> None:
    done = offline(command, "--help")
    assert done.status == 0
    assert f"\n    namesake {command}" in done.out
