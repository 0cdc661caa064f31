"""Types of the compiled `_columns`."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, final

_Bytes = bytes | bytearray | memoryview

FIELDS: dict[str, tuple[int, int, int, tuple[str, ...] | None]]
CONTACT_FIELDS: dict[str, tuple[int, int, int, tuple[str, ...] | None]]
KINDS: tuple[str, ...]
CHANNELS: tuple[str, ...]

class Target(NamedTuple):
    """What a column is for.

    `field` is one of `FIELDS`, or of `CONTACT_FIELDS` where `contact` says which contact, from 1.
    `argument` is the kind of an e-mail or phone (one of `KINDS`), the channel of a consent (one of
    `CHANNELS`), the type of an identity, the name of a custom field.
    """

    field: str
    argument: str = ""
    contact: int = 0

@final
class Cells:
    """The cells of one column, in the buffers of an Arrow array, which are not copied.

    Raises `ValueError` where the buffers do not hold the cells, or an offset points elsewhere.
    """

    count: int
    @staticmethod
    def of_texts(
        offsets: _Bytes,
        data: _Bytes,
        first: int,
        count: int,
        *,
        validity: _Bytes | None = None,
        wide: bool = False,
    ) -> Cells: ...
    @staticmethod
    def of_lists(
        entries: Cells,
        offsets: _Bytes,
        first: int,
        count: int,
        *,
        validity: _Bytes | None = None,
        wide: bool = False,
    ) -> Cells: ...
    @staticmethod
    def of_values(
        kind: Literal["flag", "integer", "number", "days"],
        values: _Bytes,
        first: int,
        count: int,
        *,
        validity: _Bytes | None = None,
    ) -> Cells: ...
    def __len__(self) -> int: ...

def encode(
    columns: Sequence[tuple[Target, Cells]], count: int, *, limit: int, number: int = 0
) -> tuple[bytes, list[tuple[int, int, str]]]:
    """Return an encoded `ImportBatch` of `count` rows, and the rows that are not in it.

    Each of those is its place, the place of the column at fault and why. `number` is the batch's,
    0 for none. No two columns may be for one custom field or one field that has one value. Raises
    `OverflowError` where the batch gets larger than `limit` bytes.
    """
