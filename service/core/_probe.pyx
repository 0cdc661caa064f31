# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, annotation_typing=False
"""What looking one record up among stored ones needs: blocking keys to store, and term frequencies.

A file is compared as a whole (`_match.Blocks`), with more kinds of keys than an index can keep up
with on every save. These are the ones that find most, and all that a shared e-mail or phone would
not find: those are looked up as identities.
"""

from libc.math cimport log2
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from cpython.bytes cimport PyBytes_FromStringAndSize

import numpy as np

from service.core._features cimport (
    RARITIES, Email, Features, Packed, Phone, Word, check, emails_of, features_at, firsts_of,
    hash_of, lasts_of, longest_word, mixed, phones_of, text_of, value_of, word_hash, word_text,
)
from service.core._features import rarity_of

KEYS_VERSION = 2  # of what `block_keys` gives: stored ones of another are made anew

cdef enum:
    KEY_BYTES = 8
    SECOND_MASK = 0xFFFF
    PHONE_TAIL = 100_000
    REGION_BYTES = 3  # of a postcode
    DAY = 31  # mask of a birth date

cdef enum:  # kinds of blocking keys
    BIRTH_LAST = 1
    BIRTH_FIRST = 2
    NAMES_REGION = 3
    NAME = 4
    LOCAL = 5
    PHONE = 6
    STREET = 7
    LAST_YEAR = 8
    LAST_POSTCODE = 9
    LAST_CITY = 10
    FIRST_CITY = 11
    BIRTH = 12
    COMPANY = 13
    COMPANY_WORD = 14


cdef struct _Name:
    uint64_t first, last  # sounds, or hashes where there is none; 0: absent
    uint64_t exact  # of first and last name, in either order; 0 unless it has both
    uint64_t initial


cdef void _read_name(const Features* one, _Name* to) noexcept nogil:
    cdef const Word* first = firsts_of(one)
    cdef const Word* last = lasts_of(one)
    to.first = to.last = to.exact = to.initial = 0
    if one.firsts:
        to.first, to.initial = _sound_of(one, first), word_text(one, first)[0]
    if one.lasts:
        to.last = _sound_of(one, last)
    if one.firsts and one.lasts:
        to.exact = word_hash(one, first) ^ word_hash(one, last)


cdef inline uint64_t _sound_of(const Features* one, const Word* word) noexcept nogil:
    return word.sound if word.sound else word_hash(one, word)


cdef uint64_t _either_order(uint64_t one, uint64_t other) noexcept nogil:
    return mixed(min(one, other), max(one, other)) if one and other else 0


def block_keys(bytes features not None):
    """Return the blocking keys of a record: (8 bytes, a second key of 16 bits) each.

    The second key splits a block that has too many; 0 where the record has no such value. Raises
    ValueError where these are no features of this release.
    """
    cdef uint64_t[KEYS_LIMIT][2] keys
    cdef int count = keys_of(check(features), keys)
    cdef int i
    return [
        (PyBytes_FromStringAndSize(<const char*>&keys[i][0], KEY_BYTES), keys[i][1])
        for i in range(count)
    ]


cdef int keys_of(const Features* one, uint64_t[2]* keys) noexcept nogil:
    """Write a record's blocking keys with their second keys, at most KEYS_LIMIT; return how many."""
    cdef _Name name
    cdef uint64_t birth = one.birth, year = birth >> 9, place = one.place_hash
    cdef uint64_t region, post, city, company
    cdef const Email* emails = emails_of(one)
    cdef const Phone* phones = phones_of(one)
    cdef int i, count = 0
    _read_name(one, &name)
    post = hash_of(text_of(one, one.postcode), one.postcode.size)
    city = hash_of(text_of(one, one.city), one.city.size)
    region = place
    if one.postcode.size >= REGION_BYTES:
        region = hash_of(text_of(one, one.postcode), REGION_BYTES)
    count = _add(keys, count, BIRTH_LAST, birth, name.last, name.first)
    count = _add(keys, count, BIRTH_FIRST, birth, name.first, place)
    if birth & DAY:
        count = _add(keys, count, BIRTH, birth, 1, place)
    count = _add(keys, count, NAMES_REGION, _either_order(name.first, name.last), region, birth)
    count = _add(keys, count, NAME, name.exact, 1, birth if birth else place)
    count = _add(
        keys, count, LAST_YEAR, mixed(name.last, name.initial) if name.last else 0, year, birth
    )
    count = _add(keys, count, LAST_POSTCODE, name.last, post, name.first)
    count = _add(keys, count, LAST_CITY, name.last, city, name.first)
    count = _add(keys, count, FIRST_CITY, name.first, city, birth)
    if one.emails:
        count = _add(keys, count, LOCAL, emails[0].local, 1, name.last)
    for i in range(one.phones):
        count = _add(
            keys, count, PHONE, 1 + phones[i].digits % PHONE_TAIL, name.last, name.first
        )
    count = _add(keys, count, STREET, one.street_hash, 1, place)
    company = hash_of(text_of(one, one.company), one.company.size)
    if name.first or name.last:
        return _add(keys, count, COMPANY, company, 2, name.last)  # not with the company itself
    if company:
        count = _add(keys, count, COMPANY, company, 1, place)
        count = _add(
            keys, count, COMPANY_WORD,
            longest_word(text_of(one, one.company), one.company.size), region, one.street_hash,
        )
    return count


cdef int _add(
    uint64_t[2]* keys, int count, uint64_t kind, uint64_t one, uint64_t other, uint64_t second
) noexcept nogil:
    """Add a key, the same once; return how many there are."""
    cdef uint64_t key
    cdef int i
    if not one or not other:
        return count
    key = mixed(mixed(one, other), kind)
    second = mixed(second, kind) & SECOND_MASK if second else 0
    for i in range(count):
        if keys[i][0] == key and keys[i][1] == second:
            return count
    keys[count][0], keys[count][1] = key, second
    return count + 1


def is_company(bytes features not None):
    """Tell whether features are of a record without a person's name."""
    cdef const Features* one = check(features)
    return one.tokens == 0 and one.company.size > 0


def sizes(bytes features not None):
    """Return how many e-mails and how many phones of a record are compared."""
    cdef const Features* one = check(features)
    return one.emails, one.phones


# Term frequencies

cdef enum:
    KINDS = RARITIES  # of values whose rarity features have at their head
    MOST_VALUES = 65_536  # of a kind: the most frequent; 12 bytes each
    FEWEST = 3  # records that have a value, for it to be kept
    SHARED = 2  # have it at least wherever it counts: the probe and the one that it is shared with


cdef class Frequencies:
    """How often values occur in an account: what it says that two records share one.

    Made of what `frequencies` returned; of b"" nothing is known but what is usual.
    """

    cdef list _counts
    cdef double _totals[KINDS]
    cdef uint32_t _others[KINDS]  # most records that have a value which is not kept

    def __init__(self, bytes stored=b""):
        kept = memoryview(stored)
        self._counts = [{} for _ in range(KINDS)]
        for which in range(KINDS):
            self._totals[which], self._others[which] = 0, 1
            if not len(kept):
                continue
            total, others, count = kept[:24].cast("Q")
            values = kept[24 : 24 + 8 * count].cast("Q")
            counts = kept[24 + 8 * count : 24 + 12 * count].cast("I")
            self._counts[which] = dict(zip(values, counts, strict=True))
            self._totals[which], self._others[which] = total, others
            kept = kept[24 + 12 * count + 4 * (count & 1) :]

    def headed(self, bytes features not None):
        """Return the features with the rarity of each value but e-mails and phones."""
        check(features)
        cdef bytes made = PyBytes_FromStringAndSize(<const char*>features, len(features))
        cdef Features* one = <Features*><char*>made
        cdef int which
        cdef uint64_t value
        for which in range(KINDS):
            value = value_of(one, which)
            one.rarities[which] = 0
            if value:
                count = (<dict>self._counts[which]).get(value, self._others[which])
                one.rarities[which] = rarity_of(which, self._totals[which], count)
        return made

    def weighed(
        self, bytes features not None, email_holders, phone_holders, Py_ssize_t records
    ):
        """Return the features with the rarity of each value, for use as a probe.

        The holders are how many of the account's `records` have each e-mail and phone, in the
        order of the features. A local part is as rare as is usual.
        """
        made = self.headed(features)
        cdef Features* one = <Features*><char*>made
        cdef Email* email
        cdef Phone* phone
        cdef int i
        if len(email_holders) != one.emails or len(phone_holders) != one.phones:
            raise ValueError("as many holders as e-mails and phones")
        for i in range(one.emails):
            email = <Email*>emails_of(one) + i
            email.rarity = rarity_of(KINDS, records, max(email_holders[i], SHARED))
            email.local_rarity = rarity_of(KINDS + 1, 0, 1)
        for i in range(one.phones):
            phone = <Phone*>phones_of(one) + i
            phone.rarity = rarity_of(KINDS + 2, records, max(phone_holders[i], SHARED))
        return made


def frequencies(Packed packed not None):
    """Return how often values occur in records, for `Frequencies`: at most 6 MB."""
    cdef uint64_t[::1] values
    cdef int which
    cdef Py_ssize_t row
    parts = []
    for which in range(KINDS):
        every = np.zeros(packed.count, np.uint64)
        values = every
        with nogil:
            for row in range(packed.count):
                values[row] = value_of(features_at(packed, row), which)
        found, counts = np.unique(every[every != 0], return_counts=True)
        total, others = int(counts.sum()), FEWEST - 1
        if np.count_nonzero(counts >= FEWEST) > MOST_VALUES:
            others = int(np.partition(counts, len(counts) - MOST_VALUES)[len(counts) - MOST_VALUES])
        kept = np.flatnonzero(counts > others)
        parts += [
            np.array([total, max(others // 2, SHARED), len(kept)], np.uint64).tobytes(),
            found[kept].tobytes(),
            counts[kept].astype(np.uint32).tobytes(),
            bytes(4 * (len(kept) & 1)),  # so that the next numbers are aligned
        ]
    return b"".join(parts)
