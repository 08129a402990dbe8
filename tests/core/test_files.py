"""Files and directories that are complete or absent, whatever ends the process that writes or removes them."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from conftest import files_of

from nlp_app.core import files
from nlp_app.core.errors import DataError
from nlp_app.core.files import (
    atomic_directory,
    atomic_file,
    is_temporary,
    remove_directory,
    remove_leftovers,
    temporary_directory,
    temporary_path,
)

OLD = {"a": b"old", "below": b"", "below/b": b"old"}
NEW = {"below": b"", "below/b": b"new", "c": b"new"}
HEX = "0123456789abcdef" * 2

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
needs_locks = pytest.mark.skipif(os.name != "posix", reason="locks directories")
forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def fill(directory: Path, contents: dict[str, bytes]) -> None:
    directory.mkdir(exist_ok=True)
    for name, content in contents.items():
        if content:
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_bytes(content)


def put(path: Path, contents: dict[str, bytes]) -> None:
    with atomic_directory(path) as folder:
        fill(folder, contents)


def killed_at_each_line(action: Callable[[], None], *also: str | None) -> Iterator[int]:
    """Fork processes that run the action; the first is killed before the first line of `core/files.py`, or of another
    source file, the second before the second, and so on. Yields after each, until one has come to its end."""
    number = 0
    while True:
        number += 1
        process = os.fork()
        if process == 0:
            _die_at(number, action, {files.__file__, *also})
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert status in (0, -signal.SIGKILL)
        if status == 0:
            return
        yield number


def _die_at(number: int, action: Callable[[], None], watched: set[str | None]) -> None:
    left = number

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in watched:
            return None
        left -= event == "line"
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    status = 1
    try:
        sys.settrace(trace)
        action()
        status = 0
    finally:
        os._exit(status)


def only_leftovers(directory: Path, *names: str) -> None:
    """Nothing else is there but temporary files and directories, and they can be removed."""
    assert all(is_temporary(path.name) for path in directory.iterdir() if path.name not in names)
    remove_leftovers(directory)
    assert {path.name for path in directory.iterdir()} <= {*names}


@needs_fork
@forks
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_file_is_complete_or_absent_after_a_kill(tmp_path: Path, before: bytes | None, binary: bool) -> None:
    path, found = tmp_path / "file", set()

    def write() -> None:
        with atomic_file(path, binary=binary) as stream:  # type: ignore[call-overload]
            stream.write(b"new" if binary else "new")

    def restore() -> None:
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)

    restore()
    for _ in killed_at_each_line(write):
        found.add(path.read_bytes() if path.exists() else None)
        only_leftovers(tmp_path, "file")
        restore()
    assert found == {before, b"new"}
    assert path.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@needs_fork
@forks
@pytest.mark.parametrize("before", [None, OLD])
def test_a_directory_is_complete_or_absent_after_a_kill(tmp_path: Path, before: dict[str, bytes] | None) -> None:
    path, found = tmp_path / "directory", []
    if before is not None:
        fill(path, before)
    for _ in killed_at_each_line(lambda: put(path, NEW)):
        found.append(files_of(path) if path.exists() else None)
        only_leftovers(tmp_path, "directory")
        shutil.rmtree(path, ignore_errors=True)
        if before is not None:
            fill(path, before)
    expected = [None, NEW] if before is None else [None, before, NEW]
    assert all(each in expected for each in found)
    assert all(each in found for each in expected)
    assert files_of(path) == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]


@needs_fork
@forks
def test_a_directory_is_there_or_removed_after_a_kill(tmp_path: Path) -> None:
    path, found = tmp_path / "directory", []
    fill(path, OLD)
    for _ in killed_at_each_line(lambda: remove_directory(path), shutil.__file__):
        found.append(files_of(path) if path.exists() else None)
        only_leftovers(tmp_path, "directory")
        shutil.rmtree(path, ignore_errors=True)
        fill(path, OLD)
    assert all(each in (OLD, None) for each in found)
    assert all(each in found for each in (OLD, None))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("is_there", [False, True])
def test_an_exception_leaves_all_as_it_was(tmp_path: Path, error: type[BaseException], is_there: bool) -> None:
    if is_there:
        (tmp_path / "file").write_text("old")
        fill(tmp_path / "directory", OLD)
    before = files_of(tmp_path)

    def fail_in_a_file() -> None:
        with atomic_file(tmp_path / "file") as stream:
            stream.write("new")
            stream.flush()
            raise error

    def fail_in_a_directory() -> None:
        with atomic_directory(tmp_path / "directory") as folder:
            fill(folder, NEW)
            raise error

    for fail in (fail_in_a_file, fail_in_a_directory):
        with pytest.raises(error):
            fail()
    assert files_of(tmp_path) == before


def test_all_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def flushed(descriptor: int) -> None:
        fsync(descriptor)
        there = {path: path.stat().st_ino for path in (tmp_path, *tmp_path.rglob("*"))}
        done.extend(path.name for path, inode in there.items() if inode == os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "rename", lambda *places: (rename(*places), done.append("renamed"))[0])
    monkeypatch.setattr(os, "replace", lambda *places: (replace(*places), done.append("renamed"))[0])
    put(tmp_path / "directory", NEW)
    at = done.index("renamed")
    assert {"b", "c"} <= {*done[:at]}
    if hasattr(os, "O_DIRECTORY"):
        assert "below" in done[:at]
        assert sum(map(is_temporary, done[:at])) == 1
        assert done[at + 1 :] == [tmp_path.name]
    done.clear()
    with atomic_file(tmp_path / "file") as stream:
        stream.write("new")
    assert [is_temporary(name) for name in done] == [True, False]
    assert done[1] == "renamed"


def test_links_are_followed_by_what_writes(tmp_path: Path) -> None:
    for folder in ("real", "links"):
        (tmp_path / folder).mkdir()
    for name in ("file", "directory", "new", "new_directory"):
        (tmp_path / "links" / name).symlink_to(tmp_path / "real" / name)
    (tmp_path / "real" / "file").write_text("old")
    fill(tmp_path / "real" / "directory", OLD)
    for name in ("file", "new"):
        with atomic_file(tmp_path / "links" / name) as stream:
            stream.write("new")
    for name in ("directory", "new_directory"):
        put(tmp_path / "links" / name, NEW)
    assert all(path.is_symlink() for path in (tmp_path / "links").iterdir())
    assert {path.name for path in (tmp_path / "real").iterdir()} == {"file", "new", "directory", "new_directory"}
    assert (tmp_path / "real" / "file").read_text() == (tmp_path / "real" / "new").read_text() == "new"
    assert files_of(tmp_path / "real" / "directory") == files_of(tmp_path / "real" / "new_directory") == NEW


def test_of_a_link_to_a_directory_only_the_link_is_removed(tmp_path: Path) -> None:
    fill(tmp_path / "real", OLD)
    link, left = tmp_path / "link", temporary_path(tmp_path / "link")
    for path in (link, left):
        path.symlink_to(tmp_path / "real")
    remove_directory(link)
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["real"]
    assert files_of(tmp_path / "real") == OLD


def test_places_that_can_t_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "read_only").mkdir(0o500)
    places = {
        tmp_path / "file" / "below": "a part of its path is a file",
        tmp_path / "missing" / "below": "create its folder",
        tmp_path / ("long" * 99): "choose a shorter name",
        Path("/proc/nlp_app"): "create its folder",
    }
    if hasattr(os, "geteuid") and os.geteuid():  # root may write anywhere
        places[tmp_path / "read_only" / "below"] = "check the permissions"
    for place, advice in places.items():
        expected = rf"{place.name}: can't be written: .*; {advice}"
        with pytest.raises(DataError, match=expected), atomic_file(place) as stream:
            stream.write("new")
        with pytest.raises(OSError, match=r"Errno|WinError"):
            put(place, NEW)
        with pytest.raises(OSError, match=r"Errno|WinError"):
            remove_directory(place)
    with pytest.raises(DataError, match=r"can't be written: is a directory; name a file"), atomic_file(tmp_path):
        pass
    with pytest.raises(OSError, match=r"Errno|WinError"):
        put(tmp_path / "file", NEW)
    assert files_of(tmp_path) == {"file": b"old", "read_only": b""}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_special_files_are_written_to(tmp_path: Path) -> None:
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    with atomic_file(pipe, binary=True) as stream:
        stream.write(b"new")
    reader.join(60)
    assert found == [b"new"]
    assert pipe.is_fifo()
    with atomic_file("/dev/null") as text:
        text.write("new")
    assert Path("/dev/null").is_char_device()


def test_a_text_that_is_not_utf_8(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found half of a surrogate pair"), atomic_file(tmp_path / "file") as stream:
        stream.write("\ud800")
    assert not list(tmp_path.iterdir())


def test_a_directory_has_the_permissions_of_others(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    put(tmp_path / "directory", NEW)
    assert (tmp_path / "directory").stat().st_mode == (tmp_path / "other").stat().st_mode
    if os.name == "posix":
        with temporary_directory(tmp_path / "private") as folder:
            assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("name", "of", "expected"),
    [
        (f".model.safetensors.{HEX}", ".*", True),
        (f".checkpoint-000001.{HEX}", r"checkpoint-\d{6}", True),
        (f".earlier.{HEX}", r"checkpoint-\d{6}", False),
        (".unfinished-checkpoint-000001", r"checkpoint-\d{6}", True),
        (".unfinished-earlier", r"checkpoint-\d{6}", False),
        (".unfinished-earlier", ".*", True),
        (".saving-x_1", ".*", True),
        (f".{HEX}-{HEX}", "nlp_app", True),
        (f"nlp_app-{HEX}", "nlp_app", True),
        (f".other.{HEX}", "nlp_app|b", False),
        (f"model.{HEX}", ".*", False),
        (f".model.{HEX[1:]}", ".*", False),
        (".gitignore", ".*", False),
        (HEX, ".*", False),
        ("checkpoint-000001", ".*", False),
    ],
)
def test_temporary_names(name: str, of: str, expected: bool) -> None:
    assert is_temporary(name, of) == expected


def test_every_name_has_temporary_ones(tmp_path: Path) -> None:
    for name in ("a", ".a", "a" * 255, "马" * 85, "a\nb"):
        path = temporary_path(tmp_path / name)
        path.touch()
        assert path.parent == tmp_path
        assert path != temporary_path(tmp_path / name)
        assert is_temporary(path.name)
    remove_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())


def aged(path: Path) -> Path:
    """The same directory, as if nobody had written to it for a minute."""
    os.utime(path, (time.time() - 60,) * 2)
    return path


@needs_locks
def test_of_a_shared_directory_only_what_nobody_writes_is_removed(tmp_path: Path) -> None:
    dead, young, other = (temporary_path(tmp_path / name) for name in ("dead", "young", "other"))
    for path in (dead, young, other):
        fill(path, OLD)
        for inner in (path, *path.rglob("*")):
            aged(inner)
    fill(young, {"a": b"new"})
    with temporary_directory(tmp_path / "alive") as alive:
        aged(alive)
        remove_leftovers(tmp_path, pattern="dead|young|alive", shared=True)
        assert {*tmp_path.iterdir()} == {young, other, alive}
    remove_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())


def test_leftovers_of_a_directory_that_is_not_there(tmp_path: Path) -> None:
    remove_leftovers(tmp_path / "missing")
