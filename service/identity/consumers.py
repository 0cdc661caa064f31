"""Named consumers of the change feed: how far each is, durably.

A cursor never leaves the feed: it is not ahead of its end, and not behind what it still has when it
is put. One that fell behind later is lost: its consumer begins anew with a snapshot.
"""

from __future__ import annotations

from functools import partial

from service.errors import ConsumerAhead, LimitExceeded, NotFound, SequenceUnavailable
from service.index import Decision, DropConsumer, Index, PutConsumer, Reads, View
from service.settings import Settings


class Consumers:
    """Those of one account."""

    def __init__(self, index: Index, settings: Settings) -> None:
        self._index = index
        self._limit = settings.consumers_limit

    async def acknowledge(self, name: str, sequence: int, *, back: bool) -> None:
        """Note that a consumer has processed everything up to `sequence`; make it if it is new.

        Raises SequenceUnavailable, ConsumerAhead or LimitExceeded.
        """
        await self._submit(partial(_acknowledge, name, sequence, back, self._limit))

    async def forget(self, name: str) -> None:
        """Forget a consumer; raise NotFound if there is none."""
        await self._submit(partial(_forget, name))

    async def _submit(self, decide: partial[Decision[None]]) -> None:
        (outcome,) = await self._index.submit([decide])
        if isinstance(outcome, Exception):
            raise outcome


def check_kept(reads: Reads, after: int, field: str) -> None:
    """Raise SequenceUnavailable unless the feed has everything after a sequence."""
    first, last = reads.first_sequence, reads.counters.next_sequence - 1
    if first - 1 <= after <= last:
        return
    if after > last:
        message = "the feed has not reached this sequence"
    else:
        message = (
            "the feed does not go back so far any more: take a snapshot (ExportCustomers, then "
            "ListRedirects) and go on after its sequence"
        )
    raise SequenceUnavailable(
        message, field=field, first_sequence=str(first), last_sequence=str(last)
    )


def _acknowledge(name: str, sequence: int, back: bool, limit: int, view: View) -> Decision[None]:
    check_kept(view, sequence, "sequence")
    known = view.consumer(name)
    if known is None and view.consumer_count >= limit:
        raise LimitExceeded(
            f"an account has at most {limit} consumers; delete one that is not in use",
            field="consumer",
        )
    if known is not None and sequence < known.sequence and not back:
        raise ConsumerAhead(
            "the consumer has acknowledged more; say `back` to process changes again",
            field="sequence",
            sequence=str(known.sequence),
        )
    return Decision(None, (PutConsumer(name, sequence),))


def _forget(name: str, view: View) -> Decision[None]:
    if view.consumer(name) is None:
        raise NotFound("there is no consumer of this name", field="name")
    return Decision(None, (DropConsumer(name),))
