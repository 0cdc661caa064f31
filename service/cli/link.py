"""The connection of one command: options that every remote command has, calls, and refusals."""

from __future__ import annotations

import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Concatenate, NoReturn, ParamSpec, cast

import grpc
import typer
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from service.errors import InvalidArgument, NamesakeError
from service.settings import Settings

DEADLINE_S = 30.0  # for one answer; a bulk check may wait for many look-ups
REFUSED, USAGE, ROWS_FAILED = 1, 2, 3
INTERRUPTED = 130  # 128 and SIGINT, as shells count
_MESSAGE_LIMIT = Settings.model_fields["message_limit"].default

_P = ParamSpec("_P")

ServerOption = Annotated[
    str, typer.Option("--server", envvar="NAMESAKE_SERVER", help="host:port of the server.")
]
TokenOption = Annotated[
    str, typer.Option("--token", envvar="NAMESAKE_TOKEN", help="Credential of the account.")
]
CaOption = Annotated[
    Path | None,
    typer.Option("--ca", envvar="NAMESAKE_CA", help="PEM roots to trust; TLS is on when given."),
]
OutputOption = Annotated[str, typer.Option("--output", help="CSV to write all to; - for stdout.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Write JSON lines to standard output, nothing else.")
]


@dataclass(frozen=True, slots=True)
class Link:
    """A channel to the server, with the credential of its calls and the wanted output."""

    server: str
    channel: grpc.Channel
    metadata: tuple[tuple[str, str], ...]
    as_json: bool

    def call(self, method: Callable[..., Any], request: object) -> Any:
        """Call a unary method; it answers within the deadline or fails."""
        return method(request, timeout=DEADLINE_S, metadata=self.metadata)

    def pages(self, method: Callable[..., Any], request: Any) -> Iterator[Any]:
        """Call a method that lists until there is nothing more; yield its answers."""
        while True:
            page = self.call(method, request)
            yield page
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def stream(self, method: Callable[..., Any], request: object) -> Any:
        """Call a streaming method; it may last as long as it likes."""
        return method(request, metadata=self.metadata)


@contextmanager
def _open(server: str, token: str, ca: Path | None, as_json: bool) -> Iterator[Link]:
    options = [
        ("grpc.max_receive_message_length", _MESSAGE_LIMIT),
        ("grpc.max_send_message_length", _MESSAGE_LIMIT),
        # A server that comes back is found within a second or two, not within minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
    if not (token.isascii() and token.isprintable()):
        raise InvalidArgument("a token is printable ASCII", field="--token")
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    if ca is None:
        channel = grpc.insecure_channel(server, options)
    else:
        channel = grpc.secure_channel(server, grpc.ssl_channel_credentials(_pem(ca)), options)
    try:
        yield Link(server, channel, metadata, as_json)
    except KeyboardInterrupt:
        _end()
    except BaseException:
        channel.close()
        raise
    channel.close()


def _pem(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidArgument(f"Cannot read {path}: {error.strerror}", field="--ca") from None


def remote(function: Callable[Concatenate[Link, _P], None]) -> Callable[..., None]:
    """Turn `function(link, …)` into a command: it gets the connection's options and its errors."""

    @wraps(function)
    def run(server: str, token: str, ca: Path | None, as_json: bool, **given: Any) -> None:
        with reported(server), _open(server, token, ca, as_json) as link:
            cast(Callable[..., None], function)(link, **given)

    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    shared = (
        ("server", ServerOption, Settings.model_fields["address"].default),
        ("token", TokenOption, ""),
        ("ca", CaOption, None),
        ("as_json", JsonOption, False),
    )
    named = inspect.Parameter.KEYWORD_ONLY
    every = [parameter.replace(kind=named) for parameter in own]
    every += [
        inspect.Parameter(name, named, default=default, annotation=annotation)
        for name, annotation, default in shared
    ]
    # What typer reads options from, in place of the signature of `run`.
    del run.__wrapped__
    run.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
    return run


@contextmanager
def reported(server: str = "") -> Iterator[None]:
    """Turn faults into one line on standard error and the exit status."""
    # SIGTERM takes half-written files away as ^C does, and ^C does not wait for an event loop.
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as in the background of a script
            signal.signal(number, _interrupt)
    try:
        yield
    except grpc.RpcError as error:
        complain(explain(error, server))
        raise typer.Exit(REFUSED) from None
    except NamesakeError as error:
        complain(_line(error.reason, error.field, error.message))
        raise typer.Exit(USAGE if error.field.startswith("--") else REFUSED) from None
    except UnicodeEncodeError as error:  # an argument that is no text, or a terminal's encoding
        complain(f"not text in {error.encoding}: {error.reason}")
        raise typer.Exit(REFUSED) from None
    except OSError as error:
        # What could not be written is still there: Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # the reader of our output went away (`| head`)
            complain(": ".join(filter(None, (error.filename, error.strerror or str(error)))))
        raise typer.Exit(REFUSED) from None


def _end() -> NoReturn:
    """End an interrupted command of a server, whose files are taken away by now.

    It may have been interrupted in the midst of gRPC, which then holds a lock for ever: so nothing
    is closed, and no object of it is taken down.
    """
    with suppress(OSError):  # whoever reads it may be gone, too
        complain("interrupted")
        sys.stdout.flush()
    os._exit(INTERRUPTED)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def complain(line: str) -> None:
    """Write one line to standard error."""
    typer.echo(f"namesake: {line}", err=True)


def explain(error: grpc.RpcError, server: str) -> str:
    """Return a failed call as one line: reason, field, message."""
    code, message = error.code(), error.details() or ""
    reason, ids, violations = _details(error)
    if reason:
        lines = "; ".join(_line(reason, *v) for v in violations) or _line(reason, "", message)
        return f"{lines} ({ids})" if ids else lines
    if code is not grpc.StatusCode.UNAVAILABLE:
        return _line(code.name, "", message)
    if "andshake" in message or "SSL" in message:
        return f"No TLS connection to {server}: check --ca and the server's name"
    # A server that wants TLS looks the same to a client that does not speak it.
    return (
        f"No server answers at {server}; start one with: namesake serve --address {server} "
        "(if it uses TLS, name its roots with --ca)"
    )


#: Reasons whose metadata has ids of customers, and under which name.
_IDS = {
    "CUSTOMER_MERGED": "survivor",
    "MERGE_CONFLICT": "customers",
    "DUPLICATE_FOUND": "customers",
    "DUPLICATES_AMBIGUOUS": "customers",
}


def _details(error: grpc.RpcError) -> tuple[str, str, list[tuple[str, str]]]:
    """Return the stable reason, ids and the field violations, as far as the server sent them."""
    try:
        status = rpc_status.from_call(cast(grpc.Call, error))
    except ValueError:  # details that contradict the call's code: a proxy, not our server
        status = None
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details if status else ():
        detail.Unpack(info) or detail.Unpack(bad)
    ids = info.metadata.get(_IDS.get(info.reason, ""), "")
    return (
        info.reason,
        ids.replace(",", ", "),
        [(v.field, v.description) for v in bad.field_violations],
    )


def _line(reason: str, field: str, message: str) -> str:
    return " ".join(part for part in (reason, field and f"{field}:", message) if part)
