"""What is linked to customers: adding, deleting and pinning items, and finding orders by a point.

An item stays with the customer that it was added to. A survivor shows those of its whole tree
(`Reads.tree`), so that merging moves none, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from service.core.model import Channel, ItemKind, Lookup, Point
from service.core.prepare import match_key
from service.errors import Deleted, InvalidArgument, NamesakeError, NotFound
from service.identity.lookup import Query
from service.identity.operations import uuid7
from service.index import (
    Decide,
    Decision,
    DropItems,
    Found,
    Index,
    Item,
    ItemPoint,
    PutItems,
    PutPin,
    Reads,
    State,
    View,
    point_of,
    sharing_keys,
)
from service.validation.validator import Validator

BULK_ITEMS = 100  # a larger batch waits with the imports, so that card saves do not wait for it

Outcome = TypeVar("Outcome")
Added = str | NamesakeError


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item that keeps the rules. `body` is what the index keeps for the caller."""

    id: str  # "": it gets one
    customer_id: str
    kind: ItemKind
    time_us: int | None = None  # None: when it is added
    closed: bool = False
    points: tuple[Point, ...] = ()
    body: bytes = b""


class Order(NamedTuple):
    """An order that was given with a contact point, and who shows it."""

    item: Item
    customer_id: str


@dataclass(slots=True)
class Orders:
    """Orders of other customers under one contact point, newest first.

    `looked_at` counts those of the customer itself, too.
    """

    found: list[Order] = field(default_factory=list)
    more: bool = False
    looked_at: int = 0


class Timeline:
    """The use cases of one account."""

    def __init__(self, index: Index, validator: Validator) -> None:
        self._index = index
        self._validator = validator

    async def add(self, items: Sequence[NewItem], region: str) -> list[Added]:
        """Add or replace items in one commit; return the id of each, or why it was not added.

        Of several with one id the last stands. Phones without a country code are of `region`.
        """
        given = [point for item in items for point in item.points]
        checked = iter(
            await self._validator.check(given, default_region=region, lookup=Lookup.SKIP)
        )
        prepared = []
        for item in items:
            forms = [next(checked) for _ in item.points]
            points = tuple(point_of(f.channel, f.normal, match_key) for f in forms if f.normal)
            prepared.append((item.id or uuid7(), item, points))
        return await self._submit(partial(_decide_add, prepared), len(items))

    async def delete(self, ids: Sequence[str]) -> int:
        """Delete items in one commit; return how many there were."""
        return await self._submit(partial(_decide_delete, ids), len(ids))

    async def pin(self, customer_id: str, item_id: str) -> None:
        """Pin a note to the timeline that shows it, "" for none.

        Raises NotFound, Deleted or InvalidArgument.
        """
        await self._submit(partial(_decide_pin, customer_id, item_id), 1)

    async def _submit(self, decide: Decide[Outcome], items: int) -> Outcome:
        decisions = _OneDecision(decide, items)
        (outcome,) = await self._index.submit(decisions, bulk=items > BULK_ITEMS)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class _OneDecision(Generic[Outcome]):
    """A decision about many items, which counts as so many where the writer bounds its work."""

    def __init__(self, decide: Decide[Outcome], items: int) -> None:
        self._decide = decide
        self._items = items

    def __len__(self) -> int:
        return self._items

    def __iter__(self) -> Iterator[Decide[Outcome]]:
        yield self._decide


_Prepared = tuple[str, NewItem, tuple[ItemPoint, ...]]


def _decide_add(prepared: Iterable[_Prepared], view: View) -> Decision[list[Added]]:
    owners: dict[str, Found | NamesakeError] = {}
    added: list[Added] = []
    put: dict[str, Item] = {}
    for id, new, points in prepared:
        owner = owners.get(new.customer_id)
        if owner is None:
            owner = owners[new.customer_id] = _owner(view, new.customer_id)
        if isinstance(owner, NamesakeError):
            added.append(owner)
            continue
        time_us = view.now_us if new.time_us is None else new.time_us
        row, of = _stays_with(view, id, owner)
        put[id] = Item(id, row, of, new.kind, time_us, new.closed, points, new.body)
        added.append(id)
    return Decision(added, [PutItems(list(put.values()))] if put else [])


def _stays_with(view: View, id: str, owner: Found) -> tuple[int, str]:
    """Return the row and id that an item is kept under.

    One that is added again, and was a member's of its customer, stays that member's.
    """
    number = view.timeline.number_of(id)
    item = None if number is None else view.timeline.item(number)
    if item is not None and item.row in view.tree(owner.row):
        return item.row, item.customer_id
    return owner.row, owner.id


def _owner(view: View, customer_id: str) -> Found | NamesakeError:
    try:
        return shown_by(view, customer_id, "customer_id")
    except (NotFound, Deleted) as error:
        return error


def _decide_delete(ids: Iterable[str], view: View) -> Decision[int]:
    found = (view.timeline.number_of(id) for id in ids)
    numbers = {number for number in found if number is not None}
    return Decision(len(numbers), [DropItems(sorted(numbers))] if numbers else [])


def _decide_pin(customer_id: str, item_id: str, view: View) -> Decision[None]:
    owner = shown_by(view, customer_id, "customer_id")
    if not item_id:
        return Decision(None, [PutPin(owner.row, 0)])
    number = view.timeline.number_of(item_id)
    item = None if number is None else view.timeline.item(number)
    if number is None or item is None or item.row not in view.tree(owner.row):
        raise NotFound("this customer has no such item", field="item_id")
    if item.kind != ItemKind.NOTE:
        raise InvalidArgument("only a note is pinned", field="item_id")
    return Decision(None, [PutPin(owner.row, number)])


def shown_by(reads: Reads, customer_id: str, field: str) -> Found:
    """Return the live customer that an id leads to; raise NotFound or Deleted."""
    found = reads.find(customer_id) if customer_id else Found(State.MISSING)
    if found.state is State.DELETED:
        raise Deleted("this customer was deleted", field=field)
    if not found.row:
        raise NotFound("there is no customer with this id", field=field)
    return found


def orders_sharing(
    reads: Reads, query: Query, own: Sequence[int], *, limit: int, look_at: int
) -> Orders:
    """Return up to `limit` orders of others that have a contact point, the newest ones.

    Looks at no more than `look_at` entries: with those of the own rows before them, there may be
    more that are not found.
    """
    orders = Orders()
    if not isinstance(query.what, Channel):
        return orders
    keys = sharing_keys(query.what, query.normal, match_key(query.what, query.normal))
    for place, row in reads.timeline.sharing(keys):
        if len(orders.found) == limit or orders.looked_at == look_at:
            orders.more = True
            break
        orders.looked_at += 1
        item = None if row in own else reads.timeline.item(place.number)
        if item is not None:
            orders.found.append(Order(item, reads.find(item.customer_id).id))
    return orders
