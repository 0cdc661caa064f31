"""Says of each contact point whether it is valid, and what that rests on.

The story: normal forms in one batch, then the lists, then DNS for the distinct domains together,
then one finding per domain and kind of address.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from service.core._emails import EmailParser, Emails
from service.core._phones import Phones
from service.core._text import Texts
from service.core.model import (
    VERDICTS,
    Channel,
    Checked,
    Finding,
    Flag,
    Lookup,
    PhoneForm,
    Point,
    Reason,
)
from service.core.prepare import Judged, parse_phones, prepare_phones
from service.core.regions import region_fault
from service.errors import InvalidArgument
from service.settings import Settings
from service.validation.domains import Domains, DomainStats
from service.validation.lists import (
    DISPOSABLE_SOURCE,
    is_disposable,
    is_relay,
    role_names,
    traits,
)
from service.validation.verdicts import DomainVerdict, now_us

_SYNTAX_SOURCE: Final = f"email-validator {version('email-validator')}"
_PHONE_SOURCE: Final = f"phonenumbers {version('phonenumbers')}"
_DNS_SOURCE: Final = "DNS"

_REASONS: Final = {int(reason): reason for reason in Reason}
KINDS_KEPT: Final = 10_000  # findings of one second: most are of domains

Kind = TypeVar("Kind")

_KIND_BITS: Final = 8  # of a reason, and whether the address is a role's
_REASON_MASK: Final = 0x7F
_DNS_INVALID: Final = frozenset({Reason.DOMAIN_NOT_FOUND, Reason.NO_MAIL_SERVER, Reason.NULL_MX})


class Validator:
    """The one entry to validation. `start` it after any fork, in the loop that will use it."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings; nothing is opened before `start`.

        Raises InvalidArgument for a default region that has no phone numbers.
        """
        if fault := region_fault(settings.default_region):
            raise InvalidArgument(fault, field="default_region")
        self._settings = settings
        self._emails = EmailParser(role_names())
        self._domains: Domains | None = None
        # A finding holds as long as the verdict it was made of is the current one.
        self._findings: dict[tuple[str, Reason], tuple[DomainVerdict, Finding]] = {}
        self._phone_findings = _PhoneFindings(
            lambda reason, now: _plain(reason, now, _PHONE_SOURCE)
        )
        self._unasked_findings = _OfOneSecond[tuple[str, Reason, Lookup]](
            lambda kind, now: _domain_finding(kind[0], kind[1], None, kind[2], now)
        )

    async def start(self) -> None:
        """Open the caches and the resolver. Raises StorageFault or InvalidArgument."""
        self._domains = Domains(self._settings)

    async def close(self) -> None:
        """End the look-ups, store what they brought, release everything."""
        if self._domains is not None:
            domains, self._domains = self._domains, None
            await domains.close()

    async def check(
        self, points: Sequence[Point], *, default_region: str, lookup: Lookup
    ) -> list[Checked]:
        """Return the normal form and finding of each point, in order.

        Waits for DNS with `Lookup.WAIT` only, `dns_deadline_ms` at most for all points together.
        A bad value is a finding and never an exception.
        """
        values = [point.value for point in points if point.channel is Channel.EMAIL]
        phones = [point for point in points if point.channel is Channel.PHONE]
        phone_forms = prepare_phones(
            [point.value for point in phones], [point.region for point in phones], default_region
        )
        emails = self._emails.parse(Texts.of(values))
        verdicts = await self._verdicts(emails, lookup)
        checked_emails = iter(self._check_emails(emails, verdicts, lookup))
        checked_phones = iter(_check_phones(phone_forms, self._phone_findings))
        return [
            next(checked_emails if point.channel is Channel.EMAIL else checked_phones)
            for point in points
        ]

    async def judge(
        self,
        emails: Texts,
        phones: Texts,
        regions: Texts | None,
        *,
        default_region: str,
        lookup: Lookup,
    ) -> Judged:
        """Do as `check` with columns; `regions` are those of the phones, None for none."""
        parsed = self._emails.parse(emails)
        numbers = parse_phones(phones, regions, default_region)
        verdicts = await self._verdicts(parsed, lookup)
        findings: list[Finding] = []
        email_findings = self._judge_emails(parsed, verdicts, lookup, findings)
        phone_findings = _judge_phones(numbers, self._phone_findings, findings)
        return Judged(parsed, numbers, findings, email_findings, phone_findings)

    async def judge_emails(
        self, values: Sequence[str], lookup: Lookup
    ) -> tuple[list[Reason], list[str]]:
        """Return the reason and the normal form ("" where broken) of each address, in order.

        As `check` finds them, for those who have long columns and want no more.
        """
        emails = self._emails.parse(Texts.of(values))
        verdicts = await self._verdicts(emails, lookup)
        names = emails.domains
        shared: dict[tuple[int, int], Reason] = {}
        reasons = []
        for kind in zip(emails.domain_ids, emails.reason, strict=True):
            if (reason := shared.get(kind)) is None:
                domain = names[kind[0]] if kind[0] >= 0 else ""
                verdict = verdicts.get(domain)
                reason = shared[kind] = _reason(domain, _REASONS[kind[1]], verdict, lookup)
            reasons.append(reason)
        return reasons, emails.normal.strings()

    async def resolve(self, domains: Sequence[str]) -> dict[str, DomainVerdict]:
        """Return a DNS verdict for each A-label domain, without the short deadline.

        Waits `dns_lookup_s` at most per round of domains, as many as are looked up at once.
        """
        return await self._open_domains().resolve(domains)

    def domain_finding(self, domain: str, verdict: DomainVerdict) -> Finding:
        """Return what `verdict` means for an ordinary address at `domain`.

        The flags are those of the domain; ROLE_ACCOUNT is the address's own.
        """
        return _domain_finding(domain, Reason.ACCEPTED, verdict, Lookup.WAIT, now_us())

    def stats(self) -> DomainStats:
        """Return the counters of this process's look-ups and caches."""
        return self._open_domains().stats()

    async def _verdicts(self, emails: Emails, lookup: Lookup) -> dict[str, DomainVerdict]:
        if lookup is Lookup.SKIP:
            return {}
        numbers = {
            number
            for number, reason in zip(emails.domain_ids, emails.reason, strict=True)
            if number >= 0 and reason != Reason.SPECIAL_USE_DOMAIN
        }
        names = emails.domains
        domains = {names[number] for number in numbers}
        if not domains:
            return {}
        if lookup is Lookup.WAIT:
            deadline_s = self._settings.dns_deadline_ms / 1_000
            return await self._open_domains().find(domains, deadline_s)
        known = await self._open_domains().known(domains)
        # A look-up that failed of late settles nothing: the row is to be looked at again.
        return {domain: verdict for domain, verdict in known.items() if verdict.known}

    def _judge_emails(
        self,
        emails: Emails,
        verdicts: dict[str, DomainVerdict],
        lookup: Lookup,
        findings: list[Finding],
    ) -> npt.NDArray[np.int32]:
        """Add the findings of addresses to `findings`; return the place of each address's."""
        now, names = now_us(), emails.domains
        reasons = np.asarray(emails.reason, np.int64)
        kinds = np.asarray(emails.domain_ids, np.int64) << _KIND_BITS | reasons << 1
        kinds |= np.asarray(emails.role, np.int64)
        distinct, inverse = np.unique(kinds, return_inverse=True)
        places: npt.NDArray[np.int32] = (inverse + len(findings)).astype(np.int32)
        for kind in distinct.tolist():
            number, reason = kind >> _KIND_BITS, _REASONS[kind >> 1 & _REASON_MASK]
            domain = names[number] if number >= 0 else ""
            found = self._finding((domain, reason), verdicts.get(domain), lookup, now)
            findings.append(_of_role(found) if kind & 1 else found)
        faults: dict[str, int] = {}
        for index, detail in emails.details.items():
            if emails.reason[index] != Reason.EMAIL_SYNTAX:
                continue
            if detail not in faults:
                faults[detail] = len(findings)
                findings.append(_plain(Reason.EMAIL_SYNTAX, now, _SYNTAX_SOURCE, detail))
            places[index] = faults[detail]
        return places

    def _check_emails(
        self, emails: Emails, verdicts: dict[str, DomainVerdict], lookup: Lookup
    ) -> list[Checked]:
        now = now_us()
        names, normals = emails.domains, emails.normal.strings()
        shared: dict[tuple[int, int, int], Finding] = {}
        faults: dict[str, Finding] = {}
        checked = []
        kinds = zip(emails.domain_ids, emails.reason, emails.role, strict=True)
        for index, kind in enumerate(kinds):
            number, reason, is_role = kind
            if reason == Reason.EMAIL_SYNTAX:
                detail = emails.details[index]
                if (fault := faults.get(detail)) is None:
                    fault = _plain(Reason.EMAIL_SYNTAX, now, _SYNTAX_SOURCE, detail)
                    faults[detail] = fault
                found = fault
            elif (known := shared.get(kind)) is not None:
                found = known
            else:
                domain = names[number] if number >= 0 else ""
                verdict = verdicts.get(domain)
                found = self._finding((domain, _REASONS[reason]), verdict, lookup, now)
                shared[kind] = found = _of_role(found) if is_role else found
            checked.append(Checked(Channel.EMAIL, normals[index], found))
        return checked

    def _finding(
        self, kind: tuple[str, Reason], verdict: DomainVerdict | None, lookup: Lookup, now: int
    ) -> Finding:
        if verdict is None:
            return self._unasked_findings.of((*kind, lookup), now)
        made = self._findings.get(kind)
        if made is not None and made[0] is verdict:
            return made[1]
        if len(self._findings) >= self._settings.dns_cache_domains:
            self._findings.clear()
        finding = _domain_finding(*kind, verdict, lookup, now)
        self._findings[kind] = (verdict, finding)
        return finding

    def _open_domains(self) -> Domains:
        if self._domains is None:
            raise RuntimeError("the validator is not started")
        return self._domains


class _OfOneSecond(Generic[Kind]):
    """Findings that rest on no look-up: those of one kind and second are the same."""

    def __init__(self, make: Callable[[Kind, int], Finding]) -> None:
        self._make = make
        self._second = 0
        self._found: dict[Kind, Finding] = {}

    def of(self, kind: Kind, now: int) -> Finding:
        """Return the finding of a kind, which is made as of the beginning of the second."""
        second = now // 1_000_000
        if second != self._second or len(self._found) >= KINDS_KEPT:
            self._second, self._found = second, {}
        if (finding := self._found.get(kind)) is None:
            finding = self._found[kind] = self._make(kind, second * 1_000_000)
        return finding


_PhoneFindings = _OfOneSecond[Reason]


# E-mail


def _of_role(found: Finding) -> Finding:
    return replace(found, flags=(Flag.ROLE_ACCOUNT, *found.flags))


def _domain_finding(
    domain: str, syntax: Reason, verdict: DomainVerdict | None, lookup: Lookup, now: int
) -> Finding:
    """Return the finding of every well-formed address of a domain and syntax.

    `domain` is "" for address literals, which need no DNS.
    """
    reason = _reason(domain, syntax, verdict, lookup)
    if reason is Reason.SPECIAL_USE_DOMAIN or not domain:
        return _plain(reason, now, _SYNTAX_SOURCE)
    listed = traits(domain)
    hosts = verdict.mx_hosts if verdict is not None else ()
    positive = verdict is not None and verdict.positive
    return Finding(
        verdict=VERDICTS[reason],
        reason=reason,
        checked_us=verdict.checked_us if verdict is not None else now,
        holds_until_us=verdict.holds_until_us if verdict is not None else 0,
        flags=listed.flags,
        suggested_domain=listed.suggestion if listed.surely or not positive else "",
        mx_hosts=hosts,
        source=_source(reason),
    )


def _reason(domain: str, syntax: Reason, verdict: DomainVerdict | None, lookup: Lookup) -> Reason:
    """Return the gravest of what is known; what is not known comes before "accepted" only."""
    if syntax in (Reason.EMAIL_SYNTAX, Reason.SPECIAL_USE_DOMAIN) or not domain:
        return syntax
    if verdict is not None and verdict.reason in _DNS_INVALID:
        return verdict.reason
    # A domain of one's own at a throw-away provider throws away as well.
    if is_disposable(domain) or (
        verdict is not None and not is_relay(domain) and any(map(is_disposable, verdict.mx_hosts))
    ):
        return Reason.DISPOSABLE
    if syntax is Reason.UNUSUAL_SYNTAX:
        return syntax
    if verdict is not None:
        return verdict.reason
    return Reason.NOT_LOOKED_UP if lookup is Lookup.SKIP else Reason.PENDING


def _source(reason: Reason) -> str:
    match reason:
        case Reason.DISPOSABLE:
            return DISPOSABLE_SOURCE
        case Reason.UNUSUAL_SYNTAX | Reason.NOT_LOOKED_UP | Reason.PENDING:
            return _SYNTAX_SOURCE
    return _DNS_SOURCE


def _plain(reason: Reason, now: int, source: str, detail: str = "") -> Finding:
    return Finding(VERDICTS[reason], reason, now, source=source, detail=detail)


# Phone


def _check_phones(forms: Sequence[PhoneForm], findings: _PhoneFindings) -> list[Checked]:
    now = now_us()
    return [
        Checked(Channel.PHONE, normal, findings.of(reason, now), region, kind, extension)
        for normal, extension, region, kind, reason in forms
    ]


def _judge_phones(
    numbers: Phones, known: _PhoneFindings, findings: list[Finding]
) -> npt.NDArray[np.int32]:
    """Add the findings of numbers to `findings`; return the place of each number's."""
    now = now_us()
    # What is no number at all has no reason of its own.
    reasons = np.frombuffer(numbers.reasons(), np.uint8)
    distinct, inverse = np.unique(reasons, return_inverse=True)
    places: npt.NDArray[np.int32] = (inverse + len(findings)).astype(np.int32)
    findings += [known.of(_REASONS[one or Reason.PHONE_FORMAT], now) for one in distinct.tolist()]
    return places
