"""Checks lists of any size: read here, checked and written by as many processes as there are cores.

Without DNS a list is bound by the processor: this process reads rows and writes finished text,
the others do the rest, a batch at a time, in the order of the file. With DNS it is bound by the
answers of name servers, which one process awaits for all batches under way.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from array import array
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process, resource_tracker
from threading import Thread
from typing import Any, NamedTuple

from service.core._phones import REGIONS, parse, region_id, region_ids
from service.core._text import Texts
from service.core.model import VERDICTS, Lookup, PhoneType, Reason
from service.errors import InvalidArgument, StorageFault
from service.settings import Settings
from service.transfer import columns
from service.transfer.countries import country_code
from service.transfer.files import rows_text

BATCH_ROWS = 5_000  # a process is kept busy for some ten milliseconds
BATCH_CHARS = 1 << 20  # fewer rows where cells are long: a batch ends with the row that exceeds it
BATCHES_PER_PROCESS = 3  # under way: one at work, one waiting, one finished
WANTED = ("email", "phone", "country")
ADDED = (
    "email_verdict", "email_reason", "email_normal",
    "phone_verdict", "phone_reason", "phone_e164", "phone_region", "phone_type",
)  # fmt: skip

Row = Sequence[str]


class Done(NamedTuple):
    """A batch that was checked: how many rows, and the text to write."""

    rows: int
    text: bytes


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a list has its columns, before and after the check; -1 for none."""

    header: tuple[str, ...]
    email: int
    phone: int
    country: int
    kept: tuple[int, ...]
    delimiter: str
    region: str

    @classmethod
    def of(
        cls, header: tuple[str, ...], mapping: Sequence[str], delimiter: str, region: str
    ) -> Layout:
        """Find the columns by name; those that a check adds are replaced, not repeated."""
        overrides = columns.parse_overrides(mapping, known=WANTED.__contains__)
        fields = columns.fields_of(header, overrides, _wanted)
        email, phone, country = (_place(fields, overrides, header, field) for field in WANTED)
        if email < 0 and phone < 0:
            raise InvalidArgument(
                "No column of e-mails or phones; name one with --map COLUMN=email"
            )
        kept = tuple(i for i, name in enumerate(header) if name not in ADDED)
        return cls(header, email, phone, country, kept, delimiter, region)

    @property
    def names(self) -> tuple[str, ...]:
        """The header that is written."""
        return (*(self.header[i] for i in self.kept), *ADDED)

    def cells(self, rows: Sequence[Row], column: int) -> list[str]:
        """Return a column of even rows, without outer blanks; empty if there is none."""
        return [""] * len(rows) if column < 0 else [row[column].strip() for row in rows]

    def even(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return rows with as many cells as the header has."""
        size = len(self.header)
        return [
            row if len(row) == size else [*row[:size], *[""] * (size - len(row))] for row in rows
        ]

    def own(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return the cells that a list keeps of its own, of even rows."""
        if len(self.kept) == len(self.header):
            return rows
        return [[row[i] for i in self.kept] for row in rows]


def _wanted(header: str) -> str:
    """Return which of the wanted fields a header names, "" if none."""
    field = columns.recognise(header)
    if field.endswith(("email", "phone")):
        return field.rpartition("_")[2] if field != "fax_phone" else ""
    return field if field in WANTED else ""


def _place(
    fields: Sequence[str], overrides: dict[str, str], header: Sequence[str], field: str
) -> int:
    """Return the column of a field: the one that was named, or else the first recognised."""
    named = {column.casefold() for column, mapped in overrides.items() if mapped == field}
    found = [i for i, recognised in enumerate(fields) if recognised == field]
    return next((i for i in found if header[i].casefold() in named), next(iter(found), -1))


class ListChecker:
    """Checks batches of rows and writes them as text."""

    def __init__(self, validator: Any, layout: Layout, lookup: Lookup) -> None:
        self._validator = validator
        self._layout = layout
        self._lookup = lookup

    async def check(self, rows: Sequence[Row]) -> bytes:
        """Return the rows as they are written: their own cells, then what was found."""
        layout = self._layout
        even = layout.even(rows)
        emails, phones, countries = (
            layout.cells(even, column) for column in (layout.email, layout.phone, layout.country)
        )
        reasons, normals = await self._validator.judge_emails(emails, self._lookup)
        calls = self._phones(phones, countries)
        checked = [
            [*own, *((*NAMES[reason], normal) if email else NO_EMAIL), *call]
            for own, email, reason, normal, call in zip(
                layout.own(even), emails, reasons, normals, calls, strict=True
            )
        ]
        size = len(layout.header)
        for index, row in enumerate(rows):
            if len(row) > size:  # cells beyond the header go last, or they would change columns
                checked[index] += row[size:]
        return rows_text(checked, layout.delimiter).encode()

    def _phones(self, values: Sequence[str], countries: Sequence[str]) -> list[Row]:
        regions = [country_code(country) if country else "" for country in countries]
        phones = parse(
            Texts.of(values), region_ids(Texts.of(regions)), region_id(self._layout.region)
        )
        normals = phones.normals().strings()
        kinds = zip(phones.reasons(), array("H", phones.regions()), phones.types(), strict=True)
        return [
            (*NAMES[kind[0]], normal, REGIONS[kind[1]], TYPES[kind[2]]) if value else NO_PHONE
            for value, normal, kind in zip(values, normals, kinds, strict=True)
        ]


NO_EMAIL = ("", "", "")
NO_PHONE = ("", "", "", "", "")
NAMES: dict[int, tuple[str, str]] = {
    int(reason): (VERDICTS[reason].name, reason.name) for reason in Reason
}
TYPES = ("", *(kind.name for kind in PhoneType))


def batched(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield batches, bounded in rows and characters."""
    batch: list[Row] = []
    chars = 0
    for row in rows:
        batch.append(row)
        chars += sum(map(len, row))
        if len(batch) == BATCH_ROWS or chars >= BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


async def checked_here(checker: ListChecker, batches: Iterable[list[Row]]) -> AsyncIterator[Done]:
    """Check batch after batch in this process."""
    for batch in batches:
        yield Done(len(batch), await checker.check(batch))
        await asyncio.sleep(0)  # where ^C is heard


def checked_by_processes(
    settings: Settings, layout: Layout, batches: Iterable[list[Row]]
) -> Iterator[Done]:
    """Check without DNS on all cores; the batches come in the order of the file."""
    count = os.cpu_count() or 1
    under_way: deque[tuple[int, Future[bytes]]] = deque()
    gc.disable()  # batches are many lists and no cycles: looking for them took a third of the time
    # Spawned: a forked child would share this one's threads' locks.
    with ProcessPoolExecutor(count, get_context("spawn"), _begin, (settings, layout)) as pool:
        try:
            for batch in batches:
                if len(under_way) == count * BATCHES_PER_PROCESS:
                    size, text = under_way.popleft()
                    yield Done(size, text.result())
                under_way.append((len(batch), _submit(pool, batch)))
            while under_way:
                size, text = under_way.popleft()
                yield Done(size, text.result())
        except BrokenProcessPool:
            raise StorageFault(
                "A process of the check was killed; is there enough memory?"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            gc.enable()


_checker: ListChecker  # of a process of the pool


def _begin(settings: Settings, layout: Layout) -> None:
    # Loaded on use, as in checking.py.
    from service.validation.validator import Validator

    global _checker
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Thread(target=_end_with_parent, daemon=True).start()
    _checker = ListChecker(Validator(settings), layout, Lookup.SKIP)
    gc.disable()  # see `checked_by_processes`


def _submit(pool: ProcessPoolExecutor, batch: list[Row]) -> Future[bytes]:
    """Hand over a batch; the first makes the processes.

    ^C reaches all of them. They inherit that it is blocked, and this one, where it waits until
    they are made, ends them.
    """
    resource_tracker.ensure_running()  # else it is started here, and unblocks
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_check_batch, batch)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _check_batch(rows: list[Row]) -> bytes:
    return asyncio.run(_checker.check(rows))
