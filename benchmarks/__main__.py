"""The command: runs the benchmarks, prints tables and writes RESULTS.md."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from rich.console import Console

from benchmarks import (
    comparators,
    emails,
    feed,
    files,
    growth,
    lists,
    matching,
    merging,
    names,
    phones,
    report,
    rpc,
    scoring,
    timeline,
    transfer,
)
from benchmarks.processes import Others
from benchmarks.report import Report

NAMES = (
    "rpc", "transfer", "growth", "files", "phones", "emails", "names", "comparators", "lists",
    "scoring", "matching", "merging", "feed", "timeline",
)  # fmt: skip


def main() -> None:
    """Measure what is asked for; only a full run of everything is worth keeping."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--only", choices=NAMES, help="one of the parts")
    parser.add_argument("--quick", action="store_true", help="a few minutes, and rougher")
    parser.add_argument("--growth-rows", type=int, help="rows of the growth: by default a million")
    parser.add_argument("--timeline-items", type=int, help="items, by default 200,000")
    parser.add_argument("--plot", type=Path, help="draw the growth into this file (PNG)")
    options = parser.parse_args()
    started, others = perf_counter(), Others()
    plan = _growth_plan(options.quick, options.growth_rows, options.plot)
    items = options.timeline_items or (timeline.QUICK if options.quick else timeline.FULL)
    reports = [
        _measure(name, plan, items, quick=options.quick)
        for name in NAMES
        if options.only in (None, name)
    ]
    report.show(reports, others.share())
    if not options.quick and not options.only:
        seconds = perf_counter() - started
        command = " ".join(("python -m benchmarks", *sys.argv[1:]))
        report.write(reports, command, seconds, others.share())


def _growth_plan(quick: bool, rows: int | None, plot: Path | None) -> growth.Plan:
    plan = growth.QUICK if quick else growth.FULL
    return growth.Plan(rows or plan.rows, plot)


def _measure(name: str, growth_plan: growth.Plan, items: int, *, quick: bool) -> Report:
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="namesake-bench-") as temporary:
        folder = Path(temporary)
        if name == "rpc":
            plan = rpc.QUICK if quick else rpc.FULL
            return asyncio.run(rpc.measure(folder, plan, console.print))
        if name == "growth":
            return asyncio.run(growth.measure(folder, growth_plan, console.print))
        if name == "feed":
            plan_of_feed = feed.QUICK if quick else feed.FULL
            return asyncio.run(feed.measure(folder, plan_of_feed, console.print))
        if name == "merging":
            plan_of_merging = merging.QUICK if quick else merging.FULL
            return asyncio.run(merging.measure(folder, plan_of_merging, console.print))
        if name == "timeline":
            return timeline.measure(folder, items, console.print)
        if name == "phones":
            return phones.measure(folder, phones.QUICK if quick else phones.FULL, console.print)
        if name == "emails":
            return emails.measure(emails.QUICK if quick else emails.FULL, console.print)
        if name == "files":
            return files.measure(folder, files.QUICK if quick else files.FULL, console.print)
        if name == "lists":
            return lists.measure(folder, lists.QUICK if quick else lists.FULL, console.print)
        if name == "comparators":
            plan_of_pairs = comparators.QUICK if quick else comparators.FULL
            return comparators.measure(plan_of_pairs, console.print)
        if name == "matching":
            plan_of_files = matching.QUICK if quick else matching.FULL
            return matching.measure(folder, plan_of_files, console.print)
        if name == "scoring":
            return scoring.measure(scoring.QUICK if quick else scoring.FULL, console.print)
        if name == "names":
            return names.measure(names.QUICK if quick else names.FULL, console.print)
        rows = transfer.QUICK if quick else transfer.FULL
        return asyncio.run(transfer.measure(folder, rows, console.print))


if __name__ == "__main__":
    main()
