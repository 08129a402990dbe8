"""A pretrained model to be fine-tuned: a directory or a name on the Hub, its weights under our labels."""

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

_POOLER = "pooler"  # a body without one is whole: what was pretrained on pieces alone has none


@dataclass(frozen=True, kw_only=True)
class Pretrained(Checkpoint):
    """A checkpoint, not yet with its weights. `name` as it was given; `files` besides `tokenizer.json` that the
    tokenizer needs in transformers, and the model's own code if it has any."""

    name: str
    tokenizer: SubwordTokenizer
    files: Mapping[str, bytes]


def read_pretrained(name: str, *, trust_remote_code: bool = False) -> Pretrained:
    """The configuration and tokenizer of a local directory or, where there is none, of a model on the Hub.

    Code that comes with a model is run only with `trust_remote_code`. Raises SettingsError for a model that isn't
    there (offline: not in the cache), that transformers doesn't know, or whose tokenizer is missing or not a fast one.
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
    """The local directory of that name, or of a model on the Hub, downloaded with its Python code if `code`."""
    directory = Path(name)
    if directory.is_dir():
        return directory
    if not hub.is_hub_name(name):
        found = "is a file" if directory.exists() else "no such directory"
        raise ModelError(f"{name}: {found}; expected a directory with a pretrained model, or a name on the Hub")
    return hub.download(name, code=code)


def max_window_of_body(pretrained: Pretrained) -> int:
    """The most pieces that a window may have: the positions that the model knows, 512 at most."""
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
    """A network with the checkpoint's weights, for training, and what came of them.

    kind: `token` or `sequence`, with a head of a row for each of `labels`, or `base`, without one. A head that the
    checkpoint has for the same labels is taken, its rows in our order; with `new_head` none is.

    Raises SettingsError if the checkpoint lacks weights of the body, unless `partial` allows it, or has a head for
    other labels.
    """
    with _as_setting():
        config = copy.deepcopy(pretrained.config)
        named = label_names(config)
        set_labels(config, labels, multi_label if kind == "sequence" else None)
        weights = pretrained.read_weights()
        heads = [] if kind == "base" else _heads(pretrained, config, kind, weights)
        set_aside = [name for name in weights if name in _head_names(config, kind, pretrained)] if new_head else []
        dropped = {name: weights.pop(name) for name in set_aside} if heads else {}
        for head in () if dropped else heads:
            weights[head] = _in_order(pretrained, head, weights[head], (named, labels))
        loaded = load_body(config, kind, weights, pretrained.trust_remote_code)
        if not partial:
            _check_body(pretrained, loaded)
        left = tuple(sorted({*loaded.left, *dropped}))
        return loaded.body.train(), PartialLoad(loaded.taken, left, loaded.missing, loaded.reshaped)


def _heads(pretrained: Pretrained, config: PreTrainedConfig, kind: str, weights: Mapping[str, Tensor]) -> list[str]:
    """The checkpoint's tensors with a row for each label."""
    return sorted(label_rows(config, kind, pretrained.trust_remote_code) & weights.keys())


def _head_names(config: PreTrainedConfig, kind: str, pretrained: Pretrained) -> set[str]:
    """All tensors of the head, not only those with a row for each label."""
    network = build_skeleton_body(config, kind, pretrained.trust_remote_code)
    body = f"{network.base_model_prefix}."
    return {name for name in network.state_dict() if not name.startswith(body)}


def _in_order(pretrained: Pretrained, head: str, tensor: Tensor, labels: tuple[Sequence[str], Sequence[str]]) -> Tensor:
    """The rows of a head, one for each of the checkpoint's labels, in the order of ours."""
    found, wanted = labels
    if sorted(found) != sorted(wanted) or len(tensor) != len(found):
        only = [_some([name for name in one if name not in other]) for one, other in ((found, wanted), (wanted, found))]
        raise ModelError(
            f"{pretrained.name}: it has a head of {len(tensor)} rows for {len(found)} labels, the data has "
            f"{len(wanted)}; only in the model: {only[0]}; only in the data: {only[1]}; set model.replace_head = true "
            "to train a new one"
        )
    return tensor[torch.tensor([found.index(label) for label in wanted])]


def _check_body(pretrained: Pretrained, loaded: LoadedBody) -> None:
    """That nothing but the head is newly made."""
    body = loaded.body
    prefix = "" if body.base_model is body else f"{body.base_model_prefix}."
    own = [name for name in loaded.missing if name.startswith(prefix) and _POOLER not in name.split(".")]
    if own:
        whole = sum(name.startswith(prefix) for name in body.state_dict())
        raise ModelError(
            f"{pretrained.name}: found no fitting weights for {len(own)} of the {whole} tensors of the body "
            f"({_some(own)}); expected a whole pretrained {body.config.model_type}; name another model, or set "
            "model.allow_missing_weights = true to have them newly made"
        )


def _some(names: Sequence[str], most: int = 5) -> str:
    return (
        ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "") if names else "none"
    )


@contextmanager
def _as_setting() -> Iterator[None]:
    """What is wrong with a model to be fine-tuned is wrong with the setting that names it."""
    try:
        yield
    except ModelError as error:
        raise SettingsError(f"model.pretrained: {error}") from error
