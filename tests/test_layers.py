"""Who may import whom: the table of the architecture, checked over all modules."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = (
    "errors", "settings", "core", "validation", "index", "transfer", "identity", "server", "cli",
)  # fmt: skip

# Layer → the others that it may import. `namesake` stands for the protos, with them protobuf.
MAY: dict[str, set[str]] = {
    "errors": set(),
    "settings": set(),
    "core": {"errors"},
    "validation": {"core", "errors", "settings"},
    "index": {"core", "errors", "settings"},
    "transfer": {"core", "errors", "settings"},
    "identity": {"validation", "index", "core", "errors", "settings"},
    "server": {"identity", "transfer", "core", "errors", "settings", "namesake"},
    "cli": {"transfer", "core", "errors", "settings", "namesake"},
}
# The composition root builds the rest; accounts.py is its part that is done once per tenant.
# Servicers read snapshots of the index and ask the validator that they were given.
MODULES_MAY: dict[str, set[str]] = {
    "service.server.app": {"validation"},
    "service.server.accounts": {"validation", "index"},
    "service.server.admin": {"validation", "index"},
    "service.server.changes": {"index"},
    "service.server.contacts": {"validation"},
    "service.server.customers": {"validation", "index"},
    "service.server.duplicates": {"index"},
    "service.server.exports": {"index"},
    "service.server.feed": {"index"},
    "service.server.matches": {"index"},
    "service.server.merged": {"index"},
    "service.server.items": {"index"},
    "service.server.relay": {"index"},
    "service.server.timeline": {"index"},
}
# The commands that do not talk to a server build what they need, when they are called.
FUNCTIONS_MAY: dict[tuple[str, str], set[str]] = {
    ("service.cli.operating", "serve"): {"service.server.app"},
    ("service.cli.operating", "compact"): {"service.index.copying"},
    ("service.cli.checking", "_validator"): {"service.server.app"},
    ("service.cli.lists", "_serve"): {"service.validation.validator"},  # in a process of its own
}
# What must not be seen elsewhere: a library, and the layers that may know it.
LIBRARIES: dict[str, set[str]] = {
    "google": {"server", "cli"},
    "grpc": {"server", "cli"},
    "grpc_status": {"server", "cli"},
    "grpc_health": {"server"},
    "grpc_reflection": {"server"},
    "prometheus_client": {"server"},
    "lmdb": {"index", "validation"},  # customers, and the store of DNS verdicts
    "aiodns": {"validation"},
    "pycares": {"validation"},
    "redis": {"validation", "server"},  # verdicts, and the feed as a stream
    "pyarrow": {"transfer", "cli"},
    "python_calamine": {"transfer"},
    "rustpy_xlsxwriter": {"transfer"},
    "numpy": {"core", "validation", "transfer", "cli"},
    "typer": {"cli"},
    "rich": {"cli"},
}
PLAIN = {"errors": set[str](), "settings": {"pydantic", "pydantic_settings"}}


@dataclass(frozen=True)
class Import:
    """One import: where it stands and what it names."""

    module: str  # that has it
    function: str  # around it, "" at the top
    line: int
    name: str  # imported, with what is taken from it


def imports(module: str, source: str) -> Iterator[Import]:
    """Yield the imports of a module's source, those under conditions and in functions too."""
    yield from _imports(module, "", ast.parse(source))


def _imports(module: str, function: str, node: ast.AST) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = function
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not function:
            inside = child.name
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(module, function, child.lineno, alias.name)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute(module, child)
            for alias in child.names:
                yield Import(module, function, child.lineno, f"{base}.{alias.name}")
        else:
            yield from _imports(module, inside, child)


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")[: -node.level]
    return ".".join([*parts, node.module] if node.module else parts)


def layer_of(module: str) -> str:
    """Return the layer of a module of this project, "namesake" for the protos, or ""."""
    parts = module.split(".")
    if parts[0] == "namesake":
        return "namesake"
    if parts[0] != "service" or len(parts) < 2:
        return ""
    return "cli" if parts[1] == "__main__" else parts[1]


def violations(module: str, source: str) -> list[str]:
    """Return the imports of a module that its layer must not have."""
    return [
        f"{one.module}:{one.line} imports {one.name}"
        for one in imports(module, source)
        if not _is_allowed(one)
    ]


def _is_allowed(one: Import) -> bool:
    own, other = layer_of(one.module), layer_of(one.name)
    top = one.name.split(".")[0]
    if own in PLAIN:
        return top in sys.stdlib_module_names or top in PLAIN[own]
    if top in LIBRARIES:
        return own in LIBRARIES[top]
    if top == "service" and not other:
        return False  # the package itself: everything and nothing
    if not other or other == own or other in MAY[own]:
        return True
    if other in MODULES_MAY.get(one.module, ()):
        return True
    named = FUNCTIONS_MAY.get((one.module, one.function), set())
    return any(one.name == name or one.name.startswith(f"{name}.") for name in named)


def modules() -> dict[str, str]:
    """Return every module of the project with its source."""
    found = {}
    for path in sorted((ROOT / "service").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name] = path.read_text(encoding="utf-8")
    return found


def test_every_module_keeps_to_its_layer() -> None:
    """No import crosses a wall."""
    faults = [fault for name, source in modules().items() for fault in violations(name, source)]
    assert faults == []


def test_every_module_belongs_to_a_layer() -> None:
    """A new folder has to be given its place in the table."""
    outside = {name for name in modules() if layer_of(name) not in (*LAYERS, "__init__")}
    assert outside == set()
    assert set(MAY) == set(LAYERS)


def test_exceptions_are_in_use() -> None:
    """What nobody needs any more is taken out of the lists of exceptions."""
    sources = modules()
    for module, others in MODULES_MAY.items():
        used = {layer_of(one.name) for one in imports(module, sources[module])}
        assert others <= used, module
    for (module, function), names in FUNCTIONS_MAY.items():
        used = {o.name for o in imports(module, sources[module]) if o.function == function}
        assert all(any(one.startswith(name) for one in used) for name in names), module


PLANTED = [
    ("service.errors", "import pydantic"),
    ("service.settings", "from service.errors import NotFound"),
    ("service.core.match", "from service.settings import Settings"),
    ("service.core.match", "from google.protobuf import message"),
    ("service.core.match", "def f():\n    from namesake import v1"),
    ("service.validation.lists", "import service.index.store"),
    ("service.index.store", "from service.validation import validator"),
    ("service.index.store", "from ..validation.validator import Validator"),
    ("service.index.store", "from service.core import model\nfrom service import transfer"),
    ("service.index.store", "import redis"),
    ("service.transfer.files", "from service.index import Index"),
    ("service.transfer.files", "if TYPE_CHECKING:\n    from namesake import v1"),
    ("service.identity.merge", "from service.server import wire"),
    ("service.identity.merge", "import grpc"),
    ("service.identity.merge", "import lmdb"),
    ("service.server.pages", "from service.index import Index"),
    ("service.server.pages", "from service.cli import show"),
    ("service.server.contacts", "from service.index import Index"),
    ("service.cli.show", "from service.index import Index"),
    ("service.cli.show", "from service.identity import registry"),
    ("service.cli.operating", "from service.server.app import run"),
    ("service.cli.operating", "def stats():\n    from service.server.app import run"),
    ("service.cli.operating", "def serve():\n    from service.server.wire import card"),
    ("service.cli.operating", "import service"),
    ("service.__main__", "from service.server.app import run"),
]


@pytest.mark.parametrize(("module", "source"), PLANTED)
def test_the_check_sees_a_planted_violation(module: str, source: str) -> None:
    """However it is written: from, import, relative, in a function, for types only."""
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("service.core.match", "import numpy\nfrom service.errors import NotFound"),
        ("service.core.match", "from . import model\nfrom .prepare import match_key"),
        ("service.cli.operating", "def serve():\n    from service.server.app import run"),
        ("service.server.app", "from service.validation.validator import Validator"),
        ("service.identity.merge", "from service.index import Index"),
        ("service.__main__", "from service.cli.app import app"),
    ],
)
def test_what_the_table_allows_is_allowed(module: str, source: str) -> None:
    """The check does not refuse what is fine."""
    assert violations(module, source) == []
