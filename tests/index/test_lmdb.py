"""`_lmdb` against a dict, over a real file; its refusals."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from service.errors import StorageFault
from service.index import _lmdb
from service.index._lmdb import APPEND, NO_OVERWRITE, Calls
from service.index.layout import pack_u64

Env = lmdb.Environment


@pytest.fixture
def env(tmp_path: Path) -> Iterator[Env]:
    """An empty environment."""
    with lmdb.open(str(tmp_path), max_dbs=2, map_size=1 << 26) as env:
        yield env


@pytest.mark.parametrize("seed", range(5))
def test_numbers_under_a_key_agree_with_a_dict(env: Env, seed: int) -> None:
    """Rows and entries: for keys with none, with one, with a page full and with a sub-tree."""
    chance = random.Random(seed)
    table = env.open_db(b"several", dupsort=True, dupfixed=True)
    held: dict[bytes, set[int]] = {}
    keys = [bytes([97 + number]) * chance.randint(1, 300) for number in range(8)]
    with env.begin(write=True) as txn:
        calls = Calls(txn)
        for key in keys[:-1]:  # the last has nothing
            numbers = {
                chance.choice((0, 1, 2, 0xFFFF)) << 48 | chance.randint(1, 3_000)
                for _ in range(chance.choice((1, 2, 40, 2_000)))
            }
            pairs = [(key, pack_u64(number)) for number in sorted(numbers)]
            assert calls.put_all(table, pairs) == len(numbers)
            gone = chance.sample(sorted(numbers), len(numbers) // 3)
            for number in gone:
                assert calls.delete(table, key, pack_u64(number))
                assert not calls.delete(table, key, pack_u64(number))
            held[key] = numbers.difference(gone)
        calls.put_under(table, keys[:3], pack_u64(7))
        for key in keys[:3]:
            held[key].add(7)
        check_against(calls, table, keys, held, chance)
    with env.begin() as txn:  # and what was committed
        check_against(Calls(txn), table, keys, held, chance)


def check_against(
    calls: Calls,
    table: lmdb._Database,
    keys: list[bytes],
    held: dict[bytes, set[int]],
    chance: random.Random,
) -> None:
    """Compare every way to read."""
    for key in keys:
        numbers = sorted(held.get(key, ()))
        assert calls.has(table, key) == bool(numbers)
        assert calls.count(table, key) == len(numbers)
        assert calls.get(table, key) == (pack_u64(numbers[0]) if numbers else None)
    for _ in range(200):
        some = chance.sample(keys, chance.randint(0, 4))
        limit, after = chance.randint(0, 60), chance.choice((0, 0, 1, 50, 2_999, 1 << 48))
        united = sorted({n for key in some for n in held.get(key, ()) if n > after})
        assert calls.rows(table, some, after, limit) == united[:limit]
        prefixes = [(key, chance.choice((0, 1, 2, 3, 0xFFFF))) for key in some]
        expected = []
        for key, prefix in prefixes:
            numbers = sorted(held.get(key, ()))
            shown = numbers
            if len(numbers) > limit:
                shown = [n for n in numbers if prefix and n >> 48 == prefix][:limit]
            expected.append((len(numbers), shown))
        assert calls.entries(table, prefixes, limit) == expected


def test_single_values(env: Env) -> None:
    """What is there stays, is replaced, or is refused out of order, as the flags say."""
    table = env.open_db(b"single")
    with env.begin(write=True) as txn:
        calls = Calls(txn)
        assert calls.put(table, b"b", b"1")
        assert not calls.put(table, b"b", b"2", NO_OVERWRITE)
        assert not calls.put(table, b"a", b"2", APPEND)
        assert calls.put(table, b"b", b"3")
        many = [(b"%05d" % number, b"x" * number) for number in range(1_000)]  # without the GIL
        assert calls.put_all(table, many, NO_OVERWRITE) == 1_000
        assert calls.put_all(table, many[:2], NO_OVERWRITE) == 0
        assert calls.get_all(table, [b"b", b"00007", b"none"]) == [b"3", b"x" * 7, None]
        assert calls.delete(table, b"b")
        assert calls.get(table, b"b") is None


def test_cursors_of_py_lmdb_see_what_was_put(env: Env) -> None:
    """They look again after each change, so that none stands on a page that was rewritten."""
    table = env.open_db(b"single")
    with env.begin(write=True) as txn:
        calls = Calls(txn)
        calls.put(table, b"a", b"1")
        cursor = txn.cursor(table)
        assert cursor.set_key(b"a")
        calls.put(table, b"a", b"22")
        assert cursor.value() == b"22"
        calls.delete(table, b"a")
        assert cursor.key() == b""


def test_an_ended_transaction_and_unfit_keys_are_faults(env: Env) -> None:
    """As py-lmdb has them: the same classes, with the code."""
    table = env.open_db(b"single")
    with env.begin(write=True) as txn:
        calls = Calls(txn)
        with pytest.raises(lmdb.BadValsizeError) as caught:
            calls.put(table, b"", b"1")
        assert caught.value.code == -30781
        with pytest.raises(TypeError):
            calls.get("single", b"a")  # type: ignore[arg-type]
    with pytest.raises(lmdb.Error, match="ended"):
        calls.get(table, b"a")
    with env.begin() as txn, pytest.raises(lmdb.ReadonlyError):
        Calls(txn).put(table, b"a", b"1")


def test_a_full_map_is_told_apart(tmp_path: Path) -> None:
    """The writer makes room where it hears of that."""
    with lmdb.open(str(tmp_path), max_dbs=1, map_size=1 << 16) as env:
        table = env.open_db(b"single")
        pairs = [(b"%05d" % number, b"x" * 900) for number in range(100)]
        with pytest.raises(lmdb.MapFullError), env.begin(write=True) as txn:
            Calls(txn).put_all(table, pairs)


def test_another_release_of_lmdb_is_refused(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose objects may be laid out in another way."""
    monkeypatch.setattr(lmdb, "__version__", "9.9.9")
    with env.begin() as txn, pytest.raises(StorageFault, match=f"needs lmdb {_lmdb.RELEASE}"):
        Calls(txn)
