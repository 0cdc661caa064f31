"""Holds the e-mail kernel against the oracle over as many addresses as one likes, on all cores.

python -m tests.core.agree_emails --count 3000000
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache, partial
from time import perf_counter
from typing import Final

from service.core._emails import EmailParser
from service.core._text import Texts
from service.core.model import Reason
from tests.core.email_grammar import Grammar
from tests.core.oracle_emails import Expected, expected

# Some of those that the service has, and one that only an odd local part can be.
ROLES: Final = frozenset({"info", "no-reply", "noreply", "contact", "helpdesk", "ä", "中"})
BATCH: Final = 10_000  # more than the kernel reads before it asks the library
SHOWN: Final = 10


@cache
def parser() -> EmailParser:
    """Return this process's parser."""
    return EmailParser(ROLES)


def said(values: Sequence[str]) -> list[Expected]:
    """Return what the kernel says of each address."""
    found = parser().parse(Texts.of(values))
    rows = zip(found.forms(), found.keys.strings(), found.role, strict=True)
    return [Expected(*form, key, bool(role)) for form, key, role in rows]


def differences(values: Sequence[str]) -> list[tuple[str, Expected, Expected]]:
    """Return the addresses on which kernel and oracle differ, with what each says."""
    rows = zip(values, said(values), (expected(value, ROLES) for value in values), strict=True)
    return [(value, one, other) for value, one, other in rows if one != other]


def agree(seed: int, numbers: Iterable[int]) -> tuple[Counter[Reason], list[str]]:
    """Compare some batches; return the reasons met, and what differs."""
    reasons: Counter[Reason] = Counter()
    wrong = []
    for number in numbers:
        values = list(Grammar(seed + number).addresses(BATCH))
        wrong += [f"{value!r}:\n  {one}\n  {other}" for value, one, other in differences(values)]
        reasons.update(map(Reason, parser().parse(Texts.of(values)).reason))
    return reasons, wrong


def main() -> None:
    """Compare, print what was met, fail if anything differs."""
    arguments = argparse.ArgumentParser(description=main.__doc__)
    arguments.add_argument("--count", type=int, default=3_000_000)
    arguments.add_argument("--seed", type=int, default=20_261_122)
    options = arguments.parse_args()
    started = perf_counter()
    reasons: Counter[Reason] = Counter()
    wrong: list[str] = []
    batches = [[number] for number in range(-(-options.count // BATCH))]
    with multiprocessing.Pool(os.cpu_count()) as pool:
        for met, differing in pool.imap_unordered(partial(agree, options.seed), batches):
            reasons += met
            wrong += differing
    for line in wrong[:SHOWN]:
        print(line)
    kinds = ", ".join(f"{count:,} {reason.name}" for reason, count in reasons.most_common())
    print(f"{reasons.total():,} addresses ({kinds}) in {perf_counter() - started:.0f} s")
    print(f"{len(wrong)} differences")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
