"""ValidationService: checking contact points that belong to no customer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from namesake import v1
from service.core.model import Channel, Lookup, Point
from service.errors import InvalidArgument, LimitExceeded
from service.server import wire
from service.server.edge import Context, caller
from service.server.pace import Pace
from service.server.rules import VALUE_LIMIT_CHARS, check_batch, check_region
from service.settings import Settings
from service.validation.validator import Validator


class ValidationService(v1.ValidationServiceServicer):
    """See validation_service.proto."""

    def __init__(self, validator: Validator, settings: Settings) -> None:
        self._validator = validator
        self._settings = settings

    async def CheckContacts(  # noqa: N802
        self, request: v1.CheckContactsRequest, context: Context
    ) -> v1.CheckContactsResponse:
        """Check one batch."""
        return v1.CheckContactsResponse(results=await self._check(request))

    async def StreamContacts(  # noqa: N802
        self, request_iterator: AsyncIterator[v1.StreamContactsRequest], context: Context
    ) -> AsyncIterator[v1.StreamContactsResponse]:
        """Check batch after batch; the transport's flow control bounds what is under way."""
        async for request in request_iterator:
            yield v1.StreamContactsResponse(results=await self._check(request))

    async def _check(
        self, request: v1.CheckContactsRequest | v1.StreamContactsRequest
    ) -> list[v1.ContactResult]:
        check_batch(request.contacts, self._settings.batch_limit_rows, "contacts")
        check_region(request.default_region, "default_region")
        checked = await self._validator.check(
            _points(request.contacts),
            default_region=request.default_region or caller().account.default_region,
            lookup=_lookup(request.lookup),
        )
        results, pace, size = [], Pace(), 0
        for one in checked:
            result = wire.contact_result(one)
            size += result.ByteSize()
            if size > self._settings.answer_limit:
                raise LimitExceeded(
                    "these results are too large for one answer; ask for fewer", field="contacts"
                )
            results.append(result)
            await pace.step()
        return results


def _lookup(value: int) -> Lookup:
    try:
        return Lookup(value or Lookup.WAIT)
    except ValueError as error:
        raise InvalidArgument("not a value of this enum", field="lookup") from error


def _points(contacts: Sequence[v1.ContactQuery]) -> list[Point]:
    points = []
    for index, query in enumerate(contacts):
        field = f"contacts[{index}]"
        which = query.WhichOneof("contact")
        if which is None:
            raise InvalidArgument("required: email or phone", field=field)
        value = query.email if which == "email" else query.phone
        if len(value) > VALUE_LIMIT_CHARS:
            raise InvalidArgument(
                f"at most {VALUE_LIMIT_CHARS} characters", field=f"{field}.{which}"
            )
        check_region(query.region, f"{field}.region")
        channel = Channel.EMAIL if which == "email" else Channel.PHONE
        points.append(Point(channel, value, query.region))
    return points
