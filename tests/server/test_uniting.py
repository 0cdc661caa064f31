"""Whom an imported or attached card means, and what it may not change on the way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import grpc
import pytest
from google.protobuf import text_format

from namesake import v1
from tests.conftest import StartServer, wait_until
from tests.server.client import Client, numbered, opening, person, refusal
from tests.server.test_backup import reader_table, snapshots

INVALID = grpc.StatusCode.INVALID_ARGUMENT
PHONE = "+44 7400 123451"
OTHER = "+44 7400 123452"


def card(text: str) -> v1.Customer:
    """Read a card."""
    customer: v1.Customer = text_format.Parse(text, v1.Customer())
    return customer


def company(contact_phone: str) -> v1.Customer:
    """Return a company and its contact."""
    contact = f"last_name: 'Petrov' phones {{ value: '{contact_phone}' }}"
    return card(f"kind: CUSTOMER_KIND_COMPANY company_name: 'ACME' contacts {{ {contact} }}")


def test_a_contacts_phone_does_not_make_its_company_a_person(client: Client) -> None:
    """A row means nobody through its contacts, nor through those of others."""
    client.save(person(PHONE, id="ivan", last_name="Petrov"))
    client.import_all("companies", [company(PHONE)])
    assert client.stats().customers == 2
    assert client.get("ivan").kind == v1.CUSTOMER_KIND_PERSON
    client.import_all("companies-again", [company(PHONE)])
    assert client.stats().customers == 3  # nothing of its own to know it by

    client.save(company(OTHER))
    client.import_all("people", [person(OTHER, last_name="Sidorov")])
    assert client.stats().customers == 5
    assert len(client.holders("phone", OTHER)) == 2


def test_attaching_leaves_companies_to_companies(client: Client) -> None:
    """A person is attached to nobody through a company's phone."""
    client.save(company(PHONE))
    attached = client.save(person(PHONE), on_duplicate=v1.ON_DUPLICATE_ATTACH)
    assert attached.outcome == v1.SAVE_OUTCOME_CREATED
    again = client.save(person(PHONE, OTHER), on_duplicate=v1.ON_DUPLICATE_ATTACH)
    assert again.outcome == v1.SAVE_OUTCOME_UPDATED
    assert again.customer.id == attached.customer.id


@pytest.mark.parametrize(("first", "id"), [(PHONE, "one"), (OTHER, "two")])
def test_of_two_mobiles_the_first_of_the_row_decides(client: Client, first: str, id: str) -> None:
    """In the row's order."""
    client.save(person(PHONE, id="one"))
    client.save(person(OTHER, id="two"))
    second = OTHER if first == PHONE else PHONE
    client.import_all("job", [person(first, second, title="Dr")])
    assert client.get(id).title == "Dr"


def test_the_matched_row_does_not_depend_on_how_a_process_hashes() -> None:
    """`_keys` of many mobiles, in processes with different hash seeds, are in one order."""
    program = (
        "from service.core.model import Channel, Held\n"
        "from service.identity.registry import MatchBy, _keys\n"
        "normals = tuple((Channel.PHONE, f'+4474001234{n}') for n in range(50, 70))\n"
        "held = Held(normals=normals, mobiles=frozenset(n for _, n in normals), own=20)\n"
        "print(_keys(held, MatchBy.MOBILE))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in range(4)
    }
    assert len(outputs) == 1


def test_the_id_goes_before_the_order(client: Client) -> None:
    """A row with a known id updates that customer, also where an e-mail says another."""
    client.save(person("one@x.example", id="one"))
    client.save(person("two@x.example", id="two"))
    row = person("one@x.example", id="two", title="Dr")
    client.import_all("order", [row], match_order=[v1.MATCH_BY_EMAIL])
    assert (client.get("one").title, client.get("two").title) == ("", "Dr")


def test_a_row_that_comes_again_leaves_archived_customers_archived(client: Client) -> None:
    """An import that says nothing of the state does not change it."""
    client.save(person("a@x.example", id="a", birth_date=v1.Date(year=1990)))
    client.update(v1.Customer(id="a", state=v1.CUSTOMER_STATE_ARCHIVED), "state")
    client.import_all("again", [person("a@x.example", title="Dr")])
    stored = client.get("a")
    assert (stored.state, stored.title) == (v1.CUSTOMER_STATE_ARCHIVED, "Dr")
    assert stored.birth_date.year == 1990


def test_an_update_reads_phones_as_the_stored_address_says(client: Client) -> None:
    """The country of the customer counts, and that of the message where the mask has addresses."""
    home = v1.PostalAddress(country="UA")
    local = v1.PhoneNumber(value="044 123 4567")
    saved = client.save(v1.Customer(id="c", last_name="A", addresses=[home], phones=[local]))
    assert saved.customer.phones[0].normal == "+380441234567"
    client.update(v1.Customer(id="c", phones=[local], tags=["x"]), "phones", "tags")
    assert client.get("c").phones[0].normal == "+380441234567"
    elsewhere = v1.PostalAddress(country="FR")
    phone = v1.PhoneNumber(value="01 42 68 53 00")
    client.update(v1.Customer(id="c", phones=[phone], addresses=[elsewhere]), "phones")
    assert client.get("c").phones[0].normal != "+33142685300"  # the stored address is in Ukraine
    update = v1.Customer(id="c", phones=[phone], addresses=[elsewhere])
    client.update(update, "phones", "addresses")
    assert client.get("c").phones[0].normal == "+33142685300"


def test_an_update_looks_at_the_fields_of_its_mask_alone(client: Client) -> None:
    """What else the message has may be anything."""
    client.save(person(id="c"))
    broken = v1.Customer(id="c", comment="x", birth_date=v1.Date(month=13))
    broken.emails.add()
    assert client.update(broken, "comment").customer.comment == "x"
    refused = refusal(lambda: client.update(broken, "birth_date"))
    assert refused.short == (INVALID, "INVALID_ARGUMENT", "customer.birth_date")


def test_validate_only_names_no_sequence(client: Client) -> None:
    """There is no change that one could read on from."""
    saved = client.save(person(id="c"))
    assert saved.sequence == 1
    assert client.save(person(), validate_only=True).sequence == 0
    tried = client.update(v1.Customer(id="c", title="Dr"), "title", validate_only=True)
    assert (tried.outcome, tried.sequence) == (v1.SAVE_OUTCOME_UPDATED, 0)


def test_only_one_address_is_primary(client: Client) -> None:
    """As of e-mails and phones; by every way in."""
    two = card("last_name: 'A' addresses { primary: true } addresses { primary: true }")
    expected = (INVALID, "INVALID_ARGUMENT", "customer.addresses")
    assert refusal(lambda: client.save(two)).short == expected
    (_, last) = client.import_all("addresses", [two])
    assert [failure.field for failure in last.failures] == ["customer.addresses"]


LISTS: dict[str, tuple[Callable[[Client], object], str]] = {
    "mask": (lambda c: c.update(v1.Customer(id="x"), "tags", "tags"), "update_mask.paths"),
    "match order": (
        lambda c: c.import_all("j", match_order=[v1.MATCH_BY_EMAIL] * 2),
        "settings.match_order",
    ),
    "empty tag": (lambda c: c.import_all("j", tags=["a", ""]), "settings.tags"),
    "many tags": (
        lambda c: c.import_all("j", tags=[str(n) for n in range(201)]),
        "settings.tags",
    ),
    "NUL in the source": (lambda c: c.import_all("j", source="a\0"), "settings.source[0]"),
    "long group": (lambda c: c.import_all("j", groups=["x" * 10_001]), "settings.groups[0]"),
    "kind of change": (lambda c: c.feed(kinds=[1, 99]), "kinds[1]"),
    "NUL in a reason": (lambda c: c.delete("x", reason="long\0"), "reason"),
    "NUL in a request id": (lambda c: c.save(person(), request_id="a\0"), "request_id"),
}


@pytest.mark.parametrize("name", LISTS)
def test_what_surrounds_cards_is_checked_too(shared: Client, name: str) -> None:
    """At once and by its name, before any row is looked at."""
    call, field = LISTS[name]
    assert refusal(lambda: call(shared)).short == (INVALID, "INVALID_ARGUMENT", field)


def test_a_broken_setting_of_an_import_leaves_its_job_new(client: Client) -> None:
    """The same job id can be used when it is corrected."""
    row = person(id="a")
    refusal(lambda: client.import_all("job", [row], tags=[""]))
    _, last = client.import_all("job", [row], tags=["t"])
    assert (last.durable_batch, last.counts.created) == (1, 1)


def test_an_acknowledgement_that_nobody_takes_holds_no_snapshot(
    start_server: StartServer,
) -> None:
    """A client that sends and does not read does not stop the reuse of pages."""
    server = start_server()
    with server.channel() as channel, reader_table(server) as table:
        client = Client(channel)
        bad = [v1.Customer(last_name="x", birth_date=v1.Date(month=13))] * 5_000
        answers = client.import_stream([opening("slow"), *numbered([bad] * 5)])
        next(answers)
        wait_until(lambda: client.stats().customers == 0 and snapshots(table) == 0)
        # What the server has to say of five batches is more than the connection takes unread.
        held = [snapshots(table) for _ in range(200)]
        assert max(held) == 0
        assert len(list(answers)) == 5


def test_attaching_goes_through_no_contact(client: Client) -> None:
    """Nor through that of a stored person."""
    husband = card(
        f"id: 'h' last_name: 'H' contacts {{ last_name: 'W' phones {{ value: '{PHONE}' }} }}"
    )
    client.save(husband)
    attached = client.save(person(PHONE, last_name="W"), on_duplicate=v1.ON_DUPLICATE_ATTACH)
    assert attached.outcome == v1.SAVE_OUTCOME_CREATED
    assert client.get("h").contacts[0].phones[0].normal


def test_the_owner_is_found_behind_many_who_only_know_him(client: Client) -> None:
    """However many companies have the person as a contact."""
    client.import_all("companies", [company(PHONE) for _ in range(25)])
    client.save(person(PHONE, id="owner", last_name="Petrov"))
    terms = {"on_duplicate": v1.ON_DUPLICATE_ATTACH}
    assert client.save(person(PHONE, OTHER, last_name="Petrov"), **terms).customer.id == "owner"
    _, last = client.import_all("people", [person(PHONE, last_name="Petrov", title="Dr")])
    assert (last.counts.created, last.counts.updated) == (0, 1)
    assert client.get("owner").title == "Dr"


def test_too_many_holders_are_not_guessed_among(client: Client) -> None:
    """A switchboard of a thousand companies: the row fails and says so."""
    client.import_all("companies", [company(PHONE) for _ in range(1_000)])
    _, last = client.import_all("people", [person(PHONE, last_name="Petrov")])
    assert [failure.reason for failure in last.failures] == ["DUPLICATES_AMBIGUOUS"]
