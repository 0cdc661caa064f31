# cython: language_level=3, boundscheck=False, wraparound=False, annotation_typing=False
"""Columns of texts: what the kernels read from and write to, laid out as Arrow does.

A kernel takes `Texts`, of a list of `str` or of the buffers of an Arrow string array, neither of
which is copied, and works without the GIL. It gives back `Column`s, which Arrow takes as they are.
Texts are UTF-8; a lone surrogate of a `str` is encoded as if it were a character (WTF-8).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport INT32_MAX, int32_t, int64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size)
    void PyErr_Clear()


cdef class Texts:
    """A read-only column of texts."""

    def __cinit__(self):
        self.count = 0
        self.starts = NULL
        self.sizes = NULL
        self._spare = []

    def __dealloc__(self):
        PyMem_Free(self.starts)
        PyMem_Free(self.sizes)

    cdef int _make_room(self, Py_ssize_t count) except -1:
        self.starts = <const char**>PyMem_Malloc(max(count, 1) * sizeof(char*))
        self.sizes = <int32_t*>PyMem_Malloc(max(count, 1) * sizeof(int32_t))
        if self.starts == NULL or self.sizes == NULL:
            raise MemoryError
        self.count = count
        return 0

    @staticmethod
    def of(texts):
        """Take a sequence of `str`."""
        cdef Texts made = Texts()
        cdef list owner = list(texts)
        cdef Py_ssize_t i, size = 0
        cdef const char* start
        made._owner = owner
        made._make_room(len(owner))
        for i in range(len(owner)):
            text = owner[i]
            if not isinstance(text, str):
                raise TypeError("a text must be a str")
            start = PyUnicode_AsUTF8AndSize(text, &size)
            if start == NULL:
                PyErr_Clear()
                encoded = text.encode("utf-8", "surrogatepass")
                made._spare.append(encoded)
                start, size = PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded)
            if size > INT32_MAX:
                raise ValueError("a text is longer than 2 GiB")
            made.starts[i] = start
            made.sizes[i] = <int32_t>size
        return made

    @staticmethod
    def view(offsets, data, Py_ssize_t first, Py_ssize_t count, *, wide=False):
        """Take `count` texts from `first` on of an Arrow string array, from its two buffers.

        The offsets have 32 bits each, of a large string array, which is `wide`, 64.
        """
        cdef const int32_t[::1] near
        cdef const int64_t[::1] far
        cdef const unsigned char[::1] content = memoryview(data).cast("B")
        cdef Texts made = Texts()
        cdef Py_ssize_t i, known
        cdef int64_t start, end
        cdef const char* base = NULL
        view = memoryview(offsets).cast("B")
        if wide:
            far = view[: len(view) // 8 * 8].cast("q")
            known = far.shape[0]
        else:
            near = view[: len(view) // 4 * 4].cast("i")
            known = near.shape[0]
        if content.shape[0]:
            base = <const char*>&content[0]
        if first < 0 or count < 0 or count >= known - first:
            raise ValueError("the offsets are fewer than the texts")
        made._owner = (offsets, data)
        made._make_room(count)
        end = far[first] if wide else near[first]
        for i in range(count):
            start = end
            end = far[first + i + 1] if wide else near[first + i + 1]
            if not 0 <= start <= end <= content.shape[0]:
                raise ValueError("an offset is outside the data")
            if end - start > INT32_MAX:
                raise ValueError("a text is longer than 2 GiB")
            made.starts[i] = base + start if base != NULL else NULL
            made.sizes[i] = <int32_t>(end - start)
        return made

    def __len__(self):
        return self.count

    def __getitem__(self, Py_ssize_t index):
        """Return a text, for those that a kernel leaves to Python."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        return PyUnicode_DecodeUTF8(self.starts[index], self.sizes[index], "surrogatepass")

    def without(self, bytes signs not None):
        """Return the texts without some ASCII characters."""
        cdef Column kept = Column(self.count, 16 * self.count)
        cdef Texts made = Texts()
        cdef bint[256] is_sign
        cdef Py_ssize_t i
        for i in range(256):
            is_sign[i] = i in signs
        for i in range(self.count):
            _copy_without(self.starts[i], self.sizes[i], is_sign, kept)
        made._owner = kept
        made._make_room(self.count)
        for i in range(self.count):
            made.starts[i] = kept._bytes + kept._offsets[i]
            made.sizes[i] = kept._offsets[i + 1] - kept._offsets[i]
        return made


cdef int _copy_without(
    const char* text, int32_t size, const bint* is_sign, Column to
) except -1 nogil:
    cdef char* at = to.reserve(size)
    cdef int32_t i, kept = 0
    for i in range(size):
        if not is_sign[<unsigned char>text[i]]:
            at[kept] = text[i]
            kept += 1
    return to.commit(kept)


cdef class Column:
    """A growing column of texts. Its bytes are at most 2 GiB: `OverflowError` beyond."""

    def __cinit__(self, Py_ssize_t expected_texts=0, Py_ssize_t expected_bytes=0):
        self._slots = max(expected_texts, 15) + 1
        self._room = max(expected_bytes, 64)
        self._offsets = <int32_t*>malloc(self._slots * sizeof(int32_t))
        self._bytes = <char*>malloc(self._room)
        if self._offsets == NULL or self._bytes == NULL:
            raise MemoryError
        self._offsets[0] = 0
        self.count = 0
        self._used = 0

    def __dealloc__(self):
        free(self._offsets)
        free(self._bytes)

    cdef char* reserve(self, Py_ssize_t size) except NULL nogil:
        """Return where the next text's `size` bytes (or fewer) go; `commit` then says how many."""
        cdef Py_ssize_t room = self._room
        cdef void* grown
        if size > INT32_MAX - self._used:
            with gil:
                raise OverflowError("a column holds at most 2 GiB")
        if self._used + size > room:
            while room < self._used + size:
                room *= 2
            grown = realloc(self._bytes, room)
            if grown == NULL:
                with gil:
                    raise MemoryError
            self._bytes, self._room = <char*>grown, room
        if self.count + 1 >= self._slots:
            grown = realloc(self._offsets, 2 * self._slots * sizeof(int32_t))
            if grown == NULL:
                with gil:
                    raise MemoryError
            self._offsets = <int32_t*>grown
            self._slots *= 2
        return self._bytes + self._used

    cdef int commit(self, Py_ssize_t size) except -1 nogil:
        """End the text whose bytes were written where `reserve` said."""
        self._used += size
        self.count += 1
        self._offsets[self.count] = <int32_t>self._used
        return 0

    cdef int append(self, const char* text, Py_ssize_t size) except -1 nogil:
        """Add a text."""
        memcpy(self.reserve(size), text, size)
        return self.commit(size)

    def __len__(self):
        return self.count

    def __getitem__(self, Py_ssize_t index):
        """Return one text."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        cdef int32_t start = self._offsets[index]
        return PyUnicode_DecodeUTF8(
            self._bytes + start, self._offsets[index + 1] - start, "surrogatepass"
        )

    def add(self, text):
        """Add a text from Python."""
        cdef bytes encoded = text.encode("utf-8", "surrogatepass")
        self.append(PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded))

    def offsets(self):
        """Return the offsets as Arrow lays them out: `count + 1` int32 of this machine."""
        return PyBytes_FromStringAndSize(
            <char*>self._offsets, (self.count + 1) * sizeof(int32_t)
        )

    def data(self):
        """Return the texts' bytes, one after the other."""
        return PyBytes_FromStringAndSize(self._bytes, self._used)

    def strings(self):
        """Return the texts as a list of `str`."""
        return [self[i] for i in range(self.count)]
