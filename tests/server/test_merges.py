"""MergeService over the wire: previews, merges, redirects, unmerges, history, the feed."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import grpc
import pytest

from namesake import v1
from tests.conftest import StartServer
from tests.server.client import (
    Client,
    merge_plan,
    over_workers,
    person,
    refusal,
    refusal_in,
    unique,
)
from tests.server.long_work import Work


def preview(client: Client, *ids: str, **terms: Any) -> v1.PreviewMergeResponse:
    """Ask what a merge would come to."""
    request = v1.PreviewMergeRequest(plan=merge_plan(*ids, **terms))
    answer: v1.PreviewMergeResponse = client.call(client.merges.PreviewMerge, request)
    return answer


def names() -> tuple[str, str, str]:
    """Return three ids that no other test has."""
    return unique(), unique(), unique()


def test_a_preview_shows_every_field_the_outcome_and_why(shared: Client) -> None:
    a, b, c = names()
    shared.save(person(f"{a}@x.example", id=a, comment="first"))
    shared.save(person(f"{b}@x.example", id=b, first_name="Ada", comment="second"))
    shared.save(person(id=c, first_name="Augusta", tags=["vip"]))
    answer = preview(shared, a, b, c, choices=[("comment", b)])
    rows = {
        one.field: (
            [value.id for value in one.values],
            v1.MergeReason.Name(one.reason).removeprefix("MERGE_REASON_"),
            list(one.from_ids),
        )
        for one in answer.fields
    }
    assert rows == {
        "kind": ([a, b, c], "SAME", [a, b, c]),
        "state": ([a, b, c], "SAME", [a, b, c]),
        "first_name": ([b, c], "FILLED", [b]),
        "last_name": ([a, b, c], "SAME", [a, b, c]),
        "comment": ([a, b], "CHOSEN", [b]),
        "emails": ([a, b], "UNITED", [a, b]),
        "tags": ([c], "FILLED", [c]),
    }
    assert list(answer.conflicts) == []
    merged = shared.merge(a, b, c, choices=[("comment", b)])
    shown = answer.outcome
    for card in (merged.customer, shown):
        for name in ("etag", "create_time", "update_time"):
            card.ClearField(name)
    assert shown == merged.customer
    assert (shown.comment, shown.first_name, list(shown.tags)) == ("second", "Ada", ["vip"])


def test_etags_of_a_preview_hold_the_merge_to_it(shared: Client) -> None:
    a, b, _ = names()
    for id in (a, b):
        shared.save(person(id=id))
    plan = preview(shared, a, b).plan
    assert plan.priority_etag
    assert plan.members[0].etag
    shared.save(person(id=b, comment="changed"))
    merge = v1.MergeCustomersRequest(plan=plan)
    refused = refusal(lambda: shared.call(shared.merges.MergeCustomers, merge))
    assert refused.short == (
        grpc.StatusCode.ABORTED, "ETAG_MISMATCH", "plan.members[0].etag",
    )  # fmt: skip


def test_merged_ids_are_redirects_everywhere(shared: Client) -> None:
    """In reads, look-ups, saves and duplicates, through two merges."""
    a, b, c = names()
    for id in (a, b, c):
        shared.save(person(f"{id}@x.example", id=id))
    shared.merge(b, c)
    shared.merge(a, b)
    assert [shared.get(id).id for id in (a, b, c)] == [a] * 3
    many = shared.call(
        shared.customers.BatchGetCustomers, v1.BatchGetCustomersRequest(ids=[c, "none"])
    )
    assert [result.customer.id for result in many.results] == [a, ""]
    queries = [
        v1.IdentityQuery(type="customer", value=c),
        v1.IdentityQuery(type="email", value=f"{c}@x.example"),
    ]
    resolved = shared.call(
        shared.customers.ResolveIdentities, v1.ResolveIdentitiesRequest(identities=queries)
    )
    assert [[m.customer_id for m in one.matches] for one in resolved.results] == [[a], [a]]
    refused = refusal(lambda: shared.save(person(id=c)))
    assert refused.short[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "CUSTOMER_MERGED")
    assert refused.metadata["survivor"] == a
    by_id, by_point = person(id=c), person(f"{c}@x.example", comment="imported")
    _, imported = shared.import_all(unique(), [by_id, by_point])
    (failure,) = imported.failures
    assert (failure.row, failure.reason, list(failure.customers)) == (1, "CUSTOMER_MERGED", [a])
    assert (imported.counts.updated, shared.get(a).comment) == (1, "imported")
    twin = shared.save(person(f"{c}@x.example"))
    (group,) = twin.duplicates
    assert [one.id for one in group.customers if not one.current] == [a]


def test_what_stands_against_a_merge_is_said(shared: Client) -> None:
    a, b, c = names()
    for id in (a, b, c):
        shared.save(person(id=id))
    shared.call(
        shared.duplicates.MarkDistinct, v1.MarkDistinctRequest(ids=[b, c], reason="sisters")
    )
    shared.merge(a, b)
    refused = refusal(lambda: shared.merge(a, c))
    assert refused.short == (
        grpc.StatusCode.FAILED_PRECONDITION, "MERGE_CONFLICT", "plan.members",
    )  # fmt: skip
    assert refused.metadata["customers"] == f"{a},{c}"
    shown = preview(shared, a, c, "nobody")
    assert [(one.reason, list(one.customer_ids)) for one in shown.conflicts] == [
        ("NOT_FOUND", ["nobody"])
    ]
    gone = refusal(lambda: shared.merge("nobody", c))
    assert (gone.reason, gone.field) == ("NOT_FOUND", "plan.priority_id")
    (conflict,) = preview(shared, a, c).conflicts
    assert (conflict.reason, sorted(conflict.customer_ids)) == ("MERGE_CONFLICT", sorted([a, c]))
    listed = shared.call(shared.duplicates.ListDistinct, v1.ListDistinctRequest(id=a))
    assert [(one.id, one.reason) for one in listed.customers] == [(c, "sisters")]


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        (v1.MergePlan(members=[v1.MergeMember(id="a")]), "plan.priority_id"),
        (v1.MergePlan(priority_id="a"), "plan.members"),
        (merge_plan("a", "a"), "plan.members"),
        (merge_plan("a", *(f"m{n}" for n in range(1_001))), "plan.members"),
        (merge_plan("a", "b", choices=[("etag", "a")]), "plan.choices[0].field"),
        (merge_plan("a", "b", choices=[("stage", "z")]), "plan.choices[0].customer_id"),
        (merge_plan("a", "b", choices=[("stage", "a")] * 2), "plan.choices[1].field"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(
    shared: Client, plan: v1.MergePlan, field: str
) -> None:
    for call in (
        lambda: shared.call(shared.merges.PreviewMerge, v1.PreviewMergeRequest(plan=plan)),
        lambda: shared.call(shared.merges.MergeCustomers, v1.MergeCustomersRequest(plan=plan)),
    ):
        assert refusal(call).short == (
            grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", field,
        )  # fmt: skip


def test_an_unmerge_gives_back_what_was(shared: Client) -> None:
    """What was added since stays; an edit of what came from a member has to be chosen."""
    a, b, _ = names()
    shared.save(person(f"{a}@x.example", id=a))
    before = shared.save(person(f"{b}@x.example", id=b, first_name="Ada")).customer
    shared.merge(a, b)
    card = shared.get(a)
    card.first_name, card.comment = "Grace", "met her"
    shared.save(card)
    ask = v1.PreviewUnmergeRequest(ids=[b])
    shown = shared.call(shared.merges.PreviewUnmerge, ask)
    (conflict,) = shown.conflicts
    assert (conflict.element, conflict.member_id) == ("first_name", b)
    assert (conflict.before.first_name, conflict.after.first_name) == ("Ada", "Grace")
    refused = refusal(lambda: shared.unmerge(b))
    assert refused.short[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "UNMERGE_CONFLICT")
    assert refused.metadata == {"count": "1", "fields": "first_name"}
    choice = v1.UnmergeChoice(element="first_name", action=v1.UNMERGE_ACTION_KEEP)
    answer = shared.unmerge(b, choices=[choice])
    assert (answer.survivor.first_name, answer.survivor.comment) == ("Grace", "met her")
    (restored,) = answer.restored
    for one in (before, restored):
        for name in ("etag", "update_time"):
            one.ClearField(name)
    assert restored == before
    refused = refusal(lambda: shared.unmerge(b))
    assert refused.short == (
        grpc.StatusCode.FAILED_PRECONDITION, "CUSTOMER_NOT_MERGED", "ids[0]",
    )  # fmt: skip


def test_the_history_of_a_survivor_has_its_members(shared: Client) -> None:
    """One entry of each change, newest first, page by page; a merged id leads to it."""
    a, b, c = names()
    for id in (a, b, c):
        shared.save(person(id=id))
    shared.save(person(id=c, comment="edited"))
    shared.merge(b, c)
    shared.merge(a, b)
    shared.save(person(id=a, comment="after"))
    kinds = [
        (v1.ChangeKind.Name(one.kind).removeprefix("CHANGE_KIND_"), one.member_id)
        for one in shared.history(c)
    ]
    assert kinds == [
        ("UPDATED", ""), ("MERGED", ""), ("MERGED", b), ("UPDATED", c),
        ("CREATED", c), ("CREATED", b), ("CREATED", ""),
    ]  # fmt: skip
    assert shared.history(a, page_size=2) == shared.history(a)
    merged = shared.history(a)[1]
    assert list(merged.merged_ids) == [b]
    assert merged.after.comment == "edited"
    shared.unmerge(b, choices=[v1.UnmergeChoice(action=v1.UNMERGE_ACTION_KEEP)])
    assert [one.kind for one in shared.history(b)] == [
        v1.CHANGE_KIND_RESTORED, v1.CHANGE_KIND_MERGED, v1.CHANGE_KIND_MERGED,
        v1.CHANGE_KIND_UPDATED, v1.CHANGE_KIND_CREATED, v1.CHANGE_KIND_CREATED,
    ]  # fmt: skip


def test_merges_are_listed_and_remembered(client: Client) -> None:
    for id in "abcd":
        client.save(person(id=id))
    client.save(person(id="e"), request_id="once")  # saves have ids of their own
    first = client.merge("a", "b", request_id="once", reason="the same person")
    assert client.save(person(id="e"), request_id="once").customer.id == "e"
    assert client.merge("a", "b", request_id="once").sequence == first.sequence
    client.acting("steward").merge("c", "d")
    given = client.unmerge("b", request_id="once")
    again = client.unmerge("b", request_id="once")
    assert (again.sequence, [one.id for one in again.restored]) == (given.sequence, ["b"])
    pages, token = [], ""
    while True:
        answer = client.call(
            client.merges.ListMerges, v1.ListMergesRequest(page_size=1, page_token=token)
        )
        pages += answer.merges
        token = answer.next_page_token
        if not token:
            break
    assert [(one.survivor_id, list(one.member_ids), list(one.undone_ids)) for one in pages] == [
        ("c", ["d"], []),
        ("a", ["b"], ["b"]),
    ]
    assert (pages[0].actor, pages[1].reason) == ("steward", "the same person")


def test_what_was_merged_at_once_is_an_operation_like_others(client: Client) -> None:
    """For whoever waits, cancels and deletes without a look at `done`."""
    for id in "ab":
        client.save(person(id=id))
    work, sequence = Work(client), client.merge("a", "b").sequence
    name = f"operations/merge-{sequence}"
    for operation in (work.get(name), work.wait(name)):
        answer = v1.MergeCustomersResponse()
        assert operation.done
        assert operation.response.Unpack(answer)
        assert (answer.sequence, answer.customer.id) == (sequence, "a")
    work.cancel(name)
    work.delete(name)
    assert work.wait(name) == operation
    for call in (work.get, work.wait, work.cancel, work.delete):
        refused = refusal(partial(call, f"operations/merge-{sequence + 1}"))
        assert (refused.code, refused.field) == (grpc.StatusCode.NOT_FOUND, "name")


def test_redirects_are_listed_by_id(client: Client) -> None:
    """Each with whom it was merged into and whom it leads to; none of who is deleted."""
    for id in "abcdefgé":
        client.save(person(id=id))
    client.merge("c", "a", "é")
    client.merge("b", "c")
    client.merge("e", "d")
    last = client.merge("g", "f").sequence
    pages = list(client.redirects(page_size=2))
    found = [(one.id, one.into_id, one.survivor_id) for page in pages for one in page.redirects]
    assert found == [
        ("a", "c", "b"),
        ("c", "b", "b"),
        ("d", "e", "e"),
        ("f", "g", "g"),
        ("é", "c", "b"),
    ]
    assert [len(page.redirects) for page in pages] == [2, 2, 1]
    assert {page.sequence for page in pages} == {last}
    client.delete("b")
    client.unmerge("d")
    (page,) = client.redirects()
    assert [one.id for one in page.redirects] == ["f"]
    wrong = v1.ListRedirectsRequest(page_token="x")
    assert refusal(lambda: client.call(client.merges.ListRedirects, wrong)).field == "page_token"


def test_many_are_merged_in_the_background(client: Client) -> None:
    """Atomic for readers: they see all, or one."""
    ids = [f"m{number}" for number in range(300)]
    for id in ids:
        client.save(person(f"{id}@x.example" if id < "m2" else "+442079460018", id=id))
    seen: set[int] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            listed = client.call(
                client.customers.ListCustomers, v1.ListCustomersRequest(page_size=1_000)
            )
            seen.add(len(listed.customers))

    reader = threading.Thread(target=look)
    reader.start()
    request = v1.MergeCustomersRequest(plan=merge_plan(*ids))
    request.plan.choices.add(field="emails", customer_id="m0")
    pair = v1.MarkDistinctRequest(ids=["m8", "m9"])
    client.call(client.duplicates.MarkDistinct, pair)
    failed = Work(client).wait(client.call(client.merges.MergeCustomers, request).name)
    assert refusal_in(failed.error).short == (
        grpc.StatusCode.FAILED_PRECONDITION, "MERGE_CONFLICT", "plan.members",
    )  # fmt: skip
    assert refusal_in(failed.error).metadata == {"customers": "m8,m9"}
    client.call(client.duplicates.UnmarkDistinct, v1.UnmarkDistinctRequest(ids=pair.ids))
    operation = client.call(client.merges.MergeCustomers, request)
    assert not operation.done
    done = Work(client).wait(operation.name)
    ended.set()
    reader.join()
    answer = v1.MergeCustomersResponse()
    assert done.response.Unpack(answer)
    assert list(answer.merged_ids) == ids[1:]
    assert answer.customer.id == "m0"
    told = v1.MergeMetadata()
    assert done.metadata.Unpack(told)
    assert (told.step, told.share, told.merges) == ("merging", 1, 1)
    (event,) = client.feed(kinds=[v1.CHANGE_KIND_MERGED])
    assert (event.change.sequence, list(event.change.merged_ids)) == (answer.sequence, ids[1:])
    assert seen <= {300, 1}
    assert client.unmerge(*ids[1:]).survivor.id == "m0"
    assert sum(len(page) for page in client.pages()) == 300


def test_cards_that_fit_no_answer_are_left_out(client: Client) -> None:
    """What is done is answered as such, and a preview can be had, however large the cards are."""
    ids = [f"large{number}" for number in range(75)]
    for id in ids:
        client.save(person(id=id, comment="€" * 10_000, stage="€" * 10_000))
    shown = {one.field: one for one in preview(client, *ids).fields}
    assert len(shown["last_name"].values) == 75
    assert [one.id for one in shown["comment"].values] == ids[: len(shown["comment"].values)]
    assert shown["comment"].outcome.comment
    request = v1.MergeCustomersRequest(plan=merge_plan(*ids))
    assert not Work(client).wait(client.call(client.merges.MergeCustomers, request).name).error.code
    asked = v1.PreviewUnmergeRequest(ids=ids[1:])
    for answer in (client.call(client.merges.PreviewUnmerge, asked), client.unmerge(*ids[1:])):
        count = len(answer.restored)
        assert 0 < count < 74
        assert [one.id for one in answer.restored] == ids[1 : count + 1]
    assert client.get(ids[-1]).id == ids[-1]


def test_several_merges_at_once_over_two_workers(start_server: StartServer) -> None:
    """Of overlapping sets one wins whole."""
    server = start_server("--workers", "2")
    outcomes: list[str] = []

    def merge(number: int, client: Client) -> None:
        try:
            client.merge(f"c{number}", f"c{number + 1}", f"c{(number + 2) % 8}")
            outcomes.append("merged")
        except grpc.RpcError as error:
            outcomes.append(str(error.code()))

    with over_workers(server, 7) as clients:
        client = clients[0]
        for number in range(8):
            client.save(person(id=f"c{number}"))
        threads = [threading.Thread(target=merge, args=given) for given in enumerate(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(outcomes) <= {"merged", str(grpc.StatusCode.FAILED_PRECONDITION)}
        live = sum(len(page) for page in client.pages())
        assert live == 8 - 2 * outcomes.count("merged")
        for number in range(8):
            assert client.get(f"c{number}").id
