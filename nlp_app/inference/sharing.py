"""Share models: save them to a directory or push them to the Hugging Face Hub, with a model card.

A card is the README.md of a model. Training writes it, and it is copied with the model from then on. A model without a
card gets a short one here.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from nlp_app.core.errors import ModelError
from nlp_app.core.files import temporary_directory
from nlp_app.models import LoadedParts, NumpyClassifierParts, NumpyTaggerParts, write_model
from nlp_app.models.hub import CARD, hub_errors, is_hub_name, is_repository, one_line_error

P = TypeVar("P", bound=LoadedParts)

# The scores that a card lists, in this order, with the Hub's names for them.
_METRICS = {"f1": "f1", "accuracy": "accuracy", "macro_f1": "f1", "weighted_f1": "f1", "micro_f1": "f1"}

_TASKS = {"ner": "token-classification", "cls": "text-classification"}


class HubMixin(Generic[P]):
    """Methods that save, share and load a `Tagger` or a `Classifier`."""

    parts: P

    @property
    def backend(self) -> str:
        """The library that computes the network: "numpy", or "torch". With `auto`, torch computes large calls."""
        return "numpy" if isinstance(self.parts, NumpyTaggerParts | NumpyClassifierParts) else "torch"

    @classmethod
    def from_pretrained(cls, path: str | Path, *, trust_remote_code: bool = False, backend: str = "auto") -> Self:
        """Load a model. The same as `nlp_app.load`, under the name that transformers users look for.

        Args:
            path: A model directory, or the name of a model on the Hub, `owner/name`.
            trust_remote_code: Whether Python code that comes with the model may run.
            backend: Library that computes the network: `auto`, `numpy` or `torch`.

        Returns:
            The loaded model.

        Raises:
            ModelError: If there is no model at `path`, it is damaged, or it was trained for another task.
        """
        from nlp_app.inference import load  # noqa: PLC0415 - it imports this module

        loaded = load(path, trust_remote_code=trust_remote_code, backend=backend)
        if not isinstance(loaded, cls):
            raise ModelError(f"{path}: found a {type(loaded).__name__}, expected a {cls.__name__}; use nlp_app.load")
        return loaded

    def save_pretrained(self, directory: str | Path) -> None:
        """Save the model and its card to a directory, from which `nlp_app.load` loads it.

        Args:
            directory: Created if it does not exist. Other files in it are kept.

        Raises:
            ModelError: If the model cannot be written.

        Example:
            >>> tagger.save_pretrained("models/news")
            >>> tagger = nlp_app.load("models/news")
        """
        save_pretrained(self.parts, directory)

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
        """Upload the model and its card to the Hugging Face Hub.

        Args:
            repo_id: The repository, `owner/name`. Created if it does not exist.
            private: Whether a new repository is private (None: the default of the owner's account).
            token: Access token (None: the one that is logged in).

        Returns:
            The address of the commit.

        Raises:
            ModelError: If the upload fails: a wrong name, no network, no permission, offline mode.
        """
        return push_to_hub(self.parts, repo_id, private=private, token=token)


def save_pretrained(parts: LoadedParts, directory: str | Path) -> None:
    """Save a model and its card to a directory; other files in it are kept.

    Args:
        parts: The parts of the model.
        directory: Created if it does not exist.

    Raises:
        ModelError: If the model cannot be written.
    """
    target = Path(directory)
    write_model(parts, target)
    text = parts.card or plain_card(parts)
    try:
        # A symbolic link is replaced, not followed: it may point into a cache of models.
        with temporary_directory(target / CARD) as folder:
            (folder / CARD).write_bytes(text.encode("utf-8", "surrogateescape"))
            os.replace(folder / CARD, target / CARD)
    except OSError as error:
        raise ModelError(f"{target / CARD}: can't be written: {error.strerror or error}; make room") from error


def push_to_hub(
    parts: LoadedParts,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    commit_message: str = "Upload an nlp_app model",
    endpoint: str | None = None,
) -> str:
    """Upload a model and its card to the Hugging Face Hub.

    Args:
        parts: The parts of the model.
        repo_id: The repository, `owner/name`. Created if it does not exist.
        private: Whether a new repository is private (None: the default of the owner's account).
        token: Access token (None: the one that is logged in).
        commit_message: The message of the commit.
        endpoint: The address of another Hub.

    Returns:
        The address of the commit.

    Raises:
        ModelError: If the upload fails: a wrong name, no network, no permission, offline mode.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415 - half a second, and only for the Hub

    if not isinstance(repo_id, str) or not is_repository(repo_id):
        raise ModelError(f"push_to_hub: found {repo_id!r}, expected a name on the Hub: owner/name")
    with tempfile.TemporaryDirectory(prefix="nlp_app-") as folder:
        save_pretrained(parts, folder)
        try:
            api = HfApi(endpoint=endpoint, token=token, library_name="nlp_app")
            repository = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            commit = api.upload_folder(repo_id=repository, folder_path=folder, commit_message=commit_message)
        except hub_errors() as error:
            raise ModelError(
                f"{repo_id}: not uploaded ({one_line_error(error)}); check the network, the name "
                "and the token (HF_TOKEN)"
            ) from error
    return str(commit.commit_url)


def front_matter(
    parts: LoadedParts,
    metrics: Mapping[str, Mapping[str, Any]],
    data: Mapping[str, str] | None = None,
    pretrained: str = "",
) -> str:
    """Write the metadata at the top of a card for the Hub: task, base model and scores, as YAML between `---` lines.

    No license is set: the person who shares the model chooses it.

    Args:
        parts: The parts of the model.
        metrics: The scores of each split.
        data: The name of each split's data (default: the name of the split).
        pretrained: The model that was fine-tuned; listed if it is a name on the Hub.

    Returns:
        The lines of YAML, from `---` to `---`.
    """
    from huggingface_hub import EvalResult, ModelCardData  # noqa: PLC0415

    task = _TASKS[parts.task]
    results = [
        EvalResult(
            task_type=task,
            dataset_type="custom",
            dataset_name=(data or {}).get(split, split),
            dataset_split=split,
            metric_type=kind,
            metric_name=name.replace("_", " ").replace("f1", "F1"),
            metric_value=round(float(scores[name]), 4),
        )
        for split, scores in metrics.items()
        for name, kind in _METRICS.items()
        if isinstance(scores.get(name), int | float)
    ]
    card = ModelCardData(
        library_name="nlp_app",
        pipeline_tag=task,
        tags=["nlp_app", "named-entity-recognition" if _finds_entities(parts) else task],
        base_model=pretrained if is_hub_name(pretrained) else None,
        model_name="nlp_app" if results else None,
        eval_results=results or None,
    )
    return f"---\n{card.to_yaml()}\n---\n"


def plain_card(parts: LoadedParts) -> str:
    """Write a short card for a model without one: its labels and how to use it.

    Args:
        parts: The parts of the model.

    Returns:
        The text of the card.
    """
    if parts.task == "ner":
        labels, call = parts.tag_set.labels, "tag"
    else:
        labels, call = parts.class_set.labels, "classify"
    shown = ", ".join(f"`{label}`" for label in labels[:50])
    more = f" and {len(labels) - 50:,} more" if len(labels) > 50 else ""
    return "\n".join(
        [
            f"{front_matter(parts, {})}",
            f"# A {'tagger' if parts.task == 'ner' else 'classifier'}",
            "",
            f"Labels: {shown}{more}.",
            "",
            "```python",
            "import nlp_app",
            'model = nlp_app.load("this directory")',
            f'model.{call}("...")',
            "```",
            "",
            "Its training data and its scores are not recorded.",
            "",
        ]
    )


def _finds_entities(parts: LoadedParts) -> bool:
    return parts.task == "ner" and parts.tag_set.written_scheme != "none"
