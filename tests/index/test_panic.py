"""A meta page that cannot be written: the process ends and says why, and a new one goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.index.cards import Person, faults, opened, read, save_all

# LMDB's two meta pages are the first 8 KiB of the file; `FAIL` names a file that stands for one
# failure to come.
FAILING_DISK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

typedef ssize_t (*pwrite_t)(int, const void *, size_t, off_t);

ssize_t pwrite(int file, const void *bytes, size_t size, off_t at)
{
    if (at < 8192 && size < 4096 && unlink(getenv("FAIL")) == 0) {
        errno = EIO;
        return -1;
    }
    return ((pwrite_t)dlsym(RTLD_NEXT, "pwrite"))(file, bytes, size, at);
}

ssize_t pwrite64(int file, const void *bytes, size_t size, off_t at)
{
    return pwrite(file, bytes, size, at);
}
"""

WRITER = """
import asyncio, os, sys
from pathlib import Path
from service.errors import StorageFault
from tests.index.cards import Person, opened, save_all

async def main(how):
    async with opened(Path(sys.argv[1])) as index:
        await save_all(index, [Person("a")])
        Path(os.environ["FAIL"]).touch()
        try:
            await save_all(index, [Person("b")])
        except StorageFault:
            print("told", flush=True)
        if how == "read":
            index.snapshot()
        await save_all(index, [Person("c")])
        print("not reached", flush=True)

asyncio.run(main(sys.argv[2]))
"""


@pytest.fixture
def failing_disk(tmp_path: Path) -> Path:
    """Compile the library that lets writes fail."""
    source, library = tmp_path / "failing_disk.c", tmp_path / "failing_disk.so"
    source.write_text(FAILING_DISK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.mark.parametrize("how", ["read", "write"])
async def test_a_failed_meta_page_ends_the_process(
    tmp_path: Path, failing_disk: Path, how: str
) -> None:
    """The caller at hand gets its error; the next call ends a process that could serve nobody."""
    folder = tmp_path / "index"
    done = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-c", WRITER, str(folder), how],
        check=False, capture_output=True, text=True, timeout=60,
        env=os.environ | {"LD_PRELOAD": str(failing_disk), "FAIL": str(tmp_path / "fail")},
    )  # fmt: skip
    assert done.returncode == os.EX_SOFTWARE, done.stderr
    assert "told" in done.stdout
    assert "not reached" not in done.stdout
    assert done.stdout.count("commit_failed") == done.stdout.count("index_panicked") == 1
    async with opened(folder) as index:
        assert faults(index) == []
        with index.snapshot() as snapshot:
            assert [read(record).id for _, record in snapshot.customers()] == ["a"]
        await save_all(index, [Person("c")])
        assert faults(index) == []
