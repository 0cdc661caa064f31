"""Saving, updating, deleting and importing customers: what is decided, and in which order.

`save` tells the whole story: check the contact points (all waiting for the DNS ends there), seal
the cards, hand one decision per card to the index. A decision runs on the writer thread inside
the write transaction, so that of two saves of the same new customer the second sees the first.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import NamedTuple, TypeVar, cast

from service.core._wire import Batch as Rows
from service.core.model import Card, Channel, Checked, Codec, Combine, Held, Lookup, Outcome, Sealed
from service.core.prepare import Judged
from service.errors import (
    AmbiguousDuplicates,
    Deleted,
    DuplicateFound,
    Merged,
    NamesakeError,
    NotFound,
    StaleEtag,
)
from service.identity.batches import (
    Batch,
    BatchRun,
    Incoming,
    Origin,
    Other,
    Rest,
    findings_of,
)
from service.identity.batches import (
    Found as Findings,
)
from service.identity.erasing import erased
from service.identity.jobs import Job
from service.identity.lookup import is_own, others, queries_of, rows_sharing
from service.index import (
    ChangeKind,
    Decision,
    Delete,
    Found,
    Index,
    Intake,
    Kind,
    Mutation,
    Put,
    PutRequest,
    State,
    View,
    identity_text,
)
from service.settings import Settings
from service.validation.validator import Validator

NAMED_DUPLICATES = 5  # ids that a refusal names
HOLDERS_STEP = 20  # customers with a key of a card that are read at once
HOLDERS_LIMIT = 1_000  # of them, read in the writer thread to find the one that is meant


class OnDuplicate(IntEnum):
    """What a save does where somebody else shares a contact point or identity."""

    REPORT = 1
    REJECT = 2
    ATTACH = 3


class MatchBy(IntEnum):
    """By what an imported row finds the customer that it updates."""

    CUSTOMER_ID = 1
    IDENTITY = 2
    MOBILE = 3
    PHONE = 4
    EMAIL = 5


class OnMatch(IntEnum):
    """What happens to the customer that an imported row finds."""

    UPDATE = 1
    FILL = 2
    SKIP = 3


class OnConflict(IntEnum):
    """What happens to an imported row whose keys lead to several customers."""

    FIRST = 1
    REFUSE = 2


@dataclass(frozen=True, slots=True)
class Terms:
    """Who saves, and how."""

    actor: str
    region: str
    lookup: Lookup = Lookup.WAIT
    on_duplicate: OnDuplicate = OnDuplicate.REPORT
    match_order: tuple[MatchBy, ...] = ()  # imports: how a row without a known id is matched
    on_match: OnMatch = OnMatch.UPDATE  # imports
    on_conflict: OnConflict = OnConflict.FIRST  # imports
    dry_run: bool = False
    request_id: str = ""

    @property
    def asked(self) -> tuple[bool, int]:
        """Return whether ids go before all else, and a bit for each other way to match."""
        keys = (by for by in self.match_order if by is not MatchBy.CUSTOMER_ID)
        return MatchBy.CUSTOMER_ID in self.match_order, sum(1 << by for by in keys)


class Saved(NamedTuple):
    """A card as it is stored now. `sequence` is the change's, 0 if nothing was written.

    `features` and `held` are what is compared of it and what it holds, None if they were not made
    for this save.
    """

    outcome: Outcome
    row: int
    record: bytes
    sequence: int
    features: bytes | None = None
    held: Held | None = None


class _Stored(NamedTuple):
    """A live customer as a decision found it."""

    row: int
    record: bytes
    held: Held


T = TypeVar("T")
Result = Saved | Exception  # a NamesakeError, unless something is broken


class Registry:
    """The customers of one account."""

    def __init__(
        self, index: Index, validator: Validator, codec: Codec, settings: Settings
    ) -> None:
        self._index = index
        self._validator = validator
        self._codec = codec
        self._settings = settings
        self._ids = _Ids()

    async def save(self, cards: Sequence[Card], terms: Terms) -> list[Result]:
        """Create or update each card; return one result per card, durable where it is `Saved`."""
        sealed = self._codec.seal(cards, await self._check(cards, terms))
        decisions = [
            partial(self._decide, card, seal, terms)
            for card, seal in zip(cards, sealed, strict=True)
        ]
        return await self._index.submit(decisions, dry_run=terms.dry_run)

    async def update(self, card: Card, mask: Sequence[str], terms: Terms) -> Saved:
        """Change the fields of `mask` of the customer `card.id`."""
        (sealed,) = self._codec.seal([card], await self._check([card], terms))
        decide = partial(self._decide_update, card, sealed, mask, terms)
        results = await self._index.submit([decide], dry_run=terms.dry_run)
        return _only(results)

    async def preview(self, cards: Sequence[Card], region: str, lookup: Lookup) -> list[Sealed]:
        """Return cards as they would be stored; nothing is stored or compared."""
        return self._codec.seal(cards, await self._check(cards, Terms("", region, lookup)))

    async def delete(self, id: str, etag: str, reason: str, actor: str) -> int:
        """Delete a customer for ever; return the sequence of the change."""
        decide = partial(self._decide_delete, id, etag, reason, actor)
        results = await self._index.submit([decide])
        return _only(results)

    async def import_batch(
        self, job_id: str, incoming: Incoming, terms: Terms, stream: int = 0
    ) -> asyncio.Task[Batch]:
        """Check one batch of a job and hand it to the writer; the task ends when it is durable.

        The rows and the job's progress are one transaction, or several where many rows meet stored
        customers; a batch that breaks off goes on where it was. A batch that is durable already is
        not applied again; a dry run knows no earlier batches. The task raises `InvalidArgument`
        where a batch is missing, and what ends a stream that may not add batches any more
        (`Job.awaits`).
        """
        rows = incoming.rows
        judged = await self._validator.judge(
            rows.emails,
            rows.phones,
            rows.regions,
            default_region=terms.region,
            lookup=terms.lookup,
        )
        intake = await asyncio.to_thread(self._ready, rows, judged)
        broken = [(at, one) for at, one in incoming.others if isinstance(one, NamesakeError)]
        good = [(at, one) for at, one in incoming.others if not isinstance(one, NamesakeError)]
        cards = [card for _, card in good]
        checked = await self._check(cards, terms)
        # In a thread of its own: a thousand such rows would hold up other calls.
        all_sealed = await asyncio.to_thread(self._codec.seal, cards, checked)
        others = [
            Other(at, card, sealed) for (at, card), sealed in zip(good, all_sealed, strict=True)
        ]
        origin = Origin(
            job_id, incoming.number, stream,
            self._settings.import_failures_kept, self._settings.import_part_rows,
        )  # fmt: skip
        decide = partial(self._decide_on, terms)
        rest = Rest(incoming.places, others, broken)
        run = BatchRun(origin, intake, rest, decide, terms, self._codec, self._index)
        # Tasks start in the order in which they are made, and so are the batches decided.
        return asyncio.create_task(self._finish(run, terms, findings_of(judged, checked)))

    def _ready(self, rows: Rows, judged: Judged) -> Intake:
        return Intake(self._codec.prepare(rows, judged), self._index.hash_secret)

    async def _finish(self, run: BatchRun, terms: Terms, findings: Findings) -> Batch:
        opened, *_, job = await self._index.submit(
            run, dry_run=terms.dry_run, bulk=True, goes_on=BatchRun.goes_on
        )
        for edge in (opened, job):
            if isinstance(edge, Exception):
                raise edge
        return Batch(cast(Job, job), run.failures if run.is_open else [], findings)

    def _decide_on(self, terms: Terms, card: Card, sealed: Sealed, view: View) -> Decision[Saved]:
        return self._decide(card, sealed, terms, view)

    async def _check(self, cards: Sequence[Card], terms: Terms) -> list[Checked]:
        points = [point for card in cards for point in card.points]
        return await self._validator.check(points, default_region=terms.region, lookup=terms.lookup)

    # Decisions: run on the writer thread, read everything before they return what to put.

    def _decide(self, card: Card, sealed: Sealed, terms: Terms, view: View) -> Decision[Saved]:
        if (again := self._remembered(terms, view)) is not None:
            return Decision(again)
        row = self._own_row(card, view)
        if row is not None:
            self._reject_shared(sealed, row, terms, view)
            if terms.match_order:
                return self._meet(row, _record(view, row), sealed, card.etag, terms, view)
            own = self._stored(row, view)
            return self._change(own, sealed, Combine.REPLACE, (), card.etag, terms, view)
        if terms.match_order:
            if (stored := self._match(sealed, card, terms, view)) is not None:
                return self._meet(stored.row, stored.record, sealed, "", terms, view)
        elif terms.on_duplicate is OnDuplicate.ATTACH:
            if (stored := self._attach_to(sealed, view)) is not None:
                return self._change(stored, sealed, Combine.FILL, (), "", terms, view)
        else:
            self._reject_shared(sealed, 0, terms, view)
        return self._create(card, sealed, terms, view)

    def _meet(
        self, row: int, record: bytes, sealed: Sealed, etag: str, terms: Terms, view: View
    ) -> Decision[Saved]:
        """Let an imported row meet the customer that it found."""
        if terms.on_match is OnMatch.SKIP:
            return Decision(Saved(Outcome.SKIPPED, row, record, 0))
        if not etag and self._codec.adds_nothing(record, sealed.body):
            return Decision(Saved(Outcome.UNCHANGED, row, record, 0))
        how = Combine.FILL if terms.on_match is OnMatch.FILL else Combine.OVERLAY
        stored = _Stored(row, record, self._codec.held(record))
        return self._change(stored, sealed, how, (), etag, terms, view)

    def _decide_update(
        self, card: Card, sealed: Sealed, mask: Sequence[str], terms: Terms, view: View
    ) -> Decision[Saved]:
        if (again := self._remembered(terms, view)) is not None:
            return Decision(again)
        row = self._own_row(card, view)
        if row is None:
            raise NotFound("there is no customer with this id", field="customer.id")
        stored = self._stored(row, view)
        return self._change(stored, sealed, Combine.MASK, mask, card.etag, terms, view)

    def _decide_delete(
        self, id: str, etag: str, reason: str, actor: str, view: View
    ) -> Decision[int]:
        found = live(view.find(id), "id") if id else None
        if found is None:
            raise NotFound("there is no customer with this id", field="id")
        held = self._stored(found.row, view).held
        _check_etag(held.etag, etag, "etag")
        delete = Delete(
            found.row, id=id, old=self._index.entries_of(held), actor=actor, reason=reason
        )
        return Decision(view.next_sequence, (*erased(found.row, view, self._codec), delete))

    def _own_row(self, card: Card, view: View) -> int | None:
        """Return the row of the customer that the card names by its id, if there is one."""
        found = live(view.find(card.id), "customer.id") if card.id else None
        if found is None and card.etag:
            raise NotFound("an etag goes with the id of an existing customer", field="customer.id")
        return None if found is None else found.row

    def _create(self, card: Card, sealed: Sealed, terms: Terms, view: View) -> Decision[Saved]:
        now_us, sequence, row = view.now_us, view.next_sequence, view.next_row
        id = card.id or self._ids.new(now_us)
        record = self._codec.stamp(
            sealed.body, id=id, etag=etag_of(sequence), created_us=now_us, updated_us=now_us
        )
        put = Put(
            row=None,
            id=id,
            record=record,
            new=self._index.entries_of(sealed.held),
            kind=ChangeKind.CREATED,
            actor=terms.actor,
            features=sealed.features,
        )
        saved = Saved(Outcome.CREATED, row, record, sequence, sealed.features, sealed.held)
        return Decision(saved, (put, *_remember(terms, saved)))

    def _stored(self, row: int, view: View) -> _Stored:
        record = _record(view, row)
        return _Stored(row, record, self._codec.held(record))

    def _change(
        self,
        stored: _Stored,
        new: Sealed,
        how: Combine,
        mask: Sequence[str],
        etag: str,
        terms: Terms,
        view: View,
    ) -> Decision[Saved]:
        row, old, held = stored
        _check_etag(held.etag, etag, "customer.etag")
        sealed = self._codec.combine(old, new, how, mask)
        diff = self._codec.diff(old, sealed.body)
        if not diff:
            saved = Saved(Outcome.UNCHANGED, row, old, 0, sealed.features, sealed.held)
            return Decision(saved, _remember(terms, saved))
        put = self.rewrite(view, row, old, held, sealed, ChangeKind.UPDATED, diff, terms.actor)
        sequence = view.next_sequence
        record = put.record
        saved = Saved(Outcome.UPDATED, row, record, sequence, sealed.features, sealed.held)
        return Decision(saved, (put, *_remember(terms, saved)))

    def rewrite(
        self,
        view: View,
        row: int,
        old: bytes,
        held: Held,
        sealed: Sealed,
        kind: ChangeKind,
        diff: bytes,
        actor: str,
    ) -> Put:
        """Return the mutation that puts `sealed` in the place of the record `old`.

        `held` is what `old` holds, which the caller has read already.
        """
        record = self._codec.stamp(
            sealed.body,
            id=held.id,
            etag=etag_of(view.next_sequence),
            created_us=self._codec.created_us(old),
            updated_us=view.now_us,
        )
        return Put(
            row=row,
            id=held.id,
            record=record,
            old=self._index.entries_of(held),
            new=self._index.entries_of(sealed.held),
            kind=kind,
            diff=diff,
            actor=actor,
            features=sealed.features,
        )

    def _reject_shared(self, sealed: Sealed, own_row: int, terms: Terms, view: View) -> None:
        if terms.on_duplicate is not OnDuplicate.REJECT:
            return
        rows = others(view, queries_of(sealed.held), own_row, NAMED_DUPLICATES)
        if rows:
            raise DuplicateFound(
                "another customer has the same e-mail, phone or identity",
                field="customer",
                customers=self._names(rows, view),
            )

    def _attach_to(self, sealed: Sealed, view: View) -> _Stored | None:
        """Return the one customer with a point or identity of the card, None if there is none.

        A contact shares its phone with the customer, and is not it: of either side only the own
        points count, and a person is never a company.
        """
        held = sealed.held
        found: dict[int, _Stored] = {}
        for query in queries_of(held._replace(normals=held.normals[: held.own])):
            for stored in self._holders(partial(rows_sharing, view, query), held, view):
                if is_own(stored.held, query):
                    found[stored.row] = stored
        if len(found) > 1:
            raise _ambiguous([*found.values()][:NAMED_DUPLICATES])
        return next(iter(found.values()), None)

    def _match(self, sealed: Sealed, card: Card, terms: Terms, view: View) -> _Stored | None:
        """Return whom an imported card means: the first that one of its keys finds, in order.

        A card with an id of its own that is not here yet is somebody new: the id is the authority.
        Points of contacts are not looked at on either side, and a person is never a company.
        """
        if card.id and MatchBy.CUSTOMER_ID in terms.match_order:
            return None
        matches = self._matches(sealed.held, terms.match_order, view)
        if terms.on_conflict is OnConflict.FIRST:
            return next(matches, None)
        found: dict[int, _Stored] = {}
        for stored in matches:
            found[stored.row] = stored
            if len(found) == NAMED_DUPLICATES:
                break
        if len(found) > 1:
            raise _ambiguous([*found.values()])
        return next(iter(found.values()), None)

    def _matches(self, held: Held, order: Sequence[MatchBy], view: View) -> Iterator[_Stored]:
        """Yield the customers that the keys of a card find, in order; some more than once."""
        asked: set[tuple[Kind, str]] = set()
        for by in order:
            for key in _keys(held, by):
                if key in asked:
                    continue
                asked.add(key)
                for stored in self._holders(partial(view.rows, *key), held, view):
                    if _owns(stored.held, key):
                        yield stored

    def _holders(
        self, rows_after: Callable[[int, int], list[int]], held: Held, view: View
    ) -> Iterator[_Stored]:
        """Yield the customers of `held`'s kind behind a key, oldest first, contacts' ones too.

        Raises AmbiguousDuplicates where there are too many to look at: a guess would be worse.
        """
        after = looked_at = 0
        while rows := rows_after(after, HOLDERS_STEP):
            for row in rows:
                stored = self._stored(row, view)
                if stored.held.is_company == held.is_company:
                    yield stored
            after = rows[-1]
            looked_at += len(rows)
            if looked_at >= HOLDERS_LIMIT:
                raise AmbiguousDuplicates(
                    f"{HOLDERS_LIMIT} customers or more have an e-mail or phone of this card",
                    field="customer",
                )

    def _names(self, rows: Sequence[int], view: View) -> str:
        return ",".join(self._codec.held(_record(view, row)).id for row in rows)

    def _remembered(self, terms: Terms, view: View) -> Saved | None:
        """Return the outcome of an earlier try with the same request id.

        It was done, so it is not refused where the customer was merged since: that is read as
        anybody reads it, where its id leads.
        """
        past = view.request(terms.request_id)
        if past is None:
            return None
        row = view.live_row(past.row)
        if not row:
            raise Deleted("the customer that this request saved was deleted since")
        return Saved(Outcome(past.kind), row, _record(view, row), past.sequence)


class _Ids:
    """Makes UUIDs of version 7 (RFC 9562, section 5.7): ids that sort by time of creation.

    Randomness is read from the system in blocks: asking for each id cost as much as its put. Used
    by the writer thread alone.
    """

    BLOCK_IDS = 256

    def __init__(self) -> None:
        self._block = b""

    def new(self, now_us: int) -> str:
        """Return an id that nobody has."""
        if not self._block:
            self._block = os.urandom(10 * self.BLOCK_IDS)
        random = int.from_bytes(self._block[:10]) & (1 << 74) - 1
        self._block = self._block[10:]
        value = (now_us // 1_000 & (1 << 48) - 1) << 80 | 0x7 << 76 | random >> 62 << 64
        text = f"{value | 0b10 << 62 | random & (1 << 62) - 1:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _ambiguous(found: Sequence[_Stored]) -> AmbiguousDuplicates:
    return AmbiguousDuplicates(
        "several customers have an e-mail, phone or identity of this card",
        field="customer",
        customers=",".join(one.held.id for one in found),
    )


def _keys(held: Held, by: MatchBy) -> list[tuple[Kind, str]]:
    own = held.normals[: held.own]
    if by is MatchBy.PHONE:
        return [(Kind.PHONE, one) for channel, one in own if channel is Channel.PHONE]
    if by is MatchBy.EMAIL:
        return [(Kind.EMAIL, one) for channel, one in own if channel is Channel.EMAIL]
    if by is MatchBy.MOBILE:
        return [key for key in _keys(held, MatchBy.PHONE) if key[1] in held.mobiles]
    if by is MatchBy.IDENTITY:
        return [(Kind.OTHER, identity_text(identity)) for identity in held.identities]
    return []


def _owns(held: Held, key: tuple[Kind, str]) -> bool:
    """Tell whether a key is the customer's own and not a contact's."""
    kind, text = key
    if kind is Kind.OTHER:
        return True
    channel = Channel.EMAIL if kind is Kind.EMAIL else Channel.PHONE
    return (channel, text) in held.normals[: held.own]


def live(found: Found, field: str) -> Found | None:
    """Return where a live id is, None for one never used; refuse deleted and merged ones."""
    match found.state:
        case State.LIVE:
            return found
        case State.MISSING:
            return None
        case State.DELETED:
            raise Deleted("the customer was deleted; its id is never used again", field=field)
        case State.MERGED:
            raise Merged("the customer was merged into another", field=field, survivor=found.id)


def _record(view: View, row: int) -> bytes:
    record = view.record(row)
    assert record is not None, "the index names a row that has no record"
    return record


def etag_of(sequence: int) -> str:
    """Return the etag of a record: the sequence of the change that wrote it, so it is unique."""
    return f"{sequence:x}"


def _check_etag(stored: str, given: str, field: str) -> None:
    if given and given != stored:
        raise StaleEtag("the customer changed since it was read", field=field)


def _remember(terms: Terms, saved: Saved) -> tuple[Mutation, ...]:
    if not terms.request_id:
        return ()
    return (PutRequest(terms.request_id, saved.row, saved.sequence, int(saved.outcome)),)


def _only(results: Sequence[T | Exception]) -> T:
    (result,) = results
    if isinstance(result, Exception):
        raise result
    return result
