"""The client's side of an import: sends, takes acknowledgements, resumes, reports."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import grpc
from google.protobuf.json_format import MessageToDict

from namesake import v1
from service.cli import show
from service.cli.link import Link
from service.cli.outbox import Batch, Outbox
from service.cli.retry import Retry
from service.errors import InvalidArgument, NamesakeError
from service.transfer.files import CsvWriter, Record, Source, private

FAILURES_SHOWN = 10
FAILURE_COLUMNS = ("failure_row", "failure_field", "failure_reason", "failure_message")


class Failures:
    """Rows that failed in this run: the first ones to show, all in a file where one is named.

    The file is not held back until it is whole: an import that is ended in the middle goes on
    later, and adds to it.
    """

    def __init__(self, path: str, header: Sequence[str]) -> None:
        self.count = 0
        self.first: list[tuple[str, ...]] = []
        self._path = path
        self._header = tuple(header)
        self._writer: CsvWriter | None = None
        self._stream: BinaryIO | None = None

    def begin(self, *, resumed: bool) -> None:
        """Open the file, once; a job that is resumed adds to what it wrote before."""
        if not self._path or self._stream:
            return
        adding = resumed and Path(self._path).exists()
        try:
            self._stream = private(self._path, append=adding)
        except OSError as error:
            message = f"Cannot write {self._path}: {error.strerror}"
            raise InvalidArgument(message, field="--failures") from None
        header = () if adding else (*self._header, *FAILURE_COLUMNS)
        self._writer = CsvWriter(self._stream, header)

    def add(self, record: Record, where: str, reason: str, message: str) -> None:
        """Note one failure."""
        self.count += 1
        failure = (str(record.number), where, reason, message)
        if len(self.first) < FAILURES_SHOWN:
            self.first.append(failure)
        if self._writer:
            width = len(self._header)
            cells = (*record.cells, *[""] * width)[:width]
            self._writer.write((*cells, *failure))

    def flush(self) -> None:
        """Hand what there is to the system: the job may be ended at any moment."""
        if self._writer:
            self._writer.flush()

    def end(self) -> None:
        """Close the file."""
        if self._writer and self._stream:
            self._writer.detach()
            self._stream.close()


class ImportJob:
    """One import. Broken streams are opened again; nothing is applied twice."""

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
        self._refused += outbox.refused_before
        if outbox.fault:
            raise outbox.fault

    def _stream(self, outbox: Outbox, advance: Callable[[], None]) -> bool:
        """Open a stream and follow it; say whether it came to its end."""
        batches = outbox.open()
        stub = v1.TransferServiceStub(self._link.channel)
        responses = self._link.stream(stub.ImportCustomers, self._requests(batches))
        try:
            for response in responses:
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
        self, batches: Callable[[], Iterator[Batch]]
    ) -> Iterator[v1.ImportCustomersRequest]:
        yield v1.ImportCustomersRequest(settings=self._settings)
        for batch in batches():
            message = v1.ImportBatch(number=batch.number, customers=batch.customers)
            yield v1.ImportCustomersRequest(batch=message)

    def _take(self, outbox: Outbox, response: v1.ImportCustomersResponse) -> None:
        """Take one response; the first of a stream only says where the job stands."""
        self._counts.CopyFrom(response.counts)
        if self._rows_before is None:
            self._rows_before = int(response.counts.rows)
        self._failures.begin(resumed=response.durable_batch > 0)
        done = outbox.acknowledge(response.durable_batch)
        if done:
            self._retry.progressed()
        else:
            self._retry.reached()
        for batch in done:
            self._note_refused(batch)
        self._note_failures(done, response.failures)
        for found in response.findings:
            key = (
                "EMAIL" if found.channel == v1.CHANNEL_EMAIL else "PHONE",
                show.short(v1.Verdict.Name(found.verdict)),
                show.short(v1.Reason.Name(found.reason)),
            )
            self._findings[key] += found.count
        self._failures.flush()

    def _note_refused(self, batch: Batch) -> None:
        self._refused += len(batch.refused)
        for record, refused in batch.refused:
            self._failures.add(record, refused.field, refused.reason, refused.message)

    def _note_failures(self, done: Sequence[Batch], failures: Sequence[v1.RowFailure]) -> None:
        for failure in failures:
            for batch in done:
                place = failure.row - batch.first_row
                if 0 <= place < len(batch.origins):
                    record = batch.origins[place]
                    self._failures.add(record, failure.field, failure.reason, failure.message)

    def summarise(self) -> None:
        """Write what became of the rows."""
        if self._link.as_json:
            show.json_line(self._summary())
            return
        counts, rows = self._counts, int(self._counts.rows)
        sent = rows - (self._rows_before or 0)
        if not sent and self._rows_before:
            show.text("Everything was imported before; give another --job-id to do it again.")
        columns = ("rows", "created", "updated", "unchanged", "failed", "rows/s")
        figures = (rows + self._refused, counts.created, counts.updated, counts.unchanged)
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
