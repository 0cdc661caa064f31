"""Tables out: CSV and Parquet, from Arrow batches one after another.

Columns are given beforehand, with their types; a column that a batch lacks is empty there. A file
appears under its name, durable, when it is whole, or not at all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from service.errors import InvalidArgument
from service.transfer import words
from service.transfer.files import CsvWriter, whole

Kind = Literal["csv", "parquet", "xlsx"]

_Batch = Any  # pyarrow.RecordBatch; pyarrow has no types


class Writer(ABC):
    """A file that is being written."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema

    def write(self, batch: _Batch) -> None:
        """Append the rows of a record batch, whose columns are among those of the file."""
        there = dict(zip(batch.schema.names, batch.columns, strict=True))
        arrays = [
            there[of.name] if of.name in there else pa.nulls(batch.num_rows, of.type)
            for of in self._schema
        ]
        self._put(pa.record_batch(arrays, schema=self._schema))

    @abstractmethod
    def _put(self, batch: _Batch) -> None:
        """Write a batch that has all columns."""

    @abstractmethod
    def finish(self) -> None:
        """Write what is left."""


@contextmanager
def writing(
    path: str, schema: Any, *, kind: Kind = "csv", delimiter: str = ","
) -> Iterator[Writer]:
    """Write a file of the columns of a `pyarrow.Schema`; "-" is standard output.

    Columns are utf8, bool, whole numbers, doubles or lists of utf8.
    """
    if kind not in _WRITERS:
        raise InvalidArgument(f"{kind} is not written here", field="--format")
    with whole(path) as stream:
        writer = _WRITERS[kind](stream, schema, delimiter)
        yield writer
        writer.finish()


class _Parquet(Writer):
    def __init__(self, stream: BinaryIO, schema: Any, _delimiter: str) -> None:
        super().__init__(schema)
        self._file = pq.ParquetWriter(stream, schema, compression="zstd")

    def _put(self, batch: _Batch) -> None:
        self._file.write_batch(batch)

    def finish(self) -> None:
        self._file.close()


class _Csv(Writer):
    def __init__(self, stream: BinaryIO, schema: Any, delimiter: str) -> None:
        super().__init__(schema)
        self._rows = CsvWriter(stream, schema.names, delimiter=delimiter)

    def _put(self, batch: _Batch) -> None:
        cells = [
            [_cell(name, value) for value in column.to_pylist()]
            for name, column in zip(self._schema.names, batch.columns, strict=True)
        ]
        for row in zip(*cells, strict=True):
            self._rows.write(row)

    def finish(self) -> None:
        self._rows.detach()


_WRITERS = {"csv": _Csv, "parquet": _Parquet}


def _cell(name: str, value: Any) -> str:
    """Write a value so that `columns.Columns.row` reads it back."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, list):
        return str(value)
    if name == "street":
        return "\n".join(value)
    if name.endswith("phone"):
        return words.listed(value, words.numbers)
    return words.listed(value, words.addresses if name.endswith("email") else words.parts)
