"""Work on all customers of an account, in a process of its own at lower priority.

So card saves keep their time, the server its memory, and what is cancelled ends at once. The
parent sends the job as a line of JSON and keeps the pipe open: where it closes, the parent is gone,
and the process ends. Back come lines of JSON that say how far it is, the last one what it came to;
what is large goes into a file without a name, which nothing can leave behind.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import os
import signal
import struct
import sys
import threading
import time
import traceback
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from service import errors
from service.core._features import Packed
from service.core._probe import is_company
from service.core.match import Model
from service.errors import NamesakeError, StorageFault
from service.index import Reads, opened
from service.settings import Settings

NICENESS = 10  # half-way to the lowest: saves, at 0, get nine tenths of a contended core
TELL_S = 0.2  # between two lines of progress
READ_STEP_ROWS = 10_000  # between two looks at the clock while reading
DISTINCT_STEP_PAIRS = 10_000

_SIZE = struct.Struct(">I")
# Neither the folder of the caller nor its __main__ matter: the path is the server's own.
_BOOT = (
    "import json, sys; job = json.loads(sys.stdin.readline()); sys.path[:] = job.pop('path'); "
    "from service.identity.child import main; main(job)"
)

Report = Mapping[str, Any]


# The parent's side


async def run_apart(
    task: str,
    job: Report,
    folder: Path,
    settings: Settings,
    scratch: BinaryIO,
    tell: Callable[[Report], object],
) -> Report:
    """Do a task in a process of its own; return what it says at its end.

    `tell` hears how far it is. `scratch` is where it writes what is large: see `parts`. Cancelled,
    this kills the process. Raises what the task raised.
    """
    facts = {**job, "task": task, "folder": str(folder), "scratch": scratch.fileno()}
    order = {**facts, "settings": settings.model_dump(mode="json"), "path": sys.path}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _BOOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # a traceback may show customers
        pass_fds=(scratch.fileno(),),
    )  # fmt: skip
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        last: Report = {}
        async for line in process.stdout:
            last = json.loads(line)
            if "end" not in last:
                tell(last)
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _result(last, status)


def _result(last: Report, status: int) -> Report:
    match last.get("end"):
        case "done":
            result: Report = last["result"]
            return result
        case "failed":
            raise _error(last["reason"], last["message"])
        case "broken":
            fault = f"{last['error']} at {', '.join(last['at'])}"
            raise NamesakeError(f"the work ended with an unexpected fault: {fault}")
        case _:  # the kernel ends processes where memory is short
            raise NamesakeError(f"the process that did the work ended with status {status}")


def _error(reason: str, message: str) -> NamesakeError:
    kinds = (kind for kind in vars(errors).values() if isinstance(kind, type))
    known = {kind.reason: kind for kind in kinds if issubclass(kind, NamesakeError)}
    return known.get(reason, NamesakeError)(message)


def parts(scratch: BinaryIO) -> Iterator[bytes]:
    """Yield what the task wrote, part by part."""
    scratch.seek(0)
    while head := scratch.read(_SIZE.size):
        (size,) = _SIZE.unpack(head)
        part = scratch.read(size)
        if len(part) != size:
            raise StorageFault("the file of a finished task is cut short")
        yield part


# The groups of a scan: what is written here, `scans` stores and reads

_GROUP = struct.Struct(">Bf")
_GROUP_VERSION = 1


def encode_group(bits: float, rows: Sequence[int]) -> bytes:
    """Return a group: the weight of its weakest link, and its rows."""
    return _GROUP.pack(_GROUP_VERSION, bits) + struct.pack(f">{len(rows)}Q", *rows)


def decode_group(stored: bytes) -> tuple[float, tuple[int, ...]]:
    """Return (bits, rows); raise StorageFault."""
    try:
        version, bits = _GROUP.unpack_from(stored)
        rows = struct.unpack(f">{(len(stored) - _GROUP.size) // 8}Q", stored[_GROUP.size :])
    except struct.error as error:
        raise StorageFault("A value of groups is damaged") from error
    if version != _GROUP_VERSION:
        raise errors.FormatMismatch("A group was stored by another release: scan again")
    return bits, rows


def rows_in(group: bytes) -> int:
    """Return how many rows an encoded group has."""
    return (len(group) - _GROUP.size) // 8


def default_model(customers: int) -> Model:
    """Return the release's own model, as `matching` has it: for the next power of two of them."""
    return Model.default(1 << customers.bit_length())


# The child's side


def main(order: dict[str, Any]) -> NoReturn:
    """Do the task that was read from standard input; end the process."""
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # sent to the whole group: the server's to handle
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(NICENESS)
    say = _Voice()
    try:
        settings = Settings(**order["settings"])
        job = _Job(order, Path(order["folder"]), settings, say)
        with os.fdopen(order["scratch"], "wb") as scratch:
            result = _TASKS[order["task"]](job, _writer(scratch))
            scratch.flush()
        say.line({"end": "done", "result": result})
    except NamesakeError as error:
        say.line({"end": "failed", "reason": error.reason, "message": error.message})
    except BaseException as error:  # noqa: BLE001  its text may hold customer data, its place not
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        at = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]
        say.line({"end": "broken", "error": type(error).__name__, "at": at})
    os._exit(0)  # nothing is left to be done, and freeing much memory takes its time


def _end_with_parent() -> None:
    while os.read(0, 1 << 16):
        pass
    os._exit(1)


def _writer(scratch: BinaryIO) -> Callable[[bytes], object]:
    def write(part: bytes) -> None:
        scratch.write(_SIZE.pack(len(part)))
        scratch.write(part)

    return write


class _Voice:
    """Says how far the task is, not too often."""

    def __init__(self) -> None:
        self._step = ""
        self._next_s = 0.0

    def progress(self, step: str, share: float, **counts: int) -> None:
        now_s = time.monotonic()
        if step != self._step or now_s >= self._next_s:
            self._step, self._next_s = step, now_s + TELL_S
            self.line({"step": step, "share": share, "counts": counts})

    def line(self, report: Report) -> None:
        os.write(1, json.dumps(report).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class _Job:
    order: Mapping[str, Any]
    folder: Path
    settings: Settings
    say: _Voice


@dataclass(slots=True)
class _Part:
    """Customers of one kind: persons or companies."""

    packed: Packed = field(default_factory=Packed)
    rows: array[int] = field(default_factory=lambda: array("Q"))  # ascending

    def place(self, row: int) -> int | None:
        """Return where a row is, None where it is not of this kind."""
        at = bisect_left(self.rows, row)
        return at if at < len(self.rows) and self.rows[at] == row else None

    def places(self, pairs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Yield the pairs of which both are of this kind, by where they are."""
        for one, other in pairs:
            left, right = self.place(one), self.place(other)
            if left is not None and right is not None:
                yield left, right


def _read(reads: Reads, customers: int, say: _Voice) -> tuple[_Part, _Part]:
    """Return persons and companies."""
    persons, companies = _Part(), _Part()
    for count, (row, features) in enumerate(reads.features()):
        if features:  # or else they are damaged
            part = companies if is_company(features) else persons
            part.packed.add(features)
            part.rows.append(row)
        if count % READ_STEP_ROWS == 0:
            say.progress("reading", count / max(customers, 1), customers=count)
    return persons, companies


def _distinct(reads: Reads) -> Iterator[tuple[int, int]]:
    after = (0, 0)
    while pairs := reads.distinct_pairs(after, DISTINCT_STEP_PAIRS):
        for pair in pairs:  # of members: what they are part of now
            one, other = map(reads.live_row, pair)
            if one != other:
                yield one, other
        after = pairs[-1]


def _scan(job: _Job, write: Callable[[bytes], object]) -> Report:
    """Group all customers; write the groups, surest first."""
    from service.core.grouping import groups  # NumPy: not in the server's process
    from service.core.linkage import Counts, link

    say = job.say
    with opened(job.folder, job.settings) as snapshot:
        customers = snapshot.customer_count
        parts = _read(snapshot, customers, say)
        distinct = list(_distinct(snapshot))
        stored = snapshot.model()
    customers = sum(len(part.rows) for part in parts)
    model = Model.from_json(stored.text) if stored and stored.text else default_model(customers)
    all_counts = [Counts() for _ in parts]

    def tell(step: str, share: float) -> None:
        compared = sum(counts.compared_pairs for counts in all_counts)
        say.progress(step, share, customers=customers, compared_pairs=compared)

    found = []
    for part, counts in zip(parts, all_counts, strict=True):
        if len(part.rows) > 1:
            linked = link(
                part.packed, model=model, threshold=job.order["least_probability"], tell=tell,
                distinct=list(part.places(distinct)), counts=counts,
            )  # fmt: skip
            found.append(_grouped(groups(linked, job.settings.scan_group_rows), part))
    group_count = grouped = 0
    for bits, rows in heapq.merge(*found, key=lambda group: (-group[0], group[1][0])):
        write(encode_group(bits, rows))
        group_count += 1
        grouped += len(rows)
    return {
        "customers": customers,
        "groups": group_count,
        "grouped_customers": grouped,
        "compared_pairs": sum(counts.compared_pairs for counts in all_counts),
        "split_blocks": sum(counts.large_blocks for counts in all_counts),
        "refused_joins": sum(counts.refused_joins for counts in all_counts),
    }


def _grouped(
    found: Iterable[tuple[float, list[int]]], part: _Part
) -> Iterator[tuple[float, list[int]]]:
    for bits, places in found:
        yield bits, [part.rows[place] for place in places]


def _train(job: _Job, write: Callable[[bytes], object]) -> Report:
    """Learn a model; write its text, and the frequencies of all values."""
    from service.core._probe import frequencies
    from service.core.linkage import Judgement, learn

    say = job.say
    with opened(job.folder, job.settings) as snapshot:
        persons, companies = _read(snapshot, snapshot.customer_count, say)
        judged = dict.fromkeys(_distinct(snapshot), False)
    judged |= {(one, other): same for one, other, same in job.order["labels"]}
    customers = len(persons.rows) + len(companies.rows)
    # Pairs of both kinds would teach nothing: they are never the same.
    most, rest = sorted((persons, companies), key=lambda part: len(part.rows), reverse=True)
    labels = [
        Judgement(*places, same)
        for pair, same in judged.items()
        for places in most.places([pair])
    ]  # fmt: skip

    def tell(step: str, share: float) -> None:
        say.progress(step, share, customers=customers)

    model, training = learn(most.packed, labels, tell)
    for place in range(len(rest.packed)):
        most.packed.add(rest.packed[place])
    write(model.to_json().encode())
    write(frequencies(most.packed))
    return {
        "customers": customers,
        "pairs": training.pairs,
        "rounds": training.rounds,
        "converged": training.converged,
        "last_change": training.last_change,
        "expected_pairs": training.expected_pairs,
    }


_TASKS: dict[str, Callable[[_Job, Callable[[bytes], object]], Report]] = {
    "scan": _scan,
    "train": _train,
}
