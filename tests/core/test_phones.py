"""The kernel of phones finds what `phonenumbers` finds, whatever the text and the default region.

The rest of the five million generated texts: `python -m tests.core.agree_phones`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import struct
from array import array
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from random import Random

import phonenumbers
import pytest
from phonenumbers import PhoneNumber, PhoneNumberFormat, PhoneNumberType

from service.core import _phones, build_phones
from service.core._text import Texts
from service.core.model import PhoneType, Reason
from tests.core import agree_phones, oracle_phones, phone_texts
from tests.core.agree_phones import RECORD, differences
from tests.core.phone_texts import Question
from tests.fuzz import fuzz_phones
from tests.fuzz.harness import corpus_of, read_corpus

BATCHES = 40  # of 5,000 texts
FORMATS = (
    PhoneNumberFormat.E164,
    PhoneNumberFormat.INTERNATIONAL,
    PhoneNumberFormat.NATIONAL,
    PhoneNumberFormat.RFC3966,
)
REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
UNKNOWN = ("", "ZZ", "001", "XX", "Ⅳ")

# Whatever went wrong once, or is likely to.
KNOWN = (
    ("31086-59", "TC"),  # a rule that puts the area code in front
    ("011 15 2345-6789", "AR"),  # 15 within, 9 from abroad
    ("+54 9 11 2345-6789", ""),
    ("+52 1 55 1234 5678", ""),
    ("0 15 11 99999 8888", "BR"),  # a carrier code
    ("+39 06 1234 5678", ""),  # the zero belongs to the number
    ("+39 3123 4567 89", "VA"),
    ("+000 7 123 456 78 90", "RU"),
    ("+0011 44 20 8366 1177", "AU"),  # an international prefix behind a plus
    ("+ 9 123", "US"),
    ("1-800-FLOWERS", "US"),
    ("1-800-\u017flower", "US"),
    ("0800 \u212aelv\u0131n", "DE"),
    ("１２３abc", "US"),  # a vanity number drops other digits than ASCII
    ("٠٢٠ ٨٣٦٦ ١١٧٧", "GB"),
    ("+44 20 8366 1177;ext=\u0663\u0664", ""),
    ("tel:863-1234;phone-context=+1-914-555", "US"),
    ("tel:7042;phone-context=example.com", "US"),
    ("tel:123\n;phone-context=example.com", "US"),
    ("8366;phone-context=+44 20", "GB"),
    ("(530) 583-6985 x302/x2303", "US"),
    ("+1 650 253 0000 - 123#", ""),
    ("15", "US"),
    ("1 5", "US"),
    ("+", "US"),
    ("", "US"),
    ("\ud800", "US"),
    ("+1 (650) 253-0000\0", ""),
)


def assert_agreement(questions: list[Question], share: int = 1) -> None:
    """Fail with the first differences."""
    found = list(differences(questions, share))
    assert not found, f"{len(found)} differences:\n" + "\n".join(found[:10])


def examples() -> Iterator[tuple[str, PhoneNumber]]:
    """Return the library's example of every region and type, and of every code of no region."""
    for region in REGIONS:
        for kind in PhoneNumberType.values():
            number = phonenumbers.example_number_for_type(region, kind)
            if number is not None:
                yield region, number
        number = phonenumbers.invalid_example_number(region)
        if number is not None:
            yield region, number
    for country_code in phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS:
        number = phonenumbers.example_number_for_non_geo_entity(country_code)
        if number is not None:
            yield "001", number


def test_examples_of_every_region_and_type_in_every_format() -> None:
    questions = []
    for region, number in examples():
        number.extension = "0123"
        for form in FORMATS:
            text = phonenumbers.format_number(number, form)
            questions += [
                (text, region),
                (text, "US"),
                (text, "ZZ"),
                (text.split("0123")[0], region),
            ]
        abroad = "GB" if region == "US" else "US"
        text = phonenumbers.format_out_of_country_calling_number(number, abroad)
        questions.append((text, abroad))
    assert_agreement(questions)


def test_an_example_of_every_region_dialled_from_every_region() -> None:
    questions = []
    for region in REGIONS:
        number = phonenumbers.example_number(region)
        if number is not None:
            text = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
            questions += [(text, other) for other in (*REGIONS, *UNKNOWN)]
    assert_agreement(questions, share=25)


def test_known_traps() -> None:
    questions = [(text, region) for text, _ in KNOWN for region in (*REGIONS[::20], *UNKNOWN)]
    assert_agreement([*KNOWN, *questions])


def test_generated_texts() -> None:
    """A new process for each half: the service must not be forked once it serves."""
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        found = [*chain.from_iterable(pool.imap_unordered(agree_phones.batch, range(BATCHES)))]
    assert not found, f"{len(found)} differences:\n" + "\n".join(found[:10])


def test_texts_that_a_fuzzer_kept() -> None:
    random = Random(1)
    kept = map(fuzz_phones.question, read_corpus(corpus_of("phones")))
    questions = [question for question in kept if question is not None]
    assert len(questions) > 100
    others = [(text, random.choice(REGIONS)) for text, _ in questions for _ in range(3)]
    assert_agreement([*questions, *others])


@pytest.mark.parametrize("size", range(248, 253))
def test_the_longest_texts(size: int) -> None:
    number = "+1 650 253 0000"
    fillings = ("0", " ", "x", "٠", "\ud800", "☎", "-", "a", "+", "/", ";", ",")
    missing = size - len(number)
    questions = [(filling * missing + number, "US") for filling in fillings]
    questions += [(number + filling * missing, "US") for filling in fillings]
    assert_agreement(questions)


def test_a_text_of_any_length_costs_nothing() -> None:
    assert _phones.parse(Texts.of(["1" * 10_000_000]), None, 0).forms()[0][0] == ""


def test_texts_of_a_batch_do_not_influence_each_other() -> None:
    questions = phone_texts.Texts(7).questions(4_000)
    together = agree_phones.judged(agree_phones.parse(questions))
    alone = [agree_phones.judged(agree_phones.parse([question]))[0] for question in questions]
    assert together == alone
    backwards = agree_phones.judged(agree_phones.parse(questions[::-1]))
    assert together == backwards[::-1]


def test_texts_within_an_arrow_array() -> None:
    questions = phone_texts.Texts(8).questions(500)
    encoded = [text.encode("utf-8", "surrogatepass") for text, _ in questions]
    offsets = array("i", [0])
    for one in encoded:
        offsets.append(offsets[-1] + len(one))
    regions = _phones.region_ids(Texts.of([region for _, region in questions]))
    texts = Texts.view(memoryview(offsets), b"".join(encoded), 0, len(encoded))
    found = _phones.parse(texts, regions, 0)
    assert found.forms() == agree_phones.parse(questions).forms()


def test_bytes_that_are_not_utf_8() -> None:
    for broken in (b"\xff", b"\xc0\x80", b"\xe2\x82", b"\xf4\x90\x80\x80", b"\x80"):
        data = b"+44 20 8366 1177" + broken
        texts = Texts.view(struct.pack("=2i", 0, len(data)), data, 0, 1)
        assert _phones.parse(texts, None, 0).forms()[0][0] == "+442083661177"


# Default regions


def test_a_region_of_a_text_is_the_default_only_where_it_is_empty() -> None:
    united_states = _phones.region_id("US")
    regions = _phones.region_ids(Texts.of(["", "GB", "gb", "ZZ", "XX", "001"]))
    texts = Texts.of(["650 253 0000", *["020 8366 1177"] * 5])
    found = _phones.parse(texts, regions, united_states).normals().strings()
    assert found == ["+16502530000", "+442083661177", "+442083661177", "", "", ""]


def test_numbers_of_regions() -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    regions = [one + other for one in letters for other in letters]
    regions += [*map(str.lower, regions), "", "001", "U", "USA", "U\0", "@A", "[Z", "U\u017f", "é"]
    known = {*phonenumbers.SUPPORTED_REGIONS, "", "001"}
    found = memoryview(_phones.region_ids(Texts.of(regions))).cast("H")
    for region, number in zip(regions, found, strict=True):
        upper = region.upper()
        assert _phones.REGIONS[number] == (upper if upper in known else "ZZ"), region
        assert _phones.region_id(region) == number


def test_regions_that_are_none_are_refused() -> None:
    texts = Texts.of(["1", "2"])
    with pytest.raises(ValueError, match="as many regions as texts"):
        _phones.parse(texts, memoryview(array("H", [0])), 0)
    for regions, default in (([0, 9_999], 0), ([0, 0], 9_999), ([0, 0], -1)):
        with pytest.raises(ValueError, match="not a region"):
            _phones.parse(texts, memoryview(array("H", regions)), default)


# Buffers


def test_buffers_say_the_same_as_the_forms() -> None:
    questions = phone_texts.Texts(9).questions(2_000)
    phones = agree_phones.parse(questions)
    forms = phones.forms()
    assert len(phones) == len(forms) == phones.count
    assert phones.normals().strings() == [form[0] for form in forms]
    keys = [oracle_phones.key(normal) for normal, *_ in forms]
    assert phones.keys().strings() == keys
    assert [Reason(one) for one in phones.reasons()] == [form[4] for form in forms]
    assert [PhoneType(one) if one else None for one in phones.types()] == [
        form[3] for form in forms
    ]
    regions = [_phones.REGIONS[one] for one in memoryview(phones.regions()).cast("H")]
    assert regions == [form[2] for form in forms]
    kept = [extension if normal else "" for normal, extension, *_ in forms]
    written = phones.extensions.strings()
    assert [one for one, form in zip(written, forms, strict=True) if form[0]] == [
        one for one, form in zip(kept, forms, strict=True) if form[0]
    ]


def test_records() -> None:
    phones = _phones.parse(Texts.of(["+39 06 1234 5678 x9", "junk"]), None, 0)
    view = memoryview(phones)
    assert view.readonly
    assert view.nbytes == 2 * RECORD.size == 64
    italian, junk = RECORD.iter_unpack(view)
    rome = (0, 0, PhoneType.FIXED_LINE, Reason.ACCEPTED, 39, _phones.REGIONS.index("IT"), 12, 2)
    assert italian == (*rome, b"390612345678".ljust(20, b"\0"))
    not_a_number = 1 + phonenumbers.NumberParseException.NOT_A_NUMBER
    assert junk == (not_a_number, 0, 0, Reason.PHONE_FORMAT, 0, 0, 0, 0, bytes(20))
    assert phones.extensions.strings() == ["9", ""]


def test_an_empty_batch() -> None:
    phones = _phones.parse(Texts.of([]), memoryview(array("H")), 0)
    assert phones.forms() == []
    assert phones.normals().strings() == []
    assert phones.regions() == phones.types() == phones.reasons() == b""


# Match keys


def test_keys_are_those_of_the_rules() -> None:
    random = Random(3)
    for start in ("52", "521", "54", "549", "55", "5511", "55119", "551196", "53", "1", "44"):
        for size in range(len(start), 21):
            for _ in range(40):
                digits = start + "".join(random.choices("0123456789", k=size - len(start)))
                assert _phones.phone_key(f"+{digits}") == oracle_phones.key(f"+{digits}")


def test_what_is_no_normal_form_is_its_own_key() -> None:
    for text in ("", "+", "5215512345678", "+521551234567x", "+5215512345678 ", "+" + "5" * 40):
        assert _phones.phone_key(text) == text


def test_numbers_of_old_plans_have_the_key_of_the_new() -> None:
    old, new = "+52 1 55 1234 5678", "+52 55 1234 5678"
    phones = _phones.parse(Texts.of([old, new, "+55 11 96123 4567", "+55 11 6123 4567"]), None, 0)
    mexican, same, brazilian, short = phones.keys().strings()
    assert mexican == same == "+525512345678"
    assert brazilian == short == "+551161234567"


# Writing


def test_any_digits_are_written_as_the_library_does() -> None:
    random = Random(5)
    codes = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
    for _ in range(4_000):
        country_code = random.choice(codes)
        size = random.randint(1, 20 - len(str(country_code)))
        national = "".join(random.choices("0123456789", k=size))
        zeros = min(size - 1, size - len(national.lstrip("0")))
        number = PhoneNumber(
            country_code=country_code,
            national_number=int(national),
            italian_leading_zero=zeros > 0,
            number_of_leading_zeros=zeros,
            extension=random.choice(("", "12", "٣")),
        )
        found = agree_phones.written(f"+{country_code}{national}", number.extension or "")
        assert found == oracle_phones.write(number), number


def test_what_is_no_international_number_is_not_written() -> None:
    for text in ("", "+", "+0", "+999", "16502530000", "+1650253000O", "+" + "1" * 21, "+٣٤"):
        assert _phones.display(text, "") is None


# The file of tables

Change = Callable[[bytes], bytes]


def restamped(**facts: object) -> Change:
    """Return what changes facts of the header."""

    def change(content: bytes) -> bytes:
        (size,) = struct.unpack_from("=I", content)
        header = {**json.loads(content[4 : 4 + size]), **facts}
        head = json.dumps(header).encode()
        return struct.pack("=I", len(head)) + head + content[4 + size :]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (restamped(phonenumbers="8.0.0"), r"is of .*phonenumbers 8\.0\.0.* here are .*build"),
        (restamped(format=0), "is of format 0.*build the package again"),
        (restamped(unicode="1.0.0"), r"Unicode 1\.0\.0.*build the package again"),
        (lambda content: content[:-1000], "damaged: build the package again"),
        (lambda content: content[:100], "damaged"),
        (lambda content: b"", "damaged"),
        (lambda content: b"\0\0\0\0", "damaged"),
        (lambda content: content[:-100] + b"\1" + content[-99:], "damaged"),
    ],
)
def test_tables_of_something_else_are_refused(tmp_path: Path, change: Change, message: str) -> None:
    path = tmp_path / "_phones.tables"
    path.write_bytes(change(build_phones.TARGET.read_bytes()))
    with pytest.raises(ImportError, match=message):
        _phones.read_tables(path)


def test_missing_tables_are_told(tmp_path: Path) -> None:
    with pytest.raises(ImportError, match="is missing: build the package again"):
        _phones.read_tables(tmp_path / "none")


def test_the_tables_are_those_of_the_installed_library() -> None:
    assert build_phones.tables() == build_phones.TARGET.read_bytes()
