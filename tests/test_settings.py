"""Settings as operators write them into the environment."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from service.settings import Settings


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("127.0.0.1:9", ("127.0.0.1:9",)),
        ("10.0.0.1, [::1]:53", ("10.0.0.1", "[::1]:53")),
        ("10.0.0.1,", ("10.0.0.1",)),
        ("", ()),
    ],
)
def test_lists_have_commas_between(
    monkeypatch: pytest.MonkeyPatch, written: str, read: tuple[str, ...]
) -> None:
    """One is a list too, and none is."""
    monkeypatch.setenv("NAMESAKE_DNS_SERVERS", written)
    monkeypatch.setenv("NAMESAKE_EXCLUSIVE_IDENTITY_TYPES", written)
    assert Settings().dns_servers == read
    assert Settings().exclusive_identity_types == frozenset(read)


def test_lists_are_taken_as_they_are_from_the_command_line() -> None:
    """Where each value is an option of its own."""
    assert Settings(dns_servers=("10.0.0.1", "[::1]:53")).dns_servers == ("10.0.0.1", "[::1]:53")


def test_whatever_the_environment_says_is_told_by_its_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No setting wants JSON, whose faults are told without saying where they are."""
    for name in Settings.model_fields:
        with monkeypatch.context() as environment:
            environment.setenv(f"NAMESAKE_{name.upper()}", "[nonsense")
            told: set[tuple[int | str, ...]] = {(name,)}
            try:
                Settings()
            except ValidationError as error:
                told = {fault["loc"] for fault in error.errors()}
            assert told == {(name,)}
