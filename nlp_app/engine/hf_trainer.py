"""Training with `transformers.Trainer` as the engine: the same steps, reports and checkpoints as the loop.

    train_with_trainer(learner, batches, evaluate, LoopOptions(epochs=10, patience=3), handle)

The Trainer runs the forward and backward passes in its own order and precision. Everything that it would do differently
is passed in: batches are ready-made, optimizers, learning rates and weight average are the learner's, and it saves
nothing. One "batch" of the Trainer is a window of micro-batches, because the Trainer assumes epochs of equal length,
which batches under a token budget do not have.

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
    """Train like `train`, with `transformers.Trainer` as the engine.

    The learner's accelerator is replaced by the Trainer's.

    Args:
        learner: The learner; it is changed in place.
        batches: Function from an epoch, from 1, to its micro-batches, the same at each call.
        evaluate: Function that evaluates the model on dev; None without a dev set.
        options: Options of the loop.
        handle: Function that is called with each report, at the time when `train` would yield it.

    Raises:
        SettingsError: The options do not fit together, or the run has several processes, which only the loop supports.
        TrainingError: Training cannot continue.
        NonFiniteError: A loss, gradient norm or weight is not finite.
    """
    check_options(learner, evaluate, options)
    if learner.processes.count > 1:
        raise SettingsError(
            f"train.engine: found 'trainer' in a run of {learner.processes.count} processes, expected one; use 'loop'"
        )
    if is_finished(learner.state, options):
        return
    # The Trainer requires a directory, but writes nothing into it.
    with tempfile.TemporaryDirectory(prefix="nlp-app-") as directory:
        generators = random_state()
        trainer = _Trainer(learner, batches, options, training_arguments(learner, options, directory))
        set_random_state(*generators)  # the Trainer has reseeded them
        trainer.add_callback(_Reporter(trainer, learner, evaluate, options, handle))
        trainer.train()


def training_arguments(learner: Learner, options: LoopOptions, directory: str) -> TrainingArguments:
    """Translate the options for the Trainer, and turn off everything that the learner does itself.

    Args:
        learner: The learner.
        options: Options of the loop.
        directory: An empty directory.

    Returns:
        The Trainer's arguments.
    """
    precision = learner.accelerator.mixed_precision
    arguments = TrainingArguments(
        output_dir=directory,
        max_steps=sys.maxsize,  # the end of the last epoch, or early stopping, ends the run
        per_device_train_batch_size=1,  # a window
        gradient_accumulation_steps=1,  # within the window
        max_grad_norm=options.max_grad_norm or float("inf"),
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=learner.accelerator.device.type == "cpu",
        seed=learner.seed % 2**32,
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,  # it would wait for the device at each step
        report_to="none",
        disable_tqdm=True,
    )
    # On a machine with several GPUs, the Trainer would split each batch among them in one process.
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
        self.totals: EpochTotals | None = None
        self._optimizer = CombinedOptimizer(learner.optimizers)
        super().__init__(
            model=_ModelWrapper(learner.model),
            args=arguments,
            optimizers=(self._optimizer, _SchedulerAdapter(learner)),  # type: ignore[arg-type]
        )
        self.accelerator.scaler = learner.accelerator.scaler
        learner.accelerator = self.accelerator

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Do nothing: the reports replace the Trainer's log, which it would print."""

    def get_train_dataloader(self) -> Any:
        return _WindowLoader(self.learner, self._batches, self._options.gradient_accumulation_steps)

    def get_batch_samples(
        self, epoch_iterator: Iterator[list[Batch]], num_batches: int, device: torch.device
    ) -> tuple[list[list[Batch]], int | None]:
        """Return the next window and its number of targets; end the epoch if there is no window left."""
        micro = next(epoch_iterator, None)
        if micro is None:
            self.control.should_epoch_stop = True
            return [], None
        if self.totals is None:
            raise RuntimeError("the Trainer asked for a window before the start of an epoch")
        self.targets = self.totals.open(micro)
        return [micro], self.targets

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """Run forward and backward passes over a window's micro-batches; return the mean loss of its targets."""

        def attempt(batches: Iterable[Batch]) -> Tensor:
            self.losses, self.rows, mean_losses = [], [], []
            for batch in batches:
                loss = super(_Trainer, self).training_step(model, dict(batch.inputs), num_items_in_batch)
                mean_losses.append(loss)
                self.rows.append(batch.rows)
            return torch.stack(mean_losses).sum()

        return run_with_oom_retry(self.learner, inputs, attempt)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Compute a micro-batch's share of the mean loss over the window's targets."""
        loss: Tensor = model(**inputs)
        self.losses.append(loss.detach())
        return loss * (1 / self.targets)

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """Clip like the loop, without sparse gradients, whose norm torch cannot compute."""
        scaler = self.accelerator.scaler
        if scaler is not None:
            self.scale = scaler.get_scale()
            scaler.unscale_(self._optimizer)
        self.norm = self.learner.optimizers.clip(self._options.max_grad_norm)
        return self.norm


class _ModelWrapper(nn.Module):
    """Wrapper that keeps attributes set by Accelerate and the Trainer off the learner's model."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, **inputs: Tensor) -> Any:
        return self.network(**inputs)


class _WindowLoader:
    """Data loader for the Trainer: the windows of the current epoch."""

    def __init__(self, learner: Learner, batches: Callable[[int], Iterable[Batch]], accumulation_steps: int) -> None:
        self._learner, self._batches, self._accumulation_steps = learner, batches, accumulation_steps

    def __iter__(self) -> Iterator[list[Batch]]:
        epoch = self._learner.state.epoch + 1
        return micro_batches(self._learner, self._batches(epoch), self._accumulation_steps)


class _SchedulerAdapter:
    """Scheduler for the Trainer that does nothing: `EpochTotals.open` sets the learning rates."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    def step(self) -> None:
        """Do nothing."""

    def get_last_lr(self) -> list[float]:
        return [group["lr"] for group in self._learner.optimizers.groups()]


class _Reporter(TrainerCallback):
    """Callback that updates the learner's state and passes on the reports."""

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
        self._trainer.totals = self._totals = EpochTotals(self._learner, self._options)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._learner.accelerator.scaler is None:
            self._add(overflow=False)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # Only after the step does the scaler report that it skipped overflowed gradients. At a scale of 1 the scale is
        # not the cause of an overflow, so the overflow is reported as an error.
        if self._learner.accelerator.scaler is not None:
            self._add(overflow=self._learner.accelerator.optimizer_step_was_skipped and self._trainer.scale > 1)

    def _add(self, overflow: bool) -> None:
        trainer = self._trainer
        position, rates = describe_position(self._learner.state), self._learner.optimizers.learning_rates()
        self._window = UpdateWindow(
            position, rates, trainer.rows, trainer.losses, trainer.norm, trainer.targets, overflow
        )
        self._totals.add(self._window)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        report = self._totals.close_window(self._window)
        if report is not None:
            self._handle(report)
            self._totals.resume()
            self._stopped = control.should_training_stop = report.stop

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._stopped:  # in the middle of the epoch
            return
        self._totals.close()
        report = score_epoch(self._learner, self._evaluate, self._options, self._started)
        self._handle(report)
        control.should_training_stop = report.stop
