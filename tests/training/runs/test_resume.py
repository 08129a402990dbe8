"""Start and resume runs in directories that already have files."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, Outcome, Small, essence, files_of, refused
from signals import signal_in
from stopping import stopping_after

import nlp_app
from nlp_app.core.errors import ModelError
from nlp_app.core.locks import lock

Cli = Callable[..., Outcome]
Whole = Callable[..., dict[str, Any]]
BURSTS = ("--set=train.learning_rate=1e30", "--set=train.max_grad_norm=0")


def files(small: Small) -> list[str]:
    return [f"--{split}={getattr(small, split)}" for split in ("train", "dev", "test")]


def train(cli: Cli, small: Small, output: Path, *more: object) -> Outcome:
    return cli("train", "ner", *files(small), "--output", output, "--quiet", *SMALL, *more)


def advised(outcome: Outcome) -> list[str]:
    """The arguments of the command that goes on, as the last line says."""
    words = shlex.split(outcome.err.strip().rpartition("\n")[2].partition(". To resume: ")[2])
    return words[words.index("train") :]


@pytest.mark.interrupt
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("function", ["read_splits", "make_learner"])
def test_a_run_that_is_stopped_before_its_first_update_goes_on_with_its_settings(
    cli: Cli, small: Small, whole: Whole, tmp_path: Path, function: str, number: signal.Signals, status: int
) -> None:
    with signal_in(function, number):
        outcome = train(cli, small, tmp_path / "run", "--seed", 5)
    assert outcome.status == status
    assert advised(outcome)[-1] == "--resume"
    # The command alone says nothing of data or settings.
    assert cli("train", "ner", "--output", tmp_path / "run", "--resume", "--quiet").status == 0
    assert essence(tmp_path / "run") == whole("--seed", "5")
    assert not (tmp_path / "run/checkpoints/begun.json").exists()


@pytest.mark.interrupt
def test_what_was_to_replace_a_run_is_taken_up_and_not_that_run(
    cli: Cli, small: Small, whole: Whole, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert train(cli, small, run).status == 0
    before = files_of(run)
    with signal_in("read_splits", signal.SIGINT):
        outcome = train(cli, small, run, "--seed", 5)
    assert {name: content for name, content in files_of(run).items() if "begun" not in name} == before
    assert nlp_app.load(run).tag("Anna lives in Rome") is not None
    assert cli(*advised(outcome)).status == 0
    assert essence(run) == whole("--seed", "5")


def test_nothing_is_left_to_do_of_a_finished_run(cli: Cli, small: Small, tmp_path: Path) -> None:
    """Also without a checkpoint: the run was shorter than the interval between checkpoints."""
    run, long = tmp_path / "run", "--set=train.checkpoint_seconds=1000"
    first = train(cli, small, run, long)
    assert not any((run / "checkpoints").glob("checkpoint-*"))
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    again = cli("train", "ner", "--output", run, "--resume")
    assert (again.status, again.out) == (0, first.out)
    assert again.err == f"note: the run in {run} is already finished\n"
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.parametrize("name", ["model.safetensors", "nlp_app.json", "metrics.json"])
def test_a_finished_run_that_is_damaged(cli: Cli, small: Small, tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    assert train(cli, small, run).status == 0
    (run / name).write_bytes((run / name).read_bytes()[:-40])
    before = files_of(run)
    refused(cli("train", "ner", "--output", run, "--resume"), "has finished", name, "to start over")
    assert files_of(run) == before


def test_a_run_that_fails_leaves_the_one_before_as_it_was(cli: Cli, small: Small, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(cli, small, run).status == 0
    before = files_of(run)
    refused(train(cli, small, run, *BURSTS), "expected finite numbers")
    assert files_of(run) == before
    assert cli("reproduce", run, "--quiet").status == 0


def test_a_first_checkpoint_that_can_t_be_written_leaves_the_run_before_as_it_was(
    cli: Cli, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    assert train(cli, small, run).status == 0
    before = files_of(run)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("nlp_app.engine.checkpoints._write", full)
        refused(train(cli, small, run, "--seed", 3), "can't write a checkpoint", "free disk space")
    assert files_of(run) == before


def test_a_run_that_fails_in_a_new_place_leaves_nothing(cli: Cli, small: Small, tmp_path: Path) -> None:
    refused(train(cli, small, tmp_path / "run", *BURSTS, "--set=train.checkpoint_seconds=1000"), "expected finite")
    assert not (tmp_path / "run").exists()


def test_scores_of_one_run_never_stand_beside_the_record_of_another(
    cli: Cli, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when the final model is saved."""
    run, long = tmp_path / "run", "--set=train.checkpoint_seconds=1000"
    assert train(cli, small, run).status == 0

    def full(*arguments: object) -> None:
        raise ModelError("can't write the model: No space left on device; make room")

    with monkeypatch.context() as patch:
        patch.setattr("nlp_app.training.run.write_model", full)
        refused(train(cli, small, run, long, "--seed", 3), "make room")
    assert cli("train", "ner", "--output", run, "--resume", "--quiet").status == 0
    assert train(cli, small, tmp_path / "whole", long, "--seed", 3).status == 0
    assert essence(run) == essence(tmp_path / "whole")


def test_what_was_there_is_gone_once_the_next_run_has_saved(
    cli: Cli, small: Small, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    assert train(cli, small, run, "--seed", 3).status == 0
    with stopping_after(1, monkeypatch):
        train(cli, small, run)
    left = {path.name for path in run.rglob("*")} - {path.name for path in (run / "vocab").iterdir()}
    assert not {"predictions.conll", "begun.json"} & left
    assert not list(run.rglob(".*"))
    assert [path.name for path in sorted((run / "checkpoints").glob("checkpoint-*"))] == ["checkpoint-000001"]
    assert train(cli, small, run, "--resume").status == 0
    assert essence(run) == whole()


def test_one_directory_is_one_process_s(cli: Cli, small: Small, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(cli, small, run).status == 0
    before, descriptor = files_of(run), lock(run)
    try:
        refused(train(cli, small, run, "--seed", 2), f"--output {run}: in use by another process")
    finally:
        os.close(descriptor)
    assert files_of(run) == before
    assert train(cli, small, run, "--seed", 2).status == 0


def test_mistakes_are_told_before_anything_is_read(cli: Cli, small: Small, tmp_path: Path) -> None:
    """Each is the only line of output, also without --quiet."""
    copy = Small(*(Path(shutil.copy(path, tmp_path)) for path in small[:3]), tmp_path / "run")
    assert train(cli, copy, copy.run).status == 0

    def again(*more: str) -> Outcome:
        return cli("train", "ner", *files(copy), "--output", copy.run, *SMALL, *more)

    if not torch.cuda.is_available():
        refused(again("--set=train.precision=fp16"), "train.precision: found fp16 on a CPU")
    refused(again("--resume", "--seed=8"), "settings differ", "train.seed = 8 (was 42)")
    copy.train.write_bytes(copy.train.read_bytes() + b"new O\n\n")
    refused(again("--resume"), f"{copy.train}: has changed since the run began")
    copy.train.unlink()
    refused(again("--resume"), f"{copy.train}: has changed since the run began")
    refused(cli("train", "ner", *files(small), "--output", "/proc/x/y", *SMALL), "--output /proc/x/y: can't be written")


def test_checkpoints_without_a_record_are_not_gone_on_from(cli: Cli, small: Small, tmp_path: Path) -> None:
    assert train(cli, small, tmp_path / "run").status == 0
    record = tmp_path / "run/checkpoints/run.json"
    record.unlink()
    before = files_of(tmp_path)
    refused(train(cli, small, tmp_path / "run", "--resume", "--seed", 8), record, "missing", "to start over")
    assert files_of(tmp_path) == before


def test_where_a_run_went_on_otherwise_is_recorded(
    cli: Cli, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = torch.get_num_threads()
    with stopping_after(1, monkeypatch):
        train(cli, small, tmp_path / "run")
    record = tmp_path / "run/checkpoints/run.json"
    began = json.loads(record.read_text())["environment"]
    try:
        torch.set_num_threads(threads + 1)
        outcome = cli("train", "ner", "--output", tmp_path / "run", "--resume")
        line = f"threads: found {threads + 1}, the run had {threads}"
        assert f"warning: {line}; results may not be bit-identical" in outcome.err
        found = json.loads(record.read_text())
        assert (found["environment"], found["resumed"], found["finished"]) == (began, [line], True)
        torch.set_num_threads(threads + 2)  # a finished run isn't changed by that
        assert cli("train", "ner", "--output", tmp_path / "run", "--resume").status == 0
        assert json.loads(record.read_text()) == found
    finally:
        torch.set_num_threads(threads)
    assert f"warning: when the run was resumed, {line}" in cli("reproduce", tmp_path / "run").err


@pytest.mark.parametrize(
    "damage",
    [
        {"environment": "x"},
        {"environment": {"threads": "many"}},
        {"environment": {"threads": -1}},
        {"task": []},
        {"resumed": "no"},
        {"settings": {}},
        {"settings": {"data": {}, "model": {"kind": [1]}, "train": {}}},
        {"data": []},
        {"settings": {"data": 3, "model": {}, "train": {}}},
    ],
    ids=repr,
)
def test_a_damaged_record_is_a_user_s_mistake(
    cli: Cli, small: Small, tmp_path: Path, damage: dict[str, object]
) -> None:
    shutil.copytree(small.run, tmp_path / "run")
    record = tmp_path / "run/checkpoints/run.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | damage))
    before = files_of(tmp_path)
    refused(cli("reproduce", tmp_path / "run"), tmp_path / "run")
    if "environment" not in damage and "resumed" not in damage:
        refused(cli("train", "ner", "--output", tmp_path / "run", "--resume"))
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("text", ["{", "[]\n", "\xff", "3\n"])
def test_a_damaged_history(cli: Cli, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    with stopping_after(1, monkeypatch):
        train(cli, small, tmp_path / "run")
    history = tmp_path / "run/history.jsonl"
    history.write_bytes(text.encode("latin-1"))
    outcome = train(cli, small, tmp_path / "run", "--resume")
    refused(outcome, history, "not readable", "to start over")


@pytest.mark.interrupt
def test_a_second_process_s_command_is_one_of_several(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with signal_in("make_context", signal.SIGINT):
        outcome = cli("train", "ner", "--output", tmp_path / "run")
    words = shlex.split(outcome.err.strip().partition(". To resume: ")[2])
    assert words[:3] == ["torchrun", "--nproc_per_node", "2"]
    assert words[-5:] == ["train", "ner", "--output", str(tmp_path / "run"), "--resume"]
