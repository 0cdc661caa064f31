"""Import and export streams as a client opens them, and files of batches that are encoded before.

    python -m benchmarks.streams ADDRESS FILE [--job-id ID]

imports a file of batches in a process of its own: it says `begun`, and at the end the seconds.

A file has the messages of an import one after the other, each behind its length. Processes on all
cores write it, and while it is sent nothing is encoded, so that ten million rows cost the client
what a hundred thousand do.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import grpc
import pyarrow as pa

from benchmarks import cards
from namesake import v1
from service.settings import Settings

IMPORT_METHOD = "/namesake.v1.TransferService/ImportCustomers"
EXPORT_METHOD = "/namesake.v1.TransferService/ExportCustomers"
JOB_ID = "benchmark"
BATCH_ROWS = 1_000

_CHUNK_BATCHES = 20  # encoded by a process at a time
_LENGTH_BYTES = 4
_BUFFER_BYTES = 1 << 20

#: Makes the message of a batch: of its number in the job, and of its customers.
Encode = Callable[[int, range], bytes]


@dataclass(frozen=True, slots=True)
class Imported:
    """An import that is durable."""

    seconds: float
    counts: v1.ImportCounts


@dataclass(frozen=True, slots=True)
class Exported:
    """An export that was read to its end."""

    seconds: float
    rows: int
    looked_at: int


# Batches


def rows_message(number: int, customers: range) -> bytes:
    """Return a batch of customers as rows."""
    batch = v1.ImportBatch(number=number, customers=map(cards.customer, customers))
    return v1.ImportCustomersRequest(batch=batch).SerializeToString()


def changes_message(number: int, customers: range) -> bytes:
    """Return a batch that gives the same customers another stage."""
    people = [cards.customer(one) for one in customers]
    for person in people:
        person.stage = "won"
    batch = v1.ImportBatch(number=number, customers=people)
    return v1.ImportCustomersRequest(batch=batch).SerializeToString()


def arrow_message(number: int, customers: range) -> bytes:
    """Return a batch of the same customers as columns."""
    people = [cards.customer(one) for one in customers]
    columns = {
        "kind": ["person"] * len(people),
        "first_name": [one.first_name for one in people],
        "last_name": [one.last_name for one in people],
        "email": [one.emails[0].value for one in people],
        "mobile_phone": [one.phones[0].value for one in people],
    }
    table = pa.record_batch({name: pa.array(cells) for name, cells in columns.items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_batch(table)
    batch = v1.ImportArrowBatch(number=number, stream=sink.getvalue().to_pybytes())
    return v1.ImportCustomersRequest(arrow=batch).SerializeToString()


def write(file: Path, rows: int, encode: Encode = rows_message) -> None:
    """Write the batches of an import of the first customers."""
    starts = range(0, rows, BATCH_ROWS * _CHUNK_BATCHES)
    framed = partial(_framed, rows=rows, encode=encode)
    with file.open("wb") as out:
        if len(starts) == 1:  # no process starts as fast as that
            out.write(framed(0))
            return
        # A fork would take the threads of gRPC along.
        with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
            for chunk in pool.map(framed, starts):
                out.write(chunk)


def _framed(start: int, rows: int, encode: Encode) -> bytes:
    """Encode the batches of one chunk, each behind its length."""
    parts = []
    for first in range(start, min(rows, start + BATCH_ROWS * _CHUNK_BATCHES), BATCH_ROWS):
        customers = range(first, min(rows, first + BATCH_ROWS))
        message = encode(first // BATCH_ROWS + 1, customers)
        parts += [len(message).to_bytes(_LENGTH_BYTES, "big"), message]
    return b"".join(parts)


def read(file: Path) -> Iterator[bytes]:
    """Yield the messages of a file."""
    with file.open("rb", _BUFFER_BYTES) as framed:
        while length := framed.read(_LENGTH_BYTES):
            yield framed.read(int.from_bytes(length, "big"))


# Streams


async def import_batches(
    address: str,
    messages: Iterable[bytes],
    *,
    create_all: bool = False,
    job_id: str = JOB_ID,
    seen: Callable[[float, v1.ImportCustomersResponse], None] | None = None,
) -> Imported:
    """Import batches over one stream until all are durable; `seen` has each answer, with seconds.

    Raises RuntimeError if a batch was left out.
    """
    settings = v1.ImportSettings(job_id=job_id, create_all=create_all)
    sent = 0

    async def requests() -> AsyncIterator[bytes]:
        nonlocal sent
        yield v1.ImportCustomersRequest(settings=settings).SerializeToString()
        for message in messages:
            yield message
            sent += 1
        yield v1.ImportCustomersRequest(end=v1.ImportEnd()).SerializeToString()

    async with grpc.aio.insecure_channel(address) as channel:
        await channel.channel_ready()
        started = perf_counter()
        stream = channel.stream_stream(IMPORT_METHOD, None, v1.ImportCustomersResponse.FromString)
        async for answer in stream(requests()):
            last = answer
            if seen is not None:
                seen(perf_counter() - started, answer)
        seconds = perf_counter() - started
    if last.durable_batch != sent:
        raise RuntimeError("not every batch was taken: this measures something else")
    return Imported(seconds, last.counts)


async def import_all(address: str, messages: Iterable[bytes], *, create_all: bool = False) -> float:
    """Import new customers; return the seconds until all are durable."""
    imported = await import_batches(address, messages, create_all=create_all)
    if imported.counts.created != imported.counts.rows:
        raise RuntimeError("not every row was created: this measures something else")
    return imported.seconds


async def export(address: str, request: v1.ExportCustomersRequest) -> Exported:
    """Export, and parse every message: rows as messages, Arrow as record batches."""
    limit = Settings().message_limit
    options = [("grpc.max_receive_message_length", limit)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        await channel.channel_ready()
        started = perf_counter()
        found = looked_at = 0
        stream = channel.unary_stream(EXPORT_METHOD, None, v1.ExportCustomersResponse.FromString)
        async for message in stream(request.SerializeToString()):
            found += _count(message)
            looked_at = message.looked_at
        seconds = perf_counter() - started
    return Exported(seconds, found, looked_at)


def _count(message: v1.ExportCustomersResponse) -> int:
    if not message.arrow:
        return len(message.customers)
    rows: int = pa.ipc.open_stream(message.arrow).read_all().num_rows
    return rows


def main() -> None:
    """Import a file of batches, in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=main.__doc__)
    parser.add_argument("address")
    parser.add_argument("file", type=Path)
    parser.add_argument("--job-id", default=JOB_ID)
    options = parser.parse_args()
    print("begun", flush=True)
    batches = read(options.file)
    print(asyncio.run(import_batches(options.address, batches, job_id=options.job_id)).seconds)


if __name__ == "__main__":
    main()
