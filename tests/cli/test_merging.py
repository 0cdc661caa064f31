"""Merging and unmerging from the command line, and what the account merges by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from namesake import v1
from tests.cli.conftest import Namesake, run
from tests.cli.test_bulk_change import answered
from tests.conftest import Server, StartServer, wait_until
from tests.server.client import Client, person, unique
from tests.server.test_scan import card


@pytest.fixture
def client(shared: Server) -> Iterator[Client]:
    """A caller of the module's server."""
    with shared.channel() as channel:
        yield Client(channel)


@pytest.fixture
def pair(client: Client) -> tuple[str, str]:
    """Two customers who are to be merged."""
    a, b = unique(), unique()
    client.save(person(f"{a}@x.example", id=a, comment="first"))
    client.save(person("+442079460018", id=b, first_name="Ada", comment="second", tags=["vip"]))
    return a, b


def test_a_merge_is_shown_before_it_is_done(
    namesake: Namesake, client: Client, pair: tuple[str, str]
) -> None:
    """Field by field; the ids lead to the survivor then."""
    a, b = pair
    tried = namesake("merge", a, b, "--dry-run", "--choose", f"comment={b}")
    assert tried.status == 0, tried.err
    for said in ("filled", "chosen", f"{a}: first", f"{b}: second", "+442079460018", "vip"):
        assert said in tried.out
    assert client.get(b).id == b
    done = namesake("merge", a, b, "--yes", "--reason", "same", "--choose", f"comment={b}")
    assert (done.status, f"merged into {a}: {b}\n" in done.out) == (0, True)
    (line,) = namesake("get", b, "--json").lines
    assert (line["id"], line["comment"], line["firstName"]) == (a, "second", "Ada")
    history = namesake("history", b).out
    assert f"merged {a} by" in history
    assert f"created {b} by" in history
    listed = namesake("merges").out
    assert "same" in listed
    assert a in listed


def test_a_merge_as_json(namesake: Namesake, pair: tuple[str, str]) -> None:
    a, b = pair
    (shown,) = namesake("merge", a, b, "--dry-run", "--json").lines
    assert {one["field"] for one in shown["fields"]} > {"comment", "emails", "phones"}
    (done,) = namesake("merge", a, b, "--yes", "--json").lines
    assert (done["customer"]["id"], done["mergedIds"]) == (a, [b])
    refused = namesake("delete", b, "--reason", "entered twice")
    assert refused.err.startswith("namesake: CUSTOMER_MERGED id: ")
    assert refused.err.endswith(f"({a})\n")
    both = namesake("explain", a, b)
    assert (both.status, both.err) == (
        1,
        "namesake: INVALID_ARGUMENT pair: both are one customer\n",
    )
    (first, *_) = namesake("merges", "--json").lines
    assert (first["survivorId"], first["sequence"]) == (a, done["sequence"])
    assert {"id": b, "intoId": a, "survivorId": a} in namesake("redirects", "--json").lines
    assert f"{b} → {a}\n" in namesake("redirects").out
    (given,) = namesake("unmerge", b, "--yes", "--json").lines
    assert [one["id"] for one in given["restored"]] == [b]
    assert "given back" in namesake("merges").out


def test_conflicts_are_told_and_nothing_is_merged(
    namesake: Namesake, client: Client, pair: tuple[str, str]
) -> None:
    a, b = pair
    assert namesake("distinct", a, b, "--reason", "sisters").status == 0
    for more in ((), ("--json",)):
        refused = namesake("merge", a, b, "--yes", *more)
        assert refused.status == 1
        assert "MERGE_CONFLICT" in refused.out + refused.err
        assert "nothing is merged" in refused.err
    assert client.get(b).id == b
    wrong = namesake("merge", a, b, "--choose", "comment", "--yes")
    assert (wrong.status, "--choose" in wrong.err) == (2, True)
    gone = namesake("merge", a, "nobody", "--yes")
    assert (gone.status, "NOT_FOUND" in gone.out) == (1, True)


def test_nothing_is_done_unless_somebody_agrees(
    namesake: Namesake, shared: Server, client: Client, pair: tuple[str, str]
) -> None:
    """Where nobody can be asked it has to be said."""
    a, b = pair
    alone = namesake("merge", a, b)
    assert (alone.status, "needs --yes" in alone.err) == (2, True)
    no = answered(shared, "merge", a, b, answer="n")
    assert (no.status, "nothing is merged" in no.err) == (1, True)
    assert client.get(b).id == b
    assert answered(shared, "merge", a, b, answer="y").status == 0
    no = answered(shared, "unmerge", b, answer="n")
    assert (no.status, "nothing is given back" in no.err) == (1, True)
    assert client.get(b).id == a
    yes = answered(shared, "unmerge", b, answer="y")
    assert yes.status == 0
    assert f"given back by {a}: {b}" in yes.out
    assert client.get(b).id == b


@pytest.mark.parametrize(
    ("option", "survivor", "member"),
    [("--keep", "Grace", "Ada"), ("--give", "", "Grace"), ("--restore", "", "Ada")],
)
def test_an_edit_of_what_came_from_a_member_has_to_be_chosen(
    namesake: Namesake, client: Client, pair: tuple[str, str], option: str, survivor: str,
    member: str,
) -> None:  # fmt: skip
    """By its name, or together with all others."""
    a, b = pair
    client.merge(a, b)
    edited = client.get(a)
    edited.first_name = "Grace"
    edited.phones[0].kind = v1.CONTACT_KIND_WORK
    client.save(edited)
    phone = f"phones[{edited.phones[0].normal}]"
    shown = namesake("unmerge", b, "--keep", "first_name", "--yes")
    assert "CONTACT_KIND_WORK" in shown.out  # that is what was edited
    shown = namesake("unmerge", b, "--restore", phone, "--yes")
    assert shown.status == 1
    assert "--keep, --give or --restore" in shown.err
    for said in ("first_name", "Ada", "Grace", b):
        assert said in shown.out
    (preview,) = namesake("unmerge", b, "--restore", phone, "--dry-run", "--json").lines
    assert preview["conflicts"][0]["element"] == "first_name"
    element = "all" if option == "--keep" else "first_name"
    chosen = (option, element, "--restore", phone)
    done = namesake("unmerge", b, *chosen, "--yes", "--distinct", "--reason", "two people")
    assert done.status == 0, done.err
    assert (client.get(a).first_name, client.get(b).first_name) == (survivor, member)
    assert "two people" in namesake("distinct", a).out


def test_many_are_merged_in_the_background(namesake: Namesake, client: Client) -> None:
    """The command waits for it."""
    ids = [unique() for _ in range(30)]
    for id in ids:
        client.save(person(id=id))
    done = namesake("merge", *ids, "--yes")
    assert done.status == 0, done.err
    assert f"merged into {ids[0]}: {', '.join(ids[1:6])} and 24 more" in done.out
    (operation, *_) = namesake("operations", "list", "--json").lines
    assert operation["name"].startswith("operations/merge-")
    shown = namesake("operations", "show", operation["name"])
    assert ids[0] in shown.out


def test_the_account_merges_by_itself_and_it_is_undone(start_server: StartServer) -> None:
    """The policy is shown and changed rule by rule."""
    server = start_server(NAMESAKE_MERGE_LOOK_S="0.1")

    def namesake(*arguments: str) -> str:
        done = run(*arguments, server=server.address)
        assert done.status == 0, done.err
        return done.out

    assert "on save" in namesake("merge-policy")
    (policy,) = run("merge-policy", "--json", server=server.address).lines
    assert policy == {"leastProbability": 0.999, "groupLimit": 5, "mergesAMinute": 100}
    namesake("merge-policy", "--on-scan", "--group-limit", "3")
    changed = run("merge-policy", "--merges-a-minute", "50", "--json", server=server.address).lines
    assert changed == [
        {"onScan": True, "leastProbability": 0.999, "groupLimit": 3, "mergesAMinute": 50}
    ]
    with server.channel() as channel:
        client = Client(channel)
        client.save(card(1, "a"))
        client.save(card(1, "b"))
        (scan,) = run("scan", "--json", server=server.address).lines
        run_id = scan["name"]
        listing = v1.ListMergesRequest(run=run_id)
        wait_until(lambda: bool(client.call(client.merges.ListMerges, listing).merges))
        shown = namesake("merges", "--run", run_id)
        for said in ("namesake policy", "99.9%", "the same birth date"):
            assert said in shown
        merging = next(
            line["name"]
            for line in run("operations", "list", "--json", server=server.address).lines
            if "merge-scan" in line["name"]
        )
        assert run_id in namesake("operations", "wait", merging)
        assert "nobody can be asked" in run("undo-merges", run_id, server=server.address).err
        undone = namesake("undo-merges", run_id, "--distinct", "--yes")
        assert "undone" in undone
        assert client.get("b").id == "b"
        (other,) = run("distinct", "a", "--json", server=server.address).lines
        assert other["id"] == "b"
    nothing = run("undo-merges", run_id, "--yes", server=server.address)
    assert (nothing.status, "no merge is left" in nothing.err) == (1, True)
