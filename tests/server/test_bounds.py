"""Answers have a bound: they are cut with a token, counted to a floor, or refused by their name."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import grpc
import pytest

from namesake import v1
from tests.conftest import Server, StartServer
from tests.server.client import Client, person, refusal

SETTINGS = {
    "NAMESAKE_ANSWER_LIMIT": str(64 << 10),
    "NAMESAKE_PAGE_LIMIT_ROWS": "60",
    "NAMESAKE_COUNT_BUDGET_ROWS": "1000",
    "NAMESAKE_COUNT_LIMIT_ROWS": "300",
}
SHARED_POINTS = 20
SHARERS = 200  # each has all of the points


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A caller of a server with low bounds, where many share many e-mails."""
    server = Server(tmp_path_factory.mktemp("bounds") / "data", (), SETTINGS).start()
    points = [f"shared{number}@x.example" for number in range(SHARED_POINTS)]
    with server.channel() as channel:
        client = Client(channel)
        rows = [person(*points, id=f"c{number}") for number in range(SHARERS)]
        client.import_all("crowd", rows, create_all=True)
        yield client
    server.kill()


def groups(client: Client, **asked: object) -> list[v1.PointDuplicates]:
    """List duplicates."""
    request = v1.ListDuplicatesRequest(**asked)  # type: ignore[arg-type]
    return list(client.call(client.duplicates.ListDuplicates, request).groups)


def test_all_groups_of_duplicates_together_are_one_page(crowd: Client) -> None:
    """However many points are shared; each goes on with its own token, to the last."""
    first = groups(crowd, id="c0", page_size=60)
    assert len(first) == SHARED_POINTS
    assert sum(len(group.customers) for group in first) <= 60
    assert {group.count for group in first} == {SHARERS - 1}
    seen = [one.id for one in first[7].customers]
    token = first[7].next_page_token
    while token:
        (group,) = groups(crowd, id="c0", page_size=60, page_token=token)
        assert group.field == first[7].field
        seen += [one.id for one in group.customers]
        token = group.next_page_token
    assert sorted(seen) == sorted(f"c{number}" for number in range(SHARERS))


def test_tokens_show_nobodys_address(crowd: Client) -> None:
    """They pass through logs and proxies."""
    for group in groups(crowd, id="c0"):
        padded = group.next_page_token + "=" * (-len(group.next_page_token) % 4)
        assert b"shared" not in base64.urlsafe_b64decode(padded)


def test_counting_for_many_stops_at_its_budget(crowd: Client) -> None:
    """Up to there counts are exact; then they are floors, and say so."""
    ids = [f"c{number}" for number in range(60)]
    request = v1.CountDuplicatesRequest(ids=ids)
    counts = crowd.call(crowd.duplicates.CountDuplicates, request).counts
    assert [count.id for count in counts] == ids
    exact = [count for count in counts if not count.count_is_floor]
    assert {count.count for count in exact} == {SHARERS - 1}
    assert 5 <= len(exact) <= 6
    floors = counts[len(exact) :]
    assert {count.count for count in floors} == {100}
    assert all(count.count_is_floor for count in floors)


def test_a_check_whose_answer_is_too_large_is_refused(crowd: Client) -> None:
    """Rather than sent to a client that cannot take it; half of it is answered."""
    query = v1.ContactQuery(phone="+1 800 234 5678")  # of no place: in all time zones of +1

    def check(count: int) -> int:
        request = v1.CheckContactsRequest(contacts=[query] * count)
        return len(crowd.call(crowd.validation.CheckContacts, request).results)

    assert check(50) == 50
    refused = refusal(lambda: check(500))
    expected = (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED", "contacts")
    assert refused.short == expected


def test_names_are_cut_in_lists_of_duplicates(crowd: Client) -> None:
    """A save is answered whatever the names of those who share its e-mail."""
    names = {"first_name": "x" * 9_000, "middle_name": "y" * 9_000}
    crowd.save(person("long@x.example", id="long", **names))
    (group,) = crowd.save(person("long@x.example")).duplicates
    (other,) = [one for one in group.customers if one.id == "long"]
    assert other.display_name == "x" * 200


def test_scans_that_find_nothing_end_their_messages(start_server: StartServer) -> None:
    """An export of active customers gets a token now and then where none is active."""
    server = start_server(NAMESAKE_EXPORT_BATCH_ROWS="10", NAMESAKE_SCAN_LIMIT_ROWS="10")
    with server.channel() as channel:
        client = Client(channel)
        archived = [
            person(id=f"a{number}", state=v1.CUSTOMER_STATE_ARCHIVED) for number in range(35)
        ]
        client.import_all("archived", [*archived, person(id="last")])
        answers = client.export(active_only=True)
        assert [len(answer.customers) for answer in answers] == [0, 0, 0, 1]
        assert all(answer.resume_token for answer in answers)
