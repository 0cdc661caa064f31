# cython: language_level=3
"""SipHash-2-4 with 128 bits of output, and the entry that an identity has in a sorted run."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef enum:
    SECRET_BYTES = 16


cdef inline uint64_t _turned(uint64_t word, int bits) noexcept nogil:
    return word << bits | word >> (64 - bits)


cdef inline void _mix(uint64_t* v, int rounds) noexcept nogil:
    cdef int i
    for i in range(rounds):
        v[0] += v[1]
        v[2] += v[3]
        v[1] = _turned(v[1], 13) ^ v[0]
        v[3] = _turned(v[3], 16) ^ v[2]
        v[0] = _turned(v[0], 32)
        v[2] += v[1]
        v[0] += v[3]
        v[1] = _turned(v[1], 17) ^ v[2]
        v[3] = _turned(v[3], 21) ^ v[0]
        v[2] = _turned(v[2], 32)


cdef inline void sip_hash(
    const unsigned char* text, size_t size, const uint64_t* secret, uint64_t* to
) noexcept nogil:
    """Write the two halves of the hash of a text; machines are little-endian, as the words are.

    Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), with the longer output of
    their reference code.
    """
    cdef uint64_t[4] v
    cdef uint64_t word
    cdef size_t at = 0
    v[0] = secret[0] ^ 0x736F6D6570736575ULL
    v[1] = secret[1] ^ 0x646F72616E646F6DULL ^ 0xEE
    v[2] = secret[0] ^ 0x6C7967656E657261ULL
    v[3] = secret[1] ^ 0x7465646279746573ULL
    while at + 8 <= size:
        memcpy(&word, text + at, 8)
        v[3] ^= word
        _mix(v, 2)
        v[0] ^= word
        at += 8
    word = 0
    memcpy(&word, text + at, size - at)
    word |= <uint64_t>size << 56
    v[3] ^= word
    _mix(v, 2)
    v[0] ^= word
    v[2] ^= 0xEE
    _mix(v, 4)
    to[0] = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    _mix(v, 4)
    to[1] = v[0] ^ v[1] ^ v[2] ^ v[3]


cdef inline void identity_entry(
    const unsigned char* key, size_t size, const uint64_t* secret, uint64_t row, uint64_t* entry
) noexcept nogil:
    """Write what a row has in a run for an identities key: 64 bits, and 16 more above the row.

    The row has 48 bits. With 10^7 customers a look-up meets another key's hash once in 10^17.
    """
    sip_hash(key, size, secret, entry)
    entry[1] = entry[1] << 48 | row
