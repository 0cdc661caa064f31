# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, annotation_typing=False
"""Compares packed features, a pair at a time, without the GIL: levels, weights, blocks, clusters."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from array import array

from cpython.bytes cimport PyBytes_FromStringAndSize

from service.core._features cimport (
    NAMED, R_BIRTH, R_CITY, R_COMPANY, R_FIRST, R_LAST, R_POSTCODE, R_STREET, RARITY_UNITS,
    NUMBERED, Email, Extra, Features, Packed, Phone, Span, check, features_at,
    emails_of, extras_of, hash_of, mixed, name_of, phones_of, text_of,
)
from service.core._names cimport FIRST, INITIAL, LAST, MIDDLE, PARTICLE, ROLE, NameRecord, TokenRecord, alike
from service.core._compare cimport (
    DATE_COMPATIBLE, DATE_MONTH_DAY, DATE_SAME, DATE_SWAPPED, DATE_TYPO, DATE_YEAR, DATE_YEAR_DAY,
    DATE_YEAR_MONTH, dates, edits, jaro_winkler, words,
)

ctypedef const unsigned char* Bytes

cpdef enum:  # fields
    F_FIRST = 0
    F_LAST = 1
    F_MIDDLE = 2
    F_ORDER = 3
    F_GENDER = 4
    F_GENERATION = 5
    F_BIRTH = 6
    F_EMAIL = 7
    F_PHONE = 8
    F_STREET = 9
    F_PLACE = 10
    F_COMPANY = 11
    F_EXTRA = 12
    FIELDS = 20
    LEVELS = 8
    OTHERS = 4  # classes of pairs that are not the same person

cpdef enum:  # levels of names
    ABSENT = 0
    DIFFERENT = 1
    N_SIMILAR = 2
    N_SOUND = 3
    N_INITIAL = 4
    N_TYPO = 5
    N_ALIAS = 6
    N_SAME = 7

cpdef enum:
    SAME = 2  # gender, generation, order straight=1 swapped=2

cpdef enum:  # birth dates
    B_YEAR = 2
    B_DAY_MONTH = 3
    B_TWO = 4
    B_DIGIT = 5
    B_SWAPPED = 6
    B_SAME = 7

cpdef enum:
    E_DIGITS = 2
    E_NAMED = 3
    E_LOCAL = 4
    E_NEAR = 5
    E_SAME = 6

cpdef enum:
    P_TAIL = 2
    P_NEAR = 3
    P_SAME = 4

cpdef enum:
    S_NUMBER = 2
    S_STREET = 3
    S_NEAR = 4
    S_SAME = 5

cpdef enum:
    L_PREFIX = 2
    L_CITY = 3
    L_NEAR = 4
    L_SAME = 5

cpdef enum:
    C_PART = 2
    C_NEAR = 3
    C_SAME = 4


cdef struct Vector:
    uint8_t levels[FIELDS]
    uint8_t rarity[FIELDS]


cdef struct _Word:
    Bytes text
    const TokenRecord* token


cdef struct _Parts:
    _Word first[4]
    _Word middle[4]
    _Word last[4]
    int firsts, middles, lasts


cdef inline void _take_apart(const Features* one, _Parts* parts) noexcept nogil:
    cdef const NameRecord* name = name_of(one)
    cdef Bytes word = text_of(one, one.names)
    cdef int i, role
    cdef const TokenRecord* token
    parts.firsts = parts.middles = parts.lasts = 0
    for i in range(name.count):
        token = &name.tokens[i]
        role = token.flags & ROLE
        if not token.flags & PARTICLE:
            if role == FIRST and parts.firsts < 4:
                parts.first[parts.firsts].text = word
                parts.first[parts.firsts].token = token
                parts.firsts += 1
            elif role == MIDDLE and parts.middles < 4:
                parts.middle[parts.middles].text = word
                parts.middle[parts.middles].token = token
                parts.middles += 1
            elif role == LAST and parts.lasts < 4:
                parts.last[parts.lasts].text = word
                parts.last[parts.lasts].token = token
                parts.lasts += 1
        word += token.size + 1


cdef inline int _token_level(const _Word* one, const _Word* other) noexcept nogil:
    cdef const TokenRecord* a = one.token
    cdef const TokenRecord* b = other.token
    cdef int size = min(a.size, b.size), limit, found
    if a.size == b.size and memcmp(one.text, other.text, a.size) == 0:
        return N_SAME if not (a.flags | b.flags) & INITIAL and a.size > 1 else N_INITIAL
    if (a.flags | b.flags) & INITIAL or size == 1:
        return N_INITIAL if one.text[0] == other.text[0] else DIFFERENT
    if a.names and alike(a.names, b.names):
        return N_ALIAS
    limit = 2 if size >= 7 else 1 if size >= 4 else 0
    found = edits(one.text, a.size, other.text, b.size, limit) if limit else 1
    if found <= limit:
        return N_TYPO
    if a.sound and (a.sound == b.sound or (b.other and a.sound == b.other) or (
        a.other and (a.other == b.sound or a.other == b.other)
    )):
        return N_SOUND
    if jaro_winkler(one.text, a.size, other.text, b.size) >= 0.85:
        return N_SIMILAR
    return DIFFERENT


cdef inline int _best(const _Word* ones, int count, const _Word* others, int other_count) noexcept nogil:
    cdef int i, j, level, best = ABSENT
    for i in range(count):
        for j in range(other_count):
            level = _token_level(&ones[i], &others[j])
            if level == N_SAME and i + j:
                level = N_ALIAS
            if level > best:
                best = level
                if best == N_SAME:
                    return best
    return best


cdef inline int _last_level(const _Parts* a, const _Parts* b) noexcept nogil:
    cdef int i, j, level, best, worst = N_SAME, top = ABSENT
    cdef int back[4]
    cdef const _Parts* few = a
    cdef const _Parts* many = b
    if a.lasts == 0 or b.lasts == 0:
        return ABSENT
    if a.lasts == 1 and b.lasts == 1:
        return _token_level(&a.last[0], &b.last[0])
    if a.lasts > b.lasts:
        few, many = b, a
    memset(back, 0, sizeof(back))
    for i in range(few.lasts):
        best = ABSENT
        for j in range(many.lasts):
            level = _token_level(&few.last[i], &many.last[j])
            best = max(best, level)
            back[j] = max(back[j], level)
        worst = min(worst, best)
        top = max(top, best)
    if few.lasts == many.lasts:
        for j in range(many.lasts):  # a word may stand twice in one of both
            worst = min(worst, back[j])
        return worst if worst >= N_TYPO else N_INITIAL if top >= N_TYPO else worst
    return N_INITIAL if top >= N_TYPO else top if top < N_INITIAL else N_SIMILAR


cdef inline void _compare_names(const Features* one, const Features* other, Vector* to) noexcept nogil:
    cdef _Parts a, b
    cdef int first, last, crossed_first, crossed_last
    _take_apart(one, &a)
    _take_apart(other, &b)
    first = _best(a.first, a.firsts, b.first, b.firsts)
    if a.firsts > 1 and b.firsts > 1 and first >= N_ALIAS and not (
        (a.first[1].token.flags | b.first[1].token.flags) & INITIAL
    ):
        if _token_level(&a.first[1], &b.first[1]) == DIFFERENT:
            first = N_SIMILAR
    last = _last_level(&a, &b)
    if first <= N_SIMILAR and first > ABSENT:
        if a.middles and _best(a.middle, a.middles, b.first, b.firsts) >= N_ALIAS:
            first = N_ALIAS
        elif b.middles and _best(a.first, a.firsts, b.middle, b.middles) >= N_ALIAS:
            first = N_ALIAS
    to.levels[F_ORDER] = ABSENT
    if a.firsts and b.firsts and a.lasts and b.lasts:
        to.levels[F_ORDER] = 1
        if first <= N_INITIAL and last <= N_INITIAL:
            crossed_first = _token_level(&a.first[0], &b.last[0])
            crossed_last = _token_level(&a.last[0], &b.first[0])
            if min(crossed_first, crossed_last) >= N_TYPO or (
                max(crossed_first, crossed_last) >= N_TYPO
                and min(crossed_first, crossed_last) >= N_SIMILAR and first + last <= 3
            ):
                first, last = min(crossed_first, crossed_last), max(crossed_first, crossed_last)
                to.levels[F_ORDER] = 2
    to.levels[F_FIRST] = first
    to.levels[F_LAST] = last
    to.levels[F_MIDDLE] = _best(a.middle, a.middles, b.middle, b.middles)
    if first == N_SAME:
        to.rarity[F_FIRST] = min(one.rarities[R_FIRST], other.rarities[R_FIRST])
    if last == N_SAME:
        to.rarity[F_LAST] = min(one.rarities[R_LAST], other.rarities[R_LAST])


cdef inline void _compare_emails(const Features* one, const Features* other, Vector* to) noexcept nogil:
    cdef const Email* a = emails_of(one)
    cdef const Email* b = emails_of(other)
    cdef int i, j, level, best = ABSENT, rarity = 0, this_rarity
    for i in range(one.emails):
        for j in range(other.emails):
            this_rarity = 0
            if a[i].key == b[j].key:
                level, this_rarity = E_SAME, a[i].rarity
            elif a[i].local == b[j].local:
                level, this_rarity = E_LOCAL, a[i].local_rarity
                if a[i].flags & b[j].flags & NAMED:
                    if a[i].flags & NUMBERED:
                        this_rarity = min(this_rarity, 6 * RARITY_UNITS)
                    else:
                        level, this_rarity = E_NAMED, 0
            elif min(a[i].text.size, b[j].text.size) >= 6 and edits(
                text_of(one, a[i].text), a[i].text.size, text_of(other, b[j].text), b[j].text.size, 2
            ) <= 2:
                level = E_DIGITS if _same_letters(one, a[i].text, other, b[j].text) else E_NEAR
                if (a[i].flags | b[j].flags) & NAMED:
                    level = E_DIGITS
            else:
                level = DIFFERENT
            if level > best or (level == best and this_rarity > rarity):
                best, rarity = level, this_rarity
    to.levels[F_EMAIL] = best
    to.rarity[F_EMAIL] = rarity


cdef inline bint _same_letters(const Features* one, Span a, const Features* other, Span b) noexcept nogil:
    """Tell whether two texts differ in digits and signs only."""
    cdef Bytes x = text_of(one, a)
    cdef Bytes y = text_of(other, b)
    cdef int i = 0, j = 0
    while True:
        while i < a.size and not b"a" <= x[i] <= b"z":
            i += 1
        while j < b.size and not b"a" <= y[j] <= b"z":
            j += 1
        if i == a.size or j == b.size:
            return i == a.size and j == b.size
        if x[i] != y[j]:
            return False
        i += 1
        j += 1


cdef inline void _compare_phones(const Features* one, const Features* other, Vector* to) noexcept nogil:
    cdef const Phone* a = phones_of(one)
    cdef const Phone* b = phones_of(other)
    cdef int i, j, level, best = ABSENT
    for i in range(one.phones):
        for j in range(other.phones):
            if a[i].digits == b[j].digits:
                to.rarity[F_PHONE] = max(to.rarity[F_PHONE], a[i].rarity)
                best = P_SAME
            elif best < P_SAME:
                level = _digits_level(a[i].digits, b[j].digits)
                best = max(best, level)
    to.levels[F_PHONE] = best


cdef inline int _digits_level(uint64_t a, uint64_t b) noexcept nogil:
    """Compare numbers: one digit other, or two neighbours swapped; or the last seven the same."""
    cdef uint64_t x = a, y = b
    cdef int differing = 0, at = 0, first = -1, second = -1
    cdef int da[20]
    cdef int db[20]
    if a % 10_000_000 == b % 10_000_000:
        return P_TAIL
    while x or y:
        da[at], db[at] = x % 10, y % 10
        if da[at] != db[at]:
            differing += 1
            if differing == 1:
                first = at
            elif differing == 2:
                second = at
            else:
                return DIFFERENT
        x //= 10
        y //= 10
        at += 1
    if differing == 1:
        return P_NEAR
    if second == first + 1 and da[first] == db[second] and da[second] == db[first]:
        return P_NEAR
    return DIFFERENT


cdef inline void _compare_places(const Features* one, const Features* other, Vector* to) noexcept nogil:
    cdef int level = ABSENT, size
    cdef bint same_city = one.city.size > 0 and one.city.size == other.city.size and memcmp(
        text_of(one, one.city), text_of(other, other.city), one.city.size
    ) == 0
    if one.postcode.size and other.postcode.size:
        if one.postcode.size == other.postcode.size and memcmp(
            text_of(one, one.postcode), text_of(other, other.postcode), one.postcode.size
        ) == 0:
            level = L_SAME
            to.rarity[F_PLACE] = one.rarities[R_POSTCODE]
        elif edits(
            text_of(one, one.postcode), one.postcode.size,
            text_of(other, other.postcode), other.postcode.size, 1,
        ) <= 1:
            level = L_NEAR
        elif same_city:
            level = L_CITY
        else:
            size = min(min(one.postcode.size, other.postcode.size), 3)
            level = L_PREFIX if memcmp(
                text_of(one, one.postcode), text_of(other, other.postcode), size
            ) == 0 else DIFFERENT
    elif one.city.size and other.city.size:
        level = L_CITY if same_city else DIFFERENT
        if level == DIFFERENT and min(one.city.size, other.city.size) >= 4 and edits(
            text_of(one, one.city), one.city.size, text_of(other, other.city), other.city.size, 1
        ) <= 1:
            level = L_CITY
    if level == L_CITY:
        to.rarity[F_PLACE] = max(one.rarities[R_CITY], other.rarities[R_CITY])
    to.levels[F_PLACE] = level


cdef inline void _compare_streets(const Features* one, const Features* other, Vector* to) noexcept nogil:
    cdef int level = ABSENT
    cdef bint same_number
    cdef float alike_by
    if one.street.size and other.street.size:
        if one.street_hash == other.street_hash:
            level = S_SAME
            to.rarity[F_STREET] = min(one.rarities[R_STREET], other.rarities[R_STREET])
            if to.levels[F_PLACE] == L_SAME:
                to.rarity[F_STREET] -= min(to.rarity[F_STREET], one.rarities[R_POSTCODE])
        else:
            same_number = one.number.size and one.number.size == other.number.size and memcmp(
                text_of(one, one.number), text_of(other, other.number), one.number.size
            ) == 0
            alike_by = words(
                text_of(one, one.street), one.street.size, text_of(other, other.street), other.street.size
            )
            if same_number and alike_by >= 0.75:
                level = S_NEAR
            elif alike_by >= 0.6:
                level = S_STREET
            elif same_number:
                level = S_NUMBER
            else:
                level = DIFFERENT
    to.levels[F_STREET] = level


cdef inline int _words_level(
    const Features* one, Span a, const Features* other, Span b
) noexcept nogil:
    """Compare texts that are not the same."""
    cdef double alike_by = words(text_of(one, a), a.size, text_of(other, b), b.size)
    return C_NEAR if alike_by >= 0.8 else C_PART if alike_by >= 0.5 else DIFFERENT


cdef inline void _compare_companies(const Features* one, const Features* other, Vector* to) noexcept nogil:
    cdef int level = ABSENT
    if one.company.size and other.company.size:
        if one.company.size == other.company.size and memcmp(
            text_of(one, one.company), text_of(other, other.company), one.company.size
        ) == 0:
            level = C_SAME
            to.rarity[F_COMPANY] = one.rarities[R_COMPANY]
        else:
            level = _words_level(one, one.company, other, other.company)
    to.levels[F_COMPANY] = level


cdef inline int _birth_level(uint32_t one, uint32_t other) noexcept nogil:
    cdef int level = dates(one, other)
    if level == DATE_SAME:
        return B_SAME
    if level == DATE_SWAPPED:
        return B_SWAPPED
    if level == DATE_TYPO:
        return B_DIGIT
    if level == DATE_YEAR_MONTH or level == DATE_YEAR_DAY:
        return B_TWO
    if level == DATE_MONTH_DAY:
        return B_DAY_MONTH
    if level == DATE_COMPATIBLE:
        return B_YEAR
    if level == DATE_YEAR and (_is_year(one) or _is_year(other)):
        return B_YEAR
    return DIFFERENT


cdef inline bint _is_year(uint32_t date) noexcept nogil:
    """Tell whether a date has no more than a year: what is written for that is its first day."""
    return date & 31 == 0 or date & 511 == (1 << 5 | 1)


cdef inline void compare(const Features* one, const Features* other, Vector* to) noexcept nogil:
    """Write the level of each field, and the rarity of what two records share."""
    cdef int i
    memset(to, 0, sizeof(Vector))
    _compare_names(one, other, to)
    if one.gender and other.gender:
        to.levels[F_GENDER] = SAME if one.gender == other.gender else DIFFERENT
    if name_of(one).generation and name_of(other).generation:
        to.levels[F_GENERATION] = (
            SAME if name_of(one).generation == name_of(other).generation else DIFFERENT
        )
    if one.birth and other.birth:
        to.levels[F_BIRTH] = _birth_level(one.birth, other.birth)
        if to.levels[F_BIRTH] == B_SAME:
            to.rarity[F_BIRTH] = one.rarities[R_BIRTH]
    _compare_emails(one, other, to)
    _compare_phones(one, other, to)
    _compare_places(one, other, to)
    _compare_streets(one, other, to)
    _compare_companies(one, other, to)
    for i in range(min(one.extras, other.extras)):
        _compare_extras(one, other, i, to)


cdef inline void _compare_extras(
    const Features* one, const Features* other, int which, Vector* to
) noexcept nogil:
    cdef const Extra* a = extras_of(one) + which
    cdef const Extra* b = extras_of(other) + which
    cdef int level = ABSENT
    if a.hash and b.hash:
        if a.hash == b.hash:
            level = C_SAME
            to.rarity[F_EXTRA + which] = a.rarity
        elif a.is_text:
            level = _words_level(one, a.text, other, b.text)
        else:
            level = DIFFERENT
    to.levels[F_EXTRA + which] = level


cdef class Weights:
    """What each level of each field says, in bits, against each class of those who are not the same."""

    cdef float bits[OTHERS][FIELDS][LEVELS]
    cdef uint8_t rare[OTHERS][FIELDS][LEVELS]  # the rarity of the value is added
    cdef float priors[OTHERS]

    def __init__(self, bits, rare, priors):
        cdef int field, level, other
        for other in range(OTHERS):
            self.priors[other] = priors[other]
            for field in range(FIELDS):
                for level in range(LEVELS):
                    self.bits[other][field][level] = bits[other][field][level]
                    self.rare[other][field][level] = rare[other][field][level]

    cdef inline float weigh(self, const Vector* vector) noexcept nogil:
        cdef float least = 1000, total
        cdef int field, level, other
        for other in range(OTHERS):
            total = self.priors[other]
            for field in range(FIELDS):
                level = vector.levels[field]
                total += self.bits[other][field][level]
                if self.rare[other][field][level]:
                    total += vector.rarity[field] * <float>(1.0 / RARITY_UNITS)
            least = min(least, total)
        return least


cdef int _check(Packed packed, const uint32_t[::1] ones, const uint32_t[::1] others) except -1:
    """Refuse pairs of rows that there are not."""
    cdef Py_ssize_t i
    if others.shape[0] != ones.shape[0]:
        raise ValueError("as many rows on both sides")
    for i in range(ones.shape[0]):
        if max(ones[i], others[i]) >= packed.count:
            raise IndexError(max(ones[i], others[i]))
    return 0


def vectors(Packed packed not None, const uint32_t[::1] ones, const uint32_t[::1] others):
    """Return the levels and rarities of pairs of rows: bytes, FIELDS a pair each."""
    _check(packed, ones, others)
    cdef Py_ssize_t count = ones.shape[0], i
    levels = PyBytes_FromStringAndSize(NULL, count * FIELDS)
    rarities = PyBytes_FromStringAndSize(NULL, count * FIELDS)
    cdef uint8_t* to = <uint8_t*><char*>levels
    cdef uint8_t* rarity = <uint8_t*><char*>rarities
    cdef Vector vector
    with nogil:
        for i in range(count):
            compare(features_at(packed, ones[i]), features_at(packed, others[i]), &vector)
            memcpy(to + i * FIELDS, vector.levels, FIELDS)
            memcpy(rarity + i * FIELDS, vector.rarity, FIELDS)
    return levels, rarities


def weigh_pairs(Packed packed not None, Weights weights not None, const uint32_t[::1] ones, const uint32_t[::1] others, float[::1] out):
    """Write the match weight of pairs."""
    _check(packed, ones, others)
    if out.shape[0] != ones.shape[0]:
        raise ValueError("one place for each pair")
    cdef Py_ssize_t i
    cdef Vector vector
    with nogil:
        for i in range(ones.shape[0]):
            compare(features_at(packed, ones[i]), features_at(packed, others[i]), &vector)
            out[i] = weights.weigh(&vector)


# Blocks

cpdef enum:
    KEYS = 28  # of a record
    KEY_EMAIL = 0  # 4
    KEY_PHONE = 4  # 4
    KEY_BIRTH_LAST = 8
    KEY_BIRTH_FIRST = 9
    KEY_BIRTH_PLACE = 10
    KEY_NAME = 11
    KEY_SOUND_PLACE = 12
    KEY_STREET = 13
    KEY_LOCAL = 14
    KEY_PHONE_HEAD = 15
    KEY_PHONE_TAIL = 16
    KEY_YEAR = 17
    KEY_NAMES_ANY = 18
    KEY_MONTH_DAY = 19
    KEY_BIRTH = 20
    KEY_STREET_ALONE = 21
    KEY_FIRST_CITY = 22
    KEY_LAST_CITY = 23
    KEY_FIRST_POST = 24
    KEY_LAST_POST = 25
    KEY_POST_BIRTH = 26
    KEY_STREET_WORD = 27

SECOND_KEYS = 4  # birth date, name, place, e-mail
#: Blocking keys that are of one kind: the first, and how many.
FAMILIES = ((0, 4), (4, 4), *((key, 1) for key in range(8, KEYS)))


cdef inline uint32_t _short(uint64_t one, uint64_t other, uint64_t family) noexcept nogil:
    cdef uint32_t key
    if one == 0 or other == 0:
        return 0
    key = <uint32_t>(mixed(mixed(one, other), family) >> 32)
    return key if key else 1


cdef uint64_t _longest_word(Bytes text, int size) noexcept nogil:
    cdef int i = 0, start, best = 0, length = 0
    while i < size:
        start = i
        while i < size and text[i] != 32:
            i += 1
        if i - start > length:
            best, length = start, i - start
        i += 1
    return hash_of(text + best, length)


cdef void _keys_of(const Features* one, uint32_t* keys) noexcept nogil:
    cdef _Parts parts
    cdef uint64_t city, post, first = 0, last = 0, initial = 0, sounds, place, birth = one.birth, name = 0
    cdef int i
    memset(keys, 0, KEYS * sizeof(uint32_t))
    _take_apart(one, &parts)
    if parts.firsts:
        first = parts.first[0].token.sound
        if first == 0:
            first = hash_of(parts.first[0].text, parts.first[0].token.size)
        initial = parts.first[0].text[0]
    if parts.lasts:
        last = parts.last[0].token.sound
        if last == 0:
            last = hash_of(parts.last[0].text, parts.last[0].token.size)
    for i in range(one.emails):
        keys[KEY_EMAIL + i] = _short(emails_of(one)[i].key, 1, 1)
    for i in range(one.phones):
        keys[KEY_PHONE + i] = _short(phones_of(one)[i].digits, 1, 2)
    keys[KEY_BIRTH_LAST] = _short(birth, last, 3)
    keys[KEY_BIRTH_FIRST] = _short(birth, first, 4)
    place = hash_of(text_of(one, one.postcode), one.postcode.size)
    if place == 0:
        place = one.place_hash
    keys[KEY_BIRTH_PLACE] = _short(birth, place, 5)
    if parts.firsts and parts.lasts:
        name = hash_of(parts.first[0].text, parts.first[0].token.size) ^ hash_of(parts.last[0].text, parts.last[0].token.size)
        keys[KEY_NAME] = _short(name, 1, 6)
        sounds = (first ^ last) + first + last
        if one.postcode.size >= 2:
            keys[KEY_SOUND_PLACE] = _short(sounds, hash_of(text_of(one, one.postcode), min(one.postcode.size, 3)), 7)
        else:
            keys[KEY_SOUND_PLACE] = _short(sounds, one.place_hash, 7)
        keys[KEY_YEAR] = _short(mixed(last, initial), birth >> 9, 11)
        keys[KEY_NAMES_ANY] = _short(sounds, birth >> 9, 12)
    keys[KEY_MONTH_DAY] = _short(first, mixed(birth & 511, hash_of(text_of(one, one.postcode), min(one.postcode.size, 3))) if one.postcode.size and birth else 0, 13)
    if one.street_hash and initial:
        keys[KEY_STREET] = _short(one.street_hash, mixed(initial, place), 8)
    city = hash_of(text_of(one, one.city), one.city.size)
    post = hash_of(text_of(one, one.postcode), one.postcode.size)
    keys[KEY_BIRTH] = _short(birth, 1, 15)
    keys[KEY_STREET_ALONE] = _short(one.street_hash, 1, 16)
    keys[KEY_FIRST_CITY] = _short(first, city, 17)
    keys[KEY_LAST_CITY] = _short(last, city, 18)
    keys[KEY_FIRST_POST] = _short(first, post, 19)
    keys[KEY_LAST_POST] = _short(last, post, 20)
    keys[KEY_POST_BIRTH] = _short(post, birth >> 9, 21)
    if one.street.size:
        keys[KEY_STREET_WORD] = _short(_longest_word(text_of(one, one.street), one.street.size), mixed(first, one.number.size), 22)
    if one.emails:
        keys[KEY_LOCAL] = _short(emails_of(one)[0].local, 1, 9)
    if one.phones:
        keys[KEY_PHONE_HEAD] = _short(phones_of(one)[0].digits // 10_000, first, 10)
        keys[KEY_PHONE_TAIL] = _short(phones_of(one)[0].digits % 100_000, last, 14)


cdef uint32_t _most_row(const uint64_t[::1] entries) noexcept nogil:
    cdef uint32_t most = 0
    cdef Py_ssize_t i
    for i in range(entries.shape[0]):
        most = max(most, <uint32_t>entries[i])
    return most


cdef class Blocks:
    """Blocking keys of records: KEYS of 32 bits each, 0 for none."""

    cdef readonly Py_ssize_t count
    cdef uint32_t* keys

    def __cinit__(self, Packed packed not None):
        cdef Py_ssize_t row
        self.count = packed.count
        self.keys = <uint32_t*>malloc(max(packed.count, 1) * KEYS * sizeof(uint32_t))
        if self.keys == NULL:
            raise MemoryError
        with nogil:
            for row in range(packed.count):
                _keys_of(features_at(packed, row), self.keys + row * KEYS)

    def __dealloc__(self):
        free(self.keys)

    def entries(self, int first, int width):
        """Return the keys of a family, each with its row, as one number: key << 32 | row."""
        cdef Py_ssize_t row, used = 0
        cdef int i
        cdef uint32_t key
        made = PyBytes_FromStringAndSize(NULL, self.count * width * 8)
        cdef uint64_t* to = <uint64_t*><char*>made
        with nogil:
            for row in range(self.count):
                for i in range(first, first + width):
                    key = self.keys[row * KEYS + i]
                    if key:
                        to[used] = (<uint64_t>key << 32) | <uint64_t>row
                        used += 1
        return made[: used * 8]

    def forget(self, const uint64_t[::1] entries, int first, int width):
        """Take back keys: their blocks were too large, and did not give all of their pairs."""
        if entries.shape[0] and _most_row(entries) >= self.count:
            raise IndexError(_most_row(entries))
        cdef Py_ssize_t i
        cdef int j
        cdef uint32_t* keys
        with nogil:
            for i in range(entries.shape[0]):
                keys = self.keys + <int64_t>(<uint32_t>entries[i]) * KEYS
                for j in range(first, first + width):
                    if keys[j] == entries[i] >> 32:
                        keys[j] = 0

    cdef inline bint met(self, uint32_t one, uint32_t other, int first) noexcept nogil:
        """Tell whether two rows share a key of an earlier family."""
        cdef const uint32_t* a = self.keys + <int64_t>one * KEYS
        cdef const uint32_t* b = self.keys + <int64_t>other * KEYS
        cdef int i, j
        for i in range(8, first):
            if a[i] == b[i] and a[i]:
                return True
        if first >= KEY_PHONE:
            for i in range(4):
                if a[i]:
                    for j in range(4):
                        if a[i] == b[j]:
                            return True
        if first > KEY_PHONE:
            for i in range(4, 8):
                if a[i]:
                    for j in range(4, 8):
                        if a[i] == b[j]:
                            return True
        return False


def split(Packed packed not None, const uint64_t[::1] entries, int which, uint64_t[::1] out):
    """Write the entries of large blocks anew, under keys of the old and one of SECOND_KEYS values."""
    if out.shape[0] != entries.shape[0]:
        raise ValueError("one place for each entry")
    if entries.shape[0] and _most_row(entries) >= packed.count:
        raise IndexError(_most_row(entries))
    cdef Py_ssize_t i
    cdef const Features* one
    cdef uint64_t value, row
    with nogil:
        for i in range(entries.shape[0]):
            row = <uint32_t>entries[i]
            one = features_at(packed, row)
            value = 0
            if which == 0:
                value = one.birth
            elif which == 1:
                value = name_of(one).sorted
            elif which == 2:
                value = one.place_hash
            elif one.emails:
                value = emails_of(one)[0].local
            out[i] = (<uint64_t>_short(entries[i] >> 32, value, 77 + which) << 32) | row


cdef struct _Found:
    uint32_t* ones
    uint32_t* others
    float* weights
    uint8_t* vectors
    Py_ssize_t count, room
    int64_t compared


def compare_blocks(
    Packed packed not None, Blocks blocks not None, Weights weights, const uint64_t[::1] entries,
    Py_ssize_t begin, Py_ssize_t end, int first, Py_ssize_t limit, Py_ssize_t window, float keep, uint32_t sample,
):
    """Compare the pairs of the blocks that begin in entries[begin:end].

    With `weights`: pairs of at least the weight `keep`. Without: every `sample`-th pair's vectors.
    A run longer than `limit` is compared within `window`, or left out if that is 0.
    Returns (ones, others, weights, vectors, compared).
    """
    if not 0 <= begin <= end <= entries.shape[0] or blocks.count != packed.count or sample == 0:
        raise ValueError("no such entries")
    if entries.shape[0] and _most_row(entries) >= packed.count:
        raise IndexError(_most_row(entries))
    cdef _Found found
    cdef Py_ssize_t at = begin, stop, i, j, total = entries.shape[0], last
    cdef uint64_t key
    cdef uint32_t one, other
    cdef Vector vector
    cdef float weight = 0
    cdef bint train = weights is None
    cdef int failed = 0
    memset(&found, 0, sizeof(_Found))
    with nogil:
        while at < end and at > 0 and entries[at] >> 32 == entries[at - 1] >> 32:
            at += 1
        while at < end:
            key = entries[at] >> 32
            stop = at + 1
            while stop < total and entries[stop] >> 32 == key:
                stop += 1
            if stop - at > limit and window == 0:
                at = stop
                continue
            for i in range(at, stop):
                last = stop if stop - at <= limit else min(stop, i + 1 + window)
                for j in range(i + 1, last):
                    one, other = <uint32_t>entries[i], <uint32_t>entries[j]
                    if one == other or blocks.met(one, other, first):
                        continue
                    found.compared += 1
                    if train:
                        if mixed(one, other) % sample:
                            continue
                        compare(features_at(packed, one), features_at(packed, other), &vector)
                    else:
                        compare(features_at(packed, one), features_at(packed, other), &vector)
                        weight = weights.weigh(&vector)
                        if weight < keep:
                            continue
                    if found.count == found.room and _grow(&found, train):
                        failed = 1
                        break
                    found.ones[found.count] = min(one, other)
                    found.others[found.count] = max(one, other)
                    if train:
                        memcpy(found.vectors + found.count * 2 * FIELDS, &vector, 2 * FIELDS)
                    else:
                        found.weights[found.count] = weight
                    found.count += 1
                if failed:
                    break
            if failed:
                break
            at = stop
    try:
        if failed:
            raise MemoryError
        return (
            PyBytes_FromStringAndSize(<char*>found.ones, found.count * 4),
            PyBytes_FromStringAndSize(<char*>found.others, found.count * 4),
            b"" if train else PyBytes_FromStringAndSize(<char*>found.weights, found.count * 4),
            PyBytes_FromStringAndSize(<char*>found.vectors, found.count * 2 * FIELDS) if train else b"",
            found.compared,
        )
    finally:
        free(found.ones)
        free(found.others)
        free(found.weights)
        free(found.vectors)


cdef int _grow(_Found* found, bint train) noexcept nogil:
    cdef Py_ssize_t room = max(2 * found.room, 4096)
    cdef void* grown
    grown = realloc(found.ones, room * 4)
    if grown == NULL:
        return 1
    found.ones = <uint32_t*>grown
    grown = realloc(found.others, room * 4)
    if grown == NULL:
        return 1
    found.others = <uint32_t*>grown
    if train:
        grown = realloc(found.vectors, room * 2 * FIELDS)
        if grown == NULL:
            return 1
        found.vectors = <uint8_t*>grown
    else:
        grown = realloc(found.weights, room * 4)
        if grown == NULL:
            return 1
        found.weights = <float*>grown
    found.room = room
    return 0


# Clusters

def cluster(
    Packed packed not None, Weights weights not None,
    const uint32_t[::1] ones, const uint32_t[::1] others, const float[::1] scores,
    float threshold, float low, float high, float needed, int most,
):
    """Join the pairs, best first, where what is known between the two groups supports it.

    Returns the label of each row, the least row of its group, as uint32; and how many joins were
    refused.
    """
    _check(packed, ones, others)
    if scores.shape[0] != ones.shape[0]:
        raise ValueError("one weight for each pair")
    cdef Py_ssize_t count = packed.count, i, refused = 0
    labels = PyBytes_FromStringAndSize(NULL, count * 4)
    cdef uint32_t* label = <uint32_t*><char*>labels
    cdef int32_t* next_of = <int32_t*>malloc(max(count, 1) * 4)
    cdef int32_t* tail = <int32_t*>malloc(max(count, 1) * 4)
    cdef int32_t* size = <int32_t*>malloc(max(count, 1) * 4)
    cdef uint32_t a, b
    cdef int32_t x
    try:
        if next_of == NULL or tail == NULL or size == NULL:
            raise MemoryError
        with nogil:
            for i in range(count):
                label[i] = <uint32_t>i
                next_of[i] = -1
                tail[i] = <int32_t>i
                size[i] = 1
            for i in range(ones.shape[0]):
                if scores[i] < threshold:
                    break
                a, b = label[ones[i]], label[others[i]]
                if a == b:
                    continue
                if b < a:
                    a, b = b, a
                if (size[a] > 1 or size[b] > 1) and not _supported(
                    packed, weights, a, b, next_of, low, high, needed, most
                ):
                    refused += 1
                    continue
                x = b
                while x >= 0:
                    label[x] = a
                    x = next_of[x]
                next_of[tail[a]] = b
                tail[a] = tail[b]
                size[a] += size[b]
    finally:
        free(next_of)
        free(tail)
        free(size)
    return labels, refused


cdef bint _supported(
    Packed packed, Weights weights, uint32_t a, uint32_t b, const int32_t* next_of,
    float low, float high, float needed, int most,
) noexcept nogil:
    """Tell whether the mean weight between two groups, each weight within bounds, is enough."""
    cdef int32_t x = a, y
    cdef int met = 0, other_met, n = 0
    cdef float total = 0
    cdef Vector vector
    while x >= 0 and met < most:
        y, other_met = b, 0
        while y >= 0 and other_met < most:
            compare(features_at(packed, x), features_at(packed, y), &vector)
            total += min(max(weights.weigh(&vector), low), high)
            n += 1
            y = next_of[y]
            other_met += 1
        x = next_of[x]
        met += 1
    return total / n >= needed


# One record against a few

cdef enum:
    ROOM = 512  # words: room for the features of one record


def compare_with(bytes probe not None, candidates, Weights weights not None):
    """Compare a weighed probe with each of some records' features, which are not weighed.

    Returns their match weights, and the levels and rarities as `vectors` does.
    """
    cdef const Features* one = check(probe)
    cdef list others = list(candidates)
    cdef Py_ssize_t count = len(others), i
    cdef uint64_t room[ROOM]
    cdef Features* other = <Features*>&room[0]
    cdef Vector vector
    cdef bytes features
    found = array("f", bytes(4 * count))
    cdef float[::1] bits = found
    levels = PyBytes_FromStringAndSize(NULL, count * FIELDS)
    rarities = PyBytes_FromStringAndSize(NULL, count * FIELDS)
    for i in range(count):
        features = others[i]
        check(features)
        if len(features) > 8 * ROOM:
            raise ValueError("not the features of a record")
        memcpy(other, <const char*>features, len(features))
        # What the two share is as rare as the probe says.
        memset(other.rarities, 255, sizeof(other.rarities))
        compare(one, other, &vector)
        bits[i] = weights.weigh(&vector)
        memcpy(<char*>levels + i * FIELDS, vector.levels, FIELDS)
        memcpy(<char*>rarities + i * FIELDS, vector.rarity, FIELDS)
    return found, levels, rarities
