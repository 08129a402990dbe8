"""Write annotated texts as spaCy's binary training data (`.spacy`), with the package spacy."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from nlp_app.core.errors import SettingsError
from nlp_app.core.types import AnnotatedText

if TYPE_CHECKING:
    from spacy.tokens import Doc


def to_docs(texts: Iterable[AnnotatedText], language: str = "xx") -> bytes:
    """Convert annotated texts to the bytes of a `DocBin`.

    Spans become `doc.ents`, without overlapping ones; classes become `doc.cats`. The tokens are those of the text, or
    words and punctuation; they are split where a span begins or ends inside of one.

    Args:
        texts: The texts with their annotations.
        language: spaCy's code of the language; `xx` for any.

    Returns:
        The content of a `.spacy` file.

    Raises:
        SettingsError: The package spacy is not installed.
    """
    spacy, tokens = _import_spacy()
    vocab = spacy.blank(language).vocab
    docs = tokens.DocBin(store_user_data=False)
    for annotated in texts:
        docs.add(_to_doc(annotated, vocab, tokens.Doc))
    content: bytes = docs.to_bytes()
    return content


def _import_spacy() -> tuple[Any, Any]:
    try:
        import spacy  # noqa: PLC0415
        import spacy.tokens  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError("spacy: the package is not installed; run `pip install 'nlp-app[spacy]'`") from error
    return spacy, spacy.tokens


def _to_doc(annotated: AnnotatedText, vocab: Any, doc_type: type[Doc]) -> Doc:
    words, spaces, starts = _words(annotated)
    doc = doc_type(vocab, words=words, spaces=spaces)
    first = {start: index for index, start in enumerate(starts)}
    last = {start + len(word): index + 1 for index, (start, word) in enumerate(zip(starts, words, strict=True))}
    entities: list[Any] = []
    end = 0
    for span in sorted(annotated.spans or ()):
        if span.start < end:
            continue  # counted by `losses`
        end = span.end
        entities.append(_entity(doc, first[span.start], last[span.end], span.label))
    doc.ents = tuple(entities)
    if annotated.labels is not None:
        doc.cats = {label.label: 1.0 if label.score is None else label.score for label in annotated.labels}
    return doc


def _entity(doc: Doc, start: int, end: int, label: str) -> Any:
    from spacy.tokens import Span  # noqa: PLC0415

    return Span(doc, start, end, label=label)


def _words(annotated: AnnotatedText) -> tuple[list[str], list[bool], list[int]]:
    """Return the words, whether a space follows each of them, and their offsets. Together they are the text."""
    text = annotated.text
    tokens = annotated.tokens
    edges: Sequence[tuple[int, int]] = (
        [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)] if tokens is None else tokens
    )
    begins = {span.start for span in annotated.spans or ()}
    ends = {span.end for span in annotated.spans or ()}
    cuts = sorted({0, len(text), *begins, *ends, *(edge for token in edges for edge in token)})
    words: list[str] = []
    spaces: list[bool] = []
    starts: list[int] = []
    for start, end in itertools.pairwise(cuts):
        piece = text[start:end]
        is_own = start in begins or start + 1 in ends  # a space at which a span begins or ends is a token
        if piece.startswith(" ") and words and not spaces[-1] and not is_own:
            spaces[-1] = True
            piece, start = piece[1:], start + 1
        if piece:
            words.append(piece)
            spaces.append(False)
            starts.append(start)
    return words, spaces, starts
