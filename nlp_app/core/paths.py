"""Where files are: the bundled corpora and settings, in a wheel or in a checkout; what is kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

from nlp_app.core.errors import TrainingError

_PACKAGE = Path(__file__).resolve().parents[1]


def bundled_path(name: str) -> Path:
    """The path of a file such as `data/ner/train.conll` or `configs/ner_bilstm_crf.toml`."""
    installed = _PACKAGE / "resources" / name  # in a wheel
    return installed if installed.exists() else _PACKAGE.parent / name


def cache_directory() -> Path:
    """Where encoded texts are kept between runs: `NLP_APP_CACHE`, or `~/.cache/nlp_app`. Raises TrainingError where
    there is no home directory."""
    named = os.environ.get("NLP_APP_CACHE")
    try:
        return Path(named) if named else Path.home() / ".cache" / "nlp_app"
    except RuntimeError as error:
        raise TrainingError("found no home directory for encoded texts; name a directory in NLP_APP_CACHE") from error
