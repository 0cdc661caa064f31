"""Write today's descriptors as those of the installed release."""

from __future__ import annotations

from importlib.metadata import version

from tests.descriptors import FOLDER, current

path = FOLDER / f"v{version('namesake-crm')}.binpb"
path.write_bytes(current().SerializeToString(deterministic=True))
print(path)
