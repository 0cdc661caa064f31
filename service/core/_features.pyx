# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: annotation_typing=False
"""Packs what is compared of records: one run of bytes each, read in place by the matching kernel.

`pack` takes columns of folded texts and keys and gives `Packed`; `weigh` then counts how often each
value occurs and writes how much it says that two records share it (`rarity`, eighths of a bit), the
term frequencies of Splink and of Winkler (2000) before it.
"""

from libc.math cimport log2
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from service.core._compare cimport letters_of
from service.core._names cimport (
    FIRST, LAST, MIDDLE, PARTICLE, PATRONYMIC, ROLE, TOKENS, WORD_BYTES,
    NameRecord, Names, TokenRecord, classes,
)
from service.core._text cimport FEW, Column, Texts

cpdef enum:
    VERSION = 3  # of the layout

cdef enum:
    MOST_NAMES = TOKENS * (WORD_BYTES + 1)
    MOST_BYTES = 4096  # of one record's features: all parts at their longest need less
    R_EMAIL = RARITIES  # kinds of values beyond those whose rarity the features have at their head
    R_LOCAL = R_EMAIL + 1
    R_PHONE = R_EMAIL + 2
    R_EXTRA = R_EMAIL + 3  # the first of them
    VALUES = R_EXTRA + 1
    VALUES_AHEAD = 32  # that are fetched before they are counted
    VALUES_ROOM = VALUES_AHEAD + POINTS

cdef uint32_t _NOBODY = 0xFFFFFFFF  # the id of no value


cdef uint64_t hash_of(const void* text, Py_ssize_t size) noexcept nogil:
    """FNV-1a, spread; never 0 but for nothing."""
    cdef uint64_t value = 0xCBF29CE484222325ULL
    cdef const uint8_t* at = <const uint8_t*>text
    cdef Py_ssize_t i
    if size == 0:
        return 0
    for i in range(size):
        value = (value ^ at[i]) * 0x100000001B3ULL
    return mixed(value, 0) | 1


cdef uint64_t longest_word(const unsigned char* text, int size) noexcept nogil:
    """Return the hash of the longest word of a folded text, the first of several."""
    cdef int i = 0, start, best = 0, length = 0
    while i < size:
        start = i
        while i < size and text[i] != 32:
            i += 1
        if i - start > length:
            best, length = start, i - start
        i += 1
    return hash_of(text + best, length)


cdef uint64_t mixed(uint64_t one, uint64_t other) noexcept nogil:
    """Spread two values over one (the finaliser of SplitMix64)."""
    cdef uint64_t value = one ^ (other * 0x9E3779B97F4A7C15ULL)
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ULL
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBULL
    return value ^ (value >> 31)


cdef const Features* check(bytes features) except NULL:
    """Return the features that bytes are; ValueError where they are of another layout or cut."""
    cdef const Features* one = <const Features*><const char*>features
    if len(features) < <Py_ssize_t>sizeof(Features) or one.size != len(features):
        raise ValueError("not the features of a record")
    if one.version != VERSION:
        raise ValueError("features of another release")
    return one


cdef class Packed:
    """The features of records, in an order that may be changed."""

    def __cinit__(self):
        self._room, self._rows = 1 << 16, 256
        self._data = <char*>malloc(self._room)
        self._places = <int64_t*>malloc(self._rows * sizeof(int64_t))
        if self._data == NULL or self._places == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._data)
        free(self._places)

    def __len__(self):
        return self.count

    def __getitem__(self, Py_ssize_t row):
        """Return the bytes of one record's features."""
        if not 0 <= row < self.count:
            raise IndexError(row)
        return (<const char*>features_at(self, row))[: features_at(self, row).size]

    cdef char* _reserve(self, int64_t size, Py_ssize_t rows) except NULL nogil:
        """Make room for so many bytes and rows more; return where the bytes go."""
        cdef int64_t room = self._room
        cdef Py_ssize_t slots = self._rows
        cdef void* grown
        while room < self.nbytes + size:
            room += room >> 1
        while slots < self.count + rows:
            slots += slots >> 1
        if room > self._room:
            grown = realloc(self._data, room)
            if grown == NULL:
                with gil:
                    raise MemoryError
            self._data, self._room = <char*>grown, room
        if slots > self._rows:
            grown = realloc(self._places, slots * sizeof(int64_t))
            if grown == NULL:
                with gil:
                    raise MemoryError
            self._places, self._rows = <int64_t*>grown, slots
        return self._data + self.nbytes

    def add(self, bytes features not None):
        """Add a record: its features as `__getitem__` gave them, of this layout."""
        cdef Py_ssize_t size = len(features)
        check(features)
        memcpy(self._reserve(size, 1), <const char*>features, size)
        self._places[self.count] = self.nbytes
        self.nbytes += size
        self.count += 1

    def hashes(self, uint64_t[::1] out):
        """Write a hash of each record's features, which does not depend on the others."""
        if out.shape[0] != self.count:
            raise ValueError("one hash for each row")
        cdef Py_ssize_t row
        with nogil:
            for row in range(self.count):
                out[row] = hash_of(features_at(self, row), features_at(self, row).size)

    def reorder(self, const int64_t[::1] order):
        """Put the records into another order: `order` has the row that is to be at each place."""
        if order.shape[0] != self.count:
            raise ValueError("one place for each row")
        cdef int64_t* places = <int64_t*>malloc(max(self.count, 1) * sizeof(int64_t))
        cdef Py_ssize_t row
        if places == NULL:
            raise MemoryError
        for row in range(self.count):
            if not 0 <= order[row] < self.count:
                free(places)
                raise IndexError(order[row])
            places[row] = self._places[order[row]]
        free(self._places)
        self._places, self._rows = places, max(self.count, 1)


cdef struct _Text:
    const char* start
    int size


cdef struct _Texts:  # of a column
    const char* bytes
    const int32_t* offsets


cdef inline _Texts _texts(Column column) noexcept:
    cdef _Texts texts
    texts.bytes, texts.offsets = column._bytes, column._offsets
    return texts


cdef inline _Text _text(_Texts column, Py_ssize_t row) noexcept nogil:
    cdef _Text text
    text.start = column.bytes + column.offsets[row]
    text.size = column.offsets[row + 1] - column.offsets[row]
    return text


cdef inline Span _put(char* to, int* used, _Text text, int most) noexcept nogil:
    cdef Span span
    span.at = used[0]
    span.size = min(text.size, most)
    memcpy(to + used[0], text.start, span.size)
    used[0] += span.size
    return span


cdef uint64_t _number(_Text text) noexcept nogil:
    cdef uint64_t value = 0
    cdef int i
    for i in range(text.size):
        if b"0" <= text.start[i] <= b"9":
            value = value * 10 + (<uint8_t>text.start[i] - 48)
    return value


cdef bint _is_named(_Text local, const NameRecord* name, const char* names) noexcept nogil:
    """Tell whether the letters of a local part are those of the name, or its initials."""
    cdef int i, at, letters = 0, covered = 0
    cdef const char* word = names
    for i in range(local.size):
        letters += b"a" <= local.start[i] <= b"z"
    for i in range(name.count):
        if name.tokens[i].size >= 3:
            for at in range(local.size - name.tokens[i].size + 1):
                if memcmp(local.start + at, word, name.tokens[i].size) == 0:
                    covered += name.tokens[i].size
                    break
        word += name.tokens[i].size + 1
    return covered and covered + 2 >= letters


cdef struct _Row:
    _Text emails[POINTS]
    _Text phones[POINTS]
    _Text extras[EXTRAS]
    int email_count, phone_count, extra_count
    const uint8_t* is_text
    _Text names, street, city, postcode, company
    const NameRecord* record
    uint32_t birth
    uint8_t gender, script

cdef enum:
    PLACES = 4

cdef struct _Columns:
    _Texts[2 * POINTS + EXTRAS] points
    _Texts[PLACES] places
    _Texts names
    const NameRecord* records
    const uint32_t* births
    const uint8_t* genders
    const uint8_t* scripts  # NULL: not known


def pack(
    Packed packed not None,
    Names names not None,
    const uint32_t[::1] births,
    const uint8_t[::1] genders,
    emails,
    phones,
    places,
    extras,
    bytes are_texts,
    const uint8_t[::1] scripts=None,
):
    """Add rows to `packed`: as many as there are names.

    `emails` and `phones` are columns of match keys, "" where a record has no such; `places` are
    street, city, postcode and company as folded words, the postcode without blanks; `extras` are
    folded, and `are_texts` says by a byte each whether they may be similar; `scripts` are those of
    the names as they were written (`scripts_of`), where that is known. Raises ValueError where
    columns differ in length or are too many.
    """
    cdef Py_ssize_t count = names.count
    cdef int i
    cdef _Row one
    cdef _Columns of
    cdef list points = [*emails, *phones, *extras]
    cdef Column column
    if len(emails) > POINTS or len(phones) > POINTS or len(extras) > EXTRAS:
        raise ValueError("too many columns")
    if len(places) != PLACES:
        raise ValueError("the places are street, city, postcode and company")
    if scripts is not None and scripts.shape[0] != count:
        raise ValueError("columns differ in length")
    if births.shape[0] != count or genders.shape[0] != count or len(are_texts) != len(extras):
        raise ValueError("columns differ in length")
    for column in [*points, *places]:
        if column.count != count:
            raise ValueError("columns differ in length")
    one.email_count, one.phone_count, one.extra_count = len(emails), len(phones), len(extras)
    one.is_text = <const uint8_t*><const char*>are_texts
    for i in range(len(points)):
        of.points[i] = _texts(points[i])
    for i in range(PLACES):
        of.places[i] = _texts(places[i])
    of.names = _texts(names.given)
    of.records = names.records
    of.births = &births[0] if count else NULL
    of.genders = &genders[0] if count else NULL
    of.scripts = &scripts[0] if count and scripts is not None else NULL
    packed._reserve(256 * count, count)
    if count <= FEW:
        _pack_rows(&one, &of, count, packed)
    else:
        with nogil:
            _pack_rows(&one, &of, count, packed)


cdef int _pack_rows(
    _Row* one, const _Columns* of, Py_ssize_t count, Packed packed
) except -1 nogil:
    cdef Py_ssize_t row
    cdef int i
    for row in range(count):
        for i in range(one.email_count):
            one.emails[i] = _text(of.points[i], row)
        for i in range(one.phone_count):
            one.phones[i] = _text(of.points[one.email_count + i], row)
        for i in range(one.extra_count):
            one.extras[i] = _text(of.points[one.email_count + one.phone_count + i], row)
        one.names = _text(of.names, row)
        one.street, one.city = _text(of.places[0], row), _text(of.places[1], row)
        one.postcode, one.company = _text(of.places[2], row), _text(of.places[3], row)
        one.record = &of.records[row]
        one.birth, one.gender = of.births[row], of.genders[row]
        one.script = of.scripts[row] if of.scripts else SCRIPT_OTHER
        _pack_row(one, packed)
    return 0


def keys_for_people(Column keys not None, Column normals not None):
    """Return match keys of e-mails, but with whole local parts where the key ends at a hyphen.

    Yahoo has anna-news@ reach whoever is anna@. Whether anna-smith@ is such an address or a name
    is not known; as a key, anna@ would be shared by all who are called so.
    """
    if keys.count != normals.count:
        raise ValueError("columns differ in length")
    cdef Column made = Column(keys.count, keys._used)
    cdef _Text key, normal
    cdef Py_ssize_t row
    cdef const char* sign
    cdef int local
    for row in range(keys.count):
        key, normal = _text(_texts(keys), row), _text(_texts(normals), row)
        sign = <const char*>memchr(key.start, b"@", key.size)
        local = sign - key.start if sign != NULL else key.size
        if local < normal.size and normal.start[local] == b"-" and (
            memcmp(key.start, normal.start, local) == 0
        ):
            key = normal
        made.append(key.start, key.size)
    return made


def scripts_of(Texts names not None, uint8_t[::1] scripts):
    """Note in `scripts` which names are written in Han characters or kana, as SCRIPT_HAN."""
    if scripts.shape[0] != names.count:
        raise ValueError("one script for each name")
    if names.count <= FEW:
        _find_scripts(names, scripts)
    else:
        with nogil:
            _find_scripts(names, scripts)


cdef void _find_scripts(Texts names, uint8_t[::1] scripts) noexcept nogil:
    cdef Py_ssize_t row
    cdef int i
    for row in range(names.count):
        for i in range(names.sizes[row]):
            # U+3000 to U+9FFF: the first byte of three in UTF-8.
            if 0xE3 <= <uint8_t>names.starts[row][i] <= 0xE9:
                scripts[row] = SCRIPT_HAN
                break


cdef int _pack_row(const _Row* row, Packed packed) except -1 nogil:
    cdef char* to = packed._reserve(MOST_BYTES, 1)
    cdef Features* one = <Features*>to
    cdef NameRecord name = row.record[0]
    cdef int used = _pack_head(row, &name, to)
    _pack_points(row, to, &used)
    _place_words(one, used)
    _put(to, &used, row.names, MOST_NAMES)
    _pack_point_texts(row, to, &used)
    one.street = _put(to, &used, row.street, TEXT_BYTES)
    one.city = _put(to, &used, row.city, TEXT_BYTES)
    one.postcode = _put(to, &used, row.postcode, TEXT_BYTES)
    one.company = _put(to, &used, row.company, TEXT_BYTES)
    one.number = _house_number(one, to)
    one.street_hash = hash_of(to + one.street.at, one.street.size)
    one.street_words = ends_of(to + one.street.at, one.street.size)
    one.place_hash = hash_of(to + one.postcode.at, one.postcode.size)
    if one.place_hash == 0:
        one.place_hash = hash_of(to + one.city.at, one.city.size)
    used = _aligned(to, used)
    one.size = used
    packed._places[packed.count] = packed.nbytes
    packed.nbytes += used
    packed.count += 1
    return 0


cdef inline int _aligned(char* to, int used) noexcept nogil:
    """Write zeros up to the next place for whatever there may be."""
    while used & 7:
        to[used] = 0
        used += 1
    return used


cdef int _pack_head(const _Row* row, NameRecord* name, char* to) noexcept nogil:
    """Write the head and the words of the name; return how many bytes they have."""
    cdef Features* one = <Features*>to
    memset(to, 0, sizeof(Features))
    one.version = VERSION
    one.birth = row.birth
    one.gender = row.gender
    one.script = row.script
    if one.gender == 0 and row.record.gender <= 2:
        one.gender = row.record.gender
    one.generation = name.generation
    one.sorted_name = name.sorted
    one.tokens = name.count
    _give_roles(name)
    one.firsts = _note_words(row, name, FIRST, <Word*>firsts_of(one))
    one.middles = _note_words(row, name, MIDDLE, <Word*>middles_of(one))
    one.lasts = _note_words(row, name, LAST, <Word*>lasts_of(one))
    one.points = sizeof(Features) + (one.firsts + one.middles + one.lasts) * sizeof(Word)
    return one.points


cdef int _note_words(const _Row* row, const NameRecord* name, int role, Word* to) noexcept nogil:
    """Write the words of a role, without particles; return how many there are."""
    cdef int i, count = 0
    cdef uint16_t at = 0
    cdef const TokenRecord* token
    for i in range(name.count):
        token = &name.tokens[i]
        if token.flags & ROLE == role and not token.flags & PARTICLE and count < ROLE_WORDS:
            to[count].at = at  # in the name, until that has its place
            to[count].size, to[count].flags = token.size, token.flags
            to[count].sound, to[count].other = token.sound, token.other
            to[count].names, to[count].classes = token.names, _class_bits(token.names)
            to[count].letters = letters_of(<const uint8_t*>row.names.start + at, token.size)
            count += 1
        at += token.size + 1
    return count


cdef uint16_t _class_bits(uint16_t names) noexcept nogil:
    """Return bits of which two sets of name classes that share one have one in common."""
    cdef Py_ssize_t count = 0, i
    cdef const uint16_t* numbers = classes(names, &count)
    cdef uint16_t bits = 0
    for i in range(count):
        bits |= <uint16_t>1 << (numbers[i] & 15)
    return bits


cdef void _place_words(Features* one, int at) noexcept nogil:
    """Add where the text of the name is to the places of its words."""
    cdef Word* words = <Word*>firsts_of(one)
    cdef int i
    for i in range(one.firsts + one.middles + one.lasts):
        words[i].at += at


cdef void _give_roles(NameRecord* name) noexcept nogil:
    """Take the first word of a whole name for the first name, the last one for the last."""
    cdef int i, first = -1, last = -1
    for i in range(name.count):
        if name.tokens[i].flags & ROLE:
            return
        if not name.tokens[i].flags & (PARTICLE | PATRONYMIC):
            if first < 0:
                first = i
            last = i
    for i in range(name.count):
        if name.tokens[i].flags & PARTICLE:
            name.tokens[i].flags |= LAST
        elif i == last:
            name.tokens[i].flags |= LAST
        elif i == first:
            name.tokens[i].flags |= FIRST
        else:
            name.tokens[i].flags |= MIDDLE


cdef void _pack_points(const _Row* row, char* to, int* used) noexcept nogil:
    cdef Features* one = <Features*>to
    cdef Email* email
    cdef Phone* phone
    cdef Extra* extra
    cdef int i
    for i in range(row.email_count):
        if row.emails[i].size:
            email = <Email*>(to + used[0])
            memset(email, 0, sizeof(Email))
            email.key = hash_of(row.emails[i].start, row.emails[i].size)
            email.text.at = i  # which column it was, until the text has its place
            used[0] += sizeof(Email)
            one.emails += 1
    for i in range(row.phone_count):
        if row.phones[i].size:
            phone = <Phone*>(to + used[0])
            memset(phone, 0, sizeof(Phone))
            phone.digits = _number(row.phones[i])
            used[0] += sizeof(Phone)
            one.phones += 1
    one.extras = row.extra_count
    for i in range(row.extra_count):
        extra = <Extra*>(to + used[0])
        memset(extra, 0, sizeof(Extra))
        extra.hash = hash_of(row.extras[i].start, row.extras[i].size)
        extra.is_text = row.is_text[i]
        used[0] += sizeof(Extra)


cdef void _pack_point_texts(const _Row* row, char* to, int* used) noexcept nogil:
    cdef Features* one = <Features*>to
    cdef Email* emails = <Email*>emails_of(one)
    cdef Extra* extras = <Extra*>extras_of(one)
    cdef const char* sign
    cdef _Text local
    cdef int i
    for i in range(one.emails):
        local = row.emails[emails[i].text.at]
        sign = <const char*>memchr(local.start, b"@", local.size)
        if sign != NULL:
            local.size = sign - local.start
        emails[i].local = hash_of(local.start, local.size)
        if _is_named(local, row.record, row.names.start):
            emails[i].flags |= NAMED
        if _has_digits(local):
            emails[i].flags |= NUMBERED
        emails[i].year = _year_in(local)
        emails[i].text = _put(to, used, local, TEXT_BYTES)
        emails[i].letters = letters_of(text_of(one, emails[i].text), emails[i].text.size)
    for i in range(row.extra_count):
        extras[i].text = _put(to, used, row.extras[i], TEXT_BYTES)


cdef uint8_t _year_in(_Text local) noexcept nogil:
    """Return 1 + the last two digits of the year that a local part ends in, 0 if it does not.

    Two digits may be those of a year of birth, and four that begin with 19 or 20.
    """
    cdef int at = local.size, digits
    while at > 0 and b"0" <= local.start[at - 1] <= b"9":
        at -= 1
    digits = local.size - at
    if digits == 4 and memcmp(local.start + at, b"19", 2) and memcmp(local.start + at, b"20", 2):
        return 0
    if digits != 2 and digits != 4:
        return 0
    return 1 + (local.start[local.size - 2] - 48) * 10 + local.start[local.size - 1] - 48


cdef bint _has_digits(_Text text) noexcept nogil:
    cdef int i
    for i in range(text.size):
        if b"0" <= text.start[i] <= b"9":
            return True
    return False


cdef uint64_t ends_of(const char* text, int size) noexcept nogil:
    """Return for each word of a street 12 bits: of how it begins, and 6 above of how it ends.

    A word with digits has one number for all of it in both. No number is 0; where there are more
    than `ENDED_WORDS`, nothing is said of any.
    """
    cdef uint64_t ends = 0
    cdef int at = 0, start, count = 0
    while at < size:
        start = at
        while at < size and text[at] != b" ":
            at += 1
        if at > start:
            if count == ENDED_WORDS:
                return 0
            ends |= _ends_of_word(text + start, at - start) << END_BITS * 2 * count
            count += 1
        at += 1
    return ends


cdef inline uint64_t _ends_of_word(const char* word, int size) noexcept nogil:
    cdef _Text text
    cdef uint64_t whole
    text.start, text.size = word, size
    if _has_digits(text):
        whole = 32 | hash_of(word, size) >> 59
        return whole | whole << END_BITS
    return _end(word[0]) | _end(word[size - 1]) << END_BITS


cdef inline uint64_t _end(uint8_t letter) noexcept nogil:
    return max(letter & 31, 1)


cdef Span _house_number(const Features* one, const char* to) noexcept nogil:
    """Return the first word of a street that begins with a digit."""
    cdef Span span
    cdef int i = one.street.at, end = one.street.at + one.street.size, start
    span.at = one.street.at
    span.size = 0
    while i < end:
        start = i
        while i < end and to[i] != b" ":
            i += 1
        if b"0" <= to[start] <= b"9":
            span.at = start
            span.size = i - start
            return span
        i += 1
    return span


# Rarity

cdef class _Counts:
    """How often each hash occurs. The table grows: of few values it stays in the caches."""

    cdef uint64_t* keys
    cdef uint32_t* ids  # of each key: its place in `counts`
    cdef uint32_t* counts
    cdef uint64_t mask
    cdef uint32_t used

    def __cinit__(self):
        self._make_room(1024)

    def __dealloc__(self):
        free(self.keys)
        free(self.ids)
        free(self.counts)

    cdef int _make_room(self, uint64_t slots) except -1 nogil:
        cdef uint64_t* keys = self.keys
        cdef uint32_t* ids = self.ids
        cdef uint64_t i, at, old = self.mask + 1 if keys != NULL else 0
        cdef uint32_t* counts = <uint32_t*>realloc(self.counts, slots * sizeof(uint32_t))
        if counts != NULL:
            self.counts = counts
        self.keys = <uint64_t*>calloc(slots, sizeof(uint64_t))
        self.ids = <uint32_t*>malloc(slots * sizeof(uint32_t))
        if counts == NULL or self.keys == NULL or self.ids == NULL:
            free(keys)
            free(ids)
            with gil:
                raise MemoryError
        self.mask = slots - 1
        for i in range(old):
            if keys[i]:
                at = self._slot(keys[i])
                self.keys[at], self.ids[at] = keys[i], ids[i]
        free(keys)
        free(ids)
        return 0

    cdef inline uint64_t _slot(self, uint64_t key) noexcept nogil:
        """Return where a hash stands, or the empty place where it is to stand."""
        cdef uint64_t at = (key * 0x9E3779B97F4A7C15ULL >> 20) & self.mask
        while self.keys[at] and self.keys[at] != key:
            at = (at + 1) & self.mask
        return at

    cdef inline void fetch(self, uint64_t key) noexcept nogil:
        """Have a hash on its way to the processor before it is counted."""
        cdef uint64_t at = (key * 0x9E3779B97F4A7C15ULL >> 20) & self.mask
        FETCH(&self.keys[at])
        FETCH(&self.ids[at])

    cdef inline int64_t add(self, uint64_t key) except -1 nogil:
        """Count a hash that is not 0; return its id."""
        cdef uint64_t at = self._slot(key)
        if self.keys[at] == 0:
            if 4 * <uint64_t>self.used >= 3 * (self.mask + 1):
                self._make_room(2 * (self.mask + 1))
                at = self._slot(key)
            self.keys[at], self.ids[at] = key, self.used
            self.counts[self.used] = 0
            self.used += 1
        self.counts[self.ids[at]] += 1
        return self.ids[at]


# How often a value is among records at large: of a first name, a last name, ... as R_FIRST goes on.
cdef double[VALUES] _USUAL = [
    0.004, 0.001, 5e-5, 1e-5, 5e-4, 0.01, 0.001, 1e-4, 1e-6, 1e-5, 1e-6, 0.005,
]
cdef enum:
    USUAL_RECORDS = 100  # that what is usual counts for, beside the records at hand


cdef inline uint8_t _rarity(double total, uint32_t count, double usual) noexcept nogil:
    """Return how much it says that another record has a value, of which there are `count`."""
    cdef double share
    if count == 0:
        return 0
    share = (count - 1 + USUAL_RECORDS * usual) / (total + USUAL_RECORDS)
    return <uint8_t>min(max(-RARITY_UNITS * log2(share), 0.0), 255.0)


def rarity_of(int which, double records, uint32_t count):
    """Return the rarity of a value which `count` of the records have that have any.

    `which` is R_FIRST and so on; behind them e-mails, their local parts and phones.
    """
    if not 0 <= which < VALUES:
        raise IndexError(which)
    return _rarity(records, count, _USUAL[which])


cdef uint64_t word_hash(const Features* one, const Word* word) noexcept nogil:
    """Return the hash of a word of the name."""
    return hash_of(word_text(one, word), word.size)


cdef inline int _count_of(const Features* one, int which) noexcept nogil:
    """Return how many values a record may have of a kind."""
    if which == R_EMAIL or which == R_LOCAL:
        return one.emails
    return one.phones if which == R_PHONE else 1


cdef inline uint64_t _value(const Features* one, int which, int i) noexcept nogil:
    """Return a value as a hash, 0 if there is none."""
    if which == R_FIRST:
        return word_hash(one, firsts_of(one)) if one.firsts else 0
    if which == R_LAST:
        return word_hash(one, lasts_of(one)) if one.lasts else 0
    if which == R_BIRTH:
        return one.birth
    if which == R_STREET:
        return mixed(one.street_hash, one.place_hash) if one.street_hash else 0
    if which == R_POSTCODE:
        return hash_of(text_of(one, one.postcode), one.postcode.size)
    if which == R_CITY:
        return hash_of(text_of(one, one.city), one.city.size)
    if which == R_COMPANY:
        return hash_of(text_of(one, one.company), one.company.size)
    if which == R_STREET_ANYWHERE:
        return one.street_hash
    if which == R_EMAIL:
        return emails_of(one)[i].key
    if which == R_LOCAL:
        return emails_of(one)[i].local
    if which == R_PHONE:
        return phones_of(one)[i].digits
    return extras_of(one)[which - R_EXTRA].hash


cdef uint64_t value_of(const Features* one, int which) noexcept nogil:
    """Return a hash of the value of a kind, R_FIRST to R_COMPANY, 0 if there is none."""
    return _value(one, which, 0)


cdef inline void _put_rarity(Features* one, int which, int i, uint8_t rarity) noexcept nogil:
    if which < RARITIES:
        one.rarities[which] = rarity
    elif which == R_EMAIL:
        (<Email*>emails_of(one))[i].rarity = rarity
    elif which == R_LOCAL:
        (<Email*>emails_of(one))[i].local_rarity = rarity
    elif which == R_PHONE:
        (<Phone*>phones_of(one))[i].rarity = rarity
    else:
        (<Extra*>extras_of(one))[which - R_EXTRA].rarity = rarity


cpdef enum:  # of `weigh`
    COMMON_DATE = 20_000  # days that birth dates spread over, about
    DATE_EXCESS = 8  # so many times more often than that is no birth date but a placeholder
    DATE_FEW = 20


def weighed(Packed packed not None):
    """Return how many kinds of values there are to `weigh_value`."""
    return R_EXTRA + (features_at(packed, 0).extras if packed.count else 0)


def weigh(Packed packed not None):
    """Write the rarity of all values, and take away birth dates that are placeholders.

    Returns how many dates were taken away.
    """
    return sum(weigh_value(packed, which) for which in range(weighed(packed)))


def weigh_value(Packed packed not None, int which):
    """Do that for one kind of values; other threads may do it for others at the same time."""
    if not 0 <= which < weighed(packed):
        raise IndexError(which)
    cdef Py_ssize_t row, values = packed.count, taken
    if R_EMAIL <= which <= R_PHONE:
        values = 0
        with nogil:
            for row in range(packed.count):
                values += _count_of(features_at(packed, row), which)
    cdef _Counts counts = _Counts()
    cdef uint32_t* ids = <uint32_t*>malloc(max(values, 1) * sizeof(uint32_t))
    if ids == NULL:
        raise MemoryError
    try:
        with nogil:
            taken = _weigh_values(packed, which, counts, ids)
    finally:
        free(ids)
    return taken


cdef Py_ssize_t _weigh_values(
    Packed packed, int which, _Counts counts, uint32_t* ids
) except -1 nogil:
    cdef Py_ssize_t row, at = 0, present = 0, taken = 0
    cdef Features* one
    cdef uint64_t[VALUES_ROOM] ahead
    cdef double most, usual = _USUAL[min(which, <int>R_EXTRA)]
    cdef uint32_t count
    cdef int i, waiting = 0
    for row in range(packed.count):
        one = <Features*>features_at(packed, row)
        for i in range(_count_of(one, which)):
            ahead[waiting] = _value(one, which, i)
            counts.fetch(ahead[waiting])
            waiting += 1
        if waiting >= VALUES_AHEAD or row == packed.count - 1:
            for i in range(waiting):
                present += ahead[i] != 0
                ids[at] = <uint32_t>counts.add(ahead[i]) if ahead[i] else _NOBODY
                at += 1
            waiting = 0
    if which >= RARITIES:
        present = packed.count
    most = DATE_FEW + DATE_EXCESS * <double>present / COMMON_DATE
    at = 0
    for row in range(packed.count):
        one = <Features*>features_at(packed, row)
        for i in range(_count_of(one, which)):
            count = 0 if ids[at] == _NOBODY else counts.counts[ids[at]]
            at += 1
            if which == R_BIRTH and count > most:
                one.birth = 0
                taken += 1
                count = 0
            _put_rarity(one, which, i, _rarity(present, count, usual))
    return taken
