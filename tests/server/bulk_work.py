"""Changes to many customers in tests: begun, waited for, and what became of each customer."""

from __future__ import annotations

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from namesake import v1
from tests.server.client import Client, person
from tests.server.long_work import Work

REASON = "asked to be forgotten"


def by_ids(*ids: str) -> v1.CustomerSelection:
    """Mean customers by their ids."""
    return v1.CustomerSelection(ids=v1.CustomerIds(ids=ids))


def by_filter(**asked: Any) -> v1.CustomerSelection:
    """Mean customers by a filter, by default all."""
    return v1.CustomerSelection(filter=v1.CustomerFilter(**asked))


EVERYBODY = by_filter()


def setting(*paths: str, **values: Any) -> v1.CustomerChange:
    """Return a change that sets fields; `paths` beside those of the values."""
    mask = FieldMask(paths=[*values, *paths])
    return v1.CustomerChange(set=mask, values=v1.Customer(**values))


def clearing(*paths: str, **words: Any) -> v1.CustomerChange:
    """Return a change that clears fields, and adds or removes words."""
    return v1.CustomerChange(clear=FieldMask(paths=paths), **words)


class BulkWork:
    """What a caller does with changes to many."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.work = Work(client)

    def update(
        self, selection: v1.CustomerSelection, change: v1.CustomerChange, *, dry_run: bool = False
    ) -> str:
        """Begin to change customers; return the operation's name."""
        request = v1.UpdateCustomersRequest(selection=selection, change=change, dry_run=dry_run)
        return str(self.client.call(self.client.transfer.UpdateCustomers, request).name)

    def delete(self, selection: v1.CustomerSelection, count: int, reason: str = REASON) -> str:
        """Begin to delete customers; return the operation's name."""
        request = v1.DeleteCustomersRequest(selection=selection, count=count, reason=reason)
        return str(self.client.call(self.client.transfer.DeleteCustomers, request).name)

    def count(self, selection: v1.CustomerSelection) -> int:
        """Count customers."""
        request = v1.CountCustomersRequest(selection=selection)
        return int(self.client.call(self.client.transfer.CountCustomers, request).count)

    def done(self, name: str) -> tuple[int, int, int, int]:
        """Wait for an end that is good; return how many were chosen, changed, unchanged, failed."""
        operation = self.work.wait(name)
        summary = v1.BulkSummary()
        assert operation.response.Unpack(summary), operation
        return _counts(summary)

    def told(self, name: str) -> tuple[int, int, int, int]:
        """Return the counts as the metadata of an operation has them."""
        metadata = v1.BulkMetadata()
        assert self.work.get(name).metadata.Unpack(metadata)
        return _counts(metadata)

    def results(self, name: str) -> list[v1.BulkResult]:
        """Read what became of each customer."""
        request = v1.ReadBulkResultsRequest(operation=name)
        answers = self.client.call(self.client.transfer.ReadBulkResults, request)
        return [result for answer in answers for result in answer.results]

    def outcomes(self, name: str) -> dict[str, str]:
        """Return CHANGED, UNCHANGED or the reason of a failure, by customer."""
        return {one.customer_id: outcome(one) for one in self.results(name)}


def outcome(result: v1.BulkResult) -> str:
    """Return what became of a customer in a word; a failure is its reason and field."""
    if result.outcome == v1.BULK_OUTCOME_FAILED:
        return " ".join(filter(None, (result.reason, result.field)))
    assert (result.reason, result.message, result.field) == ("", "", "")
    return v1.BulkOutcome.Name(result.outcome).removeprefix("BULK_OUTCOME_")


def _counts(said: v1.BulkSummary | v1.BulkMetadata) -> tuple[int, int, int, int]:
    return int(said.chosen), int(said.changed), int(said.unchanged), int(said.failed)


def crowd(client: Client, count: int, **fields: Any) -> list[str]:
    """Import many customers that share nothing but the fields given; return their ids."""
    ids = [f"c{number:05}" for number in range(count)]
    people = [person(id=id, last_name=f"Name {id}", **fields) for id in ids]
    batches = [people[start : start + 1_000] for start in range(0, count, 1_000)]
    client.import_all("crowd", *batches)
    return ids
