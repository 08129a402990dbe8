"""A pretrained model's directory as transformers leaves it: configuration, weights, tokenizer.

Only safetensors are read, and no code that stands in the directory is run unless the caller trusts it. Whatever else is
wrong with a directory is a ModelError.
"""

from __future__ import annotations

import copy
import inspect
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import safetensors.torch
import torch
from torch import Tensor
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.initialization import no_init_weights
from transformers.utils import logging

from nlp_app.errors import ModelError, did_you_mean
from nlp_app.features.pieces import PieceTokenizer, check_ids, is_panic
from nlp_app.modeldir.directory import CONFIG, PIECES, TOKENIZER_FILES, WEIGHTS, check_finite
from nlp_app.modeldir.hub import INDEX, PIECE_FILES
from nlp_app.nn.transformer_layers import position_limit

LONGEST = 512  # pieces of a window: attention costs their square, and few models were trained on more
CLASSES: Mapping[str, Any] = {
    "base": AutoModel,
    "token": AutoModelForTokenClassification,
    "sequence": AutoModelForSequenceClassification,
}
_HEADS = {"base": "any use", "token": "token classification", "sequence": "sequence classification"}
_PROBLEMS: Final[Mapping[bool | None, Any]] = {
    None: None,
    False: "single_label_classification",
    True: "multi_label_classification",
}
_MOST_LAYERS = 1000
# By the last word of a configuration's names: of these, transformers makes lists as it reads them.
_MOST: Mapping[str, int] = {"labels": 100_000, "layer": _MOST_LAYERS, "layers": _MOST_LAYERS}
_SPARE = 1 << 24  # numbers that a network may have beyond what its checkpoint accounts for
# They may name code of the Hub; transformers makes its own choice without them.
_LEFT_ASIDE = {
    f"{before}{kind}_implementation{after}"
    for before in ("", "_")
    for kind in ("attn", "experts")
    for after in ("", "_internal")
}

T = TypeVar("T")


class Loaded(NamedTuple):
    """A network with a checkpoint's weights. `missing`: what it has of its own, newly made; `left`: what the checkpoint
    has beyond it; `taken`: what both have; `reshaped`: those missing that the checkpoint has in another shape."""

    body: PreTrainedModel
    taken: tuple[str, ...]
    left: tuple[str, ...]
    missing: tuple[str, ...]
    reshaped: tuple[str, ...]


class StockTokenizer(NamedTuple):
    """A checkpoint's tokenizer, and the files in which transformers keeps what else it knows of it."""

    pieces: PieceTokenizer
    files: dict[str, bytes]


@contextmanager
def quiet() -> Iterator[None]:
    """Without what transformers logs and draws while it loads: what matters is in our own messages."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(50)  # nothing below critical
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def read_config(directory: Path, trust_remote_code: bool = False) -> PreTrainedConfig:
    """The configuration, for 32-bit weights and transformers' own choice of attention."""
    path = directory / CONFIG
    if not path.is_file():
        raise ModelError(f"{directory}: found no {CONFIG}; expected a model as transformers saves it")
    values = _json(path)
    kind, code = str(values.get("model_type")), values.get("auto_map")
    own_code = isinstance(code, dict) and "AutoConfig" in code
    if own_code and kind not in CONFIG_MAPPING and not trust_remote_code:
        raise ModelError(
            f"{path}: the model type {kind!r} is code that comes with the model; "
            "read that code, and only if you trust it say so with trust_remote_code"
        )
    if not own_code and kind not in CONFIG_MAPPING:
        hint = did_you_mean(kind, CONFIG_MAPPING.keys()) or "; a newer transformers may know it"
        raise ModelError(f"{path}: unknown model type {kind!r}, expected one of transformers'{hint}")
    if values.get("quantization_config"):
        raise ModelError(f"{path}: its weights are quantized; expected plain ones: name the original model")

    _check_numbers(path, values)

    def read() -> PreTrainedConfig:
        if own_code and trust_remote_code:
            config: PreTrainedConfig = AutoConfig.from_pretrained(directory, trust_remote_code=True)
            return config
        known = {key: value for key, value in values.items() if key not in _LEFT_ASIDE}
        return CONFIG_MAPPING[kind].from_dict(known)

    config = _attempt(path, read)
    layers = getattr(config, "num_hidden_layers", 1)
    if not isinstance(layers, int) or not 0 < layers <= _MOST_LAYERS:
        raise ModelError(f"{path}: found {layers!r} layers, expected 1 to {_MOST_LAYERS}")
    config.dtype = torch.float32
    return config


def _check_numbers(path: Path, values: Any) -> None:
    """That what transformers makes a list of, reading a configuration, is of a sensible length. Raises ModelError."""
    pending = [values]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
        elif isinstance(value, dict):
            pending += value.values()
            for key, count in value.items():
                most = _MOST.get(key.rpartition("_")[2])
                if most is not None and isinstance(count, int | float) and count > most:
                    raise ModelError(f"{path}: found {count} for {key}, expected at most {most:,}; copy it again")


def read_weights(directory: Path) -> dict[str, Tensor]:
    """All tensors of `model.safetensors`, or of the files that its index names."""
    index = directory / INDEX
    if (directory / WEIGHTS).is_file():
        return _tensors(directory / WEIGHTS)
    if not index.is_file():
        pickled = sorted(path.name for path in directory.glob("*.bin"))
        found = f"found {pickled[0]}, a pickle, which may run code" if pickled else f"found no {WEIGHTS}"
        todo = (
            "; convert it with transformers: AutoModel.from_pretrained(OLD).save_pretrained(NEW)"
            if pickled
            else "; a model whose weights are pytorch_model.bin has to be converted to safetensors first"
        )
        raise ModelError(f"{directory}: {found}; expected its weights in {WEIGHTS}{todo}")
    places = _json(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise ModelError(f"{index}: found no weight_map of file names; copy the model again")
    weights: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise ModelError(f"{index}: names {name!r}, expected .safetensors files beside it; don't use this model")
        if not (directory / name).is_file():
            raise ModelError(f"{directory / name}: missing, named in {INDEX}; copy the model again")
        weights |= _tensors(directory / name)
    return weights


def read_tokenizer(directory: Path, trust_remote_code: bool = False) -> StockTokenizer:
    """The fast tokenizer that transformers finds there."""
    present = any((directory / name).is_file() for name in PIECE_FILES)
    if not present and not (directory / "tokenizer_config.json").is_file():
        raise ModelError(f"{directory}: found no tokenizer files; expected tokenizer.json or the model's vocabulary")

    if (directory / PIECES).is_file():
        check_ids((directory / PIECES).read_text(encoding="utf-8", errors="replace"))

    def read() -> Any:
        return AutoTokenizer.from_pretrained(directory, use_fast=True, trust_remote_code=trust_remote_code)

    with quiet():
        tokenizer = _attempt(directory, read, "its tokenizer can't be read")
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"{directory}: {type(tokenizer).__name__} is a slow tokenizer, without a fast one in tokenizer.json; "
            "expected a model with a fast tokenizer"
        )
    if not present:
        raise ModelError(f"{directory}: found no tokenizer.json and no vocabulary; copy the model's tokenizer files")
    with tempfile.TemporaryDirectory() as aside, quiet():
        tokenizer.save_pretrained(aside)
        files = {path.name: path.read_bytes() for path in Path(aside).iterdir() if path.name in TOKENIZER_FILES}
    kept = directory / TOKENIZER_FILES[1]
    if kept.is_file():
        files.setdefault(kept.name, kept.read_bytes())
    padding = next((p for p in (tokenizer.pad_token_id, tokenizer.eos_token_id) if p is not None), 0)
    backend = tokenizer.backend_tokenizer
    return StockTokenizer(_attempt(directory, lambda: PieceTokenizer(backend, tokenizer.unk_token_id, padding)), files)


def code_files(directory: Path, config: PreTrainedConfig) -> dict[str, bytes]:
    """The Python files beside a model that brings its code; none for all others."""
    if not getattr(config, "auto_map", None):
        return {}
    return {path.name: path.read_bytes() for path in sorted(directory.glob("*.py"))}


def check_vocabulary(directory: Path, config: PreTrainedConfig, tokenizer: PieceTokenizer) -> None:
    """That each piece has a row in the table of embeddings. Raises ModelError."""
    rows = getattr(config, "vocab_size", None)
    if not isinstance(rows, int) or rows < tokenizer.size:
        raise ModelError(
            f"{directory}: the tokenizer has {tokenizer.size:,} pieces, the model's table {rows} rows; "
            "they don't belong together: copy both from one model"
        )


def build_body(config: PreTrainedConfig, kind: str, trust_remote_code: bool = False) -> PreTrainedModel:
    """A network of the configuration whose weights are still to be loaded: they hold anything.

    kind: `base`, without a head and a pooler; `token` or `sequence`, with transformers' head of as many labels as the
    configuration names. Raises ModelError if transformers has none.
    """

    # Built where it stays: what isn't in a checkpoint (positions, say) is computed as it is built.
    def build() -> PreTrainedModel:
        with quiet(), no_init_weights():
            body: PreTrainedModel = CLASSES[kind].from_config(
                config, trust_remote_code=trust_remote_code, **_options(config, kind)
            )
            body.tie_weights()  # which is left out together with the initialising
        return body

    return _attempt(f"a {config.model_type} for {_HEADS[kind]}", build, "transformers can't build it")


def load_body(
    config: PreTrainedConfig, kind: str, weights: Mapping[str, Tensor], trust_remote_code: bool = False
) -> Loaded:
    """A network with these weights, whatever prefix and older names they have; what they lack is initialised."""
    empty = skeleton(config, kind, trust_remote_code)
    network_class = type(empty)
    # What a checkpoint lacks is made: a configuration alone must not ask for more memory than there is.
    needed = sum(tensor.numel() for tensor in (*empty.parameters(), *empty.buffers()))
    held = sum(tensor.numel() for tensor in weights.values())
    if needed > 4 * held + _SPARE:
        raise ModelError(
            f"a {config.model_type} for {_HEADS[kind]}: found a configuration of {needed:,} numbers and weights of "
            f"{held:,}; they don't belong together: copy both from one model"
        )

    def load() -> Loaded:
        body: PreTrainedModel
        info: dict[str, Any]
        options = _options(config, kind)
        with quiet():
            body, info = network_class.from_pretrained(  # type: ignore[misc]
                None, config=config, state_dict=dict(weights), dtype=torch.float32, output_loading_info=True,
                ignore_mismatched_sizes=True, **options,
            )  # fmt: skip
        other_shape = {name for name, *_ in info["mismatched_keys"]}
        missing = sorted({*info["missing_keys"], *other_shape})
        taken = [name for name in body.state_dict() if name not in missing]
        left = tuple(sorted(info["unexpected_keys"]))
        return Loaded(body, tuple(taken), left, tuple(missing), tuple(sorted(other_shape)))

    return _attempt(f"a {config.model_type} for {_HEADS[kind]}", load, "its weights can't be loaded")


def skeleton(config: PreTrainedConfig, kind: str, trust_remote_code: bool = False) -> PreTrainedModel:
    """The network without memory: its classes, names and shapes."""
    with torch.device("meta"):
        return build_body(config, kind, trust_remote_code)


def label_rows(config: PreTrainedConfig, kind: str, trust_remote_code: bool = False) -> set[str]:
    """The names of the head's tensors that have a row for each label: those whose shape changes with their number."""
    config = copy.deepcopy(config)
    shapes = []
    for count in (2, 3):
        set_labels(config, [f"{number}" for number in range(count)])
        network = skeleton(config, kind, trust_remote_code)
        shapes.append({name: tensor.shape for name, tensor in network.state_dict().items()})
    return {name for name, shape in shapes[0].items() if shapes[1][name] != shape}


def label_names(config: PreTrainedConfig) -> list[str]:
    """What the head's rows are called, in their order. Raises ModelError for numbers with gaps."""
    names: dict[Any, Any] = dict(config.id2label or {})
    if sorted(names) != list(range(len(names))):
        raise ModelError(f"id2label: found the numbers {sorted(names)[:20]}, expected 0 to {len(names) - 1}")
    return [str(names[number]) for number in range(len(names))]


def set_labels(config: PreTrainedConfig, labels: Sequence[str], multi_label: bool | None = None) -> None:
    """Name the head's rows, and say whether several can be right for one text (None: of one token)."""
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    config.problem_type = _PROBLEMS[multi_label]


def longest_of(network: PreTrainedModel) -> int:
    """The most pieces of a window: the network's positions, 512 where it has more or counts them relatively."""
    limit, positions = position_limit(network), getattr(network.config, "max_position_embeddings", None)
    if limit is not None and isinstance(positions, int) and positions > 0:
        limit = min(limit, positions)  # some tables have rows that no position uses
    return min(limit or LONGEST, LONGEST)


def _options(config: PreTrainedConfig, kind: str) -> dict[str, Any]:
    """Without the pooler, which only transformers' own heads use."""
    networks = AutoModel._model_mapping
    network: Any = networks[type(config)] if kind == "base" and type(config) in networks else None
    has_choice = inspect.isclass(network) and "add_pooling_layer" in inspect.signature(network).parameters
    return {"add_pooling_layer": False} if has_choice else {}


def _tensors(path: Path) -> dict[str, Tensor]:
    tensors = _attempt(path, lambda: safetensors.torch.load_file(path), "damaged")
    _attempt(path, lambda: check_finite(tensors), "damaged")
    return tensors


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not readable as JSON ({error}); copy the model again") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path}: found {type(values).__name__}, expected a JSON object; copy the model again")
    return values


def _attempt(place: Path | str, act: Callable[[], T], what: str = "can't be read") -> T:
    """What `act` gives; what transformers raises for a directory it can't use becomes one line."""
    try:
        return act()
    except ModelError:
        raise
    except BaseException as error:
        # transformers raises anything, and a library in Rust that panics raises what is no Exception.
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{place}: {what} ({type(error).__name__}: {reason}); expected a model that works") from error
