from collections.abc import Iterator
from typing import NamedTuple

from service.core._text import Column, Texts

CHARACTERS: int
WORDS: int
WORD_BYTES: int
TOKENS: int
SOUNDS: int
ROLE: int
FIRST: int
MIDDLE: int
LAST: int
INITIAL: int
PARTICLE: int
PATRONYMIC: int
CUT: int
TITLED: int
SUFFIXED: int
INVERTED: int
VERSION: str
LAYOUT: str

class Token(NamedTuple):
    text: str
    flags: int
    names: tuple[int, ...]
    sound: str
    other: str

class Name(NamedTuple):
    tokens: tuple[Token, ...]
    flags: int
    generation: int
    gender: int
    order: tuple[int, ...]
    exact: int
    sorted: int
    given: str
    ordered: str
    apart: str

class Names:
    count: int
    given: Column
    ordered: Column
    apart: Column
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Name: ...
    def __iter__(self) -> Iterator[Name]: ...
    def packed(self) -> bytes: ...

def fold(texts: Texts) -> Column: ...
def full_names(texts: Texts) -> Names: ...
def share_class(one: int, other: int) -> bool: ...
def split_names(first: Texts, middle: Texts | None, last: Texts) -> Names: ...
