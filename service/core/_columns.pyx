# cython: language_level=3, boundscheck=False, wraparound=False, annotation_typing=False
# cython: cdivision=True
"""Columns of customers, written as the encoded rows of an `ImportBatch`.

The rows are what protobuf's deterministic encoder would make of the same customers: fields in
ascending order, nothing that is empty, custom fields by name. So `_wire` takes them as ordinary.
All of it is done without the GIL and without an object per row or cell.

What a column is for is a `Target`; `FIELDS` has the numbers of the fields, which a test holds
against the descriptors. Cells are laid out as Arrow does; every offset is checked, as the columns
may come from a stranger. Texts are copied as they are: whether they are UTF-8, and whether the row
keeps the rules, is for the reader of the rows to say.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset

from typing import NamedTuple

from service.core._text cimport Texts
from service.core._write cimport (
    FIXED64, LENGTH, VARINT_LIMIT, Out, bytes_size, close_message, open_message, put,
    put_bytes, put_head, put_number, put_varint, reserve, varint_size,
)

ctypedef const unsigned char* Bytes

cdef enum:  # fields of ImportBatch
    BATCH_NUMBER = 1
    BATCH_CUSTOMERS = 2

cdef enum:  # fields of Customer that are messages
    ADDRESSES = 20
    CONTACTS = 21
    PREFERENCES = 23
    CUSTOM_FIELDS = 28

cdef enum:  # fields of the messages inside
    CONTACT_PREFERENCES = 10
    POINT_VALUE = 1
    POINT_KIND = 3
    IDENTITY_TYPE = 1
    IDENTITY_VALUE = 2
    CHANNEL = 1
    CONSENT = 2
    DATE_YEAR = 1
    DATE_MONTH = 2
    DATE_DAY = 3
    ENTRY_KEY = 1
    ENTRY_VALUE = 2
    CUSTOM_TEXT = 1
    CUSTOM_INTEGER = 2
    CUSTOM_NUMBER = 3
    CUSTOM_FLAG = 4
    CUSTOM_DATE = 5

cdef enum:  # how cells are laid out
    TEXT = 1
    LIST = 2  # of texts
    FLAG = 3
    INTEGER = 4
    NUMBER = 5
    DAYS = 6  # since 1970-01-01

cdef enum:  # what is written of a cell
    PLAIN = 1  # its texts
    WORD = 2  # the number of a word
    DATE = 3
    POINT = 4
    PAIR = 5  # an identity
    YES = 6  # true, or nothing
    GRANT = 7  # a consent by channel
    CUSTOM = 8
    CUSTOM_PARTIAL = 9  # a text that is a date

cdef enum:  # why a row is refused
    FINE = 0
    NO_WORD = 1
    NO_DATE = 2

cdef enum:  # values of Consent
    GRANTED = 1
    DENIED = 2

cdef enum:
    CELLS_LIMIT = 1 << 30  # so that no product overflows
    DEPTH = 3  # of the messages: customer, contact, preferences
    WORDS_LIMIT = 3  # of an enum
    ROW_SIZE_GUESS = 2  # bytes of a row's size: 128 to 16,383 bytes is what rows have
    SIZE_GUESS = 1  # of what is inside

# Field → its number, that of the field inside or 0, what is written, and the words or None.
FIELDS = {
    "id": (1, 0, PLAIN, None),
    "kind": (3, 0, WORD, ("person", "company")),
    "state": (4, 0, WORD, ("active", "archived")),
    "title": (7, 0, PLAIN, None),
    "first_name": (8, 0, PLAIN, None),
    "middle_name": (9, 0, PLAIN, None),
    "last_name": (10, 0, PLAIN, None),
    "gender": (11, 0, WORD, ("female", "male", "other")),
    "birth_date": (12, 0, DATE, None),
    "company_name": (13, 0, PLAIN, None),
    "comment": (14, 0, PLAIN, None),
    "stage": (15, 0, PLAIN, None),
    "owner": (16, 0, PLAIN, None),
    "email": (18, 0, POINT, None),
    "phone": (19, 0, POINT, None),
    "street": (ADDRESSES, 3, PLAIN, None),
    "city": (ADDRESSES, 4, PLAIN, None),
    "postcode": (ADDRESSES, 5, PLAIN, None),
    "area": (ADDRESSES, 6, PLAIN, None),
    "country": (ADDRESSES, 7, PLAIN, None),
    "identity": (22, 0, PAIR, None),
    "do_not_email": (PREFERENCES, 1, YES, None),
    "do_not_call": (PREFERENCES, 2, YES, None),
    "consent": (PREFERENCES, 3, GRANT, None),
    "tags": (24, 0, PLAIN, None),
    "sources": (25, 0, PLAIN, None),
    "campaigns": (26, 0, PLAIN, None),
    "groups": (27, 0, PLAIN, None),
    "custom": (CUSTOM_FIELDS, 0, CUSTOM, None),
    "custom_date": (CUSTOM_FIELDS, 0, CUSTOM_PARTIAL, None),
}
# The same of a contact, whose preferences are one message deeper.
CONTACT_FIELDS = {
    "title": (2, 0, PLAIN, None),
    "first_name": (3, 0, PLAIN, None),
    "middle_name": (4, 0, PLAIN, None),
    "last_name": (5, 0, PLAIN, None),
    "position": (6, 0, PLAIN, None),
    "email": (8, 0, POINT, None),
    "phone": (9, 0, POINT, None),
    "do_not_email": (CONTACT_PREFERENCES, 1, YES, None),
    "do_not_call": (CONTACT_PREFERENCES, 2, YES, None),
}
_REFUSALS = {NO_WORD: "not a value of this enum", NO_DATE: "not a date of the calendar"}
KINDS = ("", "mobile", "home", "work", "office", "fax", "other")
CHANNELS = ("", "email", "call", "sms", "telegram", "whatsapp", "viber", "post", "push")


class Target(NamedTuple):
    """What a column is for; see `_columns.pyi`."""

    field: str
    argument: str = ""
    contact: int = 0


cdef class Cells:
    """The cells of one column; the buffers are not copied."""

    cdef readonly Py_ssize_t count
    cdef int form
    cdef Texts texts  # of a list: the entries, one after the other
    cdef int64_t* bounds  # of a list: where each cell's entries begin, and the end
    cdef Bytes values  # of what is not a text
    cdef Bytes valid  # bits, or NULL: all are
    cdef Py_ssize_t first  # of the cells in `values` and `valid`
    cdef object _owner

    def __cinit__(self):
        self.bounds = NULL
        self.values = self.valid = NULL

    def __dealloc__(self):
        PyMem_Free(self.bounds)

    @staticmethod
    def of_texts(offsets, data, Py_ssize_t first, Py_ssize_t count, *, validity=None, wide=False):
        """Take the buffers of an Arrow array of utf8, `wide` of large_utf8."""
        cdef Cells made = _cells(TEXT, first, count, validity)
        cdef Py_ssize_t i
        made.texts = Texts.view(offsets, data, first, count, wide=wide)
        for i in range(count):
            if not _is_valid(made, i):
                made.texts.sizes[i] = 0
        return made

    @staticmethod
    def of_lists(
        Cells entries not None, offsets, Py_ssize_t first, Py_ssize_t count, *,
        validity=None, wide=False,
    ):
        """Take the buffers of an Arrow list array, `wide` of a large one, and its texts."""
        cdef Cells made = _cells(LIST, first, count, validity)
        cdef const int32_t[::1] near
        cdef const int64_t[::1] far
        cdef Py_ssize_t i, known
        if entries.form != TEXT:
            raise ValueError("lists are of texts")
        view = memoryview(offsets).cast("B")
        if wide:
            far = view[: len(view) // 8 * 8].cast("q")
            known = far.shape[0]
        else:
            near = view[: len(view) // 4 * 4].cast("i")
            known = near.shape[0]
        if first + count >= known:
            raise ValueError("the offsets are fewer than the lists")
        made.texts = entries.texts
        made.bounds = <int64_t*>PyMem_Malloc((count + 1) * sizeof(int64_t))
        if made.bounds == NULL:
            raise MemoryError
        for i in range(count + 1):
            made.bounds[i] = far[first + i] if wide else near[first + i]
            if made.bounds[i] < (made.bounds[i - 1] if i else 0):
                raise ValueError("an offset is before the one before it")
        if made.bounds[count] > entries.count:
            raise ValueError("an offset is outside the entries")
        return made

    @staticmethod
    def of_values(str kind, values, Py_ssize_t first, Py_ssize_t count, *, validity=None):
        """Take the buffer of an Arrow array of "flag", "integer", "number" or "days"."""
        cdef int form = {"flag": FLAG, "integer": INTEGER, "number": NUMBER, "days": DAYS}[kind]
        cdef Cells made = _cells(form, first, count, validity)
        cdef Py_ssize_t bits = 1 if form == FLAG else 32 if form == DAYS else 64
        made.values = _buffer(made, values, (first + count) * bits)
        return made

    def __len__(self):
        return self.count


cdef Cells _cells(int form, Py_ssize_t first, Py_ssize_t count, validity):
    cdef Cells made = Cells()
    if not (0 <= first <= CELLS_LIMIT and 0 <= count <= CELLS_LIMIT):
        raise ValueError("a column is not that long")
    made.form, made.first, made.count, made._owner = form, first, count, []
    if validity is not None:
        made.valid = _buffer(made, validity, first + count)
    return made


cdef Bytes _buffer(Cells cells, source, Py_ssize_t bits) except? NULL:
    """Return where a buffer begins that has so many bits at least, and keep it alive."""
    cdef const unsigned char[::1] view = memoryview(source).cast("B")
    if view.shape[0] * 8 < bits:
        raise ValueError("a buffer is shorter than the column")
    cells._owner.append(view)
    if not view.shape[0]:
        return NULL
    return &view[0]


cdef inline bint _is_valid(Cells cells, Py_ssize_t row) noexcept nogil:
    return cells.valid == NULL or _bit(cells.valid, cells.first + row)


cdef inline bint _bit(Bytes bits, Py_ssize_t place) noexcept nogil:
    return bits[place >> 3] >> (place & 7) & 1


# What is written where.

cdef struct _Part:
    int place  # of the column, as it was given
    int depth  # of the message that the field is in: 0 for the customer
    int path[DEPTH]  # numbers of the fields that lead there, the field itself last
    Py_ssize_t ends[DEPTH]  # first part that is not in the same message of each depth
    int contact
    int what
    int kind  # of a point; the channel of a consent
    const char* head  # encoded: an identity's type, a custom field's key
    Py_ssize_t head_size
    const char* words[WORDS_LIMIT]
    Py_ssize_t word_sizes[WORDS_LIMIT]
    int word_count
    int form
    Bytes values
    Bytes valid
    Py_ssize_t first
    const char** starts
    const int32_t* sizes
    const int64_t* bounds

cdef class _Plan:
    """The parts of a customer in the order in which they are written."""

    cdef _Part* parts
    cdef Py_ssize_t count
    cdef list _owner  # cells, and encoded heads and words

    def __cinit__(self, columns):
        cdef Py_ssize_t i
        places = sorted(range(len(columns)), key=lambda place: _order(columns[place][0]))
        self._owner = []
        self.count = len(places)
        self.parts = <_Part*>PyMem_Malloc(max(self.count, 1) * sizeof(_Part))
        if self.parts == NULL:
            raise MemoryError
        memset(self.parts, 0, max(self.count, 1) * sizeof(_Part))
        for i in range(self.count):
            target, cells = columns[places[i]]
            self._describe(&self.parts[i], places[i], target, cells)
        for i in range(self.count - 1, -1, -1):
            self._end(i)

    def __dealloc__(self):
        PyMem_Free(self.parts)

    cdef int _describe(self, _Part* part, int place, target, Cells cells) except -1:
        number, inside, what, words = _field(target)
        path = ((CONTACTS,) if target.contact else ()) + (number,) + ((inside,) if inside else ())
        if cells.form not in _forms(what):
            raise ValueError(f"{target.field} is not written like this")
        part.place, part.what, part.contact = place, what, target.contact
        part.depth = len(path) - 1
        for depth, step in enumerate(path):
            part.path[<int>depth] = step
        self._argue(part, target.argument)
        for word in words or ():
            encoded = self._keep(word.encode())
            part.words[part.word_count] = PyBytes_AS_STRING(encoded)
            part.word_sizes[part.word_count] = len(encoded)
            part.word_count += 1
        self._owner.append(cells)
        part.form, part.first = cells.form, cells.first
        part.values, part.valid, part.bounds = cells.values, cells.valid, cells.bounds
        if cells.texts is not None:
            part.starts, part.sizes = cells.texts.starts, cells.texts.sizes
        return 0

    cdef int _argue(self, _Part* part, str argument) except -1:
        """Take what the target says beside its field."""
        if part.what == POINT:
            part.kind = KINDS.index(argument)
        elif part.what == GRANT:
            part.kind = CHANNELS.index(argument)
        elif argument:
            name = argument.encode()
            if len(name) > 0x7F:
                raise ValueError("the name is too long")
            head = self._keep(bytes([ENTRY_KEY << 3 | LENGTH, len(name)]) + name)
            part.head, part.head_size = PyBytes_AS_STRING(head), len(head)
        return 0

    cdef bytes _keep(self, bytes text):
        self._owner.append(text)
        return text

    cdef int _end(self, Py_ssize_t i) except -1:
        """Note where the messages of a part end; those after it are noted."""
        cdef _Part* part = &self.parts[i]
        cdef _Part* next
        cdef int depth
        for depth in range(part.depth):
            part.ends[depth] = i + 1
            if i + 1 < self.count:
                next = &self.parts[i + 1]
                if next.depth > depth and _are_together(part, next, depth):
                    part.ends[depth] = next.ends[depth]
        return 0


cdef bint _are_together(const _Part* one, const _Part* other, int depth) noexcept:
    """Tell whether two parts are in one message `depth` steps inside."""
    cdef int step
    for step in range(depth + 1):
        if one.path[step] != other.path[step]:
            return False
    return one.contact == other.contact


def _field(target):
    fields = CONTACT_FIELDS if target.contact else FIELDS
    return fields[target.field]


def _order(target):
    """Sort as the encoder does; columns of one field stay as they were given."""
    number, inside, what, _ = _field(target)
    name = target.argument if number == CUSTOM_FIELDS and not target.contact else ""
    return CONTACTS if target.contact else number, target.contact, number, inside, name


def _forms(int what):
    if what == PLAIN or what == POINT or what == PAIR:
        return TEXT, LIST
    if what == WORD or what == CUSTOM_PARTIAL:
        return (TEXT,)
    if what == DATE:
        return TEXT, DAYS
    if what == CUSTOM:
        return TEXT, FLAG, INTEGER, NUMBER, DAYS
    return (FLAG,)


# Writing.

cdef struct _Fault:
    Py_ssize_t row
    int place  # of the column
    int why

cdef struct _Faults:
    _Fault* all
    Py_ssize_t count
    Py_ssize_t capacity


def encode(columns, Py_ssize_t count, *, Py_ssize_t limit, uint64_t number=0):
    """Return an encoded batch and the rows that are not in it; see `_columns.pyi`."""
    cdef _Plan plan = _Plan(columns)
    cdef Out out
    cdef _Faults faults
    for _, cells in columns:
        if len(cells) != count:
            raise ValueError("columns are of one length")
    memset(&out, 0, sizeof(out))
    memset(&faults, 0, sizeof(faults))
    try:
        with nogil:
            _put_batch(&out, &faults, plan.parts, plan.count, count, limit, number)
        refused = [
            (faults.all[i].row, faults.all[i].place, _REFUSALS[faults.all[i].why])
            for i in range(faults.count)
        ]
        return PyBytes_FromStringAndSize(<const char*>out.start, out.size), refused
    finally:
        free(out.start)
        free(faults.all)


cdef int _put_batch(
    Out* out, _Faults* faults, const _Part* parts, Py_ssize_t part_count, Py_ssize_t count,
    Py_ssize_t limit, uint64_t number,
) except -1 nogil:
    cdef Py_ssize_t row, before, start
    cdef int why, place = 0
    reserve(out, 4096)
    if number:
        put_number(out, BATCH_NUMBER, number)
    for row in range(count):
        before = out.size
        start = open_message(out, BATCH_CUSTOMERS, ROW_SIZE_GUESS)
        why = _put_message(out, parts, 0, part_count, 0, row, &place)
        if why:
            out.size = before
            _refuse(faults, row, place, why)
            continue
        close_message(out, start, ROW_SIZE_GUESS)
        if out.size > limit:
            with gil:
                raise OverflowError("the rows are larger than the limit")
    return 0


cdef int _refuse(_Faults* faults, Py_ssize_t row, int place, int why) except -1 nogil:
    cdef void* grown
    if faults.count == faults.capacity:
        faults.capacity = 2 * faults.capacity + 16
        grown = realloc(faults.all, faults.capacity * sizeof(_Fault))
        if grown == NULL:
            with gil:
                raise MemoryError
        faults.all = <_Fault*>grown
    faults.all[faults.count].row = row
    faults.all[faults.count].place = place
    faults.all[faults.count].why = why
    faults.count += 1
    return 0


cdef int _put_message(
    Out* out, const _Part* parts, Py_ssize_t first, Py_ssize_t last, int depth, Py_ssize_t row,
    int* place,
) except -1 nogil:
    """Write the fields of a message; return why the row is refused, with the column's place."""
    cdef Py_ssize_t i = first, before, start
    cdef int why
    while i < last:
        if parts[i].depth == depth:
            why = _put_cell(out, &parts[i], row)
            if why:
                place[0] = parts[i].place
                return why
            i += 1
            continue
        before = out.size
        start = open_message(out, parts[i].path[depth], SIZE_GUESS)
        why = _put_message(out, parts, i, parts[i].ends[depth], depth + 1, row, place)
        if why:
            return why
        if out.size > start:
            close_message(out, start, SIZE_GUESS)
        else:  # an empty message says nothing
            out.size = before
        i = parts[i].ends[depth]
    return FINE


cdef inline int _put_cell(Out* out, const _Part* part, Py_ssize_t row) except -1 nogil:
    """Write what a cell says; return why the row is refused."""
    cdef Py_ssize_t i
    if part.form == TEXT:
        return _put_text(out, part, row) if part.sizes[row] else FINE
    if part.valid != NULL and not _bit(part.valid, part.first + row):
        return FINE
    if part.form != LIST:
        return _put_value(out, part, part.first + row)
    for i in range(part.bounds[row], part.bounds[row + 1]):
        if part.sizes[i]:
            _put_text(out, part, i)
    return FINE


cdef int _put_text(Out* out, const _Part* part, Py_ssize_t i) except -1 nogil:
    """Write what a text says that is not empty."""
    cdef int number = part.path[part.depth]
    cdef Bytes text = <Bytes>part.starts[i]
    cdef Py_ssize_t size = part.sizes[i], inner
    reserve(out, size + part.head_size + 6 * VARINT_LIMIT)
    if part.what == PLAIN:
        put_bytes(out, number, text, size)
    elif part.what == POINT:
        inner = bytes_size(POINT_VALUE, size) + (2 if part.kind else 0)
        put_head(out, number, inner)
        put_bytes(out, POINT_VALUE, text, size)
        if part.kind:
            put_number(out, POINT_KIND, part.kind)
    elif part.what == PAIR:
        put_head(out, number, part.head_size + bytes_size(IDENTITY_VALUE, size))
        put(out, part.head, part.head_size)
        put_bytes(out, IDENTITY_VALUE, text, size)
    elif part.what == WORD:
        return _put_word(out, part, text, size)
    elif part.what == DATE:
        return _put_written_date(out, number, text, size)
    elif part.what == CUSTOM:
        _open_custom(out, part, bytes_size(CUSTOM_TEXT, size))
        put_bytes(out, CUSTOM_TEXT, text, size)
    else:
        return _put_custom_date(out, part, text, size, 0)
    return FINE


cdef int _put_word(Out* out, const _Part* part, Bytes text, Py_ssize_t size) noexcept nogil:
    cdef int i
    for i in range(part.word_count):
        if part.word_sizes[i] == size and memcmp(part.words[i], text, size) == 0:
            put_number(out, part.path[part.depth], i + 1)
            return FINE
    return NO_WORD


cdef int _put_value(Out* out, const _Part* part, Py_ssize_t i) except -1 nogil:
    """Write what a flag, a number or a date says."""
    cdef int number = part.path[part.depth]
    cdef uint64_t value
    cdef int32_t days
    reserve(out, part.head_size + 6 * VARINT_LIMIT)
    if part.form == FLAG:
        value = _bit(part.values, i)
        if part.what == YES:
            if value:
                put_number(out, number, 1)
        elif part.what == GRANT:
            put_head(out, number, 4)
            put_number(out, CHANNEL, part.kind)
            put_number(out, CONSENT, GRANTED if value else DENIED)
        else:
            _open_custom(out, part, 2)
            put_number(out, CUSTOM_FLAG, value)
    elif part.form == INTEGER:
        memcpy(&value, part.values + 8 * i, 8)
        _open_custom(out, part, 1 + varint_size(value))
        put_number(out, CUSTOM_INTEGER, value)
    elif part.form == NUMBER:
        _open_custom(out, part, 9)
        put_varint(out, CUSTOM_NUMBER << 3 | FIXED64)
        put(out, part.values + 8 * i, 8)
    else:
        memcpy(&days, part.values + 4 * i, 4)
        if part.what == DATE:
            return _put_day(out, number, days)
        return _put_custom_date(out, part, NULL, 0, days)
    return FINE


cdef inline void _open_custom(Out* out, const _Part* part, Py_ssize_t size) noexcept nogil:
    """Begin the entry of a custom field whose value has `size` bytes."""
    cdef Py_ssize_t inner = part.head_size + bytes_size(ENTRY_VALUE, size)
    put_head(out, CUSTOM_FIELDS, inner)
    put(out, part.head, part.head_size)
    put_head(out, ENTRY_VALUE, size)


cdef int _put_custom_date(
    Out* out, const _Part* part, Bytes text, Py_ssize_t size, int32_t days
) noexcept nogil:
    cdef Out date  # some bytes: its size goes before it
    cdef unsigned char room[4 * VARINT_LIMIT]
    cdef int why
    date.start, date.size, date.capacity = room, 0, sizeof(room)
    if text != NULL:
        why = _put_written_date(&date, CUSTOM_DATE, text, size)
    else:
        why = _put_day(&date, CUSTOM_DATE, days)
    if why:
        return why
    _open_custom(out, part, date.size)
    put(out, room, date.size)
    return FINE


cdef int _put_written_date(Out* out, int number, Bytes text, Py_ssize_t size) noexcept nogil:
    """Write a date that is given as 1990-03-04, 1990-03, 1990, --03-04 or --03."""
    cdef int year = 0, month = 0, day = 0
    cdef Bytes at = text
    cdef Bytes end = text + size
    if end - at >= 4 and at[0] != 0x2D:
        year = _digits(at, 4)
        at += 4
        if year < 1:
            return NO_DATE
    else:
        if end - at < 4 or at[0] != 0x2D or at[1] != 0x2D:
            return NO_DATE
        at += 1
    if at < end:
        if end - at < 3 or at[0] != 0x2D:
            return NO_DATE
        month = _digits(at + 1, 2)
        at += 3
        if not 1 <= month <= 12:
            return NO_DATE
    if at < end:
        if end - at != 3 or at[0] != 0x2D:
            return NO_DATE
        day = _digits(at + 1, 2)
        if not 1 <= day <= _days(year, month):
            return NO_DATE
    _put_date(out, number, year, month, day)
    return FINE


cdef inline int _digits(Bytes at, int count) noexcept nogil:
    """Return the number that some digits are, -1 where one is none."""
    cdef int i, number = 0
    for i in range(count):
        if not 0x30 <= at[i] <= 0x39:
            return -1
        number = 10 * number + at[i] - 0x30
    return number


cdef int _days(int year, int month) noexcept nogil:
    """Return the days of a month; a year that is not known (0) is a leap year."""
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef int _put_day(Out* out, int number, int32_t days) noexcept nogil:
    """Write a date that is given as days since 1970-01-01."""
    # Counted from 0000-03-01, years end with their leap day, and 400 of them have 146,097 days.
    cdef int64_t since = <int64_t>days + 719_468
    cdef int64_t era, of_era, year_of_era, of_year, shifted, year
    if not 306 <= since < 3_652_365:  # 0001-01-01 to 9999-12-31
        return NO_DATE
    era = since // 146_097
    of_era = since - era * 146_097
    year_of_era = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * of_year + 2) // 153  # months since March
    year = year_of_era + era * 400 + (1 if shifted >= 10 else 0)
    _put_date(
        out, number, <int>year, <int>(shifted + 3 if shifted < 10 else shifted - 9),
        <int>(of_year - (153 * shifted + 2) // 5 + 1),
    )
    return FINE


cdef void _put_date(Out* out, int number, int year, int month, int day) noexcept nogil:
    cdef Py_ssize_t size = (
        (1 + varint_size(year) if year else 0) + (2 if month else 0) + (2 if day else 0)
    )
    put_head(out, number, size)
    if year:
        put_number(out, DATE_YEAR, year)
    if month:
        put_number(out, DATE_MONTH, month)
    if day:
        put_number(out, DATE_DAY, day)
