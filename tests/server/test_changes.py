"""History of one customer and the feed of all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise

import grpc
import pytest

from namesake import v1
from tests.conftest import Server, StartServer, wait_until
from tests.server.client import Client, over_workers, person, refusal, substance
from tests.server.feed_work import Watcher

CREATED, UPDATED = v1.CHANGE_KIND_CREATED, v1.CHANGE_KIND_UPDATED
DELETED = v1.CHANGE_KIND_DELETED


def some_changes(client: Client) -> list[tuple[int, str, v1.ChangeKind.ValueType]]:
    """Save, update and delete; return (sequence, id, kind) of what was written, in order."""
    written: list[tuple[int, str, v1.ChangeKind.ValueType]] = []
    for number in range(4):
        id = f"c{number}"
        written.append((client.save(person(id=id)).sequence, id, CREATED))
        change = v1.Customer(id=id, stage="x", first_name="Ada")
        answer = client.update(change, "stage", "first_name")
        written.append((answer.sequence, id, UPDATED))
    written.append((client.delete("c2"), "c2", DELETED))
    return written


def told(changes: list[v1.WatchedChange]) -> list[tuple[int, str, v1.ChangeKind.ValueType]]:
    """Return (sequence, id, kind) of each change."""
    return [(c.change.sequence, c.change.customer_id, c.change.kind) for c in changes]


# History


def test_history_says_field_by_field_what_changed_newest_first(client: Client) -> None:
    """Only changed fields, with both values, who and when; and the card of the creation."""
    card = person("one@x.example", first_name="Ada", tags=["a"], id="c")
    created = client.acting("ada@crm").save(card)
    change = v1.Customer(id="c", stage="won", first_name="Ada", tags=["a", "b"])
    updated = client.update(change, "stage", "first_name", "tags")
    second, first = client.history("c")
    assert (second.kind, second.sequence, second.actor) == (UPDATED, updated.sequence, "test")
    assert sorted(second.fields.paths) == ["stage", "tags"]
    assert second.before == v1.Customer(tags=["a"])
    assert second.after == v1.Customer(tags=["a", "b"], stage="won")
    assert (first.kind, first.sequence, first.actor) == (CREATED, created.sequence, "ada@crm")
    assert first.customer_id == second.customer_id == "c"
    assert list(first.fields.paths) == []
    assert not first.HasField("before")
    assert first.time == created.customer.create_time
    assert second.time == updated.customer.update_time
    assert first.time.ToNanoseconds() < second.time.ToNanoseconds()


def test_the_creations_card_is_the_first_save_whatever_came_later(client: Client) -> None:
    """Every later change is taken back: replaced, cleared, added and reordered fields."""
    card = person("one@x.example", "+442079460018", first_name="Ada", tags=["a", "b"], id="c")
    card.custom_fields["n"].integer = 1
    card.birth_date.year = 1815
    card.contacts.add(last_name="B").emails.add(value="two@x.example")
    first = client.save(card).customer
    client.save(person("three@x.example", id="c", state=v1.CUSTOMER_STATE_ARCHIVED))
    client.update(v1.Customer(id="c", tags=["b", "a"]), "tags")
    change = v1.Customer(id="c", kind=v1.CUSTOMER_KIND_COMPANY, company_name="Engines")
    client.update(change, "kind", "company_name", "emails", "last_name")
    oldest = client.history("c")[-1]
    assert oldest.kind == CREATED
    assert substance(oldest.after) == substance(first)


@pytest.mark.parametrize("page_size", [1, 3, 0])
def test_history_is_paged_to_its_end(client: Client, page_size: int) -> None:
    """Each change once, newest first, and no other customer's."""
    for stage in "abcdefg":
        client.save(person(id="c", stage=stage))
        client.save(person(id=f"other-{stage}"))
    changes = client.history("c", page_size)
    assert [change.after.stage for change in changes] == list("gfedcba")
    assert all(one.sequence > two.sequence for one, two in pairwise(changes))


def test_the_actor_is_bounded_and_printable(client: Client) -> None:
    """An actor that a log could not show is refused."""
    refused = refusal(lambda: client.acting("x" * 129).save(person()))
    assert refused.short == (
        grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "namesake-actor",
    )  # fmt: skip


@pytest.mark.parametrize("page_size", [7, 0, 1_000])
def test_the_history_of_many_members_is_paged(client: Client, page_size: int) -> None:
    """Each change once, newest first, with whose it was; of some there are more than of others."""
    ids = ["s", *(f"m{number}" for number in range(130))]
    cards = [person(id=id) for id in ids]
    of = dict(enumerate(ids, 1))
    client.import_all("job", cards)
    for number in range(150):
        id = "m7" if number % 2 else ids[number % 13]
        of[client.update(v1.Customer(id=id, stage=f"s{number}"), "stage").sequence] = id
    merges = [client.merge(*ids[:1], *ids[first : first + 13]) for first in range(1, 131, 13)]
    of |= {one.sequence: "s" for one in merges}
    history = client.history("m5", page_size)
    assert [change.sequence for change in history] == sorted(of, reverse=True)
    assert all(change.member_id == of[change.sequence].replace("s", "") for change in history)
    whole = [change.after.id for change in history if change.kind == CREATED]
    assert whole == ids[::-1]


def test_history_of_nobody_is_not_found(client: Client) -> None:
    """Unlike that of a deleted customer."""
    refused = refusal(lambda: client.history("nobody"))
    assert refused.short == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "id")
    refused = refusal(lambda: client.history(""))
    assert refused.short == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "id")


# Feed


def test_the_feed_has_every_change_once_in_order(client: Client) -> None:
    """From 0, 1, 2, 3 …, with fields of those that still have a history."""
    written = some_changes(client)
    feed = client.feed()
    assert told(feed) == written
    assert [change.change.sequence for change in feed] == list(range(1, len(written) + 1))
    times = [change.change.time.ToNanoseconds() for change in feed]
    assert all(one < two for one, two in pairwise(times))
    assert sorted(feed[1].change.fields.paths) == ["first_name", "stage"]
    assert feed[1].change.after.stage == "x"
    assert list(feed[5].change.fields.paths) == []  # of the one that was deleted since
    assert feed[-1].change.reason == "asked to be forgotten"
    assert not any(change.HasField("customer") for change in feed)


def test_the_feed_resumes_after_any_sequence(client: Client) -> None:
    """What comes after `n` is what `n` first ones leave."""
    written = some_changes(client)
    for after in range(len(written) + 1):
        assert told(client.feed(after)) == written[after:]


def test_the_feed_says_where_it_stands(client: Client) -> None:
    """The first message is the start, the last one the end, also where nothing passes."""
    written = some_changes(client)
    request = v1.WatchChangesRequest(
        after_sequence=1, until_now=True, kinds=[v1.CHANGE_KIND_VERDICT]
    )
    answers = list(client.call(client.customers.WatchChanges, request))
    assert (answers[0].sequence, len(answers[0].changes)) == (1, 0)
    assert answers[-1].sequence == len(written)
    assert not any(answer.changes for answer in answers)


def test_the_feed_can_be_of_some_kinds(client: Client) -> None:
    """Others are left out."""
    written = some_changes(client)
    kinds = [CREATED, DELETED]
    assert told(client.feed(kinds=kinds)) == [one for one in written if one[2] in kinds]


def test_the_feed_brings_customers_as_they_are_now(client: Client) -> None:
    """With each change the newest card, none of one that was deleted."""
    some_changes(client)
    for change in client.feed(include_customer=True):
        id = change.change.customer_id
        assert change.HasField("customer") == (id != "c2")
        if id != "c2":
            assert change.customer == client.get(id)


def test_the_feed_refuses_what_it_never_reached(client: Client) -> None:
    """And says how far it is."""
    written = some_changes(client)
    refused = refusal(lambda: client.feed(len(written) + 1))
    assert (refused.code, refused.reason) == (
        grpc.StatusCode.OUT_OF_RANGE, "SEQUENCE_UNAVAILABLE",
    )  # fmt: skip
    assert refused.metadata == {"first_sequence": "1", "last_sequence": str(len(written))}


def test_a_deletion_leaves_the_events_and_nothing_of_the_customer(client: Client) -> None:
    """Sequence, kind, time, id and actor stay as they were; no value of a field does."""
    mine = client.acting("ada@crm")
    mine.save(person("secret@x.example", "+442079460018", id="c", first_name="Ada", tags=["vip"]))
    mine.update(v1.Customer(id="c", first_name="Grace"), "first_name")
    mine.save(person("other@x.example", id="c", comment="private"))
    before = [watched.change for watched in client.feed(include_customer=True)]
    assert all(change.HasField("after") for change in before)
    client.delete("c")
    after = [watched.change for watched in client.feed(include_customer=True)]
    for was, now in zip(before, after[:-1], strict=True):
        bare = v1.Change(
            sequence=was.sequence, time=was.time, actor="ada@crm", customer_id="c", kind=was.kind
        )
        assert now == bare
    assert after[-1].reason == "asked to be forgotten"


def test_a_feed_of_two_workers_is_gap_free_and_in_order(start_server: StartServer) -> None:
    """Written and watched at both at once, by saves and imports."""
    server = start_server("--workers", "2")
    with over_workers(server, 8) as clients:
        writers, watchers = clients[:4], [Watcher(client) for client in clients[4:]]

        def write(number: int, client: Client) -> None:
            for _ in range(100):
                client.save(person())
            batches = [[person() for _ in range(200)] for _ in range(2)]
            client.import_all(f"job{number}", *batches)

        threads = [threading.Thread(target=write, args=given) for given in enumerate(writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        end = 4 * 500
        for watcher in watchers:
            wait_until(lambda watcher=watcher: watcher.has(end))  # type: ignore[misc]
            watcher.close()
            assert [one.change.sequence for one in watcher.seen] == list(range(1, end + 1))
            times = [one.change.time.ToMicroseconds() for one in watcher.seen]
            assert times == sorted(times)


def test_a_watcher_sees_changes_as_they_happen(client: Client) -> None:
    """Without until_now the stream goes on: first what was there, then what comes."""
    some_changes(client)
    seen: list[v1.WatchedChange] = []
    stream = client.watch()
    follower = threading.Thread(target=follow, args=(stream, seen))
    follower.start()
    wait_until(lambda: len(seen) == 9)
    live = [client.save(person(id=f"live{number}")).sequence for number in range(5)]
    wait_until(lambda: len(seen) == 14)
    stream.cancel()
    follower.join(10)
    assert [change.change.sequence for change in seen[9:]] == live


def follow(stream: Iterator[v1.WatchChangesResponse], seen: list[v1.WatchedChange]) -> None:
    """Collect changes until the stream is cancelled."""
    try:
        for answer in stream:
            seen.extend(answer.changes)
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.CANCELLED:
            raise


def test_big_customers_fit_the_messages_of_every_listing(server: Server, own: Client) -> None:
    """Bounds of rows alone would make messages that no client takes: bytes are bounded too."""
    batch = [
        person(id=f"c{number}", tags=[f"{number}-{part}" + "é" * 4_900 for part in range(6)])
        for number in range(320)
    ]
    own.import_all("big", *(batch[start : start + 80] for start in range(0, 320, 80)))
    limit = [("grpc.max_receive_message_length", 16 << 20)]
    with grpc.insecure_channel(server.address, limit) as channel:
        reader = Client(channel)
        assert len(reader.feed(include_customer=True)) == 320
        assert sum(map(len, reader.pages(1_000))) == 320
        assert len([c for answer in reader.export() for c in answer.customers]) == 320
