from __future__ import annotations

import math
import random
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from toys import Dense, ToyBatch, Wide, assert_same, toy_batches, toy_learner, weights

from nlp_app.core.errors import SettingsError, TrainingError
from nlp_app.engine import (
    EpochReport,
    Evaluation,
    LoopOptions,
    NonFiniteError,
    OptimizerOptions,
    ScheduleOptions,
    StepReport,
    make_accelerator,
    train,
)
from nlp_app.engine.epochs import EpochTotals

pytestmark = pytest.mark.numeric


def run(learner, batches, options, evaluate=None):
    return list(train(learner, lambda epoch: batches, evaluate, options))


def epochs(reports):
    return [report for report in reports if isinstance(report, EpochReport)]


def steps(reports):
    return [report for report in reports if isinstance(report, StepReport)]


def scored(scores):
    """An evaluation that gives these scores, one an epoch."""
    remaining = iter(scores)
    return lambda: Evaluation(next(remaining), {})


def joined(batches):
    inputs = {key: torch.cat([batch.inputs[key] for batch in batches]) for key in batches[0].inputs}
    return ToyBatch(inputs, sum(batch.targets for batch in batches), [r for batch in batches for r in batch.rows])


# Accumulation


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 4))
def test_accumulated_update_equals_one_big_batch(sizes, accumulation):
    micro = toy_batches(sizes)
    big = [joined(micro[start : start + accumulation]) for start in range(0, len(micro), accumulation)]
    options = OptimizerOptions("sgd", lr=0.05)
    small_steps, big_steps = (toy_learner(lambda: Dense().double(), options) for _ in range(2))
    for batches, learner, times in ((micro, small_steps, accumulation), (big, big_steps, 1)):
        doubled = [ToyBatch({k: v.double() for k, v in b.inputs.items()}, b.targets, b.rows) for b in batches]
        (end,) = run(learner, doubled, LoopOptions(1, times, max_grad_norm=0.3, log_every=1000))
        assert end.step == len(big)
    for name, value in weights(small_steps).items():
        torch.testing.assert_close(value, weights(big_steps)[name], rtol=1e-10, atol=1e-12)


def test_loop_equals_plain_torch():
    micro = toy_batches([5, 1, 8, 3, 2], ids=True)
    schedule = ScheduleOptions(9, "linear", warmup_ratio=0.3)
    learner = toy_learner(Wide, OptimizerOptions(lr=0.02, weight_decay=0.1, sparse_lr=0.05), schedule)
    plain = toy_learner(Wide).model
    dense = [(n, p) for n, p in plain.named_parameters() if n != "wide.weight"]
    groups = [
        {"params": [p for _, p in dense if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for _, p in dense if p.ndim < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=0.02)
    sparse = torch.optim.SparseAdam([plain.wide.weight], lr=0.05)
    rates = [1 / 3, 2 / 3, 1.0, 1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    for _ in range(3):
        for window in (micro[:2], micro[2:4], micro[4:]):
            factor = rates.pop(0)
            for group in adamw.param_groups:
                group["lr"] = 0.02 * factor
            sparse.param_groups[0]["lr"] = 0.05 * factor
            plain.zero_grad()
            batch = joined(window)
            (plain(**batch.inputs) / batch.targets).backward()
            torch.nn.utils.clip_grad_norm_([p for _, p in dense], 0.5)
            adamw.step()
            sparse.step()
    reports = run(learner, micro, LoopOptions(3, 2, max_grad_norm=0.5, log_every=2))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(learner.model.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    assert [type(report).__name__ for report in reports] == ["StepReport", "EpochReport"] * 3
    assert [report.step for report in reports] == [2, 3, 5, 6, 8, 9]
    assert [report.window for report in steps(reports)] == [2, 2, 2]
    assert steps(reports)[1].rates == pytest.approx({"all": 0.02 * 5 / 6, "all (sparse)": 0.05 * 5 / 6})


def test_losses_are_means_per_target():
    micro = toy_batches([5, 1, 8, 3, 2])
    learner = toy_learner(optimizer=OptimizerOptions(lr=1e-30, weight_decay=0))
    sums = [learner.model(**batch.inputs).item() for batch in micro]
    reports = run(learner, micro, LoopOptions(1, log_every=2))
    expected = [sum(sums[:2]) / 6, sum(sums[2:4]) / 11]
    assert [report.loss for report in steps(reports)] == pytest.approx(expected)
    assert epochs(reports)[0].train_loss == pytest.approx(sum(sums) / 19)
    assert all(report.targets_per_second > 0 and report.grad_norm > 0 for report in steps(reports))
    assert epochs(reports)[0].seconds > 0


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([], "epoch 1: found no batch"),
        ([ToyBatch(toy_batches([2])[0].inputs, 0, [4, 5])], "epoch 1, step 1: found no target in rows 4, 5"),
    ],
)
def test_nothing_to_learn_from(batches, words):
    with pytest.raises(TrainingError, match=words):
        run(toy_learner(), batches, LoopOptions(1))


# Dev scores


@pytest.mark.parametrize(
    ("scores", "patience", "best", "last"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5], None, 5, 5),
        ([0.0, 0.0, 0.0, 0.5, 0.9], 2, 1, 3),  # a score of nought is a score, and a tie keeps the earlier
        ([0.3, 0.2, 0.4, 0.4, 0.1], 2, 3, 5),
        ([-0.5, -0.9, -0.4, -0.6, -0.7], 2, 3, 5),
        ([0.5, 0.4, 0.6, 0.7, 0.1], 1, 1, 2),
    ],
)
def test_patience(scores, patience, best, last):
    learner = toy_learner()
    reports = epochs(run(learner, toy_batches([3]), LoopOptions(5, patience=patience), scored(scores)))
    assert [report.score for report in reports] == scores[:last]
    assert reports[-1].best_epoch == best
    assert max(report.epoch for report in reports if report.is_best) == best
    assert [report.stop for report in reports] == [False] * (last - 1) + [True]
    assert run(learner, toy_batches([3]), LoopOptions(5, patience=patience), scored(scores)) == []


def test_without_dev_the_newest_is_best():
    reports = epochs(run(toy_learner(), toy_batches([3]), LoopOptions(3)))
    assert [(report.is_best, report.best_epoch, report.score) for report in reports] == [
        (True, 1, None),
        (True, 2, None),
        (True, 3, None),
    ]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 12), st.data())
def test_dev_is_scored_every_so_many_epochs(count, every, data):
    """Counted back from the last epoch; the best is the first with the highest of the scores that there are."""
    due = [epoch for epoch in range(1, count + 1) if (count - epoch) % every == 0]
    scores = data.draw(st.lists(st.integers(0, 3), min_size=len(due), max_size=len(due)))
    reports = epochs(run(toy_learner(), toy_batches([3]), LoopOptions(count, eval_every_epochs=every), scored(scores)))
    assert {report.epoch: report.score for report in reports if report.score is not None} == dict(
        zip(due, scores, strict=True)
    )
    assert reports[-1].best_epoch == due[scores.index(max(scores))]
    best_yet = [epoch for place, epoch in enumerate(due) if all(scores[place] > one for one in scores[:place])]
    assert [report.epoch for report in reports if report.is_best] == best_yet


def test_patience_counts_scores():
    reports = epochs(
        run(toy_learner(), toy_batches([3]), LoopOptions(9, patience=2, eval_every_epochs=2), scored([0.5, 0.4, 0.3]))
    )
    assert [report.epoch for report in reports if report.score is not None] == [1, 3, 5]
    assert reports[-1].epoch == 5


def test_score_must_be_a_number():
    with pytest.raises(TrainingError, match="epoch 2: found a dev score of nan"):
        run(toy_learner(), toy_batches([3]), LoopOptions(3), scored([0.1, math.nan]))


def test_evaluation_sees_evaluation_mode_and_training_goes_back():
    learner = toy_learner()
    modes = []

    def evaluate():
        modes.append(learner.model.training)
        return Evaluation(0.5, {"f1": 0.5})

    for report in train(learner, lambda epoch: toy_batches([3]), evaluate, LoopOptions(2, log_every=1)):
        if isinstance(report, StepReport):
            assert learner.model.training
        else:
            assert report.metrics == {"f1": 0.5}
    assert modes == [False, False]


def test_plateau_lowers_the_rate():
    learner = toy_learner(schedule=ScheduleOptions(100, "plateau", patience=0, lr_decay_factor=0.5))
    reports = run(learner, toy_batches([3]), LoopOptions(4, log_every=1), scored([0.5, 0.4, 0.6, 0.1]))
    assert [report.rates["all"] for report in steps(reports)] == [0.01, 0.01, 0.005, 0.005]


@pytest.mark.parametrize(
    ("options", "schedule", "words"),
    [
        (LoopOptions(0), "constant", "training.epochs: found 0"),
        (LoopOptions(1, gradient_accumulation_steps=0), "constant", "training.gradient_accumulation_steps"),
        (LoopOptions(1, max_grad_norm=0.0), "constant", "training.max_grad_norm"),
        (LoopOptions(1, patience=2), "constant", "patience needs a dev score"),
        (LoopOptions(1), "plateau", "schedule 'plateau' needs a dev score"),
    ],
)
def test_bad_settings(options, schedule, words):
    with pytest.raises(SettingsError, match=words):
        run(toy_learner(schedule=ScheduleOptions(10, schedule)), toy_batches([3]), options)


# The average of weights


def test_average_is_scored_and_training_is_untouched():
    batches = toy_batches([4, 5, 6], ids=True)
    options = OptimizerOptions(lr=0.05)
    plain = toy_learner(Wide, options)
    trajectory = [weights(plain)]
    plain_ends = []
    for report in train(plain, lambda epoch: batches, None, LoopOptions(2, log_every=1)):
        if isinstance(report, StepReport):
            trajectory.append(weights(plain))
        else:
            plain_ends.append(weights(plain))
    expected = {name: value.double() for name, value in trajectory[0].items()}
    for number, current in enumerate(trajectory[1:], 1):
        decay = min(0.6, (1 + number) / (10 + number))
        expected = {name: decay * expected[name] + (1 - decay) * current[name].double() for name in expected}

    averaged = toy_learner(Wide, options, decay=0.6)
    raw, scored_weights = [], []

    def evaluate():
        scored_weights.append(weights(averaged))
        return Evaluation(0.5, {})

    for report in train(averaged, lambda epoch: batches, evaluate, LoopOptions(2, log_every=3)):
        if isinstance(report, StepReport):
            raw.append(weights(averaged))
        else:
            assert_same(weights(averaged), scored_weights[-1])
    for found, wanted in zip(raw, plain_ends, strict=True):
        assert_same(found, wanted)
    for name, value in scored_weights[-1].items():
        if name == "wide.weight":  # sparse tables keep their own weights
            assert torch.equal(value, plain_ends[-1][name])
        else:
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-7)


def test_bad_decay():
    with pytest.raises(SettingsError, match="ema: found 1"):
        toy_learner(decay=1.0)


# Randomness


def test_draws_between_updates_change_nothing():
    batches = toy_batches([4, 5, 6])
    quiet, noisy = toy_learner(lambda: Dense(0.5)), toy_learner(lambda: Dense(0.5))
    run(quiet, batches, LoopOptions(2))
    for _ in train(noisy, lambda epoch: batches, None, LoopOptions(2, log_every=1)):
        torch.rand(3), np.random.rand(2), random.random()
    assert_same(weights(noisy), weights(quiet))


def test_dropout_differs_between_updates_and_seeds():
    class Drop(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))
            self.masks = []

        def forward(self, x, y):
            self.masks.append(torch.dropout(torch.ones(64), 0.5, True))
            return (self.weight * x.sum()).sum()

    seen = []
    for seed in (1, 2):
        learner = toy_learner(Drop)
        learner.seed = seed
        run(learner, toy_batches([2, 2]), LoopOptions(2))
        seen += learner.model.masks
    assert len({tuple(mask.tolist()) for mask in seen}) == 8


# Precision


class Autocast(Dense):
    def forward(self, x, y):
        self.dtype = self.body(x).dtype
        return super().forward(x, y)


def test_bf16_on_cpu():
    learner = toy_learner(Autocast, precision="bf16")
    (end,) = run(learner, toy_batches([8, 8]), LoopOptions(1))
    assert learner.model.dtype == torch.bfloat16
    assert {value.dtype for value in weights(learner).values()} == {torch.float32}
    exact = toy_learner(Autocast)
    (exact_end,) = run(exact, toy_batches([8, 8]), LoopOptions(1))
    assert exact.model.dtype == torch.float32
    assert end.train_loss == pytest.approx(exact_end.train_loss, rel=0.05)


def test_fp16_needs_cuda():
    with pytest.raises(SettingsError, match="'fp16' on a CPU"):
        make_accelerator("fp16", cpu=True)
    with pytest.raises(SettingsError, match="'half', expected one of no, bf16, fp16"):
        make_accelerator("half")


def scaled_learner(scale, make_model=Wide):
    """A learner whose losses go through a gradient scaler, as under fp16."""
    learner = toy_learner(make_model, OptimizerOptions(lr=0.05))
    learner.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=2)
    return learner


@pytest.mark.parametrize("max_grad_norm", [0.01, None])
def test_clip_after_unscaling(max_grad_norm):
    batches = toy_batches([4, 5, 6], ids=True)
    options = LoopOptions(2, gradient_accumulation_steps=2, max_grad_norm=max_grad_norm, log_every=1)
    plain, scaled = toy_learner(Wide, OptimizerOptions(lr=0.05)), scaled_learner(2.0**16)
    plain_norms = [report.grad_norm for report in steps(run(plain, batches, options))]
    scaled_norms = [report.grad_norm for report in steps(run(scaled, batches, options))]
    # The scale is a power of two, so that nothing is rounded on the way there and back.
    assert scaled_norms == plain_norms
    assert_same(weights(scaled), weights(plain))
    assert scaled.accelerator.scaler.get_scale() == 2.0**18


def test_overflow_is_skipped_and_counted():
    batches = toy_batches([4] * 6, ids=True)
    learner = scaled_learner(2.0**127)
    start = weights(learner)
    reports = []
    for report in train(learner, lambda epoch: batches, None, LoopOptions(1, log_every=1)):
        reports.append(report)
        if report.skipped == len(reports):  # none but skipped updates: both optimizers stood still
            assert_same(weights(learner), start)
    end = reports[-1]
    assert 0 < end.skipped < 6
    assert end.step == 6 - end.skipped
    assert math.isfinite(end.train_loss)
    changed = {name for name, value in weights(learner).items() if not torch.equal(value, start[name])}
    assert changed == start.keys()


class BadGradient(nn.Module):
    """A finite loss of 0 whose gradient is 0 times infinity where the row is all zeros."""

    def __init__(self):
        super().__init__()
        self.fine = nn.Parameter(torch.ones(4))
        self.bad = nn.Parameter(torch.ones(4))

    def forward(self, x, y):
        return (x * self.bad).pow(2).sum().sqrt() + (x * self.fine).sum()


@pytest.mark.parametrize("make_learner", [toy_learner, lambda model: scaled_learner(1.0, model)])
def test_non_finite_gradient(make_learner):
    learner = make_learner(BadGradient)
    batches = toy_batches([2, 3])
    batches[1].inputs["x"].zero_()
    with pytest.raises(NonFiniteError) as caught:
        run(learner, batches, LoopOptions(1))
    assert caught.value.rows == [2, 3, 4]
    message = str(caught.value)
    assert message.startswith("epoch 1, step 2: found a gradient norm of nan, expected finite numbers; ")
    assert "first non-finite gradient: bad" in message
    assert all(torch.isfinite(value).all() for value in weights(learner).values())


def test_non_finite_loss():
    batches = toy_batches([4, 5, 6, 3])
    batches[2].inputs["x"][1, 2] = math.inf
    learner, stopped_before = toy_learner(), toy_learner()
    run(stopped_before, batches[:2], LoopOptions(1, gradient_accumulation_steps=2))
    with pytest.raises(NonFiniteError) as caught:
        run(learner, batches, LoopOptions(1, gradient_accumulation_steps=2))
    assert caught.value.rows == [9, 10, 11, 12, 13, 14]  # the micro-batch at fault, not the whole window
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "epoch 1, step 2: found a loss of nan",
        "learning rates: all 0.01",
        "6 rows: 9, 10, 11,",
        "first non-finite gradient: body.weight",
        "start a new run with a lower learning rate",
    ):
        assert part in message
    assert_same(weights(learner), weights(stopped_before))


def test_non_finite_weights_are_named():
    learner = toy_learner()
    with torch.no_grad():
        learner.model.norm.bias[3] = math.nan
    with pytest.raises(NonFiniteError, match=r"first non-finite parameter: norm\.bias"):
        run(learner, toy_batches([4]), LoopOptions(1))


def test_numbers_that_are_looked_at_later_are_told_as_they_were(monkeypatch):
    """As on an accelerator, which isn't waited for at each update."""

    class Waiting(EpochTotals):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self._read_every_window = False

    monkeypatch.setattr("nlp_app.engine.loop.EpochTotals", Waiting)
    batches = toy_batches([4] * 7)
    batches[2].inputs["x"][1, 2] = math.inf
    learner = toy_learner(Dense, OptimizerOptions(lr=0.01), ScheduleOptions(10, "linear"))
    with pytest.raises(NonFiniteError) as caught:
        run(learner, batches, LoopOptions(1, log_every=5))
    message = str(caught.value)
    assert message.startswith(
        "epoch 1, step 3: found a loss of nan, expected finite numbers; learning rates: all 0.008; "
    )
    assert "4 rows: 8, 9, 10, 11; 2 updates later, first non-finite parameter: body.weight; " in message


class BadTable(Wide):
    """A loss of which the sparse table's gradient alone is not finite, where its rows are zeros."""

    def forward(self, x, y, ids):
        return Dense.forward(self, x, y) + self.wide(ids).pow(2).sum().sqrt()


def test_non_finite_sparse_gradient():
    learner = toy_learner(BadTable)
    with torch.no_grad():
        learner.model.wide.weight[:10].zero_()
    before = weights(learner)
    batches = toy_batches([4], ids=True)
    batches[0].inputs["ids"].clamp_(max=9)
    for max_grad_norm in (None, 0.5):
        with pytest.raises(NonFiniteError) as caught:
            run(learner, batches, LoopOptions(1, max_grad_norm=max_grad_norm))
        message = str(caught.value)
        assert message.startswith("epoch 1, step 1: found a gradient norm of nan")
        assert "parameters are finite; first non-finite gradient: wide.weight" in message
        assert caught.value.rows == [0, 1, 2, 3]
        assert_same(weights(learner), before)
        learner.optimizers.zero_grad()


@pytest.mark.parametrize(
    ("make_model", "options", "part"),
    [
        (Dense, OptimizerOptions(lr=1e39), "body.weight"),
        (Wide, OptimizerOptions(lr=1e-3, sparse_lr=1e39), "wide.weight"),
        (Dense, OptimizerOptions("sgd", lr=1e39), "body.weight"),
    ],
)
def test_an_update_that_bursts_a_weight_is_told_at_the_next(make_model, options, part):
    learner = toy_learner(make_model, options)
    with pytest.raises(NonFiniteError) as caught:
        run(learner, toy_batches([4] * 4, ids=make_model is Wide), LoopOptions(1, max_grad_norm=None))
    message = str(caught.value)
    assert re.match(r"epoch 1, step [234]: found a (loss|gradient norm) of (nan|inf), expected finite", message)
    assert re.search(r"learning rates: all 0\.001, all \(sparse\) 1e\+39|learning rates: all 1e\+39", message)
    assert f"first non-finite parameter: {part}" in message
    assert (
        "start a new run with a lower learning rate, a longer warm-up or a lower limit on the gradient norm" in message
    )
    assert "\n" not in message
