"""What lists say of domains and local parts: disposable, relay, free, role, mistyped.

The disposable list is the package `disposable-email-domains`; the others are the text files
beside this module, whose headers name their source.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from importlib.resources import files
from itertools import product
from typing import Final

from disposable_email_domains import blocklist
from publicsuffixlist import PublicSuffixList
from rapidfuzz import process
from rapidfuzz.distance import OSA

from service.core.model import Flag

DISPOSABLE_SOURCE: Final = f"disposable-email-domains {version('disposable-email-domains')}"

_DOMAINS_REMEMBERED: Final = 65_536  # of large lists; about 200 bytes each
_SLIPS: Final = 2  # edits between a mistyped domain and the one meant
_SHORT_CHARS: Final = 8  # names up to this length are too close together for two edits


@dataclass(frozen=True, slots=True)
class DomainTraits:
    """What the lists say of a domain.

    `suggestion` is the popular domain it may be a slip of, "" for none; `surely` says that it
    holds even where the domain takes mail.
    """

    flags: tuple[Flag, ...]
    suggestion: str
    surely: bool


@lru_cache(maxsize=_DOMAINS_REMEMBERED)
def traits(domain: str) -> DomainTraits:
    """Return the traits of a lower-case A-label domain."""
    flags = []
    if domain in _free_providers():
        flags.append(Flag.FREE_PROVIDER)
    if is_relay(domain):
        flags.append(Flag.PRIVACY_RELAY)
    suggestion, surely = _suggestion(domain)
    return DomainTraits(tuple(flags), suggestion, surely)


def is_disposable(domain: str) -> bool:
    """Whether a lower-case A-label domain, or the one it is a part of, throws mail away."""
    if not _covers(blocklist, domain):
        return False
    # Some lists call relays disposable; their addresses reach a person for years.
    listed = domain in blocklist or _registrable(domain) in blocklist
    return listed and not is_relay(domain)


def is_relay(domain: str) -> bool:
    """Whether the domain, or one above it, forwards mail to an address that it hides."""
    return _covers(_relays(), domain)


def _covers(table: Collection[str], domain: str) -> bool:
    """Whether `domain` or a domain above it is in `table`."""
    while "." in domain:
        if domain in table:
            return True
        domain = domain.partition(".")[2]
    return False


def _registrable(domain: str) -> str:
    return _suffixes().privatesuffix(domain) or domain


def _suggestion(domain: str) -> tuple[str, bool]:
    popular = _popular()
    if domain in popular or domain in _free_providers() or is_relay(domain):
        return "", False
    slips = 1 if len(domain) <= _SHORT_CHARS else _SLIPS
    # OSA counts swapped neighbours ("gmial") as one edit.
    found = process.extractOne(domain, popular.keys(), scorer=OSA.distance, score_cutoff=slips)
    if found is None:
        return "", False
    name, distance, _ = found
    return name, distance == 1 and popular[name]


def _lines(name: str) -> list[str]:
    text = (files(__package__) / name).read_text("utf-8")
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


@cache
def _relays() -> frozenset[str]:
    return frozenset(_lines("privacy_relays.txt"))


@cache
def _free_providers() -> frozenset[str]:
    return frozenset(_lines("free_providers.txt"))


@cache
def role_names() -> frozenset[str]:
    """Return the local parts that belong to a function and not to a person, in lower case."""
    names = set()
    for name in _lines("role_accounts.txt"):
        words = name.split("-")
        for joints in product(("-", "_", ".", ""), repeat=len(words) - 1):
            names.add(words[0] + "".join(map("".join, zip(joints, words[1:], strict=True))))
    return frozenset(names)


@cache
def _popular() -> dict[str, bool]:
    """Return the popular domains in the file's order, and whether they are the very popular."""
    return {
        line.removeprefix("* "): line.startswith("* ") for line in _lines("popular_domains.txt")
    }


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
