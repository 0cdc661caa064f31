"""Fuzzes the kernel of e-mails: `python -m tests.fuzz.fuzz_emails --minutes 10` (see `harness`).

An input is an address. What the kernel leaves to the library is answered by a quick stand-in, but
where the oracle is asked as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

from service.core import _emails
from service.core.model import Reason
from tests.core import email_grammar
from tests.core.agree_emails import ROLES, differences
from tests.fuzz import harness

WORDS: Final = harness.bytes_of(
    chain(
        email_grammar.PROVIDER_DOMAINS, email_grammar.SPECIAL, email_grammar.A_LABELS,
        email_grammar.IDN, email_grammar.LITERALS, email_grammar.NAMES, email_grammar.TAGS,
        email_grammar.HYPHENS, email_grammar.TOPS, email_grammar.UNICODE, email_grammar.SPACES,
        "@.-+<>\"\\", ("a@b.de", "a" * 30, "b." * 20, "\xff\xfe"),
    )
)  # fmt: skip
FIRST: Final = 300
# The module's own, as the compiler looks names up; parsers remember what they were told, so that
# the oracle's has never heard the stand-in.
NAMES: Final = vars(_emails)
LIBRARY: Final = NAMES["look_into"]
PARSER: Final = _emails.EmailParser(ROLES)


def _stand_in(value: str) -> _emails.EmailForm:
    """Answer for the library, which is slow, and say more than it ever would."""
    normal = value.encode(errors="replace").decode() if "@" in value else ""
    reason = Reason.UNUSUAL_SYNTAX if normal else Reason.EMAIL_SYNTAX
    domain = normal.rpartition("@")[2] if "." in normal else ""
    return _emails.EmailForm(normal, reason, "", domain)


def first_inputs(seed: int) -> Iterable[bytes]:
    """Return some addresses."""
    return harness.bytes_of(email_grammar.Grammar(seed).addresses(FIRST))


def run(inputs: Sequence[bytes]) -> Sequence[object]:
    """Return all that is said of addresses."""
    NAMES["look_into"] = _stand_in
    found = PARSER.parse(harness.column(inputs))
    forms = found.forms()
    keys = [_emails.email_key(form.normal) for form in forms]
    columns = found.normal.strings(), found.keys.strings(), found.reason, found.role
    return list(zip(forms, keys, *columns, strict=True))


def difference(given: bytes) -> str:
    """Compare with the oracle, and the library itself."""
    text = harness.text_of(given)
    NAMES["look_into"] = LIBRARY
    found = [] if text is None else differences([text])
    return "".join(f"{value!a}\n  found  {one}\n  wanted {other}" for value, one, other in found)


if __name__ == "__main__":
    harness.main(harness.Fuzzed("emails", WORDS, 5_000, first_inputs, run, difference))
