"""What the fuzzers share: they build kernels with checks, mutate inputs, and keep what is new.

`python -m tests.fuzz.fuzz_phones --minutes 10` compiles the kernel anew in a temporary folder, with
AddressSanitizer, UndefinedBehaviorSanitizer, Cython's bounds checks and a trace of its blocks
(`coverage.c`), and runs itself there under the sanitizers' libraries. It needs gcc (or what `CC`
names) with libasan and libubsan.

An input that runs something new is mutated further and held against the oracle, as are some of the
others; all are run again in batches, where they must fare as they did alone; none may be slow. Any
fault ends the run and shows the input. `--keep` writes the fewest inputs that reach all that was
reached back to the corpus: a file whose lines are Python's literals of bytes, which tests read too.
"""

from __future__ import annotations

import argparse
import ast
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import chain
from pathlib import Path
from random import Random, SystemRandom
from time import perf_counter
from typing import Final, TypeVar

from service.core._text import Texts

ROOT: Final = Path(__file__).parents[2]  # the temporary folder, in the process that fuzzes
LAST: Final = ROOT / "last"  # what runs now as lines of a corpus, in case that the process ends
END: Final = b"\0"  # of it; what follows is older
SANITIZERS: Final = "-fsanitize=address,undefined -fno-sanitize-recover=undefined"
FLAGS: Final = f"-O1 -g -fno-omit-frame-pointer {SANITIZERS} -fsanitize-coverage=trace-pc"
CHECKS: Final = {
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "PYTHONMALLOC": "malloc",  # so that every object has its own bounds
}
EDGES: Final = 1 << 16  # as in coverage.c

PART: Final = b"\xff"  # between the parts of an input: never in UTF-8
KEPT_BYTES: Final = 1_200  # longer inputs are run, not kept
ORACLE_EVERY: Final = 10  # inputs between two that the oracle sees
BATCHES: Final = (10, 100, 5_000)  # inputs; more than a kernel works on at once
SLOW_S: Final = 0.02  # with sanitizers, on a busy machine: ordinary is less than a millisecond
TOLD_EVERY_S: Final = 30.0
SHOWN: Final = 10
SIZES: Final = (64, 128, 250, 255, 1_000, 4_100)  # bytes, near the kernels' bounds
CHARACTERS: Final = (0x80, 0x600, 0x3400, 0x10000, sys.maxunicode + 1)  # code points below

T = TypeVar("T")


@dataclass(frozen=True)
class Fuzzed:
    """A kernel that is fuzzed, and what is particular about it.

    `name` is that of its modules and corpus: "phones" for `service.core._phones`, `fuzz_phones`
    and `phones.corpus`. `run` puts a batch of inputs to the kernel and gives an answer for each, to
    be compared with `==`. `difference` says what the oracle would have answered to one input, and
    "" where it agrees. `first_inputs` takes a seed.
    """

    name: str
    words: Sequence[bytes]
    longest_bytes: int
    first_inputs: Callable[[int], Iterable[bytes]]
    run: Callable[[Sequence[bytes]], Sequence[object]]
    difference: Callable[[bytes], str]


def main(fuzzed: Fuzzed) -> None:
    """Build the kernel and start a process that fuzzes it, or be that process."""
    arguments = argparse.ArgumentParser(prog=f"python -m tests.fuzz.fuzz_{fuzzed.name}")
    arguments.add_argument("--minutes", type=float, default=10.0)
    arguments.add_argument("--seed", type=int, default=SystemRandom().randrange(1_000_000))
    arguments.add_argument("--keep", action="store_true", help="write the corpus back, smaller")
    arguments.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.inside:
        fuzzer = Fuzzer(fuzzed, options.seed)
        fuzzer.run(60 * options.minutes)
        if options.keep:
            write_corpus(corpus_of(fuzzed.name), fewest(fuzzer.kept))
        return
    words = [f"--minutes={options.minutes}", f"--seed={options.seed}", *["--keep"] * options.keep]
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{fuzzed.name}-") as temporary:
        folder = Path(temporary).resolve()
        _build(folder, fuzzed.name)
        _start(folder, fuzzed.name, words)
        if options.keep:
            path = corpus_of(fuzzed.name)
            shutil.copy(folder / path.relative_to(ROOT), path)


# Inputs


def corpus_of(name: str) -> Path:
    """Return where the kept inputs of a kernel are."""
    return Path(__file__).with_name(f"{name}.corpus")


def read_corpus(path: Path) -> list[bytes]:
    """Return the inputs of a file."""
    return [ast.literal_eval(line) for line in path.read_text("ascii").splitlines()]


def write_corpus(path: Path, inputs: Iterable[bytes]) -> None:
    """Write inputs to a file, the short ones first."""
    lines = [repr(given) for given in sorted(set(inputs), key=lambda one: (len(one), one))]
    path.write_text("".join(f"{line}\n" for line in lines), "ascii")


def fewest(reached: Mapping[bytes, Iterable[int]]) -> list[bytes]:
    """Return few inputs that reach whatever any reaches: each time the one that adds most."""
    features = {given: set(found) for given, found in reached.items()}
    left = set().union(*features.values())
    chosen = []
    while left:
        best = max(features, key=lambda given: (len(features[given] & left), -len(given)))
        left -= features.pop(best)
        chosen.append(best)
    return chosen


def text_of(given: bytes) -> str | None:
    """Return the `str` that has these bytes, None if there is none; it may have surrogates."""
    try:
        return given.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None


def bytes_of(texts: Iterable[str]) -> list[bytes]:
    """Return the bytes of texts, as a kernel sees them."""
    return [text.encode("utf-8", "surrogatepass") for text in texts]


def column(values: Sequence[bytes]) -> Texts:
    """Return values as a kernel takes them, in memory that ends where the last of them does.

    An array of a list has not a byte to spare; most other buffers do, where a read would be missed.
    """
    offsets = [0]
    for value in values:
        offsets.append(offsets[-1] + len(value))
    content = array("B", list(b"".join(values)))
    return Texts.view(memoryview(array("i", offsets)), memoryview(content), 0, len(values))


class Mutator:
    """Makes new inputs of old ones."""

    def __init__(self, random: Random, words: Sequence[bytes], longest_bytes: int) -> None:
        """Take the words to put in, and a bound."""
        self._random = random
        self._words = words
        self._longest_bytes = longest_bytes

    def mutated(self, inputs: Sequence[bytes]) -> bytes:
        """Return one of the inputs with some of its bytes replaced."""
        made = bytearray(self._one(inputs))
        for _ in range(self._one((1, 1, 2, 3, 5, 8, 16))):
            at = self._below(len(made) + 1)
            to = self._one((at, at, at + 1, at + 1, at + 2, at + 4, at + 16, len(made)))
            made[at:to] = self._piece(made, at, inputs)
            del made[self._longest_bytes :]
        return bytes(made)

    def _piece(self, made: bytearray, at: int, inputs: Sequence[bytes]) -> bytes:
        match self._below(12):
            case 0 | 1:
                return b""
            case 2:
                return self._random.randbytes(self._one((1, 1, 2, 4)))
            case 3:
                return bytes([byte ^ 1 << self._below(8) for byte in made[at : at + 1]])
            case 4:
                character = chr(self._below(self._one(CHARACTERS)))
                return character.encode("utf-8", "surrogatepass")
            case 5:
                return b"%d" % self._below(10 ** self._one((1, 2, 4, 6)))
            case 6:
                return bytes(made[at : at + 1 + self._below(40)]) * (1 + self._below(4))
            case 7 | 8:
                other = self._one(inputs)
                start = self._below(len(other) + 1)
                return other[start : start + self._one((1, 4, 16, 64, len(other)))]
            case 9 if self._below(5) == 0:
                part = bytes(made[at : at + 1 + self._below(3)]) or self._one(self._words)
                missing = self._one(SIZES) - 3 + self._below(7) - self._one((0, len(made)))
                return part * (missing // len(part))
            case _:
                return self._one(self._words)

    def _below(self, limit: int) -> int:
        # Several times as fast as `randrange`, which is fair for any limit.
        return int(self._random.random() * limit)

    def _one(self, choices: Sequence[T]) -> T:
        return choices[self._below(len(choices))]


# The build


def _build(folder: Path, name: str) -> None:
    """Compile the kernel and its columns into a copy of the packages, and the trace beside it.

    What they import is copied as it was built for all.
    """
    built = [f"{kernel}.*.so" for kernel in ("_text", f"_{name}")]
    for package in ("service", "tests"):
        ignored = shutil.ignore_patterns(*built, "*.c", "__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    trace = Path(__file__).with_name("coverage.c")
    library = ["-O2", "-shared", "-fPIC", "-o", str(folder / "coverage.so"), str(trace)]
    subprocess.run([_compiler(), *library], check=True)
    sources = [folder / "service" / "core" / f"{kernel}.pyx" for kernel in ("_text", f"_{name}")]
    for source in sources:
        source.write_text(checked(source.read_text("utf-8")), "utf-8")
    subprocess.run(
        [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-q", *sources],
        env={**os.environ, "CFLAGS": FLAGS, "LDFLAGS": SANITIZERS},
        cwd=folder,
        check=True,
    )


def checked(source: str) -> str:
    """Return a kernel's source with bounds checks: what the file says goes before any option."""
    off, on = "boundscheck=False", "boundscheck=True, initializedcheck=True"
    if off not in source:
        raise ValueError("the kernel does not say that its bounds are not checked")
    return source.replace(off, on)


def _compiler() -> str:
    return os.environ.get("CC", "gcc")


def _start(folder: Path, name: str, words: Sequence[str]) -> None:
    """Fuzz what was built, in a process that loads the sanitizers before all else."""
    libraries = [
        subprocess.check_output([_compiler(), f"-print-file-name={library}"], text=True).strip()
        for library in ("libasan.so", "libubsan.so")
    ]
    preloaded = " ".join([*libraries, str(folder / "coverage.so")])
    environment = {**os.environ, **CHECKS, "LD_PRELOAD": preloaded, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", f"tests.fuzz.fuzz_{name}", "--inside", *words]
    if subprocess.run(command, env=environment, cwd=folder, check=False).returncode:
        last = folder / LAST.name
        inputs = last.read_bytes().partition(END)[0].decode().splitlines() if last.exists() else []
        shown = "\n  ".join(inputs[-SHOWN:])
        raise SystemExit(f"a fault ({' '.join(words)}) at, of {len(inputs)}:\n  {shown}")


# The process that fuzzes


class Coverage:
    """What instrumented code met, as told by `coverage.c`, which is loaded before Python."""

    def __init__(self) -> None:
        """Find the trace."""
        self._trace = ctypes.CDLL(None)
        self._features = (ctypes.c_uint32 * EDGES)()
        self._fresh = ctypes.c_int()

    def begin(self) -> None:
        """Begin a run."""
        self._trace.begin_run()

    def end(self) -> Sequence[int] | None:
        """Return all features of the run if any is new, None if not."""
        count = self._trace.end_run(self._features, ctypes.byref(self._fresh))
        return array("I", self._features[:count]) if self._fresh.value else None


class Fuzzer:
    """Mutates inputs, and looks at what the kernel makes of them."""

    def __init__(self, fuzzed: Fuzzed, seed: int) -> None:
        """Take the kernel."""
        self.kept: dict[bytes, Sequence[int]] = {}  # inputs, and the features that they have
        self._fuzzed = fuzzed
        self._seed = seed
        self._random = Random(seed)
        self._coverage = Coverage()
        self._inputs: list[bytes] = []  # the keys of `kept`
        self._batch: list[tuple[bytes, object]] = []
        self._batch_size = BATCHES[0]
        self._runs = 0
        self._slowest_s = 0.0
        self._last = os.open(LAST, os.O_WRONLY | os.O_CREAT)

    def run(self, seconds: float) -> None:
        """Run the corpus and the first inputs, then mutations until the time is over."""
        _expect_checks(self._fuzzed.name)
        path = corpus_of(self._fuzzed.name)
        kept = read_corpus(path) if path.exists() else []
        for given in chain(kept, self._fuzzed.first_inputs(self._seed)):
            self._offer(given)
        mutator = Mutator(self._random, self._fuzzed.words, self._fuzzed.longest_bytes)
        started = told = perf_counter()
        first_runs = self._runs
        while (now := perf_counter()) < started + seconds:
            self._offer(mutator.mutated(self._inputs))
            if now > told + TOLD_EVERY_S:
                told = now
                self._tell((self._runs - first_runs) / (now - started))
        self._run_together()
        self._tell((self._runs - first_runs) / max(seconds, 1))
        print(f"no fault (--seed={self._seed})")

    def _tell(self, rate: float) -> None:
        features = len(set().union(*self.kept.values()))
        print(
            f"{self._runs:,} inputs, {rate:,.0f}/s, {len(self._inputs):,} reached {features:,} "
            f"features, slowest {self._slowest_s * 1e3:.1f} ms",
            flush=True,
        )

    def _offer(self, given: bytes) -> None:
        """Run one input, and look at what it did."""
        self._note([given])
        self._coverage.begin()
        started = perf_counter()
        (answer,) = self._fuzzed.run([given])
        spent_s = perf_counter() - started
        reached = self._coverage.end()
        self._runs += 1
        if reached and len(given) <= KEPT_BYTES and given not in self.kept:
            self.kept[given] = reached
            self._inputs.append(given)
        if reached or self._runs % ORACLE_EVERY == 0:
            self._ask_oracle(given)
        if spent_s > self._slowest_s:
            self._slowest_s = spent_s
            self._expect_speed(given, spent_s)
        self._batch.append((given, answer))
        if len(self._batch) >= self._batch_size:
            self._run_together()

    def _note(self, inputs: Sequence[bytes]) -> None:
        os.pwrite(self._last, "".join([f"{given!r}\n" for given in inputs]).encode() + END, 0)

    def _ask_oracle(self, given: bytes) -> None:
        if difference := self._fuzzed.difference(given):
            raise SystemExit(f"the oracle says otherwise: {difference}")

    def _expect_speed(self, given: bytes, spent_s: float) -> None:
        """Measure again where an input is slow: it may have been the machine, or a first time."""
        for _ in range(3):
            if spent_s < SLOW_S:
                return
            started = perf_counter()
            self._fuzzed.run([given])
            spent_s = perf_counter() - started
        raise SystemExit(f"an input takes {spent_s:.3f} s")

    def _run_together(self) -> None:
        """Run the last inputs once more, as one batch."""
        inputs = [given for given, _ in self._batch]
        self._note(inputs)
        answers = self._fuzzed.run(inputs)
        for (given, alone), together in zip(self._batch, answers, strict=True):
            if alone != together:
                self._note([given])
                raise SystemExit(f"in a batch {together}\n alone {alone}")
        self._batch.clear()
        self._batch_size = self._random.choice(BATCHES)


def _expect_checks(name: str) -> None:
    """Expect that the kernel is the one with checks, and let none of its faults pass.

    An exception where none can be raised, as of a bounds check, is told and forgotten otherwise.
    """
    for kernel in ("_text", f"_{name}"):
        path = import_module(f"service.core.{kernel}").__file__ or ""
        if not Path(path).is_relative_to(ROOT) or Path.cwd() != ROOT:
            raise RuntimeError(f"{path} is not what was built")
    tell = sys.unraisablehook

    def end(fault: sys.UnraisableHookArgs) -> None:
        tell(fault)
        os._exit(1)

    sys.unraisablehook = end
