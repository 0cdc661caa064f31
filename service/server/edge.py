"""Where a call enters: decoding, credentials, errors to status, metrics, the end of the server.

Each method of `namesake.v1` is wrapped when its service is added. Health and reflection are not.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from prometheus_client import Counter, Histogram

from service.errors import InvalidArgument, NamesakeError, ShuttingDown
from service.server.accounts import Account, Accounts
from service.server.status import code_of, status_of

log = structlog.get_logger("namesake")

RPCS = Counter("namesake_rpcs", "RPCs ended", ["method", "code"])
SECONDS = Histogram(
    "namesake_rpc_seconds",
    "Duration of unary RPCs, however they ended",
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

    def __init__(
        self, server: grpc.aio.Server, accounts: Accounts, stopping: asyncio.Event
    ) -> None:
        self._server = server
        self._accounts = accounts
        self._stopping = stopping

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

        def decoded(parse: Callable[[bytes], Any], requests: AsyncIterator[bytes]) -> Any:
            return decode(parse, until_stopping(requests, self._stopping))

        stream = self._stream(handler, method, handler.stream_stream, decoded)
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
            except asyncio.CancelledError:
                _count_cancelled(method)
                raise
            except Exception as error:  # noqa: BLE001  every fault becomes a status
                await _abort(context, method, error)
            finally:
                seconds.observe(time.perf_counter() - started)
            done.inc()
            return answer

        return unary

    def _stream(
        self,
        handler: Handler,
        method: str,
        serve: Callable[[Any, Context], AsyncGenerator[Any, None]],
        decode: Callable[[Any, Any], Any],
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        parse = handler.request_deserializer

        async def stream(encoded: Any, context: Context) -> AsyncIterator[Any]:
            try:
                self._enter(context)
                async with aclosing(serve(decode(parse, encoded), context)) as answers:
                    async for answer in answers:
                        yield answer
            except (asyncio.CancelledError, GeneratorExit):
                # The latter where the caller left while it was being sent an answer.
                _count_cancelled(method)
                raise
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


async def next_or_stopping(requests: AsyncIterator[T], stopping: asyncio.Event) -> T | None:
    """Return the next request of a stream, None at its end.

    Raises `ShuttingDown` once the server is stopping, which waits for no further request.
    """
    if not stopping.is_set():
        following = asyncio.ensure_future(anext(requests, None))
        stopped = asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait({following, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                return following.result()
        finally:
            following.cancel()
            stopped.cancel()
    raise ShuttingDown("the server is stopping; go on later or at another worker")


async def until_stopping(requests: AsyncIterator[T], stopping: asyncio.Event) -> AsyncIterator[T]:
    """Yield a stream's requests; raise `ShuttingDown` once the server is stopping."""
    while (request := await next_or_stopping(requests, stopping)) is not None:
        yield request


async def _decode_all(
    parse: Callable[[bytes], Any], requests: AsyncIterator[bytes]
) -> AsyncIterator[Any]:
    async for encoded in requests:
        yield decode_with(parse, encoded)


def _undecoded(
    parse: Callable[[bytes], Any], requests: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    return requests


async def _abort(context: Context, method: str, error: Exception) -> NoReturn:
    if isinstance(error, NamesakeError):
        RPCS.labels(method, code_of(error).name).inc()
        await context.abort_with_status(status_of(error))
    log.error("rpc_failed", method=method, **whereabouts(error))
    RPCS.labels(method, "INTERNAL").inc()
    await context.abort_with_status(status_of(NamesakeError("an unexpected fault; see the log")))
    raise AssertionError("an aborted call does not go on")


def _count_cancelled(method: str) -> None:
    # Also where its deadline passed, or the server stopped: grpc.aio does not say which.
    RPCS.labels(method, "CANCELLED").inc()


def whereabouts(error: BaseException) -> dict[str, Any]:
    """Return what may be logged of an unexpected exception: its text may hold customer data."""
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    places = [f"{frame.filename}:{frame.lineno}" for frame in frames]
    return {"error": type(error).__name__, "at": places}
