"""The wire format of past releases, as descriptors, and that of today.

`python -m tests.descriptors` writes today's as that of the release in pyproject.toml. Do so when
a release is made, and never for one that is out.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool

import namesake.v1  # noqa: F401  registers the descriptors

FOLDER = Path(__file__).parent
PACKAGE = "namesake/v1/"
FILES = (
    "admin_service", "customer", "customer_service", "duplicate_service", "merge_service",
    "timeline_service", "transfer_service", "validation", "validation_service",
)  # fmt: skip


def current() -> descriptor_pb2.FileDescriptorSet:
    """Return the descriptors of today's protos."""
    every = descriptor_pb2.FileDescriptorSet()
    for name in FILES:
        file = descriptor_pool.Default().FindFileByName(f"{PACKAGE}{name}.proto")
        file.CopyToProto(every.file.add())
    return every


def released() -> dict[str, descriptor_pb2.FileDescriptorSet]:
    """Return the descriptors of every release, by its name."""
    return {
        path.stem: descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
        for path in sorted(FOLDER.glob("v*.binpb"))
    }
