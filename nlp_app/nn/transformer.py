"""Tagger and text classifier on a pretrained transformers model, the body.

Shapes: B rows (windows of texts), P subwords of the longest row, L tokens of the row with the most tokens to score,
D hidden units, T tags, K classes. A token is one or more consecutive subwords. Its scores are those of its first or
last subword, or the mean over its subwords.

Without an LSTM, a CRF and a casing embedding, the tagger has no weights except the body's, so it is saved as a plain
transformers model.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_utils import remove_tied_weights_from_state_dict

from nlp_app.nn.crf.layer import LinearChainCRF
from nlp_app.nn.losses import Loss
from nlp_app.nn.lstm import BiLstm, reversal_indices
from nlp_app.nn.transformer_layers import embedding_width, position_limit

POOLINGS = ("first", "mean", "last")

HEADS = ("softmax", "crf")

_IGNORED = -100


@dataclass(frozen=True)
class TransformerDimensions:
    """Layers on top of the body.

    Attributes:
        pooling: Subwords that give a token's scores, one of `POOLINGS`.
        head: Softmax or CRF, one of `HEADS`.
        lstm: Width of one direction of a BiLSTM between body and tags; 0: none.
        dropout: Dropout rate before and after the LSTM. Without an LSTM, the body has its own dropout.
        capitals: Number of casing classes, whose vectors are added to the embeddings of a token's subwords; 0: no
            casing embedding.
    """

    pooling: str = "first"
    head: str = "softmax"
    lstm: int = 0
    dropout: float = 0.1
    capitals: int = 0


class PretrainedNetwork(nn.Module):
    """Base class of networks on a pretrained body.

    `weights` and `load_weights` use the body's own tensor names, without a prefix. `state_dict` is PyTorch's: names of
    the body start with `body.`, and a tied tensor is included under each of its names.

    Attributes:
        body: The pretrained model.
        position_limit: Maximum number of subwords in a row; None: no limit.
        compute_type: Autocast type of the body, for example bfloat16; None: the type of its weights.
    """

    def __init__(self, body: PreTrainedModel) -> None:
        super().__init__()
        self.body = body
        self.position_limit = position_limit(body)
        self.compute_type: torch.dtype | None = None

    def weights(self) -> dict[str, Tensor]:
        """Collect all tensors by name, without copying them.

        Returns:
            The body's tensors as in `body_weights`, and the tensors of the layers on top.
        """
        return {
            **body_weights(self.body),
            **{name: value for name, value in self.state_dict().items() if not name.startswith("body.")},
        }

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy weights into the network.

        Args:
            weights: Tensors by name, as returned by `weights`.

        Raises:
            ValueError: If a name is missing or unknown, or a shape differs. The network is unchanged then.
        """
        present = self.weights()
        _check_fit(weights, present)
        with torch.no_grad():
            for name, value in present.items():
                value.copy_(weights[name])

    def enable_gradient_checkpointing(self) -> None:
        """Store only the layers' inputs in training, and recompute the other activations in the backward pass.

        Raises:
            ValueError: If the body does not support gradient checkpointing.
        """
        if not self.body.supports_gradient_checkpointing:
            raise ValueError(
                f"gradient checkpointing: found a body of type {self.body.config.model_type!r}, "
                "which does not support it"
            )
        if getattr(self.body.config, "use_cache", False):
            self.body.config.use_cache = False
        # The method's name depends on the version of transformers.
        body = self.body
        enable = getattr(body, "activation_checkpointing_enable", None) or body.gradient_checkpointing_enable
        # Reentrant checkpointing computes no gradients if a layer's input requires none, as after frozen embeddings.
        # transformers therefore makes the embeddings' output require gradients, which is disabled here: the backward
        # pass would run through frozen layers too.
        enable({"use_reentrant": False})
        body.disable_input_require_grads()  # type: ignore[no-untyped-call]

    def _run(self, input_ids: Tensor, attention_mask: Tensor, added: Tensor | None = None) -> Tensor:
        """Run the body and return its first output, logits or hidden states.

        `added`, (B, P, D), is added to the subword embeddings.
        """
        width = input_ids.shape[1]
        if self.position_limit is not None and width > self.position_limit:
            raise ValueError(
                f"input_ids: found {width} subwords in a row; expected at most {self.position_limit}, "
                "the number of the model's positions"
            )
        autocast = (
            nullcontext() if self.compute_type is None else torch.autocast(input_ids.device.type, self.compute_type)
        )
        with autocast:
            if added is None:
                output: Tensor = self.body(input_ids=input_ids, attention_mask=attention_mask)[0]
            else:
                embedded = self.body.get_input_embeddings()(input_ids) + added
                output = self.body(inputs_embeds=embedded, attention_mask=attention_mask)[0]
        return output


class TransformerTagger(PretrainedNetwork):
    """Tagger on a pretrained body, with a CRF or a softmax head.

    With the softmax head, `crf` only contains constraints: its transition scores are zero, fixed and not saved. So its
    best path is the best allowed path, and its probabilities are those of independent tags, given that the path is
    allowed. The loss ignores the constraints.

    The vectors of the casing embedding start at zero, where they have no effect. The vector of class 0 (special
    subwords and padding) always stays zero.
    """

    def __init__(
        self, body: PreTrainedModel, num_tags: int, allowed: Tensor | None, dimensions: TransformerDimensions
    ) -> None:
        """Build the layers on top of the body.

        Args:
            body: A model for token classification with `num_tags` labels, or with `dimensions.lstm` a model without a
                head.
            num_tags: Number of tags, T.
            allowed: Allowed transitions, (T + 2, T + 2) bool, as for `LinearChainCRF`; None: all.
            dimensions: Layers on top of the body.

        Raises:
            SettingsError: If there is a casing embedding but the body takes no embeddings as input.
            ValueError: If a dimension is unknown, or the body has another number of labels.
        """
        super().__init__(body)
        if dimensions.pooling not in POOLINGS or dimensions.head not in HEADS:
            raise ValueError(f"dimensions: found {dimensions}; expected pooling of {POOLINGS} and head of {HEADS}")
        if not dimensions.lstm:
            _check_labels(body, num_tags)
        self.dimensions = dimensions
        self.capitals: nn.Embedding | None = None
        if dimensions.capitals:
            self.capitals = nn.Embedding(dimensions.capitals, embedding_width(body), padding_idx=0)
            nn.init.zeros_(self.capitals.weight)
        self.lstm: BiLstm | None = None
        self.tags: nn.Linear | None = None
        if dimensions.lstm:
            self.lstm = BiLstm(body.config.hidden_size, dimensions.lstm)
            self.tags = nn.Linear(2 * dimensions.lstm, num_tags)
        self.crf = (
            LinearChainCRF(num_tags, allowed) if dimensions.head == "crf" else TransitionConstraints(num_tags, allowed)
        )

    def forward(self, tags: Tensor, mask: Tensor, **inputs: Tensor) -> Tensor:
        """Compute the loss: cross entropy summed over tokens, or the CRF's negative log-likelihood summed over rows.

        Args:
            tags: Gold tag ids, (B, L) integers.
            mask: (B, L) bool, True for real tokens, which come first. With a CRF, each row needs at least one token.
            **inputs: The other inputs of `emissions`.

        Returns:
            The loss, a scalar.
        """
        emissions = self.emissions(mask, **inputs)
        if self.dimensions.head == "crf":
            negative: Tensor = -self.crf(emissions, tags, mask).sum()
            return negative
        # Not emissions[mask], which would synchronize with the accelerator.
        targets = tags.long().masked_fill(~mask, _IGNORED)
        with torch.autocast(emissions.device.type, enabled=False):
            return functional.cross_entropy(
                emissions.flatten(0, 1), targets.flatten(), ignore_index=_IGNORED, reduction="sum"
            )

    def emissions(
        self,
        mask: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
        starts: Tensor,
        ends: Tensor,
        capitals: Tensor | None = None,
    ) -> Tensor:
        """Compute scores of tags. Values on padding have no effect.

        Args:
            mask: (B, L) bool, True for real tokens, which come first.
            input_ids: Subword ids, (B, P).
            attention_mask: (B, P), 1 for real subwords.
            starts: Index of each token's first subword in its row, (B, L).
            ends: Index after each token's last subword, (B, L).
            capitals: Casing class of each subword's token, (B, P), for a network with a casing embedding.

        Returns:
            Scores, (B, L, T) float32.

        Raises:
            ValueError: If P exceeds the body's positions, or `capitals` is missing or unexpected.
        """
        if (capitals is None) != (self.capitals is None):
            words = ("none", "some") if capitals is None else ("some", "none")
            raise ValueError("capitals: found {}; expected {}, as the network's dimensions say".format(*words))
        added = None if self.capitals is None else self.capitals(capitals)
        x = pool_subwords(self._run(input_ids, attention_mask, added), starts, ends, mask, self.dimensions.pooling)
        if self.lstm is not None and self.tags is not None:
            x = functional.dropout(x, self.dimensions.dropout, self.training)
            x = self.lstm(x, reversal_indices(mask))
            x = self.tags(functional.dropout(x, self.dimensions.dropout, self.training))
        return x.float()


class TransformerClassifier(PretrainedNetwork):
    """Text classifier on a pretrained body; a row is a window of a text."""

    def __init__(self, body: PreTrainedModel, classes: int) -> None:
        """Wrap a body.

        Args:
            body: A model for sequence classification with `classes` labels.
            classes: Number of classes, K.

        Raises:
            ValueError: If the body has another number of labels.
        """
        super().__init__(body)
        _check_labels(body, classes)
        self.loss: Loss | None = None  # only in training; not saved with the model

    def forward(self, targets: Tensor | None = None, **inputs: Tensor) -> Tensor:
        """Compute scores, or with targets the loss.

        Args:
            targets: Targets of `loss`; None to return scores.
            **inputs: Inputs of `scores`.

        Returns:
            Without targets, scores (B, K). With targets, the sum of the losses, a scalar.

        Raises:
            ValueError: If there are targets but `loss` is not set.
        """
        scores = self.scores(**inputs)
        if targets is None:
            return scores
        if self.loss is None:
            raise ValueError("found targets, but no loss; set the network's `loss` first")
        loss: Tensor = self.loss(scores, targets)
        return loss

    def scores(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute scores of classes.

        Args:
            input_ids: Subword ids, (B, P).
            attention_mask: (B, P), 1 for real subwords.

        Returns:
            Logits, (B, K) float32.

        Raises:
            ValueError: If P exceeds the body's positions.
        """
        return self._run(input_ids, attention_mask).float()


class TransitionConstraints(LinearChainCRF):
    """A CRF with constraints but without transition scores: it has no trainable parameters and nothing to save."""

    def __init__(self, num_tags: int, allowed: Tensor | None = None) -> None:
        super().__init__(num_tags, allowed)
        for name in ("transitions", "start", "end", "allowed"):
            value = getattr(self, name).detach()
            delattr(self, name)
            self.register_buffer(name, value, persistent=False)


def pool_subwords(subwords: Tensor, starts: Tensor, ends: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Pool the vectors of subwords to vectors of tokens.

    Args:
        subwords: Vectors of subwords, (B, P, D).
        starts: Index of each token's first subword in its row, (B, L), ascending. There may be subwords between two
            tokens.
        ends: Index after each token's last subword, (B, L).
        mask: (B, L) bool, True for real tokens, which come first.
        pooling: One of `POOLINGS`.

    Returns:
        (B, L, D), with any values on padding; float32 for the mean.
    """
    if pooling != "mean":
        positions = (starts if pooling == "first" else ends - 1).masked_fill(~mask, 0)
        return subwords[torch.arange(len(positions), device=positions.device).unsqueeze(1), positions]
    (rows, size), (_, width, depth) = starts.shape, subwords.shape
    starts, ends = starts.masked_fill(~mask, width), ends.masked_fill(~mask, width)
    # Each subword is added to the last token that starts at or before it. If that token has ended, it is added to an
    # extra token, which is discarded.
    position = torch.arange(width, device=subwords.device).repeat(rows, 1)
    token = torch.searchsorted(starts, position, right=True) - 1
    inside = (token >= 0) & (position < ends.gather(1, token.clamp_min(0)))
    first = torch.arange(0, rows * size, size, device=subwords.device).unsqueeze(1)
    token = torch.where(inside, first + token, rows * size)
    sums = subwords.new_zeros(rows * size + 1, depth, dtype=torch.float32)
    sums = sums.index_add(0, token.flatten(), subwords.float().flatten(0, 1))
    return sums[:-1].view(rows, size, depth) / (ends - starts).clamp_min(1).unsqueeze(2)


def body_weights(body: PreTrainedModel) -> dict[str, Tensor]:
    """Collect the body's tensors as `save_pretrained(..., save_original_format=False)` writes them.

    Args:
        body: The body.

    Returns:
        Tensors by their names in the model class, which may differ from the names in the original checkpoint; a tied
        tensor is included once.
    """
    state = body.state_dict()
    for name in body._keys_to_ignore_on_save or ():
        state.pop(name, None)
    untied: dict[str, Tensor] = remove_tied_weights_from_state_dict(state, body)
    return untied


def _check_labels(body: PreTrainedModel, expected: int) -> None:
    if body.config.num_labels != expected:
        raise ValueError(f"body: found {body.config.num_labels} labels; expected {expected}")


def _check_fit(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    problems = [f"{name} is missing" for name in expected if name not in weights]
    problems += [f"{name} is unknown" for name in weights if name not in expected]
    problems += [
        f"{name} has shape {list(value.shape)} where {list(expected[name].shape)} is expected"
        for name, value in weights.items()
        if name in expected and value.shape != expected[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(f"weights: {', '.join(problems[:3])}{more}; expected the tensors of this network")
