"""Cross-validation: the folds are a partition, nothing leaks, and the scores are over all sentences."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, Outcome, files_of, refused
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score

import nlp_app
from nlp_app.config import TaggingSettings, read_settings
from nlp_app.core.errors import DataError
from nlp_app.data.partition import assign_folds
from nlp_app.training import train_ner

Cli = Callable[..., Outcome]
QUICK = [
    *SMALL,
    *("--set=train.epochs=2", "--set=train.batch_tokens=64", "--set=track.plots=false"),
    *("--set=train.learning_rate=0.01", "--set=train.sparse_learning_rate=0.05", "--set=model.input_dropout=0.1"),
]
PEOPLE, PLACES = ("Ann", "Bob", "Cid", "Dora"), ("Oslo", "Rome", "Lima")


def easy(count: int, seed: int) -> str:
    """Sentences that are learned quickly, as CoNLL columns; each has a unique word."""
    chance, blocks = random.Random(seed), []
    for number in range(count):
        rows = [(chance.choice(PEOPLE), "B-PER"), ("sees", "O"), (f"w{seed}x{number}", "O"), ("in", "O")]
        rows += [(chance.choice(PLACES), "B-LOC"), (".", "O")]
        blocks.append("".join(f"{token} {tag}\n" for token, tag in rows))
    return "\n".join(blocks) + "\n"


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(2, 8), st.integers(0, 1000))
def test_folds_are_a_partition_that_keeps_equal_examples_together(examples: list[int], folds: int, seed: int) -> None:
    if len(set(examples)) < folds:
        with pytest.raises(DataError, match="--folds"):
            assign_folds(examples, folds, seed, "x")
        return
    chosen = assign_folds(examples, folds, seed, "x")
    assert chosen == assign_folds(examples, folds, seed, "x")
    assert len(chosen) == len(examples)
    assert set(chosen) == set(range(folds))
    assert all(len({fold for one, fold in zip(examples, chosen, strict=True) if one == each}) == 1 for each in examples)
    sizes = Counter(chosen)
    assert max(sizes.values()) - min(sizes.values()) <= max(Counter(examples).values())


def test_the_seed_shuffles() -> None:
    assert len({tuple(assign_folds(range(20), 4, seed, "x")) for seed in range(10)}) == 10


def rows_of(path: Path) -> list[list[list[str]]]:
    blocks = path.read_text(encoding="utf-8").strip("\n").split("\n\n")
    return [[line.split(" ") for line in block.split("\n")] for block in blocks]


def result(output: Path) -> dict[str, Any]:
    """All files of a run that are equal in two equal runs: without checkpoints and the seconds of epochs."""
    files = {name: content for name, content in files_of(output).items() if "checkpoints" not in name}
    for name in [name for name in files if name.endswith("history.jsonl")]:
        lines = [json.loads(line) for line in files[name].decode().splitlines()]
        files[name] = [line | {"seconds": 0} for line in lines]  # type: ignore[assignment]
    return files


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training file with some sentences twice."""
    directory = tmp_path_factory.mktemp("data")
    (directory / "train.conll").write_text(easy(42, seed=1) + easy(6, seed=1), encoding="utf-8")
    (directory / "test.conll").write_text(easy(12, seed=2), encoding="utf-8")
    return directory


def folded(cli: Cli, data: Path, output: Path, *more: object) -> Outcome:
    files = ("--train", data / "train.conll", "--test", data / "test.conll", "--output", output)
    return cli("train", "ner", *files, "--folds", 3, *QUICK, *more)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validated run. Tests only read it."""
    from nlp_app.cli import main

    output = tmp_path_factory.mktemp("folds") / "run"
    files = ["--train", str(data / "train.conll"), "--test", str(data / "test.conll"), "--output", str(output)]
    main(["train", "ner", *files, "--folds", "3", "--quiet", *QUICK])
    return output


def test_every_sentence_is_found_once_by_a_tagger_that_never_saw_it(data: Path, run: Path) -> None:
    gold, found = rows_of(data / "train.conll"), rows_of(run / "folds/predictions.conll")
    assert [[row[0] for row in sentence] for sentence in found] == [[row[0] for row in sentence] for sentence in gold]
    report = json.loads((run / "folds.json").read_text())
    assert sum(each["sentences"] for each in report["each"]) == len(gold)
    met = 0
    for fold in (1, 2, 3):
        mine = rows_of(run / f"folds/{fold}/predictions.conll")
        tokens = {tuple(row[0] for row in sentence) for sentence in mine}
        assert [sentence for sentence in found if tuple(row[0] for row in sentence) in tokens] == mine
        tagger = nlp_app.load(run / f"folds/{fold}")
        assert tagger.tag_tokens([[row[0] for row in s] for s in mine]) == [[row[2] for row in s] for s in mine]
        # Its vocabulary has every word of the other folds, and none that only this one has.
        words = {row[0].lower() for sentence in mine for row in sentence}
        others = {row[0].lower() for s in found if tuple(row[0] for row in s) not in tokens for row in s}
        known = set((run / f"folds/{fold}/vocab/norms.txt").read_text(encoding="utf-8").split("\n"))
        assert not known & (words - others)
        met += len(mine)
    assert met == len(gold)


def test_the_score_is_that_of_all_folds_together(run: Path) -> None:
    found = rows_of(run / "folds/predictions.conll")
    gold, predicted = ([[row[column] for row in sentence] for sentence in found] for column in (1, 2))
    report, metrics = (json.loads((run / name).read_text()) for name in ("folds.json", "metrics.json"))
    expected = f1_score(gold, predicted)
    assert expected > 0
    assert report["pooled"]["f1"] == metrics["dev"]["f1"] == pytest.approx(expected, abs=1e-12)
    assert list(metrics) == ["dev", "test"]
    values = [each["scores"]["f1"] for each in report["each"]]
    mean = sum(values) / 3
    assert report["mean"]["f1"] == pytest.approx(mean)
    deviation = (sum((value - mean) ** 2 for value in values) / 2) ** 0.5
    assert report["standard_deviation"]["f1"] == pytest.approx(deviation)
    assert f"F1 {expected:.4f} over all sentences of 3 folds" in (run / "README.md").read_text()


def test_the_final_model_is_that_of_all_sentences(data: Path, run: Path, tmp_path: Path) -> None:
    changes = [change.removeprefix("--set=") for change in QUICK]
    files = [f"data.{split}={data / split}.conll" for split in ("train", "test")]
    settings = read_settings(TaggingSettings, None, [*changes, *files])
    whole = settings.model_copy(update={"data": settings.data.model_copy(update={"dev_share": 0.0})})
    metrics = train_ner(whole, tmp_path / "run", quiet=True)
    assert (tmp_path / "run/model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    assert list(metrics) == ["test"]
    assert metrics["test"] == json.loads((run / "metrics.json").read_text())["test"]


def test_what_is_said(cli: Cli, data: Path, run: Path, tmp_path: Path) -> None:
    outcome = folded(cli, data, tmp_path / "run")
    assert outcome.status == 0
    assert result(tmp_path / "run") == result(run)
    heads = [line.strip().split("  ")[0] for line in outcome.out.splitlines()]
    assert heads[:7] == ["fold", "1", "2", "3", "mean", "standard deviation", "all folds together"]
    assert [line for line in outcome.err.splitlines() if line.startswith("fold 2/3  ")]
    again = folded(cli, data, tmp_path / "run", "--resume", "--quiet")
    assert (again.status, again.out, again.err) == (0, outcome.out, "")
    assert cli("train", "ner", "--output", tmp_path / "run", "--folds", 3, "--resume", "--quiet") == again
    assert cli("evaluate", tmp_path / "run", data / "test.conll", "--quiet").status == 0


class Stop(Exception):
    """Stops a run from within a test."""


@pytest.mark.parametrize("epochs", [1, 4, 7])  # in the first fold, just before the third, in the final model
def test_stopped_and_resumed(
    cli: Cli, data: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    from nlp_app.training.runs.directory import RunDirectory

    keep, kept = RunDirectory.record_epoch, 0

    def keep_and_stop(self: RunDirectory, *arguments: Any) -> None:
        nonlocal kept
        keep(self, *arguments)
        kept += 1
        if kept == epochs:
            raise Stop

    monkeypatch.setattr(RunDirectory, "record_epoch", keep_and_stop)
    with pytest.raises(Stop):
        folded(cli, data, tmp_path / "run", "--quiet")
    assert not (tmp_path / "run/folds.json").exists()
    assert folded(cli, data, tmp_path / "run", "--quiet", "--resume").status == 0
    assert kept == 8  # two epochs of three folds and of the final model, none twice
    assert result(tmp_path / "run") == result(run)


def test_stopped_between_a_fold_s_end_and_what_it_found(
    cli: Cli, data: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nlp_app.training.multirun import cross_validation

    with monkeypatch.context() as patch:
        patch.setattr(cross_validation, "write_text", stopping)
        with pytest.raises(Stop):
            folded(cli, data, tmp_path / "run", "--quiet")
    assert json.loads((tmp_path / "run/folds/1/checkpoints/run.json").read_text())["finished"]
    assert not (tmp_path / "run/folds/1/spans.json").exists()
    assert folded(cli, data, tmp_path / "run", "--quiet", "--resume").status == 0
    assert result(tmp_path / "run") == result(run)


def stopping(path: Path, text: str) -> None:
    raise Stop


def test_a_continuation_has_the_same_settings_data_and_folds(cli: Cli, run: Path, data: Path, tmp_path: Path) -> None:
    before = result(run)
    refused(
        folded(cli, data, run, "--quiet", "--resume", "--set=model.hidden_size=8"),
        "model.hidden_size = 8 (was 16)",
        run / "folds",
    )
    refused(folded(cli, data, run, "--quiet", "--resume", "--folds", 4), "folds = 4 (was 3)")
    assert result(run) == before


def test_another_run_in_the_same_place_leaves_nothing_of_the_folds(cli: Cli, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert folded(cli, data, output, "--quiet", "--set=train.epochs=1").status == 0
    files = ("--train", data / "train.conll", "--output", output)
    assert cli("train", "ner", *files, "--quiet", *QUICK).status == 0
    assert not list(output.glob("folds*"))


def test_what_folds_cannot_be_made_of(cli: Cli, data: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.conll"
    few.write_text("a O\nb B-X\n\n" * 3 + "c B-X\n", encoding="utf-8")
    output = tmp_path / "run"
    outcome = cli("train", "ner", "--train", few, "--folds", 3, "--output", output, "--quiet")
    refused(outcome, few, "found 2 different sentences")
    refused(folded(cli, data, output, "--dev", few), "data.dev", "--folds")
    refused(folded(cli, data, output, "--set=train.patience=2"), "train.patience")
    refused(folded(cli, data, output, "--search", 2), "--search and --folds")
    refused(cli("train", "ner", "--folds", 3, "--output", output), "--train FILE")
    refused(cli("train", "cls", "--folds", 3, "--output", output), "train ner")
    one = tmp_path / "one.conll"
    one.write_text("a O\n\nb O\n\nc B-X\n", encoding="utf-8")
    refused(cli("train", "ner", "--train", one, "--folds", 3, "--output", output, "--quiet"), one, "only fold")
    assert not output.exists()


def test_a_folder_of_the_same_name_is_left_alone(cli: Cli, data: Path, tmp_path: Path) -> None:
    (tmp_path / "folds").mkdir()
    (tmp_path / "folds/mine.txt").write_text("mine")
    refused(folded(cli, data, tmp_path), "holds other files")
    assert (tmp_path / "folds/mine.txt").read_text() == "mine"


@pytest.mark.slow
def test_what_is_kept_of_a_file_is_not_taken_for_a_fold(
    cli: Cli, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transformer's encoded training data are cached between runs; a fold must not use those of the whole file."""
    from tiny_transformers import tiny_bert

    monkeypatch.setenv("NLP_APP_CACHE", str(tmp_path / "cache"))
    body = tiny_bert(tmp_path / "body", hidden=16, layers=1)
    files = ("--train", data / "train.conll", "--output", tmp_path / "run", "--quiet", "--folds", 2)
    chosen = ("model.kind=transformer", f"model.pretrained={body}", "train.epochs=1", "track.plots=false")
    assert cli("train", "ner", *files, *(f"--set={change}" for change in chosen)).status == 0
    kept = {path.parent for path in (tmp_path / "cache").glob("*/*")}  # not the measured speed of bfloat16
    assert len(kept) == 2  # the file's sentences, and the pieces of all of them
    for fold in (1, 2):
        mine = rows_of(tmp_path / f"run/folds/{fold}/predictions.conll")
        tagger = nlp_app.load(tmp_path / f"run/folds/{fold}")
        assert tagger.tag_tokens([[row[0] for row in s] for s in mine]) == [[row[2] for row in s] for s in mine]
