"""Tag or classify the rows of a Ray Data dataset, on one machine or a cluster.

Each actor of a pool loads the model once and processes batches of rows. The predictions are added as columns of plain
Arrow types, so the result can be written to Parquet or JSON directly. A row with a null text gets a null prediction.
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

_CHOICE_NAMES = ("top_k", "threshold")

_IS_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)

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
    """Add a column `spans` with the labeled spans of each text.

    The column contains lists of structs with the fields `start`, `end`, `label`, `text` and `score`, in the order of
    the text. Like other transformations of Ray Data, this one is lazy: it runs when the dataset is consumed.

    Errors of the model are raised here if its directory is on this machine, and errors of columns if the schema of the
    dataset is known. Otherwise the computation fails with the same message.

    Args:
        dataset: The dataset.
        model: A directory that every node can read, or a name on the Hugging Face Hub, as for `nlp_app.load`.
        column: Name of the column with the texts.
        concurrency: Number of actors, or the smallest and the largest number.
        **options: Further options of `Dataset.map_batches`, such as `num_gpus` (the model runs on the GPU), `num_cpus`
            (threads per actor, by default 1), `batch_size` and `memory`.

    Returns:
        The dataset with the additional column.

    Raises:
        SettingsError: An option is out of range, or is one that this function sets itself.
        ModelError: The model is a classifier.
        DataError: The column of texts is missing or doesn't contain strings, or the dataset has a column `spans`.

    Example:
        >>> dataset = ray.data.read_parquet("notes.parquet")
        >>> tag_dataset(dataset, "runs/ner", concurrency=4).write_parquet("spans")
    """
    _check_model(model, "ner")
    return _map_batches(dataset, _TaggingActor, (model, column, {}), ("spans",), concurrency, options)


def classify_dataset(
    dataset: Dataset,
    model: str | Path,
    *,
    column: str = "text",
    choice: Mapping[str, Any] | None = None,
    concurrency: int | tuple[int, int] = 1,
    **options: Any,
) -> Dataset:
    """Add columns `label` and `score` with the most probable class of each text.

    With a multi-label model, or with `choice`, one column `labels` is added instead. It contains lists of structs with
    the fields `label` and `score`, best first.

    Args:
        dataset: The dataset.
        model: A directory that every node can read, or a name on the Hugging Face Hub, as for `nlp_app.load`.
        column: Name of the column with the texts.
        choice: The classes to return: `top_k`, `threshold` or both, as for `Classifier.classify`.
        concurrency: Number of actors, or the smallest and the largest number.
        **options: Further options of `Dataset.map_batches`, as for `tag_dataset`.

    Returns:
        The dataset with the additional columns.

    Raises:
        SettingsError: An option or `choice` is invalid, or an option is one that this function sets itself.
        ModelError: The model is a tagger.
        DataError: The column of texts is missing or doesn't contain strings, or the dataset has a column of the same
            name as an additional one.

    Example:
        >>> dataset = ray.data.read_parquet("reviews.parquet")
        >>> classify_dataset(dataset, "runs/cls", choice={"top_k": 3}).write_parquet("classes")
    """
    _check_choice(choice or {})
    description = _check_model(model, "cls")
    added: tuple[str, ...] = ()
    if choice or description.get("multi_label"):
        added = ("labels",)
    elif description:
        added = ("label", "score")
    return _map_batches(dataset, _ClassificationActor, (model, column, choice or {}), added, concurrency, options)


def _check_model(model: str | Path, task: str) -> Mapping[str, Any]:
    """Return the description of a model, and raise ModelError if the model is for the other task.

    The description is empty if only the nodes can read the model, or if another program has written it.
    """
    from nlp_app.models import DESCRIPTION  # noqa: PLC0415 - it imports torch
    from nlp_app.models.directory import read_description  # noqa: PLC0415

    if not (Path(model) / DESCRIPTION).is_file():
        return {}
    description = read_description(Path(model))
    if description.get("task") != task:
        problem = {
            "ner": "found a classifier, expected a tagger; use classify_dataset",
            "cls": "found a tagger, expected a classifier; use tag_dataset",
        }
        raise ModelError(f"{model}: {problem[task]}")
    return description


def _check_choice(choice: Mapping[str, Any]) -> None:
    from nlp_app.inference.classifier import validate_prediction_options  # noqa: PLC0415 - it imports torch

    for name in choice:
        if name not in _CHOICE_NAMES:
            hint = did_you_mean(name, _CHOICE_NAMES)
            raise SettingsError(f"choice: found {name!r}, expected {' or '.join(_CHOICE_NAMES)}{hint}")
    validate_prediction_options(choice.get("top_k"), choice.get("threshold"))


class _PredictionActor(ABC):
    """An actor that holds a model and adds columns with its predictions to batches."""

    def __init__(self, model: str, column: str, choice: Mapping[str, Any], threads: int, gpu: bool) -> None:
        import torch  # noqa: PLC0415 - needed in actors only

        # Use only the CPUs that are reserved for this actor; the others belong to other actors.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false" if threads == 1 else "true")
        torch.set_num_threads(threads)
        self.column, self.choice = column, choice
        self.model = self._load(model)
        if gpu:
            self.model.parts.network.to("cuda")

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Add the predictions to a batch of rows."""
        _check_columns(batch.schema, self.column)
        texts = batch[self.column].to_pylist()
        predictions = iter(self._predict([text for text in texts if text is not None]))
        columns = self._columns([None if text is None else next(predictions) for text in texts])
        _check_columns(batch.schema, self.column, columns)
        for name, values in columns.items():
            batch = batch.append_column(name, values)
        return batch

    @abstractmethod
    def _load(self, model: str) -> Any:
        """Load the model, and raise ModelError if it can't be loaded or is for the other task."""

    @abstractmethod
    def _predict(self, texts: list[str]) -> Sequence[Any]:
        """Predict the spans or classes of each text."""

    @abstractmethod
    def _columns(self, rows: list[Any]) -> dict[str, pa.Array]:
        """Convert the predictions into columns; None stands for a row without text."""


class _TaggingActor(_PredictionActor):
    def _load(self, model: str) -> Any:
        return nlp_app.Tagger.from_pretrained(model, backend="torch")

    def _predict(self, texts: list[str]) -> Sequence[Any]:
        predictions: Sequence[Any] = self.model.tag(texts)
        return predictions

    def _columns(self, rows: list[Any]) -> dict[str, pa.Array]:
        return {"spans": _lists(rows, _SPAN)}


class _ClassificationActor(_PredictionActor):
    def _load(self, model: str) -> Any:
        return nlp_app.Classifier.from_pretrained(model, backend="torch")

    def _predict(self, texts: list[str]) -> Sequence[Any]:
        predictions: Sequence[Any] = self.model.classify(texts, **self.choice)
        return predictions

    def _columns(self, rows: list[Any]) -> dict[str, pa.Array]:
        if self.model.multi_label or self.choice:
            return {"labels": _lists(rows, _LABEL)}
        return {
            field.name: pa.array([None if row is None else getattr(row, field.name) for row in rows], field.type)
            for field in _LABEL
        }


def _map_batches(
    dataset: Dataset,
    actor: type[_PredictionActor],
    arguments: tuple[str | Path, str, Mapping[str, Any]],
    added: Collection[str],
    concurrency: int | tuple[int, int],
    options: dict[str, Any],
) -> Dataset:
    """Map the dataset with a pool of actors.

    Args:
        dataset: The dataset.
        actor: The class of the actors.
        arguments: The model, the column of the texts, and the choice.
        added: The columns that will be added, as far as they are known.
        concurrency: Number of actors, or the smallest and the largest number.
        options: Further options of `Dataset.map_batches`.
    """
    wrong = options.keys() & {"fn_constructor_kwargs", "fn_constructor_args", "compute", "batch_format"}
    if wrong:
        raise SettingsError(f"{min(wrong)}: found among the options, but it is set automatically; remove it")
    model, column, choice = arguments
    schema = dataset.schema(fetch_if_missing=False)
    if schema is not None:
        _check_columns(schema, column, added)
    actor_arguments = {
        "model": str(Path(model).resolve() if Path(model).exists() else model),
        "column": column,
        "choice": dict(choice),
        "threads": max(1, int(options.get("num_cpus") or 1)),
        "gpu": bool(options.get("num_gpus")),
    }
    return dataset.map_batches(
        actor,
        fn_constructor_kwargs=actor_arguments,
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
        expected = "the number of actors, from 1, or the smallest and the largest number"
        raise SettingsError(f"concurrency: found {concurrency!r}, expected {expected}") from error


def _check_columns(schema: Any, column: str, added: Collection[str] = ()) -> None:
    """Raise DataError if the column of texts is missing or of another type, or if a column to be added exists.

    Args:
        schema: The schema of a table or a dataset, with names and types.
        column: Name of the column with the texts.
        added: Names of the columns to be added.
    """
    names = list(schema.names)
    if column not in names:
        raise DataError(
            f"the dataset: found the columns {', '.join(names)}, expected {column!r}; name the column with the texts: "
            f"column=...{did_you_mean(column, names)}"
        )
    kind = schema.types[names.index(column)]
    if isinstance(kind, pa.DataType) and not any(is_text(kind) for is_text in _IS_TEXT):
        raise DataError(f"the dataset: found {kind} in the column {column!r}, expected strings; name another column")
    for name in added:
        if name in names:
            raise DataError(
                f"the dataset: found a column {name!r}, which is needed for the results; rename it first: "
                f"dataset.rename_columns({{{name!r}: 'old_{name}'}})"
            )


def _lists(rows: Sequence[Sequence[Span | Label] | None], struct: pa.StructType) -> pa.Array:
    """Return an array with a list of structs for each row, and null for None."""
    names = [field.name for field in struct]
    values = [None if row is None else [{name: getattr(x, name) for name in names} for x in row] for row in rows]
    return pa.array(values, pa.list_(struct))
