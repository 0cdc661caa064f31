"""The methods of TransferService that change many customers at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import islice
from typing import Any, cast

from namesake import v1
from service.errors import InvalidArgument, NotFound, ShuttingDown
from service.identity.bulk import KINDS, Selection
from service.identity.results import Result
from service.server.amendments import Amendment
from service.server.edge import Context, caller
from service.server.filters import filter_of
from service.server.operations import operation_message
from service.server.pace import Pace
from service.server.rules import check_id, check_once, check_text
from service.settings import Settings

REASON_CHARS = range(10, 501)
RESULTS_STEP = 1_000  # results of a message: some hundred kilobytes at the most


class BulkMethods:
    """A part of TransferService: see transfer_service.proto."""

    _settings: Settings
    _stopping: asyncio.Event

    async def UpdateCustomers(  # noqa: N802
        self, request: v1.UpdateCustomersRequest, context: Context
    ) -> Any:
        """Begin to change many customers in the same way."""
        selection = await self._selection(request.selection)
        amendment = Amendment(request.change, self._settings, "change")
        bulk, actor = caller().account.bulk, caller().actor
        started = await bulk.update(selection, amendment, actor, dry_run=request.dry_run)
        return operation_message(started)

    async def DeleteCustomers(  # noqa: N802
        self, request: v1.DeleteCustomersRequest, context: Context
    ) -> Any:
        """Begin to delete many customers."""
        selection = await self._selection(request.selection)
        reason = request.reason.strip()
        if len(reason) not in REASON_CHARS:
            bounds = f"{REASON_CHARS[0]} to {REASON_CHARS[-1]}"
            raise InvalidArgument(f"required, {bounds} characters", field="reason")
        check_text(reason, self._settings.text_limit_chars, "reason")
        if not request.count:
            raise InvalidArgument("required: how many customers will be deleted", field="count")
        bulk, actor = caller().account.bulk, caller().actor
        return operation_message(await bulk.delete(selection, request.count, reason, actor))

    async def CountCustomers(  # noqa: N802
        self, request: v1.CountCustomersRequest, context: Context
    ) -> v1.CountCustomersResponse:
        """Count the customers that a selection hits."""
        selection = await self._selection(request.selection)
        return v1.CountCustomersResponse(count=await caller().account.bulk.count(selection))

    async def _selection(self, asked: v1.CustomerSelection) -> Selection:
        match asked.WhichOneof("selection"):
            case "ids":
                return Selection(ids=await _ids(asked.ids.ids, "selection.ids.ids"))
            case "filter":
                at = "selection.filter"
                return Selection(filter=filter_of(asked.filter, self._settings, at))
        raise InvalidArgument("required: ids or a filter", field="selection")

    async def ReadBulkResults(  # noqa: N802
        self, request: v1.ReadBulkResultsRequest, context: Context
    ) -> AsyncIterator[v1.ReadBulkResultsResponse]:
        """Stream what became of each customer, as far as the work is."""
        operations = caller().account.operations
        known = operations.find(request.operation)
        if known is None or known.kind not in KINDS:
            raise NotFound("there is no such change to many customers", field="operation")
        results = operations.results.read(known.name)
        pace = Pace()
        while step := list(islice(results, RESULTS_STEP)):
            yield v1.ReadBulkResultsResponse(results=map(_result, step))
            await pace.step()
            if self._stopping.is_set():
                raise ShuttingDown("the server is stopping; ask again later or another worker")


async def _ids(asked: Sequence[str], at: str) -> tuple[str, ...]:
    """Return ids that may be some customers', each once."""
    if not asked:
        raise InvalidArgument("required", field=at)
    check_once(asked, at)
    pace = Pace()
    for index, id in enumerate(asked):
        field = f"{at}[{index}]"
        if not id:
            raise InvalidArgument("an entry is empty", field=field)
        check_id(id, field)
        await pace.step()
    return tuple(asked)


def _result(result: Result) -> v1.BulkResult:
    return v1.BulkResult(
        customer_id=result.id,
        outcome=cast(v1.BulkOutcome.ValueType, int(result.outcome)),
        reason=result.reason,
        message=result.message,
        field=result.field,
    )
