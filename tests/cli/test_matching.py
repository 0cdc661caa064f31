"""Commands about customers who look alike, against a real server."""

from __future__ import annotations

import uuid

import pytest

from tests.cli.conftest import Namesake

TWIN = ("--birth-date", "1978-08-26")


def _pair(namesake: Namesake) -> tuple[str, str]:
    """Save two cards of one person; the name is nobody else's."""
    key = uuid.uuid4().hex
    last = "".join(chr(ord("a") + int(digit, 16)) for digit in key[:12])
    for id, first in ((f"{key}-1", "Katherine"), (f"{key}-2", "Kate")):
        done = namesake("save", "--id", id, "--first-name", first, "--last-name", last, *TWIN)
        assert done.status == 0, done.err
    return f"{key}-1", f"{key}-2"


def test_a_save_shows_who_looks_like_the_card_and_why(namesake: Namesake) -> None:
    one, other = _pair(namesake)
    shown = namesake("duplicates", other).out
    assert "Who looks like it" in shown
    assert one in shown
    assert "+ the same birth date" in shown
    assert "99.9%" in shown
    assert "100.0%" not in shown  # nothing is certain
    (line,) = namesake("duplicates", other, "--json").lines
    assert (line["similar"]["id"], line["similar"]["action"]) == (one, "MATCH_ACTION_SAME")


def test_explain_adds_up(namesake: Namesake) -> None:
    one, other = _pair(namesake)
    shown = namesake("explain", one, other).out
    assert "one first name is a form of the other" in shown
    assert "sure that they are the same: same" in shown
    (line,) = namesake("explain", one, other, "--json").lines
    total = sum(evidence.get("bits", 0.0) for evidence in line["evidence"])
    assert total == pytest.approx(line["score"]["weight"], abs=0.01)
    assert namesake("explain", one, "nobody").status == 1


def test_customers_are_told_apart_and_back(namesake: Namesake) -> None:
    one, other = _pair(namesake)
    done = namesake("distinct", one, other, "--reason", "sisters")
    assert (done.status, done.out) == (0, "marked as distinct: 1 pair\n")
    assert one not in namesake("duplicates", other).out
    listed = namesake("distinct", one).out
    assert other in listed
    assert "sisters" in listed
    assert "marked them as distinct" in namesake("explain", one, other).out
    assert namesake("distinct", one, other, "--undo").out == "not marked any more: 1 pair\n"
    assert namesake("distinct", one).out == "Nobody is marked as distinct from it.\n"
    assert one in namesake("duplicates", other).out


def test_wrong_usage_is_told(namesake: Namesake) -> None:
    one, other = _pair(namesake)
    assert namesake("distinct", one, "--undo").status == 2
    assert namesake("distinct", one, other, "--undo", "--reason", "x").status == 2
    refused = namesake("distinct", one, one)
    assert refused.status == 1
    assert "names a customer twice" in refused.err
    assert namesake("distinct", one, other, "--undo").status == 1  # not marked
