"""Tables out: CSV, JSONL, XLSX and Parquet, from Arrow batches one after another.

What is written is read back by `tables` as the same texts. Columns are given beforehand, with their
types; a column that a batch lacks is empty there, and so is every text that is empty. Memory is
bounded by BATCH_ROWS rows or BATCH_BYTES, and by the largest batch that is given; XLSX waits in a
temporary file until it is whole, because what type a column can have there depends on all its
cells. A file appears under its name, durable, when it is whole, or not at all.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import date
from math import isfinite
from shutil import copyfileobj
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as pa_ipc
import pyarrow.parquet as pq
import rustpy_xlsxwriter as xlsx

from service.errors import InvalidArgument
from service.transfer.files import CsvWriter, whole
from service.transfer.tables import (
    Array,
    Kind,
    as_texts,
    contains,
    content_of,
    kind_of,
    lists_of,
)

BATCH_ROWS = 50_000  # a group of a Parquet file; a dozen columns take some 10 MB
BATCH_BYTES = 32 << 20
SHEET_ROWS = (1 << 20) - 1  # that Excel has under a header
SHEET_COLUMNS = 1 << 14
CELL_CHARS = 32_767  # of UTF-16, as Excel counts them
SHEET = "Customers"

# A sheet keeps what a double does, and dates since a day that did not exist (29 February 1900).
_EXACT = 1 << 53
_FIRST_DATE = date(1900, 3, 1)
_CONTROLS = bytes(range(32))

_Batch = Any  # pyarrow.RecordBatch; pyarrow has no types
_Schema = Any  # pyarrow.Schema


class Writer(ABC):
    """A file that is being written."""

    rows_limit = 1 << 63

    def __init__(self, stream: BinaryIO, schema: _Schema) -> None:
        self.rows = 0  # so far
        self._stream: Final = stream
        self._schema: Final = schema
        self._waiting: list[_Batch] = []
        self._waiting_rows = self._waiting_bytes = 0
        self._held: Final = ExitStack()  # what is to be closed, finished or not

    def write(self, batch: _Batch) -> None:
        """Append the rows of a record batch, whose columns are among those of the file."""
        self.rows += batch.num_rows
        if self.rows > self.rows_limit:
            raise InvalidArgument(
                f"A sheet has {SHEET_ROWS:,} rows at most; write CSV, JSONL or Parquet"
            )
        for first in range(0, batch.num_rows, BATCH_ROWS):
            part = batch.slice(first, BATCH_ROWS)
            self._waiting.append(self._aligned(part))
            self._waiting_rows += part.num_rows
            self._waiting_bytes += part.nbytes
            if self._waiting_rows >= BATCH_ROWS or self._waiting_bytes >= BATCH_BYTES:
                self._flush()

    def finish(self) -> None:
        """Write what is left."""
        self._flush()
        self._end()

    def close(self) -> None:
        """Let go of what the writer holds."""
        self._held.close()

    def _aligned(self, batch: _Batch) -> _Batch:
        if unknown := set(batch.schema.names).difference(self._schema.names):
            raise ValueError(f"the file has no column {min(unknown)!r}")
        there = dict(zip(batch.schema.names, batch.columns, strict=True))
        arrays = [
            there[of.name].cast(of.type) if of.name in there else pa.nulls(batch.num_rows, of.type)
            for of in self._schema
        ]
        return pa.record_batch(arrays, schema=self._schema)

    def _flush(self) -> None:
        if self._waiting:
            (batch,) = pa.Table.from_batches(self._waiting).combine_chunks().to_batches()
            self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0
            self._put(batch)

    @abstractmethod
    def _put(self, batch: _Batch) -> None:
        """Write a batch that has all columns."""

    def _end(self) -> None:
        """Write what comes last."""
        self._stream.flush()


@contextmanager
def writing(
    path: str,
    schema: _Schema,
    *,
    kind: Kind | None = None,
    delimiter: str = ",",
    sheet: str = SHEET,
) -> Iterator[Writer]:
    """Write a file of the columns of a `pyarrow.Schema`, by default of the kind its ending says.

    Columns are utf8, bool, whole numbers, doubles, date32 or lists of utf8. "-" is standard output.
    In CSV and XLSX a list is one cell, as `columns` reads it.
    """
    for of in schema:
        if not _is_known(of.type):
            raise ValueError(f"column {of.name!r} is of type {of.type}")
    kind = kind or kind_of(path)
    with whole(path) as stream:
        writer: Writer
        if kind == "csv":
            writer = _Csv(stream, schema, delimiter)
        elif kind == "jsonl":
            writer = _Jsonl(stream, schema)
        elif kind == "xlsx":
            writer = _Xlsx(stream, schema, sheet)
        else:
            writer = _Parquet(stream, schema)
        with closing(writer):
            yield writer
            writer.finish()


def _is_known(of: Any) -> bool:
    types = pa.types
    if types.is_list(of):
        return bool(types.is_string(of.value_type))
    known = (
        types.is_string, types.is_boolean, types.is_integer, types.is_float64, types.is_date32,
    )  # fmt: skip
    return any(is_type(of) for is_type in known)


class _Csv(Writer):
    def __init__(self, stream: BinaryIO, schema: _Schema, delimiter: str) -> None:
        super().__init__(stream, schema)
        header = CsvWriter(stream, schema.names, delimiter=delimiter)
        header.detach()
        self._delimiter = delimiter

    def _put(self, batch: _Batch) -> None:
        cells = [
            self._quoted(as_texts(column, name))
            for name, column in zip(self._schema.names, batch.columns, strict=True)
        ]
        lines = pc.binary_join_element_wise(*cells, self._delimiter)
        if len(cells) == 1:  # an empty line would be no row
            lines = pc.if_else(pc.equal(lines, ""), '""', lines)
        self._stream.write(content_of(pc.binary_join_element_wise(lines, "", "\n")))

    def _quoted(self, texts: Array) -> Array:
        """Put quotation marks around the texts that need them."""
        special = f'{self._delimiter}"\r\n'
        is_rare = not self._delimiter.isascii()
        if not is_rare and not contains(texts, special.encode()):
            return texts
        needed = pc.match_substring(texts, special[0])
        for character in special[1:]:
            needed = pc.or_(needed, pc.match_substring(texts, character))
        doubled = pc.replace_substring(texts, '"', '""')
        return pc.if_else(needed, pc.binary_join_element_wise('"', doubled, '"', ""), texts)


class _Jsonl(Writer):
    """An object to a line. What is empty is left out, but the first object has every key."""

    _began = False

    def _put(self, batch: _Batch) -> None:
        if not self._began:
            self._began = True
            (first,) = batch.slice(0, 1).to_pylist()
            self._stream.write(_json({key: _plain(value) for key, value in first.items()}))
            batch = batch.slice(1)
        members = [
            _members(column, name)
            for name, column in zip(self._schema.names, batch.columns, strict=True)
        ]
        lines = pc.binary_join_element_wise(*members, "")
        lines = pc.utf8_slice_codeunits(lines, 1)  # without the first comma
        self._stream.write(content_of(pc.binary_join_element_wise("{", lines, "}\n", "")))


def _json(members: dict[str, object]) -> bytes:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _plain(value: object) -> object:
    """Return a value as JSON has it, None if it is empty."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list):
        return [part for part in value if part] or None
    if value == "" or (isinstance(value, float) and not isfinite(value)):
        return None
    return value


def _members(column: Any, name: str) -> Array:
    """Return of each row `,"name":value`, or "" where the value is empty."""
    key = f",{json.dumps(name, ensure_ascii=False)}:"
    types, of = pa.types, column.type
    if types.is_list(of):
        counts = pc.list_value_length(column).fill_null(0)
        lists = lists_of(_escaped(column.flatten().fill_null("")), counts)
        if pc.any(pc.equal(lists.values, ""), min_count=0).as_py():
            lists = pa.array([[part for part in row if part] for row in lists.to_pylist()], of)
        texts = pc.binary_join(lists, '","')
        return _wrapped(texts, f'{key}["', '"]')
    texts = as_texts(column)
    if types.is_string(of):
        texts = _escaped(texts)
    mark = '"' if types.is_string(of) or types.is_date(of) else ""
    return _wrapped(texts, key + mark, mark)


def _wrapped(texts: Any, before: str, after: str) -> Array:
    joined = pc.binary_join_element_wise(before, texts, after, "")
    return pc.if_else(pc.equal(texts, ""), "", joined)


def _escaped(texts: Any) -> Any:
    """Return texts as they stand within the quotation marks of JSON."""
    if not contains(texts, b'"\\' + _CONTROLS):
        return texts
    return pa.array(
        [json.dumps(text, ensure_ascii=False)[1:-1] for text in texts.to_pylist()], pa.string()
    )


class _Parquet(Writer):
    def __init__(self, stream: BinaryIO, schema: _Schema) -> None:
        super().__init__(stream, schema)
        self._file = pq.ParquetWriter(stream, schema, compression="zstd")
        self._held.callback(self._file.close)

    def _put(self, batch: _Batch) -> None:
        self._file.write_batch(batch)

    def _end(self) -> None:
        self._file.close()


class _Xlsx(Writer):
    """One sheet. Cells of a column are numbers or dates only where the sheet can have all of them.

    Texts are texts, so that a phone keeps its plus and its zeros.
    """

    rows_limit = SHEET_ROWS

    def __init__(self, stream: BinaryIO, schema: _Schema, sheet: str) -> None:
        super().__init__(stream, schema)
        if len(schema) > SHEET_COLUMNS:
            raise InvalidArgument(f"A sheet has {SHEET_COLUMNS} columns at most")
        self._sheet = sheet
        self._odd: set[str] = set()  # columns that must be texts
        self._spool: Final = self._held.enter_context(TemporaryFile())  # noqa: SIM115
        self._spooled = pa_ipc.new_stream(self._spool, self._spool_schema())

    def _spool_schema(self) -> _Schema:
        return pa.schema(
            [
                pa.field(of.name, pa.string() if pa.types.is_list(of.type) else of.type)
                for of in self._schema
            ]
        )

    def _put(self, batch: _Batch) -> None:
        cells = []
        for name, column in zip(self._schema.names, batch.columns, strict=True):
            if pa.types.is_list(column.type):
                column = as_texts(column, name)
            if pa.types.is_string(column.type):
                self._refuse_long(column, name)
            elif name not in self._odd and not _fits(column):
                self._odd.add(name)
            cells.append(column)
        self._spooled.write_batch(pa.record_batch(cells, self._spool_schema()))

    def _refuse_long(self, texts: Any, name: str) -> None:
        longest = pc.max(pc.binary_length(texts)).as_py() or 0
        if longest > CELL_CHARS and any(
            len(text.encode("utf-16-le")) // 2 > CELL_CHARS for text in texts.to_pylist() if text
        ):
            raise InvalidArgument(
                f"Column {name!r} has a text longer than {CELL_CHARS:,} characters, which is the "
                "most that a cell of XLSX has; write CSV, JSONL or Parquet"
            )

    def _end(self) -> None:
        self._spooled.close()
        self._spool.seek(0)
        with NamedTemporaryFile(suffix=".xlsx") as made:
            self._write(made.name)
            copyfileobj(made, self._stream)

    def _write(self, path: str) -> None:
        fields = [
            pa.field(of.name, pa.string() if of.name in self._odd else of.type)
            for of in self._spool_schema()
        ]
        schema = pa.schema(fields)
        texts = [of.name for of in fields if pa.types.is_string(of.type)]
        try:
            xlsx.write_worksheet(
                pa.RecordBatchReader.from_batches(schema, self._sheet_batches(schema)),
                path,
                sheet_name=self._sheet,
                datetime_format="yyyy-mm-dd",
                freeze_row=1,
                bold_headers=True,
                ignore_errors=texts,  # else Excel marks each phone as a number that is a text
            )
        except RuntimeError:
            # The text may have cells in it.
            raise InvalidArgument("The sheet cannot be written; is the disk full?") from None

    def _sheet_batches(self, schema: _Schema) -> Iterator[_Batch]:
        for batch in pa_ipc.open_stream(self._spool):
            arrays = [
                as_texts(column) if of.name in self._odd else column
                for of, column in zip(schema, batch.columns, strict=True)
            ]
            yield pa.record_batch(arrays, schema=schema)


def _fits(column: Any) -> bool:
    """Say whether a sheet can have every value of a column as it is."""
    least, most = (bound.as_py() for bound in pc.min_max(column).values())
    if least is None or pa.types.is_boolean(column.type) or pa.types.is_floating(column.type):
        return True
    if pa.types.is_date(column.type):
        return bool(least >= _FIRST_DATE)
    return bool(least >= -_EXACT and most <= _EXACT)
