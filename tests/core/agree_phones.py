"""The kernel of phones beside the library, on any number of generated texts.

`python -m tests.core.agree_phones --count 5000000` runs on every core, tells its progress and
prints the differences, if any. Every batch has its own seed, so a difference comes back with it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter

from service.core import _phones
from service.core._text import Texts
from tests.core import oracle_phones, phone_texts
from tests.core.oracle_phones import PARSED, Judged, Written
from tests.core.phone_texts import Question

RECORD = struct.Struct("=BBBBHHBB20s2x")  # as `_phones.Phones` documents it
BATCH = 5_000
SHOWN = 20


def parse(questions: Sequence[Question]) -> _phones.Phones:
    """Put a batch to the kernel."""
    texts = Texts.of([text for text, _ in questions])
    regions = Texts.of([region for _, region in questions])
    return _phones.parse(texts, _phones.region_ids(regions), 0)


def judged(phones: _phones.Phones) -> list[Judged]:
    """Return what the kernel found, out of its buffers."""
    found = []
    for record, extension in zip(
        RECORD.iter_unpack(memoryview(phones)), phones.extensions.strings(), strict=True
    ):
        outcome, possibility, kind, _, country_code, region, size, _, digits = record
        normal = f"+{digits[:size].decode()}" if outcome == PARSED else ""
        region = _phones.REGIONS[region]
        found.append(Judged(outcome, country_code, normal, extension, possibility, region, kind))
    return found


def written(normal: str, extension: str) -> Written | None:
    """Return how the kernel writes a number."""
    found = _phones.display(normal, extension)
    return None if found is None else Written(*found[:3], _phones.TIME_ZONES[found[3]])


def differences(questions: Sequence[Question], share: int = 1) -> Iterator[str]:
    """Tell every difference.

    One number of `share` is also asked for its validity (which its type implies) and written.
    """
    phones = parse(questions)
    answers = zip(questions, judged(phones), phones.forms(), strict=True)
    for place, (question, found, form) in enumerate(answers):
        number = oracle_phones.parse(*question)
        if found != (wanted := oracle_phones.judge(number)):
            yield f"{question!a}\n  wanted {wanted}\n  found  {found}"
        elif form != (wanted_form := oracle_phones.form(found)):
            yield f"{question!a}\n  wanted {wanted_form}\n  found  {form}"
        elif not isinstance(number, int) and place % share == 0:
            if bool(found.type) != oracle_phones.is_valid(number):
                yield f"{question!a}: validity"
            if (key := _phones.phone_key(found.normal)) != oracle_phones.key(found.normal):
                yield f"{found.normal}: key {key}"
            shown = written(found.normal, found.extension)
            if shown != (wanted_shown := oracle_phones.write(number)):
                yield f"{question!a}\n  wanted {wanted_shown}\n  found  {shown}"


_automaton: phone_texts.Automaton | None = None


def batch(seed: int, count: int = BATCH, share: int = 10) -> list[str]:
    """Return the differences of one batch of generated texts."""
    global _automaton
    if _automaton is None:
        _automaton = phone_texts.Automaton()
    questions = phone_texts.Texts(seed, _automaton).questions(count)
    return [f"seed {seed}: {one}" for one in differences(questions, share)]


def main() -> None:
    """Compare, tell, and fail where there is a difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.core.agree_phones", description=__doc__)
    parser.add_argument("--count", type=int, default=5_000_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first batch")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + -(-options.count // BATCH))
    with multiprocessing.Pool(os.cpu_count()) as pool:
        found = _tell(pool.imap_unordered(batch, seeds), len(seeds))
    raise SystemExit(1 if found else 0)


def _tell(batches: Iterable[list[str]], count: int) -> int:
    """Print the first differences and the progress; return how many differences there are."""
    started, found = perf_counter(), 0
    for done, faults in enumerate(batches, 1):
        for fault in faults[: max(0, SHOWN - found)]:
            print(fault)
        found += len(faults)
        if done % 20 == 0 or done == count:
            rate = done * BATCH / (perf_counter() - started)
            print(f"{done * BATCH:,} texts, {found:,} differences, {rate:,.0f}/s", flush=True)
    return found


if __name__ == "__main__":
    main()
