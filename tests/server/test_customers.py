"""Saving, reading and deleting customers over a real socket."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import grpc
import pytest

from namesake import v1
from tests.conftest import StartServer
from tests.server.client import Client, person, refusal, substance, unique

INVALID = grpc.StatusCode.INVALID_ARGUMENT
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
CREATED, UPDATED = v1.SAVE_OUTCOME_CREATED, v1.SAVE_OUTCOME_UPDATED
UNCHANGED = v1.SAVE_OUTCOME_UNCHANGED


def mail(domain: str = "somewhere.example") -> str:
    """Return an address that no other test has."""
    return f"{unique()}@{domain}"


def others(group: v1.PointDuplicates) -> list[str]:
    """Return the ids of those that share a point, without the card itself."""
    return [duplicate.id for duplicate in group.customers if not duplicate.current]


# Creating and replacing


def test_a_card_is_created_with_an_id_and_read_back_as_it_was_answered(shared: Client) -> None:
    """What a save answers is what a read finds."""
    saved = shared.save(person(mail(), "+442079460018"))
    assert saved.outcome == CREATED
    assert saved.sequence > 0
    assert len(saved.customer.id) == 36
    assert saved.customer.id[14] == "7"  # a UUID of version 7
    assert saved.customer.etag
    assert saved.customer.create_time == saved.customer.update_time
    assert shared.get(saved.customer.id) == saved.customer


def test_given_ids_are_kept_and_ids_given_by_the_server_ascend(shared: Client) -> None:
    """The CRM's own id names the customer; others sort by creation."""
    own = f"crm/{unique()} é"
    assert shared.save(person(id=own)).customer.id == own
    assert shared.get(own).last_name == "Lovelace"
    first, second = (shared.save(person()).customer.id for _ in range(2))
    assert first[:13] <= second[:13]


def test_defaults_are_stored(shared: Client) -> None:
    """Kind, state and verification have their defaults in the stored card."""
    id = shared.save(person(mail(), "+442079460018")).customer.id
    stored = shared.get(id)
    assert stored.kind == v1.CUSTOMER_KIND_PERSON
    assert stored.state == v1.CUSTOMER_STATE_ACTIVE
    assert stored.emails[0].verification == v1.VERIFICATION_UNVERIFIED
    assert stored.phones[0].verification == v1.VERIFICATION_UNVERIFIED


def test_a_save_by_id_replaces_the_whole_card(shared: Client) -> None:
    """What the new card does not say is gone, its identities too."""
    address = mail()
    first = shared.save(person(address, first_name="Ada", tags=["a"]))
    second = shared.save(person("+442079460018", id=first.customer.id))
    assert second.outcome == UPDATED
    assert second.sequence > first.sequence
    stored = shared.get(first.customer.id)
    assert (stored.first_name, list(stored.tags), list(stored.emails)) == ("", [], [])
    assert stored.create_time == first.customer.create_time
    assert stored.etag != first.customer.etag
    assert shared.holders("email", address) == []


def test_an_etag_must_be_that_of_the_stored_card(shared: Client) -> None:
    """A card that changed since it was read is refused, whatever writes it."""
    read = shared.save(person(first_name="Ada")).customer
    fresh = shared.save(person(first_name="Augusta", id=read.id, etag=read.etag)).customer
    stale = person(first_name="Lost", id=read.id, etag=read.etag)
    expected = (grpc.StatusCode.ABORTED, "ETAG_MISMATCH", "customer.etag")
    assert refusal(lambda: shared.save(stale)).short == expected
    assert refusal(lambda: shared.update(stale, "first_name")).short == expected
    deletion = refusal(lambda: shared.delete(read.id, etag=read.etag))
    assert deletion.short == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH", "etag")
    assert shared.get(read.id) == fresh
    shared.delete(read.id, etag=fresh.etag)


@pytest.mark.parametrize("id", ["", "never-used"])
def test_an_etag_needs_an_existing_customer(shared: Client, id: str) -> None:
    """An etag never creates."""
    refused = refusal(lambda: shared.save(person(id=id, etag="1")))
    assert refused.short == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "customer.id")


def test_an_unchanged_save_writes_nothing(client: Client) -> None:
    """The same card again is UNCHANGED: no event, no new etag, no history."""
    card = person(mail(), "+442079460018", tags=["a", "b"], id="same")
    card.custom_fields["size"].integer = 5
    card.custom_fields["colour"].text = "red"
    first = client.save(card)
    again = client.save(card)
    assert (again.outcome, again.sequence) == (UNCHANGED, 0)
    assert again.customer.etag == first.customer.etag
    answer = client.update(v1.Customer(id="same", tags=["a", "b"]), "tags")
    assert (answer.outcome, answer.sequence) == (UNCHANGED, 0)
    assert client.stats().sequence == first.sequence
    assert len(client.history("same")) == 1


def test_output_only_fields_are_ignored(shared: Client) -> None:
    """What the server finds out cannot be given to it, and an echo of a read changes nothing."""
    card = person(mail(), "+442079460018")
    card.create_time.seconds = card.update_time.seconds = 1
    card.emails[0].normal = "other@somewhere.example"
    card.emails[0].finding.verdict = v1.VERDICT_VALID
    phone = card.phones[0]
    phone.normal, phone.region, phone.extension, phone.tel_uri = "+1", "FR", "9", "tel:+1"
    phone.finding.verdict = v1.VERDICT_INVALID
    saved = shared.save(card).customer
    assert saved.create_time.seconds > 1
    assert saved.emails[0].normal == saved.emails[0].value
    assert saved.emails[0].finding.verdict == v1.VERDICT_UNKNOWN
    assert saved.phones[0].normal == "+442079460018"
    assert (saved.phones[0].region, saved.phones[0].extension) == ("GB", "")
    assert saved.phones[0].finding.verdict == v1.VERDICT_VALID
    assert shared.save(saved).outcome == UNCHANGED


# Normal forms and findings


def test_normal_forms_and_display_forms_are_answered(shared: Client) -> None:
    """Phones by the request's region, e-mails with a lower-case A-label domain."""
    card = person("  Ada.L@Bücher.Example ", "(020) 7946 0018 ext. 12", "no number")
    saved = shared.save(card, default_region="GB").customer
    assert saved.emails[0].normal == "Ada.L@xn--bcher-kva.example"
    assert saved.emails[0].value == "  Ada.L@Bücher.Example "
    phone, broken = saved.phones
    assert (phone.normal, phone.extension, phone.region) == ("+442079460018", "12", "GB")
    assert phone.type == v1.PHONE_TYPE_FIXED_LINE
    assert phone.national == "020 7946 0018 x12"
    assert phone.international == "+44 20 7946 0018 x12"
    assert phone.tel_uri == "tel:+44-20-7946-0018;ext=12"
    assert list(phone.time_zones) == ["Europe/London"]
    assert (broken.normal, broken.national, broken.type) == ("", "", 0)
    assert broken.finding.reason == v1.REASON_PHONE_FORMAT
    assert broken.finding.message == "Does not match the international phone number format"


def test_the_default_region_is_the_accounts(start_server: StartServer) -> None:
    """A phone without a country code belongs to the region that the server was given."""
    with start_server("--default-region", "DE").channel() as channel:
        saved = Client(channel).save(person("030 123456"))
    assert saved.customer.phones[0].normal == "+4930123456"


def test_the_same_point_identity_or_word_is_kept_once(shared: Client) -> None:
    """Duplicates within a card go by normal form; the first stays. Extensions tell phones apart."""
    name = unique()
    card = person(
        f"{name}@SOMEWHERE.example", f"{name}@somewhere.example", "broken", "broken",
        "+44 20 7946 0018", "+442079460018", "+442079460018 ext. 7", "020", "020",
        tags=["b", "a", "b"], groups=["g", "g"],
        identities=[v1.Identity(type="erp", value=name)] * 2,
    )  # fmt: skip
    saved = shared.save(card).customer
    assert [email.value for email in saved.emails] == [f"{name}@SOMEWHERE.example"]
    phones = [phone.value for phone in saved.phones]
    assert phones == ["broken", "+44 20 7946 0018", "+442079460018 ext. 7", "020"]
    assert list(saved.tags) == ["b", "a"]
    assert list(saved.groups) == ["g"]
    assert len(saved.identities) == 1


def test_contacts_get_ids_that_their_caller_did_not_take(shared: Client) -> None:
    """Ids given stay; others are numbered past them."""
    people = [
        v1.Contact(last_name="A"),
        v1.Contact(last_name="B", id="1"),
        v1.Contact(last_name="C"),
    ]
    saved = shared.save(person(contacts=people)).customer
    assert [contact.id for contact in saved.contacts] == ["2", "1", "3"]


# Duplicates at a save


def test_duplicates_are_reported_per_point_with_the_first_of_them(shared: Client) -> None:
    """By normal form or by match key, with names, oldest first; the card itself is marked."""
    name = unique()
    one = shared.save(person(f"{name}.x@gmail.com", first_name="Ada")).customer.id
    company = v1.Customer(
        kind=v1.CUSTOMER_KIND_COMPANY,
        company_name="Engines",
        state=v1.CUSTOMER_STATE_ARCHIVED,
        contacts=[v1.Contact(last_name="B", emails=[v1.EmailAddress(value=f"{name}x@gmail.com")])],
    )
    two = shared.save(company).customer.id
    card = person("+442079460999", f"{name}.x+shop@googlemail.com")
    saved = shared.save(card)
    (group,) = saved.duplicates
    assert (group.field, group.normal) == ("emails[0]", f"{name}.x+shop@googlemail.com")
    assert (group.count, group.count_is_floor, group.next_page_token) == (2, False, "")
    shown = [(d.id, d.display_name, d.same_normal, d.shared) for d in group.customers]
    assert shown == [
        (one, "Ada Lovelace", False, f"{name}.x@gmail.com"),
        (two, "Engines", False, f"{name}x@gmail.com"),
        (saved.customer.id, "Lovelace", True, f"{name}.x+shop@googlemail.com"),
    ]
    assert [duplicate.current for duplicate in group.customers] == [False, False, True]
    assert group.customers[1].state == v1.CUSTOMER_STATE_ARCHIVED
    same = shared.save(person(f"{name}x@gmail.com")).duplicates[0]
    assert [d.same_normal for d in same.customers] == [False, True, False, True]


def test_points_of_contacts_are_looked_at_too(shared: Client) -> None:
    """A contact's phone is found, with its path in the card."""
    phone = "+4930" + "123" + "45" + unique()[1:-1].zfill(4)
    contact = v1.Contact(last_name="B", phones=[v1.PhoneNumber(value=phone)])
    first = shared.save(person(contacts=[contact])).customer
    saved = shared.save(person(contacts=[v1.Contact(last_name="C"), contact]))
    (group,) = saved.duplicates
    assert (group.field, group.count) == ("contacts[1].phones[0]", 1)
    assert others(group) == [first.id]


def test_reject_saves_nothing_and_names_the_duplicates(client: Client) -> None:
    """With REJECT a shared point refuses a creation and a change, but not one's own card."""
    address = mail()
    held = client.save(person(address, id="holder")).customer
    reject = v1.ON_DUPLICATE_REJECT
    before = client.stats().sequence
    refused = refusal(lambda: client.save(person(address), on_duplicate=reject))
    assert refused.short == (grpc.StatusCode.ALREADY_EXISTS, "DUPLICATE_FOUND", "customer")
    assert refused.metadata == {"customers": "holder"}
    assert client.stats().sequence == before
    other = client.save(person(mail(), id="other"), on_duplicate=reject).customer
    other.emails.add(value=address)
    assert refusal(lambda: client.save(other, on_duplicate=reject)).reason == "DUPLICATE_FOUND"
    held.first_name = "Ada"
    assert client.save(held, on_duplicate=reject).outcome == UPDATED


def test_attach_fills_blanks_and_adds_what_is_lacking(shared: Client) -> None:
    """With one match nothing is created: stored values stay, blanks are filled, lists grow."""
    address = mail()
    stored = shared.save(person(address, first_name="Ada", tags=["a"])).customer
    card = person(address, "nonsense", first_name="A.", stage="lead", tags=["b"])
    card.identities.add(type="erp", value=unique())
    saved = shared.save(card, on_duplicate=v1.ON_DUPLICATE_ATTACH)
    assert (saved.outcome, saved.customer.id) == (UPDATED, stored.id)
    assert (saved.customer.first_name, saved.customer.stage) == ("Ada", "lead")
    assert list(saved.customer.tags) == ["a", "b"]
    assert len(saved.customer.phones) == len(saved.customer.identities) == 1
    again = shared.save(card, on_duplicate=v1.ON_DUPLICATE_ATTACH)
    assert (again.outcome, again.customer.id) == (UNCHANGED, stored.id)


def test_attach_creates_where_nobody_matches(shared: Client) -> None:
    """No match, a new customer."""
    saved = shared.save(person(mail()), on_duplicate=v1.ON_DUPLICATE_ATTACH)
    assert saved.outcome == CREATED


def test_attach_refuses_where_several_match(client: Client) -> None:
    """Two matches: nobody to attach to, and nothing is written."""
    one, two = mail(), mail()
    client.save(person(one, id="one"))
    client.save(person(two, id="two"))
    before = client.stats().sequence
    attach = v1.ON_DUPLICATE_ATTACH
    refused = refusal(lambda: client.save(person(one, two), on_duplicate=attach))
    assert refused.short == (PRECONDITION, "DUPLICATES_AMBIGUOUS", "customer")
    assert refused.metadata == {"customers": "one,two"}
    assert client.stats().sequence == before


# Retries and dry runs


def test_a_retry_returns_the_first_outcome(client: Client) -> None:
    """The same request id saves once, also where the retry looks different."""
    first = client.save(person(mail()), request_id="r1")
    again = client.save(person(mail()), request_id="r1")
    assert again.customer == first.customer
    assert (again.outcome, again.sequence) == (CREATED, first.sequence)
    assert client.stats().customers == 1
    change = v1.Customer(id=first.customer.id, first_name="Ada")
    updated = client.update(change, "first_name", request_id="r2")
    change.first_name = "Augusta"
    retried = client.update(change, "first_name", request_id="r2")
    assert (retried.outcome, retried.sequence) == (UPDATED, updated.sequence)
    assert client.get(first.customer.id).first_name == "Ada"


def test_a_retry_after_the_customer_was_deleted_creates_nobody(client: Client) -> None:
    """A late retry must not bring a deleted customer back."""
    id = client.save(person(mail()), request_id="r").customer.id
    client.delete(id)
    refused = refusal(lambda: client.save(person(mail()), request_id="r"))
    assert (refused.code, refused.reason) == (PRECONDITION, "CUSTOMER_DELETED")
    assert client.stats().customers == 0


def test_a_failed_try_is_not_remembered(shared: Client) -> None:
    """A request id of a refused save is free for the corrected one."""
    id, card = unique(), person(last_name="")
    assert refusal(lambda: shared.save(card, request_id=id)).code == INVALID
    assert shared.save(person(), request_id=id).outcome == CREATED


def test_validate_only_answers_as_if_saved_and_stores_nothing(client: Client) -> None:
    """Outcome, findings and duplicates are there; the account is as before."""
    address = mail()
    stored = client.save(person(address, id="stored")).customer
    before = client.stats()
    new = client.save(person(address, "nonsense"), validate_only=True, request_id="r")
    assert new.outcome == CREATED
    assert new.customer.phones[0].finding.reason == v1.REASON_PHONE_FORMAT
    assert [d.id for d in new.duplicates[0].customers] == ["stored"]
    assert new.duplicates[0].count == 1
    change = client.save(person(id="stored"), validate_only=True)
    assert change.outcome == UPDATED
    mask = client.update(v1.Customer(id="stored", stage="x"), "stage", validate_only=True)
    assert (mask.outcome, mask.customer.stage) == (UPDATED, "x")
    reject = v1.ON_DUPLICATE_REJECT
    refused = refusal(lambda: client.save(person(address), on_duplicate=reject, validate_only=True))
    assert refused.reason == "DUPLICATE_FOUND"
    assert client.get("stored") == stored
    after = client.stats()
    assert (after.sequence, after.customers) == (before.sequence, 1)
    assert client.save(person(), request_id="r").outcome == CREATED  # not remembered either


# UpdateCustomer


def test_only_fields_of_the_mask_change(shared: Client) -> None:
    """A named empty field is cleared, a named list replaced whole, the rest stays."""
    address, other = mail(), mail()
    card = person(address, first_name="Ada", stage="lead", comment="hello")
    card.birth_date.year = 1815
    card.preferences.do_not_call = True
    stored = shared.save(card).customer
    change = v1.Customer(id=stored.id, stage="won", first_name="ignored")
    change.emails.add(value=other)
    paths = ("stage", "comment", "birth_date", "preferences", "emails")
    answer = shared.update(change, *paths)
    assert answer.outcome == UPDATED
    customer = answer.customer
    assert (customer.first_name, customer.stage, customer.comment) == ("Ada", "won", "")
    assert not customer.HasField("birth_date")
    assert not customer.HasField("preferences")
    assert [email.normal for email in customer.emails] == [other]
    assert shared.holders("email", address) == []
    assert shared.holders("email", other) == [stored.id]
    assert shared.get(stored.id) == customer


def test_an_update_reports_duplicates(shared: Client) -> None:
    """As a save does."""
    address = mail()
    holder = shared.save(person(address)).customer.id
    id = shared.save(person()).customer.id
    change = v1.Customer(id=id, emails=[v1.EmailAddress(value=address)])
    (group,) = shared.update(change, "emails").duplicates
    assert (group.count, others(group)) == (1, [holder])


@pytest.mark.parametrize("path", ["nonsense", "id", "etag", "update_time", "emails.value", ""])
def test_masks_name_fields_that_can_be_set(shared: Client, path: str) -> None:
    """Anything else is refused, by the mask's name."""
    id = shared.save(person()).customer.id
    refused = refusal(lambda: shared.update(v1.Customer(id=id), path))
    assert refused.short == (INVALID, "INVALID_ARGUMENT", "update_mask.paths[0]")


def test_an_update_needs_a_mask_and_an_existing_customer(shared: Client) -> None:
    """No mask, no id, no customer: three different refusals."""
    id = shared.save(person()).customer.id
    assert refusal(lambda: shared.update(v1.Customer(id=id))).field == "update_mask"
    assert refusal(lambda: shared.update(v1.Customer(), "stage")).field == "customer.id"
    gone = refusal(lambda: shared.update(v1.Customer(id="nobody"), "stage"))
    assert gone.short == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "customer.id")


def test_required_fields_cannot_be_cleared(shared: Client) -> None:
    """The result of an update keeps the rules of a whole card."""
    stored = shared.save(person()).customer
    for change, path, field in (
        (v1.Customer(), "last_name", "customer.last_name"),
        (v1.Customer(kind=v1.CUSTOMER_KIND_COMPANY), "kind", "customer.company_name"),
        (v1.Customer(contacts=[v1.Contact()]), "contacts", "customer.contacts[0].last_name"),
    ):
        change.id = stored.id
        refused = refusal(partial(shared.update, change, path))
        assert refused.short == (INVALID, "INVALID_ARGUMENT", field)
    assert shared.get(stored.id) == stored


def test_kind_and_state_cannot_be_unset_by_a_mask(shared: Client) -> None:
    """A cleared kind or state is the default again, never UNSPECIFIED."""
    card = v1.Customer(
        kind=v1.CUSTOMER_KIND_COMPANY,
        state=v1.CUSTOMER_STATE_ARCHIVED,
        company_name="Engines",
        last_name="Babbage",
    )
    id = shared.save(card).customer.id
    customer = shared.update(v1.Customer(id=id), "kind", "state").customer
    assert customer.kind == v1.CUSTOMER_KIND_PERSON
    assert customer.state == v1.CUSTOMER_STATE_ACTIVE


# DeleteCustomer


@pytest.mark.parametrize("reason", ["", "  ", "no", " no ", "x" * 501])
def test_a_deletion_needs_a_reason(shared: Client, reason: str) -> None:
    """3 to 500 characters, white space around them not counted."""
    id = shared.save(person()).customer.id
    refused = refusal(lambda: shared.delete(id, reason))
    assert refused.short == (INVALID, "INVALID_ARGUMENT", "reason")
    assert shared.get(id).id == id


def test_a_deleted_customer_is_gone_for_ever(client: Client) -> None:
    """Its identities are free, its id never, and of its history only the deletion remains."""
    address = mail()
    card = person(address, id="x", identities=[v1.Identity(type="erp", value="7")])
    client.save(card)
    client.update(v1.Customer(id="x", first_name="Ada"), "first_name")
    sequence = client.delete("x", " asked for it ")
    assert refusal(lambda: client.get("x")).short == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "id")
    assert client.holders("email", address) == client.holders("erp", "7") == []
    assert client.holders("customer", "x") == []
    assert client.pages(state=v1.STATE_FILTER_ALL) == [[]]
    again = refusal(lambda: client.save(card))
    assert again.short == (PRECONDITION, "CUSTOMER_DELETED", "customer.id")
    assert refusal(lambda: client.delete("x")).short == (PRECONDITION, "CUSTOMER_DELETED", "id")
    assert refusal(lambda: client.update(card, "tags")).reason == "CUSTOMER_DELETED"
    (entry,) = client.history("x")
    assert (entry.kind, entry.sequence) == (v1.CHANGE_KIND_DELETED, sequence)
    assert entry.reason == "asked for it"
    assert not entry.HasField("before")
    assert not entry.HasField("after")
    assert client.save(person(address)).duplicates == []
    assert client.faults() == []


def test_deleting_nobody_is_refused(shared: Client) -> None:
    """An unknown id and none at all."""
    refused = refusal(lambda: shared.delete("nobody"))
    assert refused.short == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "id")
    refused = refusal(lambda: shared.delete(""))
    assert refused.short == (INVALID, "INVALID_ARGUMENT", "id")


# Reading


def test_batches_are_answered_in_the_order_asked(shared: Client) -> None:
    """Each id has its result, twice where it was asked twice, empty where there is nobody."""
    one, two = (shared.save(person(last_name=name)).customer for name in ("A", "B"))
    request = v1.BatchGetCustomersRequest(ids=[two.id, "nobody", one.id, two.id, ""])
    results = shared.call(shared.customers.BatchGetCustomers, request).results
    assert [result.id for result in results] == list(request.ids)
    assert [result.customer.last_name for result in results] == ["B", "", "A", "B", ""]
    assert not results[1].HasField("customer")
    assert results[0].customer == two


@pytest.fixture
def listed(client: Client) -> tuple[Client, list[str]]:
    """Twelve customers, every third archived, of which two were changed later."""
    ids = [f"c{number:02}" for number in range(12)]
    for number, id in enumerate(ids):
        state = v1.CUSTOMER_STATE_ARCHIVED if number % 3 == 0 else v1.CUSTOMER_STATE_ACTIVE
        client.save(person(id=id, state=state))
    client.update(v1.Customer(id="c01", stage="x"), "stage")
    client.update(v1.Customer(id="c00", stage="x"), "stage")
    client.delete("c11")
    return client, ids[:-1]


ORDERS: dict[v1.CustomerOrder.ValueType, Callable[[list[str]], list[str]]] = {
    v1.CUSTOMER_ORDER_UNSPECIFIED: lambda ids: ids,
    v1.CUSTOMER_ORDER_CREATED: lambda ids: ids,
    v1.CUSTOMER_ORDER_CREATED_DESC: lambda ids: ids[::-1],
    v1.CUSTOMER_ORDER_UPDATED: lambda ids: [*ids[2:], "c01", "c00"],
    v1.CUSTOMER_ORDER_UPDATED_DESC: lambda ids: ["c00", "c01", *ids[:1:-1]],
}


def _is_active(id: str) -> bool:
    return int(id[1:]) % 3 != 0


FILTERS: dict[v1.StateFilter.ValueType, Callable[[str], bool]] = {
    v1.STATE_FILTER_UNSPECIFIED: _is_active,
    v1.STATE_FILTER_ACTIVE: _is_active,
    v1.STATE_FILTER_ARCHIVED: lambda one: not _is_active(one),
    v1.STATE_FILTER_ALL: lambda _: True,
}


def test_every_order_and_filter_lists_each_customer_once(listed: tuple[Client, list[str]]) -> None:
    """In order, whatever the page size, to the end."""
    client, ids = listed
    for order, arranged in ORDERS.items():
        for state, keeps in FILTERS.items():
            expected = [id for id in arranged(ids) if keeps(id)]
            for page_size in (1, 3, 0):
                pages = client.pages(page_size, order=order, state=state)
                found = [customer.id for page in pages for customer in page]
                assert found == expected, (order, state, page_size)
                assert all(len(page) <= (page_size or 50) for page in pages)


@pytest.mark.parametrize("order", [o for o in ORDERS if o != v1.CUSTOMER_ORDER_UPDATED])
def test_listing_shows_each_customer_once_while_others_are_archived(
    listed: tuple[Client, list[str]], order: v1.CustomerOrder.ValueType
) -> None:
    """Whoever is archived behind the reader has been listed; nobody is listed twice."""
    client, ids = listed
    expected = ORDERS[order](ids)
    seen: list[str] = []
    token = ""
    while True:
        request = v1.ListCustomersRequest(
            page_size=2, order=order, page_token=token, state=v1.STATE_FILTER_ALL
        )
        page = client.call(client.customers.ListCustomers, request)
        seen += [customer.id for customer in page.customers]
        for customer in page.customers:
            archived = v1.Customer(id=customer.id, state=v1.CUSTOMER_STATE_ARCHIVED, stage="y")
            client.update(archived, "state", "stage")
        token = page.next_page_token
        if not token:
            break
    assert seen == expected


def test_a_page_looks_at_so_many_rows_only(start_server: StartServer) -> None:
    """Where hardly anybody passes the filter, pages are short and the tokens go on."""
    with start_server(NAMESAKE_SCAN_LIMIT_ROWS="2").channel() as channel:
        client = Client(channel)
        for number in range(7):
            state = v1.CUSTOMER_STATE_ARCHIVED if number == 5 else v1.CUSTOMER_STATE_ACTIVE
            client.save(person(id=str(number), state=state))
        for order in ORDERS:
            pages = client.pages(5, order=order, state=v1.STATE_FILTER_ARCHIVED)
            assert [c.id for page in pages for c in page] == ["5"]
            assert len(pages) > 2


def test_tokens_serve_their_own_listing_only(listed: tuple[Client, list[str]]) -> None:
    """A token of another order, filter or method, and invented ones, are refused."""
    client, _ = listed
    first = v1.ListCustomersRequest(page_size=2)
    token = client.call(client.customers.ListCustomers, first).next_page_token
    assert token
    for request in (
        v1.ListCustomersRequest(page_token=token, order=v1.CUSTOMER_ORDER_UPDATED),
        v1.ListCustomersRequest(page_token=token, state=v1.STATE_FILTER_ALL),
        v1.ListCustomersRequest(page_token="x"),
        v1.ListCustomersRequest(page_token="Zm9v" * 9),
    ):
        refused = refusal(partial(client.call, client.customers.ListCustomers, request))
        assert refused.short == (INVALID, "INVALID_ARGUMENT", "page_token")
    stranger = v1.ListHistoryRequest(id="c01", page_token=token)
    refused = refusal(lambda: client.call(client.customers.ListHistory, stranger))
    assert refused.field == "page_token"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (v1.ListCustomersRequest(page_size=-1), "page_size"),
        (v1.ListCustomersRequest(order=99), "order"),  # type: ignore[arg-type]
        (v1.ListCustomersRequest(state=99), "state"),  # type: ignore[arg-type]
    ],
)
def test_bad_listings_are_refused(
    shared: Client, request_: v1.ListCustomersRequest, field: str
) -> None:
    """By the field at fault."""
    refused = refusal(lambda: shared.call(shared.customers.ListCustomers, request_))
    assert refused.short == (INVALID, "INVALID_ARGUMENT", field)


# ResolveIdentities


def test_identities_of_every_type_are_resolved_in_order(shared: Client) -> None:
    """E-mails and phones as anybody writes them, others byte by byte, customers by id."""
    word = unique()
    phone = "+44207946" + word[1:-1].zfill(4)
    card = person(f"{word}@gmail.com", phone, id=word)
    card.identities.add(type="telegram", value=f"@{word}")
    shared.save(card)
    local = f"(0)20 7946 {phone[-4:]}"
    results = shared.resolve(
        ("telegram", f"@{word}"), ("phone", local), ("email", f" {word.upper()}+x@Gmail.com"),
        ("customer", word), ("telegram", f"@{word.upper()}"), ("email", "broken"),
        ("customer", "nobody"), ("email", f"{word}@gmail.com"), region="GB",
    )  # fmt: skip
    found = [[(m.customer_id, m.same_normal) for m in result.matches] for result in results]
    here, close = [(word, True)], [(word, False)]
    assert found == [here, here, close, here, [], [], [], here]
    assert [result.identity.type for result in results][:3] == ["telegram", "phone", "email"]
    assert results[1].normal == phone
    assert results[2].normal == f"{word.upper()}+x@gmail.com"
    assert results[5].normal == ""


def test_the_same_normal_form_comes_first_then_the_oldest(client: Client) -> None:
    """At most 20 matches, and a flag where there are more."""
    for number in range(22):
        client.save(person(f"a.b+{number}@gmail.com", id=f"n{number}"))
    (result,) = client.resolve(("email", "a.b+7@gmail.com"))
    ids = [match.customer_id for match in result.matches]
    assert ids == ["n7", *(f"n{number}" for number in range(20) if number != 7)]
    assert [match.same_normal for match in result.matches] == [True] + [False] * 19
    assert result.more
    client.delete("n21")
    client.delete("n20")
    (result,) = client.resolve(("email", "a.b+7@gmail.com"))
    assert (len(result.matches), result.more) == (20, False)


@pytest.mark.parametrize(
    ("type", "value", "field"),
    [
        ("", "x", "type"),
        ("Loyalty", "x", "type"),
        ("a b", "x", "type"),
        ("a" * 64, "x", "type"),
        ("erp", "", "value"),
        ("erp", "x" * 401, "value"),
    ],
)
def test_what_is_no_identity_is_refused(shared: Client, type: str, value: str, field: str) -> None:
    """By its place in the request."""
    refused = refusal(lambda: shared.resolve(("erp", "1"), (type, value)))
    assert refused.short == (INVALID, "INVALID_ARGUMENT", f"identities[1].{field}")


# Bounds of requests


def test_batches_and_texts_of_requests_are_bounded(shared: Client) -> None:
    """One more than the limit is refused by its field."""
    stub = shared.customers
    many = v1.BatchGetCustomersRequest(ids=["x"] * 1_001)
    assert refusal(lambda: shared.call(stub.BatchGetCustomers, many)).field == "ids"
    assert refusal(lambda: shared.resolve(*[("erp", "1")] * 5_001)).field == "identities"
    assert refusal(lambda: shared.save(person(), request_id="x" * 65)).field == "request_id"
    assert refusal(lambda: shared.save(person(), default_region="uk")).field == "default_region"
    assert refusal(lambda: shared.resolve(("erp", "1"), region="GBR")).field == "default_region"
    assert refusal(lambda: shared.save(person(), on_duplicate=9)).field == "on_duplicate"
    empty = v1.SaveCustomerRequest()
    assert refusal(lambda: shared.call(stub.SaveCustomer, empty)).field == "customer"


def test_ids_longer_than_a_key_are_nobodys(shared: Client) -> None:
    """A look-up by an id that nobody can have says so, and is no fault of the server."""
    long = "é" * 400
    clear = {grpc.StatusCode.NOT_FOUND, INVALID}
    assert refusal(lambda: shared.get(long)).code in clear
    assert refusal(lambda: shared.history(long)).code in clear
    assert refusal(lambda: shared.delete(long)).code in clear
    asked = v1.ListDuplicatesRequest(id=long)
    assert refusal(lambda: shared.call(shared.duplicates.ListDuplicates, asked)).code in clear
    assert shared.holders("customer", long) == []
    request = v1.BatchGetCustomersRequest(ids=[long])
    (result,) = shared.call(shared.customers.BatchGetCustomers, request).results
    assert not result.HasField("customer")
    counted = v1.CountDuplicatesRequest(ids=[long])
    (count,) = shared.call(shared.duplicates.CountDuplicates, counted).counts
    assert count.not_found


def test_a_card_of_every_field_comes_back_whole(shared: Client) -> None:
    """Nothing of a full card is lost on its way through the store, nor by an equal update."""
    card = full_card()
    saved = shared.save(card).customer
    for name in card.DESCRIPTOR.fields_by_name:
        if name not in ("emails", "phones", "contacts", "id", "etag"):
            assert getattr(saved, name) == getattr(card, name) or name.endswith("_time"), name
    assert saved.contacts[0].phones[0].kind == v1.CONTACT_KIND_OFFICE
    assert saved.contacts[0].preferences.do_not_email
    assert saved.emails[0].primary
    assert saved.emails[0].verification == v1.VERIFICATION_VERIFIED
    assert substance(shared.get(saved.id)) == substance(saved)
    assert shared.save(saved).outcome == UNCHANGED


def full_card() -> v1.Customer:
    """Return a card with every field that a client can set."""
    word = unique()
    card = v1.Customer(
        kind=v1.CUSTOMER_KIND_PERSON, state=v1.CUSTOMER_STATE_ARCHIVED, title="Dr",
        first_name="Ада", middle_name="Ивановна", last_name="Лавлейс", gender=v1.GENDER_FEMALE,
        birth_date=v1.Date(month=2, day=29), company_name="Engines", comment="line\nline\t!",
        stage="lead", owner="o", user_account="u",
        identities=[v1.Identity(type="loyalty.card", value=word)],
        preferences=v1.Preferences(
            do_not_call=True, preferred_contact=v1.PREFERRED_CONTACT_VIBER,
            channels=[v1.ChannelPreference(channel=v1.CHANNEL_SMS, consent=v1.CONSENT_DENIED)],
        ),
        tags=["t"], sources=["s"], campaigns=["c"], groups=["g"],
    )  # fmt: skip
    verified = v1.VERIFICATION_VERIFIED
    kind = v1.CONTACT_KIND_WORK
    card.emails.add(value=f"{word}@x.example", kind=kind, primary=True, verification=verified)
    card.phones.add(value="+442079460018", kind=v1.CONTACT_KIND_FAX, primary=True)
    card.addresses.add(
        kind=kind, primary=True, lines=["1 St James's Sq"], city="London", postcode="SW1",
        administrative_area="Greater London", country="GB",
    )  # fmt: skip
    contact = card.contacts.add(
        id="c", title="Mr", first_name="C", middle_name="D", last_name="Babbage", position="p",
        primary=True, preferences=v1.Preferences(do_not_email=True),
    )  # fmt: skip
    contact.emails.add(value=f"{word}b@x.example")
    contact.phones.add(value="+442079460019", kind=v1.CONTACT_KIND_OFFICE)
    fields = card.custom_fields
    fields["text"].text = ""
    fields["integer"].integer = -(1 << 63)
    fields["number"].number = -0.5
    fields["flag"].flag = False
    fields["date"].date.year = 1999
    fields["time"].time.seconds = -1
    fields["texts"].texts.values.extend(["b", "a", "b"])
    assert all(descriptor for descriptor, _ in card.ListFields())
    return card
