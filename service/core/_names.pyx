# cython: language_level=3, boundscheck=False, wraparound=False, annotation_typing=False
"""Names of people, folded and taken apart: what is compared is the same for all who write a name.

`full_names` takes one column of whole names, `split_names` a column each of first, middle and last
names. Both work without the GIL, allocate nothing per name, and give `Names`: three columns of
texts and a record of 128 bytes for each name (`_names.pxd` has its layout, `LAYOUT` the same for
the module `struct`). Kernels read the records in place; `docs/names.md` says why it is done so.

1. A text is normalised (NFKC), its case folded, and every character written in Latin letters; what
   is no letter, mark or digit parts words, but for apostrophes, which vanish. Here most characters
   are looked up one by one. Only where one may join the one before it, a combining mark say, the
   two are normalised properly (Unicode Standard Annex #15, section 1.3).
2. Honorifics and suffixes are set apart: they are in `apart`, and what they say about generation
   and gender is in the record. They are looked for at the ends of a text, or of a part between
   commas, and never take its last word from a name: Dr. Herr and Sarah Junior keep their names.
3. What is left are the tokens. `given` has them in their order, the family name last if a comma
   showed that it came first; `ordered` has them sorted. Each is an initial, a particle, a
   patronymic or none of these, may be of some name classes (Sasha is of Alexander and of Alexandra;
   two tokens that share a class may be the same name), and has one or two phonetic keys.

The table of characters is made as characters are met, 256 at a time and under the GIL; those of
words and rules when this module is imported. Texts are UTF-8, or WTF-8 for lone surrogates, which
part words like any other bytes that are not UTF-8.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset
from cpython.bytes cimport PyBytes_FromStringAndSize

from service.core._text cimport FEW, Column, Texts

from collections import namedtuple
import hashlib

from service.core import name_tables as tables

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define READ_POINTER(at) __atomic_load_n(at, __ATOMIC_ACQUIRE)
    #define WRITE_POINTER(at, value) __atomic_store_n(at, value, __ATOMIC_RELEASE)
    #else
    #define READ_POINTER(at) (*(at))
    #define WRITE_POINTER(at, value) (*(at) = (value))
    #endif
    """
    _Page* READ_POINTER(_Page** at) nogil
    void WRITE_POINTER(_Page** at, _Page* value) nogil

ctypedef const unsigned char* Bytes

cdef enum:
    FULL = 0  # a field of whole names; the others are the roles
    FIELDS = 4
    ALL_WORDS = 3 * WORDS
    ABBREVIATION = 4  # words that make one, at most: к.ф.-м.н.
    GLUE = 2  # separators between the words of an abbreviation, at most
    LETTERS = 3  # before a full stop, that are taken for an abbreviated name: Chr. Hansen
    PAGES = 0x1100
    DECOMPOSED = 18  # characters that one may become: U+FDFA
    RULE_SOUNDS = 3  # of one rule, at most
    WORD_SLOTS = 16384
    PAIR_SLOTS = 4096
    NOT_UTF8 = 0xFFFD

cdef enum:  # what a byte of a folded text is
    NOTHING = 0
    SEPARATOR = 1
    MORE = 2  # goes on with a letter
    CASED = 3  # begins a letter
    UNCASED = 4  # begins a letter without case, or a digit

cdef enum:  # marks of words that are not tokens, and kinds of listed words
    HONORIFIC = 1
    SUFFIX = 2
    LISTED_PARTICLE = 4

VERSION = tables.VERSION
LAYOUT = "<QQHH4B8s" + TOKENS * "BBHII"

Token = namedtuple("Token", "text flags names sound other")
Name = namedtuple("Name", "tokens flags generation gender order exact sorted given ordered apart")

cdef uint16_t _TABLES = int.from_bytes(hashlib.sha256(VERSION.encode()).digest()[:2], "big")


# Characters

cdef struct _Character:
    uint32_t folded  # where, in its page
    uint16_t decomposed
    uint8_t folded_size
    uint8_t decomposed_size
    uint8_t combining
    bint joins

cdef struct _Page:
    _Character characters[256]
    char* folded
    uint32_t* decomposed

cdef struct _Pair:
    uint64_t pair
    uint32_t composed  # 0: a free slot

cdef _Page* _PAGES[PAGES]
cdef _Pair _PAIRS[PAIR_SLOTS]
cdef uint8_t _ASCII[128]  # folded: one byte or none
cdef uint8_t _KINDS[256]
cdef uint8_t _PLAIN[256]


cdef int _make_page(uint32_t number) except -1 with gil:
    cdef _Page* page
    if _PAGES[number] != NULL:
        return 0
    characters = tables.page(number)
    folded = b"".join(one.folded for one in characters)
    decomposed = [ord(code) for one in characters for code in one.decomposed]
    page = <_Page*>calloc(1, sizeof(_Page))
    if page == NULL:
        raise MemoryError
    page.folded = <char*>malloc(len(folded) + 1)
    page.decomposed = <uint32_t*>malloc(len(decomposed) * sizeof(uint32_t))
    if page.folded == NULL or page.decomposed == NULL:
        free(page.folded)
        free(page.decomposed)
        free(page)
        raise MemoryError
    memcpy(page.folded, <char*><bytes>folded, len(folded))
    cdef Py_ssize_t i, folded_at = 0, decomposed_at = 0
    for i in range(<Py_ssize_t>len(decomposed)):
        page.decomposed[i] = decomposed[i]
    for i, one in enumerate(characters):
        page.characters[i].folded = folded_at
        page.characters[i].folded_size = len(one.folded)
        page.characters[i].decomposed = decomposed_at
        page.characters[i].decomposed_size = len(one.decomposed)
        page.characters[i].combining = one.combining
        page.characters[i].joins = one.joins
        folded_at += len(one.folded)
        decomposed_at += len(one.decomposed)
    WRITE_POINTER(&_PAGES[number], page)
    return 0


cdef inline const _Page* _page(uint32_t code) except NULL nogil:
    cdef _Page* page = READ_POINTER(&_PAGES[code >> 8])
    if page == NULL:
        _make_page(code >> 8)
        page = READ_POINTER(&_PAGES[code >> 8])
    return page


cdef inline uint32_t _decode(Bytes* cursor, Bytes end) noexcept nogil:
    """Read a character as RFC 3629 has it, but for surrogates; step over a byte that is none."""
    cdef Bytes at = cursor[0]
    cdef uint32_t code
    cdef Py_ssize_t left = end - at
    cursor[0] = at + 1
    if at[0] < 0x80:
        return at[0]
    if at[0] < 0xC2 or at[0] > 0xF4 or left < 2 or at[1] & 0xC0 != 0x80:
        return NOT_UTF8
    if at[0] < 0xE0:
        cursor[0] = at + 2
        return (at[0] & 0x1F) << 6 | (at[1] & 0x3F)
    if left < 3 or at[2] & 0xC0 != 0x80:
        return NOT_UTF8
    if at[0] < 0xF0:
        code = (at[0] & 0x0F) << 12 | (at[1] & 0x3F) << 6 | (at[2] & 0x3F)
        if code < 0x800:
            return NOT_UTF8
        cursor[0] = at + 3
        return code
    if left < 4 or at[3] & 0xC0 != 0x80:
        return NOT_UTF8
    code = (at[0] & 7) << 18 | (at[1] & 0x3F) << 12 | (at[2] & 0x3F) << 6 | (at[3] & 0x3F)
    if not 0x10000 <= code <= 0x10FFFF:
        return NOT_UTF8
    cursor[0] = at + 4
    return code


cdef inline uint32_t _composed(uint32_t first, uint32_t second) noexcept nogil:
    """Return what two characters compose, or 0. Hangul: Unicode Standard, section 3.12."""
    cdef uint64_t pair = <uint64_t>first << 32 | second
    cdef uint64_t slot
    if 0x1100 <= first < 0x1113 and 0x1161 <= second < 0x1176:
        return 0xAC00 + ((first - 0x1100) * 21 + second - 0x1161) * 28
    if 0xAC00 <= first < 0xD7A4 and (first - 0xAC00) % 28 == 0 and 0x11A8 <= second < 0x11C3:
        return first + second - 0x11A7
    slot = _spread(pair) % PAIR_SLOTS
    while _PAIRS[slot].composed:
        if _PAIRS[slot].pair == pair:
            return _PAIRS[slot].composed
        slot = (slot + 1) % PAIR_SLOTS
    return 0


cdef inline uint64_t _spread(uint64_t value) noexcept nogil:
    return value * 0x9E3779B97F4A7C15ULL >> 32


cdef int _fill_characters() except -1:
    cdef uint64_t slot, pair
    cdef int byte
    for (first, second), composed in tables.COMPOSITIONS.items():
        pair = <uint64_t>first << 32 | <uint64_t>second
        slot = _spread(pair) % PAIR_SLOTS
        while _PAIRS[slot].composed:
            slot = (slot + 1) % PAIR_SLOTS
        _PAIRS[slot].pair, _PAIRS[slot].composed = pair, composed
    for byte in range(128):
        folded = tables.fold_character(chr(byte))
        _ASCII[byte] = folded[0] if folded else 0
    for byte in range(256):
        _PLAIN[byte] = ord(chr(byte & 0x7F).lower())
        if byte & tables.UNCASED:
            _KINDS[byte] = UNCASED
        elif chr(byte) in tables.SEPARATORS:
            _KINDS[byte] = SEPARATOR
        elif chr(byte).isupper():
            _KINDS[byte] = CASED
        else:
            _KINDS[byte] = MORE if chr(byte).isalnum() else NOTHING
    return 0


# Words

cdef struct _Listed:
    uint64_t hash
    const char* text
    uint16_t names
    uint8_t size
    uint8_t kinds
    uint8_t dotted
    uint8_t generation
    uint8_t gender

cdef struct _Ending:
    const char* text
    int size
    int stem
    int gender

cdef _Listed* _LISTED
cdef uint16_t _SLOTS[WORD_SLOTS]  # by hash: which word, from 1; 0 is a free slot
cdef _Ending* _ENDINGS
cdef int _ENDING_COUNT
cdef uint32_t* _SET_STARTS
cdef uint16_t* _SETS
cdef int _SET_COUNT
_texts = []  # keeps alive what the tables point into


cdef inline uint64_t _hash(const char* text, Py_ssize_t size) noexcept nogil:
    """FNV-1a with 64 bits (http://www.isthe.com/chongo/tech/comp/fnv/)."""
    cdef uint64_t hash = 0xCBF29CE484222325ULL
    cdef Py_ssize_t i
    for i in range(size):
        hash = (hash ^ <uint8_t>text[i]) * 0x100000001B3ULL
    return hash


cdef inline const _Listed* _listed(const char* text, Py_ssize_t size, uint64_t hash) noexcept nogil:
    cdef uint64_t slot = _spread(hash) % WORD_SLOTS
    cdef const _Listed* listed
    while _SLOTS[slot]:
        listed = &_LISTED[_SLOTS[slot] - 1]
        if listed.hash == hash and listed.size == size and not memcmp(listed.text, text, size):
            return listed
        slot = (slot + 1) % WORD_SLOTS
    return NULL


cdef int _fill_words() except -1:
    global _LISTED, _SET_STARTS, _SETS, _SET_COUNT, _ENDINGS, _ENDING_COUNT
    cdef uint64_t hash, slot
    cdef Py_ssize_t i
    sets = {(): 0}
    if 2 * len(tables.WORDS) > WORD_SLOTS:
        raise ValueError("no place for so many words")
    _LISTED = <_Listed*>calloc(len(tables.WORDS), sizeof(_Listed))
    if _LISTED == NULL:
        raise MemoryError
    for i, (text, word) in enumerate(tables.WORDS.items()):
        if not 0 < len(text) <= WORD_BYTES:
            raise ValueError("no place for a word")
        _texts.append(text)
        hash = _hash(text, len(text))
        slot = _spread(hash) % WORD_SLOTS
        while _SLOTS[slot]:
            slot = (slot + 1) % WORD_SLOTS
        _SLOTS[slot] = i + 1
        _LISTED[i].hash, _LISTED[i].text, _LISTED[i].size = hash, text, len(text)
        _LISTED[i].kinds, _LISTED[i].dotted = word.kinds, word.dotted
        _LISTED[i].generation, _LISTED[i].gender = word.generation, word.gender
        _LISTED[i].names = sets.setdefault(tuple(word.names), len(sets))
    _SET_STARTS = <uint32_t*>malloc((len(sets) + 1) * sizeof(uint32_t))
    _SETS = <uint16_t*>malloc(sum(map(len, sets)) * sizeof(uint16_t))
    _ENDINGS = <_Ending*>malloc(len(tables.ENDINGS) * sizeof(_Ending))
    if _SET_STARTS == NULL or _SETS == NULL or _ENDINGS == NULL:
        raise MemoryError
    cdef Py_ssize_t used = 0
    for i, numbers in enumerate(sets):
        _SET_STARTS[i] = used
        for number in numbers:
            _SETS[used] = number
            used += 1
    _SET_STARTS[len(sets)] = used
    _SET_COUNT = len(sets)
    _ENDING_COUNT = len(tables.ENDINGS)
    for i, ending in enumerate(tables.ENDINGS):
        if not ending.text.endswith((b"a", b"h")):
            raise ValueError("_patronymic_gender looks at words in -a and -h only")
        _texts.append(ending.text)
        _ENDINGS[i].text, _ENDINGS[i].size = ending.text, len(ending.text)
        _ENDINGS[i].stem, _ENDINGS[i].gender = ending.stem, ending.gender
    return 0


cdef const uint16_t* classes(uint16_t names, Py_ssize_t* count) noexcept nogil:
    """Return the classes of a set, ascending; none of a number that no set has."""
    count[0] = 0
    if names >= _SET_COUNT:
        return _SETS
    count[0] = _SET_STARTS[names + 1] - _SET_STARTS[names]
    return _SETS + _SET_STARTS[names]


cdef bint alike(uint16_t one, uint16_t other) noexcept nogil:
    """Tell whether two sets of name classes share one. No number is unsafe: stores may break."""
    cdef uint32_t i, j
    if one >= _SET_COUNT or other >= _SET_COUNT:
        return False
    if one == other:
        return one != 0
    i, j = _SET_STARTS[one], _SET_STARTS[other]
    while i < _SET_STARTS[one + 1] and j < _SET_STARTS[other + 1]:
        if _SETS[i] == _SETS[j]:
            return True
        if _SETS[i] < _SETS[j]:
            i += 1
        else:
            j += 1
    return False


# Sounds

cdef struct _Rule:
    const char* spelling
    uint8_t size
    uint8_t before, after
    uint8_t sounds, other_sounds  # how many
    bint is_double  # the two keys differ
    uint8_t key[RULE_SOUNDS]
    uint8_t other[RULE_SOUNDS]

cdef struct _Key:
    uint32_t value
    int count
    uint8_t last
    bint adjoins  # nothing was between the last sound and this place

_LETTERS = "APFTKSXLRMNHY"  # sounds, from 1 on
cdef _Rule* _RULES
cdef _Rule _SILENCE  # of what no rule is about: digits
cdef uint16_t _RULE_STARTS[256]  # by the first letter of the spelling
cdef uint16_t _RULE_ENDS[256]
cdef uint8_t _IS_MUTE[256]  # no rule gives the letter a sound but at the start of a word
cdef uint8_t _VOWELS[256]


cdef int _fill_rules() except -1:
    global _RULES
    cdef Py_ssize_t i, j
    rules = sorted(tables.SOUNDS, key=lambda rule: rule.spelling[0])
    _RULES = <_Rule*>calloc(len(rules), sizeof(_Rule))
    if _RULES == NULL:
        raise MemoryError
    for i, rule in enumerate(rules):
        if max(len(rule.key), len(rule.other)) > RULE_SOUNDS:
            raise ValueError("no place for the sounds of a rule")
        _texts.append(rule.spelling)
        _RULES[i].spelling, _RULES[i].size = rule.spelling, len(rule.spelling)
        _RULES[i].before, _RULES[i].after = ord(rule.before), ord(rule.after)
        _RULES[i].sounds, _RULES[i].other_sounds = len(rule.key), len(rule.other)
        for j in range(<Py_ssize_t>len(rule.key)):
            _RULES[i].key[j] = _LETTERS.index(rule.key[j]) + 1
        for j in range(<Py_ssize_t>len(rule.other)):
            _RULES[i].other[j] = _LETTERS.index(rule.other[j]) + 1
        _RULES[i].is_double = rule.key != rule.other
    _SILENCE.size = 1
    for i in range(256):
        _VOWELS[i] = chr(i) in "aeiouy"
        of_letter = [number for number, rule in enumerate(rules) if rule.spelling[0] == i]
        if of_letter:
            _RULE_STARTS[i], _RULE_ENDS[i] = min(of_letter), max(of_letter) + 1
        inner = [rules[number] for number in of_letter if rules[number].before != "^"]
        _IS_MUTE[i] = all(
            len(rule.spelling) == 1 and not rule.key and not rule.other for rule in inner
        )
    return 0


cdef inline bint _fits(const _Rule* rule, const char* text, int at, int size) noexcept nogil:
    cdef int end = at + rule.size
    cdef int i
    cdef char next
    if end > size:
        return False
    for i in range(1, rule.size):  # the first letter is why the rule is tried
        if text[at + i] != rule.spelling[i]:
            return False
    if (rule.before == b"^" and at) or (
        rule.before == b"V" and not (at and _VOWELS[<uint8_t>text[at - 1]])
    ):
        return False
    if rule.after == b"*":
        return True
    if end == size:
        return rule.after == b"$" or rule.after == b"C"
    next = text[end]
    if rule.after == b"E":
        return next == b"e" or next == b"i" or next == b"y"
    if rule.after == b"V":
        return _VOWELS[<uint8_t>next]
    return rule.after == b"C" and not _VOWELS[<uint8_t>next]


cdef inline void _sound(_Key* key, const uint8_t* sounds, int count) noexcept nogil:
    """Add the sounds of a place; the first is not heard again if the place before ended in it."""
    cdef int i = 1 if count and key.adjoins and key.last == sounds[0] else 0
    key.adjoins = count > 0
    if count:
        key.last = sounds[count - 1]
    while i < count and key.count < SOUNDS:
        key.value |= <uint32_t>sounds[i] << 4 * (SOUNDS - 1 - key.count)
        key.count += 1
        i += 1


cdef void _sound_out(const char* text, int size, TokenRecord* token) noexcept nogil:
    """Make the phonetic keys of a token."""
    cdef _Key key, other
    cdef const _Rule* rule
    cdef bint is_double = False  # a second reading has begun
    cdef int at = 0, i
    memset(&key, 0, sizeof(key))
    memset(&other, 0, sizeof(other))
    while at < size:
        if at and _IS_MUTE[<uint8_t>text[at]]:
            key.adjoins = other.adjoins = False
            at += 1
            continue
        rule = &_SILENCE
        for i in range(_RULE_STARTS[<uint8_t>text[at]], _RULE_ENDS[<uint8_t>text[at]]):
            if _fits(&_RULES[i], text, at, size):
                rule = &_RULES[i]
                break
        if rule.is_double and not is_double:
            is_double = True
            other = key
        _sound(&key, rule.key, rule.sounds)
        if is_double:
            _sound(&other, rule.other, rule.other_sounds)
        at += rule.size
    token.sound = key.value
    token.other = other.value if is_double and other.value != key.value else 0


# A name at work

cdef struct _Word:
    uint64_t hash
    const _Listed* listed
    const _Listed* title  # that it is part of, if it has a mark
    uint16_t start
    uint16_t part  # between commas
    uint8_t size
    uint8_t weight  # 1 for each cased letter, more for what is no abbreviation
    uint8_t field
    bint glued  # to the word before, as in an abbreviation
    bint dotted  # a full stop follows
    uint8_t mark  # honorific, suffix or, for a token, 0

cdef struct _Work:
    char text[ALL_WORDS * (WORD_BYTES + 1)]  # words, a full stop after each
    _Word words[ALL_WORDS]
    int starts[FIELDS + 1]  # of the words of each field
    int count  # of words
    int used  # of text
    int field
    int part
    int glue  # separators of an abbreviation since the last word; more than GLUE: others
    bint in_word
    bint has_titles  # some word may be an honorific or suffix
    bint is_cut
    int tokens[ALL_WORDS]  # words that are tokens, in the given order
    int token_count


cdef inline void _put(_Work* work, uint8_t byte) noexcept nogil:
    """Add a folded byte to the words."""
    cdef uint8_t kind = _KINDS[byte]
    cdef _Word* word
    if kind == NOTHING:
        return
    if kind == SEPARATOR:
        if work.in_word:
            _end_word(work, byte == b".")
        if byte == b",":
            work.part += 1
        work.glue = work.glue + 1 if byte == b"." or byte == b"-" else GLUE + 1
        return
    if not work.in_word and not _begin_word(work):
        return
    word = &work.words[work.count]
    if word.size == WORD_BYTES:
        work.is_cut = True
        return
    work.text[work.used] = _PLAIN[byte]
    work.used += 1
    word.size += 1
    if kind == CASED:
        word.weight = min(word.weight + 1, LETTERS + 1)
    elif kind == UNCASED:
        word.weight = LETTERS + 1


cdef inline bint _begin_word(_Work* work) noexcept nogil:
    cdef _Word* word = &work.words[work.count]
    cdef int before = work.count - work.starts[work.field]
    if before == WORDS:
        work.is_cut = True
        return False
    word.start = work.used
    word.size = 0
    word.weight = 0
    word.field = work.field
    word.part = work.part
    word.glued = before > 0 and work.glue <= GLUE
    word.mark = 0
    work.in_word = True
    return True


cdef inline void _end_word(_Work* work, bint dotted) noexcept nogil:
    cdef _Word* word = &work.words[work.count]
    cdef const char* text = work.text + word.start
    word.dotted = dotted
    word.hash = _hash(text, word.size)
    word.listed = _listed(text, word.size, word.hash)
    if word.glued or (word.listed != NULL and word.listed.kinds & (HONORIFIC | SUFFIX)):
        work.has_titles = True
    work.text[work.used] = b"."
    work.used += 1
    work.count += 1
    work.in_word = False
    work.glue = 0


cdef int _read(_Work* work, const char* text, Py_ssize_t size, int field) except -1 nogil:
    """Fold a text into the words of a field."""
    cdef Bytes at = <Bytes>text
    cdef Bytes end = at + size
    cdef Bytes before
    cdef uint32_t codes[CHARACTERS]
    cdef uint32_t code
    cdef const _Character* character
    cdef const _Page* page
    cdef int looked_at = 0, joined, i
    work.field = field
    work.starts[field] = work.count
    work.part = 0
    work.glue = GLUE + 1
    while at < end:
        if looked_at == CHARACTERS:
            work.is_cut = True
            break
        if at[0] < 0x80 and (end - at == 1 or at[1] < 0x80):
            _put(work, _ASCII[at[0]])
            at += 1
            looked_at += 1
            continue
        codes[0] = _decode(&at, end)
        joined = 1
        # What joins the character is normalised together with it; no ASCII character does.
        while at < end and at[0] >= 0x80 and looked_at + joined < CHARACTERS:
            before = at
            code = _decode(&at, end)
            if not _page(code).characters[code & 0xFF].joins:
                at = before
                break
            codes[joined] = code
            joined += 1
        looked_at += joined
        if joined > 1:
            _normalise(work, codes, joined)
            continue
        page = _page(codes[0])
        character = &page.characters[codes[0] & 0xFF]
        for i in range(character.folded_size):
            _put(work, page.folded[character.folded + i])
    if work.in_word:
        _end_word(work, False)
    return 0


cdef int _normalise(_Work* work, const uint32_t* codes, int count) except -1 nogil:
    """Fold characters that may combine: decompose, order and compose them first (NFKC)."""
    cdef uint32_t read[CHARACTERS * DECOMPOSED]
    cdef uint8_t combining[CHARACTERS * DECOMPOSED]
    cdef uint32_t code, composed
    cdef uint8_t last, weight
    cdef const _Page* page
    cdef const _Character* character
    cdef int size = 0, used = 0, starter = -1, i, j
    for i in range(count):
        page = _page(codes[i])
        character = &page.characters[codes[i] & 0xFF]
        for j in range(character.decomposed_size):
            read[size] = page.decomposed[character.decomposed + j]
            size += 1
    for i in range(size):
        code = read[i]
        weight = _page(code).characters[code & 0xFF].combining
        j = i
        while weight and j and combining[j - 1] > weight:
            read[j], combining[j] = read[j - 1], combining[j - 1]
            j -= 1
        read[j], combining[j] = code, weight
    for i in range(size):
        code, weight = read[i], combining[i]
        if starter >= 0 and (starter == used - 1 or combining[used - 1] < weight):
            composed = _composed(read[starter], code)
            if composed:
                read[starter] = composed
                continue
        if not weight:
            starter = used
        read[used], combining[used] = code, weight
        used += 1
    for i in range(used):
        page = _page(read[i])
        character = &page.characters[read[i] & 0xFF]
        for j in range(character.folded_size):
            _put(work, page.folded[character.folded + j])
    return 0


cdef const _Listed* _abbreviation(const _Work* work, int first, int count) noexcept nogil:
    """Return what is listed for so many words that are glued together."""
    cdef int last = first + count - 1, i
    cdef const char* text = work.text + work.words[first].start
    cdef Py_ssize_t size
    if count == 1:
        return work.words[first].listed
    for i in range(first + 1, last + 1):
        if not work.words[i].glued or work.words[i].part != work.words[first].part:
            return NULL
    size = work.words[last].start + work.words[last].size - work.words[first].start
    return _listed(text, size, _hash(text, size))


cdef int _title(_Work* work, int first, int end, uint8_t kind, bint at_end) noexcept nogil:
    """Set a title apart that is of this kind and at one end of these words; return its words."""
    cdef const _Listed* listed
    cdef int count, at, i
    for count in range(min(ABBREVIATION, end - first), 0, -1):
        at = end - count if at_end else first
        listed = _abbreviation(work, at, count)
        if listed == NULL or not listed.kinds & kind:
            continue
        if listed.dotted & kind and not (count == 1 and work.words[at].dotted):
            continue
        for i in range(at, at + count):
            work.words[i].mark = kind
            work.words[i].title = listed
        return count
    return 0


cdef void _set_titles_apart(_Work* work) noexcept nogil:
    """Mark honorifics that begin a part of a field, and suffixes that end one."""
    cdef int field, first, end, start, count, names
    for field in range(FIELDS):
        names = 0  # words of the field so far that are no titles
        start = work.starts[field]
        while start < work.starts[field + 1]:
            end = start + 1
            while end < work.starts[field + 1] and work.words[end].part == work.words[start].part:
                end += 1
            first, start = start, end
            while True:
                count = _title(work, first, end, HONORIFIC, False)
                if not count:
                    break
                first += count
            while True:
                # A suffix needs a name before it.
                count = _title(work, first + (names == 0), end, SUFFIX, True)
                if not count:
                    break
                end -= count
            names += end - first
    _give_back(work, MIDDLE)
    _give_back(work, LAST)
    _give_back(work, FULL)
    if work.starts[MIDDLE] == work.count:
        _give_back(work, FIRST)


cdef void _give_back(_Work* work, int field) noexcept nogil:
    """Let a field that has nothing but titles keep them as names."""
    cdef int i
    for i in range(work.starts[field], work.starts[field + 1]):
        if not work.words[i].mark:
            return
    for i in range(work.starts[field], work.starts[field + 1]):
        work.words[i].mark = 0


cdef void _note_titles(const _Work* work, NameRecord* name) noexcept nogil:
    """Note what the titles say."""
    cdef const _Word* word
    cdef int i
    for i in range(work.count):
        word = &work.words[i]
        if word.mark == HONORIFIC:
            name.flags |= TITLED
            name.gender |= word.title.gender
        elif word.mark == SUFFIX:
            name.flags |= SUFFIXED
            name.generation = max(name.generation, word.title.generation)


cdef void _order_tokens(_Work* work, NameRecord* name) noexcept nogil:
    """Take the words that are tokens; what stands before a comma goes behind the others."""
    cdef int i, before = 0
    work.token_count = 0
    for i in range(work.count):
        if not work.words[i].mark:
            work.tokens[work.token_count] = i
            work.token_count += 1
            before += work.words[i].part == 0 and work.words[i].field == FULL
    if not 0 < before < work.token_count or work.words[work.tokens[0]].field != FULL:
        return
    name.flags |= INVERTED
    for i in range(work.count):
        if not work.words[i].mark:
            work.words[i].field = LAST if work.words[i].part == 0 else FIRST
    _turn(work.tokens, before, work.token_count)


cdef void _turn(int* tokens, int before, int count) noexcept nogil:
    """Move the first `before` of the tokens to the end."""
    cdef int moved[WORDS]
    cdef int i
    for i in range(before):
        moved[i] = tokens[i]
    for i in range(count - before):
        tokens[i] = tokens[i + before]
    for i in range(before):
        tokens[count - before + i] = moved[i]


cdef uint8_t _kind(const _Work* work, int index) noexcept nogil:
    """Tell whether a token is an initial or a particle."""
    cdef const _Word* word = &work.words[work.tokens[index]]
    cdef const _Word* next
    cdef bint is_last = index + 1 == work.token_count
    cdef bint is_first = index == 0 or work.words[work.tokens[index - 1]].field != word.field
    if not is_last:
        next = &work.words[work.tokens[index + 1]]
        is_last = next.field != word.field or next.part != word.part
    if (
        not is_last
        and word.listed != NULL
        and word.listed.kinds & LISTED_PARTICLE
        and (word.field == LAST or (not is_first and word.size > 1))
        and not (word.size == 1 and word.dotted)
    ):
        return PARTICLE
    if word.weight == 1 or (0 < word.weight <= LETTERS and word.dotted):
        return INITIAL
    return 0


cdef int _patronymic_gender(const _Work* work, const _Word* word) noexcept nogil:
    """Return the gender of who bears such a patronymic, or 0 if it is none."""
    cdef const char* text = work.text + word.start
    cdef const _Ending* ending
    cdef int i
    if text[word.size - 1] != b"h" and text[word.size - 1] != b"a":
        return 0
    for i in range(_ENDING_COUNT):
        ending = &_ENDINGS[i]
        if (
            (word.size >= ending.size + ending.stem if ending.stem else word.size == ending.size)
            and not memcmp(text + word.size - ending.size, ending.text, ending.size)
        ):
            return ending.gender
    return 0


cdef void _mark_patronymics(_Work* work, NameRecord* name) noexcept nogil:
    """Mark patronymics by their endings and places: surnames end so, too, but stand elsewhere."""
    cdef const _Word* word
    cdef int i, gender, place = 0
    cdef int count = min(work.token_count, TOKENS)
    cdef bint found = False
    for i in range(count):
        word = &work.words[work.tokens[i]]
        if i and word.field != work.words[work.tokens[i - 1]].field:
            place = 0
        place += 1
        if (
            word.field == LAST
            or (place == 1 and word.field != MIDDLE)
            or (found and word.field == FULL)
            or name.tokens[i].flags & (INITIAL | PARTICLE)
        ):
            continue
        gender = _patronymic_gender(work, word)
        # "Roman Abramovich" has no father's name, "Anna Petrovna" has no surname.
        if gender and not (word.field == FULL and gender == 1 and work.token_count < 3):
            name.tokens[i].flags |= PATRONYMIC
            name.gender |= gender
            found = True


cdef void _describe(_Work* work, NameRecord* name) noexcept nogil:
    """Fill in the record but for its order and hashes."""
    cdef const _Word* word
    cdef TokenRecord* token
    cdef int i
    memset(name, 0, sizeof(NameRecord))
    name.tables = _TABLES
    if work.has_titles:
        _set_titles_apart(work)
        _note_titles(work, name)
    _order_tokens(work, name)
    if work.token_count > TOKENS:
        work.is_cut = True
    name.count = min(work.token_count, TOKENS)
    if work.is_cut:
        name.flags |= CUT
    for i in range(name.count):
        word = &work.words[work.tokens[i]]
        token = &name.tokens[i]
        token.size = word.size
        token.flags = word.field | _kind(work, i)
        token.names = 0 if word.listed == NULL else word.listed.names
        _sound_out(work.text + word.start, word.size, token)
    _mark_patronymics(work, name)


cdef inline bint _precedes(const _Work* work, int one, int other) noexcept nogil:
    cdef const _Word* left = &work.words[work.tokens[one]]
    cdef const _Word* right = &work.words[work.tokens[other]]
    cdef int compared = memcmp(
        work.text + left.start, work.text + right.start, min(left.size, right.size)
    )
    return compared < 0 or (compared == 0 and left.size < right.size)


cdef int _write(_Work* work, NameRecord* name, Names names) except -1 nogil:
    """Sort the tokens, hash them in both orders, and write the texts."""
    cdef int i, j
    cdef uint8_t at
    cdef char* out
    cdef Py_ssize_t size
    for i in range(name.count):
        j = i
        while j and _precedes(work, i, name.order[j - 1]):
            name.order[j] = name.order[j - 1]
            j -= 1
        name.order[j] = i
    name.exact = name.sorted = 0xCBF29CE484222325ULL if name.count else 0
    for i in range(name.count):
        at = name.order[i]
        name.exact = (name.exact ^ work.words[work.tokens[i]].hash) * 0x100000001B3ULL
        name.sorted = (name.sorted ^ work.words[work.tokens[at]].hash) * 0x100000001B3ULL
    out = names.given.reserve(TOKENS * (WORD_BYTES + 1))
    size = 0
    for i in range(name.count):
        size = _write_word(work, work.tokens[i], out, size)
    names.given.commit(size)
    name.size = size
    out = names.ordered.reserve(TOKENS * (WORD_BYTES + 1))
    size = 0
    for i in range(name.count):
        size = _write_word(work, work.tokens[name.order[i]], out, size)
    names.ordered.commit(size)
    size = 0
    out = names.apart.reserve(ALL_WORDS * (WORD_BYTES + 1) if work.has_titles else 1)
    if work.has_titles:
        for i in range(work.count):
            if work.words[i].mark:
                size = _write_word(work, i, out, size)
    names.apart.commit(size)
    return 0


cdef inline Py_ssize_t _write_word(
    const _Work* work, int index, char* out, Py_ssize_t size
) noexcept nogil:
    cdef const _Word* word = &work.words[index]
    if size:
        out[size] = b" "
        size += 1
    memcpy(out + size, work.text + word.start, word.size)
    return size + word.size


cdef inline void _begin(_Work* work) noexcept nogil:
    work.count = work.used = 0
    work.in_word = work.has_titles = work.is_cut = False


cdef inline void _end_fields(_Work* work, int field) noexcept nogil:
    """Say that no field from this one on has words."""
    while field <= FIELDS:
        work.starts[field] = work.count
        field += 1


cdef class Names:
    """Names taken apart: `given`, `ordered` and `apart` are texts, the rest is in records."""

    def __cinit__(self, Py_ssize_t count):
        self.count = count
        self.records = <NameRecord*>malloc(max(count, 1) * sizeof(NameRecord))
        if self.records == NULL:
            raise MemoryError
        self.given = Column(count, 16 * count)
        self.ordered = Column(count, 16 * count)
        self.apart = Column(count)

    def __dealloc__(self):
        free(self.records)

    def __len__(self):
        return self.count

    def __iter__(self):
        return map(self.__getitem__, range(self.count))

    def packed(self):
        """Return the records, one after the other (`LAYOUT`)."""
        return PyBytes_FromStringAndSize(<char*>self.records, self.count * sizeof(NameRecord))

    def __getitem__(self, Py_ssize_t index):
        """Return one name as Python has it, for tests and explanations."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        cdef const NameRecord* name = &self.records[index]
        texts = self.given[index].split()
        return Name(
            tuple(_token(&name.tokens[i], texts[i]) for i in range(name.count)),
            name.flags,
            name.generation,
            name.gender,
            tuple([name.order[i] for i in range(name.count)]),
            name.exact,
            name.sorted,
            self.given[index],
            self.ordered[index],
            self.apart[index],
        )


def share_class(uint16_t one, uint16_t other):
    """Tell whether two sets of name classes share one; sets are numbered as in the records."""
    return alike(one, other)


cdef _token(const TokenRecord* token, str text):
    cdef Py_ssize_t count = 0
    cdef const uint16_t* numbers = classes(token.names, &count)
    return Token(
        text,
        token.flags,
        tuple([numbers[i] for i in range(count)]),
        _letters(token.sound),
        _letters(token.other),
    )


cdef str _letters(uint32_t key):
    digits = [key >> 4 * (SOUNDS - 1 - i) & 15 for i in range(SOUNDS)]
    return "".join([_LETTERS[digit - 1] for digit in digits if digit])


def full_names(Texts texts not None):
    """Take whole names apart."""
    cdef Names names = Names.__new__(Names, texts.count)
    cdef _Work work
    cdef Py_ssize_t i
    with nogil:
        for i in range(texts.count):
            _begin(&work)
            _read(&work, texts.starts[i], texts.sizes[i], FULL)
            _end_fields(&work, FIRST)
            _describe(&work, &names.records[i])
            _write(&work, &names.records[i], names)
    return names


def fold(Texts texts not None):
    """Return texts of other kinds, streets say, in folded words with a blank between two."""
    cdef Column folded = Column(texts.count, 16 * texts.count)
    if texts.count <= FEW:
        _fold_all(texts, folded)
    else:
        with nogil:
            _fold_all(texts, folded)
    return folded


cdef int _fold_all(Texts texts, Column folded) except -1 nogil:
    cdef _Work work
    cdef Py_ssize_t i, size
    cdef int j
    cdef char* out
    for i in range(texts.count):
        _begin(&work)
        _read(&work, texts.starts[i], texts.sizes[i], FULL)
        out = folded.reserve(WORDS * (WORD_BYTES + 1))
        size = 0
        for j in range(work.count):
            size = _write_word(&work, j, out, size)
        folded.commit(size)
    return 0


def split_names(Texts first not None, Texts middle, Texts last not None):
    """Take names apart that come in columns."""
    if last.count != first.count or (middle is not None and middle.count != first.count):
        raise ValueError("need as many last and middle names as first names")
    cdef Names names = Names.__new__(Names, first.count)
    if first.count <= FEW:
        _split_all(first, middle, last, names)
    else:
        with nogil:
            _split_all(first, middle, last, names)
    return names


cdef int _split_all(Texts first, Texts middle, Texts last, Names names) except -1 nogil:
    cdef bint has_middle = middle is not None
    cdef _Work work
    cdef Py_ssize_t i
    for i in range(first.count):
        _begin(&work)
        work.starts[FULL] = 0
        _read(&work, first.starts[i], first.sizes[i], FIRST)
        work.starts[MIDDLE] = work.count
        if has_middle:
            _read(&work, middle.starts[i], middle.sizes[i], MIDDLE)
        _read(&work, last.starts[i], last.sizes[i], LAST)
        _end_fields(&work, FIELDS)
        _describe(&work, &names.records[i])
        _write(&work, &names.records[i], names)
    return 0


_fill_characters()
_fill_words()
_fill_rules()
