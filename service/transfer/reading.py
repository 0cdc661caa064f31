"""Blocks of a file's table as customers: columns of texts in, the columns of `arrow` out.

A column is read as a whole: a cell that is like most is never looked at in Python, one that occurs
again only once. What a cell says, and what is wrong with it, `columns.read_cell` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from service.errors import InvalidArgument
from service.transfer.arrow import RecordBatch
from service.transfer.columns import REACHES, contact_of, may_repeat, read_cell
from service.transfer.mapping import ColumnMapping
from service.transfer.rows import Consent, Custom, PartialDate, Reach
from service.transfer.tables import Array, Block
from service.transfer.words import NO_DATES, Dates

READINGS_CACHED = 1 << 16  # more than a century and a half of days; some 20 MB
PROBED_CELLS = 100

# Bytes and characters that a list in one cell has: separators, ends of lines, a quotation mark.
_LISTED = (b";", b",", b'"', b"\n", b"\r")
_LISTED_PATTERN = '[;,"\r\n]'
_ENDS = tuple(c.encode() for c in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")  # as `str.splitlines`
_ENDS_PATTERN = "[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]"
_TYPES = {"integer": pa.int64(), "number": pa.float64(), "flag": pa.bool_()}  # of custom fields
_FLAGS = frozenset(["do_not_email", "do_not_call"])
_DISTINCT = frozenset(["kind", "state", "gender", "country"])
_WORDS = frozenset(["tags", "sources", "campaigns", "groups"])
_LIST = pa.list_(pa.string())
_NAMES = ("first_name", "middle_name", "last_name")
_DATE_CHARS = 10  # of YYYY-MM-DD

Column = tuple[str, Array]  # under a name of `arrow`


@dataclass(frozen=True, slots=True)
class Refusal:
    """A cell that cannot be read: the row's number in the file, the column's header, and why."""

    number: int
    column: str
    message: str


@dataclass(frozen=True, slots=True)
class Read:
    """The customers of a block, and what could not be read.

    `numbers` has for each row of the batch its number in the file. A row of which a cell was
    refused is not in the batch.
    """

    batch: RecordBatch
    numbers: npt.NDArray[np.int64]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class _Fault:
    place: int  # of the row in the block
    column: int
    message: str


@dataclass(slots=True)
class _Columns:
    """The columns of a block in the making."""

    count: int
    columns: list[Column] = field(default_factory=list)
    faults: list[_Fault] = field(default_factory=list)

    def get(self, name: str) -> Array | None:
        """Return a column that there is once."""
        return next((array for known, array in self.columns if known == name), None)

    def add(self, name: str, array: Array) -> None:
        """Add a column; of a field with one value it goes before what there was."""
        known = None if _is_several(name) else self.get(name)
        if known is not None:
            array = pc.if_else(pc.equal(array, ""), known, array)
            self.put(name, array)
        else:
            self.columns.append((name, array))

    def put(self, name: str, array: Array) -> None:
        """Add a column, in the place of the one of this name."""
        places = [place for place, (known, _) in enumerate(self.columns) if known == name]
        if places:
            self.columns[places[0]] = (name, array)
        else:
            self.columns.append((name, array))


class Reader:
    """Reads the blocks of one table."""

    def __init__(self, mapping: ColumnMapping) -> None:
        """Raises `InvalidArgument` where a constant cannot be read."""
        self._mapping = mapping
        self._constants = _constants(mapping.constants)

    @property
    def places(self) -> tuple[int, ...]:
        """The columns that `Table.blocks` is to read."""
        return tuple(place for place, name in enumerate(self._mapping.fields) if name)

    def read(self, block: Block) -> Read:
        """Read a block that has the columns of `places`."""
        made = _Columns(block.count)
        for place in self.places:
            dates = Dates(self._mapping.orders[place], self._mapping.date_formats)
            _read(made, place, self._mapping.fields[place], block.columns[place], dates)
        for name, value in self._constants:
            _fill(made, name, value)
        _tell_companies(made)
        return self._read(made, block)

    def _read(self, made: _Columns, block: Block) -> Read:
        names, arrays = zip(*made.columns, strict=True)
        batch = pa.RecordBatch.from_arrays(list(arrays), list(names))
        kept = np.ones(block.count, np.bool_)
        if made.faults:
            kept[[fault.place for fault in made.faults]] = False
            batch = batch.filter(pa.array(kept))
        made.faults.sort(key=lambda fault: (fault.place, fault.column))
        refusals = (
            Refusal(block.first + fault.place, self._mapping.header[fault.column], fault.message)
            for fault in made.faults
        )
        return Read(batch, np.flatnonzero(kept) + block.first, tuple(refusals))


def _is_several(name: str) -> bool:
    return may_repeat(name) or name.startswith("identity:")


def _read(made: _Columns, place: int, name: str, array: Array, dates: Dates) -> None:
    """Read the cells of one field."""
    contact, own = contact_of(name)
    lead = f"contact:{contact}:" if contact else ""

    def wrong(row: int, message: str) -> None:
        made.faults.append(_Fault(row, place, message))

    for column, cells in _columns_of(own, array, dates, wrong):
        made.add(f"{lead}{column}", cells)


_Wrong = Callable[[int, str], None]


def _columns_of(name: str, array: Array, dates: Dates, wrong: _Wrong) -> Iterator[Column]:
    """Yield what the cells of a field say; `wrong` hears of rows that say nothing of it."""
    trimmed = pc.utf8_trim_whitespace(array)
    if name in _WORDS or name in REACHES:
        yield from _lists(name, trimmed, _LISTED, _LISTED_PATTERN)
    elif name == "street":
        yield from _lists(name, trimmed, _ENDS, _ENDS_PATTERN)
    elif name == "comment":
        yield name, pc.if_else(pc.equal(trimmed, ""), "", array)
    elif name == "full_name":
        yield from _names(trimmed)
    elif name == "birth_date":
        yield name, _dates(name, trimmed, dates, wrong)
    elif name in _DISTINCT:
        yield name, _by_distinct(name, trimmed, pa.string(), NO_DATES, wrong)
    elif name in _FLAGS or name.startswith("consent:"):
        yield name, _by_distinct(name, trimmed, pa.bool_(), NO_DATES, wrong)
    elif name.startswith("custom:"):
        yield _custom(name, trimmed, dates, wrong)
    else:
        yield name, trimmed


def _lists(name: str, array: Array, marks: Sequence[bytes], pattern: str) -> Iterator[Column]:
    """Yield cells that are one text as they are, and the others apart as lists.

    As each cell is in one of the columns, texts stay in their order.
    """
    content = array.buffers()[2]
    if content is None or not _has_any(content, marks):
        yield name, array
        return
    several = pc.match_substring_regex(array, pattern)
    yield name, pc.if_else(several, "", array)
    encoded = pc.if_else(several, array, None).dictionary_encode()
    lists = pa.array([_texts(name, text) for text in encoded.dictionary.to_pylist()], _LIST)
    yield name, lists.take(encoded.indices)


def _has_any(content: Any, marks: Sequence[bytes]) -> bool:
    found = content.to_pybytes()
    return any(mark in found for mark in marks)


def _texts(name: str, text: str) -> list[str]:
    ((_, values),) = read_cell(name, text)
    return [one.value if isinstance(one, Reach) else one for one in values]


def _names(array: Array) -> Iterator[Column]:
    encoded = array.dictionary_encode()
    read = [dict(read_cell("full_name", text)) for text in encoded.dictionary.to_pylist()]
    for name in _NAMES:
        parts = pa.array([parts.get(name, "") for parts in read], pa.string())
        yield name, parts.take(encoded.indices)


def _custom(name: str, array: Array, dates: Dates, wrong: _Wrong) -> Column:
    _, own, *types = name.split(":")
    kind = types[0] if types else "text"
    if kind == "text":
        return f"custom:{own}", array
    if kind == "date":
        return f"custom:{own}:date", _by_distinct(name, array, pa.string(), dates, wrong)
    return f"custom:{own}", _by_distinct(name, array, _TYPES[kind], NO_DATES, wrong)


def _dates(name: str, array: Array, dates: Dates, wrong: _Wrong) -> Array:
    # Arrow takes its time to say of each cell what is wrong with it: it is asked for few first.
    if not dates.formats and _are_iso(array[:PROBED_CELLS]) and _are_iso(array):
        return array
    return _by_distinct(name, array, pa.string(), dates, wrong)


def _are_iso(array: Array) -> bool:
    """Say whether all cells are empty or dates of the calendar as YYYY-MM-DD."""
    sizes = pc.binary_length(array)
    if not pc.all(pc.or_(pc.equal(sizes, _DATE_CHARS), pc.equal(sizes, 0))).as_py():
        return False
    if pc.any(pc.starts_with(array, "0000")).as_py():  # which Arrow takes for a year
        return False
    try:
        pc.cast(pc.if_else(pc.equal(sizes, 0), None, array), pa.date32())
    except pa.ArrowInvalid:
        return False
    return True


def _by_distinct(name: str, array: Array, type: Any, dates: Dates, wrong: _Wrong) -> Array:
    """Read each text that there is once; an empty one is none."""
    encoded = array.dictionary_encode()
    nothing = "" if type == pa.string() else None
    values, faults = [], {}
    for place, text in enumerate(encoded.dictionary.to_pylist()):
        value, fault = _reading(name, text, dates) if text else (nothing, "")
        values.append(nothing if fault else value)
        if fault:
            faults[place] = fault
    if faults:
        indices = encoded.indices.to_numpy()
        for row in np.flatnonzero(np.isin(indices, list(faults))).tolist():
            wrong(row, faults[int(indices[row])])
    return pa.array(values, type).take(encoded.indices)


@lru_cache(READINGS_CACHED)
def _reading(name: str, text: str, dates: Dates) -> tuple[object, str]:
    """Return what a cell says, or what is wrong with it."""
    try:
        ((_, value),) = read_cell(name, text, dates)
    except ValueError as error:
        return None, str(error)
    if isinstance(value, tuple):
        (value,) = value
    if isinstance(value, Consent):
        value = value.granted
    if isinstance(value, Custom):
        value = value.value
    return str(value) if isinstance(value, PartialDate) else value, ""


# What is not in the file.


def _constants(constants: Iterable[tuple[str, str]]) -> tuple[tuple[str, Any], ...]:
    """Read constants as cells of a table with one row."""
    made = _Columns(1)
    for name, text in constants:
        _read(made, 0, name, pa.array([text], pa.string()), NO_DATES)
        if made.faults:
            raise InvalidArgument(f"{name}: {made.faults[0].message}", field="--set")
    return tuple((name, array[0]) for name, array in made.columns)


def _fill(made: _Columns, name: str, value: Any) -> None:
    """Give a constant to the rows that do not say, to all in a list."""
    known = None if _is_several(name) else made.get(name)
    if known is None:
        made.columns.append((name, pa.repeat(value, made.count)))
    elif known.null_count or known.type != pa.string():
        made.put(name, pc.fill_null(known, value))
    else:
        made.put(name, pc.if_else(pc.equal(known, ""), value, known))


def _tell_companies(made: _Columns) -> None:
    """Take rows with the name of a company and of nobody for companies."""
    company = made.get("company_name")
    if company is None:
        return
    is_company = pc.not_equal(company, "")
    for name in ("kind", "first_name", "last_name"):
        if (other := made.get(name)) is not None:
            is_company = pc.and_(is_company, pc.equal(other, ""))
    known = made.get("kind")
    made.put("kind", pc.if_else(is_company, "company", "" if known is None else known))
