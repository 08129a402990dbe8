"""Tagging and classifying the rows of a Ray Data dataset, on one machine or a cluster.

Each actor of a pool loads the model once and answers batches of rows. What it finds is added as columns of plain Arrow
types, so the result can be written to Parquet or JSON as it is. A row whose text is null has null results.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

import nlp_app
from nlp_app.core.errors import DataError, ModelError, SettingsError, did_you_mean
from nlp_app.core.types import Label, Span

try:
    from ray.data import ActorPoolStrategy, Dataset
except ImportError as error:
    raise SettingsError("nlp_app.integrations.ray: needs Ray Data; pip install 'nlp-app[ray]'") from error

__all__ = ["classify_dataset", "tag_dataset"]

_BATCH_ROWS = 1024

_CHOICES = ("top_k", "threshold")

_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)

_LABEL = pa.struct([("label", pa.string()), ("score", pa.float64())])

_SPAN = pa.struct(
    [
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("label", pa.string()),
        ("text", pa.string()),
        ("score", pa.float64()),
    ]
)


def tag_dataset(
    dataset: Dataset,
    model: str | Path,
    *,
    column: str = "text",
    concurrency: int | tuple[int, int] = 1,
    **options: Any,
) -> Dataset:
    """The dataset with a column `spans`: for each text a list of structs `start, end, label, text, score`, in order.

    model: a directory that every node can read, or a name on the Hub, for `nlp_app.load`; column: that of the texts;
    concurrency: actors, or how few and how many; options: more of `Dataset.map_batches`, such as `num_gpus` (the model
    is put on the GPU), `num_cpus` (threads of each actor, else one), `batch_size` and `memory`.

    Nothing is computed before the dataset is. Raises SettingsError for options that are set here or out of range,
    ModelError for a classifier, DataError for columns that are missing or in the way, as far as the model is in a
    directory that is there and the schema is known; else the computation fails with the same message.
    """
    _described(model, "ner")
    return _mapped(dataset, _Tagging, (model, column, {}), ("spans",), concurrency, options)


def classify_dataset(
    dataset: Dataset,
    model: str | Path,
    *,
    column: str = "text",
    choice: Mapping[str, Any] | None = None,
    concurrency: int | tuple[int, int] = 1,
    **options: Any,
) -> Dataset:
    """The dataset with columns `label` and `score`, of each text's best class.

    Of a model that finds several labels a text, and with a choice (`top_k`, `threshold` or both, as in
    `Classifier.classify`), it has instead one column `labels`: lists of structs `label, score`, best first. The rest is
    as in `tag_dataset`.
    """
    _check_choice(choice or {})
    described = _described(model, "cls")
    added: tuple[str, ...] = ()
    if choice or described.get("multi_label"):
        added = ("labels",)
    elif described:
        added = ("label", "score")
    return _mapped(dataset, _Classifying, (model, column, choice or {}), added, concurrency, options)


def _described(model: str | Path, task: str) -> Mapping[str, Any]:
    """What a directory that `train` wrote says of its model; nothing of what only the nodes know, or another program
    wrote. Raises ModelError for a model of another task."""
    from nlp_app.models import DESCRIPTION  # noqa: PLC0415 - it imports torch
    from nlp_app.models.directory import read_description  # noqa: PLC0415

    if not (Path(model) / DESCRIPTION).is_file():
        return {}
    described = read_description(Path(model))
    if described.get("task") != task:
        said = {
            "ner": "found a classifier, expected a tagger; use classify_dataset",
            "cls": "found a tagger, expected a classifier; use tag_dataset",
        }
        raise ModelError(f"{model}: {said[task]}")
    return described


def _check_choice(choice: Mapping[str, Any]) -> None:
    from nlp_app.inference.classifier import validate_prediction_options  # noqa: PLC0415 - it imports torch

    for name in choice:
        if name not in _CHOICES:
            hint = did_you_mean(name, _CHOICES)
            raise SettingsError(f"choice: found {name!r}, expected {' or '.join(_CHOICES)}{hint}")
    validate_prediction_options(choice.get("top_k"), choice.get("threshold"))


class _Predicting(ABC):
    """An actor: a model in memory, which adds columns to batches."""

    def __init__(self, model: str, column: str, choice: Mapping[str, Any], threads: int, gpu: bool) -> None:
        import torch  # noqa: PLC0415 - in actors only

        # As many threads as the actor has reserved: the other cores are its neighbors'.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false" if threads == 1 else "true")
        torch.set_num_threads(threads)
        self.column, self.choice = column, choice
        self.model = self._load(model)
        if gpu:
            self.model.parts.network.to("cuda")

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The rows with what was found in their texts."""
        _check_columns(batch.schema, self.column)
        texts = batch[self.column].to_pylist()
        found = iter(self._find([text for text in texts if text is not None]))
        columns = self._columns([None if text is None else next(found) for text in texts])
        _check_columns(batch.schema, self.column, columns)
        for name, values in columns.items():
            batch = batch.append_column(name, values)
        return batch

    @abstractmethod
    def _load(self, model: str) -> Any:
        """The model. Raises ModelError if there is none, or it is for the other task."""

    @abstractmethod
    def _find(self, texts: list[str]) -> Sequence[Any]:
        """What the model finds in each text."""

    @abstractmethod
    def _columns(self, rows: list[Any]) -> dict[str, pa.Array]:
        """Columns of what was found in each row, None where there is no text."""


class _Tagging(_Predicting):
    def _load(self, model: str) -> Any:
        return nlp_app.Tagger.from_pretrained(model)

    def _find(self, texts: list[str]) -> Sequence[Any]:
        found: Sequence[Any] = self.model.tag(texts)
        return found

    def _columns(self, rows: list[Any]) -> dict[str, pa.Array]:
        return {"spans": _lists(rows, _SPAN)}


class _Classifying(_Predicting):
    def _load(self, model: str) -> Any:
        return nlp_app.Classifier.from_pretrained(model)

    def _find(self, texts: list[str]) -> Sequence[Any]:
        found: Sequence[Any] = self.model.classify(texts, **self.choice)
        return found

    def _columns(self, rows: list[Any]) -> dict[str, pa.Array]:
        if self.model.multi_label or self.choice:
            return {"labels": _lists(rows, _LABEL)}
        return {
            field.name: pa.array([None if row is None else getattr(row, field.name) for row in rows], field.type)
            for field in _LABEL
        }


def _mapped(
    dataset: Dataset,
    actor: type[_Predicting],
    asked: tuple[str | Path, str, Mapping[str, Any]],
    added: Collection[str],
    concurrency: int | tuple[int, int],
    options: dict[str, Any],
) -> Dataset:
    """The dataset, mapped by a pool of actors; asked: the model, the column, the choice; added: the
    columns that are known to be added."""
    wrong = options.keys() & {"fn_constructor_kwargs", "fn_constructor_args", "compute", "batch_format"}
    if wrong:
        raise SettingsError(f"{min(wrong)}: found among the options, but it is set here; leave it out")
    model, column, choice = asked
    schema = dataset.schema(fetch_if_missing=False)
    if schema is not None:
        _check_columns(schema, column, added)
    given = {
        "model": str(Path(model).resolve() if Path(model).exists() else model),
        "column": column,
        "choice": dict(choice),
        "threads": max(1, int(options.get("num_cpus") or 1)),
        "gpu": bool(options.get("num_gpus")),
    }
    return dataset.map_batches(
        actor,
        fn_constructor_kwargs=given,
        compute=_pool(concurrency),
        batch_format="pyarrow",
        **{"batch_size": _BATCH_ROWS, **options},
    )


def _pool(concurrency: int | tuple[int, int]) -> ActorPoolStrategy:
    try:
        if isinstance(concurrency, int):
            return ActorPoolStrategy(size=concurrency)
        fewest, most = concurrency
        return ActorPoolStrategy(min_size=fewest, max_size=most)
    except (TypeError, ValueError) as error:
        expected = "the number of actors, from 1, or the fewest and the most of them"
        raise SettingsError(f"concurrency: found {concurrency!r}, expected {expected}") from error


def _check_columns(schema: Any, column: str, added: Collection[str] = ()) -> None:
    """Raises DataError if the column of texts is missing or of something else, or columns to be added are there.

    schema: of a table or of a dataset, with names and types
    """
    names = list(schema.names)
    if column not in names:
        raise DataError(
            f"the dataset: found the columns {', '.join(names)}, expected {column!r}; name that of the texts: "
            f"column=...{did_you_mean(column, names)}"
        )
    kind = schema.types[names.index(column)]
    if isinstance(kind, pa.DataType) and not any(is_one(kind) for is_one in _TEXTS):
        raise DataError(f"the dataset: found {kind} in the column {column!r}, expected strings; name that of the texts")
    for name in added:
        if name in names:
            raise DataError(
                f"the dataset: found a column {name!r}, which is to have the results; rename it first: "
                f"dataset.rename_columns({{{name!r}: 'old_{name}'}})"
            )


def _lists(rows: Sequence[Sequence[Span | Label] | None], struct: pa.StructType) -> pa.Array:
    """A list of structs for each row, null for None."""
    names = [field.name for field in struct]
    values = [None if row is None else [{name: getattr(x, name) for name in names} for x in row] for row in rows]
    return pa.array(values, pa.list_(struct))
