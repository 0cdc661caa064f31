"""The words that travel between modules, as frozen types.

Numbers of the enums equal those of the wire (`namesake.v1`), which a test holds; nothing here
knows protobuf. Times are microseconds since the Unix epoch, UTC. What a bulk path makes one of per
row is a named tuple: as immutable as a frozen dataclass, and three times as quick to make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from service.core._wire import Batch, Prepared
    from service.core.prepare import Judged


class Channel(IntEnum):
    """What kind of contact point a value is."""

    EMAIL = 1
    PHONE = 2


class Verdict(IntEnum):
    """What is known of a contact point. UNKNOWN is a third answer, never a kind of INVALID."""

    VALID = 1
    RISKY = 2
    INVALID = 3
    UNKNOWN = 4


class Reason(IntEnum):
    """Why the verdict is what it is; stable on the wire."""

    ACCEPTED = 1
    EMAIL_SYNTAX = 2
    UNUSUAL_SYNTAX = 3
    SPECIAL_USE_DOMAIN = 4
    DOMAIN_NOT_FOUND = 5
    NO_MAIL_SERVER = 6
    NULL_MX = 7
    MAIL_SERVER_UNKNOWN = 8
    DISPOSABLE = 9
    PENDING = 10
    NOT_LOOKED_UP = 11
    PHONE_FORMAT = 12
    PHONE_NOT_ASSIGNED = 13


#: What a reason comes to.
VERDICTS: dict[Reason, Verdict] = {
    Reason.ACCEPTED: Verdict.VALID,
    Reason.NOT_LOOKED_UP: Verdict.VALID,
    Reason.UNUSUAL_SYNTAX: Verdict.RISKY,
    Reason.DISPOSABLE: Verdict.RISKY,
    Reason.MAIL_SERVER_UNKNOWN: Verdict.UNKNOWN,
    Reason.PENDING: Verdict.UNKNOWN,
    Reason.EMAIL_SYNTAX: Verdict.INVALID,
    Reason.SPECIAL_USE_DOMAIN: Verdict.INVALID,
    Reason.DOMAIN_NOT_FOUND: Verdict.INVALID,
    Reason.NO_MAIL_SERVER: Verdict.INVALID,
    Reason.NULL_MX: Verdict.INVALID,
    Reason.PHONE_FORMAT: Verdict.INVALID,
    Reason.PHONE_NOT_ASSIGNED: Verdict.INVALID,
}

MESSAGES: dict[Reason, str] = {
    Reason.ACCEPTED: "Accepted",
    Reason.EMAIL_SYNTAX: "Does not match the e-mail address format",
    Reason.UNUSUAL_SYNTAX: "Legal, but of a form that many mail systems refuse",
    Reason.SPECIAL_USE_DOMAIN: "The domain is reserved and never receives mail",
    Reason.DOMAIN_NOT_FOUND: "The domain does not exist",
    Reason.NO_MAIL_SERVER: "The domain has no mail server",
    Reason.NULL_MX: "The domain says that it accepts no mail",
    Reason.MAIL_SERVER_UNKNOWN: "The domain's mail server could not be looked up",
    Reason.DISPOSABLE: "A throw-away address",
    Reason.PENDING: "Waiting for the domain to be looked up",
    Reason.NOT_LOOKED_UP: "Well-formed; the domain was not looked up",
    Reason.PHONE_FORMAT: "Does not match the international phone number format",
    Reason.PHONE_NOT_ASSIGNED: "Of a possible length, but in no range that is in use",
}


class Flag(IntEnum):
    """What is worth knowing of an address beside its verdict."""

    ROLE_ACCOUNT = 1
    FREE_PROVIDER = 2
    PRIVACY_RELAY = 3


class PhoneType(IntEnum):
    """Number types of libphonenumber."""

    FIXED_LINE = 1
    MOBILE = 2
    FIXED_LINE_OR_MOBILE = 3
    TOLL_FREE = 4
    PREMIUM_RATE = 5
    SHARED_COST = 6
    VOIP = 7
    PERSONAL_NUMBER = 8
    PAGER = 9
    UAN = 10
    VOICEMAIL = 11


class Outcome(IntEnum):
    """What became of a card. Only a row of an import is SKIPPED."""

    CREATED = 1
    UPDATED = 2
    UNCHANGED = 3
    SKIPPED = 4


class ItemKind(IntEnum):
    """What is linked to a customer."""

    NOTE = 1
    CALL = 2
    EMAIL = 3
    SMS = 4
    TASK = 5
    ATTACHMENT = 6
    ORDER = 7
    EVENT = 8
    METRIC = 9
    DEAL = 10
    COMMENT = 11


class PhoneForm(NamedTuple):
    """The normal form of one number: E.164, "" where there is none.

    `region` is ISO 3166-1 alpha-2, "001" for non-geographic numbers, "" where no region claims
    the number. `type` is None unless the number is valid. `reason` is ACCEPTED, PHONE_FORMAT
    (no number, or of an impossible length) or PHONE_NOT_ASSIGNED.
    """

    normal: str
    extension: str
    region: str
    type: PhoneType | None
    reason: Reason


class Lookup(IntEnum):
    """How a check treats domains whose DNS verdict is not in the cache."""

    WAIT = 1  # resolve now, up to the deadline; then UNKNOWN
    DEFER = 2  # answer PENDING at once; the caller settles it later
    SKIP = 3  # syntax and lists only


class Point(NamedTuple):
    """One contact point as it was given. `region` is the caller's default region or ""."""

    channel: Channel
    value: str
    region: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one contact point and what it rests on."""

    verdict: Verdict
    reason: Reason
    checked_us: int
    holds_until_us: int = 0  # 0: for as long as the rules and tables stand
    flags: tuple[Flag, ...] = ()
    suggested_domain: str = ""
    mx_hosts: tuple[str, ...] = ()
    source: str = ""  # the list or table and its version ("disposable-email-domains 0.0.293")
    detail: str = ""  # what precisely broke the syntax


class Checked(NamedTuple):
    """A contact point with its normal form ("" where it has none) and finding."""

    channel: Channel
    normal: str
    finding: Finding
    region: str = ""  # phones: ISO 3166-1 alpha-2, "001" for non-geographic
    phone_type: PhoneType | None = None
    extension: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """A (type, value) pair that names a customer, other than an e-mail or phone."""

    type: str
    value: str


class Card(NamedTuple):
    """A customer as a caller sent it, with what the use cases need taken out of it.

    `draft` is the codec's parsed form, opaque to everybody else.
    """

    draft: object
    id: str = ""
    etag: str = ""
    points: tuple[Point, ...] = ()
    identities: tuple[Identity, ...] = ()


class Held(NamedTuple):
    """What a record holds: what its index entries are made of."""

    id: str = ""
    etag: str = ""
    normals: tuple[tuple[Channel, str], ...] = ()  # normal forms, in the record's order
    identities: tuple[Identity, ...] = ()
    pending: tuple[str, ...] = ()  # domains whose DNS verdict is awaited
    mobiles: frozenset[str] = frozenset()  # normal forms of mobile phones, by kind or type
    own: int = 0  # so many of the normal forms are the customer's; the others its contacts'
    is_company: bool = False


class Sealed(NamedTuple):
    """A record's body, complete but for what only the writer knows, and what it holds.

    `assumed` names the fields that the card left out and the body has a default for; `numbered`
    the contacts, by their place, whose ids are the server's. `features` are what is compared of it,
    packed; None where they are those of the record that it follows.
    """

    body: bytes
    held: Held
    assumed: tuple[str, ...] = ()
    numbered: tuple[int, ...] = ()
    features: bytes | None = None


class Combine(IntEnum):
    """How an incoming card meets the stored one."""

    REPLACE = 1  # the incoming card is the whole truth (SaveCustomer by id)
    MASK = 2  # only the fields of the mask, taken from the incoming card (UpdateCustomer)
    OVERLAY = 3  # given scalars win, lists are united (import, on match)
    FILL = 4  # stored scalars win, blanks are filled, lists are united (ATTACH)


class Codec(Protocol):
    """Encoded customer records, for those who may not know their encoding.

    `server/wire.py` implements it; records are opaque bytes elsewhere. A *body* is a record
    without id, etag and times, which `stamp` adds.
    """

    def seal(self, cards: Sequence[Card], checked: Iterable[Checked]) -> list[Sealed]:
        """Encode `cards` with normal forms and findings: one `Checked` per point, in order.

        Consumes the drafts. The same normal form, identity or tag is kept once.
        """

    def prepare(self, batch: Batch, judged: Judged) -> Prepared:
        """Do as `seal` with the ordinary rows of a batch, in columns; for a thread of its own."""

    def sealed(self, prepared: Prepared, index: int) -> Sealed:
        """Return one of these rows as `seal` would have."""

    def times(self, created_us: int, updated_us: int) -> bytes:
        """Return the times of a record, encoded: the end of what `stamp` adds."""

    def stamp(self, body: bytes, *, id: str, etag: str, created_us: int, updated_us: int) -> bytes:
        """Return the record: `body` with the fields that only the writer knows."""

    def created_us(self, record: bytes) -> int:
        """Return when the record was created."""

    def written_by(self, record: bytes) -> int:
        """Return the sequence of the change that wrote the record last."""

    def adds_nothing(self, old: bytes, body: bytes) -> bool:
        """Tell whether a body surely changes nothing where it is laid over the record `old`.

        Or where the record's blanks are filled from it. False says nothing: see `combine`, `diff`.
        """

    def combine(self, old: bytes, new: Sealed, how: Combine, mask: Sequence[str] = ()) -> Sealed:
        """Return what results where `new` meets the stored record `old`.

        Raises `InvalidArgument` where the result breaks a rule (no last name, too many points).
        """

    def diff(self, old: bytes, new: bytes) -> bytes:
        """Return the encoded field-level difference, b"" where nothing of substance differs.

        `old` is a record, `new` a body. Times of findings are no substance.
        """

    def as_it_was(self, record: bytes) -> Sealed:
        """Return a record's body, byte by byte, and what it holds."""

    def note_members(self, diff: bytes, ids: Sequence[str]) -> bytes:
        """Return an encoded difference that also names who was merged, or given back."""

    def taken_back(self, card: bytes, diff: bytes) -> bytes:
        """Return a body as it was before a difference, of a record or body as it was after it."""

    def noted_members(self, diff: bytes) -> Sequence[str]:
        """Return the ids that `note_members` added to a difference."""

    def forgetting(
        self, gone: Sequence[bytes], before: bytes, after: bytes
    ) -> Callable[[bytes], bytes]:
        """Return what takes customers out of the differences that lead from `before` to `after`.

        In every field of which one of the cards `gone` says something, only what one of the two
        has remains. So the differences still lead from the one to the other.
        """

    def held(self, record: bytes) -> Held:
        """Read back what the index keeps of a record."""

    def features(self, records: Sequence[bytes]) -> list[bytes]:
        """Return what is compared of records or bodies, packed (`core.prepare.features`)."""

    def settle(self, record: bytes, domain: str, finding: Finding) -> Sealed:
        """Return the record's body with `finding` at each pending e-mail of `domain`."""


class Step(NamedTuple):
    """One merge: the survivor's card before it, and who was merged into it.

    Cards are records or bodies; members are (id, card), in order. Choices are (field, id of the
    customer whose value stands). Contacts are numbered within their customer, so `numbers` say
    (member's id, number there) → number at the survivor.
    """

    base: bytes
    members: tuple[tuple[str, bytes], ...]
    choices: tuple[tuple[str, str], ...] = ()
    numbers: Mapping[tuple[str, str], str] = MappingProxyType({})


class United(NamedTuple):
    """What a merge makes of a survivor's card, and the `numbers` of its step."""

    sealed: Sealed
    numbers: Mapping[tuple[str, str], str]


class Leaving(NamedTuple):
    """A customer that is given back, with its card as far as it is known.

    `numbers` say how its contacts are numbered: number at the survivor → number there.
    """

    id: str
    card: bytes
    numbers: Mapping[str, str]


class Action(IntEnum):
    """What an unmerge does with what came from a member and was edited since."""

    KEEP = 1  # the survivor keeps it as it is now
    GIVE = 2  # the member gets it as it is now
    RESTORE = 3  # each gets back what it had


class Clash(NamedTuple):
    """Something that came from a member, was edited since, and for which nobody chose.

    `before` and `after` are encoded cards that have only this.
    """

    element: str
    member: str
    before: bytes
    after: bytes


class Parted(NamedTuple):
    """What an unmerge makes of a survivor's card.

    `steps` are the merges that remain of it, in order; `given` the cards of leaving customers that
    get something with them. All cards are bodies. `is_stored` tells that this one is as it was
    stored before, byte by byte.
    """

    steps: tuple[Step, ...]
    body: bytes
    is_stored: bool
    given: dict[str, bytes]
    clashes: tuple[Clash, ...]


class Survivorship(Protocol):
    """What becomes of the cards of a merge; `server/survivorship.py` implements it."""

    def unite(self, id: str, step: Step) -> United:
        """Return the survivor's card: the base's values stand, blanks are filled in order.

        Raises `InvalidArgument` or `IdentityExclusive` where the result breaks a rule.
        """

    def part(
        self,
        id: str,
        steps: Sequence[Step],
        left: Sequence[Sequence[tuple[str, bytes]]],
        current: bytes,
        leaving: Callable[[], Sequence[Leaving]],
        actions: Mapping[str, Action],
    ) -> Parted:
        """Return what a survivor's card, as it is now, is without some of its members.

        `left` are the members that remain of each step, with their cards, perhaps without members
        of their own. `leaving` tells who goes, also out of members, the deepest first. `actions`
        say by element what happens to an edit of what came from them, "" for all others.
        """

    def seal(self, body: bytes) -> Sealed:
        """Return a card that was worked out, as `unite` does."""
