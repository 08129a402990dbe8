"""Write events for TensorBoard (an optional dependency): scalars, histograms of parameters, the network's graph."""

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

SAMPLE = 100_000  # maximum number of values of a parameter in its histogram

EVENTS = "events.out.tfevents.*"


class Tracker:
    """Writer of a run's events. Use it as a context manager, or call `close`.

    A new run deletes the events of a previous run in its directory. A resumed run appends to its own events and hides
    those after the step it resumes from.

    Args:
        directory: The directory for the events.
        step: Steps that are already made; 0 for a new run.

    Raises:
        SettingsError: tensorboard is not installed.
        TrainingError: The events cannot be written.
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

    def log_report(self, report: Report) -> None:
        """Write the numbers of a report of the training loop as scalars.

        Args:
            report: The report of a step or an epoch.

        Raises:
            TrainingError: The events cannot be written.
        """
        scalars = _step_scalars(report) if isinstance(report, StepReport) else _epoch_scalars(report)
        with self._writing():
            for name, value in scalars:
                self._writer.add_scalar(name, value, report.step)

    def log_histograms(self, network: nn.Module, step: int) -> None:
        """Write a histogram of each parameter.

        A parameter with more than 100,000 values is sampled: evenly spaced rows are used. Values that are not finite
        are skipped.

        Args:
            network: The network.
            step: The current step.

        Raises:
            TrainingError: The events cannot be written.
        """
        for name, parameter in network.named_parameters():
            values = _sample(parameter.detach())
            values = values[values.isfinite()]
            if len(values):
                with self._writing():
                    self._writer.add_histogram(name.replace(".", "/"), values, step)

    def log_graph(self, network: nn.Module, inputs: Mapping[str, Tensor], report: Callable[[str], None]) -> None:
        """Trace the network with one batch and write its graph.

        Args:
            network: The network.
            inputs: The keyword arguments of the network, for one batch.
            report: Called with a note if the network cannot be traced; no graph is written then.
        """
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        values = tuple(value.to(device) for value in inputs.values())
        modes = {part: part.training for part in network.modules()}
        try:
            # The tracer warns about constants and mismatches, which matter only if the trace is executed.
            with torch.no_grad(), warnings.catch_warnings(), redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                self._writer.add_graph(_Positional(network, list(inputs)), values)
        except _TRACING as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            report(f"note: TensorBoard has no graph: the network cannot be traced ({reason})")
        finally:
            for part, training in modes.items():
                part.training = training

    def close(self) -> None:
        """Write all pending events and close the tracker.

        Raises:
            TrainingError: The events cannot be written.
        """
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
                f"{self.directory}: can't write events for TensorBoard: {error.strerror or error}; free disk space, "
                "or set track.tensorboard to false"
            ) from error


@contextmanager
def open_tracker(directory: Path, step: int, enabled: bool) -> Iterator[Tracker | None]:
    """Open the tracker of a run; if it is not enabled, delete the events of a previous run instead.

    Args:
        directory: The directory for the events.
        step: Steps that are already made; 0 for a new run.
        enabled: The setting `track.tensorboard`.

    Yields:
        The tracker; None if it is not enabled.

    Raises:
        SettingsError: tensorboard is not installed.
        TrainingError: The events cannot be written.
    """
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
    RuntimeError,  # its subclasses are raised for code that the tracer does not support
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    OSError,  # the tracer finds no source code
    torch.jit.TracingCheckError,  # type: ignore[attr-defined]
)


class _Positional(nn.Module):
    """A network called with positional arguments, as the tracer does."""

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
    """Flatten a parameter on the CPU; of a large one, use evenly spaced rows."""
    if parameter.numel() > SAMPLE and parameter.ndim:
        parameter = parameter[:: -(-parameter.numel() // SAMPLE)]
    return parameter.flatten()[:SAMPLE].float().cpu()
