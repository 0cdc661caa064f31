"""A change made to many does to each what UpdateCustomer would do to it alone."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from namesake import v1
from tests.server.bulk_work import BulkWork, by_ids, outcome
from tests.server.client import Client, person, refusal_of, substance

CUSTOMERS = 4  # of one change
CHANGES = 40  # of one seed
LISTS = ("tags", "sources", "campaigns", "groups")
WORDS = ("a", "b", "c", "d")
CUSTOMS = ("p", "q", "r")
# What a field may be set to. Few values, so that some customers are as asked for already.
VALUES: dict[str, list[Any]] = {
    "kind": [0, 1, 2],
    "state": [0, 1, 2],
    "title": ["", "Dr"],
    "first_name": ["", "Ada", "Анна"],
    "last_name": ["", " ", "King", "Zimmermann", "Lovelace"],
    "gender": [0, 1, 2],
    "birth_date": [v1.Date(year=1990), v1.Date(year=1990, month=3)],
    "company_name": ["", "F", "Works"],
    "comment": ["", "x"],
    "stage": ["", "new", "won"],
    "owner": ["", "kim"],
    "user_account": ["", "u"],
    "preferences": [v1.Preferences(), v1.Preferences(do_not_call=True)],
}
CUSTOM_VALUES = [
    v1.CustomValue(text=""),
    v1.CustomValue(text="ё"),
    v1.CustomValue(integer=0),
    v1.CustomValue(flag=True),
    v1.CustomValue(texts=v1.TextList(values=["x", "x"])),
]


def fields_of(random: Random, most: int) -> dict[str, Any]:
    """Return some fields with values."""
    names = random.sample([*VALUES], random.randint(0, most))
    return {name: random.choice(VALUES[name]) for name in names}


def customs_of(random: Random) -> dict[str, v1.CustomValue]:
    """Return some custom fields."""
    names = random.sample(CUSTOMS, random.randint(0, 2))
    return {name: random.choice(CUSTOM_VALUES) for name in names}


def card(random: Random) -> v1.Customer:
    """Return a card that may be saved."""
    given = fields_of(random, len(VALUES))
    given |= {name: random.choices(WORDS, k=random.randint(0, 3)) for name in LISTS}
    given |= {"last_name": "Lovelace", "company_name": "Works"}
    points = random.sample(["a@x.example", "b@@x", "+442079460018"], random.randint(0, 2))
    contact = v1.Contact(last_name="C", emails=[v1.EmailAddress(value="c@x.example")])
    contacts = [contact] if random.random() < 0.3 else []
    return person(*points, **given, contacts=contacts, custom_fields=customs_of(random))


def change_of(random: Random) -> v1.CustomerChange:
    """Return a change that is one."""
    given, custom = fields_of(random, 3), customs_of(random)
    clearable = [*VALUES, *LISTS, "custom_fields", *(f"custom_fields.{name}" for name in CUSTOMS)]
    also_set = {*given, *(f"custom_fields.{name}" for name in custom)}
    also_set |= {"custom_fields"} if custom else set()
    cleared = set(random.sample(clearable, random.randint(0, 3))) - also_set
    change = v1.CustomerChange(
        set=FieldMask(paths=[*given, *(["custom_fields"] if custom else [])]),
        values=v1.Customer(**given, custom_fields=custom),
        clear=FieldMask(paths=sorted(cleared)),
    )
    for name in random.sample(LISTS, random.randint(0, 2)):
        added = random.choices(WORDS, k=random.randint(0, 2))
        removed = random.choices(WORDS, k=random.randint(0, 2))
        getattr(change, f"add_{name}").extend(added)
        getattr(change, f"remove_{name}").extend(one for one in removed if one not in added)
    if not (change.set.paths or change.clear.paths):
        change.add_tags.extend(word for word in "a" if word not in change.remove_tags)
        change.add_groups.extend(word for word in "b" if word not in change.remove_groups)
    return change


def changed(card: v1.Customer, change: v1.CustomerChange) -> tuple[v1.Customer, list[str]]:
    """Return a card as the change asks for, and which fields it touches: the slow, obvious way."""
    after = v1.Customer()
    after.CopyFrom(card)
    touched = set()
    for path in change.clear.paths:
        name, _, custom = path.partition(".")
        touched.add(name)
        if custom:
            after.custom_fields.pop(custom, None)
        else:
            after.ClearField(name)  # type: ignore[arg-type]
    for name in change.set.paths:
        touched.add(name)
        if name == "custom_fields":
            for custom, value in change.values.custom_fields.items():
                after.custom_fields[custom].CopyFrom(value)
            continue
        after.ClearField(name)  # type: ignore[arg-type]
        after.MergeFrom(only(change.values, name))
    for name in LISTS:
        held = [*getattr(after, name)]
        for word in getattr(change, f"remove_{name}"):
            held = [one for one in held if one != word]
        held += getattr(change, f"add_{name}")
        if held != [*getattr(after, name)]:
            touched.add(name)
        getattr(after, name)[:] = held
    return after, sorted(touched) or ["tags"]


def only(customer: v1.Customer, name: str) -> v1.Customer:
    """Return a customer with one of its fields alone."""
    return v1.Customer(**{field.name: value for field, value in customer.ListFields()
                          if field.name == name})  # fmt: skip


def update_alone(client: Client, id: str, change: v1.CustomerChange) -> str:
    """Make the change by UpdateCustomer; return what became of it as a bulk result says it."""
    card, mask = changed(client.get(id), change)
    card.etag = ""
    try:
        answer = client.update(card, *mask)
    except grpc.RpcError as error:
        refused = refusal_of(error)
        return f"{refused.reason} {refused.field}"
    unchanged = answer.outcome == v1.SAVE_OUTCOME_UNCHANGED
    return "UNCHANGED" if unchanged else "CHANGED"


def newest(client: Client, id: str) -> v1.Change:
    """Return what the history says of a customer's last change, but for its place and time."""
    change = client.history(id)[0]
    change.ClearField("sequence")
    change.ClearField("time")
    change.ClearField("customer_id")
    for side in (change.before, change.after):
        side.CopyFrom(substance(side))
    return change


@pytest.mark.parametrize("seed", range(2))
def test_many_at_once_are_as_one_by_one(client: Client, seed: int) -> None:
    """The same cards, the same history, the same refusals with the same reasons and fields."""
    random = Random(seed)
    bulk = BulkWork(client)
    seen = Counter[str]()
    for number in range(CHANGES):
        change = change_of(random)
        pairs = [(f"{number}-{place}-one", f"{number}-{place}-many") for place in range(CUSTOMERS)]
        for pair in pairs:
            given = card(random)
            for given.id in pair:
                client.save(given)
        alone = [update_alone(client, one, change) for one, _ in pairs]
        name = bulk.update(by_ids(*(many for _, many in pairs)), change)
        bulk.done(name)
        assert [outcome(result) for result in bulk.results(name)] == alone
        for one, many in pairs:
            assert substance(client.get(many)) == substance(client.get(one))
            assert newest(client, many) == newest(client, one)
            assert len(client.history(many)) == len(client.history(one))
        seen.update(alone)
    assert {"CHANGED", "UNCHANGED", "INVALID_ARGUMENT customer.last_name"} <= seen.keys()
    assert client.faults() == []


def test_the_index_is_whole_after_all_that(client: Client) -> None:
    """Names, kinds and birth dates that were changed are found under their new keys alone."""
    bulk = BulkWork(client)
    ids = [client.save(person("a@x.example", last_name=f"N{n}")).customer.id for n in range(5)]
    change = v1.CustomerChange(
        set=FieldMask(paths=["last_name", "birth_date", "kind", "company_name"]),
        values=v1.Customer(
            last_name="Z",
            birth_date=v1.Date(year=1990),
            kind=v1.CUSTOMER_KIND_COMPANY,
            company_name="W",
        ),
    )
    assert bulk.done(bulk.update(by_ids(*ids), change)) == (5, 5, 0, 0)
    assert client.faults() == []
