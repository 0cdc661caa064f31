"""Random histories of cards: merged, edited, merged again and given back, in any order.

What a card says begins with the id of the customer who said it first, or with "edit". So a test
sees whether anything stayed where it does not belong.
"""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from namesake import v1
from service.core.model import Action
from service.errors import InvalidArgument, MergeConflict
from tests.conftest import SEEDS
from tests.identity.test_merging import WHY, Merging, merging, normals

STEPS = 40
CHOSEN = ("first_name", "comment", "emails", "phones", "tags", "contacts", "preferences", "stage")
NAMES = ("King", "Noether", "Byron")


def card_of(draw: random.Random, id: str) -> v1.Customer:
    """Return a card of which others have nothing, but names of contacts and one e-mail."""
    card = v1.Customer(id=id, last_name="Lovelace")
    for name in ("first_name", "comment", "stage", "owner", "title"):
        if draw.random() < 0.4:
            setattr(card, name, f"{id} {name}")
    emails = [f"{id}.{n}@x.example" for n in range(draw.randint(0, 2))]
    if draw.random() < 0.3:
        emails.append("same@x.example")
    kinds = (v1.CONTACT_KIND_UNSPECIFIED, v1.CONTACT_KIND_HOME, v1.CONTACT_KIND_WORK)
    for n, value in enumerate(draw.sample(emails, len(emails))):
        card.emails.add(value=value, kind=draw.choice(kinds), primary=n == 1)
    card.tags.extend(f"{id} {n}" for n in range(draw.randint(0, 2)))
    card.groups.extend(draw.sample(("g1", "g2"), draw.randint(0, 2)))
    if draw.random() < 0.4:
        card.addresses.add(city=f"{id} city", country="GB", kind=draw.choice(kinds))
    if draw.random() < 0.4:
        card.custom_fields[draw.choice("xy")].text = f"{id} custom"
    if draw.random() < 0.3:
        card.birth_date.year = 1800 + draw.randint(0, 99)
    if draw.random() < 0.3:
        card.preferences.do_not_email = True
    if draw.random() < 0.3:
        consent = draw.choice((v1.CONSENT_GRANTED, v1.CONSENT_DENIED))
        card.preferences.channels.add(channel=v1.CHANNEL_SMS, consent=consent)
    for name in draw.sample(NAMES, draw.randint(0, 2)):
        contact = card.contacts.add(last_name=name, first_name=draw.choice(("", "Ada")))
        if draw.random() < 0.5:
            contact.position = f"{id} position"
        if draw.random() < 0.5:
            contact.emails.add(value=f"{id}.{name}@y.example".lower())
    return card


def edit(draw: random.Random, card: v1.Customer, step: int) -> None:
    """Change, add, take away or sort something."""
    what = draw.randrange(8)
    lists: list[Any] = [card.emails, card.tags, card.contacts, card.addresses, card.groups]
    if what == 0:
        name = draw.choice(("first_name", "comment", "stage", "owner", "title"))
        setattr(card, name, draw.choice(("", f"edit {step}")))
    elif what == 1:
        if many := [one for one in lists if one]:
            del (one := draw.choice(many))[draw.randrange(len(one))]
    elif what == 2:
        card.tags.append(f"edit {step}")
        card.emails.add(value=f"edit{step}@x.example")
    elif what == 3:
        entries: Any = draw.choice((card.emails, card.contacts, card.addresses))
        copies = [type(one).FromString(one.SerializeToString()) for one in entries]
        del entries[:]
        entries.extend(draw.sample(copies, len(copies)))
    elif what == 4 and card.emails:
        draw.choice(card.emails).kind = draw.choice((v1.CONTACT_KIND_OFFICE, v1.CONTACT_KIND_FAX))
    elif what == 5 and card.emails:
        first = draw.randrange(len(card.emails))
        for place, email in enumerate(card.emails):
            email.primary = place == first
    elif what == 6 and card.contacts:
        contact = draw.choice(card.contacts)
        if draw.random() < 0.5:
            contact.position = f"edit {step}"
        else:
            contact.emails.add(value=f"edit{step}@y.example")
    elif what == 7:
        card.preferences.do_not_email = not card.preferences.do_not_email
        card.custom_fields[draw.choice("xy")].text = f"edit {step}"


async def edited(one: Merging, draw: random.Random, step: int) -> None:
    """Edit some customer that is there."""
    card = one.card(draw.choice(one.live()))
    card.etag = ""
    edit(draw, card, step)
    await one.save(card)


async def merged(one: Merging, draw: random.Random) -> list[str]:
    """Merge two or three customers; return who was merged."""
    survivor, *members = draw.sample(one.live(), draw.choice((2, 2, 3)))
    some = (survivor, *members)
    choices = [(name, draw.choice(some)) for name in CHOSEN if draw.random() < 0.15]
    await one.merge(survivor, *members, choices=choices)
    return members


def said_by(id: str, card: v1.Customer) -> bool:
    """Tell whether a card says anything that a customer said first."""
    return f"{id} ".encode() in (text := card.SerializeToString()) or f"{id}.".encode() in text


def others_say_nothing(one: Merging, ids: list[str]) -> None:
    """What a customer said is in the card that its id leads to, and in no other."""
    for id in ids:
        leads_to = one.leads_to(id)[1]
        for live in one.live():
            assert live == leads_to or not said_by(id, one.card(live)), (id, live)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_a_merge_that_is_taken_back_leaves_no_trace(seed: int, tmp_path: Path) -> None:
    """Whatever was before: byte by byte, in any order of giving back."""
    draw = random.Random(seed)
    async with merging(tmp_path) as one:
        ids = [f"c{number}" for number in range(7)]
        for id in ids:
            await one.save(card_of(draw, id))
        for step in range(STEPS):
            live = one.live()
            gone = [id for id in ids if id not in live]
            if len(live) > 3 and draw.random() < 0.5:
                before = {id: one.body(id) for id in live}
                members = await merged(one, draw)
                if len(one.live()) > 2 and draw.random() < 0.5:
                    members += await merged(one, draw)
                for id in draw.sample(members, len(members)):
                    await one.unmerge(id)
                assert {id: one.body(id) for id in one.live()} == before
            chance = draw.random()
            if chance < 0.5:
                await edited(one, draw, step)
            elif gone and (chance < 0.7 or len(live) < 4):
                await one.unmerge(draw.choice(gone), **{"": draw.choice([*Action])})
            else:
                await merged(one, draw)
        one.verify()


@pytest.mark.parametrize("action", [Action.RESTORE, Action.GIVE])
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_what_a_customer_said_goes_with_it(seed: int, action: Action, tmp_path: Path) -> None:
    """Unless somebody keeps it; and who is given back with RESTORE is who was merged."""
    draw = random.Random(1_000 + seed)
    async with merging(tmp_path) as one:
        ids = [f"c{number}" for number in range(6)]
        for id in ids:
            await one.save(card_of(draw, id))
        at_merge: dict[str, bytes] = {}
        for step in range(STEPS):
            live = one.live()
            gone = [id for id in ids if id not in live]
            chance = draw.random()
            if chance < 0.5:
                await edited(one, draw, step)
            elif gone and (chance < 0.75 or len(live) < 3):
                id = draw.choice(gone)
                for survivor in survivors(one, id):
                    at_merge.pop(survivor, None)  # it loses a member
                await one.unmerge(id, **{"": action})
                if action is Action.RESTORE and id in at_merge:
                    assert one.body(id) == at_merge[id]
            else:
                bodies = {id: one.body(id) for id in live}
                at_merge |= {id: bodies[id] for id in await merged(one, draw)}
            others_say_nothing(one, ids)
        one.verify()
        while gone := [id for id in ids if id not in one.live()]:
            await one.unmerge(draw.choice(gone), **{"": action})
        others_say_nothing(one, ids)


def survivors(one: Merging, id: str) -> list[str]:
    """Return whom a customer was merged into, and whom that one was, and so on."""
    with one.home.index.snapshot() as snapshot:
        redirects = dict(snapshot.redirects("", 100))
    found = []
    while id in redirects:
        found.append(id := redirects[id])
    return found


def company(id: str, *names: str) -> v1.Customer:
    """Return a company with contacts, which the server numbers from 1 on."""
    contacts = [v1.Contact(last_name=name) for name in names]
    return v1.Customer(id=id, last_name=id, contacts=contacts)


async def changed(one: Merging, id: str, name: str, **values: Any) -> str:
    """Edit a contact; return its number."""
    card = one.card(id)
    (contact,) = (contact for contact in card.contacts if contact.last_name == name)
    contact.MergeFrom(v1.Contact(**values))
    await one.save(card)
    return contact.id


async def test_contacts_keep_the_numbers_that_a_merge_gave_them(tmp_path: Path) -> None:
    """Although others leave whose numbers came before."""
    async with merging(tmp_path) as one:
        for id, name in (("a", "King"), ("b", "Noether"), ("c", "Byron")):
            await one.save(company(id, name))
        await one.merge("a", "b", "c")
        assert await changed(one, "a", "Byron", position="poet") == "3"
        await one.unmerge("b")
        contacts = [(one.id, one.last_name, one.position) for one in one.card("a").contacts]
        assert contacts == [("1", "King", ""), ("3", "Byron", "poet")]
        await one.unmerge("c", **{"contacts[3]": Action.GIVE})
        assert [one.last_name for one in one.card("a").contacts] == ["King"]
        (byron,) = one.card("c").contacts
        assert (byron.id, byron.position) == ("1", "poet")
        (noether,) = one.card("b").contacts
        assert noether.id == "1"


@pytest.mark.parametrize("also", ["", "King"])
async def test_contacts_that_were_chosen_are_given_back_with_edits(
    tmp_path: Path, also: str
) -> None:
    """Whoever had their numbers where they were chosen."""
    async with merging(tmp_path) as one:
        await one.save(company("a", "King"))
        await one.save(company("b", "Noether", *filter(None, [also])))
        await one.merge("a", "b", choices=[("contacts", "b")])
        number = await changed(one, "a", "Noether", position="algebra")
        await one.unmerge("b", **{f"contacts[{number}]": Action.GIVE})
        assert [contact.last_name for contact in one.card("a").contacts] == ["King"]
        assert one.card("b").contacts[0].position == "algebra"


async def test_the_primary_of_a_list_is_the_one_that_somebody_made_it(tmp_path: Path) -> None:
    """As long as it is there; then the one that it was before the merge."""

    async def make_primary(value: str) -> None:
        card = one.card("a")
        if value not in [email.value for email in card.emails]:
            card.emails.add(value=value)
        for email in card.emails:
            email.primary = email.value == value
        await one.save(card)

    def primaries(id: str) -> list[str]:
        return [email.value for email in one.card(id).emails if email.primary]

    async with merging(tmp_path) as one:
        for id in "ab":
            card = v1.Customer(id=id, last_name=id)
            card.emails.add(value=f"{id}@x.example", primary=True)
            await one.save(card)
        await one.merge("a", "b")
        await make_primary("b@x.example")
        await one.unmerge("b")
        assert (primaries("a"), primaries("b")) == (["a@x.example"], ["b@x.example"])
        await one.merge("a", "b")
        await make_primary("new@x.example")
        await one.unmerge("b")
        assert (primaries("a"), primaries("b")) == (["new@x.example"], ["b@x.example"])


async def test_a_number_that_was_given_away_meanwhile_is_given_again(tmp_path: Path) -> None:
    """Who comes back then gets another: nobody is lost, and nobody becomes another."""
    async with merging(tmp_path) as one:
        await one.save(company("a", "King"))
        await one.save(company("b", "Noether"))
        await one.merge("a", "b", choices=[("contacts", "b")])
        card = one.card("a")
        del card.contacts[:]
        card.contacts.add(last_name="Byron")
        await one.save(card)
        await one.unmerge("b", **{"": Action.RESTORE})
        assert sorted(contact.last_name for contact in one.card("a").contacts) == ["Byron", "King"]
        assert len({contact.id for contact in one.card("a").contacts}) == 2
        assert [contact.last_name for contact in one.card("b").contacts] == ["Noether"]


# What was edited


def named(id: str, *emails: str, **more: Any) -> v1.Customer:
    """Return a person."""
    points = [v1.EmailAddress(value=email) for email in emails]
    return v1.Customer(id=id, last_name="Lovelace", emails=points, **more)


async def stored(one: Merging, *cards: v1.Customer) -> None:
    """Save cards."""
    for card in cards:
        await one.save(card)


async def test_what_was_cleared_is_not_filled_when_another_leaves(tmp_path: Path) -> None:
    """Neither its own nor what a member, or two, had as well."""
    async with merging(tmp_path) as one:
        await stored(
            one,
            named("a", first_name="A", tags=["x"]),
            named("b", first_name="B", tags=["x"], stage="same"),
            named("c", stage="same"),
            named("d"),
        )
        await one.merge("a", "b", "c", "d")
        card = one.card("a")
        card.first_name = card.stage = ""
        del card.tags[:]
        await one.save(card)
        await one.unmerge("d")
        card = one.card("a")
        assert (card.first_name, card.stage, list(card.tags)) == ("", "", [])
        await one.unmerge("b", **{"": Action.KEEP})
        assert one.card("a").stage == ""
        assert one.card("b").stage == "same"


async def test_what_was_added_beside_a_choice_stays(tmp_path: Path) -> None:
    """When somebody leaves whom it does not concern, and when the chosen one does."""
    async with merging(tmp_path) as one:
        await stored(one, named("a", "a@x.example"), named("b", "b@x.example"), named("c"))
        await one.merge("a", "b", "c", choices=[("emails", "b"), ("stage", "b")])
        card = one.card("a")
        card.emails.add(value="new@x.example")
        card.stage = "new"
        await one.save(card)
        await one.unmerge("c")
        assert normals(one.card("a")) == ["b@x.example", "new@x.example"]
        assert one.card("a").stage == "new"
        await one.unmerge("b")
        assert normals(one.card("a")) == ["a@x.example", "new@x.example"]
        assert one.card("a").stage == "new"


async def test_what_was_taken_away_and_came_back_with_another_goes_with_it(tmp_path: Path) -> None:
    """A second merge fills blanks anew; who leaves takes that along."""
    async with merging(tmp_path) as one:
        await stored(
            one,
            named("a"),
            named("b", "s@x.example", first_name="B"),
            named("c", "s@x.example", first_name="C"),
        )
        await one.merge("a", "b")
        card = one.card("a")
        card.first_name = ""
        del card.emails[:]
        await one.save(card)
        before = one.body("a")
        await one.merge("a", "c")
        assert (one.card("a").first_name, normals(one.card("a"))) == ("C", ["s@x.example"])
        await one.unmerge("c")
        assert one.body("a") == before


async def test_of_a_choice_only_what_it_brought_is_the_chosen_ones(tmp_path: Path) -> None:
    """What a later merge brought into the same field came from that one's members."""
    async with merging(tmp_path) as one:
        await stored(
            one,
            named("a", "a@x.example"),
            named("b", "b@x.example"),
            named("c", "c@x.example", stage="won"),
        )
        await one.merge("a", "b", choices=[("emails", "b"), ("stage", "b")])
        await one.merge("a", "c")
        card = one.card("a")
        card.stage = "lost"
        card.emails[1].kind = v1.CONTACT_KIND_OFFICE
        await one.save(card)
        clashes = (await one.merger.preview_unmerge(["c"], {})).clashes
        assert [(clash.element, clash.member) for clash in clashes] == [
            ("stage", "c"),
            ("emails[c@x.example]", "c"),
        ]
        await one.unmerge("c", **{"": Action.RESTORE})
        assert (one.card("a").stage, normals(one.card("a"))) == ("", ["b@x.example"])


async def test_a_contact_of_two_is_taken_apart_again(tmp_path: Path) -> None:
    """Edits stay with who stays, and nothing of who leaves does."""
    async with merging(tmp_path) as one:
        a, b = company("a", "King"), company("b", "King")
        b.contacts[0].emails.add(value="king@b.example")
        b.contacts[0].title = "Dr"
        await stored(one, a, b)
        await one.merge("a", "b")
        await changed(one, "a", "King", position="chair")
        await one.unmerge("b")
        (king,) = one.card("a").contacts
        assert (king.position, king.title, len(king.emails)) == ("chair", "", 0)
        (king,) = one.card("b").contacts
        assert (king.position, king.title, len(king.emails)) == ("", "Dr", 1)


async def test_what_a_member_knew_of_the_same_address_goes_with_it(tmp_path: Path) -> None:
    """Whether it was verified, say, whatever else was edited of it."""
    async with merging(tmp_path) as one:
        a, b = named("a", "s@x.example"), named("b", "s@x.example")
        b.emails[0].verification = v1.VERIFICATION_VERIFIED
        await stored(one, a, b)
        await one.merge("a", "b")
        card = one.card("a")
        assert card.emails[0].verification == v1.VERIFICATION_VERIFIED
        card.emails[0].kind = v1.CONTACT_KIND_OFFICE
        await one.save(card)
        await one.unmerge("b")
        (email,) = one.card("a").emails
        assert email.verification == v1.VERIFICATION_UNVERIFIED
        assert email.kind == v1.CONTACT_KIND_OFFICE


@pytest.mark.parametrize("ids", [["c"], ["b", "c"]])
async def test_an_edit_is_given_through_any_number_of_merges(
    ids: list[str], tmp_path: Path
) -> None:
    """To the customer that it came from, not to one that had it from there."""
    async with merging(tmp_path) as one:
        await stored(one, named("a"), named("b"), named("c", first_name="C"))
        await one.merge("b", "c")
        await one.merge("a", "b")
        card = one.card("a")
        card.first_name = "X"
        await one.save(card)
        (clash,) = (await one.merger.preview_unmerge(ids, {})).clashes
        assert clash.member == "c"
        await one.unmerge(*ids, first_name=Action.GIVE)
        assert (one.card("a").first_name, one.card("c").first_name) == ("", "X")
        if "b" not in ids:
            await one.unmerge("b")
        assert one.card("b").first_name == ""


async def test_a_long_chain_is_taken_apart_at_either_end(tmp_path: Path) -> None:
    """No stack grows with it."""
    async with merging(tmp_path) as one:
        ids = [f"c{number}" for number in range(1_100)]
        await stored(one, *map(named, ids))
        for member, survivor in pairwise(ids):
            await one.merge(survivor, member)
        await one.unmerge("c0")
        await one.unmerge("c1098")
        assert one.live() == ["c0", "c1098", "c1099"]
        one.verify()


async def test_those_given_back_as_distinct_are_so_from_whom_they_were_merged_into(
    tmp_path: Path,
) -> None:
    """And two by two: from the survivor of today only as long as it is that one."""
    async with merging(tmp_path) as one:
        await stored(one, *map(named, "abcde"))
        await one.merge("b", "c", "d")
        await one.merge("a", "b")
        await one.merger.unmerge(["c", "d"], {}, "", WHY, mark_distinct=True)
        for pair in ("ac", "ad", "cd"):
            with pytest.raises(MergeConflict):
                await one.merge(*pair)
        await one.unmerge("b")
        await one.merge("a", "c")
        for pair in ("ab", "ad", "bd"):
            with pytest.raises(MergeConflict):
                await one.merge(*pair)
        with pytest.raises(InvalidArgument):
            await one.merger.unmerge([f"x{n}" for n in range(101)], {}, "", WHY, mark_distinct=True)
