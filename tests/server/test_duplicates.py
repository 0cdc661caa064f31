"""Who else has it: of stored customers and of drafts, page by page, and counted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import grpc
import pytest

from namesake import v1
from tests.conftest import Server, StartServer
from tests.server.client import Client, person, refusal

PHONE = "+442079460018"


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Seven customers who share an e-mail by match key, three of them a phone, two an identity."""
    server = Server(tmp_path_factory.mktemp("duplicates") / "data").start()
    with server.channel() as channel:
        client = Client(channel)
        for number in range(7):
            card = person(f"ada+{number}@gmail.com", id=f"c{number}", first_name=f"A{number}")
            if number < 2:
                card.phones.add(value=PHONE)
            if number == 2:
                card.contacts.add(last_name="B").phones.add(value=PHONE)
            if number in (3, 5):
                card.identities.add(type="erp", value="7")
            client.save(card)
        client.save(person("alone@x.example", id="alone"))
        yield client
    server.kill()


def listed(client: Client, **asked: object) -> list[v1.PointDuplicates]:
    """List duplicates."""
    request = v1.ListDuplicatesRequest(**asked)  # type: ignore[arg-type]
    return list(client.call(client.duplicates.ListDuplicates, request).groups)


def ids(group: v1.PointDuplicates) -> list[str]:
    """Return the ids of a group."""
    return [duplicate.id for duplicate in group.customers]


def test_of_a_stored_customer_every_shared_point_is_listed(account: Client) -> None:
    """With paths, oldest first; the customer itself is marked and not counted."""
    email, phone = listed(account, id="c1")
    assert (email.field, email.normal, email.count) == ("emails[0]", "ada+1@gmail.com", 6)
    assert ids(email) == [f"c{number}" for number in range(5)]
    assert [duplicate.current for duplicate in email.customers] == [0, 1, 0, 0, 0]
    assert [duplicate.same_normal for duplicate in email.customers] == [0, 1, 0, 0, 0]
    assert email.customers[0].shared == "ada+0@gmail.com"
    assert email.customers[0].display_name == "A0 Lovelace"
    assert (phone.field, phone.normal, phone.count) == ("phones[0]", PHONE, 2)
    assert ids(phone) == ["c0", "c1", "c2"]
    assert all(duplicate.same_normal for duplicate in phone.customers)
    assert phone.next_page_token == ""


def test_points_of_contacts_and_identities_are_listed(account: Client) -> None:
    """Each with its own path."""
    _, phone = listed(account, id="c2")
    assert (phone.field, ids(phone)) == ("contacts[0].phones[0]", ["c0", "c1", "c2"])
    _, identity = listed(account, id="c5")
    assert (identity.field, identity.normal) == ("identities[0]", "7")
    assert ids(identity) == ["c3", "c5"]


def test_a_customer_who_shares_nothing_has_no_groups(account: Client) -> None:
    """Sharing with oneself is nothing."""
    assert listed(account, id="alone") == []


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 1_000])
def test_one_point_is_paged_to_its_end(account: Client, page_size: int) -> None:
    """By its token, each other customer once, the count the same on every page."""
    (group,) = [g for g in listed(account, id="c1", page_size=page_size) if g.field == "emails[0]"]
    found = ids(group)
    while group.next_page_token:
        assert len(group.customers) == page_size
        token = group.next_page_token
        (group,) = listed(account, id="c1", page_size=page_size, page_token=token)
        assert (group.field, group.count) == ("emails[0]", 6)
        found += ids(group)
    assert found == [f"c{number}" for number in range(7)]


def test_a_saves_token_goes_on_in_list_duplicates(account: Client) -> None:
    """The first page of a save and the pages after it are one list."""
    saved = account.save(person("ada+0@gmail.com", id="c0", first_name="A0"))
    (group,) = [group for group in saved.duplicates if group.field == "emails[0]"]
    assert len(group.customers) == 5
    (rest,) = listed(account, id="c0", page_token=group.next_page_token)
    assert ids(group) + ids(rest) == [f"c{number}" for number in range(7)]
    account.save(person("ada+0@gmail.com", PHONE, id="c0", first_name="A0"))


def test_a_draft_is_looked_up_before_it_is_saved(account: Client) -> None:
    """In local format with a region, without required fields; nothing is stored."""
    draft = v1.Customer(phones=[v1.PhoneNumber(value="020 7946 0018")])
    before = account.stats().sequence
    (phone,) = listed(account, draft=draft, default_region="GB")
    assert (phone.count, ids(phone)) == (3, ["c0", "c1", "c2"])
    assert not any(duplicate.current for duplicate in phone.customers)
    assert listed(account, draft=draft) == []  # no such number in the account's region
    assert account.stats().sequence == before


def test_a_draft_with_an_id_marks_that_customer(account: Client) -> None:
    """Who is being edited is the current one, and not counted."""
    draft = v1.Customer(id="c2", phones=[v1.PhoneNumber(value=PHONE)])
    (phone,) = listed(account, draft=draft)
    assert phone.count == 2
    assert [(d.id, d.current) for d in phone.customers] == [("c0", 0), ("c1", 0), ("c2", 1)]
    (unknown,) = listed(account, draft=v1.Customer(id="new", phones=draft.phones))
    assert unknown.count == 3


def test_a_draft_is_paged_too(account: Client) -> None:
    """The token of one point goes on with that point alone."""
    draft = person("ada@googlemail.com", PHONE)
    groups = listed(account, draft=draft, page_size=2)
    assert [group.field for group in groups] == ["emails[0]", "phones[0]"]
    (rest,) = listed(account, draft=draft, page_size=2, page_token=groups[1].next_page_token)
    assert (rest.field, ids(rest), rest.next_page_token) == ("phones[0]", ["c2"], "")


def test_bad_questions_are_refused(account: Client) -> None:
    """No subject, an unknown id, broken drafts and regions, tokens of other subjects."""
    invalid, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    (phone,) = [g for g in listed(account, id="c1", page_size=1) if g.field == "phones[0]"]
    cases: list[tuple[dict[str, object], grpc.StatusCode, str]] = [
        ({}, invalid, "subject"),
        ({"id": "nobody"}, missing, "id"),
        ({"id": "c1", "page_size": -1}, invalid, "page_size"),
        ({"id": "c5", "page_token": phone.next_page_token}, invalid, "page_token"),
        ({"id": "c1", "page_token": "AAAA"}, invalid, "page_token"),
        ({"draft": v1.Customer(emails=[v1.EmailAddress()])}, invalid, "draft.emails[0].value"),
        ({"draft": person(), "default_region": "x"}, invalid, "default_region"),
    ]
    for asked, code, field in cases:
        refused = refusal(partial(listed, account, **asked))
        assert (refused.code, refused.field) == (code, field), asked


PLANS = {
    "Mexico": ("+52 1 55 1234 5678", "+52 55 1234 5678"),
    "Argentina": ("+54 9 11 2345 6789", "+54 11 2345 6789"),
    "Brazil": ("+55 11 96123 4567", "+55 11 6123 4567"),
}


@pytest.mark.parametrize("country", PLANS)
def test_numbers_of_an_old_and_a_new_dialling_plan_are_duplicates(
    client: Client, country: str
) -> None:
    """By match key, either way round, each with its own normal form."""
    one, two = PLANS[country]
    client.save(person(one, id="one"))
    (group,) = client.save(person(two, id="two")).duplicates
    assert [(d.id, d.same_normal) for d in group.customers] == [("one", False), ("two", True)]
    assert client.holders("phone", one) == ["one", "two"]
    assert client.holders("phone", two) == ["two", "one"]


def counted(client: Client, *ids: str) -> list[v1.DuplicateCount]:
    """Count duplicates."""
    request = v1.CountDuplicatesRequest(ids=ids)
    return list(client.call(client.duplicates.CountDuplicates, request).counts)


def test_counts_are_of_different_customers_in_the_order_asked(account: Client) -> None:
    """Who shares two points counts once."""
    counts = counted(account, "c1", "nobody", "alone", "c6", "c1")
    assert [(one.id, one.count, one.not_found) for one in counts] == [
        ("c1", 6, False), ("nobody", 0, True), ("alone", 0, False), ("c6", 6, False),
        ("c1", 6, False),
    ]  # fmt: skip
    assert not any(one.count_is_floor for one in counts)
    assert refusal(lambda: counted(account, *["c1"] * 1_001)).field == "ids"


@pytest.mark.parametrize(("customers", "is_floor"), [(6, False), (7, True), (9, True)])
def test_counting_stops_at_its_limit_and_says_so(
    start_server: StartServer, customers: int, is_floor: bool
) -> None:
    """Five others are five; more are "more than five", in a save, a list and a count."""
    with start_server(NAMESAKE_COUNT_LIMIT_ROWS="5").channel() as channel:
        client = Client(channel)
        for number in range(customers):
            saved = client.save(person(f"ada+{number}@gmail.com", id=f"c{number}"))
        (of_save,) = saved.duplicates
        (of_list,) = listed(client, id="c0")
        (of_count,) = counted(client, "c0")
        (of_draft,) = listed(client, draft=person("ada@gmail.com"))
        for one in (of_save, of_list, of_count):
            assert (one.count, one.count_is_floor) == (5, is_floor)
        assert (of_draft.count, of_draft.count_is_floor) == (5, True)
