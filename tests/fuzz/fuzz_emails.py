"""Fuzzes the e-mail kernel, built with AddressSanitizer, UBSan and bounds checks.

python -m tests.fuzz.fuzz_emails --seconds 600             # needs gcc with its libasan
python -m tests.fuzz.fuzz_emails --seconds 600 --keep      # and keep what reached new code

The kernel and its columns are compiled anew in a temporary folder, with a trace of the blocks that
run (`-fsanitize-coverage=trace-pc`): inputs that reach new ones are mutated further. Inputs end
where their memory ends, so that a read beyond is seen. Beside the memory, the words of the oracle
are checked: of all inputs that reach new code, and of some others. `emails.txt` is the corpus: a
line is the Python literal of an address's bytes; the tests hold them against the oracle.
"""

from __future__ import annotations

import argparse
import ast
import ctypes
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
CORPUS: Final = Path(__file__).with_name("emails.txt")
MODULES: Final = ("_text", "_emails")
SANITIZE: Final = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
TOLD_EVERY_S: Final = 30.0
BATCH_EVERY: Final = 2_000  # inputs between two batches of many
ORACLE_EVERY: Final = 50  # inputs between two that the oracle sees
CORPUS_BYTES: Final = 600  # longer inputs are not kept

# Counts the pairs of blocks that run, as AFL does (lcamtuf.coredump.cx/afl/technical_details.txt).
RUNTIME: Final = """
#include <stdint.h>
#define SIZE (1 << 13)
static uint8_t now[SIZE], seen[SIZE];
static uintptr_t before;
void __sanitizer_cov_trace_pc(void) {
    uintptr_t block = (uintptr_t)__builtin_return_address(0) * 0x9E3779B97F4A7C15u >> 51;
    uint8_t *count = &now[(block ^ before) % SIZE];
    if (*count < 255) ++*count;
    before = block >> 1;
}
void coverage_begin(void) { for (int i = 0; i < SIZE; i++) now[i] = 0; before = 0; }
int coverage_end(void) {
    int found = 0;
    for (int i = 0; i < SIZE; i++) {
        uint8_t n = now[i], bit = n == 0 ? 0 : n < 4 ? 1 << (n - 1) : n < 8 ? 8 : n < 16 ? 16
            : n < 32 ? 32 : n < 128 ? 64 : 128;
        if (bit & ~seen[i]) { seen[i] |= bit; found++; }
    }
    return found;
}
"""


def read_corpus() -> list[bytes]:
    """Return the kept inputs."""
    lines = CORPUS.read_text("ascii").splitlines() if CORPUS.exists() else []
    return [ast.literal_eval(line) for line in lines if not line.startswith("#")]


def build(folder: Path) -> None:
    """Compile the modules into a copy of the package, and the trace beside it."""
    shutil.copytree(ROOT / "service", folder / "service", ignore=shutil.ignore_patterns("*.so"))
    shutil.copytree(ROOT / "tests", folder / "tests")
    (folder / "runtime.c").write_text(RUNTIME)
    compiler = os.environ.get("CC", "gcc")
    library = [compiler, "-O2", "-fPIC", "-shared", "-o", "runtime.so", "runtime.c"]
    subprocess.run(library, cwd=folder, check=True)
    paths = [f"service/core/{name}.pyx" for name in MODULES]
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "-q", "-i", "-X", "boundscheck=True"]
    flags = " ".join((*SANITIZE, "-fsanitize-coverage=trace-pc", "-O1", "-g", "-Wno-unused"))
    environment = {**os.environ, "CFLAGS": flags, "LDFLAGS": " ".join(SANITIZE)}
    subprocess.run([*command, *paths], cwd=folder, env=environment, check=True)


def run(folder: Path, arguments: Sequence[str]) -> int:
    """Run this module's inner half on what was built; return its exit status."""
    compiler = os.environ.get("CC", "gcc")
    libraries = [
        subprocess.check_output([compiler, f"-print-file-name={name}"], text=True).strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        # CPython keeps some memory for life.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    }
    command = [sys.executable, "-m", "tests.fuzz.fuzz_emails", "--inside", str(folder), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


class Mutator:
    """Makes new inputs of old ones."""

    def __init__(self, chance: random.Random, words: Sequence[bytes]) -> None:
        """Take what may be inserted."""
        self._chance = chance
        self._words = words

    def mutated(self, corpus: Sequence[bytes]) -> bytes:
        """Return a mutation of one of the corpus."""
        chance = self._chance
        value = bytearray(chance.choice(corpus))
        for _ in range(1 << chance.randint(0, 4)):
            at = chance.randint(0, len(value))
            match chance.randint(0, 7):
                case 0:
                    value[at:at] = bytes([chance.randrange(256)])
                case 1:
                    del value[at : at + chance.randint(1, 4)]
                case 2 if at < len(value):
                    value[at] ^= 1 << chance.randrange(8)
                case 3:
                    value[at:at] = chance.choice(self._words)
                case 4:
                    value[at : at + chance.randint(1, 4)] = chance.choice(self._words)
                case 5:
                    other = chance.choice(corpus)
                    value[at:] = other[chance.randint(0, len(other)) :]
                case 6:
                    value[at:at] = value[at : at + chance.randint(1, 8)] * chance.randint(1, 3)
                case 7 if chance.random() < 0.1:
                    part = bytes(value[at : at + chance.randint(1, 3)]) or b"a"
                    to = chance.choice(
                        (62, 63, 64, 126, 127, 250, 253, 254, 255, 256, 1_000, 4_100)
                    )
                    value[at:at] = part * (max(to - len(value), 0) // len(part))
        return bytes(value[:5_000])


def fuzz(folder: Path, seconds: float, seed: int, *, keep: bool) -> None:
    """Feed the kernel until the time is over; any fault ends the process."""
    # They are there only once the sanitizers are: this half runs in the folder of the build.
    trace = ctypes.CDLL(str(folder / "runtime.so"), mode=ctypes.RTLD_GLOBAL)
    from service.core import _emails, _text
    from service.core.model import Reason
    from tests.core import email_grammar
    from tests.core.agree_emails import ROLES, differences

    for module in (_emails, _text):
        if not str(module.__file__).startswith(str(folder)):
            raise RuntimeError(f"{module.__file__} is not what was built")
    parser = _emails.EmailParser(ROLES)
    chance = random.Random(seed)
    grammar = email_grammar.Grammar(seed)
    words = [
        word.encode("utf-8", "surrogatepass")
        for group in (
            email_grammar.PROVIDER_DOMAINS, email_grammar.SPECIAL, email_grammar.A_LABELS,
            email_grammar.IDN, email_grammar.LITERALS, email_grammar.NAMES, email_grammar.TAGS,
            email_grammar.HYPHENS, email_grammar.TOPS, email_grammar.UNICODE, email_grammar.SPACES,
            "@.-+<>\"\\", ("a@b.de", "a" * 30, "b." * 20, "\xff\xfe"),
        )
        for word in group
    ]  # fmt: skip
    mutator = Mutator(chance, words)

    def parse(values: Sequence[bytes]) -> _emails.Emails:
        # Memory that ends where the last input ends.
        data = (ctypes.c_char * sum(map(len, values))).from_buffer_copy(b"".join(values))
        bounds, at = (ctypes.c_int32 * (len(values) + 1))(), 0
        for number, value in enumerate(values):
            at += len(value)
            bounds[number + 1] = at
        return parser.parse(_text.Texts.view(memoryview(bounds), memoryview(data), 0, len(values)))

    names = vars(_emails)
    library = names["look_into"]

    def quick(value: str) -> _emails.EmailForm:
        """Stand in for the library, which is slow, and say more than it ever would."""
        normal = value.encode(errors="replace").decode() if "@" in value else ""
        reason = Reason.UNUSUAL_SYNTAX if normal else Reason.EMAIL_SYNTAX
        domain = normal.rpartition("@")[2] if "." in normal else ""
        return _emails.EmailForm(normal, reason, "", domain)

    def check(value: bytes) -> None:
        try:
            text = value.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return
        names["look_into"] = library
        if differing := differences([text]):
            raise AssertionError(differing)
        names["look_into"] = quick

    corpus = read_corpus() or [b"a@b.de"]
    corpus += [text.encode("utf-8", "surrogatepass") for text in grammar.addresses(300)]
    queue, kept = list(corpus), list[bytes]()
    names["look_into"] = quick
    started = told = monotonic()
    executed = 0
    while monotonic() - started < seconds:
        value = queue.pop() if queue else mutator.mutated(corpus)
        trace.coverage_begin()
        found = parse([value])
        (form,) = found.forms()
        _emails.email_key(form.normal)
        is_new = trace.coverage_end() > 0
        executed += 1
        if is_new and len(value) <= CORPUS_BYTES:
            corpus.append(value)
            kept.append(value)
        if is_new or executed % ORACLE_EVERY == 0:
            check(value)
        if executed % BATCH_EVERY == 0:
            batch = [mutator.mutated(corpus) for _ in range(chance.choice((10, 100, 5_000)))]
            alone = [parse([value]).forms()[0] for value in batch]
            for value, form, part in zip(batch, parse(batch).forms(), alone, strict=True):
                if form != part:
                    raise AssertionError(("a batch is not its parts", value, form, part))
        if monotonic() - told > TOLD_EVERY_S:
            told = monotonic()
            print(f"{told - started:.0f} s: {executed:,} inputs, {len(kept)} reached new code")
    print(f"{executed:,} inputs in {monotonic() - started:.0f} s, {len(kept)} reached new code")
    print("no fault")
    if keep:
        lines = sorted({repr(value) for value in kept}, key=lambda line: (len(line), line))
        Path(os.environ["FUZZ_CORPUS"]).write_text("\n".join(lines) + "\n")


def main() -> None:
    """Build and fuzz."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=600)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--keep", action="store_true", help="write what reached new code")
    arguments.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.inside:
        fuzz(options.inside, options.seconds, options.seed, keep=options.keep)
        return
    with tempfile.TemporaryDirectory(prefix="fuzz-emails-") as temporary:
        folder = Path(temporary).resolve()
        build(folder)
        os.environ["FUZZ_CORPUS"] = str(CORPUS)
        raise SystemExit(run(folder, sys.argv[1:]))


if __name__ == "__main__":
    main()
