"""Import and export, in rows a second, against raw py-lmdb with the same bytes.

What is measured:

- import: one ImportCustomers stream into a fresh folder, encoded batches of 1,000 new customers
  (one e-mail, one phone; twelve countries; no ids), sent as fast as the stream takes them, from
  the first message to the acknowledgement of the last batch. No domain is in the DNS cache and
  the DNS is out of reach, so that every e-mail is PENDING and the background asks in vain. By
  default each row is matched to the customers by phone and e-mail before it is created;
  `create_all` leaves that out.
- raw write: every key and value of all sub-databases of the index that this import made, read
  back first, and put into a fresh environment with the same flags: for every 1,000 rows one
  `putmulti` per sub-database (rows, changes and history appended, as the service does), a durable
  commit for every 4,000 rows, which is the service's group. No decision, encoding or check.
- export: one ExportCustomers stream of all customers and fields, parsed in the client.
- raw read: the values of the sub-database of customers, through a cursor.

Each round does all of these in turn; figures are medians over the rounds, ratios the medians of
the ratios within a round. Left out: making and encoding the rows (done before), updates, rows that
fail, several streams. The peak of memory is the server's after import and exports: all of it
(VmHWM, which counts pages of the mapped file that happen to be in memory), and its own (RssAnon).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from statistics import median
from time import perf_counter

import grpc
import lmdb

from benchmarks import cards, processes
from benchmarks.report import Report, Table, Target
from namesake import v1
from service.index import layout
from service.settings import Settings

BATCH_ROWS = 1_000
GROUP_BATCHES = 4
REPEATS = 3  # exports take a fraction of a second: the median of so many
IMPORT_METHOD = "/namesake.v1.TransferService/ImportCustomers"
EXPORT_METHOD = "/namesake.v1.TransferService/ExportCustomers"
ACCOUNT = "default"

IMPORT_ROWS_S = 12_000

Entry = tuple[bytes, bytes]
Batch = dict[str, list[Entry]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rows: int
    rounds: int


FULL = Plan(rows=60_000, rounds=3)
QUICK = Plan(rows=20_000, rounds=1)


@dataclass(frozen=True, slots=True)
class Round:
    """Rows a second of everything, in one round."""

    matched: float
    created: float
    raw_write: float
    exported: float
    raw_read: float
    commits: int
    peak_mib: float
    own_mib: float


async def measure(folder: Path, plan: Plan, tell: Callable[[str], None]) -> Report:
    """Measure in rounds, report."""
    messages = cards.import_messages(0, plan.rows, BATCH_ROWS)
    rounds = []
    for number in range(plan.rounds):
        tell(f"import and export, round {number + 1} of {plan.rounds}")
        rounds.append(await _round(folder / f"round{number}", messages, plan.rows))
    return _report(rounds, plan)


async def _round(folder: Path, messages: Sequence[bytes], rows: int) -> Round:
    with processes.namesake(folder / "created") as server:
        created_s = await import_all(server.address, messages, create_all=True)
    with processes.namesake(folder / "matched") as server:
        matched_s = await import_all(server.address, messages)
        exports_s = [await _export(server.address, rows) for _ in range(REPEATS)]
        peak_mib, own_mib = server.memory_mib("VmHWM"), server.memory_mib("RssAnon")
    index = folder / "matched" / ACCOUNT
    batches, commits = _read_back(index, rows)
    return Round(
        matched=rows / matched_s,
        created=rows / created_s,
        raw_write=rows / _raw_write(folder / "raw", batches),
        exported=rows / median(exports_s),
        raw_read=rows / median(_raw_read(index, rows) for _ in range(REPEATS)),
        commits=commits,
        peak_mib=peak_mib,
        own_mib=own_mib,
    )


# Through the service


async def import_all(address: str, messages: Sequence[bytes], *, create_all: bool = False) -> float:
    """Import encoded batches over one stream; return the seconds until all are durable."""
    settings = v1.ImportSettings(job_id="benchmark", create_all=create_all)
    first = v1.ImportCustomersRequest(settings=settings).SerializeToString()

    async def requests() -> AsyncIterator[bytes]:
        yield first
        for message in messages:
            yield message

    async with grpc.aio.insecure_channel(address) as channel:
        await channel.channel_ready()
        started = perf_counter()
        stream = channel.stream_stream(IMPORT_METHOD, None, v1.ImportCustomersResponse.FromString)
        async for answer in stream(requests()):
            last = answer
        seconds = perf_counter() - started
    if last.durable_batch != len(messages) or last.counts.created != last.counts.rows:
        raise RuntimeError("not every row was created: this measures something else")
    return seconds


async def _export(address: str, rows: int) -> float:
    """Export everything; return the seconds until the stream ended."""
    request = v1.ExportCustomersRequest().SerializeToString()
    async with grpc.aio.insecure_channel(
        address, options=[("grpc.max_receive_message_length", Settings().message_limit)]
    ) as channel:
        await channel.channel_ready()
        started = perf_counter()
        found = 0
        async for message in channel.unary_stream(EXPORT_METHOD, None, None)(request):
            found += len(v1.ExportCustomersResponse.FromString(message).customers)
        seconds = perf_counter() - started
    if found != rows:
        raise RuntimeError(f"{found} customers were exported, not {rows}")
    return seconds


# Raw


# By which bytes of an entry its row is found. All rows were created and never changed, so that
# the sequence of a change is the row's number.
_ROW_OF: dict[str, Callable[[Entry], bytes]] = {
    "ids": itemgetter(1),
    "customers": itemgetter(0),
    "identities": itemgetter(1),
    "pending": itemgetter(1),
    "changes": itemgetter(0),
    "history": lambda entry: entry[0][:8],
}
_APPENDED = ("customers", "changes", "history")


def _read_back(index: Path, rows: int) -> tuple[list[Batch], int]:
    """Return what an import put, by batch of rows, and in how many commits it did so."""
    batches: list[Batch] = [
        {name: [] for name in layout.TABLES} for _ in range(-(-rows // BATCH_ROWS))
    ]
    with _environment(index, readonly=True) as env:
        tables = _tables(env, create=False)
        with env.begin() as txn:
            for name, table in tables.items():
                entries = txn.cursor(table).iternext()
                if row_of := _ROW_OF.get(name):
                    for entry in entries:
                        row = layout.unpack_u64(row_of(entry))
                        batches[(row - 1) // BATCH_ROWS][name].append(entry)
                    continue
                for entry in entries:  # counters and the job's progress, put with every batch
                    for batch in batches:
                        batch[name].append(entry)
        commits = env.info()["last_txnid"] - 1  # the first one made the file
    if sum(len(batch["customers"]) for batch in batches) != rows:
        raise RuntimeError("the index does not hold what was imported")
    return batches, commits


def _raw_write(folder: Path, batches: Sequence[Batch]) -> float:
    """Put everything into a fresh environment, durably; return the seconds."""
    with _environment(folder) as env:
        tables = _tables(env, create=True)
        started = perf_counter()
        for start in range(0, len(batches), GROUP_BATCHES):
            with env.begin(write=True) as txn:
                cursors = {name: txn.cursor(table) for name, table in tables.items()}
                for batch in batches[start : start + GROUP_BATCHES]:
                    for name, entries in batch.items():
                        if entries:
                            cursors[name].putmulti(entries, append=name in _APPENDED)
        return perf_counter() - started


def _raw_read(index: Path, rows: int) -> float:
    """Read every customer's record; return the seconds."""
    with _environment(index, readonly=True) as env:
        table = env.open_db(b"customers", create=False)
        with env.begin() as txn:
            started = perf_counter()
            count = sum(1 for _ in txn.cursor(table).iternext(keys=False, values=True))
            seconds = perf_counter() - started
    assert count == rows
    return seconds


def _environment(folder: Path, *, readonly: bool = False) -> lmdb.Environment:
    """Open an environment as the service does."""
    settings = Settings()
    return lmdb.open(
        str(folder),
        map_size=settings.map_size,
        max_dbs=layout.MAX_TABLES,
        readahead=False,
        readonly=readonly,
    )


def _tables(env: lmdb.Environment, *, create: bool) -> dict[str, lmdb._Database]:
    return {
        name: env.open_db(name.encode(), create=create, dupsort=several, dupfixed=several)
        for name, several in layout.TABLES.items()
    }


# Report


def _report(rounds: Sequence[Round], plan: Plan) -> Report:
    def middle(name: str) -> float:
        return float(median(getattr(one, name) for one in rounds))

    def share(name: str, of: str) -> float:
        return float(median(getattr(one, name) / getattr(one, of) for one in rounds))

    def rows() -> Iterator[tuple[str, ...]]:
        shown = (
            ("raw write", "raw_write", "raw_write"),
            ("import, each row matched", "matched", "raw_write"),
            ("import, create_all", "created", "raw_write"),
            ("raw read", "raw_read", "raw_read"),
            ("export", "exported", "raw_read"),
        )
        for what, name, of in shown:
            yield what, f"{middle(name):,.0f}", f"{share(name, of):.1%}"

    rates = Table(
        f"Import and export of {plan.rows:,} customers",
        "One stream, batches of 1,000, DNS deferred and out of reach. Raw: the same keys and "
        "values with bare py-lmdb, a durable commit for every 4,000 rows.",
        ("what", "rows/s", "of raw"),
        tuple(rows()),
    )
    facts = Table(
        "The server of that import",
        "",
        ("fact", "value"),
        (
            ("durable commits", f"{middle('commits'):.0f}"),
            ("peak of resident memory, mapped file included", f"{middle('peak_mib'):.0f} MiB"),
            ("resident memory of its own, at the end", f"{middle('own_mib'):.0f} MiB"),
        ),
    )
    speed = middle("matched")
    target = Target(
        "import, DNS deferred",
        f"≥ {IMPORT_ROWS_S:,} rows/s",
        f"{speed:,.0f} rows/s",
        speed >= IMPORT_ROWS_S,
    )
    return Report((rates, facts), (target,))
