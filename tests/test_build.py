"""What the Makefile installs: the same versions everywhere, to build with and to run with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Stands in for python, and notes what it would have installed and how.
NOTING = """#!{python}
import json, os, sys
if "install" in sys.argv:
    told = dict((name, os.environ.get(name)) for name in ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"))
    json.dump(told, open({note!r}, "w"))
"""


def test_constraints_hold_where_the_package_is_built_too(tmp_path: Path) -> None:
    """Else stubs would be of a newer protobuf than the one that is installed to run them.

    pip 25.3 has an option of its own for what it builds with; older ones take the same for both.
    """
    make(tmp_path, ".ready")
    told = json.loads((tmp_path / "note").read_text())
    assert {ROOT / str(file) for file in told.values()} == {ROOT / "constraints.txt"}


def test_what_the_installation_compiled_is_not_compiled_again(tmp_path: Path) -> None:
    """But once a module is newer than that it is."""
    assert "Compiling" not in make(tmp_path, ".built")
    assert "Compiling" not in make(tmp_path, ".built")
    os.utime(tmp_path / ".built", (0, 0))
    assert "Compiling" in make(tmp_path, ".built")


def make(folder: Path, target: str) -> str:
    """Make what is to lie in a folder instead of the tree; return what was said."""
    python = folder / "bin" / "python"
    python.parent.mkdir(exist_ok=True)
    python.write_text(NOTING.format(python=sys.executable, note=str(folder / "note")))
    python.chmod(0o755)
    words = ["make", f"PYTHON={python}", f"VENV={folder}", f"BUILT={folder / '.built'}"]
    words.append(str(folder / target))
    done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


def test_what_makes_the_stubs_is_pinned() -> None:
    """Together with what runs them."""
    pinned = re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    names = {re.split(r"[<>=~! ]", requirement)[0] for requirement in wanted}
    assert names - {"setuptools"} <= set(pinned)
    assert "protobuf" in pinned
