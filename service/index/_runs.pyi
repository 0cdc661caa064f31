"""Types of the compiled `_runs`."""

from collections.abc import Sequence

import lmdb

from service.index._lmdb import Calls
from service.index.layout import Buffer

FEW: int
LINE_BITS: int
FILTER_BITS: int

Span = tuple[int, int, int, int, int, int]

def identity_hash(key: bytes, secret: bytes) -> tuple[int, int]: ...

class SpanTable:
    def __init__(self, spans: list[Span]) -> None: ...

class Spans:
    def __init__(
        self,
        calls: Calls,
        runs: lmdb._Database,
        retired: lmdb._Database,
        kind: int,
        table: SpanTable,
        any_retired: bool,
    ) -> None: ...
    def count(self, first: int, low: int, high: int) -> int: ...
    def tails(self, first: int, low: int, high: int, limit: int) -> list[int]: ...
    def rows(self, keys: Sequence[bytes], secret: bytes, after: int, limit: int) -> list[int]: ...
    def blocks(
        self, keys: Sequence[tuple[bytes, int]], sizes: Sequence[int], limit: int
    ) -> list[tuple[int, list[int]]]: ...
    def held(self, keys: Buffer, count: int) -> bytearray: ...
    def holders(self, first: int, tail: int) -> int: ...
    def write(self, given: Span, entries: Buffer) -> int: ...
    def merge(self, inputs: list[Span], given: Span, group: int) -> tuple[list[int], int, int]: ...
    def chunk(self, given: Span, chunk: int) -> bytes: ...
