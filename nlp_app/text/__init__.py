"""Tokenizers: split raw text into tokens with normal forms and offsets into the original text."""

from __future__ import annotations

from nlp_app.text.basic import BasicTokenizer
from nlp_app.text.char import CharTokenizer
from nlp_app.text.codepoints import unidata_version
from nlp_app.text.tokenizer import TOKENIZERS, Tokenizer, agreement, make_tokenizer
from nlp_app.text.whitespace import WhitespaceTokenizer

__all__ = [
    "TOKENIZERS",
    "BasicTokenizer",
    "CharTokenizer",
    "Tokenizer",
    "WhitespaceTokenizer",
    "agreement",
    "make_tokenizer",
    "unidata_version",
]
