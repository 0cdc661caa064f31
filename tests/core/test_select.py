"""Filters and choices of fields over encoded records; the oracle is the message of protobuf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from random import Random
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.people import people, to_customer
from namesake import v1
from service.core._select import TAGS, Fields, Filter
from tests.core.oracle_select import NUMBERS, Wanted, shown, unframed
from tests.core.stored import WORDS, mutated, records

many = settings(max_examples=60, deadline=None)


# The table of tags.

_WIRE_TYPES = {
    FieldDescriptor.TYPE_STRING: 2,
    FieldDescriptor.TYPE_MESSAGE: 2,
    FieldDescriptor.TYPE_DOUBLE: 1,
}


def _descriptor(name: str) -> Descriptor:
    if name == "CustomFieldsEntry":
        return v1.Customer.DESCRIPTOR.nested_types_by_name[name]
    found: Descriptor = v1.Customer().create_time.DESCRIPTOR
    return found if name == "Timestamp" else getattr(v1, name).DESCRIPTOR


@pytest.mark.parametrize("message", TAGS)
def test_tags_are_those_of_the_descriptors(message: str) -> None:
    """Number, wire type and name of every field that is read."""
    fields = _descriptor(message).fields_by_name
    for tag, name in TAGS[message].items():
        assert tag >> 3 == fields[name].number
        assert tag & 7 == _WIRE_TYPES.get(fields[name].type, 0)


# Filters.


some_words = st.lists(st.sampled_from([*WORDS, "ab", "нов", "x"]), max_size=3).map(tuple)
verdicts = st.lists(st.integers(0, 4), max_size=3).map(tuple)
wanted = st.builds(
    Wanted,
    tags=some_words,
    sources=st.just(()) | some_words,
    campaigns=st.just(()) | some_words,
    groups=st.just(()) | some_words,
    updated_since_us=st.none() | st.integers(-5, 4_000_000),
    kind=st.sampled_from([0, 0, 1, 2]),
    state=st.sampled_from([0, 0, 1, 2]),
    email_verdicts=st.just(()) | verdicts,
    phone_verdicts=st.just(()) | verdicts,
)


@many
@given(st.lists(records, max_size=25), wanted)
def test_a_filter_means_whom_the_messages_say(drawn: list[bytes], one: Wanted) -> None:
    """In batches of any size, whatever the order of the fields."""
    meant = [one.means(v1.Customer.FromString(record)) for record in drawn]
    assert one.filter().matches(drawn) == meant


@many
@given(st.lists(records, min_size=1, max_size=10), wanted, st.integers(0, 8))
def test_each_condition_alone(drawn: list[bytes], one: Wanted, place: int) -> None:
    """Where many conditions hold at once nearly nobody is meant."""
    name = list(asdict(one))[place]
    single = Wanted(**{name: asdict(one)[name]})
    meant = [single.means(v1.Customer.FromString(record)) for record in drawn]
    assert single.filter().matches(drawn) == meant


def test_a_filter_of_nothing_means_all() -> None:
    """Also of nobody, and of a record with nothing in it."""
    assert Filter().matches([]) == []
    assert Filter().matches([b""] * 30) == [True] * 30


def test_a_time_is_met_to_the_microsecond() -> None:
    """At the time itself or later, before and after the epoch."""
    for time_us in (-1_500_000, -1, 0, 1, 999_999, 1_000_000, 1_700_000_000_123_456):
        customer = v1.Customer()
        customer.update_time.FromMicroseconds(time_us)
        record = customer.SerializeToString()
        for since_us, is_meant in ((time_us - 1, True), (time_us, True), (time_us + 1, False)):
            assert Filter(updated_since_us=since_us).matches([record]) == [is_meant]


@pytest.mark.parametrize("bad", [{"email_verdicts": [32]}, {"phone_verdicts": [-1]}])
def test_what_is_no_verdict_is_refused(bad: dict[str, Any]) -> None:
    """It has no place in a set of bits."""
    with pytest.raises(ValueError, match="verdict"):
        Filter(**bad)


# Fields.


def _framed(drawn: Sequence[bytes], numbers: Sequence[int]) -> list[v1.Customer]:
    return unframed(Fields(numbers).framed(drawn, 1))


@many
@given(st.lists(records, max_size=5), st.lists(st.sampled_from(sorted(NUMBERS)), max_size=6))
def test_chosen_fields_are_shown_alone(drawn: list[bytes], numbers: list[int]) -> None:
    """And all fields where none is chosen."""
    assert _framed(drawn, numbers) == [shown(record, numbers) for record in drawn]


def test_many_customers_are_framed_in_order() -> None:
    """Sizes of one, two and three bytes."""
    drawn = [to_customer(person).SerializeToString() for person in people(500, seed=4)]
    drawn.append(v1.Customer(last_name="x", comment="é" * 10_000).SerializeToString())
    assert _framed(drawn, [14]) == [shown(record, [14]) for record in drawn]
    assert _framed(drawn, []) == [shown(record, []) for record in drawn]


@pytest.mark.parametrize("number", [0, -1, 64, 10**9])
def test_a_field_that_cannot_be_is_refused(number: int) -> None:
    """Numbers are places of a table."""
    with pytest.raises(ValueError, match="field"):
        Fields([number])


# Records that are none.

BROKEN = [b"\x0a", b"\x0a\x05abcd", b"\x80", b"\x00", b"\x0b", b"\x09\x01", b"\x18" + b"\xff" * 10]


@pytest.mark.parametrize("record", BROKEN)
@pytest.mark.parametrize("around", [0, 40])
def test_a_broken_record_is_said(record: bytes, around: int) -> None:
    """With the GIL and without it."""
    drawn = [b""] * around + [record]
    with pytest.raises(ValueError, match="no customer message"):
        Filter(tags=["x"]).matches(drawn)
    with pytest.raises(ValueError, match="no customer message"):
        Fields([1]).framed(drawn, 1)


@pytest.mark.parametrize("record", [None, "text", 5, bytearray(b"")])
def test_what_is_not_bytes_is_refused(record: Any) -> None:
    """Before anything is read."""
    with pytest.raises(TypeError):
        Filter().matches([record])
    with pytest.raises(TypeError):
        Fields().framed([record], 1)


def test_broken_bytes_never_lead_outside() -> None:
    """Read to their end, or refused; where protobuf can read them, it says the same."""
    rng = Random(7)
    whole = [to_customer(person).SerializeToString() for person in people(200, seed=9)]
    one = Wanted(tags=("vip",), email_verdicts=(1,), phone_verdicts=(2,), updated_since_us=1)
    compared = 0
    for _ in range(8_000):
        record = mutated(rng.choice(whole), rng)
        try:
            matched, framed = one.filter().matches([record]), _framed([record], [1, 18])
            customer = v1.Customer.FromString(record)
        except Exception:  # noqa: BLE001  # of either: DecodeError is no kind of ValueError
            continue
        compared += 1
        assert matched == [one.means(customer)]
        assert framed == [shown(record, [1, 18])]
    assert compared > 300
