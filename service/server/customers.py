"""CustomerService: saving, reading and following customers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar, cast

from namesake import v1
from service.core.model import Channel, Lookup, Outcome, Point
from service.errors import InvalidArgument, LimitExceeded, NotFound
from service.identity.lookup import Query, rows_holding, rows_sharing
from service.identity.matching import Subject
from service.identity.registry import OnDuplicate, Saved, Terms
from service.index import Index, Snapshot
from service.server import wire
from service.server.changes import WHOLE, cards_at, history_page, member_ids, write_change
from service.server.duplicates import find_duplicates, subject_of
from service.server.edge import Context, caller
from service.server.feed import FeedMethods
from service.server.matches import write_similar
from service.server.pace import Pace
from service.server.pages import POSITION_LIMIT, Listing, decode_token, encode_token, page_rows
from service.server.rules import check_batch, check_identity, check_mask, check_region, check_text
from service.settings import Settings
from service.validation.validator import Validator

REQUEST_ID_CHARS = 64
DELETE_REASON_CHARS = range(3, 501)
RESOLVED_LIMIT = 20
LIST_STEP_ROWS = 1_000

Answer = TypeVar("Answer", v1.SaveCustomerResponse, v1.UpdateCustomerResponse)

_CHANNELS = {"email": Channel.EMAIL, "phone": Channel.PHONE}


class CustomerService(  # type: ignore[misc]  # the feed yields bytes
    FeedMethods, v1.CustomerServiceServicer
):
    """See customer_service.proto."""

    def __init__(self, validator: Validator, settings: Settings, stopping: asyncio.Event) -> None:
        self._validator = validator
        self._settings = settings
        self._stopping = stopping
        self._cards = wire.Cards(settings)

    async def SaveCustomer(  # noqa: N802
        self, request: v1.SaveCustomerRequest, context: Context
    ) -> v1.SaveCustomerResponse:
        """Create or update one card, durably; report findings and duplicates."""
        if not request.HasField("customer"):
            raise InvalidArgument("required", field="customer")
        terms = self._terms(request, _on_duplicate(request.on_duplicate))
        card = self._cards.read(request.customer)
        (saved,) = await caller().account.registry.save([card], terms)
        if isinstance(saved, Exception):
            raise saved
        return self._outcome(saved, terms, v1.SaveCustomerResponse())

    async def UpdateCustomer(  # noqa: N802
        self, request: v1.UpdateCustomerRequest, context: Context
    ) -> v1.UpdateCustomerResponse:
        """Change the fields of a mask."""
        if not request.customer.id:
            raise InvalidArgument("required", field="customer.id")
        mask = list(request.update_mask.paths)
        check_mask(mask, "update_mask")
        terms = self._terms(request, OnDuplicate.REPORT)
        home = _home(caller().account.index, request.customer.id)
        card = wire.masked_card(request.customer, mask, self._settings, home)
        saved = await caller().account.registry.update(card, mask, terms)
        return self._outcome(saved, terms, v1.UpdateCustomerResponse())

    def _terms(
        self, request: v1.SaveCustomerRequest | v1.UpdateCustomerRequest, how: OnDuplicate
    ) -> Terms:
        check_region(request.default_region, "default_region")
        check_text(request.request_id, REQUEST_ID_CHARS, "request_id")
        who = caller()
        return Terms(
            actor=who.actor,
            region=request.default_region or who.account.default_region,
            on_duplicate=how,
            dry_run=request.validate_only,
            request_id=request.request_id,
        )

    def _outcome(self, saved: Saved, terms: Terms, answer: Answer) -> Answer:
        """Fill in what became of a card; in place, as copies of messages are dear."""
        customer = answer.customer
        customer.ParseFromString(saved.record)
        own_row = 0 if terms.dry_run and saved.outcome is Outcome.CREATED else saved.row
        if saved.features is None or saved.held is None:
            subject = subject_of(customer, own_row)
        else:
            subject = Subject(saved.features, saved.held, own_row)
        with caller().account.index.snapshot() as snapshot:
            duplicates, found = find_duplicates(snapshot, customer, subject, self._settings)
            answer.duplicates.extend(duplicates)
            write_similar(answer.similar, snapshot, found)
            if not terms.dry_run and saved.outcome in (Outcome.CREATED, Outcome.UPDATED):
                caller().account.machine.saved(snapshot, saved.row, found)
        wire.dress(customer)
        answer.outcome = cast(v1.SaveOutcome.ValueType, saved.outcome)
        answer.sequence = 0 if terms.dry_run else saved.sequence
        return answer

    async def GetCustomer(  # noqa: N802
        self, request: v1.GetCustomerRequest, context: Context
    ) -> v1.GetCustomerResponse:
        """Return one customer, following redirects."""
        _check_given(request.id)
        with caller().account.index.snapshot() as snapshot:
            record = _record(snapshot, request.id)
        if record is None:
            raise NotFound("there is no customer with this id", field="id")
        return v1.GetCustomerResponse(customer=wire.dressed(record))

    async def BatchGetCustomers(  # noqa: N802
        self, request: v1.BatchGetCustomersRequest, context: Context
    ) -> v1.BatchGetCustomersResponse:
        """Return many customers, following redirects."""
        check_batch(request.ids, self._settings.page_limit_rows, "ids")
        answer = v1.BatchGetCustomersResponse()
        pace = Pace()
        size = 0
        with caller().account.index.snapshot() as snapshot:
            for id in request.ids:
                result = answer.results.add(id=id)
                if (record := _record(snapshot, id)) is not None:
                    result.customer.CopyFrom(wire.dressed(record))
                    size += result.customer.ByteSize()
                    if size > self._settings.page_limit_bytes:
                        raise LimitExceeded(
                            "these cards are too large for one answer; ask for fewer", field="ids"
                        )
                await pace.step()
        return answer

    async def ListCustomers(  # noqa: N802
        self, request: v1.ListCustomersRequest, context: Context
    ) -> v1.ListCustomersResponse:
        """List customers by page."""
        order = request.order or v1.CUSTOMER_ORDER_CREATED
        keep = request.state or v1.STATE_FILTER_ACTIVE
        if order not in v1.CustomerOrder.values():
            raise InvalidArgument("not a value of this enum", field="order")
        if keep not in v1.StateFilter.values():
            raise InvalidArgument("not a value of this enum", field="state")
        rows = page_rows(request.page_size, self._settings)
        listing = Listing.CUSTOMERS + order * 8 + keep
        start, _ = decode_token(request.page_token, listing)
        with caller().account.index.snapshot() as snapshot:
            page, position = await self._page(_SCANS[order](snapshot, start), keep, rows)
        token = encode_token(listing, position) if position else ""
        return v1.ListCustomersResponse(customers=page, next_page_token=token)

    async def _page(
        self, scan: Iterable[tuple[int, bytes | None]], keep: int, rows: int
    ) -> tuple[list[v1.Customer], int]:
        """Return a page and where the next begins (0 at the end)."""
        page: list[v1.Customer] = []
        pace = Pace()
        last = size = 0
        for looked_at, (position, record) in enumerate(scan):
            is_full = len(page) == rows or size >= self._settings.page_limit_bytes
            if is_full or looked_at == self._settings.scan_limit_rows:
                return page, last
            last = position
            if record is not None:
                customer = v1.Customer.FromString(record)
                if _STATES[keep] in (None, customer.state):
                    page.append(wire.dress(customer))
                    size += customer.ByteSize()
            await pace.step()
        return page, 0

    async def DeleteCustomer(  # noqa: N802
        self, request: v1.DeleteCustomerRequest, context: Context
    ) -> v1.DeleteCustomerResponse:
        """Delete a customer for ever."""
        _check_given(request.id)
        if len(request.reason.strip()) not in DELETE_REASON_CHARS:
            bounds = f"{DELETE_REASON_CHARS[0]} to {DELETE_REASON_CHARS[-1]}"
            raise InvalidArgument(f"required, {bounds} characters", field="reason")
        check_text(request.reason, self._settings.text_limit_chars, "reason")
        who = caller()
        sequence = await who.account.registry.delete(
            request.id, request.etag, request.reason.strip(), who.actor
        )
        return v1.DeleteCustomerResponse(sequence=sequence)

    async def ResolveIdentities(  # noqa: N802
        self, request: v1.ResolveIdentitiesRequest, context: Context
    ) -> v1.ResolveIdentitiesResponse:
        """Say which customers hold which identities."""
        check_batch(request.identities, self._settings.batch_limit_rows, "identities")
        check_region(request.default_region, "default_region")
        account = caller().account
        for index, identity in enumerate(request.identities):
            check_identity(identity.type, identity.value, f"identities[{index}]")
        region = request.default_region or account.default_region
        normals = await self._normals(request.identities, region)
        answer = v1.ResolveIdentitiesResponse()
        pace = Pace()
        with account.index.snapshot() as snapshot:
            for identity, normal in zip(request.identities, normals, strict=True):
                result = answer.results.add(identity=identity, normal=normal)
                if normal:
                    _resolve(snapshot, identity.type, normal, result)
                await pace.step()
        return answer

    async def _normals(self, identities: Sequence[v1.IdentityQuery], region: str) -> list[str]:
        points = [
            Point(_CHANNELS[one.type], one.value) for one in identities if one.type in _CHANNELS
        ]
        checked = iter(
            await self._validator.check(points, default_region=region, lookup=Lookup.SKIP)
        )
        return [next(checked).normal if one.type in _CHANNELS else one.value for one in identities]

    async def ListHistory(  # noqa: N802
        self, request: v1.ListHistoryRequest, context: Context
    ) -> v1.ListHistoryResponse:
        """List what happened to a customer, newest first."""
        _check_given(request.id)
        rows = page_rows(request.page_size, self._settings)
        before, _ = decode_token(request.page_token, Listing.HISTORY)
        answer, pace = v1.ListHistoryResponse(), Pace()
        with caller().account.index.snapshot() as snapshot:
            found = snapshot.find(request.id)
            row = found.row or snapshot.row_of(request.id)
            if row is None:
                raise NotFound("there is no customer with this id", field="id")
            entries, more = await history_page(
                snapshot, row, before or POSITION_LIMIT, rows, self._settings.page_limit_bytes, pace
            )
            if more:
                answer.next_page_token = encode_token(Listing.HISTORY, entries[-1][1].sequence)
            members = member_ids(snapshot, {of for of, _ in entries} - {row})
            whole = [(of, entry.sequence) for of, entry in entries if entry.kind in WHOLE]
            cards = await cards_at(snapshot, whole, pace)
            for of, entry in entries:
                change = answer.changes.add()
                write_change(change, entry, found.id or request.id)
                change.member_id = members.get(of, "")
                if card := cards.get((of, entry.sequence)):
                    change.after.CopyFrom(wire.dress(card))
                await pace.step()
        return answer


def _on_duplicate(value: int) -> OnDuplicate:
    try:
        return OnDuplicate(value or OnDuplicate.REPORT)
    except ValueError as error:
        raise InvalidArgument("not a value of this enum", field="on_duplicate") from error


def _check_given(id: str) -> None:
    if not id:
        raise InvalidArgument("required", field="id")


def _home(index: Index, id: str) -> str:
    """Return the country where a stored customer's phones are, "" where that is not known."""
    with index.snapshot() as snapshot:
        record = _record(snapshot, id)
    return wire.country(v1.Customer.FromString(record)) if record is not None else ""


def _record(snapshot: Snapshot, id: str) -> bytes | None:
    return snapshot.record(snapshot.find(id).row)


_STATES: dict[int, int | None] = {
    v1.STATE_FILTER_ACTIVE: v1.CUSTOMER_STATE_ACTIVE,
    v1.STATE_FILTER_ARCHIVED: v1.CUSTOMER_STATE_ARCHIVED,
    v1.STATE_FILTER_ALL: None,
}

Scan = Iterator[tuple[int, bytes | None]]  # position to go on after, record (None: superseded)


def _oldest_first(snapshot: Snapshot, after: int) -> Scan:
    yield from snapshot.customers(after)


def _newest_first(snapshot: Snapshot, before: int) -> Scan:
    yield from snapshot.customers_before(before) if before else snapshot.customers_before()


def _changed_first(snapshot: Snapshot, after: int) -> Scan:
    while changes := snapshot.writings(after, LIST_STEP_ROWS):
        yield from _still_current(snapshot, changes)
        after = changes[-1][0]


def _changed_last(snapshot: Snapshot, before: int) -> Scan:
    before = before or POSITION_LIMIT
    while changes := snapshot.writings_before(before, LIST_STEP_ROWS):
        yield from _still_current(snapshot, changes)
        before = changes[-1][0]


def _still_current(snapshot: Snapshot, changes: Iterable[tuple[int, int]]) -> Scan:
    """Yield the record at the change that wrote it last, so that each customer comes once."""
    for sequence, row in changes:
        record = snapshot.record(row)
        current = record is not None and wire.written_by(record) == sequence
        yield sequence, record if current else None


_SCANS = {
    v1.CUSTOMER_ORDER_CREATED: _oldest_first,
    v1.CUSTOMER_ORDER_CREATED_DESC: _newest_first,
    v1.CUSTOMER_ORDER_UPDATED: _changed_first,
    v1.CUSTOMER_ORDER_UPDATED_DESC: _changed_last,
}


def _resolve(snapshot: Snapshot, type: str, normal: str, result: v1.ResolvedIdentity) -> None:
    if type == "customer":
        found = snapshot.find(normal)
        if found.row:
            result.matches.add(customer_id=found.id, same_normal=True)
        return
    query = Query("", _CHANNELS.get(type, type), normal)
    same = rows_holding(snapshot, query, RESOLVED_LIMIT + 1)
    close = rows_sharing(snapshot, query, 0, RESOLVED_LIMIT + 1)
    rows = same + [row for row in close if row not in set(same)]
    result.more = len(rows) > RESOLVED_LIMIT
    for row in rows[:RESOLVED_LIMIT]:
        record = snapshot.record(row)
        assert record is not None, "the index names a row that has no record"
        id = wire.id_of(record)
        result.matches.add(customer_id=id, same_normal=row in same)
