"""Which settings a search tries, and from where to where: a small space for each kind of model.

Left out is what decides about data (formats, the dev share), what mostly costs time (layers, more epochs of small
networks), and what hardly ever matters.
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
    """Real numbers from `low` to `high`; `log`: each order of magnitude is as likely."""

    low: float
    high: float
    log: bool = False

    def including(self, given: Value) -> Interval:
        """The interval, made wide enough for a value."""
        low, high = min(self.low, given), max(self.high, given)
        return replace(self, low=low, high=high, log=self.log and low > 0)


@dataclass(frozen=True)
class Choices:
    """One of a few values."""

    values: tuple[Value, ...]

    def including(self, given: Value) -> Choices:
        """The choices, and a value if it isn't one of them."""
        return self if given in self.values else Choices((*self.values, given))


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

_OF_START = {"model.hidden_size"}  # what a model that training goes on from has decided


def search_space(settings: Settings, fixed: Collection[str]) -> dict[str, Range]:
    """What is searched: the space of `model.kind` without the settings that are fixed, such as "train.learning_rate".

    What the settings say lies in it. Raises SettingsError if nothing is left.
    """
    left_out = {*fixed, *(_OF_START if getattr(settings.model, "initial_model", "") else ())}
    space = _SPACES[getattr(settings.model, "kind")]  # noqa: B009 - each task's [model] has it, the common one doesn't
    found = {name: each for name, each in space.items() if name not in left_out}
    if not found:
        raise SettingsError("--search: found every setting fixed by --set, expected some to search over")
    return {name: found[name].including(value) for name, value in current_values(settings, found).items()}


def current_values(settings: Settings, names: Collection[str]) -> dict[str, Value]:
    """What the settings say, by names such as "train.learning_rate"."""
    tables = settings.model_dump()
    return {name: tables[name.partition(".")[0]][name.partition(".")[2]] for name in names}


def with_values(settings: S, values: Mapping[str, Value]) -> S:
    """The settings with other values, by names such as "train.learning_rate"."""
    tables = settings.model_dump()
    for name, value in values.items():
        table, _, key = name.partition(".")
        tables[table][key] = value
    return validate(type(settings), tables, "--search")
