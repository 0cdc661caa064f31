"""SipHash against the values of its authors' reference code."""

from __future__ import annotations

import pytest

from service.core._hash import hashed

SECRET = bytes(range(16))

#: Length of the text 00 01 02 … → hash: `vectors_sip128` of the reference code.
VECTORS = {
    0: "a3817f04ba25a8e66df67214c7550293",
    1: "da87c1d86b99af44347659119b22fc45",
    2: "8177228da4a45dc7fca38bdef60affe4",
    3: "9c70b60c5267a94e5f33b6b02985ed51",
    7: "a1f1ebbed8dbc153c0b84aa61ff08239",
    8: "3b62a9ba6258f5610f83e264f31497b4",
    15: "5493e99933b0a8117e08ec0f97cfc3d9",
    16: "6ee2a4ca67b054bbfd3315bf85230577",
    63: "5150d1772f50834a503e069a973fbd7c",
}


@pytest.mark.parametrize("size", VECTORS)
def test_hashes_are_those_of_the_reference(size: int) -> None:
    """For texts that end within a word and at its end."""
    assert hashed(bytes(range(size)), SECRET).hex() == VECTORS[size]


def test_every_bit_of_the_secret_counts() -> None:
    """Other secrets give other hashes."""
    turned = [(int.from_bytes(SECRET, "big") ^ 1 << bit).to_bytes(16, "big") for bit in range(128)]
    assert len({hashed(b"a@x.org", secret) for secret in (SECRET, *turned)}) == 129


@pytest.mark.parametrize("secret", [b"", SECRET[:15], SECRET + b"\0"])
def test_a_secret_of_another_size_is_refused(secret: bytes) -> None:
    """It has 128 bits."""
    with pytest.raises(ValueError, match="16 bytes"):
        hashed(b"", secret)
