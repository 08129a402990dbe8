"""Models of the Hugging Face Hub: what is one's name, and its files in the local cache."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nlp_app.core.errors import ModelError
from nlp_app.models.directory import CONFIG, DESCRIPTION, PIECES, TOKENIZER_FILES, VOCABULARY, WEIGHTS

CARD = "README.md"

# What transformers builds a tokenizer from: its own format, or a vocabulary of an older one.
PIECE_FILES = (
    PIECES, "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "spm.model", "sentencepiece.bpe.model",
    "tokenizer.model", "added_tokens.json",
)  # fmt: skip

INDEX = f"{WEIGHTS}.index.json"

_NEEDED = (
    DESCRIPTION, CARD, CONFIG, WEIGHTS, INDEX, "model-*.safetensors", f"{VOCABULARY}/*", *TOKENIZER_FILES, *PIECE_FILES
)  # fmt: skip

_NAME = re.compile(r"(?:[\w.-]+/)?[\w.-]+", re.ASCII)


def is_hub_name(name: str | Path) -> bool:
    """Whether `name` can be a model's name on the Hub (`owner/name`, or one of the few names without an owner) and
    doesn't look like a path: absolute, `./`, `~`, more than one slash, there already or below a directory that is."""
    owner, slash, _ = str(name).partition("/")
    return is_repository(str(name)) and not os.path.lexists(name) and not (slash and Path(owner).is_dir())


def is_repository(name: str) -> bool:
    """Whether a repository of the Hub may be called so."""
    return _NAME.fullmatch(name) is not None and not name.startswith(".") and ".." not in name


def download(name: str, *, code: bool = False) -> Path:
    """The model's files in the cache, downloaded unless they are there already; with its Python code if `code`.

    Raises ModelError if they can't be had: no such model, no access, offline (`HF_HUB_OFFLINE`).
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - half a second, and only for the Hub
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    patterns = [*_NEEDED, "*.py"] if code else [*_NEEDED]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except LocalEntryNotFoundError as error:
        reason = (
            _offline()
            or f"the Hub can't be reached ({one_line_error(error.__cause__ or error)}) and it isn't in the cache"
        )
        raise ModelError(f"{name}: no such directory, and {reason}; download it where there is a network") from error
    except hub_errors() as error:
        raise ModelError(
            f"{name}: no such directory, and the Hub doesn't give it ({one_line_error(error)}); "
            "check the name, and whether it needs a token (HF_TOKEN)"
        ) from error


def hub_errors() -> tuple[type[Exception], ...]:
    """What `huggingface_hub` raises for a request that can't be made or fails."""
    from huggingface_hub import errors  # noqa: PLC0415

    # Its errors stand on those of its HTTP client, whose package differs from version to version.
    kinds = tuple(kind for kind in errors.HfHubHTTPError.__bases__ if issubclass(kind, Exception))
    return (OSError, errors.HFValidationError, *kinds)


def _offline() -> str | None:
    from huggingface_hub import constants  # noqa: PLC0415

    offline = constants.HF_HUB_OFFLINE
    return f"HF_HUB_OFFLINE is set and it isn't in the cache {constants.HF_HUB_CACHE}" if offline else None


def one_line_error(error: BaseException) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
