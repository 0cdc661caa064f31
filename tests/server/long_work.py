"""Long work in tests: begin it, hold it in the middle, wait for what it comes to."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.longrunning import operations_pb2 as longrunning
from google.longrunning import operations_pb2_grpc as stubs
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from namesake import v1
from tests.conftest import Server, wait_until
from tests.server.client import Client

ATTEMPTS = 20  # to catch the process of a piece of work before it is done


class Work:
    """What a caller does with operations."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stub = stubs.OperationsStub(client.channel)

    def scan(self, **terms: Any) -> str:
        """Begin a scan; return its name."""
        request = v1.ScanDuplicatesRequest(**terms)
        return str(self._client.call(self._client.duplicates.ScanDuplicates, request).name)

    def train(self, **terms: Any) -> str:
        """Begin a training; return its name."""
        request = v1.TrainModelRequest(**terms)
        return str(self._client.call(self._client.duplicates.TrainModel, request).name)

    def get(self, name: str) -> Any:
        """Return an operation as it is."""
        request = longrunning.GetOperationRequest(name=name)
        return self._client.call(self._stub.GetOperation, request)

    def page(self, **terms: Any) -> Any:
        """Return one page of the operations."""
        request = longrunning.ListOperationsRequest(**terms)
        return self._client.call(self._stub.ListOperations, request)

    def cancel(self, name: str) -> None:
        """Ask for an end."""
        request = longrunning.CancelOperationRequest(name=name)
        self._client.call(self._stub.CancelOperation, request)

    def delete(self, name: str) -> None:
        """Forget an operation."""
        request = longrunning.DeleteOperationRequest(name=name)
        self._client.call(self._stub.DeleteOperation, request)

    def wait(self, name: str, timeout: Duration | None = None) -> Any:
        """Return an operation when it is done, or when the time is up."""
        request = longrunning.WaitOperationRequest(name=name, timeout=timeout)
        return self._client.call(self._stub.WaitOperation, request)

    def waiting(self, name: str) -> Any:
        """Begin to wait; return what will be the answer."""
        request = longrunning.WaitOperationRequest(name=name)
        return self._stub.WaitOperation.future(request, metadata=self._client.metadata)

    def scanned(self, **terms: Any) -> v1.ScanSummary:
        """Scan; return what came of it."""
        summary = v1.ScanSummary()
        operation = self.wait(self.scan(**terms))
        assert operation.response.Unpack(summary), operation
        return summary

    def trained(self, **terms: Any) -> v1.TrainSummary:
        """Train; return what came of it."""
        summary = v1.TrainSummary()
        operation = self.wait(self.train(**terms))
        assert operation.response.Unpack(summary), operation
        return summary

    def groups(self, page_size: int = 0, **terms: Any) -> list[v1.DuplicateGroup]:
        """List the groups to the end, page by page."""
        found: list[v1.DuplicateGroup] = []
        token = ""
        while True:
            request = v1.ListDuplicateGroupsRequest(page_size=page_size, page_token=token, **terms)
            page = self._client.call(self._client.duplicates.ListDuplicateGroups, request)
            assert not page_size or len(page.groups) <= page_size
            found += page.groups
            token = page.next_page_token
            if not token:
                return found

    def grouped(self, **terms: Any) -> set[frozenset[str]]:
        """Return the groups' ids."""
        return {frozenset(one.id for one in group.members) for group in self.groups(**terms)}


def failure(operation: Any) -> tuple[int, str]:
    """Return why an operation failed: the status code and the stable reason."""
    assert operation.done
    info = error_details_pb2.ErrorInfo()
    assert operation.error.details[0].Unpack(info)
    return operation.error.code, info.reason


CANCELLED = (grpc.StatusCode.CANCELLED.value[0], "CANCELLED")
INTERRUPTED = (grpc.StatusCode.ABORTED.value[0], "INTERRUPTED")


def processes(server: Server) -> list[int]:
    """Return the processes that do long work for a server or its workers."""
    assert server.process is not None
    parents = [server.process.pid, *server.workers()]
    found = []
    for parent in parents:
        children = Path(f"/proc/{parent}/task/{parent}/children")
        found += [int(pid) for pid in children.read_text().split()]
    return [pid for pid in found if b"service.identity.child" in _command(pid)]


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended."""
    return not _command(pid)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _state(pid: int) -> str:
    """Return the letter of proc(5): T where it is stopped, Z where it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


@contextmanager
def held(server: Server, work: Work, kind: str = "scan", **terms: Any) -> Iterator[tuple[str, int]]:
    """Begin work and stop its process in the middle; yield its name and the process id."""
    for _ in range(ATTEMPTS):
        before = processes(server)
        name = work.scan(**terms) if kind == "scan" else work.train(**terms)
        pid = _stopped(server, before)
        if pid and not work.get(name).done:
            break
        _go_on(pid)
        work.wait(name)
    else:
        raise AssertionError("the work was always done before it could be held")
    try:
        yield name, pid
    finally:
        _go_on(pid)


def _stopped(server: Server, before: list[int]) -> int:
    found: list[int] = []

    def is_there() -> bool:
        found[:] = [pid for pid in processes(server) if pid not in before]
        return bool(found)

    wait_until(is_there)
    try:
        os.kill(found[0], signal.SIGSTOP)
    except ProcessLookupError:
        return 0
    wait_until(lambda: _state(found[0]) in ("T", "Z", ""))
    return found[0] if _state(found[0]) == "T" else 0


def _go_on(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGCONT) if pid else None
    except ProcessLookupError:
        return
