"""Items of customers that are merged and given back: whose they are, and who shows them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from namesake import v1
from tests.server.client import Client, person
from tests.server.test_timeline import counted, drop, get, note, order, page, pin, texts

NOTE, ORDER = v1.ITEM_KIND_NOTE, v1.ITEM_KIND_ORDER


@pytest.fixture
def noted(client: Client) -> Iterator[Client]:
    """Four customers with a note each, `na` of `a` and so on; the second's is pinned."""
    for id in "abcd":
        client.save(person(id=id))
        client.add(note(id, f"of {id}", 5, id=f"n{id}"))
    pin(client, "b", "nb")
    yield client
    assert client.faults() == []


def pinned(client: Client, id: str) -> str:
    """Return the id of the pinned note."""
    return page(client, id).pinned.id


def test_a_survivor_shows_what_its_members_have_and_an_unmerge_gives_it_back(
    noted: Client,
) -> None:
    """What was added by a member's id meanwhile, too; counts and pins are those of the tree."""
    noted.merge("a", "b")
    assert pinned(noted, "a") == pinned(noted, "b") == "nb"
    noted.add(note("b", "late", 6, id="late"), note("a", "own", 7, id="own"))
    assert [get(noted, id).item.customer_id for id in ("late", "own")] == ["b", "a"]
    assert get(noted, "late").shown_by_id == "a"
    assert texts(noted.items("a")) == texts(noted.items("b")) == ["own", "late", "of b", "of a"]
    assert counted(noted, "a", "b") == [{NOTE: 4}, {NOTE: 4}]
    pin(noted, "a", "na")
    assert pinned(noted, "a") == "na"
    noted.unmerge("b")
    assert texts(noted.items("a")) == ["own", "of a"]
    assert texts(noted.items("b")) == ["late", "of b"]
    assert (pinned(noted, "a"), pinned(noted, "b")) == ("na", "nb")
    assert counted(noted, "a", "b") == [{NOTE: 2}, {NOTE: 2}]


def test_an_item_that_is_added_again_stays_with_who_has_it(noted: Client) -> None:
    """Of the same customer, by whatever id of it; another's id moves it."""
    noted.merge("a", "b")
    noted.merge("c", "a")
    for number, id in enumerate("abc"):
        noted.add(*(note(id, f"{id} {one}", number, id=one) for one in ("na", "nb", "nc")))
        assert [get(noted, f"n{one}").item.customer_id for one in "abc"] == ["a", "b", "c"]
        assert counted(noted, "c") == [{NOTE: 3}]
    noted.add(note("d", "moved", 1, id="nb"))
    assert get(noted, "nb").item.customer_id == get(noted, "nb").shown_by_id == "d"
    noted.unmerge("a")
    assert texts(noted.items("a")) == ["c na"]
    assert texts(noted.items("c")) == ["c nc"]
    assert texts(noted.items("d")) == ["of d", "moved"]


def test_the_priority_has_the_last_word_on_pins(noted: Client) -> None:
    """Its own, or none, while that counts; then the first member's who says something."""
    pin(noted, "a", "na")
    pin(noted, "c", "nc")
    noted.merge("a", "b", "c")
    assert pinned(noted, "a") == "na"
    drop(noted, "na")
    assert pinned(noted, "a") == "nb"
    noted.add(note("d", id="nb"))  # moved to a stranger
    assert pinned(noted, "a") == "nc"
    pin(noted, "a")
    assert pinned(noted, "a") == ""
    noted.unmerge("c")
    assert (pinned(noted, "a"), pinned(noted, "c")) == ("", "nc")


def test_a_retry_keeps_the_time(noted: Client) -> None:
    """Of an item without a time, which got the server's; a new customer or text changes none."""
    noted.add(v1.Item(id="x", customer_id="a", kind=NOTE, text="first"))
    first = get(noted, "x").item
    for id in "ab":
        noted.add(v1.Item(id="x", customer_id=id, kind=NOTE, text=f"again {id}"))
        again = get(noted, "x").item
        assert (again.time, again.text, again.customer_id) == (first.time, f"again {id}", id)
    noted.add(note("b", "given", 9, id="x"), v1.Item(id="x", customer_id="b", kind=NOTE))
    assert get(noted, "x").item.time.seconds == 9


def test_a_survivor_is_deleted_with_the_items_of_its_whole_tree(noted: Client) -> None:
    """Of members of members too, and no others."""
    for id in "abcd":
        noted.add(order(id, "1", 1, id=f"o{id}", email="same@x.example"))
    noted.merge("b", "c")
    noted.merge("a", "b")
    noted.add(note("c", "late", id="late"))
    noted.delete("a")
    assert [item.id for item in noted.items("d")] == ["nd", "od"]
    tables = {table.name: table.entries for table in noted.stats().tables}
    assert (tables["items"], tables["item_ids"], tables["timeline"]) == (2, 2, 2)
    assert (tables["item_counts"], tables["item_points"], tables["pins"]) == (2, 1, 0)
