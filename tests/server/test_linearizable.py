"""Saves, merges, unmerges and reads of the same few customers at once, over two workers.

Each history is as if the calls had come one after the other, in an order that keeps those that did.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import NamedTuple

import grpc
import pytest

from namesake import v1
from tests.conftest import Server
from tests.linearizability import Call, is_linearizable
from tests.server.client import Client, person, refusal_of

HISTORIES = 30
CALLERS = 4
CALLS = 8  # of each caller
NAMES = "abc"


class Ask(NamedTuple):
    """A call: `save`, `get` or `unmerge` of a customer, or `merge` of another into it."""

    what: str
    id: str
    other: str = ""
    value: str = ""
    etag: str = ""


class Told(NamedTuple):
    """What came of it: a refusal's reason, or which customer and what of it; a write's sequence."""

    reason: str = ""
    id: str = ""
    value: str = ""
    etag: str = ""
    sequence: int = 0


class One(NamedTuple):
    """A customer: what it says, and into whom it was merged."""

    id: str
    value: str
    etag: str
    survivor: str = ""


State = tuple[One, ...]


def step(state: State, ask: Ask, told: Told) -> State | None:
    """Say what follows of a call on these customers, None where this would not be the answer."""
    by_id = {one.id: one for one in state}
    one = by_id[ask.id]
    match ask.what:
        case "get":
            live = _live(by_id, ask.id)
            return state if told == Told("", live.id, live.value, live.etag) else None
        case "save":
            reason = _stands_against_save(one, ask)
            if not reason and told != Told("", one.id, ask.value, told.etag):
                return None
            changed = {one.id: one._replace(value=ask.value, etag=told.etag)}
        case "merge":
            other = by_id[ask.other]
            reason = "CUSTOMER_MERGED" if one.survivor or other.survivor else ""
            changed = {
                one.id: one._replace(etag=f"{told.sequence:x}"),
                other.id: other._replace(survivor=one.id),
            }
        case _:
            reason = "" if one.survivor else "CUSTOMER_NOT_MERGED"
            live = _live(by_id, ask.id)
            changed = {
                live.id: live._replace(etag=f"{told.sequence:x}"),
                one.id: one._replace(survivor="", etag=f"{told.sequence + 1:x}"),
            }
    if told.reason == "ETAG_MISMATCH" and ask.what != "save":
        return state  # it gave up, as the customers kept changing
    if told.reason != reason:
        return None
    return state if reason else tuple((by_id | changed)[id] for id in by_id)


def _live(by_id: dict[str, One], id: str) -> One:
    while survivor := by_id[id].survivor:
        id = survivor
    return by_id[id]


def _stands_against_save(one: One, ask: Ask) -> str:
    if one.survivor:
        return "CUSTOMER_MERGED"
    return "ETAG_MISMATCH" if ask.etag not in ("", one.etag) else ""


@dataclass
class Caller(threading.Thread):
    """Asks at random; saves with the etag that it saw last, or with none."""

    client: Client
    seed: int
    ids: dict[str, str]  # name → id
    gate: threading.Barrier

    def __post_init__(self) -> None:
        """Begin with nothing seen."""
        super().__init__()
        self.calls: list[Call[Ask, Told]] = []

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Ask."""
        dice, seen = random.Random(self.seed), dict[str, str]()
        self.gate.wait(30)
        for number in range(CALLS):
            what = dice.choices(("get", "save", "merge", "unmerge"), (3, 3, 2, 2))[0]
            name, other = dice.sample(NAMES, 2)
            ask = Ask(what, name)
            if what == "save":
                etag = seen.get(name, "") if dice.random() < 0.5 else ""
                ask = Ask(what, name, value=f"{self.seed}-{number}", etag=etag)
            elif what == "merge":
                ask = Ask(what, name, other)
            invoked = time.monotonic()
            told = self._told(ask)
            self.calls.append(Call(ask, told, invoked, time.monotonic()))
            if told.etag:
                seen[told.id] = told.etag

    def _told(self, ask: Ask) -> Told:
        try:
            return self._answer(ask)
        except grpc.RpcError as error:
            return Told(refusal_of(error).reason)

    def _answer(self, ask: Ask) -> Told:
        id = self.ids[ask.id]
        match ask.what:
            case "get":
                return self._seen(self.client.get(id))
            case "save":
                card = v1.Customer(id=id, comment=ask.value, etag=ask.etag)
                return self._seen(self.client.update(card, "comment").customer)
            case "merge":
                return Told(sequence=self.client.merge(id, self.ids[ask.other]).sequence)
            case _:
                return Told(sequence=self.client.unmerge(id).sequence)

    def _seen(self, card: v1.Customer) -> Told:
        (name,) = (name for name, id in self.ids.items() if id == card.id)
        return Told("", name, card.comment, card.etag)


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Client]]:
    """Callers on connections of their own, over both of two workers."""
    server = Server(tmp_path_factory.mktemp("orders") / "data", ("--workers", "2")).start()
    options = [("grpc.use_local_subchannel_pool", 1)]
    with ExitStack() as stack:
        found: list[Client] = []
        workers: list[int] = []
        while len(found) < CALLERS or len({*workers[-CALLERS:]}) < 2:
            channel = grpc.insecure_channel(server.address, options)
            found.append(Client(stack.enter_context(channel)))
            workers.append(found[-1].stats().start_time.ToMicroseconds())
        yield found[-CALLERS:]
    server.kill()


def test_concurrent_calls_have_an_order(clients: list[Client]) -> None:
    """Many short histories, each of customers of its own; all kinds of answers come."""
    reasons = set()
    for number in range(HISTORIES):
        ids = {name: f"{name}{number}" for name in NAMES}
        saved = {name: clients[0].save(person(id=ids[name], comment="first")) for name in NAMES}
        state = tuple(One(name, "first", saved[name].customer.etag) for name in NAMES)
        gate = threading.Barrier(CALLERS)
        callers = [
            Caller(client, number * CALLERS + at, ids, gate) for at, client in enumerate(clients)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(60)
        calls = [call for caller in callers for call in caller.calls]
        assert len(calls) == CALLERS * CALLS
        assert is_linearizable(calls, state, step), calls
        reasons |= {(call.what.what, call.result.reason) for call in calls}
        assert_it_can_fail(calls, state, random.Random(number))
    assert {
        ("save", ""), ("save", "ETAG_MISMATCH"), ("save", "CUSTOMER_MERGED"), ("merge", ""),
        ("merge", "CUSTOMER_MERGED"), ("unmerge", ""), ("unmerge", "CUSTOMER_NOT_MERGED"),
    } <= reasons  # fmt: skip
    assert clients[0].faults() == []


def assert_it_can_fail(calls: list[Call[Ask, Told]], state: State, dice: random.Random) -> None:
    """The same history with one answer that nobody can have given is none."""
    at = dice.choice([at for at, call in enumerate(calls) if call.what.what == "get"])
    lie = replace(calls[at], result=calls[at].result._replace(value="never saved"))
    assert not is_linearizable([*calls[:at], lie, *calls[at + 1 :]], state, step)


START: State = tuple(One(name, "first", name) for name in NAMES)


def call(ask: Ask, told: Told, *times: float) -> Call[Ask, Told]:
    """Return a call of these times."""
    return Call(ask, told, *times)


HISTORIES_OF_NOBODY = {
    "an old value is read after a new one was saved": [
        call(Ask("save", "a", value="x"), Told("", "a", "x", "1"), 0, 1),
        call(Ask("get", "a"), Told("", "a", "first", "a"), 2, 3),
    ],
    "a save answers with what was there before": [
        call(Ask("save", "a", value="x"), Told("", "a", "first", "1"), 0, 1),
    ],
    "a save answers with somebody else": [
        call(Ask("save", "a", value="x"), Told("", "b", "x", "1"), 0, 1),
    ],
    "two saves of one etag": [
        call(Ask("save", "a", value="x", etag="a"), Told("", "a", "x", "1"), 0, 2),
        call(Ask("save", "a", value="y", etag="a"), Told("", "a", "y", "2"), 1, 3),
    ],
    "a member is live after its merge": [
        call(Ask("merge", "a", "b"), Told(sequence=9), 0, 1),
        call(Ask("get", "b"), Told("", "b", "first", "b"), 2, 3),
    ],
    "two merges of one member": [
        call(Ask("merge", "a", "b"), Told(sequence=8), 0, 2),
        call(Ask("merge", "c", "b"), Told(sequence=9), 1, 3),
    ],
    "two readers see two saves in different orders": [
        call(Ask("save", "a", value="x"), Told("", "a", "x", "1"), 0, 9),
        call(Ask("save", "a", value="y"), Told("", "a", "y", "2"), 0, 9),
        call(Ask("get", "a"), Told("", "a", "x", "1"), 1, 2),
        call(Ask("get", "a"), Told("", "a", "y", "2"), 3, 4),
        call(Ask("get", "a"), Told("", "a", "y", "2"), 1, 2),
        call(Ask("get", "a"), Told("", "a", "x", "1"), 3, 4),
    ],
    "what was saved in between is lost by an unmerge": [
        call(Ask("merge", "a", "b"), Told(sequence=5), 0, 1),
        call(Ask("save", "a", value="x"), Told("", "a", "x", "6"), 2, 3),
        call(Ask("unmerge", "b"), Told(sequence=7), 4, 5),
        call(Ask("get", "a"), Told("", "a", "first", "7"), 6, 7),
    ],
    "a merge is refused for no reason": [
        call(Ask("merge", "a", "b"), Told("CUSTOMER_MERGED"), 0, 1),
    ],
}


@pytest.mark.parametrize("name", HISTORIES_OF_NOBODY)
def test_histories_without_an_order_are_found(name: str) -> None:
    """Each with one fault."""
    assert not is_linearizable(HISTORIES_OF_NOBODY[name], START, step)


def test_histories_with_an_order_are_found_too() -> None:
    """Also where the order is not that of the beginnings, or of the ends."""
    for calls in (
        [],
        [
            call(Ask("get", "b"), Told("", "a", "first", "9"), 0, 5),  # after the merge
            call(Ask("merge", "a", "b"), Told(sequence=9), 1, 6),
            call(Ask("get", "b"), Told("", "b", "first", "b"), 2, 3),  # before it
        ],
        [
            call(Ask("merge", "a", "b"), Told(sequence=8), 0, 9),
            call(Ask("merge", "c", "b"), Told("CUSTOMER_MERGED"), 0, 9),
            call(Ask("unmerge", "b"), Told(sequence=9), 0, 9),
            call(Ask("unmerge", "b"), Told("CUSTOMER_NOT_MERGED"), 0, 9),
            call(Ask("get", "b"), Told("", "b", "first", "a"), 0, 9),
        ],
    ):
        assert is_linearizable(calls, START, step)
