"""The background settling of pending verdicts, whatever is in its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb

from namesake import v1
from service.core.model import Finding, Lookup, Reason, Sealed
from service.core.prepare import match_key
from service.identity.registry import MatchBy, Registry, Saved, Terms
from service.identity.settle import Settler
from service.index import Index
from service.index.layout import pack_u64
from service.server import wire
from service.settings import Settings
from service.validation.validator import Validator
from service.validation.verdicts import DomainVerdict
from tests.dns_servers import FaultyDns, Script, mx
from tests.server.client import person

PATIENCE_S = 30.0


class Codec(wire.Records):
    """The server's, but for records it is told to fail on."""

    broken = b"nobody"

    def settle(self, record: bytes, domain: str, finding: Finding) -> Sealed:
        """Fail as a bug would."""
        if self.broken in record:
            raise KeyError("a bug")
        return super().settle(record, domain, finding)


class Flawed(Validator):
    """The server's, but for domains it is told to fail on."""

    broken = "nobody.example"

    async def resolve(self, domains: Sequence[str]) -> dict[str, DomainVerdict]:
        """Fail as a bug would."""
        if self.broken in domains:
            raise RuntimeError("a bug")
        return await super().resolve(domains)


@dataclass
class Account:
    """What settling needs of one account."""

    index: Index
    validator: Flawed
    codec: Codec
    registry: Registry
    settler: Settler
    settings: Settings

    async def import_emails(self, *emails: str) -> None:
        """Store a customer for each address, whose verdict is left for later."""
        cards = [wire.card(person(email), self.settings) for email in emails]
        saved = await self.registry.save(cards, Terms("tests", "US", Lookup.DEFER))
        assert all(isinstance(one, Saved) for one in saved), saved

    async def import_alone(self, number: int, id: str, email: str) -> None:
        """Import a batch of one customer, whose verdict is left for later."""
        batch = v1.ImportBatch(number=number, customers=[person(email, id=id)])
        request = v1.ImportCustomersRequest(batch=batch).SerializeToString()
        incoming = wire.Rows(v1.ImportSettings(), self.settings).read(request)
        terms = Terms("tests", "US", Lookup.DEFER, match_order=(MatchBy.CUSTOMER_ID,))
        assert not (await (await self.registry.import_batch("job", incoming, terms))).failures

    def reasons(self) -> dict[str, int]:
        """Return address → reason of its finding, as stored."""
        with self.index.snapshot() as snapshot:
            customers = [v1.Customer.FromString(record) for _, record in snapshot.customers()]
        return {one.emails[0].value: one.emails[0].finding.reason for one in customers}

    def waiting(self) -> list[str]:
        """Return the domains that are waited for."""
        with self.index.snapshot() as snapshot:
            return snapshot.pending_domains()


@asynccontextmanager
async def account(folder: Path, script: Script, **changed: Any) -> AsyncIterator[Account]:
    """Open an account whose DNS follows a script."""
    async with FaultyDns(script) as dns:
        values = {"data": folder, "map_size": 1 << 30, "dns_servers": (dns.address,)}
        quick = {"dns_lookup_s": 15, "settle_pause_s": 0.02, "settle_pause_limit_s": 0.2}
        settings = Settings.model_validate(values | quick | changed)
        validator = Flawed(settings)
        await validator.start()
        index = Index.open(folder / "default", settings, match_key)
        codec = Codec(settings)
        registry = Registry(index, validator, codec, settings)
        settler = Settler(index, validator, registry, codec, settings)
        try:
            yield Account(index, validator, codec, registry, settler, settings)
        finally:
            await settler.close()
            await index.close()
            await validator.close()


async def until(condition: Callable[[], bool]) -> None:
    """Poll: nobody announces a commit."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_row_that_fails_holds_up_no_other(tmp_path: Path) -> None:
    """It keeps waiting, is counted as such, and is settled once it can be."""
    async with account(tmp_path, mx("mx.example."), settle_batch_rows=1) as one:
        await one.import_emails("a@x.example", "bad@x.example", "c@x.example", "d@y.example")
        one.codec.broken = b"bad@"
        async with asyncio.timeout(PATIENCE_S):
            assert await one.settler.round() == (1, 1)
        assert one.waiting() == ["x.example"]
        assert one.reasons() == {
            "a@x.example": Reason.ACCEPTED, "bad@x.example": Reason.PENDING,
            "c@x.example": Reason.ACCEPTED, "d@y.example": Reason.ACCEPTED,
        }  # fmt: skip
        one.codec.broken = b"nobody"
        assert await one.settler.round() == (1, 0)
        assert one.reasons()["bad@x.example"] == Reason.ACCEPTED


async def test_an_entry_too_many_holds_up_no_other(tmp_path: Path) -> None:
    """A row that is listed though it awaits nothing is passed by."""
    async with account(tmp_path, mx("mx.example.")) as one:
        await one.import_emails("a@x.example")
    with (
        lmdb.open(str(tmp_path / "default"), max_dbs=32, map_size=1 << 30) as env,
        env.begin(write=True) as txn,
    ):
        pending = env.open_db(b"pending", txn=txn, dupsort=True, dupfixed=True)
        txn.put(b"other.example", pack_u64(1), db=pending)
    async with account(tmp_path, mx("mx.example.")) as one:
        async with asyncio.timeout(PATIENCE_S):
            assert await one.settler.round() == (1, 1)
        assert one.waiting() == ["other.example"]
        assert one.reasons() == {"a@x.example": Reason.ACCEPTED}


async def test_an_unexpected_error_does_not_end_settling(tmp_path: Path) -> None:
    """The domains behind the one that fails are settled, and it as well once it does not."""
    async with account(tmp_path, mx("mx.example."), settle_batch_domains=1) as one:
        await one.import_emails("a@a.example", "b@b.example", "c@c.example")
        one.validator.broken = "b.example"
        one.settler.start()
        await until(lambda: one.waiting() == ["b.example"])
        one.validator.broken = "nobody.example"
        await until(lambda: not one.waiting())
        assert set(one.reasons().values()) == {Reason.ACCEPTED}


async def test_customers_who_go_while_batches_are_sorted_do_not_end_settling(
    tmp_path: Path,
) -> None:
    """A deletion sorts what its customer's batch left; settling then has less to do than it saw."""
    async with account(tmp_path, mx("mx.example."), settle_sort_bytes=1) as one:
        for number in range(1, 11):
            await one.import_alone(number, f"c{number}", f"a{number}@d{number}.example")
        async with asyncio.timeout(PATIENCE_S):
            settling = asyncio.create_task(one.settler.round())
            await asyncio.sleep(0)  # it has seen how many batches there are
            gone = (one.registry.delete(f"c{number}", "", "", "tests") for number in range(2, 11))
            await asyncio.gather(*gone)
            await settling
            await one.settler.round()
        assert not one.waiting()
        assert one.reasons() == {"a1@d1.example": Reason.ACCEPTED}
