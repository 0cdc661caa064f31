"""A change made to many does to each what UpdateCustomer would do to it alone."""

from __future__ import annotations

from itertools import count
from typing import Any

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from namesake import v1
from tests.server.bulk_work import BulkWork, by_ids, outcome
from tests.server.client import Client, person, refusal_of, substance

CUSTOMERS = 4
EXAMPLES = 40
LISTS = ("tags", "sources", "campaigns", "groups")

_examples = count(1)

words = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=3)
custom_values = st.one_of(
    st.builds(lambda text: v1.CustomValue(text=text), st.sampled_from(["", "yes", "ё"])),
    st.builds(lambda number: v1.CustomValue(integer=number), st.integers(-2, 2)),
    st.builds(lambda flag: v1.CustomValue(flag=flag), st.booleans()),
)
customs = st.dictionaries(st.sampled_from(["p", "q", "r"]), custom_values, max_size=3)
values = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from([0, 1, 2]),
        "state": st.sampled_from([0, 1, 2]),
        "title": st.sampled_from(["", "Dr"]),
        "first_name": st.sampled_from(["", "Ada", "Анна"]),
        "last_name": st.sampled_from(["", " ", "King", "Zimmermann"]),
        "gender": st.sampled_from([0, 1, 2, 3]),
        "birth_date": st.builds(v1.Date, year=st.just(1990), month=st.integers(0, 3)),
        "company_name": st.sampled_from(["", "F"]),
        "comment": st.sampled_from(["", "x"]),
        "stage": st.sampled_from(["", "new", "won"]),
        "owner": st.sampled_from(["", "kim"]),
        "user_account": st.sampled_from(["", "u"]),
        "preferences": st.builds(v1.Preferences, do_not_call=st.booleans()),
    },
)


@st.composite
def cards(draw: Any) -> v1.Customer:
    """Draw a card that may be saved."""
    fields = draw(values) | {name: draw(words) for name in LISTS}
    fields["last_name"], fields["company_name"] = "Lovelace", "Works"
    points = draw(st.lists(st.sampled_from(["a@x.example", "b@@x", "+442079460018"]), max_size=2))
    contact = v1.Contact(last_name="C", emails=[v1.EmailAddress(value="c@x.example")])
    contacts = [contact] if draw(st.booleans()) else []
    return person(*points, **fields, contacts=contacts, custom_fields=draw(customs))


@st.composite
def changes(draw: Any) -> v1.CustomerChange:
    """Draw a change that is one."""
    given = draw(values)
    custom = draw(customs)
    cleared = draw(
        st.sets(st.sampled_from([*_PLAIN, *LISTS, *(f"custom_fields.{name}" for name in "pqr")]))
    )
    cleared -= {*given, *(f"custom_fields.{name}" for name in custom)}
    change = v1.CustomerChange(
        set=FieldMask(paths=[*given, *(["custom_fields"] if custom else [])]),
        values=v1.Customer(**given, custom_fields=custom),
        clear=FieldMask(paths=sorted(cleared)),
    )
    for name in LISTS:
        added, removed = draw(words), draw(words)
        getattr(change, f"add_{name}").extend(added)
        getattr(change, f"remove_{name}").extend(one for one in removed if one not in added)
    if change == v1.CustomerChange(set={}, values={}, clear={}):  # type: ignore[arg-type]
        change.add_tags.append("a")
    return change


_PLAIN = ("kind", "state", "title", "last_name", "birth_date", "company_name", "stage", "owner")


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


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(cards(), min_size=CUSTOMERS, max_size=CUSTOMERS), changes())
def test_many_at_once_are_as_one_by_one(
    client: Client, people: list[v1.Customer], change: v1.CustomerChange
) -> None:
    """The same cards, the same history, the same refusals with the same reasons and fields."""
    bulk = BulkWork(client)
    example = next(_examples)
    pairs = [(f"{example}-{place}-one", f"{example}-{place}-many") for place in range(CUSTOMERS)]
    for card, pair in zip(people, pairs, strict=True):
        for card.id in pair:
            client.save(card)
    alone = [update_alone(client, one, change) for one, _ in pairs]
    name = bulk.update(by_ids(*(many for _, many in pairs)), change)
    bulk.done(name)
    assert [outcome(result) for result in bulk.results(name)] == alone
    for one, many in pairs:
        assert substance(client.get(many)) == substance(client.get(one))
        assert newest(client, many) == newest(client, one)
        assert len(client.history(many)) == len(client.history(one))


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
