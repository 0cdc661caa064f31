"""What is taken out of a survivor's history when a customer is deleted that was part of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, cast

from google.protobuf.message import Message

from namesake import v1

Keys = Mapping[str, Callable[[Any], Hashable]]  # list field → the key of an entry

_CUSTOM = "custom_fields"  # a list whose entries have names


class Erasure:
    """What remains of cards from whose time customers are forgotten.

    In every field of which one of these says something, only what a kept card has remains, as this
    has it but for findings. An entry of the same key as a kept one gives way to that. So a kept
    card is left as it is.
    """

    def __init__(
        self, gone: Sequence[v1.Customer], kept: Sequence[v1.Customer], keys: Keys
    ) -> None:
        self._keys = keys
        self._names = {field.name for card in gone for field, _ in card.ListFields()}
        self._kept: dict[tuple[str, Hashable], dict[Hashable, Any]] = {}
        for card in kept:
            for name in self._names:
                for key, value in self._elements(card, name):
                    self._kept.setdefault((name, key), {}).setdefault(_plain(value), value)

    def _elements(self, card: v1.Customer, name: str) -> Iterator[tuple[Hashable, Any]]:
        value = getattr(card, name)
        if name == _CUSTOM:
            yield from value.items()
        elif name in self._keys:
            yield from ((self._keys[name](entry), entry) for entry in value)
        elif value if not isinstance(value, Message) else card.HasField(cast(Any, name)):
            yield None, value

    def erase_from(self, card: v1.Customer) -> None:
        """Take out the rest."""
        for name in self._names:
            left = [
                (key, _copy(instead))
                for key, value in self._elements(card, name)
                if (instead := self._instead(name, key, value)) is not None
            ]
            card.ClearField(cast(Any, name))
            for key, value in left:
                self._put(card, name, key, value)

    def _instead(self, name: str, key: Hashable, value: Any) -> Any:
        """Return what stands for an element: itself, what is kept of its key, or None."""
        kept = self._kept.get((name, key))
        if kept is None:
            return None
        if _plain(value) in kept:
            return value
        return next(iter(kept.values())) if name in self._keys or name == _CUSTOM else None

    def _put(self, card: v1.Customer, name: str, key: Any, value: Any) -> None:
        if name == _CUSTOM:
            card.custom_fields[key].CopyFrom(value)
        elif name in self._keys:
            getattr(card, name).append(value)
        elif isinstance(value, Message):
            getattr(card, name).CopyFrom(value)
        else:
            setattr(card, name, value)


def _plain(value: Any) -> Hashable:
    """Return an element for comparison, without findings."""
    if not isinstance(value, Message):
        return cast(Hashable, value)
    plain = _copy(value)
    for point in (plain, *getattr(plain, "emails", ()), *getattr(plain, "phones", ())):
        if isinstance(point, (v1.EmailAddress, v1.PhoneNumber)):
            point.ClearField("finding")
    return cast(Hashable, plain.SerializeToString(deterministic=True))


def _copy(value: Any) -> Any:
    if not isinstance(value, Message):
        return value
    return type(value).FromString(value.SerializeToString())
