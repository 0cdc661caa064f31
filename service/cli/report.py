"""What a run of `dedupe` found, as one page of HTML that needs nothing else.

The page holds no values of any record: pairs are shown by their ids and by what `explain` says.

Its plots are bars, in cells of tables (so that a table is behind each) and in one histogram. They
are written here, as SVG of a few elements: libraries that draw better either bring megabytes of
script into the page (Plotly, Vega) or a raster and fonts of their own (Matplotlib), and none of
them takes the colours of the reader's theme or can be read aloud.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from math import ceil, floor, log2, log10
from pathlib import Path
from string import Template
from typing import BinaryIO, Final

import numpy as np

from service.core import _match as k
from service.core._features import Packed
from service.core.explain import IN_WORDS, Explanation, explain_all
from service.core.linkage import Linked
from service.core.match import CLASSES, DEFAULTS, NAMES, SAME, Model

SHOWN_PAIRS: Final = 3  # of each kind
MOST_BARS: Final = 80  # of the histogram
MOST_SIZES: Final = 30  # of clusters; larger ones are counted together
SAMPLED_RECORDS: Final = 20_000  # to see which fields there are

_LOOKS: Final = defaultdict(str, {">": ' class="n"', "@": ' class="plot"'})  # of columns


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many pairs have which weight, in steps of equal width."""

    first_bits: float
    width_bits: float
    counts: Sequence[int]
    of: str  # which pairs
    has_rest: bool = False  # the first step is of all weights below it as well

    def coarser(self) -> Histogram:
        """Return the histogram in steps so wide that it can be drawn."""
        times = max(1, ceil(len(self.counts) / MOST_BARS))
        width = self.width_bits * times
        lead = round(self.first_bits / self.width_bits) % times  # wide steps begin at multiples
        counts = [0] * lead + list(self.counts)
        wide = [sum(counts[at : at + times]) for at in range(0, len(counts), times)]
        first_bits = self.first_bits - lead * self.width_bits
        return Histogram(first_bits, width, wide, self.of, self.has_rest)


@dataclass(frozen=True, slots=True)
class Kind:
    """What one kind of blocking key brought together."""

    name: str
    blocks: int
    split: int
    pairs: int
    matching: int


@dataclass(frozen=True, slots=True)
class Group:
    """Pairs that are shown, and as what."""

    title: str
    about: str
    pairs: Sequence[tuple[str, str, Explanation]]


@dataclass(frozen=True, slots=True)
class Run:
    """How the command was run, and what that took."""

    files: Sequence[str]
    threshold: float
    model: tuple[str, str]  # where it is from
    in_first: tuple[int, int] | None  # of two that are linked: found records, those of the second
    seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """All that the page says."""

    run: Run
    records: int
    sizes: dict[int, int]  # of clusters: how many have so many records
    compared: int
    matching: int
    refused: int
    large_blocks: int
    placeholder_dates: int
    model: Model
    fields: Sequence[int]  # that records have
    weights: Histogram
    groups: Sequence[Group]
    kinds: Sequence[Kind] = ()


def gather(run: Run, packed: Packed, linked: Linked, names: Sequence[str]) -> Statistics:
    """Collect what the page says. `names` are what the records are called on it."""
    counts, pairs = linked.counts, linked.pairs
    _, sizes = np.unique(linked.labels, return_counts=True)
    size, times = np.unique(sizes, return_counts=True)
    return Statistics(
        run=run,
        records=counts.records,
        sizes=dict(zip(size.tolist(), times.tolist(), strict=True)),
        compared=counts.compared_pairs,
        matching=len(pairs.bits),
        refused=counts.refused_joins,
        large_blocks=counts.large_blocks,
        placeholder_dates=counts.placeholder_dates,
        model=linked.model,
        fields=_fields(packed),
        weights=Histogram(
            float(k.LEAST_BIN),
            1.0,
            np.trim_zeros(counts.weights, "b").tolist(),
            "pairs compared",
            has_rest=True,
        ),
        groups=_groups(packed, linked, names),
        kinds=[
            Kind(
                kind.name, kind.blocks, kind.large_blocks, kind.compared_pairs, kind.matching_pairs
            )
            for kind in counts.kinds
        ],
    )


def origin(model: str, *, untrained: bool) -> tuple[str, str]:
    """Return where a model is from, in short and at length."""
    if untrained:
        return "not learnt", "the defaults were used"
    return (
        ("given", Path(model).name) if model else ("learnt", "from these records, without labels")
    )


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10


def _fields(packed: Packed) -> list[int]:
    """Return the fields that the records have: those of some, each compared with itself."""
    step = max(1, len(packed) // SAMPLED_RECORDS)
    rows = np.arange(0, len(packed), step, dtype=np.uint32)
    levels, _ = k.vectors(packed, rows, rows)
    found = np.frombuffer(levels, np.uint8).reshape(-1, k.FIELDS)
    return np.flatnonzero(found.any(axis=0)).tolist()


def _groups(packed: Packed, linked: Linked, names: Sequence[str]) -> list[Group]:
    """Choose pairs to show, and explain them."""
    pairs, labels = linked.pairs, linked.labels
    joined = labels[pairs.ones] == labels[pairs.others]
    kept, refused = np.flatnonzero(joined), np.flatnonzero(~joined)
    chosen = (
        ("A sure match", "Half of all pairs that match are surer.", kept[len(kept) // 2 :][:1]),
        ("Just above the threshold", "The pairs that nearly did not match.",
         kept[len(kept) // 2 + 1 :][-SHOWN_PAIRS:]),
        ("Refused joins", "They match by themselves, but what is known of the records around them "
         "contradicts it; so they are in two clusters.", refused[:SHOWN_PAIRS]),
    )  # fmt: skip
    place = np.empty(len(linked.order), np.uint32)
    place[linked.order] = np.arange(len(place), dtype=np.uint32)
    groups = []
    for title, about, which in chosen:
        ones, others = np.sort((pairs.ones[which], pairs.others[which]), axis=0)
        found = k.vectors(packed, place[ones], place[others])
        levels, rarities = (np.frombuffer(part, np.uint8).reshape(-1, k.FIELDS) for part in found)
        explained = explain_all(linked.model.evidence(), levels, rarities)
        if explained:
            shown = zip(ones.tolist(), others.tolist(), explained, strict=True)
            groups.append(Group(title, about, [(names[a], names[b], why) for a, b, why in shown]))
    return groups


def write(stream: BinaryIO, statistics: Statistics) -> None:
    """Write the page."""
    template = Template(files("service.cli").joinpath("report.html").read_text("utf-8"))
    sections = [
        ("summary", "Summary", _summary(statistics)),
        ("weights", "Match weights", _weights(statistics)),
        ("pairs", "Pairs, and why", _pairs(statistics)),
        ("model", "What each field says", _model(statistics)),
        ("clusters", "Sizes of clusters", _sizes(statistics)),
    ]
    if statistics.kinds:
        sections.append(("blocks", "Which pairs were compared", _blocks(statistics)))
    page = template.substitute(
        title=escape(_names(statistics.run)),
        about=escape(f"{_names(statistics.run)} · {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        lead=_lead(statistics),
        contents="".join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections),
        sections="\n".join(
            f'<section id="{name}" aria-labelledby="{name}-title">'
            f'<h2 id="{name}-title">{title}</h2>\n{body}</section>'
            for name, title, body in sections
        ),
    )
    stream.write(page.encode("utf-8", "replace"))


# Sections


def _lead(given: Statistics) -> str:
    clusters = sum(given.sizes.values())
    if given.run.in_first:
        found, second = given.run.in_first
        return f"{found:,} of the {second:,} records of the second file are found in the first."
    return (
        f"{given.records:,} records are of {clusters:,} people, as far as they tell: "
        f"{_percent(given.records - clusters, given.records)} of the records are of somebody who "
        "has another."
    )


def _summary(given: Statistics) -> str:
    run, records, clusters = given.run, given.records, sum(given.sizes.values())
    second = run.in_first[1] if run.in_first else 0
    every = second * (records - second) if second else records * (records - 1) // 2
    names = _names(run)
    facts = [
        ("Files", f"{len(run.files)}", names),
        ("Records", f"{given.records:,}", ""),
        ("Clusters", f"{clusters:,}", "one for each person"),
        ("Duplicates", _percent(given.records - clusters, given.records),
         f"{given.records - clusters:,} records more than people"),
        ("Pairs compared", f"{given.compared:,}",
         f"of {every:,} that there are"),
        ("Pairs that match", f"{given.matching:,}", ""),
        ("Threshold", f"{run.threshold:g}", f"a probability; {_bits(_threshold_bits(run))} bits"),
        ("Model", *run.model),
        ("Refused joins", f"{given.refused:,}", "pairs that match, of groups that do not"),
        ("Large blocks", f"{given.large_blocks:,}",
         "split, and not all of their pairs compared"),
        ("Placeholder dates", f"{given.placeholder_dates:,}",
         "birth dates that far too many share; taken for none"),
        ("Time", _time(run.seconds), f"{run.peak_bytes / 1e9:.1f} GB of memory at most"),
    ]  # fmt: skip
    cells = (
        f"<div><dt>{name}</dt><dd>{escape(value)}"
        + (f"<small>{escape(about)}</small>" if about else "")
        + "</dd></div>"
        for name, value, about in facts
    )
    return f'<dl class="facts">{"".join(cells)}</dl>'


def _weights(given: Statistics) -> str:
    found = given.weights.coarser()
    rest = " The first bar has all pairs of less weight as well." if found.has_rest else ""
    about = (
        "<p>The weight of a pair is what its fields say together, in bits: each bit makes it twice "
        "as likely that the two are one person. At 0 it is as likely as not. The scale of counts "
        f"is logarithmic.{rest}</p>"
    )
    if not found.counts:
        return f"{about}<p>There are no {found.of}.</p>"
    rows = [
        (_step(found, number), f"{count:,}") for number, count in enumerate(found.counts) if count
    ]
    table = _table(("!Weight in bits", ">Pairs"), rows, f"How many {found.of} have which weight.")
    return (
        f'{about}<figure class="scroll">{_histogram(found, _threshold_bits(given.run))}</figure>'
        f"<details><summary>The same as a table</summary>{table}</details>"
    )


def _pairs(given: Statistics) -> str:
    about = (
        "<p>A pair begins with how rare pairs of one person are, before anything is compared; then "
        "each field moves it to the right, for one person, or to the left. Against whom it is "
        "weighed is said as well: of strangers, a household, namesakes, and father and son, those "
        "that explain the pair best.</p>"
    )
    made = [about if given.groups else "<p>No pair matches.</p>"]
    for group in given.groups:
        made.append(f'<h3>{group.title}</h3><p class="soft">{group.about}</p>')
        for number, (one, other, why) in enumerate(group.pairs):
            summary = (
                f"{escape(one)} and {escape(other)}: {_bits(why.weight_bits)} bits, "
                f"probability {_probability(why.probability)}"
            )
            made.append(
                f'<details class="card"{"" if number else " open"}><summary>{summary}</summary>'
                f"{_waterfall(why)}</details>"
            )
    return "".join(made)


def _waterfall(why: Explanation) -> str:
    """Return the table that adds up to the weight."""
    strongest = sorted(why.contributions, key=lambda one: -abs(one.bits))
    steps = [("beforehand", why.prior_in_words, why.prior_bits)]
    steps += [(one.field, one.words, one.bits) for one in strongest]
    ends = np.cumsum([0.0, *(bits for *_, bits in steps)]).tolist()
    scale = (min(ends), max(ends))
    rows = [
        (field, words, _bits(bits),
         _bar(start, end, scale, "for" if bits >= 0 else "against"))
        for (field, words, bits), start, end in zip(steps, ends, ends[1:], strict=False)
    ]  # fmt: skip
    rows.append(
        ("weight", f"against {why.against_in_words}", _bits(why.weight_bits),
         _bar(0.0, why.weight_bits, scale, "total"))
    )  # fmt: skip
    caption = f"Weighed against {why.against_in_words}."
    return _table(("!Field", "What was found", ">Bits", "@"), rows, caption, last="sum")


def _model(given: Statistics) -> str:
    about = (
        "<p>How often each level of agreement is found in pairs of one person and in others; the "
        "weight is the one by the other, in bits. A pair is weighed against four kinds of others, "
        "and the least weight counts: strangers share nothing but by chance, while a household "
        "shares its home and family name, so that these say little against it.</p>"
    )
    made = [about]
    for other, name in enumerate(CLASSES[1:], 1):
        made.append(
            f'<details class="card"{" open" if other == 1 else ""}>'
            f"<summary>Against {IN_WORDS[name]}</summary>{_levels(given, other)}</details>"
        )
    return "".join(made)


def _levels(given: Statistics, other: int) -> str:
    """Return what levels say against one class."""
    tables, rare = given.model.tables, given.model.evidence().rare[other - 1]
    bits = np.log2(tables[SAME] / tables[other])
    shown = bits[list(given.fields)]
    scale = (min(float(shown.min(initial=0.0)), 0.0), max(float(shown.max(initial=0.0)), 1.0))
    heads = ("!Field", "Level", ">Of one person", f">Of {CLASSES[other]}", ">Bits", "@")
    bodies = []
    for field in given.fields:
        levels = DEFAULTS[NAMES[field]]
        rows: list[str] = []
        for level in range(len(levels), 0, -1):
            value, average = float(bits[field, level]), bool(rare[field, level])
            cells = (
                levels[level - 1][0], _share(tables[SAME, field, level]),
                ("≈ " if average else "") + _share(tables[other, field, level]),
                ("≈ " if average else "") + _bits(value),
                _bar(0.0, value, scale,
                     ("for" if value >= 0 else "against") + (" average" if average else "")),
            )  # fmt: skip
            lead = "" if rows else f'<th scope=rowgroup rowspan="{len(levels)}">{NAMES[field]}</th>'
            rows.append(_row(heads, cells, lead))
        bodies.append(f"<tbody>{''.join(rows)}</tbody>")
    caption = "≈: on average; a rare value says more, a common one less." if rare.any() else ""
    return _table(heads, bodies, caption)


def _sizes(given: Statistics) -> str:
    most = max(given.sizes.values(), default=1)
    few = {size: count for size, count in given.sizes.items() if size <= MOST_SIZES}
    rows = [
        (f"{size:,}", f"{count:,}", f"{size * count:,}", _log_bar(count, most))
        for size, count in few.items()
    ]
    if more := {size: count for size, count in given.sizes.items() if size > MOST_SIZES}:
        count, records = sum(more.values()), sum(size * count for size, count in more.items())
        rows.append(
            (f"{min(more):,} to {max(more):,}", f"{count:,}", f"{records:,}", _log_bar(count, most))
        )
    about = "<p>How many records a person has. Bars are logarithmic.</p>"
    return about + _carded(_table(("!Records each", ">Clusters", ">Records", "@"), rows))


def _blocks(given: Statistics) -> str:
    most = max(kind.pairs for kind in given.kinds)
    rows = [
        (escape(kind.name), f"{kind.blocks:,}", f"{kind.split:,}", f"{kind.pairs:,}",
         f"{kind.matching:,}", _log_bar(kind.pairs, most))
        for kind in given.kinds
    ]  # fmt: skip
    about = (
        "<p>Two records are compared if they share a key. A pair is counted with the first kind "
        "that brought it together; large blocks are split. Bars are logarithmic.</p>"
    )
    heads = ("!Kind of key", ">Blocks", ">Large, split", ">Pairs", ">Matching", "@")
    return about + _carded(_table(heads, rows))


# Tables and bars


def _table(
    heads: Sequence[str], rows: Iterable[str | Sequence[str]], caption: str = "", last: str = ""
) -> str:
    """Return a table; rows are cells, or HTML of their own.

    A head says how its column looks: "!" is for names of rows, ">" for numbers, "@" for bars.
    """
    lines = [row if isinstance(row, str) else _row(heads, row) for row in rows]
    if last:
        lines[-1] = lines[-1].replace("<tr>", f'<tr class="{last}">', 1)
    titles = "".join(
        f"<th scope=col{_LOOKS[head[0]]}>{head.strip('!>')}</th>" if head != "@" else "<td></td>"
        for head in heads
    )
    return (
        f'<div class="scroll"><table>{f"<caption>{caption}</caption>" if caption else ""}'
        f"<thead><tr>{titles}</tr></thead>{''.join(lines)}</table></div>"
    )


def _row(heads: Sequence[str], cells: Sequence[str], lead: str = "") -> str:
    """Return a row; `lead` is what comes before the cells of the last columns."""
    made = (
        f"<th scope=row>{cell}</th>" if head[0] == "!" else f"<td{_LOOKS[head[0]]}>{cell}</td>"
        for head, cell in zip(heads[-len(cells) :], cells, strict=True)
    )
    return f"<tr>{lead}{''.join(made)}</tr>"


def _carded(body: str) -> str:
    return f'<div class="card">{body}</div>'


def _bar(start: float, end: float, scale: tuple[float, float], look: str) -> str:
    """Return a bar from one value to another, with a line at 0."""
    low, high = min(scale[0], 0.0), max(scale[1], 0.0)
    width = (high - low) or 1.0
    left, right, zero = (1000 * (at - low) / width for at in (min(start, end), max(start, end), 0))
    return (
        '<svg class="bar" viewBox="0 0 1000 20" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="zero" d="M{zero:.0f} 0V20"/>'
        f'<rect class="{look}" x="{left:.0f}" y="3" width="{max(right - left, 2):.0f}" height="14"'
        "/></svg>"
    )


def _log_bar(count: int, most: int) -> str:
    return _bar(0.0, _log(count), (0.0, _log(most)), "total")


def _log(count: int) -> float:
    """Return the height of a count: 0 has none, 1 has some."""
    return log10(2 * count) if count else 0.0


def _histogram(found: Histogram, threshold_bits: float) -> str:
    """Return the histogram as SVG, with the threshold marked."""
    wide, right, high, left, foot = 900.0, 884.0, 260.0, 60.0, 26.0
    most = _log(max(found.counts))
    begin = min(found.first_bits, threshold_bits - found.width_bits)
    end = max(found.first_bits + found.width_bits * len(found.counts), threshold_bits)

    def x(bits: float) -> float:
        return left + (right - left) * (bits - begin) / (end - begin)

    def y(count: int) -> float:
        return 24 + (high - 24) * (1 - _log(count) / most)

    parts = []
    for power in range(floor(log10(max(found.counts))) + 1):
        at = y(10**power)
        parts.append(
            f'<path class="axis" d="M{left:g} {at:.1f}H{right:g}"/>'
            f'<text x="{left - 8:g}" y="{at + 4:.1f}" text-anchor="end">{_short(10**power)}</text>'
        )
    for number, count in enumerate(found.counts):
        if count:
            low = found.first_bits + number * found.width_bits
            start, stop = x(low), x(low + found.width_bits)
            look = "for" if low + found.width_bits > threshold_bits else "quiet"
            parts.append(
                f'<rect class="{look}" x="{start + 0.5:.1f}" y="{y(count):.1f}" '
                f'width="{stop - start - 1:.1f}" height="{high - y(count):.1f}">'
                f"<title>{_step(found, number)} bits: {count:,} pairs</title></rect>"
            )
    step = next(step for step in (5, 10, 20, 50, 100, 1000) if (end - begin) / step <= 12)
    parts += (
        f'<text x="{x(bits):.1f}" y="{high + 17:g}" text-anchor="middle">{_bits(bits, 0)}</text>'
        for bits in range(ceil(begin / step) * step, floor(end) + 1, step)
    )
    mark = x(threshold_bits)
    side = ("end", -6) if mark > right / 2 else ("start", 6)
    parts.append(
        f'<path class="zero" d="M{left:g} {high:g}H{right:g}"/>'
        f'<path class="mark" d="M{mark:.1f} 0V{high:g}"/><text class="name" y="12" '
        f'x="{mark + side[1]:.1f}" text-anchor="{side[0]}">threshold</text>'
    )
    return (
        f'<svg viewBox="0 0 {wide:g} {high + foot:g}" role="img" aria-labelledby="wt wd">'
        f'<title id="wt">Weights of {found.of}</title><desc id="wd">A histogram from '
        f"{_bits(found.first_bits, 0)} to {_bits(end, 0)} bits; the threshold is at "
        f"{_bits(threshold_bits)} bits. The table below has the counts.</desc>"
        f"{''.join(parts)}</svg>"
    )


# Numbers in words


def _names(run: Run) -> str:
    """Return what the files are called; where they lie is nobody's business."""
    return ", ".join("standard input" if path == "-" else Path(path).name for path in run.files)


def _step(found: Histogram, number: int) -> str:
    low = found.first_bits + number * found.width_bits
    high = _bits(low + found.width_bits, 0)
    return f"below {high}" if found.has_rest and not number else f"{_bits(low, 0)} to {high}"


def _threshold_bits(run: Run) -> float:
    return log2(run.threshold / (1.0 - run.threshold))


def _bits(value: float, digits: int = 1) -> str:
    written = f"{value:+.{digits}f}"
    return "0" if not float(written) else written.replace("-", "−")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"


def _probability(value: float) -> str:
    return "over 0.9999" if value > 0.9999 else f"{value:.4f}"


def _share(value: float) -> str:
    if value >= 0.01:
        return f"{100 * value:.1f} %"
    whole = round(1 / value)
    return f"1 in {round(whole, 2 - len(str(whole))):,}"


def _short(count: int) -> str:
    return f"{count // 1_000_000:,} M" if count >= 1_000_000 else f"{count:,}"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
