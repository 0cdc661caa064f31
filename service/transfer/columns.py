"""Which column is which field, and what its cells say.

Headers are recognised in English, German, French, Spanish, Russian and Portuguese; whoever calls
may name the field of any column. A table that was exported is recognised whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.core.model import Identity
from service.errors import InvalidArgument
from service.transfer import words
from service.transfer.countries import country_code
from service.transfer.rows import KINDS, Custom, PartialDate, Reach, Row, RowRefused
from service.transfer.words import DateOrder, plain

IGNORED = "-"

# Field: headers that mean it, beside the field's own name.
_HEADERS = {
    "id": "customer id; client id; kundennummer; kunden id; номер клиента; id клиента; "
    "id do cliente; codigo do cliente; rec id",
    "kind": "customer type; customer kind; type; kundentyp; тип; tipo de cliente",
    "state": "customer state; archived state",
    "title": "salutation; anrede; titel; civilite; tratamiento; обращение; tratamento",
    "first_name": "given name; forename; firstname; vorname; prenom; nombre; имя; nome; "
    "primeiro nome; nome proprio; fname",
    "middle_name": "middlename; patronymic; second name; zweiter vorname; отчество; nome do meio; "
    "segundo nome; segundo nombre",
    "last_name": "surname; family name; lastname; nachname; familienname; nom; nom de famille; "
    "apellido; apellidos; фамилия; sobrenome; apelido; ultimo nome; nome de familia; lname",
    "full_name": "name; fullname; customer name; nom complet; nombre completo; vollstandiger name; "
    "фио; полное имя; nome completo",
    "gender": "sex; geschlecht; sexe; sexo; genero; пол",
    "birth_date": "birthday; birthdate; date of birth; dob; geburtsdatum; geburtstag; "
    "date de naissance; fecha de nacimiento; дата рождения; день рождения; data de nascimento; "
    "nascimento",
    "company_name": "company; organisation; organization; account name; employer; firma; "
    "unternehmen; societe; entreprise; empresa; компания; организация; nome da empresa; "
    "razao social; organizacao",
    "comment": "comments; note; notes; remark; bemerkung; notiz; kommentar; commentaire; "
    "comentario; комментарий; примечание; observacao; observacoes",
    "stage": "status; lead status; phase; etapa; этап; стадия; fase",
    "owner": "responsible; account manager; betreuer; responsable; ответственный; менеджер; "
    "responsavel",
    "email": "e mail; mail; email address; e mail address; emails; e mails; courriel; "
    "adresse email; correo; correo electronico; e mail adresse; почта; электронная почта; емейл; "
    "correio eletronico; endereco de email; endereco de e mail",
    "work_email": "business email; email work; geschaftliche e mail; рабочая почта; "
    "email profissional; e mail profissional; email comercial; e mail comercial",
    "home_email": "private email; personal email; email home; private e mail; личная почта; "
    "email pessoal; e mail pessoal",
    "phone": "phone number; telephone; tel; phones; telephone number; telefon; telefonnummer; "
    "rufnummer; numero de telephone; telefono; телефон; номер телефона; telefone; "
    "numero de telefone; fone",
    "mobile_phone": "mobile; mobile number; cell; cell phone; cellphone; handy; mobil; "
    "mobiltelefon; portable; telephone portable; movil; celular; telefono movil; мобильный; "
    "мобильный телефон; сотовый; telemovel; telefone celular; telefone movel",
    "home_phone": "private phone; telefon privat; festnetz; telephone fixe; fijo; "
    "домашний телефон; telefone residencial; telefone fixo",
    "work_phone": "business phone; phone work; direct phone; telefon geschaftlich; "
    "telephone professionnel; telefono trabajo; рабочий телефон; telefone comercial; "
    "telefone profissional; telefone do trabalho",
    "office_phone": "office; switchboard; zentrale; buro; bureau; oficina; офис; escritorio",
    "fax_phone": "fax; fax number; faxnummer; telefax; факс",
    "street": "address; street address; address line; strasse; straße; adresse; anschrift; rue; "
    "direccion; calle; улица; адрес; street number; house number; hausnummer; endereco; morada; "
    "rua; logradouro",
    "city": "town; locality; ort; stadt; ville; ciudad; город; suburb; cidade; localidade",
    "postcode": "zip; zip code; postal code; post code; plz; postleitzahl; code postal; "
    "codigo postal; индекс; почтовый индекс; zipcode; cep",
    "area": "state province; province; region; administrative area; county; bundesland; "
    "departement; provincia; область; регион; estado",
    "country": "country code; land; pays; pais; страна",
    "tags": "tag; labels; label; schlagworte; etiquettes; etiquetas; теги; метки; marcadores",
    "sources": "source; lead source; quelle; origine; origen; fuente; источник; origem; fonte",
    "campaigns": "campaign; kampagne; campagne; campana; кампания; campanha",
    "groups": "group; gruppe; groupe; grupo; группа",
    "do_not_email": "email opt out; no email",
    "do_not_call": "call opt out; no call; do not phone",
}
_REACHES = {
    f"{prefix}{channel}": (channel, kind)
    for channel in ("email", "phone")
    for prefix, kind in (("", ""), *((f"{kind}_", kind) for kind in KINDS))
}
_TEXTS = frozenset(
    [
        "id",
        "title",
        "first_name",
        "middle_name",
        "last_name",
        "company_name",
        "stage",
        "owner",
        "city",
        "postcode",
        "area",
    ]
)
_LISTS = frozenset(["tags", "sources", "campaigns", "groups"])
_SEVERAL = _LISTS | _REACHES.keys() | {"street"}  # may come from several columns
FIELDS = tuple(dict.fromkeys((*_HEADERS, *_REACHES)))

# A customer's second identity of a type has a column of its own: identity:loyalty:02.
_IDENTITY = re.compile(r"identity:([a-z][a-z0-9_.-]{0,62})(?::\d{1,3})?")
_CUSTOM = re.compile(r"custom:([a-z][a-z0-9_]{0,62})(?::(text|integer|number|flag|date))?")
_BARE = re.compile(r'[^\s;,"](?:[^;,"\r\n]*[^\s;,"])?')  # needs no quotation marks in a list
_COUNTED = re.compile(r"_?\d{1,2}$")

_Values = dict[str, Any]  # fields of a `Row` in the making


def _aliases() -> dict[str, str]:
    named = {plain(field): field for field in FIELDS}
    for field, headers in _HEADERS.items():
        named.update(dict.fromkeys(map(plain, headers.split(";")), field))
    return named


_ALIASES = _aliases()


def recognise(header: str) -> str:
    """Return the field that a header names, "" if it names none."""
    if _IDENTITY.fullmatch(header) or _CUSTOM.fullmatch(header):
        return header
    name = plain(header)
    if field := _ALIASES.get(name, ""):
        return field
    # "email2", "Phone 3", "address line 2": the same field again.
    field = _ALIASES.get(_COUNTED.sub("", name), "")
    return field if field in _REACHES or field == "street" else ""


def parse_overrides(options: Iterable[str], *, known: Callable[[str], bool]) -> dict[str, str]:
    """Read `COLUMN=FIELD` options; `known` says which fields there are."""
    overrides: dict[str, str] = {}
    for option in options:
        column, equals, field = option.rpartition("=")
        if not equals or not column:
            raise InvalidArgument(f"{option!r} is not COLUMN=FIELD", field="--map")
        if field != IGNORED and not known(field):
            raise InvalidArgument(f"There is no field {field!r}", field="--map")
        if column.casefold() in map(str.casefold, overrides):
            raise InvalidArgument(f"Column {column!r} is named twice", field="--map")
        overrides[column] = field
    return overrides


def is_field(name: str) -> bool:
    """Say whether a column may be mapped to `name`."""
    return name in FIELDS or bool(_IDENTITY.fullmatch(name) or _CUSTOM.fullmatch(name))


def fields_of(
    header: Sequence[str],
    overrides: Mapping[str, str],
    recognised: Callable[[str], str] = recognise,
) -> tuple[str, ...]:
    """Return each column's field, "" where a column means nothing."""
    folded = {column.casefold(): field for column, field in overrides.items()}
    missing = folded.keys() - {column.casefold() for column in header}
    if missing:
        raise InvalidArgument(f"The file has no column {min(missing)!r}", field="--map")
    found = (folded.get(column.casefold(), recognised(column)) for column in header)
    return tuple("" if field == IGNORED else field for field in found)


def settled(fields: tuple[str, ...]) -> tuple[str, ...]:
    """Return the fields with the meaning that a full name has beside the others.

    German and French lists head the last name with a bare "Name"; beside both names the full one
    says nothing more.
    """
    if "full_name" not in fields or "first_name" not in fields:
        return fields
    meant = "" if "last_name" in fields else "last_name"
    return tuple(meant if field == "full_name" else field for field in fields)


def refuse_clashes(
    header: Sequence[str],
    fields: Sequence[str],
    several: Callable[[str], bool] = _SEVERAL.__contains__,
) -> None:
    """Refuse a header that means nothing, or a field twice which is not one of `several`."""
    if not any(fields):
        raise InvalidArgument("No column is recognised; name them with --map COLUMN=FIELD")
    seen: dict[str, str] = {}
    for column, field in zip(header, fields, strict=True):
        if field in seen and not several(field):
            raise InvalidArgument(
                f"Columns {seen[field]!r} and {column!r} both mean {field}; "
                f"leave one out with --map '{column}={IGNORED}'"
            )
        if field:
            seen[field] = column


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one file, ready to read its rows."""

    header: tuple[str, ...]
    fields: tuple[str, ...]
    date_order: DateOrder = ""

    @classmethod
    def of(
        cls, header: Sequence[str], options: Iterable[str] = (), date_order: DateOrder = ""
    ) -> Columns:
        """Recognise a header; `options` (`COLUMN=FIELD`) go before what is recognised."""
        fields = settled(fields_of(header, parse_overrides(options, known=is_field)))
        refuse_clashes(header, fields)
        return cls(tuple(header), fields, date_order)

    @property
    def unrecognised(self) -> tuple[str, ...]:
        """Headers of columns that are left out."""
        return tuple(
            name for name, field in zip(self.header, self.fields, strict=True) if not field
        )

    def row(self, cells: Sequence[str]) -> Row:
        """Read one row; `RowRefused` names the column at fault."""
        if any(cells[len(self.header) :]):
            raise RowRefused(
                f"{len(cells)} cells under {len(self.header)} headers: "
                "is there a delimiter without quotation marks?"
            )
        values: _Values = {}
        for name, field, cell in zip(self.header, self.fields, cells, strict=False):
            if field and (text := cell.strip()):
                # What people wrote freely stays as it is.
                self._read(values, name, field, cell if field == "comment" else text)
        if "company_name" in values and not values.keys() & {"kind", "first_name", "last_name"}:
            values["kind"] = "company"
        return Row(**values)

    def _read(self, values: _Values, header: str, field: str, text: str) -> None:
        try:
            for name, value in _read(field, text, self.date_order):
                known = values.get(name)
                values[name] = known + value if isinstance(known, tuple) else value
        except ValueError as error:
            raise RowRefused(str(error), field=header) from None


def _read(field: str, text: str, order: DateOrder) -> Iterable[tuple[str, Any]]:
    """Return what one cell says of which fields of `Row`; ValueError says what is wrong with it.

    Tuples add to those of other columns.
    """
    if field in _REACHES:
        return [_reaches(*_REACHES[field], text)]
    if field in _TEXTS:
        return [(field, text)]
    if field in _LISTS:
        return [(field, words.parts(text))]
    if field.startswith("identity:"):
        return [("identities", (Identity(field.split(":")[1], text),))]
    if field.startswith("custom:"):
        return [("custom", (_custom(field, text, order),))]
    if field == "full_name":
        parts = zip(("first_name", "middle_name", "last_name"), words.full_name(text), strict=True)
        return [(name, part) for name, part in parts if part]
    return [(field, _SPECIAL[field](text, order))]


def _reaches(channel: str, kind: str, text: str) -> tuple[str, tuple[Reach, ...]]:
    split = words.addresses if channel == "email" else words.numbers
    return f"{channel}s", tuple(Reach(value, kind) for value in split(text))


def _custom(field: str, text: str, order: DateOrder) -> Custom:
    found = _CUSTOM.fullmatch(field)
    if not found:
        raise ValueError(f"There is no field {field!r}")
    match found[2]:
        case "integer":
            return Custom(found[1], _integer(text))
        case "number":
            return Custom(found[1], _number(text))
        case "flag":
            return Custom(found[1], _flag(text))
        case "date":
            return Custom(found[1], _date(text, order))
        case _:
            return Custom(found[1], text)


def _integer(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ValueError("Not a whole number") from None
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("Not a number of 64 bits")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("Not a number") from None


def _flag(text: str) -> bool:
    value = words.flag(text)
    if value is None:
        raise ValueError("Neither yes nor no")
    return value


def _date(text: str, order: DateOrder) -> PartialDate:
    value = words.date(text, order)
    if value is None:
        raise ValueError("Not a date, or one that can be read in two ways: write YYYY-MM-DD")
    return value


def _one_of(text: str, allowed: Sequence[str]) -> str:
    if plain(text) not in allowed:
        raise ValueError(f"None of {', '.join(allowed)}")
    return plain(text)


def _gender(text: str) -> str:
    gender = words.gender(text)
    if gender is None:
        raise ValueError("Not a gender that is known: write female, male or other")
    return gender


def _country(text: str) -> str:
    code = country_code(text)
    if not code:
        raise ValueError("Not a country: write the ISO 3166-1 alpha-2 code or the English name")
    return code


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


_SPECIAL: dict[str, Callable[[str, DateOrder], object]] = {
    "kind": lambda text, _: _one_of(text, ("person", "company")),
    "state": lambda text, _: _one_of(text, ("active", "archived")),
    "gender": lambda text, _: _gender(text),
    "birth_date": _date,
    "comment": lambda text, _: text,
    "street": lambda text, _: _lines(text),
    "country": lambda text, _: _country(text),
    "do_not_email": lambda text, _: _flag(text),
    "do_not_call": lambda text, _: _flag(text),
}


# Writing: these columns are in every exported table, so that its shape is known beforehand;
# kinds, identities and custom fields that no customer has get no column.
_ALWAYS = [
    "id",
    "kind",
    "state",
    "title",
    "first_name",
    "middle_name",
    "last_name",
    "gender",
    "birth_date",
    "company_name",
    "email",
    "phone",
    "mobile_phone",
    "street",
    "city",
    "postcode",
    "area",
    "country",
    "tags",
    "sources",
    "campaigns",
    "groups",
    "stage",
    "owner",
    "comment",
    "do_not_email",
    "do_not_call",
]


def present(row: Row) -> set[str]:
    """Return the fields of a row beyond those that every exported table has."""
    found = {_reach_field("email", reach) for reach in row.emails}
    found |= {_reach_field("phone", reach) for reach in row.phones}
    found |= _identities(row).keys()
    found |= {_custom_field(custom) for custom in row.custom}
    return found.difference(_ALWAYS)


def table(extra: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of an exported table: the usual ones and `extra`, in a stable order."""
    return (*_ALWAYS, *sorted(extra))


def cells(row: Row, columns: Iterable[str]) -> tuple[str, ...]:
    """Write a row so that `Columns.row` reads the same row back."""
    return tuple(_cell(row, field) for field in columns)


def _cell(row: Row, field: str) -> str:
    if field in _REACHES:
        channel, _ = _REACHES[field]
        reaches = row.emails if channel == "email" else row.phones
        return joined(field, (r.value for r in reaches if _reach_field(channel, r) == field))
    if field.startswith("identity:"):
        return _identities(row).get(field, "")
    if field.startswith("custom:"):
        return next((_text(c.value) for c in row.custom if _custom_field(c) == field), "")
    value = getattr(row, field)
    return joined(field, value) if isinstance(value, tuple) else _text(value)


def separator(field: str) -> str:
    """Return what stands between the values of a field in one cell."""
    return "\n" if field == "street" else "; "


def joined(field: str, values: Iterable[str]) -> str:
    """Write what a field has several of as one cell, so that `Columns.row` reads them back."""
    values = list(values)
    if field == "street" or all(map(_BARE.fullmatch, values)):
        return separator(field).join(values)
    channel = _REACHES.get(field, ("", ""))[0]
    split = {"email": words.addresses, "phone": words.numbers}.get(channel, words.parts)
    return words.listed(values, split)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _reach_field(channel: str, reach: Reach) -> str:
    return f"{reach.kind}_{channel}" if reach.kind else channel


def _identities(row: Row) -> dict[str, str]:
    """Return the identities by column. One cell cannot hold two: values are taken byte by byte."""
    values: dict[str, str] = {}
    held: Counter[str] = Counter()
    for identity in row.identities:
        held[identity.type] += 1
        count = held[identity.type]
        place = f":{count:02}" if count > 1 else ""
        values[f"identity:{identity.type}{place}"] = identity.value
    return values


def _custom_field(custom: Custom) -> str:
    match custom.value:
        case bool():
            kind = ":flag"
        case int():
            kind = ":integer"
        case float():
            kind = ":number"
        case PartialDate():
            kind = ":date"
        case _:
            kind = ""
    return f"custom:{custom.name}{kind}"
