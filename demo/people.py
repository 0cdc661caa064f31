"""Made-up customers, as a CRM has them: many countries and scripts, duplicates, broken values.

    python -m demo.people --rows 1000 --seed 7 --output people.csv

The same seed gives the same people; a larger size goes on where a smaller one ended. Nothing is
kept in memory: whoever a duplicate repeats is made again from the seed and their number. Any
likeness to real people is chance.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import TextIO

import phonenumbers
from google.protobuf.json_format import MessageToJson
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from demo.names import COUNTRIES, Country, Name
from namesake import v1

DUPLICATES = 0.12  # rows that show an earlier customer once more
BROKEN = 0.06  # rows with a value that is no e-mail or phone, or a doubtful one
NAMELESS = 0.008  # rows of persons without the last name that is required
COMPANIES = 0.10
HOUSEHOLDS = 0.12  # people who share home, phone and last name with somebody before them

_DISPOSABLE = ("mailinator.com", "guerrillamail.com", "yopmail.com", "10minutemail.com")
_TYPOS = {"gmail.com": "gmial.com", "hotmail.com": "hotmial.com", "yahoo.com": "yaho.com"}
_LOCAL_PARTS = ("{0}.{1}{2}", "{0}{1}{2}", "{0}_{1}{2}", "{3}.{1}{2}", "{1}.{0}{2}", "{0}9{2}")
_TAGS = ("vip", "newsletter", "b2b", "reseller", "trial", "churned", "event-2025", "loyal", "press")
_SOURCES = ("website", "phone call", "trade fair", "referral", "shop", "webinar", "cold call")
_STAGES = ("lead", "qualified", "proposal", "won", "lost")
_POSITIONS = ("Managing director", "Purchasing", "Accounts", "Head of sales", "Reception", "CTO")
_TRADES = ("group", "trade", "tech", "partners", "shop", "service", "works", "online", "labs")

# Stems of patronymics, to which -ович or -овна is added.
_FATHERS = (
    "Александр", "Иван", "Виктор", "Олег", "Антон", "Борис", "Владимир", "Михайл", "Павл",
    "Роман", "Степан", "Петр",
)  # fmt: skip
_LATIN = str.maketrans(
    {"ß": "ss", "ø": "o", "ł": "l", "Ł": "L", "ı": "i", "đ": "d", "æ": "ae", "œ": "oe", "Ø": "O"}
)
_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})


@dataclass(frozen=True, slots=True)
class Point:
    """An e-mail or phone as somebody wrote it; `kind` is a ContactKind in lower case, or ""."""

    value: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A contact of a company."""

    first_name: str
    last_name: str
    position: str
    email: str
    phone: str


@dataclass(frozen=True, slots=True)
class Person:
    """One row of a customer list: a person or a company. `entity` says who it truly is."""

    entity: int
    id: str
    country: Country
    company: bool = False
    title: str = ""
    first_name: str = ""
    middle_name: str = ""
    last_name: str = ""
    gender: str = ""
    birth_date: tuple[int, int, int] | None = None
    company_name: str = ""
    emails: tuple[Point, ...] = ()
    phones: tuple[Point, ...] = ()
    street: str = ""
    city: str = ""
    postcode: str = ""
    tags: tuple[str, ...] = ()
    source: str = ""
    stage: str = ""
    comment: str = ""
    loyalty: str = ""
    members: tuple[Member, ...] = ()
    latin: Name = field(default=("", ""))  # first and last name in Latin letters
    duplicate: bool = False  # an earlier row shows the same entity
    broken: bool = False  # a contact point was broken on purpose


def people(size: int, seed: int = 7, *, local: bool = False) -> Iterator[Person]:
    """Yield `size` rows.

    With `local`, everybody's phone may be written as it is dialled at home, to be read with the
    row's country; otherwise only in the United States, the default region of a new account.
    """
    rng = Random(f"{seed}:rows")
    entities = 0
    for number in range(1, size + 1):
        again = entities > 0 and rng.random() < DUPLICATES
        entity = rng.randrange(entities) if again else entities
        entities += not again
        person = replace(_entity(seed, entity, local), id=f"C-{number:07}")
        if again:
            person = _seen_again(Random(f"{seed}:again:{number}"), person, local)
        elif rng.random() < BROKEN:
            person = _broken(rng, person)
        if not person.company and rng.random() < NAMELESS:
            person = replace(person, last_name="")
        yield person


def _entity(seed: int, entity: int, local: bool) -> Person:
    """Return who an entity is; some share their home with an earlier one."""
    person = _alone(seed, entity, local)
    rng = Random(f"{seed}:home:{entity}")
    if not entity or person.company or rng.random() >= HOUSEHOLDS:
        return person
    tries = (_alone(seed, rng.randrange(entity), local) for _ in range(8))
    other = next((one for one in tries if _may_share(person, one)), None)
    if other is None:
        return person
    own = tuple(phone for phone in person.phones if phone.kind == "mobile")
    return replace(
        person,
        last_name=other.last_name,
        latin=(person.latin[0], other.latin[1]),
        phones=(*own, replace(other.phones[0], kind="home")),
        street=other.street,
        city=other.city,
        postcode=other.postcode,
    )


def _may_share(person: Person, other: Person) -> bool:
    return not other.company and bool(other.phones) and other.country == person.country


def _alone(seed: int, entity: int, local: bool) -> Person:
    rng = Random(f"{seed}:{entity}")
    (country,) = rng.choices(COUNTRIES, cum_weights=_WEIGHTS)
    company = rng.random() < COMPANIES
    base = _company(rng, entity, country, local) if company else _human(rng, entity, country, local)
    city, postcode = rng.choice(country.cities)
    number = str(rng.randint(1, 180))
    return replace(
        base,
        street=rng.choice(country.streets).format(number) if rng.random() < 0.8 else "",
        city=city,
        postcode=re.sub("#", lambda _: str(rng.randint(0, 9)), postcode),
        tags=tuple(rng.sample(_TAGS, rng.choice((0, 0, 1, 1, 2, 3)))),
        source=rng.choice(_SOURCES),
        stage=rng.choice(_STAGES) if rng.random() < 0.5 else "",
        loyalty=f"{rng.randrange(10**9):09}" if rng.random() < 0.3 else "",
    )


_WEIGHTS = tuple(accumulate(country.weight for country in COUNTRIES))


def _human(rng: Random, entity: int, country: Country, local: bool) -> Person:
    female = rng.random() < 0.5
    first = rng.choice(country.female if female else country.male)
    last = _last_name(rng.choice(country.last), country, female=female)
    middle = _middle_name(rng, country, female=female)
    employed = rng.random() < 0.25
    employer, domain = _employer(rng, country) if employed else ("", "")
    return Person(
        entity=entity,
        id="",
        country=country,
        title=rng.choice(("Dr.", "Dr.", "Prof.")) if rng.random() < 0.04 else "",
        first_name=first[0],
        middle_name=middle,
        last_name=last[0],
        gender=("female" if female else "male") if rng.random() < 0.85 else "",
        birth_date=_birth_date(rng) if rng.random() < 0.7 else None,
        company_name=employer,
        emails=_emails(rng, country, first[1], last[1], domain),
        phones=_phones(rng, country, local, employed=employed),
        comment="Prefers to be called in the evening" if rng.random() < 0.03 else "",
        latin=(first[1], last[1]),
    )


def _company(rng: Random, entity: int, country: Country, local: bool) -> Person:
    name, domain = _employer(rng, country)
    members = tuple(_member(rng, country, domain, local) for _ in range(rng.randint(1, 3)))
    office = Point(_phone(rng, country.code, PhoneNumberType.FIXED_LINE, local), "office")
    return Person(
        entity=entity,
        id="",
        country=country,
        company=True,
        company_name=name,
        emails=(Point(f"{rng.choice(('info', 'office', 'sales', 'contact'))}@{domain}", "office"),),
        phones=(office,),
        members=members,
        latin=("", domain.partition(".")[0]),
    )


def _member(rng: Random, country: Country, domain: str, local: bool) -> Member:
    female = rng.random() < 0.5
    first = rng.choice(country.female if female else country.male)
    last = _last_name(rng.choice(country.last), country, female=female)
    phone = ""
    if rng.random() < 0.6:
        phone = _phone(rng, country.code, PhoneNumberType.MOBILE, local)
    return Member(
        first_name=first[0],
        last_name=last[0],
        position=rng.choice(_POSITIONS),
        email=f"{ascii_word(first[1])}.{ascii_word(last[1])}@{domain}",
        phone=phone,
    )


def _employer(rng: Random, country: Country) -> tuple[str, str]:
    name = rng.choice(country.last)
    stem = f"{ascii_word(name[1])}-{rng.choice(_TRADES)}"
    number = str(rng.randint(2, 99)) if rng.random() < 0.4 else ""
    return rng.choice(country.companies).format(name[0]), f"{stem}{number}.{country.company_domain}"


def _last_name(name: Name, country: Country, *, female: bool) -> Name:
    if country.code == "RU" and female and name[0].endswith(("ов", "ев", "ёв", "ин")):
        return f"{name[0]}а", f"{name[1]}a"
    return name


def _middle_name(rng: Random, country: Country, *, female: bool) -> str:
    if country.code == "RU" and rng.random() < 0.8:
        return rng.choice(_FATHERS) + ("овна" if female else "ович")
    if country.code == "US" and rng.random() < 0.3:
        return rng.choice("ABCDEFGHJKLMNPRST") + "."
    return ""


def _birth_date(rng: Random) -> tuple[int, int, int]:
    return rng.randint(1938, 2007), rng.randint(1, 12), rng.randint(1, 28)


def _emails(rng: Random, country: Country, first: str, last: str, domain: str) -> tuple[Point, ...]:
    local = _local_part(rng, first, last)
    private = Point(f"{local}@{_provider(rng, country)}", rng.choice(("", "home")))
    work = Point(f"{ascii_word(first)}.{ascii_word(last)}@{domain}", "work")
    drawn = rng.random()
    if domain:
        return (work,) if drawn < 0.6 else (private, work)
    return (private,) if drawn < 0.88 else ()


def _provider(rng: Random, country: Country) -> str:
    # Every second one is at the country's first choice of provider.
    return country.providers[0] if rng.random() < 0.5 else rng.choice(country.providers)


def _local_part(rng: Random, first: str, last: str) -> str:
    one, two = ascii_word(first), ascii_word(last)
    number = rng.choice(("", str(rng.randint(1, 999)), str(rng.randint(60, 99))))
    form = rng.choice(
        ("{0}.{1}{2}", "{0}{1}{2}", "{0}_{1}{2}", "{3}.{1}{2}", "{1}.{0}{2}", "{0}{2}9")
    )
    return form.format(one, two, number, one[:1])


def ascii_word(name: str) -> str:
    """Return a name in Latin letters as its bearer would write it in an address."""
    return re.sub(r"[^a-z0-9]+", "", _plain(name.translate(_GERMAN)).casefold())


def _plain(name: str) -> str:
    """Drop the marks of Latin letters."""
    decomposed = unicodedata.normalize("NFKD", name.translate(_LATIN))
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def _phones(rng: Random, country: Country, local: bool, *, employed: bool) -> tuple[Point, ...]:
    drawn = rng.random()
    if drawn < 0.08:
        return ()
    phones = [Point(_phone(rng, country.code, PhoneNumberType.MOBILE, local), "mobile")]
    if drawn > 0.8:
        kind = "work" if employed else "home"
        phones.append(Point(_phone(rng, country.code, PhoneNumberType.FIXED_LINE, local), kind))
    return tuple(phones)


def _phone(rng: Random, region: str, number_type: int, local: bool) -> str:
    """Return a number in a range that is in use, written in one of many ways."""
    example, prefixes = _ranges(region, number_type)
    for _ in range(20):
        prefix = rng.choice(prefixes)
        tail = "".join(rng.choices("0123456789", k=len(str(example.national_number)) - len(prefix)))
        number = phonenumbers.PhoneNumber()
        number.merge_from(example)
        number.national_number = int(prefix + tail)
        if phonenumbers.is_valid_number(number):
            return _written(rng, number, region, local)
    return _written(rng, example, region, local)


@lru_cache(maxsize=64)
def _ranges(region: str, number_type: int) -> tuple[phonenumbers.PhoneNumber, tuple[str, ...]]:
    """Return an example and some beginnings of numbers whose other digits are free."""
    example = phonenumbers.example_number_for_type(region, number_type)
    if example is None:
        raise ValueError(f"no numbers of this type in {region}")
    digits, rng = str(example.national_number), Random(f"{region}:{number_type}")
    free = min(6, len(digits) - 2)
    found = {digits[:-free]}
    probe = phonenumbers.PhoneNumber()
    probe.merge_from(example)
    for _ in range(400):
        prefix = digits[0] + "".join(rng.choices("0123456789", k=len(digits) - free - 1))
        probe.national_number = int(prefix + digits[-free:])
        if len(found) < 24 and phonenumbers.is_valid_number_for_region(probe, region):
            found.add(prefix)
    return example, tuple(sorted(found))


def _written(rng: Random, number: phonenumbers.PhoneNumber, region: str, local: bool) -> str:
    if (local or region == "US") and rng.random() < 0.6:
        national = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
        return rng.choice((national, national, _punctuated(rng, national)))
    plus = phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL)
    drawn = rng.random()
    if drawn < 0.35:
        return phonenumbers.format_number(number, PhoneNumberFormat.E164)
    if drawn < 0.7:
        return plus
    if drawn < 0.75:
        return phonenumbers.format_number(number, PhoneNumberFormat.RFC3966)
    if drawn < 0.82 and region in ("GB", "DE", "FR", "UA"):
        # Written so in letterheads: the zero is dialled within the country alone.
        code, _, rest = plus.partition(" ")
        return f"{code} (0){rest}"
    return _punctuated(rng, plus)


def _punctuated(rng: Random, text: str) -> str:
    mark = rng.choice(("-", ".", "/", "  ", "\N{NO-BREAK SPACE}"))
    return re.sub(r"(?<=\d)[ \-]+(?=\d)", mark, text)


# Rows that show somebody once more.


def _seen_again(rng: Random, person: Person, local: bool) -> Person:
    """Return another row of the same entity: it shares an e-mail or phone, written otherwise."""
    keep_email = bool(person.emails) and (not person.phones or rng.random() < 0.7)
    keep_phone = bool(person.phones) and (not keep_email or rng.random() < 0.5)
    emails = tuple(replace(e, value=_rewritten_email(rng, e.value)) for e in person.emails)
    phones = tuple(
        replace(p, value=_rewritten_phone(rng, p.value, person.country.code, local))
        for p in person.phones
    )
    again = person if person.company else _renamed(rng, person)
    return replace(
        again,
        duplicate=True,
        emails=emails if keep_email else (),
        phones=phones if keep_phone else (),
        birth_date=person.birth_date if rng.random() < 0.6 else None,
        street=person.street if rng.random() < 0.4 else "",
        tags=(),
        source=rng.choice(_SOURCES),
        loyalty="",
        members=(),
        comment="",
    )


def _rewritten_email(rng: Random, email: str) -> str:
    local, _, domain = email.partition("@")
    form = rng.randrange(4)
    if domain == "gmail.com" and form == 0 and len(local) > 3:
        return f"{local[:2]}.{local[2:].replace('.', '')}@{domain}"
    if domain == "gmail.com" and form == 1:
        return f"{local}+{rng.choice(('shop', 'news', 'crm'))}@{domain}"
    return email.upper() if form == 2 else f" {email}" if form == 3 else email


def _rewritten_phone(rng: Random, text: str, region: str, local: bool) -> str:
    return _written(rng, phonenumbers.parse(text, region), region, local)


def _renamed(rng: Random, person: Person) -> Person:
    """Return the person as somebody else would have typed the name."""
    first, last = person.first_name, person.last_name
    changes: tuple[Callable[[], Person], ...] = (
        lambda: replace(person, first_name=person.latin[0], last_name=person.latin[1]),
        lambda: replace(person, first_name=_plain(first), last_name=_plain(last)),
        lambda: replace(person, first_name=f"{first[:1]}."),
        lambda: replace(person, first_name=last, last_name=first),
        lambda: replace(person, last_name=_misspelt(rng, last)),
        lambda: replace(person, first_name=first.upper(), last_name=last.upper()),
        lambda: person,
    )
    return replace(rng.choice(changes)(), middle_name="", title="")


def _misspelt(rng: Random, name: str) -> str:
    if len(name) < 4:
        return name
    at = rng.randrange(1, len(name) - 1)
    if rng.random() < 0.5:
        return name[:at] + name[at + 1 :]
    return name[:at] + name[at + 1] + name[at] + name[at + 2 :]


# Rows that are broken.


def _broken(rng: Random, person: Person) -> Person:
    if person.emails and (not person.phones or rng.random() < 0.6):
        first, *rest = person.emails
        emails = (replace(first, value=_broken_email(rng, first.value)), *rest)
        return replace(person, emails=emails, broken=True)
    if person.phones:
        first, *rest = person.phones
        phones = (replace(first, value=_broken_phone(rng, first.value)), *rest)
        return replace(person, phones=phones, broken=True)
    return replace(person, emails=(Point("null"),), broken=True)


def _broken_email(rng: Random, email: str) -> str:
    local, _, domain = email.partition("@")
    return rng.choice(
        (
            f"{local}{domain}",
            f"{local}..x@{domain}",
            f"{email},",
            f"{local}@{_TYPOS.get(domain, 'gamil.com')}",
            f"{local}@{_TYPOS.get(domain, 'outlok.com')}",
            f"{local}@{rng.choice(_DISPOSABLE)}",
            f"{local}@{rng.choice(_DISPOSABLE)}",
            f"{local} {domain}",
            f"{local}@{domain.partition('.')[0]}",
            f"{local}@@{domain}",
            f".{local}@{domain}",
            "null",
            "none@example.invalid",
        )
    )


def _broken_phone(rng: Random, phone: str) -> str:
    digits = re.sub(r"\D", "", phone)
    letters = f"{digits[:4]}-CALL-NOW!"
    return rng.choice((digits[:5], letters, "n/a", "0000000000", f"+{digits}{digits}", "unknown"))


# What becomes of a row.


def to_customer(person: Person) -> v1.Customer:
    """Return the row as a customer of the API."""
    kind = v1.CUSTOMER_KIND_COMPANY if person.company else v1.CUSTOMER_KIND_PERSON
    customer = v1.Customer(
        id=person.id,
        kind=kind,
        title=person.title,
        first_name=person.first_name,
        middle_name=person.middle_name,
        last_name=person.last_name,
        gender=v1.Gender.Value(f"GENDER_{person.gender.upper() or 'UNSPECIFIED'}"),
        company_name=person.company_name,
        stage=person.stage,
        comment=person.comment,
        emails=[v1.EmailAddress(value=p.value, kind=_kind(p)) for p in person.emails],
        phones=[v1.PhoneNumber(value=p.value, kind=_kind(p)) for p in person.phones],
        contacts=[_contact(member) for member in person.members],
        tags=person.tags,
        sources=[person.source],
    )
    if person.birth_date:
        year, month, day = person.birth_date
        customer.birth_date.CopyFrom(v1.Date(year=year, month=month, day=day))
    if person.loyalty:
        customer.identities.add(type="loyalty", value=person.loyalty)
    customer.addresses.add(
        lines=[person.street] if person.street else [],
        city=person.city,
        postcode=person.postcode,
        country=person.country.code,
    )
    return customer


def _kind(point: Point) -> v1.ContactKind.ValueType:
    return v1.ContactKind.Value(f"CONTACT_KIND_{point.kind.upper() or 'UNSPECIFIED'}")


def _contact(member: Member) -> v1.Contact:
    contact = v1.Contact(
        first_name=member.first_name, last_name=member.last_name, position=member.position
    )
    contact.emails.add(value=member.email, kind=v1.CONTACT_KIND_WORK)
    if member.phone:
        contact.phones.add(value=member.phone, kind=v1.CONTACT_KIND_MOBILE)
    return contact


CSV_HEADER = (
    "id", "kind", "title", "first name", "middle name", "last name", "gender", "birth date",
    "company", "email", "work email", "mobile", "phone", "street", "city", "postcode", "country",
    "tags", "source", "stage", "comment", "identity:loyalty",
)  # fmt: skip


def to_cells(person: Person) -> tuple[str, ...]:
    """Return the row under `CSV_HEADER`; a table has no place for a company's contacts."""
    work = [email.value for email in person.emails if email.kind == "work"]
    emails = [email.value for email in person.emails if email.kind != "work"]
    mobiles = [phone.value for phone in person.phones if phone.kind == "mobile"]
    phones = [phone.value for phone in person.phones if phone.kind != "mobile"]
    return (
        person.id,
        "company" if person.company else "person",
        person.title,
        person.first_name,
        person.middle_name,
        person.last_name,
        person.gender,
        "{:04}-{:02}-{:02}".format(*person.birth_date) if person.birth_date else "",
        person.company_name,
        "; ".join(emails),
        "; ".join(work),
        "; ".join(mobiles),
        "; ".join(phones),
        person.street,
        person.city,
        person.postcode,
        person.country.code,
        "; ".join(person.tags),
        person.source,
        person.stage,
        person.comment,
        person.loyalty,
    )


def write_csv(rows: Iterator[Person], stream: TextIO) -> None:
    """Write rows as CSV with a header."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    writer.writerows(map(to_cells, rows))


def write_jsonl(rows: Iterator[Person], stream: TextIO) -> None:
    """Write rows as one Customer in JSON per line."""
    for person in rows:
        stream.write(MessageToJson(to_customer(person), indent=None, ensure_ascii=False) + "\n")


def main() -> None:
    """Write a list of made-up customers."""
    parser = argparse.ArgumentParser(prog="python -m demo.people", description=main.__doc__)
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output", default="-", help="CSV, or JSONL by its ending; - for stdout")
    parser.add_argument(
        "--local", action="store_true", help="write phones as dialled at home, also abroad"
    )
    options = parser.parse_args()
    rows = people(options.rows, options.seed, local=options.local)
    write = write_jsonl if options.output.endswith(".jsonl") else write_csv
    if options.output == "-":
        write(rows, sys.stdout)
    else:
        with Path(options.output).open("w", encoding="utf-8", newline="") as stream:
            write(rows, stream)


if __name__ == "__main__":
    main()
