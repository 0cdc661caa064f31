"""An index whose match keys follow older rules is brought to today's when it is opened."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.core.model import Channel
from service.index import Fault, Index, Kind
from tests.index.cards import SETTINGS, JsonCodec, Person, opened, save_all

PEOPLE = [
    Person("a", ("a.b+x@x.org", "a.b@x.org"), ("+5215512345678",), (("crm", "1"),)),
    Person("b", ("ab@x.org",), ("+525512345678",)),
    Person("c", (f"{'l.' * 200}x+tag@{'d' * 60}.{'e' * 60}.org",)),  # keys that are hashed
]


def tagless(channel: Channel, normal: str) -> str:
    """Rules of another release: tags do not count, dots and Mexico's 1 do."""
    if channel is Channel.PHONE:
        return normal
    local, _, domain = normal.rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"


def reopen(folder: Path) -> Index:
    """Open with the other rules."""
    return Index.open(folder, SETTINGS, tagless)


def faults(index: Index) -> list[Fault]:
    """Verify."""
    return [step for step in index.verify(JsonCodec()) if isinstance(step, Fault)]


async def test_keys_of_other_rules_are_made_anew_once(tmp_path: Path) -> None:
    """Afterwards duplicates by the new rules are found and the index is sound."""
    async with opened(tmp_path) as index:
        assert index.follow_rules(JsonCodec(), "1") == 0  # nobody there yet
        await save_all(index, PEOPLE)
        assert index.follow_rules(JsonCodec(), "1") == 0
    index = reopen(tmp_path)
    assert faults(index)
    assert index.follow_rules(JsonCodec(), "2") == len(PEOPLE)
    assert faults(index) == []
    with index.snapshot() as snapshot:
        assert snapshot.match_rules == "2"
        assert snapshot.rows(Kind.EMAIL_MATCH, "a.b@x.org") == [1]
        assert snapshot.rows(Kind.EMAIL_MATCH, "ab@x.org") == []
        assert snapshot.rows(Kind.PHONE_MATCH, "+525512345678") == []
        assert snapshot.rows(Kind.EMAIL, "ab@x.org") == [2]
        assert snapshot.rows(Kind.OTHER, "crm\x001") == [1]
    await index.close()
    index = reopen(tmp_path)
    assert index.follow_rules(JsonCodec(), "2") == 0
    await index.close()


async def test_an_index_from_before_rules_had_a_name_is_keyed_anew(tmp_path: Path) -> None:
    """Its keys may follow any."""
    async with opened(tmp_path) as index:
        await save_all(index, PEOPLE)
    index = reopen(tmp_path)
    assert index.follow_rules(JsonCodec(), "2") == len(PEOPLE)
    assert faults(index) == []
    await index.close()


DYING = """
import os, signal, sys
from pathlib import Path
from tests.index import test_rekey
from tests.index.cards import JsonCodec

class Dying(JsonCodec):
    count = 0
    def held(self, record):
        Dying.count += 1
        if Dying.count == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().held(record)

test_rekey.reopen(Path(sys.argv[1])).follow_rules(Dying(), "2")
"""


async def test_a_crash_on_the_way_leaves_all_to_be_done(tmp_path: Path) -> None:
    """The old keys and the old version stand, and the next start does the whole."""
    async with opened(tmp_path) as index:
        index.follow_rules(JsonCodec(), "1")
        await save_all(index, PEOPLE)
    command = [sys.executable, "-c", DYING, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    died = await asyncio.to_thread(subprocess.run, command, env=environment, check=False)
    assert died.returncode == -signal.SIGKILL
    async with opened(tmp_path) as index:
        with index.snapshot() as snapshot:
            assert snapshot.match_rules == "1"
        assert faults(index) == []
    index = reopen(tmp_path)
    assert index.follow_rules(JsonCodec(), "2") == len(PEOPLE)
    assert faults(index) == []
    await index.close()


@pytest.mark.parametrize("people", [0, 3_000])
async def test_any_number_of_customers(tmp_path: Path, people: int) -> None:
    """The map grows where it must."""
    small = SETTINGS.model_copy(update={"map_size": 1 << 20})
    async with opened(tmp_path, small) as index:
        index.follow_rules(JsonCodec(), "1")
        everybody = [Person(f"p{number}", (f"p.{number}+t@x.org",)) for number in range(people)]
        await save_all(index, everybody)
    index = Index.open(tmp_path, small, tagless)
    assert index.follow_rules(JsonCodec(), "2") == people
    assert faults(index) == []
    await index.close()
