"""What is taken out of a survivor's history when a customer is deleted that was part of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from google.protobuf.message import Message

from namesake import v1

Keys = Mapping[str, Callable[[Any], Hashable]]  # list field → the key of an entry


class Forgotten:
    """What a card says that others do not.

    An entry of a list is theirs where they have one of its key; another field where they have its
    value. What the card says of a field of which they say nothing is its, whatever it became.
    """

    def __init__(self, gone: v1.Customer, kept: Sequence[v1.Customer], keys: Keys) -> None:
        self._keys = keys
        theirs = {element for card in kept for element in self._elements(card)}
        said = {field.name for card in kept for field, _ in card.ListFields()}
        self._gone = set(self._elements(gone)) - theirs
        self._whole = {
            field.name for field, _ in gone.ListFields() if not self._is_list(field.name)
        } - said

    def _is_list(self, name: str) -> bool:
        return name in self._keys or name == "custom_fields"

    def _elements(self, card: v1.Customer) -> Iterator[tuple[str, Hashable]]:
        for field, value in card.ListFields():
            if self._is_list(field.name):
                yield from ((field.name, self._key(field.name, entry)) for entry in value)
            else:
                yield field.name, _value(value)

    def _key(self, name: str, entry: Any) -> Hashable:
        return entry if name == "custom_fields" else self._keys[name](entry)

    def erase_from(self, card: v1.Customer) -> None:
        """Take it out of a card."""
        for field, value in card.ListFields():
            name: Any = field.name
            if name == "custom_fields":
                for key in [key for key in value if (name, key) in self._gone]:
                    del value[key]
            elif name in self._keys:
                _keep(
                    value,
                    (entry for entry in value if (name, self._key(name, entry)) not in self._gone),
                )
            elif name in self._whole or (name, _value(value)) in self._gone:
                card.ClearField(name)


def _keep(entries: Any, kept: Iterable[Any]) -> None:
    copies = [entry if isinstance(entry, str) else _copy(entry) for entry in kept]
    del entries[:]
    entries.extend(copies)


def _copy(entry: Any) -> Any:
    return type(entry).FromString(entry.SerializeToString())


def _value(value: Any) -> Hashable:
    if isinstance(value, Message):
        return value.SerializeToString(deterministic=True)
    return cast(Hashable, value)
