"""An import is the saves of its rows, one after the other, however its batches are put.

Rows that are surely new are created together (`index._intake`), the others one by one. Random rows,
drawn from few names, ids and contact points so that many mean the same customers, are imported in
batches of any size into one index, and saved one by one into another by `Registry.save`, which is
what SaveCustomer calls: the same customers, histories, outcomes and failures come of both.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from namesake import v1
from service.core.model import Lookup, Outcome
from service.core.prepare import match_key
from service.errors import NamesakeError
from service.identity.registry import (
    MatchBy,
    OnConflict,
    OnMatch,
    Registry,
    Saved,
    Terms,
)
from service.index import Index
from service.server.wire import Records, Rows, card
from service.settings import Settings
from service.validation.validator import Validator
from tests.conftest import SEEDS

ORDERS = (
    (MatchBy.CUSTOMER_ID, MatchBy.IDENTITY, MatchBy.MOBILE, MatchBy.PHONE, MatchBy.EMAIL),
    (MatchBy.CUSTOMER_ID,),
    (MatchBy.EMAIL,),
    (MatchBy.MOBILE, MatchBy.IDENTITY),
)


@dataclass(frozen=True, slots=True)
class Home:
    """An index with its use cases."""

    index: Index
    registry: Registry
    settings: Settings


@asynccontextmanager
async def home(folder: Path, **changed: Any) -> AsyncIterator[Home]:
    """Open a new one; nobody answers its questions about domains."""
    values = {"data": folder, "dns_servers": ("127.0.0.1:9",)} | changed
    settings = Settings.model_validate(values)
    validator = Validator(settings)
    await validator.start()
    index = Index.open(folder / "account", settings, match_key)
    try:
        yield Home(index, Registry(index, validator, Records(settings), settings), settings)
    finally:
        await index.close()
        await validator.close()


def point(draw: random.Random) -> v1.EmailAddress:
    """Return an e-mail of few: two forms of a mailbox, a broken one, a role's."""
    name = draw.choice(["ada", "a.da", "bob", "info", "carl+x", "dora", "broken@", "é"])
    return v1.EmailAddress(value=f"{name}@{draw.choice(['gmail.com', 'x.example', 'y.example'])}")


def number(draw: random.Random) -> v1.PhoneNumber:
    """Return a phone of few, as people write it."""
    written = draw.choice(
        ["+44 20 7946 0018", "+442079460018", "+44 7400 123456", "no number", "1"]
    )
    kind = draw.choice([v1.CONTACT_KIND_UNSPECIFIED, v1.CONTACT_KIND_MOBILE, v1.CONTACT_KIND_HOME])
    return v1.PhoneNumber(value=written, kind=kind)


def customer(draw: random.Random) -> v1.Customer:
    """Return a row of an import; some break a rule."""
    made = v1.Customer(
        last_name=draw.choice(["Lovelace", "King", "Müller", "", "Noether"]),
        first_name=draw.choice(["", "Ada", "Emmy"]),
        stage=draw.choice(["", "", "lead", "won"]),
        emails=[point(draw) for _ in range(draw.choice([0, 1, 1, 2]))],
        phones=[number(draw) for _ in range(draw.choice([0, 0, 1, 2]))],
        tags=draw.sample(["a", "b", "c"], draw.choice([0, 0, 1, 2])),
    )
    if draw.random() < 0.3:
        made.id = f"c-{draw.randrange(6)}"
    if draw.random() < 0.05:
        made.etag = draw.choice(["1", "ffff"])
    if draw.random() < 0.2:
        made.identities.add(type="loyalty", value=str(draw.randrange(4)))
    if draw.random() < 0.15:
        made.kind, made.company_name = v1.CUSTOMER_KIND_COMPANY, "Analytical Engines"
    if draw.random() < 0.15:
        contact = made.contacts.add(last_name="Babbage", emails=[point(draw)])
        contact.phones.append(number(draw))
    if draw.random() < 0.1:
        made.custom_fields["size"].integer = draw.randrange(3)
    if draw.random() < 0.1:
        made.addresses.add(country="DE", city="Berlin")
        made.phones.add(value="030 901820")
    return made


def terms_of(draw: random.Random) -> Terms:
    """Return how rows are matched."""
    return Terms(
        "importer",
        "GB",
        Lookup.DEFER,
        match_order=draw.choice(ORDERS),
        on_match=draw.choice(list(OnMatch)),
        on_conflict=draw.choice(list(OnConflict)),
    )


class Seen(NamedTuple):
    """What came of an import: customers and what happened to them, outcomes, failures."""

    customers: Counter[bytes]
    histories: Counter[tuple[bytes, ...]]
    outcomes: Counter[Outcome]
    failures: list[tuple[int, str, str, str]]


def look(one: Home, given_ids: set[str]) -> tuple[Counter[bytes], Counter[tuple[bytes, ...]]]:
    """Return the customers without what differs from run to run, and their histories."""
    customers: Counter[bytes] = Counter()
    histories: Counter[tuple[bytes, ...]] = Counter()
    with one.index.snapshot() as snapshot:
        for row, record in snapshot.customers():
            message = v1.Customer.FromString(record)
            for name in ("etag", "create_time", "update_time"):
                message.ClearField(name)
            if message.id not in given_ids:
                message.id = ""
            _forget_times(message)
            customers[message.SerializeToString(deterministic=True)] += 1
            steps = snapshot.history(row)
            histories[
                (message.id.encode(), *(_step(entry.kind, entry.diff) for entry in steps))
            ] += 1
            assert [change.row for change in snapshot.changes_before(steps[0].sequence + 1, 1)] == [
                row
            ]
    return customers, histories


def _forget_times(message: v1.Customer) -> None:
    owners: list[v1.Customer | v1.Contact] = [message, *message.contacts]
    for owner in owners:
        for email in owner.emails:
            email.finding.ClearField("check_time")
        for phone in owner.phones:
            phone.finding.ClearField("check_time")


def _step(kind: int, diff: bytes) -> bytes:
    change = v1.Change.FromString(diff)
    _forget_times(change.before)
    _forget_times(change.after)
    return bytes([kind]) + change.SerializeToString(deterministic=True)


async def imported(
    one: Home, rows: Sequence[v1.Customer], sizes: Sequence[int], terms: Terms
) -> Seen:
    """Import rows in batches of some sizes."""
    reader = Rows(v1.ImportSettings(), one.settings)
    outcomes: Counter[Outcome] = Counter()
    failures: list[tuple[int, str, str, str]] = []
    done = 0
    tasks = []
    for number, size in enumerate(sizes, 1):
        batch = v1.ImportBatch(number=number, customers=rows[done : done + size])
        request = v1.ImportCustomersRequest(batch=batch).SerializeToString()
        tasks.append(await one.registry.import_batch("job", reader.read(request), terms))
        done += size
    for task in tasks:
        batch_done = await task
        failures += [(f.row, f.field, f.reason, f.message) for f in batch_done.failures]
        job = batch_done.job
    outcomes[Outcome.CREATED], outcomes[Outcome.UPDATED] = job.created, job.updated
    outcomes[Outcome.UNCHANGED], outcomes[Outcome.SKIPPED] = job.unchanged, job.skipped
    assert job.failed == len(failures)
    return Seen(*look(one, {row.id for row in rows}), +outcomes, failures)


async def saved(one: Home, rows: Sequence[v1.Customer], terms: Terms) -> Seen:
    """Save rows one after the other."""
    outcomes: Counter[Outcome] = Counter()
    failures: list[tuple[int, str, str, str]] = []
    for number, row in enumerate(rows, 1):
        try:
            given = card(v1.Customer.FromString(row.SerializeToString()), one.settings)
            (result,) = await one.registry.save([given], terms)
        except NamesakeError as error:
            result = error
        if isinstance(result, Saved):
            outcomes[result.outcome] += 1
        else:
            assert isinstance(result, NamesakeError)
            failures.append((number, result.field, result.reason, result.message))
    return Seen(*look(one, {row.id for row in rows}), +outcomes, failures)


def cut(draw: random.Random, count: int) -> list[int]:
    """Return sizes of batches that have `count` rows together; some are empty."""
    sizes = []
    while count:
        sizes.append(min(draw.choice([0, 1, 3, 20, 100]), count))
        count -= sizes[-1]
    return sizes


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_an_import_is_the_saves_of_its_rows(seed: int, tmp_path: Path) -> None:
    """Whatever the batches are; and the index is as its records say."""
    draw = random.Random(seed)
    terms = terms_of(draw)
    first = [customer(draw) for _ in range(draw.choice([5, 30]))]
    rows = [customer(draw) for _ in range(draw.choice([10, 60, 150]))]
    part_rows = draw.choice([1, 3, 25])
    async with (
        home(tmp_path / "one", import_part_rows=part_rows) as one,
        home(tmp_path / "other") as other,
    ):
        for each in (one, other):  # customers whom both know before, one of them deleted
            await saved(each, first, Terms("saver", "GB", Lookup.DEFER))
            with each.index.snapshot() as snapshot:
                known = [v1.Customer.FromString(record).id for _, record in snapshot.customers()]
            if gone := [id for id in known if id.startswith("c-")][:1]:
                await each.registry.delete(gone[0], "", "", "saver")
        by_batches, one_by_one = await asyncio.gather(
            imported(one, rows, cut(draw, len(rows)), terms), saved(other, rows, terms)
        )
        assert by_batches == one_by_one
        for each in (one, other):
            faults = [
                found
                for found in each.index.verify(Records(each.settings))
                if hasattr(found, "what")
            ]
            assert faults == []


async def test_new_rows_are_put_together(tmp_path: Path) -> None:
    """In the order of the file: rows, changes and ids rise with it."""
    rows = [
        v1.Customer(
            last_name=f"L{number:03}", emails=[v1.EmailAddress(value=f"{number}@x.example")]
        )
        for number in range(300)
    ]
    terms = Terms("importer", "GB", Lookup.DEFER, match_order=ORDERS[0])
    async with home(tmp_path) as one:
        await imported(one, rows, [100, 200], terms)
        with one.index.snapshot() as snapshot:
            stored = [v1.Customer.FromString(record) for _, record in snapshot.customers()]
            changes = snapshot.changes(0, 1_000)
        assert [one.last_name for one in stored] == [row.last_name for row in rows]
        assert [change.id for change in changes] == [one.id for one in stored]
        assert [change.sequence for change in changes] == list(range(1, 301))
        assert [int(one.etag, 16) for one in stored] == list(range(1, 301))
        for batch in (stored[:100], stored[100:]):
            assert [one.id for one in batch] == sorted(one.id for one in batch)
        assert all(one.id[14] == "7" and one.id[19] in "89ab" for one in stored)
