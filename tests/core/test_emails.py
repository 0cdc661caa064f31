"""The compiled e-mail kernel against its oracle, and what it promises beside."""

from __future__ import annotations

import sys
import threading
from time import process_time

import email_validator
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core import _emails
from service.core._emails import EMAIL_RULES_VERSION, EmailForm, EmailParser, email_key
from service.core._text import Texts
from service.core.model import Reason
from service.core.odd_emails import ADDRESS_LOOKED_AT_CHARS, CASELESS_MAILBOXES
from service.core.providers import PROVIDERS
from service.validation.lists import role_names
from tests.core.agree_emails import BATCH, ROLES, differences, parser, said
from tests.core.email_grammar import DENSE, Grammar
from tests.core.oracle_emails import expected
from tests.fuzz.harness import corpus_of, read_corpus, text_of

SAMPLE = 50_000  # the nightly comparison takes as many as it is told to


def test_the_kernel_says_what_the_library_and_the_rules_say() -> None:
    met: set[int] = set()
    grammar = Grammar(seed=1)
    for _ in range(0, SAMPLE, BATCH):
        values = list(grammar.addresses(BATCH))
        assert differences(values) == []
        met.update(parser().parse(Texts.of(values)).reason)
    assert met == {
        Reason.ACCEPTED,
        Reason.EMAIL_SYNTAX,
        Reason.UNUSUAL_SYNTAX,
        Reason.SPECIAL_USE_DOMAIN,
    }


@settings(max_examples=500)
@given(st.one_of(st.emails(), st.text(max_size=40), st.text('ab.@-+"<[] é＠\u0338', max_size=12)))
def test_any_text_is_judged_as_by_the_library(value: str) -> None:
    assert differences([value]) == []


def test_every_short_text_of_the_special_characters_is_judged_as_by_the_library() -> None:
    texts = [""]
    for _ in range(6):
        texts += [text + character for text in texts[-(6**5) :] for character in 'a@.-x"']
    assert differences(sorted(set(texts))) == []


def test_every_character_is_judged_as_by_the_library_wherever_it_stands() -> None:
    codes = [*range(0x500), *range(0x1680, 0x1690), *range(0x2000, 0x2070), 0x3000, 0xFF0E, 0xFF20]
    shapes = ("{}", "{}a@b.de", "a{}b@c.de", "a@{}b.de", "a@b{}c.de", "a@b.d{}e", "a@b.de{}")
    values = [shape.format(chr(code)) for code in codes for shape in shapes]
    assert differences(values) == []


def test_white_space_is_what_python_strips() -> None:
    spaces = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]
    around = [f"{one}{other}a@b.de{other}{one}" for one in spaces for other in spaces]
    assert {form.normal for form in parser().parse(Texts.of(around)).forms()} == {"a@b.de"}
    assert differences(["".join(spaces), "".join(spaces[:3]) + "@" + "".join(spaces)]) == []


@pytest.mark.parametrize("letter", ["d", "D", "д"])
@pytest.mark.parametrize("top", ["com", "test", "рф", "xn--p1ai", "localhost"])
def test_lengths_are_limited_where_the_library_limits_them(letter: str, top: str) -> None:
    values = []
    for local_chars in (1, 2, 63, 64, 65, 190, 240, 250):
        for label_chars in (30, 63, 64):
            for total in (60, 127, 128, *range(252, 257)):
                rest = max(total - local_chars - 1 - len(top) - 1, 1)
                labels = [letter * label_chars] * (rest // (label_chars + 1))
                labels.append(letter * max(rest % (label_chars + 1), 1))
                values.append(f"{'l' * local_chars}@{'.'.join(labels)}.{top}")
    assert differences(values) == []


@pytest.mark.parametrize("top", ["de", "test"])
def test_a_domain_that_was_accepted_may_be_too_long_for_another_local_part(top: str) -> None:
    domains = [f"{label}.{label}.{top}" for label in DENSE]
    short = [f"a@{domain}" for domain in domains]
    long = [f"{'l' * chars}@{domain}" for chars in (1, 7, 8, 9, 99) for domain in domains]
    # More than the kernel reads before it asks the library.
    values = [*short, *["a@b.de"] * 5_000, *long]
    assert differences(values) == []
    assert len({form.reason for form in parser().parse(Texts.of(long)).forms()}) == 2


@pytest.mark.parametrize("name", [*sorted(CASELESS_MAILBOXES), "mailer-daemon"])
def test_rfc_2142_names_are_the_same_in_any_case(name: str) -> None:
    values = [name.upper() + "@b.de", name.title() + "+X@b.de", f'"{name.upper()}"@b.de']
    assert differences(values) == []


def test_what_the_fuzzer_found_is_judged_as_by_the_library() -> None:
    texts = map(text_of, read_corpus(corpus_of("emails")))
    values = [text for text in texts if text is not None]
    assert len(values) > 100
    assert differences(values) == []


# Columns and buffers


def test_a_batch_is_told_in_columns() -> None:
    found = parser().parse(
        Texts.of([" Info@B.de", "x", "A@[127.0.0.1]", "a+b@c.test", "i@B.DE", '"a b"@ä.de'])
    )
    assert found.normal.strings() == [
        "info@b.de", "", "A@[127.0.0.1]", "a+b@c.test", "i@b.de", '"a b"@xn--4ca.de',
    ]  # fmt: skip
    assert found.keys.strings() == [
        "info@b.de", "", "a@[127.0.0.1]", "a@c.test", "i@b.de", '"a b"@xn--4ca.de',
    ]  # fmt: skip
    assert sorted(found.domains) == ["b.de", "c.test", "xn--4ca.de"]
    domains = [found.domains[number] if number >= 0 else "" for number in found.domain_ids]
    assert domains == ["b.de", "", "", "c.test", "b.de", "xn--4ca.de"]
    assert list(found.reason) == [1, 2, 3, 4, 1, 3]
    assert list(found.role) == [1, 0, 0, 0, 0, 0]
    assert found.details == {1: "An email address must have an @-sign."}
    assert len(found) == 6
    assert found.forms()[3] == EmailForm("a+b@c.test", Reason.SPECIAL_USE_DOMAIN, "", "c.test")


def test_numbers_are_buffers() -> None:
    found = parser().parse(Texts.of(["a@b.de", "x"]))
    views = [memoryview(part) for part in (found.reason, found.domain_ids, found.role)]
    assert [(view.format, view.nbytes) for view in views] == [("B", 2), ("i", 8), ("B", 2)]
    assert views[1].tolist() == [0, -1]


def test_an_empty_batch_is_a_batch() -> None:
    found = parser().parse(Texts.of([]))
    assert (len(found), found.forms(), found.domains, found.details) == (0, [], [], {})


def test_views_are_read_as_lists_are() -> None:
    values = [value for value in Grammar(seed=2).addresses(5_000) if value.isprintable()]
    parts = [value.encode() for value in values]
    offsets = memoryview(
        b"".join(sum(map(len, parts[:i])).to_bytes(4, sys.byteorder) for i in range(len(parts) + 1))
    )
    view = Texts.view(offsets, b"".join(parts), 1_000, len(values) - 1_000)
    assert parser().parse(view).forms() == parser().parse(Texts.of(values)).forms()[1_000:]


def test_bytes_that_are_no_text_are_no_address() -> None:
    for raw in (b"\xff@b.de", b"a@\xc3.de", b"a\xed\xa0@b.de", b"\xf5\x80\x80@b", b"a@b.d\xe2"):
        offsets = b"".join(size.to_bytes(4, sys.byteorder) for size in (0, len(raw)))
        (form,) = parser().parse(Texts.view(offsets, raw, 0, 1)).forms()
        assert (form.normal, form.reason, form.domain) == ("", Reason.EMAIL_SYNTAX, "")
        assert form.detail


def test_a_domain_is_told_once_however_many_there_are() -> None:
    values = [f"a@{number % 5_000}.example.COM" for number in range(20_000)]
    found = parser().parse(Texts.of(values))
    assert found.domains == [f"{number}.example.com" for number in range(5_000)]
    assert list(found.domain_ids) == [number % 5_000 for number in range(20_000)]


def test_roles_are_those_of_the_lists() -> None:
    known = EmailParser(role_names())
    names = sorted(role_names())
    values = [f"{name.title()}@b.de" for name in names] + [f"{name}+x@b.de" for name in names]
    assert set(known.parse(Texts.of(values)).role) == {1}
    locals_ = ("INFO", "no-reply+x", "anna", "+info", '"info"', "info.", "anna.info", '"in fo"')
    found = known.parse(Texts.of([f"{local}@b.de" for local in locals_]))
    assert list(found.role) == [1, 1, 0, 0, 1, 0, 0, 0]


def test_threads_share_a_parser() -> None:
    values = list(Grammar(seed=3).addresses(2_000))
    alone = said(values)
    heard: list[bool] = []
    threads = [
        threading.Thread(target=lambda: heard.append(said(values) == alone)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == [True] * 4


def test_others_run_while_a_batch_is_parsed() -> None:
    texts = Texts.of(["anna.bell@example.com"] * 500_000)
    thread = threading.Thread(target=lambda: parser().parse(texts))
    rounds = 0
    thread.start()
    while thread.is_alive():
        rounds += 1
    assert rounds > 1_000


# The library's words


def test_words_for_a_fault_are_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def look_into(value: str) -> EmailForm:
        asked.append(value)
        return EmailForm("", Reason.EMAIL_SYNTAX, f"what is wrong with {value}", "")

    monkeypatch.setattr(_emails, "look_into", look_into)
    values = ["a\x01\x02@b.de", "\x02c\x01c@d.de", "\x01c@d.de"]
    found = EmailParser(()).parse(Texts.of(values))
    assert asked == ["a\x01\x02@b.de", "\x01c@d.de"]
    assert found.details[0] == found.details[1]


def test_a_fault_that_the_library_does_not_see_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    form = EmailForm("a\x03b@c.de", Reason.ACCEPTED, "", "c.de")
    monkeypatch.setattr(_emails, "look_into", lambda _: form)
    found = EmailParser(()).parse(Texts.of(["a\x03b@c.de"]))
    assert (found.forms(), found.keys[0], found.domains) == ([form], "a\x03b@c.de", ["c.de"])


# Bounds


@pytest.mark.parametrize("text", [*'a.@ "é<\\\ud800', "a.", "a@", "a@b.", '"@', "\u0338"])
def test_time_does_not_grow_faster_than_the_text(text: str) -> None:
    def seconds(chars: int) -> float:
        texts = Texts.of([text * (chars // len(text))] * 10)
        started = process_time()  # others may test beside
        parser().parse(texts)
        return process_time() - started

    assert seconds(ADDRESS_LOOKED_AT_CHARS) < 0.5  # what the library still parses
    assert seconds(1_000_000) < 0.5


def test_many_kinds_of_faults_are_forgotten_in_time() -> None:
    bad = [chr(code) for code in range(32)]
    values = [f"a{one}{two}{three}z@b.de" for one in bad for two in bad for three in bad[:9]]
    assert differences(values) == []


# Match keys


@pytest.mark.parametrize(
    ("normal", "key"),
    [
        ("Anna.Bell@example.com", "anna.bell@example.com"),
        ("a.b+c+d@example.com", "a.b@example.com"),
        ("+491511234567@sms.example", "+491511234567@sms.example"),
        ('"A+b"@gmail.com', '"a+b"@gmail.com'),
        ("a@[192.0.2.1]", "a@[192.0.2.1]"),
        ("", ""),
        ("nobody", "nobody"),
        ("A.B+shop@googlemail.com", "ab@gmail.com"),
        ("a.b@mail.gmail.com", "a.b@mail.gmail.com"),
        ("a.b+x@outlook.com", "a.b@outlook.com"),
        ("a@hotmail.com", "a@hotmail.com"),
        ("a.b+x@mac.com", "a.b@icloud.com"),
        ("A_b-c.d+x@pm.me", "abcd@proton.me"),
        ("_-_@proton.me", "_-_@proton.me"),
        ("a.b@ya.ru", "a.b@yandex.ru"),
        ("a-b@yandex.com", "a-b@yandex.ru"),
        ("x@anna.fastmail.com", "anna@fastmail.com"),
        ("anna+x@fastmail.com", "anna@fastmail.com"),
        ("x@a.b.fastmail.com", "x@a.b.fastmail.com"),
        ("base-shop@yahoo.com", "base-@yahoo.com"),
        ("base@yahoo.com", "base@yahoo.com"),
        ("base-a-b+c@yahoo.de", "base-@yahoo.de"),
        ("base-a@yahoo.co.jp", "base-a@yahoo.co.jp"),
        ("-a@yahoo.com", "-a@yahoo.com"),
        ("a@inbox.ru", "a@inbox.ru"),
        ("İ+x@gmail.com", "i̇@gmail.com"),
    ],
)
def test_mailboxes_that_are_one_share_a_key(normal: str, key: str) -> None:
    assert email_key(normal) == key


def test_a_key_is_its_own_key_and_a_normal_form_its_own_normal_form() -> None:
    forms = parser().parse(Texts.of(list(Grammar(seed=4).addresses(20_000))))
    normals = [normal for normal in forms.normal.strings() if normal]
    keys = [key for key in forms.keys.strings() if key]
    assert parser().parse(Texts.of(normals)).normal.strings() == normals
    assert [email_key(normal) for normal in normals] == keys
    assert [email_key(key) for key in keys] == keys


def test_a_provider_has_a_source_and_names_in_normal_form() -> None:
    for provider in PROVIDERS:
        assert provider.sources
        domains = {*provider.domains, provider.mailbox_domain or provider.domains[0]}
        assert domains == set(provider.domains)
        assert domains == {domain.lower() for domain in domains}
        assert len(provider.keyword) <= 1
    assert EMAIL_RULES_VERSION.startswith("1-")


def test_roles_may_be_any_words() -> None:
    parsed = EmailParser(["ä", "", "x" * 300]).parse(Texts.of(["Ä+b@c.de", "a@c.de"]))
    assert list(parsed.role) == [1, 0]


def test_the_oracle_itself_keeps_to_the_library() -> None:
    """A few verdicts by hand, so that oracle and kernel cannot err together."""
    assert expected("Anna@Example.COM", ROLES)[:4] == (
        "Anna@example.com", Reason.ACCEPTED, "", "example.com",
    )  # fmt: skip
    assert expected("anna@localhost", ROLES).reason is Reason.SPECIAL_USE_DOMAIN
    assert expected("anna@münchen.de", ROLES).domain == "xn--mnchen-3ya.de"
    assert expected("a@b", ROLES).detail.endswith("It should have a period.")
    with pytest.raises(email_validator.EmailNotValidError):
        email_validator.validate_email("a@b", check_deliverability=False)
