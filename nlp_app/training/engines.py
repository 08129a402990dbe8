"""Select the engine that runs the training loop: the package's own, or `transformers.Trainer`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nlp_app import engine
from nlp_app.training.runs.progress import Progress

Batches = Callable[[int], Iterable[engine.Batch]]

Evaluate = Callable[[], engine.Evaluation]

HandleReport = Callable[[engine.Report], None]

Engine = Callable[[engine.Learner, Batches, Evaluate | None, engine.LoopOptions, HandleReport], None]


def select_engine(name: str, processes: engine.Processes, progress: Progress) -> Engine:
    """Select the engine for a run. With several processes it is always the package's own loop.

    Args:
        name: The setting `train.engine`: "loop" or "trainer".
        processes: The processes of the run.
        progress: Shows a note if the trainer was asked for, but the loop is used instead.

    Returns:
        A function that trains a learner and calls `handle_report` with each report.
    """
    if name == "trainer" and processes.count > 1:
        progress.say(
            "note: train.engine=trainer runs in one process only; used train.engine=loop, with the same results"
        )
    elif name == "trainer":
        from nlp_app.engine.hf_trainer import train_with_trainer  # noqa: PLC0415 - transformers.Trainer takes seconds

        return train_with_trainer
    return _loop


def _loop(
    learner: engine.Learner,
    batches: Batches,
    evaluate: Evaluate | None,
    options: engine.LoopOptions,
    handle_report: HandleReport,
) -> None:
    for report in engine.train(learner, batches, evaluate, options):
        handle_report(report)
