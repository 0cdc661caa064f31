"""Health and reflection, which need no credential, and whose streams end when the server stops.

The servicers of the libraries keep such streams open, and with them the server, for the whole
grace of its drain.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from service.errors import ShuttingDown
from service.server.edge import Context, until_stopping
from service.server.status import status_of

HEALTH = "grpc.health.v1.Health"


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # it has no types
    """Says of the whole server ("") and of each service that it serves, until it is stopping."""

    def __init__(self, services: Iterable[str], stopping: asyncio.Event) -> None:
        self._services = frozenset(("", *services))
        self._stopping = stopping

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """Answer once."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return self._status(request.service)

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Answer at once, again when the server is stopping, and then end."""
        if not self._stopping.is_set():
            yield self._status(request.service)
            await self._stopping.wait()
        yield self._status(request.service)
        await context.abort_with_status(status_of(ShuttingDown("the server is stopping")))

    def _status(self, service: str) -> health_pb2.HealthCheckResponse:
        if service not in self._services:
            status = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        elif self._stopping.is_set():
            status = health_pb2.HealthCheckResponse.NOT_SERVING
        else:
            status = health_pb2.HealthCheckResponse.SERVING
        return health_pb2.HealthCheckResponse(status=status)


class Reflection(ReflectionServicer):  # type: ignore[misc]  # it has no types
    """Describes the services, until the server is stopping."""

    def __init__(self, services: Iterable[str], stopping: asyncio.Event) -> None:
        super().__init__((*services, HEALTH, reflection.SERVICE_NAME))
        self._stopping = stopping

    async def ServerReflectionInfo(  # noqa: N802
        self, requests: AsyncIterator[Any], context: Context
    ) -> AsyncIterator[Any]:
        """Answer questions as long as there are any."""
        asked = until_stopping(requests, self._stopping)
        try:
            async for answer in super().ServerReflectionInfo(asked, context):
                yield answer
        except ShuttingDown as error:
            await context.abort_with_status(status_of(error))


def add_to(server: grpc.aio.Server, services: tuple[str, ...], stopping: asyncio.Event) -> None:
    """Serve both."""
    health_pb2_grpc.add_HealthServicer_to_server(Health(services, stopping), server)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
        Reflection(services, stopping), server
    )
