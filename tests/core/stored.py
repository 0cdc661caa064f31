"""Stored customers for tests: any message, in any of the encodings that a record may have."""

from __future__ import annotations

from random import Random
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st

from namesake import v1

WORDS = ("a", "b", "vip", "нове", "c" * 200)
plain = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=10)
words = st.lists(st.sampled_from(WORDS), max_size=4, unique=True)
times = st.builds(
    Timestamp,
    seconds=st.integers(-62_135_596_800, 253_402_300_799) | st.integers(0, 3),
    nanos=st.sampled_from([0, 1_000, 120_000_000, 999_999_000, 5]),
)
dates = st.builds(
    v1.Date, year=st.integers(0, 9_999), month=st.integers(0, 12), day=st.integers(0, 31)
)


def _optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def _points(kind: type[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        kind,
        value=plain,
        normal=plain,
        kind=st.integers(0, 6),
        primary=st.booleans(),
        finding=_optional(
            st.builds(v1.Finding, verdict=st.integers(0, 4), check_time=_optional(times))
        ),
    )


values = st.one_of(
    st.builds(v1.CustomValue, text=plain),
    st.builds(v1.CustomValue, integer=st.integers(-(2**63), 2**63 - 1)),
    st.builds(v1.CustomValue, number=st.floats(allow_nan=False)),
    st.builds(v1.CustomValue, flag=st.booleans()),
    st.builds(v1.CustomValue, date=dates),
    st.builds(v1.CustomValue, time=times),
    st.builds(v1.CustomValue, texts=st.builds(v1.TextList, values=st.lists(plain, max_size=3))),
    st.builds(v1.CustomValue),
)
customers = st.builds(
    v1.Customer,
    id=plain,
    etag=plain,
    kind=st.integers(0, 2),
    state=st.integers(0, 2),
    create_time=_optional(times),
    update_time=_optional(times),
    title=plain,
    first_name=plain,
    middle_name=plain,
    last_name=plain,
    gender=st.integers(0, 3),
    birth_date=_optional(dates),
    company_name=plain,
    comment=plain,
    stage=plain,
    owner=plain,
    user_account=plain,
    emails=st.lists(_points(v1.EmailAddress), max_size=3),
    phones=st.lists(_points(v1.PhoneNumber), max_size=3),
    addresses=st.lists(
        st.builds(
            v1.PostalAddress,
            kind=st.integers(0, 6),
            primary=st.booleans(),
            lines=st.lists(plain, max_size=3),
            city=plain,
            postcode=plain,
            administrative_area=plain,
            country=st.sampled_from(["", "GB"]),
        ),
        max_size=3,
    ),
    contacts=st.lists(
        st.builds(v1.Contact, last_name=plain, emails=st.lists(_points(v1.EmailAddress))),
        max_size=2,
    ),
    identities=st.lists(
        st.builds(v1.Identity, type=st.sampled_from(["loyalty", "erp", "a.b"]), value=plain),
        max_size=4,
    ),
    preferences=_optional(
        st.builds(v1.Preferences, do_not_email=st.booleans(), do_not_call=st.booleans())
    ),
    tags=words,
    sources=words,
    campaigns=words,
    groups=words,
    custom_fields=st.dictionaries(st.sampled_from(["x", "y", "since", "of"]), values, max_size=3),
)


def shuffled(customer: v1.Customer, seed: int) -> bytes:
    """Encode a customer field by field in any order, what is repeated in its own."""
    rng = Random(seed)
    parts = []
    for descriptor, value in customer.ListFields():
        one = v1.Customer()
        if descriptor.is_repeated or descriptor.message_type is not None:
            getattr(one, descriptor.name).MergeFrom(value)
        else:
            setattr(one, descriptor.name, value)
        parts.append(one.SerializeToString())
    rng.shuffle(parts)
    return b"".join(parts)


def _merging(one: v1.Customer, other: v1.Customer, seed: int) -> bytes:
    """Encode two customers as one; no record has a custom field twice."""
    other.ClearField("custom_fields")
    return shuffled(one, seed) + shuffled(other, seed)


# Records as the index has them, and such as merge whatever was written before.
records = st.one_of(
    customers.map(v1.Customer.SerializeToString),
    st.builds(shuffled, customers, st.integers(0, 2**32)),
    st.builds(_merging, customers, customers, st.integers(0, 2**32)),
)


def mutated(record: bytes, rng: Random) -> bytes:
    """Return a record cut off, or with some bytes changed."""
    changed = bytearray(record)
    if rng.random() < 0.3:
        return bytes(changed[: rng.randint(0, len(changed))])
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(changed))
        changed[at : at + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
    return bytes(changed)
