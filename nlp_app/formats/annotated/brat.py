"""Write annotated texts as brat standoff documents (brat.nlplab.org/standoff.html)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nlp_app.core.errors import DataError
from nlp_app.core.types import AnnotatedText, ScoredSpan

_TYPE = re.compile(r"[\w/:.-]+")  # brat reads a type up to the next white space


def annotation_lines(annotated: AnnotatedText, name: str) -> str:
    """Return the content of the `.ann` file that belongs to a text.

    A span over a line end is written in several pieces, as brat itself does. The score of a prediction is written as
    an annotator's note.

    Args:
        annotated: The text with its spans.
        name: The name of the document, for messages.

    Returns:
        A text-bound annotation for each span, and perhaps a note.

    Raises:
        DataError: A label contains characters that brat does not allow in a type.
    """
    lines: list[str] = []
    for number, span in enumerate(annotated.spans or (), 1):
        if _TYPE.fullmatch(span.label) is None:
            raise DataError(
                f"label {span.label!r} can't be a type in brat, which consists of letters, digits and -_/:. "
                "Rename it, or choose another output format",
                name,
            )
        pieces = _pieces(annotated.text, span)
        offsets = ";".join(f"{start} {end}" for start, end in pieces)
        quoted = " ".join(annotated.text[start:end] for start, end in pieces)
        lines.append(f"T{number}\t{span.label} {offsets}\t{quoted}")
        if span.score is not None:
            lines.append(f"#{number}\tAnnotatorNotes T{number}\tscore {span.score}")
    return "".join(f"{line}\n" for line in lines)


def _pieces(text: str, span: ScoredSpan) -> Sequence[tuple[int, int]]:
    """Split a span at line ends, without blanks at the ends of its pieces; the span itself if it has no line end."""
    quoted = text[span.start : span.end]
    found = [match.span() for match in re.finditer(r"[^\s](?:[^\r\n]*[^\s])?", quoted)]
    if not re.search(r"[\r\n]", quoted) or not found:
        return [(span.start, span.end)]
    return [(span.start + start, span.start + end) for start, end in found]
