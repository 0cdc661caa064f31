"""The walker of encoded rows does what the Python path does, or leaves the row to it.

The oracle is `wire.card` and `Records.seal`: whatever row the walker takes, both accept it and
give the same card, body and index entries; any other row comes back as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, cast

import numpy as np
import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from demo.people import people, to_customer
from namesake import v1
from service.core._text import Column
from service.core._wire import (
    FIELDS,
    SHAPES,
    Batch,
    Draft,
    Extra,
    Limits,
    Prepared,
    batch_of,
    outline,
    walk,
)
from service.core.model import (
    Card,
    Channel,
    Checked,
    Finding,
    Flag,
    Held,
    PhoneType,
    Point,
    Reason,
    Sealed,
    Verdict,
)
from service.core.prepare import match_key
from service.errors import NamesakeError
from service.server import wire
from service.settings import Settings

SETTINGS = Settings()
PEOPLE = 3_000
TAKEN_SHARE = 0.95  # of the demo's good rows

many = settings(max_examples=400, deadline=None)


@dataclass(frozen=True, slots=True)
class Words:
    """What an import adds to every row."""

    tags: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    campaigns: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def extra(self) -> Extra:
        """Return it as the walker takes it."""
        return Extra(
            tags=self.tags, sources=self.sources, campaigns=self.campaigns, groups=self.groups
        )

    def add_to(self, customer: v1.Customer) -> None:
        """Do what the import does to a message."""
        customer.tags.extend(self.tags)
        customer.sources.extend(self.sources)
        customer.campaigns.extend(self.campaigns)
        customer.groups.extend(self.groups)


NO_WORDS = Words()
SOME_WORDS = Words(("vip", "нове"), ("import",), ("spring",), ("vip", "vip", "a"))


def limits(bounds: Settings = SETTINGS) -> Limits:
    """Return the walker's bounds of settings."""
    return Limits(
        customer_limit=bounds.customer_limit,
        text_limit_chars=bounds.text_limit_chars,
        points_limit=bounds.points_limit,
        list_limit=bounds.list_limit,
        exclusive_identity_types=bounds.exclusive_identity_types,
    )


def varint(value: int, *, redundant: int = 0) -> bytes:
    """Encode a number, with bytes that say nothing at its end."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    if not redundant:
        return bytes([*encoded, value])
    return bytes([*encoded, value | 0x80, *[0x80] * (redundant - 1), 0])


def framed(rows: Iterable[bytes], number: int = 1) -> bytes:
    """Return a batch of rows, whatever is in them."""
    parts = (part for row in rows for part in (b"\x12", varint(len(row)), row))
    return b"".join((b"\x08", varint(number), *parts))


def by_hand(row: bytes, words: Words, bounds: Settings) -> Card | None:
    """Return the card of the Python path, None if it refuses the row."""
    try:
        customer = v1.Customer.FromString(row)
        words.add_to(customer)
        return wire.card(customer, bounds)
    except (DecodeError, NamesakeError):
        return None


def encode(finding: Finding) -> bytes:
    """Encode a finding as the codec does."""
    return wire._Findings().encode(finding)


FINDINGS = (
    Finding(Verdict.VALID, Reason.ACCEPTED, 1_700_000_000_000_000, 1_800_000_000_000_000),
    Finding(Verdict.UNKNOWN, Reason.PENDING, 1_700_000_000_000_000),
    Finding(Verdict.UNKNOWN, Reason.MAIL_SERVER_UNKNOWN, 1_700_000_000_000_000),
    Finding(Verdict.INVALID, Reason.PHONE_FORMAT, 1, detail="too short"),
    Finding(
        Verdict.RISKY,
        Reason.DISPOSABLE,
        1_700_000_000_000_000,
        flags=(Flag.ROLE_ACCOUNT, Flag.FREE_PROVIDER),
        suggested_domain="пошта.укр",
        mx_hosts=("mx1.example.com", "mx2.example.com"),
        source="list 1.2" * 20,
    ),
)


def check(points: Sequence[Point], seed: int) -> list[Checked]:
    """Return results as a validator might give them: few normal forms, so that some are equal."""
    rng = Random(seed)
    return [_result(point, rng) for point in points]


def _result(point: Point, rng: Random) -> Checked:
    finding = rng.choice(FINDINGS)
    if point.channel is Channel.EMAIL:
        normal = rng.choice(("", "a@example.com", "жук@пошта.укр", point.value.lower()))
        return Checked(point.channel, normal, finding)
    return Checked(
        point.channel,
        rng.choice(("", "+442079460018", "+380441234567", f"+{rng.randrange(10**12)}")),
        finding,
        rng.choice(("", "GB", "001")),
        rng.choice((None, PhoneType.MOBILE, PhoneType.VOICEMAIL)),
        rng.choice(("", "", "12")),
    )


def hold_alike(
    row: bytes, words: Words = NO_WORDS, bounds: Settings = SETTINGS, seed: int = 0
) -> bool:
    """Walk and seal a row both ways; return whether the walker took it."""
    (walked,) = walk(framed([row]), limits(bounds), words.extra())
    if isinstance(walked, bytes):
        assert walked == row
        return False
    expected = by_hand(row, words, bounds)
    assert expected is not None
    assert type(walked) is Card
    assert walked[1:] == expected[1:]
    assert [type(point) for point in walked.points] == [Point] * len(walked.points)
    checked = check(walked.points, seed)
    assert isinstance(walked.draft, Draft)
    sealed = walked.draft.seal(checked, encode)
    assert [sealed] == _unpacked(wire.Records(bounds).seal([expected], checked))
    assert type(sealed) is Sealed
    hold_together(row, words.extra(), bounds, walked, checked, sealed)
    return True


class _Found:
    """Results as the columns that parsers give, of one channel."""

    def __init__(self, checked: list[Checked], findings: list[Finding]) -> None:
        self.normal, self._keys, self.extensions = Column(), Column(), Column()
        self.keys: Any = self._keys  # of e-mails; those of phones are asked for
        self.places = np.array([findings.index(one.finding) for one in checked], np.int32)
        for one in checked:
            self.normal.add(one.normal)
            self._keys.add(match_key(one.channel, one.normal))
            self.extensions.add(one.extension)
        self._checked = checked

    def of_phones(self) -> _Found:
        self.keys = lambda: self._keys
        return self

    def normals(self) -> Column:
        return self.normal

    def types(self) -> bytes:
        return bytes(one.phone_type or 0 for one in self._checked)

    def regions(self) -> bytes:
        return np.array([REGIONS.index(one.region) for one in self._checked], np.uint16).tobytes()


REGIONS = ("", "GB", "001")


def hold_together(
    row: bytes, extra: Extra, bounds: Settings, walked: Card, checked: list[Checked], sealed: Sealed
) -> None:
    """Read and write a row that was taken as a part of a batch: thrice, with one that is not."""
    batch = Batch(framed([row, b"\x0a", row, row]), limits(bounds), extra)
    assert (batch.count, batch.ordinary, batch.others) == (4, 3, [(1, b"\x0a")])
    assert batch.places() == [0, 2, 3]
    assert [batch.card(place)[1:3] for place in range(3)] == [walked[1:3]] * 3
    by_channel = {
        channel: [one for one in zip(walked.points, checked, strict=True) if one[0][0] is channel]
        for channel in Channel
    }
    for channel, texts in ((Channel.EMAIL, batch.emails), (Channel.PHONE, batch.phones)):
        values = [point.value for point, _ in by_channel[channel]]
        assert [texts[place] for place in range(len(texts))] == values * 3
    regions = [point.region for point, _ in by_channel[Channel.PHONE]] * 3
    if batch.regions is None:
        assert not any(regions)
    else:
        assert [batch.regions[place] for place in range(len(regions))] == regions
    findings = list({id(one.finding): one.finding for one in checked}.values())
    emails = _Found([one for _, one in by_channel[Channel.EMAIL]] * 3, findings)
    phones = _Found([one for _, one in by_channel[Channel.PHONE]] * 3, findings).of_phones()
    awaited = (Reason.PENDING, Reason.MAIL_SERVER_UNKNOWN)
    made = Prepared(
        batch,
        cast(Any, emails),
        cast(Any, phones),
        [encode(finding) for finding in findings],
        emails.places,
        phones.places,
        bytes(finding.reason in awaited for finding in findings),
        tuple(region.encode() for region in REGIONS),
    )
    for place in range(3):
        assert made.body(place) == sealed.body
        assert (made.assumed(place), made.numbered(place)) == (sealed.assumed, sealed.numbered)
        _hold_the_same(made.held(place), sealed.held)


def _hold_the_same(one: Held, other: Held) -> None:
    """Say that two rows hold the same, but for the order and for what they hold twice."""
    assert set(one.normals[: one.own]) == set(other.normals[: other.own])
    assert set(one.normals) == set(other.normals)
    assert one.identities == other.identities
    mails = {normal for channel, normal in other.normals if channel is Channel.EMAIL}
    domains = {normal.rpartition("@")[2] for normal in mails}
    assert set(one.pending) == set(other.pending) & domains
    assert (one.mobiles, one.is_company) == (other.mobiles, other.is_company)


# Whole rows.


def test_rows_of_all_countries_are_taken_and_alike() -> None:
    """Nearly all good rows go the short way, and come out the same."""
    good = taken = 0
    for number, person in enumerate(people(PEOPLE, seed=5)):
        row = to_customer(person).SerializeToString()
        is_taken = hold_alike(row, SOME_WORDS, seed=number)
        is_good = by_hand(row, SOME_WORDS, SETTINGS) is not None
        assert is_good or not is_taken
        good += is_good
        taken += is_taken
    assert good > PEOPLE / 2
    assert taken >= TAKEN_SHARE * good


def test_a_batch_gives_its_rows_in_order() -> None:
    """Cards and rows that are left stand where they stood in the batch."""
    customers = [to_customer(person) for person in people(300, seed=6)]
    batch = v1.ImportBatch(number=2**64 - 1, customers=customers).SerializeToString()
    assert outline(batch) == (2**64 - 1, 300)
    rows = walk(batch, limits(), Extra())
    assert [row.id if isinstance(row, Card) else wire.id_of(row) for row in rows] == [
        customer.id for customer in customers
    ]


def _unpacked(sealed: list[Sealed]) -> list[Sealed]:
    """Return what a draft makes alone: features are made of a whole batch."""
    return [one._replace(features=None) for one in sealed]


def test_drafts_outlive_their_batch_and_can_be_sealed_again() -> None:
    """A draft holds what it points into."""
    row = v1.Customer(last_name="Zoë", emails=[v1.EmailAddress(value="zoe@example.com")])
    (card,) = walk(framed([row.SerializeToString()] * 1), limits(), Extra(tags=["new"]))
    assert isinstance(card, Card)
    assert isinstance(card.draft, Draft)
    walk(framed([b"\x52\x01x"] * 1_000), limits(), Extra())
    checked = check(card.points, 1)
    first, second = (card.draft.seal(checked, encode) for _ in range(2))
    assert first == second
    assert v1.Customer.FromString(first.body).last_name == "Zoë"


@pytest.mark.parametrize("count", [0, 2])
def test_one_result_per_point(count: int) -> None:
    """Too few or too many results are the caller's fault, and said so."""
    row = v1.Customer(last_name="x", phones=[v1.PhoneNumber(value="1")]).SerializeToString()
    (card,) = walk(framed([row]), limits(), Extra())
    assert isinstance(card, Card)
    assert isinstance(card.draft, Draft)
    with pytest.raises(ValueError, match="one result for each contact point"):
        card.draft.seal(check(card.points, 1) * count, encode)


def test_drafts_are_made_by_the_walker() -> None:
    """A draft that points nowhere is refused, not read."""
    with pytest.raises(TypeError):
        Draft()
    with pytest.raises(TypeError):
        Draft.__new__(Draft).seal([], encode)


def test_a_wrong_result_does_no_harm() -> None:
    """What is no text or no bytes raises, with nothing written beyond its place."""
    row = v1.Customer(last_name="x", emails=[v1.EmailAddress(value="1")]).SerializeToString()
    (card,) = walk(framed([row]), limits(), Extra())
    assert isinstance(card, Card)
    assert isinstance(card.draft, Draft)
    (good,) = check(card.points, 1)
    bad = (None, 5, "\ud800")
    wrong: list[object] = [None, *(Checked(good.channel, x, good.finding) for x in bad)]  # type: ignore[arg-type]
    for one in wrong:
        with pytest.raises((AttributeError, TypeError, UnicodeEncodeError)):
            card.draft.seal([one], encode)  # type: ignore[list-item]
    for encoded in (None, "text"):
        with pytest.raises(TypeError):
            card.draft.seal([good], lambda _, it=encoded: it)  # type: ignore[misc]


# Rules, by example. Each is merged into a person; protobuf's text format.

ORDINARY = [
    "",
    f'id: "{"x" * 128}"',
    'id: "a b"',
    'etag: "00ff" create_time { seconds: -1 nanos: 5 } update_time {}',
    "kind: CUSTOMER_KIND_PERSON state: CUSTOMER_STATE_ARCHIVED gender: GENDER_OTHER",
    'kind: CUSTOMER_KIND_COMPANY company_name: "ТОВ «Весна»"',
    'last_name: "王"',
    'last_name: " Ж "',
    'last_name: "ああ"',
    'last_name: "გ"',
    'last_name: "😀"',
    f'comment: "{"я" * 5_000}"',
    "birth_date { year: 2000 month: 2 day: 29 }",
    "birth_date { month: 2 day: 29 }",
    "birth_date { year: 1 }",
    "birth_date { year: 9999 month: 12 day: 31 }",
    f'emails {{ value: "{"x" * 1000}" }}',
    'emails { value: "a" kind: CONTACT_KIND_OTHER primary: true verification: 2 }',
    'emails { value: "a" } emails { value: "b" } emails { value: "a" }',
    'phones { value: "1" } phones { value: "1" primary: true } phones { value: "2" kind: 1 }',
    'emails { value: "a" normal: "b" finding { verdict: 1 message: "c" flags: [1, 2, 0] '
    'mx_hosts: "d" mx_hosts: "e" check_time { seconds: 1 } expire_time {} } }',
    'phones { value: "1" normal: "+1" verification: 1 finding {} extension: "2" region: "GB" '
    'type: 2 time_zones: "a" time_zones: "b" national: "c" international: "d" tel_uri: "e" }',
    'phones { value: "1" } addresses { country: "UA" } addresses { country: "GB" }',
    'phones { value: "1" } addresses { city: "x" } addresses { country: "GB" }',
    'addresses {} addresses { kind: 6 primary: true lines: ["1", "2", "3", "4", "5"] city: "c" '
    'postcode: "p" administrative_area: "a" country: "GB" }',
    'identities { type: "a0_.-" value: "1" } identities { type: "a0_.-" value: "2" }',
    f'identities {{ type: "{"a" * 63}" value: "{"1" * 400}" }}',
    "preferences {}",
    "preferences { do_not_email: true do_not_call: true preferred_contact: 7 }",
    "preferences { channels { channel: 8 consent: 2 } channels { channel: 1 } }",
    'contacts { last_name: "x" } contacts { last_name: "x" }',
    'kind: 2 company_name: "c" contacts { title: "t" first_name: "f" middle_name: "m" '
    'last_name: "Ж" position: "p" emails { value: "a" primary: true } emails { value: "b" } '
    'phones { value: "1" kind: 1 } phones { value: "2" } '
    "preferences { do_not_call: true channels { channel: 2 consent: 1 } } }",
    'emails { value: "a" } phones { value: "1" } addresses { country: "GB" } '
    'contacts { last_name: "x" primary: true phones { value: "1" } preferences {} } '
    'contacts { last_name: "y" emails { value: "b" verification: 2 finding {} } }',
    f'contacts {{ last_name: "x" position: "{"x" * 9_000}" emails {{ value: "b" }} }} ',
    "".join(f'contacts {{ last_name: "{n}" phones {{ value: "{n}" }} }} ' for n in range(12)),
    'tags: "vip" tags: "b" sources: "import" campaigns: "c" groups: "a" groups: "d"',
]
UNUSUAL = [
    'last_name: "\\302\\240"',
    'last_name: " \\t"',
    'last_name: "\\343\\200\\200"',
    'kind: CUSTOMER_KIND_COMPANY company_name: " "',
    "kind: 3",
    "state: -1",
    "gender: 4",
    f'id: "{"x" * 129}"',
    'id: " a"',
    'id: "a "',
    'id: "a\\177"',
    'id: "é"',
    'comment: "a\\000b"',
    'emails { value: "12345678\\000" }',
    f'comment: "{"x" * 10_001}"',
    "birth_date {}",
    "birth_date { year: 2001 month: 2 day: 29 }",
    "birth_date { year: 1900 month: 2 day: 29 }",
    "birth_date { year: 2000 day: 1 }",
    "birth_date { day: 1 }",
    "birth_date { month: 4 day: 31 }",
    "birth_date { year: 10000 }",
    "birth_date { month: 13 }",
    "birth_date { year: -1 }",
    "emails {}",
    f'emails {{ value: "{"x" * 1001}" }}',
    'emails { value: "a" kind: 7 }',
    'emails { value: "a" verification: 3 }',
    'emails { value: "a" primary: true } emails { value: "b" primary: true }',
    'phones { value: "a" primary: true } phones { value: "b" primary: true }',
    "phones { kind: 1 }",
    'addresses { country: "gb" }',
    'addresses { country: "G" }',
    'addresses { country: "GBR" }',
    "addresses { kind: 7 }",
    'addresses { lines: ["1", "2", "3", "4", "5", "6"] }',
    'identities { type: "email" value: "1" }',
    'identities { type: "phone" value: "1" }',
    'identities { type: "customer" value: "1" }',
    'identities { type: "Ab" value: "1" }',
    'identities { type: "0" value: "1" }',
    'identities { type: "a" }',
    'identities { value: "a" }',
    f'identities {{ type: "{"a" * 64}" value: "1" }}',
    f'identities {{ type: "a" value: "{"1" * 401}" }}',
    'identities { type: "a" value: "1" } identities { type: "a" value: "1" }',
    "preferences { preferred_contact: 8 }",
    "preferences { channels { consent: 1 } }",
    "preferences { channels { channel: 9 } }",
    "preferences { channels { channel: 1 consent: 3 } }",
    "preferences { channels { channel: 1 consent: 1 } channels { channel: 1 } }",
    'contacts { id: "1" last_name: "x" }',
    "contacts {}",
    'contacts { last_name: " " }',
    'contacts { last_name: "x" primary: true } contacts { last_name: "y" primary: true }',
    'kind: 2 company_name: "c" contacts { last_name: "x" primary: true }',
    'contacts { last_name: "x" emails {} }',
    'contacts { last_name: "x" phones { value: "a" kind: 7 } }',
    'contacts { last_name: "x" phones { value: "a" primary: true } '
    'phones { value: "b" primary: true } }',
    'contacts { last_name: "x" preferences { preferred_contact: 8 } }',
    'custom_fields { key: "a" value { text: "b" } }',
    'tags: ""',
    'tags: "a" tags: "a"',
    'groups: "a" groups: "b" groups: "a"',
]


def customer(text: str) -> v1.Customer:
    """Return a person with what is given in text format."""
    base = v1.Customer(last_name="Doe")
    base.MergeFrom(text_format.Parse(text, v1.Customer()))
    return base


@pytest.mark.parametrize("words", [NO_WORDS, SOME_WORDS])
@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_rows_are_taken(text: str, words: Words) -> None:
    """Up to the edge of each rule."""
    row = customer(text).SerializeToString()
    assert all(hold_alike(row, words, seed=seed) for seed in range(40))


@pytest.mark.parametrize("text", UNUSUAL)
def test_unusual_rows_are_left(text: str) -> None:
    """One step beyond each rule, and what the walker does not know."""
    assert not hold_alike(customer(text).SerializeToString())


DOE = b"\x52\x03Doe"  # last_name

NOT_AS_ENCODED = {
    "unknown field": DOE + b"\xf2\x01\x01x",
    "unknown field of a high number": DOE + varint(2**28 << 3 | 2) + b"\x00",
    "wrong wire type of a text": DOE + b"\x68\x01",
    "wrong wire type of a number": b"\x1a\x01\x01" + DOE,
    "fixed wire type": DOE + b"\x6d\x01\x02\x03\x04",
    "a group": b"\x0b\x0c" + DOE,
    "out of order": DOE + b"\x18\x01",
    "a field twice": DOE + DOE,
    "repeated, not adjacent": DOE + b"\xc2\x01\x01a\xca\x01\x01b\xc2\x01\x01c",
    "redundant varint": b"\x18\x81\x00" + DOE,
    "redundant tag": b"\x98\x00\x01" + DOE,
    "redundant length": b"\x52\x83\x00Doe",
    "default number": b"\x18\x00" + DOE,
    "default text": b"\x3a\x00" + DOE,
    "boolean of 2": DOE + b"\x92\x01\x05\x0a\x01a\x20\x02",
    "inner fields out of order": DOE + b"\x92\x01\x05\x18\x01\x0a\x01a",
    "inner field twice": DOE + b"\x92\x01\x06\x0a\x01a\x0a\x01b",
    "flags not packed": DOE + b"\x92\x01\x07\x0a\x01a\x32\x02\x28\x01",
    "number too long": b"\x18" + b"\x81" * 10 + b"\x00" + DOE,
    "number over 64 bits": b"\x18" + b"\xff" * 9 + b"\x02" + DOE,
    "tag zero": b"\x00" + DOE,
    "length over the end": DOE + b"\x3a\x05abc",
    "huge length": DOE + b"\x6a" + b"\xff" * 9 + b"\x01",
    "inner length over the end": DOE + b"\x92\x01\x03\x0a\x05a",
    "tag alone": DOE + b"\x6a",
    "half a varint": DOE + b"\x92",
    "empty": b"",
}


@pytest.mark.parametrize("row", NOT_AS_ENCODED.values(), ids=NOT_AS_ENCODED)
def test_other_encodings_are_left(row: bytes) -> None:
    """Legal or not: only what the deterministic encoder would write is taken."""
    assert not hold_alike(row)


BAD_UTF8 = [
    "80", "bf", "c0af", "c1bf", "c280c2", "e08080", "e09fbf", "eda080", "edbfbf", "e282",
    "f0808080", "f08fbfbf", "f4908080", "f5808080", "ff", "f09f98", "e228a1", "c328", "f0288cbc",
]  # fmt: skip
GOOD_UTF8 = ["c280", "dfbf", "e0a080", "ed9fbf", "ee8080", "efbfbf", "f0908080", "f48fbfbf"]


@pytest.mark.parametrize("before", [b"", b"1234567", b"12345678" * 3])
@pytest.mark.parametrize("text", BAD_UTF8 + GOOD_UTF8)
def test_utf8_at_its_edges(text: str, before: bytes) -> None:
    """RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF, no half characters."""
    for tail in (b"", b"x", b"x" * 9):
        name = before + bytes.fromhex(text) + tail
        row = DOE + b"\x72" + varint(len(name)) + name
        assert hold_alike(row) == (text in GOOD_UTF8)


def test_every_byte_pair_and_triple_at_the_edges_is_read_as_python_does() -> None:
    """All leads and second bytes, with continuations that are right."""
    tails = (b"", b"\x80", b"\x80\x80", b"\xbf\xbf")
    names = [bytes([a, b]) + tail for a in range(128, 256) for b in range(256) for tail in tails]
    rows = [DOE + b"\x72" + varint(len(name)) + name for name in names]
    for name, row in zip(names, walk(framed(rows), limits(), Extra()), strict=True):
        try:
            is_good = "\0" not in name.decode()
        except UnicodeDecodeError:
            is_good = False
        assert isinstance(row, Card) == is_good


# Bounds of the settings, and what the import adds to a row.


@pytest.mark.parametrize(
    ("bounds", "text", "is_taken"),
    [
        ({"points_limit": 2}, 'emails { value: "a" } phones { value: "b" }', True),
        ({"points_limit": 1}, 'emails { value: "a" } phones { value: "b" }', False),
        ({"points_limit": 1}, 'identities { type: "a" value: "1" }', True),
        (
            {"points_limit": 1},
            'identities { type: "a" value: "1" } identities { type: "a" value: "2" }',
            False,
        ),
        ({"list_limit": 3}, 'tags: "a"', True),
        ({"list_limit": 3}, 'tags: "a" tags: "b"', False),
        ({"list_limit": 2}, 'sources: "a"', False),  # one more is added, of three groups
        ({"list_limit": 3}, "addresses {} addresses {} addresses {}", True),
        ({"list_limit": 3}, "addresses {} addresses {} addresses {} addresses {}", False),
        ({"points_limit": 1}, 'emails { value: "a" } contacts { last_name: "x" }', True),
        (
            {"points_limit": 1},
            'emails { value: "a" } contacts { last_name: "x" phones { value: "1" } }',
            False,
        ),
        ({"list_limit": 3}, 'contacts { last_name: "x" } ' * 3, True),
        ({"list_limit": 3}, 'contacts { last_name: "x" } ' * 4, False),
        ({"text_limit_chars": 6}, 'comment: "abcdef"', True),
        ({"text_limit_chars": 6}, 'comment: "abcdefg"', False),
        ({"text_limit_chars": 5}, "", False),  # the source that is added has six
        ({"exclusive_identity_types": {"a"}}, 'identities { type: "a" value: "1" }', True),
        (
            {"exclusive_identity_types": {"a"}},
            'identities { type: "a" value: "1" } identities { type: "a" value: "2" }',
            False,
        ),
    ],
)
def test_bounds_of_the_settings(bounds: dict[str, object], text: str, is_taken: bool) -> None:
    """A bound holds for the row and what is added to it together."""
    words = Words(("vip", "new"), ("import",), (), ("a", "b", "a"))
    bounded = SETTINGS.model_copy(update=bounds)
    assert hold_alike(customer(text).SerializeToString(), words, bounded) == is_taken
    if is_taken:
        assert by_hand(customer(text).SerializeToString(), words, bounded) is not None


@pytest.mark.parametrize("words", [NO_WORDS, SOME_WORDS])
def test_the_size_of_a_row_counts_what_is_added(words: Words) -> None:
    """To the byte."""
    bounded = SETTINGS.model_copy(update={"customer_limit": 1_024})
    for size in range(900, 1_100):
        row = v1.Customer(last_name="x" * size).SerializeToString()
        expected = by_hand(row, words, bounded) is not None
        assert hold_alike(row, words, bounded) == expected


@pytest.mark.parametrize("word", ["", "a\0b", "x" * 10_001])
def test_words_that_break_a_rule_leave_all_rows(word: str) -> None:
    """The Python path says what is wrong with them."""
    assert not hold_alike(DOE, Words(groups=("a", word)))


def test_broken_rows_of_many_entries_are_left_in_no_time() -> None:
    """Entries are compared with each other, so that many of them must not be looked at."""
    wide = SETTINGS.model_copy(update={"list_limit": 10**6, "customer_limit": 10**7})
    row = v1.Customer(last_name="x", tags=[str(n) for n in range(100_000)])
    assert not hold_alike(row.SerializeToString(), NO_WORDS, wide)


# Any customer, and any bytes.

texts = st.text(max_size=10) | st.sampled_from(["", "Ольга", "李", "x", "a\0", " ", "\u3000"])
plain = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=10)
kinds = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 6, 1, 7, -1])
words = st.lists(st.sampled_from(["a", "b", "vip", "нове", "c" * 200]), max_size=4)
some_words = st.builds(
    Words, *[st.lists(st.sampled_from(["a", "vip", "нове"]), max_size=3).map(tuple)] * 4
)


def optional(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Return None for a field that is not set."""
    return st.none() | strategy


findings = st.builds(
    v1.Finding,
    verdict=st.integers(0, 4),
    reason=st.integers(0, 13),
    detail=plain,
    flags=st.lists(st.integers(0, 4), max_size=2),
    mx_hosts=st.lists(plain, max_size=2),
    check_time=optional(st.builds(Timestamp, seconds=st.integers(-5, 2**40))),
)
point_fields = {
    "value": st.sampled_from(["a@b.c", "+1 2", "жук@пошта.укр", "x", ""]) | plain,
    "normal": plain,
    "kind": kinds,
    "primary": st.sampled_from([False, False, False, True]),
    "verification": st.integers(0, 2),
    "finding": optional(findings),
}
emails = st.builds(v1.EmailAddress, **point_fields)
phones = st.builds(
    v1.PhoneNumber, **point_fields, extension=plain, type=st.integers(0, 11), national=plain
)
addresses = st.builds(
    v1.PostalAddress,
    kind=kinds,
    primary=st.booleans(),
    lines=st.lists(plain, max_size=6),
    city=plain,
    country=st.sampled_from(["", "GB", "UA", "ua"]),
)
identities = st.builds(
    v1.Identity,
    type=st.sampled_from(["loyalty", "telegram", "a.b-c_1", "email", ""]),
    value=st.sampled_from(["1", "2", "Ж"]) | plain,
)
preferences = st.builds(
    v1.Preferences,
    do_not_call=st.booleans(),
    channels=st.lists(
        st.builds(v1.ChannelPreference, channel=st.integers(0, 8), consent=st.integers(0, 2)),
        max_size=2,
    ),
    preferred_contact=st.integers(0, 8),
)
contacts = st.builds(
    v1.Contact,
    id=st.sampled_from(["", "", "", "2"]),
    first_name=texts,
    last_name=st.sampled_from(["x", "Ж", " "]),
    primary=st.sampled_from([False, False, True]),
    emails=st.lists(emails, max_size=2),
    phones=st.lists(phones, max_size=2),
    preferences=optional(preferences),
)
dates = st.builds(
    v1.Date, year=st.integers(-1, 10_000), month=st.integers(0, 13), day=st.integers(0, 32)
)
customers = st.builds(
    v1.Customer,
    id=st.sampled_from(["", "C-1", " C"]) | plain,
    etag=plain,
    kind=st.sampled_from([0, 1, 2, 2, 3]),
    state=st.sampled_from([0, 1, 2, 3]),
    create_time=optional(st.builds(Timestamp, seconds=st.integers(-5, 2**40))),
    title=plain,
    first_name=texts,
    last_name=texts,
    gender=st.integers(0, 3),
    birth_date=optional(dates),
    company_name=texts,
    comment=texts,
    emails=st.lists(emails, max_size=3),
    phones=st.lists(phones, max_size=3),
    addresses=st.lists(addresses, max_size=2),
    contacts=st.lists(contacts, max_size=2),
    identities=st.lists(identities, max_size=3),
    preferences=optional(preferences),
    tags=words,
    sources=words,
    campaigns=words,
    groups=words,
)
seeds = st.integers(0, 2**32)


@many
@given(customers, some_words, seeds)
def test_any_customer_is_read_and_sealed_alike(drawn: v1.Customer, added: Words, seed: int) -> None:
    """Taken or left, and if taken, then as the Python path has it."""
    hold_alike(drawn.SerializeToString(), added, seed=seed)


def ordinary(rng: Random) -> v1.Customer:
    """Return a customer that merges a few of the ordinary examples, mostly a good one."""
    merged = v1.Customer(last_name="Doe")
    for text in rng.sample(ORDINARY, rng.randint(0, 6)):
        merged.MergeFrom(text_format.Parse(text, v1.Customer()))
    return merged


def test_ordinary_examples_together_are_read_and_sealed_alike() -> None:
    """Fields of all kinds in one row; most are taken."""
    rng = Random(1)
    taken = [
        hold_alike(ordinary(rng).SerializeToString(), rng.choice((NO_WORDS, SOME_WORDS)), seed=n)
        for n in range(1_500)
    ]
    assert sum(taken) > len(taken) / 3


def _mutated(row: bytes, rng: Random) -> bytes:
    """Return bytes with a few of them changed, dropped, put in or repeated."""
    mutated = bytearray(row)
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(0, len(mutated))
        to = min(len(mutated), at + rng.choice((0, 1, 1, 1, 2, 5)))
        change = rng.randrange(4)
        if change == 0:
            mutated[at:to] = rng.randbytes(to - at)
        elif change == 1:
            mutated[at:to] = rng.choice((b"", b"\x00", b"\x80", b"\xff", b"\x01", rng.randbytes(2)))
        elif change == 2:
            mutated[at:at] = mutated[at : at + rng.randint(1, 12)]
        elif at < len(mutated):
            mutated[at] ^= 1 << rng.randrange(8)
    return bytes(mutated)


def test_mutated_rows_are_never_taken_wrongly() -> None:
    """What the walker takes of broken bytes, protobuf takes too, and the same way."""
    rng = Random(2)
    taken = 0
    for number in range(12_000):
        row = _mutated(_small(rng), rng)
        taken += hold_alike(row, rng.choice((NO_WORDS, SOME_WORDS)), seed=number)
    assert taken > 500


def _small(rng: Random) -> bytes:
    return (ordinary(rng) if rng.random() < 0.3 else rng.choice(_SMALL)).SerializeToString()


_SMALL = [
    v1.Customer.FromString(customer(text).SerializeToString())
    for text in ORDINARY
    if len(text) < 300
] + [to_customer(person) for person in people(100, seed=8)]


def test_rows_cut_anywhere_are_never_taken_wrongly() -> None:
    """Every beginning of a row, and of a batch."""
    rng = Random(3)
    for _ in range(30):
        row = _small(rng)[:600]
        for end in range(len(row)):
            hold_alike(row[:end])
        batch = framed([row, row])
        for end in range(len(batch)):
            _agree_on_framing(batch[:end])


def test_a_request_that_is_a_batch_is_opened() -> None:
    """Any other request is left to protobuf."""
    batch = v1.ImportBatch(number=3, customers=[customer("")] * 100)
    request = v1.ImportCustomersRequest(batch=batch).SerializeToString()
    assert batch_of(request) == batch.SerializeToString()
    assert batch_of(b"\x12\x00") == b""
    settings_ = v1.ImportCustomersRequest(settings=v1.ImportSettings(job_id="a"))
    for other in (settings_.SerializeToString(), request + request, request[:-1], b"\x12", b""):
        assert batch_of(other) is None


@many
@given(st.binary(max_size=60))
@example(b"\x12\x00")
@example(b"\x08\x01\x08\x02")
@example(b"\x08\x81\x80\x00\x12\x80\x00")
@example(b"\x0a\x01\x00\x10\x05")
@example(b"\x19\x00\x00\x00\x00\x00\x00\x00\x00\x1d\x00\x00\x00\x00")
def test_any_bytes_are_framed_as_protobuf_frames_them(batch: bytes) -> None:
    """The framing of a batch is read as widely as protobuf reads it, but for groups."""
    _agree_on_framing(batch)


def _agree_on_framing(batch: bytes) -> None:
    try:
        expected: v1.ImportBatch | None = v1.ImportBatch.FromString(batch)
    except DecodeError:
        expected = None
    try:
        number, count = outline(batch)
    except ValueError:
        with pytest.raises(ValueError, match="batch"):
            walk(batch, limits(), Extra())
        assert expected is None or any(byte & 7 in (3, 4) for byte in batch)
        return
    rows = walk(batch, limits(), Extra())
    assert len(rows) == count
    if expected is not None:
        assert (number, count) == (expected.number, len(expected.customers))
    for row in rows:
        if isinstance(row, bytes):
            assert row in batch


# Names and numbers of the fields.

MESSAGES: dict[str, type[Message]] = {
    "Customer": v1.Customer,
    "EmailAddress": v1.EmailAddress,
    "PhoneNumber": v1.PhoneNumber,
    "PostalAddress": v1.PostalAddress,
    "Identity": v1.Identity,
    "Preferences": v1.Preferences,
    "ChannelPreference": v1.ChannelPreference,
    "Contact": v1.Contact,
    "Date": v1.Date,
    "Timestamp": Timestamp,
    "Finding": v1.Finding,
}
# Fields that the walker leaves to the Python path. A new field must be put here, or be walked.
LEFT = {"Customer": {"custom_fields"}, "Contact": {"id"}}


def _fields() -> Iterator[tuple[Any, tuple[str, int, bool, int | str]]]:
    for name, fields in FIELDS.items():
        for number, field in fields.items():
            yield MESSAGES[name].DESCRIPTOR.fields_by_number[number], field


def test_field_tables_are_those_of_the_protos() -> None:
    """Numbers, names, wire types, and which fields repeat."""
    shape_of: dict[int, Callable[[FieldDescriptor], str]] = {
        FieldDescriptor.TYPE_STRING: lambda _: "text",
        FieldDescriptor.TYPE_MESSAGE: lambda _: "message",
        FieldDescriptor.TYPE_BOOL: lambda _: "number",
        FieldDescriptor.TYPE_INT32: lambda _: "number",
        FieldDescriptor.TYPE_INT64: lambda _: "number",
        FieldDescriptor.TYPE_ENUM: lambda field: "packed" if field.is_repeated else "number",
    }
    for descriptor, (name, shape, is_repeated, more) in _fields():
        assert descriptor.name == name
        assert SHAPES[shape_of[descriptor.type](descriptor)] == shape, descriptor.full_name
        assert descriptor.is_repeated == is_repeated, descriptor.full_name
        if descriptor.message_type is not None:
            assert descriptor.message_type.name == more
            assert more in FIELDS


def test_enums_are_known_to_their_last_value() -> None:
    """The highest number of each enum, which have no gaps; a boolean is 0 or 1."""
    for descriptor, (_, shape, _, top) in _fields():
        if descriptor.enum_type is not None and shape == SHAPES["number"]:
            numbers = sorted(descriptor.enum_type.values_by_number)
            assert numbers == list(range(len(numbers)))
            assert top == numbers[-1], descriptor.full_name
        if descriptor.type == FieldDescriptor.TYPE_BOOL:
            assert top == 1


def test_every_field_is_walked_or_left_on_purpose() -> None:
    """A field that is added to a proto is met here first."""
    for name, fields in FIELDS.items():
        known = {field[0] for field in fields.values()}
        every = set(MESSAGES[name].DESCRIPTOR.fields_by_name)
        assert every - known == LEFT.get(name, set())


def test_the_batch_has_two_fields() -> None:
    """Their numbers are written out in the walker."""
    numbers = {field.name: field.number for field in v1.ImportBatch.DESCRIPTOR.fields}
    assert numbers == {"number": 1, "customers": 2}
    assert v1.ImportCustomersRequest.DESCRIPTOR.fields_by_name["batch"].number == 2


def test_an_edge_finding_is_encoded_alike() -> None:
    """Findings come encoded from the codec, and are put in as they are."""
    row = customer('emails { value: "a" } phones { value: "1" }').SerializeToString()
    expected = by_hand(row, NO_WORDS, SETTINGS)
    (card,) = walk(framed([row]), limits(), Extra())
    assert expected is not None
    assert isinstance(card, Card)
    assert isinstance(card.draft, Draft)
    for finding in (replace(FINDINGS[0], checked_us=0), replace(FINDINGS[4], source="x" * 20_000)):
        checked = [one._replace(finding=finding) for one in check(card.points, 1)]
        sealed = card.draft.seal(checked, encode)
        assert [sealed] == _unpacked(wire.Records(SETTINGS).seal([expected], checked))
        expected = by_hand(row, NO_WORDS, SETTINGS)
        assert expected is not None
