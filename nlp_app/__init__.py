"""nlp_app: sequence labelling and text classification for Chinese, English and mixed text.

Importing the package loads neither torch nor transformers; its names load what they need when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlp_app.errors import NlpAppError
    from nlp_app.predict import Classifier, Tagger, load
    from nlp_app.text import BasicTokenizer
    from nlp_app.types import Label, Span, Tokens

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

__version__ = "0.1.0"

_HOMES = {
    "BasicTokenizer": "nlp_app.text",
    "Classifier": "nlp_app.predict",
    "Label": "nlp_app.types",
    "NlpAppError": "nlp_app.errors",
    "Span": "nlp_app.types",
    "Tagger": "nlp_app.predict",
    "Tokens": "nlp_app.types",
    "load": "nlp_app.predict",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nlp_app' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
