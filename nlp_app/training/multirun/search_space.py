"""Search spaces: the settings that a search varies and their ranges, for each kind of model.

Not searched: settings of the data (formats, size of the dev set), settings that mostly cost time (layers, more epochs
of small networks), and settings that rarely matter.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from nlp_app.config import Settings, validate
from nlp_app.core.errors import SettingsError

Value = int | float

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class Interval:
    """A range of real numbers.

    Attributes:
        low: The lowest value.
        high: The highest value.
        log: Sample on a logarithmic scale: each order of magnitude is equally likely.
    """

    low: float
    high: float
    log: bool = False

    def including(self, value: Value) -> Interval:
        """Extend the interval to include a value.

        Args:
            value: The value.

        Returns:
            The extended interval; the scale is linear if it now starts at 0 or below.
        """
        low, high = min(self.low, value), max(self.high, value)
        return replace(self, low=low, high=high, log=self.log and low > 0)


@dataclass(frozen=True)
class Choices:
    """A few values to choose from."""

    values: tuple[Value, ...]

    def including(self, value: Value) -> Choices:
        """Add a value to the choices if it is not one of them.

        Args:
            value: The value.

        Returns:
            Choices with the value.
        """
        return self if value in self.values else Choices((*self.values, value))


Range = Interval | Choices

_TAGGER: Mapping[str, Range] = {
    "train.learning_rate": Interval(5e-4, 1e-2, log=True),
    "train.sparse_learning_rate": Interval(2e-3, 5e-2, log=True),
    "train.batch_tokens": Choices((512, 1024, 2048)),
    "model.hidden_size": Choices((32, 64, 128)),
    "model.input_dropout": Interval(0.1, 0.7),
    "model.hidden_dropout": Interval(0.0, 0.6),
    "model.feature_dropout": Interval(0.0, 0.5),
    "model.wide_dropout": Interval(0.0, 0.6),
    "model.singleton_dropout": Interval(0.1, 0.8),
}

_TRANSFORMER: Mapping[str, Range] = {
    "train.learning_rate": Interval(2e-5, 5e-4, log=True),
    "train.head_learning_rate": Interval(2e-4, 5e-3, log=True),
    "train.batch_subwords": Choices((512, 1024, 2048)),
    "train.epochs": Choices((0, 4, 8, 16)),
    "train.layerwise_lr_decay": Interval(0.7, 1.0),
    "model.dropout": Interval(0.0, 0.3),
}

_CLASSIFIER: Mapping[str, Range] = {
    "train.learning_rate": Interval(5e-4, 1e-2, log=True),
    "train.batch_size": Choices((50, 100, 200)),
}

_BAGS: Mapping[str, Range] = {
    "train.wide_learning_rate": Choices((0.0, 0.3, 1.0, 3.0, 10.0)),
    "model.hidden_size": Choices((64, 128, 256)),
    "model.ngram_dropout": Interval(0.0, 0.5),
    "model.hidden_dropout": Interval(0.2, 0.8),
}

_CONVOLUTIONS: Mapping[str, Range] = {
    "model.num_filters": Choices((64, 128, 256)),
    "model.word_dropout": Interval(0.0, 0.5),
    "model.filter_dropout": Interval(0.2, 0.8),
}

_SPACES: Mapping[str, Mapping[str, Range]] = {
    "bilstm_crf": _TAGGER,
    "transformer": _TRANSFORMER,
    "embedding_bag": {**_CLASSIFIER, **_BAGS},
    "textcnn": {**_CLASSIFIER, **_CONVOLUTIONS},
    "combined": {**_CLASSIFIER, **_BAGS, **_CONVOLUTIONS},
}

_FIXED_BY_INITIAL_MODEL = {"model.hidden_size"}


def search_space(settings: Settings, fixed: Collection[str]) -> dict[str, Range]:
    """Build the search space for the kind of model in the settings. It includes the current values.

    Args:
        settings: The settings that the search starts from.
        fixed: Names of settings that are not searched, such as "train.learning_rate".

    Returns:
        Ranges by name of setting.

    Raises:
        SettingsError: All settings are fixed.
    """
    skipped = {*fixed, *(_FIXED_BY_INITIAL_MODEL if getattr(settings.model, "initial_model", "") else ())}
    space = _SPACES[getattr(settings.model, "kind")]  # noqa: B009 - each task's [model] has it, the common one doesn't
    searched = {name: values for name, values in space.items() if name not in skipped}
    if not searched:
        raise SettingsError(
            "--search: found every setting fixed by --set, expected some to search over; remove some of --set"
        )
    return {name: searched[name].including(value) for name, value in current_values(settings, searched).items()}


def current_values(settings: Settings, names: Collection[str]) -> dict[str, Value]:
    """Read values of settings by name.

    Args:
        settings: The settings.
        names: Names such as "train.learning_rate".

    Returns:
        The values by name.
    """
    tables = settings.model_dump()
    return {name: tables[name.partition(".")[0]][name.partition(".")[2]] for name in names}


def with_values(settings: S, values: Mapping[str, Value]) -> S:
    """Replace values of settings.

    Args:
        settings: The settings.
        values: New values by name, such as "train.learning_rate".

    Returns:
        A validated copy of the settings.

    Raises:
        SettingsError: A value is not allowed.
    """
    tables = settings.model_dump()
    for name, value in values.items():
        table, _, key = name.partition(".")
        tables[table][key] = value
    return validate(type(settings), tables, "--search")
