"""A few values in the core's types; `tests/core` holds the kernels against the libraries."""

from __future__ import annotations

import random
from collections.abc import Iterator

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core._emails import EmailForm, EmailParser
from service.core._text import Texts
from service.core.model import Channel, PhoneType, Reason
from service.core.prepare import match_key, phone_display, prepare_phones
from service.errors import InvalidArgument

# E-mail


def prepare_emails(values: list[str]) -> list[EmailForm]:
    """Return the form of each address."""
    return EmailParser(()).parse(Texts.of(values)).forms()


def test_white_space_around_an_address_does_not_count() -> None:
    (form,) = prepare_emails(["\t Anna.Bell@Example.COM \n"])
    assert form == EmailForm("Anna.Bell@example.com", Reason.ACCEPTED, "", "example.com")


# Phone


def random_phones() -> list[tuple[str, str]]:
    """Return (value, region): example numbers of all regions and what chance makes of them."""
    chance = random.Random(20_260_202)
    phones = []
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        examples = [
            phonenumbers.example_number(region),
            phonenumbers.invalid_example_number(region),
        ]
        examples += [
            phonenumbers.example_number_for_type(region, kind)
            for kind in phonenumbers.PhoneNumberType.values()
        ]
        for example in filter(None, examples):
            phones += [(value, region) for value in spellings(example, chance)]
    for code in phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS:
        worldwide = phonenumbers.example_number_for_non_geo_entity(code)
        assert worldwide is not None
        phones += [(value, "US") for value in spellings(worldwide, chance)]
    return phones


def spellings(number: phonenumbers.PhoneNumber, chance: random.Random) -> Iterator[str]:
    formats = phonenumbers.PhoneNumberFormat
    for style in (formats.E164, formats.NATIONAL, formats.INTERNATIONAL, formats.RFC3966):
        yield phonenumbers.format_number(number, style)
    e164 = phonenumbers.format_number(number, formats.E164)
    for _ in range(4):
        at = chance.randrange(2, len(e164))
        yield e164[:at] + str(chance.randrange(10)) + e164[at + 1 :]
    yield e164[:-1]
    yield e164 + "1"
    yield e164 + " ext. 12"


def test_phones_have_the_form_the_library_gives() -> None:
    phones = random_phones()
    forms = prepare_phones([p[0] for p in phones], [p[1] for p in phones], "US")
    told = set()
    for (value, region), form in zip(phones, forms, strict=True):
        told.add(form.reason)
        number = phonenumbers.parse(value, region) if parses(value, region) else None
        valid = number is not None and phonenumbers.is_valid_number(number)
        assert (form.reason is Reason.ACCEPTED) == valid, value
        if number is None:
            assert form.reason is Reason.PHONE_FORMAT
            continue
        if valid:
            assert form.region == phonenumbers.region_code_for_number(number)
            assert form.type == PhoneType(phonenumbers.number_type(number) + 1)
        else:
            how = phonenumbers.is_possible_number_with_reason(number)
            possible = how == phonenumbers.ValidationResult.IS_POSSIBLE
            assert (form.reason is Reason.PHONE_NOT_ASSIGNED) == possible
            assert form.type is None
        if form.normal:
            e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
            assert (form.normal, form.extension) == (e164, number.extension or "")
    assert told == {Reason.ACCEPTED, Reason.PHONE_FORMAT, Reason.PHONE_NOT_ASSIGNED}


def parses(value: str, region: str) -> bool:
    try:
        phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return False
    return True


@settings(max_examples=300)
@given(
    st.one_of(
        st.text(max_size=300), st.text(alphabet="+0123456789 ()-extx;=.#٣３\ud800", max_size=260)
    ),
    st.sampled_from(["", "US", "us", "ZZ", "XX", "DE", "001"]),
)
def test_no_text_makes_a_phone_raise(value: str, region: str) -> None:
    (form,) = prepare_phones([value], [region], "US")
    old_plan = match_key(Channel.PHONE, form.normal) != form.normal
    assert bool(form.normal) == (form.reason is not Reason.PHONE_FORMAT or old_plan)


def test_regions_are_those_of_the_values_or_the_default() -> None:
    forms = prepare_phones(["030 901820", "030 901820", "2" * 251], ["DE", "", ""], "US")
    assert [form.normal for form in forms] == ["+4930901820", "", ""]
    with pytest.raises(ValueError, match="as many"):
        prepare_phones(["1"], [], "US")
    (form,) = prepare_phones(["+1 650 253 0000"], ["AQ"], "US")  # no numbering plan of its own
    assert form.region == "US"


def test_a_number_without_its_area_code_has_no_normal_form() -> None:
    (form,) = prepare_phones(["555-0123"], ["US"], "US")
    assert (form.normal, form.reason) == ("", Reason.PHONE_FORMAT)


def test_numbers_are_shown_as_people_write_them() -> None:
    shown = phone_display("+14155552671", "12")
    assert shown.national == "(415) 555-2671 ext. 12"
    assert shown.international == "+1 415-555-2671 ext. 12"
    assert shown.tel_uri == "tel:+1-415-555-2671;ext=12"
    assert shown.time_zones == ("America/Los_Angeles",)
    assert phone_display("+19999999999").time_zones == ()
    with pytest.raises(InvalidArgument):
        phone_display("nonsense")


def test_display_forms_are_the_librarys() -> None:
    shapes = phonenumbers.PhoneNumberFormat
    compared = 0
    for e164 in example_numbers():
        number = phonenumbers.parse(e164, None)
        for extension in ("", "12"):
            number.extension = extension or None
            shown = phone_display(e164, extension)
            assert shown.national == phonenumbers.format_number(number, shapes.NATIONAL)
            assert shown.international == phonenumbers.format_number(number, shapes.INTERNATIONAL)
            assert shown.tel_uri == phonenumbers.format_number(number, shapes.RFC3966)
            compared += 1
    assert compared > 2_000


def example_numbers() -> Iterator[str]:
    """Yield the example of every region and type, and of every code of no region."""
    examples = [
        phonenumbers.example_number_for_type(region, kind)
        for region in sorted(phonenumbers.SUPPORTED_REGIONS)
        for kind in phonenumbers.PhoneNumberType.values()
    ]
    codes = phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS
    examples += [phonenumbers.example_number_for_non_geo_entity(code) for code in codes]
    for number in examples:
        if number is not None:
            yield phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


# Match keys


@pytest.mark.parametrize(
    ("normal", "key"),
    [
        ("Anna.Bell@example.com", "anna.bell@example.com"),
        ("a.b+shop@gmail.com", "ab@gmail.com"),
        ("A.B@googlemail.com", "ab@gmail.com"),
        ("a.b+c+d@example.com", "a.b@example.com"),
        ("+491511234567@sms.example", "+491511234567@sms.example"),
        ('"A+b"@gmail.com', '"a+b"@gmail.com'),
        ("a@[192.0.2.1]", "a@[192.0.2.1]"),
        ("", ""),
    ],
)
def test_mailboxes_that_are_one_share_a_key(normal: str, key: str) -> None:
    assert match_key(Channel.EMAIL, normal) == key


@pytest.mark.parametrize(
    ("normal", "key"),
    [
        ("+5215512345678", "+525512345678"),
        ("+525512345678", "+525512345678"),
        ("+5491123456789", "+541123456789"),
        ("+541123456789", "+541123456789"),
        ("+5511987654321", "+551187654321"),
        ("+551187654321", "+551187654321"),
        ("+5511934567890", "+5511934567890"),  # without the 9 it would be somebody's fixed line
        ("+14155552671", "+14155552671"),
        ("", ""),
    ],
)
def test_numbers_of_one_subscriber_share_a_key(normal: str, key: str) -> None:
    assert match_key(Channel.PHONE, normal) == key


_LOCALS = ("a.b", "A.b+c", "a-b", "a_b+", "+a", '"a+b"', "a.b-c.d")
_DOMAINS = ("gmail.com", "googlemail.com", "yahoo.com", "ya.ru", "me.com", "x.example", "[1.2.3.4]")


def test_a_key_is_its_own_key() -> None:
    emails = [f"{local}@{domain}" for local in _LOCALS for domain in _DOMAINS]
    phones = random_phones()
    numbers = [
        f.normal for f in prepare_phones([p[0] for p in phones], [p[1] for p in phones], "US")
    ]
    for channel, normals in ((Channel.EMAIL, emails), (Channel.PHONE, numbers)):
        keys = [match_key(channel, normal) for normal in normals]
        assert [match_key(channel, key) for key in keys] == keys
