"""Where a call enters: decoding, credentials, errors to status, metrics.

Each method of `namesake.v1` is wrapped when its service is added. Health and reflection are not.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from prometheus_client import Counter, Histogram

from service.errors import InvalidArgument, NamesakeError
from service.server.accounts import Account, Accounts
from service.server.status import code_of, status_of

log = structlog.get_logger("namesake")

RPCS = Counter("namesake_rpcs", "RPCs ended", ["method", "code"])
SECONDS = Histogram(
    "namesake_rpc_seconds",
    "Duration of unary RPCs",
    ["method"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
)


# Streams whose servicer reads the encoded requests itself.
UNDECODED = frozenset({"/namesake.v1.TransferService/ImportCustomers"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose call this is."""

    account: Account
    actor: str


_caller: ContextVar[Caller] = ContextVar("caller")

Context = Any  # grpc.aio.ServicerContext: its stubs lack abort_with_status
Handler = Any  # grpc.RpcMethodHandler: its stubs have no fields


def caller() -> Caller:
    """Return who makes the call that is being served."""
    return _caller.get()


class Edge:
    """Stands in for the server when services are added to it, and wraps their methods.

    Done once per method: an interceptor of grpc.aio would do it anew for every call.
    """

    def __init__(self, server: grpc.aio.Server, accounts: Accounts) -> None:
        self._server = server
        self._accounts = accounts

    def add_generic_rpc_handlers(self, handlers: Sequence[Handler]) -> None:
        """Take the first half of what generated code says; the second half says it all again."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Handler]) -> None:
        """Add a service's methods to the server, wrapped."""
        wrapped = {
            name: self._wrapped(handler, f"/{service}/{name}") for name, handler in handlers.items()
        }
        handler = grpc.method_handlers_generic_handler(service, wrapped)
        self._server.add_generic_rpc_handlers((handler,))

    def _wrapped(self, handler: Handler, method: str) -> Handler:
        if handler.unary_unary is not None:
            unary = self._unary(handler, method)
            return grpc.unary_unary_rpc_method_handler(unary, None, encode)
        if handler.unary_stream is not None:
            stream = self._stream(handler, method, handler.unary_stream, decode_with)
            return grpc.unary_stream_rpc_method_handler(stream, None, encode)
        decode = _undecoded if method in UNDECODED else _decode_all
        stream = self._stream(handler, method, handler.stream_stream, decode)
        return grpc.stream_stream_rpc_method_handler(stream, None, encode)

    def _unary(self, handler: Handler, method: str) -> Callable[[bytes, Context], Awaitable[Any]]:
        seconds = SECONDS.labels(method)
        done = RPCS.labels(method, "OK")
        serve = handler.unary_unary
        parse = handler.request_deserializer

        async def unary(encoded: bytes, context: Context) -> Any:
            started = time.perf_counter()
            try:
                self._enter(context)
                answer = await serve(decode_with(parse, encoded), context)
            except Exception as error:  # noqa: BLE001  every fault becomes a status
                await _abort(context, method, error)
            seconds.observe(time.perf_counter() - started)
            done.inc()
            return answer

        return unary

    def _stream(
        self,
        handler: Handler,
        method: str,
        serve: Callable[[Any, Context], AsyncIterator[Any]],
        decode: Callable[[Any, Any], Any],
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        parse = handler.request_deserializer

        async def stream(encoded: Any, context: Context) -> AsyncIterator[Any]:
            try:
                self._enter(context)
                async for answer in serve(decode(parse, encoded), context):
                    yield answer
            except Exception as error:  # noqa: BLE001  every fault becomes a status
                await _abort(context, method, error)
            RPCS.labels(method, "OK").inc()

        return stream

    def _enter(self, context: Context) -> None:
        metadata = dict(context.invocation_metadata() or ())
        account, name = self._accounts.authenticate(metadata.get("authorization", ""))
        actor = metadata.get("namesake-actor", "") or name
        if len(actor) > 128 or not actor.isprintable():
            raise InvalidArgument(
                "the actor has at most 128 printable characters", field="namesake-actor"
            )
        _caller.set(Caller(account, actor))


def encode(message: Message | bytes) -> bytes:
    """Encode an answer; some come encoded already."""
    return message if isinstance(message, bytes) else message.SerializeToString()


def decode_with(parse: Callable[[bytes], T], encoded: bytes) -> T:
    """Return what `parse` makes of a request; raise `InvalidArgument` where that is nothing."""
    try:
        return parse(encoded)
    except DecodeError as error:
        # Also for text that is no UTF-8, which protobuf refuses.
        raise InvalidArgument("the request is not a message of this method") from error


async def _decode_all(
    parse: Callable[[bytes], Any], requests: AsyncIterator[bytes]
) -> AsyncIterator[Any]:
    async for encoded in requests:
        yield decode_with(parse, encoded)


def _undecoded(
    parse: Callable[[bytes], Any], requests: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    return requests


async def _abort(context: Context, method: str, error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, NamesakeError):
        RPCS.labels(method, code_of(error).name).inc()
        await context.abort_with_status(status_of(error))
    # The text of an unexpected exception may hold customer data: where it came from is enough.
    frames = traceback.extract_tb(error.__traceback__)
    log.error(
        "rpc_failed",
        method=method,
        error=type(error).__name__,
        at=[f"{frame.filename}:{frame.lineno}" for frame in frames[-5:]],
    )
    RPCS.labels(method, "INTERNAL").inc()
    await context.abort_with_status(status_of(NamesakeError("an unexpected fault; see the log")))
