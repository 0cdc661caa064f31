"""Who holds an identity, and who shares one: questions to one snapshot of the index.

Duplicates here are exact: the same normal form or the same match key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from service.core.model import Channel, Held, Identity
from service.core.prepare import match_key
from service.index import NORMAL, Kind, Reads, identity_key, identity_text, sharing_keys


@dataclass(frozen=True, slots=True)
class Query:
    """A contact point or identity of a card, with its path there. `normal` is never empty."""

    field: str
    what: Channel | str  # a contact point's channel, or another identity's type
    normal: str  # normal form, or the identity's value


@dataclass(frozen=True, slots=True)
class Sharing:
    """The others that share one contact point or identity.

    `rows` is one page, ascending; `after_row` is where the next begins, 0 at the end.
    `count` leaves out the asking customer and stops at the limit (`is_floor`).
    """

    query: Query
    count: int
    is_floor: bool
    rows: tuple[int, ...]
    after_row: int


def queries_of(held: Held) -> list[Query]:
    """Return what a record can be found by. Paths are left empty."""
    queries = [Query("", channel, normal) for channel, normal in held.normals]
    return queries + [Query("", identity.type, identity.value) for identity in held.identities]


def rows_sharing(reads: Reads, query: Query, after_row: int, limit: int) -> list[int]:
    """Return the rows that hold the query's normal form or match key, ascending."""
    return reads.rows_under(_keys(query), after_row, limit)


def _keys(query: Query) -> tuple[bytes, ...]:
    if isinstance(query.what, Channel):
        return sharing_keys(query.what, query.normal, match_key(query.what, query.normal))
    return (identity_key(Kind.OTHER, identity_text(Identity(query.what, query.normal))),)


def rows_holding(reads: Reads, query: Query, limit: int) -> list[int]:
    """Return the rows that hold the very normal form, ascending."""
    if isinstance(query.what, Channel):
        return reads.rows(NORMAL[query.what], query.normal, 0, limit)
    return rows_sharing(reads, query, 0, limit)


def is_own(held: Held, query: Query) -> bool:
    """Tell whether a record shares the query by a point of its own and not of a contact."""
    if not isinstance(query.what, Channel):
        return True
    key = match_key(query.what, query.normal)
    return any(
        channel is query.what and (normal == query.normal or match_key(channel, normal) == key)
        for channel, normal in held.normals[: held.own]
    )


def others(reads: Reads, queries: Iterable[Query], own_row: int, limit: int) -> list[int]:
    """Return up to `limit` different rows that share any of the queries, ascending.

    Without the own; of more than `limit` not always the lowest.
    """
    found: set[int] = set()
    for query in queries:
        found.update(rows_sharing(reads, query, 0, limit + 1))
        if len(found) > limit:
            break
    found.discard(own_row)
    return sorted(found)[:limit]


def sharing(
    reads: Reads,
    queries: Sequence[Query],
    own_row: int,
    *,
    page_rows: int,
    count_limit: int,
    after_row: int = 0,
) -> list[Sharing]:
    """Return, for each query that somebody else shares, how many and the first page of them.

    The page includes the own row where it shares (the asking customer, marked by the caller).
    """
    groups = []
    for query in queries:
        rows = rows_sharing(reads, query, after_row, page_rows + 1)
        if not after_row and (not rows or rows == [own_row]):
            continue  # nearly every point of a save ends here, after one look-up
        counted = _count(reads, query, count_limit + 2)
        own = own_row in rows or (own_row != 0 and _shares(reads, query, own_row))
        count = counted - own
        page = tuple(rows[:page_rows])
        more = page[-1] if len(rows) > page_rows else 0
        groups.append(Sharing(query, min(count, count_limit), count > count_limit, page, more))
    return groups


def is_shared(reads: Reads, held: Held, own_row: int) -> bool:
    """Tell whether anybody else shares anything that a record can be found by: in one look-up."""
    keys = [key for query in queries_of(held) for key in _keys(query)]
    return any(row != own_row for row in reads.rows_under(keys, 0, 2))


def _count(reads: Reads, query: Query, limit: int) -> int:
    if isinstance(query.what, Channel):
        key = match_key(query.what, query.normal)
        return reads.count_sharing(query.what, query.normal, key, limit)
    return reads.count(Kind.OTHER, identity_text(Identity(query.what, query.normal)), limit)


def _shares(reads: Reads, query: Query, row: int) -> bool:
    return rows_sharing(reads, query, row - 1, 1) == [row]
