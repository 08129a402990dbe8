"""Load a model and predict with it. Nothing here imports training code."""

from __future__ import annotations

from pathlib import Path

from nlp_app.core.errors import SettingsError, did_you_mean
from nlp_app.inference.classifier import Classifier
from nlp_app.inference.fork_safety import use_one_thread_in_forked_children
from nlp_app.inference.tagger import Tagger
from nlp_app.models import read_model
from nlp_app.models.hub import download, is_hub_name
from nlp_app.nn.precision import PRECISIONS, compute_type

__all__ = ["Classifier", "Tagger", "load"]

use_one_thread_in_forked_children()


def load(path: str | Path, *, precision: str = "full", trust_remote_code: bool = False) -> Tagger | Classifier:
    """Load a model from a directory or from the Hugging Face Hub.

    Args:
        path: A directory that `train` wrote, or that holds a transformers model for token or sequence classification.
            If there is no directory of this name: a model on the Hub, `owner/name`.
        precision: Number format that a transformer computes in. `full`: the format of its weights. `auto`: bfloat16
            where the hardware is faster with it; scores then differ from the third digit on. `bf16`, `fp16`: this
            format.
        trust_remote_code: Whether Python code that comes with the model may run.

    Returns:
        A `Tagger` or a `Classifier`, depending on the task that the model was trained for.

    Raises:
        ModelError: If there is no model at `path`, or it is damaged.
        SettingsError: If `precision` is unknown, or is `bf16` or `fp16` for a model that is not a transformer.

    Example:
        >>> import nlp_app
        >>> tagger = nlp_app.load("runs/ner")
        >>> [(span.text, span.label) for span in tagger.tag("Anna lives in Rome")]
        [('Anna', 'PER'), ('Rome', 'LOC')]
    """
    if precision not in PRECISIONS:
        hint = did_you_mean(precision, PRECISIONS)
        raise SettingsError(f"precision: found {precision!r}, expected one of {', '.join(PRECISIONS)}{hint}")
    directory = Path(path)
    # A name without an owner is most likely a mistyped directory: few models on the Hub have one.
    if not directory.exists() and "/" in str(path) and is_hub_name(path):
        directory = download(str(path), code=trust_remote_code)
    parts = read_model(directory, trust_remote_code=trust_remote_code)
    network = parts.network
    if hasattr(network, "compute_type"):
        network.compute_type = compute_type(precision, next(network.parameters()).device)
    elif precision not in ("full", "auto"):
        raise SettingsError(
            f"{path}: precision: found {precision!r}, but the model is not a transformer; use full or auto"
        )
    return Tagger(parts) if parts.task == "ner" else Classifier(parts)
