"""Checks lists of any size: read here, checked and written by as many processes as there are cores.

Without DNS a list is bound by the processor: this process reads lines and writes finished text,
the others do the rest, a block at a time, in the order of the file. With DNS it is bound by the
answers of name servers, which one process awaits for a block at a time.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from array import array
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import StringIO
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, NamedTuple, cast

from service.core._phones import REGIONS, parse, region_id, region_ids
from service.core._text import Texts
from service.core.model import VERDICTS, Lookup, PhoneType, Reason
from service.errors import InvalidArgument, StorageFault
from service.settings import Settings
from service.transfer import columns
from service.transfer.countries import country_code
from service.transfer.files import Block, rows_of, rows_text

BLOCKS_PER_PROCESS = 3  # under way: one at work, one waiting, one finished
USUAL_QUOTE = '"'
WANTED = ("email", "phone", "country")
ADDED = (
    "email_verdict", "email_reason", "email_normal",
    "phone_verdict", "phone_reason", "phone_e164", "phone_region", "phone_type",
)  # fmt: skip

Row = Sequence[str]


class Done(NamedTuple):
    """A block that was checked: how many rows, and the text to write."""

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
    quote: str  # of what is read; what is written has the usual one
    region: str

    @classmethod
    def of(
        cls,
        header: tuple[str, ...],
        mapping: Sequence[str],
        *,
        delimiter: str,
        quote: str,
        region: str,
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
        return cls(header, email, phone, country, kept, delimiter, quote, region)

    @property
    def names(self) -> tuple[str, ...]:
        """The header that is written."""
        return (*(self.header[i] for i in self.kept), *ADDED)


def _wanted(header: str) -> str:
    """Return which of the wanted fields a header names, "" if none."""
    _, field = columns.contact_of(columns.recognise(header))
    if field in columns.REACHES:
        return columns.REACHES[field][0] if field != "fax_phone" else ""
    return field if field in WANTED else ""


def _place(
    fields: Sequence[str], overrides: dict[str, str], header: Sequence[str], field: str
) -> int:
    """Return the column of a field: the one that was named, or else the first recognised."""
    named = {column.casefold() for column, mapped in overrides.items() if mapped == field}
    found = [i for i, recognised in enumerate(fields) if recognised == field]
    return next((i for i in found if header[i].casefold() in named), next(iter(found), -1))


class ListChecker:
    """Checks blocks of rows.

    Text is written with a delimiter after each cell; the last of a row's is taken away.
    """

    def __init__(self, validator: Any, layout: Layout, lookup: Lookup) -> None:
        self._validator = validator
        self._layout = layout
        self._lookup = lookup
        self._names = {
            int(reason): self._text((VERDICTS[reason].name, reason.name)) for reason in Reason
        }
        self._kinds: dict[tuple[int, int], str] = {}  # of a region and a type

    async def check(self, block: Block) -> Done:
        """Return the rows as they are written: their own cells, then what was found."""
        rows, texts, beyond = self._rows(block)
        found = zip(texts, await self._emails(rows), self._phones(rows), strict=True)
        lines = ["".join(parts)[:-1] for parts in found]
        for index, cells in beyond.items():
            lines[index] += self._layout.delimiter + self._text(cells)[:-1]
        lines.append("")
        return Done(len(rows), "\n".join(lines).encode())

    def _rows(self, block: Block) -> tuple[list[Row], list[str], dict[int, Row]]:
        """Take a block apart.

        Returns each row's cells, as many as the header has, the text of those that are kept, and
        the cells beyond the header by row: those go last, or they would change columns.
        """
        layout, delimiter, quote = self._layout, self._layout.delimiter, self._layout.quote
        size, whole = len(layout.header), len(layout.kept) == len(layout.header)
        rows: list[Row] = []
        texts: list[str] = []
        beyond: dict[int, Row] = {}
        lines, is_odd = StringIO(block.text, newline=""), quote != USUAL_QUOTE
        for text, cells in rows_of(lines, delimiter, block.before, quote):
            if not any(cells):
                continue
            if len(cells) > size:
                beyond[len(rows)] = cells[size:]
            if not text or not whole or len(cells) != size or (is_odd and USUAL_QUOTE in text):
                cells = [*cells[:size], *[""] * (size - len(cells))]
                texts.append(self._text([cells[i] for i in layout.kept]))
            else:
                texts.append(text + delimiter)
            rows.append(cells)
        return rows, texts, beyond

    def _text(self, cells: Row) -> str:
        return rows_text([(*cells, "")], self._layout.delimiter)[:-1] if cells else ""

    async def _emails(self, rows: Sequence[Row]) -> list[str]:
        """Return what is written of the rows' e-mails."""
        delimiter, names, nothing = self._layout.delimiter, self._names, self._text(("", "", ""))
        emails = _column(rows, self._layout.email)
        reasons, normals = await self._validator.judge_emails(emails, self._lookup)
        return [
            nothing if not email
            else names[reason] + self._text((normal,)) if delimiter in normal or '"' in normal
            else names[reason] + normal + delimiter
            for email, reason, normal in zip(emails, reasons, normals, strict=True)
        ]  # fmt: skip

    def _phones(self, rows: Sequence[Row]) -> list[str]:
        """Return what is written of the rows' phones."""
        delimiter, names, nothing = self._layout.delimiter, self._names, self._text(("",) * 5)
        values, countries = (_column(rows, i) for i in (self._layout.phone, self._layout.country))
        codes = {country: country_code(country) if country else "" for country in set(countries)}
        regions = region_ids(Texts.of([codes[country] for country in countries]))
        phones = parse(Texts.of(values), regions, region_id(self._layout.region))
        normals = phones.normals().strings()
        if delimiter in "+0123456789":
            normals = [self._text((normal,))[:-1] for normal in normals]
        kinds = list(zip(array("H", phones.regions()), phones.types(), strict=True))
        for kind in set(kinds).difference(self._kinds):
            self._kinds[kind] = self._text((REGIONS[kind[0]], TYPES[kind[1]]))
        found = zip(values, phones.reasons(), normals, kinds, strict=True)
        return [
            names[reason] + normal + delimiter + self._kinds[kind] if value else nothing
            for value, reason, normal, kind in found
        ]


TYPES = ("", *(kind.name for kind in PhoneType))


def _column(rows: Sequence[Row], column: int) -> list[str]:
    """Return a column without outer blanks; empty if there is none."""
    return [""] * len(rows) if column < 0 else [row[column].strip() for row in rows]


async def checked_here(checker: ListChecker, blocks: Iterable[Block]) -> AsyncIterator[Done]:
    """Check block after block in this process."""
    for block in blocks:
        yield await checker.check(block)
        await asyncio.sleep(0)  # where ^C is heard


def checked_by_processes(
    settings: Settings, layout: Layout, blocks: Iterable[Block]
) -> Iterator[Done]:
    """Check without DNS on all cores; the blocks come in the order of the file.

    Each process has a pipe of its own: one that is killed is seen by who waits for it, and leaves
    no lock of a queue behind it.
    """
    count = os.cpu_count() or 1
    idle: SimpleQueue[_Process] = SimpleQueue()

    def check(block: Block) -> Done:
        process = idle.get()
        try:
            return process.check(block)
        finally:
            idle.put(process)

    under_way: deque[Future[Done]] = deque()
    with ExitStack() as stack:
        for process in _started(count, settings, layout):
            stack.callback(process.end)
            idle.put(process)
        pool = ThreadPoolExecutor(count)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        for block in blocks:
            if len(under_way) == count * BLOCKS_PER_PROCESS:
                yield under_way.popleft().result()
            under_way.append(pool.submit(check, block))
        while under_way:
            yield under_way.popleft().result()


def _started(count: int, settings: Settings, layout: Layout) -> list[_Process]:
    """Start the processes of a check."""
    resource_tracker.ensure_running()  # else it is started here, and unblocks signals
    with _put_off():
        return [_Process(settings, layout) for _ in range(count)]


@contextmanager
def _put_off() -> Iterator[None]:
    """Put interrupts off: whoever is being started would tell of its half-read orders.

    ^C reaches all processes. Those begun meanwhile inherit that it is blocked; this one ends them.
    """
    came: list[int] = []
    # Blocked in this thread alone, ^C would come by another.
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for number, handler in before.items():
            signal.signal(number, handler)
        for caught in came:
            signal.raise_signal(caught)


class _Process:
    """A process that checks a block at a time."""

    def __init__(self, settings: Settings, layout: Layout) -> None:
        # Spawned: a forked child would share this one's threads' locks.
        context = get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, settings, layout), daemon=True)
        self._process.start()
        there.close()

    def check(self, block: Block) -> Done:
        """Return the checked block.

        Raises:
            StorageFault: the process has ended.
            Exception: what checking it raised.
        """
        try:
            self._here.send(block)
            answer = self._here.recv()
        except (EOFError, OSError):
            raise StorageFault(
                "A process of the check was killed; is there enough memory?"
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return cast(Done, answer)

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.kill()


def _serve(blocks: Connection, settings: Settings, layout: Layout) -> None:
    """Check block after block until there is nobody to send them."""
    # Loaded on use, as in checking.py.
    from service.validation.validator import Validator

    checker = ListChecker(Validator(settings), layout, Lookup.SKIP)
    gc.disable()  # blocks are many lists and no cycles: looking for them took a third of the time
    with suppress(EOFError, ConnectionError), asyncio.Runner() as runner:
        while True:
            block = blocks.recv()
            try:
                answer: Done | Exception = runner.run(checker.check(block))
            except Exception as fault:  # noqa: BLE001  raised again by who waits for it
                answer = fault
            blocks.send(answer)
