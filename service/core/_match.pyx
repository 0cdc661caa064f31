# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: annotation_typing=False
"""Compares packed features, pair by pair, without the GIL: levels, weights, blocks, clusters."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from array import array
from functools import partial

from cpython.bytes cimport PyBytes_FromStringAndSize

from service.core._features cimport (
    END_BITS, NAMED, R_BIRTH, R_CITY, R_COMPANY, R_FIRST, R_LAST, R_POSTCODE, R_STREET,
    R_STREET_ANYWHERE, RARITY_UNITS, ROLE_WORDS,
    FETCH, NUMBERED, Email, Extra, Features, Packed, Phone, Span, Word, check, features_at,
    emails_of, extras_of, firsts_of, hash_of, lasts_of, longest_word, middles_of, mixed, phones_of,
    text_of, word_hash, word_text,
)
from service.core._names cimport INITIAL, LAST, ROLE, alike
from service.core._compare cimport (
    DATE_COMPATIBLE, DATE_MONTH_DAY, DATE_SAME, DATE_SWAPPED, DATE_TYPO, DATE_YEAR, DATE_YEAR_DAY,
    DATE_YEAR_MONTH, NUMBER_EDIT, NUMBER_ENDING,
    common_letters, dates, edits, has_letters, jaro_winkler, numbers, same_area, words,
)

ctypedef const unsigned char* Bytes

cdef enum:
    FETCHED_BYTES = 320  # of features: few have more
    PAIRS_AHEAD = 6
    ROWS_OF_A_PART = 10_000  # some ten milliseconds
    DIGITS = 20  # of the largest number of 64 bits
    END_MASK = (1 << END_BITS) - 1
    ENDING_UNIT = 10_000_000  # of what is ahead of the ENDING of a phone number
    WINKLER = 4  # letters of a common prefix that count
    # What is rare in a file of many countries may be common among neighbours, who share a culture:
    # no name says more than this, in units of rarity.
    RAREST_FIRST = 72  # one of 512
    RAREST_LAST = 104  # one of 8,192
    ROAD_LETTERS = 4  # of a word that names a street
    NAME_LETTERS = 4  # of a name, from which it is seen in an e-mail
cdef double SIMILAR = 0.85  # Jaro-Winkler, from which two words are similar
# What (common / n + common / m) * 1000 must be for that, by the letters of the common prefix: p of
# them leave (0.85 - 0.1 p) / (1 - 0.1 p) to Jaro, (common / n + common / m + 1) / 3 at most. These
# are a little less: the similarity is rounded.
cdef int[WINKLER + 1] _ENOUGH = [1549, 1499, 1437, 1356, 1249]
cdef float HOPELESS = -1000  # the weight of a pair that was not compared to the end

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
    F_YEAR = 12  # in an e-mail, and the other's year of birth
    F_EXTRA = 13
    FIELDS = 21
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


# Names

cdef inline bint _is_same_word(
    const Features* one, const Word* a, const Features* other, const Word* b
) noexcept nogil:
    return a.letters == b.letters and a.size == b.size and (
        memcmp(word_text(one, a), word_text(other, b), a.size) == 0
    )


cdef inline int _word_level(
    const Features* one, const Word* a, const Features* other, const Word* b
) noexcept nogil:
    """Compare two words, first by what is known of each; by their letters if that leaves hope."""
    cdef int size = min(a.size, b.size), limit, common
    cdef bint sounds
    if (a.flags | b.flags) & INITIAL or size == 1:
        return N_INITIAL if word_text(one, a)[0] == word_text(other, b)[0] else DIFFERENT
    if _is_same_word(one, a, other, b):
        return N_SAME
    if a.classes & b.classes and alike(a.names, b.names):
        return N_ALIAS
    common = common_letters(a.letters, b.letters)
    limit = 2 if size >= 7 else 1 if size >= 4 else 0
    sounds = _sound_the_same(a, b)
    if limit and max(a.size, b.size) - common <= limit and edits(
        word_text(one, a), a.size, word_text(other, b), b.size, limit
    ) <= limit:
        # Harry is not Larry mistyped: both are names, and nobody would mishear them.
        if not sounds and a.names and b.names and a.flags & ROLE != LAST and b.flags & ROLE != LAST:
            return N_SIMILAR
        return N_TYPO
    if sounds:
        return N_SOUND
    return N_SIMILAR if _are_similar(one, a, other, b, common) else DIFFERENT


cdef inline bint _sound_the_same(const Word* a, const Word* b) noexcept nogil:
    return (a.sound != 0) & (
        (a.sound == b.sound) | (b.other != 0) & (a.sound == b.other)
        | (a.other != 0) & ((a.other == b.sound) | (a.other == b.other))
    )


cdef inline bint _are_similar(
    const Features* one, const Word* a, const Features* other, const Word* b, int common
) noexcept nogil:
    """Tell whether two words, of which at most `common` letters are the same, reach SIMILAR."""
    cdef int sum = common * (a.size + b.size) * 1000, product = a.size * b.size
    cdef Bytes x, y
    cdef int prefix = 0
    if sum < _ENOUGH[WINKLER] * product:
        return False
    x, y = word_text(one, a), word_text(other, b)
    while prefix < WINKLER and prefix < min(a.size, b.size) and x[prefix] == y[prefix]:
        prefix += 1
    return sum >= _ENOUGH[prefix] * product and jaro_winkler(x, a.size, y, b.size) >= SIMILAR


cdef inline int _best(
    const Features* one, const Word* words, int count,
    const Features* other, const Word* others, int other_count,
) noexcept nogil:
    cdef int i, j, level, best = ABSENT
    for i in range(count):
        for j in range(other_count):
            level = _word_level(one, words + i, other, others + j)
            if level == N_SAME and i + j:
                level = N_ALIAS
            if level > best:
                best = level
                if best == N_SAME:
                    return best
    return best


cdef inline int _first_level(const Features* one, const Features* other) noexcept nogil:
    cdef const Word* a = firsts_of(one)
    cdef const Word* b = firsts_of(other)
    cdef int level = _best(one, a, one.firsts, other, b, other.firsts)
    if one.firsts > 1 and other.firsts > 1 and level >= N_ALIAS and not (
        (a[1].flags | b[1].flags) & INITIAL
    ):
        if _word_level(one, a + 1, other, b + 1) == DIFFERENT:
            level = N_SIMILAR
    if level <= N_SIMILAR and level > ABSENT and (_is_middle(one, other) or _is_middle(other, one)):
        return N_ALIAS
    return level


cdef inline bint _is_middle(const Features* one, const Features* other) noexcept nogil:
    """Tell whether a middle name is a first name of the other."""
    return one.middles and _best(
        one, middles_of(one), one.middles, other, firsts_of(other), other.firsts
    ) >= N_ALIAS


cdef inline int _last_level(const Features* one, const Features* other) noexcept nogil:
    if one.lasts == 0 or other.lasts == 0:
        return ABSENT
    if one.lasts == 1 and other.lasts == 1:
        return _word_level(one, lasts_of(one), other, lasts_of(other))
    if one.lasts > other.lasts:
        one, other = other, one
    return _level_of_several(one, other)


cdef int _level_of_several(const Features* few, const Features* many) noexcept nogil:
    cdef int i, j, level, best, worst = N_SAME, top = ABSENT
    cdef int back[ROLE_WORDS]
    memset(back, 0, sizeof(back))
    for i in range(few.lasts):
        best = ABSENT
        for j in range(many.lasts):
            level = _word_level(few, lasts_of(few) + i, many, lasts_of(many) + j)
            best = max(best, level)
            back[j] = max(back[j], level)
        worst = min(worst, best)
        top = max(top, best)
    if few.lasts == many.lasts:
        for j in range(many.lasts):  # a word may stand twice in one of both
            worst = min(worst, back[j])
        return worst if worst >= N_TYPO else N_INITIAL if top >= N_TYPO else worst
    return N_INITIAL if top >= N_TYPO else top if top < N_INITIAL else N_SIMILAR


cdef inline bint _cross(
    const Features* one, const Features* other, int* first, int* last
) noexcept nogil:
    """Tell whether names stand in swapped order; then they have the levels of that."""
    cdef int low, high = _word_level(one, firsts_of(one), other, lasts_of(other))
    if high < N_SIMILAR:
        return False
    low = _word_level(one, lasts_of(one), other, firsts_of(other))
    low, high = min(low, high), max(low, high)
    if low >= N_TYPO or (high >= N_TYPO and low >= N_SIMILAR and first[0] + last[0] <= 3):
        first[0], last[0] = low, high
        return True
    return False


cdef inline void _compare_names(
    const Features* one, const Features* other, Vector* to
) noexcept nogil:
    cdef int first = _first_level(one, other), last = _last_level(one, other), middle
    to.levels[F_ORDER] = ABSENT
    if one.firsts and other.firsts and one.lasts and other.lasts:
        to.levels[F_ORDER] = 1
        if first <= N_INITIAL and last <= N_INITIAL and _cross(one, other, &first, &last):
            to.levels[F_ORDER] = 2
    middle = _best(one, middles_of(one), one.middles, other, middles_of(other), other.middles)
    if one.script != other.script:
        # What Han characters are read as is a guess: that it differs says nothing.
        first, last, middle = _unread(first), _unread(last), _unread(middle)
    if to.levels[F_EMAIL] < E_LOCAL or one.script != other.script:
        if first <= N_INITIAL and _is_either_named(
            one, firsts_of(one), one.firsts, other, firsts_of(other), other.firsts
        ):
            first = N_ALIAS
        if last <= N_SOUND and _is_either_named(
            one, lasts_of(one), one.lasts, other, lasts_of(other), other.lasts
        ):
            last = N_INITIAL
    to.levels[F_FIRST] = first
    to.levels[F_LAST] = last
    to.levels[F_MIDDLE] = middle
    if first == N_SAME:
        to.rarity[F_FIRST] = min(
            RAREST_FIRST, min(one.rarities[R_FIRST], other.rarities[R_FIRST])
        )
    if last == N_SAME:
        to.rarity[F_LAST] = min(
            RAREST_LAST, min(one.rarities[R_LAST], other.rarities[R_LAST])
        )


cdef inline int _unread(int level) noexcept nogil:
    return level if level >= N_SOUND else ABSENT


cdef inline bint _is_either_named(
    const Features* one, const Word* word, int count,
    const Features* other, const Word* other_word, int other_count,
) noexcept nogil:
    """Tell whether an e-mail of one record has the first or last name of the other in full."""
    return (other_count and _is_named_by(one, other, other_word)) or (
        count and _is_named_by(other, one, word)
    )


cdef inline bint _is_named_by(
    const Features* one, const Features* other, const Word* word
) noexcept nogil:
    cdef const Email* email = emails_of(one)
    cdef int i
    if word.size >= NAME_LETTERS:
        for i in range(one.emails):
            if has_letters(email[i].letters, word.letters) and _has_text(
                text_of(one, email[i].text), email[i].text.size, word_text(other, word), word.size
            ):
                return True
    return False


cdef bint _has_text(Bytes text, int size, Bytes part, int part_size) noexcept nogil:
    cdef int at
    for at in range(size - part_size + 1):
        if text[at] == part[0] and memcmp(text + at, part, part_size) == 0:
            return True
    return False


# Other fields

cdef inline void _compare_emails(
    const Features* one, const Features* other, Vector* to
) noexcept nogil:
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
            elif _are_near(one, &a[i], other, &b[j]):
                level = E_DIGITS if _same_letters(one, a[i].text, other, b[j].text) else E_NEAR
                if (a[i].flags | b[j].flags) & NAMED:
                    level = E_DIGITS
            else:
                level = DIFFERENT
            if level > best or (level == best and this_rarity > rarity):
                best, rarity = level, this_rarity
    to.levels[F_EMAIL] = best
    to.rarity[F_EMAIL] = rarity


cdef inline bint _are_near(
    const Features* one, const Email* a, const Features* other, const Email* b
) noexcept nogil:
    cdef int size = min(a.text.size, b.text.size), more = max(a.text.size, b.text.size)
    return size >= 6 and more - common_letters(a.letters, b.letters) <= 2 and edits(
        text_of(one, a.text), a.text.size, text_of(other, b.text), b.text.size, 2
    ) <= 2


cdef inline bint _same_letters(
    const Features* one, Span a, const Features* other, Span b
) noexcept nogil:
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


cdef inline void _compare_phones(
    const Features* one, const Features* other, Vector* to
) noexcept nogil:
    cdef const Phone* a = phones_of(one)
    cdef const Phone* b = phones_of(other)
    cdef int i, j, best = ABSENT
    for i in range(one.phones):
        for j in range(other.phones):
            if a[i].digits == b[j].digits:
                to.rarity[F_PHONE] = max(to.rarity[F_PHONE], a[i].rarity)
                best = P_SAME
            elif best < P_SAME:
                best = max(best, DIFFERENT)
                if _are_digits_alike(a[i].digits, b[j].digits):
                    best = max(best, _digits_level(a[i].digits, b[j].digits))
    to.levels[F_PHONE] = best


cdef int _digits_level(uint64_t a, uint64_t b) noexcept nogil:
    cdef uint8_t texts[2][DIGITS]
    cdef int a_at = _write_digits(a, texts[0]), b_at = _write_digits(b, texts[1]), level
    level = numbers(texts[0] + a_at, DIGITS - a_at, texts[1] + b_at, DIGITS - b_at)
    return P_NEAR if level == NUMBER_EDIT else P_TAIL if level == NUMBER_ENDING else DIFFERENT


cdef inline bint _are_digits_alike(uint64_t a, uint64_t b) noexcept nogil:
    """Tell whether two numbers may be near: one edit leaves the ending alone, or what is ahead."""
    cdef uint64_t a_head = a // (10 * ENDING_UNIT), b_head = b // (10 * ENDING_UNIT)
    return (
        (a_head == b_head) | (a_head == b // ENDING_UNIT) | (a // ENDING_UNIT == b_head)
        | (a % ENDING_UNIT == b % ENDING_UNIT)
    )


cdef inline int _write_digits(uint64_t number, uint8_t* to) noexcept nogil:
    """Write a number at the end of DIGITS places; return where it begins."""
    cdef int at = DIGITS
    while number:
        at -= 1
        to[at] = 48 + number % 10
        number //= 10
    return at


cdef inline void _compare_years(
    const Features* one, const Features* other, Vector* to
) noexcept nogil:
    """Compare years in e-mails with the other's year of birth, where births do not say more."""
    cdef int i, j, level = ABSENT
    if one.birth and other.birth:
        return
    for i in range(one.emails):
        level = max(level, _year_level(emails_of(one)[i].year, _short_year(other.birth)))
    for j in range(other.emails):
        level = max(level, _year_level(emails_of(other)[j].year, _short_year(one.birth)))
    if 0 < to.levels[F_EMAIL] < E_LOCAL:
        for i in range(one.emails):
            for j in range(other.emails):
                level = max(level, _year_level(emails_of(one)[i].year, emails_of(other)[j].year))
    to.levels[F_YEAR] = level


cdef inline int _short_year(uint32_t birth) noexcept nogil:
    return 1 + (birth >> 9) % 100 if birth >> 9 else 0


cdef inline int _year_level(int one, int other) noexcept nogil:
    return ABSENT if not one or not other else SAME if one == other else DIFFERENT


cdef inline void _compare_places(
    const Features* one, const Features* other, Vector* to
) noexcept nogil:
    cdef int level = ABSENT
    if one.postcode.size and other.postcode.size:
        level = _postcode_level(
            text_of(one, one.postcode), one.postcode.size,
            text_of(other, other.postcode), other.postcode.size,
        )
        if level == L_SAME:
            to.rarity[F_PLACE] = one.rarities[R_POSTCODE]
        elif level != L_NEAR and _is_same_text(one, one.city, other, other.city):
            level = L_CITY
    elif one.city.size and other.city.size:
        level = L_CITY if _is_same_text(one, one.city, other, other.city) else DIFFERENT
        if level == DIFFERENT and min(one.city.size, other.city.size) >= 4 and edits(
            text_of(one, one.city), one.city.size, text_of(other, other.city), other.city.size, 1
        ) <= 1:
            level = L_CITY
    if level == L_CITY:
        to.rarity[F_PLACE] = min(one.rarities[R_CITY], other.rarities[R_CITY])
    to.levels[F_PLACE] = level


cdef inline int _postcode_level(Bytes a, int n, Bytes b, int m) noexcept nogil:
    if n == m and memcmp(a, b, n) == 0:
        return L_SAME
    # One edit of three letters or more leaves the first or the last one alone, an area the first.
    if a[0] != b[0] and a[n - 1] != b[m - 1] and min(n, m) > 2:
        return DIFFERENT
    if edits(a, n, b, m, 1) <= 1:
        return L_NEAR
    return L_PREFIX if same_area(a, n, b, m) else DIFFERENT


cdef inline bint _is_same_text(
    const Features* one, Span a, const Features* other, Span b
) noexcept nogil:
    return a.size > 0 and a.size == b.size and (
        memcmp(text_of(one, a), text_of(other, b), a.size) == 0
    )


cdef inline void _compare_streets(
    const Features* one, const Features* other, Vector* to
) noexcept nogil:
    cdef int level = ABSENT
    cdef bint same_number
    cdef float alike_by = 0
    if one.street.size and other.street.size:
        if one.street_hash == other.street_hash:
            level = S_SAME
            if to.levels[F_PLACE] == L_SAME:
                to.rarity[F_STREET] = min(one.rarities[R_STREET], other.rarities[R_STREET])
                to.rarity[F_STREET] -= min(to.rarity[F_STREET], one.rarities[R_POSTCODE])
            else:
                to.rarity[F_STREET] = one.rarities[R_STREET_ANYWHERE]
        else:
            same_number = _is_same_text(one, one.number, other, other.number)
            if _may_share_words(one.street_words, other.street_words):
                alike_by = words(
                    text_of(one, one.street), one.street.size,
                    text_of(other, other.street), other.street.size,
                )
            if alike_by >= 0.6 and _have_other_words(one, other):
                alike_by = 0
            if same_number and alike_by >= 0.75:
                level = S_NEAR
            elif alike_by >= 0.6:
                level = S_STREET
            elif same_number:
                level = S_NUMBER
            else:
                level = DIFFERENT
    to.levels[F_STREET] = level


cdef inline bint _may_share_words(uint64_t a, uint64_t b) noexcept nogil:
    """Tell whether so many words begin or end as one of the other that `words` may reach 0.6."""
    cdef uint64_t starts = 0, ends = 0, other_starts = 0, other_ends = 0
    cdef int count, other_count, found
    if not (a and b):
        return True
    count, other_count = _note_ends(a, &starts, &ends), _note_ends(b, &other_starts, &other_ends)
    found = min(_count_met(a, other_starts, other_ends), _count_met(b, starts, ends))
    return 1000 * found * found >= 359 * count * other_count  # a little less: it is rounded


cdef inline int _note_ends(uint64_t words, uint64_t* starts, uint64_t* ends) noexcept nogil:
    cdef int count = 0
    while words:
        starts[0] |= <uint64_t>1 << (words & END_MASK)
        ends[0] |= <uint64_t>1 << (words >> END_BITS & END_MASK)
        words >>= 2 * END_BITS
        count += 1
    return count


cdef inline int _count_met(uint64_t words, uint64_t starts, uint64_t ends) noexcept nogil:
    cdef int found = 0
    while words:
        found += (starts >> (words & END_MASK) | ends >> (words >> END_BITS & END_MASK)) & 1
        words >>= 2 * END_BITS
    return found


cdef bint _have_other_words(const Features* one, const Features* other) noexcept nogil:
    """Tell whether each of two streets has a name that the other has not, whatever they share.

    "Plot 2, Lake Colony" and "Plot 2, Hill Colony" share three words of four.
    """
    return _has_own_word(one, other) and _has_own_word(other, one)


cdef bint _has_own_word(const Features* one, const Features* other) noexcept nogil:
    cdef Bytes text = text_of(one, one.street)
    cdef Bytes others = text_of(other, other.street)
    cdef int at = 0, end, start, stop
    cdef bint found
    while at < one.street.size:
        end = _end_of_word(text, at, one.street.size)
        if end - at >= ROAD_LETTERS and not b"0" <= text[at] <= b"9":
            start, found = 0, False
            while start < other.street.size and not found:
                stop = _end_of_word(others, start, other.street.size)
                found = _is_word_like(text + at, end - at, others + start, stop - start)
                start = stop + 1
            if not found:
                return True
        at = end + 1
    return False


cdef inline int _end_of_word(Bytes text, int at, int size) noexcept nogil:
    while at < size and text[at] != b" ":
        at += 1
    return at


cdef inline bint _is_word_like(Bytes a, int n, Bytes b, int m) noexcept nogil:
    """Tell whether a word may be another: a typo, or shortened."""
    cdef int common = min(n, m)
    if common == 0:
        return False
    if a[0] == b[0] and (memcmp(a, b, common) == 0 or n != m and a[n - 1] == b[m - 1]):
        return True
    return edits(a, n, b, m, 2 if common >= 7 else 1) <= (2 if common >= 7 else 1)


cdef inline int _words_level(
    const Features* one, Span a, const Features* other, Span b
) noexcept nogil:
    """Compare texts that are not the same."""
    cdef double alike_by = words(text_of(one, a), a.size, text_of(other, b), b.size)
    return C_NEAR if alike_by >= 0.8 else C_PART if alike_by >= 0.5 else DIFFERENT


cdef inline void _compare_companies(
    const Features* one, const Features* other, Vector* to
) noexcept nogil:
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
    memset(to, 0, sizeof(Vector))
    _compare_facts(one, other, to)
    _compare_points(one, other, to)
    _compare_places(one, other, to)
    _compare_names(one, other, to)
    _compare_texts(one, other, to)


cdef inline void _compare_facts(
    const Features* one, const Features* other, Vector* to
) noexcept nogil:
    if one.gender and other.gender:
        to.levels[F_GENDER] = SAME if one.gender == other.gender else DIFFERENT
    if one.generation and other.generation:
        to.levels[F_GENERATION] = SAME if one.generation == other.generation else DIFFERENT
    if one.birth and other.birth:
        to.levels[F_BIRTH] = _birth_level(one.birth, other.birth)
        if to.levels[F_BIRTH] == B_SAME:
            to.rarity[F_BIRTH] = one.rarities[R_BIRTH]


cdef inline void _compare_points(
    const Features* one, const Features* other, Vector* to
) noexcept nogil:
    _compare_emails(one, other, to)
    _compare_phones(one, other, to)
    _compare_years(one, other, to)


cdef inline void _compare_texts(
    const Features* one, const Features* other, Vector* to
) noexcept nogil:
    cdef int i
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


cdef inline bint _has_extras(const Vector* vector) noexcept nogil:
    cdef uint64_t levels
    memcpy(&levels, vector.levels + F_EXTRA, FIELDS - F_EXTRA)
    return levels != 0


cdef struct Sum:
    float known[OTHERS]  # bits of the fields that were compared, for each class
    float open[OTHERS]  # at most, of those that are still to be


cdef struct Says:  # a level of a field; an absent one nothing
    float bits[OTHERS]
    float rare[OTHERS]  # bits for each unit of the value's rarity


cdef class Weights:
    """What each level of each field says, in bits, against each class of other people."""

    cdef Says says[FIELDS][LEVELS]
    cdef float most[FIELDS][OTHERS]  # that a field says, beside rarity
    cdef float priors[OTHERS]

    def __init__(self, bits, rare, priors):
        """Take `bits` and `rare` by class, field and level: `rare` says where rarity is added."""
        cdef int field, level, other
        cdef Says* says
        for other in range(OTHERS):
            self.priors[other] = priors[other]
            for field in range(FIELDS):
                self.most[field][other] = max(0.0, max(bits[other][field]))
                for level in range(LEVELS):
                    says = &self.says[field][level]
                    says.bits[other] = bits[other][field][level] if level else 0.0
                    says.rare[other] = (
                        1.0 / RARITY_UNITS if level and rare[other][field][level] else 0.0
                    )

    cdef inline void start(self, Sum* sum) noexcept nogil:
        cdef int other
        for other in range(OTHERS):
            sum.known[other], sum.open[other] = self.priors[other], 0

    cdef inline void know(self, Sum* sum, int field, const Vector* vector) noexcept nogil:
        """Add what a field says."""
        cdef const Says* says = &self.says[field][vector.levels[field]]
        cdef float rarity = vector.rarity[field]
        cdef int other
        for other in range(OTHERS):
            sum.known[other] += says.bits[other] + says.rare[other] * rarity

    cdef inline void expect(self, Sum* sum, int field, int same, int rarity) noexcept nogil:
        """Add what a field may say at most; `same` is its level with a rarity, 0 if it is not."""
        cdef int other
        cdef float bits
        for other in range(OTHERS):
            bits = self.most[field][other]
            if same:
                bits = max(
                    bits,
                    self.says[field][same].bits[other]
                    + self.says[field][same].rare[other] * rarity,
                )
            sum.open[other] += bits

    cdef inline float least(self, const Sum* sum, bint with_open) noexcept nogil:
        """Return the weight against the class that it is least against."""
        cdef int other
        cdef float least = 1000
        for other in range(OTHERS):
            least = min(least, sum.known[other] + (sum.open[other] if with_open else 0))
        return least

    cdef inline float weigh(self, const Vector* vector) noexcept nogil:
        """Return the match weight of a comparison."""
        cdef Sum sum
        cdef int field
        self.start(&sum)
        for field in range(F_EXTRA):
            self.know(&sum, field, vector)
        if _has_extras(vector):
            for field in range(F_EXTRA, FIELDS):
                self.know(&sum, field, vector)
        return self.least(&sum, False)


cdef float _weigh_within(
    Weights weights, const Features* one, const Features* other, float keep, Vector* to
) noexcept nogil:
    """Compare, the cheap fields first, and weigh; HOPELESS where `keep` cannot be reached."""
    cdef Sum sum
    cdef int field
    memset(to, 0, sizeof(Vector))
    _compare_facts(one, other, to)
    _compare_points(one, other, to)
    _compare_places(one, other, to)
    weights.start(&sum)
    for field in range(F_GENDER, F_STREET):
        weights.know(&sum, field, to)
    weights.know(&sum, F_PLACE, to)
    weights.know(&sum, F_YEAR, to)
    _expect_texts(weights, one, other, to, &sum)
    weights.expect(&sum, F_FIRST, N_SAME, min(one.rarities[R_FIRST], other.rarities[R_FIRST]))
    weights.expect(&sum, F_LAST, N_SAME, min(one.rarities[R_LAST], other.rarities[R_LAST]))
    weights.expect(&sum, F_MIDDLE, ABSENT, 0)
    weights.expect(&sum, F_ORDER, ABSENT, 0)
    if weights.least(&sum, True) < keep:
        return HOPELESS
    _compare_names(one, other, to)
    for field in range(F_FIRST, F_GENDER):
        weights.know(&sum, field, to)
    memset(sum.open, 0, sizeof(sum.open))
    _expect_texts(weights, one, other, to, &sum)
    if weights.least(&sum, True) < keep:
        return HOPELESS
    _compare_texts(one, other, to)
    weights.know(&sum, F_STREET, to)
    weights.know(&sum, F_COMPANY, to)
    for field in range(F_EXTRA, F_EXTRA + min(one.extras, other.extras)):
        weights.know(&sum, field, to)
    return weights.least(&sum, False)


cdef inline void _expect_texts(
    Weights weights, const Features* one, const Features* other, const Vector* to, Sum* sum
) noexcept nogil:
    """Add what the fields say at most that are compared by their words."""
    cdef int i
    if one.street.size and other.street.size:
        weights.expect(
            sum, F_STREET, S_SAME if one.street_hash == other.street_hash else ABSENT,
            max(one.rarities[R_STREET], one.rarities[R_STREET_ANYWHERE]),
        )
    if one.company.size and other.company.size:
        weights.expect(sum, F_COMPANY, C_SAME, one.rarities[R_COMPANY])
    for i in range(min(one.extras, other.extras)):
        if extras_of(one)[i].hash and extras_of(other)[i].hash:
            weights.expect(sum, F_EXTRA + i, C_SAME, extras_of(one)[i].rarity)


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


cdef inline void _fetch_features(const Features* one) noexcept nogil:
    """Have features on their way to the processor before they are looked at."""
    cdef int line
    for line in range(0, FETCHED_BYTES, 64):
        FETCH(<const char*>one + line)


def weigh_pairs(
    Packed packed not None, Weights weights not None,
    const uint32_t[::1] ones, const uint32_t[::1] others, float[::1] out,
):
    """Write the match weight of pairs."""
    _check(packed, ones, others)
    if out.shape[0] != ones.shape[0]:
        raise ValueError("one place for each pair")
    cdef Py_ssize_t i, ahead
    cdef Vector vector
    with nogil:
        for i in range(ones.shape[0]):
            ahead = min(i + PAIRS_AHEAD, ones.shape[0] - 1)
            _fetch_features(features_at(packed, ones[ahead]))
            _fetch_features(features_at(packed, others[ahead]))
            compare(features_at(packed, ones[i]), features_at(packed, others[i]), &vector)
            out[i] = weights.weigh(&vector)


# Blocks

cpdef enum:
    KEYS = 27  # of a record
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
    KEY_BIRTH = 18
    KEY_STREET_ALONE = 19
    KEY_FIRST_CITY = 20
    KEY_LAST_CITY = 21
    KEY_FIRST_POST = 22
    KEY_LAST_POST = 23
    KEY_POST_BIRTH = 24
    KEY_STREET_WORD = 25
    KEY_EXTRA = 26
    STRONG = 60  # records of a block of which all pairs are compared: 1,770
    WEAK = 12  # 66; more of them find next to nothing more

SECOND_KEYS = 4  # birth date, name, place, e-mail
#: Kinds of blocking keys: what they are of, the first of them, how many a record has, and of how
#: many records a block may be that is compared as a whole. Weak keys have more pairs with each
#: record that there is, and hardly more of one person: they are to find what others miss.
FAMILIES = (
    ("e-mail", KEY_EMAIL, 4, STRONG),
    ("phone", KEY_PHONE, 4, STRONG),
    ("birth date, last name", KEY_BIRTH_LAST, 1, STRONG),
    ("birth date, first name", KEY_BIRTH_FIRST, 1, STRONG),
    ("birth date, place", KEY_BIRTH_PLACE, 1, STRONG),
    ("first and last name", KEY_NAME, 1, WEAK),
    ("sound of the names, place", KEY_SOUND_PLACE, 1, WEAK),
    ("street, initial", KEY_STREET, 1, STRONG),
    ("local part of the e-mail", KEY_LOCAL, 1, STRONG),
    ("first digits of the phone, first name", KEY_PHONE_HEAD, 1, WEAK),
    ("last digits of the phone, last name", KEY_PHONE_TAIL, 1, WEAK),
    ("last name, initial, year of birth", KEY_YEAR, 1, WEAK),
    ("birth date", KEY_BIRTH, 1, WEAK),
    ("street", KEY_STREET_ALONE, 1, WEAK),
    ("first name, city", KEY_FIRST_CITY, 1, WEAK),
    ("last name, city", KEY_LAST_CITY, 1, WEAK),
    ("first name, postcode", KEY_FIRST_POST, 1, WEAK),
    ("last name, postcode", KEY_LAST_POST, 1, WEAK),
    ("postcode, year of birth", KEY_POST_BIRTH, 1, WEAK),
    ("a word of the street, first name", KEY_STREET_WORD, 1, WEAK),
    ("further column", KEY_EXTRA, 1, STRONG),
)


cdef inline uint32_t _short(uint64_t one, uint64_t other, uint64_t family) noexcept nogil:
    cdef uint32_t key
    if one == 0 or other == 0:
        return 0
    key = <uint32_t>(mixed(mixed(one, other), family) >> 32)
    return key if key else 1


cdef inline uint64_t _sound_of(const Features* one, const Word* word) noexcept nogil:
    return word.sound if word.sound else word_hash(one, word)


cdef void _keys_of(const Features* one, uint32_t* keys) noexcept nogil:
    """Write the blocking keys of a record, 0 where it has none."""
    cdef const Word* words = firsts_of(one)
    cdef const Word* last_words = lasts_of(one)
    cdef uint64_t first = 0, last = 0, initial = 0, birth = one.birth, year = one.birth >> 9
    cdef uint64_t city = hash_of(text_of(one, one.city), one.city.size)
    cdef uint64_t post = hash_of(text_of(one, one.postcode), one.postcode.size)
    cdef uint64_t place = post if post else one.place_hash, region = place
    cdef int i
    memset(keys, 0, KEYS * sizeof(uint32_t))
    if one.firsts:
        first = _sound_of(one, words)
        initial = word_text(one, words)[0]
    if one.lasts:
        last = _sound_of(one, last_words)
    if one.postcode.size >= 2:
        region = hash_of(text_of(one, one.postcode), min(one.postcode.size, 3))
    for i in range(one.emails):
        keys[KEY_EMAIL + i] = _short(emails_of(one)[i].key, 1, 1)
    for i in range(one.phones):
        keys[KEY_PHONE + i] = _short(phones_of(one)[i].digits, 1, 2)
    keys[KEY_BIRTH_LAST] = _short(birth, last, 3)
    keys[KEY_BIRTH_FIRST] = _short(birth, first, 4)
    keys[KEY_BIRTH_PLACE] = _short(birth, place, 5)
    if first and last:
        # Either order: who swapped the names is met as well.
        keys[KEY_NAME] = _short(word_hash(one, words) ^ word_hash(one, last_words), 1, 6)
        keys[KEY_SOUND_PLACE] = _short((first ^ last) + first + last, region, 7)
        keys[KEY_YEAR] = _short(mixed(last, initial), year, 11)
    if one.street_hash and initial:
        keys[KEY_STREET] = _short(one.street_hash, mixed(initial, place), 8)
    keys[KEY_BIRTH] = _short(birth, 1, 15)
    keys[KEY_STREET_ALONE] = _short(one.street_hash, 1, 16)
    keys[KEY_FIRST_CITY] = _short(first, city, 17)
    keys[KEY_LAST_CITY] = _short(last, city, 18)
    keys[KEY_FIRST_POST] = _short(first, post, 19)
    keys[KEY_LAST_POST] = _short(last, post, 20)
    keys[KEY_POST_BIRTH] = _short(post, year, 21)
    if one.street.size:
        keys[KEY_STREET_WORD] = _short(
            longest_word(text_of(one, one.street), one.street.size),
            mixed(first, one.number.size), 22,
        )
    for i in range(one.extras):
        if not extras_of(one)[i].is_text and extras_of(one)[i].rarity >= 8 * RARITY_UNITS:
            keys[KEY_EXTRA] = _short(extras_of(one)[i].hash, i + 1, 23)
            break
    if one.emails:
        keys[KEY_LOCAL] = _short(emails_of(one)[0].local, 1, 9)
    if one.phones:
        keys[KEY_PHONE_HEAD] = _short(phones_of(one)[0].digits // 10_000, first, 10)
        keys[KEY_PHONE_TAIL] = _short(phones_of(one)[0].digits % 100_000, last, 14)


cdef bint _has_row_beyond(const uint64_t* entries, Py_ssize_t size, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        if <Py_ssize_t><uint32_t>entries[i] >= rows:
            return True
    return False


cdef int _check_rows(const uint64_t[::1] entries, Py_ssize_t rows) except -1:
    if entries.shape[0] and _has_row_beyond(&entries[0], entries.shape[0], rows):
        raise IndexError("no such row")
    return 0


cdef inline bint _is_drawn(uint32_t key, uint32_t sample) noexcept nogil:
    return key != 0 and (sample == 1 or mixed(key, sample) % sample == 0)


def sort_out(uint64_t[::1] entries, Py_ssize_t limit):
    """Put entries of blocks that have pairs first, and behind them those of large blocks.

    `entries` are sorted. Returns how many there are of both, how many blocks, and how many large
    ones. What is left behind is of no use.
    """
    cdef Py_ssize_t at = 0, stop, used = 0, blocks = 0, large_blocks = 0, large = 0, i
    cdef Py_ssize_t total = entries.shape[0]
    cdef uint64_t* spare = NULL
    cdef Py_ssize_t room = 0
    with nogil:
        while at < total:
            stop = _end_of_block(entries, at)
            if stop - at > limit:
                large += stop - at
            at = stop
        if large:
            spare = <uint64_t*>malloc(large * sizeof(uint64_t))
            if spare == NULL:
                with gil:
                    raise MemoryError
        at = 0
        while at < total:
            stop = _end_of_block(entries, at)
            if stop - at > limit:
                memcpy(spare + room, &entries[at], (stop - at) * sizeof(uint64_t))
                room += stop - at
                large_blocks += 1
            elif stop - at > 1:
                for i in range(at, stop):
                    entries[used] = entries[i]
                    used += 1
                blocks += 1
            at = stop
        if large:
            memcpy(&entries[used], spare, large * sizeof(uint64_t))
        free(spare)
    return used, large, blocks, large_blocks


cdef inline Py_ssize_t _end_of_block(const uint64_t[::1] entries, Py_ssize_t at) noexcept nogil:
    cdef uint64_t key = entries[at] >> 32
    while at < entries.shape[0] and entries[at] >> 32 == key:
        at += 1
    return at


cdef class Blocks:
    """Blocking keys of records: KEYS of 32 bits each, 0 for none."""

    cdef readonly Py_ssize_t count
    cdef uint32_t* keys

    def __cinit__(self, Packed packed not None, map=map):
        """Make the keys of all records, in parts by `map`: that of a pool does several at once."""
        self.count = packed.count
        self.keys = <uint32_t*>malloc(max(packed.count, 1) * KEYS * sizeof(uint32_t))
        if self.keys == NULL:
            raise MemoryError
        firsts = range(0, packed.count, ROWS_OF_A_PART)
        for _ in map(partial(self._make, packed), firsts):
            pass

    def _make(self, Packed packed, Py_ssize_t first):
        cdef Py_ssize_t row
        with nogil:
            for row in range(first, min(first + ROWS_OF_A_PART, packed.count)):
                _keys_of(features_at(packed, row), self.keys + row * KEYS)

    def __dealloc__(self):
        free(self.keys)

    def entries(self, int first, int width, uint32_t sample=1):
        """Return the keys of a family, each with its row, as one number: key << 32 | row.

        Of `sample` keys one is taken, with all of its rows.
        """
        if not (0 <= first <= first + width <= KEYS and sample):
            raise IndexError(first)
        cdef Py_ssize_t row, used = 0, room = 0
        cdef int i
        cdef uint32_t key
        with nogil:
            for row in range(self.count):
                for i in range(first, first + width):
                    room += _is_drawn(self.keys[row * KEYS + i], sample)
        made = PyBytes_FromStringAndSize(NULL, room * 8)
        cdef uint64_t* to = <uint64_t*><char*>made
        with nogil:
            for row in range(self.count):
                for i in range(first, first + width):
                    key = self.keys[row * KEYS + i]
                    if _is_drawn(key, sample):
                        to[used] = (<uint64_t>key << 32) | <uint64_t>row
                        used += 1
        return made

    def forget(self, const uint64_t[::1] entries, int first, int width):
        """Take back keys: their blocks were too large, and did not give all of their pairs."""
        _check_rows(entries, self.count)
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
    """Write the entries of large blocks anew, under keys of the old and of one of SECOND_KEYS."""
    if out.shape[0] != entries.shape[0]:
        raise ValueError("one place for each entry")
    _check_rows(entries, packed.count)
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
                value = one.sorted_name
            elif which == 2:
                value = one.place_hash
            elif one.emails:
                value = emails_of(one)[0].local
            out[i] = (<uint64_t>_short(entries[i] >> 32, value, 77 + which) << 32) | row


cdef enum:
    AHEAD = 24  # rows: they come from memory while as many are compared

cpdef enum:
    BINS = 64  # of the histogram of match weights, a bit each
    LEAST_BIN = -16  # bits of the first, which has all below as well

cdef struct _Found:
    uint32_t* ones
    uint32_t* others
    float* weights
    uint8_t* vectors
    Py_ssize_t count, room
    int64_t compared
    int64_t bins[BINS]
    bint failed


cdef class Search:
    """What is looked for in blocks: pairs of at least a weight, or vectors of all to learn from."""

    cdef Packed packed
    cdef Blocks blocks
    cdef Weights weights
    cdef float keep
    cdef const uint8_t* sides
    cdef object _owner

    def __init__(self, Packed packed not None, Blocks blocks not None, Weights weights, float keep,
                 const uint8_t[::1] sides=None):
        """Keep pairs of the weight `keep`, in bits; without `weights` vectors of all are kept.

        With `sides`, a number for each row, pairs within one side are left out.
        """
        if blocks.count != packed.count or sides is not None and sides.shape[0] != packed.count:
            raise ValueError("as many rows in all")
        self.packed, self.blocks, self.weights, self.keep = packed, blocks, weights, keep
        self.sides = &sides[0] if sides is not None and packed.count else NULL
        self._owner = sides

    def compare(self, const uint64_t[::1] entries, Py_ssize_t begin, Py_ssize_t end, int first,
                Py_ssize_t limit, Py_ssize_t window):
        """Compare the pairs of the blocks that begin in entries[begin:end].

        Pairs that share a key of a family before `first` are left out: they were met there. A
        block longer than `limit` is compared within `window` neighbours.
        Returns (ones, others, weights, vectors, compared, histogram).
        """
        cdef _Found found
        cdef Py_ssize_t at = begin, stop
        cdef bint wrong = False
        if not 0 <= begin <= end <= entries.shape[0]:
            raise ValueError("no such entries")
        memset(&found, 0, sizeof(_Found))
        with nogil:
            while at < end and at > 0 and entries[at] >> 32 == entries[at - 1] >> 32:
                at += 1
            while at < end and not found.failed:
                stop = _end_of_block(entries, at)
                if _has_row_beyond(&entries[at], stop - at, self.packed.count):
                    wrong = True
                    break
                self._compare_block(entries, at, stop, first, limit, window, &found)
                at = stop
        try:
            if wrong:
                raise IndexError("no such row")
            if found.failed:
                raise MemoryError
            return _as_bytes(&found, self.weights is None)
        finally:
            free(found.ones)
            free(found.others)
            free(found.weights)
            free(found.vectors)

    cdef void _compare_block(self, const uint64_t[::1] entries, Py_ssize_t at, Py_ssize_t stop,
                             int first, Py_ssize_t limit, Py_ssize_t window,
                             _Found* found) noexcept nogil:
        cdef Py_ssize_t i, j, last
        for i in range(at, stop):
            self._fetch(entries, i)
            last = stop if stop - at <= limit else min(stop, i + 1 + window)
            for j in range(i + 1, last):
                self._compare_pair(<uint32_t>entries[i], <uint32_t>entries[j], first, found)

    cdef inline void _fetch(self, const uint64_t[::1] entries, Py_ssize_t at) noexcept nogil:
        """Have what is compared of rows further on under way to the processor."""
        cdef uint32_t row
        if at + 2 * AHEAD >= entries.shape[0]:
            return
        row = min(<uint32_t>entries[at + 2 * AHEAD], <uint32_t>self.packed.count - 1)
        FETCH(&self.packed._places[row])
        row = min(<uint32_t>entries[at + AHEAD], <uint32_t>self.packed.count - 1)
        _fetch_features(features_at(self.packed, row))
        FETCH(self.blocks.keys + <int64_t>row * KEYS)
        FETCH(self.blocks.keys + <int64_t>row * KEYS + 16)

    cdef inline void _compare_pair(
        self, uint32_t one, uint32_t other, int first, _Found* found
    ) noexcept nogil:
        cdef Vector vector
        cdef float weight = 0
        if one == other or self.sides and self.sides[one] == self.sides[other]:
            return
        if self.blocks.met(one, other, first):
            return
        found.compared += 1
        one, other = min(one, other), max(one, other)
        if self.weights is None:
            compare(features_at(self.packed, one), features_at(self.packed, other), &vector)
        else:
            weight = _weigh_within(
                self.weights, features_at(self.packed, one), features_at(self.packed, other),
                self.keep, &vector,
            )
            found.bins[min(max(<int>(weight - LEAST_BIN), 0), BINS - 1)] += 1
            if weight < self.keep:
                return
        if found.count == found.room and _grow(found, self.weights is None):
            found.failed = True
            return
        found.ones[found.count], found.others[found.count] = one, other
        if self.weights is None:
            memcpy(found.vectors + found.count * 2 * FIELDS, &vector, 2 * FIELDS)
        else:
            found.weights[found.count] = weight
        found.count += 1


cdef tuple _as_bytes(const _Found* found, bint train):
    cdef Py_ssize_t count = found.count
    return (
        PyBytes_FromStringAndSize(<char*>found.ones, count * 4),
        PyBytes_FromStringAndSize(<char*>found.others, count * 4),
        b"" if train else PyBytes_FromStringAndSize(<char*>found.weights, count * 4),
        PyBytes_FromStringAndSize(<char*>found.vectors, count * 2 * FIELDS) if train else b"",
        found.compared,
        PyBytes_FromStringAndSize(<char*>found.bins, sizeof(found.bins)),
    )


cdef int _grow(_Found* found, bint train) noexcept nogil:
    cdef Py_ssize_t room = max(2 * found.room, 4096)
    if _resize(<void**>&found.ones, room * 4) or _resize(<void**>&found.others, room * 4):
        return 1
    if train and _resize(<void**>&found.vectors, room * 2 * FIELDS):
        return 1
    if not train and _resize(<void**>&found.weights, room * 4):
        return 1
    found.room = room
    return 0


cdef int _resize(void** at, Py_ssize_t size) noexcept nogil:
    cdef void* grown = realloc(at[0], size)
    if grown == NULL:
        return 1
    at[0] = grown
    return 0


# Clusters

cdef class Groups:
    """Groups of rows that are joined, each called by the least of its rows."""

    cdef Py_ssize_t count
    cdef uint32_t* label
    cdef int32_t* following  # the next row of the group, -1 at its end
    cdef int32_t* last
    cdef int32_t* size
    cdef const int64_t* apart_starts  # NULL, or where each row's begin in `apart_rows`
    cdef const uint32_t* apart_rows
    cdef const uint8_t* sides  # NULL, or of each row
    cdef object _labels, _owners

    def __cinit__(self, Py_ssize_t count):
        cdef Py_ssize_t i, room = max(count, 1) * sizeof(int32_t)
        self.count = count
        self._labels = PyBytes_FromStringAndSize(NULL, count * sizeof(uint32_t))
        self.label = <uint32_t*><char*>self._labels
        self.following = <int32_t*>malloc(room)
        self.last = <int32_t*>malloc(room)
        self.size = <int32_t*>malloc(room)
        if self.following == NULL or self.last == NULL or self.size == NULL:
            raise MemoryError
        for i in range(count):
            self.label[i], self.following[i], self.last[i], self.size[i] = i, -1, i, 1

    def __dealloc__(self):
        free(self.following)
        free(self.last)
        free(self.size)

    cdef int restrict(
        self, const uint8_t[::1] sides, const int64_t[::1] starts, const uint32_t[::1] rows
    ) except -1:
        if sides is not None and sides.shape[0] != self.count:
            raise ValueError("one side for each row")
        if starts is not None and starts.shape[0] != self.count + 1:
            raise ValueError("one place for each row, and one more")
        self._owners = sides, starts, rows
        self.sides = &sides[0] if sides is not None and self.count else NULL
        if starts is not None and rows.shape[0]:
            self.apart_starts, self.apart_rows = &starts[0], &rows[0]
        return 0

    cdef bint are_apart(self, uint32_t a, uint32_t b) noexcept nogil:
        """Tell whether a row of one group must not be with one of the other."""
        cdef int32_t row
        cdef int64_t i
        if self.apart_starts == NULL:
            return False
        if self.size[b] < self.size[a]:
            a, b = b, a
        row = a
        while row >= 0:
            for i in range(self.apart_starts[row], self.apart_starts[row + 1]):
                if self.label[self.apart_rows[i]] == b:
                    return True
            row = self.following[row]
        return False

    cdef void join(self, uint32_t a, uint32_t b) noexcept nogil:
        cdef int32_t row
        a, b = min(a, b), max(a, b)
        row = b
        while row >= 0:
            self.label[row] = a
            row = self.following[row]
        self.following[self.last[a]] = b
        self.last[a] = self.last[b]
        self.size[a] += self.size[b]

    cdef float support(
        self, Packed packed, Weights weights, uint32_t a, uint32_t b, float low, float high,
        int most,
    ) noexcept nogil:
        """Return the mean weight between two groups, each pair's within bounds."""
        cdef int32_t x = a, y
        cdef int met = 0, other_met, n = 0
        cdef float total = 0
        cdef Vector vector
        while x >= 0 and met < most:
            y, other_met = b, 0
            while y >= 0 and other_met < most:
                if self.sides == NULL or self.sides[x] != self.sides[y]:
                    compare(features_at(packed, x), features_at(packed, y), &vector)
                    total += min(max(weights.weigh(&vector), low), high)
                    n += 1
                y = self.following[y]
                other_met += 1
            x = self.following[x]
            met += 1
        return total / n if n else 0


def cluster(
    Packed packed not None, Weights weights not None,
    const uint32_t[::1] ones, const uint32_t[::1] others, const float[::1] scores,
    float threshold, float low, float high, float needed, int most,
    const uint8_t[::1] sides=None,
    const int64_t[::1] apart_starts=None, const uint32_t[::1] apart_rows=None,
):
    """Join the pairs, best first, where what is known between the two groups supports it.

    `apart_rows` has, from the place `apart_starts` of each row on, those that must never be with
    it; with `sides`, pairs within one side say nothing.
    Returns the label of each row, the least row of its group, as uint32; and how many joins were
    refused.
    """
    _check(packed, ones, others)
    if scores.shape[0] != ones.shape[0]:
        raise ValueError("one weight for each pair")
    cdef Groups groups = Groups(packed.count)
    cdef Py_ssize_t i, refused = 0
    cdef uint32_t a, b
    groups.restrict(sides, apart_starts, apart_rows)
    with nogil:
        for i in range(ones.shape[0]):
            if scores[i] < threshold:
                break
            a, b = groups.label[ones[i]], groups.label[others[i]]
            if a == b:
                continue
            if groups.are_apart(a, b) or (groups.size[a] > 1 or groups.size[b] > 1) and (
                groups.support(packed, weights, a, b, low, high, most) < needed
            ):
                refused += 1
                continue
            groups.join(a, b)
    return groups._labels, refused


# One record against a few

def compare_with(bytes probe not None, candidates, Weights weights not None):
    """Compare a weighed probe with the features of some records, which have weights of values too.

    Returns their match weights, and the levels and rarities as `vectors` does.
    """
    cdef const Features* one = check(probe)
    cdef list others = list(candidates)
    cdef Py_ssize_t count = len(others), i
    cdef Vector vector
    found = array("f", bytes(4 * count))
    cdef float[::1] bits = found
    levels = PyBytes_FromStringAndSize(NULL, count * FIELDS)
    rarities = PyBytes_FromStringAndSize(NULL, count * FIELDS)
    for i in range(count):
        compare(one, check(others[i]), &vector)
        bits[i] = weights.weigh(&vector)
        memcpy(<char*>levels + i * FIELDS, vector.levels, FIELDS)
        memcpy(<char*>rarities + i * FIELDS, vector.rarity, FIELDS)
    return found, levels, rarities
