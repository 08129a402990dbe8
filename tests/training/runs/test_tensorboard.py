"""A run's events, read back with TensorBoard's own reader."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nlp_app.core.errors import SettingsError, TrainingError
from nlp_app.engine import EpochReport, StepReport
from nlp_app.nn import LinearChainCRF
from nlp_app.nn.embedding_bag import EmbeddingSum
from nlp_app.training.runs.tensorboard import Tracker


def step_report(step: int, loss: float, norm: float | None = 0.5) -> StepReport:
    return StepReport(1, step, step, loss, norm, {"default": 0.1, "wide": 0.2}, 1000.0, 0, parts=1, stop=False)


def epoch_report(epoch: int, step: int, metrics: dict[str, Any] | None) -> EpochReport:
    score = None if metrics is None else metrics["weighted_f1"]
    return EpochReport(epoch, step, 0.25, score, metrics, True, epoch, False, 1.5, 0)


def events(directory: Path) -> EventAccumulator:
    return EventAccumulator(str(directory), {"scalars": 0, "histograms": 0}).Reload()


def points(directory: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value)) for event in events(directory).Scalars(name)]


class Network(nn.Module):
    """A large table, a layer and a loss, like those of a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.bags = EmbeddingSum(300_000, 2)
        self.layer = nn.Linear(2, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, rows: Tensor, targets: Tensor) -> Tensor:
        hidden = self.drop(self.bags(rows)).sum(1)
        return nn.functional.cross_entropy(self.layer(hidden), targets, reduction="sum")


INPUTS = {"targets": torch.tensor([0, 1]), "rows": torch.tensor([[[1, 2]], [[3, 0]]])}


def test_reports_become_scalars(tmp_path: Path) -> None:
    metrics = {
        "weighted_f1": 0.75,
        "accuracy": 1,
        "per_label": {"a": {"f1": 1.0}},
        "confused": [],
        "calibration": {"ece": 0.125, "nll": 0.5, "bins": []},
    }
    with Tracker(tmp_path / "events") as tracker:
        tracker.log_report(step_report(10, 2.0))
        tracker.log_report(step_report(20, 1.0, norm=None))
        tracker.log_report(epoch_report(1, 25, metrics))
        tracker.log_report(epoch_report(2, 50, None))
    assert points(tmp_path / "events", "train/loss") == [(10, 2.0), (20, 1.0)]
    assert points(tmp_path / "events", "train/grad_norm") == [(10, 0.5)]
    assert points(tmp_path / "events", "rate/wide") == [(10, 0.2), (20, 0.2)]
    assert points(tmp_path / "events", "epoch/train_loss") == [(25, 0.25), (50, 0.25)]
    assert points(tmp_path / "events", "epoch/number") == [(25, 1), (50, 2)]
    dev = {name: points(tmp_path / "events", name) for name in events(tmp_path / "events").Tags()["scalars"]}
    dev = {name: values for name, values in dev.items() if name.startswith("dev/")}
    assert dev == {
        "dev/score": [(25, 0.75)],
        "dev/weighted_f1": [(25, 0.75)],
        "dev/accuracy": [(25, 1.0)],
        "dev/ece": [(25, 0.125)],
        "dev/nll": [(25, 0.5)],
    }


def test_a_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    with Tracker(tmp_path) as tracker:
        for step in (10, 20, 30, 40):
            tracker.log_report(step_report(step, 1.0))
    with Tracker(tmp_path, step=20) as tracker:  # the checkpoint was of step 20
        for step in (30, 40, 50):
            tracker.log_report(step_report(step, 2.0))
    assert points(tmp_path, "train/loss") == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0), (50, 2.0)]


def test_a_new_run_starts_over(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("kept")
    for loss in (1.0, 2.0):
        with Tracker(tmp_path) as tracker:
            tracker.log_report(step_report(10, loss))
    assert points(tmp_path, "train/loss") == [(10, 2.0)]
    assert (tmp_path / "other.txt").read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 2


def test_histograms_of_parameters(tmp_path: Path) -> None:
    network = Network()
    with torch.no_grad():
        network.bags.weight.copy_(torch.tensor([1.0, 3.0]).expand(300_000, 2))
        network.layer.bias.copy_(torch.tensor([0.0, float("nan"), 2.0]))
    network.register_parameter("empty", nn.Parameter(torch.zeros(0)))
    network.register_parameter("row", nn.Parameter(torch.ones(1, 200_000, dtype=torch.bfloat16)))
    with Tracker(tmp_path) as tracker:
        for step in (10, 20):
            tracker.log_histograms(network, step)
    read = events(tmp_path)
    assert set(read.Tags()["histograms"]) == {"bags/weight", "layer/weight", "layer/bias", "row"}
    table = read.Histograms("bags/weight")
    assert [event.step for event in table] == [10, 20]
    value = table[0].histogram_value
    assert 50_000 <= value.num <= 100_000
    assert (value.min, value.max, value.sum / value.num) == (1.0, 3.0, pytest.approx(2.0))  # both columns alike
    assert read.Histograms("layer/bias")[0].histogram_value.num == 2
    assert read.Histograms("row")[0].histogram_value.num == 100_000
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 100_000


def assert_undisturbed(network: nn.Module, before: list[bool], state: tuple[Any, ...]) -> None:
    assert [part.training for part in network.modules()] == before
    assert random.getstate() == state[0]
    assert np.random.get_state()[1].tolist() == state[1]
    assert torch.get_rng_state().equal(state[2])


@pytest.mark.parametrize("training", [False, True])
def test_the_graph_of_the_network(tmp_path: Path, capfd: pytest.CaptureFixture[str], training: bool) -> None:
    network = Network().train(training)
    network.layer.eval()
    before = [part.training for part in network.modules()]
    state = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    told: list[str] = []
    with Tracker(tmp_path) as tracker:
        tracker.log_graph(network, INPUTS, told.append)
    assert_undisturbed(network, before, state)
    assert told == []
    assert capfd.readouterr() == ("", "")
    graph = events(tmp_path).Graph()
    assert any("layer" in node.name for node in graph.node)
    assert all(parameter.grad is None for parameter in network.parameters())


class Untraceable(Network):
    def forward(self, rows: Tensor, targets: Tensor) -> Any:
        super().forward(rows, targets)
        return {"found": "something\nthat is no tensor"}


def test_a_network_that_can_not_be_traced_is_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    network = Untraceable().train()
    told: list[str] = []
    with Tracker(tmp_path) as tracker:
        tracker.log_graph(network, INPUTS, told.append)
        tracker.log_graph(network, {"rows": INPUTS["rows"]}, told.append)
        tracker.log_report(step_report(1, 1.0))
    assert [message.startswith("note: TensorBoard has no graph") for message in told] == [True, True]
    assert all("\n" not in message and len(message) < 300 for message in told)
    assert all(part.training for part in network.modules())
    assert capfd.readouterr().out == ""
    assert points(tmp_path, "train/loss") == [(1, 1.0)]


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emissions = nn.Linear(2, 3)
        self.crf = LinearChainCRF(3)

    def forward(self, x: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        return -self.crf(self.emissions(x), tags, mask).sum()


def test_a_crf_is_traced_or_reported(tmp_path: Path) -> None:
    inputs = {"x": torch.randn(2, 4, 2), "tags": torch.zeros(2, 4, dtype=torch.long)}
    told: list[str] = []
    with Tracker(tmp_path) as tracker:
        tracker.log_graph(Tagger(), {**inputs, "mask": torch.ones(2, 4, dtype=torch.bool)}, told.append)
    assert len(told) + ("graph" in events(tmp_path).Tags() and events(tmp_path).Tags()["graph"]) == 1


def test_a_place_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="can't write events"):
        Tracker(tmp_path / "file")


def test_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(SettingsError, match=r"pip install 'nlp-app\[tensorboard\]'"):
        Tracker(tmp_path / "events")
    assert not (tmp_path / "events").exists()
