"""What a text is written in, found in it: encoding, delimiter, quotation mark."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidArgument
from service.transfer import files
from service.transfer.dialects import Dialect
from service.transfer.tables import open_table

PEOPLE = {
    "german": "id;Vorname;Nachname;Straße\n1;Jürgen;Müller;Königstraße 5\n2;Käthe;Groß;Mühlweg\n",
    "french": "id;prénom;nom;ville\n1;François;Lefèvre;Besançon\n2;Zoé;Dupont;Paris\n",
    "spanish": "id;nombre;apellido;ciudad\n1;José;Muñoz;Málaga\n2;Begoña;Núñez;A Coruña\n",
    "portuguese": "id;nome;sobrenome;endereço\n1;João;Conceição;São Paulo\n2;Inês;Simões;Évora\n",
    "italian": "id;nome;città\n1;Nicolò;Forlì\n2;Niccolò;Cantù\n3;José;Cefalù\n",
    "norwegian": "id;navn\n1;Bjørn Ødegård\n2;Søren Ångström\n3;Kåre Sæther\n",
    "russian": "id;имя;фамилия;город\n1;Иван;Иванов;Москва\n2;АННА;Петрова;Казань\n",
    "polish": "id;imię;nazwisko;miasto\n1;Łukasz;Wiśniewski;Łódź\n2;Grażyna;Wójcik;Kraków\n",
    "czech": "id;jméno;příjmení;město\n1;Jiří;Dvořák;Plzeň\n2;Božena;Černá;Brno\n",
    "turkish": "id;ad;soyad;şehir\n1;Gülşen;Yıldız;İstanbul\n2;Çağrı;Öztürk;Eskişehir\n",
    "greek": "id;όνομα;επώνυμο;πόλη\n1;Γιώργος;Παπαδόπουλος;Αθήνα\n",
}
WESTERN = ("german", "french", "spanish", "portuguese")


def _file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "people.csv"
    path.write_bytes(content)
    return path


def _read(path: Path, **options: str) -> tuple[Dialect | None, list[tuple[str, ...]]]:
    with open_table(str(path), **options) as table:  # type: ignore[arg-type]
        rows: list[tuple[str, ...]] = [table.header]
        for block in table.blocks(range(len(table.header))):
            rows += zip(*(block.columns[i].to_pylist() for i in sorted(block.columns)), strict=True)
        return table.dialect, rows


def _cells(text: str, delimiter: str = ";") -> list[tuple[str, ...]]:
    return [tuple(line.split(delimiter)) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("language", "encoding"),
    [
        *((language, "windows-1252") for language in (*WESTERN, "italian", "norwegian")),
        *((language, encoding) for language in WESTERN for encoding in ("mac-roman", "cp850")),
        *(("russian", encoding) for encoding in ("windows-1251", "koi8-r", "cp866")),
        *((language, "windows-1250") for language in ("polish", "czech")),
        ("turkish", "windows-1254"),
        ("greek", "windows-1253"),
        *((language, encoding) for language in PEOPLE for encoding in ("utf-8", "utf-16-le")),
        *(("russian", encoding) for encoding in ("utf-16-be", "utf-32-le", "utf-32-be")),
    ],
)
def test_the_encoding_is_found(tmp_path: Path, language: str, encoding: str) -> None:
    """What matters is that every letter is right; two encodings may agree in all of them."""
    dialect, rows = _read(_file(tmp_path, PEOPLE[language].encode(encoding)))
    assert rows == _cells(PEOPLE[language])
    assert dialect is not None
    assert PEOPLE[language].encode(dialect.encoding) == PEOPLE[language].encode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_decides(tmp_path: Path, encoding: str) -> None:
    dialect, rows = _read(_file(tmp_path, PEOPLE["russian"].encode(encoding)))
    assert rows == _cells(PEOPLE["russian"])
    assert dialect == Dialect(encoding.removesuffix("-sig"), ";", '"')


def test_a_letter_far_behind_counts_too(tmp_path: Path) -> None:
    """A file that begins like UTF-8 need not be it."""
    text = "id,name\n" + "1,Ann\n" * 400_000 + "2,Müller\n" * 3
    dialect, rows = _read(_file(tmp_path, text.encode("cp1252")))
    assert dialect == Dialect("windows-1252", ",", '"')
    assert rows[-1] == ("2", "Müller")


def test_a_letter_in_two_pieces_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "id,name\n" + "1,é漢😀\n" * 150_000
    dialect, rows = _read(_file(tmp_path, text.encode()))
    assert dialect == Dialect("utf-8", ",", '"')
    assert rows[-1] == ("1", "é漢😀")


def test_an_encoding_that_nobody_can_tell_is_asked_for(tmp_path: Path) -> None:
    path = _file(tmp_path, "姓,名\n山田,太郎\n佐藤,花子\n".encode("cp932"))
    with pytest.raises(InvalidArgument, match="name the file's encoding") as refused:
        _read(path)
    assert str(path) in refused.value.message
    assert _read(path, encoding="cp932")[1][1] == ("山田", "太郎")


@pytest.mark.parametrize(
    ("encoding", "reason"), [("utf-16", "BOM"), ("ascii", "near line 1"), ("cp9999", "no encoding")]
)
def test_an_encoding_that_is_named_wrongly_is_told(
    tmp_path: Path, encoding: str, reason: str
) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        _read(_file(tmp_path, "id,naïve\n".encode()), encoding=encoding)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str, end: str) -> None:
    text = PEOPLE["german"].replace(";", delimiter).replace("\n", end)
    dialect, rows = _read(_file(tmp_path, text.encode()))
    assert dialect == Dialect("utf-8", delimiter, '"')
    assert rows == _cells(PEOPLE["german"])


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("name, first, title;city\nMüller, Ann, Dr;Bonn\nRoe;Ulm\nPoe;Rom\nA;B\n", ";"),
        ("a,b;c,d\n1,2;3,4\n", ","),
        ("id|note\n1|a,b,c\n2|d,e\n3|f\n", "|"),
        ('"id;x";"note"\n1;"a,b,c"\n2;"d"\n', ";"),
        ("id\n1\n", ","),
        ("id,note\n1\n2\n3,x\n", ","),
    ],
)
def test_the_delimiter_is_judged_over_the_rows(tmp_path: Path, text: str, delimiter: str) -> None:
    with open_table(str(_file(tmp_path, text.encode()))) as table:
        assert table.dialect is not None
        assert table.dialect.delimiter == delimiter


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;"])
def test_a_first_line_may_name_the_delimiter(tmp_path: Path, line: str) -> None:
    """As Excel writes it; the lines of faults count it."""
    path = _file(tmp_path, f"{line}\r\na,b;c\r\n1,2;3\r\n".encode())
    assert _read(path) == (Dialect("utf-8", ";", '"'), [("a,b", "c"), ("1,2", "3")])
    assert _read(path, delimiter=",")[1] == [("a", "b;c"), ("1", "2;3")]
    with pytest.raises(InvalidArgument, match="Line 4:"):
        _read(_file(tmp_path, f"{line}\na;b\n1;2\n1;2;3\n".encode()))


def test_apostrophes_are_quotation_marks_where_they_surely_are(tmp_path: Path) -> None:
    quoted = "'id';'name'\n'1';'Müller; Ann'\n'2';'O''Neill'\n"
    dialect, rows = _read(_file(tmp_path, quoted.encode()))
    assert dialect == Dialect("utf-8", ";", "'")
    assert rows == [("id", "name"), ("1", "Müller; Ann"), ("2", "O'Neill")]
    plain = "id;name\n1;'s-Hertogenbosch\n2;'Arry'\n3;O'Neill\n"
    dialect, rows = _read(_file(tmp_path, plain.encode()))
    assert dialect == Dialect("utf-8", ";", '"')
    assert rows == _cells(plain)
    assert _read(_file(tmp_path, b"a\n~b~\n"), quote="~")[1] == [("a",), ("b",)]
    with pytest.raises(InvalidArgument, match="one character"):
        _read(_file(tmp_path, b"a;b\n"), quote=";", delimiter=";")


_CELL = st.text(st.sampled_from("ab;,'\"\n é"), max_size=5)


@given(
    rows=st.lists(st.tuples(_CELL, _CELL), max_size=5),
    delimiter=st.sampled_from(",;\t|"),
    quote=st.sampled_from("\"'"),
)
def test_any_dialect_that_is_named_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    delimiter: str,
    quote: str,
) -> None:
    written = [
        delimiter.join(quote + cell.replace(quote, 2 * quote) + quote for cell in row)
        for row in [("one", "two"), *rows]
    ]
    path = _file(tmp_path_factory.getbasetemp(), "".join(f"{row}\n" for row in written).encode())
    _, found = _read(path, delimiter=delimiter, quote=quote)
    assert found == [("one", "two"), *(row for row in rows if any(row))]


def test_a_pipe_is_looked_at_and_read_whole(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    text = "id;Straße\n" + "".join(f"{n};Köln\n" for n in range(2 * files.SAMPLE_BYTES // 10))
    sender = threading.Thread(target=pipe.write_bytes, args=(text.encode("cp1252"),))
    sender.start()
    with open_table(str(pipe)) as table:
        assert table.dialect == Dialect("windows-1252", ";", '"')
        begin = table.preview(2)
        assert begin.rows == (("0", "Köln"), ("1", "Köln"))
        (block,) = table.blocks([0, 1])
        assert block.columns[0].to_pylist() == [str(n) for n in range(text.count("\n") - 1)]
    sender.join(5)
