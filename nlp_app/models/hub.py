"""Models on the Hugging Face Hub: names, and files in the local cache."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nlp_app.core.errors import ModelError
from nlp_app.models.directory import CONFIG, DESCRIPTION, PIECES, TOKENIZER_FILES, VOCABULARY, WEIGHTS

CARD = "README.md"

# The files from which transformers builds a tokenizer: its own format, or a vocabulary in an older format.
SUBWORD_FILES = (
    PIECES, "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "spm.model", "sentencepiece.bpe.model",
    "tokenizer.model", "added_tokens.json",
)  # fmt: skip

INDEX = f"{WEIGHTS}.index.json"

_NEEDED = (
    DESCRIPTION, CARD, CONFIG, WEIGHTS, INDEX, "model-*.safetensors", f"{VOCABULARY}/*", *TOKENIZER_FILES,
    *SUBWORD_FILES,
)  # fmt: skip

_NAME = re.compile(r"(?:[\w.-]+/)?[\w.-]+", re.ASCII)


def is_hub_name(name: str | Path) -> bool:
    """Check if a name can be a model on the Hub and doesn't look like a path.

    A name is `owner/name`, or one of the few names without an owner. A path is absolute, begins with `./` or `~`, has
    more than one slash, exists, or is in a directory that exists.

    Args:
        name: The name.

    Returns:
        True for a name on the Hub.
    """
    owner, slash, _ = str(name).partition("/")
    return is_repository(str(name)) and not os.path.lexists(name) and not (slash and Path(owner).is_dir())


def is_repository(name: str) -> bool:
    """Check if a name is valid for a repository of the Hub.

    Args:
        name: The name, with or without an owner.

    Returns:
        True if it is valid.
    """
    return _NAME.fullmatch(name) is not None and not name.startswith(".") and ".." not in name


def download(name: str, *, code: bool = False) -> Path:
    """Download a model from the Hub, unless it is in the local cache already.

    Args:
        name: The model's name, `owner/name`.
        code: Whether to download the model's Python code too.

    Returns:
        The model's directory in the cache.

    Raises:
        ModelError: If there is no model of this name, access is denied, or the Hub can't be reached (offline,
            `HF_HUB_OFFLINE`).
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
            f"{name}: no such directory, and it can't be downloaded from the Hub ({one_line_error(error)}); "
            "check the name, and whether it needs a token (HF_TOKEN)"
        ) from error


def hub_errors() -> tuple[type[Exception], ...]:
    """List the exceptions of requests to the Hub that fail or can't be made.

    Returns:
        Exception classes of `huggingface_hub`, for an `except` clause.
    """
    from huggingface_hub import errors  # noqa: PLC0415

    # Its errors are derived from those of its HTTP client, which differs between versions.
    kinds = tuple(kind for kind in errors.HfHubHTTPError.__bases__ if issubclass(kind, Exception))
    return (OSError, errors.HFValidationError, *kinds)


def _offline() -> str | None:
    from huggingface_hub import constants  # noqa: PLC0415

    offline = constants.HF_HUB_OFFLINE
    return f"HF_HUB_OFFLINE is set and it isn't in the cache {constants.HF_HUB_CACHE}" if offline else None


def one_line_error(error: BaseException) -> str:
    """Format an exception on one line.

    Args:
        error: The exception.

    Returns:
        Its class and message, 200 characters at most.
    """
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
