"""The wire format: what a release has shown stays, and the core's numbers are the wire's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from namesake import v1
from service.core import model
from service.identity import jobs, registry
from service.identity.results import BulkOutcome
from service.index import ChangeKind
from tests.descriptors import FILES, current, released

RELEASES = released()


def breaks(old: FileDescriptorSet, new: FileDescriptorSet) -> list[str]:
    """Return what a client of `old` would miss or misread in `new`."""
    faults: list[str] = []
    for was, now in _pairs(old.file, new.file, "file", faults):
        if was.package != now.package:
            faults.append(f"{was.name}: package")
        for one, other in _pairs(was.message_type, now.message_type, "message", faults):
            faults += _message_breaks(one, other)
        for one, other in _pairs(was.enum_type, now.enum_type, "enum", faults):
            faults += _enum_breaks(one, other)
        for one, other in _pairs(was.service, now.service, "service", faults):
            faults += _service_breaks(one, other)
    return faults


def _pairs(
    old: Sequence[Any], new: Sequence[Any], what: str, faults: list[str]
) -> Iterator[tuple[Any, Any]]:
    """Yield what both have by name; note what is gone."""
    named = {one.name: one for one in new}
    for one in old:
        if one.name in named:
            yield one, named[one.name]
        else:
            faults.append(f"{what} {one.name} is gone")


def _message_breaks(old: DescriptorProto, new: DescriptorProto) -> list[str]:
    faults: list[str] = []
    fields = {field.number: field for field in new.field}
    for field in old.field:
        now = fields.get(field.number)
        if now is None:
            faults.append(f"{old.name}.{field.name} = {field.number} is gone")
        elif _shape(field, old) != _shape(now, new):
            faults.append(f"{old.name}.{field.name} = {field.number} is another field")
    for one, other in _pairs(old.nested_type, new.nested_type, "message", faults):
        faults += _message_breaks(one, other)
    for one, other in _pairs(old.enum_type, new.enum_type, "enum", faults):
        faults += _enum_breaks(one, other)
    return faults


def _shape(field: FieldDescriptorProto, owner: DescriptorProto) -> tuple[object, ...]:
    oneof = owner.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
    return (
        field.name, field.type, field.label, field.type_name, field.json_name,
        field.proto3_optional, oneof, field.options.SerializeToString(deterministic=True),
    )  # fmt: skip


def _enum_breaks(old: EnumDescriptorProto, new: EnumDescriptorProto) -> list[str]:
    now = {value.name: value.number for value in new.value}
    return [
        f"{old.name}: {value.name} = {value.number} is {now.get(value.name, 'gone')}"
        for value in old.value
        if now.get(value.name) != value.number
    ]


def _service_breaks(old: ServiceDescriptorProto, new: ServiceDescriptorProto) -> list[str]:
    faults: list[str] = []
    for was, now in _pairs(old.method, new.method, f"method {old.name}", faults):
        if _signature(was) != _signature(now):
            faults.append(f"method {old.name}.{was.name} has another signature")
    return faults


def _signature(method: Any) -> tuple[object, ...]:
    streams = (method.client_streaming, method.server_streaming)
    return (method.input_type, method.output_type, *streams)


@pytest.mark.parametrize("name", RELEASES)
def test_todays_protos_serve_clients_of_every_release(name: str) -> None:
    """No field, value or method that a release had is gone or means something else."""
    assert breaks(RELEASES[name], current()) == []


def test_every_proto_is_looked_at() -> None:
    """The list of files is that of the folder, and there is a release to compare with."""
    folder = Path(__file__).parent.parent / "proto" / "namesake" / "v1"
    assert sorted(path.stem for path in folder.glob("*.proto")) == sorted(FILES)
    assert "v0.1.0" in RELEASES


def message(every: FileDescriptorSet, name: str) -> DescriptorProto:
    """Return a message's descriptor."""
    (found,) = [one for file in every.file for one in file.message_type if one.name == name]
    return found


def _service(every: FileDescriptorSet) -> ServiceDescriptorProto:
    return next(file for file in every.file if file.service).service[0]


def _enum(every: FileDescriptorSet) -> EnumDescriptorProto:
    return next(file for file in every.file if file.enum_type).enum_type[0]


Plant = Callable[[FileDescriptorSet], object]

PLANTED: dict[str, Plant] = {
    "a file": lambda every: every.file.pop(),
    "a message": lambda every: every.file[1].message_type.pop(),
    "a field": lambda every: message(every, "Customer").field.pop(),
    "a field's number": lambda every: setattr(message(every, "Customer").field[0], "number", 99),
    "a field's name": lambda every: setattr(message(every, "Customer").field[0], "name", "uid"),
    "a field's type": lambda every: setattr(
        message(every, "Date").field[0], "type", FieldDescriptorProto.TYPE_SINT32
    ),
    "a field's label": lambda every: setattr(
        message(every, "Customer").field[0], "label", FieldDescriptorProto.LABEL_REPEATED
    ),
    "a field's message": lambda every: setattr(
        message(every, "Customer").field[17], "type_name", ".namesake.v1.PhoneNumber"
    ),
    "a field's oneof": lambda every: (
        message(every, "CustomValue").field[0].ClearField("oneof_index")
    ),
    "a nested message": lambda every: message(every, "Customer").nested_type.pop(),
    "a map's value": lambda every: setattr(
        message(every, "Customer").nested_type[0].field[1], "type_name", ".namesake.v1.Date"
    ),
    "an enum's value": lambda every: _enum(every).value.pop(),
    "an enum's number": lambda every: setattr(_enum(every).value[1], "number", 77),
    "a service": lambda every: next(file for file in every.file if file.service).service.pop(),
    "a method": lambda every: _service(every).method.pop(),
    "a method's request": lambda every: setattr(_service(every).method[0], "input_type", ".x.Y"),
    "a method's streaming": lambda every: setattr(
        _service(every).method[0], "server_streaming", True
    ),
    "a package": lambda every: setattr(every.file[0], "package", "namesake.v2"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_the_comparison_sees_a_planted_change(name: str) -> None:
    """A removal or change of each sort is told, in one line or more."""
    changed = current()
    PLANTED[name](changed)
    assert breaks(current(), changed)


def test_additions_break_nobody() -> None:
    """New fields, values, messages and methods are allowed."""
    grown = current()
    message(grown, "Customer").field.add(name="new", number=500)
    _enum(grown).value.add(name="NEW", number=500)
    _service(grown).method.add(name="New")
    grown.file[0].message_type.add(name="New")
    assert breaks(current(), grown) == []


# The core's own enums

SAME: list[tuple[type[IntEnum], Any, str]] = [
    (model.Verdict, v1.Verdict, "VERDICT_"),
    (model.Reason, v1.Reason, "REASON_"),
    (model.Flag, v1.EmailFlag, "EMAIL_FLAG_"),
    (model.PhoneType, v1.PhoneType, "PHONE_TYPE_"),
    (model.Lookup, v1.DnsLookup, "DNS_LOOKUP_"),
    (registry.OnDuplicate, v1.OnDuplicate, "ON_DUPLICATE_"),
    (model.Outcome, v1.SaveOutcome, "SAVE_OUTCOME_"),
    (BulkOutcome, v1.BulkOutcome, "BULK_OUTCOME_"),
    (registry.MatchBy, v1.MatchBy, "MATCH_BY_"),
    (registry.OnMatch, v1.OnMatch, "ON_MATCH_"),
    (registry.OnConflict, v1.OnConflict, "ON_CONFLICT_"),
    (jobs.State, v1.ImportState, "IMPORT_STATE_"),
    (ChangeKind, v1.ChangeKind, "CHANGE_KIND_"),
    (model.ItemKind, v1.ItemKind, "ITEM_KIND_"),
]


@pytest.mark.parametrize(("own", "wire", "prefix"), SAME, ids=[one.__name__ for one, _, _ in SAME])
def test_the_cores_enums_have_the_numbers_of_the_wire(
    own: type[IntEnum], wire: Any, prefix: str
) -> None:
    """Name by name and number by number, but for UNSPECIFIED."""
    of_wire = {name.removeprefix(prefix): number for name, number in wire.items()}
    assert of_wire.pop("UNSPECIFIED") == 0
    # Skipped rows are counted by their import; no save is answered so.
    owns = {one.name: one.value for one in own if one is not model.Outcome.SKIPPED}
    assert owns == of_wire


def test_every_reason_has_its_message() -> None:
    """One sentence each, and no two alike: a reader tells reasons apart by them."""
    assert set(model.MESSAGES) == set(model.Reason)
    texts = list(model.MESSAGES.values())
    assert len(set(texts)) == len(texts)
    assert all(text and text == text.strip() for text in texts)
