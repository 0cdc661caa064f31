# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, annotation_typing=False
"""Many new customers at once: which rows of a batch are surely new, and putting those.

What the writer does for one card with a `Put`, done for all new rows of a batch: one pass over a
cursor for each sub-database, keys and values written in place, without the GIL. The bytes are those
of `layout`, which a test holds. Entries of identities and blocks go into sorted runs (`runs`).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort
from libc.string cimport memcmp, memcpy

from service.core._features cimport Features, features_at
from service.core._hash cimport identity_entry, sip_hash
from service.core._probe cimport KEYS_LIMIT, keys_of
from service.core._wire cimport (
    STAMP_BYTES, Prepared, Text, stamp,
)
from service.index._lmdb cimport (
    KEY_EXISTS, NOT_FOUND, Calls, Value, close_cursor, error_of, get_value, open_cursor, put_at,
)

from service.errors import StorageFault

cdef enum:
    KEY_LIMIT = 511  # bytes, as in layout
    ID_BYTES = 36  # of a UUID as text
    RANDOM_BYTES = 10
    ROW_BITS = 48
    FEATURES_HEAD = 4  # a CRC
    EVENT_HEAD = 20
    HISTORY_HEAD = 14
    WAITING_HEAD = 5
    DOMAIN_HEAD = 6
    VERSION = 1
    CREATED = 1  # ChangeKind
    ID_KIND = 0  # before an id that is hashed: no kind of identities key
    NOBODY = -1
    APPEND = 0x20000
    NO_OVERWRITE = 0x10

cdef uint32_t[8][256] _CRC  # CRC-32 as zlib has it, eight bytes at a time (Intel, 2006)


cdef int _fill_crc() except -1:
    cdef uint32_t i, value
    cdef int bit, table
    for i in range(256):
        value = i
        for bit in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
        _CRC[0][i] = value
    for i in range(256):
        for table in range(1, 8):
            value = _CRC[table - 1][i]
            _CRC[table][i] = value >> 8 ^ _CRC[0][value & 0xFF]
    return 0


_fill_crc()


cdef uint32_t _crc(const unsigned char* at, Py_ssize_t size) noexcept nogil:
    cdef uint32_t crc = 0xFFFFFFFF
    cdef uint64_t word
    while size >= 8:
        memcpy(&word, at, 8)
        word ^= crc
        crc = (
            _CRC[7][word & 0xFF] ^ _CRC[6][word >> 8 & 0xFF] ^ _CRC[5][word >> 16 & 0xFF]
            ^ _CRC[4][word >> 24 & 0xFF] ^ _CRC[3][word >> 32 & 0xFF] ^ _CRC[2][word >> 40 & 0xFF]
            ^ _CRC[1][word >> 48 & 0xFF] ^ _CRC[0][word >> 56]
        )
        at += 8
        size -= 8
    while size:
        crc = crc >> 8 ^ _CRC[0][(crc ^ at[0]) & 0xFF]
        at += 1
        size -= 1
    return ~crc


cdef struct _Hash:
    uint64_t first
    uint64_t tail

cdef struct _Slot:  # of the table of what rows have
    uint64_t hash
    int32_t holder  # the first row that has it; NOBODY: free
    bint is_asked, is_shared

cdef struct _New:  # a row that is created
    int32_t index
    Text id
    uint64_t row

cdef struct _Waiting:
    Text domain
    uint64_t row

cdef struct _Pass:  # over the rows that are put
    const _New* news
    Py_ssize_t count
    uint64_t first_sequence, now_us
    Text actor, times
    Py_ssize_t waiting  # how many stand in `scratch`
    unsigned char[16] place  # a row or a sequence, as they are in keys
    unsigned char* scratch

# Says what is put of a row, in the memory of the pass, which the next row takes again.
ctypedef void (*_Describe)(_Pass*, Py_ssize_t, Prepared, Value*, Value*) noexcept nogil


@cython.final
cdef class Intake:
    """The ordinary rows of a batch, with their keys hashed: made beside the writer, put by it."""

    cdef readonly Prepared rows
    cdef readonly Py_ssize_t count
    cdef _Hash* _hashes  # of the keys of `rows`
    cdef uint64_t* _ids  # hashes of given ids
    cdef uint64_t[2]* _blocks  # key and second key
    cdef int64_t* _block_ends
    cdef uint8_t* _stale  # rows that are to be decided one by one
    cdef _New* _news  # rows that were put
    cdef Py_ssize_t _made  # how many
    cdef char* _new_ids

    def __init__(self, Prepared rows not None, bytes secret not None):
        cdef uint64_t[2] words
        cdef Py_ssize_t count = rows.count
        if len(secret) != sizeof(words):
            raise ValueError("the secret has 16 bytes")
        if rows.features is None:
            raise ValueError("rows without features")
        memcpy(words, PyBytes_AS_STRING(secret), sizeof(words))
        self.rows, self.count = rows, count
        self._hashes = <_Hash*>malloc((rows.key_ends[count] + 1) * sizeof(_Hash))
        self._ids = <uint64_t*>malloc((count + 1) * sizeof(uint64_t))
        self._blocks = <uint64_t[2]*>malloc((count + 1) * KEYS_LIMIT * sizeof(words))
        self._block_ends = <int64_t*>calloc(count + 1, sizeof(int64_t))
        self._stale = <uint8_t*>malloc(count + 1)
        self._news = <_New*>malloc((count + 1) * sizeof(_New))
        self._new_ids = <char*>malloc(count * ID_BYTES + 1)
        if (
            not self._hashes or not self._ids or not self._blocks or not self._block_ends
            or not self._stale or not self._news or not self._new_ids
        ):
            raise MemoryError
        with nogil:
            self._hash(rows, words)

    def __dealloc__(self):
        free(self._hashes)
        free(self._ids)
        free(self._blocks)
        free(self._block_ends)
        free(self._stale)
        free(self._news)
        free(self._new_ids)

    cdef void _hash(self, Prepared rows, const uint64_t* secret) noexcept nogil:
        cdef unsigned char[KEY_LIMIT + 1] key
        cdef uint64_t[2] hash
        cdef int64_t i, end = rows.key_ends[rows.count]
        cdef Py_ssize_t row
        for row in range(rows.count):
            for i in range(rows.key_ends[row], rows.key_ends[row + 1]):
                if rows.keys[i].text.size >= KEY_LIMIT:  # these are hashed in another way
                    rows.odd[row] = True
                    continue
                key[0] = rows.keys[i].kind
                memcpy(key + 1, rows.keys[i].text.at, rows.keys[i].text.size)
                identity_entry(key, 1 + rows.keys[i].text.size, secret, 0, &self._hashes[i].first)
            if rows.ids[row].size:
                key[0] = ID_KIND
                memcpy(key + 1, rows.ids[row].at, rows.ids[row].size)
                sip_hash(key, 1 + rows.ids[row].size, secret, hash)
                self._ids[row] = hash[0]
            self._block_ends[row + 1] = self._block_ends[row] + keys_of(
                features_at(rows.features, row), self._blocks + self._block_ends[row]
            )

    def stale(self, Calls calls not None, ids, identities, held, uint8_t asked, bint by_id, others):
        """Return the rows, by their place among the ordinary ones, that may not be new.

        Those whose id is in use or was, whose keys somebody has that are asked for (`asked`: bits
        of ways to match, none of rows with an id where it goes `by_id`), or which share such a key
        with another row of the batch, so that one may be the other. `held` is that of a
        transaction; `others` are the hashed identities keys of rows that are no ordinary ones:
        native words, the first 64 bits of each.

        All other rows can be put by `create`, and what is decided about these sees no difference
        whether their entries are there yet.
        """
        cdef const uint64_t[::1] foreign = memoryview(others).cast("B").cast("Q")
        cdef Py_ssize_t row
        self._made = 0
        memcpy(self._stale, self.rows.odd, self.count)
        self._find_shared(asked, by_id, foreign)
        self._find_stored(calls, ids, identities, asked, by_id)
        self._find_held(held, asked, by_id)
        return [row for row in range(self.count) if self._stale[row]]

    cdef int _find_held(self, held, uint8_t asked, bint by_id) except -1:
        """Mark rows whose keys are in sorted runs."""
        cdef Prepared rows = self.rows
        cdef Py_ssize_t row, count = 0
        cdef int64_t i, keys = rows.key_ends[rows.count]
        cdef bytes wanted = PyBytes_FromStringAndSize(NULL, keys * sizeof(_Hash))
        cdef _Hash* hashes = <_Hash*>PyBytes_AS_STRING(wanted)
        cdef const unsigned char[::1] found
        for row in range(rows.count):
            for i in range(rows.key_ends[row], rows.key_ends[row + 1]):
                if self._is_asked(row, i, asked, by_id):
                    hashes[count] = self._hashes[i]
                    count += 1
        found = held(memoryview(wanted)[: count * sizeof(_Hash)], count)
        count = 0
        for row in range(rows.count):
            for i in range(rows.key_ends[row], rows.key_ends[row + 1]):
                if self._is_asked(row, i, asked, by_id):
                    self._stale[row] |= found[count]
                    count += 1
        return 0

    cdef inline bint _is_asked(
        self, Py_ssize_t row, int64_t key, uint8_t asked, bint by_id
    ) noexcept nogil:
        return self.rows.keys[key].asked & asked and not (by_id and self.rows.ids[row].size)

    cdef int _find_shared(
        self, uint8_t asked, bint by_id, const uint64_t[::1] foreign
    ) except -1:
        """Mark rows of which one asks for what another has."""
        cdef Py_ssize_t size = 64
        cdef _Slot* slots
        cdef Py_ssize_t i
        cdef Prepared rows = self.rows
        while size < 2 * (rows.key_ends[rows.count] + rows.count + foreign.shape[0]):
            size *= 2
        slots = <_Slot*>malloc(size * sizeof(_Slot))
        if slots == NULL:
            raise MemoryError
        for i in range(size):
            slots[i].holder = NOBODY
        try:
            with nogil:
                self._share(rows, slots, size - 1, asked, by_id, foreign)
        finally:
            free(slots)
        return 0

    cdef void _share(
        self,
        Prepared rows,
        _Slot* slots,
        uint64_t mask,
        uint8_t asked,
        bint by_id,
        const uint64_t[::1] foreign,
    ) noexcept nogil:
        cdef Py_ssize_t row, other
        cdef int64_t i
        cdef const _Slot* slot
        cdef int32_t stranger = <int32_t>rows.count  # asks for what it has, and is no row here
        for other in range(foreign.shape[0]):
            _hold(slots, mask, foreign[other], stranger, True)
        for row in range(rows.count):
            if rows.ids[row].size:
                _hold(slots, mask, self._ids[row], <int32_t>row, True)
            for i in range(rows.key_ends[row], rows.key_ends[row + 1]):
                _hold(
                    slots, mask, self._hashes[i].first, <int32_t>row,
                    self._is_asked(row, i, asked, by_id),
                )
        for row in range(rows.count):
            if rows.ids[row].size:
                self._stale[row] |= _slot(slots, mask, self._ids[row]).is_shared
            for i in range(rows.key_ends[row], rows.key_ends[row + 1]):
                slot = _slot(slots, mask, self._hashes[i].first)
                self._stale[row] |= slot.is_shared and slot.is_asked

    cdef int _find_stored(
        self, Calls calls, ids, identities, uint8_t asked, bint by_id
    ) except -1:
        """Mark rows whose ids or keys are in the B-trees."""
        cdef void* txn = calls._open()
        cdef unsigned int id_table = calls._handle(ids), table = calls._handle(identities)
        cdef Prepared rows = self.rows
        cdef unsigned char[KEY_LIMIT + 1] key
        cdef Py_ssize_t row
        cdef int64_t i
        cdef int code = NOT_FOUND
        with nogil:
            for row in range(rows.count):
                if self._stale[row]:
                    continue
                if rows.ids[row].size:
                    code = _look(txn, id_table, rows.ids[row].at, rows.ids[row].size)
                    self._stale[row] |= code == 0
                for i in range(rows.key_ends[row], rows.key_ends[row + 1]):
                    if code not in (0, NOT_FOUND):
                        break
                    if not self._stale[row] and self._is_asked(row, i, asked, by_id):
                        key[0] = rows.keys[i].kind
                        memcpy(key + 1, rows.keys[i].text.at, rows.keys[i].text.size)
                        code = _look(txn, table, key, 1 + rows.keys[i].text.size)
                        self._stale[row] |= code == 0
                if code not in (0, NOT_FOUND):
                    break
        if code not in (0, NOT_FOUND):
            raise error_of("mdb_get", code)
        return 0

    def create(
        self,
        Calls calls not None,
        tables,
        Py_ssize_t first,
        Py_ssize_t end,
        uint64_t first_row,
        uint64_t first_sequence,
        uint64_t now_us,
        bytes actor not None,
        bytes times not None,
        bytes random not None,
    ):
        """Put those of the rows from `first` to before `end` that `stale` left out.

        Returns how many they are. Their entries of identities and blocks are not put: `entries`.
        `times` are the encoded ones of their records, `random` has 10 bytes for each row.
        """
        cdef Py_ssize_t count = 0, row
        cdef _New* news
        if not 0 <= first <= end <= self.count or self._made + end - first > self.count:
            raise IndexError(end)
        if PyBytes_GET_SIZE(random) < RANDOM_BYTES * (end - first):
            raise ValueError("10 random bytes for each row")
        news = self._news + self._made
        for row in range(first, end):
            if not self._stale[row]:
                news[count].index = <int32_t>row
                news[count].row = first_row + count
                news[count].id = self.rows.ids[row]
                count += 1
        self._name(news, count, now_us // 1_000, <const unsigned char*>PyBytes_AS_STRING(random))
        self._put(calls, tables, news, count, first_sequence, now_us, actor, times)
        self._made += count
        return count

    def entries(self):
        """Return the entries of all rows that were put, for runs: of identities, and of blocks.

        Native words, two an entry.
        """
        return self._identity_entries(self._news, self._made), self._block_entries(
            self._news, self._made
        )

    cdef int _name(
        self, _New* news, Py_ssize_t count, uint64_t now_ms, const unsigned char* random
    ) except -1:
        """Give ids to the rows that have none: UUIDs of version 7 (RFC 9562), ascending."""
        cdef uint64_t[2]* drawn
        cdef char* to
        cdef Py_ssize_t i, wanted = 0, used = 0
        for i in range(count):
            wanted += news[i].id.size == 0
        if not wanted:
            return 0
        drawn = <uint64_t[2]*>malloc(wanted * sizeof(uint64_t[2]))
        if drawn == NULL:
            raise MemoryError
        for i in range(wanted):  # 74 random bits: 12 above 62
            drawn[i][0] = random[0] << 4 | random[1] & 0xF
            memcpy(&drawn[i][1], random + 2, 8)
            drawn[i][1] &= (<uint64_t>1 << 62) - 1
            random += RANDOM_BYTES
        qsort(drawn, wanted, sizeof(uint64_t[2]), _by_words)
        for i in range(count):
            if news[i].id.size == 0:
                to = self._new_ids + news[i].index * ID_BYTES
                news[i].id.at = <unsigned char*>to
                news[i].id.size = ID_BYTES
                _write_uuid(
                    to,
                    now_ms << 16 | 0x7000 | drawn[used][0],
                    <uint64_t>1 << 63 | drawn[used][1],
                )
                used += 1
        free(drawn)
        return 0

    cdef int _put(
        self,
        Calls calls,
        tables,
        const _New* news,
        Py_ssize_t count,
        uint64_t first_sequence,
        uint64_t now_us,
        bytes actor,
        bytes times,
    ) except -1:
        """Put the rows, one sub-database after the other."""
        cdef _Pass one
        one.news, one.count = news, count
        one.first_sequence, one.now_us = first_sequence, now_us
        one.actor.at = <const unsigned char*>PyBytes_AS_STRING(actor)
        one.actor.size = PyBytes_GET_SIZE(actor)
        one.times.at = <const unsigned char*>PyBytes_AS_STRING(times)
        one.times.size = PyBytes_GET_SIZE(times)
        one.scratch = <unsigned char*>malloc(self._scratch_bytes(&one))
        if one.scratch == NULL:
            raise MemoryError
        try:
            self._pass(calls, tables.ids, _set_id, NO_OVERWRITE, &one)
            self._pass(calls, tables.customers, _set_customer, APPEND, &one)
            self._pass(calls, tables.features, _set_features, APPEND, &one)
            self._pass(calls, tables.changes, _set_change, APPEND, &one)
            self._pass(calls, tables.history, _set_history, APPEND, &one)
            one.count = 1  # what all of them await
            if _gather_waiting(&one, count, self.rows):
                self._pass(calls, tables.waiting, _set_waiting, APPEND, &one)
        finally:
            free(one.scratch)
        return 0

    cdef int _pass(
        self, Calls calls, table, _Describe describe, unsigned int flags, _Pass* one
    ) except -1:
        """Put one entry for each of the rows into a sub-database."""
        cdef void* txn = calls._open()
        cdef void* cursor = NULL
        cdef unsigned int handle = calls._handle(table)
        cdef Prepared rows = self.rows
        cdef Value key, value
        cdef Py_ssize_t i
        cdef int code
        with nogil:
            code = open_cursor(txn, handle, &cursor)
            if code == 0:
                for i in range(one.count):
                    describe(one, i, rows, &key, &value)
                    code = put_at(cursor, &key, &value, flags)
                    if code:
                        break
                close_cursor(cursor)
        calls._transaction.mutations += 1  # cursors of py-lmdb look again
        if code == KEY_EXISTS:
            raise StorageFault("The counters are behind the index: verify it")
        if code:
            raise error_of("mdb_cursor_put", code)
        return 0

    cdef Py_ssize_t _scratch_bytes(self, const _Pass* one):
        """Return the room for the largest value, or for what all rows await and its value."""
        cdef Prepared rows = self.rows
        cdef Py_ssize_t i, most = 0, awaited = WAITING_HEAD
        for i in range(rows.awaited_ends[rows.count]):
            awaited += sizeof(_Waiting) + DOMAIN_HEAD + rows.awaited[i].size + 8
        for i in range(rows.count):
            most = max(most, rows.ends[i + 1] - rows.ends[i] + rows.ids[i].size)
            most = max(most, features_at(rows.features, i).size)
        return max(
            awaited, most + ID_BYTES + STAMP_BYTES + one.times.size + one.actor.size + KEY_LIMIT
        )

    cdef bytes _identity_entries(self, const _New* news, Py_ssize_t count):
        cdef Prepared rows = self.rows
        cdef Py_ssize_t n, size = 0
        cdef int64_t i
        for n in range(count):
            size += rows.key_ends[news[n].index + 1] - rows.key_ends[news[n].index]
        cdef bytes made = PyBytes_FromStringAndSize(NULL, size * sizeof(_Hash))
        cdef _Hash* to = <_Hash*>PyBytes_AS_STRING(made)
        for n in range(count):
            for i in range(rows.key_ends[news[n].index], rows.key_ends[news[n].index + 1]):
                to.first = self._hashes[i].first
                to.tail = self._hashes[i].tail | news[n].row
                to += 1
        return made

    cdef bytes _block_entries(self, const _New* news, Py_ssize_t count):
        cdef Py_ssize_t n, size = 0
        cdef int64_t i
        for n in range(count):
            size += self._block_ends[news[n].index + 1] - self._block_ends[news[n].index]
        cdef bytes made = PyBytes_FromStringAndSize(NULL, size * sizeof(_Hash))
        cdef _Hash* to = <_Hash*>PyBytes_AS_STRING(made)
        for n in range(count):
            for i in range(self._block_ends[news[n].index], self._block_ends[news[n].index + 1]):
                to.first = self._blocks[i][0]
                to.tail = self._blocks[i][1] << ROW_BITS | news[n].row
                to += 1
        return made


def hashes_of(keys, bytes secret not None):
    """Return the first words of the hashes of identities keys, native: what `stale` takes."""
    cdef uint64_t[2] words, hash
    cdef bytes key
    cdef list listed = list(keys)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, len(listed) * sizeof(uint64_t))
    cdef uint64_t* to = <uint64_t*>PyBytes_AS_STRING(made)
    cdef Py_ssize_t i
    if len(secret) != sizeof(words):
        raise ValueError("the secret has 16 bytes")
    memcpy(words, PyBytes_AS_STRING(secret), sizeof(words))
    for i in range(len(listed)):
        key = listed[i]
        sip_hash(
            <const unsigned char*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), words, hash
        )
        to[i] = hash[0]
    return made


def id_key(str id not None):
    """Return what stands for a customer's id among the keys of `hashes_of`."""
    return bytes([ID_KIND]) + id.encode()


cdef inline _Slot* _slot(_Slot* slots, uint64_t mask, uint64_t hash) noexcept nogil:
    """Return where a hash is, or the free place where it would be."""
    cdef uint64_t at = hash & mask
    while slots[at].holder != NOBODY and slots[at].hash != hash:
        at = at + 1 & mask
    return &slots[at]


cdef inline void _hold(
    _Slot* slots, uint64_t mask, uint64_t hash, int32_t row, bint is_asked
) noexcept nogil:
    """Note that a row has a key, and whether it asks for it."""
    cdef _Slot* slot = _slot(slots, mask, hash)
    if slot.holder == NOBODY:
        slot.hash, slot.holder, slot.is_asked, slot.is_shared = hash, row, is_asked, False
        return
    slot.is_asked |= is_asked
    slot.is_shared |= slot.holder != row


cdef int _look(void* txn, unsigned int table, const unsigned char* key, size_t size) noexcept nogil:
    cdef Value at, found
    at.size, at.data = size, key
    return get_value(txn, table, &at, &found)


cdef int _by_words(const void* one, const void* other) noexcept nogil:
    cdef const uint64_t* a = <const uint64_t*>one
    cdef const uint64_t* b = <const uint64_t*>other
    if a[0] != b[0]:
        return -1 if a[0] < b[0] else 1
    return (a[1] > b[1]) - (a[1] < b[1])


cdef void _write_uuid(char* to, uint64_t high, uint64_t low) noexcept nogil:
    cdef const char* digits = b"0123456789abcdef"
    cdef int i, place = 0
    for i in range(32):
        if i == 8 or i == 12 or i == 16 or i == 20:
            to[place] = c"-"
            place += 1
        if i < 16:
            to[place] = digits[high >> (60 - 4 * i) & 15]
        else:
            to[place] = digits[low >> (60 - 4 * (i - 16)) & 15]
        place += 1


# What is put of a row into each sub-database.

cdef inline void _big(unsigned char* to, uint64_t number, int size) noexcept nogil:
    """Write a number as layout does."""
    cdef int i
    for i in range(size):
        to[i] = number >> 8 * (size - 1 - i) & 0xFF


cdef void _set_id(
    _Pass* one, Py_ssize_t i, Prepared rows, Value* key, Value* value
) noexcept nogil:
    key.size, key.data = one.news[i].id.size, one.news[i].id.at
    value.size, value.data = 8, one.place
    _big(one.place, one.news[i].row, 8)


cdef void _set_customer(
    _Pass* one, Py_ssize_t i, Prepared rows, Value* key, Value* value
) noexcept nogil:
    cdef int32_t index = one.news[i].index
    cdef Text body
    _set_row(one, i, key)
    body.at, body.size = rows.bodies + rows.ends[index], rows.ends[index + 1] - rows.ends[index]
    value.size = stamp(one.scratch, body, one.news[i].id, one.first_sequence + i, one.times)
    value.data = one.scratch


cdef void _set_features(
    _Pass* one, Py_ssize_t i, Prepared rows, Value* key, Value* value
) noexcept nogil:
    cdef const Features* features = features_at(rows.features, one.news[i].index)
    _set_row(one, i, key)
    value.size, value.data = FEATURES_HEAD + features.size, one.scratch
    _big(one.scratch, _crc(<const unsigned char*>features, features.size), FEATURES_HEAD)
    memcpy(one.scratch + FEATURES_HEAD, features, features.size)


cdef inline void _set_row(_Pass* one, Py_ssize_t i, Value* key) noexcept nogil:
    key.size, key.data = 8, one.place
    _big(one.place, one.news[i].row, 8)


cdef void _set_change(
    _Pass* one, Py_ssize_t i, Prepared rows, Value* key, Value* value
) noexcept nogil:
    cdef unsigned char* event = one.scratch
    cdef const Text* id = &one.news[i].id
    key.size, key.data = 8, one.place
    _big(one.place, one.first_sequence + i, 8)
    value.size, value.data = EVENT_HEAD + one.actor.size + id.size, event
    event[0], event[1] = VERSION, CREATED
    _big(event + 2, one.news[i].row, 8)
    _big(event + 10, one.now_us, 8)
    _big(event + 18, one.actor.size, 2)
    memcpy(event + EVENT_HEAD, one.actor.at, one.actor.size)
    memcpy(event + EVENT_HEAD + one.actor.size, id.at, id.size)


cdef void _set_history(
    _Pass* one, Py_ssize_t i, Prepared rows, Value* key, Value* value
) noexcept nogil:
    cdef unsigned char* entry = one.scratch
    key.size, key.data = 16, one.place
    _big(one.place, one.news[i].row, 8)
    _big(one.place + 8, one.first_sequence + i, 8)
    value.size, value.data = HISTORY_HEAD + one.actor.size, entry
    entry[0], entry[1] = VERSION, CREATED
    _big(entry + 2, one.now_us, 8)
    _big(entry + 10, one.actor.size, 2)
    _big(entry + 12, 0, 2)
    memcpy(entry + HISTORY_HEAD, one.actor.at, one.actor.size)


cdef bint _gather_waiting(_Pass* one, Py_ssize_t count, Prepared rows) noexcept nogil:
    """Note in the scratch what so many rows await, in their order; say whether it is anything."""
    cdef _Waiting* waiting = <_Waiting*>one.scratch
    cdef Py_ssize_t i
    cdef int64_t place
    cdef int32_t index
    one.waiting = 0
    for i in range(count):
        index = one.news[i].index
        for place in range(rows.awaited_ends[index], rows.awaited_ends[index + 1]):
            waiting[one.waiting].domain = rows.awaited[place]
            waiting[one.waiting].row = one.news[i].row
            one.waiting += 1
    return one.waiting > 0


cdef void _set_waiting(
    _Pass* one, Py_ssize_t _, Prepared rows, Value* key, Value* value
) noexcept nogil:
    """Give what all rows await as one value, sorted by domain; its key is the first row of these."""
    cdef _Waiting* waiting = <_Waiting*>one.scratch
    cdef unsigned char* start = <unsigned char*>(waiting + one.waiting)
    cdef unsigned char* head = start
    cdef unsigned char* at = start + WAITING_HEAD
    cdef Py_ssize_t i, pairs = 0
    cdef uint32_t same = 0
    cdef bint is_same_domain
    key.size, key.data = 8, one.place
    _big(one.place, waiting[0].row, 8)
    qsort(waiting, one.waiting, sizeof(_Waiting), _by_domain)
    for i in range(one.waiting):
        is_same_domain = i > 0 and _is_same(&waiting[i].domain, &waiting[i - 1].domain)
        if is_same_domain and waiting[i].row == waiting[i - 1].row:
            continue  # two e-mails of one domain
        if not is_same_domain:
            head, same = at, 0
            _big(head, waiting[i].domain.size, 2)
            memcpy(head + DOMAIN_HEAD, waiting[i].domain.at, waiting[i].domain.size)
            at += DOMAIN_HEAD + waiting[i].domain.size
        same += 1
        pairs += 1
        _big(head + 2, same, 4)
        _big(at, waiting[i].row, 8)
        at += 8
    start[0] = VERSION
    _big(start + 1, pairs, 4)
    value.size, value.data = at - start, start


cdef inline bint _is_same(const Text* one, const Text* other) noexcept nogil:
    return one.size == other.size and memcmp(one.at, other.at, one.size) == 0


cdef int _by_domain(const void* one, const void* other) noexcept nogil:
    cdef const _Waiting* a = <const _Waiting*>one
    cdef const _Waiting* b = <const _Waiting*>other
    cdef int order = memcmp(a.domain.at, b.domain.at, min(a.domain.size, b.domain.size))
    if order:
        return order
    if a.domain.size != b.domain.size:
        return -1 if a.domain.size < b.domain.size else 1
    return (a.row > b.row) - (a.row < b.row)
