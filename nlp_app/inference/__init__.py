"""Prediction: a model directory in memory. Loads no training code."""

from __future__ import annotations

from pathlib import Path

from nlp_app.core.errors import SettingsError, did_you_mean
from nlp_app.inference.classifier import Classifier
from nlp_app.inference.fork_safety import compute_alone_in_forked_children
from nlp_app.inference.tagger import Tagger
from nlp_app.models import read_model
from nlp_app.models.hub import download, is_hub_name
from nlp_app.nn.precision import PRECISIONS, compute_type

__all__ = ["Classifier", "Tagger", "load"]

compute_alone_in_forked_children()


def load(path: str | Path, *, precision: str = "full", trust_remote_code: bool = False) -> Tagger | Classifier:
    """The model in a directory, or where there is none the model of that name on the Hugging Face Hub (`owner/name`).

    A directory that `train` wrote, or one of transformers for token or sequence classification. Code that comes with a
    model is run only with `trust_remote_code`. Raises ModelError if there is no such model, or it is damaged.

    precision: what a transformer computes in: `full`, that of its weights; `auto`, bfloat16 where the hardware is
    faster in it, with scores that differ from the third digit on; `bf16`, `fp16`. Raises
    SettingsError for another name, and where a model has no transformer to which it could apply; `auto` always does.
    """
    if precision not in PRECISIONS:
        hint = did_you_mean(precision, PRECISIONS)
        raise SettingsError(f"precision: found {precision!r}, expected one of {', '.join(PRECISIONS)}{hint}")
    directory = Path(path)
    # A name without an owner is more likely a directory mistyped, and hardly a model on the Hub.
    if not directory.exists() and "/" in str(path) and is_hub_name(path):
        directory = download(str(path), code=trust_remote_code)
    parts = read_model(directory, trust_remote_code=trust_remote_code)
    network = parts.network
    if hasattr(network, "compute_type"):
        network.compute_type = compute_type(precision, next(network.parameters()).device)
    elif precision not in ("full", "auto"):
        raise SettingsError(f"{path}: precision: found {precision!r}, which is for transformers, and this is none")
    return Tagger(parts) if parts.task == "ner" else Classifier(parts)
