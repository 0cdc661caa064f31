"""Numbering plans: region, type and grouping of numbers, from the metadata of `phonenumbers`.

The library answers the same, but asks for the region anew with every question and compiles its
patterns through a cache that overflows over many regions: 22 pattern look-ups for one British
mobile. Here each plan's patterns are compiled once and asked in the library's order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    PhoneMetadata,
    is_number_type_geographical,
    region_code_for_country_code,
)
from phonenumbers.phonemetadata import NumberFormat, PhoneNumberDesc
from phonenumbers.tzdata import TIMEZONE_DATA, TIMEZONE_LONGEST_PREFIX

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


def split(digits: str) -> tuple[int, str] | None:
    """Split E.164 digits into country code and national number; None for no country's."""
    if digits[:1] in ("", "0"):  # no country code begins with 0
        return None
    for size in (1, 2, 3):
        country_code = int(digits[:size])
        if country_code in COUNTRY_CODE_TO_REGION_CODE:
            return country_code, digits[size:]
    return None


def plain_international(digits: str) -> tuple[int, str] | None:
    """Split the digits after a "+" into country code and national number, where that is all.

    None where more is to be done: an unknown country code, a national prefix that was written
    although it is not dialled from abroad, a leading zero that may or may not belong.
    """
    found = split(digits)
    if found is None:
        return None
    country_code, national = found
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


@dataclass(frozen=True, slots=True)
class Grouped:
    """A national number as it is written within its country and after its country code."""

    national: str
    international: str
    before_extension: str


def group(country_code: int, national: str) -> Grouped:
    """Return how a national number is grouped for reading, by the plan of its country code."""
    writing = _writing(country_code)
    within, groups = _chosen(writing.national, national)
    shown = within.national_rule.format(*groups) if within else national
    abroad = within
    if writing.international:
        abroad, groups = _chosen(writing.international, national)
    return Grouped(
        shown,
        abroad.rule.format(*groups) if abroad else national,
        writing.before_extension,
    )


def time_zones(country_code: int, national: str, kind: PhoneType | None) -> tuple[str, ...]:
    """Return the IANA time zones where a number may be; none where it is not valid."""
    if kind is None:
        return ()
    digits = f"{country_code}{national}"
    # A number of no place has the zones of its country.
    if not is_number_type_geographical(kind - 1, country_code):  # the library counts from 0
        digits = str(country_code)
    for size in range(min(len(digits), TIMEZONE_LONGEST_PREFIX), 0, -1):
        if (zones := TIMEZONE_DATA.get(digits[:size])) is not None:
            return tuple(zones)
    return ()


@dataclass(frozen=True, slots=True)
class _Format:
    """One way of grouping: the numbers that it is for, and how `str.format` joins their groups."""

    leading: Callable[[str], object] | None
    matches: Callable[[str], re.Match[str] | None]
    rule: str
    national_rule: str


@dataclass(frozen=True, slots=True)
class _Writing:
    """How the numbers of a country code are written. `international` empty: as `national`."""

    national: tuple[_Format, ...]
    international: tuple[_Format, ...]
    before_extension: str


def _chosen(formats: Sequence[_Format], national: str) -> tuple[_Format | None, tuple[str, ...]]:
    for one in formats:
        if one.leading is None or one.leading(national):
            match = one.matches(national)
            if match is not None:
                return one, match.groups("")
    return None, ()


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


@cache  # bounded by the metadata: 215 country codes
def _writing(country_code: int) -> _Writing:
    region = region_code_for_country_code(country_code)
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(country_code, region)
    assert metadata is not None, "a known country code has a plan"
    return _Writing(
        tuple(_format(one) for one in metadata.number_format),
        tuple(_format(one) for one in metadata.intl_number_format),
        metadata.preferred_extn_prefix or " ext. ",
    )


_FIRST_GROUP = re.compile(r"(\\\d)")  # "\\1" in a rule; the prefix rule names it again


def _format(described: NumberFormat) -> _Format:
    # The last of the leading patterns is the most precise.
    leading = described.leading_digits_pattern[-1:]
    rule = described.format or ""
    prefixed = described.national_prefix_formatting_rule
    return _Format(
        leading=re.compile(leading[0]).match if leading else None,
        matches=re.compile(described.pattern or "").fullmatch,
        rule=_braced(rule),
        national_rule=_braced(_FIRST_GROUP.sub(prefixed, rule, count=1) if prefixed else rule),
    )


def _braced(rule: str) -> str:
    """Return a replacement of `re` as a template of `str.format`, which is quicker to fill."""
    return _FIRST_GROUP.sub(lambda group: f"{{{int(group[1][1:]) - 1}}}", rule)


def _range(description: PhoneNumberDesc | None) -> _Range | None:
    if description is None or not description.national_number_pattern:
        return None
    lengths = frozenset(description.possible_length)
    return _Range(lengths, re.compile(description.national_number_pattern).fullmatch)
