"""Models for others: a directory or a repository of the Hugging Face Hub, with the card.

A card is the model's README.md. Training writes it; from then on it goes where the model goes. A model without one gets
a short one here.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from nlp_app.core.errors import ModelError
from nlp_app.core.files import temporary_directory
from nlp_app.models import AnyParts, write_model
from nlp_app.models.hub import CARD, hub_errors, is_hub_name, is_repository, one_line_error

P = TypeVar("P", bound=AnyParts)

# What a card names first, where a score has it, and what the Hub calls it.
_METRICS = {"f1": "f1", "accuracy": "accuracy", "macro_f1": "f1", "weighted_f1": "f1", "micro_f1": "f1"}

_TASKS = {"ner": "token-classification", "cls": "text-classification"}


class HubMixin(Generic[P]):
    """What a tagger and a classifier have in common: ways to others and back."""

    parts: P

    @classmethod
    def from_pretrained(cls, path: str | Path, *, trust_remote_code: bool = False) -> Self:
        """`nlp_app.load`, for those who look for it here. Raises ModelError for a model of the other task too."""
        from nlp_app.inference import load  # noqa: PLC0415 - it imports this module

        loaded = load(path, trust_remote_code=trust_remote_code)
        if not isinstance(loaded, cls):
            raise ModelError(f"{path}: found a {type(loaded).__name__}, expected a {cls.__name__}; use nlp_app.load")
        return loaded

    def save_pretrained(self, directory: str | Path) -> None:
        """Write the model and its card into a directory, from which `nlp_app.load` reads it."""
        save_pretrained(self.parts, directory)

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
        """Put the model and its card into a repository of the Hugging Face Hub, `owner/name`, which is made if need be;
        the address of what was put there."""
        return push_to_hub(self.parts, repo_id, private=private, token=token)


def save_pretrained(parts: AnyParts, directory: str | Path) -> None:
    """Write the model and its card; other files there stay. Raises ModelError if they can't be written."""
    place = Path(directory)
    write_model(parts, place)
    text = parts.card or plain_card(parts)
    try:
        # A link is replaced, not followed: it may lead into a cache of models.
        with temporary_directory(place / CARD) as folder:
            (folder / CARD).write_bytes(text.encode("utf-8", "surrogateescape"))
            os.replace(folder / CARD, place / CARD)
    except OSError as error:
        raise ModelError(f"{place / CARD}: can't be written: {error.strerror or error}; make room") from error


def push_to_hub(
    parts: AnyParts,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    commit_message: str = "A model of nlp_app",
    endpoint: str | None = None,
) -> str:
    """Upload the model and its card to the Hub, into a repository that is made if need be; the commit's address.

    private: whether a new repository is (None: as the owner's account has it); token: instead of the one that is logged
    in; endpoint: another Hub. Raises ModelError if that can't be done: no network, no right, offline.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415 - half a second, and only for the Hub

    if not isinstance(repo_id, str) or not is_repository(repo_id):
        raise ModelError(f"push_to_hub: found {repo_id!r}, expected a name on the Hub: owner/name")
    with tempfile.TemporaryDirectory(prefix="nlp_app-") as aside:
        save_pretrained(parts, aside)
        try:
            api = HfApi(endpoint=endpoint, token=token, library_name="nlp_app")
            repository = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            commit = api.upload_folder(repo_id=repository, folder_path=aside, commit_message=commit_message)
        except hub_errors() as error:
            raise ModelError(
                f"{repo_id}: not uploaded ({one_line_error(error)}); check the network, the name "
                "and the token (HF_TOKEN)"
            ) from error
    return str(commit.commit_url)


def front_matter(
    parts: AnyParts,
    metrics: Mapping[str, Mapping[str, Any]],
    data: Mapping[str, str] | None = None,
    pretrained: str = "",
) -> str:
    """What stands at a card's top for the Hub: the kind of model, what it was made of and its scores, as YAML between
    lines of `---`. A license is not named: that is for whoever shares the model.

    metrics: the scores of each split; data: what each split's data is called, the split's name where there is none;
    pretrained: the model that was fine-tuned, named if it is one of the Hub.
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


def plain_card(parts: AnyParts) -> str:
    """A card for a model that has none: what it finds and how to use it."""
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
            "What it was trained on and how good it is isn't known here.",
            "",
        ]
    )


def _finds_entities(parts: AnyParts) -> bool:
    return parts.task == "ner" and parts.tag_set.written_scheme != "none"
