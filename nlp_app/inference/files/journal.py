"""Write an output file so that an interrupted job can be resumed: the partial output and a journal of it.

While a job runs, `OUT.partial` holds the finished part of the output, and `OUT.journal` records how long it is: a first
line that identifies the job, then an entry each time that the partial file was flushed to disk, with its length and
checksum. An entry is written only after its data is on the disk, so after any crash the job can be resumed at the last
entry that matches the partial file. A job that finishes before its first entry is due has no journal. A job with
`resume` leaves its journal next to the output, because only the journal says which job wrote it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from nlp_app.core.errors import DataError, SettingsError
from nlp_app.core.files import checksum, flush_directory, write_error_message
from nlp_app.core.locks import lock_descriptor
from nlp_app.core.signals import ignore_stop_signals

FORMAT = 1

_READ_SIZE = 1 << 20  # bytes

_VALUE_WIDTH = 40  # characters of a value in a message

RESUMING = "to resume, run the same command with --resume"

_BUSY = "is being written by another run; wait until it has finished, or choose another output"


class JournalEntry(NamedTuple):
    """A state of the output that is safe on the disk.

    Attributes:
        chunks: The number of chunks in it.
        size: Its length in bytes.
        sha256: Its checksum.
        done: Whether the output is complete.
    """

    chunks: int
    size: int
    sha256: str
    done: bool


class _Written(NamedTuple):
    """The output as written so far: number of chunks, length in bytes, and running hash of these bytes."""

    chunks: int
    size: int
    hash: hashlib._Hash


class JournalledFile:
    """An output file with a journal, for a job that may be killed at any time.

    Args:
        target: The path of the output.
        identity: Returns the facts that must be the same in a job and the one it resumes, as JSON values. Called only
            when they are needed.
        resume: Resume from the journal if there is one.
        seconds: Time from one entry of the journal to the next.

    Attributes:
        chunks: The number of chunks that are already in the output.
        done: Whether the output is complete and in its place.

    Raises:
        DataError: If the file can't be written, or another process is writing it.
        SettingsError: If the journal belongs to another job.
    """

    def __init__(self, target: str, identity: Callable[[], Mapping[str, Any]], resume: bool, seconds: float) -> None:
        self._name, self._identity, self._resume, self._seconds = target, identity, resume, seconds
        place = Path(os.path.realpath(target))
        self._target = place
        self._partial = place.with_name(place.name + ".partial")
        self._journal = place.with_name(place.name + ".journal")
        self._has_journal = self.done = False
        self._ends: list[int] = []  # positions in the journal where its entries end, in bytes
        self.chunks = 0
        self._entry = JournalEntry(0, 0, hashlib.sha256().hexdigest(), False)
        self._written = _Written(0, 0, hashlib.sha256())
        try:
            if place.is_dir():
                raise DataError("can't be written: is a directory; choose a file name", target)
            entries = self._read_journal() if resume else []
            if entries and entries[-1].done and not self._partial.exists() and self._is_target(entries[-1]):
                self.done = True
                return
            self._stream = _locked(self._partial, target)
        except OSError as error:
            raise write_error_message(target, error) from error
        try:
            self._begin(entries)
            if self._entry.done:
                self.finish()
        except BaseException:
            self._stream.close()
            raise
        self.chunks = self._written.chunks
        self._time = time.monotonic()

    @property
    def can_resume(self) -> bool:
        """True if there is a journal to resume from."""
        return self._has_journal

    def write(self, data: bytes, chunks: int) -> None:
        """Append data to the output.

        Args:
            data: The results of the chunks after those written so far.
            chunks: The number of chunks in the output, including these.

        Raises:
            DataError: If the file can't be written.
        """
        try:
            # Ctrl-C may come at any line: the state is replaced in one assignment, after all data is written.
            after = self._written.hash.copy()
            after.update(data)
            self._stream.write(data)
            self._written = _Written(chunks, self._written.size + len(data), after)
            if time.monotonic() - self._time >= self._seconds:
                self._store()
                self._time = time.monotonic()
        except OSError as error:
            raise self._unwritable(error) from error

    def finish(self) -> None:
        """Complete the output and move it to its place.

        Raises:
            DataError: If the file can't be written.
        """
        try:
            if self._has_journal:
                self._store(done=True)
            else:
                self._sync()
            with ignore_stop_signals():
                os.replace(self._partial, self._target)
                self._stream.close()
                flush_directory(self._target.parent)
                if self._has_journal and not self._resume:
                    self._journal.unlink(missing_ok=True)
                self.done = True
        except OSError as error:
            raise self._unwritable(error) from error

    def suspend(self) -> None:
        """Write a last entry and close the file, ignoring signals to stop, so that the job can be resumed."""
        with ignore_stop_signals():
            try:
                if self._written.chunks > self._entry.chunks and not self._stream.closed:
                    self._store()
            except OSError:
                pass  # the entries that the journal has are still valid
            self.close()

    def close(self) -> None:
        """Close the file, and delete it if the job can't be resumed."""
        if not self._stream.closed:
            if not self._has_journal:
                self._partial.unlink(missing_ok=True)
            try:
                self._stream.close()
            except OSError:
                return  # the data in its buffer belongs to no entry

    def _begin(self, entries: list[JournalEntry]) -> None:
        """Continue after the last entry that matches the partial file, or start from the beginning."""
        good, self._written = self._last_good(entries)
        try:
            if good is None:
                self._journal.unlink(missing_ok=True)
            else:
                self._entry, self._has_journal = good, True
                os.truncate(self._journal, self._ends[entries.index(good)])
            self._stream.truncate(self._written.size)
            self._stream.seek(self._written.size)
        except OSError as error:
            raise write_error_message(self._name, error) from error

    def _last_good(self, entries: list[JournalEntry]) -> tuple[JournalEntry | None, _Written]:
        """Find the last entry whose data is intact, and the state of the output there."""
        last, sha256, position = None, hashlib.sha256(), 0
        written = _Written(0, 0, sha256.copy())
        self._stream.seek(0)
        for entry in entries:
            while position < entry.size:
                data = self._stream.read(min(_READ_SIZE, entry.size - position))
                if not data:
                    return last, written
                sha256.update(data)
                position += len(data)
            if sha256.hexdigest() != entry.sha256:
                break
            last, written = entry, _Written(entry.chunks, entry.size, sha256.copy())
        return last, written

    def _store(self, done: bool = False) -> None:
        """Flush all data to the disk, then add an entry to the journal."""
        self._sync()
        chunks, size, sha256 = self._written
        entry = JournalEntry(chunks, size, sha256.hexdigest(), done)
        lines = [entry._asdict()]
        if not self._has_journal:
            lines.insert(0, {"format": FORMAT, **self._identity()})
        with self._journal.open("ab" if self._has_journal else "wb") as journal:
            journal.write("".join(json.dumps(line) + "\n" for line in lines).encode())
            journal.flush()
            os.fsync(journal.fileno())
        if not self._has_journal:
            flush_directory(self._target.parent)
        self._has_journal, self._entry = True, entry

    def _unwritable(self, error: OSError) -> DataError:
        if not self._has_journal:
            return write_error_message(self._name, error)
        return DataError(f"can't be written: {error.strerror}; make room; {RESUMING}", self._name)

    def _sync(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def _read_journal(self) -> list[JournalEntry]:
        """Read the entries up to the first that is incomplete or damaged; ignore the rest."""
        try:
            lines = self._journal.read_bytes().split(b"\n")[:-1]  # after the last line feed, a line is incomplete
        except FileNotFoundError:
            return []
        if not lines:
            return []
        entries: list[JournalEntry] = []
        end = len(lines[0]) + 1
        try:
            header = _flat(json.loads(lines[0]))
            for line in lines[1:]:
                entries.append(JournalEntry(**json.loads(line)))
                end += len(line) + 1
                self._ends.append(end)
        except (ValueError, TypeError):
            if not entries:
                return []
        self._check_identity(header)
        return entries

    def _check_identity(self, found: Mapping[str, Any]) -> None:
        expected = _flat({"format": FORMAT, **json.loads(json.dumps(self._identity()))})
        differences = "; ".join(
            f"{name}: found {_shown(found.get(name))}, expected {_shown(expected.get(name))}"
            for name in {**expected, **found}
            if expected.get(name) != found.get(name)
        )
        if differences:
            raise SettingsError(
                f"--resume: {self._journal} belongs to another job ({differences}); start over without --resume"
            )

    def _is_target(self, entry: JournalEntry) -> bool:
        exists = self._target.is_file() and self._target.stat().st_size == entry.size
        return exists and checksum(self._target) == entry.sha256


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested objects: names are joined by dots. Raises TypeError for anything else than an object."""
    if not isinstance(values, dict):
        raise TypeError(f"found {type(values).__name__}, expected an object")
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_WIDTH else f"{text[:_VALUE_WIDTH]}..."


def _locked(path: Path, name: str) -> BinaryIO:
    """Open a file for reading and writing, locked against other processes until it is closed."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    stream = os.fdopen(descriptor, "r+b")
    try:
        lock_descriptor(descriptor)
        # Another process may have finished just now and renamed the file: then it is that job's output.
        is_ours = path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor))
    except BlockingIOError:
        is_ours = False
    except OSError:  # this file system has no locks
        is_ours = True
    if not is_ours:
        stream.close()
        raise DataError(_BUSY, name)
    return stream
