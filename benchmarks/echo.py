"""The bare limit of unary calls: a servicer on the service's own server stack that does nothing.

    python -m benchmarks.echo ANSWER_FILE

grpc.aio with the options of `service.server.app` and no interceptor. The one method parses a
SaveCustomerRequest and answers, encoding it anew each time, with the SaveCustomerResponse of the
file: messages of the size that a real save has. Prints its address and serves until SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import grpc

from namesake import v1
from service.settings import Settings

METHOD = "/namesake.benchmark.Echo/Echo"


def main() -> None:
    """Serve."""
    answer = v1.SaveCustomerResponse.FromString(Path(sys.argv[1]).read_bytes())
    asyncio.run(_serve(answer))


async def _serve(answer: v1.SaveCustomerResponse) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    server, port = _build(Settings(), answer)
    await server.start()
    print(f"echo serves on 127.0.0.1:{port}", flush=True)
    await stop.wait()
    await server.stop(None)


def _build(settings: Settings, answer: v1.SaveCustomerResponse) -> tuple[grpc.aio.Server, int]:
    async def echo(request: v1.SaveCustomerRequest, context: Any) -> v1.SaveCustomerResponse:
        return answer

    server = grpc.aio.server(
        maximum_concurrent_rpcs=settings.concurrent_rpcs,
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", settings.message_limit),
            ("grpc.max_send_message_length", settings.message_limit),
        ],
    )
    _, service, method = METHOD.split("/")
    handler = grpc.unary_unary_rpc_method_handler(
        echo, v1.SaveCustomerRequest.FromString, v1.SaveCustomerResponse.SerializeToString
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    return server, server.add_insecure_port("127.0.0.1:0")


if __name__ == "__main__":
    main()
