"""What imports and scans leave for the account's policy to merge.

It is written in their own transactions, and only where the policy wants it: which rows a batch
created, as the first and the one after the last, and that an import or a scan is over. `machine`
takes it away as it goes, so that a server that dies in the middle goes on after its next start.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from struct import Struct, error
from typing import NamedTuple

from service.errors import FormatMismatch, StorageFault
from service.identity.policy import policy_of
from service.index import Mutation, PutOperation, Reads, View

AFTER_IMPORT = "merge-import"  # kinds of operations
AFTER_SCAN = "merge-scan"
READ_STEP_SPANS = 1_000

# In the table of operations, whose own names begin otherwise.
_DUE = "merge-due/"
_CREATED = "import-created/"
_VERSION = b"\x01"
_SPAN = Struct(">BQQ")
_SPAN_VERSION = 1


@dataclass(frozen=True, slots=True)
class Due:
    """An import or a scan that is over, and the operation that merges what it left."""

    kind: str
    of: str  # the import's job id, or the scan's operation
    operation: str = ""  # none was begun yet
    failed: int = 0  # how often it was begun again after a fault

    @property
    def run(self) -> str:
        """The run that its merges are of."""
        return f"import-{self.of}" if self.kind == AFTER_IMPORT else self.of

    def put(self) -> PutOperation:
        """Return the mutation that notes it."""
        return PutOperation(self._key, _VERSION + json.dumps(asdict(self)).encode())

    def drop(self) -> PutOperation:
        """Return the mutation that forgets it."""
        return PutOperation(self._key, None)

    @property
    def _key(self) -> str:
        return f"{_DUE}{self.kind}/{self.of}"


class Span(NamedTuple):
    """Rows that one batch of an import created: from `first` to before `end`."""

    key: str
    first: int
    end: int


def created(view: View, job_id: str, first: int) -> tuple[Mutation, ...]:
    """Return what notes the rows that a batch created, from `first` on, in its transaction."""
    end = view.next_row
    if first == end or not policy_of(view).on_import:
        return ()
    key = f"{spans_of(job_id)}{first:016x}"
    return (PutOperation(key, _SPAN.pack(_SPAN_VERSION, first, end)),)


def import_over(view: View, job_id: str) -> tuple[Mutation, ...]:
    """Return what notes that an import is over, if it left anybody to look at."""
    if not policy_of(view).on_import or not view.operations(spans_of(job_id), limit=1):
        return ()
    return (Due(AFTER_IMPORT, job_id).put(),)


def scan_over(view: View, operation: str) -> tuple[Mutation, ...]:
    """Return what notes that a scan is over."""
    return (Due(AFTER_SCAN, operation).put(),) if policy_of(view).on_scan else ()


def every_due(reads: Reads) -> list[Due]:
    """Return all that is left to merge, by kind."""
    return [_due(stored) for _, stored in reads.operations(_DUE)]


def spans(reads: Reads, job_id: str) -> Iterator[Span]:
    """Iterate the rows that an import created and nobody has looked at yet."""
    after = ""
    while found := reads.operations(spans_of(job_id), after, READ_STEP_SPANS):
        for after, stored in found:
            yield _span(after, stored)


def spans_of(job_id: str) -> str:
    """Return what the keys of an import's spans begin with."""
    return f"{_CREATED}{job_id}/"


def _due(stored: bytes) -> Due:
    if stored[:1] != _VERSION:
        raise FormatMismatch("What is due was stored by another release: run that one")
    try:
        return Due(**json.loads(stored[1:]))
    except (ValueError, TypeError) as fault:
        raise StorageFault("A value of operations is damaged") from fault


def _span(key: str, stored: bytes) -> Span:
    if stored[:1] != bytes([_SPAN_VERSION]):
        raise FormatMismatch("Rows of an import were stored by another release: run that one")
    try:
        _, first, end = _SPAN.unpack(stored)
    except error as fault:
        raise StorageFault("A value of operations is damaged") from fault
    return Span(key, first, end)
