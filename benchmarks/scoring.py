"""Pairs of records a second through the scoring of the matching kernel, against RapidFuzz.

    python -m benchmarks --only scoring

What is measured: seven fields of each pair (first and last name, birth date, e-mail, phone, street,
postcode) compared and weighed, `weigh_pairs` over packed features, against seven passes of
`rapidfuzz.process.cpdist` with one worker over the same fields as lower-case texts:
`JaroWinkler.similarity` for names, `OSA.distance` for dates, e-mails, phones and postcodes,
`fuzz.token_set_ratio` for streets, each with a cutoff where the kernel has one. Only RapidFuzz's
numbers are asked for, no weight is made of them. Of the pairs one half is of one person, the other
of strangers. Packing and the making of lists are not counted. Both take turns in one process, on
processor time: a ratio is the median of the turns.

The same pairs are scored in turn after turn, but there are enough of them to leave the caches.

What profiles showed (perf, November 2026). A quarter of the time was waiting for features that come
from memory; those of pairs further on are fetched now. Half was comparing letters of what cannot be
alike: which letters a word or e-mail has, how the words of a street begin and end, and the ends of
phones and postcodes are looked at first. What is left is spread: names a fifth, streets that share
words a sixth, weights a tenth. In blocks, most pairs are given up before their names, streets and
companies are compared: that is not measured here.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np
from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA, JaroWinkler

from benchmarks.report import Report, Table, Target
from benchmarks.worlds import WORLDS, write
from service.cli.records import Records
from service.core import _match
from service.core._features import weigh
from service.core.match import Model
from service.transfer.tables import open_table

ROWS = 20_000
PAIRS = 50_000
FULL, QUICK = 15, 5  # turns
RATIO = 5.0
_CUT = partial(process.cpdist, scorer=OSA.distance, score_cutoff=2)
_NAMES = partial(process.cpdist, scorer=JaroWinkler.similarity, score_cutoff=0.85)
PEERS = {
    "first_name": _NAMES,
    "last_name": _NAMES,
    "birth_date": _CUT,
    "email": _CUT,
    "phone": _CUT,
    "street": partial(process.cpdist, scorer=fuzz.token_set_ratio, score_cutoff=60),
    "postcode": _CUT,
}


Say = Callable[[str], object]


def measure(turns: int, say: Say) -> Report:
    """Make a world up and let both take turns."""
    say("scoring")
    with TemporaryDirectory(prefix="namesake-scoring-") as folder:
        people, truth = Path(folder, "people.csv"), Path(folder, "truth.csv")
        write(WORLDS["clean"], ROWS, 1, people, truth)
        cells = _cells(people)
        who = [row["cluster"] for row in _cells(truth)]
        pairs = _pairs(who, Random(1))
        records = Records("US", None)
        with open_table(str(people)) as table:
            leave_out = ("middle_name=-", "gender=-", "city=-", "company=-")
            records.read(table, leave_out)
    weigh(records.packed)
    weights = Model.default(ROWS).weights()
    ones, others = (np.array(rows, np.uint32) for rows in zip(*pairs, strict=True))
    bits = np.empty(len(pairs), np.float32)
    columns = [
        (peer, [[cells[row][name].lower() for row in rows] for rows in (ones, others)])
        for name, peer in PEERS.items()
    ]
    ratios, rates = [], []
    for _ in range(turns):
        started = process_time()
        _match.weigh_pairs(records.packed, weights, ones, others, bits)
        kernel_s = process_time() - started
        started = process_time()
        for peer, texts in columns:
            peer(*texts)
        ratios.append((process_time() - started) / kernel_s)
        rates.append(PAIRS / kernel_s)
    rate, ratio = median(rates), median(ratios)
    note = (
        f"Seven fields of {PAIRS:,} pairs, half of them of one person, one thread, against seven "
        "passes of `rapidfuzz.process.cpdist`; medians of turns, by processor time."
    )
    row = (f"{rate:,.0f}", f"{1e9 / rate:,.0f}", f"{ratio:.1f} ×")
    made = Table("Scoring", note, ("pairs/s", "ns a pair", "of cpdist"), (row,))
    target = Target("scoring seven fields", f"≥ {RATIO:g} × cpdist", row[-1], ratio >= RATIO)
    return Report((made,), (target,))


def _cells(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _pairs(who: list[str], chance: Random) -> list[tuple[int, int]]:
    """Return pairs of rows, every other one of one person."""
    rows_of: dict[str, list[int]] = {}
    for row, person in enumerate(who):
        rows_of.setdefault(person, []).append(row)
    several = [rows for rows in rows_of.values() if len(rows) > 1]
    drawn = []
    for _ in range(PAIRS // 2):
        one, other = chance.sample(chance.choice(several), 2)
        drawn += [(one, other), (chance.randrange(len(who)), chance.randrange(len(who)))]
    return drawn
