"""A run: what it leaves, that the seed decides it, and that stopping it at any moment changes nothing."""

from __future__ import annotations

import json
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import LEARNT, SMALL, Outcome, Small, essence, files_of
from signals import IGNORING_SIGINT
from stopping import stopping_after

import nlp_app
from nlp_app.config import TaggingSettings, read_settings
from nlp_app.core.errors import ModelError
from nlp_app.metrics import entity_scores
from nlp_app.models import read_model

Cli = Callable[..., Outcome]
Whole = Callable[..., dict[str, Any]]
Process = subprocess.Popen[str]
PATIENCE = 900.0  # seconds; only what never ends takes as long


def train(cli: Cli, small: Small, output: Path, *more: object) -> Outcome:
    files = ("--train", small.train, "--dev", small.dev, "--test", small.test)
    return cli("train", "ner", *files, "--output", output, "--quiet", *SMALL, *more)


def test_what_a_run_leaves(small: Small) -> None:
    top = {"nlp_app.json", "model.safetensors", "vocab", "README.md", "config.toml", "metrics.json"}
    top |= {"history.jsonl", "history.png"}
    assert {path.name for path in small.run.iterdir()} == top | {"predictions.conll", "checkpoints"}
    checkpoints = sorted(path.name for path in (small.run / "checkpoints").iterdir())
    assert checkpoints == ["checkpoint-000012", "run.json"]
    settings = read_settings(TaggingSettings, small.run / "config.toml")
    assert settings.data.train == str(small.train)
    assert settings.train.epochs == 12
    history = [json.loads(line) for line in (small.run / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in history] == list(range(1, 13))
    best = [line for line in history if line["best"]][-1]
    assert best["dev"]["f1"] == max(line["dev"]["f1"] for line in history if line["dev"])


def test_the_model_is_that_of_the_best_epoch(cli: Cli, small: Small, tmp_path: Path) -> None:
    as_trained = ("--set=model.quantize=false", "--set=train.tune_outside_bias=false")
    learnt = [f"--set={change}" for change in (*LEARNT, "train.epochs=8", "train.eval_every_epochs=1")]
    assert train(cli, small, tmp_path / "run", *learnt, *as_trained).status == 0
    history = [json.loads(line) for line in (tmp_path / "run/history.jsonl").read_text().splitlines()]
    scores = [line["dev"]["f1"] for line in history]
    assert len(set(scores)) > 4
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["dev"] == history[scores.index(max(scores))]["dev"]


def test_the_predictions_give_the_scores(small: Small) -> None:
    blocks = (small.run / "predictions.conll").read_text(encoding="utf-8").strip("\n").split("\n\n")
    rows = [[line.split(" ") for line in block.split("\n")] for block in blocks]
    gold = [[row[1] for row in sentence] for sentence in rows]
    found = [[row[2] for row in sentence] for sentence in rows]
    metrics = json.loads((small.run / "metrics.json").read_text())
    assert entity_scores(gold, found) == metrics["test"]
    tagger = nlp_app.load(small.run)
    assert tagger.tag_tokens([[row[0] for row in sentence] for sentence in rows]) == found


def test_the_seed_decides(cli: Cli, small: Small, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert train(cli, small, tmp_path / name, "--seed", seed).status == 0
    assert essence(tmp_path / "a") == essence(tmp_path / "b")
    assert (tmp_path / "a/model.safetensors").read_bytes() != (tmp_path / "c/model.safetensors").read_bytes()


def test_quiet_means_quiet_and_a_log_gets_one_line_an_epoch(cli: Cli, small: Small, tmp_path: Path) -> None:
    quiet = train(cli, small, tmp_path / "a")
    assert quiet.status == 0
    assert quiet.err == ""
    assert "all entities" in quiet.out
    files = ("--train", small.train, "--dev", small.dev)
    loud = cli("train", "ner", *files, "--output", tmp_path / "b", *SMALL)
    lines = loud.err.split("\n")
    assert [line.split("  ")[0] for line in lines if line.startswith("epoch")] == [
        "epoch 1/3",
        "epoch 2/3",
        "epoch 3/3",
    ]
    assert "\r" not in loud.err
    assert "%|" not in loud.err
    assert all(len(line) < 160 for line in lines)
    assert lines[-2].endswith(str(tmp_path / "b"))


def test_resume_with_nothing_saved_starts_from_the_beginning(cli: Cli, small: Small, tmp_path: Path) -> None:
    assert train(cli, small, tmp_path / "a").status == 0
    assert train(cli, small, tmp_path / "b", "--resume").status == 0
    assert essence(tmp_path / "a") == essence(tmp_path / "b")


def test_resume_of_a_finished_run_ends_with_the_same(cli: Cli, small: Small, tmp_path: Path) -> None:
    first = train(cli, small, tmp_path / "a")
    before = files_of(tmp_path / "a")
    for again in (
        train(cli, small, tmp_path / "a", "--resume"),
        cli("train", "ner", "--output", tmp_path / "a", "--resume", "--quiet"),
    ):
        assert again == first
        assert files_of(tmp_path / "a") == before
    # The number of threads is the machine's affair, not the run's.
    assert cli("train", "ner", "--output", tmp_path / "a", "--resume", "--quiet", "--threads", 1).status == 0


def test_resume_is_refused_where_it_would_be_another_run(cli: Cli, small: Small, tmp_path: Path) -> None:
    copy = Small(*(Path(shutil.copy(path, tmp_path)) for path in small[:3]), tmp_path / "run")
    assert train(cli, copy, copy.run).status == 0
    before = files_of(tmp_path)
    outcome = train(cli, copy, copy.run, "--resume", "--seed", 7, "--set", "model.hidden_size=8")
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert "model.hidden_size = 8 (was 16); train.seed = 7 (was 42)" in outcome.err
    assert files_of(tmp_path) == before

    copy.dev.write_bytes(copy.dev.read_bytes() + b"new O\n\n")
    outcome = train(cli, copy, copy.run, "--resume")
    assert outcome.status == 2
    assert f"{copy.dev}: has changed since the run began" in outcome.err
    for damage in ("", "{", "[]", '{"settings": 3, "data": {}, "finished": true}'):
        (copy.run / "checkpoints/run.json").write_text(damage)
        outcome = cli("train", "ner", "--output", copy.run, "--resume")
        assert outcome.status == 2
        assert outcome.err.count("\n") == 1
        assert "run.json" in outcome.err


def test_a_damaged_newest_checkpoint(
    cli: Cli, small: Small, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stopping_after(2, monkeypatch):
        train(cli, small, tmp_path / "run")
    checkpoints = sorted((tmp_path / "run/checkpoints").glob("checkpoint-*"))
    with (checkpoints[-1] / "tensors.safetensors").open("r+b") as file:
        file.truncate(1000)
    outcome = cli("train", "ner", "--output", tmp_path / "run", "--resume")
    assert outcome.status == 0
    assert f"note: skipped a damaged checkpoint: {checkpoints[-1]}" in outcome.err
    assert f"resuming after epoch 1, from {checkpoints[0]}" in outcome.err
    assert essence(tmp_path / "run") == whole()


def test_no_checkpoint_is_intact(cli: Cli, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stopping_after(2, monkeypatch):
        train(cli, small, tmp_path / "run")
    for path in (tmp_path / "run/checkpoints").glob("checkpoint-*"):
        (path / "state.json").unlink()
    before = files_of(tmp_path)
    outcome = train(cli, small, tmp_path / "run", "--resume")
    assert outcome.status == 2
    assert "no checkpoint is intact" in outcome.err
    assert outcome.err.count("\n") == 1
    assert files_of(tmp_path) == before


def test_another_run_in_the_same_place_leaves_nothing_of_the_first(cli: Cli, small: Small, tmp_path: Path) -> None:
    lines = [
        '{"text": "Anna lives in Rome", "label": [[0, 4, "PER"], [14, 18, "LOC"]]}',
        '{"text": "Bob saw Ann", "label": [[0, 3, "PER"]]}',
    ]
    texts = tmp_path / "texts.jsonl"
    texts.write_text("\n".join(lines * 3))
    for output in (tmp_path / "again", tmp_path / "only"):
        if output.name == "again":
            assert train(cli, small, output).status == 0
        assert cli("train", "ner", "--train", texts, "--dev", texts, "--output", output, "--quiet", *SMALL).status == 0
    assert essence(tmp_path / "again") == essence(tmp_path / "only")
    assert (tmp_path / "again/predictions.jsonl").exists()


def test_tokens_that_columns_cant_hold(cli: Cli, tmp_path: Path) -> None:
    records = [{"tokens": ["New\nYork", "is big"], "ner_tags": ["B-A B", "O"]}, {"tokens": ["x"], "ner_tags": ["B-C"]}]
    data = tmp_path / "a.jsonl"
    data.write_text("\n".join(map(json.dumps, records)))
    files = ("--train", data, "--dev", data, "--output", tmp_path / "run")
    assert cli("train", "ner", *files, "--quiet", *SMALL).status == 0
    found = [json.loads(line) for line in (tmp_path / "run/predictions.jsonl").read_text().splitlines()]
    assert [{"tokens": line["tokens"], "ner_tags": line["gold"]} for line in found] == records
    assert not (tmp_path / "run/predictions.conll").exists()
    assert cli("evaluate", tmp_path / "run", data).status == 0


def test_a_model_without_a_dev_file(cli: Cli, small: Small, tmp_path: Path) -> None:
    outcome = cli("train", "ner", "--train", small.train, "--output", tmp_path / "run", *SMALL)
    assert outcome.status == 0
    assert "held out from train" in outcome.err
    counts = read_model(tmp_path / "run").about["splits"]
    assert 10 <= counts["dev"]["sentences"] <= 14
    assert counts["dev"]["sentences"] + counts["train"]["sentences"] == 120


def start(arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from nlp_app.cli import main; main()", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def command_of(small: Small, output: Path) -> list[str]:
    files = ["--train", str(small.train), "--dev", str(small.dev), "--test", str(small.test)]
    return ["train", "ner", *files, "--output", str(output), *SMALL, "--set", "train.epochs=20"]


def await_epochs(run: Path, count: int, process: subprocess.Popen[str]) -> None:
    history, end = run / "history.jsonl", time.monotonic() + PATIENCE
    while process.poll() is None and not (history.exists() and history.read_text().count("\n") >= count):
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed(cli: Cli, small: Small, whole: Whole, tmp_path: Path) -> None:
    chance = random.Random(5)
    for epoch in (1, 3, 5):
        with start([*command_of(small, tmp_path / "run"), "--resume"]) as process:
            await_epochs(tmp_path / "run", epoch, process)
            time.sleep(chance.random() * 0.05)  # in the epoch, or as it is saved
            process.kill()
    assert train(cli, small, tmp_path / "run", "--set", "train.epochs=20", "--resume").status == 0
    assert essence(tmp_path / "run") == whole("--set", "train.epochs=20")


KILLED_AT = [
    ("os.replace", number) for number in (1, 2, 3, 7, 12, 18, 25)
] + [("os.rename", 1), ("os.rename", 3), ("shutil.rmtree", 2), ("shutil.rmtree", 5)]  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # torch's threads are idle: there is only one
@pytest.mark.parametrize(("function", "call"), KILLED_AT)
def test_killed_while_saving(cli: Cli, small: Small, whole: Whole, tmp_path: Path, function: str, call: int) -> None:
    """The process ends, without any cleaning up, at the n-th call of a function that saving goes through."""
    import multiprocessing

    context = multiprocessing.get_context("fork")
    process = context.Process(target=_train_and_die, args=(small, tmp_path / "run", function, call))
    process.start()
    process.join(900)
    assert process.exitcode == 99
    assert train(cli, small, tmp_path / "run", "--resume").status == 0
    assert essence(tmp_path / "run") == whole()
    assert not list((tmp_path / "run").rglob(".*"))


def _train_and_die(small: Small, output: Path, function: str, call: int) -> None:
    import os

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
    main([*command_of(small, output)[:-2], "--quiet"])


# After each epoch that is numbered before `--`, the run waits for a file: no signal comes too late on a busy machine.
PAUSING = """
import sys, time
from pathlib import Path
from nlp_app.cli import main
from nlp_app.training.runs.directory import RunDirectory

keep, end = RunDirectory.record_epoch, sys.argv.index("--")
folder, *epochs = sys.argv[1:end]

def pausing(self, line, *rest):
    keep(self, line, *rest)
    while str(line["epoch"]) in epochs and not Path(folder, f"after-{line['epoch']}").exists():
        time.sleep(0.01)

RunDirectory.record_epoch = pausing
main(sys.argv[end + 1:])
"""


@contextmanager
def pausing(arguments: list[str], folder: Path, *epochs: int, start: Sequence[str] = ()) -> Iterator[Process]:
    """The command line in a process of its own, which pauses after some epochs; killed at the end."""
    command = [*start, sys.executable, "-c", PAUSING, str(folder), *map(str, epochs), "--", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def signal_after(epoch: int, number: signal.Signals, run: Path, process: Process) -> None:
    """Send a signal to a run that pauses after this epoch, and end the pause."""
    await_epochs(run, epoch, process)
    process.send_signal(number)
    (run.parent / f"after-{epoch}").touch()


@pytest.mark.slow
@pytest.mark.interrupt
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_told_to_stop(
    cli: Cli, small: Small, whole: Whole, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    given = [*command_of(small, tmp_path / "run"), "--set=train.epochs=5", "--set=train.checkpoint_seconds=1000"]
    with pausing(given, tmp_path, 2) as process:
        signal_after(2, number, tmp_path / "run", process)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == status
    assert out == ""
    assert "Traceback" not in err
    said = re.fullmatch(r"stopped at step (\d+); checkpoint saved\. To resume: (.*) --resume", err.split("\n")[-2])
    assert said is not None
    (saved,) = (tmp_path / "run" / "checkpoints").glob("checkpoint-*")  # none but the one that it stopped with
    assert json.loads((saved / "state.json").read_text())["state"]["step"] == int(said[1])
    assert shlex.split(said[2])[1:3] == ["train", "ner"]
    assert train(cli, small, tmp_path / "run", "--set", "train.epochs=5", "--resume").status == 0
    assert essence(tmp_path / "run") == whole("--set", "train.epochs=5")


@pytest.mark.slow
@pytest.mark.interrupt
def test_an_ignored_ctrl_c_stops_no_run_and_sigterm_does(small: Small, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pausing(command_of(small, run), tmp_path, 2, 4, start=IGNORING_SIGINT) as process:
        signal_after(2, signal.SIGINT, run, process)
        signal_after(4, signal.SIGTERM, run, process)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143, err
    assert len((run / "history.jsonl").read_text().splitlines()) == 4
    assert err.count("stopped at step") == 1


def test_resuming_without_checkpoints_keeps_to_the_settings_of_the_run(cli: Cli, small: Small, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(cli, small, run).status == 0
    shutil.rmtree(run / "checkpoints")
    before = (run / "model.safetensors").read_bytes()
    assert cli("train", "ner", "--output", str(run), "--resume", "--quiet").status == 0
    assert (run / "model.safetensors").read_bytes() == before
    assert str(small.train) in (run / "config.toml").read_text(encoding="utf-8")


def test_other_vectors_are_another_run(cli: Cli, small: Small, tmp_path: Path) -> None:
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("the 0.5 -1 2\na 1 2 -3\n", encoding="utf-8")
    chosen = ("--set", f"model.vectors={vectors}")
    assert train(cli, small, tmp_path / "run", *chosen).status == 0
    vectors.write_text("the 0.5 -1 2\nb 1 2 -3\n", encoding="utf-8")
    outcome = train(cli, small, tmp_path / "run", *chosen, "--resume")
    assert outcome.status == 2
    assert f"{vectors}: has changed since the run began" in outcome.err


def test_clusters_of_words_are_window_features(cli: Cli, small: Small, tmp_path: Path) -> None:
    def tokens_of(path: Path) -> list[str]:
        return [line.split(" ")[0] for line in path.read_text(encoding="utf-8").splitlines() if line]

    chance = random.Random(4)
    words = sorted({token for token in tokens_of(small.train) if len(token) > 1})[::2]
    vectors = tmp_path / "vectors.txt"
    lines = [f"{word} {' '.join(f'{chance.gauss(0, 1):.3f}' for _ in range(5))}\n" for word in words]
    vectors.write_text("".join(lines), encoding="utf-8")
    features = {}
    for value in ("auto", "yes", "no"):
        run = tmp_path / value
        assert train(cli, small, run, f"--set=model.vectors={vectors}", f"--set=model.clusters={value}").status == 0
        description = json.loads((run / "nlp_app.json").read_text(encoding="utf-8"))
        features[value] = description["network"]["sizes"]["features"]
        assert ("vocab/clusters.npy" in description["files"]) == (value != "no")
        for split in ("train", "dev", "test"):
            tokens = tokens_of(getattr(small, split))
            covered = [token in words or token.lower() in words for token in tokens]
            share = description["about"]["vector_coverage"][split]
            assert share == pytest.approx(sum(covered) / len(tokens), abs=6e-5)
        found = json.loads(cli("evaluate", run, small.test, "--json", "--quiet").out)
        del found["gold"]
        assert found == json.loads((run / "metrics.json").read_text(encoding="utf-8"))["test"]
    assert features["auto"] == features["yes"] > features["no"]
    assert (tmp_path / "auto/model.safetensors").read_bytes() == (tmp_path / "yes/model.safetensors").read_bytes()
    (tmp_path / "yes/vocab/clusters.npy").unlink()
    with pytest.raises(ModelError, match=r"clusters\.npy"):
        nlp_app.load(tmp_path / "yes")


def test_deterministic_ways_are_taken_while_a_run_lasts(cli: Cli, small: Small, tmp_path: Path) -> None:
    from nlp_app.config import read_task_settings
    from nlp_app.training import train_ner

    changes = [change.removeprefix("--set=") for change in SMALL] + [
        f"data.train={small.train}",
        f"data.dev={small.dev}",
    ]
    seen = []
    for value in ("true", "false"):
        settings = read_task_settings("ner", None, [*changes, f"train.deterministic={value}"], None)
        run = tmp_path / value
        train_ner(
            settings, run, quiet=True, on_epoch_end=lambda _: seen.append(torch.are_deterministic_algorithms_enabled())
        )
        assert not torch.are_deterministic_algorithms_enabled()
    assert seen == [True] * 3 + [False] * 3
    assert (tmp_path / "true/model.safetensors").read_bytes() == (tmp_path / "false/model.safetensors").read_bytes()
    asked = ["--train", str(small.train), "--dev", str(small.dev), "--output", str(tmp_path / "flag"), *SMALL]
    assert cli("train", "ner", *asked, "--deterministic", "--quiet").status == 0
    assert "deterministic = true" in (tmp_path / "flag" / "config.toml").read_text(encoding="utf-8")
