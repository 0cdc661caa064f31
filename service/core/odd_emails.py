"""What `email-validator` says of the addresses that `_emails.pyx` does not decide by itself.

Quotes, literals, anything but ASCII, A-labels, over-long and rarely seen faults: the library is
the oracle and gives verdict, normal form and the words for what is wrong.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import email_validator
from email_validator.rfc_constants import CASE_INSENSITIVE_MAILBOX_NAMES

from service.core.model import Reason

ADDRESS_LIMIT_OCTETS: Final = 254  # RFC 5321 §4.5.3.1.3, RFC 3696 erratum 1690
ADDRESS_LOOKED_AT_CHARS: Final = 1_000  # no longer text is parsed just to explain its fault
# Only domains that are not plain ASCII come here, and they are few; about 600 bytes each.
DOMAINS_REMEMBERED: Final = 8_192

# RFC 2142: mailboxes that are the same in any case; the library writes them in lower case.
CASELESS_MAILBOXES: Final = frozenset(CASE_INSENSITIVE_MAILBOX_NAMES)
SPECIAL_USE: Final = frozenset(email_validator.SPECIAL_USE_DOMAIN_NAMES)


class EmailForm(NamedTuple):
    """The normal form of one address: NFC local part + "@" + lower-case A-label domain.

    `normal` is "" where the syntax is broken and `detail` then says how. `domain` is the A-label
    domain, "" for address literals and broken addresses. `reason` is ACCEPTED, EMAIL_SYNTAX,
    UNUSUAL_SYNTAX or SPECIAL_USE_DOMAIN.
    """

    normal: str
    reason: Reason
    detail: str
    domain: str


def look_into(value: str) -> EmailForm:
    """Return the form of an address without surrounding white space."""
    if len(value) > ADDRESS_LOOKED_AT_CHARS:
        return too_long(len(value))
    return _ask_library(value)[0]


def too_long(chars: int) -> EmailForm:
    """Return the form of a text of so many characters, more than anybody looks at."""
    over = chars - ADDRESS_LIMIT_OCTETS
    detail = f"The email address is too long ({over} too many)."
    return EmailForm("", Reason.EMAIL_SYNTAX, detail, "")


@dataclass(frozen=True, slots=True)
class DomainForm:
    """What the library says of a domain, whatever the ASCII dot-atom before it.

    `name` is the A-label domain, "" for address literals and where `detail` says what is wrong.
    `octets` is the length of the longest of the forms whose length counts.
    """

    name: str
    octets: int
    reason: Reason
    detail: str


@lru_cache(maxsize=DOMAINS_REMEMBERED)
def look_into_domain(written: str) -> DomainForm | None:
    """Return the domain's part of the verdict, None where it depends on the local part."""
    # The shortest address there is with this domain.
    probe = f"a@{written}"
    if len(probe.encode(errors="replace")) > ADDRESS_LIMIT_OCTETS // 2:
        # The library's total length limit, and its explanation, count the local part.
        return None
    form, octets = _ask_library(probe)
    return DomainForm(form.domain, max(octets - 2, 0), form.reason, form.detail)


def _ask_library(value: str) -> tuple[EmailForm, int]:
    """Return the form and the octets of the longest form of the address that counts."""
    try:
        found = _validate(value)
        special = ""
    except email_validator.EmailNotValidError as fault:
        refused = EmailForm("", Reason.EMAIL_SYNTAX, str(fault), "")
        local, _, domain = value.rpartition("@")
        stand_in, special = _without_special_use(domain)
        if not special:
            return refused, 0
        try:
            found = _validate(f"{local}@{stand_in}", globally_deliverable=False)
        except email_validator.EmailNotValidError:
            return refused, 0
    octets = max(len(value.encode()), len(found.normalized.encode()))
    ascii_domain = found.ascii_domain
    if special:
        ascii_domain = ascii_domain[: -len(special)] + special
        reason = Reason.SPECIAL_USE_DOMAIN
    elif ascii_domain.startswith("[") or found.local_part.startswith('"'):
        reason = Reason.UNUSUAL_SYNTAX
    else:
        reason = Reason.ACCEPTED
    normal = f"{found.local_part}@{ascii_domain}"
    name = "" if ascii_domain.startswith("[") else ascii_domain
    return EmailForm(normal, reason, "", name), max(octets, len(normal.encode()))


def _validate(value: str, *, globally_deliverable: bool = True) -> email_validator.ValidatedEmail:
    return email_validator.validate_email(
        value,
        check_deliverability=False,
        allow_smtputf8=True,
        allow_quoted_local=True,
        allow_domain_literal=True,
        allow_display_name=False,
        globally_deliverable=globally_deliverable,
    )


def _without_special_use(domain: str) -> tuple[str, str]:
    """Return `domain` with its special-use top label replaced by "x…", and that label.

    The library refuses RFC 6761 names before it normalises them. An ordinary label of the same
    length lets it judge and normalise the rest. The label is "" where the name is not special.
    """
    # UTS #46 also takes the ideographic full stop for a dot.
    plain = unicodedata.normalize("NFKC", domain).replace("\u3002", ".")
    rest, dot, top = plain.rpartition(".")
    top = top.lower()
    if top not in SPECIAL_USE:
        return domain, ""
    return f"{rest}{dot}{'x' * len(top)}", top
