"""Networks on a pretrained body of transformers: a tagger and a classifier.

Shapes: B rows (windows of texts), P pieces of a row at most, L tokens at most that a row answers for, T tags,
K classes. A token is one or more consecutive pieces; its scores are those of its first or last piece, or their mean.

With no LSTM, no CRF and no embedding of capitals the tagger's weights are those of the body alone, so what is saved is
a plain model of transformers.
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
    """What stands on the body.

    pooling: which pieces give a token's scores, of POOLINGS; head: of HEADS; lstm: width of one direction of a BiLSTM
    between body and tags, 0 for none; dropout: before and after that LSTM (a body that scores tags has its own);
    capitals: how many ways to write a token have a vector, which is added to the embeddings of the token's pieces, 0
    for none.
    """

    pooling: str = "first"
    head: str = "softmax"
    lstm: int = 0
    dropout: float = 0.1
    capitals: int = 0


class PretrainedNetwork(nn.Module):
    """A body and what stands on it; `weights` and `load_weights` use the body's own names, without a prefix.

    `state_dict` is torch's, with `body.` in front, and has every tied tensor under each of its names.
    """

    def __init__(self, body: PreTrainedModel) -> None:
        super().__init__()
        self.body = body
        self.position_limit = position_limit(body)
        self.compute_type: torch.dtype | None = None  # what the body computes in, bfloat16 say; None: its weights' type

    def weights(self) -> dict[str, Tensor]:
        """Tensors by name, tied ones once: as the body's `save_pretrained` writes them in the names of its class, and
        our own. No copies."""
        return {
            **body_weights(self.body),
            **{name: value for name, value in self.state_dict().items() if not name.startswith("body.")},
        }

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy what `weights` gave. Raises ValueError if a name is missing or unknown or a shape differs; then nothing
        was changed."""
        present = self.weights()
        _check_fit(weights, present)
        with torch.no_grad():
            for name, value in present.items():
                value.copy_(weights[name])

    def enable_gradient_checkpointing(self) -> None:
        """Keep only the layers' inputs in training, and compute the rest again on the way back.

        Raises ValueError if the body can't.
        """
        if not self.body.supports_gradient_checkpointing:
            raise ValueError(
                f"gradient checkpointing: found a body of type {self.body.config.model_type!r}, which has none"
            )
        if getattr(self.body.config, "use_cache", False):
            self.body.config.use_cache = False
        # transformers is changing the method's name.
        body = self.body
        enable = getattr(body, "activation_checkpointing_enable", None) or body.gradient_checkpointing_enable
        # The reentrant kind gives no gradients where a layer's input needs none, as behind frozen embeddings. It is for
        # that kind that the embeddings' output is made to need some, and frozen layers would be gone back through.
        enable({"use_reentrant": False})
        body.disable_input_require_grads()  # type: ignore[no-untyped-call]

    def _run(self, input_ids: Tensor, attention_mask: Tensor, added: Tensor | None = None) -> Tensor:
        """What the body says first: logits or hidden states. added: to the embeddings of pieces, (B, P, D)."""
        width = input_ids.shape[1]
        if self.position_limit is not None and width > self.position_limit:
            raise ValueError(
                f"input_ids: found {width} pieces in a row; expected {self.position_limit} at most, "
                "for which the model has positions"
            )
        lower = nullcontext() if self.compute_type is None else torch.autocast(input_ids.device.type, self.compute_type)
        with lower:
            if added is None:
                output: Tensor = self.body(input_ids=input_ids, attention_mask=attention_mask)[0]
            else:
                embedded = self.body.get_input_embeddings()(input_ids) + added
                output = self.body(inputs_embeds=embedded, attention_mask=attention_mask)[0]
        return output


class TransformerTagger(PretrainedNetwork):
    """Scores of tags for tokens, under a CRF (`dimensions.head`) or each for itself.

    `body` is a model for token classification with `num_tags` labels, or with `dimensions.lstm` one without a head.
    `allowed` is as for `LinearChainCRF`. With the softmax head, `crf` only knows which paths are legal: its transitions
    are zero, fixed and not saved, so that its best path is the best legal one, and its probabilities are those of
    independent tags given that the path is legal. The loss knows nothing of legality then.

    With `dimensions.capitals`, the vectors that say how tokens are written begin at zero, where they change nothing;
    that of 0, which special pieces and padding have, stays there. Raises SettingsError if the body takes no embeddings.
    """

    def __init__(
        self, body: PreTrainedModel, num_tags: int, allowed: Tensor | None, dimensions: TransformerDimensions
    ) -> None:
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
        """The sum over all tokens of the cross entropy, or over all rows of the CRF's negative log-likelihood.

        tags: (B, L) integers, mask: (B, L) bool, real tokens first, the others as for `emissions`. The CRF takes no row
        without a token.
        """
        emissions = self.emissions(mask, **inputs)
        if self.dimensions.head == "crf":
            negative: Tensor = -self.crf(emissions, tags, mask).sum()
            return negative
        # Not emissions[mask], for which an accelerator would have to be waited for.
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
        """A score a token and tag, (B, L, T) float32.

        input_ids, attention_mask: (B, P); starts, ends: (B, L), where a token's pieces begin and end in its row;
        capitals: (B, P), how the token of each piece is written, for a network that embeds it. What stands on padding
        has no effect. Raises ValueError if the body has fewer positions than P, or capitals are missing or unexpected.
        """
        if (capitals is None) != (self.capitals is None):
            words = ("none", "some") if capitals is None else ("some", "none")
            raise ValueError("capitals: found {}; expected {}, as the network's dimensions say".format(*words))
        added = None if self.capitals is None else self.capitals(capitals)
        found = pool_pieces(self._run(input_ids, attention_mask, added), starts, ends, mask, self.dimensions.pooling)
        if self.lstm is not None and self.tags is not None:
            found = functional.dropout(found, self.dimensions.dropout, self.training)
            found = self.lstm(found, reversal_indices(mask))
            found = self.tags(functional.dropout(found, self.dimensions.dropout, self.training))
        return found.float()


class TransformerClassifier(PretrainedNetwork):
    """Scores of classes for windows; `body` is a model for sequence classification with `classes` labels."""

    def __init__(self, body: PreTrainedModel, classes: int) -> None:
        super().__init__(body)
        _check_labels(body, classes)
        self.loss: Loss | None = None  # of training; no part of a saved model

    def forward(self, targets: Tensor | None = None, **inputs: Tensor) -> Tensor:
        """The scores (B, K) of rows given as for `scores`; with targets, the sum of their losses."""
        scores = self.scores(**inputs)
        if targets is None:
            return scores
        if self.loss is None:
            raise ValueError("found targets, but no loss; set the network's `loss` first")
        loss: Tensor = self.loss(scores, targets)
        return loss

    def scores(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """A score a row and class, (B, K) float32, from (B, P) each. Raises ValueError for too many pieces."""
        return self._run(input_ids, attention_mask).float()


class TransitionConstraints(LinearChainCRF):
    """A CRF that scores no transition, only forbids: nothing to train, nothing to save."""

    def __init__(self, num_tags: int, allowed: Tensor | None = None) -> None:
        super().__init__(num_tags, allowed)
        for name in ("transitions", "start", "end", "allowed"):
            value = getattr(self, name).detach()
            delattr(self, name)
            self.register_buffer(name, value, persistent=False)


def pool_pieces(pieces: Tensor, starts: Tensor, ends: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Vectors of tokens, (B, L, D), from those of pieces, (B, P, D); any on padding. The mean is float32.

    A row's tokens follow each other, with or without pieces between them.
    """
    if pooling != "mean":
        places = (starts if pooling == "first" else ends - 1).masked_fill(~mask, 0)
        return pieces[torch.arange(len(places), device=places.device).unsqueeze(1), places]
    (rows, size), (_, width, depth) = starts.shape, pieces.shape
    starts, ends = starts.masked_fill(~mask, width), ends.masked_fill(~mask, width)
    # Each piece is added to the last token that has begun, or where that has ended, to one more that is left out.
    place = torch.arange(width, device=pieces.device).repeat(rows, 1)
    token = torch.searchsorted(starts, place, right=True) - 1
    inside = (token >= 0) & (place < ends.gather(1, token.clamp_min(0)))
    first = torch.arange(0, rows * size, size, device=pieces.device).unsqueeze(1)
    token = torch.where(inside, first + token, rows * size)
    sums = pieces.new_zeros(rows * size + 1, depth, dtype=torch.float32)
    sums = sums.index_add(0, token.flatten(), pieces.float().flatten(0, 1))
    return sums[:-1].view(rows, size, depth) / (ends - starts).clamp_min(1).unsqueeze(2)


def body_weights(body: PreTrainedModel) -> dict[str, Tensor]:
    """The body's tensors as `save_pretrained(..., save_original_format=False)` writes them: the names of its class,
    not those of the checkpoint that it was once read from; tied tensors once."""
    state = body.state_dict()
    for name in body._keys_to_ignore_on_save or ():
        state.pop(name, None)
    kept: dict[str, Tensor] = remove_tied_weights_from_state_dict(state, body)
    return kept


def _check_labels(body: PreTrainedModel, expected: int) -> None:
    if body.config.num_labels != expected:
        raise ValueError(f"body: found {body.config.num_labels} labels; expected {expected}")


def _check_fit(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is unknown" for name in found if name not in expected]
    problems += [
        f"{name} has shape {list(value.shape)} where {list(expected[name].shape)} is expected"
        for name, value in found.items()
        if name in expected and value.shape != expected[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(f"weights: found that {', '.join(problems[:3])}{more}; expected those of this network")
