"""How the columns of a file are read: options that say so, the preview, and saved mappings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Annotated

import typer

from service.cli import show
from service.cli.link import JsonOption, complain, reported
from service.transfer import words
from service.transfer.columns import IGNORED
from service.transfer.mapping import NOTHING_SAID, Choices, ColumnMapping, Suggestion
from service.transfer.saved import SavedMappings, configuration_folder
from service.transfer.tables import Preview, Table

LOOKED_AT_ROWS = 300  # of a file: more would hardly change the picture, and take their time
EXAMPLES = 2
EXAMPLE_CHARS = 24


class DateOrder(StrEnum):
    """How to read 03/04/1990."""

    DAY_FIRST = "dmy"
    MONTH_FIRST = "mdy"


DATE_ORDERS: dict[DateOrder | None, words.DateOrder] = {
    None: "",
    DateOrder.DAY_FIRST: "dmy",
    DateOrder.MONTH_FIRST: "mdy",
}

MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="COLUMN=FIELD", help="Name a column's field, or - to ignore it."),
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As --save-mapping named it.")]


class Mapped:
    """What the columns of an open table are, and why."""

    def __init__(self, table: Table, said: Choices, saved_as: str) -> None:
        """Look at the first rows; `saved_as` names a saved mapping.

        Raises `InvalidArgument` as `ColumnMapping.of` does, and where no mapping has the name.
        """
        saved = _saved().load(saved_as) if saved_as else NOTHING_SAID
        self._preview = table.preview(LOOKED_AT_ROWS)
        self._rows = table.rows
        self.mapping = ColumnMapping.of(table.header, self._preview.rows, said, saved)
        self._said = {name.casefold() for name, _ in said.columns}
        self._saved = {name.casefold() for name, _ in saved.columns}
        self._saved_as = saved_as

    def save(self, name: str) -> None:
        """Keep the mapping under a name."""
        _saved().save(name, self.mapping.choices())

    def rows(self, lines: int) -> str:
        """Return in words how many rows there are, if that is known; the file has so many lines."""
        if self._rows is not None:
            return f"{self._rows:,} rows"
        if lines and self._preview.dialect:  # cells may have lines, and a last line no end
            rows = max(lines - (self._preview.kind == "csv"), 1)
            return f"about {rows:,} row{'s' * (rows > 1)}"
        return "the rows"

    def warn(self) -> None:
        """Say which columns are left out, which seem to be something else, which mapping fits."""
        known = self._said | self._saved
        missed = [name for name in self.mapping.unrecognised if name.casefold() not in known]
        if missed:
            complain(f"columns left out: {', '.join(map(repr, missed))}")
        for one, field in zip(self.mapping.suggestions, self.mapping.fields, strict=True):
            if one.warning and one.field == field:
                complain(f"column {one.column!r} is taken for {field}, but {one.warning}")
        if not self._saved_as and (fitting := _saved().fitting(self.mapping.header)):
            complain(f"a saved mapping fits: --mapping {fitting[0]}")

    def show(self, title: str) -> None:
        """Write to standard error what each column is taken for."""
        rows = [
            (column, self._shown(place), *self._because(one), _examples(self._preview, place))
            for place, (column, one) in enumerate(
                zip(self.mapping.header, self.mapping.suggestions, strict=True)
            )
            if one.field != IGNORED  # of a file of failures
        ]
        rows += [("", field, "", "every row", value) for field, value in self.mapping.constants]
        columns = ("column", "field", "sure", "why", "for example")
        show.table(f"{title} ({_read_as(self._preview)})", columns, rows, err=True)

    def _shown(self, place: int) -> str:
        field, order = self.mapping.fields[place], self.mapping.orders[place]
        if not field:
            return IGNORED
        return f"{field} ({order})" if order and "date" in field else field

    def _because(self, one: Suggestion) -> tuple[str, str]:
        if one.column.casefold() in self._said:
            return "", "--map"
        if one.column.casefold() in self._saved:
            return "", f"mapping {self._saved_as}"
        return (f"{one.confidence:.0%}", one.why) if one.field else ("", "")


def _examples(preview: Preview, place: int) -> str:
    cells = dict.fromkeys(row[place].strip() for row in preview.rows)
    found = [cell for cell in cells if cell][:EXAMPLES]
    short = (cell if len(cell) <= EXAMPLE_CHARS else f"{cell[:EXAMPLE_CHARS]}…" for cell in found)
    return " | ".join(" ".join(cell.split()) for cell in short)


def _read_as(preview: Preview) -> str:
    """Return what was found out about how the file is written."""
    return ", ".join(_facts(preview))


def _facts(preview: Preview) -> Iterator[str]:
    yield preview.kind.upper()
    if preview.sheet:
        yield f"sheet {preview.sheet!r}" + (
            f" of {len(preview.sheets)}" if len(preview.sheets) > 1 else ""
        )
    if dialect := preview.dialect:
        yield dialect.encoding
        if dialect.delimiter:
            names = {",": "commas", ";": "semicolons", "\t": "tabs"}
            yield names.get(dialect.delimiter, f"delimiter {dialect.delimiter}")
        if dialect.quote not in ("", '"'):
            yield f"quotation mark {dialect.quote}"


def _saved() -> SavedMappings:
    return SavedMappings(configuration_folder())


def list_mappings(as_json: JsonOption = False) -> None:
    """List the mappings that --save-mapping kept on this computer.

    Examples:
      namesake mappings list
    """
    with reported():
        saved = _saved()
        found = [(name, saved.load(name)) for name in saved.names()]
        if as_json:
            for name, choices in found:
                show.json_line({"name": name, **_members(choices)})
            return
        rows = [(name, _fields(choices)) for name, choices in found]
        show.table("Mappings", ("name", "fields"), rows)


def show_mapping(name: NameArgument, as_json: JsonOption = False) -> None:
    """Show which column is which field in a saved mapping.

    Examples:
      namesake mappings show fair
    """
    with reported():
        choices = _saved().load(name)
        if as_json:
            show.json_line({"name": name, **_members(choices)})
            return
        rows = [*choices.columns, *((f"(every row: {value})", f) for f, value in choices.constants)]
        show.table(f"Mapping {name}", ("column", "field"), rows)
        for what, value in _rest(choices):
            show.text(f"{what}: {value}")


def delete_mapping(name: NameArgument) -> None:
    """Forget a saved mapping.

    Examples:
      namesake mappings delete fair
    """
    with reported():
        _saved().delete(name)


def _fields(choices: Choices) -> str:
    named = dict.fromkeys(field for _, field in choices.columns if field != IGNORED)
    return ", ".join(named)


def _rest(choices: Choices) -> Iterable[tuple[str, str]]:
    if choices.date_order:
        yield "dates", choices.date_order
    if choices.date_formats:
        yield "date formats", ", ".join(choices.date_formats)
    if choices.default_region:
        yield "region", choices.default_region


def _members(choices: Choices) -> dict[str, object]:
    return {
        "columns": dict(choices.columns),
        "constants": [{"field": field, "value": value} for field, value in choices.constants],
        "dateOrder": choices.date_order,
        "dateFormats": list(choices.date_formats),
        "region": choices.default_region,
    }
