"""Options of a run; open and start its directory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from nlp_app import engine
from nlp_app.config import Settings
from nlp_app.core.files import checksum
from nlp_app.training.learner_setup import check_precision
from nlp_app.training.runs.directory import RunDirectory
from nlp_app.training.runs.environment import environment, launch_note
from nlp_app.training.runs.progress import Progress
from nlp_app.training.runs.record import RunRecord, check_output, has_finished, run_record_path

OnEpochEnd = Callable[[engine.EpochReport], None]


@dataclass(frozen=True)
class RunOptions:
    """Options of a run that are no settings.

    resume: continue from the last checkpoint. on_epoch_end: called with the report of each epoch after the epoch is
    saved; it may end the run by raising. processes: the processes that take part.
    """

    output: Path
    resume: bool
    progress: Progress
    on_epoch_end: OnEpochEnd | None = None
    processes: engine.Processes = engine.ALONE


@contextmanager
def open_run(options: RunOptions, task: str, settings: Settings) -> Iterator[RunDirectory | None]:
    """The directory of a run, its own within the block; None if a run that was to go on has finished.

    Raises SettingsError, DataError or TrainingError, before anything is read, for a place that can't be used and for a
    run that can't be taken up. What raises one of them within the block leaves nothing of a run that has saved nothing.
    """
    output, progress = options.output, options.progress
    check_output(output, task)
    check_precision(settings.train.precision)
    progress.say(*launch_note(options.processes))
    run = RunDirectory(output, settings.train.checkpoint_seconds)
    if options.resume:
        if has_finished(output, settings):
            progress.say(f"note: the run in {output} has finished: nothing is left to do")
            if options.processes.is_main:
                run.cleanup()  # it may have been killed as it ended
            yield None
            return
        if not run_record_path(output).is_file():
            corpus = "" if settings.data.train else ", on the bundled corpus"
            progress.say(f"note: nothing was saved in {output}: starting from the beginning{corpus}")
    with run.claim(task, settings, options.resume) if options.processes.is_main else nullcontext():
        yield run


def start_run(
    run: RunDirectory,
    options: RunOptions,
    task: str,
    settings: Settings,
    files: Iterable[Path],
    learner: engine.Learner,
) -> None:
    """Make a run's directory ready for its first update, with these settings on these files."""
    record = RunRecord(
        task,
        settings.model_dump(),
        {str(path): checksum(path) for path in files},
        environment(options.processes, learner.accelerator.device),
    )
    run.start(record, learner, options.resume, options.progress)
