"""Settings classes by task and kind of model."""

from __future__ import annotations

from collections.abc import Mapping

from nlp_app.config.classification import ClassificationSettings
from nlp_app.config.common import Settings
from nlp_app.config.tagging import TaggingSettings
from nlp_app.config.transformers import TransformerClassificationSettings, TransformerTaggingSettings

# By task and `model.kind`. The first kind of a task is its default.
KINDS: Mapping[str, Mapping[str, type[Settings]]] = {
    "ner": {"bilstm_crf": TaggingSettings, "transformer": TransformerTaggingSettings},
    "cls": {
        "combined": ClassificationSettings,
        "embedding_bag": ClassificationSettings,
        "textcnn": ClassificationSettings,
        "transformer": TransformerClassificationSettings,
    },
}
