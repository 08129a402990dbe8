"""Trials of a search in an Optuna study: propose settings, prune trials, record them, rank the settings' importance.

A trial is recorded in the journal when it has ended, in one line. So the journal never has an incomplete trial, and a
search can be resumed however it was stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nlp_app.core.errors import SettingsError, TrainingError
from nlp_app.training.multirun.search_space import Interval, Range, Value

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution


FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"

QUARTERS = (1, 2, 3)  # quarters of a trial's epochs; trials are compared after each

_STATES = {FINISHED: "COMPLETE", STOPPED: "PRUNED", FAILED: "FAIL"}

_NAME = "search"

_DIGITS = 3  # significant digits of proposed real numbers

_TRIALS_BEFORE_PRUNING = 5  # trials that must have finished before one can be pruned

_TRIALS_FOR_IMPORTANCE = 4  # trials that must have finished before importance is estimated


@dataclass(frozen=True)
class Trial:
    """A trial that has ended.

    Attributes:
        values: The values of the searched settings, by name.
        state: `FINISHED`, `STOPPED` (pruned) or `FAILED`.
        score: The dev score; None if the trial failed.
        seconds: The duration.
        quarters: The dev score after each of `QUARTERS` that was reached.
        error: The message of a failed trial.
    """

    values: Mapping[str, Value]
    state: str
    score: float | None = None
    seconds: float = 0.0
    quarters: Mapping[int, float] = field(default_factory=dict)
    error: str = ""


def require_optuna() -> None:
    """Check that Optuna, an optional dependency, is installed.

    Raises:
        SettingsError: It is not installed.
    """
    try:
        import optuna  # noqa: F401, PLC0415
    except ImportError as error:
        raise SettingsError("--search: needs Optuna, which is not installed; pip install 'nlp-app[search]'") from error


class Study:
    """A study with its trials in a journal file.

    The first trial has the initial values. Each later proposal depends only on the seed, its number and the recorded
    trials, so a resumed search proposes the same values.

    Args:
        journal: The journal file; it is created if it does not exist.
        space: The values to search, by name of setting.
        initial_values: The values of the first trial.
        seed: The seed of the proposals.

    Raises:
        TrainingError: The journal is damaged.
    """

    def __init__(
        self, journal: Path, space: Mapping[str, Range], initial_values: Mapping[str, Value], seed: int
    ) -> None:
        self._space, self._initial_values, self._seed = space, initial_values, seed
        self._distributions = {name: _distribution(values) for name, values in space.items()}
        _repair(journal)
        with _quiet():
            import optuna  # noqa: PLC0415 - an extra
            from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock  # noqa: PLC0415

            lock = JournalFileOpenLock(str(journal))
            try:
                storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))
                if _NAME in optuna.get_all_study_names(storage):
                    self._study = optuna.load_study(study_name=_NAME, storage=storage)
                else:
                    self._study = optuna.create_study(study_name=_NAME, storage=storage, direction="maximize")
            except (ValueError, LookupError, TypeError) as error:
                raise TrainingError(f"{journal}: not readable ({error}); leave out --resume to start over") from error

    @property
    def trials(self) -> list[Trial]:
        """Trials that have ended, in order."""
        states = {optuna_state: state for state, optuna_state in _STATES.items()}
        return [
            Trial(
                trial.params,
                states[trial.state.name],
                trial.user_attrs["score"],
                trial.user_attrs["seconds"],
                trial.intermediate_values,
                trial.user_attrs["error"],
            )
            for trial in self._study.trials
        ]

    def propose(self) -> dict[str, Value]:
        """Propose values for the next trial.

        Returns:
            The values of the searched settings, by name.
        """
        number = len(self._study.trials)
        if number == 0:
            return dict(self._initial_values)
        from optuna.samplers import TPESampler  # noqa: PLC0415

        seed = int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0])
        with _quiet():
            proposed = self._copy_in_memory(sampler=TPESampler(seed=seed)).ask(self._distributions).params
        return {name: self._round(name, value) for name, value in proposed.items()}

    def _round(self, name: str, value: Value) -> Value:
        space = self._space[name]
        if not isinstance(space, Interval):
            return value
        rounded = float(f"{value:.{_DIGITS}g}")
        return rounded if space.low <= rounded <= space.high else value

    def should_prune(self, quarters: Mapping[int, float]) -> int | None:
        """Compare the scores of a running trial with the median of the finished trials.

        Args:
            quarters: The dev score after each quarter that the trial has reached.

        Returns:
            The first quarter after which the trial was worse than the median; None if it should continue.
        """
        from optuna.pruners import MedianPruner  # noqa: PLC0415

        with _quiet():
            pruner = MedianPruner(n_startup_trials=_TRIALS_BEFORE_PRUNING, n_warmup_steps=QUARTERS[1])
            trial = self._copy_in_memory(pruner=pruner).ask()
            for quarter, score in sorted(quarters.items()):
                trial.report(score, quarter)
                if trial.should_prune():
                    return quarter
        return None

    def _copy_in_memory(
        self, sampler: optuna.samplers.BaseSampler | None = None, pruner: optuna.pruners.BasePruner | None = None
    ) -> optuna.Study:
        """Copy the study to memory, so that asking Optuna leaves no entry in the journal."""
        import optuna  # noqa: PLC0415

        study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        study.add_trials(self._study.get_trials(deepcopy=False))
        return study

    def record(self, trial: Trial) -> None:
        """Record a trial that has ended in the journal.

        Args:
            trial: The trial.
        """
        from optuna.trial import TrialState, create_trial  # noqa: PLC0415

        with _quiet():
            self._study.add_trial(
                create_trial(
                    state=TrialState[_STATES[trial.state]],
                    params=dict(trial.values),
                    distributions=dict(self._distributions),
                    value=trial.score if trial.state == FINISHED else None,
                    intermediate_values=dict(trial.quarters),
                    user_attrs={"score": trial.score, "seconds": trial.seconds, "error": trial.error},
                )
            )

    def importance(self) -> dict[str, float]:
        """Estimate how much each setting contributes to the differences between scores (fANOVA).

        Returns:
            Fractions that sum to 1, by name of setting, largest first. Empty if fewer than four trials have finished,
            or all have the same score.
        """
        scores = [trial.score for trial in self.trials if trial.state == FINISHED and trial.score is not None]
        if len(scores) < _TRIALS_FOR_IMPORTANCE or max(scores) == min(scores):
            return {}
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances  # noqa: PLC0415

        with _quiet():
            fractions = get_param_importances(self._study, evaluator=FanovaImportanceEvaluator(seed=0))
        return {name: round(fraction, 4) for name, fraction in fractions.items()}


def _distribution(space: Range) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution  # noqa: PLC0415

    if isinstance(space, Interval):
        return FloatDistribution(space.low, space.high, log=space.log)
    return CategoricalDistribution(space.values)


def _repair(journal: Path) -> None:
    """Remove an incomplete last line and the lock of a search that was killed while it was writing."""
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if not journal.is_file():
        return
    with journal.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Turn off Optuna's log messages while the block runs."""
    import optuna  # noqa: PLC0415

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
