"""Fuzz the name kernel: built with checks, guided by its coverage, held against the oracle.

    nice -n 19 python -m tests.fuzz.fuzz_names --minutes 10

The kernel and the columns it uses are built anew in a temporary folder with Cython's bounds checks,
AddressSanitizer and UndefinedBehaviorSanitizer (gcc's; it needs no clang, which atheris would), and
this file runs itself again with their libraries loaded first. Python allocates with malloc, so that
reading beyond a text is seen. An input that reaches new code is kept and mutated further. Any fault
ends the run with the sanitizer's report, a difference from the oracle with the input. At the end
the fewest inputs that reach all that was reached are written to `names.corpus`, one a line with
Python's escapes; `tests/core/test_names.py` runs them in an ordinary build.

An input is a whole name, or where it has two bytes 0xFF, a first, a middle and a last name.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path
from random import Random

from service.core import _names
from service.core._names import Name
from service.core._text import Texts
from tests.core import oracle_names

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).with_name("names.corpus")
KERNELS = ("_text", "_names")
FLAGS = (
    "-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize=alignment "
    "-fno-sanitize-recover=undefined -fsanitize-coverage=trace-pc"
)
PLACES = 1 << 16  # as in coverage.c
LONGEST = 700  # bytes of an input; the kernel looks at 256 characters of each text
COMPARED_EACH = 20  # of so many inputs that reach nothing new, one is held against the oracle
BROKEN = 0xFF  # never in UTF-8: between the parts of an input
INTERESTING = (
    "Dr.", " Jr.", "Ph.D.", "г-н ", "к.ф.-м.н.", "van der ", "al-", "III", ", ", ".-", "Mr ",
    "Иванович", "Petrovna", "Саша", "sch", "tsch", "o\u0308", "\u0301\u0327", "각", "\u1100\u1161",
    "\u11a8", "が", "か\u3099", "ﷺ", "½", "İ", "ß", "´", "\u200d", "\ud800", "\U0001f600", "x" * 70,
    "a b " * 14, "a,", "\u0344" * 9, "𝔄", "Ⅷ", "\0", "e\u0301" * 40,
)  # fmt: skip


def main() -> None:
    """Build and start the real run, or be it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.fuzz_names")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checked", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.checked:
        Fuzzer(Random(options.seed)).run(options.minutes * 60)
        return
    with tempfile.TemporaryDirectory(prefix="namesake-fuzz-") as folder:
        environment = _build(Path(folder))
        command = [sys.executable, __file__, "--checked", "--minutes", str(options.minutes)]
        command += ["--seed", str(options.seed)]
        sys.exit(subprocess.run(command, env=environment, cwd=folder, check=False).returncode)


def _build(folder: Path) -> dict[str, str]:
    """Build the kernels with checks; return the environment in which they run."""
    core = folder / "service" / "core"
    shutil.copytree(ROOT / "service" / "core", core, ignore=shutil.ignore_patterns("*.so", "*.c"))
    shutil.copy(ROOT / "service" / "__init__.py", core.parent)
    for name in KERNELS:
        source = core / f"{name}.pyx"
        text = source.read_text().replace("boundscheck=False", "boundscheck=True", 1)
        source.write_text(
            text.replace("wraparound=False", "wraparound=False, initializedcheck=True")
        )
    sources = [str(core / f"{name}.pyx") for name in KERNELS]
    cythonize = [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-q", *sources]
    subprocess.run(cythonize, env={**os.environ, "CFLAGS": FLAGS}, cwd=folder, check=True)
    coverage = folder / "coverage.so"
    source = Path(__file__).with_name("coverage.c")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", coverage, source], check=True)
    libraries = [_library("libasan.so"), _library("libubsan.so"), str(coverage)]
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": f"{folder}:{ROOT}",
    }


def _library(name: str) -> str:
    found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, check=True)
    return found.stdout.decode().strip()


class Fuzzer:
    """Mutates inputs, and keeps those that reach new places."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._library = ctypes.CDLL(None)
        self._coverage = (ctypes.c_uint8 * PLACES).in_dll(self._library, "coverage")
        self._reached = 0  # a byte of it for each place
        self._kept: list[tuple[bytes, int]] = []

    def run(self, seconds: float) -> None:
        """Fuzz for so long, then write the corpus."""
        started = shown = time.monotonic()
        for line in _seeds():
            self.try_(line)
        runs = 0
        while time.monotonic() < started + seconds:
            self.try_(self._mutated(), is_compared=self._rng.randrange(COMPARED_EACH) == 0)
            runs += 1
            if time.monotonic() > shown + 30:
                shown = time.monotonic()
                rate = runs / (shown - started)
                print(
                    f"{runs:,} inputs, {rate:,.0f}/s, {self._reached.bit_count()} places",
                    flush=True,
                )
        self._write()
        print(f"{runs:,} inputs, {self._reached.bit_count()} places, {len(self._kept)} inputs kept")

    def try_(self, text: bytes, *, is_compared: bool = False) -> None:
        """Run one input; keep it if it reaches a new place."""
        self._library.forget_coverage()
        taken = run(text)
        is_new = self._library.new_places() > 0
        if is_new or is_compared:
            compare(text, taken)
        if is_new:
            reached = int.from_bytes(ctypes.string_at(self._coverage, PLACES), "little")
            self._reached |= reached
            self._kept.append((text, reached))

    def _mutated(self) -> bytes:
        rng = self._rng
        text = bytearray(rng.choice(self._kept)[0])
        for _ in range(rng.randint(1, 4)):
            at = rng.randint(0, len(text))
            to = min(len(text), at + rng.choice((0, 0, 1, 1, 2, 4, 16)))
            change = rng.randrange(6)
            if change == 0:
                text[at:to] = rng.randbytes(to - at)
            elif change == 1:
                text[at:to] = rng.choice(INTERESTING).encode("utf-8", "surrogatepass")
            elif change == 2:
                text[at:at] = chr(rng.randrange(0x110000)).encode("utf-8", "surrogatepass")
            elif change == 3:
                text[at:at] = text[at : at + rng.randint(1, 40)]
            elif change == 4:
                other = rng.choice(self._kept)[0]
                text[at:to] = other[rng.randint(0, len(other)) :][: rng.randint(1, 60)]
            elif at < len(text):
                text[at] ^= 1 << rng.randrange(8)
        return bytes(text[:LONGEST])

    def _write(self) -> None:
        """Write few inputs that together reach all places: each time the one that adds most."""
        left = self._reached
        chosen = []
        while left:
            text, reached = max(
                self._kept, key=lambda one: ((one[1] & left).bit_count(), -len(one[0]))
            )
            chosen.append(text)
            left &= ~reached
        lines = sorted(text.decode("latin-1").encode("unicode_escape").decode() for text in chosen)
        CORPUS.write_text("".join(f"{line}\n" for line in lines))


def _seeds() -> list[bytes]:
    seeds = [text.encode("utf-8", "surrogatepass") for text in INTERESTING]
    seeds += ["Dr. Anna Petrovna Müller-Lüdenscheidt, Ph.D.".encode(), b"\xff\xff", b"A\xffB.\xffC"]
    return seeds + (corpus() if CORPUS.exists() else [])


def corpus() -> list[bytes]:
    """Return the inputs that were kept."""
    lines = CORPUS.read_text().splitlines()
    return [line.encode().decode("unicode_escape").encode("latin-1") for line in lines]


def run(text: bytes) -> Name:
    """Run the kernel over one input, in memory that ends where the input does."""
    parts = text.split(bytes([BROKEN]))
    columns = []
    for part in parts if len(parts) == 3 else [text]:
        exact = memoryview((ctypes.c_uint8 * len(part)).from_buffer_copy(part)).cast("B")
        columns.append(Texts.view(array("i", [0, len(part)]).tobytes(), exact, 0, 1))
    names = _names.split_names(*columns) if len(columns) == 3 else _names.full_names(columns[0])
    return names[0]


def compare(text: bytes, taken: Name) -> None:
    """Hold what the kernel said against the oracle, where the input is text."""
    parts = text.split(bytes([BROKEN]))
    try:
        texts = [part.decode("utf-8", "surrogatepass") for part in parts]
    except UnicodeDecodeError:
        return
    if len(texts) not in {1, 3}:
        return
    expected = (
        oracle_names.full_name(texts[0]) if len(texts) == 1 else oracle_names.split_name(*texts)
    )
    if taken != expected:
        raise AssertionError(f"the oracle says otherwise of {text!r}:\n{taken}\n{expected}")


if __name__ == "__main__":
    main()
