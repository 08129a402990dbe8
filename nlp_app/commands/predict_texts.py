"""Tag and classify texts. It imports no settings, so that a text is predicted without pydantic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nlp_app.formats.io.compression import compression_for_name
from nlp_app.formats.io.streams import check_characters, write_answers
from nlp_app.inference import Classifier, Tagger
from nlp_app.inference.files.output_lines import PredictionOptions, make_predictor
from nlp_app.inference.files.records import Item


@dataclass(frozen=True)
class PredictedClasses:
    """Selection of the classes that are returned for a text; by default the model decides.

    Attributes:
        top_k: Largest number of classes, or None.
        threshold: Smallest probability of a class, or None.
    """

    top_k: int | None = None
    threshold: float | None = None


def classify_texts(classifier: Classifier, texts: Sequence[str], target: str | None, choice: PredictedClasses) -> None:
    """Classify texts, and write a JSON line for each.

    Args:
        classifier: A trained classifier.
        texts: The texts.
        target: The file to write; None or `-` for standard output.
        choice: The classes to return.

    Raises:
        DataError: A text is not valid Unicode, or the output can't be written.
    """
    check_characters(texts)
    items: list[Item] = [{"text": text} for text in texts]
    write_answers(make_predictor(classifier, prediction_options(choice, target))(items), target)


def tag_texts(tagger: Tagger, texts: Sequence[str], target: str | None) -> None:
    """Tag texts, and write a JSON line for each.

    Args:
        tagger: A trained tagger.
        texts: The texts.
        target: The file to write; None or `-` for standard output.

    Raises:
        DataError: A text is not valid Unicode, or the output can't be written.
    """
    check_characters(texts)
    items: list[Item] = [{"text": text} for text in texts]
    write_answers(make_predictor(tagger, PredictionOptions(compression=compression_for_name(target)))(items), target)


def prediction_options(choice: PredictedClasses, target: str | None) -> PredictionOptions:
    """Return the options of predictions that are written to a file.

    Args:
        choice: The classes to return.
        target: The file to write; None or `-` for standard output.

    Returns:
        The options; the name of the file tells the compression.
    """
    return PredictionOptions(choice.top_k, choice.threshold, compression_for_name(target))
