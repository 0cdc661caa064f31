"""Commands that merge customers and give them back: merge, unmerge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict

from namesake import v1
from service.cli import show
from service.cli.asking import confirm, leave
from service.cli.following import finish, follow, summary
from service.cli.link import Link, remote
from service.errors import InvalidArgument

ALL = "all"  # what --keep, --give and --restore take for everything that is not named
SHOWN_MEMBERS = 5  # ids in a line

YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
ReasonOption = Annotated[str, typer.Option(help="Why; it should not name the person.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show it, change nothing.")]
ElementOption = Annotated[list[str] | None, typer.Option(metavar="ELEMENT", help="See above.")]


@remote
def merge(
    link: Link,
    priority: Annotated[str, typer.Argument(metavar="ID", help="The customer that remains.")],
    members: Annotated[
        list[str], typer.Argument(metavar="MEMBER...", help="Those that are merged into it.")
    ],
    choose: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=ID", help="Whose value stands; repeatable."),
    ] = None,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> None:
    """Merge customers into one; the others lead to it from then on, until they are unmerged.

    The value of the first stands, its blanks are filled from the others in their order, and lists
    are united, unless --choose says otherwise. Shows what it comes to, and asks.

    Examples:
      namesake merge c-1 c-2
      namesake merge c-1 c-2 c-3 --choose last_name=c-3 --choose emails=c-1 --dry-run
      namesake merge c-1 c-2 --reason 'the same person' --yes
    """
    stub = v1.MergeServiceStub(link.channel)
    plan = v1.MergePlan(
        priority_id=priority,
        members=[v1.MergeMember(id=id) for id in members],
        choices=[_choice(option) for option in choose or ()],
    )
    preview = link.call(stub.PreviewMerge, v1.PreviewMergeRequest(plan=plan))
    if dry_run and link.as_json:
        show.json_line(preview)
    elif not link.as_json:
        _show_preview(preview)
    if preview.conflicts:
        if link.as_json and not dry_run:
            _tell_conflicts(preview, err=True)
        leave("nothing is merged: these conflicts stand against it")
    if dry_run:
        return
    if not yes:
        confirm(f"Merge {_named(members)} into {priority}?", "nothing is merged")
    # What was shown, or nothing: the plan has the etags.
    request = v1.MergeCustomersRequest(plan=preview.plan, reason=reason)
    operation = follow(link, link.call(stub.MergeCustomers, request))
    merged = summary(operation)
    if not isinstance(merged, v1.MergeCustomersResponse) or operation.HasField("error"):
        finish(link, operation)
    elif link.as_json:
        show.json_line(merged)
    else:
        show.text(f"merged into {merged.customer.id}: {_named(merged.merged_ids)}")


def _choice(option: str) -> v1.FieldChoice:
    field, equals, id = option.partition("=")
    if not equals:
        raise InvalidArgument(f"{option!r} is not FIELD=ID", field="--choose")
    return v1.FieldChoice(field=field, customer_id=id)


def _show_preview(preview: v1.PreviewMergeResponse) -> None:
    rows = [
        (
            one.field,
            "\n".join(show.lines(one.outcome, one.field)),
            show.short(v1.MergeReason.Name(one.reason)).lower(),
            "\n".join(_values(one)),
        )
        for one in preview.fields
    ]
    if rows:
        title = f"{preview.plan.priority_id} after the merge"
        show.table(title, ("field", "outcome", "why", "from"), rows)
    _tell_conflicts(preview, err=False)


def _values(one: v1.FieldOutcome) -> Iterator[str]:
    """Say who has which value, where that is not the same."""
    if one.reason != v1.MERGE_REASON_SAME:
        for value in one.values:
            yield f"{value.id}: {', '.join(show.lines(value, one.field))}"


def _tell_conflicts(preview: v1.PreviewMergeResponse, *, err: bool) -> None:
    rows = [
        (one.reason, _named(one.customer_ids), f"{one.field}: {one.message}")
        for one in preview.conflicts
    ]
    if rows:
        show.table("Conflicts", ("reason", "customers", "because"), rows, err=err)


@remote
def unmerge(
    link: Link,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Customers to give back.")],
    keep: ElementOption = None,
    give: ElementOption = None,
    restore: ElementOption = None,
    reason: ReasonOption = "",
    distinct: Annotated[
        bool, typer.Option("--distinct", help="Mark them as not the same, too.")
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> None:
    """Give merged customers back, as they were; what was edited since stays with the survivor.

    Of what came from one of them and was edited since, somebody has to choose: --keep ELEMENT
    leaves it with the survivor, --give ELEMENT gives it to the member as it is now, --restore
    ELEMENT forgets the edit. "all" is everything that is not named. Shows what it comes to, and
    asks.

    Examples:
      namesake unmerge c-2
      namesake unmerge c-2 --keep last_name --give 'emails[ada@example.org]' --distinct
      namesake unmerge c-2 c-3 --restore all --reason 'sisters' --yes
    """
    stub = v1.MergeServiceStub(link.channel)
    choices = [
        *_choices(keep or (), v1.UNMERGE_ACTION_KEEP),
        *_choices(give or (), v1.UNMERGE_ACTION_GIVE),
        *_choices(restore or (), v1.UNMERGE_ACTION_RESTORE),
    ]
    survivor = _survivor(link, ids[0])
    ask = v1.PreviewUnmergeRequest(ids=ids, choices=choices)
    preview = link.call(stub.PreviewUnmerge, ask)
    if dry_run and link.as_json:
        show.json_line(preview)
    elif not link.as_json:
        _show_parting(survivor, preview, len(ids))
    if preview.conflicts:
        if link.as_json and not dry_run:
            _tell_clashes(preview, err=True)
        leave("nothing is given back: choose by --keep, --give or --restore")
    if dry_run:
        return
    if not yes:
        confirm(f"Give back {_named(ids)}?", "nothing is given back")
    request = v1.UnmergeCustomersRequest(
        ids=ids, choices=choices, etag=survivor.etag, reason=reason, mark_distinct=distinct
    )
    answer = link.call(stub.UnmergeCustomers, request)
    if link.as_json:
        show.json_line(answer)
    else:
        show.text(f"given back by {answer.survivor.id}: {_named(ids)}")


def _choices(
    elements: Iterable[str], action: v1.UnmergeAction.ValueType
) -> Iterator[v1.UnmergeChoice]:
    for element in elements:
        yield v1.UnmergeChoice(element="" if element == ALL else element, action=action)


def _survivor(link: Link, id: str) -> v1.Customer:
    """Return the customer that an id leads to, as it is before anything is shown."""
    stub = v1.CustomerServiceStub(link.channel)
    customer: v1.Customer = link.call(stub.GetCustomer, v1.GetCustomerRequest(id=id)).customer
    return customer


def _show_parting(survivor: v1.Customer, preview: v1.PreviewUnmergeResponse, restored: int) -> None:
    cards = [preview.survivor, *preview.restored]
    fields = [field.name for field, _ in survivor.ListFields()]
    fields += [field.name for card in cards for field, _ in card.ListFields()]
    rows = [
        (name, *("\n".join(show.lines(card, name)) for card in cards))
        for name in dict.fromkeys(fields)
        if name not in _OWN
    ]
    if restored < SHOWN_MEMBERS:
        show.table("After the unmerge", ("field", *(card.id for card in cards)), rows)
    else:
        show.text(f"given back: {restored:,} customers")
    _tell_clashes(preview, err=False)


_OWN = frozenset({"id", "etag", "create_time", "update_time"})  # what is not a field to compare


def _tell_clashes(preview: v1.PreviewUnmergeResponse, *, err: bool) -> None:
    rows = [(one.element, one.member_id, *_edit(one)) for one in preview.conflicts]
    if rows:
        title = "Edited since: choose what happens to it"
        show.table(title, ("element", "came from", "was", "is"), rows, err=err)


def _edit(one: v1.UnmergeConflict) -> tuple[str, str]:
    """Return what something was and is; whole where that looks the same, as of an e-mail's kind."""
    was, now = (_element(one, card) for card in (one.before, one.after))
    return (was, now) if was != now else (_whole(one.before), _whole(one.after))


def _whole(card: v1.Customer) -> str:
    for point in (*card.emails, *card.phones):
        point.ClearField("finding")
    return str(MessageToDict(card) or "(nothing)")


def _element(one: v1.UnmergeConflict, card: v1.Customer) -> str:
    said = show.lines(card, one.element.partition("[")[0])
    return "\n".join(said) or _whole(card)


def _named(ids: Sequence[str]) -> str:
    """Name some customers, and say how many more there are."""
    more = len(ids) - SHOWN_MEMBERS
    return ", ".join(ids[:SHOWN_MEMBERS]) + (f" and {more:,} more" if more > 0 else "")
