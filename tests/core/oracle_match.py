"""What the matching kernel must say of two people, slowly and plainly; and such people."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import log2

import numpy as np
from rapidfuzz.distance import OSA, JaroWinkler

from benchmarks.worlds import Row
from service.core import _compare, _names, _phones
from service.core import _match as k
from service.core._emails import EmailParser
from service.core._features import RARITY_UNITS, Packed, pack
from service.core._names import Name, Token
from service.core._text import Column, Texts
from service.transfer import words
from tests.core.oracle_compare import Date
from tests.core.oracle_compare import pack as pack_date

GENDERS = {"male": 1, "female": 2}
NOWHEN = (0, 0, 0)
NAME_LETTERS = 4  # of a name that is looked for in an e-mail


@dataclass(frozen=True, slots=True)
class Person:
    """One record, as plain as it is compared: folded texts and match keys."""

    first: str = ""
    middle: str = ""
    last: str = ""
    gender: int = 0
    birth: Date = NOWHEN
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    street: str = ""
    city: str = ""
    postcode: str = ""
    company: str = ""
    extras: tuple[str, ...] = ()


def from_rows(rows: Sequence[Row]) -> list[Person]:
    """Read what a made-up world has written."""
    size = range(len(rows))

    def column(name: str) -> Texts:
        return Texts.of([row.get(name, "") for row in rows])

    emails = EmailParser(()).parse(column("email")).keys
    regions = _phones.region_ids(column("country"))
    phones = _phones.parse(column("phone"), regions, _phones.region_id("US")).keys()
    street, city, postcode, company = (
        _names.fold(column(name)) for name in ("street", "city", "postcode", "company")
    )
    return [
        Person(
            rows[i]["first_name"],
            rows[i].get("middle_name", ""),
            rows[i]["last_name"],
            GENDERS.get(words.gender(rows[i].get("gender", "")) or "", 0),
            _birth(rows[i]["birth_date"]),
            (emails[i],) if emails[i] else (),
            (phones[i],) if phones[i] else (),
            street[i],
            city[i],
            postcode[i].replace(" ", ""),
            company[i],
        )
        for i in size
    ]


def _birth(text: str) -> Date:
    date = words.date(text)
    return (date.year or 0, date.month or 0, date.day or 0) if date else NOWHEN


def names_of(people: Sequence[Person]) -> _names.Names:
    """Return the names as the kernel reads them."""
    fields = ([getattr(one, part) for one in people] for part in ("first", "middle", "last"))
    first, middle, last = (Texts.of(field) for field in fields)
    return _names.split_names(first, middle, last)


def packed(people: Sequence[Person], are_texts: bytes = b"") -> Packed:
    """Return what the kernel compares, not yet weighed."""
    made = Packed()
    pack(
        made,
        names_of(people),
        np.array([pack_date(one.birth) for one in people], np.uint32),
        np.array([one.gender for one in people], np.uint8),
        _columns([one.emails for one in people]),
        _columns([one.phones for one in people]),
        [
            column_of([getattr(one, part) for one in people])
            for part in ("street", "city", "postcode", "company")
        ],
        _columns([one.extras for one in people], len(are_texts)),
        are_texts,
    )
    return made


def _columns(cells: Sequence[tuple[str, ...]], least: int = 0) -> list[Column]:
    width = max([least, *map(len, cells)])
    return [column_of([row[i] if i < len(row) else "" for row in cells]) for i in range(width)]


def column_of(texts: Iterable[str]) -> Column:
    made = Column()
    for text in texts:
        made.add(text)
    return made


# Levels


def levels(one: Person, other: Person, are_texts: bytes = b"") -> list[int]:
    """Return the level of each field."""
    names = names_of([one, other])
    made = [k.ABSENT] * k.FIELDS
    genders = [_gender(*pair) for pair in zip((one, other), names, strict=True)]
    made[k.F_GENDER] = _equal(*genders)
    made[k.F_GENERATION] = _equal(*(name.generation for name in names))
    made[k.F_BIRTH] = birth_level(one.birth, other.birth)
    local = [_is_named(*pair) for pair in zip((one, other), names, strict=True)]
    made[k.F_EMAIL] = max(
        (email_level(a, b, *local) for a, b in product(one.emails, other.emails)), default=k.ABSENT
    )
    first, last, made[k.F_MIDDLE], made[k.F_ORDER] = name_levels(*names)
    if made[k.F_EMAIL] < k.E_LOCAL:
        if first <= k.N_INITIAL and _has_name_of((one, other), names, _names.FIRST):
            first = k.N_ALIAS
        if last <= k.N_SOUND and _has_name_of((one, other), names, _names.LAST):
            last = k.N_INITIAL
    made[k.F_FIRST], made[k.F_LAST] = first, last
    made[k.F_YEAR] = year_level(one, other, made[k.F_EMAIL])
    made[k.F_PHONE] = max(
        (phone_level(a, b) for a, b in product(one.phones, other.phones)), default=k.ABSENT
    )
    made[k.F_PLACE] = place_level(one, other)
    made[k.F_STREET] = street_level(one.street, other.street)
    made[k.F_COMPANY] = text_level(one.company, other.company, True)
    for i, (a, b) in enumerate(zip(one.extras, other.extras, strict=False)):
        made[k.F_EXTRA + i] = text_level(a, b, bool(are_texts[i]))
    return made


def _equal(one: int, other: int) -> int:
    if not one or not other:
        return k.ABSENT
    return k.SAME if one == other else k.DIFFERENT


def _gender(person: Person, name: Name) -> int:
    return person.gender or (name.gender if name.gender <= 2 else 0)


def name_levels(one: Name, other: Name) -> tuple[int, int, int, int]:
    """Return the levels of first, last and middle names, and in which order they are the same."""
    firsts, middles, lasts = (
        (_tokens(one, role), _tokens(other, role))
        for role in (_names.FIRST, _names.MIDDLE, _names.LAST)
    )
    first, last, order = best(*firsts), last_level(*lasts), k.ABSENT
    second = [tokens[1] for tokens in firsts if len(tokens) > 1]
    if first >= k.N_ALIAS and len(second) == 2 and not any(map(_is_initial, second)):
        first = k.N_SIMILAR if token_level(*second) == k.DIFFERENT else first
    if k.ABSENT < first <= k.N_SIMILAR:
        crossed = best(middles[0], firsts[1]), best(firsts[0], middles[1])
        first = k.N_ALIAS if max(crossed) >= k.N_ALIAS else first
    if all(firsts) and all(lasts):
        order = 1
        few, many = sorted(
            (token_level(firsts[0][0], lasts[1][0]), token_level(lasts[0][0], firsts[1][0]))
        )
        plain = first + last <= 3 and few >= k.N_SIMILAR and many >= k.N_TYPO
        if max(first, last) <= k.N_INITIAL and (few >= k.N_TYPO or plain):
            first, last, order = few, many, 2
    return first, last, best(*middles), order


def _has_name_of(people: Sequence[Person], names: _names.Names, role: int) -> bool:
    """Tell whether an e-mail of one has the first or last name of the other."""
    for person, name in zip(people, (names[1], names[0]), strict=True):
        token = next(iter(_tokens(name, role)), None)
        if token and len(token.text) >= NAME_LETTERS:
            for email in person.emails:
                if token.text in email.split("@")[0]:
                    return True
    return False


def _tokens(name: Name, role: int) -> list[Token]:
    return [
        token
        for token in name.tokens
        if token.flags & _names.ROLE == role and not token.flags & _names.PARTICLE
    ][:4]


def _is_initial(token: Token) -> bool:
    return bool(token.flags & _names.INITIAL)


def token_level(a: Token, b: Token) -> int:
    """Go through the levels, the best first, but that an initial has no other."""
    short = min(len(a.text), len(b.text))
    if _is_initial(a) or _is_initial(b) or short == 1:
        return k.N_INITIAL if a.text[0] == b.text[0] else k.DIFFERENT
    if a.text == b.text:
        return k.N_SAME
    if {*a.names} & {*b.names}:
        return k.N_ALIAS
    sounds = bool(({a.sound, a.other} & {b.sound, b.other}) - {""})
    if OSA.distance(a.text, b.text) <= (0 if short < 4 else 1 if short < 7 else 2):
        given = all(token.flags & _names.ROLE != _names.LAST for token in (a, b))
        return k.N_SIMILAR if given and a.names and b.names and not sounds else k.N_TYPO
    if sounds:
        return k.N_SOUND
    near = JaroWinkler.similarity(a.text, b.text) >= 0.85
    return k.N_SIMILAR if near else k.DIFFERENT


def best(ones: Sequence[Token], others: Sequence[Token]) -> int:
    """Compare each with each; the same word in second place is no more than a form of it."""
    return max(
        (
            min(token_level(a, b), k.N_SAME if i == j == 0 else k.N_ALIAS)
            for (i, a), (j, b) in product(enumerate(ones), enumerate(others))
        ),
        default=k.ABSENT,
    )


def last_level(ones: Sequence[Token], others: Sequence[Token]) -> int:
    """Compare family names of one or several words."""
    few, many = sorted((ones, others), key=len)
    if not few:
        return k.ABSENT
    table = [[token_level(a, b) for b in many] for a in few]
    found = [max(row) for row in table]
    top = max(found)
    if len(few) == len(many):
        worst = min(found + [max(column) for column in zip(*table, strict=True)])
        return k.N_INITIAL if worst < k.N_TYPO <= top else worst
    if top >= k.N_TYPO:
        return k.N_INITIAL
    return top if top < k.N_INITIAL else k.N_SIMILAR


def birth_level(one: Date, other: Date) -> int:
    """Translate the level of two dates; one without a day may be of the same year."""
    if not any(one) or not any(other):
        return k.ABSENT
    level = _compare.date_levels(*(array("I", [pack_date(date)]) for date in (one, other)))[0]
    if level == _compare.DATE_YEAR:
        vague = any(day == 0 or (month, day) == (1, 1) for _, month, day in (one, other))
        return k.B_YEAR if vague else k.DIFFERENT
    return {
        _compare.DATE_SAME: k.B_SAME,
        _compare.DATE_SWAPPED: k.B_SWAPPED,
        _compare.DATE_TYPO: k.B_DIGIT,
        _compare.DATE_YEAR_MONTH: k.B_TWO,
        _compare.DATE_YEAR_DAY: k.B_TWO,
        _compare.DATE_MONTH_DAY: k.B_DAY_MONTH,
        _compare.DATE_COMPATIBLE: k.B_YEAR,
    }.get(level, k.DIFFERENT)


def _is_named(person: Person, name: Name) -> dict[str, bool]:
    return {email: is_named(email.split("@")[0], name) for email in person.emails}


def is_named(local: str, name: Name) -> bool:
    """Tell whether a local part has no more than two letters that are not of the name."""
    letters = len(re.findall("[a-z]", local))
    held = (token.text for token in name.tokens if token.text in local and len(token.text) >= 3)
    covered = sum(map(len, held))
    return covered > 0 and letters <= covered + 2


def email_level(
    one: str, other: str, named_one: dict[str, bool], named_other: dict[str, bool]
) -> int:
    """Go through the levels; an address after the own name says little at another provider."""
    a, b = (email.split("@")[0] for email in (one, other))
    named = named_one[one], named_other[other]
    if one == other:
        return k.E_SAME
    if a == b:
        return k.E_NAMED if all(named) and not re.search(r"\d", a) else k.E_LOCAL
    if min(len(a), len(b)) < 6 or OSA.distance(a, b) > 2:
        return k.DIFFERENT
    bare = (re.sub("[^a-z]", "", text) for text in (a, b))
    return k.E_DIGITS if any(named) or len({*bare}) == 1 else k.E_NEAR


def phone_level(one: str, other: str) -> int:
    """Translate the level of two numbers."""
    digits = [[re.sub(r"\D", "", text).lstrip("0")] for text in (one, other)]
    level = _compare.number_levels(*map(Texts.of, digits))[0]
    return {
        _compare.NUMBER_SAME: k.P_SAME,
        _compare.NUMBER_EDIT: k.P_NEAR,
        _compare.NUMBER_ENDING: k.P_TAIL,
    }.get(level, k.DIFFERENT)


def year_level(one: Person, other: Person, email: int) -> int:
    """Compare years in e-mails with the other's birth, and with each other."""
    if any(one.birth) and any(other.birth):
        return k.ABSENT
    births = [{f"{year % 100:02}"} if year else set() for year, *_ in (one.birth, other.birth)]
    years = [{*filter(None, map(year_in, person.emails))} for person in (one, other)]
    met = [(years[0], births[1]), (years[1], births[0])]
    if 0 < email < k.E_LOCAL:
        met.append((years[0], years[1]))
    compared = [(a, b) for a, b in met if a and b]
    if not compared:
        return k.ABSENT
    return k.SAME if any(a & b for a, b in compared) else k.DIFFERENT


def year_in(email: str) -> str:
    """Return the last two digits of the year that a local part ends in."""
    found = re.search(r"(?<!\d)(?:19|20)?(\d\d)$", email.split("@")[0], re.ASCII)
    return found[1] if found else ""


def place_level(one: Person, other: Person) -> int:
    """Compare postcodes, and cities where one has none."""
    a, b = one.postcode, other.postcode
    same_city = bool(one.city) and one.city == other.city
    if a and b:
        if a == b:
            return k.L_SAME
        if OSA.distance(a, b) == 1:
            return k.L_NEAR
        if same_city:
            return k.L_CITY
        level = _compare.postcode_levels(Texts.of([a]), Texts.of([b]))[0]
        return k.L_PREFIX if level == _compare.POSTCODE_AREA else k.DIFFERENT
    if not one.city or not other.city:
        return k.ABSENT
    near = min(len(one.city), len(other.city)) >= 4 and OSA.distance(one.city, other.city) <= 1
    return k.L_CITY if same_city or near else k.DIFFERENT


def street_level(one: str, other: str) -> int:
    """Compare the words, and the first of them that begins with a digit."""
    if not one or not other:
        return k.ABSENT
    if one == other:
        return k.S_SAME
    numbers = {_house_number(street) for street in (one, other)}
    same_number = len(numbers) == 1 and numbers != {""}
    likeness = _likeness(one, other)
    if likeness >= 0.6 and _has_own_word(one, other) and _has_own_word(other, one):
        likeness = 0
    if same_number and likeness >= 0.75:
        return k.S_NEAR
    if likeness >= 0.6:
        return k.S_STREET
    return k.S_NUMBER if same_number else k.DIFFERENT


def _has_own_word(one: str, other: str) -> bool:
    """Tell whether a street has a longer word that is none of the other's."""
    long = [word for word in one.split(" ") if len(word) >= 4 and word[0] not in "0123456789"]
    return any(not any(_is_word_like(word, b) for b in other.split(" ") if b) for word in long)


def _is_word_like(a: str, b: str) -> bool:
    short = min(len(a), len(b))
    if a[0] == b[0] and (a[:short] == b[:short] or (len(a) != len(b) and a[-1] == b[-1])):
        return True
    return OSA.distance(a, b) <= (2 if short >= 7 else 1)


def _house_number(street: str) -> str:
    return next((word for word in street.split(" ") if re.match("[0-9]", word)), "")


def _likeness(one: str, other: str) -> float:
    return _compare.word_similarities(Texts.of([one]), Texts.of([other]))[0]


def text_level(one: str, other: str, is_text: bool) -> int:
    """Compare companies, or cells of a column that is not known."""
    if not one or not other:
        return k.ABSENT
    if one == other:
        return k.C_SAME
    likeness = _likeness(one, other) if is_text else 0.0
    return k.C_NEAR if likeness >= 0.8 else k.C_PART if likeness >= 0.5 else k.DIFFERENT


# Rarity


USUAL_RECORDS = 100  # that what is usual at large counts for
USUAL = {"birth": 5e-5, "company": 0.001, "point": 1e-6}  # shares of one value


def rarity(total: int, count: int, usual: float) -> int:
    """Return what sharing a value says that so many of all have."""
    share = (count - 1 + USUAL_RECORDS * usual) / (total + USUAL_RECORDS)
    return min(255, int(-RARITY_UNITS * log2(share)))


def rarities_of(values: Sequence[str | Date], usual: float) -> list[int]:
    """Return the rarity of each value among those that are there."""
    counts = Counter(value for value in values if value not in ("", NOWHEN))
    return [rarity(counts.total(), counts[one], usual) if one in counts else 0 for one in values]
