"""Export: all customers of one snapshot that a caller means, as rows or as Arrow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from namesake import v1
from service.core._select import Fields, Filter
from service.errors import InvalidArgument, ReaderStalled, ShuttingDown, StorageFault
from service.index import Snapshot
from service.server import wire
from service.server.edge import Context, caller
from service.server.filters import filter_of
from service.server.pace import Pace
from service.server.pages import Listing, decode_token, encode_token
from service.settings import Settings
from service.transfer import exported


@dataclass(frozen=True, slots=True)
class _Page:
    """Customers for a message, and where the export is behind them."""

    records: list[bytes]
    rows: list[int]
    places: list[int]  # of these customers among those that were looked at, from 1
    last_row: int  # that was looked at
    looked_at: int

    def cut(self, count: int) -> tuple[_Page, _Page]:
        """Return the first `count` customers as a page that ends with them, and the rest."""
        row, looked_at = self.rows[count - 1], self.places[count - 1]
        places = [place - looked_at for place in self.places[count:]]
        return (
            _Page(self.records[:count], self.rows[:count], self.places[:count], row, looked_at),
            _Page(
                self.records[count:],
                self.rows[count:],
                places,
                self.last_row,
                self.looked_at - looked_at,
            ),
        )


class ExportMethods:
    """The part of TransferService that reads."""

    _settings: Settings
    _stopping: asyncio.Event

    async def ExportCustomers(  # noqa: N802
        self, request: v1.ExportCustomersRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """Stream customers of one snapshot, as the encoded response messages."""
        wanted = _wanted(request, self._settings)
        with caller().account.index.snapshot() as snapshot:
            sequence, total = snapshot.sequence, snapshot.customer_count
            looked_at = 0
            async for page, content in _contents(snapshot, wanted, self._settings):
                looked_at += page.looked_at
                token = encode_token(Listing.EXPORT, page.last_row)
                tail = v1.ExportCustomersResponse(
                    resume_token=token,
                    sequence=sequence,
                    total=total,
                    rows=len(page.records),
                    looked_at=looked_at,
                )
                # A reader that does not come back for more must not hold the snapshot for ever.
                stall = _Stall(snapshot, self._settings.stream_stall_s)
                yield content + tail.SerializeToString()
                if stall.is_over():
                    raise ReaderStalled(
                        f"nothing was taken for {self._settings.stream_stall_s} s; "
                        "go on with the resume token",
                        resume_token=token,
                    )
                if self._stopping.is_set():
                    raise ShuttingDown("the server is stopping; go on with the resume token")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which customers, what of them, and in which form."""

    filter: Filter | None
    fields: tuple[int, ...]
    is_arrow: bool
    after_row: int


def _wanted(request: v1.ExportCustomersRequest, settings: Settings) -> _Wanted:
    if request.form not in v1.ExportForm.values():
        raise InvalidArgument("not a form of export", field="form")
    wire.check_fields(request.fields.paths, "fields")
    return _Wanted(
        _filter(request, settings),
        wire.field_numbers(request.fields.paths),
        request.form == v1.EXPORT_FORM_ARROW,
        decode_token(request.after, Listing.EXPORT, "after")[0],
    )


def _filter(request: v1.ExportCustomersRequest, settings: Settings) -> Filter | None:
    """Return which customers are meant, None for all: then nobody looks into them."""
    meant = request.filter
    if request.active_only:
        if meant.state == v1.CUSTOMER_STATE_ARCHIVED:
            raise InvalidArgument("the filter wants archived ones", field="active_only")
        meant.state = meant.state or v1.CUSTOMER_STATE_ACTIVE
    return filter_of(meant, settings, "filter")


async def _contents(
    snapshot: Snapshot, wanted: _Wanted, settings: Settings
) -> AsyncIterator[tuple[_Page, bytes]]:
    """Yield pages and their customers as a message has them; one at least, also if it is empty."""
    pace, fields = Pace(), Fields(wanted.fields)
    page = await _page(snapshot, wanted.after_row, wanted.filter, settings, pace)
    while True:
        part, content, rest = _encoded(page, wanted, fields)
        yield part, content
        page = rest or await _page(snapshot, page.last_row, wanted.filter, settings, pace)
        if not page.looked_at:
            return


async def _page(
    snapshot: Snapshot, after_row: int, meant: Filter | None, settings: Settings, pace: Pace
) -> _Page:
    """Read on until a message is worth while, or many customers were looked at.

    A page that is half full is sent: to fill it would take ever shorter reads.
    """
    page = _Page([], [], [], after_row, 0)
    size = 0
    while (
        len(page.records) * 2 < settings.export_batch_rows
        and size * 2 < settings.page_limit_bytes
        and page.looked_at < settings.scan_limit_rows
    ):
        await pace.step()
        rows, records = snapshot.records(
            page.last_row,
            settings.export_batch_rows - len(page.records),
            settings.page_limit_bytes - size,
        )
        if not rows:
            break
        with _readable():
            places = _places(records, meant)
        page.records.extend([records[place] for place in places])
        page.rows.extend([rows[place] for place in places])
        page.places.extend([page.looked_at + place + 1 for place in places])
        size += sum([len(records[place]) for place in places])
        page = replace(page, last_row=rows[-1], looked_at=page.looked_at + len(rows))
    return page


def _places(records: Sequence[bytes], meant: Filter | None) -> Sequence[int]:
    if meant is None:
        return range(len(records))
    return [place for place, is_meant in enumerate(meant.matches(records)) if is_meant]


def _encoded(page: _Page, wanted: _Wanted, fields: Fields) -> tuple[_Page, bytes, _Page | None]:
    """Return the customers of one message, these encoded, and the rest if they are too many."""
    rest = None
    with _readable():
        if not wanted.is_arrow:
            content = wire.export_rows(page.records, fields)
        elif page.records:
            table = exported.arrow_table(page.records, wanted.fields)
            content = wire.export_arrow(exported.arrow_stream(table))
            if table.num_rows < len(page.records):
                page, rest = page.cut(table.num_rows)
        else:
            content = b""
    return page, content, rest


@contextmanager
def _readable() -> Iterator[None]:
    """Say of a damaged record what to do about it."""
    try:
        yield
    except ValueError as error:
        raise StorageFault("A stored customer is damaged: run namesake verify") from error


class _Stall:
    """Closes a snapshot if nobody says in time that the reader came back."""

    def __init__(self, snapshot: Snapshot, limit_s: float) -> None:
        self._snapshot = snapshot
        self._timer = asyncio.get_running_loop().call_later(limit_s, self._close)
        self._closed = False

    def _close(self) -> None:
        self._closed = True
        self._snapshot.close()

    def is_over(self) -> bool:
        """Stop the clock; tell whether it ran out."""
        self._timer.cancel()
        return self._closed
