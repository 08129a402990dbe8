"""Training run of an estimator, in a temporary directory. Importing this module imports torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nlp_app.config import ClassificationSettings, Settings, TaggingSettings
from nlp_app.core.errors import NlpAppError
from nlp_app.engine.random_state import random_state, set_random_state
from nlp_app.inference import Classifier, Tagger, load
from nlp_app.training import train_cls, train_ner


def train(
    settings: Settings, files: Mapping[str, Iterable[Mapping[str, Any]]], quiet: bool
) -> tuple[Classifier | Tagger, dict[str, Any]]:
    """Train a model in a temporary directory.

    The state of the global random generators of Python, NumPy and torch is restored afterwards.

    Args:
        settings: The settings of the run.
        files: Training examples as JSON objects, `X`, and optionally dev examples, `dev`. Without `dev`, a dev set is
            held out from `X`.
        quiet: Show no progress.

    Returns:
        The model, and its scores on dev; none without a dev set (`dev_share=0`).

    Raises:
        NlpAppError: Training failed; messages name `X` or `dev` as the file.
    """
    initial_state = random_state()
    with TemporaryDirectory(prefix="nlp_app-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        for key, rows in files.items():
            with open(directory / key, "w", encoding="utf-8", newline="\n") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
        paths = {"train": str(directory / "X"), "dev": str(directory / "dev") if "dev" in files else ""}
        settings = settings.model_copy(
            update={"data": settings.data.model_copy(update=paths | {"format": "jsonl"})},
        )
        try:
            scores = _train(settings, directory / "run", quiet).get("dev", {})
            return load(directory / "run", backend="torch"), scores
        except NlpAppError as error:  # "X:3: found ..." instead of the path of a temporary file
            raise type(error)(str(error).replace(f"{directory}/", "")) from error
        finally:
            set_random_state(*initial_state)


def _train(settings: Settings, output: Path, quiet: bool) -> dict[str, Any]:
    if isinstance(settings, ClassificationSettings):
        return train_cls(settings, output, quiet=quiet)
    if isinstance(settings, TaggingSettings):
        return train_ner(settings, output, quiet=quiet)
    raise TypeError(f"found {type(settings).__name__}, expected ClassificationSettings or TaggingSettings")
