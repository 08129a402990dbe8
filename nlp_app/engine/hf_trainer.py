"""The same training with `transformers.Trainer` as the engine: the same updates, reports, checkpoints and resume.

    train_with_trainer(learner, batches, evaluate, LoopOptions(epochs=10, patience=3), handle)

The Trainer does forward, backward, precision and the order of things. What it would do in another way is given to it:
batches come ready-made, one of its "batches" is a window of ours (it counts on epochs of equal length, and batches cut
under a token budget don't have that), optimizers, rates and average are the learner's, and it saves nothing.

Importing this module imports transformers.Trainer, which takes seconds.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from nlp_app.core.errors import SettingsError
from nlp_app.engine.batch import Batch
from nlp_app.engine.epochs import (
    EpochTotals,
    Evaluation,
    LoopOptions,
    Report,
    UpdateWindow,
    check_options,
    describe_position,
    is_finished,
    micro_batches,
    restore_training_weights,
    score_epoch,
)
from nlp_app.engine.learner import Learner
from nlp_app.engine.optimizers import CombinedOptimizer
from nlp_app.engine.out_of_memory import run_with_oom_retry
from nlp_app.engine.random_state import random_state, set_random_state


def train_with_trainer(
    learner: Learner,
    batches: Callable[[int], Iterable[Batch]],
    evaluate: Callable[[], Evaluation] | None,
    options: LoopOptions,
    handle: Callable[[Report], None],
) -> None:
    """Do what `train` does, with `transformers.Trainer`; `handle` gets each report where `train` would yield it.

    From then on `learner.accelerator` is the Trainer's. Raises as `train` does, and `SettingsError` for a run of
    several processes, which only the loop knows how to count.
    """
    check_options(learner, evaluate, options)
    if learner.processes.count > 1:
        raise SettingsError(
            f"train.engine: found 'trainer' in a run of {learner.processes.count} processes, expected one; use 'loop'"
        )
    if is_finished(learner.state, options):
        return
    # The Trainer insists on a directory, and puts nothing into it.
    with tempfile.TemporaryDirectory(prefix="nlp-app-") as directory:
        generators = random_state()
        trainer = _Trainer(learner, batches, options, training_arguments(learner, options, directory))
        set_random_state(*generators)  # the Trainer has seeded them
        trainer.add_callback(_Reporter(trainer, learner, evaluate, options, handle))
        trainer.train()


def training_arguments(learner: Learner, options: LoopOptions, directory: str) -> TrainingArguments:
    """Our settings in the Trainer's terms; those that `learner` and its windows see to are switched off."""
    precision = learner.accelerator.mixed_precision
    arguments = TrainingArguments(
        output_dir=directory,
        max_steps=sys.maxsize,  # the last epoch's end, or patience, ends the run
        per_device_train_batch_size=1,  # a window
        gradient_accumulation_steps=1,  # within the window
        max_grad_norm=options.max_grad_norm or float("inf"),
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=learner.accelerator.device.type == "cpu",
        seed=learner.seed % 2**32,
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,  # it would wait for the device at each update
        report_to="none",
        disable_tqdm=True,
    )
    # On a machine with several GPUs the Trainer would divide each batch among them in one process.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


class _Trainer(Trainer):
    """A Trainer whose batches are windows of micro-batches."""

    def __init__(
        self,
        learner: Learner,
        batches: Callable[[int], Iterable[Batch]],
        options: LoopOptions,
        arguments: TrainingArguments,
    ) -> None:
        self.learner = learner
        self._batches, self._options = batches, options
        self.losses: list[Tensor] = []
        self.norm = torch.tensor(0.0)
        self.scale = 1.0
        self.rows: list[Sequence[int]] = []
        self.targets = 0
        self.count: EpochTotals | None = None
        self._optimizer = CombinedOptimizer(learner.optimizers)
        super().__init__(
            model=_Network(learner.model),
            args=arguments,
            optimizers=(self._optimizer, _Rates(learner)),  # type: ignore[arg-type]
        )
        self.accelerator.scaler = learner.accelerator.scaler
        learner.accelerator = self.accelerator

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Say nothing: the reports do, and the Trainer would print."""

    def get_train_dataloader(self) -> Any:
        return _Windows(self.learner, self._batches, self._options.gradient_accumulation_steps)

    def get_batch_samples(
        self, epoch_iterator: Iterator[list[Batch]], num_batches: int, device: torch.device
    ) -> tuple[list[list[Batch]], int | None]:
        """The next window and its number of targets; the epoch's end when there is none."""
        micro = next(epoch_iterator, None)
        if micro is None:
            self.control.should_epoch_stop = True
            return [], None
        if self.count is None:
            raise RuntimeError("a window before the epoch's beginning")
        self.targets = self.count.open(micro)
        return [micro], self.targets

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """Forward and backward over the micro-batches of a window; the mean loss of its targets."""

        def attempt(pieces: Iterable[Batch]) -> Tensor:
            self.losses, self.rows, found = [], [], []
            for piece in pieces:
                found.append(super(_Trainer, self).training_step(model, dict(piece.inputs), num_items_in_batch))
                self.rows.append(piece.rows)
            return torch.stack(found).sum()

        return run_with_oom_retry(self.learner, inputs, attempt)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """A micro-batch's share in the mean loss of the window's targets."""
        loss: Tensor = model(**inputs)
        self.losses.append(loss.detach())
        return loss * (1 / self.targets)

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """Clip as the loop does, which leaves sparse gradients out: torch can't measure them."""
        scaler = self.accelerator.scaler
        if scaler is not None:
            self.scale = scaler.get_scale()
            scaler.unscale_(self._optimizer)
        self.norm = self.learner.optimizers.clip(self._options.max_grad_norm)
        return self.norm


class _Network(nn.Module):
    """The learner's model, so that what Accelerate and the Trainer set on a model is set on this and not on it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, **inputs: Tensor) -> Any:
        return self.network(**inputs)


class _Windows:
    """What the Trainer takes for a data loader: the windows of the epoch under way."""

    def __init__(self, learner: Learner, batches: Callable[[int], Iterable[Batch]], accumulation_steps: int) -> None:
        self._learner, self._batches, self._accumulation_steps = learner, batches, accumulation_steps

    def __iter__(self) -> Iterator[list[Batch]]:
        epoch = self._learner.state.epoch + 1
        return micro_batches(self._learner, self._batches(epoch), self._accumulation_steps)


class _Rates:
    """What the Trainer takes for a scheduler; the learner's schedule is asked when a window is opened."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    def step(self) -> None:
        """Nothing."""

    def get_last_lr(self) -> list[float]:
        return [group["lr"] for group in self._learner.optimizers.groups()]


class _Reporter(TrainerCallback):
    """Keeps the learner's state and hands out the reports."""

    def __init__(
        self,
        trainer: _Trainer,
        learner: Learner,
        evaluate: Callable[[], Evaluation] | None,
        options: LoopOptions,
        handle: Callable[[Report], None],
    ) -> None:
        self._trainer, self._learner = trainer, learner
        self._evaluate, self._options, self._handle = evaluate, options, handle
        self._stopped = False

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._started = time.perf_counter()
        restore_training_weights(self._learner)
        self._trainer.count = self._count = EpochTotals(self._learner, self._options)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._learner.accelerator.scaler is None:
            self._add(overflow=False)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # The scaler keeps gradients that overflowed out of the weights, and only then says so. At a scale of one
        # an overflow is none of its doing, and is left to be diagnosed.
        if self._learner.accelerator.scaler is not None:
            self._add(overflow=self._learner.accelerator.optimizer_step_was_skipped and self._trainer.scale > 1)

    def _add(self, overflow: bool) -> None:
        trainer = self._trainer
        where, rates = describe_position(self._learner.state), self._learner.optimizers.learning_rates()
        self._window = UpdateWindow(where, rates, trainer.rows, trainer.losses, trainer.norm, trainer.targets, overflow)
        self._count.add(self._window)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        report = self._count.close_window(self._window)
        if report is not None:
            self._handle(report)
            self._count.resume()
            self._stopped = control.should_training_stop = report.stop

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._stopped:  # in the middle of the epoch
            return
        self._count.close()
        report = score_epoch(self._learner, self._evaluate, self._options, self._started)
        self._handle(report)
        control.should_training_stop = report.stop
