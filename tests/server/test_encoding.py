"""Events of merges as the feed encodes them: from the history's differences, and cards of then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from namesake import v1
from service.core.model import Lookup
from service.core.prepare import MATCH_RULES_VERSION, match_key
from service.identity.registry import Registry, Saved, Terms, etag_of
from service.index import ChangeKind, Decision, Index, View
from service.server import wire
from service.server.changes import WHOLE, cards_at, encoded
from service.server.pace import Pace
from service.settings import Settings
from service.validation.validator import Validator
from tests.server.client import person

TERMS = Terms("somebody", "US", Lookup.SKIP)


@dataclass
class Account:
    """What saves, and what rewrites a record as a merge does."""

    index: Index
    registry: Registry
    records: wire.Records
    settings: Settings

    async def save(self, customer: v1.Customer) -> int:
        """Save a card; return the change's sequence."""
        (saved,) = await self.registry.save([wire.card(customer, self.settings)], TERMS)
        assert isinstance(saved, Saved)
        return saved.sequence

    async def rewrite(self, id: str, kind: ChangeKind, change: v1.Change) -> int:
        """Give a customer a stage, with a difference and a kind of the test's choice."""

        def decide(view: View) -> Decision[int]:
            row = view.find(id).row
            old = view.record(row) or b""
            body = wire.body_of(old)
            body.stage = change.after.stage
            sealed = wire.resealed(body, self.settings)
            held, diff = self.records.held(old), change.SerializeToString()
            put = self.registry.rewrite(view, row, old, held, sealed, kind, diff, "kim")
            return Decision(view.next_sequence, (put,))

        (sequence,) = await self.index.submit([decide])
        assert isinstance(sequence, int)
        return sequence

    async def delete(self, id: str) -> None:
        """Delete a customer."""
        await self.registry.delete(id, "", "a test", "kim")

    async def events(self) -> list[v1.Change]:
        """Return all events of the feed."""
        with self.index.snapshot() as snapshot:
            told = await encoded(snapshot, snapshot.changes(), Pace())
            return [v1.Change.FromString(one) for one in told]

    async def at(self, id: str, sequence: int) -> v1.Customer | None:
        """Return a customer as it was."""
        with self.index.snapshot() as snapshot:
            row = snapshot.row_of(id)
            place = row or 0, sequence
            return (await cards_at(snapshot, [place], Pace())).get(place)


@pytest.fixture
async def account(tmp_path: Path) -> AsyncIterator[Account]:
    """An empty account."""
    settings = Settings(map_size=1 << 30)
    index = Index.open(tmp_path / "account", settings, match_key)
    records = wire.Records(settings)
    index.follow_rules(records, MATCH_RULES_VERSION)
    yield Account(index, Registry(index, Validator(settings), records, settings), records, settings)
    await index.close()


def staged(*merged_ids: str) -> v1.Change:
    """Return the difference of a merge, or an unmerge, that also sets a field."""
    change = v1.Change(merged_ids=merged_ids, after=v1.Customer(stage="won"))
    change.fields.paths.append("stage")
    return change


async def test_a_merge_has_its_members_and_the_survivors_fields(account: Account) -> None:
    """With etag and time of the survivor, like any change of a card."""
    await account.save(person(id="a"))
    sequence = await account.rewrite("a", ChangeKind.MERGED, staged("b", "c"))
    event = (await account.events())[-1]
    assert (event.sequence, event.kind) == (sequence, v1.CHANGE_KIND_MERGED)
    assert (event.customer_id, event.actor) == ("a", "kim")
    assert list(event.merged_ids) == ["b", "c"]
    assert list(event.fields.paths) == ["stage"]
    assert event.after == v1.Customer(stage="won", etag=etag_of(sequence), update_time=event.time)


async def test_a_card_is_known_at_every_sequence(account: Account) -> None:
    """As it was after the change that came last by then, with its etag and times."""
    states: list[v1.Customer] = []
    for stage in range(250):  # more than are read of a history at once
        await account.save(person(id="a", stage=f"s{stage}", tags=[f"t{stage % 7}"]))
        card = await account.at("a", 1 << 40)
        assert card is not None
        states.append(card)
    for number in (0, 1, 99, 100, 101, 200, 249):
        assert await account.at("a", number + 1) == states[number]
    with account.index.snapshot() as snapshot:
        row = snapshot.row_of("a")
        places = [(row or 0, number + 1) for number in (249, 0, 100, 99, 0)]
        found = await cards_at(snapshot, places, Pace())
    assert found == {place: states[place[1] - 1] for place in places}
    await account.delete("a")
    assert await account.at("a", 1) is None
    assert await account.at("nobody", 1) is None


async def test_long_histories_hold_nobody_up(account: Account) -> None:
    """Cards of long ago are made in pieces."""
    for number in range(8):
        for stage in range(150):
            tags = [f"t{stage * tag}" for tag in range(1, 200)]
            await account.save(person(id=f"c{number}", tags=tags))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    with account.index.snapshot() as snapshot:
        created = [event for event in snapshot.changes(0, 2_000) if event.kind in WHOLE]
        task = asyncio.create_task(others())
        assert len(await encoded(snapshot, created, Pace())) == 8
        task.cancel()
    assert turns > 2
