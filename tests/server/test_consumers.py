"""Named consumers of the feed: how far each is, and that it stays so."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from namesake import v1
from tests.conftest import Server, StartServer
from tests.server.client import Client, person, refusal

RANGE, PRECONDITION = grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.FAILED_PRECONDITION


def acknowledge(client: Client, consumer: str, sequence: int, *, back: bool = False) -> None:
    """Say how far a consumer is."""
    request = v1.AcknowledgeChangesRequest(consumer=consumer, sequence=sequence, back=back)
    client.call(client.customers.AcknowledgeChanges, request)


def consumers(client: Client) -> v1.ListConsumersResponse:
    """List the consumers."""
    answer: v1.ListConsumersResponse = client.call(
        client.customers.ListConsumers, v1.ListConsumersRequest()
    )
    return answer


def forget(client: Client, name: str) -> None:
    """Forget a consumer."""
    client.call(client.customers.DeleteConsumer, v1.DeleteConsumerRequest(name=name))


def sent(client: Client, **terms: Any) -> list[int]:
    """Return the sequences of what a watcher gets up to now."""
    return [watched.change.sequence for watched in client.feed(**terms)]


def save(client: Client, count: int) -> None:
    """Make changes."""
    for _ in range(count):
        client.save(person())


def test_a_consumer_goes_on_after_what_it_acknowledged(client: Client) -> None:
    """Each for itself; what was sent and not acknowledged is sent again."""
    save(client, 5)
    assert sent(client, consumer="crm") == [1, 2, 3, 4, 5]
    acknowledge(client, "crm", 3)
    assert sent(client, consumer="crm") == sent(client, consumer="crm") == [4, 5]
    acknowledge(client, "mail", 5)
    save(client, 1)
    assert sent(client, consumer="mail") == [6]
    assert sent(client, consumer="crm") == [4, 5, 6]
    assert sent(client, consumer="crm", after=1) == [2, 3, 4, 5, 6]


def test_watching_makes_no_consumer(client: Client) -> None:
    """Only what is acknowledged does."""
    save(client, 2)
    assert sent(client, consumer="crm") == [1, 2]
    assert list(consumers(client).consumers) == []
    acknowledge(client, "crm", 0)
    assert [one.name for one in consumers(client).consumers] == ["crm"]


def test_consumers_are_listed_by_name(client: Client) -> None:
    """With how far each is, when it said so, and what the feed has."""
    assert (consumers(client).first_sequence, consumers(client).last_sequence) == (1, 0)
    save(client, 4)
    for name, sequence in (("mail", 4), ("crm", 1), ("a-b_c.9", 0)):
        acknowledge(client, name, sequence)
    answer = consumers(client)
    assert (answer.first_sequence, answer.last_sequence) == (1, 4)
    told = [(one.name, one.sequence, one.behind, one.lost) for one in answer.consumers]
    assert told == [("a-b_c.9", 0, 4, False), ("crm", 1, 3, False), ("mail", 4, 0, False)]
    created = client.feed()[0].change.time.ToNanoseconds()
    assert all(one.time.ToNanoseconds() >= created for one in answer.consumers)


def test_a_cursor_stays_in_the_feed_and_goes_back_only_if_asked(client: Client) -> None:
    """What would lose changes unseen, or repeat them by mistake, is refused and changes nothing."""
    save(client, 3)
    acknowledge(client, "crm", 2)
    refused = refusal(lambda: acknowledge(client, "crm", 4))
    assert refused.short == (RANGE, "SEQUENCE_UNAVAILABLE", "sequence")
    assert refused.metadata == {"first_sequence": "1", "last_sequence": "3"}
    refused = refusal(lambda: acknowledge(client, "crm", 1))
    assert refused.short == (PRECONDITION, "CONSUMER_AHEAD", "sequence")
    assert refused.metadata == {"sequence": "2"}
    acknowledge(client, "crm", 2)
    assert sent(client, consumer="crm") == [3]
    acknowledge(client, "crm", 0, back=True)
    assert sent(client, consumer="crm") == [1, 2, 3]


def test_a_consumer_is_forgotten(client: Client) -> None:
    """And begins anew under its name."""
    save(client, 2)
    acknowledge(client, "crm", 2)
    forget(client, "crm")
    assert sent(client, consumer="crm") == [1, 2]
    refused = refusal(lambda: forget(client, "crm"))
    assert refused.short == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "name")


@pytest.mark.parametrize("name", ["", "Crm", "-crm", "c" * 64, "c m", "ç", "crm\n"])
def test_names_are_plain(client: Client, name: str) -> None:
    """They stand in lists and commands."""
    invalid = grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"
    refused = refusal(lambda: acknowledge(client, name, 0))
    assert refused.short == (*invalid, "consumer")
    assert refusal(lambda: forget(client, name)).short == (*invalid, "name")
    if name:
        assert refusal(lambda: sent(client, consumer=name)).short == (*invalid, "consumer")


def test_there_is_a_bound(start_server: StartServer) -> None:
    """Beyond it nobody new is noted, and those that are there go on."""
    server = start_server(NAMESAKE_CONSUMERS_LIMIT="2")
    with server.channel() as channel:
        client = Client(channel)
        acknowledge(client, "a", 0)
        acknowledge(client, "b", 0)
        refused = refusal(lambda: acknowledge(client, "c", 0))
        exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.short == (exhausted, "LIMIT_EXCEEDED", "consumer")
        acknowledge(client, "b", 0)
        forget(client, "a")
        acknowledge(client, "c", 0)


def test_a_cursor_is_durable_when_it_is_acknowledged(server: Server) -> None:
    """Also where the server dies at once; and it is sound."""
    with server.channel() as channel:
        client = Client(channel)
        save(client, 3)
        acknowledge(client, "crm", 2)
    server.kill()
    server.start()
    with server.channel() as channel:
        client = Client(channel)
        assert sent(client, consumer="crm") == [3]
        assert client.faults() == []
