"""Commands for import jobs: which there are, what became of their rows, cancel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Any

import typer
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from namesake import v1
from service.cli import show
from service.cli.link import Link, OutputOption, remote
from service.transfer.files import STANDARD_STREAM, CsvWriter, whole

PAGE_ROWS = 1_000
SHOWN_FAILURES = 50  # in a table; a file has all
FAILURES_HEADER = ("row", "field", "reason", "message", "customers")

JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="As `namesake jobs list` shows it.")
]


@remote
def list_jobs(link: Link) -> None:
    """List imports: those that are under way, that can be gone on with, and that were ended.

    Examples:
      namesake jobs list
      namesake jobs list --json | jq -r 'select(.state == "IMPORT_STATE_PAUSED").settings.jobId'
    """
    rows = []
    for job in _jobs(link):
        if link.as_json:
            show.json_line(job)
        else:
            tally = job.counts
            figures = (tally.created, tally.updated, tally.unchanged, tally.skipped, tally.failed)
            cells = (f"{figure:,}" for figure in figures)
            began = _when(job.create_time)
            title = job.settings.title
            rows.append((job.settings.job_id, title, _state(job), _rows(job), *cells, began))
    if not link.as_json:
        columns = ("job", "title", "state", "rows", "created", "updated", "unchanged", "skipped")
        show.table("Imports", (*columns, "failed", "began"), rows)


@remote
def show_job(link: Link, job: JobArgument) -> None:
    """Show what an import was begun with, how far it is, and why rows failed.

    Examples:
      namesake jobs show spring-fair
    """
    answer = link.call(_stub(link).GetImport, v1.GetImportRequest(job_id=job))
    _tell(link, answer.job)


@remote
def list_failures(
    link: Link,
    job: JobArgument,
    output: OutputOption = "",
) -> None:
    """Show which rows of an import failed, and why.

    The rows themselves are not kept: run the same `namesake import` again with --failures for a
    file of them.

    Examples:
      namesake jobs failures spring-fair
      namesake jobs failures spring-fair --output why.csv
    """
    found = _failures(link, job)
    if output:
        _write(link, found, output)
    elif link.as_json:
        for failure in found:
            show.json_line(failure)
    else:
        _show(list(islice(found, SHOWN_FAILURES + 1)))


@remote
def cancel_job(link: Link, job: JobArgument) -> None:
    """End an import for ever: what is stored stays, nothing more is taken.

    Examples:
      namesake jobs cancel spring-fair
    """
    answer = link.call(_stub(link).CancelImport, v1.CancelImportRequest(job_id=job))
    if link.as_json:
        show.json_line(answer.job)
    else:
        show.text(f"{job}: {_state(answer.job)}, {_rows(answer.job)} rows")


def _jobs(link: Link) -> Iterator[v1.ImportJob]:
    request = v1.ListImportsRequest(page_size=PAGE_ROWS)
    for page in link.pages(_stub(link).ListImports, request):
        yield from page.jobs


def _failures(link: Link, job_id: str) -> Iterator[v1.RowFailure]:
    request = v1.ListImportFailuresRequest(job_id=job_id, page_size=PAGE_ROWS)
    for page in link.pages(_stub(link).ListImportFailures, request):
        yield from page.failures


def _tell(link: Link, job: v1.ImportJob) -> None:
    if link.as_json:
        show.json_line(job)
        return
    facts = [
        ("job", job.settings.job_id),
        ("state", _state(job)),
        ("began", _when(job.create_time)),
        ("by", job.actor),
        ("last change", _when(job.update_time)),
        ("batches", f"{job.durable_batch:,}"),
        ("rows", _rows(job)),
    ]
    facts += [
        (name, f"{getattr(job.counts, name):,}")
        for name in ("created", "updated", "unchanged", "skipped", "failed")
    ]
    facts += list(_settings(job.settings))
    show.table("Import", ("", "value"), [(name, value) for name, value in facts if value])
    if job.failed_by_reason:
        reasons = [(one.reason, f"{one.count:,}") for one in job.failed_by_reason]
        show.table("Failed rows", ("reason", "rows"), reasons)
    if job.counts.failed > job.failures_kept:
        show.text(f"Why they failed is kept of {job.failures_kept:,} of them.")


def _settings(settings: v1.ImportSettings) -> Iterator[tuple[str, str]]:
    """Yield the settings that were given, as people name them."""
    for field, value in settings.ListFields():
        if field.name in ("job_id", "total_rows"):
            continue
        yield field.name.replace("_", " "), ", ".join(_words(field, value))


def _words(field: FieldDescriptor, value: Any) -> Iterator[str]:
    values: Iterable[Any] = (value,) if isinstance(value, str | int) else value
    for one in values:
        if field.enum_type is not None:
            known = field.enum_type.values_by_number.get(one)
            yield show.short(known.name).lower().replace("_", " ") if known else str(one)
        else:
            yield "yes" if one is True else str(one)


def _write(link: Link, found: Iterator[v1.RowFailure], output: str) -> None:
    count = 0
    with whole(output) as stream:
        writer = CsvWriter(stream, FAILURES_HEADER)
        for failure in found:
            writer.write(_cells(failure))
            count += 1
        writer.detach()
    if link.as_json and output != STANDARD_STREAM:
        show.json_line({"file": output, "failures": count})
    else:
        typer.echo(f"{count:,} failures", err=True)


def _show(found: list[v1.RowFailure]) -> None:
    if not found:
        show.text("No row failed of which it is kept why.")
        return
    rows = [_cells(failure) for failure in found[:SHOWN_FAILURES]]
    show.table("Failed rows", FAILURES_HEADER, rows)
    if len(found) > SHOWN_FAILURES:
        show.text(f"These are the first {SHOWN_FAILURES}; --output why.csv writes all.")


def _cells(failure: v1.RowFailure) -> tuple[str, ...]:
    named = "; ".join(failure.customers)
    return str(failure.row), failure.field, failure.reason, failure.message, named


def _state(job: v1.ImportJob) -> str:
    return show.short(v1.ImportState.Name(job.state)).lower()


def _rows(job: v1.ImportJob) -> str:
    """Return how many rows were looked at, and of how many if that is known."""
    total = job.settings.total_rows
    return f"{job.counts.rows:,}" + (f" of {total:,}" if total else "")


def _when(time: Timestamp) -> str:
    known = time.seconds  # jobs of older releases have no times
    return time.ToDatetime().isoformat(" ", "seconds") if known else ""


def _stub(link: Link) -> v1.TransferServiceStub:
    return v1.TransferServiceStub(link.channel)
