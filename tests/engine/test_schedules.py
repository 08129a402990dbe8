from __future__ import annotations

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from nlp_app.core.errors import SettingsError
from nlp_app.engine import SHAPES, Schedule, ScheduleOptions

STEPS = 40


def torch_rates(make, steps=STEPS):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("options", "make"),
    [
        (ScheduleOptions(STEPS, "constant"), lambda o: lr_scheduler.ConstantLR(o, 1.0)),
        (ScheduleOptions(STEPS, "linear"), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, total_iters=STEPS)),
        (ScheduleOptions(STEPS, "cosine"), lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS)),
        (ScheduleOptions(STEPS, "step", lr_decay_factor=0.3, step_size=7), lambda o: lr_scheduler.StepLR(o, 7, 0.3)),
        (
            ScheduleOptions(STEPS, "constant", warmup_ratio=0.25),
            lambda o: lr_scheduler.LinearLR(o, 1 / 10, 1.0, total_iters=9),
        ),
        (
            ScheduleOptions(STEPS, "cosine", warmup_ratio=0.25),
            lambda o: lr_scheduler.SequentialLR(
                o,
                [lr_scheduler.LinearLR(o, 1 / 10, 1.0, total_iters=9), lr_scheduler.CosineAnnealingLR(o, 30)],
                [10],
            ),
        ),
    ],
)
def test_equals_torch(options, make):
    schedule = Schedule(options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR calls its parts in a way that torch itself deprecates
        expected = torch_rates(make)
    assert [schedule.multiplier(step) for step in range(STEPS)] == pytest.approx(expected, abs=1e-6)


def test_closed_forms():
    linear = Schedule(ScheduleOptions(100, "linear", warmup_ratio=0.1))
    assert [linear.multiplier(n) for n in (0, 4, 9, 10, 55, 99, 100, 500)] == pytest.approx(
        [0.1, 0.5, 1.0, 1.0, 0.5, 1 / 90, 0.0, 0.0]
    )
    cosine = Schedule(ScheduleOptions(100, "cosine"))
    assert cosine.multiplier(25) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert cosine.multiplier(1000) == pytest.approx(0.0)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.4, 0.5]), max_size=25),
    st.integers(0, 3),
)
def test_plateau_equals_torch(scores, patience):
    schedule = Schedule(ScheduleOptions(STEPS, "plateau", patience=patience, lr_decay_factor=0.5))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode="max",
        factor=0.5,
        patience=patience,
        threshold=0,
        threshold_mode="abs",
        eps=0,
    )
    for score in scores:
        schedule.observe(score)
        reference.step(score)
        assert schedule.multiplier(0) == pytest.approx(optimizer.param_groups[0]["lr"])
        resumed = Schedule(schedule.options)
        resumed.load_state_dict(schedule.state_dict())
        schedule = resumed


@given(
    st.sampled_from(sorted(SHAPES)),
    st.integers(1, 300),
    st.floats(0, 1),
    st.integers(0, 400),
)
def test_multiplier_stays_between_zero_and_one(name, total, warmup, step):
    value = Schedule(ScheduleOptions(total, name, warmup_ratio=warmup)).multiplier(step)
    assert 0 <= value <= 1 + 1e-12
    assert value > 0 or step >= total


def test_first_and_last_updates_move():
    for name in SHAPES:
        schedule = Schedule(ScheduleOptions(50, name, warmup_ratio=0.1))
        assert schedule.multiplier(0) > 0
        assert schedule.multiplier(49) > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ScheduleOptions(10, "cosin"), "did you mean 'cosine'"),
        (ScheduleOptions(0), "schedule.total_steps: found 0"),
        (ScheduleOptions(10, warmup_ratio=1.5), "schedule.warmup_ratio: found 1.5"),
        (ScheduleOptions(10, lr_decay_factor=1.0), "schedule.lr_decay_factor"),
        (ScheduleOptions(10, step_size=0), "schedule.step_size"),
    ],
)
def test_bad_settings(options, words):
    with pytest.raises(SettingsError, match=words):
        Schedule(options)
