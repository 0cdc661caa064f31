"""The client's side of an import: sends, takes acknowledgements, resumes, reports."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import grpc
from google.protobuf.json_format import MessageToDict

from namesake import v1
from service.cli import show
from service.cli.batches import Batch
from service.cli.failures import Failed, Failures, KeptFailures
from service.cli.link import Link
from service.cli.outbox import Outbox
from service.cli.retry import Retry
from service.errors import NamesakeError


class ImportJob:
    """One import. Broken streams are opened again; nothing is applied twice, no failure lost."""

    def __init__(self, link: Link, settings: v1.ImportSettings, failures: Failures) -> None:
        self._link = link
        self._settings = settings
        self._failures = failures
        self._retry = Retry()
        self._counts = v1.ImportCounts()  # the server's, of the whole job
        self._refused = 0  # rows that could not be read and were not sent
        self._position = 0  # in the file, up to which all is durable
        self._rows_before: int | None = None  # that were durable when this run began
        self._findings: Counter[tuple[str, str, str]] = Counter()
        self._seconds = 0.0

    @property
    def failed(self) -> int:
        """Rows of the job that are not stored, also of earlier runs."""
        return int(self._counts.failed) + self._refused

    def run(self, batches: Iterator[Batch], size: int) -> None:
        """Import everything; raises where the server refuses the job or stays away.

        `size` is that of the file, 0 where it is not known.
        """
        outbox = Outbox(batches)
        begun = time.monotonic()
        try:
            with show.progress("importing", with_rate=True) as bar:
                task = bar.add_task("", total=size or None, done=0)
                while not self._stream(
                    outbox,
                    lambda: bar.update(task, completed=self._position, done=int(self._counts.rows)),
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
            yield batch.message()
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
        self._position = batch.position
        self._refused += len(batch.refused)
        failed = [
            Failed(record, refused.field, refused.reason, refused.message)
            for record, refused in batch.refused
        ]
        for one in failures:
            place = one.row - batch.first_row
            if 0 <= place < batch.count:
                record, customers = batch.origin(place), tuple(one.customers)
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
