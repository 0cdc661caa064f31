"""What `phonenumbers` itself says of a text, as the kernel of phones is to say it.

Slow and obvious: every answer is one call of the library's public functions.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import phonenumbers
from phonenumbers import (
    PhoneNumber,
    PhoneNumberFormat,
    PhoneNumberType,
    ValidationResult,
    re_util,
    timezone,
)

from service.core.model import PhoneType, Reason

# Else its patterns of 254 plans drive one another out of the cache of `re`.
re_util.enable_pattern_cache()

PARSED = 0


class Judged(NamedTuple):
    """One text, judged. All but `outcome` are empty where it is not a number.

    `outcome` is 0 or 1 + the error type of NumberParseException; `possibility` a ValidationResult;
    `type` 1 + a PhoneNumberType, 0 where the number is not valid.
    """

    outcome: int
    country_code: int = 0
    normal: str = ""  # E.164, of possible numbers and of others
    extension: str = ""
    possibility: int = 0
    region: str = ""
    type: int = 0


class Written(NamedTuple):
    """One number, as people write it."""

    national: str
    international: str
    tel_uri: str
    time_zones: tuple[str, ...]


def parse(text: str, region: str) -> PhoneNumber | int:
    """Return the library's number, or the outcome where there is none.

    The default region is in upper case.
    """
    try:
        return phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as fault:
        return 1 + fault.error_type


def judge(number: PhoneNumber | int) -> Judged:
    """Return what the library says of the answer of `parse`."""
    if isinstance(number, int):
        return Judged(number)
    kind = phonenumbers.number_type(number)
    return Judged(
        PARSED,
        number.country_code or 0,
        phonenumbers.format_number(number, PhoneNumberFormat.E164),
        number.extension or "",
        phonenumbers.is_possible_number_with_reason(number),
        phonenumbers.region_code_for_number(number) or "",
        0 if kind == PhoneNumberType.UNKNOWN else kind + 1,
    )


def is_valid(number: PhoneNumber) -> bool:
    """Tell whether the library calls a number valid."""
    return phonenumbers.is_valid_number(number)


def form(judged: Judged) -> tuple[str, str, str, PhoneType | None, Reason]:
    """Return what a verdict means to the service.

    A number of an impossible length has no normal form, unless it is of an old dialling plan.
    """
    normal, extension, region = judged.normal, judged.extension, judged.region
    if judged.type:
        return normal, extension, region, PhoneType(judged.type), Reason.ACCEPTED
    if judged.outcome != PARSED:
        return "", "", "", None, Reason.PHONE_FORMAT
    if judged.possibility == ValidationResult.IS_POSSIBLE:
        return normal, extension, region, None, Reason.PHONE_NOT_ASSIGNED
    if key(normal) != normal:
        return normal, extension, "", None, Reason.PHONE_FORMAT
    return "", "", "", None, Reason.PHONE_FORMAT


def write(number: PhoneNumber) -> Written:
    """Return how the library writes a number, and its time zones; none where it knows none."""
    zones = tuple(timezone.time_zones_for_number(number))
    return Written(
        phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL),
        phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL),
        phonenumbers.format_number(number, PhoneNumberFormat.RFC3966),
        () if zones == (timezone.UNKNOWN_TIMEZONE,) else zones,
    )


_REWRITES = (
    (re.compile(r"\+521(\d{10})"), r"+52\1"),
    (re.compile(r"\+549(\d{10})"), r"+54\1"),
    (re.compile(r"\+55(\d\d)9([6-9]\d{7})"), r"+55\1\2"),
)


def key(normal: str) -> str:
    """Return the match key of a normal form."""
    for pattern, replacement in _REWRITES:
        if match := pattern.fullmatch(normal):
            return match.expand(replacement)
    return normal
