"""Kill -9 in the middle of merges and unmerges, small and large: each is done whole, or not at all.

`NAMESAKE_TEST_MERGE_KILL_ROUNDS` sets the number of rounds of each variant; `make nightly` has more
than the other tests do.
"""

from __future__ import annotations

import os
import random
import threading
import time
from dataclasses import dataclass, field

import grpc
import pytest

from namesake import v1
from tests.conftest import Server, StartServer, wait_until
from tests.server.client import Client, merge_plan, person
from tests.server.long_work import Work

ROUNDS = int(os.environ.get("NAMESAKE_TEST_MERGE_KILL_ROUNDS", "2"))
MERGERS, EACH = 3, 7
CROWD = 250
TAGGED = 50  # a card takes only so many tags
AT_ONCE = {"NAMESAKE_MERGE_AT_ONCE": "20"}
GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


@dataclass
class Family:
    """Customers whom one caller merges and gives back; the first have their ids as tags."""

    ids: list[str]
    survivors: dict[str, str] = field(default_factory=dict)  # as acknowledged
    asked: dict[str, str] | None = None  # as it would be after what was not acknowledged

    def merge(self, survivor: str, *members: str) -> None:
        """Ask for a merge."""
        self.asked = self.survivors | dict.fromkeys(members, survivor)

    def unmerge(self, *ids: str) -> None:
        """Ask for members."""
        self.asked = {one: into for one, into in self.survivors.items() if one not in ids}

    def acknowledge(self) -> None:
        """It was done."""
        assert self.asked is not None
        self.survivors, self.asked = self.asked, None

    @property
    def live(self) -> list[str]:
        """Ids of those that are merged into nobody."""
        return [id for id in self.ids if id not in self.survivors]

    def settle(self, client: Client) -> None:
        """What was acknowledged is there; what was not is there whole, or not at all."""
        found = {id: client.get(id) for id in self.ids}
        cards = {id: (card.id, frozenset(card.tags)) for id, card in found.items()}
        if self.asked is not None and cards == self._cards(self.asked):
            self.acknowledge()
        self.asked = None
        assert cards == self._cards(self.survivors)

    def _cards(self, survivors: dict[str, str]) -> dict[str, tuple[str, frozenset[str]]]:
        tops = {id: _top(survivors, id) for id in self.ids}
        trees = {
            top: frozenset(id for id in self.ids[:TAGGED] if tops[id] == top)
            for top in {*tops.values()}
        }
        return {id: (top, trees[top]) for id, top in tops.items()}


def _top(survivors: dict[str, str], id: str) -> str:
    while id in survivors:
        id = survivors[id]
    return id


class Caller(threading.Thread):
    """Merges and unmerges until the server is gone."""

    def __init__(self, server: Server, family: Family, seed: int) -> None:
        super().__init__()
        self._server = server
        self._family = family
        self._dice = random.Random(seed)
        self.done = 0

    def run(self) -> None:
        """Work."""
        with self._server.channel() as channel:
            client = Client(channel)
            try:
                while True:
                    self._once(client)
                    self._family.acknowledge()
                    self.done += 1
            except grpc.RpcError as error:
                if error.code() not in GONE:
                    raise

    def _once(self, client: Client) -> None:
        family = self._family
        if len(family.ids) == CROWD:
            self._crowd(client)
        elif family.survivors and (len(family.live) < 2 or self._dice.random() < 0.5):
            one = self._dice.choice([*family.survivors])
            family.unmerge(one)
            client.unmerge(one)
        else:
            some = self._dice.sample(family.live, min(len(family.live), self._dice.randint(2, 4)))
            family.merge(*some)
            client.merge(*some)

    def _crowd(self, client: Client) -> None:
        """Merge all in the background, or give all back."""
        family = self._family
        first, *others = family.ids
        if family.survivors:
            family.unmerge(*others)
            client.unmerge(*others)
            return
        family.merge(first, *others)
        request = v1.MergeCustomersRequest(plan=merge_plan(first, *others))
        operation = client.call(client.merges.MergeCustomers, request)
        assert not operation.done
        while not (now := Work(client).get(operation.name)).done:
            time.sleep(0.005)
        assert now.HasField("response")


def begin(client: Client) -> list[Family]:
    """Create everybody."""
    families = [Family([f"f{n}-{one}" for one in range(EACH)]) for n in range(MERGERS)]
    families.append(Family([f"crowd-{one}" for one in range(CROWD)]))
    cards = [
        person(id=id, tags=[id] if at < TAGGED else [])
        for family in families
        for at, id in enumerate(family.ids)
    ]
    client.import_all("all", cards, match_order=[v1.MATCH_BY_CUSTOMER_ID])
    return families


@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_a_merge_is_whole_or_not_at_all(start_server: StartServer, flags: tuple[str, ...]) -> None:
    """Rounds of callers over one folder, each ended by a kill."""
    dice = random.Random(20_261_201 + len(flags))
    server = start_server(*flags, **AT_ONCE)
    with server.channel() as channel:
        families = begin(Client(channel))
    done = interrupted = 0
    for _ in range(ROUNDS):
        callers = [Caller(server, family, dice.randrange(1 << 30)) for family in families]
        for caller in callers:
            caller.start()
        time.sleep(0.05 + dice.random() * 0.6)
        server.kill()
        for caller in callers:
            caller.join(30)
            assert not caller.is_alive()
            done += caller.done
        interrupted += sum(family.asked is not None for family in families)
        server.start()
        check_after_kill(server, families)
    assert done > ROUNDS
    assert interrupted > ROUNDS
    assert server.stop() == 0


def check_after_kill(server: Server, families: list[Family]) -> None:
    """Every merge is whole, redirects lead to live customers, and the index is sound."""
    with server.channel() as channel:
        client = Client(channel)
        assert client.faults() == []
        for family in families:
            family.settle(client)
        live = {card.id for answer in client.export() for card in answer.customers}
        assert live == {id for family in families for id in family.live}
        changes = [watched.change for watched in client.feed()]
        assert [change.sequence for change in changes] == [*range(1, len(changes) + 1)]
        wait_until(lambda: all(one.done for one in Work(client).page().operations))
        failures = [one.error for one in Work(client).page().operations if one.HasField("error")]
        assert {info.code for info in failures} <= {grpc.StatusCode.ABORTED.value[0]}
