"""Countries as people write them."""

from __future__ import annotations

import pytest

from service.transfer import countries
from service.transfer.countries import country_code
from service.transfer.words import plain


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("de", "DE"),
        (" Germany ", "DE"),
        ("Deutschland", "DE"),
        ("Österreich", "AT"),
        ("Espagne", "ES"),
        ("Estados Unidos", "US"),
        ("EE.UU.", "US"),
        ("Украина", "UA"),
        ("Alemanha", "DE"),
        ("royaume uni", "GB"),
        ("Türkei", "TR"),
        ("Atlantis", ""),
        ("", ""),
        ("ZZ", ""),
    ],
)
def test_countries_are_read_in_six_languages(text: str, code: str) -> None:
    """By code or name, whatever the case and the marks."""
    assert country_code(text) == code


def test_no_name_is_of_two_countries() -> None:
    """Whichever table it stands in."""
    owners: dict[str, set[str]] = {}
    for table in (countries._COUNTRIES, countries._OTHER_NAMES):
        for entry in filter(None, table.replace("\n", "|").split("|")):
            code, _, names = entry.partition(" ")
            for name in names.split(";"):
                owners.setdefault(plain(name), set()).add(code)
    assert {name: codes for name, codes in owners.items() if len(codes) > 1} == {}
