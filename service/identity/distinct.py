"""Customers that somebody told apart: they are never proposed to each other nor grouped."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations

from service.errors import InvalidArgument, NotFound
from service.identity.registry import live
from service.index import Decision, DropDistinct, Index, PutDistinct, View


async def mark(index: Index, ids: Sequence[str], reason: str, actor: str) -> int:
    """Say of each pair of the customers that they are not the same; return how many are new.

    Raises NotFound, Deleted or Merged where an id is no live customer's: then nothing is marked.
    """
    return await _submit(index, partial(_decide_mark, ids, reason, actor))


async def unmark(index: Index, ids: Sequence[str]) -> int:
    """Take that back for each pair; return how many were marked.

    Raises NotFound where a pair is not marked: then nothing is taken back.
    """
    return await _submit(index, partial(_decide_unmark, ids))


async def _submit(index: Index, decide: partial[Decision[int]]) -> int:
    (outcome,) = await index.submit([decide])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _decide_mark(ids: Sequence[str], reason: str, actor: str, view: View) -> Decision[int]:
    new = [pair for pair in combinations(_rows(ids, view), 2) if not view.is_distinct(*pair)]
    return Decision(len(new), [PutDistinct(*pair, actor, reason) for pair in new])


def _decide_unmark(ids: Sequence[str], view: View) -> Decision[int]:
    marks = [list(view.marks_between(*pair)) for pair in combinations(_rows(ids, view), 2)]
    if not all(marks):
        raise NotFound("two of these customers are not marked as distinct", field="ids")
    return Decision(len(marks), [DropDistinct(*mark) for marked in marks for mark in marked])


def _rows(ids: Sequence[str], view: View) -> list[int]:
    rows = []
    for number, id in enumerate(ids):
        found = live(view.find(id), f"ids[{number}]") if id else None
        if found is None:
            raise NotFound("there is no customer with this id", field=f"ids[{number}]")
        rows.append(found.row)
    if len(set(rows)) < len(rows):
        raise InvalidArgument("names a customer twice", field="ids")
    return rows
