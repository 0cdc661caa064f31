"""The command that exports customers to a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any, BinaryIO

import grpc
import typer
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToJson

from namesake import v1
from service.cli import show
from service.cli.filters import filtered
from service.cli.link import Link, remote
from service.cli.retry import Retry
from service.errors import InvalidArgument
from service.transfer import exported
from service.transfer.files import STANDARD_STREAM, CsvWriter, whole
from service.transfer.writers import Writer, writing

_SIZE_BYTES = 4  # before each table that waits on disk


class Format(StrEnum):
    """What a file is written in."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    XLSX = "xlsx"


_ENDINGS = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSONL,
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".xlsx": Format.XLSX,
}


@remote
@filtered
def export_file(
    link: Link,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Its ending says which; - for stdout.")
    ],
    file_format: Annotated[
        Format | None, typer.Option("--format", help="By default by the file's ending, or CSV.")
    ] = None,
    fields: Annotated[
        str, typer.Option(help="Fields of Customer, with commas: id,last_name,emails.")
    ] = "",
    active_only: Annotated[bool, typer.Option("--active-only", help="Leave out archived.")] = False,
    delimiter: Annotated[str, typer.Option(help="Of a CSV file.")] = ",",
    *,
    chosen: v1.CustomerFilter,
) -> None:
    """Write customers of one consistent snapshot to a file that `namesake import` reads.

    JSONL has everything. Tables have no columns for contacts, consent by channel and further
    addresses; the times of a customer only if --fields names them. A broken connection is resumed,
    in a newer snapshot. The file appears when it is whole.

    Examples:
      namesake export customers.jsonl
      namesake export risky.parquet --email-verdict risky --email-verdict invalid
      namesake export - --format csv --fields id,last_name,emails --tag vip | head
    """
    request = v1.ExportCustomersRequest(active_only=active_only, filter=chosen)
    if fields:
        request.fields.CopyFrom(FieldMask(paths=fields.replace(" ", "").split(",")))
    written_as = file_format or _ENDINGS.get(Path(file).suffix.lower(), Format.CSV)
    export = _Export(link, request)
    if written_as is Format.JSONL:
        with whole(file) as stream:
            _write_lines(export.answers(), stream)
    else:
        request.form = v1.EXPORT_FORM_ARROW
        _refuse_early(file, delimiter)
        kind: Any = written_as.value
        _write_table(
            export.answers(),
            partial(writing, file, kind=kind, delimiter=delimiter),
            request.fields.paths,
        )
    if link.as_json and file != STANDARD_STREAM:
        show.json_line({"file": file, "customers": export.count, "sequence": export.sequence})
    else:
        typer.echo(f"{export.count:,} customers, as of change {export.sequence}", err=True)


class _Export:
    """An export, and how far it is; a broken stream goes on where it was."""

    def __init__(self, link: Link, request: v1.ExportCustomersRequest) -> None:
        self.count = 0
        self.sequence = 0
        self._link = link
        self._request = request
        self._retry = Retry()

    def answers(self) -> Iterator[v1.ExportCustomersResponse]:
        """Yield the messages of the whole export, each once, and show how far it is."""
        with show.progress("exporting", with_rate=True) as bar:
            task = bar.add_task("", total=None, done=0)
            looked_at = before = 0  # by this stream, and by those that broke
            while True:
                try:
                    for answer in self._stream():
                        yield answer
                        looked_at = before + int(answer.looked_at)
                        # A resumed export has a newer snapshot; what was sent first has the older.
                        self.sequence = self.sequence or int(answer.sequence)
                        self.count += int(answer.rows)
                        self._request.after = answer.resume_token
                        self._retry.progressed()
                        bar.update(
                            task, total=int(answer.total), completed=looked_at, done=self.count
                        )
                except grpc.RpcError as error:
                    self._retry.wait_or_raise(error)
                    before = looked_at
                else:
                    return

    def _stream(self) -> Iterator[v1.ExportCustomersResponse]:
        stub = v1.TransferServiceStub(self._link.channel)
        answers: Iterator[v1.ExportCustomersResponse] = self._link.stream(
            stub.ExportCustomers, self._request
        )
        return answers


def _write_lines(answers: Iterable[v1.ExportCustomersResponse], stream: BinaryIO) -> None:
    """Write a customer to a line: whole messages, which no table has room for."""
    for answer in answers:
        for customer in answer.customers:
            stream.write(MessageToJson(customer, indent=None, ensure_ascii=False).encode())
            stream.write(b"\n")


def _refuse_early(file: str, delimiter: str) -> None:
    """Refuse what would be refused only after all customers have come."""
    CsvWriter(BytesIO(), (), delimiter=delimiter)
    folder = Path(file).parent
    if file != STANDARD_STREAM and not os.access(folder, os.W_OK):
        reason = "it may not be written there" if folder.is_dir() else "there is no such folder"
        raise InvalidArgument(f"Cannot write {file}: {reason}")


def _write_table(
    answers: Iterable[v1.ExportCustomersResponse],
    writer: Callable[[Any], AbstractContextManager[Writer]],
    fields: Sequence[str],
) -> None:
    """Write columns in two passes: which there are is known only after the last customer.

    The first pass keeps the tables on disk, as what is exported may be larger than the memory.
    """
    with TemporaryFile() as spool:
        types = _types(_usual(fields))
        for answer in answers:
            if answer.arrow:
                table = exported.read_stream(answer.arrow)
                table = exported.for_file(table, with_times=bool(fields))
                types |= _types(table)
                stream = exported.arrow_stream(table)
                spool.write(len(stream).to_bytes(_SIZE_BYTES) + stream)
        if not types:
            raise InvalidArgument("a table has no column for these; write JSONL", field="--fields")
        spool.seek(0)
        with writer(exported.schema_of(types)) as file:
            while size := spool.read(_SIZE_BYTES):
                file.write(exported.read_stream(spool.read(int.from_bytes(size))))


def _types(table: Any) -> dict[str, Any]:
    return dict(zip(table.schema.names, table.schema.types, strict=True))


def _usual(fields: Sequence[str]) -> Any:
    """Return a table of nobody, with the columns that it has whoever is exported."""
    known = v1.Customer.DESCRIPTOR.fields_by_name
    numbers = [known[name].number for name in fields if name in known]
    nobody = exported.arrow_table((), numbers)
    return exported.for_file(nobody, with_times=bool(fields))
