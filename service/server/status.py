"""The one table from domain errors to gRPC status, with google.rpc details."""

from __future__ import annotations

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from service import errors
from service.errors import NamesakeError

DOMAIN = "namesake"

CODES: dict[type[NamesakeError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.IdentityExclusive: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Deleted: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Merged: grpc.StatusCode.FAILED_PRECONDITION,
    errors.MergeConflict: grpc.StatusCode.FAILED_PRECONDITION,
    errors.UnmergeConflict: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NotMerged: grpc.StatusCode.FAILED_PRECONDITION,
    errors.StaleEtag: grpc.StatusCode.ABORTED,
    errors.DuplicateFound: grpc.StatusCode.ALREADY_EXISTS,
    errors.AmbiguousDuplicates: grpc.StatusCode.FAILED_PRECONDITION,
    errors.LimitExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.StorageFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.StorageFault: grpc.StatusCode.INTERNAL,
    errors.IndexBusy: grpc.StatusCode.UNAVAILABLE,
    errors.FormatMismatch: grpc.StatusCode.FAILED_PRECONDITION,
    errors.SequenceUnavailable: grpc.StatusCode.OUT_OF_RANGE,
    errors.ConsumerAhead: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ReaderStalled: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.ScanUnderWay: grpc.StatusCode.FAILED_PRECONDITION,
    errors.OperationUnderWay: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ImportDone: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ImportCancelled: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ImportTakenOver: grpc.StatusCode.ABORTED,
    errors.CountMismatch: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NoLongerMatches: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.Interrupted: grpc.StatusCode.ABORTED,
    errors.ShuttingDown: grpc.StatusCode.UNAVAILABLE,
    NamesakeError: grpc.StatusCode.INTERNAL,
}


_BY_REASON = {kind.reason: kind for kind in CODES}


def code_of(error: NamesakeError) -> grpc.StatusCode:
    """Return the status code of a domain error."""
    return CODES[type(error)]


def status_of(error: NamesakeError) -> grpc.Status:
    """Return the rich status of a call that failed."""
    return rpc_status.to_status(message_of(error))


def error_of(reason: str) -> type[NamesakeError]:
    """Return which error a stored reason means; one that nobody knows is INTERNAL."""
    return _BY_REASON.get(reason, NamesakeError)


def message_of(error: NamesakeError) -> status_pb2.Status:
    """Return the status as a message: ErrorInfo with the reason, BadRequest with the field."""
    details = [_packed(_info(error))]
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=error.message, reason=error.reason
        )
        details.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
    text = f"{error.field}: {error.message}" if error.field else error.message
    code: int = code_of(error).value[0]
    return status_pb2.Status(code=code, message=text, details=details)


def _info(error: NamesakeError) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.details)


def _packed(detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> Any:
    packed = Any()
    packed.Pack(detail)
    return packed
