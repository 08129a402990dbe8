"""What an earlier run has left where another begins: out of the way at first, gone when the new one has saved
something, and back in place if it never does."""

from __future__ import annotations

import shutil
from pathlib import Path

from nlp_app.core.files import is_temporary, remove_directory, temporary_path
from nlp_app.training.runs.predictions import COLUMNS, RECORDS
from nlp_app.training.runs.record import PLAN, SEVERAL, run_record_path

# What a run may leave or not: of an earlier one in the same place, nothing must stay.
_NOT_ALWAYS = ("history.jsonl", "history.png", "confusion.png", COLUMNS, RECORDS)


class PreviousRun:
    """The files of an earlier run in `output`, its model, scores and settings aside: those stay until others come."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._aside = temporary_path(output / "checkpoints" / "earlier")  # the next run sweeps it away
        self._moved: list[tuple[Path, Path]] = []  # where it was, where it is

    def stash(self) -> None:
        """Move them, so that none can be taken for the new run's."""
        checkpoints = run_record_path(self._output).parent
        found = [path for path in checkpoints.iterdir() if path.is_dir() and not is_temporary(path.name)]
        found += [path for path in map(self._output.joinpath, _NOT_ALWAYS) if path.is_file()]
        for name in SEVERAL:  # of what is under way there is no account yet
            account = self._output / f"{name}.json"
            if account.is_file():
                found += [account, *([self._output / name] if (self._output / name / PLAN).is_file() else [])]
        if run_record_path(self._output).is_file():  # the last, as by it the others are known for a run's
            found.append(run_record_path(self._output))
        if not found:
            return
        self._aside.mkdir(exist_ok=True)
        for path in found:
            place = self._aside / path.name
            path.rename(place)
            self._moved.append((path, place))

    def restore(self) -> bool:
        """Move them to where they were, in place of what is there now; whether there were any."""
        found = bool(self._moved)
        if found:
            for path in run_record_path(self._output).parent.glob("best-*"):  # of the run that failed
                remove_directory(path)
        while self._moved:
            path, place = self._moved.pop()
            if path.is_dir():
                shutil.rmtree(path)
            place.replace(path)
        shutil.rmtree(self._aside, ignore_errors=True)
        return found

    def delete(self) -> None:
        """Remove them."""
        self._moved.clear()
        shutil.rmtree(self._aside, ignore_errors=True)
