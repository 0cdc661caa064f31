"""A caller of the API for tests: cards in few words, calls with a deadline, refusals as values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count, zip_longest
from typing import Any, cast

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from namesake import v1
from tests.conftest import Server

DEADLINE_S = 30.0
OUTPUT_ONLY = ("id", "etag", "create_time", "update_time")

_numbers = count(1)


def unique() -> str:
    """Return a word that no other test has."""
    return f"u{next(_numbers)}x"


def person(*points: str, last_name: str = "Lovelace", **fields: Any) -> v1.Customer:
    """Return a private customer; what has an "@" is an e-mail, the rest are phones."""
    return v1.Customer(
        last_name=last_name,
        emails=[v1.EmailAddress(value=one) for one in points if "@" in one],
        phones=[v1.PhoneNumber(value=one) for one in points if "@" not in one],
        **fields,
    )


def merge_plan(*ids: str, choices: Iterable[tuple[str, str]] = ()) -> v1.MergePlan:
    """Return a plan in which the first remains."""
    return v1.MergePlan(
        priority_id=ids[0],
        members=[v1.MergeMember(id=id) for id in ids[1:]],
        choices=[v1.FieldChoice(field=field, customer_id=id) for field, id in choices],
    )


@dataclass(frozen=True)
class Refusal:
    """What a failed call said."""

    code: grpc.StatusCode
    reason: str
    field: str
    message: str
    metadata: dict[str, str]

    @property
    def short(self) -> tuple[grpc.StatusCode, str, str]:
        """Code, reason and field."""
        return self.code, self.reason, self.field


def refusal(call: Callable[[], object]) -> Refusal:
    """Make a call that must fail and return what it said."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return refusal_of(caught.value)


def refusal_of(error: grpc.RpcError) -> Refusal:
    """Read the rich status of a failed call."""
    status = rpc_status.from_call(cast(grpc.Call, error))
    return replace(refusal_in(status), code=error.code(), message=error.details() or "")


def refusal_in(status: Any) -> Refusal:
    """Read a status, as a failed call or operation has it; None has nothing to say."""
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details if status is not None else ():
        assert detail.Unpack(info) or detail.Unpack(bad)
    fields = [violation.field for violation in bad.field_violations]
    assert info.domain in ("", "namesake")
    number, message = (status.code, status.message) if status is not None else (2, "")
    code = next(one for one in grpc.StatusCode if one.value[0] == number)
    return Refusal(code, info.reason, ",".join(fields), message, dict(info.metadata))


class Client:
    """Stubs of all services on one channel, and the calls that tests make most."""

    def __init__(self, channel: grpc.Channel, *metadata: tuple[str, str]) -> None:
        self.channel = channel
        self.bytes: Any = channel  # for calls without encoding, which the stubs do not know
        self.metadata = metadata
        self.customers = v1.CustomerServiceStub(channel)
        self.validation = v1.ValidationServiceStub(channel)
        self.duplicates = v1.DuplicateServiceStub(channel)
        self.merges = v1.MergeServiceStub(channel)
        self.transfer = v1.TransferServiceStub(channel)
        self.timeline = v1.TimelineServiceStub(channel)
        self.admin = v1.AdminServiceStub(channel)

    def acting(self, actor: str) -> Client:
        """Return a caller that says who acts."""
        return Client(self.channel, *self.metadata, ("namesake-actor", actor))

    def call(self, method: Callable[..., Any], request: object) -> Any:
        """Call a method within the deadline."""
        return method(request, timeout=DEADLINE_S, metadata=self.metadata)

    def save(self, customer: v1.Customer, **terms: Any) -> v1.SaveCustomerResponse:
        """Save a card."""
        request = v1.SaveCustomerRequest(customer=customer, **terms)
        answer: v1.SaveCustomerResponse = self.call(self.customers.SaveCustomer, request)
        return answer

    def update(self, customer: v1.Customer, *paths: str, **terms: Any) -> v1.UpdateCustomerResponse:
        """Change the fields named by `paths`."""
        request = v1.UpdateCustomerRequest(
            customer=customer, update_mask=FieldMask(paths=paths), **terms
        )
        answer: v1.UpdateCustomerResponse = self.call(self.customers.UpdateCustomer, request)
        return answer

    def delete(self, id: str, reason: str = "asked to be forgotten", etag: str = "") -> int:
        """Delete a customer; return the change's sequence."""
        request = v1.DeleteCustomerRequest(id=id, reason=reason, etag=etag)
        return int(self.call(self.customers.DeleteCustomer, request).sequence)

    def merge(
        self, *ids: str, choices: Iterable[tuple[str, str]] = (), **terms: Any
    ) -> v1.MergeCustomersResponse:
        """Merge customers into the first, at once."""
        request = v1.MergeCustomersRequest(plan=merge_plan(*ids, choices=choices), **terms)
        operation = self.call(self.merges.MergeCustomers, request)
        answer = v1.MergeCustomersResponse()
        assert operation.done
        assert operation.response.Unpack(answer)
        return answer

    def unmerge(self, *ids: str, **terms: Any) -> v1.UnmergeCustomersResponse:
        """Give customers back."""
        request = v1.UnmergeCustomersRequest(ids=ids, **terms)
        answer: v1.UnmergeCustomersResponse = self.call(self.merges.UnmergeCustomers, request)
        return answer

    def redirects(self, page_size: int = 0) -> Iterator[v1.ListRedirectsResponse]:
        """List redirects to the end, page by page."""
        request = v1.ListRedirectsRequest(page_size=page_size)
        while True:
            page = self.call(self.merges.ListRedirects, request)
            yield page
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def get(self, id: str) -> v1.Customer:
        """Return a customer."""
        answer: v1.GetCustomerResponse = self.call(
            self.customers.GetCustomer, v1.GetCustomerRequest(id=id)
        )
        return answer.customer

    def pages(self, page_size: int = 0, **terms: Any) -> list[list[v1.Customer]]:
        """List customers to the end, page by page."""
        pages, token = [], ""
        while True:
            request = v1.ListCustomersRequest(page_size=page_size, page_token=token, **terms)
            answer = self.call(self.customers.ListCustomers, request)
            pages.append(list(answer.customers))
            token = answer.next_page_token
            if not token:
                return pages

    def history(self, id: str, page_size: int = 0) -> list[v1.Change]:
        """List a customer's history to its end."""
        changes: list[v1.Change] = []
        token = ""
        while True:
            request = v1.ListHistoryRequest(id=id, page_size=page_size, page_token=token)
            answer = self.call(self.customers.ListHistory, request)
            assert not page_size or len(answer.changes) <= page_size
            changes += answer.changes
            token = answer.next_page_token
            if not token:
                return changes

    def feed(self, after: int = 0, **terms: Any) -> list[v1.WatchedChange]:
        """Read the change feed up to now."""
        request = v1.WatchChangesRequest(after_sequence=after, until_now=True, **terms)
        answers = self.call(self.customers.WatchChanges, request)
        return [change for answer in answers for change in answer.changes]

    def watch(self, **terms: Any) -> Any:
        """Open the change feed; it goes on until it is cancelled."""
        return self.customers.WatchChanges(v1.WatchChangesRequest(**terms), metadata=self.metadata)

    def resolve(self, *pairs: tuple[str, str], region: str = "") -> list[v1.ResolvedIdentity]:
        """Resolve (type, value) pairs."""
        request = v1.ResolveIdentitiesRequest(
            identities=[v1.IdentityQuery(type=type, value=value) for type, value in pairs],
            default_region=region,
        )
        return list(self.call(self.customers.ResolveIdentities, request).results)

    def holders(self, type: str, value: str) -> list[str]:
        """Return the ids that hold one identity."""
        (result,) = self.resolve((type, value))
        return [match.customer_id for match in result.matches]

    def stats(self) -> v1.GetStatsResponse:
        """Return the account's statistics."""
        answer: v1.GetStatsResponse = self.call(self.admin.GetStats, v1.GetStatsRequest())
        return answer

    def faults(self) -> list[str]:
        """Verify the index; return what is wrong."""
        answers = list(self.call(self.admin.Verify, v1.VerifyRequest()))
        assert answers[-1].done
        faults = [f"{f.table}: {f.message}" for answer in answers for f in answer.faults]
        assert len(faults) == answers[-1].fault_count
        return faults

    def add(self, *items: v1.Item, **terms: Any) -> list[v1.ItemResult]:
        """Add items to timelines."""
        request = v1.AddItemsRequest(items=items, **terms)
        return list(self.call(self.timeline.AddItems, request).results)

    def items(self, id: str, page_size: int = 0, **terms: Any) -> list[v1.Item]:
        """List a customer's items to the end."""
        items: list[v1.Item] = []
        token = ""
        while True:
            request = v1.ListItemsRequest(
                customer_id=id, page_size=page_size, page_token=token, **terms
            )
            answer = self.call(self.timeline.ListItems, request)
            assert not page_size or len(answer.items) <= page_size
            items += answer.items
            token = answer.next_page_token
            if not token:
                return items

    def import_stream(
        self, requests: Iterable[v1.ImportCustomersRequest]
    ) -> Iterator[v1.ImportCustomersResponse]:
        """Open an import stream."""
        answers: Iterator[v1.ImportCustomersResponse] = self.call(
            self.transfer.ImportCustomers, iter(requests)
        )
        return answers

    def import_all(
        self, job_id: str, *batches: list[v1.Customer], **settings: Any
    ) -> list[v1.ImportCustomersResponse]:
        """Import whole batches, numbered from 1; return every response."""
        return list(self.import_stream([opening(job_id, **settings), *numbered(batches)]))

    def job(self, job_id: str) -> v1.ImportJob:
        """Return an import job."""
        answer = self.call(self.transfer.GetImport, v1.GetImportRequest(job_id=job_id))
        job: v1.ImportJob = answer.job
        return job

    def jobs(self, page_size: int = 0) -> list[v1.ImportJob]:
        """List the import jobs to the end."""
        jobs: list[v1.ImportJob] = []
        token = ""
        while True:
            request = v1.ListImportsRequest(page_size=page_size, page_token=token)
            answer = self.call(self.transfer.ListImports, request)
            assert not page_size or len(answer.jobs) <= page_size
            jobs += answer.jobs
            token = answer.next_page_token
            if not token:
                return jobs

    def failures(self, job_id: str, page_size: int = 0, **terms: Any) -> list[v1.RowFailure]:
        """List the failures of an import job to the end."""
        failures: list[v1.RowFailure] = []
        token = ""
        while True:
            request = v1.ListImportFailuresRequest(
                job_id=job_id, page_size=page_size, page_token=token, **terms
            )
            answer = self.call(self.transfer.ListImportFailures, request)
            assert not page_size or len(answer.failures) <= page_size
            failures += answer.failures
            token = answer.next_page_token
            if not token:
                return failures

    def export(self, **terms: Any) -> list[v1.ExportCustomersResponse]:
        """Export to the end; return every message."""
        return list(self.call(self.transfer.ExportCustomers, v1.ExportCustomersRequest(**terms)))


@contextmanager
def over_workers(server: Server, count: int, workers: int = 2) -> Iterator[list[Client]]:
    """Open so many clients of a server, as many of each of its workers, by turns.

    The kernel gives each connection to any of them: those of which there are enough are closed.
    """
    by_start: dict[int, list[Client]] = {}
    with ExitStack() as stack:
        while sum(map(len, by_start.values())) < count:
            channel = server.channel()
            client = Client(channel)
            of_one = by_start.setdefault(client.stats().start_time.ToMicroseconds(), [])
            if len(of_one) < -(-count // workers):
                of_one.append(client)
                stack.enter_context(channel)
            else:
                channel.close()
        assert len(by_start) == workers
        yield [one for turn in zip_longest(*by_start.values()) for one in turn if one is not None]


def opening(job_id: str, **settings: Any) -> v1.ImportCustomersRequest:
    """Return the first message of an import."""
    return v1.ImportCustomersRequest(settings=v1.ImportSettings(job_id=job_id, **settings))


def numbered(
    batches: Iterable[list[v1.Customer]], first: int = 1
) -> Iterator[v1.ImportCustomersRequest]:
    """Yield the batches of an import with their numbers."""
    for number, customers in enumerate(batches, first):
        batch = v1.ImportBatch(number=number, customers=customers)
        yield v1.ImportCustomersRequest(batch=batch)


def substance(customer: v1.Customer) -> v1.Customer:
    """Return a card without what differs between two saves of the same: ids and times."""
    plain = v1.Customer()
    plain.CopyFrom(customer)
    plain.ClearField("id")
    plain.ClearField("etag")
    plain.ClearField("create_time")
    plain.ClearField("update_time")
    owners: list[Any] = [plain, *plain.contacts]
    for owner in owners:
        for point in (*owner.emails, *owner.phones):
            point.finding.ClearField("check_time")
            point.finding.ClearField("expire_time")
    return plain
