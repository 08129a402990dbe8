"""What doesn't fit into memory is cut, and comes to the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, class_rows, sentences, write_csv
from hypothesis import given
from hypothesis import strategies as st
from tiny_transformers import tiny_bert
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from toys import ToyBatch, Wide, assert_same, toy_batches, toy_learner, weights

from nlp_app.config import (
    ClassificationSettings,
    DistilledClassificationSettings,
    DistilledTaggingSettings,
    TaggingSettings,
    TransformerClassificationSettings,
    TransformerTaggingSettings,
    read_settings,
)
from nlp_app.core.errors import TrainingError, is_out_of_memory, is_unsupported
from nlp_app.data.classification.splits import read_class_splits
from nlp_app.data.tagging.splits import read_splits
from nlp_app.engine import (
    EpochReport,
    Learner,
    LoopOptions,
    OptimizerOptions,
    Report,
    StepReport,
    load_checkpoint,
    save_checkpoint,
    train,
)
from nlp_app.engine.hf_trainer import train_with_trainer
from nlp_app.engine.out_of_memory import run_with_oom_retry, split_batch
from nlp_app.nn.losses import make_loss
from nlp_app.storage.batching import ProcessShare
from nlp_app.training.examples import TrainBatch
from nlp_app.training.runs.progress import Progress

ENGINES = ("loop", "trainer")
OPTIONS = OptimizerOptions(lr=0.02, weight_decay=0.1, sparse_lr=0.05)


class Cramped(Wide):
    """A model that has memory for `room` rows at a time, forward or on the way back; it counts what it is given."""

    def __init__(self, room: int, way: str = "forward") -> None:
        super().__init__()
        self.double()
        self.room, self.way = room, way
        self.given: list[int] = []

    def forward(self, x: Tensor, y: Tensor, ids: Tensor) -> Tensor:
        self.given.append(len(x))
        loss = super().forward(x, y, ids)
        if len(x) > self.room:
            if self.way == "forward":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nGPU 0 has ...")
            loss.register_hook(_fail)
        return loss


def _fail(gradient: Tensor) -> None:
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 9 bytes")


def doubled(sizes: Sequence[int], epoch: int = 0) -> list[ToyBatch]:
    return [
        replace(batch, inputs={n: v.double() if v.is_floating_point() else v for n, v in batch.inputs.items()})
        for batch in toy_batches(sizes, seed=epoch, ids=True)
    ]


def run(
    engine: str,
    learner: Learner,
    batches: Callable[[int], Sequence[ToyBatch]],
    options: LoopOptions,
    handle: Callable[[Report], None] = lambda report: None,
) -> list[Report]:
    reports: list[Report] = []

    def take(report: Report) -> None:
        reports.append(report)
        handle(report)

    if engine == "trainer":
        train_with_trainer(learner, batches, None, options, take)
    else:
        for report in train(learner, batches, None, options):
            take(report)
    return reports


def parts_of(reports: Sequence[Report]) -> list[int]:
    return [report.parts for report in reports if isinstance(report, StepReport)]


@pytest.mark.parametrize("way", ["forward", "backward"])
@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_cut_comes_to_the_same(engine: str, way: str) -> None:
    sizes = [3, 9, 4, 17, 5]
    options = LoopOptions(2, gradient_accumulation_steps=2, max_grad_norm=0.5, log_every=1)
    whole, cramped = (toy_learner(lambda room=room: Cramped(room, way), OPTIONS) for room in (99, 4))
    expected = run(engine, whole, lambda epoch: doubled(sizes, epoch), options)
    found = run(engine, cramped, lambda epoch: doubled(sizes, epoch), options)
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(cramped)[name], value, rtol=1e-9, atol=1e-11)
    assert parts_of(expected) == [1] * 6
    assert parts_of(found) == [4, 8, 8, 8, 8, 8]  # 9 rows are cut into 4 and 5, then once more; 17 into 2 to 3
    assert [report.step for report in found] == [report.step for report in expected]
    assert [report.train_loss for report in found if isinstance(report, EpochReport)] == pytest.approx(
        [report.train_loss for report in expected if isinstance(report, EpochReport)]
    )
    # From then on nothing is tried that did not fit before.
    model: Any = cramped.model
    assert max(model.given[-30:]) <= 4
    assert sum(rows > 4 for rows in model.given) == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_how_much_fits_survives_a_checkpoint(engine: str, tmp_path: Path) -> None:
    options = LoopOptions(2, log_every=1)
    learner = toy_learner(lambda: Cramped(3), OPTIONS)
    saved: list[Path] = []

    def save(report: Report) -> None:
        saved.append(save_checkpoint(tmp_path / str(len(saved)), learner))

    reports = run(engine, learner, lambda epoch: doubled([2, 8, 2]), options, save)
    assert parts_of(reports) == [1, 4, 4, 4, 4, 4]
    assert [report.parts for report in reports if isinstance(report, EpochReport)] == [4, 4]
    assert learner.state.parts == 4
    for number, path in enumerate(saved):
        resumed = toy_learner(lambda: Cramped(3), OPTIONS)
        load_checkpoint(path, resumed)
        assert resumed.state.parts == (1 if number == 0 else 4)
        rest = run(engine, resumed, lambda epoch: doubled([2, 8, 2]), options)
        assert parts_of(rest) == parts_of(reports[number + 1 :])
        assert_same(weights(resumed), weights(learner))
        model: Any = resumed.model
        assert number == 0 or all(rows <= 3 for rows in model.given)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_row_too_large_for_memory(engine: str) -> None:
    with pytest.raises(TrainingError) as caught:
        run(engine, toy_learner(lambda: Cramped(0), OPTIONS), lambda epoch: doubled([3]), LoopOptions(1))
    message = str(caught.value)
    assert message.startswith("out of memory in a batch with a single row, 0; use a smaller model")
    assert "\n" not in message


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("out of memory"), KeyError("memory")])
def test_other_errors_are_left_alone(engine: str, error: Exception) -> None:
    class Broken(Wide):
        def forward(self, x: Tensor, y: Tensor, ids: Tensor) -> Tensor:
            raise error

    learner = toy_learner(Broken, OPTIONS)
    with pytest.raises(type(error)):
        run(engine, learner, lambda epoch: toy_batches([4], ids=True), LoopOptions(1))
    assert learner.state.parts == 1


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((9,), np.dtype("f8")),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a memory object"),
        RuntimeError("could not create a primitive"),
        RuntimeError("could not execute a primitive"),
    ],
)
def test_what_says_that_memory_has_run_out(error: BaseException) -> None:
    assert is_out_of_memory(error)
    assert not is_unsupported(error)


@pytest.mark.parametrize(
    "message",
    [
        "could not create a primitive descriptor for the LSTM forward propagation primitive. Run workload with "
        "environment variable ONEDNN_VERBOSE=all to get additional diagnostic information.",
        "could not create a primitive descriptor",
        "DNNL does not support bf16/f16 backward on the platform with avx2_vnni_2",
        "mkldnn_matmul: mkldnn_matmul bf16 path needs the cpu support avx512bw, avx512vl and avx512dq",
        "\"addmm_impl_cpu_\" not implemented for 'Half'",
    ],
)
def test_what_a_processor_has_no_code_for_is_no_lack_of_memory(message: str) -> None:
    assert is_unsupported(RuntimeError(message))
    assert not is_out_of_memory(RuntimeError(message))
    assert not is_unsupported(ValueError(message))


@pytest.mark.parametrize("message", ["could not create a memory descriptor from blob", "shape mismatch"])
def test_other_messages_say_neither(message: str) -> None:
    assert not is_out_of_memory(RuntimeError(message))
    assert not is_unsupported(RuntimeError(message))


def test_what_a_failed_attempt_has_left_is_dropped() -> None:
    """Gradients of the attempt's first micro-batches must not be counted twice, nor the activations be kept."""
    learner = toy_learner(lambda: Cramped(4), OPTIONS)
    model: Any = learner.model
    held: list[int] = []

    def attempt(pieces: Iterable[Any]) -> int:
        held.append(sum(parameter.grad is not None for parameter in model.parameters()))
        count = 0
        for count, piece in enumerate(pieces, 1):  # noqa: B007
            model(**piece.inputs).backward()
        return count

    assert run_with_oom_retry(learner, doubled([2, 8]), attempt) == 4
    assert held == [0, 0]
    expected = toy_learner(lambda: Cramped(99), OPTIONS).model
    for batch in doubled([2, 8]):
        expected(**batch.inputs).backward()
    for parameter, other in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad.to_dense(), other.grad.to_dense(), rtol=1e-12, atol=1e-12)


def test_random_numbers_are_drawn_anew_for_each_attempt() -> None:
    learner = toy_learner(lambda: Cramped(4), OPTIONS)
    drawn: list[list[float]] = []

    def attempt(pieces: Iterable[Any]) -> None:
        drawn.append(torch.rand(3).tolist())
        learner.model(**next(iter(pieces)).inputs)

    run_with_oom_retry(learner, doubled([8]), attempt)
    assert len(drawn) == 2
    assert drawn[0] == drawn[1]


@given(st.integers(1, 40), st.integers(0, 7))
def test_a_cut_keeps_each_row_once_and_in_order(rows: int, doublings: int) -> None:
    (batch,) = toy_batches([rows], ids=True)
    pieces = split_batch(batch, 2**doublings)
    assert len(pieces) == min(rows, 2**doublings) or all(len(piece.rows) == 1 for piece in pieces) or len(pieces) >= 1
    assert [row for piece in pieces for row in piece.rows] == list(range(rows))
    assert sum(piece.targets for piece in pieces) == batch.targets
    for name, value in batch.inputs.items():
        assert torch.equal(torch.cat([piece.inputs[name] for piece in pieces]), value)
    assert max(len(piece.rows) for piece in pieces) <= max(1, -(-rows // 2**doublings))


# The batches of our models


def tagging_files(directory: Path) -> list[str]:
    path = directory / "train.conll"
    path.write_text(sentences("train", 30), encoding="utf-8")
    return [f"data.train={path}", "data.dev_share=0"]


def class_files(directory: Path) -> list[str]:
    path = write_csv(directory / "train.csv", class_rows("train", 40))
    return [f"data.train={path}", "data.dev_share=0"]


Made = tuple[nn.Module, Any]  # a network without dropout, and its examples
_NO_DROPOUT = [f"model.{name}=0" for name in ("ngram_dropout", "hidden_dropout", "word_dropout", "filter_dropout")]


def a_tagger(directory: Path) -> Made:
    from nlp_app.training.tagging.setup import prepare_tagger

    changes = [*tagging_files(directory), "model.hidden_size=8", "model.singleton_dropout=0", "train.batch_tokens=400"]
    settings = read_settings(TaggingSettings, None, changes)
    prepared = prepare_tagger(settings, read_splits(settings.data, 1), Progress(True), None)
    return prepared.parts.network, prepared.examples


def a_classifier(*changes: str) -> Callable[[Path], Made]:
    def make(directory: Path) -> Made:
        from nlp_app.training.classification.setup import prepare_classifier

        given = [*class_files(directory), "train.batch_size=12", *_NO_DROPOUT, *changes]
        settings = read_settings(ClassificationSettings, None, given)
        prepared = prepare_classifier(settings, read_class_splits(settings.data, 1), Progress(True))
        prepared.examples.store(directory / "store")
        network: Any = prepared.parts.network
        network.loss = make_loss("cross_entropy")
        return network, prepared.examples

    return make


def a_transformer_tagger(*changes: str) -> Callable[[Path], Made]:
    def make(directory: Path) -> Made:
        from nlp_app.training.transformers.setup import prepare_transformer_tagger

        pretrained = tiny_bert(directory / "bert", ["中", "国", "the"], layers=1, positions=64)
        given = [*tagging_files(directory), f"model.pretrained={pretrained}", "train.batch_subwords=300", *changes]
        settings = read_settings(TransformerTaggingSettings, None, given)
        prepared = prepare_transformer_tagger(settings, read_splits(settings.data, 1), Progress(True), None)
        return prepared.parts.network, prepared.examples

    return make


def a_transformer_classifier(directory: Path) -> Made:
    from nlp_app.training.transformers.setup import prepare_transformer_classifier

    pretrained = tiny_bert(directory / "bert", ["中", "国", "the"], layers=1, positions=64)
    given = [*class_files(directory), f"model.pretrained={pretrained}", "train.batch_subwords=300"]
    settings = read_settings(TransformerClassificationSettings, None, given)
    prepared = prepare_transformer_classifier(settings, read_class_splits(settings.data, 1), Progress(True))
    network: Any = prepared.parts.network
    network.loss = make_loss("cross_entropy")
    return network, prepared.examples


def a_distilled_tagger(directory: Path) -> Made:
    """A student whose teacher is a tiny transformer that has been trained for an update or two."""
    from nlp_app.training import train_ner
    from nlp_app.training.distillation.setup import prepare_distilled_tagger

    pretrained = tiny_bert(directory / "bert", ["中", "国", "the"], layers=1, positions=64)
    files = tagging_files(directory)
    given = [*files, f"model.pretrained={pretrained}", "train.epochs=1", "train.engine=loop", "track.plots=false"]
    train_ner(read_settings(TransformerTaggingSettings, None, given), directory / "teacher", quiet=True)
    given = [*files, f"distill.teacher={directory / 'teacher'}", "distill.augmented_copies=1", "distill.min_count=1"]
    given += ["model.hidden_size=8", "model.singleton_dropout=0", "train.batch_tokens=400"]
    settings = read_settings(DistilledTaggingSettings, None, given)
    prepared = prepare_distilled_tagger(settings, read_splits(settings.data, 1), Progress(True))
    return prepared.parts.network, prepared.examples


def a_distilled_classifier(directory: Path) -> Made:
    from nlp_app.training import train_cls
    from nlp_app.training.distillation.setup import prepare_distilled_classifier

    pretrained = tiny_bert(directory / "bert", ["中", "国", "the"], layers=1, positions=64)
    files = class_files(directory)
    given = [*files, f"model.pretrained={pretrained}", "train.epochs=1", "train.engine=loop", "track.plots=false"]
    train_cls(read_settings(TransformerClassificationSettings, None, given), directory / "teacher", quiet=True)
    given = [*files, f"distill.teacher={directory / 'teacher'}", "distill.augmented_copies=1", "distill.min_count=1"]
    given += ["model.hidden_size=8", "model.num_filters=4", "model.word_dim=8", "train.batch_size=12", *_NO_DROPOUT]
    settings = read_settings(DistilledClassificationSettings, None, given)
    prepared = prepare_distilled_classifier(settings, read_class_splits(settings.data, 1), Progress(True))
    prepared.examples.store(directory / "store")
    network: Any = prepared.parts.network
    network.loss = make_loss("cross_entropy")
    return network, prepared.examples


LAYOUTS: dict[str, Callable[[Path], Made]] = {
    "tagger": a_tagger,
    "bags": a_classifier("model.kind=embedding_bag", "model.char_ngrams=2-3", "model.hidden_size=8"),
    "bags, mean": a_classifier(
        "model.kind=embedding_bag", "model.char_ngrams=2-3", "model.hidden_size=8", "model.mode=mean"
    ),
    "textcnn": a_classifier("model.kind=textcnn", "model.word_dim=8", "model.num_filters=4"),
    "combined": a_classifier("model.char_ngrams=2-3", "model.hidden_size=8", "model.word_dim=8", "model.num_filters=4"),
    "transformer tagger": a_transformer_tagger(),
    "transformer tagger, softmax": a_transformer_tagger("model.head=softmax", "model.casing_embedding=yes"),
    "transformer classifier": a_transformer_classifier,
    "distilled tagger": a_distilled_tagger,
    "distilled classifier": a_distilled_classifier,
}


@pytest.fixture(scope="module", params=LAYOUTS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    torch.manual_seed(3)
    network, examples = LAYOUTS[request.param](tmp_path_factory.mktemp("layout"))
    network.eval()
    with torch.no_grad():  # what begins at zero tells nothing
        for name, parameter in network.named_parameters():
            if not parameter.any() and "body" not in name:
                parameter.normal_(std=0.1)
    return network, examples


def learnt(network: nn.Module, pieces: Sequence[TrainBatch]) -> tuple[float, dict[str, Tensor]]:
    """The sum of the losses, and the gradients."""
    network.zero_grad()
    losses = [network(**piece.inputs) for piece in pieces]
    total = torch.stack(losses).sum()
    total.backward()
    gradients = {n: p.grad.to_dense().clone() for n, p in network.named_parameters() if p.grad is not None}
    return total.item(), gradients


def test_the_halves_of_a_batch_come_to_the_whole(made: Made) -> None:
    network, examples = made
    tried = 0
    for batch in examples.batches(1):
        if len(batch.rows) < 2 or tried == 3:
            continue
        tried += 1
        whole, gradients = learnt(network, [batch])
        for pieces in (list(batch.halves()), split_batch(batch, 4), split_batch(batch, 1 << 20)):
            assert [row for piece in pieces for row in piece.rows] == batch.rows
            assert sum(piece.targets for piece in pieces) == batch.targets
            assert all(set(piece.inputs) == set(batch.inputs) for piece in pieces)
            total, found = learnt(network, pieces)
            assert total == pytest.approx(whole, rel=1e-4)
            assert found.keys() == gradients.keys()
            for name, value in found.items():
                torch.testing.assert_close(value, gradients[name], rtol=1e-3, atol=2e-4, msg=name)
        assert all(len(piece.rows) == 1 for piece in split_batch(batch, 1 << 20))
    assert tried


def test_the_shares_of_a_batch_come_to_the_whole(made: Made) -> None:
    """As processes have them; more processes than rows leave some without any."""
    network, examples = made
    whole = list(examples.batches(1))
    counted = examples.batch_count()
    assert len(whole) == counted
    for ranks in (2, max(len(batch.rows) for batch in whole) + 2):
        shares = [list(examples.batches(1, ProcessShare(rank, ranks))) for rank in range(ranks)]
        assert {len(share) for share in shares} == {counted}
        for number, batch in enumerate(whole[:3]):
            pieces = [share[number] for share in shares]
            assert sum(piece.targets for piece in pieces) == batch.targets
            assert sorted(row for piece in pieces for row in piece.rows) == sorted(batch.rows)
            assert all((piece.targets > 0) == bool(piece.rows) for piece in pieces)
            if number == 0:
                counting = [piece for piece in pieces if piece.targets]
                assert learnt(network, counting)[0] == pytest.approx(learnt(network, [batch])[0], rel=1e-4)


class Operations(TorchDispatchMode):
    """The operations that torch is asked for, with what they are given."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        self.asked.append((function.overloadpacket.__name__.rstrip("_"), given))
        return function(*given, **(named or {}))


def has_no_deterministic_way(name: str, given: tuple[Any, ...]) -> bool:
    """Of the operations that, as `torch.use_deterministic_algorithms` says, raise on CUDA, those a text can meet."""
    if name == "cumsum":
        return bool(given[0].is_floating_point())
    return name in {
        "put", "histc", "kthvalue", "median", "bincount", "nll_loss2d_forward", "adaptive_max_pool2d",
        "_embedding_bag_per_sample_weights_backward", "scatter_reduce", "upsample_linear1d",
    }  # fmt: skip


def test_training_asks_for_nothing_that_cuda_has_no_deterministic_way_for(made: Made) -> None:
    network, examples = made
    with Operations() as seen:
        learnt(network, [next(iter(examples.batches(1)))])
    names = {name for name, _ in seen.asked}
    assert len(names) > 20, "too few operations were seen"
    assert {name for name, given in seen.asked if has_no_deterministic_way(name, given)} == set()


# A machine that has no more


SHORT_OF_MEMORY = """
import resource, sys
import torch
torch.set_num_threads(1)
import nlp_app.training, seqeval.metrics, sklearn.metrics, torch._dynamo  # what is imported later would find no room
from nlp_app.cli import main

size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
room = int(sys.argv[1])
if room:
    resource.setrlimit(resource.RLIMIT_AS, (size + room, resource.RLIM_INFINITY))
main(sys.argv[2:])
"""


def limited(directory: Path, room: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command that may take so many bytes more than its imports do; 0: as many as it likes."""
    script = directory / "limited.py"
    script.write_text(SHORT_OF_MEMORY, encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(script), str(room), *arguments],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_tagger_trains_through_where_memory_is_short(tmp_path: Path) -> None:
    train_file, dev = tmp_path / "train.conll", tmp_path / "dev.conll"
    train_file.write_text(sentences("train", 400), encoding="utf-8")
    dev.write_text(sentences("dev", 10), encoding="utf-8")
    given = ["train", "ner", "--train", str(train_file), "--dev", str(dev), *SMALL]
    given += ["--set=train.batch_tokens=1000000", "--set=track.plots=false", "--set=train.epochs=2"]
    given += ["--set=model.hidden_size=256", "--set=model.quantize=false"]
    # Neither the batch nor half of it fits. Nearer to what a single row needs, it is chance what the allocator finds.
    done = limited(tmp_path, 250 << 20, *given, "--output", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert 1 <= done.stderr.count("out of memory") <= 2, done.stderr  # not at each batch
    assert re.search(r"note: out of memory; from step \d+ on each batch is computed in \d+ parts", done.stderr)
    state = json.loads(
        (tmp_path / "run" / "checkpoints" / "checkpoint-000002" / "state.json").read_text(encoding="utf-8")
    )
    assert state["state"]["parts"] >= 4
    lines = (tmp_path / "run" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
