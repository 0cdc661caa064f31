# cython: language_level=3
"""Comparators of folded texts, dates and numbers, for kernels to call without the GIL.

Each takes its texts as letters and their count: bytes of ASCII, or code points. None allocates or
raises. Texts of bytes are read where they are and, without any effect, up to the end of their
page: a sanitizer has to be told (`no_sanitize` in `_compare.pyx`), the caller need not care.
`_compare.pyx` says what each answers.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

ctypedef fused Letter:
    uint8_t
    uint32_t

cpdef enum:  # bounds
    LETTERS = 64  # that `jaro_winkler` looks at of each text: one for each bit of a word
    EDITS = 8  # highest limit of `edits`; one above counts as this
    COMPARED_WORDS = 12  # that `words` looks at of each text
    ENDING = 7  # last digits that two numbers may share; shorter numbers are the same or different
    AREA = 3  # letters that begin a postcode, and say where it is

cdef enum:  # of `letters_of`
    LETTER_KINDS = 28
    KIND_BITS = 2 * LETTER_KINDS

cpdef enum:  # levels of dates
    DATE_ABSENT = 0  # no part is known of both
    DATE_SAME = 1  # both are complete, as in all levels down to DATE_MONTH_DAY
    DATE_SWAPPED = 2  # day and month have changed places
    DATE_TYPO = 3  # one digit of YYYYMMDD is another, or two neighbours have changed places
    DATE_YEAR_MONTH = 4  # these parts are the same, the third is not
    DATE_YEAR_DAY = 5
    DATE_MONTH_DAY = 6
    DATE_COMPATIBLE = 7  # parts are unknown; those that are known of both are the same
    DATE_YEAR = 8  # only the year is the same
    DATE_DIFFERENT = 9

cpdef enum:  # levels of phone numbers
    NUMBER_ABSENT = 0
    NUMBER_SAME = 1
    NUMBER_EDIT = 2  # one digit is wrong, missing or too many, or two have changed places
    NUMBER_ENDING = 3  # the same last digits behind another area code
    NUMBER_DIFFERENT = 4

cpdef enum:  # levels of postcodes
    POSTCODE_ABSENT = 0
    POSTCODE_SAME = 1
    POSTCODE_AREA = 2  # the same outward part, or the same first letters
    POSTCODE_EDIT = 3  # another area, but for one typo the same
    POSTCODE_DIFFERENT = 4

cdef double jaro_winkler(
    const Letter* a, Py_ssize_t a_size, const Letter* b, Py_ssize_t b_size
) noexcept nogil
cdef int edits(
    const Letter* a, Py_ssize_t a_size, const Letter* b, Py_ssize_t b_size, int limit
) noexcept nogil
cdef double words(
    const Letter* a, Py_ssize_t a_size, const Letter* b, Py_ssize_t b_size
) noexcept nogil
cdef int numbers(
    const Letter* a, Py_ssize_t a_size, const Letter* b, Py_ssize_t b_size
) noexcept nogil
cdef int postcodes(
    const Letter* a, Py_ssize_t a_size, const Letter* b, Py_ssize_t b_size
) noexcept nogil
cdef bint same_area(
    const Letter* a, Py_ssize_t a_size, const Letter* b, Py_ssize_t b_size
) noexcept nogil
cdef int dates(uint32_t a, uint32_t b) noexcept nogil
cdef uint64_t letters_of(const uint8_t* text, int size) noexcept nogil


cdef inline int ones_in(uint64_t word) noexcept nogil:
    """Count the bits that are set: there need not be an instruction for it."""
    word -= word >> 1 & 0x5555555555555555ULL
    word = (word & 0x3333333333333333ULL) + (word >> 2 & 0x3333333333333333ULL)
    word = word + (word >> 4) & 0x0F0F0F0F0F0F0F0FULL
    return <int>(word * 0x0101010101010101ULL >> 56)


cdef inline int common_letters(uint64_t a, uint64_t b) noexcept nogil:
    """Return how many letters two texts have in common at most, of their `letters_of`.

    What a text has three times or more may all be in the other as well. At least so many edits lie
    between the two as the longer has letters more than this.
    """
    return ones_in((a & b) << 64 - KIND_BITS) + <int>min(a >> KIND_BITS, b >> KIND_BITS)


cdef inline bint has_letters(uint64_t text, uint64_t part) noexcept nogil:
    """Tell whether a text may have another in it, of their `letters_of`."""
    return (part & ~text) << 64 - KIND_BITS == 0
