"""A trained tagger that is to learn more: a larger label set, more words. Until it is trained, it finds what it found.

The numbers of an old tag are kept, wherever the tag stands now. A new tag begins as a copy of the tag O, in all that
scores it, a little less likely: no best path can have it, as the same path with O in its place is as legal and scores
more. What training has to learn is how the new label differs from no label at all (compare Cermelli et al. 2020,
"Modeling the background for incremental learning in semantic segmentation"). Tags without a scheme have no O; there a
new tag begins as the mean of the old ones, which can't be better than the best of them.
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
from nlp_app.nn.tagger import TableSizes, TaggerDimensions, WideBiLstmCrf
from nlp_app.text.vocab import UNKNOWN

if TYPE_CHECKING:
    from nlp_app.models.transformers.models import TransformerTaggerParts
    from nlp_app.nn.transformer import TransformerTagger


MARGIN = 4.0  # by which a new tag scores less than O: a fiftieth of its probability

_TABLES = {"norms": "norms", "shapes": "shapes", "parts": "parts", "features": "wide"}  # of the encoder's columns

P = TypeVar("P", bound="TaggerParts | TransformerTaggerParts")

N = TypeVar("N", bound=nn.Module)


def add_labels(parts: P, labels: Iterable[str]) -> P:
    """The tagger with a larger label set, as a copy; labels that it has already change nothing.

    New labels follow the old ones in the order given. It finds what it found, until it is trained. Raises ModelError
    for a network whose tags have no bias.
    """
    old = parts.tag_set
    new = TagSet(tuple(dict.fromkeys((*old.labels, *labels))), old.scheme)
    network: Any
    if isinstance(parts, TaggerParts):
        network = _bilstm(new, TableSizes(**parts.encoder.sizes), parts.network.dimensions)
    else:
        network = _transformer(parts, new)
    return replace(parts, tag_set=new, network=_Growth.between(old, new).fill(network, parts.network))


def add_words(
    parts: TaggerParts,
    sentences: Collection[Sequence[str]],
    min_count: int,
    joint_min_count: int,
    dimensions: TaggerDimensions | None = None,
) -> TaggerParts:
    """The tagger with the words and window features of more sentences, as a copy; what it knew keeps its meaning.

    A new word or shape begins as the unknown one, a new feature with zeros: it finds what it found, until it is
    trained. min_count: occurrences in the sentences that an entry needs; joint_min_count: that a window feature of
    several tokens needs. dimensions: if other shares are to be dropped.
    """
    encoder = parts.encoder.extended(sentences, min_count, joint_min_count)
    weights = parts.network.state_dict()
    for column, rows in encoder.map_rows(parts.encoder).items():
        name = f"{_TABLES[column]}.weight"
        old = weights[name]
        fresh = old[UNKNOWN] if column in ("norms", "shapes") else torch.zeros_like(old[0])
        weights[name] = fresh.repeat(encoder.sizes[column], 1)
        weights[name][torch.from_numpy(rows).to(old.device)] = old
    network = _bilstm(parts.tag_set, TableSizes(**encoder.sizes), dimensions or parts.network.dimensions)
    network.load_state_dict(weights)
    return replace(parts, encoder=encoder, network=_placed(network, parts.network))


@dataclass(frozen=True)
class _Growth:
    """places: of each new tag among the old ones, None where it is none of them; outside: that of O, None without a
    scheme."""

    places: tuple[int | None, ...]
    outside: int | None

    @classmethod
    def between(cls, old: TagSet, new: TagSet) -> _Growth:
        return cls(tuple(map(old.ids.get, new.tags)), None if old.scheme == NONE else old.ids[OUTSIDE])

    def fill(self, grown: N, network: N) -> N:
        """`grown`, a network for the new tags, with the weights of one for the old."""
        old, weights = network.state_dict(), grown.state_dict()
        reshaped = [name for name in load_partial(grown, old).reshaped if name != "crf.allowed"]
        if reshaped and not any(old[name].dim() == 1 and not name.startswith("crf.") for name in reshaped):
            raise ModelError("add_labels: the network's tags have no bias, by which new ones could be kept out")
        with torch.no_grad():
            for name in reshaped:
                weights[name].copy_(self._tensor(name, old[name]))
        return _placed(grown, network)

    def _tensor(self, name: str, old: Tensor) -> Tensor:
        """A tensor of the network for the new tags."""
        if name == "crf.transitions":
            return self._of(self._of(old), dim=1)
        if name == "wide.weight":  # a row a feature
            return self._of(old, dim=1)
        if old.dim() > 1 or name.startswith("crf."):
            return self._of(old)
        lower = [MARGIN if place is None else 0.0 for place in self.places]
        return self._of(old) - torch.tensor(lower, device=old.device)

    def _of(self, old: Tensor, dim: int = 0) -> Tensor:
        """What stands for each new tag along `dim`, from what stands for each old one."""
        fresh = old.mean(dim, keepdim=True) if self.outside is None else old.narrow(dim, self.outside, 1)
        places = [old.shape[dim] if place is None else place for place in self.places]
        return torch.cat((old, fresh), dim).index_select(dim, torch.tensor(places, device=old.device))


def _bilstm(tag_set: TagSet, sizes: TableSizes, dimensions: TaggerDimensions) -> WideBiLstmCrf:
    return WideBiLstmCrf(len(tag_set.tags), torch.from_numpy(tag_set.allowed), sizes, dimensions)


def _transformer(parts: TransformerTaggerParts, tag_set: TagSet) -> TransformerTagger:
    """A network like the tagger's for other tags; its weights are anything."""
    from nlp_app.models.transformers import checkpoint  # noqa: PLC0415 - loads transformers
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


def _placed(network: N, like: nn.Module) -> N:
    """On the device of another network, in evaluation mode; what isn't trained there isn't trained here."""
    trained = {name: parameter.requires_grad for name, parameter in like.named_parameters()}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(trained[name])
    return network.to(next(like.parameters()).device).eval()
