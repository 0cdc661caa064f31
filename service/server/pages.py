"""Page sizes and tokens: opaque to callers, checked when they come back."""

from __future__ import annotations

import base64
import binascii
import struct
from enum import IntEnum

from service.errors import InvalidArgument
from service.settings import Settings

POSITION_LIMIT = (1 << 64) - 2  # what follows the last position is still a key

_HEAD = struct.Struct(">BQ")


class Listing(IntEnum):
    """Which listing gave a token out: it serves no other."""

    DUPLICATES = 1
    HISTORY = 2
    EXPORT = 3
    DISTINCT = 4
    OPERATIONS = 8
    GROUPS = 9
    JOBS = 11
    FAILURES = 12
    MERGES = 13
    TIMELINE = 14
    REDIRECTS = 15
    CUSTOMERS = 16  # and above, one for each order and filter


def page_rows(asked: int, settings: Settings, default: int | None = None) -> int:
    """Return how many rows a page has: the caller's wish within the limit."""
    if asked < 0:
        raise InvalidArgument("a page size is not negative", field="page_size")
    wanted = asked or default or settings.page_default_rows
    return min(wanted, settings.page_limit_rows)


def encode_token(listing: int, position: int, extra: str = "") -> str:
    """Return a token for going on after `position` of the listing of this number."""
    packed = _HEAD.pack(listing, position) + extra.encode()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode_token(token: str, listing: int, field: str = "page_token") -> tuple[int, str]:
    """Return (position, extra) of a token that this listing gave out, (0, "") of an empty one.

    Raises `InvalidArgument` for any other text.
    """
    if not token:
        return 0, ""
    try:
        packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        of, position = _HEAD.unpack_from(packed)
        extra = packed[_HEAD.size :].decode()
    except (binascii.Error, struct.error, ValueError) as error:
        raise InvalidArgument("not a token that this method gave out", field=field) from error
    if of != listing or position > POSITION_LIMIT:
        raise InvalidArgument("a token of another method, order or filter", field=field)
    return position, extra
