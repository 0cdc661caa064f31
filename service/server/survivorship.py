"""What becomes of the cards of a merge, and of its unmerge: `core.model.Survivorship`.

A merge fills the survivor's card from its members, and what somebody chose stands. So a card has a
history: a base, a merge, edits, which make the base of the next merge, and so on to the card as it
is. An unmerge tells that history anew without those who leave: each merge of its members that
remain, and then the edits. These come as a three-way merge (`_Edits`), of what the merge had made
of the card, of what it had become before the next one, and of what the merge makes of it now. What
was edited, and is other than it was without those who leave, came from them: somebody has to say
whose it is. Everything else has one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from itertools import count, pairwise
from typing import Any, cast

from google.protobuf.message import Message

from namesake import v1
from service.core.model import Action, Clash, Leaving, Parted, Sealed, Step, United
from service.server import wire
from service.server.rules import check_counts
from service.settings import Settings

Numbers = Mapping[tuple[str, str], str]


def is_archived(record: bytes) -> bool:
    """Tell whether a customer is archived."""
    return v1.Customer.FromString(record).state == v1.CUSTOMER_STATE_ARCHIVED


class Survivorship:
    """The rules of merging, for encoded cards."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def unite(self, id: str, step: Step) -> United:
        """Return the survivor's card; see `core.model.Survivorship`."""
        card, numbers = self._united(id, step, check=True)
        return United(wire.resealed(card, self._settings), numbers)

    def part(
        self,
        id: str,
        steps: Sequence[Step],
        left: Sequence[Sequence[tuple[str, bytes]]],
        current: bytes,
        leaving: Callable[[], Sequence[Leaving]],
        actions: Mapping[str, Action],
    ) -> Parted:
        """Return the card without some members; see `core.model.Survivorship`."""
        edits = _Edits(leaving, actions)
        cards = [*(wire.body_bytes(step.base) for step in steps), wire.body_bytes(current)]
        card, remain = cards[0], []
        for step, members, (before, after) in zip(steps, left, pairwise(cards), strict=True):
            new = step._replace(base=card, members=tuple(members))
            if card == before and new.members == step.members:
                card = after
            else:
                made, _ = self._made(id, step)
                now, numbers = self._made(id, new)
                new = new._replace(numbers=numbers)
                card = now if made == after else edits.put_on(now, made, after)
            if members:
                remain.append(new)
        given = {who: _encoded(card) for who, card in edits.given.items()}
        return Parted(tuple(remain), card, card in cards, given, tuple(edits.clashes))

    def seal(self, body: bytes) -> Sealed:
        """Return a card that was worked out; see `core.model.Survivorship`."""
        return wire.resealed(wire.body_of(body), self._settings)

    def _made(self, id: str, step: Step) -> tuple[bytes, Numbers]:
        """Return what a merge makes of a card, which needs no rule: it was there, or was not."""
        if not step.members:
            return wire.body_bytes(step.base), {}
        card, numbers = self._united(id, step, check=False)
        return _encoded(card), numbers

    def _united(self, id: str, step: Step, *, check: bool) -> tuple[v1.Customer, Numbers]:
        """Return a card as a merge makes it, and how the contacts of its members are numbered."""
        card = wire.body_of(step.base)
        members = {who: wire.body_of(record) for who, record in step.members}
        asked = {who for _, who in step.choices}
        sources = {who: _copy(one) for who, one in (members | {id: card}).items() if who in asked}
        chosen = [(name, who) for name, who in step.choices if who in sources]  # else it left
        numbers: dict[tuple[str, str], str] = {}
        for who, member in members.items():
            for name, _ in chosen:
                member.ClearField(cast(Any, name))
            numbers |= _fill(card, who, member, step.numbers)
            if check:  # before it grows with every further member
                check_counts(card, self._settings)
        for name, who in chosen:
            if name == "contacts" and who in members:
                numbers |= _number(sources[who], card, who, step.numbers)
            wire.copy_field(sources[who], card, name)
        return card, numbers


def _fill(
    card: v1.Customer, who: str, member: v1.Customer, numbers: Numbers
) -> dict[tuple[str, str], str]:
    """Fill a card from a member, whose contacts have known numbers; return which they got."""
    own = [contact.id for contact in member.contacts]
    _clear_numbers(member, card, who, numbers)
    return {(who, number): now for number, now in zip(own, wire.fill(card, member), strict=True)}


def _number(
    member: v1.Customer, card: v1.Customer, who: str, numbers: Numbers
) -> dict[tuple[str, str], str]:
    """Number the contacts of a member that stand for those of a card; return which they got."""
    own = [contact.id for contact in member.contacts]
    _clear_numbers(member, card, who, numbers)
    both = v1.Customer(contacts=[*card.contacts, *member.contacts])
    wire.number_contacts(both)
    for contact, numbered in zip(member.contacts, both.contacts[len(card.contacts) :], strict=True):
        contact.id = numbered.id
    return {(who, number): one.id for number, one in zip(own, member.contacts, strict=True)}


def _clear_numbers(member: v1.Customer, card: v1.Customer, who: str, numbers: Numbers) -> None:
    """Give a member's contacts their known numbers, and clear those that another person has.

    A number says nothing across two customers.
    """
    known = {contact.id: numbers.get((who, contact.id), "") for contact in member.contacts}
    taken = {contact.id: wire.contact_key(contact) for contact in card.contacts}
    reserved = set(known.values())
    for contact in member.contacts:
        number = known[contact.id] or (contact.id if contact.id not in reserved else "")
        key = wire.contact_key(contact)
        contact.id = number if taken.get(number, key) == key else ""


def _copy(card: v1.Customer) -> v1.Customer:
    copied = v1.Customer()
    copied.CopyFrom(card)
    return copied


def _encoded(card: v1.Customer) -> bytes:
    return card.SerializeToString(deterministic=True)


# Edits

Path = tuple[tuple[str, Hashable], ...]  # fields, each with the key of its entry, or None

_STRUCTS = frozenset({"preferences"})
_VERDICTS = frozenset({"finding"})  # nobody edits them: the newest counts
_PRIMARY = "primary"  # one entry of a list has it: see `_Edits._list`
#: What an entry is known by; nobody edits it without making another one of it.
_KNOWN_BY = {
    "EmailAddress": ("value", "normal"),
    "PhoneNumber": ("value", "normal", "extension"),
    "PostalAddress": ("lines", "city", "postcode", "administrative_area", "country"),
    "Contact": ("id",),
    "ChannelPreference": ("channel",),
}


def path_name(path: Path) -> str:
    """Return a path's name for people: `last_name`, `emails[ada@example.com].kind`."""
    return ".".join(name if key is None else f"{name}[{_key_name(key)}]" for name, key in path)


def _key_name(key: Hashable) -> str:
    match key:
        case bytes():  # an address
            return blake2b(key, digest_size=6).hexdigest()
        case (one, other):
            return f"{one}:{other}" if other else str(one)
        case _:
            return str(key)


@dataclass
class _Edits:
    """Puts edits of a card on one that lacks what came from those who leave."""

    who_leaves: Callable[[], Sequence[Leaving]]
    actions: Mapping[str, Action]
    clashes: list[Clash] = field(default_factory=list)
    given: dict[str, v1.Customer] = field(default_factory=dict)
    _was: v1.Customer = field(default_factory=v1.Customer)
    _now: v1.Customer = field(default_factory=v1.Customer)

    @cached_property
    def leaving(self) -> Sequence[Leaving]:
        """Who leaves, the deepest first; hardly ever asked for."""
        return self.who_leaves()

    def put_on(self, new: bytes, was: bytes, now: bytes) -> bytes:
        """Return `new` with that in which `now` differs from `was`."""
        self._was, self._now = v1.Customer.FromString(was), v1.Customer.FromString(now)
        return _encoded(self._message(self._was, self._now, v1.Customer.FromString(new), ()))

    def _message(self, was: Any, now: Any, new: Any, at: Path) -> Any:
        """Merge three of a message, field by field."""
        result = type(new)()
        for descriptor in new.DESCRIPTOR.fields:
            name = descriptor.name
            if name in wire.LIST_KEYS or name == "custom_fields":
                self._entries(was, now, new, result, at, name)
            elif name in _STRUCTS:
                three = (getattr(was, name), getattr(now, name), getattr(new, name))
                merged = self._message(*three, (*at, (name, None)))
                if merged.ListFields():
                    getattr(result, name).CopyFrom(merged)
            elif name != _PRIMARY:
                self._value(was, now, new, result, (*at, (name, None)))
        return result

    def _value(self, was: Any, now: Any, new: Any, result: Any, path: Path) -> None:
        """Merge three of a field that is one, whatever is in it."""
        name, _ = path[-1]
        w, n, m = (_only(message, name) for message in (was, now, new))
        if n == w:
            result.MergeFrom(m)
        elif m == w or not w.ListFields() or name in _VERDICTS or self._is_kept(path):
            result.MergeFrom(n)  # what was blank is an addition
        else:
            result.MergeFrom(m)

    def _entries(self, was: Any, now: Any, new: Any, result: Any, at: Path, name: str) -> None:
        """Merge three of a list or map, entry by entry."""
        w, n, m = (_by_key(message, name) for message in (was, now, new))
        if name == "contacts":
            m = _renumbered(m, w, n)
        merged = {
            key: entry
            for key in {**m, **n, **w}
            if (entry := self._entry(w.get(key), n.get(key), m.get(key), (*at, (name, key))))
            is not None
        }
        first = _primary(w, n, m, merged)
        for key in _ordered([*w], [*n], [*m], merged):
            entry = _add(result, name, key, merged[key])
            if isinstance(entry, Message) and _PRIMARY in entry.DESCRIPTOR.fields_by_name:
                setattr(entry, _PRIMARY, key == first)

    def _entry(self, was: Any, now: Any, new: Any, path: Path) -> Any:
        """Merge three of an entry; None is none."""
        if was is None:
            return new if now is None else now  # added; or back, as nobody hides it any more
        if now is None:
            if new is None:
                self._is_kept(path)  # gone either way, but perhaps for the one who leaves, too
            return None
        if new is None:
            return now if _plain(now) != _plain(was) and self._is_kept(path) else None
        if now == was or new == was:
            return new if now == was else now
        if type(new).DESCRIPTOR.name in _KNOWN_BY:
            return self._message(was, now, new, path)
        return now if self._is_kept(path) else new

    def _is_kept(self, path: Path) -> bool:
        """Tell whether an edit of what came from who leaves stays; else it is seen to."""
        name = path_name(path)
        action = self.actions.get(name, self.actions.get(""))
        if action is Action.GIVE:
            self._give(self._origin(path), path)
        elif action is None:
            before, after = _at(self._was, path), _at(self._now, path)
            who = self._origin(path).id
            self.clashes.append(Clash(name, who, _encoded(before), _encoded(after)))
        return action not in (Action.GIVE, Action.RESTORE)

    def _origin(self, path: Path) -> Leaving:
        """Return from whom something came: the first who says the same of it, or anything."""
        was = _plain(_at(self._was, path))
        said = [(one, _plain(_at(self._card(one), path, one.numbers))) for one in self.leaving]
        return next(
            (one for one, value in said if value == was),
            next((one for one, value in said if value.ListFields()), self.leaving[0]),
        )

    def _card(self, one: Leaving) -> v1.Customer:
        return self.given[one.id] if one.id in self.given else wire.body_of(one.card)

    def _give(self, one: Leaving, path: Path) -> None:
        """Edit the card of one who leaves as the survivor's was."""
        card = self._card(one)
        for place, (name, key) in enumerate(path):
            is_there = _at(card, path[: place + 1], one.numbers).ListFields()
            if key is not None and not is_there and (place < len(path) - 1 or name == "contacts"):
                return  # it has nothing of what was edited
        was, now = _at(self._was, path), _at(self._now, path)
        for contact in (*was.contacts, *now.contacts):
            contact.id = one.numbers[contact.id]
        edits = _Edits(tuple, {"": Action.KEEP})
        self.given[one.id] = edits._message(was, now, card, ())


# Parts of cards


def _only(message: Any, name: str) -> Any:
    """Return a message that says nothing but this field."""
    only, value = type(message)(), getattr(message, name)
    descriptor = message.DESCRIPTOR.fields_by_name[name]
    if descriptor.is_repeated:
        getattr(only, name).extend(value)
    elif descriptor.message_type is None:
        setattr(only, name, value)
    elif message.HasField(name):
        getattr(only, name).CopyFrom(value)
    return only


def _by_key(message: Any, name: str) -> dict[Hashable, Any]:
    """Return the entries of a list or map in their order; of a key the first."""
    if name == "custom_fields":
        return dict(sorted(message.custom_fields.items()))
    found: dict[Hashable, Any] = {}
    for entry in getattr(message, name):
        found.setdefault(wire.LIST_KEYS[name](entry), entry)
    return found


def _add(message: Any, name: str, key: Hashable, entry: Any) -> Any:
    """Add a copy of an entry to a list or map; return it."""
    if name == "custom_fields":
        message.custom_fields[key].CopyFrom(entry)
    elif isinstance(entry, str):
        getattr(message, name).append(entry)
    else:
        added = getattr(message, name).add()
        added.CopyFrom(entry)
        return added
    return entry


def _at(card: v1.Customer, path: Path, numbers: Mapping[str, str] | None = None) -> v1.Customer:
    """Return a card that says nothing but what stands at a path, and of what that is a part.

    `numbers` say how the contacts of this card are numbered, by their numbers in the path.
    """
    result = v1.Customer()
    source: Any = card
    target: Any = result
    for place, (name, key) in enumerate(path):
        is_last = place == len(path) - 1
        if key is not None:
            if name == "contacts" and numbers is not None:
                key = numbers.get(str(key))
            source = _by_key(source, name).get(key)
            if source is None:
                return v1.Customer()
            target = _add(target, name, key, source if is_last else _known(source))
        elif is_last:
            target.MergeFrom(_only(source, name))
        else:
            source, target = getattr(source, name), getattr(target, name)
    return result


def _known(entry: Any) -> Any:
    """Return an entry that says nothing but what it is known by."""
    known = type(entry)()
    for name in _KNOWN_BY[entry.DESCRIPTOR.name]:
        known.MergeFrom(_only(entry, name))
    return known


def _plain(value: Any) -> Any:
    """Return an entry or card without what nobody edits, or what is said elsewhere."""
    if isinstance(value, str):
        return value
    plain = type(value)()
    plain.CopyFrom(value)
    _strip(plain)
    return plain


def _strip(message: Any) -> None:
    for descriptor, value in message.ListFields():
        name = descriptor.name
        if name in (*_VERDICTS, _PRIMARY) or (message.DESCRIPTOR.name, name) == ("Contact", "id"):
            message.ClearField(name)
        elif name in ("emails", "phones", "addresses", "contacts"):
            for entry in value:
                _strip(entry)


def _renumbered(
    contacts: Mapping[Hashable, v1.Contact],
    was: Mapping[Hashable, v1.Contact],
    now: Mapping[Hashable, v1.Contact],
) -> dict[Hashable, v1.Contact]:
    """Return contacts that come back with other numbers where these were given away meanwhile."""
    found: dict[Hashable, v1.Contact] = {}
    for number, contact in contacts.items():
        other = now.get(number)
        if other is None or number in was or wire.contact_key(other) == wire.contact_key(contact):
            found[number] = contact
            continue
        taken = {*was, *now, *contacts, *found}
        free = (str(n) for n in count(1) if str(n) not in taken)
        again = v1.Contact()
        again.CopyFrom(contact)
        again.id = next(free)
        found[again.id] = again
    return found


def _primary(
    was: dict[Hashable, Any],
    now: dict[Hashable, Any],
    new: dict[Hashable, Any],
    merged: Mapping[Hashable, Any],
) -> Hashable:
    """Return which entry of a list is its primary one."""
    w, n, m = (
        next((key for key, entry in one.items() if getattr(entry, _PRIMARY, False)), None)
        for one in (was, now, new)
    )
    return m if n == w or not (n is None or n in merged) else n


def _ordered(
    was: Iterable[Hashable],
    now: Sequence[Hashable],
    new: Sequence[Hashable],
    merged: Mapping[Hashable, Any],
) -> list[Hashable]:
    """Return the keys of a list in their order: as somebody sorted it, or else as it is."""
    stayed, known = set(now), set(was)
    if [key for key in was if key in stayed] == [key for key in now if key in known]:
        order = [key for key in new if key in merged]
        kept = [key for key in now if key in merged]
        for place, key in enumerate(kept):
            if key in order:
                continue  # else it was added: behind its neighbour, or before the other
            before = order.index(kept[place - 1]) + 1 if place else 0
            behind = (order.index(one) for one in kept[place + 1 :] if one in order)
            order.insert(before or next(behind, len(order)), key)
    else:
        order = [key for key in now if key in merged]
    return [*order, *(key for key in merged if key not in order)]
