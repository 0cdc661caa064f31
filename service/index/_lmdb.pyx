"""What a save or an import asks of LMDB many times over, in one call each.

py-lmdb lets go of the GIL in every call, and for every item of a batch. A look-up takes less time
than another thread needs to wake up, and whoever wakes takes the GIL from this one: a save, which
makes dozens of calls, then waits for it at most of them. So these go past py-lmdb's methods to
the LMDB inside it, for transactions and sub-databases that it opened. The GIL is kept but for long
batches of puts.

A process may open an LMDB file once, by one copy of the library: hence the one in py-lmdb, whose C
functions are found by name. Where its objects keep what they wrap is known of one release, which
`pyproject.toml` pins; `Calls` compares before anything is called.
"""

import ctypes
import errno

import lmdb
import lmdb.cpython

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t, uintptr_t
from libc.stdlib cimport free, malloc

from service.errors import StorageFault

RELEASE = "3.0.0"  # of py-lmdb, whose objects are laid out as below
FEW = 64  # puts: done before it would be worth while to let another thread run

NO_OVERWRITE = 0x10
APPEND = 0x20000

cdef enum:
    _ROW_BYTES = 8
    APPEND_KEY = 0x20000
    APPEND_UNDER = 0x40000


cdef struct _Database:
    Head head
    void* env
    unsigned int wrapped
    unsigned int flags


ctypedef int (*_Get)(void*, unsigned int, Value*, Value*) noexcept nogil
ctypedef int (*_Put)(void*, unsigned int, Value*, Value*, unsigned int) noexcept nogil
ctypedef int (*_Delete)(void*, unsigned int, Value*, Value*) noexcept nogil
ctypedef int (*_OpenCursor)(void*, unsigned int, void**) noexcept nogil
ctypedef void (*_CloseCursor)(void*) noexcept nogil
ctypedef int (*_GetAt)(void*, Value*, Value*, int) noexcept nogil
ctypedef int (*_PutAt)(void*, Value*, Value*, unsigned int) noexcept nogil
ctypedef int (*_Count)(void*, size_t*) noexcept nogil
ctypedef size_t (*_Id)(void*) noexcept nogil
ctypedef const char* (*_Reason)(int) noexcept nogil

_library = ctypes.CDLL(lmdb.cpython.__file__)


cdef void* _function(str name) except NULL:
    # Its copy of LMDB 0.9 goes by names of its own; that of 1.0 is beside it, and not in use.
    return <void*><uintptr_t>ctypes.cast(getattr(_library, f"mdb09_{name}"), ctypes.c_void_p).value


cdef _Get _get = <_Get>_function("get")
cdef _Put _put = <_Put>_function("put")
cdef _Delete _delete = <_Delete>_function("del")
cdef _OpenCursor _open_cursor = <_OpenCursor>_function("cursor_open")
cdef _CloseCursor _close_cursor = <_CloseCursor>_function("cursor_close")
cdef _GetAt _get_at = <_GetAt>_function("cursor_get")
cdef _PutAt _put_at = <_PutAt>_function("cursor_put")
cdef _Count _count = <_Count>_function("cursor_count")
cdef _Id _id = <_Id>_function("txn_id")
cdef _Reason _reason = <_Reason>_function("strerror")

cdef dict _ERRORS = {
    -30797: lmdb.PageNotFoundError,
    -30796: lmdb.CorruptedError,
    -30795: lmdb.PanicError,
    -30792: lmdb.MapFullError,
    -30788: lmdb.TxnFullError,
    -30786: lmdb.PageFullError,
    -30785: lmdb.MapResizedError,
    -30782: lmdb.BadTxnError,
    -30781: lmdb.BadValsizeError,
    errno.EACCES: lmdb.ReadonlyError,
    errno.EINVAL: lmdb.InvalidParameterError,
    errno.ENOMEM: lmdb.MemoryError,
    errno.ENOSPC: lmdb.DiskError,
}


cdef object error_of(str what, int code):
    text = what if code == 0 else f"{what}: {_reason(code).decode()}"
    error = _ERRORS.get(code, lmdb.Error)(text)
    error.code = code
    return error


cdef inline Value _value(bytes given):
    cdef Value value
    value.size = PyBytes_GET_SIZE(given)
    value.data = PyBytes_AS_STRING(given)
    return value


cdef inline bytes _copied(const Value* value):
    return PyBytes_FromStringAndSize(<const char*>value.data, value.size)


cdef inline uint64_t _number(const Value* value) noexcept:
    """Return what `layout.pack_u64` packed."""
    cdef const unsigned char* at = <const unsigned char*>value.data
    cdef uint64_t number = 0
    cdef int i
    for i in range(_ROW_BYTES):
        number = number << 8 | at[i]
    return number


cdef inline Value _packed(uint64_t number, unsigned char* to) noexcept nogil:
    """Pack as `layout.pack_u64` does."""
    cdef Value value
    cdef int i
    for i in range(_ROW_BYTES):
        to[i] = number >> 8 * (_ROW_BYTES - 1 - i) & 0xFF
    value.size, value.data = _ROW_BYTES, to
    return value


cdef class Calls:
    """The calls of one transaction of py-lmdb. Not for several threads at once.

    They raise as py-lmdb does: `lmdb.Error` once the transaction has ended, or for a damaged file.
    """

    def __init__(self, transaction not None):
        if lmdb.__version__ != RELEASE or type(transaction) is not lmdb.Transaction:
            raise StorageFault(f"This release needs lmdb {RELEASE}; {lmdb.__version__} is installed")
        self._owner = transaction
        self._transaction = <Transaction*><PyObject*>transaction
        if _id(self._open()) != transaction.id():
            raise StorageFault(f"lmdb {RELEASE} is not built as this release expects")

    cdef void* _open(self) except NULL:
        if not self._transaction.head.valid or self._transaction.wrapped == NULL:
            raise error_of("The transaction has ended", 0)
        return self._transaction.wrapped

    cdef unsigned int _handle(self, table) except? 0:
        if type(table) is not lmdb._Database:
            raise TypeError("not a sub-database")
        return (<_Database*><PyObject*>table).wrapped

    cdef void* _cursor(self, table) except NULL:
        cdef void* cursor = NULL
        cdef int code = _open_cursor(self._open(), self._handle(table), &cursor)
        if code:
            raise error_of("mdb_cursor_open", code)
        return cursor

    def get(self, table, bytes key not None):
        """Return what a key leads to, None for nothing; of several the first."""
        cdef Value at = _value(key), found
        cdef int code = _get(self._open(), self._handle(table), &at, &found)
        if code == NOT_FOUND:
            return None
        if code:
            raise error_of("mdb_get", code)
        return _copied(&found)

    def has(self, table, bytes key not None):
        """Tell whether a key leads to anything."""
        cdef Value at = _value(key), found
        cdef int code = _get(self._open(), self._handle(table), &at, &found)
        if code not in (0, NOT_FOUND):
            raise error_of("mdb_get", code)
        return code == 0

    def count(self, table, bytes key not None):
        """Return how many values a key leads to, in a table that has several to a key."""
        cdef void* cursor = self._cursor(table)
        cdef Value at = _value(key), found
        cdef size_t count = 0
        cdef int code = _get_at(cursor, &at, &found, AT_KEY)
        if code == 0:
            code = _count(cursor, &count)
        _close_cursor(cursor)
        if code not in (0, NOT_FOUND):
            raise error_of("mdb_cursor_count", code)
        return count

    def get_all(self, table, keys):
        """Return what each key leads to, None for nothing."""
        return [self.get(table, key) for key in keys]

    def rows(self, table, keys, uint64_t after, Py_ssize_t limit):
        """Return the distinct rows under any of the keys: up to `limit`, ascending, above `after`.

        `table` has rows as values, several to a key.
        """
        cdef void* cursor = self._cursor(table)
        cdef list found = []
        cdef bytes key
        cdef int lists = 0
        try:
            for key in keys:
                lists += self._rows(cursor, key, after, limit, found)
        finally:
            _close_cursor(cursor)
        return found if lists < 2 else sorted(set(found))[:limit]

    cdef bint _rows(
        self, void* cursor, bytes key, uint64_t after, Py_ssize_t limit, list found
    ) except -1:
        cdef Value at = _value(key), row
        cdef unsigned char[_ROW_BYTES] start
        cdef int code
        cdef Py_ssize_t left = limit
        if after:
            row = _packed(after + 1, start)
            code = _get_at(cursor, &at, &row, AT_BOTH_OR_AFTER)
        else:
            code = _get_at(cursor, &at, &row, AT_KEY)
        while code == 0 and left > 0:
            found.append(_number(&row))
            left -= 1
            code = _get_at(cursor, &at, &row, NEXT_OF_KEY)
        if code not in (0, NOT_FOUND):
            raise error_of("mdb_cursor_get", code)
        return left < limit

    def entries(self, table, keys, Py_ssize_t limit):
        """Return for each (key, prefix) how many numbers it leads to, and which.

        Of more than `limit` those whose 16 highest bits are `prefix`, at most `limit`; none for
        prefix 0. `table` has numbers as values, several to a key.
        """
        cdef void* cursor = self._cursor(table)
        cdef list found = []
        try:
            for key, prefix in keys:
                self._entries(cursor, key, prefix, limit, found)
        finally:
            _close_cursor(cursor)
        return found

    cdef int _entries(
        self, void* cursor, bytes key, uint64_t prefix, Py_ssize_t limit, list found
    ) except -1:
        cdef Value at = _value(key), value
        cdef unsigned char[_ROW_BYTES] start
        cdef size_t count = 0
        cdef uint64_t number
        cdef list numbers = []
        cdef int code = _get_at(cursor, &at, &value, AT_KEY)
        if code == 0:
            code = _count(cursor, &count)
        if code == 0 and count > <size_t>limit:
            value = _packed(prefix << 48, start)
            code = _get_at(cursor, &at, &value, AT_BOTH_OR_AFTER) if prefix else NOT_FOUND
        else:
            prefix = 0
        while code == 0 and len(numbers) < limit:
            number = _number(&value)
            if prefix and number >> 48 != prefix:
                break
            numbers.append(number)
            code = _get_at(cursor, &at, &value, NEXT_OF_KEY)
        if code not in (0, NOT_FOUND):
            raise error_of("mdb_cursor_get", code)
        found.append((count, numbers))
        return 0

    def records(
        self, table, uint64_t after, Py_ssize_t limit_rows, Py_ssize_t limit_bytes
    ):
        """Return rows above `after`, ascending, and what each leads to: two lists.

        Ends with the row with which there are `limit_rows`, or `limit_bytes` of values. `table`
        has rows as keys, one value to each.
        """
        cdef Value* values = <Value*>malloc(max(limit_rows, 1) * 2 * sizeof(Value))
        cdef void* cursor = NULL
        cdef Py_ssize_t i, count = 0
        cdef int code
        if values == NULL:
            raise MemoryError
        try:
            cursor = self._cursor(table)
            with nogil:  # the map's pages are read from the disk here
                code = _look_through(cursor, after, limit_rows, limit_bytes, values, &count)
            if code not in (0, NOT_FOUND):
                raise error_of("mdb_cursor_get", code)
            return (
                [_number(&values[2 * i]) for i in range(count)],
                [_copied(&values[2 * i + 1]) for i in range(count)],
            )
        finally:
            if cursor != NULL:
                _close_cursor(cursor)
            free(values)

    def put(self, table, bytes key not None, bytes value not None, unsigned int flags=0):
        """Put a pair; return whether that was done: not where `flags` forbid it."""
        cdef Value at = _value(key), what = _value(value)
        return self._is_put(_put(self._open(), self._handle(table), &at, &what, flags))

    def put_under(self, table, keys, bytes value not None):
        """Put one value under each of the keys."""
        cdef void* txn = self._open()
        cdef unsigned int handle = self._handle(table)
        cdef Value at, what = _value(value)
        cdef bytes key
        for key in keys:
            at = _value(key)
            self._is_put(_put(txn, handle, &at, &what, 0))

    cdef bint _is_put(self, int code) except -1:
        self._transaction.mutations += 1  # cursors of py-lmdb look again
        if code == KEY_EXISTS:
            return False
        if code:
            raise error_of("mdb_put", code)
        return True

    def put_all(self, table, list pairs not None, unsigned int flags=0):
        """Put pairs, best in order; return how many were: the others `flags` forbid."""
        cdef Py_ssize_t count = len(pairs), i, done = 0
        cdef void* cursor
        cdef int code
        cdef Value* values
        if count == 0:
            return 0
        values = <Value*>malloc(count * 2 * sizeof(Value))
        if values == NULL:
            raise MemoryError
        try:
            for i in range(count):
                values[2 * i], values[2 * i + 1] = _value(pairs[i][0]), _value(pairs[i][1])
            cursor = self._cursor(table)
            if count <= FEW:
                code = _put_pairs(cursor, values, count, flags, &done)
            else:
                with nogil:
                    code = _put_pairs(cursor, values, count, flags, &done)
            _close_cursor(cursor)
        finally:
            free(values)
        self._is_put(code)
        return done

    def delete(self, table, bytes key not None, bytes value=None):
        """Take away a pair, or all that a key leads to; return whether there was anything."""
        cdef Value at = _value(key), what
        cdef Value* which = NULL
        cdef int code
        if value is not None:
            what = _value(value)
            which = &what
        code = _delete(self._open(), self._handle(table), &at, which)
        self._transaction.mutations += 1
        if code not in (0, NOT_FOUND):
            raise error_of("mdb_del", code)
        return code == 0


cdef class Pairs:
    """All pairs of a sub-database, in order, to be put into an empty one step by step."""

    cdef Calls _source
    cdef void* _cursor
    cdef int _how  # to find the next pair
    cdef const void* _key  # of the one before, which lies in the map

    def __cinit__(self):
        self._cursor, self._key, self._how = NULL, NULL, FIRST

    def __init__(self, Calls source not None, table):
        self._source = source
        self._cursor = source._cursor(table)

    def __dealloc__(self):
        if self._cursor != NULL:
            _close_cursor(self._cursor)

    def put_into(self, Calls target not None, table, size_t limit_bytes):
        """Put pairs until there are so many bytes of them; return whether there are more."""
        cdef void* cursor
        cdef int code
        self._source._open()
        cursor = target._cursor(table)
        with nogil:
            code = self._put_into(cursor, limit_bytes)
        _close_cursor(cursor)
        target._transaction.mutations += 1
        if code not in (0, NOT_FOUND):
            raise error_of("copying", code)
        return code == 0

    cdef int _put_into(self, void* cursor, size_t limit_bytes) noexcept nogil:
        cdef Value key, value
        cdef size_t size = 0
        cdef bint same
        cdef int code = 0
        while code == 0 and size < limit_bytes:
            code = _get_at(self._cursor, &key, &value, self._how)
            if code == 0:
                # Pages fill up completely where keys are appended; under the last one, its values.
                same, self._key, self._how = key.data == self._key, key.data, NEXT
                code = _put_at(cursor, &key, &value, APPEND_UNDER if same else APPEND_KEY)
                size += key.size + value.size
        return code


cdef int _look_through(
    void* cursor, uint64_t after, Py_ssize_t limit_rows, Py_ssize_t limit_bytes, Value* values,
    Py_ssize_t* count,
) noexcept nogil:
    cdef unsigned char[_ROW_BYTES] start
    cdef Py_ssize_t size = 0
    cdef Value* value = values
    cdef int code
    if limit_rows <= 0:
        return 0
    value[0] = _packed(after + 1, start)
    code = _get_at(cursor, &value[0], &value[1], AT_OR_AFTER)
    while code == 0:
        size += value[1].size
        count[0] += 1
        value += 2
        if count[0] >= limit_rows or size >= limit_bytes:
            break
        code = _get_at(cursor, &value[0], &value[1], NEXT)
    return code


cdef int _put_pairs(
    void* cursor, Value* values, Py_ssize_t count, unsigned int flags, Py_ssize_t* done
) noexcept nogil:
    cdef Py_ssize_t i
    cdef int code
    for i in range(count):
        code = _put_at(cursor, &values[2 * i], &values[2 * i + 1], flags)
        if code == 0:
            done[0] += 1
        elif code != KEY_EXISTS:
            return code
    return 0


# For kernels that make many calls, without objects.


cdef int get_value(void* txn, unsigned int table, Value* key, Value* found) noexcept nogil:
    return _get(txn, table, key, found)


cdef int put_value(void* txn, unsigned int table, Value* key, Value* value) noexcept nogil:
    return _put(txn, table, key, value, 0)


cdef int delete_key(void* txn, unsigned int table, Value* key) noexcept nogil:
    return _delete(txn, table, key, NULL)


cdef int open_cursor(void* txn, unsigned int table, void** cursor) noexcept nogil:
    return _open_cursor(txn, table, cursor)


cdef void close_cursor(void* cursor) noexcept nogil:
    _close_cursor(cursor)


cdef int put_at(void* cursor, Value* key, Value* value, unsigned int flags) noexcept nogil:
    """Put a pair with a cursor; the caller counts it among the transaction's mutations."""
    return _put_at(cursor, key, value, flags)


cdef int get_at(void* cursor, Value* key, Value* found, int how) noexcept nogil:
    return _get_at(cursor, key, found, how)
