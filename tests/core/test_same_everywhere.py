"""What is stored of names is the same in every process: others compare it."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
from hashlib import sha256
from service.core import _names
from service.core._text import Texts
from service.core.name_tables import WORDS

known = [word.decode() for word in sorted(WORDS)]
names = _names.split_names(Texts.of(known), None, Texts.of(["King"] * len(known)))
print(len(known), sha256(names.packed()).hexdigest())
"""


def test_records_of_names_do_not_depend_on_how_a_process_hashes() -> None:
    """Sets of name classes have the same numbers, whatever order sets of texts come in."""
    seen = set()
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True
        )
        seen.add(done.stdout)
    assert len(seen) == 1
