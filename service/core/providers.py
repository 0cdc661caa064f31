"""Which addresses reach one mailbox: the rules of mail providers behind the match keys of e-mails.

Data with its source; `_emails.pyx` compiles the table, docs/match-keys.md explains it. A rule is
here only if a public source says that the provider works so, and joins nothing that may be two
people's. For all other domains a "+tag" is the only thing a key leaves out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

# Counts changes of what the fields below mean, and of the rule for all domains.
SCHEME: Final = 1


@dataclass(frozen=True, slots=True)
class Provider:
    """Rules for the local parts at `domains`, which take effect in the order of the fields.

    They apply to the part before the first "+" (RFC 5233 sub-addressing, for all domains), in
    lower case and not quoted.
    """

    name: str
    domains: tuple[str, ...]
    sources: tuple[str, ...]
    subdomains: bool = False  # any@user.domain is user+any@domain
    keyword: str = ""  # what follows the first of this character belongs to the same account
    ignored: str = ""  # characters that do not count
    mailbox_domain: str = ""  # where all `domains` share one name space; "": each has its own


PROVIDERS: Final = (
    Provider(
        "Gmail",
        ("gmail.com", "googlemail.com"),
        (
            "https://support.google.com/mail/answer/7436150",  # dots; not for organisations
            # googlemail.com is gmail.com
            "https://letsradiate.com/understanding-gmail-domains-gmail-com-googlemail-com-and-google-com/",
        ),
        ignored=".",
        mailbox_domain="gmail.com",
    ),
    Provider(
        "iCloud",
        ("icloud.com", "me.com", "mac.com"),
        ("https://support.apple.com/118230",),
        mailbox_domain="icloud.com",
    ),
    Provider(
        "Proton",
        ("proton.me", "protonmail.com", "protonmail.ch", "pm.me"),
        (
            "https://proton.me/support/change-username",  # "." "_" "-" are transparent
            "https://proton.me/support/addresses-and-aliases",  # a user's own at the four domains
            "https://protonmail.com/support/knowledge-base/pm-me-addresses/",
        ),
        ignored=".-_",
        mailbox_domain="proton.me",
    ),
    Provider(
        "Yandex",
        ("yandex.ru", "yandex.com", "yandex.by", "yandex.kz", "yandex.ua", "ya.ru"),
        (
            "https://yandex.com/support/domain/additional/mailbox-alias.xml",
            "https://github.com/validatorjs/validator.js/pull/807",  # the six domains, tried out
            "https://github.com/lichess-org/lila/issues/16270",  # the six domains, by a user
        ),
        mailbox_domain="yandex.ru",
    ),
    Provider(
        # Their many other domains are left out: no list of them was found that they keep.
        "Fastmail",
        ("fastmail.com", "fastmail.fm"),
        ("https://www.fastmail.help/hc/en-us/articles/360060591053",),
        subdomains=True,
    ),
    Provider(
        # A disposable address is base-keyword. The base is no Yahoo ID and takes no mail, so that
        # the key keeps the hyphen: "base-" is not the mailbox of whoever is called "base". Yahoo
        # IDs have no hyphen. Not Yahoo Japan, which is another company.
        "Yahoo",
        (
            "yahoo.com", "ymail.com", "rocketmail.com",
            "yahoo.ca", "yahoo.co.id", "yahoo.co.in", "yahoo.co.nz", "yahoo.co.th", "yahoo.co.uk",
            "yahoo.com.ar", "yahoo.com.au", "yahoo.com.br", "yahoo.com.hk", "yahoo.com.mx",
            "yahoo.com.ph", "yahoo.com.sg", "yahoo.com.tr", "yahoo.com.tw", "yahoo.com.vn",
            "yahoo.de", "yahoo.dk", "yahoo.es", "yahoo.fr", "yahoo.gr", "yahoo.ie", "yahoo.in",
            "yahoo.it", "yahoo.no", "yahoo.pl", "yahoo.se",
        ),
        (
            "https://help.yahoo.com/kb/SLN28815.html",
            "https://github.com/mailgun/flanker/issues/6",  # the base is not the Yahoo ID
            "https://github.com/gmr/email-normalize/pull/14",  # the base is no mailbox
        ),
        keyword="-",
    ),
)  # fmt: skip


def _version() -> str:
    rules = sorted(
        (domain, one.subdomains, one.keyword, one.ignored, one.mailbox_domain)
        for one in PROVIDERS
        for domain in one.domains
    )
    return f"{SCHEME}-{hashlib.sha256(repr(rules).encode()).hexdigest()[:12]}"


# Changes with every rule, never with a source or a comment: keys of another version are not
# comparable, and an index that has them must be made anew.
EMAIL_RULES_VERSION: Final = _version()
