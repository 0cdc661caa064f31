"""Normal forms and match keys of e-mail addresses and phone numbers, in batches.

Pure and synchronous. `email-validator` and `phonenumbers` are the oracles: what they accept,
refuse and normalise is what happens here; the short cuts only avoid asking them twice. Tests
compare both on random input.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import email_validator
import phonenumbers
from email_validator.rfc_constants import CASE_INSENSITIVE_MAILBOX_NAMES

from service.core.model import Channel, PhoneType, Reason
from service.core.plans import group, locate, plain_international, split, time_zones
from service.errors import InvalidArgument

ADDRESS_LIMIT_OCTETS: Final = 254  # RFC 5321 §4.5.3.1.3, RFC 3696 erratum 1690
ADDRESS_LOOKED_AT_CHARS: Final = 1_000  # no longer text is parsed just to explain its fault
PHONE_LIMIT_CHARS: Final = 250  # libphonenumber parses nothing longer
DOMAINS_REMEMBERED: Final = 32_768  # distinct domains of mail are few; about 400 bytes each

# A dot-atom (RFC 5322 §3.2.3) before the first "@".
_DOT_ATOM_BEFORE_AT: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+(?:\.[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+)*(?=@)"
)
# RFC 2142: mailboxes that are the same in any case; the library writes them in lower case.
_CASELESS_MAILBOXES: Final = frozenset(CASE_INSENSITIVE_MAILBOX_NAMES)
_SPECIAL_USE: Final = frozenset(email_validator.SPECIAL_USE_DOMAIN_NAMES)


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


class PhoneForm(NamedTuple):
    """The normal form of one number: E.164, "" where there is none.

    `region` is ISO 3166-1 alpha-2, "001" for non-geographic numbers, "" where no region claims
    the number. `type` is None unless the number is valid. `reason` is ACCEPTED, PHONE_FORMAT
    (no number, or of an impossible length) or PHONE_NOT_ASSIGNED.
    """

    normal: str
    extension: str
    region: str
    type: PhoneType | None
    reason: Reason


@dataclass(frozen=True, slots=True)
class PhoneDisplay:
    """How people and links write a number. `time_zones` are IANA names, empty if unknown."""

    national: str
    international: str
    tel_uri: str  # RFC 3966
    time_zones: tuple[str, ...]


# E-mail


def prepare_emails(values: Sequence[str]) -> list[EmailForm]:
    """Return the form of each address, in order. Surrounding white space is ignored."""
    forms = []
    for given in values:
        value = given.strip()
        if (atom := _DOT_ATOM_BEFORE_AT.match(value)) is None:
            forms.append(_parse_email(value))
            continue
        local = atom[0]
        at = atom.end()
        domain = _domain(value[at + 1 :]) if len(value) <= ADDRESS_LIMIT_OCTETS else None
        if domain is None or at + 1 + domain.octets > ADDRESS_LIMIT_OCTETS:
            forms.append(_parse_email(value))
        elif domain.reason is Reason.EMAIL_SYNTAX:
            forms.append(EmailForm("", Reason.EMAIL_SYNTAX, domain.detail, ""))
        else:
            if (lower := local.lower()) in _CASELESS_MAILBOXES:
                local = lower
            forms.append(EmailForm(f"{local}@{domain.ascii}", domain.reason, "", domain.ascii_name))
    return forms


@dataclass(frozen=True, slots=True)
class _Domain:
    """What the library says of a domain, whatever the (ASCII) local part before it.

    `ascii` is the A-label form or the address literal; `ascii_name` is "" for literals.
    `octets` is the length of the longest of the forms whose length counts.
    """

    ascii: str
    ascii_name: str
    octets: int
    reason: Reason
    detail: str


@lru_cache(maxsize=DOMAINS_REMEMBERED)
def _domain(written: str) -> _Domain | None:
    """Return the domain's part of the verdict, None where it depends on the local part."""
    # The shortest address there is with this domain.
    probe = f"a@{written}"
    if len(probe.encode(errors="replace")) > ADDRESS_LIMIT_OCTETS // 2:
        # The library's total length limit, and its explanation, count the local part.
        return None
    form, octets = _ask_library(probe)
    if form.reason is Reason.EMAIL_SYNTAX:
        return _Domain("", "", 0, form.reason, form.detail)
    return _Domain(form.normal[2:], form.domain, octets - 2, form.reason, "")


def _parse_email(value: str) -> EmailForm:
    if len(value) > ADDRESS_LOOKED_AT_CHARS:
        over = len(value) - ADDRESS_LIMIT_OCTETS
        return EmailForm(
            "", Reason.EMAIL_SYNTAX, f"The email address is too long ({over} too many).", ""
        )
    return _ask_library(value)[0]


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
    if top not in _SPECIAL_USE:
        return domain, ""
    return f"{rest}{dot}{'x' * len(top)}", top


# Phone


def prepare_phones(values: Sequence[str], regions: Sequence[str], default: str) -> list[PhoneForm]:
    """Return the form of each number, in order.

    `regions` has an ISO 3166-1 alpha-2 code per value, "" for `default`; it matters for numbers
    without a country code only.
    """
    return [
        _parse_phone(value, (region or default).upper())
        for value, region in zip(values, regions, strict=True)
    ]


# A "+", then ASCII digits and the separators that people write: nothing here is an extension, a
# letter or a second number, so that a valid number results as the library has it.
_PLAIN_INTERNATIONAL: Final = re.compile(r"\+[0-9][0-9 ().-]*")
_NO_DIGITS: Final = re.compile(r"[^0-9]+")
_NO_PHONE: Final = PhoneForm("", "", "", None, Reason.PHONE_FORMAT)


def _parse_phone(value: str, region: str) -> PhoneForm:
    if not value or len(value) > PHONE_LIMIT_CHARS:
        return _NO_PHONE
    if _PLAIN_INTERNATIONAL.fullmatch(value):
        parts = plain_international(_NO_DIGITS.sub("", value))
        if parts is not None:
            found, kind = locate(*parts)
            if kind is not None:
                return PhoneForm(f"+{parts[0]}{parts[1]}", "", found, kind, Reason.ACCEPTED)
    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return _NO_PHONE
    extension = number.extension or ""
    national = phonenumbers.national_significant_number(number)
    normal = f"+{number.country_code}{national}"
    found, kind = locate(number.country_code or 0, national)
    if kind is not None:
        return PhoneForm(normal, extension, found, kind, Reason.ACCEPTED)
    # IS_POSSIBLE_LOCAL_ONLY is not enough: a number without its area code has no E.164 form, and
    # two subscribers of different towns would share it.
    how = phonenumbers.is_possible_number_with_reason(number)
    if how != phonenumbers.ValidationResult.IS_POSSIBLE:
        # A number of an old dialling plan is nobody's any more, but known to whom it belonged.
        kept = normal if _phone_key(normal) != normal else ""
        return PhoneForm(kept, extension if kept else "", "", None, Reason.PHONE_FORMAT)
    return PhoneForm(normal, extension, found, None, Reason.PHONE_NOT_ASSIGNED)


def phone_display(e164: str, extension: str = "") -> PhoneDisplay:
    """Return how `e164`, a normal form of `prepare_phones`, is written for people.

    Raises InvalidArgument where `e164` is no international number.
    """
    found = split(e164[1:]) if _E164.fullmatch(e164) else None
    if found is None:
        raise InvalidArgument("not an international phone number", field="e164")
    country_code, national = found
    grouped = group(country_code, national)
    international = f"+{country_code} {grouped.international}"
    tel_uri = f"tel:{_hyphenated(international)}"
    shown = grouped.national
    if extension:
        international += grouped.before_extension + extension
        shown += grouped.before_extension + extension
        tel_uri += f";ext={extension}"
    _, kind = locate(country_code, national)
    return PhoneDisplay(shown, international, tel_uri, time_zones(country_code, national, kind))


_E164: Final = re.compile(r"\+[0-9]+")
_SEPARATORS: Final = re.compile(r"[^0-9+]+")


def _hyphenated(grouped: str) -> str:
    """Return a number with one hyphen between its groups (RFC 3966, visual separators)."""
    country, _, national = grouped.partition(" ")
    return f"{country}-{_SEPARATORS.sub('-', _SEPARATORS.sub('', national[:1]) + national[1:])}"


# Match keys


@dataclass(frozen=True, slots=True)
class _Rewrite:
    """Numbers of one subscriber under an old and a new dialling plan share `replacement`."""

    pattern: re.Pattern[str]
    replacement: str


_PHONE_REWRITES: Final = (
    # Mexico: the "1" between country code and mobile number ended with the uniform 10-digit
    # plan of 3 August 2019 (ITU Operational Bulletin 1151, communication of Mexico).
    _Rewrite(re.compile(r"\+521(\d{10})"), r"+52\1"),
    # Argentina: the "9" of mobiles is dialled from abroad only, not within the country
    # (libphonenumber's country_mobile_token of country code 54).
    _Rewrite(re.compile(r"\+549(\d{10})"), r"+54\1"),
    # Brazil: Anatel Resolution 553/2010 put a 9 before the 8 digits of every mobile, which
    # began with 6 to 9 (communication of Brazil to the ITU, 6 February 2013). A 9 before 2 to 5
    # is a number of the new plan; without the 9 it would be a fixed line of somebody else.
    _Rewrite(re.compile(r"\+55(\d\d)9([6-9]\d{7})"), r"+55\1\2"),
)

# Gmail ignores dots before the "@" (support.google.com/mail/answer/7436150), and mail to
# googlemail.com reaches the mailbox of the same name at gmail.com.
_DOTLESS_DOMAINS: Final = {"gmail.com": "gmail.com", "googlemail.com": "gmail.com"}


def match_key(channel: Channel, normal: str) -> str:
    """Return what duplicates of `normal` share; `normal` itself where no rule applies."""
    return _email_key(normal) if channel is Channel.EMAIL else _phone_key(normal)


def _email_key(normal: str) -> str:
    local, at, domain = normal.rpartition("@")
    local = local.lower()
    if not local.startswith('"'):
        # RFC 5233 sub-addresses; "+" is the separator of nearly all who offer them. A local part
        # that begins with it (a phone number at a gateway) has no address before the tag.
        local = local.partition("+")[0] or local
        if domain in _DOTLESS_DOMAINS:
            domain = _DOTLESS_DOMAINS[domain]
            local = local.replace(".", "")
    return f"{local}{at}{domain}"


def _phone_key(normal: str) -> str:
    for rule in _PHONE_REWRITES:
        if match := rule.pattern.fullmatch(normal):
            return match.expand(rule.replacement)
    return normal
