"""Runs that are killed at random moments and resumed end like uninterrupted runs: a few kills of `benchmarks/kills.py`.

Files that are changed by hand show that it detects a difference.
"""

from __future__ import annotations

import importlib
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "kills.py"


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return importlib.import_module("kills")


@pytest.fixture
def killing(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return importlib.import_module("killing")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [("ner-within",), ("ner-over",), ("cls", "--damage"), ("cls-within", "--signal=TERM"), ("ner", "--signal=INT")],
    ids=" ".join,
)
def test_nothing_is_lost(options: tuple[str, ...]) -> None:
    command = [sys.executable, str(SCRIPT), "--kills=2", f"--seed={random.randrange(1000)}", "--case", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    assert done.stdout.splitlines()[-1].split("|")[2:4] == [" 2 ", " 0 "]


def test_a_difference_is_noticed(kills: ModuleType, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "model.safetensors").write_bytes(b"12345678")
        (tmp_path / name / "history.jsonl").write_text(f'{{"epoch": 1, "seconds": {ord(name)}.5}}\n')
        (tmp_path / name / "checkpoints/run.json").write_text(name)
    expected = kills.essence(tmp_path / "a")
    assert kills.differences(kills.essence(tmp_path / "b"), expected) == []
    (tmp_path / "b/model.safetensors").write_bytes(b"12345679")
    (tmp_path / "b/history.jsonl").write_text('{"epoch": 2, "seconds": 1.5}\n')
    left = f"checkpoints/.checkpoint-000001.{32 * '0'}"
    (tmp_path / "b" / left).touch()
    found = kills.differences(kills.essence(tmp_path / "b"), expected)
    assert found == [left, "history.jsonl", "model.safetensors"]


def test_damage_is_done_to_the_newest_checkpoint_where_there_is_one_before_it(
    killing: ModuleType, tmp_path: Path
) -> None:
    for number, damaged in ((1, False), (2, True)):
        checkpoint = tmp_path / f"checkpoint-{number:06d}"
        checkpoint.mkdir()
        (checkpoint / "state.json").write_text("state")
        assert (killing.damage(tmp_path, random.Random(1)) is not None) == damaged
    assert (tmp_path / "checkpoint-000001/state.json").read_text() == "state"
    changed = tmp_path / "checkpoint-000002/state.json"
    assert not changed.exists() or changed.read_bytes() != b"state"


def test_phases_are_told_from_the_stack(killing: ModuleType) -> None:
    def stack(*functions: str) -> str:
        return "\n".join(f'  File "x.py", line 1 in {name}' for name in functions) + "\n"

    assert killing.phase_of(stack("fsync", "write_model", "record_epoch", "fit", "main")) == "writing the best model"
    assert killing.phase_of(stack("write_model", "_finish", "main")) == "final save: the model"
    assert killing.phase_of(stack("remove_directory", "save_checkpoint", "fit", "main")) == "removing an old checkpoint"
    assert killing.phase_of(stack("score_epoch", "fit", "main")) == "scoring dev"
    assert killing.phase_of(stack("start", "start_run", "main")) == "making the directory ready"
    assert killing.phase_of(stack("read", "main")) == killing.BEFORE
    assert killing.phase_of("") == killing.BEFORE
