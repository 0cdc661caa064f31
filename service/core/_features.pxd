# cython: language_level=3
"""What is compared of a record: packed features, 8-byte aligned, without pointers.

The name's record is cut behind its last token; e-mails, phones and extras follow each other; texts
are behind them. All places are bytes from the beginning of the features.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from service.core._names cimport NameRecord

cpdef enum:  # bounds
    POINTS = 4  # e-mails, and phones, of a record that are compared
    EXTRAS = 8  # columns of a file beyond the known fields
    TEXT_BYTES = 96  # kept of a folded street, city, company or text

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

cdef struct Email:
    uint64_t key
    uint64_t local
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
    uint8_t gender  # 0 unknown, 1 male, 2 female
    uint8_t emails, phones, extras  # how many
    uint8_t rarities[RARITIES]
    uint16_t name  # where its record is, cut behind the last token
    Span names, street, city, postcode, company, number
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


cdef inline const NameRecord* name_of(const Features* one) noexcept nogil:
    return <const NameRecord*>(<const char*>one + one.name)


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
cdef uint64_t value_of(const Features* one, int which) noexcept nogil
cdef const Features* check(bytes features) except NULL
