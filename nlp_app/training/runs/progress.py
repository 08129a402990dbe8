"""What a run shows while it lasts, on standard error: lines, and how far it has come. Nothing when quiet."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from nlp_app.core.progress_bar import progress_bar
from nlp_app.engine import EpochReport, Report, TrainState


class Progress:
    """Says what a person at the terminal wants to know; `quiet` silences it."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet or sys.stderr is None

    def say(self, *lines: str) -> None:
        """Show lines, above the bar if there is one."""
        if not self.quiet:
            for line in lines:
                tqdm.write(line, file=sys.stderr)

    @contextmanager
    def training(self, state: TrainState, epochs: int, updates: int, score: str) -> Iterator[Callable[[Report], None]]:
        """A bar over a run's updates, from where the run stands; gives what to call with each report.

        `score`: what the dev score is called.
        """
        with progress_bar(self.quiet, " steps", updates, state.step + state.skipped) as bar:
            parts = state.parts

            def show(report: Report) -> None:
                nonlocal parts
                if report.parts > parts:
                    parts = report.parts
                    self.say(f"note: out of memory; from step {report.step} on each batch is computed in {parts} parts")
                if isinstance(report, EpochReport):
                    self.say(_epoch_line(report, epochs, score))
                else:
                    bar.set_description(f"epoch {report.epoch}", refresh=False)
                    bar.set_postfix_str(
                        f"loss {report.loss:.4f}, rate {max(report.rates.values()):.1e}, "
                        f"{report.targets_per_second:,.0f} tokens/s",
                        refresh=False,
                    )
                bar.update(report.step + report.skipped - bar.n)

            yield show


def _epoch_line(report: EpochReport, epochs: int, name: str) -> str:
    score = "" if report.score is None else f"  dev {name} {report.score:.4f}"
    best = "  best so far" if report.is_best and report.score is not None else ""
    skipped = f"  {report.skipped} updates left out so far, as fp16 overflowed" if report.skipped else ""
    place = f"{report.epoch:>{len(str(epochs))}}/{epochs}"
    return f"epoch {place}  loss {report.train_loss:.4f}{score}  {report.seconds:.1f} s{best}{skipped}"
