# cython: language_level=3
"""The calls of LMDB for other kernels of the index, and the transaction that they go to."""

from libc.stdint cimport uint64_t

cdef enum:  # codes that are no faults, as in lmdb.h
    KEY_EXISTS = -30799
    NOT_FOUND = -30798

cdef enum:  # MDB_cursor_op, as in lmdb.h
    FIRST = 0
    AT_KEY = 15
    AT_OR_AFTER = 17
    AT_BOTH_OR_AFTER = 3
    NEXT = 8
    NEXT_OF_KEY = 9


cdef struct Value:
    size_t size
    const void* data


# Of py-lmdb's objects, what comes before the wrapped pointer.
cdef struct Head:
    Py_ssize_t references
    void* type
    void* siblings[2]
    void* children[2]
    int valid


cdef struct Transaction:
    Head head
    void* weak
    void* env
    void* parent
    void* api
    void* wrapped
    int flags
    void* database
    int mutations


cdef class Calls:
    cdef object _owner
    cdef Transaction* _transaction

    cdef void* _open(self) except NULL
    cdef unsigned int _handle(self, table) except? 0
    cdef void* _cursor(self, table) except NULL
    cdef bint _rows(
        self, void* cursor, bytes key, uint64_t after, Py_ssize_t limit, list found
    ) except -1
    cdef int _entries(
        self, void* cursor, bytes key, uint64_t prefix, Py_ssize_t limit, list found
    ) except -1
    cdef bint _is_put(self, int code) except -1


cdef int get_value(void* txn, unsigned int table, Value* key, Value* found) noexcept nogil
cdef int put_value(void* txn, unsigned int table, Value* key, Value* value) noexcept nogil
cdef int delete_key(void* txn, unsigned int table, Value* key) noexcept nogil
cdef int open_cursor(void* txn, unsigned int table, void** cursor) noexcept nogil
cdef void close_cursor(void* cursor) noexcept nogil
cdef int put_at(void* cursor, Value* key, Value* value, unsigned int flags) noexcept nogil
cdef int get_at(void* cursor, Value* key, Value* found, int how) noexcept nogil
cdef object error_of(str what, int code)
