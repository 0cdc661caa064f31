"""`namesake dedupe` and `evaluate`: who is who in files, without a server."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import show
from service.cli.cards import RegionOption
from service.cli.link import JsonOption, reported
from service.cli.mappings import DateOrder
from service.core.evaluation import b_cubed, pairwise
from service.errors import InvalidArgument
from service.settings import Settings
from service.transfer.files import STANDARD_STREAM, CsvReader, Source, whole

if TYPE_CHECKING:
    from service.cli.records import Found
    from service.core.linkage import Linked

HEADER = ("record", "cluster")
LINKED_HEADER = (*HEADER, "file")


def dedupe(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="CSV, JSONL, XLSX or Parquet.")
    ],
    output: Annotated[str, typer.Option("--output", help="CSV to write; - for stdout.")],
    other: Annotated[
        str,
        typer.Option(
            "--link",
            metavar="OTHER",
            help="Look for the records of FILE in this file; within a file none are compared.",
        ),
    ] = "",
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="COLUMN=FIELD", help="Name a column's field, or - for none."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0.01, max=0.999, help="Probability from which two are one.")
    ] = 0.5,
    pairs: Annotated[str, typer.Option(help="Parquet file to write the matching pairs to.")] = "",
    report: Annotated[
        str, typer.Option(help="HTML page to write: what was found, and why, in plots and words.")
    ] = "",
    model: Annotated[str, typer.Option(help="Use this model; else one is learnt.")] = "",
    save_model: Annotated[str, typer.Option(help="Write the model that was used.")] = "",
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Learn nothing, use the defaults.")
    ] = False,
    region: RegionOption = "",
    dates: Annotated[DateOrder | None, typer.Option(help="How to read 03/04/1990.")] = None,
    delimiter: Annotated[str, typer.Option(help="Of CSV; by default found in the file.")] = "",
    encoding: Annotated[str, typer.Option(help="Of CSV and JSONL; by default found.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Find the records of one person in files, without a server.

    Writes a row for each record: its id (or number, where no column has ids) and its cluster,
    which is named by the least of its records. Fields are found by their headers: first_name,
    last_name, middle_name, full_name, gender, birth_date, email, phone, street, city, postcode,
    country, company, id; --map names others, exact:NAME and text:NAME for any further column.

    With --link two files are matched with each other: rows have a third column, file (1 or 2), and
    clusters are named by file and record (1:ID or 2:ID), as both files may have the same ids.

    Examples:
      namesake dedupe people.csv --output clusters.csv
      namesake dedupe crm.csv shop.parquet --output - --map Kundennummer=id --region DE
      namesake dedupe people.jsonl --output clusters.csv --map branch=exact:branch --threshold 0.9
      namesake dedupe people.csv --output clusters.csv --report report.html
      namesake dedupe crm.csv --link shop.csv --output linked.csv
    """
    # Loaded on use: Arrow and NumPy would slow every other command.
    from service.cli import report as page
    from service.cli.records import Found, Records, linked_by, write_clusters, write_pairs
    from service.core.match import Model
    from service.transfer.tables import open_table

    began = monotonic()
    with reported():
        if model and untrained:
            raise typer.BadParameter("give --model or --untrained, not both")
        if other and len(files) > 1:
            raise InvalidArgument("links one file to another; FILE is one", field="--link")
        inputs = [*files, *filter(None, [other])]
        outputs = {
            "--output": output, "--pairs": pairs, "--report": report, "--save-model": save_model,
        }  # fmt: skip
        _refuse_clashes([*inputs, model], outputs, as_json=as_json)
        with ExitStack() as stack:
            # Opened before the long work, so that nothing is in vain; there when all are whole.
            to = {
                option: stack.enter_context(whole(path)) for option, path in outputs.items() if path
            }
            given = Model.from_json(Path(model).read_text(errors="replace")) if model else None
            records, starts = Records(region or Settings().default_region, dates), []
            for file in inputs:
                starts.append(len(records.packed))
                with open_table(file, delimiter=delimiter or None, encoding=encoding) as table:
                    records.read(table, mapping or ())
            second = starts[1] if other else None
            if untrained:
                given = Model.default(len(records.packed))
            names = records.names()
            linked = linked_by(records, names, given, threshold, second)
            found = Found(names, linked.labels, second)
            write_clusters(to["--output"], found)
            if pairs:
                write_pairs(to["--pairs"], names, linked)
            if report:
                run = page.Run(
                    inputs, threshold, page.origin(model, untrained=untrained), found.in_first,
                    monotonic() - began, page.peak_bytes(),
                )  # fmt: skip
                shown = page.gather(run, records.packed, linked, found.full_names.to_pylist())
                page.write(to["--report"], shown)
            if save_model:
                to["--save-model"].write(linked.model.to_json().encode())
        _tell(linked, found, as_json=as_json)


def _refuse_clashes(inputs: Iterable[str], outputs: Mapping[str, str], *, as_json: bool) -> None:
    """Refuse a file that is given twice: one of both would be lost, or found in itself."""
    taken: dict[object, str] = {}
    given = [("", path, "an input") for path in inputs if path != STANDARD_STREAM]
    given += [("--json", STANDARD_STREAM, "for --json")] if as_json else []
    given += [(option, path, f"for {option}") for option, path in outputs.items()]
    for option, path, use in given:
        place = _place(path)
        if place in taken:
            raise InvalidArgument(f"{path} is {taken[place]} already", field=option)
        if place is not None:
            taken[place] = use


def _place(path: str) -> object:
    """Return what two names of one file share; None for what is no file (/dev/null)."""
    if path in ("", STANDARD_STREAM):
        return path or None
    try:
        found = Path(path).stat()
    except OSError:
        return Path(path).resolve()
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _tell(linked: Linked, found: Found, *, as_json: bool) -> None:
    counts = linked.counts
    told: dict[str, object] = {
        "records": counts.records,
        "clusters": found.clusters,
        "pairs": len(linked.pairs.ones),
        "comparedPairs": counts.compared_pairs,
        "splitBlocks": counts.large_blocks,
        "refusedJoins": counts.refused_joins,
        "placeholderDates": counts.placeholder_dates,
        "repeatedIds": found.repeated_ids,
    }
    lines = [
        "{records:,} records, {clusters:,} clusters; {comparedPairs:,} pairs compared, {pairs:,} "
        "match, {refusedJoins:,} of groups that do not; {splitBlocks:,} large blocks were split"
    ]
    if found.in_first:
        told["foundRecords"], told["secondRecords"] = found.in_first
        lines += ["{foundRecords:,} of the {secondRecords:,} records of the second file are found"]
    if told["repeatedIds"]:
        lines += ["{repeatedIds:,} records repeat the id of another"]
    if as_json:
        show.json_line(told)
    else:
        typer.echo("\n".join(lines).format(**told), err=True)


def evaluate(
    clusters: Annotated[str, typer.Argument(help="CSV with the columns record and cluster.")],
    truth: Annotated[str, typer.Argument(help="The same, as it should be.")],
    as_json: JsonOption = False,
) -> None:
    """Say how well clusters agree with the truth: precision, recall and F1, by pairs and B-cubed.

    Examples:
      namesake evaluate clusters.csv truth.csv
    """
    with reported():
        found, right = _read_clusters(clusters), _read_clusters(truth)
        if found.keys() != right.keys():
            missing, more = len(right.keys() - found.keys()), len(found.keys() - right.keys())
            raise InvalidArgument(f"{missing} records have no cluster, {more} have no truth")
        ours, theirs = list(found.values()), [right[record] for record in found]
        rows = [("pairs", pairwise(ours, theirs)), ("B-cubed", b_cubed(ours, theirs))]
        if as_json:
            for by, one in rows:
                show.json_line(
                    {"by": by, "precision": one.precision, "recall": one.recall, "f1": one.f1}
                )
            return
        show.table(
            "",
            ("by", "precision", "recall", "F1"),
            [
                (by, f"{one.precision:.4f}", f"{one.recall:.4f}", f"{one.f1:.4f}")
                for by, one in rows
            ],
        )


def _read_clusters(path: str) -> dict[str, str]:
    source = Source(path)
    try:
        table = CsvReader(source.lines("utf-8-sig"))
        if tuple(table.header[:2]) != HEADER:
            raise InvalidArgument(f"{path}: the first columns are not {' and '.join(HEADER)}")
        is_linked = table.header[:3] == LINKED_HEADER
        found: dict[str, str] = {}
        for row in table:
            if len(row.cells) < len(HEADER):
                raise InvalidArgument(f"{path}: row {row.number} has no cluster")
            record = ":".join(row.cells[2:3] + row.cells[:1]) if is_linked else row.cells[0]
            if record in found:
                raise InvalidArgument(f"{path}: row {row.number} repeats a record")
            found[record] = row.cells[1]
        return found
    finally:
        source.close()
