"""Fuzzes the kernel of names: `python -m tests.fuzz.fuzz_names --minutes 10` (see `harness`).

An input is a whole name, or where it has two bytes 0xFF, a first, a middle and a last name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from service.core._names import Name, full_names, split_names
from tests.core import oracle_names
from tests.fuzz import harness
from tests.fuzz.harness import PART

WORDS: Final = (
    *harness.bytes_of(
        (
            "Dr.", " Jr.", "Ph.D.", "г-н ", "к.ф.-м.н.", "van der ", "al-", "III", ", ", ".-",
            "Mr ", "Иванович", "Petrovna", "Саша", "sch", "tsch", "o\u0308", "\u0301\u0327", "각",
            "\u1100\u1161", "\u11a8", "が", "か\u3099", "ﷺ", "½", "İ", "ß", "´", "\u200d",
            "\ud800", "\U0001f600", "x" * 70, "a b " * 14, "a,", "\u0344" * 9, "𝔄", "Ⅷ", "\0",
            "e\u0301" * 40,
        )
    ),
    PART,
)  # fmt: skip


def first_inputs(seed: int) -> Iterable[bytes]:
    """Return the words and some names."""
    name = "Dr. Anna Petrovna Müller-Lüdenscheidt, Ph.D.".encode()
    return [*WORDS, name, PART + PART, b"A" + PART + b"B." + PART + b"C"]


def run(inputs: Sequence[bytes]) -> Sequence[Name]:
    """Take names apart: the whole ones in one batch, those of three parts in another."""
    names = [_parts(given) for given in inputs]
    found: dict[int, Iterator[Name]] = {}
    for count, kernel in ((1, full_names), (3, split_names)):
        if rows := [parts for parts in names if len(parts) == count]:
            found[count] = iter(kernel(*map(harness.column, zip(*rows, strict=True))))
    return [next(found[len(parts)]) for parts in names]


def _parts(given: bytes) -> list[bytes]:
    parts = given.split(PART)
    return parts if len(parts) == 3 else [given]


def difference(given: bytes) -> str:
    """Compare with the oracle, where the input is text."""
    texts = [text for part in _parts(given) if (text := harness.text_of(part)) is not None]
    if len(texts) != len(_parts(given)):
        return ""
    oracle = oracle_names.full_name if len(texts) == 1 else oracle_names.split_name
    (found,), wanted = run([given]), oracle(*texts)
    return "" if found == wanted else f"{texts!a}\n  found  {found}\n  wanted {wanted}"


if __name__ == "__main__":
    harness.main(harness.Fuzzed("names", WORDS, 700, first_inputs, run, difference))
