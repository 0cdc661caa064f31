# cython: language_level=3
"""Stored customers, read field by field from their encoding: in any order, the last of a field wins.

Not of an import: what is stored was checked, and has its id, etag and times appended. So nothing is
judged here but that no read leaves its bytes. A field that an enum below does not have is stepped
over, also where it is known but of another wire type: the enums are of whole tags.

Encoding: https://protobuf.dev/programming-guides/encoding/. A test holds `_select.TAGS` against the
descriptors.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Malloc
from libc.stdint cimport uint64_t
from libc.string cimport memcmp

from service.core._write cimport FIXED32, FIXED64, LENGTH, VARINT

ctypedef const unsigned char* Bytes

cdef enum:  # tags of Customer
    ID = 1 << 3 | LENGTH
    KIND = 3 << 3 | VARINT
    STATE = 4 << 3 | VARINT
    CREATE_TIME = 5 << 3 | LENGTH
    UPDATE_TIME = 6 << 3 | LENGTH
    TITLE = 7 << 3 | LENGTH
    FIRST_NAME = 8 << 3 | LENGTH
    MIDDLE_NAME = 9 << 3 | LENGTH
    LAST_NAME = 10 << 3 | LENGTH
    GENDER = 11 << 3 | VARINT
    BIRTH_DATE = 12 << 3 | LENGTH
    COMPANY_NAME = 13 << 3 | LENGTH
    COMMENT = 14 << 3 | LENGTH
    STAGE = 15 << 3 | LENGTH
    OWNER = 16 << 3 | LENGTH
    EMAILS = 18 << 3 | LENGTH
    PHONES = 19 << 3 | LENGTH
    ADDRESSES = 20 << 3 | LENGTH
    IDENTITIES = 22 << 3 | LENGTH
    PREFERENCES = 23 << 3 | LENGTH
    TAGS = 24 << 3 | LENGTH
    SOURCES = 25 << 3 | LENGTH
    CAMPAIGNS = 26 << 3 | LENGTH
    GROUPS = 27 << 3 | LENGTH
    CUSTOM_FIELDS = 28 << 3 | LENGTH

cdef enum:  # tags of EmailAddress and PhoneNumber
    POINT_VALUE = 1 << 3 | LENGTH
    POINT_KIND = 3 << 3 | VARINT
    POINT_FINDING = 6 << 3 | LENGTH

cdef enum:  # tags of the other messages that are looked into
    FINDING_VERDICT = 1 << 3 | VARINT
    TIMESTAMP_SECONDS = 1 << 3 | VARINT
    TIMESTAMP_NANOS = 2 << 3 | VARINT
    DATE_YEAR = 1 << 3 | VARINT
    DATE_MONTH = 2 << 3 | VARINT
    DATE_DAY = 3 << 3 | VARINT
    ADDRESS_PRIMARY = 2 << 3 | VARINT
    ADDRESS_LINES = 3 << 3 | LENGTH
    ADDRESS_CITY = 4 << 3 | LENGTH
    ADDRESS_POSTCODE = 5 << 3 | LENGTH
    ADDRESS_AREA = 6 << 3 | LENGTH
    ADDRESS_COUNTRY = 7 << 3 | LENGTH
    IDENTITY_TYPE = 1 << 3 | LENGTH
    IDENTITY_VALUE = 2 << 3 | LENGTH
    PREFERENCES_NO_EMAIL = 1 << 3 | VARINT
    PREFERENCES_NO_CALL = 2 << 3 | VARINT
    ENTRY_KEY = 1 << 3 | LENGTH
    ENTRY_VALUE = 2 << 3 | LENGTH
    VALUE_TEXT = 1 << 3 | LENGTH
    VALUE_INTEGER = 2 << 3 | VARINT
    VALUE_NUMBER = 3 << 3 | FIXED64
    VALUE_FLAG = 4 << 3 | VARINT
    VALUE_DATE = 5 << 3 | LENGTH
    VALUE_TIME = 6 << 3 | LENGTH
    VALUE_TEXTS = 7 << 3 | LENGTH
    TEXTS_VALUES = 1 << 3 | LENGTH

cdef enum:
    FIELDS_LIMIT = 64  # slots of a table by field number


cdef struct Span:
    Bytes at
    Bytes end

cdef struct Field:
    uint64_t tag
    Bytes start  # of its tag
    uint64_t value  # of a number
    Span body  # of anything else


cdef inline Py_ssize_t size_of(Span span) noexcept nogil:
    return span.end - span.at


cdef inline bint is_same(Span one, Span other) noexcept nogil:
    return size_of(one) == size_of(other) and memcmp(one.at, other.at, size_of(one)) == 0


cdef inline bint read_varint(Span* rest, uint64_t* value) noexcept nogil:
    """Read a varint of at most ten bytes; false where there is none."""
    cdef uint64_t read = 0
    cdef int shift = 0
    cdef unsigned char byte
    while rest.at < rest.end and shift < 70:
        byte = rest.at[0]
        rest.at += 1
        if shift < 64:
            read |= <uint64_t>(byte & 0x7F) << shift
        if byte < 0x80:
            value[0] = read
            return True
        shift += 7
    return False


cdef inline bint read_field(Span* rest, Field* field) noexcept nogil:
    """Read the next field of a message; false where it is broken. Groups count as broken."""
    cdef uint64_t size
    cdef int type
    field.start = field.body.at = field.body.end = rest.at
    field.value = 0
    if not read_varint(rest, &field.tag) or field.tag >> 3 == 0:
        return False
    type = field.tag & 7
    if type == VARINT:
        return read_varint(rest, &field.value)
    if type == LENGTH:
        if not read_varint(rest, &size):
            return False
    elif type == FIXED64:
        size = 8
    elif type == FIXED32:
        size = 4
    else:
        return False
    if size > <uint64_t>(rest.end - rest.at):
        return False
    field.body.at = rest.at
    rest.at += size
    field.body.end = rest.at
    return True


cdef inline bint read_time(Span span, uint64_t* seconds, uint64_t* nanos) noexcept nogil:
    """Merge a Timestamp into what was read of it before."""
    cdef Field field
    while span.at < span.end:
        if not read_field(&span, &field):
            return False
        if field.tag == TIMESTAMP_SECONDS:
            seconds[0] = field.value
        elif field.tag == TIMESTAMP_NANOS:
            nanos[0] = field.value
    return True


cdef inline Span* spans_of(list records) except NULL:
    """Return where the bytes of records are, alive as long as the list; free it with PyMem_Free."""
    cdef Py_ssize_t i, count = len(records)
    cdef Span* spans
    cdef bytes record
    for one in records:
        if type(one) is not bytes:
            raise TypeError("a record is bytes")
    spans = <Span*>PyMem_Malloc(max(count, 1) * sizeof(Span))
    if spans == NULL:
        raise MemoryError
    for i in range(count):
        record = <bytes>records[i]
        spans[i].at = <Bytes>PyBytes_AS_STRING(record)
        spans[i].end = spans[i].at + PyBytes_GET_SIZE(record)
    return spans
