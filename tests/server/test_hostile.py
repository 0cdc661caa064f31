"""Bad input over the wire, byte by byte: a clear status, a living server, nothing stored."""

from __future__ import annotations

import base64
import os
import random
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from namesake import v1
from tests.conftest import Server, StartServer
from tests.server.bulk_work import by_filter, by_ids, clearing
from tests.server.client import Client, opening, person, refusal
from tests.server.test_operation import connected

MESSAGES = int(os.environ.get("NAMESAKE_TEST_HOSTILE_MESSAGES", "10000"))
MESSAGE_LIMIT = 16 << 20

OK = grpc.StatusCode.OK
INVALID = grpc.StatusCode.INVALID_ARGUMENT
# What a request may be answered with, whatever stands in it.
CLEAR = {
    OK, INVALID, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.ABORTED, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}  # fmt: skip

CUSTOMERS = "/namesake.v1.CustomerService/"
SAVE = f"{CUSTOMERS}SaveCustomer"

FILES = ("admin", "customer", "duplicate", "merge", "timeline", "transfer", "validation")


@dataclass(frozen=True)
class Method:
    """One method of the API, called with raw bytes."""

    path: str
    client_streams: bool
    server_streams: bool


def methods() -> list[Method]:
    """Return every method of every service, from the descriptors."""
    pool = descriptor_pool.Default()
    files = [pool.FindFileByName(f"namesake/v1/{name}_service.proto") for name in FILES]
    return [
        Method(
            f"/{service.full_name}/{method.name}",
            bool(method.client_streaming),
            bool(method.server_streaming),
        )
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
    ]


class Raw:
    """Calls that send bytes as they are and read bytes back."""

    def __init__(self, client: Client) -> None:
        self.channel = client.bytes
        self.terms = {"timeout": 30, "metadata": client.metadata}

    def call(self, method: Method, message: bytes) -> list[bytes]:
        """Call a method of any kind with one message; return the answers."""
        channel, path = self.channel, method.path
        if method.client_streams:
            return list(channel.stream_stream(path)(iter([message]), **self.terms))
        if method.server_streams:
            stream = channel.unary_stream(path)(message, **self.terms)
            answers = list(islice(stream, 3))
            stream.cancel()
            return answers
        return [channel.unary_unary(path)(message, **self.terms)]

    def code(self, method: Method, message: bytes) -> grpc.StatusCode:
        """Call a method and return how it ended."""
        try:
            self.call(method, message)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        return OK

    def save(self, message: bytes) -> v1.SaveCustomerResponse:
        """Call SaveCustomer with an encoded request."""
        (answer,) = self.call(Method(SAVE, False, False), message)
        return v1.SaveCustomerResponse.FromString(answer)


@pytest.fixture
def raw(client: Client) -> Raw:
    """Raw calls to this test's own server."""
    return Raw(client)


# Encoding by hand


def varint(value: int) -> bytes:
    """Encode a varint."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def field(number: int, wire_type: int, payload: bytes = b"") -> bytes:
    """Encode a field; wire type 2 gets its length."""
    length = varint(len(payload)) if wire_type == 2 else b""
    return varint(number << 3 | wire_type) + length + payload


def save_request(customer: bytes) -> bytes:
    """Encode a SaveCustomerRequest around an encoded customer."""
    return field(1, 2, customer)


NAME = field(10, 2, b"Lovelace")

BROKEN = {
    "cut off": save_request(NAME)[:-3],
    "length beyond the end": field(1, 2, NAME)[:1] + b"\x7f" + NAME,
    "length of 2^63": b"\x0a" + varint(1 << 63),
    "endless varint": b"\x08" + b"\xff" * 20,
    "field number 0": save_request(NAME + b"\x02\x00"),
    "wire type 6": save_request(NAME + b"\x0e"),
    "wire type 7": save_request(NAME + b"\x0f\x00"),
    "group without end": save_request(NAME + field(1000, 3)),
    "end of no group": save_request(NAME + field(1000, 4)),
    "a group in a group too deep": save_request(
        NAME + field(1000, 3) * 5_000 + field(1000, 4) * 5_000
    ),
    "no UTF-8 in a name": save_request(NAME + field(8, 2, b"\xff\xfe")),
    "half a character": save_request(NAME + field(8, 2, "é".encode()[:1])),
    "a surrogate": save_request(NAME + field(8, 2, b"\xed\xa0\x80")),
    "overlong NUL": save_request(NAME + field(8, 2, b"\xc0\x80")),
    "no UTF-8 in an e-mail": save_request(NAME + field(18, 2, field(1, 2, b"a\xff@x.example"))),
    "no UTF-8 in a map key": save_request(NAME + field(28, 2, field(1, 2, b"\xff"))),
    "NUL in a name": save_request(NAME + field(8, 2, b"a\0b")),
    "NUL in an id": save_request(NAME + field(1, 2, b"a\0b")),
    "an enum out of range": save_request(NAME + field(3, 0, varint(1 << 31))),
    "nothing": b"",
    "an empty card": save_request(b""),
    "random": bytes(range(256)),
    "a megabyte of zeros": bytes(1 << 20),
    "a megabyte of text": save_request(NAME + field(14, 2, b"x" * (1 << 20))),
    "a million tags": save_request(NAME + field(24, 2, b"t") * 1_000_000),
    "a million empty contacts": save_request(NAME + field(21, 2) * 1_000_000),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_message_is_an_invalid_argument(shared: Client, name: str) -> None:
    """And nothing else happens."""
    before = shared.stats()
    refused = refusal(lambda: Raw(shared).save(BROKEN[name]))
    assert (refused.code, refused.reason) == (INVALID, "INVALID_ARGUMENT")
    assert len(refused.message) < 300
    after = shared.stats()
    assert (after.sequence, after.customers) == (before.sequence, before.customers)


def test_wrong_wire_types_and_unknown_fields_are_dropped(client: Client, raw: Raw) -> None:
    """At every depth: what no field of this API is leaves no trace in what is stored."""
    unknown = field(1000, 2, b"smuggled") + field(1001, 0, b"\x05") + field(1002, 5, b"abcd")
    unknown += field(1003, 3) + field(1, 2, b"smuggled") + field(1003, 4)
    wrong = field(7, 0, b"\x05")  # the title as a number
    email = field(18, 2, field(1, 2, b"a@x.example") + unknown)
    phone = field(9, 2, field(1, 2, b"+442079460018") + unknown)
    contact = field(21, 2, field(5, 2, b"B") + unknown + phone)
    preferences = field(23, 2, field(3, 2, field(1, 0, b"\x01") + unknown) + unknown)
    custom = field(28, 2, field(1, 2, b"n") + field(2, 2, field(2, 0, b"\x05") + unknown))
    card = NAME + unknown + wrong + email + contact
    answer = raw.save(save_request(card + preferences + custom) + unknown)
    stored = client.get(answer.customer.id)
    exported = client.bytes.unary_stream("/namesake.v1.TransferService/ExportCustomers")
    for shown in (stored.SerializeToString(), b"".join(exported(b"", **raw.terms))):
        assert b"smuggled" not in shown
        assert field(1001, 0, b"\x05") not in shown
        assert b"abcd" not in shown
    assert stored.title == ""
    assert stored.emails[0].normal == "a@x.example"
    assert stored.custom_fields["n"].integer == 5


def test_the_last_of_a_field_counts_and_messages_merge(raw: Raw) -> None:
    """As protobuf says of concatenated encodings."""
    card = field(10, 2, b"First") + field(10, 2, b"Last") + field(12, 2, field(1, 0, varint(1815)))
    answer = raw.save(save_request(card) + save_request(field(12, 2, field(2, 0, b"\x0c"))))
    assert answer.customer.last_name == "Last"
    date = answer.customer.birth_date
    assert (date.year, date.month) == (1815, 12)


def too_large(limit: int) -> bytes:
    """Return a message over a limit."""
    return save_request(NAME + field(14, 2, b"x" * limit))


def test_a_message_over_the_limit_is_refused(raw: Raw) -> None:
    """Over the limit that is set unless an operator says otherwise."""
    method = Method(SAVE, False, False)
    assert raw.code(method, too_large(MESSAGE_LIMIT)) == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert raw.code(method, too_large(MESSAGE_LIMIT >> 1)) == INVALID  # by a rule of the card


def test_messages_over_the_limit_are_refused(start_server: StartServer) -> None:
    """By the transport, of every method, unary and streamed, and the connection goes on."""
    limit, every = 1 << 18, methods()
    with connected(start_server(NAMESAKE_MESSAGE_LIMIT=str(limit))) as client:
        raw = Raw(client)
        with ThreadPoolExecutor(8) as threads:
            codes = list(threads.map(lambda method: raw.code(method, too_large(limit)), every))
        exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(zip(every, codes, strict=True)) == dict.fromkeys(every, exhausted)
        assert client.stats().sequence == 0
        assert client.save(person()).sequence == 1


def test_broken_batches_end_an_import_and_store_nothing(client: Client) -> None:
    """What is no message in the middle of a stream, after a good batch."""
    call = client.bytes.stream_stream("/namesake.v1.TransferService/ImportCustomers")
    good = field(2, 2, field(1, 0, b"\x01") + field(2, 2, NAME))
    bad = field(2, 2, field(1, 0, b"\x02") + field(2, 2, NAME)[:-1])
    messages = [opening("job").SerializeToString(), good, bad, good]
    stream = call(iter(messages), metadata=client.metadata, timeout=30)
    assert len([next(stream), next(stream)]) == 2
    refused = refusal(lambda: next(stream))
    assert (refused.code, refused.reason) == (INVALID, "INVALID_ARGUMENT")
    assert client.stats().customers == 1


def test_a_row_that_is_no_message_fails_alone(client: Client) -> None:
    """In a batch that is well framed: broken UTF-8, a field cut off."""
    call = client.bytes.stream_stream("/namesake.v1.TransferService/ImportCustomers")
    rows = [NAME, NAME + field(8, 2, b"\xff"), NAME[:-1], NAME]
    batch = field(2, 2, field(1, 0, b"\x01") + b"".join(field(2, 2, row) for row in rows))
    messages = [opening("job").SerializeToString(), batch]
    *_, last = call(iter(messages), metadata=client.metadata, timeout=30)
    answer = v1.ImportCustomersResponse.FromString(last)
    assert (answer.counts.created, answer.counts.failed) == (2, 2)
    failures = [(one.row, one.field, one.reason) for one in answer.failures]
    assert failures == [(2, "customer", "INVALID_ARGUMENT"), (3, "customer", "INVALID_ARGUMENT")]


def test_tokens_of_any_bytes_are_refused_or_harmless(client: Client) -> None:
    """Also those that name places beyond the end of the index."""
    client.save(person("a@x.example", id="c"))
    client.save(person("a@x.example", id="d"))
    places = (0, (1 << 63) - 1, (1 << 64) - 2, (1 << 64) - 1)
    client.import_all("job", [person(last_name="")])
    listings = (1, 2, 3, 4, 9, 11, 12, 13, 14, 15, 16, 25, 34, 43, 51, 60)
    for place in places:
        for listing in listings:
            for extra in (b"", b"1:a@x.example", b"\xff"):
                packed = struct.pack(">BQ", listing, place) + extra
                token = base64.urlsafe_b64encode(packed).decode().rstrip("=")
                assert codes_of_token(client, token, listing) <= CLEAR, (listing, place, extra)


def codes_of_token(client: Client, token: str, listing: int) -> set[grpc.StatusCode]:
    """Use a token wherever one is taken; return how the calls ended."""
    order, state = divmod(max(listing - 16, 0), 8)
    listed: Any = {"order": order, "state": state}
    calls: list[tuple[Callable[..., object], object]] = [
        (client.duplicates.ListDuplicates, v1.ListDuplicatesRequest(id="c", page_token=token)),
        (client.customers.ListHistory, v1.ListHistoryRequest(id="c", page_token=token)),
        (
            client.customers.ListCustomers,
            v1.ListCustomersRequest(page_token=token, **listed),
        ),
        (client.timeline.ListItems, v1.ListItemsRequest(customer_id="c", page_token=token)),
        (client.transfer.ListImports, v1.ListImportsRequest(page_token=token)),
        (client.merges.ListMerges, v1.ListMergesRequest(page_token=token)),
        (client.merges.ListRedirects, v1.ListRedirectsRequest(page_token=token)),
        (
            client.transfer.ListImportFailures,
            v1.ListImportFailuresRequest(job_id="job", page_token=token),
        ),
    ]
    codes = {code_of(partial(client.call, method, request)) for method, request in calls}
    return codes | {code_of(lambda: client.export(after=token))}


def code_of(call: Callable[[], object]) -> grpc.StatusCode:
    """Return how a call ended."""
    try:
        call()
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return OK


# Ten thousand messages


def seeds() -> dict[str, list[bytes]]:
    """Return good requests of each method, to be broken."""
    card = person("a@x.example", "+442079460018", id="seed", tags=["t"])
    card.custom_fields["n"].number = 1.5
    card.contacts.add(last_name="B", id="1").emails.add(value="b@x.example")
    card.identities.add(type="erp", value="7")
    card.birth_date.year = 1815
    pair = v1.IdentityQuery(type="email", value="a@x.example")
    plan = v1.MergePlan(
        priority_id="m1",
        members=[v1.MergeMember(id="m2"), v1.MergeMember(id="m3")],
        choices=[v1.FieldChoice(field="last_name", customer_id="m2")],
    )
    choice = v1.UnmergeChoice(action=v1.UNMERGE_ACTION_KEEP)
    requests: dict[str, Message] = {
        "SaveCustomer": v1.SaveCustomerRequest(customer=card, request_id="r"),
        "GetCustomer": v1.GetCustomerRequest(id="seed"),
        "BatchGetCustomers": v1.BatchGetCustomersRequest(ids=["seed", "x"]),
        "ListCustomers": v1.ListCustomersRequest(page_size=2, order=v1.CUSTOMER_ORDER_UPDATED),
        "DeleteCustomer": v1.DeleteCustomerRequest(id="nobody", reason="why not"),
        "ResolveIdentities": v1.ResolveIdentitiesRequest(identities=[pair, pair]),
        "ListHistory": v1.ListHistoryRequest(id="seed", page_size=2),
        "WatchChanges": v1.WatchChangesRequest(
            until_now=True, kinds=[v1.CHANGE_KIND_CREATED], include_customer=True
        ),
        "CheckContacts": v1.CheckContactsRequest(
            contacts=[v1.ContactQuery(email="a@x.test"), v1.ContactQuery(phone="1", region="GB")],
            lookup=v1.DNS_LOOKUP_SKIP,
        ),
        "ListDuplicates": v1.ListDuplicatesRequest(draft=card, page_size=1),
        "CountDuplicates": v1.CountDuplicatesRequest(ids=["seed", "x"]),
        "ImportCustomers": opening("job", tags=["t"], match_order=[1, 5]),
        "ExportCustomers": v1.ExportCustomersRequest(active_only=True),
        # Of customers that there are not: what goes on behind a call must not change the others.
        "UpdateCustomers": v1.UpdateCustomersRequest(
            selection=by_ids("x", "y"), change=clearing("title", add_tags=["t"]), dry_run=True
        ),
        "DeleteCustomers": v1.DeleteCustomersRequest(
            selection=by_ids("x", "y"), count=2, reason="who should have them"
        ),
        "CountCustomers": v1.CountCustomersRequest(
            selection=by_filter(tags=["t"], updated_since=Timestamp(seconds=1), email_verdicts=[1])
        ),
        "AddItems": v1.AddItemsRequest(
            items=[
                v1.Item(
                    id="i",
                    customer_id="seed",
                    kind=v1.ITEM_KIND_ORDER,
                    time=Timestamp(seconds=1),
                    amount=v1.Money(currency="EUR", units=1),
                    email="a@x.example",
                    phone="1",
                    attributes={"a": v1.CustomValue(number=1.5)},
                ),
                v1.Item(id="n", customer_id="seed", kind=v1.ITEM_KIND_NOTE, text="t"),
                v1.Item(id="t", customer_id="seed", kind=v1.ITEM_KIND_TASK),
            ],
            default_region="GB",
        ),
        "ListItems": v1.ListItemsRequest(
            customer_id="seed", kinds=[v1.ITEM_KIND_NOTE], to_time=Timestamp(seconds=9), page_size=1
        ),
        "GetItem": v1.GetItemRequest(id="i"),
        "DeleteItems": v1.DeleteItemsRequest(ids=["t", "x"]),
        "PinNote": v1.PinNoteRequest(customer_id="seed", item_id="n"),
        "CountItems": v1.CountItemsRequest(customer_ids=["seed", "x"]),
        "ReadBulkResults": v1.ReadBulkResultsRequest(operation="operations/bulk-update-x"),
        "PreviewMerge": v1.PreviewMergeRequest(plan=plan),
        "MergeCustomers": v1.MergeCustomersRequest(plan=plan, reason="the same", request_id="m"),
        "PreviewUnmerge": v1.PreviewUnmergeRequest(ids=["m2", "m3"], choices=[choice]),
        "UnmergeCustomers": v1.UnmergeCustomersRequest(ids=["m3"], choices=[choice], reason="no"),
        "ListMerges": v1.ListMergesRequest(page_size=1),
        "ListRedirects": v1.ListRedirectsRequest(page_size=1),
        "UndoMerges": v1.UndoMergesRequest(run="save-2026-11-30"),
        "SetMergePolicy": v1.SetMergePolicyRequest(
            policy=v1.MergePolicy(on_import=True, least_probability=0.9, group_limit=3)
        ),
    }
    update = v1.UpdateCustomerRequest(customer=card)
    update.update_mask.paths.extend(["tags", "emails"])
    requests["UpdateCustomer"] = update
    requests["StreamContacts"] = v1.StreamContactsRequest.FromString(
        requests["CheckContacts"].SerializeToString()
    )
    return {name: [request.SerializeToString()] for name, request in requests.items()}


def mutations(dice: random.Random, valid: bytes) -> Iterator[bytes]:
    """Yield messages without end: random bytes, and a valid one broken in every way."""
    while True:
        how = dice.randrange(6)
        message = bytearray(valid)
        if how == 0 or not message:
            yield dice.randbytes(dice.randrange(60))
            continue
        at = dice.randrange(len(message))
        if how == 1:
            message[at] ^= 1 << dice.randrange(8)
        elif how == 2:
            del message[at:]
        elif how == 3:
            message[at:at] = dice.randbytes(dice.randrange(1, 9))
        elif how == 4:
            end = min(len(message), at + dice.randrange(1, 20))
            message += message[at:end]
        else:
            for _ in range(dice.randrange(1, 8)):
                message[dice.randrange(len(message))] = dice.randrange(256)
        yield bytes(message)


def test_ten_thousand_broken_messages_over_all_methods(server: Server, own: Client) -> None:
    """Every call ends with a clear status; what failed stored nothing; the server serves on."""
    dice = random.Random(20_260_102)
    raw, good = Raw(own), seeds()
    own.save(v1.SaveCustomerRequest.FromString(good["SaveCustomer"][0]).customer)
    for id in ("m1", "m2", "m3"):
        own.save(v1.Customer(id=id, last_name=id))
    every = methods()
    streams = {
        method.path: mutations(dice, good.get(method.path.rpartition("/")[2], [b""])[0])
        for method in every
    }
    # A watch without `until_now` never ends by itself, and Verify has no input to break.
    fast = [m for m in every if not m.path.endswith(("/Verify", "/BackUp", "/WatchChanges"))]
    outcomes: dict[grpc.StatusCode, int] = {}
    before = own.stats().sequence
    for number in range(MESSAGES):
        method = fast[number % len(fast)]
        message = next(streams[method.path])
        code = raw.code(method, message)
        assert code in CLEAR, (method.path, message.hex(), code)
        outcomes[code] = outcomes.get(code, 0) + 1
        if code is not OK and number % 20 == 0:
            before = unchanged_by(raw, own, method, message)
    assert outcomes[INVALID] > MESSAGES / 10
    assert outcomes[OK] > MESSAGES / 100
    assert own.stats().sequence >= before
    assert server.process is not None
    assert server.process.poll() is None
    assert own.faults() == []
    assert "rpc_failed" not in server.log()
    assert own.save(person()).outcome == v1.SAVE_OUTCOME_CREATED


def unchanged_by(raw: Raw, client: Client, method: Method, message: bytes) -> int:
    """Send a message that fails once more: count and sequence stay. Return the sequence."""
    before = client.stats()
    assert raw.code(method, message) is not OK
    after = client.stats()
    assert (after.sequence, after.customers) == (before.sequence, before.customers)
    return int(after.sequence)


@pytest.mark.parametrize("name", ["WatchChanges", "Verify", "BackUp"])
def test_broken_messages_to_streams(shared: Client, name: str) -> None:
    """The methods that stream without end or much: each ends with a clear status."""
    dice = random.Random(20_260_103)
    (method,) = [method for method in methods() if method.path.endswith(f"/{name}")]
    raw = Raw(shared)
    for message in islice(mutations(dice, seeds().get(name, [b""])[0]), 40):
        assert ended_or_cancelled(raw, method, message) in CLEAR, message.hex()


def ended_or_cancelled(raw: Raw, method: Method, message: bytes) -> grpc.StatusCode:
    """Read the first answer only, then hang up."""
    stream = raw.channel.unary_stream(method.path)(message, **raw.terms)
    try:
        next(iter(stream))
    except StopIteration:
        return OK
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    stream.cancel()
    return OK
