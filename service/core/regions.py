"""Regions whose numbering plan is known: what a phone without a country code may be read in."""

from __future__ import annotations

from typing import Final

from service.core._phones import SUPPORTED_REGIONS

# What people write for a country whose ISO 3166-1 code is another: "UK" is only reserved there,
# "EL" is what the European Union writes.
_OTHER_NAMES: Final = {"UK": "GB", "EL": "GR"}


def region_fault(code: str) -> str:
    """Return why `code` is no region, in words for people; "" where it is one.

    A region is an ISO 3166-1 alpha-2 code in capitals. A few of its territories have neither
    phones nor a numbering plan (AQ, Antarctica), and are none.
    """
    if code in SUPPORTED_REGIONS:
        return ""
    capitals = code.strip().upper()
    likely = _OTHER_NAMES.get(capitals, capitals)
    if likely in SUPPORTED_REGIONS:
        return f"{code} is no region; did you mean {likely}?"
    return "no region; expected two capital letters (ISO 3166-1 alpha-2), such as GB"
