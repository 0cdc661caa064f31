"""A feed that does not go back for ever: what is dropped, and what stays right without it."""

from __future__ import annotations

import time

import grpc

from namesake import v1
from tests.conftest import StartServer, wait_until
from tests.replica import Replica
from tests.server.client import Client, over_workers, person, refusal
from tests.server.feed_work import Watcher, Work, agree, snapshot
from tests.server.test_consumers import acknowledge, consumers, sent

# A page of LMDB has 4,096 bytes, and an event some 50 in these tests.
SMALL = {
    "NAMESAKE_CHANGES_KEPT_BYTES": "8192",
    "NAMESAKE_CHANGES_LOOK_S": "0.05",
    "NAMESAKE_CHANGES_DROP_ROWS": "7",
}
# Never fewer than some 70 events are left, and ten things that `Work` does are half as many at
# most: who had seen all before them can follow, however slow the machine is. SMALL leaves ten.
ROOMY = {**SMALL, "NAMESAKE_CHANGES_KEPT_BYTES": "16384"}
UNAVAILABLE = grpc.StatusCode.OUT_OF_RANGE, "SEQUENCE_UNAVAILABLE"


def trimmed(client: Client, first: int = 20) -> int:
    """Wait until the feed begins at `first` or later, and for some time where it did."""
    seen = [0, 0]

    def rests() -> bool:
        seen.append(consumers(client).first_sequence)
        time.sleep(0.1)
        return seen[-1] == seen[-2] == seen[-3] >= first

    wait_until(rests)
    return seen[-1]


def test_the_oldest_changes_go_by_size_and_nothing_else_does(start_server: StartServer) -> None:
    """The feed has no gap, lists by change are whole and in order, and history has everything."""
    with start_server(**SMALL).channel() as channel:
        client = Client(channel)
        work = Work(client, 11)
        for count in (120, *[40] * 7):
            work.some(count)
            first = trimmed(client, 2)
            last = consumers(client).last_sequence
            feed = sent(client, after=first - 1)
            assert feed == list(range(first, last + 1))
            listed(client)
            assert client.faults() == []
        assert first > 100
        everything = [one for page in client.pages(state=v1.STATE_FILTER_ALL) for one in page]
        unchanged = [one for one in everything if int(one.etag, 16) < first]
        assert unchanged
        for customer in everything:
            assert client.history(customer.id)[-1].kind == v1.CHANGE_KIND_CREATED


def listed(client: Client) -> None:
    """Hold the lists by change against what all customers say."""
    everything = client.pages(1_000, state=v1.STATE_FILTER_ALL)
    by_change = sorted(
        (one for page in everything for one in page), key=lambda one: int(one.etag, 16)
    )
    for order, wanted in (
        (v1.CUSTOMER_ORDER_UPDATED, by_change),
        (v1.CUSTOMER_ORDER_UPDATED_DESC, by_change[::-1]),
    ):
        for page_size in (7, 1_000):
            pages = client.pages(page_size, state=v1.STATE_FILTER_ALL, order=order)
            assert [one.etag for page in pages for one in page] == [one.etag for one in wanted]
    middle = by_change[len(by_change) // 2].update_time
    since = v1.CustomerFilter(updated_since=middle)
    exported = [one.id for answer in client.export(filter=since) for one in answer.customers]
    ns = middle.ToNanoseconds()  # some are of one commit
    wanted = [one for one in by_change if one.update_time.ToNanoseconds() >= ns]
    assert sorted(exported) == sorted(one.id for one in wanted)


def test_the_oldest_changes_go_by_age_but_for_the_last(start_server: StartServer) -> None:
    """Nothing is as old as a second while it is new; then one is left, that says where it ends."""
    bounds = {"NAMESAKE_CHANGES_KEPT_S": "1", "NAMESAKE_CHANGES_LOOK_S": "0.05"}
    with start_server(**bounds).channel() as channel:
        client = Client(channel)
        for number in range(20):
            client.save(person(id=f"c{number}"))
        client.delete("c3")
        wait_until(lambda: consumers(client).first_sequence == 21)
        assert sent(client, after=20) == [21]
        assert client.save(person()).sequence == 22
        assert sent(client, after=20)[-1] == 22
        assert (
            len([one for page in client.pages(order=v1.CUSTOMER_ORDER_UPDATED) for one in page])
            == 20
        )
        assert client.history("c3")[0].kind == v1.CHANGE_KIND_DELETED
        assert client.faults() == []


def test_who_fell_behind_is_told_so_and_begins_with_a_snapshot(start_server: StartServer) -> None:
    """A clear status, and a way to go on: then the replica is exact again."""
    with start_server(**ROOMY).channel() as channel:
        client = Client(channel)
        work = Work(client, 5)
        work.some(20)
        acknowledge(client, "late", 3)
        work.some(200)
        first = trimmed(client)
        listing = consumers(client)
        (late,) = listing.consumers
        assert late.lost
        assert late.behind == listing.last_sequence - 3
        bounds = {"first_sequence": str(first), "last_sequence": str(listing.last_sequence)}
        for terms, field in (
            ({}, "after_sequence"),
            ({"after": first - 2}, "after_sequence"),
            ({"consumer": "late"}, "consumer"),
            ({"consumer": "nobody"}, "after_sequence"),
        ):
            refused = refusal(lambda terms=terms: client.feed(**terms))  # type: ignore[misc]
            assert refused.short == (*UNAVAILABLE, field)
            assert refused.metadata == bounds
            assert "ExportCustomers" in refused.message
        refused = refusal(lambda: acknowledge(client, "late", 5))
        assert refused.short == (*UNAVAILABLE, "sequence")
        sequence, customers = snapshot(client)
        redirects = [one for page in client.redirects() for one in page.redirects]
        replica = Replica(customers.values(), sequence, redirects)
        acknowledge(client, "late", sequence)
        work.some(10)
        end, customers = snapshot(client)
        replica.follow(client.feed(consumer="late"), end)
        agree(replica, customers, set(work.deleted), work.survivors)
        assert not consumers(client).consumers[0].lost


def test_a_stream_that_is_left_behind_ends_with_the_same_status(start_server: StartServer) -> None:
    """It has no gap: what it would have to leave out ends it."""
    bounds = {**SMALL, "NAMESAKE_CHANGES_KEPT_BYTES": "1", "NAMESAKE_CHANGES_DROP_ROWS": "1000"}
    # Messages that fill what a connection buffers, so that the server waits for the reader.
    with start_server(**bounds, NAMESAKE_PAGE_LIMIT_BYTES=str(1 << 16)).channel() as channel:
        client = Client(channel)
        client.save(person())
        stream = client.watch(after_sequence=0, include_customer=True)
        next(stream)
        big = [
            person(id=f"c{n}", tags=[f"{n}-{part}" + "é" * 4_000 for part in range(7)])
            for n in range(300)
        ]
        client.import_all("big", *(big[start : start + 50] for start in range(0, 300, 50)))
        wait_until(lambda: consumers(client).first_sequence == consumers(client).last_sequence)
        seen: list[int] = []

        def read_on() -> None:
            for answer in stream:
                seen.extend(watched.change.sequence for watched in answer.changes)

        refused = refusal(read_on)
        assert refused.short == (*UNAVAILABLE, "after_sequence")
        assert seen == list(range(seen[0], len(seen) + seen[0]))


def test_a_fast_watcher_misses_nothing_while_changes_go(start_server: StartServer) -> None:
    """Retention and watching run beside each other."""
    with start_server(**ROOMY).channel() as channel:
        client = Client(channel)
        watcher, work = Watcher(client), Work(client, 3)
        for _ in range(25):
            work.some(10)
            sequence, customers = snapshot(client)
            wait_until(lambda at=sequence: watcher.has(at))  # type: ignore[misc]
        watcher.close()
        assert trimmed(client) > 1
        replica = Replica()
        replica.follow(watcher.seen, sequence)
        agree(replica, customers, set(work.deleted), work.survivors)


def test_every_worker_sees_the_same_feed(start_server: StartServer) -> None:
    """One of them drops what is too old, and a restart goes on."""
    server = start_server("--workers", "2", **SMALL)
    with over_workers(server, 2) as clients:
        for number in range(150):
            clients[number % 2].save(person(id=f"c{number}"))
        first = trimmed(clients[0])
        for client in clients:
            assert sent(client, after=first - 1) == list(range(first, 151))
    assert server.stop() == 0
    server.start()
    with over_workers(server, 2) as clients:
        assert [consumers(client).first_sequence for client in clients] == [first, first]
        for number in range(100):
            clients[number % 2].save(person(id=f"c{number}", stage="x"))
        later = trimmed(clients[0], first + 1)
        for client in clients:
            refused = refusal(lambda client=client: client.feed(first - 1))  # type: ignore[misc]
            assert refused.short == (*UNAVAILABLE, "after_sequence")
            assert sent(client, after=later - 1) == list(range(later, 251))
            listed(client)
        assert client.faults() == []


def test_what_is_kept_of_old_changes_is_bounded(start_server: StartServer) -> None:
    """However often customers change, and also where they are deleted later."""
    with start_server(**SMALL).channel() as channel:
        client = Client(channel)
        for number in range(40):
            client.save(person(id=f"c{number}"))
        for stage in range(20):
            for number in range(40):
                client.update(v1.Customer(id=f"c{number}", stage=f"s{stage}"), "stage")
        trimmed(client, 100)
        assert older(client) <= 2 * 40
        for number in range(30):
            client.delete(f"c{number}")
        for stage in range(40):
            for number in range(30, 40):
                client.update(v1.Customer(id=f"c{number}", stage=f"t{stage}"), "stage")
        trimmed(client, 900)
        assert older(client) <= 2 * 10
        listed(client)


def test_nothing_is_kept_of_customers_while_they_are_merged(start_server: StartServer) -> None:
    """However often they had changed; given back they are listed by that change, and sound."""
    with start_server(**SMALL).channel() as channel:
        client = Client(channel)
        for number in range(6):
            client.save(person(id=f"c{number}"))
        for stage in range(15):
            for number in range(1, 6):
                client.update(v1.Customer(id=f"c{number}", stage=f"s{stage}"), "stage")
        client.merge("c2", "c3")
        client.merge("c1", "c2", "c4")
        edited(client, "c0", 300)
        trimmed(client, 200)
        assert older(client) <= 2 * 3  # c0, c1 and c5
        client.unmerge("c3", choices=[v1.UnmergeChoice(action=v1.UNMERGE_ACTION_KEEP)])
        listed(client)
        edited(client, "c0", 300)
        trimmed(client, 500)
        client.unmerge("c2", "c4", choices=[v1.UnmergeChoice(action=v1.UNMERGE_ACTION_KEEP)])
        listed(client)
        edited(client, "c0", 300)
        trimmed(client, 800)
        assert older(client) <= 2 * 6
        listed(client)
        assert client.faults() == []


def edited(client: Client, id: str, times: int) -> None:
    """Change a customer over and over."""
    for stage in range(times):
        client.update(v1.Customer(id=id, stage=f"e{stage}"), "stage")


def older(client: Client) -> int:
    """Return how many dropped changes something is kept of."""
    (entries,) = [one.entries for one in client.stats().tables if one.name == "older"]
    return entries
