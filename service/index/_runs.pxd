# cython: language_level=3
"""Sorted runs for other kernels: how an entry is made, and how runs are asked without the GIL."""

from libc.stdint cimport uint32_t, uint64_t

from service.core._hash cimport identity_entry
from service.index._lmdb cimport Calls


cdef struct Entry:
    uint64_t first
    uint64_t tail


cdef struct Span:  # a run, and which part of it counts
    uint64_t number
    uint64_t low, high  # of `first`, both included
    uint32_t lines  # of each group's filter
    int bits, group_bits  # 2 to these: how many chunks, how many groups


cdef struct Source:
    void* txn
    unsigned int runs, retired
    unsigned char kind
    bint any_retired


cdef struct Filter:  # one of a run that was read, where the transaction keeps it
    uint64_t group
    const char* at  # NULL: none was


cdef class SpanTable:
    cdef Span* _spans
    cdef int _count


cdef class Spans:
    cdef Calls _calls
    cdef object _runs, _retired
    cdef SpanTable _table
    cdef Span* _spans
    cdef Filter* _filters
    cdef int _count, _mutations
    cdef Source _source

    cdef int _open(self) except -1
    cdef int _find(
        self, int span, uint64_t first, uint64_t low, uint64_t high,
        const char** entries, size_t* begin, size_t* end,
    ) except -1
    cdef int _count_of(
        self, uint64_t first, uint64_t low, uint64_t high, Py_ssize_t* count
    ) except -1
    cdef int _add_tails(
        self, uint64_t first, uint64_t low, uint64_t high, Py_ssize_t limit, list found
    ) except -1
