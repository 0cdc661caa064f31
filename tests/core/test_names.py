"""The name kernel: what it does by hand-written examples, and that it agrees with its oracle."""

from __future__ import annotations

import random
import struct
import threading
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.people import people
from service.core import _names as kernel
from service.core import name_tables as tables
from service.core._names import (
    CHARACTERS,
    CUT,
    FIRST,
    INITIAL,
    INVERTED,
    LAST,
    MIDDLE,
    PARTICLE,
    PATRONYMIC,
    ROLE,
    SUFFIXED,
    TITLED,
    TOKENS,
    WORD_BYTES,
    WORDS,
    Name,
    full_names,
    split_names,
)
from service.core._text import Texts
from tests.core import oracle_names as oracle
from tests.fuzz import fuzz_names
from tests.fuzz.harness import corpus_of, read_corpus

many = settings(max_examples=1_500, deadline=None)


def whole(text: str) -> Name:
    """Take one whole name apart; the oracle must say the same."""
    name = full_names(Texts.of([text]))[0]
    assert name == oracle.full_name(text)
    return name


def split(first: str, middle: str, last: str) -> Name:
    """Take one name of three columns apart; the oracle must say the same."""
    name = split_names(Texts.of([first]), Texts.of([middle]), Texts.of([last]))[0]
    assert name == oracle.split_name(first, middle, last)
    return name


def flagged(name: Name, flag: int) -> list[str]:
    """Return the tokens that have a flag."""
    return [token.text for token in name.tokens if token.flags & flag]


def share_class(one: str, other: str) -> bool:
    """Tell whether two words may be the same name; the kernel's comparison must say the same."""
    names, others = (whole(word).tokens[0].names for word in (one, other))
    rows = struct.iter_unpack(kernel.LAYOUT, full_names(Texts.of([one, other])).packed())
    assert kernel.share_class(*[row[11] for row in rows]) == bool(set(names) & set(others))
    return bool(set(names) & set(others))


def share_sound(one: str, other: str) -> bool:
    """Tell whether two words share a phonetic key."""
    first, second = whole(one).tokens[0], whole(other).tokens[0]
    return bool({first.sound, first.other} & {second.sound, second.other} - {""})


# Folding


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Щербаков", "shcherbakov"),
        ("Ёлкин Семён", "elkin semen"),
        ("Подъячев Игорь", "podyachev igor"),
        ("Єлизавета Їжак", "ielizaveta izhak"),
        ("Müller", "muller"),
        ("Groß", "gross"),
        ("GROẞ", "gross"),
        ("Łukasz Żółć", "lukasz zolc"),
        ("Þór Guðmundsson", "thor gudmundsson"),
        ("İbrahim Işık", "ibrahim isik"),
        ("ısmail", "ismail"),
        ("Nguyễn Thị", "nguyen thi"),
        ("Γιώργος Σς", "giorgos ss"),
        ("محمد", "mhmd"),
        ("李小龙", "lixiaolong"),
        ("김철수", "gimcheolsu"),
        ("さくら ｻｸﾗ", "sakura sakura"),
        ("Ｊｏｈｎ Ｓｍｉｔｈ", "john smith"),
        ("ﬁona 𝔄nna ①", "fiona anna 1"),
        ("O'Brien O’Brien O´Brien O`Brien", "obrien obrien obrien obrien"),
        ("Anne-Marie", "anne marie"),
        ("Anne–Marie", "anne marie"),
        ("x\u00ady \u200djo\u200dhn", "xy john"),
        ("😀 John 😀", "john"),
        ("\ud800John\udfff", "john"),
        ("\0a\tb\u3000c", "a b c"),
        ("²½", "21 2"),
        ("", ""),
        (" .,- ", ""),
    ],
)
def test_texts_fold_to_latin_letters(text: str, folded: str) -> None:
    """Compatibility forms, case and scripts go; apostrophes vanish, other signs part words."""
    assert whole(text).given == folded


@pytest.mark.parametrize(
    "text",
    [
        "Семёнович Йосип Їжак", "Müller Ångström", "Nguyễn Thị Ngọc", "김철수", "が ぱ",
        "ḍ\u0307a", "ά ῶ ᾧ", "ড় ক়", "\u1e69 \u1e9b\u0323", "עִבְרִית", "ｶﾞﾊﾟ",
    ],
)  # fmt: skip
def test_normalisation_forms_fold_alike(text: str) -> None:
    """Composed or not, and with marks in another order."""
    folded = {whole(unicodedata.normalize(form, text)).given for form in ("NFC", "NFD", "NFKD")}
    assert len(folded) == 1


def test_marks_combine_whatever_stands_between() -> None:
    """U+0327 below does not block U+0308 above, a second mark above does."""
    assert whole("и\u0327\u0306").given == whole("й").given == "y"
    assert whole("и\u0308\u0306").given == "i"


def test_every_character_folds_as_the_oracle_has_it() -> None:
    """The table against the library."""
    characters = [chr(code) for code in range(0x110000) if code % 13 == 0 or code < 0x3400]
    for name, character in zip(full_names(Texts.of(characters)), characters, strict=True):
        assert name.given == oracle.full_name(character).given, hex(ord(character))


def test_all_pairs_that_compose_are_known() -> None:
    """Those of the kernel are looked for where Unicode has them, not everywhere."""
    composed = {}
    for code in range(0x110000):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            pair = tuple(int(part, 16) for part in parts)
            if unicodedata.normalize("NFC", "".join(map(chr, pair))) == chr(code):
                composed[pair] = code
    assert composed == tables.COMPOSITIONS


# Titles


@pytest.mark.parametrize(
    ("text", "given", "apart"),
    [
        ("Mr John Smith", "john smith", "mr"),
        ("Prof. Dr. Anna Weiß", "anna weiss", "prof dr"),
        ("Herr Dipl.-Ing. Groß", "gross", "herr dipl ing"),
        ("Mme Curie", "curie", "mme"),
        ("Sra. García", "garcia", "sra"),
        ("г-н Иван Петров", "ivan petrov", "g n"),
        ("д-р Петренко", "petrenko", "d r"),
        ("John Smith Jr.", "john smith", "jr"),
        ("John Smith III", "john smith", "iii"),
        ("Smith Jr., John", "john smith", "jr"),
        ("Smith, Dr. John, PhD", "john smith", "dr phd"),
        ("Jane Roe, Ph.D., M.D.", "jane roe", "ph d m d"),
        ("к.ф.-м.н. Ольга Коваль", "olga koval", "k f m n"),
        ("João Silva Filho", "joao silva", "filho"),
        # What could be a title and is a name.
        ("Herr", "herr", ""),
        ("Mr", "mr", ""),
        ("M. D. Smith", "m d smith", ""),
        ("Jr Ewing", "jr ewing", ""),
        ("Senior", "senior", ""),
        ("Neto", "neto", ""),
        ("Hon Lee", "hon lee", ""),
    ],
)
def test_titles_are_set_apart(text: str, given: str, apart: str) -> None:
    """At the ends of a name, and never so that none is left."""
    name = whole(text)
    assert (name.given, name.apart) == (given, apart)
    assert bool(name.flags & (TITLED | SUFFIXED)) == bool(apart)


def test_titles_of_columns_are_set_apart() -> None:
    """A first name may be only a title, a last name never is."""
    assert split("Dr. Anna", "", "Frau").given == "anna frau"
    assert split("Mr.", "", "Smith").given == "smith"
    assert split("Herr", "", "").given == "herr"
    assert split("Sammy", "", "Davis Jr").apart == "jr"


def test_titles_tell_generation_and_gender() -> None:
    """Father and son differ in nothing else."""
    generations = ["John Smith", "John Smith Sr", "John Smith Jr", "John Smith II", "J Smith IV"]
    assert [whole(text).generation for text in generations] == [0, 1, 2, 2, 4]
    texts = ["A Lee", "Mr A Lee", "Frau A Lee", "Dr. A Lee", "Иван Петрович Ли", "Ganna Petrivna"]
    assert [whole(text).gender for text in texts] == [0, 1, 2, 0, 1, 2]


# Tokens


def test_a_comma_shows_the_family_name() -> None:
    """It goes last, as others write it."""
    name = whole("van der Berg, Jan Pieter")
    assert name.given == "jan pieter van der berg"
    assert name.ordered == "berg der jan pieter van"
    assert [token.flags & ROLE for token in name.tokens] == [FIRST, FIRST, LAST, LAST, LAST]
    assert name.flags & INVERTED
    assert not whole("Smith, Jr.").flags & INVERTED


def test_columns_give_roles() -> None:
    """Each token knows its column."""
    name = split("Anna Maria", "de", "Cruz")
    assert [token.flags & ROLE for token in name.tokens] == [FIRST, FIRST, MIDDLE, LAST]


def test_order_makes_no_difference_to_the_sorted_form() -> None:
    """Swapped columns, a comma, another order: one hash."""
    names = [split("John", "A", "Smith"), split("Smith", "A.", "John"), whole("A SMITH, john")]
    assert len({name.sorted for name in names}) == 1
    assert len({name.ordered for name in names}) == 1
    assert len({name.exact for name in names}) == 2


def test_initials() -> None:
    """A letter of a script with case, or what a full stop shortens."""
    assert flagged(whole("J.R.R. Tolkien"), INITIAL) == ["j", "r", "r"]
    assert flagged(whole("Ю. А. Гагарин"), INITIAL) == ["yu", "a"]
    assert flagged(whole("Щ Петров"), INITIAL) == ["shch"]
    assert flagged(whole("Chr. Hansen"), INITIAL) == ["chr"]
    assert flagged(whole("Bo Li"), INITIAL) == []
    assert flagged(whole("李 伟"), INITIAL) == []
    assert flagged(whole("김 1"), INITIAL) == []


def test_particles() -> None:
    """Within a family name, not where the word is a name itself."""
    assert flagged(whole("Ludwig van Beethoven"), PARTICLE) == ["van"]
    assert flagged(whole("Van Morrison"), PARTICLE) == []
    assert flagged(split("Vincent", "", "van Gogh"), PARTICLE) == ["van"]
    assert flagged(split("Charles", "", "de la Cruz y Soto"), PARTICLE) == ["de", "la", "y"]
    assert flagged(whole("Osama bin Said al-Masri"), PARTICLE) == ["bin", "al"]
    assert flagged(whole("Jan Van"), PARTICLE) == []
    assert flagged(split("Maria", "E.", "Silva"), PARTICLE) == []


@pytest.mark.parametrize(
    ("text", "patronymic"),
    [
        ("Иван Петрович Сидоров", ["petrovich"]),
        ("Абрамович Роман Аркадьевич", ["arkadevich"]),
        ("Роман Аркадьевич Абрамович", ["arkadevich"]),
        ("Roman Abramovich", []),
        ("Анна Петровна", ["petrovna"]),
        ("Наталія Сергіївна Коваль", ["sergiivna"]),
        ("Іван Петрович Коваль", ["petrovich"]),
        ("Таццяна Іванаўна Шэўчык", ["ivanauna"]),
        ("Лев Ильич Кац", ["ilich"]),
        ("Vladimir Vladimirowitsch Iwanow", ["vladimirowitsch"]),
        ("Сидоров, Иван Петрович", ["petrovich"]),
        ("Björk Guðmundsdóttir", []),
        ("Jón Gunnar Sigurðsson", []),
        ("Anna Maria Ulrich", []),
    ],
)
def test_patronymics(text: str, patronymic: list[str]) -> None:
    """By ending and place; surnames end so as well."""
    assert flagged(whole(text), PATRONYMIC) == patronymic


def test_patronymics_of_columns() -> None:
    """A middle name, or the second word of a first name."""
    assert flagged(split("Иван", "Ильич", "Петрович"), PATRONYMIC) == ["ilich"]
    assert flagged(split("Anna Petrovna", "", "Abramovich"), PATRONYMIC) == ["petrovna"]


# Nicknames and sounds


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Саша", "Александр"), ("Саша", "Александра"), ("Sasha", "Oleksandr"), ("Alex", "Alexis"),
        ("Alex", "Алексей"), ("Ваня", "Ivan"), ("Женя", "Yevgeniya"), ("Дима", "Dmitry"),
        ("Dmitrij", "Митя"), ("Катя", "Yekaterina"), ("Наталія", "Наташа"), ("Michael", "Mikhail"),
        ("Bob", "Robert"), ("Bill", "William"), ("Peggy", "Margaret"), ("Wm", "William"),
        ("Paco", "Francisco"), ("Pepe", "José"), ("Chema", "José-María"), ("Nacho", "Ignacio"),
        ("Uschi", "Ursula"), ("Sepp", "Josef"), ("Hannes", "Johannes"), ("Resi", "Therese"),
        ("Manu", "Emmanuelle"), ("Jeannot", "Jean"), ("Véro", "Véronique"), ("Fred", "Frédéric"),
        ("Beppe", "Giuseppe"), ("Kasia", "Katarzyna"), ("Md", "Muhammad"), ("محمد", "Mohamed"),
    ],
)  # fmt: skip
def test_nicknames_share_a_class_with_their_names(one: str, other: str) -> None:
    """In English, Russian, Ukrainian, Spanish, German, French and a little Italian and Polish."""
    assert share_class(one, other) or share_class(one, other.replace("-", ""))


@pytest.mark.parametrize(
    ("one", "other"),
    [("Jürgen", "Georg"), ("John", "Juan"), ("Саша", "Сергей"), ("Tom", "Bob"), ("Xu", "Xu")],
)
def test_other_names_share_no_class(one: str, other: str) -> None:
    """Also not an unknown name with itself: its text says more."""
    assert not share_class(one, other)


@pytest.mark.parametrize(
    "spellings",
    [
        "Щербаков Shcherbakov Scherbakov Schtscherbakow Chtcherbakov",
        "Чайковский Tchaikovsky Tschaikowski Chaykovskiy",
        "Жуков Zhukov Jukov Žukov Zukov",
        "Иванов Ivanov Iwanow",
        "Юлия Yulia Julia Iuliia",
        "Елена Elena Yelena",
        "Petrović Petrovic Petrovich Petrovitch",
        "Kowalski Kovalsky",
        "Müller Mueller Muller Miller",
        "Meyer Meier Maier Mayr",
        "Schmidt Schmitt Smith",
        "Hoffmann Hofmann",
        "Philip Phillip Filip Philippe",
        "Catherine Katherine Kathryn",
        "Gonzalez Gonzales",
        "Thompson Thomson",
        "Muhammad Mohammed محمد Mehmet",
        "Wright Right",
        "Schwarz Schwartz",
    ],
)
def test_spellings_of_a_name_sound_alike(spellings: str) -> None:
    """Across scripts and the romanisations of several languages."""
    first, *others = spellings.split()
    assert [other for other in others if not share_sound(first, other)] == []


def test_any_two_sets_of_classes_are_compared_as_sets() -> None:
    """A sample of all pairs of listed words; a word of no class is alike to none."""
    words = sorted(word.decode() for word, listed in tables.WORDS.items() if listed.names)
    sets = [set(tables.WORDS[word.encode()].names) for word in words]
    rows = struct.iter_unpack(kernel.LAYOUT, full_names(Texts.of(words)).packed())
    numbers = [row[11] for row in rows]
    rng = random.Random(13)
    for i, j in [(rng.randrange(len(words)), rng.randrange(len(words))) for _ in range(200_000)]:
        assert kernel.share_class(numbers[i], numbers[j]) == (not sets[i].isdisjoint(sets[j]))
    assert not kernel.share_class(0, 0)
    assert not kernel.share_class(1, 65_535)


def test_other_names_sound_otherwise() -> None:
    """A key that were the same for all would serve nothing."""
    keys = [
        whole(text).tokens[0].sound for text in ("Anna", "Emma", "Ivan", "Juan", "Smith", "Lee")
    ]
    assert len(set(keys)) == len(keys)


# Bounds


def test_bounds_are_said_to_be_reached() -> None:
    """And what is within them is the same."""
    long = "Ж" * 300
    assert whole(long).flags & CUT
    assert whole(long).given == "zh" * (WORD_BYTES // 2)
    assert whole(" " * CHARACTERS + "x").given == ""
    assert whole("x " * (TOKENS + 1)).flags & CUT
    assert whole("x " * (TOKENS + 1)).given == " ".join("x" * TOKENS)
    assert not whole("x " * TOKENS).flags & CUT
    assert whole("dr " * (WORDS + 1) + "x").flags & CUT
    assert split("x " * 30, "y " * 30, "z " * 30).flags & CUT


def test_bytes_that_are_no_text_part_words() -> None:
    """An Arrow array may hold anything."""
    broken = b"Jo\xffhn \xc3(\xe2\x82 \xf4\x90\x80\x80\xc0\x80 Smith\xf0\x9f"
    view = Texts.view(struct.pack("ii", 0, len(broken)), broken, 0, 1)
    assert full_names(view)[0].given == "jo hn smith"


def test_columns_must_be_of_one_length() -> None:
    """Rows could not be told otherwise."""
    with pytest.raises(ValueError, match="as many"):
        split_names(Texts.of(["a"]), None, Texts.of([]))
    with pytest.raises(ValueError, match="as many"):
        split_names(Texts.of(["a"]), Texts.of([]), Texts.of(["a"]))
    assert split_names(Texts.of(["a"]), None, Texts.of(["b"]))[0].given == "a b"


# What others read


def test_records_are_laid_out_as_said() -> None:
    """The buffer that kernels and stores see."""
    texts = ["Dr. Саша van Dam", "", "Smith, John A., III"]
    names = full_names(Texts.of(texts))
    rows = list(struct.iter_unpack(kernel.LAYOUT, names.packed()))
    assert struct.calcsize(kernel.LAYOUT) == 128
    for row, name in zip(rows, names, strict=True):
        exact, sorted_, size, _, count, flags, generation, gender, order, *tokens = row
        assert (exact, sorted_, size) == (name.exact, name.sorted, len(name.given))
        assert (count, flags, generation, gender) == (len(name.tokens), *name[1:4])
        assert tuple(order[:count]) == name.order
        for i, token in enumerate(name.tokens):
            assert tokens[5 * i : 5 * i + 2] == [len(token.text), token.flags]
    assert {row[3] for row in rows} == {rows[0][3]}
    assert names.given.strings() == [name.given for name in names]
    assert names.ordered.strings() == [name.ordered for name in names]
    assert names.apart.strings() == ["dr", "", "iii"]


def test_the_lists_say_what_they_seem_to() -> None:
    """No doubled rule, no rule that another one hides, no patronymic that is a surname's ending."""
    places = [(rule.before, rule.spelling, rule.after) for rule in tables.SOUNDS]
    assert len(set(places)) == len(places)
    for i, (before, spelling, after) in enumerate(places):
        hiding = [
            (other_before, other, other_after)
            for other_before, other, other_after in places[:i]
            if spelling.startswith(other)
            and other_before in {"*", before}
            and (other_after == "*" or (other, other_after) == (spelling, after))
        ]
        assert not hiding, (before, spelling, after)
    assert all(0 < len(word) <= WORD_BYTES for word in tables.WORDS)


def test_tables_are_made_by_one_thread_of_many() -> None:
    """Threads meet new characters at the same time."""
    texts = [chr(0x13000 + 64 * i) + chr(0x4E00 + 97 * i) for i in range(64)]
    expected = [oracle.full_name(text).given for text in texts]
    found: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: found.append(full_names(Texts.of(texts)).given.strings()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


# Any text

_listed = st.sampled_from(sorted(word.decode() for word in tables.WORDS))
_between = st.sampled_from([" ", " ", " ", ", ", ".", ". ", "-", ".-", "..-", "'", "\u3000", "´"])
_odd = st.sampled_from(
    "ßİıŁøñйёїщъьґў½№ﷺﬁⅧ😀ー・가ㄱᅡᆨᄀが\u3099\u0301\u0308\u0327\u200d\ud800\udc00\0𝔄ᾧ்"
)
_texts = (
    st.text()
    | st.text(_odd, max_size=12)
    | st.lists(_listed | st.text(max_size=3) | _odd | _between, max_size=14).map("".join)
    | st.tuples(_listed, _between, _listed, _between, _listed, _between).map("".join)
)


@many
@given(_texts)
def test_any_name_is_taken_apart_as_the_oracle_does(text: str) -> None:
    """Whatever the text."""
    whole(text)


@many
@given(_texts, _texts, _texts)
def test_any_columns_are_taken_apart_as_the_oracle_does(first: str, middle: str, last: str) -> None:
    """Whatever the texts."""
    split(first, middle, last)


def test_generated_people_are_taken_apart_as_the_oracle_does() -> None:
    """A hundred thousand names of many countries, in columns and written in many ways."""
    rows = [
        (person.first_name, person.middle_name, person.last_name, person.title)
        for person in people(14_000, seed=11)
        if not person.company
    ]
    columns = [Texts.of([row[i] for row in rows]) for i in range(3)]
    for row, name in zip(rows, split_names(*columns), strict=True):
        assert name == oracle.split_name(*row[:3])
    texts = [text for row in rows for text in _written(*row)]
    assert len(rows) + len(texts) > 100_000
    for text, name in zip(texts, full_names(Texts.of(texts)), strict=True):
        assert name == oracle.full_name(text)


def _written(first: str, middle: str, last: str, title: str) -> tuple[str, ...]:
    whole_name = f"{title} {first} {middle} {last}"
    return (
        whole_name,
        whole_name.upper(),
        unicodedata.normalize("NFD", whole_name),
        f"{last} {first} {middle}",
        f"{last}, {first} {middle}",
        f"{last}, {first[:1]}. {middle[:1]}.",
        f"{first}-{middle}{last}, Jr.",
    )


def test_inputs_of_the_fuzzer_are_taken_apart_as_the_oracle_does() -> None:
    """What once reached new code."""
    kept = read_corpus(corpus_of("names"))
    assert len(kept) > 20
    assert [found for found in map(fuzz_names.difference, kept) if found] == []


def test_other_texts_are_folded_as_names_are_but_keep_all_words() -> None:
    texts = ["Große Straße 12a", "Dr. Who Jr. GmbH & Co.", "ул. Ленина, 5", "", "Cafe\u0301"]
    folded = kernel.fold(Texts.of(texts)).strings()
    assert folded == ["grosse strasse 12a", "dr who jr gmbh co", "ul lenina 5", "", "cafe"]
