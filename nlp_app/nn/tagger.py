"""Network of the tagger: window features and a BiLSTM in parallel, with a CRF on top.

The scores of both parts are added for each token and tag, as in wide & deep learning (Cheng et al. 2016). The wide part
is the linear model of a feature CRF (Lafferty et al. 2001), the deep part a BiLSTM over embeddings (Huang et al. 2015).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nlp_app.nn.crf.distillation_loss import path_cross_entropy
from nlp_app.nn.crf.layer import LinearChainCRF
from nlp_app.nn.embedding_bag import EmbeddingSum
from nlp_app.nn.lstm import BiLstm, reversal_indices
from nlp_app.numerics.dimensions import TableSizes, TaggerDimensions


class Teacher(NamedTuple):
    """The CRF of a teacher model, in distillation. A tuple, so that it does not become a submodule of the tagger."""

    crf: LinearChainCRF


class WideBiLstmCrf(nn.Module):
    """Linear-chain CRF over the summed scores of window features and a BiLSTM.

    Shapes: B sentences, L tokens, k features per token. Inputs are a mask, (B, L) bool, True for real tokens (which
    come first), and integer columns, (B, L) or (B, L, k), named as in the encoder.
    """

    def __init__(self, num_tags: int, allowed: Tensor | None, sizes: TableSizes, dimensions: TaggerDimensions) -> None:
        super().__init__()
        d = dimensions
        self.dimensions = d
        self.norms = nn.Embedding(sizes.norms, d.norm, padding_idx=0)
        self.shapes = nn.Embedding(sizes.shapes, d.shape, padding_idx=0)
        self.parts = EmbeddingSum(sizes.parts, d.part)
        self.vectors = nn.Embedding(sizes.vectors, d.vector, padding_idx=0) if sizes.vectors else None
        width = d.norm + d.shape + d.part + (d.vector if sizes.vectors else 0)
        self.layers = nn.ModuleList(
            BiLstm(width if number == 0 else 2 * d.hidden, d.hidden) for number in range(d.layers)
        )
        self.tags = nn.Linear(2 * d.hidden, num_tags)
        self.wide = EmbeddingSum(sizes.features, num_tags)
        self.crf = LinearChainCRF(num_tags, allowed)
        self.teacher: Teacher | None = None  # only in training; not saved with the model
        self._initialize()

    def _initialize(self) -> None:
        # The wide table stays at zero, so that features unseen in training have no effect.
        with torch.no_grad():
            for table, std in ((self.norms, 0.3), (self.shapes, 0.3), (self.parts, 0.1)):
                nn.init.normal_(table.weight, std=std)
                table.weight[0].zero_()

    def set_vectors(self, matrix: Tensor, trained: bool) -> None:
        """Copy pretrained vectors into the network.

        Args:
            matrix: The vectors, (rows, dimension).
            trained: True to fine-tune the vectors in training, False to freeze them.

        Raises:
            ValueError: If the network has no table of this shape.
        """
        if self.vectors is None or matrix.shape != self.vectors.weight.shape:
            raise ValueError(f"vectors of {tuple(matrix.shape)} don't fit the network's table")
        with torch.no_grad():
            self.vectors.weight.copy_(matrix)
        self.vectors.weight.requires_grad_(trained)

    def forward(
        self, mask: Tensor, tags: Tensor, taught: Tensor | None = None, gold: Tensor | None = None, **columns: Tensor
    ) -> Tensor:
        """Compute the loss, summed over the batch.

        The loss is the negative log-likelihood of the gold tags. In distillation it is a weighted mean of this and the
        cross entropy of the paths under the teacher's distribution.

        Args:
            mask: (B, L) bool, True for real tokens.
            tags: Gold tag ids, (B, L).
            taught: Distillation: the teacher's emissions, (B, L, tags).
            gold: Distillation: the weight of the gold tags in the loss of each row, 0 to 1, in the first column of
                (B, L); the teacher has the rest.
            **columns: Inputs of `emissions`.

        Returns:
            The loss, a scalar.
        """
        emissions = self.emissions(mask, **columns)
        if taught is None or gold is None or self.teacher is None:
            loss: Tensor = -self.crf(emissions, tags, mask).sum()
            return loss
        gold_weight = gold[:, 0]
        loss = path_cross_entropy(self.crf, emissions, self.teacher.crf, taught, mask, 1 - gold_weight)
        with_gold = gold_weight > 0
        if with_gold.any():
            likelihood = self.crf(emissions[with_gold], tags[with_gold], mask[with_gold])
            loss = loss - (gold_weight[with_gold] * likelihood).sum()
        return loss

    def emissions(self, mask: Tensor, **columns: Tensor) -> Tensor:
        """Compute the emission scores of the CRF.

        Args:
            mask: (B, L) bool, True for real tokens.
            **columns: Table rows of each token: `norms` and `shapes`, (B, L); `parts` and `features`, (B, L, k); with
                pretrained vectors also `vectors`, (B, L).

        Returns:
            Scores, (B, L, tags) float32.
        """
        embedded = [
            self.norms(columns["norms"]),
            self.shapes(columns["shapes"]),
            self.parts(columns["parts"]),
        ]
        if self.vectors is not None:
            embedded.append(self.vectors(columns["vectors"]))
        x = self._drop_units(torch.cat(embedded, dim=-1), self.dimensions.input_dropout)
        reversal = reversal_indices(mask)
        for layer in self.layers:
            x = self._drop_units(layer(x, reversal), self.dimensions.hidden_dropout)
        # Drop whole features, then single scores, so that neither part relies on the other.
        features = columns["features"]
        if self.training and self.dimensions.feature_dropout:
            kept = torch.rand(features.shape, device=features.device) >= self.dimensions.feature_dropout
            features = features * kept
        wide = self._drop_scores(self.wide(features), self.dimensions.wide_dropout)
        deep: Tensor = self.tags(x)
        return deep.float() + wide

    def _drop_units(self, x: Tensor, rate: float) -> Tensor:
        """Drop units of x, (B, L, units): the same units at all tokens of a row (Gal & Ghahramani 2016)."""
        return _drop(x, rate, (x.shape[0], 1, x.shape[2])) if self.training and rate else x

    def _drop_scores(self, x: Tensor, rate: float) -> Tensor:
        return _drop(x, rate, tuple(x.shape)) if self.training and rate else x


def _drop(x: Tensor, rate: float, shape: tuple[int, ...]) -> Tensor:
    # Not functional.dropout, whose random numbers take six times as long on a CPU.
    kept = torch.rand(shape, device=x.device) >= rate
    return x * kept.to(x.dtype).mul_(1 / (1 - rate))
