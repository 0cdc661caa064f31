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

from service.core._columns import CHANNELS
from service.core.model import Identity
from service.errors import InvalidArgument
from service.transfer import words
from service.transfer.countries import country_code
from service.transfer.rows import (
    KINDS,
    Consent,
    Contact,
    Custom,
    PartialDate,
    Reach,
    Row,
    RowRefused,
)
from service.transfer.words import NO_DATES, Dates, plain

IGNORED = "-"

FAILURE_COLUMNS = ("failure_row", "failure_field", "failure_reason", "failure_message")

# Field: headers that mean it, beside the field's own name.
_HEADERS = {
    "id": "customer id; client id; customer number; customer no; client number; account number; "
    "kundennummer; kunden id; kundennr; numero de client; id client; numero client; "
    "id de cliente; id cliente; numero de cliente; codigo de cliente; номер клиента; id клиента; "
    "код клиента; id do cliente; codigo do cliente; numero do cliente; rec id",
    "kind": "customer type; customer kind; client type; type; kundentyp; kundenart; "
    "type de client; tipo de cliente; тип; тип клиента; tipo",
    "state": "customer state; archived state; kundenstatus; etat; etat du client; "
    "estado del cliente; состояние; situacao",
    "title": "salutation; prefix; anrede; titel; civilite; titre; tratamiento; titulo; обращение; "
    "титул; tratamento; pronome de tratamento",
    "first_name": "given name; forename; firstname; vorname; rufname; prenom; nombre; "
    "nombre de pila; имя; nome; primeiro nome; nome proprio; fname",
    "middle_name": "middlename; middle initial; patronymic; second name; zweiter vorname; "
    "deuxieme prenom; second prenom; отчество; nome do meio; segundo nome; segundo nombre",
    "last_name": "surname; family name; lastname; nachname; familienname; zuname; nom; "
    "nom de famille; apellido; apellidos; primer apellido; фамилия; sobrenome; apelido; "
    "ultimo nome; nome de familia; lname",
    "full_name": "name; fullname; customer name; client name; nom complet; nom et prenom; "
    "nombre completo; nombre y apellidos; vollstandiger name; vor und nachname; kundenname; "
    "фио; полное имя; имя и фамилия; nome completo; nome e sobrenome",
    "gender": "sex; geschlecht; sexe; genre; sexo; genero; пол",
    "birth_date": "birthday; birthdate; date of birth; dob; geburtsdatum; geburtstag; geb datum; "
    "date de naissance; ne le; fecha de nacimiento; cumpleanos; дата рождения; день рождения; "
    "data de nascimento; nascimento; data nascimento",
    "company_name": "company; organisation; organization; account name; employer; business name; "
    "firma; firmenname; unternehmen; societe; entreprise; raison sociale; empresa; "
    "nombre de la empresa; razon social; компания; организация; фирма; название компании; "
    "nome da empresa; razao social; organizacao; companhia",
    "comment": "comments; note; notes; remark; remarks; description; bemerkung; bemerkungen; "
    "notiz; notizen; kommentar; anmerkung; commentaire; commentaires; remarque; comentario; "
    "comentarios; observaciones; nota; notas; комментарий; примечание; заметки; observacao; "
    "observacoes",
    "stage": "status; lead status; pipeline stage; phase; statut; etape; etapa; fase; estado lead; "
    "этап; стадия; статус",
    "owner": "responsible; account manager; account owner; sales rep; betreuer; "
    "kundenbetreuer; verantwortlich; zustandig; responsable; charge de clientele; "
    "propietario; ejecutivo; ответственный; менеджер; responsavel; gerente; proprietario",
    "email": "e mail; mail; email address; e mail address; emails; e mails; courriel; "
    "adresse email; adresse e mail; correo; correo electronico; e mail adresse; mailadresse; "
    "почта; электронная почта; емейл; эл почта; адрес электронной почты; correio eletronico; "
    "endereco de email; endereco de e mail; direccion de correo",
    "work_email": "business email; email work; geschaftliche e mail; e mail geschaftlich; "
    "email professionnel; courriel professionnel; correo de trabajo; email de trabajo; "
    "correo profesional; рабочая почта; рабочий email; email profissional; e mail profissional; "
    "email comercial; e mail comercial",
    "home_email": "private email; personal email; email home; private e mail; e mail privat; "
    "email personnel; courriel personnel; correo personal; email personal; личная почта; "
    "личный email; email pessoal; e mail pessoal",
    "phone": "phone number; telephone; tel; phones; telephone number; telefon; telefonnummer; "
    "rufnummer; numero de telephone; telefono; numero de telefono; телефон; номер телефона; тел; "
    "telefone; numero de telefone; fone",
    "mobile_phone": "mobile; mobile number; cell; cell phone; cellphone; handy; handynummer; "
    "mobil; mobiltelefon; mobilnummer; portable; telephone portable; telephone mobile; movil; "
    "celular; telefono movil; telefono celular; мобильный; мобильный телефон; сотовый; "
    "сотовый телефон; telemovel; telefone celular; telefone movel",
    "home_phone": "private phone; telefon privat; festnetz; telephone fixe; telephone domicile; "
    "fijo; telefono fijo; telefono de casa; домашний телефон; telefone residencial; telefone fixo",
    "work_phone": "business phone; phone work; direct phone; telefon geschaftlich; "
    "telephone professionnel; telephone bureau; telefono trabajo; telefono de trabajo; "
    "рабочий телефон; telefone comercial; telefone profissional; telefone do trabalho",
    "office_phone": "office; switchboard; zentrale; buro; bureau; standard telephonique; oficina; "
    "telefono de oficina; офис; телефон офиса; escritorio; telefone do escritorio",
    "fax_phone": "fax; fax number; faxnummer; telefax; telecopie; numero de fax; факс; номер факса",
    "street": "address; street address; address line; strasse; adresse; anschrift; rue; "
    "adresse postale; direccion; calle; domicilio; улица; адрес; street number; house number; "
    "hausnummer; endereco; morada; rua; logradouro",
    "city": "town; locality; ort; stadt; wohnort; ville; commune; ciudad; localidad; poblacion; "
    "город; населенный пункт; suburb; cidade; localidade; municipio",
    "postcode": "zip; zip code; postal code; post code; plz; postleitzahl; code postal; "
    "codigo postal; индекс; почтовый индекс; zipcode; cep",
    "area": "state province; province; region; administrative area; county; bundesland; "
    "departement; provincia; область; регион; estado; comunidad autonoma; край; provincia estado",
    "country": "country code; land; landercode; landerkennzeichen; pays; code pays; pais; "
    "codigo de pais; страна; код страны; codigo do pais",
    "tags": "tag; labels; label; schlagworte; schlagworter; etiquettes; etiquette; etiquetas; "
    "etiqueta; теги; тег; метки; marcadores",
    "sources": "source; lead source; quelle; herkunft; origine; provenance; origen; fuente; "
    "источник; origem; fonte",
    "campaigns": "campaign; kampagne; kampagnen; campagne; campagnes; campana; campanas; "
    "кампания; кампании; campanha; campanhas",
    "groups": "group; segment; gruppe; gruppen; groupe; groupes; grupo; grupos; группа; группы",
    "do_not_email": "email opt out; no email; keine e mails; ne pas envoyer d email; "
    "no enviar correo; не писать; nao enviar email",
    "do_not_call": "call opt out; no call; do not phone; nicht anrufen; keine anrufe; "
    "ne pas appeler; no llamar; не звонить; nao ligar; nao telefonar",
    "consent:email": "email consent; email opt in; newsletter consent; newsletter; "
    "einwilligung e mail; consentement email; consentimiento email; consentimiento correo; "
    "согласие на e mail; согласие на рассылку; consentimento email",
    "consent:call": "call consent; phone consent; einwilligung telefon; consentement telephone; "
    "consentimiento telefono; согласие на звонки; consentimento telefone",
    "consent:sms": "sms consent; sms opt in; einwilligung sms; consentement sms; "
    "consentimiento sms; согласие на sms; согласие на смс; consentimento sms",
    "consent:post": "post consent; mail consent; einwilligung post; consentement courrier; "
    "consentimiento postal; согласие на письма; consentimento correio",
    "contact:full_name": "contact name; contact person; primary contact; ansprechpartner; "
    "kontaktperson; personne de contact; nom du contact; interlocuteur; persona de contacto; "
    "nombre de contacto; контактное лицо; контактная особа; pessoa de contato; "
    "pessoa de contacto; nome do contato",
    "contact:first_name": "contact first name; vorname ansprechpartner; ansprechpartner vorname; "
    "prenom du contact; nombre del contacto; имя контакта; primeiro nome do contato",
    "contact:last_name": "contact last name; nachname ansprechpartner; ansprechpartner nachname; "
    "nom de famille du contact; apellido del contacto; фамилия контакта; sobrenome do contato",
    "contact:position": "contact position; job title; position; position ansprechpartner; "
    "funktion; fonction; poste; cargo; puesto; должность; funcao",
    "contact:email": "contact email; contact e mail; e mail ansprechpartner; "
    "ansprechpartner e mail; email du contact; correo del contacto; correo de contacto; "
    "email контакта; почта контакта; email do contato",
    "contact:phone": "contact phone; telefon ansprechpartner; ansprechpartner telefon; "
    "telephone du contact; telefono del contacto; telefono de contacto; телефон контакта; "
    "контактный телефон; telefone do contato; telefone de contato",
    "identity:passport": "passport; passport number; passport no; reisepass; reisepassnummer; "
    "passeport; numero de passeport; pasaporte; numero de pasaporte; паспорт; номер паспорта; "
    "passaporte; numero do passaporte",
    "identity:tax": "tax id; tax number; vat id; vat number; steuernummer; steuer id; ust id; "
    "numero fiscal; numero de tva; nif; numero de identificacion fiscal; инн; cpf; cnpj",
    "identity:loyalty": "loyalty; loyalty card; loyalty number; kundenkarte; carte de fidelite; "
    "tarjeta de fidelidad; карта лояльности; cartao de fidelidade",
    "identity:telegram": "telegram; telegram id; telegram username; телеграм; телеграмм",
    "identity:whatsapp": "whatsapp; whatsapp id; ватсап",
    "identity:viber": "viber; viber id; вайбер",
}
# E-mails and phones: channel and kind.
REACHES = {
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
        "position",
    ]
)
_LISTS = frozenset(["tags", "sources", "campaigns", "groups"])
_SEVERAL = _LISTS | REACHES.keys() | {"street"}  # may come from several columns
_OF_CONTACT = REACHES.keys() | {
    "title", "first_name", "middle_name", "last_name", "full_name", "position", "do_not_email",
    "do_not_call",
}  # fmt: skip
FIELDS = tuple(dict.fromkeys((*(name for name in _HEADERS if ":" not in name), *REACHES)))

# A customer's second identity of a type has a column of its own: identity:loyalty:02.
_IDENTITY = re.compile(r"identity:([a-z][a-z0-9_.-]{0,62})(?::\d{1,3})?")
_CUSTOM = re.compile(r"custom:([a-z][a-z0-9_]{0,62})(?::(text|integer|number|flag|date))?")
# A person at the customer; the second one's columns are contact:2:last_name and so on.
_CONTACT = re.compile(r"contact:(?:([1-9]\d?):)?([a-z_]+)", re.ASCII)
_CONSENT = re.compile(rf"consent:({'|'.join(CHANNELS[1:])})")
_COUNTED = re.compile(r"_?\d{1,2}$")

_Values = dict[str, Any]  # fields of a `Row` or `Contact` in the making


def _aliases() -> dict[str, str]:
    named = {plain(field): field for field in FIELDS}
    for field, headers in _HEADERS.items():
        named.update(dict.fromkeys(map(plain, headers.split(";")), field))
    return named | dict.fromkeys(FAILURE_COLUMNS, IGNORED)


_ALIASES = _aliases()


def recognise(header: str) -> str:
    """Return the field that a header names, "" if it names none.

    What a file of failures has beside the rows is `IGNORED`.
    """
    if _is_patterned(header):
        return header
    name = plain(header)
    if field := _ALIASES.get(name, ""):
        return field
    # "email2", "Phone 3", "address line 2": the same field again.
    field = _ALIASES.get(_COUNTED.sub("", name), "")
    return field if field in REACHES or field == "street" else ""


def _is_patterned(name: str) -> bool:
    if found := _CONTACT.fullmatch(name):
        return found[2] in _OF_CONTACT
    return any(pattern.fullmatch(name) for pattern in (_IDENTITY, _CUSTOM, _CONSENT))


def contact_of(field: str) -> tuple[int, str]:
    """Return which contact a field is of, from 1, and its field of it; 0 is the customer."""
    found = _CONTACT.fullmatch(field)
    return (int(found[1] or 1), found[2]) if found else (0, field)


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
    return name in FIELDS or _is_patterned(name)


def may_repeat(field: str) -> bool:
    """Say whether several columns may be of one field: lists, e-mails, phones, lines."""
    return contact_of(field)[1] in _SEVERAL


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
    """Return the fields with the meaning that they have beside the others.

    German and French lists head the last name with a bare "Name"; beside both names the full one
    says nothing more. Contacts need a name: without one, a contact's e-mail is the customer's own.
    """
    if "full_name" in fields and "first_name" in fields:
        meant = "" if "last_name" in fields else "last_name"
        fields = tuple(meant if field == "full_name" else field for field in fields)
    named = {contact_of(field)[0] for field in fields if field.endswith(("last_name", "full_name"))}
    return tuple(field if contact_of(field)[0] in named | {0} else _own(field) for field in fields)


def _own(field: str) -> str:
    """Return what a field of a contact without a name is of the customer, "" if it is nothing."""
    _, name = contact_of(field)
    return name if name in REACHES else ""


def refuse_clashes(
    header: Sequence[str],
    fields: Sequence[str],
    several: Callable[[str], bool] = may_repeat,
) -> None:
    """Refuse a header that means nothing, or a field twice which is not one of `several`."""
    if not any(fields):
        raise InvalidArgument("No column is recognised; name them with --map COLUMN=FIELD")
    seen: dict[str, str] = {}
    for column, field in zip(header, fields, strict=True):
        same = _singled(field)
        if same in seen and not several(field):
            raise InvalidArgument(
                f"Columns {seen[same]!r} and {column!r} both mean {field}; "
                f"leave one out with --map '{column}={IGNORED}'"
            )
        if field:
            seen[same] = column


def _singled(field: str) -> str:
    """Return one name for what may be written in several ways."""
    if custom := _CUSTOM.fullmatch(field):
        return f"custom:{custom[1]}"
    contact, name = contact_of(field)
    return f"contact:{contact}:{name}" if contact else field


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one file, ready to read its rows."""

    header: tuple[str, ...]
    fields: tuple[str, ...]
    dates: Dates = NO_DATES

    @classmethod
    def of(
        cls, header: Sequence[str], options: Iterable[str] = (), dates: Dates = NO_DATES
    ) -> Columns:
        """Recognise a header; `options` (`COLUMN=FIELD`) go before what is recognised."""
        fields = settled(fields_of(header, parse_overrides(options, known=is_field)))
        refuse_clashes(header, fields)
        return cls(tuple(header), fields, dates)

    @property
    def unrecognised(self) -> tuple[str, ...]:
        """Headers of columns that are left out."""
        return tuple(
            name
            for name, field in zip(self.header, self.fields, strict=True)
            if not field and recognise(name) != IGNORED
        )

    def row(self, cells: Sequence[str]) -> Row:
        """Read one row; `RowRefused` names the column at fault."""
        if any(cells[len(self.header) :]):
            raise RowRefused(
                f"{len(cells)} cells under {len(self.header)} headers: "
                "is there a delimiter without quotation marks?"
            )
        values: _Values = {}
        contacts: dict[int, _Values] = {}
        for name, field, cell in zip(self.header, self.fields, cells, strict=False):
            if field and (text := cell.strip()):
                number, own = contact_of(field)
                into = contacts.setdefault(number, {}) if number else values
                # What people wrote freely stays as it is.
                self._read(into, name, own, cell if field == "comment" else text)
        if "company_name" in values and not values.keys() & {"kind", "first_name", "last_name"}:
            values["kind"] = "company"
        people = (Contact(**found) for _, found in sorted(contacts.items()))
        return Row(**values, contacts=tuple(one for one in people if one != Contact()))

    def _read(self, values: _Values, header: str, field: str, text: str) -> None:
        try:
            for name, value in read_cell(field, text, self.dates):
                known = values.get(name)
                values[name] = known + value if isinstance(known, tuple) else value
        except ValueError as error:
            raise RowRefused(str(error), field=header) from None


def read_cell(field: str, text: str, dates: Dates = NO_DATES) -> Iterable[tuple[str, Any]]:
    """Return what one cell says of which fields of `Row` (or `Contact`).

    The text has no space around it, but for a comment. ValueError says what is wrong with it.
    Tuples add to those of other columns.
    """
    if field in REACHES:
        return [_reaches(*REACHES[field], text)]
    if field in _TEXTS:
        return [(field, text)]
    if field in _LISTS:
        return [(field, words.parts(text))]
    if field.startswith("identity:"):
        return [("identities", (Identity(field.split(":")[1], text),))]
    if field.startswith("consent:"):
        return [("consents", (Consent(field.split(":")[1], _consent(text)),))]
    if field.startswith("custom:"):
        return [("custom", (_custom(field, text, dates),))]
    if field == "full_name":
        parts = zip(("first_name", "middle_name", "last_name"), words.full_name(text), strict=True)
        return [(name, part) for name, part in parts if part]
    return [(field, _SPECIAL[field](text, dates))]


def _reaches(channel: str, kind: str, text: str) -> tuple[str, tuple[Reach, ...]]:
    split = words.addresses if channel == "email" else words.numbers
    return f"{channel}s", tuple(Reach(value, kind) for value in split(text))


def _custom(field: str, text: str, dates: Dates) -> Custom:
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
            return Custom(found[1], _date(text, dates))
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


def _consent(text: str) -> bool:
    value = words.consent(text)
    if value is None:
        raise ValueError("Neither granted nor denied: write yes or no")
    return value


def _date(text: str, dates: Dates) -> PartialDate:
    value = words.date(text, dates.order, dates.formats)
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


_SPECIAL: dict[str, Callable[[str, Dates], object]] = {
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
    if field in REACHES:
        channel, _ = REACHES[field]
        reaches = row.emails if channel == "email" else row.phones
        values = (r.value for r in reaches if _reach_field(channel, r) == field)
        return words.listed(values, words.addresses if channel == "email" else words.numbers)
    if field.startswith("identity:"):
        return _identities(row).get(field, "")
    if field.startswith("custom:"):
        return next((_text(c.value) for c in row.custom if _custom_field(c) == field), "")
    if field == "street":
        return "\n".join(row.street)
    value = getattr(row, field)
    return words.listed(value, words.parts) if isinstance(value, tuple) else _text(value)


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
