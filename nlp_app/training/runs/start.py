"""Options of a run; open and prepare its directory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from nlp_app import engine
from nlp_app.config import Settings
from nlp_app.core.files import checksum
from nlp_app.training.learner_setup import resolve_precision
from nlp_app.training.runs.directory import RunDirectory
from nlp_app.training.runs.environment import describe_environment, launch_notes
from nlp_app.training.runs.progress import Progress
from nlp_app.training.runs.record import RunRecord, check_output, has_finished, run_record_path

OnEpochEnd = Callable[[engine.EpochReport], None]


@dataclass(frozen=True)
class RunOptions:
    """Options of a run that are not part of its settings.

    Attributes:
        output: The run directory.
        resume: Resume the run from its last checkpoint.
        progress: Shows messages and a progress bar.
        on_epoch_end: Called with the report of each epoch after the epoch is recorded. It may end the run by raising
            an exception.
        processes: The processes that train together.
    """

    output: Path
    resume: bool
    progress: Progress
    on_epoch_end: OnEpochEnd | None = None
    processes: engine.Processes = engine.ALONE


@contextmanager
def open_run(options: RunOptions, task: str, settings: Settings) -> Iterator[RunDirectory | None]:
    """Open and lock the directory of a run while the block runs.

    The checks come before any data are read. If the block raises a project error before the run has saved anything,
    the files of the run are removed.

    Args:
        options: Options of the run.
        task: The task, "ner" or "cls".
        settings: The settings of the run.

    Yields:
        The directory; None if the run to be resumed has already finished.

    Raises:
        SettingsError: The directory cannot be used, or the settings of the resumed run have changed.
        DataError: A data file of the resumed run has changed.
        TrainingError: The run cannot be resumed.
    """
    output, progress = options.output, options.progress
    check_output(output, task)
    resolve_precision(settings.train.precision)
    progress.say(*launch_notes(options.processes))
    run = RunDirectory(output, settings.train.checkpoint_seconds)
    if options.resume:
        if has_finished(output, settings):
            progress.say(f"note: the run in {output} is already finished")
            if options.processes.is_main:
                run.cleanup()  # it may have been killed during its own cleanup
            yield None
            return
        is_final = any((output / series / "final.json").is_file() for series in ("folds", "search"))
        if not run_record_path(output).is_file() and not is_final:  # the final run of a series is always resumed
            corpus = "" if settings.data.train else ", on the bundled corpus"
            progress.say(f"note: no checkpoint in {output}; starting from the beginning{corpus}")
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
    """Prepare the run directory for the next step: start a new run, or load the last checkpoint.

    Args:
        run: The directory, opened by `open_run`.
        options: Options of the run.
        task: The task, "ner" or "cls".
        settings: The settings of the run.
        files: Files whose checksums are recorded; they must not change before the run is resumed.
        learner: The learner, which a checkpoint is loaded into.

    Raises:
        SettingsError: The settings of the resumed run have changed.
        DataError: A data file of the resumed run has changed.
        TrainingError: The run cannot be resumed.
    """
    record = RunRecord(
        task,
        settings.model_dump(),
        {str(path): checksum(path) for path in files},
        describe_environment(options.processes, learner.accelerator.device),
    )
    run.start(record, learner, options.resume, options.progress)
