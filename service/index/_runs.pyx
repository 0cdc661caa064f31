# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, annotation_typing=False
"""The kernels of sorted runs: entries sorted, written as chunks and filters, merged and looked up.

An entry is two words, `first` and `tail`, and entries are sorted by both. A chunk is one value of
LMDB: the entries whose `first` begins with the chunk's number. So many chunks in a row are a group,
which has one filter. What is read from the file is checked to be as large as it has to be, and
searched within its bounds whatever it says.

Lines of a filter are chosen by the highest bits of `first`, so that making one goes through it
from its beginning to its end (Putze, Sanders, Singler, "Cache-, hash- and space-efficient Bloom
filters", 2007).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort
from libc.string cimport memcpy, memset

from service.core._features cimport FETCH
from service.core._hash cimport SECRET_BYTES, identity_entry
from service.index._lmdb cimport (
    AT_OR_AFTER, NEXT, NOT_FOUND, Calls, Value, close_cursor, delete_key, error_of, get_at,
    get_value, open_cursor, put_value,
)

from service.errors import StorageFault

FEW = 64  # look-ups: done before it would be worth while to let another thread run
LINE_BITS = 512
FILTER_BITS = 12  # for each entry: of a hundred absent keys one is searched for in vain

cdef enum:
    ENTRY_BYTES = 16
    LINE_BYTES = 64
    PROBES = 6  # bits of a line that are set for a key
    AT_ONCE = 32  # keys whose lines are fetched together
    KEY_BYTES = 13
    MARK_BYTES = 17
    FILTER_KIND = 0x80  # bit of the kind in the key of a filter
    DAMAGED = -1  # beside the codes of LMDB
    NO_MEMORY = -2
    SMALL = 24  # entries that are sorted by insertion
    MOST_INPUTS = 16
    ROW_BITS = 48

cdef uint64_t ALL = 0xFFFFFFFFFFFFFFFFULL
cdef uint64_t ROW_MASK = (1ULL << 48) - 1


# Words and keys


cdef inline Entry _entry(const char* entries, size_t place) noexcept nogil:
    """Read an entry where LMDB keeps it, which may be at any even address."""
    cdef Entry one
    memcpy(&one, entries + place * ENTRY_BYTES, ENTRY_BYTES)
    return one


cdef inline bint _less(Entry one, Entry other) noexcept nogil:
    return one.first < other.first or (one.first == other.first and one.tail < other.tail)


cdef inline uint64_t _part(uint64_t first, int bits) noexcept nogil:
    """Return which of 2^bits parts of all keys one is in."""
    return first >> (64 - bits) if bits else 0


cdef inline uint64_t _part_end(uint64_t part, int bits) noexcept nogil:
    """Return the last `first` of a part."""
    return part << (64 - bits) | ALL >> bits if bits else ALL


cdef inline uint64_t _share(uint64_t first, int bits, uint64_t parts) noexcept nogil:
    """Return which of some equal parts of its part a key is in; fewer than 2^32 parts."""
    return ((first << bits) >> 32) * parts >> 32


cdef inline Value _key(
    unsigned char* to, unsigned char kind, uint64_t number, uint64_t part
) noexcept nogil:
    """Write the key of a chunk or filter as `layout.pack_run_key` does."""
    cdef Value key
    cdef int i
    to[0] = kind
    for i in range(8):
        to[1 + i] = number >> 8 * (7 - i) & 0xFF
    for i in range(4):
        to[9 + i] = part >> 8 * (3 - i) & 0xFF
    key.size, key.data = KEY_BYTES, to
    return key


cdef inline Value _mark(unsigned char* to, unsigned char kind, Entry one) noexcept nogil:
    """Write the key of a mark as `layout.pack_retired` does."""
    cdef Value key
    cdef int i
    to[0] = kind
    for i in range(8):
        to[1 + i] = one.first >> 8 * (7 - i) & 0xFF
        to[9 + i] = one.tail >> 8 * (7 - i) & 0xFF
    key.size, key.data = MARK_BYTES, to
    return key


cdef inline Entry _marked(const Value* key) noexcept nogil:
    cdef const unsigned char* at = <const unsigned char*>key.data
    cdef Entry one
    cdef int i
    one.first = one.tail = 0
    for i in range(8):
        one.first = one.first << 8 | at[1 + i]
        one.tail = one.tail << 8 | at[9 + i]
    return one


cdef int _check(int code) except -1:
    if code == 0:
        return 0
    if code == DAMAGED:
        raise StorageFault("A sorted run of the index is damaged: verify it")
    if code == NO_MEMORY:
        raise MemoryError
    raise error_of("mdb of runs", code)


# Filters


cdef inline uint64_t _probes(uint64_t first) noexcept nogil:
    return first * 0x9E3779B97F4A7C15ULL >> 10


cdef inline void _add_to(char* line, uint64_t first) noexcept nogil:
    cdef uint64_t places = _probes(first)
    cdef int i
    for i in range(PROBES):
        line[places >> 3 & 63] |= 1 << (places & 7)
        places >>= 9


cdef inline bint _may_hold(const char* line, uint64_t first) noexcept nogil:
    cdef uint64_t places = _probes(first)
    cdef int i
    for i in range(PROBES):
        if not line[places >> 3 & 63] >> (places & 7) & 1:
            return False
        places >>= 9
    return True


cdef int _filter_of(
    const Source* source, const Span* span, uint64_t group, const char** filter
) noexcept nogil:
    cdef unsigned char[KEY_BYTES] room
    cdef Value key = _key(room, source.kind | FILTER_KIND, span.number, group), found
    cdef int code = get_value(source.txn, source.runs, &key, &found)
    if code:
        return DAMAGED if code == NOT_FOUND else code
    if found.size != <size_t>span.lines * LINE_BYTES:
        return DAMAGED
    filter[0] = <const char*>found.data
    return 0


cdef inline size_t _line_of(const Span* span, uint64_t first) noexcept nogil:
    return _share(first, span.group_bits, span.lines) * LINE_BYTES


# Chunks


cdef int _chunk_of(
    const Source* source, const Span* span, uint64_t chunk, const char** entries, size_t* count
) noexcept nogil:
    cdef unsigned char[KEY_BYTES] room
    cdef Value key = _key(room, source.kind, span.number, chunk), found
    cdef int code = get_value(source.txn, source.runs, &key, &found)
    if code:
        return DAMAGED if code == NOT_FOUND else code
    if found.size % ENTRY_BYTES:
        return DAMAGED
    entries[0], count[0] = <const char*>found.data, found.size // ENTRY_BYTES
    return 0


cdef size_t _lower(const char* entries, size_t count, Entry key, size_t guess) noexcept nogil:
    """Return the place of the first entry that is not less than a key, seeking from a guess."""
    cdef size_t low = 0, high = count, step = 1, middle
    if count == 0:
        return 0
    if guess >= count:
        guess = count - 1
    if _less(_entry(entries, guess), key):
        low = guess + 1
        while low + step < count and _less(_entry(entries, low + step), key):
            low += step + 1
            step *= 2
        high = min(count, low + step)
    else:
        high = guess
        while step <= high and not _less(_entry(entries, high - step), key):
            high -= step
            step *= 2
        low = high - step + 1 if step <= high else 0
    while low < high:
        middle = (low + high) // 2
        if _less(_entry(entries, middle), key):
            low = middle + 1
        else:
            high = middle
    return low


cdef size_t _upper(const char* entries, size_t count, Entry key, size_t guess) noexcept nogil:
    """Return the place of the first entry that is greater than a key."""
    if key.tail != ALL:
        key.tail += 1
    elif key.first != ALL:
        key.first, key.tail = key.first + 1, 0
    else:
        return count
    return _lower(entries, count, key, guess)


cdef int _seek(
    const Source* source, const Span* span, uint64_t first, uint64_t low, uint64_t high,
    const char** entries, size_t* begin, size_t* end,
) noexcept nogil:
    """Find a key's entries with tails from `low` to `high`; the filter was asked."""
    cdef size_t count = 0
    cdef Entry key
    cdef int code = _chunk_of(source, span, _part(first, span.bits), entries, &count)
    if code:
        return code
    key.first, key.tail = first, low
    begin[0] = _lower(entries[0], count, key, <size_t>(_share(first, span.bits, count)))
    key.tail = high
    end[0] = _upper(entries[0], count, key, begin[0]) if low != high else begin[0]
    if low == high and begin[0] < count:
        end[0] += not _less(key, _entry(entries[0], begin[0]))
    return 0


# What is retired


cdef int _is_retired(const Source* source, Entry one, bint* retired) noexcept nogil:
    cdef unsigned char[MARK_BYTES] room
    cdef Value key, found
    cdef int code
    retired[0] = False
    if not source.any_retired:
        return 0
    key = _mark(room, source.kind, one)
    code = get_value(source.txn, source.retired, &key, &found)
    retired[0] = code == 0
    return 0 if code == NOT_FOUND else code


cdef int _marks(
    const Source* source, Entry low, Entry high, Entry** to, size_t* count
) noexcept nogil:
    """Count the marks from `low` to `high`, both included, and copy them unless `to` is NULL."""
    cdef unsigned char[MARK_BYTES] room
    cdef Value key = _mark(room, source.kind, low), found
    cdef void* cursor = NULL
    cdef size_t size = 0
    cdef Entry one
    cdef int code = open_cursor(source.txn, source.retired, &cursor)
    if code:
        return code
    count[0] = 0
    code = get_at(cursor, &key, &found, AT_OR_AFTER)
    while code == 0 and (<const unsigned char*>key.data)[0] == source.kind:
        if key.size != MARK_BYTES:
            code = DAMAGED
            break
        one = _marked(&key)
        if _less(high, one):
            break
        if to != NULL:
            if count[0] == size:
                size = size * 2 if size else 256
                code = _grow(to, count[0], size)
                if code:
                    break
            to[0][count[0]] = one
        count[0] += 1
        code = get_at(cursor, &key, &found, NEXT)
    close_cursor(cursor)
    return 0 if code == NOT_FOUND else code


cdef int _grow(Entry** entries, size_t count, size_t size) noexcept nogil:
    cdef Entry* larger = <Entry*>malloc(size * ENTRY_BYTES)
    if larger == NULL:
        return NO_MEMORY
    if count:
        memcpy(larger, entries[0], count * ENTRY_BYTES)
    free(entries[0])
    entries[0] = larger
    return 0


# Sorting


cdef int _order(const void* one, const void* other) noexcept nogil:
    if _less((<const Entry*>one)[0], (<const Entry*>other)[0]):
        return -1
    return _less((<const Entry*>other)[0], (<const Entry*>one)[0])


cdef void _sort_few(Entry* entries, size_t count) noexcept nogil:
    cdef size_t i, at
    cdef Entry one
    if count > SMALL:  # a popular key; glibc's is a merge sort
        qsort(entries, count, ENTRY_BYTES, _order)
        return
    for i in range(1, count):
        one, at = entries[i], i
        while at and _less(one, entries[at - 1]):
            entries[at] = entries[at - 1]
            at -= 1
        entries[at] = one


cdef int _sorted(const char* given, size_t count, Entry* to) noexcept nogil:
    """Sort entries: by the highest bits, of which there are as many values as entries, then each.

    The bits are those of a hash, so few entries share them.
    """
    cdef int bits = 1
    cdef size_t i, place, total = 0, size
    cdef size_t* starts
    while <size_t>1 << bits < count:
        bits += 1
    starts = <size_t*>calloc((<size_t>1 << bits) + 1, sizeof(size_t))
    if starts == NULL:
        return NO_MEMORY
    for i in range(count):
        starts[_part(_entry(given, i).first, bits)] += 1
    for i in range(<size_t>1 << bits):
        size, starts[i] = starts[i], total
        total += size
    for i in range(count):
        place = _part(_entry(given, i).first, bits)
        to[starts[place]] = _entry(given, i)
        starts[place] += 1
    place = 0
    for i in range(<size_t>1 << bits):  # `starts` is where each ends by now
        if starts[i] > place + 1:
            _sort_few(to + place, starts[i] - place)
        place = starts[i]
    free(starts)
    return 0


cdef size_t _distinct(Entry* entries, size_t count) noexcept nogil:
    cdef size_t i, kept = 0
    for i in range(count):
        if i == 0 or _less(entries[kept - 1], entries[i]):
            entries[kept] = entries[i]
            kept += 1
    return kept


# Writing


cdef int _put(const Source* source, Value* key, const void* data, size_t size) noexcept nogil:
    cdef Value value
    value.size, value.data = size, data
    return put_value(source.txn, source.runs, key, &value)


cdef int _put_group(
    const Source* source, const Span* span, uint64_t group, const Entry* entries, size_t count
) noexcept nogil:
    """Write the chunks and the filter of a group of a run."""
    cdef unsigned char[KEY_BYTES] room
    cdef int below = span.bits - span.group_bits, code
    cdef uint64_t chunk = group << below, last = chunk + (<uint64_t>1 << below) - 1
    cdef size_t at = 0, end
    cdef Entry border
    cdef Value key
    code = _put_filter(source, span, group, entries, count)
    border.tail = ALL
    while code == 0 and chunk <= last:
        border.first = _part_end(chunk, span.bits)
        end = at + _upper(<const char*>(entries + at), count - at, border, 0)
        key = _key(room, source.kind, span.number, chunk)
        code = _put(source, &key, entries + at, (end - at) * ENTRY_BYTES)
        at, chunk = end, chunk + 1
    return DAMAGED if code == 0 and at != count else code


cdef int _put_filter(
    const Source* source, const Span* span, uint64_t group, const Entry* entries, size_t count
) noexcept nogil:
    cdef unsigned char[KEY_BYTES] room
    cdef size_t size = <size_t>span.lines * LINE_BYTES, i
    cdef char* lines = <char*>calloc(size, 1)
    cdef Value key = _key(room, source.kind | FILTER_KIND, span.number, group)
    cdef int code
    if lines == NULL:
        return NO_MEMORY
    for i in range(count):
        if i == 0 or entries[i].first != entries[i - 1].first:
            _add_to(lines + _line_of(span, entries[i].first), entries[i].first)
    code = _put(source, &key, lines, size)
    free(lines)
    return code


cdef int _put_run(
    const Source* source, const Span* span, const Entry* entries, size_t count
) noexcept nogil:
    cdef uint64_t group
    cdef size_t at = 0, end
    cdef Entry border
    cdef int code
    border.tail = ALL
    for group in range(<uint64_t>1 << span.group_bits):
        border.first = _part_end(group, span.group_bits)
        end = at + _upper(<const char*>(entries + at), count - at, border, 0)
        code = _put_group(source, span, group, entries + at, end - at)
        if code:
            return code
        at = end
    return 0


# Merging


cdef int _gather(
    const Source* source, const Span* span, Entry low, Entry high, Entry** to, size_t* size,
    size_t* used,
) noexcept nogil:
    """Copy an input's entries of a group behind those that were copied."""
    cdef uint64_t chunk = _part(low.first, span.bits), last = _part(high.first, span.bits)
    cdef const char* entries = NULL
    cdef size_t count = 0, begin, end
    cdef int code
    while chunk <= last:
        code = _chunk_of(source, span, chunk, &entries, &count)
        if code:
            return code
        begin = _lower(entries, count, low, 0)
        end = begin + _upper(entries + begin * ENTRY_BYTES, count - begin, high, 0)
        if used[0] + end - begin > size[0]:
            size[0] = (used[0] + end - begin) * 2
            code = _grow(to, used[0], size[0])
            if code:
                return code
        if begin < end:
            memcpy(to[0] + used[0], entries + begin * ENTRY_BYTES, (end - begin) * ENTRY_BYTES)
        used[0] += end - begin
        chunk += 1
    return 0


cdef void _merge_two(
    const Entry* one, const Entry* one_end, const Entry* other, const Entry* other_end, Entry* to
) noexcept nogil:
    cdef bint takes_other
    while one < one_end and other < other_end:
        takes_other = _less(other[0], one[0])
        to[0] = other[0] if takes_other else one[0]
        other += takes_other
        one += not takes_other
        to += 1
    if one < one_end:
        memcpy(to, one, <size_t>(one_end - one) * ENTRY_BYTES)
    elif other < other_end:
        memcpy(to, other, <size_t>(other_end - other) * ENTRY_BYTES)


cdef Entry* _merge_all(Entry* entries, Entry* spare, size_t* ends, int pieces) noexcept nogil:
    """Merge pieces that stand behind each other, in pairs; return which of the two has them."""
    cdef Entry* taken
    cdef size_t start, end
    cdef int i, made
    while pieces > 1:
        start = 0
        made = 0
        for i in range(0, pieces, 2):
            end = ends[i + 1] if i + 1 < pieces else ends[i]
            _merge_two(entries + start, entries + ends[i], entries + ends[i], entries + end,
                       spare + start)
            ends[made] = start = end
            made += 1
        pieces = made
        taken, entries, spare = entries, spare, entries
    return entries


cdef int _drop_marked(
    const Source* source, Entry low, Entry high, Entry* entries, size_t* count, size_t* dropped
) noexcept nogil:
    """Leave out entries that are retired, and forget their marks."""
    cdef unsigned char[MARK_BYTES] room
    cdef Entry* marks = NULL
    cdef size_t marked = 0, at = 0, i, kept = 0
    cdef Value key
    cdef int code = _marks(source, low, high, &marks, &marked)
    for i in range(count[0] if code == 0 else 0):
        while at < marked and _less(marks[at], entries[i]):
            at += 1
        if at < marked and not _less(entries[i], marks[at]):
            key = _mark(room, source.kind, marks[at])
            code = delete_key(source.txn, source.retired, &key)
            if code:
                break
            dropped[0] += 1
            at += 1
            continue
        entries[kept] = entries[i]
        kept += 1
    free(marks)
    count[0] = kept
    return code


cdef int _drop_parts(
    const Source* source, const Span* span, unsigned char kind, int bits, Entry low, Entry high
) noexcept nogil:
    """Delete an input's chunks, or filters, that end within a group: all before is deleted."""
    cdef unsigned char[KEY_BYTES] room
    cdef uint64_t part = _part(low.first, bits), last = _part(high.first, bits)
    cdef Value key
    cdef int code
    while part <= last:
        if _part_end(part, bits) <= high.first:
            key = _key(room, kind, span.number, part)
            code = delete_key(source.txn, source.runs, &key)
            if code:
                return DAMAGED if code == NOT_FOUND else code
        part += 1
    return 0


cdef int _drop_group(
    const Source* source, const Span* inputs, int pieces, Entry low, Entry high
) noexcept nogil:
    """Delete what inputs have of a group that was merged."""
    cdef int piece, code = 0
    for piece in range(pieces):
        code = _drop_parts(source, &inputs[piece], source.kind, inputs[piece].bits, low, high)
        if code == 0:
            code = _drop_parts(
                source, &inputs[piece], source.kind | FILTER_KIND, inputs[piece].group_bits, low,
                high,
            )
        if code:
            break
    return code


cdef bint _is_sorted(const Entry* entries, size_t count) noexcept nogil:
    cdef size_t i
    for i in range(1, count):
        if not _less(entries[i - 1], entries[i]):
            return False
    return True


cdef int _put_merged(
    const Source* source, const Span* output, uint64_t group, Entry low, Entry high,
    Entry* entries, size_t* ends, int pieces, size_t* written, size_t* dropped,
) noexcept nogil:
    """Merge what was gathered, leave out what is retired, and write the rest."""
    cdef size_t count = ends[pieces - 1]
    cdef Entry* spare = <Entry*>malloc(max(count, <size_t>1) * ENTRY_BYTES)
    cdef Entry* merged
    cdef int code = 0
    if spare == NULL:
        return NO_MEMORY
    merged = _merge_all(entries, spare, ends, pieces)
    if not _is_sorted(merged, count):  # or a damaged input would spread
        code = DAMAGED
    elif source.any_retired:
        code = _drop_marked(source, low, high, merged, &count, dropped)
    if code == 0:
        code = _put_group(source, output, group, merged, count)
    written[0] = count
    free(spare)
    return code


cdef int _merge_group(
    const Source* source, const Span* inputs, int pieces, const Span* output, uint64_t group,
    size_t* consumed, size_t* written, size_t* dropped,
) noexcept nogil:
    cdef Entry* entries = NULL
    cdef size_t[MOST_INPUTS] ends
    cdef size_t size = 0, used = 0
    cdef Entry low, high
    cdef int piece, code = 0
    high.first, high.tail = _part_end(group, output.group_bits), ALL
    low.first, low.tail = high.first & ~(ALL >> output.group_bits), 0
    for piece in range(pieces):
        code = _gather(source, &inputs[piece], low, high, &entries, &size, &used)
        if code:
            break
        consumed[piece] = used - (ends[piece - 1] if piece else 0)
        ends[piece] = used
    if code == 0:
        code = _put_merged(
            source, output, group, low, high, entries, ends, pieces, written, dropped
        )
    if code == 0:
        code = _drop_group(source, inputs, pieces, low, high)
    free(entries)
    return code


# Asking many at once


cdef int _is_held(
    const Source* source, const Span* span, Entry key, unsigned char* held
) noexcept nogil:
    """Set `held` where a live entry of a run has a key's hash; the filter was asked."""
    cdef const char* entries = NULL
    cdef size_t begin = 0, end = 0
    cdef bint retired = False
    cdef int code = _seek(
        source, span, key.first, key.tail, key.tail | ALL >> 16, &entries, &begin, &end
    )
    while code == 0 and begin < end and not held[0]:
        code = _is_retired(source, _entry(entries, begin), &retired)
        held[0] = not retired and code == 0
        begin += 1
    return code


cdef int _held_in(
    const Source* source, const Span* span, const char** filters, const char* keys, size_t count,
    unsigned char* held,
) noexcept nogil:
    cdef const char* lines[AT_ONCE]
    cdef size_t base = 0, few, i, place
    cdef uint64_t first, group
    cdef int code
    while base < count:
        few = min(<size_t>AT_ONCE, count - base)
        for i in range(few):
            first, lines[i] = _entry(keys, base + i).first, NULL
            if held[base + i] or not span.low <= first <= span.high:
                continue
            group = _part(first, span.group_bits)
            if filters[group] == NULL:
                code = _filter_of(source, span, group, &filters[group])
                if code:
                    return code
            lines[i] = filters[group] + _line_of(span, first)
            FETCH(lines[i])
        for i in range(few):
            place = base + i
            if lines[i] != NULL and _may_hold(lines[i], _entry(keys, place).first):
                code = _is_held(source, span, _entry(keys, place), &held[place])
                if code:
                    return code
        base += few
    return 0


cdef int _held(
    const Source* source, const Span* spans, int runs, const char* keys, size_t count,
    unsigned char* held,
) noexcept nogil:
    cdef const char** filters
    cdef int i, code = 0
    for i in range(runs):
        filters = <const char**>calloc(<size_t>1 << spans[i].group_bits, sizeof(char*))
        if filters == NULL:
            return NO_MEMORY
        code = _held_in(source, &spans[i], filters, keys, count, held)
        free(filters)
        if code:
            break
    return code


cdef int _read_secret(bytes secret, uint64_t* words) except -1:
    if PyBytes_GET_SIZE(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes")
    memcpy(words, PyBytes_AS_STRING(secret), SECRET_BYTES)
    return 0


def identity_hash(bytes key not None, bytes secret not None):
    """Return the hash of an identities key as runs have it: `first`, and 16 bits more."""
    cdef uint64_t[2] words
    cdef uint64_t[2] entry
    _read_secret(secret, words)
    identity_entry(
        <const unsigned char*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), words, 0, entry
    )
    return entry[0], entry[1] >> 48


cdef Span _span(given) except *:
    cdef Span span
    span.number, span.bits, span.group_bits, span.lines, span.low, span.high = given
    return span


cdef class SpanTable:
    """Runs of one kind, for any number of transactions that see the same.

    Each is given as (number, bits, group bits, lines, lowest `first`, highest `first`).
    """

    def __cinit__(self, list spans not None):
        cdef Py_ssize_t i
        self._spans = <Span*>calloc(len(spans) + 1, sizeof(Span))
        if self._spans == NULL:
            raise MemoryError
        for i in range(len(spans)):
            self._spans[i] = _span(spans[i])
        self._count = len(spans)

    def __dealloc__(self):
        free(self._spans)


cdef class Spans:
    """The runs of one kind as one transaction sees them. Not for several threads at once.

    Raises StorageFault where what is read is damaged.
    """

    def __cinit__(
        self, Calls calls not None, runs, retired, unsigned char kind, SpanTable table not None,
        bint any_retired,
    ):
        self._table, self._spans, self._count = table, table._spans, table._count
        self._filters = <Filter*>calloc(table._count + 1, sizeof(Filter))
        if self._filters == NULL:
            raise MemoryError
        self._calls, self._runs, self._retired = calls, runs, retired
        self._source.kind, self._source.any_retired = kind, any_retired
        self._source.runs, self._source.retired = calls._handle(runs), calls._handle(retired)

    def __dealloc__(self):
        free(self._filters)

    cdef int _open(self) except -1:
        self._source.txn = self._calls._open()
        if self._mutations != self._calls._transaction.mutations:  # filters may have moved
            self._mutations = self._calls._transaction.mutations
            memset(self._filters, 0, self._count * sizeof(Filter))
        return 0

    cdef int _find(
        self, int span, uint64_t first, uint64_t low, uint64_t high,
        const char** entries, size_t* begin, size_t* end,
    ) except -1:
        """Find a key's entries in one run with tails from `low` to `high`."""
        cdef const Span* run = &self._spans[span]
        cdef Filter* filter = &self._filters[span]
        cdef uint64_t group
        begin[0] = end[0] = 0
        if not run.low <= first <= run.high:
            return 0
        group = _part(first, run.group_bits)
        if filter.at == NULL or filter.group != group:
            filter.at, filter.group = NULL, group
            _check(_filter_of(&self._source, run, group, &filter.at))
        if _may_hold(filter.at + _line_of(run, first), first):
            _check(_seek(&self._source, run, first, low, high, entries, begin, end))
        return 0

    cdef int _count_of(
        self, uint64_t first, uint64_t low, uint64_t high, Py_ssize_t* count
    ) except -1:
        cdef const char* entries = NULL
        cdef size_t begin, end, marked = 0
        cdef Entry one, other
        cdef int i
        count[0] = 0
        for i in range(self._count):
            self._find(i, first, low, high, &entries, &begin, &end)
            count[0] += end - begin
        if count[0] and self._source.any_retired:
            one.first = other.first = first
            one.tail, other.tail = low, high
            _check(_marks(&self._source, one, other, NULL, &marked))
            count[0] -= marked
        return 0

    cdef int _add_tails(
        self, uint64_t first, uint64_t low, uint64_t high, Py_ssize_t limit, list found
    ) except -1:
        """Add up to `limit` live tails of each run."""
        cdef const char* entries = NULL
        cdef size_t begin, end
        cdef Py_ssize_t left
        cdef bint retired = False
        cdef int i
        for i in range(self._count):
            self._find(i, first, low, high, &entries, &begin, &end)
            left = limit
            while begin < end and left > 0:
                _check(_is_retired(&self._source, _entry(entries, begin), &retired))
                if not retired:
                    found.append(_entry(entries, begin).tail)
                    left -= 1
                begin += 1
        return 0

    def count(self, uint64_t first, uint64_t low, uint64_t high):
        """Count the live entries of a key with tails from `low` to `high`, both included."""
        cdef Py_ssize_t count
        self._open()
        self._count_of(first, low, high, &count)
        return count

    def tails(self, uint64_t first, uint64_t low, uint64_t high, Py_ssize_t limit):
        """Return up to `limit` live tails of a key from `low` to `high`, ascending."""
        cdef list found = []
        self._open()
        self._add_tails(first, low, high, limit, found)
        found.sort()
        return found[:limit]

    def rows(self, keys, bytes secret not None, uint64_t after, Py_ssize_t limit):
        """Return the distinct rows under any of the identities keys, as `Calls.rows` does."""
        cdef uint64_t[2] words
        cdef uint64_t[2] entry
        cdef bytes key
        cdef list found = []
        _read_secret(secret, words)
        self._open()
        for key in keys:
            identity_entry(
                <const unsigned char*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), words, 0, entry
            )
            if after < ROW_MASK:
                self._add_tails(entry[0], entry[1] | after + 1, entry[1] | ROW_MASK, limit, found)
        return sorted({tail & ROW_MASK for tail in found})[:limit] if found else found

    def blocks(self, keys, sizes, Py_ssize_t limit):
        """Return for each (blocking key, second key) how many entries runs have, and which.

        With those that stand elsewhere, `sizes`: of more than `limit` only those that have the
        second key too, none for 0. At most `limit`, ascending.
        """
        cdef list made = [], found
        cdef bytes key
        cdef uint64_t first, low
        cdef Py_ssize_t count
        self._open()
        for (key, second), size in zip(keys, sizes, strict=True):
            count, found = 0, []
            if PyBytes_GET_SIZE(key) == sizeof(first):
                memcpy(&first, PyBytes_AS_STRING(key), sizeof(first))
                self._count_of(first, 0, ALL, &count)
                if count and count + size <= limit:
                    self._add_tails(first, 0, ALL, limit, found)
                elif count and second:
                    low = <uint64_t>second << ROW_BITS
                    self._add_tails(first, low, low | ROW_MASK, limit, found)
                found.sort()
            made.append((count, found[:limit]))
        return made

    def held(self, keys, Py_ssize_t count):
        """Tell of each of `count` entries without rows whether a live entry has its hash.

        Keys are pairs of native words; a byte each is returned, 1 or 0.
        """
        cdef const unsigned char[::1] given = memoryview(keys).cast("B")
        cdef bytearray answers
        cdef unsigned char* held
        cdef const char* first
        cdef int code
        if count < 0 or given.shape[0] < count * ENTRY_BYTES:
            raise ValueError("need two words of each key")
        answers = bytearray(count)
        held = answers
        self._open()
        if count == 0:
            return answers
        first = <const char*>&given[0]
        if count <= FEW:
            code = _held(&self._source, self._spans, self._count, first, count, held)
        else:
            with nogil:
                code = _held(&self._source, self._spans, self._count, first, count, held)
        _check(code)
        return answers

    def holders(self, uint64_t first, uint64_t tail):
        """Count the runs that have an entry, retired or not."""
        cdef const char* entries = NULL
        cdef size_t begin, end
        cdef int i
        cdef Py_ssize_t count = 0
        self._open()
        for i in range(self._count):
            self._find(i, first, tail, tail, &entries, &begin, &end)
            count += end > begin
        return count

    def write(self, given, entries):
        """Write unsorted entries as a run; return how many different ones they were."""
        cdef Span span = _span(given)
        cdef const unsigned char[::1] view = memoryview(entries).cast("B")
        cdef size_t count = view.shape[0] // ENTRY_BYTES
        cdef Entry* ordered
        cdef int code = 0
        if view.shape[0] == 0 or view.shape[0] % ENTRY_BYTES:
            raise ValueError("need two words of each entry")
        self._open()
        with nogil:
            ordered = <Entry*>malloc(count * ENTRY_BYTES)
            code = NO_MEMORY if ordered == NULL else _sorted(<const char*>&view[0], count, ordered)
            if code == 0:
                count = _distinct(ordered, count)
                code = _put_run(&self._source, &span, ordered, count)
            free(ordered)
        self._calls._transaction.mutations += 1
        _check(code)
        return count

    def merge(self, list inputs not None, given, uint64_t group):
        """Merge a group of an output from its inputs, and delete what is done of them.

        Returns how many entries were taken of each, how many were written, and how many marks of
        retired ones were forgotten.
        """
        cdef Span[MOST_INPUTS] spans
        cdef size_t[MOST_INPUTS] consumed
        cdef Span output = _span(given)
        cdef size_t written = 0, dropped = 0
        cdef int i, pieces = len(inputs), code
        if not 0 < pieces <= MOST_INPUTS:
            raise ValueError("too many runs to merge")
        for i in range(pieces):
            spans[i] = _span(inputs[i])
        self._open()
        with nogil:
            code = _merge_group(
                &self._source, spans, pieces, &output, group, consumed, &written, &dropped
            )
        self._calls._transaction.mutations += 1
        _check(code)
        return [consumed[i] for i in range(pieces)], written, dropped

    def chunk(self, given, uint64_t chunk):
        """Return the entries of a chunk that count, as they are stored; b"" beyond the span.

        Raises StorageFault unless they are sorted, in their place and known to the filter.
        """
        cdef Span span = _span(given)
        cdef const char* entries = NULL
        cdef size_t count = 0, begin, end
        cdef Entry low, high
        self._open()
        low.first, low.tail = max(span.low, _part_end(chunk, span.bits) & ~(ALL >> span.bits)), 0
        high.first, high.tail = min(span.high, _part_end(chunk, span.bits)), ALL
        if span.bits == 0:
            low.first = span.low
        if low.first > high.first:
            return b""
        _check(_chunk_of(&self._source, &span, chunk, &entries, &count))
        _check(_inspect(&self._source, &span, chunk, entries, count))
        begin = _lower(entries, count, low, 0)
        end = _upper(entries, count, high, begin)
        return PyBytes_FromStringAndSize(
            entries + begin * ENTRY_BYTES, (end - begin) * ENTRY_BYTES
        )


cdef int _inspect(
    const Source* source, const Span* span, uint64_t chunk, const char* entries, size_t count
) noexcept nogil:
    cdef const char* filter = NULL
    cdef Entry one, before
    cdef size_t i
    cdef int code = _filter_of(source, span, chunk >> (span.bits - span.group_bits), &filter)
    if code:
        return code
    for i in range(count):
        one = _entry(entries, i)
        if _part(one.first, span.bits) != chunk or (i and not _less(before, one)):
            return DAMAGED
        if not _may_hold(filter + _line_of(span, one.first), one.first):
            return DAMAGED
        before = one
    return 0
