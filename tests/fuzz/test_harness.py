"""What the fuzzers share: inputs are kept as they were, and as few as will do."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import harness

NAMES = ("emails", "names", "phones")
inputs = st.lists(st.binary(max_size=20), max_size=8)


@given(inputs)
def test_a_corpus_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, kept: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("corpus") / "some.corpus"
    harness.write_corpus(path, kept)
    assert sorted(harness.read_corpus(path)) == sorted(set(kept))


@pytest.mark.parametrize("name", NAMES)
def test_the_corpora_are_as_they_would_be_written_again(name: str, tmp_path: Path) -> None:
    kept = harness.corpus_of(name)
    again = tmp_path / kept.name
    harness.write_corpus(again, harness.read_corpus(kept))
    assert again.read_bytes() == kept.read_bytes()


@given(st.dictionaries(st.binary(max_size=4), st.sets(st.integers(0, 20)), max_size=12))
def test_the_fewest_inputs_reach_what_all_do(reached: dict[bytes, set[int]]) -> None:
    chosen = harness.fewest(reached)
    met = set[int]()
    for one in chosen:
        assert reached[one] - met, "adds nothing"
        met |= reached[one]
    assert met == set().union(*reached.values())


def test_one_input_that_reaches_all_is_enough() -> None:
    reached = {b"long": {1, 2, 3}, b"a": {1}, b"b": {2, 3}, b"c": {1, 2, 3}}
    assert harness.fewest(reached) == [b"c"]


@given(inputs)
def test_a_column_has_the_values(values: list[bytes]) -> None:
    texts = harness.column([value.hex().encode() for value in values])
    assert [texts[row] for row in range(len(texts))] == [value.hex() for value in values]


def test_mutations_differ_and_keep_to_their_bound() -> None:
    mutator = harness.Mutator(Random(1), [b"word"], 50)
    made = {mutator.mutated([b"", b"a@b.de", b"\xff" * 60]) for _ in range(1_000)}
    assert len(made) > 500
    assert max(map(len, made)) == 50


def test_bounds_are_checked_even_where_the_kernel_says_otherwise() -> None:
    assert "boundscheck=False" not in harness.checked("# cython: boundscheck=False, x=1\n")
    with pytest.raises(ValueError, match="bounds"):
        harness.checked("# nothing is said\n")
