"""Every rule of a card, by what breaks it: the field's path and the reason that come back."""

from __future__ import annotations

from functools import partial

import grpc
import pytest
from google.protobuf import text_format

from namesake import v1
from tests.conftest import StartServer
from tests.server.client import Client, numbered, opening, person, refusal, unique

INVALID = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")

# What is merged into a good private customer (protobuf text format), and the field at fault.
BROKEN = {
    "id too long": (f'id: "{"x" * 129}"', "id"),
    "id of too many bytes": (f'id: "{"€" * 128}x"', "id"),
    "id with a control character": ('id: "a\\nb"', "id"),
    "id with space around it": ('id: " a"', "id"),
    "id with NUL": ('id: "a\\000"', "id"),
    "unknown kind": ("kind: 9", "kind"),
    "unknown state": ("state: -1", "state"),
    "unknown gender": ("gender: 7", "gender"),
    "person without last name": ('last_name: " "', "last_name"),
    "company without name": ("kind: CUSTOMER_KIND_COMPANY", "company_name"),
    "company of white space": ('kind: CUSTOMER_KIND_COMPANY company_name: "  "', "company_name"),
    "year out of range": ("birth_date { year: 10000 }", "birth_date"),
    "negative year": ("birth_date { year: -1 }", "birth_date"),
    "month out of range": ("birth_date { year: 2000 month: 13 }", "birth_date"),
    "day out of month": ("birth_date { year: 2001 month: 2 day: 29 }", "birth_date"),
    "30 February": ("birth_date { month: 2 day: 30 }", "birth_date"),
    "day without month": ("birth_date { year: 2000 day: 1 }", "birth_date"),
    "empty date": ("birth_date {}", "birth_date"),
    "empty e-mail": ("emails {}", "emails[0].value"),
    "long e-mail": (f'emails {{ value: "{"x" * 1001}" }}', "emails[0].value"),
    "unknown e-mail kind": ('emails { value: "x" kind: 7 }', "emails[0].kind"),
    "unknown verification": ('emails { value: "x" verification: 3 }', "emails[0].verification"),
    "two primary e-mails": (
        'emails { value: "a@x.example" primary: true } emails { value: "b" primary: true }',
        "emails",
    ),
    "empty phone": ('phones { value: "1" } phones {}', "phones[1].value"),
    "long phone": (f'phones {{ value: "{"1" * 1001}" }}', "phones[0].value"),
    "unknown phone kind": ('phones { value: "1" kind: -4 }', "phones[0].kind"),
    "two primary phones": (
        'phones { value: "1" primary: true } phones { value: "2" primary: true }', "phones",
    ),
    "unknown address kind": ("addresses { kind: 9 }", "addresses[0].kind"),
    "six address lines": ("addresses { " + 'lines: "a" ' * 6 + "}", "addresses[0].lines"),
    "country in small letters": ('addresses { country: "gb" }', "addresses[0].country"),
    "country of three letters": (
        'addresses {} addresses { country: "GBR" }', "addresses[1].country",
    ),
    "contact without last name": ('contacts { first_name: "A" }', "contacts[0].last_name"),
    "contact id twice": (
        'contacts { last_name: "A" id: "1" } contacts { last_name: "B" id: "1" }',
        "contacts[1].id",
    ),
    "two primary contacts": (
        'contacts { last_name: "A" primary: true } contacts { last_name: "B" primary: true }',
        "contacts",
    ),
    "primary contact of a company": (
        'kind: CUSTOMER_KIND_COMPANY company_name: "E" contacts { last_name: "A" primary: true }',
        "contacts[0].primary",
    ),
    "contact's empty e-mail": (
        'contacts { last_name: "A" emails {} }', "contacts[0].emails[0].value",
    ),
    "contact's phone kind": (
        'contacts { last_name: "A" phones { value: "1" kind: 9 } }', "contacts[0].phones[0].kind",
    ),
    "contact's preferences": (
        'contacts { last_name: "A" preferences { preferred_contact: 99 } }',
        "contacts[0].preferences.preferred_contact",
    ),
    "identity type": ('identities { type: "Erp" value: "1" }', "identities[0].type"),
    "identity type too long": (
        f'identities {{ type: "{"a" * 64}" value: "1" }}', "identities[0].type",
    ),
    "identity type email": ('identities { type: "email" value: "a" }', "identities[0].type"),
    "identity type phone": ('identities { type: "phone" value: "1" }', "identities[0].type"),
    "identity type customer": ('identities { type: "customer" value: "1" }', "identities[0].type"),
    "identity without value": ('identities { type: "erp" }', "identities[0].value"),
    "long identity": (f'identities {{ type: "erp" value: "{"1" * 401}" }}', "identities[0].value"),
    "preferred contact": (
        "preferences { preferred_contact: 8 }", "preferences.preferred_contact",
    ),
    "no channel": (
        "preferences { channels { consent: CONSENT_DENIED } }", "preferences.channels[0].channel",
    ),
    "unknown channel": (
        "preferences { channels { channel: 9 } }", "preferences.channels[0].channel",
    ),
    "unknown consent": (
        "preferences { channels { channel: CHANNEL_SMS consent: 3 } }",
        "preferences.channels[0].consent",
    ),
    "channel twice": (
        "preferences { channels { channel: CHANNEL_SMS } channels { channel: CHANNEL_SMS } }",
        "preferences.channels[1].channel",
    ),
    "custom field's name": (
        'custom_fields { key: "Size" value { flag: true } }', "custom_fields",
    ),
    "custom field's long name": (
        f'custom_fields {{ key: "{"a" * 64}" value {{ flag: true }} }}', "custom_fields",
    ),
    "custom field without value": ('custom_fields { key: "size" value {} }', "custom_fields.size"),
    "custom NaN": ('custom_fields { key: "n" value { number: nan } }', "custom_fields.n"),
    "custom infinity": ('custom_fields { key: "n" value { number: -inf } }', "custom_fields.n"),
    "custom date": (
        'custom_fields { key: "d" value { date { month: 2 day: 31 } } }', "custom_fields.d.date",
    ),
    "empty tag": ('tags: "a" tags: ""', "tags"),
    "empty source": ('sources: ""', "sources"),
    "empty campaign": ('campaigns: ""', "campaigns"),
    "empty group": ('groups: ""', "groups"),
    "101 contact points": (
        'emails { value: "a" } ' * 50
        + 'contacts { last_name: "A" ' + 'phones { value: "1" } ' * 51 + "}",
        "",
    ),
    "101 identities": ('identities { type: "erp" value: "1" } ' * 101, "identities"),
    "201 addresses": ("addresses {} " * 201, "addresses"),
    "201 contacts": ('contacts { last_name: "A" } ' * 201, "contacts"),
    "201 tags": ('tags: "a" ' * 201, "tags"),
    "201 sources": ('sources: "a" ' * 201, "sources"),
    "201 campaigns": ('campaigns: "a" ' * 201, "campaigns"),
    "201 groups": ('groups: "a" ' * 201, "groups"),
    "201 custom fields": (
        " ".join(
            f'custom_fields {{ key: "n{number}" value {{ flag: true }} }}' for number in range(201)
        ),
        "custom_fields",
    ),
    "card too large": (f'comment: "{"x" * (64 << 10)}"', ""),
    "text too long": (f'comment: "{"x" * 10_001}"', "comment"),
    "nested text too long": (
        f'contacts {{ last_name: "{"x" * 10_001}" }}', "contacts[0].last_name",
    ),
    "long text in a custom field": (
        f'custom_fields {{ key: "t" value {{ text: "{"x" * 10_001}" }} }}', "custom_fields.t.text",
    ),
    "NUL in a text": ('first_name: "a\\000b"', "first_name"),
    "NUL in an e-mail": ('emails { value: "a\\000@x.example" }', "emails[0].value"),
    "NUL in a tag": ('tags: "a\\000"', "tags[0]"),
}  # fmt: skip

# The same bounds, just kept.
KEPT = {
    "id of 128 characters": f'id: "{"é" * 120}%s"',
    "leap day without a year": "birth_date { month: 2 day: 29 }",
    "year alone": "birth_date { year: 1 }",
    "year and month": "birth_date { year: 9999 month: 12 }",
    "company without last name": 'kind: CUSTOMER_KIND_COMPANY company_name: "E" last_name: ""',
    "long e-mail": f'emails {{ value: "{"x" * 1000}" }}',
    "primary e-mail and phone": (
        'emails { value: "a" primary: true } phones { value: "1" primary: true }'
    ),
    "contacts of a company": (
        'kind: CUSTOMER_KIND_COMPANY company_name: "E" contacts { last_name: "A" }'
    ),
    "identity": f'identities {{ type: "a-b.c_9" value: "{"1" * 400}" }}',
    "100 contact points": 'phones { value: "1" } ' * 100,
    "200 tags": " ".join(f'tags: "{number}"' for number in range(200)),
    "long text": 'comment: "' + "é" * 10_000 + '"',
    "tabs and new lines": 'comment: "a\\tb\\nc"',
}  # fmt: skip


def card(text: str) -> v1.Customer:
    """Return a good private customer with something merged into it."""
    customer = person(last_name="Lovelace")
    merged: v1.Customer = text_format.Merge(text.replace("%s", unique()), customer)
    return merged


def path(field: str) -> str:
    """Return a field's path in a request."""
    return f"customer.{field}" if field else "customer"


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_refused_by_its_field(shared: Client, name: str) -> None:
    """INVALID_ARGUMENT with ErrorInfo and the field's path, and nothing of the card's text."""
    text, field = BROKEN[name]
    refused = refusal(lambda: shared.save(card(text)))
    assert refused.short == (*INVALID, path(field))
    assert len(refused.message) < 200


@pytest.mark.parametrize("name", KEPT)
def test_what_just_keeps_a_rule_is_stored(shared: Client, name: str) -> None:
    """Bounds are inclusive."""
    assert shared.save(card(KEPT[name])).outcome == v1.SAVE_OUTCOME_CREATED


def test_imports_and_updates_keep_the_same_rules(client: Client) -> None:
    """Each broken card is a failed row with its field, and a refused update changes nothing."""
    rows = [card(text) for text, _ in BROKEN.values()]
    fields = [path(field) for _, field in BROKEN.values()]
    requests = [opening("rules"), *numbered([rows])]
    *_, last = client.import_stream(requests)
    assert [failure.field for failure in last.failures] == fields
    assert {failure.reason for failure in last.failures} == {"INVALID_ARGUMENT"}
    assert last.counts.failed == last.counts.rows == len(rows)
    assert client.stats().customers == 0


@pytest.mark.parametrize(
    ("change", "paths", "field"),
    [
        ('emails { kind: 9 value: "a" }', ("emails",), "emails[0].kind"),
        (" ".join(f'emails {{ value: "{n}" }}' for n in range(101)), ("emails",), ""),
        (" ".join(f'tags: "{n}"' for n in range(201)), ("tags",), "tags"),
        ("kind: CUSTOMER_KIND_COMPANY", ("kind",), "contacts[0].primary"),
    ],
)
def test_updates_keep_the_rules(
    shared: Client, change: str, paths: tuple[str, ...], field: str
) -> None:
    """Rules of a part and rules of the whole card that results."""
    stored = shared.save(card('company_name: "E" contacts { last_name: "A" primary: true }'))
    customer: v1.Customer = text_format.Parse(change, v1.Customer(id=stored.customer.id))
    refused = refusal(lambda: shared.update(customer, *paths))
    assert refused.short == (*INVALID, path(field))
    assert shared.get(stored.customer.id) == stored.customer


def test_an_attachment_keeps_the_rules_of_the_result(shared: Client) -> None:
    """A list that grows over its bound refuses the save and leaves the stored card."""
    address = f"{unique()}@x.example"
    stored = shared.save(person(address, tags=[f"a{number}" for number in range(150)])).customer
    more = person(address, tags=[f"b{number}" for number in range(150)])
    refused = refusal(lambda: shared.save(more, on_duplicate=v1.ON_DUPLICATE_ATTACH))
    assert refused.short == (*INVALID, "customer.tags")
    assert shared.get(stored.id) == stored


def test_an_exclusive_identity_type_has_one_value(start_server: StartServer) -> None:
    """In one card, and in what an attachment or a matched import would make of two."""
    with start_server(NAMESAKE_EXCLUSIVE_IDENTITY_TYPES="erp").channel() as channel:
        client = Client(channel)
        two = [v1.Identity(type="erp", value=value) for value in "12"]
        refused = refusal(lambda: client.save(person(identities=two)))
        assert refused.short == (
            grpc.StatusCode.INVALID_ARGUMENT, "IDENTITY_EXCLUSIVE", "customer.identities[1]",
        )  # fmt: skip
        assert refused.metadata == {"type": "erp"}
        client.save(person("a@x.example", identities=two[:1]))
        other = person("a@x.example", identities=two[1:])
        attach = partial(client.save, other, on_duplicate=v1.ON_DUPLICATE_ATTACH)
        assert refusal(attach).reason == "IDENTITY_EXCLUSIVE"
        assert client.import_all("j", [other])[-1].failures[0].reason == "IDENTITY_EXCLUSIVE"
        same = [v1.Identity(type="erp", value="9")] * 2
        assert len(client.save(person(identities=same)).customer.identities) == 1
