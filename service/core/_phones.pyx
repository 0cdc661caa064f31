# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, annotation_typing=False
"""Phone numbers, in batches and without the GIL: parsed, judged, keyed and written as people do.

`parse` finds what `phonenumbers` (the Python port of libphonenumber) finds, with the tables that
`build_phones.py` made of its metadata, which says what is in them. A text goes through the steps of
the library in its order: the number is found within the text (RFC 3966 phone-context, junk around
it, a second number behind a slash), looked at as a whole, its extension is taken off, its country
code found behind a plus, an international prefix or without either, and its national prefix taken
off where the plan of its country allows that. What remains runs through one automaton, which says
whose number it is and of what type. Tests compare every answer with the library's.

Nearly all numbers are written in a plus, ASCII digits and a few separators: these are read as they
stand. Other texts are looked at as code points, and those as the classes that the library's
patterns tell apart. No text of more than 250 characters is looked at, so every step has a bound.
"""

import json
import struct
import unicodedata
import zlib
from importlib.metadata import version
from pathlib import Path

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from service.core._text cimport FEW, Column, Texts
from service.core.model import PhoneForm, PhoneType, Reason

cdef enum:
    TEXT_LIMIT = 250  # characters: libphonenumber parses nothing longer
    TEXT_ROOM = 256
    CHARACTER_BYTES = 4  # at most, in UTF-8
    NATIONAL_LEAST = 2  # digits
    NATIONAL_MOST = 17
    E164_ROOM = 20  # digits: country code and national number
    EXTENSION_MOST = 20  # digits
    EXTENSION_ROOM = 80  # bytes
    COUNTRY_CODES = 1000
    LETTERS = 26  # of a region
    SPLITS_LIMIT = 128  # pending alternatives of a prefix's program
    SLOTS = 8  # positions of groups
    LITERAL_ROOM = 6
    GROUPS_LIMIT = 8  # groups of a format
    DISPLAY_ROOM = 128  # bytes of a formatted number, without its extension

cdef enum:  # traits of a class of characters
    IS_START = 1
    IS_PLUS = 2
    IS_UNWANTED = 4
    IS_LETTER = 8
    IS_DECIMAL = 16
    IS_HASH = 32
    IS_SEMICOLON = 64

cdef enum:  # bytes of plain numbers: a digit's value, or
    PLAIN_SEPARATOR = 16
    PLAIN_PLUS = 32

cdef enum:  # operations of a program
    DIGIT = 0
    SPLIT = 1
    JUMP = 2
    SAVE = 3
    AT_END = 4
    MATCH = 5

cdef enum:  # whether "#" ends an extension
    HASH_NEVER = 0
    HASH_MAY = 1
    HASH_MUST = 2

cdef enum:  # outcomes: 0, or 1 + the library's NumberParseException
    PARSED = 0
    INVALID_COUNTRY_CODE = 1
    NOT_A_NUMBER = 2
    TOO_SHORT_AFTER_IDD = 3
    TOO_SHORT_NSN = 4
    TOO_LONG = 5

cdef enum:  # possibilities: the library's ValidationResult
    IS_POSSIBLE = 0
    LENGTH_SHORT = 2
    LENGTH_LONG = 3
    LOCAL_ONLY = 4
    INVALID_LENGTH = 5

cdef enum:  # of model.Reason
    ACCEPTED = 1
    PHONE_FORMAT = 12
    PHONE_NOT_ASSIGNED = 13

assert (ACCEPTED, PHONE_FORMAT, PHONE_NOT_ASSIGNED) == (
    Reason.ACCEPTED, Reason.PHONE_FORMAT, Reason.PHONE_NOT_ASSIGNED
)

FORMAT = 2  # of the tables, as in build_phones.py

cdef packed struct Plan:
    uint16_t country_code
    uint16_t groups
    uint16_t prefix_first  # digits that a national prefix can begin with, as bits
    uint16_t idd_first
    uint32_t lengths  # possible ones, as bits
    uint32_t local_lengths
    int32_t prefix  # where the program begins, -1 for none
    int32_t idd
    uint16_t general  # root in the automaton
    uint16_t spare
    uint8_t shortest
    uint8_t longest
    uint8_t group  # that the transformed number takes over, 0 for no rule
    uint8_t literal_size
    char[LITERAL_ROOM] literal  # and what stands before it

cdef packed struct Record:
    uint8_t outcome
    uint8_t possibility
    uint8_t type  # model.PhoneType, 0 unless valid
    uint8_t reason  # model.Reason
    uint16_t country_code
    uint16_t region  # index into REGIONS
    uint8_t size  # digits, country code included
    uint8_t code_size  # digits of the country code
    char[E164_ROOM] digits  # ASCII
    uint16_t spare

cdef struct Country:
    int32_t plan  # -1: not a country code
    uint16_t geographic  # types whose numbers belong to a place, as bits
    uint16_t root
    uint16_t formats_root
    int32_t first_format
    int32_t national_formats
    int32_t abroad_formats
    const char* extension
    Py_ssize_t extension_size
    uint8_t code_size
    char[3] code  # ASCII digits

cdef struct Part:  # of a rule: a text, then a group (from 1; 0 ends the rule)
    const char* text
    uint8_t size
    uint8_t group

cdef struct Format:
    uint8_t groups
    uint8_t[GROUPS_LIMIT] least
    uint8_t[GROUPS_LIMIT] most
    Part[GROUPS_LIMIT + 1] national
    Part[GROUPS_LIMIT + 1] abroad

cdef struct Text:
    int size
    uint8_t marks  # traits of any of its characters
    uint32_t[TEXT_ROOM] characters
    uint8_t[TEXT_ROOM] classes

cdef struct Digits:
    int size
    bint has_plus  # before them
    uint8_t[TEXT_ROOM + LITERAL_ROOM] at  # 0 to 9

cdef struct Found:  # what a step leaves: the country code or 0, and the national number
    int country_code
    const uint8_t* national
    int size

cdef struct Pending:
    int operation
    int place
    int[SLOTS] slots


# The tables, once per process

cdef bytes _file
cdef const uint16_t* _labels
cdef const uint16_t* _moves
cdef const Plan* _plans
cdef const uint32_t* _code
cdef const uint64_t* _masks
cdef const uint16_t* _class_index
cdef const uint8_t* _class_blocks
cdef const uint8_t* _class_traits
cdef const uint8_t* _plain
cdef const uint16_t* _viable
cdef const uint16_t* _context
cdef const uint16_t* _extension
cdef const uint8_t* _extension_limits
cdef int _classes, _extensions
cdef Country[COUNTRY_CODES] _countries
cdef Format* _formats
cdef uint16_t _zones_root
cdef uint8_t[128] _ascii
cdef int* _region_plans
cdef int _regions
cdef dict _region_ids
cdef int _unknown_region
cdef uint16_t[LETTERS * LETTERS] _region_of  # two upper-case letters
cdef list _texts = []  # keeps alive what countries and formats point into

REGIONS: tuple = ()
TIME_ZONES: tuple = ()
SUPPORTED_REGIONS: frozenset = frozenset()  # those that have a numbering plan
PHONE_RULES_VERSION = 1  # of the rules of `_key`: stored keys of another version are made anew


def read_tables(path):
    """Return the file and its header; raise ImportError where they are not what is needed here."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ImportError(f"{path.name} is missing: build the package again") from None
    try:
        (size,) = struct.unpack_from("=I", content)
        header = json.loads(content[4 : 4 + size])
        found = (header["format"], header["phonenumbers"], header["unicode"])
    except (struct.error, ValueError, LookupError, TypeError):
        raise ImportError(f"{path.name} is damaged: build the package again") from None
    wanted = (FORMAT, version("phonenumbers"), unicodedata.unidata_version)
    if found != wanted:
        raise ImportError(
            f"{path.name} is of format {found[0]}, phonenumbers {found[1]} and Unicode {found[2]}; "
            f"here are {wanted[0]}, {wanted[1]} and {wanted[2]}: build the package again"
        )
    if zlib.crc32(content[4 + size :]) != header["checksum"]:
        raise ImportError(f"{path.name} is damaged: build the package again")
    return content, header, 4 + size


def _load(path):
    global _file, _labels, _moves, _plans, _code, _masks, _class_index, _class_blocks
    global _class_traits, _viable, _context, _extension, _extension_limits, _classes, _extensions
    global _formats, _zones_root, _region_plans, _regions, _region_ids, _unknown_region
    global _plain, REGIONS, TIME_ZONES, SUPPORTED_REGIONS
    cdef const char* base
    cdef int i
    _file, header, start = read_tables(path)
    base = PyBytes_AS_STRING(_file) + <Py_ssize_t>start
    at = {name: place for name, (place, _) in header["sections"].items()}
    size = {name: size for name, (_, size) in header["sections"].items()}
    _labels = <const uint16_t*>(base + <Py_ssize_t>at["labels"])
    _moves = <const uint16_t*>(base + <Py_ssize_t>at["moves"])
    _plans = <const Plan*>(base + <Py_ssize_t>at["plans"])
    assert size["plans"] % sizeof(Plan) == 0
    _code = <const uint32_t*>(base + <Py_ssize_t>at["code"])
    _masks = <const uint64_t*>(base + <Py_ssize_t>at["masks"])
    _class_index = <const uint16_t*>(base + <Py_ssize_t>at["class_index"])
    _class_blocks = <const uint8_t*>(base + <Py_ssize_t>at["class_blocks"])
    _class_traits = <const uint8_t*>(base + <Py_ssize_t>at["class_traits"])
    _plain = <const uint8_t*>(base + <Py_ssize_t>at["plain"])
    _viable = <const uint16_t*>(base + <Py_ssize_t>at["viable"])
    _context = <const uint16_t*>(base + <Py_ssize_t>at["context"])
    _extension = <const uint16_t*>(base + <Py_ssize_t>at["extension"])
    _extension_limits = <const uint8_t*>(base + <Py_ssize_t>at["extension_limits"])
    _classes = size["class_traits"] // 3
    _extensions = size["extension_limits"] // 2
    _zones_root = header["time_zones_root"]
    for i in range(128):
        _ascii[i] = _class_of(i)

    REGIONS = tuple(header["regions"])
    TIME_ZONES = tuple(tuple(names) for names in header["time_zones"])
    _regions = len(REGIONS)
    _region_ids = {region: number for number, region in enumerate(REGIONS)}
    _unknown_region = _region_ids["ZZ"]
    _region_plans = <int*>PyMem_Malloc(_regions * sizeof(int))
    for i in range(_regions):
        _region_plans[i] = header["region_plans"][i]
    SUPPORTED_REGIONS = frozenset(
        region for region, plan in zip(REGIONS, header["region_plans"]) if plan >= 0
    )
    for i in range(LETTERS * LETTERS):
        _region_of[i] = region_id(chr(65 + i // LETTERS) + chr(65 + i % LETTERS))

    for i in range(COUNTRY_CODES):
        _countries[i].plan = -1
    for country_code, *facts in header["countries"]:
        plan, geographic, extension, first, national, abroad, root, formats_root = facts
        text = extension.encode()
        _texts.append(text)
        i = country_code
        code = str(country_code).encode()
        _countries[i].code_size = len(code)
        memcpy(_countries[i].code, PyBytes_AS_STRING(code), len(code))
        _countries[i].plan = plan
        _countries[i].geographic = geographic
        _countries[i].root = root
        _countries[i].formats_root = formats_root
        _countries[i].first_format = first
        _countries[i].national_formats = national
        _countries[i].abroad_formats = abroad
        _countries[i].extension = PyBytes_AS_STRING(text)
        _countries[i].extension_size = len(text)
    _formats = <Format*>PyMem_Calloc(len(header["groups"]), sizeof(Format))
    for i, (groups, rules) in enumerate(zip(header["groups"], header["rules"], strict=True)):
        assert len(groups) <= GROUPS_LIMIT
        _formats[i].groups = len(groups)
        for number, (least, most) in enumerate(groups):
            _formats[i].least[<int>number] = least
            _formats[i].most[<int>number] = most
        _load_rule(_formats[i].national, rules[0])
        _load_rule(_formats[i].abroad, rules[1])


cdef _load_rule(Part* parts, rule):
    cdef int i
    assert len(rule) <= GROUPS_LIMIT + 1
    for i, (text, group) in enumerate(rule):
        encoded = text.encode()
        _texts.append(encoded)
        parts[i].text = PyBytes_AS_STRING(encoded)
        parts[i].size = len(encoded)
        parts[i].group = group


def region_id(str region):
    """Return the number of a region (ISO 3166-1 alpha-2, in any case) for `parse`.

    0 for "", which leaves it to the default; that of "ZZ" where the library knows no such region.
    """
    return _region_ids.get(region.upper(), _unknown_region)


def region_ids(Texts regions):
    """Return the numbers of regions as `parse` takes them, u16 each."""
    cdef bytes found = PyBytes_FromStringAndSize(NULL, 2 * regions.count)
    cdef uint16_t* at = <uint16_t*>PyBytes_AS_STRING(found)
    cdef Py_ssize_t i
    cdef uint8_t first, second
    for i in range(regions.count):
        if regions.sizes[i] == 0:
            at[i] = 0
            continue
        if regions.sizes[i] == 2:
            first = <uint8_t>regions.starts[i][0] - c"A"
            second = <uint8_t>regions.starts[i][1] - c"A"
            if first < LETTERS and second < LETTERS:
                at[i] = _region_of[LETTERS * first + second]
                continue
        at[i] = region_id(regions[i])
    return found


# Texts

cdef inline bint _read_plain(const char* start, Py_ssize_t size, Digits* digits) noexcept nogil:
    """Take the digits of a text of nothing but a plus, ASCII digits and separators.

    It has no extension, no letters and no second number, and three digits make it viable. False
    for any other text, which the library may still find a number in.
    """
    cdef const uint8_t* at = <const uint8_t*>start
    cdef const uint8_t* end = at + size
    cdef int count = 0
    cdef uint8_t one
    digits.has_plus = False
    if size > TEXT_LIMIT:
        return False
    while at < end and _plain[at[0]] == PLAIN_SEPARATOR:
        at += 1
    if at < end and _plain[at[0]] == PLAIN_PLUS:
        digits.has_plus = True
        at += 1
    while at < end:
        one = _plain[at[0]]
        if one > PLAIN_SEPARATOR:
            return False
        digits.at[count] = one  # a separator gives way to the next digit
        count += one < 10
        at += 1
    digits.size = count
    return count >= 3


cdef inline uint8_t _class_of(uint32_t character) noexcept nogil:
    return _class_blocks[(_class_index[character >> 8] << 8) + (character & 0xFF)]


cdef inline uint8_t _traits(uint8_t one) noexcept nogil:
    return _class_traits[3 * one]


cdef bint _read(Text* text, const char* start, Py_ssize_t size) noexcept nogil:
    """Decode UTF-8 (or WTF-8); False where the text is too long. Never reads past its end.

    What is not well-formed becomes U+FFFD, a byte at a time.
    """
    cdef const uint8_t* at = <const uint8_t*>start
    cdef const uint8_t* end = at + size
    cdef uint32_t character
    cdef uint8_t marks = 0, one
    cdef int count = 0, more, i
    if size > TEXT_LIMIT * CHARACTER_BYTES:
        return False
    while at < end:
        if count == TEXT_LIMIT:
            return False
        character = at[0]
        at += 1
        if character < 0x80:
            one = _ascii[character]
        else:
            more = 1 if character < 0xE0 else 2 if character < 0xF0 else 3
            if character < 0xC2 or character > 0xF4 or end - at < more:
                character = 0xFFFD
            else:
                character &= 0x3F >> more
                for i in range(more):
                    if at[i] & 0xC0 != 0x80:
                        character = 0x110000
                        break
                    character = character << 6 | at[i] & 0x3F
                if character > 0x10FFFF:
                    character = 0xFFFD
                else:
                    at += more
            one = _class_of(character)
        text.characters[count] = character
        text.classes[count] = one
        marks |= _traits(one)
        count += 1
    text.size = count
    text.marks = marks
    return True


cdef int _find(const Text* text, int first, int end, const char* wanted) noexcept nogil:
    """Return where an ASCII text first begins within [first, end), -1 for nowhere."""
    cdef int i, k
    for i in range(first, end):
        k = 0
        while wanted[k] != 0 and i + k < end and text.characters[i + k] == <uint8_t>wanted[k]:
            k += 1
        if wanted[k] == 0:
            return i
    return -1


cdef inline bint _accepts(
    const uint16_t* table, const Text* text, int first, int end
) noexcept nogil:
    """Run an automaton over the classes of [first, end)."""
    cdef int i, state = 1, width = _classes + 1
    for i in range(first, end):
        state = table[state * width + 1 + text.classes[i]]
        if state == 0:
            return False
    return table[state * width] != 0


cdef inline bint _is_viable(const Text* text, int first, int end) noexcept nogil:
    return end - first >= NATIONAL_LEAST and _accepts(_viable, text, first, end)


cdef bint _locate(Text* text, int* first, int* end) noexcept nogil:
    """Find the number within the text; False where a phone-context is broken.

    RFC 3966, section 5.1.5: a context that begins with "+" stands before the number.
    """
    cdef int context = -1, context_end, number, i, k, start, stop
    if text.marks & IS_SEMICOLON:
        context = _find(text, 0, text.size, b";phone-context=")
    if context >= 0:
        start = context + 15
        context_end = start
        while context_end < text.size and text.characters[context_end] != c";":
            context_end += 1
        if context_end == start or not _accepts(_context, text, start, context_end):
            return False
        number = _find(text, 0, text.size, b"tel:")
        number = number + 4 if number >= 0 else 0
        if text.characters[start] != c"+":
            context_end = start
        _join(text, start, context_end, number, context)
        first[0] = 0
        end[0] = text.size
    else:
        start = 0
        while start < text.size and not _traits(text.classes[start]) & IS_START:
            start += 1
        stop = text.size
        while stop > start and _traits(text.classes[stop - 1]) & IS_UNWANTED:
            stop -= 1
        for i in range(start, stop):  # a second number: a slash, spaces, an "x"
            if text.characters[i] == c"/" or text.characters[i] == c"\\":
                k = i + 1
                while k < stop and text.characters[k] == c" ":
                    k += 1
                if k < stop and text.characters[k] == c"x":
                    stop = i
                    break
        first[0] = start
        end[0] = stop
    if text.marks & IS_SEMICOLON:
        i = _find(text, first[0], end[0], b";isub=")
        if i > first[0]:
            end[0] = i
    return True


cdef void _join(Text* text, int first, int end, int then, int then_end) noexcept nogil:
    """Replace the text by two of its parts; the second may be empty or reversed."""
    cdef Text joined
    cdef int i
    joined.size = 0
    for i in range(first, end):
        joined.characters[joined.size] = text.characters[i]
        joined.classes[joined.size] = text.classes[i]
        joined.size += 1
    for i in range(then, then_end):
        if joined.size == TEXT_ROOM:
            break
        joined.characters[joined.size] = text.characters[i]
        joined.classes[joined.size] = text.classes[i]
        joined.size += 1
    memcpy(text.characters, joined.characters, joined.size * sizeof(uint32_t))
    memcpy(text.classes, joined.classes, joined.size)
    text.size = joined.size


cdef int _strip_extension(
    const Text* text, int first, int* end, int* extension_size
) noexcept nogil:
    """Take an extension off the end; return where its digits begin.

    The library's pattern has digits at its end, and nothing before them is a digit: so they are
    all the digits at the end of the text, and the rest is matched backwards from there.
    """
    cdef int stop = end[0], digits, at, best = -1, state = 1, i, width = _classes + 1
    cdef uint16_t allowed = 0
    cdef uint8_t hash
    cdef bint has_hash = False
    extension_size[0] = 0
    if stop > first and _traits(text.classes[stop - 1]) & IS_HASH:
        has_hash = True
        stop -= 1
    digits = stop
    while digits > first and _traits(text.classes[digits - 1]) & IS_DECIMAL:
        digits -= 1
    if digits == stop or stop - digits > EXTENSION_MOST:
        return 0
    for i in range(_extensions):
        hash = _extension_limits[2 * i + 1]
        if hash == (HASH_NEVER if has_hash else HASH_MUST):
            continue
        if stop - digits <= _extension_limits[2 * i]:
            allowed |= 1 << i
    at = digits
    while at > first:
        at -= 1
        state = _extension[state * width + 1 + text.classes[at]]
        if state == 0:
            break
        if _extension[state * width] & allowed:
            best = at
    if best < 0 or not _is_viable(text, first, best):
        return 0
    end[0] = best
    extension_size[0] = stop - digits
    return digits


cdef bint _take(
    Text* text, Digits* digits, int* extension_start, int* extension_size
) noexcept nogil:
    """Find the number in a text and take its digits; False where there is none.

    The extension stays in the text.
    """
    cdef int first = 0, end = 0, letters = 0, trait = 1, count = 0, i
    cdef uint8_t value
    if not _locate(text, &first, &end) or not _is_viable(text, first, end):
        return False
    extension_start[0] = _strip_extension(text, first, &end, extension_size)
    digits.has_plus = False
    while first < end and _traits(text.classes[first]) & IS_PLUS:
        digits.has_plus = True
        first += 1
    if text.marks & IS_LETTER:
        for i in range(first, end):
            letters += (_traits(text.classes[i]) & IS_LETTER) != 0
        if letters >= 3:
            trait = 2  # the keys of a telephone (ITU-T E.161)
    for i in range(first, end):
        value = _class_traits[3 * text.classes[i] + trait]
        if value < 10:
            digits.at[count] = value
            count += 1
    digits.size = count
    return True


# Digits

cdef inline int _run(int node, const uint8_t* digits, int size) noexcept nogil:
    """Run the automaton over digits; return the last node."""
    cdef int i
    for i in range(size):
        node = _moves[10 * node + digits[i]]
    return node


cdef int _match(int operation, const uint8_t* digits, int size, int* slots) noexcept nogil:
    """Run a program from the first digit; return where the match ends, -1 for none."""
    cdef Pending[SPLITS_LIMIT] waiting
    cdef int pending = 0, place = 0, i
    cdef uint32_t code, operand
    for i in range(SLOTS):
        slots[i] = -1
    while True:
        code = _code[operation]
        operand = code >> 8
        code &= 0xFF
        if code == DIGIT:
            if place < size and operand >> digits[place] & 1:
                place += 1
                operation += 1
                continue
        elif code == SPLIT:  # never more than there is room for: they are counted when built
            waiting[pending].operation = <int>operand
            waiting[pending].place = place
            memcpy(waiting[pending].slots, slots, SLOTS * sizeof(int))
            pending += 1
            operation += 1
            continue
        elif code == JUMP:
            operation = <int>operand
            continue
        elif code == SAVE:
            slots[operand] = place
            operation += 1
            continue
        elif code == AT_END:
            if place == size:
                operation += 1
                continue
        else:
            return place
        if pending == 0:
            return -1
        pending -= 1
        operation = waiting[pending].operation
        place = waiting[pending].place
        memcpy(slots, waiting[pending].slots, SLOTS * sizeof(int))


cdef inline bint _is_general(const Plan* plan, const uint8_t* digits, int size) noexcept nogil:
    """Tell whether digits fit the general description of a plan."""
    cdef int i, node = plan.general
    for i in range(size):
        node = _moves[10 * node + digits[i]]
        if node == 0:
            return False
    return _labels[node] != 0


cdef inline int _possibility(const Plan* plan, int size) noexcept nogil:
    """Return what the length says; the library's ValidationResult."""
    cdef uint32_t bit = <uint32_t>1 << size if size < 32 else 0
    if plan.lengths & bit:  # no length is in both
        return IS_POSSIBLE
    if plan.local_lengths & bit:
        return LOCAL_ONLY
    if size < plan.shortest:
        return LENGTH_SHORT
    return LENGTH_LONG if size > plan.longest else INVALID_LENGTH


cdef const uint8_t* _strip_national(
    const Plan* plan, const uint8_t* digits, int* size, Digits* changed
) noexcept nogil:
    """Take off a national prefix or carrier code; return the digits that remain.

    `changed` has room for a number that a rule rewrites ("0xxx" of a town with its area code).
    """
    cdef int[SLOTS] slots
    cdef int end, rest, start, i
    cdef const uint8_t* after
    # The digits that a prefix can begin with are none where the plan has no prefix.
    if size[0] == 0 or not plan.prefix_first >> digits[0] & 1:
        return digits
    end = _match(plan.prefix, digits, size[0], slots)
    if end < 0:
        return digits
    rest = size[0] - end
    after = digits + end
    if plan.group and slots[2 * plan.groups + 1] >= 0:
        changed.size = plan.literal_size
        for i in range(plan.literal_size):
            changed.at[i] = plan.literal[i] - c"0"
        start = slots[2 * plan.group]
        if start >= 0:
            for i in range(start, slots[2 * plan.group + 1]):
                changed.at[changed.size] = digits[i]
                changed.size += 1
        memcpy(changed.at + changed.size, after, rest)
        rest += changed.size
        after = changed.at
    if _is_general(plan, digits, size[0]) and not _is_general(plan, after, rest):
        return digits
    size[0] = rest
    return after


cdef inline int _country_code(const uint8_t* digits, int size) noexcept nogil:
    """Return the country code that the digits begin with, 0 for none."""
    cdef int code = 0, i
    if size == 0 or digits[0] == 0:
        return 0
    for i in range(size if size < 3 else 3):
        code = 10 * code + digits[i]
        if _countries[code].plan >= 0:
            return code
    return 0


cdef int _find_country(
    Digits* digits, bint has_plus, const Plan* home, Found* found, Digits* changed
) noexcept nogil:
    """Find the country code, behind a plus, an international prefix or neither.

    Returns an outcome. Where it is PARSED and there is no country code, all the digits are of
    `home` (NULL: no region is given).
    """
    cdef int[SLOTS] slots
    cdef int stripped = 0, code
    found.country_code = 0
    found.national = digits.at
    found.size = digits.size
    if not has_plus and home != NULL and home.idd_first >> digits.at[0] & 1:
        stripped = _match(home.idd, digits.at, digits.size, slots)
        # No country code begins with 0.
        if stripped < 0 or (stripped < digits.size and digits.at[stripped] == 0):
            stripped = 0
        else:
            has_plus = True
    if has_plus:
        found.national += stripped
        found.size -= stripped
        if found.size <= NATIONAL_LEAST:
            return TOO_SHORT_AFTER_IDD
        code = _country_code(found.national, found.size)
        if code == 0:
            return INVALID_COUNTRY_CODE
        found.country_code = code
        found.national += _countries[code].code_size
        found.size -= _countries[code].code_size
    elif home != NULL and _country_code(digits.at, digits.size) == home.country_code:
        # A number may begin with the code of its country although nothing says so.
        code = home.country_code
        found.national += _countries[code].code_size
        found.size -= _countries[code].code_size
        found.national = _strip_national(home, found.national, &found.size, changed)
        if (
            not _is_general(home, digits.at, digits.size)
            and _is_general(home, found.national, found.size)
        ) or _possibility(home, digits.size) == LENGTH_LONG:
            found.country_code = code
        else:
            found.national = digits.at
            found.size = digits.size
    return PARSED


cdef int _resolve(Digits* digits, const Plan* home, Record* record) noexcept nogil:
    """Judge the digits of a number dialled from `home` (NULL: nowhere); return the outcome."""
    cdef Digits changed, transformed
    cdef Found found
    cdef int outcome, after, how
    cdef const uint8_t* rest
    cdef const Plan* plan
    record.reason = PHONE_FORMAT
    if home == NULL and not digits.has_plus:
        return INVALID_COUNTRY_CODE
    outcome = _find_country(digits, digits.has_plus, home, &found, &changed)
    if outcome == INVALID_COUNTRY_CODE and digits.has_plus:
        # The plus may stand before an international prefix.
        outcome = _find_country(digits, False, home, &found, &changed)
        if outcome == PARSED and found.country_code == 0:
            return INVALID_COUNTRY_CODE
    if outcome != PARSED:
        return outcome
    if found.country_code:
        plan = &_plans[_countries[found.country_code].plan]  # that of the main region
    else:
        plan = home
    if found.size < NATIONAL_LEAST:
        return TOO_SHORT_NSN
    after = found.size
    rest = _strip_national(plan, found.national, &after, &transformed)
    if after != found.size or rest != found.national:
        how = _possibility(plan, after)
        if how == IS_POSSIBLE or how == LENGTH_LONG:
            found.national = rest
            found.size = after
    if found.size > NATIONAL_MOST:
        return TOO_LONG
    _write(record, plan.country_code, found.national, found.size)
    return PARSED


cdef inline void _write(
    Record* record, int country_code, const uint8_t* national, int size
) noexcept nogil:
    """Fill in a parsed number: E.164 digits, region, type, possibility and reason."""
    cdef const Country* country = &_countries[country_code]
    cdef char* at = record.digits + country.code_size
    cdef int i, label, node = country.root
    record.country_code = <uint16_t>country_code
    record.code_size = country.code_size
    record.size = <uint8_t>(country.code_size + size)
    memcpy(record.digits, country.code, country.code_size)
    for i in range(size):
        at[i] = c"0" + national[i]
        node = _moves[10 * node + national[i]]
    label = _labels[node]
    record.type = label & 0xF
    record.region = label >> 4
    record.possibility = _possibility(&_plans[country.plan], size)
    if record.type:
        record.reason = ACCEPTED
    elif record.possibility == IS_POSSIBLE:
        record.reason = PHONE_NOT_ASSIGNED


# Match keys

cdef int _key(const char* digits, int size, char* key) noexcept nogil:
    """Write the digits of the match key of E.164 digits; return how many.

    Mexico: the "1" between country code and mobile number ended with the uniform 10-digit plan of
    3 August 2019 (ITU Operational Bulletin 1151, communication of Mexico).
    Argentina: the "9" of mobiles is dialled from abroad only (libphonenumber's mobile token of 54).
    Brazil: Anatel Resolution 553/2010 put a 9 before the 8 digits of every mobile, which began
    with 6 to 9. A 9 before 2 to 5 is a number of the new plan; without the 9 it would be a fixed
    line of somebody else.
    """
    cdef int dropped
    if size == 13 and memcmp(digits, b"521", 3) == 0:
        dropped = 2
    elif size == 13 and memcmp(digits, b"549", 3) == 0:
        dropped = 2
    elif (
        size == 13 and memcmp(digits, b"55", 2) == 0
        and digits[4] == c"9" and c"6" <= digits[5] <= c"9"
    ):
        dropped = 4
    else:
        memcpy(key, digits, size)
        return size
    memcpy(key, digits, dropped)
    memcpy(key + dropped, digits + dropped + 1, size - dropped - 1)
    return size - 1


cdef inline bint _has_form(const Record* record) noexcept nogil:
    """Tell whether a number has a normal form.

    One of an impossible length has none, but for those of an old dialling plan: nobody's any more,
    but known to whom they belonged.
    """
    cdef char[E164_ROOM] key
    if record.outcome != PARSED:
        return False
    if record.reason != PHONE_FORMAT:
        return True
    return _key(record.digits, record.size, key) != record.size


# Batches

cdef class Phones:
    """What `parse` found, one record per text.

    As a buffer: records of 32 bytes, in the order of `Record` (struct "=BBBBHHBB20s2x"): outcome
    (0, or 1 + the library's error type), possibility (the library's ValidationResult), type and
    reason (numbers of the model's enums), country code and region (index into `REGIONS`), the
    sizes of the digits and of the country code in them, and the digits. Where the outcome is not 0
    all but it and the reason is 0. `extensions` has a text for each record.
    """

    cdef Record* _records
    cdef readonly Py_ssize_t count
    cdef readonly Column extensions

    def __cinit__(self, Py_ssize_t count):
        self._records = <Record*>PyMem_Calloc(max(count, 1), sizeof(Record))
        if self._records == NULL:
            raise MemoryError
        self.count = count
        self.extensions = Column(count, 0)

    def __dealloc__(self):
        PyMem_Free(self._records)

    def __len__(self):
        return self.count

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        PyBuffer_FillInfo(
            buffer, self, <void*>self._records, self.count * sizeof(Record), True, flags
        )

    def forms(self):
        """Return the `PhoneForm` of each."""
        cdef const Record* record
        cdef Py_ssize_t i
        found = []
        for i in range(self.count):
            record = &self._records[i]
            found.append(_NONE if not _has_form(record) else _named(PhoneForm, (
                _e164(record.digits, record.size),
                self.extensions[i] if self.extensions._used else "",
                REGIONS[record.region] if record.reason != PHONE_FORMAT else "",
                _TYPES[record.type],
                _REASONS[record.reason],
            )))
        return found

    def normals(self):
        """Return the normal forms, empty where there is none."""
        return self._forms(False)

    def keys(self):
        """Return the match keys, empty where there is no normal form."""
        return self._forms(True)

    cdef Column _forms(self, bint as_keys):
        cdef Column column = Column(self.count, 16 * self.count)
        if self.count <= FEW:
            self._write_forms(column, as_keys)
        else:
            with nogil:
                self._write_forms(column, as_keys)
        return column

    cdef int _write_forms(self, Column column, bint as_keys) except -1 nogil:
        cdef const Record* record
        cdef char* at
        cdef int size
        cdef Py_ssize_t i
        for i in range(self.count):
            record = &self._records[i]
            at = column.reserve(E164_ROOM + 1)
            if not _has_form(record):
                column.commit(0)
                continue
            at[0] = c"+"
            if as_keys:
                size = _key(record.digits, record.size, at + 1)
            else:
                size = record.size
                memcpy(at + 1, record.digits, size)
            column.commit(size + 1)
        return 0

    def reasons(self):
        """Return the reasons (numbers of `model.Reason`), one byte each."""
        cdef bytes found = PyBytes_FromStringAndSize(NULL, self.count)
        cdef char* at = PyBytes_AS_STRING(found)
        cdef Py_ssize_t i
        for i in range(self.count):
            at[i] = self._records[i].reason
        return found

    def types(self):
        """Return the types (numbers of `model.PhoneType`, 0 for none), one byte each."""
        cdef bytes found = PyBytes_FromStringAndSize(NULL, self.count)
        cdef char* at = PyBytes_AS_STRING(found)
        cdef Py_ssize_t i
        for i in range(self.count):
            at[i] = self._records[i].type
        return found

    def regions(self):
        """Return the regions as indices into `REGIONS`, u16 each; 0 where none is known."""
        cdef bytes found = PyBytes_FromStringAndSize(NULL, 2 * self.count)
        cdef uint16_t* at = <uint16_t*>PyBytes_AS_STRING(found)
        cdef Py_ssize_t i
        for i in range(self.count):
            at[i] = self._records[i].region if self._records[i].reason != PHONE_FORMAT else 0
        return found


def parse(Texts texts, regions, int default):
    """Parse each text; `regions` has a `region_id` (u16) for each, or is None.

    0 means `default`, which is a `region_id` as well. Returns `Phones`.
    """
    cdef Phones phones = Phones(texts.count)
    cdef const uint16_t[::1] own
    cdef const uint16_t* homes = NULL
    cdef Py_ssize_t i
    if not 0 <= default < _regions:
        raise ValueError("not a region")
    if regions is not None:
        own = memoryview(regions).cast("B").cast("H")
        if own.shape[0] != texts.count:
            raise ValueError("as many regions as texts")
        for i in range(texts.count):
            if own[i] >= _regions:
                raise ValueError("not a region")
        if texts.count:
            homes = &own[0]
    if texts.count <= FEW:
        _parse_all(phones, texts, homes, default)
    else:
        with nogil:
            _parse_all(phones, texts, homes, default)
    return phones


cdef int _parse_all(
    Phones phones, Texts texts, const uint16_t* homes, int default
) except -1 nogil:
    """Parse texts; `homes` has a region for each, or is NULL."""
    cdef Py_ssize_t i
    cdef int region = default
    for i in range(texts.count):
        if homes != NULL:
            region = homes[i] if homes[i] else default
        _parse_into(phones, i, texts.starts[i], texts.sizes[i], region)
    return 0


cdef int _parse_into(
    Phones phones, Py_ssize_t i, const char* start, Py_ssize_t size, int region
) except -1 nogil:
    cdef Digits digits
    cdef Record* record = &phones._records[i]
    cdef const Plan* home = NULL
    if _region_plans[region] >= 0:
        home = &_plans[_region_plans[region]]
    if not _read_plain(start, size, &digits):
        return _parse_text(phones, record, start, size, home)
    record.outcome = _resolve(&digits, home, record)
    phones.extensions.reserve(0)
    return phones.extensions.commit(0)


cdef int _parse_text(
    Phones phones, Record* record, const char* start, Py_ssize_t size, const Plan* home
) except -1 nogil:
    cdef Text text
    cdef Digits digits
    cdef int extension_start = 0, extension_size = 0
    if not _read(&text, start, size):
        record.outcome = TOO_LONG
    elif not _take(&text, &digits, &extension_start, &extension_size):
        record.outcome = NOT_A_NUMBER
    else:
        record.outcome = _resolve(&digits, home, record)
    if record.outcome != PARSED:
        record.reason = PHONE_FORMAT
        extension_size = 0
    return _put_extension(phones.extensions, &text, extension_start, extension_size)


cdef int _put_extension(Column column, const Text* text, int start, int size) except -1 nogil:
    """Add an extension as it was written: its digits may be of any script."""
    cdef char* at = column.reserve(EXTENSION_ROOM)
    cdef int i, place = 0
    cdef uint32_t one
    for i in range(start, start + size):
        one = text.characters[i]
        if one < 0x80:
            at[place] = <char>one
            place += 1
            continue
        if one < 0x800:
            at[place] = <char>(0xC0 | one >> 6)
            place += 1
        else:
            if one < 0x10000:
                at[place] = <char>(0xE0 | one >> 12)
                place += 1
            else:
                at[place] = <char>(0xF0 | one >> 18)
                at[place + 1] = <char>(0x80 | one >> 12 & 0x3F)
                place += 2
            at[place] = <char>(0x80 | one >> 6 & 0x3F)
            place += 1
        at[place] = <char>(0x80 | one & 0x3F)
        place += 1
    return column.commit(place)


cdef str _e164(const char* digits, int size):
    cdef char[E164_ROOM + 1] text
    text[0] = c"+"
    memcpy(text + 1, digits, size)
    return PyUnicode_DecodeASCII(text, size + 1, NULL)


# One normal form at a time

cdef int _digits_of(str e164, char* digits) except -1:
    """Write the ASCII digits of a normal form; return how many, 0 where it is none."""
    cdef Py_ssize_t size = len(e164), i
    cdef Py_UCS4 one
    if not 2 <= size <= E164_ROOM + 1 or e164[0] != "+":
        return 0
    for i in range(1, size):
        one = e164[i]
        if not c"0" <= one <= c"9":
            return 0
        digits[i - 1] = <char>one
    return <int>size - 1


def phone_key(str e164):
    """Return the match key of a normal form; the text itself where no rule applies."""
    cdef char[E164_ROOM] digits
    cdef char[E164_ROOM] key
    cdef int size = _digits_of(e164, digits), kept
    kept = _key(digits, size, key)
    return e164 if kept == size else _e164(key, kept)


def display(str e164, str extension):
    """Return a normal form as national, international and tel: URI, and its time zones.

    As the library's NATIONAL, INTERNATIONAL and RFC3966; the index into `TIME_ZONES` is 0 where
    they are unknown. Returns None where `e164` is no international number.
    """
    cdef char[E164_ROOM] digits
    cdef uint8_t[E164_ROOM] values
    cdef char[DISPLAY_ROOM] shown
    cdef char[DISPLAY_ROOM] uri
    cdef int size = _digits_of(e164, digits), code, label, i
    cdef int start, end, place  # of the groups, and in the URI
    cdef int national_size
    cdef const char* national
    cdef const Country* country
    cdef uint64_t mask
    for i in range(size):
        values[i] = digits[i] - c"0"
    code = _country_code(values, size)
    if code == 0:
        return None
    country = &_countries[code]
    national = digits + country.code_size
    national_size = size - country.code_size
    mask = _masks[_labels[_run(country.formats_root, values + country.code_size, national_size)]]

    end = _format(country, mask, national, national_size, True, shown)
    within = PyUnicode_DecodeUTF8(shown, end, NULL)
    shown[0] = c"+"
    memcpy(shown + 1, country.code, country.code_size)
    start = country.code_size + 2
    shown[start - 1] = c" "
    end = start + _format(country, mask, national, national_size, False, shown + start)
    abroad = PyUnicode_DecodeUTF8(shown, end, NULL)
    # One hyphen between the groups, none before the first (RFC 3966, visual separators).
    memcpy(uri, b"tel:", 4)
    memcpy(uri + 4, shown, start)
    place = start + 4
    uri[place - 1] = c"-"
    for i in range(start, end):
        if c"0" <= shown[i] <= c"9":
            uri[place] = shown[i]
            place += 1
        elif uri[place - 1] != c"-":
            uri[place] = c"-"
            place += 1
    link = PyUnicode_DecodeASCII(uri, place, NULL)
    if extension:
        before = PyUnicode_DecodeUTF8(country.extension, country.extension_size, NULL)
        within += before + extension
        abroad += before + extension
        link += f";ext={extension}"

    label = _labels[_run(country.root, values + country.code_size, national_size)] & 0xF
    if label == 0:
        return within, abroad, link, 0
    # A number of no place has the zones of its country.
    i = size if country.geographic >> label & 1 else country.code_size
    return within, abroad, link, _labels[_run(_zones_root, values, i)]


cdef int _format(
    const Country* country, uint64_t mask, const char* national, int size, bint within, char* shown
) noexcept nogil:
    """Write a national number in groups; return how many bytes."""
    cdef int first = 0, count = country.national_formats, i
    cdef const Format* form
    if not within and country.abroad_formats:
        first, count = count, country.abroad_formats
    for i in range(first, first + count):
        if mask >> i & 1:
            form = &_formats[country.first_format + i]
            if _fits(form, size):
                if within:
                    return _fill(form, &form.national[0], national, size, shown)
                return _fill(form, &form.abroad[0], national, size, shown)
    memcpy(shown, national, size)
    return size


cdef inline bint _fits(const Format* form, int size) noexcept nogil:
    cdef int i, least = 0, most = 0
    for i in range(form.groups):
        least += form.least[i]
        most += form.most[i]
    return least <= size <= most


cdef int _fill(
    const Format* form, const Part* parts, const char* national, int size, char* shown
) noexcept nogil:
    """Write the parts of a rule; each group takes as many digits as the later ones leave it."""
    cdef int[GROUPS_LIMIT + 1] starts
    cdef int i, part = 0, written = 0, needed = 0, at = 0, take, length
    for i in range(form.groups):
        needed += form.least[i]
    for i in range(form.groups):
        starts[i] = at
        needed -= form.least[i]
        take = size - at - needed
        at += take if take < form.most[i] else form.most[i]
    starts[form.groups] = at
    while True:
        memcpy(shown + written, parts[part].text, parts[part].size)
        written += parts[part].size
        i = parts[part].group
        if i == 0:
            return written
        length = starts[i] - starts[i - 1]
        memcpy(shown + written, national + starts[i - 1], length)
        written += length
        part += 1


_TYPES = (None, *PhoneType)
_REASONS = {reason.value: reason for reason in Reason}
_NONE = PhoneForm("", "", "", None, Reason.PHONE_FORMAT)
_named = tuple.__new__  # for named tuples: a third of the time of their own

_load(Path(__file__).with_name("_phones.tables"))
