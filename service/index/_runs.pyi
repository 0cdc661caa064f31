"""Types of the compiled `_runs`."""

import lmdb

from service.index._lmdb import Calls
from service.index.layout import Buffer

FEW: int
LINE_BITS: int
FILTER_BITS: int

Span = tuple[int, int, int, int, int, int]

def identity_hash(key: bytes, secret: bytes) -> tuple[int, int]: ...

class Spans:
    def __init__(
        self,
        calls: Calls,
        runs: lmdb._Database,
        retired: lmdb._Database,
        kind: int,
        spans: list[Span],
        any_retired: bool,
    ) -> None: ...
    def count(self, first: int, low: int, high: int) -> int: ...
    def tails(self, first: int, low: int, high: int, limit: int) -> list[int]: ...
    def held(self, keys: Buffer, count: int) -> bytearray: ...
    def holders(self, first: int, tail: int) -> int: ...
    def write(self, given: Span, entries: Buffer) -> int: ...
    def merge(self, inputs: list[Span], given: Span, group: int) -> tuple[list[int], int, int]: ...
    def chunk(self, given: Span, chunk: int) -> bytes: ...
