"""A search's trials, as Optuna has them: its journal, what it proposes, which trials it gives up on, what mattered.

A trial comes into the journal when it is over, in one line. So there is never half a trial in it, and whatever stopped
a search, it goes on from what is there.
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

QUARTERS = (1, 2, 3)  # of a trial's epochs; after each, trials are compared

_STATES = {FINISHED: "COMPLETE", STOPPED: "PRUNED", FAILED: "FAIL"}

_NAME = "search"

_DIGITS = 3  # of real numbers that are proposed

_BEFORE_STOPPING = 5  # trials that have to be finished

_FOR_IMPORTANCE = 4  # likewise


@dataclass(frozen=True)
class Trial:
    """A trial that is over. `score`: of dev, None if there is none; `quarters`: the score after each of `QUARTERS`."""

    values: Mapping[str, Value]
    state: str
    score: float | None = None
    seconds: float = 0.0
    quarters: Mapping[int, float] = field(default_factory=dict)
    error: str = ""


def require_optuna() -> None:
    """Raises SettingsError without Optuna, an extra."""
    try:
        import optuna  # noqa: F401, PLC0415
    except ImportError as error:
        raise SettingsError("--search: needs Optuna; pip install 'nlp-app[search]'") from error


class Study:
    """The trials in a journal, and those to come.

    The first trial has the values that are `given`. Each proposal follows from the seed, its number and the trials
    before it; nothing is kept in memory from one to the next. Raises TrainingError if the journal is damaged.
    """

    def __init__(self, journal: Path, space: Mapping[str, Range], given: Mapping[str, Value], seed: int) -> None:
        self._space, self._given, self._seed = space, given, seed
        self._distributions = {name: _distribution(each) for name, each in space.items()}
        _mend(journal)
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
        """The trials that are over, in their order."""
        names = {optuna_name: ours for ours, optuna_name in _STATES.items()}
        return [
            Trial(
                trial.params,
                names[trial.state.name],
                trial.user_attrs["score"],
                trial.user_attrs["seconds"],
                trial.intermediate_values,
                trial.user_attrs["error"],
            )
            for trial in self._study.trials
        ]

    def propose(self) -> dict[str, Value]:
        """The values of the next trial."""
        number = len(self._study.trials)
        if number == 0:
            return dict(self._given)
        from optuna.samplers import TPESampler  # noqa: PLC0415

        seed = int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0])
        with _quiet():
            proposed = self._aside(sampler=TPESampler(seed=seed)).ask(self._distributions).params
        return {name: self._rounded(name, value) for name, value in proposed.items()}

    def _rounded(self, name: str, value: Value) -> Value:
        space = self._space[name]
        if not isinstance(space, Interval):
            return value
        rounded = float(f"{value:.{_DIGITS}g}")
        return rounded if space.low <= rounded <= space.high else value

    def should_prune(self, quarters: Mapping[int, float]) -> int | None:
        """The first quarter after which a trial with these scores was worse than the median of the trials that
        finished; None if it is worth going on."""
        from optuna.pruners import MedianPruner  # noqa: PLC0415

        with _quiet():
            pruner = MedianPruner(n_startup_trials=_BEFORE_STOPPING, n_warmup_steps=QUARTERS[1])
            trial = self._aside(pruner=pruner).ask()
            for quarter, score in sorted(quarters.items()):
                trial.report(score, quarter)
                if trial.should_prune():
                    return quarter
        return None

    def _aside(
        self, sampler: optuna.samplers.BaseSampler | None = None, pruner: optuna.pruners.BasePruner | None = None
    ) -> optuna.Study:
        """A copy of the study in memory, to ask without a trace."""
        import optuna  # noqa: PLC0415

        study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        study.add_trials(self._study.get_trials(deepcopy=False))
        return study

    def record(self, trial: Trial) -> None:
        """Put a trial into the journal."""
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
        """How much of the scores' differences each setting accounts for, in parts of one, largest first; empty where
        too few trials have finished, or all alike."""
        scores = [trial.score for trial in self.trials if trial.state == FINISHED and trial.score is not None]
        if len(scores) < _FOR_IMPORTANCE or max(scores) == min(scores):
            return {}
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances  # noqa: PLC0415

        with _quiet():
            found = get_param_importances(self._study, evaluator=FanovaImportanceEvaluator(seed=0))
        return {name: round(share, 4) for name, share in found.items()}


def _distribution(space: Range) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution  # noqa: PLC0415

    if isinstance(space, Interval):
        return FloatDistribution(space.low, space.high, log=space.log)
    return CategoricalDistribution(space.values)


def _mend(journal: Path) -> None:
    """Take away what a search that was killed as it wrote left behind: half a line, and its lock."""
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if not journal.is_file():
        return
    with journal.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna would log each step."""
    import optuna  # noqa: PLC0415

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
