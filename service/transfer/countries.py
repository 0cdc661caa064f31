"""Countries as people write them in files: ISO 3166-1 alpha-2 codes and names.

Names are those in English of all countries, and of the larger ones in the other languages of which
headers are known: German, French, Spanish, Portuguese and Russian.
"""

from __future__ import annotations

from service.transfer.words import plain

# Code, then the names in use. Territories that share another country's numbering plan and
# addresses are left to their codes.
_COUNTRIES = """
AD Andorra|AE United Arab Emirates;UAE;Emirates|AF Afghanistan|AG Antigua and Barbuda|AL Albania
AM Armenia|AO Angola|AR Argentina|AT Austria|AU Australia|AZ Azerbaijan|BA Bosnia and Herzegovina
BB Barbados|BD Bangladesh|BE Belgium|BF Burkina Faso|BG Bulgaria|BH Bahrain|BI Burundi|BJ Benin
BN Brunei|BO Bolivia|BR Brazil|BS Bahamas;The Bahamas|BT Bhutan|BW Botswana|BY Belarus|BZ Belize
CA Canada|CD Democratic Republic of the Congo;DR Congo|CF Central African Republic
CG Congo;Republic of the Congo|CH Switzerland|CI Côte d'Ivoire;Ivory Coast|CL Chile|CM Cameroon
CN China;People's Republic of China|CO Colombia|CR Costa Rica|CU Cuba|CV Cabo Verde;Cape Verde
CY Cyprus|CZ Czechia;Czech Republic|DE Germany|DJ Djibouti|DK Denmark|DM Dominica
DO Dominican Republic|DZ Algeria|EC Ecuador|EE Estonia|EG Egypt|ER Eritrea|ES Spain|ET Ethiopia
FI Finland|FJ Fiji|FM Micronesia|FO Faroe Islands|FR France|GA Gabon|GD Grenada|GE Georgia|GH Ghana
GB United Kingdom;UK;Great Britain;Britain;England;Scotland;Wales;Northern Ireland
GI Gibraltar|GL Greenland|GM Gambia;The Gambia|GN Guinea|GQ Equatorial Guinea|GR Greece
GT Guatemala|GW Guinea-Bissau|GY Guyana|HK Hong Kong|HN Honduras|HR Croatia|HT Haiti|HU Hungary
ID Indonesia|IE Ireland;Republic of Ireland|IL Israel|IN India|IQ Iraq|IR Iran|IS Iceland|IT Italy
JM Jamaica|JO Jordan|JP Japan|KE Kenya|KG Kyrgyzstan|KH Cambodia|KI Kiribati|KM Comoros
KN Saint Kitts and Nevis|KP North Korea|KR South Korea;Korea;Republic of Korea|KW Kuwait
KZ Kazakhstan|LA Laos|LB Lebanon|LC Saint Lucia|LI Liechtenstein|LK Sri Lanka|LR Liberia
LS Lesotho|LT Lithuania|LU Luxembourg|LV Latvia|LY Libya|MA Morocco|MC Monaco|MD Moldova
ME Montenegro|MG Madagascar|MH Marshall Islands|MK North Macedonia;Macedonia|ML Mali
MM Myanmar;Burma|MN Mongolia|MO Macao;Macau|MR Mauritania|MT Malta|MU Mauritius|MV Maldives
MW Malawi|MX Mexico|MY Malaysia|MZ Mozambique|NA Namibia|NE Niger|NG Nigeria|NI Nicaragua
NL Netherlands;The Netherlands;Holland|NO Norway|NP Nepal|NR Nauru|NZ New Zealand|OM Oman
PA Panama|PE Peru|PG Papua New Guinea|PH Philippines;The Philippines|PK Pakistan|PL Poland
PR Puerto Rico|PS Palestine|PT Portugal|PW Palau|PY Paraguay|QA Qatar|RO Romania|RS Serbia
RU Russia;Russian Federation|RW Rwanda|SA Saudi Arabia|SB Solomon Islands|SC Seychelles|SD Sudan
SE Sweden|SG Singapore|SI Slovenia|SK Slovakia|SL Sierra Leone|SM San Marino|SN Senegal|SO Somalia
SR Suriname|SS South Sudan|ST São Tomé and Príncipe|SV El Salvador|SY Syria
SZ Eswatini;Swaziland|TD Chad|TG Togo|TH Thailand|TJ Tajikistan|TL Timor-Leste;East Timor
TM Turkmenistan|TN Tunisia|TO Tonga|TR Turkey;Türkiye|TT Trinidad and Tobago|TV Tuvalu|TW Taiwan
TZ Tanzania|UA Ukraine|UG Uganda|US United States;USA;United States of America;America
UY Uruguay|UZ Uzbekistan|VA Vatican City;Holy See|VC Saint Vincent and the Grenadines
VE Venezuela|VN Vietnam;Viet Nam|VU Vanuatu|WS Samoa|XK Kosovo|YE Yemen|ZA South Africa
ZM Zambia|ZW Zimbabwe
"""

_OTHER_NAMES = """
DE Deutschland;Allemagne;Alemania;Alemanha;Германия|AT Österreich;Autriche;Áustria;Австрия
CH Schweiz;Suisse;Suiza;Suíça;Швейцария|FR Frankreich;Francia;França;Франция
ES Spanien;Espagne;España;Espanha;Испания|PT Португалия|IT Italien;Italie;Italia;Itália;Италия
GB Großbritannien;Vereinigtes Königreich;Royaume-Uni;Grande-Bretagne;Reino Unido;Gran Bretaña
GB Великобритания|US Vereinigte Staaten;États-Unis;Estados Unidos;EE.UU.;EUA;США
RU Russland;Russie;Rusia;Rússia;Россия;Российская Федерация;РФ|UA Ucrania;Ucrânia;Украина;Україна
BY Weißrussland;Biélorussie;Bielorrusia;Bielorrússia;Беларусь;Белоруссия
PL Polen;Pologne;Polonia;Polônia;Polónia;Polska;Польша
NL Niederlande;Pays-Bas;Países Bajos;Países Baixos;Holanda;Nederland;Нидерланды
BE Belgien;Belgique;Bélgica;Бельгия|LU Luxemburg;Luxemburgo;Люксембург
DK Dänemark;Danemark;Dinamarca;Дания|SE Schweden;Suède;Suecia;Suécia;Швеция
NO Norwegen;Norvège;Noruega;Норвегия|FI Finnland;Finlande;Finlandia;Finlândia;Финляндия
CZ Tschechien;Tchéquie;République tchèque;Chequia;República Checa;Tchéquia;Чехия
SK Slowakei;Slovaquie;Eslovaquia;Eslováquia;Словакия|HU Ungarn;Hongrie;Hungría;Hungria;Венгрия
RO Rumänien;Roumanie;Rumania;Romênia;Румыния|BG Bulgarien;Bulgarie;Болгария
GR Griechenland;Grèce;Grecia;Grécia;Греция|TR Türkei;Turquie;Turquía;Turquia;Турция
IE Irland;Irlande;Irlanda;Ирландия|HR Kroatien;Croatie;Croacia;Croácia;Хорватия
SI Slowenien;Slovénie;Eslovenia;Eslovênia;Словения|RS Serbien;Serbie;Sérvia;Сербия
LT Litauen;Lituanie;Lituania;Lituânia;Литва|LV Lettland;Lettonie;Letonia;Letônia;Латвия
EE Estland;Estonie;Estônia;Эстония|MD Moldawien;Moldavie;Moldavia;Молдова;Молдавия
GE Georgien;Géorgie;Geórgia;Грузия|AM Armenien;Arménie;Armênia;Армения
AZ Aserbaidschan;Azerbaïdjan;Azerbaiyán;Azerbaijão;Азербайджан
KZ Kasachstan;Kazajistán;Cazaquistão;Казахстан|KG Kirgisistan;Кыргызстан;Киргизия
UZ Usbekistan;Ouzbékistan;Uzbekistán;Узбекистан|TJ Tadschikistan;Таджикистан|TM Туркменистан
IL Israël;Израиль|CN Chine;Китай|JP Japon;Japón;Japão;Япония|IN Indien;Inde;Índia;Индия
KR Südkorea;Corée du Sud;Corea del Sur;Coreia do Sul;Южная Корея
BR Brasilien;Brésil;Brasil;Бразилия|MX Mexiko;Mexique;México;Мексика
AR Argentinien;Argentine;Аргентина|CL Chili;Чили|CO Kolumbien;Colombie;Колумбия|PE Pérou;Перу
CA Kanada;Канада|AU Australien;Australie;Австралия|EG Ägypten;Égypte;Egipto;Egito;Египет
ZA Südafrika;Afrique du Sud;Sudáfrica;África do Sul;ЮАР|DZ Algerien;Algérie;Argelia;Argélia
MA Marokko;Maroc;Marruecos;Marrocos;Марокко|TN Tunesien;Tunisie;Túnez;Tunísia;Тунис
AE Vereinigte Arabische Emirate;Émirats arabes unis;Emiratos Árabes Unidos;ОАЭ
SA Saudi-Arabien;Arabie saoudite;Arabia Saudita;Arábia Saudita;Саудовская Аравия
"""

# Codes without a name above: dependencies and islands.
_CODES_ALONE = (
    "AC AI AQ AS AW AX BL BM BQ BV CC CK CW CX EH FK GF GG GP GS GU HM IM IO JE KY MF MP MQ MS NC "
    "NF NU PF PM PN RE SH SJ SX TA TC TF TK UM VG VI WF YT"
)


def _names() -> dict[str, str]:
    entries = f"{_OTHER_NAMES}|{_COUNTRIES}".replace("\n", "|").split("|")
    pairs = (entry.partition(" ") for entry in entries if entry)
    return {plain(name): code for code, _, names in pairs for name in names.split(";")}


_BY_NAME = _names()
_CODES = frozenset(_BY_NAME.values()) | frozenset(_CODES_ALONE.split())


def country_code(text: str) -> str:
    """Return the alpha-2 code of a code or name, "" for anything else."""
    code = text.strip().upper()
    if code in _CODES:
        return code
    return _BY_NAME.get(plain(text), "")
