"""What is changed of many customers, checked once and made to one record after the other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from namesake import v1
from service.core.model import Sealed
from service.errors import InvalidArgument
from service.server.rules import MASKABLE, check_added, check_once, check_shape
from service.server.wire import body_of, copy_field, resealed
from service.settings import Settings

_CUSTOM = "custom_fields"
_WORDS = ("tags", "sources", "campaigns", "groups")
_SETTABLE = frozenset(
    field.name
    for field in v1.Customer.DESCRIPTOR.fields
    if field.name in MASKABLE and (field.name == _CUSTOM or not field.is_repeated)
)
_CLEARABLE = _SETTABLE | frozenset(_WORDS)
_CUSTOM_PATH = re.compile(r"custom_fields\.([a-z][a-z0-9_]{0,62})")


class Amendment:
    """A checked change. It has no state, so the writer thread may use it.

    Clears first, then sets, takes words away, and adds words.
    """

    def __init__(self, change: v1.CustomerChange, settings: Settings, at: str) -> None:
        """Take a change; raise `InvalidArgument` with the path of the entry that cannot be."""
        self._settings = settings
        self._set, cleared = list(change.set.paths), list(change.clear.paths)
        _check_set(self._set, f"{at}.set")
        _check_clear(cleared, f"{at}.clear")
        self._values = v1.Customer()
        for name in self._set:
            copy_field(change.values, self._values, name)
        check_shape(self._values, settings, f"{at}.values")
        if _CUSTOM in self._set and not self._values.custom_fields:
            raise InvalidArgument("has no entries to set", field=f"{at}.values.{_CUSTOM}")
        self._customs = [found[1] for path in cleared if (found := _CUSTOM_PATH.fullmatch(path))]
        self._clear = [path for path in cleared if "." not in path]
        self._check_once(cleared, f"{at}.clear")
        self._added = _words(change, "add", settings, at)
        self._removed = _words(change, "remove", settings, at)
        for name, words in self._added.items():
            if not words.keys().isdisjoint(self._removed.get(name, ())):
                raise InvalidArgument("the same word is added", field=f"{at}.remove_{name}")
        if not (self._set or cleared or self._added or self._removed):
            raise InvalidArgument("required: what is to change", field=at)

    def _check_once(self, cleared: Sequence[str], field: str) -> None:
        set_customs = {f"{_CUSTOM}.{name}" for name in self._values.custom_fields}
        for index, path in enumerate(cleared):
            if path in self._set or path in set_customs:
                raise InvalidArgument("is set as well", field=f"{field}.paths[{index}]")

    def amended(self, record: bytes) -> Sealed:
        """Return what results of a record; raise `InvalidArgument` where it breaks a rule."""
        customer = body_of(record)
        for name in self._clear:
            customer.ClearField(cast(Any, name))
        for name in self._customs:
            customer.custom_fields.pop(name, None)
        for name in self._set:
            if name == _CUSTOM:
                for custom, value in self._values.custom_fields.items():
                    customer.custom_fields[custom].CopyFrom(value)
            else:
                copy_field(self._values, customer, name)
        self._change_words(customer)
        # Cleared ones too are what they are by default.
        customer.kind = customer.kind or v1.CUSTOMER_KIND_PERSON
        customer.state = customer.state or v1.CUSTOMER_STATE_ACTIVE
        return resealed(customer, self._settings)

    def _change_words(self, customer: v1.Customer) -> None:
        for name in _WORDS:
            removed, added = self._removed.get(name, {}), self._added.get(name, {})
            if removed or added:
                held = getattr(customer, name)
                kept = dict.fromkeys(word for word in held if word not in removed)
                held[:] = [*(kept | added)]


def _check_set(paths: Sequence[str], field: str) -> None:
    for index, path in enumerate(paths):
        if path not in _SETTABLE:
            raise InvalidArgument(
                "names no field of one value, nor custom_fields", field=f"{field}.paths[{index}]"
            )
    check_once(paths, f"{field}.paths")


def _check_clear(paths: Sequence[str], field: str) -> None:
    for index, path in enumerate(paths):
        if path not in _CLEARABLE and not _CUSTOM_PATH.fullmatch(path):
            raise InvalidArgument(
                "names no field of one value or of words, nor custom_fields.NAME",
                field=f"{field}.paths[{index}]",
            )
    check_once(paths, f"{field}.paths")


def _words(
    change: v1.CustomerChange, what: str, settings: Settings, at: str
) -> dict[str, dict[str, None]]:
    """Return the words to add or remove by list, each once and in the order given."""
    given = {name: list(getattr(change, f"{what}_{name}")) for name in _WORDS}
    check_added({f"{what}_{name}": words for name, words in given.items()}, settings, at)
    return {name: dict.fromkeys(words) for name, words in given.items() if words}
