"""Load a model and predict with it. Nothing here imports training code, and torch only where it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nlp_app.core.errors import SettingsError, did_you_mean
from nlp_app.inference.backends import check_backend, choose_backend, is_large_file, is_torch_installed, read_parts
from nlp_app.inference.classifier import Classifier
from nlp_app.inference.fork_safety import use_one_thread_in_forked_children
from nlp_app.inference.tagger import Tagger
from nlp_app.models import read_description
from nlp_app.models.hub import download, is_hub_name

__all__ = ["Classifier", "Tagger", "load"]

_PRECISIONS = ("full", "auto", "bf16", "fp16")

use_one_thread_in_forked_children()


def load(
    path: str | Path, *, precision: str = "full", trust_remote_code: bool = False, backend: str = "auto"
) -> Tagger | Classifier:
    """Load a model from a directory or from the Hugging Face Hub.

    Args:
        path: A directory that `train` wrote, or that holds a transformers model for token or sequence classification.
            If there is no directory of this name: a model on the Hub, `owner/name`.
        precision: Number format that a transformer computes in. `full`: the format of its weights. `auto`: bfloat16
            where the hardware is faster with it; scores then differ from the third digit on. `bf16`, `fp16`: this
            format.
        trust_remote_code: Whether Python code that comes with the model may run.
        backend: Library that computes the network. `numpy`: without torch, for all models but transformers: starts
            fast, and is fastest for single texts. `torch`: fastest for many texts. `auto`: NumPy, and torch for calls
            with many texts (if it is installed) and for transformers. The results are the same except for the last
            digits of scores.

    Returns:
        A `Tagger` or a `Classifier`, depending on the task that the model was trained for.

    Raises:
        ModelError: If there is no model at `path`, it is damaged, or the backend cannot compute it.
        SettingsError: If `precision` or `backend` is unknown, or `precision` is `bf16` or `fp16` for a model that is
            not a transformer.

    Example:
        >>> import nlp_app
        >>> tagger = nlp_app.load("runs/ner")
        >>> [(span.text, span.label) for span in tagger.tag("Anna lives in Rome")]
        [('Anna', 'PER'), ('Rome', 'LOC')]
    """
    if precision not in _PRECISIONS:
        hint = did_you_mean(precision, _PRECISIONS)
        raise SettingsError(f"precision: found {precision!r}, expected one of {', '.join(_PRECISIONS)}{hint}")
    check_backend(backend)
    directory = _directory(path, trust_remote_code)
    chosen = choose_backend(directory, backend)
    parts: Any = read_parts(directory, chosen, trust_remote_code)
    if hasattr(parts.network, "compute_type"):
        from nlp_app.nn.precision import compute_type  # noqa: PLC0415 - it imports torch

        parts.network.compute_type = compute_type(precision, next(parts.network.parameters()).device)
    elif precision not in ("full", "auto"):
        raise SettingsError(
            f"{path}: precision: found {precision!r}, but the model is not a transformer; use full or auto"
        )
    bulk = backend == "auto" and is_torch_installed()
    return Tagger(parts, torch_for_bulk=bulk) if parts.task == "ner" else Classifier(parts, torch_for_bulk=bulk)


def load_for_file(
    path: str | Path, source: str, *, precision: str = "full", trust_remote_code: bool = False, backend: str = "auto"
) -> Tagger | Classifier:
    """Load a model to predict all of a file: one backend computes all of it, so that it can be resumed.

    Args:
        path: As for `load`.
        source: The file; `-` for standard input.
        precision: As for `load`.
        trust_remote_code: As for `load`.
        backend: As for `load`. `auto` is torch for data sets and large files (8 MB to tag, 1 MB to classify), if it is
            installed, and NumPy for others.

    Returns:
        As `load`.

    Raises:
        ModelError: As for `load`.
        SettingsError: As for `load`.
    """
    check_backend(backend)
    directory = _directory(path, trust_remote_code)
    chosen = choose_backend(directory, backend)
    if backend == "auto" and chosen == "numpy" and is_torch_installed():
        task = str(read_description(directory).get("task"))
        chosen = "torch" if is_large_file(source, task) else "numpy"
    return load(directory, precision=precision, trust_remote_code=trust_remote_code, backend=chosen)


def _directory(path: str | Path, trust_remote_code: bool) -> Path:
    """Return the directory of a model, after downloading it if it is on the Hub."""
    directory = Path(path)
    # A name without an owner is most likely a mistyped directory: few models on the Hub have one.
    if not directory.exists() and "/" in str(path) and is_hub_name(path):
        return download(str(path), code=trust_remote_code)
    return directory
