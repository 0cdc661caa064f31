# cython: language_level=3, boundscheck=False, wraparound=False, annotation_typing=False
"""Normal forms, verdicts and match keys of e-mail addresses: batches in, columns out.

An ASCII dot-atom at an ASCII host name, which nearly all of real mail is, is decided here without
the GIL: read (`_read`), then written (`_write`). Between the two, with the GIL, `email-validator`
is asked for the rest (`odd_emails`) and for the words of what is broken: the kernel knows the
fault, and asks for its words once per kind of fault and set of characters.

The library is the oracle. The order of the checks is the library's, because it tells of the
first fault only. RFC 5322 §3.2.3 (dot-atom), RFC 1123 §2.1 (host names), RFC 5321 §4.5.3.1
(lengths), RFC 2142 (names that are the same in any case), RFC 6761 (special use).
"""

from cpython cimport array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy

from service.core._text cimport FEW, Column, Texts

import os
from array import array as new_array

from service.core.model import Reason
from service.core.odd_emails import (
    CASELESS_MAILBOXES,
    SPECIAL_USE,
    EmailForm,
    look_into,
    look_into_domain,
    too_long,
)
from service.core.providers import EMAIL_RULES_VERSION, PROVIDERS

ctypedef const unsigned char* Bytes

cdef enum:  # values of model.Reason
    ACCEPTED = 1
    EMAIL_SYNTAX = 2
    UNUSUAL_SYNTAX = 3
    SPECIAL_USE_DOMAIN = 4

cdef enum:  # bounds
    ADDRESS_LIMIT = 254  # octets: RFC 5321 §4.5.3.1.3, RFC 3696 erratum 1690; longer ones are odd
    LABEL_LIMIT = 63  # octets, RFC 1035 §2.3.1
    LOOKED_AT_OCTETS = 4000  # ADDRESS_LOOKED_AT_CHARS of four bytes: longer texts are not decoded
    DETAILS_REMEMBERED = 4096  # words of a fault, about 400 bytes each
    BLOCK = 4096  # addresses read, settled and written together: 200 KB, which stay in the cache

cdef enum:  # kinds of characters, bits
    ATOM = 1  # RFC 5322 §3.2.3 atext
    DOT = 2
    HOST = 4  # letter, digit, "-"
    LETTER = 8

cdef enum:  # what is wrong, in the library's order
    FINE = 0
    NO_AT = 1
    NOTHING_BEFORE = 2
    CHARACTERS_BEFORE = 3
    DOT_BEFORE_AT = 4
    DOT_AT_START = 5
    TWO_DOTS_BEFORE = 6
    NOTHING_AFTER = 7
    CHARACTERS_AFTER = 8
    DOT_AT_END = 9
    DOT_AFTER_AT = 10
    TWO_DOTS_AFTER = 11
    HYPHEN_AT_END = 12
    HYPHEN_AFTER_AT = 13
    DOT_BESIDE_HYPHEN = 14
    TWO_HYPHENS = 15  # third and fourth of a label: neither ordinary nor Punycode (RFC 5890)
    NO_DOT = 16
    NO_TOP_LEVEL = 17
    DISPLAY_NAME = 18
    ODD_DOMAIN = 19  # a dot-atom at what is not decided here
    ODD = 20  # nothing that is decided here

cdef enum:  # what a local part stands for, bits
    ROLE = 1
    CASELESS = 2

_ATEXT = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~"

cdef uint8_t _KINDS[256]
cdef uint8_t _LOWER[256]


cdef _fill_characters():
    for code in range(256):
        text = chr(code) if code < 128 else ""
        _LOWER[code] = ord(text.lower()) if text else code
        _KINDS[code] = (
            (ATOM if text and text in _ATEXT else 0)
            | (DOT if text == "." else 0)
            | (HOST if text.isalnum() or text == "-" else 0)
            | (LETTER if text.isalpha() else 0)
        )


_fill_characters()


# Hashing: keyed, so that nobody can send domains that collide.

cdef uint64_t _SECRET[2]
_SECRET[0] = int.from_bytes(os.urandom(8), "little")
_SECRET[1] = int.from_bytes(os.urandom(8), "little")


cdef inline uint64_t _turned(uint64_t word, int bits) noexcept nogil:
    return (word << bits) | (word >> (64 - bits))


cdef inline void _round(uint64_t* v) noexcept nogil:
    v[0] += v[1]
    v[2] += v[3]
    v[1] = _turned(v[1], 13) ^ v[0]
    v[3] = _turned(v[3], 16) ^ v[2]
    v[0] = _turned(v[0], 32) + v[3]
    v[2] += v[1]
    v[3] = _turned(v[3], 21) ^ v[0]
    v[1] = _turned(v[1], 17) ^ v[2]
    v[2] = _turned(v[2], 32)


cdef uint64_t _hash(const void* text, Py_ssize_t size) noexcept nogil:
    """Return SipHash-1-3 (Aumasson and Bernstein, 2012) of some bytes."""
    cdef uint64_t v[4]
    cdef uint64_t word
    cdef const char* at = <const char*>text
    cdef Py_ssize_t left = size
    v[0] = _SECRET[0] ^ 0x736F6D6570736575ULL
    v[1] = _SECRET[1] ^ 0x646F72616E646F6DULL
    v[2] = _SECRET[0] ^ 0x6C7967656E657261ULL
    v[3] = _SECRET[1] ^ 0x7465646279746573ULL
    while left >= 8:
        memcpy(&word, at, 8)
        v[3] ^= word
        _round(v)
        v[0] ^= word
        at += 8
        left -= 8
    word = 0
    memcpy(&word, at, left)
    word |= <uint64_t>size << 56
    v[3] ^= word
    _round(v)
    v[0] ^= word
    v[2] ^= 0xFF
    _round(v)
    _round(v)
    _round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


cdef struct _Word:
    const char* text  # NULL: an empty slot
    int32_t size
    int32_t value


cdef class _Words:
    """A fixed set of words with a number each, for look-ups without the GIL."""

    cdef _Word* _slots
    cdef Py_ssize_t _mask
    cdef readonly Py_ssize_t longest  # bytes
    cdef list _owner

    def __cinit__(self, dict words):
        cdef Py_ssize_t slots = 8, at
        cdef _Word* slot
        while slots < 4 * len(words):
            slots *= 2
        self._slots = <_Word*>PyMem_Calloc(slots, sizeof(_Word))
        if self._slots == NULL:
            raise MemoryError
        self._mask = slots - 1
        self._owner = []
        for word, value in words.items():
            encoded = word.encode()
            self._owner.append(encoded)
            self.longest = max(self.longest, len(encoded))
            at = _hash(PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded)) & self._mask
            while self._slots[at].text != NULL:
                at = (at + 1) & self._mask
            slot = &self._slots[at]
            slot.text, slot.size = PyBytes_AS_STRING(encoded), <int32_t>PyBytes_GET_SIZE(encoded)
            slot.value = value

    def __dealloc__(self):
        PyMem_Free(self._slots)

    cdef int find(self, const void* text, Py_ssize_t size) noexcept nogil:
        """Return the number of a word, 0 if it is not here."""
        cdef Py_ssize_t at
        cdef const _Word* slot
        if size > self.longest:
            return 0
        at = _hash(text, size) & self._mask
        while True:
            slot = &self._slots[at]
            if slot.text == NULL:
                return 0
            if slot.size == size and memcmp(slot.text, text, size) == 0:
                return slot.value
            at = (at + 1) & self._mask


# Provider rules

cdef enum:
    PROVIDERS_LIMIT = 64
    IGNORED_LIMIT = 8  # characters

cdef struct _Rule:
    bint subdomains
    char keyword  # 0: none
    int ignored_size
    char ignored[IGNORED_LIMIT]
    const char* domain  # NULL: each of the provider's domains has its own mailboxes
    int32_t domain_size

cdef _Rule _RULES[PROVIDERS_LIMIT]
cdef _Words _RULE_DOMAINS  # domain → index of its rule + 1
cdef list _RULES_OWNER = []


cdef int _fill_rules() except -1:
    global _RULE_DOMAINS
    cdef _Rule* rule
    cdef Py_ssize_t number = 0
    cdef bytes ignored, domain
    words = {}
    for provider in PROVIDERS:
        ignored, domain = provider.ignored.encode(), provider.mailbox_domain.encode()
        if number == PROVIDERS_LIMIT or len(ignored) > IGNORED_LIMIT or len(provider.keyword) > 1:
            raise ValueError(f"no place for the rule of {provider.name}")
        _RULES_OWNER.append(domain)
        rule = &_RULES[number]
        rule.subdomains = provider.subdomains
        rule.keyword = ord(provider.keyword or "\0")
        rule.ignored_size = <int>len(ignored)
        memcpy(rule.ignored, PyBytes_AS_STRING(ignored), len(ignored))
        rule.domain = PyBytes_AS_STRING(domain) if domain else NULL
        rule.domain_size = <int32_t>len(domain)
        number += 1
        for name in provider.domains:
            if name in words:
                raise ValueError(f"two rules for {name}")
            words[name] = number
    _RULE_DOMAINS = _Words(words)
    return 0


_fill_rules()

cdef _Words _SPECIAL_USE = _Words(dict.fromkeys(SPECIAL_USE, 1))


cdef bint _is_special(Bytes domain, Py_ssize_t size) noexcept nogil:
    """Tell whether the top label is reserved (RFC 6761)."""
    cdef Py_ssize_t label = size
    while label > 0 and domain[label - 1] != c".":
        label -= 1
    return _SPECIAL_USE.find(domain + label, size - label) != 0


cdef struct _Place:  # what match keys have to know of a domain
    const _Rule* rule  # NULL: none
    int32_t user  # bytes of the first label, where that names the mailbox; else 0


cdef _Place _place(const char* domain, Py_ssize_t size) noexcept nogil:
    cdef _Place place
    cdef const char* dot
    cdef int number = _RULE_DOMAINS.find(domain, size)
    place.rule, place.user = NULL, 0
    if number:
        place.rule = &_RULES[number - 1]
        return place
    dot = <const char*>memchr(domain, c".", size)
    if dot != NULL:
        number = _RULE_DOMAINS.find(dot + 1, domain + size - dot - 1)
        if number and _RULES[number - 1].subdomains:
            place.rule, place.user = &_RULES[number - 1], <int32_t>(dot - domain)
    return place


cdef int _add_key(
    Column keys, Bytes local, Py_ssize_t size, const char* domain, Py_ssize_t domain_size,
    _Place place,
) except -1 nogil:
    """Add the match key of a mailbox; `local` is in lower case."""
    cdef const _Rule* rule = place.rule
    cdef const unsigned char* found
    cdef Py_ssize_t i, kept = 0
    cdef unsigned char* room
    if size and local[0] != c'"':
        # RFC 5233 §1: "+" is the separator of nearly all who offer sub-addresses. A local part
        # that begins with it (a phone number at a gateway) has no address before the tag.
        found = <Bytes>memchr(local, c"+", size)
        if found > local:
            size = found - local
        if rule != NULL and place.user:
            local, size = <Bytes>domain, place.user
            domain += size + 1
            domain_size -= size + 1
        if rule != NULL and rule.keyword:
            found = <Bytes>memchr(local, rule.keyword, size)
            if found > local:
                size = found - local + 1
    else:
        rule = NULL
    if rule != NULL and rule.domain != NULL:
        domain, domain_size = rule.domain, rule.domain_size
    room = <unsigned char*>keys.reserve(size + 1 + domain_size)
    if rule != NULL and rule.ignored_size:
        for i in range(size):
            if memchr(rule.ignored, local[i], rule.ignored_size) == NULL:
                room[kept] = local[i]
                kept += 1
    if kept == 0:
        memcpy(room, local, size)
        kept = size
    room[kept] = c"@"
    kept += 1
    memcpy(room + kept, domain, domain_size)
    return keys.commit(kept + domain_size)


def email_key(str normal not None):
    """Return the match key of a normal form; the normal form itself where there is no "@"."""
    cdef Column keys
    cdef bytes local, domain
    before, at, after = normal.rpartition("@")
    if not at:
        return normal
    local = before.lower().encode("utf-8", "surrogatepass")
    domain = after.encode("utf-8", "surrogatepass")
    keys = Column(1, len(local) + len(domain) + 1)
    _add_key(
        keys, <Bytes>PyBytes_AS_STRING(local), PyBytes_GET_SIZE(local),
        PyBytes_AS_STRING(domain), PyBytes_GET_SIZE(domain),
        _place(PyBytes_AS_STRING(domain), PyBytes_GET_SIZE(domain)),
    )
    return keys[0]


# The distinct domains of a batch

cdef struct _Domain:
    uint64_t hash
    _Place place
    uint8_t reason  # ACCEPTED or SPECIAL_USE_DOMAIN
    uint8_t fault  # FINE, or ODD_DOMAIN where the library accepted it


cdef class _Domains:
    """A growing set of domains, numbered from 0."""

    cdef readonly Column names
    cdef _Domain* _items
    cdef int32_t* _slots  # number + 1; 0: empty
    cdef Py_ssize_t _room  # items; twice as many slots

    def __cinit__(self):
        self.names = Column()
        self._room = 8
        self._items = <_Domain*>malloc(self._room * sizeof(_Domain))
        self._slots = <int32_t*>PyMem_Calloc(2 * self._room, sizeof(int32_t))
        if self._items == NULL or self._slots == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._items)
        PyMem_Free(self._slots)

    cdef int32_t find(self, const void* name, Py_ssize_t size, uint64_t hash) noexcept nogil:
        """Return the number of a domain, -1 if it is new."""
        cdef Py_ssize_t mask = 2 * self._room - 1, at = hash & mask
        cdef int32_t number
        cdef const int32_t* offsets = self.names._offsets
        while self._slots[at]:
            number = self._slots[at] - 1
            if (
                self._items[number].hash == hash
                and offsets[number + 1] - offsets[number] == size
                and memcmp(self.names._bytes + offsets[number], name, size) == 0
            ):
                return number
            at = (at + 1) & mask
        return -1

    cdef int32_t add(
        self, const void* name, Py_ssize_t size, uint64_t hash, uint8_t fault
    ) except -1 nogil:
        """Return the number of a domain that was not here."""
        cdef int32_t number = <int32_t>self.names.count
        cdef _Domain* item
        if number == self._room:
            with gil:
                self._grow()
        self.names.append(<const char*>name, size)
        item = &self._items[number]
        item.hash, item.place = hash, _place(<const char*>name, size)
        item.reason = SPECIAL_USE_DOMAIN if _is_special(<Bytes>name, size) else ACCEPTED
        item.fault = fault
        self._enter(number)
        return number

    cdef void _enter(self, int32_t number) noexcept nogil:
        cdef Py_ssize_t mask = 2 * self._room - 1, at = self._items[number].hash & mask
        while self._slots[at]:
            at = (at + 1) & mask
        self._slots[at] = number + 1

    cdef int _grow(self) except -1:
        cdef int32_t number
        cdef _Domain* items = <_Domain*>realloc(self._items, 2 * self._room * sizeof(_Domain))
        cdef int32_t* slots
        if items == NULL:
            raise MemoryError
        self._items = items
        slots = <int32_t*>PyMem_Calloc(4 * self._room, sizeof(int32_t))
        if slots == NULL:
            raise MemoryError
        PyMem_Free(self._slots)
        self._slots = slots
        self._room *= 2
        for number in range(<int32_t>self.names.count):
            self._enter(number)
        return 0


# Reading

cdef struct _Address:
    const char* start  # stripped; of an odd one that is accepted, its normal form
    int32_t size
    int32_t at  # bytes before the "@" between local part and domain
    int32_t domain  # its number in the batch; -1: none
    uint8_t fault
    uint8_t reason
    int32_t folded_size
    const char* folded  # the local part in lower case, NULL if that is for the kernel to make


cdef inline int _space(Bytes at, Py_ssize_t left) noexcept nogil:
    """Return the bytes of the white space that begins here: what str.strip() removes, or 0."""
    if left > 0 and at[0] < 0x80:
        return at[0] == 0x20 or 0x09 <= at[0] <= 0x0D or 0x1C <= at[0] <= 0x1F
    if left >= 2 and at[0] == 0xC2:
        return 2 if at[1] == 0x85 or at[1] == 0xA0 else 0
    if left < 3:
        return 0
    if at[0] == 0xE2 and at[1] == 0x80:
        return 3 if 0x80 <= at[2] <= 0x8A or at[2] == 0xA8 or at[2] == 0xA9 or at[2] == 0xAF else 0
    if (
        (at[0] == 0xE1 and at[1] == 0x9A and at[2] == 0x80)
        or (at[0] == 0xE2 and at[1] == 0x81 and at[2] == 0x9F)
        or (at[0] == 0xE3 and at[1] == 0x80 and at[2] == 0x80)
    ):
        return 3
    return 0


cdef inline int _space_before(Bytes start, Bytes end) noexcept nogil:
    """Return the bytes of the white space that ends here, or 0."""
    cdef int size
    for size in range(1, 4):
        if end - start >= size and _space(end - size, size) == size:
            return size
    return 0


cdef inline void _strip(_Address* one) noexcept nogil:
    cdef Bytes start = <Bytes>one.start
    cdef Bytes end = start + one.size
    cdef int size
    while True:
        size = _space(start, end - start)
        if size == 0:
            break
        start += size
    while True:
        size = _space_before(start, end)
        if size == 0:
            break
        end -= size
    one.start, one.size = <const char*>start, <int32_t>(end - start)


cdef bint _is_ascii(Bytes text, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        if text[i] >= 0x80:
            return False
    return True


cdef bint _has(Bytes text, Py_ssize_t size, char first, char second) noexcept nogil:
    """Tell whether two characters stand next to each other."""
    cdef Py_ssize_t i
    for i in range(size - 1):
        if text[i] == first and text[i + 1] == second:
            return True
    return False


cdef uint8_t _local_fault(Bytes text, Py_ssize_t size) noexcept nogil:
    """Return what is wrong before the first "@" of an ASCII address that has no dot-atom there."""
    cdef Bytes found, bracket
    cdef Py_ssize_t i, end
    if size == 0:
        return NO_AT
    found = <Bytes>memchr(text, c"@", size)
    end = size if found == NULL else found - text
    if memchr(text, c'"', end) != NULL:
        return ODD
    bracket = <Bytes>memchr(text, c"<", end)
    if bracket != NULL:
        return DISPLAY_NAME if _has_only_a_name(text, size, bracket - text) else ODD
    if found == NULL:
        return NO_AT
    if end == 0:
        return NOTHING_BEFORE
    for i in range(end):
        if not _KINDS[text[i]] & (ATOM | DOT):
            return CHARACTERS_BEFORE
    if text[end - 1] == c".":
        return DOT_BEFORE_AT
    if text[0] == c".":
        return DOT_AT_START
    return TWO_DOTS_BEFORE


cdef uint8_t _characters_fault(Bytes domain, Py_ssize_t size) noexcept nogil:
    """Return what is wrong with an ASCII domain that has other characters than a host name."""
    if size == 0:
        return NOTHING_AFTER
    if domain[0] == c"[" and domain[size - 1] == c"]":
        return ODD_DOMAIN  # RFC 5321 §4.1.3
    return CHARACTERS_AFTER


cdef uint8_t _domain_fault(Bytes domain, Py_ssize_t size) noexcept nogil:
    """Return what is wrong with a domain of letters, digits, "-" and "." in lower case."""
    cdef Py_ssize_t i, label = 0
    if domain[size - 1] == c".":
        return DOT_AT_END
    if domain[0] == c".":
        return DOT_AFTER_AT
    if _has(domain, size, c".", c"."):
        return TWO_DOTS_AFTER
    if domain[size - 1] == c"-":
        return HYPHEN_AT_END
    if domain[0] == c"-":
        return HYPHEN_AFTER_AT
    if _has(domain, size, c".", c"-") or _has(domain, size, c"-", c"."):
        return DOT_BESIDE_HYPHEN
    for i in range(size - 3):
        if domain[i + 2] == c"-" and domain[i + 3] == c"-":
            if domain[i] == c"x" and domain[i + 1] == c"n":
                return ODD_DOMAIN  # an A-label, or what looks like one
            if (i == 0 or domain[i - 1] == c".") and domain[i + 1] != c".":
                return TWO_HYPHENS
    for i in range(size + 1):
        if i == size or domain[i] == c".":
            if i - label > LABEL_LIMIT:
                return ODD_DOMAIN
            if i < size:
                label = i + 1
    if _is_special(domain, size):
        return FINE
    if label == 0:
        return NO_DOT
    return FINE if _KINDS[domain[size - 1]] & LETTER else NO_TOP_LEVEL


cdef inline int32_t _dot_atom(Bytes text, int32_t size) noexcept nogil:
    """Return the bytes of the dot-atom before the first "@", -1 if there is none."""
    cdef int32_t at = 0
    cdef uint8_t kind, before = DOT
    cdef bint broken = False
    while at < size:
        kind = _KINDS[text[at]]
        if not kind & (ATOM | DOT):
            break
        broken |= (kind & before & DOT) != 0
        before = kind
        at += 1
    if at == size or text[at] != c"@" or broken or before & DOT:
        return -1
    return at


cdef inline bint _lowered(Bytes domain, int32_t size, unsigned char* lower) noexcept nogil:
    """Write a domain in lower case; false if it has other characters than a host name."""
    cdef int32_t i = 0
    while i < size and _KINDS[domain[i]] & (HOST | DOT):
        lower[i] = _LOWER[domain[i]]
        i += 1
    return 0 < size == i


cdef bint _has_only_a_name(Bytes text, int32_t size, int32_t bracket) noexcept nogil:
    """Tell whether this is a good address in angle brackets after a simple name or none."""
    cdef unsigned char lower[ADDRESS_LIMIT]
    cdef int32_t i
    for i in range(bracket):
        if not _KINDS[text[i]] & ATOM and text[i] != c" ":
            return False
    if text[size - 1] != c">":
        return False
    text += bracket + 1
    size -= bracket + 2
    i = _dot_atom(text, size)
    if i < 0 or not _lowered(text + i + 1, size - i - 1, lower):
        return False
    size -= i + 1
    return _domain_fault(lower, size) == FINE and not _is_special(lower, size)


cdef int _read(_Address* one, _Domains domains) except -1 nogil:
    """Find the parts of an address and what is wrong with it."""
    cdef unsigned char lower[ADDRESS_LIMIT]
    cdef Bytes text = <Bytes>one.start
    cdef int32_t number, size = one.size
    cdef uint64_t hash
    one.folded, one.domain, one.reason = NULL, -1, EMAIL_SYNTAX
    one.fault = ODD
    if size > ADDRESS_LIMIT:
        return 0
    one.at = _dot_atom(text, size)
    if one.at < 0:
        if _is_ascii(text, size):
            one.fault = _local_fault(text, size)
        return 0
    text += one.at + 1
    size -= one.at + 1
    if not _lowered(text, size, lower):
        one.fault = _characters_fault(text, size) if _is_ascii(text, size) else ODD_DOMAIN
        return 0
    hash = _hash(lower, size)
    number = domains.find(lower, size, hash)
    if number < 0 or domains._items[number].fault != FINE:
        one.fault = _domain_fault(lower, size)
        if one.fault != FINE:
            return 0
    if number < 0:
        number = domains.add(lower, size, hash, FINE)
    one.fault, one.domain, one.reason = FINE, number, domains._items[number].reason
    return 0


# What is not decided by the kernel alone

cdef str _text(const char* start, Py_ssize_t size):
    """Decode an address. What is no UTF-8 becomes lone surrogates, which no address may have."""
    try:
        return PyUnicode_DecodeUTF8(start, size, "surrogatepass")
    except UnicodeDecodeError:
        return PyUnicode_DecodeUTF8(start, size, "surrogateescape")


cdef Py_ssize_t _characters(Bytes text, Py_ssize_t size) noexcept nogil:
    """Return how many characters UTF-8 has."""
    cdef Py_ssize_t i, count = 0
    for i in range(size):
        count += text[i] & 0xC0 != 0x80
    return count


cdef tuple _kind_of_fault(const _Address* one):
    """Return what the words for a fault depend on: the fault and the characters not allowed."""
    cdef uint64_t characters[2]
    cdef Py_ssize_t i, first = 0, last = 0
    cdef Bytes text = <Bytes>one.start
    cdef uint8_t allowed = ATOM | DOT
    if one.fault == CHARACTERS_BEFORE:
        last = <Bytes>memchr(text, c"@", one.size) - text
    elif one.fault == CHARACTERS_AFTER:
        first, last, allowed = one.at + 1, one.size, HOST | DOT
    characters[0] = characters[1] = 0
    for i in range(first, last):
        if not _KINDS[text[i]] & allowed:
            characters[text[i] >> 6] |= 1ULL << (text[i] & 63)
    return one.fault, characters[0], characters[1]


cdef _settle(_Address* one, Py_ssize_t index, Emails made, dict details, list owner):
    """Ask the library for an address, its domain, or the words for its fault."""
    kind = None
    if one.fault == ODD_DOMAIN:
        if _settle_domain(one, index, made, owner):
            return
    elif one.fault != ODD:
        kind = _kind_of_fault(one)
        detail = details.get(kind)
        if detail is not None:
            made.details[index] = detail
            return
    if one.size > LOOKED_AT_OCTETS:
        form = too_long(_characters(<Bytes>one.start, one.size))
    else:
        form = look_into(_text(one.start, one.size))
    if form.reason == EMAIL_SYNTAX:
        made.details[index] = form.detail
        if kind is not None:
            if len(details) >= DETAILS_REMEMBERED:
                details.clear()
            details[kind] = form.detail
    else:
        # Also where the kernel saw a fault: if the library sees none, there is none.
        _accept(one, form, made, owner)


cdef bint _settle_domain(_Address* one, Py_ssize_t index, Emails made, list owner) except -1:
    """Ask for the domain behind a dot-atom; false if the whole address has to be asked for."""
    cdef int32_t local = one.at + 1
    found = look_into_domain(_text(one.start + local, one.size - local))
    if found is None or local + found.octets > ADDRESS_LIMIT:
        return False
    if found.reason == EMAIL_SYNTAX:
        made.details[index] = found.detail
    elif found.name:
        one.fault, one.reason = FINE, found.reason
        one.domain = _number(made._domains, found.name.encode())
    else:
        return False
    return True


cdef _accept(_Address* one, form, Emails made, list owner):
    """Take what the library says of an address."""
    cdef bytes normal, folded
    local = form.normal.rpartition("@")[0]
    normal = form.normal.encode()
    folded = local.lower().encode()
    owner.append((normal, folded))
    one.start, one.size = PyBytes_AS_STRING(normal), <int32_t>PyBytes_GET_SIZE(normal)
    one.at = <int32_t>len(local.encode())
    one.folded, one.folded_size = PyBytes_AS_STRING(folded), <int32_t>PyBytes_GET_SIZE(folded)
    one.fault, one.reason = FINE, form.reason
    if form.domain:
        one.domain = _number(made._domains, form.domain.encode())


cdef int32_t _number(_Domains domains, bytes name) except -1:
    cdef uint64_t hash = _hash(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
    cdef int32_t number = domains.find(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), hash)
    if number < 0:
        # What the library accepts may be too long with another local part: it stays its own.
        number = domains.add(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), hash, ODD_DOMAIN)
    return number


# Writing

cdef int _write(
    const _Address* one, _Domains domains, _Words names, Column normals, Column keys, uint8_t* role
) except -1 nogil:
    """Add the normal form and the match key of an address, and say whether it is a role's."""
    cdef unsigned char lower[ADDRESS_LIMIT]
    cdef Bytes folded = <Bytes>one.folded
    cdef const char* local = one.start
    cdef const char* domain
    cdef const int32_t* offsets = domains.names._offsets
    cdef const void* tag
    cdef Py_ssize_t i, folded_size = one.folded_size, domain_size
    cdef _Place place
    cdef char* room
    cdef int name
    role[0] = 0
    if one.fault != FINE:
        normals.append("", 0)
        return keys.append("", 0)
    if one.domain >= 0:
        domain = domains.names._bytes + offsets[one.domain]
        domain_size = offsets[one.domain + 1] - offsets[one.domain]
        place = domains._items[one.domain].place
    else:  # an address literal
        domain, domain_size = one.start + one.at + 1, one.size - one.at - 1
        place.rule, place.user = NULL, 0
    if folded == NULL:
        for i in range(one.at):
            lower[i] = _LOWER[<unsigned char>local[i]]
        folded, folded_size = lower, one.at
    tag = memchr(folded, c"+", folded_size)
    name = names.find(folded, folded_size if tag == NULL else <Bytes>tag - folded)
    role[0] = (name & ROLE) != 0
    if name & CASELESS and tag == NULL:
        local = <const char*>folded
    room = normals.reserve(one.at + 1 + domain_size)
    memcpy(room, local, one.at)
    room[one.at] = c"@"
    memcpy(room + one.at + 1, domain, domain_size)
    normals.commit(one.at + 1 + domain_size)
    return _add_key(keys, folded, folded_size, domain, domain_size, place)


cdef tuple _REASONS = (None, *(Reason(number) for number in range(1, SPECIAL_USE_DOMAIN + 1)))
cdef array.array _OCTETS = new_array("B")
cdef array.array _NUMBERS = new_array("i")


cdef class Emails:
    """What is known of a batch of addresses, in their order."""

    cdef readonly Column normal
    cdef readonly Column keys
    cdef readonly array.array reason
    cdef readonly array.array domain_ids
    cdef readonly array.array role
    cdef readonly dict details
    cdef _Domains _domains
    cdef list _domain_names

    def __len__(self):
        return self.normal.count

    @property
    def domains(self):
        """Return the distinct A-label domains, each once."""
        if self._domain_names is None:
            self._domain_names = self._domains.names.strings()
        return self._domain_names

    def forms(self):
        """Return the form of each address, for small batches."""
        cdef Py_ssize_t i
        cdef int32_t number
        cdef list made = []
        cdef list domains = self.domains
        for i in range(self.normal.count):
            number = self.domain_ids.data.as_ints[i]
            made.append(tuple.__new__(EmailForm, (
                self.normal[i],
                _REASONS[self.reason.data.as_uchars[i]],
                self.details.get(i, "") if self.details else "",
                domains[number] if number >= 0 else "",
            )))
        return made


cdef class EmailParser:
    """Parses batches of addresses; knows which local parts belong to a function."""

    cdef _Words _names
    cdef dict _details  # kind of fault → the library's words

    def __init__(self, roles):
        names = dict.fromkeys(roles, ROLE)
        for name in CASELESS_MAILBOXES:
            names[name] = names.get(name, 0) | CASELESS
        self._names = _Words(names)
        self._details = {}

    def parse(self, Texts texts not None):
        """Return what is known of each address. Surrounding white space is ignored."""
        cdef Py_ssize_t i, first, count = texts.count, size = 0
        cdef _Address* addresses
        cdef Emails made = Emails.__new__(Emails)
        made.reason = array.clone(_OCTETS, count, False)
        made.role = array.clone(_OCTETS, count, False)
        made.domain_ids = array.clone(_NUMBERS, count, False)
        made.details = {}
        made._domains = _Domains()
        for i in range(count):
            size += min(texts.sizes[i], ADDRESS_LIMIT)
        made.normal, made.keys = Column(count, size), Column(count, size)
        addresses = <_Address*>malloc(max(min(count, BLOCK), 1) * sizeof(_Address))
        if addresses == NULL:
            raise MemoryError
        try:
            for first in range(0, count, BLOCK):
                self._parse_block(texts, first, min(count - first, BLOCK), addresses, made)
        finally:
            free(addresses)
        return made

    cdef _parse_block(
        self, Texts texts, Py_ssize_t first, Py_ssize_t count, _Address* addresses, Emails made
    ):
        cdef Py_ssize_t i, unsettled
        cdef list owner = []  # of what `addresses` point to
        if count <= FEW:
            unsettled = _read_all(texts, first, count, addresses, made._domains)
        else:
            with nogil:
                unsettled = _read_all(texts, first, count, addresses, made._domains)
        if unsettled:
            for i in range(count):
                if addresses[i].fault != FINE:
                    _settle(&addresses[i], first + i, made, self._details, owner)
        if count <= FEW:
            _write_all(addresses, first, count, self._names, made)
        else:
            with nogil:
                _write_all(addresses, first, count, self._names, made)


cdef Py_ssize_t _read_all(
    Texts texts, Py_ssize_t first, Py_ssize_t count, _Address* addresses, _Domains domains
) except -1 nogil:
    """Read addresses; return how many are not fine."""
    cdef Py_ssize_t i, unsettled = 0
    for i in range(count):
        addresses[i].start = texts.starts[first + i]
        addresses[i].size = texts.sizes[first + i]
        _strip(&addresses[i])
        _read(&addresses[i], domains)
        unsettled += addresses[i].fault != FINE
    return unsettled


cdef int _write_all(
    _Address* addresses, Py_ssize_t first, Py_ssize_t count, _Words names, Emails made
) except -1 nogil:
    cdef uint8_t* reason = made.reason.data.as_uchars + first
    cdef uint8_t* role = made.role.data.as_uchars + first
    cdef int* domain_ids = made.domain_ids.data.as_ints + first
    cdef Py_ssize_t i
    for i in range(count):
        reason[i], domain_ids[i] = addresses[i].reason, addresses[i].domain
        _write(&addresses[i], made._domains, names, made.normal, made.keys, &role[i])
    return 0
