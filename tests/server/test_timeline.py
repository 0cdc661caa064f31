"""Items linked to customers: added, listed, pinned, counted, deleted; and orders of duplicates."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any

import grpc
import pytest
from google.protobuf import text_format
from google.protobuf.timestamp_pb2 import Timestamp

from namesake import v1
from tests.conftest import Server, StartServer
from tests.server.client import Client, over_workers, person, refusal, unique

INVALID = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
PHONE = "+442079460018"
KINDS = v1.ItemKind.values()[1:]


def at(seconds: int, nanos: int = 0) -> Timestamp:
    """Return a time."""
    return Timestamp(seconds=seconds, nanos=nanos)


def note(customer_id: str, text: str = "", seconds: int = 0, **fields: Any) -> v1.Item:
    """Return a note."""
    return v1.Item(
        customer_id=customer_id, kind=v1.ITEM_KIND_NOTE, text=text, time=at(seconds), **fields
    )


def order(customer_id: str, number: str, seconds: int = 0, **fields: Any) -> v1.Item:
    """Return an order."""
    return v1.Item(
        customer_id=customer_id, kind=v1.ITEM_KIND_ORDER, subject=number, time=at(seconds), **fields
    )


def texts(items: list[v1.Item]) -> list[str]:
    """Return the texts of items."""
    return [item.text for item in items]


def page(client: Client, id: str, **asked: Any) -> v1.ListItemsResponse:
    """List one page."""
    request = v1.ListItemsRequest(customer_id=id, **asked)
    answer: v1.ListItemsResponse = client.call(client.timeline.ListItems, request)
    return answer


def get(client: Client, id: str) -> v1.GetItemResponse:
    """Return one item and who shows it."""
    answer: v1.GetItemResponse = client.call(client.timeline.GetItem, v1.GetItemRequest(id=id))
    return answer


def drop(client: Client, *ids: str) -> int:
    """Delete items; return how many there were."""
    answer = client.call(client.timeline.DeleteItems, v1.DeleteItemsRequest(ids=ids))
    return int(answer.deleted)


def pin(client: Client, customer_id: str, item_id: str = "") -> None:
    """Pin a note, or none."""
    request = v1.PinNoteRequest(customer_id=customer_id, item_id=item_id)
    client.call(client.timeline.PinNote, request)


def counted(client: Client, *ids: str) -> list[dict[int, int]]:
    """Count items by kind."""
    answer = client.call(client.timeline.CountItems, v1.CountItemsRequest(customer_ids=ids))
    assert [result.customer_id for result in answer.results] == list(ids)
    return [{one.kind: one.count for one in result.counts} for result in answer.results]


@pytest.fixture
def ada(shared: Client) -> str:
    """A customer of the shared server that nobody else knows."""
    return shared.save(person(id=unique())).customer.id


def test_every_field_comes_back(shared: Client, ada: str) -> None:
    """With the ids given or a new one, the time to the microsecond, and normal forms."""
    given = [
        note(ada, "called twice", 5, id=unique(), author="bob", source="crm"),
        v1.Item(
            customer_id=ada, kind=v1.ITEM_KIND_CALL, time=at(4), direction=v1.DIRECTION_IN,
            duration_s=61,
        ),
        v1.Item(
            customer_id=ada, kind=v1.ITEM_KIND_TASK, time=at(3), subject="ring", due_time=at(99, 7),
        ),
        v1.Item(
            customer_id=ada, kind=v1.ITEM_KIND_ATTACHMENT, time=at(2), uri="s3://b/k",
            media_type="text/plain; charset=utf-8", size_bytes=1 << 40,
        ),
        order(
            ada, "A-1", 1, amount=v1.Money(currency="EUR", units=-3, nanos=-500_000_000),
            email="Ada.B@GMail.com", phone="020 7946 0018", state="paid",
        ),
        v1.Item(
            customer_id=ada, kind=v1.ITEM_KIND_METRIC, time=at(-9, 123_456_000), number=0.5,
            attributes={"from": v1.CustomValue(text="web"), "at": v1.CustomValue(time=at(1))},
        ),
    ]  # fmt: skip
    results = shared.add(*given, default_region="GB")
    assert [(result.reason, result.message) for result in results] == [("", "")] * len(given)
    for item, result in zip(given, results, strict=True):
        item.id = item.id or result.id
    given[2].status = v1.TASK_STATUS_OPEN
    given[4].email_normal, given[4].phone_normal = "Ada.B@gmail.com", PHONE
    assert shared.items(ada) == given
    assert [get(shared, item.id) for item in given] == [
        v1.GetItemResponse(item=item, shown_by_id=ada) for item in given
    ]


def test_what_has_no_time_gets_the_servers(shared: Client, ada: str) -> None:
    """So that it is the newest; and what the server sets is not taken from callers."""
    pretended = v1.Item(
        customer_id=ada, kind=v1.ITEM_KIND_EVENT, pinned=True, email_normal="x", phone_normal="y"
    )
    shared.add(note(ada, "old", 1_700_000_000), pretended)
    newest, _ = shared.items(ada)
    assert newest.kind == v1.ITEM_KIND_EVENT
    assert abs(newest.time.seconds - v1_now()) < 60
    assert (newest.pinned, newest.email_normal, newest.phone_normal) == (False, "", "")


def v1_now() -> int:
    """Return seconds since the epoch."""
    now = Timestamp()
    now.GetCurrentTime()
    return now.seconds


def test_broken_points_are_kept_without_normal_form(shared: Client, ada: str) -> None:
    """An order is what the shop says, whatever somebody typed there."""
    (result,) = shared.add(order(ada, "1", email="nobody@", phone="none"))
    item = get(shared, result.id).item
    assert (item.email, item.phone) == ("nobody@", "none")
    assert (item.email_normal, item.phone_normal) == ("", "")


def test_an_item_of_the_same_id_replaces(shared: Client, ada: str) -> None:
    """Again and again, within a batch too; also the customer, the kind and the time."""
    other = shared.save(person(id=unique())).customer.id
    id = unique()
    for _ in range(2):
        shared.add(note(ada, "first", 9, id=id))
        assert texts(shared.items(ada)) == ["first"]
    shared.add(note(ada, "second", 8, id=id), note(ada, "third", 7, id=id))
    assert texts(shared.items(ada)) == ["third"]
    shared.add(v1.Item(id=id, customer_id=other, kind=v1.ITEM_KIND_COMMENT, text="moved"))
    assert shared.items(ada) == []
    assert texts(shared.items(other)) == ["moved"]
    assert counted(shared, ada, other) == [{}, {v1.ITEM_KIND_COMMENT: 1}]
    assert drop(shared, id, id, unique()) == 1
    assert drop(shared, id) == 0
    assert shared.items(other) == []
    assert refusal(lambda: get(shared, id)).short == (*NOT_FOUND, "id")


def test_one_that_cannot_be_added_disturbs_no_other(shared: Client, ada: str) -> None:
    """Each has its own result, in order."""
    gone = shared.save(person(id=unique())).customer.id
    shared.delete(gone)
    bad = [note(gone, id="of-gone"), note(unique()), note(""), v1.Item(customer_id=ada)]
    results = shared.add(note(ada, "a"), *bad, note(ada, "b", 1))
    assert [(one.reason, one.field) for one in results] == [
        ("", ""), ("CUSTOMER_DELETED", "customer_id"), ("NOT_FOUND", "customer_id"),
        ("INVALID_ARGUMENT", "customer_id"), ("INVALID_ARGUMENT", "kind"), ("", ""),
    ]  # fmt: skip
    assert [bool(one.message) for one in results] == [False, *[True] * 4, False]
    assert results[1].id == "of-gone"
    assert texts(shared.items(ada)) == ["b", "a"]


# What is merged into a good note (protobuf text format), and the field at fault.
BROKEN = {
    "id too long": (f'id: "{"x" * 129}"', "id"),
    "id with a control character": ('id: "a\\nb"', "id"),
    "customer's id with space around it": ('customer_id: " a"', "customer_id"),
    "unknown kind": ("kind: 12", "kind"),
    "negative kind": ("kind: -1", "kind"),
    "time before the year 1": ("time { seconds: -62135596801 }", "time"),
    "nanoseconds of more than a second": ("time { nanos: 1000000000 }", "time"),
    "direction of a note": ("direction: DIRECTION_IN", "direction"),
    "status of a note": ("status: TASK_STATUS_OPEN", "status"),
    "due time of a note": ("due_time { seconds: 1 }", "due_time"),
    "uri of a note": ('uri: "file:x"', "uri"),
    "e-mail of a note": ('email: "a@x.example"', "email"),
    "phone of a note": ('phone: "1"', "phone"),
    "amount of a note": ('amount { currency: "EUR" }', "amount"),
    "state of a note": ('state: "won"', "state"),
    "figure of a note": ("number: 1", "number"),
    "duration of a message": ("kind: ITEM_KIND_SMS duration_s: 1", "duration_s"),
    "unknown direction": ("kind: ITEM_KIND_SMS direction: 3", "direction"),
    "unknown status": ("kind: ITEM_KIND_TASK status: 4", "status"),
    "due at no time": ("kind: ITEM_KIND_TASK due_time { nanos: -1 }", "due_time"),
    "negative duration": ("kind: ITEM_KIND_CALL duration_s: -1", "duration_s"),
    "negative size": ("kind: ITEM_KIND_ATTACHMENT size_bytes: -1", "size_bytes"),
    "media type": ('kind: ITEM_KIND_ATTACHMENT media_type: "text"', "media_type"),
    "currency": ('kind: ITEM_KIND_DEAL amount { currency: "eur" }', "amount.currency"),
    "amount without currency": ("kind: ITEM_KIND_DEAL amount { units: 1 }", "amount.currency"),
    "two signs": (
        'kind: ITEM_KIND_DEAL amount { currency: "EUR" units: 1 nanos: -1 }', "amount.nanos"),
    "a unit of nanos": (
        'kind: ITEM_KIND_DEAL amount { currency: "EUR" nanos: 1000000000 }', "amount.nanos"),
    "NaN": ("kind: ITEM_KIND_METRIC number: nan", "number"),
    "infinity": ("kind: ITEM_KIND_METRIC number: -inf", "number"),
    "long e-mail": (f'kind: ITEM_KIND_ORDER email: "{"x" * 1001}"', "email"),
    "long text": (f'text: "{"x" * 10001}"', "text"),
    "NUL": ('subject: "a\\000"', "subject"),
    "attribute's name": ('attributes { key: "A" value { flag: true } }', "attributes"),
    "attribute without value": ('attributes { key: "a" value {} }', "attributes.a"),
    "attribute of no number": ('attributes { key: "a" value { number: inf } }', "attributes.a"),
    "attribute's long text": (
        f'attributes {{ key: "a" value {{ text: "{"x" * 10001}" }} }}', "attributes.a.text"),
    "101 attributes": (
        "".join(f'attributes {{ key: "a{n}" value {{ flag: true }} }}' for n in range(101)),
        "attributes"),
    "more than 64 KiB": (
        "".join(f'attributes {{ key: "a{n}" value {{ text: "{"x" * 9999}" }} }}' for n in
        range(7)), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_each_rule_names_its_field(shared: Client, ada: str, name: str) -> None:
    """As the path within the item; nothing is stored."""
    broken, field = BROKEN[name]
    (result,) = shared.add(text_format.Merge(broken, note(ada)))
    assert (result.reason, result.field) == ("INVALID_ARGUMENT", field)
    assert shared.items(ada) == []


def test_requests_are_bounded(shared: Client, ada: str) -> None:
    """Batches, pages, filters, regions, and customers that are not there."""
    stub = shared.timeline
    listing = partial(v1.ListItemsRequest, customer_id=ada)
    adding = [note(ada)] * 1_001
    ids = [ada] * 1_001
    gone = shared.save(person(id=unique())).customer.id
    shared.delete(gone)
    for call, request, expected in (
        (stub.AddItems, v1.AddItemsRequest(), "items"),
        (stub.AddItems, v1.AddItemsRequest(items=adding), "items"),
        (stub.AddItems, v1.AddItemsRequest(items=adding[:1], default_region="XX"),
         "default_region"),
        (stub.DeleteItems, v1.DeleteItemsRequest(), "ids"),
        (stub.DeleteItems, v1.DeleteItemsRequest(ids=ids), "ids"),
        (stub.CountItems, v1.CountItemsRequest(customer_ids=ids), "customer_ids"),
        (stub.ListItems, listing(page_size=-1), "page_size"),
        (stub.ListItems, listing(kinds=[*KINDS[:2], v1.ITEM_KIND_UNSPECIFIED]), "kinds[2]"),
        (stub.ListItems, text_format.Merge("kinds: 99", listing()), "kinds[0]"),
        (stub.ListItems, listing(to_time=at(1, -1)), "to_time"),
        (stub.ListItems, listing(page_token="x"), "page_token"),
    ):  # fmt: skip
        refused = refusal(partial(shared.call, call, request))
        assert refused.short == (*INVALID, expected)
    for id in ("", unique()):
        assert refusal(partial(shared.items, id)).short == (*NOT_FOUND, "customer_id")
    refused = refusal(lambda: shared.items(gone))
    assert (refused.reason, refused.field) == ("CUSTOMER_DELETED", "customer_id")
    assert refusal(lambda: get(shared, "")).short == (*NOT_FOUND, "id")
    assert counted(shared, gone, "", ada) == [{}, {}, {}]


@pytest.fixture(scope="module")
def busy(shared_server: Server) -> Iterator[tuple[Client, str, list[v1.Item]]]:
    """A customer with 300 items of all kinds, newest first, many of the same time."""
    with shared_server.channel() as channel:
        client = Client(channel)
        id = client.save(person(id=unique())).customer.id
        dice = random.Random(6)
        items = []
        for number in range(300):
            kind = dice.choice(KINDS)
            item = v1.Item(
                id=f"{id}-{number}", customer_id=id, kind=kind, time=at(dice.randrange(20))
            )
            if kind == v1.ITEM_KIND_TASK:
                item.status = dice.choice(v1.TaskStatus.values()[1:])
            items.append(item)
        assert all(not result.reason for result in client.add(*items))
        ordered = sorted(enumerate(items), key=lambda one: (one[1].time.seconds, one[0]))
        yield client, id, [item for _, item in reversed(ordered)]


def is_open(item: v1.Item) -> bool:
    """Tell whether lists show an item unless they are asked for closed ones."""
    return item.status not in (v1.TASK_STATUS_COMPLETED, v1.TASK_STATUS_CANCELLED)


@pytest.mark.parametrize("page_size", [1, 7, 1_000])
def test_a_list_is_paged_newest_first(
    busy: tuple[Client, str, list[v1.Item]], page_size: int
) -> None:
    """Of one time the last added first; completed tasks where they are asked for."""
    client, id, items = busy
    assert client.items(id, page_size) == [item for item in items if is_open(item)]
    assert client.items(id, page_size, with_completed=True) == items


@pytest.mark.parametrize("kinds", [[5], [1, 7], [3, 3, 11], KINDS])
@pytest.mark.parametrize("span", [(None, None), (5, 9), (19, None), (None, 1), (9, 9), (12, 3)])
def test_a_list_is_filtered(
    busy: tuple[Client, str, list[v1.Item]],
    kinds: list[int],
    span: tuple[int | None, int | None],
) -> None:
    """By kind and time: from one, and before another."""
    client, id, items = busy
    first, end = span
    terms = {"from_time": first, "to_time": end}
    times = {name: at(second) for name, second in terms.items() if second is not None}
    expected = [
        item
        for item in items
        if item.kind in kinds
        and is_open(item)
        and (first is None or item.time.seconds >= first)
        and (end is None or item.time.seconds < end)
    ]
    assert client.items(id, 7, kinds=kinds, **times) == expected


def test_bounds_of_a_list_have_nanoseconds(shared: Client, ada: str) -> None:
    """An item within the microsecond of a bound is before it, or not: as its stored time says."""
    shared.add(note(ada, "a", 1), note(ada, "b", 2))
    assert texts(shared.items(ada, from_time=at(1, 1))) == ["b"]
    assert texts(shared.items(ada, to_time=at(1, 1))) == ["a"]
    assert texts(shared.items(ada, from_time=at(1), to_time=at(2))) == ["a"]


def test_all_is_counted_completed_tasks_too(busy: tuple[Client, str, list[v1.Item]]) -> None:
    """By kind, in their order."""
    client, id, items = busy
    (counts,) = counted(client, id)
    assert counts == Counter(item.kind for item in items)
    assert list(counts) == sorted(counts)


def test_a_token_is_of_one_list(shared: Client, ada: str) -> None:
    """Not of another customer, filter or method; what is added meanwhile shifts nothing."""
    other = shared.save(person(id=unique())).customer.id
    shared.add(*(note(ada, str(number), number) for number in range(4)))
    first = page(shared, ada, page_size=2)
    token = first.next_page_token
    others: list[tuple[str, dict[str, Any]]] = [
        (other, {}), (ada, {"kinds": [1]}), (ada, {"with_completed": True}),
    ]  # fmt: skip
    for id, asked in others:
        refused = refusal(partial(page, shared, id, page_token=token, **asked))
        assert refused.short == (*INVALID, "page_token")
    shared.add(note(ada, "new", 9))
    drop(shared, first.items[1].id)
    rest = page(shared, ada, page_size=2, page_token=token)
    assert texts(list(rest.items)) == ["1", "0"]
    assert rest.next_page_token == ""


def test_large_items_make_short_pages(shared: Client, ada: str) -> None:
    """So that an answer stays below what clients take; none is lost."""
    big = {f"a{n}": v1.CustomValue(text="x" * 10_000) for n in range(6)}
    shared.add(*(note(ada, str(number), number, attributes=big) for number in range(60)))
    first = page(shared, ada, page_size=1_000)
    assert 30 < len(first.items) < 45
    assert [int(text) for text in texts(shared.items(ada, 1_000))] == list(range(59, -1, -1))


def test_one_note_is_pinned(shared: Client, ada: str) -> None:
    """To the first page of any list; another takes its place, and none is none."""
    other = shared.save(person(id=unique())).customer.id
    ids = [f"{ada}-{number}" for number in range(3)]
    shared.add(*(note(ada, id, second, id=id) for second, id in enumerate(ids)))
    shared.add(v1.Item(id=f"{ada}-call", customer_id=ada, kind=v1.ITEM_KIND_CALL))
    assert not page(shared, ada).HasField("pinned")
    for id in (ids[0], ids[1], ids[1]):
        pin(shared, ada, id)
        first = page(shared, ada, page_size=1, kinds=[v1.ITEM_KIND_CALL])
        assert (first.pinned.id, first.pinned.pinned) == (id, True)
        assert [one.id for one in shared.items(ada) if one.pinned] == [id]
        assert [get(shared, one).item.pinned for one in ids] == [one == id for one in ids]
    token = page(shared, ada, page_size=1).next_page_token
    assert not page(shared, ada, page_token=token).HasField("pinned")
    for customer, item, expected in (
        (ada, f"{ada}-call", (*INVALID, "item_id")),
        (ada, unique(), (*NOT_FOUND, "item_id")),
        (other, ids[0], (*NOT_FOUND, "item_id")),
        (unique(), ids[0], (*NOT_FOUND, "customer_id")),
    ):
        assert refusal(partial(pin, shared, customer, item)).short == expected
    pin(shared, ada)
    assert not page(shared, ada).HasField("pinned")


@pytest.mark.parametrize("how", ["deleted", "moved", "no note any more"])
def test_a_pinned_note_that_is_none_any_more(shared: Client, ada: str, how: str) -> None:
    """Leaves nothing pinned."""
    other = shared.save(person(id=unique())).customer.id
    id = unique()
    shared.add(note(ada, id=id), note(ada, "another"))
    pin(shared, ada, id)
    if how == "deleted":
        drop(shared, id)
    elif how == "moved":
        shared.add(note(other, id=id))
    else:
        shared.add(v1.Item(id=id, customer_id=ada, kind=v1.ITEM_KIND_COMMENT))
    assert not page(shared, ada).HasField("pinned")
    assert not any(item.pinned for item in (*shared.items(ada), *shared.items(other)))


def test_items_go_with_their_customer(client: Client) -> None:
    """All of them, and no others."""
    for id in ("a", "b"):
        client.save(person(id=id))
        client.add(*(order(id, "1", n, id=f"{id}{n}", email="x@x.example") for n in range(30)))
        client.add(note(id, id=f"{id}-note"))
        pin(client, id, f"{id}-note")
    client.delete("a")
    assert refusal(lambda: get(client, "a7")).short == (*NOT_FOUND, "id")
    assert len(client.items("b")) == 31
    tables = {table.name: table.entries for table in client.stats().tables}
    assert (tables["items"], tables["item_ids"], tables["timeline"]) == (31, 31, 31)
    assert (tables["item_counts"], tables["pins"]) == (2, 1)
    assert client.faults() == []


def orders_of(client: Client, **asked: Any) -> list[v1.PointOrders]:
    """List who else ordered with the points of a subject."""
    request = v1.ListDuplicatesRequest(**asked)
    return list(client.call(client.duplicates.ListDuplicates, request).orders)


def test_duplicates_list_orders_with_the_same_points(client: Client) -> None:
    """Of others alone, by normal form and match key, newest first, of stored ones and drafts."""
    client.save(person("ada.b@gmail.com", PHONE, id="ada"))
    for id in ("bob", "cyd"):
        client.save(person(id=id))
    client.add(
        order("ada", "own", 9, id="own", email="ada.b@gmail.com"),
        order("bob", "B-1", 1, id="b1", email="AdaB+shop@gmail.com"),
        order("cyd", "C-1", 3, id="c1", email="ada.b@googlemail.com", phone=PHONE),
        order("bob", "B-2", 2, id="b2", email="ada.b@gmail.com"),
        order("bob", "B-3", 4, id="b3", email="else@gmail.com"),
    )
    email, phone = orders_of(client, id="ada")
    assert (email.field, email.normal, email.more) == ("emails[0]", "ada.b@gmail.com", False)
    assert [(one.item_id, one.customer_id, one.subject) for one in email.orders] == [
        ("c1", "cyd", "C-1"), ("b2", "bob", "B-2"), ("b1", "bob", "B-1"),
    ]  # fmt: skip
    assert email.orders[0].time == at(3)
    assert (phone.field, [one.item_id for one in phone.orders]) == ("phones[0]", ["c1"])
    draft = person("adab@gmail.com")
    (email,) = orders_of(client, draft=draft, page_size=2)
    assert [one.item_id for one in email.orders] == ["own", "c1"]
    assert email.more
    assert orders_of(client, id="bob") == []
    client.add(order("ada", "taken back", id="b2"), order("cyd", "C-1", 3, id="c1", phone=PHONE))
    email, phone = orders_of(client, id="ada")
    assert [one.item_id for one in email.orders] == ["b1"]
    assert [one.item_id for one in phone.orders] == ["c1"]


def test_orders_are_looked_for_within_a_bound(start_server: StartServer) -> None:
    """Own ones before them use it up; that there may be more is told."""
    server = start_server(NAMESAKE_SCAN_LIMIT_ROWS="10")
    with server.channel() as channel:
        client = Client(channel)
        for id in ("ada", "bob"):
            client.save(person("a@x.example", id=id))
        client.add(order("bob", "old", 0, id="bobs", email="a@x.example"))
        client.add(*(order("ada", "own", 1 + n, email="a@x.example") for n in range(9)))
        (orders,) = orders_of(client, id="ada")
        assert ([one.item_id for one in orders.orders], orders.more) == (["bobs"], False)
        client.add(order("ada", "own", 99, email="a@x.example"))
        (orders,) = orders_of(client, id="ada")
        assert (len(orders.orders), orders.more) == (0, True)


class Adder(threading.Thread):
    """Adds items over and over, until the server is gone; notes what was acknowledged."""

    def __init__(self, client: Client, seed: int, rounds: int | None) -> None:
        super().__init__()
        self._client = client
        self._dice = random.Random(seed)
        self._rounds = range(rounds) if rounds else count()
        self.acknowledged: set[str] = set()

    def run(self) -> None:
        """Add a batch each time."""
        try:
            for _ in self._rounds:
                self._add()
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise

    def _add(self) -> None:
        dice = self._dice
        ids = dice.sample(range(3_000), dice.choice([1, 1, 5, 200]))
        items = [
            order(f"c{dice.randrange(3)}", "1", dice.randrange(9), id=str(id), email="a@x.example")
            for id in ids
        ]
        assert not any(result.reason for result in self._client.add(*items))
        self.acknowledged.update(map(str, ids))


def test_two_workers_add_at_once(start_server: StartServer) -> None:
    """The same ids, to the same customers: each item is there once."""
    server = start_server("--workers", "2")
    with over_workers(server, 4) as clients:
        client = clients[0]
        for number in range(3):
            client.save(person(id=f"c{number}"))
        adders = [Adder(one, seed, 15) for seed, one in enumerate(clients)]
        for adder in adders:
            adder.start()
        for adder in adders:
            adder.join()
        expected = set[str]().union(*(adder.acknowledged for adder in adders))
        found = [item.id for n in range(3) for item in client.items(f"c{n}", 1_000)]
        assert sorted(found) == sorted(expected)
        counts = counted(client, "c0", "c1", "c2")
        assert sum(sum(one.values()) for one in counts) == len(expected)
        assert client.faults() == []


@pytest.mark.parametrize("seed", range(3))
def test_what_was_acknowledged_survives_a_kill(start_server: StartServer, seed: int) -> None:
    """At any moment; of a batch all or nothing is there."""
    server = start_server()
    with server.channel() as channel:
        for number in range(3):
            Client(channel).save(person(id=f"c{number}"))
    with over_workers(server, 2, workers=1) as clients:
        adders = [Adder(one, 10 * seed + number, None) for number, one in enumerate(clients)]
        for adder in adders:
            adder.start()
        threading.Event().wait(0.3 + random.Random(seed).random())
        server.kill()
        for adder in adders:
            adder.join()
    server.start()
    with server.channel() as channel:
        client = Client(channel)
        found = {item.id for n in range(3) for item in client.items(f"c{n}", 1_000)}
        assert found >= adders[0].acknowledged | adders[1].acknowledged != set()
        assert client.faults() == []
