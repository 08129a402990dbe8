"""Select the engine that runs the training loop: the package's own, or `transformers.Trainer`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nlp_app import engine
from nlp_app.training.runs.progress import Progress

Batches = Callable[[int], Iterable[engine.Batch]]

Evaluate = Callable[[], engine.Evaluation]

Handle = Callable[[engine.Report], None]

Engine = Callable[[engine.Learner, Batches, Evaluate | None, engine.LoopOptions, Handle], None]


def select_engine(name: str, processes: engine.Processes, progress: Progress) -> Engine:
    """Return the engine of a name (`train.engine`); in several processes there is only the loop, with a note."""
    if name == "trainer" and processes.count > 1:
        progress.say("note: in several processes the engine is train.engine=loop; the results are the same")
    elif name == "trainer":
        from nlp_app.engine.hf_trainer import train_with_trainer  # noqa: PLC0415 - transformers.Trainer takes seconds

        return train_with_trainer
    return _loop


def _loop(
    learner: engine.Learner,
    batches: Batches,
    evaluate: Evaluate | None,
    options: engine.LoopOptions,
    handle: Handle,
) -> None:
    for report in engine.train(learner, batches, evaluate, options):
        handle(report)
