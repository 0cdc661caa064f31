"""Fuzzes filters and choices of fields: `python -m tests.fuzz.fuzz_select --minutes 10`.

An input is a byte that chooses both, and a stored customer, more or less (see `harness`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from google.protobuf.message import DecodeError

from namesake import v1
from service.core._select import Fields, Filter
from tests.core.oracle_select import Wanted, shown, unframed
from tests.fuzz import harness, records

LIST: Final = 1  # the field of the message around them

_WANTED: Final = (
    Wanted(tags=("a", "vip")),
    Wanted(sources=("fair",), campaigns=("spring", ""), groups=("g",)),
    Wanted(updated_since_us=1_700_000_000_120_000),
    Wanted(updated_since_us=-1, kind=1, state=1),
    Wanted(email_verdicts=(1,)),
    Wanted(phone_verdicts=(0, 3)),
    Wanted(tags=("b",), email_verdicts=(1, 2), phone_verdicts=(3,), updated_since_us=1),
)
_SHOWN: Final[tuple[tuple[int, ...], ...]] = ((), (1,), (1, 10, 18, 28), (6, 23, 24))
_FILTERS: Final = tuple(wanted.filter() for wanted in _WANTED)
_FIELDS: Final = tuple(Fields(numbers) for numbers in _SHOWN)
CHOICES: Final = len(_WANTED) * len(_SHOWN)
WORDS: Final = (
    *records.alone(records.stored()),
    records.stored().emails[0].finding.SerializeToString(),
    records.stored().update_time.SerializeToString(),
    *records.PIECES,
)


def first_inputs(seed: int) -> Iterable[bytes]:
    """Return a whole customer with every choice, its fields alone, and nothing."""
    whole = records.stored()
    yield b""
    for choice in range(CHOICES):
        yield bytes([choice]) + whole.SerializeToString()
        yield from (bytes([choice]) + record for record in records.alone(whole))


def run(inputs: Sequence[bytes]) -> Sequence[object]:
    """Judge and frame each record alone; where there are several, those that are whole together."""
    found = [_alone(*_taken(given)) for given in inputs]
    whole = defaultdict[int, list[int]](list)
    for place, given in enumerate(inputs):
        if len(inputs) > 1 and None not in found[place]:
            whole[_taken(given)[0]].append(place)
    for choice, places in whole.items():
        drawn = [_taken(inputs[place])[1] for place in places]
        matched, framed = _filter(choice).matches(drawn), _fields(choice).framed(drawn, LIST)
        if framed != b"".join(found[place][1] or b"" for place in places):
            raise AssertionError("customers are framed otherwise in a batch")
        for place, is_meant in zip(places, matched, strict=True):
            found[place] = is_meant, found[place][1]
    return found


def _taken(given: bytes) -> tuple[int, bytes]:
    return given[0] % CHOICES if given else 0, given[1:]


def _filter(choice: int) -> Filter:
    return _FILTERS[choice // len(_SHOWN)]


def _fields(choice: int) -> Fields:
    return _FIELDS[choice % len(_SHOWN)]


def _alone(choice: int, record: bytes) -> tuple[bool | None, bytes | None]:
    """Return whether a record is meant and what is shown of it, None where it is broken."""
    is_meant = framed = None
    with suppress(ValueError):
        (is_meant,) = _filter(choice).matches([record])
    with suppress(ValueError):
        framed = _fields(choice).framed([record], LIST)
    return is_meant, framed


def difference(given: bytes) -> str:
    """Compare with the messages, where protobuf reads the record as well."""
    choice, record = _taken(given)
    is_meant, framed = _alone(choice, record)
    try:
        customer = v1.Customer.FromString(record)
    except DecodeError:
        return ""
    wanted, numbers = _WANTED[choice // len(_SHOWN)], _SHOWN[choice % len(_SHOWN)]
    told = []
    has_time = 0 <= customer.update_time.nanos < 1_000_000_000  # no other is ever stored
    if is_meant is not None and has_time and is_meant != wanted.means(customer):
        told.append(f"{wanted} means {record!r}: {is_meant}")
    if framed is not None and unframed(framed) != [shown(record, numbers)]:
        told.append(f"{numbers} shows of {record!r}\n  {framed!r}")
    return "\n".join(told)


if __name__ == "__main__":
    harness.main(harness.Fuzzed("select", WORDS, 2_000, first_inputs, run, difference))
