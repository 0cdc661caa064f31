"""The account's model: learnt, tried, labelled, shown, set, and refused where it is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from namesake import v1
from tests.server.client import Client, refusal
from tests.server.long_work import CANCELLED, Work, failure, held
from tests.server.test_scan import account, card

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


@pytest.fixture
def work(client: Client) -> Work:
    """Operations of an account that only this test has."""
    return Work(client)


def model_of(client: Client) -> v1.GetModelResponse:
    """Return the model in use."""
    answer: v1.GetModelResponse = client.call(client.duplicates.GetModel, v1.GetModelRequest())
    return answer


def set_model(client: Client, text: str) -> None:
    """Use a model from now on."""
    client.call(client.duplicates.SetModel, v1.SetModelRequest(model=text))


def label(left: str, right: str, same: bool) -> v1.LabelledPair:
    """Judge a pair."""
    return v1.LabelledPair(left=left, right=right, same=same)


def test_a_model_is_learnt_and_in_use(client: Client, work: Work) -> None:
    """It converges, says what it expects, and who let it be learnt."""
    truth = account(client)
    default = model_of(client)
    assert default.is_default
    assert not default.HasField("set_time")
    summary = Work(client.acting("steward")).trained()
    assert summary.customers == 60
    assert summary.pairs > 0
    assert summary.rounds > 1
    assert summary.converged
    assert 0 <= summary.last_change < 1e-4
    assert summary.expected_pairs > len(truth) / 2
    assert summary.in_use
    learnt = model_of(client)
    assert (learnt.model, learnt.is_default, learnt.actor) == (summary.model, False, "steward")
    assert learnt.model != default.model
    assert learnt.HasField("set_time")
    work.scanned()
    assert len(work.grouped() & truth) > len(truth) / 2


def test_a_dry_run_leaves_the_model_that_is_in_use(client: Client, work: Work) -> None:
    """It reports what would have been."""
    account(client)
    default = model_of(client)
    tried = work.trained(dry_run=True)
    assert not tried.in_use
    assert model_of(client) == default
    assert work.trained().model == tried.model


def test_judged_pairs_count(client: Client, work: Work) -> None:
    """Those of the request, and those that are marked as distinct without being named in it."""
    account(client)
    plain = work.trained(dry_run=True).model
    labels = [label(f"p{n}-0", f"p{n}-1", same=True) for n in range(1, 28, 3)]
    labelled = work.trained(dry_run=True, labels=labels).model
    others = [label(f"p{n}-0", f"p{n + 3}-0", same=False) for n in range(1, 25, 3)]
    both = work.trained(dry_run=True, labels=[*labels, *others]).model
    for one in others:
        ids = [one.left, one.right]
        client.call(client.duplicates.MarkDistinct, v1.MarkDistinctRequest(ids=ids))
    marked = work.trained(dry_run=True, labels=labels).model
    assert len({plain, labelled, both}) == 3
    assert marked == both


def test_a_label_goes_before_a_mark(client: Client, work: Work) -> None:
    """Whoever asks for the training knows better, for this one."""
    account(client)
    same = [label("p1-0", "p1-1", same=True)]
    labelled = work.trained(dry_run=True, labels=same).model
    client.call(client.duplicates.MarkDistinct, v1.MarkDistinctRequest(ids=["p1-0", "p1-1"]))
    assert work.trained(dry_run=True, labels=same).model == labelled
    assert work.trained(dry_run=True).model != labelled


def test_a_cancelled_training_changes_nothing(shared_work: tuple[Any, Client]) -> None:
    """The model stays the one in use."""
    server, client = shared_work
    default = model_of(client)
    work = Work(client)
    with held(server, work, "train") as (name, _):
        work.cancel(name)
        assert failure(work.wait(name)) == CANCELLED
    assert model_of(client) == default


@pytest.fixture
def shared_work(server: Any, own: Client) -> tuple[Any, Client]:
    """A server of its own and a caller."""
    account(own)
    return server, own


def test_an_empty_account_learns_the_defaults(client: Client, work: Work) -> None:
    """From nobody there is nothing to be learnt."""
    summary = work.trained()
    assert (summary.customers, summary.pairs, summary.rounds) == (0, 0, 0)
    assert summary.converged
    assert json.loads(summary.model) == json.loads(model_of(client).model)


def test_a_model_goes_round(client: Client) -> None:
    """What was got can be set, and gives the same; empty is the default again."""
    default = model_of(client)
    set_model(client.acting("steward"), default.model)
    given = model_of(client)
    assert (given.model, given.is_default, given.actor) == (default.model, False, "steward")
    changed = json.loads(default.model)
    changed["shares"]["same"] = 0.123
    set_model(client, json.dumps(changed))
    assert json.loads(model_of(client).model) == changed
    set_model(client, "")
    assert model_of(client) == default


def test_labels_of_nobody(client: Client) -> None:
    """Refused at once, by their place."""
    work = Work(client)
    for id in ("a", "b", "gone"):
        client.save(card(len(id), id))
    client.delete("gone")
    for number, side in enumerate(("left", "right")):
        for id in ("", "nobody", "gone", "x" * 600):
            left, right = ("a", id) if number else (id, "a")
            labels = [label("a", "b", same=True), label(left, right, same=True)]
            refused = refusal(lambda: work.train(labels=labels))  # noqa: B023
            assert refused.short == (NOT_FOUND, "NOT_FOUND", f"labels[1].{side}")


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        ([label("a", "a", same=True)], "labels[0]"),
        ([label("a", "b", same=True), label("b", "a", same=False)], "labels[1]"),
        ([label("a", "b", same=True)] * 10_001, "labels"),
    ],
)
def test_labels_that_contradict(client: Client, labels: list[v1.LabelledPair], field: str) -> None:
    """Themselves, each other, or their bound."""
    for id in ("a", "b"):
        client.save(card(1, id))
    refused = refusal(lambda: Work(client).train(labels=labels))
    assert refused.short == (INVALID, "INVALID_ARGUMENT", field)
    assert not Work(client).page().operations


def _with(change: Callable[[Any], object]) -> Callable[[str], str]:
    def changed(text: str) -> str:
        model = json.loads(text)
        change(model)
        return json.dumps(model)

    return changed


BROKEN: dict[str, Callable[[str], str]] = {
    "no JSON": lambda text: text[:-20],
    "blank": lambda _: " ",
    "a list": lambda _: "[]",
    "a number": lambda _: "1",
    "null": lambda _: "null",
    "deep": lambda _: "[" * 100_000,
    "too large": lambda text: text + " " * (1 << 18),
    "another format": _with(lambda m: m.update(format=99)),
    "no shares": _with(lambda m: m.pop("shares")),
    "no field": _with(lambda m: m["fields"].pop("phone")),
    "no class": _with(lambda m: m["fields"]["phone"]["the same"].pop("same")),
    "a text": _with(lambda m: m["shares"].update(same="0.1")),
    "a truth": _with(lambda m: m["shares"].update(same=True)),
    "NaN": _with(lambda m: m["shares"].update(same=float("nan"))),
    "infinite": _with(lambda m: m["shares"].update(same=float("inf"))),
    "zero": _with(lambda m: m["shares"].update(same=0)),
    "negative": _with(lambda m: m["shares"].update(same=-0.1)),
    "above 1": _with(lambda m: m["shares"].update(same=1.1)),
    "huge": _with(lambda m: m["shares"].update(same=10**400)),
    "shares of a list": _with(lambda m: m.update(shares=[])),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_model_is_refused(client: Client, name: str) -> None:
    """By its field, and the model in use stays."""
    default = model_of(client)
    broken = BROKEN[name](default.model)
    assert refusal(lambda: set_model(client, broken)).short == (
        INVALID, "INVALID_ARGUMENT", "model"
    )  # fmt: skip
    assert model_of(client) == default


def test_what_a_model_says_beyond_the_known_is_not_kept(client: Client) -> None:
    """Nobody stores texts here that are no models."""
    model = json.loads(model_of(client).model)
    set_model(client, json.dumps({**model, "secret": "x" * 1_000}))
    assert json.loads(model_of(client).model) == model
