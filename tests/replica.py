"""A consumer of the change feed that keeps a copy of all customers, as another system would."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from namesake import v1

KEPT = ("etag", "update_time")  # beside `fields`: they change with every change


class Replica:
    """Customers as of a sequence, the ids that lead to others, and those that are gone.

    A customer is None where its card was not sent, because it was deleted by then.
    """

    def __init__(
        self,
        customers: Iterable[v1.Customer] = (),
        sequence: int = 0,
        redirects: Iterable[v1.Redirect] = (),
    ) -> None:
        """Begin with a snapshot and the redirects of then or later, or with nothing."""
        self.customers: dict[str, v1.Customer | None] = {
            customer.id: plain(customer) for customer in customers
        }
        self.redirects = {one.id: one.into_id for one in redirects}
        self.tombstones: set[str] = set()
        self.sequence = sequence
        self.returning: list[str] = []  # of an unmerge, those whose change has not come yet

    def apply(self, change: v1.Change) -> None:
        """Do what a change says, which has to be the next one."""
        assert change.sequence == self.sequence + 1
        self.sequence = change.sequence
        id = change.customer_id
        match change.kind:
            case v1.CHANGE_KIND_CREATED:
                assert id not in self.customers
                self.customers[id] = plain(change.after) if change.HasField("after") else None
            case v1.CHANGE_KIND_DELETED:
                del self.customers[id]
                self._bury(id)
            case v1.CHANGE_KIND_MERGED:
                self._change(change)
                for member in change.merged_ids:
                    del self.customers[member]
                    self.redirects[member] = id
            case v1.CHANGE_KIND_UNMERGED:
                self._change(change)
                self.returning = list(change.merged_ids)
            case v1.CHANGE_KIND_RESTORED:
                assert id == self.returning.pop(0)
                self.redirects.pop(id, None)  # it may have been listed later than this
                self.customers[id] = plain(change.after) if change.HasField("after") else None
            case _:
                self._change(change)

    def _bury(self, id: str) -> None:
        """Note a customer as gone for ever, and whoever was merged into it."""
        self.tombstones.add(id)
        for member in [one for one, survivor in self.redirects.items() if survivor == id]:
            del self.redirects[member]
            self._bury(member)

    def _change(self, change: v1.Change) -> None:
        card = self.customers[change.customer_id]
        if card is None or not change.HasField("after"):
            self.customers[change.customer_id] = None
            return
        now = v1.Customer()
        now.CopyFrom(card)
        for name in (*change.fields.paths, *KEPT):
            now.ClearField(_any(name))
        now.MergeFrom(change.after)
        self.customers[change.customer_id] = plain(now)

    def follow(self, changes: Iterable[v1.WatchedChange], end: int) -> None:
        """Apply those of the changes that are new, up to a sequence."""
        for watched in changes:
            if self.sequence < watched.change.sequence <= end:
                self.apply(watched.change)
        assert self.sequence == end


def plain(customer: v1.Customer) -> v1.Customer:
    """Return a card without what differences do not carry: when findings were looked up."""
    card = v1.Customer()
    card.CopyFrom(customer)
    owners: list[Any] = [card, *card.contacts]
    for owner in owners:
        for point in (*owner.emails, *owner.phones):
            point.finding.ClearField("check_time")
            point.finding.ClearField("expire_time")
    return card


def _any(name: str) -> Any:
    return name
