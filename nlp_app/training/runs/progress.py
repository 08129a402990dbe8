"""Show messages and the progress of a run on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tqdm import tqdm

from nlp_app.core.progress_bar import progress_bar
from nlp_app.engine import EpochReport, Report, TrainState


class Progress:
    """Messages and progress bar of a run, on standard error.

    Args:
        quiet: Show warnings only.
        is_main: If this is the main process of the run; the others show nothing.
    """

    def __init__(self, quiet: bool, is_main: bool = True) -> None:
        self._has_output = is_main and sys.stderr is not None
        self.quiet = quiet or not self._has_output

    def say(self, *lines: str) -> None:
        """Show lines; if there is a progress bar, above the bar.

        Args:
            lines: The lines, without line ends.
        """
        if not self.quiet:
            for line in lines:
                tqdm.write(line, file=sys.stderr)

    def warn(self, *warnings: str) -> None:
        """Show warnings, also if the run is quiet.

        Args:
            warnings: The warnings, one line each.
        """
        if self._has_output:
            for warning in warnings:
                tqdm.write(f"warning: {warning}", file=sys.stderr)

    @contextmanager
    def training(
        self, state: TrainState, epochs: int, steps: int, score_name: str
    ) -> Iterator[Callable[[Report], None]]:
        """Show a progress bar over the steps of a run, and a line for each epoch.

        Args:
            state: The state of training; the bar starts at its step.
            epochs: The number of epochs of the run.
            steps: The number of steps of the run.
            score_name: The name of the dev score.

        Yields:
            A function to be called with each report of the training loop.
        """
        with progress_bar(self.quiet, " steps", steps, state.step + state.skipped) as bar:
            parts = state.parts

            def show(report: Report) -> None:
                nonlocal parts
                if report.parts > parts:
                    parts = report.parts
                    self.say(f"note: out of memory; from step {report.step} on each batch is computed in {parts} parts")
                if isinstance(report, EpochReport):
                    self.say(_epoch_line(report, epochs, score_name))
                else:
                    bar.set_description(f"epoch {report.epoch}", refresh=False)
                    bar.set_postfix_str(
                        f"loss {report.loss:.4f}, rate {_main_rate(report.rates):.1e}, "
                        f"{report.targets_per_second:,.0f} tokens/s",
                        refresh=False,
                    )
                bar.update(report.step + report.skipped - bar.n)

            yield show


def _main_rate(rates: Mapping[str, float]) -> float:
    """Return the learning rate of the settings, not that of a part with its own, such as a table of n-grams."""
    return rates.get("all", max(rates.values()))


def _epoch_line(report: EpochReport, epochs: int, score_name: str) -> str:
    score = "" if report.score is None else f"  dev {score_name} {report.score:.4f}"
    best = "  best so far" if report.is_best and report.score is not None else ""
    skipped = f"  steps skipped so far because of fp16 overflow: {report.skipped}" if report.skipped else ""
    position = f"{report.epoch:>{len(str(epochs))}}/{epochs}"
    return f"epoch {position}  loss {report.train_loss:.4f}{score}  {report.seconds:.1f} s{best}{skipped}"
