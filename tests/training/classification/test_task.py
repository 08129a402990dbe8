"""A run of `train cls`: what it leaves, that the seed decides it, and that stopping it at any time changes nothing."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL_CLASSES, Outcome, Small, essence, files_of, refused, write_csv
from stopping import stopping_after

import nlp_app
from nlp_app.config import ClassificationSettings, read_settings
from nlp_app.metrics import multi_label_scores, single_label_scores

Cli = Callable[..., Outcome]
MODEL = {"nlp_app.json", "model.safetensors", "vocab", "README.md", "config.toml", "metrics.json"}
PICTURES = {"history.png", "confusion.png"}


def command_of(small: Small, output: Path, *more: object) -> list[str]:
    files = ("--train", small.train, "--dev", small.dev, "--test", small.test)
    return [str(part) for part in ("train", "cls", *files, "--output", output, "--quiet", *SMALL_CLASSES, *more)]


def train(cli: Cli, small: Small, output: Path, *more: object) -> Outcome:
    return cli(*command_of(small, output, *more))


def records_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def names(run: Path) -> set[str]:
    return {path.name for path in run.iterdir()}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A run on texts with several labels, one of which is rare, and some with none."""
    from nlp_app.training import train_cls

    directory = tmp_path_factory.mktemp("several")
    chance = random.Random(3)
    words = {"red": "crimson scarlet ruby", "big": "huge vast giant", "old": "ancient aged 古", "odd": "queer 怪"}
    paths = []
    for split, count in (("train", 160), ("dev", 60), ("test", 60)):
        lines = []
        for number in range(count):
            labels = [label for label in ("red", "big", "old") if chance.random() < 0.4]
            labels += ["odd"] if number % 12 == 0 else []
            text = " ".join([chance.choice(words[label].split()) for label in labels] + [f"thing {number}"])
            lines.append(json.dumps({"text": text, "cats": {label: float(label in labels) for label in words}}))
        paths.append(directory / f"{split}.jsonl")
        paths[-1].write_text("\n".join(lines) + "\n", encoding="utf-8")
    changes = [change.removeprefix("--set=") for change in SMALL_CLASSES] + ["train.epochs=8"]
    changes += [f"data.{path.stem}={path}" for path in paths]
    train_cls(read_settings(ClassificationSettings, None, changes), directory / "run", quiet=True)
    return Small(*paths, directory / "run")


def test_what_a_run_leaves(small_classes: Small) -> None:
    run = small_classes.run
    assert names(run) == MODEL | PICTURES | {"history.jsonl", "predictions.jsonl", "checkpoints"}
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["checkpoint-000006", "run.json"]
    settings = read_settings(ClassificationSettings, run / "config.toml")
    assert settings.data.train == str(small_classes.train)
    assert settings.train.epochs == 6
    history = records_of(run / "history.jsonl")
    assert [line["epoch"] for line in history] == [1, 2, 3, 4, 5, 6]
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    best = [line for line in history if line["best"]][-1]
    assert best["dev"]["weighted_f1"] == max(line["dev"]["weighted_f1"] for line in history)
    assert best["dev"]["weighted_f1"] == metrics["dev"]["weighted_f1"]
    assert all((run / name).read_bytes().startswith(b"\x89PNG") for name in PICTURES)


def test_the_metrics_are_as_promised(small_classes: Small) -> None:
    metrics = json.loads((small_classes.run / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics) == ["dev", "test"]
    for split, path in (("dev", small_classes.dev), ("test", small_classes.test)):
        with path.open(encoding="utf-8", newline="") as file:
            gold = [row["label"] for row in csv.DictReader(file)]
        scores = metrics[split]
        assert {"accuracy", "weighted_f1", "macro_f1", "per_label", "confusion", "calibration"} <= set(scores)
        supports = {label: each["support"] for label, each in scores["per_label"].items()}
        assert supports == {label: gold.count(label) for label in supports}
        assert sum(supports.values()) == len(gold)
        assert sum(map(sum, scores["confusion"]["matrix"])) == len(gold)
        assert scores["accuracy"] > 2 * max(supports.values()) / len(gold) / 1.5  # it has learned something


def test_the_predictions_give_the_scores(small_classes: Small) -> None:
    with small_classes.test.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = records_of(small_classes.run / "predictions.jsonl")
    assert [(line["text"], line["gold"]) for line in found] == [(row["text"], row["label"]) for row in rows]
    expected = single_label_scores([line["gold"] for line in found], [line["predicted"] for line in found])
    metrics = json.loads((small_classes.run / "metrics.json").read_text(encoding="utf-8"))["test"]
    assert {key: metrics[key] for key in expected} == expected
    labels = nlp_app.load(small_classes.run).classify([row["text"] for row in rows])
    assert [label.label for label in labels] == [line["predicted"] for line in found]
    assert [label.score for label in labels] == pytest.approx([line["score"] for line in found], abs=2e-6)


def test_the_card_says_what_the_model_is(small_classes: Small) -> None:
    card = (small_classes.run / "README.md").read_text(encoding="utf-8")
    metrics = json.loads((small_classes.run / "metrics.json").read_text(encoding="utf-8"))
    assert all(f"`{label}`" in card for label in metrics["test"]["per_label"])
    assert f"weighted F1 {metrics['test']['weighted_f1']:.4f}" in card
    assert "| train | train.csv | 240 |" in card
    assert "Each text has exactly one class." in card
    assert "The dev set was used to select the best epoch" in card
    assert "The test set was evaluated once, with the final model." in card
    assert "A score is a probability, calibrated on the dev set" in card


def test_the_seed_decides(cli: Cli, small_classes: Small, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert train(cli, small_classes, tmp_path / name, "--seed", seed).status == 0
    assert essence(tmp_path / "a") == essence(tmp_path / "b")
    assert (tmp_path / "a/model.safetensors").read_bytes() != (tmp_path / "c/model.safetensors").read_bytes()


def test_quiet_means_quiet_and_a_log_gets_one_line_an_epoch(cli: Cli, small_classes: Small, tmp_path: Path) -> None:
    quiet = train(cli, small_classes, tmp_path / "a")
    assert (quiet.status, quiet.err) == (0, "")
    assert "weighted F1" in quiet.out
    assert "gold \\ predicted" in quiet.out
    loud = cli(*(part for part in command_of(small_classes, tmp_path / "b") if part != "--quiet"))
    assert loud.out == quiet.out
    lines = loud.err.split("\n")
    epochs = [line.split("  ")[0] for line in lines if line.startswith("epoch")]
    assert epochs == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert "\r" not in loud.err
    assert "%|" not in loud.err
    assert lines[-2].endswith(str(tmp_path / "b"))
    assert essence(tmp_path / "a") == essence(tmp_path / "b")


KINDS = {
    "embedding_bag": ["model.kind=embedding_bag"],
    "linear": ["model.kind=embedding_bag", "model.hidden_size=0"],
    "hashed": ["model.kind=embedding_bag", "model.hash_buckets=500", "model.word_ngrams=1"],
    "textcnn": ["model.kind=textcnn", "model.word_dim=8", "model.num_filters=8"],
    "stacked": ["model.kind=textcnn", "model.word_dim=8", "model.num_filters=8", "model.stacked_layers=2"],
    "combined": ["model.kind=combined", "model.word_dim=8", "model.num_filters=8"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_served_as_it_was_scored(cli: Cli, small_classes: Small, tmp_path: Path, kind: str) -> None:
    changes = [f"--set={change}" for change in KINDS[kind]]
    outcome = train(cli, small_classes, tmp_path / "run", *changes)
    assert (outcome.status, outcome.err) == (0, "")
    metrics = json.loads((tmp_path / "run/metrics.json").read_text(encoding="utf-8"))
    for split in ("dev", "test"):
        scores = json.loads(cli("evaluate", tmp_path / "run", getattr(small_classes, split), "--json").out)
        calibration, expected = scores.pop("calibration"), metrics[split].pop("calibration")
        assert scores == metrics[split]
        assert (calibration["ece"], calibration["nll"]) == pytest.approx((expected["ece"], expected["nll"]), abs=1e-5)
    before = files_of(tmp_path / "run")
    assert train(cli, small_classes, tmp_path / "run", *changes, "--resume") == outcome
    assert files_of(tmp_path / "run") == before


def test_several_labels_a_text(several: Small, cli: Cli) -> None:
    run = several.run
    assert names(run) == MODEL | {"history.png", "history.jsonl", "predictions.jsonl", "checkpoints"}
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["test"]
    assert {"micro_f1", "macro_f1", "samples_f1", "weighted_f1", "subset_accuracy", "per_label"} <= set(metrics)
    assert metrics["micro_f1"] > 0.8
    stored = json.loads((run / "nlp_app.json").read_text(encoding="utf-8"))
    thresholds = dict(zip(stored["labels"], stored["decision"]["thresholds"], strict=True))
    assert set(thresholds) == {"big", "odd", "old", "red"}
    found = records_of(run / "predictions.jsonl")
    gold = [[name for name, value in line["cats"].items() if value] for line in records_of(several.test)]
    assert [as_list(line["gold"]) for line in found] == gold
    classifier = nlp_app.load(run)
    texts = [line["text"] for line in found]
    probabilities = classifier.probabilities(texts)
    expected = [
        {label for label, value in zip(classifier.labels, row, strict=True) if value >= thresholds[label]}
        for row in probabilities.tolist()
    ]
    assert [{label.label for label in labels} for labels in classifier.classify(texts)] == expected
    assert [set(as_list(line["predicted"])) for line in found] == expected
    scores = multi_label_scores(gold, [sorted(each) for each in expected], classifier.labels)
    assert {key: metrics[key] for key in scores} == scores
    again = json.loads(cli("evaluate", run, several.test, "--json").out)
    assert {key: again[key] for key in scores} == scores


def as_list(labels: str | list[str]) -> list[str]:
    return [labels] if isinstance(labels, str) else labels


def test_thresholds_that_are_stored_are_used(several: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    import numpy as np

    from nlp_app.models import ClassifierParts, Decision, read_model, write_model

    parts = read_model(several.run)
    assert isinstance(parts, ClassifierParts)
    write_model(replace(parts, decision=Decision(1.0, np.array([0.0, 1.0, 0.0, 1.0]))), tmp_path / "model")
    found = nlp_app.load(tmp_path / "model").classify(["anything at all"])
    assert [{label.label for label in labels} for labels in found] == [{"big", "old"}]


LOSSES = {"cross_entropy": [], "focal": ["train.focal_gamma=1"], "hinge": ["train.wide_learning_rate=0.1"]}


def weights_of(run: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(run / "model.safetensors")


def gap(a: Path, b: Path) -> float:
    first, second = weights_of(a), weights_of(b)
    return max(float(abs(first[name] - second[name]).max()) for name in first)


def test_losses_that_are_equal_on_paper_give_equal_runs(cli: Cli, small_classes: Small, tmp_path: Path) -> None:
    """Focal loss with gamma 0 is cross entropy; `balanced` is n / (k n_c); a weight of 1 each is none."""
    with small_classes.train.open(encoding="utf-8", newline="") as file:
        gold = [row["label"] for row in csv.DictReader(file)]
    balanced = {label: len(gold) / (len(set(gold)) * gold.count(label)) for label in set(gold)}
    runs = {
        "plain": ["train.label_smoothing=0"],
        "focal": ["train.loss=focal", "train.focal_gamma=0"],
        "ones": ["train.label_smoothing=0", "train.class_weights=fault=1"],
        "balanced": ["train.label_smoothing=0", "train.class_weights=balanced"],
        "imbalance": ["train.label_smoothing=0", "train.imbalance=weights"],
        "listed": [
            "train.label_smoothing=0",
            f"train.class_weights={','.join(f'{k}={v!r}' for k, v in balanced.items())}",
        ],
        "focal balanced": ["train.loss=focal", "train.focal_gamma=0", "train.class_weights=balanced"],
    }
    for name, changes in runs.items():
        sets = [f"--set={change}" for change in (*changes, "train.max_grad_norm=0", "track.plots=false")]
        outcome = train(cli, small_classes, tmp_path / name, *sets)
        assert (outcome.status, outcome.err) == (0, "")
    assert gap(tmp_path / "plain", tmp_path / "focal") < 1e-3
    assert gap(tmp_path / "plain", tmp_path / "ones") < 1e-4
    assert gap(tmp_path / "balanced", tmp_path / "listed") < 1e-4
    assert gap(tmp_path / "balanced", tmp_path / "imbalance") == 0
    assert gap(tmp_path / "balanced", tmp_path / "focal balanced") < 1e-3
    assert gap(tmp_path / "plain", tmp_path / "balanced") > 1e-2


@pytest.mark.parametrize("change", ["imbalance=weights", "imbalance=sampler", "class_weights=rare=30"])
def test_a_rare_class_is_found_more_often(cli: Cli, tmp_path: Path, change: str) -> None:
    """What decides is a word that most texts of the rare class have, but more texts of the common one."""
    chance = random.Random(9)
    paths = []
    for name, count in (("train", 600), ("dev", 200)):
        rows = []
        for number in range(count):
            label = "rare" if number % 15 == 0 else "common"
            hint = "perhaps" if chance.random() < (0.8 if label == "rare" else 0.25) else "surely"
            rows.append([f"{hint} w{chance.randrange(40)}", label])
        paths.append(write_csv(tmp_path / f"{name}.csv", rows))
    files = ("--train", paths[0], "--dev", paths[1], "--quiet", *SMALL_CLASSES)
    simple = ["--set=model.word_ngrams=1", "--set=model.char_ngrams=", "--set=track.plots=false"]
    found = {}
    for name, more in (("plain", []), ("changed", [f"--set=train.{change}"])):
        assert cli("train", "cls", *files, "--output", tmp_path / name, *simple, *more).status == 0
        lines = records_of(tmp_path / name / "predictions.jsonl")
        found[name] = sum(line["predicted"] == "rare" for line in lines)
    assert found["changed"] > found["plain"] + 15


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains(cli: Cli, small_classes: Small, tmp_path: Path, loss: str) -> None:
    changes = [f"train.loss={loss}", *LOSSES[loss], "track.plots=false", "train.epochs=6"]
    more = [f"--set={change}" for change in changes]
    outcome = train(cli, small_classes, tmp_path / "run", *more)
    assert (outcome.status, outcome.err) == (0, "")
    assert names(tmp_path / "run") & PICTURES == set()
    history = records_of(tmp_path / "run/history.jsonl")
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    metrics = json.loads((tmp_path / "run/metrics.json").read_text(encoding="utf-8"))
    assert metrics["dev"]["accuracy"] > 0.35


@pytest.mark.parametrize("change", ["loss=binary_focal", "imbalance=weights", "imbalance=focal", "imbalance=sampler",
                                    "class_weights=odd=3,red=0.5"])  # fmt: skip
def test_losses_of_several_labels(cli: Cli, several: Small, tmp_path: Path, change: str) -> None:
    outcome = train(cli, several, tmp_path / "run", "--set", f"train.{change}", "--set=train.epochs=6")
    assert (outcome.status, outcome.err) == (0, "")
    metrics = json.loads((tmp_path / "run/metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["micro_f1"] > 0.7


def test_vectors(cli: Cli, small_classes: Small, tmp_path: Path) -> None:
    """Words that training never saw are known by their vectors."""
    vectors = tmp_path / "vectors.vec"
    good, bad = ["fine", "great", "nice", "lovely", "superb"], ["poor", "awful", "nasty", "horrid", "vile"]
    groups = {"good": good, "bad": bad}
    places = [f"{word} {1 if label == 'good' else -1}.0 0.5 0.25" for label, each in groups.items() for word in each]
    vectors.write_text("\n".join([f"{len(places)} 3", *places, "it 0.0 0.1 0.0"]) + "\n", encoding="utf-8")
    seen = [[f"it is {word} {n}", label] for n in range(9) for label, each in groups.items() for word in each[:3]]
    unseen = [[f"it is {word}", label] for label, each in groups.items() for word in each[3:]]
    data, test = write_csv(tmp_path / "a.csv", seen), write_csv(tmp_path / "b.csv", unseen)
    more = [f"--set=model.{change}" for change in (f"vectors={vectors}", "kind=textcnn", "word_dim=0", "num_filters=8")]
    files = ("--train", data, "--dev", data, "--test", test, "--output", tmp_path / "run", "--quiet")
    outcome = cli(
        "train", "cls", *files, *SMALL_CLASSES, *more, "--set=train.epochs=20", "--set=train.learning_rate=0.01"
    )
    assert (outcome.status, outcome.err) == (0, "")
    metrics = json.loads((tmp_path / "run/metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["accuracy"] == 1
    vectors.write_text(vectors.read_text(encoding="utf-8").replace("0.25", "0.75"), encoding="utf-8")
    again = cli("train", "cls", "--output", tmp_path / "run", "--resume", "--quiet")
    refused(again, vectors, "has changed since the run began")


def test_tensorboard(cli: Cli, small_classes: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    more = ["--set=track.tensorboard=true"]
    with stopping_after(2, monkeypatch):
        train(cli, small_classes, tmp_path / "run", *more)
    outcome = train(cli, small_classes, tmp_path / "run", *more, "--resume")
    assert (outcome.status, outcome.err) == (0, "")
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "dev/weighted_f1", "dev/score"} <= set(tags["scalars"])
    assert tags["histograms"]
    history = records_of(tmp_path / "run/history.jsonl")
    scalars = [(event.step, event.value) for event in events.Scalars("dev/weighted_f1")]
    assert [step for step, _ in scalars] == [line["step"] for line in history]
    assert [value for _, value in scalars] == pytest.approx([line["dev"]["weighted_f1"] for line in history])
    plain = tmp_path / "plain"
    assert train(cli, small_classes, plain).status == 0
    assert (plain / "model.safetensors").read_bytes() == (tmp_path / "run/model.safetensors").read_bytes()


@pytest.mark.slow
def test_without_matplotlib(small_classes: Small, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from importlib.abc import MetaPathFinder\n"
        "class Absent(MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('matplotlib', 'tensorboard'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "import importlib.util\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda n, p=None: None if n in ('matplotlib', 'tensorboard') else found(n, p)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from nlp_app.cli import main; main()\n"
    )
    command = [part for part in command_of(small_classes, tmp_path / "run") if part != "--quiet"]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: ") and "matplotlib" in line]
    assert len(notes) == 1
    assert names(tmp_path / "run") & PICTURES == set()
    command = command_of(small_classes, tmp_path / "other", "--set=track.tensorboard=true")
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, timeout=900)
    refused(Outcome(done.returncode, done.stdout, done.stderr), "tensorboard", "pip install")
    assert not (tmp_path / "other").exists()


def test_no_dev_file(cli: Cli, small_classes: Small, tmp_path: Path) -> None:
    outcome = cli("train", "cls", "--train", small_classes.train, "--output", tmp_path / "run", *SMALL_CLASSES)
    assert outcome.status == 0
    assert "held out from train" in outcome.err
    splits = json.loads((tmp_path / "run/nlp_app.json").read_text(encoding="utf-8"))["about"]["splits"]
    assert splits["dev"]["texts"] + splits["train"]["texts"] == 240
    assert 18 <= splits["dev"]["texts"] <= 30
    assert set(splits) == {"train", "dev"}
    assert len(records_of(tmp_path / "run/predictions.jsonl")) == splits["dev"]["texts"]


def test_without_dev_the_last_epoch_is_the_model(cli: Cli, small_classes: Small, tmp_path: Path) -> None:
    """With --test there are scores of it; without, none, and nothing of an earlier run in the same place."""
    run = tmp_path / "run"
    files = ("--train", small_classes.train, "--output", run, *SMALL_CLASSES, "--set=data.dev_share=0")
    outcome = cli("train", "cls", *files, "--test", small_classes.test)
    assert outcome.status == 0
    assert "the model of epoch 3 (the last one)" in outcome.err
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics) == {"test"}
    assert len(records_of(run / "predictions.jsonl")) == 80
    assert json.loads((run / "nlp_app.json").read_text(encoding="utf-8"))["about"]["splits"]["train"]["texts"] == 240
    outcome = cli("train", "cls", *files, "--quiet")
    assert (outcome.status, outcome.err) == (0, "")
    assert json.loads((run / "metrics.json").read_text(encoding="utf-8")) == {}
    assert names(run) == MODEL | {"history.jsonl", "history.png", "checkpoints"}
    assert cli("classify", run, "where is my parcel").status == 0


def test_resume_with_nothing_saved_starts_from_the_beginning(cli: Cli, small_classes: Small, tmp_path: Path) -> None:
    assert train(cli, small_classes, tmp_path / "a").status == 0
    assert train(cli, small_classes, tmp_path / "b", "--resume").status == 0
    assert essence(tmp_path / "a") == essence(tmp_path / "b")


def test_resume_of_a_finished_run_ends_with_the_same(cli: Cli, small_classes: Small, tmp_path: Path) -> None:
    first = train(cli, small_classes, tmp_path / "a")
    before = files_of(tmp_path / "a")
    for again in (
        train(cli, small_classes, tmp_path / "a", "--resume"),
        cli("train", "cls", "--output", tmp_path / "a", "--resume", "--quiet"),
    ):
        assert again == first
        assert files_of(tmp_path / "a") == before
    # The number of threads is the machine's affair, not the run's.
    assert cli("train", "cls", "--output", tmp_path / "a", "--resume", "--quiet", "--threads", 1) == first


@pytest.mark.parametrize("checkpoints", ["train.checkpoint_seconds=0", "train.checkpoint_seconds=1000"])
def test_resume_is_refused_where_it_would_be_another_run(
    cli: Cli, small_classes: Small, tmp_path: Path, checkpoints: str
) -> None:
    copy = Small(*(Path(shutil.copy(path, tmp_path)) for path in small_classes[:3]), tmp_path / "run")
    assert train(cli, copy, copy.run, "--set", checkpoints).status == 0
    before = files_of(tmp_path)
    changes = ("--set", checkpoints, "--seed", 7, "--set", "model.hidden_size=8")
    outcome = train(cli, copy, copy.run, "--resume", *changes)
    refused(outcome, "model.hidden_size = 8 (was 4); train.seed = 7 (was 42)")
    assert files_of(tmp_path) == before
    copy.dev.write_bytes(copy.dev.read_bytes() + b"new,fault\n")
    before = files_of(tmp_path)
    refused(train(cli, copy, copy.run, "--resume", "--set", checkpoints), f"{copy.dev}: has changed since the run")
    assert files_of(tmp_path) == before


def test_a_run_of_another_task_is_left_alone(cli: Cli, small: Small, small_classes: Small, tmp_path: Path) -> None:
    shutil.copytree(small.run, tmp_path / "ner")
    shutil.copytree(small_classes.run, tmp_path / "cls")
    before = files_of(tmp_path)
    for more in ([], ["--resume"]):
        refused(train(cli, small_classes, tmp_path / "ner", *more), tmp_path / "ner", "train ner", "another directory")
        files = ("--train", small.train, "--dev", small.dev, "--output", tmp_path / "cls", "--quiet")
        refused(cli("train", "ner", *files, *more), tmp_path / "cls", "train cls", "another directory")
    assert files_of(tmp_path) == before


def test_another_run_in_the_same_place_leaves_nothing_of_the_first(
    cli: Cli, small_classes: Small, several: Small, tmp_path: Path
) -> None:
    changes = [f"--set={change}" for change in ("track.plots=false", "model.kind=textcnn", "model.word_dim=8")]
    for output in (tmp_path / "again", tmp_path / "only"):
        if output.name == "again":
            assert train(cli, small_classes, output, "--set=track.tensorboard=true").status == 0
        assert train(cli, several, output, *changes).status == 0
    assert essence(tmp_path / "again") == essence(tmp_path / "only")


@pytest.fixture(scope="module")
def whole(small_classes: Small, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run that nothing disturbs leaves."""
    from nlp_app.cli import main

    output = tmp_path_factory.mktemp("whole") / "run"
    main(command_of(small_classes, output))
    return essence(output)


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_stopped_at_each_epoch_and_resumed(
    cli: Cli,
    small_classes: Small,
    whole: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    epoch: int,
    saved: bool,
) -> None:
    run = tmp_path / "run"
    with stopping_after(epoch, monkeypatch, saved):
        train(cli, small_classes, run)
    assert not list(run.glob(".*"))  # nothing of the encoded texts
    assert train(cli, small_classes, run, "--resume").status == 0
    assert essence(run) == whole
    assert not list(run.rglob(".*"))


@pytest.mark.parametrize("kind", ["textcnn", "combined"])
def test_other_kinds_stopped_and_resumed(
    cli: Cli, small_classes: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    changes = [*KINDS[kind], "train.ema_decay=0.9", "train.gradient_accumulation_steps=2", "track.plots=false"]
    more = [f"--set={change}" for change in changes]
    with stopping_after(2, monkeypatch):
        train(cli, small_classes, tmp_path / "run", *more)
    assert train(cli, small_classes, tmp_path / "run", *more, "--resume").status == 0
    assert train(cli, small_classes, tmp_path / "whole", *more).status == 0
    assert essence(tmp_path / "run") == essence(tmp_path / "whole")


def test_a_run_with_few_checkpoints_is_the_same_run(
    cli: Cli, small_classes: Small, whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a checkpoint in the run, or with one that is older than what history says."""
    rare = "--set=train.checkpoint_seconds=1000"
    assert train(cli, small_classes, tmp_path / "a", rare).status == 0
    found = essence(tmp_path / "a")
    assert {**found, "config.toml": b""} == {**whole, "config.toml": b""}
    with stopping_after(2, monkeypatch):
        train(cli, small_classes, tmp_path / "b", rare)
    assert train(cli, small_classes, tmp_path / "b", rare, "--resume").status == 0
    assert essence(tmp_path / "b") == found


def test_texts_that_training_left_behind_are_swept_away(
    cli: Cli, small_classes: Small, whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was killed has left its encoded texts; the next one takes them away, resumed or not."""
    for more in (["--resume"], []):
        run = tmp_path / f"run{len(more)}"
        with stopping_after(1, monkeypatch):
            train(cli, small_classes, run)
        (run / ".unfinished-texts").mkdir()
        (run / ".unfinished-texts" / "bags-rows").write_bytes(b"x" * 999)
        assert train(cli, small_classes, run, *more).status == 0
        assert not list(run.rglob(".*"))
        assert essence(run) == whole


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # files that are closed as they go
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_disk_that_is_full_as_texts_are_encoded(
    cli: Cli, small_classes: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    from nlp_app.storage.memory_map import ColumnsWriter

    append, calls = ColumnsWriter.append, 0

    def full(self: ColumnsWriter, columns: Any) -> None:
        nonlocal calls
        calls += 1
        if calls >= count:
            with self._as_training_error():
                raise OSError(28, "No space left on device")
        append(self, columns)

    monkeypatch.setenv("NLP_APP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("nlp_app.training.classification.examples._CHUNK_TEXTS", 100)
    monkeypatch.setattr(ColumnsWriter, "append", full)
    refused(train(cli, small_classes, tmp_path / "run"), "No space left on device", "make room")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert not list((tmp_path / "cache").glob(".*"))  # nothing half-made


KILLED_AT = [
    ("os.replace", number) for number in (1, 2, 3, 7, 12, 18)
] + [("os.rename", 1), ("os.rename", 3), ("shutil.rmtree", 2), ("shutil.rmtree", 4)]  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # torch's threads are idle: there is only one
@pytest.mark.parametrize(("function", "call"), KILLED_AT)
def test_killed_while_saving(
    cli: Cli, small_classes: Small, whole: dict[str, Any], tmp_path: Path, function: str, call: int
) -> None:
    """The process ends, without any cleaning up, at the n-th call of a function that saving goes through."""
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_train_and_die, args=(small_classes, tmp_path / "run", function, call))
    process.start()
    process.join(900)
    assert process.exitcode == 99
    assert train(cli, small_classes, tmp_path / "run", "--resume").status == 0
    assert essence(tmp_path / "run") == whole
    assert not list((tmp_path / "run").rglob(".*"))


def _train_and_die(small: Small, output: Path, function: str, call: int) -> None:
    from nlp_app.cli import main

    module, name = {"os": os, "shutil": shutil}[function.split(".")[0]], function.split(".")[1]
    real, calls = getattr(module, name), 0

    def dying(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            os._exit(99)
        return real(*arguments, **options)

    setattr(module, name, dying)
    main(command_of(small, output))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_and_resumed(
    cli: Cli, small_classes: Small, whole: dict[str, Any], tmp_path: Path, seed: int
) -> None:
    """Several times, a moment after the run began or was taken up again."""
    chance = random.Random(seed)
    context = multiprocessing.get_context("fork")
    killed = 0
    for _ in range(8):
        process = context.Process(target=_resume, args=(small_classes, tmp_path / "run"))
        process.start()
        time.sleep(0.02 + chance.random() * 0.4)
        process.kill()
        process.join(900)
        killed += process.exitcode == -9
    assert killed
    assert train(cli, small_classes, tmp_path / "run", "--resume").status == 0
    assert essence(tmp_path / "run") == whole
    assert not list((tmp_path / "run").rglob(".*"))


def _resume(small: Small, output: Path) -> None:
    from nlp_app.cli import main

    main(command_of(small, output, "--resume"))
