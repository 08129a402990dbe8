"""What checkpoints cost: the share of a run's time that goes into them at the default interval.

    python benchmarks/checkpoints.py --case ner --train train.conll --dev dev.conll [--seconds 90]
    python benchmarks/checkpoints.py --case cls --train train.csv --dev dev.csv
    python benchmarks/checkpoints.py --case ner_transformer --train train.conll --dev dev.conll --pretrained DIRECTORY

A run with the default settings trains until `--seconds` have passed; measured are the seconds from the first update on
and those spent in saving, on the clock, as saving waits for the disk. Prints a line of a Markdown table.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nlp_app.config import read_task_settings
from nlp_app.core.paths import bundled_path
from nlp_app.engine import EpochReport
from nlp_app.training import train_cls, train_ner
from nlp_app.training.runs.directory import RunDirectory


class Enough(Exception):
    """Ends a run that was long enough."""


class Clock:
    """Seconds spent in functions of the run's directory."""

    def __init__(self) -> None:
        self.saving, self.saved, self.began = 0.0, 0, 0.0
        self._within = False

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if self._within:  # `keep` saves through `save`
                return function(*arguments, **options)
            self._within, began, before = True, time.perf_counter(), arguments[0]._saved_at
            try:
                return function(*arguments, **options)
            finally:
                self._within = False
                self.saving += time.perf_counter() - began
                self.saved += arguments[0]._saved_at != before

        return call

    def start(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            found = function(*arguments, **options)
            self.began = time.perf_counter()
            return found

        return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=("ner", "cls", "ner_transformer"), default="ner")
    parser.add_argument("--train", required=True)
    parser.add_argument("--dev", required=True)
    parser.add_argument("--pretrained", default="")
    parser.add_argument("--seconds", type=float, default=90.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = "cls" if arguments.case == "cls" else "ner"
    config = bundled_path("configs/ner_transformer.toml") if arguments.pretrained else None
    changes = [f"data.train={arguments.train}", f"data.dev={arguments.dev}", "train.epochs=100000", "train.threads=1"]
    changes += [f"model.pretrained={arguments.pretrained}"] if arguments.pretrained else []
    settings = read_task_settings(task, config, changes, None)
    clock = Clock()
    RunDirectory.start = clock.start(RunDirectory.start)  # type: ignore[method-assign]
    RunDirectory.record_epoch = clock.timed(RunDirectory.record_epoch)  # type: ignore[method-assign]
    RunDirectory.save = clock.timed(RunDirectory.save)  # type: ignore[method-assign]
    ended = 0.0

    def on_epoch_end(report: EpochReport) -> None:
        nonlocal ended
        ended = time.perf_counter()
        if ended - clock.began > arguments.seconds:
            raise Enough

    with tempfile.TemporaryDirectory() as directory:
        with contextlib.suppress(Enough):
            (train_cls if task == "cls" else train_ner)(settings, Path(directory) / "run", on_epoch_end=on_epoch_end)
        newest = max((Path(directory) / "run" / "checkpoints").glob("checkpoint-*"))
        size = sum(path.stat().st_size for path in newest.iterdir()) / 1e6
    seconds = ended - clock.began
    share = clock.saving / seconds
    sys.stdout.write(
        f"| {arguments.case} | {seconds:.0f} | {clock.saved} | {size:.1f} MB | {clock.saving:.2f} | {share:.2%} |\n"
    )


if __name__ == "__main__":
    main()
