"""What bulk work is measured with is what it is said to be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import grpc
import lmdb

from benchmarks import cards, postgres, raw, streams, timeline
from benchmarks.sizes import ACCOUNT
from namesake import v1
from service.core.model import Channel
from service.core.prepare import match_key, prepare_phones
from service.index import layout
from tests.conftest import Server, StartServer

ROWS = 2_400
SAVED = 300
LAST = 12_000_000  # from here on phones would come again


def numbers() -> list[int]:
    """Return numbers of customers near and far, and those that a scattered digit might confuse."""
    near = [start + step for start in (0, 999_990, 9_999_000) for step in range(1_000)]
    return [*near, *range(0, LAST, 1_999), LAST - 1]


def test_no_two_customers_share_an_email_or_a_phone_by_any_rule() -> None:
    drawn = sorted(set(numbers()))
    phones = prepare_phones([cards.phone(one) for one in drawn], [""] * len(drawn), "US")
    assert all(phone.type is not None for phone in phones)
    assert len({match_key(Channel.PHONE, phone.normal) for phone in phones}) == len(drawn)
    emails = {match_key(Channel.EMAIL, cards.email(one)) for one in drawn}
    assert len(emails) == len(drawn)


def test_a_file_has_every_customer_once_in_batches_that_are_numbered(tmp_path: Path) -> None:
    rows = 2 * streams.BATCH_ROWS * 20 + 1_234  # more than one process encodes
    streams.write(tmp_path / "batches", rows)
    batches = [
        v1.ImportCustomersRequest.FromString(message).batch
        for message in streams.read(tmp_path / "batches")
    ]
    assert [batch.number for batch in batches] == list(range(1, len(batches) + 1))
    assert all(len(batch.customers) == streams.BATCH_ROWS for batch in batches[:-1])
    found = [customer.emails[0].value for batch in batches for customer in batch.customers]
    assert found == [cards.email(number) for number in range(rows)]


def test_columns_say_what_rows_say(start_server: StartServer, tmp_path: Path) -> None:
    exported = []
    for encode in (streams.rows_message, streams.arrow_message):
        server = start_server()
        imported(server, tmp_path / "batches", encode)
        exported.append([without_history(customer) for customer in customers(server)])
    assert len(exported[0]) == ROWS
    assert exported[0] == exported[1]


def test_raw_puts_what_single_saves_put(start_server: StartServer, tmp_path: Path) -> None:
    """Everything but ids, times and what the DNS says."""
    bulk, single = start_server(), start_server()
    imported(bulk, tmp_path / "batches", streams.rows_message, SAVED)
    save_one_by_one(single, SAVED)
    bulk.stop()
    single.stop()
    put: dict[str, set[raw.Entry]] = {}
    for group in raw.groups(bulk.data / ACCOUNT, SAVED):
        for name, entries in group.items():
            put.setdefault(name, set()).update(entries)
    for name in ("identities", "blocks", "features"):
        assert put[name] == stored(single.data / ACCOUNT, name)
    assert put["ids"] == stored(bulk.data / ACCOUNT, "ids")
    assert waiting(put["waiting"]) == stored(single.data / ACCOUNT, "pending") != set()
    assert waiting(stored(bulk.data / ACCOUNT, "waiting")) | stored(
        bulk.data / ACCOUNT, "pending"
    ) == waiting(put["waiting"])


def test_raw_stores_each_entry_once(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    imported(server, tmp_path / "batches", streams.rows_message)
    server.stop()
    written = raw.write(tmp_path / "raw", raw.groups(server.data / ACCOUNT, ROWS))
    assert (written.rows, len(written.groups_s)) == (ROWS, -(-ROWS // raw.GROUP_ROWS))
    assert raw.read(tmp_path / "raw")[0] == ROWS
    for name in layout.TABLES:
        if name in ("identities", "blocks"):  # ours are in sorted runs
            assert stored(tmp_path / "raw", name)
        elif name in ("ids", "customers", "features", "changes", "history"):
            assert stored(tmp_path / "raw", name) == stored(server.data / ACCOUNT, name)


def test_a_script_copies_what_a_table_has(tmp_path: Path) -> None:
    table, script = tmp_path / "a.csv", tmp_path / "a.sql"
    postgres.write_table(table, range(ROWS))
    postgres.write_script(script, range(ROWS))
    lines = script.read_text().splitlines()
    ends = [number for number, line in enumerate(lines) if line == "\\."]
    assert len(ends) == lines.count(lines[0]) == -(-ROWS // postgres.BATCH_ROWS)
    rows = [line for line in lines if line not in ("\\.", lines[0])]
    assert rows == table.read_text().splitlines()


def test_no_item_of_a_timeline_is_lost(tmp_path: Path) -> None:
    world = timeline.World(ROWS)
    assert len({world.seconds(number) for number in range(ROWS)}) == ROWS
    assert {world.kind(number) for number in range(0, ROWS, timeline.OF_LARGE)} == {
        kind for kind in v1.ItemKind.values() if kind
    }
    (table,) = timeline.measure(tmp_path, ROWS, lambda _: None).tables  # which raises if one is
    assert len(table.rows) == 9


def waiting(values: set[raw.Entry]) -> set[raw.Entry]:
    pairs = [pair for _, stored in values for pair in layout.decode_waiting(stored)]
    assert len(set(pairs)) == len(pairs)
    return set(pairs)


def imported(server: Server, file: Path, encode: streams.Encode, rows: int = ROWS) -> None:
    streams.write(file, rows, encode)
    asyncio.run(streams.import_all(server.address, streams.read(file)))


def customers(server: Server) -> Iterable[v1.Customer]:
    with server.channel() as channel:
        for message in v1.TransferServiceStub(channel).ExportCustomers(v1.ExportCustomersRequest()):
            yield from message.customers


def without_history(customer: v1.Customer) -> v1.Customer:
    for name in ("id", "etag", "create_time", "update_time"):
        customer.ClearField(name)
    for email in customer.emails:
        email.finding.ClearField("check_time")
    for phone in customer.phones:
        phone.finding.ClearField("check_time")
    return customer


def save_one_by_one(server: Server, rows: int) -> None:
    async def save_all() -> None:
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = v1.CustomerServiceStub(channel)
            for number in range(rows):
                await stub.SaveCustomer(v1.SaveCustomerRequest(customer=cards.customer(number)))

    asyncio.run(save_all())


def stored(folder: Path, name: str) -> set[raw.Entry]:
    with (
        lmdb.open(str(folder), max_dbs=layout.MAX_TABLES, readonly=True) as env,
        env.begin() as txn,
    ):
        table = env.open_db(name.encode(), txn=txn, create=False)
        return set(txn.cursor(table))
