from collections.abc import Callable, Iterable, Sequence
from typing import Any

from service.core._features import Packed

FIELDS: int
LEVELS: int
OTHERS: int
F_FIRST: int
F_LAST: int
F_MIDDLE: int
F_ORDER: int
F_GENDER: int
F_GENERATION: int
F_BIRTH: int
F_EMAIL: int
F_PHONE: int
F_STREET: int
F_PLACE: int
F_COMPANY: int
F_EXTRA: int
N_SAME: int
B_SAME: int
E_DIGITS: int
E_NAMED: int
E_LOCAL: int
E_NEAR: int
E_SAME: int
P_NEAR: int
P_SAME: int
S_SAME: int
L_CITY: int
L_SAME: int
C_SAME: int
FAMILIES: tuple[tuple[str, int, int, int], ...]
BINS: int
LEAST_BIN: int
F_YEAR: int
SECOND_KEYS: int
ABSENT: int
B_DAY_MONTH: int
B_DIGIT: int
B_SWAPPED: int
B_TWO: int
B_YEAR: int
C_NEAR: int
C_PART: int
DIFFERENT: int
L_NEAR: int
L_PREFIX: int
N_ALIAS: int
N_INITIAL: int
N_SIMILAR: int
N_SOUND: int
N_TYPO: int
P_TAIL: int
SAME: int
S_NEAR: int
S_NUMBER: int
S_STREET: int

class Weights:
    def __init__(
        self,
        bits: Sequence[Sequence[Sequence[float]]],
        rare: Sequence[Sequence[Sequence[int]]],
        priors: Sequence[float],
    ) -> None: ...

class Blocks:
    count: int
    def __init__(
        self,
        packed: Packed,
        map: Callable[[Callable[[int], None], range], Iterable[None]] = ...,
    ) -> None: ...
    def entries(self, first: int, width: int, sample: int = 1) -> bytes: ...
    def forget(self, entries: Any, first: int, width: int) -> None: ...

def vectors(packed: Packed, ones: Any, others: Any) -> tuple[bytes, bytes]: ...
def weigh_pairs(packed: Packed, weights: Weights, ones: Any, others: Any, out: Any) -> None: ...
def split(packed: Packed, entries: Any, which: int, out: Any) -> None: ...
def sort_out(entries: Any, limit: int) -> tuple[int, int, int, int]: ...

class Search:
    def __init__(
        self,
        packed: Packed,
        blocks: Blocks,
        weights: Weights | None,
        keep: float,
        sides: Any = None,
    ) -> None: ...
    def compare(
        self, entries: Any, begin: int, end: int, first: int, limit: int, window: int
    ) -> tuple[bytes, bytes, bytes, bytes, int, bytes]: ...

def cluster(
    packed: Packed,
    weights: Weights,
    ones: Any,
    others: Any,
    scores: Any,
    threshold: float,
    low: float,
    high: float,
    needed: float,
    most: int,
    sides: Any = None,
    apart_starts: Any = None,
    apart_rows: Any = None,
) -> tuple[bytes, int]: ...
def compare_with(
    probe: bytes, candidates: Sequence[bytes], weights: Weights
) -> tuple[Sequence[float], bytes, bytes]: ...
