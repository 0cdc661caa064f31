"""Sub-databases, key layouts and value codecs: the only place that knows the stored bytes.

Integers in keys are big-endian, so that cursors run in numeric order. A value that is a structure
starts with a version byte; plain numbers, record bytes and opaque bytes have none. Identity and
pending entries hold the bare row (8 bytes), which lets LMDB pack duplicates tightly (dupfixed).
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from itertools import groupby
from operator import itemgetter
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from service.core._probe import block_keys
from service.core.model import Channel, Held, Identity
from service.errors import FormatMismatch, InvalidArgument, StorageFault

# 1 had no features and blocks: they are made when it is opened. 2 had no sorted runs, 3 no merges,
# timelines and consumers.
FORMAT_VERSION = 4
MIGRATED_FORMATS = frozenset({1, 2, 3})
KEY_LIMIT_BYTES = 511  # LMDB 0.9, MDB_MAXKEYSIZE: a compile-time constant
TEXT_LIMIT_CHARS = 0xFFFF // 4  # actor and reason carry a u16 length; UTF-8 takes up to 4 bytes
ROW_MAX = (1 << 64) - 1

#: name → does a key hold several values.
TABLES: dict[str, bool] = {
    "meta": False,
    "ids": False,
    "customers": False,
    "features": False,
    "identities": True,
    "blocks": True,
    "runs": False,
    "retired": False,
    "redirects": False,
    "merged": False,
    "members": False,
    "bonds": False,
    "merges": False,
    "restored": False,
    "distinct": False,
    "changes": False,
    "history": False,
    "operations": False,
    "requests": False,
    "pending": True,
    "waiting": False,
    "groups": False,
    "models": False,
    "consumers": False,
    "older": False,
    "items": False,
    "item_ids": False,
    "timeline": False,
    "item_counts": False,
    "item_points": True,
    "pins": False,
    "leaving": False,
}
MAX_TABLES = 48  # room for later sub-databases, so that an older worker can hold them open

META_FORMAT = b"format"
META_COUNTERS = b"counters"
META_MATCH_RULES = b"match_rules"
META_HASH_SECRET = b"hash_secret"

MODEL_KEY = b"model"
FREQUENCIES_KEY = b"frequencies"

MatchKey = Callable[[Channel, str], str]
Buffer = bytes | bytearray | memoryview


class ChangeKind(IntEnum):
    """What an event of the change feed says of its row."""

    CREATED = 1
    UPDATED = 2
    DELETED = 3
    VERDICT = 4  # a DNS verdict arrived; nobody edited the card
    MERGED = 5  # others were merged into it; in their histories, it was merged itself
    UNMERGED = 6  # some of them were given back
    RESTORED = 7  # it was given back


_CHANGE_KINDS = {int(kind): kind for kind in ChangeKind}  # calling the class costs a microsecond


class Kind(IntEnum):
    """First byte of an identities key. The high bit marks a key whose text is hashed."""

    EMAIL = 1
    EMAIL_MATCH = 2
    PHONE = 3
    PHONE_MATCH = 4
    OTHER = 5


NORMAL = {Channel.EMAIL: Kind.EMAIL, Channel.PHONE: Kind.PHONE}
MATCH = {Channel.EMAIL: Kind.EMAIL_MATCH, Channel.PHONE: Kind.PHONE_MATCH}

_PREFIX = {kind: bytes([kind]) for kind in Kind}
_HASHED = {kind: bytes([kind | 0x80]) for kind in Kind}
#: First bytes of the keys that follow the match-key rules, plain and hashed.
MATCH_PREFIXES = tuple(first[kind] for kind in MATCH.values() for first in (_PREFIX, _HASHED))


class RunKind(IntEnum):
    """Which entries a sorted run has; first byte of its keys. The high bit marks a filter."""

    IDENTITIES = 1
    BLOCKS = 2


#: Where the manifest of each kind is, in `meta`.
META_RUNS = {RunKind.IDENTITIES: b"runs_identities", RunKind.BLOCKS: b"runs_blocks"}


class Entries(NamedTuple):
    """What the index holds of one record besides the record itself."""

    keys: frozenset[bytes] = frozenset()  # identities keys
    pending: frozenset[str] = frozenset()  # domains whose DNS verdict is awaited


@dataclass(frozen=True, slots=True)
class Counters:
    """State of the file as of one commit. The first row and the first sequence are 1."""

    next_row: int = 1
    next_sequence: int = 1
    last_us: int = 0  # time of the last commit; the next one is later, whatever the clock says


class Change(NamedTuple):
    """One event of the change feed."""

    sequence: int
    kind: ChangeKind
    row: int
    time_us: int
    actor: str
    id: str  # the customer's


class HistoryEntry(NamedTuple):
    """One step in the life of a row; `diff` is the codec's, b"" where there is none."""

    sequence: int
    kind: ChangeKind
    time_us: int
    actor: str
    reason: str
    diff: bytes


@dataclass(frozen=True, slots=True)
class Consumer:
    """How far a named consumer of the feed says that it is, and when it said so."""

    name: str
    sequence: int
    time_us: int


@dataclass(frozen=True, slots=True)
class Remembered:
    """The outcome that a request_id had. `kind` (0 to 255) is the caller's.

    `time_us` is what the clock said: unlike the times of commits it may step back.
    """

    row: int
    sequence: int
    kind: int
    time_us: int


@dataclass(frozen=True, slots=True)
class DistinctPair:
    """Somebody said of two rows that they are not the same."""

    row: int
    other: int
    time_us: int
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class MergedRow:
    """A customer that was merged: whose it is now, by which merge, and its record as it was."""

    survivor: int  # row
    sequence: int  # of the change
    place: int  # among the members of that merge
    record: bytes


@dataclass(frozen=True, slots=True)
class StoredModel:
    """The account's matching model. `version` differs with each that was put."""

    text: str  # "": the release's own
    actor: str
    time_us: int
    version: int


@dataclass(frozen=True, slots=True)
class Run:
    """A sorted run: 2^`bits` chunks, in 2^`group_bits` groups with a filter of `lines` each."""

    number: int
    bits: int
    group_bits: int
    lines: int
    entries: int  # those that count, retired ones included
    into: int = 0  # the run that it is merged into; 0: none


@dataclass(frozen=True, slots=True)
class Merge:
    """A merge under way: the groups below `done` are in the output, the others in the inputs."""

    output: int
    done: int = 0
    credit: int = 0  # entries that may be merged before the next is due


@dataclass(frozen=True, slots=True)
class Manifest:
    """The sorted runs of one kind."""

    next_number: int = 1
    retired: int = 0  # marks, each of an entry of a run
    runs: tuple[Run, ...] = ()
    merges: tuple[Merge, ...] = ()


# Keys

_U64 = Struct(">Q")
_GROUP_KEY = Struct(">QI")
_U64_PAIR = Struct(">QQ")
_MEMBER_KEY = Struct(">QQI")
_RUN_KEY = Struct(">BQI")
_RETIRED_KEY = Struct(">BQQ")
pack_u64 = _U64.pack
pack_history_key = _U64_PAIR.pack  # (row, sequence)
pack_row_pair = _U64_PAIR.pack
pack_group_key = _GROUP_KEY.pack  # (scan, rank)
pack_bond_key = _U64_PAIR.pack  # (survivor's row, sequence of the merge)
pack_member_key = _MEMBER_KEY.pack  # (survivor's row, sequence of the merge, place)
pack_run_key = _RUN_KEY.pack  # (kind, run, chunk), or (kind | RUN_FILTER, run, group)
pack_retired = _RETIRED_KEY.pack  # (kind, first, tail): an entry of a run that counts no more
RUN_FILTER = 0x80
RUN_BITS_MAX = 32  # a chunk's number has so many


def unpack_u64(stored: bytes) -> int:
    """Read a row or sequence."""
    return int.from_bytes(stored, "big")


def unpack_row_pair(key: bytes) -> tuple[int, int]:
    """Return (row, other row)."""
    row, other = _U64_PAIR.unpack(key)
    return row, other


def unpack_group_key(key: bytes) -> tuple[int, int]:
    """Return (scan, rank)."""
    scan, rank = _GROUP_KEY.unpack(key)
    return scan, rank


def unpack_retired(key: bytes) -> tuple[int, int, int]:
    """Return (kind, first, tail)."""
    kind, first, tail = _RETIRED_KEY.unpack(key)
    return kind, first, tail


def unpack_bond_key(key: bytes) -> tuple[int, int]:
    """Return (survivor's row, sequence of the merge)."""
    row, sequence = _U64_PAIR.unpack(key)
    return row, sequence


def unpack_member_key(key: bytes) -> tuple[int, int, int]:
    """Return (survivor's row, sequence of the merge, place)."""
    row, sequence, place = _MEMBER_KEY.unpack(key)
    return row, sequence, place


def unpack_history_key(key: bytes) -> tuple[int, int]:
    """Return (row, sequence)."""
    row, sequence = _U64_PAIR.unpack(key)
    return row, sequence


def identity_key(kind: Kind, text: str) -> bytes:
    """Return the identities key; a text too long for LMDB is replaced by its BLAKE2b-256."""
    encoded = text.encode()
    if len(encoded) < KEY_LIMIT_BYTES:
        return _PREFIX[kind] + encoded
    return _HASHED[kind] + blake2b(encoded, digest_size=32).digest()


def sharing_keys(channel: Channel, normal: str, match_key: str) -> tuple[bytes, ...]:
    """Return the identities keys under which all who share a contact point stand; pure.

    Those with the same normal form, those whose normal form is the match key, and those with the
    same match key.
    """
    plain = NORMAL[channel]
    matched = identity_key(MATCH[channel], match_key)
    if match_key == normal:
        return identity_key(plain, normal), matched
    return identity_key(plain, normal), identity_key(plain, match_key), matched


def identity_text(identity: Identity) -> str:
    """Return the text of an identity other than e-mail or phone: type, NUL, value.

    Raises InvalidArgument for a NUL in the type, which would let two identities share a key.
    """
    if "\0" in identity.type:
        raise InvalidArgument("An identity type may not contain NUL")
    return f"{identity.type}\0{identity.value}"


def keys_of(held: Held, match_key: MatchKey) -> frozenset[bytes]:
    """Return every identities key of a record; pure.

    A match key equal to its normal form has no entry of its own: look-ups ask for both.
    """
    keys = set()
    for channel, normal in held.normals:
        keys.add(identity_key(NORMAL[channel], normal))
        shared = match_key(channel, normal)
        if shared != normal:
            keys.add(identity_key(MATCH[channel], shared))
    for identity in held.identities:
        keys.add(identity_key(Kind.OTHER, identity_text(identity)))
    return frozenset(keys)


def entries_of(held: Held, match_key: MatchKey) -> Entries:
    """Return what the index holds of a record; pure."""
    return Entries(keys_of(held, match_key), frozenset(held.pending))


def bounded_key(text: str, what: str) -> bytes:
    """Encode a key that is never hashed, because it is read back; raise InvalidArgument."""
    encoded = text.encode()
    if not 0 < len(encoded) <= KEY_LIMIT_BYTES:
        raise InvalidArgument(f"{what} must have 1 to {KEY_LIMIT_BYTES} bytes")
    return encoded


def check_text(text: str, what: str) -> None:
    """Raise InvalidArgument where an actor or a reason is too long."""
    if len(text) > TEXT_LIMIT_CHARS:
        raise InvalidArgument(f"{what} must have at most {TEXT_LIMIT_CHARS} characters")


# Blocks: the entries of a key are sorted by a second key, so that those of a large block which
# share it too stand together.

BLOCK_KEY_BYTES = 8
ROW_BITS = 48
ROW_MASK = (1 << ROW_BITS) - 1


def pack_block_entry(second: int, row: int) -> bytes:
    """Return the value of a row under a blocking key; `second` has 16 bits."""
    return _U64.pack(second << ROW_BITS | row)


def block_entries(features: bytes, row: int) -> list[tuple[bytes, bytes]]:
    """Return the entries of a row's packed features; pure."""
    return [(key, pack_block_entry(second, row)) for key, second in block_keys(features)]


def block_hash(key: bytes) -> int:
    """Return a blocking key as the number that runs are sorted by."""
    return int.from_bytes(key, sys.byteorder)


def block_pair(key: bytes, entry: bytes) -> tuple[int, int]:
    """Return the two words that an entry of a block has in a run."""
    return block_hash(key), unpack_u64(entry)


# Values

_CHECKSUM = Struct(">I")
_FORMAT = Struct(">I")
_DISTINCT = Struct(">BQHH")
_MERGED = Struct(">BQQI")
_MODEL = Struct(">BQQH")
_COUNTERS = Struct(">BQQQ")
_EVENT = Struct(">BBQQH")
_HISTORY = Struct(">BBQHH")
_REQUEST = Struct(">BBQQQ")
_CONSUMER = Struct(">BQQ")
_WAITING_HEAD = Struct(">BI")
_WAITING = Struct(">HI")
_MANIFEST = Struct(">BIQQHH")
_RUN = Struct(">QBBIQQ")
_MERGE = Struct(">QQQ")
_VERSION = 1


def encode_format(version: int = FORMAT_VERSION) -> bytes:
    """Return the stored form of a format version."""
    return _FORMAT.pack(version)


def check_format(stored: bytes | None) -> bool:
    """Tell whether the format is this release's; False if it has to be migrated.

    Raises FormatMismatch for any other.
    """
    if stored is None or len(stored) != _FORMAT.size:
        raise FormatMismatch(
            "The folder holds an LMDB file that is not a Namesake index; choose another folder"
        )
    (version,) = _FORMAT.unpack(stored)
    if version == FORMAT_VERSION:
        return True
    if version in MIGRATED_FORMATS:
        return False
    if version > FORMAT_VERSION:
        advice = "run the newer release that wrote it"
    else:
        advice = "export it with the release that wrote it and import the file into a new folder"
    raise FormatMismatch(
        f"The index has format {version}, this release reads format {FORMAT_VERSION}: {advice}",
        stored=str(version),
        supported=str(FORMAT_VERSION),
    )


def encode_counters(next_row: int, next_sequence: int, last_us: int) -> bytes:
    """Return the stored form of `Counters`."""
    return _COUNTERS.pack(_VERSION, next_row, next_sequence, last_us)


def decode_counters(stored: bytes | None) -> Counters:
    """Read `Counters`; raise FormatMismatch or StorageFault."""
    _, next_row, next_sequence, last_us = _unpack(_COUNTERS, stored or b"", "counters")
    return Counters(next_row, next_sequence, last_us)


def encode_event(kind: int, row: int, time_us: int, actor: bytes, id: bytes) -> bytes:
    """Return the stored form of a `Change`, whose sequence is its key."""
    return _EVENT.pack(_VERSION, kind, row, time_us, len(actor)) + actor + id


def decode_event(sequence: int, stored: bytes) -> Change:
    """Read a `Change`; raise FormatMismatch or StorageFault."""
    _, kind, row, time_us, actor_size = _unpack(_EVENT, stored, "changes")
    middle = _EVENT.size + actor_size
    try:
        actor, customer_id = stored[_EVENT.size : middle].decode(), stored[middle:].decode()
        return Change(sequence, _CHANGE_KINDS[kind], row, time_us, actor, customer_id)
    except (KeyError, ValueError) as error:
        raise StorageFault("A value of changes is damaged", sequence=str(sequence)) from error


def encode_history(kind: int, time_us: int, actor: bytes, reason: bytes, diff: bytes) -> bytes:
    """Return the stored form of a `HistoryEntry`, whose sequence is in its key."""
    return _HISTORY.pack(_VERSION, kind, time_us, len(actor), len(reason)) + actor + reason + diff


def decode_history(sequence: int, stored: bytes) -> HistoryEntry:
    """Read a `HistoryEntry`; raise FormatMismatch or StorageFault."""
    _, kind, time_us, actor_size, reason_size = _unpack(_HISTORY, stored, "history")
    reason_at = _HISTORY.size + actor_size
    diff_at = reason_at + reason_size
    actor, reason = stored[_HISTORY.size : reason_at], stored[reason_at:diff_at]
    try:
        return HistoryEntry(
            sequence,
            _CHANGE_KINDS[kind],
            time_us,
            actor.decode(),
            reason.decode(),
            stored[diff_at:],
        )
    except (KeyError, ValueError) as error:
        raise StorageFault("A value of history is damaged", sequence=str(sequence)) from error


def encode_request(kind: int, row: int, sequence: int, time_us: int) -> bytes:
    """Return the stored form of what a request_id led to."""
    return _REQUEST.pack(_VERSION, kind, row, sequence, time_us)


def decode_request(stored: bytes) -> Remembered:
    """Read `Remembered`; raise FormatMismatch or StorageFault."""
    _, kind, row, sequence, time_us = _unpack(_REQUEST, stored, "requests")
    return Remembered(row, sequence, kind, time_us)


def encode_consumer(sequence: int, time_us: int) -> bytes:
    """Return the stored form of a `Consumer`, whose name is its key."""
    return _CONSUMER.pack(_VERSION, sequence, time_us)


def decode_consumer(name: str, stored: bytes) -> Consumer:
    """Read a `Consumer`; raise FormatMismatch or StorageFault."""
    _, sequence, time_us = _unpack(_CONSUMER, stored, "consumers")
    return Consumer(name, sequence, time_us)


def encode_features(features: bytes) -> bytes:
    """Return the stored form of packed features: kernels read them as they are, so a CRC leads."""
    return _CHECKSUM.pack(crc32(features)) + features


def decode_features(stored: bytes) -> bytes:
    """Return packed features, b"" where they are damaged (which `verify` tells)."""
    features = stored[_CHECKSUM.size :]
    intact = stored[: _CHECKSUM.size] == _CHECKSUM.pack(crc32(features))
    return features if intact else b""


def encode_distinct(time_us: int, actor: bytes, reason: bytes) -> bytes:
    """Return the stored form of a `DistinctPair`, whose rows are its key."""
    return _DISTINCT.pack(_VERSION, time_us, len(actor), len(reason)) + actor + reason


def decode_distinct(row: int, other: int, stored: bytes) -> DistinctPair:
    """Read a `DistinctPair`; raise FormatMismatch or StorageFault."""
    _, time_us, actor_size, reason_size = _unpack(_DISTINCT, stored, "distinct")
    reason_at = _DISTINCT.size + actor_size
    actor, reason = stored[_DISTINCT.size : reason_at], stored[reason_at : reason_at + reason_size]
    try:
        return DistinctPair(row, other, time_us, actor.decode(), reason.decode())
    except ValueError as error:
        raise StorageFault("A value of distinct is damaged", row=str(row)) from error


def encode_merged(merged: MergedRow) -> bytes:
    """Return the stored form of a `MergedRow`."""
    return _MERGED.pack(_VERSION, merged.survivor, merged.sequence, merged.place) + merged.record


def decode_merged(stored: bytes) -> MergedRow:
    """Read a `MergedRow`; raise FormatMismatch or StorageFault."""
    _, survivor, sequence, place = _unpack(_MERGED, stored, "merged")
    return MergedRow(survivor, sequence, place, stored[_MERGED.size :])


def encode_model(version: int, time_us: int, actor: bytes, text: bytes) -> bytes:
    """Return the stored form of a `StoredModel`."""
    return _MODEL.pack(_VERSION, version, time_us, len(actor)) + actor + text


def decode_model(stored: bytes) -> StoredModel:
    """Read a `StoredModel`; raise FormatMismatch or StorageFault."""
    _, version, time_us, actor_size = _unpack(_MODEL, stored, "models")
    text_at = _MODEL.size + actor_size
    try:
        text = stored[text_at:].decode()
        return StoredModel(text, stored[_MODEL.size : text_at].decode(), time_us, version)
    except ValueError as error:
        raise StorageFault("A value of models is damaged") from error


def model_version(stored: bytes) -> int:
    """Return the version alone of an encoded model."""
    return _unpack(_MODEL, stored, "models")[1]


def encode_waiting(awaited: Iterable[tuple[bytes, int]]) -> bytes:
    """Return the stored form of which domains (encoded) new rows await, in order; key: first row.

    Each domain once, with its rows: a batch is one value, where `pending` would have an entry in
    the tree of each domain.
    """
    parts, count = [], 0
    for domain, pairs in groupby(awaited, itemgetter(0)):
        rows = [_U64.pack(row) for _, row in pairs]
        parts += [_WAITING.pack(len(domain), len(rows)), domain, *rows]
        count += len(rows)
    return _WAITING_HEAD.pack(_VERSION, count) + b"".join(parts)


def waiting_count(stored: bytes) -> int:
    """Return how many pairs `decode_waiting` would."""
    return _unpack(_WAITING_HEAD, stored, "waiting")[1]


def decode_waiting(stored: bytes) -> list[tuple[bytes, bytes]]:
    """Read (domain, row) as `pending` has them, in order; raise FormatMismatch or StorageFault."""
    count = waiting_count(stored)
    pairs: list[tuple[bytes, bytes]] = []
    end = _WAITING_HEAD.size
    while end + _WAITING.size <= len(stored):
        domain_at = end + _WAITING.size
        size, rows = _WAITING.unpack_from(stored, end)
        rows_at = domain_at + size
        end = rows_at + rows * _U64.size
        if end > len(stored):
            break
        domain = stored[domain_at:rows_at]
        pairs += [(domain, stored[i : i + _U64.size]) for i in range(rows_at, end, _U64.size)]
    if end != len(stored) or len(pairs) != count:
        raise StorageFault("A value of waiting is damaged")
    return pairs


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the stored form of a `Manifest`: a CRC of what follows, the counts and the parts."""
    parts = [
        _RUN.pack(run.number, run.bits, run.group_bits, run.lines, run.entries, run.into)
        for run in manifest.runs
    ]
    parts += [_MERGE.pack(merge.output, merge.done, merge.credit) for merge in manifest.merges]
    body = b"".join(parts)
    counts = manifest.next_number, manifest.retired, len(manifest.runs), len(manifest.merges)
    return _MANIFEST.pack(_VERSION, _check_of(*counts, body), *counts) + body


def _check_of(next_number: int, retired: int, runs: int, merges: int, body: bytes) -> int:
    return crc32(body, crc32(_MANIFEST.pack(0, 0, next_number, retired, runs, merges)))


def decode_manifest(stored: bytes) -> Manifest:
    """Read a `Manifest`; raise FormatMismatch or StorageFault."""
    _, check, *counts = _unpack(_MANIFEST, stored, "runs")
    next_number, retired, runs, merges = counts
    merges_at = _MANIFEST.size + runs * _RUN.size
    if len(stored) != merges_at + merges * _MERGE.size or check != _check_of(
        next_number, retired, runs, merges, stored[_MANIFEST.size :]
    ):
        raise StorageFault("A value of runs is damaged")
    manifest = Manifest(
        next_number,
        retired,
        tuple(Run(*fields) for fields in _RUN.iter_unpack(stored[_MANIFEST.size : merges_at])),
        tuple(Merge(*fields) for fields in _MERGE.iter_unpack(stored[merges_at:])),
    )
    if not _is_possible(manifest):
        raise StorageFault("A value of runs is damaged")
    return manifest


def _is_possible(manifest: Manifest) -> bool:
    """Tell whether the parts of a manifest fit each other."""
    by_number = {run.number: run for run in manifest.runs}
    outputs = {merge.output for merge in manifest.merges}
    return (
        len(by_number) == len(manifest.runs)
        and len(outputs) == len(manifest.merges)
        and outputs == {run.into for run in manifest.runs} - {0}
        and outputs <= by_number.keys()
        and all(0 < number < manifest.next_number for number in by_number)
        and all(not by_number[number].into for number in outputs)
        and all(run.group_bits <= run.bits <= RUN_BITS_MAX and run.lines for run in manifest.runs)
        and all(merge.done < 1 << by_number[merge.output].group_bits for merge in manifest.merges)
    )


def _unpack(shape: Struct, stored: bytes, table: str) -> tuple[int, ...]:
    """Unpack the fixed head of a value after its version byte was checked."""
    if stored[:1] != bytes([_VERSION]):
        version = stored[0] if stored else "none"
        raise FormatMismatch(
            f"A value of {table} has version {version}, this release reads {_VERSION}: "
            "run the release that wrote it"
        )
    try:
        return shape.unpack_from(stored)
    except struct.error as error:
        raise StorageFault(f"A value of {table} is cut short") from error
