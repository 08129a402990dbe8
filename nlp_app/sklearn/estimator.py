"""What the estimators share: their parameters, which are the settings of a run, and the run itself."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from inspect import Parameter, Signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from nlp_app.config import RENAMED, Settings, validate
from nlp_app.core.errors import did_you_mean

_OWN = {"random_state": 42, "verbose": 0}

_NOT_OURS = {"seed", "checkpoint_seconds"}  # `random_state` is the seed; a fit that is stopped isn't taken up again

_NEVER = 1e9


class SettingPath(NamedTuple):
    """Where a parameter stands among the settings."""

    table: str
    key: str


def parameter_paths(kind: type[Settings], data: Mapping[str, str]) -> dict[str, SettingPath]:
    """The place of each parameter: all of [model] and [train], and of [data] those that `data` names, by parameter."""
    defaults = kind()
    found = {name: SettingPath("data", key) for name, key in data.items()}
    for table in ("model", "train"):
        keys = type(getattr(defaults, table)).model_fields
        found |= {key: SettingPath(table, key) for key in keys if key not in _NOT_OURS}
    return found


def make_constructor(kind: type[Settings], where: Mapping[str, SettingPath]) -> Any:
    """An `__init__` that takes the parameters by name, with the defaults of the settings, and keeps them as they are.

    The defaults stand in `nlp_app.config` alone; scikit-learn and `help` read them from the signature.
    """
    tables = kind()
    defaults = {name: getattr(getattr(tables, table), key) for name, (table, key) in where.items()} | _OWN

    def __init__(self: Any, **given: Any) -> None:
        for name in given:
            if name not in defaults:
                new = [names[name] for names in RENAMED.values() if names.get(name) in defaults]
                hint = f"; renamed to {new[0]!r}" if new else did_you_mean(name, defaults)
                raise TypeError(f"{type(self).__name__}: found the unknown parameter {name!r}{hint}")
        for name, default in defaults.items():
            setattr(self, name, given.get(name, default))

    own = [Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)]
    named = [Parameter(name, Parameter.KEYWORD_ONLY, default=value) for name, value in defaults.items()]
    __init__.__signature__ = Signature(own + named)  # type: ignore[attr-defined]
    return __init__


class RunEstimator(BaseEstimator):  # type: ignore[misc]
    """An estimator that is fitted by a training run."""

    def _run_settings(self, kind: type[Settings], where: Mapping[str, SettingPath], **data: str) -> Settings:
        """The settings that the parameters stand for, and more of [data]. Raises SettingsError."""
        tables: dict[str, dict[str, Any]] = {
            "data": dict(data),
            "model": {},
            "train": {"seed": self._seed(), "checkpoint_seconds": _NEVER},
            "track": {"plots": False},
        }
        for name, (table, key) in where.items():
            value = getattr(self, name)
            tables[table][key] = value.item() if hasattr(value, "item") else value  # grids have NumPy's numbers
        return validate(kind, tables, type(self).__name__)

    def _seed(self) -> int:
        if isinstance(self.random_state, numbers.Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(1 << 31))

    def __getstate__(self) -> dict[str, Any]:
        """For joblib: the model as the files of its directory, without what it has looked up since."""
        state = dict(super().__getstate__())
        if "model_" in state:
            with TemporaryDirectory(prefix="nlp_app-", ignore_cleanup_errors=True) as directory:
                self.save(directory)
                files = [path for path in Path(directory).rglob("*") if path.is_file()]
                state["model_"] = {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "model_" in state:
            from nlp_app.inference import load  # noqa: PLC0415

            with TemporaryDirectory(prefix="nlp_app-", ignore_cleanup_errors=True) as directory:
                for name, content in state["model_"].items():
                    path = Path(directory, name)
                    path.parent.mkdir(exist_ok=True)
                    path.write_bytes(content)
                state = state | {"model_": load(directory)}
        super().__setstate__(state)

    def save(self, path: str | Path) -> None:
        """Write the model directory, which `nlp_app.load` and the command line read. Raises ModelError if it can't be
        written."""
        from nlp_app.models import write_model  # noqa: PLC0415

        check_is_fitted(self)
        write_model(self.model_.parts, Path(path))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.target_tags.required = True
        return tags


def as_list(values: Any, name: str, expected: str) -> list[Any]:
    """The elements of a list, tuple, array or Series of one dimension. Raises TypeError or ValueError for others."""
    if hasattr(values, "tocsr"):
        raise TypeError(f"{name}: found a sparse matrix, expected {expected}; pass raw data, not features")
    if isinstance(values, str | bytes | Mapping | set | frozenset) or not hasattr(values, "__len__"):
        raise TypeError(f"{name}: found {_kind(values)}, expected {expected}; give a list, also for one")
    dimensions = getattr(values, "ndim", 1)
    if dimensions != 1:
        raise ValueError(f"{name}: found an array of {dimensions} dimensions, expected {expected}; give one column")
    return list(values)


def check_lengths(rows: int, targets: int, name: str) -> None:
    """Raises ValueError unless there is one target a row, and at least one."""
    if not rows:
        raise ValueError(f"{name}: found 0 sample(s), expected texts with targets")
    if rows != targets:
        raise ValueError(f"{name}: found {rows} texts and {targets} targets, expected as many")


def check_distinct(different: int) -> None:
    """Raises ValueError if there is nothing that dev could be held out of."""
    if different < 2:
        raise ValueError("X: found one sample only, or several that are all the same; give more, or dev=(X, y)")


def check_target(y: Any, estimator: RunEstimator) -> Any:
    """The target, with a length. Raises ValueError without one."""
    if y is None:
        name = type(estimator).__name__
        raise ValueError(f"{name} requires y to be passed, but the target y is None; give one target a text")
    return y if hasattr(y, "__len__") else np.asarray(y)


def check_dev_pair(dev: Any) -> tuple[Any, Any]:
    """The texts and targets to choose the model by. Raises TypeError for anything but a pair."""
    if not isinstance(dev, tuple | list) or len(dev) != 2:
        raise TypeError(f"dev: found {_kind(dev)}, expected a pair of texts and targets: dev=(X, y)")
    return dev[0], dev[1]


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"
