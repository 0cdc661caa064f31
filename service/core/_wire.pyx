# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, annotation_typing=False
"""Ordinary rows of an import, read from and written to their encoding without a message object.

`walk` takes out of encoded customers what the use cases need, `Draft.seal` encodes their bodies.
Both do for most rows what `server/wire.py` does for all. What keeps this small and exact is that
a row is taken only if it is surely fine and in the one form that the deterministic encoder would
give it: known fields in ascending order, shortest varints, no defaults written out, and within
every rule. Any other row is handed back as its bytes, and the messages of protobuf say what is
wrong with it or handle the rare case. So whole spans of the row can be copied into its body.

Encoding: https://protobuf.dev/programming-guides/encoding/. Names and numbers of fields stand in
`FIELDS`, which a test holds against the descriptors. Every read is bounds-checked by `_Cursor`.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_AsStringAndSize, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from service.core._features cimport Packed
from service.core._text cimport FEW, Column, Texts
from service.core._write cimport (
    FIXED32, FIXED64, LENGTH, VARINT, VARINT_LIMIT, Out, bytes_size, close_message, open_message,
    put, put_bytes, put_head, put_number, reserve, varint_size,
)
from service.core.model import Card, Channel, Held, Identity, Point, Reason, Sealed

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

ctypedef const unsigned char* Bytes

cdef enum:  # shapes of a field
    REFUSED = 0  # a row that has it is not taken
    TEXT = 1
    NUMBER = 2  # bool, enum or integer
    PACKED = 3  # repeated numbers
    MESSAGE = 4

cdef enum:  # fields of ImportCustomersRequest
    REQUEST_BATCH = 2

cdef enum:  # fields of ImportBatch
    BATCH_NUMBER = 1
    BATCH_CUSTOMERS = 2

cdef enum:  # fields of Customer
    ID = 1
    ETAG = 2
    KIND = 3
    STATE = 4
    CREATE_TIME = 5
    UPDATE_TIME = 6
    TITLE = 7
    FIRST_NAME = 8
    MIDDLE_NAME = 9
    LAST_NAME = 10
    GENDER = 11
    BIRTH_DATE = 12
    COMPANY_NAME = 13
    COMMENT = 14
    STAGE = 15
    OWNER = 16
    USER_ACCOUNT = 17
    EMAILS = 18
    PHONES = 19
    ADDRESSES = 20
    CONTACTS = 21
    IDENTITIES = 22
    PREFERENCES = 23
    TAGS = 24
    SOURCES = 25
    CAMPAIGNS = 26
    GROUPS = 27

cdef enum:  # fields of EmailAddress and PhoneNumber
    POINT_VALUE = 1
    POINT_NORMAL = 2
    POINT_KIND = 3
    POINT_PRIMARY = 4
    POINT_VERIFICATION = 5
    POINT_FINDING = 6
    PHONE_EXTENSION = 7
    PHONE_REGION = 8
    PHONE_TYPE = 9

cdef enum:  # fields of the other messages that are looked into
    DATE_YEAR = 1
    DATE_MONTH = 2
    DATE_DAY = 3
    ADDRESS_PRIMARY = 2
    ADDRESS_LINES = 3
    ADDRESS_CITY = 4
    ADDRESS_POSTCODE = 5
    ADDRESS_COUNTRY = 7
    IDENTITY_TYPE = 1
    IDENTITY_VALUE = 2
    PREFERENCES_CHANNELS = 3
    PREFERENCE_CHANNEL = 1
    CONTACT_ID = 1
    CONTACT_LAST_NAME = 5
    CONTACT_PRIMARY = 7
    CONTACT_EMAILS = 8
    CONTACT_PHONES = 9
    CONTACT_PREFERENCES = 10

cdef enum:  # values of enums
    GENDER_FEMALE = 1
    GENDER_MALE = 2
    KIND_PERSON = 1
    KIND_COMPANY = 2
    STATE_ACTIVE = 1
    STATE_ARCHIVED = 2
    CONTACT_KIND_MOBILE = 1
    VERIFICATION_UNVERIFIED = 1
    PHONE_TYPE_MOBILE = 2

cdef enum:  # bounds that no setting changes, the first five as in server/rules.py
    ID_LIMIT = 128
    VALUE_LIMIT = 1000
    IDENTITY_TYPE_LIMIT = 63
    IDENTITY_VALUE_LIMIT = 400
    ADDRESS_LINES_LIMIT = 5
    REPEATS_LIMIT = 200  # entries of a list that are compared with each other
    POINTS = 4  # e-mails, and phones, that are compared: as in _features.pxd
    WORD_TAG_SIZE = 2  # bytes of the tags of fields 16 to 2047
    CONTACT_SIZE_GUESS = 2  # bytes of a contact's size, with its findings
    FIELDS_LIMIT = 32  # slots of a table: field numbers end below

# Sections of a row, in the order of their fields; each is one span.
cdef enum:
    SECTION_HEAD = 0  # replaced: id to update_time
    SECTION_PLAIN = 1  # copied: title to user_account
    SECTION_EMAILS = 2  # written anew
    SECTION_PHONES = 3
    SECTION_ADDRESSES = 4  # copied
    SECTION_CONTACTS = 5  # written anew
    SECTION_IDENTITIES = 6  # copied: identities, preferences
    SECTION_WORDS = 7  # copied and added to: tags, sources, campaigns, groups
    WORD_LISTS = 4
    SECTIONS = 11

_ANY = 2**64 - 1
_BOOL = 1
_CONTACT_KIND_LAST = 6

_POINT_FIELDS = {
    POINT_VALUE: ("value", TEXT, False, VALUE_LIMIT),
    POINT_NORMAL: ("normal", TEXT, False, 0),
    POINT_KIND: ("kind", NUMBER, False, _CONTACT_KIND_LAST),
    POINT_PRIMARY: ("primary", NUMBER, False, _BOOL),
    POINT_VERIFICATION: ("verification", NUMBER, False, 2),
    POINT_FINDING: ("finding", MESSAGE, False, "Finding"),
}

# Message → field number → name, shape, repeated, and by shape: most bytes of a text (0: those of
# the settings), highest number, or the inner message. Fields that are not here are not taken.
FIELDS = {
    "Customer": {
        ID: ("id", TEXT, False, ID_LIMIT),
        ETAG: ("etag", TEXT, False, 0),
        KIND: ("kind", NUMBER, False, 2),
        STATE: ("state", NUMBER, False, 2),
        CREATE_TIME: ("create_time", MESSAGE, False, "Timestamp"),
        UPDATE_TIME: ("update_time", MESSAGE, False, "Timestamp"),
        TITLE: ("title", TEXT, False, 0),
        FIRST_NAME: ("first_name", TEXT, False, 0),
        MIDDLE_NAME: ("middle_name", TEXT, False, 0),
        LAST_NAME: ("last_name", TEXT, False, 0),
        GENDER: ("gender", NUMBER, False, 3),
        BIRTH_DATE: ("birth_date", MESSAGE, False, "Date"),
        COMPANY_NAME: ("company_name", TEXT, False, 0),
        COMMENT: ("comment", TEXT, False, 0),
        STAGE: ("stage", TEXT, False, 0),
        OWNER: ("owner", TEXT, False, 0),
        USER_ACCOUNT: ("user_account", TEXT, False, 0),
        EMAILS: ("emails", MESSAGE, True, "EmailAddress"),
        PHONES: ("phones", MESSAGE, True, "PhoneNumber"),
        ADDRESSES: ("addresses", MESSAGE, True, "PostalAddress"),
        CONTACTS: ("contacts", MESSAGE, True, "Contact"),
        IDENTITIES: ("identities", MESSAGE, True, "Identity"),
        PREFERENCES: ("preferences", MESSAGE, False, "Preferences"),
        TAGS: ("tags", TEXT, True, 0),
        SOURCES: ("sources", TEXT, True, 0),
        CAMPAIGNS: ("campaigns", TEXT, True, 0),
        GROUPS: ("groups", TEXT, True, 0),
    },
    "EmailAddress": _POINT_FIELDS,
    "PhoneNumber": {
        **_POINT_FIELDS,
        PHONE_EXTENSION: ("extension", TEXT, False, 0),
        PHONE_REGION: ("region", TEXT, False, 0),
        PHONE_TYPE: ("type", NUMBER, False, 11),
        10: ("time_zones", TEXT, True, 0),
        11: ("national", TEXT, False, 0),
        12: ("international", TEXT, False, 0),
        13: ("tel_uri", TEXT, False, 0),
    },
    "PostalAddress": {
        1: ("kind", NUMBER, False, _CONTACT_KIND_LAST),
        ADDRESS_PRIMARY: ("primary", NUMBER, False, _BOOL),
        ADDRESS_LINES: ("lines", TEXT, True, 0),
        ADDRESS_CITY: ("city", TEXT, False, 0),
        ADDRESS_POSTCODE: ("postcode", TEXT, False, 0),
        6: ("administrative_area", TEXT, False, 0),
        ADDRESS_COUNTRY: ("country", TEXT, False, 2),
    },
    "Identity": {
        IDENTITY_TYPE: ("type", TEXT, False, IDENTITY_TYPE_LIMIT),
        IDENTITY_VALUE: ("value", TEXT, False, IDENTITY_VALUE_LIMIT),
    },
    "Preferences": {
        1: ("do_not_email", NUMBER, False, _BOOL),
        2: ("do_not_call", NUMBER, False, _BOOL),
        PREFERENCES_CHANNELS: ("channels", MESSAGE, True, "ChannelPreference"),
        4: ("preferred_contact", NUMBER, False, 7),
    },
    "ChannelPreference": {
        PREFERENCE_CHANNEL: ("channel", NUMBER, False, 8),
        2: ("consent", NUMBER, False, 2),
    },
    "Contact": {  # one that has an id is left to the Python path, which numbers the others
        2: ("title", TEXT, False, 0),
        3: ("first_name", TEXT, False, 0),
        4: ("middle_name", TEXT, False, 0),
        CONTACT_LAST_NAME: ("last_name", TEXT, False, 0),
        6: ("position", TEXT, False, 0),
        CONTACT_PRIMARY: ("primary", NUMBER, False, _BOOL),
        CONTACT_EMAILS: ("emails", MESSAGE, True, "EmailAddress"),
        CONTACT_PHONES: ("phones", MESSAGE, True, "PhoneNumber"),
        CONTACT_PREFERENCES: ("preferences", MESSAGE, False, "Preferences"),
    },
    "Date": {
        DATE_YEAR: ("year", NUMBER, False, 9_999),
        DATE_MONTH: ("month", NUMBER, False, 12),
        DATE_DAY: ("day", NUMBER, False, 31),
    },
    "Timestamp": {
        1: ("seconds", NUMBER, False, _ANY),
        2: ("nanos", NUMBER, False, _ANY),
    },
    "Finding": {
        1: ("verdict", NUMBER, False, 4),
        2: ("reason", NUMBER, False, 13),
        3: ("message", TEXT, False, 0),
        4: ("detail", TEXT, False, 0),
        5: ("flags", PACKED, True, 0),
        6: ("suggested_domain", TEXT, False, 0),
        7: ("mx_hosts", TEXT, True, 0),
        8: ("source", TEXT, False, 0),
        9: ("check_time", MESSAGE, False, "Timestamp"),
        10: ("expire_time", MESSAGE, False, "Timestamp"),
    },
}
SHAPES = {"text": TEXT, "number": NUMBER, "packed": PACKED, "message": MESSAGE}


cdef struct _Rule:
    int shape
    bint repeated
    uint64_t top
    const _Rule* inner

cdef _Rule _CUSTOMER[FIELDS_LIMIT]
cdef _Rule _EMAIL_ADDRESS[FIELDS_LIMIT]
cdef _Rule _PHONE_NUMBER[FIELDS_LIMIT]
cdef _Rule _POSTAL_ADDRESS[FIELDS_LIMIT]
cdef _Rule _IDENTITY[FIELDS_LIMIT]
cdef _Rule _PREFERENCES[FIELDS_LIMIT]
cdef _Rule _CHANNEL_PREFERENCE[FIELDS_LIMIT]
cdef _Rule _CONTACT[FIELDS_LIMIT]
cdef _Rule _DATE[FIELDS_LIMIT]
cdef _Rule _TIMESTAMP[FIELDS_LIMIT]
cdef _Rule _FINDING[FIELDS_LIMIT]


cdef _Rule* _table(str name) except NULL:
    if name == "Customer":
        return _CUSTOMER
    if name == "EmailAddress":
        return _EMAIL_ADDRESS
    if name == "PhoneNumber":
        return _PHONE_NUMBER
    if name == "PostalAddress":
        return _POSTAL_ADDRESS
    if name == "Identity":
        return _IDENTITY
    if name == "Preferences":
        return _PREFERENCES
    if name == "ChannelPreference":
        return _CHANNEL_PREFERENCE
    if name == "Contact":
        return _CONTACT
    if name == "Date":
        return _DATE
    if name == "Timestamp":
        return _TIMESTAMP
    if name == "Finding":
        return _FINDING
    raise LookupError(name)


cdef int _fill_tables() except -1:
    """Make the tables that C reads of `FIELDS`."""
    cdef _Rule* rule
    for message, fields in FIELDS.items():
        for number, (_, shape, repeated, more) in fields.items():
            if not 0 < number < FIELDS_LIMIT:
                raise ValueError(f"no place for field {number}")
            rule = &_table(message)[<int>number]
            rule.shape = shape
            rule.repeated = repeated
            rule.top = 0 if shape == MESSAGE else more
            rule.inner = _table(more) if shape == MESSAGE else NULL
    return 0


_fill_tables()


# Reading: all of it without Python objects.

cdef struct _Span:
    Bytes at
    Bytes end

cdef struct _Cursor:
    Bytes at
    Bytes end
    uint64_t text_limit  # bytes
    int number  # of the field before

cdef struct _Field:
    int number
    Bytes start  # its tag
    uint64_t value  # of a number
    _Span body  # of what has a length


cdef inline Py_ssize_t _size(_Span span) noexcept nogil:
    return span.end - span.at


cdef inline bint _varint(_Cursor* cursor, uint64_t* value) noexcept nogil:
    """Read a varint of at most ten bytes and 64 bits; redundant bytes are allowed."""
    cdef uint64_t read = 0
    cdef int shift = 0
    cdef unsigned char byte
    while cursor.at < cursor.end and shift < 64:
        byte = cursor.at[0]
        cursor.at += 1
        if shift == 63 and byte > 1:
            return False
        read |= <uint64_t>(byte & 0x7F) << shift
        if byte < 0x80:
            value[0] = read
            return True
        shift += 7
    return False


cdef inline bint _shortest(_Cursor* cursor, uint64_t* value) noexcept nogil:
    """Read a varint that has no redundant bytes."""
    if cursor.at < cursor.end and cursor.at[0] < 0x80:
        value[0] = cursor.at[0]
        cursor.at += 1
        return True
    return _varint(cursor, value) and (cursor.at - 1)[0] != 0


cdef inline bint _body(_Cursor* cursor, uint64_t size, _Span* body) noexcept nogil:
    """Step over `size` bytes."""
    if size > <uint64_t>(cursor.end - cursor.at):
        return False
    body.at = cursor.at
    cursor.at += size
    body.end = cursor.at
    return True


cdef bint _is_text(_Span span) noexcept nogil:
    """Tell whether bytes are UTF-8 (RFC 3629, section 4) without NUL."""
    cdef Bytes at = span.at
    cdef uint64_t word
    cdef unsigned char lead, second
    while at < span.end:
        if span.end - at >= 8:
            memcpy(&word, at, 8)
            # No byte has its high bit, and none is zero.
            if not (word | (word - 0x0101010101010101ULL)) & 0x8080808080808080ULL:
                at += 8
                continue
        lead = at[0]
        if lead < 0x80:
            if lead == 0:
                return False
            at += 1
        elif lead < 0xC2 or lead > 0xF4 or span.end - at < 2:
            return False
        else:
            second = at[1]
            if second & 0xC0 != 0x80:
                return False
            if lead < 0xE0:
                at += 2
                continue
            if span.end - at < 3 or at[2] & 0xC0 != 0x80:
                return False
            if lead < 0xF0:
                # Neither overlong nor a surrogate.
                if (lead == 0xE0 and second < 0xA0) or (lead == 0xED and second > 0x9F):
                    return False
                at += 3
                continue
            if span.end - at < 4 or at[3] & 0xC0 != 0x80:
                return False
            if (lead == 0xF0 and second < 0x90) or (lead == 0xF4 and second > 0x8F):
                return False
            at += 4
    return True


cdef bint _is_packed(_Span span) noexcept nogil:
    cdef _Cursor cursor = _cursor(span, 0)
    cdef uint64_t value
    while cursor.at < cursor.end:
        if not _shortest(&cursor, &value):
            return False
    return True


cdef inline _Cursor _cursor(_Span span, uint64_t text_limit) noexcept nogil:
    cdef _Cursor cursor
    cursor.at = span.at
    cursor.end = span.end
    cursor.text_limit = text_limit
    cursor.number = 0
    return cursor


cdef bint _next(_Cursor* cursor, const _Rule* rules, _Field* field) noexcept nogil:
    """Read the next field; false if it is not known, not in its one form or out of range.

    What is inside a message is left to the caller.
    """
    cdef uint64_t tag, size
    cdef const _Rule* rule
    field.start = cursor.at
    if not _shortest(cursor, &tag) or tag >> 3 >= FIELDS_LIMIT:
        return False
    field.number = <int>(tag >> 3)
    rule = &rules[field.number]
    if field.number < cursor.number or (field.number == cursor.number and not rule.repeated):
        return False
    cursor.number = field.number
    if rule.shape == NUMBER:
        return (
            tag & 7 == VARINT
            and _shortest(cursor, &field.value)
            and 0 < field.value <= rule.top
        )
    if rule.shape == REFUSED or tag & 7 != LENGTH:
        return False
    if not _shortest(cursor, &size) or not _body(cursor, size, &field.body):
        return False
    if rule.shape == TEXT:
        return 0 < size <= cursor.text_limit and (not rule.top or size <= rule.top) and (
            _is_text(field.body)
        )
    return rule.shape == MESSAGE or (size > 0 and _is_packed(field.body))


cdef bint _is_message(_Span span, const _Rule* rules, uint64_t text_limit) noexcept nogil:
    """Tell whether all fields of a message are in their one form, inner messages too."""
    cdef _Cursor cursor = _cursor(span, text_limit)
    cdef _Field field
    while cursor.at < cursor.end:
        if not _next(&cursor, rules, &field):
            return False
        if rules[field.number].inner and not _is_message(
            field.body, rules[field.number].inner, text_limit
        ):
            return False
    return True


# Rules, as in server/rules.py.

cdef struct _Bounds:
    Py_ssize_t customer  # bytes
    uint64_t text  # bytes
    Py_ssize_t points
    Py_ssize_t entries
    Py_ssize_t words[WORD_LISTS]  # entries, less those that are added
    bint is_exclusive  # there are identity types of which one value may be held

cdef struct _Row:
    Bytes edges[SECTIONS + 1]  # where each section begins; the last is the end
    int section
    _Span id
    _Span etag
    int kind
    int state
    bint has_last_name
    bint has_company_name
    Py_ssize_t points
    Py_ssize_t emails, phones  # the customer's own and its contacts'
    Py_ssize_t own_emails, own_phones
    Py_ssize_t primary_emails
    Py_ssize_t primary_phones
    Py_ssize_t addresses
    Py_ssize_t primary_addresses
    Py_ssize_t contacts
    Py_ssize_t primary_contacts
    Py_ssize_t identities
    Py_ssize_t words[WORD_LISTS]
    _Span region  # of phones: the first address's country


cdef bint _survey(_Span span, const _Bounds* bounds, _Row* row) noexcept nogil:
    """Find the parts of a row; false unless it keeps all rules."""
    cdef _Cursor cursor = _cursor(span, bounds.text)
    cdef _Field field
    cdef int index
    if _size(span) > bounds.customer:
        return False
    row.edges[SECTION_HEAD] = span.at
    while cursor.at < cursor.end:
        if not _next(&cursor, _CUSTOMER, &field):
            return False
        _enter(row, _section(field.number), field.start)
        if not _take(&field, bounds, row):
            return False
    _enter(row, SECTIONS, span.end)
    for index in range(WORD_LISTS):
        if row.words[index] > bounds.words[index]:
            return False
    return (
        (row.has_company_name if row.kind == KIND_COMPANY else row.has_last_name)
        and row.primary_emails <= 1
        and row.primary_phones <= 1
        and row.points <= bounds.points
        and not (bounds.is_exclusive and row.identities > 1)
        and row.addresses <= bounds.entries
        and row.primary_addresses <= 1
        and row.contacts <= bounds.entries
        and row.primary_contacts <= (0 if row.kind == KIND_COMPANY else 1)
    )


cdef inline int _section(int number) noexcept nogil:
    if number < TITLE:
        return SECTION_HEAD
    if number < EMAILS:
        return SECTION_PLAIN
    if number == EMAILS:
        return SECTION_EMAILS
    if number == PHONES:
        return SECTION_PHONES
    if number == ADDRESSES:
        return SECTION_ADDRESSES
    if number == CONTACTS:
        return SECTION_CONTACTS
    if number < TAGS:
        return SECTION_IDENTITIES
    return SECTION_WORDS + number - TAGS


cdef inline void _enter(_Row* row, int section, Bytes start) noexcept nogil:
    while row.section < section:
        row.section += 1
        row.edges[row.section] = start


cdef bint _take(const _Field* field, const _Bounds* bounds, _Row* row) noexcept nogil:
    """Note what a field of a customer says; false if it breaks a rule."""
    cdef int number = field.number
    if number == ID:
        row.id = field.body
        return _is_id(field.body)
    if number == ETAG:
        row.etag = field.body
    elif number == KIND:
        row.kind = <int>field.value
    elif number == STATE:
        row.state = <int>field.value
    elif number == CREATE_TIME or number == UPDATE_TIME:
        return _is_message(field.body, _TIMESTAMP, bounds.text)
    elif number == LAST_NAME:
        row.has_last_name = _is_visible(field.body)
    elif number == COMPANY_NAME:
        row.has_company_name = _is_visible(field.body)
    elif number == BIRTH_DATE:
        return _is_date(field.body)
    elif number == EMAILS:
        row.points += 1
        row.own_emails += 1
        row.emails += 1
        return _take_point(field.body, _EMAIL_ADDRESS, bounds, &row.primary_emails)
    elif number == PHONES:
        row.points += 1
        row.own_phones += 1
        row.phones += 1
        return _take_point(field.body, _PHONE_NUMBER, bounds, &row.primary_phones)
    elif number == ADDRESSES:
        row.addresses += 1
        return _take_address(field.body, bounds, row)
    elif number == CONTACTS:
        row.contacts += 1
        return _take_contact(field.body, bounds, row)
    elif number == IDENTITIES:
        row.identities += 1
        return (
            row.identities <= min(bounds.points, REPEATS_LIMIT)
            and _is_identity(field.body, bounds)
            and not _is_repeated(row.edges[SECTION_IDENTITIES], field)
        )
    elif number == PREFERENCES:
        return _is_preferences(field.body)
    elif number >= TAGS:
        row.words[number - TAGS] += 1
        return row.words[number - TAGS] <= REPEATS_LIMIT and not _is_repeated(
            row.edges[SECTION_WORDS + number - TAGS], field
        )
    return True


cdef bint _is_id(_Span id) noexcept nogil:
    """Tell whether an id is printable ASCII without space around it."""
    cdef Bytes at = id.at
    while at < id.end:
        if not 0x20 <= at[0] <= 0x7E:
            return False
        at += 1
    return id.at[0] != 0x20 and (id.end - 1)[0] != 0x20


cdef bint _is_visible(_Span text) noexcept nogil:
    """Tell whether a text surely has a character that `str.strip` leaves.

    White space is in ASCII up to the space, U+0085 and U+00A0 (lead byte C2), U+1680 (E1 9A),
    U+2000 to U+205F (E2) and U+3000 (E3 80).
    """
    cdef Bytes at = text.at
    while at < text.end:
        if 0x20 < at[0] < 0x7F or (at[0] >= 0xC3 and not 0xE1 <= at[0] <= 0xE3):
            return True
        if (at[0] == 0xE1 and at[1] != 0x9A) or (at[0] == 0xE3 and at[1] != 0x80):
            return True
        at += 1
    return False


cdef bint _is_date(_Span span) noexcept nogil:
    """Tell whether a date has a year or month, and its day is in the month."""
    cdef _Cursor cursor = _cursor(span, 0)
    cdef _Field field
    cdef int parts[4]
    parts[DATE_YEAR] = parts[DATE_MONTH] = parts[DATE_DAY] = 0
    while cursor.at < cursor.end:
        if not _next(&cursor, _DATE, &field):
            return False
        parts[field.number] = <int>field.value
    if not parts[DATE_MONTH]:
        return parts[DATE_YEAR] != 0 and not parts[DATE_DAY]
    return parts[DATE_DAY] <= _days(parts[DATE_YEAR], parts[DATE_MONTH])


cdef int _days(int year, int month) noexcept nogil:
    """Return the days of a month; a year that is not known (0) is a leap year."""
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef bint _take_point(
    _Span span, const _Rule* rules, const _Bounds* bounds, Py_ssize_t* primaries
) noexcept nogil:
    cdef _Cursor cursor = _cursor(span, bounds.text)
    cdef _Field field
    cdef bint has_value = False
    while cursor.at < cursor.end:
        if not _next(&cursor, rules, &field):
            return False
        if field.number == POINT_VALUE:
            has_value = True
        elif field.number == POINT_PRIMARY:
            primaries[0] += 1
        elif field.number == POINT_FINDING and not _is_message(field.body, _FINDING, bounds.text):
            return False
    return has_value


cdef bint _take_contact(_Span span, const _Bounds* bounds, _Row* row) noexcept nogil:
    cdef _Cursor cursor = _cursor(span, bounds.text)
    cdef _Field field
    cdef bint has_last_name = False
    cdef Py_ssize_t primary_emails = 0
    cdef Py_ssize_t primary_phones = 0
    while cursor.at < cursor.end:
        if not _next(&cursor, _CONTACT, &field):
            return False
        if field.number == CONTACT_LAST_NAME:
            has_last_name = _is_visible(field.body)
        elif field.number == CONTACT_PRIMARY:
            row.primary_contacts += 1
        elif field.number == CONTACT_EMAILS:
            row.points += 1
            row.emails += 1
            if not _take_point(field.body, _EMAIL_ADDRESS, bounds, &primary_emails):
                return False
        elif field.number == CONTACT_PHONES:
            row.points += 1
            row.phones += 1
            if not _take_point(field.body, _PHONE_NUMBER, bounds, &primary_phones):
                return False
        elif field.number == CONTACT_PREFERENCES and not _is_preferences(field.body):
            return False
    return has_last_name and primary_emails <= 1 and primary_phones <= 1


cdef bint _is_preferences(_Span span) noexcept nogil:
    """Tell whether preferences have at most one entry for a channel, and its channel is named."""
    cdef _Cursor cursor = _cursor(span, 0)
    cdef _Cursor inner
    cdef _Field field
    cdef uint32_t seen = 0
    while cursor.at < cursor.end:
        if not _next(&cursor, _PREFERENCES, &field):
            return False
        if field.number == PREFERENCES_CHANNELS:
            inner = _cursor(field.body, 0)
            if not _is_message(field.body, _CHANNEL_PREFERENCE, 0):
                return False
            if not _next(&inner, _CHANNEL_PREFERENCE, &field):
                return False
            if field.number != PREFERENCE_CHANNEL or seen >> field.value & 1:
                return False
            seen |= <uint32_t>1 << field.value
    return True


cdef bint _take_address(_Span span, const _Bounds* bounds, _Row* row) noexcept nogil:
    cdef _Cursor cursor = _cursor(span, bounds.text)
    cdef _Field field
    cdef int lines = 0
    while cursor.at < cursor.end:
        if not _next(&cursor, _POSTAL_ADDRESS, &field):
            return False
        if field.number == ADDRESS_PRIMARY:
            row.primary_addresses += 1
        elif field.number == ADDRESS_LINES:
            lines += 1
        elif field.number == ADDRESS_COUNTRY:
            if not _is_country(field.body):
                return False
            if row.addresses == 1:
                row.region = field.body
    return lines <= ADDRESS_LINES_LIMIT


cdef inline bint _is_country(_Span text) noexcept nogil:
    if _size(text) != 2:
        return False
    return 0x41 <= text.at[0] <= 0x5A and 0x41 <= text.at[1] <= 0x5A


cdef bint _is_identity(_Span span, const _Bounds* bounds) noexcept nogil:
    cdef _Cursor cursor = _cursor(span, bounds.text)
    cdef _Field field
    if not _next(&cursor, _IDENTITY, &field) or field.number != IDENTITY_TYPE:
        return False
    if not _is_identity_type(field.body):
        return False
    if not _next(&cursor, _IDENTITY, &field) or field.number != IDENTITY_VALUE:
        return False
    return cursor.at == cursor.end


cdef bint _is_identity_type(_Span type) noexcept nogil:
    """Tell whether a type is [a-z][a-z0-9_.-]* and not one that is taken."""
    cdef Bytes at = type.at
    cdef unsigned char c
    while at < type.end:
        c = at[0]
        if not 0x61 <= c <= 0x7A:
            if at == type.at:
                return False
            if not (0x30 <= c <= 0x39 or c == 0x5F or c == 0x2E or c == 0x2D):
                return False
        at += 1
    return not (_is(type, b"email", 5) or _is(type, b"phone", 5) or _is(type, b"customer", 8))


cdef inline bint _is(_Span span, const char* other, Py_ssize_t size) noexcept nogil:
    return _size(span) == size and memcmp(span.at, other, size) == 0


cdef bint _is_repeated(Bytes start, const _Field* field) noexcept nogil:
    """Tell whether an entry of the section that begins at `start` equals a field after it."""
    cdef _Cursor cursor
    cdef _Field other
    cursor.at, cursor.end = start, field.start
    while _entry(&cursor, &other):
        if other.number == field.number and _same(other.body, field.body):
            return True
    return False


cdef inline bint _same(_Span one, _Span other) noexcept nogil:
    return _is(one, <const char*>other.at, _size(other))


cdef inline bint _entry(_Cursor* cursor, _Field* field) noexcept nogil:
    """Read a field that has a length, of what was surveyed before; false at the end."""
    cdef uint64_t tag, size
    field.start = cursor.at
    if not (_varint(cursor, &tag) and _varint(cursor, &size)):
        return False
    field.number = <int>(tag >> 3)
    return _body(cursor, size, &field.body)


# What walks.

@cython.final
cdef class Limits:
    """The bounds of `Settings` that a row must keep."""

    cdef _Bounds bounds

    def __init__(
        self,
        *,
        Py_ssize_t customer_limit,
        Py_ssize_t text_limit_chars,
        Py_ssize_t points_limit,
        Py_ssize_t list_limit,
        exclusive_identity_types=frozenset(),
    ):
        self.bounds.customer = customer_limit
        # No text has more characters than bytes.
        self.bounds.text = max(text_limit_chars, 0)
        self.bounds.points = points_limit
        self.bounds.entries = list_limit
        self.bounds.is_exclusive = bool(exclusive_identity_types)


cdef struct _Added:  # words of all lists, one list after the other
    _Span* words
    Py_ssize_t ends[WORD_LISTS]


@cython.final
cdef class Extra:
    """What an import adds to every row: words that follow the row's own."""

    cdef tuple words  # encoded, of each list in the order of its field; the same once
    cdef _Added added  # the same for C
    cdef Py_ssize_t counts[WORD_LISTS]  # as given
    cdef Py_ssize_t size  # of all as given, encoded as fields
    cdef Py_ssize_t longest
    cdef bint is_broken  # a rule refuses every row

    def __init__(self, *, tags=(), sources=(), campaigns=(), groups=()):
        encoded = []
        for index, words in enumerate((tags, sources, campaigns, groups)):
            parts = [word.encode() for word in words]
            self.counts[<int>index] = len(parts)
            for part in parts:
                self.size += WORD_TAG_SIZE + varint_size(len(part)) + len(part)
                self.longest = max(self.longest, len(part))
                self.is_broken |= not part or b"\0" in part
            encoded.append(tuple(dict.fromkeys(parts)))
        self.words = tuple(encoded)
        self._point_at(self.words)

    cdef int _point_at(self, tuple lists) except -1:
        cdef int index
        cdef Py_ssize_t place = 0
        self.added.words = <_Span*>PyMem_Malloc(max(sum(map(len, lists)), 1) * sizeof(_Span))
        if self.added.words == NULL:
            raise MemoryError
        for index in range(WORD_LISTS):
            for word in <tuple>lists[index]:
                self.added.words[place] = _bytes(word)
                place += 1
            self.added.ends[index] = place
        return 0

    def __dealloc__(self):
        PyMem_Free(self.added.words)


def batch_of(bytes request not None):
    """Return the encoded batch that an encoded request consists of, None if it is another.

    Another has settings, or its batch in parts: a request that protobuf has to read.
    """
    cdef _Cursor cursor = _whole(request)
    cdef uint64_t tag, size
    cdef _Span batch
    if not _shortest(&cursor, &tag) or tag != (REQUEST_BATCH << 3 | LENGTH):
        return None
    if not _varint(&cursor, &size) or not _body(&cursor, size, &batch) or cursor.at < cursor.end:
        return None
    return PyBytes_FromStringAndSize(<const char*>batch.at, _size(batch))


def outline(bytes batch not None):
    """Return the number of an encoded batch and how many rows it has.

    Raises `ValueError` where the framing of the rows is broken.
    """
    cdef _Cursor cursor = _whole(batch)
    cdef _Field field
    cdef uint64_t number = 0
    cdef Py_ssize_t rows = 0
    while cursor.at < cursor.end:
        if not _frame(&cursor, &field):
            raise ValueError("not an encoded batch")
        if field.number == BATCH_NUMBER:
            number = field.value
        elif field.number == BATCH_CUSTOMERS:
            rows += 1
    return number, rows


def walk(bytes batch not None, Limits limits not None, Extra extra not None):
    """Return the card of each row of an encoded batch, or the row as it is if it is not ordinary.

    A card's draft is a `Draft`. Raises `ValueError` where the framing of the rows is broken.
    """
    cdef _Cursor cursor = _whole(batch)
    cdef _Field field
    cdef _Bounds bounds = _bounds(limits, extra)
    cdef list rows = []
    while cursor.at < cursor.end:
        if not _frame(&cursor, &field):
            raise ValueError("not an encoded batch")
        if field.number == BATCH_CUSTOMERS:
            rows.append(_card(batch, field.body, &bounds, extra))
    return rows


cdef _Cursor _whole(bytes batch) except *:
    cdef char* at
    cdef Py_ssize_t size
    cdef _Cursor cursor
    PyBytes_AsStringAndSize(batch, &at, &size)
    cursor.at = <Bytes>at
    cursor.end = cursor.at + size
    cursor.text_limit = 0
    cursor.number = 0
    return cursor


cdef bint _frame(_Cursor* cursor, _Field* field) noexcept nogil:
    """Read a field of ImportBatch, of any that protobuf takes but a group.

    An unknown field, and one of another wire type, gets the number 0.
    """
    cdef uint64_t tag, size
    cdef int wire_type
    field.start = cursor.at
    if not _varint(cursor, &tag) or tag > 0xFFFFFFFFULL or tag >> 3 == 0:
        return False
    field.number = 0
    wire_type = tag & 7
    if wire_type == VARINT:
        if tag >> 3 == BATCH_NUMBER:
            field.number = BATCH_NUMBER
        return _varint(cursor, &field.value)
    if wire_type == LENGTH:
        if tag >> 3 == BATCH_CUSTOMERS:
            field.number = BATCH_CUSTOMERS
        return _varint(cursor, &size) and _body(cursor, size, &field.body)
    if wire_type == FIXED64 or wire_type == FIXED32:
        return _body(cursor, 8 if wire_type == FIXED64 else 4, &field.body)
    return False


cdef _Bounds _bounds(Limits limits, Extra extra) except *:
    """Return the bounds of a row before `extra` is added."""
    cdef _Bounds bounds = limits.bounds
    cdef int index
    for index in range(WORD_LISTS):
        bounds.words[index] = bounds.entries - extra.counts[index]
    bounds.customer -= extra.size
    if extra.is_broken or <uint64_t>extra.longest > bounds.text:
        bounds.customer = -1
    return bounds


cdef object _card(bytes batch, _Span span, const _Bounds* bounds, Extra extra):
    """Return the card of a row, or its bytes."""
    cdef _Row row
    cdef Draft draft
    memset(&row, 0, sizeof(row))
    if not _survey(span, bounds, &row):
        return PyBytes_FromStringAndSize(<const char*>span.at, _size(span))
    draft = Draft.__new__(Draft)
    draft.batch = batch
    draft.extra = extra
    memcpy(draft.edges, row.edges, sizeof(row.edges))
    draft.kind = row.kind
    draft.state = row.state
    draft.emails, draft.phones = row.emails, row.phones
    draft.identities = _identities(draft.edges) if row.identities else ()
    return _named(
        Card, (draft, _text(row.id), _text(row.etag), _points(draft, &row), draft.identities)
    )


cdef object _named = tuple.__new__  # for named tuples: a third of the time of their own
cdef object _EMAIL = Channel.EMAIL
cdef object _PHONE = Channel.PHONE


cdef inline str _text(_Span span):
    if span.at == span.end:
        return ""
    return PyUnicode_DecodeUTF8(<const char*>span.at, _size(span), NULL)


cdef tuple _points(Draft draft, const _Row* row):
    cdef _Cursor cursor = draft.section(SECTION_CONTACTS)
    cdef _Field field
    cdef _Contact contact
    cdef list points = []
    if row.points:
        region = _text(row.region)
        _add_points(points, _EMAIL, draft.span(SECTION_EMAILS), "")
        _add_points(points, _PHONE, draft.span(SECTION_PHONES), region)
        draft.own = len(points)
        while _entry(&cursor, &field):
            _read_contact(field.body, &contact)
            _add_points(points, _EMAIL, contact.emails, "")
            _add_points(points, _PHONE, contact.phones, region)
    return tuple(points)


cdef int _add_points(list points, channel, _Span entries, region) except -1:
    cdef _Cursor cursor = _cursor(entries, 0)
    cdef _Field field
    while _entry(&cursor, &field):
        points.append(_named(Point, (channel, _value(field.body), region)))
    return 0


cdef inline str _value(_Span point):
    """Return the first text of a message."""
    cdef _Cursor cursor = _cursor(point, 0)
    cdef _Field field
    if not _entry(&cursor, &field):
        return ""
    return _text(field.body)


cdef tuple _identities(const Bytes* edges):
    cdef _Cursor cursor = _cursor(_part(edges, SECTION_IDENTITIES), 0)
    cdef _Cursor inner
    cdef _Field field, type, value
    cdef list identities = []
    while _entry(&cursor, &field):
        if field.number == IDENTITIES:
            inner = _cursor(field.body, 0)
            if _entry(&inner, &type) and _entry(&inner, &value):
                identities.append(Identity(_text(type.body), _text(value.body)))
    return tuple(identities)


# Writing.

cdef struct _Point:
    _Span value  # the whole field
    _Span middle  # kind, primary and verification as given, whole fields
    int kind
    bint has_verification

cdef struct _Contact:
    _Span names  # title to primary, whole fields
    _Span emails
    _Span phones
    _Span preferences

cdef struct _Found:  # by a check, encoded
    _Span normal
    _Span finding
    _Span extension
    _Span region
    uint64_t type
    bint is_mobile  # by kind or type; noted when it is written

cdef struct _Supply:  # of what was found, in the order of the points
    _Found* emails
    _Found* phones

cdef int _AWAITED_PENDING = Reason.PENDING
cdef int _AWAITED_UNKNOWN = Reason.MAIL_SERVER_UNKNOWN


@cython.final
@cython.no_gc  # refers to bytes and texts only
cdef class Draft:
    """A row that was taken: spans of its batch, which it keeps alive."""

    cdef bytes batch
    cdef Extra extra
    cdef tuple identities
    cdef Bytes edges[SECTIONS + 1]
    cdef int kind  # 0 where the row does not say
    cdef int state
    cdef Py_ssize_t own  # contact points that are the customer's, not a contact's
    cdef Py_ssize_t emails, phones  # all of them

    def __init__(self):
        raise TypeError("made by walk")

    cdef _Span span(self, int section) noexcept:
        cdef _Span span
        span.at, span.end = self.edges[section], self.edges[section + 1]
        return span

    cdef _Cursor section(self, int section) noexcept:
        return _cursor(self.span(section), 0)

    def seal(self, list checked not None, encode_finding):
        """Encode the row's body with normal forms and findings: one `Checked` per point.

        `encode_finding` gives the encoded message of a `Finding`.
        """
        cdef Out out
        cdef _Supply supply
        cdef _Found* found = NULL
        cdef list kept = [], mobiles = []
        cdef int contacts = 0
        cdef Py_ssize_t i
        memset(&out, 0, sizeof(out))
        if self.batch is None:
            raise TypeError("made by walk")
        if self.emails + self.phones != len(checked):
            raise ValueError("one result for each contact point")
        try:
            found = <_Found*>calloc(max(len(checked), 1), sizeof(_Found))
            if found == NULL:
                raise MemoryError
            self._fill(found, checked, encode_finding, kept)
            supply.emails, supply.phones = found, found + self.emails
            contacts = _put_body(
                &out, self.edges, self.kind, self.state, &self.extra.added, &supply
            )
            body = PyBytes_FromStringAndSize(<const char*>out.start, out.size)
            for i in range(self.emails, len(checked)):
                if found[i].is_mobile:
                    mobiles.append(_text(found[i].normal))
        finally:
            free(found)
            free(out.start)
        held = self._held(checked, mobiles)
        return _named(Sealed, (body, held, _assumed(self.kind, self.state), tuple(range(contacts)), None))

    cdef int _fill(self, _Found* found, list checked, encode_finding, list kept) except -1:
        """Write what was found, e-mails first; `kept` keeps alive what it points to."""
        cdef _Found* email = found
        cdef _Found* phone = found + self.emails
        cdef _Found* one
        for result in checked:
            if result.channel is _EMAIL:
                one, email = email, email + 1
            else:
                one, phone = phone, phone + 1
                one.extension, one.region = _encoded(result.extension), _encoded(result.region)
                one.type = result.phone_type or 0
            if one >= found + len(checked) or email > found + self.emails:
                raise ValueError("the results are of other contact points")
            encoded = encode_finding(result.finding)
            kept.append(encoded)
            one.normal, one.finding = _encoded(result.normal), _bytes(encoded)
        return 0

    cdef object _held(self, list checked, list mobiles):
        """Return what `server/wire.py` would read back."""
        cdef list normals = []
        cdef list pending = []
        cdef int reason
        cdef Py_ssize_t own = 0, place = 0
        for one in checked:
            normal = one.normal
            if normal:
                normals.append((one.channel, normal))
            place += 1
            if place == self.own:
                own = len(normals)
            reason = one.finding.reason
            if reason == _AWAITED_PENDING or reason == _AWAITED_UNKNOWN:
                pending.append(normal.rpartition("@")[2])
        return _named(
            Held,
            (
                "",
                "",
                tuple(normals),
                self.identities,
                tuple(pending),
                frozenset(mobiles),
                own,
                self.kind == KIND_COMPANY,
            ),
        )


cdef tuple _assumed(int kind, int state):
    """Return the fields that a row does not have and its body has."""
    if kind:
        return () if state else ("state",)
    return ("kind",) if state else ("kind", "state")


cdef int _put_body(
    Out* out, const Bytes* edges, int kind, int state, const _Added* added, _Supply* supply
) except -1 nogil:
    """Write a row's body; return how many contacts it has. `supply` is used up."""
    cdef int contacts
    reserve(out, edges[SECTIONS] - edges[0] + 256)
    put_number(out, KIND, kind if kind else KIND_PERSON)
    put_number(out, STATE, state if state else STATE_ACTIVE)
    _copy(out, _part(edges, SECTION_PLAIN))
    _put_points(out, EMAILS, _part(edges, SECTION_EMAILS), False, supply)
    _put_points(out, PHONES, _part(edges, SECTION_PHONES), True, supply)
    _copy(out, _part(edges, SECTION_ADDRESSES))
    contacts = _put_contacts(out, _part(edges, SECTION_CONTACTS), supply)
    _copy(out, _part(edges, SECTION_IDENTITIES))
    _put_words(out, edges, added)
    return contacts


cdef inline _Span _part(const Bytes* edges, int section) noexcept nogil:
    cdef _Span span
    span.at, span.end = edges[section], edges[section + 1]
    return span


cdef int _put_words(Out* out, const Bytes* edges, const _Added* added) except -1 nogil:
    """Write the lists of words: the row's own, then those that are added and not there."""
    cdef int index
    cdef Py_ssize_t place = 0
    cdef _Field word
    for index in range(WORD_LISTS):
        _copy(out, _part(edges, SECTION_WORDS + index))
        while place < added.ends[index]:
            word.number = TAGS + index
            word.start = edges[SECTION_WORDS + index + 1]
            word.body = added.words[place]
            if not _is_repeated(edges[SECTION_WORDS + index], &word):
                reserve(out, _field_size(TAGS + index, word.body))
                _put_field(out, TAGS + index, word.body)
            place += 1
    return 0


cdef int _put_points(
    Out* out, int number, _Span entries, bint is_phone, _Supply* supply
) except -1 nogil:
    """Write the e-mails or phones of one owner, the same once."""
    cdef const _Rule* rules = &_PHONE_NUMBER[0] if is_phone else &_EMAIL_ADDRESS[0]
    cdef _Cursor cursor = _cursor(entries, 0)
    cdef _Field field
    cdef _Point point
    cdef _Found* first = supply.phones if is_phone else supply.emails
    cdef _Found* found = first
    while _entry(&cursor, &field):
        _read_point(field.body, rules, &point)
        found.is_mobile = is_phone and found.normal.at != found.normal.end and (
            point.kind == CONTACT_KIND_MOBILE or found.type == PHONE_TYPE_MOBILE
        )
        if found == first or not _is_known(entries, &field, first, found):
            _put_point(out, number, &point, found)
        found += 1
    if is_phone:
        supply.phones = found
    else:
        supply.emails = found
    return 0


cdef bint _is_known(
    _Span entries, const _Field* field, const _Found* first, const _Found* found
) noexcept nogil:
    """Tell whether a point of the same owner before this one is the same.

    By normal form and extension; those that have no normal form by what was given.
    """
    cdef _Cursor cursor = _cursor(entries, 0)
    cdef _Field other
    cdef _Span mine = _name(found, field.body)
    while first < found and _entry(&cursor, &other):
        if _same(_name(first, other.body), mine) and _same(first.extension, found.extension):
            return True
        first += 1
    return False


cdef inline _Span _name(const _Found* found, _Span point) noexcept nogil:
    """Return the normal form of a point, or else its value, the first text of the message."""
    cdef _Cursor cursor = _cursor(point, 0)
    cdef _Field field
    if found.normal.at != found.normal.end or not _entry(&cursor, &field):
        return found.normal
    return field.body


cdef int _put_contacts(Out* out, _Span entries, _Supply* supply) except -1 nogil:
    """Write the contacts, whose ids are 1, 2, 3 …; return how many."""
    cdef _Cursor cursor = _cursor(entries, 0)
    cdef _Field field
    cdef _Contact contact
    cdef _Span id
    cdef unsigned char digits[VARINT_LIMIT]
    cdef Py_ssize_t start
    cdef int number = 0
    while _entry(&cursor, &field):
        number += 1
        id = _decimal(number, digits)
        _read_contact(field.body, &contact)
        start = open_message(out, CONTACTS, CONTACT_SIZE_GUESS)
        reserve(out, _field_size(CONTACT_ID, id))
        _put_field(out, CONTACT_ID, id)
        _copy(out, contact.names)
        _put_points(out, CONTACT_EMAILS, contact.emails, False, supply)
        _put_points(out, CONTACT_PHONES, contact.phones, True, supply)
        _copy(out, contact.preferences)
        close_message(out, start, CONTACT_SIZE_GUESS)
    return number


cdef _Span _decimal(int number, unsigned char* digits) noexcept nogil:
    """Write a number of at most ten digits from the end of `digits` on."""
    cdef _Span span
    span.end = digits + VARINT_LIMIT
    span.at = span.end
    while number:
        span.at -= 1
        (<unsigned char*>span.at)[0] = <unsigned char>(0x30 + number % 10)
        number //= 10
    return span


cdef void _read_contact(_Span span, _Contact* contact) noexcept nogil:
    """Find the parts of a contact that was surveyed before."""
    cdef _Cursor cursor = _cursor(span, <uint64_t>_size(span))
    cdef _Field field
    cdef Bytes edges[4]  # where names, e-mails, phones and preferences end
    cdef int index
    for index in range(4):
        edges[index] = span.at
    while cursor.at < cursor.end and _next(&cursor, _CONTACT, &field):
        for index in range(max(field.number - CONTACT_PRIMARY, 0), 4):
            edges[index] = cursor.at
    contact.names.at, contact.names.end = span.at, edges[0]
    contact.emails.at, contact.emails.end = edges[0], edges[1]
    contact.phones.at, contact.phones.end = edges[1], edges[2]
    contact.preferences.at, contact.preferences.end = edges[2], edges[3]


cdef _Span _encoded(text) except *:
    """Return the UTF-8 of a text, alive as long as the text."""
    cdef _Span span
    cdef Py_ssize_t size
    span.at = <Bytes>PyUnicode_AsUTF8AndSize(text, &size)
    span.end = span.at + size
    return span


cdef _Span _bytes(data) except *:
    cdef _Span span
    cdef char* at
    cdef Py_ssize_t size
    PyBytes_AsStringAndSize(data, &at, &size)
    span.at = <Bytes>at
    span.end = span.at + size
    return span


cdef void _read_point(_Span span, const _Rule* rules, _Point* point) noexcept nogil:
    """Find what is kept of a contact point that was surveyed before."""
    cdef _Cursor cursor = _cursor(span, <uint64_t>_size(span))
    cdef _Field field
    point.kind = 0
    point.has_verification = False
    point.value.at = point.value.end = point.middle.at = point.middle.end = span.at
    while cursor.at < cursor.end and _next(&cursor, rules, &field):
        if field.number == POINT_VALUE:
            point.value.end = cursor.at
            point.middle.at = point.middle.end = cursor.at
        elif field.number == POINT_NORMAL:
            point.middle.at = point.middle.end = cursor.at
        elif field.number <= POINT_VERIFICATION:
            point.middle.end = cursor.at
            if field.number == POINT_KIND:
                point.kind = <int>field.value
            point.has_verification = field.number == POINT_VERIFICATION
        else:
            break


cdef int _put_point(
    Out* out, int number, const _Point* point, const _Found* found
) except -1 nogil:
    """Write a contact point in the order of its fields."""
    cdef Py_ssize_t size = _size(point.value) + _size(point.middle)
    size += _text_size(POINT_NORMAL, found.normal)
    size += 0 if point.has_verification else 2
    size += _field_size(POINT_FINDING, found.finding)
    size += _text_size(PHONE_EXTENSION, found.extension)
    size += _text_size(PHONE_REGION, found.region)
    size += 1 + varint_size(found.type) if found.type else 0
    reserve(out, size + 2 * VARINT_LIMIT)
    put_head(out, number, size)
    _put(out, point.value)
    _put_text(out, POINT_NORMAL, found.normal)
    _put(out, point.middle)
    if not point.has_verification:
        put_number(out, POINT_VERIFICATION, VERIFICATION_UNVERIFIED)
    _put_field(out, POINT_FINDING, found.finding)
    _put_text(out, PHONE_EXTENSION, found.extension)
    _put_text(out, PHONE_REGION, found.region)
    if found.type:
        put_number(out, PHONE_TYPE, found.type)
    return 0


cdef inline int _copy(Out* out, _Span span) except -1 nogil:
    reserve(out, _size(span))
    _put(out, span)
    return 0


cdef inline void _put(Out* out, _Span span) noexcept nogil:
    put(out, span.at, _size(span))


cdef inline void _put_field(Out* out, int number, _Span body) noexcept nogil:
    put_bytes(out, number, body.at, _size(body))


cdef inline void _put_text(Out* out, int number, _Span text) noexcept nogil:
    if text.at != text.end:
        _put_field(out, number, text)


cdef inline Py_ssize_t _field_size(int number, _Span body) noexcept nogil:
    return bytes_size(number, _size(body))


cdef inline Py_ssize_t _text_size(int number, _Span text) noexcept nogil:
    return _field_size(number, text) if text.at != text.end else 0


# Batches: what `walk` and `Draft.seal` do, for all ordinary rows of a batch at once.

@cython.final
cdef class Batch:
    """An encoded batch: its ordinary rows, and the places and bytes of the others.

    `emails` and `phones` have the contact points of the ordinary rows as columns, those of a row
    together, its own before its contacts'; `regions` the country of each phone, None where no row
    has any. Raises `ValueError` where the framing of the rows is broken.
    """

    cdef readonly Py_ssize_t count  # of all rows
    cdef readonly Py_ssize_t ordinary
    cdef readonly list others
    cdef readonly Texts emails, phones, regions
    cdef bytes _batch
    cdef Extra _extra
    cdef _Row* _rows
    cdef int32_t* _places  # of the ordinary rows

    def __init__(self, bytes batch not None, Limits limits not None, Extra extra not None):
        cdef _Bounds bounds = _bounds(limits, extra)
        cdef _Cursor cursor = _whole(batch)
        cdef _Span* left
        cdef Py_ssize_t i, others
        _, self.count = outline(batch)
        self._batch, self._extra = batch, extra
        self._rows = <_Row*>calloc(max(self.count, 1), sizeof(_Row))
        self._places = <int32_t*>malloc(max(self.count, 1) * sizeof(int32_t))
        left = <_Span*>malloc(max(self.count, 1) * sizeof(_Span))
        try:
            if self._rows == NULL or self._places == NULL or left == NULL:
                raise MemoryError
            with nogil:
                self._survey(&cursor, &bounds, left)
            self.others = []
            others = 0
            for i in range(self.count):
                if i - others >= self.ordinary or self._places[i - others] != i:
                    span = left[others]
                    row = PyBytes_FromStringAndSize(<const char*>span.at, _size(span))
                    self.others.append((i, row))
                    others += 1
        finally:
            free(left)
        self._gather()

    def __dealloc__(self):
        free(self._rows)
        free(self._places)

    cdef void _survey(self, _Cursor* cursor, const _Bounds* bounds, _Span* left) noexcept nogil:
        cdef _Field field
        cdef Py_ssize_t place = 0, others = 0
        cdef _Row* row
        while cursor.at < cursor.end and place < self.count and _frame(cursor, &field):
            if field.number == BATCH_CUSTOMERS:
                row = &self._rows[self.ordinary]
                if _survey(field.body, bounds, row):
                    self._places[self.ordinary] = <int32_t>place
                    self.ordinary += 1
                else:
                    memset(row, 0, sizeof(_Row))
                    left[others] = field.body
                    others += 1
                place += 1

    cdef int _gather(self) except -1:
        """Collect the values of the contact points."""
        cdef Py_ssize_t i, emails = 0, phones = 0
        cdef bint has_regions = False
        for i in range(self.ordinary):
            emails += self._rows[i].emails
            phones += self._rows[i].phones
            has_regions |= self._rows[i].phones and _size(self._rows[i].region) > 0
        self.emails, self.phones = Texts(), Texts()
        self.emails._owner = self.phones._owner = self._batch
        self.emails._make_room(emails)
        self.phones._make_room(phones)
        if has_regions:
            self.regions = Texts()
            self.regions._owner = self._batch
            self.regions._make_room(phones)
        with nogil:
            self._read_points(has_regions)
        return 0

    cdef void _read_points(self, bint has_regions) noexcept nogil:
        cdef Py_ssize_t i, email = 0, phone = 0, first
        cdef const _Row* row
        cdef _Cursor contacts
        cdef _Field field
        cdef _Contact contact
        for i in range(self.ordinary):
            row, first = &self._rows[i], phone
            email = _read_values(_part(row.edges, SECTION_EMAILS), self.emails, email)
            phone = _read_values(_part(row.edges, SECTION_PHONES), self.phones, phone)
            contacts = _cursor(_part(row.edges, SECTION_CONTACTS), 0)
            while _entry(&contacts, &field):
                _read_contact(field.body, &contact)
                email = _read_values(contact.emails, self.emails, email)
                phone = _read_values(contact.phones, self.phones, phone)
            while has_regions and first < phone:
                self.regions.starts[first] = <const char*>row.region.at
                self.regions.sizes[first] = <int32_t>_size(row.region)
                first += 1

    def places(self):
        """Return where in the batch each ordinary row is."""
        return [self._places[i] for i in range(self.ordinary)]

    def card(self, Py_ssize_t index):
        """Return the card of an ordinary row, for one who decides about it alone."""
        if not 0 <= index < self.ordinary:
            raise IndexError(index)
        return _named(Card, (None, _text(self._rows[index].id), _text(self._rows[index].etag), (), ()))


cdef Py_ssize_t _read_values(_Span entries, Texts to, Py_ssize_t place) noexcept nogil:
    """Note the value of each contact point; return the place behind them."""
    cdef _Cursor cursor = _cursor(entries, 0)
    cdef _Cursor inner
    cdef _Field field, value
    while _entry(&cursor, &field) and place < to.count:
        inner = _cursor(field.body, 0)
        if not _entry(&inner, &value):
            value.body.at = value.body.end = field.body.at
        to.starts[place] = <const char*>value.body.at
        to.sizes[place] = <int32_t>_size(value.body)
        place += 1
    return place


cdef struct _Columns:  # of one channel, as `Judged` has them
    const char* normals
    const int32_t* normal_ends
    const char* keys
    const int32_t* key_ends
    _Found* found
    const int32_t* findings


@cython.final
cdef class Prepared:
    """The bodies of a batch's ordinary rows, and what the index keeps of them; see the .pxd."""

    def __init__(
        self,
        Batch batch not None,
        emails,
        phones,
        list findings not None,
        const int32_t[::1] email_findings,
        const int32_t[::1] phone_findings,
        bytes awaited not None,
        tuple region_names not None,
    ):
        """Write the bodies.

        `emails` and `phones` are what the parsers found of the batch's columns, `findings` the
        encoded ones, of which `email_findings` and `phone_findings` have the place for each point;
        `awaited` says by a byte for each finding whether it waits for the DNS. `region_names` are
        those that `phones.regions()` counts.
        """
        cdef Py_ssize_t count = batch.ordinary
        self.batch, self.count = batch, count
        _allocate(self, batch)
        cdef _Columns mail, call
        cdef _Found* found = <_Found*>calloc(
            max(batch.emails.count + batch.phones.count, 1), sizeof(_Found)
        )
        if found == NULL:
            raise MemoryError
        cdef const char* waits = PyBytes_AS_STRING(awaited)
        try:
            mail.found, call.found = found, found + batch.emails.count
            _supply(self, &mail, batch.emails, emails.normal, emails.keys, findings, email_findings)
            _supply(
                self, &call, batch.phones, phones.normals(), phones.keys(), findings, phone_findings
            )
            _supply_phones(self, call.found, batch.phones.count, phones, region_names)
            if len(awaited) != len(findings):
                raise ValueError("one byte for each finding")
            with nogil:
                _write(self, batch, &mail, &call, waits)
        finally:
            free(found)

    def __dealloc__(self):
        free(self.bodies)
        free(self.ends)
        free(self.ids)
        free(self.odd)
        free(self.contacts)
        free(self.keys)
        free(self.key_ends)
        free(self.awaited)
        free(self.awaited_ends)
        free(self._identities)

    def body(self, Py_ssize_t index):
        """Return the body of a row."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        cdef int64_t start = self.ends[index]
        return PyBytes_FromStringAndSize(
            <const char*>self.bodies + start, self.ends[index + 1] - start
        )

    def held(self, Py_ssize_t index):
        """Return what a row holds, as `Draft.seal` says."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        cdef Batch batch = self.batch
        cdef const Key* key
        cdef list own = [], others = [], mobiles = []
        cdef int64_t i
        for i in range(self.key_ends[index], self.key_ends[index + 1]):
            key = &self.keys[i]
            if key.kind == KEY_EMAIL or key.kind == KEY_PHONE:
                text = PyUnicode_DecodeUTF8(<const char*>key.text.at, key.text.size, NULL)
                points = own if key.asked & (BY_EMAIL | BY_PHONE) else others
                points.append((_EMAIL if key.kind == KEY_EMAIL else _PHONE, text))
                if key.asked & IS_MOBILE:
                    mobiles.append(text)
        awaited = [
            PyUnicode_DecodeUTF8(<const char*>self.awaited[i].at, self.awaited[i].size, NULL)
            for i in range(self.awaited_ends[index], self.awaited_ends[index + 1])
        ]
        return _named(
            Held,
            (
                "",
                "",
                (*own, *others),
                _identities(batch._rows[index].edges),
                tuple(awaited),
                frozenset(mobiles),
                len(own),
                batch._rows[index].kind == KIND_COMPANY,
            ),
        )

    def assumed(self, Py_ssize_t index):
        """Return the fields that a row does not have and its body has."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        cdef Batch batch = self.batch
        return _assumed(batch._rows[index].kind, batch._rows[index].state)

    def numbered(self, Py_ssize_t index):
        """Return the contacts of a row whose ids are the server's: all."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        return tuple(range(self.contacts[index]))

    def columns(self):
        """Return what is compared of the rows."""
        cdef Columns made = Columns.__new__(Columns)
        cdef _Span* spans = <_Span*>malloc(max(self.count, 1) * sizeof(_Span))
        cdef Py_ssize_t i
        if spans == NULL:
            raise MemoryError
        try:
            for i in range(self.count):
                spans[i].at = self.bodies + self.ends[i]
                spans[i].end = self.bodies + self.ends[i + 1]
            made._fill(self, spans, self.count)
        finally:
            free(spans)
        return made

    def compare_by(self, Packed features not None):
        """Take the packed features of the rows, made of `columns`."""
        if features.count != self.count:
            raise ValueError("features of each row")
        self.features = features


cdef int _allocate(Prepared made, Batch batch) except -1:
    cdef Py_ssize_t count = batch.ordinary, i, keys = 0, identities = 0
    for i in range(count):
        keys += batch._rows[i].identities
        identities += _size(_part(batch._rows[i].edges, SECTION_IDENTITIES))
    keys += 2 * (batch.emails.count + batch.phones.count)
    made._kept = []
    made.ends = <int64_t*>calloc(count + 1, sizeof(int64_t))
    made.ids = <Text*>calloc(count + 1, sizeof(Text))
    made.odd = <uint8_t*>calloc(count + 1, 1)
    made.contacts = <int32_t*>calloc(count + 1, sizeof(int32_t))
    made.keys = <Key*>malloc((keys + 1) * sizeof(Key))
    made.key_ends = <int64_t*>calloc(count + 1, sizeof(int64_t))
    made.awaited = <Text*>malloc((batch.emails.count + 1) * sizeof(Text))
    made.awaited_ends = <int64_t*>calloc(count + 1, sizeof(int64_t))
    made._identities = <char*>malloc(identities + 1)
    if (
        not made.ends or not made.ids or not made.odd or not made.contacts or not made.keys
        or not made.key_ends or not made.awaited or not made.awaited_ends
        or not made._identities
    ):
        raise MemoryError
    return 0


cdef int _supply(
    Prepared made,
    _Columns* to,
    Texts points,
    Column normals,
    Column keys,
    list findings,
    const int32_t[::1] places,
) except -1:
    """Note what was found of the points of a channel."""
    cdef Py_ssize_t i, count = points.count
    if normals.count != count or keys.count != count or places.shape[0] != count:
        raise ValueError("one result for each contact point")
    made._kept += (normals, keys, findings)
    to.normals, to.normal_ends = normals._bytes, normals._offsets
    to.keys, to.key_ends = keys._bytes, keys._offsets
    to.findings = &places[0] if count else NULL
    for i in range(count):
        if not 0 <= places[i] < len(findings):
            raise IndexError("there is no such finding")
        to.found[i].finding = _bytes(findings[places[i]])
        to.found[i].normal = _at(to.normals, to.normal_ends, i)
    return 0


cdef int _supply_phones(
    Prepared made, _Found* found, Py_ssize_t count, phones, tuple region_names
) except -1:
    cdef bytes types = phones.types(), regions = phones.regions()
    cdef Column extensions = phones.extensions
    cdef const uint16_t* region = <const uint16_t*>PyBytes_AS_STRING(regions)
    cdef const char* type = PyBytes_AS_STRING(types)
    cdef Py_ssize_t i
    if len(types) != count or len(regions) != 2 * count:
        raise ValueError("one result for each contact point")
    made._kept += (extensions, region_names)
    for i in range(count):
        found[i].type = <uint8_t>type[i]
        if region[i]:
            found[i].region = _bytes(region_names[region[i]])
        if extensions._used:
            found[i].extension = _at(extensions._bytes, extensions._offsets, i)
    return 0


cdef int _write(
    Prepared made, Batch batch, _Columns* mail, _Columns* call, const char* waits
) except -1 nogil:
    cdef Out out
    cdef _Supply supply
    cdef const _Row* row
    cdef Py_ssize_t i, emails = 0, phones = 0, keys = 0, awaited = 0
    cdef char* identities = made._identities
    memset(&out, 0, sizeof(out))
    supply.emails, supply.phones = mail.found, call.found
    for i in range(made.count):
        row = &batch._rows[i]
        try:
            made.contacts[i] = _put_body(
                &out, row.edges, row.kind, row.state, &batch._extra.added, &supply
            )
        finally:
            made.bodies = out.start  # what is freed, whatever happens
        made.ends[i + 1] = out.size
        made.ids[i].at, made.ids[i].size = row.id.at, _size(row.id)
        made.odd[i] = row.etag.at != row.etag.end
        keys = _add_point_keys(made, mail, emails, row.emails, row.own_emails, KEY_EMAIL, keys)
        keys = _add_point_keys(made, call, phones, row.phones, row.own_phones, KEY_PHONE, keys)
        if row.identities:
            keys = _add_identities(made, row, keys, &identities)
        made.key_ends[i + 1] = _distinct(made, made.key_ends[i], keys)
        keys = made.key_ends[i + 1]
        awaited = _add_awaited(made, mail, emails, row.emails, waits, awaited)
        made.awaited_ends[i + 1] = awaited
        emails += row.emails
        phones += row.phones
    return 0


cdef Py_ssize_t _add_point_keys(
    Prepared made,
    const _Columns* points,
    Py_ssize_t first,
    Py_ssize_t count,
    Py_ssize_t own,
    uint8_t kind,
    Py_ssize_t keys,
) noexcept nogil:
    """Add the keys of a row's e-mails or phones: normal forms, and match keys that differ."""
    cdef Py_ssize_t i
    cdef const _Found* found
    cdef _Span shared
    cdef uint8_t asked
    for i in range(first, first + count):
        found = &points.found[i]
        if found.normal.at == found.normal.end:
            continue
        asked = IS_MOBILE if found.is_mobile else 0
        if i < first + own:
            asked |= BY_EMAIL if kind == KEY_EMAIL else BY_PHONE
        keys = _add_key(made, kind, found.normal, asked, keys)
        shared = _at(points.keys, points.key_ends, i)
        if not _same(shared, found.normal):
            keys = _add_key(made, kind + 1, shared, 0, keys)
    return keys


cdef inline Py_ssize_t _add_key(
    Prepared made, uint8_t kind, _Span text, uint8_t asked, Py_ssize_t keys
) noexcept nogil:
    made.keys[keys].kind, made.keys[keys].asked = kind, asked
    made.keys[keys].text.at, made.keys[keys].text.size = text.at, _size(text)
    return keys + 1


cdef Py_ssize_t _add_identities(
    Prepared made, const _Row* row, Py_ssize_t keys, char** to
) noexcept nogil:
    """Add the keys of a row's identities: type, NUL, value."""
    cdef _Cursor cursor = _cursor(_part(row.edges, SECTION_IDENTITIES), 0)
    cdef _Cursor inner
    cdef _Field field, type, value
    cdef _Span text
    while _entry(&cursor, &field):
        if field.number != IDENTITIES:
            break
        inner = _cursor(field.body, 0)
        if not _entry(&inner, &type) or not _entry(&inner, &value):
            continue
        text.at = <Bytes>to[0]
        memcpy(to[0], type.body.at, _size(type.body))
        to[0] += _size(type.body)
        to[0][0] = 0
        memcpy(to[0] + 1, value.body.at, _size(value.body))
        to[0] += 1 + _size(value.body)
        text.end = <Bytes>to[0]
        keys = _add_key(made, KEY_OTHER, text, BY_IDENTITY, keys)
    return keys


cdef Py_ssize_t _distinct(Prepared made, Py_ssize_t first, Py_ssize_t end) noexcept nogil:
    """Leave of equal keys the first, which is asked for as all are; return the new end."""
    cdef Py_ssize_t i, j, kept = first
    cdef Key* one
    for i in range(first, end):
        one = &made.keys[i]
        for j in range(first, kept):
            if (
                made.keys[j].kind == one.kind
                and made.keys[j].text.size == one.text.size
                and memcmp(made.keys[j].text.at, one.text.at, one.text.size) == 0
            ):
                made.keys[j].asked |= one.asked
                break
        else:
            made.keys[kept] = one[0]
            kept += 1
    for i in range(first, kept):
        if made.keys[i].asked & BY_PHONE and made.keys[i].asked & IS_MOBILE:
            made.keys[i].asked |= BY_MOBILE
    return kept


cdef Py_ssize_t _add_awaited(
    Prepared made,
    const _Columns* mail,
    Py_ssize_t first,
    Py_ssize_t count,
    const char* waits,
    Py_ssize_t awaited,
) noexcept nogil:
    """Add the domains of e-mails whose finding waits for the DNS."""
    cdef Py_ssize_t i
    cdef _Span normal
    cdef Bytes at
    for i in range(first, first + count):
        normal = mail.found[i].normal
        if not waits[mail.findings[i]] or normal.at == normal.end:
            continue
        at = normal.end
        while at > normal.at and (at - 1)[0] != 0x40:
            at -= 1
        made.awaited[awaited].at, made.awaited[awaited].size = at, normal.end - at
        awaited += 1
    return awaited


# Whether a row says something new.

cdef enum:  # kinds of messages that are compared
    OF_CUSTOMER = 1
    OF_CONTACT = 2
    OF_POINT = 3
    FINDING_REASON = 2
    FINDING_TIMES = 9  # and 10: no substance


def adds_nothing(bytes record not None, bytes body not None):
    """Tell whether a body is surely that of a record, but for what an import would not change.

    Which are times of findings, and findings that wait for the DNS where the record knows more.
    False says nothing.
    """
    return _adds_nothing(_whole_span(record), _whole_span(body), OF_CUSTOMER)


cdef bint _adds_nothing(_Span stored, _Span given, int kind) noexcept nogil:
    cdef _Cursor old = _cursor(stored, 0), new = _cursor(given, 0)
    cdef _Field one, other
    cdef int inner
    while new.at < new.end:
        if not _raw(&old, &one) or not _raw(&new, &other) or one.value != other.value:
            return False
        inner = _kind_within(kind, one.number)
        if inner:
            if not _adds_nothing(one.body, other.body, inner):
                return False
        elif kind == OF_POINT and one.number == POINT_FINDING:
            if not _finds_nothing(one.body, other.body):
                return False
        elif old.at - one.start != new.at - other.start or memcmp(
            one.start, other.start, old.at - one.start
        ):
            return False
    if kind != OF_CUSTOMER:
        return old.at == old.end
    return _raw(&old, &one) and one.number == ID  # what the writer appended begins


cdef inline int _kind_within(int kind, int number) noexcept nogil:
    """Return which kind of message a field has that is compared field by field, 0 for none."""
    if kind == OF_CUSTOMER:
        if number == CONTACTS:
            return OF_CONTACT
        return OF_POINT if number == EMAILS or number == PHONES else 0
    if kind == OF_CONTACT and (number == CONTACT_EMAILS or number == CONTACT_PHONES):
        return OF_POINT
    return 0


cdef bint _finds_nothing(_Span stored, _Span given) noexcept nogil:
    cdef _Cursor old = _cursor(stored, 0), new = _cursor(given, 0)
    cdef _Field one, other
    cdef bint has_old, has_new
    if _awaits(given) and not _awaits(stored):
        return True
    while True:
        has_old, has_new = _substance(&old, &one), _substance(&new, &other)
        if not has_old or not has_new:
            return has_old == has_new and old.at == old.end and new.at == new.end
        if one.value != other.value or old.at - one.start != new.at - other.start:
            return False
        if memcmp(one.start, other.start, old.at - one.start):
            return False


cdef bint _substance(_Cursor* cursor, _Field* field) noexcept nogil:
    """Read the next field of a finding that is no time; false at the end."""
    while _raw(cursor, field):
        if field.number != FINDING_TIMES and field.number != FINDING_TIMES + 1:
            return True
    return False


cdef bint _awaits(_Span finding) noexcept nogil:
    cdef _Cursor cursor = _cursor(finding, 0)
    cdef _Field field
    cdef uint64_t reason
    while _raw(&cursor, &field):
        if field.number == FINDING_REASON:
            cursor.at = field.body.at
            return _varint(&cursor, &reason) and (
                reason == <uint64_t>_AWAITED_PENDING or reason == <uint64_t>_AWAITED_UNKNOWN
            )
    return False


cdef bint _raw(_Cursor* cursor, _Field* field) noexcept nogil:
    """Read any field but a group: its tag as the value, and what follows it as the body."""
    cdef uint64_t size
    field.start = cursor.at
    if cursor.at >= cursor.end or not _varint(cursor, &field.value):
        return False
    field.number = <int>(field.value >> 3)
    if field.value & 7 == LENGTH:
        return _varint(cursor, &size) and _body(cursor, size, &field.body)
    field.body.at = cursor.at
    if field.value & 7 == VARINT:
        if not _varint(cursor, &size):
            return False
    elif field.value & 7 == FIXED64 or field.value & 7 == FIXED32:
        if not _body(cursor, 8 if field.value & 7 == FIXED64 else 4, &field.body):
            return False
    else:
        return False
    field.body.end = cursor.at
    return True


cdef Py_ssize_t stamp(
    unsigned char* to, Text body, Text id, uint64_t sequence, Text times
) noexcept nogil:
    """Write a record as `Codec.stamp` does; return its size.

    There is room for body, id, `times` (the encoded times of the record) and STAMP_BYTES.
    """
    cdef Out out
    cdef _Span span
    cdef unsigned char[16] digits
    out.start, out.size, out.capacity = to, 0, 0
    span.at, span.end = body.at, body.at + body.size
    _put(&out, span)
    span.at, span.end = id.at, id.at + id.size
    _put_field(&out, ID, span)
    span.end = <Bytes>digits + 16
    span.at = span.end
    while sequence:
        span.at -= 1
        (<unsigned char*>span.at)[0] = b"0123456789abcdef"[sequence & 15]
        sequence >>= 4
    _put_field(&out, ETAG, span)
    span.at, span.end = times.at, times.at + times.size
    _put(&out, span)
    return out.size


cdef inline _Span _at(const char* texts, const int32_t* offsets, Py_ssize_t index) noexcept nogil:
    """Return a text of a column."""
    cdef _Span span
    span.at, span.end = <Bytes>texts + offsets[index], <Bytes>texts + offsets[index + 1]
    return span


# What is compared of stored customers.

cdef struct _Compared:
    _Span first, middle, last, company, city, postcode
    _Span lines[ADDRESS_LINES_LIMIT]
    _Span emails[POINTS]
    _Span phones[POINTS]
    int line_count, email_count, phone_count
    int kind
    bint has_address, is_primary  # of the address taken
    bint is_broken
    uint32_t birth
    uint8_t gender


cdef bint _read(_Cursor* cursor, const _Rule* rules, _Field* field) noexcept nogil:
    """Read the next field, of any number and type, in any order; false if it is broken.

    The number is 0 of one that is not known, or not of this type. Groups count as broken.
    """
    cdef uint64_t tag, size
    cdef int type
    field.start = cursor.at
    if not _varint(cursor, &tag) or tag >> 3 == 0 or tag >> 3 > 0x1FFFFFFF:
        return False
    type = tag & 7
    field.number = 0
    if tag >> 3 < FIELDS_LIMIT and (rules[tag >> 3].shape == NUMBER) == (type == VARINT):
        field.number = <int>(tag >> 3)
    if type == VARINT:
        return _varint(cursor, &field.value)
    if type == LENGTH:
        if not _varint(cursor, &size):
            return False
        return _body(cursor, size, &field.body)
    field.number = 0
    return (type == FIXED64 and _body(cursor, 8, &field.body)) or (
        type == FIXED32 and _body(cursor, 4, &field.body)
    )


cdef bint _compared(_Span span, _Compared* one) noexcept nogil:
    """Find in a stored customer what is compared of it; false where it is broken."""
    cdef _Cursor cursor = _cursor(span, 0)
    cdef _Field field
    memset(one, 0, sizeof(_Compared))
    while cursor.at < cursor.end:
        field.body.at = field.body.end = NULL
        field.value = 0
        if not _read(&cursor, _CUSTOMER, &field):
            return False
        if field.number == KIND:
            one.kind = <int>field.value
        elif field.number == GENDER:
            if field.value == GENDER_FEMALE:
                one.gender = 2
            elif field.value == GENDER_MALE:
                one.gender = 1
            else:
                one.gender = 0
        elif field.number == FIRST_NAME:
            one.first = field.body
        elif field.number == MIDDLE_NAME:
            one.middle = field.body
        elif field.number == LAST_NAME:
            one.last = field.body
        elif field.number == COMPANY_NAME:
            one.company = field.body
        elif field.number == BIRTH_DATE:
            if not _compared_date(field.body, &one.birth):
                return False
        elif field.number == EMAILS:
            if not _compared_point(field.body, one.emails, &one.email_count):
                return False
        elif field.number == PHONES:
            if not _compared_point(field.body, one.phones, &one.phone_count):
                return False
        elif field.number == ADDRESSES:
            if not _compared_address(field.body, one):
                return False
    return True


cdef bint _compared_date(_Span span, uint32_t* date) noexcept nogil:
    cdef _Cursor cursor = _cursor(span, 0)
    cdef _Field field
    cdef uint64_t parts[DATE_DAY + 1]
    memset(parts, 0, sizeof(parts))
    while cursor.at < cursor.end:
        field.value = 0
        if not _read(&cursor, _DATE, &field):
            return False
        if DATE_YEAR <= field.number <= DATE_DAY:
            parts[field.number] = field.value
    if parts[DATE_YEAR] > 9_999 or parts[DATE_MONTH] > 12 or parts[DATE_DAY] > 31:
        return False
    if parts[DATE_YEAR]:  # a day without a year says too little
        date[0] = parts[DATE_YEAR] << 9 | parts[DATE_MONTH] << 5 | parts[DATE_DAY]
    return True


cdef bint _compared_point(_Span span, _Span* points, int* count) noexcept nogil:
    """Note the normal form of a contact point that has one."""
    cdef _Cursor cursor = _cursor(span, 0)
    cdef _Field field
    cdef _Span normal
    normal.at = normal.end = NULL
    while cursor.at < cursor.end:
        field.body = normal
        if not _read(&cursor, _EMAIL_ADDRESS, &field):
            return False
        if field.number == POINT_NORMAL:
            normal = field.body
    if _size(normal) and count[0] < POINTS:
        points[count[0]] = normal
        count[0] += 1
    return True


cdef bint _compared_address(_Span span, _Compared* one) noexcept nogil:
    """Take the primary address, or else the first."""
    cdef _Cursor cursor = _cursor(span, 0)
    cdef _Field field
    cdef _Span city, postcode
    cdef _Span lines[ADDRESS_LINES_LIMIT]
    cdef int count = 0
    cdef bint is_primary = False
    city.at = city.end = postcode.at = postcode.end = NULL
    while cursor.at < cursor.end:
        field.value = 0
        field.body.at = field.body.end = NULL
        if not _read(&cursor, _POSTAL_ADDRESS, &field):
            return False
        if field.number == ADDRESS_PRIMARY:
            is_primary = field.value != 0
        elif field.number == ADDRESS_LINES and count < ADDRESS_LINES_LIMIT:
            lines[count] = field.body
            count += 1
        elif field.number == ADDRESS_CITY:
            city = field.body
        elif field.number == ADDRESS_POSTCODE:
            postcode = field.body
    if one.has_address and (one.is_primary or not is_primary):
        return True
    one.has_address, one.is_primary = True, is_primary
    one.city, one.postcode, one.line_count = city, postcode, count
    memcpy(one.lines, lines, count * sizeof(_Span))
    return True


@cython.final
cdef class Columns:
    """What is compared of customers, as columns: texts as they are in the records.

    `emails` and `phones` are columns of normal forms, as many as the customer with the most has,
    up to POINTS. `births` are uint32 (year << 9 | month << 5 | day, parts 0 where not known),
    `genders` uint8 (1 male, 2 female, 0 unknown), in bytes of this machine. `broken` has the
    places of records that are no messages; they have nothing. Of a company no name is compared.
    """

    cdef readonly Py_ssize_t count
    cdef readonly Texts first, middle, last, company, street, city, postcode
    cdef readonly list emails, phones, broken
    cdef readonly bytearray births, genders

    def __init__(self, records):
        """Read encoded customers: a sequence of `bytes`."""
        cdef list owner = list(records)
        cdef Py_ssize_t row
        cdef _Span* spans = <_Span*>malloc(max(len(owner), 1) * sizeof(_Span))
        if spans == NULL:
            raise MemoryError
        try:
            for row in range(len(owner)):
                spans[row] = _whole_span(owner[row])
            self._fill(owner, spans, len(owner))
        finally:
            free(spans)

    cdef int _fill(self, owner, const _Span* records, Py_ssize_t count) except -1:
        """Read records, which `owner` keeps alive."""
        cdef _Compared* every = <_Compared*>calloc(max(count, 1), sizeof(_Compared))
        cdef Py_ssize_t row
        cdef int i, emails = 0, phones = 0
        cdef uint32_t* births
        cdef uint8_t* genders
        if every == NULL:
            raise MemoryError
        self.count = count
        self.broken = []
        self.births, self.genders = bytearray(4 * count), bytearray(count)
        births = <uint32_t*>PyByteArray_AS_STRING(self.births)
        genders = <uint8_t*>PyByteArray_AS_STRING(self.genders)
        try:
            if count <= FEW:
                self._compare(records, every, births, genders)
            else:
                with nogil:
                    self._compare(records, every, births, genders)
            for row in range(count):
                if every[row].is_broken:
                    self.broken.append(row)
                emails = max(emails, every[row].email_count)
                phones = max(phones, every[row].phone_count)
            self.first = _texts(owner, every, count, &every.first)
            self.middle = _texts(owner, every, count, &every.middle)
            self.last = _texts(owner, every, count, &every.last)
            self.company = _texts(owner, every, count, &every.company)
            self.city = _texts(owner, every, count, &every.city)
            self.postcode = _texts(owner, every, count, &every.postcode)
            self.street = _streets(owner, every, count)
            self.emails = [_texts(owner, every, count, &every.emails[i]) for i in range(emails)]
            self.phones = [_texts(owner, every, count, &every.phones[i]) for i in range(phones)]
        finally:
            free(every)
        return 0

    cdef void _compare(
        self, const _Span* records, _Compared* every, uint32_t* births, uint8_t* genders
    ) noexcept nogil:
        cdef Py_ssize_t row
        for row in range(self.count):
            if not _compared(records[row], &every[row]):
                memset(&every[row], 0, sizeof(_Compared))
                every[row].is_broken = True
            if every[row].kind == KIND_COMPANY:
                memset(&every[row].first, 0, 3 * sizeof(_Span))
                every[row].birth = every[row].gender = 0
            births[row], genders[row] = every[row].birth, every[row].gender


cdef _Span _whole_span(bytes record) except *:
    cdef _Cursor cursor = _whole(record)
    cdef _Span span
    span.at, span.end = cursor.at, cursor.end
    return span


cdef Texts _texts(owner, const _Compared* every, Py_ssize_t count, const _Span* first):
    """Return a column: the span that stands where `first` does in the first of `every`."""
    cdef Texts made = Texts()
    cdef Py_ssize_t row
    cdef const _Span* span
    made._owner = owner
    made._make_room(count)
    for row in range(count):
        span = <const _Span*>(<const char*>first + row * sizeof(_Compared))
        made.starts[row], made.sizes[row] = <const char*>span.at, <int32_t>_size(span[0])
    return made


cdef Texts _streets(owner, const _Compared* every, Py_ssize_t count):
    """Return the lines of the addresses, a blank between two."""
    cdef Texts made = _texts(owner, every, count, &every.lines[0])
    cdef Py_ssize_t row
    cdef int i
    for row in range(count):
        if every[row].line_count > 1:
            joined = b" ".join(
                [
                    PyBytes_FromStringAndSize(
                        <const char*>every[row].lines[i].at, _size(every[row].lines[i])
                    )
                    for i in range(every[row].line_count)
                ]
            )
            made._spare.append(joined)
            made.starts[row], made.sizes[row] = PyBytes_AS_STRING(joined), len(joined)
        elif every[row].line_count == 0:
            made.starts[row], made.sizes[row] = NULL, 0
    return made
