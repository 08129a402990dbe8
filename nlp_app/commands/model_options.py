"""Options for reading a file like the training data of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nlp_app.config import ClassificationDataSettings, ClassificationSettings, TaggingSettings, change_settings
from nlp_app.data.classification.options import read_options
from nlp_app.data.tagging.corpus import CorpusOptions
from nlp_app.data.tagging.splits import corpus_options
from nlp_app.formats import tagging as formats
from nlp_app.formats.classification import ClassReadOptions
from nlp_app.inference import Tagger
from nlp_app.inference.classifier import Classifier
from nlp_app.labels.schemes import NONE
from nlp_app.labels.tag_spelling import CANONICAL


def model_settings(classifier: Classifier, format: str | None, changes: Sequence[str]) -> ClassificationDataSettings:
    """Return the settings for reading a file like the training data of a classifier.

    Args:
        classifier: A trained classifier.
        format: The format of the file; None to detect it.
        changes: Changes of the [data] settings, as `data.key=value`.

    Returns:
        The [data] settings of the training run with the changes. The encoding is detected for each file.

    Raises:
        SettingsError: A change is invalid.
    """
    stored = classifier.parts.about["settings"] | {"format": format or "auto", "encoding": "auto"}
    return change_settings(ClassificationSettings, {"data": stored}, changes, only="data").data


def class_reading_options(
    classifier: Classifier, settings: ClassificationDataSettings, labels: bool = True
) -> ClassReadOptions:
    """Return the options for reading a file like the training data of a classifier.

    Args:
        classifier: A trained classifier.
        settings: The result of `model_settings`.
        labels: Read the labels.

    Returns:
        The options. Labels in label lines, such as fastText's, are expected if the training data had them and no other
        format is named.
    """
    data = classifier.parts.about["data"]
    options = read_options(settings, labels)
    if options.format is None and data.get("format") in ("label_text", "fasttext"):
        return replace(options, format=data["format"]) if labels else options
    return options


_COLUMNS = ("token_column", "tag_column", "column")


def tagging_reading_options(
    tagger: Tagger, path: str | Path, format: str | None, changes: Sequence[str]
) -> CorpusOptions:
    """Return the options for reading a file like the training data of a tagger, with the tagger's tokenizer.

    Args:
        tagger: A trained tagger.
        path: The file, or the name of a Hugging Face data set.
        format: The format of the file; None to detect it.
        changes: Changes of the [data] settings, as `data.key=value`.

    Returns:
        The options. The encoding is detected for each file. The columns of the training data are not used if the
        training data was a data set and `path` is a file, or the other way round.

    Raises:
        SettingsError: A change is invalid.
    """
    stored = tagger.parts.about["settings"] | {"format": format or "auto", "encoding": "auto"}
    if _names_data_set(path, format) != (tagger.parts.about["data"].get("format") == "hub"):
        stored = {name: value for name, value in stored.items() if name not in _COLUMNS}
    settings = change_settings(TaggingSettings, {"data": stored}, changes, only="data").data
    # The model determines if tags have a scheme. The scheme itself is detected for each file.
    scheme = NONE if tagger.parts.tag_set.scheme == NONE else None
    options = corpus_options(settings, tagger.parts.tokenizer, scheme)
    return replace(options, spelling=tagger.parts.about["data"].get("spelling", CANONICAL))


def _names_data_set(path: str | Path, format: str | None) -> bool:
    return format == "hub" or (format is None and formats.is_data_set(path))
