"""Options for reading a file the way the training data of a model was read."""

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


def model_settings(classifier: Classifier, format: str | None, changes: Sequence[str]) -> ClassificationDataSettings:
    """Settings the training data was read with, changed by `changes`; the encoding is each file's own."""
    stored = classifier.parts.about["settings"] | {"format": format or "auto", "encoding": "auto"}
    return change_settings(ClassificationSettings, {"data": stored}, changes, only="data").data


def class_reading_options(
    classifier: Classifier, settings: ClassificationDataSettings, labels: bool = True
) -> ClassReadOptions:
    """Options for a file like the training data: its columns, unless others are named."""
    data = classifier.parts.about["data"]
    options = read_options(settings, labels)
    if options.format is None and data.get("format") in ("label_text", "fasttext"):
        return replace(options, format=data["format"]) if labels else options
    return options


_COLUMNS = ("token_column", "tag_column", "column")  # settings


def tagging_reading_options(
    tagger: Tagger, path: str | Path, format: str | None, changes: Sequence[str]
) -> CorpusOptions:
    """Options the training data was read with, and the model's tokenizer. The encoding is each file's own, and so are
    the columns if one is a data set and the other a file."""
    stored = tagger.parts.about["settings"] | {"format": format or "auto", "encoding": "auto"}
    if _names_data_set(path, format) != (tagger.parts.about["data"].get("format") == "hub"):
        stored = {name: value for name, value in stored.items() if name not in _COLUMNS}
    settings = change_settings(TaggingSettings, {"data": stored}, changes, only="data").data
    # Whether a file's tags have a scheme is the model's business; which scheme, the file's own.
    scheme = NONE if tagger.parts.tag_set.scheme == NONE else None
    return corpus_options(settings, tagger.parts.tokenizer, scheme)


def _names_data_set(path: str | Path, format: str | None) -> bool:
    return format == "hub" or (format is None and formats.is_data_set(path))
