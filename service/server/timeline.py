"""TimelineService."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from namesake import v1
from service.core.model import ItemKind
from service.errors import InvalidArgument, NamesakeError, NotFound
from service.identity.timeline import NewItem, shown_by
from service.index import Place
from service.server.edge import Context, caller
from service.server.items import list_mark, new_item, shown_item, wanted_items
from service.server.pace import Pace
from service.server.pages import Listing, decode_token, encode_token, page_rows
from service.server.rules import check_batch, check_region
from service.settings import Settings

_MICROSECONDS = re.compile(r"-?[0-9]{1,18}")  # years 1 to 9999


class TimelineService(v1.TimelineServiceServicer):
    """See timeline_service.proto."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def AddItems(  # noqa: N802
        self, request: v1.AddItemsRequest, context: Context
    ) -> v1.AddItemsResponse:
        """Add a batch; each item has its result."""
        self._check_batch(len(request.items), "items")
        check_region(request.default_region, "default_region")
        account = caller().account
        read: list[NewItem | NamesakeError] = []
        pace = Pace()
        for item in request.items:
            try:
                read.append(new_item(item, self._settings))
            except InvalidArgument as error:
                read.append(error)
            await pace.step()
        good = [item for item in read if isinstance(item, NewItem)]
        region = request.default_region or account.default_region
        added = iter(await account.timeline.add(good, region) if good else ())
        answer = v1.AddItemsResponse()
        for given, one in zip(request.items, read, strict=True):
            outcome = next(added) if isinstance(one, NewItem) else one
            if isinstance(outcome, str):
                answer.results.add(id=outcome)
            else:
                id = one.id if isinstance(one, NewItem) else given.id
                answer.results.add(
                    id=id, reason=outcome.reason, field=outcome.field, message=outcome.message
                )
        return answer

    def _check_batch(self, count: int, field: str) -> None:
        if not 0 < count <= self._settings.item_batch:
            raise InvalidArgument(f"1 to {self._settings.item_batch} entries", field=field)

    async def ListItems(  # noqa: N802
        self, request: v1.ListItemsRequest, context: Context
    ) -> v1.ListItemsResponse:
        """List one page of a timeline."""
        rows = page_rows(request.page_size, self._settings)
        wanted = wanted_items(request)
        mark = list_mark(request.customer_id, wanted)
        after = _after(request.page_token, mark)
        answer, pace, size = v1.ListItemsResponse(), Pace(), 0
        with caller().account.index.snapshot() as snapshot:
            tree = snapshot.tree(shown_by(snapshot, request.customer_id, "customer_id").row)
            pin = snapshot.timeline.pinned(tree, ItemKind.NOTE)
            pinned_number = 0 if pin is None else pin[0]
            if pin is not None and after is None:
                answer.pinned.CopyFrom(shown_item(pin[1], pinned=True))
            for place, item in snapshot.timeline.listed(tree, wanted, after):
                if len(answer.items) == rows or size >= self._settings.page_limit_bytes:
                    assert after is not None
                    answer.next_page_token = _token(after, mark)
                    break
                after = place
                shown = shown_item(item, pinned=place.number == pinned_number)
                size += shown.ByteSize()
                answer.items.append(shown)
                await pace.step()
        return answer

    async def GetItem(  # noqa: N802
        self, request: v1.GetItemRequest, context: Context
    ) -> v1.GetItemResponse:
        """Return one item."""
        with caller().account.index.snapshot() as snapshot:
            number = snapshot.timeline.number_of(request.id)
            item = None if number is None else snapshot.timeline.item(number)
            if item is None:
                raise NotFound("there is no item with this id", field="id")
            found = snapshot.find(item.customer_id)
            pin = snapshot.timeline.pinned(snapshot.tree(found.row), ItemKind.NOTE)
            pinned = pin is not None and pin[0] == number
            return v1.GetItemResponse(item=shown_item(item, pinned=pinned), shown_by_id=found.id)

    async def DeleteItems(  # noqa: N802
        self, request: v1.DeleteItemsRequest, context: Context
    ) -> v1.DeleteItemsResponse:
        """Delete a batch."""
        self._check_batch(len(request.ids), "ids")
        return v1.DeleteItemsResponse(deleted=await caller().account.timeline.delete(request.ids))

    async def PinNote(  # noqa: N802
        self, request: v1.PinNoteRequest, context: Context
    ) -> v1.PinNoteResponse:
        """Pin a note, or none."""
        await caller().account.timeline.pin(request.customer_id, request.item_id)
        return v1.PinNoteResponse()

    async def CountItems(  # noqa: N802
        self, request: v1.CountItemsRequest, context: Context
    ) -> v1.CountItemsResponse:
        """Count the items of many customers."""
        check_batch(request.customer_ids, self._settings.page_limit_rows, "customer_ids")
        answer, pace = v1.CountItemsResponse(), Pace()
        counts: dict[int, Mapping[int, int]] = {0: {}}  # of rows: many ids may lead to one
        with caller().account.index.snapshot() as snapshot:
            for id in request.customer_ids:
                result = answer.results.add(customer_id=id)
                row = snapshot.find(id).row if id else 0
                if row not in counts:
                    counts[row] = snapshot.timeline.counts(snapshot.tree(row))
                for kind, count in sorted(counts[row].items()):
                    result.counts.add(kind=cast(v1.ItemKind.ValueType, kind), count=count)
                await pace.step()
        return answer


def _token(place: Place, mark: str) -> str:
    return encode_token(Listing.TIMELINE, place.number, f"{place.time_us}/{mark}")


def _after(token: str, mark: str) -> Place | None:
    if not token:
        return None
    number, extra = decode_token(token, Listing.TIMELINE)
    time_us, _, of = extra.partition("/")
    if of != mark or not _MICROSECONDS.fullmatch(time_us):
        raise InvalidArgument("a token of another list", field="page_token")
    return Place(int(time_us), number)
