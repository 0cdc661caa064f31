# cython: language_level=3, boundscheck=False, wraparound=False, annotation_typing=False
"""Stored customers as columns, laid out as Arrow does: no Python object per row or cell.

Texts are as given, not normal forms: what a table is for is to be read by people and imported
elsewhere. Contacts, consents by channel and further addresses have no columns. A column that may
be missing is there if a row has something in it.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset, strlen
from libc.time cimport gmtime_r, time_t, tm

from service.core._text cimport FEW
from service.core._walk cimport (
    ADDRESSES, ADDRESS_AREA, ADDRESS_CITY, ADDRESS_COUNTRY, ADDRESS_LINES, ADDRESS_POSTCODE,
    ADDRESS_PRIMARY, BIRTH_DATE, Bytes, CAMPAIGNS, COMMENT, COMPANY_NAME, CREATE_TIME,
    CUSTOM_FIELDS, DATE_DAY, DATE_MONTH, DATE_YEAR, EMAILS, ENTRY_KEY, ENTRY_VALUE, FIELDS_LIMIT,
    FIRST_NAME, Field, GENDER, GROUPS, ID, IDENTITIES, IDENTITY_TYPE, IDENTITY_VALUE, KIND,
    LAST_NAME, MIDDLE_NAME, OWNER, PHONES, POINT_KIND, POINT_VALUE, PREFERENCES,
    PREFERENCES_NO_CALL, PREFERENCES_NO_EMAIL, SOURCES, STAGE, STATE, Span, TAGS, TEXTS_VALUES,
    TITLE, UPDATE_TIME, VALUE_DATE, VALUE_FLAG, VALUE_INTEGER, VALUE_NUMBER, VALUE_TEXT,
    VALUE_TEXTS, VALUE_TIME, is_same, read_field, read_time, size_of, spans_of,
)
from service.core._write cimport LENGTH

cdef enum:  # shapes of a column
    TEXT = 0
    TEXTS = 1  # several to a row
    INTEGER = 2
    NUMBER = 3
    FLAG = 4
    TIME = 5  # microseconds since the epoch

SHAPES = ("text", "texts", "integer", "number", "flag", "time")

cdef enum:  # columns that have a fixed place
    AT_ID = 0
    AT_KIND
    AT_STATE
    AT_TITLE
    AT_FIRST_NAME
    AT_MIDDLE_NAME
    AT_LAST_NAME
    AT_GENDER
    AT_BIRTH_DATE
    AT_COMPANY_NAME
    AT_COMMENT
    AT_STAGE
    AT_OWNER
    AT_STREET
    AT_CITY
    AT_POSTCODE
    AT_AREA
    AT_COUNTRY
    AT_TAGS
    AT_SOURCES
    AT_CAMPAIGNS
    AT_GROUPS
    AT_NO_EMAIL
    AT_NO_CALL
    AT_CREATED
    AT_UPDATED
    AT_EMAILS  # one of each kind
    KINDS = 7
    AT_PHONES = AT_EMAILS + KINDS
    FIXED = AT_PHONES + KINDS

cdef enum:  # what a column that has no fixed place is of
    OF_IDENTITY = 0
    OF_TEXT = 1  # a custom field's; also times and lists, which a table has no type for
    OF_INTEGER = 2
    OF_NUMBER = 3
    OF_FLAG = 4
    OF_DATE = 5

_KIND_NAMES = ("", "mobile_", "home_", "work_", "office_", "fax_", "other_")
_USUAL_POINTS = frozenset({"email", "phone", "mobile_phone"})
_CUSTOM_ENDINGS = ("", "", ":integer", ":number", ":flag", ":date")

# Name, shape and field of Customer, in the order of the enum.
_FIXED = [
    ("id", TEXT, ID), ("kind", TEXT, KIND), ("state", TEXT, STATE), ("title", TEXT, TITLE),
    ("first_name", TEXT, FIRST_NAME), ("middle_name", TEXT, MIDDLE_NAME),
    ("last_name", TEXT, LAST_NAME), ("gender", TEXT, GENDER), ("birth_date", TEXT, BIRTH_DATE),
    ("company_name", TEXT, COMPANY_NAME), ("comment", TEXT, COMMENT), ("stage", TEXT, STAGE),
    ("owner", TEXT, OWNER), ("street", TEXTS, ADDRESSES), ("city", TEXT, ADDRESSES),
    ("postcode", TEXT, ADDRESSES), ("area", TEXT, ADDRESSES), ("country", TEXT, ADDRESSES),
    ("tags", TEXTS, TAGS), ("sources", TEXTS, SOURCES), ("campaigns", TEXTS, CAMPAIGNS),
    ("groups", TEXTS, GROUPS), ("do_not_email", FLAG, PREFERENCES),
    ("do_not_call", FLAG, PREFERENCES), ("create_time", TIME, CREATE_TIME),
    ("update_time", TIME, UPDATE_TIME),
    *((f"{kind}email", TEXTS, EMAILS) for kind in _KIND_NAMES),
    *((f"{kind}phone", TEXTS, PHONES) for kind in _KIND_NAMES),
]

# Fields that are a text as they stand.
_PLAIN = frozenset({
    ID, TITLE, FIRST_NAME, MIDDLE_NAME, LAST_NAME, COMPANY_NAME, COMMENT, STAGE, OWNER,
})

cdef int[FIXED] _SHAPES
cdef uint64_t[FIXED] _TAGS
cdef bint[FIXED] _is_plain
for _place in range(FIXED):
    _SHAPES[_place], _TAGS[_place] = _FIXED[_place][1], _FIXED[_place][2]
    _is_plain[_place] = _FIXED[_place][2] in _PLAIN

cdef const char** _kinds = ["", "person", "company"]
cdef const char** _states = ["", "active", "archived"]
cdef const char** _genders = ["", "female", "male", "other"]


# Columns in the making. Functions return false where the memory or 2 GiB are full.

cdef struct _Buffer:
    unsigned char* start
    Py_ssize_t size, room

cdef struct _Column:
    int shape
    Py_ssize_t rows  # that have their place in it
    Py_ssize_t nulls
    Py_ssize_t items  # of all rows
    _Buffer validity  # a bit for each row
    _Buffer offsets  # where each row begins
    _Buffer inner  # where each item begins
    _Buffer content

cdef struct _Named:
    Span name  # in the record that had it first
    int of
    _Column column

cdef struct _Making:
    bint wanted[FIELDS_LIMIT]
    _Column fixed[FIXED]
    _Named* named
    Py_ssize_t named_count, named_room, hint
    Py_ssize_t columns  # that hold something


cdef bint _grow(_Buffer* buffer, Py_ssize_t more) noexcept nogil:
    cdef Py_ssize_t room = max(buffer.room, 256)
    cdef void* grown
    if more > INT32_MAX - buffer.size:
        return False
    if buffer.room - buffer.size >= more:
        return True
    while room - buffer.size < more:
        room *= 2
    grown = realloc(buffer.start, room)
    if grown == NULL:
        return False
    buffer.start, buffer.room = <unsigned char*>grown, room
    return True


cdef inline bint _append(_Buffer* buffer, const void* at, Py_ssize_t size) noexcept nogil:
    if not _grow(buffer, size):
        return False
    if size:  # else neither need be anywhere, and memcpy takes no NULL
        memcpy(buffer.start + buffer.size, at, size)
        buffer.size += size
    return True


cdef inline bint _mark(_Buffer* offsets, Py_ssize_t position) noexcept nogil:
    """Note where a row or an item begins."""
    cdef int32_t offset = <int32_t>position  # not over INT32_MAX: `_grow`
    return _append(offsets, &offset, sizeof(int32_t))


cdef inline bint _set_bit(_Buffer* bits, Py_ssize_t row, bint value) noexcept nogil:
    cdef Py_ssize_t missing = (row >> 3) + 1 - bits.size
    if missing > 0:
        if not _grow(bits, missing):
            return False
        memset(bits.start + bits.size, 0, missing)
        bits.size += missing
    if value:
        bits.start[row >> 3] |= 1 << (row & 7)
    return True


cdef bint _pad(_Column* column, Py_ssize_t count) noexcept nogil:
    """Give a place to each row before `count` that has none, with nothing in it."""
    cdef uint64_t nothing = 0
    while column.rows < count:
        if column.shape == TEXTS:
            if not _mark(&column.offsets, column.items):
                return False
        else:
            if not _set_bit(&column.validity, column.rows, False):
                return False
            if column.shape == TEXT:
                if not _mark(&column.offsets, column.content.size):
                    return False
            elif column.shape == FLAG:
                if not _set_bit(&column.content, column.rows, False):
                    return False
            elif not _append(&column.content, &nothing, sizeof(nothing)):
                return False
            column.nulls += 1
        column.rows += 1
    return True


cdef inline bint _begin(_Column* column, Py_ssize_t row) noexcept nogil:
    """Begin the one value of a row, whose content follows."""
    if not _pad(column, row) or not _set_bit(&column.validity, row, True):
        return False
    column.rows = row + 1
    return column.shape != TEXT or _mark(&column.offsets, column.content.size)


cdef inline bint _put_text(_Column* column, Py_ssize_t row, Span text) noexcept nogil:
    return _begin(column, row) and _append(&column.content, text.at, size_of(text))


cdef inline bint _put_word(_Column* column, Py_ssize_t row, const char* word) noexcept nogil:
    return _begin(column, row) and _append(&column.content, word, strlen(word))


cdef inline bint _put_number(_Column* column, Py_ssize_t row, uint64_t bits) noexcept nogil:
    return _begin(column, row) and _append(&column.content, &bits, sizeof(bits))


cdef inline bint _put_flag(_Column* column, Py_ssize_t row, bint flag) noexcept nogil:
    return _begin(column, row) and _set_bit(&column.content, row, flag)


cdef inline bint _add_text(_Column* column, Py_ssize_t row, Span text) noexcept nogil:
    """Add one of several texts to a row."""
    if not _pad(column, row + 1) or not _mark(&column.inner, column.content.size):
        return False
    column.items += 1
    return _append(&column.content, text.at, size_of(text))


cdef bint _end(_Column* column, Py_ssize_t count) noexcept nogil:
    """End a column with as many rows as the table has."""
    if not _pad(column, count):
        return False
    if column.shape == TEXT:
        return _mark(&column.offsets, column.content.size)
    if column.shape == TEXTS:
        return _mark(&column.offsets, column.items) and _mark(&column.inner, column.content.size)
    return True


cdef void _free(_Column* column) noexcept:
    free(column.validity.start)
    free(column.offsets.start)
    free(column.inner.start)
    free(column.content.start)


cdef _Column* _named(_Making* making, Span name, int of) noexcept nogil:
    """Return the column of an identity type or custom field; NULL: no memory."""
    cdef Py_ssize_t i, place = making.hint
    cdef void* grown
    cdef _Named* one
    # The rows of an account have much the same fields in the same order.
    for i in range(making.named_count):
        if place >= making.named_count:
            place = 0
        one = &making.named[place]
        place += 1
        if one.of == of and is_same(one.name, name):
            making.hint = place
            return &one.column
    if making.named_count == making.named_room:
        making.named_room = max(16, 2 * making.named_room)
        grown = realloc(making.named, making.named_room * sizeof(_Named))
        if grown == NULL:
            return NULL
        making.named = <_Named*>grown
    one = &making.named[making.named_count]
    memset(one, 0, sizeof(_Named))
    one.name, one.of = name, of
    if of == OF_IDENTITY:
        one.column.shape = TEXTS
    elif of == OF_TEXT or of == OF_DATE:
        one.column.shape = TEXT
    elif of == OF_INTEGER:
        one.column.shape = INTEGER
    elif of == OF_NUMBER:
        one.column.shape = NUMBER
    else:
        one.column.shape = FLAG
    making.named_count += 1
    making.hint = making.named_count
    return &one.column


# One customer.

cdef struct _Row:
    Span texts[FIELDS_LIMIT]  # by field number
    Span address  # the primary one, or else the first
    bint has_address, is_primary, has_birth, has_created, has_updated
    int kind, state, gender
    int32_t birth[4]  # year, month, day from 1 on
    bint no_email, no_call
    uint64_t created_s, created_nanos, updated_s, updated_nanos


cdef enum:  # what became of a row
    BROKEN = 0
    DONE = 1
    FULL = 2  # no memory


cdef int _tabulate(_Making* making, Span record, Py_ssize_t row) noexcept nogil:
    """Put a customer into the columns."""
    cdef _Row one
    cdef Field field
    cdef int became
    memset(&one, 0, sizeof(_Row))
    while record.at < record.end:
        if not read_field(&record, &field):
            return BROKEN
        if field.tag >> 3 >= FIELDS_LIMIT or not making.wanted[field.tag >> 3]:
            continue
        if field.tag == EMAILS:
            became = _tabulate_point(making, AT_EMAILS, field.body, row)
        elif field.tag == PHONES:
            became = _tabulate_point(making, AT_PHONES, field.body, row)
        elif field.tag == IDENTITIES:
            became = _tabulate_identity(making, field.body, row)
        elif field.tag == CUSTOM_FIELDS:
            became = _tabulate_custom(making, field.body, row)
        elif TAGS <= field.tag <= GROUPS:
            became = _tabulate_word(making, &field, row)
        else:
            became = _note(&one, &field)
        if became != DONE:
            return became
    return _tabulate_noted(making, &one, row)


cdef int _tabulate_word(_Making* making, const Field* field, Py_ssize_t row) noexcept nogil:
    cdef int place
    if field.tag == TAGS:
        place = AT_TAGS
    elif field.tag == SOURCES:
        place = AT_SOURCES
    elif field.tag == CAMPAIGNS:
        place = AT_CAMPAIGNS
    elif field.tag == GROUPS:
        place = AT_GROUPS
    else:
        return DONE
    return DONE if _add_text(&making.fixed[place], row, field.body) else FULL


cdef int _note(_Row* one, const Field* field) noexcept nogil:
    """Keep a field of which the last counts, or that is merged from several."""
    if field.tag == KIND:
        one.kind = <int32_t>field.value
    elif field.tag == STATE:
        one.state = <int32_t>field.value
    elif field.tag == GENDER:
        one.gender = <int32_t>field.value
    elif field.tag == CREATE_TIME:
        one.has_created = True
        return DONE if read_time(field.body, &one.created_s, &one.created_nanos) else BROKEN
    elif field.tag == UPDATE_TIME:
        one.has_updated = True
        return DONE if read_time(field.body, &one.updated_s, &one.updated_nanos) else BROKEN
    elif field.tag == BIRTH_DATE:
        one.has_birth = True
        return DONE if _read_date(field.body, one.birth) else BROKEN
    elif field.tag == PREFERENCES:
        return DONE if _read_preferences(field.body, one) else BROKEN
    elif field.tag == ADDRESSES:
        return DONE if _note_address(field.body, one) else BROKEN
    elif field.tag & 7 == LENGTH:
        one.texts[field.tag >> 3] = field.body
    return DONE


cdef bint _read_date(Span date, int32_t* parts) noexcept nogil:
    cdef Field field
    while date.at < date.end:
        if not read_field(&date, &field):
            return False
        if field.tag == DATE_YEAR or field.tag == DATE_MONTH or field.tag == DATE_DAY:
            parts[field.tag >> 3] = <int32_t>field.value
    return True


cdef bint _read_preferences(Span preferences, _Row* one) noexcept nogil:
    cdef Field field
    while preferences.at < preferences.end:
        if not read_field(&preferences, &field):
            return False
        if field.tag == PREFERENCES_NO_EMAIL:
            one.no_email = field.value != 0
        elif field.tag == PREFERENCES_NO_CALL:
            one.no_call = field.value != 0
    return True


cdef bint _note_address(Span address, _Row* one) noexcept nogil:
    cdef Span rest = address
    cdef Field field
    cdef bint is_primary = False
    while rest.at < rest.end:
        if not read_field(&rest, &field):
            return False
        if field.tag == ADDRESS_PRIMARY:
            is_primary = field.value != 0
    if not one.has_address or (is_primary and not one.is_primary):
        one.has_address, one.is_primary, one.address = True, is_primary, address
    return True


cdef int _tabulate_point(
    _Making* making, int places, Span point, Py_ssize_t row
) noexcept nogil:
    cdef Field field
    cdef Span value
    cdef int kind = 0
    value.at = value.end = point.at
    while point.at < point.end:
        if not read_field(&point, &field):
            return BROKEN
        if field.tag == POINT_VALUE:
            value = field.body
        elif field.tag == POINT_KIND:
            kind = <int32_t>field.value
    if not 0 <= kind < KINDS:
        kind = 0
    return DONE if _add_text(&making.fixed[places + kind], row, value) else FULL


cdef int _tabulate_identity(_Making* making, Span identity, Py_ssize_t row) noexcept nogil:
    cdef Field field
    cdef Span type, value
    cdef _Column* column
    type.at = type.end = value.at = value.end = identity.at
    while identity.at < identity.end:
        if not read_field(&identity, &field):
            return BROKEN
        if field.tag == IDENTITY_TYPE:
            type = field.body
        elif field.tag == IDENTITY_VALUE:
            value = field.body
    column = _named(making, type, OF_IDENTITY)
    return DONE if column != NULL and _add_text(column, row, value) else FULL


cdef int _tabulate_custom(_Making* making, Span entry, Py_ssize_t row) noexcept nogil:
    cdef Field field, value
    cdef Span name
    name.at = name.end = entry.at
    value.tag = 0
    while entry.at < entry.end:
        if not read_field(&entry, &field):
            return BROKEN
        if field.tag == ENTRY_KEY:
            name = field.body
        elif field.tag == ENTRY_VALUE:
            while field.body.at < field.body.end:  # of what excludes each other the last counts
                if not read_field(&field.body, &value):
                    return BROKEN
    return _tabulate_value(making, name, &value, row)


cdef int _tabulate_value(
    _Making* making, Span name, const Field* value, Py_ssize_t row
) noexcept nogil:
    cdef _Column* column
    cdef int of
    if value.tag == VALUE_TEXT or value.tag == VALUE_TIME or value.tag == VALUE_TEXTS:
        of = OF_TEXT
    elif value.tag == VALUE_INTEGER:
        of = OF_INTEGER
    elif value.tag == VALUE_NUMBER:
        of = OF_NUMBER
    elif value.tag == VALUE_FLAG:
        of = OF_FLAG
    elif value.tag == VALUE_DATE:
        of = OF_DATE
    else:
        return DONE
    column = _named(making, name, of)
    if column == NULL:
        return FULL
    if column.rows > row:  # a name twice, which no record has
        return DONE
    return _put_value(column, value, row)


cdef int _put_value(_Column* column, const Field* value, Py_ssize_t row) noexcept nogil:
    cdef uint64_t bits = value.value, nanos = 0
    cdef int32_t[4] date
    if value.tag == VALUE_TEXT:
        return DONE if _put_text(column, row, value.body) else FULL
    if value.tag == VALUE_FLAG:
        return DONE if _put_flag(column, row, bits != 0) else FULL
    if value.tag == VALUE_TEXTS:
        return _put_texts(column, value.body, row)
    if value.tag == VALUE_TIME:
        if not read_time(value.body, &bits, &nanos):
            return BROKEN
        return DONE if _put_time(column, row, <int64_t>bits, <int32_t>nanos) else FULL
    if value.tag == VALUE_DATE:
        memset(date, 0, sizeof(date))
        if not _read_date(value.body, date):
            return BROKEN
        return DONE if _put_date(column, row, date) else FULL
    if value.tag == VALUE_NUMBER:
        memcpy(&bits, value.body.at, sizeof(bits))
    return DONE if _put_number(column, row, bits) else FULL


cdef int _put_texts(_Column* column, Span texts, Py_ssize_t row) noexcept nogil:
    """Write several texts into one, as lists stand in a cell."""
    cdef Field field
    cdef bint is_first = True
    if not _begin(column, row):
        return FULL
    while texts.at < texts.end:
        if not read_field(&texts, &field):
            return BROKEN
        if field.tag == TEXTS_VALUES:
            if not is_first and not _append(&column.content, <const char*>"; ", 2):
                return FULL
            if not _append(&column.content, field.body.at, size_of(field.body)):
                return FULL
            is_first = False
    return DONE


cdef bint _put_date(_Column* column, Py_ssize_t row, const int32_t* date) noexcept nogil:
    """Write a date as `rows.PartialDate` does; nothing for what no calendar has."""
    cdef char[16] text
    cdef int size, part
    if date[1] < 0 or date[1] > 9_999 or date[2] < 0 or date[2] > 12 or date[3] < 0 or date[3] > 31:
        return True
    if date[1]:
        size = snprintf(text, sizeof(text), "%04d", date[1])
    else:
        size = snprintf(text, sizeof(text), "-")
    for part in range(2, 4):
        if date[part]:
            size += snprintf(text + size, sizeof(text) - size, "-%02d", date[part])
    return _begin(column, row) and _append(&column.content, text, size)


cdef bint _put_time(_Column* column, Py_ssize_t row, int64_t time_s, int32_t nanos) noexcept nogil:
    """Write a point in time as RFC 3339 has it; nothing for years that it has not."""
    cdef char[40] text
    cdef int size
    cdef time_t since = time_s
    cdef tm utc
    if gmtime_r(&since, &utc) == NULL or not 0 < utc.tm_year + 1_900 <= 9_999:
        return True
    size = snprintf(
        text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d", utc.tm_year + 1900, utc.tm_mon + 1,
        utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
    )
    if nanos % 1_000:
        size += snprintf(text + size, sizeof(text) - size, ".%09d", <int>nanos)
    elif nanos % 1_000_000:
        size += snprintf(text + size, sizeof(text) - size, ".%06d", <int>(nanos // 1_000))
    elif nanos:
        size += snprintf(text + size, sizeof(text) - size, ".%03d", <int>(nanos // 1_000_000))
    return (
        _begin(column, row)
        and _append(&column.content, text, size)
        and _append(&column.content, <const char*>"Z", 1)
    )


cdef int _tabulate_noted(_Making* making, _Row* one, Py_ssize_t row) noexcept nogil:
    cdef _Column* to = making.fixed
    cdef int place
    for place in range(AT_EMAILS):
        if _is_plain[place] and size_of(one.texts[_TAGS[place] >> 3]):
            if not _put_text(&to[place], row, one.texts[_TAGS[place] >> 3]):
                return FULL
    if 0 < one.kind < 3 and not _put_word(&to[AT_KIND], row, _kinds[one.kind]):
        return FULL
    if 0 < one.state < 3 and not _put_word(&to[AT_STATE], row, _states[one.state]):
        return FULL
    if 0 < one.gender < 4 and not _put_word(&to[AT_GENDER], row, _genders[one.gender]):
        return FULL
    if one.has_birth and not _put_date(&to[AT_BIRTH_DATE], row, one.birth):
        return FULL
    if one.has_created and not _put_number(
        &to[AT_CREATED], row, one.created_s * 1_000_000 + one.created_nanos // 1_000
    ):
        return FULL
    if one.has_updated and not _put_number(
        &to[AT_UPDATED], row, one.updated_s * 1_000_000 + one.updated_nanos // 1_000
    ):
        return FULL
    if not _put_flag(&to[AT_NO_EMAIL], row, one.no_email):
        return FULL
    if not _put_flag(&to[AT_NO_CALL], row, one.no_call):
        return FULL
    return _tabulate_address(making, one.address, row)


cdef int _tabulate_address(_Making* making, Span address, Py_ssize_t row) noexcept nogil:
    cdef Field field
    cdef Span[4] texts  # city, postcode, area, country
    cdef int i
    memset(texts, 0, sizeof(texts))
    while address.at < address.end:
        if not read_field(&address, &field):
            return BROKEN
        if field.tag == ADDRESS_LINES:
            if not _add_text(&making.fixed[AT_STREET], row, field.body):
                return FULL
        elif ADDRESS_CITY <= field.tag <= ADDRESS_COUNTRY and field.tag & 7 == ADDRESS_CITY & 7:
            texts[(field.tag >> 3) - (ADDRESS_CITY >> 3)] = field.body
    for i in range(4):
        if size_of(texts[i]) and not _put_text(&making.fixed[AT_CITY + i], row, texts[i]):
            return FULL
    return DONE


# Tables.

cdef int _tabulate_all(
    _Making* making, const Span* records, Py_ssize_t* count, Py_ssize_t cells_limit
) noexcept nogil:
    """Put customers into the columns until there are many cells; say in `count` how many."""
    cdef Py_ssize_t row, i
    cdef int became
    for row in range(count[0]):
        became = _tabulate(making, records[row], row)
        if became != DONE:
            return became
        if (FIXED + making.named_count) * (row + 1) >= cells_limit:
            count[0] = row + 1
            break
    for i in range(FIXED):
        if not _end(&making.fixed[i], count[0]):
            return FULL
    for i in range(making.named_count):
        if not _end(&making.named[i].column, count[0]):
            return FULL
    return DONE


def tabulate(records, fields=(), Py_ssize_t cells_limit=INT32_MAX):
    """Return how many of some encoded customers, and their columns: (name, shape, nulls, buffers).

    `fields` are the numbers of the top-level fields that are shown, all if none. A table ends with
    the row with which it has `cells_limit` cells. Buffers are those of the Arrow type: validity (None
    where nothing is null), offsets and content. A shape is one of `SHAPES`; with "texts" there are
    the offsets of the rows, then the offsets and the content of the items, and nothing is null.

    Raises `ValueError` where a record is no message.
    """
    cdef list owner = list(records)
    cdef Py_ssize_t i, count = len(owner)
    cdef _Making making
    cdef int became
    cdef Span* spans
    memset(&making, 0, sizeof(_Making))
    wanted = frozenset(fields)
    for i in range(FIELDS_LIMIT):
        making.wanted[i] = not wanted or i in wanted
    for i in range(FIXED):
        making.fixed[i].shape = _SHAPES[i]
    spans = spans_of(owner)
    try:
        if count <= FEW:
            became = _tabulate_all(&making, spans, &count, cells_limit)
        else:
            with nogil:
                became = _tabulate_all(&making, spans, &count, cells_limit)
        if became == BROKEN:
            raise ValueError("a record is no customer message")
        if became == FULL:
            raise MemoryError
        return count, _columns(&making)
    finally:
        for i in range(FIXED):
            _free(&making.fixed[i])
        for i in range(making.named_count):
            _free(&making.named[i].column)
        free(making.named)
        PyMem_Free(spans)


cdef list _columns(_Making* making):
    """Return the columns that are wanted and, where they may be missing, hold something."""
    cdef list found = []
    cdef Py_ssize_t place
    for place in range(FIXED):
        name = _FIXED[place][0]
        is_usual = place < AT_EMAILS or name in _USUAL_POINTS
        if making.wanted[_TAGS[place] >> 3] and (is_usual or making.fixed[place].items):
            found.append(_described(name, &making.fixed[place]))
    for place in range(making.named_count):
        found.append(_described(_name_of(&making.named[place]), &making.named[place].column))
    return found


cdef str _name_of(const _Named* one):
    name = PyBytes_FromStringAndSize(<const char*>one.name.at, size_of(one.name)).decode()
    if one.of == OF_IDENTITY:
        return f"identity:{name}"
    return f"custom:{name}{_CUSTOM_ENDINGS[one.of]}"


cdef tuple _described(str name, const _Column* column):
    validity = _bytes(&column.validity) if column.nulls else None
    if column.shape == TEXTS:
        buffers = (_bytes(&column.offsets), _bytes(&column.inner), _bytes(&column.content))
    elif column.shape == TEXT:
        buffers = (validity, _bytes(&column.offsets), _bytes(&column.content))
    else:
        buffers = (validity, _bytes(&column.content))
    return name, SHAPES[column.shape], column.nulls, buffers


cdef bytes _bytes(const _Buffer* buffer):
    return PyBytes_FromStringAndSize(<const char*>buffer.start, buffer.size)
