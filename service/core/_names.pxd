# cython: language_level=3
"""Names as the matching kernels read them: fixed-size records, and the folded texts beside them."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from service.core._text cimport Column

cpdef enum:  # bounds
    CHARACTERS = 256  # code points looked at of each text; forms allow for a hundred or so
    WORDS = 24  # words looked at of each text, titles among them; junk has more, names do not
    WORD_BYTES = 64  # kept of a folded word; the longest real names are under 40 letters
    TOKENS = 8  # kept of a name; Spanish, Brazilian and Arabic names in full have up to seven
    SOUNDS = 8  # in a phonetic key: so many fit into 32 bits, and few names have more

cpdef enum:  # flags of a token
    ROLE = 3  # mask: 0 unknown, or one of the three below
    FIRST = 1
    MIDDLE = 2
    LAST = 3
    INITIAL = 4  # a letter, or an abbreviation: what it stands for begins so
    PARTICLE = 8  # van, de la, bin: the word belongs to a family name and says little
    PATRONYMIC = 16  # Иванович, Petrivna: the father's name

cpdef enum:  # flags of a name
    CUT = 1  # a bound was reached: something of the name is not in the record
    TITLED = 2  # an honorific was set apart
    SUFFIXED = 4  # a suffix was set apart
    INVERTED = 8  # the family name stood first, before a comma

cdef struct TokenRecord:  # 12 bytes
    uint8_t size  # bytes of its text
    uint8_t flags
    uint16_t names  # its set of name classes: compare with `alike`; 0 if it is no known name
    uint32_t sound  # phonetic key: four bits a sound, the first highest; 0 if there is none
    uint32_t other  # the same for another reading of its spelling; 0 if that is no other

cdef struct NameRecord:  # 128 bytes, without pointers: may be stored as it is
    uint64_t exact  # hash of the tokens in their order; 0 without tokens
    uint64_t sorted  # hash of the tokens sorted; 0 without tokens
    uint16_t size  # bytes of the folded text, a space between two tokens
    uint16_t tables  # of which tables this was made: do not compare with others
    uint8_t count  # of tokens
    uint8_t flags
    uint8_t generation  # from a suffix: 1 senior, 2 junior or II, 3 III …; 0 unknown
    uint8_t gender  # from an honorific or patronymic: 1 male, 2 female, 3 both; 0 unknown
    uint8_t order[TOKENS]  # indices of the tokens, sorted by their bytes
    TokenRecord tokens[TOKENS]


cdef class Names:
    cdef readonly Py_ssize_t count
    cdef readonly Column given, ordered, apart
    cdef NameRecord* records


cdef bint alike(uint16_t one, uint16_t other) noexcept nogil
cdef const uint16_t* classes(uint16_t names, Py_ssize_t* count) noexcept nogil
