"""Import jobs: their states, who may go on with them, what they keep of rows that failed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from namesake import v1
from tests.conftest import Server, StartServer, wait_until
from tests.server.client import Client, numbered, opening, person, refusal
from tests.server.test_transfer import Stream, people

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
PRECONDITION, ABORTED = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ABORTED
RUNNING, PAUSED = v1.IMPORT_STATE_RUNNING, v1.IMPORT_STATE_PAUSED
DONE, CANCELLED = v1.IMPORT_STATE_DONE, v1.IMPORT_STATE_CANCELLED
END = v1.ImportCustomersRequest(end=v1.ImportEnd())


def finished(client: Client, job_id: str, *batches: list[v1.Customer], **settings: Any) -> None:
    """Import a job to its end."""
    list(client.import_stream([opening(job_id, **settings), *numbered(batches), END]))


def bad(count: int = 1) -> list[v1.Customer]:
    """Return rows that fail."""
    return [person(last_name="") for _ in range(count)]


# States


def test_a_job_tells_where_it_stands(client: Client) -> None:
    """RUNNING while a stream is under way, PAUSED without one, DONE after its end."""
    importer = client.acting("importer")
    stream = Stream(importer, "job", title="people.csv", total_rows=5, tags=["t"])
    begun = client.job("job")
    assert (begun.state, begun.durable_batch, begun.actor) == (RUNNING, 0, "importer")
    assert begun.settings == opening("job", title="people.csv", total_rows=5, tags=["t"]).settings
    stream.send(1, [*people(2), *bad()])
    next(stream.answers)
    under_way = client.job("job")
    assert (under_way.state, under_way.durable_batch) == (RUNNING, 1)
    assert under_way.counts == v1.ImportCounts(rows=3, created=2, failed=1)
    assert list(under_way.failed_by_reason) == [v1.ReasonCount(reason="INVALID_ARGUMENT", count=1)]
    assert under_way.failures_kept == 1
    assert under_way.create_time.ToNanoseconds() == begun.create_time.ToNanoseconds()
    assert under_way.update_time.ToNanoseconds() > begun.update_time.ToNanoseconds()
    stream.close()
    wait_until(lambda: client.job("job").state == PAUSED)
    again = Stream(client.acting("another"), "job", title="renamed.csv", tags=["t"])
    assert again.first.durable_batch == 1
    assert client.job("job").state == RUNNING
    again.end()
    done = client.job("job")
    assert (done.state, done.counts, done.actor) == (DONE, under_way.counts, "importer")
    assert (done.settings.title, done.settings.total_rows) == ("renamed.csv", 0)


def test_nothing_is_known_of_jobs_that_never_were(client: Client) -> None:
    """Trials are none."""
    Stream(client, "trial", dry_run=True).end()
    calls: list[Callable[[str], object]] = [
        client.job,
        client.failures,
        lambda job_id: client.call(
            client.transfer.CancelImport, v1.CancelImportRequest(job_id=job_id)
        ),
    ]
    for id in ("trial", "", "x" * 1_000, "a/b", "\0"):
        for call in calls:
            refused = refusal(lambda: call(id))  # noqa: B023
            assert refused.short == (NOT_FOUND, "NOT_FOUND", "job_id")
    assert client.jobs() == []


def test_a_job_that_is_done_is_opened_again_and_takes_no_more(client: Client) -> None:
    """Whoever lost the last answer may ask for it; what is new needs another job."""
    finished(client, "job", people(2, "a"), people(2, "b"))
    again = Stream(client, "job")
    assert (again.first.durable_batch, again.first.counts.created) == (2, 4)
    assert client.job("job").state == DONE
    again.send(2, people(2, "b"))
    assert [answer.durable_batch for answer in again.end()] == [2]
    beyond = Stream(client, "job")
    beyond.send(3, people(2, "c"))
    refused = refusal(lambda: next(beyond.answers))
    assert (refused.code, refused.reason) == (PRECONDITION, "IMPORT_DONE")
    assert client.job("job").state == DONE
    assert client.stats().customers == 4


def test_a_job_with_a_missing_batch_is_not_done(client: Client) -> None:
    """Its end counts only after all that came before it."""
    requests = [opening("job"), *numbered([people(1)]), *numbered([people(1, "c")], 3), END]
    assert refusal(lambda: list(client.import_stream(requests))).code == INVALID
    wait_until(lambda: client.job("job").state == PAUSED)
    assert client.job("job").durable_batch == 1


def test_a_cancelled_job_ends_its_stream_for_ever(client: Client) -> None:
    """Also one that is quiet; what is durable stays."""
    stream = Stream(client, "job")
    stream.send(1, people(2))
    next(stream.answers)
    request = v1.CancelImportRequest(job_id="job")
    answer = client.call(client.transfer.CancelImport, request)
    assert (answer.job.state, answer.job.durable_batch) == (CANCELLED, 1)
    for broken in (lambda: next(stream.answers), lambda: Stream(client, "job")):
        refused = refusal(broken)
        assert (refused.code, refused.reason) == (PRECONDITION, "IMPORT_CANCELLED")
    assert client.job("job").state == CANCELLED
    assert client.stats().customers == 2
    finished(client, "done", people(1, "d"))
    answer = client.call(client.transfer.CancelImport, v1.CancelImportRequest(job_id="done"))
    assert answer.job.state == DONE


def test_a_batch_that_is_on_its_way_when_its_job_is_cancelled_is_not_stored(
    client: Client,
) -> None:
    """Each batch is checked in its own transaction, not only once a second."""
    stream = Stream(client, "job")
    client.call(client.transfer.CancelImport, v1.CancelImportRequest(job_id="job"))
    stream.send(1, people(2))
    assert refusal(lambda: next(stream.answers)).reason == "IMPORT_CANCELLED"
    assert client.stats().customers == 0


@pytest.mark.parametrize("quiet", [True, False])
def test_a_newer_stream_takes_over(client: Client, quiet: bool) -> None:
    """The older ends, with its next batch or a moment later, and doubles nothing."""
    old = Stream(client, "job")
    old.send(1, people(2, "a"))
    next(old.answers)
    new = Stream(client, "job")
    assert new.first.durable_batch == 1
    if not quiet:
        old.send(2, people(2, "b"))
    refused = refusal(lambda: next(old.answers))
    assert (refused.code, refused.reason) == (ABORTED, "IMPORT_TAKEN_OVER")
    assert client.job("job").state == RUNNING  # whoever went did not take the other's lock along
    new.send(2, people(2, "b"))
    (answer,) = new.end()
    assert (answer.durable_batch, answer.counts.created) == (2, 4)
    assert client.stats().customers == 4


def test_a_job_whose_server_died_is_paused(server: Server) -> None:
    """Nobody has to clear up."""
    with server.channel() as channel:
        client = Client(channel)
        stream = Stream(client, "job")
        stream.send(1, people(2))
        next(stream.answers)
        assert client.job("job").state == RUNNING
        server.kill()
    server.start()
    with server.channel() as channel:
        client = Client(channel)
        job = client.job("job")
        assert (job.state, job.durable_batch, job.counts.created) == (PAUSED, 1, 2)
        again = Stream(client, "job")
        assert client.job("job").state == RUNNING
        again.end()
        assert client.job("job").state == DONE
    locks = server.data / "default" / "imports"
    wait_until(lambda: not list(locks.iterdir()))


# Settings


DECIDING: list[dict[str, Any]] = [
    {"match_order": [v1.MATCH_BY_EMAIL]},
    {"create_all": True},
    {"source": "fair"},
    {"tags": ["t"]},
    {"campaign": "spring"},
    {"groups": ["g"]},
    {"default_region": "DE"},
    {"on_match": v1.ON_MATCH_FILL},
    {"on_conflict": v1.ON_CONFLICT_REFUSE},
]


def test_a_job_goes_on_as_it_was_begun(client: Client) -> None:
    """What decides what rows become is the same for all of them; the first batch settles it."""
    Stream(client, "job", source="typo").close()
    client.import_all("job", people(1), source="")  # nothing was durable
    for changed in DECIDING:
        ((name, _),) = changed.items()
        refused = refusal(lambda: Stream(client, "job", **changed))  # noqa: B023
        assert refused.short == (INVALID, "INVALID_ARGUMENT", f"settings.{name}")
    said = {"on_match": v1.ON_MATCH_UPDATE, "on_conflict": v1.ON_CONFLICT_FIRST}
    assert Stream(client, "job", title="t", total_rows=7, **said).first.durable_batch == 1
    known = {field.name for field in v1.ImportSettings.DESCRIPTOR.fields}
    tried = {name for changed in DECIDING for name in changed}
    assert known - tried == {"job_id", "title", "total_rows", "dry_run"}


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"title": "x" * 201}, "settings.title"),
        ({"on_match": 4}, "settings.on_match"),
        ({"on_conflict": 3}, "settings.on_conflict"),
        ({"tags": [f"{n}{'x' * 999}" for n in range(70)]}, "settings"),
    ],
)
def test_bad_settings_are_refused(shared: Client, settings: dict[str, Any], field: str) -> None:
    """Before there is a job."""
    refused = refusal(lambda: Stream(shared, "refused", **settings))
    assert refused.short == (INVALID, "INVALID_ARGUMENT", field)
    assert refusal(lambda: shared.job("refused")).code == NOT_FOUND


# What meets a customer


def meeting(client: Client, **settings: Any) -> tuple[v1.ImportCounts, v1.Customer, v1.Customer]:
    """Import a row for each of two customers, found by e-mail and by id; return what they are."""
    client.save(person("a@x.example", id="by-email", stage="old", tags=["a"]))
    client.save(person(id="by-id", stage="old", tags=["a"]))
    more: dict[str, Any] = {"stage": "new", "owner": "me", "tags": ["b"]}
    rows = [person("a@x.example", **more), person(id="by-id", **more)]
    *_, answer = client.import_all("job", rows, groups=["g"], **settings)
    return answer.counts, client.get("by-email"), client.get("by-id")


def test_blanks_alone_are_filled(client: Client) -> None:
    """What the customer has stays, lists are united; whichever way it was found."""
    tally, *cards = meeting(client, on_match=v1.ON_MATCH_FILL)
    assert tally == v1.ImportCounts(rows=2, updated=2)
    for card in cards:
        assert (card.stage, card.owner) == ("old", "me")
        assert (list(card.tags), list(card.groups)) == (["a", "b"], ["g"])


def test_known_customers_are_skipped(client: Client) -> None:
    """Nothing of them changes; the job counts them, and new ones are created."""
    tally, *cards = meeting(client, on_match=v1.ON_MATCH_SKIP)
    assert tally == v1.ImportCounts(rows=2, skipped=2)
    for card in cards:
        assert (card.stage, card.owner, list(card.tags)) == ("old", "", ["a"])
        assert not card.groups
    assert client.stats().sequence == 2
    *_, answer = client.import_all("more", [person("b@x.example")], on_match=v1.ON_MATCH_SKIP)
    assert answer.counts == v1.ImportCounts(rows=1, created=1)
    assert client.job("job").counts.skipped == 2


def test_a_trial_counts_what_would_be_skipped(client: Client) -> None:
    """As the import itself does."""
    client.save(person("a@x.example"))
    rows = [person("a@x.example"), person("b@x.example")]
    *_, answer = client.import_all("t", rows, on_match=v1.ON_MATCH_SKIP, dry_run=True)
    assert answer.counts == v1.ImportCounts(rows=2, created=1, skipped=1)


def test_a_row_that_may_mean_several_is_refused(client: Client) -> None:
    """Behind one key or behind several; not where all keys lead to one, or an id says which."""
    client.save(person("a@x.example", "both@x.example", id="a"))
    client.save(person("b@x.example", "both@x.example", "+442079460018", id="b"))
    rows = [
        person("a@x.example", "b@x.example"),
        person("both@x.example"),
        person("b@x.example", "+442079460018", stage="one"),
        person("both@x.example", id="a", stage="named"),
        person("both@x.example", id="new"),
        person("a@x.example", "new@x.example", stage="one"),
    ]
    *_, answer = client.import_all("job", rows, on_conflict=v1.ON_CONFLICT_REFUSE)
    assert answer.counts == v1.ImportCounts(rows=6, created=1, updated=3, failed=2)
    told = [(f.row, f.field, f.reason, list(f.customers)) for f in answer.failures]
    assert told == [
        (1, "customer", "DUPLICATES_AMBIGUOUS", ["a", "b"]),
        (2, "customer", "DUPLICATES_AMBIGUOUS", ["a", "b"]),
    ]
    assert client.failures("job") == list(answer.failures)
    *_, answer = client.import_all("first", rows[:2])
    assert answer.counts.failed == 0


def test_of_very_many_five_are_named(client: Client) -> None:
    """The oldest."""
    for number in range(7):
        client.save(person("a@x.example", id=f"c{number}"))
    order = [v1.MATCH_BY_EMAIL]
    *_, answer = client.import_all(
        "job", [person("a@x.example")], on_conflict=v1.ON_CONFLICT_REFUSE, match_order=order
    )
    assert list(answer.failures[0].customers) == [f"c{number}" for number in range(5)]


# Failures


def test_failures_are_kept_as_they_were_told(client: Client) -> None:
    """By page, from the start or after a row, also when the job is done."""
    batches = [[*people(2, "a"), *bad(3)], people(4, "b"), [*bad(2), person(id="a1", etag="z")]]
    answers = client.import_all("job", *batches)
    told = [failure for answer in answers for failure in answer.failures]
    assert [failure.row for failure in told] == [3, 4, 5, 10, 11, 12]
    for size in (0, 1, 2, 3, 5, 6, 1_000):
        assert client.failures("job", size) == told
    for row in range(14):
        expected = [failure for failure in told if failure.row > row]
        assert client.failures("job", 2, after_row=row) == expected
    finished(client, "job", *batches)
    assert client.failures("job") == told
    job = client.job("job")
    reasons = {one.reason: one.count for one in job.failed_by_reason}
    assert reasons == {"INVALID_ARGUMENT": 5, "ETAG_MISMATCH": 1}
    assert sum(reasons.values()) == job.counts.failed == job.failures_kept


def test_a_page_of_failures_has_its_own_tokens(client: Client) -> None:
    """And a row has 64 bits."""
    finished(client, "job", bad(2))
    for field, terms in (("page_token", {"page_token": "x"}), ("after_row", {"after_row": -1})):
        asked = {name: (1 << 64) - 1 if value == -1 else value for name, value in terms.items()}
        request = v1.ListImportFailuresRequest(job_id="job", **asked)  # type: ignore[arg-type]
        refused = refusal(lambda: client.call(client.transfer.ListImportFailures, request))  # noqa: B023
        assert refused.short == (INVALID, "INVALID_ARGUMENT", field)


def test_more_failures_than_are_kept_are_counted(start_server: StartServer) -> None:
    """And the job says how many those are."""
    server = start_server(NAMESAKE_IMPORT_FAILURES_KEPT="5")
    with server.channel() as channel:
        client = Client(channel)
        answers = client.import_all("job", bad(3), bad(4), bad(2))
        assert [len(answer.failures) for answer in answers] == [0, 3, 4, 2]
        job = client.job("job")
        assert (job.counts.failed, job.failures_kept) == (9, 5)
        assert [failure.row for failure in client.failures("job")] == [1, 2, 3, 4, 5]


# What is remembered


def test_jobs_are_listed_by_id(client: Client) -> None:
    """Page by page."""
    for id in ("b", "a.1", "a-1", "a_1", "a", "c"):
        finished(client, id, bad())
    expected = ["a", "a-1", "a.1", "a_1", "b", "c"]
    for size in (0, 1, 4, 6):
        assert [job.settings.job_id for job in client.jobs(size)] == expected
    long = v1.ListImportsRequest(page_token="CwAAAAAAAAAA" + "eHh4" * 200)
    assert refusal(lambda: client.call(client.transfer.ListImports, long)).code == INVALID


def test_the_oldest_of_those_that_ended_are_forgotten(start_server: StartServer) -> None:
    """With their failures; those that can be gone on with stay."""
    server = start_server(NAMESAKE_IMPORTS_KEPT="2")
    with server.channel() as channel:
        client = Client(channel)
        client.import_all("paused", people(1))
        for number in range(4):
            finished(client, f"done{number}", *([bad()] * 45))
        Stream(client, "empty").close()
        wait_until(lambda: client.job("empty").state == PAUSED)
        stream = Stream(client, "last")
        wait_until(lambda: len(client.jobs()) == 4)
        kept = [job.settings.job_id for job in client.jobs()]
        assert kept == ["done3", "empty", "last", "paused"]
        assert len(client.failures("done3")) == 45
        stream.send(1, people(1, "x"))
        stream.end()
        Stream(client, "done0").end()  # begins anew
        assert client.failures("done0") == []
        assert client.faults() == []


# Several at once


def test_two_imports_at_once_share_the_writer(client: Client) -> None:
    """When one of two equal ones is through, the other is not far behind."""
    batches, size = 40, 100
    streams = [Stream(client, name) for name in ("one", "two")]
    acknowledged = [0, 0]
    at_end: list[tuple[int, int]] = []
    start = threading.Barrier(2)

    def follow(place: int) -> None:
        for number in range(1, batches + 1):
            streams[place].send(number, people(size, f"s{place}-{number}-"))
        start.wait()
        for answer in streams[place].answers:
            acknowledged[place] = answer.counts.rows
            if answer.durable_batch == batches:
                at_end.append((acknowledged[0], acknowledged[1]))
                streams[place].break_off()
                return

    threads = [threading.Thread(target=follow, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert max(at_end[0]) == batches * size
    assert min(at_end[0]) >= batches * size // 3
