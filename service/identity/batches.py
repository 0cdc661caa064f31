"""Batches of an import: what is decided about their rows, and how far their job is then.

The rows of a batch and the job's progress are one transaction. Rows that are surely new
(`Intake.stale`) are created together, as many as follow each other; each other row is decided as a
save is, in its turn. These take long, so that a batch with many of them is cut into parts, of a
transaction each: between them card saves are served.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from service.core._wire import Batch as Rows
from service.core.model import (
    Card,
    Channel,
    Checked,
    Codec,
    Outcome,
    Reason,
    Sealed,
    Verdict,
)
from service.core.prepare import Judged
from service.errors import NamesakeError, NotFound
from service.identity import due
from service.identity.jobs import Job, RowFailure, batch_puts, failure_of, find, kept_failures
from service.index import Decide, Decision, Index, Intake, PutEntries, PutRows, View, id_key

if TYPE_CHECKING:
    from service.identity.registry import Saved, Terms

Found = Counter[tuple[Channel, Verdict, Reason]]


class Incoming(NamedTuple):
    """A batch that came in: ordinary rows together, of each other its card or what it breaks."""

    number: int
    rows: Rows
    places: Sequence[int]  # of the ordinary rows in the batch
    others: Sequence[tuple[int, Card | NamesakeError]]  # with theirs


class Batch(NamedTuple):
    """What became of one batch. `failures` is empty if the batch was durable before."""

    job: Job
    failures: list[RowFailure]
    findings: Found


class Origin(NamedTuple):
    """Which batch it is: of which job, in which stream; and its bounds.

    How many failures a job keeps, and how many rows are decided one by one in a transaction.
    """

    job_id: str
    number: int
    stream: int
    failures_kept: int
    part_rows: int


class Other(NamedTuple):
    """A row that is no ordinary one."""

    place: int
    card: Card
    sealed: Sealed


class Rest(NamedTuple):
    """Where the ordinary rows of a batch are, and its other rows: cards, and what broke a rule."""

    places: Sequence[int]
    others: Sequence[Other]
    broken: Sequence[tuple[int, NamesakeError]]


class BatchRun:
    """The decisions about one batch, as the writer takes them; it may have to begin again.

    What an earlier decision came to decides which ones follow it.
    """

    def __init__(
        self,
        origin: Origin,
        intake: Intake,
        rest: Rest,
        decide: Callable[[Card, Sealed, View], Decision[Saved]],
        terms: Terms,
        codec: Codec,
        index: Index,
    ) -> None:
        self._origin = origin
        self._intake = intake
        self._rest = rest
        self._decide = decide
        self._terms = terms
        self._codec = codec
        self._keys = [key for other in rest.others for key in _keys_of(other, index)]
        self._by_id, self._asked = terms.asked
        self._durable: list[RowFailure] | None = None  # of parts before this one; None: not read
        self._failures: list[RowFailure] = []
        self._begin()

    def _begin(self) -> None:
        if self._durable is not None:  # these are of the part before, or of another try of this one
            self._durable += self._failures
        self._tally: Counter[Outcome] = Counter()
        self._stale: list[int] = []
        self._left: list[tuple[int, Decide[Saved]]] = []
        self._fault: Exception | None = None
        self._failures = []
        self._end = 0  # rows of the batch that are done with this part; 0: all
        self.is_open = False
        self._job = Job(self._origin.job_id, batch=self._origin.number - 1)
        self._first_row = 0

    @property
    def failures(self) -> list[RowFailure]:
        """The failures of the batch so far, by row."""
        return [*(self._durable or ()), *self._failures]

    def goes_on(self) -> bool:
        """Tell whether another part follows."""
        return self._end > 0

    def __len__(self) -> int:
        """Return how many items this is for the bounds of the writer."""
        return self._intake.count + len(self._rest.others) + len(self._rest.broken) + 2

    def __iter__(self) -> Iterator[Decide[object]]:
        """Yield the decisions of a part; each is taken before the next is asked for."""
        self._begin()
        yield self.decide_open
        if self.is_open:
            yield self.decide_stale
        if self.is_open:  # no fault was found meanwhile
            yield from self._rows()
        yield self.decide_close

    def _rows(self) -> Iterator[Decide[object]]:
        """Yield the decisions about the rows of this part, in the order of the batch."""
        left, limit = self._left, self._origin.part_rows
        if len(left) > limit and not self._terms.dry_run:  # which would know of no earlier part
            left, self._end = left[:limit], left[limit][0]
        first = bisect_left(self._rest.places, self._job.part)
        for place, decide in left:
            end = bisect_left(self._rest.places, place)
            if first < end:
                yield partial(self.decide_new, first, end)
                first = end
            yield partial(self.decide_row, place, decide)
        end = bisect_left(self._rest.places, self._end) if self._end else self._intake.count
        if first < end:
            yield partial(self.decide_new, first, end)

    def decide_open(self, view: View) -> Decision[None]:
        """Read how far the job is; a batch that is durable already is not run again."""
        self._first_row = view.next_row
        if self._terms.dry_run:
            self.is_open = True
        else:
            try:
                self._job = self._stored_job(view)
                self.is_open = self._job.awaits(self._origin.number, self._origin.stream)
            except NamesakeError as error:
                self._fault = error
                raise
        self._durable = [one for one in self._told(view) if one.row <= self._job.rows]
        return Decision(None)

    def _told(self, view: View) -> list[RowFailure]:
        """Return the failures of parts that were tried; those of another stream are read."""
        if self._durable is not None or not self._job.part:
            return self._durable or []
        before = self._job.rows - self._job.part
        return kept_failures(view, self._job.id, before, self._job.part)

    def _stored_job(self, view: View) -> Job:
        job = find(view, self._origin.job_id)
        if job is None and self._origin.stream:
            raise NotFound("the import is forgotten: too many others ended since", field="job_id")
        return job or Job(self._origin.job_id)

    def decide_stale(self, view: View) -> Decision[None]:
        """Find the rows that are to be decided one by one."""
        try:
            stale = view.stale(self._intake, self._asked, self._by_id, self._keys)
        except Exception as error:
            self._fault, self.is_open = error, False
            raise
        places, done = self._rest.places, self._job.part
        self._stale = stale
        self._left = [(places[index], partial(self._decide_one, index)) for index in stale]
        self._left += [
            (one.place, partial(self._decide, one.card, one.sealed)) for one in self._rest.others
        ]
        self._left = sorted(
            (left for left in self._left if left[0] >= done), key=lambda left: left[0]
        )
        return Decision(None)

    def decide_new(self, first: int, end: int, view: View) -> Decision[None]:
        """Create the rows from `first` to before `end` that are surely new."""
        stale = bisect_left(self._stale, end) - bisect_left(self._stale, first)
        self._tally[Outcome.CREATED] += end - first - stale
        times = self._codec.times(view.now_us, view.now_us)
        return Decision(None, (PutRows(self._intake, first, end, times, self._terms.actor),))

    def _decide_one(self, index: int, view: View) -> Decision[Saved]:
        rows = self._intake.rows
        return self._decide(rows.batch.card(index), self._codec.sealed(rows, index), view)

    def decide_row(self, place: int, decide: Decide[Saved], view: View) -> Decision[Saved]:
        """Run a row's decision and count its outcome."""
        try:
            decision = decide(view)
        except Exception as error:
            self._failures.append(failure_of(self._row(place), error))
            raise
        self._tally[decision.outcome.outcome] += 1
        return decision

    def _row(self, place: int) -> int:
        return self._job.rows - self._job.part + place + 1

    def decide_close(self, view: View) -> Decision[Job]:
        """Write how far the job is now, in the same transaction as its rows."""
        if self._fault is not None:
            self._end = 0
            raise self._fault
        if not self.is_open:
            return Decision(self._job)
        self._failures += [
            failure_of(self._row(place), error)
            for place, error in self._rest.broken
            if self._job.part <= place and (place < self._end or not self._end)
        ]
        self._failures.sort()
        job = self._job.with_part(self._tally, self._failures, self._end, view.now_us)
        job, puts = batch_puts(self._job, job, self._failures, self._origin.failures_kept)
        # Nobody else creates rows within this transaction.
        created = due.created(view, job.id, self._first_row)
        return Decision(job, (PutEntries(self._intake), *puts, *created))


def findings_of(judged: Judged, checked: Sequence[Checked]) -> Found:
    """Count the findings on a batch's contact points."""
    found: Found = Counter()
    for channel, one, times in judged.tally():
        found[channel, one.verdict, one.reason] += times
    found.update((one.channel, one.finding.verdict, one.finding.reason) for one in checked)
    return found


def _keys_of(other: Other, index: Index) -> list[bytes]:
    """Return all that may let another row of the batch be the same customer as this one."""
    keys = list(index.entries_of(other.sealed.held).keys)
    if other.card.id:
        keys.append(id_key(other.card.id))
    return keys
