"""What becomes of the cards of a merge, and of its unmerge: `core.model.Survivorship`.

A survivor's card is a function of its own card and its members' (`_Cards.united`), and of what was
edited since. An edit is a difference of one *element* between what that function gives and the card
as it is: a field, or an entry of a list by its key (the normal form of an e-mail, the name of a
custom field). What is edited has an origin: the survivor's own card, or the first member that has
it. So an unmerge computes the function anew, of the members that remain, and puts the edits back.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

from namesake import v1
from service.core.model import Action, Clash, Parted, Sealed, Step
from service.server import wire
from service.settings import Settings

Choices = tuple[tuple[str, str], ...]


def is_archived(record: bytes) -> bool:
    """Tell whether a customer is archived."""
    return v1.Customer.FromString(record).state == v1.CUSTOMER_STATE_ARCHIVED


class Element(NamedTuple):
    """A field of a card, or an entry of a list: the smallest thing that is edited."""

    field: str
    key: Any = None

    @property
    def name(self) -> str:
        """Its name for people: `last_name`, `emails[ada@example.com]`."""
        match self.key:
            case None:
                return self.field
            case bytes():  # an address
                key = blake2b(self.key, digest_size=6).hexdigest()
            case (one, other):
                key = f"{one}:{other}" if other else str(one)
            case _:
                key = str(self.key)
        return f"{self.field}[{key}]"


class Survivorship:
    """The rules of merging, for encoded cards."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def unite(self, id: str, own: bytes, steps: Sequence[Step]) -> Sealed:
        """Return the survivor's card; see `core.model.Survivorship`."""
        return wire.resealed(_Cards.of(id, own, steps).united(), self._settings)

    def own_now(self, id: str, own: bytes, steps: Sequence[Step], current: bytes) -> bytes:
        """Return the own card with what was edited since; see `core.model.Survivorship`."""
        parting = _Parting(_Cards.of(id, own, steps), steps)
        parting.look(wire.body_of(current), {})
        return parting.own(own)

    def part(
        self,
        id: str,
        own: bytes,
        before: Sequence[Step],
        after: Sequence[Step],
        current: bytes,
        changed: Mapping[str, bytes],
        actions: Mapping[str, Action],
    ) -> Parted:
        """Return the cards after an unmerge; see `core.model.Survivorship`."""
        parting = _Parting(_Cards.of(id, own, before), after, changed)
        parting.look(wire.body_of(current), actions)
        sealed = wire.resealed(parting.survivor(), self._settings)
        if parting.is_as_it_was:
            sealed = sealed._replace(body=wire.body_bytes(own))
        given = {who: wire.resealed(card, self._settings) for who, card in parting.given.items()}
        return Parted(parting.own(own), sealed, given, tuple(parting.clashes))


@dataclass(slots=True)
class _Cards:
    """The cards of a survivor: its own, and its members' merge by merge."""

    id: str
    own: v1.Customer
    steps: list[tuple[dict[str, v1.Customer], Choices]]

    @classmethod
    def of(cls, id: str, own: bytes, steps: Sequence[Step]) -> _Cards:
        """Read them."""
        return cls(id, wire.body_of(own), _read(steps))

    def united(self) -> v1.Customer:
        """Return the survivor's card as the merges made it."""
        card = _copy(self.own)
        for members, choices in self.steps:
            sources = {self.id: _copy(card), **members}
            for member in members.values():
                wire.fill(card, _with_free_ids(member, card))
            for name, id in choices:
                if id in sources:  # else that member was given back
                    wire.copy_field(sources[id], card, name)
        return card

    def origin(self, element: Element) -> str:
        """Return from whom the survivor has something: its own id, or the member's."""
        for members, choices in reversed(self.steps):
            chosen = dict(choices).get(element.field, "")
            if chosen in members:
                return chosen
        if _value(self.own, element):
            return self.id
        return next((id for id, card in self.members() if _value(card, element)), "")

    def members(self) -> Iterator[tuple[str, v1.Customer]]:
        """Iterate the members in order."""
        for members, _ in self.steps:
            yield from members.items()


@dataclass(slots=True)
class _Parting:
    """A survivor whose members become others, and the edits that this has to respect."""

    cards: _Cards
    after: Sequence[Step]
    changed: Mapping[str, bytes] = field(default_factory=dict)
    clashes: list[Clash] = field(default_factory=list)
    given: dict[str, v1.Customer] = field(default_factory=dict)
    _edits: list[tuple[Element, bytes]] = field(default_factory=list)  # of what members still have
    _fresh: list[tuple[Element, bytes]] = field(default_factory=list)  # verdicts that came
    _own: v1.Customer = field(default_factory=v1.Customer)
    _is_own_edited: bool = False
    _remaining: dict[str, v1.Customer] = field(default_factory=dict)

    def look(self, current: v1.Customer, actions: Mapping[str, Action]) -> None:
        """Compare the card with what the merges made, and take each edit to where it belongs."""
        made = self.cards.united()
        self._own = _copy(self.cards.own)
        self._remaining = dict(_Cards("", self._own, _read(self.after)).members())
        for element in dict.fromkeys((*_elements(made), *_elements(current))):
            was, now = _value(made, element), _value(current, element)
            if was == now:
                continue
            if was and now and _plain(was) == _plain(now):
                self._refresh(element, now)
            elif not was or (origin := self.cards.origin(element)) == self.cards.id:
                self._edit_own(element, now)
            else:
                self._edit_of(origin, element, was, now, actions)

    def _refresh(self, element: Element, now: bytes) -> None:
        self._fresh.append((element, now))
        if _plain(_value(self._own, element)) == _plain(now):
            self._edit_own(element, now)

    def _edit_own(self, element: Element, now: bytes) -> None:
        _put(self._own, element, now)
        self._is_own_edited = True

    def _edit_of(
        self, origin: str, element: Element, was: bytes, now: bytes, actions: Mapping[str, Action]
    ) -> None:
        """Take an edit of what came from a member to where it belongs."""
        member = dict(self.cards.members())[origin]
        remaining = self._remaining.get(origin)
        if remaining is not None and _value(remaining, element) == _value(member, element):
            self._edits.append((element, now))
            return
        match actions.get(element.name, actions.get("")):
            case Action.KEEP:
                self._edit_own(element, now)
            case Action.GIVE if remaining is not None:  # it was of a member of that member
                self._edit_own(element, now)
            case Action.GIVE:
                card = wire.body_of(self.changed[origin]) if origin in self.changed else member
                _put(self.given.setdefault(origin, _copy(card)), element, now)
            case Action.RESTORE:
                pass
            case None:
                self.clashes.append(Clash(element.name, origin, was, now))

    @property
    def is_as_it_was(self) -> bool:
        """Whether the survivor has its own card again, and nothing was edited."""
        return not self._remaining and not self._is_own_edited

    def own(self, before: bytes) -> bytes:
        """Return the own card with what was edited of it."""
        return _encoded(self._own) if self._is_own_edited else before

    def survivor(self) -> v1.Customer:
        """Return the survivor's card."""
        card = _Cards(self.cards.id, self._own, _read(self.after)).united()
        for element, now in self._edits:
            _put(card, element, now)
        for element, now in self._fresh:
            if _plain(_value(card, element)) == _plain(now):
                _put(card, element, now)
        return card


def _read(steps: Sequence[Step]) -> list[tuple[dict[str, v1.Customer], Choices]]:
    return [({id: wire.body_of(card) for id, card in s.members}, s.choices) for s in steps]


def _copy(card: v1.Customer) -> v1.Customer:
    copied = v1.Customer()
    copied.CopyFrom(card)
    return copied


def _encoded(card: v1.Customer) -> bytes:
    return card.SerializeToString(deterministic=True)


def _with_free_ids(member: v1.Customer, card: v1.Customer) -> v1.Customer:
    """Return a member whose contacts have no id that another person at the survivor has.

    Contacts are numbered by the server within their customer: an id says nothing across two.
    """
    taken = {contact.id: wire.contact_key(contact) for contact in card.contacts}
    copied = _copy(member)
    for contact in copied.contacts:
        if taken.get(contact.id, wire.contact_key(contact)) != wire.contact_key(contact):
            contact.id = ""
    return copied


# Elements


def _elements(card: v1.Customer) -> Iterator[Element]:
    """Iterate what a card says."""
    for descriptor, value in card.ListFields():
        name = descriptor.name
        if name == "custom_fields":
            yield from (Element(name, key) for key in sorted(value))
        elif name in wire.LIST_KEYS:
            yield from (Element(name, wire.LIST_KEYS[name](entry)) for entry in value)
        else:
            yield Element(name)


def _value(card: v1.Customer, element: Element) -> bytes:
    """Return an encoded card that has only this element, b"" where the card says nothing of it."""
    only = v1.Customer()
    name, key = element
    if name == "custom_fields":
        if key in card.custom_fields:
            only.custom_fields[key].CopyFrom(card.custom_fields[key])
    elif name in wire.LIST_KEYS:
        same = [entry for entry in getattr(card, name) if wire.LIST_KEYS[name](entry) == key]
        getattr(only, name).extend(same[:1])
    else:
        wire.copy_field(card, only, name)
    return _encoded(only)


def _plain(value: bytes) -> bytes:
    """Return an element without its findings, which nobody edits."""
    card = v1.Customer.FromString(value)
    for _, _, point in wire.points_of(card):
        point.ClearField("finding")
    return _encoded(card)


def _put(card: v1.Customer, element: Element, value: bytes) -> None:
    """Let a card say this of an element, or nothing (b""); an entry of a list keeps its place."""
    only = v1.Customer.FromString(value)
    name, key = element
    if name == "custom_fields":
        card.custom_fields.pop(key, None)
        for custom in only.custom_fields:
            card.custom_fields[custom].CopyFrom(only.custom_fields[custom])
    elif name in wire.LIST_KEYS:
        entries, new = getattr(card, name), [*getattr(only, name)]
        kept = [copied for entry in entries for copied in _instead(entry, name, key, new)]
        if not any(wire.LIST_KEYS[name](entry) == key for entry in entries):
            kept += new
        del entries[:]
        entries.extend(kept)
    else:
        wire.copy_field(only, card, name)


def _instead(entry: Any, name: str, key: Hashable, new: list[Any]) -> list[Any]:
    if wire.LIST_KEYS[name](entry) == key:
        return new
    return [entry if isinstance(entry, str) else type(entry).FromString(entry.SerializeToString())]
