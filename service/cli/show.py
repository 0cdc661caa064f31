"""What people see: tables and progress; and what programs see: JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from namesake import v1
from service.transfer.rows import PartialDate

_COLOURS = {"VALID": "green", "RISKY": "yellow", "INVALID": "red", "UNKNOWN": "cyan"}
_PIPE_COLUMNS = 160  # where nobody can say how wide the output is, do not fold tables at 80


def json_line(message: Message | dict[str, object]) -> None:
    """Write one object as a line of JSON to standard output."""
    data = message if isinstance(message, dict) else MessageToDict(message)
    typer.echo(json.dumps(data, ensure_ascii=False))


def text(line: str) -> None:
    """Write one line to standard output."""
    typer.echo(clean(line))


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, err: bool = False
) -> None:
    """Write a table to standard output, or error; columns empty throughout are left out."""
    cells = [[clean(str(cell)) for cell in row] for row in rows]
    used = [i for i in range(len(columns)) if not cells or any(row[i] for row in cells)]
    heading = Text(clean(title), style="bold") if title else None
    grid = Table(title=heading, title_justify="left", highlight=False)
    for i in used:
        right = cells and all(row[i].replace(",", "").isdigit() or not row[i] for row in cells)
        grid.add_column(columns[i], justify="right" if right else "left", overflow="fold")
    for row in cells:
        grid.add_row(*(Text(row[i], style=_COLOURS.get(row[i], "")) for i in used))
    _console(err=err).print(grid)


class _Rate(ProgressColumn):
    """How many were done in a second, since the bar was shown first."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[TaskID, int] = {}

    def render(self, task: Task) -> Text:
        """Return the average."""
        done = task.fields["done"] - self._before.setdefault(task.id, task.fields["done"])
        return Text(f"{done / task.elapsed:,.0f}/s" if task.elapsed else "")


def progress(label: str, unit: str = "rows", *, with_rate: bool = False) -> Progress:
    """Return a progress bar on standard error; silent where that is not a terminal."""
    return Progress(
        TextColumn(label),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[done]:,} " + unit),
        *((_Rate(),) if with_rate else ()),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )


def clean(value: str) -> str:
    """Make control characters visible: a name must not be able to drive the terminal."""
    return "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in value
    )


def short(value: str) -> str:
    """Drop the prefix that every value of an enum shares: VERDICT_VALID → VALID."""
    prefixes = (
        "VERDICT_", "REASON_", "CUSTOMER_STATE_", "CUSTOMER_KIND_", "CONTACT_KIND_", "GENDER_",
        "SAVE_OUTCOME_", "CHANGE_KIND_", "MATCH_ACTION_", "PHONE_TYPE_", "EMAIL_FLAG_", "CHANNEL_",
        "ITEM_KIND_", "TASK_STATUS_", "IMPORT_STATE_", "MATCH_BY_", "ON_MATCH_", "ON_CONFLICT_",
        "MERGE_REASON_",
    )  # fmt: skip
    bare = next((value[len(p) :] for p in prefixes if value.startswith(p)), value)
    return "" if bare == "UNSPECIFIED" else bare


def verdict(finding: v1.Finding) -> tuple[str, str, str]:
    """Return verdict, reason and what there is to say about it."""
    message = "" if finding.reason == v1.REASON_ACCEPTED else finding.message
    flags = (short(v1.EmailFlag.Name(flag)) for flag in finding.flags)
    return (
        short(v1.Verdict.Name(finding.verdict)),
        short(v1.Reason.Name(finding.reason)),
        remark(message, finding.detail, finding.suggested_domain, flags),
    )


def remark(message: str, detail: str, suggested_domain: str, flags: Iterable[str]) -> str:
    """Return what there is to say about a contact point in one line."""
    remarks = [message, detail, suggested_domain and f"did you mean {suggested_domain}?"]
    remarks += [flag.lower().replace("_", " ") for flag in flags]
    return "; ".join(remark for remark in remarks if remark)


def facts(customer: v1.Customer) -> dict[str, str]:
    """Return what is said of a customer by field; custom fields as custom:NAME."""
    return dict(_facts(customer))


def lines(customer: v1.Customer, field: str) -> list[str]:
    """Return what a card says of a top-level field, a line for each entry."""
    if field in ("emails", "phones"):
        return [point.normal or point.value for point in getattr(customer, field)]
    if field == "preferences":
        return [str(customer.preferences).strip()] if customer.HasField("preferences") else []
    begin = {
        "addresses": "address", "contacts": "contact", "identities": "identity:",
        "custom_fields": "custom:",
    }.get(field, field)  # fmt: skip
    told = [(name, value) for name, value in _facts(customer) if name.startswith(begin) and value]
    if begin.endswith(":"):
        return [f"{name.removeprefix(begin)}: {value}" for name, value in told]
    found = [value for _, value in told]
    return found or list(filter(None, [str(getattr(customer, field) or "")]))


def card(customer: v1.Customer) -> None:
    """Write one customer: its fields, then its contact points with their findings."""
    rows = [(name, value) for name, value in _facts(customer) if value]
    table(display_name(customer), ("field", "value"), rows)
    points = [*_points("", customer.emails, customer.phones)]
    for i, contact in enumerate(customer.contacts):
        points += _points(f"contacts[{i}].", contact.emails, contact.phones)
    if points:
        table("", ("point", "value and normal form", "kind", "verdict", "reason"), points)


def display_name(customer: v1.Customer | v1.Contact) -> str:
    """Return the name to show: a company's, or a person's. The server names duplicates so too."""
    if isinstance(customer, v1.Customer) and customer.kind == v1.CUSTOMER_KIND_COMPANY:
        return customer.company_name
    names = (customer.first_name, customer.middle_name, customer.last_name)
    return " ".join(part for part in names if part)


def _facts(customer: v1.Customer) -> Iterable[tuple[str, str]]:
    yield "id", customer.id
    yield "etag", customer.etag
    yield "kind", short(v1.CustomerKind.Name(customer.kind))
    yield "state", short(v1.CustomerState.Name(customer.state))
    if customer.HasField("update_time"):
        yield "changed", customer.update_time.ToDatetime().isoformat(" ", "seconds")
    for name in ("title", "company_name", "stage", "owner", "user_account", "comment"):
        yield name, getattr(customer, name)
    yield "gender", short(v1.Gender.Name(customer.gender))
    if customer.HasField("birth_date"):
        date = customer.birth_date
        yield "birth_date", str(PartialDate(date.year, date.month, date.day))
    for address in customer.addresses:
        parts = (*address.lines, address.postcode, address.city, address.country)
        yield "address", ", ".join(part for part in parts if part)
    for contact in customer.contacts:
        yield "contact", ", ".join(p for p in (display_name(contact), contact.position) if p)
    for identity in customer.identities:
        yield f"identity:{identity.type}", identity.value
    for name in ("tags", "sources", "campaigns", "groups"):
        yield name, ", ".join(getattr(customer, name))
    for name in sorted(customer.custom_fields):
        yield f"custom:{name}", value(customer.custom_fields[name])


def value(given: v1.CustomValue) -> str:
    """Return a value as text."""
    kind = given.WhichOneof("value")
    return "" if kind is None else str(getattr(given, kind)).strip()


def _points(
    prefix: str, emails: Iterable[v1.EmailAddress], phones: Iterable[v1.PhoneNumber]
) -> Iterable[tuple[str, ...]]:
    for i, email in enumerate(emails):
        yield f"{prefix}emails[{i}]", *_point(email)
    for i, phone in enumerate(phones):
        yield f"{prefix}phones[{i}]", *_point(phone)


def _point(point: v1.EmailAddress | v1.PhoneNumber) -> tuple[str, ...]:
    kind = short(v1.ContactKind.Name(point.kind)).lower()
    value = point.value if point.normal in ("", point.value) else f"{point.value}\n{point.normal}"
    word, reason, remark = verdict(point.finding)
    return value, kind, word, f"{reason}: {remark}" if remark else reason


def duplicates(groups: Iterable[v1.PointDuplicates]) -> None:
    """Write who else has each contact point."""
    rows: list[tuple[str, ...]] = []
    for group in groups:
        others = f"{group.count:,}{'+' if group.count_is_floor else ''} others"
        label = f"{group.field}: {others if group.count != 1 else '1 other'}"
        for other in group.customers:
            rows.append((label, other.id, _who(other), _shared(other)))
            label = ""
    if rows:
        table("Who else has it", ("point", "customer", "name", "has"), rows)
    else:
        text("Nobody else has it.")


def similar(found: v1.SimilarCustomers) -> None:
    """Write who looks like a customer, if there is anybody."""
    rows = [
        (
            other.id,
            _who(other),
            sureness(other.probability),
            action(other.action),
            "\n".join(
                [f"+ {one.text}" for one in other.supporting]
                + [f"- {one.text}" for one in other.contradicting]
            ),
        )
        for other in found.customers
    ]
    if rows:
        table("Who looks like it", ("customer", "name", "sure", "action", "because"), rows)


def orders(found: Iterable[v1.PointOrders]) -> None:
    """Write which orders of others have a contact point, if there are any."""
    rows: list[tuple[str, ...]] = []
    for group in found:
        label = f"{group.field}: {group.normal}"
        for order in group.orders:
            when = order.time.ToDatetime().isoformat(" ", "seconds")
            rows.append((label, order.item_id, order.subject, order.customer_id, when))
            label = ""
        if group.more:
            rows.append((label, "…", "there are more", "", ""))
    if rows:
        table("Orders with it", ("point", "item", "order", "customer", "time"), rows)


def sureness(probability: float) -> str:
    """Return a probability in per cent; nothing is certain."""
    return f"{min(max(probability, 0.001), 0.999):.1%}"


def action(recommended: v1.MatchAction.ValueType) -> str:
    """Return what to do about a pair, in a word."""
    return short(v1.MatchAction.Name(recommended)).lower()


def _who(other: v1.Duplicate | v1.SimilarCustomer) -> str:
    archived = other.state == v1.CUSTOMER_STATE_ARCHIVED
    return other.display_name + (" (archived)" if archived else "")


def _shared(other: v1.Duplicate) -> str:
    if other.current:
        return f"{other.shared} (this customer)"
    return other.shared if other.same_normal else f"{other.shared} (by match key)"


def _console(*, err: bool) -> Console:
    shown = (sys.stderr if err else sys.stdout).isatty()
    return Console(stderr=err) if shown else Console(stderr=err, width=_PIPE_COLUMNS)
