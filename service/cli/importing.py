"""The client's side of an import: sends, takes acknowledgements, resumes, reports."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import grpc
from google.protobuf.json_format import MessageToDict

from namesake import v1
from service.cli import show
from service.cli.link import Link
from service.cli.outbox import Batch, Outbox
from service.cli.retry import Retry
from service.errors import InvalidArgument, NamesakeError
from service.transfer.columns import FAILURE_COLUMNS
from service.transfer.files import CsvWriter, Record, Source, private

FAILURES_SHOWN = 10
PAGE_ROWS = 1_000  # failures that are asked for at once


class Failed(NamedTuple):
    """A row of the file that was not stored, and why; `customers` are those that it may mean."""

    record: Record
    field: str
    reason: str
    message: str
    customers: tuple[str, ...] = ()


class Failures:
    """Rows that failed: the first ones to show, all in a file where one is named.

    The file has the rows as they were, to be corrected and imported again; it is written anew by
    each run of a job, and is not held back until it is whole.
    """

    def __init__(self, path: str, header: Sequence[str]) -> None:
        self.count = 0
        self.first: list[tuple[str, ...]] = []
        self._path = path
        # Rows that failed once before say why they did then.
        self._places = [place for place, name in enumerate(header) if name not in FAILURE_COLUMNS]
        self._header = tuple(header[place] for place in self._places)
        self._writer: CsvWriter | None = None
        self._stream: BinaryIO | None = None

    def begin(self) -> None:
        """Open the file, once."""
        if not self._path or self._stream:
            return
        try:
            self._stream = private(self._path)
        except OSError as error:
            message = f"Cannot write {self._path}: {error.strerror}"
            raise InvalidArgument(message, field="--failures") from None
        self._writer = CsvWriter(self._stream, (*self._header, *FAILURE_COLUMNS))

    def add(self, failed: Failed) -> None:
        """Note one failure."""
        self.count += 1
        why = (str(failed.record.number), failed.field, failed.reason, failed.message)
        if len(self.first) < FAILURES_SHOWN:
            self.first.append(why)
        if self._writer:
            cells = failed.record.cells
            known = [cells[place] if place < len(cells) else "" for place in self._places]
            self._writer.write((*known, *why, "; ".join(failed.customers)))

    def flush(self) -> None:
        """Hand what there is to the system: the job may be ended at any moment."""
        if self._writer:
            self._writer.flush()

    def end(self) -> None:
        """Close the file."""
        if self._writer and self._stream:
            self._writer.detach()
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
        while self._next is not None and self._next.row < batch.first_row + len(batch.origins):
            found.append(self._next)
            self._next = next(self._each, None)
        return found

    def _pages(self) -> Iterator[v1.RowFailure]:
        stub = v1.TransferServiceStub(self._link.channel)
        while True:
            page = self._link.call(stub.ListImportFailures, self._request)
            yield from page.failures
            self._request.page_token = page.next_page_token
            if not page.next_page_token:
                return


class ImportJob:
    """One import. Broken streams are opened again; nothing is applied twice, no failure lost."""

    def __init__(self, link: Link, settings: v1.ImportSettings, failures: Failures) -> None:
        self._link = link
        self._settings = settings
        self._failures = failures
        self._retry = Retry()
        self._counts = v1.ImportCounts()  # the server's, of the whole job
        self._refused = 0  # rows that could not be read and were not sent
        self._rows_before: int | None = None  # that were durable when this run began
        self._findings: Counter[tuple[str, str, str]] = Counter()
        self._seconds = 0.0

    @property
    def failed(self) -> int:
        """Rows of the job that are not stored, also of earlier runs."""
        return int(self._counts.failed) + self._refused

    def run(self, batches: Iterator[Batch], origin: Source) -> None:
        """Import everything; raises where the server refuses the job or stays away."""
        outbox = Outbox(batches)
        begun = time.monotonic()
        try:
            with show.progress("importing") as bar:
                task = bar.add_task("", total=origin.size or None, done=0)
                while not self._stream(
                    outbox,
                    lambda: bar.update(
                        task, completed=origin.position, done=int(self._counts.rows)
                    ),
                ):
                    pass
        finally:
            outbox.close()
            self._failures.end()
            self._seconds = time.monotonic() - begun
        if outbox.fault:
            raise outbox.fault

    def _stream(self, outbox: Outbox, advance: Callable[[], None]) -> bool:
        """Open a stream and follow it; say whether it came to its end."""
        batches = outbox.open()
        stub = v1.TransferServiceStub(self._link.channel)
        responses = self._link.stream(stub.ImportCustomers, self._requests(outbox, batches))
        try:
            for place, response in enumerate(responses):
                if place == 0:
                    self._catch_up(outbox, response, advance)
                self._take(outbox, response)
                advance()
        except grpc.RpcError as error:
            if self._settings.dry_run:  # nothing was kept that could be gone on with
                raise
            self._retry.wait_or_raise(error)
            return False
        finally:
            responses.cancel()
        if not outbox.done:
            raise NamesakeError("The server ended the import before everything was durable")
        return True

    def _requests(
        self, outbox: Outbox, batches: Callable[[], Iterator[Batch]]
    ) -> Iterator[v1.ImportCustomersRequest]:
        yield v1.ImportCustomersRequest(settings=self._settings)
        for batch in batches():
            message = v1.ImportBatch(number=batch.number, customers=batch.customers)
            yield v1.ImportCustomersRequest(batch=message)
        if outbox.whole:  # one whose file broke off can be gone on with
            yield v1.ImportCustomersRequest(end=v1.ImportEnd())

    def _catch_up(
        self, outbox: Outbox, response: v1.ImportCustomersResponse, advance: Callable[[], None]
    ) -> None:
        """Note what became of batches whose answers this run did not get.

        The first response of a stream only says where the job stands.
        """
        self._retry.reached()
        if self._rows_before is None:
            self._rows_before = int(response.counts.rows)
            self._failures.begin()
        kept = KeptFailures(self._link, self._settings.job_id)
        for batch in outbox.catch_up(response.durable_batch):
            self._note(batch, kept.of(batch))
            self._retry.progressed()
            advance()

    def _take(self, outbox: Outbox, response: v1.ImportCustomersResponse) -> None:
        """Take what one response says."""
        self._counts.CopyFrom(response.counts)
        done = outbox.acknowledge(response.durable_batch)
        for batch in done:
            self._retry.progressed()
            self._note(batch, response.failures)
        for found in response.findings:
            key = (
                "EMAIL" if found.channel == v1.CHANNEL_EMAIL else "PHONE",
                show.short(v1.Verdict.Name(found.verdict)),
                show.short(v1.Reason.Name(found.reason)),
            )
            self._findings[key] += found.count
        self._failures.flush()

    def _note(self, batch: Batch, failures: Iterable[v1.RowFailure]) -> None:
        """Note the rows of a batch that failed here or there, in the order of the file."""
        self._refused += len(batch.refused)
        failed = [
            Failed(record, refused.field, refused.reason, refused.message)
            for record, refused in batch.refused
        ]
        for one in failures:
            place = one.row - batch.first_row
            if 0 <= place < len(batch.origins):
                record, customers = batch.origins[place], tuple(one.customers)
                failed.append(Failed(record, one.field, one.reason, one.message, customers))
        for row in sorted(failed, key=lambda row: row.record.number):
            self._failures.add(row)

    def summarise(self) -> None:
        """Write what became of the rows."""
        if self._link.as_json:
            show.json_line(self._summary())
            return
        counts, rows = self._counts, int(self._counts.rows)
        sent = rows - (self._rows_before or 0)
        if not sent and self._rows_before:
            show.text("Everything was imported before; give another --job-id to do it again.")
        columns = ("rows", "created", "updated", "unchanged", "skipped", "failed", "rows/s")
        figures = (
            rows + self._refused,
            counts.created,
            counts.updated,
            counts.unchanged,
            counts.skipped,
        )
        pace = round(sent / self._seconds) if self._seconds else 0
        title = "Would be imported" if self._settings.dry_run else "Imported"
        cells = (f"{figure:,}" for figure in (*figures, self.failed, pace))
        show.table(f"{title} (job {self._settings.job_id})", columns, [tuple(cells)])
        if self._findings:
            found = [(*key, f"{count:,}") for key, count in self._findings.most_common()]
            show.table("Findings", ("channel", "verdict", "reason", "count"), found)
        if self._failures.first:
            title = f"Failed rows (the first {len(self._failures.first)} of {self.failed:,})"
            show.table(title, ("row", "field", "reason", "message"), self._failures.first)
        if unlisted := self.failed - self._failures.count:
            show.text(f"Of {unlisted:,} more the server did not keep why they failed.")

    def _summary(self) -> dict[str, object]:
        counts = MessageToDict(self._counts, always_print_fields_with_no_presence=True)
        return {
            "jobId": self._settings.job_id,
            # Numbers, not strings: no job has 2**53 rows.
            "counts": {name: int(value) for name, value in counts.items()},
            "refused": self._refused,
            "seconds": round(self._seconds, 3),
            "findings": [
                {"channel": channel, "verdict": verdict, "reason": reason, "count": count}
                for (channel, verdict, reason), count in self._findings.most_common()
            ],
            "failures": [
                dict(zip(("row", "field", "reason", "message"), failure, strict=True))
                for failure in self._failures.first
            ],
        }
