"""Pretrained bodies: build, load, label names."""

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
from nlp_app.models.transformers.checkpoint import _SPARE, LONGEST, _attempt, silence_transformers
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
    """A network with a checkpoint's weights. `missing`: what it has of its own, newly made; `left`: what the checkpoint
    has beyond it; `taken`: what both have; `reshaped`: those missing that the checkpoint has in another shape."""

    body: PreTrainedModel
    taken: tuple[str, ...]
    left: tuple[str, ...]
    missing: tuple[str, ...]
    reshaped: tuple[str, ...]


def build_body(config: PreTrainedConfig, kind: str, trust_remote_code: bool = False) -> PreTrainedModel:
    """A network of the configuration whose weights are still to be loaded: they hold anything.

    kind: `base`, without a head and a pooler; `token` or `sequence`, with transformers' head of as many labels as the
    configuration names. Raises ModelError if transformers has none.
    """

    # Built where it stays: what isn't in a checkpoint (positions, say) is computed as it is built.
    def build() -> PreTrainedModel:
        with silence_transformers(), no_init_weights():
            body: PreTrainedModel = CLASSES[kind].from_config(
                config, trust_remote_code=trust_remote_code, **_options(config, kind)
            )
            body.tie_weights()  # which is left out together with the initializing
        return body

    return _attempt(f"a {config.model_type} for {_HEADS[kind]}", build, "transformers can't build it")


def load_body(
    config: PreTrainedConfig, kind: str, weights: Mapping[str, Tensor], trust_remote_code: bool = False
) -> LoadedBody:
    """A network with these weights, whatever prefix and older names they have; what they lack is initialized."""
    empty = build_skeleton_body(config, kind, trust_remote_code)
    network_class = type(empty)
    # What a checkpoint lacks is made: a configuration alone must not ask for more memory than there is.
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
    """The network without memory: its classes, names and shapes."""
    with torch.device("meta"):
        return build_body(config, kind, trust_remote_code)


def label_rows(config: PreTrainedConfig, kind: str, trust_remote_code: bool = False) -> set[str]:
    """The names of the head's tensors that have a row for each label: those whose shape changes with their number."""
    config = copy.deepcopy(config)
    shapes = []
    for count in (2, 3):
        set_labels(config, [f"{number}" for number in range(count)])
        network = build_skeleton_body(config, kind, trust_remote_code)
        shapes.append({name: tensor.shape for name, tensor in network.state_dict().items()})
    return {name for name, shape in shapes[0].items() if shapes[1][name] != shape}


def label_names(config: PreTrainedConfig) -> list[str]:
    """What the head's rows are called, in their order. Raises ModelError for numbers with gaps."""
    names: dict[Any, Any] = dict(config.id2label or {})
    if sorted(names) != list(range(len(names))):
        raise ModelError(f"id2label: found the numbers {sorted(names)[:20]}, expected 0 to {len(names) - 1}")
    return [str(names[number]) for number in range(len(names))]


def set_labels(config: PreTrainedConfig, labels: Sequence[str], multi_label: bool | None = None) -> None:
    """Name the head's rows, and say whether several can be right for one text (None: of one token)."""
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    config.problem_type = _PROBLEMS[multi_label]


def max_window(network: PreTrainedModel) -> int:
    """The most pieces of a window: the network's positions, 512 where it has more or counts them relatively."""
    limit, positions = position_limit(network), getattr(network.config, "max_position_embeddings", None)
    if limit is not None and isinstance(positions, int) and positions > 0:
        limit = min(limit, positions)  # some tables have rows that no position uses
    return min(limit or LONGEST, LONGEST)


def _options(config: PreTrainedConfig, kind: str) -> dict[str, Any]:
    """Without the pooler, which only transformers' own heads use."""
    networks = AutoModel._model_mapping
    network: Any = networks[type(config)] if kind == "base" and type(config) in networks else None
    has_choice = inspect.isclass(network) and "add_pooling_layer" in inspect.signature(network).parameters
    return {"add_pooling_layer": False} if has_choice else {}
