"""Build pretrained networks, load their weights, and name their labels."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.initialization import no_init_weights

from nlp_app.core.errors import ModelError
from nlp_app.models.transformers.checkpoint import _SPARE, MAX_WINDOW, _attempt, silence_transformers
from nlp_app.nn.transformer_layers import position_limit

CLASSES: Mapping[str, Any] = {
    "base": AutoModel,
    "token": AutoModelForTokenClassification,
    "sequence": AutoModelForSequenceClassification,
}

_HEADS = {"base": "any use", "token": "token classification", "sequence": "sequence classification"}

_PROBLEMS: Final[Mapping[bool | None, Any]] = {
    None: None,
    False: "single_label_classification",
    True: "multi_label_classification",
}


class LoadedBody(NamedTuple):
    """A network with the weights of a checkpoint.

    Attributes:
        body: The network.
        taken: Tensors that were loaded.
        left: Tensors of the checkpoint that the network doesn't have.
        missing: Tensors of the network that were initialized instead of loaded.
        reshaped: Those among `missing` that have another shape in the checkpoint.
    """

    body: PreTrainedModel
    taken: tuple[str, ...]
    left: tuple[str, ...]
    missing: tuple[str, ...]
    reshaped: tuple[str, ...]


def build_body(config: PreTrainedConfig, kind: str, trust_remote_code: bool = False) -> PreTrainedModel:
    """Build a network without loading its weights: they are arbitrary.

    Args:
        config: The configuration.
        kind: `base`: without a head and a pooler. `token`, `sequence`: with transformers' head for the labels that the
            configuration names.
        trust_remote_code: Whether the model's own code may run.

    Returns:
        The network.

    Raises:
        ModelError: If transformers can't build it.
    """

    # Built on its final device: buffers that aren't in a checkpoint (positions, for example) are computed now.
    def build() -> PreTrainedModel:
        with silence_transformers(), no_init_weights():
            body: PreTrainedModel = CLASSES[kind].from_config(
                config, trust_remote_code=trust_remote_code, **_options(config, kind)
            )
            body.tie_weights()  # skipped together with the initialization
        return body

    return _attempt(f"a {config.model_type} for {_HEADS[kind]}", build, "transformers can't build it")


def load_body(
    config: PreTrainedConfig, kind: str, weights: Mapping[str, Tensor], trust_remote_code: bool = False
) -> LoadedBody:
    """Build a network and load a checkpoint's weights; missing ones are initialized.

    Prefixes and old names that transformers knows are converted.

    Args:
        config: The configuration.
        kind: As for `build_body`.
        weights: The tensors of a checkpoint by name.
        trust_remote_code: Whether the model's own code may run.

    Returns:
        The network and the names of the tensors that were loaded, missing or left over.

    Raises:
        ModelError: If the weights can't be loaded, or are far too few for the configuration.
    """
    empty = build_skeleton_body(config, kind, trust_remote_code)
    network_class = type(empty)
    # Missing weights are initialized. A damaged configuration must not ask for more memory than there is.
    needed = sum(tensor.numel() for tensor in (*empty.parameters(), *empty.buffers()))
    held = sum(tensor.numel() for tensor in weights.values())
    if needed > 4 * held + _SPARE:
        raise ModelError(
            f"a {config.model_type} for {_HEADS[kind]}: found a configuration of {needed:,} numbers and weights of "
            f"{held:,}; they don't belong together: copy both from one model"
        )

    def load() -> LoadedBody:
        body: PreTrainedModel
        info: dict[str, Any]
        options = _options(config, kind)
        with silence_transformers():
            body, info = network_class.from_pretrained(  # type: ignore[misc]
                None, config=config, state_dict=dict(weights), dtype=torch.float32, output_loading_info=True,
                ignore_mismatched_sizes=True, **options,
            )  # fmt: skip
        other_shape = {name for name, *_ in info["mismatched_keys"]}
        missing = sorted({*info["missing_keys"], *other_shape})
        taken = [name for name in body.state_dict() if name not in missing]
        left = tuple(sorted(info["unexpected_keys"]))
        return LoadedBody(body, tuple(taken), left, tuple(missing), tuple(sorted(other_shape)))

    return _attempt(f"a {config.model_type} for {_HEADS[kind]}", load, "its weights can't be loaded")


def build_skeleton_body(config: PreTrainedConfig, kind: str, trust_remote_code: bool = False) -> PreTrainedModel:
    """Build a network without memory (on the meta device), to get its class, names and shapes.

    Args:
        config: The configuration.
        kind: `base`: without a head and a pooler. `token`, `sequence`: with transformers' head for the labels that the
            configuration names.
        trust_remote_code: Whether the model's own code may run.

    Returns:
        The network.

    Raises:
        ModelError: If transformers can't build it.
    """
    with torch.device("meta"):
        return build_body(config, kind, trust_remote_code)


def label_rows(config: PreTrainedConfig, kind: str, trust_remote_code: bool = False) -> set[str]:
    """List the head's tensors with one row per label: their shape changes with the number of labels.

    Args:
        config: The configuration.
        kind: `base`: without a head and a pooler. `token`, `sequence`: with transformers' head for the labels that the
            configuration names.
        trust_remote_code: Whether the model's own code may run.

    Returns:
        The names of the tensors.
    """
    config = copy.deepcopy(config)
    shapes = []
    for count in (2, 3):
        set_labels(config, [f"{number}" for number in range(count)])
        network = build_skeleton_body(config, kind, trust_remote_code)
        shapes.append({name: tensor.shape for name, tensor in network.state_dict().items()})
    return {name for name, shape in shapes[0].items() if shapes[1][name] != shape}


def label_names(config: PreTrainedConfig) -> list[str]:
    """List the names of the head's rows, in their order.

    Args:
        config: The configuration, with names in `id2label`.

    Returns:
        The names.

    Raises:
        ModelError: If the ids in `id2label` have gaps.
    """
    names: dict[Any, Any] = dict(config.id2label or {})
    if sorted(names) != list(range(len(names))):
        raise ModelError(f"id2label: found the numbers {sorted(names)[:20]}, expected 0 to {len(names) - 1}")
    return [str(names[number]) for number in range(len(names))]


def set_labels(config: PreTrainedConfig, labels: Sequence[str], multi_label: bool | None = None) -> None:
    """Name the head's rows.

    Args:
        config: The configuration to change.
        labels: A name for each row.
        multi_label: Whether a text may have several labels (None: the labels are for tokens).
    """
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    config.problem_type = _PROBLEMS[multi_label]


def max_window(network: PreTrainedModel) -> int:
    """Find the highest number of subwords in a window.

    Args:
        network: The pretrained network.

    Returns:
        The number of its positions, but 512 if it has more or if its positions are relative.
    """
    limit, positions = position_limit(network), getattr(network.config, "max_position_embeddings", None)
    if limit is not None and isinstance(positions, int) and positions > 0:
        limit = min(limit, positions)  # some tables have rows that no position uses
    return min(limit or MAX_WINDOW, MAX_WINDOW)


def _options(config: PreTrainedConfig, kind: str) -> dict[str, Any]:
    """Options that leave out the pooler, which only transformers' own heads use."""
    networks = AutoModel._model_mapping
    network: Any = networks[type(config)] if kind == "base" and type(config) in networks else None
    has_choice = inspect.isclass(network) and "add_pooling_layer" in inspect.signature(network).parameters
    return {"add_pooling_layer": False} if has_choice else {}
