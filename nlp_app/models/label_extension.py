"""Extend a trained tagger with more labels or words. Until it is trained again, it predicts the same as before.

The weights of an old tag are kept, even if its id changes. A new tag starts as a copy of the tag O in every weight that
contributes to its score, but a little less likely: no best path can contain it, because the same path with O in its
place is also valid and scores higher. Training then only has to learn how the new label differs from no label at all
(compare Cermelli et al. 2020, "Modeling the background for incremental learning in semantic segmentation"). Tags
without a scheme have no O; there a new tag starts as the mean of the old ones, which can't score higher than the best
of them.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from nlp_app.core.errors import ModelError
from nlp_app.labels.schemes import NONE, OUTSIDE
from nlp_app.labels.tag_set import TagSet
from nlp_app.models.tagger import TaggerParts
from nlp_app.nn.partial_loading import load_partial
from nlp_app.nn.tagger import WideBiLstmCrf
from nlp_app.numerics.dimensions import TableSizes, TaggerDimensions
from nlp_app.text.vocab import UNKNOWN

if TYPE_CHECKING:
    from nlp_app.models.transformers.models import TransformerTaggerParts
    from nlp_app.nn.transformer import TransformerTagger


MARGIN = 4.0  # a new tag scores less than O by this: it has a fiftieth of O's probability

_TABLES = {"norms": "norms", "shapes": "shapes", "parts": "parts", "features": "wide"}  # by column of the encoder

P = TypeVar("P", bound="TaggerParts | TransformerTaggerParts")

N = TypeVar("N", bound=nn.Module)


def add_labels(parts: P, labels: Iterable[str]) -> P:
    """Copy a tagger and add labels to it. The copy predicts the same until it is trained.

    Args:
        parts: The tagger.
        labels: The labels to add, in this order after the old ones. Labels that the tagger already has are ignored.

    Returns:
        The extended tagger.

    Raises:
        ModelError: If the network's output layer has no bias, which new labels need.
    """
    old = parts.tag_set
    new = TagSet(tuple(dict.fromkeys((*old.labels, *labels))), old.scheme)
    network: Any
    if isinstance(parts, TaggerParts):
        network = _bilstm(new, TableSizes(**parts.encoder.sizes), parts.network.dimensions)
    else:
        network = _transformer(parts, new)
    return replace(parts, tag_set=new, network=_LabelMapping.between(old, new).fill(network, parts.network))


def add_words(
    parts: TaggerParts,
    sentences: Collection[Sequence[str]],
    min_count: int,
    joint_min_count: int,
    dimensions: TaggerDimensions | None = None,
) -> TaggerParts:
    """Copy a tagger and add the words and window features of more sentences. It predicts the same until it is trained.

    A new word or shape starts as the unknown one, a new feature with zeros. Entries that the tagger already has keep
    their weights.

    Args:
        parts: The tagger.
        sentences: Pre-tokenized sentences.
        min_count: How often a new entry has to occur in the sentences.
        joint_min_count: How often a window feature of several tokens has to occur.
        dimensions: New dimensions, to change dropout rates; the sizes have to be the same.

    Returns:
        The extended tagger.
    """
    encoder = parts.encoder.extended(sentences, min_count, joint_min_count)
    weights = parts.network.state_dict()
    for column, rows in encoder.map_rows(parts.encoder).items():
        name = f"{_TABLES[column]}.weight"
        old = weights[name]
        initial = old[UNKNOWN] if column in ("norms", "shapes") else torch.zeros_like(old[0])
        weights[name] = initial.repeat(encoder.sizes[column], 1)
        weights[name][torch.from_numpy(rows).to(old.device)] = old
    network = _bilstm(parts.tag_set, TableSizes(**encoder.sizes), dimensions or parts.network.dimensions)
    network.load_state_dict(weights)
    return replace(parts, encoder=encoder, network=_prepare_like(network, parts.network))


@dataclass(frozen=True)
class _LabelMapping:
    """Maps the tags of an extended tagger to the old ones.

    Attributes:
        old_ids: For each tag the id that it had, None for a new tag.
        outside: The old id of O, None without a scheme.
    """

    old_ids: tuple[int | None, ...]
    outside: int | None

    @classmethod
    def between(cls, old: TagSet, new: TagSet) -> _LabelMapping:
        return cls(tuple(map(old.ids.get, new.tags)), None if old.scheme == NONE else old.ids[OUTSIDE])

    def fill(self, grown: N, network: N) -> N:
        """Fill `grown`, a network for the new tags, with the weights of `network`, which is for the old ones."""
        old, weights = network.state_dict(), grown.state_dict()
        reshaped = [name for name in load_partial(grown, old).reshaped if name != "crf.allowed"]
        if reshaped and not any(old[name].dim() == 1 and not name.startswith("crf.") for name in reshaped):
            raise ModelError(
                "add_labels: the network's output layer has no bias, but needs one to keep new tags out of predictions"
            )
        with torch.no_grad():
            for name in reshaped:
                weights[name].copy_(self._tensor(name, old[name]))
        return _prepare_like(grown, network)

    def _tensor(self, name: str, old: Tensor) -> Tensor:
        """Extend one tensor of the network to the new tags."""
        if name == "crf.transitions":
            return self._extend(self._extend(old), dim=1)
        if name == "wide.weight":  # one row per feature
            return self._extend(old, dim=1)
        if old.dim() > 1 or name.startswith("crf."):
            return self._extend(old)
        margins = [MARGIN if old_id is None else 0.0 for old_id in self.old_ids]
        return self._extend(old) - torch.tensor(margins, device=old.device)

    def _extend(self, old: Tensor, dim: int = 0) -> Tensor:
        """Extend the dimension `dim` of a tensor from the old tags to the new ones."""
        initial = old.mean(dim, keepdim=True) if self.outside is None else old.narrow(dim, self.outside, 1)
        indices = [old.shape[dim] if old_id is None else old_id for old_id in self.old_ids]
        return torch.cat((old, initial), dim).index_select(dim, torch.tensor(indices, device=old.device))


def _bilstm(tag_set: TagSet, sizes: TableSizes, dimensions: TaggerDimensions) -> WideBiLstmCrf:
    return WideBiLstmCrf(len(tag_set.tags), torch.from_numpy(tag_set.allowed), sizes, dimensions)


def _transformer(parts: TransformerTaggerParts, tag_set: TagSet) -> TransformerTagger:
    """Build a network like the tagger's for other tags, with arbitrary weights."""
    from nlp_app.models.transformers import checkpoint  # noqa: PLC0415 - it imports transformers
    from nlp_app.models.transformers.body import set_labels  # noqa: PLC0415

    network = parts.network
    config = copy.deepcopy(network.body.config)
    if network.dimensions.lstm:
        body = copy.deepcopy(network.body)
    else:
        set_labels(config, tag_set.tags)
        with checkpoint.silence_transformers():
            body = type(network.body)(config)
    allowed = torch.from_numpy(tag_set.allowed) if parts.legal else None
    return type(network)(body.cpu(), len(tag_set.tags), allowed, network.dimensions)


def _prepare_like(network: N, like: nn.Module) -> N:
    """Move a network to the device of another, in evaluation mode, with the same parameters frozen."""
    trained = {name: parameter.requires_grad for name, parameter in like.named_parameters()}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(trained[name])
    return network.to(next(like.parameters()).device).eval()
