from collections.abc import Sequence
from typing import Any

from service.core._names import Names
from service.core._text import Column, Texts

VERSION: int
POINTS: int
EXTRAS: int
TEXT_BYTES: int
RARITY_UNITS: int
SCRIPT_HAN: int
SCRIPT_OTHER: int

class Packed:
    count: int
    nbytes: int
    def __len__(self) -> int: ...
    def __getitem__(self, row: int) -> bytes: ...
    def add(self, features: bytes) -> None: ...
    def hashes(self, out: Any) -> None: ...
    def reorder(self, order: Any) -> None: ...

def pack(
    packed: Packed,
    names: Names,
    births: Any,
    genders: Any,
    emails: Sequence[Column],
    phones: Sequence[Column],
    places: Sequence[Column],
    extras: Sequence[Column],
    are_texts: bytes,
    scripts: Any = None,
) -> None: ...
def keys_for_people(keys: Column, normals: Column) -> Column: ...
def scripts_of(names: Texts, scripts: Any) -> None: ...
def weighed(packed: Packed) -> int: ...
def weigh_value(packed: Packed, which: int) -> int: ...
def weigh(packed: Packed) -> int: ...
def rarity_of(which: int, records: float, count: int) -> int: ...
