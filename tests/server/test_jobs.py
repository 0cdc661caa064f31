"""Import jobs as they are stored."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.prepare import match_key
from service.errors import FormatMismatch, ImportTakenOver, NamesakeError, StorageFault
from service.identity.jobs import Job, Jobs, State, decode, encode
from service.index import Decision, Index, PutOperation
from service.settings import Settings

NUMBER = st.integers(0, (1 << 64) - 1)
JOBS = st.builds(
    Job,
    id=st.just("job"),
    state=st.sampled_from(State),
    **{one.name: NUMBER for one in fields(Job) if one.type == "int"},
    actor=st.text(st.characters(codec="utf-8"), max_size=128),
    settings=st.binary(max_size=300),
    reasons=st.dictionaries(st.text("ABC_", min_size=1), NUMBER, max_size=5),
)
VERSION_1 = struct.Struct(">B6Q")  # as it was released: batch, rows and their outcomes


@given(JOBS)
def test_a_job_is_read_as_it_was_written(job: Job) -> None:
    """Every number, the settings byte by byte, whoever began it."""
    assert decode("job", encode(job)) == job


def test_jobs_of_the_first_release_are_read() -> None:
    """They can be gone on with; what they did not note is not known."""
    stored = VERSION_1.pack(1, 7, 700, 500, 100, 60, 40)
    assert decode("job", stored) == Job(
        "job", State.PAUSED, batch=7, rows=700, created=500, updated=100, unchanged=60, failed=40
    )


@given(JOBS)
def test_the_first_release_does_not_take_a_job_for_one_of_its_own(job: Job) -> None:
    """It unpacks whole values, of its own size."""
    with pytest.raises(struct.error):
        VERSION_1.unpack(encode(job))


@given(JOBS, st.data())
def test_a_job_that_is_cut_short_is_damaged(job: Job, data: st.DataObject) -> None:
    """At whatever place."""
    stored = encode(job)
    with pytest.raises(NamesakeError):
        decode("job", stored[: data.draw(st.integers(0, len(stored) - 1))])


@pytest.mark.parametrize("stored", [b"", b"\0" * 49, b"\3" + encode(Job("job"))[1:]])
def test_jobs_of_other_releases_are_refused(stored: bytes) -> None:
    """A version from the future is not guessed at."""
    with pytest.raises(FormatMismatch):
        decode("job", stored)


def test_a_state_that_is_none_is_damage() -> None:
    """As is a value that is longer than it says."""
    stored = bytearray(encode(Job("job")))
    stored[1] = 9
    for damaged in (bytes(stored), encode(Job("job")) + b"}", VERSION_1.pack(1, *range(6)) + b"x"):
        with pytest.raises(StorageFault):
            decode("job", damaged)


@asynccontextmanager
async def account(folder: Path) -> AsyncIterator[tuple[Index, Jobs]]:
    """Open an account's index and its jobs."""
    settings = Settings(data=folder, map_size=1 << 28)
    index = Index.open(folder / "default", settings, match_key)
    jobs = Jobs(index, settings)
    try:
        yield index, jobs
    finally:
        await jobs.close()
        await index.close()


def no_difference(_begun: bytes) -> str:
    """Say of any settings that they are the same."""
    return ""


async def test_a_job_of_the_first_release_goes_on_as_one_of_this(tmp_path: Path) -> None:
    """It is at the batch where it was, and has whoever goes on with it for its own."""
    stored = VERSION_1.pack(1, 7, 700, 500, 100, 60, 40)
    async with account(tmp_path) as (index, jobs):
        await index.submit([lambda _view: Decision(None, (PutOperation("import/old", stored),))])
        assert jobs.state_of(jobs.get("old")) is State.PAUSED
        stream = await jobs.open("old", b"settings", "importer", no_difference)
        job = jobs.get("old")
        assert (job.batch, job.failed, job.failures_kept) == (7, 40, 0)
        assert (job.settings, job.actor, job.begin_us) == (b"settings", "importer", 0)
        assert jobs.state_of(job) is State.RUNNING
        assert job.awaits(8, stream.number)
        await stream.end()
        stream.close()
        assert jobs.state_of(jobs.get("old")) is State.DONE


async def test_a_stream_that_was_taken_over_neither_ends_the_job_nor_frees_it(
    tmp_path: Path,
) -> None:
    """The newer one has a lock of its own."""
    async with account(tmp_path) as (_, jobs):
        older = await jobs.open("job", b"", "importer", no_difference)
        newer = await jobs.open("job", b"", "importer", no_difference)
        with pytest.raises(ImportTakenOver):
            await older.end()
        with pytest.raises(ImportTakenOver):
            jobs.get("job").awaits(1, older.number)
        older.close()
        assert jobs.state_of(jobs.get("job")) is State.RUNNING
        newer.close()
        assert jobs.state_of(jobs.get("job")) is State.PAUSED
