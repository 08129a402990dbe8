"""The two engines are one: what our loop does, `transformers.Trainer` does to the bit."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, SMALL_CLASSES, Outcome, class_rows, essence, refused, sentences, write_csv
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Dense, ToyBatch, Wide, assert_same, toy_batches, toy_learner, weights

from nlp_app.core.errors import SettingsError, TrainingError
from nlp_app.engine import (
    EpochReport,
    Evaluation,
    ExponentialMovingAverage,
    Learner,
    LoopOptions,
    NonFiniteError,
    OptimizerOptions,
    Report,
    Schedule,
    ScheduleOptions,
    latest_checkpoint,
    load_checkpoint,
    make_accelerator,
    make_optimizers,
    save_checkpoint,
    train,
)
from nlp_app.engine.hf_trainer import train_with_trainer
from nlp_app.engine.random_state import random_state
from nlp_app.nn.classifier import TextClassifierNetwork
from nlp_app.nn.losses import make_loss
from nlp_app.nn.tagger import WideBiLstmCrf
from nlp_app.numerics.dimensions import ClassifierDimensions, ClassifierSizes, TableSizes, TaggerDimensions

Batches = Callable[[int], Sequence[ToyBatch]]
ENGINES = ("loop", "trainer")


class Stopped(Exception):
    """What a reader of reports raises to end a run."""


def run(
    engine: str,
    learner: Learner,
    batches: Batches,
    options: LoopOptions,
    evaluate: Callable[[], Evaluation] | None = None,
    handle: Callable[[Report], None] = lambda report: None,
) -> list[Report]:
    """Train with an engine; the reports. `handle` is called with each."""
    reports: list[Report] = []

    def take(report: Report) -> None:
        reports.append(report)
        handle(report)

    if engine == "trainer":
        train_with_trainer(learner, batches, evaluate, options, take)
    else:
        for report in train(learner, batches, evaluate, options):
            take(report)
    return reports


def timeless(reports: Sequence[Report]) -> list[dict[str, Any]]:
    clocks = {"seconds", "targets_per_second"}
    return [{name: value for name, value in vars(report).items() if name not in clocks} for report in reports]


def assert_equal(found: Learner, expected: Learner) -> None:
    """Weights, moments, averages and counts, bit for bit."""
    assert_same(weights(found), weights(expected))
    assert found.state == expected.state
    assert found.schedule.state_dict() == expected.schedule.state_dict()
    (tensors, numbers), (expected_tensors, expected_numbers) = (
        learner.optimizers.state_dict() for learner in (found, expected)
    )
    assert_same(tensors, expected_tensors)
    assert numbers == expected_numbers
    assert (found.average is None) == (expected.average is None)
    if found.average is not None and expected.average is not None:
        assert_same(found.average.averages, expected.average.averages)


def compare(make: Callable[[], Learner], batches: Batches, options: LoopOptions) -> list[Report]:
    """Train with both engines; what they must have in common is asserted, the reports are given."""
    learners, reports = {}, {}
    for engine in ENGINES:
        learner = learners[engine] = make()
        reports[engine] = run(engine, learner, batches, options, score_of(learner))
    assert timeless(reports["trainer"]) == timeless(reports["loop"])
    assert_equal(learners["trainer"], learners["loop"])
    return reports["trainer"]


def score_of(learner: Learner) -> Callable[[], Evaluation]:
    """A score that follows from the weights, and from nothing that trains."""

    def score() -> Evaluation:
        assert not learner.model.training
        parameter = next(learner.model.parameters()).detach()
        return Evaluation(parameter.sum().remainder(1.0).item(), {"weights": parameter.sum().item()})

    return score


# Toys: accumulation, schedules, averages


@settings(deadline=None, max_examples=8)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=6),
    st.integers(1, 4),
    st.sampled_from(["constant", "linear", "cosine", "step", "plateau"]),
    st.sampled_from([None, 0.8]),
    st.sampled_from([None, 0.05]),
)
def test_engines_agree(sizes, accumulation, schedule, decay, clip):
    def batches(epoch):  # as many as the epoch says, give or take one
        return toy_batches(sizes[: len(sizes) - epoch % 2] or sizes, seed=epoch, ids=True)

    compare(
        lambda: toy_learner(
            lambda: Wide(dropout=0.3),
            OptimizerOptions(lr=0.02, weight_decay=0.1, sparse_lr=0.05),
            ScheduleOptions(9, schedule, warmup_ratio=0.2, patience=0),
            decay=decay,
        ),
        batches,
        LoopOptions(3, accumulation, max_grad_norm=clip, patience=2, log_every=2),
    )


def test_a_ragged_window_counts_what_it_has():
    sizes = [5, 1, 8, 3, 2]
    reports = compare(
        lambda: toy_learner(Dense, OptimizerOptions("sgd", lr=0.05)),
        lambda epoch: toy_batches(sizes),
        LoopOptions(1, gradient_accumulation_steps=3, max_grad_norm=None, log_every=1),
    )
    plain = toy_learner(Dense, OptimizerOptions("sgd", lr=0.05))
    decayed = [parameter for parameter in plain.model.parameters() if parameter.ndim > 1]
    sgd = torch.optim.SGD(
        [
            {"params": decayed, "weight_decay": 0.01},
            {"params": [p for p in plain.model.parameters() if p.ndim < 2]},
        ],
        lr=0.05,
        momentum=0.9,
    )
    losses = []
    for window in (toy_batches(sizes)[:3], toy_batches(sizes)[3:]):
        joined = {name: torch.cat([batch.inputs[name] for batch in window]) for name in ("x", "y")}
        loss = plain.model(**joined) / len(joined["y"])
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    assert [report.loss for report in reports[:2]] == pytest.approx(losses, rel=1e-5)


@pytest.mark.numeric
def test_bf16_agrees():
    def make():
        return toy_learner(lambda: Dense(0.2), precision="bf16")

    compare(
        make,
        lambda epoch: toy_batches([4, 5, 6], seed=epoch),
        LoopOptions(2, gradient_accumulation_steps=2, log_every=1),
    )


def scaled_learner(scale: float, model: Callable[[], torch.nn.Module] = Wide) -> Learner:
    """A learner whose losses go through a gradient scaler, as under fp16."""
    learner = toy_learner(model, OptimizerOptions(lr=0.05), decay=0.7)
    learner.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=2)
    return learner


def test_overflow_is_skipped_and_counted():
    reports = compare(
        lambda: scaled_learner(2.0**127),
        lambda epoch: toy_batches([4] * 6, ids=True),
        LoopOptions(2, gradient_accumulation_steps=1, max_grad_norm=0.1, log_every=1),
    )
    assert 0 < reports[-1].skipped < 12
    assert reports[-1].step == 12 - reports[-1].skipped


# Networks


def tagger() -> torch.nn.Module:
    sizes = TableSizes(norms=30, shapes=9, parts=20, features=40)
    return WideBiLstmCrf(5, None, sizes, TaggerDimensions(norm=6, shape=3, part=4, hidden=5))


def tagging_batches(epoch: int) -> list[ToyBatch]:
    random = torch.Generator().manual_seed(epoch)
    batches = []
    for rows, longest in ((3, 7), (1, 4), (4, 5), (2, 9), (2, 3)):
        lengths = torch.randint(1, longest + 1, (rows, 1), generator=random)
        mask = torch.arange(longest) < lengths

        def ids(high: int, *width: int, shape=tuple(mask.shape)) -> torch.Tensor:
            return torch.randint(1, high, (*shape, *width), generator=random)

        inputs = {
            "mask": mask, "tags": ids(5), "norms": ids(30), "shapes": ids(9),
            "parts": ids(20, 4), "features": ids(40, 6)
        }  # fmt: skip
        batches.append(ToyBatch(inputs, int(mask.sum()), range(rows)))
    return batches


def classifier(**dimensions: Any) -> Callable[[], torch.nn.Module]:
    def make() -> torch.nn.Module:
        network = TextClassifierNetwork(4, ClassifierSizes(ngrams=50, words=30), ClassifierDimensions(**dimensions))
        network.loss = make_loss("cross_entropy", smoothing=0.1)
        return network

    return make


def text_batches(epoch: int) -> list[ToyBatch]:
    random = torch.Generator().manual_seed(epoch)
    batches = []
    for texts in (6, 2, 5, 7):
        counts = torch.randint(1, 6, (texts,), generator=random)
        lengths = torch.randint(3, 9, (texts, 1), generator=random)
        mask = torch.arange(8) < lengths
        inputs = {
            "ngrams": torch.randint(1, 50, (int(counts.sum()),), generator=random),
            "offsets": torch.cat((torch.zeros(1, dtype=torch.int64), counts.cumsum(0))),
            "weights": torch.rand(int(counts.sum()), generator=random),
            "words": torch.randint(1, 30, (texts, 8), generator=random) * mask,
            "mask": mask,
            "targets": torch.randint(0, 4, (texts,), generator=random),
        }
        batches.append(ToyBatch(inputs, texts, range(texts)))
    return batches


NETWORKS: dict[str, tuple[Callable[[], torch.nn.Module], Batches]] = {
    "bilstm_crf": (tagger, tagging_batches),
    "embedding_bag": (classifier(hidden=6), text_batches),
    "textcnn": (classifier(wide=0, hidden=0, word=6, filters=4), text_batches),
    "combined": (classifier(hidden=6, word=6, filters=4), text_batches),
}


def network_learner(name: str) -> Learner:
    torch.manual_seed(5)
    network = NETWORKS[name][0]()
    factors = {"crf.": 0.5} if name == "bilstm_crf" else {}
    options = OptimizerOptions(lr=0.02, sparse_lr=0.05, plain_lr=1.0, rate_factors=factors)
    return Learner(
        network,
        make_optimizers(network, options),
        Schedule(ScheduleOptions(12, "linear", warmup_ratio=0.2)),
        make_accelerator(cpu=True),
        seed=3,
        average=ExponentialMovingAverage(network, 0.9),
    )


@pytest.mark.numeric
@pytest.mark.parametrize("name", NETWORKS)
def test_engines_agree_on_our_networks(name):
    options = LoopOptions(4, gradient_accumulation_steps=2, max_grad_norm=0.3, log_every=1)
    reports = compare(lambda: network_learner(name), NETWORKS[name][1], options)
    ends = [report for report in reports if isinstance(report, EpochReport)]
    assert ends[-1].train_loss < ends[0].train_loss


# Stopping and resuming


@pytest.mark.parametrize(
    ("first", "second", "places"),
    [("trainer", "trainer", range(10)), ("loop", "trainer", [1, 3]), ("trainer", "loop", [4, 6])],
)
def test_a_run_stopped_at_any_report_goes_on_as_if_it_had_not_been(tmp_path, first, second, places):
    def make():
        learner = scaled_learner(2.0**125, lambda: Wide(dropout=0.3))
        learner.schedule = Schedule(ScheduleOptions(12, "plateau", warmup_ratio=0.2, patience=0))
        return learner

    def batches(epoch):
        return toy_batches([4, 5, 2, 6, 3][: 5 - epoch % 2], seed=epoch, ids=True)

    options = LoopOptions(3, gradient_accumulation_steps=2, log_every=1)
    whole = make()
    reports = run("trainer", whole, batches, options, score_of(whole))
    assert reports[-1].skipped > 0
    assert len(reports) == 10
    for number in places:
        stopped, directory = make(), tmp_path / str(number)
        heard: list[Report] = []

        def stop(report, learner=stopped, directory=directory, heard=heard, last=number):
            heard.append(report)
            if len(heard) > last:
                save_checkpoint(directory, learner)
                raise Stopped

        with pytest.raises(Stopped):
            run(first, stopped, batches, options, score_of(stopped), stop)
        resumed = make()
        load_checkpoint(latest_checkpoint(directory).path, resumed)
        rest = run(second, resumed, batches, options, score_of(resumed))
        assert timeless([*heard, *rest]) == timeless(reports)
        assert_equal(resumed, whole)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "step", "plateau"])
def test_a_run_told_to_stop_within_an_epoch_goes_on_to_the_bit(tmp_path, schedule, engine):
    """After any update, not only those that are reported; with an average and windows of several micro-batches."""

    def make():
        options = ScheduleOptions(16, schedule, warmup_ratio=0.2, patience=0, step_size=3, lr_decay_factor=0.5)
        return toy_learner(
            lambda: Wide(dropout=0.3), OptimizerOptions(lr=0.02, weight_decay=0.1, sparse_lr=0.05), options, decay=0.8
        )

    def batches(epoch):
        return toy_batches([4, 5, 2, 6, 3, 1, 2], seed=epoch, ids=True)

    whole = make()
    last = run(engine, whole, batches, LoopOptions(3, gradient_accumulation_steps=2), score_of(whole))[-1]
    for number, update in enumerate([1, 3, 6, 8]):
        learner, asked = make(), []

        def stop(asked=asked, update=update):
            asked.append(None)
            return len(asked) == update

        heard = run(
            engine, learner, batches, LoopOptions(3, gradient_accumulation_steps=2, stop=stop), score_of(learner)
        )
        assert (heard[-1].step, heard[-1].stop) == (update, True)
        assert learner.state.window == (update - 1) % 4 + 1  # at the last of an epoch too, before it is scored
        resumed = make()
        load_checkpoint(save_checkpoint(tmp_path / str(number), learner), resumed)
        rest = run(engine, resumed, batches, LoopOptions(3, gradient_accumulation_steps=2), score_of(resumed))
        assert timeless(rest[-1:]) == timeless([last])
        assert_equal(resumed, whole)


def test_a_finished_run_trains_no_more():
    learner = toy_learner()
    run("trainer", learner, lambda epoch: toy_batches([3]), LoopOptions(1))
    before = weights(learner)
    assert run("trainer", learner, lambda epoch: toy_batches([3]), LoopOptions(1)) == []
    assert_same(weights(learner), before)


# What goes wrong


class BadGradient(torch.nn.Module):
    """A finite loss of 0 whose gradient is 0 times infinity where the row is all zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = torch.nn.Parameter(torch.ones(4))
        self.bad = torch.nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x * self.bad).pow(2).sum().sqrt() + (x * self.fine).sum()


@pytest.mark.parametrize("make", [toy_learner, lambda model: scaled_learner(1.0, model)])
def test_non_finite_gradients_are_named_and_stay_out_of_the_weights(make):
    batches = toy_batches([2, 3])
    batches[1].inputs["x"].zero_()
    messages = []
    for engine in ENGINES:
        learner = make(BadGradient)
        with pytest.raises(NonFiniteError, match="epoch 1, step 2: found a gradient norm of nan") as caught:
            run(engine, learner, lambda epoch: batches, LoopOptions(1))
        assert caught.value.rows == [2, 3, 4]
        assert all(torch.isfinite(value).all() for value in weights(learner).values())
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("engine", ENGINES)
def test_weights_that_the_last_update_bursts_are_told(engine):
    learner = toy_learner(Dense, OptimizerOptions("sgd", lr=1e39))
    with pytest.raises(NonFiniteError) as caught:
        run(engine, learner, lambda epoch: toy_batches([4]), LoopOptions(1, max_grad_norm=None))
    message = str(caught.value)
    assert message.startswith("epoch 1, step 1: found weights of body.weight that are infinite or not numbers")
    assert "learning rates: all 1e+39; 4 rows: 0, 1, 2, 3; first non-finite parameter: body.weight" in message
    assert caught.value.rows == [0, 1, 2, 3]


def test_a_non_finite_loss_names_its_rows():
    batches = toy_batches([4, 5, 6, 3])
    batches[2].inputs["x"][1, 2] = math.inf
    with pytest.raises(NonFiniteError, match="epoch 1, step 2: found a loss of nan") as caught:
        run("trainer", toy_learner(), lambda epoch: batches, LoopOptions(1, gradient_accumulation_steps=2))
    assert caught.value.rows == [9, 10, 11, 12, 13, 14]


@pytest.mark.parametrize(
    ("batches", "options", "error", "words"),
    [
        ([], LoopOptions(1), TrainingError, "epoch 1: found no batch"),
        ([ToyBatch({}, 0, [7])], LoopOptions(1), TrainingError, "found no target in rows 7"),
        ([], LoopOptions(0), SettingsError, "training.epochs: found 0"),
        (
            [],
            LoopOptions(1, gradient_accumulation_steps=0),
            SettingsError,
            "training.gradient_accumulation_steps: found 0",
        ),
        ([], LoopOptions(1, patience=1), SettingsError, "patience needs a dev score"),
    ],
)
def test_what_the_loop_refuses_is_refused(batches, options, error, words):
    for engine in ENGINES:
        with pytest.raises(error, match=words):
            run(engine, toy_learner(), lambda epoch: batches, options)


# What is left behind


def test_nothing_but_the_reports(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before, environment = random_state(), dict(os.environ)
    learner = toy_learner(precision="bf16")
    forward = learner.model.forward
    at_start: list[Any] = []
    run(
        "trainer",
        learner,
        lambda epoch: at_start.append(random_state()) or toy_batches([3, 4]),
        LoopOptions(1),
    )
    # The first batches find the generators as the run did.
    assert at_start[0][1] == before[1]
    assert learner.model.forward == forward
    assert "forward" not in vars(learner.model)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")
    assert dict(os.environ) == environment


def test_training_is_imported_without_transformers():
    script = "import sys, nlp_app.engine, nlp_app.training; print('transformers.trainer' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# Whole runs


def arguments(task: str, directory: Path) -> list[object]:
    """A small run's command line, but for its output and its engine."""
    if task == "ner":
        files = [(directory / f"{split}.conll", count) for split, count in (("train", 60), ("dev", 15))]
        for path, count in files:
            path.write_text(sentences(path.stem, count), encoding="utf-8")
    else:
        files = [(directory / f"{split}.csv", count) for split, count in (("train", 90), ("dev", 30))]
        for path, count in files:
            write_csv(path, class_rows(path.stem, count))
    small = SMALL if task == "ner" else [change for change in SMALL_CLASSES if "kind" not in change]
    more = ("train.gradient_accumulation_steps=2", "train.ema_decay=0.9", "track.plots=false")
    given = ["train", task, "--train", files[0][0], "--dev", files[1][0], "--quiet", *small]
    return [*given, *(f"--set={change}" for change in more)]


@pytest.mark.parametrize("task", ["ner", "cls"])
def test_a_run_leaves_the_same(cli: Callable[..., Outcome], task: str, tmp_path: Path) -> None:
    given = arguments(task, tmp_path)
    found = {}
    for engine in ENGINES:
        output = tmp_path / engine
        outcome = cli(*given, "--output", output, f"--set=train.engine={engine}")
        assert (outcome.status, outcome.err) == (0, ""), outcome
        found[engine] = essence(output)
        assert f'engine = "{engine}"' in found[engine].pop("config.toml").decode()
    assert found["trainer"] == found["loop"]
    checkpoints = [{path.name for path in (tmp_path / engine / "checkpoints").iterdir()} for engine in ENGINES]
    assert checkpoints == [{"checkpoint-000003", "run.json"}] * 2


@pytest.mark.slow
def test_a_killed_run_goes_on(cli: Callable[..., Outcome], tmp_path: Path) -> None:
    given = [*arguments("ner", tmp_path), "--set=train.engine=trainer", "--set=train.epochs=12"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert cli(*given, "--output", whole).status == 0
    command = [sys.executable, "-c", "from nlp_app.cli import main; main()", *map(str, given), "--output", str(killed)]
    with subprocess.Popen(command) as run:
        while run.poll() is None and not (killed / "checkpoints" / "checkpoint-000002").exists():
            time.sleep(0.01)
        run.kill()
    assert run.returncode == -signal.SIGKILL
    assert cli(*given, "--output", killed, "--resume").status == 0
    assert essence(killed) == essence(whole)


def test_an_unknown_engine_is_refused(cli: Callable[..., Outcome], tmp_path: Path) -> None:
    refused(cli(*arguments("ner", tmp_path), "--set=train.engine=lightning"), "train.engine", "'loop' or 'trainer'")
