"""Load a pretrained model to fine-tune: from a directory or the Hub, with its weights arranged for our labels."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from nlp_app.core.errors import ModelError, SettingsError
from nlp_app.features.subwords.tokenizer import SubwordTokenizer
from nlp_app.models import hub
from nlp_app.models.transformers.body import (
    LoadedBody,
    build_skeleton_body,
    label_names,
    label_rows,
    load_body,
    max_window,
    set_labels,
)
from nlp_app.models.transformers.checkpoint import Checkpoint, open_checkpoint
from nlp_app.nn.partial_loading import PartialLoad

_POOLER = "pooler"  # may be missing: models that were pretrained on subwords only have none


@dataclass(frozen=True, kw_only=True)
class Pretrained(Checkpoint):
    """A pretrained checkpoint; its weights are not loaded yet.

    Attributes:
        name: Its directory or name on the Hub, as the user gave it.
        tokenizer: Its tokenizer.
        files: Contents by name of the files that transformers needs for the tokenizer in addition to `tokenizer.json`,
            and of the model's own code, if any.
    """

    name: str
    tokenizer: SubwordTokenizer
    files: Mapping[str, bytes]


def read_pretrained(name: str, *, trust_remote_code: bool = False) -> Pretrained:
    """Read the configuration and tokenizer of a pretrained model.

    Args:
        name: A local directory. Otherwise a model's name on the Hub.
        trust_remote_code: Whether Python code that comes with the model may run.

    Returns:
        The checkpoint.

    Raises:
        SettingsError: If there is no model of this name (offline: not in the cache), transformers doesn't know its
            type, or its tokenizer is missing or not a fast one.
    """
    with _as_setting():
        checkpoint = open_checkpoint(_directory_of(name, code=trust_remote_code), trust_remote_code)
        tokenizer, files = checkpoint.read_tokenizer()
        return Pretrained(
            directory=checkpoint.directory,
            config=checkpoint.config,
            trust_remote_code=trust_remote_code,
            name=name,
            tokenizer=tokenizer,
            files=files,
        )


def _directory_of(name: str, code: bool) -> Path:
    """Find the local directory, or download the model from the Hub; with its Python code if `code`."""
    directory = Path(name)
    if directory.is_dir():
        return directory
    if not hub.is_hub_name(name):
        problem = "is a file" if directory.exists() else "no such directory"
        raise ModelError(f"{name}: {problem}; expected a directory with a pretrained model, or a name on the Hub")
    return hub.download(name, code=code)


def max_window_of_body(pretrained: Pretrained) -> int:
    """Find the highest number of subwords in a window.

    Args:
        pretrained: The checkpoint.

    Returns:
        The number of the model's positions, 512 at most.

    Raises:
        SettingsError: If transformers can't build the model.
    """
    with _as_setting():
        return max_window(build_skeleton_body(pretrained.config, "base", pretrained.trust_remote_code))


def make_body(
    pretrained: Pretrained,
    kind: str,
    labels: Sequence[str],
    multi_label: bool = False,
    new_head: bool = False,
    partial: bool = False,
) -> tuple[PreTrainedModel, PartialLoad]:
    """Build a network with the checkpoint's weights, in training mode.

    If the checkpoint has a head for the same labels, its rows are reordered to match `labels` and used.

    Args:
        pretrained: The checkpoint.
        kind: `token` or `sequence`: with a head of one row per label. `base`: without a head.
        labels: The labels.
        multi_label: Whether a text may have several labels.
        new_head: Initialize a new head, even if the checkpoint has one.
        partial: Allow the checkpoint to lack weights of the body; they are initialized.

    Returns:
        The network, and the names of the tensors that were loaded, missing or left over.

    Raises:
        SettingsError: If the checkpoint lacks weights of the body (unless `partial`), or has a head for other labels
            (unless `new_head`).
    """
    with _as_setting():
        config = copy.deepcopy(pretrained.config)
        checkpoint_labels = label_names(config)
        set_labels(config, labels, multi_label if kind == "sequence" else None)
        weights = pretrained.read_weights()
        heads = [] if kind == "base" else _heads(pretrained, config, kind, weights)
        discarded = [name for name in weights if name in _head_names(config, kind, pretrained)] if new_head else []
        dropped = {name: weights.pop(name) for name in discarded} if heads else {}
        for head in () if dropped else heads:
            weights[head] = _in_order(pretrained, head, weights[head], (checkpoint_labels, labels))
        loaded = load_body(config, kind, weights, pretrained.trust_remote_code)
        if not partial:
            _check_body(pretrained, loaded)
        left = tuple(sorted({*loaded.left, *dropped}))
        return loaded.body.train(), PartialLoad(loaded.taken, left, loaded.missing, loaded.reshaped)


def _heads(pretrained: Pretrained, config: PreTrainedConfig, kind: str, weights: Mapping[str, Tensor]) -> list[str]:
    """List the checkpoint's tensors with one row per label."""
    return sorted(label_rows(config, kind, pretrained.trust_remote_code) & weights.keys())


def _head_names(config: PreTrainedConfig, kind: str, pretrained: Pretrained) -> set[str]:
    """List all tensors of the head, including those without one row per label."""
    network = build_skeleton_body(config, kind, pretrained.trust_remote_code)
    body = f"{network.base_model_prefix}."
    return {name for name in network.state_dict() if not name.startswith(body)}


def _in_order(pretrained: Pretrained, head: str, tensor: Tensor, labels: tuple[Sequence[str], Sequence[str]]) -> Tensor:
    """Reorder the rows of a head from the checkpoint's labels to ours."""
    theirs, ours = labels
    if sorted(theirs) != sorted(ours) or len(tensor) != len(theirs):
        only = [
            _format_names([name for name in one if name not in other])
            for one, other in ((theirs, ours), (ours, theirs))
        ]
        raise ModelError(
            f"{pretrained.name}: its head has {len(tensor)} rows for {len(theirs)} labels, the data has "
            f"{len(ours)}; only in the model: {only[0]}; only in the data: {only[1]}; set model.replace_head = true "
            "to train a new one"
        )
    return tensor[torch.tensor([theirs.index(label) for label in ours])]


def _check_body(pretrained: Pretrained, loaded: LoadedBody) -> None:
    """Raise ModelError if weights of the body, and not just of the head, are missing."""
    body = loaded.body
    prefix = "" if body.base_model is body else f"{body.base_model_prefix}."
    missing = [name for name in loaded.missing if name.startswith(prefix) and _POOLER not in name.split(".")]
    if missing:
        count = sum(name.startswith(prefix) for name in body.state_dict())
        raise ModelError(
            f"{pretrained.name}: found no fitting weights for {len(missing)} of the {count} tensors of the body "
            f"({_format_names(missing)}); expected a complete pretrained {body.config.model_type}; use another model, "
            "or set model.allow_missing_weights = true to initialize them"
        )


def _format_names(names: Sequence[str], limit: int = 5) -> str:
    return (
        ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
        if names
        else "none"
    )


@contextmanager
def _as_setting() -> Iterator[None]:
    """Turn ModelError into SettingsError: the problem is the value of `model.pretrained`."""
    try:
        yield
    except ModelError as error:
        raise SettingsError(f"model.pretrained: {error}") from error
