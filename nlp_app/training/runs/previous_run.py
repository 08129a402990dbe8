"""Stash the files of a previous run until the new run has saved a checkpoint; restore them if it fails first."""

from __future__ import annotations

import shutil
from pathlib import Path

from nlp_app.core.files import is_temporary, remove_directory, temporary_path
from nlp_app.training.runs.predictions import CONLL_FILE, JSONL_FILE
from nlp_app.training.runs.record import MULTIRUN_DIRECTORIES, PLAN, run_record_path

# Files that not every run writes: those of a previous run must not be mistaken for files of the new one.
_OPTIONAL_FILES = ("history.jsonl", "history.png", "confusion.png", CONLL_FILE, JSONL_FILE)


class PreviousRun:
    """Files of a previous run in the same directory.

    The model, scores and settings are not among them: they stay in place until the new run replaces them.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._stash = temporary_path(output / "checkpoints" / "earlier")  # a later run removes it
        self._moved: list[tuple[Path, Path]] = []  # original path, stashed path

    def stash(self) -> None:
        """Move the files to a temporary directory, so that none is mistaken for a file of the new run."""
        checkpoints = run_record_path(self._output).parent
        paths = [path for path in checkpoints.iterdir() if path.is_dir() and not is_temporary(path.name)]
        paths += [path for path in map(self._output.joinpath, _OPTIONAL_FILES) if path.is_file()]
        for name in MULTIRUN_DIRECTORIES:  # an unfinished one has no report yet
            report = self._output / f"{name}.json"
            if report.is_file():
                paths += [report, *([self._output / name] if (self._output / name / PLAN).is_file() else [])]
        if run_record_path(self._output).is_file():  # last: without it, the other files are not recognized
            paths.append(run_record_path(self._output))
        if not paths:
            return
        self._stash.mkdir(exist_ok=True)
        for path in paths:
            stashed = self._stash / path.name
            path.rename(stashed)
            self._moved.append((path, stashed))

    def restore(self) -> bool:
        """Move the files back, replacing those of the new run.

        Returns:
            True if there were files to restore.
        """
        has_files = bool(self._moved)
        if has_files:
            for path in run_record_path(self._output).parent.glob("best-*"):  # of the run that failed
                remove_directory(path)
        while self._moved:
            path, stashed = self._moved.pop()
            if path.is_dir():
                shutil.rmtree(path)
            stashed.replace(path)
        shutil.rmtree(self._stash, ignore_errors=True)
        return has_files

    def delete(self) -> None:
        """Delete the stashed files."""
        self._moved.clear()
        shutil.rmtree(self._stash, ignore_errors=True)
