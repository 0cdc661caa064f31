"""The report of `namesake dedupe`: one page, whole in itself, that agrees with the run."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from math import log2
from pathlib import Path

import pytest

from benchmarks.worlds import WORLDS, write
from service.cli import report
from service.cli.report import Group, Histogram, Kind, Run, Statistics
from service.core.explain import IN_WORDS, Contribution, Explanation
from service.core.match import Model
from tests.cli.conftest import Namesake

VOID = {"meta", "path", "rect", "br"}
RECORDS = 3_000


@dataclass(eq=False)
class Page(HTMLParser):
    """A page taken apart; its tags must close in order."""

    text: str
    open: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)  # tag, name, value
    rows: list[list[str]] = field(default_factory=list)  # cells of tables
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data

    @property
    def said(self) -> str:
        """All that can be read."""
        return " ".join(self.words)

    def ids(self) -> set[str]:
        return {value for _, name, value in self.attributes if name == "id"}


@dataclass(frozen=True)
class Case:
    """A run, what it said of itself, and its page."""

    told: dict[str, int]
    page: Page
    cells: set[str]  # of the input


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    from tests.cli.conftest import run

    folder = tmp_path_factory.mktemp("report")
    people, truth, page = (folder / name for name in ("people.csv", "truth.csv", "page.html"))
    write(WORLDS["families"], RECORDS, 3, people, truth)
    files = ("--output", str(folder / "out.csv"), "--report", str(page))
    done = run("dedupe", str(people), *files, "--threshold", "0.6", "--json")
    assert done.status == 0, done.err
    with people.open() as lines:
        cells = {
            value for row in csv.DictReader(lines) for name, value in row.items() if name != "id"
        }
    return Case(done.lines[0], Page(page.read_text()), cells)


def numbers(text: str) -> float:
    return 0.0 if text == "0" else float(text.replace("−", "-").replace(",", ""))


def waterfalls(page: Page) -> Iterator[list[tuple[str, float]]]:
    """Yield the fields of each pair and their bits; the last one is the weight."""
    steps: list[tuple[str, float]] = []
    for row in page.rows:
        if row and row[0] == "beforehand":
            steps = []
        if len(row) == 4 and re.fullmatch(r"0|[+−][\d.]+", row[2]):
            steps.append((row[0], numbers(row[2])))
            if row[0] == "weight":
                yield steps


# A run


def test_the_page_has_its_sections_and_they_are_linked(case: Case) -> None:
    ids = case.page.ids()
    assert {"summary", "weights", "pairs", "model", "clusters"} <= ids
    links = {value for tag, name, value in case.page.attributes if (tag, name) == ("a", "href")}
    assert links
    assert {link.removeprefix("#") for link in links} <= ids
    labelled = [value for _, name, value in case.page.attributes if name == "aria-labelledby"]
    assert {one for value in labelled for one in value.split()} <= ids


def test_its_numbers_are_those_of_the_run(case: Case) -> None:
    said, told = case.page.said, case.told
    for key in ("records", "clusters", "pairs", "comparedPairs", "refusedJoins"):
        assert f"{told[key]:,}" in said, key
    more = told["records"] - told["clusters"]
    assert f"{100 * more / told['records']:.1f} %" in said
    sizes = [row for row in case.page.rows if len(row) == 4 and row[0].isdigit()]
    assert sum(numbers(row[1]) for row in sizes) == told["clusters"]
    assert sum(numbers(row[2]) for row in sizes) == told["records"]
    steps = [row for row in case.page.rows if len(row) == 2 and re.match("below|.* to ", row[0])]
    assert sum(numbers(row[1]) for row in steps) == told["comparedPairs"]
    head = case.page.rows.index(["Kind of key", "Blocks", "Large, split", "Pairs", "Matching", ""])
    kinds = case.page.rows[head + 1 :]
    assert sum(numbers(row[3]) for row in kinds) == told["comparedPairs"]
    assert sum(numbers(row[2]) for row in kinds) == told["splitBlocks"]
    assert f"{log2(0.6 / 0.4):+.1f} bits" in said


def test_the_page_needs_nothing_else(case: Case) -> None:
    text = case.page.text
    assert not re.search(r"https?:|url\(|@import|<script|<link|<img|<iframe|\bsrc=", text)
    assert "default-src 'none'" in text
    assert len(text) < 300_000


def test_no_cell_of_the_input_is_in_it(case: Case) -> None:
    words = set(re.findall(r"[\w@.+-]+", case.page.said))
    single = {cell for cell in case.cells if len(cell) > 2 and re.fullmatch(r"[\w@.+-]+", cell)}
    assert len(single) > 1_000
    assert single & words == set()
    several = case.cells - single
    assert [cell for cell in several if len(cell) > 4 and cell in case.page.said] == []


def test_bits_of_pairs_add_up(case: Case) -> None:
    shown = list(waterfalls(case.page))
    assert len(shown) >= 4
    for *steps, (last, weight) in shown:
        assert last == "weight"
        assert steps[0][0] == "beforehand"
        assert sum(bits for _, bits in steps) == pytest.approx(weight, abs=0.05 * (len(steps) + 1))
        assert weight >= log2(0.6 / 0.4) - 0.06
    assert "Refused joins" in case.page.said
    assert "Just above the threshold" in case.page.said


def test_plots_can_be_read_without_seeing_them(case: Case) -> None:
    images = [value for tag, name, value in case.page.attributes if (tag, name) == ("svg", "role")]
    hidden = [v for tag, name, v in case.page.attributes if (tag, name) == ("svg", "aria-hidden")]
    assert images == ["img"]
    assert set(hidden) == {"true"}  # bars, beside their numbers
    assert case.page.text.count("<svg") == len(images) + len(hidden)
    assert "<desc" in case.page.text


def test_weights_against_strangers_come_first_and_others_on_demand(case: Case) -> None:
    heads = [row for row in case.page.rows if row[:2] == ["Field", "Level"]]
    assert [row[3] for row in heads] == [
        "Of strangers", "Of household", "Of namesakes", "Of relatives",
    ]  # fmt: skip
    summaries = re.findall(r"<details class=\"card\"( open)?><summary>Against", case.page.text)
    assert summaries == [" open", "", "", ""]
    # Columns that no record has are left out.
    assert not any(row[0].startswith("column") for row in case.page.rows if row)


def test_ids_and_names_of_files_are_text_and_nothing_else(
    offline: Namesake, tmp_path: Path
) -> None:
    source, page = tmp_path / "<b>&people.csv", tmp_path / "page.html"
    line = "Anna,Weiß,1980-05-17,anna.weiss80@example.org,10115"
    source.write_text(
        "id,first_name,last_name,birth_date,email,postcode\n"
        f"<script>alert(1)</script>,{line}\n$$lead & ${{lead}},{line}\n"
    )
    done = offline("dedupe", str(source), "--output", "-", "--report", str(page))
    assert done.status == 0, done.err
    text = page.read_text()
    assert not re.search("<script|<b>", text)
    said = Page(text).said
    assert "<script>alert(1)</script> and $$lead & ${lead}" in said
    assert "<b>&people.csv" in said
    assert str(tmp_path) not in text


def test_an_empty_list_has_a_page(offline: Namesake, tmp_path: Path) -> None:
    source, page = tmp_path / "a.csv", tmp_path / "page.html"
    source.write_text("id,email\n")
    assert offline("dedupe", str(source), "--output", "-", "--report", str(page)).status == 0
    said = Page(page.read_text()).said
    assert "There are no pairs compared" in said
    assert "No pair matches" in said


@pytest.mark.parametrize(
    ("options", "said"), [((), "learnt"), (("--untrained",), "not learnt"), (("--model",), "given")]
)
def test_it_says_where_the_model_is_from(
    offline: Namesake, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    source, page, model = (tmp_path / name for name in ("a.csv", "page.html", "m.json"))
    source.write_text("id,email\n1,a@x.org\n2,a@x.org\n")
    model.write_text(Model.default(2).to_json())
    given = [*options, str(model)] if "--model" in options else options
    done = offline("dedupe", str(source), "--output", "-", "--report", str(page), *given)
    assert done.status == 0, done.err
    words = Page(page.read_text()).words
    assert words[words.index("Model") + 1] == said


# Parts


def statistics() -> Statistics:
    why = Explanation(
        0.25, 0.543, "strangers", -10.0,
        (Contribution("phone", "the same", 10.25, "the same phone"),),
    )  # fmt: skip
    return Statistics(
        run=Run(["a.csv", "b.csv"], 0.5, ("learnt", ""), (2, 30), 1.5, 10**9),
        records=70,
        sizes={1: 66, 2: 2},
        compared=9,
        matching=3,
        refused=1,
        large_blocks=4,
        placeholder_dates=5,
        model=Model.default(70),
        fields=[0, 8],
        weights=Histogram(-30.0, 1.0, [3] * 200, "pairs compared"),
        groups=[Group("Just below the threshold", "", [("1:a", "2:b", why)])],
        kinds=[Kind("e-mail", 20, 3, 1_234, 56), Kind("phone", 7, 0, 0, 0)],
    )


def page_of(given: Statistics) -> Page:
    stream = io.BytesIO()
    report.write(stream, given)
    return Page(stream.getvalue().decode())


def test_two_files_that_are_linked_are_spoken_of_as_such() -> None:
    said = page_of(statistics()).said
    assert "2 of the 30 records of the second file are found in the first" in said
    assert "of 1,200 that there are" in said  # 40 times 30


def test_kinds_of_keys_have_a_section_where_they_are_known() -> None:
    page = page_of(statistics())
    assert ["e-mail", "20", "3", "1,234", "56", ""] in page.rows
    assert "blocks" in page.ids()
    assert "blocks" not in page_of(replace(statistics(), kinds=())).ids()


def test_who_else_a_pair_could_be_is_said_in_words() -> None:
    page = page_of(statistics())
    assert IN_WORDS["strangers"] in page.said
    assert "for each pair of one person there are about 1,000 of two strangers" in page.said
    assert list(waterfalls(page)) == [[("beforehand", -10.0), ("phone", 10.2), ("weight", 0.2)]]


@pytest.mark.parametrize("count", [1, 3, 79, 80, 81, 200, 5_000])
@pytest.mark.parametrize("first", [-37.0, 0.0, 3.0])
def test_a_histogram_is_made_coarse_enough_to_draw(count: int, first: float) -> None:
    fine = Histogram(first, 1.0, [1] * count, "")
    made = fine.coarser()
    assert sum(made.counts) == count
    assert len(made.counts) <= report.MOST_BARS + 1
    assert made.first_bits % made.width_bits == 0
    assert made.first_bits <= first < made.first_bits + made.width_bits
