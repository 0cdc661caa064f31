"""What the kernels say of contact points, in the core's types, and which rules they follow.

`_emails.pyx` and `_phones.pyx` find normal forms and match keys of whole batches; bulk paths use
their columns, and this module is for those who have a few values and want them as Python values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from service.core import _features, _names, _phones, _probe
from service.core._emails import EMAIL_RULES_VERSION, EmailParser, Emails, email_key
from service.core._features import Packed
from service.core._phones import PHONE_RULES_VERSION, Phones, phone_key, region_id, region_ids
from service.core._text import Column, Texts
from service.core._wire import Columns
from service.core.model import Channel, Finding, PhoneForm
from service.errors import InvalidArgument

#: Of all that is made of records and kept: what other rules made would not be found.
MATCH_RULES_VERSION: Final = (
    f"email {EMAIL_RULES_VERSION}, phone {PHONE_RULES_VERSION}, names {_names.VERSION} "
    f"{_names.LAYOUT}, features {_features.VERSION}, blocks {_probe.KEYS_VERSION}"
)
_EMAILS: Final = EmailParser(frozenset())
_POSTCODE_SIGNS: Final = b" -\t"  # by which people part them


@dataclass(frozen=True, slots=True)
class PhoneDisplay:
    """How people and links write a number. `time_zones` are IANA names, empty if unknown."""

    national: str
    international: str
    tel_uri: str  # RFC 3966
    time_zones: tuple[str, ...]


class Judged(NamedTuple):
    """What a check found of a batch's contact points, in columns.

    `findings` are the distinct ones, of which the others have the place for each e-mail and phone.
    """

    emails: Emails
    phones: Phones
    findings: list[Finding]
    email_findings: npt.NDArray[np.int32]
    phone_findings: npt.NDArray[np.int32]

    def tally(self) -> Iterator[tuple[Channel, Finding, int]]:
        """Yield each finding that there is, and how often, by channel."""
        of = ((Channel.EMAIL, self.email_findings), (Channel.PHONE, self.phone_findings))
        for channel, places in of:
            counts = np.bincount(places, minlength=len(self.findings)).tolist()
            for finding, count in zip(self.findings, counts, strict=True):
                if count:
                    yield channel, finding, count


def prepare_phones(values: Sequence[str], regions: Sequence[str], default: str) -> list[PhoneForm]:
    """Return the form of each number, in order.

    `regions` has an ISO 3166-1 alpha-2 code per value, "" for `default`; it matters for numbers
    without a country code only, of which a code without a numbering plan finds none.
    """
    if len(regions) != len(values):
        raise ValueError("as many regions as values")
    own = Texts.of(regions) if any(regions) else None
    return parse_phones(Texts.of(values), own, default).forms()


def parse_phones(values: Texts, regions: Texts | None, default: str) -> Phones:
    """Do as `prepare_phones` with columns; `regions` is None where all are `default`."""
    own = region_ids(regions) if regions is not None else None
    return _phones.parse(values, own, region_id(default))


def phone_display(e164: str, extension: str = "") -> PhoneDisplay:
    """Return how `e164`, a normal form of `prepare_phones`, is written for people.

    Raises InvalidArgument where `e164` is no international number.
    """
    shown = _phones.display(e164, extension)
    if shown is None:
        raise InvalidArgument("not an international phone number", field="e164")
    national, international, tel_uri, zones = shown
    return PhoneDisplay(national, international, tel_uri, _phones.TIME_ZONES[zones])


def match_key(channel: Channel, normal: str) -> str:
    """Return what duplicates of `normal` share; `normal` itself where no rule applies."""
    return email_key(normal) if channel is Channel.EMAIL else phone_key(normal)


def features(records: Sequence[bytes]) -> list[bytes]:
    """Return what is compared of encoded customers, packed; b"" for what is no customer."""
    columns = Columns(records)
    packed = pack(columns)
    made = [packed[row] for row in range(columns.count)]
    for row in columns.broken:
        made[row] = b""
    return made


def pack(columns: Columns) -> Packed:
    """Return what is compared of customers, packed."""
    packed, scripts = Packed(), bytearray(columns.count)
    for names in (columns.first, columns.last):
        _features.scripts_of(names, scripts)
    _features.pack(
        packed,
        _names.split_names(columns.first, columns.middle, columns.last),
        memoryview(columns.births).cast("I"),
        columns.genders,
        [_email_keys(normals) for normals in columns.emails],
        [_phones.parse(normals, None, 0).keys() for normals in columns.phones],
        [_names.fold(columns.street), _names.fold(columns.city),
         _names.fold(columns.postcode.without(_POSTCODE_SIGNS)), _names.fold(columns.company)],
        [],
        b"",
        scripts,
    )  # fmt: skip
    return packed


def _email_keys(normals: Texts) -> Column:
    parsed = _EMAILS.parse(normals)
    return _features.keys_for_people(parsed.keys, parsed.normal)
