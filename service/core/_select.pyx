# cython: language_level=3, boundscheck=False, wraparound=False, annotation_typing=False
"""Which stored customers are meant, and which of their fields: from their encoding alone.

One call for a batch of records, as the index has them. A record is walked once, without the GIL.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t, int64_t, uint64_t

from service.core._text cimport FEW
from service.core._walk cimport (
    ADDRESSES, ADDRESS_AREA, ADDRESS_CITY, ADDRESS_COUNTRY, ADDRESS_LINES, ADDRESS_POSTCODE,
    ADDRESS_PRIMARY, BIRTH_DATE, Bytes, CAMPAIGNS, COMMENT, COMPANY_NAME, CREATE_TIME,
    CUSTOM_FIELDS, DATE_DAY, DATE_MONTH, DATE_YEAR, EMAILS, ENTRY_KEY, ENTRY_VALUE, FIELDS_LIMIT,
    FINDING_VERDICT, FIRST_NAME, Field, GENDER, GROUPS, ID, IDENTITIES, IDENTITY_TYPE,
    IDENTITY_VALUE, KIND, LAST_NAME, MIDDLE_NAME, OWNER, PHONES, POINT_FINDING, POINT_KIND,
    POINT_VALUE, PREFERENCES, PREFERENCES_NO_CALL, PREFERENCES_NO_EMAIL, SOURCES, STAGE, STATE,
    Span, TAGS as CUSTOMER_TAGS, TEXTS_VALUES, TIMESTAMP_NANOS, TIMESTAMP_SECONDS, TITLE,
    UPDATE_TIME, VALUE_DATE, VALUE_FLAG, VALUE_INTEGER, VALUE_NUMBER, VALUE_TEXT, VALUE_TEXTS,
    VALUE_TIME, is_same, read_field, read_time, size_of, spans_of,
)
from service.core._write cimport Out, bytes_size, put, put_head

cdef enum:
    WORD_LISTS = 4
    VERDICTS_LIMIT = 32  # bits of a set

# Message → tag (number << 3 | wire type) → name: all that is read of stored customers, here and
# in `_tabulate`.
TAGS = {
    "Customer": {
        ID: "id", KIND: "kind", STATE: "state", CREATE_TIME: "create_time",
        UPDATE_TIME: "update_time", TITLE: "title", FIRST_NAME: "first_name",
        MIDDLE_NAME: "middle_name", LAST_NAME: "last_name", GENDER: "gender",
        BIRTH_DATE: "birth_date", COMPANY_NAME: "company_name", COMMENT: "comment",
        STAGE: "stage", OWNER: "owner", EMAILS: "emails", PHONES: "phones",
        ADDRESSES: "addresses", IDENTITIES: "identities", PREFERENCES: "preferences",
        CUSTOMER_TAGS: "tags", SOURCES: "sources", CAMPAIGNS: "campaigns", GROUPS: "groups",
        CUSTOM_FIELDS: "custom_fields",
    },
    "EmailAddress": {POINT_VALUE: "value", POINT_KIND: "kind", POINT_FINDING: "finding"},
    "PhoneNumber": {POINT_VALUE: "value", POINT_KIND: "kind", POINT_FINDING: "finding"},
    "Finding": {FINDING_VERDICT: "verdict"},
    "Timestamp": {TIMESTAMP_SECONDS: "seconds", TIMESTAMP_NANOS: "nanos"},
    "Date": {DATE_YEAR: "year", DATE_MONTH: "month", DATE_DAY: "day"},
    "PostalAddress": {
        ADDRESS_PRIMARY: "primary", ADDRESS_LINES: "lines", ADDRESS_CITY: "city",
        ADDRESS_POSTCODE: "postcode", ADDRESS_AREA: "administrative_area",
        ADDRESS_COUNTRY: "country",
    },
    "Identity": {IDENTITY_TYPE: "type", IDENTITY_VALUE: "value"},
    "Preferences": {PREFERENCES_NO_EMAIL: "do_not_email", PREFERENCES_NO_CALL: "do_not_call"},
    "CustomFieldsEntry": {ENTRY_KEY: "key", ENTRY_VALUE: "value"},
    "CustomValue": {
        VALUE_TEXT: "text", VALUE_INTEGER: "integer", VALUE_NUMBER: "number", VALUE_FLAG: "flag",
        VALUE_DATE: "date", VALUE_TIME: "time", VALUE_TEXTS: "texts",
    },
    "TextList": {TEXTS_VALUES: "values"},
}


cdef struct _Words:
    Span* words
    Py_ssize_t count


@cython.final
cdef class Filter:
    """Which customers are meant: those that match everything that is set.

    Of words and verdicts, one of those given is enough. `kind` and `state` are 0 for any.
    """

    cdef list _owners  # of the words' bytes
    cdef _Words _lists[WORD_LISTS]
    cdef bint _has_since
    cdef int64_t _since_s, _since_us
    cdef int _kind, _state
    cdef unsigned int _email_verdicts, _phone_verdicts

    def __cinit__(self):
        cdef int i
        for i in range(WORD_LISTS):
            self._lists[i].words, self._lists[i].count = NULL, 0

    def __init__(
        self, *, tags=(), sources=(), campaigns=(), groups=(), updated_since_us=None, kind=0,
        state=0, email_verdicts=(), phone_verdicts=(),
    ):
        """Compile a filter of plain values; enums by their numbers."""
        cdef int i
        if self._owners is not None:
            raise TypeError("a filter is made once")
        self._owners = []
        for i, words in enumerate((tags, sources, campaigns, groups)):
            encoded = [word.encode() for word in words]
            self._owners.append(encoded)
            self._lists[i].words, self._lists[i].count = spans_of(encoded), len(encoded)
        self._has_since = updated_since_us is not None
        if self._has_since:
            self._since_s, self._since_us = divmod(updated_since_us, 1_000_000)
        self._kind, self._state = kind, state
        self._email_verdicts = _set_of(email_verdicts)
        self._phone_verdicts = _set_of(phone_verdicts)

    def __dealloc__(self):
        cdef int i
        for i in range(WORD_LISTS):
            PyMem_Free(self._lists[i].words)

    def matches(self, records):
        """Say of each of some encoded customers whether it is meant.

        Raises `ValueError` where a record is no message.
        """
        cdef list owner = list(records)
        cdef Py_ssize_t i, broken, count = len(owner)
        cdef bytearray answer = bytearray(count)
        cdef unsigned char[::1] is_meant = answer
        cdef Span* spans = spans_of(owner)
        try:
            if count <= FEW:
                broken = self._look(spans, is_meant, count)
            else:
                with nogil:
                    broken = self._look(spans, is_meant, count)
        finally:
            PyMem_Free(spans)
        if broken:
            raise ValueError("a record is no customer message")
        return [is_meant[i] != 0 for i in range(count)]

    cdef bint _look(
        self, const Span* spans, unsigned char[::1] is_meant, Py_ssize_t count
    ) noexcept nogil:
        """Judge each record; true where one is broken."""
        cdef Py_ssize_t i
        cdef int verdict
        for i in range(count):
            verdict = self._is_meant(spans[i])
            if verdict < 0:
                return True
            is_meant[i] = verdict
        return False

    cdef int _is_meant(self, Span rest) noexcept nogil:
        """Judge one record: 1, 0, or -1 if it is broken."""
        cdef Field field
        cdef int kind = 0, state = 0, verdict
        cdef bint[WORD_LISTS] has
        cdef bint has_email = self._email_verdicts == 0, has_phone = self._phone_verdicts == 0
        cdef uint64_t seconds = 0, nanos = 0
        for verdict in range(WORD_LISTS):
            has[verdict] = self._lists[verdict].count == 0
        while rest.at < rest.end:
            if not read_field(&rest, &field):
                return -1
            if field.tag == KIND:
                kind = <int32_t>field.value
            elif field.tag == STATE:
                state = <int32_t>field.value
            elif field.tag == UPDATE_TIME:
                if self._has_since and not read_time(field.body, &seconds, &nanos):
                    return -1
            elif field.tag == CUSTOMER_TAGS:
                has[0] = has[0] or _is_one_of(field.body, &self._lists[0])
            elif field.tag == SOURCES:
                has[1] = has[1] or _is_one_of(field.body, &self._lists[1])
            elif field.tag == CAMPAIGNS:
                has[2] = has[2] or _is_one_of(field.body, &self._lists[2])
            elif field.tag == GROUPS:
                has[3] = has[3] or _is_one_of(field.body, &self._lists[3])
            elif field.tag == EMAILS and not has_email:
                verdict = _verdict(field.body)
                if verdict < 0:
                    return -1
                has_email = self._email_verdicts >> verdict & 1
            elif field.tag == PHONES and not has_phone:
                verdict = _verdict(field.body)
                if verdict < 0:
                    return -1
                has_phone = self._phone_verdicts >> verdict & 1
        if self._has_since and not self._is_since(<int64_t>seconds, <int32_t>nanos):
            return 0
        return (
            (self._kind == 0 or kind == self._kind)
            and (self._state == 0 or state == self._state)
            and has[0] and has[1] and has[2] and has[3] and has_email and has_phone
        )

    cdef inline bint _is_since(self, int64_t seconds, int32_t nanos) noexcept nogil:
        if seconds != self._since_s:
            return seconds > self._since_s
        return nanos // 1_000 >= self._since_us


cdef unsigned int _set_of(verdicts) except? 0:
    cdef unsigned int found = 0
    for verdict in verdicts:
        if not 0 <= verdict < VERDICTS_LIMIT:
            raise ValueError("no verdict has this number")
        found |= 1u << <int>verdict
    return found


cdef bint _is_one_of(Span word, const _Words* words) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(words.count):
        if is_same(word, words.words[i]):
            return True
    return False


cdef int _verdict(Span point) noexcept nogil:
    """Return the verdict on a contact point, the last number for one that is none; -1: broken."""
    cdef Field field, inner
    cdef int64_t verdict = 0
    while point.at < point.end:
        if not read_field(&point, &field):
            return -1
        if field.tag == POINT_FINDING:
            while field.body.at < field.body.end:
                if not read_field(&field.body, &inner):
                    return -1
                if inner.tag == FINDING_VERDICT:
                    verdict = <int32_t>inner.value
    return <int>verdict if 0 <= verdict < VERDICTS_LIMIT else VERDICTS_LIMIT - 1


@cython.final
cdef class Fields:
    """Which top-level fields of customers are shown, by their numbers; none means all."""

    cdef bint _is_all
    cdef bint[FIELDS_LIMIT] _wanted

    def __init__(self, numbers=()):
        cdef int i
        wanted = frozenset(numbers)
        if any(not 0 < number < FIELDS_LIMIT for number in wanted):
            raise ValueError("no field has this number")
        self._is_all = not wanted
        for i in range(FIELDS_LIMIT):
            self._wanted[i] = i in wanted

    def framed(self, records, int number):
        """Return encoded customers as entries of a repeated field: what is shown of each.

        `number` is the field's in the message around them. Raises `ValueError` where a record is
        no message.
        """
        cdef list owner = list(records)
        cdef Py_ssize_t i, count = len(owner), size = 0
        cdef Span* spans = spans_of(owner)
        cdef Py_ssize_t* sizes = NULL
        cdef bytes made
        cdef Out out
        cdef bint is_whole
        try:
            sizes = <Py_ssize_t*>PyMem_Malloc(max(count, 1) * sizeof(Py_ssize_t))
            if sizes == NULL:
                raise MemoryError
            with nogil:
                is_whole = self._measure(spans, count, sizes)
                for i in range(count):
                    size += bytes_size(number, sizes[i])
            if not is_whole:
                raise ValueError("a record is no customer message")
            made = PyBytes_FromStringAndSize(NULL, size)
            out.start, out.size, out.capacity = <unsigned char*>PyBytes_AS_STRING(made), 0, size
            with nogil:
                for i in range(count):
                    put_head(&out, number, sizes[i])
                    self._copy(spans[i], &out)
        finally:
            PyMem_Free(sizes)
            PyMem_Free(spans)
        return made

    cdef bint _measure(
        self, const Span* spans, Py_ssize_t count, Py_ssize_t* sizes
    ) noexcept nogil:
        """Find how long what is shown of each record is; false where one is broken."""
        cdef Py_ssize_t i
        cdef Span rest
        cdef Field field
        for i in range(count):
            rest = spans[i]
            if self._is_all:
                sizes[i] = size_of(rest)
                continue
            sizes[i] = 0
            while rest.at < rest.end:
                if not read_field(&rest, &field):
                    return False
                if self._shows(field.tag):
                    sizes[i] += rest.at - field.start
        return True

    cdef inline bint _shows(self, uint64_t tag) noexcept nogil:
        return tag >> 3 < FIELDS_LIMIT and self._wanted[tag >> 3]

    cdef void _copy(self, Span rest, Out* out) noexcept nogil:
        """Write what is shown of a record that was measured."""
        cdef Field field
        cdef Bytes start = rest.at  # of what is to be copied together
        if not self._is_all:
            while rest.at < rest.end and read_field(&rest, &field):
                if not self._shows(field.tag):
                    put(out, start, field.start - start)
                    start = rest.at
        put(out, start, rest.end - start)
