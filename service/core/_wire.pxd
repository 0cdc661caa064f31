# cython: language_level=3
"""What a batch's ordinary rows came to, for those who store them."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from service.core._features cimport Packed


cdef enum:  # kinds of keys: those of `index.layout.Kind`
    KEY_EMAIL = 1
    KEY_EMAIL_MATCH = 2
    KEY_PHONE = 3
    KEY_PHONE_MATCH = 4
    KEY_OTHER = 5

cdef enum:  # ways to match that ask for a key, a bit each: 1 << `identity.registry.MatchBy`
    BY_IDENTITY = 4
    BY_MOBILE = 8
    BY_PHONE = 16
    BY_EMAIL = 32

cdef enum:
    IS_MOBILE = 64  # beside these: a phone that is a mobile one by the kind or type of some point


cdef enum:
    STAMP_BYTES = 64  # beside body, id and times


cdef struct Text:
    const unsigned char* at
    int64_t size

cdef struct Key:  # under which others find a row
    Text text
    uint8_t kind
    uint8_t asked  # by which ways to match; and IS_MOBILE


cdef class Prepared:
    cdef readonly Py_ssize_t count
    cdef readonly object batch
    cdef readonly Packed features
    cdef unsigned char* bodies
    cdef int64_t* ends  # of the bodies: count + 1, the first is 0
    cdef Text* ids  # as given, empty where none was
    cdef uint8_t* odd  # rows that are to be decided one by one
    cdef int32_t* contacts
    cdef Key* keys
    cdef int64_t* key_ends  # count + 1
    cdef Text* awaited  # domains
    cdef int64_t* awaited_ends  # count + 1
    cdef char* _identities  # texts of keys
    cdef object _kept  # alive: what keys point into


cdef Py_ssize_t stamp(
    unsigned char* to, Text body, Text id, uint64_t sequence, Text times
) noexcept nogil
