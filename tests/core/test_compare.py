"""The comparators: that they agree with their oracle, and what people get of them."""

from __future__ import annotations

import ctypes
import mmap
from array import array
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.core import _compare as kernel
from service.core._text import Texts
from tests.core import oracle_compare as oracle

many = settings(max_examples=2_000, deadline=None)
Pair = tuple[str, str]
BY_TEXTS: tuple[Callable[[Texts, Texts], object], ...] = (
    kernel.jaro_winklers,
    lambda a, b: kernel.edit_counts(a, b, 1),
    lambda a, b: kernel.edit_counts(a, b, 2),
    kernel.word_similarities,
    kernel.number_levels,
    kernel.postcode_levels,
)


def jaro_winkler(a: str, b: str) -> float:
    """Compare two words."""
    return kernel.jaro_winklers(Texts.of([a]), Texts.of([b]))[0]


def edits(a: str, b: str, limit: int) -> int:
    """Compare two texts."""
    return kernel.edit_counts(Texts.of([a]), Texts.of([b]), limit)[0]


def words(a: str, b: str) -> float:
    """Compare two short texts."""
    return kernel.word_similarities(Texts.of([a]), Texts.of([b]))[0]


def numbers(a: str, b: str) -> int:
    """Compare two phone numbers."""
    return kernel.number_levels(Texts.of([a]), Texts.of([b]))[0]


def postcodes(a: str, b: str) -> int:
    """Compare two postcodes."""
    return kernel.postcode_levels(Texts.of([a]), Texts.of([b]))[0]


def dates(a: oracle.Date, b: oracle.Date) -> int:
    """Compare two dates."""
    return kernel.date_levels(*(array("I", [oracle.pack(date)]) for date in (a, b)))[0]


def single(value: float) -> float:
    """Round to what an `array('f')` keeps."""
    return array("f", [value])[0]


# Pairs

FEW = st.text("ab", max_size=12)
NAMES = st.text("abcdeinort", max_size=14)
LONG = st.text("abc", min_size=50, max_size=140)
UNICODE = st.text(max_size=20)
MIXED = st.text("aбå\U00010000\ud800", max_size=10)
TEXT = st.one_of(FEW, NAMES, LONG, UNICODE, MIXED)
DIGITS = st.text("0123456789", max_size=15)


@st.composite
def mutated(draw: st.DrawFn, text: str, letters: str) -> str:
    """Return a copy with up to four typos."""
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        letter = draw(st.sampled_from(letters))
        text = draw(
            st.sampled_from(
                [
                    text[:at] + letter + text[at:],
                    text[:at] + text[at + 1 :],
                    text[:at] + letter + text[at + 1 :],
                    text[:at] + text[at : at + 2][::-1] + text[at + 2 :],
                ]
            )
        )
    return text


@st.composite
def pairs(draw: st.DrawFn, texts: st.SearchStrategy[str] = TEXT, letters: str = "abceiб") -> Pair:
    """Return two texts, near or far."""
    one = draw(texts)
    return (one, draw(mutated(one, letters) if draw(st.booleans()) else texts))


LISTED = """main street str st road rd blvd boulevard haupt hauptstrasse hauptstr 12 12a 14 a m acme
limited ltd gmbh company co международный меж"""
WORD = st.one_of(
    st.sampled_from(LISTED.split()),
    st.text("abst", min_size=1, max_size=6),
)
WORDY = st.lists(WORD, max_size=15).map(" ".join)
POSTCODE = st.one_of(
    st.sampled_from(["sw1a1aa", "sw1a", "ec1a1bb", "m11ae", "10115", "k1a0b6", "1012ab", "dé1"]),
    st.text("abw019", max_size=8),
)


# Agreement with the oracle


@many
@given(pairs())
@example(("martha", "marhta"))
@example(("a" * 63 + "b", "b" + "a" * 63))
@example(("ab" * 40, "ba" * 40))
@example(("ab", "a\0b"))
def test_jaro_winkler_is_that_of_rapidfuzz(pair: Pair) -> None:
    """Of the first 64 letters."""
    assert jaro_winkler(*pair) == single(oracle.jaro_winkler(*pair))


@many
@given(pairs(), st.integers(-1, 12))
@example(("ca", "abc"), 2)
@example(("a" * 300 + "xy", "a" * 300 + "yx"), 1)
@example(("a", "a\0"), 2)
def test_edits_are_those_of_rapidfuzz(pair: Pair, limit: int) -> None:
    """At any limit, in both directions, and where the rest of long texts differs."""
    a, b = pair
    assert edits(a, b, limit) == edits(b, a, limit) == oracle.edits(a, b, limit)


@many
@given(pairs(WORDY, "ab 1"))
@example(("j j", "john j"))
@example(("j john5", "j5 j"))
def test_words_agree_with_the_oracle(pair: Pair) -> None:
    """In both directions."""
    a, b = pair
    assert words(a, b) == words(b, a) == single(oracle.words(a, b))


@many
@given(pairs(UNICODE, "a б"))
def test_words_of_any_letters_agree_with_the_oracle(pair: Pair) -> None:
    """Digits, vowels and blanks are those of ASCII alone."""
    assert words(*pair) == single(oracle.words(*pair))


@many
@given(pairs(DIGITS, "0123456789"))
def test_numbers_agree_with_the_oracle(pair: Pair) -> None:
    """In both directions."""
    a, b = pair
    assert numbers(a, b) == numbers(b, a) == oracle.numbers(a, b)


@many
@given(pairs(POSTCODE, "ab019é"))
def test_postcodes_agree_with_the_oracle(pair: Pair) -> None:
    """In both directions."""
    a, b = pair
    assert postcodes(a, b) == postcodes(b, a) == oracle.postcodes(a, b)


YEAR = st.one_of(st.sampled_from([0, 1980, 1981, 1890, 1908]), st.integers(0, 9999))
DATE = st.tuples(YEAR, st.integers(0, 12), st.integers(0, 31))


@many
@given(DATE, DATE, st.tuples(*[st.sampled_from("abs0")] * 3))
def test_dates_agree_with_the_oracle(a: oracle.Date, b: oracle.Date, parts: list[str]) -> None:
    """Of two dates, and of one with some parts of the other, swapped or unknown."""
    choices = {"a": a, "b": b, "s": (a[0], a[2] % 16, a[1]), "0": (0, 0, 0)}
    mixed = tuple(choices[part][place] for place, part in enumerate(parts))
    for other in (b, (mixed[0], mixed[1], mixed[2])):
        assert dates(a, other) == dates(other, a) == oracle.dates(a, other)


def test_every_slip_in_a_date_is_one() -> None:
    """Each digit replaced, each two neighbours swapped, while it stays a date of any kind."""
    written = "19810724"
    slips = {written[:at] + digit + written[at + 1 :] for at in range(8) for digit in "0123456789"}
    slips |= {written[:at] + written[at + 1] + written[at] + written[at + 2 :] for at in range(7)}
    read = {(int(one[:4]), int(one[4:6]), int(one[6:])) for one in slips}
    found = [dates((1981, 7, 24), one) for one in read if 0 < one[1] < 16 and 0 < one[2] < 32]
    assert found.count(kernel.DATE_TYPO) == len(found) - 1
    assert found.count(kernel.DATE_SAME) == 1


# Columns


@given(st.lists(pairs(st.one_of(NAMES, UNICODE)), max_size=20))
def test_a_column_is_compared_pair_by_pair(rows: list[Pair]) -> None:
    """Also where ASCII texts and others alternate."""
    ones, others = (Texts.of([row[side] for row in rows]) for side in (0, 1))
    assert list(kernel.jaro_winklers(ones, others)) == [jaro_winkler(*row) for row in rows]
    assert list(kernel.edit_counts(ones, others, 2)) == [edits(*row, 2) for row in rows]


@pytest.mark.parametrize("compare", BY_TEXTS)
def test_columns_of_other_lengths_are_refused(compare: Callable[[Texts, Texts], object]) -> None:
    """Nothing is read beyond the shorter."""
    with pytest.raises(ValueError, match="as many"):
        compare(Texts.of(["a", "b"]), Texts.of(["a"]))
    with pytest.raises(ValueError, match="as many"):
        kernel.date_levels(array("I", [1]), array("I"))


def test_nothing_is_read_where_memory_ends() -> None:
    """Short texts are loaded whole: one that ends its page must not touch the next."""
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None).mprotect
    assert protect(ctypes.c_void_p(start + page), ctypes.c_size_t(page), 0) == 0
    text = "12 main street of anywhere 4711"
    memory[page - len(text) : page] = text.encode()
    for size in range(len(text) + 1):
        offsets = array("i", [page - size, page]).tobytes()
        last = Texts.view(offsets, memoryview(memory), 0, 1)
        same, other = (Texts.of([one]) for one in (text[len(text) - size :], text[::-1]))
        assert kernel.jaro_winklers(last, same)[0] == 1.0
        assert kernel.edit_counts(last, same, 2)[0] == 0
        for compare in BY_TEXTS:
            assert compare(last, other) == compare(same, other)
            assert compare(other, last) == compare(other, same)


# What people get


@pytest.mark.parametrize(
    ("a", "b", "least", "most"),
    [
        ("12 main street", "main street 12", 1.0, 1.0),
        ("12 main street", "12 main st", 0.96, 0.97),
        ("12 main street", "12 mian street", 0.96, 0.97),
        ("12 main street", "14 main street", 0.66, 0.67),
        ("12 main street", "main street", 0.81, 0.82),
        ("hauptstrasse 5", "hauptstr 5", 0.95, 0.95),
        ("sunset blvd 7", "7 sunset boulevard", 0.96, 0.97),
        ("j k rowling ltd", "joanne kathleen rowling limited", 0.77, 0.78),
        ("acme", "acme bank", 0.70, 0.71),
        ("acme ltd", "apex ltd", 0.5, 0.5),
        ("main street", "high road", 0.0, 0.0),
        ("", "", 0.0, 0.0),
        (" ", "main street", 0.0, 0.0),
    ],
)
def test_streets_and_companies(a: str, b: str, least: float, most: float) -> None:
    """Order, gaps, abbreviations and typos are forgiven; another house number is not."""
    assert least - 1e-6 <= words(a, b) <= most + 1e-6


def test_words_beyond_the_bound_do_not_count() -> None:
    """Twelve are looked at."""
    assert words("a " * 12 + "b", "a " * 12 + "c") == 1.0
    assert words("a " * 11 + "b", "a " * 11 + "c") < 1.0


@pytest.mark.parametrize(
    ("a", "b", "level"),
    [
        ("2079460018", "2079460018", kernel.NUMBER_SAME),
        ("2079460018", "2079460081", kernel.NUMBER_EDIT),
        ("02079460018", "2079460018", kernel.NUMBER_EDIT),
        ("2079460018", "1619460018", kernel.NUMBER_ENDING),
        ("2079460018", "1614960018", kernel.NUMBER_DIFFERENT),
        ("118118", "118119", kernel.NUMBER_DIFFERENT),
        ("", "118119", kernel.NUMBER_ABSENT),
    ],
)
def test_phone_numbers(a: str, b: str, level: int) -> None:
    """A digit of a short number means too much to be a typo."""
    assert numbers(a, b) == level


@pytest.mark.parametrize(
    ("a", "b", "level"),
    [
        ("sw1a1aa", "sw1a1aa", kernel.POSTCODE_SAME),
        ("sw1a1aa", "sw1a2ab", kernel.POSTCODE_AREA),
        ("sw1a1aa", "sw1a", kernel.POSTCODE_AREA),
        ("sw1a1aa", "sw1b1aa", kernel.POSTCODE_EDIT),
        ("sw1a1aa", "sw1b2ab", kernel.POSTCODE_DIFFERENT),
        ("10115", "10179", kernel.POSTCODE_AREA),
        ("10115", "01115", kernel.POSTCODE_EDIT),
        ("10115", "20095", kernel.POSTCODE_DIFFERENT),
        ("k1a0b6", "k1a1c1", kernel.POSTCODE_AREA),
        ("", "10115", kernel.POSTCODE_ABSENT),
    ],
)
def test_postcodes_of_countries(a: str, b: str, level: int) -> None:
    """British ones by their outward part, others by their first three letters."""
    assert postcodes(a, b) == level


@pytest.mark.parametrize(
    ("a", "b", "level"),
    [
        ((1980, 5, 3), (1980, 5, 3), kernel.DATE_SAME),
        ((1980, 5, 3), (1980, 3, 5), kernel.DATE_SWAPPED),
        ((1980, 5, 3), (1981, 5, 3), kernel.DATE_TYPO),
        ((1980, 5, 3), (1908, 5, 3), kernel.DATE_TYPO),
        ((1980, 5, 31), (1980, 5, 13), kernel.DATE_TYPO),
        ((1980, 5, 3), (1980, 5, 27), kernel.DATE_YEAR_MONTH),
        ((1980, 5, 3), (1980, 11, 3), kernel.DATE_YEAR_DAY),
        ((1980, 5, 3), (1957, 5, 3), kernel.DATE_MONTH_DAY),
        ((1980, 5, 3), (1980, 11, 27), kernel.DATE_YEAR),
        ((1980, 5, 3), (1980, 0, 0), kernel.DATE_COMPATIBLE),
        ((1980, 0, 0), (1980, 0, 0), kernel.DATE_COMPATIBLE),
        ((1980, 5, 0), (1980, 6, 3), kernel.DATE_YEAR),
        ((1980, 0, 0), (1981, 0, 0), kernel.DATE_DIFFERENT),
        ((1980, 5, 3), (1957, 11, 27), kernel.DATE_DIFFERENT),
        ((1980, 5, 3), (0, 0, 0), kernel.DATE_ABSENT),
        ((1980, 0, 0), (0, 5, 3), kernel.DATE_ABSENT),
    ],
)
def test_levels_of_dates(a: oracle.Date, b: oracle.Date, level: int) -> None:
    """From the same to nothing to compare."""
    assert dates(a, b) == level
