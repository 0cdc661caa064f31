"""Types of the compiled `_probe`."""

from collections.abc import Sequence

from service.core._features import Packed

KEYS_VERSION: int

def block_keys(features: bytes) -> list[tuple[bytes, int]]: ...
def is_company(features: bytes) -> bool: ...
def sizes(features: bytes) -> tuple[int, int]: ...
def frequencies(packed: Packed) -> bytes: ...

class Frequencies:
    def __init__(self, stored: bytes = b"") -> None: ...
    def weighed(
        self,
        features: bytes,
        email_holders: Sequence[int],
        phone_holders: Sequence[int],
        records: int,
    ) -> bytes: ...
