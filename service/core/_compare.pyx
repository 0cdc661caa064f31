# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, annotation_typing=False
"""Comparators: how alike two names, dates, phone numbers, streets or postcodes are.

Kernels cimport the C functions and call them millions of times a second: they work on the letters
in place, without the GIL and without allocating, and leave early. Texts are folded to Latin
before (`_names`), so letters are bytes of ASCII; the same algorithms, compiled a second time, take
code points. The functions for Python take columns of texts, or of dates, and compare them pair by
pair: they are for tests, benchmarks and trials.

Levels are small numbers, the best evidence first (`_compare.pxd` lists them), 0 where there is
nothing to compare. A caller has a weight for each.
"""

from cpython cimport array
from cpython.mem cimport PyMem_Free
from libc.math cimport sqrt
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from service.core._text cimport Texts

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define LOWEST_BIT(word) __builtin_ctzll(word)
    #else
    static int LOWEST_BIT(unsigned long long word) {
        int at = 0;
        while (!(word & 1)) { word >>= 1; at++; }
        return at;
    }
    #endif
    """
    int LOWEST_BIT(uint64_t word) nogil

# Short texts in a register, zeros behind them. Loading one may read beyond the text, but not beyond
# its page, so that it cannot fault; what was read there is thrown away.
cdef extern from *:
    """
    #if defined(__GNUC__) && defined(__SSE2__)
    #include <emmintrin.h>
    #include <stdint.h>
    #include <string.h>
    #define SHORT_SIZE 16
    typedef __m128i Short;
    static const uint8_t SHORT_MASK[2 * SHORT_SIZE] = {
        255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    };
    __attribute__((no_sanitize("address")))
    static inline Short SHORT_TEXT(const uint8_t *text, Py_ssize_t size) {
        uint8_t copy[SHORT_SIZE];
        if (((uintptr_t)text & 4095) > 4096 - SHORT_SIZE) text = memcpy(copy, text, size);
        return _mm_and_si128(_mm_loadu_si128((const __m128i *)text),
                             _mm_loadu_si128((const __m128i *)(SHORT_MASK + SHORT_SIZE - size)));
    }
    #define SAME_PLACES(a, b) ((uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(a, b)))
    #define DIGIT_PLACES(text) ((uint32_t)_mm_movemask_epi8( \\
        _mm_and_si128(_mm_cmpgt_epi8(text, FILLED('0' - 1)), _mm_cmplt_epi8(text, FILLED('9' + 1)))))
    #define FILLED(letter) _mm_set1_epi8((char)(letter))
    #define FORWARD(text, letters) _mm_srli_si128(text, letters)
    #define BACKWARD(text, letters) _mm_slli_si128(text, letters)
    #else
    #define SHORT_SIZE 0
    typedef int Short;
    #define SHORT_TEXT(text, size) 0
    #define SAME_PLACES(a, b) 0
    #define DIGIT_PLACES(text) 0
    #define FILLED(letter) 0
    #define FORWARD(text, letters) 0
    #define BACKWARD(text, letters) 0
    #endif
    """
    const int SHORT_SIZE  # letters of a short text, at most; 0 where there are no such registers
    ctypedef struct Short:
        pass
    Short SHORT_TEXT(const uint8_t* text, Py_ssize_t size) nogil
    uint32_t SAME_PLACES(Short a, Short b) nogil  # a bit for each place
    uint32_t DIGIT_PLACES(Short text) nogil
    Short FILLED(uint8_t letter) nogil
    Short FORWARD(Short text, int letters) nogil  # without its first letters
    Short BACKWARD(Short text, int letters) nogil

cdef extern from "Python.h":
    Py_UCS4* PyUnicode_AsUCS4Copy(object text) except NULL

cdef enum:
    WINKLER_LETTERS = 4  # of a common prefix, that count
    NOWHERE = -2  # so far left that no edit leads from there into a text
    TYPO_LETTERS = 4  # in the shorter of two words, of which one may be the other with a typo
    LEVEL = 1  # where the diagonal stands on which two short texts have the same places
    INWARD = 3  # letters of the second part of a British postcode
    BRITISH = 7  # letters of a British postcode, at most

cdef enum:  # what a comparison is to measure
    JARO_WINKLER
    EDIT_COUNT
    WORD_SIMILARITY
    NUMBER_LEVEL
    POSTCODE_LEVEL

cdef enum:  # how a word may be another
    SAME_WORD
    ALIKE
    INITIAL
    WAYS

cdef double[WAYS] _LIKENESS = [1.0, 0.9, 0.6]
cdef array.array _FLOATS = array.array("f")
cdef array.array _LEVELS = array.array("B")


cdef inline Py_ssize_t _run(const Letter* a, const Letter* b, Py_ssize_t size) noexcept nogil:
    """Return how many letters are the same before the first that is not."""
    cdef Py_ssize_t at = 0, some, run
    if Letter is uint8_t:
        while SHORT_SIZE and at < size:
            some = min(size - at, <Py_ssize_t>SHORT_SIZE)
            run = _run_of(SAME_PLACES(SHORT_TEXT(a + at, some), SHORT_TEXT(b + at, some)), 0)
            if run < some:
                return at + run
            at += some
    while at < size and a[at] == b[at]:
        at += 1
    return at


cdef inline bint _same(const Letter* a, const Letter* b, Py_ssize_t size) noexcept nogil:
    return _run(a, b, size) == size


cdef inline int _run_of(uint32_t same, int start) noexcept nogil:
    """Return where the same letters end that begin at `start`."""
    return start + LOWEST_BIT(~(<uint64_t>same >> start))


cdef inline uint32_t _low(int count) noexcept nogil:
    return (<uint32_t>1 << count) - 1


# Names

cdef double jaro_winkler(
    const Letter* a, Py_ssize_t a_size, const Letter* b, Py_ssize_t b_size
) noexcept nogil:
    """Return the Jaro-Winkler similarity of two words, 0 to 1.

    What `rapidfuzz.distance.JaroWinkler.similarity` gives for their first `LETTERS` letters: a
    prefix counts 0.1 for each of its first four letters, above a Jaro similarity of 0.7 only, as
    in Winkler's own program (W. E. Winkler, "String Comparator Metrics and Enhanced Decision Rules
    in the Fellegi-Sunter Model of Record Linkage", 1990).
    """
    cdef int n = <int>min(a_size, <Py_ssize_t>LETTERS)
    cdef int m = <int>min(b_size, <Py_ssize_t>LETTERS)
    cdef int prefix
    cdef double similarity
    if n == 0 or m == 0:
        return n == m
    prefix = <int>_run(a, b, min(n, m))
    if prefix == n == m:
        return 1
    similarity = _jaro(a, n, b, m, prefix)
    if similarity > 0.7:
        similarity += min(prefix, <int>WINKLER_LETTERS) * 0.1 * (1 - similarity)
    return similarity


cdef uint64_t letters_of(const uint8_t* text, int size) noexcept nogil:
    """Return which kinds of letters a text of at most 255 has, for `common_letters`.

    Each kind has a bit for its first letter and another for its second; in the highest byte is
    how many letters there are beyond these.
    """
    cdef uint64_t found = 0, kind
    cdef int i
    for i in range(size):
        kind = <uint64_t>1 << min(text[i] & 31, <int>LETTER_KINDS - 1)
        found |= kind | (found & kind) << LETTER_KINDS
    return found | <uint64_t>(size - ones_in(found)) << KIND_BITS


cdef inline double _jaro(
    const Letter* a, int n, const Letter* b, int m, int prefix
) noexcept nogil:
    """Return the Jaro similarity of two words that begin with the same `prefix` letters.

    Each letter of `b` takes the first place in `a` that has it, is free and is near enough. A
    common prefix takes its own places so. Places are bits.
    """
    cdef uint64_t of_letter[256]
    cdef Short short_a
    cdef uint64_t found, lowest, window
    cdef uint64_t taken = _ones(prefix) | ~_ones(n), has_taken = _ones(prefix), highest = 1
    cdef int reach = max(max(n, m) // 2 - 1, 0)
    cdef int common = prefix, swapped = 0, j
    cdef bint disordered = False
    window = _ones(min(prefix + reach + 1, <int>LETTERS)) & ~_ones(max(prefix - reach, 0))
    if Letter is uint8_t:
        if n <= SHORT_SIZE:
            short_a = SHORT_TEXT(a, n)
        else:
            _note_places(of_letter, a, n, b, m)
    for j in range(prefix, m):
        if Letter is uint8_t:
            found = SAME_PLACES(short_a, FILLED(b[j])) if n <= SHORT_SIZE else of_letter[b[j]]
        else:
            found = _places(a, n, b[j])
        found &= window & ~taken
        lowest = found & (0 - found)
        taken |= lowest
        has_taken |= <uint64_t>(found != 0) << j
        common += found != 0
        disordered |= lowest - 1 < highest - 1  # 0 - 1 is above all
        highest = max(highest, lowest)
        window = window << 1 | (j < reach)
    if common == 0:
        return 0
    if disordered:
        swapped = _swapped(a, taken, b, has_taken) // 2
    return (<double>common / n + <double>common / m + <double>(common - swapped) / common) / 3


cdef inline void _note_places(
    uint64_t* of_letter, const uint8_t* a, int n, const uint8_t* b, int m
) noexcept nogil:
    """Note where `a` has the letters of both; the other 200 are neither read nor cleared."""
    cdef int i
    for i in range(m):
        of_letter[b[i]] = 0
    for i in range(n):
        of_letter[a[i]] = 0
    for i in range(n):
        of_letter[a[i]] |= <uint64_t>1 << i


cdef inline uint64_t _places(const uint32_t* a, int n, uint32_t letter) noexcept nogil:
    cdef uint64_t places = 0
    cdef int i
    for i in range(n):
        places |= <uint64_t>(a[i] == letter) << i
    return places


cdef inline int _swapped(
    const Letter* a, uint64_t taken, const Letter* b, uint64_t has_taken
) noexcept nogil:
    """Count the common letters that come at another turn in `b` than in `a`."""
    cdef int count = 0
    while has_taken:
        count += a[LOWEST_BIT(taken)] != b[LOWEST_BIT(has_taken)]
        taken &= taken - 1
        has_taken &= has_taken - 1
    return count


cdef inline uint64_t _ones(int count) noexcept nogil:
    return ~<uint64_t>0 if count >= 64 else (<uint64_t>1 << count) - 1


cdef int edits(
    const Letter* a, Py_ssize_t a_size, const Letter* b, Py_ssize_t b_size, int limit
) noexcept nogil:
    """Return how many letters to put in, leave out, replace or swap with a neighbour, or limit + 1.

    The distance of optimal string alignment, as `rapidfuzz.distance.OSA.distance`: no letter is
    edited twice. Unrestricted Damerau-Levenshtein differs only where something stands between two
    letters that were swapped (`ca`, `abc`: 2 instead of 3), which nobody mistypes, and it needs a
    table of the alphabet. Texts may be of any size; a limit above `EDITS` counts as `EDITS`.
    """
    cdef Py_ssize_t same, more = b_size - a_size
    limit = max(0, min(limit, <int>EDITS))
    if more < 0:
        a, b = b, a
        a_size, b_size, more = b_size, a_size, -more
    if more > limit:
        return limit + 1
    if a_size == 0:
        return <int>more
    if Letter is uint8_t:
        if b_size <= SHORT_SIZE and 0 < limit <= 2:
            return _short_edits(a, <int>a_size, b, <int>b_size, limit)
    same = _run(a, b, a_size)
    if same == b_size:
        return 0
    if limit == 0:
        return 1
    if limit == 1:
        return 1 if _is_one_edit(a + same, a_size - same, b + same, b_size - same) else 2
    return _more_edits(a + same, a_size - same, b + same, b_size - same, limit)


cdef inline int _short_edits(
    const uint8_t* a, int n, const uint8_t* b, int m, int limit
) noexcept nogil:
    """Return the edits of two short texts, the second no shorter, or limit + 1: of 1 or 2.

    As `_more_edits` does, with the places where `b` is the same `k` letters ahead as bits.
    """
    cdef uint32_t same[4]
    cdef uint32_t wrong
    cdef int at, more = m - n
    cdef Short x = SHORT_TEXT(a, n), y = SHORT_TEXT(b, m)
    same[LEVEL] = SAME_PLACES(x, y) & _low(n)
    at = _run_of(same[LEVEL], 0)
    if at == m:
        return 0
    same[LEVEL + 1] = SAME_PLACES(x, FORWARD(y, 1)) & _low(min(n, m - 1))
    if more == 1 and _run_of(same[LEVEL + 1], at) == n:
        return 1
    same[LEVEL - 1] = SAME_PLACES(x, BACKWARD(y, 1)) & _low(n)
    if more == 0:
        wrong = _low(n) ^ same[LEVEL]
        if wrong & (wrong - 1) == 0 or (wrong == <uint32_t>3 << at and _is_swap(same, 0, at)):
            return 1
    if limit == 1:
        return 2
    same[LEVEL + 2] = SAME_PLACES(x, FORWARD(y, 2)) & _low(min(n, m - 2))
    return 2 if _are_two_edits(same, n, more, at) else 3


cdef inline bint _are_two_edits(const uint32_t* same, int n, int more, int at) noexcept nogil:
    """Tell whether two edits suffice where one does not; the first `at` letters are the same."""
    cdef int level, ahead, behind  # how far one edit leads on diagonals 0, 1 and -1
    ahead = _run_of(same[LEVEL + 1], at)
    if more == 2:
        return _run_of(same[LEVEL + 2], ahead) == n
    level = _run_of(same[LEVEL], at + 1 + _is_swap(same, 0, at))
    if more == 1:
        return _run_of(same[LEVEL + 1], max(level, ahead + 1 + _is_swap(same, 1, ahead))) >= n
    behind = _run_of(same[LEVEL - 1], at + 1)
    level += 1 + _is_swap(same, 0, level)
    return _run_of(same[LEVEL], max(level, max(ahead + 1, behind))) >= n


cdef inline bint _is_swap(const uint32_t* same, int k, int at) noexcept nogil:
    return same[LEVEL + k + 1] >> at & same[LEVEL + k - 1] >> at >> 1 & 1


cdef inline bint _is_one_edit(
    const Letter* a, Py_ssize_t n, const Letter* b, Py_ssize_t m
) noexcept nogil:
    """Tell whether one edit makes `b` of `a`, which is no longer and begins with another letter."""
    if m > n:
        return _same(a, b + 1, n)
    return _same(a + 1, b + 1, n - 1) or (
        n > 1 and a[0] == b[1] and a[1] == b[0] and _same(a + 2, b + 2, n - 2)
    )


cdef int _more_edits(
    const Letter* a, Py_ssize_t n, const Letter* b, Py_ssize_t m, int limit
) noexcept nogil:
    """Return the edits of two texts that differ in their first letters, or limit + 1.

    For each diagonal `k` of the table of distances (`b` is `k` letters ahead) it notes how many
    letters of `a` so many edits reach; those of one edit more follow from these (E. Ukkonen,
    "Algorithms for Approximate String Matching", 1985). Of the diagonals only those are looked at
    from which the edits that are left lead to the end.
    """
    cdef Py_ssize_t rows[2][2 * EDITS + 3]
    cdef Py_ssize_t* old = rows[0] + EDITS + 1
    cdef Py_ssize_t* new = rows[1] + EDITS + 1
    cdef int k, count, more = <int>(m - n)
    for k in range(-limit - 1, limit + 2):
        old[k] = new[k] = NOWHERE
    old[0] = 0
    for count in range(1, limit + 1):
        for k in range(max(-count, more - limit + count), min(count, more + limit - count) + 1):
            new[k] = _reached(a, n, b, m, k, old)
        if new[more] == n:
            return count
        old, new = new, old
    return limit + 1


cdef inline Py_ssize_t _reached(
    const Letter* a, Py_ssize_t n, const Letter* b, Py_ssize_t m, int k, const Py_ssize_t* old
) noexcept nogil:
    """Return how far an edit more leads on diagonal `k`, and the same letters behind it.

    A swap before the furthest place reached would begin in a run of the same letters: not needed.
    """
    cdef Py_ssize_t at = old[k]
    cdef Py_ssize_t to = max(at + 1, max(old[k - 1], old[k + 1] + 1))
    if (
        at >= 0 and at + 1 < n and at + k + 1 < m
        and a[at] == b[at + k + 1] and a[at + 1] == b[at + k]
    ):
        to = max(to, at + 2)
    to = min(to, min(n, m - k))
    return to + _run(a + to, b + to + k, min(n - to, m - k - to))


# Streets and companies

cdef struct _Word:
    Py_ssize_t start
    Py_ssize_t size
    uint32_t first
    uint32_t last
    bint has_digit


cdef double words(
    const Letter* a, Py_ssize_t a_size, const Letter* b, Py_ssize_t b_size
) noexcept nogil:
    """Return the similarity of two short texts as sets of words, 0 to 1.

    Words are parted by spaces; of each text the first `COMPARED_WORDS` count. They are paired, none
    twice: first those that are the same (1.0), then those that are alike (0.9), then initials with
    what begins so (0.6). The sum over the pairs, divided by the root of the product of both counts
    of words, is the similarity: 1 for the same words in any order, 0.71 for one word of two, and
    0 where a text has no words. Alike are two words of two letters or more, without digits, if

    - one begins the other: `str`, `strasse`;
    - one has a letter and then consonants, all in this order in the other, the first and last at
      its ends: `blvd`, `rd`, `ltd`;
    - one edit makes one of the other, and both have four letters or more.

    Words with digits, house numbers above all, are the same or nothing. Where several pairs are
    possible, the words of the text with fewer words (else letters, else the lesser) choose in
    their order, so that the similarity is symmetric.

    The pairing of fields by their words' abbreviations is of A. Monge and C. Elkan, "The field
    matching problem" (1996); the cosine with a second measure for words of W. Cohen, P. Ravikumar
    and S. Fienberg, "A comparison of string distance metrics for name-matching tasks" (2003),
    without frequencies here.
    """
    cdef _Word ones[COMPARED_WORDS]
    cdef _Word others[COMPARED_WORDS]
    cdef int count = _split(a, a_size, ones)
    cdef int other_count = _split(b, b_size, others)
    cdef double sum
    if count == 0 or other_count == 0:
        return 0
    if a_size == b_size and _same(a, b, a_size):
        return 1
    if _goes_first(a, a_size, count, b, b_size, other_count):
        sum = _paired(a, ones, count, b, others, other_count)
    else:
        sum = _paired(b, others, other_count, a, ones, count)
    return sum / sqrt(count * other_count)


cdef inline int _split(const Letter* text, Py_ssize_t size, _Word* found) noexcept nogil:
    cdef Py_ssize_t at = 0, start
    cdef int count = 0
    cdef bint has_digit
    if Letter is uint8_t:
        if SHORT_SIZE and size < 64:
            return _split_bits(text, <int>size, found)
    while count < COMPARED_WORDS:
        while at < size and text[at] == b" ":
            at += 1
        if at == size:
            break
        start, has_digit = at, False
        while at < size and text[at] != b" ":
            has_digit |= b"0" <= text[at] <= b"9"
            at += 1
        _note_word(&found[count], text, start, at, has_digit)
        count += 1
    return count


cdef inline int _split_bits(const uint8_t* text, int size, _Word* found) noexcept nogil:
    """Do the same where each letter has a bit in a word of 64, and the last bit is left."""
    cdef uint64_t letters = _ones(size), digits = 0
    cdef Short some
    cdef int count = 0, at = 0, end
    while at < size:
        some = SHORT_TEXT(text + at, min(size - at, <int>SHORT_SIZE))
        letters &= ~(<uint64_t>SAME_PLACES(some, FILLED(b" ")) << at)
        digits |= <uint64_t>DIGIT_PLACES(some) << at
        at += SHORT_SIZE
    while letters and count < COMPARED_WORDS:
        at = LOWEST_BIT(letters)
        end = at + LOWEST_BIT(~(letters >> at))
        letters &= ~_ones(end)
        _note_word(&found[count], text, at, end, digits >> at & _ones(end - at) != 0)
        count += 1
    return count


cdef inline void _note_word(
    _Word* word, const Letter* text, Py_ssize_t start, Py_ssize_t end, bint has_digit
) noexcept nogil:
    word.start, word.size = start, end - start
    word.first, word.last = text[start], text[end - 1]
    word.has_digit = has_digit


cdef inline bint _goes_first(
    const Letter* a, Py_ssize_t a_size, int count,
    const Letter* b, Py_ssize_t b_size, int other_count,
) noexcept nogil:
    cdef Py_ssize_t at
    if count != other_count:
        return count < other_count
    if a_size != b_size:
        return a_size < b_size
    at = _run(a, b, a_size)
    return a[at] < b[at]


cdef double _paired(
    const Letter* a, const _Word* ones, int count,
    const Letter* b, const _Word* others, int other_count,
) noexcept nogil:
    """Return the sum of the likenesses of the pairs that the words of `a` choose."""
    cdef uint32_t free = (<uint32_t>1 << count) - 1
    cdef uint32_t other_free = (<uint32_t>1 << other_count) - 1
    cdef int found[WAYS]
    cdef int way, i, j
    for way in range(WAYS):
        found[way] = 0
        for i in range(count):
            if not free >> i & 1:
                continue
            for j in range(other_count):
                if other_free >> j & 1 and _may_be(way, a, &ones[i], b, &others[j]):
                    free ^= <uint32_t>1 << i
                    other_free ^= <uint32_t>1 << j
                    found[way] += 1
                    break
        if free == 0 or other_free == 0:
            break
    return _sum(found, way)


cdef inline double _sum(const int* found, int last) noexcept nogil:
    cdef double sum = 0
    cdef int way
    for way in range(min(last + 1, <int>WAYS)):
        sum += found[way] * _LIKENESS[way]
    return sum


cdef inline bint _may_be(
    int way, const Letter* a, const _Word* one, const Letter* b, const _Word* other
) noexcept nogil:
    """Tell whether a word is another in this way, none of the ways before having been found."""
    cdef bint begins = one.first == other.first, ends = one.last == other.last
    if way == SAME_WORD:
        return (
            begins & ends & (one.size == other.size)
            and _same(a + one.start, b + other.start, one.size)
        )
    if way == INITIAL:
        return (one.size == 1) | (other.size == 1) and begins and not (
            one.has_digit or other.has_digit
        )
    # What abbreviates a word begins as it does; one edit leaves one end of four letters alone.
    if not begins | ends or one.has_digit | other.has_digit:
        return False
    if one.size <= other.size:
        return _are_alike(a + one.start, one.size, b + other.start, other.size)
    return _are_alike(b + other.start, other.size, a + one.start, one.size)


cdef inline bint _are_alike(
    const Letter* a, Py_ssize_t n, const Letter* b, Py_ssize_t m
) noexcept nogil:
    """Tell whether a word abbreviates a longer one, or one of the two was mistyped."""
    if n == 1:
        return False
    if a[0] == b[0] and (_same(a, b, n) or _contracts(a, n, b, m)):
        return True
    return n >= TYPO_LETTERS and m - n <= 1 and edits(a, n, b, m, 1) == 1


cdef inline bint _contracts(
    const Letter* a, Py_ssize_t n, const Letter* b, Py_ssize_t m
) noexcept nogil:
    """Tell whether `a` is the first letter of `b` and then consonants of it, with its last."""
    cdef Py_ssize_t i = 1, j
    if a[n - 1] != b[m - 1]:
        return False
    for j in range(1, m):
        if i < n and a[i] == b[j]:
            if a[i] in b"aeiou":
                return False
            i += 1
    return i == n


# Phone numbers and postcodes

cdef int numbers(
    const Letter* a, Py_ssize_t a_size, const Letter* b, Py_ssize_t b_size
) noexcept nogil:
    """Return the level of two national phone numbers, of digits only.

    Numbers shorter than `ENDING` are extensions and the like, where a digit means much.
    """
    if a_size == 0 or b_size == 0:
        return NUMBER_ABSENT
    if a_size == b_size and _same(a, b, a_size):
        return NUMBER_SAME
    if a_size < ENDING or b_size < ENDING:
        return NUMBER_DIFFERENT
    if edits(a, a_size, b, b_size, 1) == 1:
        return NUMBER_EDIT
    if _same(a + a_size - ENDING, b + b_size - ENDING, ENDING):
        return NUMBER_ENDING
    return NUMBER_DIFFERENT


cdef int postcodes(
    const Letter* a, Py_ssize_t a_size, const Letter* b, Py_ssize_t b_size
) noexcept nogil:
    """Return the level of two postcodes, folded and without blanks.

    The area is the outward part of a British postcode (a letter first; a digit and two letters
    last), also where that is all there is of the other one. Elsewhere it is the first three
    letters: the sorting centre in North America, a region in most of Europe.
    """
    cdef Py_ssize_t outward, other_outward
    if a_size == 0 or b_size == 0:
        return POSTCODE_ABSENT
    if a_size == b_size and _same(a, b, a_size):
        return POSTCODE_SAME
    if same_area(a, a_size, b, b_size):
        return POSTCODE_AREA
    return POSTCODE_EDIT if edits(a, a_size, b, b_size, 1) == 1 else POSTCODE_DIFFERENT


cdef bint same_area(
    const Letter* a, Py_ssize_t a_size, const Letter* b, Py_ssize_t b_size
) noexcept nogil:
    """Tell whether two postcodes are of one area."""
    cdef Py_ssize_t outward = _outward(a, a_size), other_outward = _outward(b, b_size)
    if outward or other_outward:
        outward, other_outward = outward or a_size, other_outward or b_size
        return outward == other_outward and _same(a, b, outward)
    return a_size >= AREA and b_size >= AREA and _same(a, b, AREA)


cdef inline Py_ssize_t _outward(const Letter* text, Py_ssize_t size) noexcept nogil:
    """Return the size of the outward part of a full British postcode, 0 of others."""
    if (
        INWARD + 2 <= size <= BRITISH
        and b"a" <= text[0] <= b"z" and b"0" <= text[size - 3] <= b"9"
        and b"a" <= text[size - 2] <= b"z" and b"a" <= text[size - 1] <= b"z"
    ):
        return size - INWARD
    return 0


# Dates

cdef int dates(uint32_t a, uint32_t b) noexcept nogil:
    """Return the level of two dates `year << 9 | month << 5 | day`, parts 0 where unknown.

    Years have four digits at most. Incomplete dates are compatible, have the same year, are
    different, or absent.
    """
    cdef uint32_t differ = a ^ b
    cdef bint year = differ >> 9 == 0, month = differ >> 5 & 15 == 0, day = differ & 31 == 0
    if not (_is_complete(a) and _is_complete(b)):
        return _incomplete_dates(a, b, year, month, day)
    if differ == 0:
        return DATE_SAME
    if year and a >> 5 & 15 == b & 31 and b >> 5 & 15 == a & 31:
        return DATE_SWAPPED
    if _is_one_slip(_digits(a), _digits(b)):
        return DATE_TYPO
    if year:
        return DATE_YEAR_MONTH if month else DATE_YEAR_DAY if day else DATE_YEAR
    return DATE_MONTH_DAY if month and day else DATE_DIFFERENT


cdef inline bint _is_complete(uint32_t date) noexcept nogil:
    return date >> 9 != 0 and date >> 5 & 15 != 0 and date & 31 != 0


cdef int _incomplete_dates(
    uint32_t a, uint32_t b, bint year, bint month, bint day
) noexcept nogil:
    cdef bint has_year = a >> 9 != 0 and b >> 9 != 0
    cdef bint has_month = a >> 5 & 15 != 0 and b >> 5 & 15 != 0
    cdef bint has_day = a & 31 != 0 and b & 31 != 0
    if not (has_year or has_month or has_day):
        return DATE_ABSENT
    if (year or not has_year) and (month or not has_month) and (day or not has_day):
        return DATE_COMPATIBLE
    return DATE_YEAR if has_year and year else DATE_DIFFERENT


cdef inline uint32_t _digits(uint32_t date) noexcept nogil:
    """Return YYYYMMDD, four bits a digit."""
    cdef uint32_t year = date >> 9
    return (
        _two_digits(year // 100 % 100) << 24 | _two_digits(year % 100) << 16
        | _two_digits(date >> 5 & 15) << 8 | _two_digits(date & 31)
    )


cdef inline uint32_t _two_digits(uint32_t number) noexcept nogil:
    return number + 6 * (number // 10)


cdef inline bint _is_one_slip(uint32_t a, uint32_t b) noexcept nogil:
    """Tell whether one digit differs, or two neighbours have changed places."""
    cdef uint32_t differ = a ^ b
    cdef int at
    if differ == 0:
        return False  # years that differ beyond four digits
    at = LOWEST_BIT(differ) & ~3
    if differ >> at < 16:
        return True
    return differ >> at < 256 and (
        a >> at & 15 == b >> at + 4 & 15 and b >> at & 15 == a >> at + 4 & 15
    )


# For Python

def jaro_winklers(Texts a not None, Texts b not None):
    """Return the Jaro-Winkler similarity of each pair: `array('f')`."""
    return _similarities(JARO_WINKLER, a, b)


def edit_counts(Texts a not None, Texts b not None, int limit):
    """Return the edits between the texts of each pair, limit + 1 for more: `array('B')`."""
    return _levels(EDIT_COUNT, a, b, limit)


def word_similarities(Texts a not None, Texts b not None):
    """Return the similarity of each pair as sets of words: `array('f')`."""
    return _similarities(WORD_SIMILARITY, a, b)


def number_levels(Texts a not None, Texts b not None):
    """Return the level of each pair of phone numbers: `array('B')`."""
    return _levels(NUMBER_LEVEL, a, b)


def postcode_levels(Texts a not None, Texts b not None):
    """Return the level of each pair of postcodes: `array('B')`."""
    return _levels(POSTCODE_LEVEL, a, b)


def date_levels(const uint32_t[::1] a not None, const uint32_t[::1] b not None):
    """Return the level of each pair of packed dates, of two `array('I')`: `array('B')`."""
    if a.shape[0] != b.shape[0]:
        raise ValueError("need as many dates as others")
    cdef array.array made = array.clone(_LEVELS, a.shape[0], zero=False)
    cdef uint8_t* levels = made.data.as_uchars
    cdef Py_ssize_t i
    with nogil:
        for i in range(a.shape[0]):
            levels[i] = dates(a[i], b[i])
    return made


cdef array.array _similarities(int measure, Texts a, Texts b):
    cdef array.array made = array.clone(_FLOATS, a.count, zero=False)
    cdef float* similarities = made.data.as_floats
    cdef Py_ssize_t i
    _check_counts(a, b)
    with nogil:
        for i in range(a.count):
            similarities[i] = <float>_pair(measure, a, b, i, 0)
    return made


cdef array.array _levels(int measure, Texts a, Texts b, int limit=0):
    cdef array.array made = array.clone(_LEVELS, a.count, zero=False)
    cdef uint8_t* levels = made.data.as_uchars
    cdef Py_ssize_t i
    _check_counts(a, b)
    with nogil:
        for i in range(a.count):
            levels[i] = <uint8_t>_pair(measure, a, b, i, limit)
    return made


cdef int _check_counts(Texts a, Texts b) except -1:
    if a.count != b.count:
        raise ValueError("need as many texts as others")
    return 0


cdef inline double _pair(int measure, Texts a, Texts b, Py_ssize_t i, int limit) except -1 nogil:
    cdef const uint8_t* one = <const uint8_t*>a.starts[i]
    cdef const uint8_t* other = <const uint8_t*>b.starts[i]
    if _is_ascii(one, a.sizes[i]) and _is_ascii(other, b.sizes[i]):
        return _measured(measure, one, a.sizes[i], other, b.sizes[i], limit)
    return _pair_of_points(measure, a, b, i, limit)


cdef double _pair_of_points(
    int measure, Texts a, Texts b, Py_ssize_t i, int limit
) except -1 with gil:
    cdef str text = a[i], other_text = b[i]
    cdef Py_UCS4* one = PyUnicode_AsUCS4Copy(text)
    cdef Py_UCS4* other = NULL
    try:
        other = PyUnicode_AsUCS4Copy(other_text)
        return _measured(
            measure, <const uint32_t*>one, len(text), <const uint32_t*>other, len(other_text), limit
        )
    finally:
        PyMem_Free(one)
        PyMem_Free(other)


cdef inline double _measured(
    int measure, const Letter* a, Py_ssize_t a_size, const Letter* b, Py_ssize_t b_size, int limit
) noexcept nogil:
    if measure == JARO_WINKLER:
        return jaro_winkler(a, a_size, b, b_size)
    if measure == EDIT_COUNT:
        return edits(a, a_size, b, b_size, limit)
    if measure == WORD_SIMILARITY:
        return words(a, a_size, b, b_size)
    if measure == NUMBER_LEVEL:
        return numbers(a, a_size, b, b_size)
    return postcodes(a, a_size, b, b_size)


cdef inline bint _is_ascii(const uint8_t* text, Py_ssize_t size) noexcept nogil:
    cdef uint64_t eight, bits = 0
    cdef Py_ssize_t at = 0
    while at + 8 <= size:
        memcpy(&eight, text + at, 8)
        bits |= eight
        at += 8
    while at < size:
        bits |= text[at]
        at += 1
    return bits & 0x8080808080808080ULL == 0
