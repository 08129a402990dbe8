"""nlp_app: sequence labeling and text classification for Chinese, English and mixed text.

Importing the package loads neither torch nor transformers; they are loaded when a name that needs them is first used.

Example:
    >>> import nlp_app
    >>> tagger = nlp_app.load("runs/ner")
    >>> spans = tagger.tag("Satya Nadella visited Shanghai.")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nlp_app.core.version import __version__

if TYPE_CHECKING:
    from nlp_app.core.errors import NlpAppError
    from nlp_app.core.types import Label, Span, Tokens
    from nlp_app.inference import Classifier, Tagger, load
    from nlp_app.text import BasicTokenizer


__all__ = [
    "BasicTokenizer",
    "Classifier",
    "Label",
    "NlpAppError",
    "Span",
    "Tagger",
    "Tokens",
    "__version__",
    "load",
]

_MODULES = {
    "BasicTokenizer": "nlp_app.text",
    "Classifier": "nlp_app.inference",
    "Label": "nlp_app.core.types",
    "NlpAppError": "nlp_app.core.errors",
    "Span": "nlp_app.core.types",
    "Tagger": "nlp_app.inference",
    "Tokens": "nlp_app.core.types",
    "load": "nlp_app.inference",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'nlp_app' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
