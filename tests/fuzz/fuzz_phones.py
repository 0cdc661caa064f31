"""Fuzzes the kernel of phones, built with AddressSanitizer and UndefinedBehaviorSanitizer.

`python -m tests.fuzz.fuzz_phones --minutes 10` builds the kernel anew in a temporary folder, where
every block of it tells that it ran (`phones_coverage.c`), and gives it mutations of a corpus: bytes
of any kind, well-formed or not, at the very end of their memory. What runs something new is kept
for further mutation; a fault ends the process with the sanitizer's report, a slow input with a
message. The corpus begins with `phones.corpus` and generated texts; `--keep` writes it back,
smaller: only what adds edges.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Iterable
from pathlib import Path
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what is imported is the build with sanitizers, in the child
    from service.core._phones import Phones
    from service.core._text import Texts

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).with_name("phones.corpus")
COVERAGE = Path(__file__).with_name("phones_coverage.c")
KERNELS = ("_text", "_phones")
FLAGS = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
COVERED = [*FLAGS, "-fsanitize-coverage=trace-pc"]
IN_CHILD = "FUZZ_PHONES_COVERAGE"
SLOW_S = 0.02  # under sanitizers, on a busy machine: a number takes some microseconds
GENERATED = 4_000
REPORT_S = 20.0

_WORDS = [
    word.encode("utf-8", "surrogatepass")
    for word in (
        "+", "++", "\uff0b", "00", "011", "+1", "+44", "+39", "+54 9", "+55", "tel:", "0", "x", "#",
        ";phone-context=", ";phone-context=+1", ";isub=", ";ext=", " ext. ", "доб", "anexo", "int",
        "extensio\u0301n", "\uff45\uff58\uff54\uff4e", ",,", " / x", "\\x", "~", "\u00a0", "\u3000",
        "\u0663\u0664", "\U0001d7ce", "\ud800", "(0)", "-", " ", ".", "\t", "\n", "abc", "\u017f",
        "\u212a", "example.com", "12345678901234567890", "\0", "\u00b2",
    )
] + [b"\xff", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xe0", b"\xf0\x9f", b"\x80"]  # fmt: skip


def read_corpus() -> list[bytes]:
    """Return the kept inputs: one JSON string a line, a byte a character."""
    return [json.loads(line).encode("latin-1") for line in CORPUS.read_text().splitlines()]


def write_corpus(inputs: Iterable[bytes]) -> None:
    """Keep inputs."""
    lines = sorted(json.dumps(one.decode("latin-1")) for one in set(inputs))
    CORPUS.write_text("".join(f"{line}\n" for line in lines))


def build(folder: Path) -> Path:
    """Build the kernel with sanitizers into a copy of the package; return the coverage library."""
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.c")
    shutil.copytree(ROOT / "service" / "core", folder / "service" / "core", ignore=ignored)
    shutil.copytree(ROOT / "tests" / "core", folder / "tests" / "core", ignore=ignored)
    shutil.copytree(ROOT / "tests" / "fuzz", folder / "tests" / "fuzz", ignore=ignored)
    for name in ("service/__init__.py", "service/errors.py", "tests/__init__.py"):
        shutil.copy(ROOT / name, folder / name)
    library = folder / "coverage.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, COVERAGE], check=True)
    for name in KERNELS:
        source = folder / "service" / "core" / f"{name}.pyx"
        source.write_text(source.read_text().replace("boundscheck=False", "boundscheck=True"))
        flags = COVERED if name == "_phones" else FLAGS
        subprocess.run(
            [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-q", source],
            env={**os.environ, "CFLAGS": " ".join(flags), "LDFLAGS": " ".join(FLAGS)},
            cwd=folder,
            check=True,
        )
    return library


def start(folder: Path, arguments: list[str]) -> int:
    """Run this module against the build, under the sanitizers' libraries; return its status."""
    library = build(folder)
    sanitizers = [
        subprocess.run(
            ["gcc", f"-print-file-name={name}.so"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for name in ("libasan", "libubsan")
    ]
    environment = {
        **os.environ,
        "LD_PRELOAD": ":".join([*sanitizers, str(library)]),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # so that every object has its own bounds
        "PYTHONPATH": str(folder),
        IN_CHILD: str(library),
    }
    command = [sys.executable, "-m", "tests.fuzz.fuzz_phones", *arguments]
    return subprocess.run(command, env=environment, cwd=folder, check=False).returncode


class Fuzzer:
    """Mutates a corpus and keeps what runs something new."""

    def __init__(self, seed: int) -> None:
        from service.core import _phones, _text

        self._phones = _phones
        self._texts = _text.Texts
        self._random = Random(seed)
        self._coverage = ctypes.CDLL(os.environ[IN_CHILD])
        self.corpus: list[bytes] = []
        self.edges = 0
        self.slowest = (0.0, b"")

    def offer(self, given: bytes, region: int) -> None:
        """Run one input; keep it where it runs something new."""
        # Exactly as long as the input: the byte after it is out of bounds.
        data = (ctypes.c_char * len(given)).from_buffer_copy(given)
        offsets = array("i", [0, len(given)])
        self._coverage.end_run()
        started = perf_counter()
        texts = self._texts.view(memoryview(offsets), memoryview(data).cast("B"), 0, 1)
        phones = self._phones.parse(texts, None, region)
        spent = perf_counter() - started
        self._look(phones)
        if spent > self.slowest[0]:
            self.slowest = (spent, given)
            if spent > SLOW_S and min(self._seconds(texts, region) for _ in range(3)) > SLOW_S:
                raise SystemExit(f"{spent:.3f} s for {given!r} in region {region}")
        if fresh := self._coverage.end_run():
            self.edges += fresh
            self.corpus.append(given)

    def _seconds(self, texts: Texts, region: int) -> float:
        started = perf_counter()
        self._phones.parse(texts, None, region)
        return perf_counter() - started

    def _look(self, phones: Phones) -> None:
        """Take everything out of an answer; the forms are what is written."""
        for column in (phones.keys(), phones.normals(), phones.extensions):
            column.strings()
        for numbers in (phones.regions(), phones.types(), phones.reasons(), memoryview(phones)):
            assert len(numbers)
        ((normal, extension, _, _, _),) = phones.forms()
        if normal:
            assert self._phones.display(normal, extension) is not None
            self._phones.phone_key(normal)

    def smallest(self, regions: int) -> list[bytes]:
        """Return those of the corpus that are needed for all that it runs, the short ones first."""
        kept, self.corpus = sorted(set(self.corpus), key=len), []
        self._coverage.forget()
        for given in kept:
            before = len(self.corpus)
            for region in range(0, regions, 16):
                if len(self.corpus) == before:
                    self.offer(given, region)
        return self.corpus

    def number(self) -> None:
        """Write any digits as a number: a normal form need not be one of `parse`."""
        random = self._random
        digits = "".join(random.choices("0123456789", k=random.randint(0, 24)))
        self._phones.display(f"+{digits}", random.choice(("", "1", "٣")))
        self._phones.phone_key(f"+{digits}")

    def mutated(self) -> bytes:
        """Return a kept input with some changes."""
        random = self._random
        found = bytearray(random.choice(self.corpus))
        for _ in range(random.choice((1, 1, 2, 3, 5, 8))):
            at = random.randint(0, len(found))
            chance = random.random()
            if chance < 0.25:
                found[at:at] = random.choice(_WORDS)
            elif chance < 0.4:
                found[at:at] = b"%d" % random.randrange(10 ** random.randint(1, 6))
            elif chance < 0.55:
                del found[at : at + random.randint(1, 5)]
            elif chance < 0.7:
                found[at : at + 1] = bytes([random.randrange(256)])
            elif chance < 0.8:
                found[at:at] = found[at : at + random.randint(1, 40)] * random.randint(1, 4)
            elif chance < 0.95:
                other = random.choice(self.corpus)
                found[at:] = other[random.randint(0, len(other)) :]
            else:
                found[at:at] = random.choice(_WORDS) * random.randint(1, 260)
        return bytes(found[:1_100])


def fuzz(minutes: float, seed: int) -> Fuzzer:
    """Run until the time is over."""
    from service.core import _phones
    from tests.core import phone_texts

    fuzzer, random = Fuzzer(seed), Random(seed)
    regions = len(_phones.REGIONS)
    kept = read_corpus() if CORPUS.exists() else []
    for given in kept:
        for region in (0, 1, *random.sample(range(2, regions), 20)):
            fuzzer.offer(given, region)
    for text, region_name in phone_texts.Texts(seed).questions(GENERATED):
        fuzzer.offer(text.encode("utf-8", "surrogatepass"), _phones.region_id(region_name))
    fuzzer.corpus = [*dict.fromkeys([*kept, *fuzzer.corpus])]
    started = told = perf_counter()
    count = 0
    while (now := perf_counter()) - started < 60 * minutes:
        for _ in range(200):
            fuzzer.offer(fuzzer.mutated(), random.randrange(regions))
        fuzzer.number()
        count += 200
        if now - told > REPORT_S:
            told = now
            print(
                f"{count:,} inputs, {count / (now - started):,.0f}/s, {fuzzer.edges} edges, "
                f"{len(fuzzer.corpus)} kept, slowest {fuzzer.slowest[0] * 1e3:.1f} ms",
                flush=True,
            )
    write_corpus(fuzzer.smallest(regions))
    return fuzzer


def main() -> None:
    """Build and start a fuzzer, or be one."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.fuzz_phones", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="write the corpus back")
    options = parser.parse_args()
    if IN_CHILD not in os.environ:
        with tempfile.TemporaryDirectory(prefix="fuzz-phones-") as folder:
            arguments = [f"--minutes={options.minutes}", f"--seed={options.seed}"]
            if status := start(Path(folder), arguments):
                raise SystemExit(status)
            if options.keep:
                shutil.copy(Path(folder, "tests", "fuzz", CORPUS.name), CORPUS)
        return
    fuzzer = fuzz(options.minutes, options.seed)
    print(f"{len(fuzzer.corpus)} inputs kept, no fault")


if __name__ == "__main__":
    main()
