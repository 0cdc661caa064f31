"""The command against a server with TLS and credentials."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Namesake, Outcome, run
from tests.conftest import Server
from tests.server.test_operation import Tls

TOKEN = "a token that nobody guesses"
WRONG = "a token of somebody else"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """The server's certificate, its own authority."""
    return Tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, tls: Tls) -> Iterator[Server]:
    """A server of one account, to which one token leads."""
    folder = tmp_path_factory.mktemp("secured")
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    (folder / "accounts.toml").write_text(
        f'[acme]\ndefault_region = "DE"\n[acme.tokens]\ncrm = "{digest}"\n'
    )
    flags = ("--tls-cert", str(tls.certificate), "--tls-key", str(tls.key))
    server = Server(folder / "data", (*flags, "--accounts", str(folder / "accounts.toml"))).start()
    yield server
    server.kill()


@pytest.fixture
def namesake(secured: Server, tls: Tls) -> Namesake:
    """Run commands with all that the server wants in the environment; `more` comes on top."""

    def command(*arguments: str, stdin: str = "", **more: str) -> Outcome:
        given = {"NAMESAKE_CA": str(tls.certificate), "NAMESAKE_TOKEN": TOKEN, **more}
        return run(*arguments, server=secured.address, stdin=stdin, **given)

    return command


def test_flags_and_environment_open_the_same_account(
    namesake: Namesake, secured: Server, tls: Tls
) -> None:
    """What is saved by flags is read by environment, and history names the credential."""
    flags = ("--server", secured.address, "--ca", str(tls.certificate), "--token", TOKEN)
    card = ("--id", "ada", "--last-name", "Lovelace", "--phone", "030 123456", "--json")
    saved = run("save", *card, *flags)
    assert (saved.status, saved.err) == (0, "")
    read = namesake("get", "ada", "--json")
    assert (read.status, read.lines) == (0, [saved.lines[0]["customer"]])
    assert read.lines[0]["phones"][0]["normal"] == "+4930123456"
    assert [change["actor"] for change in namesake("history", "ada", "--json").lines] == ["crm"]


def test_a_flag_goes_before_the_environment(namesake: Namesake) -> None:
    """So that one command can act for another account."""
    assert namesake("stats", "--token", WRONG).status == 1
    assert namesake("stats", "--token", TOKEN, NAMESAKE_TOKEN=WRONG).status == 0


def test_streams_carry_the_credential_too(namesake: Namesake, tmp_path: Path) -> None:
    """A file in, the same rows out, a backup and its verification."""
    rows = [{"id": f"row{number}", "lastName": "Lovelace"} for number in range(100)]
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    imported = namesake("import", str(tmp_path / "in.jsonl"), "--json")
    assert imported.status == 0, imported.err
    exported = namesake("export", str(tmp_path / "out.jsonl"))
    assert exported.status == 0, exported.err
    out = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {row["id"] for row in rows} <= {row["id"] for row in out}
    copied = namesake("backup", str(tmp_path / "copy.mdb"))
    assert copied.status == 0, copied.err
    assert (tmp_path / "copy.mdb").stat().st_size > 0
    assert namesake("verify").status == 0


COMMANDS = (
    ("get", "ada"),
    ("save", "--last-name", "Byron"),
    ("stats",),
    ("changes",),
    ("export", "out.jsonl"),
    ("import", "in.jsonl"),
    ("backup", "copy.mdb"),
)


def test_without_the_right_token_nothing_happens(
    namesake: Namesake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that says so, exit status 1, nothing stored, no file, and no token shown."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text('{"lastName": "Byron"}\n')
    before = namesake("stats", "--json").lines[0].get("sequence")
    for command, token in [*((command, WRONG) for command in COMMANDS), (COMMANDS[0], "")]:
        done = namesake(*command, NAMESAKE_TOKEN=token)
        assert (done.status, done.out) == (1, ""), command
        assert done.err.count("namesake: UNAUTHENTICATED") == 1, done.err
        assert "Traceback" not in done.err
        assert WRONG not in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    assert namesake("stats", "--json").lines[0].get("sequence") == before


def test_without_roots_the_hint_is_to_name_them(namesake: Namesake) -> None:
    """The command speaks no TLS then, and cannot tell such a server from none."""
    done = namesake("get", "ada", NAMESAKE_CA="")
    assert (done.status, done.out) == (1, "")
    assert "name its roots with --ca" in done.err
    assert TOKEN not in done.err


def test_a_file_of_roots_that_is_not_there_is_wrong_usage(
    namesake: Namesake, tmp_path: Path
) -> None:
    """Whether a flag or the environment names it."""
    missing = str(tmp_path / "missing.pem")
    for done in (namesake("get", "ada", "--ca", missing), namesake("stats", NAMESAKE_CA=missing)):
        assert (done.status, done.out) == (2, "")
        assert f"Cannot read {missing}" in done.err
        assert "Traceback" not in done.err


def test_a_server_that_the_roots_do_not_vouch_for_is_not_talked_to(
    namesake: Namesake, tmp_path: Path
) -> None:
    """Roots of another authority, and a file that holds none."""
    stranger = Tls(tmp_path)
    (tmp_path / "nonsense.pem").write_text("no certificate")
    for roots in (stranger.certificate, tmp_path / "nonsense.pem"):
        done = namesake("get", "ada", NAMESAKE_CA=str(roots))
        assert (done.status, done.out) == (1, "")
        assert "No TLS connection" in done.err
        assert "Traceback" not in done.err
        assert TOKEN not in done.err


def test_a_server_without_tls_is_not_talked_to_as_if_it_had(shared: Server, tls: Tls) -> None:
    """Roots were named, so the command does not fall back to plain text."""
    done = run("stats", "--ca", str(tls.certificate), "--token", TOKEN, server=shared.address)
    assert (done.status, done.out) == (1, "")
    assert "No TLS connection" in done.err
