"""Copies of an index: all that it holds, and nothing that it held.

LMDB keeps what was deleted in pages that are free, and in the free part of others, until it needs
the room. A copy page by page would take that along, so this one takes each pair out of one
snapshot and puts it into a new file. LMDB's own compacting copy is not used: that of 0.9.36 crashes
on a key with some hundred duplicates of fixed size.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import lmdb

from service.errors import IndexBusy, StorageFault, StorageFull
from service.index._lmdb import Calls, Pairs
from service.index.layout import MAX_TABLES

STEP_BYTES = 32 << 20  # put in one transaction, which is held in memory
CHUNK_BYTES = 1 << 20
NO_ROOM = os.EX_CANTCREAT  # exit status of a process that found the disk full
DATA_FILE, LOCK_FILE, NEW_FILE = "data.mdb", "lock.mdb", "data.mdb.new"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

# Neither the folder of the caller nor its __main__ matter: the path is the server's own.
_BOOT = (
    "import sys; folder, *sys.path[:] = sys.argv[1:]; "
    "from service.index.copying import send; send(folder)"
)


def run(folder: Path, sink: int) -> None:
    """Have a process of its own write a copy to a file descriptor.

    Raises StorageFull or StorageFault.
    """
    command = [sys.executable, "-c", _BOOT, os.fspath(folder), *sys.path]
    with subprocess.Popen(command, stdout=sink, stderr=subprocess.PIPE) as process:
        said = _followed(process, sink)
    if process.returncode == NO_ROOM:
        raise StorageFull("The disk has no room for a copy of the index")
    if process.returncode:
        raise StorageFault(f"The index could not be copied: {said[-500:].decode(errors='replace')}")


def _followed(process: subprocess.Popen[bytes], sink: int) -> bytes:
    """Return what a process said until its end, which comes at once where nobody reads the copy."""
    assert process.stderr is not None
    said, poll = b"", select.poll()
    poll.register(sink, 0)  # that is: for the reader's end alone
    poll.register(process.stderr, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == sink:
                process.kill()
                poll.unregister(sink)
            elif part := os.read(descriptor, CHUNK_BYTES):
                said += part
            else:
                return said


def send(folder: str) -> None:
    """Write a copy of an account's file to standard output, as a process of its own.

    It is made in a file without a name, which nothing can leave behind.
    """
    with tempfile.TemporaryFile(dir=folder) as scratch:
        try:
            with lmdb.open(
                folder, readonly=True, readahead=False, create=False, max_dbs=MAX_TABLES
            ) as source:
                _copy(source, f"/dev/fd/{scratch.fileno()}")
            with os.fdopen(os.dup(1), "wb") as sink:
                shutil.copyfileobj(scratch, sink, CHUNK_BYTES)
        except (lmdb.Error, OSError) as error:
            sys.exit(NO_ROOM if _is_full(scratch, error) else str(error))


def _is_full(scratch: BinaryIO, error: lmdb.Error | OSError) -> bool:
    """Tell a full disk from a failing one: LMDB reports a short write as EIO."""
    code = error.errno if isinstance(error, OSError) else error.code
    try:
        if code == errno.EIO:
            scratch.seek(0, os.SEEK_END)
            scratch.write(bytes(CHUNK_BYTES))
            scratch.flush()
    except OSError as other:
        code = other.errno
    return code in FULL


def compact(folder: Path) -> tuple[int, int]:
    """Replace the file of a folder that nobody has open by a copy; return both sizes.

    Raises IndexBusy while somebody has it open, and StorageFault. A crash leaves the file as it
    was, or replaced.
    """
    old, new = folder / DATA_FILE, folder / NEW_FILE
    if not old.is_file():
        raise StorageFault("the folder has no index")
    with _alone(folder):
        before = old.stat().st_size
        new.unlink(missing_ok=True)  # of a compaction that was killed
        try:
            with lmdb.open(
                str(folder), readonly=True, lock=False, create=False, max_dbs=MAX_TABLES
            ) as source:
                _copy(source, str(new), durable=True)
            new.replace(old)
        except (lmdb.Error, OSError) as error:
            new.unlink(missing_ok=True)
            raise StorageFault(f"the index could not be compacted: {error}") from error
        flush(folder)
        return before, old.stat().st_size


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others from opening a folder: LMDB waits for the lock that who is first has."""
    with (folder / LOCK_FILE).open("ab+") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
        except OSError as error:
            raise IndexBusy("somebody has the index open: stop the service first") from error
        yield


def flush(folder: Path) -> None:
    """Make a folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(source: lmdb.Environment, path: str, *, durable: bool = False) -> None:
    """Copy all sub-databases as of one snapshot into a new file.

    The map may be larger than the source's: keys with many values fill their pages less.
    """
    with lmdb.open(
        path, subdir=False, lock=False, sync=False, max_dbs=MAX_TABLES, mode=0o600,
        map_size=2 * source.info()["map_size"],
    ) as target:  # fmt: skip
        with source.begin() as reading:
            names = [name for name, _ in reading.cursor()]
        tables = {name: source.open_db(name, create=False) for name in names}
        with source.begin() as reading:
            calls = Calls(reading)
            for name, table in tables.items():
                kind = table.flags()
                new = target.open_db(name, dupsort=kind["dupsort"], dupfixed=kind["dupfixed"])
                _fill(target, new, Pairs(calls, table))
        if durable:
            target.sync(True)


def _fill(target: lmdb.Environment, table: lmdb._Database, pairs: Pairs) -> None:
    more = True
    while more:
        with target.begin(write=True) as writing:
            more = pairs.put_into(Calls(writing), table, STEP_BYTES)
