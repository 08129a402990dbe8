"""A run for TensorBoard, which is an extra: scalars, histograms of the parameters, the network's graph."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from nlp_app.core.errors import SettingsError, TrainingError
from nlp_app.engine import EpochReport, Report, StepReport

SAMPLE = 100_000  # numbers of a parameter that a histogram looks at

EVENTS = "events.out.tfevents.*"


class Tracker:
    """Writes a run's events into `directory`, at the number of updates they belong to.

    `step`: the updates already made, 0 for a new run. A new run removes the events of an earlier one there; one that
    is resumed goes on with them, and what they have beyond `step` is hidden. Use it as a context manager, or `close`
    it. Raises SettingsError without tensorboard, TrainingError if the events can't be written.
    """

    def __init__(self, directory: Path, step: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415
        except ImportError as error:
            raise SettingsError(
                "track.tensorboard: needs tensorboard, which is not installed; pip install 'nlp-app[tensorboard]'"
            ) from error
        self.directory = directory
        with self._writing():
            if step == 0:
                for path in directory.glob(EVENTS):
                    path.unlink()
            self._writer: Any = SummaryWriter(str(directory), purge_step=step + 1)

    def report(self, report: Report) -> None:
        """Write what a report of the training loop tells, numbers only."""
        scalars = _step_scalars(report) if isinstance(report, StepReport) else _epoch_scalars(report)
        with self._writing():
            for name, value in scalars:
                self._writer.add_scalar(name, value, report.step)

    def histograms(self, network: nn.Module, step: int) -> None:
        """Write how the values of each parameter are spread; of one with more than 100,000 numbers, those of evenly
        spaced rows."""
        for name, parameter in network.named_parameters():
            values = _sample(parameter.detach())
            values = values[values.isfinite()]
            if len(values):
                with self._writing():
                    self._writer.add_histogram(name.replace(".", "/"), values, step)

    def graph(self, network: nn.Module, inputs: Mapping[str, Tensor], tell: Callable[[str], None]) -> None:
        """Write the network's graph, traced with one batch's `inputs`; if it can't be traced, `tell` why."""
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        values = tuple(value.to(device) for value in inputs.values())
        modes = {part: part.training for part in network.modules()}
        try:
            # What the tracer has to say of constants and mismatches concerns those who would run the trace.
            with torch.no_grad(), warnings.catch_warnings(), redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                self._writer.add_graph(_Positional(network, list(inputs)), values)
        except _TRACING as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            tell(f"note: TensorBoard has no graph, as the network can't be traced: {reason}")
        finally:
            for part, training in modes.items():
                part.training = training

    def close(self) -> None:
        """Write what is still held back; the tracker can't be used any more."""
        with self._writing():
            self._writer.close()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TrainingError(
                f"{self.directory}: can't write events for TensorBoard: {error.strerror or error}; make room, or set "
                "track.tensorboard to false"
            ) from error


@contextmanager
def open_tracker(directory: Path, step: int, enabled: bool) -> Iterator[Tracker | None]:
    """Open a run's tracker; if it is not `enabled`, remove the events of a previous run and yield None."""
    if enabled:
        with Tracker(directory, step) as tracker:
            yield tracker
        return
    for path in directory.glob(EVENTS):
        path.unlink()
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()
    yield None


_TRACING: tuple[type[Exception], ...] = (
    RuntimeError,  # and its subclasses, as for what the tracer does not support
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    OSError,  # no source for the tracer to read
    torch.jit.TracingCheckError,  # type: ignore[attr-defined]
)


class _Positional(nn.Module):
    """The network with its keyword arguments by position, as the tracer gives them."""

    def __init__(self, network: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.network = network
        self.names = names

    def forward(self, *values: Tensor) -> Any:
        return self.network(**dict(zip(self.names, values, strict=True)))


def _step_scalars(report: StepReport) -> Iterator[tuple[str, float]]:
    yield "train/loss", report.loss
    if report.grad_norm is not None:
        yield "train/grad_norm", report.grad_norm
    yield "train/targets_per_second", report.targets_per_second
    yield "train/skipped", report.skipped
    for name, rate in report.rates.items():
        yield f"rate/{name}", rate


def _epoch_scalars(report: EpochReport) -> Iterator[tuple[str, float]]:
    yield "epoch/number", report.epoch
    yield "epoch/train_loss", report.train_loss
    yield "epoch/seconds", report.seconds
    if report.score is not None:
        yield "dev/score", report.score
    for name, value in (report.metrics or {}).items():
        if isinstance(value, int | float):
            yield f"dev/{name}", value
    calibration = (report.metrics or {}).get("calibration", {})
    for name in calibration.keys() & {"ece", "nll"}:
        yield f"dev/{name}", calibration[name]


def _sample(parameter: Tensor) -> Tensor:
    """The parameter's values in one row, on the CPU; of a large one those of evenly spaced rows."""
    if parameter.numel() > SAMPLE and parameter.ndim:
        parameter = parameter[:: -(-parameter.numel() // SAMPLE)]
    return parameter.flatten()[:SAMPLE].float().cpu()
