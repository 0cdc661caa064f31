"""The server as operators know it: start, refusals, accounts, metrics, workers, backup, stop."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from namesake import v1
from tests.conftest import NO_DNS, Server, StartServer, wait_until
from tests.dns_servers import free_port, garbage
from tests.redis_server import RedisServer
from tests.server.client import Client, numbered, opening, person, refusal
from tests.server.conftest import RunDns

SERVICES = {
    f"namesake.v1.{name}Service"
    for name in ("Customer", "Validation", "Duplicate", "Merge", "Transfer", "Timeline", "Admin")
}
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@contextmanager
def connected(server: Server, *metadata: tuple[str, str]) -> Iterator[Client]:
    """Open a connection of its own: channels share theirs unless told otherwise."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(server.address, options) as channel:
        yield Client(channel, *metadata)


def ended(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run a server that must end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "service", "serve", "--data", str(folder / "x"), *NO_DNS, *flags],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# What is there to look at


def test_health_says_serving_for_the_server_and_each_service(shared: Client) -> None:
    """And knows no other."""
    health = health_pb2_grpc.HealthStub(shared.channel)
    for service in ("", *SERVICES):
        request = health_pb2.HealthCheckRequest(service=service)
        answer = shared.call(health.Check, request)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
    unknown = health_pb2.HealthCheckRequest(service="nonsense")
    assert refusal(lambda: shared.call(health.Check, unknown)).code == grpc.StatusCode.NOT_FOUND


def test_reflection_lists_and_describes_the_services(shared: Client) -> None:
    """So that grpcurl needs no protos."""
    database = ProtoReflectionDescriptorDatabase(shared.channel)
    assert set(database.get_services()) >= SERVICES | {"grpc.health.v1.Health"}
    file = database.FindFileContainingSymbol("namesake.v1.CustomerService")
    assert "SaveCustomer" in [method.name for method in file.service[0].method]


def test_unknown_methods_are_unimplemented(shared: Client) -> None:
    """Within the service and outside of it."""
    for name in ("/namesake.v1.CustomerService/Nonsense", "/other.Service/Get"):
        method = shared.bytes.unary_unary(name)
        assert refusal(partial(method, b"", timeout=10)).code == grpc.StatusCode.UNIMPLEMENTED


def test_the_metrics_page_counts_calls_by_method_and_code(start_server: StartServer) -> None:
    """Good ones and refused ones."""
    address = f"127.0.0.1:{free_port()}"
    with connected(start_server("--metrics-address", address)) as client:
        for _ in range(3):
            client.save(person())
        refusal(lambda: client.get("nobody"))
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as page:
            text = page.read().decode()
    save, get = (f"/namesake.v1.CustomerService/{name}" for name in ("SaveCustomer", "GetCustomer"))
    assert f'namesake_rpcs_total{{code="OK",method="{save}"}} 3.0' in text
    assert f'namesake_rpcs_total{{code="NOT_FOUND",method="{get}"}} 1.0' in text
    assert f'namesake_rpc_seconds_count{{method="{save}"}} 3.0' in text


def test_statistics_say_what_is_stored(own: Client) -> None:
    """Customers (archived ones too), the last change, tables, formats."""
    own.save(person(state=v1.CUSTOMER_STATE_ARCHIVED))
    own.save(person(id="x"))
    own.delete("x")
    stats = own.stats()
    assert (stats.account, stats.customers, stats.sequence) == ("default", 1, 3)
    assert 0 < stats.file_bytes <= stats.map_bytes
    tables = {table.name: table.entries for table in stats.tables}
    assert (tables["customers"], tables["changes"], tables["ids"]) == (1, 3, 2)
    assert stats.version
    assert stats.format_version
    assert stats.start_time.seconds


# Refused starts


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--address", "0.0.0.0:0"), "beyond loopback needs TLS"),
        (("--address", "[::]:0"), "beyond loopback needs TLS"),
        (("--address", "example.com:7400"), "beyond loopback needs TLS"),
        (("--address", "0.0.0.0:0", "--workers", "2"), "beyond loopback needs TLS"),
        (("--address", "7400"), "needs host:port"),
        (("--address", "127.0.0.1:99999"), "needs host:port"),
        (("--address", "127.0.0.1:0", "--tls-key", "key.pem"), "needs a certificate and its key"),
        (("--address", "127.0.0.1:0", "--accounts", "missing.toml"), "cannot read the accounts"),
        (("--address", "127.0.0.1:0", "--workers", "0"), "greater than or equal to 1"),
        (("--address", "127.0.0.1:0", "--default-region", "germany"), "default_region"),
        (
            ("--address", "127.0.0.1:0", "--tls-cert", "no.pem", "--tls-key", "no.pem"),
            "no.pem",
        ),
        (("--address", "127.0.0.1:0", "--metrics-address", "nonsense"), "needs host:port"),
    ],
)
def test_a_bad_start_is_refused_in_clear_text(
    tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    """One line that names the option, exit status 2, and no traceback."""
    process = ended(tmp_path, *flags)
    assert process.returncode == 2, process.stderr
    assert said in process.stderr
    assert "Traceback" not in process.stderr
    assert process.stdout == ""


def test_tls_alone_does_not_open_the_server_to_others(tmp_path: Path, tls: Tls) -> None:
    """Credentials are needed too."""
    flags = ("--tls-cert", str(tls.certificate), "--tls-key", str(tls.key))
    process = ended(tmp_path, "--address", "0.0.0.0:0", *flags)
    assert (process.returncode, "credentials" in process.stderr) == (2, True)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_said_to_be(tmp_path: Path, server: Server, workers: str) -> None:
    """And the server that has it goes on."""
    process = ended(tmp_path, "--address", server.address, "--workers", workers)
    assert process.returncode == 2, process.stderr
    assert f"cannot listen on {server.address}" in process.stderr
    assert "Traceback" not in process.stderr
    with connected(server) as client:
        client.save(person())


def test_a_metrics_port_in_use_is_said_to_be(tmp_path: Path) -> None:
    """As clearly as the other."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = ended(tmp_path, "--address", "127.0.0.1:0", "--metrics-address", address)
    assert process.returncode == 2, process.stderr
    assert address in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("", "1 to 1000 accounts"),
        ("x = 1", "an account is a table"),
        ("[a]", "at least one token"),
        ("[A.tokens]\ncrm = 'x'", "an account is a table"),
        ("[a.tokens]\ncrm = 'secret'", "not a SHA-256 digest"),
        ("[a]\nregion = 'DE'", "unknown key"),
        (f"[a.tokens]\nx = '{'0' * 64}'\ny = '{'0' * 64}'\n", "the same token stands twice"),
        (f"[a.tokens]\nx = '{'0' * 64}'\n[b.tokens]\nx = '{'0' * 64}'", "stands twice"),
        ("[", "cannot read"),
    ],
)
def test_a_broken_file_of_accounts_is_refused(tmp_path: Path, toml: str, said: str) -> None:
    """With what is wrong, and without the secrets in it."""
    (tmp_path / "accounts.toml").write_text(toml)
    flags = ("--address", "127.0.0.1:0", "--accounts", str(tmp_path / "accounts.toml"))
    process = ended(tmp_path, *flags)
    assert process.returncode == 2, process.stderr
    assert said in process.stderr
    assert "secret" not in process.stderr


# TLS and accounts


class Tls:
    """A self-signed certificate for loopback."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key = folder / "cert.pem", folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
             "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(self.key),
             "-out", str(self.certificate)],
            check=True, capture_output=True,
        )  # fmt: skip

    def channel(self, address: str) -> grpc.Channel:
        """Open a channel that trusts the certificate."""
        roots = self.certificate.read_bytes()
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(roots))


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """One certificate for all tests."""
    return Tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    """Two accounts: acme of Germany with two tokens, and umbrella."""
    digests = {word: hashlib.sha256(word.encode()).hexdigest() for word in ("one", "two", "three")}
    path = tmp_path / "accounts.toml"
    path.write_text(
        f'[acme]\ndefault_region = "DE"\n[acme.tokens]\ncrm = "{digests["one"]}"\n'
        f'shop = "{digests["two"]}"\n[umbrella.tokens]\ncrm = "{digests["three"]}"\n'
    )
    return path


def bearer(token: str) -> tuple[str, str]:
    """Return the metadata of a credential."""
    return "authorization", f"Bearer {token}"


def test_over_tls_with_a_known_token_only(
    start_server: StartServer, tls: Tls, accounts: Path
) -> None:
    """No token, a wrong one and another scheme are refused alike, streams and all."""
    files = ("--tls-cert", str(tls.certificate), "--tls-key", str(tls.key))
    server = start_server(*files, "--accounts", str(accounts))
    with tls.channel(server.address) as channel:
        assert Client(channel, bearer("one")).save(person()).sequence == 1
        assert Client(channel, ("authorization", "bearer one")).stats().customers == 1
        for metadata in ((), (bearer("wrong"),), (("authorization", "Basic one"),),
                         (("authorization", "one"),), (("authorization", ""),)):  # fmt: skip
            stranger = Client(channel, *metadata)
            for call in (stranger.stats, stranger.export, partial(stranger.import_all, "j")):
                refused = refusal(call)
                assert (refused.code, refused.reason) == (
                    grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED",
                )  # fmt: skip
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=10).status == 1
    with server.channel() as plain:
        assert refusal(Client(plain, bearer("one")).stats).code == UNAVAILABLE


def test_accounts_see_nothing_of_each_other(start_server: StartServer, accounts: Path) -> None:
    """Same ids, same e-mails, own feeds; the region is the account's."""
    server = start_server("--accounts", str(accounts))
    with connected(server, bearer("one")) as acme, connected(server, bearer("three")) as umbrella:
        first = acme.save(person("a@x.example", "030 123456", id="x"))
        second = umbrella.save(person("a@x.example", "030 123456", id="x", first_name="U"))
        assert (first.outcome, second.outcome) == (v1.SAVE_OUTCOME_CREATED,) * 2
        assert second.duplicates == []
        assert first.customer.phones[0].normal == "+4930123456"
        assert second.customer.phones[0].normal == ""
        acme.delete("x")
        assert umbrella.get("x").first_name == "U"
        assert (acme.stats().account, umbrella.stats().account) == ("acme", "umbrella")
        assert (len(acme.feed()), len(umbrella.feed())) == (2, 1)
        umbrella.import_all("job", [person()])
        answers = acme.import_all("job", [person()])
        assert answers[0].durable_batch == 0


def test_history_names_the_token_or_whom_it_speaks_for(
    start_server: StartServer, accounts: Path
) -> None:
    """The credential's name, unless the call says who acts."""
    server = start_server("--accounts", str(accounts))
    with connected(server, bearer("one")) as crm, connected(server, bearer("two")) as shop:
        crm.save(person(id="x"))
        shop.save(person(id="x", stage="1"))
        shop.metadata = (*shop.metadata, ("namesake-actor", "ada@shop"))
        shop.save(person(id="x", stage="2"))
        assert [change.actor for change in crm.history("x")] == ["ada@shop", "shop", "crm"]


# Workers


def starts(server: Server, wanted: int) -> set[int]:
    """Connect until so many different workers have answered; return their start times."""
    seen: set[int] = set()

    def connect() -> bool:
        with connected(server) as client:
            try:
                seen.add(client.stats().start_time.ToMicroseconds())
            except grpc.RpcError as error:  # a worker that was killed just now
                if error.code() != UNAVAILABLE:
                    raise
        return len(seen) >= wanted

    wait_until(connect)
    return seen


def test_workers_serve_one_account_on_one_port_and_are_replaced(
    start_server: StartServer,
) -> None:
    """Both get connections; one that is killed is started again; one signal ends all."""
    server = start_server("--workers", "2")
    first = starts(server, 2)
    with connected(server) as one:
        one.save(person(id="x"))
    pids = server.workers()
    assert len(pids) == 2
    os.kill(pids[0], signal.SIGKILL)
    wait_until(lambda: len(server.workers()) == 2 and pids[0] not in server.workers())
    assert len(starts(server, 2) - first) == 1
    for _ in range(6):
        with connected(server) as client:
            assert client.get("x").id == "x"
    pids = server.workers()
    assert server.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert "worker_died" in server.log()


def test_a_killed_supervisor_takes_its_workers_along(start_server: StartServer) -> None:
    """No worker serves on without somebody who can stop it."""
    server = start_server("--workers", "2")
    pids = server.workers()
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


# Backup and verification


def test_a_backup_opens_as_a_folder_with_the_same_customers(
    start_server: StartServer, tmp_path: Path
) -> None:
    """Taken while saves go on; the copy is sound and goes on where it was taken."""
    server = start_server()
    with connected(server) as client:
        client.import_all("job", [person(f"p{n}@x.example", id=f"p{n}") for n in range(2_000)])
        writer, stop = writing(client)
        answers = list(client.call(client.admin.BackUp, v1.BackUpRequest()))
        stop.set()
        writer.join(30)
        original = {c.id: c for answer in client.export() for c in answer.customers}
    copy = b"".join(answer.chunk for answer in answers)
    assert 0 < len(copy) <= answers[0].total_bytes * 2
    folder = tmp_path / "restored"
    (folder / "default").mkdir(parents=True)
    (folder / "default" / "data.mdb").write_bytes(copy)
    with connected(start_server(data=folder)) as restored:
        customers = {c.id: c for answer in restored.export() for c in answer.customers}
        assert len(customers) >= 2_000
        assert customers.items() <= original.items()
        assert restored.stats().sequence == len(customers)
        assert restored.faults() == []
        assert restored.save(person("p1@x.example")).duplicates[0].count == 1
        assert restored.import_all("job")[0].durable_batch == 1


def writing(client: Client) -> tuple[threading.Thread, threading.Event]:
    """Save customers in the background until the event is set."""
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            client.save(person())

    thread = threading.Thread(target=write)
    thread.start()
    return thread, stop


def test_verification_tells_its_progress(client: Client) -> None:
    """Table by table, to the end, without faults."""
    client.import_all("job", [person(f"p{n}@x.example", "+442079460018") for n in range(50)])
    client.delete(client.holders("email", "p7@x.example")[0])
    answers = list(client.call(client.admin.Verify, v1.VerifyRequest()))
    assert {"customers", "changes"} <= {answer.table for answer in answers}
    assert [answer.done for answer in answers] == [False] * (len(answers) - 1) + [True]
    assert answers[-1].fault_count == 0


# The end


def test_impatience_does_not_spoil_the_exit_status(start_server: StartServer) -> None:
    """Signals on end, up to the last moment of the process."""
    for _ in range(3):
        server = start_server()
        process = server.process
        assert process is not None
        while process.poll() is None:
            process.terminate()
            time.sleep(0.001)
        assert process.returncode == 0


def test_a_drain_keeps_what_was_acknowledged(start_server: StartServer) -> None:
    """SIGTERM in the middle of an import: exit status 0, and every counted row is there."""
    server = start_server(NAMESAKE_DRAIN_S="5")
    with connected(server) as client:
        watcher = client.watch()
        next(watcher)
        stream = client.import_stream(endless_import())
        acknowledged = [next(stream) for _ in range(5)]
        assert server.process is not None
        server.process.terminate()
        end = refusal(lambda: acknowledged.extend(stream))
        assert end.code == UNAVAILABLE
        assert refusal(lambda: list(watcher)).code == UNAVAILABLE
    assert server.stop() == 0
    last = acknowledged[-1]
    with connected(start_server(data=server.data)) as client:
        (job,) = client.import_all("job")
        assert job.durable_batch >= last.durable_batch
        assert job.counts.created == job.durable_batch * 20
        assert client.stats().customers == client.stats().sequence == job.counts.created
        assert client.faults() == []


def endless_import() -> Iterator[v1.ImportCustomersRequest]:
    """Yield batches of 20 new customers for as long as somebody takes them."""
    yield opening("job")
    for number in range(1, 1_000_000):
        yield from numbered([[person() for _ in range(20)]], number)


def test_watchers_are_told_that_the_server_stops(start_server: StartServer) -> None:
    """With a reason, at once: an idle watcher does not hold the drain up."""
    server = start_server()
    with connected(server) as client:
        watcher = client.watch()
        next(watcher)
        assert server.process is not None
        server.process.terminate()
        refused = refusal(lambda: next(watcher))
        assert (refused.code, refused.reason) == (UNAVAILABLE, "SHUTTING_DOWN")
        assert server.stop(timeout_s=15) == 0  # the grace for running calls is 20 s


def test_an_idle_import_is_told_that_the_server_stops(start_server: StartServer) -> None:
    """And does not hold the drain up: it goes on elsewhere with its job id."""
    server = start_server()
    done = threading.Event()

    def requests() -> Iterator[v1.ImportCustomersRequest]:
        yield opening("job")
        done.wait()

    with connected(server) as client:
        stream = client.import_stream(requests())
        next(stream)
        assert server.process is not None
        server.process.terminate()
        refused = refusal(lambda: next(stream))
        done.set()
        assert (refused.code, refused.reason) == (UNAVAILABLE, "SHUTTING_DOWN")
        assert server.stop(timeout_s=15) == 0  # the grace for running calls is 20 s


# Neighbours that fail


def test_redis_may_go_away(start_server: StartServer, knot_address: str, tmp_path: Path) -> None:
    """Without the shared cache, checks go on with DNS and the own one."""
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    try:
        server = start_server(
            "--redis", redis.url, "--dns-server", knot_address, NAMESAKE_DNS_DEADLINE_MS="15000"
        )
        with connected(server) as client:
            assert verdict(client, "a@mail.example") == v1.REASON_ACCEPTED
            redis.kill()
            assert verdict(client, "a@mail.example") == v1.REASON_ACCEPTED
            assert verdict(client, "a@null.example") == v1.REASON_NULL_MX
            assert client.save(person("a@nodata.example")).customer.emails[0].finding.reason == (
                v1.REASON_NO_MAIL_SERVER
            )
        assert server.stop() == 0
    finally:
        redis.kill()


def verdict(client: Client, email: str) -> v1.Reason.ValueType:
    """Return the reason of one address's finding."""
    request = v1.CheckContactsRequest(contacts=[v1.ContactQuery(email=email)])
    (result,) = client.call(client.validation.CheckContacts, request).results
    reason: v1.Reason.ValueType = result.finding.reason
    return reason


# The log

SECRETS = (
    "xqzname", "xqzmail", "xqzdomain", "73946018", "xqzcomment", "xqzidentity", "xqzcustom",
    "xqztag", "xqzid", "xqzactor", "xqzreason", "xqzrequest", "xqzraw", "xqztoken",
)  # fmt: skip


def secret_card(**fields: object) -> v1.Customer:
    """Return a card full of strings that stand nowhere else."""
    card = person(
        "xqzmail@xqzdomain.example", "xqzmail@@broken", "+44 20 7394 6018", "020 73946018 xqz",
        last_name="xqzname", comment="xqzcomment", tags=["xqztag"],
        identities=[v1.Identity(type="erp", value="xqzidentity")], **fields,
    )  # fmt: skip
    card.custom_fields["size"].text = "xqzcustom"
    return card


def test_the_log_holds_no_customer_data(start_server: StartServer, faulty_dns: RunDns) -> None:
    """Whatever is saved, refused or broken on its way."""
    dns = faulty_dns(garbage)
    settle = {
        "NAMESAKE_DNS_LOOKUP_S": "1",
        "NAMESAKE_DNS_UNKNOWN_TTL_S": "0",
        "NAMESAKE_SETTLE_PAUSE_S": "0.05",
        "NAMESAKE_SETTLE_PAUSE_LIMIT_S": "0.1",
    }
    server = start_server("--dns-server", dns.address, **settle)
    with connected(server, ("namesake-actor", "xqzactor"), bearer("xqztoken")) as client:
        client.save(secret_card(id="xqzid"), request_id="xqzrequest")
        client.import_all("job", [secret_card(), secret_card(kind=2), secret_card(id=" xqzid")])
        asked = dns.asked["MX"]
        wait_until(lambda: dns.asked["MX"] > asked)
        refusal(lambda: client.save(secret_card(), on_duplicate=v1.ON_DUPLICATE_REJECT))
        client.save(secret_card(), on_duplicate=v1.ON_DUPLICATE_ATTACH)
        refusal(lambda: client.save(secret_card(kind=9)))
        refusal(lambda: client.get("xqzid-unknown"))
        client.resolve(("email", "xqzmail@xqzdomain.example"), ("customer", "xqzid" * 60))
        raw = client.bytes.unary_unary("/namesake.v1.CustomerService/SaveCustomer")
        refusal(partial(raw, b"\x0a\xff xqzraw", timeout=10))
        client.delete("xqzid", "xqzreason")
    assert server.stop() == 0
    log = server.log()
    assert "stopped" in log
    assert [secret for secret in SECRETS if secret in log.lower()] == []
