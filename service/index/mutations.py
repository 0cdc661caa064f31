"""What a decision may have written: the mutations of one account's index, and the decision itself.

Each refuses at birth, inside the decision, what would fail in the middle of a group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from service.errors import InvalidArgument
from service.index import layout
from service.index._intake import Intake
from service.index.feed import FeedMutation
from service.index.layout import ChangeKind, Entries
from service.index.timeline import DropItems, DropLeaving, PutItems, PutPin

Outcome = TypeVar("Outcome", covariant=True)

NOTHING = Entries()
REQUEST_KIND_MAX = 255  # it is stored in a byte


@dataclass(frozen=True, slots=True)
class Put:
    """Create a customer (`row` None) or replace its record; takes the next sequence.

    A creation gets `view.next_row`, rising with each creation of the decision. `old` is what the
    index holds of the stored record (`index.entries_of(codec.held(stored))`), so that only the
    differences are written. `features` are what is compared of the record, packed; None leaves
    those that are stored. Raises InvalidArgument where an id or text is over its
    limit.
    """

    row: int | None
    id: str
    record: bytes
    new: Entries
    old: Entries = NOTHING
    kind: ChangeKind = ChangeKind.CREATED
    diff: bytes = b""
    actor: str = ""
    reason: str = ""
    features: bytes | None = None

    def __post_init__(self) -> None:
        """Refuse here, inside the decision, what would fail in the middle of a group."""
        layout.bounded_key(self.id, "The customer id")
        layout.check_text(self.actor, "The actor")
        layout.check_text(self.reason, "The reason")
        for domain in self.new.pending:
            layout.bounded_key(domain, "A domain")
        if (self.row is None) != (self.kind is ChangeKind.CREATED):
            raise InvalidArgument("CREATED is the kind of a new row, and of no other")
        if self.kind is ChangeKind.DELETED:
            raise InvalidArgument("DELETED is the kind of a Delete")


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a customer: record, entries, items and all history; takes the next sequence.

    Items beyond what a commit drops (`Settings.item_drop_rows`) are `leaving`: see `DropLeaving`.
    What remains is the deletion itself in the change feed and the history, with who and why, and
    the id, which is never used again.
    """

    row: int
    id: str
    old: Entries
    actor: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse texts over their limit."""
        layout.check_text(self.actor, "The actor")
        layout.check_text(self.reason, "The reason")


@dataclass(frozen=True, slots=True)
class Reword:
    """Let a history entry that is there say something else: what a deleted customer left in it.

    Found by a decision that called `View.flush` before it read histories.
    """

    row: int
    sequence: int
    diff: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class PutOperation:
    """Keep the opaque state of a piece of long work, or forget it (None)."""

    key: str
    state: bytes | None

    def __post_init__(self) -> None:
        """Refuse a key that LMDB would."""
        layout.bounded_key(self.key, "The key of an operation")


@dataclass(frozen=True, slots=True)
class PutRequest:
    """Remember what a request_id led to. `kind` (0 to 255) is the caller's."""

    request_id: str
    row: int
    sequence: int
    kind: int

    def __post_init__(self) -> None:
        """Refuse an id that LMDB would, and a kind that does not fit."""
        layout.bounded_key(self.request_id, "The request_id")
        if not 0 <= self.kind <= REQUEST_KIND_MAX:
            raise InvalidArgument(f"The kind of a request is 0 to {REQUEST_KIND_MAX}")


@dataclass(frozen=True, slots=True)
class Absorb:
    """Let a live customer be part of another from now on: its id is a redirect, its record is kept.

    Belongs to the `Put` of kind MERGED of the survivor that takes `sequence`. What is linked to the
    row (history, marks, members of its own) stays there: see `Reads.tree`.
    """

    row: int
    id: str
    old: Entries
    survivor: int  # row
    survivor_id: str
    sequence: int
    place: int  # among the members of this merge
    actor: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """Give an absorbed customer back, with this record; takes the next sequence.

    Comes after the `Put` of kind UNMERGED of the survivor.
    """

    row: int
    id: str
    record: bytes
    new: Entries
    features: bytes
    diff: bytes = b""
    actor: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PutMergedRecord:
    """Change the record of a customer that stays merged: members of its own were given back.

    Belongs to the `Put` of kind UNMERGED of the survivor that takes `sequence`.
    """

    row: int
    record: bytes
    sequence: int
    diff: bytes
    actor: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PutBond:
    """Keep what it takes to take a merge back; None where it has no members any more."""

    row: int  # the survivor's
    sequence: int  # of the merge
    state: bytes | None


@dataclass(frozen=True, slots=True)
class PutMerge:
    """Keep what is known of a merge, by the sequence of its change."""

    sequence: int
    state: bytes


@dataclass(frozen=True, slots=True)
class PutDistinct:
    """Say of two live customers that they are not the same."""

    row: int
    other: int
    actor: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse texts over their limit."""
        layout.check_text(self.actor, "The actor")
        layout.check_text(self.reason, "The reason")
        if self.row == self.other:
            raise InvalidArgument("A customer is not distinct from itself")


@dataclass(frozen=True, slots=True)
class DropDistinct:
    """Take that back."""

    row: int
    other: int


@dataclass(frozen=True, slots=True)
class SortWaiting:
    """Move what batches left (`View.waiting`) to where it is found by domain."""

    waiting: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class PutModel:
    """Match with this model from now on; `text` "" is the release's own."""

    text: str
    frequencies: bytes
    actor: str = ""

    def __post_init__(self) -> None:
        """Refuse an actor over the limit."""
        layout.check_text(self.actor, "The actor")


@dataclass(frozen=True, slots=True)
class PutGroups:
    """Add groups of customers to what a scan found, their ranks rising from `first_rank`."""

    scan: int
    first_rank: int
    groups: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class DropGroups:
    """Forget up to `limit` groups of a scan, those of the lowest ranks."""

    scan: int
    limit: int


@dataclass(frozen=True, slots=True)
class PutRows:
    """Create those rows of a batch from `first` to before `end` that `View.stale` left out.

    Each as a `Put` would, but for the entries of identities and blocks, which a `PutEntries` puts
    for the whole batch in the same transaction. `times` are the encoded times of their records
    (`Codec.times`).
    """

    intake: Intake
    first: int
    end: int
    times: bytes
    actor: str = ""

    def __post_init__(self) -> None:
        """Refuse an actor over the limit."""
        layout.check_text(self.actor, "The actor")


@dataclass(frozen=True, slots=True)
class PutEntries:
    """Put the entries of all rows that were created of a batch."""

    intake: Intake


Mutation = (
    Put
    | PutRows
    | PutEntries
    | Delete
    | Reword
    | PutOperation
    | PutRequest
    | Absorb
    | Release
    | PutMergedRecord
    | PutBond
    | PutMerge
    | PutDistinct
    | DropDistinct
    | SortWaiting
    | PutModel
    | PutGroups
    | DropGroups
    | FeedMutation
    | PutItems
    | DropItems
    | DropLeaving
    | PutPin
)


class Decision(NamedTuple, Generic[Outcome]):
    """What a decision came to: an outcome for its caller and what to write."""

    outcome: Outcome
    mutations: Sequence[Mutation] = ()
