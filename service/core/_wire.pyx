# cython: language_level=3, boundscheck=False, wraparound=False, annotation_typing=False
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
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset

from service.core._text cimport Texts
from service.core.model import Card, Channel, Held, Identity, Point, Reason, Sealed

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

ctypedef const unsigned char* Bytes

cdef enum:  # wire types
    VARINT = 0
    FIXED64 = 1
    LENGTH = 2
    FIXED32 = 5

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
    VARINT_LIMIT = 10  # bytes
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
        return _take_point(field.body, _EMAIL_ADDRESS, bounds, &row.primary_emails)
    elif number == PHONES:
        row.points += 1
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
            if not _take_point(field.body, _EMAIL_ADDRESS, bounds, &primary_emails):
                return False
        elif field.number == CONTACT_PHONES:
            row.points += 1
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


@cython.final
cdef class Extra:
    """What an import adds to every row: words that follow the row's own."""

    cdef tuple words  # encoded, of each list in the order of its field; the same once
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
                self.size += WORD_TAG_SIZE + _varint_size(len(part)) + len(part)
                self.longest = max(self.longest, len(part))
                self.is_broken |= not part or b"\0" in part
            encoded.append(tuple(dict.fromkeys(parts)))
        self.words = tuple(encoded)


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
    draft.identities = _identities(draft) if row.identities else ()
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


cdef tuple _identities(Draft draft):
    cdef _Cursor cursor = draft.section(SECTION_IDENTITIES)
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

cdef struct _Out:
    unsigned char* start
    Py_ssize_t size
    Py_ssize_t capacity

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
        cdef _Out out
        cdef _Checks checks
        cdef int contacts = 0
        memset(&out, 0, sizeof(out))
        if self.batch is None:
            raise TypeError("made by walk")
        try:
            _reserve(&out, self.edges[SECTIONS] - self.edges[0] + self.extra.size + 256)
            _put_number(&out, KIND, self.kind or KIND_PERSON)
            _put_number(&out, STATE, self.state or STATE_ACTIVE)
            _copy(&out, self.span(SECTION_PLAIN))
            checks = _Checks(checked, encode_finding)
            _put_points(&out, EMAILS, self.span(SECTION_EMAILS), False, checks)
            _put_points(&out, PHONES, self.span(SECTION_PHONES), True, checks)
            _copy(&out, self.span(SECTION_ADDRESSES))
            contacts = _put_contacts(&out, self.section(SECTION_CONTACTS), checks)
            if checks.used != len(checked):
                raise ValueError("more results than contact points")
            _copy(&out, self.span(SECTION_IDENTITIES))
            self._put_words(&out)
            body = PyBytes_FromStringAndSize(<const char*>out.start, out.size)
        finally:
            PyMem_Free(out.start)
        held = self._held(checked, checks.mobiles)
        return _named(Sealed, (body, held, self._assumed(), tuple(range(contacts)), None))

    cdef tuple _assumed(self):
        """Return the fields that the row does not have and its body has."""
        if self.kind:
            return () if self.state else ("state",)
        return ("kind",) if self.state else ("kind", "state")

    cdef int _put_words(self, _Out* out) except -1:
        """Write the lists of words: the row's own, then those that are added and not there."""
        cdef int index
        cdef _Field word
        cdef Bytes start
        for index in range(WORD_LISTS):
            _copy(out, self.span(SECTION_WORDS + index))
            start = self.edges[SECTION_WORDS + index]
            for added in <tuple>self.extra.words[index]:
                word.number = TAGS + index
                word.start = self.edges[SECTION_WORDS + index + 1]
                word.body = _bytes(added)
                if not _is_repeated(start, &word):
                    _reserve(out, _field_size(TAGS + index, word.body))
                    _put_field(out, TAGS + index, word.body)
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


@cython.final
cdef class _Checks:
    """Results on their way into a row, and what shows on the way."""

    cdef list checked
    cdef object encode_finding
    cdef Py_ssize_t used
    cdef list mobiles  # normal forms of mobile phones, by kind or type

    def __init__(self, list checked, encode_finding):
        self.checked = checked
        self.encode_finding = encode_finding
        self.mobiles = []

    cdef object next(self):
        if self.used >= len(self.checked):
            raise ValueError("fewer results than contact points")
        self.used += 1
        return self.checked[self.used - 1]


cdef int _put_points(
    _Out* out, int number, _Span entries, bint is_phone, _Checks checks
) except -1:
    """Write the e-mails or phones of one owner, the same once."""
    cdef const _Rule* rules = &_PHONE_NUMBER[0] if is_phone else &_EMAIL_ADDRESS[0]
    cdef _Cursor cursor = _cursor(entries, 0)
    cdef _Field field
    cdef _Point point
    cdef _Found found
    cdef set seen = None
    while _entry(&cursor, &field):
        one = checks.next()
        finding = checks.encode_finding(one.finding)
        normal = one.normal
        extension = one.extension if is_phone else ""
        region = one.region if is_phone else ""
        _read_point(field.body, rules, &point)
        found.normal = _encoded(normal)
        found.finding = _bytes(finding)
        found.extension = _encoded(extension)
        found.region = _encoded(region)
        found.type = (one.phone_type or 0) if is_phone else 0
        if is_phone and normal and (
            point.kind == CONTACT_KIND_MOBILE or found.type == PHONE_TYPE_MOBILE
        ):
            checks.mobiles.append(normal)
        if cursor.at < cursor.end or seen is not None:  # there are several
            if seen is None:
                seen = set()
            key = (normal or _value(field.body), extension)
            if key in seen:
                continue
            seen.add(key)
        _put_point(out, number, &point, &found)
    return 0


cdef int _put_contacts(_Out* out, _Cursor cursor, _Checks checks) except -1:
    """Write the contacts, whose ids are 1, 2, 3 …; return how many."""
    cdef _Field field
    cdef _Contact contact
    cdef _Span id
    cdef Py_ssize_t start
    cdef int number = 0
    while _entry(&cursor, &field):
        number += 1
        name = b"%d" % number
        id = _bytes(name)
        _read_contact(field.body, &contact)
        start = _open(out, CONTACTS)
        _reserve(out, _field_size(CONTACT_ID, id))
        _put_field(out, CONTACT_ID, id)
        _copy(out, contact.names)
        _put_points(out, CONTACT_EMAILS, contact.emails, False, checks)
        _put_points(out, CONTACT_PHONES, contact.phones, True, checks)
        _copy(out, contact.preferences)
        _close(out, start)
    return number


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


cdef int _put_point(_Out* out, int number, const _Point* point, const _Found* found) except -1:
    """Write a contact point in the order of its fields."""
    cdef Py_ssize_t size = _size(point.value) + _size(point.middle)
    size += _text_size(POINT_NORMAL, found.normal)
    size += 0 if point.has_verification else 2
    size += _field_size(POINT_FINDING, found.finding)
    size += _text_size(PHONE_EXTENSION, found.extension)
    size += _text_size(PHONE_REGION, found.region)
    size += 1 + _varint_size(found.type) if found.type else 0
    _reserve(out, size + 2 * VARINT_LIMIT)
    _put_varint(out, number << 3 | LENGTH)
    _put_varint(out, size)
    _put(out, point.value)
    _put_text(out, POINT_NORMAL, found.normal)
    _put(out, point.middle)
    if not point.has_verification:
        _put_number(out, POINT_VERIFICATION, VERIFICATION_UNVERIFIED)
    _put_field(out, POINT_FINDING, found.finding)
    _put_text(out, PHONE_EXTENSION, found.extension)
    _put_text(out, PHONE_REGION, found.region)
    if found.type:
        _put_number(out, PHONE_TYPE, found.type)
    return 0


cdef int _reserve(_Out* out, Py_ssize_t more) except -1:
    """Make room for `more` bytes; what is written after it is not checked again."""
    cdef Py_ssize_t capacity
    cdef void* grown
    if out.capacity - out.size >= more:
        return 0
    capacity = max(out.size + more, 2 * out.capacity)
    grown = PyMem_Realloc(out.start, capacity)
    if grown == NULL:
        raise MemoryError
    out.start = <unsigned char*>grown
    out.capacity = capacity
    return 0


cdef inline int _copy(_Out* out, _Span span) except -1:
    _reserve(out, _size(span))
    _put(out, span)
    return 0


cdef inline void _put(_Out* out, _Span span) noexcept nogil:
    memcpy(out.start + out.size, span.at, _size(span))
    out.size += _size(span)


cdef Py_ssize_t _open(_Out* out, int number) except -1:
    """Begin a message whose size is not known yet; return where its content begins."""
    _reserve(out, 2 * VARINT_LIMIT)
    _put_varint(out, number << 3 | LENGTH)
    out.size += VARINT_LIMIT  # room for the size
    return out.size


cdef void _close(_Out* out, Py_ssize_t start) noexcept nogil:
    """Write the size of a message before it, and move it there."""
    cdef Py_ssize_t size = out.size - start
    out.size = start - VARINT_LIMIT
    _put_varint(out, size)
    memmove(out.start + out.size, out.start + start, size)
    out.size += size


cdef inline void _put_varint(_Out* out, uint64_t value) noexcept nogil:
    while value > 0x7F:
        out.start[out.size] = <unsigned char>(value & 0x7F | 0x80)
        out.size += 1
        value >>= 7
    out.start[out.size] = <unsigned char>value
    out.size += 1


cdef inline void _put_number(_Out* out, int number, uint64_t value) noexcept nogil:
    _put_varint(out, number << 3 | VARINT)
    _put_varint(out, value)


cdef inline void _put_field(_Out* out, int number, _Span body) noexcept nogil:
    _put_varint(out, number << 3 | LENGTH)
    _put_varint(out, _size(body))
    _put(out, body)


cdef inline void _put_text(_Out* out, int number, _Span text) noexcept nogil:
    if text.at != text.end:
        _put_field(out, number, text)


cdef inline Py_ssize_t _varint_size(uint64_t value) noexcept nogil:
    cdef Py_ssize_t size = 1
    while value > 0x7F:
        value >>= 7
        size += 1
    return size


cdef inline Py_ssize_t _field_size(int number, _Span body) noexcept nogil:
    return _varint_size(number << 3) + _varint_size(_size(body)) + _size(body)


cdef inline Py_ssize_t _text_size(int number, _Span text) noexcept nogil:
    return _field_size(number, text) if text.at != text.end else 0


# What is compared of stored customers.

cdef struct _Compared:
    _Span first, middle, last, company, city, postcode
    _Span lines[ADDRESS_LINES_LIMIT]
    _Span emails[POINTS]
    _Span phones[POINTS]
    int line_count, email_count, phone_count
    int kind
    bint has_address, is_primary  # of the address taken
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
        cdef int i, emails = 0, phones = 0
        cdef _Compared* every
        cdef uint32_t* births
        cdef uint8_t* genders
        self.count = len(owner)
        self.broken = []
        self.births, self.genders = bytearray(4 * self.count), bytearray(self.count)
        every = <_Compared*>PyMem_Realloc(NULL, max(self.count, 1) * sizeof(_Compared))
        if every == NULL:
            raise MemoryError
        try:
            births = <uint32_t*>PyByteArray_AS_STRING(self.births)
            genders = <uint8_t*>PyByteArray_AS_STRING(self.genders)
            for row in range(self.count):
                if not _compared(_whole_span(owner[row]), &every[row]):
                    memset(&every[row], 0, sizeof(_Compared))
                    self.broken.append(row)
                if every[row].kind == KIND_COMPANY:
                    memset(&every[row].first, 0, 3 * sizeof(_Span))
                    every[row].birth = every[row].gender = 0
                births[row], genders[row] = every[row].birth, every[row].gender
                emails = max(emails, every[row].email_count)
                phones = max(phones, every[row].phone_count)
            self.first = _texts(owner, every, self.count, &every.first)
            self.middle = _texts(owner, every, self.count, &every.middle)
            self.last = _texts(owner, every, self.count, &every.last)
            self.company = _texts(owner, every, self.count, &every.company)
            self.city = _texts(owner, every, self.count, &every.city)
            self.postcode = _texts(owner, every, self.count, &every.postcode)
            self.street = _streets(owner, every, self.count)
            self.emails = [_texts(owner, every, self.count, &every.emails[i]) for i in range(emails)]
            self.phones = [_texts(owner, every, self.count, &every.phones[i]) for i in range(phones)]
        finally:
            PyMem_Free(every)


cdef _Span _whole_span(bytes record) except *:
    cdef _Cursor cursor = _whole(record)
    cdef _Span span
    span.at, span.end = cursor.at, cursor.end
    return span


cdef Texts _texts(list owner, const _Compared* every, Py_ssize_t count, const _Span* first):
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


cdef Texts _streets(list owner, const _Compared* every, Py_ssize_t count):
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
