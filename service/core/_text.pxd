# cython: language_level=3
"""Columns of texts: what the kernels read from and write to, laid out as Arrow does."""

from libc.stdint cimport int32_t


cdef enum:
    # Rows of which the kernels keep the GIL: done before another thread would have woken up, and
    # whoever gets the GIL from a save keeps it longer than all of the save takes.
    FEW = 16


cdef class Texts:
    cdef readonly Py_ssize_t count
    cdef const char** starts  # not terminated by NUL; may be NULL where the size is 0
    cdef int32_t* sizes  # bytes
    cdef object _owner  # keeps alive what `starts` points into
    cdef object _spare  # what had to be encoded anew

    cdef int _make_room(self, Py_ssize_t count) except -1


cdef class Column:
    cdef readonly Py_ssize_t count
    cdef char* _bytes
    cdef Py_ssize_t _used, _room
    cdef int32_t* _offsets
    cdef Py_ssize_t _slots

    cdef char* reserve(self, Py_ssize_t size) except NULL nogil
    cdef int commit(self, Py_ssize_t size) except -1 nogil
    cdef int append(self, const char* text, Py_ssize_t size) except -1 nogil
