"""What filters and choices of fields are to answer, by the message of protobuf."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

from namesake import v1
from service.core._select import Filter

NUMBERS = {field.number: field.name for field in v1.Customer.DESCRIPTOR.fields}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a filter is made of."""

    tags: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    campaigns: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    updated_since_us: int | None = None
    kind: int = 0
    state: int = 0
    email_verdicts: tuple[int, ...] = ()
    phone_verdicts: tuple[int, ...] = ()

    def filter(self) -> Filter:
        """Compile it."""
        return Filter(**asdict(self))

    def means(self, customer: v1.Customer) -> bool:
        """Say of a message whether it is meant."""
        updated = customer.update_time
        us = updated.seconds * 1_000_000 + updated.nanos // 1_000
        return (
            _one_of(self.tags, customer.tags)
            and _one_of(self.sources, customer.sources)
            and _one_of(self.campaigns, customer.campaigns)
            and _one_of(self.groups, customer.groups)
            and (self.updated_since_us is None or us >= self.updated_since_us)
            and self.kind in (0, customer.kind)
            and self.state in (0, customer.state)
            and _one_of(self.email_verdicts, [one.finding.verdict for one in customer.emails])
            and _one_of(self.phone_verdicts, [one.finding.verdict for one in customer.phones])
        )


def _one_of(wanted: Sequence[object], there: Sequence[object]) -> bool:
    return not wanted or bool(set(wanted) & set(there))


def shown(record: bytes, numbers: Collection[int]) -> v1.Customer:
    """Return what is shown of a record where these fields are chosen; none means all."""
    customer = v1.Customer.FromString(record)
    for number, name in NUMBERS.items():
        if numbers and number not in numbers:
            customer.ClearField(name)  # type: ignore[arg-type]
    customer.DiscardUnknownFields()
    return customer


def unframed(message: bytes) -> list[v1.Customer]:
    """Return the customers of an encoded response, as `shown` does."""
    found = list(v1.ExportCustomersResponse.FromString(message).customers)
    for customer in found:
        customer.DiscardUnknownFields()
    return found
