"""Merges and unmerges as the wire has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from namesake import v1
from service.core.model import Clash
from service.errors import NotFound
from service.identity.bonds import MergeRecord, merge_record
from service.identity.merging import Looked, Obstacle, Plan, Preview
from service.index import Reads
from service.server import wire
from service.server.pace import Pace

_LISTS = frozenset(
    {"emails", "phones", "addresses", "contacts", "identities", "preferences", "custom_fields"}
) | frozenset(wire.WORD_LISTS)


def merge_response(reads: Reads, sequence: int) -> v1.MergeCustomersResponse:
    """Return what a merge came to, with the survivor as it is now; none if it was deleted since.

    Raises NotFound where the sequence is not that of a merge.
    """
    stored = reads.merge(sequence)
    if stored is None:
        raise NotFound("there is no such merge", field="name")
    record = merge_record(stored)
    answer = v1.MergeCustomersResponse(sequence=sequence, merged_ids=record.members)
    found = reads.find(record.survivor)
    if found.row and (card := reads.record(found.row)) is not None:
        answer.customer.CopyFrom(wire.dressed(card))
    return answer


def merge_message(sequence: int, record: MergeRecord) -> v1.Merge:
    """Return a merge that was done."""
    return v1.Merge(
        sequence=sequence,
        survivor_id=record.survivor,
        member_ids=record.members,
        actor=record.actor,
        time=wire.timestamp(record.time_us),
        reason=record.reason,
        run=record.run,
        probability=record.probability,
        evidence=record.evidence,
        undone_ids=record.undone,
    )


async def preview_response(
    plan: Plan, preview: Preview, limit_bytes: int
) -> v1.PreviewMergeResponse:
    """Return what a merge would come to, field by field; of values those that fit."""
    answer = v1.PreviewMergeResponse(
        conflicts=(conflict_message(obstacle) for obstacle in preview.obstacles)
    )
    if preview.sealed is not None:
        outcome = v1.Customer.FromString(preview.sealed.body)
        pace = Pace()
        for field in _fields(preview.customers, outcome, dict(plan.choices)):
            answer.fields.append(field)
            await pace.step()
        if answer.ByteSize() > limit_bytes:
            for field in answer.fields:
                _cut(field, limit_bytes // len(answer.fields))
        outcome.id = preview.customers[0].id
        answer.outcome.CopyFrom(wire.dress(outcome))
    etags = {one.id: one.held.etag for one in preview.customers}
    priority, *members = plan.customers
    answer.plan.priority_id, answer.plan.priority_etag = priority.id, etags.get(priority.id, "")
    for one in members:
        answer.plan.members.add(id=one.id, etag=etags.get(one.id, ""))
    for name, id in plan.choices:
        answer.plan.choices.add(field=name, customer_id=id)
    return answer


def _cut(field: v1.FieldOutcome, limit_bytes: int) -> None:
    """Leave out the last values of a field that take more than this; the first remains."""
    size = 0
    for number, value in enumerate(field.values):
        size += value.ByteSize()
        if number and size > limit_bytes:
            del field.values[number:]
            return


def conflict_message(obstacle: Obstacle) -> v1.MergeConflict:
    """Return what stands in the way."""
    error = obstacle.error
    return v1.MergeConflict(
        reason=error.reason, field=error.field, message=error.message, customer_ids=obstacle.ids
    )


def clash_message(clash: Clash) -> v1.UnmergeConflict:
    """Return what somebody has to choose."""
    return v1.UnmergeConflict(
        element=clash.element,
        member_id=clash.member,
        before=v1.Customer.FromString(clash.before),
        after=v1.Customer.FromString(clash.after),
    )


def _fields(
    customers: Sequence[Looked], outcome: v1.Customer, choices: dict[str, str]
) -> Iterator[v1.FieldOutcome]:
    """Yield what becomes of each field that somebody has a value of."""
    cards = [(one.id, wire.body_of(one.record)) for one in customers]
    for name in wire.FIELD_NAMES:
        values = [(id, _only(card, name)) for id, card in cards]
        values = [(id, value) for id, value in values if value.ListFields()]
        if not values:
            continue
        result = _only(outcome, name)
        reason, sources = _reason(name, values, result, choices.get(name, ""), cards[0][0])
        yield v1.FieldOutcome(
            field=name,
            values=(_named(id, value) for id, value in values),
            outcome=result,
            reason=reason,
            from_ids=sources,
        )


def _reason(
    name: str,
    values: Sequence[tuple[str, v1.Customer]],
    result: v1.Customer,
    chosen: str,
    priority: str,
) -> tuple[v1.MergeReason.ValueType, Iterable[str]]:
    ids = [id for id, _ in values]
    if chosen:
        return v1.MERGE_REASON_CHOSEN, [chosen]
    if all(value == values[0][1] for _, value in values) and len(values) > 1:
        return v1.MERGE_REASON_SAME, ids
    if name in _LISTS and len(values) > 1:
        return v1.MERGE_REASON_UNITED, ids
    if ids[0] == priority:
        return v1.MERGE_REASON_PRIORITY, ids[:1]
    return v1.MERGE_REASON_FILLED, ids[:1]


def _only(card: v1.Customer, name: str) -> v1.Customer:
    only = v1.Customer()
    wire.copy_field(card, only, name)
    return only


def _named(id: str, value: v1.Customer) -> v1.Customer:
    value.id = id
    return value
