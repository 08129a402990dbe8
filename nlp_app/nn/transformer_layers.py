"""Find the layers, position limit and input embeddings of a pretrained body of any architecture."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator

from torch import nn
from transformers import PreTrainedModel

from nlp_app.core.errors import SettingsError

# Names of the table of learned positions in the architectures of transformers.
_POSITION_TABLES = ("position_embeddings", "embed_positions", "wpe")


def layer_names(body: PreTrainedModel) -> list[tuple[str, ...]]:
    """List the parameter-name prefixes of the body's embeddings and layers.

    The layers are the module list whose length is the number of layers in the configuration. The embeddings are the
    parameters before them in the base model. Parameters after them (a pooler or a final norm) and the head are not
    included. Layers that share their parameters count as one.

    Args:
        body: The pretrained model.

    Returns:
        The prefixes of the embeddings, then of each layer, the lowest layer first.

    Raises:
        SettingsError: If the body has no module list of this length.
    """
    root = _base_prefix(body)
    list_name, layers = _layer_list(body)
    path = f"{root}{list_name}".split(".")
    names = [name for name, _ in body.named_parameters() if name.startswith(root)]
    first = next(number for number, name in enumerate(names) if name.startswith(f"{root}{list_name}."))
    below = dict.fromkeys(_prefix_outside(name, path) for name in names[:first])
    return [tuple(below), *((f"{root}{list_name}.{number}.",) for number in range(len(layers)))]


def layerwise_rate_factors(network: nn.Module, decay: float, head: float, crf: float) -> dict[str, float]:
    """Compute learning-rate factors for layer-wise decay.

    The body's highest layer has the factor 1. Each layer has `decay` times the factor of the layer above, and the
    embeddings `decay` times the factor of the lowest layer.

    Args:
        network: A network with a pretrained model in `body`.
        decay: Ratio of the factors of neighboring layers; 1: no decay.
        head: Factor of the body's head and of all layers on top of the body except the CRF.
        crf: Factor of the parameters in `crf`.

    Returns:
        Factors by prefix of the names of trainable parameters; parameters without a matching prefix have the factor 1.

    Raises:
        SettingsError: If `decay` is not 1 and the body's layers cannot be found.
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
            part = _prefix(name, 1)
            factors[part] = crf if part == "crf." else head
        elif root and not name.startswith(f"body.{root}"):
            factors[_prefix(name, 2)] = head
    return {prefix: factor for prefix, factor in factors.items() if _any_starts(trainable, prefix)}


def freeze_layers(network: nn.Module, layers: int) -> None:
    """Freeze the body's embeddings and lowest layers.

    Args:
        network: A network with a pretrained model in `body`.
        layers: Number of layers to freeze, in addition to the embeddings; 0: freeze nothing.

    Raises:
        SettingsError: If the body has fewer layers, or its layers cannot be found.
    """
    if layers == 0:
        return
    body: PreTrainedModel = network.body  # type: ignore[assignment]
    levels = layer_names(body)
    if not 0 <= layers < len(levels):
        raise SettingsError(
            f"model.frozen_layers: found {layers}, expected 0 to {len(levels) - 1}, the number of the model's layers"
        )
    frozen = tuple(prefix for prefixes in levels[: layers + 1] for prefix in prefixes)
    for name, parameter in body.named_parameters():
        if name.startswith(frozen):
            parameter.requires_grad_(False)


def position_limit(body: PreTrainedModel) -> int | None:
    """Determine the maximum number of subwords in a row from the tables of learned positions.

    Args:
        body: The pretrained model.

    Returns:
        The limit, or None without learned positions.
    """
    return min(_table_limits(body), default=None)


def embedding_width(body: PreTrainedModel) -> int:
    """Get the width of the body's subword embeddings.

    Args:
        body: The pretrained model.

    Returns:
        The width.

    Raises:
        SettingsError: If the body does not accept embeddings in place of subword ids.
    """
    table = _input_embeddings(body)
    if table is None:
        raise SettingsError(
            f"model.casing_embedding: found yes for a model of type {body.config.model_type!r}, which accepts only "
            "subword ids as input, not embeddings; set it to no"
        )
    return table.embedding_dim


def takes_embeddings(body: PreTrainedModel) -> bool:
    """Check if the body accepts modified subword embeddings in place of subword ids.

    Args:
        body: The pretrained model.

    Returns:
        True if it accepts embeddings.
    """
    return _input_embeddings(body) is not None


def _input_embeddings(body: PreTrainedModel) -> nn.Embedding | None:
    """Get the table of subword embeddings; None if the body accepts only subword ids."""
    # In an encoder-decoder, the decoder needs the subword ids themselves.
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
            # RoBERTa and similar models number positions from the padding index plus one, BART from an offset.
            skipped = getattr(module, "offset", 0) if module.padding_idx is None else module.padding_idx + 1
            yield module.num_embeddings - skipped


def _base_prefix(body: PreTrainedModel) -> str:
    """Get the prefix of the base model's parameter names: for example "bert.", or "" if the body has no head."""
    return "" if body.base_model is body else f"{body.base_model_prefix}."


def _layer_list(body: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    config = body.config
    # In ALBERT, the layers of a group share their parameters, so the list has one entry per group.
    sizes = {getattr(config, "num_hidden_groups", None) or getattr(config, "num_hidden_layers", None)}
    for name, module in body.base_model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) in sizes:
            return name, module
    raise SettingsError(
        f"model.pretrained: found no list of layers in a model of type {config.model_type!r}; "
        "set train.layerwise_lr_decay to 1 and model.frozen_layers to 0"
    )


def _prefix_outside(name: str, path: list[str]) -> str:
    """Get the shortest prefix of a parameter's name that is not also a prefix of the path."""
    parts = name.split(".")
    common = 0
    while common < len(path) and parts[common] == path[common]:
        common += 1
    return _prefix(name, common + 1)


def _prefix(name: str, depth: int) -> str:
    parts = name.split(".")
    return ".".join(parts[:depth]) + ("." if len(parts) > depth else "")


def _any_starts(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)
