"""What `benchmarks.phones` runs in a process of its own: one contender, files in and columns out.

`python -m benchmarks.phone_contenders NAME FOLDER RUNS` prints, as JSON, the processor time of each
run, and the peak of memory before the first and after the last, in MiB.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time

Run = Callable[[Path], object]


def lines(folder: Path) -> tuple[list[str], list[str]]:
    """Return the numbers and their default regions."""
    numbers, regions = ((folder / name).read_text().split("\n") for name in ("numbers", "regions"))
    return numbers, regions


def kernel() -> Run:
    """Return what runs the kernel; its columns are as Arrow has them."""
    from service.core import _phones
    from service.core._text import Texts

    def run(folder: Path) -> object:
        numbers, regions = lines(folder)
        phones = _phones.parse(Texts.of(numbers), _phones.region_ids(Texts.of(regions)), 0)
        return phones.normals(), phones.regions(), phones.types()

    return run


def library(name: str) -> Run:
    """Return what runs `phonenumbers` or a library with its interface."""
    module = importlib.import_module(name)

    def run(folder: Path) -> object:
        normals: list[str] = []
        found: list[str] = []
        kinds: list[int] = []
        for text, region in zip(*lines(folder), strict=True):
            try:
                number = module.parse(text, region)
            except module.NumberParseException:
                normals.append("")
                found.append("")
                kinds.append(module.PhoneNumberType.UNKNOWN)
                continue
            normals.append(module.format_number(number, module.PhoneNumberFormat.E164))
            found.append(module.region_code_for_number(number) or "")
            kinds.append(module.number_type(number))
        return normals, found, kinds

    return run


def with_pattern_cache() -> Run:
    """Return what runs `phonenumbers` with every pattern kept."""
    from phonenumbers import re_util

    re_util.enable_pattern_cache()
    return library("phonenumbers")


CONTENDERS: dict[str, Callable[[], Run]] = {
    "kernel": kernel,
    "rphonenumbers": lambda: library("rphonenumbers"),
    "phonenumbers, patterns kept": with_pattern_cache,
    "phonenumbers": lambda: library("phonenumbers"),
}


def peak_mib() -> float:
    """Return the most memory that this process had so far (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def main() -> None:
    """Run one contender."""
    name, folder, runs = sys.argv[1:]
    run = CONTENDERS[name]()
    run(Path(folder) / "first")  # what is loaded or compiled once is not measured
    before_mib, seconds = peak_mib(), []
    for _ in range(int(runs)):
        started = process_time()
        run(Path(folder))
        seconds.append(process_time() - started)
    print(json.dumps({"seconds": seconds, "before_mib": before_mib, "peak_mib": peak_mib()}))


if __name__ == "__main__":
    main()
