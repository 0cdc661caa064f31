"""What the e-mail kernel must say, in slow and plain Python: `email-validator` and the rules.

No short cuts: every address is asked of the library, and every rule is a few lines.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from typing import Final, NamedTuple

import email_validator

from service.core.model import Reason
from service.core.providers import PROVIDERS, Provider

LOOKED_AT_CHARS: Final = 1_000
LIMIT_OCTETS: Final = 254
SPECIAL_USE: Final = email_validator.SPECIAL_USE_DOMAIN_NAMES


class Expected(NamedTuple):
    """All that is said of an address."""

    normal: str
    reason: Reason
    detail: str
    domain: str
    key: str
    role: bool


def expected(value: str, roles: Collection[str]) -> Expected:
    """Return what is to be said of an address."""
    value = value.strip()
    if len(value) > LOOKED_AT_CHARS:
        over = len(value) - LIMIT_OCTETS
        return refused(f"The email address is too long ({over} too many).")
    try:
        found = ask(value, deliverable=True)
    except email_validator.EmailNotValidError as fault:
        return special_use(value, roles) or refused(str(fault))
    unusual = found.local_part.startswith('"') or found.ascii_domain.startswith("[")
    reason = Reason.UNUSUAL_SYNTAX if unusual else Reason.ACCEPTED
    return accepted(found.local_part, found.ascii_domain, reason, roles)


def special_use(value: str, roles: Collection[str]) -> Expected | None:
    """Return what is said of an address at a special-use domain, None if there is none.

    The library refuses such names, whatever else is right or wrong: an ordinary name of the same
    length tells.
    """
    local, _, domain = value.rpartition("@")
    # Dots as UTS #46 has them, and wide letters.
    labels = unicodedata.normalize("NFKC", domain).replace("。", ".").split(".")
    top = labels[-1].lower()
    if top not in SPECIAL_USE:
        return None
    labels[-1] = "x" * len(top)
    try:
        found = ask(f"{local}@{'.'.join(labels)}", deliverable=False)
    except email_validator.EmailNotValidError:
        return None
    name = ".".join([*found.ascii_domain.split(".")[:-1], top])
    return accepted(found.local_part, name, Reason.SPECIAL_USE_DOMAIN, roles)


def ask(value: str, *, deliverable: bool) -> email_validator.ValidatedEmail:
    """Ask the library. Quotes and literals are legal (RFC 5321 §4.1.2, §4.1.3)."""
    return email_validator.validate_email(
        value,
        check_deliverability=False,
        allow_quoted_local=True,
        allow_domain_literal=True,
        globally_deliverable=deliverable,
    )


def accepted(local: str, domain: str, reason: Reason, roles: Collection[str]) -> Expected:
    """Return what is said of a well-formed address."""
    role = local.lower().split("+")[0] in roles
    name = "" if domain.startswith("[") else domain
    return Expected(f"{local}@{domain}", reason, "", name, match_key(local, domain), role)


def refused(detail: str) -> Expected:
    """Return what is said of a broken address."""
    return Expected("", Reason.EMAIL_SYNTAX, detail, "", "", False)


def match_key(local: str, domain: str) -> str:
    """Return what the addresses of one mailbox share."""
    local = local.lower()
    if local.startswith('"'):
        return f"{local}@{domain}"
    if local.find("+") > 0:
        local = local[: local.find("+")]
    provider = provider_of(domain)
    user, _, above = domain.partition(".")
    if provider is None and (parent := provider_of(above)) is not None and parent.subdomains:
        provider, local, domain = parent, user, above
    if provider is None:
        return f"{local}@{domain}"
    if provider.keyword and local.find(provider.keyword) > 0:
        local = local[: local.find(provider.keyword) + 1]
    counted = "".join(character for character in local if character not in provider.ignored)
    return f"{counted or local}@{provider.mailbox_domain or domain}"


def provider_of(domain: str) -> Provider | None:
    """Return the provider at a domain."""
    return next((one for one in PROVIDERS if domain in one.domains), None)
