"""Commands for long work: what is under way, how far it is, what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated, Any

import grpc
import typer
from google.longrunning import operations_pb2 as longrunning
from google.longrunning import operations_pb2_grpc as stubs
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from namesake import v1
from service.cli import show
from service.cli.link import REFUSED, Link, complain, remote
from service.cli.retry import Retry

PREFIX = "operations/"
LOOK_S = 1  # between two looks at the progress, if the work is not done before

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="As `namesake operations list` shows it.")
]

Metadata = v1.ScanMetadata | v1.TrainMetadata | v1.BulkMetadata | v1.MergeMetadata
Summary = (
    v1.ScanSummary
    | v1.TrainSummary
    | v1.BulkSummary
    | v1.MergeCustomersResponse
    | v1.UndoMergesResponse
    | v1.MergeRunSummary
)
Operation = Any  # google.longrunning.Operation, which has no types


@remote
def list_operations(link: Link) -> None:
    """List scans, trainings, merges and changes to many, under way and done, by kind.

    Examples:
      namesake operations list
      namesake operations list --json | jq -r 'select(.done | not).name'
    """
    rows = []
    request = longrunning.ListOperationsRequest()
    for page in link.pages(_stub(link).ListOperations, request):
        for operation in page.operations:
            if link.as_json:
                show.json_line(operation)
            else:
                rows.append((operation.name, _when(operation), _state(operation)))
    if not link.as_json:
        show.table("Operations", ("name", "began", "state"), rows)


@remote
def show_operation(link: Link, name: NameArgument) -> None:
    """Show how far an operation is, or what came of it.

    Examples:
      namesake operations show operations/scan-01a2050e-ed99-7201-8fda-034ce53c364c
    """
    tell(
        link,
        link.call(_stub(link).GetOperation, longrunning.GetOperationRequest(name=full_name(name))),
    )


@remote
def cancel_operation(link: Link, name: NameArgument) -> None:
    """Ask an operation to stop; it does within a second or two.

    A scan or training writes nothing then; what a change to many customers changed stays changed.

    Examples:
      namesake operations cancel operations/scan-01a2050e-ed99-7201-8fda-034ce53c364c
    """
    _cancel(link, full_name(name))
    _done(link, "cancel requested", name)


@remote
def wait_operation(link: Link, name: NameArgument) -> None:
    """Wait for an operation with its progress; exit status 1 if it fails.

    Examples:
      namesake operations wait operations/train-01a2050e-efa2-766e-9043-4e5270338e7a
    """
    finish(link, follow(link, longrunning.Operation(name=full_name(name))))


@remote
def delete_operation(link: Link, name: NameArgument) -> None:
    """Forget an operation that is done. The groups of a scan stay until the next one.

    Examples:
      namesake operations delete operations/scan-01a2050e-ed99-7201-8fda-034ce53c364c
    """
    link.call(_stub(link).DeleteOperation, longrunning.DeleteOperationRequest(name=full_name(name)))
    _done(link, "deleted", name)


def follow(link: Link, operation: Operation, *, cancels: bool = False) -> Operation:
    """Wait for an operation's end with a progress bar, also while the server is restarted.

    ^C leaves it alone, or cancels it: then its end comes soon.
    """
    try:
        return _followed(link, operation)
    except KeyboardInterrupt:
        if not cancels:
            complain(f"{operation.name} goes on; stop it with `namesake operations cancel`")
            raise
    complain(f"{operation.name} is cancelled; what was changed stays changed")
    _cancel(link, operation.name)
    return _followed(link, operation)


def _followed(link: Link, operation: Operation) -> Operation:
    retry = Retry()
    retry.reached()
    with show.progress("{task.description}", "customers") as bar:
        task = bar.add_task("", total=1.0, done=0)
        while not operation.done:
            said = metadata(operation)
            bar.update(task, description=said.step, completed=said.share, done=_customers(said))
            try:
                operation = _wait(link, operation.name, LOOK_S)
            except grpc.RpcError as error:
                retry.wait_or_raise(error)
            else:
                retry.progressed()
    return operation


def _customers(said: Metadata) -> int:
    """Return how many customers an operation has done something with."""
    if isinstance(said, v1.ScanMetadata):
        return int(said.customers)
    if isinstance(said, v1.BulkMetadata):
        return int(said.changed + said.unchanged + said.failed)
    if isinstance(said, v1.MergeMetadata):
        return int(said.merges)
    return 0


def failed_rows(operation: Operation) -> int:
    """Return how many customers a change to many could not change."""
    said = metadata(operation)
    return int(said.failed) if isinstance(said, v1.BulkMetadata) else 0


def finish(link: Link, operation: Operation) -> Message:
    """Show what came of an operation and return it; end the command where it failed."""
    tell(link, operation)
    if operation.HasField("error"):
        raise typer.Exit(REFUSED)
    return summary(operation)


def tell(link: Link, operation: Operation) -> None:
    """Show an operation."""
    if link.as_json:
        show.json_line(operation)
        return
    facts = [("operation", operation.name), ("began", _when(operation))]
    facts += [("state", _state(operation))]
    said = metadata(operation)
    if operation.HasField("response"):
        facts += _facts(summary(operation))
    elif operation.done and isinstance(said, v1.BulkMetadata):  # as far as it got
        facts += _facts(
            v1.BulkSummary(
                chosen=said.chosen,
                changed=said.changed,
                unchanged=said.unchanged,
                failed=said.failed,
            )
        )
    show.table("", ("", "value"), facts)


def _facts(said: Summary) -> list[tuple[str, str]]:
    return [
        (field.name.replace("_", " "), _written(getattr(said, field.name)))
        for field in said.DESCRIPTOR.fields
        if field.name != "model"  # `namesake model export` is for reading it
    ]


def begun(link: Link, operation: Operation) -> None:
    """Say that nobody waits for an operation."""
    if link.as_json:
        show.json_line(operation)
    else:
        show.text(f"{operation.name} is under way; see `namesake operations wait`")


def metadata(operation: Operation) -> Metadata:
    """Return how far an operation is."""
    known: tuple[Metadata, ...] = (
        v1.ScanMetadata(), v1.TrainMetadata(), v1.BulkMetadata(), v1.MergeMetadata(),
    )  # fmt: skip
    return next((one for one in known if operation.metadata.Unpack(one)), known[0])


def summary(operation: Operation) -> Summary:
    """Return what came of an operation that succeeded."""
    known: tuple[Summary, ...] = (
        v1.ScanSummary(), v1.TrainSummary(), v1.BulkSummary(), v1.MergeCustomersResponse(),
        v1.UndoMergesResponse(), v1.MergeRunSummary(),
    )  # fmt: skip
    return next((one for one in known if operation.response.Unpack(one)), known[0])


def _wait(link: Link, name: str, timeout_s: int) -> Operation:
    request = longrunning.WaitOperationRequest(name=name, timeout=Duration(seconds=timeout_s))
    return link.call(_stub(link).WaitOperation, request)


def _stub(link: Link) -> Any:
    return stubs.OperationsStub(link.channel)


def _cancel(link: Link, name: str) -> None:
    link.call(_stub(link).CancelOperation, longrunning.CancelOperationRequest(name=name))


def full_name(name: str) -> str:
    """Return an operation's whole name."""
    return name if name.startswith(PREFIX) else PREFIX + name


def _done(link: Link, what: str, name: str) -> None:
    if link.as_json:
        show.json_line({"operation": full_name(name), "state": what})
    else:
        show.text(f"{what}: {full_name(name)}")


def _when(operation: Operation) -> str:
    return metadata(operation).start_time.ToDatetime().isoformat(" ", "seconds")


def _state(operation: Operation) -> str:
    said = metadata(operation)
    if operation.HasField("error"):
        return f"failed: {operation.error.message}"
    end_s = said.end_time.seconds if operation.done else time.time()
    took = f"{max(0, end_s - said.start_time.seconds):.0f} s"
    return (
        f"done in {took}" if operation.done else f"{said.step or 'begun'} {said.share:.0%}, {took}"
    )


def _written(value: object) -> str:
    match value:
        case v1.Customer():
            return value.id
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.6g}"
        case str():
            return value
        case Iterable():
            return ", ".join(map(_written, value))
    return str(value)
