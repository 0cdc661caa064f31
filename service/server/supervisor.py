"""Several worker processes over one folder: started, watched, restarted, stopped together."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.process import BaseProcess

import structlog

from service.errors import InvalidArgument, NamesakeError
from service.server.accounts import AccountConfig
from service.server.app import configure_log, join_address, serve, split_address
from service.settings import Settings

log = structlog.get_logger("namesake")

RESTARTS_LIMIT = 5  # workers that die within a minute, before the supervisor gives up
RESTARTS_WINDOW_S = 60.0
CLOSE_S = 10.0  # to write what waits, after the drain


def supervise(
    settings: Settings, configs: list[AccountConfig], ready: Callable[[int], object]
) -> int:
    """Run `settings.workers` processes until a signal; return the exit status.

    `ready` is called with the port once all of them answer.
    """
    with _held_port(settings.address) as address:
        bound = settings.model_copy(update={"address": address})
        return _Supervisor(bound, configs).run(ready)


@contextlib.contextmanager
def _held_port(address: str) -> Iterator[str]:
    """Hold the port, so that every worker gets the same one and nobody else takes it."""
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as held:
        try:
            if port:
                _check_free(host, port, family)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind((host, port))
        except OSError as error:
            raise InvalidArgument(
                f"cannot listen on {address}: {error}", field="address"
            ) from error
        yield join_address(host, held.getsockname()[1])


def _check_free(host: str, port: int, family: socket.AddressFamily) -> None:
    # Without SO_REUSEPORT a bind fails where somebody listens; with it, both would get calls.
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def _work(settings: Settings, configs: list[AccountConfig], number: int, ready: Connection) -> None:
    """Be a worker process; end when the supervisor does."""
    configure_log()
    threading.Thread(target=_end_with_parent, args=(settings,), daemon=True).start()
    try:
        status = asyncio.run(serve(settings, configs, number, ready.send))
    except NamesakeError as error:
        log.error("worker_failed", worker=number, reason=error.reason, message=error.message)
        status = 1
    raise SystemExit(status)


def _end_with_parent(settings: Settings) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(settings.drain_s + CLOSE_S)
    os._exit(1)  # nobody else is left to end a worker that does not


class _Supervisor:
    """Keeps the workers alive; restarts one that dies, and gives up where they keep dying."""

    def __init__(self, settings: Settings, configs: list[AccountConfig]) -> None:
        self._settings = settings
        self._configs = configs
        self._spawn = multiprocessing.get_context("spawn")
        self._deaths: deque[float] = deque(maxlen=RESTARTS_LIMIT)
        self._workers: dict[int, BaseProcess] = {}
        self._stopping = False

    def run(self, ready: Callable[[int], object]) -> int:
        """Run until a signal; return the exit status."""
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: self._stop())
        try:
            status = self._serve(ready)
        finally:
            killed = self._end()
        return 1 if killed else status

    def _serve(self, ready: Callable[[int], object]) -> int:
        for number in range(self._settings.workers):
            if self._stopping:
                return 0
            if self._start(number) is None:
                return 0 if self._stopping else 1
        ready(split_address(self._settings.address)[1])
        return self._watch()

    def _end(self) -> list[int]:
        """Wait for the workers' end; kill, and return, those that do not come to it."""
        self._stop()
        killed = []
        for number, worker in self._workers.items():
            worker.join(self._settings.drain_s + CLOSE_S)
            if worker.is_alive():
                log.error("worker_killed", worker=number)
                worker.kill()
                killed.append(number)
        return killed

    def _start(self, number: int) -> int | None:
        """Start a worker and wait until it serves; return its port, None if it died first."""
        ready, theirs = self._spawn.Pipe(duplex=False)
        worker = self._spawn.Process(
            target=_work, args=(self._settings, self._configs, number, theirs)
        )
        worker.start()
        theirs.close()
        self._workers[number] = worker
        with ready:
            try:
                return int(ready.recv())
            except EOFError:
                return None

    def _watch(self) -> int:
        while not self._stopping:
            wait_for([worker.sentinel for worker in self._workers.values()], timeout=1.0)
            dead = [n for n, worker in self._workers.items() if not worker.is_alive()]
            for number in dead:
                if self._stopping:
                    break
                log.error("worker_died", worker=number, status=self._workers[number].exitcode)
                if self._dies_too_often():
                    log.error("giving_up", deaths=RESTARTS_LIMIT, within_s=RESTARTS_WINDOW_S)
                    return 1
                self._start(number)
        return 0

    def _dies_too_often(self) -> bool:
        now = time.monotonic()
        self._deaths.append(now)
        return len(self._deaths) == RESTARTS_LIMIT and now - self._deaths[0] < RESTARTS_WINDOW_S

    def _stop(self) -> None:
        self._stopping = True
        for worker in self._workers.values():
            if worker.is_alive() and worker.pid is not None:
                os.kill(worker.pid, signal.SIGTERM)
