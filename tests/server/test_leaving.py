"""Customers that are deleted with more items than one commit drops: at once for all who ask."""

from __future__ import annotations

import random
import time
from functools import partial

import pytest

from namesake import v1
from tests.conftest import StartServer, wait_until
from tests.server.bulk_work import BulkWork, by_ids
from tests.server.client import Client, person, refusal
from tests.server.long_work import Work as Operations
from tests.server.test_timeline import (
    NOT_FOUND,
    counted,
    drop,
    get,
    note,
    order,
    orders_of,
    page,
    pin,
    texts,
)

EMAIL = "same@x.example"
NEVER = {"NAMESAKE_ITEM_DROP_ROWS": "20", "NAMESAKE_ITEM_DROP_LOOK_S": "3600"}
SOON = {"NAMESAKE_ITEM_DROP_ROWS": "20", "NAMESAKE_ITEM_DROP_LOOK_S": "0.05"}


def stored(client: Client, *names: str) -> list[int]:
    """Return how many entries sub-databases have."""
    tables = {table.name: table.entries for table in client.stats().tables}
    return [tables[name] for name in names]


def ordered(id: str, count: int) -> list[v1.Item]:
    """Return a customer's orders, `o<id>0` and so on."""
    return [order(id, id, number, id=f"o{id}{number}", email=EMAIL) for number in range(count)]


def test_what_is_left_of_many_items_is_found_by_nobody(start_server: StartServer) -> None:
    """Neither by its id nor by its points; an id of it is free; and the next start drops it."""
    server = start_server(**NEVER)
    with server.channel() as channel:
        client = Client(channel)
        for id in ("gone", "member", "other", "probe"):
            client.save(person(EMAIL, id=id))
        client.add(*ordered("gone", 15), *ordered("member", 15), *ordered("other", 2))
        client.add(note("gone", "pinned", id="note"))
        pin(client, "gone", "note")
        client.merge("gone", "member")
        client.delete("gone")
        assert stored(client, "leaving", "items", "pins") == [2, 33, 0]
        assert client.faults() == []

        for id in ("ogone3", "omember3", "note"):
            assert refusal(partial(get, client, id)).short == (*NOT_FOUND, "id")
            assert refusal(partial(pin, client, "other", id)).short == (*NOT_FOUND, "item_id")
        for id in ("gone", "member"):
            assert refusal(partial(page, client, id)).reason == "CUSTOMER_DELETED"
        assert counted(client, "gone", "member") == [{}, {}]
        assert drop(client, "ogone3", "omember3", "note") == 0
        (orders,) = orders_of(client, id="probe", page_size=5)
        assert [one.item_id for one in orders.orders] == ["oother1", "oother0"]
        assert not orders.more

        began = time.time()
        client.add(v1.Item(id="ogone3", customer_id="other", kind=v1.ITEM_KIND_NOTE, text="new"))
        assert get(client, "ogone3").item.time.seconds >= int(began)
        assert counted(client, "other") == [{v1.ITEM_KIND_NOTE: 1, v1.ITEM_KIND_ORDER: 2}]
        assert client.faults() == []
    assert server.stop() == 0
    server.environment.update(SOON)
    server.start()
    with server.channel() as channel:
        client = Client(channel)
        wait_until(lambda: stored(client, "leaving") == [0])
        assert stored(client, "items", "item_ids", "timeline", "item_counts") == [3, 3, 3, 2]
        assert texts(client.items("other"))[0] == "new"
        assert client.faults() == []


@pytest.mark.parametrize("seed", range(2))
def test_dropping_goes_on_after_a_kill(start_server: StartServer, seed: int) -> None:
    """At any moment, by either worker's deletion."""
    server = start_server("--workers", "2", **SOON)
    with server.channel() as channel:
        client = Client(channel)
        for id in ("a", "b", "kept"):
            client.save(person(id=id))
        for _ in range(2):
            client.add(*ordered("a", 900), *ordered("kept", 2))
            client.add(*ordered("b", 900))
        for id in "ab":
            client.delete(id)
    time.sleep(random.Random(seed).random() / 3)
    server.kill()
    server.start()
    with server.channel() as channel:
        client = Client(channel)
        assert client.faults() == []
        wait_until(lambda: stored(client, "leaving") == [0])
        assert stored(client, "items", "item_points") == [2, 2]
        assert client.faults() == []


def test_a_deletion_of_many_leaves_what_is_too_much(start_server: StartServer) -> None:
    """What one commit drops is counted over all its deletions."""
    with start_server(**SOON).channel() as channel:
        client = Client(channel)
        ids = [f"c{number}" for number in range(30)]
        client.import_all("job", [person(id=id) for id in [*ids, "kept"]])
        client.add(*(one for id in [*ids, "kept"] for one in ordered(id, 15)))
        operation = BulkWork(client).delete(by_ids(*ids), len(ids))
        assert Operations(client).wait(operation).HasField("response")
        assert refusal(lambda: get(client, "oc70")).short == (*NOT_FOUND, "id")
        assert client.faults() == []
        wait_until(lambda: stored(client, "leaving") == [0])
        assert stored(client, "items", "item_counts", "item_points") == [15, 1, 15]
        assert client.faults() == []
