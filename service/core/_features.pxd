# cython: language_level=3
"""What is compared of a record: packed features, 8-byte aligned, without pointers.

The words of the name follow the head, those of the first name first, then those of middle and last
names; e-mails, phones and extras follow them; texts are behind. All places are bytes from the
beginning of the features.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define FETCH(at) __builtin_prefetch(at)
    #else
    #define FETCH(at)
    #endif
    """
    void FETCH(const void* at) nogil

cpdef enum:  # bounds
    POINTS = 4  # e-mails, and phones, of a record that are compared
    ROLE_WORDS = 4  # of a first name, of middle names, and of a last name
    EXTRAS = 8  # columns of a file beyond the known fields
    TEXT_BYTES = 96  # kept of a folded street, city, company or text
    END_BITS = 6  # of a number of how a word of a street begins, or ends
    ENDED_WORDS = 5  # of a street, of which this is noted

cpdef enum:  # values whose rarity counts: how many bits it says that two records share one
    R_FIRST = 0
    R_LAST = 1
    R_BIRTH = 2
    R_STREET = 3  # given the place
    R_POSTCODE = 4
    R_CITY = 5
    R_COMPANY = 6
    R_STREET_ANYWHERE = 7
    RARITIES = 8

cpdef enum:  # scripts of names
    SCRIPT_OTHER = 0  # is read letter by letter, or not known
    SCRIPT_HAN = 1  # Chinese and Japanese characters: how they are read is a guess

cpdef enum:
    RARITY_UNITS = 8  # of one bit
    NAMED = 1  # flag of an e-mail: the letters of its local part are the record's own name
    NUMBERED = 2  # it has digits

cdef struct Span:
    uint16_t at  # bytes from the beginning of the features
    uint16_t size

cdef struct Word:  # of a name
    uint64_t letters  # of its text, as in Email: `letters_of`
    uint32_t sound, other  # phonetic keys, as a TokenRecord has them
    uint16_t names  # its set of name classes
    uint16_t classes  # a bit for each of these, or for several
    uint16_t at  # of the text: bytes from the beginning of the features
    uint8_t size
    uint8_t flags  # of the token

cdef struct Email:
    uint64_t key
    uint64_t local
    uint64_t letters  # of the text
    Span text  # of the local part
    uint8_t rarity, local_rarity
    uint8_t flags
    uint8_t year  # 1 + the last two digits of a year that it may be of; 0: has none

cdef struct Phone:
    uint64_t digits  # of the match key in E.164, as a number
    uint8_t rarity
    uint8_t unused[7]

cdef struct Extra:
    uint64_t hash  # 0: absent
    Span text
    uint8_t rarity
    uint8_t is_text  # may be similar; else it is equal or not
    uint8_t unused[2]

cdef struct Features:
    uint16_t size  # bytes, all parts included
    uint8_t version
    uint8_t script  # of the name: SCRIPT_OTHER, or one of the others
    uint32_t birth  # year << 9 | month << 5 | day; month or day 0: unknown; 0: absent
    uint64_t street_hash, place_hash  # 0: absent
    uint64_t street_words  # how each begins and ends: `ends_of`
    uint64_t sorted_name  # hash of the sorted words of the name
    uint8_t gender  # 0 unknown, 1 male, 2 female
    uint8_t emails, phones, extras  # how many
    uint8_t rarities[RARITIES]
    uint8_t firsts, middles, lasts  # how many words of each role
    uint8_t tokens  # how many words the name has, those that are not compared as well
    uint8_t generation
    uint8_t unused
    Span street, city, postcode, company, number
    uint16_t points  # where the e-mails are; phones and extras follow


cdef class Packed:
    cdef readonly Py_ssize_t count
    cdef readonly int64_t nbytes
    cdef char* _data
    cdef int64_t* _places
    cdef int64_t _room
    cdef Py_ssize_t _rows

    cdef char* _reserve(self, int64_t size, Py_ssize_t rows) except NULL nogil


cdef inline const Features* features_at(Packed packed, Py_ssize_t row) noexcept nogil:
    return <const Features*>(packed._data + packed._places[row])


cdef inline const Word* firsts_of(const Features* one) noexcept nogil:
    return <const Word*>(one + 1)


cdef inline const Word* middles_of(const Features* one) noexcept nogil:
    return firsts_of(one) + one.firsts


cdef inline const Word* lasts_of(const Features* one) noexcept nogil:
    return middles_of(one) + one.middles


cdef inline const unsigned char* word_text(const Features* one, const Word* word) noexcept nogil:
    return <const unsigned char*>one + word.at


cdef inline const unsigned char* text_of(const Features* one, Span span) noexcept nogil:
    return <const unsigned char*>one + span.at


cdef inline const Email* emails_of(const Features* one) noexcept nogil:
    return <const Email*>(<const char*>one + one.points)


cdef inline const Phone* phones_of(const Features* one) noexcept nogil:
    return <const Phone*>(emails_of(one) + one.emails)


cdef inline const Extra* extras_of(const Features* one) noexcept nogil:
    return <const Extra*>(phones_of(one) + one.phones)


cdef uint64_t hash_of(const void* text, Py_ssize_t size) noexcept nogil
cdef uint64_t mixed(uint64_t one, uint64_t other) noexcept nogil
cdef uint64_t word_hash(const Features* one, const Word* word) noexcept nogil
cdef uint64_t value_of(const Features* one, int which) noexcept nogil
cdef const Features* check(bytes features) except NULL
cdef uint64_t longest_word(const unsigned char* text, int size) noexcept nogil
