"""The customers that are measured with: one e-mail and one valid phone each, twelve countries.

Number N is always the same customer, and no two share an e-mail or a phone. Names and numbers
come in scattered order, as they do in a CRM, so that index pages are met at random. `demo.people`
has the realistic lists (duplicates, broken values, many scripts); here every row is to cost the
same.
"""

from __future__ import annotations

from itertools import islice

from namesake import v1

# The beginning of a mobile range whose next `digits` digits are free.
_RANGES = (
    ("+1 212 5", 6), ("+44 7400 ", 6), ("+49 1512 ", 7), ("+33 6 12", 6), ("+380 50 ", 7),
    ("+48 512 ", 6), ("+34 612 ", 6), ("+39 347 ", 7), ("+7 916 ", 7), ("+55 11 98", 7),
    ("+91 98", 8), ("+81 90 12", 6),
)  # fmt: skip
_FIRST = ("Ada", "Bruno", "Chiara", "Dmytro", "Elif", "Farid", "Grace", "Hiro", "Inés", "Jonas",
          "Katarzyna", "Leila", "Marek", "Nadia", "Olga", "Paulo", "Quentin", "Rosa", "Søren",
          "Tomoko", "Uwe", "Valérie", "Wanda", "Xavier", "Yusuf", "Zofia")  # fmt: skip
_LAST = ("Adeyemi", "Bianchi", "Costa", "Dubois", "Eriksen", "Fischer", "García", "Huber",
         "Ivanenko", "Jensen", "Kowalska", "Lambert", "Müller", "Nakamura", "Okafor", "Petrov",
         "Quinn", "Rossi", "Silva", "Tanaka", "Ueda", "Visser", "Weber", "Yılmaz",
         "Zieliński")  # fmt: skip
_PROVIDERS = ("gmail.com", "outlook.com", "gmx.de", "orange.fr", "ukr.net", "wp.pl", "libero.it",
              "uol.com.br", "icloud.com", "yahoo.co.jp")  # fmt: skip
FIRMS = 400  # domains beside those of the providers: three addresses in ten
_SCATTER = 618_033  # coprime to 10⁶: n ↦ n·c mod 10⁶ meets every number once


def domains() -> list[str]:
    """Return every domain that the customers have."""
    return [*_PROVIDERS, *(f"firm-{number:03}.example" for number in range(FIRMS))]


def email(number: int) -> str:
    """Return the customer's e-mail."""
    mixed = number * 2_654_435_761 & 0xFFFF_FFFF
    first, last = _names(number)
    if mixed % 10 < 7:
        domain = _PROVIDERS[mixed // 10 % len(_PROVIDERS)]
    else:
        domain = f"firm-{mixed // 10 % FIRMS:03}.example"
    return f"{_ascii(first)}.{_ascii(last)}.{number}@{domain}"


def phone(number: int) -> str:
    """Return the customer's mobile number; unique up to 12 million customers."""
    start, digits = _RANGES[number % len(_RANGES)]
    free = number // len(_RANGES) * _SCATTER % 1_000_000
    written = f"{start}{free:0{digits}}"
    return written.replace(" ", "") if number // len(_RANGES) % 2 else written


def customer(number: int) -> v1.Customer:
    """Return the customer, as a new card without an id."""
    first, last = _names(number)
    return v1.Customer(
        kind=v1.CUSTOMER_KIND_PERSON,
        first_name=first,
        last_name=last,
        emails=[v1.EmailAddress(value=email(number))],
        phones=[v1.PhoneNumber(value=phone(number), kind=v1.CONTACT_KIND_MOBILE)],
    )


def import_messages(first: int, rows: int, batch_rows: int = 1_000) -> list[bytes]:
    """Return the encoded batches of an import of `rows` customers from number `first` on."""
    numbers = iter(range(first, first + rows))
    messages: list[bytes] = []
    while some := list(islice(numbers, batch_rows)):
        batch = v1.ImportBatch(number=len(messages) + 1, customers=map(customer, some))
        messages.append(v1.ImportCustomersRequest(batch=batch).SerializeToString())
    return messages


def _names(number: int) -> tuple[str, str]:
    mixed = number * 2_654_435_761 & 0xFFFF_FFFF
    return _FIRST[mixed // 1_009 % len(_FIRST)], _LAST[mixed // 65_537 % len(_LAST)]


def _ascii(name: str) -> str:
    return name.lower().translate(_LETTERS)


_LETTERS = str.maketrans("éøíüıńç", "eoiuinc")
