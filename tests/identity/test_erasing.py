"""Deletions of customers that were part of others: what is left, and what is not touched.

Over random histories of merges of merges, edits and unmerges: nothing that only deleted customers
said is left, and each history still leads from card to card.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from namesake import v1
from service.core.model import Action
from service.identity.bonds import Evidence, record_of
from service.identity.merging import Asked, Plan, Why
from service.index import Reads
from service.index.layout import ROW_MAX, TABLES
from service.server import wire
from service.settings import Settings
from tests.conftest import SEEDS
from tests.identity.test_merging import WHY, Merging, ada, merges, merging

STEPS = 30
CUSTOMERS = 6
CHAIN = 400  # levels
RECORDS = wire.Records(Settings())
NAMES = [f"c{number}" for number in range(CUSTOMERS)]


def word(*ids: str) -> str:
    """Return a word that only the cards of these customers have."""
    return f"known-{'-'.join(sorted(ids))}-only"


def told(id: str, draw: random.Random) -> v1.Customer:
    """Return a card of words, some of which another customer has too."""
    own, other = word(id), draw.choice([one for one in NAMES if one != id])
    both = word(id, other)
    card = ada(id, f"{own}@x.example", f"{both}@x.example", tags=[own, both])
    if draw.random() < 0.7:
        card.comment = own
    if draw.random() < 0.5:
        card.custom_fields["note"].text = own
    card.contacts.add(last_name=f"Boss {own}").emails.add(value=f"boss.{both}@x.example")
    if draw.random() < 0.5:
        king = card.contacts.add(last_name="King", position=draw.choice(["", own]))
        king.emails.add(value=f"king.{own}@x.example")
    return card


def edit(card: v1.Customer, draw: random.Random, step: int) -> None:
    """Change something of a card: what is there already, or what is new."""
    card.etag = ""
    match draw.randrange(5):
        case 0:
            card.comment = f"{card.comment} {step}"
        case 1:
            card.emails.add(value=f"e{step}@x.example")
        case 2:
            card.tags.append(f"t{step}")
        case 3 if card.contacts and card.contacts[0].last_name != "King":
            card.contacts[0].first_name = f"N{step}"
        case _:
            card.stage = f"s{step}"


Parts = dict[tuple[int, int], frozenset[int]]  # row, change → rows that were part of it since


async def shuffle(one: Merging, draw: random.Random, action: Action | None) -> Parts:
    """Merge, edit and give back at random; say who was part of whom."""
    parts: Parts = {}
    for step in range(STEPS):
        live = one.live()
        merged = [id for id in NAMES if id not in live]
        chance = draw.random()
        if chance < 0.35:
            card = one.card(draw.choice(live))
            edit(card, draw, step)
            await one.save(card)
        elif merged and chance < 0.65:
            await give_back(one, draw.choice(merged), draw, action)
        elif len(live) > 1:
            some = draw.sample(live, draw.randint(2, min(3, len(live))))
            choices = [("comment", draw.choice(some))] if draw.random() < 0.2 else []
            await one.merge(*some, choices=choices)
        note(one, parts)
    return parts


async def give_back(one: Merging, id: str, draw: random.Random, action: Action | None) -> None:
    """Give back; let edits be what `action` says, or anything."""
    chosen = action or draw.choice([*Action])
    await one.merger.unmerge([id], {"": chosen}, "", WHY)


def note(one: Merging, parts: Parts) -> None:
    """Note who is part of whom since the last change of each."""
    with one.home.index.snapshot() as snapshot:
        for row in range(1, CUSTOMERS + 1):
            for last in snapshot.history(row, limit=1):
                parts[row, last.sequence] = frozenset(snapshot.tree(row))


def cards(reads: Reads, row: int) -> dict[int, bytes]:
    """Return what a customer's card was after each change, as its history says."""
    card, found = RECORDS.taken_back(record_of(reads, row), b""), dict[int, bytes]()
    before_sequence = ROW_MAX
    while entries := reads.history(row, before_sequence):
        for entry in entries:
            found[entry.sequence] = plain(card)
            before = RECORDS.taken_back(card, entry.diff)
            assert plain(applied(before, entry.diff)) == plain(card)
            card = before
        before_sequence = entries[-1].sequence
    return found


def applied(card: bytes, diff: bytes) -> bytes:
    """Return a card after a difference."""
    customer, change = v1.Customer.FromString(card), v1.Change.FromString(diff)
    for name in change.fields.paths:
        wire.copy_field(change.after, customer, name)
    return customer.SerializeToString()


def plain(card: bytes) -> bytes:
    """Return a card without findings, whose times differences do not have."""
    read = v1.Customer.FromString(card)
    for _, _, point in wire.points_of(read):
        point.ClearField("finding")
    return read.SerializeToString(deterministic=True)


def every_card(one: Merging, rows: Iterable[int]) -> dict[tuple[int, int], bytes]:
    """Return the cards of some rows after each of their changes."""
    with one.home.index.snapshot() as snapshot:
        return {
            (row, sequence): card for row in rows for sequence, card in cards(snapshot, row).items()
        }


def names(rows: Iterable[int]) -> set[str]:
    """Return the ids of rows."""
    return {NAMES[row - 1] for row in rows}


def is_said(one: Merging, what: str) -> bool:
    """Tell whether a word is anywhere in the index."""
    with one.home.index.snapshot() as snapshot:
        for table in TABLES:
            with snapshot.cursor(table) as cursor:
                if any(what.encode() in value for _, value in cursor):
                    return True
    return False


@pytest.mark.parametrize("action", [Action.RESTORE, None])
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_histories_lead_from_card_to_card_and_say_nothing_of_the_deleted(
    seed: int, action: Action | None, tmp_path: Path
) -> None:
    """Each card from whose time nobody is deleted is as it was; words go with who had them.

    With edits that stay with a survivor, or are given to somebody, so may words.
    """
    draw = random.Random(seed)
    async with merging(tmp_path) as one:
        for id in NAMES:
            await one.save(told(id, draw))
        parts: Parts = {}
        note(one, parts)
        parts |= await shuffle(one, draw, action)
        rows, gone = {id: row for row, id in enumerate(NAMES, 1)}, set[int]()
        for id in draw.sample(NAMES, 4):
            if rows[id] in gone:
                continue
            if id not in one.live():
                await give_back(one, id, draw, action)
                note(one, parts)
            with one.home.index.snapshot() as snapshot:
                gone |= {*snapshot.tree(rows[id])}
            left = set(rows.values()) - gone
            before = every_card(one, left)
            await one.home.registry.delete(id, "", "wanted it", "steward")
            after = every_card(one, left)
            assert before.keys() == after.keys()
            for place, card in before.items():
                if not parts[place] & gone:
                    assert after[place] == card
            one.verify()
            if action is None:
                continue
            deleted = sorted(names(gone))
            for some in (*zip(deleted), *combinations(deleted, 2)):
                assert not is_said(one, word(*some)), some


async def test_any_number_of_merges_is_gone_through(tmp_path: Path) -> None:
    """Of each survivor into the next, while one was part of the first."""
    async with merging(tmp_path) as one:
        for number in range(CHAIN):
            await one.save(ada(f"c{number}"))
        await one.save(ada("a", comment="only of a"))
        await one.merge("c0", "a")
        for number in range(1, CHAIN):
            await one.merge(f"c{number}", f"c{number - 1}")
        await one.unmerge("a")
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(CHAIN // 2)
        try:
            await one.home.registry.delete("a", "", "wanted it", "steward")
        finally:
            sys.setrecursionlimit(limit)
        assert not is_said(one, "only of a")
        one.verify()


async def test_words_about_merges_go_and_who_was_merged_stays(tmp_path: Path) -> None:
    """With the first of them that is deleted; those of other merges stay."""
    async with merging(tmp_path) as one:
        for id in "abcd":
            await one.save(ada(id))
        why = Why("policy", "alike", evidence=Evidence("scan-1", 0.99, ("the same name",)))
        for ids in (("a", "b"), ("c", "d")):
            await one.merger.merge(Plan(tuple(Asked(id) for id in ids)), why)
        other, first = merges(one)
        await one.merge("c", "a")
        await one.unmerge("b")
        await one.home.registry.delete("b", "", "wanted it", "steward")
        third, *kept = merges(one)
        wordless = replace(first, reason="", evidence=(), undone=("b",))
        assert (kept, third.reason) == ([other, wordless], WHY.reason)
        assert (wordless.run, wordless.probability) == ("scan-1", 0.99)
