"""Commands about merges that were done, and about those that the account does by itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import typer

from namesake import v1
from service.cli import show
from service.cli.asking import confirm, leave
from service.cli.following import begun, finish, follow
from service.cli.link import Link, remote
from service.cli.merging import YesOption
from service.cli.scanning import WaitOption

PAGE_ROWS = 500
MERGES_HEADER = ("merge", "when", "who", "survivor", "members", "sure", "because")


@remote
def merges(
    link: Link,
    run: Annotated[str, typer.Option(help="Only those of this run of the policy.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
) -> None:
    """List merges, newest first: who, when and why, and who was given back since.

    Those that the account's policy did have the run, how sure they were and what spoke for it.

    Examples:
      namesake merges
      namesake merges --run import-spring-fair --json
    """
    found = islice(_merges(link, run), limit)
    if link.as_json:
        for one in found:
            show.json_line(one)
        return
    rows = [_row(one) for one in found]
    if rows:
        show.table("Merges", MERGES_HEADER, rows)
    else:
        show.text("No merges.")


def _merges(link: Link, run: str) -> Iterator[v1.Merge]:
    stub = v1.MergeServiceStub(link.channel)
    request = v1.ListMergesRequest(run=run, page_size=PAGE_ROWS)
    while True:
        page = link.call(stub.ListMerges, request)
        yield from page.merges
        request.page_token = page.next_page_token
        if not request.page_token:
            return


def _row(one: v1.Merge) -> tuple[str, ...]:
    undone = set(one.undone_ids)
    members = (f"{id} (given back)" if id in undone else id for id in one.member_ids)
    return (
        str(one.sequence),
        one.time.ToDatetime().isoformat(" ", "seconds"),
        f"{one.actor}\n{one.run}" if one.run else one.actor,
        one.survivor_id,
        "\n".join(members),
        show.sureness(one.probability) if one.run else "",
        "\n".join(one.evidence) if one.run else one.reason,
    )


@remote
def redirects(link: Link) -> None:
    """List the ids that were merged, each with the customer that it leads to now.

    For a system that keeps ids of customers and did not follow `namesake changes`.

    Examples:
      namesake redirects
      namesake redirects --json | jq -r '[.id, .survivor_id] | @csv'
    """
    stub = v1.MergeServiceStub(link.channel)
    request = v1.ListRedirectsRequest(page_size=PAGE_ROWS)
    while True:
        page = link.call(stub.ListRedirects, request)
        for one in page.redirects:
            if link.as_json:
                show.json_line(one)
            else:
                typer.echo(f"{one.id} → {one.survivor_id}")
        request.page_token = page.next_page_token
        if not request.page_token:
            return


@remote
def undo_merges(
    link: Link,
    run: Annotated[str, typer.Argument(metavar="RUN", help="As `namesake merges` shows it.")],
    distinct: Annotated[
        bool, typer.Option("--distinct", help="Mark all of them as not the same, too.")
    ] = False,
    yes: YesOption = False,
    wait: WaitOption = True,
) -> None:
    """Give back all that one run of the account's policy merged; merges that need a choice stay.

    Examples:
      namesake undo-merges save-2026-11-30
      namesake undo-merges import-spring-fair --distinct --yes
    """
    left = sum(len(one.undone_ids) < len(one.member_ids) for one in _merges(link, run))
    if not left:
        leave(f"no merge is left of the run {run}")
    if not yes:
        many = "1 merge" if left == 1 else f"{left:,} merges"
        confirm(f"Undo {many} of {run}?", "nothing is undone")
    request = v1.UndoMergesRequest(run=run, mark_distinct=distinct)
    operation = link.call(v1.MergeServiceStub(link.channel).UndoMerges, request)
    if wait:
        finish(link, follow(link, operation))
    else:
        begun(link, operation)


@remote
def merge_policy(
    link: Link,
    on_save: Annotated[
        bool | None, typer.Option("--on-save/--no-on-save", help="Merge whom a save is.")
    ] = None,
    on_import: Annotated[
        bool | None,
        typer.Option("--on-import/--no-on-import", help="Merge what an import created."),
    ] = None,
    on_scan: Annotated[
        bool | None, typer.Option("--on-scan/--no-on-scan", help="Merge what a scan found.")
    ] = None,
    least: Annotated[
        float | None, typer.Option(min=0.5, max=1.0, help="Least probability of any two.")
    ] = None,
    group_limit: Annotated[
        int | None, typer.Option(min=2, max=100, help="Customers of a group at most.")
    ] = None,
    merges_a_minute: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Merges a minute at most.")
    ] = None,
) -> None:
    """Show the rules by which the account merges by itself, or change some of them.

    Everything is off unless it is switched on. Groups with a conflict, and whoever was given back
    by an unmerge, are left to a person.

    Examples:
      namesake merge-policy
      namesake merge-policy --on-save --least 0.9999
      namesake merge-policy --no-on-save --on-scan --merges-a-minute 1000
    """
    stub = v1.MergeServiceStub(link.channel)
    policy = link.call(stub.GetMergePolicy, v1.GetMergePolicyRequest()).policy
    given = {
        "on_save": on_save,
        "on_import": on_import,
        "on_scan": on_scan,
        "least_probability": least,
        "group_limit": group_limit,
        "merges_a_minute": merges_a_minute,
    }
    changed = {name: value for name, value in given.items() if value is not None}
    if changed:
        for name, value in changed.items():
            setattr(policy, name, value)
        policy = link.call(stub.SetMergePolicy, v1.SetMergePolicyRequest(policy=policy)).policy
    if link.as_json:
        show.json_line(policy)
        return
    rows = [(name.replace("_", " "), _written(getattr(policy, name))) for name in given]
    show.table("The account merges by itself", ("rule", "value"), rows)


def _written(value: bool | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}"
