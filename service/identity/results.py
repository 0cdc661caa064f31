"""What became of each customer of a change to many: a line of a file of the account's folder.

A file is written by the worker that does the work and read by any. It goes when its operation is
forgotten. Lines hold ids and reasons, and nothing else of a customer. A line that a killed process
did not finish is as good as none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from service.errors import NamesakeError, StorageFault
from service.index.store import fault_of

MESSAGE_LIMIT_CHARS = 300  # bounds a line, with those of ids, reasons and fields

_FOLDER = "results"


class BulkOutcome(IntEnum):
    """What became of a customer. The numbers are the wire's."""

    CHANGED = 1
    UNCHANGED = 2
    FAILED = 3


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one customer; of one that failed, why and at which field."""

    id: str
    outcome: BulkOutcome
    reason: str = ""
    message: str = ""
    field: str = ""

    @classmethod
    def failed(cls, id: str, error: Exception) -> Result:
        """Return the result of a customer that could not be changed."""
        if not isinstance(error, NamesakeError):  # its text may hold customer data
            error = NamesakeError("an unexpected fault")
        message = error.message[:MESSAGE_LIMIT_CHARS]
        return cls(id, BulkOutcome.FAILED, error.reason, message, error.field)


class ResultFiles:
    """The files of one account, by the names of their operations."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _FOLDER

    def create(self, operation: str) -> ResultWriter:
        """Begin the file of an operation; raise StorageFull or StorageFault."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            return ResultWriter(self._folder / _file(operation))
        except OSError as error:
            raise fault_of(error) from error

    def read(self, operation: str) -> Iterator[Result]:
        """Yield what is in the file of an operation so far, in the order of the work."""
        try:
            with (self._folder / _file(operation)).open("rb") as stream:
                for line in stream:
                    if line.endswith(b"\n"):
                        yield _decode(line)
        except FileNotFoundError:  # it has not begun, or is forgotten
            return
        except OSError as error:
            raise fault_of(error) from error

    def names(self) -> list[str]:
        """Return whose files there are."""
        with suppress(FileNotFoundError):
            return [path.name for path in self._folder.iterdir()]
        return []

    def drop(self, names: Iterable[str]) -> None:
        """Remove files by what `names` calls them; what is gone already does no harm."""
        for name in names:
            (self._folder / name).unlink(missing_ok=True)

    @staticmethod
    def name_of(operation: str) -> str:
        """Return what `names` calls the file of an operation."""
        return _file(operation)


class ResultWriter:
    """Appends to the file of one operation."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._stream = os.fdopen(descriptor, "ab")

    def append(self, results: Sequence[Result]) -> None:
        """Hand results to the system, so that they outlive this process."""
        try:
            self._stream.write(b"".join(map(_encode, results)))
            self._stream.flush()
        except OSError as error:
            raise fault_of(error) from error

    def sync(self) -> None:
        """Make them outlive a power cut too; blocks, so call it in a thread."""
        try:
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise fault_of(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # of a full disk `append` said so
            self._stream.close()


def _file(operation: str) -> str:
    return operation.rpartition("/")[2]


def _encode(result: Result) -> bytes:
    why = (result.reason, result.message, result.field)
    known = (result.outcome, result.id, *why) if any(why) else (result.outcome, result.id)
    return json.dumps(known, separators=(",", ":")).encode() + b"\n"


def _decode(line: bytes) -> Result:
    try:
        outcome, id, *why = json.loads(line)
        return Result(id, BulkOutcome(outcome), *why)
    except (ValueError, TypeError) as error:
        raise StorageFault("A file of results is damaged") from error
