"""Tag and classify texts. It imports no settings, so that a text is predicted without pydantic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nlp_app.commands.output_plan import OutputPlan, OutputRequest, plan_output
from nlp_app.formats.io.compression import compress_frame
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


def classify_texts(
    classifier: Classifier, texts: Sequence[str], request: OutputRequest, choice: PredictedClasses
) -> list[str]:
    """Classify texts, and write a JSON line for each, or another format.

    Args:
        classifier: A trained classifier.
        texts: The texts.
        request: The output.
        choice: The classes to return.

    Returns:
        Notes for the user.

    Raises:
        DataError: A text is not valid Unicode, or the output can't be written.
        SettingsError: The output's format is unknown or does not suit the input.
    """
    check_characters(texts)
    plan = plan_output(request, PredictionOptions(choice.top_k, choice.threshold), "classify", "text")
    _write_texts(classifier, texts, plan)
    return plan.finish(classes=classifier.labels)


def tag_texts(tagger: Tagger, texts: Sequence[str], request: OutputRequest) -> list[str]:
    """Tag texts, and write a JSON line for each, or another format.

    Args:
        tagger: A trained tagger.
        texts: The texts.
        request: The output.

    Returns:
        Notes for the user.

    Raises:
        DataError: A text is not valid Unicode, or the output can't be written.
        SettingsError: The output's format is unknown or does not suit the input.
    """
    check_characters(texts)
    plan = plan_output(request, PredictionOptions(), "tag", "text")
    _write_texts(tagger, texts, plan)
    return plan.finish(tagger.parts.tokenizer)


def _write_texts(model: Tagger | Classifier, texts: Sequence[str], plan: OutputPlan) -> None:
    """Write the answers for texts, below the header of a table."""
    items: list[Item] = [{"text": text} for text in texts]
    data = make_predictor(model, plan.options)(items)
    if plan.options.header:
        data = compress_frame(f"{plan.options.header}\n".encode(), plan.options.compression) + data
    write_answers(data, plan.target)
