"""Read and write a BiLSTM-CRF tagger's part of a model directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

from numpy.typing import NDArray

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
    read_or_raise_model_error,
)
from nlp_app.models.numpy_weights import read_arrays
from nlp_app.models.packed_tensors import pack, unpack
from nlp_app.numerics.dimensions import TableSizes, TaggerDimensions
from nlp_app.runtime.tagger import TaggerNetwork, weight_types
from nlp_app.text import Tokenizer, make_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

    from nlp_app.nn.tagger import WideBiLstmCrf

KIND = "bilstm_crf"

_TABLES = tuple(
    f"{table}.weight" for table in ("norms", "shapes", "parts", "vectors", "wide")
)  # they hold most of the weights


class _Network(Protocol):
    @property
    def dimensions(self) -> TaggerDimensions:
        """The sizes of the layers."""


@dataclass(frozen=True)
class _AnyTaggerParts:
    """The parts of a BiLSTM-CRF tagger.

    Attributes:
        network: The network, which scores tags.
        encoder: Encodes tokens for the network.
        tag_set: The tags, their scheme and labels.
        tokenizer: Splits raw texts into tokens.
        about: How the training data was read, its scheme, how well the tokenizer reproduces its tokens, and other facts
            for people and programs, as JSON values.
        card: The text of README.md, or "".
        task: Always "ner".
    """

    network: _Network
    encoder: TaggingEncoder
    tag_set: TagSet
    tokenizer: Tokenizer
    about: dict[str, Any]
    card: str = field(default="", compare=False)
    task: ClassVar[Literal["ner"]] = "ner"

    def describe(self) -> dict[str, Any]:
        """Describe the tagger for `nlp_app.json`.

        Returns:
            JSON values.
        """
        return {
            "task": self.task,
            "labels": list(self.tag_set.labels),
            "scheme": self.tag_set.scheme,
            "tokenizer": {"name": self.tokenizer.name, "settings": self.tokenizer.settings()},
            "network": {"kind": KIND, "sizes": self.encoder.sizes, "dimensions": asdict(self.network.dimensions)},
            "about": self.about,
        }

    def save_files(self, directory: Path) -> None:
        """Write the encoder's vocabularies.

        Args:
            directory: The directory of the new model, still empty.
        """
        (directory / VOCABULARY).mkdir()
        self.encoder.save(directory / VOCABULARY)


@dataclass(frozen=True)
class TaggerParts(_AnyTaggerParts):
    """The parts of a BiLSTM-CRF tagger whose network is a torch module.

    Attributes:
        network: The network, which scores tags.
    """

    network: WideBiLstmCrf

    def weights(self) -> Mapping[str, Tensor]:
        """Get the network's weights. The tables of a compact tagger are packed.

        Returns:
            Tensors by name.
        """
        import torch  # noqa: PLC0415 - the network has already imported it

        state = self.network.state_dict()
        packed = pack({name: tensor.detach().cpu().numpy() for name, tensor in state.items()}, _TABLES)
        return {name: state[name] if name in state else torch.from_numpy(array) for name, array in packed.items()}


@dataclass(frozen=True)
class NumpyTaggerParts(_AnyTaggerParts):
    """The parts of a BiLSTM-CRF tagger whose network is computed by NumPy.

    Attributes:
        network: The network, which scores tags.
    """

    network: TaggerNetwork

    def weights(self) -> Mapping[str, NDArray[Any]]:
        """Get the network's weights. The tables of a compact tagger are packed.

        Returns:
            Arrays by name.
        """
        return pack(self.network.weights, _TABLES)


def read_tagger(directory: Path, description: Mapping[str, Any]) -> TaggerParts:
    """Read a tagger from a model directory whose files were checked.

    Args:
        directory: The model's directory.
        description: The contents of `nlp_app.json`.

    Returns:
        The parts of the tagger.

    Raises:
        ModelError: If the description doesn't fit the files.
    """
    import torch  # noqa: PLC0415 - a model can be used without it

    from nlp_app.models.torch_weights import read_network  # noqa: PLC0415
    from nlp_app.nn.tagger import WideBiLstmCrf  # noqa: PLC0415

    def restore(weights: dict[str, Tensor]) -> Mapping[str, Tensor]:
        packed = {name: weights.pop(name).numpy() for name in list(weights) if name.rpartition(".")[0] in _TABLES}
        return weights | {name: torch.from_numpy(array) for name, array in unpack(packed, _TABLES).items()}

    rest, sizes, dimensions = _read_rest(directory, description)
    tag_set = rest.tag_set
    network = read_network(
        directory,
        lambda: WideBiLstmCrf(len(tag_set.tags), torch.from_numpy(tag_set.allowed).to("meta"), sizes, dimensions),
        restore,
    )
    return TaggerParts(network, *rest)


def read_numpy_tagger(directory: Path, description: Mapping[str, Any]) -> NumpyTaggerParts:
    """Read a tagger from a model directory whose files were checked, with its network in NumPy.

    Args:
        directory: The model's directory.
        description: The contents of `nlp_app.json`.

    Returns:
        The parts of the tagger.

    Raises:
        ModelError: If the description doesn't fit the files.
    """
    rest, sizes, dimensions = _read_rest(directory, description)
    expected = weight_types(len(rest.tag_set.tags), sizes, dimensions)
    weights = read_arrays(directory, expected, lambda arrays: unpack(arrays, _TABLES))
    return NumpyTaggerParts(TaggerNetwork(weights, dimensions), *rest)


def to_torch(parts: NumpyTaggerParts) -> TaggerParts:
    """Convert a tagger to one whose network is a torch module. Both share the memory of the weights.

    Args:
        parts: The tagger.

    Returns:
        The same tagger in torch.
    """
    import torch  # noqa: PLC0415 - a model can be used without it

    from nlp_app.models.torch_weights import share_weights  # noqa: PLC0415
    from nlp_app.nn.tagger import WideBiLstmCrf  # noqa: PLC0415

    tag_set, sizes = parts.tag_set, TableSizes(**parts.encoder.sizes)
    network = share_weights(
        lambda: WideBiLstmCrf(
            len(tag_set.tags), torch.from_numpy(tag_set.allowed).to("meta"), sizes, parts.network.dimensions
        ),
        parts.network.weights,
    )
    return TaggerParts(network, parts.encoder, tag_set, parts.tokenizer, parts.about, parts.card)


class _Rest(NamedTuple):
    """All parts but the network."""

    encoder: TaggingEncoder
    tag_set: TagSet
    tokenizer: Tokenizer
    about: dict[str, Any]


def _read_rest(directory: Path, description: Mapping[str, Any]) -> tuple[_Rest, TableSizes, TaggerDimensions]:
    place, vocabulary = directory / DESCRIPTION, directory / VOCABULARY
    tag_set, tokenizer, sizes, dimensions, about = read_or_raise_model_error(
        place, lambda: _parse_description(description)
    )
    encoder = read_or_raise_model_error(
        vocabulary, lambda: TaggingEncoder.load(vocabulary, tokenizer.normalize, vectors=sizes.vectors > 0)
    )
    if encoder.sizes != {key: rows for key, rows in asdict(sizes).items() if key in encoder.sizes}:
        raise ModelError(f"{directory}: the vocabularies don't fit the network's tables; copy the model again")
    return _Rest(encoder, tag_set, tokenizer, about), sizes, dimensions


def _parse_description(
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
