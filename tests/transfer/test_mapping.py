"""Which column is which field: by header in six languages, by cells, as said and as saved."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from service.errors import InvalidArgument
from service.transfer import columns, headers
from service.transfer.mapping import TAKEN, Choices, ColumnMapping, Suggestion, suggest
from service.transfer.saved import SavedMappings, configuration_folder
from service.transfer.words import plain

# Field: headers in English, German, French, Spanish, Portuguese and Russian.
HEADERS = {
    "id": "Customer ID|Kundennummer|Numéro client|Número de cliente|"
    "Código do cliente|Номер клиента",
    "kind": "Customer type|Kundentyp|Type de client|Tipo de cliente|Tipo|Тип клиента",
    "title": "Title|Anrede|Civilité|Tratamiento|Tratamento|Обращение",
    "first_name": "First name|Vorname|Prénom|Nombre|Primeiro nome|Имя",
    "middle_name": "Middle name|Zweiter Vorname|Deuxième prénom|Segundo nombre|"
    "Nome do meio|Отчество",
    "last_name": "Last name|Nachname|Nom de famille|Apellidos|Sobrenome|Фамилия",
    "full_name": "Full name|Vollständiger Name|Nom complet|Nombre completo|Nome completo|ФИО",
    "gender": "Gender|Geschlecht|Sexe|Sexo|Gênero|Пол",
    "birth_date": "Date of birth|Geburtsdatum|Date de naissance|Fecha de nacimiento|"
    "Data de nascimento|Дата рождения",
    "company_name": "Company|Firma|Société|Empresa|Razão social|Компания",
    "comment": "Notes|Bemerkung|Commentaire|Comentarios|Observações|Комментарий",
    "stage": "Status|Phase|Étape|Etapa|Fase|Стадия",
    "owner": "Account manager|Betreuer|Responsable|Propietario|Responsável|Ответственный",
    "email": "E-mail|E-Mail-Adresse|Courriel|Correo electrónico|"
    "Endereço de e-mail|Электронная почта",
    "work_email": "Work email|Geschäftliche E-Mail|Email professionnel|Correo de trabajo|"
    "E-mail profissional|Рабочая почта",
    "home_email": "Personal email|E-Mail privat|Email personnel|Correo personal|E-mail pessoal|"
    "Личная почта",
    "phone": "Phone|Telefonnummer|Téléphone|Teléfono|Telefone|Телефон",
    "mobile_phone": "Mobile|Handynummer|Portable|Móvil|Celular|Мобильный телефон",
    "home_phone": "Home phone|Festnetz|Téléphone fixe|Teléfono fijo|Telefone residencial|"
    "Домашний телефон",
    "work_phone": "Work phone|Telefon geschäftlich|Téléphone professionnel|Teléfono de trabajo|"
    "Telefone comercial|Рабочий телефон",
    "office_phone": "Office|Zentrale|Standard téléphonique|Teléfono de oficina|"
    "Telefone do escritório|Офис",
    "fax_phone": "Fax|Faxnummer|Télécopie|Número de fax|Fax|Факс",
    "street": "Street|Straße|Adresse|Dirección|Endereço|Улица",
    "city": "City|Ort|Ville|Ciudad|Cidade|Город",
    "postcode": "Zip code|PLZ|Code postal|Código postal|CEP|Почтовый индекс",
    "area": "State/Province|Bundesland|Département|Provincia|Estado|Область",
    "country": "Country|Land|Pays|País|País|Страна",
    "tags": "Tags|Schlagworte|Étiquettes|Etiquetas|Marcadores|Теги",
    "sources": "Source|Herkunft|Origine|Fuente|Origem|Источник",
    "campaigns": "Campaign|Kampagne|Campagne|Campaña|Campanha|Кампания",
    "groups": "Group|Gruppe|Groupe|Grupo|Grupo|Группа",
    "do_not_email": "No email|Keine E-Mails|Ne pas envoyer d'email|No enviar correo|"
    "Não enviar email|Не писать",
    "do_not_call": "Do not call|Nicht anrufen|Ne pas appeler|No llamar|Não ligar|Не звонить",
    "consent:email": "Email consent|Einwilligung E-Mail|Consentement email|Consentimiento email|"
    "Consentimento email|Согласие на рассылку",
    "consent:sms": "SMS consent|Einwilligung SMS|Consentement SMS|Consentimiento SMS|"
    "Consentimento SMS|Согласие на SMS",
    "contact:full_name": "Contact person|Ansprechpartner|Personne de contact|Persona de contacto|"
    "Pessoa de contato|Контактное лицо",
    "contact:email": "Contact email|E-Mail Ansprechpartner|Email du contact|Correo del contacto|"
    "Email do contato|Почта контакта",
    "contact:phone": "Contact phone|Telefon Ansprechpartner|Téléphone du contact|"
    "Teléfono del contacto|Telefone do contato|Телефон контакта",
    "contact:position": "Position|Funktion|Fonction|Cargo|Função|Должность",
    "identity:passport": "Passport number|Reisepass|Numéro de passeport|Pasaporte|"
    "Passaporte|Паспорт",
    "identity:loyalty": "Loyalty card|Kundenkarte|Carte de fidélité|Tarjeta de fidelidad|"
    "Cartão de fidelidade|Карта лояльности",
}
LANGUAGES = 6


@pytest.mark.parametrize("field", sorted(HEADERS))
def test_headers_of_six_languages_are_recognised(field: str) -> None:
    """Every field that people have, in each of them."""
    known = HEADERS[field].split("|")
    assert len(known) == LANGUAGES
    assert {header: columns.recognise(header) for header in known} == dict.fromkeys(known, field)


def test_no_header_means_two_fields() -> None:
    """The table would silently take the last."""
    words = Counter(
        plain(word) for words in headers.HEADERS.values() for word in set(words.split(";"))
    )
    assert [word for word, count in words.items() if count > 1] == []


def by_column(found: tuple[Suggestion, ...]) -> dict[str, Suggestion]:
    """Return suggestions by column."""
    return {one.column: one for one in found}


ROWS = [
    ("ada@x.org", "+44 20 7946 0018", "w", "GB", "13/04/1990", "ACME GmbH", "https://x.org/a"),
    ("b.k@y.example.com", "0044 20 7946 0019", "m", "DE", "03/04/1985", "Ltd of B", "www.y.org"),
    ("", "+1 (212) 555-0100", "f", "France", "25/12/2001", "Kästner AG", ""),
    ("c@z.de; d@z.de", "+49 30 901820", "m", "ua", "30/01/1977", "Dach Bau", "http://z.de"),
]


def test_columns_without_a_telling_header_are_known_by_their_cells() -> None:
    """With a confidence, and why."""
    header = ("c1", "c2", "c3", "c4", "c5", "c6", "c7")
    found = suggest(header, ROWS)
    assert [one.field for one in found] == [
        "email", "phone", "gender", "country", "birth_date", "company_name", "custom:website",
    ]  # fmt: skip
    assert all(0 < one.confidence < 1 for one in found)
    assert found[0].why == "content: 100% e-mails"
    assert found[4].order == "dmy"
    assert all(not one.warning for one in found)


def test_a_header_that_its_cells_contradict_is_told() -> None:
    """It is of little confidence, with what the cells look like instead."""
    rows = [("ada@x.org", "0151 1234567"), ("b@y.org", "0151 7654321")]
    found = by_column(suggest(("Phone", "Mobile"), rows))
    assert found["Phone"].field == "phone"
    assert found["Phone"].confidence < TAKEN < found["Mobile"].confidence
    assert "100% like e-mails" in found["Phone"].warning
    assert found["Mobile"].warning == ""
    assert found["Mobile"].why == "header, content: 100% phones"


def test_a_header_and_its_cells_together_are_surer_than_the_header_alone() -> None:
    """And the field's own name surer than a word for it, that than a numbered one."""
    alone = suggest(("Courriel",))[0]
    confirmed = suggest(("Courriel",), [("a@x.org",)])[0]
    assert alone.confidence < confirmed.confidence <= 1
    exact, meant, counted = (one.confidence for one in suggest(("email", "Mail", "email 2")))
    assert exact > meant > counted > TAKEN


@pytest.mark.parametrize(
    "cells",
    [
        ["10001", "10002", "10003"],  # ids, postcodes
        ["1234567", "1234568", "1234569"],  # ids, phones
        ["2024-05-01", "2024-05-02", "2023-01-01"],  # when the card was made
        ["yes", "no", "yes"],  # whatever was asked
        ["red", "green", "blue"],
        ["NY", "TX", "CA", "OH"],
        ["", " ", ""],
        ["A", "B", "F", "C", "F"],  # grades
    ],
)
def test_cells_that_may_be_anything_are_not_taken(cells: list[str]) -> None:
    """A wrong guess would be worse than a column left out."""
    (found,) = suggest(("c1",), [(cell,) for cell in cells])
    assert found.confidence < TAKEN


def test_of_two_columns_that_look_alike_one_is_taken() -> None:
    """The surest; and none beside one whose header says so."""
    rows = [("GB", "DE"), ("FR", "xx"), ("UA", "FR"), ("DE", "ES"), ("IT", "IT"), ("PL", "PL")]
    assert [one.field for one in suggest(("c1", "c2"), rows)] == ["country", ""]
    assert [one.field for one in suggest(("c1", "Land"), rows)] == ["", "country"]


def test_the_order_of_day_and_month_is_seen_where_days_beyond_12_tell() -> None:
    """In most of them the same way; else nothing is said."""
    for cells, order in (
        (["13/04/1990", "03/04/1990"], "dmy"),
        (["04/13/1990", "03/04/1990"], "mdy"),
        (["03/04/1990"], ""),
        (["13/04/1990", "04/13/1990"], ""),
    ):
        (found,) = suggest(("Geburtsdatum",), [(cell,) for cell in cells])
        assert (found.order, found.warning) == (order, "")


def test_what_is_said_goes_before_what_was_saved_and_that_before_suggestions() -> None:
    """Column by column."""
    saved = Choices.of_options(["Tel=home_phone", "Mail=work_email", "Gone=city"], ["tags=old"])
    said = Choices.of_options(["mail=home_email"], ["tags=new"], date_order="mdy")
    mapping = ColumnMapping.of(("Tel", "Mail", "Ort", "c4"), [], said, saved)
    assert mapping.fields == ("home_phone", "home_email", "city", "")
    assert mapping.constants == (("tags", "new"),)
    assert set(mapping.orders) == {"mdy"}
    assert mapping.unrecognised == ("c4",)


def test_columns_known_by_their_cells_are_taken_and_can_be_left_out() -> None:
    """A header decides whatever its cells are: the file means the same without a look at them."""
    rows = [("ada@x.org", "King"), ("b@x.org", "Lovelace")]
    assert ColumnMapping.of(("c1", "Phone"), rows).fields == ("email", "phone")
    said = Choices.of_options(["c1=-"])
    assert ColumnMapping.of(("c1", "Phone"), rows, said).fields == ("", "phone")


def test_a_guess_gives_way_to_what_somebody_says() -> None:
    """Of a field that has one value; e-mails may come from several columns."""
    rows = [("GB", "a@x.org"), ("FR", "b@x.org"), ("UA", "c@x.org"), ("DE", "d@x.org")]
    said = Choices.of_options(["other=country", "mail=email"])
    header = ("c1", "c2", "other", "mail")
    assert ColumnMapping.of(header, rows, said).fields == ("", "email", "country", "email")
    assert ColumnMapping.of(header[:2], rows).fields == ("country", "email")


def test_columns_of_a_file_of_failures_are_left_out_without_a_word() -> None:
    """It is imported again when it is corrected."""
    header = ("name", *columns.FAILURE_COLUMNS)
    mapping = ColumnMapping.of(header, [("King", "3", "email", "ROW_FORMAT", "broken", "")])
    assert mapping.fields == ("full_name", "", "", "", "", "")
    assert mapping.unrecognised == ()
    assert columns.Columns.of(header).unrecognised == ()


def test_contacts_need_a_name() -> None:
    """Without one, what is said to be a contact's is the customer's own."""
    alone = ColumnMapping.of(("Company", "Contact email", "Position"))
    assert alone.fields == ("company_name", "email", "")
    named = ColumnMapping.of(("Company", "Contact person", "Contact email", "Position"))
    assert named.fields == (
        "company_name", "contact:full_name", "contact:email", "contact:position",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        (("contact:last_name", "contact:1:last_name"), ["contact:last_name"]),
        (("custom:age", "custom:age:integer"), ["custom:age"]),
        (("consent:sms", "SMS consent"), ["consent:sms"]),
    ],
)
def test_one_field_under_two_names_is_refused(header: list[str], fields: list[str]) -> None:
    """As two columns of one name are."""
    with pytest.raises(InvalidArgument):
        ColumnMapping.of(header)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"constants": ["country"]}, "--set"),
        ({"constants": ["country= "]}, "--set"),
        ({"constants": ["shoe=1"]}, "--set"),
        ({"constants": ["id=1"]}, "--set"),
        ({"constants": ["city=A", "city=B"]}, "--set"),
        ({"mapped": ["a=shoe"]}, "--map"),
        ({"date_formats": ["%d.%m"]}, "--date-format"),
        ({"date_formats": ["never"]}, "--date-format"),
        ({"date_formats": ["%d.%m.%Q"]}, "--date-format"),
    ],
)
def test_an_option_that_cannot_be_meant_is_named(options: dict[str, list[str]], field: str) -> None:
    """Before a file is read."""
    with pytest.raises(InvalidArgument) as refused:
        Choices.of_options(**options)  # type: ignore[arg-type]
    assert refused.value.field == field


# Saved mappings


@pytest.fixture
def saved(tmp_path: Path) -> SavedMappings:
    """An empty folder of mappings, which is not there yet."""
    return SavedMappings(tmp_path / "namesake" / "mappings")


CHOICES = Choices(
    (("Kd-Nr", "id"), ("Größe", "-")), (("country", "DE"), ("tags", "a=b")), "dmy",
    ("%d.%m.%y",), "DE",
)  # fmt: skip


def test_a_mapping_that_was_saved_is_what_is_loaded(saved: SavedMappings) -> None:
    """Until it is replaced or deleted."""
    assert saved.names() == []
    saved.save("shop", CHOICES)
    saved.save("fair.2026", Choices())
    assert saved.names() == ["fair.2026", "shop"]
    assert saved.load("shop") == CHOICES
    saved.save("shop", Choices())
    assert saved.load("shop") == Choices()
    saved.delete("shop")
    assert saved.names() == ["fair.2026"]
    for call in (saved.load, saved.delete):
        with pytest.raises(InvalidArgument):
            call("shop")


def test_a_files_mapping_saved_reads_such_files_again(saved: SavedMappings) -> None:
    """With all its columns, also those that were guessed by their cells."""
    rows = [("ada@x.org", "13/04/1990", "King"), ("b@x.org", "03/04/1990", "Byron")]
    first = ColumnMapping.of(("c1", "born", "Name"), rows, Choices.of_options(["born=birth_date"]))
    saved.save("shop", first.choices())
    again = ColumnMapping.of(first.header, [], saved=saved.load("shop"))
    assert (again.fields, again.orders[1]) == (first.fields, "dmy")


def test_mappings_are_found_by_the_header_of_a_file(saved: SavedMappings) -> None:
    """Those whose columns it has; the one that knows most of it first."""
    saved.save("small", Choices.of_options(["KD=id"]))
    saved.save("large", Choices.of_options(["KD=id", "Tel=phone", "x=-"]))
    saved.save("other", Choices.of_options(["Nr=id", "Tel=phone"]))
    saved.save("empty", Choices.of_options(constants=["country=DE"]))
    (Path(saved._folder) / "broken.json").write_text("{")
    assert saved.fitting(("kd", "TEL", "Mail")) == ["large", "small"]
    assert saved.fitting(("Mail",)) == []


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a b", "x" * 65, "é"])
def test_a_name_that_is_no_files_name_is_refused(saved: SavedMappings, name: str) -> None:
    """It could lead out of the folder."""
    with pytest.raises(InvalidArgument):
        saved.save(name, CHOICES)


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{", "1", "{}", '{"version": 2}', '{"version": 1, "columns": []}',
        '{"version": 1, "columns": {"a": "shoe"}}', '{"version": 1, "columns": {"a": 1}}',
        '{"version": 1, "date_order": "ymd"}', '{"version": 1, "date_order": []}',
        '{"version": 1, "date_formats": "%d"}', '{"version": 1, "date_formats": ["%d"]}',
        '{"version": 1, "constants": {"a": "b"}}', '{"version": 1, "constants": [["a"]]}',
        '{"version": 1, "constants": [["shoe", "1"]]}', '{"version": 1, "default_region": 1}',
        "[" * 100_000, json.dumps({"version": 1, "note": "x" * (1 << 20)}),
    ],
)  # fmt: skip
def test_a_file_that_is_no_mapping_is_refused(saved: SavedMappings, content: str) -> None:
    """Also one of a version that is not known yet."""
    saved.save("shop", CHOICES)
    (Path(saved._folder) / "shop.json").write_text(content)
    with pytest.raises(InvalidArgument, match="is no mapping"):
        saved.load("shop")


def test_mappings_are_kept_in_the_users_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where XDG says, which a relative path does not change."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, base in (("", tmp_path / ".config"), ("rel", tmp_path / ".config"), ("/x", "/x")):
        monkeypatch.setenv("XDG_CONFIG_HOME", given)
        assert configuration_folder() == Path(base) / "namesake" / "mappings"
