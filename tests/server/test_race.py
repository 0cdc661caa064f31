"""Many callers at once over two worker processes: one customer, one winner."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import grpc
import pytest

from namesake import v1
from tests.conftest import Server
from tests.server.client import Client, person, refusal_of

CALLERS = 64
CHANNELS = 16


@pytest.fixture(scope="module")
def callers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Client]]:
    """Callers on many connections, over both of two workers."""
    server = Server(tmp_path_factory.mktemp("race") / "data", ("--workers", "2")).start()
    options = [("grpc.use_local_subchannel_pool", 1)]
    with ExitStack() as stack:
        clients = [
            Client(stack.enter_context(grpc.insecure_channel(server.address, options)))
            for _ in range(CHANNELS)
        ]
        workers = {client.stats().start_time.ToMicroseconds() for client in clients}
        while len(workers) < 2:
            clients.append(
                Client(stack.enter_context(grpc.insecure_channel(server.address, options)))
            )
            workers.add(clients[-1].stats().start_time.ToMicroseconds())
        yield clients
    server.kill()


def at_once(
    work: Callable[[int], v1.SaveCustomerResponse | None], count: int
) -> list[v1.SaveCustomerResponse | None]:
    """Do the same from many threads that start together."""
    gate = threading.Barrier(count)

    def run(number: int) -> v1.SaveCustomerResponse | None:
        gate.wait(30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def spellings_of_an_email(name: str) -> list[str]:
    """Return addresses of one mailbox."""
    return [f"{name}@gmail.com", f"{name}+x@gmail.com", f"{name[0]}.{name[1:]}@googlemail.com"]


CARDS: dict[str, list[str]] = {
    "the same e-mail": ["a@x.example"],
    "one mailbox in several spellings": spellings_of_an_email("race"),
    "a phone in several formats": [
        "+44 20 7946 0018", "+442079460018", "0044 20 79460018", "tel:+44-20-7946-0018",
    ],
    "an Argentine mobile, from abroad and within": ["+54 9 11 2345 6789", "+54 11 2345 6789"],
}  # fmt: skip


@pytest.mark.parametrize("name", CARDS)
def test_one_customer_comes_of_many_attachments(callers: list[Client], name: str) -> None:
    """64 saves with ATTACH of one new contact point: one creates, the others find it."""
    values = CARDS[name]

    def attach(number: int) -> v1.SaveCustomerResponse:
        card = person(values[number % len(values)], tags=[str(number)])
        terms = {"on_duplicate": v1.ON_DUPLICATE_ATTACH, "default_region": "GB"}
        return callers[number % len(callers)].save(card, **terms)

    answers = [answer for answer in at_once(attach, CALLERS) if answer is not None]
    outcomes = Counter(answer.outcome for answer in answers)
    assert outcomes[v1.SAVE_OUTCOME_CREATED] == 1
    assert len({answer.customer.id for answer in answers}) == 1
    id = answers[0].customer.id
    stored = callers[0].get(id)
    assert sorted(stored.tags, key=int) == [str(number) for number in range(CALLERS)]
    type = "email" if "@" in values[0] else "phone"
    (resolved,) = callers[0].resolve((type, values[0]), region="GB")
    assert [match.customer_id for match in resolved.matches] == [id]


def test_one_customer_is_created_under_one_id(callers: list[Client]) -> None:
    """64 saves of the same new id: one creates it."""

    def save(number: int) -> v1.SaveCustomerResponse:
        return callers[number % len(callers)].save(person(id="one", stage=str(number)))

    outcomes = Counter(answer.outcome for answer in at_once(save, CALLERS) if answer)
    assert outcomes[v1.SAVE_OUTCOME_CREATED] == 1
    assert outcomes[v1.SAVE_OUTCOME_UPDATED] == CALLERS - 1


def test_one_retry_of_many_saves(callers: list[Client]) -> None:
    """64 calls with one request id are one save."""

    def save(number: int) -> v1.SaveCustomerResponse:
        return callers[number % len(callers)].save(person(), request_id="same")

    answers = [answer for answer in at_once(save, CALLERS) if answer]
    assert len({(answer.customer.id, answer.sequence) for answer in answers}) == 1


def test_reject_lets_one_of_many_in(callers: list[Client]) -> None:
    """64 saves with REJECT of one new e-mail: one customer, 63 refusals that name it."""
    refusals: list[str] = []

    def save(number: int) -> v1.SaveCustomerResponse | None:
        try:
            return callers[number % len(callers)].save(
                person("reject@x.example"), on_duplicate=v1.ON_DUPLICATE_REJECT
            )
        except grpc.RpcError as error:
            refusals.append(refusal_of(error).metadata["customers"])
            return None

    (winner,) = [answer for answer in at_once(save, CALLERS) if answer is not None]
    assert refusals == [winner.customer.id] * (CALLERS - 1)


def test_one_of_many_updates_by_etag_wins_each_round(callers: list[Client]) -> None:
    """Everybody read the same card; the first to write wins, the others are told."""
    card = callers[0].save(person(id="etag", first_name="0")).customer
    refusals: list[str] = []
    for round in range(5):
        read = card

        def save(number: int, read: v1.Customer = read) -> v1.SaveCustomerResponse | None:
            mine = person(id="etag", etag=read.etag, first_name=f"{round}-{number}")  # noqa: B023
            try:
                return callers[number % len(callers)].save(mine)
            except grpc.RpcError as error:
                refusals.append(refusal_of(error).reason)
                return None

        (winner,) = [answer for answer in at_once(save, 16) if answer is not None]
        card = callers[-1].get("etag")
        assert card == winner.customer
    assert refusals == ["ETAG_MISMATCH"] * 15 * 5
    assert len(callers[0].history("etag")) == 6


def test_the_index_is_sound_after_all_that(callers: list[Client]) -> None:
    """And the feed has no gap."""
    assert callers[0].faults() == []
    sequences = [change.change.sequence for change in callers[-1].feed()]
    assert sequences == list(range(1, len(sequences) + 1))
    assert len(sequences) > 100
