"""Taking back the merges of a run while others change the same customers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from service.errors import NotFound
from service.identity import undoing
from service.identity.bonds import Evidence
from service.identity.merging import Asked, Done, Merger, Plan, Why
from service.identity.operations import Done as Ended
from service.identity.operations import Operation, Progress
from service.identity.undoing import Undoing
from service.index import State
from tests.identity.test_merging import Merging, ada, merging

POLICY = Why("namesake policy", "sure enough", evidence=Evidence("save-1", 0.99, ()))


async def merged(one: Merging, *pairs: tuple[str, str], why: Why = POLICY) -> None:
    """Save customers and merge them two by two."""
    for survivor, member in pairs:
        for id in (survivor, member):
            await one.save(ada(id))
        await one.merger.merge(Plan((Asked(survivor), Asked(member))), why)


async def undo(one: Merging, merger: Merger | None = None) -> Ended:
    """Undo the run."""
    work = Undoing(one.home.index, merger or one.merger, "save-1", "steward", mark_distinct=False)
    await work.check()
    return await work.work(Operation("undo", "undo-merges", "steward", 0), Progress())


async def test_only_merges_of_the_run_are_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many others are between them."""
    monkeypatch.setattr(undoing, "LOOK_MERGES", 2)
    async with merging(tmp_path) as one:
        with pytest.raises(NotFound):
            await undo(one)
        await merged(one, ("a", "b"))
        await merged(one, ("c", "d"), ("e", "f"), ("g", "h"), why=Why("steward"))
        await merged(one, ("i", "j"), ("k", "l"))
        assert (await undo(one)).result == {"undone": 3, "undone_before": 0, "conflicts": 0}
        assert one.live() == ["a", "b", "c", "e", "g", "i", "j", "k", "l"]
        assert (await undo(one)).result == {"undone": 0, "undone_before": 3, "conflicts": 0}


class Hasty(Merger):
    """A merger that somebody is faster than."""

    one: Merging

    async def unmerge(self, ids: Sequence[str], *terms: Any, **more: Any) -> Done:
        """Give back, just after somebody gave one of them back and deleted a survivor."""
        if "b" in ids:
            await self.one.unmerge("b")
        if "e" in ids:
            await self.one.home.registry.delete("d", "", "it was wished", "steward")
        return await super().unmerge(ids, *terms, **more)


async def test_what_others_take_back_or_delete_meanwhile_is_no_fault(tmp_path: Path) -> None:
    """Whoever is left is given back; the run goes on."""
    async with merging(tmp_path) as one:
        for id in "abc":
            await one.save(ada(id))
        await one.merger.merge(Plan((Asked("a"), Asked("b"), Asked("c"))), POLICY)
        await merged(one, ("d", "e"), ("f", "g"))
        hasty = Hasty.__new__(Hasty)
        hasty.__dict__.update(one.merger.__dict__, one=one)
        assert (await undo(one, hasty)).result == {"undone": 2, "undone_before": 1, "conflicts": 0}
        assert one.live() == ["a", "b", "c", "f", "g"]
        assert one.leads_to("e") == (State.DELETED, "")
