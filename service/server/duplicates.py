"""DuplicateService, and the duplicates that the other services report."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from namesake import v1
from service.core.model import Channel, Lookup
from service.core.prepare import features, match_key
from service.errors import InvalidArgument, NotFound
from service.identity.lookup import Query, Sharing, is_shared, others, queries_of, sharing
from service.identity.matching import Found, Subject
from service.identity.timeline import Orders, orders_sharing
from service.index import Snapshot
from service.server import wire
from service.server.edge import Context, caller
from service.server.matches import MatchMethods, write_similar
from service.server.pace import Pace
from service.server.pages import Listing, decode_token, encode_token, page_rows
from service.server.rules import check_batch, check_region
from service.server.scans import ScanMethods
from service.settings import Settings

COUNT_LEAST_ROWS = 100  # counted of each customer even where a request has used its budget


class DuplicateService(MatchMethods, ScanMethods, v1.DuplicateServiceServicer):
    """See duplicate_service.proto."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._records = wire.Records(settings)

    async def ListDuplicates(  # noqa: N802
        self, request: v1.ListDuplicatesRequest, context: Context
    ) -> v1.ListDuplicatesResponse:
        """List who shares a point of a stored customer or of a draft."""
        rows = page_rows(request.page_size, self._settings, self._settings.duplicate_page_rows)
        customer = await self._subject(request)
        after_row, only = decode_token(request.page_token, Listing.DUPLICATES)
        points = queries(customer)
        if request.page_token:
            points = [point for point in points if _mark(point) == only]
            if not points:
                raise InvalidArgument("not a token of this subject", field="page_token")
        # All groups together are one page, with one of each at least.
        each = max(1, min(rows, self._settings.page_limit_rows // max(1, len(points))))
        with caller().account.index.snapshot() as snapshot:
            row = snapshot.find(customer.id).row if customer.id else 0
            groups = sharing(
                snapshot,
                points,
                row,
                page_rows=each,
                count_limit=self._settings.count_limit_rows,
                after_row=after_row,
            )
            answer, pace = v1.ListDuplicatesResponse(), Pace()
            for group in groups:
                answer.groups.append(point_duplicates(snapshot, group, row))
                await pace.step()
            if not request.page_token:
                found = caller().account.matcher.similar(
                    snapshot,
                    subject_of(customer, row),
                    limit=min(rows, self._settings.match_limit_rows),
                    candidates=self._settings.match_candidates,
                    block_rows=self._settings.match_block_rows,
                )
                write_similar(answer.similar, snapshot, found)
                own = snapshot.tree(row) if row else []
                left = self._settings.scan_limit_rows
                for point in points:
                    orders = orders_sharing(snapshot, point, own, limit=each, look_at=left)
                    left -= orders.looked_at
                    if orders.found or orders.more:
                        answer.orders.append(point_orders(point, orders))
                    await pace.step()
        return answer

    async def _subject(self, request: v1.ListDuplicatesRequest) -> v1.Customer:
        match request.WhichOneof("subject"):
            case "id":
                with caller().account.index.snapshot() as snapshot:
                    record = snapshot.record(snapshot.find(request.id).row)
                if record is None:
                    raise NotFound("there is no customer with this id", field="id")
                return v1.Customer.FromString(record)
            case "draft":
                return await self._checked_draft(request)
        raise InvalidArgument("required: id or draft", field="subject")

    async def _checked_draft(self, request: v1.ListDuplicatesRequest) -> v1.Customer:
        check_region(request.default_region, "default_region")
        account = caller().account
        card = wire.draft_card(request.draft, self._settings)
        region = request.default_region or account.default_region
        (sealed,) = await account.registry.preview([card], region, Lookup.SKIP)
        draft = v1.Customer.FromString(sealed.body)
        draft.id = card.id
        return draft

    async def CountDuplicates(  # noqa: N802
        self, request: v1.CountDuplicatesRequest, context: Context
    ) -> v1.CountDuplicatesResponse:
        """Count who shares anything with each of many customers."""
        check_batch(request.ids, self._settings.page_limit_rows, "ids")
        answer, pace = v1.CountDuplicatesResponse(), Pace()
        left = self._settings.count_budget_rows
        with caller().account.index.snapshot() as snapshot:
            for id in request.ids:
                limit = min(self._settings.count_limit_rows, max(left, COUNT_LEAST_ROWS))
                counted = answer.counts.add(id=id)
                row = snapshot.find(id).row
                record = snapshot.record(row)
                if record is None:
                    counted.not_found = True
                    continue
                held = self._records.held(record)
                found = others(snapshot, queries_of(held), row, limit + 1)
                counted.count = min(len(found), limit)
                counted.count_is_floor = len(found) > limit
                left -= len(found)
                await pace.step()
        return answer


def queries(customer: v1.Customer) -> list[Query]:
    """Return what a stored or checked customer can be found by, with paths."""
    found = [
        Query(path, channel, point.normal)
        for path, channel, point in wire.points_of(customer)
        if point.normal
    ]
    found += [
        Query(f"identities[{index}]", identity.type, identity.value)
        for index, identity in enumerate(customer.identities)
    ]
    return list({(query.what, query.normal): query for query in reversed(found)}.values())[::-1]


def find_duplicates(
    snapshot: Snapshot,
    customer: v1.Customer,
    subject: Subject,
    settings: Settings,
) -> tuple[list[v1.PointDuplicates], Found]:
    """Return what a save tells: per point that others share, how many and the first of them; and
    who looks like the customer, who is `subject`.
    """
    groups: list[Sharing] = []
    if is_shared(snapshot, subject.held, subject.row):
        groups = sharing(
            snapshot,
            queries(customer),
            subject.row,
            page_rows=settings.duplicate_page_rows,
            count_limit=settings.count_limit_rows,
        )
    found = caller().account.matcher.similar(
        snapshot,
        subject,
        limit=settings.similar_page_rows,
        candidates=settings.match_save_candidates,
        block_rows=settings.match_save_block_rows,
        shared=groups,
    )
    exact = [point_duplicates(snapshot, group, subject.row) for group in groups if group.count]
    return exact, found


def subject_of(customer: v1.Customer, row: int) -> Subject:
    """Return a customer to compare; `row` is 0 for one that is not stored."""
    (packed,) = features([customer.SerializeToString()])
    return Subject(packed, wire.held(customer), row)


def point_duplicates(snapshot: Snapshot, group: Sharing, own_row: int) -> v1.PointDuplicates:
    """Return one group as the wire has it."""
    query = group.query
    token = (
        encode_token(Listing.DUPLICATES, group.after_row, _mark(query)) if group.after_row else ""
    )
    return v1.PointDuplicates(
        field=query.field,
        normal=query.normal,
        count=group.count,
        count_is_floor=group.is_floor,
        customers=_shown(snapshot, query, group.rows, own_row),
        next_page_token=token,
    )


def point_orders(query: Query, orders: Orders) -> v1.PointOrders:
    """Return the orders of one contact point as the wire has them."""
    shown = v1.PointOrders(field=query.field, normal=query.normal, more=orders.more)
    for order in orders.found:
        item = order.item
        shown.orders.add(
            item_id=item.id,
            customer_id=order.customer_id,
            subject=v1.Item.FromString(item.body).subject[: wire.DISPLAY_NAME_CHARS],
            time=wire.timestamp(item.time_us),
        )
    return shown


def _mark(query: Query) -> str:
    # A token is seen by proxies and logs: it must not show the e-mail or phone.
    return blake2b(f"{query.what}:{query.normal}".encode(), digest_size=8).hexdigest()


def _shown(
    snapshot: Snapshot, query: Query, rows: Iterable[int], own_row: int
) -> list[v1.Duplicate]:
    shown = []
    for row in rows:
        record = snapshot.record(row)
        assert record is not None, "the index names a row that has no record"
        other = v1.Customer.FromString(record)
        shared = _shared(query, other)
        shown.append(
            v1.Duplicate(
                id=other.id,
                display_name=wire.display_name(other),
                state=other.state,
                same_normal=shared == query.normal,
                current=row == own_row,
                shared=shared,
            )
        )
    return shown


def _shared(query: Query, other: v1.Customer) -> str:
    """Return by which of its normal forms `other` shares the query: the same one, if it can."""
    if not isinstance(query.what, Channel):
        return query.normal
    key = match_key(query.what, query.normal)
    normals = [
        point.normal
        for _, channel, point in wire.points_of(other)
        if channel is query.what and point.normal
    ]
    if query.normal in normals:
        return query.normal
    return next(normal for normal in normals if match_key(query.what, normal) == key)
