# cython: language_level=3
"""Fields of messages, written to memory that grows: what all kernels that encode share.

Nothing is judged here, and nothing is left out: whoever calls knows what the deterministic encoder
would write. Who writes has made room before (`reserve`); only `open_message` and `close_message`
make their own.

Encoding: https://protobuf.dev/programming-guides/encoding/.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memmove

cdef enum:  # wire types
    VARINT = 0
    FIXED64 = 1
    LENGTH = 2
    FIXED32 = 5

cdef enum:
    VARINT_LIMIT = 10  # bytes


cdef struct Out:
    unsigned char* start
    Py_ssize_t size
    Py_ssize_t capacity


cdef inline int reserve(Out* out, Py_ssize_t more) except -1 nogil:
    """Make room for `more` bytes; what is written after it is not checked again."""
    if out.capacity - out.size >= more:
        return 0
    return grow(out, more)


cdef inline int grow(Out* out, Py_ssize_t more) except -1 nogil:
    cdef Py_ssize_t capacity = max(out.size + more, 2 * out.capacity)
    cdef void* grown = realloc(out.start, capacity)
    if grown == NULL:
        with gil:
            raise MemoryError
    out.start, out.capacity = <unsigned char*>grown, capacity
    return 0


cdef inline void put(Out* out, const void* at, Py_ssize_t size) noexcept nogil:
    """Write bytes as they are."""
    memcpy(out.start + out.size, at, size)
    out.size += size


cdef inline void put_varint(Out* out, uint64_t value) noexcept nogil:
    while value > 0x7F:
        out.start[out.size] = <unsigned char>(value & 0x7F | 0x80)
        out.size += 1
        value >>= 7
    out.start[out.size] = <unsigned char>value
    out.size += 1


cdef inline void put_number(Out* out, int number, uint64_t value) noexcept nogil:
    """Write a field that is a bool, an enum or an integer."""
    put_varint(out, number << 3 | VARINT)
    put_varint(out, value)


cdef inline void put_head(Out* out, int number, Py_ssize_t size) noexcept nogil:
    """Begin a text or message of a known size."""
    put_varint(out, number << 3 | LENGTH)
    put_varint(out, size)


cdef inline void put_bytes(Out* out, int number, const void* at, Py_ssize_t size) noexcept nogil:
    """Write a field that is a text or an encoded message."""
    put_head(out, number, size)
    put(out, at, size)


cdef inline Py_ssize_t open_message(Out* out, int number, int guess) except -1 nogil:
    """Begin a message whose size is not known yet; return where its content begins.

    `guess` is how many bytes that size will have; a good one saves `close_message` a move.
    """
    reserve(out, 2 * VARINT_LIMIT)
    put_varint(out, number << 3 | LENGTH)
    out.size += guess
    return out.size


cdef inline int close_message(Out* out, Py_ssize_t start, int guess) except -1 nogil:
    """Write the size of a message before it, which moves if that needs more or fewer bytes."""
    cdef Py_ssize_t size = out.size - start
    cdef Py_ssize_t needed = varint_size(size)
    if needed != guess:
        reserve(out, VARINT_LIMIT)
        memmove(out.start + start + needed - guess, out.start + start, size)
    out.size = start - guess
    put_varint(out, size)
    out.size += size
    return 0


cdef inline Py_ssize_t varint_size(uint64_t value) noexcept nogil:
    cdef Py_ssize_t size = 1
    while value > 0x7F:
        value >>= 7
        size += 1
    return size


cdef inline Py_ssize_t head_size(int number, Py_ssize_t size) noexcept nogil:
    return varint_size(number << 3) + varint_size(size)


cdef inline Py_ssize_t bytes_size(int number, Py_ssize_t size) noexcept nogil:
    """Return how many bytes `put_bytes` writes."""
    return head_size(number, size) + size
