"""The examples of the documentation run, and every RPC has one."""

from __future__ import annotations

import re
from pathlib import Path

from namesake.v1 import (
    admin_service_pb2,
    customer_service_pb2,
    duplicate_service_pb2,
    merge_service_pb2,
    timeline_service_pb2,
    transfer_service_pb2,
    validation_service_pb2,
)
from tests.conftest import Server

API = Path(__file__).parent.parent / "docs" / "api.md"


def test_the_examples_of_the_api_run_top_to_bottom(server: Server) -> None:
    """All Python blocks of docs/api.md, as one program against a fresh server."""
    blocks = re.findall(r"^```python\n(.*?)^```$", API.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) > 18
    program = compile("\n".join(blocks), str(API), "exec")
    exec(program, {"ADDRESS": server.address})


def test_every_rpc_has_its_section() -> None:
    """A method without an example is a method nobody learns of."""
    files = (
        admin_service_pb2,
        customer_service_pb2,
        duplicate_service_pb2,
        merge_service_pb2,
        timeline_service_pb2,
        transfer_service_pb2,
        validation_service_pb2,
    )
    methods = {
        method.name
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert methods == set(re.findall(r"^### (\w+)$", API.read_text(), re.MULTILINE))
