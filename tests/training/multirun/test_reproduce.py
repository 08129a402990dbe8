"""`reproduce`: a repeated run is identical, and any change made by hand in one of the two runs is found."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SMALL, SMALL_CLASSES, Outcome, Small, essence, files_of, refused, sentences
from safetensors.numpy import load_file, save_file
from signals import signal_in
from tiny_transformers import tiny_bert

from nlp_app.training.runs.compare import ComparedPart, compare_runs

Cli = Callable[..., Outcome]

QUICK = [*SMALL, "--set=train.epochs=2", "--set=track.plots=false"]
BODY = [
    f"--set={change}"
    for change in (
        "model.kind=transformer", "train.epochs=2", "train.batch_subwords=256", "train.precision=no",
        "train.learning_rate=0.005", "track.plots=false",
    )
]  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A run of two epochs on forty sentences. Tests only read it."""
    from nlp_app.cli import main

    directory = tmp_path_factory.mktemp("reproduce")
    paths = [directory / f"{split}.conll" for split in ("train", "dev", "test")]
    for path, count in zip(paths, (40, 20, 20), strict=True):
        path.write_text(sentences(path.stem, count), encoding="utf-8")
    files = [f"--{path.stem}={path}" for path in paths]
    main(["train", "ner", *files, f"--output={directory / 'run'}", "--quiet", *QUICK])
    return Small(*paths, directory / "run")


@pytest.fixture
def copy(tiny: Small, tmp_path: Path) -> Path:
    """A copy of the run for tests that change it."""
    shutil.copytree(tiny.run, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = {line.split(" ")[0] for line in sentences("train", 60).splitlines() if line}
    return tiny_bert(tmp_path_factory.mktemp("tiny") / "bert", words)


def same(outcome: Outcome) -> dict[str, Any]:
    """The JSON output of a successful reproduction."""
    assert outcome.status == 0, outcome
    found: dict[str, Any] = json.loads(outcome.out)
    assert found["identical"]
    assert all(part["same"] for part in found["parts"])
    assert found["differing"] == []
    assert "warning" not in outcome.err
    return found


def by_name(parts: list[ComparedPart]) -> dict[str, ComparedPart]:
    return {part.what: part for part in parts}


def change_run(run: Path, *place: str, value: object) -> None:
    """Change the record in a run's directory."""
    path = run / "checkpoints/run.json"
    table = whole = json.loads(path.read_text())
    for key in place[:-1]:
        table = table.setdefault(key, {})
    table[place[-1]] = value
    path.write_text(json.dumps(whole))


def test_a_tagger_again(cli: Cli, tiny: Small, tmp_path: Path) -> None:
    before = files_of(tiny.run)
    outcome = cli("reproduce", tiny.run, "--quiet", "--output", tmp_path / "again")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.endswith("identical\n")
    assert "not" not in outcome.out
    assert files_of(tiny.run) == before
    assert essence(tmp_path / "again") == essence(tiny.run)


def test_a_classifier_again(cli: Cli, small_classes: Small) -> None:
    found = same(cli("reproduce", small_classes.run, "--quiet", "--json"))
    assert [part["what"] for part in found["parts"]] == [
        "weights", "description", "vocabularies", "metrics", "history", "predictions",
    ]  # fmt: skip


@pytest.mark.slow
def test_transformers_again_and_their_students(cli: Cli, tiny: Small, body: Path, tmp_path: Path) -> None:
    data = ("--train", tiny.dev, "--dev", tiny.dev)
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    assert cli("train", "ner", *data, "--output", teacher, *BODY, f"--set=model.pretrained={body}").status == 0
    same(cli("reproduce", teacher, "--quiet", "--json"))
    assert cli("distill", teacher, *data, "--output", student, *QUICK, "--set=distill.augmented_copies=1").status == 0
    same(cli("reproduce", student, "--quiet", "--json"))
    weights = next(teacher.glob("model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"abcd")
    refused(cli("reproduce", student, "--quiet"), weights, "has changed since the run")


@pytest.mark.slow
def test_folds_again(cli: Cli, tiny: Small, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert cli("train", "ner", "--train", tiny.dev, "--output", run, "--folds", 2, *QUICK).status == 0
    found = same(cli("reproduce", run, "--quiet", "--json"))
    assert found["parts"][-1]["what"] == "folds"


@pytest.mark.slow
def test_a_search_again(cli: Cli, small_classes: Small, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    data = ("--train", small_classes.dev, "--dev", small_classes.test)
    run = tmp_path / "run"
    assert cli("train", "cls", *data, "--output", run, "--search", 2, *SMALL_CLASSES).status == 0
    found = same(cli("reproduce", run, "--quiet", "--json"))
    assert found["parts"][-1]["what"] == "search"


def test_data_that_moved_are_named(cli: Cli, tiny: Small, copy: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.conll"
    shutil.copy(tiny.train, moved)
    change_run(copy, "settings", "data", "train", value="/gone/train.conll")
    data = json.loads((copy / "checkpoints/run.json").read_text())["data"]
    data["/gone/train.conll"] = data.pop(str(tiny.train))
    change_run(copy, "data", value=data)
    refused(cli("reproduce", copy, "--quiet"), "/gone/train.conll", "file of the run not found", "--train")
    same(cli("reproduce", copy, "--quiet", "--json", "--train", moved))
    moved.write_text(sentences("train", 119), encoding="utf-8")
    refused(cli("reproduce", copy, "--quiet", "--train", moved), moved, "has changed since the run")


@pytest.mark.interrupt
@pytest.mark.parametrize("kept", [True, False])
def test_being_stopped_leaves_nothing_to_go_on_from_or_says_where_it_is(
    cli: Cli, tiny: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = tmp_path / "again"
    with signal_in("record_epoch", signal.SIGTERM):
        outcome = cli("reproduce", tiny.run, "--quiet", *(["--output", place] if kept else []))
    where = f"; the unfinished run is in {place}" if kept else ""
    assert outcome == (143, "", f"stopped before the comparison{where}\n")
    assert any((place / "checkpoints").glob("checkpoint-*")) == kept
    assert [path.name for path in tmp_path.iterdir()] == ["again"] * kept


def test_what_is_no_finished_run_is_refused(cli: Cli, copy: Path, tmp_path: Path) -> None:
    refused(cli("reproduce", tmp_path), tmp_path, "found no checkpoints/run.json")
    change_run(copy, "finished", value=False)
    refused(cli("reproduce", copy), copy, "has not finished; finish it with --resume")


def test_the_place_of_the_new_run(cli: Cli, copy: Path, tmp_path: Path) -> None:
    for output in (copy, copy / "again", copy / "README.md"):
        refused(cli("reproduce", copy, "--output", output), output, "in the run to reproduce")
    refused(cli("reproduce", copy, "--output", tmp_path), tmp_path, "already exists")


def test_other_versions_are_told_before_training(cli: Cli, copy: Path) -> None:
    change_run(copy, "environment", "versions", "torch", value="0.4.1")
    change_run(copy, "environment", "device", value="abacus")
    outcome = cli("reproduce", copy, "--json")
    found = json.loads(outcome.out)
    assert (outcome.status, len(found["differing"])) == (0, 2)
    first, second = outcome.err.splitlines()[:2]
    assert first.startswith("warning: torch: found ")
    assert first.endswith("the run had 0.4.1; results may not be bit-identical")
    assert second.startswith("warning: device: found ")
    assert "abacus" in second


def test_the_threads_of_the_run_are_used(cli: Cli, tiny: Small, tmp_path: Path) -> None:
    """Even if the settings leave the number of threads open and the machine now has a different one."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        data = ("--train", tiny.dev, "--dev", tiny.dev)
        assert cli("train", "ner", *data, "--output", tmp_path / "run", "--quiet", *QUICK).status == 0
        torch.set_num_threads(1)
        same(cli("reproduce", tmp_path / "run", "--quiet", "--json"))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


def test_code_of_a_model_is_not_run_unasked(cli: Cli, tiny: Small, body: Path, tmp_path: Path) -> None:
    run, data = tmp_path / "run", ("--train", tiny.dev, "--dev", tiny.dev)
    more = (*BODY, "--set=train.epochs=1", f"--set=model.pretrained={body}", "--set=model.trust_remote_code=true")
    assert cli("train", "ner", *data, "--output", run, *more).status == 0
    refused(cli("reproduce", run, "--quiet"), run, "--trust-remote-code")
    same(cli("reproduce", run, "--quiet", "--json", "--trust-remote-code"))


def test_a_difference_in_any_part_is_found(cli: Cli, tiny: Small, copy: Path) -> None:
    """Weights report the largest difference, scores and history the path, predictions the line, others the file."""
    weights = load_file(copy / "model.safetensors")
    floats = [name for name, values in weights.items() if values.dtype == np.float32]
    name, other = floats[0], next(name for name in floats[1:] if weights[name].ndim > 1)
    weights[name] = weights[name].copy()
    weights[name].flat[3] += 0.25
    weights[other] = weights[other].reshape(-1)
    save_file(weights, copy / "model.safetensors")
    metrics = json.loads((copy / "metrics.json").read_text())
    metrics["dev"]["f1"] = 2.0
    (copy / "metrics.json").write_text(json.dumps(metrics))
    history = (copy / "history.jsonl").read_text().splitlines()
    (copy / "history.jsonl").write_text("\n".join(history[:-1]) + "\n")
    vocabulary = next(path for path in sorted((copy / "vocab").iterdir()) if path.suffix == ".txt")
    vocabulary.write_bytes(vocabulary.read_bytes() + b"more\n")
    lines = (copy / "predictions.conll").read_text().split("\n")
    lines[6] = "else B-X B-Y"
    (copy / "predictions.conll").write_text("\n".join(lines))

    outcome = cli("reproduce", copy, "--quiet", "--json")
    assert outcome.status == 1
    found = json.loads(outcome.out)
    parts = {part["what"]: part for part in found["parts"]}
    assert not found["identical"]
    assert [name for name, part in parts.items() if part["same"]] == ["description"]
    assert found["tensors"].keys() == {name, other}
    assert found["tensors"][name] == pytest.approx(0.25, rel=1e-4)
    assert found["tensors"][other] is None
    assert "dev.f1 2.0 -> " in parts["metrics"]["detail"]
    assert parts["history"]["detail"].startswith(f"{len(history)}.epoch - -> {len(history)}, ")
    assert parts["vocabularies"]["detail"] == f"vocab/{vocabulary.name}"
    assert parts["predictions"]["detail"] == "predictions.conll: lines 7"
    table = cli("reproduce", copy, "--quiet")
    assert table.status == 1
    assert table.out.endswith("not identical\n")
    assert f"  {name}: largest difference 0.25\n" in table.out


def test_seconds_are_no_difference(tiny: Small, copy: Path) -> None:
    text = (copy / "history.jsonl").read_text()
    lines = [json.loads(line) | {"seconds": 1e6} for line in text.splitlines()]
    (copy / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    parts, tensors = compare_runs(tiny.run, copy)
    assert by_name(parts)["history"].same
    assert tensors == {}


def test_another_temperature_is_a_difference(small_classes: Small, tmp_path: Path) -> None:
    """The model's description is compared, but not names of files and checksums."""
    from nlp_app.models.directory import own_checksum

    shutil.copytree(small_classes.run, tmp_path / "copy")
    path = tmp_path / "copy/nlp_app.json"
    description = json.loads(path.read_text(encoding="utf-8"))

    def store() -> ComparedPart:
        description["checksum"] = own_checksum(description)
        path.write_text(json.dumps(description), encoding="utf-8")
        return by_name(compare_runs(small_classes.run, tmp_path / "copy")[0])["description"]

    description["about"]["splits"]["train"]["file"] = "another.csv"
    description["files"]["model.safetensors"] = "0"
    assert store().same
    name = next(name for name, value in description.items() if isinstance(value, dict) and "temperature" in value)
    description[name]["temperature"] *= 2
    assert not store().same
