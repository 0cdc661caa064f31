"""Build steps that `pyproject.toml` cannot say: stubs, tables and compiled modules.

`build_proto` runs before the packages are copied, so that wheels, editable installs and
`make proto` all get the same stubs: messages and services with their types for mypy. So does
`build_tables`, which turns the metadata of `phonenumbers` into the tables of the phone kernel.

Beside the kernels (`.pyx`), the modules of the save, import and list paths are compiled by Cython
as they stand. After a change to one of them `make` builds it anew, and the tests refuse to run
against an older build.
"""

from __future__ import annotations

import importlib
import importlib.resources
import os
import runpy
import shutil
import sysconfig
import tempfile
from pathlib import Path
from typing import ClassVar

from Cython.Build import cythonize
from setuptools import Command, Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent / "proto"
DESCRIPTORS = Path(__file__).parent / "build" / "protos.binpb"

COMPILED = [
    "service/cli/lists.py",
    "service/core/_columns.pyx",
    "service/core/_compare.pyx",
    "service/core/_emails.pyx",
    "service/core/_features.pyx",
    "service/core/_hash.pyx",
    "service/core/_match.pyx",
    "service/core/_names.pyx",
    "service/core/_phones.pyx",
    "service/core/_probe.pyx",
    "service/core/_select.pyx",
    "service/core/_tabulate.pyx",
    "service/core/_text.pyx",
    "service/core/_wire.pyx",
    "service/core/model.py",
    "service/core/prepare.py",
    "service/identity/lookup.py",
    "service/identity/matching.py",
    "service/identity/registry.py",
    "service/index/_intake.pyx",
    "service/index/_lmdb.pyx",
    "service/index/_runs.pyx",
    "service/index/items.py",
    "service/index/layout.py",
    "service/index/store.py",
    "service/index/timeline.py",
    "service/index/transaction.py",
    "service/index/writer.py",
    "service/server/duplicates.py",
    "service/server/rules.py",
    "service/server/wire.py",
    "service/transfer/countries.py",
    "service/transfer/files.py",
    "service/transfer/sheets.py",
    "service/validation/lists.py",
    "service/validation/validator.py",
]

# Debugging symbols and -O3 double the time to compile, and gain nothing here.
FLAGS = ["-O2", "-g0"]


class Step(Command):
    """A build step without options."""

    user_options: ClassVar[list[tuple[str, str, str]]] = []

    def initialize_options(self) -> None:
        """There are no options."""

    def finalize_options(self) -> None:
        """There are no options."""


class BuildProto(Step):
    """Generate `*_pb2.py`, `*_pb2_grpc.py` and their `.pyi` in the source tree."""

    description = "generate the protobuf and gRPC stubs"

    def run(self) -> None:
        """Run protoc over every proto of the package."""
        from grpc_tools import protoc

        well_known = importlib.resources.files("grpc_tools") / "_proto"
        protos = [str(path) for path in sorted(ROOT.glob("namesake/v1/*.proto"))]
        DESCRIPTORS.parent.mkdir(exist_ok=True)
        outputs = (
            # What buf lints: it finds no packages of Python's to import from.
            f"--descriptor_set_out={DESCRIPTORS}",
            "--include_imports",
            "--include_source_info",
            f"--python_out={ROOT}",
            f"--grpc_python_out={ROOT}",
            f"--mypy_out=quiet:{ROOT}",
            f"--mypy_grpc_out=quiet:{ROOT}",
        )
        # The mypy plugins are commands of the environment that runs this, on its PATH or not.
        os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
        with tempfile.TemporaryDirectory() as temporary:
            common = _common_protos(Path(temporary))
            paths = [f"-I{path}" for path in (ROOT, well_known, *common)]
            if protoc.main(["protoc", *paths, *outputs, *protos]):
                raise SystemExit("protoc failed")


def _common_protos(folder: Path) -> tuple[Path, Path]:
    """Return where google/longrunning/operations.proto is, and what it imports.

    The package that carries it calls the file operations_proto.proto, but describes it by its own
    name.
    """
    (package,) = importlib.import_module("google.longrunning").__path__
    (folder / "google/longrunning").mkdir(parents=True)
    shutil.copy(
        Path(package) / "operations_proto.proto", folder / "google/longrunning/operations.proto"
    )
    return folder, Path(package).parent.parent


class BuildTables(Step):
    """Generate the tables of the phone kernel in the source tree, unless they are up to date."""

    description = "generate the phone tables from the installed metadata"

    def run(self) -> None:
        """Run the generator as the program that it is: the package is not built yet."""
        runpy.run_path("service/core/build_phones.py", run_name="__main__")


class BuildPy(build_py):
    """Copies packages; generates stubs and tables first, also in an editable install."""

    def run(self) -> None:
        """Generate, then copy."""
        self.run_command("build_proto")
        self.run_command("build_tables")
        super().run()


class BuildExt(build_ext):
    """Compiles on all cores; generates the tables that go with what is compiled first."""

    def initialize_options(self) -> None:
        """Set the cores here: an editable install begins anew with what this says."""
        super().initialize_options()
        self.parallel = os.cpu_count() or 1

    def run(self) -> None:
        """Generate, then compile."""
        self.run_command("build_tables")
        super().run()


setup(
    cmdclass={
        "build_proto": BuildProto,
        "build_tables": BuildTables,
        "build_py": BuildPy,
        "build_ext": BuildExt,
    },
    ext_modules=cythonize(
        [
            Extension(path.rsplit(".")[0].replace("/", "."), [path], extra_compile_args=FLAGS)
            for path in COMPILED
        ],
        build_dir="build/cython",
        language_level=3,
        nthreads=os.cpu_count() or 1,
        # Annotations are for mypy: Cython would refuse a numpy integer where they say int.
        compiler_directives={"annotation_typing": False, "binding": True},
    ),
)
