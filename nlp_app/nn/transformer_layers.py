"""The layers of a pretrained body, found whatever its architecture: which are low, which high; and how long a row."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator

from torch import nn
from transformers import PreTrainedModel

from nlp_app.core.errors import SettingsError

# How architectures call the table of learned positions.
_POSITION_TABLES = ("position_embeddings", "embed_positions", "wpe")


def layer_names(body: PreTrainedModel) -> list[tuple[str, ...]]:
    """Prefixes of the names of the body's parameters: of its embeddings, then of each layer, the lowest first.

    The layers are the module list of as many entries as the configuration says there are layers; embeddings are what
    comes before them in the base model. What comes after, a pooler or a last norm, and the head are in none. Layers
    that share their parameters are one. Raises SettingsError where there is no such list.
    """
    root = _base_prefix(body)
    place, layers = _layer_list(body)
    path = f"{root}{place}".split(".")
    names = [name for name, _ in body.named_parameters() if name.startswith(root)]
    first = next(number for number, name in enumerate(names) if name.startswith(f"{root}{place}."))
    below = dict.fromkeys(_beside(name, path) for name in names[:first])
    return [tuple(below), *((f"{root}{place}.{number}.",) for number in range(len(layers)))]


def layerwise_rate_factors(network: nn.Module, decay: float, head: float, crf: float) -> dict[str, float]:
    """Factors on the learning rate by prefixes of the names of the network's trainable parameters.

    `network` has a body in `body`. Its highest layer gets 1, each below `decay` times the one above, the embeddings the
    least; its head and what stands on it get `head`, but `crf.` gets `crf`. Raises SettingsError where `decay` is not 1
    and the layers can't be told apart.
    """
    body: PreTrainedModel = network.body  # type: ignore[assignment]
    factors: dict[str, float] = {}
    if decay != 1:
        levels = layer_names(body)
        for level, prefixes in enumerate(levels):
            factors |= {f"body.{prefix}": decay ** (len(levels) - 1 - level) for prefix in prefixes}
    root = _base_prefix(body)
    trainable = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    for name in trainable:
        if not name.startswith("body."):
            part = _upto(name, 1)
            factors[part] = crf if part == "crf." else head
        elif root and not name.startswith(f"body.{root}"):
            factors[_upto(name, 2)] = head
    return {prefix: factor for prefix, factor in factors.items() if _any_starts(trainable, prefix)}


def freeze_layers(network: nn.Module, layers: int) -> None:
    """Train neither the body's embeddings nor its `layers` lowest layers; 0: train all.

    Raises SettingsError if there are fewer, or if they can't be told apart.
    """
    if layers == 0:
        return
    body: PreTrainedModel = network.body  # type: ignore[assignment]
    levels = layer_names(body)
    if not 0 <= layers < len(levels):
        raise SettingsError(f"freeze: found {layers}, expected 0 to {len(levels) - 1}, the layers that the model has")
    frozen = tuple(prefix for prefixes in levels[: layers + 1] for prefix in prefixes)
    for name, parameter in body.named_parameters():
        if name.startswith(frozen):
            parameter.requires_grad_(False)


def position_limit(body: PreTrainedModel) -> int | None:
    """The most pieces that a row may have: those that the tables of learned positions reach; None: any number."""
    return min(_table_limits(body), default=None)


def embedding_width(body: PreTrainedModel) -> int:
    """The width of the vectors of pieces that the body reads. Raises SettingsError if it takes none but its own."""
    table = _table_of_pieces(body)
    if table is None:
        raise SettingsError(
            f"model.casing_embedding: found yes for a model of type {body.config.model_type!r}, which takes no "
            "embeddings of pieces but its own; give no"
        )
    return table.embedding_dim


def takes_embeddings(body: PreTrainedModel) -> bool:
    """Whether pieces can be given to the body as vectors, those of its own table changed."""
    return _table_of_pieces(body) is not None


def _table_of_pieces(body: PreTrainedModel) -> nn.Embedding | None:
    """The table of vectors of pieces that may be given instead of pieces; None if the body insists on pieces."""
    # A decoder beside the encoder reads the pieces themselves too.
    if "inputs_embeds" not in inspect.signature(body.forward).parameters or body.config.is_encoder_decoder:
        return None
    try:
        table = body.get_input_embeddings()
    except NotImplementedError:
        return None
    return table if isinstance(table, nn.Embedding) else None


def _table_limits(body: PreTrainedModel) -> Iterator[int]:
    for name, module in body.base_model.named_modules():
        if name.rpartition(".")[2] in _POSITION_TABLES and isinstance(module, nn.Embedding):
            # RoBERTa and its kin count positions from the padding's number plus one, BART from an offset.
            skipped = getattr(module, "offset", 0) if module.padding_idx is None else module.padding_idx + 1
            yield module.num_embeddings - skipped


def _base_prefix(body: PreTrainedModel) -> str:
    """What the names of the base model's parameters begin with: "bert.", or nothing where the body has no head."""
    return "" if body.base_model is body else f"{body.base_model_prefix}."


def _layer_list(body: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    config = body.config
    # ALBERT's layers share the parameters of one group or a few.
    sizes = {getattr(config, "num_hidden_groups", None) or getattr(config, "num_hidden_layers", None)}
    for name, module in body.base_model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) in sizes:
            return name, module
    raise SettingsError(
        f"model.pretrained: found no list of layers in a model of type {config.model_type!r}; "
        "leave train.layerwise_lr_decay at 1 and model.frozen_layers at 0"
    )


def _beside(name: str, path: list[str]) -> str:
    """The shortest prefix of a parameter's name that is not one of the path too."""
    parts = name.split(".")
    common = 0
    while common < len(path) and parts[common] == path[common]:
        common += 1
    return _upto(name, common + 1)


def _upto(name: str, depth: int) -> str:
    parts = name.split(".")
    return ".".join(parts[:depth]) + ("." if len(parts) > depth else "")


def _any_starts(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)
