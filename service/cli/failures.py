"""Rows of an import that failed: the first ones to show, all in a file to correct and import."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from namesake import v1
from service.cli.batches import Batch
from service.cli.link import Link
from service.errors import InvalidArgument
from service.transfer.columns import FAILURE_COLUMNS
from service.transfer.files import CsvWriter, Record, private
from service.transfer.tables import kind_of

FAILURES_SHOWN = 10
PAGE_ROWS = 1_000  # failures that are asked for at once
FAILURE = "failure"  # what a line has beside the customer; left out where it is imported again

_PREFIX = "failure_"  # of the columns, which a line has no need of


class Failed(NamedTuple):
    """A row of the file that was not stored, and why; `customers` are those that it may mean."""

    record: Record
    field: str
    reason: str
    message: str
    customers: tuple[str, ...] = ()

    @property
    def why(self) -> tuple[str, ...]:
        """What there is to say about it, in the order of `FAILURE_COLUMNS`."""
        named = "; ".join(self.customers)
        return str(self.record.number), self.field, self.reason, self.message, named


class _Writer(Protocol):
    def write(self, failed: Failed) -> None: ...
    def flush(self) -> None: ...


class _TableWriter:
    """Writes rows of a table as CSV: all their columns, and why they failed."""

    def __init__(self, stream: BinaryIO, header: Sequence[str]) -> None:
        # Rows that failed once before say why they did then.
        self._places = [place for place, name in enumerate(header) if name not in FAILURE_COLUMNS]
        known = [header[place] for place in self._places]
        self._csv = CsvWriter(stream, (*known, *FAILURE_COLUMNS))

    def write(self, failed: Failed) -> None:
        cells = failed.record.cells
        self._csv.write((*(cells[place] for place in self._places), *failed.why))

    def flush(self) -> None:
        self._csv.flush()


class _LineWriter:
    """Writes lines of JSON as they are, but for one more member that says why they failed.

    A line that is no object has no place for it.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, failed: Failed) -> None:
        line = failed.record.cells[0]
        names = (name.removeprefix(_PREFIX) for name in FAILURE_COLUMNS)
        why = dict(zip(names, failed.why, strict=True))
        members = _members(line)
        if members is not None:
            line = json.dumps({**members, FAILURE: why}, ensure_ascii=False)
        self._stream.write(f"{line}\n".encode("utf-8", "replace"))

    def flush(self) -> None:
        self._stream.flush()


def _members(line: str) -> dict[str, Any] | None:
    try:
        members = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return members if isinstance(members, dict) else None


class Failures:
    """The failures of one run of a job.

    The file has the rows as they were; it is written anew by each run, and is not held back until
    it is whole.
    """

    def __init__(self, path: str, header: Sequence[str] | None) -> None:
        """Take the header of a table, None where the file's lines are customers.

        Raises `InvalidArgument` where the file would be read again as another kind.
        """
        self.count = 0
        self.first: list[tuple[str, ...]] = []
        self._path = path
        self._header = header
        self._writer: _Writer | None = None
        self._stream: BinaryIO | None = None
        kind = kind_of(path)
        if header is None and kind != "jsonl" and Path(path).suffix:
            raise InvalidArgument("lines of JSON: name it .jsonl", field="--failures")
        if header is not None and kind != "csv":
            raise InvalidArgument("is written as CSV: name it .csv", field="--failures")

    def begin(self) -> None:
        """Open the file, once."""
        if not self._path or self._stream:
            return
        try:
            self._stream = private(self._path)
        except OSError as error:
            message = f"Cannot write {self._path}: {error.strerror}"
            raise InvalidArgument(message, field="--failures") from None
        if self._header is None:
            self._writer = _LineWriter(self._stream)
        else:
            self._writer = _TableWriter(self._stream, self._header)

    def add(self, failed: Failed) -> None:
        """Note one failure."""
        self.count += 1
        if len(self.first) < FAILURES_SHOWN:
            self.first.append(failed.why[:4])
        if self._writer:
            self._writer.write(failed)

    def flush(self) -> None:
        """Hand what there is to the system: the job may be ended at any moment."""
        if self._writer:
            self._writer.flush()

    def end(self) -> None:
        """Close the file."""
        self.flush()
        if self._stream:
            self._stream.close()


class KeptFailures:
    """The failures of a job that the server keeps, read along with the rows of the file."""

    def __init__(self, link: Link, job_id: str) -> None:
        self._link = link
        self._request = v1.ListImportFailuresRequest(job_id=job_id, page_size=PAGE_ROWS)
        self._each: Iterator[v1.RowFailure] | None = None
        self._next: v1.RowFailure | None = None

    def of(self, batch: Batch) -> list[v1.RowFailure]:
        """Return those of a batch that is later than the one before."""
        if self._each is None:
            self._request.after_row = batch.first_row - 1
            self._each = self._pages()
            self._next = next(self._each, None)
        found = []
        while self._next is not None and self._next.row < batch.first_row + batch.count:
            found.append(self._next)
            self._next = next(self._each, None)
        return found

    def _pages(self) -> Iterator[v1.RowFailure]:
        stub = v1.TransferServiceStub(self._link.channel)
        for page in self._link.pages(stub.ListImportFailures, self._request):
            yield from page.failures
