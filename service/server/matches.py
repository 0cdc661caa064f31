"""The part of DuplicateService that is about customers who look alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import cast

from namesake import v1
from service.core.explain import Contribution
from service.core.model import Card, Lookup
from service.errors import InvalidArgument, NotFound
from service.identity import distinct
from service.identity.matching import Found, Score, Subject
from service.index import Snapshot
from service.server import wire
from service.server.accounts import Account
from service.server.edge import Context, caller
from service.server.pace import Pace
from service.server.pages import Listing, decode_token, encode_token, page_rows
from service.server.rules import check_batch, check_region, check_text
from service.settings import Settings

REASON_CHARS = 500
PROBE_KEY_CHARS = 128
SHOWN_EVIDENCE = 6  # of either kind


class MatchMethods:
    """ScorePairs, FindMatches, ExplainMatch, MarkDistinct, UnmarkDistinct, ListDistinct."""

    _settings: Settings
    _records: wire.Records

    async def ScorePairs(  # noqa: N802
        self, request: v1.ScorePairsRequest, context: Context
    ) -> v1.ScorePairsResponse:
        """Weigh pairs of customers or cards."""
        check_batch(request.pairs, self._settings.batch_limit_rows, "pairs")
        reader = _Subjects(self._settings, self._records, request.default_region)
        drafts = [
            (f"pairs[{number}].{side}", getattr(pair, side))
            for number, pair in enumerate(request.pairs)
            for side in ("left", "right")
        ]
        await reader.prepare(drafts)
        answer, pace = v1.ScorePairsResponse(), Pace()
        with caller().account.index.snapshot() as snapshot:
            for number in range(len(request.pairs)):
                left = reader.subject(snapshot, 2 * number)
                right = reader.subject(snapshot, 2 * number + 1)
                if left is None or right is None:
                    answer.scores.add(not_found=True)
                    continue
                if left.row and left.row == right.row:
                    answer.scores.add(one_customer=True)
                    continue
                (score,) = reader.account.matcher.scores(snapshot, [(left, right)])
                answer.scores.append(pair_score(score))
                await pace.step()
        return answer

    async def ExplainMatch(  # noqa: N802
        self, request: v1.ExplainMatchRequest, context: Context
    ) -> v1.ExplainMatchResponse:
        """Say what each field of a pair says, and how it adds up."""
        reader = _Subjects(self._settings, self._records, request.default_region)
        await reader.prepare([("pair.left", request.pair.left), ("pair.right", request.pair.right)])
        with caller().account.index.snapshot() as snapshot:
            left, right = reader.known(snapshot, 0), reader.known(snapshot, 1)
            if left.row and left.row == right.row:
                raise InvalidArgument("both are one customer", field="pair")
            score, explanation = reader.account.matcher.explained(snapshot, left, right)
        answer = v1.ExplainMatchResponse(score=pair_score(score))
        if explanation is not None:
            answer.otherwise = explanation.against
            answer.evidence.add(bits=explanation.prior_bits, text=explanation.prior_in_words)
            answer.evidence.extend(evidence(explanation.contributions))
        return answer

    async def FindMatches(  # noqa: N802
        self, requests: AsyncIterator[v1.FindMatchesRequest], context: Context
    ) -> AsyncIterator[v1.FindMatchesResponse]:
        """Answer each batch of probes with the customers that look like them."""
        async for request in requests:
            yield await self._find(request)

    async def _find(self, request: v1.FindMatchesRequest) -> v1.FindMatchesResponse:
        settings = self._settings
        check_batch(request.probes, settings.batch_limit_rows, "probes")
        if not 0 <= request.limit <= settings.match_limit_rows:
            raise InvalidArgument(f"0 to {settings.match_limit_rows}", field="limit")
        limit = request.limit or settings.similar_page_rows
        least = checked_probability(request.least_probability, "least_probability")
        reader = _Subjects(settings, self._records, request.default_region)
        faults = await reader.prepare_probes(request.probes)
        answer, pace = v1.FindMatchesResponse(), Pace()
        with caller().account.index.snapshot() as snapshot:
            for number, probe in enumerate(request.probes):
                result = answer.results.add(key=probe.key)
                if number in faults:
                    result.error = faults[number]
                    continue
                found = reader.account.matcher.similar(
                    snapshot,
                    reader.known(snapshot, number),
                    limit=limit,
                    candidates=settings.match_candidates,
                    block_rows=settings.match_block_rows,
                    least_probability=least,
                )
                write_similar(result.similar, snapshot, found)
                await pace.step()
        return answer

    async def MarkDistinct(  # noqa: N802
        self, request: v1.MarkDistinctRequest, context: Context
    ) -> v1.MarkDistinctResponse:
        """Tell customers apart."""
        self._check_ids(request.ids)
        check_text(request.reason, REASON_CHARS, "reason")
        who = caller()
        marked = await distinct.mark(who.account.index, request.ids, request.reason, who.actor)
        return v1.MarkDistinctResponse(marked=marked)

    async def UnmarkDistinct(  # noqa: N802
        self, request: v1.UnmarkDistinctRequest, context: Context
    ) -> v1.UnmarkDistinctResponse:
        """Take that back."""
        self._check_ids(request.ids)
        unmarked = await distinct.unmark(caller().account.index, request.ids)
        return v1.UnmarkDistinctResponse(unmarked=unmarked)

    def _check_ids(self, ids: Sequence[str]) -> None:
        if not 2 <= len(ids) <= self._settings.distinct_ids:
            raise InvalidArgument(f"2 to {self._settings.distinct_ids} ids", field="ids")

    async def ListDistinct(  # noqa: N802
        self, request: v1.ListDistinctRequest, context: Context
    ) -> v1.ListDistinctResponse:
        """List who is marked as distinct from a customer."""
        rows = page_rows(request.page_size, self._settings)
        after, _ = decode_token(request.page_token, Listing.DISTINCT)
        answer = v1.ListDistinctResponse()
        with caller().account.index.snapshot() as snapshot:
            row = snapshot.find(request.id).row if request.id else 0
            if not row:
                raise NotFound("there is no customer with this id", field="id")
            pairs = snapshot.distinct_of(row, after, rows + 1)
            for pair in pairs[:rows]:
                other = _card(snapshot, pair.other)
                answer.customers.add(
                    id=other.id,
                    display_name=wire.display_name(other),
                    actor=pair.actor,
                    time=wire.timestamp(pair.time_us),
                    reason=pair.reason,
                )
            if len(pairs) > rows:
                answer.next_page_token = encode_token(Listing.DISTINCT, pairs[rows - 1].other)
        return answer


class _Subjects:
    """What a request compares: drafts are checked together, stored customers read one by one."""

    def __init__(self, settings: Settings, records: wire.Records, region: str) -> None:
        check_region(region, "default_region")
        self._settings = settings
        self._records = records
        self.account: Account = caller().account
        self._region = region or self.account.default_region
        self._subjects: list[str | Subject | None] = []
        self._paths: list[str] = []

    async def prepare(self, subjects: Sequence[tuple[str, v1.Subject]]) -> None:
        """Check all drafts; `subjects` have their paths. Raises InvalidArgument."""
        cards: dict[int, Card] = {}
        for number, (path, subject) in enumerate(subjects):
            self._paths.append(path)
            match subject.WhichOneof("subject"):
                case "id":
                    self._subjects.append(subject.id)
                case "draft":
                    self._subjects.append(None)
                    draft = wire.draft_card(subject.draft, self._settings, f"{path}.draft")
                    cards[number] = draft
                case _:
                    raise InvalidArgument("required: id or draft", field=path)
        await self._seal(cards)

    async def prepare_probes(self, probes: Sequence[v1.Probe]) -> dict[int, str]:
        """Check all cards; return what is wrong with those that break a rule, by place."""
        faults: dict[int, str] = {}
        cards: dict[int, Card] = {}
        for number, probe in enumerate(probes):
            self._subjects.append(None)
            check_text(probe.key, PROBE_KEY_CHARS, f"probes[{number}].key")
            try:
                cards[number] = wire.draft_card(probe.card, self._settings, "card")
            except InvalidArgument as error:
                faults[number] = f"{error.field}: {error.message}"
        await self._seal(cards)
        return faults

    async def _seal(self, cards: dict[int, Card]) -> None:
        drafts = list(cards.values())
        sealed = await self.account.registry.preview(drafts, self._region, Lookup.SKIP)
        for number, one in zip(cards, sealed, strict=True):
            self._subjects[number] = Subject(one.features or b"", one.held)

    def subject(self, snapshot: Snapshot, number: int) -> Subject | None:
        """Return a subject, None for an id that is no customer's."""
        subject = self._subjects[number]
        if isinstance(subject, str):
            return stored_subject(snapshot, self._records, snapshot.find(subject).row)
        return subject

    def known(self, snapshot: Snapshot, number: int) -> Subject:
        """Return a subject; raise NotFound for an id that is no customer's."""
        subject = self.subject(snapshot, number)
        if subject is None:
            raise NotFound("there is no customer with this id", field=f"{self._paths[number]}.id")
        return subject


def stored_subject(snapshot: Snapshot, records: wire.Records, row: int) -> Subject | None:
    """Return a stored customer to compare, None if there is none in the row."""
    record = snapshot.record(row) if row else None
    if record is None:
        return None
    return Subject(snapshot.features_of(row) or b"", records.held(record), row)


def write_similar(answer: v1.SimilarCustomers, snapshot: Snapshot, found: Found) -> None:
    """Write those who look like a subject as the wire has them."""
    answer.SetInParent()  # also where there is nothing to say
    answer.compared, answer.split_blocks = found.compared, found.split_blocks
    for one in found.similar:
        other = _card(snapshot, one.row)
        answer.customers.add(
            id=other.id,
            display_name=wire.display_name(other),
            state=other.state,
            weight=one.score.weight,
            probability=one.score.probability,
            action=cast(v1.MatchAction.ValueType, int(one.score.action)),
            supporting=evidence(one.explanation.speaking_for[:SHOWN_EVIDENCE]),
            contradicting=evidence(one.explanation.speaking_against[:SHOWN_EVIDENCE]),
        )


def evidence(contributions: Sequence[Contribution]) -> list[v1.FieldEvidence]:
    """Return what fields say as the wire has it."""
    return [
        v1.FieldEvidence(field=one.field, level=one.level, bits=one.bits, text=one.words)
        for one in contributions
    ]


def pair_score(score: Score) -> v1.PairScore:
    """Return a score as the wire has it."""
    return v1.PairScore(
        weight=score.weight,
        probability=score.probability,
        action=cast(v1.MatchAction.ValueType, int(score.action)),
        distinct=score.is_distinct,
    )


def checked_probability(given: float, field: str) -> float | None:
    """Return a probability, None where none is given; raise InvalidArgument."""
    if not 0.0 <= given <= 1.0:  # nor is it NaN
        raise InvalidArgument("a probability is from 0 to 1", field=field)
    return given or None


def _card(snapshot: Snapshot, row: int) -> v1.Customer:
    record = snapshot.record(row)
    assert record is not None, "the index names a row that has no record"
    return v1.Customer.FromString(record)
