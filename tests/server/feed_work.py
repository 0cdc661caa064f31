"""Random changes of customers in tests of the feed, and what an export says between them."""

from __future__ import annotations

import threading
from random import Random
from typing import Any

import grpc

from namesake import v1
from tests.replica import Replica, plain
from tests.server.client import Client, person

DOMAINS = ("mail.example", "null.example", "nodata.example")  # of `tests.dns_servers.ZONES`


class Work:
    """Saves, imports, merges, unmerges and deletes at random; the same seed does the same.

    `survivors` says into whom ids are merged; `deleted` are the ids whose cards are gone, those
    merged into a deleted one too.
    """

    def __init__(self, client: Client, seed: int) -> None:
        self.client = client
        self.deleted: list[str] = []
        self._random = Random(seed)
        self._jobs = self._named = 0
        self._ids: list[str] = []
        self.survivors: dict[str, str] = {}  # merged id → into whom

    def some(self, count: int) -> None:
        """Do so many things."""
        for _ in range(count):
            what = self._random.choices(
                (
                    self._save,
                    self._update,
                    self._replace,
                    self._import,
                    self._delete,
                    self._merge,
                    self._unmerge,
                ),
                (4, 6, 3, 1, 1, 2, 1),
            )[0]
            what()

    def _save(self) -> None:
        card = self._card()
        if self._random.random() < 0.5:
            self._named += 1
            card.id = f"c{self._named}"
        self._ids.append(self.client.save(card).customer.id)

    def _update(self) -> None:
        if not self._ids:
            return
        change = self._card()
        change.id = self._random.choice(self._ids)
        given = [field.name for field, _ in change.ListFields() if field.name != "id"]
        paths = self._random.sample(given, self._random.randint(1, len(given)))
        # Some are cleared: they are in the mask and not in the card.
        cleared = self._random.sample(("stage", "tags", "custom_fields", "phones"), 1)
        for name in cleared:
            if name not in paths:
                change.ClearField(_any(name))
        self.client.update(change, *{*paths, *cleared})

    def _replace(self) -> None:
        if self._ids:
            card = self._card()
            card.id = self._random.choice(self._ids)
            self.client.save(card)

    def _import(self) -> None:
        self._jobs += 1
        # Nobody asked for this domain yet: what the DNS says of it comes later, as a verdict.
        awaited = f"j{self._jobs}.mail.example"
        new = [self._card(awaited) for _ in range(self._random.randint(1, 12))]
        known = [self._card() for _ in range(self._random.randint(0, 4))]
        for card in known:
            card.id = self._random.choice([*self._ids, "new"])
        how = self._random.choice((v1.ON_MATCH_UPDATE, v1.ON_MATCH_FILL))
        order = [v1.MATCH_BY_CUSTOMER_ID]
        settings: dict[str, Any] = {"match_order": order, "on_match": how, "tags": ["import"]}
        self.client.import_all(f"job{self._jobs}", new, known, **settings)
        self._ids = sorted(one.id for answer in self.client.export() for one in answer.customers)

    def _delete(self) -> None:
        if len(self._ids) > 5:
            id = self._ids.pop(self._random.randrange(len(self._ids)))
            self.client.delete(id)
            self.deleted += self._tree(id)
            for member in self._tree(id)[1:]:
                del self.survivors[member]

    def _tree(self, id: str) -> list[str]:
        members = [one for one, survivor in self.survivors.items() if survivor == id]
        return [id, *(one for member in members for one in self._tree(member))]

    def _merge(self) -> None:
        if len(self._ids) > 5:
            survivor, *members = self._random.sample(self._ids, self._random.choice((2, 2, 3)))
            fields = self._random.sample(("stage", "emails", "tags"), 1)
            choices = [(name, members[0]) for name in fields if self._random.random() < 0.3]
            self.client.merge(survivor, *members, choices=choices)
            for member in members:
                self.survivors[member] = survivor
                self._ids.remove(member)

    def _unmerge(self) -> None:
        """Give back whom a customer is, or some of them; edits go to any side."""
        if not self.survivors:
            return
        one = self._random.choice([*self.survivors])
        same = [id for id in self.survivors if self._top(id) == self._top(one)]
        ids = self._random.sample(same, self._random.randint(1, min(2, len(same))))
        action = self._random.choice(
            (v1.UNMERGE_ACTION_KEEP, v1.UNMERGE_ACTION_GIVE, v1.UNMERGE_ACTION_RESTORE)
        )
        self.client.unmerge(*ids, choices=[v1.UnmergeChoice(action=action)])
        for id in ids:
            del self.survivors[id]
            self._ids.append(id)

    def _top(self, id: str) -> str:
        while id in self.survivors:
            id = self.survivors[id]
        return id

    def _card(self, domain: str = "") -> v1.Customer:
        pick = self._random
        number = pick.randrange(1_000)
        card = person(
            f"p{number}@{domain or pick.choice(DOMAINS)}", last_name=pick.choice("ABCDEF")
        )
        if pick.random() < 0.6:
            card.phones.add(value=f"+44 7400 {number:06}")
        if pick.random() < 0.5:
            card.stage = pick.choice(("new", "won", "lost"))
        if pick.random() < 0.5:
            card.tags.extend(pick.sample("abcdef", 2))
        if pick.random() < 0.3:
            card.custom_fields["n"].integer = number
            card.custom_fields[f"x{number % 3}"].text = "x"
        if pick.random() < 0.3:
            card.birth_date.year = 1900 + number % 100
        if pick.random() < 0.3:
            card.contacts.add(last_name="Boss").emails.add(value=f"b{number}@mail.example")
        if pick.random() < 0.3:
            card.identities.add(type="crm", value=str(number))
        return card


def _any(name: str) -> Any:
    return name


def snapshot(client: Client) -> tuple[int, dict[str, v1.Customer]]:
    """Return an export's sequence and its customers, as a replica has them."""
    answers = client.export()
    customers = [customer for answer in answers for customer in answer.customers]
    (sequence,) = {answer.sequence for answer in answers}
    return sequence, {customer.id: plain(customer) for customer in customers}


class Watcher:
    """Follows the feed in a thread of its own; `seen` are the changes so far."""

    def __init__(self, client: Client, **terms: Any) -> None:
        self.seen: list[v1.WatchedChange] = []
        self._stream = client.watch(**terms)
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self) -> None:
        try:
            for answer in self._stream:
                self.seen.extend(answer.changes)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.CANCELLED:
                raise

    def has(self, sequence: int) -> bool:
        """Tell whether it is so far."""
        return bool(self.seen) and self.seen[-1].change.sequence >= sequence

    def close(self) -> None:
        """Leave."""
        self._stream.cancel()
        self._thread.join(10)


def agree(
    replica: Replica, customers: dict[str, v1.Customer], gone: set[str], redirects: dict[str, str]
) -> None:
    """Hold a replica against an export with its redirects.

    Only of those deleted later it may know no card, and of whom they were part of then, not all.
    """
    assert replica.redirects == redirects
    assert replica.customers.keys() == customers.keys()
    parts = {_survivor(redirects, id) for id in gone if id in redirects}
    for id, card in replica.customers.items():
        if card is None:
            assert id in gone
        elif id not in parts:
            assert card == customers[id]


def _survivor(redirects: dict[str, str], id: str) -> str:
    while id in redirects:
        id = redirects[id]
    return id
