"""Commands for the change feed: follow it, list and forget its named consumers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import grpc
import typer
from google.protobuf.json_format import MessageToDict

from namesake import v1
from service.cli import show
from service.cli.link import Link, remote
from service.cli.retry import Retry

_KINDS = {
    show.short(name).lower(): value for name, value in v1.ChangeKind.items() if value
}  # "created", "updated" …


def _kinds(text: str) -> list[v1.ChangeKind.ValueType]:
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in _KINDS:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(_KINDS)}")
    return [_KINDS[name] for name in names]


@remote
def changes(
    link: Link,
    context: typer.Context,
    after: Annotated[
        int | None, typer.Option(min=0, max=(1 << 64) - 1, help="The last sequence already seen.")
    ] = None,
    kinds: Annotated[
        str, typer.Option(metavar="KIND,…", help=f"Only these: {', '.join(_KINDS)}.")
    ] = "",
    consumer: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Begin where this consumer is, and acknowledge what was written; with --after, "
            "put it there first.",
        ),
    ] = "",
    until_now: Annotated[
        bool, typer.Option("--until-now/--follow", help="End with what is there, or wait for more.")
    ] = False,
    with_customer: Annotated[
        bool, typer.Option("--with-customer", help="With each change the customer as it is now.")
    ] = False,
) -> None:
    """Follow every change in commit order, without gaps; survives a restart of the server.

    Examples:
      namesake changes
      namesake changes --after 1200 --until-now --json
      namesake changes --consumer warehouse --kinds merged,unmerged,deleted --json
      namesake changes consumers
    """
    if context.invoked_subcommand:
        return
    request = v1.WatchChangesRequest(
        after_sequence=after or 0,
        kinds=_kinds(kinds),
        include_customer=with_customer,
        until_now=until_now,
        consumer=consumer,
    )
    if consumer and after is not None:
        _acknowledge(link, consumer, after, back=True)
    for response in _watch(link, request):
        _show_changes(link, response)
        if consumer:
            _acknowledge(link, consumer, response.sequence)


def _watch(link: Link, request: v1.WatchChangesRequest) -> Iterator[v1.WatchChangesResponse]:
    """Yield the messages of the feed, opening it again after what was taken if it breaks."""
    stub = v1.CustomerServiceStub(link.channel)
    retry = Retry()
    while True:
        try:
            for response in link.stream(stub.WatchChanges, request):
                # The first response only says where the feed stands: that is no progress.
                (retry.progressed if response.changes else retry.reached)()
                is_first = response.sequence == request.after_sequence
                if not is_first:
                    yield response
                request.after_sequence = response.sequence
        except grpc.RpcError as error:
            retry.wait_or_raise(error)
        else:
            return


def _acknowledge(link: Link, consumer: str, sequence: int, *, back: bool = False) -> None:
    """Say how far a consumer is, also to a server that is being restarted."""
    stub = v1.CustomerServiceStub(link.channel)
    request = v1.AcknowledgeChangesRequest(consumer=consumer, sequence=sequence, back=back)
    retry = Retry()
    retry.reached()
    while True:
        try:
            link.call(stub.AcknowledgeChanges, request)
        except grpc.RpcError as error:
            retry.wait_or_raise(error)
        else:
            return


def _show_changes(link: Link, response: v1.WatchChangesResponse) -> None:
    for watched in response.changes:
        if link.as_json:
            show.json_line(watched)
        else:
            show_change(link, watched.change)
    sys.stdout.flush()


def show_change(link: Link, change: v1.Change) -> None:
    """Write one change: when, what, of whom and by whom, and field by field."""
    if link.as_json:
        show.json_line(change)
        return
    time = change.time.ToDatetime().isoformat(" ", "milliseconds")
    kind = show.short(v1.ChangeKind.Name(change.kind)).lower()
    actor = f" by {change.actor}" if change.actor else ""
    reason = f" ({change.reason})" if change.reason else ""
    id = change.member_id or change.customer_id  # in the history of a survivor: whose it was
    show.text(f"{change.sequence:>8}  {time}  {kind} {id}{actor}{reason}")
    if change.merged_ids:
        show.text(f"{'':>10}{kind}: {', '.join(change.merged_ids)}")
    before = MessageToDict(change.before, preserving_proto_field_name=True)
    now = MessageToDict(change.after, preserving_proto_field_name=True)
    for name in change.fields.paths:
        show.text(f"{'':>10}{name}: {_brief(before.get(name))} → {_brief(now.get(name))}")


def _brief(value: object) -> str:
    """Return a field's value in a line: of a list of messages, the values that people know."""
    match value:
        case None:
            return "(empty)"
        case list():
            return ", ".join(_brief(item) for item in value)
        case dict():
            return str(value.get("value") or value.get("last_name") or value)
        case _:
            return str(value)


@remote
def list_consumers(link: Link) -> None:
    """List the named consumers of the feed, with how far each is.

    Examples:
      namesake changes consumers
      namesake changes consumers --json | jq -r 'select(.lost).name'
    """
    stub = v1.CustomerServiceStub(link.channel)
    answer: v1.ListConsumersResponse = link.call(stub.ListConsumers, v1.ListConsumersRequest())
    if link.as_json:
        for one in answer.consumers:
            show.json_line(one)
        return
    show.text(f"the feed has {answer.first_sequence:,} to {answer.last_sequence:,}")
    rows = [
        (
            one.name,
            f"{one.sequence:,}",
            one.time.ToDatetime().isoformat(" ", "seconds"),
            "lost: begin with a snapshot" if one.lost else f"{one.behind:,}",
        )
        for one in answer.consumers
    ]
    show.table("", ("consumer", "acknowledged", "when", "behind"), rows)


@remote
def forget_consumer(
    link: Link, name: Annotated[str, typer.Argument(metavar="NAME", help="The consumer.")]
) -> None:
    """Forget a named consumer.

    Examples:
      namesake changes forget warehouse
    """
    link.call(
        v1.CustomerServiceStub(link.channel).DeleteConsumer, v1.DeleteConsumerRequest(name=name)
    )
    if link.as_json:
        show.json_line({"consumer": name, "state": "forgotten"})
    else:
        show.text(f"forgotten: {name}")
