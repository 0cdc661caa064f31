"""What results where a card meets the stored one: properties over random cards, and examples."""

from __future__ import annotations

import random

import pytest
from google.protobuf import text_format

from namesake import v1
from service.core.model import (
    Checked,
    Combine,
    Finding,
    Point,
    Reason,
    Sealed,
    Verdict,
)
from service.errors import NamesakeError
from service.server import wire
from service.settings import Settings
from tests.core.test_wire import ordinary

SETTINGS = Settings()
RECORDS = wire.Records(SETTINGS)
CARDS = 2_000
ACCEPTED = Finding(Verdict.VALID, Reason.ACCEPTED, 1)
PENDING = Finding(Verdict.UNKNOWN, Reason.PENDING, 1)
UNITING = (Combine.OVERLAY, Combine.FILL)


def check(points: tuple[Point, ...], finding: Finding = ACCEPTED) -> list[Checked]:
    """Stand in for the validator: a normal form for every second value."""
    return [
        Checked(
            point.channel,
            f"{point.value.lower()}@x.example" if len(point.value) % 2 else "",
            finding,
        )
        for point in points
    ]


def sealed(customer: v1.Customer, finding: Finding = ACCEPTED) -> Sealed:
    """Seal a copy of a card."""
    copy = v1.Customer.FromString(customer.SerializeToString())
    card = wire.card(copy, SETTINGS)
    return RECORDS.seal([card], check(card.points, finding))[0]


def record(body: bytes) -> bytes:
    """Complete a body."""
    return RECORDS.stamp(body, id="A", etag="1", created_us=1, updated_us=1)


def text(written: str) -> v1.Customer:
    """Read a card; a person whose name is Doe."""
    customer: v1.Customer = text_format.Parse(written, v1.Customer())
    if customer.kind != v1.CUSTOMER_KIND_COMPANY:
        customer.last_name = customer.last_name or "Doe"
    return customer


def met(stored: str, given: str, how: Combine) -> v1.Customer:
    """Return what results where `given` meets `stored`."""
    combined = RECORDS.combine(record(sealed(text(stored)).body), sealed(text(given)), how)
    return v1.Customer.FromString(combined.body)


def random_cards() -> list[v1.Customer]:
    """Return cards that keep all rules."""
    source = random.Random(5)
    cards: list[v1.Customer] = []
    while len(cards) < CARDS:
        customer = ordinary(source)
        customer.ClearField("id")
        customer.ClearField("etag")
        try:
            wire.card(v1.Customer.FromString(customer.SerializeToString()), SETTINGS)
        except NamesakeError:
            continue
        cards.append(customer)
    return cards


@pytest.fixture(scope="module")
def cards() -> list[v1.Customer]:
    """Random cards."""
    return random_cards()


@pytest.mark.parametrize("how", [Combine.REPLACE, *UNITING])
def test_a_card_that_comes_again_changes_nothing(cards: list[v1.Customer], how: Combine) -> None:
    """Importing the same file twice writes nothing the second time."""
    for customer in cards:
        stored = record(sealed(customer).body)
        combined = RECORDS.combine(stored, sealed(customer), how)
        assert RECORDS.diff(stored, combined.body) == b"", customer


@pytest.mark.parametrize("how", UNITING)
def test_a_card_that_says_only_a_name_changes_nothing_else(
    cards: list[v1.Customer], how: Combine
) -> None:
    """What a row does not mention stays: archived customers, birth dates, companies, primaries."""
    for customer in cards:
        stored = record(sealed(customer).body)
        said = v1.Customer(last_name=customer.last_name, company_name=customer.company_name)
        if customer.kind == v1.CUSTOMER_KIND_COMPANY:
            said.kind = customer.kind
        else:
            said.last_name = said.last_name or "x"
        combined = RECORDS.combine(stored, sealed(said), how)
        assert RECORDS.diff(stored, combined.body) == b"", customer


@pytest.mark.parametrize("how", [Combine.REPLACE, *UNITING])
def test_what_results_holds_what_would_be_read_back(cards: list[v1.Customer], how: Combine) -> None:
    """The index entries of a combination are those of its record."""
    for one, other in zip(cards[::2], cards[1::2], strict=True):
        stored, new = record(sealed(one).body), sealed(other)
        try:
            combined = RECORDS.combine(stored, new, how)
        except NamesakeError:
            continue  # a person's primary contact in a company
        held = RECORDS.held(combined.body)
        assert set(held.normals) == set(combined.held.normals)
        assert set(held.normals[: held.own]) == set(combined.held.normals[: combined.held.own])
        assert held.identities == tuple(dict.fromkeys(combined.held.identities))
        assert held.is_company == combined.held.is_company
        assert held.mobiles == combined.held.mobiles


def test_scalars() -> None:
    """The given ones win an import, the stored ones an attachment; blanks are filled by both."""
    born = "birth_date { year: 1990 month: 5 day: 1 }"
    for how in UNITING:
        assert met(born, "", how).birth_date.year == 1990
        assert met("", born, how).birth_date.year == 1990
    other = "birth_date { year: 1991 } first_name: 'B'"
    assert met(f"{born} first_name: 'A'", other, Combine.OVERLAY).first_name == "B"
    assert not met(f"{born} first_name: 'A'", other, Combine.OVERLAY).birth_date.month
    assert met(f"{born} first_name: 'A'", other, Combine.FILL).first_name == "A"
    assert met(f"{born} first_name: 'A'", other, Combine.FILL).birth_date.month == 5


def test_kind_and_state_change_only_where_they_are_said() -> None:
    """A row without a state does not bring an archived customer back."""
    archived = "state: CUSTOMER_STATE_ARCHIVED"
    active = "state: CUSTOMER_STATE_ACTIVE"
    company = "kind: CUSTOMER_KIND_COMPANY company_name: 'E'"
    assert met(archived, "", Combine.OVERLAY).state == v1.CUSTOMER_STATE_ARCHIVED
    assert met(archived, active, Combine.OVERLAY).state == v1.CUSTOMER_STATE_ACTIVE
    assert met(company, "last_name: 'D'", Combine.OVERLAY).kind == v1.CUSTOMER_KIND_COMPANY


def test_one_address_is_primary() -> None:
    """The row's, if it says so; an address that is known is made primary, not added."""
    both = "addresses { city: 'a' primary: true } addresses { city: 'b' }"
    second = "addresses { city: 'B' primary: true }"
    merged = met(both, second, Combine.OVERLAY).addresses
    assert [(one.city, one.primary) for one in merged] == [("a", False), ("b", True)]
    merged = met(both, second, Combine.FILL).addresses
    assert [(one.city, one.primary) for one in merged] == [("a", True), ("b", False)]


def test_contacts_meet_by_id_and_then_by_name() -> None:
    """Two of one name stay two; what is said of one is taken over."""
    names = "contacts { last_name: 'A' %s } contacts { last_name: 'A' %s }"
    twins = names % ("phones { value: '1' }", "phones { value: '2' }")
    merged = met(twins, twins, Combine.OVERLAY).contacts
    assert [[phone.value for phone in one.phones] for one in merged] == [["1"], ["2"]]
    named = names % ("id: 'x' position: 'p'", "id: 'y'")
    merged = met(
        named, "contacts { id: 'y' last_name: 'B' position: 'q' }", Combine.OVERLAY
    ).contacts
    assert [(one.id, one.last_name, one.position) for one in merged] == [
        ("x", "A", "p"),
        ("y", "B", "q"),
    ]
    by_name = "contacts { last_name: ' a' position: 'q' primary: true }"
    merged = met("contacts { last_name: 'A' position: 'p' }", by_name, Combine.OVERLAY).contacts
    assert [(one.position, one.primary) for one in merged] == [("q", True)]
    merged = met("contacts { last_name: 'A' position: 'p' }", by_name, Combine.FILL).contacts
    assert [(one.position, one.primary) for one in merged] == [("p", True)]


@pytest.mark.parametrize("how", UNITING)
def test_a_verdict_is_not_taken_back_by_one_that_is_awaited(how: Combine) -> None:
    """A row that comes again while its domain is not in the cache leaves the settled verdict."""
    card = text("emails { value: 'abc' }")
    stored = record(sealed(card).body)
    combined = RECORDS.combine(stored, sealed(card, PENDING), how)
    assert RECORDS.diff(stored, combined.body) == b""
    assert combined.held.pending == ()
    awaited = record(sealed(card, PENDING).body)
    combined = RECORDS.combine(awaited, sealed(card), how)
    (email,) = v1.Customer.FromString(combined.body).emails
    assert email.finding.reason == v1.REASON_ACCEPTED


def test_only_what_the_caller_sent_counts_for_the_size_of_a_card() -> None:
    """A card at the limit can be read, sent back and changed, whatever the server added to it."""
    card = text("comment: 'x'")
    while card.ByteSize() < SETTINGS.customer_limit - 2_500:
        card.comment += "x" * 1_000
        if len(card.comment) > 9_000:
            card.custom_fields[f"c{len(card.custom_fields)}"].text = card.comment
            card.comment = "x"
    for number in range(40):
        card.emails.add(value=f"ab{number}"[:5])
    full = sealed(card, Finding(Verdict.VALID, Reason.ACCEPTED, 1, source="s" * 200))
    assert len(full.body) > SETTINGS.customer_limit
    stored = record(full.body)
    changed = sealed(text("tags: 't'"))
    for how in UNITING:
        combined = RECORDS.combine(stored, changed, how)
        assert v1.Customer.FromString(combined.body).tags == ["t"]
    sealed(wire.dressed(stored))
    card.comment = "y" * 5_000
    with pytest.raises(NamesakeError, match="at most"):
        sealed(card)


@pytest.mark.parametrize("how", UNITING)
def test_ids_that_the_server_gave_name_nobody(how: Combine) -> None:
    """A contact without an id is not the stored one whose number it would get."""
    stored = "contacts { id: '2' last_name: 'Y' } contacts { id: '1' last_name: 'X' }"
    merged = met(stored, "contacts { last_name: 'Z' emails { value: 'z' } }", how).contacts
    assert [(one.id, one.last_name) for one in merged] == [("2", "Y"), ("1", "X"), ("3", "Z")]
    assert [len(one.emails) for one in merged] == [0, 0, 1]
