"""Scans of an account: who is grouped, what is listed, what is left behind."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import grpc
import pytest

from namesake import v1
from tests.conftest import Server, StartServer
from tests.server.client import Client, refusal
from tests.server.long_work import Work, held

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND

FIRST = ("Adaline", "Barnaby", "Clementine", "Desmond", "Evangeline", "Ferdinand", "Gwendolyn")
LAST = ("Lovelace", "Fitzgerald", "Montgomery", "Abernathy", "Kowalczyk", "Ødegaard", "Quispe")


def card(number: int, id: str, **changes: Any) -> v1.Customer:
    """Return a card of one of many different people; the same number is the same person."""
    facts: dict[str, Any] = {
        "first_name": FIRST[number % 7],
        "last_name": LAST[number // 7 % 7],
        "birth_date": {"year": 1940 + number, "month": 1 + number % 12, "day": 1 + number % 28},
        "emails": [v1.EmailAddress(value=f"{FIRST[number % 7]}.{number}@example.org")],
        "addresses": [v1.PostalAddress(lines=[f"{number + 3} Elm Road"], city="Leeds")],
    }
    return v1.Customer(id=id, **{**facts, **changes})


def typo(name: str) -> str:
    """Swap two letters in the middle."""
    return f"{name[:3]}{name[4]}{name[3]}{name[5:]}"


def account(client: Client) -> set[frozenset[str]]:
    """Fill an account with 30 people, some of them twice or three times; return who is who."""
    truth = set()
    cards = []
    for number in range(30):
        ids = [f"p{number}-{copy}" for copy in range(1 + number % 3)]
        name = FIRST[number % 7]
        versions: list[dict[str, Any]] = [
            {}, {"first_name": typo(name), "addresses": []}, {"last_name": "", "company_name": ""},
        ]  # fmt: skip
        versions[2] = {"first_name": name[0], "last_name": LAST[number // 7 % 7]}
        cards += [card(number, id, **v) for id, v in zip(ids, versions, strict=False)]
        if len(ids) > 1:
            truth.add(frozenset(ids))
    client.import_all("account", cards)
    return truth


def company(id: str, name: str, **facts: Any) -> v1.Customer:
    """Return a company's card."""
    return v1.Customer(id=id, kind=v1.CUSTOMER_KIND_COMPANY, company_name=name, **facts)


@pytest.fixture
def work(client: Client) -> Work:
    """Operations of an account that only this test has."""
    return Work(client)


def test_the_groups_are_who_is_who(client: Client, work: Work) -> None:
    """Each of them whole, with names, sure ones first; what was counted is right."""
    truth = account(client)
    summary = work.scanned()
    found = work.groups()
    assert {frozenset(m.id for m in group.members) for group in found} == truth
    assert (summary.customers, summary.groups) == (60, len(truth))
    assert summary.grouped_customers == sum(map(len, truth))
    assert summary.compared_pairs >= sum(len([*combinations(g, 2)]) for g in truth)
    probabilities = [group.least_probability for group in found]
    assert probabilities == sorted(probabilities, reverse=True)
    for group in found:
        assert [m.id for m in group.members] == sorted(m.id for m in group.members)
        assert group.members[0].state == v1.CUSTOMER_STATE_ACTIVE
        number = int(group.members[0].id[1:].split("-")[0])
        assert group.members[0].display_name == f"{FIRST[number % 7]} {LAST[number // 7 % 7]}"
        expected = (
            v1.MATCH_ACTION_SAME if group.least_probability >= 0.99 else v1.MATCH_ACTION_REVIEW
        )
        assert group.action == expected


def test_a_higher_threshold_groups_fewer(client: Client, work: Work) -> None:
    """Only what is as sure as was asked for."""
    account(client)
    work.scanned()
    every = work.groups()
    least = every[len(every) // 2].least_probability
    sure = {frozenset(m.id for m in g.members) for g in every if g.least_probability > least}
    work.scanned(least_probability=min(least, 0.9999999))
    assert sure <= work.grouped()
    assert all(group.least_probability >= least - 1e-6 for group in work.groups())


def test_companies_and_persons_are_never_one(client: Client, work: Work) -> None:
    """Whatever they share; companies are grouped with companies."""
    shared: dict[str, Any] = {
        "emails": [v1.EmailAddress(value="office@lovelace.example")],
        "phones": [v1.PhoneNumber(value="+442079460018")],
        "addresses": [v1.PostalAddress(lines=["12 Elm Road"], city="Leeds", postcode="LS1 1AA")],
    }
    client.save(card(1, "person", company_name="Lovelace Engines Ltd", **shared))
    client.save(company("company", "Lovelace Engines Ltd", **shared))
    client.save(company("again", "Lovelace Engines Limited", **shared))
    assert work.scanned().customers == 3
    assert work.grouped() == {frozenset(("company", "again"))}


def test_distinct_customers_are_in_no_group_together(client: Client, work: Work) -> None:
    """Also not through a third, who stays with one of them; from the moment it was said."""
    for id in ("a", "b", "c"):
        client.save(card(1, id))
    work.scanned()
    assert work.grouped() == {frozenset("abc")}
    client.call(client.duplicates.MarkDistinct, v1.MarkDistinctRequest(ids=["a", "b"]))
    assert work.grouped() == {frozenset("ac")}  # before anybody scans again
    summary = work.scanned()
    assert summary.refused_joins == 2  # of b with a, and with c
    (group,) = work.grouped()
    assert "c" in group
    assert len(group) == 2
    client.call(client.duplicates.MarkDistinct, v1.MarkDistinctRequest(ids=["a", "c"]))
    client.call(client.duplicates.MarkDistinct, v1.MarkDistinctRequest(ids=["b", "c"]))
    assert work.grouped() == set()
    assert work.scanned().groups == 0


def test_who_was_deleted_is_left_out(client: Client, work: Work) -> None:
    """And so is a group that loses its last but one."""
    for id in ("a", "b", "c"):
        client.save(card(1, id))
        client.save(card(2, f"{id}2"))
    work.scanned()
    client.delete("a")
    client.delete("b2")
    client.delete("c2")
    assert work.grouped() == {frozenset("bc")}


@pytest.mark.parametrize("page_size", [1, 3, 7, 1_000])
def test_pages_are_the_list_in_pieces(client: Client, work: Work, page_size: int) -> None:
    """Whatever their size, and with bounds of probability."""
    account(client)
    work.scanned()
    every = work.groups()
    assert work.groups(page_size) == every
    first, last = every[3].least_probability, every[-4].least_probability
    bounds = {"least_probability": last, "most_probability": first}
    within = [group for group in every if last <= group.least_probability <= first]
    assert 0 < len(within) < len(every)
    assert work.groups(page_size, **bounds) == within


def page(client: Client, **terms: Any) -> v1.ListDuplicateGroupsResponse:
    """Return one page of groups."""
    request = v1.ListDuplicateGroupsRequest(**terms)
    answer: v1.ListDuplicateGroupsResponse = client.call(
        client.duplicates.ListDuplicateGroups, request
    )
    return answer


def test_a_token_serves_its_own_list_alone(client: Client, work: Work) -> None:
    """Of one scan and one filter; a later scan ends it."""
    account(client)
    work.scanned()
    first = page(client, page_size=2)
    others: list[dict[str, Any]] = [
        {"least_probability": 0.1}, {"most_probability": 0.9}, {"operation": "operations/scan-1"},
    ]  # fmt: skip
    for terms in others:
        refused = refusal(lambda: page(client, page_token=first.next_page_token, **terms))  # noqa: B023
        assert refused.short == (INVALID, "INVALID_ARGUMENT", "page_token")
    assert page(client, page_token=first.next_page_token, operation=first.operation).groups
    work.scanned()
    refused = refusal(lambda: page(client, page_token=first.next_page_token))
    assert refused.short == (NOT_FOUND, "NOT_FOUND", "operation")


def test_a_scan_takes_the_place_of_the_one_before(client: Client, work: Work) -> None:
    """Whose groups are gone; nothing is listed before the first."""
    assert refusal(work.groups).short == (NOT_FOUND, "NOT_FOUND", "operation")
    account(client)
    first, second = (work.wait(work.scan()).name for _ in range(2))
    assert page(client).operation == second
    assert page(client, operation=second).groups == page(client).groups
    assert refusal(lambda: page(client, operation=first)).short == (
        NOT_FOUND, "NOT_FOUND", "operation"
    )  # fmt: skip
    third = work.scanned()
    # What the one before the last left is gone when the last is done.
    assert stored_groups(client) in (third.groups, 2 * third.groups)
    assert client.faults() == []


def stored_groups(client: Client) -> int:
    """Return how many groups the index holds, of whichever scan."""
    return next(int(table.entries) for table in client.stats().tables if table.name == "groups")


def test_one_scan_at_a_time(server: Server, own: Client) -> None:
    """The refusal names the other; saves go on, and a training may run beside it."""
    work = Work(own)
    own.save(card(1, "a"))
    with held(server, work) as (name, _):
        refused = refusal(work.scan)
        assert (refused.code, refused.reason) == (
            grpc.StatusCode.FAILED_PRECONDITION, "SCAN_UNDER_WAY"
        )  # fmt: skip
        assert refused.metadata == {"operation": name}
        own.save(card(1, "b"))
        work.trained()
        assert refusal(lambda: page(own, operation=name)).code is NOT_FOUND
    work.wait(name)
    assert work.scanned().customers == 2


def test_what_a_killed_scan_wrote_goes_with_the_next(start_server: StartServer) -> None:
    """However far it was; the groups of the scan before are listed until then."""
    server = start_server(NAMESAKE_SCAN_WRITE_ROWS="1")
    with server.channel() as channel:
        truth = account(Client(channel))
        before = Work(Client(channel)).scanned()
        name = Work(Client(channel)).scan()
    server.kill()
    server.start()
    with server.channel() as channel:
        client = Client(channel)
        work = Work(client)
        assert work.get(name).done
        assert work.grouped() == truth
        assert work.scanned() == before
        work.scanned()
        assert stored_groups(client) <= 2 * len(truth)
        assert client.faults() == []


def test_large_groups_come_in_parts_and_are_written_in_pieces(start_server: StartServer) -> None:
    """Bounds of the settings, which nobody can get round."""
    server = start_server(
        NAMESAKE_SCAN_GROUP_ROWS="4", NAMESAKE_SCAN_WRITE_ROWS="3", NAMESAKE_SCAN_LIMIT_ROWS="5"
    )
    with server.channel() as channel:
        client = Client(channel)
        client.import_all("same", [card(1, f"c{number:02}") for number in range(10)])
        work = Work(client)
        assert work.scanned().grouped_customers == 10
        found = work.groups()
        assert [len(group.members) for group in found] == [4, 3, 3]
        assert len({m.id for group in found for m in group.members}) == 10


def test_an_empty_account_has_no_groups(client: Client, work: Work) -> None:
    """Nor has one of a single customer."""
    assert work.scanned() == v1.ScanSummary()
    assert work.groups() == []
    client.save(card(1, "a"))
    assert work.scanned() == v1.ScanSummary(customers=1)


def test_a_scan_matches_with_the_account_s_model(client: Client, work: Work) -> None:
    """One that takes nobody for the same groups nobody."""
    account(client)
    model = client.call(client.duplicates.GetModel, v1.GetModelRequest()).model
    changed = json.loads(model)
    changed["shares"]["same"] = 1e-30
    request = v1.SetModelRequest(model=json.dumps(changed))
    client.call(client.duplicates.SetModel, request)
    assert work.scanned().groups == 0


@pytest.mark.parametrize("least", [-0.1, 1.0, 1.5, float("nan"), float("inf"), float("-inf")])
def test_thresholds_that_are_none(shared: Client, least: float) -> None:
    """Refused by their field."""
    assert refusal(lambda: Work(shared).scan(least_probability=least)).short == (
        INVALID, "INVALID_ARGUMENT", "least_probability"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"least_probability": -1.0}, "least_probability"),
        ({"least_probability": float("nan")}, "least_probability"),
        ({"most_probability": 1.1}, "most_probability"),
        ({"least_probability": 0.9, "most_probability": 0.8}, "most_probability"),
        ({"page_size": -1}, "page_size"),
        ({"page_token": "CQAAAAAAAAAD"}, "page_token"),
        ({"page_token": "nonsense"}, "page_token"),
    ],
)
def test_lists_that_nobody_can_have(shared: Client, terms: dict[str, Any], field: str) -> None:
    """Refused by their field, scan or no scan."""
    assert refusal(lambda: page(shared, **terms)).short == (INVALID, "INVALID_ARGUMENT", field)


@pytest.mark.parametrize("name", ["scans", "operations/", "x" * 10_000, "a\0b"])
def test_scans_that_nobody_began(shared: Client, name: str) -> None:
    """However odd their name."""
    refused = refusal(lambda: page(shared, operation=name))
    assert refused.short == (NOT_FOUND, "NOT_FOUND", "operation")


def test_no_file_is_left_behind(server: Server, own: Client) -> None:
    """Of the groups that came back."""
    account(own)
    Work(own).scanned()
    folder: Path = server.data / "default"
    assert {path.name for path in folder.iterdir()} == {
        "data.mdb", "lock.mdb", "operations", "imports",
    }  # fmt: skip
    assert not list((folder / "operations").iterdir())
