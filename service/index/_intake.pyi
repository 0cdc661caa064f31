"""Types of the compiled `_intake`."""

from collections.abc import Callable, Iterable
from typing import Any, final

import lmdb

from service.core._wire import Prepared
from service.index._lmdb import Calls

@final
class Intake:
    """The ordinary rows of a batch, with their keys hashed: made beside the writer, put by it."""

    rows: Prepared
    count: int

    def __init__(self, rows: Prepared, secret: bytes) -> None: ...
    def stale(
        self,
        calls: Calls,
        ids: lmdb._Database,
        identities: lmdb._Database,
        held: Callable[[memoryview, int], bytearray],
        asked: int,
        by_id: bool,
        others: bytes,
    ) -> list[int]:
        """Return the rows, by their place among the ordinary ones, that may not be new."""

    def create(
        self,
        calls: Calls,
        tables: Any,
        first: int,
        end: int,
        first_row: int,
        first_sequence: int,
        now_us: int,
        actor: bytes,
        times: bytes,
        random: bytes,
    ) -> int:
        """Put those of the rows from `first` to before `end` that `stale` left out."""

    def entries(self) -> tuple[bytes, bytes]:
        """Return the entries of all rows that were put, for runs: of identities, and of blocks."""

def hashes_of(keys: Iterable[bytes], secret: bytes) -> bytes: ...
def id_key(id: str) -> bytes: ...
