"""Commands for single customers: save, get, resolve, duplicates, history, delete."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict, Parse, ParseError

from namesake import v1
from service.cli import show
from service.cli.changes import show_change
from service.cli.convert import to_customer
from service.cli.link import REFUSED, Link, remote
from service.core.model import Identity
from service.core.regions import region_fault
from service.errors import InvalidArgument
from service.transfer import words
from service.transfer.files import STANDARD_STREAM
from service.transfer.rows import PartialDate, Reach, Row

BATCH_LIMIT = 1_000  # ids or identities in one request
OUTPUT_ONLY = frozenset({"id", "etag", "create_time", "update_time"})  # of Customer


class OnDuplicate(StrEnum):
    """What a save does where somebody else has the same e-mail, phone or identity."""

    REPORT = "report"
    REJECT = "reject"
    ATTACH = "attach"


class Kind(StrEnum):
    """What a customer is."""

    PERSON = "person"
    COMPANY = "company"


class Gender(StrEnum):
    """Gender as given."""

    FEMALE = "female"
    MALE = "male"
    OTHER = "other"


def _region(code: str) -> str:
    if code and (fault := region_fault(code.upper())):
        raise typer.BadParameter(fault)
    return code.upper()


RegionOption = Annotated[
    str,
    typer.Option(
        "--region", callback=_region, help="Country of phones without a country code (GB, DE …)."
    ),
]


@remote
def save(
    link: Link,
    customer_id: Annotated[
        str, typer.Option("--id", help="Own id; given by the server if not.")
    ] = "",
    etag: Annotated[str, typer.Option(help="Save only if unchanged since this was read.")] = "",
    kind: Annotated[Kind | None, typer.Option(help="By default a person.")] = None,
    title: Annotated[str, typer.Option(help='"Dr", "Frau" …')] = "",
    first_name: Annotated[str, typer.Option(help="First name.")] = "",
    middle_name: Annotated[str, typer.Option(help="Middle name or patronymic.")] = "",
    last_name: Annotated[str, typer.Option(help="Last name; required for a person.")] = "",
    gender: Annotated[Gender | None, typer.Option(help="As given, not guessed.")] = None,
    birth_date: Annotated[
        str, typer.Option(help="YYYY-MM-DD, YYYY-MM, a year, --MM-DD or --MM.")
    ] = "",
    company: Annotated[str, typer.Option(help="Company name; required for a company.")] = "",
    email: Annotated[
        list[str] | None, typer.Option(metavar="EMAIL", help="E-mail; repeatable.")
    ] = None,
    phone: Annotated[
        list[str] | None, typer.Option(metavar="PHONE", help="Phone; repeatable.")
    ] = None,
    mobile: Annotated[
        list[str] | None, typer.Option(metavar="PHONE", help="Mobile phone; repeatable.")
    ] = None,
    identity: Annotated[
        list[str] | None, typer.Option(metavar="TYPE=VALUE", help="TYPE=VALUE; repeatable.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="TAG", help="Tag; repeatable.")] = None,
    source: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE", help="Source; repeatable.")
    ] = None,
    comment: Annotated[str, typer.Option(help="Free text.")] = "",
    json_input: Annotated[
        str, typer.Option(help="All fields: a file with a Customer as JSON, or - for stdin.")
    ] = "",
    only_given: Annotated[
        bool, typer.Option("--only-given", help="Change only the fields given; needs --id.")
    ] = False,
    on_duplicate: Annotated[
        OnDuplicate | None,
        typer.Option(help="If somebody else has a contact point; by default report."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all, store nothing.")] = False,
    region: RegionOption = "",
) -> None:
    """Create or replace one customer; say what is valid and who else has it.

    The card is replaced as a whole; with --only-given, the other fields stay.

    Examples:
      namesake save --first-name Ada --last-name Lovelace --email ada@example.org
      namesake save --id c-1 --only-given --phone '+44 20 7946 0018'
      namesake get c-1 --json | jq '.stage="won"' | namesake save --json-input -
    """
    row = Row(
        id=customer_id,
        kind=kind.value if kind else "",
        title=title,
        first_name=first_name,
        middle_name=middle_name,
        last_name=last_name,
        gender=gender.value if gender else "",
        birth_date=_birth_date(birth_date),
        company_name=company,
        comment=comment,
        emails=tuple(Reach(value) for value in email or ()),
        phones=(
            *(Reach(value) for value in phone or ()),
            *(Reach(value, "mobile") for value in mobile or ()),
        ),
        tags=tuple(tag or ()),
        sources=tuple(source or ()),
        identities=tuple(_identity(option) for option in identity or ()),
    )
    if json_input and row != Row():
        raise typer.BadParameter("give the fields either as options or by --json-input")
    if only_given and on_duplicate:
        raise typer.BadParameter("--only-given takes no --on-duplicate: it changes one customer")
    customer = _from_json(json_input) if json_input else to_customer(row)
    if etag:
        customer.etag = etag
    if only_given:
        saved = _update(link, customer, dry_run=dry_run, region=region)
    else:
        saved = link.call(
            v1.CustomerServiceStub(link.channel).SaveCustomer,
            v1.SaveCustomerRequest(
                customer=customer,
                on_duplicate=v1.OnDuplicate.Value(
                    f"ON_DUPLICATE_{(on_duplicate or OnDuplicate.REPORT).name}"
                ),
                validate_only=dry_run,
                default_region=region,
            ),
        )
    _show_saved(link, saved, dry_run=dry_run)


def _update(
    link: Link, customer: v1.Customer, *, dry_run: bool, region: str
) -> v1.UpdateCustomerResponse:
    if not customer.id:
        raise typer.BadParameter("--only-given needs the id of the customer")
    given = [field.name for field, _ in customer.ListFields()]
    mask = FieldMask(paths=[name for name in given if name not in OUTPUT_ONLY])
    request = v1.UpdateCustomerRequest(
        customer=customer, update_mask=mask, validate_only=dry_run, default_region=region
    )
    response: v1.UpdateCustomerResponse = link.call(
        v1.CustomerServiceStub(link.channel).UpdateCustomer, request
    )
    return response


def _show_saved(
    link: Link, saved: v1.SaveCustomerResponse | v1.UpdateCustomerResponse, *, dry_run: bool
) -> None:
    if link.as_json:
        show.json_line(saved)
        return
    outcome = show.short(v1.SaveOutcome.Name(saved.outcome)).lower()
    show.text(f"{'would be ' if dry_run else ''}{outcome}: {saved.customer.id}")
    show.card(saved.customer)
    for group in saved.duplicates:  # it is clear who this customer is
        others = [other for other in group.customers if not other.current]
        del group.customers[:]
        group.customers.extend(others)
    show.duplicates(saved.duplicates)
    show.similar(saved.similar)


def _birth_date(text: str) -> PartialDate | None:
    date = words.date(text) if text else None
    if text and date is None:
        raise InvalidArgument("is not a date that is clear: write YYYY-MM-DD", field="--birth-date")
    return date


def _identity(option: str) -> Identity:
    kind, equals, value = option.partition("=")
    if not equals:
        raise InvalidArgument(f"{option!r} is not TYPE=VALUE", field="--identity")
    return Identity(kind, value)


def _from_json(path: str) -> v1.Customer:
    try:
        text = sys.stdin.read() if path == STANDARD_STREAM else Path(path).read_text("utf-8-sig")
        return Parse(text, v1.Customer())
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"Cannot read {path}: {error}", field="--json-input") from None
    except ParseError as error:
        raise InvalidArgument(f"Not a Customer in JSON: {error}", field="--json-input") from None


@remote
def get(
    link: Link, ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Customer ids.")]
) -> None:
    """Show customers by id; ids that were merged lead to the survivor.

    Examples:
      namesake get c-1 c-2 --json
    """
    stub = v1.CustomerServiceStub(link.channel)
    missing = False
    for start in range(0, len(ids), BATCH_LIMIT):
        request = v1.BatchGetCustomersRequest(ids=ids[start : start + BATCH_LIMIT])
        for result in link.call(stub.BatchGetCustomers, request).results:
            missing |= not result.HasField("customer")
            _show_result(link, result)
    if missing:
        raise typer.Exit(REFUSED)


def _show_result(link: Link, result: v1.CustomerResult) -> None:
    if not result.HasField("customer"):
        typer.echo(f"namesake: NOT_FOUND {show.clean(result.id)}: no such customer", err=True)
    elif link.as_json:
        show.json_line(result.customer)
    else:
        show.card(result.customer)


@remote
def resolve(
    link: Link,
    values: Annotated[list[str], typer.Argument(metavar="VALUE...", help="Values to look up.")],
    identity_type: Annotated[
        str,
        typer.Option("--type", help="email, phone, customer or another; by default by its look."),
    ] = "",
    region: RegionOption = "",
) -> None:
    """Say which customers hold an e-mail, a phone, a customer id or another identity.

    Examples:
      namesake resolve ada@example.org '+44 20 7946 0018'
      namesake resolve --type loyalty 4711
    """
    stub = v1.CustomerServiceStub(link.channel)
    queries = [
        v1.IdentityQuery(type=identity_type or _look(value), value=value) for value in values
    ]
    results: list[v1.ResolvedIdentity] = []
    for start in range(0, len(queries), BATCH_LIMIT):
        request = v1.ResolveIdentitiesRequest(
            identities=queries[start : start + BATCH_LIMIT], default_region=region
        )
        results += link.call(stub.ResolveIdentities, request).results
    if link.as_json:
        for result in results:
            show.json_line(result)
    else:
        rows = (row for result in results for row in _matches(result))
        show.table("", ("identity", "customer", "note"), rows)


def _look(value: str) -> str:
    """Say what a value seems to be: with an @ an e-mail, mostly digits a phone, else an id."""
    if "@" in value:
        return "email"
    number = r"tel:.*|\+?[\d\s().\-/]{5,}"
    return "phone" if re.fullmatch(number, value) else "customer"


def _matches(result: v1.ResolvedIdentity) -> Iterator[Sequence[str]]:
    asked = f"{result.identity.type} {result.identity.value}"
    if result.normal != result.identity.value:
        asked = f"{asked}\n{result.normal or '(no normal form)'}"
    if not result.matches:
        yield asked, "nobody", ""
    for match in result.matches:
        yield asked, match.customer_id, "" if match.same_normal else "by match key"
        asked = ""
    if result.more:
        yield asked, "…", "there are more"


@remote
def duplicates(
    link: Link,
    customer_id: Annotated[str, typer.Argument(metavar="[ID]", help="A stored customer.")] = "",
    email: Annotated[
        list[str] | None, typer.Option(metavar="EMAIL", help="Who has it? Repeatable.")
    ] = None,
    phone: Annotated[
        list[str] | None, typer.Option(metavar="PHONE", help="Who has it? Repeatable.")
    ] = None,
    page_size: Annotated[int, typer.Option(min=1, max=1_000, help="Others per point.")] = 5,
    page_token: Annotated[str, typer.Option(help="Go on with one point (see --json).")] = "",
    region: RegionOption = "",
) -> None:
    """List who else has the e-mails, phones and identities of a customer, or those given.

    Behind them come those who look like the customer, with what speaks for it and against it, and
    orders of others with the same e-mail or phone.

    Examples:
      namesake duplicates c-1
      namesake duplicates --email ada@example.org --phone '+44 20 7946 0018'
    """
    if bool(customer_id) == bool(email or phone):
        raise typer.BadParameter("give either an id, or e-mails and phones")
    request = v1.ListDuplicatesRequest(
        page_size=page_size, page_token=page_token, default_region=region
    )
    if customer_id:
        request.id = customer_id
    else:
        request.draft.emails.extend(v1.EmailAddress(value=value) for value in email or ())
        request.draft.phones.extend(v1.PhoneNumber(value=value) for value in phone or ())
    response = link.call(v1.DuplicateServiceStub(link.channel).ListDuplicates, request)
    if link.as_json:
        for group in response.groups:
            show.json_line(group)
        for other in response.similar.customers:
            show.json_line({"similar": MessageToDict(other)})
        for orders in response.orders:
            show.json_line({"orders": MessageToDict(orders)})
    else:
        show.duplicates(response.groups)
        show.similar(response.similar)
        show.orders(response.orders)


@remote
def history(
    link: Link,
    customer_id: Annotated[str, typer.Argument(metavar="ID", help="The customer.")],
    limit: Annotated[int, typer.Option(min=1, help="How many changes at most.")] = 50,
) -> None:
    """List what happened to a customer, newest first, field by field.

    Examples:
      namesake history c-1
    """
    stub = v1.CustomerServiceStub(link.channel)
    request = v1.ListHistoryRequest(id=customer_id)
    while limit > 0:
        request.page_size = min(limit, 1_000)
        response = link.call(stub.ListHistory, request)
        for change in response.changes:
            show_change(link, change)
        limit -= len(response.changes)
        request.page_token = response.next_page_token
        if not request.page_token:
            break


@remote
def delete(
    link: Link,
    customer_id: Annotated[str, typer.Argument(metavar="ID", help="The customer.")],
    reason: Annotated[str, typer.Option(help="Why; kept, so it should not name the person.")],
    etag: Annotated[str, typer.Option(help="Delete only if unchanged since this was read.")] = "",
) -> None:
    """Delete a customer with its history, for ever.

    Examples:
      namesake delete c-1 --reason 'asked to be forgotten'
    """
    request = v1.DeleteCustomerRequest(id=customer_id, reason=reason, etag=etag)
    response = link.call(v1.CustomerServiceStub(link.channel).DeleteCustomer, request)
    if link.as_json:
        show.json_line(response)
    else:
        show.text(f"deleted: {customer_id}")
