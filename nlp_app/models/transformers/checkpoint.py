"""Read a pretrained model's directory in the form of transformers: configuration, weights, tokenizer.

Weights are read from safetensors only, and code in the directory runs only if the caller trusts it. Any other problem
with a directory is a ModelError.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import safetensors.torch
import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoConfig, AutoTokenizer, PreTrainedConfig
from transformers.utils import logging

from nlp_app.core.errors import ModelError, did_you_mean, is_panic
from nlp_app.features.subwords.tokenizer import SubwordTokenizer, check_ids
from nlp_app.models.directory import CONFIG, PIECES, TOKENIZER_FILES, WEIGHTS
from nlp_app.models.hub import INDEX, SUBWORD_FILES
from nlp_app.models.torch_weights import check_finite

MAX_WINDOW = 512  # subwords; the cost of attention grows with their square, and few models were trained on more

_MAX_LAYERS = 1000

# Limits by the last word of a setting: transformers makes lists of these lengths as it reads a configuration.
_LIMITS: Mapping[str, int] = {"labels": 100_000, "layer": _MAX_LAYERS, "layers": _MAX_LAYERS}

_SPARE = 1 << 24  # numbers that a network may have in addition to four times those of its checkpoint

# Settings that are ignored: they may name code on the Hub. Without them, transformers chooses for itself.
_IGNORED_SETTINGS = {
    f"{before}{kind}_implementation{after}"
    for before in ("", "_")
    for kind in ("attn", "experts")
    for after in ("", "_internal")
}

T = TypeVar("T")


class CheckpointTokenizer(NamedTuple):
    """A checkpoint's tokenizer.

    Attributes:
        tokenizer: The tokenizer.
        files: Contents by name of the files that transformers needs in addition to `tokenizer.json`, and of the model's
            own code, if any.
    """

    tokenizer: SubwordTokenizer
    files: dict[str, bytes]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A pretrained model's directory and configuration. The tokenizer and the weights are read on request.

    Attributes:
        directory: The directory.
        config: The configuration.
        trust_remote_code: Whether code in the directory may run.
    """

    directory: Path
    config: PreTrainedConfig
    trust_remote_code: bool = False

    def read_tokenizer(self) -> CheckpointTokenizer:
        """Read the fast tokenizer that transformers finds in the directory, its files, and the model's own code.

        Returns:
            The tokenizer and the files.

        Raises:
            ModelError: If the tokenizer is missing, slow or damaged, or belongs to another model.
        """
        tokenizer, files = _read_tokenizer(self.directory, self.trust_remote_code)
        self.check_vocabulary(tokenizer)
        return CheckpointTokenizer(tokenizer, files | self.code_files())

    def read_weights(self) -> dict[str, Tensor]:
        """Read all tensors of `model.safetensors`, or of the files that its index names.

        Returns:
            Tensors by name.

        Raises:
            ModelError: If a file is missing or damaged, or the weights are in another format.
        """
        directory = self.directory
        index = directory / INDEX
        if (directory / WEIGHTS).is_file():
            return _tensors(directory / WEIGHTS)
        if not index.is_file():
            pickled = sorted(path.name for path in directory.glob("*.bin"))
            found = f"found {pickled[0]}, a pickle, which may run code" if pickled else f"found no {WEIGHTS}"
            todo = (
                "; convert it with transformers: AutoModel.from_pretrained(OLD).save_pretrained(NEW)"
                if pickled
                else "; convert a model with weights in pytorch_model.bin to safetensors first"
            )
            raise ModelError(f"{directory}: {found}; expected its weights in {WEIGHTS}{todo}")
        places = _json(index).get("weight_map")
        if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
            raise ModelError(f"{index}: found no weight_map of file names; copy the model again")
        weights: dict[str, Tensor] = {}
        for name in sorted(set(places.values())):
            if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
                raise ModelError(
                    f"{index}: names {name!r}, expected .safetensors files next to it; don't use this model"
                )
            if not (directory / name).is_file():
                raise ModelError(f"{directory / name}: missing, named in {INDEX}; copy the model again")
            weights |= _tensors(directory / name)
        return weights

    def code_files(self) -> dict[str, bytes]:
        """Read the Python files of a model that has its own code.

        Returns:
            Contents by file name; empty for all other models.
        """
        if not getattr(self.config, "auto_map", None):
            return {}
        return {path.name: path.read_bytes() for path in sorted(self.directory.glob("*.py"))}

    def check_vocabulary(self, tokenizer: SubwordTokenizer) -> None:
        """Check that the embedding table has a row for each subword.

        Args:
            tokenizer: The tokenizer.

        Raises:
            ModelError: If the table has fewer rows.
        """
        rows = getattr(self.config, "vocab_size", None)
        if not isinstance(rows, int) or rows < tokenizer.size:
            raise ModelError(
                f"{self.directory}: the tokenizer has {tokenizer.size:,} subwords, the model's embeddings {rows} rows; "
                "they don't belong together: copy both from one model"
            )


def open_checkpoint(directory: Path, trust_remote_code: bool = False) -> Checkpoint:
    """Read the configuration of a directory. Weights will be 32-bit, and transformers chooses the kind of attention.

    Args:
        directory: A model as transformers saves it.
        trust_remote_code: Whether code in the directory may run.

    Returns:
        The checkpoint; its tokenizer and weights are not read yet.

    Raises:
        ModelError: If the configuration is missing or damaged, or this kind of model can't be used.
    """
    return Checkpoint(
        directory=directory,
        config=_read_config(directory, trust_remote_code),
        trust_remote_code=trust_remote_code,
    )


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Suppress the log and the progress bars of transformers. Important problems are in our own messages.

    Yields:
        Nothing; the settings are restored at the end of the block.
    """
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(50)  # nothing below critical
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _read_config(directory: Path, trust_remote_code: bool) -> PreTrainedConfig:
    path = directory / CONFIG
    if not path.is_file():
        raise ModelError(f"{directory}: found no {CONFIG}; expected a model as transformers saves it")
    values = _json(path)
    kind, code = str(values.get("model_type")), values.get("auto_map")
    own_code = isinstance(code, dict) and "AutoConfig" in code
    if own_code and kind not in CONFIG_MAPPING and not trust_remote_code:
        raise ModelError(
            f"{path}: the model type {kind!r} is Python code that comes with the model; "
            "read that code, and set trust_remote_code only if you trust it"
        )
    if not own_code and kind not in CONFIG_MAPPING:
        hint = did_you_mean(kind, CONFIG_MAPPING.keys()) or "; a newer transformers may know it"
        raise ModelError(f"{path}: unknown model type {kind!r}, expected one that transformers knows{hint}")
    if values.get("quantization_config"):
        raise ModelError(f"{path}: its weights are quantized, expected unquantized ones; use the original model")

    _check_numbers(path, values)

    def read() -> PreTrainedConfig:
        if own_code and trust_remote_code:
            config: PreTrainedConfig = AutoConfig.from_pretrained(directory, trust_remote_code=True)
            return config
        known = {key: value for key, value in values.items() if key not in _IGNORED_SETTINGS}
        return CONFIG_MAPPING[kind].from_dict(known)

    config = _attempt(path, read)
    layers = getattr(config, "num_hidden_layers", 1)
    if not isinstance(layers, int) or not 0 < layers <= _MAX_LAYERS:
        raise ModelError(f"{path}: found {layers!r} layers, expected 1 to {_MAX_LAYERS}")
    config.dtype = torch.float32
    return config


def _check_numbers(path: Path, values: Any) -> None:
    """Raise ModelError if transformers would make very long lists while it reads a configuration."""
    pending = [values]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
        elif isinstance(value, dict):
            pending += value.values()
            for key, count in value.items():
                limit = _LIMITS.get(key.rpartition("_")[2])
                if limit is not None and isinstance(count, int | float) and count > limit:
                    raise ModelError(f"{path}: found {count} for {key}, expected at most {limit:,}; copy it again")


def _read_tokenizer(directory: Path, trust_remote_code: bool) -> CheckpointTokenizer:
    present = any((directory / name).is_file() for name in SUBWORD_FILES)
    if not present and not (directory / "tokenizer_config.json").is_file():
        raise ModelError(f"{directory}: found no tokenizer files; expected tokenizer.json or the model's vocabulary")

    if (directory / PIECES).is_file():
        check_ids((directory / PIECES).read_text(encoding="utf-8", errors="replace"))

    def read() -> Any:
        return AutoTokenizer.from_pretrained(directory, use_fast=True, trust_remote_code=trust_remote_code)

    with silence_transformers():
        tokenizer = _attempt(directory, read, "its tokenizer can't be read")
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"{directory}: {type(tokenizer).__name__} is a slow tokenizer, without a fast one in tokenizer.json; "
            "expected a model with a fast tokenizer"
        )
    if not present:
        raise ModelError(f"{directory}: found no tokenizer.json and no vocabulary; copy the model's tokenizer files")
    with tempfile.TemporaryDirectory() as folder, silence_transformers():
        tokenizer.save_pretrained(folder)
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.name in TOKENIZER_FILES}
    special_tokens = directory / TOKENIZER_FILES[1]
    if special_tokens.is_file():
        files.setdefault(special_tokens.name, special_tokens.read_bytes())
    padding = next(
        (token_id for token_id in (tokenizer.pad_token_id, tokenizer.eos_token_id) if token_id is not None), 0
    )
    backend = tokenizer.backend_tokenizer
    return CheckpointTokenizer(
        _attempt(directory, lambda: SubwordTokenizer(backend, tokenizer.unk_token_id, padding)), files
    )


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


def _attempt(place: Path | str, function: Callable[[], T], problem: str = "can't be read") -> T:
    """Call a function of transformers and turn its exceptions into a ModelError of one line."""
    try:
        return function()
    except ModelError:
        raise
    except BaseException as error:
        # transformers may raise anything; a panic in a Rust library is not even an Exception.
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{place}: {problem} ({type(error).__name__}: {reason}); expected a model that works"
        ) from error
