"""Regions: which codes are taken, and what is said of the others."""

from __future__ import annotations

import phonenumbers
import pytest

from service.core.prepare import prepare_phones
from service.core.regions import region_fault


def test_a_region_is_fine_where_national_numbers_can_be_read() -> None:
    """All regions with a numbering plan, by the library's own examples."""
    for region in phonenumbers.SUPPORTED_REGIONS:
        assert region_fault(region) == ""
        example = phonenumbers.example_number(region)
        assert example is not None
        national = phonenumbers.national_significant_number(example)
        (form,) = prepare_phones([national], [""], region)
        assert form.normal, region


@pytest.mark.parametrize(
    ("code", "meant"), [("UK", "GB"), ("EL", "GR"), ("de", "DE"), (" US", "US"), ("uk", "GB")]
)
def test_what_was_meant_is_suggested(code: str, meant: str) -> None:
    """For the mistakes that people make."""
    assert region_fault(code) == f"{code} is no region; did you mean {meant}?"


@pytest.mark.parametrize("code", ["", "XX", "ZZ", "001", "Germany", "AQ", "xx"])
def test_other_words_are_no_regions(code: str) -> None:
    """And nothing is suggested for them."""
    assert region_fault(code).startswith("no region; expected two capital letters")
