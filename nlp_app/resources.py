"""Files that come with nlp_app: the bundled corpora and settings, in a wheel or in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def bundled(name: str) -> Path:
    """The path of a file such as `data/ner/train.conll` or `configs/ner_bilstm_crf.toml`."""
    installed = _PACKAGE / name
    return installed if installed.exists() else _PACKAGE.parent / name
