"""Somebody changes a customer after it was planned what becomes of it, and before it is written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from namesake import v1
from service.core.model import Lookup, Sealed
from service.core.prepare import MATCH_RULES_VERSION, match_key
from service.identity.bulk import PLAN_PIECE_S, Bulk, Selection
from service.identity.operations import Operation, Operations
from service.identity.registry import Registry, Saved, Terms
from service.identity.results import Result
from service.index import Decision, Index, TrimChanges
from service.server import wire
from service.server.amendments import Amendment
from service.server.filters import filter_of
from service.settings import Settings
from service.validation.validator import Validator
from tests.server.client import person

TERMS = Terms("somebody", "US", Lookup.SKIP)
MEANT = v1.CustomerFilter(tags=["x"])
OTHERS = [f"other{number}" for number in range(8)]


@dataclass
class Account:
    """The parts of an account that change customers, without a server."""

    index: Index
    operations: Operations
    registry: Registry
    bulk: Bulk
    settings: Settings

    async def save(self, customer: v1.Customer) -> None:
        """Save a card, or replace it."""
        (saved,) = await self.registry.save([wire.card(customer, self.settings)], TERMS)
        assert isinstance(saved, Saved)

    def get(self, id: str) -> v1.Customer | None:
        """Return a customer, None if there is none."""
        with self.index.snapshot() as snapshot:
            record = snapshot.record(snapshot.find(id).row)
        return None if record is None else v1.Customer.FromString(record)

    async def results(self, operation: Operation) -> dict[str, Result]:
        """Wait for the end of a change; return what became of each customer."""
        done = await self.operations.wait(operation.name, 30.0, asyncio.Event())
        assert done.result is not None, done
        return {one.id: one for one in self.operations.results.read(operation.name)}


@pytest.fixture
async def account(tmp_path: Path) -> AsyncIterator[Account]:
    """An account of customers who are tagged x, a first."""
    settings = Settings(map_size=1 << 30)
    index = Index.open(tmp_path / "account", settings, match_key)
    records = wire.Records(settings)
    index.follow_rules(records, MATCH_RULES_VERSION)
    operations = Operations(index, settings)
    registry = Registry(index, Validator(settings), records, settings)
    bulk = Bulk(index, operations, registry, records, settings)
    made = Account(index, operations, registry, bulk, settings)
    for id in ("a", *OTHERS):
        await made.save(person(id=id, tags=["x"]))
    yield made
    await operations.close()
    await index.close()


@dataclass
class Meddler:
    """Lets something be done to a customer once, right after it was planned for."""

    meddle: Callable[[], Coroutine[Any, Any, None]]
    task: list[asyncio.Task[None]] = field(default_factory=list)

    def planned(self) -> None:
        """Begin it; each plan takes so long that others have their turn before the next."""
        if not self.task:
            self.task.append(asyncio.get_running_loop().create_task(self.meddle()))
        time.sleep(2 * PLAN_PIECE_S)


class MeddledFilter:
    """A filter by which customers are told one by one only where they are planned for."""

    def __init__(self, settings: Settings, meddler: Meddler) -> None:
        chosen = filter_of(MEANT, settings, "filter")
        assert chosen is not None
        self._filter, self._meddler = chosen, meddler

    def matches(self, records: Sequence[bytes]) -> list[bool]:
        """Tell of each record whether it is meant."""
        if len(records) == 1:
            self._meddler.planned()
        return self._filter.matches(records)


class MeddledAmendment:
    """A change that somebody gets in the way of."""

    def __init__(self, amendment: Amendment, meddler: Meddler) -> None:
        self._amendment, self._meddler = amendment, meddler

    def amended(self, record: bytes) -> Sealed:
        """Return what results of a record."""
        self._meddler.planned()
        return self._amendment.amended(record)


def failures(results: dict[str, Result]) -> dict[str, str]:
    """Return the reasons of those that failed; every customer must have a result."""
    assert results.keys() == {"a", *OTHERS}
    return {id: one.reason for id, one in results.items() if one.reason}


async def test_a_deletion_asks_again(account: Account) -> None:
    """Who does not match any more stays."""
    meddler = Meddler(lambda: account.save(person(id="a", tags=["y"])))
    selection = Selection(filter=MeddledFilter(account.settings, meddler))
    operation = await account.bulk.delete(selection, 1 + len(OTHERS), "it was a test of us", "kim")
    results = await account.results(operation)
    assert failures(results) == {"a": "NO_LONGER_MATCHES"}
    assert account.get("a") is not None
    assert account.get(OTHERS[0]) is None


async def test_an_update_is_planned_again(account: Account) -> None:
    """Both changes are there."""
    change = v1.CustomerChange(add_tags=["z"])
    meddler = Meddler(lambda: account.save(person(id="a", tags=["y"], stage="won")))
    amendment = MeddledAmendment(Amendment(change, account.settings, "change"), meddler)
    operation = await account.bulk.update(Selection(), amendment, "kim", dry_run=False)
    assert failures(await account.results(operation)) == {}
    after = account.get("a")
    assert after is not None
    assert (after.stage, list(after.tags)) == ("won", ["y", "z"])


async def test_who_is_gone_by_then_is_a_result(account: Account) -> None:
    """With its id, which the feed still knows."""

    async def delete() -> None:
        await account.registry.delete("a", "", "somebody was quicker", "somebody")

    change = v1.CustomerChange(add_tags=["z"])
    meddled = MeddledAmendment(Amendment(change, account.settings, "change"), Meddler(delete))
    operation = await account.bulk.update(Selection(), meddled, "kim", dry_run=False)
    assert failures(await account.results(operation)) == {"a": "CUSTOMER_DELETED"}


class BrokenAmendment:
    """A change that has a fault of its own."""

    def amended(self, record: bytes) -> Sealed:
        """Fail as code does that is wrong."""
        raise ValueError("never mind")


async def trim(index: Index) -> None:
    """Drop all of the feed but its last event."""
    with index.snapshot() as snapshot:
        events = snapshot.changes()
    older = [(event.sequence, event.row) for event in events[:-1]]
    cut = TrimChanges(events[-1].sequence, older)
    await index.submit([lambda _: Decision(None, (cut,))])


async def test_what_breaks_is_told_by_id_also_where_the_feed_is_cut(account: Account) -> None:
    """The record has it."""
    await trim(account.index)
    operation = await account.bulk.update(Selection(), BrokenAmendment(), "kim", dry_run=False)
    assert failures(await account.results(operation)) == dict.fromkeys(("a", *OTHERS), "INTERNAL")


async def test_who_is_gone_from_the_feed_too_is_nobodys_result_but_his_own(
    account: Account,
) -> None:
    """Nobody knows the id any more, and no other customer is blamed."""

    async def delete() -> None:
        await account.registry.delete("a", "", "somebody was quicker", "somebody")
        await account.save(person(id="later"))
        await trim(account.index)

    change = v1.CustomerChange(add_tags=["z"])
    meddled = MeddledAmendment(Amendment(change, account.settings, "change"), Meddler(delete))
    operation = await account.bulk.update(Selection(), meddled, "kim", dry_run=False)
    results = await account.results(operation)
    assert {id: one.reason for id, one in results.items() if one.reason} == {"": "NOT_FOUND"}
    assert results.keys() == {"", *OTHERS}
