"""google.longrunning.Operations: the long work of the caller's account."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import grpc
from google.longrunning import operations_pb2 as longrunning
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from namesake import v1
from service.errors import InvalidArgument
from service.identity.operations import PREFIX, Operation
from service.server.edge import Context, Edge, caller
from service.server.merged import merge_response
from service.server.pages import Listing, decode_token, encode_token, page_rows
from service.server.status import error_of, message_of
from service.server.wire import timestamp
from service.settings import Settings

SERVICE: Final = "google.longrunning.Operations"

_AT_ONCE = re.compile(rf"{PREFIX}merge-([0-9]{{1,19}})")
#: kind → what says how far it is, and what it came to. Their fields are named as in `identity`.
_TYPES: Final[dict[str, tuple[type[Message], type[Message]]]] = {
    "scan": (v1.ScanMetadata, v1.ScanSummary),
    "train": (v1.TrainMetadata, v1.TrainSummary),
    "bulk-update": (v1.BulkMetadata, v1.BulkSummary),
    "bulk-delete": (v1.BulkMetadata, v1.BulkSummary),
    "merge": (v1.MergeMetadata, v1.MergeCustomersResponse),
    "undo-merges": (v1.MergeMetadata, v1.UndoMergesResponse),
    "merge-import": (v1.MergeMetadata, v1.MergeRunSummary),
    "merge-scan": (v1.MergeMetadata, v1.MergeRunSummary),
}


def operation_message(operation: Operation) -> Any:
    """Return an operation as the wire has it."""
    metadata_type, response_type = _TYPES[operation.kind]
    times = {"start_time": timestamp(operation.start_us)}
    if operation.done:
        times["end_time"] = timestamp(operation.end_us)
    known = metadata_type.DESCRIPTOR.fields_by_name
    counts = {name: count for name, count in operation.counts.items() if name in known}
    message = longrunning.Operation(name=operation.name, done=operation.done)
    message.metadata.Pack(
        metadata_type(**times, step=operation.step, share=operation.share, **counts)
    )
    if operation.failure is not None:
        failed = operation.failure
        error = error_of(failed.reason)
        message.error.CopyFrom(
            message_of(error(failed.message, field=failed.field, **failed.details))
        )
    elif operation.kind == "merge" and operation.result is not None:
        with caller().account.index.snapshot() as snapshot:
            message.response.Pack(merge_response(snapshot, int(operation.result["sequence"])))
    elif operation.result is not None:
        message.response.Pack(response_type(**operation.result))
    return message


def merge_operation(sequence: int) -> Any:
    """Return the operation of a merge that was done when it was answered, which nobody stores."""
    with caller().account.index.snapshot() as snapshot:
        response = merge_response(snapshot, sequence)
    message = longrunning.Operation(name=f"{PREFIX}merge-{sequence}", done=True)
    message.metadata.Pack(v1.MergeMetadata(step="merging", share=1.0, merges=1))
    message.response.Pack(response)
    return message


def _done_at_once(name: str) -> int:
    """Return the sequence of the merge whose operation was answered done, 0 for any other name."""
    at_once = _AT_ONCE.fullmatch(name)
    return int(at_once[1]) if at_once else 0


class OperationsService:
    """See google/longrunning/operations.proto, and `namesake.v1` for what begins operations."""

    def __init__(self, settings: Settings, stopping: asyncio.Event) -> None:
        self._settings = settings
        self._stopping = stopping

    async def GetOperation(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Return an operation as it is."""
        if sequence := _done_at_once(request.name):
            return merge_operation(sequence)
        return operation_message(caller().account.operations.get(request.name))

    async def ListOperations(self, request: Any, context: Context) -> Any:  # noqa: N802
        """List the account's operations by kind, the oldest of each first."""
        if request.name not in ("", PREFIX.rstrip("/")):
            raise InvalidArgument(f'is empty or "{PREFIX.rstrip("/")}"', field="name")
        if request.filter:
            raise InvalidArgument("there are no filters; leave it empty", field="filter")
        rows = page_rows(request.page_size, self._settings)
        _, after = decode_token(request.page_token, Listing.OPERATIONS)
        answer = longrunning.ListOperationsResponse()
        size = 0
        for operation in caller().account.operations.page(after, rows + 1):
            if len(answer.operations) == rows or size >= self._settings.page_limit_bytes:
                last = answer.operations[-1].name
                answer.next_page_token = encode_token(Listing.OPERATIONS, 0, last)
                break
            message = answer.operations.add()
            message.CopyFrom(operation_message(operation))
            size += message.ByteSize()
        return answer

    async def CancelOperation(self, request: Any, context: Context) -> Empty:  # noqa: N802
        """Ask for an end, which comes soon."""
        if sequence := _done_at_once(request.name):
            merge_operation(sequence)  # raises where there is no such merge
            return Empty()
        await caller().account.operations.cancel(request.name)
        return Empty()

    async def DeleteOperation(self, request: Any, context: Context) -> Empty:  # noqa: N802
        """Forget an operation that is done; of one that was done at once nothing is kept."""
        if sequence := _done_at_once(request.name):
            merge_operation(sequence)  # raises where there is no such merge
            return Empty()
        await caller().account.operations.delete(request.name)
        return Empty()

    async def WaitOperation(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Return an operation when it is done, or as it is when the time is up."""
        if sequence := _done_at_once(request.name):
            return merge_operation(sequence)
        timeout_s = float(self._settings.operation_wait_s)
        if request.HasField("timeout"):
            asked_s = request.timeout.seconds + request.timeout.nanos / 1e9
            if asked_s < 0:
                raise InvalidArgument("is not negative", field="timeout")
            timeout_s = min(timeout_s, asked_s)
        operations = caller().account.operations
        return operation_message(await operations.wait(request.name, timeout_s, self._stopping))


def add_to(edge: Edge, service: OperationsService) -> None:
    """Serve it. The generated code of that package is older, and knows one half of servers only."""
    requests = {
        "GetOperation": longrunning.GetOperationRequest,
        "ListOperations": longrunning.ListOperationsRequest,
        "CancelOperation": longrunning.CancelOperationRequest,
        "DeleteOperation": longrunning.DeleteOperationRequest,
        "WaitOperation": longrunning.WaitOperationRequest,
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(getattr(service, name), request.FromString)
        for name, request in requests.items()
    }
    edge.add_registered_method_handlers(SERVICE, handlers)
