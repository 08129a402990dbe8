"""The tagger's network: a wide part that scores tags from window features, a BiLSTM beside it, one CRF on top.

The two add up to one score a tag and token, as in wide & deep learning (Cheng et al. 2016): the wide part is what a
feature CRF has (Lafferty et al. 2001), the deep part a BiLSTM over embeddings (Huang et al. 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nlp_app.nn.crf.distillation_loss import path_cross_entropy
from nlp_app.nn.crf.layer import LinearChainCRF
from nlp_app.nn.embedding_bag import EmbeddingSum
from nlp_app.nn.lstm import BiLstm, reversal_indices


@dataclass(frozen=True)
class TableSizes:
    """Rows of each embedding table; row 0 is padding. vectors = 0: no pretrained vectors."""

    norms: int
    shapes: int
    parts: int
    features: int
    vectors: int = 0


@dataclass(frozen=True)
class TaggerDimensions:
    """Widths of the embeddings and of one direction of the LSTM; shares of what training drops."""

    norm: int = 64
    shape: int = 16
    part: int = 64
    vector: int = 0
    hidden: int = 64
    layers: int = 1
    input_dropout: float = 0.5
    hidden_dropout: float = 0.3
    feature_dropout: float = 0.2
    wide_dropout: float = 0.3


class Teacher(NamedTuple):
    """A CRF whose scores of tags a tagger is trained to find. A tuple, so that it is no part of the tagger."""

    crf: LinearChainCRF


class WideBiLstmCrf(nn.Module):
    """Emissions of window features and of a BiLSTM, under a linear-chain CRF.

    Inputs are integer columns, (B, L) or (B, L, k), as the encoder names them; mask: (B, L) bool, True = real.
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
        self.teacher: Teacher | None = None  # of training; no part of a saved model
        self._initialize()

    def _initialize(self) -> None:
        # The wide table stays at zero: a feature means nothing until training says so.
        with torch.no_grad():
            for table, spread in ((self.norms, 0.3), (self.shapes, 0.3), (self.parts, 0.1)):
                nn.init.normal_(table.weight, std=spread)
                table.weight[0].zero_()

    def set_vectors(self, matrix: Tensor, trained: bool) -> None:
        """Give the pretrained vectors, (rows, dimension), their table; `trained`: whether training changes them."""
        if self.vectors is None or matrix.shape != self.vectors.weight.shape:
            raise ValueError(f"vectors of {tuple(matrix.shape)} don't fit the network's table")
        with torch.no_grad():
            self.vectors.weight.copy_(matrix)
        self.vectors.weight.requires_grad_(trained)

    def forward(
        self, mask: Tensor, tags: Tensor, taught: Tensor | None = None, gold: Tensor | None = None, **columns: Tensor
    ) -> Tensor:
        """The sum over the batch of the negative log-likelihood of the tags, (B, L).

        With `taught`, the scores (B, L, tags) of `teacher`, it is the cross entropy under the teacher instead, but for
        the share that the tags have in a row, the first of `gold` (B, L).
        """
        emissions = self.emissions(mask, **columns)
        if taught is None or gold is None or self.teacher is None:
            loss: Tensor = -self.crf(emissions, tags, mask).sum()
            return loss
        share = gold[:, 0]
        loss = path_cross_entropy(self.crf, emissions, self.teacher.crf, taught, mask, 1 - share)
        known = share > 0
        if known.any():
            loss = loss - (share[known] * self.crf(emissions[known], tags[known], mask[known])).sum()
        return loss

    def emissions(self, mask: Tensor, **columns: Tensor) -> Tensor:
        """A score a token and tag: (B, L, tags)."""
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
        # Whole features are dropped, then single scores: neither half may lean on the other.
        features = columns["features"]
        if self.training and self.dimensions.feature_dropout:
            kept = torch.rand(features.shape, device=features.device) >= self.dimensions.feature_dropout
            features = features * kept
        wide = self._drop_scores(self.wide(features), self.dimensions.wide_dropout)
        deep: Tensor = self.tags(x)
        return deep.float() + wide

    def _drop_units(self, x: Tensor, share: float) -> Tensor:
        """Drop units over a whole row, the same at each of its tokens (Gal & Ghahramani 2016): x (B, L, units)."""
        return _drop(x, share, (x.shape[0], 1, x.shape[2])) if self.training and share else x

    def _drop_scores(self, x: Tensor, share: float) -> Tensor:
        return _drop(x, share, tuple(x.shape)) if self.training and share else x


def _drop(x: Tensor, share: float, shape: tuple[int, ...]) -> Tensor:
    # Not functional.dropout, which draws its numbers six times slower on a CPU.
    kept = torch.rand(shape, device=x.device) >= share
    return x * kept.to(x.dtype).mul_(1 / (1 - share))
