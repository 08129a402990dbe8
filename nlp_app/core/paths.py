"""Paths of the bundled corpora and settings files, and of the cache directory."""

from __future__ import annotations

import os
from pathlib import Path

from nlp_app.core.errors import TrainingError

_PACKAGE = Path(__file__).resolve().parents[1]


def bundled_path(name: str) -> Path:
    """Locate a file that comes with the package.

    Args:
        name: Path in the repository, such as `data/ner/train.conll` or `configs/ner_bilstm_crf.toml`.

    Returns:
        The path of the file in the installed package or in the checkout.
    """
    installed = _PACKAGE / "resources" / name  # of an installed wheel
    return installed if installed.exists() else _PACKAGE.parent / name


def cache_directory() -> Path:
    """Return the directory of the cache of encoded texts.

    Returns:
        The directory in the environment variable `NLP_APP_CACHE`; by default `~/.cache/nlp_app`.

    Raises:
        TrainingError: `NLP_APP_CACHE` is not set, and there is no home directory.
    """
    directory = os.environ.get("NLP_APP_CACHE")
    try:
        return Path(directory) if directory else Path.home() / ".cache" / "nlp_app"
    except RuntimeError as error:
        raise TrainingError(
            "found no home directory for the cache of encoded texts; set NLP_APP_CACHE to a directory"
        ) from error
