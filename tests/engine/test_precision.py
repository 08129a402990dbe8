"""Mixed precision: what has to be exact is exact under autocast, and what overflows is left out and counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, SMALL_CLASSES, Outcome, class_rows, files_of, sentences, write_csv
from safetensors.numpy import load_file
from torch import Tensor, nn
from toys import Wide, assert_same, toy_batches, toy_learner, weights

from nlp_app.engine import (
    EpochReport,
    LoopOptions,
    OptimizerOptions,
    StepReport,
    load_checkpoint,
    make_accelerator,
    save_checkpoint,
    train,
)
from nlp_app.nn.classifier import TextClassifierNetwork
from nlp_app.nn.crf.distillation_loss import path_cross_entropy
from nlp_app.nn.crf.layer import LinearChainCRF
from nlp_app.nn.losses import make_loss
from nlp_app.nn.tagger import WideBiLstmCrf
from nlp_app.numerics.dimensions import ClassifierDimensions, ClassifierSizes, TableSizes, TaggerDimensions

pytestmark = pytest.mark.numeric

EXACT = {"rtol": 2e-6, "atol": 1e-6}  # of single precision; bfloat16 would be off by 4e-3


def bf16() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


# What has to be exact


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_crf_computes_in_full_precision(kind: torch.dtype) -> None:
    torch.manual_seed(1)
    crf = LinearChainCRF(6)
    for parameter in crf.parameters():
        nn.init.normal_(parameter)
    emissions = (8 * torch.randn(4, 9, 6)).to(kind)
    mask = torch.arange(9) < torch.tensor([[9], [1], [5], [8]])
    tags = torch.randint(0, 6, (4, 9))
    with bf16():
        found = gradients_of(crf, emissions, lambda given, network: network(given, tags, mask))
        marginals, paths = crf.marginals(emissions, mask), crf.decode(emissions, mask)
        partition = crf.log_partition(emissions, mask)
    exact = LinearChainCRF(6).double()
    exact.load_state_dict(crf.state_dict())
    expected = gradients_of(exact, emissions.double(), lambda given, network: network(given, tags, mask))
    assert found[0].dtype == torch.float32
    assert marginals.dtype == torch.float64
    for one, other in zip(found, expected, strict=True):
        near = EXACT if one.dtype == torch.float32 else {"rtol": 8e-3, "atol": 1e-6}  # a gradient of what is bfloat16
        torch.testing.assert_close(one.double(), other, **near)
    torch.testing.assert_close(marginals, exact.marginals(emissions.double(), mask), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(partition.double(), exact.log_partition(emissions.double(), mask), **EXACT)
    assert paths == exact.decode(emissions.double(), mask)


def gradients_of(network: nn.Module, given: Tensor, values: Callable[[Tensor, Any], Tensor]) -> list[Tensor]:
    """What a network makes of its input, and the gradients of its sum."""
    leaf = given.clone().requires_grad_()
    found = values(leaf, network)
    network.zero_grad()
    found.sum().backward()
    return [found.detach(), leaf.grad, *(parameter.grad for parameter in network.parameters())]


def test_a_teacher_s_paths_are_weighed_in_full_precision() -> None:
    torch.manual_seed(2)
    crfs = [LinearChainCRF(5) for _ in range(2)]
    for crf in crfs:
        for parameter in crf.parameters():
            nn.init.normal_(parameter)
    mask = torch.arange(7) < torch.tensor([[7], [2], [4]])
    emissions, taught, share = 5 * torch.randn(3, 7, 5), torch.randn(3, 7, 5).half(), torch.tensor([1.0, 0.5, 0.2])
    with bf16():
        found = path_cross_entropy(crfs[0], emissions, crfs[1], taught, mask, share)
    exact = [LinearChainCRF(5).double() for _ in range(2)]
    for one, other in zip(exact, crfs, strict=True):
        one.load_state_dict(other.state_dict())
    expected = path_cross_entropy(exact[0], emissions.double(), exact[1], taught.double(), mask, share.double())
    torch.testing.assert_close(found.double(), expected.double(), **EXACT)


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "hinge", "binary_cross_entropy", "binary_focal"])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_losses_are_computed_in_full_precision(name: str, kind: torch.dtype) -> None:
    torch.manual_seed(3)
    logits = (20 * torch.randn(64, 5)).to(kind)
    several = name.startswith("binary")
    targets = torch.randint(0, 2, (64, 5)).float() if several else torch.randint(0, 5, (64,))
    loss = make_loss(name, multi_label=several, weights=[0.5, 1.0, 2.0, 1.0, 3.0])
    with bf16():
        found, gradient = gradients_of(loss, logits, lambda given, network: network(given, targets))
    assert found.dtype == torch.float32
    wanted = targets.double() if several else targets
    expected, exact = gradients_of(loss, logits.double(), lambda given, network: network(given, wanted))
    torch.testing.assert_close(found.double(), expected, **EXACT)
    eps = torch.finfo(kind).eps
    torch.testing.assert_close(gradient.double(), exact, rtol=max(2 * eps, 2e-5), atol=max(eps / 100, 1e-6))


@contextmanager
def seen_by(module: nn.Module) -> Iterator[list[torch.dtype]]:
    """The types of the floating tensors that a module is given."""
    found: list[torch.dtype] = []
    handle = module.register_forward_pre_hook(
        lambda _, given: found.extend(x.dtype for x in given if isinstance(x, Tensor) and x.is_floating_point())
    )
    try:
        yield found
    finally:
        handle.remove()


def a_tagger() -> tuple[nn.Module, dict[str, Tensor]]:
    sizes = TableSizes(norms=30, shapes=9, parts=20, features=40)
    none = dict.fromkeys(("input_dropout", "hidden_dropout", "feature_dropout", "wide_dropout"), 0.0)
    network = WideBiLstmCrf(5, None, sizes, TaggerDimensions(norm=6, shape=3, part=4, hidden=5, **none))
    nn.init.normal_(network.wide.weight)
    nn.init.normal_(network.crf.transitions)
    mask = torch.arange(7) < torch.tensor([[7], [3], [5]])
    sizes_of = {"norms": (30,), "shapes": (9,), "tags": (5,), "parts": (20, 4), "features": (40, 6)}
    made = {name: torch.randint(1, high, (*mask.shape, *width)) for name, (high, *width) in sizes_of.items()}
    return network, made | {"mask": mask}


def a_classifier() -> tuple[nn.Module, dict[str, Tensor]]:
    none = dict.fromkeys(("ngram_dropout", "hidden_dropout", "word_dropout", "filter_dropout"), 0.0)
    dimensions = ClassifierDimensions(hidden=6, word=6, filters=4, **none)
    network = TextClassifierNetwork(4, ClassifierSizes(ngrams=50, words=30), dimensions)
    network.loss = make_loss("cross_entropy")
    assert network.wide is not None
    nn.init.normal_(network.wide.bag.weight)
    mask = torch.arange(8) < torch.tensor([[8], [4], [6]])
    return network, {
        "ngrams": torch.randint(1, 50, (12,)),
        "offsets": torch.tensor([0, 5, 7, 12]),
        "weights": torch.rand(12),
        "words": torch.randint(1, 30, (3, 8)) * mask,
        "mask": mask,
        "targets": torch.tensor([0, 3, 1]),
    }


@pytest.mark.parametrize("make", [a_tagger, a_classifier])
def test_what_networks_hand_to_the_loss_is_in_full_precision(
    make: Callable[[], tuple[nn.Module, dict[str, Tensor]]],
) -> None:
    torch.manual_seed(4)
    network: Any
    network, inputs = make()
    inner = network.tags if make is a_tagger else network.deep.output
    lower: list[torch.dtype] = []
    inner.register_forward_hook(lambda _, given, result: lower.append(result.dtype))
    accelerator = make_accelerator("bf16", cpu=True)
    with seen_by(network.crf if make is a_tagger else network.loss) as given, accelerator.autocast():
        loss = network(**inputs)
    loss.backward()
    assert lower == [torch.bfloat16]  # else nothing would have been shown
    if make is a_tagger:
        assert given[0] == torch.float32
    assert loss.dtype == torch.float32
    gradients = {name: parameter.grad.to_dense() for name, parameter in network.named_parameters()}
    assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}
    network.zero_grad()
    exact = network(**inputs)
    exact.backward()
    assert loss.item() == pytest.approx(exact.item(), rel=0.02)
    # As vectors: where a maximum falls on another row, single numbers may be anything.
    off, whole = (
        torch.cat([gradient.flatten() for gradient in found])
        for found in zip(
            *(
                (gradients[name] - parameter.grad.to_dense(), parameter.grad.to_dense())
                for name, parameter in network.named_parameters()
            ),
            strict=True,
        )
    )
    assert off.norm() < 0.1 * whole.norm()


# Overflow


def scaled(scale: float) -> Any:
    learner = toy_learner(Wide, OptimizerOptions(lr=0.05))
    learner.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=3)
    return learner


def test_overflow_is_counted_told_saved_and_gone_on_from(tmp_path: Path) -> None:
    batches = toy_batches([4] * 5, ids=True)
    options = LoopOptions(2, log_every=1)
    learner = scaled(2.0**127)
    reports, saved = [], []
    for report in train(learner, lambda epoch: batches, None, options):
        reports.append(report)
        saved.append(save_checkpoint(tmp_path / str(len(saved)), learner))
    steps = [report for report in reports if isinstance(report, StepReport)]
    ends = [report for report in reports if isinstance(report, EpochReport)]
    left_out = [report.grad_norm is None for report in steps]
    assert 0 < sum(left_out) < len(steps)
    assert [report.skipped for report in steps] == [sum(left_out[: place + 1]) for place in range(len(steps))]
    assert [report.step + report.skipped for report in steps] == list(range(1, 11))
    assert [report.skipped for report in ends] == [steps[4].skipped, steps[9].skipped]
    for number, path in enumerate(saved):
        resumed = scaled(1.0)
        load_checkpoint(path, resumed)
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        assert state["state"]["skipped"] == reports[number].skipped == resumed.state.skipped
        rest = list(train(resumed, lambda epoch: batches, None, options))
        assert [report.skipped for report in rest] == [report.skipped for report in reports[number + 1 :]]
        assert_same(weights(resumed), weights(learner))
        assert resumed.accelerator.scaler.state_dict() == learner.accelerator.scaler.state_dict()


# Whole runs


@pytest.fixture(params=["ner", "cls"])
def given(request: pytest.FixtureRequest, tmp_path: Path) -> list[object]:
    if request.param == "ner":
        paths = [tmp_path / f"{split}.conll" for split in ("train", "dev")]
        for path, count in zip(paths, (40, 12), strict=True):
            path.write_text(sentences(path.stem, count), encoding="utf-8")
        small = SMALL
    else:
        paths = [write_csv(tmp_path / f"{s}.csv", class_rows(s, count)) for s, count in (("train", 60), ("dev", 20))]
        small = [change for change in SMALL_CLASSES if "kind" not in change]
    return ["train", request.param, "--train", paths[0], "--dev", paths[1], *small, "--set=track.plots=false"]


def test_precision_from_one_end_to_the_other(
    cli: Callable[..., Outcome], given: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` is `bf16` on a CPU that is made for it and `no` on another; the files are in single precision."""
    found = {}
    for fast in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda fast=fast: {"amx_bf16": fast})
        for precision in ("auto", "bf16", "no") if fast else ("auto",):
            output = tmp_path / f"{precision}-{fast}"
            outcome = cli(*given, "--quiet", "--output", output, f"--set=train.precision={precision}")
            assert (outcome.status, outcome.err) == (0, ""), outcome
            lines = (output / "history.jsonl").read_text(encoding="utf-8").splitlines()
            losses = [json.loads(line)["train_loss"] for line in lines]
            tensors = load_file(output / "checkpoints" / "checkpoint-000003" / "tensors.safetensors")
            assert all(value.dtype != "float16" for value in tensors.values())
            assert {str(v.dtype) for name, v in tensors.items() if name.startswith("model/")} <= {"float32", "bool"}
            found[output.name] = losses, {name: v.tobytes() for name, v in tensors.items() if "model/" in name}
    assert found["auto-True"] == found["bf16-True"]
    assert found["auto-False"] == found["no-True"]
    assert found["bf16-True"][1] != found["no-True"][1]
    assert found["bf16-True"][0] == pytest.approx(found["no-True"][0], rel=0.05)


def test_a_run_in_bf16_is_the_same_each_time(cli: Callable[..., Outcome], given: list[object], tmp_path: Path) -> None:
    models = []
    for name in ("one", "two"):
        outcome = cli(*given, "--quiet", "--output", tmp_path / name, "--set=train.precision=bf16")
        assert outcome.status == 0, outcome
        models.append({k: v for k, v in files_of(tmp_path / name).items() if k.endswith(".safetensors")})
    assert models[0] == models[1]


# A processor without bfloat16. oneDNN, told to do without AVX-512, refuses an LSTM in it on any x86.

ON_A_PLAIN_PROCESSOR = """
import sys
import torch
from nlp_app.nn import lstm
from nlp_app.nn.precision import supports_lstm
print(supports_lstm(torch.bfloat16), flush=True)
if sys.argv[1] == "unasked":
    lstm.supports_lstm = lambda kind: True
from nlp_app.cli import main
main(sys.argv[2:])
"""


def on_a_plain_processor(way: str, *arguments: object) -> tuple[bool, int, str]:
    """Run a command there: whether it computes an LSTM in bfloat16, the status, and standard error."""
    done = subprocess.run(
        [sys.executable, "-c", ON_A_PLAIN_PROCESSOR, way, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.startswith("True"), done.returncode, done.stderr


@pytest.mark.parametrize("given", ["ner"], indirect=True)
def test_an_lstm_that_a_processor_has_no_bf16_for(given: list[object], tmp_path: Path) -> None:
    wanted = [*given, "--output", tmp_path / "run", "--set=train.precision=bf16", "--set=train.epochs=1"]
    able, status, said = on_a_plain_processor("asked", *wanted)
    assert status == 0, said
    note = "note: train.precision: this CPU cannot compute an LSTM in bf16; it is computed in single precision"
    assert (note in said) == (not able), said


@pytest.mark.parametrize("given", ["ner"], indirect=True)
def test_a_layer_that_a_processor_refuses_is_no_lack_of_memory(given: list[object], tmp_path: Path) -> None:
    wanted = [*given, "--quiet", "--output", tmp_path / "run", "--set=train.precision=bf16", "--set=train.epochs=1"]
    able, status, said = on_a_plain_processor("unasked", *wanted)
    assert status == (0 if able else 2), said
    assert "memory" not in said
    if not able:
        assert said.startswith("error: train.precision: found bf16, but the cpu of this machine cannot compute"), said
        assert said.endswith("Set train.precision=no.\n")
        assert not (tmp_path / "run").exists()
