"""Commands that change many customers at once: bulk-update and bulk-delete."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from namesake import v1
from service.cli import show
from service.cli.asking import check_terminal, confirm, leave
from service.cli.convert import to_customer
from service.cli.filters import filtered
from service.cli.following import (
    NameArgument,
    Operation,
    begun,
    failed_rows,
    finish,
    follow,
    full_name,
)
from service.cli.link import ROWS_FAILED, Link, remote
from service.cli.scanning import WaitOption
from service.errors import InvalidArgument
from service.transfer.columns import Columns
from service.transfer.files import STANDARD_STREAM, CsvReader, CsvWriter, Source, whole
from service.transfer.rows import RowRefused

CHOOSING_S = 600.0  # for an answer that looks at every customer of the account first
RESULTS_HEADER = ("id", "outcome", "reason", "field", "message")
SETTABLE = frozenset(
    ["kind", "state", "title", "first_name", "middle_name", "last_name", "gender", "birth_date",
     "company_name", "comment", "stage", "owner"]
)  # fmt: skip
_ACCOUNT = "user_account"  # may be set too, but is no column of a table
_CUSTOM = "custom:"

IdOption = Annotated[
    list[str] | None, typer.Option("--id", metavar="ID", help="A customer; repeatable.")
]
IdsFromOption = Annotated[
    str,
    typer.Option(metavar="FILE", help="Ids: a line each, or the column id of a CSV; - for stdin."),
]
AllOption = Annotated[bool, typer.Option("--all", help="Every customer of the account.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
ResultsOption = Annotated[
    str, typer.Option("--results", metavar="OUT.CSV", help="Write what became of each customer.")
]
AddOption = Annotated[list[str] | None, typer.Option(metavar="WORD", help="Add it; repeatable.")]
RemoveOption = Annotated[
    list[str] | None, typer.Option(metavar="WORD", help="Take it away; repeatable.")
]


@remote
@filtered
def bulk_update(
    link: Link,
    chosen: v1.CustomerFilter,
    customer_id: IdOption = None,
    ids_from: IdsFromOption = "",
    everybody: AllOption = False,
    assign: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="stage=won, custom:vip:flag=yes …; repeatable."
        ),
    ] = None,
    clear: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="owner, tags, custom:vip …; repeatable."),
    ] = None,
    add_tag: AddOption = None,
    remove_tag: RemoveOption = None,
    add_group: AddOption = None,
    remove_group: RemoveOption = None,
    add_source: AddOption = None,
    remove_source: RemoveOption = None,
    add_campaign: AddOption = None,
    remove_campaign: RemoveOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Try it and count; store nothing.")
    ] = False,
    yes: YesOption = False,
    results: ResultsOption = "",
    wait: WaitOption = True,
) -> None:
    """Change many customers in the same way; exit status 3 where some could not be changed.

    Chosen by ids, by what they have, or --all. Says how many are meant and what will change, and
    asks before it begins. ^C cancels it; what was changed stays changed.

    Examples:
      namesake bulk-update --tag fair --state active --set stage=won --remove-tag new
      namesake bulk-update --ids-from left.csv --clear owner --set custom:vip=no --yes
      namesake bulk-update --all --add-group 2027 --dry-run --results tried.csv
    """
    _check_results(results, wait=wait)
    selection = _selection(chosen, customer_id, ids_from, everybody)
    change = _change(assign or (), clear or ())
    change.add_tags.extend(add_tag or ())
    change.remove_tags.extend(remove_tag or ())
    change.add_groups.extend(add_group or ())
    change.remove_groups.extend(remove_group or ())
    change.add_sources.extend(add_source or ())
    change.remove_sources.extend(remove_source or ())
    change.add_campaigns.extend(add_campaign or ())
    change.remove_campaigns.extend(remove_campaign or ())
    count = _announce(link, selection, _described(change))
    if count and not (dry_run or yes):
        confirm("Change them?", "nothing is changed")
    request = v1.UpdateCustomersRequest(selection=selection, change=change, dry_run=dry_run)
    _conclude(link, _call(link, _stub(link).UpdateCustomers, request), results, wait=wait)


@remote
@filtered
def bulk_delete(
    link: Link,
    chosen: v1.CustomerFilter,
    reason: Annotated[str, typer.Option(help="Why; kept, so it should not name the persons.")],
    customer_id: IdOption = None,
    ids_from: IdsFromOption = "",
    everybody: AllOption = False,
    count: Annotated[
        int, typer.Option(min=0, help="How many there must be; nothing is deleted otherwise.")
    ] = 0,
    yes: YesOption = False,
    results: ResultsOption = "",
    wait: WaitOption = True,
) -> None:
    """Delete many customers with their histories, for ever; exit status 3 where some stayed.

    Without --count it counts them and asks for the number to be typed; --yes takes it from
    --count. ^C cancels it; what was deleted stays deleted.

    Examples:
      namesake bulk-delete --source bought --reason 'the list had no consent'
      namesake bulk-delete --ids-from left.csv --count 12 --yes --reason 'asked to be forgotten'
    """
    _check_results(results, wait=wait)
    if yes and not count:
        raise InvalidArgument("needs --count: how many are to be deleted", field="--yes")
    selection = _selection(chosen, customer_id, ids_from, everybody)
    if not yes:
        check_terminal("--yes and --count")
        count = _asked_count(
            _announce(link, selection, ("delete them with their histories",)), count
        )
    request = v1.DeleteCustomersRequest(selection=selection, count=count, reason=reason)
    _conclude(link, _call(link, _stub(link).DeleteCustomers, request), results, wait=wait)


@remote
def bulk_results(
    link: Link,
    name: NameArgument,
    output: Annotated[
        str, typer.Option(metavar="OUT.CSV", help="CSV to write; - for stdout.")
    ] = STANDARD_STREAM,
) -> None:
    """Write what became of each customer of a bulk-update or bulk-delete, as far as it is.

    Examples:
      namesake operations results operations/bulk-update-01a2050e-ed99-7201-8fda-034ce53c364c
    """
    _write_results(link, full_name(name), output)


# Whom, and what


def _selection(
    chosen: v1.CustomerFilter, ids: list[str] | None, ids_from: str, everybody: bool
) -> v1.CustomerSelection:
    """Return who is meant; there must be one way to say it."""
    ways = sum(map(bool, (ids, ids_from, chosen.ListFields(), everybody)))
    if ways != 1:
        raise InvalidArgument(
            "say which customers by one of --id, --ids-from, filter options or --all",
            field="--all" if everybody else "--id",
        )
    if not (ids or ids_from):
        return v1.CustomerSelection(filter=chosen)
    named = ids or _read_ids(ids_from)
    return v1.CustomerSelection(ids=v1.CustomerIds(ids=dict.fromkeys(named)))


def _read_ids(path: str) -> list[str]:
    """Read ids from a table with a column `id`, or from lines that are ids."""
    source = Source(path)
    try:
        table = CsvReader(source.lines("utf-8-sig"))
        header = [name.lower() for name in table.header]
        if "id" in header:
            place = header.index("id")
            cells = [row.cells[place] for row in table if len(row.cells) > place]
        elif len(header) == 1:
            cells = [table.header[0], *(row.cells[0] for row in table)]
        else:
            raise InvalidArgument(f"{path}: there is no column id", field="--ids-from")
        return [id for cell in cells if (id := cell.strip())]
    finally:
        source.close()


def _change(assigned: Iterable[str], cleared: Iterable[str]) -> v1.CustomerChange:
    """Return the change that options of fields ask for."""
    given: dict[str, str] = {}
    for option in assigned:
        name, equals, value = option.partition("=")
        if not equals or not value.strip():
            raise InvalidArgument(
                f"{option!r} is not FIELD=VALUE; --clear takes a value away", field="--set"
            )
        if name in given or not (name in SETTABLE or name == _ACCOUNT or name.startswith(_CUSTOM)):
            fault = "is set twice" if name in given else "cannot be set"
            raise InvalidArgument(f"{name!r} {fault}", field="--set")
        given[name] = value
    account = given.pop(_ACCOUNT, "")
    customs = [name for name in given if name.startswith(_CUSTOM)]
    if len({name.split(":")[1] for name in customs}) < len(customs):  # in two types
        raise InvalidArgument("a custom field is set twice", field="--set")
    values = _values(given)
    values.user_account = account
    paths = [name for name in given if not name.startswith(_CUSTOM)]
    paths += [_ACCOUNT] * bool(account) + ["custom_fields"] * bool(customs)
    return v1.CustomerChange(
        set=FieldMask(paths=paths),
        values=values,
        clear=FieldMask(paths=[name.replace(_CUSTOM, "custom_fields.", 1) for name in cleared]),
    )


def _values(given: dict[str, str]) -> v1.Customer:
    """Read values as the cells of a table are read."""
    if not given:
        return v1.Customer()
    try:
        columns = Columns.of([*given], [f"{name}={name}" for name in given])
        return to_customer(columns.row([*given.values()]))
    except RowRefused as refused:
        raise InvalidArgument(f"{refused.field}: {refused.message}", field="--set") from None
    except InvalidArgument as error:  # a custom field of a name or type that there is not
        raise InvalidArgument(error.message, field="--set") from None


def _described(change: v1.CustomerChange) -> Iterator[str]:
    """Say in lines what will change."""
    shown = show.facts(change.values)
    for path in change.set.paths:
        if path != "custom_fields":
            yield f"set {path}: {shown.get(path) or getattr(change.values, path)}"
    for name in sorted(change.values.custom_fields):
        yield f"set {_CUSTOM}{name}: {shown[_CUSTOM + name]}"
    for path in change.clear.paths:
        yield f"clear {path.replace('custom_fields.', _CUSTOM, 1)}"
    for what, said in (("remove", "take away"), ("add", "add")):
        for name in ("tags", "groups", "sources", "campaigns"):
            if words := getattr(change, f"{what}_{name}"):
                yield f"{said} {name}: {', '.join(words)}"


# Asking


def _announce(link: Link, selection: v1.CustomerSelection, lines: Iterable[str]) -> int:
    """Say on standard error who is meant and what will happen; return how many they are."""
    request = v1.CountCustomersRequest(selection=selection)
    count = int(_call(link, _stub(link).CountCustomers, request).count)
    ids = len(selection.ids.ids)
    of = f" of {ids:,} ids" if ids and ids != count else ""
    typer.echo(f"{count:,} {'customer' if count == 1 else 'customers'}{of}:", err=True)
    for line in lines:
        typer.echo(f"  {show.clean(line)}", err=True)
    return count


def _asked_count(found: int, count: int) -> int:
    """Return how many to delete as somebody confirmed it; leave where nobody does."""
    if not found:
        leave("nobody is meant; nothing is deleted")
    if count:
        if not typer.confirm(f"Delete {count:,} for ever?", err=True):
            leave("nothing is deleted")
        return count
    typed = typer.prompt("This cannot be undone. Type their number to delete them", err=True)
    if typed.strip().replace(",", "") != str(found):
        leave("that is not their number; nothing is deleted")
    return found


# Doing


def _call(link: Link, method: Callable[..., Any], request: object) -> Any:
    return method(request, timeout=CHOOSING_S, metadata=link.metadata)


def _stub(link: Link) -> v1.TransferServiceStub:
    return v1.TransferServiceStub(link.channel)


def _check_results(results: str, *, wait: bool) -> None:
    if results and not wait:
        raise InvalidArgument(
            "needs --wait; later `namesake operations results` writes them", field="--results"
        )
    if results == STANDARD_STREAM:
        raise InvalidArgument("is a file; standard output has the summary", field="--results")


def _conclude(link: Link, operation: Operation, results: str, *, wait: bool) -> None:
    """Follow the work to its end and show what became of it."""
    if not wait:
        begun(link, operation)
        return
    operation = follow(link, operation, cancels=True)
    if results:
        _write_results(link, operation.name, results)
    finish(link, operation)
    if failed_rows(operation):
        raise typer.Exit(ROWS_FAILED)


def _write_results(link: Link, operation: str, output: str) -> None:
    request = v1.ReadBulkResultsRequest(operation=operation)
    with whole(output) as stream:
        writer = CsvWriter(stream, RESULTS_HEADER)
        for answer in link.stream(_stub(link).ReadBulkResults, request):
            for one in answer.results:
                outcome = v1.BulkOutcome.Name(one.outcome).removeprefix("BULK_OUTCOME_").lower()
                writer.write((one.customer_id, outcome, one.reason, one.field, one.message))
        writer.detach()
