"""Whoever applies the feed has what an export says, at every sequence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

from namesake import v1
from tests.conftest import Server, StartServer, wait_until
from tests.replica import Replica
from tests.server.client import Client, over_workers, person
from tests.server.feed_work import Watcher, Work, agree, snapshot

SOON = {"NAMESAKE_SETTLE_PAUSE_S": "0.2"}
VERDICT = v1.CHANGE_KIND_VERDICT


@contextmanager
def caller(server: Server) -> Iterator[Client]:
    with server.channel() as channel:
        yield Client(channel)


@pytest.mark.parametrize(("seed", "workers"), [(0, 1), (1, 1), (2, 2)])
def test_a_replica_is_exact_at_every_snapshot(
    start_server: StartServer, knot_address: str, seed: int, workers: int
) -> None:
    """Applied as it happens; and read again later, when some of the customers are gone.

    Of two workers either is given work, and the one is watched while the other works.
    """
    server = start_server("--dns-server", knot_address, "--workers", str(workers), **SOON)
    with over_workers(server, 2, workers) as (client, other):
        work, watcher, live = Work(client, seed), Watcher(other), Replica()
        states = [(0, dict[str, v1.Customer](), dict[str, str]())]
        for number in range(6):
            work.client = other if number % 3 == 2 else client
            work.some(25)
            sequence, customers = snapshot(client)
            wait_until(lambda at=sequence: watcher.has(at))  # type: ignore[misc]
            live.follow(watcher.seen, sequence)
            agree(live, customers, set(), work.survivors)
            states.append((sequence, customers, dict(work.survivors)))
        wait_until(lambda: any(seen.change.kind == VERDICT for seen in watcher.seen))
        watcher.close()
        feed, later = client.feed(), Replica()
        for sequence, customers, redirects in states:
            later.follow(feed, sequence)
            agree(later, customers, set(work.deleted), redirects)
        assert later.tombstones == live.tombstones == set(work.deleted) != set()
        assert client.faults() == []


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_a_snapshot_is_where_a_replica_may_begin(client: Client, seed: int) -> None:
    """What the export had, the redirects of later, and the feed after the export's sequence."""
    work = Work(client, seed)
    work.some(120)
    sequence, customers = snapshot(client)
    work.some(20)
    redirects: list[v1.Redirect] = []
    for page in client.redirects(page_size=3):  # each of another snapshot
        redirects += page.redirects
        work.some(3)
    replica = Replica(customers.values(), sequence, redirects)
    work.some(30)
    end, customers = snapshot(client)
    replica.follow(client.feed(sequence), end)
    agree(replica, customers, set(work.deleted), work.survivors)


def test_a_consumer_goes_on_where_it_was_when_everything_died(server: Server) -> None:
    """What it applied and had not acknowledged comes again; it skips that, and is exact."""
    pick, replica, done, again = Random(4), Replica(), 0, 0
    work: Work | None = None
    for _ in range(6):
        with caller(server) as client:
            work = work or Work(client, 4)
            work.client = client
            work.some(15)
            feed = client.feed(consumer="copy")
            assert feed[0].change.sequence == done + 1
            for watched in feed:
                if watched.change.sequence <= replica.sequence:
                    again += 1
                    continue
                replica.apply(watched.change)
                if pick.random() < 0.05:
                    done = replica.sequence
                    request = v1.AcknowledgeChangesRequest(consumer="copy", sequence=done)
                    client.call(client.customers.AcknowledgeChanges, request)
        server.kill()
        server.start()
    assert work is not None
    with caller(server) as client:
        sequence, customers = snapshot(client)
        replica.follow(client.feed(consumer="copy"), sequence)
        agree(replica, customers, set(work.deleted), work.survivors)
        assert again > 0
        assert client.faults() == []


def test_a_creation_has_its_card_as_it_was(client: Client) -> None:
    """With id, etag and times, whatever came later; nothing of one that was deleted since."""
    saved = [client.save(person("one@x.example", id=id, stage="new")) for id in ("a", "b", "c")]
    client.update(v1.Customer(id="b", stage="won", tags=["x"]), "stage", "tags")
    client.save(person("two@x.example", id="b"))
    client.delete("c")
    changes = [watched.change for watched in client.feed()]
    for change, answer in zip(changes[:2], saved[:2], strict=True):
        first = answer.customer
        assert (change.after.id, change.after.etag) == (first.id, first.etag)
        assert change.after.create_time == change.after.update_time == change.time
        assert change.after.stage == "new"
        assert [email.normal for email in change.after.emails] == ["one@x.example"]
        assert not change.after.emails[0].finding.message  # as it is stored
    assert not changes[2].HasField("after")


def test_a_change_has_etag_and_time_of_what_it_left(client: Client) -> None:
    """Beside the fields that it changed, and without naming them among these."""
    client.save(person(id="a"))
    updated = client.update(v1.Customer(id="a", stage="won"), "stage").customer
    change = client.feed()[-1].change
    assert list(change.fields.paths) == ["stage"]
    assert change.after == v1.Customer(
        stage="won", etag=updated.etag, update_time=updated.update_time
    )
    assert not change.before.etag
