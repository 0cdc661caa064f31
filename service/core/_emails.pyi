"""Types of the compiled `_emails`."""

from array import array
from collections.abc import Iterable
from typing import final

from service.core._text import Column, Texts
from service.core.odd_emails import EmailForm as EmailForm
from service.core.providers import EMAIL_RULES_VERSION as EMAIL_RULES_VERSION

@final
class Emails:
    """What is known of a batch of addresses, in their order. Made by `EmailParser.parse`.

    The arrays support the buffer protocol: NumPy and Arrow take them without a copy.
    """

    normal: Column  # normal forms, as in `EmailForm`; empty where broken
    keys: Column  # match keys; empty where broken
    reason: array[int]  # uint8: ACCEPTED, EMAIL_SYNTAX, UNUSUAL_SYNTAX or SPECIAL_USE_DOMAIN
    domain_ids: array[int]  # int32: index into `domains`; -1 where broken or an address literal
    role: array[int]  # uint8: 1 where the local part belongs to a function
    details: dict[int, str]  # what precisely is wrong with the broken ones, by index

    @property
    def domains(self) -> list[str]:
        """Return the distinct A-label domains, each once."""

    def __len__(self) -> int: ...
    def forms(self) -> list[EmailForm]:
        """Return the form of each address, for small batches."""

@final
class EmailParser:
    """Parses batches of addresses; knows which local parts belong to a function.

    Threads may share it: between batches it keeps nothing but the library's words for faults.
    """

    def __init__(self, roles: Iterable[str]) -> None:
        """Take the names of functions, in lower case: compared before any "+", in any case."""

    def parse(self, texts: Texts) -> Emails:
        """Return what is known of each address. Surrounding white space is ignored.

        Never raises for what a text is. Works without the GIL, but for the few addresses of
        which `email-validator` is asked. Takes 48 bytes per address while it works.
        """

def email_key(normal: str) -> str:
    """Return the match key of a normal form; the normal form itself where there is no "@"."""
