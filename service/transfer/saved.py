"""Mappings that were saved by name, one file of JSON each, in the user's configuration folder.

They are the user's own: files may be read, written by hand and copied to somebody else. One of a
version that is not known here is refused, not guessed at.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from service.errors import InvalidArgument
from service.transfer import columns, words
from service.transfer.columns import IGNORED
from service.transfer.files import whole
from service.transfer.mapping import Choices
from service.transfer.words import DateOrder

VERSION = 1
SIZE_LIMIT = 1 << 20  # bytes; a thousand columns take a tenth of it

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ORDERS: dict[str, DateOrder] = {"": "", "dmy": "dmy", "mdy": "mdy"}
_ENDING = ".json"


def configuration_folder() -> Path:
    """Return where mappings are kept: `$XDG_CONFIG_HOME/namesake/mappings`."""
    # https://specifications.freedesktop.org/basedir-spec: one that is not absolute does not count.
    home = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    base = home if home.is_absolute() else Path.home() / ".config"
    return base / "namesake" / "mappings"


class SavedMappings:
    """The mappings in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, name: str, choices: Choices) -> None:
        """Keep a mapping under a name; one of this name is replaced."""
        path = self._path(name)
        written = {
            "version": VERSION,
            "columns": dict(choices.columns),
            "constants": [list(pair) for pair in choices.constants],
            "date_order": choices.date_order,
            "date_formats": list(choices.date_formats),
            "default_region": choices.default_region,
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise InvalidArgument(f"Cannot make {self._folder}: {error.strerror}") from None
        with whole(str(path)) as stream:
            stream.write(json.dumps(written, ensure_ascii=False, indent=2).encode() + b"\n")

    def load(self, name: str) -> Choices:
        """Return a mapping; `InvalidArgument` where there is none, or it is no mapping."""
        path = self._path(name)
        try:
            with path.open("rb") as stream:
                content = stream.read(SIZE_LIMIT + 1)
        except FileNotFoundError:
            raise InvalidArgument(f"There is no saved mapping {name!r}") from None
        except OSError as error:
            raise InvalidArgument(f"Cannot open {path}: {error.strerror}") from None
        try:
            if len(content) > SIZE_LIMIT:
                raise ValueError("it is too large")
            return _choices(json.loads(content))
        except (ValueError, RecursionError, InvalidArgument) as error:
            raise InvalidArgument(f"{path} is no mapping: {error}") from None

    def names(self) -> list[str]:
        """Return the names of all mappings, sorted."""
        found = self._folder.glob(f"*{_ENDING}") if self._folder.is_dir() else ()
        names = (path.name.removesuffix(_ENDING) for path in found)
        return sorted(name for name in names if _NAME.fullmatch(name))

    def delete(self, name: str) -> None:
        """Forget a mapping; `InvalidArgument` where there is none."""
        try:
            self._path(name).unlink()
        except FileNotFoundError:
            raise InvalidArgument(f"There is no saved mapping {name!r}") from None

    def fitting(self, header: Sequence[str]) -> list[str]:
        """Return the mappings whose columns a file has, those that know most of it first.

        Ones that cannot be read are left out: they are not of this file.
        """
        there = {name.casefold() for name in header}
        known: list[tuple[int, str]] = []
        for name in self.names():
            try:
                named = self.load(name).columns
            except InvalidArgument:
                continue
            wanted = {column.casefold() for column, field in named if field != IGNORED}
            if wanted and wanted <= there:
                known.append((-len({column.casefold() for column, _ in named} & there), name))
        return [name for _, name in sorted(known)]

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise InvalidArgument(
                "a mapping's name is 1 to 64 of [A-Za-z0-9_.-] and begins with a letter or digit"
            )
        return self._folder / f"{name}{_ENDING}"


def _choices(read: object) -> Choices:
    """Return what a file says; ValueError names what is wrong with it."""
    if not isinstance(read, dict):
        raise ValueError("it is no object")
    if read.get("version") != VERSION:
        raise ValueError(f"its version is not {VERSION}")
    order = read.get("date_order", "")
    if not isinstance(order, str) or order not in _ORDERS:
        raise ValueError("date_order is none of dmy and mdy")
    formats = tuple(_texts(read, "date_formats"))
    for format in formats:
        words.check_format(format)
    region = read.get("default_region", "")
    if not isinstance(region, str):
        raise ValueError("default_region is no text")
    return Choices(_columns(read), _constants(read), _ORDERS[order], formats, region)


def _columns(read: dict[str, object]) -> tuple[tuple[str, str], ...]:
    named = read.get("columns", {})
    if not isinstance(named, dict):
        raise ValueError("columns is no object")
    for field in named.values():
        if not isinstance(field, str) or not (field == IGNORED or columns.is_field(field)):
            raise ValueError(f"there is no field {field!r}")
    return tuple(named.items())


def _constants(read: dict[str, object]) -> tuple[tuple[str, str], ...]:
    found = read.get("constants", [])
    if not isinstance(found, list):
        raise ValueError("constants is no list")
    pairs = []
    for pair in found:
        if not (isinstance(pair, list) and len(pair) == 2 and all(type(x) is str for x in pair)):
            raise ValueError("constants are pairs of a field and a text")
        pairs.append(f"{pair[0]}={pair[1]}")
    return Choices.of_options(constants=pairs).constants


def _texts(read: dict[str, object], name: str) -> list[str]:
    found = read.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ValueError(f"{name} is no list of texts")
    return found
