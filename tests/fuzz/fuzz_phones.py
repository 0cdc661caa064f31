"""Fuzzes the kernel of phones: `python -m tests.fuzz.fuzz_phones --minutes 10` (see `harness`).

An input is a text; where it ends in a byte 0xFF and a region, this is the default region.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from service.core import _phones
from service.core.model import PhoneForm
from tests.core import phone_texts
from tests.core.agree_phones import differences, judged
from tests.core.phone_texts import Question
from tests.fuzz import harness
from tests.fuzz.harness import PART

REGIONS: Final = frozenset(region.encode() for region in _phones.SUPPORTED_REGIONS)
WORDS: Final = (
    *harness.bytes_of(
        (
            "+", "++", "\uff0b", "00", "011", "+1", "+44", "+39", "+54 9", "+55", "tel:", "0", "x",
            "#", ";phone-context=", ";phone-context=+1", ";isub=", ";ext=", " ext. ", "доб",
            "anexo", "int", "extensio\u0301n", "\uff45\uff58\uff54\uff4e", ",,", " / x", "\\x",
            "~", "\u00a0", "\u3000", "\u0663\u0664", "\U0001d7ce", "\ud800", "(0)", "-", " ", ".",
            "\t", "\n", "abc", "\u017f", "\u212a", "example.com", "12345678901234567890", "\0",
            "\u00b2",
        )
    ),
    b"\xff", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xe0", b"\xf0\x9f", b"\x80",
    *(PART + region for region in (b"AR", b"AU", b"BR", b"DE", b"GB", b"IT", b"MX", b"US")),
)  # fmt: skip
OTHERS: Final = bytes(sorted({*range(256)} - {*b"0123456789"}))
FIRST: Final = 4_000
EXTENSIONS: Final = ("", "1", "٣")


def first_inputs(seed: int) -> Iterable[bytes]:
    """Return some texts with their regions."""
    for question in phone_texts.Texts(seed).questions(FIRST):
        yield PART.join(harness.bytes_of(question))


def parts(given: bytes) -> tuple[bytes, bytes]:
    """Return an input's text and region."""
    text, _, region = given.rpartition(PART)
    return (text, region) if region in REGIONS else (given, b"")


def question(given: bytes) -> Question | None:
    """Return an input as the library takes it, None where its text is none."""
    text, region = parts(given)
    asked = harness.text_of(text)
    return None if asked is None else (asked, region.decode())


def run(inputs: Sequence[bytes]) -> Sequence[object]:
    """Return all that is said of texts; a single region is given in the other way."""
    texts, regions = zip(*map(parts, inputs), strict=True)
    if len(inputs) == 1:
        phones = _phones.parse(harness.column(texts), None, _phones.region_id(regions[0].decode()))
    else:
        numbers = _phones.region_ids(harness.column(regions))
        phones = _phones.parse(harness.column(texts), numbers, 0)
    forms = phones.forms()
    columns = phones.normals().strings(), phones.keys().strings(), phones.reasons(), phones.types()
    found = memoryview(phones.regions()).cast("H")
    shown = map(_written, forms, texts)
    return list(zip(judged(phones), forms, found, shown, *columns, strict=True))


def _written(form: PhoneForm, text: bytes) -> tuple[object, ...]:
    """Write a number, and any digits as one: a normal form need not come from `parse`."""
    normal, extension = form.normal, form.extension
    if normal and _phones.display(normal, extension) is None:
        raise AssertionError(f"{normal} cannot be written")
    digits = f"+{text.translate(None, OTHERS)[:24].decode()}"
    other = EXTENSIONS[len(text) % len(EXTENSIONS)]
    shown = _phones.display(normal, extension), _phones.display(digits, other)
    return *shown, _phones.phone_key(normal), _phones.phone_key(digits)


def difference(given: bytes) -> str:
    """Compare with the library."""
    asked = question(given)
    return "" if asked is None else "\n".join(differences([asked]))


if __name__ == "__main__":
    harness.main(harness.Fuzzed("phones", WORDS, 1_100, first_inputs, run, difference))
