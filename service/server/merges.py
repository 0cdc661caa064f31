"""MergeService: see merge_service.proto."""

from __future__ import annotations

from collections.abc import Iterable, MutableSequence
from dataclasses import asdict, fields
from typing import Any

from namesake import v1
from service.core.model import Action
from service.errors import InvalidArgument
from service.identity.bonds import merge_record
from service.identity.merging import Asked, Merger, Parting, Plan, Why
from service.identity.operations import Done as Ended
from service.identity.operations import Facts, Operation, Progress, Work, whole
from service.identity.policy import Policy, policy_of, set_policy
from service.identity.undoing import Undoing
from service.server import wire
from service.server.edge import Context, caller
from service.server.merged import (
    clash_message,
    merge_message,
    preview_response,
)
from service.server.operations import merge_operation, operation_message
from service.server.pace import Pace
from service.server.pages import Listing, decode_token, encode_token, page_rows
from service.server.rules import check_text
from service.settings import Settings

REASON_CHARS = 500
RUN_CHARS = 200
REQUEST_ID_CHARS = 64


class MergeService(v1.MergeServiceServicer):
    """Merging and unmerging."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def PreviewMerge(  # noqa: N802
        self, request: v1.PreviewMergeRequest, context: Context
    ) -> v1.PreviewMergeResponse:
        """Say what a merge would come to."""
        plan = _plan(request.plan)
        preview = await caller().account.merger.preview(plan)
        return await preview_response(plan, preview, self._settings.page_limit_bytes)

    async def MergeCustomers(  # noqa: N802
        self, request: v1.MergeCustomersRequest, context: Context
    ) -> Any:
        """Merge, at once or in the background."""
        plan = _plan(request.plan)
        check_text(request.request_id, REQUEST_ID_CHARS, "request_id")
        why = Why(caller().actor, _reason(request.reason), request.request_id)
        account = caller().account
        account.merger.check(plan)
        if len(request.plan.members) <= self._settings.merge_at_once:
            return merge_operation((await account.merger.merge(plan, why)).sequence)

        work = merge_work(account.merger, plan, why)
        facts: Facts = {"survivor": plan.customers[0].id, "members": len(plan.customers) - 1}
        return operation_message(await account.operations.start("merge", facts, why.actor, work))

    async def PreviewUnmerge(  # noqa: N802
        self, request: v1.PreviewUnmergeRequest, context: Context
    ) -> v1.PreviewUnmergeResponse:
        """Say what an unmerge would come to."""
        merger, actions = caller().account.merger, _actions(request.choices)
        parting = await merger.preview_unmerge(request.ids, actions)
        return await self._unmerged(parting)

    async def _unmerged(self, parting: Parting) -> v1.PreviewUnmergeResponse:
        answer = v1.PreviewUnmergeResponse(
            conflicts=(clash_message(clash) for clash in parting.clashes)
        )
        survivor = v1.Customer.FromString(parting.sealed.body)
        survivor.id = parting.survivor.id
        answer.survivor.CopyFrom(wire.dress(survivor))
        restored = _Restored(answer.restored, self._settings)
        for row, one in parting.released.items():
            sealed = parting.cards[row]
            card = wire.body_of(one.record) if sealed is None else wire.body_of(sealed.body)
            card.id = one.id
            if not await restored.fits(card):
                break
        return answer

    async def UnmergeCustomers(  # noqa: N802
        self, request: v1.UnmergeCustomersRequest, context: Context
    ) -> v1.UnmergeCustomersResponse:
        """Give members back."""
        check_text(request.request_id, REQUEST_ID_CHARS, "request_id")
        why = Why(caller().actor, _reason(request.reason), request.request_id)
        account = caller().account
        done = await account.merger.unmerge(
            request.ids,
            _actions(request.choices),
            request.etag,
            why,
            mark_distinct=request.mark_distinct,
        )
        answer = v1.UnmergeCustomersResponse(sequence=done.sequence)
        with account.index.snapshot() as snapshot:
            if (record := snapshot.record(done.row)) is not None:
                answer.survivor.CopyFrom(wire.dressed(record))
            restored = _Restored(answer.restored, self._settings)
            for id in request.ids:
                record = snapshot.record(snapshot.row_of(id) or 0)
                if record is None:
                    continue  # it was merged or deleted again since
                if not await restored.fits(v1.Customer.FromString(record)):
                    break
        return answer

    async def ListMerges(  # noqa: N802
        self, request: v1.ListMergesRequest, context: Context
    ) -> v1.ListMergesResponse:
        """List merges, newest first."""
        check_text(request.run, RUN_CHARS, "run")
        rows = page_rows(request.page_size, self._settings)
        before, of = decode_token(request.page_token, Listing.MERGES)
        if request.page_token and of != request.run:
            raise InvalidArgument("a token of another run", field="page_token")
        answer, pace, size = v1.ListMergesResponse(), Pace(), 0
        with caller().account.index.snapshot() as snapshot:
            merges = snapshot.merges(before) if before else snapshot.merges()
            for looked_at, (sequence, stored) in enumerate(merges):
                is_full = len(answer.merges) == rows or size >= self._settings.page_limit_bytes
                if is_full or looked_at == self._settings.scan_limit_rows:
                    answer.next_page_token = encode_token(Listing.MERGES, before, request.run)
                    break
                before, record = sequence, merge_record(stored)
                if request.run in ("", record.run):
                    merge = merge_message(sequence, record)
                    size += merge.ByteSize()
                    answer.merges.append(merge)
                await pace.step()
        return answer

    async def ListRedirects(  # noqa: N802
        self, request: v1.ListRedirectsRequest, context: Context
    ) -> v1.ListRedirectsResponse:
        """List ids that lead to others."""
        rows, pace = page_rows(request.page_size, self._settings), Pace()
        _, after = decode_token(request.page_token, Listing.REDIRECTS)
        with caller().account.index.snapshot() as snapshot:
            answer = v1.ListRedirectsResponse(sequence=snapshot.sequence)
            found = snapshot.redirects(after, rows)
            for id, into in found:
                if survivor := snapshot.find(id).id:
                    answer.redirects.add(id=id, into_id=into, survivor_id=survivor)
                await pace.step()
        if len(found) == rows:
            answer.next_page_token = encode_token(Listing.REDIRECTS, 0, found[-1][0])
        return answer

    async def UndoMerges(  # noqa: N802
        self, request: v1.UndoMergesRequest, context: Context
    ) -> Any:
        """Take back what a run merged."""
        if not request.run:
            raise InvalidArgument("required", field="run")
        check_text(request.run, RUN_CHARS, "run")
        account, actor = caller().account, caller().actor
        undoing = Undoing(
            account.index, account.merger, request.run, actor, mark_distinct=request.mark_distinct
        )
        await undoing.check()
        facts = {"run": request.run}
        return operation_message(
            await account.operations.start("undo-merges", facts, actor, undoing.work)
        )

    async def GetMergePolicy(  # noqa: N802
        self, request: v1.GetMergePolicyRequest, context: Context
    ) -> v1.GetMergePolicyResponse:
        """Return the account's policy."""
        with caller().account.index.snapshot() as snapshot:
            policy = policy_of(snapshot)
        return v1.GetMergePolicyResponse(policy=v1.MergePolicy(**asdict(policy)))

    async def SetMergePolicy(  # noqa: N802
        self, request: v1.SetMergePolicyRequest, context: Context
    ) -> v1.SetMergePolicyResponse:
        """Put another policy in force."""
        given = request.policy
        policy = Policy(**{field.name: getattr(given, field.name) for field in fields(Policy)})
        stored = await set_policy(caller().account.index, policy)
        return v1.SetMergePolicyResponse(policy=v1.MergePolicy(**asdict(stored)))


def merge_work(merger: Merger, plan: Plan, why: Why) -> Work:
    """Return the work of a merge in the background, which is done whole or not at all."""

    async def work(_operation: Operation, progress: Progress) -> Ended:
        progress.tell("merging", 0.0)
        done = await whole(merger.merge(plan, why))
        progress.tell("merging", 1.0, merges=1)
        return Ended({"sequence": done.sequence})

    return work


def _plan(plan: v1.MergePlan) -> Plan:
    if not plan.priority_id:
        raise InvalidArgument("required", field="plan.priority_id")
    customers = (
        Asked(plan.priority_id, plan.priority_etag),
        *(Asked(member.id, member.etag) for member in plan.members),
    )
    names = set()
    for number, choice in enumerate(plan.choices):
        field = f"plan.choices[{number}].field"
        if choice.field not in wire.FIELD_NAMES:
            raise InvalidArgument("not a field of a card that can be chosen", field=field)
        if choice.field in names:
            raise InvalidArgument("chosen twice", field=field)
        names.add(choice.field)
    return Plan(customers, tuple((choice.field, choice.customer_id) for choice in plan.choices))


def _reason(reason: str) -> str:
    check_text(reason, REASON_CHARS, "reason")
    return reason.strip()


def _actions(choices: Iterable[v1.UnmergeChoice]) -> dict[str, Action]:
    actions: dict[str, Action] = {}
    for number, choice in enumerate(choices):
        if choice.action not in [*map(int, Action)]:
            raise InvalidArgument("required", field=f"choices[{number}].action")
        if choice.element in actions:
            raise InvalidArgument("chosen twice", field=f"choices[{number}].element")
        actions[choice.element] = Action(choice.action)
    return actions


class _Restored:
    """The customers that are back, as many as fit into an answer: it is too late to refuse it."""

    def __init__(self, into: MutableSequence[v1.Customer], settings: Settings) -> None:
        self._into = into
        self._left = settings.page_limit_bytes
        self._pace = Pace()

    async def fits(self, card: v1.Customer) -> bool:
        """Append a card as it is shown, unless the answer is full."""
        shown = wire.dress(card)
        self._left -= shown.ByteSize()
        if self._left < 0:
            return False
        self._into.append(shown)
        await self._pace.step()
        return True
