"""Which column of a file is which field.

What somebody says of a column goes before what was saved for such files, and that before what its
header means; a column whose header means nothing may be known by its cells. A header decides
whatever the cells look like, so that a file means the same with or without a look at its rows, but
cells that contradict it are told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from service.errors import InvalidArgument
from service.transfer import columns, words
from service.transfer.columns import IGNORED
from service.transfer.content import Content, Look, look
from service.transfer.words import DateOrder

TAKEN = 0.6  # a column that is known by its cells alone is taken from this confidence on
CONTRADICTED = 0.5  # of the cells look like the header: fewer are worth a warning
CLEAR = 0.8  # of the cells look alike: then that is what the column is

_EXACT, _MEANT, _COUNTED = 1.0, 0.95, 0.85  # the field's own name, a word for it, "Phone 2"
_CONFIRMED = 0.04  # more, where the cells look like it
_LOW = 0.2  # the header says one thing, the cells another

# What the cells of a field look like. Most names of companies, and many postcodes, have nothing
# that tells.
_LOOKS: dict[str, Look] = {
    "birth_date": "dates",
    "gender": "genders",
    "country": "countries",
    "do_not_email": "yes or no",
    "do_not_call": "yes or no",
}
# The field that cells suggest, and how sure it is if all of them look like that: dates may be of
# anything, and names of companies may be in any text.
_SUGGESTED: dict[Look, tuple[str, float]] = {
    "e-mails": ("email", 0.95),
    "phones": ("phone", 0.85),
    "genders": ("gender", 0.8),
    "countries": ("country", 0.8),
    "postcodes": ("postcode", 0.65),
    "companies": ("company_name", 0.7),
    "birth dates": ("birth_date", 0.65),
    "dates": ("birth_date", 0.4),
    "URLs": ("custom:website", 0.7),
}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a column seems to be: its field, "" if nothing is known, and how sure that is, 0 to 1.

    `order` is that of day and month in its dates, where they tell.
    """

    column: str
    field: str
    confidence: float
    why: str
    warning: str = ""
    order: DateOrder = ""


def suggest(header: Sequence[str], rows: Iterable[Sequence[str]] = ()) -> tuple[Suggestion, ...]:
    """Return what each column seems to be, by its header and by the cells of some rows."""
    contents = _contents(len(header), rows)
    named = columns.settled(tuple(columns.recognise(name) for name in header))
    found = [
        _by_name(name, field, content) if field else _by_content(name, content)
        for name, field, content in zip(header, named, contents, strict=True)
    ]
    return tuple(_without_clashes(found, named))


def _contents(count: int, rows: Iterable[Sequence[str]]) -> list[Content]:
    cells: list[list[str]] = [[] for _ in range(count)]
    for row in rows:
        for column, cell in zip(cells, row, strict=False):
            column.append(cell)
    return [look(column) for column in cells]


def _by_name(name: str, field: str, content: Content) -> Suggestion:
    if field == IGNORED:
        return Suggestion(name, IGNORED, _EXACT, "of a file of failures")
    confidence = _MEANT
    if name == field or words.plain(name) == words.plain(field):
        confidence = _EXACT
    elif name[-1:].isdigit():
        confidence = _COUNTED
    expected = _expected(field)
    if expected is None or not content.cells:
        return Suggestion(name, field, confidence, "header", order=content.order)
    share = content.share(expected)
    why = f"header, content: {share:.0%} {expected}"
    if share >= CONTRADICTED:
        confidence = min(confidence + _CONFIRMED, _EXACT) if share >= CLEAR else confidence
        return Suggestion(name, field, confidence, why, order=content.order)
    other = content.clearest
    warning = f"only {share:.0%} of the cells look like {expected}"
    if other and content.share(other) >= CLEAR:
        warning += f", and {content.share(other):.0%} like {other}"
    return Suggestion(name, field, _LOW + share * _LOW, why, warning, content.order)


def _expected(field: str) -> Look | None:
    """Return what the cells of a field look like, None where they may be anything."""
    _, own = columns.contact_of(field)
    if own in columns.REACHES:
        return "e-mails" if columns.REACHES[own][0] == "email" else "phones"
    return "yes or no" if own.startswith("consent:") else _LOOKS.get(own)


def _by_content(name: str, content: Content) -> Suggestion:
    seen = content.clearest
    if not seen or seen not in _SUGGESTED or content.share(seen) < CLEAR * _enough(seen):
        return Suggestion(name, "", 0.0, "")
    field, sure = _SUGGESTED[seen]
    share = content.share(seen)
    confidence = sure * min(share / _enough(seen), 1.0) * content.cells / (content.cells + 1)
    return Suggestion(
        name, field, round(confidence, 2), f"content: {share:.0%} {seen}", order=content.order
    )


def _enough(seen: Look) -> float:
    return 0.5 if seen == "companies" else 1.0  # many a company has no suffix in its name


def _without_clashes(found: Sequence[Suggestion], named: Sequence[str]) -> list[Suggestion]:
    """Leave a field that holds one value to the column that is surest of it."""
    best: dict[str, int] = {}
    for place, one in enumerate(found):
        if not one.field or one.field == IGNORED or columns.may_repeat(one.field):
            continue
        known = best.get(one.field)
        if known is None or (not named[known] and one.confidence > found[known].confidence):
            best[one.field] = place
    return [
        one
        if named[place] or not one.field or best.get(one.field, place) == place
        else Suggestion(one.column, "", 0.0, "")
        for place, one in enumerate(found)
    ]


@dataclass(frozen=True, slots=True)
class Choices:
    """What somebody says of a file's columns, or said once and saved."""

    columns: tuple[tuple[str, str], ...] = ()  # header and field, IGNORED to leave it out
    constants: tuple[tuple[str, str], ...] = ()  # field and the cell of all rows
    date_order: DateOrder = ""
    date_formats: tuple[str, ...] = ()
    default_region: str = ""

    @classmethod
    def of_options(
        cls,
        mapped: Iterable[str] = (),
        constants: Iterable[str] = (),
        *,
        date_order: DateOrder = "",
        date_formats: Iterable[str] = (),
        default_region: str = "",
    ) -> Choices:
        """Read `COLUMN=FIELD` and `FIELD=VALUE` options; `InvalidArgument` names the option."""
        named = columns.parse_overrides(mapped, known=columns.is_field)
        formats = tuple(date_formats)
        for format in formats:
            words.check_format(format)
        return cls(tuple(named.items()), _constants(constants), date_order, formats, default_region)

    def before(self, other: Choices) -> Choices:
        """Return both; what is said here goes before what the other says."""
        return Choices(
            _united(self.columns, other.columns),
            _united(self.constants, other.constants),
            self.date_order or other.date_order,
            self.date_formats or other.date_formats,
            self.default_region or other.default_region,
        )

    def within(self, header: Sequence[str]) -> Choices:
        """Return what is said of columns that a file has."""
        there = {name.casefold() for name in header}
        kept = tuple(pair for pair in self.columns if pair[0].casefold() in there)
        return replace(self, columns=kept)


def _constants(options: Iterable[str]) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for option in options:
        field, equals, value = option.partition("=")
        if not equals or not value.strip():
            raise InvalidArgument(f"{option!r} is not FIELD=VALUE", field="--set")
        if field == "id" or not columns.is_field(field):
            raise InvalidArgument(f"{field!r} is no field that all rows may share", field="--set")
        if any(field == known for known, _ in found) and not columns.may_repeat(field):
            raise InvalidArgument(f"{field} is set twice", field="--set")
        found.append((field, value))
    return tuple(found)


def _united(
    ours: tuple[tuple[str, str], ...], theirs: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    known = {name.casefold() for name, _ in ours}
    return ours + tuple(pair for pair in theirs if pair[0].casefold() not in known)


NOTHING_SAID = Choices()


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """The columns of one file: what each of them is, and how it is read."""

    header: tuple[str, ...]
    fields: tuple[str, ...]  # "" of a column that is left out
    orders: tuple[DateOrder, ...]  # of day and month, column by column
    date_formats: tuple[str, ...] = ()
    constants: tuple[tuple[str, str], ...] = ()
    default_region: str = ""
    suggestions: tuple[Suggestion, ...] = ()  # for every column, taken or not

    @classmethod
    def of(
        cls,
        header: Sequence[str],
        rows: Iterable[Sequence[str]] = (),
        said: Choices = NOTHING_SAID,
        saved: Choices = NOTHING_SAID,
    ) -> ColumnMapping:
        """Find what each column is; `rows` are some of the file's first ones.

        Raises `InvalidArgument` where nothing is recognised, what is said names no column, or two
        columns are of a field that has one value.
        """
        suggested = suggest(header, rows)
        choices = said.before(saved.within(header))
        guessed = _guessed(suggested, header, dict(choices.columns))
        fields = columns.settled(
            columns.fields_of(
                header,
                dict(choices.columns),
                lambda name: columns.recognise(name) or guessed.get(name, ""),
            )
        )
        columns.refuse_clashes(header, fields)
        return cls(
            tuple(header),
            fields,
            tuple(choices.date_order or one.order for one in suggested),
            choices.date_formats,
            choices.constants,
            choices.default_region,
            suggested,
        )

    @property
    def unrecognised(self) -> tuple[str, ...]:
        """Headers of columns that are left out although nobody said so."""
        return tuple(
            one.column
            for one, field in zip(self.suggestions, self.fields, strict=True)
            if not field and one.field != IGNORED
        )

    def choices(self) -> Choices:
        """Return what a file with the same columns is read with, to be saved."""
        named = zip(self.header, self.fields, strict=True)
        orders = {order for order, field in zip(self.orders, self.fields, strict=True) if field}
        orders -= {""}
        return Choices(
            tuple((name, field or IGNORED) for name, field in named),
            self.constants,
            orders.pop() if len(orders) == 1 else "",
            self.date_formats,
            self.default_region,
        )


def _guessed(
    suggested: Iterable[Suggestion], header: Iterable[str], chosen: dict[str, str]
) -> dict[str, str]:
    """Return the fields of columns that only their cells tell, but for those that others are."""
    folded = {column.casefold(): field for column, field in chosen.items()}
    sure = {folded.get(name.casefold(), columns.recognise(name)) for name in header}
    return {
        one.column: one.field
        for one in suggested
        if one.confidence >= TAKEN and (one.field not in sure or columns.may_repeat(one.field))
    }
