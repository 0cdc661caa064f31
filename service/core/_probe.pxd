# cython: language_level=3
"""The blocking keys of a record, for kernels."""

from libc.stdint cimport uint64_t

from service.core._features cimport Features

cdef enum:
    KEYS_LIMIT = 24  # more than there are kinds and phones


cdef int keys_of(const Features* one, uint64_t[2]* keys) noexcept nogil
