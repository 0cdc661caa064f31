"""Items of timelines between protobuf and the index: their rules, and how they are shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, cast

from namesake import v1
from service.core.model import Channel, ItemKind, Point
from service.errors import InvalidArgument
from service.identity.timeline import NewItem
from service.index import Item, Wanted
from service.server.filters import check_time, first_us
from service.server.rules import VALUE_LIMIT_CHARS, check_id, check_texts, check_values, enum_check
from service.server.wire import microseconds, timestamp
from service.settings import Settings

_MESSAGES = frozenset({v1.ITEM_KIND_CALL, v1.ITEM_KIND_EMAIL, v1.ITEM_KIND_SMS})
_CALL = frozenset({v1.ITEM_KIND_CALL})
_TASK = frozenset({v1.ITEM_KIND_TASK})
_FILE = frozenset({v1.ITEM_KIND_ATTACHMENT})
_ORDER = frozenset({v1.ITEM_KIND_ORDER})
_SALES = frozenset({v1.ITEM_KIND_ORDER, v1.ITEM_KIND_DEAL})
#: Fields that only items of some kinds have.
KINDS_OF = {
    "direction": _MESSAGES,
    "duration_s": _CALL,
    "status": _TASK,
    "due_time": _TASK,
    "uri": _FILE,
    "media_type": _FILE,
    "size_bytes": _FILE,
    "amount": _SALES,
    "email": _ORDER,
    "phone": _ORDER,
    "state": _SALES,
    "number": frozenset({v1.ITEM_KIND_METRIC}),
}
_CLOSED = frozenset({v1.TASK_STATUS_COMPLETED, v1.TASK_STATUS_CANCELLED})
# What the index has of an item, and what the server sets: left out of the body.
_NOT_KEPT = ("id", "customer_id", "kind", "time", "pinned", "email_normal", "phone_normal")
_NORMAL = {Channel.EMAIL: "email_normal", Channel.PHONE: "phone_normal"}
_POINTS = (("email", Channel.EMAIL), ("phone", Channel.PHONE))

_CURRENCY = re.compile(r"[A-Z]{3}")
_NANOS = range(-999_999_999, 1_000_000_000)
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"  # RFC 6838, 4.2
_MEDIA_TYPE = re.compile(rf"{_NAME}/{_NAME}( ?;.*)?")  # parameters as in Content-Type


def new_item(item: v1.Item, settings: Settings) -> NewItem:
    """Check a caller's item and take out what the use cases need. Consumes the message.

    Raises `InvalidArgument` with the path, within the item, of the first field that breaks a rule.
    """
    item.DiscardUnknownFields()
    for name in ("pinned", "email_normal", "phone_normal"):
        item.ClearField(cast(Any, name))
    _check(item, settings)
    kind = ItemKind(item.kind)
    points = tuple(
        Point(channel, getattr(item, name)) for name, channel in _POINTS if getattr(item, name)
    )
    time_us = microseconds(item.time) if item.HasField("time") else None
    if kind is ItemKind.TASK:
        item.status = item.status or v1.TASK_STATUS_OPEN
    id, customer_id = item.id, item.customer_id
    closed = item.status in _CLOSED
    for name in _NOT_KEPT:
        item.ClearField(cast(Any, name))
    body = item.SerializeToString(deterministic=True)
    return NewItem(id, customer_id, kind, time_us, closed, points, body)


def _check(item: v1.Item, settings: Settings) -> None:
    size = item.ByteSize()
    if size > settings.item_limit:
        raise InvalidArgument(f"the item has {size} bytes, at most {settings.item_limit} are taken")
    for name in ("customer_id", "kind"):
        if not getattr(item, name):
            raise InvalidArgument("required", field=name)
    # Only what is set is listed: an item leaves most of its fields empty.
    for descriptor, value in item.ListFields():
        name = descriptor.name
        kinds = KINDS_OF.get(name)
        if kinds is not None and item.kind not in kinds:
            raise InvalidArgument("items of this kind have no such field", field=name)
        check = _CHECKS.get(name)
        if check is not None:
            check(value, name)
    if len(item.attributes) > settings.item_values:
        raise InvalidArgument(f"at most {settings.item_values} are taken", field="attributes")
    # Looking at every text costs more than all else; both faults show in the bytes first.
    if size > settings.text_limit_chars or b"\0" in item.SerializeToString():
        check_texts(item, settings.text_limit_chars, "")


def _figure(figure: int, field: str) -> None:
    if figure < 0:
        raise InvalidArgument("is not negative", field=field)


def _number(number: float, field: str) -> None:
    if not abs(number) < float("inf"):
        raise InvalidArgument("NaN and infinities are not taken", field=field)


def _money(amount: v1.Money, field: str) -> None:
    if not _CURRENCY.fullmatch(amount.currency):
        raise InvalidArgument("three capital letters (ISO 4217)", field=f"{field}.currency")
    if amount.nanos not in _NANOS or amount.units * amount.nanos < 0:
        raise InvalidArgument(
            "less than a unit, with the sign of the units", field=f"{field}.nanos"
        )


def _point(value: str, field: str) -> None:
    if len(value) > VALUE_LIMIT_CHARS:
        raise InvalidArgument(f"at most {VALUE_LIMIT_CHARS} characters", field=field)


def _media_type(media_type: str, field: str) -> None:
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise InvalidArgument("not a media type (RFC 6838)", field=field)


_CHECKS: dict[str, Callable[..., None]] = {
    "id": check_id,
    "customer_id": check_id,
    "kind": enum_check(v1.ItemKind),
    "time": check_time,
    "direction": enum_check(v1.Direction),
    "duration_s": _figure,
    "status": enum_check(v1.TaskStatus),
    "due_time": check_time,
    "media_type": _media_type,
    "size_bytes": _figure,
    "amount": _money,
    "email": _point,
    "phone": _point,
    "number": _number,
    "attributes": check_values,
}


def shown_item(item: Item, *, pinned: bool) -> v1.Item:
    """Return an item of the index as the wire has it."""
    shown = v1.Item.FromString(item.body)
    shown.id, shown.customer_id, shown.pinned = item.id, item.customer_id, pinned
    shown.kind = cast(v1.ItemKind.ValueType, item.kind)
    shown.time.CopyFrom(timestamp(item.time_us))
    for channel, normal, _ in item.points:
        setattr(shown, _NORMAL[channel], normal)
    return shown


def wanted_items(request: v1.ListItemsRequest) -> Wanted:
    """Return which items a request asks for; raise `InvalidArgument` with the field at fault."""
    known = cast(Any, v1.ItemKind).values()
    for index, kind in enumerate(request.kinds):
        if kind not in known or not kind:
            raise InvalidArgument("not a kind of items", field=f"kinds[{index}]")
    times: dict[str, int | None] = dict.fromkeys(("from_time", "to_time"))
    for name in times:
        if request.HasField(cast(Any, name)):
            times[name] = first_us(getattr(request, name), name)
    kinds = frozenset(request.kinds)
    return Wanted(kinds, times["from_time"], times["to_time"], request.with_completed)


def list_mark(customer_id: str, wanted: Wanted) -> str:
    """Return what tells the tokens of one list from those of another."""
    asked: Sequence[object] = (
        customer_id, sorted(wanted.kinds), wanted.from_us, wanted.to_us, wanted.with_closed,
    )  # fmt: skip
    return blake2b(repr(asked).encode(), digest_size=8).hexdigest()
