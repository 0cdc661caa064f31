"""Commands for what is linked to customers: add, list, show, pin, count and delete items."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from itertools import islice
from typing import Annotated

import typer
from google.protobuf.json_format import Parse, ParseError

from namesake import v1
from service.cli import show
from service.cli.cards import RegionOption
from service.cli.filters import moment
from service.cli.link import REFUSED, ROWS_FAILED, Link, complain, remote
from service.errors import InvalidArgument
from service.transfer.files import Record, Source, records

BATCH_ITEMS = 1_000  # in one request
BATCH_BYTES = 4 << 20  # of items in one request: a quarter of what a server takes
COMPLAINTS = 50  # lines of a file that are told to have failed; the others are counted
PAGE_ITEMS = 1_000
NANOS = 1_000_000_000
KINDS = v1.ItemKind.values()[1:]  # in the order of `Kind`


class Kind(StrEnum):
    """What an item is."""

    NOTE = "note"
    CALL = "call"
    EMAIL = "email"
    SMS = "sms"
    TASK = "task"
    ATTACHMENT = "attachment"
    ORDER = "order"
    EVENT = "event"
    METRIC = "metric"
    DEAL = "deal"
    COMMENT = "comment"


class Status(StrEnum):
    """Where a task stands."""

    OPEN = "open"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class Direction(StrEnum):
    """Which way a call or message went."""

    IN = "in"
    OUT = "out"


ItemArgument = Annotated[str, typer.Argument(metavar="ITEM", help="An item's id.")]
CustomerArgument = Annotated[str, typer.Argument(metavar="ID", help="The customer.")]
Read = tuple[Record, "v1.Item | str"]  # a line, and the item or why it is none


@remote
def add(
    link: Link,
    customer_id: Annotated[str, typer.Argument(metavar="[ID]", help="The customer.")] = "",
    kind: Annotated[Kind | None, typer.Argument(metavar="[KIND]", help="note, call …")] = None,
    item_id: Annotated[
        str, typer.Option("--id", help="Own id, so that doing it again does no harm.")
    ] = "",
    time: Annotated[str, typer.Option(metavar="TIME", help="When; by default now.")] = "",
    subject: Annotated[str, typer.Option(help="Subject, number of an order, name …")] = "",
    text: Annotated[str, typer.Option(help="The text.")] = "",
    author: Annotated[str, typer.Option(help="Who wrote, called or is to do it.")] = "",
    source: Annotated[str, typer.Option(help="Where it came from.")] = "",
    direction: Annotated[Direction | None, typer.Option(help="Of calls and messages.")] = None,
    duration: Annotated[int, typer.Option(metavar="SECONDS", help="Of a call.")] = 0,
    status: Annotated[Status | None, typer.Option(help="Of a task.")] = None,
    due: Annotated[str, typer.Option(metavar="TIME", help="Of a task.")] = "",
    uri: Annotated[str, typer.Option(help="Of an attachment.")] = "",
    media_type: Annotated[str, typer.Option(help="Of an attachment.")] = "",
    size: Annotated[int, typer.Option(metavar="BYTES", help="Of an attachment.")] = 0,
    amount: Annotated[str, typer.Option(metavar="'9.50 EUR'", help="Of an order or a deal.")] = "",
    state: Annotated[str, typer.Option(help="Of an order or a deal.")] = "",
    email: Annotated[str, typer.Option(help="Of an order.")] = "",
    phone: Annotated[str, typer.Option(help="Of an order.")] = "",
    number: Annotated[float, typer.Option(help="Of a metric.")] = 0.0,
    attribute: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Anything else; repeatable.")
    ] = None,
    from_file: Annotated[
        str, typer.Option("--from", metavar="FILE", help="Lines of items in JSON; - for stdin.")
    ] = "",
    region: RegionOption = "",
) -> None:
    """Link an item to a customer, or all items of a file; an id that is there is replaced.

    Kinds: note, call, email, sms, task, attachment, order, event, metric, deal, comment. Exit
    status 3 where lines of a file failed. Items of a file should have ids: then the file can be
    added again.

    Examples:
      namesake timeline add c-1 note --text 'Prefers to be called after six'
      namesake timeline add c-1 order --id o-7 --subject 7 --amount '9.50 EUR' --email a@b.org
      namesake timeline add --from items.jsonl
    """
    if from_file:
        if customer_id or kind:
            raise typer.BadParameter("give either an item or --from")
        _add_file(link, from_file, region)
        return
    if not customer_id or kind is None:
        raise typer.BadParameter("give a customer and a kind, or --from")
    item = v1.Item(
        id=item_id,
        customer_id=customer_id,
        kind=v1.ItemKind.Value(f"ITEM_KIND_{kind.name}"),
        time=moment(time, "--time") if time else None,
        subject=subject,
        text=text,
        author=author,
        source=source,
        duration_s=duration,
        due_time=moment(due, "--due") if due else None,
        uri=uri,
        media_type=media_type,
        size_bytes=size,
        amount=_money(amount) if amount else None,
        state=state,
        email=email,
        phone=phone,
        number=number,
        attributes=dict(map(_attribute, attribute or ())),
    )
    if direction:
        item.direction = v1.Direction.Value(f"DIRECTION_{direction.name}")
    if status:
        item.status = v1.TaskStatus.Value(f"TASK_STATUS_{status.name}")
    _add_one(link, item, region)


def _money(text: str) -> v1.Money:
    found = re.fullmatch(r"(-?[0-9]+(?:\.[0-9]{1,9})?) ([A-Z]{3})", text)
    try:
        figure = Decimal(found[1]) if found else Decimal("NaN")
        units = int(figure)
        nanos = int((figure - units) * NANOS)
        return v1.Money(currency=found[2] if found else "", units=units, nanos=nanos)
    except (InvalidOperation, ValueError, OverflowError):
        raise InvalidArgument("is a figure and a currency: '9.50 EUR'", field="--amount") from None


def _attribute(option: str) -> tuple[str, v1.CustomValue]:
    name, equals, value = option.partition("=")
    if not equals:
        raise InvalidArgument(f"{option!r} is not NAME=VALUE", field="--attribute")
    return name, v1.CustomValue(text=value)


def _add_one(link: Link, item: v1.Item, region: str) -> None:
    request = v1.AddItemsRequest(items=[item], default_region=region)
    (result,) = link.call(_stub(link).AddItems, request).results
    if link.as_json:
        show.json_line(result)
    if result.reason:
        complain(_why(result))
        raise typer.Exit(REFUSED)
    if not link.as_json:
        show.text(f"added: {result.id}")


def _why(result: v1.ItemResult) -> str:
    parts = (result.reason, result.field and f"{result.field}:", result.message)
    return " ".join(part for part in parts if part)


def _add_file(link: Link, path: str, region: str) -> None:
    added = failed = 0
    with closing(Source(path)) as source, show.progress("adding", "items") as bar:
        task = bar.add_task("", total=source.size or None, done=0)
        for batch in _batches(map(_read, records(source.lines()))):
            for record, why in _sent(link, batch, region):
                failed += bool(why)
                added += not why
                if why and failed <= COMPLAINTS:
                    complain(f"line {record.number}: {why}")
            bar.update(task, completed=source.position, done=added + failed)
    if link.as_json:
        show.json_line({"added": added, "failed": failed})
    else:
        show.text(f"{added:,} added, {failed:,} failed")
    if failed:
        raise typer.Exit(ROWS_FAILED)


def _read(record: Record) -> Read:
    try:
        item: v1.Item = Parse(record.cells[0], v1.Item())
    except ParseError as error:
        return record, f"not an Item in JSON: {error}"
    return record, item


def _batches(items: Iterable[Read]) -> Iterator[list[Read]]:
    batch: list[Read] = []
    size = 0
    for record, item in items:
        batch.append((record, item))
        size += len(record.cells[0])
        if len(batch) == BATCH_ITEMS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _sent(link: Link, batch: Sequence[Read], region: str) -> Iterator[tuple[Record, str]]:
    """Add what can be; yield each line with why it was not added, "" if it was."""
    given = [item for _, item in batch if isinstance(item, v1.Item)]
    results: Iterator[v1.ItemResult] = iter(())
    if given:
        request = v1.AddItemsRequest(items=given, default_region=region)
        results = iter(link.call(_stub(link).AddItems, request).results)
    for record, item in batch:
        yield record, item if isinstance(item, str) else _why(next(results))


@remote
def list_items(
    link: Link,
    customer_id: CustomerArgument,
    kind: Annotated[list[Kind] | None, typer.Option(help="Only this; repeatable.")] = None,
    since: Annotated[str, typer.Option(metavar="TIME", help="From this time on.")] = "",
    before: Annotated[str, typer.Option(metavar="TIME", help="Before this time.")] = "",
    completed: Annotated[
        bool, typer.Option("--completed", help="Completed and cancelled tasks too.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
) -> None:
    """List what is linked to a customer, newest first; of a survivor, all of those merged into it.

    Examples:
      namesake timeline list c-1
      namesake timeline list c-1 --kind order --since 2026-01-01 --limit 1000 --json
    """
    request = v1.ListItemsRequest(
        customer_id=customer_id,
        kinds=[v1.ItemKind.Value(f"ITEM_KIND_{one.name}") for one in kind or ()],
        from_time=moment(since, "--since") if since else None,
        to_time=moment(before, "--before") if before else None,
        with_completed=completed,
        page_size=min(limit, PAGE_ITEMS),
    )
    items = islice(_listed(link, request), limit)
    if link.as_json:
        for item in items:
            show.json_line(item)
    elif rows := [_row(item) for item in items]:
        show.table("", ("time", "item", "kind", "subject", "text", "by", "more"), rows)
    else:
        show.text("Nothing of that is linked to this customer.")


def _listed(link: Link, request: v1.ListItemsRequest) -> Iterator[v1.Item]:
    while True:
        page = link.call(_stub(link).ListItems, request)
        yield from page.items
        request.page_token = page.next_page_token
        if not request.page_token:
            return


def _row(item: v1.Item) -> tuple[str, ...]:
    kind = show.short(v1.ItemKind.Name(item.kind)).lower()
    when = item.time.ToDatetime().isoformat(" ", "seconds")
    text = item.text.replace("\n", " ")
    return when, item.id, kind, item.subject, text, item.author, "; ".join(_more(item))


def _more(item: v1.Item) -> Iterator[str]:
    """Yield what else is worth knowing of an item in a line."""
    if item.pinned:
        yield "pinned"
    if item.status:
        yield show.short(v1.TaskStatus.Name(item.status)).lower()
    if item.HasField("due_time"):
        yield f"due {item.due_time.ToDatetime().isoformat(' ', 'minutes')}"
    if item.HasField("amount"):
        figure = Decimal(item.amount.units) + Decimal(item.amount.nanos) / NANOS
        yield f"{figure:,.2f} {item.amount.currency}"
    if item.duration_s:
        yield f"{item.duration_s} s"
    if item.kind == v1.ITEM_KIND_METRIC:
        yield f"{item.number:g}"
    for value in (item.state, item.email, item.phone, item.uri):
        if value:
            yield value


@remote
def show_item(link: Link, item: ItemArgument) -> None:
    """Show one item with all its fields, and the customer that shows it now.

    Examples:
      namesake timeline show o-7
    """
    answer = link.call(_stub(link).GetItem, v1.GetItemRequest(id=item))
    if link.as_json:
        show.json_line(answer)
        return
    found = answer.item
    facts = [("item", found.id), ("customer", answer.shown_by_id)]
    if found.customer_id != answer.shown_by_id:
        facts.append(("added to", found.customer_id))
    when, _, kind, subject, _, author, more = _row(found)
    facts += [("kind", kind), ("time", when), ("subject", subject), ("by", author), ("", more)]
    facts += [("source", found.source), ("text", found.text)]
    facts += [(name, show.value(found.attributes[name])) for name in sorted(found.attributes)]
    show.table("Item", ("", "value"), [fact for fact in facts if fact[1]])


@remote
def pin(
    link: Link,
    customer_id: CustomerArgument,
    item: Annotated[str, typer.Argument(metavar="[NOTE]", help="A note's id.")] = "",
) -> None:
    """Pin a note to the top of a customer's timeline; without a note, unpin what is pinned.

    Examples:
      namesake timeline pin c-1 n-3
      namesake timeline pin c-1
    """
    request = v1.PinNoteRequest(customer_id=customer_id, item_id=item)
    answer = link.call(_stub(link).PinNote, request)
    if link.as_json:
        show.json_line(answer)
    else:
        show.text(f"pinned: {item}" if item else "nothing is pinned")


@remote
def count(
    link: Link, ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Customers.")]
) -> None:
    """Count what is linked to customers, by kind.

    Examples:
      namesake timeline count c-1 c-2
    """
    rows: list[tuple[str, ...]] = []
    for start in range(0, len(ids), BATCH_ITEMS):
        request = v1.CountItemsRequest(customer_ids=ids[start : start + BATCH_ITEMS])
        for result in link.call(_stub(link).CountItems, request).results:
            if link.as_json:
                show.json_line(result)
                continue
            counts = {one.kind: one.count for one in result.counts}
            cells = (f"{counts[kind]:,}" if kind in counts else "" for kind in KINDS)
            rows.append((result.customer_id, *cells))
    if not link.as_json:
        show.table("", ("customer", *(kind.value for kind in Kind)), rows)


@remote
def delete(
    link: Link, ids: Annotated[list[str], typer.Argument(metavar="ITEM...", help="Items.")]
) -> None:
    """Delete items, for ever; those that are not there are no error.

    Examples:
      namesake timeline delete n-3 o-7
    """
    deleted = 0
    for start in range(0, len(ids), BATCH_ITEMS):
        request = v1.DeleteItemsRequest(ids=ids[start : start + BATCH_ITEMS])
        deleted += link.call(_stub(link).DeleteItems, request).deleted
    if link.as_json:
        show.json_line({"deleted": deleted})
    else:
        show.text(f"deleted: {deleted:,} of {len(ids):,}")


def _stub(link: Link) -> v1.TimelineServiceStub:
    return v1.TimelineServiceStub(link.channel)
