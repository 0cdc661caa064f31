"""What is left of customers that were deleted: their ids, and nothing that their cards said.

Each story has words that only its customers' cards have; then they are deleted, and the words are
looked for: in the feed and the histories, in a backup, in every file of the server, of which the
index is compacted before.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from namesake import v1
from service.index.copying import compact
from tests.conftest import NO_DNS, Server, StartServer, wait_until
from tests.server.bulk_work import BulkWork, by_ids
from tests.server.client import Client, person
from tests.server.long_work import Work as Operations
from tests.server.test_timeline import drop, note, order, pin

SECRET = "zaitseva"  # in names, e-mails, comments, identities and custom fields
KEEP = [v1.UnmergeChoice(action=v1.UNMERGE_ACTION_KEEP)]
RESTORE = [v1.UnmergeChoice(action=v1.UNMERGE_ACTION_RESTORE)]
PHONE = "+442079460321"


def secret(id: str, **more: str) -> v1.Customer:
    """Return a card full of words that are to go."""
    card = person(f"{SECRET}.{id}@x.example", PHONE, last_name=f"Zaitseva {SECRET}", id=id, **more)
    card.first_name = f"Ludmila-{SECRET}"
    card.tags.append(f"tag-{SECRET}")
    card.custom_fields[f"field_{SECRET}"].text = SECRET
    card.identities.add(type="crm", value=f"{SECRET}-{id}")
    card.contacts.add(last_name=f"Boss {SECRET}").emails.add(value=f"boss.{SECRET}@x.example")
    card.addresses.add(country="GB", city=f"City {SECRET}")
    return card


def saved_and_edited(client: Client) -> list[str]:
    """A card with a history, twice of the same words."""
    client.save(secret("a"))
    client.save(person("plain@x.example", id="a"))
    client.save(secret("a", comment=SECRET))
    client.delete("a")
    return ["a"]


def imported(client: Client) -> list[str]:
    """Of a bulk import: its entries are in sorted runs; one verdict is awaited."""
    cards = [secret(f"i{number}") for number in range(300)]
    others = [person(f"o{number}@x.example", id=f"o{number}") for number in range(300)]
    client.import_all("job", cards, others, match_order=[v1.MATCH_BY_CUSTOMER_ID])
    for card in cards:
        client.delete(card.id)
    return [card.id for card in cards]


def in_bulk(client: Client) -> list[str]:
    """By a change to many, one of whom was merged into somebody once."""
    client.save(person(id="host"))
    for id in ("a", "b"):
        client.save(secret(id))
    client.merge("host", "b")
    client.unmerge("b")
    operation = BulkWork(client).delete(by_ids("a", "b"), 2)
    assert Operations(client).wait(operation).HasField("response")
    return ["a", "b"]


def survivor_of_survivors(client: Client) -> list[str]:
    """With members of members, and edits at each level."""
    for id in "abcd":
        client.save(secret(id))
    client.merge("c", "d")
    client.merge("b", "c")
    client.update(v1.Customer(id="b", comment=f"met {SECRET}"), "comment")
    client.merge("a", "b")
    client.unmerge("d", choices=KEEP)
    client.merge("a", "d")
    client.delete("a")
    return [*"abcd"]


def told_apart(client: Client) -> list[str]:
    """Marked as distinct from somebody, by a reason with a name in it."""
    client.save(person(id="other"))
    client.save(secret("a"))
    request = v1.MarkDistinctRequest(ids=["a", "other"], reason=f"{SECRET}'s sister")
    client.call(client.duplicates.MarkDistinct, request)
    client.delete("a")
    return ["a"]


def given_back(client: Client) -> list[str]:
    """A member, after its survivor's card was edited, and what came from it too; twice."""
    for id in ("host", "second"):
        client.save(person(f"{id}@x.example", id=id, stage="new"))
    client.save(secret("a", comment=SECRET))
    client.merge("host", "a", choices=[("last_name", "a")])
    client.update(v1.Customer(id="host", comment=f"more of {SECRET}"), "comment")
    client.update(v1.Customer(id="host", stage="won"), "stage")
    client.unmerge("a", choices=RESTORE)
    client.update(v1.Customer(id="host", comment="of its own"), "comment")
    client.merge("second", "a")
    client.unmerge("a")
    client.delete("a")
    return ["a"]


def given_back_from_afar(client: Client) -> list[str]:
    """A member of a member of a member, whose survivors stay."""
    for id in "xyz":
        client.save(person(f"{id}@x.example", id=id))
    client.save(secret("a"))
    client.merge("x", "a")
    client.merge("y", "x")
    client.merge("z", "y")
    client.unmerge("a", "x")
    client.delete("a")
    return ["a"]


def known_to_both(client: Client) -> list[str]:
    """With a contact of the survivor's, of whom each knew something else."""
    host = person("host@x.example", id="host")
    host.contacts.add(last_name="King", first_name="Byron")
    client.save(host)
    card = secret("a")
    king = card.contacts.add(last_name="King", first_name="Byron", position=f"chef of {SECRET}")
    king.emails.add(value=f"king.{SECRET}@x.example")
    client.save(card)
    client.merge("host", "a")
    client.unmerge("a")
    client.delete("a")
    return ["a"]


def renamed_meanwhile(client: Client) -> list[str]:
    """With a contact that was edited at the survivor."""
    client.save(person("host@x.example", id="host"))
    client.save(secret("a"))
    client.merge("host", "a")
    host = client.get("host")
    host.contacts[0].last_name, host.contacts[0].first_name = "Countess", f"Known to {SECRET}"
    client.save(host)
    client.unmerge("a", choices=RESTORE)
    client.delete("a")
    return ["a"]


def chosen_and_edited(client: Client) -> list[str]:
    """With a text that was chosen instead of the survivor's own, and edited there."""
    client.save(person("host@x.example", id="host", comment="own"))
    client.save(secret("a", comment=SECRET))
    client.merge("host", "a", choices=[("comment", "a")])
    client.update(v1.Customer(id="host", comment=f"by {SECRET}, edited"), "comment")
    client.unmerge("a", choices=RESTORE)
    client.delete("a")
    return ["a"]


def one_after_the_other(client: Client) -> list[str]:
    """Two who had the same, part of one survivor at overlapping times; and another time alone."""
    client.save(person("host@x.example", id="host"))
    for id in "abc":
        client.save(secret(id))
    client.merge("host", "c")
    client.unmerge("c")
    client.merge("host", "a")
    client.merge("host", "b")
    client.unmerge("a", choices=RESTORE)
    client.update(v1.Customer(id="host", comment="own"), "comment")
    client.unmerge("b", choices=RESTORE)
    for id in "abc":
        client.delete(id)
    return [*"abc"]


def one_within_another(client: Client) -> list[str]:
    """The same over two levels, the inner one first."""
    for id in ("host", "top"):
        client.save(person(f"{id}@x.example", id=id))
    for id in "ab":
        client.save(secret(id))
    client.merge("host", "a")
    client.merge("top", "host")
    client.merge("top", "b")
    client.unmerge("a")
    client.unmerge("b")
    client.delete("b")
    client.delete("a")
    return [*"ab"]


def linked(client: Client, id: str, orders: int = 1) -> None:
    """Link a pinned note and orders to a customer, with words that are to go."""
    attributes = {"x": v1.CustomValue(text=SECRET)}
    client.add(note(id, SECRET, 5, id=f"{SECRET}-{id}", attributes=attributes))
    for number in range(orders):
        email, name = f"{SECRET}@x.example", f"{SECRET}-{id}-{number}"
        client.add(order(id, SECRET, 4, id=name, email=email, phone=PHONE))
    pin(client, id, f"{SECRET}-{id}")


def with_items(client: Client) -> list[str]:
    """Of each member of a survivor, some added when they were merged already."""
    for id in "abc":
        client.save(secret(id))
        linked(client, id)
    client.merge("b", "c")
    client.merge("a", "b")
    client.add(note("c", SECRET, 7, id=f"{SECRET}-late"))
    client.delete("a")
    return [*"abc"]


def with_many_items(client: Client) -> list[str]:
    """More than a commit drops, some of a member."""
    client.save(person(id="other"))
    client.add(note("other", id="kept"))
    for id in "ab":
        client.save(secret(id))
        linked(client, id, 40)
    client.merge("a", "b")
    client.add(note("other", "taken over", id=f"{SECRET}-b"))
    assert drop(client, f"{SECRET}-b") == 1
    client.delete("a")
    return [*"ab"]


def spoken_of(client: Client) -> list[str]:
    """In the reasons of merges and unmerges, of which others were part as well."""
    for id in ("host", "b", "other"):
        client.save(person(f"{id}@x.example", id=id))
    for id in "ac":
        client.save(secret(id))
    client.merge("host", "a", "b", reason=f"all are {SECRET}")
    client.merge("other", "host", "c", reason=f"{SECRET} once more")
    client.unmerge("host", reason="a mistake")
    client.unmerge("a", "b", reason=f"not {SECRET} after all")
    client.delete("a")
    client.unmerge("c", reason=f"nor {SECRET}")
    client.merge("c", "b", reason=f"but this is {SECRET}")
    client.unmerge("b", reason=f"nor is this {SECRET}")
    client.delete("c")
    merges = client.call(client.merges.ListMerges, v1.ListMergesRequest()).merges
    assert [(merge.survivor_id, merge.reason) for merge in merges] == [
        ("c", ""), ("other", ""), ("host", ""),
    ]  # fmt: skip
    return ["a", "c"]


STORIES = [saved_and_edited, imported, in_bulk, survivor_of_survivors, told_apart, given_back,
           given_back_from_afar, known_to_both, renamed_meanwhile, chosen_and_edited,
           one_after_the_other, one_within_another, spoken_of, with_items,
           with_many_items]  # fmt: skip


@pytest.fixture
def own(start_server: StartServer) -> Server:
    """A server whose verdicts nobody answers."""
    few = {"NAMESAKE_ITEM_DROP_ROWS": "10", "NAMESAKE_ITEM_DROP_LOOK_S": "0.05"}
    return start_server(*NO_DNS, **few)


@pytest.mark.parametrize("story", STORIES)
def test_nothing_is_left_of_a_deleted_customer(
    own: Server, story: Callable[[Client], list[str]], tmp_path: Path
) -> None:
    """Nowhere; its id is a tombstone, and everybody else is as before."""
    with own.channel() as channel:
        client = Client(channel)
        client.save(person("kept@x.example", id="kept"))
        gone = story(client)
        assert client.faults() == []
        wait_until(lambda: _entries(client, "leaving") == 0)
        assert _entries(client, "items") == _entries(client, "item_ids") <= 1
        others = [card.id for answer in client.export() for card in answer.customers]
        assert not set(gone) & set(others)
        told = [change.SerializeToString() for change in client.feed()]
        told += [change.SerializeToString() for id in others for change in client.history(id)]
        assert [at for at, change in enumerate(told) if _is_told(change)] == []
        backup = b"".join(
            answer.chunk for answer in client.call(client.admin.BackUp, v1.BackUpRequest())
        )
        assert not _is_told(backup)
        assert b"kept@x.example" in backup
    assert own.stop() == 0
    compact(own.data / "default")
    files = [file for file in own.data.rglob("*") if file.is_file()] + [
        own.data.parent / f"{own.data.name}.log"
    ]
    assert [file.name for file in files if _is_told(file.read_bytes())] == []
    own.start()
    with own.channel() as channel:
        client = Client(channel)
        assert client.faults() == []
        assert [c.id for answer in client.export() for c in answer.customers] == others
        changes = [watched.change.customer_id for watched in client.feed()]
        assert set(gone) & set(changes)


def _entries(client: Client, table: str) -> int:
    (entries,) = [one.entries for one in client.stats().tables if one.name == table]
    return entries


def _is_told(told: bytes) -> bool:
    lower = told.lower()
    return SECRET.encode() in lower or PHONE.encode() in lower


def test_what_others_have_of_their_own_stays_in_their_histories(client: Client) -> None:
    """Also where the deleted one had the same; and each history still leads from card to card."""
    client.save(person("same@x.example", id="host", tags=["both"], comment="own"))
    client.save(person("same@x.example", "only@x.example", id="a", tags=["both", "gone"]))
    client.merge("host", "a")
    client.update(v1.Customer(id="host", stage="won"), "stage")
    client.update(v1.Customer(id="host", comment="own too"), "comment")
    client.unmerge("a")
    before = client.history("host")
    client.delete("a")
    after = client.history("host")
    assert [change.sequence for change in after] == [change.sequence for change in before]
    assert [list(change.fields.paths) for change in after] == [
        [], ["comment"], ["stage"], [], [],
    ]  # fmt: skip
    assert list(after[3].merged_ids) == ["a"]
    for change in after[:-1]:  # nothing is said twice that did not change
        said = {
            field.name for card in (change.before, change.after) for field, _ in card.ListFields()
        }
        assert said <= {*change.fields.paths, "etag", "update_time"}
    created, *_ = (watched.change for watched in client.feed() if watched.change.kind == 1)
    assert [email.normal for email in created.after.emails] == ["same@x.example"]
    assert (list(created.after.tags), created.after.comment) == (["both"], "own")
