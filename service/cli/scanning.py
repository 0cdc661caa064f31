"""Commands that look at all customers: scan, groups, train, and the matching model."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from namesake import v1
from service.cli import show
from service.cli.following import begun, finish, follow
from service.cli.link import Link, OutputOption, remote
from service.errors import InvalidArgument
from service.transfer.files import STANDARD_STREAM, CsvReader, CsvWriter, Source, whole

PAGE_ROWS = 500
SHOWN_GROUPS = 50  # in a table; a file has all
GROUPS_HEADER = ("group", "probability", "action", "id", "name", "state")
LABELS_HEADER = ("left", "right", "same")

_SAME = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for its end.")]


@remote
def scan(
    link: Link,
    threshold: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.999, help="Probability from which two are one; 0: the server's setting."
        ),
    ] = 0.0,
    wait: WaitOption = True,
) -> None:
    """Group all customers of the account: who is the same person or company.

    Goes on without this command; card saves go on meanwhile. See the groups with `namesake
    groups`.

    Examples:
      namesake scan
      namesake scan --threshold 0.9 --no-wait
    """
    request = v1.ScanDuplicatesRequest(least_probability=threshold)
    operation = link.call(v1.DuplicateServiceStub(link.channel).ScanDuplicates, request)
    if wait:
        finish(link, follow(link, operation))
    else:
        begun(link, operation)


@remote
def groups(
    link: Link,
    least: Annotated[float, typer.Option(min=0.0, max=1.0, help="Least probability.")] = 0.0,
    most: Annotated[float, typer.Option(min=0.0, max=1.0, help="Largest; 0: any.")] = 0.0,
    output: OutputOption = "",
) -> None:
    """Show the groups of the last scan, surest first.

    The probability is that of the weakest link that holds a group together. The CSV has a row for
    each member.

    Examples:
      namesake groups
      namesake groups --least 0.99 --output sure.csv
      namesake groups --least 0.5 --most 0.99 --json
    """
    request = v1.ListDuplicateGroupsRequest(
        page_size=PAGE_ROWS, least_probability=least, most_probability=most
    )
    found = _groups(link, request)
    if output:
        _write_groups(link, found, output)
    elif link.as_json:
        for group in found:
            show.json_line(group)
    else:
        _show_groups(list(islice(found, SHOWN_GROUPS + 1)))


def _groups(link: Link, request: v1.ListDuplicateGroupsRequest) -> Iterator[v1.DuplicateGroup]:
    stub = v1.DuplicateServiceStub(link.channel)
    for page in link.pages(stub.ListDuplicateGroups, request):
        yield from page.groups


def _rows(number: int, group: v1.DuplicateGroup) -> Iterator[tuple[str, ...]]:
    action = v1.MatchAction.Name(group.action).removeprefix("MATCH_ACTION_").lower()
    for member in group.members:
        state = show.short(v1.CustomerState.Name(member.state)).lower()
        probability = f"{group.least_probability:.6f}"
        yield str(number), probability, action, member.id, member.display_name, state


def _write_groups(link: Link, found: Iterator[v1.DuplicateGroup], output: str) -> None:
    count = members = 0
    with whole(output) as stream:
        writer = CsvWriter(stream, GROUPS_HEADER)
        for count, group in enumerate(found, 1):
            members += len(group.members)
            for row in _rows(count, group):
                writer.write(row)
        writer.detach()
    if link.as_json and output != STANDARD_STREAM:
        show.json_line({"file": output, "groups": count, "customers": members})
    else:
        typer.echo(f"{count:,} groups of {members:,} customers", err=True)


def _show_groups(found: list[v1.DuplicateGroup]) -> None:
    if not found:
        show.text("No groups.")
        return
    rows: list[tuple[str, ...]] = []
    for number, group in enumerate(found[:SHOWN_GROUPS], 1):
        first, *others = _rows(number, group)
        rows += [first, *(("", "", "", *row[3:]) for row in others)]
    show.table("Groups", GROUPS_HEADER, rows)
    if len(found) > SHOWN_GROUPS:
        show.text(f"These are the {SHOWN_GROUPS} surest; --output groups.csv writes all.")


@remote
def train(
    link: Link,
    labels: Annotated[
        str, typer.Option(help="CSV of judged pairs: left, right (ids) and same (yes, no).")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Learn and report, but go on with the old model.")
    ] = False,
    save_model: Annotated[str, typer.Option(help="Write the model to a file.")] = "",
) -> None:
    """Learn the account's matching model from its own customers, without labels or with some.

    Pairs that were marked as distinct count as judged. Says whether the learning converged: the
    model is in use then, unless it is a dry run.

    Examples:
      namesake train
      namesake train --dry-run --save-model model.json
      namesake train --labels judged.csv
    """
    request = v1.TrainModelRequest(dry_run=dry_run)
    if labels:
        request.labels.extend(_read_labels(labels))
    operation = link.call(v1.DuplicateServiceStub(link.channel).TrainModel, request)
    learnt = finish(link, follow(link, operation))
    if save_model and isinstance(learnt, v1.TrainSummary):
        with whole(save_model) as stream:
            stream.write(learnt.model.encode())


def _read_labels(path: str) -> Iterator[v1.LabelledPair]:
    source = Source(path)
    try:
        table = CsvReader(source.lines("utf-8-sig"))
        header = [name.strip().lower() for name in table.header]
        missing = [name for name in LABELS_HEADER if name not in header]
        if missing:
            raise InvalidArgument(f"{path}: there is no column {missing[0]}")
        places = [header.index(name) for name in LABELS_HEADER]
        for row in table:
            if len(row.cells) <= max(places):
                raise InvalidArgument(f"{path}: row {row.number} is too short")
            left, right, same = (row.cells[place].strip() for place in places)
            if same.lower() not in _SAME:
                raise InvalidArgument(f"{path}: row {row.number}: same is yes or no")
            yield v1.LabelledPair(left=left, right=right, same=_SAME[same.lower()])
    finally:
        source.close()


@remote
def export_model(
    link: Link,
    file: Annotated[str, typer.Argument(metavar="FILE", help="File to write; - for stdout.")],
) -> None:
    """Write the model that the account matches with; `namesake dedupe --model` takes it too.

    Examples:
      namesake model export model.json
      namesake model export - | jq .shares
    """
    stub = v1.DuplicateServiceStub(link.channel)
    answer = link.call(stub.GetModel, v1.GetModelRequest())
    with whole(file) as stream:
        stream.write(answer.model.encode())
    if link.as_json and file != STANDARD_STREAM:
        show.json_line({"file": file, "isDefault": answer.is_default, "actor": answer.actor})
    elif not link.as_json:
        origin = "the default model" if answer.is_default else f"set by {answer.actor}"
        typer.echo(f"{file}: {origin}", err=True)


@remote
def import_model(
    link: Link,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What export or dedupe wrote.")],
) -> None:
    """Let the account match with a model from now on.

    Examples:
      namesake dedupe people.csv --output clusters.csv --save-model model.json
      namesake model import model.json
    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidArgument(f"{file}: not a model: it is not UTF-8") from None
    if not text.strip():
        raise InvalidArgument(f"{file} is empty; `namesake model reset` goes back to the defaults")
    _set(link, text, f"{file} is in use")


@remote
def reset_model(link: Link) -> None:
    """Match with the default model again.

    Examples:
      namesake model reset
    """
    _set(link, "", "the default model is in use")


def _set(link: Link, text: str, said: str) -> None:
    stub = v1.DuplicateServiceStub(link.channel)
    answer = link.call(stub.SetModel, v1.SetModelRequest(model=text))
    if link.as_json:
        show.json_line(answer)
    else:
        show.text(said)
