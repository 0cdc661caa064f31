"""What is linked to customers, from the command line, against a real server."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from namesake import v1
from service.cli.timeline import BATCH_ITEMS, Kind
from tests.cli.conftest import Namesake


@pytest.fixture
def ada(namesake: Namesake) -> str:
    """A customer that no other test has."""
    key = uuid.uuid4().hex
    saved = namesake("save", "--id", key, "--last-name", "L", "--email", f"{key}@x.org")
    assert saved.status == 0, saved.err
    return key


def listed(namesake: Namesake, id: str, *options: str) -> list[dict[str, object]]:
    """List items."""
    done = namesake("timeline", "list", id, *options, "--json")
    assert done.status == 0, done.err
    return list(done.lines)


def test_kinds_are_those_of_the_wire() -> None:
    assert [kind.name for kind in Kind] == [
        name.removeprefix("ITEM_KIND_") for name in v1.ItemKind.keys()[1:]
    ]


def test_items_are_added_shown_pinned_counted_and_deleted(namesake: Namesake, ada: str) -> None:
    note, order = f"{ada}-n", f"{ada}-o"
    done = namesake(
        "timeline", "add", ada, "note", "--id", note, "--text", "Call\nafter six", "--author",
        "bob", "--time", "2026-03-01T10:00Z", "--source", "crm",
    )  # fmt: skip
    assert (done.status, done.out) == (0, f"added: {note}\n")
    done = namesake(
        "timeline", "add", ada, "order", "--id", order, "--subject", "A-7", "--amount",
        "-9.05 EUR", "--phone", "020 7946 0018", "--region", "gb", "--time", "2026-03-02",
        "--attribute", "shop=north", "--state", "paid", "--json",
    )  # fmt: skip
    assert done.lines == [{"id": order}]
    shown = namesake("timeline", "list", ada).out
    for said in ("Call after six", "bob", "A-7", "-9.05 EUR", "paid", "020 7946 0018"):
        assert said in shown
    assert shown.index("A-7") < shown.index("after six")
    shown = namesake("timeline", "show", order).out
    for said in (order, ada, "2026-03-0", "A-7", "north"):
        assert said in shown
    (item,) = namesake("timeline", "show", order, "--json").lines
    assert item["shownById"] == ada
    assert item["item"]["phoneNormal"] == "+442079460018"
    assert item["item"]["amount"] == {"currency": "EUR", "units": "-9", "nanos": -50_000_000}
    assert namesake("timeline", "pin", ada, note).out == f"pinned: {note}\n"
    assert "pinned" in namesake("timeline", "list", ada).out
    assert namesake("timeline", "pin", ada).out == "nothing is pinned\n"
    assert "pinned" not in namesake("timeline", "list", ada).out
    (counts,) = namesake("timeline", "count", ada, "--json").lines
    assert [one["kind"] for one in counts["counts"]] == ["ITEM_KIND_NOTE", "ITEM_KIND_ORDER"]
    table = namesake("timeline", "count", ada).out
    assert "order" in table
    assert "deal" not in table
    assert namesake("timeline", "delete", note, order, "none").out == "deleted: 2 of 3\n"
    assert namesake("timeline", "list", ada).out == "Nothing of that is linked to this customer.\n"
    refused = namesake("timeline", "show", order)
    assert (refused.status, "NOT_FOUND id:" in refused.err) == (1, True)


def test_lists_are_chosen(namesake: Namesake, ada: str) -> None:
    for day, options in enumerate(
        [("call", "--direction", "in", "--duration", "61"), ("task", "--status", "completed"),
         ("task", "--due", "2026-04-01T09:30Z"), ("metric", "--number", "0.5")], 1,
    ):  # fmt: skip
        done = namesake("timeline", "add", ada, *options, "--time", f"2026-03-0{day}T00:00Z")
        assert done.status == 0, done.err
    kinds = [item["kind"] for item in listed(namesake, ada)]
    assert kinds == ["ITEM_KIND_METRIC", "ITEM_KIND_TASK", "ITEM_KIND_CALL"]
    assert len(listed(namesake, ada, "--completed")) == 4
    assert len(listed(namesake, ada, "--kind", "call", "--kind", "task")) == 2
    span = ("--since", "2026-03-03T00:00Z", "--before", "2026-03-04T00:00Z")
    (task,) = listed(namesake, ada, *span)
    assert task["status"] == "TASK_STATUS_OPEN"
    assert len(listed(namesake, ada, "--limit", "2")) == 2
    shown = namesake("timeline", "list", ada).out
    for said in ("61 s", "0.5", "open; due "):
        assert said in shown


def test_a_file_is_added_again_and_again(namesake: Namesake, ada: str, tmp_path: Path) -> None:
    """More than a batch; lines that fail are told with their numbers, the others are added."""
    count = BATCH_ITEMS + 7
    lines = [
        json.dumps({"id": f"{ada}-{n}", "customerId": ada, "kind": "ITEM_KIND_EVENT",
                    "time": f"2026-01-01T00:00:{n % 60:02}Z"})
        for n in range(count)
    ]  # fmt: skip
    lines[3] = '{"customerId": "nobody", "kind": "ITEM_KIND_EVENT"}'
    lines[5] = '{"kind": "ITEM_KIND_NEWS"}'
    lines[count - 1] = '{"customerId": 7'
    source = tmp_path / "items.jsonl"
    source.write_text("\n".join(lines))
    for _ in range(2):
        done = namesake("timeline", "add", "--from", str(source))
        assert (done.status, done.out) == (3, f"{count - 3:,} added, 3 failed\n")
        assert "line 4: NOT_FOUND customer_id:" in done.err
        assert "line 6: not an Item in JSON" in done.err
        assert f"line {count}: not an Item in JSON" in done.err
        assert len(listed(namesake, ada, "--limit", "5000")) == count - 3
    done = namesake("timeline", "add", "--from", "-", "--json", stdin=lines[0])
    assert (done.status, done.lines) == (0, [{"added": 1, "failed": 0}])


def test_orders_are_shown_with_duplicates(namesake: Namesake, ada: str) -> None:
    other = f"{ada}-2"
    assert namesake("save", "--id", other, "--last-name", "K").status == 0
    add = ("timeline", "add", other, "order", "--subject", "B-9", "--id", f"{ada}-b9")
    assert namesake(*add, "--email", f"{ada}@x.org").status == 0
    shown = namesake("duplicates", ada).out
    for said in ("Orders with it", "B-9", other):
        assert said in shown
    (line,) = namesake("duplicates", ada, "--json").lines
    assert line["orders"]["orders"][0]["itemId"] == f"{ada}-b9"
    assert "Orders with it" not in namesake("duplicates", other).out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 2, "give a customer and a kind"),
        (("c",), 2, "give a customer and a kind"),
        (("c", "song"), 2, "song"),
        (("c", "note", "--from", "x"), 2, "either an item or --from"),
        (("c", "note", "--time", "soon"), 2, "--time: is a date or time"),
        (("c", "order", "--amount", "9,50"), 2, "--amount: is a figure and a currency"),
        (("c", "order", "--amount", f"{1 << 64} EUR"), 2, "--amount: is a figure and a currency"),
        (("c", "note", "--attribute", "x"), 2, "--attribute: 'x' is not NAME=VALUE"),
        (("--from", "/nowhere/x"), 1, "Cannot open /nowhere/x"),
        (("nobody", "note"), 1, "NOT_FOUND customer_id:"),
        (("nobody", "note", "--uri", "x"), 1, "INVALID_ARGUMENT uri:"),
    ],
)
def test_wrong_usage_is_told(
    namesake: Namesake, arguments: tuple[str, ...], status: int, said: str
) -> None:
    refused = namesake("timeline", "add", *arguments)
    assert (refused.status, said in refused.err) == (status, True), refused.err
