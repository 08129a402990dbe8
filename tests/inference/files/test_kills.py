"""Jobs that are killed and resumed: the output is the same, byte for byte, as without interruption."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from conftest import Outcome, Small, files_of, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import raise_signal

from nlp_app.core.errors import DataError, NlpAppError, SettingsError
from nlp_app.core.signals import Interrupted, raise_on_stop_signals
from nlp_app.inference.files import ModelLocation, PredictionOptions
from nlp_app.inference.files.journal import JournalledFile
from nlp_app.inference.files.records import Chunk
from nlp_app.inference.files.workers import Workers, _Worker

Cli = Callable[..., Outcome]
APP = [sys.executable, "-c", "from nlp_app.cli import main; main()"]
PATIENCE = 300.0  # seconds; on a busy machine
needs_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


def texts(count: int) -> str:
    return "".join(f"In {n} Anna left Rome for 北京, said Google's {n % 97}.\n" for n in range(count))


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """The command line in a process, and a session, of its own; killed at the end."""
    command = [*APP, *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as job:
        try:
            yield job
        finally:
            job.kill()


def wait_for(condition: Callable[[], Any], job: subprocess.Popen[str]) -> bool:
    """Wait until it comes true; False if the job ended before."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        if job.poll() is not None:
            return False
        time.sleep(0.002)
    return True


def entries(target: Path) -> int:
    journal = target.with_name(target.name + ".journal")
    try:
        return journal.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def children(parent: int) -> list[int]:
    """Processes that compute for another one."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                about = (place / "stat").read_text().rsplit(")", 1)[1].split()
                command = (place / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(about[1]) == parent and b"spawn_main" in command:
                found.append(int(place.name))
    return found


# --- the journal by itself ---


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=12), st.integers(0, 1 << 32))
@settings(max_examples=60)
def test_job_resumes_after_any_crash(parts: list[bytes], seed: int) -> None:
    """Files cut or harmed anywhere, as lost power leaves them: the end is the same."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out"
        partial, journal = Path(f"{target}.partial"), Path(f"{target}.journal")
        for turn in range(8):
            out = JournalledFile(str(target), dict, resume=True, seconds=0)
            stop = len(parts) if turn == 7 else chance.randint(out.chunks, len(parts))
            for number in range(out.chunks, stop):
                out.write(parts[number], number + 1)
            if stop == len(parts):
                break
            out._stream.close()  # as if killed
            content = bytearray(partial.read_bytes())
            if content and chance.random() < 0.3:
                content[chance.randrange(len(content))] ^= 1
            partial.write_bytes(content[: chance.choice((len(content), chance.randint(0, len(content))))])
            if journal.exists():
                lines = journal.read_bytes()
                journal.write_bytes(lines[: chance.choice((len(lines), chance.randint(0, len(lines))))])
        out.finish()
        left = files_of(Path(folder))
        assert left.pop("out") == b"".join(parts)
        assert list(left) == ["out.journal"]
        assert JournalledFile(str(target), dict, resume=True, seconds=0).done


@contextmanager
def interrupted(function: Callable[..., Any], place: int) -> Iterator[None]:
    """Ctrl-C at line number `place` of those that are run within the block, from a call of `function` on."""
    count = -1
    file = function.__code__.co_filename

    def look(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if frame.f_code is function.__code__ and count < 0:
            count = 0
        if count < 0 or frame.f_code.co_filename != file:
            return None
        if event == "line":
            count += 1
            if count == place:
                raise_signal(signal.SIGINT)
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.mark.interrupt
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of a file that was just opened
@pytest.mark.parametrize("seconds", [0, 1e9])
def test_ctrl_c_within_a_write_costs_nothing_but_that_write(tmp_path: Path, seconds: float) -> None:
    parts = [bytes([65 + number]) * 5000 for number in range(4)]
    for place in itertools.count(1):
        target = tmp_path / str(place)
        out = JournalledFile(str(target), dict, resume=False, seconds=seconds)
        out.write(parts[0], 1)
        try:
            with interrupted(JournalledFile.write, place):
                out.write(parts[1], 2)
        except KeyboardInterrupt:
            out.suspend()
        else:
            out.close()
            break
        out = JournalledFile(str(target), dict, resume=True, seconds=seconds)
        assert out.chunks in (1, 2)
        for number in range(out.chunks, 4):
            out.write(parts[number], number + 1)
        out.finish()
        assert target.read_bytes() == b"".join(parts), place
    assert place > 5


@pytest.mark.interrupt
def test_a_second_ctrl_c_changes_nothing(tmp_path: Path) -> None:
    for place in range(2, 25):
        target = tmp_path / str(place)
        out = JournalledFile(str(target), dict, resume=False, seconds=1e9)
        out.write(b"first", 1)
        with interrupted(JournalledFile.suspend, place):
            out.suspend()
        out.close()
        out = JournalledFile(str(target), dict, resume=True, seconds=1e9)
        assert out.chunks == 1
        out.finish()
        assert target.read_bytes() == b"first"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.interrupt
def test_a_second_sigterm_changes_nothing() -> None:
    with raise_on_stop_signals():
        with pytest.raises(Interrupted, match="stopped"):
            raise_signal(signal.SIGTERM)
        raise_signal(signal.SIGTERM)


def test_job_interrupted_between_its_last_steps(tmp_path: Path) -> None:
    target = tmp_path / "out"
    out = JournalledFile(str(target), dict, resume=False, seconds=0)
    out.write(b"all of it", 1)
    out._store(done=True)
    out._stream.close()
    for _ in range(2):
        assert JournalledFile(str(target), dict, resume=True, seconds=0).done
        assert sorted(files_of(tmp_path)) == ["out", "out.journal"]
        assert target.read_bytes() == b"all of it"
    target.write_bytes(b"all of xx")
    out = JournalledFile(str(target), dict, resume=True, seconds=0)
    assert not out.done
    out.close()


def test_two_jobs_for_one_output(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    first = JournalledFile(str(tmp_path / "out"), dict, resume=False, seconds=0)
    first.write(b"mine", 1)
    for resume in (False, True):
        with pytest.raises(DataError, match="is being written by another run"):
            JournalledFile(str(tmp_path / "out"), dict, resume=resume, seconds=0)
    first.finish()
    assert files_of(tmp_path) == {"out": b"mine"}


@pytest.mark.parametrize("header", [b"[1]", b"3", b'"x"', b"null", b"x", b""])
def test_invalid_journal(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "out.partial").write_bytes(b"something")
    (tmp_path / "out.journal").write_bytes(header + b"\n")
    out = JournalledFile(str(tmp_path / "out"), dict, resume=True, seconds=0)
    assert out.chunks == 0
    out.close()
    assert not files_of(tmp_path)


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    target = str(tmp_path / "out")
    out = JournalledFile(target, dict, resume=False, seconds=0)
    out.write(b"a" * 5000, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))
    try:
        with pytest.raises(
            DataError, match=r"can't be written: .*; make room; to resume, run the same command with --resume"
        ):
            out.write(b"b" * 5000, 2)
        out.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    out = JournalledFile(target, dict, resume=True, seconds=0)
    assert out.chunks == 1
    out.close()


def test_another_jobs_journal(tmp_path: Path) -> None:
    out = JournalledFile(str(tmp_path / "out"), lambda: {"input": 1, "model": 2}, resume=False, seconds=0)
    out.write(b"mine", 1)
    out.suspend()
    before = files_of(tmp_path)
    with pytest.raises(SettingsError, match=r"another job \(model: found 2, expected 3\); start"):
        JournalledFile(str(tmp_path / "out"), lambda: {"input": 1, "model": 3}, resume=True, seconds=0)
    assert files_of(tmp_path) == before
    JournalledFile(str(tmp_path / "out"), lambda: {"input": 1, "model": 3}, resume=False, seconds=0).close()
    assert not files_of(tmp_path)


# --- whole jobs ---


@pytest.mark.slow
@pytest.mark.parametrize(("command", "target", "more"), [
    ("tag", "out.jsonl.gz", ["--shard", "2/2"]),
    ("classify", "out.jsonl", ["--format", "text", "--workers", "2"]),
])  # fmt: skip
def test_killed_at_random_times(
    cli: Cli, small: Small, small_classes: Small, tmp_path: Path, command: str, target: str, more: list[str]
) -> None:
    model = small.run if command == "tag" else small_classes.run
    source, out, moments = tmp_path / "a.txt", tmp_path / target, random.Random()
    source.write_text(texts(12_000))
    arguments = [command, model, "--input", source, "--threads", 1, "--quiet", *more]
    assert cli(*arguments, "--output", tmp_path / f"whole.{target}").status == 0
    for _ in range(3):
        reached = entries(out)
        with started(*arguments, "--output", out, "--resume", "--journal-seconds", 0) as job:
            if not wait_for(lambda reached=reached: entries(out) > reached, job):
                break
            time.sleep(moments.random() * 0.2)
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
    assert cli(*arguments, "--output", out, "--resume").status == 0
    assert out.read_bytes() == (tmp_path / f"whole.{target}").read_bytes()
    assert sorted(files_of(tmp_path)) == sorted(["a.txt", target, f"{target}.journal", f"whole.{target}"])
    again = cli(*arguments, "--output", out, "--resume")
    assert (again.status, "nothing to do" in again.err) == (0, True)


@pytest.mark.slow
@pytest.mark.interrupt
@needs_linux
@pytest.mark.parametrize(("number", "status", "workers"), [(signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 1)])
def test_stopped_by_a_signal(
    cli: Cli, small: Small, tmp_path: Path, number: signal.Signals, status: int, workers: int
) -> None:
    """The signal goes to all processes, as terminals and clusters send it; nothing of them stays, and no traceback."""
    source, out = tmp_path / "a.txt", tmp_path / "out.jsonl"
    source.write_text(texts(30_000))
    arguments = ["tag", small.run, "--input", source, "--output", out, "--threads", 1, "--workers", workers]
    with started(*arguments, "--journal-seconds", 0) as job:
        assert wait_for(lambda: entries(out), job)
        found = children(job.pid)
        os.killpg(job.pid, number)
        _, said = job.communicate(timeout=PATIENCE)
    assert len(found) == (workers if workers > 1 else 0)
    assert (job.returncode, said) == (status, "stopped; to resume, run the same command with --resume\n")
    assert not any(Path(f"/proc/{each}/cmdline").exists() for each in found)
    assert not out.exists()
    done = json.loads((tmp_path / "out.jsonl.journal").read_text().splitlines()[-1])
    assert (tmp_path / "out.jsonl.partial").stat().st_size == done["size"] > 0
    source.write_text(texts(30_001))
    refused(cli(*arguments, "--resume"), "another job (input.size: found ", "; input.modified: found ")


@pytest.mark.slow
def test_a_stream_leaves_nothing_behind(small: Small, tmp_path: Path) -> None:
    """It can't be read again, so there is nothing to keep, and no advice to resume."""
    os.mkfifo(tmp_path / "in")
    arguments = ["tag", small.run, "--input", tmp_path / "in", "--output", tmp_path / "out", "--journal-seconds", 0]
    with started(*arguments) as job, (tmp_path / "in").open("w") as pipe:
        pipe.write(texts(3000))
        pipe.flush()
        assert wait_for(lambda: any(path.stat().st_size > 0 for path in tmp_path.glob("*out*")), job)
        job.send_signal(signal.SIGTERM)
        _, said = job.communicate(timeout=PATIENCE)
    assert (job.returncode, said) == (143, "stopped\n")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.slow
@needs_linux
def test_a_worker_that_is_killed(small: Small, tmp_path: Path) -> None:
    source, out = tmp_path / "a.txt", tmp_path / "out.jsonl"
    source.write_text(texts(30_000))
    with started("tag", small.run, "--input", source, "--output", out, "--workers", 2, "--journal-seconds", 0) as job:
        assert wait_for(lambda: entries(out), job)
        first, second = children(job.pid)
        os.kill(first, signal.SIGKILL)
        _, said = job.communicate(timeout=PATIENCE)
    assert job.returncode == 2
    assert said.count("\n") == 1
    advice = "if it ran out of memory, use fewer --workers; to resume, run the same command with --resume"
    assert f"was killed by signal 9; {advice}" in said
    assert not Path(f"/proc/{second}/cmdline").exists()
    assert entries(out) > 1


@pytest.mark.slow
@needs_linux
def test_out_of_memory(small: Small, tmp_path: Path) -> None:
    """What was done until then is kept, and a line says how to go on."""
    source, out = tmp_path / "a.txt", tmp_path / "out.jsonl"
    source.write_text(texts(1500) + "Anna in Rome " * 3_000_000)
    code = """
import resource, sys
from pathlib import Path
from nlp_app.cli import main
main(["tag", sys.argv[2], "In Rome", "--output", "/dev/null"])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20),) * 2)
main(sys.argv[1:])
"""
    command = ["tag", small.run, "--input", source, "--output", out, "--threads", "1"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True, timeout=300)
    said = "error: out of memory near line 1001; use fewer --workers, or a machine with more memory; to resume, run the"
    assert (done.returncode, done.stderr.count("\n"), done.stderr[: len(said)]) == (2, 1, said)
    assert entries(out) == 2


def test_worker_reports_its_error(small_classes: Small) -> None:
    """The choice is checked long before; any error of the model takes this way."""
    with Workers(ModelLocation(str(small_classes.run)), PredictionOptions(top_k=0), 1) as workers:
        chunks = [Chunk(0, [{"line": 1, "text": "a"}], 0)]
        with pytest.raises(NlpAppError, match="top_k: found 0, expected 1 or more"):
            list(workers.predict(chunks))


def test_worker_dies_while_sending() -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=int)
    process.start()
    os.write(theirs.fileno(), (100).to_bytes(4) + b"+ the beginn")
    theirs.close()
    workers = Workers(ModelLocation("unused"), PredictionOptions(), 1)
    with ours, pytest.raises(NlpAppError, match="worker 1 of 1 exited with status 0; if it ran out of memory"):
        workers._receive(_Worker(process, ours), 1)


def test_a_strict_job_stops_where_it_is(cli: Cli, small: Small, tmp_path: Path) -> None:
    """What was done stays, and can be used by a job that allows bad records."""
    source, out = tmp_path / "a.txt", tmp_path / "out.jsonl"
    source.write_bytes(texts(2500).encode() + b"\xff\n")
    arguments = ["tag", small.run, "--input", source, "--output", out, "--quiet"]
    refused(cli(*arguments, "--strict", "--journal-seconds", 0), f"{source}:2501: byte 0xFF")
    assert entries(out) > 1
    assert cli(*arguments, "--resume").status == 0
    resumed = out.read_bytes()
    assert cli(*arguments).status == 0
    assert out.read_bytes() == resumed
    assert sorted(files_of(tmp_path)) == ["a.txt", "out.jsonl"]


def test_finished_job_is_recognized_by_its_journal(cli: Cli, small: Small, tmp_path: Path) -> None:
    """An output that is merely there, of whatever age, says nothing; nor does one of other options."""
    source, folder = tmp_path / "a.txt", tmp_path / "folder"
    source.write_text(texts(1500))
    folder.mkdir()
    (folder / "out.jsonl").write_text("made by another program\n")
    out = tmp_path / "link.jsonl"
    out.symlink_to(folder / "out.jsonl")
    arguments = ["tag", small.run, "--input", source, "--output", out, "--format", "text", "--resume"]
    assert cli(*arguments, "--journal-seconds", 0) == (0, "", "")
    whole = out.read_bytes()
    assert whole.count(b"\n") == 1500
    assert sorted(files_of(folder)) == ["out.jsonl", "out.jsonl.journal"]
    assert cli(*arguments) == (0, "", f"{out}: already finished; nothing to do\n")
    refused(cli(*arguments, "--shard", "1/2"), "another job (shard: found null, expected [1, 2])")
    out.write_bytes(whole[:-1] + b" ")
    assert cli(*arguments) == (0, "", "")
    assert (out.is_symlink(), out.read_bytes()) == (True, whole)
    assert cli(*arguments[:-1]) == (0, "", "")
    assert sorted(files_of(folder)) == ["out.jsonl"]


@pytest.mark.parametrize("command", ["tag", "classify"])
def test_changed_data_set_is_another_input(
    cli: Cli, small: Small, small_classes: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "folder"
    folder.mkdir()

    def write(person: str) -> None:
        datasets.Dataset.from_dict({"text": [f"{person} {n}" for n in range(5)]}).to_parquet(folder / "a.parquet")

    write("Anna")
    model = small.run if command == "tag" else small_classes.run
    arguments = [command, model, "--input", folder, "--output", tmp_path / "out", "--quiet", "--resume"]
    assert cli(*arguments, "--journal-seconds", 0).status == 0
    assert "nothing to do" in cli(*arguments).err
    write("Bob!")
    outcome = cli(*arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert "another job" in outcome.err


def test_input_and_output_have_to_differ(cli: Cli, small: Small, tmp_path: Path) -> None:
    source, link = tmp_path / "a.txt", tmp_path / "b.txt"
    source.write_text("Anna\n")
    link.symlink_to(source)
    for more in ([], ["--resume"]):
        refused(cli("tag", small.run, "--input", source, "--output", link, *more), f"{link} is also the --input")
    assert source.read_text() == "Anna\n"


def test_unwritable_output(cli: Cli, small: Small, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    before = files_of(tmp_path)
    for place in (tmp_path, tmp_path / "file" / "below", tmp_path / "missing" / "out", Path("/proc/nlp_app")):
        refused(cli("tag", small.run, "--input", small.test, "--output", place), place, "can't be written")
    refused(cli("tag", small.run, "--input", small.test, "--output", "/dev/full"), "No space left on device")
    assert files_of(tmp_path) == before


@pytest.mark.slow
@needs_linux
def test_memory_doesnt_grow_with_the_file(small_classes: Small, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from nlp_app.cli import main; main(sys.argv[1:]);"
        "sys.stderr.write(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    peaks = []
    for count in (5_000, 50_000):
        path = tmp_path / f"{count}.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts(count).splitlines()))
        more = ["--workers", "2", "--quiet", "--output", f"{path}.zst"]
        command = [sys.executable, "-c", code, "classify", str(small_classes.run), "--input", str(path), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        peaks.append(int(done.stderr) / 1024)
    assert peaks[1] < peaks[0] * 1.1, peaks  # megabytes
