"""The feed as a Redis stream: the same events, each once, whatever Redis does."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as client_of_redis

from namesake import v1
from service.core.prepare import match_key
from service.index import Index
from service.server.relay import ANSWER_S, Relay
from service.settings import Settings
from service.validation.shared import redis_client
from tests.conftest import Server, StartServer, wait_until
from tests.redis_server import RedisServer
from tests.server.client import Client, person
from tests.server.feed_work import Work
from tests.server.test_retention import SMALL, trimmed

KEY = "crm:changes:default"
STREAM = {"NAMESAKE_CHANGES_REDIS_STREAM": "crm:changes", "NAMESAKE_REDIS_PAUSE_S": "1"}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server of this test's own."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def streaming(start_server: StartServer, redis: RedisServer) -> Server:
    """A server that relays its feed."""
    return start_server("--redis", redis.url, **STREAM)


def entries(redis: RedisServer, key: str = KEY) -> list[tuple[str, dict[bytes, bytes]]]:
    """Return what a stream has: ids and fields."""
    with client_of_redis.Redis.from_url(redis.url) as client:
        found: Any = client.xrange(key)
    return [(id.decode(), fields) for id, fields in found]


def sequences(redis: RedisServer, key: str = KEY) -> list[int]:
    """Return the sequences that a stream has."""
    return [int(fields[b"sequence"]) for _, fields in entries(redis, key)]


def save(server: Server, count: int, **fields: Any) -> int:
    """Save customers; return the last sequence."""
    with server.channel() as channel:
        client = Client(channel)
        for _ in range(count):
            sequence = client.save(person(**fields)).sequence
    return sequence


def reaches(redis: RedisServer, sequence: int) -> None:
    """Wait until the stream has every event up to one, each once and in order."""
    wait_until(lambda: sequences(redis)[-1:] == [sequence])
    assert sequences(redis) == list(range(1, sequence + 1))


def test_the_stream_has_what_the_feed_has(streaming: Server, redis: RedisServer) -> None:
    """Every event, whole, with its sequence as its id."""
    with streaming.channel() as channel:
        client = Client(channel)
        work = Work(client, 2)
        work.some(60)
        feed = [watched.change for watched in client.feed()]
    reaches(redis, feed[-1].sequence)
    gone = set(work.deleted)
    for change, (id, fields) in zip(feed, entries(redis), strict=True):
        assert id == f"{change.sequence}-0"
        sent = v1.Change.FromString(fields[b"change"])
        kind = v1.ChangeKind.Name(change.kind).removeprefix("CHANGE_KIND_")
        assert fields[b"kind"].decode() == kind
        assert fields[b"customer_id"].decode() == change.customer_id == sent.customer_id
        assert fields[b"actor"].decode() == change.actor
        assert int(fields[b"time"]) == change.time.ToMicroseconds()
        if change.customer_id not in gone and change.kind != v1.CHANGE_KIND_CREATED:
            assert sent == change
        assert (sent.sequence, sent.kind, sent.time) == (change.sequence, change.kind, change.time)


def test_a_restart_goes_on_where_the_stream_ends(streaming: Server, redis: RedisServer) -> None:
    """Nothing is there twice, nothing is missing, also where the server was killed."""
    reaches(redis, save(streaming, 30))
    assert streaming.stop() == 0
    streaming.start()
    save(streaming, 30)
    streaming.kill()
    streaming.start()
    reaches(redis, save(streaming, 30))


def test_redis_may_be_away(streaming: Server, redis: RedisServer) -> None:
    """Saves go on; what it missed comes once it is back, and the log says both once."""
    reaches(redis, save(streaming, 10))
    redis.freeze()
    save(streaming, 10)
    redis.thaw()
    reaches(redis, save(streaming, 1))
    redis.kill()  # and it forgets: what comes back is an empty stream
    save(streaming, 10)
    wait_until(lambda: "relay_lost" in streaming.log())
    save(streaming, 10)
    redis.start()
    reaches(redis, 41)
    wait_until(lambda: "relay_back" in streaming.log())
    assert streaming.log().count("relay_lost") == streaming.log().count("relay_back") == 1


def test_the_stream_is_bounded(start_server: StartServer, redis: RedisServer) -> None:
    """About; Redis drops whole pieces of a hundred."""
    server = start_server("--redis", redis.url, NAMESAKE_CHANGES_REDIS_LIMIT="100", **STREAM)
    with server.channel() as channel:
        client = Client(channel)
        client.import_all("job", [person() for _ in range(1_000)])
    wait_until(lambda: sequences(redis)[-1:] == [1_000])
    assert 100 <= len(sequences(redis)) <= 300
    assert server.stop() == 0
    server.start()
    save(server, 1)
    wait_until(lambda: sequences(redis)[-1:] == [1_001])


def faults(server: Server) -> list[str]:
    """Return what the relay said that it cannot do, in order."""
    lines = [json.loads(line) for line in server.log().splitlines() if '"relay_' in line]
    return [line.get("fault") or line["event"] for line in lines]


def test_a_redis_that_is_out_of_memory_now_and_then(streaming: Server, redis: RedisServer) -> None:
    """What it refuses is added later, with all that comes behind it."""
    over = threading.Event()

    def press() -> None:
        with client_of_redis.Redis.from_url(redis.url) as client:
            while not over.is_set():
                client.config_set("maxmemory", 1)
                client.config_set("maxmemory", 0)

    presser = threading.Thread(target=press)
    presser.start()
    try:
        sent = 0
        with streaming.channel() as channel:
            # Large cards: Redis reads what is sent together in many parts.
            while "OutOfMemoryError" not in faults(streaming):
                cards = [person(tags=[f"{n}{'y' * 9_000}" for n in range(5)]) for _ in range(200)]
                Client(channel).import_all(f"job{sent}", cards)
                sent += len(cards)
                assert sent < 20_000
    finally:
        over.set()
        presser.join()
    reaches(redis, sent)


@pytest.mark.parametrize("idle", [True, False])
def test_a_stream_that_is_deleted_is_filled_anew(
    streaming: Server, redis: RedisServer, idle: bool
) -> None:
    """From the first event on, while the relay runs; whether more comes or not."""
    reaches(redis, save(streaming, 20))
    with client_of_redis.Redis.from_url(redis.url) as client:
        client.delete(KEY)
    reaches(redis, 20 if idle else save(streaming, 5))
    assert faults(streaming) == ["relay_moved"]


def test_events_that_the_feed_dropped_are_logged(
    start_server: StartServer, redis: RedisServer
) -> None:
    """Where retention overtook a relay that runs."""
    server = start_server("--redis", redis.url, **STREAM, **SMALL)
    reaches(redis, save(server, 5))
    redis.freeze()
    with server.channel() as channel:
        client = Client(channel)
        client.import_all("job", [person() for _ in range(900)])
        first = trimmed(client, 100)
        redis.thaw()
        wait_until(lambda: sequences(redis)[-1:] == [905])
        assert "relay_gap" in faults(server)
        there = sequences(redis)
        assert there[:5] == [1, 2, 3, 4, 5]
        assert there[-(906 - first) :] == list(range(first, 906))


def stays_out(server: Server, redis: RedisServer, fault: str) -> None:
    """Find the stream left alone, whatever comes, until it is deleted."""
    there = sequences(redis)
    last = save(server, 1)
    wait_until(lambda: fault in faults(server))
    assert sequences(redis) == there
    with client_of_redis.Redis.from_url(redis.url) as client:
        client.delete(KEY)
    wait_until(lambda: sequences(redis) == list(range(1, last + 1)))
    wait_until(lambda: faults(server)[-1] == "relay_back")


def test_another_folders_stream_is_left_alone(streaming: Server, redis: RedisServer) -> None:
    """Also once the feed is as long as it."""
    save(streaming, 1)
    reaches(redis, 1)
    with client_of_redis.Redis.from_url(redis.url) as client:
        client.xadd(KEY, {"sequence": 20}, "20-0")
    assert streaming.stop() == 0
    streaming.start()
    save(streaming, 1)
    wait_until(lambda: "ahead" in faults(streaming))
    assert sequences(redis) == [1, 20]
    save(streaming, 25)
    stays_out(streaming, redis, "other")


def test_the_stream_of_a_folder_of_before_is_left_alone(
    streaming: Server, redis: RedisServer
) -> None:
    """Its entries are of the same customers, and of other times."""
    for _ in range(2):
        assert streaming.stop() == 0
        shutil.rmtree(streaming.data)
        streaming.start()
        for number in range(10):
            save(streaming, 1, id=f"c{number}")
        wait_until(lambda: len(sequences(redis)) == 10)
    stays_out(streaming, redis, "other")


def test_a_stream_without_its_last_entry_is_left_alone(
    streaming: Server, redis: RedisServer
) -> None:
    """After a restart nobody knows whose it is; while the relay runs it does."""
    reaches(redis, save(streaming, 10))
    with client_of_redis.Redis.from_url(redis.url) as client:
        client.xtrim(KEY, 0, approximate=False)
    save(streaming, 1)
    wait_until(lambda: sequences(redis) == [11])
    with client_of_redis.Redis.from_url(redis.url) as client:
        client.xtrim(KEY, 0, approximate=False)
    assert streaming.stop() == 0
    streaming.start()
    stays_out(streaming, redis, "gone")


def test_each_account_has_its_stream(
    start_server: StartServer, redis: RedisServer, tmp_path: Path
) -> None:
    """By its name; one worker passes events on, whichever takes the call."""
    digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"  # of "test"
    other = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"  # of "test2"
    accounts = tmp_path / "accounts.toml"
    accounts.write_text(f'[a.tokens]\nx = "{digest}"\n[b.tokens]\nx = "{other}"\n')
    flags = ("--redis", redis.url, "--accounts", str(accounts), "--workers", "2")
    server = start_server(*flags, NAMESAKE_MAP_SIZE=str(1 << 30), **STREAM)
    for token, count in (("test", 3), ("test2", 2)):
        for _ in range(count):
            with server.channel() as channel:  # of either worker
                Client(channel, ("authorization", f"Bearer {token}")).save(person())
    wait_until(lambda: sequences(redis, "crm:changes:a") == [1, 2, 3])
    wait_until(lambda: sequences(redis, "crm:changes:b") == [1, 2])


async def test_it_stops_when_told_to(redis: RedisServer, tmp_path: Path) -> None:
    """At any turn of the loop from its start on."""
    settings = Settings(data=tmp_path)
    index = Index.open(tmp_path / "default", settings, match_key)
    for turns in range(150):
        relay = Relay(KEY, index, redis_client(redis.url, ANSWER_S), settings)
        relay.start()
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            await relay.close()
    await index.close()


@pytest.mark.parametrize("flags", [(), ("--redis", "foo://user:secret@bar")])
def test_a_stream_needs_a_redis(start_server: StartServer, flags: tuple[str, ...]) -> None:
    """Said at start, without what an URL may have of a password."""
    with pytest.raises(AssertionError, match="redis") as told:
        start_server(*flags, **STREAM)
    assert "not serving" in str(told.value)
    assert "secret" not in str(told.value)
