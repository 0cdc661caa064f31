"""`namesake compact` over the folder of a server, while it runs and when it is stopped."""

from __future__ import annotations

from namesake import v1
from tests.cli.conftest import Namesake
from tests.conftest import Server
from tests.server.client import Client, person


def test_compact_makes_a_deleted_customer_unreadable(offline: Namesake, server: Server) -> None:
    """Of a stopped server, and of no other; its id is still known to be deleted."""
    with server.channel() as channel:
        client = Client(channel)
        client.save(person("secretive@x.example", id="a"))
        client.save(person("kept@x.example", id="b"))
        client.delete("a")
    data = str(server.data)
    busy = offline("compact", "--data", data)
    assert busy.status == 1
    assert "stop the service" in busy.err
    file = server.data / "default" / "data.mdb"
    assert b"secretive" in file.read_bytes()
    assert server.stop() == 0
    done = offline("compact", "--data", data, "--json")
    assert done.status == 0, done.err
    (line,) = done.lines
    assert line["account"] == "default"
    assert line["before_bytes"] >= line["bytes"] == file.stat().st_size
    assert b"secretive" not in file.read_bytes()
    server.start()
    with server.channel() as channel:
        client = Client(channel)
        assert client.faults() == []
        assert client.get("b").id == "b"
        assert [one.change.kind for one in client.feed()][-1] == v1.CHANGE_KIND_DELETED


def test_compact_finds_nothing(offline: Namesake, server: Server) -> None:
    """Where there is no index, and for an account that is not there."""
    nothing = offline("compact", "--data", str(server.data), "--account", "other")
    assert nothing.status == 1
    assert "no index" in nothing.err
