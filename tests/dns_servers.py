"""Real DNS servers on loopback: knotd with zones, and one that misbehaves on demand."""

from __future__ import annotations

import asyncio
import secrets
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import dnslib

START_S = 20.0
PORTS = range(10_000, 32_768)  # below those that the kernel gives to whoever asks for any

# Zone → its records after SOA and NS. The TTL of positives is 300 s, of negatives 60 s.
ZONES = {
    "mail.example.": "@ MX 20 mx2.host.example.\n@ MX 10 mx1.host.example.\n"
    "@ MX 30 mx3.host.example.",
    "null.example.": "@ MX 0 .",
    "mixed.example.": "@ MX 0 .\n@ MX 10 real.host.example.",
    "implicit4.example.": "@ A 192.0.2.1",
    "implicit6.example.": "@ AAAA 2001:db8::1",
    "nodata.example.": '@ TXT "no mail here"',
    "chain.example.": "www CNAME step.chain.example.\nstep CNAME end.chain.example.\n"
    "end MX 10 mx.chain.example.\nbare CNAME nothing.chain.example.\n"
    'nothing TXT "a CNAME to no mail"\ndangling CNAME gone.chain.example.',
}
# Served, but its file is missing: knotd answers SERVFAIL. Any other zone is REFUSED.
BROKEN_ZONE = "servfail.example."

_SOA = (
    "$TTL 300\n@ SOA ns.host.example. admin.host.example. 1 3600 600 86400 60\n"
    "@ NS ns.host.example.\n"
)


def free_port() -> int:
    """Return a port that nobody uses at the moment, in UDP and TCP.

    Nor soon: it is given to no other, and one that is drawn by tests in another process differs.
    """
    for _ in range(50):
        port = secrets.choice(PORTS)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


@contextmanager
def knot(folder: Path) -> Iterator[str]:
    """Run knotd with `ZONES` and yield its address, "127.0.0.1:port"."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    for zone, records in ZONES.items():
        (folder / f"{zone}zone").write_text(f"{_SOA}{records}\n")
    configuration = folder / "knot.conf"
    configuration.write_text(_knot_configuration(folder, port))
    with (folder / "knotd.log").open("wb") as log:
        server = subprocess.Popen(["knotd", "--config", str(configuration)], stdout=log, stderr=log)
    try:
        _await_answer(server, port, folder / "knotd.log")
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(START_S)


def _knot_configuration(folder: Path, port: int) -> str:
    zones = "".join(
        f'  - domain: {zone}\n    file: "{folder}/{zone}zone"\n' for zone in (*ZONES, BROKEN_ZONE)
    )
    return (
        f'server:\n    rundir: "{folder}"\n    listen: 127.0.0.1@{port}\n'
        "    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n"
        f'database:\n    storage: "{folder}"\n'
        "    journal-db-max-size: 8M\n    kasp-db-max-size: 8M\n    timer-db-max-size: 1M\n"
        "template:\n  - id: default\n    zonefile-sync: -1\n    journal-content: none\n"
        f"zone:\n{zones}"
    )


def _await_answer(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    question = dnslib.DNSRecord.question("mail.example.", "MX")
    ends = time.monotonic() + START_S
    while time.monotonic() < ends and server.poll() is None:
        try:
            answer = dnslib.DNSRecord.parse(question.send("127.0.0.1", port, timeout=0.5))
        except OSError:
            time.sleep(0.05)
            continue
        if answer.rr:
            return
        time.sleep(0.05)
    raise RuntimeError(f"knotd did not start: {log.read_text(errors='replace')}")


# A reply is a DNS message, raw bytes, or None for silence.
Reply: TypeAlias = dnslib.DNSRecord | bytes | None
Script: TypeAlias = Callable[[dnslib.DNSRecord], Reply]


class FaultyDns(asyncio.DatagramProtocol):
    """A DNS server in the test's own event loop that answers as its script says.

    `asked` counts queries by type ("MX", "A", "AAAA"). While `gate` is clear, answers wait.
    """

    def __init__(self, script: Script) -> None:
        """Answer by `script` from the first query on."""
        self.script = script
        self.asked: Counter[str] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()
        self.address = ""
        self._pending: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen on UDP and TCP of one free port."""
        port = free_port()
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", port)
        )
        self._tcp = await asyncio.start_server(self._serve_tcp, "127.0.0.1", port)
        self.address = f"127.0.0.1:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening; queries without an answer keep none."""
        for task in self._pending:
            task.cancel()
        assert self._transport is not None
        assert self._tcp is not None
        self._transport.close()
        self._tcp.close()

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Answer one query, now or when the gate opens."""
        task = asyncio.create_task(self._answer_udp(data, addr))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _answer_udp(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        reply = await self._reply(data)
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                reply = await self._reply(await reader.readexactly(length))
                if reply is not None:
                    writer.write(len(reply).to_bytes(2, "big") + reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _reply(self, data: bytes) -> bytes | None:
        query = dnslib.DNSRecord.parse(data)
        self.asked[dnslib.QTYPE[query.q.qtype]] += 1
        await self.gate.wait()
        reply = self.script(query)
        return bytes(reply.pack()) if isinstance(reply, dnslib.DNSRecord) else reply


def mx(*hosts: str, ttl: int = 300) -> Script:
    """Answer MX queries with `hosts` in this order, other types with NODATA."""

    def script(query: dnslib.DNSRecord) -> Reply:
        reply = query.reply()
        if query.q.qtype == dnslib.QTYPE.MX:
            for preference, host in enumerate(hosts):
                record = dnslib.MX(host, preference)
                reply.add_answer(dnslib.RR(query.q.qname, dnslib.QTYPE.MX, rdata=record, ttl=ttl))
        return reply

    return script


def failure(code: str) -> Script:
    """Answer everything with a response code: "SERVFAIL", "NXDOMAIN", "REFUSED"."""

    def script(query: dnslib.DNSRecord) -> Reply:
        reply = query.reply()
        reply.header.rcode = getattr(dnslib.RCODE, code)
        return reply

    return script


def silence(query: dnslib.DNSRecord) -> Reply:
    """Answer nothing."""
    return None


def garbage(query: dnslib.DNSRecord) -> Reply:
    """Answer with the right id and nonsense behind it."""
    return bytes(query.pack())[:2] + b"\x81\x80" + b"\xff" * 40


def cut_short(query: dnslib.DNSRecord) -> Reply:
    """Answer with the first half of a proper answer."""
    whole = mx("mx.example.")(query)
    assert isinstance(whole, dnslib.DNSRecord)
    packed = bytes(whole.pack())
    return packed[: len(packed) - 8]
