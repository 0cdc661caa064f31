"""The composition root: builds every part, serves, and stops in order.

One worker serves in this process. Several are spawned, each building its own parts: an LMDB
environment and a gRPC server must not cross a fork. All listen on one port (SO_REUSEPORT), which
the supervisor holds bound, without listening, while they live.
"""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import json
import logging
import os
import signal
import ssl
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import grpc
import structlog
from prometheus_client import start_http_server

from namesake import v1
from namesake.v1 import (
    admin_service_pb2,
    customer_service_pb2,
    duplicate_service_pb2,
    merge_service_pb2,
    timeline_service_pb2,
    transfer_service_pb2,
    validation_service_pb2,
)
from service.errors import InvalidArgument
from service.server import health, operations
from service.server.accounts import AccountConfig, Accounts, read_accounts
from service.server.admin import AdminService
from service.server.contacts import ValidationService
from service.server.customers import CustomerService
from service.server.duplicates import DuplicateService
from service.server.edge import Edge, whereabouts
from service.server.merges import MergeService
from service.server.operations import OperationsService
from service.server.timeline import TimelineService
from service.server.transfers import TransferService
from service.settings import Settings
from service.validation.validator import Validator

log = structlog.get_logger("namesake")

_FILES = (
    admin_service_pb2,
    customer_service_pb2,
    duplicate_service_pb2,
    merge_service_pb2,
    timeline_service_pb2,
    transfer_service_pb2,
    validation_service_pb2,
)
ENDING = (signal.SIGTERM, signal.SIGINT)
SERVICES = (
    *(s.full_name for file in _FILES for s in file.DESCRIPTOR.services_by_name.values()),
    operations.SERVICE,
)


def run(settings: Settings, *, as_json: bool = False) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status.

    Prints one line with the address when ready, for people or as JSON. Raises `InvalidArgument`
    for settings that cannot or must not be served.
    """
    from service.server.supervisor import supervise

    configure_log()
    configs = read_accounts(settings)
    check_exposure(settings, configs)
    if settings.metrics_address is not None:
        split_address(settings.metrics_address, "metrics_address")
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidArgument(
            f"cannot make the folder {settings.data}: {error.strerror}", field="data"
        ) from error
    ready = partial(announce, settings, as_json=as_json)
    if settings.workers == 1:
        return asyncio.run(serve(settings, configs, 0, ready))
    asyncio.run(rehearse(settings, configs))
    return supervise(settings, configs, ready)


def build_validator(settings: Settings) -> Validator:
    """Return a validator without a server, for checking lists."""
    configure_log()
    return Validator(settings)


def configure_log() -> None:
    """Log JSON lines to stderr; what is logged never holds customer data."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        # Of several processes each line is one write: `print` would end it with a second one.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    # grpc.aio logs a handler's exception with its text; ours become statuses before that.
    logging.getLogger("grpc").setLevel(logging.CRITICAL)


def check_exposure(settings: Settings, configs: list[AccountConfig]) -> None:
    """Refuse to serve beyond this machine without TLS and credentials."""
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise InvalidArgument("TLS needs a certificate and its key", field="tls_key")
    host, _ = split_address(settings.address)
    if _is_loopback(host):
        return
    if settings.tls_certificate is None or not all(config.tokens for config in configs):
        raise InvalidArgument(
            "an address beyond loopback needs TLS (--tls-cert, --tls-key) and credentials "
            "(--accounts)",
            field="address",
        )


def split_address(address: str, field: str = "address") -> tuple[str, int]:
    """Return host and port of "host:port" or "[v6]:port"; raise `InvalidArgument`."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise InvalidArgument("needs host:port", field=field)
    return host.strip("[]"), int(port)


def read_tls(certificate: Path | None, key: Path | None) -> tuple[bytes, bytes] | None:
    """Return key and certificate chain, None without TLS; raise `InvalidArgument`."""
    if certificate is None or key is None:
        return None
    pair = (_read(key, "tls_key"), _read(certificate, "tls_cert"))
    try:
        # gRPC would only say that it cannot listen. The password keeps OpenSSL from asking for one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        raise InvalidArgument(
            f"{certificate} and {key} are not a PEM chain and its unencrypted key: {error}",
            field="tls_cert",
        ) from error
    return pair


def _read(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror}", field=field) from error


def join_address(host: str, port: int) -> str:
    """Return "host:port", with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def announce(settings: Settings, port: int, *, as_json: bool) -> None:
    """Print the one line that says where to call."""
    address = join_address(split_address(settings.address)[0], port)
    facts = {"address": address, "data": str(settings.data), "workers": settings.workers}
    workers = f", {settings.workers} workers" if settings.workers > 1 else ""
    line = f"namesake serves on {address} (data in {settings.data}{workers})"
    sys.stdout.write(f"{json.dumps(facts) if as_json else line}\n")
    sys.stdout.flush()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def serve(
    settings: Settings,
    configs: list[AccountConfig],
    number: int,
    ready: Callable[[int], object],
) -> int:
    """Serve until a signal, as the only worker or as one of several; return the exit status.

    `ready` is called with the port once calls are answered.
    """
    gc.freeze()  # what loading made stays: a collection would only look through it again
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_fault)
    for name in ENDING:
        # Not by the loop: until it is told to ignore a signal, it would let one end the process.
        signal.signal(name, lambda *_: loop.call_soon_threadsafe(stop.set))
    worker = Worker(settings, configs)
    try:
        port = await worker.start(number)
        log.info("serving", worker=number, port=port, pid=os.getpid())
        ready(port)
        await stop.wait()
        log.info("draining", worker=number)
    finally:
        await worker.stop()
        # Everything is written: a second signal is not to spoil the exit status.
        for name in ENDING:
            signal.signal(name, signal.SIG_IGN)
    log.info("stopped", worker=number)
    return 0


async def rehearse(settings: Settings, configs: list[AccountConfig]) -> None:
    """Open what every worker opens, and close it: so that what is wrong is said here, and once."""
    worker = Worker(settings, configs)
    try:
        await worker.open(settle=False)
    finally:
        await worker.stop()


def log_loop_fault(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what asyncio would print: an exception that nobody waited for."""
    error = context.get("exception")
    # With an exception, the message may show the arguments of a call, and so customer data.
    said = {"message": context["message"]} if error is None else whereabouts(error)
    log.error("loop_fault", **said)


class Worker:
    """Everything that serves in one process."""

    def __init__(self, settings: Settings, configs: list[AccountConfig]) -> None:
        self._settings = settings
        self._configs = configs
        self._stopping = asyncio.Event()
        self._validator = Validator(settings)
        self._accounts = Accounts(settings, self._validator)
        self._admin = AdminService(self._validator, settings, self._stopping)
        self._tls: tuple[bytes, bytes] | None = None
        self._server: grpc.aio.Server | None = None

    async def open(self, *, settle: bool) -> None:
        """Open all files. `settle`: this worker settles what is pending."""
        self._tls = read_tls(self._settings.tls_certificate, self._settings.tls_key)
        await self._validator.start()
        self._accounts.start(self._configs, settle=settle)
        await self._accounts.recover()

    async def start(self, number: int) -> int:
        """Open, build, listen; return the port."""
        await self.open(settle=number == 0)
        self._server = self._build()
        port = self._listen(self._server)
        await self._server.start()
        if self._settings.metrics_address is not None:
            self._show_metrics(self._settings.metrics_address, number)
        return port

    def _show_metrics(self, address: str, number: int) -> None:
        host, first_port = split_address(address, "metrics_address")
        try:
            start_http_server(first_port + number, host)
        except (OSError, OverflowError) as error:
            raise InvalidArgument(
                f"cannot listen on {join_address(host, first_port + number)}: {error}",
                field="metrics_address",
            ) from error

    def _build(self) -> grpc.aio.Server:
        settings, validator = self._settings, self._validator
        server = grpc.aio.server(
            maximum_concurrent_rpcs=settings.concurrent_rpcs,
            options=[
                # One worker alone must not share its port with a stranger.
                ("grpc.so_reuseport", int(settings.workers > 1)),
                ("grpc.max_receive_message_length", settings.message_limit),
                ("grpc.max_send_message_length", settings.message_limit),
                # By default a peer that vanished keeps its calls for two hours.
                ("grpc.keepalive_time_ms", settings.keepalive_s * 1_000),
                ("grpc.http2.ping_timeout_ms", settings.keepalive_s * 1_000),
            ],
        )
        wrapping = Edge(server, self._accounts, self._stopping)
        # To the generated code it is the server.
        edge = cast(grpc.aio.Server, wrapping)
        v1.add_CustomerServiceServicer_to_server(
            CustomerService(validator, settings, self._stopping), edge
        )
        v1.add_ValidationServiceServicer_to_server(ValidationService(validator, settings), edge)
        v1.add_DuplicateServiceServicer_to_server(DuplicateService(settings), edge)
        v1.add_MergeServiceServicer_to_server(MergeService(settings), edge)
        v1.add_TransferServiceServicer_to_server(TransferService(settings, self._stopping), edge)
        v1.add_TimelineServiceServicer_to_server(TimelineService(settings), edge)
        v1.add_AdminServiceServicer_to_server(self._admin, edge)
        operations.add_to(wrapping, OperationsService(settings, self._stopping))
        health.add_to(server, SERVICES, self._stopping)
        return server

    def _listen(self, server: grpc.aio.Server) -> int:
        address = self._settings.address
        try:
            if self._tls is None:
                return server.add_insecure_port(address)
            return server.add_secure_port(address, grpc.ssl_server_credentials([self._tls]))
        except RuntimeError as error:
            raise InvalidArgument(
                f"cannot listen on {address}: {error}", field="address"
            ) from error

    async def stop(self) -> None:
        """Drain: refuse new calls, let running ones end, write what waits, close the files."""
        self._stopping.set()
        if self._server is not None:
            await self._server.stop(self._settings.drain_s)
        await self._admin.close()
        await self._accounts.close()
        await self._validator.close()
