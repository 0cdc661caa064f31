"""Import jobs on the wire: looked at, listed with their failures, cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from namesake import v1
from service.errors import InvalidArgument
from service.identity.jobs import Job, Jobs, RowFailure
from service.server.edge import Context, caller
from service.server.pages import POSITION_LIMIT, Listing, decode_token, encode_token, page_rows
from service.server.wire import timestamp
from service.settings import Settings

TITLE_LIMIT_CHARS = 200

# What a stream that resumes a job may say anew.
_FREE = ("title", "total_rows")


class ImportJobs:
    """The methods of TransferService for import jobs; see transfer_service.proto."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def GetImport(  # noqa: N802
        self, request: v1.GetImportRequest, context: Context
    ) -> v1.GetImportResponse:
        """Return a job as it is."""
        jobs = caller().account.imports
        return v1.GetImportResponse(job=job_message(jobs, jobs.get(request.job_id)))

    async def ListImports(  # noqa: N802
        self, request: v1.ListImportsRequest, context: Context
    ) -> v1.ListImportsResponse:
        """List the account's jobs by id."""
        jobs = caller().account.imports
        rows = page_rows(request.page_size, self._settings)
        _, after = decode_token(request.page_token, Listing.JOBS)
        answer = v1.ListImportsResponse()
        size = 0
        for job in jobs.page(after, rows + 1):
            if len(answer.jobs) == rows or size >= self._settings.page_limit_bytes:
                answer.next_page_token = encode_token(Listing.JOBS, 0, after)
                break
            message = job_message(jobs, job)
            answer.jobs.append(message)
            size += message.ByteSize()
            after = job.id
        return answer

    async def ListImportFailures(  # noqa: N802
        self, request: v1.ListImportFailuresRequest, context: Context
    ) -> v1.ListImportFailuresResponse:
        """List a job's failures that are kept, by row."""
        rows = page_rows(request.page_size, self._settings)
        row, _ = decode_token(request.page_token, Listing.FAILURES)
        if request.after_row > POSITION_LIMIT:
            raise InvalidArgument(f"is at most {POSITION_LIMIT}", field="after_row")
        row = max(row, request.after_row)
        answer = v1.ListImportFailuresResponse()
        size = 0
        for failure in caller().account.imports.failures(request.job_id, row, rows + 1):
            if len(answer.failures) == rows or size >= self._settings.page_limit_bytes:
                answer.next_page_token = encode_token(Listing.FAILURES, row)
                break
            message = failure_message(failure)
            answer.failures.append(message)
            size += message.ByteSize()
            row = failure.row
        return answer

    async def CancelImport(  # noqa: N802
        self, request: v1.CancelImportRequest, context: Context
    ) -> v1.CancelImportResponse:
        """End a job for ever."""
        jobs = caller().account.imports
        return v1.CancelImportResponse(job=job_message(jobs, await jobs.cancel(request.job_id)))


def job_message(jobs: Jobs, job: Job) -> v1.ImportJob:
    """Return a job as the wire has it."""
    message = v1.ImportJob(
        settings=v1.ImportSettings.FromString(job.settings),
        state=cast(v1.ImportState.ValueType, int(jobs.state_of(job))),
        durable_batch=job.batch,
        counts=counts(job),
        failed_by_reason=[
            v1.ReasonCount(reason=reason, count=count)
            for reason, count in sorted(job.reasons.items())
        ],
        actor=job.actor,
        failures_kept=job.failures_kept,
    )
    message.settings.job_id = job.id
    if job.begin_us:
        message.create_time.CopyFrom(timestamp(job.begin_us))
    if job.change_us:
        message.update_time.CopyFrom(timestamp(job.change_us))
    return message


def counts(job: Job) -> v1.ImportCounts:
    """Return what became of a job's rows."""
    return v1.ImportCounts(
        rows=job.rows,
        created=job.created,
        updated=job.updated,
        unchanged=job.unchanged,
        failed=job.failed,
        skipped=job.skipped,
    )


def failure_message(failure: RowFailure) -> v1.RowFailure:
    """Return a failure as the wire has it."""
    row, field, reason, message, customers = failure
    return v1.RowFailure(row=row, field=field, reason=reason, message=message, customers=customers)


def check_title(title: str) -> None:
    """Refuse a title that is too long."""
    if len(title) > TITLE_LIMIT_CHARS:
        raise InvalidArgument(f"has at most {TITLE_LIMIT_CHARS} characters", field="settings.title")


def encoded(settings: v1.ImportSettings, limit: int) -> bytes:
    """Return settings as a job keeps them; what is added to each row has to fit into one."""
    stored = settings.SerializeToString(deterministic=True)
    if len(stored) > limit:
        raise InvalidArgument(f"{len(stored)} bytes, at most {limit} are taken", field="settings")
    return stored


def difference(given: v1.ImportSettings, begun: bytes) -> str:
    """Name the first setting by which rows become something else than with those of a job."""
    before, now = _deciding(v1.ImportSettings.FromString(begun)), _deciding(given)
    fields: Sequence[str] = [field.name for field in before.DESCRIPTOR.fields]
    return next((name for name in fields if getattr(before, name) != getattr(now, name)), "")


def _deciding(settings: v1.ImportSettings) -> v1.ImportSettings:
    """Return the settings that decide what rows become, defaults written out."""
    deciding = v1.ImportSettings()
    deciding.CopyFrom(settings)
    for name in _FREE:
        deciding.ClearField(name)  # type: ignore[arg-type]
    deciding.on_match = deciding.on_match or v1.ON_MATCH_UPDATE
    deciding.on_conflict = deciding.on_conflict or v1.ON_CONFLICT_FIRST
    return deciding
