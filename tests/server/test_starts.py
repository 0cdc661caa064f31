"""Starts that are refused: with one worker or several, said at once, in one line, by its flag."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from tests.conftest import StartServer
from tests.server.client import refusal
from tests.server.test_operation import Tls, bearer, connected, ended

Flags = tuple[str, ...]
LOOPBACK = ("--address", "127.0.0.1:0")
WORKERS = ["1", "2"]


def told(process: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a refused start wrote."""
    assert process.stdout == ""
    (line,) = process.stderr.splitlines()
    return line


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """A certificate that a test may spoil."""
    return Tls(tmp_path)


# TLS


def of_nobody(tls: Tls) -> None:
    """Take the certificate away."""
    tls.certificate.unlink()


def without_key(tls: Tls) -> None:
    """Take the key away."""
    tls.key.unlink()


def of_another(tls: Tls) -> None:
    """Have a key that is not the certificate's."""
    tls.key.parent.joinpath("other").mkdir()
    tls.key = Tls(tls.key.parent / "other").key


def swapped(tls: Tls) -> None:
    """Give each for the other."""
    tls.certificate, tls.key = tls.key, tls.certificate


def behind_a_password(tls: Tls) -> None:
    """Have a key that somebody would be asked the password of."""
    locked = tls.key.with_name("locked.pem")
    subprocess.run(
        ["openssl", "pkey", "-in", str(tls.key), "-aes128", "-passout", "pass:x",
         "-out", str(locked)],
        check=True,
    )  # fmt: skip
    tls.key = locked


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize(
    ("spoil", "flag", "said"),
    [
        (of_nobody, "--tls-cert", "cannot read"),
        (without_key, "--tls-key", "cannot read"),
        (of_another, "--tls-cert", "unencrypted key"),
        (swapped, "--tls-cert", "unencrypted key"),
        (behind_a_password, "--tls-cert", "unencrypted key"),
    ],
)
def test_tls_files_at_fault_are_named(
    tmp_path: Path, tls: Tls, workers: str, spoil: Callable[[Tls], None], flag: str, said: str
) -> None:
    """And not the address, which they are to be served on."""
    spoil(tls)
    files = ("--tls-cert", str(tls.certificate), "--tls-key", str(tls.key))
    process = ended(tmp_path, *LOOPBACK, "--workers", workers, *files)
    line = told(process)
    assert line.startswith(f"namesake: {flag}: ")
    assert said in line
    assert str(tls.key) in line or str(tls.certificate) in line
    assert process.returncode == 2


# Folders, addresses, regions, neighbours


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--data", "/dev/null"), "--data: cannot make the folder /dev/null"),
        (("--data", "/proc/nowhere"), "--data: cannot make the folder /proc/nowhere"),
        (("--redis", "http://x"), "--redis: expected redis://"),
        (("--redis", "redis://:secret@x:port"), "--redis: expected redis://"),
        (("--metrics-address", "nonsense"), "--metrics-address: needs host:port"),
        (("--default-region", "UK"), "--default-region: UK is no region; did you mean GB?"),
    ],
)
def test_a_bad_start_names_the_flag(tmp_path: Path, flags: Flags, said: str, workers: str) -> None:
    """Exit status 2, one line, no traceback, no secret."""
    process = ended(tmp_path, *LOOPBACK, "--workers", workers, *flags)
    assert told(process).startswith(f"namesake: {said}")
    assert "secret" not in process.stderr
    assert process.returncode == 2


@pytest.mark.parametrize("workers", WORKERS)
def test_dns_servers_that_are_none_are_refused(tmp_path: Path, workers: str) -> None:
    """Alike for one worker and several."""
    process = ended(tmp_path, *LOOPBACK, "--workers", workers, "--dns-server", "not an address")
    assert "expected IP addresses" in told(process)
    assert process.returncode == 2


@pytest.mark.parametrize("workers", WORKERS)
def test_a_folder_of_something_else_is_refused(tmp_path: Path, workers: str) -> None:
    """In words, not only in the log of a worker; the file stays as it is."""
    file = tmp_path / "x" / "default" / "data.mdb"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"something else" * 1_000)
    process = ended(tmp_path, *LOOPBACK, "--workers", workers)
    assert told(process).startswith("namesake: FORMAT_MISMATCH ")
    assert process.returncode == 1
    assert file.read_bytes() == b"something else" * 1_000


def test_lists_come_from_the_environment_with_commas_between(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And the server that reads them starts, or says which is wrong."""
    start_server(NAMESAKE_EXCLUSIVE_IDENTITY_TYPES="erp,loyalty")
    monkeypatch.setenv("NAMESAKE_EXCLUSIVE_IDENTITY_TYPES", "erp")
    monkeypatch.setenv("NAMESAKE_WORKERS", "many")
    process = ended(tmp_path, *LOOPBACK)
    assert told(process).startswith("namesake: setting workers: ")
    assert process.returncode == 2


# Accounts


def digest(token: str) -> str:
    """Return what the accounts' file has of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (f"[a.tokens]\ncrm = '{digest('')}'", "a.tokens.crm: this is the digest of no token"),
        (f"[a]\ndefault_region = 'UK'\n[a.tokens]\nx = '{digest('x')}'",
         "a.default_region: UK is no region; did you mean GB?"),
        (f"[a]\ndefault_region = 49\n[a.tokens]\nx = '{digest('x')}'",
         "a.default_region: not a region"),
        ("[a]\nregion = 'DE'", "a: unknown key 'region'"),
        ("[a.tokens]\ncrm = 'x'", "a.tokens.crm: not a SHA-256 digest"),
    ],
)  # fmt: skip
def test_a_fault_in_the_file_of_accounts_is_told_with_its_key(
    tmp_path: Path, toml: str, said: str
) -> None:
    """By the flag that names the file, so that both are found."""
    file = tmp_path / "accounts.toml"
    file.write_text(toml)
    process = ended(tmp_path, *LOOPBACK, "--accounts", str(file))
    assert told(process).startswith(f"namesake: --accounts: {said}")
    assert process.returncode == 2


def test_no_account_shares_a_folder_with_something_else(
    start_server: StartServer, tmp_path: Path
) -> None:
    """Whatever else the service keeps beside the accounts' folders cannot be an account."""
    kept = {path.name for path in start_server().data.iterdir()} - {"default"}
    assert kept
    for name in kept:
        file = tmp_path / "accounts.toml"
        file.write_text(f"[{name}.tokens]\nx = '{digest('x')}'")
        process = ended(tmp_path, *LOOPBACK, "--accounts", str(file))
        assert "choose another name" in told(process)
        assert process.returncode == 2


def test_no_token_is_no_credential(start_server: StartServer, tmp_path: Path) -> None:
    """Whichever way a client says nothing."""
    file = tmp_path / "accounts.toml"
    file.write_text(f"[a.tokens]\nx = '{digest('x')}'")
    server = start_server("--accounts", str(file))
    for metadata in ((), (bearer(""),), (("authorization", "Bearer"),)):
        with connected(server, *metadata) as stranger:
            assert refusal(stranger.stats).code == grpc.StatusCode.UNAUTHENTICATED
