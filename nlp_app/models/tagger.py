"""The tagger in a model directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from nlp_app.core.errors import ModelError
from nlp_app.features.tagging.encoder import TaggingEncoder
from nlp_app.labels.tag_set import TagSet
from nlp_app.models.directory import (
    DESCRIPTION,
    VOCABULARY,
    check_tags,
    parse_dimensions,
    read_about,
    read_labels,
    read_network,
    read_or_raise_model_error,
)
from nlp_app.models.packed_tensors import pack, unpack
from nlp_app.nn.tagger import TableSizes, TaggerDimensions, WideBiLstmCrf
from nlp_app.text import Tokenizer, make_tokenizer

KIND = "bilstm_crf"

_TABLES = tuple(f"{table}.weight" for table in ("norms", "shapes", "parts", "vectors", "wide"))  # most of the weights


@dataclass(frozen=True)
class TaggerParts:
    """What a tagger is made of. `about` holds what people and readers may want to know: how the data was read, its
    scheme, how well the tokenizer reproduces its tokens; `card` is the text of its README.md, if it has one."""

    network: WideBiLstmCrf
    encoder: TaggingEncoder
    tag_set: TagSet
    tokenizer: Tokenizer
    about: dict[str, Any]
    card: str = field(default="", compare=False)
    task: ClassVar[Literal["ner"]] = "ner"

    def describe(self) -> dict[str, Any]:
        """What `nlp_app.json` says of it."""
        return {
            "task": self.task,
            "labels": list(self.tag_set.labels),
            "scheme": self.tag_set.scheme,
            "tokenizer": {"name": self.tokenizer.name, "settings": self.tokenizer.settings()},
            "network": {"kind": KIND, "sizes": self.encoder.sizes, "dimensions": asdict(self.network.dimensions)},
            "about": self.about,
        }

    def weights(self) -> Mapping[str, Tensor]:
        """The network's; a compact tagger's tables packed."""
        return pack(self.network.state_dict(), _TABLES)

    def save_files(self, directory: Path) -> None:
        """Write the encoder's vocabularies."""
        (directory / VOCABULARY).mkdir()
        self.encoder.save(directory / VOCABULARY)


def read_tagger(directory: Path, description: Mapping[str, Any]) -> TaggerParts:
    """The tagger of a directory whose files are intact. Raises ModelError if the description doesn't fit them."""
    place, vocabulary = directory / DESCRIPTION, directory / VOCABULARY
    tag_set, tokenizer, sizes, dimensions, about = read_or_raise_model_error(place, lambda: _described(description))
    encoder = read_or_raise_model_error(
        vocabulary, lambda: TaggingEncoder.load(vocabulary, tokenizer.normalize, vectors=sizes.vectors > 0)
    )
    if encoder.sizes != {key: rows for key, rows in asdict(sizes).items() if key in encoder.sizes}:
        raise ModelError(f"{directory}: the vocabularies don't fit the network's tables; copy the model again")
    network = read_network(
        directory,
        lambda: WideBiLstmCrf(len(tag_set.tags), torch.from_numpy(tag_set.allowed).to("meta"), sizes, dimensions),
        lambda weights: unpack(weights, _TABLES),
    )
    return TaggerParts(network, encoder, tag_set, tokenizer, about)


def _described(
    description: Mapping[str, Any],
) -> tuple[TagSet, Tokenizer, TableSizes, TaggerDimensions, dict[str, Any]]:
    network = description["network"]
    if network["kind"] != KIND:
        raise ValueError(f"network: found {network['kind']!r}, expected {KIND!r}")
    sizes = parse_dimensions(TableSizes, {"vectors": 0, **network["sizes"]}, {})
    dimensions = parse_dimensions(TaggerDimensions, network["dimensions"], {"layers": 100})
    tokenizer = make_tokenizer(description["tokenizer"]["name"], **description["tokenizer"]["settings"])
    tag_set = TagSet(read_labels(description), description["scheme"])
    check_tags(tag_set.tags)
    return tag_set, tokenizer, sizes, dimensions, read_about(description)
