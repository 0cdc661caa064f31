"""What is linked to customers: adding, deleting and pinning items, and finding orders by a point.

An item stays with the customer that it was added to, a member too. A survivor shows those of its
whole tree (`Reads.tree`), so that merging moves none, however many there are.
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


class _Owner(NamedTuple):
    """Whose an item is to be: the row and the id of the customer, and the rows of its tree."""

    row: int
    id: str
    tree: frozenset[int]


def _decide_add(prepared: Iterable[_Prepared], view: View) -> Decision[list[Added]]:
    owners: dict[str, _Owner | NamesakeError] = {}
    added: list[Added] = []
    put: dict[str, Item] = {}
    for id, new, points in prepared:
        owner = owners.get(new.customer_id)
        if owner is None:
            owner = owners[new.customer_id] = _owner(view, new.customer_id)
        if isinstance(owner, NamesakeError):
            added.append(owner)
            continue
        known = put.get(id) or _known(view, id)
        put[id] = _item(id, new, points, owner, known, view.now_us)
        added.append(id)
    return Decision(added, [PutItems(list(put.values()))] if put else [])


def _item(
    id: str,
    new: NewItem,
    points: tuple[ItemPoint, ...],
    owner: _Owner,
    known: Item | None,
    now_us: int,
) -> Item:
    """Return an item as it is kept, where `known` is what it was.

    One that somebody of its customer's tree has stays with that one, and without a time it keeps
    the one that it had: so a retry changes nothing.
    """
    row, of, time_us = owner.row, owner.id, new.time_us
    if known is not None:
        if known.row in owner.tree:
            row, of = known.row, known.customer_id
        if time_us is None:
            time_us = known.time_us
    time_us = now_us if time_us is None else time_us
    return Item(id, row, of, new.kind, time_us, new.closed, points, new.body)


def _known(view: View, id: str) -> Item | None:
    number = view.timeline.number_of(id)
    return None if number is None else view.timeline.item(number)


def _owner(view: View, customer_id: str) -> _Owner | NamesakeError:
    """Return whom an id means: a member, for what is added by a member's id came from that one."""
    try:
        found = shown_by(view, customer_id, "customer_id")
    except (NotFound, Deleted) as error:
        return error
    tree = frozenset(view.tree(found.row))
    row = view.row_of(customer_id) if found.state is State.MERGED else None
    if row is not None and row in tree:
        return _Owner(row, customer_id, tree)
    return _Owner(found.row, found.id, tree)


def _decide_delete(ids: Iterable[str], view: View) -> Decision[int]:
    found = (view.timeline.number_of(id) for id in ids)
    numbers = {number for number in found if number is not None}
    return Decision(len(numbers), [DropItems(sorted(numbers))] if numbers else [])


def _decide_pin(customer_id: str, item_id: str, view: View) -> Decision[None]:
    owner = shown_by(view, customer_id, "customer_id")
    if not item_id:
        return Decision(None, [PutPin(owner.row, 0)])
    number, item = view.timeline.number_of(item_id), _known(view, item_id)
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
        hidden = row in own or reads.timeline.is_leaving(row)
        item = None if hidden else reads.timeline.item(place.number)
        if item is not None:
            orders.found.append(Order(item, reads.find(item.customer_id).id))
    return orders
