"""Encodings that are kept between runs: those that were made, and made again only if something is different."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.core.errors import TrainingError
from nlp_app.storage.cache import LIMIT, CacheEntry, CacheEntryWriter, encoding_key, load_or_build, load_or_build_in
from nlp_app.storage.ragged import RaggedColumns

KEY = encoding_key("some")


def cached_columns(
    directory: Path, key: str, make: Callable[[], Mapping[str, RaggedColumns]], limit: int = LIMIT
) -> Mapping[str, RaggedColumns]:
    def write(writer: CacheEntryWriter) -> None:
        for name, columns in make().items():
            writer.append(name, columns)
        (writer.folder / "more").mkdir()
        (writer.folder / "more" / "words.txt").write_text("some words")
        writer.facts["answer"] = 42

    def read(entry: CacheEntry) -> Mapping[str, RaggedColumns]:
        assert entry.facts == {"answer": 42}
        assert (entry.folder / "more" / "words.txt").read_text() == "some words"
        return entry.columns

    return load_or_build_in(directory, key, write, read, limit=limit)


def some(rows: int = 3, seed: int = 0) -> dict[str, RaggedColumns]:
    random = np.random.default_rng(seed)
    arrays = {"ids": random.integers(0, 9, 2 * rows).astype(np.int32), "pairs": random.random((2 * rows, 2))}
    offsets = np.arange(rows + 1) * 2
    return {
        "pieces": RaggedColumns(arrays, offsets),
        "bounds": RaggedColumns({}, offsets),
        "none": RaggedColumns({"x": np.zeros(0)}, offsets[:1]),
    }


def unwanted() -> Mapping[str, RaggedColumns]:
    raise ValueError("made anew")


def assert_same(found: Mapping[str, RaggedColumns], expected: Mapping[str, RaggedColumns]) -> None:
    assert found.keys() == expected.keys()
    for name, columns in expected.items():
        assert found[name].arrays.keys() == columns.arrays.keys()
        assert np.array_equal(found[name].offsets, columns.offsets)
        for part, array in columns.arrays.items():
            assert found[name].arrays[part].dtype == array.dtype
            assert np.array_equal(found[name].arrays[part], array)


def entries(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_made_once_and_found_again(tmp_path: Path) -> None:
    directory = tmp_path / "not/there/yet"
    assert_same(cached_columns(directory, KEY, some), some())
    found = cached_columns(directory, KEY, unwanted)
    assert_same(found, some())
    assert entries(directory) == {KEY}
    with pytest.raises(ValueError, match="read-only"):
        found["pieces"].arrays["ids"][0] = 1
    with pytest.raises(ValueError, match="made anew"):
        cached_columns(directory, encoding_key("other"), unwanted)
    assert entries(directory) == {KEY}


@given(st.lists(st.text() | st.binary(), max_size=4), st.lists(st.text() | st.binary(), max_size=4))
def test_keys_tell_parts_apart(one: list[str | bytes], other: list[str | bytes]) -> None:
    assert (encoding_key(*one) == encoding_key(*other)) == (one == other)


def test_keys_tell_arrays_apart() -> None:
    array = np.arange(6, dtype=np.int32)
    others = [array.reshape(2, 3), array.reshape(3, 2), array.astype(np.int64), array + 1, array[::-1], array.tobytes()]
    assert len({encoding_key(each) for each in [array, *others]}) == 7
    assert encoding_key(array.reshape(2, 3).T) == encoding_key(np.ascontiguousarray(array.reshape(2, 3).T))
    assert encoding_key("\ud800") != encoding_key("\ud801")


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "short":
        path.write_bytes(content[:-1])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "longer":
        path.write_bytes(content + b"\0")
    else:
        path.write_text("[1, {}]")


@pytest.mark.parametrize("how", ["gone", "short", "empty", "longer", "nonsense"])
def test_what_is_damaged_is_made_anew(how: str, tmp_path: Path) -> None:
    cached_columns(tmp_path, KEY, some)
    for path in sorted(path for path in (tmp_path / KEY).rglob("*") if path.is_file() and path.stat().st_size):
        damage(path, how)
        with pytest.raises(ValueError, match="made anew"):
            cached_columns(tmp_path, KEY, unwanted)
        assert_same(cached_columns(tmp_path, KEY, some), some())
        assert_same(cached_columns(tmp_path, KEY, unwanted), some())
        assert entries(tmp_path) == {KEY}


def test_the_longest_unused_go_when_there_are_too_many(tmp_path: Path) -> None:
    keys = [encoding_key(str(number)) for number in range(5)]
    for age, key in enumerate(keys[:4]):
        cached_columns(tmp_path, key, some)
        os.utime(tmp_path / key, (time.time() - 100 + age,) * 2)
    cached_columns(tmp_path, keys[0], unwanted)  # the first is now the last that was used
    size = sum(path.stat().st_size for path in (tmp_path / keys[0]).rglob("*"))
    kept = cached_columns(tmp_path, keys[2], unwanted)
    os.utime(tmp_path / keys[2], (time.time() - 200,) * 2)
    (tmp_path / "somebody's").mkdir()
    cached_columns(tmp_path, keys[4], some, limit=2 * size)
    assert entries(tmp_path) == {keys[0], keys[4], "somebody's"}
    assert_same(kept, some())
    assert_same(cached_columns(tmp_path, encoding_key("big"), some, limit=1), some())
    assert entries(tmp_path) == {encoding_key("big"), "somebody's"}


def test_every_bit_of_the_manifest_counts(tmp_path: Path) -> None:
    cached_columns(tmp_path, KEY, some)
    path = tmp_path / KEY / "manifest.json"
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        with pytest.raises(ValueError, match="made anew"):
            cached_columns(tmp_path, KEY, unwanted)
    path.write_bytes(content)
    cached_columns(tmp_path, KEY, unwanted)


def test_a_large_file_is_known_by_its_size(tmp_path: Path) -> None:
    def make() -> Mapping[str, RaggedColumns]:
        return {"rows": RaggedColumns({"a": np.arange(2_500_000)}, np.array([0, 2_500_000]))}

    cached_columns(tmp_path, KEY, make)
    path = tmp_path / KEY / "rows-a"
    os.utime(path, ns=(0, 0))  # copied, say
    cached_columns(tmp_path, KEY, unwanted)
    os.truncate(path, path.stat().st_size - 4096)
    with pytest.raises(ValueError, match="made anew"):
        cached_columns(tmp_path, KEY, unwanted)
    cached_columns(tmp_path, KEY, make)
    cached_columns(tmp_path, KEY, unwanted)


def test_the_manifest_is_written_when_all_else_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash loses what was not synchronized: nothing of it may be beside a manifest."""
    synchronized: dict[int, int] = {}  # file number -> size at that time

    def fsync(descriptor: int) -> None:
        facts = os.fstat(descriptor)
        if not list(tmp_path.rglob("manifest.json")):
            synchronized[facts.st_ino] = facts.st_size

    monkeypatch.setattr(os, "fsync", fsync)
    cached_columns(tmp_path, KEY, some)
    for path in (tmp_path / KEY).rglob("*"):
        if path.is_file() and path.name != "manifest.json":
            assert synchronized[path.stat().st_ino] == path.stat().st_size, path


@pytest.mark.parametrize("separator", [".", "-"])  # now, and in older versions
def test_what_dead_runs_left_goes_and_what_others_write_stays(tmp_path: Path, separator: str) -> None:
    old, new = (tmp_path / f".{KEY}{separator}{encoding_key(name)}" for name in ("old", "new"))
    for path in (old, new):
        path.mkdir()
    os.utime(old, (time.time() - 60,) * 2)
    cached_columns(tmp_path, KEY, some)
    assert entries(tmp_path) == {KEY, new.name}


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_writer_keeps_its_folder_while_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_alive: bool
) -> None:
    pytest.importorskip("fcntl")
    process = multiprocessing.get_context("fork").Process(target=write_slowly, args=(str(tmp_path), 0.1))
    process.start()
    while not [*tmp_path.glob(".*/rows-*")]:
        time.sleep(0.001)
    found = entries(tmp_path)
    monkeypatch.setattr("nlp_app.core.files._YOUNG", 0)
    if not is_alive:
        process.kill()
        process.join()
    time.sleep(0.02)
    cached_columns(tmp_path, encoding_key("other"), some)
    assert entries(tmp_path) == {encoding_key("other"), *(found if is_alive else ())}
    process.kill()
    process.join()


def test_where_there_are_no_locks_age_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlp_app.core.locks.fcntl", None)
    old, new = (tmp_path / f".{KEY}.{encoding_key(name)}" for name in ("old", "new"))
    for path in (old, new):
        path.mkdir()
        (path / "rows").write_text("some")
        os.utime(path, (time.time() - 3 * 24 * 3600,) * 2)
    os.utime(old / "rows", (time.time() - 2 * 24 * 3600,) * 2)
    cached_columns(tmp_path, KEY, some)
    assert entries(tmp_path) == {KEY, new.name}, "a file was written to"


def test_what_is_kept_is_for_its_user_alone(tmp_path: Path) -> None:
    cached_columns(tmp_path / "cache", KEY, some)
    for path in (tmp_path / "cache", tmp_path / "cache" / KEY):
        assert path.stat().st_mode & 0o777 == 0o700


def test_nowhere_to_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    others = {f".other.{KEY}", "nlp_app-models", ".unfinished-other"}
    for path in map(tmp_path.joinpath, (f".nlp_app.{KEY}", f"nlp_app-{KEY}", *others)):
        path.mkdir()
        os.utime(path, (time.time() - 60,) * 2)
    if os.name == "posix":  # neither HOME nor, below, an entry of the user
        pwd = pytest.importorskip("pwd")
        monkeypatch.delenv("NLP_APP_CACHE", raising=False)
        monkeypatch.delenv("HOME", raising=False)
        monkeypatch.setattr(pwd, "getpwuid", lambda number: {}[number])
    else:
        monkeypatch.setenv("NLP_APP_CACHE", str(tmp_path / "file"))
        (tmp_path / "file").write_text("")
    notes: list[str] = []
    assert_same(load_or_build(KEY, write_some, lambda entry: entry.columns, say=notes.append), some())
    assert len(notes) == 1
    assert "NLP_APP_CACHE to a directory; the encoded texts are used for this run only" in notes[0]
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == others


def write_some(writer: CacheEntryWriter) -> None:
    for name, columns in some().items():
        writer.append(name, columns)


def use(directory: str, seed: int) -> bool:
    for number in range(20):
        key = encoding_key(str(number % 3))
        assert_same(
            cached_columns(Path(directory), key, lambda n=number: some(200, n % 3), limit=12000 if seed else 1 << 20),
            some(200, number % 3),
        )
    return True


def test_several_runs_share_a_directory(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert all(pool.starmap(use, [(str(tmp_path), seed) for seed in range(3)]))
    assert not [name for name in entries(tmp_path) if name.startswith(".")]


def test_another_run_may_be_first(tmp_path: Path) -> None:
    def late() -> Mapping[str, RaggedColumns]:
        cached_columns(tmp_path, KEY, some)
        return some()

    assert_same(cached_columns(tmp_path, KEY, late), some())
    assert_same(cached_columns(tmp_path, KEY, unwanted), some())
    assert entries(tmp_path) == {KEY}


def write_slowly(directory: str, seconds: float = 0.001) -> None:
    def write(writer: CacheEntryWriter) -> None:
        for _ in range(200):
            writer.append("rows", some(50)["pieces"])
            time.sleep(seconds)

    load_or_build_in(Path(directory), KEY, write, lambda entry: None)


@pytest.mark.parametrize("seed", range(6))
def test_a_writer_that_is_killed_leaves_nothing_half_made(tmp_path: Path, seed: int) -> None:
    process = multiprocessing.get_context("fork").Process(target=write_slowly, args=(str(tmp_path),))
    process.start()
    while not entries(tmp_path):
        time.sleep(0.001)
    time.sleep(random.Random(seed).random() * 0.3)
    process.kill()
    process.join()
    expected = RaggedColumns(some(50)["pieces"].arrays, some(50)["pieces"].offsets)

    def check(entry: CacheEntry) -> int:
        assert np.array_equal(entry.columns["rows"].arrays["ids"], np.tile(expected.arrays["ids"], 200))
        return len(entry.columns["rows"])

    def write(writer: CacheEntryWriter) -> None:
        for _ in range(200):
            writer.append("rows", expected)

    for _ in range(2):
        assert load_or_build_in(tmp_path, KEY, write, check) == 200 * 50


def test_what_is_needed_stays(tmp_path: Path) -> None:
    needed, other = encoding_key("needed"), encoding_key("other")
    for age, key in enumerate((needed, other)):
        cached_columns(tmp_path, key, some)
        os.utime(tmp_path / key, (time.time() - 100 + age,) * 2)
    load_or_build_in(tmp_path, KEY, lambda writer: None, lambda entry: None, needs=[needed], limit=1)
    assert entries(tmp_path) == {needed, KEY}


def test_no_room(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"cannot store encoded texts: .*; make room, .* NLP_APP_CACHE") as caught:
        cached_columns(tmp_path / "file", KEY, unwanted)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="expected a key from encoding_key"):
        cached_columns(tmp_path, "../elsewhere", some)
