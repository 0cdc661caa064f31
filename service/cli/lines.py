"""Lines of JSON with a customer each, as `namesake export` writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice

from google.protobuf.json_format import Parse, ParseDict, ParseError

from namesake import v1
from service.cli.batches import Parsed
from service.cli.failures import FAILURE
from service.transfer.files import SAMPLE_BYTES, Record, Source
from service.transfer.rows import RowRefused

LOOKED_AT_LINES = 100


def are_customers(source: Source, encoding: str) -> bool:
    """Say whether the first lines are customers, most of them: not objects of columns."""
    sample = source.sample()
    lines = sample.decode(encoding, "replace").split("\n")
    if len(sample) == SAMPLE_BYTES and len(lines) > 1:
        lines.pop()  # of which the end is missing
    first = islice((line for line in lines if line.strip()), LOOKED_AT_LINES)
    found = [_is_customer(line) for line in first]
    return 2 * sum(found) >= len(found)


def _is_customer(line: str) -> bool:
    try:
        _customer(line.lstrip("\ufeff"))
    except ParseError:
        return False
    return True


def customers(records: Iterable[Record]) -> Iterator[Parsed]:
    """Yield the customer of each line, or why it is none."""
    for record in records:
        try:
            customer = _customer(record.cells[0])
        except ParseError as error:
            yield record, RowRefused(f"Not a Customer in JSON: {error}")
        else:
            customer.ClearField("etag")  # it was the exporting server's
            yield record, customer


def _customer(line: str) -> v1.Customer:
    if f'"{FAILURE}"' not in line:
        return Parse(line, v1.Customer())
    try:
        members = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ParseError(str(error)) from None
    if isinstance(members, dict):
        members.pop(FAILURE, None)  # it failed in an earlier import
    return ParseDict(members, v1.Customer())
