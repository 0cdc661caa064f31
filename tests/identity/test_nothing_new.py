"""A row that is said to add nothing to a customer makes no difference the long way either."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from namesake import v1
from service.core._wire import adds_nothing
from service.core.model import (
    Channel,
    Checked,
    Combine,
    Finding,
    Reason,
    Sealed,
    Verdict,
)
from service.errors import NamesakeError
from service.server.wire import Records, card
from service.settings import Settings
from tests.identity.test_batches import customer

SETTINGS = Settings()
CODEC = Records(SETTINGS)
PAIRS = 4_000


def sealed(row: v1.Customer, draw: random.Random, second: int) -> Sealed:
    """Return a row with findings as some look-up gave them at some time."""
    given = card(v1.Customer.FromString(row.SerializeToString()), SETTINGS)
    checked = [
        Checked(point.channel, _normal(point.value), _finding(point.channel, draw, second))
        for point in given.points
    ]
    (made,) = CODEC.seal([given], checked)
    return made


def _normal(value: str) -> str:
    return "" if value in ("no number", "1") or value.startswith("broken") else value.lower()


def _finding(channel: Channel, draw: random.Random, second: int) -> Finding:
    at = 1_700_000_000_000_000 + second * 1_000_000
    if channel is Channel.PHONE:
        return Finding(Verdict.VALID, Reason.ACCEPTED, at)
    reason = draw.choice([Reason.ACCEPTED, Reason.PENDING, Reason.MAIL_SERVER_UNKNOWN])
    hosts = ("mx.example",) if reason is Reason.ACCEPTED and draw.random() < 0.2 else ()
    verdict = Verdict.VALID if reason is Reason.ACCEPTED else Verdict.UNKNOWN
    return Finding(verdict, reason, at, holds_until_us=at + second, mx_hosts=hosts)


def pairs(draw: random.Random) -> Iterator[tuple[bytes, Sealed]]:
    """Yield records and rows: most are alike, but for what a look-up found, or for one field."""
    for _ in range(PAIRS):
        row = customer(draw)
        try:
            old = sealed(row, draw, draw.randrange(3))
            if draw.random() < 0.5:
                row.MergeFrom(
                    v1.Customer(stage=draw.choice(["", "won"]), tags=draw.choice([[], ["a"]]))
                )
            if draw.random() < 0.2:
                row = customer(draw)
            new = sealed(row, draw, draw.randrange(3))
        except NamesakeError:
            continue
        record = CODEC.stamp(old.body, id="c-1", etag="1f", created_us=1, updated_us=2)
        yield record, new


@pytest.mark.parametrize("how", [Combine.OVERLAY, Combine.FILL])
def test_what_adds_nothing_makes_no_difference(how: Combine) -> None:
    """And of rows that make none, nearly all are seen at once."""
    seen = unseen = 0
    for record, new in pairs(random.Random(7)):
        try:
            differs = bool(CODEC.diff(record, CODEC.combine(record, new, how).body))
        except NamesakeError:
            differs = True
        if CODEC.adds_nothing(record, new.body):
            assert not differs
            seen += 1
        elif not differs:
            unseen += 1
    assert seen > PAIRS / 10
    assert seen > unseen


def test_the_same_row_adds_nothing() -> None:
    """Whenever it was looked up."""
    draw = random.Random(8)
    for _ in range(300):
        row = customer(draw)
        try:
            old, new = sealed(row, random.Random(1), 5), sealed(row, random.Random(1), 9)
        except NamesakeError:
            continue
        record = CODEC.stamp(old.body, id="c-1", etag="1f", created_us=1, updated_us=2)
        assert adds_nothing(record, new.body)


def test_damaged_records_say_nothing() -> None:
    """Bytes of any kind are read within their bounds."""
    draw = random.Random(9)
    for record, new in pairs(draw):
        cut = bytearray(record[: draw.randrange(len(record) + 1)])
        for _ in range(draw.randrange(3)):
            if cut:
                cut[draw.randrange(len(cut))] = draw.randrange(256)
        adds_nothing(bytes(cut), new.body)
        adds_nothing(record, bytes(cut))
