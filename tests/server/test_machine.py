"""Merging by machine: what the account's policy merges, what it leaves, and taking it back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from namesake import v1
from service.identity.judging import Outcome
from tests.conftest import Server, StartServer, wait_until
from tests.dns_servers import free_port
from tests.server.client import Client, numbered, opening, over_workers, person, refusal
from tests.server.long_work import Work
from tests.server.test_imports import END
from tests.server.test_metrics import Page
from tests.server.test_scan import FIRST, card

SOON = {"NAMESAKE_MERGE_LOOK_S": "0.1"}
ACTOR = "namesake policy"


@dataclass(frozen=True)
class Account:
    """The account of a server that only this test has, and what its policy did."""

    server: Server
    client: Client
    page: Page

    def policy(self, **terms: Any) -> v1.MergePolicy:
        """Put a policy in force; saves notice it within a second."""
        request = v1.SetMergePolicyRequest(policy=v1.MergePolicy(**terms))
        answer = self.client.call(self.client.merges.SetMergePolicy, request)
        time.sleep(1.1)
        policy: v1.MergePolicy = answer.policy
        return policy

    def merges(self, run: str = "") -> list[v1.Merge]:
        """List merges, newest first."""
        request = v1.ListMergesRequest(run=run, page_size=1_000)
        return list(self.client.call(self.client.merges.ListMerges, request).merges)

    def merged(self) -> set[tuple[str, ...]]:
        """Return who was merged: the survivor, then the members."""
        return {(one.survivor_id, *one.member_ids) for one in self.merges()}

    def looks(self, outcome: Outcome) -> int:
        """Return how many looks of the first worker came to this."""
        return int(self.page.value(f'namesake_merge_policy_looks_total{{outcome="{outcome}"}}'))

    def wait_for(self, outcome: Outcome, looks: int) -> None:
        """Wait until so many looks came to this."""
        wait_until(lambda: self.looks(outcome) == looks)

    def summary(self, kind: str) -> v1.MergeRunSummary:
        """Wait for the operation of a kind, of which there is to be one; return its summary."""
        work = Work(self.client)

        def begun() -> list[Any]:
            every = work.page().operations
            return [one for one in every if one.name.startswith(f"operations/{kind}-")]

        wait_until(lambda: bool(begun()))
        (operation,) = begun()
        summary = v1.MergeRunSummary()
        assert work.wait(operation.name).response.Unpack(summary)
        return summary


@pytest.fixture
def account(start_server: StartServer) -> Iterator[Account]:
    """A server that looks soon for what imports and scans left."""
    address = f"127.0.0.1:{free_port()}"
    server = start_server("--metrics-address", address, **SOON)
    with server.channel() as channel:
        yield Account(server, Client(channel), Page(address))


def import_whole(client: Client, job_id: str, *batches: list[v1.Customer]) -> None:
    """Import batches and say that they are all."""
    list(client.import_stream([opening(job_id), *numbered(batches), END]))


def pairs(numbers: range, copy: str) -> list[v1.Customer]:
    """Return a card of each of some people; two copies are a pair."""
    return [card(number, f"p{number}-{copy}") for number in numbers]


def test_nothing_is_merged_unless_somebody_says_so(account: Account) -> None:
    """Neither on a save, nor after an import or a scan."""
    account.client.save(card(1, "a"))
    account.client.save(card(1, "b"))
    import_whole(account.client, "job", [card(1, "c")])
    Work(account.client).scanned()
    time.sleep(1)
    assert account.merges() == []
    (scan,) = Work(account.client).page().operations
    assert scan.name.startswith("operations/scan-")


def test_a_save_is_merged_with_the_oldest_that_is_surely_the_same(account: Account) -> None:
    """With its run, its evidence and in the feed; a card that is less alike is left."""
    assert account.policy(on_save=True).least_probability == pytest.approx(0.999)
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    account.client.save(card(1, "old"))
    account.client.save(card(2, "other"))
    account.client.save(v1.Customer(id="namesake", first_name=FIRST[1], last_name="Lovelace"))
    account.client.save(card(1, "new", phones=[v1.PhoneNumber(value="+442079460018")]))
    wait_until(lambda: account.looks(Outcome.MERGED) == 1)
    (merge,) = account.merges()
    assert (merge.survivor_id, list(merge.member_ids)) == ("old", ["new"])
    assert (merge.actor, merge.run[:5]) == (ACTOR, "save-")
    assert merge.run >= f"save-{today}"
    assert merge.probability >= 0.999
    assert "the same birth date" in merge.evidence
    assert not any(FIRST[1] in words or "1941" in words for words in merge.evidence)
    survivor = account.client.get("new")
    assert (survivor.id, survivor.phones[0].normal) == ("old", "+442079460018")
    change = account.client.feed()[-1].change
    assert (change.kind, change.customer_id, change.actor) == (
        v1.CHANGE_KIND_MERGED, "old", ACTOR,
    )  # fmt: skip
    assert account.client.faults() == []


def test_an_update_that_makes_two_alike_is_looked_at_too(account: Account) -> None:
    account.client.save(card(1, "a"))
    account.client.save(v1.Customer(id="b", last_name="Lovelace"))
    account.policy(on_save=True)
    whole = card(1, "b")
    account.client.update(whole, "first_name", "last_name", "birth_date", "emails", "addresses")
    wait_until(lambda: account.merged() == {("a", "b")})


def test_who_is_distinct_archived_or_in_too_large_a_group_is_left(account: Account) -> None:
    """Each group whole, also where some of it could be merged."""
    client = account.client
    client.save(card(1, "a"))
    client.save(card(1, "b"))
    client.call(client.duplicates.MarkDistinct, v1.MarkDistinctRequest(ids=["a", "b"]))
    account.policy(on_save=True, group_limit=3)
    client.save(card(1, "c"))
    wait_until(lambda: account.looks(Outcome.DISTINCT) == 1)
    client.call(client.duplicates.UnmarkDistinct, v1.UnmarkDistinctRequest(ids=["a", "b"]))
    client.save(card(1, "d"))
    wait_until(lambda: account.looks(Outcome.LARGE) == 1)
    for id in ("c", "d"):
        client.delete(id)
    client.save(card(1, "e", state=v1.CUSTOMER_STATE_ARCHIVED))
    wait_until(lambda: account.looks(Outcome.ARCHIVED) == 1)
    assert account.merges() == []


def test_a_chain_is_left_whole(account: Account) -> None:
    """Where both ends are as sure of the middle, and not of each other; whoever is saved."""
    client = account.client
    emails = [f"{name}@chain.example" for name in ("lovelace.ada", "countess")]
    phones = ["+442079460018", "+442079460777"]
    account.policy(on_save=True, least_probability=0.99)
    for number, id in enumerate(("one", "other")):
        client.save(person(emails[number], phones[number], id=id, first_name="Adaline"))
    client.save(person(*emails, *phones, id="middle", first_name="Adaline"))
    wait_until(lambda: account.looks(Outcome.UNSURE) == 1)
    for number, id in enumerate(("one", "other")):
        again = person(emails[number], phones[number], id=id, first_name="Adaline", comment="again")
        client.save(again)
        account.wait_for(Outcome.UNSURE, number + 2)
    assert account.merges() == []
    client.delete("other")
    client.save(person(*emails, *phones, id="middle", first_name="Adaline", comment="again"))
    wait_until(lambda: account.merged() == {("one", "middle")})


def test_a_mark_stands_against_whoever_is_saved(account: Account) -> None:
    """Those that it is of, and a third who is the same as both."""
    client = account.client
    for id in "abc":
        client.save(card(1, id))
    client.call(client.duplicates.MarkDistinct, v1.MarkDistinctRequest(ids=["a", "c"]))
    account.policy(on_save=True)
    for number, id in enumerate("bca", 1):
        client.save(card(1, id, comment="again"))
        account.wait_for(Outcome.DISTINCT, number)
    assert account.merges() == []


def test_a_group_of_a_scan_is_left_with_whoever_is_the_same(account: Account) -> None:
    """A scan keeps those who are distinct out of a group, where they stand against it too."""
    client = account.client
    for id in "abc":
        client.save(card(1, id))
    client.call(client.duplicates.MarkDistinct, v1.MarkDistinctRequest(ids=["a", "c"]))
    import_whole(client, "others", pairs(range(2, 4), "0"), pairs(range(2, 4), "1"))
    account.policy(on_scan=True)
    Work(client).scan()
    summary = account.summary("merge-scan")
    assert (summary.looked_at, summary.merges, summary.left) == (3, 2, 1)
    assert account.merged() == {("p2-0", "p2-1"), ("p3-0", "p3-1")}


def test_what_somebody_unmerged_is_not_merged_again(account: Account) -> None:
    """Nor through another who is the same as both; a person may."""
    client = account.client
    account.policy(on_save=True)
    client.save(card(1, "a"))
    client.save(card(1, "b"))
    wait_until(lambda: account.merged() == {("a", "b")})
    client.unmerge("b")
    client.save(card(1, "b", comment="edited"))
    wait_until(lambda: account.looks(Outcome.GIVEN_BACK) == 1)
    client.merge("a", "b")
    client.save(card(1, "c"))
    wait_until(lambda: account.looks(Outcome.GIVEN_BACK) == 2)
    assert len(account.merges()) == 2


def test_an_exclusive_identity_stands_against_it(start_server: StartServer) -> None:
    """It is no fault: the group is left."""
    address = f"127.0.0.1:{free_port()}"
    server = start_server(
        "--metrics-address", address, **SOON, NAMESAKE_EXCLUSIVE_IDENTITY_TYPES="passport"
    )
    with server.channel() as channel:
        account = Account(server, Client(channel), Page(address))
        account.policy(on_save=True)
        for id in ("a", "b"):
            passport = v1.Identity(type="passport", value=id)
            account.client.save(card(1, id, identities=[passport]))
        wait_until(lambda: account.looks(Outcome.CONFLICT) == 1)
        assert account.merges() == []


def test_what_an_import_created_is_merged_once_it_is_done(account: Account) -> None:
    """With who was there and among itself; those who were there are left alone."""
    client = account.client
    for id in ("x1", "x2"):
        client.save(card(9, id))
    import_whole(client, "before", pairs(range(5), "0"))
    account.policy(on_import=True)
    client.save(card(8, "y1"))
    client.save(card(8, "y2"))
    import_whole(client, "job", pairs(range(1, 3), "1"), [*pairs(range(2, 4), "2"), card(20, "z")])
    assert account.summary("merge-import") == v1.MergeRunSummary(
        run="import-job", looked_at=5, merges=3
    )
    assert account.merged() == {("p1-0", "p1-1"), ("p2-0", "p2-1", "p2-2"), ("p3-0", "p3-2")}
    assert {one.run for one in account.merges()} == {"import-job"}
    import_whole(client, "job")  # it is done already
    import_whole(client, "known", [card(1, "p1-0", comment="nobody new")])
    import_whole(client, "empty")
    import_whole(client, "none", [card(21, "z2")])
    wait_until(lambda: len(Work(client).page().operations) == 2)
    time.sleep(1)  # several looks
    assert len(Work(client).page().operations) == 2
    assert len(account.merges()) == 3


def test_the_groups_of_a_scan_are_merged_once_it_is_done(account: Account) -> None:
    """Those that are sure enough and not too large, as of that moment."""
    client = account.client
    for copy in ("0", "1"):
        import_whole(client, copy, pairs(range(4), copy))
    import_whole(client, "many", [card(30, f"m{number}") for number in range(4)])
    client.save(card(1, "p1-2", emails=[], addresses=[], first_name=FIRST[1][0]))
    account.policy(on_scan=True, group_limit=3)
    scan = Work(client).scan()
    summary = account.summary("merge-scan")
    assert (summary.run, summary.merges) == (scan, 3)
    assert {one[0] for one in account.merged()} == {"p0-0", "p2-0", "p3-0"}
    assert {one.run for one in account.merges()} == {scan}
    (group,) = [one for one in Work(client).grouped() if "m0" in one]
    assert len(group) == 4


def test_a_run_is_undone_and_not_done_again(account: Account) -> None:
    """What was edited stays with the survivor, or is a conflict that is left and counted."""
    client = account.client
    for copy in ("0", "1"):
        import_whole(client, copy, pairs(range(5), copy))
    client.save(card(1, "p1-1", comment="of the member"))
    account.policy(on_scan=True)
    scan = Work(client).scan()
    assert account.summary("merge-scan").merges == 5
    client.unmerge("p0-1")
    edited = client.get("p1-0")
    edited.comment = "edited since"
    client.save(edited)
    phones = client.get("p2-0")
    phones.phones.add(value="+442079460018")
    client.save(phones)
    request = v1.UndoMergesRequest(run=scan)
    operation = client.call(client.merges.UndoMerges, request)
    summary = v1.UndoMergesResponse()
    assert Work(client).wait(operation.name).response.Unpack(summary)
    assert (summary.undone, summary.undone_before, summary.conflicts) == (3, 1, 1)
    (left,) = [one for one in account.merges(scan) if not one.undone_ids]
    assert (left.survivor_id, list(left.member_ids)) == ("p1-0", ["p1-1"])
    client.unmerge("p1-1", choices=[v1.UnmergeChoice(action=v1.UNMERGE_ACTION_GIVE)])
    assert {one.id for page in client.pages() for one in page} == {
        f"p{number}-{copy}" for number in range(5) for copy in range(2)
    }
    assert client.get("p2-0").phones
    assert not client.get("p2-1").phones
    assert all(list(one.undone_ids) == list(one.member_ids) for one in account.merges(scan))
    again = Work(client).scan()
    wait_until(lambda: account.looks(Outcome.GIVEN_BACK) == 5)
    assert account.merges(again) == []
    nothing = v1.UndoMergesRequest(run=again)
    refused = refusal(lambda: client.call(client.merges.UndoMerges, nothing))
    assert (refused.reason, refused.field) == ("NOT_FOUND", "run")
    assert client.faults() == []


def kill_workers(server: Server) -> None:
    """Kill the workers, of whom the supervisor starts new ones."""
    for pid in server.workers():
        os.kill(pid, signal.SIGKILL)


def kill(server: Server) -> None:
    """Pull the plug, and start again."""
    server.kill()
    server.start()


def stop(server: Server) -> None:
    """Stop and start as an operator does."""
    assert server.stop() == 0
    server.start()


@pytest.mark.parametrize("end", [kill, stop, kill_workers])
def test_a_run_that_is_cut_off_goes_on(
    start_server: StartServer, end: Callable[[Server], None]
) -> None:
    """Every pair is merged, each once."""
    server = start_server("--workers", "2", **SOON)
    with server.channel() as channel:
        account = Account(server, Client(channel), Page(""))
        import_whole(account.client, "0", pairs(range(6), "0"))
        account.policy(on_import=True, merges_a_minute=2)
        import_whole(account.client, "1", pairs(range(6), "1"))
        wait_until(lambda: len(account.merges()) == 2)
    end(server)
    wait_until(lambda: answers(server))
    with server.channel() as channel:
        account = Account(server, Client(channel), Page(""))
        work = Work(account.client)
        wait_until(lambda: len(work.page().operations) == 2)
        assert len(account.merges()) == 2
        account.policy(on_import=True, merges_a_minute=100)
        wait_until(lambda: all(one.done for one in work.page().operations))
        assert account.merged() == {(f"p{number}-0", f"p{number}-1") for number in range(6)}
        assert {one.run for one in account.merges()} == {"import-1"}
        assert account.client.faults() == []


def answers(server: Server) -> bool:
    """Tell whether a server is there again."""
    with server.channel() as channel:
        try:
            return bool(Client(channel).stats())
        except grpc.RpcError:
            return False


def test_no_more_are_merged_in_a_minute_whatever_the_worker(start_server: StartServer) -> None:
    """What is over waits; it is not dropped."""
    server = start_server("--workers", "2", **SOON)
    with over_workers(server, 8) as clients:
        account = Account(server, clients[0], Page(""))
        account.policy(on_save=True, merges_a_minute=3)
        for copy in ("0", "1"):
            for one, client in zip(pairs(range(8), copy), clients, strict=True):
                client.save(one)
        wait_until(lambda: len(account.merges()) == 3)
        time.sleep(2)
        assert len(account.merges()) == 3
        account.policy(on_save=True, merges_a_minute=5)
        wait_until(lambda: len(account.merges()) == 5)
        account.policy(on_save=True)
        wait_until(lambda: len(account.merges()) == 8)


def test_a_full_queue_leaves_the_rest_to_a_scan(start_server: StartServer) -> None:
    """Saves do not wait for it."""
    address = f"127.0.0.1:{free_port()}"
    server = start_server("--metrics-address", address, **SOON, NAMESAKE_MERGE_QUEUE_ROWS="2")
    with server.channel() as channel:
        account = Account(server, Client(channel), Page(address))
        account.policy(on_save=True, merges_a_minute=1)
        for copy in ("0", "1"):
            for one in pairs(range(6), copy):
                account.client.save(one)
        wait_until(lambda: account.looks(Outcome.CROWDED) == 2)  # one merged, one waits, two behind
        account.policy(on_save=True, on_scan=True)
        wait_until(lambda: len(account.merges()) == 4)
        Work(account.client).scan()
        wait_until(lambda: len(account.merges()) == 6)


def test_cancelled_it_stops_and_is_not_begun_again(account: Account) -> None:
    """What was merged stays merged."""
    client = account.client
    import_whole(client, "0", pairs(range(4), "0"))
    account.policy(on_import=True, merges_a_minute=1)
    import_whole(client, "1", pairs(range(4), "1"))
    wait_until(lambda: len(account.merges()) == 1)
    work = Work(client)
    (operation,) = work.page().operations
    work.cancel(operation.name)
    assert work.wait(operation.name).error.message == "cancelled"
    account.policy(on_import=True)  # and one or more looks later
    assert len(work.page().operations) == 1
    assert len(account.merges()) == 1


def test_switched_off_it_stops(account: Account) -> None:
    """In the middle of a run too."""
    client = account.client
    import_whole(client, "0", pairs(range(4), "0"))
    account.policy(on_import=True, merges_a_minute=1)
    import_whole(client, "1", pairs(range(4), "1"))
    wait_until(lambda: len(account.merges()) == 1)
    account.policy(merges_a_minute=100)
    assert account.summary("merge-import").merges == 1
    assert len(account.merges()) == 1
