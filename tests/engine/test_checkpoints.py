from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import class_rows, essence, sentences, write_csv
from toys import Dense, Wide, assert_same, toy_batches, toy_learner, weights

from nlp_app.core.errors import TrainingError
from nlp_app.engine import (
    EpochReport,
    Evaluation,
    LoopOptions,
    NonFiniteError,
    OptimizerOptions,
    ScheduleOptions,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
    seed_everything,
    train,
)
from nlp_app.engine.random_state import random_state, set_random_state

FILES = ["SHA256SUMS", "state.json", "tensors.safetensors"]
EPOCHS, WINDOWS = 4, 3


def full_learner():
    """One of everything that has a state: two optimizers, plateau, average, scaler, dropout."""
    learner = toy_learner(
        lambda: Wide(dropout=0.3),
        OptimizerOptions(lr=0.02, sparse_lr=0.05),
        ScheduleOptions(12, "plateau", warmup_ratio=0.2, patience=0),
        decay=0.7,
    )
    learner.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**125, growth_interval=3)
    return learner


def full_run(learner):
    """Reports of a run whose batches and scores follow from the epoch alone."""
    scores = {1: 0.0, 2: 0.0, 3: 0.4, 4: 0.2}
    return train(
        learner,
        lambda epoch: toy_batches([4, 5, 2, 6, 3], seed=epoch, ids=True),
        lambda: Evaluation(scores[learner.state.epoch + 1], {}),
        LoopOptions(EPOCHS, gradient_accumulation_steps=2, patience=3, log_every=1),
    )


def comparable(reports):
    """Reports without their times."""
    rows = []
    for report in reports:
        row = dict(vars(report))
        for clock in ("seconds", "targets_per_second"):
            row.pop(clock, None)
        rows.append(row)
    return rows


def test_resumed_run_is_the_same_bit_for_bit_from_every_report(tmp_path):
    learner = full_learner()
    reports = []
    for number, report in enumerate(full_run(learner)):
        reports.append(report)
        save_checkpoint(tmp_path / str(number), learner)
    assert len(reports) == EPOCHS * (WINDOWS + 1)
    assert reports[-1].skipped > 0
    end = weights(learner)
    for number in range(len(reports)):
        resumed = full_learner()
        seed_everything(1000 + number)
        load_checkpoint(latest_checkpoint(tmp_path / str(number)).path, resumed)
        rest = list(full_run(resumed))
        assert comparable(rest) == comparable(reports[number + 1 :])
        assert_same(weights(resumed), end)
        assert resumed.state == learner.state
        for name, average in resumed.average.averages.items():
            assert torch.equal(average, learner.average.averages[name])


def test_resuming_with_more_epochs_goes_on(tmp_path):
    batches = toy_batches([3, 4])
    short, long = toy_learner(), toy_learner()
    list(train(short, lambda epoch: batches, None, LoopOptions(1)))
    resumed = toy_learner()
    load_checkpoint(save_checkpoint(tmp_path, short), resumed)
    reports = list(train(resumed, lambda epoch: batches, None, LoopOptions(3)))
    list(train(long, lambda epoch: batches, None, LoopOptions(3)))
    assert [report.epoch for report in reports] == [2, 3]
    assert_same(weights(resumed), weights(long))


def test_random_states_come_back(tmp_path):
    seed_everything(11)
    np.random.randn()  # leaves a spare normal value behind
    random.gauss(0, 1)
    path = save_checkpoint(tmp_path, toy_learner())
    seeded = random_state()

    def draw():
        return random.gauss(0, 1), random.random(), np.random.randn(3).tolist(), torch.rand(3).tolist()

    expected = draw()
    seed_everything(5)
    load_checkpoint(path, toy_learner())
    assert draw() == expected
    set_random_state(*seeded)
    assert draw() == expected


def test_files(tmp_path):
    path = save_checkpoint(tmp_path, full_learner())
    assert sorted(file.name for file in path.iterdir()) == FILES
    lines = (path / "SHA256SUMS").read_text().splitlines()
    found = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in FILES[1:]}
    assert dict(reversed(line.split("  ")) for line in lines) == found
    state = json.loads((path / "state.json").read_text())
    assert state["state"]["best_score"] is None


def test_old_ones_are_pruned(tmp_path):
    learner = toy_learner()
    (tmp_path / "notes.txt").write_text("kept")
    for _ in range(4):
        save_checkpoint(tmp_path, learner)
    (tmp_path / ".unfinished-checkpoint-000009").mkdir()
    newest = save_checkpoint(tmp_path, learner, keep=3)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["checkpoint-000003", "checkpoint-000004", "checkpoint-000005", "notes.txt"]
    assert newest.name == "checkpoint-000005"


def test_tied_weights(tmp_path):
    class Tied(Dense):
        def __init__(self):
            super().__init__()
            self.twin = self.body

    learner = toy_learner(Tied)
    path = save_checkpoint(tmp_path, learner)
    other = toy_learner(Tied)
    with torch.no_grad():
        other.model.body.weight.zero_()
    load_checkpoint(path, other)
    assert_same(weights(other), weights(learner))


def damage_by_flip(file: Path):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def damage_by_cut(file: Path):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def damage_by_emptying(file: Path):
    file.write_bytes(b"")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [damage_by_flip, damage_by_cut, damage_by_emptying, Path.unlink])
def test_damage_is_found_and_the_one_before_is_used(tmp_path, name, damage):
    learner = toy_learner()
    first, second = (save_checkpoint(tmp_path, learner) for _ in range(2))
    assert latest_checkpoint(tmp_path) == (second, [])
    damage(second / name)
    with pytest.raises(TrainingError, match=r"checkpoint-000002.*use an older") as caught:
        load_checkpoint(second, toy_learner())
    assert name in str(caught.value)
    latest = latest_checkpoint(tmp_path)
    assert latest.path == first
    assert [str(error) for error in latest.damaged] == [str(caught.value)]
    damage(first / name)
    with pytest.raises(TrainingError, match=r"no checkpoint is intact: remove .* to start over"):
        latest_checkpoint(tmp_path)


def test_no_checkpoint_at_all(tmp_path):
    assert latest_checkpoint(tmp_path) == (None, [])
    assert latest_checkpoint(tmp_path / "absent") == (None, [])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: toy_learner(Wide), r"model tensor 'wide\.weight': found nothing, expected \[50, 1\]"),
        (lambda: toy_learner(decay=0.9), "weight average: found 'none', expected 'some'"),
        (lambda: toy_learner(optimizer=OptimizerOptions("sgd")), "optimizer: found 'AdamW', expected 'SGD'"),
        (lambda: toy_learner(schedule=ScheduleOptions(9)), "schedule: found 'constant', expected 'linear'"),
    ],
)
def test_other_settings_are_refused(tmp_path, other, words):
    path = save_checkpoint(tmp_path, toy_learner())
    learner = other()
    if "wide" in words:
        learner.optimizers = toy_learner().optimizers
    before = weights(learner)
    with pytest.raises(TrainingError, match=words):
        load_checkpoint(path, learner)
    assert_same(weights(learner), before)


def test_newer_format_is_refused(tmp_path):
    path = save_checkpoint(tmp_path, toy_learner())
    state = path / "state.json"
    state.write_text(state.read_text().replace('"format":2', '"format":3'))
    sums = [f"{hashlib.sha256((path / name).read_bytes()).hexdigest()}  {name}\n" for name in FILES[1:]]
    (path / "SHA256SUMS").write_text("".join(sums))
    with pytest.raises(TrainingError, match=r"state\.json: found format 3, expected 2"):
        load_checkpoint(path, toy_learner())


def test_a_file_in_the_way(tmp_path):
    place = tmp_path / "place"
    place.write_text("")
    with pytest.raises(TrainingError, match="place: can't write a checkpoint: "):
        save_checkpoint(place, toy_learner())


def test_full_disk_leaves_nothing_half_written(tmp_path):
    first = save_checkpoint(tmp_path, toy_learner())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(TrainingError, match="can't write a checkpoint: File too large"):
            save_checkpoint(tmp_path, toy_learner())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == [first]


KILLED_AT_RANDOM = """
    import os, random, signal, sys, time
    import torch
    from toys import toy_batches, toy_learner, Wide
    from nlp_app.engine import LoopOptions, latest_checkpoint, load_checkpoint, save_checkpoint, train

    torch.set_num_threads(1)
    directory, rounds = sys.argv[1], int(sys.argv[2])
    batches = toy_batches([3, 4], ids=True)

    def resume():
        learner = toy_learner(Wide)
        latest = latest_checkpoint(directory)
        assert not latest.damaged, latest.damaged
        if latest.path is not None:
            load_checkpoint(latest.path, learner)
        return learner

    def go_on():
        learner = resume()
        for report in train(learner, lambda epoch: batches, None, LoopOptions(10**6, log_every=1)):
            save_checkpoint(directory, learner)
            os.write(saved, b".")

    epochs, waits = [0], random.Random(4)
    for number in range(rounds):
        read, saved = os.pipe()
        child = os.fork()
        if child == 0:
            go_on()
        if number % 4:  # after a checkpoint, so that a busy machine gets on too; else perhaps before the first one
            os.read(read, 1)
        time.sleep(waits.random() * 0.08)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read)
        os.close(saved)
        epochs.append(resume().state.epoch)
    assert epochs == sorted(epochs) and epochs[-1] > 0, epochs
    # What so many lives reached is what one undisturbed life reaches.
    survivor, undisturbed = resume(), toy_learner(Wide)
    end, now = survivor.state, undisturbed.state
    for report in train(undisturbed, lambda epoch: batches, None, LoopOptions(10**6, log_every=1)):
        if (now.epoch, now.window) >= (end.epoch, end.window):
            break
    assert now == end
    states = survivor.model.state_dict(), undisturbed.model.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    print(epochs[-1])
"""


@pytest.mark.slow
def test_killed_at_any_moment_goes_on_exactly(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED_AT_RANDOM))
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "run"), "25"],
        env={"PYTHONPATH": f"{tests}:{tests.parent}", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


def test_epoch_report_comes_with_a_complete_state(tmp_path):
    learner = toy_learner()
    for report in train(learner, lambda epoch: toy_batches([3]), None, LoopOptions(2)):
        assert isinstance(report, EpochReport)
        assert (learner.state.epoch, learner.state.window, learner.state.targets) == (report.epoch, 0, 0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_last_good_checkpoint_stays_where_weights_are_not_finite(tmp_path, bad):
    learner = toy_learner(Wide)
    good = save_checkpoint(tmp_path, learner)
    for name, place in (("wide.weight", (3, 0)), ("norm.bias", (1,))):
        broken = toy_learner(Wide)
        with torch.no_grad():
            broken.model.get_parameter(name)[place] = bad
        with pytest.raises(NonFiniteError) as caught:
            save_checkpoint(tmp_path, broken, keep=1)
        assert str(caught.value).startswith(f"epoch 1, step 0: found weights of {name} that are infinite")
        assert "learning rates: all 0.01" in str(caught.value)
    assert latest_checkpoint(tmp_path) == (good, [])
    load_checkpoint(good, broken)
    assert_same(weights(broken), weights(learner))


KILLED_WITHIN_EPOCHS = """
    import json, os, random, signal, sys, time
    import torch
    torch.set_num_threads(1)
    import nlp_app.engine.hf_trainer, nlp_app.training  # once, not in each child
    from nlp_app.cli import main
    from nlp_app.engine import latest_checkpoint
    from pathlib import Path

    directory, kills = Path(sys.argv[1]), int(sys.argv[2])
    command = [*sys.argv[3:], "--quiet", "--set=train.checkpoint_seconds=0.01", "--output"]
    stands, waits = [], random.Random(4)
    while len(stands) < kills:
        child = os.fork()
        if child == 0:
            main([*command, str(directory / "killed"), "--resume"])
            os._exit(9)  # had it not been killed
        before = latest_checkpoint(directory / "killed" / "checkpoints").path
        while True:  # until it has saved at least once more, so that each life has a use
            time.sleep(0.005 + waits.random() * 0.02)
            ended, status = os.waitpid(child, os.WNOHANG)
            assert not ended, status
            names = sorted((directory / "killed" / "checkpoints").glob("checkpoint-*"))
            if names and names[-1] != before:
                break
        time.sleep(waits.random() * 0.1)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        latest = latest_checkpoint(directory / "killed" / "checkpoints")
        assert not latest.damaged, latest.damaged
        state = json.loads((latest.path / "state.json").read_text())["state"]
        stands.append([state["epoch"], state["window"]])
    main([*command, str(directory / "killed"), "--resume"])
    main([*command, str(directory / "whole")])
    print()
    print(json.dumps(stands))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ner", "cls"])
def test_a_run_killed_within_epochs_ends_as_if_it_had_not_been(tmp_path, kind):
    changes = ["train.epochs=3", "train.ema_decay=0.9", "track.plots=false"]
    if kind == "ner":
        paths = [tmp_path / f"{split}.conll" for split in ("train", "dev")]
        for path, count in zip(paths, (100, 10), strict=True):
            path.write_text(sentences(path.stem, count), encoding="utf-8")
        changes += [
            "model.hidden_size=8",
            "train.batch_tokens=48",
            "train.gradient_accumulation_steps=2",
            "train.engine=trainer",
        ]
    else:
        paths = [write_csv(tmp_path / f"{s}.csv", class_rows(s, count)) for s, count in (("train", 240), ("dev", 20))]
        changes += ["model.kind=textcnn", "model.word_dim=8", "model.num_filters=4", "train.batch_size=4"]
        changes += ["train.imbalance=sampler", "train.lr_schedule=plateau", "train.patience=9"]
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED_WITHIN_EPOCHS))
    given = ["train", kind, "--train", str(paths[0]), "--dev", str(paths[1])]
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "3", *given, *(f"--set={change}" for change in changes)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    stands = json.loads(done.stdout.splitlines()[-1])
    assert stands == sorted(stands)
    assert any(window for _, window in stands), stands
    assert essence(tmp_path / "killed") == essence(tmp_path / "whole")
