# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A keyed hash: who does not know the secret cannot make texts that collide, or guess a text.

The function is inline (`_hash.pxd`), for kernels that hash many texts.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcpy


def hashed(bytes text not None, bytes secret not None):
    """Return the SipHash-2-4 of a text: 16 bytes; raise ValueError unless the secret has 16."""
    cdef uint64_t[2] words
    cdef uint64_t[2] key
    if PyBytes_GET_SIZE(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes")
    memcpy(key, PyBytes_AS_STRING(secret), SECRET_BYTES)
    sip_hash(
        <const unsigned char*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), key, words
    )
    return PyBytes_FromStringAndSize(<const char*>words, sizeof(words))
