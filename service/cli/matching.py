"""Commands about customers who look alike: explain, distinct."""

from __future__ import annotations

from typing import Annotated

import typer

from namesake import v1
from service.cli import show
from service.cli.link import Link, remote

PAGE_ROWS = 1_000


@remote
def explain(
    link: Link,
    left: Annotated[str, typer.Argument(metavar="ID", help="A customer.")],
    right: Annotated[str, typer.Argument(metavar="OTHER", help="Another.")],
) -> None:
    """Say why two customers are the same, or not: what each field says, in bits and in words.

    Bits add up to the match weight: 10 are a thousand to one.

    Examples:
      namesake explain c-1 c-2
    """
    pair = v1.SubjectPair(left=v1.Subject(id=left), right=v1.Subject(id=right))
    request = v1.ExplainMatchRequest(pair=pair)
    answer = link.call(v1.DuplicateServiceStub(link.channel).ExplainMatch, request)
    if link.as_json:
        show.json_line(answer)
        return
    score = answer.score
    rows = [(one.field or "any pair", f"{one.bits:+.1f}", one.text) for one in answer.evidence]
    rows.append(("all together", f"{score.weight:+.1f}", _verdict(score)))
    show.table(f"{left} and {right}", ("field", "bits", "because"), rows)


def _verdict(score: v1.PairScore) -> str:
    sure = show.sureness(score.probability)
    said = f"{sure} sure that they are the same: {show.action(score.action)}"
    return f"{said}; somebody marked them as distinct" if score.distinct else said


@remote
def distinct(
    link: Link,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Customers.")],
    reason: Annotated[str, typer.Option(help="Why they are not the same.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take it back.")] = False,
) -> None:
    """Say that customers are not the same: they are never proposed to each other again.

    With one id, lists those who are marked as distinct from it, with who said so, when and why.

    Examples:
      namesake distinct c-1 c-2 --reason 'twins'
      namesake distinct c-1
      namesake distinct c-1 c-2 --undo
    """
    stub = v1.DuplicateServiceStub(link.channel)
    if len(ids) == 1:
        if reason or undo:
            raise typer.BadParameter("give at least two ids")
        _list_distinct(link, stub, ids[0])
    elif undo:
        if reason:
            raise typer.BadParameter("--reason does not go with --undo")
        undone = link.call(stub.UnmarkDistinct, v1.UnmarkDistinctRequest(ids=ids))
        _tell(link, undone, f"not marked any more: {_pairs(undone.unmarked)}")
    else:
        marked = link.call(stub.MarkDistinct, v1.MarkDistinctRequest(ids=ids, reason=reason))
        _tell(link, marked, f"marked as distinct: {_pairs(marked.marked)}")


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count} pairs"


def _tell(
    link: Link, answer: v1.MarkDistinctResponse | v1.UnmarkDistinctResponse, line: str
) -> None:
    if link.as_json:
        show.json_line(answer)
    else:
        show.text(line)


def _list_distinct(link: Link, stub: v1.DuplicateServiceStub, id: str) -> None:
    request = v1.ListDistinctRequest(id=id, page_size=PAGE_ROWS)
    rows: list[tuple[str, ...]] = []
    for page in link.pages(stub.ListDistinct, request):
        for other in page.customers:
            if link.as_json:
                show.json_line(other)
            else:
                when = other.time.ToDatetime().isoformat(" ", "seconds")
                rows.append((other.id, other.display_name, other.actor, when, other.reason))
    if rows:
        show.table("Not the same", ("customer", "name", "who", "when", "why"), rows)
    elif not link.as_json:
        show.text("Nobody is marked as distinct from it.")
