"""Numbering plans: region and type of a number, from the metadata of `phonenumbers`.

The library answers the same, but asks for the region anew with every question and compiles its
patterns through a cache that overflows over many regions: 22 pattern look-ups for one British
mobile. Here each plan's patterns are compiled once and asked in the library's order.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    PhoneMetadata,
    region_code_for_country_code,
)
from phonenumbers.phonemetadata import PhoneNumberDesc

from service.core.model import PhoneType

NATIONAL_DIGITS = (2, 17)  # libphonenumber's bounds of a national significant number

# The order in which the library asks; fixed line and mobile come after these.
_SPECIAL = (
    ("premium_rate", PhoneType.PREMIUM_RATE),
    ("toll_free", PhoneType.TOLL_FREE),
    ("shared_cost", PhoneType.SHARED_COST),
    ("voip", PhoneType.VOIP),
    ("personal_number", PhoneType.PERSONAL_NUMBER),
    ("pager", PhoneType.PAGER),
    ("uan", PhoneType.UAN),
    ("voicemail", PhoneType.VOICEMAIL),
)


@dataclass(frozen=True, slots=True)
class _Range:
    """A set of national numbers. `lengths` empty: the pattern alone decides."""

    lengths: frozenset[int]
    matches: Callable[[str], object]

    def has(self, national: str) -> bool:
        """Tell whether a national significant number is in the range."""
        return (not self.lengths or len(national) in self.lengths) and bool(self.matches(national))


@dataclass(frozen=True, slots=True)
class _Plan:
    """The ranges of one region, or of a country code of no region."""

    general: _Range | None
    special: tuple[tuple[PhoneType, _Range], ...]
    fixed: _Range | None
    mobile: _Range | None
    is_one_range: bool  # fixed line and mobile are not told apart
    leading: Callable[[str], object] | None


def plain_international(digits: str) -> tuple[int, str] | None:
    """Split the digits after a "+" into country code and national number, where that is all.

    None where more is to be done: an unknown country code, a national prefix that was written
    although it is not dialled from abroad, a leading zero that may or may not belong.
    """
    for size in (1, 2, 3):
        country_code = int(digits[:size] or "0")
        if country_code in COUNTRY_CODE_TO_REGION_CODE:
            break
    else:
        return None
    national = digits[size:]
    if not NATIONAL_DIGITS[0] <= len(national) <= NATIONAL_DIGITS[1] or national[0] == "0":
        return None
    prefix = _prefix(country_code)
    return None if prefix is not None and prefix(national) else (country_code, national)


def locate(country_code: int, national: str) -> tuple[str, PhoneType | None]:
    """Return region ("" if none, "001" if non-geographic) and type (None if not valid)."""
    regions = COUNTRY_CODE_TO_REGION_CODE.get(country_code, ())
    if len(regions) == 1:
        return regions[0], _type_in(_plan(country_code, regions[0]), national)
    for region in regions:
        plan = _plan(country_code, region)
        if plan is None:
            continue
        if plan.leading is not None:
            if plan.leading(national):
                return region, _type_in(plan, national)
        elif (kind := _type_in(plan, national)) is not None:
            return region, kind
    return "", None


def _type_in(plan: _Plan | None, national: str) -> PhoneType | None:
    if plan is None or plan.general is None or not plan.general.has(national):
        return None
    for kind, numbers in plan.special:
        if numbers.has(national):
            return kind
    is_mobile = plan.mobile is not None and not plan.is_one_range and plan.mobile.has(national)
    if plan.fixed is not None and plan.fixed.has(national):
        both = is_mobile or plan.is_one_range
        return PhoneType.FIXED_LINE_OR_MOBILE if both else PhoneType.FIXED_LINE
    return PhoneType.MOBILE if is_mobile else None


@cache  # bounded by the metadata: 254 plans
def _plan(country_code: int, region: str) -> _Plan | None:
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(country_code, region)
    if metadata is None:
        return None
    special = ((kind, _range(getattr(metadata, name))) for name, kind in _SPECIAL)
    leading = metadata.leading_digits
    return _Plan(
        general=_range(metadata.general_desc),
        special=tuple((kind, numbers) for kind, numbers in special if numbers is not None),
        fixed=_range(metadata.fixed_line),
        mobile=_range(metadata.mobile),
        is_one_range=metadata.same_mobile_and_fixed_line_pattern,
        leading=None if leading is None else re.compile(leading).match,
    )


@cache  # bounded by the metadata: 215 country codes
def _prefix(country_code: int) -> Callable[[str], object] | None:
    """Return what recognises a national prefix in the main region of a country code."""
    region = region_code_for_country_code(country_code)
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(country_code, region)
    pattern = metadata.national_prefix_for_parsing if metadata is not None else None
    return re.compile(pattern).match if pattern else None


def _range(description: PhoneNumberDesc | None) -> _Range | None:
    if description is None or not description.national_number_pattern:
        return None
    lengths = frozenset(description.possible_length)
    return _Range(lengths, re.compile(description.national_number_pattern).fullmatch)
