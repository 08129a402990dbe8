"""Training in several processes is training in one: real processes that talk by gloo, nothing between them but that.

Where the rows of a batch are shared, the same numbers are summed in another order. So weights are compared within
`CLOSE` of each other, relative, for toys in double precision, and `NEAR` for whole runs in single precision; between
the processes of a team they are equal to the bit.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from io import StringIO
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, SMALL_CLASSES, class_rows, sentences, write_csv
from safetensors.numpy import load_file
from torch import Tensor, nn
from toys import Dense, ToyBatch, Wide, toy_batches, toy_learner

from nlp_app.core.errors import TrainingError
from nlp_app.engine import (
    ALONE,
    Evaluation,
    LoopOptions,
    OptimizerOptions,
    Processes,
    ScheduleOptions,
    join_processes,
    train,
)
from nlp_app.nn.classifier import TextClassifierNetwork
from nlp_app.nn.losses import make_loss
from nlp_app.nn.tagger import WideBiLstmCrf
from nlp_app.numerics.dimensions import ClassifierDimensions, ClassifierSizes, TableSizes, TaggerDimensions
from nlp_app.training.learner_setup import make_learner

pytestmark = pytest.mark.slow

CLOSE = {"rtol": 1e-9, "atol": 1e-11}
NEAR = {"rtol": 2e-3, "atol": 2e-4}
SOON = 600.0  # seconds in which a run has to end once one of its processes has, however busy the machine


# A team of processes


class Team:
    """Processes that all do what they are given."""

    def __init__(self, count: int) -> None:
        # A server that has imported all this once, and forks: torch takes seconds.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, "nlp_app.training", "nlp_app.cli"])
        self.members: list[tuple[ForkServerProcess, Connection]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for rank in range(count):
            ours, theirs = context.Pipe()
            member = context.Process(target=_member, args=(rank, count, port, theirs), daemon=True)
            member.start()
            theirs.close()
            self.members.append((member, ours))

    def do(self, task: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What `task(processes, *arguments)` gives in each of them; what it raised, or EOFError for one that died."""
        for _, pipe in self.members:
            pipe.send((task, arguments))
        return [self._answer(pipe) for _, pipe in self.members]

    def _answer(self, pipe: Connection) -> Any:
        assert pipe.poll(SOON), "no answer"
        try:
            return pipe.recv()
        except (EOFError, ConnectionResetError):
            return EOFError()

    def end(self) -> None:
        for member, pipe in self.members:
            pipe.close()
            member.join(10)
            member.kill()


def _member(rank: int, count: int, port: int, pipe: Connection) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = join_processes()
    with suppress(EOFError):
        while True:
            task, arguments = pipe.recv()
            try:
                pipe.send(task(processes, *arguments))
            except Exception as error:  # noqa: BLE001 - whatever it is, who asked decides
                pipe.send(error)


@contextmanager
def team_of(count: int) -> Iterator[Team]:
    team = Team(count)
    try:
        yield team
    finally:
        team.end()


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    """Two processes, for tests that leave them alive."""
    with team_of(2) as made:
        yield made


# Updates


class Partly(Dense):
    """A frozen layer, a parameter that is never used, and one that only some rows use."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(4, 4)
        self.frozen.requires_grad_(False)
        self.unused = nn.Parameter(torch.ones(3, 3))
        self.rarely = nn.Parameter(torch.ones(2, 2))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        loss = super().forward(x + self.frozen(x), y)
        large = x[x[:, 0] > 1, 0]
        if len(large):
            loss = loss + (self.rarely.sum() * large).square().sum()
        return loss


def tagger() -> nn.Module:
    sizes = TableSizes(norms=30, shapes=9, parts=20, features=40)
    none = dict.fromkeys(("input_dropout", "hidden_dropout", "feature_dropout", "wide_dropout"), 0.0)
    network = WideBiLstmCrf(5, None, sizes, TaggerDimensions(norm=6, shape=3, part=4, hidden=5, **none))
    network.vectors = None
    return network


def classifier() -> nn.Module:
    none = dict.fromkeys(("ngram_dropout", "hidden_dropout", "word_dropout", "filter_dropout"), 0.0)
    dimensions = ClassifierDimensions(hidden=6, word=6, filters=4, **none)
    network = TextClassifierNetwork(4, ClassifierSizes(ngrams=50, words=30), dimensions)
    network.loss = make_loss("cross_entropy", smoothing=0.1)
    return network


def double(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}


def plain_batches(sizes: Iterable[int], epoch: int) -> list[ToyBatch]:
    return [replace(batch, inputs=double(batch.inputs)) for batch in toy_batches(list(sizes), seed=epoch)]


def wide_batches(sizes: Iterable[int], epoch: int) -> list[ToyBatch]:
    return [replace(batch, inputs=double(batch.inputs)) for batch in toy_batches(list(sizes), seed=epoch, ids=True)]


def tagger_batches(sizes: Iterable[int], epoch: int) -> list[ToyBatch]:
    random = torch.Generator().manual_seed(epoch)
    batches = []
    for rows in sizes:
        mask = torch.arange(7) < torch.randint(1, 8, (rows, 1), generator=random)

        def ids(high: int, *width: int, mask: Tensor = mask) -> Tensor:
            return torch.randint(1, high, (*mask.shape, *width), generator=random)

        inputs = {"mask": mask, "tags": ids(5), "norms": ids(30), "shapes": ids(9)}
        inputs |= {"parts": ids(20, 4), "features": ids(40, 6)}
        batches.append(ToyBatch(inputs, int(mask.sum()), range(rows)))
    return batches


def classifier_batches(sizes: Iterable[int], epoch: int) -> list[ToyBatch]:
    """Bags as (texts, n-grams), so that rows can be picked; `flat` makes what the network takes of them."""
    random = torch.Generator().manual_seed(epoch)
    batches = []
    for texts in sizes:
        mask = torch.arange(8) < torch.randint(3, 9, (texts, 1), generator=random)
        inputs = {
            "ngrams": torch.randint(1, 50, (texts, 5), generator=random),
            "weights": torch.rand(texts, 5, generator=random),
            "words": torch.randint(1, 30, (texts, 8), generator=random) * mask,
            "mask": mask,
            "targets": torch.randint(0, 4, (texts,), generator=random),
        }
        batches.append(ToyBatch(double(inputs), texts, range(texts)))
    return batches


def flat(batch: ToyBatch) -> ToyBatch:
    if "ngrams" not in batch.inputs:
        return batch
    bags, width = batch.inputs["ngrams"].shape
    offsets = torch.arange(bags + 1) * width
    inputs = batch.inputs | {name: batch.inputs[name].flatten() for name in ("ngrams", "weights")}
    return replace(batch, inputs=inputs | {"offsets": offsets})


TOYS: dict[str, tuple[Callable[[], nn.Module], Callable[[Iterable[int], int], list[ToyBatch]]]] = {
    "dense": (Dense, plain_batches),
    "sparse": (Wide, wide_batches),
    "frozen and unused": (Partly, plain_batches),
    "tagger": (tagger, tagger_batches),
    "classifier": (classifier, classifier_batches),
}


@dataclass(frozen=True)
class Case:
    """A run of a toy. sizes: rows of each batch of an epoch; scale: that fp16's scaler begins with, if there is one."""

    toy: str
    sizes: tuple[int, ...] = (5, 2, 8, 3)
    loop: dict[str, Any] = field(default_factory=lambda: {"epochs": 3, "log_every": 2})
    decay: float | None = None
    scale: float | None = None
    optimizer: OptimizerOptions = field(
        default_factory=lambda: OptimizerOptions(lr=0.02, weight_decay=0.1, sparse_lr=0.05, plain_lr=0.5)
    )


def shared(batch: ToyBatch, processes: Processes) -> ToyBatch:
    """What a process takes of a batch."""
    part = slice(processes.rank, None, processes.count)
    inputs = {name: value[part] for name, value in batch.inputs.items()}
    rows = batch.rows[part]
    targets = int(inputs["mask"].sum()) if "tags" in inputs else len(rows)
    return flat(ToyBatch(inputs, targets, rows))


def trained(processes: Processes, case: Case) -> dict[str, Any]:
    """Train a toy; weights, averages, moments, and what was reported."""
    make, batches = TOYS[case.toy]
    learner = toy_learner(
        lambda: make().double(), case.optimizer, ScheduleOptions(40, "linear", warmup_ratio=0.2), decay=case.decay
    )
    learner.processes = processes
    if case.scale is not None:
        learner.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=case.scale, growth_interval=3)
    reports = train(
        learner,
        lambda epoch: [shared(batch, processes) for batch in batches(case.sizes, epoch)],
        lambda: Evaluation(0.0, {}),
        LoopOptions(**case.loop),
    )
    told = [
        {name: value for name, value in vars(report).items() if name not in ("seconds", "targets_per_second")}
        for report in reports
    ]
    tensors = dict(learner.model.state_dict()) | learner.optimizers.state_dict()[0]
    tensors |= {} if learner.average is None else {f"average/{name}": x for name, x in learner.average.averages.items()}
    # Copies: what is sent is not to follow the weights any more.
    return {"tensors": {name: value.detach().numpy().copy() for name, value in tensors.items()}, "told": told}


CASES = [
    *(Case(toy) for toy in TOYS),
    # One row: the other process has no share in the batch, and of the last epoch's window nothing at all.
    *(Case(toy, sizes=(1, 5, 1, 1, 2)) for toy in TOYS),
    *(Case(toy, (4, 1, 6, 3, 1), {"epochs": 2, "gradient_accumulation_steps": 2, "log_every": 1}) for toy in TOYS),
    Case("dense", loop={"epochs": 3, "max_grad_norm": 0.01, "log_every": 1}),
    Case("sparse", loop={"epochs": 3, "max_grad_norm": None, "log_every": 1}),
    Case("sparse", loop={"epochs": 3, "log_every": 3}, decay=0.7),
    # With a scaler; the second process has scaled nothing yet when the first update is made.
    *(Case(toy, sizes=(1, 5, 2), scale=2.0**10) for toy in ("sparse", "tagger")),
    Case("sparse", optimizer=OptimizerOptions("sgd", lr=0.02, sparse_lr=0.05)),
]


def fresh(toy: str) -> nn.Module:
    torch.manual_seed(7)  # as `toy_learner` does
    return TOYS[toy][0]().double()


def assert_close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["tensors"].keys() == expected["tensors"].keys()
    for name, value in found["tensors"].items():
        np.testing.assert_allclose(value, expected["tensors"][name], **CLOSE, err_msg=name)
    assert len(found["told"]) == len(expected["told"])
    for report, other in zip(found["told"], expected["told"], strict=True):
        for name, value in report.items():
            # Losses and norms are reported in single precision.
            wanted = other[name] if not isinstance(value, float) else pytest.approx(other[name], rel=1e-5)
            assert value == wanted, name


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.toy}-{len(case.sizes)}-{len(case.loop)}")
def test_two_processes_make_the_updates_of_one(team: Team, case: Case) -> None:
    alone = trained(ALONE, case)
    first, second = team.do(trained, case)
    assert first["told"] == second["told"]
    for name, value in first["tensors"].items():
        assert value.tobytes() == second["tensors"][name].tobytes(), name
    assert_close(first, alone)
    changed = [
        name for name, value in fresh(case.toy).state_dict().items()
        if not np.array_equal(value.numpy(), first["tensors"][name])
    ]  # fmt: skip
    assert changed
    assert not [name for name in changed if "frozen" in name or "unused" in name]


def test_three_processes_are_equal_to_the_bit() -> None:
    case = Case("sparse", sizes=(7, 1, 4))
    with team_of(3) as three:
        found = three.do(trained, case)
        arrays = three.do(gathered)
    for other in found[1:]:
        assert other["told"] == found[0]["told"]
        assert all(value.tobytes() == other["tensors"][name].tobytes() for name, value in found[0]["tensors"].items())
    assert_close(found[0], trained(ALONE, case))
    expected = [[[rank, rank]] * rank for rank in range(3)]
    assert arrays == [([6, 2], [3, 2], expected)] * 3


def gathered(processes: Processes) -> Any:
    rank = processes.rank
    parts = processes.gather(np.full((rank, 2), rank, dtype=np.int64))
    return (
        processes.all_reduce_sum([2 * rank, 1][::1] if rank else [0, 0]),
        processes.all_reduce_max([rank + 1, 2 - rank]),
        [part.tolist() for part in parts],
    )


def diverged(processes: Processes, bad: str) -> Any:
    """A run into numbers that aren't finite, in the rows of the second process; the error's rows and message."""
    learner = toy_learner(Wide, OptimizerOptions(lr=0.02, sparse_lr=0.05))
    learner.processes = processes
    whole = toy_batches([4, 6, 5], ids=True)
    whole[1].inputs["x"][3, 0] = float(bad)
    before = None
    try:
        for _ in train(learner, lambda epoch: [shared(b, processes) for b in whole], None, LoopOptions(1, log_every=1)):
            before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    except TrainingError as error:
        same = all(torch.equal(value, before[name]) for name, value in learner.model.state_dict().items())
        return sorted(error.rows), str(error), same
    return None


def test_all_say_the_same_of_numbers_that_are_not_finite(team: Team) -> None:
    first, second = team.do(diverged, "inf")
    assert first == second
    rows, message, same = first
    assert rows == [5, 7, 9]  # the share of the batch that the bad row is in
    assert message.startswith("epoch 1, step 2: found a loss of nan")
    assert "\n" not in message
    assert same


def stopped(processes: Processes) -> Any:
    """Where a run stops that only its last process is told to."""
    learner = toy_learner()
    learner.processes = processes
    asked = []

    def stop() -> bool:
        asked.append(None)
        return processes.rank == processes.count - 1 and len(asked) == 3

    whole = toy_batches([4] * 5)
    reports = list(train(learner, lambda epoch: [shared(b, processes) for b in whole], None, LoopOptions(2, stop=stop)))
    return [(report.step, report.stop) for report in reports], len(asked), learner.state.window


def test_one_that_is_told_to_stop_stops_all(team: Team) -> None:
    assert team.do(stopped) == [([(3, True)], 3, 3)] * 2


class Cramped(Wide):
    """A model that has memory for three rows at a time, in one of the processes."""

    room = 99

    def forward(self, x: Tensor, y: Tensor, ids: Tensor) -> Tensor:
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(x, y, ids)


def cramped(processes: Processes, rank: int) -> Any:
    """Train where the process of a rank has little memory; weights, and how batches are cut."""
    learner = toy_learner(lambda: Cramped().double(), OptimizerOptions(lr=0.02, sparse_lr=0.05))
    learner.processes = processes
    if processes.rank == rank:
        learner.model.room = 3  # type: ignore[assignment]
    whole = wide_batches((9, 12, 4), 1)
    list(train(learner, lambda epoch: [shared(b, processes) for b in whole], None, LoopOptions(2, log_every=1)))
    return {name: value.numpy().copy() for name, value in learner.model.state_dict().items()}, learner.state.parts


@pytest.mark.parametrize("rank", [0, 1])
def test_memory_may_be_short_in_one_process(team: Team, rank: int) -> None:
    (weights, parts), (other, other_parts) = team.do(cramped, rank)
    expected, _ = cramped(ALONE, -1)
    assert (parts, other_parts) == ((2, 1) if rank == 0 else (1, 2))
    for name, value in weights.items():
        assert value.tobytes() == other[name].tobytes(), name
        np.testing.assert_allclose(value, expected[name], **CLOSE, err_msg=name)


# Whole runs


@dataclass(frozen=True)
class Files:
    """The command line of a small run without any randomness in its updates."""

    task: str
    arguments: list[str]
    rows: int  # of training data


@pytest.fixture(scope="module", params=["ner", "cls"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Files:
    directory = tmp_path_factory.mktemp(request.param)
    return small_run(request.param, directory)


def small_run(task: str, directory: Path) -> Files:
    if task == "ner":
        rows = 41
        paths = [(directory / f"{split}.conll", count) for split, count in (("train", rows), ("dev", 15))]
        for path, count in paths:
            path.write_text(sentences(path.stem, count), encoding="utf-8")
        small = [change.removeprefix("--set=") for change in SMALL]
        small += [f"model.{name}=0" for name in ("input_dropout", "hidden_dropout", "feature_dropout", "wide_dropout")]
        small += ["model.singleton_dropout=0", "train.batch_tokens=64"]
    else:
        rows = 81  # in batches of 20, so that the last one has a single row
        paths = [(directory / f"{split}.csv", count) for split, count in (("train", rows), ("dev", 31))]
        for path, count in paths:
            write_csv(path, class_rows(path.stem, count))
        small = [change.removeprefix("--set=") for change in SMALL_CLASSES if "kind" not in change]
        small += [f"model.{name}=0" for name in ("ngram_dropout", "hidden_dropout", "word_dropout", "filter_dropout")]
        small += ["model.kernel_sizes=2", "model.num_filters=4", "model.word_dim=8"]
    given = ["train", task, "--train", str(paths[0][0]), "--dev", str(paths[1][0])]
    return Files(task, [*given, *(f"--set={change}" for change in [*small, "track.plots=false"])], rows)


def command(processes: Processes, *arguments: str) -> tuple[int, str, str]:
    """The command line, in each process; status, standard output, standard error."""
    from nlp_app.cli import main

    out, err, status = StringIO(), StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(list(arguments))
        except SystemExit as stop:
            status = int(stop.code or 0)
    return status, out.getvalue(), err.getvalue()


def history(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_a_run_in_two_processes_leaves_what_a_run_in_one_does(
    team: Team, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = {"one": tmp_path / "one", "two": tmp_path / "two"}
    assert command(ALONE, *files.arguments, "--quiet", "--output", str(runs["one"]))[0] == 0
    first, second = team.do(command, *files.arguments, "--output", str(runs["two"]))
    assert (first[0], second) == (0, (0, "", "")), (first, second)
    assert "macro F1" in first[1] or "F1" in first[1]
    assert first[2].count("epoch 1/3") == 1
    assert names(runs["two"]) == names(runs["one"])
    one, two = (history(run) for run in runs.values())
    assert [line["epoch"] for line in two] == [1, 2, 3]
    for before, now in zip(one, two, strict=True):
        assert now["step"] == before["step"]
        assert now["train_loss"] == pytest.approx(before["train_loss"], rel=NEAR["rtol"])
    # What stands for the best epoch is what the finished model comes to, in one process, on all of dev.
    metrics = json.loads((runs["two"] / "metrics.json").read_text(encoding="utf-8"))["dev"]
    best = next(line for line in reversed(two) if line["best"])
    if files.task == "cls":  # a tagger has been compacted since
        assert {name: metrics[name] for name in best["dev"]} == pytest.approx(best["dev"])
    (model,) = (path.name for path in runs["one"].glob("*.safetensors"))
    expected, found = (load_file(run / model) for run in runs.values())
    assert found.keys() == expected.keys()
    checkpoint, other = (
        load_file(run / "checkpoints" / "checkpoint-000003" / "tensors.safetensors") for run in runs.values()
    )
    for name, value in checkpoint.items():
        if name.startswith("model/"):
            np.testing.assert_allclose(other[name], value, **NEAR, err_msg=name)


def seen(processes: Processes, files: Files, epoch: int) -> list[list[int]]:
    """The rows of each batch of an epoch that a process has."""
    from nlp_app.config import read_task_settings
    from nlp_app.storage.batching import ProcessShare

    given = dict(zip(files.arguments[2:6:2], files.arguments[3:7:2], strict=True))
    changes = [change.removeprefix("--set=") for change in files.arguments if change.startswith("--set=")]
    changes += [f"data.{name.removeprefix('--')}={path}" for name, path in given.items()]
    settings: Any = read_task_settings(files.task, None, changes, None)
    share = ProcessShare(processes.rank, processes.count)
    examples = examples_of(files.task, settings)
    return [list(batch.rows) for batch in examples.batches(epoch, share)]


def examples_of(task: str, settings: Any) -> Any:
    import tempfile

    from nlp_app.data.classification.splits import read_class_splits
    from nlp_app.data.tagging.splits import read_splits
    from nlp_app.training.classification.setup import prepare_classifier
    from nlp_app.training.runs.progress import Progress
    from nlp_app.training.tagging.setup import prepare_tagger

    if task == "ner":
        return prepare_tagger(settings, read_splits(settings.data, 1), Progress(True), None).examples
    examples = prepare_classifier(settings, read_class_splits(settings.data, 1), Progress(True)).examples
    examples.store(Path(tempfile.mkdtemp()))
    return examples


def test_a_run_of_two_processes_is_reproduced_by_two(team: Team, tmp_path: Path) -> None:
    files = small_run("ner", tmp_path)
    run = str(tmp_path / "run")
    assert [outcome[0] for outcome in team.do(command, *files.arguments, "--quiet", "--output", run)] == [0, 0]
    first, second = team.do(command, "reproduce", run, "--json", "--quiet")
    assert (first[0], second) == (0, (0, "", "")), (first, second)
    found = json.loads(first[1])
    assert (found["identical"], found["differing"]) == (True, [])
    alone = command(ALONE, "reproduce", run, "--json", "--quiet")
    assert "warning: processes: found 1, the run had 2" in alone[2]


def test_each_example_is_seen_once_in_an_epoch(team: Team, files: Files) -> None:
    for epoch in (1, 2):
        whole = seen(ALONE, files, epoch)
        shares = team.do(seen, files, epoch)
        assert len(shares[0]) == len(shares[1]) == len(whole)
        for batch, first, second in zip(whole, *shares, strict=True):
            assert sorted(first + second) == sorted(batch)
            assert 0 <= len(first) - len(second) <= 1
        assert sorted(row for batch in whole for row in batch) == list(range(files.rows))


@pytest.mark.parametrize(("option", "what"), [("--search", "search"), ("--folds", "folds")])
def test_what_several_processes_gain_nothing_from_is_refused(
    team: Team, tmp_path: Path, option: str, what: str
) -> None:
    files = small_run("ner", tmp_path)
    for status, out, err in team.do(command, *files.arguments, option, "2", "--output", str(tmp_path / "run")):
        assert (status, out) == (2, "")
        assert re.fullmatch(r"error: .*found 2 processes, expected one.*\n", err), err
    assert not (tmp_path / "run").exists()


def ending(processes: Processes, *arguments: str) -> None:
    """A command whose process ends with it, as it does for a user."""
    status, out, err = command(processes, *arguments)
    Path(arguments[-1]).with_suffix(f".{processes.rank}").write_text(json.dumps([status, out, err]), encoding="utf-8")
    os._exit(status)


def test_a_user_s_mistake_ends_all(tmp_path: Path) -> None:
    files = small_run("ner", tmp_path)
    (tmp_path / "dev.conll").unlink()
    with team_of(2) as own:
        assert [type(end) for end in own.do(ending, *files.arguments, "--output", str(tmp_path / "run"))] == [
            EOFError
        ] * 2
    first, second = (json.loads((tmp_path / f"run.{rank}").read_text(encoding="utf-8")) for rank in range(2))
    assert first[:2] == second[:2] == [2, ""]
    assert re.fullmatch(r"error: .*dev\.conll.*\n", first[2])
    assert re.fullmatch(r"error: (process 1: )?another process of the run has failed or was stopped .*\n", second[2])
    assert not (tmp_path / "run").exists()


def different(processes: Processes) -> None:
    torch.manual_seed(processes.rank)
    from nlp_app.config import TaggingSettings

    make_learner(TaggingSettings().train.model_copy(update={"epochs": 1}), Dense(), 3, {}, processes)


def test_processes_with_different_networks_are_refused(team: Team) -> None:
    for rank, error in enumerate(team.do(different)):
        assert isinstance(error, TrainingError)
        assert str(error).startswith(f"process {rank}: its network differs from the other processes' network")


def with_bf16_at(processes: Processes, rank: int) -> str:
    from nlp_app.config import TransformerTaggingSettings
    from nlp_app.training import learner_setup

    settings = TransformerTaggingSettings().train.model_copy(update={"epochs": 1, "precision": "auto"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner_setup, "has_fast_bf16", lambda _: processes.rank == rank)
        torch.manual_seed(0)
        return make_learner(settings, Dense(), 3, {}, processes).accelerator.mixed_precision


def test_the_main_process_decides_on_the_precision_of_all(team: Team) -> None:
    """Each process may have measured another speed."""
    try:
        assert team.do(with_bf16_at, 0) == ["bf16", "bf16"]
        assert team.do(with_bf16_at, 1) == ["no", "no"]
    finally:
        team.do(with_bf16_at, -1)  # Accelerate keeps the precision asked for last


# What goes wrong


def failing(processes: Processes, how: str) -> Any:
    """A run in which the second process fails in the middle of its second epoch."""
    learner = toy_learner()
    learner.processes = processes
    whole = toy_batches([4] * 3)

    def batches(epoch: int) -> Iterator[ToyBatch]:
        for number, batch in enumerate(whole):
            if processes.rank == 1 and (epoch, number) == (2, 1):
                if how == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise TrainingError("no more rows")
            yield shared(batch, processes)

    began = time.monotonic()
    try:
        list(train(learner, batches, None, LoopOptions(9)))
    except TrainingError as error:
        if processes.rank == 1:
            os._exit(2)  # as a command would end
        return str(error), learner.state.step, time.monotonic() - began
    return None


@pytest.mark.parametrize("how", ["raises", "killed"])
def test_one_that_fails_stops_the_others(how: str) -> None:
    with team_of(2) as own:
        (message, step, seconds), dead = own.do(failing, how)
        assert isinstance(dead, EOFError)
    assert message.startswith("another process of the run has failed or was stopped (")
    assert message.endswith("); see its messages, then resume with --resume")
    assert "\n" not in message
    assert step == 4
    assert seconds < SOON


PROGRAM = "import torch; torch.set_num_threads(1); from nlp_app.cli import main; main()"


def launched(directory: Path, arguments: Iterable[str], processes: int) -> subprocess.Popen[str]:
    """A command, started as a user does."""
    script = directory / "run.py"
    script.write_text(PROGRAM + "\n", encoding="utf-8")
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.Popen(
        [sys.executable, *(several if processes > 1 else ()), str(script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )


def wait_for(run: subprocess.Popen[str], path: Path) -> None:
    end = time.monotonic() + SOON
    while not path.exists():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_that_was_told_to_stop_goes_on_in_another_number_of_processes(
    team: Team, tmp_path: Path, before: int, after: int
) -> None:
    files = small_run("ner", tmp_path)
    given = [*files.arguments, "--set=train.epochs=20", "--set=train.lr_schedule=constant", "--output"]
    stopped_run, whole = tmp_path / "stopped", tmp_path / "whole"
    with launched(tmp_path, [*given, str(stopped_run)], before) as run:
        wait_for(run, stopped_run / "checkpoints" / "checkpoint-000002")
        run.send_signal(signal.SIGTERM)
        _, err = run.communicate(timeout=SOON)
    assert run.returncode != 0
    assert err.count("stopped at step ") == 1, err
    assert "--resume" in err
    epochs = len(history(stopped_run))
    assert 2 <= epochs < 20
    (newest,) = sorted((stopped_run / "checkpoints").glob("checkpoint-*"))[-1:]
    assert f"stopped at step {json.loads((newest / 'state.json').read_text())['state']['step']};" in err
    go_on = [*files.arguments, "--set=train.epochs=20", "--set=train.lr_schedule=constant", "--quiet", "--resume"]
    outcomes = (
        [command(ALONE, *go_on, "--output", str(stopped_run))]
        if after == 1
        else team.do(command, *go_on, "--output", str(stopped_run))
    )
    assert [outcome[0] for outcome in outcomes] == [0] * after, outcomes
    assert command(ALONE, *given, str(whole), "--quiet")[0] == 0
    assert [line["epoch"] for line in history(stopped_run)] == list(range(1, 21))
    for found, expected in zip(history(stopped_run)[:5], history(whole), strict=False):
        assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=0.02)
        assert found["step"] == expected["step"]
    # What was stopped within an epoch has made a checkpoint more.
    numbered = re.compile(r"checkpoint-\d+")
    assert [numbered.sub("", name) for name in names(stopped_run)] == [numbered.sub("", name) for name in names(whole)]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_command(tmp_path: Path, rank: int) -> None:
    files = small_run("ner", tmp_path)
    output = tmp_path / "run"
    with launched(tmp_path, [*files.arguments, "--set=train.epochs=2000", "--output", str(output)], 2) as run:
        wait_for(run, output / "checkpoints" / "checkpoint-000002")
        workers = children(run.pid)
        assert len(workers) == 2
        os.kill(workers[rank], signal.SIGKILL)
        _, err = run.communicate(timeout=SOON)
    assert run.returncode != 0
    assert "another process of the run has failed or was stopped" in err
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def children(pid: int) -> list[int]:
    """Processes that a process has started and that run our script, in the order of their start."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and b"run.py" in (status.parent / "cmdline").read_bytes():
                found.append((int(fields[19]), int(status.parent.name)))
    return [number for _, number in sorted(found)]
