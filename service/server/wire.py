"""Between protobuf and the core's types: the only module where both are known.

Cards come in here (`card`), `Records` is the codec that index and use cases work with, and
`dressed` readies a stored record for a reader: what follows from its normal forms alone (display
forms, time zones, messages) is not stored but given out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import islice
from typing import Any, cast

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from namesake import v1
from service.core import _wire
from service.core._phones import REGIONS
from service.core._select import Fields
from service.core.model import (
    MESSAGES,
    Card,
    Channel,
    Checked,
    Combine,
    Finding,
    Held,
    Identity,
    Point,
    Reason,
    Sealed,
)
from service.core.prepare import Judged, features, pack, phone_display
from service.errors import InvalidArgument, NamesakeError
from service.identity.batches import Incoming
from service.server.erasure import Erasure
from service.server.rules import OUTPUT_ONLY, check_added, check_once, check_shape, check_whole
from service.settings import Settings
from service.transfer import arrow

MICROSECONDS = 1_000_000
DISPLAY_NAME_CHARS = 200  # one line of a list
FINDINGS_KEPT = 10_000  # encoded: of the domains that are met again, some 2 MB

_REGIONS = tuple(region.encode() for region in REGIONS)
_VARINT, _LENGTH = 0, 2  # wire types: a card's own fields have no other
_OUTPUT_NUMBERS = frozenset(v1.Customer.DESCRIPTOR.fields_by_name[n].number for n in OUTPUT_ONLY)
_FIELDS = tuple(f for f in v1.Customer.DESCRIPTOR.fields if f.name not in OUTPUT_ONLY)
FIELD_NAMES = tuple(f.name for f in _FIELDS)
WORD_LISTS = ("tags", "sources", "campaigns", "groups")
_SPECIAL = frozenset(
    {"emails", "phones", "contacts", "addresses", "identities", "preferences", "custom_fields"}
)
_OF_MESSAGES = frozenset(f.name for f in _FIELDS if f.message_type is not None)
_PLAIN = tuple(f.name for f in _FIELDS if f.name not in _SPECIAL and f.name not in WORD_LISTS)
_PLAIN_OF_CONTACT = ("title", "first_name", "middle_name", "last_name", "position")
# Never stored; what else the server sets in a contact point, `seal` overwrites.
_DISPLAY = ("time_zones", "national", "international", "tel_uri")

Owner = v1.Customer | v1.Contact
AnyPoint = v1.EmailAddress | v1.PhoneNumber


def timestamp(us: int) -> Timestamp:
    """Return microseconds since the epoch as the wire's type."""
    return Timestamp(seconds=us // MICROSECONDS, nanos=us % MICROSECONDS * 1_000)


def microseconds(time: Timestamp) -> int:
    """Return the wire's type as microseconds since the epoch."""
    return time.seconds * MICROSECONDS + time.nanos // 1_000


def owners(customer: v1.Customer) -> Iterator[tuple[str, Owner]]:
    """Yield all who have contact points, with their path: the customer, then its contacts."""
    yield "", customer
    for index, contact in enumerate(customer.contacts):
        yield f"contacts[{index}].", contact


def _owners(customer: v1.Customer) -> list[Owner]:
    # `owners` without the paths, which cost more than the walk.
    return [customer, *customer.contacts]


def _points(owner: Owner) -> list[AnyPoint]:
    return [*owner.emails, *owner.phones]


def points_of(customer: v1.Customer) -> Iterator[tuple[str, Channel, AnyPoint]]:
    """Yield path, channel and message of every contact point, in the order of `Card.points`."""
    for at, owner in owners(customer):
        for index, email in enumerate(owner.emails):
            yield f"{at}emails[{index}]", Channel.EMAIL, email
        for index, phone in enumerate(owner.phones):
            yield f"{at}phones[{index}]", Channel.PHONE, phone


def card(customer: v1.Customer, settings: Settings) -> Card:
    """Check a caller's message and take out what the use cases need. Consumes the message.

    Raises `InvalidArgument` with the path of the first field that breaks a rule.
    """
    check_shape(customer, settings)
    check_whole(customer, settings)
    return _card(customer, country(customer))


def draft_card(customer: v1.Customer, settings: Settings, path: str = "draft") -> Card:
    """Do as `card` with a card that is not saved: required fields may be missing."""
    check_shape(customer, settings, path)
    return _card(customer, country(customer))


def masked_card(customer: v1.Customer, mask: Sequence[str], settings: Settings, home: str) -> Card:
    """Do as `card` with the fields of `mask` alone; what else the message has is not looked at.

    Required fields may be missing. `home` is the country of a phone without a country code,
    unless the mask has addresses.
    """
    meant = v1.Customer(id=customer.id, etag=customer.etag)
    _apply_mask(meant, customer, mask)
    check_shape(meant, settings)
    return _card(meant, country(meant) if "addresses" in mask else home)


def country(customer: v1.Customer) -> str:
    """Return where a customer's phones are: written as they are dialled where it lives."""
    return customer.addresses[0].country if customer.addresses else ""


def _card(customer: v1.Customer, region: str) -> Card:
    named = (customer.id, customer.etag)
    customer.DiscardUnknownFields()
    _clear(customer, OUTPUT_ONLY)
    points: list[Point] = []
    for owner in _owners(customer):
        points += [Point(Channel.EMAIL, point.value) for point in owner.emails]
        points += [Point(Channel.PHONE, point.value, region) for point in owner.phones]
    identities = tuple(Identity(one.type, one.value) for one in customer.identities)
    return Card(customer, *named, tuple(points), identities)


def _clear(message: Message, names: Iterable[str]) -> None:
    for name in names:
        message.ClearField(name)


_END_TAG = v1.ImportCustomersRequest(end=v1.ImportEnd()).SerializeToString()[:1]


def is_end(request: bytes) -> bool:
    """Tell whether an encoded request of an import is its end, and no batch."""
    if not request.startswith(_END_TAG):
        return False
    try:
        return v1.ImportCustomersRequest.FromString(request).WhichOneof("message") == "end"
    except DecodeError as error:
        raise InvalidArgument("the request is not a message of this method") from error


class Rows:
    """Reads the batches of one import, adding to each row what is the same for all.

    Ordinary rows are read without a message object (`core._wire`); the others, and every row that
    breaks a rule, by `card`. Both say the same of a row that both can read, which a test holds.
    """

    def __init__(self, added: v1.ImportSettings, settings: Settings) -> None:
        """Take what an import adds: source, campaign, tags and groups.

        Raises `InvalidArgument` where one of them breaks a rule.
        """
        self._settings = settings
        source = [added.source] if added.source else []
        campaign = [added.campaign] if added.campaign else []
        words = {"tags": list(added.tags), "groups": list(added.groups)}
        given = {**words, "source": source, "campaign": campaign}
        check_added(given, settings, "settings")
        self._words = {**words, "sources": source, "campaigns": campaign}
        self._extra = _wire.Extra(**self._words)
        self._limits = _limits(settings)

    def read(self, request: bytes) -> Incoming:
        """Return the rows of an encoded request.

        Raises `InvalidArgument` where the request is no batch or has too many rows.
        """
        try:
            encoded, refused = _wire.batch_of(request), _NONE_REFUSED
            if not encoded:
                encoded, refused = _batch_in(request, self._settings)
            number, count = _wire.outline(encoded)
            if count > self._settings.batch_limit_rows:
                limit = self._settings.batch_limit_rows
                raise InvalidArgument(
                    f"{count} entries, at most {limit} are taken", field="batch.customers"
                )
            batch = _wire.Batch(encoded, self._limits, self._extra)
        except (ValueError, DecodeError) as error:
            raise InvalidArgument("the request is not a message of this method") from error
        places = _places(batch.count, refused)
        others: list[tuple[int, Card | NamesakeError]] = list(refused)
        others += [(places[at], self._other(row)) for at, row in batch.others]
        return Incoming(number, batch, [places[at] for at in batch.places()], others)

    def _other(self, row: bytes) -> Card | NamesakeError:
        try:
            customer = v1.Customer.FromString(row)
            for name, words in self._words.items():
                getattr(customer, name).extend(words)
            return card(customer, self._settings)
        except DecodeError:
            return InvalidArgument("the row is not a customer message", field="customer")
        except NamesakeError as error:
            return error


class Cards:
    """Reads single whole cards as `Rows` reads batches: a save is an import of one row."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = _limits(settings)
        self._extra = _wire.Extra()

    def read(self, customer: v1.Customer) -> Card:
        """Check a caller's message as `card` does, which it comes to if it is not ordinary."""
        row = customer.SerializeToString(deterministic=True)
        batch = b"".join((_ROW_TAG, _varint(len(row)), row))
        (read,) = _wire.walk(batch, self._limits, self._extra)
        return read if isinstance(read, Card) else card(customer, self._settings)


def _limits(settings: Settings) -> _wire.Limits:
    return _wire.Limits(
        customer_limit=settings.customer_limit,
        text_limit_chars=settings.text_limit_chars,
        points_limit=settings.points_limit,
        list_limit=settings.list_limit,
        exclusive_identity_types=settings.exclusive_identity_types,
    )


_Refused = tuple[tuple[int, NamesakeError], ...]
_NONE_REFUSED: _Refused = ()


def _places(count: int, refused: _Refused) -> Sequence[int]:
    """Return where the rows of an encoded batch are among all, those that are not in it too."""
    if not refused:
        return range(count)
    missing = {place for place, _ in refused}
    return [place for place in range(count + len(missing)) if place not in missing]


def _batch_in(request: bytes, settings: Settings) -> tuple[bytes, _Refused]:
    """Return an encoded batch, and by place in ascending order the rows that are not in it."""
    message = v1.ImportCustomersRequest.FromString(request)
    match message.WhichOneof("message"):
        case "batch":
            return message.batch.SerializeToString(), _NONE_REFUSED
        case "arrow":
            return arrow_batch(message.arrow, settings)
        case _:
            raise InvalidArgument("only the first message has settings", field="settings")


def arrow_batch(message: v1.ImportArrowBatch, settings: Settings) -> tuple[bytes, _Refused]:
    """Do as `_batch_in` with a batch of columns: a row that has a cell of no sense is refused.

    Raises `InvalidArgument` where the columns cannot be taken, or as rows would be more than a
    message may hold.
    """
    rows = arrow.read_stream(message.stream, rows=settings.batch_limit_rows)
    encoded = arrow.encode_batch(rows, limit=settings.message_limit, number=message.number)
    refused = (
        (one.place, InvalidArgument(one.message, field=one.field)) for one in encoded.refused
    )
    return encoded.batch, tuple(refused)


class Records:
    """The codec of stored customers (`core.model.Codec`): encoded `Customer` messages."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._findings = _Findings()

    def seal(self, cards: Sequence[Card], checked: Iterable[Checked]) -> list[Sealed]:
        """Encode cards with their normal forms and findings; see `Codec.seal`."""
        results, findings = iter(checked), self._findings
        sealed = []
        for card in cards:
            found = list(islice(results, len(card.points)))
            if isinstance(card.draft, _wire.Draft):
                sealed.append(card.draft.seal(found, findings.encode))
            else:
                sealed.append(_seal(card, found, findings))
        compared = features([one.body for one in sealed])
        return [one._replace(features=packed) for one, packed in zip(sealed, compared, strict=True)]

    def prepare(self, batch: _wire.Batch, judged: Judged) -> _wire.Prepared:
        """Encode the ordinary rows of a batch; see `Codec.prepare`."""
        prepared = _wire.Prepared(
            batch,
            judged.emails,
            judged.phones,
            [self._findings.encode(finding) for finding in judged.findings],
            judged.email_findings,
            judged.phone_findings,
            bytes(finding.reason in _AWAITED for finding in judged.findings),
            _REGIONS,
        )
        prepared.compare_by(pack(prepared.columns()))
        return prepared

    def sealed(self, prepared: _wire.Prepared, index: int) -> Sealed:
        """Return one row of a batch; see `Codec.sealed`."""
        return Sealed(
            prepared.body(index),
            prepared.held(index),
            prepared.assumed(index),
            prepared.numbered(index),
            prepared.features[index],
        )

    def times(self, created_us: int, updated_us: int) -> bytes:
        """Return the encoded times of a record: the end of what `stamp` appends."""
        return _times(created_us, updated_us)

    def stamp(self, body: bytes, *, id: str, etag: str, created_us: int, updated_us: int) -> bytes:
        """Append what the writer knows: see `stamped`."""
        return stamped(body, id, etag, created_us, updated_us)

    def created_us(self, record: bytes) -> int:
        """Return when the record was created."""
        return microseconds(v1.Customer.FromString(record).create_time)

    def written_by(self, record: bytes) -> int:
        """Return the sequence of the change that wrote the record last: its etag says it."""
        return written_by(record)

    def adds_nothing(self, old: bytes, body: bytes) -> bool:
        """Tell whether a body surely changes nothing; see `Codec.adds_nothing`."""
        return _wire.adds_nothing(old, body)

    def combine(self, old: bytes, new: Sealed, how: Combine, mask: Sequence[str] = ()) -> Sealed:
        """Return what results where `new` meets `old`; see `Codec.combine`."""
        if how is Combine.REPLACE:
            return new
        stored, given = v1.Customer.FromString(old), v1.Customer.FromString(new.body)
        _clear(stored, OUTPUT_ONLY)
        if how is Combine.OVERLAY:
            _clear(given, new.assumed)
        if how is not Combine.MASK:
            for place in new.numbered:
                given.contacts[place].id = ""  # which nobody gave, and so names nobody
        if how is Combine.MASK:
            _apply_mask(stored, given, mask)
        else:
            _unite(stored, given, given_wins=how is Combine.OVERLAY)
        return resealed(stored, self._settings)

    def diff(self, old: bytes, new: bytes) -> bytes:
        """Return an encoded `Change` with only `fields`, `before` and `after`."""
        was, now = v1.Customer.FromString(old), v1.Customer.FromString(new)
        given = {field.name for one in (was, now) for field, _ in one.ListFields()}
        fields = [f.name for f in _FIELDS if f.name in given and _differ(was, now, f.name)]
        if not fields:
            return b""
        change = v1.Change()
        change.fields.paths.extend(fields)
        for name in fields:
            _copy_field(was, change.before, name)
            _copy_field(now, change.after, name)
        return change.SerializeToString(deterministic=True)

    def as_it_was(self, record: bytes) -> Sealed:
        """Return a record's body; see `Codec.as_it_was`."""
        body = body_bytes(record)
        return Sealed(body, self.held(body), features=features([body])[0])

    def note_members(self, diff: bytes, ids: Sequence[str]) -> bytes:
        """Return an encoded `Change` with ids; see `Codec.note_members`."""
        return diff + v1.Change(merged_ids=ids).SerializeToString()

    def taken_back(self, card: bytes, diff: bytes) -> bytes:
        """Return what a card was before a difference; see `Codec.taken_back`."""
        customer = body_of(card)
        take_back(customer, diff)
        return customer.SerializeToString(deterministic=True)

    def noted_members(self, diff: bytes) -> Sequence[str]:
        """Return the ids that `note_members` added to a difference."""
        return v1.Change.FromString(diff).merged_ids

    def forgetting(
        self, gone: Sequence[bytes], before: bytes, after: bytes
    ) -> Callable[[bytes], bytes]:
        """Return what takes cards out of differences; see `Codec.forgetting`."""
        kept = [body_of(before), body_of(after)]
        erasure = Erasure([body_of(card) for card in gone], kept, LIST_KEYS)
        return partial(_erased, erasure)

    def held(self, record: bytes) -> Held:
        """Read back what the index keeps of a record."""
        return held(v1.Customer.FromString(record))

    def features(self, records: Sequence[bytes]) -> list[bytes]:
        """Return what is compared of records, packed."""
        return features(records)

    def settle(self, record: bytes, domain: str, finding: Finding) -> Sealed:
        """Write a domain's verdict into a record; see `Codec.settle`."""
        customer = v1.Customer.FromString(record)
        _clear(customer, OUTPUT_ONLY)
        for owner in _owners(customer):
            for email in owner.emails:
                if _pending_domain(email) == domain:
                    role = v1.EMAIL_FLAG_ROLE_ACCOUNT in email.finding.flags
                    _write_finding(email.finding, finding)
                    if role:  # the one flag that is the address's, not the domain's
                        email.finding.flags.insert(0, v1.EMAIL_FLAG_ROLE_ACCOUNT)
        return _sealed(customer)


def _erased(erasure: Erasure, diff: bytes) -> bytes:
    change = v1.Change.FromString(diff)
    erasure.erase_from(change.before)
    erasure.erase_from(change.after)
    same = [n for n in change.fields.paths if not _differ(change.before, change.after, n)]
    _clear(change.before, same)
    _clear(change.after, same)
    change.fields.paths[:] = [name for name in change.fields.paths if name not in same]
    return change.SerializeToString(deterministic=True)


def dressed(record: bytes) -> v1.Customer:
    """Return a stored record as readers get it, with display forms and messages."""
    return dress(v1.Customer.FromString(record))


def dress(customer: v1.Customer) -> v1.Customer:
    """Fill in what follows from the stored fields. Returns the same message."""
    for owner in _owners(customer):
        for point in _points(owner):
            if point.HasField("finding"):
                point.finding.message = MESSAGES[Reason(point.finding.reason)]
        for phone in owner.phones:
            if phone.normal:
                write_display(phone, phone.normal, phone.extension)
    return customer


def write_display(target: v1.PhoneNumber | v1.ContactResult, e164: str, extension: str) -> None:
    """Write a phone's display forms and time zones."""
    shown = phone_display(e164, extension)
    target.national = shown.national
    target.international = shown.international
    target.tel_uri = shown.tel_uri
    target.time_zones[:] = shown.time_zones


def stamped(body: bytes, id: str, etag: str, created_us: int, updated_us: int) -> bytes:
    """Append to a body what only the writer knows: concatenated encodings merge."""
    name, tag = id.encode(), etag.encode()
    parts = (body, _ID_TAG, _varint(len(name)), name, _ETAG_TAG, _varint(len(tag)), tag)
    return b"".join((*parts, _times(created_us, updated_us)))


def embedded(number: int, message: bytes) -> bytes:
    """Return an encoded message as the field of this number of another one."""
    return b"".join((_varint(number << 3 | 2), _varint(len(message)), message))


def numbered(number: int, value: int) -> bytes:
    """Return an integer as the field of this number of a message."""
    return _varint(number << 3) + _varint(value)


def id_of(record: bytes) -> str:
    """Return a stored customer's id."""
    return v1.Customer.FromString(record).id


def written_by(record: bytes) -> int:
    """Return the sequence of the change that wrote a record last: its etag says it."""
    return int(v1.Customer.FromString(record).etag, 16)


def body_of(record: bytes) -> v1.Customer:
    """Return a stored customer without what only the writer sets."""
    customer = v1.Customer.FromString(record)
    _clear(customer, OUTPUT_ONLY)
    return customer


def resealed(customer: v1.Customer, settings: Settings) -> Sealed:
    """Encode a stored customer that was changed, without what only the writer sets.

    Raises `InvalidArgument` where the result breaks a rule.
    """
    check_whole(customer, settings)
    check_shape(customer, settings)
    sealed = _sealed(customer)
    return sealed._replace(features=features([sealed.body])[0])


def copy_field(source: v1.Customer, target: v1.Customer, name: str) -> None:
    """Give a top-level field the value that another customer has, none included."""
    _apply_mask(target, source, (name,))


def fill(customer: v1.Customer, other: v1.Customer) -> list[str]:
    """Fill a customer's blanks from another, and unite their lists. Consumes the other.

    Returns the ids of the contacts that those of the other became, in their order.
    """
    return [contact.id for contact in _unite(customer, other, given_wins=False)]


def body_bytes(record: bytes) -> bytes:
    """Return a record's body as it was encoded, byte by byte."""
    kept, at = [], 0
    while at < len(record):
        start = at
        tag, at = _read_varint(record, at)
        if tag & 7 == _LENGTH:
            size, at = _read_varint(record, at)
            at += size
        elif tag & 7 == _VARINT:
            _, at = _read_varint(record, at)
        else:
            raise ValueError("a record has no field of this wire type")
        if tag >> 3 not in _OUTPUT_NUMBERS:
            kept.append(record[start:at])
    return b"".join(kept)


def _read_varint(encoded: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = encoded[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def take_back(customer: v1.Customer, diff: bytes) -> None:
    """Undo an encoded difference of `Records.diff`."""
    change = v1.Change.FromString(diff)
    _apply_mask(customer, change.before, change.fields.paths)


def check_fields(paths: Sequence[str], field: str) -> None:
    """Refuse names that are not top-level fields of Customer."""
    for index, path in enumerate(paths):
        if path not in v1.Customer.DESCRIPTOR.fields_by_name:
            raise InvalidArgument(
                "names a field that Customer has not", field=f"{field}.paths[{index}]"
            )
    check_once(paths, f"{field}.paths")


def field_numbers(paths: Iterable[str]) -> tuple[int, ...]:
    """Return the numbers of the top-level fields of Customer that have these names."""
    return tuple(v1.Customer.DESCRIPTOR.fields_by_name[path].number for path in paths)


def export_rows(customers: Sequence[bytes], fields: Fields) -> bytes:
    """Return the part of an encoded `ExportCustomersResponse` that has the customers."""
    return fields.framed(customers, _CUSTOMERS)


def export_arrow(stream: bytes) -> bytes:
    """Return the part of an encoded `ExportCustomersResponse` that has an Arrow stream."""
    return b"".join((_ARROW_TAG, _varint(len(stream)), stream))


def _tag(message: type[Message], name: str) -> bytes:
    # Wire type 2: a length and that many bytes.
    return _varint(message.DESCRIPTOR.fields_by_name[name].number << 3 | 2)


@lru_cache(maxsize=64)
def _times(created_us: int, updated_us: int) -> bytes:
    """Encode the times of a record; all records of one commit have the same."""
    times = v1.Customer(create_time=timestamp(created_us), update_time=timestamp(updated_us))
    return times.SerializeToString()


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


_ROW_TAG = _tag(v1.ImportBatch, "customers")
_ARROW_TAG = _tag(v1.ExportCustomersResponse, "arrow")
_CUSTOMERS = v1.ExportCustomersResponse.DESCRIPTOR.fields_by_name["customers"].number
_ID_TAG = _tag(v1.Customer, "id")
_ETAG_TAG = _tag(v1.Customer, "etag")


def display_name(customer: v1.Customer) -> str:
    """Return a customer's name in one line, cut where it is very long."""
    if customer.kind == v1.CUSTOMER_KIND_COMPANY:
        return customer.company_name[:DISPLAY_NAME_CHARS]
    parts = (customer.first_name, customer.middle_name, customer.last_name)
    return " ".join(part for part in parts if part)[:DISPLAY_NAME_CHARS]


def contact_result(checked: Checked) -> v1.ContactResult:
    """Return the answer of a check as the wire has it."""
    result = v1.ContactResult(normal=checked.normal, extension=checked.extension)
    _write_finding(result.finding, checked.finding)
    result.finding.message = MESSAGES[checked.finding.reason]
    if checked.channel is Channel.PHONE and checked.normal:
        result.region = checked.region
        result.phone_type = cast(v1.PhoneType.ValueType, checked.phone_type or 0)
        write_display(result, checked.normal, checked.extension)
    return result


def _seal(card: Card, checked: list[Checked], findings: _Findings) -> Sealed:
    customer = cast(v1.Customer, card.draft)
    assumed = tuple(name for name in ("kind", "state") if not getattr(customer, name))
    customer.kind = customer.kind or v1.CUSTOMER_KIND_PERSON
    customer.state = customer.state or v1.CUSTOMER_STATE_ACTIVE
    results = iter(checked)
    mobiles: list[str] = []
    own = len(customer.emails) + len(customer.phones)
    for owner in _owners(customer):
        for email in owner.emails:
            _write_checked(email, next(results), findings)
        for phone in owner.phones:
            found = next(results)
            _write_checked(phone, found, findings)
            _clear(phone, _DISPLAY)
            phone.extension = found.extension
            phone.region = found.region
            phone.type = cast(v1.PhoneType.ValueType, found.phone_type or 0)
            if found.normal and _is_mobile(phone):
                mobiles.append(found.normal)
    numbered = number_contacts(customer) if customer.contacts else ()
    _dedupe(customer)
    # What `held` would read back, without reading it back.
    held = Held(
        is_company=customer.kind == v1.CUSTOMER_KIND_COMPANY,
        normals=tuple((one.channel, one.normal) for one in checked if one.normal),
        own=sum(1 for one in checked[:own] if one.normal),
        identities=card.identities,
        pending=tuple(
            one.normal.rpartition("@")[2] for one in checked if one.finding.reason in _AWAITED
        ),
        mobiles=frozenset(mobiles),
    )
    return Sealed(customer.SerializeToString(deterministic=True), held, assumed, numbered)


class _Findings:
    """Encoded findings, most of which many points share."""

    def __init__(self) -> None:
        self._encoded: dict[int, tuple[Finding, bytes]] = {}

    def encode(self, finding: Finding) -> bytes:
        """Return the encoded message of `finding`."""
        # By identity, which costs a third of a hash of its fields; kept alive, so never reused.
        known = self._encoded.get(id(finding))
        if known is None:
            if len(self._encoded) >= FINDINGS_KEPT:
                self._encoded.clear()
            message = v1.Finding()
            _write_finding(message, finding)
            known = self._encoded[id(finding)] = finding, message.SerializeToString()
        return known[1]


def _write_checked(point: AnyPoint, checked: Checked, findings: _Findings) -> None:
    point.normal = checked.normal
    if not point.verification:
        point.verification = v1.VERIFICATION_UNVERIFIED
    point.ClearField("finding")
    point.finding.MergeFromString(findings.encode(checked.finding))


def _write_finding(target: v1.Finding, finding: Finding) -> None:
    target.Clear()
    target.verdict = cast(v1.Verdict.ValueType, finding.verdict)
    target.reason = cast(v1.Reason.ValueType, finding.reason)
    target.check_time.seconds = finding.checked_us // MICROSECONDS
    if finding.holds_until_us:
        target.expire_time.seconds = finding.holds_until_us // MICROSECONDS
    if finding.source:
        target.source = finding.source
    if finding.detail:
        target.detail = finding.detail
    if finding.suggested_domain:
        target.suggested_domain = finding.suggested_domain
    if finding.flags:
        target.flags.extend(cast(Iterable[v1.EmailFlag.ValueType], finding.flags))
    if finding.mx_hosts:
        target.mx_hosts.extend(finding.mx_hosts)


def number_contacts(customer: v1.Customer) -> tuple[int, ...]:
    """Give ids to the contacts that have none; return their places."""
    without = tuple(place for place, one in enumerate(customer.contacts) if not one.id)
    taken = {contact.id for contact in customer.contacts}
    number = 0
    for contact in customer.contacts:
        while not contact.id:
            number += 1
            if str(number) not in taken:
                contact.id = str(number)
    return without


def point_key(point: Any) -> tuple[str, str]:
    """Return by what an e-mail or phone is the same: its normal form, or what was given."""
    return point.normal or point.value, getattr(point, "extension", "")


def _dedupe(customer: v1.Customer) -> None:
    for owner in _owners(customer):
        _keep_first(owner.emails, point_key)
        _keep_first(owner.phones, point_key)
    _keep_first(customer.identities, lambda one: (one.type, one.value))
    for name in WORD_LISTS:
        words = getattr(customer, name)
        if len(words) > 1:
            words[:] = dict.fromkeys(words)


def _keep_first(entries: Any, key: Any) -> None:
    if len(entries) < 2:
        return
    first = {key(entry): entry for entry in reversed(entries)}
    if len(first) < len(entries):
        kept = [entry for entry in entries if first[key(entry)] is entry]
        copies = [type(entry).FromString(entry.SerializeToString()) for entry in kept]
        del entries[:]
        entries.extend(copies)


def _sealed(customer: v1.Customer) -> Sealed:
    return Sealed(customer.SerializeToString(deterministic=True), held(customer))


def held(customer: v1.Customer) -> Held:
    normals: list[tuple[Channel, str]] = []
    pending: list[str] = []
    mobiles: list[str] = []
    own = 0
    for owner in _owners(customer):
        for email in owner.emails:
            if email.normal:
                normals.append((Channel.EMAIL, email.normal))
                if domain := _pending_domain(email):
                    pending.append(domain)
        for phone in owner.phones:
            if phone.normal:
                normals.append((Channel.PHONE, phone.normal))
                if _is_mobile(phone):
                    mobiles.append(phone.normal)
        if owner is customer:
            own = len(normals)
    return Held(
        id=customer.id,
        etag=customer.etag,
        is_company=customer.kind == v1.CUSTOMER_KIND_COMPANY,
        normals=tuple(normals),
        own=own,
        identities=tuple(Identity(one.type, one.value) for one in customer.identities),
        pending=tuple(dict.fromkeys(pending)),
        mobiles=frozenset(mobiles),
    )


def _is_mobile(phone: v1.PhoneNumber) -> bool:
    return phone.kind == v1.CONTACT_KIND_MOBILE or phone.type == v1.PHONE_TYPE_MOBILE


# A look-up that failed is awaited like one that was deferred: it is tried again.
_AWAITED = frozenset({int(Reason.PENDING), int(Reason.MAIL_SERVER_UNKNOWN)})


def _pending_domain(email: v1.EmailAddress) -> str:
    if email.finding.reason not in _AWAITED:
        return ""
    return email.normal.rpartition("@")[2]


def _copy_field(source: v1.Customer, target: v1.Customer, name: str) -> None:
    if _is_list(name):
        getattr(target, name).MergeFrom(getattr(source, name))
    elif _is_message(name):
        if source.HasField(cast(Any, name)):
            getattr(target, name).CopyFrom(getattr(source, name))
    else:
        setattr(target, name, getattr(source, name))


def _is_list(name: str) -> bool:
    return v1.Customer.DESCRIPTOR.fields_by_name[name].is_repeated


def _is_message(name: str) -> bool:
    return v1.Customer.DESCRIPTOR.fields_by_name[name].message_type is not None


def _differ(one: v1.Customer, other: v1.Customer, name: str) -> bool:
    if name in _OF_MESSAGES:
        return _substance(one, name) != _substance(other, name)
    return bool(getattr(one, name) != getattr(other, name))


def _substance(customer: v1.Customer, name: str) -> object:
    """Return a field's value for comparison, without the times of findings."""
    if name not in ("emails", "phones", "contacts"):
        only = v1.Customer()
        _copy_field(customer, only, name)
        return only.SerializeToString(deterministic=True)
    plain = v1.Customer()
    _copy_field(customer, plain, name)
    for owner in _owners(plain):
        for point in _points(owner):
            _clear(point.finding, ("check_time", "expire_time"))
    return plain.SerializeToString(deterministic=True)


def _apply_mask(stored: v1.Customer, given: v1.Customer, mask: Sequence[str]) -> None:
    for name in mask:
        stored.ClearField(cast(Any, name))
        _copy_field(given, stored, name)


def _unite(stored: v1.Customer, given: v1.Customer, *, given_wins: bool) -> list[v1.Contact]:
    """Bring what `given` says into `stored`; where both say something, one of them wins.

    Returns the contacts of `stored` that those of `given` became.
    """
    _unite_plain(stored, given, _PLAIN, given_wins)
    _unite_points(stored, given, given_wins)
    contacts = _unite_contacts(stored, given, given_wins)
    _unite_addresses(stored, given, given_wins)
    _unite_consents(stored, given, given_wins)
    for name, value in given.custom_fields.items():
        if given_wins or name not in stored.custom_fields:
            stored.custom_fields[name].CopyFrom(value)
    stored.identities.MergeFrom(given.identities)
    for name in WORD_LISTS:
        getattr(stored, name).extend(getattr(given, name))
    _dedupe(stored)
    return contacts


def _unite_plain(stored: Any, given: Any, names: Iterable[str], given_wins: bool) -> None:
    for name in names:
        if _says(given, name) and (given_wins or not _says(stored, name)):
            value = getattr(given, name)
            if isinstance(value, Message):
                getattr(stored, name).CopyFrom(value)
            else:
                setattr(stored, name, value)


def _says(message: Any, name: str) -> bool:
    value = getattr(message, name)
    return message.HasField(name) if isinstance(value, Message) else bool(value)


def _unite_points(stored: Owner, given: Owner, given_wins: bool) -> None:
    for name in ("emails", "phones"):
        held = getattr(stored, name)
        known = {point_key(point): point for point in held}
        for point in getattr(given, name):
            _demote(held, point, given_wins)
            same = known.get(point_key(point))
            if same is None:
                held.append(point)
            else:
                _refresh_point(same, point, given_wins)


def _demote(held: Any, point: Any, given_wins: bool) -> None:
    # One primary to a list: the winner's.
    if not point.primary:
        return
    if given_wins:
        for other in held:
            other.primary = False
    elif any(other.primary for other in held):
        point.primary = False


def _refresh_point(same: Any, point: Any, given_wins: bool) -> None:
    # A verdict is not taken back by a look-up that is still awaited.
    if point.finding.reason not in _AWAITED or same.finding.reason in _AWAITED:
        same.finding.CopyFrom(point.finding)
    if given_wins or not same.kind:
        same.kind = point.kind or same.kind
    same.primary = same.primary or point.primary
    if point.verification == v1.VERIFICATION_VERIFIED:
        same.verification = point.verification


def _unite_contacts(stored: v1.Customer, given: v1.Customer, given_wins: bool) -> list[v1.Contact]:
    """Unite contacts of the same id, and of the same name where an id finds none."""
    by_id = {contact.id: contact for contact in stored.contacts}
    given_ids = {contact.id for contact in given.contacts if contact.id}
    by_name: dict[tuple[str, str, str], list[v1.Contact]] = {}
    for contact in stored.contacts:
        if contact.id not in given_ids:
            by_name.setdefault(contact_key(contact), []).append(contact)
    became = []
    for contact in given.contacts:
        alike = by_name.get(contact_key(contact))
        same = by_id.get(contact.id) if contact.id else None
        same = same or (alike.pop(0) if alike else None)
        _demote(stored.contacts, contact, given_wins)
        if same is None:
            stored.contacts.append(contact)
            became.append(stored.contacts[-1])
            continue
        became.append(same)
        _unite_plain(same, contact, _PLAIN_OF_CONTACT, given_wins)
        _unite_points(same, contact, given_wins)
        _unite_consents(same, contact, given_wins)
        same.primary = same.primary or contact.primary
    number_contacts(stored)
    return became


def contact_key(contact: v1.Contact) -> tuple[str, str, str]:
    """Return by what a contact of another customer is the same: its name."""
    names = (contact.first_name, contact.middle_name, contact.last_name)
    first, middle, last = (name.strip().casefold() for name in names)
    return first, middle, last


def _unite_addresses(stored: v1.Customer, given: v1.Customer, given_wins: bool) -> None:
    known = {address_key(address): address for address in stored.addresses}
    for address in given.addresses:
        _demote(stored.addresses, address, given_wins)
        same = known.get(address_key(address))
        if same is None:
            stored.addresses.append(address)
        else:
            same.primary = same.primary or address.primary
            if given_wins or not same.kind:
                same.kind = address.kind or same.kind


def address_key(address: v1.PostalAddress) -> bytes:
    """Return by what an address is the same: all that it says of a place."""
    plain = v1.PostalAddress()
    plain.CopyFrom(address)
    plain.ClearField("kind")
    plain.ClearField("primary")
    return plain.SerializeToString().lower()


def _unite_consents(stored: Owner, given: Owner, given_wins: bool) -> None:
    if not given.HasField("preferences"):
        return
    mine, theirs = stored.preferences, given.preferences
    # A refusal stands, whoever noted it: consent is not taken back by an import.
    mine.do_not_email |= theirs.do_not_email
    mine.do_not_call |= theirs.do_not_call
    if theirs.preferred_contact and (given_wins or not mine.preferred_contact):
        mine.preferred_contact = theirs.preferred_contact
    known = {one.channel: one for one in mine.channels}
    for one in theirs.channels:
        if one.channel not in known:
            mine.channels.append(one)
        elif given_wins:
            known[one.channel].consent = one.consent


#: List field → the key of an entry: of two with the same one, a card has one.
LIST_KEYS: Mapping[str, Callable[[Any], Hashable]] = {
    "emails": point_key,
    "phones": point_key,
    "addresses": address_key,
    "contacts": lambda contact: contact.id,
    "channels": lambda preference: preference.channel,
    "identities": lambda identity: (identity.type, identity.value),
    **{name: lambda word: word for name in WORD_LISTS},
}
