"""Types of the compiled `_tabulate`."""

from collections.abc import Iterable, Sequence

SHAPES: tuple[str, ...]

def tabulate(
    records: Sequence[bytes], fields: Iterable[int] = (), cells_limit: int = ...
) -> tuple[int, list[tuple[str, str, int, tuple[bytes | None, ...]]]]:
    """Return how many of some encoded customers, and their columns: (name, shape, nulls, buffers).

    `fields` are the numbers of the top-level fields that are shown, all if none. A table ends with
    the row with which it has `cells_limit` cells. Buffers are those of the Arrow type: validity
    (None where nothing is null), offsets and content. A shape is one of `SHAPES`; with "texts"
    there are the offsets of the rows, then the offsets and the content of the items, and nothing
    is null.

    Raises `ValueError` where a record is no message.
    """
