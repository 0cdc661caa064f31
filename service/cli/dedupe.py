"""`namesake dedupe` and `evaluate`: who is who in files, without a server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import show
from service.cli.bulk import DateOrder
from service.cli.cards import RegionOption
from service.cli.link import JsonOption, reported
from service.core.evaluation import b_cubed, pairwise
from service.errors import InvalidArgument
from service.settings import Settings
from service.transfer.files import CsvReader, CsvWriter, Source, whole

if TYPE_CHECKING:
    from service.core.linkage import Linked

HEADER = ("record", "cluster")


def dedupe(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="CSV, JSONL or Parquet.")],
    output: Annotated[str, typer.Option("--output", help="CSV to write; - for stdout.")],
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="COLUMN=FIELD", help="Name a column's field, or - for none."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0.01, max=0.999, help="Probability from which two are one.")
    ] = 0.5,
    pairs: Annotated[str, typer.Option(help="Parquet file to write the matching pairs to.")] = "",
    model: Annotated[str, typer.Option(help="Use this model; else one is learnt.")] = "",
    save_model: Annotated[str, typer.Option(help="Write the model that was used.")] = "",
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Learn nothing, use the defaults.")
    ] = False,
    region: RegionOption = "",
    dates: Annotated[DateOrder | None, typer.Option(help="How to read 03/04/1990.")] = None,
    delimiter: Annotated[str, typer.Option(help="Of CSV; by default found in the header.")] = "",
    encoding: Annotated[str, typer.Option(help="Of CSV and JSONL.")] = "utf-8",
    as_json: JsonOption = False,
) -> None:
    """Find the records of one person in files, without a server.

    Writes a row for each record: its id (or number, where no column has ids) and its cluster,
    which is named by the least of its records. Fields are found by their headers: first_name,
    last_name, middle_name, full_name, gender, birth_date, email, phone, street, city, postcode,
    country, company, id; --map names others, exact:NAME and text:NAME for any further column.

    Examples:
      namesake dedupe people.csv --output clusters.csv
      namesake dedupe crm.csv shop.parquet --output - --map Kundennummer=id --region DE
      namesake dedupe people.jsonl --output clusters.csv --map branch=exact:branch --threshold 0.9
    """
    # Loaded on use: Arrow and NumPy would slow every other command.
    from service.cli.records import Records, linked_by, write_pairs
    from service.core.match import Model
    from service.transfer.tables import open_table

    with reported():
        if model and untrained:
            raise typer.BadParameter("give --model or --untrained, not both")
        given = Model.from_json(Path(model).read_text()) if model else None
        records = Records(region or Settings().default_region, dates)
        for file in files:
            with open_table(file, delimiter=delimiter or None, encoding=encoding) as table:
                records.read(table, mapping or ())
        if untrained:
            given = Model.default(len(records.packed))
        names = records.names()
        linked = linked_by(records, names, given, threshold)
        with whole(output) as stream:
            writer = CsvWriter(stream, HEADER)
            for row in zip(names, cluster_names(names, linked.labels), strict=True):
                writer.write(row)
            writer.detach()
        if pairs:
            write_pairs(pairs, names, linked)
        if save_model:
            with whole(save_model) as stream:
                stream.write(linked.model.to_json().encode())
        _tell(linked, as_json=as_json)


def cluster_names(names: Sequence[str], labels: Iterable[int]) -> list[str]:
    """Return the name of each record's cluster: the least of its records, numbers by value."""
    least: dict[int, str] = {}
    numbers = list(map(int, labels))
    for name, label in zip(names, numbers, strict=True):
        known = least.get(label)
        if known is None or (len(name), name) < (len(known), known):
            least[label] = name
    return [least[label] for label in numbers]


def _tell(linked: Linked, *, as_json: bool) -> None:
    counts = linked.counts
    clusters = len(set(linked.labels.tolist()))
    if as_json:
        show.json_line(
            {
                "records": counts.records,
                "clusters": clusters,
                "pairs": len(linked.pairs.ones),
                "comparedPairs": counts.compared_pairs,
                "splitBlocks": counts.large_blocks,
                "refusedJoins": counts.refused_joins,
                "placeholderDates": counts.placeholder_dates,
            }
        )
        return
    typer.echo(
        f"{counts.records:,} records, {clusters:,} clusters; {counts.compared_pairs:,} pairs "
        f"compared, {len(linked.pairs.ones):,} match, {counts.refused_joins:,} of groups that do "
        f"not; {counts.large_blocks:,} large blocks were split",
        err=True,
    )


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
        found: dict[str, str] = {}
        for row in table:
            if len(row.cells) < len(HEADER):
                raise InvalidArgument(f"{path}: row {row.number} has no cluster")
            if row.cells[0] in found:
                raise InvalidArgument(f"{path}: row {row.number} repeats a record")
            found[row.cells[0]] = row.cells[1]
        return found
    finally:
        source.close()
