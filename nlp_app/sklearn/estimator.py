"""Base class of the estimators: parameters that are the settings of a run, pickling, and checks of the input."""

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

_OWN = {"random_state": 42, "verbose": 0}  # parameters that are not settings

_EXCLUDED = {"seed", "checkpoint_seconds"}  # `random_state` is the seed, and an interrupted fit can't be resumed

_NEVER = 1e9  # seconds


class SettingPath(NamedTuple):
    """The setting that a parameter stands for.

    Attributes:
        table: Table of the configuration file, such as `train`.
        key: Name of the setting in the table.
    """

    table: str
    key: str


def parameter_paths(settings_class: type[Settings], data: Mapping[str, str]) -> dict[str, SettingPath]:
    """List the parameters of an estimator and their settings.

    Args:
        settings_class: The settings of a run.
        data: Setting in `[data]` of each parameter that is one; other settings in `[data]` are no parameters.

    Returns:
        The setting of each parameter: those in `data`, and all in `[model]` and `[train]`.
    """
    defaults = settings_class()
    paths = {name: SettingPath("data", key) for name, key in data.items()}
    for table in ("model", "train"):
        keys = type(getattr(defaults, table)).model_fields
        paths |= {key: SettingPath(table, key) for key in keys if key not in _EXCLUDED}
    return paths


def make_constructor(settings_class: type[Settings], paths: Mapping[str, SettingPath]) -> Any:
    """Make an `__init__` whose keyword arguments are settings, with the defaults of the settings.

    The defaults are defined only in `nlp_app.config`; scikit-learn and `help` read them from the signature.

    Args:
        settings_class: The settings of a run.
        paths: The setting of each parameter.

    Returns:
        The function, which saves each argument unchanged as an attribute, as scikit-learn requires.
    """
    settings = settings_class()
    defaults = {name: getattr(getattr(settings, table), key) for name, (table, key) in paths.items()} | _OWN
    # scikit-learn allows no mutable default; an empty text is an empty list of names.
    defaults |= {name: "" for name, value in defaults.items() if value == []}

    def __init__(self: Any, **parameters: Any) -> None:
        for name in parameters:
            if name not in defaults:
                new = [names[name] for names in RENAMED.values() if names.get(name) in defaults]
                hint = f"; renamed to {new[0]!r}" if new else did_you_mean(name, defaults)
                raise TypeError(f"{type(self).__name__}: unknown parameter {name!r}{hint}")
        for name, default in defaults.items():
            setattr(self, name, parameters.get(name, default))

    first = [Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)]
    keywords = [Parameter(name, Parameter.KEYWORD_ONLY, default=value) for name, value in defaults.items()]
    __init__.__signature__ = Signature(first + keywords)  # type: ignore[attr-defined]
    return __init__


class RunEstimator(BaseEstimator):  # type: ignore[misc]
    """Base class of estimators that are fitted by a training run."""

    def _run_settings(self, settings_class: type[Settings], paths: Mapping[str, SettingPath], **data: str) -> Settings:
        """Convert the parameters to the settings of a run, with additional settings in `[data]`."""
        tables: dict[str, dict[str, Any]] = {
            "data": dict(data),
            "model": {},
            "train": {"seed": self._seed(), "checkpoint_seconds": _NEVER},
            "track": {"plots": False},
        }
        for name, (table, key) in paths.items():
            value = getattr(self, name)
            tables[table][key] = value.item() if hasattr(value, "item") else value  # grids may have NumPy numbers
        return validate(settings_class, tables, type(self).__name__)

    def _seed(self) -> int:
        if isinstance(self.random_state, numbers.Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(1 << 31))

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickle and joblib: the model as the files of its directory, without its caches."""
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
                state = state | {"model_": load(directory, backend="torch")}
        super().__setstate__(state)

    def save(self, path: str | Path) -> None:
        """Save the model in a directory, for `nlp_app.load` and the command line.

        Args:
            path: The directory to write.

        Raises:
            NotFittedError: The estimator is not fitted.
            ModelError: The directory can't be written.

        Example:
            >>> estimator.save("my_model")
            >>> model = nlp_app.load("my_model")
        """
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
    """Convert a list, tuple, one-dimensional array or Series to a list.

    Args:
        values: The values.
        name: Name of the argument, for messages.
        expected: Description of the expected values, for messages.

    Returns:
        The elements.

    Raises:
        TypeError: The values are no sequence, a single string, or a sparse matrix.
        ValueError: The values are an array with more or less than one dimension.
    """
    if hasattr(values, "tocsr"):
        raise TypeError(f"{name}: found a sparse matrix, expected {expected}; pass raw data, not features")
    if isinstance(values, str | bytes | Mapping | set | frozenset) or not hasattr(values, "__len__"):
        raise TypeError(f"{name}: found {_kind(values)}, expected {expected}; put a single one in a list")
    dimensions = getattr(values, "ndim", 1)
    if dimensions != 1:
        raise ValueError(f"{name}: found an array of {dimensions} dimensions, expected {expected}; select one column")
    return list(values)


def check_lengths(rows: int, targets: int, name: str) -> None:
    """Check that there is at least one text, and one target for each.

    Args:
        rows: Number of texts.
        targets: Number of targets.
        name: Name of the argument, for messages.

    Raises:
        ValueError: There is no text, or another number of targets.
    """
    if not rows:
        raise ValueError(f"{name}: found 0 sample(s), expected at least one text with a target")
    if rows != targets:
        raise ValueError(f"{name}: found {rows} texts and {targets} targets, expected one target for each text")


def check_distinct(count: int) -> None:
    """Check that there are enough different samples to hold out a dev set.

    Args:
        count: Number of different samples.

    Raises:
        ValueError: There are fewer than two.
    """
    if count < 2:
        raise ValueError(
            "X: found only one sample, or only copies of one sample; pass different samples, or a dev set: dev=(X, y)"
        )


def check_target(y: Any, estimator: RunEstimator) -> Any:
    """Check that y was passed.

    Args:
        y: The target.
        estimator: The estimator, for messages.

    Returns:
        The target as a sequence with a length.

    Raises:
        ValueError: y is None.
    """
    if y is None:
        name = type(estimator).__name__
        raise ValueError(f"{name} requires y to be passed, but the target y is None; pass one target for each text")
    return y if hasattr(y, "__len__") else np.asarray(y)


def check_dev_pair(dev: Any) -> tuple[Any, Any]:
    """Check that a dev set is a pair.

    Args:
        dev: The dev set.

    Returns:
        The texts and the targets.

    Raises:
        TypeError: `dev` is not a pair.
    """
    if not isinstance(dev, tuple | list) or len(dev) != 2:
        raise TypeError(f"dev: found {_kind(dev)}, expected a pair of texts and targets: dev=(X, y)")
    return dev[0], dev[1]


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"
